-- plugins/tcp_end.lua on connections built segment by segment.

local engine = require "spec.support.engine"
local meter = require "spec.support.meter"
local P = require "nfengine.testing.packet"
local TcpEnd = require "plugins.tcp_end"

-- A segment of 10.0.0.1:1000 to 10.0.0.2:2000, and of the way back, `at` ms.
local function to(at, flags, fields)
  return meter.frame(at, P.eth {} .. P.ipv4 {} .. P.tcp { src_port = 1000, dst_port = 2000, flags = flags }, fields)
end

local function back(at, flags)
  return meter.frame(at, P.eth {} .. P.ipv4 { src = "10.0.0.2", dst = "10.0.0.1" }
    .. P.tcp { src_port = 2000, dst_port = 1000, flags = flags })
end

-- "packets how first reason" of each record.
local function records(policy, packets, parameters)
  local given = { udps = TcpEnd { policy = policy }, packets = packets }
  for name, value in pairs(parameters or {}) do given[name] = value end
  local list = {}
  for i, flow in ipairs(engine.flows(given)) do
    list[i] = ("%d %s %d %s"):format(flow.bidirectional_packets, flow.udps.tcp_end, flow.udps.tcp_end_first,
      flow.end_reason)
    assert.equal(flow.end_reason == "forced" and -1 or flow.end_reason == "active" and 1 or 0, flow.expiration_id)
  end
  return list
end

local POLICIES = { "rst", "fin2", "fin2+linger" }

