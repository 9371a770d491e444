-- Link layers: from the first byte of a frame of every known link type to its IP packet, or the reason why not.

local D = require "spec.support.decode"
local P = require "nfengine.testing.packet"

local expect, refused, carries_both, udp4, udp6, is_udp4, is_udp6
  = D.expect, D.refused, D.carries_both, D.udp4, D.udp6, D.is_udp4, D.is_udp6
local link = D.link

describe("link type", function()
  it("Ethernet", function() carries_both(link.ethernet, function(ip) return P.eth {} .. ip end) end)

  it("Ethernet with 802.3 length and SNAP (D5)", function()
    carries_both(link.ethernet, function(ip) return P.eth { length = true } .. P.snap {} .. ip end)
    carries_both(link.ethernet, function(ip) return P.eth { length = true } .. P.snap { organisation = 0xF8 } .. ip end)
    carries_both(link.ethernet, function(ip) return P.eth {} .. P.vlan { type = 61 } .. P.snap {} .. ip end)
    refused("not IP", P.eth { length = true } .. P.snap { organisation = 0x0C } .. udp4)
    refused("not IP", P.eth { length = true } .. P.llc { dsap = 0x42 } .. udp4)
    refused("not IP", P.eth { length = true } .. udp4)
  end)

  it("Ethernet: VLAN stacks of all three tags, innermost id (D5)", function()
    for _, tpid in ipairs { 0x8100, 0x88A8, 0x9100 } do
      carries_both(link.ethernet, function(ip) return P.eth {} .. P.vlan { tpid = tpid, priority = 7 } .. ip end)
      expect(P.eth {} .. P.vlan { tpid = tpid, id = 10 } .. P.vlan { id = 0xFFF, priority = 5 } .. udp4, nil,
        { vlan_id = 0xFFF })
      expect(P.eth {} .. P.vlan { id = 10 } .. P.vlan { tpid = tpid, id = 0 } .. udp4, nil, { vlan_id = 0 })
    end
  end)

  it("Ethernet: MPLS of any depth", function()
    carries_both(link.ethernet, function(ip) return P.eth {} .. P.mpls {} .. ip end)
    carries_both(link.ethernet, function(ip) return P.eth { type = 0x8848 } .. P.mpls {} .. P.mpls {} .. ip end)
    expect(P.eth {} .. P.vlan { id = 30 } .. P.mpls {} .. udp4, nil, { vlan_id = 30 })
    refused("not IP", P.eth {} .. P.mpls {} .. "\0\0\0\0" .. P.eth {} .. udp4)
  end)

  it("Ethernet: an MPLS pseudo-wire whose addresses begin like IP is none", function()
    refused("not IP", P.eth {} .. P.mpls {} .. P.eth { dst = "68:bc:0c:01:02:03", src = "f0:a0:30:51:bd:a8" } .. udp4)
    refused("not IP", P.eth {} .. P.mpls {} .. P.eth { dst = "45:00:0c:01:02:03" } .. udp4)
  end)

  it("Ethernet: PPPoE sessions", function()
    carries_both(link.ethernet, function(ip) return P.eth {} .. P.pppoe {} .. P.ppp {} .. ip end)
    carries_both(link.ethernet, function(ip)
      return P.eth {} .. P.vlan { id = 35 } .. P.pppoe {} .. P.ppp { compressed = true } .. ip
    end)
    refused("not IP", P.eth {} .. P.pppoe {} .. P.ppp { protocol = 0xC021 } .. udp4)
    refused("not IP", P.eth {} .. P.pppoe { code = 9 } .. P.ppp {} .. udp4)
    refused("not IP", P.eth { type = 0x8863 } .. P.pppoe {} .. P.ppp {} .. udp4)
  end)

  it("Ethernet: other ether types are not IP, whatever they carry (D5)", function()
    for _, type in ipairs { 0x0806, 0x8903, 0x88E7, 0x888E, 1501, 1535 } do
      refused("not IP", P.eth { type = type } .. udp4)
      refused("not IP", P.eth { type = type } .. udp6)
    end
  end)

  it("Ethernet: ether type and version must agree (D5)", function()
    refused("bad header", P.eth { type = 0x86DD } .. udp4)
    refused("bad header", P.eth { type = 0x0800 } .. udp6)
    refused("bad header", P.eth {} .. P.ipv4 { version = 5 } .. P.udp {})
  end)

  it("BSD loopback, in either byte order (D5)", function()
    for _, little in ipairs { true, false } do
      expect(P.null { little = little } .. udp4, { link = link.null }, is_udp4)
      for _, family in ipairs { 10, 23, 24, 28, 30 } do
        expect(P.null { little = little, family = family } .. udp6, { link = link.null }, is_udp6)
      end
      refused("not IP", P.null { little = little, family = 7 } .. udp4, { link = link.null })
      refused("bad header", P.null { little = little, family = 30 } .. udp4, { link = link.null })
    end
    expect(P.null {} .. udp4, { link = link.null }, { src_mac = "000000000000", dst_mac = "000000000000" })
  end)

  it("OpenBSD loopback", function() carries_both(link.loop, function(ip) return P.null {} .. ip end) end)

  it("PPP, with and without FF 03, protocol in one byte or two (D5)", function()
    for _, line in ipairs { link.ppp, link.ppp_serial } do
      carries_both(line, function(ip) return P.ppp {} .. ip end)
      carries_both(line, function(ip) return P.ppp { framed = true } .. ip end)
      carries_both(line, function(ip) return P.ppp { framed = true, compressed = true } .. ip end)
      carries_both(line, function(ip) return P.ppp { compressed = true } .. ip end)
      carries_both(line, function(ip) return P.ppp { framed = true } .. P.mpls {} .. ip end)
      carries_both(line, function(ip) return P.cisco_hdlc {} .. ip end)
      refused("not IP", P.ppp { framed = true, protocol = 0xC021 } .. udp4, { link = line })
    end
  end)

  it("PPPoE", function() carries_both(link.pppoe, function(ip) return P.pppoe {} .. P.ppp {} .. ip end) end)

  it("Cisco HDLC", function()
    carries_both(link.cisco_hdlc, function(ip) return P.cisco_hdlc {} .. ip end)
    carries_both(link.cisco_hdlc, function(ip) return P.cisco_hdlc { address = 0x8F } .. P.mpls {} .. ip end)
    refused("not IP", P.cisco_hdlc { type = 0x8035 } .. udp4, { link = link.cisco_hdlc })
  end)

  it("raw IP, by three numbers", function()
    for _, line in ipairs { link.raw, 12, 14 } do
      carries_both(line, function(ip) return ip end)
      refused("not IP", P.ipv4 { version = 5 } .. P.udp {}, { link = line })
    end
  end)

  it("raw IPv4 and raw IPv6, and nothing else in them (D5)", function()
    expect(udp4, { link = link.ipv4 }, is_udp4)
    expect(udp6, { link = link.ipv6 }, is_udp6)
    refused("bad header", udp6, { link = link.ipv4 })
    refused("bad header", udp4, { link = link.ipv6 })
  end)

  it("Linux cooked, both versions, without MACs", function()
    carries_both(link.sll, function(ip) return P.sll {} .. ip end)
    carries_both(link.sll2, function(ip) return P.sll2 {} .. ip end)
    expect(P.sll {} .. P.vlan { id = 5 } .. udp4, { link = link.sll },
      { vlan_id = 5, src_mac = "000000000000", dst_mac = "000000000000" })
    expect(P.sll2 {} .. udp4, { link = link.sll2 }, { src_mac = "000000000000", dst_mac = "000000000000" })
    expect(P.sll { type = 4 } .. P.snap {} .. udp4, { link = link.sll }, is_udp4)
    refused("not IP", P.sll { type = 0x0806 } .. udp4, { link = link.sll })
    refused("not IP", P.sll { type = 1 } .. udp4, { link = link.sll })
  end)

  it("Frame Relay: NLPID, SNAP, Cisco's ether types", function()
    carries_both(link.frame_relay, function(ip) return P.frame_relay {} .. ip end)
    carries_both(link.frame_relay, function(ip) return P.frame_relay { snap = true } .. ip end)
    carries_both(link.frame_relay, function(ip) return P.frame_relay { cisco = true } .. ip end)
    carries_both(link.frame_relay, function(ip) return P.frame_relay { address = "\x18\x40\x02\x01" } .. ip end)
    refused("not IP", P.frame_relay { nlpid = 0x81 } .. udp4, { link = link.frame_relay })
    refused("bad header", P.frame_relay { address = "\x18\x40\x02\x02" } .. udp4, { link = link.frame_relay })
  end)

  it("OpenBSD's ENC and PFLOG", function()
    expect(P.enc {} .. udp4, { link = link.enc }, is_udp4)
    expect(P.enc { family = 24 } .. udp6, { link = link.enc }, is_udp6)
    expect(P.pflog {} .. udp4, { link = link.pflog }, is_udp4)
    expect(P.pflog { family = 24 } .. udp6, { link = link.pflog }, is_udp6)
    refused("not IP", P.pflog { family = 1 } .. udp4, { link = link.pflog })
  end)

  it("none that is known is said to be unknown", function()
    refused("unknown link type", udp4, { link = 147 })
    refused("unknown link type", "", { link = 0xFFFFFFFF })
  end)
end)

