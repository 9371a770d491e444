--- Can these flows be shown to others? Exports them as CSV with the addresses replaced by keyed hashes (BLAKE2b): equal
-- addresses stay equal, and without the key nobody can tell which they were.
--
-- Every export has a random key of its own, unless --key-file gives one: then several exports agree. The file is what
-- -o names, else the capture's name with .csv behind it. --flows-per-file makes it several, numbered before their
-- ending.
--
-- @categories export
-- @usage nfengine export -o web.csv samples/web.pcap -- --flows-per-file=10 && wc -l web.*.csv
-- @output
--    11 web.0.csv
--    11 web.1.csv
--    11 web.2.csv
--     3 web.3.csv
--    36 total
-- @usage head -c 64 /dev/urandom > key && nfengine export -o web.csv samples/web.pcap -- --key-file=key

local nf = require "nfengine"

local options = nf.options {
  anonymize = { { "src_ip", "src_mac", "dst_ip", "dst_mac" }, "columns to write as hashes" },
  flows_per_file = { 0, "start another file after so many flows; 0: one file for all", integer = true, min = 0 },
  rotate_files = { 0, "keep that many files, the newest; 0: all", integer = true, min = 0 },
  key_file = { "", "file with the key, 64 bytes" },
}

local KEY_SIZE = 64

local key
if options.key_file ~= "" then
  local file = assert(io.open(options.key_file, "rb"))
  key = file:read(KEY_SIZE + 1) or "" -- a device may never end
  file:close()
  if #key ~= KEY_SIZE then
    error(("--key-file=%s: expected a file of %d bytes"):format(options.key_file, KEY_SIZE), 0)
  end
end

nf.streamer({}):to_csv(nil, {
  columns_to_anonymize = options.anonymize,
  anonymization_key = key,
  flows_per_file = options.flows_per_file,
  rotate_files = options.rotate_files,
})
