--- Reals of bytes that may be anybody's.
--
-- LuaJIT tells values' types by the bits of NaNs, and takes numbers from memory as they are: a NaN with bits of its own
-- becomes a value of another type, up to a pointer of the file's choice. So every NaN is given as the one that LuaJIT
-- knows.

local bit = require "bit"
local ffi = require "ffi"

local reals = {}

local NAN = 0 / 0
local union = ffi.new "union { uint32_t words[2]; float f; double d; }"

local function float_held()
  if bit.band(union.words[0], 0x7fffffff) > 0x7f800000 then return NAN end
  return tonumber(union.f)
end

local function double_held()
  local high = bit.band(union.words[1], 0x7fffffff)
  if high > 0x7ff00000 or high == 0x7ff00000 and union.words[0] ~= 0 then return NAN end
  return union.d
end

--- A number in single precision.
-- @param word its 32 bits, as a number
function reals.float_of(word)
  union.words[0] = word
  return float_held()
end

--- A number in double precision.
-- @param high, low its 32 upper and lower bits, as numbers
function reals.double_of(high, low)
  union.words[0], union.words[1] = low, high
  return double_held()
end

--- A number in single precision, little-endian.
-- @param from pointer to its four bytes
function reals.float(from)
  ffi.copy(union, from, 4)
  return float_held()
end

--- A number in double precision, little-endian.
-- @param from pointer to its eight bytes
function reals.double(from)
  ffi.copy(union, from, 8)
  return double_held()
end

return reals
