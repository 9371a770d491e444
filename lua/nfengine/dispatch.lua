--- Generates a run's inner loop: ask for the next event, call the hooks that exist, give out the flows that end.
--
-- It is no loop but a ring of functions, each ending in a call of the next. LuaJIT compiles one trace for each path
-- taken through a loop together with all it calls: with eight hooks in one body, paths multiply into thousands, and a
-- loop over a list of hooks falls off its trace at every other hook. In a ring every function that starts a step
-- becomes a trace of its own, and a path that leaves one ends where the next step begins: paths add up. That asks for
-- two things: a step takes no arguments, since values passed from trace to trace would have to become objects on the
-- way; and packets are one object throughout, flows one each where a hook has a loop, which is a trace of its own.
--
-- The text is made anew for every run. There is no pcall inside: where an error came from stands in `where`, and one
-- pcall outside reports it.

local bit = require "bit"
local ffi = require "ffi"
local jit_util = require "jit.util"
local C = require "nfengine.lib"
local flow_types = require "nfengine.flow"
local plugin = require "nfengine.plugin"

-- LuaJIT's own limits, 1000 traces and 512 KB of machine code, are reached by a dozen plugins; all traces are thrown
-- away then, and made again, and so on. So are those of 100 traces that branch off one, as nearly all do here, and of a
-- trace's length, by a few steps with long hooks: what comes after is left to the interpreter. These leave room for a
-- hundred plugins.
require("jit.opt").start("maxtrace=20000", "maxmcode=65536", "maxside=10000", "maxrecord=20000", "maxirconst=10000",
  "maxsnap=5000")

local dispatch = {}

--- Hooks of a meter's thread, and of the thread to which several meters' records come. With one meter these are one.
dispatch.METER_HOOKS = { on_init = true, on_update = true, on_expire = true }
dispatch.RECORD_HOOKS = { on_record = true }

--- Stands in `where.event` while on_record hooks run.
dispatch.RECORD = -1

--- What was being done, for error messages: the kind of event, the plugin called last (0: the filter, -1: the sink),
-- and how many flows had been given out. `warm_up` counts a step's idle rounds, see STEP.
dispatch.where = ffi.typeof("struct { int32_t event, plugin, warm_up; double given; }")

-- The ring's hub. Steps are connected once they are made.
local HUB = [[
local C, call, handle, event, where, filter, report, limit, sink, write, mask, masked = ...
local next_event, first_init, first_update, first_expire, first_record
local given = 0

local function other(kind)
  if kind < 0 then return nil, kind, given end
  if kind > 0 then report(kind, given) end
  return next_event()
end

function next_event()
  local kind = call(handle)
  if kind == $UPDATE then return first_update() end
  if kind == $EXPIRE then return first_expire() end
  if kind == $INIT then return first_init() end
  return other(kind)
end

-- The meter's hooks have seen a flow's end: those of records come.
local function record()
  event.flow.core.record_id = given
  return first_record()
end

-- All hooks have seen it: it is given out.
local function give()
  where.event, where.plugin = $EXPIRE, 0
  local flow = event.flow
  if $FILTER then
    flow.core.record_id = given
    $MASK $GIVE
  end
  return next_event()
end

local function enter()
  if given == limit then return nil, C.NF_END, given end
  return next_event()
end

local function connect(init, update, expire, records)
  first_init, first_update, first_expire, first_record = init, update, expire, records
end

return enter, next_event, record, give, connect
]]

-- What others get of it, where they are not to see all.
local MASK = "C.nf_mask_apply(mask, flow.core) flow = masked"

-- What happens to a flow that ended: the ring is left with it, to be entered again for the next ...
local GIVE_TO_CALLER = [[
given = given + 1
    where.given = given
    do return flow end
]]

-- ... or a sink takes it, and the ring is left at the end of the run. A sink answers false to stop the run, nil and a
-- text when it fails.
local GIVE_TO_SINK = [[
where.plugin = -1
    local answer, failure = write(sink, flow)
    if answer == false or failure then return nil, C.NF_END, given, failure end
    given = given + 1
    where.given = given
    if given == limit then return nil, C.NF_END, given end
]]

