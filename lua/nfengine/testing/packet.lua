--- Builds frames byte by byte for specs, from layers joined with "..":
--
--   local P = require "nfengine.testing.packet"
--   local frame = P.eth {} .. P.vlan { id = 20 } .. P.ipv4 { src = "10.0.0.1" } .. P.tcp { dst_port = 80 } .. "GET /"
--   frame:bytes()  --> a Lua string
--
-- Lengths, ether types, protocol numbers and the IPv4 checksum are filled in from what follows a layer; any field may
-- be given instead, to be wrong on purpose. One that the layer does not have is an error. Transport checksums are left
-- 0. A string is a layer of its own bytes.

local bit = require "bit"
local band, bor, lshift, rshift, bxor = bit.band, bit.bor, bit.lshift, bit.rshift, bit.bxor
local char = string.char
local fields = require "nfengine.testing.fields"

local P = {}

-- Big-endian numbers.
local function u8(n) return char(band(n, 0xFF)) end
local function u16(n) return char(band(rshift(n, 8), 0xFF), band(n, 0xFF)) end
local function u32(n) n = n % 2 ^ 32; return u16(math.floor(n / 65536)) .. u16(n % 65536) end
local function swap(s) return s:reverse() end

P.u8, P.u16, P.u32 = u8, u16, u32
function P.u16_le(n) return swap(u16(n)) end
function P.u32_le(n) return swap(u32(n)) end

--- Bytes written as hexadecimal digits; anything else between them is skipped.
function P.hex(text)
  return (text:gsub("%X", ""):gsub("%x%x", function(pair) return char(tonumber(pair, 16)) end))
end

function P.mac(text) return P.hex(text) end

function P.ip4(text)
  return (text:gsub("(%d+)%.?", function(n) return char(tonumber(n)) end))
end