describe("tcp_end", function()
  after_each(engine.cleanup)

  -- Closed by the source: both FINs, the last acknowledgement at 40 ms, and what comes too late.
  local closed = { to(0, "S"), back(10, "SA"), to(11, "A"), to(20, "FA"), back(30, "FA"), to(40, "A") }
  local late = meter.joined(closed, { back(50, "FA"), to(60, "A") })
  local reused = meter.joined(closed, { to(70, "S"), back(80, "SA") })

  it("takes one FIN for half a close", function()
    for _, policy in ipairs(POLICIES) do
      assert.same({ "4 half-closed 0 end of input" }, records(policy, { to(0, "S"), to(10, "FA"), back(20, "A"),
        back(30, "PA") }))
      assert.same({ "3 half-closed 1 end of input" }, records(policy, { to(0, "A"), back(10, "FA"), back(20, "FA") }))
    end
  end)

  it("takes FINs of both sides for the end", function()
    assert.same({ "6 fin 0 end of input" }, records("rst", closed))
    assert.same({ "6 fin 0 forced" }, records("fin2", closed))
    assert.same({ "6 fin 0 forced" }, records("fin2+linger", closed))
  end)

  it("gives late packets to the flow that lingers, else to a new one", function()
    assert.same({ "8 fin 0 end of input" }, records("rst", late))
    assert.same({ "6 fin 0 forced", "2 half-closed 0 end of input" }, records("fin2", late))
    assert.same({ "8 fin 0 forced" }, records("fin2+linger", late))
  end)

  it("begins a flow with the SYN of a new connection on the same ports", function()
    assert.same({ "8 fin 0 end of input" }, records("rst", reused)) -- nothing ends where there is no RST
    assert.same({ "6 fin 0 forced", "2 open -1 end of input" }, records("fin2", reused))
    assert.same({ "6 fin 0 forced", "2 open -1 end of input" }, records("fin2+linger", reused))
  end)

  it("does so also where the last acknowledgement is missing", function()
    local packets = { to(0, "A"), back(10, "FA"), to(20, "FA"), to(70, "S"), back(80, "SA"), to(90, "FA") }
    for _, policy in ipairs { "fin2", "fin2+linger" } do
      assert.same({ "3 fin 1 forced", "3 half-closed 0 end of input" }, records(policy, packets))
    end
  end)

  it("lingers for as long as the run says", function()
    local packets = meter.joined(closed, { back(1000, "A"), back(3001, "A") })
    assert.same({ "7 fin 0 forced", "1 open -1 end of input" }, records("fin2+linger", packets, { linger = 2 }))
    assert.same({ "8 fin 0 forced" }, records("fin2+linger", packets, { linger = 3 }))
    local unacknowledged = { to(0, "FA"), back(10, "FA"), to(2010, "A") }
    assert.same({ "2 fin 0 forced", "1 open -1 end of input" }, records("fin2", unacknowledged, { linger = 2 }))
    assert.same({ "3 fin 0 forced" }, records("fin2", unacknowledged, { linger = 3 }))
  end)

  it("takes a RST for the end, whatever comes then", function()
    local packets = { to(0, "S"), back(10, "SA"), to(20, "PA"), back(30, "R"), to(40, "PA"), to(50, "PA") }
    assert.same({ "4 rst 1 forced", "2 open -1 end of input" }, records("rst", packets))
    assert.same({ "4 rst 1 forced", "2 open -1 end of input" }, records("fin2", packets))
    assert.same({ "6 rst 1 forced" }, records("fin2+linger", packets))
  end)

  it("takes the end that came first, and who was first", function()
    for _, policy in ipairs(POLICIES) do
      assert.same({ "3 rst 0 forced" }, records(policy, { to(0, "A"), to(10, "FA"), back(20, "RA") }))
      assert.same({ "3 fin 0 forced" }, records(policy, { to(0, "FA"), back(10, "FA"), to(20, "R") }))
      assert.same({ "2 rst 0 forced" }, records(policy, { back(0, "A"), back(10, "FRA") }))
    end
    assert.same({ "4 rst 0 forced" }, records("fin2+linger", { to(0, "R"), back(10, "FA"), to(20, "FA"),
      back(30, "R") }))
  end)

  it("closes connections whose beginning was not captured", function()
    for _, policy in ipairs { "fin2", "fin2+linger" } do
      assert.same({ "4 fin 1 forced" }, records(policy, { to(0, "PA"), back(10, "FA"), to(20, "FA"), back(30, "A") }))
      assert.same({ "3 fin 0 forced" }, records(policy, { to(0, "FA"), back(10, "FA"), to(20, "A") }))
    end
    assert.same({ "1 rst 0 forced" }, records("rst", { to(0, "R") }))
  end)

  it("counts from the first packet's side, also where that is a SYN-ACK", function()
    local packets = { back(0, "SA"), to(1, "A"), to(10, "FA"), back(20, "FA"), to(30, "A") }
    assert.same({ "5 fin 1 forced" }, records("fin2", packets))
    assert.same({ "5 fin 1 forced" }, records("fin2+linger", packets))
  end)

  it("forgets a FIN with the record that a timeout cut", function()
    local packets = { to(0, "FA"), back(900, "A"), back(1000, "FA"), to(1010, "A") }
    assert.same({ "2 half-closed 0 active", "2 half-closed 0 end of input" },
      records("fin2+linger", packets, { active_timeout = 1 }))
  end)

  it("takes simultaneous FINs, after which fin2 has one acknowledgement too many", function()
    local packets = { to(0, "FA"), back(1, "FA"), to(10, "A"), back(11, "A") }
    assert.same({ "3 fin 0 forced", "1 open -1 end of input" }, records("fin2", packets))
    assert.same({ "4 fin 0 forced" }, records("fin2+linger", packets))
  end)

  it("says nothing of other protocols, nor of flags that were not captured", function()
    assert.same({ "2  -1 end of input" }, records(nil, { meter.udp(0, 1000), meter.back(10, 1000) }))
    local cut = to(0, "R")
    cut.size, cut.bytes = #cut.bytes, cut.bytes:sub(1, 14 + 20 + 8) -- ports, but no flags
    assert.same({ "2 open -1 end of input" }, records(nil, { cut, to(10, "A") }))
  end)

  it("lingers unless told otherwise, and knows three policies", function()
    assert.same({ "8 fin 0 forced" }, records(nil, late))
    assert.equal('plugin tcp_end: policy = "fin": expected "rst", "fin2" or "fin2+linger"',
      engine.refusal(TcpEnd, { policy = "fin" }))
  end)

  it("gives the same records for any number of meters, and needs no single one", function()
    assert.is_true(TcpEnd.independent)
    local function rows(n)
      return engine.script([[
        local nf = require "nfengine"
        nf.streamer({ udps = require "plugins.tcp_end", n_dissections = 0, columns = { "*", "end_reason" } }):write()
      ]], "-q", "--n-meters=" .. n, "samples/closing.pcap", "samples/web.pcap")
    end
    local one = rows(1)
    assert.same({ 0, "" }, { one.status, one.err })
    for n = 2, 3 do assert.equal(one.out, rows(n).out) end
  end)
end)
