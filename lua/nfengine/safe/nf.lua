--- `require "nfengine"` in the closed world: what the engine's own has, as far as it leads to no file and no other
-- program. Declarations are copied before the engine looks at them, and what it makes of them is given out as objects
-- without content, so that neither can be changed behind its back.

local collection = require "nfengine.collection"
local columns = require "nfengine.columns"
local crossing = require "nfengine.safe.crossing"
local output = require "nfengine.output"
local parameters = require "nfengine.parameters"
local plugin = require "nfengine.plugin"
local profile = require "nfengine.profile"
local script = require "nfengine.script"
local sources = require "nfengine.sources"
local standins = require "nfengine.safe.standins"
local streamer = require "nfengine.streamer"
local text = require "nfengine.text"

local out, drive, find = crossing.out, crossing.drive, standins.find

local closed_nf = {}

local function refuse(...) error((...):format(select(2, ...)), 0) end

--- A function of the closed world. What is wrong with a call is told with the line of the call, where that is known: of
-- `return nf.plugin { … }` it is not, which leaves the engine as its caller.
local function entry(func)
  return function(...)
    local ok, result = pcall(func, ...)
    if not ok then error(result, getfenv(2) == _G and 0 or 2) end
    return result
  end
end

local DEPTH = 20 -- of tables in tables

--- A copy of plain data: numbers, texts, booleans, and tables of these, without what could run when they are used.
-- Raises one line that begins with `what`.
local function plain(value, what, depth)
  local kind = type(value)
  if kind == "number" or kind == "string" or kind == "boolean" or kind == "nil" then return value end
  depth = depth or 0
  if kind ~= "table" or depth == DEPTH then
    refuse("%s: expected numbers, strings, booleans and tables of them, got a %s", what, kind)
  end
  local copy = {}
  for key, item in next, value do copy[plain(key, what, depth + 1)] = plain(item, what, depth + 1) end
  return copy
end

-- ---- handles: what the closed world holds of the engine's classes, instances, profiles, streamers ----

local handles = {} -- by kind: a function that makes one for an object

local function add_kind(name, metamethods)
  local make = standins.kind(name, metamethods)
  handles[name] = function(object)
    return make(function() return object end)
  end
end

-- Instances of classes that are closed in are no handles: their hooks call them self.
local own_instances = setmetatable({}, { __mode = "k" })

--- The class, instance or profile that something of the closed world stands for; nil for anything else.
function closed_nf.object_of(value)
  return find(value, "plugin") or find(value, "profile") or find(value, "instance")
    or own_instances[value] and value or nil
end

--- What the closed world gets of a class, an instance or a profile.
function closed_nf.handle_of(object)
  if profile.is_profile(object) then return handles.profile(object) end
  if plugin.is_class(object) then return handles.plugin(object) end
  if not plugin.class_of(object).is_closed_in then return handles.instance(object) end
  own_instances[object] = true
  return object
end

local object_of, handle_of = closed_nf.object_of, closed_nf.handle_of

--- Says that a handle has no such field but a few.
local function only(self, name, key, known)
  for field in known:gmatch "%a+" do
    if field == key then return find(self, name)[key] end
  end
  error(("%s: --safe: '%s' is not there"):format(tostring(self), tostring(key)), 3)
end

--- The engine's list of instances from what `udps` accepts.
local function instances_of(udps)
  local list, entries = {}, udps
  if type(udps) ~= "table" or object_of(udps) then entries = { udps } end
  for i, each in next, entries do
    local object = object_of(each)
    if plugin.is_class(object) then object = object {} end
    if type(i) ~= "number" or not plugin.class_of(object) then
      refuse("udps: %s: expected a plugin made by nf.plugin, or a list of these", text.quote(each))
    end
    list[i] = object
  end
  return list
end

-- ---- plugins ----

local flows = setmetatable({}, { __mode = "k" }) -- by instance: what its hooks get for flows

--- The stand-in for flows in which an instance's own columns and state may be set.
local function flow_for(instance)
  local names = {}
  for _, part in ipairs { "columns", "state" } do
    for _, slot in ipairs(plugin.slots(instance, part)) do names[slot.name] = true end
  end
  flows[instance] = standins.flow(names)
  return flows[instance]
