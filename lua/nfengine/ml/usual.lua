--- Which columns to look at where nothing says what flows are: in plugin anomaly, in script anomalies.

local columns = require "nfengine.columns"
local text = require "nfengine.text"

local usual = {}

-- What a flow is like, and not who takes part. UNIT is that of the run's times.
local NAMES = {
  "bidirectional_duration_UNIT", "src2dst_packets", "src2dst_bytes", "dst2src_packets", "dst2src_bytes",
  "src2dst_mean_ps", "src2dst_stddev_ps", "dst2src_mean_ps", "dst2src_stddev_ps", "bidirectional_mean_piat_UNIT",
  "bidirectional_stddev_piat_UNIT", "bidirectional_syn_packets", "bidirectional_rst_packets",
  "bidirectional_psh_packets",
}

--- Columns of a run, arrays as their elements (columns.elements): those that are asked for, or else which of the usual
-- ones the run has. Raises one line for a name that is no column of numbers, or of one that is filled in later.
-- @param run as plugins' setup gets it: `columns`, `time_unit`
-- @param names list, which may be empty
function usual.features(run, names)
  local by_name, known = columns.by_name(run.columns)
  local list = {}
  for _, name in ipairs(names) do
    local column = by_name[name]
    if not column then
      error(("no column %s in this run%s"):format(text.quote(name), text.suggest(name, known)), 0)
    end
    if not columns.is_numeric(column) then
      error(("column %s is %s, expected a number"):format(text.quote(name), column.type), 0)
    end
    local problem = columns.lateness(column)
    if problem then error(problem, 0) end
    list[#list + 1] = column
  end
  if names[1] then return list end
  for _, name in ipairs(NAMES) do list[#list + 1] = by_name[(name:gsub("UNIT", run.time_unit))] end
  if not list[1] then error("no column of this run is usual to look at, expected names of some", 0) end
  return list
end

return usual
