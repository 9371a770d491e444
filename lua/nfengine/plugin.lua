--- Plugins: what a script or a file declares, checked, given its options, and laid out as typed slots behind each flow.
--
--   local Counter = nf.plugin {
--     name    = "counter",
--     options = { size = { 555, "packet size to count" } },
--     columns = { { "hits", "uint32", "packets of that size" } },
--     on_init = function(self, packet, flow) … end,
--     …
--   }
--   udps = { Counter { size = 666 } }

local ffi = require "ffi"
local jit_util = require "jit.util"
local array = require "nfengine.array"
local columns = require "nfengine.columns"
local options = require "nfengine.options"
local text = require "nfengine.text"

local plugin = {}

--- The plugin interface of this nfengine. A plugin's `api` says for which it was written.
plugin.API = 1

--- Hooks, in the order of a run. Absent ones cost nothing. on_record runs where records are given out, the others in
-- the meters.
plugin.hooks = { "setup", "on_init", "on_update", "on_expire", "on_record", "merge", "cleanup" }

-- What a plugin may list in `needs`, so that runs without it need not pay: packets' comments, for packet.comment; the
-- processes at flows' local ends, for system_process_pid on interfaces.
local needs = { "comments", "processes" }

local DEFAULT_TEXT = 64     -- bytes of a "string" column without a length
local LONGEST_TEXT = 65535
local LONGEST_ARRAY = 65535

local fields = {
  name = "string", version = "string", api = "number", description = "string", author = "string", license = "string",
  categories = "table", options = "table",
  columns = "table or a function of the options", state = "table or a function of the options",
  independent = "boolean", needs = "table",
  setup = "function", on_init = "function", on_update = "function", on_expire = "function", on_record = "function",
  merge = "function", cleanup = "function",
}

-- ---- columns and state ----

-- Names that the C declaration of the slots cannot hold, or that no Lua text can say behind "flow.udps.".
local reserved = {}
for word in ([[auto break case char const continue default do double else enum extern float for goto if inline int long
  register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while bool
  asm complex int8_t int16_t int32_t int64_t uint8_t uint16_t uint32_t uint64_t
  and elseif end false function in local nil not or repeat then true until]]):gmatch "%S+" do
  reserved[word] = true
end

--- "uint32", "string", "string:100" or "uint16[20]" → type name, length, whether an array; nil and what was expected.
local function parse_type(declared)
  local expected = 'expected bool, int8 to int64, uint8 to uint64, float, double, "string", "string:LENGTH" or '
    .. '"TYPE[LENGTH]"'
  if type(declared) ~= "string" then return nil, expected end
  if declared == "string" then return "text", DEFAULT_TEXT + 1 end
  local length = tonumber(declared:match "^string:(%d+)$")
  if length then
    if length < 1 or length > LONGEST_TEXT then return nil, "expected a length from 1 to " .. LONGEST_TEXT end
    return "text", length + 1
  end
  local base, count = declared:match "^(%w+)%[(%d+)%]$"
  base, count = base or declared, tonumber(count)
  local kind = columns.types[base]
  if not kind or not (kind.is_number or base == "bool") or count and base == "bool" then return nil, expected end
  if count and (count < 1 or count > LONGEST_ARRAY) then return nil, "expected a length from 1 to " .. LONGEST_ARRAY end
  return base, count or 1, count ~= nil
end

--- A slot's type as it is declared.
function plugin.type_text(slot)
  if slot.type == "text" then
    return slot.length == DEFAULT_TEXT + 1 and "string" or ("string:%d"):format(slot.length - 1)
  end
  return slot.is_array and ("%s[%d]"):format(slot.type, slot.length) or slot.type
end

