-- Reads IPFIX (RFC 7011) as a collector does: knows no element beyond what templates and descriptions say.
--
--   local reader = ipfix.reader()
--   reader:message(bytes)            -- one message; or reader:stream(bytes), one behind the other
--   reader.messages[1]               --> { length, time, sequence, domain, sets = { 2, 256, … } }
--   reader.templates[256]            --> { { enterprise, number, length }, … }, of the template that was told last
--   reader.records[1]                --> { template = 256, values = { bytes, … }, elements = … }
--   reader.descriptions["32473:80"]  --> { type, semantics, units, name }
--
-- Whatever contradicts itself is an error.

local ffi = require "ffi"

local ipfix = {}

local reader = {}
reader.__index = reader

function ipfix.reader()
  return setmetatable({ messages = {}, templates = {}, records = {}, descriptions = {}, told = 0 }, reader)
end

--- A number from so many bytes, the highest first; exact up to 2^53.
function ipfix.number(bytes)
  local number = 0
  for i = 1, #bytes do number = number * 256 + bytes:byte(i) end
  return number
end

local number = ipfix.number

--- The same as a 64-bit integer.
function ipfix.exact(bytes)
  local exact = 0ULL
  for i = 1, #bytes do exact = exact * 256 + bytes:byte(i) end
  return exact
end

--- float32 and float64.
function ipfix.real(bytes)
  local cell = ffi.new(#bytes == 4 and "float[1]" or "double[1]")
  ffi.copy(cell, bytes:reverse(), #bytes)
  return cell[0]
end

local VARIABLE, ENTERPRISE_BIT = 65535, 32768

-- A place in a text that is read on and on, up to an end.
local function cursor(bytes, at, stop)
  return {
    left = function() return stop - at + 1 end,
    take = function(size)
      assert(size <= stop - at + 1, "needs more bytes than there are")
      at = at + size
      return bytes:sub(at - size, at - 1)
    end,
  }
end

local function read_specifier(place)
  local element, length = number(place.take(2)), number(place.take(2))
  if element < ENTERPRISE_BIT then return { enterprise = 0, number = element, length = length } end
  return { number = element - ENTERPRISE_BIT, length = length, enterprise = number(place.take(4)) }
end

local function read_template(self, place, is_option)
  local id, count = number(place.take(2)), number(place.take(2))
  assert(id >= 256 and count > 0, "a template without a number or elements")
  local template = { scope = is_option and number(place.take(2)) or nil }
  for i = 1, count do template[i] = read_specifier(place) end
  self.templates[id], self.told = template, self.told + 1
end

local function read_value(place, length)
  if length ~= VARIABLE then return place.take(length) end
  local size = number(place.take(1))
  if size < 255 then return place.take(size) end
  return place.take(number(place.take(2)))
end

local function key(enterprise, element) return enterprise .. ":" .. element end

-- RFC 5610: what an element is.
local function take_description(self, record)
  local of = {}
  for i, element in ipairs(record.elements) do of[element.number] = record.values[i] end
  self.descriptions[key(number(of[346]), number(of[303]))] = {
    type = number(of[339]), semantics = number(of[344]), units = number(of[345]), name = of[341],
  }
end

local function read_record(self, place, id)
  local template = assert(self.templates[id], "a record without a template")
  local record = { template = id, elements = template, values = {} }
  for i, element in ipairs(template) do record.values[i] = read_value(place, element.length) end
  if template.scope then take_description(self, record) else self.records[#self.records + 1] = record end
end

local function read_set(self, message, place)
  local id, length = number(place.take(2)), number(place.take(2))
  message.sets[#message.sets + 1] = id
  local bytes = place.take(length - 4)
  local inner = cursor(bytes, 1, #bytes)
  assert(inner.left() > 0, "an empty set")
  while inner.left() > 0 do
    if id == 2 or id == 3 then
      read_template(self, inner, id == 3)
    else
      read_record(self, inner, id)
      message.records = message.records + 1
    end
  end
end

--- Reads one message.
function reader:message(bytes)
  local place = cursor(bytes, 1, #bytes)
  assert(number(place.take(2)) == 10, "no message of version 10")
  local message = { length = number(place.take(2)), time = number(place.take(4)), sequence = number(place.take(4)),
    domain = number(place.take(4)), sets = {}, records = 0 }
  assert(message.length == #bytes, "a message of another length than it says")
  while place.left() > 0 do read_set(self, message, place) end
  self.messages[#self.messages + 1] = message
end

--- Reads messages one behind the other.
function reader:stream(bytes)
  local at = 1
  while at <= #bytes do
    local length = number(bytes:sub(at + 2, at + 3))
    assert(length >= 16, "a message without a length")
    self:message(bytes:sub(at, at + length - 1))
    at = at + length
  end
  return self
end

--- A stream that was cut off, without the part of a message at its end.
function ipfix.whole_messages(bytes)
  local at = 1
  while at + 3 <= #bytes do
    local next_at = at + number(bytes:sub(at + 2, at + 3))
    if next_at > #bytes + 1 then break end
    at = next_at
  end
  return bytes:sub(1, at - 1)
end

--- The value of a record's element of that number, as bytes; nil where it has none.
function ipfix.value(record, element, enterprise)
  for i, each in ipairs(record.elements) do
    if each.number == element and each.enterprise == (enterprise or 0) then return record.values[i] end
  end
end

--- What a basicList (RFC 6313) holds: `semantic`, `number`, `enterprise`, and the elements' bytes.
function ipfix.list(bytes)
  local place = cursor(bytes, 1, #bytes)
  local list = { semantic = number(place.take(1)) }
  local element = read_specifier(place)
  list.number, list.enterprise = element.number, element.enterprise
  while place.left() > 0 do list[#list + 1] = place.take(element.length) end
  return list
end

--- Whether sequence numbers count the records before each message, from some number on.
function reader:is_in_sequence(first)
  local expected = first or 0
  for _, message in ipairs(self.messages) do
    if message.sequence ~= expected then return false end
    expected = expected + message.records
  end
  return true
end

return ipfix
