--- Bytes of packets taken over into columns and state: copied, or counted by value, many at a time.
--
--   local bytes = require "nfengine.bytes"
--   … columns = { { "first", "uint8[32]" }, { "histogram", "uint16[16]" } }, state = { { "counts", "uint16[256]" } } …
--   local filled = bytes.copy(packet.payload_bytes, udps.first, 0)    --> 32, or fewer
--   bytes.count(packet.payload_bytes, udps.counts)                    --> how many bytes there were
--   bytes.entropy(udps.counts)                                        --> bits per byte, from 0 to 8
--   bytes.fold(udps.counts, udps.histogram)                           -- by the upper four bits
--   bytes.sum(udps.counts, 0x20, 0x7e)                                --> how many were printable
--
-- A loop in a hook would be compiled as well, but takes five times as long for each byte, and makes an object of
-- everything that it works on, which is what costs with small packets.

local ffi = require "ffi"
local C = require "nfengine.lib"

local bytes = {}

local function check(name, array, element, length)
  if ffi.sizeof(array) ~= element * #array or length and #array ~= length then
    error(("bytes.%s: expected an array uint%d[%s]"):format(name, element * 8, length or "N"), 3)
  end
end

--- Copies the view's bytes into a uint8 array behind its first `filled` elements, as far as there is room. Returns how
-- many elements are filled then.
function bytes.copy(view, array, filled)
  check("copy", array, 1)
  if filled < 0 then error("bytes.copy: filled: expected a number from 0", 2) end
  local size = math.min(#array - filled, #view)
  if size > 0 then
    ffi.copy(array.at + filled, view.data, size)
    return filled + size
  end
  return filled
end

--- Counts the view's bytes, the first `most` where this is given: counts[1 + byte], of an array uint16[256], goes up by
-- one for each. Returns how many bytes there were.
function bytes.count(view, counts, most)
  check("count", counts, 2, 256)
  local size = math.min(most or #view, #view)
  if size > 0 then
    C.nf_count_bytes(counts.at, view.data, size)
    return size
  end
  return 0
end

--- Shannon's entropy of what the elements of a uint16 array count, in bits: 0 where one alone is not 0, or none, and at
-- most the logarithm of their number. Beyond the ninth digit, logarithms are not the same on every machine.
function bytes.entropy(counts)
  check("entropy", counts, 2)
  return math.floor(C.nf_count_entropy(counts.at, #counts) * 1e9 + 0.5) / 1e9
end

--- Stores sums of the elements of a uint16 array, of as many that follow each other as it takes, in a shorter one.
function bytes.fold(counts, sums)
  check("fold", counts, 2)
  check("fold", sums, 2)
  local width = #counts / #sums
  if width ~= math.floor(width) then error("bytes.fold: expected one array a multiple of the other", 2) end
  C.nf_count_fold(sums.at, #sums, counts.at, width)
end

--- How many of the counted bytes had a value from `low` to `high`.
function bytes.sum(counts, low, high)
  check("sum", counts, 2, 256)
  if low >= 0 and low <= high and high < 256 then return (C.nf_count_sum(counts.at + low, high - low + 1)) end
  error("bytes.sum: expected two bytes in order", 2)
end

return bytes
