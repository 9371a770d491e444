--- One pass over the input: opens a meter for resolved parameters, gives out flows, and keeps account of what happened.
--
-- A run ends when the input does, when max_nflows is reached, when an error stops it, or when it is closed.

local ffi = require "ffi"
local C = require "nfengine.lib"
local columns = require "nfengine.columns"
local dispatch = require "nfengine.dispatch"
local flow_types = require "nfengine.flow"
local plugin = require "nfengine.plugin"
local report = require "nfengine.report"
local text = require "nfengine.text"

local run = {}
run.__index = run

local units = { ms = C.NF_MILLISECONDS, us = C.NF_MICROSECONDS, ns = C.NF_NANOSECONDS }

-- ---- what to record ----

--- Names wanted of the L7 columns beyond NFStream's, as a set; nil when none are.
local function l7_extra_set(names)
  local known, set = columns.names "l7_extra", {}
  local function want(name)
    if not C.nf_l7_has(name) then
      error(("nf.streamer: l7_columns: %s is not in the linked %s"):format(name, ffi.string(C.nf_dpi_version())), 0)
    end
    set[name] = true
  end
  for _, name in ipairs(names) do
    if name == "all" then
      for _, each in ipairs(known) do want(each) end
    elseif text.contains(known, name) then
      want(name)
    else
      error(("nf.streamer: l7_columns: unknown column %s%s"):format(text.quote(name), text.suggest(name, known)), 0)
    end
  end
  return next(set) and set
end

