-- plugins/quantiles.lua: exact while few, the paper's example, and that estimates are near.

local engine = require "spec.support.engine"
local meter = require "spec.support.meter"
local random = require "spec.support.random"
local Quantiles = require "plugins.quantiles"
local worker = require "nfengine.worker"

local HEADERS = 42

-- Packets of these sizes on the wire, these times in ms apart; either list may be absent.
local function packets_of(sizes, times)
  local packets, at = {}, 0
  for i = 1, sizes and #sizes or #times + 1 do
    if times and i > 1 then at = at + times[i - 1] end
    packets[i] = meter[i % 3 == 0 and "back" or "udp"](at, 1000)
    packets[i].size = sizes and sizes[i] or nil
  end
  return packets
end

local function udps_of(packets, options, parameters)
  local given = { packets = packets, udps = Quantiles(options) }
  for name, value in pairs(parameters or {}) do given[name] = value end
  local flows = engine.flows(given)
  assert.equal(1, #flows)
  return flows[1].udps
end

local function of_sizes(sizes, options) return udps_of(packets_of(sizes), options).quantiles_ps:table() end

-- By sorting: at 1 + (n - 1) p, between two values.
local function by_sorting(values, probability)
  local sorted = { unpack(values) }
  table.sort(sorted)
  local place = 1 + (#sorted - 1) * probability
  local low = math.floor(place)
  return sorted[low] + (place - low) * ((sorted[low + 1] or sorted[low]) - sorted[low])
end

-- The twenty observations of Jain and Chlamtac's example, times 100, and the heights of its five markers after them.
local PAPER = { 2, 15, 74, 339, 83, 2237, 1015, 1543, 3862, 1592, 3460, 1028, 147, 40, 5, 1139, 27, 42, 9, 1137 }
local PAPER_HEIGHTS, PAPER_PLACES = { "0.02", "0.49", "4.44", "17.20", "38.62" }, { 1, 6, 10, 16, 20 }

local function in_hundreds(heights, offset)
  local list = {}
  for i, height in ipairs(heights:table()) do list[i] = ("%.2f"):format((height - offset) / 100) end
  return list
end

describe("quantiles", function()
  after_each(engine.cleanup)

  it("of few values are exact", function()
    assert.same({ 100, 100, 100, 100 }, of_sizes { 100 })
    assert.same({ 125, 150, 175, 190 }, of_sizes { 200, 100 })
    -- 60 70 80 90 100: places 2, 3, 4 and 4.6
    assert.same({ 70, 80, 90, 96 }, of_sizes { 100, 60, 90, 70, 80 })
    -- 60 60 60 200: places 1.75, 2.5 and 3.25
    assert.same({ 60, 60, 95 }, of_sizes({ 60, 200, 60, 60 }, { probabilities = { "0.25", "0.5", "0.75" } }))
  end)

  it("of times are those between packets, one fewer", function()
    local udps = udps_of(packets_of(nil, { 40, 10, 30, 20, 0 }))
    assert.same({ 10, 20, 30, 36 }, udps.quantiles_piat:table())
    assert.same({ 0, 0, 0, 0 }, udps_of(packets_of { 100 }).quantiles_piat:table())
    assert.same({ 7, 7, 7, 7 }, udps_of(packets_of(nil, { 7 })).quantiles_piat:table())
    assert.same({ 7000, 7000, 7000, 7000 },
      udps_of(packets_of(nil, { 7 }), nil, { time_unit = "us" }).quantiles_piat:table())
  end)

  it("are exact up to as many values as are kept", function()
    for _, keep in ipairs { 11, 32 } do
      for n = 1, keep do
        local sizes = {}
        for i = 1, n do sizes[i] = 60 + i * 7919 % 1000 end
        local expected = {}
        for k, probability in ipairs { 0.25, 0.5, 0.75, 0.9 } do expected[k] = by_sorting(sizes, probability) end
        assert.same(expected, of_sizes(sizes, { keep = keep }))
      end
    end
  end)

  it("move markers as the paper does", function()
    local sizes = {}
    for i, value in ipairs(PAPER) do sizes[i] = 100 + value end
    local udps = udps_of(packets_of(sizes, PAPER), { probabilities = { "0.5" }, keep = 5 })
    assert.same(PAPER_HEIGHTS, in_hundreds(udps.quantiles_ps_heights, 100))
    assert.same(PAPER_PLACES, udps.quantiles_ps_places:table())
    -- Read off halfway between the tenth and the eleventh of 20, the tenth at 4.4406 and the sixteenth at 17.2039.
    assert.equal("5.504", ("%.3f"):format((udps.quantiles_ps[1] - 100) / 100))
  end)

  it("do the same with times, whether or not the last of them came in one lot", function()
    for more = 0, 4 do
      local times = { unpack(PAPER) }
      for _ = 1, more do times[#times + 1] = 444 end
      local udps = udps_of(packets_of(nil, times), { probabilities = { "0.5" }, keep = 5 })
      if more == 0 then
        assert.same(PAPER_HEIGHTS, in_hundreds(udps.quantiles_piat_heights, 0))
        assert.same(PAPER_PLACES, udps.quantiles_piat_places:table())
      end
      assert.equal(20 + more, udps.quantiles_piat_places[5])
    end
  end)

  it("begin with markers at the ranks of what was kept", function()
    local sizes = {}
    for i = 1, 32 do sizes[i] = 60 + 10 * i end -- rank i is 60 + 10 i
    -- Shares 0 1/8 1/4 3/8 1/2 5/8 3/4 33/40 9/10 19/20 1 of 31, and 1, to the nearest.
    local places = { 1, 5, 9, 13, 17, 20, 24, 27, 29, 30, 32 }
    local udps = udps_of(packets_of(sizes))
    assert.same(places, udps.quantiles_ps_places:table())
    for i, place in ipairs(places) do assert.equal(60 + 10 * place, udps.quantiles_ps_heights[i]) end
  end)

  it("have each marker on a rank of its own, however extreme the shares", function()
    local sizes = {}
    for i = 1, 12 do sizes[i] = 60 + i end
    local low = udps_of(packets_of(sizes), { probabilities = { "0.001", "0.002", "0.003" }, keep = 12 })
    assert.same({ 1, 2, 3, 4, 5, 6, 7, 8, 12 }, low.quantiles_ps_places:table())
    local high = udps_of(packets_of(sizes), { probabilities = { "0.997", "0.998", "0.999" }, keep = 12 })
    assert.same({ 1, 5, 6, 7, 8, 9, 10, 11, 12 }, high.quantiles_ps_places:table())
  end)

  it("are estimated closely where values are many", function()
    random.trial(function(below)
      local sizes = {}
      for i = 1, 3000 do sizes[i] = 60 + below(1400) end
      local estimates = of_sizes(sizes)
      for k, probability in ipairs { 0.25, 0.5, 0.75, 0.9 } do
        local exact = by_sorting(sizes, probability)
        assert.is_true(math.abs(estimates[k] - exact) < 28, ("%g: %g, not %g"):format(probability, estimates[k], exact))
      end
    end)
  end)

  it("are ascending and in the values' range, whatever comes", function()
    for _ = 1, 60 do
      random.trial(function(below)
        local sizes, kinds = {}, below(6) + 1
        for i = 1, 33 + below(200) do sizes[i] = 60 + math.floor(1400 * (below(kinds) / kinds) ^ 3) end
        local estimates = of_sizes(sizes, { probabilities = { "0.01", "0.5", "0.95", "0.999" }, keep = 11 })
        local before = math.min(unpack(sizes))
        for _, estimate in ipairs(estimates) do
          assert.is_true(estimate >= before)
          before = estimate
        end
        assert.is_true(before <= math.max(unpack(sizes)))
      end)
    end
  end)

  it("take sizes from the wire, not from what was captured", function()
    local packet = meter.udp(0, 1000, ("x"):rep(100))
    packet.size, packet.bytes = #packet.bytes, packet.bytes:sub(1, HEADERS)
    assert.same({ 142 }, udps_of({ packet }, { probabilities = { "0.5" } }).quantiles_ps:table())
  end)

  it("are those asked for", function()
    local sizes = {}
    for i = 0, 20 do sizes[i + 1] = 100 + i end
    assert.same({ 100 + 0.1 * 20, 119 }, of_sizes(sizes, { probabilities = { "0.1", "0.95" } }))
    assert.same({ 110 }, of_sizes(sizes, { probabilities = { "0.5" } }))
  end)

  it("leave the number of meters open", function()
    assert.is_false(worker.wants_one { Quantiles {} })
  end)

  it("refuse what is no list of them", function()
    local expected = "expected numbers between 0 and 1, each larger than the one before"
    for _, case in ipairs {
      { { "0" }, "0" }, { { "1" }, "1" }, { { "0.5", "0.5" }, "0.5" }, { { "0.9", "0.1" }, "0.1" },
      { { "half" }, "half" }, { { "0.5", "nan" }, "nan" },
    } do
      assert.matches(('probabilities: "%s": %s'):format(case[2], expected),
        engine.refusal(Quantiles, { probabilities = case[1] }), 1, true)
    end
    assert.matches("plugin quantiles: columns: probabilities: expected at least one",
      engine.refusal(Quantiles, { probabilities = {} }), 1, true)
  end)

  it("refuse to keep fewer values than there are markers", function()
    assert.matches("plugin quantiles: columns: keep = 10: expected at least 11 for 4 quantiles",
      engine.refusal(Quantiles, { keep = 10 }), 1, true)
    for _, keep in ipairs { 4, 257 } do
      assert.matches(("plugin quantiles: keep = %d: expected an integer from 5 to 256"):format(keep),
        engine.refusal(Quantiles, { keep = keep }), 1, true)
    end
  end)
end)
