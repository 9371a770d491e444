--- Ends each flow after so many packets; what follows is a flow of its own. NFStream's FlowSlicer.
--
-- @usage
--   local FlowSlicer = require "plugins.flow_slicer"
--   nf.streamer { udps = { FlowSlicer { limit = 10 } } }

local nf = require "nfengine"

local function slice(self, _, flow)
  if flow.bidirectional_packets >= self.limit then flow.expiration_id = -1 end
end

return nf.plugin {
  name        = "flow_slicer",
  version     = "1.0.0",
  description = "Ends each flow after a number of packets",
  author      = "the nfengine authors",
  license     = "MIT",
  options     = { limit = { 10, "packets in both directions after which a flow ends", min = 1 } },
  on_init     = slice,
  on_update   = slice,
}
