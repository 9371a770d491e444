-- IPv4 and IPv6 headers, fragments, extension headers, and IP packets inside IP packets.

local D = require "spec.support.decode"
local P = require "nfengine.testing.packet"

local expect, refused, udp4, udp6, is_udp4, is_udp6 = D.expect, D.refused, D.udp4, D.udp6, D.is_udp4, D.is_udp6
local link = D.link

describe("IPv4", function()
  local function tcp(fields) return P.eth {} .. P.ipv4(fields) .. P.tcp {} .. ("x"):rep(30) end

  it("refuses an IHL under 5 and a total length under the header's (D6)", function()
    refused("bad header", tcp { ihl = 3 })
    refused("bad header", tcp { ihl = 0 })
    refused("bad header", tcp { total_length = 19 })
    refused("bad header", tcp { ihl = 15, total_length = 59 })
    expect(tcp { ihl = 15 }, nil, { transport_size = 10, src_port = 0 })
  end)

  it("takes the frame's size on the wire for a total length of 0 (D6)", function()
    expect(tcp { total_length = 0 }, nil, { ip_size = 70, transport_size = 50, payload_size = 30 })
    expect(tcp { total_length = 0 }, { size = 70014 }, { raw_size = 70014, ip_size = 70000, payload_size = 69960 })
    expect(tcp { total_length = 0 }, { captured = 60, size = 70014 }, { ip_size = 70000, payload_size = 69960 })
  end)

  it("believes a total length beyond the frame", function()
    expect(tcp { total_length = 1000 }, nil, { ip_size = 1000, transport_size = 980, payload_size = 960 })
  end)

  it("counts sizes over 65 535 (D2)", function()
    expect(P.eth {} .. udp4, { size = 65549 }, { raw_size = 65549 })
  end)

  it("keeps a first fragment with its own sizes, refuses later ones", function()
    expect(P.eth {} .. P.ipv4 { more = true } .. P.udp { length = 5000 } .. "12345678", nil,
      { src_port = 1000, ip_size = 36, payload_size = 8 })
    refused("later fragment", P.eth {} .. P.ipv4 { offset = 1480, protocol = 17 } .. "12345678")
    refused("later fragment", P.eth {} .. P.ipv4 { offset = 8, more = true, protocol = 17 } .. "12345678")
  end)

  it("tells the datagram of a fragment, and nothing of whole packets", function()
    assert.same({}, (D.fragmented(P.eth {} .. udp4)))
    local vlan = P.eth {} .. P.vlan { id = 5 }
    local first = vlan .. P.ipv4 { id = 77, more = true } .. P.udp {} .. "12345678"
    assert.same({ { "10.0.0.1 10.0.0.2 17 5 0 77" }, nil }, { D.fragmented(first) })
    local later = vlan .. P.ipv4 { id = 77, offset = 16, protocol = 17 } .. "12345678"
    local datagrams, fields = D.fragmented(later)
    assert.same({ "10.0.0.1 10.0.0.2 17 5 0 77" }, datagrams)
    assert.same({ true, 28, 8, 8, 0, 46, 46, 18 }, { fields.is_fragment, fields.ip_size, fields.transport_size,
      fields.payload_size, fields.src_port, fields.transport_offset, fields.payload_offset, fields.ip_offset })
  end)

  it("refuses later fragments on every link type (D5)", function()
    local fragment = P.ipv4 { offset = 40, protocol = 17 } .. ("z"):rep(30)
    refused("later fragment", P.null { little = true } .. fragment, { link = link.null })
    refused("later fragment", P.ppp {} .. fragment, { link = link.ppp })
    refused("later fragment", P.ppp { framed = true } .. fragment, { link = link.ppp_serial })
    refused("later fragment", P.eth { length = true } .. P.snap {} .. fragment)
    refused("later fragment", P.eth {} .. P.mpls {} .. fragment)
    refused("later fragment", P.eth {} .. P.pppoe {} .. P.ppp {} .. fragment)
  end)
end)

