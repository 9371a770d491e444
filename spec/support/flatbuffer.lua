-- Reads flatbuffers (flatbuffers.dev/internals) out of a string, by field numbers. Whatever leads out of it raises.
--
--   local message = flatbuffer.root(bytes)
--   message:integer(0, "int16_t"), message:text(3), message:table(2), message:tables(1), message:structs(2, 3)

local ffi = require "ffi"

local flatbuffer = {}

local Table = {}
Table.__index = Table

local SIZES = { uint8_t = 1, int16_t = 2, uint16_t = 2, int32_t = 4, uint32_t = 4, int64_t = 8 }

local function read(bytes, at, ctype)
  local size = SIZES[ctype]
  assert(at >= 0 and at + size <= #bytes, "a flatbuffer that leads out of itself")
  assert(at % size == 0, "a flatbuffer's value that is not aligned")
  return tonumber(ffi.cast(ctype .. " *", ffi.cast("const char *", bytes) + at)[0])
end

local function follow(bytes, at) return at + read(bytes, at, "uint32_t") end

local function table_at(bytes, at)
  local vtable = at - read(bytes, at, "int32_t")
  return setmetatable({ bytes = bytes, at = at, vtable = vtable, size = read(bytes, vtable, "uint16_t") }, Table)
end

--- The table that a buffer is.
function flatbuffer.root(bytes) return table_at(bytes, follow(bytes, 0)) end

-- Where a field lies, or nil.
function Table:place(field)
  local entry = 4 + 2 * field
  if entry >= self.size then return nil end
  local offset = read(self.bytes, self.vtable + entry, "uint16_t")
  return offset > 0 and self.at + offset or nil
end

function Table:integer(field, ctype)
  local place = self:place(field)
  return place and read(self.bytes, place, ctype) or 0
end

local function text_at(bytes, at)
  local size = read(bytes, at, "uint32_t")
  assert(bytes:byte(at + 4 + size + 1) == 0, "a flatbuffer's text without an end")
  return bytes:sub(at + 5, at + 4 + size)
end

function Table:text(field)
  local place = self:place(field)
  return place and text_at(self.bytes, follow(self.bytes, place))
end

function Table:table(field)
  local place = self:place(field)
  return place and table_at(self.bytes, follow(self.bytes, place))
end

-- Where a vector's elements begin, and how many there are.
function Table:vector(field)
  local place = self:place(field)
  if not place then return nil, 0 end
  local at = follow(self.bytes, place)
  return at + 4, read(self.bytes, at, "uint32_t")
end

--- A vector of tables, as a list.
function Table:tables(field)
  local first, count = self:vector(field)
  local list = {}
  for i = 1, count do list[i] = table_at(self.bytes, follow(self.bytes, first + 4 * (i - 1))) end
  return list
end

--- A vector of structs of so many 64-bit integers, as a list of lists.
function Table:structs(field, width)
  local first, count = self:vector(field)
  local list = {}
  for i = 1, count do
    list[i] = {}
    for j = 1, width do list[i][j] = read(self.bytes, first + 8 * ((i - 1) * width + j - 1), "int64_t") end
  end
  return list
end

return flatbuffer
