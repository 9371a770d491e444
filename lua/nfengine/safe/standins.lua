--- Stand-ins: what code in the closed world holds instead of the engine's own objects.
--
-- FFI objects are memory: a pointer to a struct can be counted on, flow[1], and each struct has members that are
-- pointers. None may get into the closed world. What gets there are numbers, texts, booleans, 64-bit integers, and
-- stand-ins: userdata without content, from which only this module finds what they stand for. They read by name, check
-- every argument and let nothing else out. Each looks for its object anew, so that one that is kept too long finds
-- nothing, or what its hook is given next, and never memory that is not there any more.

local ffi = require "ffi"
local array = require "nfengine.array"
local new_view = require("nfengine.packet").view

local standins = {}

--- What is lent to the closed world for the time of one call: a packet; a flow, and the source of the stand-in that may
-- use it: what another one may set, this flow may have as another plugin's. False for the rest of time, so that to
-- change it takes no memory.
local lent = { packet = false, flow = false, holder = false }
standins.lent = lent

-- By stand-in: its kind; a function that gives what it stands for, or raises; what is in it, by name; which of a flow's
-- columns may be set.
local kinds, sources, parts, owned = {}, {}, {}, {}
for _, list in ipairs { kinds, sources, parts, owned } do setmetatable(list, { __mode = "k" }) end

-- ---- kinds of stand-ins ----

--- A kind of stand-ins with these metamethods. Returns a function that makes one.
-- @param name as messages have it
local function kind(name, metamethods)
  local template = newproxy(true)
  local meta = getmetatable(template)
  for event, metamethod in pairs(metamethods) do meta[event] = metamethod end
  meta.__metatable = false
  meta.__tostring = meta.__tostring or function() return name end
  return function(source)
    local standin = newproxy(template)
    kinds[standin], sources[standin] = name, source
    return standin
  end
end

--- What the `self` of a method of this kind stands for.
local function object_of(self, name, method)
  if kinds[self] == name then return (sources[self]()) end
  error(("%s.%s: expected %s:%s(), with a colon"):format(name, method, name, method), 3)
end

standins.object_of = object_of

--- An argument that is to be a number, or may be left out.
local function check_number(value, what, is_optional)
  if type(value) == "number" or is_optional and value == nil then return value end
  error(("%s: expected a number, got %s"):format(what, type(value)), 3)
end

--- The same for one that is to be an integer in these bounds.
function standins.check_integer(value, what, low, high)
  if type(value) == "number" and value % 1 == 0 and value >= low and value <= high then return value end
  error(("%s: expected an integer from %.0f to %.0f, got %s"):format(what, low, high, tostring(value)), 3)
end

function standins.check_text(value, what)
  if type(value) == "string" then return value end
  error(("%s: expected a string, got %s"):format(what, type(value)), 3)
end

local function is_integer_object(value) return ffi.istype("int64_t", value) or ffi.istype("uint64_t", value) end

-- ---- views ----

local view_methods, new_view_standin = {}, nil

for _, name in ipairs { "u8", "u16", "u24", "u32" } do
  local what = "view:" .. name
  view_methods[name] = function(self, offset)
    local view = object_of(self, "view", name)
    if offset == nil then return nil end
    return (view[name](view, check_number(offset, what)))
  end
end

function view_methods:string(offset, length)
  local view = object_of(self, "view", "string")
  return (view:string(check_number(offset, "view:string", true), check_number(length, "view:string", true)))
end

function view_methods:ip(offset, version)
  local view = object_of(self, "view", "ip")
  return (view:ip(check_number(offset, "view:ip"), check_number(version, "view:ip")))
end

function view_methods:sub(offset, length)
  local view = object_of(self, "view", "sub")
  if not view:sub(check_number(offset, "view:sub"), check_number(length, "view:sub", true)) then return nil end
  local source = sources[self]
  return new_view_standin(function()
    local whole = source()
    return whole:sub(offset, length) or error("view: its packet is not there any more", 0)
  end)
end

new_view_standin = kind("view", {
  __index = function(_, key)
    return view_methods[key] or error(("a view has no '%s'"):format(tostring(key)), 2)
  end,
  __len = function(self) return #sources[self]() end,
})

--- A stand-in for the view that a function gives.
standins.view = new_view_standin

local function is_view(value) return ffi.istype(new_view, value) end

-- ---- arrays ----

local array_methods, new_array = {}, nil

function array_methods:table() return object_of(self, "array", "table"):table() end

function array_methods:copy()
  local copy = object_of(self, "array", "copy"):copy()
  local standin = new_array(function() return copy end)
  owned[standin] = true
  return standin
end