-- One hook. Each step is a text of its own, so that it has bytecode, and traces, of its own.
--
-- A trace ends only at a step that has one already. Until then it goes on through all steps to come, and where these
-- are more than 15 (LuaJIT's loopunroll), is given up again and again, until the steps are left to the interpreter for
-- good. So every step is given a trace before the run: it calls itself until it has been compiled, which takes a bit
-- more than a hundred calls. Traces over two or more steps share more, but there are as many as ways through them.
local STEP = [[
local event, where, packet, kept_flow, hook, plugin, next_step, C, cost, caller, band = ...
local function step()
  if where.warm_up > 0 then
    where.warm_up = where.warm_up - 1
    if where.warm_up == 0 then return end
    return step()
  end
  $SKIP where.event, where.plugin = $EVENT, $NUMBER
  $CALLER $BEFORE hook(plugin, $ARGUMENTS) $AFTER
  return next_step()
end
return step
]]

-- Around a hook whose cost is to be known.
local BEFORE, AFTER = "local began = C.nf_now()",
  "cost.seconds, cost.calls = cost.seconds + (C.nf_now() - began), cost.calls + 1"

-- Before a hook that takes packets: who calls flow:done(), and, where other plugins may still want the flow's packets,
-- whether this one has.
local CALLER = "caller.bit = %d"
local SKIP = "if band(event.flow.core.watchers, %d) == 0 then return next_step() end"

local WARM_UP = 300 -- calls

local function fill(template, parts)
  return (template:gsub("%$(%u+)", function(name) return tostring(parts[name]) end))
end

local function load(template, parts) return assert(loadstring(fill(template, parts), "=nfengine.dispatcher")) end

--- Whether a function's own code loops.
local function has_loop(func)
  local jit_names = require "nfengine.bytecode" -- six characters each
  for pc = 1, math.huge do
    local instruction = jit_util.funcbc(func, pc)
    if not instruction then return false end
    local name = jit_names:sub(bit.band(instruction, 0xff) * 6 + 1, bit.band(instruction, 0xff) * 6 + 6)
    if name:match "LOOP" or name:match "FORL" or name:match "ITERL" then return true end
  end
end

--- A function for the flow of an event as an object made once for its slot, which stays where it is; only so many, to
-- bound their memory. Slots are used lowest first.
local function flow_keeper(event)
  local flows = {}
  return function()
    local slot = event.flow.core.slot
    local flow = flows[slot]
    if flow then return flow end
    if slot < 65536 then flows[slot] = event.flow end
    return event.flow
  end
end

-- Plugins that have a bit of their own among a flow's watchers. Those behind share the next one, and see all packets.
local OWN_BITS = 30

--- Bits for the plugins that want packets, by their number, and all of them together.
local function watchers_of(instances)
  local bits, all, count = {}, 0, 0
  for number, instance in ipairs(instances) do
    if plugin.class_of(instance).on_update then
      local own = 2 ^ math.min(count, OWN_BITS)
      bits[number], all, count = count < OWN_BITS and own or nil, bit.bor(all, own), count + 1
    end
  end
  return bits, all, count
end

--- What a step does before its hook for flow:done(), as texts.
local function before_packet(run, number, kind)
  local bits, _, count = watchers_of(run.instances)
  local may_skip = kind == C.NF_EVENT_UPDATE and count > 1 and bits[number]
  return CALLER:format(bits[number] or 0), may_skip and SKIP:format(bits[number]) or ""
end

--- The steps of one hook, from the last plugin that has it to the first, which is returned.
local function make_steps(run, parts, hook, kind, last)
  local step = last
  if run.hooks and not run.hooks[hook] then return last end
  for number = #run.instances, 1, -1 do
    local instance = run.instances[number]
    local func = plugin.class_of(instance)[hook]
    if func then
      local arguments = has_loop(func) and "kept_flow()" or "event.flow"
      local caller, skip = "", ""
      if hook == "on_init" or hook == "on_update" then
        arguments = "packet, " .. arguments
        caller, skip = before_packet(run, number, kind)
      end
      local cost = run.costs and run.costs[number][hook]
      local make = load(STEP, {
        EVENT = kind, NUMBER = number, ARGUMENTS = arguments,
        CALLER = caller, SKIP = skip, BEFORE = cost and BEFORE or "", AFTER = cost and AFTER or "",
      })
      step = make(parts.event, parts.where, parts.packet, parts.kept_flow, func, instance, step, C, cost,
        flow_types.caller, bit.band)
      run.where.warm_up = WARM_UP
      step()
    end
  end
  return step
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

--- Those of them that want packets, as nf_options.watchers takes them.
function dispatch.watchers(instances) return (select(2, watchers_of(instances))) end

--- The inner loop.
-- @param run `call` (how to ask for the next event: "nf_crew_next" or "nf_meter_next"), `handle` (whom), `event` (where
--   it is then), `event_type` (ctype), `instances`, `hooks` (those to call of them, nil for all), `filter` (function or
--   nil), `limit` (flows at most, 0 for none), `where` (dispatch.where), `report` (called with the kind of any other
--   event and the flows given so far), `costs` (costs.new, if they are wanted), `mask` (privacy.mask, if there is one)
-- @param sink a table with a method `write`, or nil
-- @return a function. Without a sink each call returns the next flow that ended and passed the filter, at the end nil;
--   with one, a single call runs to the end. Behind nil come the last status, the flows given, a sink's failure.
function dispatch.make(run, sink)
  local event = ffi.cast(ffi.typeof("const $ *", run.event_type), run.event)
  local where = ffi.cast(ffi.typeof("$ *", dispatch.where), run.where) -- to LuaJIT, a pointer's value is a constant
  local parts = {
    event = event, where = where, kept_flow = flow_keeper(event),
    packet = ffi.cast("const struct nf_packet *", event.packet), -- one object for all packets
  }
  local hub = load(HUB, {
    FILTER = run.filter and "filter(flow)" or "true", MASK = run.mask and MASK or "",
    GIVE = sink and GIVE_TO_SINK or GIVE_TO_CALLER,
    INIT = C.NF_EVENT_INIT, UPDATE = C.NF_EVENT_UPDATE, EXPIRE = C.NF_EVENT_EXPIRE,
  })
  local limit = run.limit > 0 and run.limit or math.huge
  local mask = run.mask or {}
  local enter, next_event, record, give, connect = hub(C, C[run.call], run.handle, event, where, run.filter, run.report,
    limit, sink, sink and sink.write, mask.handle, mask.record)
  local records = make_steps(run, parts, "on_record", dispatch.RECORD, give)
  connect(make_steps(run, parts, "on_init", C.NF_EVENT_INIT, next_event),
    make_steps(run, parts, "on_update", C.NF_EVENT_UPDATE, next_event),
    make_steps(run, parts, "on_expire", C.NF_EVENT_EXPIRE, records == give and give or record), records)
  return enter
end

return dispatch
