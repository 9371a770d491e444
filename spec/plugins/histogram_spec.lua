-- plugins/histogram.lua: where each bin begins and ends, and what is counted.

local engine = require "spec.support.engine"
local meter = require "spec.support.meter"
local P = require "nfengine.testing.packet"
local Histogram = require "plugins.histogram"

local function flow_of(packets, options, parameters)
  local given = { packets = packets, udps = Histogram(options) }
  for name, value in pairs(parameters or {}) do given[name] = value end
  local flows = engine.flows(given)
  assert.equal(1, #flows)
  return flows[1]
end

-- The four histograms as text: sizes and times there, sizes and times back.
local function histograms(...)
  local udps = flow_of(...).udps
  return { tostring(udps.histogram_src2dst_payload), tostring(udps.histogram_src2dst_piat),
    tostring(udps.histogram_dst2src_payload), tostring(udps.histogram_dst2src_piat) }
end

local NONE = "[0, 0, 0, 0, 0, 0, 0, 0]"

local function payload(size) return ("x"):rep(size) end

-- Datagrams from port 1000 with these payload sizes, a millisecond apart.
local function of_sizes(sizes)
  local packets = {}
  for i, size in ipairs(sizes) do packets[i] = meter.udp(i, 1000, payload(size)) end
  return packets
end

-- Datagrams with these times between them.
local function apart(times)
  local packets, at = { meter.udp(0, 1000) }, 0
  for i, time in ipairs(times) do
    at = at + time
    packets[i + 1] = meter.udp(at, 1000)
  end
  return packets
end

-- The first bin from 0 to 15, the next from 16 to 31 …: where bin i begins, and where it ends.
local function first_of(bin) return bin == 1 and 0 or 2 ^ (bin + 2) end
local function last_of(bin) return 2 ^ (bin + 3) - 1 end

describe("histogram", function()
  after_each(engine.cleanup)

  it("has both ends of each bin of sizes in it", function()
    local sizes = { 1, 15, 16, 31, 32, 63, 64, 127, 128, 255, 256, 511, 512, 1023, 1024, 1472 }
    assert.same("[2, 2, 2, 2, 2, 2, 2, 2]", histograms(of_sizes(sizes))[1])
    for bin = 1, 8 do
      local expected = { 0, 0, 0, 0, 0, 0, 0, 0 }
      expected[bin] = 2
      local ends = { math.max(first_of(bin), 1), bin < 8 and last_of(bin) or 60000 }
      assert.same(expected, flow_of(of_sizes(ends)).udps.histogram_src2dst_payload:table())
    end
  end)

  it("has both ends of each bin of times in it, of sixteen too", function()
    for _, bins in ipairs { 8, 9, 16 } do
      for bin = 1, bins do
        local expected = {}
        for i = 1, bins do expected[i] = i == bin and 2 or 0 end
        local ends = { first_of(bin), bin < bins and last_of(bin) or 1000000 }
        local flow = flow_of(apart(ends), { bins = bins }, { idle_timeout = 2000, active_timeout = 4000 })
        assert.same(expected, flow.udps.histogram_src2dst_piat:table())
      end
    end
  end)

  it("is of each direction, times between its own packets", function()
    local packets = {
      meter.udp(0, 1000, payload(20)), meter.back(10, 1000, payload(100)), meter.udp(200, 1000, payload(5)),
      meter.back(310, 1000, payload(100)), meter.back(312, 1000, payload(2000)),
    }
    assert.same({ -- there: 20 and 5 bytes, 200 ms; back: twice 100 and 2000 bytes, 300 and 2 ms
      "[1, 1, 0, 0, 0, 0, 0, 0]", "[0, 0, 0, 0, 1, 0, 0, 0]", "[0, 0, 0, 2, 0, 0, 0, 1]", "[1, 0, 0, 0, 0, 1, 0, 0]",
    }, histograms(packets))
  end)

  it("has a size and no time of a flow of one packet", function()
    assert.same({ "[0, 0, 0, 1, 0, 0, 0, 0]", NONE, NONE, NONE }, histograms(of_sizes { 64 }))
  end)

  it("begins with the first packet that is there, whichever way it goes", function()
    local back = { meter.back(0, 1000, payload(600)), meter.back(20, 1000, payload(600)), meter.udp(40, 1000) }
    assert.same({ "[0, 0, 0, 0, 0, 0, 2, 0]", "[0, 1, 0, 0, 0, 0, 0, 0]", "[1, 0, 0, 0, 0, 0, 0, 0]", NONE },
      histograms(back))
  end)

  -- Acknowledgements at 0, 30 and 100 ms, data of 40 bytes at 10 and 110 ms.
  local function with_empty()
    local packets = {}
    for i, each in ipairs { { 0, "" }, { 10, payload(40) }, { 30, "" }, { 100, "" }, { 110, payload(40) } } do
      packets[i] = meter.frame(each[1], P.eth {} .. P.ipv4 {} .. P.tcp {} .. each[2])
    end
    return packets
  end

  it("leaves out packets without payload, and times to them", function()
    assert.same({ "[0, 0, 2, 0, 0, 0, 0, 0]", "[0, 0, 0, 1, 0, 0, 0, 0]", NONE, NONE }, histograms(with_empty()))
  end)

  it("counts packets without payload when asked to", function()
    -- 10, 20, 70 and 10 ms apart
    assert.same({ "[3, 0, 2, 0, 0, 0, 0, 0]", "[2, 1, 0, 1, 0, 0, 0, 0]", NONE, NONE },
      histograms(with_empty(), { empty = true }))
  end)

  it("takes padding for no payload, and what a snap length cut off for payload", function()
    local padded = P.eth {} .. P.ipv4 { total_length = 40 } .. P.tcp {} .. ("\0"):rep(6)
    assert.same({ NONE, NONE, NONE, NONE }, histograms { meter.frame(0, padded) })
    local packet = meter.udp(0, 1000, payload(300))
    packet.size, packet.bytes = #packet.bytes, packet.bytes:sub(1, 42)
    assert.same("[0, 0, 0, 0, 0, 1, 0, 0]", histograms({ packet })[1])
  end)

  it("has times in the run's unit", function()
    local function packets() return apart { 0.02, 1 } end
    assert.same("[2, 0, 0, 0, 0, 0, 0, 0]", histograms(packets())[2])
    assert.same("[0, 1, 0, 0, 0, 0, 1, 0]", histograms(packets(), nil, { time_unit = "us" })[2])
    assert.same("[0, 0, 0, 0, 0, 0, 0, 2]", histograms(packets(), nil, { time_unit = "ns" })[2])
  end)

  it("takes what goes back in time for no time at all", function()
    assert.same("[2, 0, 0, 0, 0, 0, 0, 0]",
      histograms { meter.udp(100, 1000), meter.udp(40, 1000), meter.udp(110, 1000) }[2])
  end)

  it("has as many bins as asked for", function()
    for _, bins in ipairs { 8, 12, 16 } do
      local udps = flow_of(of_sizes { 1 }, { bins = bins }).udps
      for _, name in ipairs { "src2dst_payload", "src2dst_piat", "dst2src_payload", "dst2src_piat" } do
        assert.equal(bins, #udps["histogram_" .. name])
      end
    end
  end)

  it("refuses other numbers of bins", function()
    for _, bins in ipairs { 7, 17, 8.5 } do
      assert.matches("plugin histogram: bins = " .. bins .. ": expected an integer from 8 to 16",
        engine.refusal(Histogram, { bins = bins }), 1, true)
    end
    assert.matches("plugin histogram: empty = 1: expected true or false",
      engine.refusal(Histogram, { empty = 1 }), 1, true)
  end)
end)
