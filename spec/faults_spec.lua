-- Runs in which something fails, at every place where it can: no crash, nothing lost in silence, no row cut in two.
-- docs/robustness.md tells users what comes of each of these faults; its rows and the tests here go by the same names.
--
-- Sweeps take some of their calls, and all of them with $NFENGINE_EVERY_FAULT=1 (make faults).

local arrow = require "spec.support.arrow"
local capture = require "nfengine.testing.capture"
local cjson = require "cjson"
local csv = require "nfengine.csv"
local engine = require "spec.support.engine"
local faults = require "spec.support.faults"
local meter = require "spec.support.meter"
local parquet = require "spec.support.parquet"
local program = require "spec.support.program"

local WEB = "samples/web.pcap" -- 390 packets, 32 flows
local PLAIN = "flows --manifest -o $out --n-meters=1 " .. WEB
local PIPED = "flows --format=jsonl --n-meters=1 " .. WEB
local SEVERAL = "flows --manifest -o $out --n-meters=3 " .. WEB

local is_tested = {} -- rows of docs/robustness.md

--- A test of what a row says.
local function fault(name, body)
  is_tested[name] = true
  it(name, body)
end

-- ---- what has to hold of every run ----

--- How many rows a text holds; raises what is no row.
local function count_csv(text)
  local rows, count = csv.open(program.write(text)), 0
  local width = #rows.header
  for row in rows do
    assert(#row == width, "a row of another width")
    count = count + 1
  end
  rows:close()
  return count
end

local function count_jsonl(text)
  local count = 0
  for line in text:gmatch "[^\n]+" do
    cjson.decode(line)
    count = count + 1
  end
  return count
end

--- The same of a format in which what has no end, or half of one, is no file; an Arrow stream may break off between its
-- batches.
local function count_typed(text)
  if text:sub(1, 4) == "\255\255\255\255" then
    local read = assert(arrow.stream(text), "half a schema")
    assert(read.rest == "", "half a batch")
    return read.rows
  end
  local read = text:match "^PAR1" and parquet.read(text) or text:match "^ARROW1" and arrow.file(text)
  return read and read.rows or 0
end

local function count_rows(text)
  if text == "" then return 0 end
  if text:match "^PAR1" or text:match "^ARROW1" or text:byte() == 255 then return count_typed(text) end
  assert(text:sub(-1) == "\n", "the last row has no end")
  return text:sub(1, 1) == "{" and count_jsonl(text) or count_csv(text)
end

--- What standard error says: the error, of which there may be one, warnings, and the flows of the summary.
local function read_errors(text)
  local said = { warnings = 0 }
  for line in text:gmatch "([^\n]*)\n" do
    assert(line:match "^nfengine: ", "no line of the program: " .. line)
    local flows = line:match "^nfengine: [%d,]+ packets?, ([%d,]+) flows?,"
    if flows then
      said.flows = tonumber((flows:gsub(",", "")))
    elseif line:match "^nfengine: warning: " then
      said.warnings = said.warnings + 1
    else
      assert(not said.error, "a second line for the error")
      said.error = line
    end
  end
  assert(text == "" or text:sub(-1) == "\n", "a line without an end")
  return said
end

--- Raises what is wrong with the end of a run. Where standard error itself cannot be written, nothing is said.
local function check(result, sound, is_silent)
  assert(result.status == 0 or result.status == 1 or result.status == 130, "status " .. result.status)
  local output = result.written or result.out
  local rows = count_rows(output)
  if is_silent and (result.err == "" or result.err:sub(-1) ~= "\n") then return end
  local said = read_errors(result.err)
  assert(not said.flows or said.flows == rows, ("%s flows in the summary, %d rows"):format(said.flows, rows))
  if result.status == 0 then assert(output == (sound.written or sound.out), "another output") end
  if result.status == 1 and not is_silent then assert(said.error or said.warnings > 0, "no reason") end
end

--- Makes the calls of one kind fail, one after another, in a run of these words.
local function sweep(given)
  local sound, problems = faults.sound(given), {}
  assert.equal(given.status or 0, sound.status)
  assert.is_true(sound.calls > 0)
  given.calls = sound.calls
  for _, result in ipairs(faults.sweep(given)) do
    local ok, problem = pcall(check, result, sound, given.kind == "write")
    if ok and given.is_harmless then ok, problem = result.status == 0, "status " .. result.status end
    if not ok then
      problems[#problems + 1] = ("%s %d of %d, %s: %s: %s"):format(given.kind, result.at, sound.calls,
        given.error or "ENOMEM", problem, result.err)
    end
  end
  assert.same({}, problems)
end

--- A test of some sweeps.
local function swept(name, list)
  fault(name, function()
    local reason = faults.missing()
    if reason then return pending(reason) end
    for _, given in ipairs(list()) do sweep(given) end
  end)
end

--- Writes a capture of so many flows of a packet each, a millisecond apart, and returns its path.
local function flows_of(count)
  local packets = {}
  for i = 1, count do packets[i] = meter.udp(i, 1000 + i) end
  return program.write(capture.pcap(packets, { ns = true }), ".pcap")
end

describe("a call that fails", function()
  after_each(program.remove_temporaries)

  swept("no memory", function()
    return {
      { kind = "alloc", words = PLAIN }, { kind = "alloc", words = PLAIN, times = 0 },
      { kind = "alloc", words = PIPED },
      { kind = "alloc", words = PLAIN .. " --format=arrow" }, { kind = "alloc", words = PLAIN .. " --format=parquet" },
      { kind = "alloc", words = "flows --n-meters=1 --format=arrow " .. WEB },
      { kind = "alloc", words = "flows -o $out --n-meters=1 --plugin=ja4 --plugin=community_id " .. WEB },
      { kind = "alloc", words = "flows -o $out --n-meters=1 --bpf-filter=udp samples/dns.pcap.gz" },
    }
  end)

  swept("no memory, several meters", function()
    return { { kind = "alloc", words = SEVERAL }, { kind = "alloc", words = SEVERAL, times = 0 } }
  end)

  swept("no memory for a warning", function()
    local damaged = program.write(program.read(WEB):sub(1, -10), ".pcap")
    return { { kind = "alloc", words = "flows -o $out --n-meters=1 " .. damaged, status = 1 } }
  end)

  swept("no memory for Lua", function()
    -- LuaJIT before 2.1's releases crashes where compiled code gets no memory, as what meters' threads begin with may.
    return {
      { kind = "mmap", words = PLAIN }, { kind = "mmap", words = PLAIN, times = 0 },
      { kind = "mmap", words = SEVERAL, spared = "libluajit" },
      { kind = "mmap", words = SEVERAL, spared = "libluajit", times = 0 },
    }
  end)

  swept("machine code refused", function()
    return {
      { kind = "mprotect", error = "EACCES", words = PLAIN }, { kind = "mprotect", error = "EACCES", words = SEVERAL },
    }
  end)

  it("tells machine code without memory from machine code refused", function()
    local reason = faults.missing()
    if reason then return pending(reason) end
    for error, expected in pairs { ENOMEM = "not enough memory for machine code",
      EACCES = "runtime code generation failed, restricted kernel?" } do
      local given = { kind = "mprotect", error = error, words = PLAIN }
      given.calls = faults.sound(given).calls
      local said = {}
      for _, result in ipairs(faults.sweep(given)) do
        local line = result.err:match "^nfengine: ([^\n]*machine code)\n$"
          or result.err:match "^nfengine: (runtime [^\n]*)"
        if line then said[line] = true end
      end
      assert.same({ [expected] = true }, said)
    end
  end)

  swept("a thread cannot be started", function()
    return {
      { kind = "thread", error = "EAGAIN", words = SEVERAL },
      { kind = "thread", error = "EAGAIN", words = SEVERAL, times = 0 },
    }
  end)

  swept("a file cannot be opened", function()
    return {
      { kind = "open", error = "EMFILE", words = PLAIN }, { kind = "open", error = "EACCES", words = PIPED },
      { kind = "open", error = "EMFILE", words = SEVERAL },
    }
  end)

  swept("a read fails", function()
    local list = { { kind = "read", error = "EIO", words = PIPED }, { kind = "read", error = "EIO", words = SEVERAL } }
    for _, path in ipairs { WEB, "samples/dns.pcap.gz", "samples/dns.pcap.zst", "samples/labelled.pcapng" } do
      list[#list + 1] = { kind = "read", error = "EIO", words = "flows -o $out --n-meters=1 " .. path }
    end
    return list
  end)

  swept("a read gives less than asked for", function()
    local list = {}
    for _, path in ipairs { WEB, "samples/dns.pcap.gz", "samples/dns.pcap.zst", "samples/labelled.pcapng" } do
      local words = "flows -o $out --n-meters=1 " .. path
      list[#list + 1] = { kind = "read", error = "short", words = words, is_harmless = true }
      list[#list + 1] = { kind = "read", error = "EINTR", words = words }
    end
    return list
  end)

  swept("a write fails", function()
    local list, path = {}, flows_of(6000)
    for _, error in ipairs { "ENOSPC", "EIO" } do
      for _, words in ipairs {
        "--manifest -o $out", "--format=jsonl -o $out", "--format=parquet -o $out", "--format=arrow -o $out", "",
        "--format=jsonl", "--format=arrow",
      } do
        words = ("flows --n-meters=1 --n-dissections=0 %s %s"):format(words, path)
        list[#list + 1] = { kind = "write", error = error, words = words, times = 0 }
        list[#list + 1] = { kind = "write", error = error, words = words }
      end
    end
    return list
  end)

  swept("a write takes less than asked for", function()
    local list, path = {}, flows_of(6000)
    for _, words in ipairs { "--manifest -o $out", "--format=jsonl", "--format=parquet -o $out", "--format=arrow" } do
      words = ("flows --n-meters=1 --n-dissections=0 %s %s"):format(words, path)
      list[#list + 1] = { kind = "write", error = "short", words = words, is_harmless = true }
      list[#list + 1] = { kind = "write", error = "EINTR", words = words }
    end
    return list
  end)

  swept("closing fails", function()
    return { { kind = "close", error = "EIO", words = PLAIN }, { kind = "close", error = "EIO", words = SEVERAL } }
  end)
end)

-- ---- faults that need no switch ----

--- Runs the program on these words, and checks the end of the run but for its status. $out is an output file. `mount`
-- is a file system's options, for one that this run alone sees, at $folder.
local function run(words, mount)
  local path = program.temporary ".csv"
  local command = ("timeout 20 %s %s"):format(program.quote(program.path), words)
  if mount then
    command = "unshare -m sh -c " .. program.quote(([[
mount -t tmpfs -o %s tmpfs $folder && %s; status=$?
cp $folder/* $out 2>/dev/null; exit $status]]):format(mount, command))
  end
  local result = program.shell(([[
export out=%s folder=$(mktemp -d)
%s; status=$?
rmdir $folder; exit $status]]):format(path, command))
  result.written = program.read(path)
  check(result, { written = result.written, out = result.out })
  return result
end

--- The flows that a summary counts.
local function summed_up(result) return read_errors(result.err).flows end

describe("an output", function()
  after_each(program.remove_temporaries)

  local function without_mounts()
    local tried = program.shell "unshare -m mount -t tmpfs tmpfs /mnt"
    if tried.status ~= 0 then return "needs to mount a file system: " .. tried.err:gsub("%s+", " ") end
  end

  fault("a disk that fills up", function()
    local reason = without_mounts()
    if reason then return pending(reason) end
    for _, format in ipairs { "csv", "jsonl" } do
      local result = run(("flows --n-dissections=0 --format=%s -o $folder/flows %s"):format(format,
        flows_of(6000)), "size=256k")
      assert.equal(1, result.status)
      assert.matches('\nnfengine: cannot write "/tmp/[^\n]+/flows": No space left on device\n$', result.err)
      assert.is_true(summed_up(result) > 0)
    end
  end)

  fault("a folder that is read only", function()
    local reason = without_mounts()
    if reason then return pending(reason) end
    local result = run("flows -q -o $folder/flows.csv " .. WEB, "ro")
    assert.equal(1, result.status)
    assert.matches('^nfengine: cannot write "[^\n]+": Read%-only file system\n$', result.err)
  end)

  fault("a path below a file", function()
    local result = run(("flows -q -o %s/flows.csv %s"):format(WEB, WEB))
    assert.equal(1, result.status)
    assert.equal(('nfengine: cannot write "%s/flows.csv": Not a directory\n'):format(WEB), result.err)
  end)
end)

describe("a file that changes while it is read", function()
  after_each(engine.cleanup)

  local COUNT = 6000 -- more than a block of what is read at once

  --- Runs a script on a capture, which does this to its $path at the first flow.
  local function while_read(action, meters)
    local path = flows_of(COUNT)
    local script = engine.script_file(([[
      local nf, is_done = require "nfengine", false
      local Change = nf.plugin { name = "change", independent = true, on_init = function(_, packet)
        if is_done then return end
        is_done = true
        local path = %q
        %s
      end }
      nf.streamer({ udps = Change, n_dissections = 0, columns = { "id", "src_port" }, n_meters = %d }):write()
    ]]):format(path, action, meters or 1))
    return run(("-o $out %s %s"):format(script, path)), path
  end

  fault("a capture that grows", function()
    local record = capture.pcap({ meter.udp(COUNT + 1, 999) }, { ns = true }):sub(25)
    local result = while_read(("local file = io.open(path, 'ab') file:write(%q) file:close()"):format(record))
    assert.equal(0, result.status)
    assert.equal(COUNT + 1, summed_up(result))
    result = while_read(("local file = io.open(path, 'ab') file:write(%q) file:close()"):format(record:sub(1, -2)))
    assert.equal(1, result.status)
    assert.matches("warning: [^\n]+: damaged after packet 6000 [^\n]+ the file ends within a record", result.err)
    assert.equal(COUNT, summed_up(result))
  end)

  fault("a capture that is cut off", function()
    for _, meters in ipairs { 1, 3 } do
      local result = while_read("os.execute('truncate -s 24 ' .. path)", meters)
      if result.status ~= 0 then assert.matches("warning: [^\n]+: damaged after packet ", result.err) end
      assert.is_true(meters > 1 or result.status == 1)
      assert.is_true(summed_up(result) > 0)
    end
  end)

  fault("a capture that is removed", function()
    for _, meters in ipairs { 1, 3 } do
      local result, path = while_read("os.remove(path)", meters)
      assert.equal(0, result.status)
      assert.equal(COUNT, summed_up(result))
      assert.is_nil(program.read(path))
    end
  end)

  fault("a script that is removed", function()
    for _, meters in ipairs { 1, 3 } do
      local script = engine.script_file([[
        os.remove(arg[0])
        require("nfengine").streamer({ n_dissections = 0, n_meters = ]] .. meters .. [[ }):write() ]])
      local result = run("-o $out " .. script .. " " .. WEB)
      assert.equal(0, result.status)
      assert.equal(32, summed_up(result))
      assert.is_nil(program.read(script))
    end
  end)

  fault("a plugin's file that is removed", function()
    local PLUGIN = [[
      local nf = require "nfengine"
      %s
      return nf.plugin { name = "gone", version = "1", description = "removes itself", author = "a", license = "MIT",
        categories = { "example" }, columns = { { "gone", "uint32", "that its file has gone" } },
        on_init = function(self, packet, flow)
          %s
          flow.udps.gone = 1
        end }]]
    for _, meters in ipairs { 1, 3 } do
      local path = program.temporary ".lua"
      local removal = ("os.remove %q"):format(path)
      program.write(PLUGIN:format("", removal), path)
      local words = ("flows -o $out --n-dissections=0 --n-meters=%d --plugin=%s %s"):format(meters, path, WEB)
      local result = run(words)
      assert.equal(0, result.status)
      assert.equal(32, summed_up(result))
      assert.is_nil(program.read(path))
      program.write(PLUGIN:format(removal, ""), path) -- before meters of their own have read it
      result = run(words)
      assert.equal(meters == 1 and 0 or 1, result.status)
      if meters == 3 then assert.matches("^nfengine: [^\n]*" .. path:gsub("%p", "%%%0"), result.err) end
    end
  end)
end)

describe("a signal", function()
  after_each(engine.cleanup)

  --- Runs the program so many times, and sends each run a signal at some moment of its life.
  local function signalled(signal, runs, words)
    local path, folder = flows_of(20000), program.shell("mktemp -d").out:gsub("\n", "")
    local script = program.write(([[
out=$folder/$1.written
timeout --foreground --preserve-status -k 20 -s %s $2 %s %s %s 2>$folder/$1.err >$folder/$1.out
echo $? >$folder/$1.status]]):format(signal, program.quote(program.path), words, path))
    local began = program.shell "date +%s.%N".out
    program.shell(("export folder=%s; sh %s 0 20"):format(folder, script))
    local lasts, moments = program.shell "date +%s.%N".out - began, {}
    for i = 1, runs do moments[i] = ("%d %.4f"):format(i, 0.001 + math.random() * lasts) end
    program.shell(("export folder=%s; printf '%%s\\n' %s | xargs -P $(nproc) -n 2 sh %s"):format(folder,
      table.concat(moments, " "), script))
    local function result(i)
      local function part(name) return program.read(("%s/%d.%s"):format(folder, i, name)) end
      return { status = tonumber(part "status"), out = part "out", err = part "err", written = part "written" }
    end
    local sound, problems, interrupted = result(0), {}, 0
    assert.equal(0, sound.status)
    for i = 1, runs do
      local one = result(i)
      -- A signal that comes before the program minds any ends it as any other program, before it has done anything.
      if one.err .. one.out .. (one.written or "") ~= "" then
        local ok, problem = pcall(check, one, sound)
        local is_interrupted = one.err:match ", interrupted\n$" ~= nil
        if not ok or one.status ~= (is_interrupted and 130 or 0) then
          problems[#problems + 1] = ("%s: status %d: %s"):format(tostring(problem), one.status, one.err)
        end
        interrupted = interrupted + (is_interrupted and 1 or 0)
      end
    end
    program.shell("rm -r " .. folder)
    assert.same({}, problems)
    assert.is_true(interrupted > 0)
  end

  fault("SIGINT at any moment", function()
    signalled("INT", 100, "flows --n-meters=1 --idle-timeout=1 --columns=id,src_ip -o $out")
  end)

  fault("SIGTERM at any moment", function()
    signalled("TERM", 50, "flows --n-meters=1 --format=jsonl --idle-timeout=1 --columns=id,src_ip")
  end)

  fault("SIGINT at any moment, several meters", function()
    signalled("INT", 50, "flows --n-meters=3 --idle-timeout=1 --columns=id,src_ip -o $out")
  end)

  fault("a signal while the output's reader is slow", function()
    local script = engine.script_file [[
      for flow in require("nfengine").streamer({ n_dissections = 0, n_meters = 1, idle_timeout = 1 }):flows() do
        print(flow.id, ("x"):rep(100))
      end]]
    for signal, status in pairs { USR1 = 0, INT = 130, TERM = 130 } do
      local result = program.shell(([[
folder=$(mktemp -d); mkfifo $folder/out
%s %s %s >$folder/out 2>$folder/err & run=$!
{ sleep 0.5; cat; } <$folder/out >$folder/read & reader=$!
sleep 0.3; kill -%s $run; wait $run; status=$?; wait $reader
cat $folder/read; cat $folder/err >&2; rm -r $folder; exit $status]]):format(program.quote(program.path), script,
        flows_of(6000), signal))
      assert.equal(status, result.status)
      local count = 0
      for line in result.out:gmatch "([^\n]*)\n" do
        assert.equal(count .. "\t" .. ("x"):rep(100), line)
        count = count + 1
      end
      assert.equal("\n", result.out:sub(-1))
      assert.is_true(status == 130 or count == 6000)
      local flows = result.err:match "packets, ([%d,]+) flows, [^\n]*\n$"
      assert.equal(count, tonumber((flows:gsub(",", ""))))
    end
  end)
end)

-- ---- what other specs show ----

--- A row that a test of this name, in another file, stands for.
local function shown_by(row, path, name)
  is_tested[row] = true
  it("is shown by another spec: " .. row, function()
    assert.is_truthy(program.read(path):find(('it("%s'):format(name), 1, true))
  end)
end

local ENDS, KAFKA = "spec/cli_ends_spec.lua", "spec/lua/kafka_spec.lua"
local IPFIX, COLLECTOR = "spec/ipfix_spec.lua", "spec/core/collector_spec.lua"

describe("a row of docs/robustness.md", function()
  shown_by("a full disk from the start", ENDS, "is a failure with one line on standard output")
  shown_by("an output that is a folder, or in none", ENDS, "is a failure with -o")
  shown_by("a reader that goes away", ENDS, "ends an export quietly")
  shown_by("a standard output that is closed", ENDS, "is a failure where standard output is closed")
  shown_by("a standard error that is closed or full", ENDS, "holds records alone where standard error is closed")
  shown_by("an output that is the capture", ENDS, "a capture is never written over")
  shown_by("an output that another run is writing", "spec/core/writer_spec.lua", "is one run's at a time")
  shown_by("a file size limit", "spec/core/writer_spec.lua", "takes a partial row back in the new file as well")
  shown_by("a damaged capture", ENDS, "gives what could be read, a warning and a failure")
  shown_by("a second signal", ENDS, "can be ended for good by a second signal")
  shown_by("SIGKILL at any moment", "spec/kill_spec.lua", "leaves a named file as it was, or complete")
  shown_by("SIGKILL at any moment, streams", "spec/kill_spec.lua", "leaves whole rows behind in a pipe")
  shown_by("a manifest that cannot be written", "spec/lua/beside_spec.lua", "is refused in one line where it cannot be")
  shown_by("SIGHUP", ENDS, "ends a run on files as SIGTERM does")
  shown_by("an error in a plugin or script", ENDS, "the summary counts the flows written before an error")
  shown_by("a script that ends the process", ENDS, "loses no flows that it was given, in a hook, a sink or between")

  shown_by("no Kafka broker from the start", KAFKA, "fails in one line where no broker answers within ten seconds")
  shown_by("a Kafka broker that goes away", KAFKA, "makes the run wait, and loses nothing")
  shown_by("a Kafka broker that is away at the end", KAFKA, "and is still away at the end is waited for, and then told")
  shown_by("SIGINT while a Kafka broker is away", KAFKA, "does not keep a run that is interrupted")

  shown_by("a UDP collector that is not there, or goes away", IPFIX, "warns of what came back, and ends well")
  shown_by("a TCP collector that is not there", IPFIX, "says in one line where nobody is there by TCP")
  shown_by("a TCP collector that goes away", COLLECTOR, "that comes back gets templates again")
  shown_by("a TCP collector that has gone at the end", COLLECTOR, "that has gone at the end fails the output")
  shown_by("a TCP collector that reads slowly, or nothing", IPFIX, "is waited for, and nothing is lost")
  shown_by("SIGINT while a TCP collector reads nothing", IPFIX, "holds up no run that is to stop")

  it("has a test, and each test here a row", function()
    local rows = {}
    for row in program.read "docs/robustness.md":gmatch "\n| ([^|]-) +|" do
      if row ~= "fault" then rows[row] = true end
    end
    rows[("-"):rep(3)] = nil
    assert.same(is_tested, rows)
  end)
end)