local function parse_slot(entry, owner, what)
  local name, declared, doc = entry[1], entry[2], entry[3]
  if type(name) ~= "string" or not name:match "^%a[%w_]*$" or reserved[name] then
    error(("%s: %s %s: expected a name of letters, digits and underscores that is no keyword of C or Lua")
      :format(owner, what, text.quote(name)), 0)
  end
  local type_name, length, is_array = parse_type(declared)
  if not type_name then
    error(("%s: %s %s: type %s: %s"):format(owner, what, name, text.quote(declared), length), 0)
  end
  if entry.is_identifying ~= nil and type(entry.is_identifying) ~= "boolean" then
    error(("%s: %s %s: is_identifying = %s: expected true or false")
      :format(owner, what, name, text.quote(entry.is_identifying)), 0)
  end
  return {
    name = name, type = type_name, length = length, is_array = is_array, doc = doc or "", owner = owner,
    is_identifying = entry.is_identifying,
  }
end

local function parse_slots(list, owner, what)
  local slots = {}
  for key, entry in pairs(list or {}) do
    if type(key) ~= "number" or type(entry) ~= "table" then
      local got = type(key) == "number" and text.quote(entry) or tostring(key) .. " = " .. text.quote(entry)
      error(("%s: %s: expected { name, type, doc }, got %s"):format(owner, what, got), 0)
    end
    slots[key] = parse_slot(entry, owner, what)
  end
  for key in pairs(slots) do
    if key ~= math.floor(key) or key < 1 or key > 1 and slots[key - 1] == nil then
      error(("%s: %s %s: number %s in its list without one before it, expected no gaps")
        :format(owner, what, slots[key].name, key), 0)
    end
  end
  return slots
end

--- The slots of a class's `columns` or `state`, which may be a function of the options, with these values for them.
local function slots_with(self, part, values)
  local declared, owner = self.definition[part], "plugin " .. self.name
  if type(declared) == "function" then
    local given = {} -- a copy: the function is not to change an instance
    for _, option in ipairs(self.options) do given[option.name] = rawget(values, option.name) end
    local ok, list = pcall(declared, given)
    if not ok then error(("%s: %s: %s"):format(owner, part, text.raised(list)), 0) end
    if type(list) ~= "table" then
      error(("%s: %s: expected the function to return a table, got %s"):format(owner, part, type(list)), 0)
    end
    declared = list
  end
  return parse_slots(declared, owner, part == "columns" and "column" or "state")
end

-- ---- declaring ----

--- Checks a declaration's name, and that it has no fields but these, of these types. Raises one line.
function plugin.check_fields(definition, owner, known)
  if type(definition.name) ~= "string" or not definition.name:match "^%a[%w_]*$" then
    error(("%s: name = %s: expected letters, digits and underscores"):format(owner, text.quote(definition.name)), 0)
  end
  for field, value in pairs(definition) do
    if not known[field] then
      local suggestion = text.suggest(field, text.sorted_keys(known))
      error(("%s: unknown field %s%s"):format(owner, text.quote(field), suggestion), 0)
    end
    if not known[field]:find(type(value), 1, true) then
      error(("%s: %s: expected a %s, got %s"):format(owner, field, known[field], type(value)), 0)
    end
  end
end

--- Checks what every shared file says of itself, beyond the types of its fields.
function plugin.check_header(definition, owner)
  if definition.api and definition.api ~= plugin.API then
    error(("%s: api = %s: expected %d, the plugin interface of this nfengine")
      :format(owner, definition.api, plugin.API), 0)
  end
  if not definition.categories then return end
  local ok, problem = require("nfengine.categories").check(definition.categories)
  if not ok then error(("%s: categories: %s"):format(owner, problem), 0) end
end

local function check_needs(list, owner)
  for key, need in pairs(list) do
    if type(key) ~= "number" or not text.contains(needs, need) then
      local got = type(key) == "number" and text.quote(need) or text.quote(key) .. " = " .. text.quote(need)
      error(("%s: needs: %s: expected a list of %s"):format(owner, got, table.concat(needs, ", ")), 0)
    end
  end
  return list
end

local class = {}
class.__index = class
class.__tostring = function(self) return "plugin " .. self.name end

--- Stands in meters for hooks that are called elsewhere.
function plugin.elsewhere() end

-- How nfengine.transfer carries a class: declared anew, with the hooks that the meters need.
class.__carry = function(self)
  local carried = {}
  for field, value in pairs(self.definition) do carried[field] = value end
  if self.on_record then carried.on_record = plugin.elsewhere end
  if not plugin.runs_in_meters(self) then carried.setup, carried.cleanup = nil, nil end
  return "nfengine.plugin", "declare", carried
