-- plugins/bursts.lua: what is a burst, which are told, and what is counted of all of them.

local engine = require "spec.support.engine"
local meter = require "spec.support.meter"
local P = require "nfengine.testing.packet"
local Bursts = require "plugins.bursts"
local worker = require "nfengine.worker"

local function flows_of(packets, options, parameters)
  local given = { packets = packets, udps = Bursts(options) }
  for name, value in pairs(parameters or {}) do given[name] = value end
  return engine.flows(given)
end

-- The bursts of a direction that are told, each as packets, bytes, start, stop; behind them all places are 0.
local function told(flow, way)
  local udps, prefix, bursts = flow.udps, "bursts_" .. way .. "_", {}
  local packets, bytes = udps[prefix .. "packets"], udps[prefix .. "bytes"]
  local starts, stops = udps[prefix .. "starts"], udps[prefix .. "stops"]
  for i = 1, 15 do
    local burst = { packets[i], bytes[i], starts[i], stops[i] }
    if i <= udps[prefix .. "count"] then bursts[i] = burst else assert.same({ 0, 0, 0, 0 }, burst) end
  end
  return bursts
end

-- Count, mean and most packets, mean and most bytes.
local function summed(flow, way)
  local values = {}
  for i, name in ipairs { "count", "mean_packets", "max_packets", "mean_bytes", "max_bytes" } do
    values[i] = flow.udps["bursts_" .. way .. "_" .. name]
  end
  return values
end

local NOTHING = { 0, 0, 0, 0, 0 }

-- Datagrams there at these times, of 10, 20, 30 … bytes.
local function at(...)
  local packets = {}
  for i, time in ipairs { ... } do packets[i] = meter.udp(time, 1000, ("x"):rep(10 * i)) end
  return packets
end

