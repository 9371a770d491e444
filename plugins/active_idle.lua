--- Active and idle periods of each flow: how many, and their shortest, mean, longest and deviation.
--
-- CICFlowMeter's Active and Idle features by its definition, without its error of giving times since 1970. A flow is
-- idle between two packets that are more than threshold_ms apart; exactly so far apart is active. It is active from the
-- first packet to the last between two idle periods, or between them and the flow's ends. A packet that is alone there,
-- or in its flow, makes no active period: two are the least. (CICFlowMeter leaves out those that last 0 us, which is
-- the same but for packets of the same microsecond, and does not depend on the unit of time.)
--
-- Periods are in the run's time_unit, the threshold is always in ms. All is 0 where there is no period, and the
-- deviation where there is one; it is the sample's, with n - 1. A flow ends when it has had no packet for idle_timeout
-- (120 s), so no idle period lasts so long, and with an idle_timeout up to the threshold there is none.
--
-- @usage nfengine flows --plugin active_idle -a active_idle.threshold_ms=1000 --n-dissections=0 \
--   --columns=src_port,bidirectional_duration_ms,udps.active_count,udps.active_mean,udps.idle_count,udps.idle_mean \
--   samples/dhcp.pcap
-- @output
-- src_port,bidirectional_duration_ms,udps.active_count,udps.active_mean,udps.idle_count,udps.idle_mean
-- 67,2449,2,513.5,1,1422.0
-- 68,2627,2,12.5,1,2602.0
-- 67,8,1,8.0,0,0.0
-- 68,0,0,0.0,0,0.0
-- 546,1505,1,101.0,1,1404.0
-- 547,1404,1,0.0,1,1404.0

local nf = require "nfengine"

-- A function that adds a period to the columns of this kind, by Welford's recurrence (Knuth, TAOCP 2, 4.2.2).
local function adder(kind)
  local count, min, mean, max = kind .. "_count", kind .. "_min", kind .. "_mean", kind .. "_max"
  local squares = kind .. "_squares"
  return function(udps, length)
    local n, above = udps[count] + 1, length - udps[mean]
    udps[count], udps[mean] = n, udps[mean] + above / n
    udps[squares] = udps[squares] + above * (length - udps[mean])
    if n == 1 or length < udps[min] then udps[min] = length end
    if length > udps[max] then udps[max] = length end
  end
end

local add_active, add_idle = adder "active", adder "idle"

-- Ends the active period whose last packet was the flow's `packets`th, `at` after its first.
local function end_active(udps, packets, at)
  if packets > udps.active_first_packet then add_active(udps, at - udps.active_begin) end
end

local function deviation(squares, count) return count > 1 and math.sqrt(squares / (count - 1)) or 0 end

return nf.plugin {
  name        = "active_idle",
  version     = "1.0.0",
  api         = 1,
  description = "Active and idle periods of each flow, as CICFlowMeter has them",
  author      = "the nfengine authors",
  license     = "MIT",
  categories  = { "feature", "safe" },
  options     = { threshold_ms = { 5000, "milliseconds without a packet beyond which a flow is idle", min = 0 } },
  columns     = {
    { "active_count", "uint32", "active periods" },
    { "active_min", "int64", "the shortest, in the run's time_unit" },
    { "active_mean", "double", "their mean" },
    { "active_max", "int64", "the longest" },
    { "active_std", "double", "their deviation" },
    { "idle_count", "uint32", "idle periods" },
    { "idle_min", "int64", "the shortest, in the run's time_unit" },
    { "idle_mean", "double", "their mean" },
    { "idle_max", "int64", "the longest" },
    { "idle_std", "double", "their deviation" },
  },
  state       = {
    { "active_begin", "int64", "when the active period began, since the flow's first packet" },
    { "active_first_packet", "uint64", "number of its first packet in the flow" },
    { "active_squares", "double" }, { "idle_squares", "double", "sums of squared deviations" },
  },
  setup       = function(self, run)
    self.threshold = self.threshold_ms * run.ticks_per_second / 1000
    self.duration = "bidirectional_duration_" .. run.time_unit -- exact, which times since 1970 are not in ns
  end,
  independent = true,
  on_init     = function(_, _, flow) flow.udps.active_first_packet = 1 end,
  on_update   = function(self, packet, flow)
    local gap = packet.delta_time
    if gap <= self.threshold then return end
    local udps, packets, now = flow.udps, flow.bidirectional_packets, flow[self.duration]
    end_active(udps, packets - 1, now - gap)
    add_idle(udps, gap)
    udps.active_begin, udps.active_first_packet = now, packets
  end,
  on_expire   = function(self, flow)
    local udps = flow.udps
    end_active(udps, flow.bidirectional_packets, flow[self.duration])
    udps.active_std = deviation(udps.active_squares, udps.active_count)
    udps.idle_std = deviation(udps.idle_squares, udps.idle_count)
  end,
}
