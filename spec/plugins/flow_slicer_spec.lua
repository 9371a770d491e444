-- plugins/flow_slicer.lua: the flows of a sample, sliced by hand, and flows made byte by byte.

local testing = require "nfengine.testing"
local worker = require "nfengine.worker"
local FlowSlicer = require "plugins.flow_slicer"

local P = testing.packet

local function udp(ms, from, to)
  local ip = P.ipv4 { src = "10.0.0." .. from, dst = "10.0.0." .. to }
  return testing.at(ms, P.eth {} .. ip .. P.udp { src_port = 1000 * from, dst_port = 1000 * to })
end

-- Packets of each record, by the end points of its flow.
local function packets_by_flow(udps)
  local packets = {}
  for _, flow in ipairs(testing.flows { source = "samples/web.pcap", udps = udps }) do
    local ends = { flow.src_ip .. " " .. flow.src_port, flow.dst_ip .. " " .. flow.dst_port }
    table.sort(ends)
    local key = table.concat(ends, " ") .. " " .. flow.protocol
    packets[key] = packets[key] or {}
    table.insert(packets[key], flow.bidirectional_packets)
  end
  return packets
end

describe("flow_slicer", function()
  after_each(testing.cleanup)

  for _, limit in ipairs { 1, 4, 10 } do
    it("cuts flows after " .. limit .. " packets, and loses none", function()
      local whole, sliced = packets_by_flow(), packets_by_flow(FlowSlicer { limit = limit })
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
    for _, flow in ipairs(testing.flows { source = "samples/web.pcap", udps = FlowSlicer { limit = 4 } }) do
      assert.equal(flow.bidirectional_packets == 4 and -1 or 0, flow.expiration_id)
      forced = forced + (flow.end_reason == "forced" and 1 or 0)
    end
    assert.is_true(forced > 10)
  end)

  it("lets the next packet's sender begin the next flow", function()
    local packets = { udp(0, 1, 2), udp(1, 2, 1), udp(2, 2, 1), udp(3, 1, 2), udp(4, 1, 2) }
    local flows = testing.flows { packets = packets, udps = FlowSlicer { limit = 2 } }
    local rows = {}
    for i, flow in ipairs(flows) do
      rows[i] = { flow.src_ip, flow.src2dst_packets, flow.dst2src_packets, flow.expiration_id }
    end
    assert.same({ { "10.0.0.1", 1, 1, -1 }, { "10.0.0.2", 1, 1, -1 }, { "10.0.0.1", 1, 0, 0 } }, rows)
  end)

  it("takes 10 packets by default", function()
    local packets = {}
    for i = 1, 21 do packets[i] = udp(i, 1, 2) end
    assert.same({ 10, 10, 1 },
      testing.column("bidirectional_packets", testing.flows { packets = packets, udps = FlowSlicer }))
  end)

  it("refuses a limit that is no number of packets", function()
    for _, limit in ipairs { 0, -1, 2.5, "four" } do
      assert.matches("plugin flow_slicer: limit = .*: expected an integer of at least 1",
        testing.refusal(FlowSlicer, { limit = limit }))
    end
  end)

  it("lets a run choose any number of meters", function()
    assert.is_false(worker.wants_one { FlowSlicer {} })
  end)
end)
