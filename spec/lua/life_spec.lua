-- What hooks decide about a flow's life besides its end: that its connection is over (is_closing, linger), and that it
-- counts no more (is_frozen); and that a plugin needs no more of its packets (flow:done()). core/meter.c,
-- core/table.c, lua/nfengine/flow.lua.

local nf = require "nfengine"
local engine = require "spec.support.engine"
local meter = require "spec.support.meter"
local P = require "nfengine.testing.packet"
local program = require "spec.support.program"

-- TCP from 10.0.0.1:1000 to 10.0.0.2:2000 with these flags; `port` is another client's.
local function tcp(at, flags, port)
  return meter.frame(at, P.eth {} .. P.ipv4 {} .. P.tcp { src_port = port or 1000, dst_port = 2000, flags = flags })
end

local function tcp_back(at, flags)
  return meter.frame(at, P.eth {} .. P.ipv4 { src = "10.0.0.2", dst = "10.0.0.1" }
    .. P.tcp { src_port = 2000, dst_port = 1000, flags = flags })
end

-- Marks a flow with a packet of this flag.
local function marker(field, flag)
  local function mark(_, packet, flow)
    if packet[flag] == 1 then flow[field] = true end
  end
  return nf.plugin { name = "marker", on_init = mark, on_update = mark }
end

local Closer = marker("is_closing", "fin")

-- "packets first-last expiration_id reason" of each flow, times in ms.
local function lives(parameters)
  local list = {}
  local epoch = tonumber(meter.EPOCH / 1000000ULL)
  for i, flow in ipairs(engine.flows(parameters)) do
    list[i] = ("%d %d-%d %d %s"):format(flow.bidirectional_packets, flow.bidirectional_first_seen_ms - epoch,
      flow.bidirectional_last_seen_ms - epoch, flow.expiration_id, flow.end_reason)
  end
  return list
end