end

-- How it carries an instance: its options. What setup adds, setup adds again there.
local function carry_instance(instance)
  local owner, values = getmetatable(instance).class, {}
  for _, option in ipairs(owner.options) do values[option.name] = rawget(instance, option.name) end
  return "nfengine.plugin", "restore", { class = owner, options = values }
end

-- An instance with values for all options, which have been checked. What its columns will be is checked here, too.
local function make_instance(self, values)
  for _, part in ipairs { "columns", "state" } do
    if type(self.definition[part]) == "function" then slots_with(self, part, values) end
  end
  local meta
  meta = {
    class = self,
    is_running = false, -- between setup and cleanup
    -- What a hook added to self would be state across flows that nobody was told of.
    __newindex = function(instance, key, value)
      if meta.is_running then
        error(("self.%s: a field of its own is set first in setup(self)"):format(tostring(key)), 2)
      end
      rawset(instance, key, value)
    end,
    __carry = carry_instance,
    __tostring = function() return "plugin " .. self.name end,
    slots = {}, -- of one that is closed in, as it said first
    -- A misspelt option must not read as nil. What a plugin keeps of its own begins in setup.
    __index = function(_, key)
      local names = {}
      for i, option in ipairs(self.options) do names[i] = option.name end
      error(("self.%s: plugin %s has no such option%s; a field of its own is set first in setup(self)")
        :format(tostring(key), self.name, text.suggest(key, names)), 2)
    end,
  }
  meta.__metatable = meta -- getmetatable gives it, and setmetatable takes no other
  return setmetatable(values, meta)
end

--- Says whether a run has set an instance up: from then on its hooks add no fields to it.
function plugin.set_running(instance, is_running) getmetatable(instance).is_running = is_running end

--- An instance with these options: `CustomSize { size = 666 }`.
class.__call = function(self, given)
  if given ~= nil and type(given) ~= "table" then
    error(("plugin %s: options %s: expected a table"):format(self.name, text.quote(given)), 2)
  end
  local ok, values = pcall(options.resolve, self.options, given or {}, "plugin " .. self.name)
  if not ok then error(values, 2) end
  local made, instance = pcall(make_instance, self, values)
  if not made then error(instance, 2) end
  return instance
end

--- Checks a declaration and makes a class of it. Raises one line naming the plugin and the field.
function plugin.declare(definition)
  if type(definition) ~= "table" then error(("nf.plugin: %s: expected a table"):format(text.quote(definition)), 0) end
  local owner = "plugin " .. tostring(definition.name)
  plugin.check_fields(definition, owner, fields)
  plugin.check_header(definition, owner)
  local self = { name = definition.name, description = definition.description, version = definition.version }
  self.definition = {} -- a copy: the table given may become another plugin's
  for field in pairs(fields) do self.definition[field] = definition[field] end
  self.options = options.from_short(definition.options or {}, owner)
  local defaults = options.resolve(self.options, {}, owner)
  self.columns = slots_with(self, "columns", defaults) -- as they are without options; plugin.slots has an instance's
  self.state = slots_with(self, "state", defaults)
  self.needs = check_needs(definition.needs or {}, owner)
  for _, hook in ipairs(plugin.hooks) do
    if definition[hook] and jit_util.funcinfo(definition[hook]).addr then
      error(("%s: %s: expected a function written in Lua, got one of C's"):format(owner, hook), 0)
    end
    self[hook] = definition[hook]
  end
  self.independent = definition.independent or false
  if self.merge and self.on_record then
    error(owner .. ": merge and on_record: expected one of them: what on_record keeps is in one place already", 0)
  end
  return setmetatable(self, class)
end

--- An instance as its __carry describes it: a class, and values for all its options.
function plugin.restore(carried) return make_instance(carried.class, carried.options) end

--- Sets options of an instance, checked, over those it was made with. Raises one line.
function plugin.set_options(instance, given)
  local owner = plugin.class_of(instance)
  local values = {}
  for _, option in ipairs(owner.options) do values[option.name] = rawget(instance, option.name) end
  for name, value in pairs(given) do values[name] = value end
  for name, value in pairs(options.resolve(owner.options, values, "plugin " .. owner.name)) do
    rawset(instance, name, value)
  end
