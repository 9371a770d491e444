--- Measures what each part of nfengine costs a packet, and the same work in other tools where they are installed.
-- `make bench` runs it; --help says what else it takes. README.md beside it says what the rows are.
--
-- The rows take turns, round after round, so that a machine that gets slower does so for all of them.

package.path = "./?.lua;./lua/?.lua;./lua/?/init.lua;" .. package.path
-- Ctrl-C reaches interpreted code only.
jit.off()

local ffi = require "ffi"
local options = require "nfengine.options"
local process = require "bench.process"
local promises = require "bench.promises"
local report = require "bench.report"
local rows = require "bench.rows"
local text = require "nfengine.text"

ffi.cdef "int isatty(int);"

local DECLARED = {
  { name = "runs", short = "n", kind = "integer", min = 1, default = 5, doc = "runs of each row, after a first one" },
  { name = "packets", kind = "integer", min = 1, default = 1000000, doc = "size of the traces made" },
  { name = "peers", kind = "boolean", default = true, doc = "measure other tools, too" },
  { name = "only", kind = "list", value = "ROW,...", default = {}, doc = "these rows, by id, and the floors" },
  { name = "strict", kind = "boolean", default = false, is_flag = true, doc = "a missed promise is a failure" },
  { name = "program", kind = "string", value = "FILE", default = "./nfengine", doc = "the program measured" },
  { name = "floor", kind = "string", value = "FILE", default = "build/floor", doc = "bench/floor.c, compiled" },
  { name = "help", short = "h", kind = "boolean", default = false, is_flag = true, doc = "this text" },
}

local USAGE = [[
usage: luajit bench/run.lua [options]

Measures CPU time, wall time and peak memory a packet of nfengine at its various works, and of other tools at the same.
Traces are made in bench/traces, or taken from the folder that $NFENGINE_TRACES names (mix_1m.pcap, syn_flood_1m.pcap).

]]

-- Rows this slow, in seconds, run SLOW_RUNS times, the first one among them.
local SLOW, SLOW_RUNS = 10, 3
local TIME_LIMIT = 900

-- The value, or an error without a place in the source.
local function need(value, message)
  if not value then error(message, 0) end
  return value
end

local function quote(word) return "'" .. word:gsub("'", "'\\''") .. "'" end

local function shell(command) return os.execute(command) == 0 end

local function first_line(command)
  local pipe = io.popen(command)
  local line = pipe:read "*l"
  pipe:close()
  return line
end

local function read(path)
  local file = need(io.open(path, "rb"), "cannot read " .. path)
  local content = file:read "*a"
  file:close()
  return content
end

-- ---- what to measure ----

local function is_newer(path, than) return shell(("test %s -nt %s"):format(quote(path), quote(than))) end

local function made_trace(kind, packets)
  local path = ("bench/traces/%s%s.pcap"):format(kind, packets == 1000000 and "" or "_" .. packets)
  if not is_newer(path, "bench/trace.lua") then
    local command = "mkdir -p bench/traces && %s bench/trace.lua %s %s %d"
    need(shell(command:format(quote(arg[-1]), kind, quote(path), packets)), "cannot make the trace " .. path)
  end
  return path
end

local function trace_paths(packets)
  local folder = os.getenv "NFENGINE_TRACES"
  if folder then return { mix = folder .. "/mix_1m.pcap", syn_flood = folder .. "/syn_flood_1m.pcap" } end
  return { mix = made_trace("mix", packets), syn_flood = made_trace("syn_flood", packets) }
end

local function chosen_rows(settings)
  local wanted, chosen, known = {}, {}, {}
  for _, id in ipairs(settings.only) do wanted[id] = true end
  local function add(list)
    for _, row in ipairs(list) do
      known[row.id] = true
      if #settings.only == 0 or wanted[row.id] or row.id:match "floor$" then chosen[#chosen + 1] = row end
    end
  end
  add(rows.ours)
  add(rows.plugins())
  if settings.peers then add(rows.peers()) end
  for _, id in ipairs(settings.only) do
    if not known[id] then
      error({ usage = ("--only: no row %s%s"):format(text.quote(id), text.suggest(id, text.sorted_keys(known))) }, 0)
    end
  end
  return chosen
end

local function made_model(scratch)
  local path = scratch .. "/model.txt"
  need(shell(("%s bench/model.lua --write=%s"):format(quote(arg[-1]), quote(path))), "cannot make the model " .. path)
  return path
end

-- ---- measuring ----

-- A folder in memory, if there is one: disks are not what is measured.
local function make_scratch()
  local parent = shell "test -d /dev/shm -a -w /dev/shm" and "/dev/shm" or os.getenv "TMPDIR" or "/tmp"
  return need(first_line(("mktemp -d %s/nfengine-bench-XXXXXX"):format(quote(parent))), "no folder for outputs")
end

