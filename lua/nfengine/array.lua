--- Fixed-length arrays of numbers in a flow: bounds-checked, counted from 1, printed as NFStream prints lists.
--
--   #flow.splt_ps        its length
--   flow.splt_ps[1]      first element
--   flow.splt_ps:table() a Lua table of it
--   flow.splt_ps:copy()  an array of its own
--   flow.udps.x:sort(n)  puts the first n elements in order
--   tostring(…)          "[54, 66, -1]"

local ffi = require "ffi"
local C = require "nfengine.lib"

local array = {}

local type_codes = {
  int8_t = C.NF_TYPE_INT8, int16_t = C.NF_TYPE_INT16, int32_t = C.NF_TYPE_INT32, int64_t = C.NF_TYPE_INT64,
  uint8_t = C.NF_TYPE_UINT8, uint16_t = C.NF_TYPE_UINT16, uint32_t = C.NF_TYPE_UINT32, uint64_t = C.NF_TYPE_UINT64,
  float = C.NF_TYPE_FLOAT, double = C.NF_TYPE_DOUBLE,
}

-- Reading and writing an element is a text for each type, so that it has code of its own, in which the length is a
-- constant: of functions that are made again and again, LuaJIT takes nothing for one.
local ACCESS = [[
local type, floor, tonumber, methods, no_index, no_method, no_number = ...
local function get(self, index)
  if type(index) == "number" then
    -- A number that is no index has to fail here: LuaJIT checks no array bounds.
    if not (index >= 1 and index <= $LENGTH and index == floor(index)) then no_index(index, $LENGTH) end
    return (tonumber(self.at[index - 1])) -- no tail call: LuaJIT follows only a few in one trace
  end
  return methods[index] or no_method(index)
end
local function set(self, index, value)
  if type(index) ~= "number" or not (index >= 1 and index <= $LENGTH and index == floor(index)) then
    no_index(index, $LENGTH)
  end
  local kind = type(value)
  if kind ~= "number" and kind ~= "cdata" then no_number(kind) end
  self.at[index - 1] = value
end
return get, set
]]

local function no_index(index, length)
  if type(index) ~= "number" then error("array index: expected a number", 3) end
  error(("array index %s: expected 1 to %d"):format(tostring(index), length), 3)
end

local function no_method(name) error(("an array has no '%s'"):format(tostring(name)), 3) end
local function no_number(kind) error("array element: expected a number, got " .. kind, 3) end

local made = {}

local function make(ctype, length)
  local new = ffi.typeof(("struct { %s at[%d]; }"):format(ctype, length))
  local type_code = type_codes[ctype]
  local methods = {}

  --- A Lua table with the same elements.
  function methods.table(self)
    local copy = {}
    for i = 1, length do copy[i] = tonumber(self.at[i - 1]) end
    return copy
  end

  --- An array of its own. The one in a flow lasts only as long as the flow.
  function methods.copy(self) return new(self) end

  --- Sorts the first `count` elements, or all, ascending and in place.
  function methods.sort(self, count)
    count = count or length
    if count >= 0 and count <= length then
      C.nf_sort(self.at, count, type_code)
    else
      error(("array:sort: %s elements: expected 0 to %d"):format(tostring(count), length), 2)
    end
  end

  local get, set = assert(loadstring((ACCESS:gsub("%$LENGTH", length)), "=nfengine.array"))(type, math.floor, tonumber,
    methods, no_index, no_method, no_number)
  return ffi.metatype(new, {
    __len = function() return length end,
    __index = get,
    __newindex = set,
    __tostring = function(self) return "[" .. table.concat(methods.table(self), ", ") .. "]" end,
  })
end

--- Whether something is an array.
function array.is_array(value)
  for _, ctype in pairs(made) do
    if ffi.istype(ctype, value) then return true end
  end
  return false
end

--- The array type of `length` elements of a C number type; one type per combination.
function array.type(ctype, length)
  local key = ctype .. "/" .. length
  made[key] = made[key] or make(ctype, length)
  return made[key]
end

return array