end

--- Whether a class has work in meters' threads, and not only with records.
function plugin.runs_in_meters(owner)
  return owner.on_init or owner.on_update or owner.on_expire or not owner.on_record
end

--- Whether something is a class, as nf.plugin makes them.
function plugin.is_class(value) return getmetatable(value) == class end

--- The class of an instance, or nil for anything else.
function plugin.class_of(instance)
  local meta = type(instance) == "table" and getmetatable(instance)
  return meta and meta.class
end

--- The slots of an instance's `columns` or `state`, as its options have it. Code of others that is closed in could say
-- something else each time, and so set what is not its own: what it said first holds.
function plugin.slots(instance, part)
  local owner = plugin.class_of(instance)
  if type(owner.definition[part]) ~= "function" then return owner[part] end
  if not owner.is_closed_in then return slots_with(owner, part, instance) end
  local slots = getmetatable(instance).slots
  slots[part] = slots[part] or slots_with(owner, part, instance)
  return slots[part]
end

--- Whether one of these instances' plugins lists this in `needs`.
function plugin.need(instances, what)
  for _, instance in ipairs(instances) do
    if text.contains(plugin.class_of(instance).needs, what) then return true end
  end
  return false
end

--- A list of instances from what `udps` accepts: an instance, a class, or a list of these.
function plugin.instances(udps)
  if udps == nil then return {} end
  if plugin.class_of(udps) or getmetatable(udps) == class then udps = { udps } end
  local instances, places, last = {}, {}, 0
  local function refuse(what, value)
    error(("%s = %s: expected a plugin made by nf.plugin, or a list of these"):format(what, text.quote(value)), 0)
  end
  if type(udps) ~= "table" then refuse("udps", udps) end
  for key, entry in pairs(udps) do
    if type(key) ~= "number" then refuse("udps." .. tostring(key), entry) end
    last = math.max(last, key)
  end
  for i = 1, last do
    local entry = udps[i]
    if getmetatable(entry) == class then entry = entry {} end
    local owner = plugin.class_of(entry)
    if not owner then refuse(("udps[%d]"):format(i), entry) end
    if places[entry] then
      error(("udps[%d]: plugin %s is udps[%d] already, expected another instance")
        :format(i, owner.name, places[entry]), 0)
    end
    instances[i], places[entry] = entry, i
  end
  return instances
end

-- ---- laying out ----

