--- Prints what was measured: the machine, the table, the promises.

local numbers = require "bench.numbers"
local text = require "nfengine.text"

local report = {}

local GROUPS = {
  { id = "mix", title = "mixture" },
  { id = "syn_flood", title = "SYN flood: every packet a flow" },
  { id = "plugins", title = "plugins on the mixture, without DPI" },
  { id = "peers", title = "other tools on the mixture" },
}

local NAME_WIDTH = 42
-- Head (two lines), width, and how a result's cell is made.
local COLUMNS = {
  { "CPU", "ns/packet", 10, function(result) return numbers.median(result, "cpu_ns") end },
  { "least", "ns/packet", 10, function(result) return numbers.least(result, "cpu_ns") end },
  { "wall", "ns/packet", 10, function(result) return numbers.median(result, "wall_ns") end },
  { "speed", "packets/s", 11, function(result) return text.thousands(1e9 / numbers.median(result, "wall_ns")) end },
  { "memory", "MB", 8, function(result) return ("%.1f"):format(numbers.median(result, "memory") / 1e6) end },
  { "CPU to", "floor", 8, function(result, floor)
    return ("%.2f"):format(numbers.paired(result, floor, function(a, b) return a.cpu_ns / b.cpu_ns end))
  end },
  { "", "flows", 10, function(result) return result.flows and text.thousands(result.flows) or "" end },
}

local function in_words(value)
  if type(value) == "string" then return value end
  return value < 1000 and ("%.1f"):format(value) or text.thousands(value)
end

local function write_head()
  for line = 1, 2 do
    io.write((" "):rep(NAME_WIDTH))
    for _, column in ipairs(COLUMNS) do io.write((" "):rep(column[3] - #column[line]), column[line]) end
    io.write "\n"
  end
end

-- What is to be said behind a row: its missed promises, or how it compares with ours.
local function remarks(row, results, verdicts)
  local list = {}
  for _, verdict in ipairs(verdicts) do
    if verdict.promise.row == row.id and verdict.is_missed then
      list[#list + 1] = ("MISSED: %.4g %s, promised %.4g"):format(verdict.value, verdict.unit, verdict.promise.most)
    end
  end
  local ours = row.like and results[row.like]
  if ours and #ours.runs > 0 then
    local ratio = numbers.paired(results[row.id], ours, function(a, b) return a.cpu_ns / b.cpu_ns end)
    list[#list + 1] = ("%.1f x %q"):format(ratio, ours.row.name)
  end
  return #list > 0 and "  " .. table.concat(list, ", ") or ""
end

local function write_row(row, results, verdicts)
  local result = results[row.id]
  io.write("  ", row.name, (" "):rep(NAME_WIDTH - 2 - #row.name))
  if result.problem then
    io.write("  failed: ", result.problem, "\n")
    return
  end
  local floor = results[row.trace == "mix" and "floor" or "flood_floor"]
  for _, column in ipairs(COLUMNS) do
    local cell = in_words(column[4](result, floor))
    io.write((" "):rep(column[3] - #cell), cell)
  end
  io.write(remarks(row, results, verdicts), "\n")
end

--- The table. `verdicts` are those of the promises.
function report.table(rows, results, verdicts)
  write_head()
  for _, group in ipairs(GROUPS) do
    local has_title = false
    for _, row in ipairs(rows) do
      if row.group == group.id then
        if not has_title then io.write(group.title, "\n") end
        has_title = true
        write_row(row, results, verdicts)
      end
    end
  end
end

local function judgement(verdict)
  if verdict.because then return verdict.because end
  if verdict.is_missed then return ("MISSED by %.0f %%"):format(verdict.over * 100) end
  return "kept"
end

--- The promises, each with what was measured. Returns how many were missed.
function report.promises(verdicts)
  local missed = 0
  io.write(("%-70s%10s%10s\n"):format("promises", "promised", "measured"))
  for _, verdict in ipairs(verdicts) do
    local promise = verdict.promise
    local value = verdict.value and ("%.4g"):format(verdict.value) or "-"
    io.write(("  %-68s%10.4g%10s %-7s%s\n"):format(promise.text, promise.most, value, verdict.unit, judgement(verdict)))
    if verdict.is_missed then missed = missed + 1 end
  end
  return missed
end

-- ---- the machine ----

local function read(path)
  local file = io.open(path)
  local content = file and file:read "*a" or ""
  if file then file:close() end
  return content
end

local function load_average() return read("/proc/loadavg"):match "^%S+" or "unknown" end

local function cores()
  local count = 0
  for _ in read("/proc/cpuinfo"):gmatch "processor%s*:" do count = count + 1 end
  return count
end

--- A line about the machine; `load` is what load_average said before the measuring.
function report.machine(load)
  return ("%s, %d cores, Linux %s, load average %s before and %s after"):format(
    read("/proc/cpuinfo"):match "model name%s*:%s*([^\n]+)" or jit.arch, cores(),
    read("/proc/sys/kernel/osrelease"):match "%S+" or "unknown", load, load_average())
end

report.load_average = load_average

return report
