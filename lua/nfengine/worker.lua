--- One of several meters: what runs in its thread, in a Lua state of its own.
--
-- The main state packs a plan: the run's parameters, and its plugins with all that they capture. Here they are made
-- anew and set up, then the inner loop runs over this meter's share of the packets, and flows that end become records
-- for the main state. Plugins that can merge leave their fields behind.

local ffi = require "ffi"
local C = require "nfengine.lib"
require "nfengine.collection" -- for plugins that are files
local dispatch = require "nfengine.dispatch"
local hooks = require "nfengine.hooks"
local plugin = require "nfengine.plugin"
local report = require "nfengine.report"
local script = require "nfengine.script"
local shape = require "nfengine.shape"
local transfer = require "nfengine.transfer"

local worker = {}

--- Whether an instance has fields besides its options, which stay behind when it is carried.
local function has_own_fields(instance)
  local is_option = {}
  for _, option in ipairs(plugin.class_of(instance).options) do is_option[option.name] = true end
  for name in pairs(instance) do
    if not is_option[name] then return true end
  end
  return false
end

--- Whether plugins may keep state from flow to flow that nobody would join, and do not say that they are independent of
-- it, or cannot be carried into another meter at all, so that a run that leaves the number of meters to us gets one.
function worker.wants_one(instances)
  for _, instance in ipairs(instances) do
    local class = plugin.class_of(instance)
    local is_safe = class.independent or not plugin.runs_in_meters(class)
    if not is_safe and not class.merge and (class.setup or has_own_fields(instance)) then return true end
    for _, hook in ipairs(is_safe and {} or plugin.hooks) do
      if hook ~= "on_record" and class[hook] and transfer.state_of(class[hook]) then return true end
    end
  end
  return not pcall(transfer.pack, instances, "plugins")
end

--- A copy of a table. What some module holds would be carried by that name, and is another one there.
local function copy_of(t)
  local copy = {}
  for key, value in pairs(t) do copy[key] = value end
  return copy
end

--- Packs what a worker needs. Raises one line that names what cannot be carried.
-- @param parameters resolved parameters
-- @param instances list of plugin instances
-- @param meters how many there will be
function worker.plan(parameters, instances, meters)
  local plain, answers = {}, {}
  for name, value in pairs(parameters) do plain[name] = type(value) == "table" and copy_of(value) or value end
  plain.udps, plain.filter, plain.anonymization_key = nil, nil, nil -- filters and masks stay in the main state
  for names, values in pairs(script.answers) do answers[names] = copy_of(values) end
  local what = ("n_meters = %d"):format(meters)
  local plan = transfer.pack({ parameters = plain, instances = instances, wants_traceback = report.wants_traceback },
    what)
  -- In a wrapping of its own, since unpacking it loads modules, which may ask for the command line's words.
  return transfer.pack({ plan = plan, words = _G.arg, answers = answers }, what)
end

--- What plugins that can merge leave behind, their fields by their position, packed. Raises one line that names the
-- field that cannot be carried.
local function pack_states(instances)
  local states = {}
  for i, instance in ipairs(instances) do
    if plugin.class_of(instance).merge then states[i] = copy_of(instance) end
  end
  local ok, packed = pcall(transfer.pack, states, "merge")
  if ok then return packed end
  for i, fields in pairs(states) do
    local owner = plugin.class_of(instances[i])
    for name, value in pairs(fields) do transfer.pack(value, ("plugin %s: self.%s"):format(owner.name, name)) end
  end
  error(packed, 0)
end

--- Joins what the meters' plugins left behind into the main state's instances: the first meter's fields become theirs,
-- the others' go to merge(self, other), meter by meter.
-- @param states packed states, by meter
-- @return a failure, or nil
function worker.merge(instances, states)
  local failure
  for meter, packed in ipairs(states) do
    for i, fields in pairs(transfer.unpack(packed)) do
      local instance = instances[i]
      local target = meter == 1 and instance or plugin.class_of(instance) {}
      for name, value in pairs(fields) do rawset(target, name, value) end
      if meter > 1 then failure = failure or hooks.call(instance, "merge", target) end
    end
  end
  return failure
end

--- The plugins that have work here.
local function working(instances)
  local list = {}
  for _, instance in ipairs(instances) do
    if plugin.runs_in_meters(plugin.class_of(instance)) then list[#list + 1] = instance end
  end
  return list
end

--- Cleans up after the plugins that do not merge: the others' time comes once they have.
local function clean_up(instances, count)
  local own = {}
  for i = 1, count do
    if not plugin.class_of(instances[i]).merge then own[#own + 1] = instances[i] end
  end
  return hooks.clean_up(own, #own)
end

local function ignore_event() end

--- Goes through the meter's packets. Returns a failure, or nil.
local function pump(crew, index, plan, made)
  local meter = C.nf_crew_meter(crew, index)
  local loop = {
    call = "nf_meter_next", handle = meter, event = C.nf_meter_event(meter), event_type = made.event_type,
    instances = plan.instances, hooks = dispatch.METER_HOOKS, where = dispatch.where(), report = ignore_event,
    limit = 0,
  }
  local records = { write = function() return C.nf_crew_give(crew, index) end }
  local ok, result, status, _, failure = xpcall(dispatch.make(loop, records), report.handler)
  if not ok then return hooks.describe_error(loop, result) end
  if status ~= C.NF_END then return failure or ffi.string(C.nf_meter_error(meter)) end
end

--- A meter's thread, from its start to its end.
-- @param handle its crew, as light userdata
-- @param index its position in the crew
-- @param packed the plan
function worker.run(handle, index, packed)
  local crew = ffi.cast("struct nf_crew *", handle)
  local wrapping = transfer.unpack(packed)
  _G.arg, script.answers, script.is_meter = wrapping.words, wrapping.answers, true
  local plan = transfer.unpack(wrapping.plan)
  local instances = plan.instances
  local made = shape.of(plan.parameters, instances)
  local own = working(instances)
  local count, failure = hooks.set_up(own, {
    time_unit = plan.parameters.time_unit, is_live = C.nf_crew_is_live(crew), columns = made.available,
    plugins = instances,
  })
  if not C.nf_crew_ready(crew, failure) then
    clean_up(own, count)
    return
  end
  failure = pump(crew, index, plan, made)
  if failure and plan.wants_traceback and report.traceback then io.stderr:write(report.traceback, "\n") end
  local ok, states = pcall(pack_states, instances)
  if not ok then failure, states = failure or states, "" end
  local cleanup_failure = clean_up(own, count)
  failure = failure or cleanup_failure
  C.nf_crew_leave(crew, index, failure, states, #states)
end

return worker
