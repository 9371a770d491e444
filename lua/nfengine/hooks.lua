--- The hooks of plugins that take no flow, and what to say when any hook fails.

local ffi = require "ffi"
local C = require "nfengine.lib"
local columns = require "nfengine.columns"
local dispatch = require "nfengine.dispatch"
local plugin = require "nfengine.plugin"
local text = require "nfengine.text"

local hooks = {}

--- Calls a hook, if the plugin has it. Returns its failure, as a line, or nil.
function hooks.call(instance, hook, ...)
  local class = plugin.class_of(instance)
  local ok, message = true, nil
  if class[hook] then ok, message = pcall(class[hook], instance, ...) end
  return not ok and ("plugin %s: %s: %s"):format(class.name, hook, text.raised(message)) or nil
end

--- A run's columns as a plugin is told of them: `is_late` are those that its hooks do not find filled in. One with
-- hooks of both kinds may ask in any of them.
local function columns_for(class, place, all)
  local is_on_record, list = class.on_record and not (class.on_init or class.on_update or class.on_expire), {}
  for i, column in ipairs(all) do
    list[i] = column
    if not columns.is_filled(column, place, is_on_record) then
      list[i] = { is_late = true }
      for name, value in pairs(column) do list[i][name] = value end
    end
  end
  return list
end

--- Sets plugins up, until one fails. `setup(self, run)` is told of the run: `run.time_unit`, the unit of every time in
-- it, is "ms", "us" or "ns"; `run.ticks_per_second` says how many of it are a second; `run.is_live` whether its input
-- is interfaces; `run.columns` lists all columns that its flows have, as sinks get them, unmasked, with `is_late` those
-- that the plugin's hooks do not find filled in: its own, those of plugins behind it, those that on_record hooks make.
-- The table is the hook's own.
-- @param given `time_unit`, `is_live`, `columns` of the run, and all its `plugins`, in order: instances
-- @return how many were, and the failure of the one that was not
function hooks.set_up(instances, given)
  local places = {}
  for place, instance in ipairs(given.plugins) do places[instance] = place end
  for i, instance in ipairs(instances) do
    local class = plugin.class_of(instance)
    local run = class.setup and {
      time_unit = given.time_unit, ticks_per_second = columns.time_units[given.time_unit].per_second,
      is_live = given.is_live, columns = columns_for(class, places[instance], given.columns),
    }
    local failure = hooks.call(instance, "setup", run)
    if failure then return i - 1, failure end
    plugin.set_running(instance, true)
  end
  return #instances
end

--- Cleans up after the first `count` plugins, all of them. Returns the first one's failure.
function hooks.clean_up(instances, count)
  local failure
  for i = 1, count do
    plugin.set_running(instances[i], false)
    local problem = hooks.call(instances[i], "cleanup")
    failure = failure or problem
  end
  return failure
end

local function endpoint(address, port) return (address:find ":" and "[%s]:%d" or "%s:%d"):format(address, port) end

local function describe(flow)
  return ("%s -> %s protocol %d"):format(endpoint(flow.src_ip, flow.src_port), endpoint(flow.dst_ip, flow.dst_port),
    flow.protocol)
end

local hook_names = {
  [tonumber(C.NF_EVENT_INIT)] = "on_init", [tonumber(C.NF_EVENT_UPDATE)] = "on_update",
  [tonumber(C.NF_EVENT_EXPIRE)] = "on_expire", [dispatch.RECORD] = "on_record",
}

--- One line on an error that came out of an inner loop: plugin, hook, flow and what it said.
-- @param loop what dispatch.make was given
function hooks.describe_error(loop, message)
  local hook, instance = hook_names[loop.where.event], loop.instances[loop.where.plugin]
  if not hook or loop.where.plugin < 0 then return text.raised(message) end
  local event = ffi.cast(ffi.typeof("const $ *", loop.event_type), loop.event)
  local who = instance and ("plugin %s: %s"):format(plugin.class_of(instance).name, hook) or "filter"
  return ("%s: flow %s: %s"):format(who, describe(event.flow), text.raised(message))
end

return hooks
