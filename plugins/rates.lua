--- Rates and ratios of each flow: bytes and packets a second, both ways and each; down by up; share of payload.
--
-- Seconds are those from the flow's first packet to its last, for one direction too, so that the rates of both
-- directions add up to the flow's. Bytes are what `accounting_mode` counts. Down is to the flow's source, up from it.
-- The share of payload is what lies behind transport headers, as these say, of all bytes; with `accounting_mode=3` it
-- is 1.
--
-- Edges: a flow that lasted no time (one packet, or several within one tick of `time_unit`) has rates of 0, and so is
-- every ratio whose divisor is 0.
--
-- @usage nfengine flows --plugin rates --n-dissections=0 samples/ssh.pcap \
--   --columns=src2dst_bytes,bidirectional_duration_ms,udps.rates_src2dst_bytes_per_s,udps.rates_down_up_bytes
-- @output
-- src2dst_bytes,bidirectional_duration_ms,udps.rates_src2dst_bytes_per_s,udps.rates_down_up_bytes
-- 5331,438,12171.232876712329,0.9092102794972801
-- 5471,455,12024.175824175823,5.489490038384208
-- 26365,404,65259.900990099006,0.1913521714394083
-- 3185,153,20816.993464052288,1.236734693877551
-- ...

local nf = require "nfengine"

local function ratio(a, b) return b > 0 and a / b or 0 end

-- All else follows from counters that flows have anyway.
local function add(_, packet, flow) flow.udps.rates_payload = flow.udps.rates_payload + packet.payload_size end

return nf.plugin {
  name        = "rates",
  version     = "1.0.0",
  api         = 1,
  description = "Bytes and packets a second, ratio of down to up, share of payload",
  author      = "the nfengine authors",
  license     = "MIT",
  categories  = { "feature", "safe" },
  columns     = {
    { "rates_bidirectional_bytes_per_s", "double", "bytes a second, both directions" },
    { "rates_src2dst_bytes_per_s", "double", "bytes a second of the flow's duration, source to destination" },
    { "rates_dst2src_bytes_per_s", "double", "bytes a second of the flow's duration, destination to source" },
    { "rates_bidirectional_packets_per_s", "double", "packets a second, both directions" },
    { "rates_src2dst_packets_per_s", "double", "packets a second of the flow's duration, source to destination" },
    { "rates_dst2src_packets_per_s", "double", "packets a second of the flow's duration, destination to source" },
    { "rates_down_up_bytes", "double", "bytes to the source by bytes from it" },
    { "rates_down_up_packets", "double", "packets to the source by packets from it" },
    { "rates_payload_share", "double", "share of payload in the flow's bytes" },
  },
  state = { { "rates_payload", "double" } },
  setup = function(self, run)
    self.duration, self.ticks_per_second = "bidirectional_duration_" .. run.time_unit, run.ticks_per_second
  end,
  independent = true,
  on_init = add,
  on_update = add,
  on_expire = function(self, flow)
    local udps, seconds = flow.udps, flow[self.duration] / self.ticks_per_second
    udps.rates_payload_share = ratio(udps.rates_payload, flow.bidirectional_bytes)
    udps.rates_bidirectional_bytes_per_s = ratio(flow.bidirectional_bytes, seconds)
    udps.rates_src2dst_bytes_per_s = ratio(flow.src2dst_bytes, seconds)
    udps.rates_dst2src_bytes_per_s = ratio(flow.dst2src_bytes, seconds)
    udps.rates_bidirectional_packets_per_s = ratio(flow.bidirectional_packets, seconds)
    udps.rates_src2dst_packets_per_s = ratio(flow.src2dst_packets, seconds)
    udps.rates_dst2src_packets_per_s = ratio(flow.dst2src_packets, seconds)
    udps.rates_down_up_bytes = ratio(flow.dst2src_bytes, flow.src2dst_bytes)
    udps.rates_down_up_packets = ratio(flow.dst2src_packets, flow.src2dst_packets)
  end,
}
