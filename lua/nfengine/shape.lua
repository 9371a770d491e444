--- What a run's records hold: the columns its parameters ask for, the C options that make them, and the types by which
-- Lua sees them. Every thread of a run comes to the same shape from the same parameters.

local bit = require "bit"
local ffi = require "ffi"
local C = require "nfengine.lib"
local columns = require "nfengine.columns"
local dispatch = require "nfengine.dispatch"
local flow_types = require "nfengine.flow"
require "nfengine.packet" -- gives packets their fields and methods, in every thread
local plugin = require "nfengine.plugin"
local report = require "nfengine.report"
local text = require "nfengine.text"

local shape = {}


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

-- ---- the core's options ----

local function sources_of(source)
  if source == nil then error("nf.streamer: no source: give captures on the command line or set source", 0) end
  return type(source) == "table" and source or { source }
end

--- The sources as C takes them, and what they point to, which has to be kept.
local function c_sources(parameters)
  local sources = sources_of(parameters.source)
  local paths = ffi.new("const char *[?]", #sources)
  for i, path in ipairs(sources) do paths[i - 1] = path end
  return paths, #sources, { paths, sources }
end

--- Whether the source is network interfaces.
function shape.is_live(parameters)
  local paths, count = c_sources(parameters)
  return C.nf_source_is_live(paths, count)
end

local function c_options(parameters, wanted_events, watchers, wants_comments, udps_size, has_l7_extra)
  local options = ffi.new("struct nf_options")
  local paths, count, anchor = c_sources(parameters)
  options.sources, options.source_count = paths, count
  options.bpf_filter = parameters.bpf_filter
  options.idle_timeout_s, options.active_timeout_s = parameters.idle_timeout, parameters.active_timeout
  options.linger_s = parameters.linger
  for _, name in ipairs {
    "max_flows", "max_packets", "n_meters", "n_dissections", "splt_analysis", "snapshot_length", "socket_buffer_size",
    "system_visibility_poll_ms", "accounting_mode", "dpi_cache", "decode_tunnels", "statistical_analysis",
    "promiscuous_mode", "reconnect", "defragment",
  } do
    options[name] = parameters[name]
  end
  options.duration_s, options.performance_report_s = parameters.duration, parameters.performance_report
  options.system_visibility = parameters.system_visibility_mode == 1
  options.udps_size = udps_size
  options.events, options.comments = wanted_events, wants_comments
  options.watchers = watchers
  options.time_unit = columns.time_units[parameters.time_unit].code
  options.l7_extra = has_l7_extra
  return options, anchor -- the second keeps alive what the first points to
end

--- The shape that parameters and plugins ask for. Raises one line when a parameter is wrong.
-- @param parameters resolved parameters
-- @param instances list of plugin instances
-- @param wants_ticks whether somebody is to be called every so often
-- @return a table: `options` (struct nf_options), `anchor` (what it points to), `columns` (those of records),
--   `available` (all there are), `types` (what flow.types takes), `record_type`, `event_type` (what it gives)
function shape.of(parameters, instances, wants_ticks)
  local udps, slots = plugin.layout(instances)
  local l7_extra = l7_extra_set(parameters.l7_columns)
  if parameters.n_dissections == 0 then l7_extra = nil end
  local events = dispatch.events(instances)
  if wants_ticks or report.wants_progress() then events = bit.bor(events, C.NF_EVENT_PROGRESS) end
  local self = {}
  self.options, self.anchor = c_options(parameters, events, dispatch.watchers(instances),
    plugin.need(instances, "comments"), udps and ffi.sizeof(udps) or 0, l7_extra ~= nil)
  local layout = C.nf_layout_of(self.options)
  local available = columns.of_run {
    layout = layout, unit = parameters.time_unit, l7_extra = l7_extra or {},
    udps = udps and plugin.columns(udps, slots, layout.udps) or {},
    has = {
      core = true, optional = true, tunnel = parameters.decode_tunnels, statistics = parameters.statistical_analysis,
      splt = parameters.splt_analysis > 0, l7 = parameters.n_dissections > 0, l7_extra = l7_extra ~= nil,
      process = layout.process > 0,
    },
  }
  for _, column in ipairs(available) do
    column.is_binary = parameters.binary_addresses and column.type == "ip" or nil
  end
  self.columns, self.available = select(available, parameters.columns), available
  self.types = {
    layout = layout, unit = parameters.time_unit, columns = available, selected = self.columns, udps = udps,
  }
  self.record_type, self.event_type = flow_types.types(self.types)
  return self
end

return shape
