-- What a decoded packet says, and what a capture that ends early leaves of it.

local C = require "spec.support.core" ("decode", "frame")
local D = require "spec.support.decode"
local P = require "nfengine.testing.packet"

local decode, expect, refused, udp4, udp6, is_udp4 = D.decode, D.expect, D.refused, D.udp4, D.udp6, D.is_udp4
local link = D.link

describe("a decoded packet", function()
  it("says everything about a TCP segment", function()
    local frame = P.eth {} .. P.vlan { id = 20 } .. P.ipv4 { options = "\1" }
      .. P.tcp { src_port = 443, dst_port = 50000, flags = "SAC", options = "\1\1\1\1\1" } .. "data!"
    expect(frame, { size = 2000 }, {
      src = "10.0.0.1", dst = "10.0.0.2", src_port = 443, dst_port = 50000, protocol = 6, vlan_id = 20, tunnel_id = 0,
      ip_version = 4, tcp_flags = C.NF_SYN + C.NF_ACK + C.NF_CWR,
      src_mac = "020000000001", dst_mac = "020000000002",
      captured_size = 75, raw_size = 2000, ip_size = 57, transport_size = 33, payload_size = 5,
      ip_offset = 18, transport_offset = 42, payload_offset = 70,
      position = 7, time_ns = 1234567890, same_frame = true,
    })
  end)

  it("has a tuple whose every byte is defined", function()
    local got = expect(P.eth {} .. udp4, nil, {})
    local rest_of_address = ("00"):rep(12)
    assert.are.equal("0a000001" .. rest_of_address .. "0a000002" .. rest_of_address .. "e803d00700001100", got.tuple)
  end)

  it("has no ports and no flags unless it is TCP or UDP", function()
    expect(P.eth {} .. P.ipv4 {} .. P.icmp {} .. "ping", nil,
      { protocol = 1, src_port = 0, dst_port = 0, tcp_flags = 0, transport_size = 12, payload_size = 4 })
    expect(P.eth {} .. P.ipv6 {} .. P.icmpv6 {} .. "ping", nil,
      { protocol = 58, src_port = 0, dst_port = 0, tcp_flags = 0, transport_size = 12, payload_size = 4 })
    expect(P.eth {} .. P.ipv4 { protocol = 132 } .. ("x"):rep(30), nil,
      { protocol = 132, src_port = 0, dst_port = 0, tcp_flags = 0, payload_size = 0 })
  end)

  it("has no ports where the IP packet is too short for the header", function()
    expect(P.eth {} .. P.ipv4 { protocol = 6 } .. ("x"):rep(19), nil,
      { protocol = 6, src_port = 0, transport_size = 19, payload_size = 0 })
    expect(P.eth {} .. P.ipv4 { protocol = 17 } .. ("x"):rep(7), nil,
      { protocol = 17, src_port = 0, transport_size = 7, payload_size = 0 })
    expect(P.eth {} .. P.ipv4 { protocol = 1 } .. ("x"):rep(7), nil,
      { protocol = 1, transport_size = 7, payload_size = 0 })
  end)

  it("takes no padding for payload", function()
    expect(P.eth {} .. P.ipv4 { total_length = 40 } .. P.tcp {} .. ("\0"):rep(6), nil,
      { raw_size = 60, ip_size = 40, transport_size = 20, payload_size = 0, payload_offset = 54 })
  end)

  it("believes the TCP data offset as far as it goes", function()
    expect(P.eth {} .. P.ipv4 {} .. P.tcp { data_offset = 15 } .. "0123456789", nil,
      { payload_size = 0, payload_offset = 64 })
    expect(P.eth {} .. P.ipv4 {} .. P.tcp { data_offset = 0 } .. "0123456789", nil,
      { payload_size = 30, payload_offset = 34 })
  end)

  it("without payload or transport header is a packet all the same", function()
    expect(P.ipv4 { protocol = 253 }, { link = link.raw },
      { protocol = 253, ip_size = 20, transport_size = 0, payload_offset = 20 })
  end)
end)

