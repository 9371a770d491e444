--- What do the first packets of each flow look like, before it is over? One CSV row a flow, with each packet's size and
-- the milliseconds since the packet before: features to classify a flow by as it begins.
--
-- Sizes are signed: positive from source to destination, negative back, 0 where the flow had no more packets. How many
-- packets are looked at is --splt-analysis, 10 if not given. Without L7 there is no application_name.
--
-- @categories example
-- @usage nfengine early --splt-analysis=4 samples/web.pcap
-- @output
-- src_ip,src_port,dst_ip,dst_port,protocol,application_name,size_1,gap_1,size_2,gap_2,size_3,gap_3,size_4,gap_4
-- 0.0.0.0,68,255.255.255.255,67,17,DHCP,342,0,342,32,0,0,0,0
-- 192.0.2.10,0,192.0.2.1,0,1,ICMP,98,0,-98,0,98,431,-98,0
-- 2001:db8::10,0,ff02::1:ff00:1,0,58,ICMPV6,86,0,0,0,0,0,0,0
-- 2001:db8::1,0,2001:db8::10,0,58,ICMPV6,86,0,0,0,0,0,0,0
-- 2001:db8::10,0,2001:db8:80::80,0,58,ICMPV6,118,0,-118,67,118,334,-118,25
-- 192.0.2.10,58005,192.0.2.1,53,17,DNS,76,0,-92,0,76,0,-76,0
-- 192.0.2.10,57008,192.0.2.1,123,17,NTP,90,0,-90,4,0,0,0,0
-- 192.0.2.10,37747,192.0.2.1,123,17,NTP,90,0,-90,0,0,0,0,0
-- 192.0.2.10,58864,192.0.2.1,53,17,DNS,75,0,-91,0,0,0,0,0
-- 192.0.2.10,43278,198.51.100.80,80,6,HTTP,74,0,-74,47,66,0,176,0
-- 192.0.2.58,52034,192.0.2.1,53,17,DNS,77,0,77,0,-93,0,-105,1
-- ...

local nf = require "nfengine"

local streamer = nf.streamer { splt_analysis = 10 }
local gap = "splt_piat_" .. streamer.time_unit

local has_applications = streamer.n_dissections > 0

local header = { "src_ip", "src_port", "dst_ip", "dst_port", "protocol" }
if has_applications then table.insert(header, "application_name") end
for i = 1, streamer.splt_analysis do
  table.insert(header, "size_" .. i)
  table.insert(header, "gap_" .. i)
end
print(table.concat(header, ","))

for flow in streamer:flows() do
  local row = { flow.src_ip, flow.src_port, flow.dst_ip, flow.dst_port, flow.protocol }
  if has_applications then table.insert(row, flow.application_name) end
  for i = 1, #flow.splt_ps do
    local direction, size = flow.splt_direction[i], flow.splt_ps[i]
    if direction == 1 then size = 0 - size elseif direction == -1 then size = 0 end
    table.insert(row, size)
    table.insert(row, math.max(flow[gap][i], 0)) -- -1 where there is no packet
  end
  print(table.concat(row, ","))
end
