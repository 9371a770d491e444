--- What Lua sees of a flow: one struct a run, laid out from the columns that the run has, with an accessor per column.
--
-- Every column is a plain number or string: `flow.src_ip`, `flow.bidirectional_bytes + 1`. Numbers can be set, texts
-- too; `on_expire` is the place for it. `flow.udps` holds the plugins' own columns.

local bit = require "bit"
local ffi = require "ffi"
local C = require "nfengine.lib"
local array = require "nfengine.array"
local is_buffer = require("nfengine.bytes").is_buffer
local columns = require "nfengine.columns"
local text = require "nfengine.text"

local flow = {}

--- The bit among a flow's watchers of the plugin whose hook runs, 0 where it has none: dispatch.lua sets it.
flow.caller = ffi.new "struct { int32_t bit; }"

-- ---- helpers that generated accessors use ----

local helpers = {
  C = C, ffi = ffi, tonumber = tonumber, error = error,
  ip_text = ffi.new("char[46]"), mac_text = ffi.new("char[18]"),
}

--- Sample deviation of a flow that still lives.
function helpers.deviation(squares, divisor)
  return divisor > 0 and math.sqrt(squares / divisor) or 0
end

--- A number, or a 64-bit integer, for a column that is set.
function helpers.check_number(name, value)
  local kind = type(value)
  if kind ~= "number" and kind ~= "cdata" then error(("flow.%s: expected a number, got %s"):format(name, kind), 4) end
end

function helpers.check_boolean(name, value)
  if type(value) ~= "boolean" then error(("flow.%s: expected true or false, got %s"):format(name, type(value)), 4) end
end

--- A live flow is found by its key, and ends by when it was last seen, which therefore have to stay as they are.
function helpers.check_ended(name, f)
  if f.core.end_reason == 0 then error(("flow.%s can only be set in on_expire"):format(name), 4) end
end

local anchors = setmetatable({}, { __mode = "k" })

--- Keeps a record alive as long as a reference into it is kept.
function helpers.anchored(reference, record)
  anchors[reference] = record
  return reference
end

function helpers.oui(address)
  C.nf_format_mac(helpers.mac_text, address)
  return (ffi.string(helpers.mac_text, 8))
end

--- Copies a Lua string, or what is in a bytes.buffer, into char[length], cut between UTF-8 characters, and ends it in
-- NUL. `owner` says whose it is: "flow.user_agent: ".
function helpers.set_text(field, length, value, owner)
  if is_buffer(value) then
    local n = #value
    if n < length then
      ffi.copy(field, value.data, n)
      field[n] = 0
      return
    end
    value = value:string()
  end
  if type(value) ~= "string" then error(("%sexpected a string, got %s"):format(owner or "", type(value)), 4) end
  local n = #value
  if n > length - 1 then
    n = length - 1
    while n > 0 and value:byte(n + 1) >= 0x80 and value:byte(n + 1) < 0xc0 do n = n - 1 end
  end
  ffi.copy(field, value, n)
  field[n] = 0
end

flow.set_text = helpers.set_text

-- ---- accessors ----

-- A column's place in a flow `f`.
local function place_of(column, is_record)
  return "f." .. (is_record and column.place:gsub("^udps%.", "_udps.") or column.place)
end

-- A column's value as an expression over the flow `f`.
local function getter_expression(column, is_record)
  local place = place_of(column, is_record)
  if column.is_array then return (is_record and "anchored(%s, f)" or "%s"):format(place) end
  if column.type == "text" then return ("ffi.string(%s)"):format(place) end
  if column.type == "ip" then
    return ("ffi.string(ip_text, C.nf_format_ip(ip_text, %s, f.core.ip_version))"):format(place)
  end
  if column.type == "mac" then return ("ffi.string(mac_text, C.nf_format_mac(mac_text, %s))"):format(place) end
  if column.type == "oui" then return ("oui(%s)"):format(place) end
  if column.type == "end_reason" then return ("ffi.string(C.nf_end_name(%s))"):format(place) end
  local scope, series = column.place:match "^statistics%[(%d)%]%.(%w+)%.spread$"
  if scope then -- the sum of squares until the flow has ended, then the deviation itself
    return ("f.core.end_reason ~= 0 and %s or deviation(%s, tonumber(f.core.scope[%s].packets) - %d)")
      :format(place, place, scope, series == "ps" and 1 or 2)
  end
  return (columns.types[column.type].is_wide and "tonumber(%s)" or "%s"):format(place)
