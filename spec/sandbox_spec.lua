-- --sandbox: what scripts and plugins can do no more, and that all else is as without it.

local engine = require "spec.support.engine"
local program = require "spec.support.program"

local DNS, WEB, TLS = "samples/dns.pcap", "samples/web.pcap", "samples/tls.pcap"
local REASON = "Operation not permitted"
local IS_ROOT = program.shell("id -u").out == "0\n"

-- The program with --sandbox.
local function confined(...) return program.run("--sandbox", "-q", ...) end

-- That both ways give the same, and something.
local function check_same(...)
  local free, result = program.run("-q", ...), confined(...)
  assert.same({ 0, "" }, { free.status, free.err })
  assert.is_true(#free.out > 0)
  assert.same(free, result)
end

-- A script's one line of an error with --sandbox, and what it printed before.
local function failing(...)
  local result = confined(...)
  assert.equal(1, result.status, result.err)
  local line = result.err:match "^nfengine: ([^\n]*)\n$"
  return assert(line, "expected one line, got: " .. result.err), result.out
end

describe("--sandbox", function()
  after_each(engine.cleanup)

  it("changes nothing in what the built-in scripts print", function()
    for _, name in ipairs { "custom_size", "dns", "early", "http", "report", "statistics", "timeline", "tls", "top" } do
      check_same(name, TLS)
    end
    check_same("extract", DNS, "--", "--write=-")
    for _, meters in ipairs { "--n-meters=1", "--n-meters=3" } do
      check_same("flows", "--statistical-analysis", "--splt-analysis=4", "--l7-columns=all", meters, WEB, TLS)
      check_same("summary", meters, WEB)
      check_same("applications", meters, WEB)
    end
  end)

  it("changes nothing in what plugins compute", function()
    check_same("flows", "--n-meters=3", "--plugin=ja4", "--plugin=payload_bytes", "--profile=nettisa", TLS)
    local rules = program.write("dst_port,label\n443,web\n", ".csv")
    check_same("flows", "--plugin=label", "-a", "label.rules=" .. rules, TLS)
  end)

  it("reads captures of every kind, one after the other", function()
    local folder = program.temporary ""
    assert(os.execute(("mkdir %s && cp samples/*.gz samples/*.zst samples/*.pcapng %s"):format(folder, folder)) == 0)
    check_same("flows", "--n-dissections=0", DNS, folder)
    os.execute("rm -r " .. folder)
    local command = " -q flows --n-dissections=0 - <" .. WEB
    assert.same(program.shell(program.path .. command), program.shell(program.path .. " --sandbox" .. command))
  end)

  it("finds the names of a filter where they are in a file", function()
    if not (program.read "/etc/hosts" or ""):find("127.0.0.1%s+localhost") then return pending "needs /etc/hosts" end
    check_same("flows", "--n-dissections=0", "--bpf-filter=host localhost or port 53", DNS)
  end)

  it("writes the one file of -o", function()
    for _, meters in ipairs { "--n-meters=1", "--n-meters=3" } do
      local path = program.write(("x"):rep(1e6), ".csv")
      assert.same({ status = 0, out = "", err = "" }, confined("flows", "-o", path, meters, WEB))
      assert.equal(program.run("-q", "flows", WEB).out, program.read(path))
      assert.equal(0, confined("export", "-o", path, meters, WEB).status)
    end
    local jsonl = program.temporary ".jsonl"
    assert.equal(0, confined("flows", "-o", jsonl, WEB).status)
    assert.equal(program.run("-q", "flows", "--format=jsonl", WEB).out, program.read(jsonl))
  end)

  it("adds to the command line's file for performance reports", function()
    local path = program.write("before\n", ".perf")
    local words = { "--performance-report=1", "--performance-report-file=" .. path, "--n-dissections=0", DNS }
    assert.equal(0, confined("flows", unpack(words)).status)
    assert.matches("^before\n{[^\n]*}\n$", program.read(path))
    words[2] = "--performance-report-file=/"
    assert.equal("performance_report_file: /: Is a directory, expected a file to write",
      (failing("flows", unpack(words))))
  end)

  it("leaves the file of -o as it was until records come", function()
    local path = program.write("as it was", ".csv")
    failing("-o", path, engine.script_file "error 'no'", DNS)
    assert.equal("as it was", program.read(path))
    local copy = program.write(program.read(DNS), ".pcap")
    assert.equal(('cannot write "%s": it is a capture of this run'):format(copy), (failing("-o", copy, "flows", copy)))
    assert.equal(program.read(DNS), program.read(copy))
  end)

  it("says before anything else what of -o cannot be written", function()
    assert.equal('cannot write "/": Is a directory', (failing("-o", "/", engine.script_file "print 'run'", DNS)))
  end)

  it("refuses files that a script or an option would open later", function()
    local path = program.temporary ".csv"
    assert.equal(("cannot write %q: %s"):format(path, REASON), (failing(
      engine.script_file(("require('nfengine').streamer({}):to_csv(%q)"):format(path)), DNS)))
    assert.matches("cannot write \"[^\"]+%.0%.csv\": " .. REASON .. "$",
      (failing("export", "-o", path, DNS, "--flows-per-file=2")))
    local perf = path .. ".perf"
    assert.equal(("performance_report_file: %s: %s, expected a file to write"):format(perf, REASON),
      (failing(engine.script_file(("require('nfengine').streamer({ performance_report = 1, "
        .. "performance_report_file = %q }):write()"):format(perf)), DNS)))
    assert.is_nil(program.read(perf))
    for script, option in pairs { extract = "--write=", report = "--write=", timeline = "--svg=" } do
      assert.matches(REASON .. "$", (failing(script, DNS, "--", option .. path .. ".new")))
      assert.is_nil(program.read(path .. ".new"))
    end
  end)

  it("holds in what is done instead of a run", function()
    check_same("--list")
    check_same("--check", "ja4")
    assert.equal(1, confined("--new", "plugin", "beginner").status)
    assert.is_nil(program.read "beginner.lua")
  end)

  it("is an error where the kernel has no seccomp, before anything is read or written", function()
    local path = program.temporary ".csv"
    local free = ("luajit spec/support/without_seccomp.lua %s -q -o %s flows --n-dissections=0 " .. DNS)
      :format(program.path, path)
    if jit.arch ~= "x64" then return pending "needs x86-64" end
    assert.same({ status = 0, out = "", err = "" }, program.shell(free))
    assert.is_true(#program.read(path) > 0)
    assert.same({ status = 1, out = "", err = "nfengine: --sandbox: cannot confine the process: the system refused, "
      .. "expected a kernel with seccomp filters\n" }, program.shell(free .. " --sandbox"))
    if not IS_ROOT then return end
    local LINE = "nfengine: --user: cannot confine the process: the system refused, expected a kernel with seccomp "
      .. "filters, or --no-sandbox\n"
    assert.same({ status = 1, out = "", err = LINE }, program.shell(free .. " --user=nobody"))
    assert.equal(0, program.shell(free .. " --user=nobody --no-sandbox").status)
  end)
end)

-- What a script may try, as Lua that calls tell(name, worked, why).
local HOSTILE = [[
local ffi = require "ffi"
ffi.cdef "int socket(int, int, int); int kill(int, int); int getppid(void); int chmod(const char *, unsigned);"
ffi.cdef "int prctl(int, ...);"
local path, victim = %q, %d
local function attempt(tell)
  tell("socket", ffi.C.socket(2, 1, 0) >= 0)
  tell("signal", ffi.C.kill(victim, 9) == 0)
  tell("mode", ffi.C.chmod(path, 511) == 0)
  tell("write", io.open(path, "a") ~= nil)
  tell("new", io.open(path .. ".new", "w") ~= nil)
  tell("remove", os.remove(path) ~= nil)
  tell("rename", os.rename(path, path .. ".new") ~= nil)
  tell("popen", io.popen "true" ~= nil)
  tell("execute", os.execute("echo run >>" .. path) == 0)
end
]]

local ALL_REFUSED = "socket signal mode write new remove rename popen execute\n"

describe("a hostile script", function()
  local victim, path
  before_each(function()
    victim = tonumber(program.shell("sleep 60 >/dev/null 2>&1 & echo $!").out)
    path = program.write "as it was"
  end)
  after_each(function()
    os.execute("kill " .. victim)
    engine.cleanup()
  end)

  local function script(text) return engine.script_file(HOSTILE:format(path, victim) .. text) end

  local function check_nothing_happened()
    assert.equal("as it was", program.read(path))
    assert.is_nil(program.read(path .. ".new"))
    assert.equal(0, program.shell("kill -0 " .. victim).status)
  end

  it("is refused what it tries before a run, and the run goes on", function()
    local result = confined(script [[
      local refused = {}
      attempt(function(name, worked) refused[#refused + 1] = worked and name:upper() or name end)
      print(table.concat(refused, " "))
      print(require("nfengine").streamer({ n_dissections = 0 }):to { write = function() end })
    ]], DNS)
    assert.same({ status = 0, out = ALL_REFUSED .. "15\n", err = "" }, result)
    check_nothing_happened()
  end)

  it("is refused it in plugins, here and in meters' threads", function()
    local plugin = script [[
      return require("nfengine").plugin {
        name = "hostile", columns = { { "tried", "uint8" }, { "worked", "uint8" } },
        on_init = function(_, _, flow)
          attempt(function(_, worked)
            flow.udps.tried = flow.udps.tried + 1
            flow.udps.worked = flow.udps.worked + (worked and 1 or 0)
          end)
        end,
      }
    ]]
    for _, meters in ipairs { "--n-meters=1", "--n-meters=3" } do
      assert.same({ status = 0, out = "udps.tried,udps.worked\n" .. ("9,0\n"):rep(15), err = "" },
        confined("flows", "--plugin=" .. plugin, "--columns=udps.tried,udps.worked", meters, DNS))
    end
    check_nothing_happened()
  end)

  it("that does not look ends in one line", function()
    for code, expected in pairs {
      [("assert(io.open(%q, 'w'))"):format(path)] = path .. ": " .. REASON,
      ["assert(io.popen 'true')"] = "true: " .. REASON,
      ["for _ in io.popen('ls'):lines() do end"] = "attempt to index a nil value",
    } do
      assert.matches(expected:gsub("%p", "%%%0") .. "$", (failing(engine.script_file(code), DNS)))
    end
    check_nothing_happened()
  end)

  it("does all that without --sandbox", function()
    local result = program.run("-q", script [[
      local worked = {}
      attempt(function(name, works) worked[#worked + 1] = works and name or name:upper() end)
      print(table.concat(worked, " "))
    ]], DNS)
    os.remove(path .. ".new")
    assert.equal("socket signal mode write new remove RENAME popen execute\n", result.out)
  end)
end)