describe("bursts", function()
  after_each(engine.cleanup)

  it("are three packets or more, none more than a second after the one before", function()
    local flow = flows_of(at(0, 1000, 2000, 3001, 4001, 5100, 5101, 5102, 6102))[1]
    -- 10 + 20 + 30 bytes; 40 + 50 are too few; 60 + 70 + 80 + 90
    assert.same({ { 3, 60, 0, 2000 }, { 4, 300, 5100, 6102 } }, told(flow, "src2dst"))
    assert.same({ 2, 3.5, 4, 180, 300 }, summed(flow, "src2dst"))
    assert.same(NOTHING, summed(flow, "dst2src"))
    assert.same({}, told(flow, "dst2src"))
  end)

  it("of most packets need not be that of most bytes", function()
    local packets = {}
    for i = 1, 3 do packets[i] = meter.udp(i, 1000, ("x"):rep(100)) end
    for i = 4, 8 do packets[i] = meter.udp(2000 + i, 1000, "x") end
    assert.same({ 2, 4, 5, 152.5, 300 }, summed(flows_of(packets)[1], "src2dst"))
  end)

  it("are of one direction, which the other does not interrupt", function()
    local flow = flows_of {
      meter.udp(0, 1000, "12345"), meter.back(100, 1000, "1"), meter.udp(200, 1000, "12345"),
      meter.back(300, 1000, "12"), meter.udp(400, 1000, "12345"), meter.back(500, 1000, "123"),
      meter.back(600, 1000, "1234"),
    }[1]
    assert.same({ { 3, 15, 0, 400 } }, told(flow, "src2dst"))
    assert.same({ { 4, 10, 100, 600 } }, told(flow, "dst2src"))
    assert.same({ 1, 3, 3, 15, 15 }, summed(flow, "src2dst"))
    assert.same({ 1, 4, 4, 10, 10 }, summed(flow, "dst2src"))
  end)

  it("pass over packets without payload, which bridge no gap", function()
    local function tcp(time, payload) return meter.frame(time, P.eth {} .. P.ipv4 {} .. P.tcp {} .. payload) end
    local flow = flows_of {
      tcp(0, ""), tcp(10, "ab"), tcp(20, ""), tcp(30, "cd"), tcp(40, "ef"), tcp(700, ""), tcp(1300, "gh"),
      tcp(1301, ""), tcp(1302, ""),
    }[1]
    assert.same({ { 3, 6, 10, 40 } }, told(flow, "src2dst"))
    assert.same({ 1, 3, 3, 6, 6 }, summed(flow, "src2dst"))
  end)

  it("are told up to the fifteenth, and counted beyond", function()
    local packets, expected = {}, {}
    for burst = 1, 17 do
      local start = (burst - 1) * 2000
      for i = 0, burst + 1 do packets[#packets + 1] = meter.udp(start + i, 1000, "xy") end
      if burst <= 15 then expected[burst] = { burst + 2, 2 * burst + 4, start, start + burst + 1 } end
    end
    local flow = flows_of(packets)[1]
    assert.equal(17, flow.udps.bursts_src2dst_count)
    flow.udps.bursts_src2dst_count = 15 -- as told() looks at so many
    assert.same(expected, told(flow, "src2dst"))
    -- 3 to 19 packets are 11 in the mean
    assert.same({ 15, 11, 19, 22, 38 }, summed(flow, "src2dst"))
  end)

  it("need as many packets as asked for", function()
    local function packets() return at(0, 1500, 1600, 4000, 4001, 4002) end
    assert.same({ { 1, 10, 0, 0 }, { 2, 50, 1500, 1600 }, { 3, 150, 4000, 4002 } },
      told(flows_of(packets(), { min_packets = 1 })[1], "src2dst"))
    assert.same({ { 2, 50, 1500, 1600 }, { 3, 150, 4000, 4002 } },
      told(flows_of(packets(), { min_packets = 2 })[1], "src2dst"))
    assert.same({}, told(flows_of(packets(), { min_packets = 4 })[1], "src2dst"))
  end)

  it("allow the gap that is asked for, in milliseconds whatever the run's unit", function()
    local function packets() return at(0, 20, 40, 61, 81, 101.5) end
    local function found(gap, unit)
      return told(flows_of(packets(), { max_gap_ms = gap }, { time_unit = unit })[1], "src2dst")
    end
    assert.same({ { 3, 60, 0, 40 }, { 3, 150, 61, 101 } }, found(20, "ms"))
    assert.same({ { 3, 60, 0, 40000 } }, found(20, "us"))
    assert.same({ { 3, 60, 0, 40000000 }, { 3, 150, 61000000, 101500000 } }, found(20.5, "ns"))
    assert.same({ { 6, 210, 0, 101500 } }, found(21, "us"))
    assert.same({}, found(0, "us"))
  end)

  it("of one tick begin and stop at once", function()
    assert.same({ { 3, 60, 0, 0 } }, told(flows_of(at(0, 0, 0), { max_gap_ms = 0 })[1], "src2dst"))
  end)

  it("of a flow of one packet are none", function()
    local flow = flows_of(at(0))[1]
    assert.same(NOTHING, summed(flow, "src2dst"))
    assert.same(NOTHING, summed(flow, "dst2src"))
  end)

  it("begin long after the flow's first packet", function()
    local packets = meter.joined({ meter.back(0, 1000) }, meter.every(1, 90000, 90002))
    local flow = flows_of(packets)[1]
    assert.same({ { 3, 3, 90000, 90002 } }, told(flow, "dst2src")) -- who sent the first packet is the source
  end)

  it("end where the flow is cut", function()
    local flows = flows_of(at(0, 600, 1200, 1800, 2400, 3000), nil, { active_timeout = 1 })
    assert.equal(3, #flows) -- of two packets each: cut when the third comes
    for _, flow in ipairs(flows) do assert.same(NOTHING, summed(flow, "src2dst")) end
  end)

  it("have the bytes that headers say", function()
    local packets = at(0, 1, 2)
    for _, packet in ipairs(packets) do packet.size, packet.bytes = #packet.bytes, packet.bytes:sub(1, 42) end
    assert.same({ { 3, 60, 0, 2 } }, told(flows_of(packets)[1], "src2dst"))
  end)

  it("leave the number of meters open", function()
    assert.is_false(worker.wants_one { Bursts {} })
  end)

  it("refuse options that make no sense", function()
    for _, case in ipairs {
      { "min_packets", 0, "an integer of at least 1" }, { "min_packets", 1.5, "an integer of at least 1" },
      { "max_gap_ms", -1, "a number of at least 0" },
    } do
      assert.matches(("plugin bursts: %s = %s: expected %s"):format(case[1], case[2], case[3]),
        engine.refusal(Bursts, { [case[1]] = case[2] }), 1, true)
    end
  end)
end)
