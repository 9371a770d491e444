-- plugins/community_id.lua against the specification's own values, for all captures of it that are here, and for the
-- same addresses in packets made here.

local CommunityId = require "plugins.community_id"
local data = require "spec.support.data"
local json = require "nfengine.json"
local nf = require "nfengine"
local program = require "spec.support.program"
local testing = require "nfengine.testing"

local P = testing.packet

local function ids(packets, options)
  return testing.column("udps.community_id", testing.flows { packets = packets, udps = CommunityId(options or {}) })
end

-- The flow that these layers begin.
local function id_of(layers, options) return ids({ testing.at(0, P.eth {} .. layers) }, options)[1] end

-- "FROM > TO" as an IP header.
local function ip(ends)
  local from, to = ends:match "^(%S+) > (%S+)$"
  return (from:find ":" and P.ipv6 or P.ipv4) { src = from, dst = to }
end

local function both_ways(ends) return ends, (ends:gsub("^(%S+) > (%S+)$", "%2 > %1")) end

describe("community_id", function()
  after_each(testing.cleanup)

  it("is the specification's for TCP and UDP, in both directions", function()
    local there, back = both_ways "128.232.110.120 > 66.35.250.204"
    assert.are.equal("1:LQU9qZlK+B5F3KDmev6m5PMibrg=", id_of(ip(there) .. P.tcp { src_port = 34855, dst_port = 80 }))
    assert.are.equal("1:LQU9qZlK+B5F3KDmev6m5PMibrg=", id_of(ip(back) .. P.tcp { src_port = 80, dst_port = 34855 }))
    there, back = both_ways "192.168.1.52 > 8.8.8.8"
    assert.are.equal("1:d/FP5EW3wiY1vCndhwleRRKHowQ=", id_of(ip(there) .. P.udp { src_port = 54585, dst_port = 53 }))
    assert.are.equal("1:d/FP5EW3wiY1vCndhwleRRKHowQ=", id_of(ip(back) .. P.udp { src_port = 53, dst_port = 54585 }))
    there, back = both_ways "2001:470:e5bf:dead:4957:2174:e82c:4887 > 2607:f8b0:400c:c03::1a"
    assert.are.equal("1:/qFaeAR+gFe1KYjMzVDsMv+wgU4=", id_of(ip(there) .. P.tcp { src_port = 63943, dst_port = 25 }))
    assert.are.equal("1:/qFaeAR+gFe1KYjMzVDsMv+wgU4=", id_of(ip(back) .. P.tcp { src_port = 25, dst_port = 63943 }))
  end)

  it("goes by ports where both addresses are the same", function()
    local there = id_of(ip "10.0.0.1 > 10.0.0.1" .. P.udp { src_port = 256, dst_port = 255 })
    assert.are.equal(there, id_of(ip "10.0.0.1 > 10.0.0.1" .. P.udp { src_port = 255, dst_port = 256 }))
    assert.are_not.equal(there, id_of(ip "10.0.0.1 > 10.0.0.1" .. P.udp { src_port = 255, dst_port = 255 }))
  end)

  it("is the specification's for ICMP, where a type and its answer are one flow", function()
    local there, back = both_ways "192.168.0.89 > 192.168.0.1"
    assert.are.equal("1:X0snYXpgwiv9TZtqg64sgzUn6Dk=", id_of(ip(there) .. P.icmp { type = 8 }))
    assert.are.equal("1:X0snYXpgwiv9TZtqg64sgzUn6Dk=", id_of(ip(back) .. P.icmp { type = 0 }))
    -- What nothing answers keeps its direction: SHA-1 of 0000 0a000002 0a000001 01 00 000b 0000 in the second.
    assert.are.equal("1:YHxtAirCG//0OzkcVAukqKQN9xM=", id_of(ip "10.0.0.1 > 10.0.0.2" .. P.icmp { type = 11 }))
    assert.are.equal("1:c5iqfdGYsNWhMJVcYXWPNWbpnKs=", id_of(ip "10.0.0.2 > 10.0.0.1" .. P.icmp { type = 11 }))
  end)

  it("is the specification's for ICMPv6", function()
    local function icmp(ends, kind, code) return id_of(ip(ends) .. P.icmpv6 { type = kind, code = code or 0 }) end
    local there, back = both_ways "3ffe:507:0:1:200:86ff:fe05:80da > 3ffe:501:0:1001::2"
    assert.are.equal("1:+TW+HtLHvV1xnGhV1lv7XoJrqQg=", icmp(there, 128))
    assert.are.equal("1:+TW+HtLHvV1xnGhV1lv7XoJrqQg=", icmp(back, 129))
    there, back = both_ways "fe80::200:86ff:fe05:80da > fe80::260:97ff:fe07:69ea"
    assert.are.equal("1:dGHyGvjMfljg6Bppwm3bg0LO8TY=", icmp(there, 135))
    assert.are.equal("1:dGHyGvjMfljg6Bppwm3bg0LO8TY=", icmp(back, 136))
    assert.are.equal("1:hO+sN4H+MG5MY/8hIrXPqc4ZQz0=", icmp("fe80::200:86ff:fe05:80da > ff02::2", 133))
    assert.are.equal("1:pkvHqCL88/tg1k4cPigmZXUtL00=", icmp("fe80::260:97ff:fe07:69ea > ff02::1", 134))
    -- What nothing answers has its code.
    local far = "3ffe:501:410:0:2c0:dfff:fe47:33e > 3ffe:507:0:1:200:86ff:fe05:80da"
    assert.are.equal("1:hLZd0XGWojozrvxqE0dWB1iM6R0=", icmp(far, 1, 4))
    far = "3ffe:501:1800:2345::2 > 3ffe:507:0:1:200:86ff:fe05:80da"
    assert.are.equal("1:2ObVBgIn28oZvibYZhZMBgh7WdQ=", icmp(far, 3))
  end)

  it("pairs every type of ICMP that has an answer with it", function()
    local function icmp(layer, from, to, kind)
      return id_of(ip(from .. " > " .. to) .. layer { type = kind, code = 0 })
    end
    for question, answer in pairs { [8] = 0, [13] = 14, [15] = 16, [10] = 9, [17] = 18 } do
      assert.are.equal(icmp(P.icmp, "10.0.0.1", "10.0.0.2", question), icmp(P.icmp, "10.0.0.2", "10.0.0.1", answer))
    end
    for question, answer in pairs { [128] = 129, [133] = 134, [135] = 136, [130] = 131, [139] = 140, [144] = 145 } do
      assert.are.equal(icmp(P.icmpv6, "::1", "::2", question), icmp(P.icmpv6, "::2", "::1", answer))
    end
    for _, alone in ipairs { 3, 11 } do
      assert.are_not.equal(icmp(P.icmp, "10.0.0.1", "10.0.0.2", alone), icmp(P.icmp, "10.0.0.2", "10.0.0.1", alone))
    end
  end)

  it("is the specification's for SCTP and for protocols without ports", function()
    local sctp = P.u16(7) .. P.u16(7) .. ("\0"):rep(8)
    local function of(ends, protocol, payload)
      local from, to = ends:match "^(%S+) > (%S+)$"
      return id_of(P.ipv4 { src = from, dst = to, protocol = protocol } .. payload)
    end
    for _, ends in ipairs { both_ways "192.168.170.8 > 192.168.170.56" } do
      assert.are.equal("1:MP2EtRCAUIZvTw6MxJHLV7N7JDs=", of(ends, 132, sctp))
    end
    for _, ends in ipairs { both_ways "10.1.12.1 > 10.1.12.2" } do
      assert.are.equal("1:KHlLkgoJW7ifUTyTSgyVfkFHzKw=", of(ends, 46, "RSVP, say"))
      assert.are.equal("1:KHlLkgoJW7ifUTyTSgyVfkFHzKw=", of(ends, 46, ""))
    end
  end)

  it("has no ports where SCTP's or ICMP's were not captured, or are not there", function()
    local function cut(layers, size)
      local packet = testing.at(0, P.eth {} .. layers)
      packet.size, packet.bytes = #packet.bytes, packet.bytes:sub(1, 14 + 20 + size)
      return ids({ packet })[1]
    end
    local sctp = P.ipv4 { protocol = 132 } .. P.u16(7) .. P.u16(8) .. ("\0"):rep(8)
    local bare = cut(sctp, 0)
    assert.is_truthy(bare:match "^1:" and #bare == 30)
    for size = 1, 3 do assert.are.equal(bare, cut(sctp, size)) end
    assert.are_not.equal(bare, cut(sctp, 4))
    assert.are.equal(cut(sctp, 4), id_of(sctp))
    local icmp = P.ipv4 {} .. P.icmp { type = 8 }
    assert.are.equal(cut(icmp, 0), cut(icmp, 1))
    assert.are_not.equal(cut(icmp, 1), cut(icmp, 2))
    assert.are.equal(cut(icmp, 2), id_of(icmp))
  end)

  it("is a flow's first packet's, where one flow holds several", function()
    local function echo(at, kind, code)
      return testing.at(at, P.eth {} .. P.ipv4 {} .. P.icmp { type = kind, code = code })
    end
    local flows = ids { echo(0, 3, 1), echo(1, 8), echo(2, 3, 2) }
    assert.are.same({ id_of(P.ipv4 {} .. P.icmp { type = 3, code = 1 }) }, flows)
    assert.are_not.equal(flows[1], id_of(P.ipv4 {} .. P.icmp { type = 3, code = 2 }))
  end)

  it("takes no part in VLANs, tunnels and IP options", function()
    local udp = P.udp { src_port = 5, dst_port = 6 }
    local plain = id_of(P.ipv4 {} .. udp)
    assert.are.equal(plain, id_of(P.ipv4 { options = "\1\1\1\1" } .. udp))
    local tagged = testing.at(0, P.eth {} .. P.vlan { id = 20 } .. P.ipv4 {} .. udp)
    assert.are.same({ plain }, ids { tagged })
    local tunnel = P.ipv4 { src = "9.9.9.9" } .. P.udp { src_port = 2152, dst_port = 2152 } .. P.gtpu {}
    assert.are.equal(plain, id_of(tunnel .. P.ipv4 {} .. udp))
    local behind_header = P.ipv6 {} .. P.destination {} .. udp
    assert.are.equal(id_of(P.ipv6 {} .. udp), id_of(behind_header))
  end)

  it("changes with the seed", function()
    local there = ip "128.232.110.120 > 66.35.250.204" .. P.tcp { src_port = 34855, dst_port = 80 }
    assert.are.equal("1:3V71V58M3Ksw/yuFALMcW0LAHvc=", id_of(there, { seed = 1 }))
    local echo = ip "192.168.0.89 > 192.168.0.1" .. P.icmp { type = 8 }
    assert.are.equal("1:03g6IloqVBdcZlPyX8r0hgoE7kA=", id_of(echo, { seed = 1 }))
    assert.are_not.equal(id_of(echo, { seed = 1 }), id_of(echo, { seed = 256 }))
    assert.are_not.equal(id_of(echo, { seed = 65535 }), id_of(echo, { seed = 255 }))
  end)

  it("refuses a seed that has no two bytes", function()
    for _, seed in ipairs { -1, 65536, 1.5, "x" } do
      assert.is_truthy(testing.refusal(CommunityId, { seed = seed }):find "seed")
    end
  end)

  it("is the one expected of every packet's flow in the specification's captures", function()
    local text = program.read(data.folder .. "/expected/community-id-spec/baseline_deflt.json")
    if not text then return pending(data.absent) end
    local expected = json.decode(text)
    assert.is_true(#expected >= 11)
    local folder, seen = data.folder .. "/captures/community-id-spec", {}
    for flow in nf.streamer { source = folder, n_dissections = 0, udps = CommunityId {} }:flows() do
      seen[("%s %s %d"):format(flow.src_ip, flow.dst_ip, flow.protocol)] = flow.udps.community_id
    end
    local met = 0
    for _, each in ipairs(expected) do
      -- As both directions are one flow here, so they are in the list.
      local id = seen[("%s %s %d"):format(each.saddr, each.daddr, each.proto)]
        or seen[("%s %s %d"):format(each.daddr, each.saddr, each.proto)]
      assert.are.equal(each.communityid, id)
      met = met + 1
    end
    assert.are.equal(#expected, met)
    -- And nothing else: each flow is one of them.
    local known = {}
    for _, each in ipairs(expected) do known[each.communityid] = true end
    for _, id in pairs(seen) do assert.is_true(known[id]) end
  end)
end)