describe("a flow whose connection is over", function()
  after_each(engine.cleanup)

  it("takes late packets, both ways, and ends once there was none for `linger`", function()
    assert.same({ "4 0-2500 -1 forced", "1 9000-9000 0 end of input" }, lives { udps = Closer, linger = 2, packets = {
      tcp(0, "S"), tcp(10, "FA"), tcp_back(1000, "A"), tcp(2500, "A"), tcp(9000, "A") } })
  end)

  it("ends in a sweep when other packets come", function()
    local flows = { udps = Closer, linger = 2, packets = { tcp(0, "FA"), tcp(1990, "S", 7), tcp(2000, "A", 7) } }
    local ended = {}
    flows.filter = function(flow)
      ended[#ended + 1] = flow.src_port
      return true
    end
    assert.same({ "1 0-0 -1 forced", "2 1990-2000 0 end of input" }, lives(flows))
    assert.same({ 1000, 7 }, ended)
  end)

  it("gives way to a new connection at once, not to a SYN that answers", function()
    assert.same({ "3 0-20 -1 forced", "1 30-30 0 end of input" }, lives { udps = Closer, packets = {
      tcp(0, "S"), tcp(10, "FA"), tcp_back(20, "SA"), tcp(30, "S") } })
  end)

  it("without linger ends with the next packet of its tuple, or the next sweep", function()
    assert.same({ "2 0-10 -1 forced", "1 11-11 0 end of input" }, lives { udps = Closer, linger = 0, packets = {
      tcp(0, "S"), tcp(10, "FA"), tcp_back(11, "A") } })
  end)

  it("is forced too where the input ends first, or the idle timeout is shorter", function()
    assert.same({ "2 0-10 -1 forced" }, lives { udps = Closer, packets = { tcp(0, "S"), tcp(10, "FA") } })
    assert.same({ "1 0-0 -1 forced", "1 1500-1500 0 end of input" }, lives { udps = Closer, idle_timeout = 1,
      packets = { tcp(0, "FA"), tcp(1500, "A") } })
  end)

  it("is cut by the active timeout all the same", function()
    local packets = {}
    for at = 0, 3000, 500 do packets[#packets + 1] = tcp(at, "FA") end
    assert.same({ "4 0-1500 1 active", "3 2000-3000 -1 forced" }, lives { udps = Closer, active_timeout = 2,
      packets = packets })
  end)

  it("waits by the run's clock in any unit", function()
    for _, unit in ipairs { "us", "ns" } do
      local packets = { tcp(0, "FA"), tcp(1999, "A"), tcp(4000, "A") }
      local counts = engine.column("bidirectional_packets", engine.flows { udps = Closer, linger = 2, time_unit = unit,
        packets = packets })
      assert.same({ 2, 1 }, counts)
    end
  end)

  it("ends among others in the order of last packets, for any number of meters", function()
    local packets = {}
    for i = 0, 199 do
      packets[#packets + 1] = tcp(i * 40, i % 3 == 0 and "FA" or "A", 1000 + i % 60)
    end
    local path = engine.capture(packets)
    local function rows(n)
      return engine.script([[
        local nf = require "nfengine"
        local function mark(_, packet, flow) if packet.fin == 1 then flow.is_closing = true end end
        nf.streamer({ udps = nf.plugin { name = "closer", on_init = mark, on_update = mark }, linger = 1,
          idle_timeout = 2, n_dissections = 0, columns = { "*", "end_reason" } }):write() ]],
        "-q", "--n-meters=" .. n, path)
    end
    local one = rows(1)
    assert.same({ 0, "" }, { one.status, one.err })
    assert.is_true(select(2, one.out:gsub(",\"forced\"\n", "")) > 50)
    for _, n in ipairs { 2, 3, 8 } do assert.equal(one.out, rows(n).out) end
  end)

  it("may be the least recently seen of a full table", function()
    assert.same({ "1 0-0 0 full", "1 1-1 0 full", "1 2-2 0 end of input", "1 3-3 0 end of input" },
      lives { udps = Closer, max_flows = 2, n_meters = 1, packets = {
        tcp(0, "FA", 1), tcp(1, "A", 2), tcp(2, "A", 3), tcp(3, "A", 4) } })
  end)
end)

describe("a frozen flow", function()
  after_each(engine.cleanup)

  local Freezer = marker("is_frozen", "psh")

  it("counts no more, and takes its later packets all the same", function()
    local flows = engine.flows { udps = Freezer, statistical_analysis = true, splt_analysis = 4, packets = {
      tcp(0, "S"), tcp(10, "PA"), tcp_back(20, "A"), tcp(30, "PA"), tcp(40, "FA") } }
    assert.equal(1, #flows)
    assert.same({ 2, 10, 0, 0 }, { flows[1].bidirectional_packets, flows[1].bidirectional_duration_ms,
      flows[1].dst2src_packets, flows[1].bidirectional_fin_packets })
    assert.same({ 0, 0, -1, -1 }, flows[1].splt_direction:table())
    assert.is_true(flows[1].is_frozen)
    assert.is_false(flows[1].is_closing)
  end)

  it("shows hooks nothing more", function()
    local seen = {}
    local Watcher = nf.plugin { name = "watcher", on_update = function(_, packet) seen[#seen + 1] = packet.time end }
    local epoch = tonumber(meter.EPOCH / 1000000ULL)
    engine.flows { udps = { Freezer, Watcher }, packets = { tcp(0, "S"), tcp(10, "PA"), tcp(20, "A") } }
    assert.same({ epoch + 10 }, seen)
  end)

  it("goes idle by the packets it has absorbed, and begins anew then", function()
    assert.same({ "1 0-0 0 idle", "1 3500-3500 0 end of input" }, lives { udps = Freezer, idle_timeout = 1, packets = {
      tcp(0, "PA"), tcp(900, "A"), tcp(1800, "A"), tcp(2400, "A"), tcp(3500, "A") } })
  end)

  it("does not hold others up, nor is it swept before its time", function()
    assert.same({ "1 10-10 0 idle", "1 0-0 0 idle", "2 1015-2000 0 end of input" }, lives { udps = Freezer,
      idle_timeout = 1,
      packets = { tcp(0, "PA"), tcp(10, "A", 7), tcp(900, "A"), tcp(1015, "S", 8), tcp(2000, "A", 8) } })
  end)

  it("is cut by the active timeout, and lingers where it is closing", function()
    local function mark(_, _, flow) flow.is_frozen, flow.is_closing = true, true end
    local Both = nf.plugin { name = "both", on_init = mark }
    assert.same({ "1 0-0 -1 forced", "1 1500-1500 -1 forced" }, lives { udps = Both, linger = 1, packets = {
      tcp(0, "S"), tcp(400, "A"), tcp(1500, "A") } })
    local packets = {}
    for at = 0, 3000, 500 do packets[#packets + 1] = tcp(at, "PA") end
    assert.same({ "1 0-0 1 active", "1 2000-2000 0 end of input" }, lives { udps = Freezer, active_timeout = 2,
      packets = packets })
  end)

  it("keeps its packets in the account of the run", function()
    local streamer = engine.streamer { udps = Freezer, packets = { tcp(0, "PA"), tcp(10, "A"), tcp(20, "A") } }
    for _ in streamer:flows() do end -- luacheck: ignore 542
    assert.equal(3, streamer:account().packets)
  end)
end)

describe("a flow that plugins are done with", function()
  after_each(engine.cleanup)

  -- A plugin that is done with a flow at its nth packet, and notes in `seen` what its on_update is told.
  local function early(name, nth, seen)
    local function look(_, _, flow)
      seen[#seen + 1] = name .. flow.bidirectional_packets
      if flow.bidirectional_packets >= nth then flow:done() end
    end
    return nf.plugin { name = name, on_init = nth == 1 and look or nil, on_update = look }
  end

  local five = { tcp(0, "S"), tcp_back(10, "SA"), tcp(20, "A"), tcp(30, "PA"), tcp_back(40, "FA") }

  it("shows them nothing more, counts on, and ends as it would", function()
    local seen = {}
    assert.same({ "5 0-40 0 end of input" }, lives { udps = early("a", 3, seen), packets = five })
    assert.same({ "a2", "a3" }, seen)
  end)

  it("may be so from its first packet on", function()
    local seen = {}
    engine.flows { udps = early("a", 1, seen), packets = five }
    assert.same({ "a1" }, seen)
  end)

  it("is shown to those that are not done, each for itself", function()
    local seen = {}
    engine.flows { udps = { early("a", 4, seen), early("b", 2, seen), early("c", 9, seen) }, packets = five }
    assert.same({ "a2", "b2", "c2", "a3", "c3", "a4", "c4", "c5" }, seen)
  end)

  it("is a matter of this flow alone, and ends with it", function()
    local seen = {}
    engine.flows { udps = early("a", 2, seen), idle_timeout = 1,
      packets = { tcp(0, "S"), tcp(1, "S", 7), tcp(2, "A"), tcp(3, "A"), tcp(4, "A", 7), tcp(5000, "A"),
        tcp(5001, "A"), tcp(5002, "A") } }
    assert.same({ "a2", "a2", "a2" }, seen)
  end)

  it("is told to all where there are very many, but the first thirty", function()
    local seen, plugins, told = {}, {}, 0
    for i = 1, 32 do plugins[i] = early(("p%d_"):format(i), 2, seen) end
    engine.flows { udps = plugins, packets = five }
    for _, each in ipairs(seen) do told = told + (each:match "_5$" and 1 or 0) end
    assert.same({ 32 + 3 * 2, 2 }, { #seen, told })
  end)

  it("is shown to on_expire, which cannot be done", function()
    local Late = nf.plugin { name = "late", on_expire = function(_, flow) flow:done() end }
    assert.matches("flow:done: expected a flow that lives, in on_init or on_update",
      engine.refusal(engine.flows, { udps = Late, packets = five }), 1, true)
    assert.matches("flow.done: expected flow:done(), with a colon",
      engine.refusal(engine.flows, { packets = five, udps = nf.plugin { name = "dot", on_init = function(_, _, flow)
        flow.done() end } }), 1, true)
  end)

  it("has the record it would have without plugins, with L7 and without, for any number of meters", function()
    local SCRIPT = [[
      local nf = require "nfengine"
      local function look(_, _, flow) if flow.bidirectional_packets >= 3 then flow:done() end end
      local Early = nf.plugin { name = "early", on_init = look, on_update = look }
      nf.streamer({ udps = %s, statistical_analysis = true, splt_analysis = 6, n_dissections = %d,
        columns = { "*", "end_reason" } }):write() ]]
    for _, sample in ipairs { "samples/web.pcap", "samples/tls.pcap" } do
      for _, dissections in ipairs { 0, 20 } do
        local function rows(udps, meters)
          local result = engine.script(SCRIPT:format(udps, dissections), "-q", "--n-meters=" .. meters, sample)
          assert.same({ 0, "" }, { result.status, result.err })
          return result.out
        end
        local without = rows("nil", 1)
        for meters = 1, 3 do assert.equal(without, rows("Early", meters)) end
      end
    end
  end)

  it("works for plugins that --safe closes in", function()
    local path = program.write([[
      local nf = require "nfengine"
      return nf.plugin { name = "closed", columns = { { "told", "uint32", "packets told" } },
        on_init = function(self, packet, flow) flow.udps.told = 1 end,
        on_update = function(self, packet, flow)
          flow.udps.told = flow.udps.told + 1
          if flow.udps.told == 3 then flow:done() end
        end } ]], ".lua")
    local result = program.run("-q", "--safe", "flows", "--plugin=" .. path, "--no-dpi",
      "--columns=bidirectional_packets,udps.told", engine.capture(five))
    assert.same({ "bidirectional_packets,udps.told\n5,3\n", "" }, { result.out, result.err })
  end)
end)

describe("is_closing and is_frozen", function()
  after_each(engine.cleanup)

  it("are true or false, and columns for those who ask", function()
    local Wrong = nf.plugin { name = "wrong", on_init = function(_, _, flow) flow.is_closing = 1 end }
    assert.matches("flow.is_closing: expected true or false, got number",
      engine.refusal(engine.flows, { udps = Wrong, packets = { tcp(0, "S") } }), 1, true)
    local result = program.run("-q", "flows", "--columns=is_closing,is_frozen", "--n-dissections=0",
      engine.capture { tcp(0, "S") })
    assert.same({ "is_closing,is_frozen\nFalse,False\n", "" }, { result.out, result.err })
  end)
end)
