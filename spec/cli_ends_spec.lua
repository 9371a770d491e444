-- How runs end that do not end of themselves: signals, readers that go away, full disks, damaged captures.

local capture = require "nfengine.testing.capture"
local engine = require "spec.support.engine"
local meter = require "spec.support.meter"
local program = require "spec.support.program"

local DNS = "samples/dns.pcap" -- 62 packets, 15 flows
local PROGRAM = program.quote(program.path)

-- A script that says on stderr when it has begun, and then exports.
local function exporter()
  return engine.script_file [[
    io.stderr:write "begun\n"
    require("nfengine").streamer({ columns = { "id", "src_ip", "src_port" }, n_dissections = 0 }):write()
  ]]
end

-- Runs a shell script in which $nfengine, $folder, and the function `until_told TEXT` are known: that waits, at most
-- ten seconds, until the file $folder/err holds the text. Then $status, $folder/out and $folder/err are the result.
local function shell(text)
  return program.shell(([[
nfengine=%s; folder=$(mktemp -d); mkfifo $folder/in
until_told() {
  tries=0
  until grep -qs "$1" $folder/err || [ $tries -ge 200 ]; do sleep 0.05; tries=$((tries + 1)); done
}
%s
cat $folder/out 2>/dev/null; cat $folder/err >&2 2>/dev/null; rm -rf $folder
exit $status]]):format(PROGRAM, text))
end

-- Starts the program on a pipe that holds DNS and stays open, signals it as `steps` say, and waits for its end, but not
-- for ever.
local function on_open_pipe(words, steps)
  return shell(([[
{ cat %s; exec sleep 60; } >$folder/in & feeder=$!
$nfengine %s - <$folder/in >$folder/out 2>$folder/err & run=$!
(sleep 20; kill -KILL $run) 2>/dev/null & guard=$!
until_told begun
%s
wait $run; status=$?
kill $feeder $guard]]):format(DNS, words, steps))
end

-- A command that prints a capture without an end; it gives up after a while.
local function endless()
  local packets = {}
  for i = 1, 500 do packets[i] = meter.udp(i, 1000 + i) end
  local bytes = capture.pcap(packets, { ns = true })
  local head, records = program.write(bytes:sub(1, 24), ".head"), program.write(bytes:sub(25), ".records")
  return ("timeout 20 sh -c 'cat %s; while cat %s; do :; done' 2>/dev/null"):format(head, records)
end

-- Asks for the status until all packets of DNS have been seen.
local READ_ALL = [[
tries=0
until grep -qs "62 packets" $folder/err || [ $tries -ge 200 ]; do
  kill -USR1 $run; sleep 0.05; tries=$((tries + 1))
done]]

-- Fails unless the text is a header and whole rows, numbered from 0. Gives their number.
local function whole_rows(text)
  local count = -1
  assert.equal("\n", text:sub(-1))
  for line in text:gmatch "(.-)\n" do
    if count >= 0 then assert.matches("^" .. count .. ',"[%x:.]+",%d+$', line) end
    count = count + 1
  end
  return count
end

describe("a script that ends the process", function()
  after_each(engine.cleanup)

  it("loses no flows that it was given, in a hook, a sink or between", function()
    local script = [[
      local nf, n = require "nfengine", 0
      local streamer = nf.streamer { n_dissections = 0, columns = { "id" }, n_meters = 1,
        filter = function() n = n + 1 if n == 4 then os.exit(7) end return true end }
      streamer:write() ]]
    local result = engine.script(script, "-q", DNS)
    assert.same({ 7, "id\n0\n1\n2\n" }, { result.status, result.out })
    local path = program.temporary ".csv"
    assert.equal(7, engine.script(script, "-q", "-o", path, DNS).status)
    assert.equal("id\n0\n1\n2\n", program.read(path))
    result = engine.script([[
      local nf = require "nfengine"
      for flow in nf.streamer({ n_dissections = 0 }):flows() do
        print(flow.id)
        if flow.id == 1 then os.exit() end
      end ]], DNS)
    assert.same({ 0, "0\n1\n" }, { result.status, result.out })
    assert.matches("^nfengine: [^\n]*flows", result.err)
  end)
end)

