--- TTL, DSCP and ECN of each direction, and which packets may not be or were fragmented.
--
-- The TTL is IPv6's hop limit; DSCP (RFC 2474) and ECN (RFC 3168) are the upper six and the lower two bits of the TOS
-- byte, IPv6's traffic class. Of a tunnel that was opened, all are those of the inner packet. A direction without
-- packets has -1, and 0 where something is counted.
--
-- A TTL changes where a packet's is another than that of the packet before it in its direction: a change of route,
-- several machines behind one address, or somebody who answers in the name of another.
--
-- Codepoints of ECN are a set, since a direction has several once congestion is signalled: 1 for Not-ECT, 2 for ECT(1),
-- 4 for ECT(0), 8 for CE, added up: 12 is a path that marks. DF is IPv4's alone. Fragmented are packets that came as a
-- first fragment, of which the others belong to no flow; with IPv6, where the fragment header comes first.
--
-- @usage nfengine flows --plugin ttl_tos --n-dissections=0 \
--   --columns=src_ip,dst_ip,udps.ttl_src2dst_min,udps.ttl_src2dst_changes,udps.tos_dst2src_dscp_max samples/icmp.pcap
-- @output
-- src_ip,dst_ip,udps.ttl_src2dst_min,udps.ttl_src2dst_changes,udps.tos_dst2src_dscp_max
-- "2001:db8::10","ff02::1:ff00:1",255,0,-1
-- "192.0.2.10","198.51.100.80",64,0,-1
-- "2001:db8::10","2001:db8:80::80",64,0,-1
-- "192.0.2.10","198.51.100.80",1,2,48
-- ...

local bit = require "bit"
local nf = require "nfengine"
local band, bor, lshift, rshift = bit.band, bit.bor, bit.lshift, bit.rshift

local DF, MORE = 0x4000, 0x2000 -- in IPv4's flags and fragment offset (RFC 791)
local FRAGMENT, MORE6 = 44, 1   -- IPv6's next header, and in that header's offset (RFC 8200, section 4.5)

-- A function that looks at packets of one direction; columns begin with `way` behind "ttl_" and "tos_".
local function watcher(way)
  local ttl_way, tos_way, ttl_tos_way = "ttl_" .. way, "tos_" .. way, "ttl_tos_" .. way
  local first, min, max = ttl_way .. "_first", ttl_way .. "_min", ttl_way .. "_max"
  local changes, latest = ttl_way .. "_changes", ttl_way .. "_latest"
  local dscp_first, dscp_min, dscp_max = tos_way .. "_dscp_first", tos_way .. "_dscp_min", tos_way .. "_dscp_max"
  local ecn, df, fragmented = tos_way .. "_ecn", ttl_tos_way .. "_df", ttl_tos_way .. "_fragmented"
  return function(udps, ttl, tos, may_not_fragment, is_fragment)
    local dscp = rshift(tos, 2)
    if udps[first] < 0 then
      udps[first], udps[min], udps[max], udps[latest] = ttl, ttl, ttl, ttl
      udps[dscp_first], udps[dscp_min], udps[dscp_max] = dscp, dscp, dscp
    end
    if ttl ~= udps[latest] then
      udps[changes], udps[latest] = udps[changes] + 1, ttl
      if ttl < udps[min] then udps[min] = ttl elseif ttl > udps[max] then udps[max] = ttl end
    end
    if dscp < udps[dscp_min] then udps[dscp_min] = dscp elseif dscp > udps[dscp_max] then udps[dscp_max] = dscp end
    udps[ecn] = bor(udps[ecn], lshift(1, band(tos, 3)))
    if may_not_fragment then udps[df] = udps[df] + 1 end
    if is_fragment then udps[fragmented] = udps[fragmented] + 1 end
  end
end

local watch_there, watch_back = watcher "src2dst", watcher "dst2src"

