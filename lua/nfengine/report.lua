--- What a person is told of a run, on stderr: progress, warnings, a summary. Also keeps each run's account for the exit
-- status and for scripts.

local ffi = require "ffi"
local C = require "nfengine.lib"
local notation = require "nfengine.notation"
local text = require "nfengine.text"

local report = {
  is_program = false,    -- set by the command line: a library prints only warnings
  is_quiet = false,      -- -q: neither progress nor summary
  shows_progress = false,
  runs = {},             -- accounts of finished runs, in order
  wants_traceback = false, -- --traceback: show where in a script an error came from
  traceback = nil,       -- of the last error
}

local is_line_open = false

local function say(line)
  if is_line_open then io.stderr:write "\r\27[K" end
  is_line_open = false
  -- One line. Lua's loader parts what it says into lines that begin with a tab.
  io.stderr:write("nfengine: ", text.one_line((line:gsub("\n\t", " "))), "\n")
end

report.say = say

--- Seconds on a clock that never goes back.
function report.now() return C.nf_now() end

--- What is raised, as it is to be said; called where it is raised. With --safe another function, see nfengine.safe.
function report.located(raised) return raised end

--- Error handler that remembers where an error came from.
function report.handler(raised)
  report.traceback = debug.traceback("", 2)
  return report.located(raised)
end

function report.wants_progress() return report.is_program and report.shows_progress and not report.is_quiet end

-- ---- accounts ----

--- Counters by the names of their reasons, those that are not 0, and the sum of all.
local function by_reason(counts, size, name_of)
  local named, total = {}, 0
  for reason = 1, size - 1 do
    local n = tonumber(counts[reason])
    if n > 0 then named[ffi.string(name_of(reason))] = n end
    total = total + n
  end
  return named, total
end

local function ignored_by_reason(counters) return by_reason(counters.ignored, C.NF_IGNORED_COUNT, C.nf_ignored_name) end
local function ended_by_reason(counters) return by_reason(counters.ended, C.NF_END_COUNT, C.nf_end_name) end