describe("an interrupted run", function()
  after_each(engine.cleanup)

  for _, signal in ipairs { "INT", "TERM" } do
    it("ends its open flows and says so, by SIG" .. signal, function()
      local result = on_open_pipe(exporter(), READ_ALL .. "\nkill -" .. signal .. " $run")
      assert.equal(130, result.status)
      assert.equal(15, whole_rows(result.out))
      assert.matches("\nnfengine: 62 packets, 15 flows, [^\n]*, interrupted\n$", result.err)
    end)
  end

  it("keeps whole rows of an input that never ends", function()
    local result = shell(([[
%s >$folder/in & feeder=$!
$nfengine --idle-timeout=0 -o $folder/out %s - <$folder/in 2>$folder/err & run=$!
until_told begun; sleep 0.3
kill -INT $run; wait $run; status=$?
kill $feeder 2>/dev/null]]):format(endless(), exporter()))
    assert.equal(130, result.status)
    assert.is_true(whole_rows(result.out) > 500)
    assert.matches(", interrupted\n", result.err)
  end)

  it("lets a loop see the flows that were open", function()
    local path = engine.script_file [[
      io.stderr:write "begun\n"
      local count = 0
      for flow in require("nfengine").streamer({ n_dissections = 0 }):flows() do count = count + 1 end
      print(count)
    ]]
    local result = on_open_pipe(path, READ_ALL .. "\nkill -INT $run")
    assert.same({ 130, "15\n" }, { result.status, result.out })
  end)

  it("can be ended for good by a second signal", function()
    local path = engine.script_file 'io.stderr:write "begun\\n" while true do end'
    local result = on_open_pipe(path, "kill -INT $run; sleep 0.2; kill -INT $run")
    assert.equal(130, result.status)
  end)
end)

describe("SIGHUP", function()
  -- The program on a pipe that stays open for a while, hung up on in between.
  local function hung_up(before)
    return program.shell(([[%s { cat samples/dns.pcap; sleep 2; } | {
      exec 3<&0
      %s flows -q --columns=id - <&3 & run=$!
      until grep -Eq '^Sig(Cgt|Ign):.*[13579bdf]$' /proc/$run/status; do sleep 0.05; done # it minds the signal
      sleep 0.3; kill -HUP $run; wait $run; }]]):format(before, program.path))
  end

  it("ends a run on files as SIGTERM does", function()
    local result = hung_up ""
    assert.same({ 130, 16 }, { result.status, select(2, result.out:gsub("\n", "")) })
  end)

  it("is nothing to a program that nohup has started", function()
    local result = hung_up "trap '' HUP;"
    assert.same({ 0, 16, "" }, { result.status, select(2, result.out:gsub("\n", "")), result.err })
  end)
end)

describe("SIGUSR1", function()
  after_each(engine.cleanup)

  it("prints a line on where the run stands, and the run goes on", function()
    local result = on_open_pipe(exporter(), READ_ALL .. "\nkill $feeder")
    assert.equal(0, result.status)
    assert.equal(15, whole_rows(result.out))
    assert.matches("\nnfengine: 62 packets, 0 flows given out, 15 live, [^\n]*packets/s\n", result.err)
    assert.matches("\nnfengine: 62 packets, 15 flows, [^\n]*packets/s\n$", result.err)
  end)
end)

describe("a reader that goes away", function()
  after_each(engine.cleanup)

  -- Runs these words on an input that never ends, and reads one line of what they print.
  local function one_line_of(words)
    local began = os.time()
    local result = shell(([[
%s | { $nfengine -q --idle-timeout=0 %s - 2>$folder/err; echo $? >$folder/status; } | head -n 1 >$folder/out
status=$(cat $folder/status)]]):format(endless(), words))
    assert.is_true(os.time() - began < 15, "it read on to the end")
    return result
  end

  it("ends an export quietly", function()
    local result = one_line_of "--columns=id,src_port"
    assert.same({ 0, "id,src_port\n", "" }, { result.status, result.out, result.err })
  end)

  it("ends an export quietly that is so short that it is written all at once", function()
    local result = shell(([[
{ sleep 0.2; $nfengine -q --columns=id %s 2>$folder/err; echo $? >$folder/status; } | true
status=$(cat $folder/status)]]):format(DNS))
    assert.same({ 0, "" }, { result.status, result.err })
  end)

  it("ends a loop that prints quietly", function()
    local path = engine.script_file [[
      for flow in require("nfengine").streamer({ n_dissections = 0 }):flows() do print(flow.id) end
    ]]
    local result = one_line_of(path)
    assert.same({ 0, "0\n", "" }, { result.status, result.out, result.err })
  end)

  it("is waited for where it has not come to a pipe, but not against a signal", function()
    local path = program.temporary ".fifo"
    program.shell("mkfifo " .. path)
    local command = ("%s -q flows --no-dpi -o %s %s"):format(PROGRAM, path, DNS)
    local result = program.shell("timeout -k 10 -s INT 0.3 " .. command)
    assert.equal(('nfengine: cannot write "%s": interrupted\n'):format(path), result.err)
    local read = program.shell(("(sleep 0.2; cat %s) & timeout 10 %s; wait"):format(path, command))
    assert.equal(program.shell(("%s -q flows --no-dpi %s"):format(PROGRAM, DNS)).out, read.out)
  end)

  it("ends what prints without a run quietly", function()
    local result = program.shell(PROGRAM .. " --help | head -n 1")
    assert.same({ 0, "" }, { result.status, result.err })
  end)
end)

