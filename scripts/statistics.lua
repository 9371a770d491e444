--- How do the packets of each flow spread in size and in time, and which TCP flags do they carry? Writes the 48
-- statistical features of every flow as CSV, or as JSON lines with -o FILE.jsonl, ready for a classifier.
--
-- Applications are not identified here, which saves most of the time; --n-dissections=20 adds their names as labels.
--
-- @usage nfengine statistics samples/web.pcap > features.csv
-- @usage nfengine statistics --columns=dst_port,src2dst_mean_ps,dst2src_mean_ps,dst2src_stddev_ps,bidirectional_max_piat_ms samples/web.pcap
-- @output
-- ...

local nf = require "nfengine"

local streamer = nf.streamer {
  statistical_analysis = true,
  n_dissections = 0,
}

streamer:write()