end

local SEES_PACKETS, SEES_FLOWS = { on_init = true, on_update = true }, { on_expire = true, on_record = true }

--- A hook that calls one of others.
local function closed_hook(hook, func, owner)
  local name, packet_standin = ("%s: %s"):format(owner, hook), standins.packet
  if SEES_PACKETS[hook] then
    local call = crossing.lending(func, name)
    return function(instance, packet, flow)
      local standin = flows[instance] or flow_for(instance)
      call(standin, packet, flow, instance, packet_standin, standin)
    end
  elseif SEES_FLOWS[hook] then
    local call = crossing.lending(func, name)
    return function(instance, flow)
      local standin = flows[instance] or flow_for(instance)
      call(standin, false, flow, instance, standin)
    end
  end
  return crossing.into(func, name)
end

local is_hook = {}
for _, hook in ipairs(plugin.hooks) do is_hook[hook] = true end

--- A copy of declared options. None names a file: what is made of records tells what is in it.
local function options_of(options, what)
  options = plain(options, what)
  for name, option in pairs(type(options) == "table" and options or {}) do
    if type(option) == "table" and option.is_file then
      refuse("%s: %s: is_file: --safe: files are not there", what, name)
    end
  end
  return options
end

local function declare_plugin(definition)
  if type(definition) ~= "table" then refuse "nf.plugin: expected a table" end
  local copy, owner = {}, "plugin " .. tostring(plain(rawget(definition, "name"), "nf.plugin: name"))
  for field, value in next, definition do
    if type(value) == "function" and is_hook[field] then
      copy[field] = closed_hook(field, value, owner)
    elseif type(value) == "function" and (field == "columns" or field == "state") then
      local call = crossing.into(value, owner)
      copy[field] = function(given) return plain((call(given)), owner) end
    else
      local copy_of = field == "options" and options_of or plain
      copy[plain(field, owner)] = copy_of(value, ("%s: %s"):format(owner, tostring(field)))
    end
  end
  local class = out(plugin.declare, copy)
  if text.contains(class.needs, "processes") then
    refuse("%s: needs: --safe: this machine's processes are not there, expected comments", owner)
  end
  class.is_closed_in = true
  return handle_of(class)
end

add_kind("plugin", {
  __index = function(self, key) return only(self, "plugin", key, "name description version") end,
  __call = entry(function(self, given)
    local class = find(self, "plugin")
    return handle_of(out(class, plain(given, tostring(class))))
  end),
  __tostring = function(self) return tostring(find(self, "plugin")) end,
})

add_kind("instance", {
  __index = function(self, key) return only(self, "instance", key, "") end,
  __tostring = function(self) return tostring(find(self, "instance")) end,
})

--- Raises what is said against the use of a class or profile by code of others: that it opens files, and would do so
-- for them.
function closed_nf.check_use(object, name)
  if object.is_closed_in or text.contains(object.definition.categories or {}, "safe") then return end
  refuse("--safe: %s is not of category safe, expected --plugin=%s on the command line", name, name)
end

-- ---- parameters ----

-- Those that the command line alone sets, and how.
local REFUSED = {
  anonymization_key_file = "--anonymization-key-file", bpf_filter = "--bpf-filter",
  performance_report = "--performance-report",
  performance_report_file = "--performance-report-file", promiscuous_mode = "--no-promiscuous-mode",
  reconnect = "--reconnect", snapshot_length = "--snapshot-length", socket_buffer_size = "--socket-buffer-size",
  system_visibility_mode = "--system-visibility-mode", system_visibility_poll_ms = "--system-visibility-poll-ms",
}

--- Captures that may be read: some of the command line's.
local function source_of(value, what)
  value = plain(value, what)
  for _, path in next, type(value) == "table" and value or { value } do
    if type(path) ~= "string" then refuse("%s: expected a path or a list of paths", what) end
  end
  local given = parameters.overrides.source
  if given and sources.is_choice(value, given) then return value end
  refuse("%s: %s: --safe: expected captures of the command line", what,
    text.quote(type(value) == "table" and value[1] or value))
