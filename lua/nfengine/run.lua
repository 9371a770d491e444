--- One pass over the input: opens a crew for resolved parameters, gives out flows, and keeps account of what happened.
--
-- With one meter, hooks are called here, in the script's own Lua state. With several, each meter's thread calls them in
-- a state of its own (worker.lua), and only records come here; filter, ids and sinks are here in either case.
--
-- A run ends when the input does, when max_nflows is reached, when an error stops it, or when it is closed.

local bit = require "bit"
local ffi = require "ffi"
local C = require "nfengine.lib"
local costs = require "nfengine.costs"
local declared = require "nfengine.parameters"
local dispatch = require "nfengine.dispatch"
local hooks = require "nfengine.hooks"
local plugin = require "nfengine.plugin"
local report = require "nfengine.report"
local sandbox = require "nfengine.sandbox"
local shape = require "nfengine.shape"
local text = require "nfengine.text"

local run = {}
run.__index = run

--- Loaded when there is a need for it: most runs are over before that would pay.
local function worker() return require "nfengine.worker" end
local function privacy() return require "nfengine.privacy" end

-- ---- opening ----

local function open_crew(options, mask)
  local message = ffi.new("char[?]", C.NF_ERROR_SIZE)
  local crew = C.nf_crew_new(options, message)
  if crew ~= nil then return crew end
  if mask then mask:close() end
  error(ffi.string(message), 0)
end