describe("IPv6", function()
  it("has an ip_size with its header (D17)", function()
    expect(P.eth {} .. udp6, nil, { ip_size = 53, transport_size = 13 })
  end)

  it("is read through its extension headers", function()
    local chain = P.eth {} .. P.ipv6 {} .. P.hop_by_hop { data = ("\1"):rep(10) } .. P.destination {} .. P.routing {}
      .. P.mobility {} .. P.fragment {} .. P.udp {} .. "hello"
    expect(chain, nil, { protocol = 17, src_port = 1000, transport_size = 13, payload_size = 5, ip_size = 40 + 48 + 13,
      transport_offset = 14 + 40 + 48 })
  end)

  it("ends the walk at AH and ESP: they are the protocol", function()
    expect(P.eth {} .. P.ipv6 {} .. P.hop_by_hop { next = 51 } .. ("x"):rep(32), nil,
      { protocol = 51, transport_size = 32, src_port = 0 })
    expect(P.eth {} .. P.ipv6 { next = 50 } .. ("x"):rep(32), nil, { protocol = 50, transport_size = 32, src_port = 0 })
  end)

  it("without next header is a flow of protocol 59, whatever follows (D27)", function()
    expect(P.eth {} .. P.ipv6 { next = 59 }, nil, { protocol = 59, ip_size = 40, transport_size = 0 })
    expect(P.eth {} .. P.ipv6 { next = 59 } .. ("x"):rep(20), nil, { protocol = 59, transport_size = 20 })
    expect(P.eth {} .. P.ipv6 { next = 59, payload_length = 0 } .. ("\0"):rep(6), nil, { protocol = 59, ip_size = 40 })
  end)

  it("refuses later fragments, keeps the first", function()
    expect(P.eth {} .. P.ipv6 {} .. P.fragment { more = true } .. P.udp {} .. "hello", nil, { src_port = 1000 })
    refused("later fragment", P.eth {} .. P.ipv6 {} .. P.fragment { offset = 8, next = 17 } .. "hello")
  end)

  it("tells the datagram of a fragment, by 32 bits, and nothing of one that is alone", function()
    assert.same({}, (D.fragmented(P.eth {} .. P.ipv6 {} .. P.fragment {} .. P.udp {} .. "hello")))
    local function fragment(fields)
      return P.eth {} .. P.ipv6 {} .. P.hop_by_hop {} .. P.fragment(fields) .. P.udp {} .. "hello"
    end
    local name = D.is_udp6.src .. " " .. D.is_udp6.dst .. " 44 0 0 4000000001"
    assert.same({ { name }, nil }, { D.fragmented(fragment { id = 4000000001, more = true }) })
    local datagrams, fields = D.fragmented(fragment { id = 4000000001, offset = 16 })
    assert.same({ name }, datagrams)
    assert.same({ 69, 13, 13 }, { fields.ip_size, fields.transport_size, fields.payload_size })
  end)

  it("needs the whole fragment header", function()
    refused("truncated", P.eth {} .. P.ipv6 {} .. P.fragment { more = true } .. P.udp {} .. "x", { captured = 54 + 7 })
  end)

  it("refuses extension headers that overrun the payload", function()
    refused("bad header", P.eth {} .. P.ipv6 {} .. P.hop_by_hop { length = 9 } .. P.udp {} .. "hello")
    refused("bad header", P.eth {} .. P.ipv6 { next = 0, payload_length = 7 } .. ("\0"):rep(40))
    refused("bad header", P.eth {} .. P.ipv6 { next = 44, payload_length = 4 } .. ("\0"):rep(40))
  end)

  it("takes the frame's size on the wire for a payload length of 0 (D6)", function()
    expect(P.eth {} .. P.ipv6 { payload_length = 0 } .. P.tcp {} .. "data", { size = 100054 },
      { ip_size = 100040, transport_size = 100000, payload_size = 99980 })
    expect(P.eth {} .. P.ipv6 { payload_length = 0, next = 0 } .. P.hop_by_hop {} .. P.tcp {} .. "data",
      { size = 70062 },
      { ip_size = 70048, transport_size = 70000, src_port = 1000 })
  end)

  it("cut by the snap length counts with its header lengths, like IPv4 (D3)", function()
    expect(P.eth {} .. P.ipv6 {} .. P.udp {} .. ("x"):rep(1000), { captured = 62, size = 1062 },
      { src_port = 1000, raw_size = 1062, ip_size = 1048, payload_size = 1000, payload_offset = 62 })
    expect(P.eth {} .. P.ipv4 {} .. P.udp {} .. ("x"):rep(1000), { captured = 42, size = 1042 },
      { src_port = 1000, raw_size = 1042, ip_size = 1028, payload_size = 1000, payload_offset = 42 })
  end)
end)

describe("IP in IP", function()
  it("is opened in all four combinations, with or without tunnels", function()
    for _, tunnels in ipairs { true, false } do
      for _, outer in ipairs { P.ipv4 { src = "9.9.9.9" }, P.ipv6 { src = "2001:db8::9" } } do
        expect(P.eth {} .. outer .. udp4, { tunnels = tunnels }, is_udp4)
        expect(P.eth {} .. outer .. udp6, { tunnels = tunnels }, is_udp6)
      end
    end
    expect(P.eth {} .. P.ipv6 {} .. P.destination {} .. udp4, nil, is_udp4)
  end)

  it("is opened to a bounded depth", function()
    local frame = udp4
    for _ = 1, 15 do frame = P.ipv4 { src = "9.9.9.9" } .. frame end
    expect(P.eth {} .. frame, nil, is_udp4)
    refused("bad header", P.eth {} .. P.ipv4 {} .. frame)
  end)

  it("looks at the fragment offset of every level", function()
    refused("later fragment", P.eth {} .. P.ipv4 { offset = 8, protocol = 4 } .. udp4)
    refused("later fragment", P.eth {} .. P.ipv4 {} .. P.ipv4 { offset = 8, protocol = 17 } .. "hello")
    expect(P.eth {} .. P.ipv4 { more = true } .. udp4, nil, is_udp4)
  end)

  it("tells the datagrams of two levels, and of a later fragment always", function()
    local outer = P.ipv4 { src = "10.9.0.1", id = 1, more = true }
    local middle = P.ipv4 { src = "10.9.0.2", id = 2, more = true }
    local names = { "10.9.0.1 10.0.0.2 4 0 0 1", "10.9.0.2 10.0.0.2 4 0 0 2" }
    assert.same(names, (D.fragmented(P.eth {} .. outer .. middle .. P.ipv4 { id = 3, more = true } .. P.udp {} .. "x")))
    local later = P.ipv4 { id = 3, offset = 8, protocol = 17 } .. "x"
    assert.same({ names[1], "10.0.0.1 10.0.0.2 17 0 0 3" }, (D.fragmented(P.eth {} .. outer .. middle .. later)))
  end)

  it("holds the version that the protocol number says", function()
    refused("bad header", P.eth {} .. P.ipv4 { protocol = 4 } .. udp6)
    refused("bad header", P.eth {} .. P.ipv4 { protocol = 41 } .. udp4)
  end)
end)
