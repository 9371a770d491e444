--- Reads UBJSON (ubjson.org, draft 12), the binary form of JSON in which XGBoost saves models: values, also in
-- containers of one type. What is malformed raises; nothing is taken for longer than the text is.

local ffi = require "ffi"

local ubjson = {}

local DEPTH = 64

-- The union's member and the bytes of each type.
local INTEGERS = { i = { "i8", 1 }, U = { "u8", 1 }, I = { "i16", 2 }, l = { "i32", 4 }, L = { "i64", 8 } }
local REALS = { d = { "f", 4 }, D = { "d", 8 } }

local reader = {}
reader.__index = reader

local function fail(self, what) error(("UBJSON at byte %d: %s"):format(self.at, what), 0) end

function reader:take(size)
  local bytes = self.text:sub(self.at, self.at + size - 1)
  if #bytes < size then fail(self, "ends within a value") end
  self.at = self.at + size
  return bytes
end

local union = ffi.new [[union {
  uint8_t bytes[8]; float f; double d; int8_t i8; uint8_t u8; int16_t i16; int32_t i32; int64_t i64;
}]]

--- A number of big-endian bytes.
local function number(self, kind)
  local member, size = kind[1], kind[2]
  local bytes = self:take(size)
  for i = 0, size - 1 do union.bytes[i] = bytes:byte(size - i) end
  return tonumber(union[member])
end

local function length(self)
  local kind = INTEGERS[self:take(1)]
  local size = kind and number(self, kind)
  if not size or size < 0 or size > #self.text then fail(self, "expected a length") end
  return size
end

local value

--- The type and the number of a container's elements, where it has them in front.
local function header(self)
  local kind, count
  if self.text:sub(self.at, self.at) == "$" then
    kind, self.at = self.text:sub(self.at + 1, self.at + 1), self.at + 2
  end
  if self.text:sub(self.at, self.at) == "#" then
    self.at = self.at + 1
    count = length(self)
  end
  if kind and not count then fail(self, "a type without a number of elements") end
  return kind, count
end

local function is_end(self, mark)
  if self.text:sub(self.at, self.at) ~= mark then return false end
  self.at = self.at + 1
  return true
end

local function array(self, depth)
  local kind, count = header(self)
  local list = {}
  while count and #list < count or not count and not is_end(self, "]") do
    local element = value(self, kind or self:take(1), depth)
    list[#list + 1] = element == nil and false or element
  end
  return list
end

local function object(self, depth)
  local kind, count = header(self)
  local fields, seen = {}, 0
  while count and seen < count or not count and not is_end(self, "}") do
    local name = self:take(length(self))
    fields[name] = value(self, kind or self:take(1), depth)
    seen = seen + 1
  end
  return fields
end

function value(self, mark, depth)
  if depth > DEPTH then fail(self, "too deep") end
  local kind = INTEGERS[mark] or REALS[mark]
  if kind then return number(self, kind) end
  if mark == "S" or mark == "H" then return self:take(length(self)) end
  if mark == "C" then return self:take(1) end
  if mark == "T" or mark == "F" then return mark == "T" end
  if mark == "[" then return array(self, depth + 1) end
  if mark == "{" then return object(self, depth + 1) end
  if mark == "Z" then return nil end
  if mark == "N" then return value(self, self:take(1), depth) end
  fail(self, "expected a value")
end

--- The value that a text holds. nil and a line where it holds none.
function ubjson.decode(bytes)
  local self = setmetatable({ text = bytes, at = 1 }, reader)
  local ok, result = pcall(function() return value(self, self:take(1), 0) end)
  if not ok then return nil, result end
  return result
end

return ubjson
