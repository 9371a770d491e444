--- Generates a run's inner loop: poll, call the hooks that exist, give out the flows that end.
--
-- The hooks are unrolled into the text of one function, made anew for every run. A loop over a list of functions would
-- make LuaJIT specialise its trace on whichever function came first and fall off it for all others; straight code
-- with each hook in a variable of its own is one trace. There is no pcall inside: where an error came from stands in
-- `where`, and one pcall outside reports it.

local ffi = require "ffi"
local C = require "nfengine.lib"
local plugin = require "nfengine.plugin"

local dispatch = {}

--- What the loop was doing, for error messages: the event at hand and the plugin called last (0: the filter, -1: the sink).
dispatch.where = ffi.typeof("struct { int32_t event; int32_t plugin; }")

local TEMPLATE = [[
local C, meter, events, where, filter, report, limit, plugins, hooks, sink, write = ...
$LOCALS
local at, count, given = 0, 0, 0
return function()
  local i, n = at, count
  if given == limit then return nil, C.NF_END, given end
  while true do
    while i < n do
      local event = events[i]
      where.event = i
      i = i + 1
      local kind = event.kind
      if kind == $UPDATE then
        local flow, packet = event.flow, event.packet
        $ON_UPDATE
      elseif kind == $EXPIRE then
        local flow = event.flow
        $ON_EXPIRE
        where.plugin = 0
        if $FILTER then
          flow.core.record_id = given
          given = given + 1
          $GIVE
        end
      elseif kind == $INIT then
        local flow, packet = event.flow, event.packet
        $ON_INIT
      else
        report(kind, given)
      end
    end
    i, n = 0, C.nf_meter_poll(meter)
    if n < 0 then
      at, count = 0, 0
      return nil, n, given
    end
  end
end
]]

-- What happens to a flow that ended: the loop returns it, to be called again for the next ...
local GIVE_TO_CALLER = [[
at, count = i, n
          return flow
]]

-- ... or a sink takes it, and the loop goes on to the end of the run. A sink answers false to stop the run, nil and a
-- text when it fails.
local GIVE_TO_SINK = [[
where.plugin = -1
          local answer, failure = write(sink, flow)
          if answer == false or failure then return nil, C.NF_END, given, failure end
          if given == limit then return nil, C.NF_END, given end
]]

local function hook_calls(instances, hook, arguments)
  local calls = {}
  for i, instance in ipairs(instances) do
    if plugin.class_of(instance)[hook] then
      calls[#calls + 1] = ("where.plugin = %d %s_%d(plugin_%d, %s)"):format(i, hook, i, i, arguments)
    end
  end
  return table.concat(calls, "\n        ")
end

local function hook_locals(instances)
  local lines = {}
  for i, instance in ipairs(instances) do
    lines[#lines + 1] = ("local plugin_%d = plugins[%d]"):format(i, i)
    for _, hook in ipairs { "on_init", "on_update", "on_expire" } do
      if plugin.class_of(instance)[hook] then
        lines[#lines + 1] = ("local %s_%d = hooks[%d].%s"):format(hook, i, i, hook)
      end
    end
  end
  return table.concat(lines, "\n")
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
-- @param run `meter`, `event_type` (ctype), `instances`, `filter` (function or nil), `report` (called with the kind of any
--   other event and the flows given so far), `limit` (flows at most, 0 for none), `where` (dispatch.where)
-- @param sink a table with a method `write`, or nil
-- @return a function. Without a sink each call returns the next flow that ended and passed the filter, at the end nil;
--   with one, a single call runs to the end. Behind nil come the last status, the flows given, a sink's failure.
function dispatch.make(run, sink)
  local classes = {}
  for i, instance in ipairs(run.instances) do classes[i] = plugin.class_of(instance) end
  local parts = {
    LOCALS = hook_locals(run.instances),
    ON_INIT = hook_calls(run.instances, "on_init", "packet, flow"),
    ON_UPDATE = hook_calls(run.instances, "on_update", "packet, flow"),
    ON_EXPIRE = hook_calls(run.instances, "on_expire", "flow"),
    FILTER = run.filter and "filter(flow)" or "true",
    GIVE = sink and GIVE_TO_SINK or GIVE_TO_CALLER,
    INIT = C.NF_EVENT_INIT, UPDATE = C.NF_EVENT_UPDATE, EXPIRE = C.NF_EVENT_EXPIRE,
  }
  local source = TEMPLATE:gsub("%$([A-Z_]+)", function(name) return tostring(parts[name]) end)
  local events = ffi.cast(ffi.typeof("const $ *", run.event_type), C.nf_meter_events(run.meter))
  local limit = run.limit > 0 and run.limit or math.huge
  return assert(loadstring(source, "=nfengine.dispatcher"))(C, run.meter, events, run.where, run.filter, run.report,
    limit, run.instances, classes, sink, sink and sink.write)
end

return dispatch
