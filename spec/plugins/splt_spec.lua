-- plugins/splt.lua: first packets of flows made byte by byte.

local testing = require "nfengine.testing"
local worker = require "nfengine.worker"
local Splt = require "plugins.splt"

local P = testing.packet

-- UDP between 10.0.0.1 port 1000 and 10.0.0.2 port 2000. Bytes: 14 Ethernet, 20 IP, 8 UDP, payload.
local function there(ms, size)
  return testing.at(ms, P.eth {} .. P.ipv4 {} .. P.udp { src_port = 1000 } .. ("x"):rep(size))
end

local function back(ms, size)
  local ip = P.ipv4 { src = "10.0.0.2", dst = "10.0.0.1" }
  return testing.at(ms, P.eth {} .. ip .. P.udp { src_port = 2000, dst_port = 1000 } .. ("x"):rep(size))
end

-- Direction, size and time of the first flow of these packets, as texts.
local function first(packets, options, parameters)
  local given = { packets = packets, udps = Splt(options) }
  for name, value in pairs(parameters or {}) do given[name] = value end
  local udps = testing.flows(given)[1].udps
  return { tostring(udps.splt_direction), tostring(udps.splt_ps), tostring(udps.splt_piat_ms) }
end

describe("splt", function()
  after_each(testing.cleanup)

  it("has a packet's direction, size and time since the packet before, in either direction", function()
    local packets = { there(0, 5), back(7, 30), there(7, 0), back(20, 1) }
    assert.same({ "[0, 1, 0, 1]", "[47, 72, 42, 43]", "[0, 7, 0, 13]" }, first(packets, { sequence_length = 4 }))
  end)

  it("has -1 where a flow has no more packets", function()
    assert.same({ "[0, 1, -1, -1]", "[47, 72, -1, -1]", "[0, 7, -1, -1]" },
      first({ there(0, 5), back(7, 30) }, { sequence_length = 4 }))
    assert.same({ "[0, -1]", "[47, -1]", "[0, -1]" }, first({ there(0, 5) }, { sequence_length = 2 }))
    assert.same({ "[0]", "[47]", "[0]" }, first({ there(0, 5) }, { sequence_length = 1 }))
  end)

  it("stops after sequence_length packets", function()
    local packets = { there(0, 5), back(7, 30), there(8, 0), back(20, 1) }
    assert.same({ "[0, 1]", "[47, 72]", "[0, 7]" }, first(packets, { sequence_length = 2 }))
    assert.same({ "[0]", "[47]", "[0]" }, first(packets, { sequence_length = 1 }))
  end)

  it("tells of 10 packets by default, in frame sizes", function()
    local packets = {}
    for i = 1, 11 do packets[i] = there(i * i, i) end
    assert.same({ "[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]", "[43, 44, 45, 46, 47, 48, 49, 50, 51, 52]",
      "[0, 3, 5, 7, 9, 11, 13, 15, 17, 19]" }, first(packets, {}))
  end)

  it("counts by an accounting mode of its own", function()
    local packets = { there(0, 5), back(1, 30) }
    for mode, sizes in pairs { [0] = "[47, 72]", "[33, 58]", "[13, 38]", "[5, 30]" } do
      for run_mode = 0, 3 do
        assert.equal(sizes, first(packets, { sequence_length = 2, accounting_mode = mode },
          { accounting_mode = run_mode })[2])
      end
    end
  end)

  it("counts IPv6 with its header", function()
    local packet = testing.at(0, P.eth {} .. P.ipv6 {} .. P.udp {} .. "12345")
    assert.equal("[53]", first({ packet }, { sequence_length = 1, accounting_mode = 1 })[2]) -- 40 + 8 + 5
  end)

  it("equals the run's own columns", function()
    local path = "samples/web.pcap"
    for _, flow in ipairs(testing.flows { source = path, splt_analysis = 12, accounting_mode = 2,
      udps = Splt { sequence_length = 12, accounting_mode = 2 } }) do
      for _, name in ipairs { "splt_direction", "splt_ps", "splt_piat_ms" } do
        assert.equal(tostring(flow[name]), tostring(flow.udps[name]))
      end
    end
  end)

  it("has sizes by the headers where the snap length cut packets", function()
    local packets = { there(0, 100), there(1, 200) }
    for _, packet in ipairs(packets) do packet.size, packet.bytes = #packet.bytes, packet.bytes:sub(1, 44) end
    assert.equal("[142, 242]", first(packets, { sequence_length = 2 })[2])
    assert.equal("[100, 200]", first(packets, { sequence_length = 2, accounting_mode = 3 })[2])
  end)

  it("begins with the first packet it sees, from whichever side", function()
    assert.same({ "[0, 1, 0]", "[52, 43, 52]", "[0, 4, 1]" },
      first({ back(0, 10), there(4, 1), back(5, 10) }, { sequence_length = 3 }))
  end)

  it("begins anew with each flow", function()
    local packets = { there(0, 5), back(1, 6), there(10000, 7) }
    local flows = testing.flows { packets = packets, idle_timeout = 5, udps = Splt { sequence_length = 2 } }
    assert.same({ "[47, 48]", "[49, -1]" },
      { tostring(flows[1].udps.splt_ps), tostring(flows[2].udps.splt_ps) })
  end)

  it("gives milliseconds, from times cut to milliseconds, in every unit of time", function()
    local packets = { there(0.6, 1), there(1.4, 1), there(1.9, 1), there(5.0, 1) } -- at 0, 1, 1 and 5 ms
    for _, unit in ipairs { "ms", "us", "ns" } do
      assert.equal("[0, 1, 0, 4]", first(packets, { sequence_length = 4 }, { time_unit = unit })[3])
    end
  end)

  it("refuses lengths and modes that there are not", function()
    for _, length in ipairs { 0, 65536, 1.5, "ten" } do
      assert.matches("plugin splt: sequence_length = .*: expected an integer from 1 to 65535",
        testing.refusal(Splt, { sequence_length = length }))
    end
    for _, mode in ipairs { -1, 4, 0.5 } do
      assert.matches("plugin splt: accounting_mode = .*: expected an integer from 0 to 3",
        testing.refusal(Splt, { accounting_mode = mode }))
    end
  end)

  it("lets a run choose any number of meters", function()
    assert.is_false(worker.wants_one { Splt {} })
  end)
end)
