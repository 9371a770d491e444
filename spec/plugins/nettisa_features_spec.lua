-- plugins/nettisa_features.lua against series worked out by hand.

local engine = require "spec.support.engine"
local meter = require "spec.support.meter"
local P = require "nfengine.testing.packet"
local Nettisa = require "plugins.nettisa_features"

local NAMES = {
  "mean", "min", "max", "stdev", "root_mean_square", "average_dispersion", "kurtosis", "mean_scaled_time",
  "mean_difftimes", "min_difftimes", "max_difftimes", "time_distribution", "switching_ratio",
}

local function features(packets, parameters)
  local given = { packets = packets, udps = Nettisa }
  for name, value in pairs(parameters or {}) do given[name] = value end
  local flows = engine.flows(given)
  assert.equal(1, #flows)
  local values = {}
  for _, name in ipairs(NAMES) do values[name] = flows[1].udps["nettisa_" .. name] end
  return values
end

-- A series of payload sizes at times in ms; sizes below 0 go back.
local function series(sizes, times)
  local packets = {}
  for i, size in ipairs(sizes) do
    packets[i] = meter[size < 0 and "back" or "udp"](times[i], 1000, ("x"):rep(math.abs(size)))
  end
  return packets
end

-- Sizes 4, 4, 10, 6, the third back, at 0, 2, 4 and 12 ms.
local function four() return series({ 4, 4, -10, 6 }, { 0, 2, 4, 12 }) end

local function expected_of_four(ticks)
  return {
    mean = 6,                             -- 24 / 4
    min = 4, max = 10,
    stdev = math.sqrt(6),                 -- deviations -2 -2 4 0: (4 + 4 + 16 + 0) / 4
    root_mean_square = math.sqrt(42),     -- (16 + 16 + 100 + 36) / 4
    average_dispersion = 1.5,             -- means before: 4, 4, 6; (|4 - 4| + |10 - 4| + |6 - 6|) / 4
    kurtosis = 2,                         -- (16 + 16 + 256 + 0) / 4 / 6^2
    mean_scaled_time = 4.5 * ticks,       -- (0 + 2 + 4 + 12) / 4
    mean_difftimes = 4 * ticks,           -- (2 + 2 + 8) / 3
    min_difftimes = 2 * ticks, max_difftimes = 8 * ticks,
    time_distribution = 2 / 3,            -- means before: 2, 2; (|2 - 2| + |8 - 2|) / 3 / ((8 - 2) / 2)
    switching_ratio = 2 / 1.5,            -- 4 to 10, 10 to 6
  }
end

describe("nettisa_features", function()
  after_each(engine.cleanup)

  it("has the features of a series of both directions", function()
    assert.same(expected_of_four(1), features(four()))
  end)

  it("has times in the run's unit", function()
    assert.same(expected_of_four(1000), features(four(), { time_unit = "us" }))
    assert.same(expected_of_four(1000000), features(four(), { time_unit = "ns" }))
  end)

  it("has the size, and no time, of a flow of one packet", function()
    assert.same({
      mean = 7, min = 7, max = 7, stdev = 0, root_mean_square = 7, average_dispersion = 0, kurtosis = 0,
      mean_scaled_time = 0, mean_difftimes = 0, min_difftimes = 0, max_difftimes = 0, time_distribution = 0,
      switching_ratio = 0,
    }, features(series({ 7 }, { 0 })))
  end)

  it("has one difference of two packets", function()
    assert.same({
      mean = 6, min = 2, max = 10, stdev = 4, root_mean_square = math.sqrt(52), average_dispersion = 4, kurtosis = 1,
      mean_scaled_time = 1.5, mean_difftimes = 3, min_difftimes = 3, max_difftimes = 3, time_distribution = 0,
      switching_ratio = 2,
    }, features(series({ 2, 10 }, { 0, 3 })))
  end)

  it("divides nothing by what does not vary", function()
    assert.same({
      mean = 5, min = 5, max = 5, stdev = 0, root_mean_square = 5, average_dispersion = 0, kurtosis = 0,
      mean_scaled_time = 15, mean_difftimes = 10, min_difftimes = 10, max_difftimes = 10, time_distribution = 0,
      switching_ratio = 0,
    }, features(series({ 5, -5, 5, -5 }, { 0, 10, 20, 30 })))
    local empty = features(series({ 0, 0, 0 }, { 0, 0, 0 }))
    for _, name in ipairs(NAMES) do assert.equal(0, empty[name], name) end
  end)

  it("has 1 as time_distribution where differences are in two halves, more where they alternate", function()
    -- Differences 0, 10: the one mean before is 0; 10 / 2 / 5.
    assert.equal(1, features(series({ 1, 1, 1 }, { 0, 0, 10 })).time_distribution)
    -- 0, 10, 0: means 0, 5; (10 + 5) / 3 / 5. 0, 12, 0, 12: means 0, 6, 4; (12 + 6 + 8) / 4 / 6.
    assert.equal(1, features(series({ 1, 1, 1, 1 }, { 0, 0, 10, 10 })).time_distribution)
    assert.equal(26 / 24, features(series({ 1, 1, 1, 1, 1 }, { 0, 0, 12, 12, 24 })).time_distribution)
  end)

  it("counts packets without payload as 0", function()
    local function tcp(at, payload) return meter.frame(at, P.eth {} .. P.ipv4 {} .. P.tcp {} .. payload) end
    local found = features { tcp(0, ""), tcp(1, "12345678"), tcp(2, ""), tcp(3, "") }
    assert.same({ 2, 0, 8, 4, 4 / 3 },
      { found.mean, found.min, found.max, found.root_mean_square, found.switching_ratio })
    assert.equal(math.sqrt(12), found.stdev) -- (4 + 36 + 4 + 4) / 4
    assert.equal((0 + 8 + 4 + 8 / 3) / 4, found.average_dispersion)
    assert.equal((16 + 1296 + 16 + 16) / 4 / 144, found.kurtosis)
  end)

  it("does not take padding for payload, nor less than headers say for what a snap length cut", function()
    local padded = P.eth {} .. P.ipv4 { total_length = 40 } .. P.tcp {} .. ("\0"):rep(6)
    assert.equal(0, features({ meter.frame(0, padded) }).max)
    local packets = four()
    for _, packet in ipairs(packets) do packet.size, packet.bytes = #packet.bytes, packet.bytes:sub(1, 42) end
    assert.same(expected_of_four(1), features(packets))
  end)

  it("is exact where large sizes differ little", function()
    local sizes, times = {}, {}
    for i = 1, 1000 do sizes[i], times[i] = i % 2 == 0 and 1459 or 1460, i end
    local found = features(series(sizes, times))
    assert.same({ 1459.5, 0.5, 1, 2 }, { found.mean, found.stdev, found.kurtosis, found.switching_ratio })
  end)

  it("takes a packet from the past for one of now", function()
    local found = features(series({ 1, 1, 1 }, { 0, 10, 4 }))
    assert.same({ 0, 10, 5, 20 / 3 },
      { found.min_difftimes, found.max_difftimes, found.mean_difftimes, found.mean_scaled_time })
  end)
end)
