--- What a person is told of a run, on stderr: progress, warnings, a summary. Also keeps each run's account for the exit
-- status and for scripts.

local ffi = require "ffi"
local C = require "nfengine.lib"
local text = require "nfengine.text"

local report = {
  is_program = false,    -- set by the command line: a library prints only warnings
  is_quiet = false,      -- -q: neither progress nor summary
  shows_progress = false,
  runs = {},             -- accounts of finished runs, in order
  traceback = nil,       -- of the last error
}

local is_line_open = false

local function say(line)
  if is_line_open then io.stderr:write "\r\27[K" end
  is_line_open = false
  io.stderr:write("nfengine: ", (line:gsub("[%c\127]", "?")), "\n") -- one line, and no commands to a terminal
end

report.say = say

--- Seconds on a clock that never goes back.
function report.now() return C.nf_now() end

--- Error handler that remembers where an error came from.
function report.handler(message)
  report.traceback = debug.traceback("", 2)
  return message
end

function report.wants_progress() return report.is_program and report.shows_progress and not report.is_quiet end

-- ---- accounts ----

local function ignored_by_reason(counters)
  local ignored, total = {}, 0
  for reason = 1, C.NF_IGNORED_COUNT - 1 do
    local n = tonumber(counters.ignored[reason])
    if n > 0 then ignored[ffi.string(C.nf_ignored_name(reason))] = n end
    total = total + n
  end
  return ignored, total
end

local function account_of(run)
  local counters = C.nf_meter_counters(run.meter)
  local ended = {}
  for reason = 1, C.NF_END_COUNT - 1 do
    local n = tonumber(counters.ended[reason])
    if n > 0 then ended[ffi.string(C.nf_end_name(reason))] = n end
  end
  local ignored, total = ignored_by_reason(counters)
  return {
    packets = tonumber(counters.packets), bytes = tonumber(counters.bytes), flows = run.flows, ended = ended,
    live = tonumber(counters.ended[0]), ignored = ignored, ignored_packets = total,
    seconds = report.now() - run.started,
    warnings = {}, is_damaged = C.nf_meter_is_damaged(run.meter), is_interrupted = C.nf_interrupted(),
  }
end

local function rate(packets, seconds)
  local per_second = packets / math.max(seconds, 1e-6)
  if per_second >= 1e6 then return ("%.1f M packets/s"):format(per_second / 1e6) end
  if per_second >= 1e3 then return ("%.0f k packets/s"):format(per_second / 1e3) end
  return ("%.0f packets/s"):format(per_second)
end

local function plural(n, noun) return text.thousands(n) .. " " .. noun .. (n == 1 and "" or "s") end

local function summary_of(account)
  local parts = { plural(account.packets, "packet"), plural(account.flows, "flow") }
  if account.ignored_packets > 0 then
    local reasons = {}
    for _, reason in ipairs(text.sorted_keys(account.ignored)) do
      reasons[#reasons + 1] = text.thousands(account.ignored[reason]) .. " " .. reason
    end
    parts[#parts + 1] = ("%s ignored (%s)"):format(text.thousands(account.ignored_packets), table.concat(reasons, ", "))
  end
  if account.ended.full then parts[#parts + 1] = plural(account.ended.full, "flow") .. " ended early by max_flows" end
  parts[#parts + 1] = ("%.2f s"):format(account.seconds)
  parts[#parts + 1] = rate(account.packets, account.seconds)
  return table.concat(parts, ", ") .. (account.is_interrupted and ", interrupted" or "")
end

-- ---- telling ----

--- One line on where a run stands: overwritten each second on a terminal, a line of its own on SIGUSR1.
function report.progress(run, kind)
  local counters = C.nf_meter_counters(run.meter)
  local packets, size = tonumber(counters.packets), tonumber(counters.input_size)
  local share = size > 0 and ("%.0f %%, "):format(math.min(100, 100 * tonumber(counters.input_read) / size)) or ""
  local line = ("%s%s, %s given out, %s live, %s"):format(share, plural(packets, "packet"), plural(run.flows, "flow"),
    text.thousands(tonumber(counters.ended[0])), rate(packets, report.now() - run.started))
  if kind == C.NF_EVENT_STATUS then return say(line) end
  io.stderr:write("\r\27[Knfengine: ", line)
  io.stderr:flush()
  is_line_open = true
end

--- Takes a finished run's account, and tells its warnings and summary.
function report.finished(run)
  local account = account_of(run)
  while true do
    local warning = C.nf_meter_warning(run.meter)
    if warning == nil then break end
    account.warnings[#account.warnings + 1] = ffi.string(warning)
    say("warning: " .. ffi.string(warning))
  end
  run.account = account
  report.runs[#report.runs + 1] = account
  -- A run that failed before its first packet has nothing to sum up.
  if report.is_program and not report.is_quiet and not (run.has_failed and account.packets == 0) then
    say(summary_of(account))
  end
end

return report
