-- Decodes frames for specs, and says what the packets that most examples carry decode to.

local assert = require "luassert"
local ffi = require "ffi"
local C = require "spec.support.core" ("decode", "frame")
local P = require "nfengine.testing.packet"

local D = {}

--- Link types by name.
D.link = {
  null = 0, ethernet = 1, ppp = 9, ppp_serial = 50, pppoe = 51, raw = 101, cisco_hdlc = 104, wlan = 105,
  frame_relay = 107, loop = 108, enc = 109, sll = 113, pflog = 117, prism = 119, radiotap = 127, ppi = 192,
  ipv4 = 228, ipv6 = 229, sll2 = 276,
}

local function hex(bytes, count)
  local digits = {}
  for i = 0, count - 1 do digits[i + 1] = ("%02x"):format(bytes[i]) end
  return table.concat(digits)
end

local function address_text(packet, address)
  return packet.ip_version == 4 and ("%d.%d.%d.%d"):format(address[0], address[1], address[2], address[3])
    or hex(address, 16)
end

local packet, fragmented = ffi.new "struct nf_packet", ffi.new "struct nf_fragmented"

-- Decodes into `packet` and `fragmented`; returns the reason's number and the frame's bytes.
local function decode(frame, options)
  options = options or {}
  local bytes = type(frame) == "string" and frame or frame:bytes()
  local data = ffi.new("uint8_t[?]", #bytes)
  ffi.copy(data, bytes, #bytes)
  local f = ffi.new "struct nf_frame"
  f.data, f.captured, f.size = data, options.captured or #bytes, options.size or #bytes
  f.link_type, f.number, f.time_ns = options.link or D.link.ethernet, 7, 1234567890
  ffi.fill(packet, ffi.sizeof(packet), 0xEE)
  return C.nf_decode(packet, fragmented, f, options.tunnels ~= false), data
end

local function fields(data)
  local t = packet.tuple
  return {
    src = address_text(packet, t.src_address), dst = address_text(packet, t.dst_address),
    src_port = t.src_port, dst_port = t.dst_port, protocol = t.protocol, vlan_id = t.vlan_id, tunnel_id = t.tunnel_id,
    tuple = hex(ffi.cast("uint8_t *", t), 40), ip_version = packet.ip_version, tcp_flags = packet.tcp_flags,
    src_mac = hex(packet.src_mac_address, 6), dst_mac = hex(packet.dst_mac_address, 6),
    captured_size = packet.captured_size, raw_size = packet.raw_size, ip_size = packet.ip_size,
    transport_size = packet.transport_size, payload_size = packet.payload_size,
    ip_offset = packet.ip_offset, transport_offset = packet.transport_offset, payload_offset = packet.payload_offset,
    position = tonumber(packet.position), time_ns = tonumber(packet.time_ns), same_frame = packet.frame == data,
    is_fragment = packet.is_fragment,
  }
end

--- Decodes a built packet or a string; options: link, captured, size, tunnels (default true). Returns the packet's
-- fields as a table, or nil and the reason's name.
function D.decode(frame, options)
  local reason, data = decode(frame, options)
  if reason ~= C.NF_IGNORED_NONE then return nil, ffi.string(C.nf_ignored_name(reason)) end
  return fields(data)
end

--- The datagrams that a frame is a fragment of, the outermost first, as "source destination protocol VLAN tunnel
-- identification", and the fields of the packet if it is a later fragment.
function D.fragmented(frame, options)
  local reason, data = decode(frame, options)
  assert.are.equal(fragmented.is_later, reason == C.NF_IGNORED_FRAGMENT)
  local datagrams = {}
  for i = 0, fragmented.count - 1 do
    local t = fragmented.datagrams[i]
    local version = hex(t.src_address + 4, 12) == ("0"):rep(24) and 4 or 6
    local as = { ip_version = version }
    datagrams[i + 1] = ("%s %s %d %d %d %d"):format(address_text(as, t.src_address), address_text(as, t.dst_address),
      t.protocol, t.vlan_id, t.tunnel_id, t.src_port * 65536 + t.dst_port)
  end
  return datagrams, fragmented.is_later and fields(data) or nil
end

--- Decodes and compares the fields of `want`; returns all of them.
function D.expect(frame, options, want)
  local got, reason = D.decode(frame, options)
  assert.is_table(got, reason)
  for field, value in pairs(want) do
    assert.are.equal(value, got[field], ("%s is %s, expected %s"):format(field, tostring(got[field]), tostring(value)))
  end
  return got
end

--- Expects that reason for not decoding.
function D.refused(reason, frame, options)
  local got, why = D.decode(frame, options)
  assert.is_nil(got)
  assert.are.equal(reason, why)
end

--- The packets most examples carry, and what is expected of them.
D.udp4 = P.ipv4 {} .. P.udp {} .. "hello"
D.udp6 = P.ipv6 {} .. P.udp {} .. "hello"
D.is_udp4 = { src = "10.0.0.1", dst = "10.0.0.2", src_port = 1000, dst_port = 2000, protocol = 17, ip_version = 4,
  ip_size = 33, transport_size = 13, payload_size = 5 }
D.is_udp6 = { src = "20010db8000000000000000000000001", dst = "20010db8000000000000000000000002", src_port = 1000,
  dst_port = 2000, protocol = 17, ip_version = 6, ip_size = 53, transport_size = 13, payload_size = 5 }

--- Expects that what `wrap` puts around an IPv4 and an IPv6 packet decodes to them.
function D.carries_both(link, wrap)
  D.expect(wrap(D.udp4), { link = link }, D.is_udp4)
  D.expect(wrap(D.udp6), { link = link }, D.is_udp6)
end

return D
