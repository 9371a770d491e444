-- plugins/ttl_tos.lua: headers written by hand.

local P = require "nfengine.testing.packet"
local engine = require "spec.support.engine"
local feature = require "spec.support.feature"
local meter = require "spec.support.meter"
local TtlTos = require "plugins.ttl_tos"

local DF = 0x4000

local function there(at, fields, layers)
  return meter.frame(at, P.eth {} .. P.ipv4(fields) .. (layers or P.udp {} .. "x"))
end

local function back(at, fields)
  fields.src, fields.dst = "10.0.0.2", "10.0.0.1"
  return there(at, fields, P.udp { src_port = 2000, dst_port = 1000 } .. "x")
end

-- IPv6 with this traffic class and hop limit.
local function there6(at, class, hops, layers)
  local bytes = (P.ipv6 { hops = hops } .. (layers or P.udp {} .. "x")):bytes()
  local head = 0x60000000 + class * 2 ^ 20 + 0x12345 -- and a flow label
  return meter.frame(at, P.eth { type = 0x86DD } .. (P.u32(head) .. bytes:sub(5)))
end

-- What the plugin says of one direction: { first, min, max, changes }, { first, min, max, ecn }, { df, fragmented }.
local function seen(packets, way)
  local flow = engine.flows({ packets = packets, udps = TtlTos })[1]
  way = way or "src2dst"
  return { feature.values(flow, "ttl_" .. way, "first min max changes"),
    feature.values(flow, "tos_" .. way, "dscp_first dscp_min dscp_max ecn"),
    feature.values(flow, "ttl_tos_" .. way, "df fragmented") }
end

local NONE = { { -1, -1, -1, 0 }, { -1, -1, -1, 0 }, { 0, 0 } }

local CONVERSATION = {
  there(0, { ttl = 64, tos = 0xB8, flags = DF }), -- DSCP 46, Not-ECT
  there(1, { ttl = 64, tos = 0x02, flags = DF }), -- DSCP 0, ECT(0)
  back(2, { ttl = 57, tos = 0x01 }),              -- DSCP 0, ECT(1)
  there(3, { ttl = 63, tos = 0x23 }),             -- DSCP 8, CE
  there(4, { ttl = 255, tos = 0xFC, more = true }), -- DSCP 63, Not-ECT
  back(5, { ttl = 1, tos = 0x03, flags = DF }),   -- DSCP 0, CE
  there(6, { ttl = 255, tos = 0 }),
}

describe("ttl_tos", function()
  after_each(engine.cleanup)

  feature.tests("ttl_tos", "icmp.pcap", CONVERSATION)

  it("has TTL, DSCP, ECN and fragmentation of each direction", function()
    assert.same({ { 64, 63, 255, 2 }, { 46, 0, 63, 13 }, { 2, 1 } }, seen(CONVERSATION)) -- 1 + 4 + 8
    assert.same({ { 57, 1, 57, 1 }, { 0, 0, 0, 10 }, { 1, 0 } }, seen(CONVERSATION, "dst2src")) -- 2 + 8
  end)

  it("has one packet's for a flow of one, and nothing for the way back", function()
    local packets = { there(0, { ttl = 0, tos = 0xFF }) }
    assert.same({ { 0, 0, 0, 0 }, { 63, 63, 63, 8 }, { 0, 0 } }, seen(packets))
    assert.same(NONE, seen(packets, "dst2src"))
  end)

  it("keeps apart the first value and the lowest, where that is 0", function()
    assert.same({ { 0, 0, 9, 1 }, { 0, 0, 2, 1 }, { 0, 0 } },
      seen { there(0, { ttl = 0, tos = 0 }), there(1, { ttl = 9, tos = 8 }) })
  end)

  it("counts each change of a TTL, back and forth", function()
    local packets = {}
    for i, ttl in ipairs { 64, 63, 64, 64, 63 } do packets[i] = there(i, { ttl = ttl }) end
    assert.same({ 64, 63, 64, 3 }, seen(packets)[1])
    -- Each direction by itself.
    assert.same({ 64, 64, 64, 0 },
      seen({ there(0, { ttl = 64 }), back(1, { ttl = 50 }), there(2, { ttl = 64 }) })[1])
  end)

  it("reads hop limit and traffic class of IPv6", function()
    assert.same({ { 64, 64, 255, 1 }, { 46, 0, 46, 9 }, { 0, 0 } },
      seen { there6(0, 0xB8, 64), there6(1, 0x03, 255) })
  end)

  it("counts the first fragments of IPv4 and IPv6, and no whole packets", function()
    local whole, first = P.fragment {} .. P.udp {} .. "x", P.fragment { more = true } .. P.udp { length = 99 } .. "x"
    assert.equal(1, seen({ there6(0, 0, 64), there6(1, 0, 64, first) })[3][2])
    -- A fragment header that says it is alone: the packet was not fragmented.
    assert.equal(0, seen({ there6(0, 0, 64, whole) })[3][2])
    assert.equal(0, seen({ there(0, { flags = 0x8000 }) })[3][2])
  end)

  it("is of the innermost packet where a tunnel was opened", function()
    local inner = P.ipv4 { src = "192.0.2.1", dst = "192.0.2.2", ttl = 33, tos = 0x28 } .. P.udp {} .. "x"
    local frame = P.eth {} .. P.ipv4 { ttl = 99, tos = 0xB8 } .. P.udp { src_port = 2152, dst_port = 2152 }
      .. P.gtpu {} .. inner
    local packets = { meter.frame(0, frame) }
    assert.same({ { 33, 33, 33, 0 }, { 10, 10, 10, 1 }, { 0, 0 } }, seen(packets))
    local flow = engine.flows({ packets = packets, udps = TtlTos, decode_tunnels = false })[1]
    assert.same({ 99, 46 }, { flow.udps.ttl_src2dst_first, flow.udps.tos_src2dst_dscp_first })
  end)

  it("reads a header with options", function()
    assert.same({ 7, 7, 7, 0 }, seen({ there(0, { ttl = 7, options = P.hex "94040000" }) })[1])
  end)

  it("refuses options", function()
    assert.matches("unknown option", engine.refusal(TtlTos, { tos = true }))
  end)
end)
