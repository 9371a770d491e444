-- Iterating over flows: lua/nfengine/streamer.lua and lua/nfengine/run.lua.

local ffi = require "ffi"
local nf = require "nfengine"
local engine = require "spec.support.engine"
local meter = require "spec.support.meter"
local program = require "spec.support.program"

-- `count` flows of one packet, 10 ms apart, from ports 1000, 1001 ...
local function singles(count)
  local packets = {}
  for i = 1, count do packets[i] = meter.udp(10 * i, 999 + i) end
  return packets
end

local function ports(flows) return engine.column("src_port", flows) end

describe("iterating over flows", function()
  after_each(engine.cleanup)

  it("gives each once, with ids from 0", function()
    local flows = engine.flows { packets = singles(5) }
    assert.same({ 0, 1, 2, 3, 4 }, engine.column("id", flows))
    assert.same({ 1000, 1001, 1002, 1003, 1004 }, ports(flows))
  end)

  it("starts anew each time, with ids from 0", function()
    local streamer = engine.streamer { packets = singles(3) }
    for _ = 1, 3 do
      local ids = {}
      for flow in streamer:flows() do ids[#ids + 1] = flow.id end
      assert.same({ 0, 1, 2 }, ids)
    end
  end)

  it("goes by the parameters of the moment it starts", function()
    local streamer = engine.streamer { packets = { meter.udp(0, 1000), meter.udp(1500, 1000) } }
    local counts = {}
    for _, timeout in ipairs { 1, 2, 0 } do
      streamer.idle_timeout = timeout
      counts[#counts + 1] = streamer:to { write = function() end }
    end
    assert.same({ 2, 1, 2 }, counts)
  end)

  it("may be nested", function()
    local streamer, pairs_seen = engine.streamer { packets = singles(3) }, {}
    for outer in streamer:flows() do
      for inner in streamer:flows() do pairs_seen[#pairs_seen + 1] = outer.id * 10 + inner.id end
    end
    assert.same({ 0, 1, 2, 10, 11, 12, 20, 21, 22 }, pairs_seen)
  end)

  it("gives nothing for a capture without packets", function()
    assert.same({}, engine.flows { packets = {} })
  end)

  it("stays at its end", function()
    local next_flow = engine.streamer({ packets = singles(1) }):flows()
    assert.equal(1000, next_flow().src_port)
    for _ = 1, 3 do assert.is_nil(next_flow()) end
  end)

  it("reads several captures as one", function()
    local source = { engine.capture { meter.udp(0, 1000) }, engine.capture { meter.back(5, 1000), meter.udp(6, 1001) } }
    local flows = engine.flows { source = source }
    assert.same({ 2, 1 }, engine.column("bidirectional_packets", flows))
  end)

  it("raises one line where a source cannot be opened", function()
    local source = { engine.capture(singles(1)), "/nowhere/b.pcap" }
    assert.matches("/nowhere/b.pcap", engine.refusal(engine.flows, { source = source }), 1, true)
    assert.matches("bpf_filter", engine.refusal(engine.flows, { bpf_filter = "no such filter" }), 1, true)
  end)

  it("gives the true reason of a flow's end where it is asked for", function()
    local Ender = nf.plugin { name = "ender", on_init = function(_, packet, flow)
      if packet.src_port == 1002 then flow.expiration_id = -1 end
    end }
    local packets = { meter.udp(0, 1000), meter.udp(1, 1001), meter.udp(2, 1002) }
    for at = 501, 2001, 500 do packets[#packets + 1] = meter.udp(at, 1001) end
    local flows = engine.flows { packets = packets, idle_timeout = 1, active_timeout = 2, udps = Ender }
    assert.same({ 1002, 1000, 1001, 1001 }, ports(flows))
    assert.same({ -1, 0, 1, 0 }, engine.column("expiration_id", flows))
    assert.same({ "forced", "idle", "active", "end of input" }, engine.column("end_reason", flows))
  end)
end)

describe("leaving the loop early", function()
  after_each(engine.cleanup)

  local function first_ports(parameters, count)
    local seen = {}
    for flow in engine.streamer(parameters):flows() do
      seen[#seen + 1] = flow.src_port
      if #seen == count then break end
    end
    return seen
  end

  it("leaves the streamer as it was", function()
    local packets = singles(5)
    assert.same({ 1000, 1001 }, first_ports({ packets = packets }, 2))
    local streamer = engine.streamer { packets = packets }
    streamer:flows()()
    assert.same({ 1000, 1001, 1002, 1003, 1004 }, ports((function()
      local flows = {}
      for flow in streamer:flows() do flows[#flows + 1] = flow end
      return flows
    end)()))
  end)

  it("leaves the flows so far valid", function()
    local kept = {}
    for flow in engine.streamer({ packets = singles(5) }):flows() do
      kept[#kept + 1] = flow
      if #kept == 2 then break end
    end
    collectgarbage()
    collectgarbage()
    assert.same({ 1000, 1001 }, ports(kept))
  end)

  -- How often this process has a file open.
  local function times_open(path)
    local listing = io.popen("ls -l /proc/$PPID/fd | grep -c " .. path)
    local count = tonumber(listing:read "*a")
    listing:close()
    return count
  end

  -- The collector takes whatever lies in unused stack slots for alive, so those are written over first.
  local function collect()
    local function overwrite(depth) return depth > 0 and 1 + overwrite(depth - 1) or 0 end
    for _ = 1, 3 do
      overwrite(100)
      collectgarbage()
    end
  end

  it("stops the run and frees what it held, compiled or not", function()
    local path = engine.capture(singles(300))
    local next_flow = engine.streamer({ source = path, idle_timeout = 0 }):flows()
    assert.equal(1000, next_flow().src_port)
    assert.equal(1, times_open(path))
    next_flow = nil -- luacheck: ignore (as a loop that is left does)
    for _ = 1, 10 do first_ports({ source = path, idle_timeout = 0 }, 200) end
    collect()
    assert.equal(0, times_open(path))
  end)

  it("calls cleanup", function()
    local cleanups = 0
    local Counter = nf.plugin { name = "counter", cleanup = function() cleanups = cleanups + 1 end }
    first_ports({ packets = singles(300), udps = Counter, idle_timeout = 0 }, 200)
    collect()
    assert.equal(1, cleanups)
  end)
end)

describe("max_nflows", function()
  after_each(engine.cleanup)

  it("ends a loop, an export and a sink after so many flows", function()
    local packets = singles(5)
    assert.same({ 1000, 1001 }, ports(engine.flows { packets = packets, max_nflows = 2 }))
    assert.equal(2, engine.streamer({ packets = packets, max_nflows = 2 }):to { write = function() end })
    assert.equal(5, engine.streamer({ packets = packets, max_nflows = 5 }):to { write = function() end })
    assert.equal(5, engine.streamer({ packets = packets, max_nflows = 9 }):to { write = function() end })
  end)

  it("counts what the filter lets through", function()
    local function is_even(flow) return flow.src_port % 2 == 0 end
    local flows = engine.flows { packets = singles(9), max_nflows = 3, filter = is_even }
    assert.same({ 1000, 1002, 1004 }, ports(flows))
    assert.same({ 0, 1, 2 }, engine.column("id", flows))
  end)
end)

describe("a filter", function()
  after_each(engine.cleanup)

  it("lets flows through for which it is true", function()
    local answers = { [1000] = true, [1001] = false, [1002] = nil, [1003] = 0, [1004] = "" }
    local flows = engine.flows { packets = singles(5), filter = function(flow) return answers[flow.src_port] end }
    assert.same({ 1000, 1003, 1004 }, ports(flows))
  end)

  it("sees what plugins made of the flow", function()
    local Marker = nf.plugin { name = "marker", columns = { { "mark", "bool" } },
      on_expire = function(_, flow) flow.udps.mark = flow.src_port == 1001 end }
    local function is_marked(flow) return flow.udps.mark end
    local flows = engine.flows { packets = singles(3), udps = Marker, filter = is_marked }
    assert.same({ 1001 }, ports(flows))
  end)

  it("that fails ends the run with one line on the flow", function()
    local seen = 0
    local Quiet = nf.plugin { name = "quiet", on_init = function() end, on_expire = function() end }
    local streamer = engine.streamer { packets = singles(5), udps = Quiet, filter = function(flow)
      if flow.src_port == 1002 then error "out of luck" end
      return true
    end }
    local message = engine.refusal(function()
      for _ in streamer:flows() do seen = seen + 1 end
    end)
    assert.equal(2, seen)
    assert.matches("^filter: flow 10%.0%.0%.1:1002 %-> 10%.0%.0%.2:2000 protocol 17: .*streamer_spec.lua:%d+: "
      .. "out of luck$", message)
  end)
end)

describe("time_unit", function()
  after_each(engine.cleanup)

  it("is the unit of every time", function()
    local packets = { meter.udp(0, 1000), meter.udp(1.5, 1000) }
    packets[2].time_ns = packets[2].time_ns + 7ULL
    local durations = {}
    for _, unit in ipairs { "ms", "us", "ns" } do
      local seen
      local Probe = nf.plugin { name = "probe", on_update = function(_, packet) seen = packet.delta_time end }
      local flow = engine.flows({ packets = packets, time_unit = unit, udps = Probe, statistical_analysis = true })[1]
      durations[unit] = { flow["bidirectional_duration_" .. unit], flow["bidirectional_max_piat_" .. unit], seen }
    end
    assert.same({ ms = { 1, 1, 1 }, us = { 1500, 1500, 1500 }, ns = { 1500007, 1500007, 1500007 } }, durations)
  end)
end)

describe("accounting_mode", function()
  after_each(engine.cleanup)

  it("is which size of a packet counts", function()
    local packets, bytes = { meter.udp(0, 1000, "abc") }, {}
    for mode = 0, 3 do
      bytes[mode] = engine.flows({ packets = packets, accounting_mode = mode })[1].bidirectional_bytes
    end
    assert.same({ [0] = 45, 31, 11, 3 }, bytes)
  end)
end)

describe("max_flows", function()
  after_each(engine.cleanup)

  it("ends the least recently seen flow early where there would be more", function()
    local packets = { meter.udp(0, 1000), meter.udp(1, 1001), meter.udp(2, 1000), meter.udp(3, 1002) }
    local flows = engine.flows { packets = packets, max_flows = 2 }
    assert.same({ 1001, 1000, 1002 }, ports(flows))
    assert.same({ "full", "end of input", "end of input" }, engine.column("end_reason", flows))
  end)
end)

describe("a streamer", function()
  it("can be made thousands of times in one process", function()
    local Probe = nf.plugin { name = "probe", columns = { { "a", "uint32" }, { "b", "string" }, { "c", "uint8[4]" } } }
    local function type_number() return tonumber(tostring(ffi.typeof "struct { int x; }"):match "%d+") end
    local streamer = engine.streamer { udps = Probe, statistical_analysis = true, max_nflows = 1 }
    for _ in streamer:flows() do end
    local before = type_number()
    for _ = 1, 20 do
      for _ in streamer:flows() do end
    end
    -- LuaJIT has numbers for 65536 C types in all.
    assert.is_true((type_number() - before) / 20 < 5)
  end)
end)

describe("what a record hands out", function()
  it("keeps the record alive: arrays, udps, and arrays of udps", function()
    local Marker = nf.plugin { name = "marker", columns = { { "sizes", "uint16[4]", "" }, { "name", "string", "" } },
      on_init = function(_, packet, flow)
        flow.udps.sizes[2] = packet.raw_size
        flow.udps.name = tostring(packet.raw_size)
      end }
    local first, udps, sizes = {}, {}, {}
    local streamer = nf.streamer { source = "samples/web.pcap", n_dissections = 0, splt_analysis = 4, udps = Marker }
    for flow in streamer:flows() do
      first[#first + 1], udps[#udps + 1], sizes[#sizes + 1] = flow.splt_ps, flow.udps, flow.udps.sizes
    end
    for _ = 1, 3 do collectgarbage() end
    local scratch = {} -- takes the place of what was collected
    for i = 1, 20000 do scratch[i] = "scratch " .. i end
    assert.equal(20000, #scratch)
    assert.is_true(#first > 10)
    for i = 1, #first do
      assert.equal(first[i][1], sizes[i][2])
      assert.equal(first[i][1], udps[i].sizes[2])
      assert.equal(tostring(first[i][1]), udps[i].name)
    end
  end)

  it("can be changed, and the change stays", function()
    local Marker = nf.plugin { name = "marker", columns = { { "mark", "uint32", "" } } }
    for flow in nf.streamer({ source = "samples/dns.pcap", n_dissections = 0, udps = Marker }):flows() do
      flow.udps.mark = 7
      assert.equal(7, flow.udps.mark)
      assert.equal(7, flow:to_table()["udps.mark"])
    end
  end)
end)

describe("l7_columns", function()
  local function names(wanted)
    local streamer = nf.streamer { source = "samples/dns.pcap", l7_columns = wanted }
    return table.concat(streamer:flows()():keys(), " ")
  end

  it("takes all wherever it stands, and refuses what is none beside it", function()
    assert.equal(names { "all" }, names { "tls_version", "all" })
    assert.has_error(function() names { "all", "colour" } end)
  end)
end)

describe("an early end", function()
  after_each(engine.cleanup)

  it("counts no packet that it had only read ahead", function()
    local streamer = engine.streamer { packets = singles(30), idle_timeout = 0, max_nflows = 3 }
    for _ in streamer:flows() do end -- luacheck: ignore (to its end)
    assert.is_true(streamer:account().packets < 10)
  end)
end)

describe("a limit", function()
  after_each(engine.cleanup)

  it("of packets ends the input after as many, filtered and ignored ones included", function()
    for _, meters in ipairs { 1, 3 } do
      for _, filter in ipairs { "", "udp" } do
        local streamer = nf.streamer {
          source = { "samples/dns.pcap", "samples/web.pcap" }, n_dissections = 0, bpf_filter = filter,
          max_packets = 100, n_meters = meters,
        }
        local packets = 0
        for flow in streamer:flows() do packets = packets + flow.bidirectional_packets end
        local account = streamer:account()
        assert.equal(100, account.packets)
        assert.equal(100, packets + account.ignored_packets)
      end
    end
  end)

  it("of packets larger than the input changes nothing", function()
    local streamer = nf.streamer { source = "samples/dns.pcap", n_dissections = 0, max_packets = 1000 }
    for _ in streamer:flows() do end -- luacheck: ignore (to its end)
    assert.equal(62, streamer:account().packets)
  end)

  it("of time ends a run that waits for input", function()
    local command = "timeout 10 %s flows -q --columns=id --duration=1 --n-meters=%d -"
    for _, meters in ipairs { 1, 2 } do
      local result = program.fed("cat samples/dns.pcap", command:format(program.path, meters))
      assert.same({ 0, 16, "" }, { result.status, select(2, result.out:gsub("\n", "")), result.err })
    end
  end)
end)

describe("a method", function()
  it("says that it takes a colon where it was called with a dot", function()
    local streamer = engine.streamer {}
    for _, name in ipairs { "flows", "to", "to_csv", "to_jsonl", "write", "account" } do
      for _, argument in ipairs { "x.csv", {} } do
        local message = engine.refusal(function() local _ = streamer[name](argument) end)
        assert.matches("^spec/lua/streamer_spec.lua:%d+: nf.streamer: expected streamer:" .. name .. "%(…%), with a",
          message)
      end
    end
  end)
end)

describe("performance_report", function()
  after_each(engine.cleanup)

  it("adds a line of JSON at the run's end, with NFStream's fields and what else there is to know", function()
    local json = require "nfengine.json"
    for _, meters in ipairs { 1, 2 } do
      local path = program.temporary ".jsonl"
      local streamer = nf.streamer {
        source = "samples/web.pcap", n_dissections = 0, n_meters = meters, performance_report = 60,
        performance_report_file = path,
      }
      for _ = 1, 2 do streamer:to { write = function() end } end
      local lines = {}
      for line in io.lines(path) do lines[#lines + 1] = json.decode(line) end
      assert.equal(2, #lines)
      local report = lines[2]
      assert.same({ 32, 384, 6, 0 }, { report.flows_expired, report.packets_processed, report.packets_ignored,
        report.packets_dropped_filtered_by_kernel })
      assert.same({ ["not IP"] = 6 }, report.packets_ignored_by_reason)
      assert.same({ meters, meters, 0, 4194304 }, { #report.meters, #report.meters_packets_processing_balance,
        report.flows_live, report.max_flows })
      local processed, ended = 0, 0
      for i, each in ipairs(report.meters) do
        assert.equal(report.meters_packets_processing_balance[i], each.packets_processed)
        processed, ended = processed + each.packets_processed, ended + each.flows_ended
      end
      assert.same({ 384, 32 }, { processed, ended })
      assert.is_true(math.abs(report.time - os.time()) < 60)
    end
  end)

  it("says where it cannot write", function()
    assert.equal("performance_report_file: /nowhere/a: No such file or directory, expected a file to write",
      engine.refusal(function()
        local report = { performance_report = 1, performance_report_file = "/nowhere/a", source = "samples/dns.pcap" }
        nf.streamer(report):flows()
      end))
  end)

  it("does not write into its own input", function()
    local bytes = program.read "samples/dns.pcap"
    local path = program.write(bytes, ".pcap")
    assert.equal(('performance_report_file: "%s": is the input, expected a file to write'):format(path),
      engine.refusal(function()
        nf.streamer({ performance_report = 1, performance_report_file = path, source = path }):flows()
      end))
    assert.equal(bytes, program.read(path))
  end)
end)
