--- Reads messages of Protocol Buffers, in which ONNX keeps models, by a description of their fields:
--
--   local point = { [1] = { "x", "double" }, [2] = { "tags", "bytes", is_repeated = true } }
--   protobuf.decode(bytes, point) --> { x = 1.5, tags = { "a", "b" } }
--
-- A field's kind is "integer" (int32, int64, enumerations, bool), "float", "double", "bytes", a description of another
-- message, or "later": a message that takes a number, its place, until decode_at reads it. Fields without a description
-- are passed over, and as a description is a tree, messages are no deeper than it. Repeated fields are lists, empty
-- where there is none, of numbers also as packed. What is malformed raises; nothing is taken for longer than the text
-- is, and what a message has nothing of takes no memory: messages that are empty, and lists that are, are shared, so
-- nobody changes any.
--
-- Source: protobuf.dev/programming-guides/encoding. Integers beyond 2^53 come as the nearest double.

local ffi = require "ffi"
local reals = require "nfengine.ml.reals"

local protobuf = {}

local VARINT, FIXED64, DELIMITED, FIXED32 = 0, 1, 2, 5 -- wire types; 3 and 4 are groups, which ONNX has none of

local function fail(self, what) error(("Protocol Buffers at byte %d: %s"):format(self.at + 1, what), 0) end

local function take(self, size, stop)
  local from = self.at
  if size > stop - from then fail(self, "ends within a value") end
  self.at = from + size
  return from
end

--- An integer of up to ten bytes, seven bits each, lowest first, as two's complement of 64 bits.
local function integer(self, stop)
  local low, high, scale = 0, 0, 1
  for i = 1, 10 do
    local byte = self.bytes[take(self, 1, stop)]
    if i == 8 then scale = 1 end
    if i <= 7 then low = low + byte % 128 * scale
    else high = high + byte % 128 * scale end
    if byte < 128 then
      high = high % 2 ^ 15
      return low + (high < 2 ^ 14 and high or high - 2 ^ 15) * 2 ^ 49
    end
    scale = scale * 128
  end
  fail(self, "an integer of more than ten bytes")
end

local function float(self, stop) return reals.float(self.bytes + take(self, 4, stop)) end
local function double(self, stop) return reals.double(self.bytes + take(self, 8, stop)) end

--- Where a delimited value ends.
local function delimited(self, stop)
  local size = integer(self, stop)
  if size < 0 or size > stop - self.at then fail(self, "a length beyond the end") end
  return self.at + size
end

local function bytes(self, stop)
  local finish = delimited(self, stop)
  local value = self.text:sub(self.at + 1, finish)
  self.at = finish
  return value
end

--- The place of a delimited value, which is passed over.
local function place(self, stop)
  local at = self.at
  self.at = delimited(self, stop)
  return at
end

-- The wire type and the reader of each kind.
local KINDS = {
  integer = { VARINT, integer }, float = { FIXED32, float }, double = { FIXED64, double }, bytes = { DELIMITED, bytes },
  later = { DELIMITED, place },
}

local function skip(self, wire, stop)
  if wire == VARINT then integer(self, stop)
  elseif wire == FIXED64 then take(self, 8, stop)
  elseif wire == FIXED32 then take(self, 4, stop)
  elseif wire == DELIMITED then self.at = delimited(self, stop)
  else fail(self, ("wire type %d, expected 0, 1, 2 or 5"):format(wire)) end
end

local function unpack_into(self, list, read, stop)
  local finish = delimited(self, stop)
  while self.at < finish do list[#list + 1] = read(self, finish) end
end

-- By description, the message that is empty: lists of nothing. Others look their lists up there, too.
local empties = setmetatable({}, { __mode = "k" })
local NOTHING = {}

local function empty_of(description)
  local empty = empties[description]
  if not empty then
    empty = {}
    for _, field in pairs(description) do
      if field.is_repeated then empty[field[1]] = NOTHING end
    end
    empty.__index = empty
    empties[description] = empty
  end
  return empty
end

local message

local function read_field(self, into, field, wire, stop)
  local name, kind = field[1], KINDS[field[2]]
  local list = field.is_repeated and into[name]
  if list == NOTHING then
    list = {}
    into[name] = list
  end
  if kind and list and wire == DELIMITED and kind[1] ~= DELIMITED then return unpack_into(self, list, kind[2], stop) end
  if wire ~= (kind and kind[1] or DELIMITED) then
    fail(self, ("field %s of wire type %d"):format(name, wire))
  end
  local value
  if kind then value = kind[2](self, stop)
  else value = message(self, field[2], delimited(self, stop)) end
  if list then list[#list + 1] = value else into[name] = value end
end

function message(self, description, stop)
  local empty = empty_of(description)
  if self.at >= stop then return empty end
  local fields = setmetatable({}, empty)
  while self.at < stop do
    local tag = integer(self, stop)
    local number, wire = math.floor(tag / 8), tag % 8
    if number < 1 then fail(self, ("field number %d"):format(number)) end
    local field = description[number]
    if field then read_field(self, fields, field, wire, stop) else skip(self, wire, stop) end
  end
  return fields
end

--- The fields of a message, by their names.
-- @param text its bytes
-- @param description of its fields, by their numbers
function protobuf.decode(text, description)
  local self = { text = text, bytes = ffi.cast("const uint8_t *", text), at = 0 }
  return message(self, description, #text)
end

--- The fields of a message within another one, whose kind there is "later".
-- @param text the bytes of both
-- @param at its place
function protobuf.decode_at(text, at, description)
  local self = { text = text, bytes = ffi.cast("const uint8_t *", text), at = at }
  return message(self, description, delimited(self, #text))
end

return protobuf
