--- CICFlowMeter's features of how a flow goes on: bulks, active and idle times.
--
-- A bulk is a longest possible run of four or more packets with payload in one direction, with none of the other in
-- between and none more than a second after the one before; packets without payload do not matter. Its time is from
-- its first packet to its last. A flow is idle where there is no packet for more than activity_timeout, and active from
-- one idle time, or its first packet, to the next. What comes behind the last idle time is not counted, so a flow
-- without one has no active time either; nor is a single packet between two. All is 0 where there is none.
--
-- Names and units are as in cic_features: times are in us in every unit of the run, and as exact as that unit. Payload
-- is what is behind a TCP, UDP or ICMP header. The corrected CICFlowMeter differs in one thing: data of the other side
-- in the microsecond in which a run began does not end it. The original took active and idle times since 1970, too.
--
-- @usage nfengine flows --plugin cic_activity --time-unit=us --n-dissections=0 -a cic_activity.activity_timeout=0.05 \
--     --columns=src_port,udps.cic_bwd_packet_bulk_avg,udps.cic_bwd_bytes_bulk_avg,udps.cic_active_max samples/ssh.pcap
-- @output
-- src_port,udps.cic_bwd_packet_bulk_avg,udps.cic_bwd_bytes_bulk_avg,udps.cic_active_max
-- 36764,0.0,0.0,76386.0
-- 36772,18.0,24056.0,73118.0
-- 36780,0.0,0.0,68455.0
-- ...

local nf = require "nfengine"

local BULK = 4 -- packets from which on a run is one
local FWD = 1  -- whose run it is; else 2, or 0 for none yet

-- Functions for a direction: add the run at hand to its bulks, of which there are so many, so many bytes, packets and
-- ticks until the flow's end; and work out their means.
local function direction(way)
  local bulks, bytes = way .. "_bulks", way .. "_bytes_bulk_avg"
  local packets, rate = way .. "_packet_bulk_avg", way .. "_bulk_rate_avg"
  local function add(udps)
    udps[bulks], udps[bytes] = udps[bulks] + 1, udps[bytes] + udps.cic_run_bytes
    udps[packets] = udps[packets] + udps.cic_run_packets
    udps[rate] = udps[rate] + udps.cic_run_last - udps.cic_run_first
  end
  local function finish(udps, ticks_per_second)
    local seconds, count = udps[rate] / ticks_per_second, math.max(udps[bulks], 1)
    udps[rate] = seconds > 0 and udps[bytes] / seconds or 0
    udps[bytes], udps[packets] = udps[bytes] / count, udps[packets] / count
  end
  return add, finish
end

local add_fwd_bulk, finish_fwd = direction "cic_fwd"
local add_bwd_bulk, finish_bwd = direction "cic_bwd"

-- The run at hand is over.
local function end_run(udps)
  if udps.cic_run_packets < BULK then return end
  if udps.cic_run_way == FWD then add_fwd_bulk(udps) else add_bwd_bulk(udps) end
end

-- Functions that add a time to others of its kind, and that finish: the deviation is a sum of squares until then
-- (Welford 1962).
local function times(name)
  local count, mean, std, max, min = name .. "_times", name .. "_mean", name .. "_std", name .. "_max", name .. "_min"
  local function add(udps, time)
    local n, before = udps[count] + 1, udps[mean]
    local after = before + (time - before) / n
    udps[count], udps[mean], udps[std] = n, after, udps[std] + (time - before) * (time - after)
    udps[max], udps[min] = math.max(udps[max], time), n == 1 and time or math.min(udps[min], time)
  end
  local function finish(udps, us)
    udps[std] = math.sqrt(udps[std] / math.max(udps[count] - 1, 1)) * us
    udps[mean], udps[max], udps[min] = udps[mean] * us, udps[max] * us, udps[min] * us
  end
  return add, finish
end

local add_active, finish_active = times "cic_active"
local add_idle, finish_idle = times "cic_idle"