--- Those of some plugins that have a hook.
local function with_hook(instances, hook)
  local list = {}
  for _, instance in ipairs(instances) do
    if plugin.class_of(instance)[hook] then list[#list + 1] = instance end
  end
  return list
end

local open_runs, is_open = 0, setmetatable({}, { __mode = "k" })

--- How many runs are open, loops that were left and not yet collected among them.
function run.count_open() return open_runs end

--- Where performance reports go, if there are to be any.
local function open_report(parameters, crew)
  if parameters.performance_report == 0 then return nil end
  local path = parameters.performance_report_file
  if not path then return io.stderr end
  if C.nf_crew_reads(crew, path) then
    return nil, ("performance_report_file: %s: is the input, expected a file to write"):format(text.quote(path))
  end
  local file, message = sandbox.take(path), nil
  if not file then file, message = io.open(path, "a") end
  if not file then return nil, ("performance_report_file: %s, expected a file to write"):format(message) end
  return file
end

--- How many meters a run is to have, 0 for as many as there is use for.
local function meters_for(parameters, instances)
  if costs.is_wanted and parameters.n_meters > 1 then
    error({ usage = ("--profile-plugins: n_meters = %d: expected 1, hooks of several share their time")
      :format(parameters.n_meters) }, 0)
  end
  for _, instance in ipairs(instances) do
    local class = plugin.class_of(instance)
    if class.is_closed_in and parameters.n_meters > 1 then
      error({ usage = ("n_meters = %d: plugin %s is closed in by --safe, expected 1")
        :format(parameters.n_meters, class.name) }, 0)
    end
  end
  if costs.is_wanted then return 1 end
  if parameters.n_meters == 0 and #instances > 0 and worker().wants_one(instances) then return 1 end
  return parameters.n_meters
end

--- Opens a run, which its opener has to close. Raises one line when a parameter, a plugin or a source is wrong. Its
-- sink, if it will have one, is only looked at. What has a fresh key for its masks is `owner`: see privacy.mask.
function run.open(parameters, sink, owner)
  local instances = plugin.instances(parameters.udps)
  if parameters.system_visibility_mode == 1 and not shape.is_live(parameters) then
    report.say "warning: system_visibility_mode = 1: has no effect on captures"
    parameters.system_visibility_mode = 0
  elseif plugin.need(instances, "processes") and shape.is_live(parameters) then
    parameters.system_visibility_mode = 1
  end
  local made = shape.of(parameters, instances, sink ~= nil and sink.tick ~= nil)
  made.options.n_meters = meters_for(parameters, instances)
  local mask = declared.wants_mask(parameters) and privacy().mask(parameters, made, owner, sink and sink.further) or nil
  if parameters.anonymization_key_file and not mask then
    report.say "warning: anonymization_key_file: has no effect: nothing is masked in this run"
  end
  local outward = mask or made
  local self = setmetatable({
    parameters = parameters, columns = outward.columns, available = outward.available, true_columns = made.available,
    record_type = outward.record_type, mask = mask, event_type = made.event_type,
    started = report.now(), flows = 0, warnings = {}, max_flows = parameters.max_flows,
    all_instances = instances, set_up_count = 0, time_unit = parameters.time_unit,
    filter = parameters.filter, limit = parameters.max_nflows,
    options = made.options, call = "nf_crew_next", where = dispatch.where(),
    costs = costs.is_wanted and costs.new(#instances) or nil,
  }, run)
  self.crew = open_crew(made.options, mask)
  open_runs, is_open[self] = open_runs + 1, true
  self.sources = made.anchor -- named here so that they outlive nf_crew_new, which reads them
  self.meters = C.nf_crew_size(self.crew)
  self.handle, self.event = self.crew, C.nf_crew_event(self.crew)
  local report_file, problem = open_report(parameters, self.crew)
  if problem then self:fail(problem) end
  self.report_file = report_file
  self.instances = instances
  if self.meters > 1 then
    self.hooks, self.instances = dispatch.RECORD_HOOKS, with_hook(instances, "on_record")
  end
  self.report = function(kind, given)
    self.flows = given
    report.event(self, kind)
  end
  if self.meters > 1 and instances[1] then
    local ok, plan = pcall(worker().plan, parameters, instances, self.meters)
    if not ok then self:fail(plan) end
    self.plan = plan
  end
  return self
end

--- Closes the run because of a failure, and raises it.
function run:fail(failure)
  self.has_failed = true
  self:close()
  error(failure, 0)
end

--- Who the process becomes before the first packet is looked at; nil: it stays who it is. Set by the command line.
run.user = nil

--- Gives up what the process was allowed to do so far but for what this run still needs. Returns a failure, or nil.
function run:drop_privileges()
  local message, keep = ffi.new("char[?]", C.NF_ERROR_SIZE), 0
  if self.options.reconnect then keep = bit.bor(keep, C.NF_PRIVILEGE_CAPTURE) end
  if self.options.system_visibility then keep = bit.bor(keep, C.NF_PRIVILEGE_PROCESSES) end
  if self.sink and self.sink.is_sent then keep = bit.bor(keep, C.NF_PRIVILEGE_COLLECTOR) end
  if run.user and C.nf_privileges_drop(run.user, keep, message) ~= C.NF_OK then
    return "--user: " .. ffi.string(message)
  end
  run.user = nil
  return sandbox.narrow(keep)
end

--- Starts the run's threads and sets the plugins up, here or in the meters' threads. Raises what fails.
function run:start()
  if self.is_started then return end
  self.is_started = true
  local failure = self:drop_privileges()
  if failure then self:fail(failure) end
  local message, plan = ffi.new("char[?]", C.NF_ERROR_SIZE), self.plan or ""
  if C.nf_crew_start(self.crew, package.path, package.cpath, plan, #plan, message) ~= C.NF_OK then
    self:fail(ffi.string(message))
  end
  self.set_up_count, failure = hooks.set_up(self.instances, {
    time_unit = self.time_unit, is_live = C.nf_crew_is_live(self.crew), columns = self.true_columns,
    plugins = self.all_instances,
  })
  if failure then self:fail(failure) end
end

--- Calls the sink that wants to be called every so often.
function run:tick(is_last)
  local sink = self.sink
  if not sink or not sink.tick then return end
  self.where.event = 0 -- should it fail, no hook did
  sink:tick(report.now() - self.started, is_last or false)
end

--- The same at the end of a run that has not failed. Returns a failure, or nil.
function run:last_tick()
  if self.has_failed or not self.is_started then return nil end
  local ok, raised = pcall(self.tick, self, true)
  return not ok and text.raised(raised) or nil
end

-- ---- ending ----

--- Joins what the meters' plugins have gathered. Returns a failure, or nil.
function run:merge()
  local states, size = {}, ffi.new "size_t[1]"
  for meter = 0, self.meters - 1 do
    local state = C.nf_crew_state(self.crew, meter, size)
    if state ~= nil and size[0] > 0 then states[#states + 1] = ffi.string(state, size[0]) end
  end
  if not states[1] then return nil end
  local ok, failure = pcall(worker().merge, self.all_instances, states)
  if not ok then failure = "merge: " .. failure end -- what a meter has made may not be had here
  local merged = with_hook(self.all_instances, "merge")
  return failure or hooks.clean_up(merged, #merged)
end

--- Cleans up after the plugins that were set up. Returns the first one's failure.
function run:clean_up()
  local failure = hooks.clean_up(self.instances, self.set_up_count)
  if self.meters > 1 and self.is_started and not self.has_failed then return failure or self:merge() end
  return failure
end

--- Closes the run after the inner loop has returned, and raises what went wrong.
function run:finish(ok, result, status, given, failure)
  self.flows = given or tonumber(self.where.given)
  if not ok then failure = hooks.describe_error(self, result)
  elseif status ~= C.NF_END then failure = failure or ffi.string(C.nf_crew_error(self.crew)) end
  self.has_failed = self.has_failed or failure ~= nil
  local cleanup_failure = self:close()
  failure = failure or cleanup_failure
  if failure then error(failure, 0) end
end

--- Says what each plugin took.
function run:tell_costs()
  local names = {}
  for i, instance in ipairs(self.instances) do names[i] = plugin.class_of(instance).name end
  local account = self.account
  if #names == 0 then return report.say "--profile-plugins: no plugin in this run" end
  io.stderr:write(costs.lines(self.costs, names, account.packets, account.flows, account.seconds))
end

--- Ends the run, in whatever state it is, and reports it. Safe to call twice. Returns what failed in cleanup hooks.
function run:close()
  if not self.crew then return end
  local crew = self.crew
  C.nf_crew_stop(crew) -- ended early, it has read ahead of what it has counted
  local ticking = self:last_tick()
  -- Records that a sink could not write are none that were given out.
  if self.sink and self.sink.count_written then self.flows = self.sink:count_written() end
  report.finished(self)
  if self.costs then self:tell_costs() end
  local failure = self:clean_up()
  self.crew, self.pump = nil, nil
  open_runs, is_open[self] = open_runs - 1, nil
  C.nf_crew_free(crew)
  if self.mask then self.mask:close() end
  return ticking or failure
end

--- Ends every run that is open, and writes what their sinks have: for a script that ends the process.
function run.close_all()
  for current in pairs(is_open) do
    local sink = current.sink
    pcall(current.close, current)
    if sink and sink.close then pcall(sink.close, sink) end
  end
end

-- ---- going on ----

--- The next flow, valid until the next call, or nil at the end. A hook's error closes the run and is raised.
function run:next()
  if not self.crew then return nil end
  if not self.pump then
    self:start()
    self.pump = dispatch.make(self)
  end
  local ok, flow, status = xpcall(self.pump, report.handler)
  if not ok or flow == nil then return self:finish(ok, flow, status) end
  self.flows = self.flows + 1
  return flow
end

--- Gives every flow to sink:write(flow) and closes the run. An error, of a hook or of the sink, is raised after that.
-- @return number of flows given
function run:drain(sink)
  self.sink = sink
  self:start()
  self:finish(xpcall(dispatch.make(self, sink), report.handler))
  return self.flows
end

return run