describe("a capture that ends early", function()
  it("is truncated where the ports are not there (D4)", function()
    refused("truncated", P.eth {} .. P.ipv4 {} .. P.tcp {}, { captured = 34 })
    refused("truncated", P.eth {} .. P.ipv4 {} .. P.udp {} .. "hello", { captured = 37 })
    expect(P.eth {} .. P.ipv4 {} .. P.udp {} .. "hello", { captured = 38 },
      { src_port = 1000, dst_port = 2000, payload_size = 5 })
  end)

  it("leaves a segment without flags where only its ports are there", function()
    local frame = P.eth {} .. P.ipv4 {} .. P.tcp { flags = "S", options = ("\1"):rep(20) } .. "data"
    expect(frame, { captured = 38, size = 78 },
      { src_port = 1000, dst_port = 2000, tcp_flags = 0, payload_size = 24, payload_offset = 38 })
    expect(frame, { captured = 47, size = 78 }, { tcp_flags = 0, payload_size = 24 })
    expect(frame, { captured = 48, size = 78 }, { tcp_flags = C.NF_SYN, payload_size = 4, payload_offset = 48 })
  end)

  it("is a packet without ports where no ports are asked for", function()
    expect(P.eth {} .. P.ipv4 {} .. P.icmp {} .. "ping", { captured = 34, size = 46 },
      { protocol = 1, transport_size = 12, payload_size = 4, transport_offset = 34, payload_offset = 34 })
    expect(P.eth {} .. P.ipv4 { options = ("\1"):rep(40), protocol = 89 } .. "hello", { captured = 40, size = 79 },
      { protocol = 89, ip_offset = 14, transport_offset = 40, payload_offset = 40, transport_size = 5 })
  end)

  it("is truncated where a tunnel's inside is not there", function()
    local frame = P.eth {} .. P.ipv4 {} .. P.udp { dst_port = 2152 } .. P.gtpu {} .. udp4
    for captured = 42, #frame:bytes() - 10 do refused("truncated", frame, { captured = captured, size = 83 }) end
    expect(frame, { captured = 74, size = 83 }, is_udp4)
    expect(frame, { captured = 42, size = 83, tunnels = false }, { dst_port = 2152 })
  end)

  -- Every prefix of these decodes like the whole or is truncated; sizes and tuple never depend on what was captured.
  local function datagram(port) return P.eth {} .. P.ipv4 {} .. P.udp { dst_port = port } end
  local snap = P.wlan {} .. P.snap {}
  local zoo = {
    { link.ethernet, P.eth {} .. P.ipv4 { options = "\1\1" } .. P.tcp { flags = "SA", options = "\1\1" } .. "hello" },
    { link.ethernet, P.eth {} .. P.vlan { tpid = 0x88A8 } .. P.vlan { id = 2 } .. P.mpls {} .. P.mpls {} .. udp6 },
    { link.ethernet, P.eth { length = true } .. P.snap {} .. udp4 },
    { link.ethernet, P.eth { length = true } .. P.llc { dsap = 0x42 } .. ("\0"):rep(35) },
    { link.ethernet, P.eth { type = 0x0806 } .. ("\0"):rep(28) },
    { link.ethernet, P.eth {} .. P.pppoe {} .. P.ppp { compressed = true } .. P.ipv4 { offset = 8, protocol = 17 } },
    { link.ethernet, P.eth {} .. P.ipv6 {} .. P.hop_by_hop { data = ("\0"):rep(14) } .. P.fragment {} .. P.tcp {} },
    { link.ethernet, P.eth {} .. P.ipv6 {} .. P.ipv4 {} .. P.ipv6 {} .. P.icmpv6 {} .. "ping" },
    { link.ethernet, P.eth {} .. P.ipv4 { total_length = 0 } .. P.tcp {} .. ("x"):rep(50) },
    { link.ethernet, datagram(2152) .. P.gtpu { extensions = { { 0x85, "\9\0" } } } .. P.ipv6 {} .. P.tcp {} },
    { link.ethernet, datagram(2152) .. P.gtpu {} .. P.ipv4 { ihl = 3 } .. P.udp {} },
    { link.ethernet, datagram(2152) .. P.gtpu { type = 1 } .. udp4 },
    { link.ethernet, datagram(5247) .. P.capwap {} .. P.wlan { subtype = 8 } .. P.snap {} .. udp4 },
    { link.ethernet, datagram(37008) .. P.tzsp { tags = "\0\10\1\1" } .. P.eth {} .. udp6 },
    { link.ethernet, datagram(37008) .. P.tzsp {} .. P.eth { type = 0x0806 } .. ("\0"):rep(28) },
    { link.null, P.null {} .. udp4 }, { link.loop, P.null {} .. udp6 }, { link.enc, P.enc {} .. udp4 },
    { link.raw, udp4 }, { link.ipv4, udp4 }, { link.ipv6, udp6 }, { link.pflog, P.pflog {} .. udp4 },
    { link.sll, P.sll {} .. udp6 }, { link.sll2, P.sll2 {} .. udp4 }, { link.pppoe, P.pppoe {} .. P.ppp {} .. udp4 },
    { link.ppp, P.ppp { framed = true } .. udp4 }, { link.ppp_serial, P.cisco_hdlc {} .. udp6 },
    { link.cisco_hdlc, P.cisco_hdlc {} .. udp4 }, { link.frame_relay, P.frame_relay {} .. udp6 },
    { link.frame_relay, P.frame_relay { snap = true } .. udp4 },
    { link.wlan, P.wlan { ds = "both", subtype = 8, flags = 0x80 } .. P.snap {} .. udp4 },
    { link.wlan, P.wlan { kind = 0, subtype = 8 } .. ("\0"):rep(40) },
    { link.radiotap, P.radiotap { present = { 0x80000003, 0 }, fields = ("\0"):rep(13) } .. snap .. udp4 },
    { link.prism, P.prism {} .. snap .. udp4 }, { link.ppi, P.ppi {} .. snap .. udp6 },
  }

  local function same_but_for_the_cut(cut, whole, captured)
    for _, field in ipairs { "tuple", "ip_version", "src_mac", "dst_mac", "raw_size", "ip_size", "transport_size",
      "ip_offset" } do
      assert.are.equal(whole[field], cut[field], field)
    end
    for _, field in ipairs { "transport_offset", "payload_offset" } do
      assert.is_true(cut[field] <= captured, field)
    end
    assert.are.equal(math.min(whole.transport_offset, captured), cut.transport_offset)
    if cut.protocol ~= 6 or captured >= whole.transport_offset + 14 then
      assert.are.equal(whole.tcp_flags, cut.tcp_flags)
      assert.are.equal(whole.payload_size, cut.payload_size)
      assert.are.equal(math.min(whole.payload_offset, captured), cut.payload_offset)
    end
  end

  it("anywhere, on any link type, changes no answer but to truncated", function()
    for i, case in ipairs(zoo) do
      local bytes = case[2]:bytes()
      local whole, why = decode(bytes, { link = case[1] })
      local answered = false
      for captured = 0, #bytes do
        -- A copy of exactly that length, so that a sanitizer sees any byte read behind it.
        local cut, reason = decode(bytes:sub(1, captured), { link = case[1], size = #bytes })
        if reason ~= "truncated" then
          assert.are.equal(why, reason, ("case %d cut to %d bytes"):format(i, captured))
          if whole then same_but_for_the_cut(cut, whole, captured) end
          answered = true
        else
          assert.is_false(answered, ("case %d: more bytes, less known at %d"):format(i, captured))
        end
      end
      assert.is_true(answered)
    end
  end)
end)