end

local function setter_source(column, is_record)
  local place = place_of(column, is_record)
  if column.type == "text" then
    return ("set_text(%s, %d, value, 'flow.%s: ')"):format(place, column.length, column.name)
  end
  if columns.types[column.type].is_number and not column.is_array then
    local is_kept = column.place:find "^core%.tuple" or column.place == "core.scope[0].last_seen"
    local check = is_kept and ("check_ended('%s', f) "):format(column.name) or ""
    return check .. ("check_number('%s', value) %s = value"):format(column.name, place)
  end
  if column.type == "bool" and not column.is_array then
    return ("check_boolean('%s', value) %s = value"):format(column.name, place)
  end
  return ("error(\"flow.%s cannot be set\", 3)"):format(column.name)
end

-- What generated accessors use, as locals: LuaJIT takes these for constants, and not what a table holds.
local LOCALS = ("local %s = %s "):gsub("%%s", table.concat(text.sorted_keys(helpers), ", "))

local function compile(name, source)
  local chunk = assert(loadstring(LOCALS .. source, "=" .. name))
  return setfenv(chunk, helpers)
end

-- The parentheses keep calls from being tail calls, of which LuaJIT follows only a few in one trace.
local function make_getter(column, is_record)
  local source = ("return function(f) return (%s) end"):format(getter_expression(column, is_record))
  return compile("flow." .. column.name, source)()
end

local function make_setter(column, is_record)
  local source = ("return function(f, value) %s end"):format(setter_source(column, is_record))
  return compile("flow." .. column.name, source)()
end

-- Accessors by column name, each compiled when it is first used: what is there already, and a function for what is not,
-- which returns nil where there is no such column. That LuaJIT leaves to the interpreter: were it part of a trace, of
-- the function that looks for accessors, this would end there, and with it all that use a column.
local function accessors(available, make, is_record)
  local by_name, made = {}, {}
  for _, column in ipairs(available) do by_name[column.name] = column end
  local function compile_one(name)
    if by_name[name] then made[name] = make(by_name[name], is_record) end
    return made[name]
  end
  jit.off(compile_one)
  return made, compile_one
end

-- ---- the run's struct ----

-- There are two types of it. A live flow lies in the meter's memory and is lent to hooks; its udps are a plain member.
-- A record is a copy that Lua's collector frees, and whatever points into it has to keep it alive: its arrays and udps
-- do.

