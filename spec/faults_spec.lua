-- Runs in which something fails, at every place where it can: no crash, nothing lost in silence, no row cut in two.
-- Sweeps take some of their calls, and all of them with $NFENGINE_EVERY_FAULT=1 (make faults).

local capture = require "nfengine.testing.capture"
local cjson = require "cjson"
local csv = require "nfengine.csv"
local engine = require "spec.support.engine"
local faults = require "spec.support.faults"
local meter = require "spec.support.meter"
local program = require "spec.support.program"

local WEB = "samples/web.pcap" -- 390 packets, 32 flows
local PLAIN = "flows -o $out --n-meters=1 " .. WEB
local PIPED = "flows --format=jsonl --n-meters=1 " .. WEB
local SEVERAL = "flows -o $out --n-meters=3 " .. WEB

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

local function count_rows(text)
  if text == "" then return 0 end
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
  it(name, function()
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
      for _, words in ipairs { "-o $out", "--format=jsonl -o $out", "", "--format=jsonl" } do
        words = ("flows --n-meters=1 --n-dissections=0 %s %s"):format(words, path)
        list[#list + 1] = { kind = "write", error = error, words = words, times = 0 }
        list[#list + 1] = { kind = "write", error = error, words = words }
      end
    end
    return list
  end)

  swept("a write takes less than asked for", function()
    local list, path = {}, flows_of(6000)
    for _, words in ipairs { "-o $out", "--format=jsonl" } do
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

  it("a disk that fills up", function()
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
end)

describe("a signal", function()
  after_each(engine.cleanup)

  it("a signal while the output's reader is slow", function()
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
