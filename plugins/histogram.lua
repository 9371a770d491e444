--- Histograms of payload sizes and inter-arrival times, of each direction, in powers of two as ipfixprobe's phists.
--
-- The first bin counts values from 0 to 15, the second from 16 to 31, each further one twice as many values as the one
-- before, and the last all that are larger. With the usual 8 bins:
--
--   bin    1     2      3      4       5        6        7         8
--   from   0    16     32     64     128      256      512      1024
--   to    15    31     63    127     255      511     1023         -
--
-- Up to `bins=16` go on with 2048, 4096 … 262144. Sizes are payload bytes as the headers say. Inter-arrival times
-- are those since the direction's packet before, in the run's time_unit: the same bins with milliseconds as phists
-- has, finer ones with --time-unit=us. A direction's first packet has a size and no time.
--
-- Packets without payload are not counted, and times are those between packets with payload, unless `empty=true`.
-- phists also leaves out flows of a single packet with SYN; here these have zeros.
--
-- @usage nfengine flows --plugin histogram --n-dissections=0 samples/ssh.pcap \
--   --columns=dst_port,udps.histogram_src2dst_payload,udps.histogram_dst2src_payload
-- @output
-- dst_port,udps.histogram_src2dst_payload,udps.histogram_dst2src_payload
-- 22,"[0, 1, 7, 2, 1, 1, 0, 2]","[0, 1, 2, 5, 1, 1, 0, 2]"
-- 22,"[0, 1, 7, 2, 1, 1, 0, 2]","[0, 1, 2, 5, 1, 1, 1, 18]"
-- 22,"[0, 1, 7, 2, 1, 1, 0, 16]","[0, 1, 3, 5, 1, 1, 0, 2]"
-- 22,"[0, 1, 3, 5, 2, 1, 1, 0]","[0, 0, 2, 4, 2, 1, 1, 1]"
-- ...

local nf = require "nfengine"

local floor = math.floor

-- Bins of values below 4096 by their sixteenths, looked up since a logarithm takes longer. A 256th part of a larger
-- value lies 8 bins lower.
local LOW, HIGHER = 4096, 8

local function low_bins()
  local list = {}
  for sixteenths = 0, LOW / 16 - 1 do
    local bin = 1
    while sixteenths >= 2 ^ (bin - 1) do bin = bin + 1 end
    list[sixteenths] = bin
  end
  return list
end

local function count(self, histogram, value)
  local bin
  if value < LOW then
    bin = self.low_bins[floor(value / 16)]
  elseif value < 256 * LOW then
    bin = self.low_bins[floor(value / LOW)] + HIGHER
  else
    bin = self.bins
  end
  if bin > self.bins then bin = self.bins end
  histogram[bin] = histogram[bin] + 1
end

local function add(self, packet, flow)
  local udps, size = flow.udps, packet.payload_size
  local now = udps.histogram_elapsed + packet.delta_time
  udps.histogram_elapsed = now
  if size == 0 and not self.empty then return end
  if packet.direction == 0 then
    count(self, udps.histogram_src2dst_payload, size)
    if udps.histogram_src2dst_last >= 0 then
      count(self, udps.histogram_src2dst_piat, now - udps.histogram_src2dst_last)
    end
    udps.histogram_src2dst_last = now
  else
    count(self, udps.histogram_dst2src_payload, size)
    if udps.histogram_dst2src_last >= 0 then
      count(self, udps.histogram_dst2src_piat, now - udps.histogram_dst2src_last)
    end
    udps.histogram_dst2src_last = now
  end
end

local function begin(self, packet, flow)
  flow.udps.histogram_src2dst_last, flow.udps.histogram_dst2src_last = -1, -1 -- no packet yet
  add(self, packet, flow)
end

return nf.plugin {
  name        = "histogram",
  version     = "1.0.0",
  api         = 1,
  description = "Histograms of payload sizes and inter-arrival times, of each direction",
  author      = "the nfengine authors",
  license     = "MIT",
  categories  = { "feature", "compat", "safe" },
  options     = {
    bins  = { 8, "bins of a histogram; the last counts all that is larger", min = 8, max = 16, integer = true },
    empty = { false, "count packets without payload, too" },
  },
  columns     = function(options)
    local list = ("uint32[%d]"):format(options.bins)
    return {
      { "histogram_src2dst_payload", list, "packets by payload size, source to destination" },
      { "histogram_src2dst_piat", list, "packets by time since the one before, source to destination" },
      { "histogram_dst2src_payload", list, "packets by payload size, destination to source" },
      { "histogram_dst2src_piat", list, "packets by time since the one before, destination to source" },
    }
  end,
  state       = { -- times since the flow's first packet: now, and of each direction's last packet
    { "histogram_elapsed", "double" }, { "histogram_src2dst_last", "double" }, { "histogram_dst2src_last", "double" },
  },
  setup       = function(self) self.low_bins = low_bins() end,
  independent = true,
  on_init     = begin,
  on_update   = add,
}
