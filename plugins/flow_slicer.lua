--- Ends each flow after so many packets; what follows is a flow of its own.
--
-- NFStream's FlowSlicer. A flow that reaches `limit` packets, both directions counted, ends with that packet and has
-- expiration_id -1; the next packet between the same ends begins another, whose source is the sender of that packet.
-- It has no columns.
--
-- @usage nfengine flows --plugin flow_slicer -a flow_slicer.limit=20 --n-dissections=0 \
--   --columns=src_ip,src_port,dst_port,expiration_id,bidirectional_packets samples/tls.pcap
-- @output
-- src_ip,src_port,dst_port,expiration_id,bidirectional_packets
-- "192.0.2.1",48768,443,-1,20
-- "192.0.2.1",48782,443,-1,20
-- "2001:db8::1",33788,443,-1,20
-- ...

local nf = require "nfengine"

local function slice(self, _, flow)
  if flow.bidirectional_packets >= self.limit then flow.expiration_id = -1 end
end

return nf.plugin {
  name        = "flow_slicer",
  version     = "1.0.0",
  api         = 1,
  description = "Ends each flow after a number of packets",
  author      = "the nfengine authors",
  license     = "MIT",
  categories  = { "expiry", "compat", "safe" },
  options     = { limit = { 10, "packets in both directions after which a flow ends", min = 1, integer = true } },
  on_init     = slice,
  on_update   = slice,
}