end

local function filter_of(func, what)
  if type(func) ~= "function" then return plain(func, what) end
  local flow, call = standins.flow(), crossing.lending(func, what)
  return function(record) return call(flow, false, record, flow) and true or false end
end

local own_parameters = { source = source_of, filter = filter_of, udps = instances_of }

--- One parameter of a run, as the engine takes it.
local function parameter_of(name, value, owner)
  local what = ("%s: %s"):format(owner, tostring(name))
  if REFUSED[name] then refuse("%s: --safe: expected %s on the command line", what, REFUSED[name]) end
  return (own_parameters[name] or plain)(value, what)
end

local function parameters_of(given, owner)
  if type(given) ~= "table" then refuse("%s: expected a table of parameters", owner) end
  local values = {}
  for name, value in next, given do values[plain(name, owner)] = parameter_of(name, value, owner) end
  return values
end

-- ---- profiles ----

--- Raises what is said against a plugin that a profile names. A name leads to plugins alone, a path would lead to any
-- file of Lua's, and run scripts that came along with all rights.
local function check_named(name, owner)
  if not name:match "^[%w_]+$" then
    refuse("%s: %s: --safe: expected the name of a plugin, not a file", owner, text.quote(name))
  end
  closed_nf.check_use(out(collection.load, name), name)
end

--- The plugins that a profile names or holds, each of which it may use.
local function plugins_of(list, owner)
  local plugins = {}
  for i, each in next, type(list) == "table" and list or {} do
    plugins[i] = object_of(each) or plain(each, owner)
    local name = not object_of(each) and (type(each) == "table" and plugins[i][1] or plugins[i])
    if type(name) == "string" then check_named(name, owner) end
  end
  return plugins
end

local function declare_profile(definition)
  if type(definition) ~= "table" then refuse "nf.profile: expected a table" end
  local copy, owner = {}, "nf.profile"
  for field, value in next, definition do
    if field == "plugins" then copy.plugins = plugins_of(value, "nf.profile: plugins")
    elseif field == "parameters" then copy.parameters = parameters_of(value, "nf.profile: parameters")
    else copy[plain(field, owner)] = plain(value, owner) end
  end
  local made = out(profile.declare, copy)
  made.is_closed_in = true
  return handle_of(made)
end

add_kind("profile", {
  __index = function(self, key) return only(self, "profile", key, "name description") end,
  --- Parameters for nf.streamer.
  __call = entry(function(self, given)
    local made = find(self, "profile")
    local merged = plain(made:parameters(), tostring(made))
    merged.udps = {}
    for i, instance in ipairs(out(made.instances, made)) do merged.udps[i] = handle_of(instance) end
    for name, value in next, given or {} do
      if name ~= "udps" then merged[name] = value end
    end
    local further = given and rawget(given, "udps")
    for _, instance in ipairs(further and instances_of(further) or {}) do
      table.insert(merged.udps, handle_of(instance))
    end
    return merged
  end),
  __tostring = function(self) return tostring(find(self, "profile")) end,
})

-- ---- streamers ----

local methods = {}

local function streamer_of(self, method)
  return find(self, "nf.streamer")
    or error(("nf.streamer: expected streamer:%s(…), with a colon"):format(method), 3)
end

function methods:flows()
  local object = streamer_of(self, "flows")
  return handles.flows((drive(object.flows, object)))
end

add_kind("flows", {
  __call = function(self)
    local record = drive(find(self, "flows"))
    return record and standins.record(record)
  end,
})

local function columns_of(list)
  local known = {}
  for i, column in ipairs(list) do
    known[i] = {
      name = column.name, type = column.type, unit = column.unit, doc = column.doc, group = column.group,
      length = column.length, is_array = column.is_array,
    }
  end
  return known
end

--- What a sink's method of others has answered: false ends the run, nil and a text is a failure.
local function answer_of(answer, problem)
  if answer == nil and problem ~= nil then return nil, text.raised(problem) end
  return answer ~= false
end

