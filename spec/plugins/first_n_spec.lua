-- plugins/first_n.lua on flows of a few datagrams. A datagram of 58 bytes of payload is a frame of 100.

local engine = require "spec.support.engine"
local meter = require "spec.support.meter"
local FirstN = require "plugins.first_n"

local PAYLOAD = ("x"):rep(58)

local function to(at, payload) return meter.udp(at, 1000, payload or PAYLOAD) end
local function back(at, payload) return meter.back(at, 1000, payload or PAYLOAD) end

-- "packets bytes duration limit reason" of each record.
local function records(options, packets, parameters)
  local given = { udps = FirstN(options), packets = packets }
  for name, value in pairs(parameters or {}) do given[name] = value end
  local list = {}
  for i, flow in ipairs(engine.flows(given)) do
    list[i] = ("%d %d %d %s %s"):format(flow.bidirectional_packets, flow.bidirectional_bytes,
      flow["bidirectional_duration_" .. (given.time_unit or "ms")], flow.udps.first_n_limit, flow.end_reason)
    assert.equal(options.mode ~= "cut" and flow.udps.first_n_limit ~= "", flow.is_frozen)
  end
  return list
end

local five = { to(0), back(10), to(20), back(30), to(40) }

describe("first_n", function()
  after_each(engine.cleanup)

  it("keeps exactly so many packets of both directions", function()
    assert.same({ "3 300 20 packets end of input" }, records({ packets = 3 }, five))
    assert.same({ "5 500 40 packets end of input" }, records({ packets = 5 }, five))
    assert.same({ "5 500 40  end of input" }, records({ packets = 6 }, five))
    assert.same({ "1 100 0 packets end of input" }, records({ packets = 1 }, five))
  end)

  it("cuts there in the other mode, again and again", function()
    assert.same({ "3 300 20 packets forced", "2 200 10  end of input" }, records({ packets = 3, mode = "cut" }, five))
    assert.same({ "5 500 40 packets forced" }, records({ packets = 5, mode = "cut" }, five))
    assert.same({ "1 100 0 packets forced", "1 100 0 packets forced", "1 100 0 packets forced" },
      records({ packets = 1, mode = "cut" }, { to(0), back(10), to(20) }))
  end)

  it("keeps the packet with which the bytes are there", function()
    assert.same({ "3 300 20 bytes end of input" }, records({ bytes = 201 }, five))
    assert.same({ "3 300 20 bytes end of input" }, records({ bytes = 300 }, five))
    assert.same({ "1 100 0 bytes end of input" }, records({ bytes = 100 }, five))
    assert.same({ "5 500 40  end of input" }, records({ bytes = 501 }, five))
    assert.same({ "2 200 10 bytes forced", "2 200 10 bytes forced", "1 100 0  end of input" },
      records({ bytes = 150, mode = "cut" }, five))
  end)

  it("counts bytes as the run's accounting mode does", function()
    assert.same({ "4 232 30 bytes end of input" }, records({ bytes = 200 }, five, { accounting_mode = 3 }))
  end)

  it("keeps the first packet that is so late", function()
    assert.same({ "3 300 20 time end of input" }, records({ time_ms = 20 }, five))
    assert.same({ "4 400 30 time end of input" }, records({ time_ms = 20.5 }, five))
    assert.same({ "5 500 40  end of input" }, records({ time_ms = 41 }, five))
    assert.same({ "2 200 7000 time forced", "1 100 0  end of input" },
      records({ time_ms = 20, mode = "cut" }, { to(0), to(7000), to(7010) }))
  end)

  it("knows milliseconds in every unit of the run", function()
    local packets = { to(0), to(0.25), to(0.5), to(0.75) }
    assert.same({ "3 300 500 time end of input" }, records({ time_ms = 0.5 }, packets, { time_unit = "us" }))
    assert.same({ "4 400 750 time end of input" }, records({ time_ms = 0.501 }, packets, { time_unit = "us" }))
    -- A number of Lua holds times in ns since 1970 to some hundreds only, durations exactly.
    assert.same({ "3 300 500000 time end of input" }, records({ time_ms = 0.5 }, packets, { time_unit = "ns" }))
    assert.same({ "4 400 750000 time end of input" }, records({ time_ms = 0.500001 }, packets, { time_unit = "ns" }))
  end)

  it("takes the limit that is reached first", function()
    local all = { packets = 4, bytes = 300, time_ms = 20 }
    assert.same({ "3 300 20 bytes end of input" }, records(all, five))
    assert.same({ "2 200 25 time end of input" }, records(all, { to(0), back(25), to(30) }))
    assert.same({ "4 172 3 packets end of input" }, records(all, { to(0, "x"), to(1, "x"), to(2, "x"), to(3, "x"),
      to(4, "x") }))
  end)

  it("limits nothing where no limit is set", function()
    local thirty = meter.every(1, 0, 29)
    assert.same({ "30 1290 29  end of input" }, records({ packets = 0 }, thirty))
    assert.same({ "20 860 19 packets end of input" }, records({}, thirty))
  end)

  it("ends frozen flows by their timeouts, and begins anew", function()
    assert.same({ "2 200 10 packets idle", "1 100 0  end of input" },
      records({ packets = 2 }, { to(0), back(10), to(900), to(2000) }, { idle_timeout = 1 }))
  end)

  it("keeps the packets of each flow, for any number of meters", function()
    local function rows(n)
      return engine.script([[
        local nf = require "nfengine"
        nf.streamer({ udps = require "plugins.first_n" { packets = 5 }, n_dissections = 0 }):write() ]],
        "-q", "--n-meters=" .. n, "samples/web.pcap")
    end
    local one = rows(1)
    assert.same({ 0, "" }, { one.status, one.err })
    for n = 2, 3 do assert.equal(one.out, rows(n).out) end
    assert.is_true(FirstN.independent)
  end)

  it("refuses limits below 0, parts of packets and other modes", function()
    assert.equal("plugin first_n: packets = -1: expected an integer of at least 0",
      engine.refusal(FirstN, { packets = -1 }))
    assert.equal("plugin first_n: packets = 1.5: expected an integer of at least 0",
      engine.refusal(FirstN, { packets = 1.5 }))
    assert.equal("plugin first_n: bytes = -1: expected an integer of at least 0",
      engine.refusal(FirstN, { bytes = -1 }))
    assert.equal("plugin first_n: time_ms = -1: expected a number of at least 0",
      engine.refusal(FirstN, { time_ms = -1 }))
    assert.equal('plugin first_n: mode = "stop": expected "freeze" or "cut"', engine.refusal(FirstN, { mode = "stop" }))
  end)
end)
