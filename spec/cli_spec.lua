-- The command line: lua/nfengine/cli.lua and what scripts see of it.

local engine = require "spec.support.engine"
local program = require "spec.support.program"
local terminal = require "spec.support.terminal"
local run = program.run

local DNS = "samples/dns.pcap" -- 62 packets, 15 flows

local function first_line(text) return text:match "^[^\n]*" end

-- An error: this status, nothing on stdout, one line on stderr. Gives the line without "nfengine: ".
local function failing(status, ...)
  local result = run(...)
  assert.equal(status, result.status, result.err)
  assert.equal("", result.out)
  local line = result.err:match "^nfengine: ([^\n]*)\n$"
  assert(line, "expected one line, got: " .. result.err)
  return line
end

-- Rows of one column of CSV.
local function rows(text)
  local list = {}
  for line in text:gmatch "[^\n]+" do list[#list + 1] = line end
  table.remove(list, 1)
  return list
end

describe("a script", function()
  after_each(engine.cleanup)

  it("that is a plugin or a profile is told from one", function()
    assert.equal("plugins/flow_slicer.lua: a plugin, expected a script: try nfengine flows "
      .. "--plugin=plugins/flow_slicer.lua", failing(2, "plugins/flow_slicer.lua", DNS))
    assert.equal("plugins/nettisa.lua: a profile, expected a script: try nfengine flows --profile=plugins/nettisa.lua",
      failing(2, "plugins/nettisa.lua", DNS))
  end)

  it("is told of an option that it reads and has not declared", function()
    local result = engine.script("local o = require('nfengine').options { limit = { 1, 'x' } } print(o.limt)", DNS)
    assert.equal(1, result.status)
    assert.matches("%.lua:1: nf.options: no option \"limt\" %(did you mean 'limit'%?%)\n$", result.err)
  end)
end)

describe("nfengine", function()
  after_each(engine.cleanup)

  it("--help tells all there is, within 100 columns for the options", function()
    for _, word in ipairs { "--help", "-h" } do
      local result = run(word)
      assert.same({ 0, "" }, { result.status, result.err })
      assert.equal("usage: nfengine [options] script.lua [capture ... | -i IFACE] [-- script options]",
        first_line(result.out))
      for option in ([[--output=FILE --format= --quiet --progress --traceback --help --version --idle-timeout=SECONDS
          --bpf-filter=EXPR --statistical-analysis --no-decode-tunnels --n-dissections=N --columns= --filter=EXPR
          ]]):gmatch "%S+" do
        assert.truthy(result.out:find(option, 1, true), option)
      end
      for line in result.out:gmatch "[^\n]+" do
        assert.is_true(#line <= (line:match "^ " and 100 or 120), line)
        assert.is_nil(line:match "%s$", line)
      end
    end
  end)

  it("--help names every parameter but those that only a script can give", function()
    local help = run("--help").out
    for _, parameter in ipairs(require("nfengine").parameters) do
      local option = "--" .. parameter.name:gsub("_", "-")
      local is_named = help:find(option:gsub("%-", "%%-") .. "%f[^%w-]") ~= nil -- not as part of another's name
      assert.equal(not parameter.is_hidden, is_named, option)
    end
  end)

  it("--version names itself and its libraries", function()
    local result = run "--version"
    assert.same({ 0, "" }, { result.status, result.err })
    assert.matches("^nfengine %d+%.%d+.-\nlibpcap .-\nnDPI [%d.]+\nlibgcrypt [%d.]+\n"
      .. "zlib [%d.]+\nzstd [%d.]+\nLuaJIT .-\nlua%-cjson .-\n$", result.out)
  end)

  it("without arguments says what it needs", function()
    assert.equal("no script and no capture: see nfengine --help", failing(2))
    assert.equal("no script and no capture: see nfengine --help", failing(2, "--idle-timeout=5"))
  end)

  it("refuses options it does not know, with the nearest", function()
    assert.equal("unknown option --idle-timout (did you mean '--idle-timeout'?)", failing(2, "--idle-timout=5", DNS))
    assert.matches("^unknown option %-%-colour", failing(2, DNS, "--colour"))
    assert.matches("^unknown option %-x", failing(2, "-x", DNS))
    assert.matches("^unknown option %-%-no%-quiet", failing(2, "--no-quiet", DNS))
  end)

  it("refuses values and says what it accepts", function()
    local refused = {
      { "--idle-timeout=abc", '--idle-timeout "abc": expected an integer from 0 to ' },
      { "--idle-timeout=1.5", '--idle-timeout "1.5": expected an integer' },
      { "--n-dissections=256", '--n-dissections "256": expected an integer from 0 to 255' },
      { "--statistical-analysis=maybe", '--statistical-analysis "maybe": expected true or false' },
      { "--time-unit=s", '--time-unit "s": expected "ms", "us" or "ns"' },
      { "--format=xml", '--format "xml": expected "csv", "jsonl", "parquet", "arrow", "ipfix", "sqlite", "duckdb" or '
        .. '"null"' },
      { "--filter=flow.protocol ==", '--filter "flow.protocol ==": expected a Lua expression over flow: ' },
      { "--filter=", '--filter "": expected a Lua expression over flow: ' },
      { "--filter=x end", '--filter "x end": expected a Lua expression over flow: ' },
    }
    for _, case in ipairs(refused) do
      local line = failing(2, case[1], DNS)
      assert.equal(case[2], line:sub(1, #case[2]))
    end
    assert.equal("--idle-timeout: expected a value after it", failing(2, DNS, "--idle-timeout"))
  end)

  it("refuses column names before any packet, with the nearest", function()
    assert.equal("nf.streamer: columns: no column \"src_ipp\" in this run (did you mean 'src_ip'?)",
      failing(1, DNS, "--columns=id,src_ipp"))
    assert.equal('nf.streamer: l7_columns: unknown column "colour"', failing(1, DNS, "--l7-columns=colour"))
  end)

  it("says which file is missing", function()
    assert.equal('cannot open "nowhere.lua": no such script', failing(1, "nowhere.lua", DNS))
    assert.equal('cannot find "nowhere": no such script or capture', failing(1, "nowhere"))
    assert.equal('cannot find "nowhere.pcap": no such script or capture', failing(1, "nowhere.pcap"))
    assert.matches("nowhere.pcap.*No such file", failing(1, DNS, "nowhere.pcap"))
    assert.matches("nowhere.pcap.*No such file", failing(1, "flows", "nowhere.pcap"))
    assert.matches("no source", failing(1, "flows"))
  end)
end)

describe("a run from the command line", function()
  after_each(engine.cleanup)

  it("writes the flows of captures alone as CSV", function()
    local result = run(DNS)
    assert.equal(0, result.status)
    assert.equal(15, #rows(result.out))
    assert.equal("id,expiration_id,src_ip,", result.out:sub(1, 24))
    assert.equal(result.out, run("flows", DNS).out)
  end)

  it("sums up on stderr", function()
    assert.matches("^nfengine: 62 packets, 15 flows, %d+%.%d%d s, .- packets/s\n$", run(DNS, "--format=null").err)
    assert.matches("^nfengine: 390 packets, 32 flows, 6 ignored %(6 not IP%), ",
      run("samples/web.pcap", "--format=null").err)
  end)

  it("is quiet with -q", function()
    for _, word in ipairs { "-q", "--quiet" } do
      local result = run(DNS, word, "--format=null")
      assert.same({ 0, "", "" }, { result.status, result.out, result.err })
    end
  end)

  it("takes parameters in every spelling, anywhere before --", function()
    local expected = rows(run(DNS, "--columns=id", "--max-nflows=2").out)
    assert.same({ "0", "1" }, expected)
    for _, words in ipairs { { "--columns", "id", "--max-nflows", "2", DNS }, { "--max_nflows=2", DNS, "--columns=id" },
        { "flows", "--columns=id", DNS, "--max_nflows", "2" } } do
      assert.same(expected, rows(run(unpack(words)).out))
    end
  end)

  it("switches booleans on and off", function()
    local function has(column, ...)
      return first_line(run(DNS, "--n-dissections=0", ...).out):find(column, 1, true) ~= nil
    end
    assert.is_true(has "tunnel_id")
    assert.is_false(has("tunnel_id", "--no-decode-tunnels"))
    assert.is_false(has("tunnel_id", "--decode-tunnels=false"))
    assert.is_true(has("tunnel_id", "--no-decode-tunnels", "--decode-tunnels"))
    assert.is_false(has "bidirectional_mean_ps")
    assert.is_true(has("bidirectional_mean_ps", "--statistical-analysis"))
  end)

  it("switches L7 off by a word of its own", function()
    local none = run(DNS, "--no-dpi")
    assert.equal(run(DNS, "--n-dissections=0").out, none.out)
    assert.is_nil(first_line(none.out):find("application_name", 1, true))
  end)

  it("gives the columns asked for, in that order", function()
    assert.equal("dst_port,id,end_reason", first_line(run(DNS, "--columns=dst_port, id,end_reason").out))
    assert.matches("^id,.*,dst2src_bytes,end_reason$",
      first_line(run(DNS, "--n-dissections=0", "--columns=*,end_reason").out))
  end)

  it("filters packets and flows", function()
    assert.equal(12, #rows(run(DNS, "--filter=flow.dst_port == 53").out))
    assert.equal(3, #rows(run(DNS, "--bpf-filter=port 5353").out))
    assert.equal(15, #rows(run(DNS, "--filter=flow.udps == nil -- or so", "--filter=true").out))
  end)

  it("fails with one line where a filter does", function()
    local result = run(DNS, "-q", "--columns=id", "--filter=flow.protocl == 17")
    assert.equal(1, result.status)
    assert.matches("^nfengine: filter: flow .-: flow has no 'protocl' %(did you mean 'protocol'%?%)[^\n]*\n$",
      result.err)
    assert.matches("^nfengine: bpf_filter \"no such\"[^\n]*\n$", run(DNS, "-q", "--bpf-filter=no such").err)
  end)

  it("writes to the file that -o names, in the format of --format or its ending", function()
    local path = program.temporary ".csv"
    for _, words in ipairs { { "-o", path }, { "-o" .. path }, { "--output=" .. path }, { "--output", path } } do
      os.remove(path)
      local result = run(DNS, "--columns=id", "--max-nflows=1", unpack(words))
      assert.same({ 0, "" }, { result.status, result.out })
      assert.equal("id\n0\n", program.read(path))
    end
    run(DNS, "--columns=id", "--max-nflows=1", "-o", path, "--format=jsonl")
    assert.equal('{"id":0}\n', program.read(path))
    local lines = program.temporary ".jsonl"
    run(DNS, "--columns=id", "--max-nflows=1", "-o", lines)
    assert.equal('{"id":0}\n', program.read(lines))
    assert.equal("id\n0\n", run(DNS, "--columns=id", "--max-nflows=1", "-o", "-").out)
  end)

  it("writes nothing with the format null, but runs", function()
    local result = run(DNS, "--format=null")
    assert.same({ 0, "" }, { result.status, result.out })
    assert.matches("15 flows", result.err)
  end)

  it("takes an interface behind -i only, and knows one where a capture is expected", function()
    local function said(...)
      local result = program.run(...)
      return { result.status, result.err }
    end
    assert.same({ 1, 'nfengine: cannot find "lo": no such script or capture, expected -i lo for the interface\n' },
      said "lo")
    assert.same({ 2, 'nfengine: -i "nosuch0": no such network interface, expected the name of an interface, or any\n' },
      said("flows", "-i", "nosuch0"))
    assert.same({ 2, 'nfengine: -i "": expected the name of an interface, or any\n' },
      said("flows", "-i", "", "samples/dns.pcap"))
    assert.same({ 2, 'nfengine: -i lo and capture "samples/dns.pcap": expected one or the other\n' },
      said("flows", "-i", "lo", "samples/dns.pcap"))
  end)

  it("refuses a filter that is none before anything is written, however late standard input begins", function()
    local command = "timeout 10 %s flows -q --bpf-filter=tpc -"
    local result = program.fed("sleep 0.3; cat samples/dns.pcap", command:format(program.path))
    assert.same({ 1, "" }, { result.status, result.out })
    assert.matches('bpf_filter "tpc": ', result.err, 1, true)
  end)

  it("knows whom it cannot become before it opens an output", function()
    local out = program.temporary ".csv"
    local result = program.run("flows", "--user=nosuchuser", "-o", out, "samples/dns.pcap")
    local line = 'nfengine: --user: cannot become "nosuchuser": no such user, expected the name or number of one\n'
    assert.same({ 1, line }, { result.status, result.err })
    assert.is_nil(program.read(out))
  end)

  it("reads several captures as one, folders and standard input too", function()
    local samples = { "samples/vlan.pcap", DNS }
    local count = #rows(run("--columns=id", unpack(samples)).out)
    assert.equal(24, count)
    local folder = require("nfengine.testing.capture").folder {
      ["a.pcap"] = program.read "samples/vlan.pcap", ["b.pcap"] = program.read(DNS), ["notes.txt"] = "nothing" }
    assert.equal(count, #rows(run("--columns=id", folder).out))
    local piped = program.shell(("cat %s | %s --columns=id %s -"):format(DNS, program.quote(program.path), samples[1]))
    assert.same({ 0, count }, { piped.status, #rows(piped.out) })
    assert.equal(15, #rows(program.shell(program.quote(program.path) .. " --columns=id - <" .. DNS).out))
  end)

  it("writes the same whatever the locale", function()
    local words = (" %s --statistical-analysis %s"):format(program.quote(program.path), DNS)
    local plain = program.shell("LC_ALL=C" .. words).out
    for _, locale in ipairs { "de_DE.UTF-8", "fr_FR", "C.UTF-8" } do
      assert.equal(plain, program.shell("LC_ALL=" .. locale .. words).out)
    end
  end)

  it("shows progress only where it is asked for, or stderr is a terminal", function()
    assert.is_nil(run(DNS, "--format=null").err:find "\r")
    assert.matches("62 packets, 15 flows", terminal.run(program.quote(program.path) .. " --format=null " .. DNS))
  end)
end)

describe("a script", function()
  after_each(engine.cleanup)

  local LOOP = [[
    local nf = require "nfengine"
    for flow in nf.streamer({ columns = { "id" }, max_nflows = 3, n_dissections = 0 }):flows() do print(flow.id) end
  ]]

  it("runs over the captures of the command line", function()
    local result = engine.script(LOOP, DNS)
    assert.same({ 0, "0\n1\n2\n" }, { result.status, result.out })
  end)

  it("may begin with #!", function()
    assert.equal("0\n1\n2\n", engine.script("#!/usr/bin/env nfengine\n" .. LOOP, DNS).out)
  end)

  it("yields to options on the command line", function()
    assert.equal("0\n1\n2\n3\n", engine.script(LOOP, DNS, "--max-nflows=4").out)
    local set_source = ('local nf = require "nfengine" print(nf.streamer({ source = "other.pcap" }).source)')
    assert.equal(DNS .. "\n", engine.script(set_source, DNS).out)
    assert.equal("other.pcap\n", engine.script(set_source).out)
  end)

  it("has its export sent elsewhere by -o and --format", function()
    local unwanted, wanted = program.temporary ".csv", program.temporary ".jsonl"
    local export = ('require("nfengine").streamer({ columns = { "id" }, max_nflows = 1 }):to_csv(%q)'):format(unwanted)
    assert.equal(0, engine.script(export, DNS, "-o", wanted, "--format=jsonl").status)
    assert.same({ nil, '{"id":0}\n' }, { program.read(unwanted), program.read(wanted) })
    assert.is_nil(program.read(unwanted))
    assert.equal("id\n0\n", engine.script(export, DNS, "-o", "-").out)
  end)

  it("is told where -o has no effect", function()
    local result = engine.script('print "hello"', DNS, "-o", program.temporary ".csv")
    assert.same({ 0, "hello\n" }, { result.status, result.out })
    assert.equal("nfengine: warning: -o has no effect: this script writes no records\n", result.err)
  end)

  it("is told where options of IPFIX have no effect", function()
    local result = program.run("-q", "flows", "--format=null", "--ipfix-domain=3", DNS)
    assert.same({ 0, "nfengine: warning: --ipfix-domain has no effect: this run writes no IPFIX\n" },
      { result.status, result.err })
    assert.equal("", program.run("-q", "flows", "--format=ipfix", "--ipfix-domain=3", DNS).err)
  end)

  it("sees captures, its own words and the version", function()
    local result = engine.script([[
      local nf = require "nfengine"
      print(#nf.arguments, nf.arguments[2], type(nf.version), arg[1], ...)
    ]], "a.pcap", "b.pcap", "--", "one", "two")
    assert.equal("2\tb.pcap\tstring\tone\tone\ttwo\n", result.out)
  end)

  it("is found by name in scripts/ here, on $NFENGINE_PATH, and beside the program", function()
    local capture = require "nfengine.testing.capture"
    local folder, other = capture.folder(), capture.folder()
    os.execute(("mkdir %s/scripts %s/scripts"):format(folder, other))
    program.write('print "from the path"', folder .. "/scripts/mine.lua")
    program.write('print "from here"', other .. "/scripts/mine.lua")
    local function from(where, name)
      local command = "nfengine=$(realpath %s); cd %s && HOME=/nowhere NFENGINE_PATH=/nowhere:%s $nfengine %s"
      local result = program.shell(command:format(program.quote(program.path), where, folder, name))
      return result.status == 0 and result.out or result.err
    end
    assert.equal("from the path\n", from("/", "mine"))
    assert.equal("from here\n", from(other, "mine"))
    assert.matches("Writes every flow as one record", from("/", "flows --help"))
    assert.matches('cannot find "theirs": no such script or capture', from("/", "theirs"))
    assert.matches('cannot open "mine.lua": no such script', from("/", "mine.lua"))
  end)

  describe("with options of its own", function()
    local SCRIPT = [[
--- Counts packets of one size.
--
-- @usage nfengine counts.lua capture.pcap -- --size=66
local nf = require "nfengine"
local options = nf.options {
  size = { 555, "packet size to count" }, loud = { false, "shout" },
  mode = { "a", "how to count", choices = { "a", "b" } },
}
print(options.size, options.mode, options.loud)
]]

    it("gets them from behind --", function()
      assert.equal("555\ta\tfalse\n", engine.script(SCRIPT).out)
      assert.equal("66\tb\ttrue\n", engine.script(SCRIPT, DNS, "--", "--size=66", "--mode", "b", "--loud").out)
    end)

    it("shows them with --help, and does nothing else", function()
      for _, words in ipairs { { "before" }, { "behind" } } do
        local path = engine.script_file(SCRIPT)
        local result = words[1] == "before" and run("--help", path) or run(path, "--help")
        assert.same({ 0, "" }, { result.status, result.err })
        assert.equal("Counts packets of one size.", first_line(result.out))
        assert.matches("\n *%-%-size=N +packet size to count %[555%]\n", result.out)
        assert.matches("\n *%-%-mode=a|b +how to count %[a%]\n", result.out)
        assert.matches("\n *%-%-loud +shout\n", result.out)
        assert.is_nil(result.out:match "555\ta")
      end
    end)

    it("refuses others", function()
      local function refused(...)
        local result = engine.script(SCRIPT, "--", ...)
        assert.same({ 2, "" }, { result.status, result.out })
        return result.err
      end
      assert.equal("nfengine: unknown option --sise (did you mean '--size'?)\n", refused "--sise=5")
      assert.equal('nfengine: --size "big": expected a number\n', refused "--size=big")
      assert.equal('nfengine: --mode "c": expected "a" or "b"\n', refused "--mode=c")
      assert.equal('nfengine: unexpected word "more" after --: expected script options\n', refused "more")
    end)

    it("is pointed to when they stand in the wrong place", function()
      local result = engine.script(SCRIPT, "--size=66")
      assert.equal(2, result.status)
      assert.matches("^nfengine: unknown option %-%-size.*after \"%-%-\"\n$", result.err)
    end)
  end)

  it("without options refuses any, and says so", function()
    local result = engine.script(LOOP, DNS, "--", "--size=5")
    assert.same({ 2, "" }, { result.status, result.out })
    assert.equal('nfengine: unexpected word "--size=5" after --: this script declares no options\n', result.err)
  end)

  it("without options shows its comment with --help", function()
    local result = engine.script("--- Prints ids.\n" .. LOOP, "--help")
    assert.same({ 0, "" }, { result.status, result.err })
    assert.matches("^Prints ids.\n\nSee nfengine %-%-help", result.out)
  end)
end)

describe("a broken script", function()
  after_each(engine.cleanup)

  -- A script of this text fails with one line, its path cut short.
  local function failure_of(text, ...)
    local path = engine.script_file(text)
    local result = run(path, ...)
    assert.equal(1, result.status)
    return (result.err:gsub(path:gsub("%p", "%%%0"), "SCRIPT"))
  end

  it("fails with its line where it cannot be compiled", function()
    assert.equal("nfengine: SCRIPT:2: unexpected symbol near '='\n", failure_of "local x = 1\nlocal y = = 2\n")
  end)

  it("fails with its line where it raises", function()
    assert.equal("nfengine: SCRIPT:2: boom\n", failure_of "local x\nerror 'boom'")
    assert.equal("nfengine: SCRIPT:1: attempt to index global 'nothing' (a nil value)\n",
      failure_of "nothing.at.all = 5")
    assert.matches("^nfengine: SCRIPT:1: nf.streamer: idle_timeout = %-1: expected an integer from 0 to %d+\n$",
      failure_of "require('nfengine').streamer { idle_timeout = -1 }")
    assert.matches("^nfengine: SCRIPT:1: module 'nothing' not found", failure_of "require 'nothing'")
  end)

  it("fails whatever it raises", function()
    assert.matches("^nfengine: [^\n]+\n$", failure_of "error({})")
    assert.matches("^nfengine: [^\n]+\n$", failure_of "error()")
    assert.equal("nfengine: an object\n",
      failure_of "error(setmetatable({}, { __tostring = function() return 'an object' end }))")
  end)

  it("fails with a traceback where one is asked for", function()
    local text = "local function inner() error 'boom' end\nlocal function outer() inner() end\nouter()"
    local told = failure_of(text, "--traceback")
    assert.matches("^nfengine: SCRIPT:1: boom\n", told)
    assert.matches("\nstack traceback:\n", told)
    assert.matches("\n\tSCRIPT:2: in function 'outer'\n", told)
  end)

  local PLUGIN = [[
    local nf = require "nfengine"
    local Bad = nf.plugin { name = "bad", on_init = function(_, packet)
      if packet.number > 20 then error "boom" end
    end }
    nf.streamer({ udps = Bad, idle_timeout = 0, n_dissections = 0, columns = { "id" } }):write()
  ]]

  it("fails with plugin, hook, flow and line, and keeps the flows before", function()
    local told = failure_of(PLUGIN, DNS, "-q")
    assert.matches("^nfengine: plugin bad: on_init: flow 192.0.2.10:%d+ %-> 192.0.2.1:53 protocol %d+: "
      .. "SCRIPT:3: boom\n$", told)
    local path = program.temporary ".csv"
    failure_of(PLUGIN, DNS, "-q", "-o", path)
    local ids = rows(program.read(path))
    assert.is_true(#ids >= 9)
    for i, id in ipairs(ids) do assert.equal(tostring(i - 1), id) end
  end)

  it("shows where in a plugin with a traceback", function()
    local told = failure_of(PLUGIN, DNS, "-q", "--traceback")
    assert.matches("boom\n.*stack traceback:\n.*SCRIPT:3: in function", told)
  end)

  it("may raise from a sink", function()
    local told = failure_of([[require("nfengine").streamer({}):to { write = function() error "boom" end }]], DNS, "-q")
    assert.equal("nfengine: SCRIPT:1: boom\n", told)
  end)
end)

describe("the library under plain LuaJIT", function()
  local function luajit(code, folder)
    return program.shell(("root=$(pwd); cd %s && LUA_PATH=\"$root/lua/?.lua;$root/lua/?/init.lua;;\" luajit -e %s")
      :format(folder or ".", program.quote(code)))
  end

  local COUNT = 'print(require("nfengine").streamer({ source = %q }):to { write = function() end })'

  it("runs, and says nothing of its own", function()
    local result = luajit [[
      local streamer = require("nfengine").streamer { source = "samples/dns.pcap", max_nflows = 2 }
      for flow in streamer:flows() do print(flow.id, flow.application_name) end
    ]]
    assert.same({ 0, "0\tDNS\n1\tDNS\n", "" }, { result.status, result.out, result.err })
  end)

  it("runs from anywhere", function()
    local result = luajit(COUNT:format "dns.pcap", "samples")
    assert.same({ 0, "15\n", "" }, { result.status, result.out, result.err })
  end)

  it("warns of what it cannot read", function()
    local path = program.write(program.read(DNS):sub(1, 3000), ".pcap")
    local result = luajit(COUNT:format(path))
    assert.equal(0, result.status)
    assert.matches("^nfengine: warning: .*damaged[^\n]*\n$", result.err)
    program.remove_temporaries()
  end)

  it("raises what is wrong", function()
    local result = luajit [[print(select(2, pcall(require("nfengine").streamer, { idle_timeot = 5 })))]]
    assert.matches("unknown parameter \"idle_timeot\" %(did you mean 'idle_timeout'%?%)\n$", result.out)
  end)
end)
