--- A plugin that takes the first ten packets of a flow and is done with it then: what the rest of a flow costs.

local nf = require "nfengine"

local function count(self, _, flow)
  flow.udps.first_packets = flow.bidirectional_packets
  if flow.bidirectional_packets >= self.packets then flow:done() end
end

local Early = nf.plugin {
  name      = "early",
  options   = { packets = { 10, "packets that it takes", integer = true, min = 1 } },
  columns   = { { "first_packets", "uint32", "packets taken" } },
  on_init   = count,
  on_update = count,
}

nf.streamer({ udps = Early }):write()
