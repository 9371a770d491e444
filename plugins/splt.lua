--- Direction, size and inter-arrival time of each flow's first packets, with sizes of its own kind.
--
-- NFStream's SPLT: the same as the run's splt_analysis, whose columns it resembles, but with an accounting_mode that
-- need not be the run's. Times are milliseconds since the flow's packet before, in whichever direction that went, and
-- 0 for the first; they stay milliseconds when the run's time_unit is another. Where a flow has fewer packets than
-- sequence_length, all three have -1.
--
-- @usage nfengine flows --plugin splt -a splt.sequence_length=4 -a splt.accounting_mode=3 --n-dissections=0 \
--   --columns=src_port,dst_port,udps.splt_direction,udps.splt_ps,udps.splt_piat_ms samples/web.pcap
-- @output
-- src_port,dst_port,udps.splt_direction,udps.splt_ps,udps.splt_piat_ms
-- 68,67,"[0, 0, -1, -1]","[300, 300, -1, -1]","[0, 32, -1, -1]"
-- 0,0,"[0, 1, 0, 1]","[56, 56, 56, 56]","[0, 0, 431, 0]"
-- 0,0,"[0, -1, -1, -1]","[24, -1, -1, -1]","[0, -1, -1, -1]"
-- ...

local nf = require "nfengine"
local floor = math.floor

local function size_of(packet, accounting_mode)
  if accounting_mode == 0 then return packet.raw_size end
  if accounting_mode == 1 then return packet.ip_size end
  if accounting_mode == 2 then return packet.transport_size end
  return packet.payload_size
end

local function columns(options)
  local count = options.sequence_length
  return {
    { "splt_direction", ("int8[%d]"):format(count), "0: source to destination, 1: back, -1: no such packet" },
    { "splt_ps", ("int32[%d]"):format(count), "packet sizes, bytes by accounting_mode, -1: no such packet" },
    { "splt_piat_ms", ("int64[%d]"):format(count), "ms since the packet before, 0 first, -1: no such packet" },
  }
end

return nf.plugin {
  name        = "splt",
  version     = "1.0.0",
  api         = 1,
  description = "Direction, size and inter-arrival time of the first packets",
  author      = "the nfengine authors",
  license     = "MIT",
  categories  = { "feature", "compat", "safe" },
  options     = {
    sequence_length = { 10, "packets to tell of", min = 1, max = 65535, integer = true },
    accounting_mode = { 0, "what counts as a packet's size: 0 frame, 1 IP packet, 2 transport, 3 payload",
      min = 0, max = 3, integer = true },
  },
  columns     = columns,
  independent = true,

  setup = function(self, run) self.ticks_per_ms = run.ticks_per_second / 1000 end,

  on_init = function(self, packet, flow)
    flow.udps.splt_ps[1] = size_of(packet, self.accounting_mode) -- direction and time are 0
  end,

  on_update = function(self, packet, flow)
    local number = flow.bidirectional_packets
    if number <= self.sequence_length then
      local udps = flow.udps
      udps.splt_direction[number] = packet.direction
      udps.splt_ps[number] = size_of(packet, self.accounting_mode)
      -- Both times cut to milliseconds first, as NFStream has them.
      local before = floor((packet.time - packet.delta_time) / self.ticks_per_ms)
      udps.splt_piat_ms[number] = floor(packet.time / self.ticks_per_ms) - before
    end
  end,

  on_expire = function(self, flow)
    for i = flow.bidirectional_packets + 1, self.sequence_length do
      local udps = flow.udps -- within the loop: what it took over from before would have to be made an object
      udps.splt_direction[i], udps.splt_ps[i], udps.splt_piat_ms[i] = -1, -1, -1
    end
  end,
}
