--- What do the first packets of each flow look like, as arrays for deep models? Writes a file for NumPy.
--
-- --write=NAME.npz has arrays of the same flows in the same order; NAME_keys.csv beside it has the flows' columns,
-- those of --columns or all that are no lists. --channels says which arrays there are, each of flows x packets x
-- values:
--
--   size, direction, time   x, float32, a channel each in this order: the packet's size as --accounting-mode counts it;
--                           1 from source to destination and -1 back; time since the packet before, in --time-unit
--   payload:N               payload, uint8: the first N bytes behind the transport header
--   nprint                  nprint, int8: the bits of its headers, 1, 0 and -1 for none, as plugin nprint has them
--
-- Where a flow has fewer packets the rest is 0, and -1 in nprint; lengths, int32, says how many there are. With --label
-- or --label-rules there are y, int64, and classes: a flow is of classes[y]. Flows without a label are left out. With
-- --label-by-file the captures' names, or their folders', are labels. Results are the same for any number of meters.
--
-- @categories export
-- @usage nfengine -q series --columns=src_ip,src_port,dst_ip,dst_port,bidirectional_packets samples/dns.pcap -- \
--   --write=dns.npz --packets=4 && head -n 3 dns_keys.csv
-- @output
-- src_ip,src_port,dst_ip,dst_port,bidirectional_packets
-- "192.0.2.10",53328,"192.0.2.1",53,2
-- "192.0.2.10",57309,"192.0.2.1",53,2

local nf = require "nfengine"
local labelling = require "nfengine.dataset.labelling"
local report = require "nfengine.report"
local series = require "nfengine.ml.series"

local options = nf.options(labelling.options({
  write = { "", "file for the arrays, NAME.npz" },
  packets = { 20, "packets of each flow", integer = true, min = 1, max = 1000 },
  channels = { { "size", "direction", "time" }, "what of each: size, direction, time, payload:N, nprint" },
  headers = { { "ipv4", "tcp", "udp", "icmp" }, "which headers nprint has bits of: of these and ipv6" },
  unlabelled = { "", "label for flows without one, which otherwise are left out" },
}, true))

local channels = series.channels(options.channels, options.packets, options.headers)
local labels = labelling.new(options, channels.plugins)
local streamer = nf.streamer {
  splt_analysis = options.packets, n_dissections = labels.n_dissections,
  dpi_cache = false, -- so that L7, if asked for, is the same for any number of meters
  udps = labels:plugins(),
}
if labels.is_apart then labelling.check_files(streamer) end
channels:check(streamer)

local made = series.new {
  write = options.write, channels = channels, time_unit = streamer.time_unit, label = labels.column,
  unlabelled = options.unlabelled,
}

--- Writes all files. Returns false where somebody has interrupted that.
local function write()
  if not labels:read(streamer, made) then return false end
  made:finish()
  return true
end

local ok, result = pcall(write)
if not ok or not result then made:abandon() end
if not ok then error(result, 0) end
if not result then report.say "interrupted: no arrays were written" end
