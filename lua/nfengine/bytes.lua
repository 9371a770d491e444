--- Bytes of packets taken over into columns and state: copied, or counted by value, many at a time.
--
--   local bytes = require "nfengine.bytes"
--   … columns = { { "first", "uint8[32]" }, { "histogram", "uint16[16]" } }, state = { { "counts", "uint16[256]" } } …
--   local filled = bytes.copy(packet.payload_bytes, udps.first, 0)    --> 32, or fewer
--   bytes.count(packet.payload_bytes, udps.counts)                    --> how many bytes there were
--   bytes.entropy(udps.counts)                                        --> bits per byte, from 0 to 8
--   bytes.fold(udps.counts, udps.histogram)                           -- by the upper four bits
--   bytes.sum(udps.counts, 0x20, 0x7e)                                --> how many were printable
--   bytes.bits(packet.ip_bytes, 20, udps.bits, 0, 60)                 --> 480: 160 bits, and -1 for 40 bytes more
--
--   setup = function(self) self.buffer = bytes.buffer(64) end         -- or put together, without making strings:
--   flow.udps.service = self.buffer:clear():text "port " :u8(0x30 + …)
--   hash.sha1(self.buffer:clear():u16(packet.dst_port):view(packet.payload_bytes:sub(0, 8)))
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

--- Writes the bits of the view's first `size` bytes into an int8 array, the highest of each byte first, behind its
-- first `filled` elements: room for `room` bytes, with -1 for each bit of those that are not there. The view may be
-- nil. Returns how many elements are filled then.
function bytes.bits(view, size, array, filled, room)
  check("bits", array, 1)
  if not (filled >= 0 and room >= 0 and filled + 8 * room <= #array) then
    error(("bytes.bits: filled = %s, room = %s: expected both within the array"):format(filled, room), 2)
  end
  local there = view and math.max(math.min(size, #view), 0) or 0
  C.nf_spread_bits(array.at + filled, view and view.data or nil, there, room)
  return filled + 8 * room
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

-- ---- putting bytes together ----

local buffer = {}

--- Makes room for `size` bytes more and returns where they go, as a pointer.
function buffer:grow(size)
  local at = self.size
  if at + size > self.room then error(("buffer: more than the %d bytes it has room for"):format(self.room), 3) end
  self.size = at + size
  return self.data + at
end

--- Empties it. Like all that add to it, it returns the buffer itself.
function buffer:clear()
  self.size = 0
  return self
end

--- Adds a number as one byte, or big-endian as two.
function buffer:u8(number)
  self:grow(1)[0] = number
  return self
end

function buffer:u16(number)
  local at = self:grow(2)
  at[0], at[1] = math.floor(number / 256), number % 256
  return self
end

--- Adds a string's bytes.
function buffer:text(text)
  ffi.copy(self:grow(#text), text, #text)
  return self
end

--- Adds a view's bytes.
function buffer:view(view)
  ffi.copy(self:grow(#view), view.data, #view)
  return self
end

--- What has been added, as a string.
function buffer:string() return ffi.string(self.data, self.size) end

local new_buffer = ffi.metatype("struct { uint32_t size, room; uint8_t data[?]; }", {
  __index = buffer,
  __len = function(self) return self.size end,
})

--- A buffer with room for so many bytes, to be made in setup and used again and again. Hashes and columns of texts take
-- it for a string.
function bytes.buffer(room)
  return new_buffer(room, 0, room)
end

--- Whether something is a buffer.
function bytes.is_buffer(value) return ffi.istype(new_buffer, value) end

return bytes
