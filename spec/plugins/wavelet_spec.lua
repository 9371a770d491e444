-- plugins/wavelet.lua: series of a few bins, whose transform can be done on paper.

local testing = require "nfengine.testing"
local worker = require "nfengine.worker"
local Wavelet = require "plugins.wavelet"

local P = testing.packet

-- UDP of so many bytes with the IP header, at this time in ms.
local function there(ms, size)
  return testing.at(ms, P.eth {} .. P.ipv4 {} .. P.udp { src_port = 1000 } .. ("x"):rep(size - 28))
end

local function back(ms, size)
  local ip = P.ipv4 { src = "10.0.0.2", dst = "10.0.0.1" }
  return testing.at(ms, P.eth {} .. ip .. P.udp { src_port = 2000, dst_port = 1000 } .. ("x"):rep(size - 28))
end

local function udps_of(packets, options, parameters)
  local given = { packets = packets, udps = Wavelet(options) }
  for name, value in pairs(parameters or {}) do given[name] = value end
  return testing.flows(given)[1].udps
end

-- Values of one feature in rows 0, 1, 2 ... of one direction.
local function rows(udps, feature, levels)
  local values = {}
  for k = 0, levels do values[k + 1] = udps[("%s_k_%d"):format(feature, k)] end
  return values
end