-- Offsets are into the IP header, which is there as a whole: what is cut before its end belongs to no flow.
local function look(_, packet, flow)
  local header = packet.ip_bytes
  local ttl, tos, may_not_fragment, is_fragment
  if packet.ip_version == 4 then
    local flags = header:u16(6)
    ttl, tos = header:u8(8), header:u8(1)
    may_not_fragment, is_fragment = band(flags, DF) ~= 0, band(flags, MORE) ~= 0
  else
    ttl, tos = header:u8(7), band(rshift(header:u16(0), 4), 0xff)
    may_not_fragment, is_fragment = false, header:u8(6) == FRAGMENT and band(header:u16(42), MORE6) ~= 0
  end
  if packet.direction == 0 then
    watch_there(flow.udps, ttl, tos, may_not_fragment, is_fragment)
  else
    watch_back(flow.udps, ttl, tos, may_not_fragment, is_fragment)
  end
end

return nf.plugin {
  name        = "ttl_tos",
  version     = "1.0.0",
  api         = 1,
  description = "TTL, DSCP, ECN and fragmentation of each direction, IPv4 and IPv6",
  author      = "the nfengine authors",
  license     = "MIT",
  categories  = { "feature", "safe" },
  columns     = {
    { "ttl_src2dst_first", "int16", "TTL or hop limit of the first packet; -1 without" },
    { "ttl_src2dst_min", "int16", "lowest TTL" },
    { "ttl_src2dst_max", "int16", "highest TTL" },
    { "ttl_src2dst_changes", "uint32", "packets with another TTL than the one before" },
    { "tos_src2dst_dscp_first", "int8", "DSCP of the first packet, 0 to 63; -1 without" },
    { "tos_src2dst_dscp_min", "int8", "lowest DSCP" },
    { "tos_src2dst_dscp_max", "int8", "highest DSCP" },
    { "tos_src2dst_ecn", "uint8", "ECN codepoints seen: 1 Not-ECT + 2 ECT(1) + 4 ECT(0) + 8 CE" },
    { "ttl_tos_src2dst_df", "uint32", "packets that say not to fragment them (IPv4)" },
    { "ttl_tos_src2dst_fragmented", "uint32", "packets that came in fragments" },
    { "ttl_dst2src_first", "int16", "TTL or hop limit of the first packet; -1 without" },
    { "ttl_dst2src_min", "int16", "lowest TTL" },
    { "ttl_dst2src_max", "int16", "highest TTL" },
    { "ttl_dst2src_changes", "uint32", "packets with another TTL than the one before" },
    { "tos_dst2src_dscp_first", "int8", "DSCP of the first packet, 0 to 63; -1 without" },
    { "tos_dst2src_dscp_min", "int8", "lowest DSCP" },
    { "tos_dst2src_dscp_max", "int8", "highest DSCP" },
    { "tos_dst2src_ecn", "uint8", "ECN codepoints seen: 1 Not-ECT + 2 ECT(1) + 4 ECT(0) + 8 CE" },
    { "ttl_tos_dst2src_df", "uint32", "packets that say not to fragment them (IPv4)" },
    { "ttl_tos_dst2src_fragmented", "uint32", "packets that came in fragments" },
  },
  state       = { { "ttl_src2dst_latest", "uint8" }, { "ttl_dst2src_latest", "uint8", "TTL of the latest packet" } },
  on_init     = function(self, packet, flow)
    local udps = flow.udps
    udps.ttl_src2dst_first, udps.ttl_src2dst_min, udps.ttl_src2dst_max = -1, -1, -1
    udps.ttl_dst2src_first, udps.ttl_dst2src_min, udps.ttl_dst2src_max = -1, -1, -1
    udps.tos_src2dst_dscp_first, udps.tos_src2dst_dscp_min, udps.tos_src2dst_dscp_max = -1, -1, -1
    udps.tos_dst2src_dscp_first, udps.tos_dst2src_dscp_min, udps.tos_dst2src_dscp_max = -1, -1, -1
    look(self, packet, flow)
  end,
  on_update   = look,
}
