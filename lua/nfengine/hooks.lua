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

--- Sets plugins up, until one fails. `setup(self, run)` is told of the run: `run.time_unit`, the unit of every time in
-- it, is "ms", "us" or "ns"; `run.ticks_per_second` says how many of it are a second; `run.is_live` whether its input
-- is interfaces; `run.columns` lists all columns that its flows have, as sinks get them, unmasked. The table is the
-- hook's own.
-- @param given `time_unit`, `is_live`, `columns` of the run
-- @return how many were, and the failure of the one that was not
function hooks.set_up(instances, given)
  for i, instance in ipairs(instances) do
    local run = {
      time_unit = given.time_unit, ticks_per_second = columns.time_units[given.time_unit].per_second,
      is_live = given.is_live, columns = { unpack(given.columns) },
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
