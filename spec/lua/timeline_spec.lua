-- Bytes over time: lua/nfengine/timeline.lua against sums made by hand, or packet by packet.

local engine = require "spec.support.engine"
local meter = require "spec.support.meter"
local timeline = require "nfengine.timeline"

local EPOCH_S = 1600000000 -- meter.EPOCH

-- Runs a streamer with a timeline; the plugin, and the flows.
local function gather(parameters, name_of)
  local streamer = engine.streamer(parameters)
  local gathered, flows = timeline.of(streamer, name_of), {}
  streamer.udps = { gathered }
  for flow in streamer:flows() do flows[#flows + 1] = flow end
  return gathered, flows
end

-- A function of no spec's environment, which can be carried into meters.
local port_of = loadstring 'return function(flow) return "port " .. flow.src_port end' ()

-- "NAME: bytes in each bin", a line for each name.
local function shown(result)
  local lines = {}
  for i, series in ipairs(result.series) do
    lines[i] = (series.name or series.others .. " others") .. ": " .. table.concat(series.values, " ")
  end
  return lines
end

-- A frame of meter.udp has 42 bytes of headers.
local function packet(at, port, size) return meter.udp(at, port, ("x"):rep(size - 42)) end

describe("nfengine.timeline", function()
  after_each(engine.cleanup)

  it("counts every packet in the bin of its own time, under the name its flow has in the end", function()
    local result = timeline.result(gather({ packets = {
      packet(0, 1000, 100), packet(1, 1001, 50), packet(1, 1000, 60), packet(3, 1000, 70), packet(3, 1000, 80),
      packet(4, 1001, 90),
    } }, port_of), {})
    assert.same({ "port 1000: 100 60 0 150 0", "port 1001: 0 50 0 0 90" }, shown(result))
    assert.same({ 100, 110, 0, 150, 90 }, result.total)
    assert.same({ EPOCH_S, 0.001, 5 }, { result.first, result.step, result.count })
    assert.same({ 310, 140 }, { result.series[1].bytes, result.series[2].bytes })
  end)

  it("knows flows by their service where there are no applications, and by application where there are", function()
    assert.same({ "2000/udp: 43" }, shown(timeline.result(gather { packets = { meter.udp(0, 5000) } }, {})))
    local names = {}
    for i, series in ipairs(timeline.result(gather { source = "samples/web.pcap", n_dissections = 20 }, {}).series) do
      names[i] = series.name
    end
    assert.same({ "HTTP", "TLS", "SSH" }, { unpack(names, 1, 3) })
  end)

  it("widens its bins by whole factors as the run goes on, and keeps the sums", function()
    -- 400 bins of 1 ms reach from 0 to 399; a packet at 400 makes them 5 ms wide, one at 2000 makes them 10.
    local packets = { packet(0, 1000, 100), packet(7, 1000, 60), packet(399, 1000, 70) }
    assert.equal(0.001, timeline.result(gather { packets = packets }, {}).step)
    packets[4] = packet(400, 1000, 80)
    local result = timeline.result(gather { packets = packets }, {})
    assert.same({ 0.005, 81, 100, 60, 70, 80 },
      { result.step, result.count, result.total[1], result.total[2], result.total[80], result.total[81] })
    packets[5] = packet(2000, 1000, 90)
    result = timeline.result(gather { packets = packets }, {})
    assert.same({ 0.01, 201, 160, 70, 80, 90 },
      { result.step, result.count, result.total[1], result.total[40], result.total[41], result.total[201] })
  end)

  it("gives as few bins as wanted, at times that are multiples of their width", function()
    local gathered = gather { packets = { packet(999, 1000, 50), packet(1001, 1000, 60), packet(2999, 1000, 70) } }
    local result = timeline.result(gathered, { bins = 3 })
    assert.same({ EPOCH_S, 1, { 50, 60, 70 } }, { result.first, result.step, result.total })
    result = timeline.result(gathered, { bins = 2 }) -- 1600000000 is 10:26:40 UTC, a multiple of 5 s
    assert.same({ EPOCH_S, 5, { 180 } }, { result.first, result.step, result.total })
    assert.equal(EPOCH_S - EPOCH_S % 86400, timeline.result(gather { packets = {
      packet(0, 1000, 50), packet(86400e3 * 399, 1000, 60) } }, {}).first)
  end)

  it("sums up names beyond the largest", function()
    local packets = {}
    for i = 1, 6 do packets[i] = packet(i, 1000 + i, 100 + i) end
    local result = timeline.result(gather({ packets = packets }, port_of), { top = 2 })
    assert.same({ "port 1006: 0 0 0 0 0 106", "port 1005: 0 0 0 0 105 0", "4 others: 101 102 103 104 0 0" },
      shown(result))
    assert.equal(410, result.series[3].bytes)
  end)

  it("counts flows that pass the filter only", function()
    local filter = function(flow) return flow.src_port == 1001 end
    local result = timeline.result(gather({ filter = filter, packets = {
      packet(0, 1000, 100), packet(0, 1001, 50), packet(5, 1000, 60), packet(9, 1001, 70), packet(9, 1001, 70),
    } }, port_of), {})
    assert.same({ "port 1001: 50 0 0 0 0 0 0 0 0 140" }, shown(result))
  end)

  it("counts what the command line's filter lets pass, with any number of meters", function()
    local source = [[
      local nf, timeline = require "nfengine", require "nfengine.timeline"
      local streamer = nf.streamer { n_dissections = 0 }
      local gathered = timeline.of(streamer)
      streamer.udps = { gathered }
      streamer:to { write = function() end }
      local result = timeline.result(gathered, { bins = 1 })
      for _, series in ipairs(result.series) do print(series.name, series.bytes) end
      print(gathered.used)
    ]]
    for meters = 0, 3 do
      local result = engine.script(source, "-q", "--filter=flow.dst_port == 22", "--n-meters=" .. meters,
        "samples/web.pcap")
      assert.same({ "22/tcp\t11960\n0\n", "" }, { result.out, result.err })
    end
    local result = engine.script(source, "-q", "--filter=dst_port == 22", "samples/web.pcap")
    assert.matches("^nfengine: filter: flow .*: %-%-filter: no such name 'dst_port', expected flow%.dst_port",
      result.err)
  end)

  it("is empty where there were no packets", function()
    assert.is_nil(timeline.result(gather { packets = {} }, {}))
    local result = timeline.result(gather { packets = { packet(0, 1000, 50) }, filter = function() end }, {})
    assert.same({ 0, { 0 } }, { #result.series, result.total })
  end)

  -- Flows of many packets over half an hour, some of them cut by timeouts.
  local function traffic()
    local state, packets, at = 1, {}, 0
    local function below(n)
      state = state * 16807 % 2147483647
      return state % n
    end
    for i = 1, 4000 do
      at = at + below(900)
      packets[i] = packet(at, 1000 + below(20), 60 + below(1000))
    end
    return packets
  end

  for _, unit in ipairs { "ms", "us", "ns" } do
    for meters = 1, 3 do
      it(("has every byte where it belongs, with %d meters, in %s"):format(meters, unit), function()
        local packets = traffic()
        local gathered, flows = gather({ packets = packets, n_meters = meters, time_unit = unit, active_timeout = 60 },
          port_of)
        local result = timeline.result(gathered, {})
        assert.equal(5, result.step)
        local expected = {}
        for i = 1, result.count do expected[i] = 0 end
        for _, each in ipairs(packets) do
          local bin = math.floor((tonumber(each.time_ns / 1000000ULL) / 1000 - result.first) / result.step) + 1
          expected[bin] = expected[bin] + #each.bytes
        end
        assert.same(expected, result.total)
        assert.equal(20, #result.series)
        local bytes = {}
        for _, flow in ipairs(flows) do
          bytes[port_of(flow)] = (bytes[port_of(flow)] or 0) + flow.bidirectional_bytes
        end
        for _, series in ipairs(result.series) do
          local sum = 0
          for _, value in ipairs(series.values) do sum = sum + value end
          assert.same({ series.bytes, series.bytes }, { bytes[series.name], sum })
        end
      end)
    end
  end

  it("counts what the accounting mode counts", function()
    local result = timeline.result(gather { packets = { packet(0, 1000, 100) }, accounting_mode = 3 }, {})
    assert.same({ 58 }, result.total)
  end)

  it("keeps nothing of flows that have ended", function()
    local packets = {}
    for i = 1, 3000 do packets[i] = packet(i * 1000, 1000 + i % 3, 60) end
    local gathered = gather { packets = packets, active_timeout = 10, idle_timeout = 5 }
    assert.equal(0, gathered.used)
    assert.is_true(#gathered.chain < 100)
  end)

  it("takes a clock that jumps by decades", function()
    local result = timeline.result(gather { packets = { packet(0, 1000, 50), packet(2.5e12, 1000, 60) } }, {})
    assert.is_true(result.count <= 400)
    assert.same({ 50, 60 }, { result.total[1], result.total[result.count] })
  end)
end)
