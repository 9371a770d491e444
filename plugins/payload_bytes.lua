--- What payload looks like in each direction: its first bytes, entropy, share of printable bytes, byte histogram.
--
-- A direction's payload is what its packets carry behind their transport headers, one packet behind the other as they
-- came: nothing is put in order, and what was sent again counts again. Only captured bytes count; padding of
-- short frames is no payload. The first bytes are a list of numbers from 0 to 255, zeros behind the last, and
-- `_filled` says how many there are: lists are what models take as they are, in CSV as in JSON lines.
--
-- Entropy, printable bytes and the histogram are of the first `entropy_bytes`. Entropy is Shannon's, in bits per byte,
-- H = sum of p log2(1 / p) over byte values: 0 where all bytes are equal, 8 where all values are equally frequent. That
-- takes 256 bytes; n bytes have log2(n) at most. Printable are the 95 bytes of ASCII from space to tilde. The
-- histogram has 16 bins by the byte's upper four bits, or with `histogram=byte` 256. A direction without payload has 0
-- everywhere. All this takes 1 KB of memory a flow.
--
-- @usage nfengine flows --plugin payload_bytes -a payload_bytes.bytes=4 --n-dissections=0 --bpf-filter=tcp \
--   --columns=dst_port,udps.payload_src2dst_bytes,udps.payload_src2dst_entropy,udps.payload_src2dst_printable \
--   samples/web.pcap
-- @output
-- dst_port,udps.payload_src2dst_bytes,udps.payload_src2dst_entropy,udps.payload_src2dst_printable
-- 80,"[71, 69, 84, 32]",5.227743864,0.9135446685878963
-- 80,"[71, 69, 84, 32]",5.079091109,0.9180327868852459
-- 80,"[71, 69, 84, 32]",4.936287164,0.8913043478260869
-- 80,"[80, 79, 83, 84]",5.308815737,0.9313725490196079
-- ...

local bytes = require "nfengine.bytes"
local nf = require "nfengine"

-- A function that looks at one direction's payload.
local function looker(way)
  local list, filled = way .. "_bytes", way .. "_filled"
  local counts, counted = way .. "_counts", way .. "_counted"
  return function(self, udps, payload)
    local first, before = udps[filled], udps[counted]
    if first < self.bytes then udps[filled] = bytes.copy(payload, udps[list], first) end
    if before < self.entropy_bytes then
      udps[counted] = before + bytes.count(payload, udps[counts], self.entropy_bytes - before)
    end
  end
end

local look_there, look_back = looker "payload_src2dst", looker "payload_dst2src"

local function add(self, packet, flow)
  local payload = packet.payload_bytes
  if #payload <= 0 then return end
  if packet.direction == 0 then look_there(self, flow.udps, payload) else look_back(self, flow.udps, payload) end
end

local function finish(_, flow)
  local udps = flow.udps
  local there, back = udps.payload_src2dst_counted, udps.payload_dst2src_counted
  if there > 0 then
    local counts = udps.payload_src2dst_counts
    udps.payload_src2dst_entropy = bytes.entropy(counts)
    udps.payload_src2dst_printable = bytes.sum(counts, 0x20, 0x7e) / there
    bytes.fold(counts, udps.payload_src2dst_histogram)
  end
  if back > 0 then
    local counts = udps.payload_dst2src_counts
    udps.payload_dst2src_entropy = bytes.entropy(counts)
    udps.payload_dst2src_printable = bytes.sum(counts, 0x20, 0x7e) / back
    bytes.fold(counts, udps.payload_dst2src_histogram)
  end
end

return nf.plugin {
  name        = "payload_bytes",
  version     = "1.0.0",
  api         = 1,
  description = "First payload bytes, their entropy, share of printable ones and histogram, of each direction",
  author      = "the nfengine authors",
  license     = "MIT",
  categories  = { "feature", "payload", "safe" },
  options     = {
    bytes         = { 32, "first payload bytes of a direction to show", min = 1, max = 65535, integer = true },
    entropy_bytes = { 1024, "first payload bytes of a direction to count for entropy, printable bytes and histogram",
                      min = 1, max = 65535, integer = true },
    histogram     = { "nibble", "bins by a byte's upper four bits (16), or by byte (256)",
                      choices = { "nibble", "byte" } },
  },
  columns     = function(options)
    local list = ("uint8[%d]"):format(options.bytes)
    local histogram = options.histogram == "byte" and "uint16[256]" or "uint16[16]"
    return {
      { "payload_src2dst_bytes", list, "first payload bytes, source to destination" },
      { "payload_src2dst_filled", "uint16", "how many of these there are" },
      { "payload_src2dst_entropy", "double", "bits per byte of payload, source to destination" },
      { "payload_src2dst_printable", "double", "share of printable bytes in payload, source to destination" },
      { "payload_src2dst_histogram", histogram, "bytes of payload by value, source to destination" },
      { "payload_dst2src_bytes", list, "first payload bytes, destination to source" },
      { "payload_dst2src_filled", "uint16", "how many of these there are" },
      { "payload_dst2src_entropy", "double", "bits per byte of payload, destination to source" },
      { "payload_dst2src_printable", "double", "share of printable bytes in payload, destination to source" },
      { "payload_dst2src_histogram", histogram, "bytes of payload by value, destination to source" },
    }
  end,
  state       = {
    { "payload_src2dst_counted", "uint16" }, { "payload_dst2src_counted", "uint16", "bytes that were counted, ..." },
    { "payload_src2dst_counts", "uint16[256]" }, { "payload_dst2src_counts", "uint16[256]", "... by value" },
  },
  on_init     = add,
  on_update   = add,
  on_expire   = finish,
}