-- NFStream adds 1e-7 here and there, so hand-worked values hold to seven digits; zeros to the digits of doubles.
local function assert_near(expected, values)
  for i, value in ipairs(expected) do
    assert.is_true(math.abs(values[i] - value) <= 1e-6 * math.abs(value) + 1e-12, ("%d: %.17g, expected %.17g")
      :format(i, values[i], value))
  end
  assert.equal(#expected, #values)
end

local root, ln = math.sqrt, math.log
local ZEROS = { 0, 0, 0 }

-- Two levels over 4 s: four bins of a second. The series is 100, 100, 0, 0.
--
--   scale 1  approximation (200, 100, 0, 100) / root 2, details (0, 100, 0, -100) / root 2: energy 10000
--   scale 2  approximation 100, 100, 100, 100: energy 40000, details 100, 0, -100, 0: energy 20000
local TWO = { levels = 2, active_timeout = 4 }

local function assert_two(udps, direction)
  assert_near({ 4 / 7, 2 / 7, 1 / 7 }, rows(udps, direction .. "_p", 2))
  assert_near({ 100, 50, 50 / root(2) }, rows(udps, direction .. "_u", 2))
  assert_near({ 0, 100 / root(2), 50 }, rows(udps, direction .. "_sigma", 2))
  assert_near({ ln(4), ln(2), ln(2) }, rows(udps, direction .. "_S", 2))
end

local function assert_nothing(udps, direction)
  for _, feature in ipairs { "p", "u", "sigma", "S" } do
    assert_near(ZEROS, rows(udps, ("%s_%s"):format(direction, feature), 2))
  end
  assert.equal(math.huge, 1 / udps[direction .. "_S_k_0"]) -- not minus zero
end

-- Features by the definitions, of a series of 8 to 128 bins, with sums in the order of NFStream's library.
local function by_definition(series, levels)
  local count, features, rows_of, scale, total = #series, { p = {}, u = {}, sigma = {}, S = {} }, {}, 1, 0
  local function sum(func, row)
    local parts = { 0, 0, 0, 0, 0, 0, 0, 0 }
    for i = 1, count do parts[(i - 1) % 8 + 1] = parts[(i - 1) % 8 + 1] + func(row[i]) end
    return ((parts[1] + parts[2]) + (parts[3] + parts[4])) + ((parts[5] + parts[6]) + (parts[7] + parts[8]))
  end
  for k = levels, 1, -1 do
    local rest, row = {}, {}
    for i = 1, count do
      local one, other = root(0.5) * series[i], root(0.5) * series[(i + scale - 1) % count + 1]
      rest[i], row[i] = one + other, one - other
    end
    series, rows_of[k], scale = rest, row, 2 * scale
  end
  rows_of[0] = series
  local function square(d) return d * d end
  for k = levels, 0, -1 do
    local row, energy = rows_of[k], sum(square, rows_of[k])
    local mean = sum(function(d) return d end, row) / count
    local function entropy(d) return d * d / (energy + 1e-7) * ln(d * d / (energy + 1e-7) + 1e-7) end
    features.S[k + 1], features.u[k + 1] = -sum(entropy, row), sum(math.abs, row) / count
    features.sigma[k + 1] = root(sum(function(d) return square(d - mean) end, row) / count)
    features.p[k + 1], total = energy, total + energy
  end
  for k = 0, levels do features.p[k + 1] = features.p[k + 1] / (total + 1e-7) end
  return features
end

describe("wavelet", function()
  after_each(testing.cleanup)

  it("splits one direction's bytes by scale", function()
    local udps = udps_of({ there(0, 500), there(500, 100), there(1500, 100) }, TWO)
    assert_two(udps, "f")
    assert_nothing(udps, "b")
  end)

  it("keeps the directions apart", function()
    local packets = { there(0, 500), back(10, 100), there(500, 100), there(1200, 40), there(1500, 60), back(1900, 100) }
    local udps = udps_of(packets, TWO)
    assert_two(udps, "f")
    assert_two(udps, "b")
  end)

  it("has two bins for one level", function()
    -- 300, 100: approximation 400 / root 2 twice, energy 160000; details 200 / root 2 twice, energy 40000
    local udps = udps_of({ there(0, 50), there(0, 300), there(1000, 100) }, { levels = 1, active_timeout = 2 })
    assert_near({ 0.8, 0.2 }, rows(udps, "f_p", 1))
    assert_near({ 400 / root(2), 200 / root(2) }, rows(udps, "f_u", 1))
    assert_near({ 0, 200 / root(2) }, rows(udps, "f_sigma", 1))
    assert_near({ ln(2), ln(2) }, rows(udps, "f_S", 1))
  end)

  it("leaves the very first packet out", function()
    for _, direction in ipairs { "f", "b" } do assert_nothing(udps_of({ there(0, 500) }, TWO), direction) end
    local udps = udps_of({ there(0, 500), back(1, 100), back(1001, 100) }, TWO)
    assert_nothing(udps, "f")
    assert_two(udps, "b")
  end)

  it("begins a bin at its very first moment", function()
    -- 999.9 ms is in the first bin of a second, 1000 ms in the second.
    assert_two(udps_of({ there(0, 50), there(999.9, 100), there(1000, 100) }, TWO), "f")
    local udps = udps_of({ there(0, 50), there(999.8, 100), there(999.9, 100) }, TWO) -- 200, 0, 0, 0
    assert_near({ 100, 100, 100 / root(2) }, rows(udps, "f_u", 2))
  end)

  it("leaves out what comes when the bins are over", function()
    local packets = { there(0, 500), there(500, 100), there(1500, 100), there(4000, 70), there(9000, 70) }
    assert_two(udps_of(packets, TWO), "f")
    packets[4] = there(3999, 70)
    -- The sum 270, divided by root 2 for each level.
    assert.is_true(math.abs(udps_of(packets, TWO).f_u_k_0 - 135) < 1e-9)
  end)

  it("counts the headers of IPv6", function()
    local function ipv6(ms, size)
      return testing.at(ms, P.eth {} .. P.ipv6 {} .. P.udp {} .. ("x"):rep(size - 48))
    end
    assert_two(udps_of({ ipv6(0, 500), ipv6(500, 100), ipv6(1500, 100) }, TWO), "f")
  end)

  it("has sizes by the headers where the snap length cut packets", function()
    local packets = { there(0, 500), there(500, 100), there(1500, 100) }
    for _, packet in ipairs(packets) do packet.size, packet.bytes = #packet.bytes, packet.bytes:sub(1, 42) end
    assert_two(udps_of(packets, TWO), "f")
  end)

  it("gives the same in every unit of time", function()
    local packets = { there(0, 500), there(500, 100), there(1500, 100) }
    for _, unit in ipairs { "us", "ns" } do assert_two(udps_of(packets, TWO, { time_unit = unit }), "f") end
  end)

  it("begins anew with each flow", function()
    local packets = { there(0, 500), there(400, 1000), there(10000, 500), there(10500, 100), there(11500, 100) }
    local flows = testing.flows { packets = packets, idle_timeout = 5, udps = Wavelet(TWO) }
    assert_two(flows[2].udps, "f")
  end)

  it("splits up any number of bins without losing bytes or energy", function()
    for levels = 1, 10 do
      local count, packets, total, energy = 2 ^ levels, { there(0, 30) }, 0, 0
      for bin = 0, count - 1 do -- a millisecond each
        local size = 28 + bin * bin * 7 % 1000
        packets[#packets + 1] = there(bin, size)
        total, energy = total + size, energy + size * size
      end
      -- The width of a bin has to be a whole number of ms: 2^levels seconds, times a thousand.
      for _, packet in ipairs(packets) do
        packet.time_ns = testing.EPOCH_NS + (packet.time_ns - testing.EPOCH_NS) * 1000
      end
      local udps = udps_of(packets, { levels = levels, active_timeout = count })
      local shares, mean_squares = 0, 0
      for k = 0, levels do
        shares = shares + udps["f_p_k_" .. k]
        -- Without rounding each scale's rows have twice the energy of what they were split from.
        local scale = k == 0 and levels or levels + 1 - k
        mean_squares = mean_squares + udps["f_p_k_" .. k] / 2 ^ scale
      end
      assert.is_true(math.abs(shares - 1) < 1e-9)
      -- The approximation is the same everywhere: the sum, divided by root 2 for each level.
      assert.is_true(math.abs(udps.f_u_k_0 / (total / root(2) ^ levels) - 1) < 1e-12)
      assert.is_true(udps.f_sigma_k_0 < 1e-9 * udps.f_u_k_0)
      -- Its energy is known, so that of the series comes out of all shares.
      local whole = udps.f_u_k_0 ^ 2 * count / udps.f_p_k_0
      assert.is_true(math.abs(whole * mean_squares / energy - 1) < 1e-9)
    end
  end)

  it("has the same for series of one bin, wherever it is, as for any, to the last digit", function()
    for levels = 3, 7 do
      for place = 1, 2 ^ levels, levels > 5 and 13 or 1 do
        for _, others in ipairs { 0, 1 } do
          local series, packets, size = {}, { there(0, 30) }, 28 + (place * 7919 + levels * 104729) % 1400
          for i = 1, 2 ^ levels do series[i] = 0 end
          series[place], packets[2] = size, there(place * 1000 - 1, size)
          if others == 1 and place < 2 ^ levels then
            series[2 ^ levels], packets[3] = 40, there(2 ^ levels * 1000 - 1, 40)
          end
          local udps = udps_of(packets, { levels = levels, active_timeout = 2 ^ levels }, { idle_timeout = 200 })
          for feature, values in pairs(by_definition(series, levels)) do
            assert.same(values, rows(udps, "f_" .. feature, levels))
          end
        end
      end
    end
  end)

  it("has NFStream's columns, five levels over half an hour by default", function()
    local columns = Wavelet.columns
    assert.equal(48, #columns)
    local names = {}
    for i, column in ipairs(columns) do names[i] = column.name end
    assert.equal("f_p_k_0 f_p_k_1 f_p_k_2 f_p_k_3 f_p_k_4 f_p_k_5 f_u_k_0", table.concat(names, " ", 1, 7))
    assert.equal("f_S_k_5 b_p_k_0", table.concat(names, " ", 24, 25))
    assert.equal("b_S_k_5", names[48])
    -- 32 bins of 56.25 s: both packets in the first, so row 0 has 200 / root 2 to the fifth in each.
    local udps = udps_of({ there(0, 30), there(1, 100), there(56249, 100) }, {})
    assert.is_true(math.abs(udps.f_u_k_0 - 200 / root(32)) < 1e-9)
    assert.is_true(math.abs(udps.f_u_k_5 - 200 * root(2) / 32) < 1e-9)
  end)

  it("refuses levels and times that there are not", function()
    for _, levels in ipairs { 0, 15, 2.5 } do
      assert.matches("plugin wavelet: levels = .*: expected an integer from 1 to 14",
        testing.refusal(Wavelet, { levels = levels }))
    end
    for _, seconds in ipairs { 0, -5, 0.5 } do
      assert.matches("plugin wavelet: active_timeout = .*: expected an integer of at least 1",
        testing.refusal(Wavelet, { active_timeout = seconds }))
    end
  end)

  it("lets a run choose any number of meters", function()
    assert.is_false(worker.wants_one { Wavelet {} })
  end)
end)
