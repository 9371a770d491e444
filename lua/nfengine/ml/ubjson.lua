--- Reads UBJSON (ubjson.org, draft 12), the binary form of JSON in which XGBoost saves models: values, also in
-- containers of one type. What is malformed raises; nothing is taken for longer than the text is, and so is nothing
-- that takes no bytes. Containers that are empty are shared, so nobody changes any.

local bit = require "bit"
local ffi = require "ffi"
local new_table = require "table.new"
local reals = require "nfengine.ml.reals"

local ubjson = {}

local DEPTH = 64

-- How many bytes each type of number takes, and how they are read.
local SIZES = { i = 1, U = 1, I = 2, l = 4, L = 8, d = 4, D = 8 }
local IS_INTEGER = { i = true, U = true, I = true, l = true, L = true }

local function u16(bytes, at) return bytes[at] * 256 + bytes[at + 1] end

local function i32(bytes, at)
  return bit.bor(bit.lshift(bytes[at], 24), bit.lshift(bytes[at + 1], 16), bit.lshift(bytes[at + 2], 8), bytes[at + 3])
end

local READERS = {
  U = function(bytes, at) return bytes[at] end,
  i = function(bytes, at) return (bytes[at] + 128) % 256 - 128 end,
  I = function(bytes, at) return (u16(bytes, at) + 32768) % 65536 - 32768 end,
  l = i32,
  L = function(bytes, at) return i32(bytes, at) * 2^32 + i32(bytes, at + 4) % 2^32 end,
  d = function(bytes, at) return reals.float_of(i32(bytes, at)) end,
  D = function(bytes, at) return reals.double_of(i32(bytes, at), i32(bytes, at + 4)) end,
}

local reader = {}
reader.__index = reader

local function fail(self, what) error(("UBJSON at byte %d: %s"):format(self.at, what), 0) end

--- Where so many bytes begin, from 0, which have to be there.
function reader:skip(size)
  local at = self.at
  if size > self.size - at then fail(self, "ends within a value") end
  self.at = at + size
  return at
end

function reader:take(size)
  local at = self:skip(size)
  return ffi.string(self.bytes + at, size)
end

local function number(self, mark) return READERS[mark](self.bytes, self:skip(SIZES[mark])) end

local function length(self)
  local mark = self:take(1)
  local size = IS_INTEGER[mark] and number(self, mark)
  if not size or size < 0 or size > self.size then fail(self, "expected a length") end
  return size
end

--- Whether this byte comes next, which is then behind us.
local function is_next(self, mark)
  if self.at >= self.size or self.bytes[self.at] ~= mark:byte() then return false end
  self.at = self.at + 1
  return true
end

local value

--- The type and the number of a container's elements, where it has them in front.
local function header(self)
  local mark, count
  if is_next(self, "$") then mark = self:take(1) end
  if is_next(self, "#") then count = length(self) end
  if mark and not count then fail(self, "a type without a number of elements") end
  if mark and mark:find "[TFZN]" then fail(self, "elements without bytes") end
  return mark, count
end

local function numbers(self, mark, count)
  local read, size, bytes = READERS[mark], SIZES[mark], self.bytes
  local at, list = self:skip(size * count), new_table(count, 0)
  for i = 1, count do list[i] = read(bytes, at + (i - 1) * size) end
  return list
end

-- Empty ones take a byte, where their type stands in front of many.
local NOTHING = {}

local function array(self, depth)
  local mark, count = header(self)
  if SIZES[mark] then return numbers(self, mark, count) end
  if count == 0 or not count and is_next(self, "]") then return NOTHING end
  local list, seen = {}, 0
  while count and seen < count or not count and not is_next(self, "]") do
    local element = value(self, mark or self:take(1), depth)
    seen = seen + 1
    if element == nil then element = false end
    list[seen] = element
  end
  return list
end

local function object(self, depth)
  local mark, count = header(self)
  if count == 0 or not count and is_next(self, "}") then return NOTHING end
  local fields, seen = {}, 0
  while count and seen < count or not count and not is_next(self, "}") do
    local name = self:take(length(self))
    fields[name] = value(self, mark or self:take(1), depth)
    seen = seen + 1
  end
  return fields
end

function value(self, mark, depth)
  if depth > DEPTH then fail(self, "too deep") end
  while mark == "N" do mark = self:take(1) end
  if SIZES[mark] then return number(self, mark) end
  if mark == "S" or mark == "H" then return self:take(length(self)) end
  if mark == "C" then return self:take(1) end
  if mark == "T" or mark == "F" then return mark == "T" end
  if mark == "[" then return array(self, depth + 1) end
  if mark == "{" then return object(self, depth + 1) end
  if mark == "Z" then return nil end
  fail(self, "expected a value")
end

--- The value that a text holds: null is nil, in arrays false. nil and a line where it holds none.
function ubjson.decode(text)
  local self = setmetatable({ text = text, bytes = ffi.cast("const uint8_t *", text), size = #text, at = 0 }, reader)
  local ok, result = pcall(function() return value(self, self:take(1), 0) end)
  if not ok then return nil, result end
  return result
end

return ubjson
