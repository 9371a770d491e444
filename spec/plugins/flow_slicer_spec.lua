-- plugins/flow_slicer.lua against the flows of a sample, sliced by hand.

local engine = require "spec.support.engine" -- luacheck: ignore (loads the library as specs need it)
local nf = require "nfengine"
local FlowSlicer = require "plugins.flow_slicer"

-- Packets of each record, by the end points of its flow.
local function packets_by_flow(parameters)
  parameters.source, parameters.n_dissections = "samples/web.pcap", 0
  local packets = {}
  for flow in nf.streamer(parameters):flows() do
    local ends = { flow.src_ip .. " " .. flow.src_port, flow.dst_ip .. " " .. flow.dst_port }
    table.sort(ends)
    local key = table.concat(ends, " ") .. " " .. flow.protocol
    packets[key] = packets[key] or {}
    table.insert(packets[key], flow.bidirectional_packets)
  end
  return packets
end

describe("flow_slicer", function()
  for _, limit in ipairs { 1, 4, 10 } do
    it("cuts flows after " .. limit .. " packets, and loses none", function()
      local whole, sliced = packets_by_flow {}, packets_by_flow { udps = FlowSlicer { limit = limit } }
      for key, records in pairs(whole) do
        local total, expected = 0, {}
        for _, packets in ipairs(records) do total = total + packets end
        while total > 0 do
          expected[#expected + 1] = math.min(total, limit)
          total = total - limit
        end
        assert.same(expected, sliced[key])
      end
    end)
  end

  it("marks what it ends", function()
    local forced = 0
    local streamer = nf.streamer { source = "samples/web.pcap", n_dissections = 0, udps = FlowSlicer { limit = 4 } }
    for flow in streamer:flows() do
      assert.equal(flow.bidirectional_packets == 4 and -1 or 0, flow.expiration_id)
      forced = forced + (flow.end_reason == "forced" and 1 or 0)
    end
    assert.is_true(forced > 10)
  end)

  it("refuses a limit below 1", function()
    assert.has_error(function() FlowSlicer { limit = 0 } end)
  end)
end)
