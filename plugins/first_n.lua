--- Keeps the first packets of each flow: so many, so many bytes, or those of so much time.
--
-- Features of a flow's beginning, for decisions that cannot wait for its end. The packet that reaches a limit is the
-- last one in the record: the Nth, the one with which the flow has that many bytes (as `accounting_mode` counts them),
-- or the first one that much time after the flow's first. Where several limits are set, the first that is reached
-- counts.
--
-- What becomes of later packets is the mode's:
--
--   freeze  they still belong to the flow, but are neither counted nor shown to any plugin, so there is one record a
--           flow. It ends by its timeouts: its connection's close is not seen any more
--   cut     the flow ends, with expiration_id -1, and they begin another, which is cut in the same way
--
-- @usage nfengine flows --plugin first_n -a first_n.packets=4 --n-dissections=0 \
--     --columns=src_port,bidirectional_packets,bidirectional_bytes,udps.first_n_limit samples/tls.pcap
-- @output
-- src_port,bidirectional_packets,bidirectional_bytes,udps.first_n_limit
-- 48768,4,547,"packets"
-- 48782,4,509,"packets"
-- 33788,4,690,"packets"
-- 48794,4,577,"packets"
-- 41040,4,611,"packets"
-- 35364,4,597,"packets"
-- ...

local nf = require "nfengine"

local function stop(self, flow, limit)
  flow.udps.first_n_limit = limit
  if self.mode == "freeze" then flow.is_frozen = true else flow.expiration_id = -1 end
end

local function look(self, packet, flow)
  local udps = flow.udps
  udps.first_n_ticks = udps.first_n_ticks + packet.delta_time
  if flow.bidirectional_packets >= self.packet_limit then
    stop(self, flow, "packets")
  elseif flow.bidirectional_bytes >= self.byte_limit then
    stop(self, flow, "bytes")
  elseif udps.first_n_ticks >= self.time_limit then
    stop(self, flow, "time")
  end
end

return nf.plugin {
  name        = "first_n",
  version     = "1.0.0",
  api         = 1,
  description = "Keeps the first packets of each flow: so many, so many bytes, or those of so much time",
  author      = "the nfengine authors",
  license     = "MIT",
  categories  = { "expiry", "safe" },
  independent = true,
  options     = {
    packets = { 20, "packets in both directions; 0 for no limit", integer = true, min = 0 },
    bytes   = { 0, "bytes in both directions; 0 for no limit", integer = true, min = 0 },
    time_ms = { 0, "milliseconds since the flow's first packet; 0 for no limit", min = 0 },
    mode    = { "freeze", "what becomes of later packets: left out, or a flow of their own",
      choices = { "freeze", "cut" } },
  },
  columns     = {
    { "first_n_limit", "string:7", "limit that was reached: packets, bytes or time; empty for none",
      is_identifying = false },
  },
  state       = { { "first_n_ticks", "double" } }, -- since the flow's first packet, in the run's time unit
  setup       = function(self, run)
    self.packet_limit = self.packets > 0 and self.packets or math.huge
    self.byte_limit = self.bytes > 0 and self.bytes or math.huge
    self.time_limit = self.time_ms > 0 and self.time_ms * run.ticks_per_second / 1000 or math.huge
  end,
  on_init     = look,
  on_update   = look,
}
