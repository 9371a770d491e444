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

local nf = require "nfengine"

-- Copies the payload's beginning behind the `filled` bytes of a list. Returns how many there are then.
local function fill(list, filled, payload)
  local last = math.min(#list, filled + #payload)
  for i = filled + 1, last do list[i] = payload:u8(i - filled - 1) end
  return last
end

-- Counts bytes from counts[first] on while `counted` of them are fewer than `limit`. Returns how many there are then.
local function count(counts, first, counted, limit, payload)
  local size = math.min(limit - counted, #payload)
  for i = 0, size - 1 do
    local place = first + payload:u8(i)
    counts[place] = counts[place] + 1
  end
  return counted + size
end

local function add(self, packet, flow)
  local payload, udps = packet.payload_bytes, flow.udps
  if #payload <= 0 then return end
  if packet.direction == 0 then
    local filled, counted = udps.payload_src2dst_filled, udps.payload_src2dst_counted
    if filled < self.bytes then
      udps.payload_src2dst_filled = fill(udps.payload_src2dst_bytes, filled, payload)
    end
    if counted < self.entropy_bytes then
      udps.payload_src2dst_counted = count(udps.payload_counts, 1, counted, self.entropy_bytes, payload)
    end
  else
    local filled, counted = udps.payload_dst2src_filled, udps.payload_dst2src_counted
    if filled < self.bytes then
      udps.payload_dst2src_filled = fill(udps.payload_dst2src_bytes, filled, payload)
    end
    if counted < self.entropy_bytes then
      udps.payload_dst2src_counted = count(udps.payload_counts, 257, counted, self.entropy_bytes, payload)
    end
  end
end

local function sum(counts, first, last)
  local total = 0
  for i = first, last do total = total + counts[i] end
  return total
end

-- Entropy and share of printable bytes of `total` bytes, counted from counts[first] on; fills their histogram. Beyond
-- the ninth digit, logarithms are not the same on every machine.
local function sum_up(log2, counts, first, total, histogram)
  local bits, log2_total = 0, log2[total]
  for i = first, first + 255 do bits = bits + counts[i] * (log2_total - log2[counts[i]]) end
  local width = 256 / #histogram
  for bin = 1, #histogram do
    histogram[bin] = sum(counts, first + (bin - 1) * width, first + bin * width - 1)
  end
  return math.floor(bits / total * 1e9 + 0.5) / 1e9, sum(counts, first + 0x20, first + 0x7e) / total
end

local function finish(self, flow)
  local udps = flow.udps
  local there, back = udps.payload_src2dst_counted, udps.payload_dst2src_counted
  if there > 0 then
    udps.payload_src2dst_entropy, udps.payload_src2dst_printable =
      sum_up(self.log2, udps.payload_counts, 1, there, udps.payload_src2dst_histogram)
  end
  if back > 0 then
    udps.payload_dst2src_entropy, udps.payload_dst2src_printable =
      sum_up(self.log2, udps.payload_counts, 257, back, udps.payload_dst2src_histogram)
  end
end

return nf.plugin {
  name        = "payload_bytes",
  version     = "1.0.0",
  api         = 1,
  description = "First payload bytes, their entropy, share of printable ones and histogram, of each direction",
  author      = "the nfengine authors",
  license     = "MIT",
  categories  = { "feature", "payload", "slow", "safe" },
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
  state       = { -- bytes looked at, and how many there are of each value: 256 numbers of each direction
    { "payload_src2dst_counted", "double" }, { "payload_dst2src_counted", "double" },
    { "payload_counts", "uint16[512]" },
  },
  setup       = function(self)
    self.log2 = { [0] = 0 } -- by the count; that of 0 is multiplied by 0
    for n = 1, self.entropy_bytes do self.log2[n] = math.log(n, 2) end
  end,
  independent = true,
  on_init     = add,
  on_update   = add,
  on_expire   = finish,
}