describe("an output that cannot be written", function()
  after_each(engine.cleanup)

  local FULL = "nfengine: cannot write standard output: No space left on device\n"

  it("is a failure with one line on standard output", function()
    for _, words in ipairs { "-q " .. DNS, "-q --format=jsonl " .. DNS, "--help", "--version" } do
      local result = program.shell(PROGRAM .. " " .. words .. " >/dev/full")
      assert.same({ 1, FULL }, { result.status, result.err })
    end
  end)

  it("is a failure where a loop prints", function()
    local path = engine.script_file 'for flow in require("nfengine").streamer({}):flows() do print(flow) end'
    local result = program.shell(("%s -q %s %s >/dev/full"):format(PROGRAM, path, DNS))
    assert.same({ 1, FULL }, { result.status, result.err })
  end)

  it("is a failure with -o", function()
    local reasons = { ["/dev/full"] = "No space left on device", ["/nowhere/flows.csv"] = "No such file or directory",
      ["/"] = "Is a directory" }
    for path, reason in pairs(reasons) do
      local result = program.run("-q", DNS, "-o", path)
      assert.same({ 1, ('nfengine: cannot write "%s": %s\n'):format(path, reason) }, { result.status, result.err })
    end
  end)

  it("is a failure where files may grow no further", function()
    for _, ending in ipairs { ".csv", ".parquet", ".sqlite" } do
      local path = program.temporary(ending)
      local result = program.shell(("ulimit -f 1; %s -q --no-dpi -o %s %s"):format(PROGRAM, path, DNS))
      assert.equal(1, result.status)
      assert.matches("^nfengine: cannot write [^\n]+\n$", result.err)
    end
    local result = program.shell(("ulimit -f 1; %s -q --no-dpi %s >%s"):format(PROGRAM, DNS, program.temporary()))
    assert.same({ 1, "nfengine: cannot write standard output: File too large\n" }, { result.status, result.err })
  end)

  it("says that performance reports could not be written", function()
    local result = program.run("-q", "--performance-report=60", "--performance-report-file=/dev/full", DNS)
    assert.equal("nfengine: warning: performance_report_file: No space left on device\n", result.err)
  end)

  it("holds records alone where standard error is closed", function()
    local path = program.temporary ".csv"
    local result = program.shell(("%s --columns=id --performance-report=60 -o %s %s 2>&-"):format(PROGRAM, path, DNS))
    assert.equal(0, result.status)
    assert.matches("^id\n0\n1\n2\n", program.read(path))
    assert.is_nil(program.read(path):match "%a%a%a")
  end)

  it("is a failure where standard output is closed", function()
    local result = program.shell(("%s -q %s >&-"):format(PROGRAM, DNS))
    assert.same({ 1, "nfengine: cannot write standard output: Bad file descriptor\n" }, { result.status, result.err })
  end)

  it("is one where nothing is written no more than with a summary nobody reads", function()
    local result = program.shell(("%s --columns=id %s 2>/dev/full | tail -n 1"):format(PROGRAM, DNS))
    assert.same({ 0, "14\n" }, { result.status, result.out })
  end)
end)

describe("a damaged capture", function()
  after_each(engine.cleanup)

  local function damaged() return program.write(program.read(DNS):sub(1, 5000), ".pcap") end

  it("gives what could be read, a warning and a failure", function()
    local path = damaged()
    local result = program.run("--columns=id", path)
    assert.equal(1, result.status)
    assert.equal("id\n0\n1\n2\n", result.out:sub(1, 9))
    assert.matches("^nfengine: warning: " .. path:gsub("%p", "%%%0") .. ": damaged after packet 23 at byte [^\n]+\n"
      .. "nfengine: 23 packets, 10 flows, [^\n]+\n$", result.err)
  end)

  it("is a failure with -q, with a loop, and with one that is left", function()
    local path = damaged()
    for _, body in ipairs { "", "break" } do
      local text = 'for _ in require("nfengine").streamer({}):flows() do ' .. body .. " end"
      local result = engine.script(text, path, "-q")
      assert.equal(1, result.status)
      assert.matches("^nfengine: warning: [^\n]+\n$", result.err)
    end
  end)

  it("does not spoil the others", function()
    local result = program.run("--columns=id", damaged(), "samples/vlan.pcap")
    assert.equal(1, result.status)
    assert.matches("%D101 packets, 19 flows", result.err)
  end)

  it("may be none at all", function()
    local path = program.write("these are no packets", ".pcap")
    local result = program.run("--columns=id", path)
    assert.equal(1, result.status)
    assert.matches("not a capture", result.err)
  end)
end)

