-- plugins/cic_activity.lua: bulks, active and idle times by hand.

local engine = require "spec.support.engine"
local meter = require "spec.support.meter"
local CicActivity = require "plugins.cic_activity"

local function to(at, size) return meter.udp(at, 1000, ("x"):rep(size)) end
local function back(at, size) return meter.back(at, 1000, ("x"):rep(size)) end

-- Values of the only flow's columns without their "cic_".
local function picked(packets, names, parameters, options)
  local given = { udps = CicActivity(options), packets = packets, time_unit = "us" }
  for name, value in pairs(parameters or {}) do given[name] = value end
  local flows, values = engine.flows(given), {}
  assert.equal(1, #flows)
  for name in names:gmatch "%S+" do values[#values + 1] = flows[1].udps["cic_" .. name] end
  return values
end

local FWD = "fwd_bytes_bulk_avg fwd_packet_bulk_avg fwd_bulk_rate_avg"
local BWD = "bwd_bytes_bulk_avg bwd_packet_bulk_avg bwd_bulk_rate_avg"
local ACTIVE, IDLE = "active_mean active_std active_max active_min", "idle_mean idle_std idle_max idle_min"

describe("cic_activity", function()
  after_each(engine.cleanup)

  it("has zeros where there is neither a bulk nor an idle time", function()
    for _, packets in ipairs { { to(0, 9) }, { to(0, 0) }, { to(0, 9), back(1, 9), to(2, 9), back(5000, 9) } } do
      for _, names in ipairs { FWD, BWD } do assert.same({ 0, 0, 0 }, picked(packets, names)) end
      for _, names in ipairs { ACTIVE, IDLE } do assert.same({ 0, 0, 0, 0 }, picked(packets, names)) end
    end
  end)

  it("takes four packets with payload for a bulk, not three", function()
    local packets = { to(0, 10), to(100, 20), to(200, 30) }
    assert.same({ 0, 0, 0 }, picked(packets, FWD))
    packets[4] = to(500, 40)
    assert.same({ 100, 4, 200 }, picked(packets, FWD)) -- 100 bytes in half a second
    packets[5] = to(800, 60)
    assert.same({ 160, 5, 200 }, picked(packets, FWD))
    assert.same({ 0, 0, 0 }, picked(packets, BWD))
  end)

  it("does not end a bulk at packets without payload", function()
    assert.same({ 100, 4, 200 }, picked({ to(0, 10), back(10, 0), to(100, 20), to(150, 0), to(200, 30), back(210, 0),
      to(500, 40) }, FWD))
  end)

  it("ends it at payload of the other side", function()
    assert.same({ 0, 0, 0 }, picked({ to(0, 10), to(100, 10), back(150, 1), to(200, 10), to(300, 10) }, FWD))
    -- In the same microsecond as well.
    assert.same({ 0, 0, 0 }, picked({ to(0, 10), back(0, 1), to(100, 10), to(200, 10), to(300, 10) }, FWD))
  end)

  it("ends it at a gap of more than a second", function()
    assert.same({ 40, 4, 40 / 1.6 }, picked({ to(0, 10), to(100, 10), to(1100, 10), to(1600, 10) }, FWD))
    assert.same({ 0, 0, 0 }, picked({ to(0, 10), to(100, 10), to(1100.001, 10), to(1600, 10) }, FWD))
  end)

  it("has means of several bulks, of each direction, and one rate", function()
    local packets = {}
    for i = 0, 3 do packets[#packets + 1] = to(i * 100, 10) end           -- 40 bytes, 4 packets, 300 ms
    for i = 0, 3 do packets[#packets + 1] = back(400 + i * 200, 50) end   -- 200 bytes, 4 packets, 600 ms
    for i = 0, 5 do packets[#packets + 1] = to(1100 + i * 40, 20) end     -- 120 bytes, 6 packets, 200 ms
    assert.same({ 80, 5, 320 }, picked(packets, FWD))
    assert.same({ 200, 4, 200 / 0.6 }, picked(packets, BWD))
  end)

  it("has no rate of bulks that take no time", function()
    assert.same({ 40, 4, 0 }, picked({ to(5, 10), to(5, 10), to(5, 10), to(5, 10) }, FWD))
  end)

  it("takes more than five seconds without a packet for an idle time, and what was before for an active one", function()
    -- Active from 0 to 2, idle to 8, active to 9, idle to 17, and then no idle time any more.
    local packets = { to(0, 1), to(2000, 0), back(8000, 1), to(9000, 0), back(17000, 1), to(18000, 1) }
    -- Each of the two is 500000 off the mean, and 1000000.
    assert.same({ 1500000, math.sqrt(2 * 500000 ^ 2), 2000000, 1000000 }, picked(packets, ACTIVE))
    assert.same({ 7000000, math.sqrt(2 * 1000000 ^ 2), 8000000, 6000000 }, picked(packets, IDLE))
  end)

  it("needs more than five seconds, or as many as told", function()
    local packets = { to(0, 1), to(1000, 1), to(6000, 1) }
    assert.same({ 0, 0, 0, 0 }, picked(packets, IDLE))
    assert.same({ 5000000, 0, 5000000, 5000000 }, picked(packets, IDLE, nil, { activity_timeout = 4.999999 }))
    packets[3] = to(6000.001, 1)
    assert.same({ 5000001, 0, 5000001, 5000001 }, picked(packets, IDLE))
    assert.same({ 1000000, 0, 1000000, 1000000 }, picked(packets, ACTIVE))
  end)

  it("has no active time of a single packet, nor times since 1970", function()
    local packets = { to(0, 1), to(6000, 1), to(12000, 1) }
    assert.same({ 0, 0, 0, 0 }, picked(packets, ACTIVE))
    assert.same({ 6000000, 0, 6000000, 6000000 }, picked(packets, IDLE))
    packets = { to(0, 1), to(6000, 1), to(7000, 1), to(13000, 1) }
    assert.same({ 1000000, 0, 1000000, 1000000 }, picked(packets, ACTIVE))
  end)

  it("has us in every unit", function()
    local packets = { to(0, 10), to(500, 10), to(1000, 10), to(1500, 10), to(7500, 10), to(8500, 10), to(15500, 10),
      to(16000, 10), to(24000, 10) }
    for _, unit in ipairs { "ms", "us", "ns" } do
      assert.same({ 40, 4, 40 / 1.5 }, picked(packets, FWD, { time_unit = unit }))
      assert.same({ 1000000, 500000, 1500000, 500000 }, picked(packets, ACTIVE, { time_unit = unit }))
      assert.same({ 7000000, 1000000, 8000000, 6000000 }, picked(packets, IDLE, { time_unit = unit }))
    end
  end)

  it("says what its columns are in CICFlowMeter", function()
    for _, column in ipairs(CicActivity.columns) do
      local header = column.doc:match "^(.-): "
      assert.equal(column.name, "cic_" .. header:lower():gsub("%A+", "_"))
    end
  end)

  it("refuses times below 0", function()
    assert.equal("plugin cic_activity: activity_timeout = -1: expected a number of at least 0",
      engine.refusal(CicActivity, { activity_timeout = -1 }))
  end)
end)