function P.ip6(text)
  local function groups(part)
    return (part:gsub("(%x+):?", function(group) return u16(tonumber(group, 16)) end))
  end
  local head, tail = text:match "^(.-)::(.*)$"
  if not head then return groups(text) end
  head, tail = groups(head), groups(tail)
  return head .. ("\0"):rep(16 - #head - #tail) .. tail
end

local function checksum(bytes)
  local sum = 0
  for i = 1, #bytes, 2 do sum = sum + bytes:byte(i) * 256 + (bytes:byte(i + 1) or 0) end
  while sum > 0xFFFF do sum = band(sum, 0xFFFF) + rshift(sum, 16) end
  return bxor(sum, 0xFFFF)
end

-- A layer is { build = function(fields, payload, following) }, and says by `ether`, `protocol` and `ppp` how the layer
-- in front announces it. A packet is a list of layers, built from the last to the first.

local Packet = {}
Packet.__index = Packet

local function layer(kind, given)
  return setmetatable({ { kind = kind, fields = given } }, Packet)
end

local raw = { build = function(bytes, payload) return bytes .. payload end }

local function as_packet(value)
  return type(value) == "string" and setmetatable({ { kind = raw, fields = value } }, Packet) or value
end

function Packet.__concat(a, b)
  local joined = setmetatable({}, Packet)
  for _, part in ipairs { as_packet(a), as_packet(b) } do
    for i = 1, #part do joined[#joined + 1] = part[i] end
  end
  return joined
end

function Packet:bytes()
  local payload = ""
  for i = #self, 1, -1 do
    local following = self[i + 1] and self[i + 1].kind or {}
    payload = self[i].kind.build(self[i].fields, payload, following)
  end
  return payload
end

Packet.__tostring = Packet.bytes

-- Names what makes a layer, and the fields that it takes.
local function define(name, known, kind)
  local check = fields.checker("packet." .. name, known)
  P[name] = function(given) return layer(kind, check(given, 2)) end
end

local SRC_MAC, DST_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"

-- An ether type: the one given, or the following layer's.
local function ether(f, following) return u16(f.type or following.ether or 0xFFFF) end
local function ppp_protocol(f, following) return f.protocol or following.ppp or 0xC021 end

--- Ethernet. `length = true` makes it 802.3, for P.llc or P.snap behind it.
define("eth", "src dst type length", { build = function(f, payload, following)
  local type_or_length = f.length and u16(#payload) or ether(f, following)
  return P.mac(f.dst or DST_MAC) .. P.mac(f.src or SRC_MAC) .. type_or_length .. payload
end })

local check_vlan = fields.checker("packet.vlan", "id priority tpid type")

--- A VLAN tag; `tpid` is what announces it (default 0x8100).
function P.vlan(given)
  given = check_vlan(given, 2)
  return layer({ ether = given.tpid or 0x8100, build = function(f, payload, following)
    return u16(bor(lshift(f.priority or 0, 13), f.id or 0)) .. ether(f, following) .. payload
  end }, given)
end

local mpls = { ether = 0x8847, ppp = 0x0281 }
function mpls.build(f, payload, following)
  return u32((f.label or 16) * 4096 + (following == mpls and 0 or 256) + (f.ttl or 64)) .. payload
end
define("mpls", "label ttl", mpls)

--- PPPoE session, to be followed by P.ppp.
define("pppoe", "code session", { ether = 0x8864, build = function(f, payload)
  return u8(0x11) .. u8(f.code or 0) .. u16(f.session or 7) .. u16(#payload) .. payload
end })

--- PPP: `framed` puts FF 03 in front, `compressed` writes the protocol as one byte.
define("ppp", "protocol framed compressed", { build = function(f, payload, following)
  local protocol = ppp_protocol(f, following)
  return (f.framed and "\xFF\x03" or "") .. (f.compressed and u8(protocol) or u16(protocol)) .. payload
end })

define("cisco_hdlc", "address type", { build = function(f, payload, following)
  return u8(f.address or 0x0F) .. u8(0) .. ether(f, following) .. payload
end })

define("llc", "dsap ssap control", { build = function(f, payload)
  return u8(f.dsap) .. u8(f.ssap or f.dsap) .. u8(f.control or 3) .. payload
end })

define("snap", "organisation type", { build = function(f, payload, following)
  return "\xAA\xAA\x03" .. u32((f.organisation or 0)):sub(2) .. ether(f, following) .. payload
end })

define("null", "family little", { build = function(f, payload, following)
  local family = u32(f.family or (following.ether == 0x86DD and 30 or 2))
  return (f.little and swap(family) or family) .. payload
end })

define("enc", "family", { build = function(f, payload)
  return P.u32_le(f.family or 2) .. u32(0) .. u32(0) .. payload
end })

define("pflog", "length family", { build = function(f, payload)
  return u8(f.length or 61) .. u8(f.family or 2) .. ("\0"):rep(62) .. payload
end })

define("sll", "type", { build = function(f, payload, following)
  return u16(0) .. u16(1) .. u16(6) .. P.mac(SRC_MAC) .. u16(0) .. ether(f, following) .. payload
end })

define("sll2", "type", { build = function(f, payload, following)
  return ether(f, following) .. u16(0) .. u32(2) .. u16(1) .. u8(0) .. u8(6) .. P.mac(SRC_MAC) .. u16(0) .. payload
end })

--- Frame Relay: `nlpid`, or SNAP behind one with `snap = true`, or Cisco's ether type with `cisco = true`.
define("frame_relay", "address nlpid snap cisco type", { build = function(f, payload, following)
  local address = f.address or "\x18\x41"
  if f.cisco then return address .. ether(f, following) .. payload end
  if f.snap then return address .. "\x03\0\x80" .. "\0\0\0" .. ether(f, following) .. payload end
  return address .. "\x03" .. u8(f.nlpid or (following.ether == 0x86DD and 0x8E or 0xCC)) .. payload
end })

--- IEEE 802.11 header. `subtype` 8 is QoS data; `ds` is "to", "from", "both" or "none"; `a1` to `a4` are addresses.
define("wlan", "kind subtype flags ds sequence a1 a2 a3 a4 swapped padded", { build = function(f, payload)
  local ds = ({ none = 0, to = 1, from = 2, both = 3 })[f.ds or "to"]
  local kind = bor(lshift(f.subtype or 0, 4), lshift(f.kind or 2, 2))
  local flags = bor(ds, f.flags or 0)
  local header = (f.swapped and u8(flags) .. u8(kind) or u8(kind) .. u8(flags)) .. u16(0)
    .. P.mac(f.a1 or "02:00:00:00:00:0a") .. P.mac(f.a2 or "02:00:00:00:00:0b") .. P.mac(f.a3 or "02:00:00:00:00:0c")
    .. (f.swapped and u16(f.sequence or 0) or P.u16_le(f.sequence or 0))
  if ds == 3 then header = header .. P.mac(f.a4 or "02:00:00:00:00:0d") end
  if band(f.subtype or 0, 8) ~= 0 then
    header = header .. u16(0)
    if band(flags, 0x80) ~= 0 then header = header .. u32(0) end
  end
  if f.padded then header = header .. ("\0"):rep(-#header % 4) end
  return header .. payload
end })

--- Radiotap: `present` is the list of present words, `fields` the bytes behind them.
define("radiotap", "present fields length", { build = function(f, payload)
  local words = ""
  for _, word in ipairs(f.present or { 0 }) do words = words .. P.u32_le(word) end
  local rest = words .. (f.fields or "")
  return u16(0) .. P.u16_le(f.length or 4 + #rest) .. rest .. payload
end })

define("prism", "", { build = function(_, payload)
  return P.u32_le(0x44) .. P.u32_le(144) .. ("\0"):rep(136) .. payload
end })

define("ppi", "fields link", { build = function(f, payload)
  local inner = f.fields or ""
  return u16(0) .. P.u16_le(8 + #inner) .. P.u32_le(f.link or 105) .. inner .. payload
end })

local IPV4 = "src dst protocol version ihl options tos total_length id flags more offset ttl checksum"

define("ipv4", IPV4, { ether = 0x0800, ppp = 0x0021, protocol = 4, build = function(f, payload, following)
  local options = f.options or ""
  options = options .. ("\0"):rep(-#options % 4)
  local size = 20 + #options
  local front = u8(bor(lshift(f.version or 4, 4), f.ihl or size / 4)) .. u8(f.tos or 0)
    .. u16(f.total_length or size + #payload)
    .. u16(f.id or 1) .. u16(bor(f.flags or (f.more and 0x2000 or 0), (f.offset or 0) / 8))
    .. u8(f.ttl or 64) .. u8(f.protocol or following.protocol or 253)
  local back = P.ip4(f.src or "10.0.0.1") .. P.ip4(f.dst or "10.0.0.2") .. options
  return front .. u16(f.checksum or checksum(front .. "\0\0" .. back)) .. back .. payload
end })

local IPV6 = "src dst next version payload_length hops"

define("ipv6", IPV6, { ether = 0x86DD, ppp = 0x0057, protocol = 41, build = function(f, payload, following)
  return u32((f.version or 6) * 2 ^ 28) .. u16(f.payload_length or #payload) .. u8(f.next or following.protocol or 59)
    .. u8(f.hops or 64) .. P.ip6(f.src or "2001:db8::1") .. P.ip6(f.dst or "2001:db8::2") .. payload
end })

-- Extension headers of 8 bytes and more: `data` is padded to fill them, `length` is the length field itself.
local EXTENSION = "next length data"

local function extension(protocol)
  return { protocol = protocol, build = function(f, payload, following)
    local data = f.data or ""
    data = data .. ("\0"):rep((6 - #data) % 8)
    return u8(f.next or following.protocol or 59) .. u8(f.length or (#data - 6) / 8) .. data .. payload
  end }
end

define("hop_by_hop", EXTENSION, extension(0))
define("routing", EXTENSION, extension(43))
define("destination", EXTENSION, extension(60))
define("mobility", EXTENSION, extension(135))

define("fragment", "next offset more id", { protocol = 44, build = function(f, payload, following)
  return u8(f.next or following.protocol or 59) .. u8(0) .. u16(bor(f.offset or 0, f.more and 1 or 0))
    .. u32(f.id or 7) .. payload
end })

local FLAGS = { F = 1, S = 2, R = 4, P = 8, A = 16, U = 32, E = 64, C = 128 }

--- TCP: `flags` are letters out of FSRPAUEC; `data_offset` is the field itself, in words.
define("tcp", "src_port dst_port seq ack flags options data_offset window", { protocol = 6, build = function(f, payload)
  local options = f.options or ""
  options = options .. ("\0"):rep(-#options % 4)
  local flags = 0
  for letter in (f.flags or "A"):gmatch "." do flags = bor(flags, FLAGS[letter]) end
  return u16(f.src_port or 1000) .. u16(f.dst_port or 2000) .. u32(f.seq or 1) .. u32(f.ack or 1)
    .. u8(lshift(f.data_offset or 5 + #options / 4, 4)) .. u8(flags) .. u16(f.window or 1000) .. u32(0)
    .. options .. payload
end })

define("udp", "src_port dst_port length", { protocol = 17, build = function(f, payload)
  return u16(f.src_port or 1000) .. u16(f.dst_port or 2000) .. u16(f.length or 8 + #payload) .. u16(0) .. payload
end })

local ICMP = "type code rest"

local function icmp(protocol)
  return { protocol = protocol, build = function(f, payload)
    return u8(f.type or 8) .. u8(f.code or 0) .. u16(0) .. u32(f.rest or 0) .. payload
  end }
end

define("icmp", ICMP, icmp(1))
define("icmpv6", ICMP, icmp(58))

--- GTP-U: `extensions` is a list of { type, content }; the E flag is set with it, even when it is empty.
define("gtpu", "type flags sequence teid extensions", { build = function(f, payload)
  local optional = ""
  local flags = f.flags or bor(0x30, f.sequence and 2 or 0, f.extensions and 4 or 0)
  if band(flags, 7) ~= 0 then
    local chain = f.extensions or {}
    optional = u16(f.sequence or 0) .. u8(0) .. u8(chain[1] and chain[1][1] or 0)
    for i, e in ipairs(chain) do
      local content = e[2] .. ("\0"):rep((2 - #e[2]) % 4)
      optional = optional .. u8((#content + 2) / 4) .. content .. u8(chain[i + 1] and chain[i + 1][1] or 0)
    end
  end
  return u8(flags) .. u8(f.type or 255) .. u16(#optional + #payload) .. u32(f.teid or 99) .. optional .. payload
end })

--- CAPWAP data: `native` for 802.11 inside (default) or 802.3, `extra` bytes of optional header.
define("capwap", "native flags extra preamble offset", { build = function(f, payload)
  local extra = f.extra or ""
  local flags = bor(f.native == false and 0 or 0x100, f.flags or 0)
  local word = bor(lshift(f.preamble or 0, 24), lshift((8 + #extra) / 4, 19), lshift(1, 9), flags)
  return u32(word) .. u16(0) .. u16(f.offset or 0) .. extra .. payload
end })

--- TZSP: `tags` is what stands before the end tag; `open = true` leaves that out.
define("tzsp", "version type protocol tags open", { build = function(f, payload)
  return u8(f.version or 1) .. u8(f.type or 0) .. u16(f.protocol or 1) .. (f.tags or "") .. (f.open and "" or "\1")
    .. payload
end })

return P
