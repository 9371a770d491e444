--- Generates a run's inner loop: ask for the next event, call the hooks that exist, give out the flows that end.
--
-- It is no loop but a ring of functions, each ending in a call of the next. LuaJIT compiles one trace for each path
-- taken through a loop together with all it calls: with eight hooks in one body, paths multiply into thousands, and a
-- loop over a list of hooks falls off its trace at every other hook. In a ring every function that starts a step
-- becomes a trace of its own, and a path that leaves one ends where the next step begins: paths add up. That asks for
-- two things: a step takes no arguments, since values passed from trace to trace would have to become objects on the
-- way, and packets are the same few objects throughout.
--
-- The text is made anew for every run. There is no pcall inside: where an error came from stands in `where`, and one
-- pcall outside reports it.

local bit = require "bit"
local ffi = require "ffi"
local jit_util = require "jit.util"
local jit_names = require("jit.vmdef").bcnames -- six characters each
local C = require "nfengine.lib"
local plugin = require "nfengine.plugin"

local dispatch = {}

--- What was being done, for error messages: the kind of event, and the plugin called last (0: the filter, -1: the
-- sink).
dispatch.where = ffi.typeof("struct { int32_t event; int32_t plugin; }")

local RING = [[
local C, meter, event, packet, where, filter, report, limit, plugins, hooks, sink, write = ...
$LOCALS
local next_event
local given = 0

-- Flow objects by slot, which stays where it is; only so many, to bound their memory. Slots are used lowest first.
local flows = {}
local function kept_flow()
  local slot = event.slot
  local flow = flows[slot]
  if flow then return flow end
  if slot < 65536 then flows[slot] = event.flow end
  return event.flow
end

$STEPS
local function ended()
  local flow = event.flow
  where.event = $EXPIRE
  $HOOKS
  where.plugin = 0
  if $FILTER then
    flow.core.record_id = given
    given = given + 1
    $GIVE
  end
  return next_event()
end

local function other(kind)
  if kind < 0 then return nil, kind, given end
  if kind > 0 then report(kind, given) end
  return next_event()
end

function next_event()
  local kind = C.nf_meter_next(meter)
  if kind == $UPDATE then return update_1() end
  if kind == $EXPIRE then return ended() end
  if kind == $INIT then return init_1() end
  return other(kind)
end

return function()
  if given == limit then return nil, C.NF_END, given end
  return next_event()
end
]]

-- What happens to a flow that ended: the ring is left with it, to be entered again for the next ...
local GIVE_TO_CALLER = "do return flow end"

-- ... or a sink takes it, and the ring is left at the end of the run. A sink answers false to stop the run, nil and a
-- text when it fails.
local GIVE_TO_SINK = [[
where.plugin = -1
    local answer, failure = write(sink, flow)
    if answer == false or failure then return nil, C.NF_END, given, failure end
    if given == limit then return nil, C.NF_END, given end
]]

local STEP = [[
function $STEP()
  where.event, where.plugin = $EVENT, $NUMBER
  hook_$NUMBER_$HOOK(plugin_$NUMBER, packet, $FLOW)
  return $NEXT()
end

]]

local function fill(template, parts)
  return (template:gsub("%$(%u+)", function(name) return tostring(parts[name]) end))
end

local function hook_locals(instances)
  local lines = {}
  for i, instance in ipairs(instances) do
    lines[#lines + 1] = ("local plugin_%d = plugins[%d]"):format(i, i)
    for _, hook in ipairs { "on_init", "on_update", "on_expire" } do
      if plugin.class_of(instance)[hook] then
        lines[#lines + 1] = ("local hook_%d_%s = hooks[%d].%s"):format(i, hook, i, hook)
      end
    end
  end
  return table.concat(lines, "\n")
end

--- Whether a function's own code loops.
local function has_loop(func)
  for pc = 1, math.huge do
    local instruction = jit_util.funcbc(func, pc)
    if not instruction then return false end
    local name = jit_names:sub(bit.band(instruction, 0xff) * 6 + 1, bit.band(instruction, 0xff) * 6 + 6)
    if name:match "LOOP" or name:match "FORL" or name:match "ITERL" then return true end
  end
end

--- The ring's steps for one kind of packet event, named PREFIX_1, PREFIX_2 …
local function packet_steps(instances, prefix, hook, event)
  local numbers = {}
  for i, instance in ipairs(instances) do
    if plugin.class_of(instance)[hook] then numbers[#numbers + 1] = i end
  end
  local names, steps = { ("local %s_1\n"):format(prefix) }, {}
  for n, number in ipairs(numbers) do
    names[n] = ("local %s_%d\n"):format(prefix, n)
    steps[n] = fill(STEP, {
      STEP = prefix .. "_" .. n, EVENT = event, NUMBER = number, HOOK = hook,
      FLOW = has_loop(plugin.class_of(instances[number])[hook]) and "kept_flow()" or "event.flow",
      NEXT = numbers[n + 1] and prefix .. "_" .. (n + 1) or "next_event",
    })
  end
  return table.concat(names) .. table.concat(steps)
end

local function expire_calls(instances)
  local calls = {}
  for i, instance in ipairs(instances) do
    if plugin.class_of(instance).on_expire then
      calls[#calls + 1] = ("where.plugin = %d hook_%d_on_expire(plugin_%d, flow)"):format(i, i, i)
    end
  end
  return table.concat(calls, "\n  ")
end

--- Which events these plugins want, as nf_options.events takes them.
function dispatch.events(instances)
  local wanted = C.NF_EVENT_EXPIRE
  for _, instance in ipairs(instances) do
    local class = plugin.class_of(instance)
    if class.on_init then wanted = bit.bor(wanted, C.NF_EVENT_INIT) end
    if class.on_update then wanted = bit.bor(wanted, C.NF_EVENT_UPDATE) end
  end
  return wanted
end

--- The inner loop.
-- @param run `meter`, `event_type` (ctype), `instances`, `filter` (function or nil), `report` (called with the kind of
-- any
--   other event and the flows given so far), `limit` (flows at most, 0 for none), `where` (dispatch.where)
-- @param sink a table with a method `write`, or nil
-- @return a function. Without a sink each call returns the next flow that ended and passed the filter, at the end nil;
--   with one, a single call runs to the end. Behind nil come the last status, the flows given, a sink's failure.
function dispatch.make(run, sink)
  local classes = {}
  for i, instance in ipairs(run.instances) do classes[i] = plugin.class_of(instance) end
  local source = fill(RING, {
    LOCALS = hook_locals(run.instances),
    STEPS = packet_steps(run.instances, "init", "on_init", C.NF_EVENT_INIT)
      .. packet_steps(run.instances, "update", "on_update", C.NF_EVENT_UPDATE),
    HOOKS = expire_calls(run.instances),
    FILTER = run.filter and "filter(flow)" or "true",
    GIVE = sink and GIVE_TO_SINK or GIVE_TO_CALLER,
    INIT = C.NF_EVENT_INIT, UPDATE = C.NF_EVENT_UPDATE, EXPIRE = C.NF_EVENT_EXPIRE,
  })
  local event = ffi.cast(ffi.typeof("const $ *", run.event_type), C.nf_meter_event(run.meter))
  local packet = ffi.cast("const struct nf_packet *", event.packet) -- one object for all packets
  local limit = run.limit > 0 and run.limit or math.huge
  return assert(loadstring(source, "=nfengine.dispatcher"))(C, run.meter, event, packet, run.where,
    run.filter, run.report, limit, run.instances, classes, sink, sink and sink.write)
end

return dispatch