--- A sink that calls one of others.
local function closed_sink(sink)
  local flow, self = standins.flow(), {}
  local function method(name, wrap)
    if type(sink[name]) == "function" then self[name] = wrap(sink[name], "sink:" .. name) end
  end
  local function simple(func, name)
    local call = crossing.into(func, name)
    return function(_, ...) return answer_of(call(sink, ...)) end
  end
  method("write", function(func, name)
    local call = crossing.lending(func, name)
    return function(_, record) return answer_of(call(flow, false, record, sink, flow)) end
  end)
  method("open", function(func, name)
    local call = simple(func, name)
    return function(_, selected, _, all) return call(sink, columns_of(selected), nil, columns_of(all)) end
  end)
  method("close", simple)
  method("tick", simple)
  return self
end

function methods:to(sink)
  local object = streamer_of(self, "to")
  if type(sink) ~= "table" or type(sink.write) ~= "function" then
    error("nf.streamer:to: expected a sink, a table with a method write", 2)
  end
  return (drive(object.to, object, closed_sink(sink)))
end

local function check_output(path, options, what)
  if path ~= nil and path ~= "-" and not output.overrides.path then
    refuse("%s: %s: --safe: expected -o FILE on the command line", what, text.quote(path))
  end
  options = plain(options, what)
  if type(options) == "table" and options.flows_per_file ~= nil then
    refuse("%s: flows_per_file: --safe: expected one file", what)
  end
  return options
end

-- Records go where the command line says: to the file of its -o, which wins over any other path, or to standard output.
for _, name in ipairs { "to_csv", "to_jsonl", "to_parquet", "to_arrow", "to_ipfix", "write" } do
  methods[name] = function(self, path, options)
    local object = streamer_of(self, name)
    local ok, checked = pcall(check_output, path, options, "nf.streamer:" .. name)
    if not ok then error(checked, 2) end
    return (drive(object[name], object, output.overrides.path or "-", checked))
  end
end

-- The same to a table of a database, of which code of others may choose the name.
for _, name in ipairs { "to_sqlite", "to_duckdb" } do
  methods[name] = function(self, path, table_name, options)
    local object = streamer_of(self, name)
    local ok, checked = pcall(check_output, path, options, "nf.streamer:" .. name)
    if not ok then error(checked, 2) end
    table_name = plain(table_name, "nf.streamer:" .. name)
    return (drive(object[name], object, output.overrides.path or "-", table_name, checked))
  end
end

function methods.to_kafka()
  error("nf.streamer:to_kafka: --safe: the network is not there, expected to_csv, to_jsonl or write", 2)
end

function methods:account()
  local object = streamer_of(self, "account")
  return plain(object:account(), "account")
end

add_kind("nf.streamer", {
  __index = entry(function(self, key)
    if methods[key] then return methods[key] end
    local object = find(self, "nf.streamer")
    local value = out(function() return object[plain(key, "nf.streamer")] end)
    return key ~= "udps" and key ~= "filter" and plain(value, "nf.streamer") or nil
  end),
  __newindex = entry(function(self, key, value)
    local object, checked = find(self, "nf.streamer"), parameter_of(plain(key, "nf.streamer"), value, "nf.streamer")
    out(function() object[key] = checked end)
  end),
  __call = function() error("nf.streamer: expected streamer:flows() to iterate over", 2) end,
})

-- ---- the module ----

local function script_options(short)
  local values = plain(out(script.options, options_of(short, "nf.options")), "nf.options")
  return setmetatable(values, {
    __metatable = false,
    __index = function(_, name)
      error(("nf.options: no option %s%s"):format(text.quote(name), text.suggest(name, text.sorted_keys(values))), 2)
    end,
  })
end

--- Makes one for code of others.
-- @param engine the engine's own
function closed_nf.new(engine)
  return {
    version = engine.version,
    arguments = plain(engine.arguments, "nf.arguments"),
    plugin = entry(declare_plugin),
    profile = entry(declare_profile),
    streamer = entry(function(given)
      return handles["nf.streamer"](out(streamer.new, parameters_of(given, "nf.streamer")))
    end),
    options = entry(script_options),
    columns = entry(function(unit) return columns_of(columns.all(plain(unit, "nf.columns"))) end),
  }
end

return closed_nf
