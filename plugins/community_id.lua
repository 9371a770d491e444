--- Community ID: the same identifier for a flow as in Zeek, Suricata, Wireshark and others, to join their records on.
--
-- Version 1 of the Community ID specification: "1:" and the Base64 of SHA-1 over seed, addresses, protocol and ports,
-- the smaller end first, so that both directions give the same. TCP, UDP and SCTP have ports; ICMP and ICMPv6 have type
-- and the type that answers it, or type and code where none does; other protocols have addresses alone. VLANs and
-- tunnels have no part in it.
--
-- ICMP and SCTP flows have no ports in nfengine, so one flow may hold several of the specification's: its first packet
-- says what counts. Where that was captured without them, they count as for other protocols.
--
-- @usage nfengine -q flows --plugin community_id --n-dissections=0 \
--   --columns=src_ip,dst_ip,protocol,udps.community_id samples/icmp.pcap
-- @output
-- src_ip,dst_ip,protocol,udps.community_id
-- "2001:db8::10","ff02::1:ff00:1",58,"1:2r5ZMxOFT/Au0F3QKZLTGAUCrgs="
-- "192.0.2.10","198.51.100.80",17,"1:rOitntwum0elssQKyvYEn0eDwI0="
-- "2001:db8::10","2001:db8:80::80",17,"1:e+KxLyq9nI1W7pk1MyVZN+HAPDQ="
-- "192.0.2.10","198.51.100.80",1,"1:lb7/3ClzdYdaA3bQNa0YDvnx8qU="
-- "2001:db8::10","2001:db8:80::80",58,"1:FuW7G1OMn6LCdLMX7sYiTG4kx08="
-- "2001:db8::1","2001:db8::10",58,"1:lDIsanJTXFqQC2gXEn1021E3VLs="
-- "fe80::ff:fe00:1","2001:db8::10",58,"1:QFBsdtUi7qonmBvmGqGuDkg0vZo="
-- "192.0.2.10","203.0.113.98",1,"1:KA/3cJRJVgE0MHuhnTIEt1m0zEc="
-- "192.0.2.10","198.51.100.200",1,"1:EmZSaiYbtqUDfdVEE5xiX9jRzTo="
-- "192.0.2.1","192.0.2.10",1,"1:1kSYbN27x0sQUeA7wUIDAyQB5pE="

local nf = require "nfengine"
local bytes = require "nfengine.bytes"
local hash = require "nfengine.hash"

local ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132

--- Types of ICMP messages that ask, by those that answer, and the other way round.
local function pairs_of(list)
  local answers = {}
  for question, answer in pairs(list) do answers[question], answers[answer] = answer, question end
  return answers
end

local answers = {
  [ICMP] = pairs_of { [8] = 0, [13] = 14, [15] = 16, [10] = 9, [17] = 18 },
  [ICMPV6] = pairs_of { [128] = 129, [133] = 134, [135] = 136, [130] = 131, [139] = 140, [144] = 145 },
}

--- What stands for ports, and whether there is one direction only; nil for protocols without.
local function ports_of(packet)
  local protocol = packet.protocol
  if protocol == TCP or protocol == UDP then return packet.src_port, packet.dst_port, false end
  local header = packet.transport_bytes
  if protocol == SCTP then return header:u16(0), header:u16(2), false end
  if not answers[protocol] then return nil end
  local kind, code = header:u8(0), header:u8(1)
  if not code then return nil end
  local answer = answers[protocol][kind]
  return kind, answer or code, not answer
end

--- Which of two addresses is smaller: below 0 the first, above 0 the other.
local function compare(one, other)
  local difference = one:u32(0) - other:u32(0)
  if difference ~= 0 or #one == 4 then return difference end
  difference = one:u32(4) - other:u32(4)
  if difference ~= 0 then return difference end
  difference = one:u32(8) - other:u32(8)
  if difference ~= 0 then return difference end
  return one:u32(12) - other:u32(12)
end

local function identify(self, packet, flow)
  local at, size = 12, 4
  if packet.ip_version == 6 then at, size = 8, 16 end
  local source, destination = packet.ip_bytes:sub(at, size), packet.ip_bytes:sub(at + size, size)
  local from, to, is_one_way = ports_of(packet)
  local difference = is_one_way and 0 or compare(source, destination)
  if difference > 0 or difference == 0 and not is_one_way and to and from > to then
    source, destination, from, to = destination, source, to, from
  end
  local buffer = self.buffer:clear():u16(self.seed):view(source):view(destination):u8(packet.protocol):u8(0)
  if to then buffer:u16(from):u16(to) end
  local digest = hash.sha1(buffer, self.digest:clear())
  flow.udps.community_id = hash.base64(digest, self.text:clear():text "1:")
end

return nf.plugin {
  name        = "community_id",
  version     = "1.0.0",
  api         = 1,
  description = "Community ID of each flow, to join records of other tools on",
  author      = "the nfengine authors",
  license     = "MIT",
  categories  = { "feature", "safe" },
  options     = { seed = { 0, "number that sets identifiers of one network apart from others'",
    min = 0, max = 65535, integer = true } },
  columns     = { { "community_id", "string:32", "Community ID, version 1" } },
  independent = true,
  setup       = function(self) -- flows one after the other share buffers: strings would take most of the time
    self.buffer, self.digest, self.text = bytes.buffer(2 + 2 * 16 + 6), bytes.buffer(20), bytes.buffer(2 + 28)
  end,
  on_init     = identify,
}