--- The columns of records: all that the run has in their order, or those that `names` lists, "*" standing for the
-- usual.
local function select(available, names)
  local usual, known, by_name = {}, {}, {}
  for _, column in ipairs(available) do
    if column.group ~= "optional" then usual[#usual + 1] = column end
    known[#known + 1] = column.name
    by_name[column.name] = column
  end
  if not names then return usual end
  local selected, taken = {}, {}
  local function take(column)
    if not taken[column.name] then selected[#selected + 1] = column end
    taken[column.name] = true
  end
  for _, name in ipairs(names) do
    if name == "*" then
      for _, column in ipairs(usual) do take(column) end
    elseif by_name[name] then
      take(by_name[name])
    else
      error(("nf.streamer: columns: no column %s in this run%s"):format(text.quote(name), text.suggest(name, known)), 0)
    end
  end
  return selected
end

-- ---- opening ----

local function sources_of(source)
  if source == nil then error("nf.streamer: no source: give captures on the command line or set source", 0) end
  return type(source) == "table" and source or { source }
end

local function c_options(parameters, wanted_events, udps_size, has_l7_extra)
  local options = ffi.new("struct nf_options")
  local sources = sources_of(parameters.source)
  local paths = ffi.new("const char *[?]", #sources)
  for i, path in ipairs(sources) do paths[i - 1] = path end
  options.sources, options.source_count = paths, #sources
  options.bpf_filter = parameters.bpf_filter
  options.idle_timeout_s, options.active_timeout_s = parameters.idle_timeout, parameters.active_timeout
  options.max_flows = parameters.max_flows
  options.n_dissections = parameters.n_dissections
  options.splt_analysis = parameters.splt_analysis
  options.udps_size = udps_size
  options.events = wanted_events
  options.time_unit = units[parameters.time_unit]
  options.accounting_mode = parameters.accounting_mode
  options.decode_tunnels = parameters.decode_tunnels
  options.statistical_analysis = parameters.statistical_analysis
  options.l7_extra = has_l7_extra
  return options, { paths, sources } -- the second keeps alive what the first points to
end

local function open_meter(options)
  local message = ffi.new("char[?]", C.NF_ERROR_SIZE)
  local meter = C.nf_meter_new(options, message)
  if meter == nil then error(ffi.string(message), 0) end
  return meter
end

local open_runs = 0

--- How many runs are open, loops that were left and not yet collected among them.
function run.count_open() return open_runs end

--- Opens a run, which its opener has to close. Raises one line when a parameter, a plugin or a source is wrong.
function run.open(parameters)
  if parameters.system_visibility_mode == 1 then
    report.say "warning: system_visibility_mode = 1: has no effect on captures"
  end
  local instances = plugin.instances(parameters.udps)
  local udps, slots = plugin.layout(instances)
  local l7_extra = l7_extra_set(parameters.l7_columns)
  if parameters.n_dissections == 0 then l7_extra = nil end
  local events = dispatch.events(instances)
  if report.wants_progress() then events = bit.bor(events, C.NF_EVENT_PROGRESS) end
  local options, anchor = c_options(parameters, events, udps and ffi.sizeof(udps) or 0, l7_extra ~= nil)
  local layout = C.nf_layout_of(options)

  local available = columns.of_run {
    layout = layout, unit = parameters.time_unit, l7_extra = l7_extra or {},
    udps = udps and plugin.columns(udps, slots, layout.udps) or {},
    has = {
      core = true, optional = true, tunnel = parameters.decode_tunnels, statistics = parameters.statistical_analysis,
      splt = parameters.splt_analysis > 0, l7 = parameters.n_dissections > 0, l7_extra = l7_extra ~= nil,
    },
  }
  local selected = select(available, parameters.columns)

  local self = setmetatable({
    columns = selected, instances = instances, set_up_count = 0, started = report.now(), flows = 0,
  }, run)
  self.record_type, self.event_type = flow_types.types {
    layout = layout, unit = parameters.time_unit, columns = available, selected = selected, udps = udps,
  }
  self.meter = open_meter(options)
  open_runs = open_runs + 1
  self.sources = anchor -- named here so that they outlive nf_meter_new, which reads them
  local failure = self:set_up()
  if failure then
    self.has_failed = true
    self:close()
    error(failure, 0)
  end
  self.where = dispatch.where()
  self.filter, self.limit = parameters.filter, parameters.max_nflows
  self.report = function(kind, given)
    self.flows = given
    report.progress(self, kind)
  end
  return self
end

-- ---- errors of plugins ----

--- Calls a hook that takes no flow. Returns its failure, as a line, or nil.
local function call_hook(instance, hook)
  local class = plugin.class_of(instance)
  local ok, message = true, nil
  if class[hook] then ok, message = pcall(class[hook], instance) end
  return not ok and ("plugin %s: %s: %s"):format(class.name, hook, tostring(message)) or nil
end

--- Sets the plugins up, until one fails. Returns its failure.
function run:set_up()
  for i, instance in ipairs(self.instances) do
    local failure = call_hook(instance, "setup")
    if failure then return failure end
    self.set_up_count = i
  end
end

--- Cleans up after the plugins that were set up, all of them. Returns the first one's failure.
function run:clean_up()
  local failure
  for i = 1, self.set_up_count do
    local problem = call_hook(self.instances[i], "cleanup")
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
  [tonumber(C.NF_EVENT_EXPIRE)] = "on_expire",
}

--- One line on an error that came out of the inner loop: plugin, hook, flow and what it said.
function run:describe_error(message)
  local hook, instance = hook_names[self.where.event], self.instances[self.where.plugin]
  if not hook or self.where.plugin < 0 then return tostring(message) end
  local event = ffi.cast(ffi.typeof("const $ *", self.event_type), C.nf_meter_event(self.meter))
  local who = instance and ("plugin %s: %s"):format(plugin.class_of(instance).name, hook) or "filter"
  return ("%s: flow %s: %s"):format(who, describe(event.flow), tostring(message))
end

-- ---- going on ----

--- Closes the run after the inner loop has returned, and raises what went wrong.
function run:finish(ok, result, status, given, failure)
  self.flows = given or tonumber(self.where.given)
  if not ok then failure = self:describe_error(result)
  elseif status ~= C.NF_END then failure = failure or ffi.string(C.nf_meter_error(self.meter)) end
  local cleanup_failure = self:close()
  failure = failure or cleanup_failure
  if failure then error(failure, 0) end
end

--- The next flow, valid until the next call, or nil at the end. A hook's error closes the run and is raised.
function run:next()
  if not self.meter then return nil end
  self.pump = self.pump or dispatch.make(self)
  local ok, flow, status = xpcall(self.pump, report.handler)
  if not ok or flow == nil then return self:finish(ok, flow, status) end
  self.flows = self.flows + 1
  return flow
end

--- Gives every flow to sink:write(flow) and closes the run. An error, of a hook or of the sink, is raised after that.
-- @return number of flows given
function run:drain(sink)
  self:finish(xpcall(dispatch.make(self, sink), report.handler))
  return self.flows
end

--- Ends the run, in whatever state it is, and reports it. Safe to call twice. Returns what failed in cleanup hooks.
function run:close()
  if not self.meter then return end
  C.nf_meter_stop(self.meter) -- ended early, it has read ahead of what it has counted
  report.finished(self)
  local meter = self.meter
  self.meter, self.pump = nil, nil
  open_runs = open_runs - 1
  C.nf_meter_free(meter)
  return self:clean_up()
end

return run