describe("wireless link type", function()
  local function wlan(fields) return P.wlan(fields) .. P.snap {} end

  it("802.11: data and QoS data in every direction", function()
    for _, ds in ipairs { "none", "to", "from", "both" } do
      for _, subtype in ipairs { 0, 1, 8 } do
        carries_both(link.wlan, function(ip) return wlan { ds = ds, subtype = subtype } .. ip end)
      end
    end
    carries_both(link.wlan, function(ip) return wlan { subtype = 8, flags = 0x80 } .. ip end)
  end)

  it("802.11: MACs are address 2 and 3 between station and access point, as NFStream has them", function()
    expect(wlan { ds = "to" } .. udp4, { link = link.wlan }, { src_mac = "02000000000b", dst_mac = "02000000000c" })
    expect(wlan { ds = "from" } .. udp4, { link = link.wlan }, { src_mac = "02000000000b", dst_mac = "02000000000c" })
    expect(wlan { ds = "none" } .. udp4, { link = link.wlan }, { src_mac = "02000000000b", dst_mac = "02000000000a" })
    expect(wlan { ds = "both" } .. udp4, { link = link.wlan }, { src_mac = "02000000000d", dst_mac = "02000000000c" })
  end)

  it("802.11: what carries no packet in the clear", function()
    refused("not IP", wlan { kind = 0, subtype = 8 } .. udp4, { link = link.wlan }) -- beacon
    refused("not IP", wlan { kind = 1, subtype = 13 } .. udp4, { link = link.wlan }) -- ACK
    refused("not IP", wlan { subtype = 4 } .. udp4, { link = link.wlan }) -- null data
    refused("not IP", wlan { subtype = 12 } .. udp4, { link = link.wlan }) -- QoS null
    refused("not IP", wlan { flags = 0x40 } .. udp4, { link = link.wlan }) -- encrypted
    refused("not IP", P.wlan {} .. udp4, { link = link.wlan }) -- no LLC
    refused("later fragment", wlan { sequence = 0x121 } .. udp4, { link = link.wlan })
  end)

  it("radiotap: flags are found wherever they stand", function()
    local function radiotap(fields) return P.radiotap(fields) .. wlan {} .. udp4 end
    local PADDED, BAD_FCS = "\x20", "\x50"
    expect(radiotap {}, { link = link.radiotap }, is_udp4)
    -- No flags at all: bytes that look like them belong to other fields.
    expect(radiotap { present = { 0x04 }, fields = BAD_FCS }, { link = link.radiotap }, is_udp4)
    refused("bad header", radiotap { present = { 0x02 }, fields = BAD_FCS }, { link = link.radiotap })
    -- The timestamp begins at a multiple of eight: right behind one word, four bytes behind two.
    refused("bad header", radiotap { present = { 0x03 }, fields = ("\0"):rep(8) .. BAD_FCS }, { link = link.radiotap })
    expect(radiotap { present = { 0x80000003, 0x00 }, fields = ("\0"):rep(8) .. BAD_FCS .. "\0\0\0\0" },
      { link = link.radiotap }, is_udp4)
    refused("bad header", radiotap { present = { 0x80000003, 0x00 }, fields = ("\0"):rep(12) .. BAD_FCS },
      { link = link.radiotap })
    refused("bad header", radiotap { present = { 0x80000003, 0x80000000, 0 }, fields = ("\0"):rep(8) .. BAD_FCS },
      { link = link.radiotap })
    -- A padded header of a QoS frame has two bytes more.
    local qos = P.wlan { subtype = 8, padded = true } .. P.snap {} .. udp4
    expect(P.radiotap { present = { 0x02 }, fields = PADDED } .. qos, { link = link.radiotap }, is_udp4)
    refused("not IP", P.radiotap { present = { 0x02 }, fields = "\0" } .. qos, { link = link.radiotap })
  end)

  it("radiotap: a header that contradicts itself", function()
    refused("bad header", P.radiotap { length = 7 } .. wlan {} .. udp4, { link = link.radiotap })
    refused("truncated", P.radiotap { length = 60000 } .. wlan {} .. udp4, { link = link.radiotap })
    -- Present words up to the header's end and no further.
    expect(P.radiotap { present = { 0x80000002, 0x80000000, 0x80000000 } } .. wlan {} .. udp4,
      { link = link.radiotap }, is_udp4)
  end)

  it("PPI and Prism", function()
    carries_both(link.ppi, function(ip) return P.ppi {} .. wlan {} .. ip end)
    carries_both(link.ppi, function(ip) return P.ppi { link = link.ethernet, fields = "1234" } .. P.eth {} .. ip end)
    refused("unknown link type", P.ppi { link = 147 } .. udp4, { link = link.ppi })
    refused("bad header", P.ppi { link = link.ppi } .. P.ppi {} .. wlan {} .. udp4, { link = link.ppi })
    carries_both(link.prism, function(ip) return P.prism {} .. wlan {} .. ip end)
  end)
end)
