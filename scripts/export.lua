--- Can these flows be shown to others? Exports them as CSV with the addresses replaced by keyed hashes (BLAKE2b): equal
-- addresses stay equal, and without the key nobody can tell which they were.
--
-- Every export has a random key of its own, unless --anonymization-key-file gives one: then several exports agree. The
-- file is what -o names, else the capture's name with .csv behind it. --columns-to-anonymize names other columns, and
-- docs/privacy.md what else there is to hide.
--
-- @categories export
-- @usage nfengine export -o web.csv --flows-per-file=10 samples/web.pcap && wc -l web.*.csv
-- @output
--    11 web.0.csv
--    11 web.1.csv
--    11 web.2.csv
--     3 web.3.csv
--    36 total
-- @usage head -c 64 /dev/urandom >k; chmod 600 k; nfengine export -o a.csv --anonymization-key-file=k samples/web.pcap

local nf = require "nfengine"

nf.streamer({ columns_to_anonymize = { "src_ip", "src_mac", "dst_ip", "dst_mac" } }):to_csv()