function array_methods:sort(count)
  local target = object_of(self, "array", "sort")
  if not owned[self] then error("array:sort: --safe: not an array of this plugin, expected a copy", 2) end
  target:sort(count ~= nil and standins.check_integer(count, "array:sort", 0, #target) or nil)
end

new_array = kind("array", {
  __index = function(self, index)
    if type(index) == "number" then return (sources[self]()[index]) end
    return array_methods[index] or error(("an array has no '%s'"):format(tostring(index)), 2)
  end,
  __newindex = function(self, index, value)
    if not owned[self] then error("array: --safe: not an array of this plugin, expected a copy", 2) end
    if type(value) ~= "number" and not is_integer_object(value) then
      error("array element: expected a number, got " .. type(value), 2)
    end
    sources[self]()[check_number(index, "array index")] = value
  end,
  __len = function(self) return #sources[self]() end,
  __tostring = function(self) return tostring(sources[self]()) end,
})

-- ---- what is in flows and packets ----

--- A part of what a stand-in stands for, made once and found by name ever after.
local function part(self, key, make)
  local known = parts[self]
  if not known then
    known = {}
    parts[self] = known
  end
  if not known[key] then
    local source = sources[self]
    known[key] = make(function() return source()[key] end)
  end
  return known[key]
end

--- What a stand-in's field holds, if that may be known: nothing but values and parts.
-- @param what "flow", for messages
local function field(self, key, what)
  local known = parts[self]
  known = known and known[key]
  if known then return known end
  if type(key) ~= "string" then error(("%s has no '%s'"):format(what, tostring(key)), 3) end
  local value = sources[self]()[key]
  local of = type(value)
  if of == "number" or of == "string" or of == "boolean" or of == "nil" or is_integer_object(value) then
    return value
  elseif array.is_array(value) then
    local standin = part(self, key, new_array)
    local names = what == "flow.udps" and owned[self]
    owned[standin] = names and names[key] or nil
    return standin
  elseif is_view(value) then
    return part(self, key, new_view_standin)
  end
  error(("--safe: %s.%s is not there"):format(what, key), 3)
end

local SETTABLE = { expiration_id = "number", is_closing = "boolean", is_frozen = "boolean" }

local new_udps = kind("flow.udps", {
  __index = function(self, key) return (field(self, key, "flow.udps")) end,
  __newindex = function(self, key, value)
    local names = owned[self]
    if not (names and names[key]) then
      error(("flow.udps.%s: --safe: cannot be set, expected a column or state of this plugin"):format(tostring(key)), 2)
    end
    local of = type(value)
    if of == "userdata" then
      value = (kinds[value] == "buffer" or kinds[value] == "array") and sources[value]() or nil
    elseif of ~= "number" and of ~= "string" and of ~= "boolean" and not is_integer_object(value) then
      value = nil
    end
    if value == nil then error(("flow.udps.%s: expected a number or a string, got %s"):format(key, of), 2) end
    sources[self]()[key] = value
  end,
})

local flow_methods, new_flow = {}, nil

local function own_array(value)
  if array.is_array(value) then return new_array(function() return value end) end
  return value
end

function flow_methods:keys() return object_of(self, "flow", "keys"):keys() end
function flow_methods:to_table() return object_of(self, "flow", "to_table"):to_table() end

function flow_methods:done() object_of(self, "flow", "done"):done() end

function flow_methods:values()
  local values = object_of(self, "flow", "values"):values()
  for i, value in pairs(values) do
    if type(value) == "cdata" then values[i] = own_array(value) end
  end
  return values
end

function flow_methods:copy()
  local record = object_of(self, "flow", "copy"):copy()
  return new_flow(function() return record end)
end

function flow_methods:exact(name)
  return (object_of(self, "flow", "exact"):exact(standins.check_text(name, "flow:exact")))
end

new_flow = kind("flow", {
  __index = function(self, key)
    if key == "udps" then
      local known = parts[self]
      if known and known.udps then return known.udps end
      local standin = part(self, "udps", new_udps)
      owned[standin] = owned[self]
      return standin
    end
    return flow_methods[key] or (field(self, key, "flow"))
  end,
  __newindex = function(self, key, value)
    if not owned[self] or not SETTABLE[key] then
      error(("flow.%s: --safe: cannot be set, hooks may set expiration_id, is_closing and is_frozen")
        :format(tostring(key)), 2)
    end
    if type(value) ~= SETTABLE[key] then
      error(("flow.%s: expected a %s, got %s"):format(key, SETTABLE[key], type(value)), 2)
    end
    sources[self]()[key] = value
  end,
  __tostring = function(self) return tostring(sources[self]()) end,
})

local function lent_packet() return lent.packet or error("packet: expected to be used while its hook runs", 0) end

--- A stand-in for whatever flow is lent to it.
-- @param names set of those columns and state that may be set in it; nil: it is only read
function standins.flow(names)
  local source -- knows itself, and not the stand-in, which would be kept for ever then
  function source()
    return lent.holder == source and lent.flow
      or error("flow: expected to be used while the hook runs that it was given to, or flow:copy()", 0)
  end
  local standin = new_flow(source)
  owned[standin] = names
  return standin
end

--- The source of a stand-in, for lent.holder.
function standins.source_of(standin) return sources[standin] end

--- A stand-in for a record, which it keeps.
function standins.record(record)
  return new_flow(function() return record end)
end

local packet_methods = {}

function packet_methods:ip_packet() return (object_of(self, "packet", "ip_packet"):ip_packet()) end
function packet_methods:payload() return (object_of(self, "packet", "payload"):payload()) end

--- The stand-in for whatever packet is lent.
standins.packet = kind("packet", {
  __index = function(self, key) return packet_methods[key] or (field(self, key, "packet")) end,
  __newindex = function(_, key)
    error(("packet.%s cannot be set: packets are read-only"):format(tostring(key)), 2)
  end,
})(lent_packet)

-- ---- for modules of which the closed world has some ----

standins.kind = kind

--- What an argument stands for that is to be a view, in the function `what`.
function standins.view_of(standin, what)
  if kinds[standin] == "view" then return (sources[standin]()) end
  error(("%s: expected a view, got %s"):format(what, type(standin)), 3)
end

--- The same for an array that may be set, or that is only read.
function standins.array_of(standin, what, is_set)
  if kinds[standin] ~= "array" then error(("%s: expected an array, got %s"):format(what, type(standin)), 3) end
  if is_set and not owned[standin] then
    error(("%s: --safe: not an array of this plugin, expected one"):format(what), 3)
  end
  return (sources[standin]())
end

--- What an argument stands for if it is a stand-in of this kind, else nil.
function standins.find(standin, name) return kinds[standin] == name and sources[standin]() or nil end

return standins
