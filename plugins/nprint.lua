--- The bits of the first packets' headers, each at a place of its own: nPrint's vectors, for models that find their own
-- features.
--
-- For each of the first `packets` packets of a flow there is a vector of all bits of the headers named, from the
-- highest of the first byte on: 1, 0, or -1 where the packet has no such header or this is shorter than it can be
-- (Holland, Schmitt, Feamster and Mittal, "New directions in automated traffic analysis", CCS 2021). An IPv4 header has
-- 480 places (60 bytes, options included), IPv6 320 (its fixed header), TCP 480, UDP 64, ICMP 64; then `payload` bytes
-- of what is behind them. The column is all vectors one behind the other; those of packets that there are not are -1
-- throughout.
--
-- Some bits say who talks, or are drawn at random: addresses, ports, checksums, IPv4's identification, IPv6's flow
-- label, sequence and acknowledgement numbers, and of TCP's options timestamps, selective acknowledgements and all but
-- segment size, window scale and padding. A model learns them by heart; they are -1 unless identifiers = true. Once a
-- flow has had its packets, further ones cost nothing. A vector takes a byte a bit: 4 packets with the usual headers
-- 4,352 bytes a flow.
--
-- @usage nfengine flows --plugin nprint -a nprint.packets=1 -a nprint.headers=udp -a nprint.identifiers=true \
--   --n-dissections=0 --columns=src_port,udps.nprint samples/dns.pcap | cut -c 1-100 | head -n 3
-- @output
-- src_port,udps.nprint
-- 53328,"[1, 1, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 1, 0,
-- 57309,"[1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 1, 0,

local bytes = require "nfengine.bytes"
local nf = require "nfengine"

local ICMP, TCP, UDP = 1, 6, 17

-- Bytes of each header, in the order of their places.
local ORDER = { "ipv4", "ipv6", "tcp", "udp", "icmp", "payload" }
local ROOM = { ipv4 = 60, ipv6 = 40, tcp = 60, udp = 8, icmp = 8 }

-- What says who talks, or says nothing: first byte and how many, in pairs. IPv6's flow label begins within one.
local IDENTIFIERS = {
  ipv4 = { { 4, 2 }, { 10, 10 } }, ipv6 = { { 1.5, 1 }, { 2, 2 }, { 8, 32 } }, tcp = { { 0, 12 }, { 16, 2 } },
  udp = { { 0, 4 }, { 6, 2 } }, icmp = { { 2, 6 } },
}

-- Bytes that a packet's vector has room for, by header, and in all.
local function rooms_of(options)
  local rooms, sum = { payload = options.payload }, options.payload
  for _, name in ipairs(ORDER) do rooms[name] = rooms[name] or 0 end
  for _, name in ipairs(options.headers) do
    if not ROOM[name] then
      error(('headers: "%s": expected some of ipv4, ipv6, tcp, udp and icmp'):format(name), 0)
    end
    sum = sum + ROOM[name] - rooms[name]
    rooms[name] = ROOM[name]
  end
  if sum == 0 then error("headers: expected one at least, or payload", 0) end
  return rooms, sum
end

-- TCP's options (RFC 9293, 3.1): of those behind "selective acknowledgements permitted", only kind and length say what
-- a host is like.
local PADDING, LAST_TELLING, FIXED_TCP = 1, 4, 20

local function take_out_options(view, size, list, at)
  local place = FIXED_TCP
  while place + 2 < size do
    local kind, length = view:u8(place), view:u8(place + 1)
    if kind == PADDING then
      length = 1
    elseif not length or kind < PADDING or length < 2 then
      return
    elseif kind > LAST_TELLING then
      bytes.bits(nil, 0, list, at + 8 * (place + 2), math.min(length, size - place) - 2)
    end
    place = place + length
  end
end

-- Writes a header's bits, and takes those out that identify.
local function put(self, name, view, size, list, at)
  local room = self.rooms[name]
  if room == 0 then return at end
  bytes.bits(view, size, list, at, room)
  local fields = not self.identifiers and IDENTIFIERS[name] or nil
  if fields then
    for i = 1, #fields do bytes.bits(nil, 0, list, at + 8 * fields[i][1], fields[i][2]) end
    if name == "tcp" then take_out_options(view, size, list, at) end
  end
  return at + 8 * room
end

local function add(self, packet, flow)
  local number = flow.bidirectional_packets
  if number <= self.packets then
    local list, at = flow.udps.nprint, (number - 1) * self.width
    local ip, transport, protocol = packet.ip_bytes, packet.transport_bytes, packet.protocol
    local is_v4 = packet.ip_version == 4
    at = put(self, "ipv4", ip, is_v4 and (ip:u8(0) or 0) % 16 * 4 or 0, list, at)
    at = put(self, "ipv6", ip, is_v4 and 0 or 40, list, at)
    at = put(self, "tcp", transport, protocol == TCP and math.floor((transport:u8(12) or 0) / 16) * 4 or 0, list, at)
    at = put(self, "udp", transport, protocol == UDP and 8 or 0, list, at)
    at = put(self, "icmp", transport, protocol == ICMP and 8 or 0, list, at)
    put(self, "payload", packet.payload_bytes, self.payload, list, at)
    flow.udps.nprint_packets = number
  end
  if number >= self.packets then flow:done() end
end

return nf.plugin {
  name        = "nprint",
  version     = "1.0.0",
  api         = 1,
  description = "Bits of the first packets' headers, each at a place of its own, as nPrint has them",
  author      = "the nfengine authors",
  license     = "MIT",
  categories  = { "feature", "payload" },
  independent = true,
  options     = {
    packets     = { 4, "packets to tell of", min = 1, max = 1000, integer = true },
    headers     = { { "ipv4", "tcp", "udp", "icmp" }, "which headers: of these and ipv6" },
    payload     = { 0, "bytes of payload behind them", min = 0, max = 2000, integer = true },
    identifiers = { false, "tell addresses, ports, checksums and random numbers, too" },
  },
  columns     = function(options)
    local _, room = rooms_of(options)
    return {
      { "nprint_packets", "uint16", "how many packets it tells of" },
      { "nprint", ("int8[%d]"):format(options.packets * 8 * room), "bits of their headers; -1: no such bit",
        is_identifying = options.identifiers },
    }
  end,
  setup       = function(self)
    local room
    self.rooms, room = rooms_of(self)
    self.width = 8 * room
  end,
  on_init     = add,
  on_update   = add,
  on_expire   = function(self, flow)
    local udps, missing = flow.udps, self.packets - flow.udps.nprint_packets
    bytes.bits(nil, 0, udps.nprint, udps.nprint_packets * self.width, missing * self.width / 8)
  end,
}
