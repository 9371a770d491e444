-- Tunnels over UDP: which are opened, which are ordinary datagrams, what the packet inside keeps of the outside.

local C = require "spec.support.core" ("decode", "frame")
local D = require "spec.support.decode"
local P = require "nfengine.testing.packet"

local expect, refused, udp4, udp6, is_udp4, is_udp6 = D.expect, D.refused, D.udp4, D.udp6, D.is_udp4, D.is_udp6
local link = D.link
local GTP, CAPWAP, TZSP = C.NF_TUNNEL_GTP, C.NF_TUNNEL_CAPWAP, C.NF_TUNNEL_TZSP

describe("a tunnel", function()
  local function over4(port, inside)
    return P.eth {} .. P.ipv4 { src = "9.9.9.1" } .. P.udp { dst_port = port } .. inside
  end

  local function over6(port, inside)
    return P.eth {} .. P.ipv6 { src = "2001:db8::9" } .. P.udp { src_port = port } .. inside
  end

  local function carries(port, tunnel, header)
    for _, over in ipairs { over4, over6 } do
      local both = { { udp4, is_udp4 }, { udp6, is_udp6 } }
      for _, case in ipairs(both) do
        local got = expect(over(port, header .. case[1]), nil, case[2])
        assert.are.equal(tunnel, got.tunnel_id)
      end
    end
    expect(over4(port, header .. udp4), { tunnels = false }, { src = "9.9.9.1", dst_port = port, tunnel_id = 0 })
  end

  local function is_outer(port, inside)
    expect(over4(port, inside), nil, { src = "9.9.9.1", dst_port = port, protocol = 17, tunnel_id = 0 })
  end

  it("of GTP-U is opened over IPv4 and IPv6 (D7), with options and extensions (D16)", function()
    carries(2152, GTP, P.gtpu {})
    carries(2152, GTP, P.gtpu { sequence = 5 })
    carries(2152, GTP, P.gtpu { flags = 0x31 })
    carries(2152, GTP, P.gtpu { extensions = {} })
    carries(2152, GTP, P.gtpu { extensions = { { 0x85, "\9\0" } } })
    carries(2152, GTP, P.gtpu { extensions = { { 0xC0, "\9\0" }, { 0x85, "123456" } } })
  end)

  it("of GTP-U is opened behind any link layer (D5)", function()
    local outer = P.ipv4 { src = "9.9.9.1" } .. P.udp { dst_port = 2152 } .. P.gtpu {} .. udp4
    expect(P.null { little = true } .. outer, { link = link.null }, is_udp4)
    expect(P.eth { length = true } .. P.snap {} .. outer, nil, is_udp4)
    expect(P.eth {} .. P.vlan { tpid = 0x88A8, id = 10 } .. P.vlan { id = 100 } .. outer, nil,
      { vlan_id = 100, tunnel_id = GTP })
    expect(P.eth {} .. P.ipv4 {} .. outer, nil, { src = "10.0.0.1", tunnel_id = GTP })
  end)

  it("of GTP-U ends at the user's packet", function()
    expect(over4(2152, P.gtpu {} .. P.ipv4 {} .. udp4), nil, { protocol = 4, tunnel_id = GTP })
    expect(over4(2152, P.gtpu {} .. P.ipv4 {} .. P.udp { dst_port = 2152 } .. P.gtpu {} .. udp6), nil,
      { src = "10.0.0.1", dst_port = 2152, tunnel_id = GTP })
  end)

  it("of GTP-U that holds no G-PDU with IP is an ordinary datagram", function()
    is_outer(2152, P.gtpu { type = 1 } .. udp4)
    is_outer(2152, P.gtpu { flags = 0x50 } .. udp4)
    is_outer(2152, P.gtpu {} .. ("\x11"):rep(30))
    is_outer(2152, P.gtpu {})
    is_outer(2152, "")
    is_outer(2152, P.gtpu {} .. P.ipv4 { ihl = 3 } .. P.udp {})
    is_outer(2152, P.gtpu { extensions = { { 0x85, "\9\0" } } }:bytes():sub(1, 12) .. "\0\0\0\0" .. udp4) -- length 0
    is_outer(2152, P.gtpu { extensions = { { 0x85, "\9\0" } } }:bytes():sub(1, 12) .. "\255\0\0\0" .. udp4) -- overrun
  end)

  it("looks at the inner fragment offset (D6)", function()
    local fragment = P.ipv4 { offset = 64, protocol = 17 } .. ("q"):rep(30)
    refused("later fragment", over4(2152, P.gtpu {} .. fragment))
    refused("later fragment", over4(37008, P.tzsp {} .. P.eth {} .. fragment))
    refused("later fragment", over4(5247, P.capwap {} .. P.wlan {} .. P.snap {} .. fragment))
  end)

  it("of TZSP is opened through all its tags (D16)", function()
    carries(37008, TZSP, P.tzsp {} .. P.eth {})
    carries(37008, TZSP, P.tzsp { tags = "\0\0" } .. P.eth {})
    carries(37008, TZSP, P.tzsp { tags = "\10\1\x55\0\11\0\12\3abc" } .. P.eth {})
  end)

  it("of TZSP brings its own MACs and VLAN, and restarts at Ethernet on every link type", function()
    local inside = P.tzsp {} .. P.eth { src = "02:00:00:00:00:77" } .. P.vlan { id = 9 } .. udp4
    expect(over4(37008, inside), nil, { src_mac = "020000000077", vlan_id = 9, tunnel_id = TZSP })
    expect(P.ipv4 { src = "9.9.9.1" } .. P.udp { dst_port = 37008 } .. inside, { link = link.raw },
      { src = "10.0.0.1", src_mac = "020000000077", vlan_id = 9, tunnel_id = TZSP })
  end)

  it("of TZSP that cannot be opened is an ordinary datagram (D16)", function()
    is_outer(37008, P.tzsp { version = 2 } .. P.eth {} .. udp4)
    is_outer(37008, P.tzsp { type = 4 } .. P.eth {} .. udp4)
    is_outer(37008, P.tzsp { protocol = 18 } .. P.wlan {} .. P.snap {} .. udp4)
    is_outer(37008, P.tzsp { open = true })
    is_outer(37008, P.tzsp {})
    is_outer(37008, P.tzsp { tags = "\10\200", open = true } .. "abc")
    is_outer(37008, P.tzsp {} .. P.eth { type = 0x0806 } .. ("\0"):rep(28))
    is_outer(37008, "")
  end)

  it("of CAPWAP is opened with any header length and frame form (D16)", function()
    carries(5247, CAPWAP, P.capwap {} .. P.wlan {} .. P.snap {})
    carries(5247, CAPWAP, P.capwap { extra = ("\0"):rep(8) } .. P.wlan { subtype = 8 } .. P.snap {})
    carries(5247, CAPWAP, P.capwap { extra = ("\0"):rep(100) } .. P.wlan { ds = "from" } .. P.snap {})
    carries(5247, CAPWAP, P.capwap { native = false } .. P.eth {})
  end)

  it("of CAPWAP may hold wireless frames with swapped fields", function()
    for _, ds in ipairs { "to", "from" } do
      carries(5247, CAPWAP, P.capwap {} .. P.wlan { swapped = true, ds = ds, sequence = 0x1230 } .. P.snap {})
    end
    expect(over4(5247, P.capwap {} .. P.wlan { swapped = true, flags = 0x10 } .. P.snap {} .. udp4), nil,
      { src_mac = "02000000000b", dst_mac = "02000000000c", tunnel_id = CAPWAP })
    refused("not IP", P.wlan { swapped = true } .. P.snap {} .. udp4, { link = link.wlan })
  end)

  it("of CAPWAP that carries no IP is an ordinary datagram (D16)", function()
    is_outer(5247, P.capwap {} .. P.wlan {} .. P.snap { type = 0x0806 } .. ("\0"):rep(28))
    is_outer(5247, P.capwap {} .. P.wlan { kind = 0, subtype = 8 } .. ("\0"):rep(40))
    is_outer(5247, P.capwap { preamble = 1 } .. P.wlan {} .. P.snap {} .. udp4) -- DTLS
    is_outer(5247, P.capwap { flags = 8 } .. P.wlan {} .. P.snap {} .. udp4) -- keep-alive
    is_outer(5247, P.capwap {})
    is_outer(5247, "")
    is_outer(5246, P.capwap {} .. P.wlan {} .. P.snap {} .. udp4)
    refused("later fragment", over4(5247, P.capwap { flags = 0x80, offset = 64 } .. P.wlan {} .. P.snap {} .. udp4))
    expect(over4(5247, P.capwap { flags = 0x80 } .. P.wlan {} .. P.snap {} .. udp4), nil, is_udp4)
  end)

  it("inside a tunnel is opened too, and where it is none the inner datagram counts", function()
    local gtp = P.ipv4 { src = "8.8.8.1" } .. P.udp { dst_port = 2152 } .. P.gtpu {} .. udp4
    expect(over4(37008, P.tzsp {} .. P.eth {} .. gtp), nil, { src = "10.0.0.1", tunnel_id = GTP })
    local not_gtp = P.ipv4 { src = "8.8.8.1" } .. P.udp { dst_port = 2152 } .. "hello"
    expect(over4(37008, P.tzsp {} .. P.eth {} .. not_gtp), nil, { src = "8.8.8.1", dst_port = 2152, tunnel_id = TZSP })
  end)

  it("is not looked for in ordinary IPv6 datagrams (D7)", function()
    -- The bytes where an IPv4 header's port would stand say 37008.
    local frame = P.eth {} .. P.ipv6 { src = "2001:db8::9090:9090" } .. P.udp {} .. ("\x90"):rep(60)
    expect(frame, nil, { src_port = 1000, dst_port = 2000, tunnel_id = 0 })
  end)
end)