-- Declares a slot's member. Texts and 64-bit numbers hide behind accessors, so that Lua sees strings and numbers.
local function declare_member(slot, types)
  local kind = columns.types[slot.type]
  if slot.type == "text" then
    slot.member = "_" .. slot.name
    return ("char %s[%d];"):format(slot.member, slot.length)
  elseif slot.is_array then
    slot.member = slot.name
    types[#types + 1] = array.type(kind.ctype, slot.length)
    return ("$ %s;"):format(slot.member)
  end
  slot.member = kind.is_wide and "_" .. slot.name or slot.name
  return ("%s %s;"):format(kind.ctype, slot.member)
end

local function collect_slots(instances)
  local slots, taken = {}, {}
  for place, instance in ipairs(instances) do
    local owner = plugin.class_of(instance)
    for _, part in ipairs { "columns", "state" } do
      for _, slot in ipairs(plugin.slots(instance, part)) do
        if taken[slot.name] then
          error(("plugin %s: column %s is already declared by plugin %s")
            :format(owner.name, slot.name, taken[slot.name]), 0)
        end
        taken[slot.name] = owner.name
        local copy = {}
        for key, value in pairs(slot) do copy[key] = value end
        copy.is_column = part == "columns"
        copy.is_final, copy.is_of_record, copy.place_of_owner = owner.on_expire ~= nil, owner.on_record ~= nil, place
        slots[#slots + 1] = copy
      end
    end
  end
  return slots
end

local function undeclared(key, slots)
  local names = {}
  for i, slot in ipairs(slots) do names[i] = slot.name end
  error(("flow.udps.%s is not declared%s: add { %q, TYPE, \"doc\" } to the plugin's columns or state")
    :format(tostring(key), text.suggest(key, names), tostring(key)), 3)
end

-- Reads and writes of members that hide behind accessors: a text for each, so that it has code of its own, in which
-- names are constants. The parentheses keep calls from being tail calls, of which LuaJIT follows only a few in a trace.
local ACCESSORS = {
  text = [[
local get_text, set_text = ...
return function(udps) return (get_text(udps.$MEMBER)) end,
  function(udps, value) set_text(udps.$MEMBER, $LENGTH, value) end
]],
  wide = [[
local tonumber, type, no_number = ...
return function(udps) return (tonumber(udps.$MEMBER)) end,
  function(udps, value)
    local kind = type(value)
    if kind ~= "number" and kind ~= "cdata" then no_number("$NAME", kind) end -- cdata: 64-bit integers
    udps.$MEMBER = value
  end
]],
}

local function no_number(name, kind) error(("flow.udps.%s: expected a number, got %s"):format(name, kind), 4) end

local function compile_accessors(slot, template, ...)
  local parts = { MEMBER = slot.member, LENGTH = slot.length, NAME = slot.name }
  return assert(loadstring((template:gsub("%$(%u+)", parts)), "=flow.udps." .. slot.name))(...)
end

local function make_accessors(slots)
  local getters, setters = {}, {}
  local set_text = require "nfengine.flow".set_text
  for _, slot in ipairs(slots) do
    local name = slot.name
    if slot.type == "text" then
      getters[name], setters[name] = compile_accessors(slot, ACCESSORS.text, ffi.string, set_text)
    elseif not slot.is_array and columns.types[slot.type].is_wide then
      getters[name], setters[name] = compile_accessors(slot, ACCESSORS.wide, tonumber, type, no_number)
    end
  end
  return getters, setters
end

local function make_type(declaration, types, slots)
  local ctype = ffi.typeof(declaration, unpack(types))
  local getters, setters = make_accessors(slots)
  return ffi.metatype(ctype, {
    __index = function(udps, key)
      local get = getters[key]
      if get then return (get(udps)) end -- no tail call
      undeclared(key, slots)
    end,
    __newindex = function(udps, key, value)
      local set = setters[key]
      if not set then undeclared(key, slots) end
      set(udps, value)
    end,
  })
end

local made = {} -- by what they are made of: LuaJIT never forgets a type, and has room for 65536

--- The plugins' section of a flow.
-- @param instances list of plugin instances
-- @return its ctype (nil when no plugin declares anything) and its slots, each with name, type, length, doc, member,
--   is_array and is_column
function plugin.layout(instances)
  local slots = collect_slots(instances)
  if #slots == 0 then return nil, slots end
  local members, types, key = {}, {}, {}
  for i, slot in ipairs(slots) do members[i] = declare_member(slot, types) end
  local declaration = "struct { " .. table.concat(members, " ") .. " }"
  for i, ctype in ipairs(types) do key[i] = tostring(ctype) end
  key = declaration .. table.concat(key)
  made[key] = made[key] or make_type(declaration, types, slots)
  return made[key], slots
end

-- What a text holds is for its plugin to say: one that does not may be an address as well as not.
local function is_identifying(slot)
  if slot.is_identifying == nil then return slot.type == "text" end
  return slot.is_identifying
end

--- The columns that plugins' slots give, as columns.of_run describes columns; `offset` is where their section begins.
function plugin.columns(ctype, slots, offset)
  local list = {}
  for _, slot in ipairs(slots) do
    if slot.is_column then
      list[#list + 1] = {
        name = "udps." .. slot.name, type = slot.type, doc = slot.doc, group = "udps", length = slot.length,
        is_array = slot.is_array, owner = slot.owner, place_of_owner = slot.place_of_owner,
        is_final = slot.is_final, is_of_record = slot.is_of_record, place = "udps." .. slot.member,
        is_identifying = is_identifying(slot),
        offset = offset + ffi.offsetof(ctype, slot.member),
      }
    end
  end
  return list
end

return plugin
