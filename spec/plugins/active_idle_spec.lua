-- plugins/active_idle.lua: periods worked out by hand.

local engine = require "spec.support.engine"
local feature = require "spec.support.feature"
local meter = require "spec.support.meter"
local ActiveIdle = require "plugins.active_idle"

-- One flow's packets at these milliseconds, there and back in turns.
local function packets_at(...)
  local packets = {}
  for i, at in ipairs { ... } do packets[i] = (i % 2 == 1 and meter.udp or meter.back)(at, 1000) end
  return packets
end

-- What the plugin says of the first flow: { count, min, mean, max, std } of active periods, of idle ones.
local function periods(packets, options, parameters)
  local given = { packets = packets, udps = ActiveIdle(options or {}) }
  for name, value in pairs(parameters or {}) do given[name] = value end
  local flow = engine.flows(given)[1]
  local words = "count min mean max std"
  return { feature.values(flow, "active", words), feature.values(flow, "idle", words) }
end

local NONE = { 0, 0, 0, 0, 0 }

-- Active for 1000 and 2000 ms, one packet alone, and 3000 ms; idle for 6000, 8000 and 10000 ms between. Deviations from
-- the means are 1000 and 2000, each once above and once below: the roots of 2 * 1000^2 / 2 and 2 * 2000^2 / 2.
local CONVERSATION = packets_at(0, 400, 1000, 7000, 9000, 17000, 27000, 28000, 30000)

describe("active_idle", function()
  after_each(engine.cleanup)

  feature.tests("active_idle", "web.pcap", CONVERSATION)

  it("has active and idle periods, the last one closed by the flow's end", function()
    assert.same({ { 3, 1000, 2000, 3000, 1000 }, { 3, 6000, 8000, 10000, 2000 } }, periods(CONVERSATION))
  end)

  it("has the same in any unit of time, the threshold in ms", function()
    for unit, factor in pairs { us = 1e3, ns = 1e6 } do
      local function times(count, ...)
        local values = { count }
        for i, value in ipairs { ... } do values[i + 1] = value * factor end
        return values
      end
      assert.same({ times(3, 1000, 2000, 3000, 1000), times(3, 6000, 8000, 10000, 2000) },
        periods(CONVERSATION, {}, { time_unit = unit }))
    end
  end)

  it("is exact in ns, of which a time since 1970 is too large for a Lua number", function()
    local packets = packets_at(0, 0.000003, 5000.000004, 5000.000009)
    assert.same({ { 2, 3, 4, 5, 2 ^ 0.5 }, { 1, 5000000001, 5000000001, 5000000001, 0 } },
      periods(packets, {}, { time_unit = "ns" }))
  end)

  it("is idle only when more than the threshold passes", function()
    assert.same({ { 1, 5000, 5000, 5000, 0 }, NONE }, periods(packets_at(0, 5000)))
    assert.same({ NONE, { 1, 5001, 5001, 5001, 0 } }, periods(packets_at(0, 5001)))
    local us = { time_unit = "us" }
    assert.same({ { 1, 5000000, 5000000, 5000000, 0 }, NONE }, periods(packets_at(0, 5000), {}, us))
    assert.same({ NONE, { 1, 5000001, 5000001, 5000001, 0 } }, periods(packets_at(0, 5000.001), {}, us))
  end)

  it("takes another threshold", function()
    assert.same({ { 2, 0, 1, 2, 2 ^ 0.5 }, { 1, 11, 11, 11, 0 } },
      periods(packets_at(0, 0, 11, 13), { threshold_ms = 10 }))
    assert.same({ { 1, 0, 0, 0, 0 }, { 1, 1, 1, 1, 0 } }, periods(packets_at(0, 1, 1), { threshold_ms = 0 }))
    -- Half a millisecond is 500 us, and less than any tick of 1 ms.
    local half = { threshold_ms = 0.5 }
    assert.same({ 1, 501, 501, 501, 0 }, periods(packets_at(0, 0.5, 1.001), half, { time_unit = "us" })[2])
    assert.same({ 1, 1, 1, 1, 0 }, periods(packets_at(0, 0, 1), half)[2])
  end)

  it("has no period in a flow of one packet, and one of no length in a flow of two at once", function()
    assert.same({ NONE, NONE }, periods(packets_at(7)))
    assert.same({ { 1, 0, 0, 0, 0 }, NONE }, periods(packets_at(7, 7)))
  end)

  it("has idle periods alone between packets that are each alone", function()
    assert.same({ NONE, { 2, 6000, 6500, 7000, 500000 ^ 0.5 } }, periods(packets_at(0, 7000, 13000)))
  end)

  it("keeps the shortest where it came later, and the longest where it came first", function()
    local found = periods(packets_at(0, 300, 10300, 10400, 16400, 16600))
    assert.same({ 3, 100, 200, 300, 100 }, found[1])
    assert.same({ 2, 6000, 8000, 10000, 8000000 ^ 0.5 }, found[2])
  end)

  it("begins anew where a flow is cut", function()
    local flows = engine.flows { packets = packets_at(0, 1000, 8000, 9000, 11000, 11500), udps = ActiveIdle,
      active_timeout = 10 }
    assert.same({ 1000, 1, 500, 0 }, {
      flows[1].udps.active_max, flows[1].udps.idle_count, flows[2].udps.active_max, flows[2].udps.idle_count,
    })
  end)

  it("has no idle period where flows end before the threshold", function()
    local flows = engine.flows { packets = packets_at(0, 1000, 7000), udps = ActiveIdle, idle_timeout = 5 }
    assert.same({ 0, 0 }, { flows[1].udps.idle_count, flows[2].udps.idle_count })
    assert.equal(1000, flows[1].udps.active_max)
  end)

  it("goes by each run's unit, with one instance", function()
    local instance = ActiveIdle { threshold_ms = 10 }
    for _, unit in ipairs { "ms", "us", "ms" } do
      local flow = engine.flows({ packets = packets_at(0, 9, 20), udps = instance, time_unit = unit })[1]
      assert.same({ 1, 1 }, { flow.udps.active_count, flow.udps.idle_count })
    end
  end)

  it("refuses a threshold that is none", function()
    assert.equal("plugin active_idle: threshold_ms = -1: expected a number of at least 0",
      engine.refusal(ActiveIdle, { threshold_ms = -1 }))
    assert.equal('plugin active_idle: threshold_ms = "5": expected a number of at least 0',
      engine.refusal(ActiveIdle, { threshold_ms = "5" }))
  end)
end)
