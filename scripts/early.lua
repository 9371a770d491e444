--- What do the first packets of each flow look like, before it is over? One CSV row a flow, with each packet's size and
-- the milliseconds since the packet before: features to classify a flow by as it begins.
--
-- Sizes are signed: positive from source to destination, negative back, 0 where the flow had no more packets. How many
-- packets are looked at is --splt-analysis, 10 if not given.
--
-- @usage nfengine early --splt-analysis=4 samples/web.pcap
-- @output
-- ...

local nf = require "nfengine"

local streamer = nf.streamer { splt_analysis = 10 }
local gap = "splt_piat_" .. streamer.time_unit

local header = { "src_ip", "src_port", "dst_ip", "dst_port", "protocol", "application_name" }
for i = 1, streamer.splt_analysis do
  table.insert(header, "size_" .. i)
  table.insert(header, "gap_" .. i)
end
print(table.concat(header, ","))

for flow in streamer:flows() do
  local row = { flow.src_ip, flow.src_port, flow.dst_ip, flow.dst_port, flow.protocol, flow.application_name }
  for i = 1, #flow.splt_ps do
    local direction, size = flow.splt_direction[i], flow.splt_ps[i]
    if direction == 1 then size = -size elseif direction == -1 then size = 0 end
    table.insert(row, size)
    table.insert(row, math.max(flow[gap][i], 0))
  end
  print(table.concat(row, ","))
end
