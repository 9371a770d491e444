--- Bursts of each direction: trains of packets with payload that follow each other closely, as ipfixprobe's bstats.
--
-- A burst is a longest possible run of at least `min_packets` packets with payload in one direction, each at most
-- `max_gap_ms` after the one before. Packets without payload (acknowledgements, say) and those of the other direction
-- neither belong to a burst nor end it. A burst's bytes are those of its packets' payloads as the headers say, so that
-- a snap length changes nothing; its start and stop are the times of its first and last packet since the flow's first
-- packet, in the run's time_unit. Where a timeout cuts a flow, it cuts the burst.
--
-- The first 15 bursts of each direction are told one by one, in order; the places behind the last are 0. Count, means
-- and maxima are those of all bursts, of the sixteenth too. A direction without bursts has 0 everywhere.
--
-- What bstats (ipfixprobe 5.7) does otherwise: a gap of exactly the limit ends a burst, bursts behind the fifteenth are
-- not seen at all, times are those of day, and there are no counts, means and maxima.
--
-- @usage nfengine flows --plugin bursts -a bursts.max_gap_ms=100 --n-dissections=0 samples/ssh.pcap \
--   --columns=dst_port,udps.bursts_dst2src_count,udps.bursts_dst2src_mean_bytes,udps.bursts_dst2src_max_packets
-- @output
-- dst_port,udps.bursts_dst2src_count,udps.bursts_dst2src_mean_bytes,udps.bursts_dst2src_max_packets
-- 22,1,2456.0,10
-- 22,1,24824.0,25
-- 22,1,2456.0,11
-- 22,1,2809.0,11
-- ...

local nf = require "nfengine"
local max = math.max

local TOLD = 15 -- as many as ipfixprobe tells

-- Follows one direction by its columns' names: functions for each packet with payload, and for the flow's end. Until
-- then means are sums.
local function follow(way)
  local prefix = "bursts_" .. way
  local count, packets, bytes = prefix .. "_count", prefix .. "_packets", prefix .. "_bytes"
  local starts, stops = prefix .. "_starts", prefix .. "_stops"
  local mean_packets, max_packets = prefix .. "_mean_packets", prefix .. "_max_packets"
  local mean_bytes, max_bytes = prefix .. "_mean_bytes", prefix .. "_max_bytes"
  local run_packets, run_bytes = prefix .. "_run_packets", prefix .. "_run_bytes"
  local run_start, run_stop = prefix .. "_run_start", prefix .. "_run_stop"

  local function tell(udps, number)
    udps[packets][number], udps[bytes][number] = udps[run_packets], udps[run_bytes]
    udps[starts][number], udps[stops][number] = udps[run_start], udps[run_stop]
  end

  local function close(self, udps)
    if udps[run_packets] >= self.min_packets then
      local number = udps[count] + 1
      udps[count] = number
      udps[mean_packets], udps[mean_bytes] = udps[mean_packets] + udps[run_packets], udps[mean_bytes] + udps[run_bytes]
      udps[max_packets] = max(udps[max_packets], udps[run_packets])
      udps[max_bytes] = max(udps[max_bytes], udps[run_bytes])
      if number <= TOLD then tell(udps, number) end
    end
    udps[run_packets], udps[run_bytes] = 0, 0
  end

  local function take(self, udps, now, size)
    if now - udps[run_stop] > self.max_gap then close(self, udps) end
    if udps[run_packets] == 0 then udps[run_start] = now end
    udps[run_stop], udps[run_packets], udps[run_bytes] = now, udps[run_packets] + 1, udps[run_bytes] + size
  end

  local function finish(self, udps)
    close(self, udps)
    local divisor = max(udps[count], 1)
    udps[mean_packets], udps[mean_bytes] = udps[mean_packets] / divisor, udps[mean_bytes] / divisor
  end

  return take, finish
end

local take_there, finish_there = follow "src2dst"
local take_back, finish_back = follow "dst2src"

local function add(self, packet, flow)
  local udps, size = flow.udps, packet.payload_size
  local now = udps.bursts_elapsed + packet.delta_time
  udps.bursts_elapsed = now
  if size == 0 then return end
  if packet.direction == 0 then take_there(self, udps, now, size) else take_back(self, udps, now, size) end
end

local function finish(self, flow)
  finish_there(self, flow.udps)
  finish_back(self, flow.udps)
end

return nf.plugin {
  name        = "bursts",
  version     = "1.0.0",
  api         = 1,
  description = "Bursts of packets with payload, of each direction",
  author      = "the nfengine authors",
  license     = "MIT",
  categories  = { "feature", "compat", "safe" },
  options     = {
    min_packets = { 3, "packets that make a burst", min = 1, integer = true },
    max_gap_ms  = { 1000, "longest time between two packets of a burst, ms", min = 0 },
  },
  columns     = {
    { "bursts_src2dst_count", "uint32", "bursts, source to destination" },
    { "bursts_src2dst_mean_packets", "double", "mean packets of a burst, source to destination" },
    { "bursts_src2dst_max_packets", "uint32", "most packets of a burst, source to destination" },
    { "bursts_src2dst_mean_bytes", "double", "mean payload bytes of a burst, source to destination" },
    { "bursts_src2dst_max_bytes", "uint64", "most payload bytes of a burst, source to destination" },
    { "bursts_src2dst_packets", "uint32[15]", "packets of each of the first bursts, source to destination" },
    { "bursts_src2dst_bytes", "int64[15]", "payload bytes of each of the first bursts, source to destination" },
    { "bursts_src2dst_starts", "int64[15]", "their first packets' times since the flow's first packet, in time_unit" },
    { "bursts_src2dst_stops", "int64[15]", "their last packets' times since the flow's first packet, in time_unit" },
    { "bursts_dst2src_count", "uint32", "bursts, destination to source" },
    { "bursts_dst2src_mean_packets", "double", "mean packets of a burst, destination to source" },
    { "bursts_dst2src_max_packets", "uint32", "most packets of a burst, destination to source" },
    { "bursts_dst2src_mean_bytes", "double", "mean payload bytes of a burst, destination to source" },
    { "bursts_dst2src_max_bytes", "uint64", "most payload bytes of a burst, destination to source" },
    { "bursts_dst2src_packets", "uint32[15]", "packets of each of the first bursts, destination to source" },
    { "bursts_dst2src_bytes", "int64[15]", "payload bytes of each of the first bursts, destination to source" },
    { "bursts_dst2src_starts", "int64[15]", "their first packets' times since the flow's first packet, in time_unit" },
    { "bursts_dst2src_stops", "int64[15]", "their last packets' times since the flow's first packet, in time_unit" },
  },
  state       = { -- the run of packets that is open, in each direction
    { "bursts_elapsed", "double" },
    { "bursts_src2dst_run_packets", "double" }, { "bursts_src2dst_run_bytes", "double" },
    { "bursts_src2dst_run_start", "double" }, { "bursts_src2dst_run_stop", "double" },
    { "bursts_dst2src_run_packets", "double" }, { "bursts_dst2src_run_bytes", "double" },
    { "bursts_dst2src_run_start", "double" }, { "bursts_dst2src_run_stop", "double" },
  },
  setup       = function(self, run) self.max_gap = self.max_gap_ms * run.ticks_per_second / 1000 end,
  independent = true,
  on_init     = add,
  on_update   = add,
  on_expire   = finish,
}