local function without_quiet(words)
  local loud = {}
  for _, word in ipairs(words) do
    if word ~= "-q" then loud[#loud + 1] = word end
  end
  return loud
end

local Bench = {}
Bench.__index = Bench

function Bench:run(row, is_first)
  local folder = self.scratch .. "/written"
  need(shell(("rm -rf %s && mkdir %s"):format(quote(folder), quote(folder))), "cannot make " .. folder)
  local words = row.words {
    trace = self.traces[row.trace], folder = folder, csv = folder .. "/flows.csv", jsonl = folder .. "/flows.jsonl",
    parquet = folder .. "/flows.parquet", arrow = folder .. "/flows.arrow", sqlite = folder .. "/flows.sqlite",
    ipfix = folder .. "/flows.ipfix", model = self.model,
    program = self.settings.program, floor = self.settings.floor,
  }
  local out, err = self.scratch .. "/out", self.scratch .. "/err"
  local run = process.run(is_first and without_quiet(words) or words, { out = out, err = err, limit = TIME_LIMIT })
  return run, read(out) .. read(err)
end

local function last_line(output) return output:match "([^\n]+)%s*$" end

-- The first run: brings files into the page cache, and says how many flows there are and whether it works at all.
function Bench:warm_up(row)
  local run, output = self:run(row, true)
  local result = { row = row, runs = {}, problem = run.problem, flows = row.flows and row.flows(output) }
  if row.id:match "floor$" then
    need(not run.problem, ("%s: %s"):format(self.settings.floor, last_line(output) or run.problem))
    self.sizes[row.trace] = { packets = tonumber(output:match "^(%d+)"), bytes = tonumber(output:match "(%d+) bytes") }
  end
  if run.problem then
    result.problem = ("%s: %s"):format(run.problem, last_line(output) or "it said nothing")
  end
  result.packets = self.sizes[row.trace].packets
  result.is_slow = run.wall >= SLOW
  self.results[row.id] = result
  if result.is_slow then self:keep(result, run, 0) end
end

function Bench:keep(result, run, round)
  if run.problem then
    result.problem = run.problem
    return
  end
  local scale = 1e9 / result.packets
  result.runs[#result.runs + 1] = {
    round = round, cpu_ns = run.cpu * scale, wall_ns = run.wall * scale, memory = run.memory,
  }
end

function Bench:tell(...)
  if self.is_terminal then io.stderr:write("\r\27[K", ...) end
end

function Bench:measure()
  for _, row in ipairs(self.rows) do
    self:tell("warming up: ", row.name)
    self:warm_up(row)
  end
  for round = 1, self.settings.runs do
    for _, row in ipairs(self.rows) do
      local result = self.results[row.id]
      if not result.problem and not (result.is_slow and #result.runs >= SLOW_RUNS) then
        self:tell(("round %d of %d: "):format(round, self.settings.runs), row.name)
        -- A virtual machine's host takes unused memory back, and giving it again is slow: the flood needs a lot.
        if row.trace == "syn_flood" then self:run(row) end
        self:keep(result, (self:run(row)), round)
      end
    end
  end
  self:tell()
end

-- ---- telling ----

local function version_line(program)
  local pipe = io.popen(quote(program) .. " --version")
  local lines = {}
  for line in pipe:lines() do lines[#lines + 1] = line end
  pipe:close()
  return table.concat(lines, ", ")
end

local function trace_line(self, kind, row)
  local size = self.sizes[kind]
  local flows = self.results[row] and self.results[row].flows
  return ("%s: %s packets of %.0f bytes%s"):format(self.traces[kind], text.thousands(size.packets),
    size.bytes / size.packets, flows and (", %s flows"):format(text.thousands(flows)) or "")
end

local function peer_versions(list)
  local versions, seen = {}, {}
  for _, row in ipairs(list) do
    if row.version and not seen[row.version] then
      seen[row.version] = true
      versions[#versions + 1] = row.version
    end
  end
  return #versions > 0 and table.concat(versions, ", ") or "no other tools"
end

function Bench:report(load)
  io.write(version_line(self.settings.program), "\n", peer_versions(self.rows), "\n", report.machine(load), ", ",
    os.date "!%Y-%m-%d %H:%M UTC", "\n", trace_line(self, "mix", "core"), "\n",
    trace_line(self, "syn_flood", "flood_core"), "\n",
    ("Medians (runs: %d), rows taking turns; CPU is user and system time of all processes; MB are 10^6 bytes.\n\n")
      :format(self.settings.runs))
  local verdicts = promises.judge(self.results)
  report.table(self.rows, self.results, verdicts)
  io.write "\n"
  local missed = report.promises(verdicts)
  local failed = 0
  for _, result in pairs(self.results) do
    if result.problem and not result.row.is_peer then failed = failed + 1 end
  end
  return (failed > 0 or missed > 0 and self.settings.strict) and 1 or 0
end

local function run(settings)
  local self = setmetatable({ settings = settings, rows = chosen_rows(settings), results = {}, sizes = {} }, Bench)
  self.is_terminal = ffi.C.isatty(2) == 1
  self.traces = trace_paths(settings.packets)
  self.scratch = make_scratch()
  self.model = made_model(self.scratch)
  local load = report.load_average()
  local ok, problem = pcall(self.measure, self)
  shell("rm -rf " .. quote(self.scratch))
  if not ok then error(problem, 0) end
  return self:report(load)
end

local function main(words)
  local given = options.parse(words, DECLARED)
  local settings = options.resolve(DECLARED, given, "bench")
  if settings.help then
    io.write(USAGE, options.help(DECLARED), "\n")
    return 0
  end
  return run(settings)
end

local ok, status = pcall(main, arg)
if not ok then
  local usage = type(status) == "table" and status.usage
  local interrupted = tostring(status):match "interrupted!$"
  io.stderr:write("bench: ", interrupted or tostring(usage or status), "\n")
  status = usage and 2 or interrupted and 130 or 1
end
os.exit(status)