describe("a loop that is left", function()
  after_each(engine.cleanup)

  it("is summed up, and its plugins cleaned up", function()
    local result = engine.script([[
      local nf = require "nfengine"
      local Tidy = nf.plugin { name = "tidy", cleanup = function() print "cleaned up" end }
      for flow in nf.streamer({ udps = Tidy, n_dissections = 0 }):flows() do print(flow.id) break end
    ]], DNS)
    assert.same({ 0, "0\ncleaned up\n" }, { result.status, result.out })
    assert.matches("^nfengine: 62 packets, 1 flow, ", result.err)
  end)
end)

describe("what must not happen by accident", function()
  after_each(program.remove_temporaries)

  it("a capture is never written over", function()
    local path = program.write(program.read "samples/dns.pcap", ".pcap")
    local result = program.run("-q", "flows", "-o", path, path)
    assert.equal(1, result.status)
    assert.equal(('nfengine: cannot write "%s": it is a capture of this run\n'):format(path), result.err)
    assert.equal(program.read "samples/dns.pcap", program.read(path))
    result = program.shell(("%s -q flows %s >>%s"):format(PROGRAM, path, path))
    assert.same({ 1, "nfengine: cannot write standard output: it is a capture of this run\n" },
      { result.status, result.err })
    assert.equal(program.read "samples/dns.pcap", program.read(path))
  end)

  it("a folder's scripts and modules do not run unasked", function()
    local folder = program.temporary()
    program.shell(([[mkdir -p %s/scripts %s/jit && cd %s &&
      echo 'print "ran"' | tee scripts/flows.lua jit/vmdef.lua > cjson.lua]]):format(folder, folder, folder))
    local command = ("cd %s && %s"):format(folder, program.absolute(program.path))
    assert.is_nil(program.shell(command .. " -q " .. program.absolute "samples/dns.pcap").out:match "ran")
    assert.is_nil(program.shell(command .. " --version").out:match "ran")
    program.shell("rm -r " .. folder)
  end)

  it("a filter over a name that is none says so", function()
    local result = program.run("-q", "flows", "--filter=dst_port == 53", "samples/dns.pcap")
    assert.equal(1, result.status)
    assert.matches("no such name 'dst_port', expected flow.dst_port perhaps\n$", result.err)
  end)

  it("an error line holds no line ends and no commands to a terminal", function()
    local result = program.run("flows", "--columns=a\27[31m\nb", "samples/dns.pcap")
    assert.equal('nfengine: nf.streamer: columns: no column "a?[31m?b" in this run\n', result.err)
  end)

  it("an error in setup or a hook is not hidden by one in cleanup", function()
    local template = [[local nf = require "nfengine"
      nf.streamer({ n_dissections = 0, udps = nf.plugin { name = "p", %s = function() error("first", 0) end,
        cleanup = function() error("second", 0) end } }):write()]]
    for _, hook in ipairs { "setup", "on_init", "on_expire" } do
      local script = program.write(template:format(hook), ".lua")
      local result = program.run("-q", script, "samples/dns.pcap")
      assert.equal(1, result.status)
      assert.matches("^nfengine: plugin p: " .. hook .. ": .*first\n$", result.err)
    end
  end)

  it("whatever is raised is told in one line, as what a script says", function()
    for raised, expected in pairs {
      ['{ usage = {} }'] = "table: 0x%x+", ['{ usage = 5 }'] = "table: 0x%x+",
      ['setmetatable({}, { __index = { usage = "x" } })'] = "table: 0x%x+",
      ['setmetatable({}, { __tostring = function() return 5 end })'] = "a table that cannot be shown",
      ['setmetatable({}, { __tostring = function() error "x" end })'] = "a table that cannot be shown",
    } do
      local result = program.run("-q", program.write("error(" .. raised .. ")", ".lua"), "samples/dns.pcap")
      assert.equal(1, result.status)
      assert.matches("^nfengine: " .. expected .. "\n$", result.err)
    end
  end)

  it("the summary counts the flows written before an error", function()
    local script = program.write([[local nf, n = require "nfengine", 0
      nf.streamer({ n_dissections = 0, udps = nf.plugin { name = "p", on_expire = function()
        n = n + 1
        if n == 5 then error("stop", 0) end
      end } }):write()]], ".lua")
    local result = program.run("--columns=id", script, "samples/dns.pcap")
    assert.equal("id\n0\n1\n2\n3\n", result.out)
    assert.matches(", 4 flows,", result.err)
  end)
end)
