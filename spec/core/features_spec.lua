-- core/features.c: running statistics, compared bit for bit with the documented operations done here.

local bit = require "bit"
local ffi = require "ffi"
local C = require "spec.support.core" ("features")
local random = require "spec.support.random"

local view = ffi.new "union { double number; uint64_t bits; }"

local function bits(number)
  view.number = number
  return ("%016x"):format(view.bits)
end

local function same_double(want, got, what)
  assert.equal(bits(want), bits(got), ("%s is %.17g, expected %.17g"):format(what, got, want))
end

-- A scope's packets are { size, tick, flags }; ticks are numbers or 64-bit integers.
local function tick(packet) return ffi.cast("uint64_t", ffi.cast("int64_t", packet[2])) end

local FLAGS = { "fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr" } -- by bit number

-- A packet's flags one by one, as struct nf_packet holds them.
local function flags_of(packet)
  local flags = ffi.new "uint8_t[8]"
  for i = 0, 7 do flags[i] = bit.band(bit.rshift(packet[3] or 0, i), 1) end
  return flags
end

-- What C makes of them.
local function accumulate(packets)
  local s = ffi.new "struct nf_statistics"
  ffi.fill(s, ffi.sizeof(s), 0xEE)
  C.nf_statistics_start(s, packets[1][1], flags_of(packets[1]))
  for i = 2, #packets do
    C.nf_statistics_add(s, i, packets[i][1], tick(packets[i]) - tick(packets[i - 1]), flags_of(packets[i]))
  end
  return s
end