-- A packet comes after the flow was idle.
local function wake(udps, gap, now)
  add_idle(udps, gap)
  if now - gap > udps.cic_active_from then add_active(udps, now - gap - udps.cic_active_from) end
  udps.cic_active_from = now
end

local function look(self, packet, flow)
  local udps, gap, size = flow.udps, packet.delta_time, packet.payload_size
  local now = udps.cic_now + gap
  udps.cic_now = now
  if gap > self.idle then wake(udps, gap, now) end
  if size == 0 then return end
  local way = packet.direction + FWD
  if way ~= udps.cic_run_way or now - udps.cic_run_last > self.second then
    end_run(udps)
    udps.cic_run_way, udps.cic_run_packets, udps.cic_run_bytes, udps.cic_run_first = way, 0, 0, now
  end
  udps.cic_run_packets, udps.cic_run_bytes = udps.cic_run_packets + 1, udps.cic_run_bytes + size
  udps.cic_run_last = now
end

return nf.plugin {
  name        = "cic_activity",
  version     = "1.0.0",
  api         = 1,
  description = "CICFlowMeter's features of bulks, active and idle times, corrected",
  author      = "the nfengine authors",
  license     = "MIT",
  categories  = { "feature", "compat", "safe" },
  independent = true,
  options     = { activity_timeout = { 5, "seconds without a packet beyond which a flow is idle", min = 0 } },
  columns     = {
    { "cic_fwd_bytes_bulk_avg", "double", "Fwd Bytes/Bulk Avg: mean payload of a bulk forward, bytes" },
    { "cic_fwd_packet_bulk_avg", "double", "Fwd Packet/Bulk Avg: mean packets with payload of a bulk forward" },
    { "cic_fwd_bulk_rate_avg", "double", "Fwd Bulk Rate Avg: payload of bulks forward by their time, bytes a second" },
    { "cic_bwd_bytes_bulk_avg", "double", "Bwd Bytes/Bulk Avg: mean payload of a bulk backward, bytes" },
    { "cic_bwd_packet_bulk_avg", "double", "Bwd Packet/Bulk Avg: mean packets with payload of a bulk backward" },
    { "cic_bwd_bulk_rate_avg", "double", "Bwd Bulk Rate Avg: payload of bulks backward by their time, bytes a second" },
    { "cic_active_mean", "double", "Active Mean: mean active time, us" },
    { "cic_active_std", "double", "Active Std: sample deviation of active times, us" },
    { "cic_active_max", "double", "Active Max: longest active time, us" },
    { "cic_active_min", "double", "Active Min: shortest active time, us" },
    { "cic_idle_mean", "double", "Idle Mean: mean idle time, us" },
    { "cic_idle_std", "double", "Idle Std: sample deviation of idle times, us" },
    { "cic_idle_max", "double", "Idle Max: longest idle time, us" },
    { "cic_idle_min", "double", "Idle Min: shortest idle time, us" },
  },
  state       = {
    { "cic_now", "double", "ticks since the first packet, as all times here" },
    { "cic_fwd_bulks", "uint32" }, { "cic_bwd_bulks", "uint32" },
    { "cic_active_times", "uint32" }, { "cic_idle_times", "uint32" }, { "cic_active_from", "double" },
    { "cic_run_way", "uint8", "of the run of packets with payload at hand" },
    { "cic_run_packets", "uint32" }, { "cic_run_bytes", "double" },
    { "cic_run_first", "double" }, { "cic_run_last", "double" },
  },
  setup       = function(self, run)
    self.second, self.idle = run.ticks_per_second, self.activity_timeout * run.ticks_per_second
  end,
  on_init     = look,
  on_update   = look,
  on_expire   = function(self, flow)
    local udps, us = flow.udps, 1e6 / self.second
    end_run(udps)
    finish_fwd(udps, self.second)
    finish_bwd(udps, self.second)
    finish_active(udps, us)
    finish_idle(udps, us)
  end,
}