--- The captures that a run has read, single files all of them, and how many packets each had.
local function inputs_of(run)
  local list = {}
  while true do
    local input = C.nf_crew_input(run.crew, #list)
    if input.path == nil then return list end
    list[#list + 1] = { path = ffi.string(input.path), packets = tonumber(input.packets) }
  end
end

--- A moment of traffic as text, nil for none.
local function moment(ns) return ns > 0 and notation.moment(ns) or nil end

local function account_of(run)
  local counters = C.nf_crew_counters(run.crew)
  local ignored, total = ignored_by_reason(counters)
  return {
    packets = tonumber(counters.packets), bytes = tonumber(counters.bytes), flows = run.flows,
    ended = (ended_by_reason(counters)), live = tonumber(counters.ended[0]), ignored = ignored, ignored_packets = total,
    dropped = {
      kernel = tonumber(counters.dropped_kernel), interface = tonumber(counters.dropped_interface),
    },
    first_packet = moment(counters.first_ns), last_packet = moment(counters.last_ns),
    inputs = inputs_of(run), meters = run.meters, seconds = report.now() - run.started, warnings = run.warnings,
    is_damaged = C.nf_crew_is_damaged(run.crew), is_interrupted = C.nf_interrupted(),
    is_live = C.nf_crew_is_live(run.crew),
  }
end

local function rate(packets, seconds)
  local per_second = packets / math.max(seconds, 1e-6)
  if per_second >= 1e6 then return ("%.1f M packets/s"):format(per_second / 1e6) end
  if per_second >= 1e3 then return ("%.0f k packets/s"):format(per_second / 1e3) end
  return ("%.0f packets/s"):format(per_second)
end

local function summary_of(account)
  local parts = { text.plural(account.packets, "packet"), text.plural(account.flows, "flow") }
  if account.ignored_packets > 0 then
    local reasons = {}
    for _, reason in ipairs(text.sorted_keys(account.ignored)) do
      reasons[#reasons + 1] = text.thousands(account.ignored[reason]) .. " " .. reason
    end
    parts[#parts + 1] = ("%s ignored (%s)"):format(text.thousands(account.ignored_packets), table.concat(reasons, ", "))
  end
  for _, where in ipairs { "kernel", "interface" } do
    local lost = account.dropped[where]
    if lost > 0 then parts[#parts + 1] = text.thousands(lost) .. " dropped by the " .. where end
  end
  local full = account.ended.full
  if full then parts[#parts + 1] = text.plural(full, "flow") .. " ended early by max_flows" end
  parts[#parts + 1] = ("%.2f s"):format(account.seconds)
  parts[#parts + 1] = rate(account.packets, account.seconds)
  local is_cut_short = account.is_interrupted and not account.is_live
  return table.concat(parts, ", ") .. (is_cut_short and ", interrupted" or "")
end

-- ---- telling ----

--- One line on where a run stands: overwritten again and again on a terminal, a line of its own on SIGUSR1.
local function progress(run, is_asked)
  local counters = C.nf_crew_counters(run.crew)
  local packets, size = tonumber(counters.packets), tonumber(counters.input_size)
  local lost = tonumber(counters.dropped_kernel + counters.dropped_interface)
  local share = size > 0 and ("%.0f %%, "):format(math.min(100, 100 * tonumber(counters.input_read) / size)) or ""
  local line = ("%s%s, %s given out, %s live, %s%s"):format(share, text.plural(packets, "packet"),
    text.plural(run.flows, "flow"), text.thousands(tonumber(counters.ended[0])),
    rate(packets, report.now() - run.started),
    lost > 0 and (", %s dropped"):format(text.thousands(lost)) or "")
  if is_asked then return say(line) end
  io.stderr:write("\r\27[Knfengine: ", line)
  io.stderr:flush()
  is_line_open = true
end

--- Tells what has come to attention since.
local function tell_warnings(run)
  while true do
    local warning = C.nf_crew_warning(run.crew)
    if warning == nil then break end
    run.warnings[#run.warnings + 1] = ffi.string(warning)
    say("warning: " .. ffi.string(warning))
  end
end

-- ---- performance reports ----

--- An object with its members in this order: { { name, value }, … }; names need no escapes.
local function json_object(members)
  local parts = {}
  for i, member in ipairs(members) do parts[i] = ('"%s": %s'):format(member[1], member[2]) end
  return "{" .. table.concat(parts, ", ") .. "}"
end

local function json_integer(n) return ("%.0f"):format(tonumber(n)) end

local function json_counts(counts)
  local members = {}
  for _, name in ipairs(text.sorted_keys(counts)) do members[#members + 1] = { name, json_integer(counts[name]) } end
  return json_object(members)
end

local function json_meters(run)
  local meters, processed = {}, {}
  for i = 0, run.meters - 1 do
    local c = C.nf_crew_counters_of(run.crew, i)
    local _, ignored = ignored_by_reason(c)
    local _, ended = ended_by_reason(c)
    processed[#processed + 1] = json_integer(tonumber(c.packets) - ignored)
    meters[#meters + 1] = json_object {
      { "packets_processed", processed[#processed] }, { "packets_ignored", json_integer(ignored) },
      { "packets_dropped_by_kernel", json_integer(c.dropped_kernel) },
      { "flows_live", json_integer(c.ended[0]) }, { "flows_ended", json_integer(ended) },
    }
  end
  return "[" .. table.concat(processed, ", ") .. "]", "[" .. table.concat(meters, ", ") .. "]"
end

--- NFStream's report, with its fields first, and what else there is to know of how a run does. One line of JSON.
local function performance(run)
  local balance, meters = json_meters(run)
  local c = C.nf_crew_counters(run.crew)
  local ignored, ignored_total = ignored_by_reason(c)
  local ended = ended_by_reason(c)
  local written, message = run.report_file:write(json_object {
    { "flows_expired", json_integer(run.flows) },
    { "packets_processed", json_integer(tonumber(c.packets) - ignored_total) },
    { "packets_ignored", json_integer(ignored_total) },
    { "packets_dropped_filtered_by_kernel", json_integer(c.dropped_kernel) },
    { "meters_packets_processing_balance", balance },
    { "time", ("%.3f"):format(C.nf_time()) },
    { "packets_dropped_by_interface", json_integer(c.dropped_interface) },
    { "packets_ignored_by_reason", json_counts(ignored) },
    { "bytes", json_integer(c.bytes) },
    { "flows_live", json_integer(c.ended[0]) },
    { "max_flows", json_integer(run.max_flows) },
    { "flows_ended_by_reason", json_counts(ended) },
    { "meters", meters },
  }, "\n")
  if written then written, message = run.report_file:flush() end
  if not written and not run.is_report_lost then
    run.is_report_lost = true -- said once
    say("warning: performance_report_file: " .. message)
  end
end

-- ---- what happens besides flows ----

local function call(sink, method)
  if sink and sink[method] then sink[method](sink) end
end

--- Output that waits for a buffer to fill would wait for how long nobody knows where packets come as they may.
local function show_so_far(run)
  call(run.sink, "flush")
  io.stdout:flush()
  tell_warnings(run)
end

--- What the run's clock and signals bring.
function report.event(run, kind)
  local is_live = C.nf_crew_is_live(run.crew)
  if kind == C.NF_EVENT_REPORT then
    performance(run)
  elseif kind == C.NF_EVENT_STATUS then
    progress(run, true)
  elseif kind == C.NF_EVENT_REOPEN then
    -- Where no log can have been rotated, the terminal has gone: as any program then, end.
    if is_live then call(run.sink, "reopen") else C.nf_interrupt(C.NF_REQUEST_STOP) end
  elseif kind == C.NF_EVENT_PROGRESS then
    if C.nf_crew_may_wait(run.crew) then show_so_far(run) end
    run:tick()
    if report.wants_progress() then progress(run, false) end
  end
end

--- Takes a finished run's account, and tells its warnings and summary.
function report.finished(run)
  tell_warnings(run)
  local account = account_of(run)
  run.account = account
  report.runs[#report.runs + 1] = account
  if run.report_file then
    performance(run)
    if run.report_file ~= io.stderr then run.report_file:close() end
  end
  -- A run that failed before its first packet has nothing to sum up.
  if report.is_program and not report.is_quiet and not (run.has_failed and account.packets == 0) then
    say(summary_of(account))
  end
end

return report
