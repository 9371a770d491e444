--- Fixed-length arrays of numbers in a flow: bounds-checked, counted from 1, printed as NFStream prints lists.
--
--   #flow.splt_ps        its length
--   flow.splt_ps[1]      first element
--   flow.splt_ps:table() a Lua table of it
--   flow.splt_ps:copy()  an array of its own
--   tostring(…)          "[54, 66, -1]"

local ffi = require "ffi"

local array = {}

local made = {}

local function make(ctype, length)
  local new = ffi.typeof(("struct { %s at[%d]; }"):format(ctype, length))
  local methods = {}

  local function check(index)
    -- A number that is no index has to fail here: LuaJIT checks no array bounds.
    if not (index >= 1 and index <= length and index == math.floor(index)) then
      error(("array index %s: expected 1 to %d"):format(tostring(index), length), 3)
    end
  end

  --- A Lua table with the same elements.
  function methods.table(self)
    local copy = {}
    for i = 1, length do copy[i] = tonumber(self.at[i - 1]) end
    return copy
  end

  --- An array of its own. The one in a flow lasts only as long as the flow.
  function methods.copy(self) return new(self) end

  return ffi.metatype(new, {
    __len = function() return length end,
    __index = function(self, index)
      if type(index) == "number" then
        check(index)
        return (tonumber(self.at[index - 1])) -- no tail call: LuaJIT follows only a few in one trace
      end
      return methods[index] or error(("an array has no '%s'"):format(tostring(index)), 2)
    end,
    __newindex = function(self, index, value)
      if type(index) ~= "number" then error("array index: expected a number", 2) end
      check(index)
      local kind = type(value)
      if kind ~= "number" and kind ~= "cdata" then error("array element: expected a number, got " .. kind, 2) end
      self.at[index - 1] = value
    end,
    __tostring = function(self) return "[" .. table.concat(methods.table(self), ", ") .. "]" end,
  })
end

--- The array type of `length` elements of a C number type; one type per combination.
function array.type(ctype, length)
  local key = ctype .. "/" .. length
  made[key] = made[key] or make(ctype, length)
  return made[key]
end

return array
