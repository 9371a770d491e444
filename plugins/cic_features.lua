--- CICFlowMeter's features of sizes, times, flags and headers, corrected: columns of CIC-IDS2017 and its successors.
--
-- A column is named after CICFlowMeter's: "cic_", and its header in small letters, with "_" for whatever is no letter,
-- so that "Flow Bytes/s" is cic_flow_bytes_s. Its text begins with the header. The definitions are those of the
-- corrected CICFlowMeter (G. Engelen, V. Rimmer, W. Joosen, "Troubleshooting an Intrusion Detection Dataset: the
-- CICIDS2017 Case Study", WTMC 2021; github.com/GintsEngelen/CICFlowMeter). The profile cicflowmeter has its flows and
-- its order of columns as well, and tells where values differ; cic_activity has the other features.
--
-- Forward (Fwd) is from source to destination, backward (Bwd) the other way. A packet's length is its payload's, its
-- header that of TCP, UDP or ICMP; of other protocols, all that is behind the IP header is payload. Times are in us in
-- every unit of the run, and as exact as that unit; deviations are sample deviations. A subflow ends where there is no
-- packet for more than a second. A segment has nothing new in it where it has data, SYN or FIN, but no sequence number
-- beyond all that its side has sent: it is a retransmission, or out of order (tcp_retrans tells these apart). What
-- there are too few packets for is 0, and what only TCP has in other flows, too, but for the -1 below.
--
-- @usage nfengine flows --plugin cic_features --time-unit=us --n-dissections=0 \
--     --columns=src_port,udps.cic_flow_bytes_s,udps.cic_fwd_iat_mean,udps.cic_bwd_packet_length_std samples/tls.pcap
-- @output
-- src_port,udps.cic_flow_bytes_s,udps.cic_fwd_iat_mean,udps.cic_bwd_packet_length_std
-- 48768,807707.2790969248,700.6363636363635,638.5664199809388
-- 48782,612622.9351666189,1047.3,641.9598810586912
-- 33788,1532887.642872547,421.5454545454545,624.7529839137152
-- ...

local nf = require "nfengine"
local bit = require "bit"
local max, min, rshift, tobit = math.max, math.min, bit.rshift, bit.tobit

local SEQUENCE, WINDOW = 4, 14 -- in the TCP header (RFC 9293, section 3.1)

-- Hooks have few branches here, and those late: LuaJIT compiles what follows one once for each way that is taken.

-- Mean, sample deviation, maximum and minimum of values that are not negative: functions that add the nth, and that
-- finish, with a change of unit. Until then the deviation is a sum of squares (Welford 1962), and minima begin as huge.
local function series(name)
  local mean, std, most, least = name .. "_mean", name .. "_std", name .. "_max", name .. "_min"
  local function add(udps, n, x)
    local before = udps[mean]
    local after = before + (x - before) / n
    udps[mean], udps[std] = after, udps[std] + (x - before) * (x - after)
    udps[most], udps[least] = max(udps[most], x), min(udps[least], x)
  end
  local function finish(udps, n, factor)
    udps[std] = math.sqrt(udps[std] / max(n - 1, 1)) * factor
    udps[least] = min(udps[least], udps[most]) * factor -- 0 without values
    udps[mean], udps[most] = udps[mean] * factor, udps[most] * factor
  end
  return add, finish
end

local add_gap, finish_gaps = series "cic_flow_iat"

-- Functions for a direction: add a packet, and finish.
local function direction(way, packets, bytes)
  local cic = "cic_" .. way
  local add_length, finish_lengths = series(cic .. "_packet_length")
  local add_own_gap, finish_own_gaps = series(cic .. "_iat")
  local last, gaps, mean_length = cic .. "_last", cic .. "_iat_total", cic .. "_packet_length_mean"
  local headers, shortest, with_data = cic .. "_header_length", cic .. "_seg_size_min", cic .. "_act_data_pkts"
  local psh, urg, rst = cic .. "_psh_flags", cic .. "_urg_flags", cic .. "_rst_flags"
  local window, highest, repeated = cic .. "_init_win_bytes", cic .. "_highest", cic .. "_tcp_retrans_count"
  local rate, segment = cic .. "_packets_s", cic .. "_segment_size_avg"
  local subflow_packets, subflow_bytes = "cic_subflow_" .. way .. "_packets", "cic_subflow_" .. way .. "_bytes"

  -- Sequence numbers wrap at 2^32: what lies ahead of the highest is positive in 32 bits.
  local function add_segment(udps, packet, length, n)
    local header = packet.transport_bytes
    local sequence = header:u32(SEQUENCE)
    if not sequence then return end -- not captured
    if n == 1 then udps[highest], udps[window] = tobit(sequence), header:u16(WINDOW) or 0 end
    local is_counted, ahead = min(length, 1), tobit(sequence + length - udps[highest])
    udps[highest] = tobit(udps[highest] + max(ahead, 0) * is_counted)
    udps[repeated] = udps[repeated] + rshift(ahead - 1, 31) * is_counted -- 1 where ahead <= 0
  end

  local function add(udps, packet, size, header, now)
    local n, gap = udps[packets] + 1, now - udps[last]
    udps[packets], udps[bytes], udps[last] = n, udps[bytes] + size, now
    udps[headers] = udps[headers] + header
    if not packet.is_fragment then udps[shortest] = min(udps[shortest], header) end
    udps[with_data] = udps[with_data] + min(size, 1)
    udps[psh], udps[urg], udps[rst] = udps[psh] + packet.psh, udps[urg] + packet.urg, udps[rst] + packet.rst
    add_length(udps, n, size)
    if n > 1 then
      udps[gaps] = udps[gaps] + gap
      add_own_gap(udps, n - 1, gap)
    end
    if packet.protocol == 6 then add_segment(udps, packet, size + packet.syn + packet.fin, n) end
  end

  local function finish(udps, subflows, us, seconds)
    local n = udps[packets]
    finish_lengths(udps, n, 1)
    finish_own_gaps(udps, n - 1, us)
    udps[gaps], udps[shortest] = udps[gaps] * us, min(udps[shortest], udps[headers])
    udps[segment], udps[rate] = udps[mean_length], n / seconds
    udps[subflow_packets], udps[subflow_bytes] = n / subflows, udps[bytes] / subflows
  end

  return add, finish
end

local add_fwd, finish_fwd = direction("fwd", "cic_total_fwd_packet", "cic_total_length_of_fwd_packet")
local add_bwd, finish_bwd = direction("bwd", "cic_total_bwd_packets", "cic_total_length_of_bwd_packet")

local function add(packet, udps, now)
  local size, header = packet.payload_size, packet.transport_size - packet.payload_size
  if udps.cic_is_headless then size, header = size + header, 0 end
  udps.cic_fin_flag_count = udps.cic_fin_flag_count + packet.fin
  udps.cic_syn_flag_count = udps.cic_syn_flag_count + packet.syn
  udps.cic_ack_flag_count = udps.cic_ack_flag_count + packet.ack
  udps.cic_cwr_flag_count = udps.cic_cwr_flag_count + packet.cwr
  udps.cic_ece_flag_count = udps.cic_ece_flag_count + packet.ece
  if packet.direction == 0 then
    add_fwd(udps, packet, size, header, now)
  else
    add_bwd(udps, packet, size, header, now)
  end
end

local function begin(_, packet, flow)
  local udps, protocol = flow.udps, packet.protocol
  local is_icmp = protocol == 1 or protocol == 58
  udps.cic_is_headless = not is_icmp and protocol ~= 6 and protocol ~= 17
  udps.cic_icmp_type = is_icmp and packet.transport_bytes:u8(0) or -1
  udps.cic_icmp_code = is_icmp and packet.transport_bytes:u8(1) or -1
  udps.cic_subflows, udps.cic_flow_iat_min = 1, math.huge
  udps.cic_fwd_iat_min, udps.cic_fwd_packet_length_min, udps.cic_fwd_seg_size_min = math.huge, math.huge, math.huge
  udps.cic_bwd_iat_min, udps.cic_bwd_packet_length_min, udps.cic_bwd_seg_size_min = math.huge, math.huge, math.huge
  add(packet, udps, 0)
end

local function update(self, packet, flow)
  local udps, gap = flow.udps, packet.delta_time
  local now = udps.cic_flow_duration + gap
  udps.cic_flow_duration = now -- in ticks, until the end
  add_gap(udps, flow.bidirectional_packets - 1, gap)
  add(packet, udps, now)
  if gap > self.second then udps.cic_subflows = udps.cic_subflows + 1 end
end

-- Lengths of all packets from those of each direction, whose deviations are sums of squares.
local function join_lengths(udps, n)
  local there, back = udps.cic_total_fwd_packet, udps.cic_total_bwd_packets
  local off = udps.cic_fwd_packet_length_mean - udps.cic_bwd_packet_length_mean
  local squares = udps.cic_fwd_packet_length_std + udps.cic_bwd_packet_length_std + off * off * there * back / n
  udps.cic_packet_length_variance = squares / max(n - 1, 1)
  udps.cic_packet_length_std = math.sqrt(udps.cic_packet_length_variance)
  udps.cic_packet_length_mean = (udps.cic_total_length_of_fwd_packet + udps.cic_total_length_of_bwd_packet) / n
  udps.cic_packet_length_max = max(udps.cic_fwd_packet_length_max, udps.cic_bwd_packet_length_max)
  udps.cic_packet_length_min = min(udps.cic_fwd_packet_length_min, udps.cic_bwd_packet_length_min)
  udps.cic_average_packet_size, udps.cic_down_up_ratio = udps.cic_packet_length_mean, back / there
end

local function finish(self, flow)
  local udps, us = flow.udps, self.us
  local n, subflows = udps.cic_total_fwd_packet + udps.cic_total_bwd_packets, udps.cic_subflows
  udps.cic_flow_duration = udps.cic_flow_duration * us
  local seconds = udps.cic_flow_duration > 0 and udps.cic_flow_duration / 1e6 or math.huge -- rates are 0 then
  join_lengths(udps, n)
  finish_gaps(udps, n - 1, us)
  finish_fwd(udps, subflows, us, seconds)
  finish_bwd(udps, subflows, us, seconds)
  local is_instant = seconds == math.huge
  udps.cic_flow_packets_s = is_instant and -1 or n / seconds
  udps.cic_flow_bytes_s = is_instant and -1
    or (udps.cic_total_length_of_fwd_packet + udps.cic_total_length_of_bwd_packet) / seconds
  udps.cic_rst_flag_count = udps.cic_fwd_rst_flags + udps.cic_bwd_rst_flags
  udps.cic_psh_flag_count = udps.cic_fwd_psh_flags + udps.cic_bwd_psh_flags
  udps.cic_urg_flag_count = udps.cic_fwd_urg_flags + udps.cic_bwd_urg_flags
  udps.cic_total_tcp_retrans_count = udps.cic_fwd_tcp_retrans_count + udps.cic_bwd_tcp_retrans_count
end

-- ---- columns, by CICFlowMeter's headers ----

local columns = {}

local function column(header, type, doc)
  columns[#columns + 1] = { "cic_" .. header:lower():gsub("%A+", "_"), type, header .. ": " .. doc }
end

-- The same of both directions.
local function both(header, type, doc)
  column(header:format "Fwd", type, doc:format "forward")
  column(header:format "Bwd", type, doc:format "backward")
end

-- What a series has.
local function statistics(declare, header, of)
  declare(header .. " Max", "double", "largest " .. of)
  declare(header .. " Min", "double", "smallest " .. of)
  declare(header .. " Mean", "double", "mean " .. of)
  declare(header .. " Std", "double", "deviation of " .. of)
end

column("Flow Duration", "double", "from the first packet to the last, us")
column("Total Fwd Packet", "uint32", "packets forward")
column("Total Bwd packets", "uint32", "packets backward")
both("Total Length of %s Packet", "double", "payload %s, bytes")
statistics(both, "%s Packet Length", "payload %s, bytes")
column("Flow Bytes/s", "double", "bytes of payload a second; -1 where the flow took no time")
column("Flow Packets/s", "double", "packets a second; -1 where the flow took no time")
statistics(column, "Flow IAT", "time between packets, us")
both("%s IAT Total", "double", "from the first packet %s to the last, us")
statistics(both, "%s IAT", "time between packets %s, us")
for flag in ("PSH URG RST"):gmatch "%a+" do both("%s " .. flag .. " Flags", "uint32", "packets %s with " .. flag) end
both("%s Header Length", "double", "all TCP, UDP or ICMP headers %s, bytes")
both("%s Packets/s", "double", "packets %s a second")
statistics(column, "Packet Length", "payload, bytes")
column("Packet Length Variance", "double", "square of Packet Length Std")
for flag in ("FIN SYN RST PSH ACK URG CWR ECE"):gmatch "%a+" do
  column(flag .. " Flag Count", "uint32", "packets with " .. flag)
end
column("Down/Up Ratio", "double", "packets backward to those forward")
column("Average Packet Size", "double", "Packet Length Mean again")
both("%s Segment Size Avg", "double", "mean payload %s again")
both("Subflow %s Packets", "double", "mean packets %s of a subflow")
both("Subflow %s Bytes", "double", "mean payload %s of a subflow, bytes")
both("%s Init Win Bytes", "uint32", "window in the first segment %s, not scaled, bytes")
both("%s Act Data Pkts", "uint32", "packets %s with payload")
both("%s Seg Size Min", "double", "shortest header %s, bytes")
column("ICMP Code", "int16", "code of the first packet of ICMP or ICMPv6; -1 for others")
column("ICMP Type", "int16", "type of the first packet of ICMP or ICMPv6; -1 for others")
both("%s TCP Retrans. Count", "uint32", "segments %s with nothing new in them")
column("Total TCP Retrans. Count", "uint32", "segments with nothing new in them")

return nf.plugin {
  name        = "cic_features",
  version     = "1.0.0",
  api         = 1,
  description = "CICFlowMeter's features of sizes, times, flags and headers, corrected",
  author      = "the nfengine authors",
  license     = "MIT",
  categories  = { "feature", "compat", "safe" },
  independent = true,
  columns     = columns,
  state       = {
    { "cic_subflows", "uint32" },
    { "cic_is_headless", "bool", "whether its header's length is not known" },
    { "cic_fwd_last", "double" }, { "cic_bwd_last", "double", "time of the last packet" },
    { "cic_fwd_highest", "int32" }, { "cic_bwd_highest", "int32", "sequence number behind all that was sent" },
  },
  setup       = function(self, run) self.second, self.us = run.ticks_per_second, 1e6 / run.ticks_per_second end,
  on_init     = begin,
  on_update   = update,
  on_expire   = finish,
}