local function struct_of(run, is_record)
  local members, types = { "struct nf_flow core;" }, {}
  local function member(declaration, ctype)
    members[#members + 1] = declaration
    types[#types + 1] = ctype
  end
  if run.layout.statistics > 0 then member "struct nf_statistics statistics[3];" end
  if run.layout.splt > 0 then
    local n = run.layout.splt_length
    member("struct { $ piat; $ ps; $ direction; } splt;", array.type("int64_t", n))
    types[#types + 1] = array.type("int32_t", n)
    types[#types + 1] = array.type("int8_t", n)
  end
  if run.layout.l7 > 0 then member "struct nf_l7 l7;" end
  if run.layout.l7_extra > 0 then member "struct nf_l7_extra l7_extra;" end
  if run.layout.process > 0 then member "struct nf_process process;" end
  if run.udps then member(("$ %s __attribute__((aligned(8)));"):format(is_record and "_udps" or "udps"), run.udps) end
  if run.texts then member(("struct { %s } masked __attribute__((aligned(8)));"):format(run.texts)) end
  return ffi.typeof("struct { " .. table.concat(members, " ") .. " }", unpack(types))
end

local function check_layout(ctype, layout)
  for _, section in ipairs { "statistics", "splt", "l7", "l7_extra", "process", "udps" } do
    local got = ffi.offsetof(ctype, section) or 0
    if got ~= layout[section] then
      error(("nfengine: section %s lies at %d in C, at %d in Lua"):format(section, layout[section], got), 0)
    end
  end
end

-- What to switch on for a column that this run does not have.
local remedies = {
  tunnel = "decode_tunnels is false", statistics = "needs statistical_analysis = true",
  splt = "needs splt_analysis > 0", l7 = "needs n_dissections > 0", l7_extra = "name it in l7_columns",
  process = "needs system_visibility_mode = 1 on an interface",
}

local function unknown(key, run, is_write)
  local available = run.columns
  if run.dropped and run.dropped[key] then
    error(("flow.%s: not in this run: drop_leaky leaves it out"):format(key), 3)
  end
  for _, column in ipairs(columns.all(run.unit)) do
    if column.name == key and remedies[column.group] then
      error(("flow.%s: not in this run: %s"):format(key, remedies[column.group]), 3)
    end
  end
  local names = {}
  for i, column in ipairs(available) do names[i] = column.name end
  local hint = is_write and "; a plugin's own values belong in flow.udps, declared as columns" or ""
  error(("flow has no '%s'%s%s"):format(tostring(key), text.suggest(key, names), hint), 3)
end

--- The same methods, which say what is wrong where one is called with a dot: it would take anything for a flow.
local function with_colons(methods, ctype)
  local checked = {}
  for name, method in pairs(methods) do
    checked[name] = function(self, argument)
      if not ffi.istype(ctype, self) then
        error(("flow.%s: expected flow:%s(), with a colon"):format(name, name), 2)
      end
      return method(self, argument)
    end
  end
  return checked
end

local function make_methods(run, ctype, record_type, getter)
  local methods, selected = {}, run.selected

  --- Names of the record's columns, in order.
  function methods.keys()
    local keys = {}
    for i, column in ipairs(selected) do keys[i] = column.name end
    return keys
  end

  --- Values of the record's columns, in the order of keys().
  function methods.values(self)
    local values = {}
    for i, column in ipairs(selected) do
      local value = getter(column.name)(self)
      values[i] = column.is_array and value:copy() or value
    end
    return values
  end

  --- A Lua table from column name to value; arrays become tables.
  function methods.to_table(self)
    local record = {}
    for _, column in ipairs(selected) do
      local value = getter(column.name)(self)
      record[column.name] = column.is_array and value:table() or value
    end
    return record
  end

  --- A flow of its own, which stays valid as long as it is kept.
  function methods.copy(self)
    local copy = record_type()
    ffi.copy(copy, self, ffi.sizeof(record_type))
    if run.layout.l7 > 0 then copy.l7.dissection = nil end -- nDPI's state stays the live flow's
    return copy
  end

  --- Says for the plugin whose hook runs that it needs no more of the flow's packets: its on_update is not called for
  -- this flow again. Once all plugins that have an on_update have said so, packets cost the flow what they do without
  -- plugins. It goes on counting, and ends as it would.
  function methods.done(self)
    if self.core.end_reason ~= 0 then error("flow:done: expected a flow that lives, in on_init or on_update", 2) end
    self.core.watchers = bit.band(self.core.watchers, bit.bnot(flow.caller.bit))
  end

  --- A column's value as a 64-bit integer: exact also where Lua's numbers are not (beyond 2^53).
  function methods.exact(self, name)
    for _, column in ipairs(run.columns) do
      if column.name == name then
        local kind = columns.types[column.type]
        if not kind.is_number or column.is_array then break end
        local field = ffi.cast("const char *", self) + column.offset
        return ffi.cast("int64_t", ffi.cast(ffi.typeof("const $ *", ffi.typeof(kind.ctype)), field)[0])
      end
    end
    error(("flow:exact: '%s' is no integer column of this run"):format(tostring(name)), 2)
  end

  return with_colons(methods, ctype)
end

local number_text = ffi.new("char[32]")

local wide_pointers = { int64 = ffi.typeof "const int64_t *", uint64 = ffi.typeof "const uint64_t *" }

--- A column's value as Python would print it: doubles shortest, and with ".0" where they are whole, integers to the
-- last digit.
local function shown(self, column, value)
  if column.is_array then return tostring(value) end
  local pointer = wide_pointers[column.type]
  if pointer then
    return tostring(ffi.cast(pointer, ffi.cast("const char *", self) + column.offset)[0]):match "^-?%d+"
  end
  if column.type ~= "double" then return tostring(value) end
  return ffi.string(number_text, C.nf_format_double(number_text, value))
end

local function read_slot(udps, key) return udps[key] end

-- udps of a record: keeps the record alive, and hands out arrays that do so.
local record_udps = {
  __index = function(self, key)
    local ok, value = pcall(read_slot, self.record._udps, key)
    if not ok then error(value:gsub("^[^:]*:%d+: ", ""), 2) end
    return type(value) == "cdata" and helpers.anchored(value, self.record) or value
  end,
  __newindex = function(self, key, value) self.record._udps[key] = value end,
}

-- The same of a masked record: what it has in another place, or not at all, is as its columns have it.
local function masked_udps(run, record)
  local is_changed = setmetatable({}, { __index = run.dropped })
  for _, column in ipairs(run.columns) do is_changed[column.name] = column.place:match "^masked%." and true or nil end
  return {
    __index = function(self, key)
      local name = "udps." .. tostring(key)
      if is_changed[name] then return self.record[name] end
      return record.__index(self, key)
    end,
    __newindex = record.__newindex,
  }
end

local function set_metatype(run, ctype, record_type, is_record)
  local udps = run.dropped and masked_udps(run, record_udps) or record_udps
  local getters, new_getter = accessors(run.columns, make_getter, is_record)
  local setters, new_setter = accessors(run.columns, make_setter, is_record)
  local function getter(name) return getters[name] or new_getter(name) end
  local methods = make_methods(run, ctype, record_type, getter)

  ffi.metatype(ctype, {
    __index = function(self, key)
      local get = getters[key]
      if get then return (get(self)) end -- no tail call
      local method = methods[key]
      if method then return method end
      if key == "udps" then
        if run.udps then return setmetatable({ record = self }, udps) end
        error("flow.udps: no plugin of this run declares columns", 2)
      end
      get = new_getter(key)
      if get then return (get(self)) end
      unknown(key, run)
    end,
    __newindex = function(self, key, value)
      local set = setters[key] or new_setter(key)
      if not set then unknown(key, run, true) end
      set(self, value)
    end,
    --- NFStream's form: one column a line.
    __tostring = function(self)
      local lines = {}
      for i, column in ipairs(run.selected) do
        lines[i] = column.name .. "=" .. shown(self, column, getter(column.name)(self))
      end
      return "NFlow(" .. table.concat(lines, ",\n      ") .. ")"
    end,
  })
end

local function make_types(run)
  local live, record = struct_of(run, false), struct_of(run, true)
  check_layout(live, run.layout)
  set_metatype(run, live, record, false)
  set_metatype(run, record, record, true)
  return { record, ffi.typeof("struct { $ *flow; struct nf_packet packet; }", live) }
end

local function make_masked_type(run)
  local record = struct_of(run, true)
  set_metatype(run, record, record, true)
  return { record }
end

local made = {} -- by what they are made of: LuaJIT never forgets a type, and has room for 65536

local function make_once(make, run)
  local parts = { run.unit, tostring(run.udps), tostring(run.texts) }
  for _, column in ipairs(run.columns) do
    parts[#parts + 1] = ("%s %s %d %d"):format(column.name, column.type, column.offset, column.length)
  end
  for _, column in ipairs(run.selected) do parts[#parts + 1] = column.name end
  for _, name in ipairs(text.sorted_keys(run.dropped or {})) do parts[#parts + 1] = name end
  local key = table.concat(parts, "\n")
  made[key] = made[key] or make(run)
  return unpack(made[key])
end

--- The Lua side of a run's flows.
-- @param run `layout` (struct nf_layout), `unit`, `columns` (all that the run has), `selected` (those of its records,
--   in order), `udps` (ctype of the plugins' section, or nil)
-- @return ctype of a record (a copy of a flow), ctype of struct nf_event with the type of a live flow
function flow.types(run) return make_once(make_types, run) end

--- The same of its masked records, which have a further section, `masked`.
-- @param run besides: `texts` (declaration of that section's members), `dropped` (set of the names of columns that are
--   in records and not in these)
-- @return ctype of a masked record
function flow.masked_type(run) return make_once(make_masked_type, run) end

return flow
