--- CICFlowMeter's flows and columns, corrected: what CIC-IDS2017 and the data sets made after it have, in their order.
--
--   nfengine flows --profile cicflowmeter -o flows.csv capture.pcap
--
-- The model is the corrected CICFlowMeter (G. Engelen, V. Rimmer, W. Joosen, "Troubleshooting an Intrusion Detection
-- Dataset: the CICIDS2017 Case Study", WTMC 2021; github.com/GintsEngelen/CICFlowMeter, as of June 2024). A flow ends
-- with the last packet in the 120 s from its first, or in front of a SYN once both sides have sent FIN, or one a RST.
-- Columns stand in its order: id for Flow ID, src_ip, src_port, dst_ip, dst_port, protocol, bidirectional_first_seen_us
-- (us since 1970) for Timestamp, then those of cic_features and cic_activity, named after its headers. All but
-- its last two are there: in Python, with its 94 names as `header`, flows.columns = header[:-2] gives them back.
--
-- Values are CICFlowMeter's but for rounding (below 1e-12 of a value), and for these:
--
--   Subflow ...           by as many subflows as there are; CICFlowMeter counts one less, and gives 0 for a flow of one
--   Bwd Seg Size Min      the shortest header; there 0 wherever the first packet goes forward
--   Bwd Init Win Bytes    of the first segment; there of the first with another window than 0
--   ... Retrans. Count    segments with data, SYN or FIN, and nothing new; there those that equal an earlier one in
--                         numbers, window and length, pure acknowledgements among them
--   ... Bulk ...          data of the other side ends a run; there not in the microsecond in which the run began
--   ICMP, ICMPv6          have lengths and headers; a message of another type and code begins no new flow
--   IPv6                  has flags, and times in us
--   lengths               by the IP header, without padding of short frames
--   direction             of each record's first packet, also if that is a SYN-ACK, or the first behind a cut at 120 s,
--                         where CICFlowMeter has the client's
--   packets out of order  count as of now
--   limits of time        120 s are reached at 120 s, there a microsecond later
--   Total Connection Flow Time, Label    are not here: they need other records, or people
--
-- Parameters and columns of the command line come before those of the profile, say --linger=5 where a live run is to
-- write closed connections soon. A live flow takes about 0.9 kB of memory.
--
-- @usage nfengine flows --profile cicflowmeter samples/closing.pcap \
--     --columns=src_port,dst_port,udps.cic_flow_duration,udps.cic_flow_bytes_s,udps.cic_fwd_iat_mean
-- @output
-- src_port,dst_port,udps.cic_flow_duration,udps.cic_flow_bytes_s,udps.cic_fwd_iat_mean
-- 50000,80,155733.0,526.5422229071552,38921.0
-- 50001,80,147711.0,555.1380736708843,37695.333333333336
-- 37187,80,166397.0,492.79734610599957,33279.4
-- ...

local nf = require "nfengine"

-- CICFlowMeter's headers behind Timestamp.
local HEADERS = [[
Flow Duration,Total Fwd Packet,Total Bwd packets,Total Length of Fwd Packet,Total Length of Bwd Packet,
Fwd Packet Length Max,Fwd Packet Length Min,Fwd Packet Length Mean,Fwd Packet Length Std,
Bwd Packet Length Max,Bwd Packet Length Min,Bwd Packet Length Mean,Bwd Packet Length Std,
Flow Bytes/s,Flow Packets/s,Flow IAT Mean,Flow IAT Std,Flow IAT Max,Flow IAT Min,
Fwd IAT Total,Fwd IAT Mean,Fwd IAT Std,Fwd IAT Max,Fwd IAT Min,
Bwd IAT Total,Bwd IAT Mean,Bwd IAT Std,Bwd IAT Max,Bwd IAT Min,
Fwd PSH Flags,Bwd PSH Flags,Fwd URG Flags,Bwd URG Flags,Fwd RST Flags,Bwd RST Flags,
Fwd Header Length,Bwd Header Length,Fwd Packets/s,Bwd Packets/s,
Packet Length Min,Packet Length Max,Packet Length Mean,Packet Length Std,Packet Length Variance,
FIN Flag Count,SYN Flag Count,RST Flag Count,PSH Flag Count,ACK Flag Count,URG Flag Count,CWR Flag Count,ECE Flag Count,
Down/Up Ratio,Average Packet Size,Fwd Segment Size Avg,Bwd Segment Size Avg,
Fwd Bytes/Bulk Avg,Fwd Packet/Bulk Avg,Fwd Bulk Rate Avg,Bwd Bytes/Bulk Avg,Bwd Packet/Bulk Avg,Bwd Bulk Rate Avg,
Subflow Fwd Packets,Subflow Fwd Bytes,Subflow Bwd Packets,Subflow Bwd Bytes,
FWD Init Win Bytes,Bwd Init Win Bytes,Fwd Act Data Pkts,Bwd Act Data Pkts,Fwd Seg Size Min,Bwd Seg Size Min,
Active Mean,Active Std,Active Max,Active Min,Idle Mean,Idle Std,Idle Max,Idle Min,ICMP Code,ICMP Type,
Fwd TCP Retrans. Count,Bwd TCP Retrans. Count,Total TCP Retrans. Count
]]

-- Flow ID, Src IP, Src Port, Dst IP, Dst Port, Protocol, Timestamp
local columns = { "id", "src_ip", "src_port", "dst_ip", "dst_port", "protocol", "bidirectional_first_seen_us" }
for header in HEADERS:gmatch "[^,\n]+" do
  columns[#columns + 1] = "udps.cic_" .. header:lower():gsub("%A+", "_")
end

return nf.profile {
  name        = "cicflowmeter",
  version     = "1.0.0",
  api         = 1,
  description = "CICFlowMeter's flows and columns, corrected",
  author      = "the nfengine authors",
  license     = "MIT",
  categories  = { "profile", "compat", "safe" },
  plugins     = { "tcp_end", "cic_features", "cic_activity" },
  parameters  = {
    idle_timeout = 120, active_timeout = 120, linger = 120, time_unit = "us", n_dissections = 0, columns = columns,
  },
}
