--- One counting plugin: what a hook per packet costs.
local nf = require "nfengine"

local Counter = nf.plugin {
  name = "counter",
  columns = { { "large_packets", "uint32", "packets of more than 1000 bytes" } },
  on_update = function(_, packet, flow)
    if packet.raw_size > 1000 then flow.udps.large_packets = flow.udps.large_packets + 1 end
  end,
}

nf.streamer({ udps = Counter }):write()
