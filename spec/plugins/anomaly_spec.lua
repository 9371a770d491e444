-- plugins/anomaly.lua: scores by hand, and what becomes of them as traffic changes.

local engine = require "spec.support.engine"
local feature = require "spec.support.feature"
local meter = require "spec.support.meter"
local robust = require "nfengine.robust"
local Anomaly = require "plugins.anomaly"

-- Datagrams, so flows of their own, with payloads of these sizes: 42 bytes less than the frame.
local function flows_of(sizes)
  local packets = {}
  for i, size in ipairs(sizes) do
    packets[i] = meter.udp(i, 1000 + i, ("x"):rep(size - 42))
  end
  return packets
end

local BYTES = { "bidirectional_bytes" }

-- Score and feature of each flow, in order.
local function scores(options, packets, parameters)
  local given, list = { udps = Anomaly(options), packets = packets }, {}
  for name, value in pairs(parameters or {}) do given[name] = value end
  for i, flow in ipairs(engine.flows(given)) do list[i] = { flow.udps.anomaly_score, flow.udps.anomaly_feature } end
  return list
end

local function near(expected, got) assert.is_true(math.abs(expected - got) < 1e-9, ("%g, %g"):format(expected, got)) end

local function usual(count)
  local sizes = {}
  for i = 1, count do sizes[i] = 90 + i * 37 % 21 end -- 90 to 110
  return sizes
end

describe("nfengine.robust", function()
  it("knows medians and deviations from them", function()
    assert.same({ 3, 1 }, { robust.centre { 9, 1, 3, 2, 4 } })
    assert.same({ 2.5, 1 }, { robust.centre { 4, 1, 2, 3 } })
    assert.same({}, { robust.centre {} })
    near(math.log(8), robust.scaled(7))
    near(-math.log(8), robust.scaled(-7))
    near((10 - 3) / 1.4826, robust.distance(10, 3, 1))
    near((4 - 3) / 0.1, robust.distance(4, 3, 0))
    for _, x in ipairs { math.huge, -math.huge, 0 / 0 } do assert.is_true(robust.scaled(x) ~= robust.scaled(x)) end
  end)
end)

