-- plugins/quantiles.lua: exact while few, and a fair sample beyond.

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

  it("are exact up to as many packets as are kept", function()
    for _, keep in ipairs { 2, 11, 64 } do
      for n = 1, keep do
        local sizes = {}
        for i = 1, n do sizes[i] = 60 + i * 7919 % 1000 end
        local expected = {}
        for k, probability in ipairs { 0.25, 0.5, 0.75, 0.9 } do expected[k] = by_sorting(sizes, probability) end
        assert.same(expected, of_sizes(sizes, { keep = keep }))
      end
    end
  end)

  -- Sizes that tell packets apart: the n-th has 60 + n bytes, and came after n ms.
  local function sample(count, keep)
    local sizes, times = {}, {}
    for n = 1, count do sizes[n], times[n] = 60 + n, n + 1 end
    times[count] = nil
    local packets = packets_of(sizes, times)
    return udps_of(packets, { keep = keep }, { idle_timeout = 1e6, active_timeout = 1e6 })
  end

  it("of longer flows are those of as many packets, each with its size and the time before it", function()
    for _, count in ipairs { 11, 12, 30, 300 } do
      local udps, seen = sample(count, 10), {}
      for place = 1, 10 do
        local number = udps.quantiles_ps_sample[place] - 60
        assert.is_true(number >= 1 and number <= count and not seen[number])
        seen[number] = true
        assert.equal(number == 1 and -1 or number, udps.quantiles_piat_sample[place])
      end
      local sizes, times = udps.quantiles_ps_sample:table(), {}
      for _, time in ipairs(udps.quantiles_piat_sample:table()) do
        if time >= 0 then times[#times + 1] = time end
      end
      for k, probability in ipairs { 0.25, 0.5, 0.75, 0.9 } do
        assert.equal(by_sorting(sizes, probability), udps.quantiles_ps[k])
        assert.equal(by_sorting(times, probability), udps.quantiles_piat[k])
      end
    end
  end)

  it("take the same packets of every flow", function()
    assert.same(sample(300, 10).quantiles_ps_sample:table(), sample(300, 10).quantiles_ps_sample:table())
  end)

  -- Of n packets, keep are taken; that each of three thirds has its share among many samples is what tells a reservoir
  -- from a sample of the first or the latest. Here one sample is large instead.
  it("take packets evenly", function()
    local udps, thirds = sample(3000, 600), { 0, 0, 0 }
    for place = 1, 600 do
      local third = math.floor((udps.quantiles_ps_sample[place] - 61) / 1000) + 1
      thirds[third] = thirds[third] + 1
    end
    for _, count in ipairs(thirds) do assert.is_true(math.abs(count - 200) < 35) end -- three deviations
  end)

  it("are as near as a sample's are, whatever the values", function()
    for kinds = 1, 6 do
      random.trial(function(below)
        local sizes = {}
        for i = 1, 3000 do sizes[i] = 60 + math.floor(1400 * (below(kinds) / kinds) ^ 3) end
        local estimates = of_sizes(sizes, { keep = 256 })
        for k, probability in ipairs { 0.25, 0.5, 0.75, 0.9 } do
          local fewer, more = 0, 0
          for _, size in ipairs(sizes) do
            if size < estimates[k] then fewer = fewer + 1 end
            if size > estimates[k] then more = more + 1 end
          end
          local margin = 3000 * 5 * math.sqrt(probability * (1 - probability) / 256) -- five deviations
          assert.is_true(fewer < 3000 * probability + margin and more < 3000 * (1 - probability) + margin)
        end
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

  it("refuse to keep too few or too many", function()
    for _, keep in ipairs { 1, 1025, 10.5 } do
      assert.matches(("plugin quantiles: keep = %s: expected an integer from 2 to 1024"):format(keep),
        engine.refusal(Quantiles, { keep = keep }), 1, true)
    end
  end)
end)