local function finished(packets)
  local s = accumulate(packets)
  C.nf_statistics_finish(s, #packets)
  return s
end

-- The recurrence, operation by operation: old = mean; mean = old + (x - old) / n; M2 = M2 + (x - old) * (x - mean).
local function series(values)
  if #values == 0 then return { min = 0, max = 0, mean = 0, deviation = 0 } end
  local r = { min = values[1], max = values[1], mean = tonumber(values[1]) }
  local m2 = 0
  for n = 2, #values do
    local x = tonumber(values[n])
    if values[n] < r.min then r.min = values[n] end
    if values[n] > r.max then r.max = values[n] end
    local old = r.mean
    r.mean = old + (x - old) / n
    m2 = m2 + (x - old) * (x - r.mean)
  end
  r.deviation = #values > 1 and math.sqrt(m2 / (#values - 1)) or 0
  return r
end

local function expected(packets)
  local sizes, gaps = {}, {}
  for i, packet in ipairs(packets) do
    sizes[i] = packet[1]
    if i > 1 then gaps[i - 1] = tick(packet) - tick(packets[i - 1]) end
  end
  return series(sizes), series(gaps)
end

local function check(packets)
  local s = finished(packets)
  local ps, piat = expected(packets)
  assert.equal(ps.min, s.ps.min)
  assert.equal(ps.max, s.ps.max)
  same_double(ps.mean, s.ps.mean, "mean size")
  same_double(ps.deviation, s.ps.spread, "deviation of sizes")
  assert.equal(piat.min * 1ULL, s.piat.min)
  assert.equal(piat.max * 1ULL, s.piat.max)
  same_double(piat.mean, s.piat.mean, "mean time between packets")
  same_double(piat.deviation, s.piat.spread, "deviation of times between packets")
end

local function flag_counts(s)
  local counts = {}
  for i = 0, 7 do counts[i + 1] = s.flags[i] end
  return counts
end

describe("statistics", function()
  describe("of one packet", function()
    it("have its size as least, greatest and mean, and no times", function()
      local s = finished { { 100, 1000 } }
      assert.same({ 100, 100 }, { s.ps.min, s.ps.max })
      same_double(100, s.ps.mean, "mean")
      same_double(0, s.ps.spread, "deviation")
      assert.same({ 0ULL, 0ULL }, { s.piat.min, s.piat.max })
      same_double(0, s.piat.mean, "mean time")
      same_double(0, s.piat.spread, "deviation of times")
    end)

    it("forget whatever stood there before", function()
      assert.same({ 0, 0, 0, 0, 0, 0, 0, 0 }, flag_counts(finished { { 1, 1 } }))
    end)
  end)

  describe("of two packets", function()
    it("have one time between them, which does not deviate", function()
      local s = finished { { 100, 1000 }, { 200, 1250 } }
      assert.same({ 250ULL, 250ULL }, { s.piat.min, s.piat.max })
      same_double(250, s.piat.mean, "mean time")
      same_double(0, s.piat.spread, "deviation of times")
    end)

    it("have the sample deviation of two sizes, over n - 1", function()
      local s = finished { { 100, 0 }, { 200, 0 } }
      same_double(150, s.ps.mean, "mean")
      same_double(math.sqrt(5000), s.ps.spread, "deviation")
    end)
  end)

  describe("of three packets", function()
    it("have the sample deviation of two times, over n - 2 packets", function()
      local s = finished { { 1, 0 }, { 1, 100 }, { 1, 400 } }
      assert.same({ 100ULL, 300ULL }, { s.piat.min, s.piat.max })
      same_double(200, s.piat.mean, "mean time")
      same_double(math.sqrt(20000), s.piat.spread, "deviation of times")
    end)

    it("where two come at once have a least time of 0", function()
      local s = finished { { 1, 5 }, { 1, 9 }, { 1, 9 } }
      assert.same({ 0ULL, 4ULL }, { s.piat.min, s.piat.max })
    end)
  end)

  describe("equal the documented operations bit for bit", function()
    it("where the mean does not end in binary", function()
      check { { 1, 0 }, { 2, 1 }, { 2, 3 }, { 60, 3 }, { 1514, 1000 }, { 7, 1001 }, { 0, 5000 } }
    end)

    it("where every packet is alike", function()
      local packets = {}
      for i = 1, 100 do packets[i] = { 1500, 10 * i } end
      check(packets)
      assert.equal(0, finished(packets).ps.spread)
      assert.equal(0, finished(packets).piat.spread)
    end)

    it("where sizes are as large as they can be", function()
      check { { 4294967295, 0 }, { 0, 1 }, { 4294967295, 2 }, { 4294967294, 3 } }
    end)

    it("where times are nanoseconds, and too far apart for a double's digits", function()
      local beyond = 2ULL ^ 53
      check { { 1, 0 }, { 1, 3 }, { 1, beyond + 1 }, { 1, beyond + 7 }, { 1, -1 }, { 1, -1 } } -- -1 is the last tick
    end)

    it("where one far value is among many near ones", function()
      local packets = { { 1000000000, 0 } }
      for i = 2, 200 do packets[i] = { 1 + i % 3, i } end
      check(packets)
    end)

    it("on packets at random", function()
      for _ = 1, 200 do
        random.trial(function(below)
          local packets, now = {}, 1600000000000ULL
          for i = 1, 1 + below(60) do
            now = now + below(({ 2, 100, 100000, 1000000007 })[1 + below(4)])
            packets[i] = { below(({ 3, 1515, 65536, 2147483647 })[1 + below(4)]), now, below(256) }
          end
          check(packets)
        end)
      end
    end)
  end)

  describe("count packets with a TCP flag", function()
    for bit_number, name in ipairs(FLAGS) do
      it(name:upper() .. " apart from the others", function()
        local flag = C["NF_" .. name:upper()]
        local s = finished { { 1, 0, flag }, { 1, 0, 0 }, { 1, 0, flag }, { 1, 0, flag } }
        local want = { 0, 0, 0, 0, 0, 0, 0, 0 }
        want[bit_number] = 3
        assert.same(want, flag_counts(s))
      end)
    end

    it("several in one packet", function()
      assert.same({ 1, 2, 1, 1, 1, 1, 1, 2 }, flag_counts(finished { { 1, 0, 255 }, { 1, 0, C.NF_SYN + C.NF_CWR } }))
    end)

    it("up to 2^32 - 1, and stay there", function()
      local s = accumulate { { 1, 0 } }
      local flags = flags_of { 1, 0, C.NF_SYN + C.NF_ACK + C.NF_FIN }
      s.flags[1], s.flags[4] = 4294967294, 4294967295
      for packets = 2, 4 do C.nf_statistics_add(s, packets, 1, 0, flags) end
      assert.same({ 3, 4294967295, 0, 0, 4294967295, 0, 0, 0 }, flag_counts(s))
    end)
  end)
end)