describe("anomaly", function()
  after_each(engine.cleanup)

  it("scores by median and MAD of the first flows", function()
    local sizes = { 100, 200, 400, 800, 150, 5000 }
    local got = scores({ columns = BYTES, warm_up = 5 }, flows_of(sizes))
    for i = 1, 5 do
      assert.is_true(got[i][1] ~= got[i][1])
      assert.equal("", got[i][2])
    end
    local logs = {}
    for i = 1, 5 do logs[i] = math.log(1 + sizes[i]) end
    local median, mad = robust.centre(logs)
    near(math.log(201), median)
    near((math.log(5001) - median) / (1.4826 * mad), got[6][1])
    assert.equal("bidirectional_bytes", got[6][2])
  end)

  it("moves by a step for each flow, whatever its size", function()
    local first = { 100, 200, 400, 800, 150 }
    local function after(size)
      local sizes = { unpack(first) }
      sizes[6], sizes[7] = size, 200
      return scores({ columns = BYTES, warm_up = 5, memory = 100 }, flows_of(sizes))[7][1]
    end
    assert.equal(after(5000), after(50000))
    near(0, scores({ columns = BYTES, warm_up = 5 }, flows_of { 100, 200, 400, 800, 150, 200, 200 })[7][1])
    local mad = select(2, robust.centre { math.log(101), math.log(201), math.log(401), math.log(801), math.log(151) })
    local deviation = 1.4826 * mad
    local moved, wider = 0.5 * deviation / 100 / 0.3989, mad + 0.5 * deviation / 100 / 0.6356
    near(moved / (1.4826 * wider), after(5000))
  end)

  it("finds what is unlike the rest, and says in what", function()
    local sizes = usual(200)
    sizes[150] = 1400
    local got = scores({}, flows_of(sizes))
    for i = 31, 200 do assert.is_true(got[i][1] < 4 == (i ~= 150), i .. ": " .. got[i][1]) end
    assert.equal("src2dst_bytes", got[150][2])
    assert.is_true(got[150][1] > 10)
  end)

  it("gets used to what has become usual", function()
    local sizes = usual(1000)
    for i = 101, 1000 do sizes[i] = sizes[i] + 100 end
    local got = scores({ columns = BYTES, memory = 50 }, flows_of(sizes))
    assert.is_true(got[101][1] > 4)
    assert.is_true(got[1000][1] < 2)
  end)

  it("compares with the same service where asked to", function()
    local sizes, ports = {}, {}
    for i = 1, 80 do sizes[i], ports[i] = i % 2 == 0 and 100 or 1000, i % 2 == 0 and 53 or 443 end
    sizes[79] = 100 -- which is usual elsewhere
    -- One packet from 10.0.0.2:2000 a millisecond each: flows of their own by idling.
    local packets = {}
    for i = 1, 80 do packets[i] = meter.back(i * 2000, ports[i], ("x"):rep(sizes[i] - 42)) end
    local function last(options) return scores(options, packets, { idle_timeout = 1 })[79][1] end
    assert.is_true(last { columns = BYTES } < 3)
    assert.is_true(last { columns = BYTES, by = "service" } > 10)
    -- The first service has its own, the others share theirs.
    packets[1] = meter.back(2000, 9, "x")
    assert.is_true(last { columns = BYTES, by = "service", services = 1 } < 3)
  end)

  it("takes the largest distance or their mean", function()
    local sizes = usual(40)
    sizes[41] = 1400
    local both = { "bidirectional_bytes", "bidirectional_packets" }
    local largest = scores({ columns = both }, flows_of(sizes))[41]
    local mean = scores({ columns = both, combine = "mean" }, flows_of(sizes))[41]
    near(largest[1] / 2, mean[1])
    assert.equal("bidirectional_bytes", mean[2])
  end)

  it("passes over what is infinite, in the warm-up and behind it", function()
    local nf = require "nfengine"
    local function scored(infinite)
      local Odd = nf.plugin {
        name = "odd", columns = { { "odd", "double" } },
        on_expire = function(_, flow)
          flow.udps.odd = infinite[flow.src_port - 1000] or flow.bidirectional_bytes
        end,
      }
      local columns = { "udps.odd" }
      return scores({}, flows_of { 100, 200, 400, 800, 150, 5000 },
        { udps = { Odd, Anomaly { columns = columns, warm_up = 4 } } })
    end
    local whole = scored {}
    for _, infinite in ipairs { { [2] = math.huge }, { [1] = -math.huge, [2] = math.huge, [3] = math.huge } } do
      local got = scored(infinite)[6][1]
      assert.is_true(got > 0 and got < math.huge, got)
    end
    local got = scored { [5] = math.huge }
    assert.is_true(got[5][1] ~= got[5][1])
    assert.equal("", got[5][2])
    assert.is_true(math.abs(got[6][1] - whole[6][1]) < 0.1)
    near(got[6][1], scored({ [5] = -math.huge })[6][1])
    for i = 1, 6 do assert.is_true(scored({ 1 / 0, 1 / 0, 1 / 0, 1 / 0 })[i][1] ~= -1) end
  end)

  it("has statistics among its columns where the run has them", function()
    local got = scores({}, flows_of { unpack(usual(40)) }, { statistical_analysis = true })
    assert.is_true(got[40][1] >= 0)
  end)

  it("scores alike for any number of meters", function() feature.is_alike("anomaly", "{ warm_up = 10 }") end)

  it("refuses columns that are none, or no numbers", function()
    local function refusal(options) return engine.refusal(scores, options, flows_of { 100 }) end
    assert.matches('plugin anomaly: setup: no column "bytes" in this run', refusal { columns = { "bytes" } },
      1, true)
    assert.matches('column "src_ip" is ip, expected a number', refusal { columns = { "src_ip" } }, 1, true)
    assert.matches("warm_up = 1: expected an integer from 2 to 100000", refusal { warm_up = 1 }, 1, true)
  end)
end)
