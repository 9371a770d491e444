-- Live capture end to end: the records of a run, its counters, reports and privileges, and what is said before it. How
-- runs end is in live_ends_spec.lua.

local cjson = require "cjson"
local arrow = require "spec.support.arrow"
local cable = require "spec.support.cable"
local engine = require "spec.support.engine"
local live = require "spec.support.live"
local network = require "spec.support.network"
local program = require "spec.support.program"

local SAMPLES = "samples/%s.pcap"

local send, udp_file, link, quick, ports, count_rows =
  cable.send, cable.udp_file, cable.link, cable.quick, cable.ports, cable.count_rows

local function both_sizes(name, test)
  cable.for_meters(function(meters, word)
    it(("%s (n_meters = %d)"):format(name, meters), function() test(word, meters) end)
  end)
end

describe("live capture", function()
  local missing = cable.missing()
  if missing then
    it("end to end", function() pending(missing) end)
    return
  end

  before_each(cable.lay)
  after_each(cable.remove)

  -- ---- the same as from a file ----

  -- Runs on the interfaces while tcpdump records them, sends, and compares with the records of the files. `given`:
  -- steps (what to send, and how), words (of the program), interfaces; snapshot_length and more words of tcpdump.
  local function compare(given)
    local interfaces = given.interfaces or { "vb" }
    local words, dumps, paths, sent = { "flows" }, {}, {}, 0
    for _, name in ipairs(interfaces) do
      words[#words + 1], words[#words + 2] = "-i", name
      dumps[#dumps + 1] = live.record(cable.net.b, name, given.snapshot_length, given.more)
      paths[#paths + 1] = dumps[#dumps].path
    end
    for _, word in ipairs(given.words or {}) do words[#words + 1] = word end
    local run = live.start(cable.net.b, unpack(words))
    for _, step in ipairs(given.steps) do
      send(step.path, step.how, step.interface)
      sent = sent + live.packets_in(step.path) * (step.times or 1)
      live.wait_for(sent .. " packets recorded", function()
        local recorded = 0
        for _, path in ipairs(paths) do recorded = recorded + live.packets_in(path) end
        return recorded == sent
      end)
      if step.interface then live.wait_for_packets(run, sent) end
    end
    local result = run:stop()
    for _, dump in ipairs(dumps) do dump:stop "TERM" end
    assert.equal(0, result.status, result.err)
    assert.is_nil(result.err:find "dropped", result.err)
    local offline = { "-q", "flows" }
    for _, word in ipairs(given.words or {}) do offline[#offline + 1] = word end
    for _, path in ipairs(paths) do offline[#offline + 1] = path end
    local expected = program.run(unpack(offline))
    assert.equal(0, expected.status, expected.err)
    local rows, header = live.rows(expected.out)
    local live_rows, live_header = live.rows(result.out)
    assert.equal(header, live_header)
    assert.equal(table.concat(rows, "\n"), table.concat(live_rows, "\n"))
    assert(#rows > 0, "nothing to compare")
    return rows
  end

  local function steps_of(names, how, interface)
    local steps = {}
    for name in names:gmatch "%S+" do
      steps[#steps + 1] = { path = SAMPLES:format(name), how = how, interface = interface }
    end
    return steps
  end

  describe("gives the records that a recording gives", function()
    it("of all kinds of packets, with statistics", function()
      compare { steps = steps_of "web tls dns vlan fragments icmp closing voip_like", words = {
        "--statistical-analysis", "--splt-analysis=5", "--n-meters=1" } }
    end)

    it("of tunnels, in nanoseconds", function()
      compare { steps = steps_of "gtpu ipip capwap tzsp mpls gre_vxlan", words = { "--time-unit=ns", "--n-meters=1" } }
    end)

    it("of frames cut short", function()
      compare { steps = steps_of "web tls vlan gtpu", words = { "--snapshot-length=96", "--n-meters=1" },
        snapshot_length = 96 }
    end)

    it("with a filter", function()
      local rows = compare { steps = steps_of "web dns", words = { "--bpf-filter=udp port 53", "--n-meters=1" } }
      for _, row in ipairs(rows) do assert.matches(",17,[46],", row) end
    end)

    it("with flows that end while packets come", function()
      local steps = steps_of("dns", "--pps=45 --loop=2")
      steps[1].times = 2
      local rows = compare { steps = steps, words = { "--idle-timeout=1", "--n-meters=1" } }
      assert(#rows > 22, "no flow ended before the end")
    end)

    it("from all interfaces at once", function()
      compare { steps = steps_of "web dns tls", words = { "--n-meters=1" }, interfaces = { "any" },
        more = "-y LINUX_SLL" }
    end)

    it("from two interfaces", function()
      network.pair(cable.net, "va2", "vb2")
      local steps = steps_of("web", nil, "va")
      steps[2] = steps_of("dns", nil, "va2")[1]
      compare { steps = steps, words = { "--n-meters=1" }, interfaces = { "vb", "vb2" } }
    end)

    it("with two meters", function()
      compare { steps = steps_of "web dns tls closing", words = { "--n-meters=2", "--no-dpi-cache", "--time-unit=ns",
        "--statistical-analysis" } }
    end)
  end)

  -- ---- what was lost ----

  local SLOW = [[
    local nf = require "nfengine"
    local ffi = require "ffi"
    local function declare() ffi.cdef "int usleep(unsigned);" end
    local Slow = nf.plugin { name = "slow", setup = declare, on_init = function() ffi.C.usleep(200) end,
      on_update = function() ffi.C.usleep(200) end }
    nf.streamer({ n_dissections = 0, udps = Slow, columns = { "id" } }):write()
  ]]

  local function reports(text)
    local list = {}
    for line in text:gmatch "[^\n]+" do list[#list + 1] = cjson.decode(line) end
    return list
  end

  local function sum(list)
    local total = 0
    for _, value in ipairs(list) do total = total + value end
    return total
  end

  describe("counts every packet", function()
    -- Sends `loops` times web.pcap and returns the last report, and the result.
    local function account(loops, how, ...)
      local file = program.temporary ".perf"
      local run = live.start(cable.net.b, "-i", "vb", "--performance-report=3600",
        "--performance-report-file=" .. file, ...)
      send("samples/web.pcap", ("--preload-pcap --loop=%d %s"):format(loops, how))
      local result = run:stop()
      assert.equal(0, result.status, result.err)
      local list = reports(program.read(file))
      return list[#list], result
    end

    local function check_sum(report, sent)
      assert.equal(sent, report.packets_processed + report.packets_ignored + report.packets_dropped_filtered_by_kernel)
      assert.equal(report.packets_processed, sum(report.meters_packets_processing_balance))
    end

    both_sizes("and drops none with room enough", function(meters)
      local report, result = account(100, "--pps=60000", "--n-dissections=0", "--socket-buffer-size=67108864", meters)
      assert.equal(0, report.packets_dropped_filtered_by_kernel)
      check_sum(report, 39000)
      assert.matches("\nnfengine: 39,000 packets, [^\n]*%D600 ignored %(600 not IP%), [%d.]+ s,", "\n" .. result.err)
    end)

    both_sizes("also those that found no room", function(meters)
      local report, result = account(100, "--pps=40000", "--socket-buffer-size=65536", meters, engine.script_file(SLOW))
      local dropped = report.packets_dropped_filtered_by_kernel
      assert(dropped > 0, "nothing was dropped")
      check_sum(report, 39000)
      local text = tostring(dropped):reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^,", "")
      assert.matches(", " .. text .. " dropped by the kernel, ", result.err)
    end)
  end)

  -- ---- a silent link ----

  describe("on a silent link", function()
    local SLACK_S = 2.2

    both_sizes("writes a flow within a second after its timeout", function(meters)
      local path = program.temporary ".csv"
      local run = ports("--idle-timeout=1", "-o", path, meters)
      local began = live.now()
      send(udp_file(1234))
      live.wait_for("row", function() return (program.read(path) or ""):find "\n0,1234\n" end)
      local took = live.now() - began
      assert(took < SLACK_S, ("it took %.2f s"):format(took))
      assert(took > 0.9, ("it took %.2f s only"):format(took))
      assert.equal(0, run:stop().status)
    end)

    both_sizes("shows readers of Arrow columns at once, a flow within a second after its timeout", function(meters)
      local run = ports("--idle-timeout=1", "--format=arrow", meters)
      local began = live.now()
      live.wait_for("columns", function() return arrow.stream(run:out()) end)
      assert(live.now() - began < 1)
      began = live.now()
      send(udp_file(1234))
      live.wait_for("batch", function() return arrow.stream(run:out()).rows == 1 end)
      local took = live.now() - began
      assert(took < SLACK_S, ("it took %.2f s"):format(took))
      local result = run:stop()
      local read = arrow.stream(result.out)
      assert.same({ 0, true }, { result.status, read.is_ended })
      assert.same({ id = { 0 }, src_port = { 1234 } }, read.columns)
    end)

    both_sizes("gives a loop a flow within a second after its timeout", function(meters)
      local path = engine.script_file [[
        for flow in require("nfengine").streamer({}):flows() do print(flow.src_port) end
      ]]
      local run = live.start(cable.net.b, "-i", "vb", "--idle-timeout=1", "--n-dissections=0", meters, path)
      local began = live.now()
      send(udp_file(1234))
      live.wait_for("line", function() return run:out() == "1234\n" end)
      assert(live.now() - began < SLACK_S)
      assert.equal(0, run:stop().status)
    end)

    both_sizes("gives a header at the end of a run that saw nothing", function(meters)
      local run = ports(meters)
      local began = live.now()
      local result = run:stop()
      assert.same({ 0, "id,src_port\n" }, { result.status, result.out })
      assert.matches("^nfengine: 0 packets, 0 flows, [^\n]+\n$", result.err)
      assert(live.now() - began < 1)
    end)
  end)

  -- ---- errors before the run ----

  describe("before the run", function()
    local function refusal(status, text, command)
      local result = network.run(cable.net.b, "timeout 10 " .. command)
      assert.same({ status, text, "" }, { result.status, result.err, result.out })
    end

    it("an unknown interface is an error", function()
      refusal(2, 'nfengine: -i "nope": no such network interface, expected the name of an interface, or any\n',
        live.command("flows", "-i", "nope"))
    end)

    it("an interface with a capture is an error", function()
      refusal(2, 'nfengine: -i vb and capture "samples/dns.pcap": expected one or the other\n',
        live.command("flows", "-i", "vb", "samples/dns.pcap"))
    end)

    it("an interface among files is an error", function()
      refusal(1, 'nfengine: "vb": an interface among files, expected one or the other\n', live.command(
        engine.script_file 'require("nfengine").streamer({ source = { "samples/dns.pcap", "vb" } }):write()'))
    end)

    it("a filter that is none is an error", function()
      refusal(1, 'nfengine: "vb": bpf_filter "prot 5": can\'t parse filter expression: syntax error, expected a '
        .. "libpcap filter for link type 1 (EN10MB)\n", live.command("flows", "-i", "vb", "--bpf-filter=prot 5"))
    end)

    it("who may not capture is told so", function()
      local command = "setpriv --reuid=nobody --regid=nogroup --clear-groups "
        .. live.command("flows", "-i", "vb", "--n-dissections=0")
      local result = network.run(cable.net.b, command)
      assert.equal(1, result.status)
      assert.matches('^nfengine: "vb": cannot capture: [^\n]+, expected root or the capability CAP_NET_RAW\n$',
        result.err)
    end)

    it("an interface that is down is an error", function()
      link "set vb down"
      refusal(1, 'nfengine: "vb": the interface is down, expected it to be up\n', live.command("flows", "-i", "vb"))
    end)
  end)

  -- The interface goes and comes back, and the run counts what is sent then.
  local function check_return(run)
    link "set vb down"
    live.wait_for("warning", function() return run:err():find "went down" end)
    link "set vb up"
    live.wait_for("return", function() return run:err():find "is back" end)
    send(udp_file(1, 10))
    live.wait_for_packets(run, 10)
    local result = run:stop()
    assert.same({ 0, 10 }, { result.status, count_rows(result.out) })
  end

  -- ---- privileges ----

  describe("with --user", function()
    local NOTHING = ("0"):rep(16)

    -- What every thread is: user, groups, capabilities, confined.
    local function check_threads(run, count, capabilities, is_free)
      local seen = 0
      for path in program.shell(("ls -d /proc/%d/task/*"):format(run.pid)).out:gmatch "[^\n]+" do
        local text = program.read(path .. "/status")
        assert.matches("\nUid:\t65534\t65534\t65534\t65534\n", text)
        assert.matches("\nGid:\t65534\t65534\t65534\t65534\n", text)
        for _, set in ipairs { "CapPrm", "CapEff" } do
          assert.matches("\n" .. set .. ":\t" .. (capabilities or NOTHING) .. "\n", text)
        end
        assert.matches("\nSeccomp:\t" .. (is_free and 0 or 2) .. "\n", text)
        seen = seen + 1
      end
      assert(seen >= count, seen .. " threads")
    end

    both_sizes("it becomes that user, and writes", function(meters, count)
      local path = program.temporary ".csv"
      local run = ports("--user=nobody", "-o", path, meters)
      check_threads(run, count == 1 and 1 or 3)
      send(udp_file(1, 10))
      assert.equal(0, run:stop().status)
      assert.equal(10, count_rows(program.read(path)))
    end)

    it("it keeps what reconnecting needs, and does reconnect", function()
      local run = ports("--user=nobody", "--reconnect")
      check_threads(run, 1, "0000000000002000") -- CAP_NET_RAW
      check_return(run)
    end)

    it("it keeps what the look at processes needs", function()
      local run = ports("--user=nobody", "--system-visibility-mode=1")
      check_threads(run, 2, "0000000000080004") -- CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH
      assert.equal(0, run:stop().status)
    end)

    -- A script that says what it can do after its first flow.
    local function trying()
      return engine.script_file [[
        local ffi = require "ffi"
        ffi.cdef "int socket(int, int, int);"
        for _ in require("nfengine").streamer({ n_dissections = 0, max_nflows = 1, idle_timeout = 0 }):flows() do
          local path = os.tmpname()
          print("file", io.open(path, "w") ~= nil, os.remove(path))
          print("program", os.execute "true" == 0, io.popen "true" ~= nil)
          for family = 0, 20 do
            if ffi.C.socket(family, 3, 0) >= 0 then print("socket", family) end
          end
        end
      ]]
    end

    -- What it says when the program gets these words.
    local function said(...)
      local run = live.start(cable.net.b, "-i", "vb", "--user=nobody", trying(), ...)
      local sender = cable.send_endlessly()
      local result = run:finish()
      sender:stop "TERM"
      return result.out
    end

    it("scripts write files as that user, but start no programs and connect to nobody", function()
      assert.equal("file\ttrue\ttrue\nprogram\tfalse\tfalse\n", said())
      assert.equal("file\ttrue\ttrue\nprogram\tfalse\tfalse\nsocket\t16\nsocket\t17\n", said "--reconnect")
      assert.equal("file\ttrue\ttrue\nprogram\tfalse\tfalse\nsocket\t16\n", said "--system-visibility-mode=1")
    end)

    it("they may with --no-sandbox", function()
      local run = ports("--user=nobody", "--no-sandbox")
      check_threads(run, 1, nil, true)
      assert.equal(0, run:stop().status)
      assert.matches("^file\ttrue\ttrue\nprogram\ttrue\ttrue\n", said "--no-sandbox")
    end)

    it("an unknown user is an error", function()
      local result = network.run(cable.net.b, "timeout 10 " .. live.command("flows", "-i", "vb", "--user=nobodi"))
      assert.equal(1, result.status)
      assert.matches('^nfengine: %-%-user: [^\n]*"nobodi"[^\n]*\n$', result.err)
    end)

    it("who is not root is told so", function()
      local result = network.run(cable.net.b, "timeout 10 setpriv --reuid=nobody --regid=nogroup --clear-groups "
        .. "--inh-caps=+net_raw --ambient-caps=+net_raw " .. live.command("flows", "-i", "vb", "--user=root"))
      assert.equal(1, result.status)
      assert.matches("^nfengine: %-%-user: [^\n]*root[^\n]*\n$", result.err)
    end)
  end)

  describe("with --sandbox", function()
    both_sizes("it captures, and goes on in its file alone", function(meters)
      local path, old, perf = program.temporary ".csv", program.temporary ".csv", program.temporary ".perf"
      local run = ports("--sandbox", "--user=nobody", "-o", path, "--performance-report=1",
        "--performance-report-file=" .. perf, meters)
      send(udp_file(1, 10))
      assert(os.rename(path, old))
      run:signal "HUP"
      live.wait_for("warning", function() return run:err():find "the old file stays in use" end)
      local result = run:stop()
      assert.same({ 0, 10 }, { result.status, count_rows(program.read(old)) })
      assert.matches(('cannot write "%s": Operation not permitted: the old file'):format(path), result.err, 1, true)
      assert.is_true(#reports(program.read(perf)) > 0)
      assert.is_nil(program.read(path))
    end)

    it("it reconnects, and looks at processes", function()
      local run = ports("--sandbox", "--reconnect", "--system-visibility-mode=1")
      check_return(run)
    end)

    it("a script has what opening interfaces takes until its run starts, and then no more", function()
      local result = network.run(cable.net.b, "timeout 10 " .. live.command("--sandbox", "-q", "-i", "vb",
        engine.script_file [[
          local ffi = require "ffi"
          ffi.cdef "int socket(int, int, int);"
          local function tell(when)
            local open = {}
            for family = 0, 50 do
              if ffi.C.socket(family, 2, 0) >= 0 then open[#open + 1] = family end
            end
            print(when, table.concat(open, " "), os.execute "true" == 0, io.open("/dev/null", "w"))
          end
          tell "before"
          require("nfengine").streamer({ duration = 1 }):to { write = function() end }
          tell "after"
        ]]))
      assert.same({ status = 0, err = "", out = "before\t16 17\tfalse\tnil\t/dev/null: Operation not permitted\t1\n"
        .. "after\t\tfalse\tnil\t/dev/null: Operation not permitted\t1\n" }, result)
    end)
  end)

  -- ---- performance reports ----

  describe("performance reports", function()
    local FIELDS = { "flows_expired", "packets_processed", "packets_ignored", "packets_dropped_filtered_by_kernel",
      "meters_packets_processing_balance", "time", "packets_dropped_by_interface", "packets_ignored_by_reason", "bytes",
      "flows_live", "max_flows", "flows_ended_by_reason", "meters" }
    local OF_A_METER = { "packets_processed", "packets_ignored", "packets_dropped_by_kernel", "flows_live",
      "flows_ended" }

    local function names_of(value)
      local names = {}
      for name in pairs(value) do names[#names + 1] = name end
      table.sort(names)
      return names
    end

    local function sorted(list)
      local copy = { unpack(list) }
      table.sort(copy)
      return copy
    end

    local function check_reports(list, meters)
      for _, report in ipairs(list) do
        assert.same(sorted(FIELDS), names_of(report))
        assert.equal(meters, #report.meters)
        assert.equal(meters, #report.meters_packets_processing_balance)
        for _, each in ipairs(report.meters) do assert.same(sorted(OF_A_METER), names_of(each)) end
        assert(math.abs(report.time - os.time()) < 60)
      end
      local last = list[#list]
      assert.same({ 390, 6, 0, 0, 0, 174114 }, { last.packets_processed + last.packets_ignored, last.packets_ignored,
        last.packets_dropped_filtered_by_kernel, last.packets_dropped_by_interface, last.flows_live, last.bytes })
      assert.same({ ["not IP"] = 6 }, last.packets_ignored_by_reason)
      assert.same({ ["end of input"] = last.flows_expired }, last.flows_ended_by_reason)
      assert(last.flows_expired >= 32)
      local processed, ended = 0, 0
      for i, each in ipairs(last.meters) do
        assert.equal(each.packets_processed, last.meters_packets_processing_balance[i])
        processed, ended = processed + each.packets_processed, ended + each.flows_ended
      end
      assert.same({ 384, last.flows_expired }, { processed, ended })
    end

    both_sizes("go to a file, each second and at the end", function(meters, count)
      local path = program.temporary ".perf"
      local run = quick("--performance-report=1", "--performance-report-file=" .. path, meters)
      send("samples/web.pcap")
      live.wait_for("two reports", function() return #reports(program.read(path) or "") >= 2 end)
      assert.equal(0, run:stop().status)
      local list = reports(program.read(path))
      assert(#list >= 3)
      check_reports(list, count)
    end)

    it("go to stderr else, one at the end where no time was for more", function()
      local run = quick("-q", "--performance-report=60", "--n-meters=1")
      send("samples/web.pcap")
      local list = reports(run:stop().err)
      assert.equal(1, #list)
      check_reports(list, 1)
    end)
  end)

  -- ---- scripts ----

  describe("in scripts", function()
    both_sizes("two runs may follow one another", function(meters)
      local run = live.start(cable.net.b, "-i", "vb", "--n-dissections=0", meters, engine.script_file [[
        local nf = require "nfengine"
        for i = 1, 2 do
          local streamer = nf.streamer { max_nflows = 10, idle_timeout = 0 }
          print(i, streamer:to { write = function() end }, streamer:account().is_live)
        end
      ]])
      local sender = cable.send_endlessly()
      local result = run:finish(8)
      sender:stop "TERM"
      assert.same({ 0, "1\t10\ttrue\n2\t10\ttrue\n" }, { result.status, result.out })
    end)

    both_sizes("a loop may be left", function(meters)
      local path = engine.script_file [[
        local nf = require "nfengine"
        for flow in nf.streamer({}):flows() do print(flow.id) break end
        print(nf.streamer({ max_nflows = 5 }):to { write = function() end })
      ]]
      local run = live.start(cable.net.b, "-i", "vb", "--n-dissections=0", "--idle-timeout=0", meters, path)
      local sender = cable.send_endlessly()
      local result = run:finish(8)
      sender:stop "TERM"
      assert.same({ 0, "0\n5\n" }, { result.status, result.out })
    end)

    it("a streamer may name its interfaces", function()
      local run = live.start(cable.net.b, engine.script_file [[
        local nf = require "nfengine"
        nf.streamer({ source = { "vb" }, n_dissections = 0, columns = { "id", "src_port" } }):write()
      ]])
      send(udp_file(1, 10))
      local result = run:stop()
      assert.same({ 0, 10 }, { result.status, count_rows(result.out) })
    end)
  end)
end)
