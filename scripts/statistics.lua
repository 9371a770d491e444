--- How do the packets of each flow spread in size and in time, and which TCP flags do they carry? Writes the 48
-- statistical features of every flow as CSV, or as JSON lines with -o FILE.jsonl, ready for a classifier.
--
-- Applications are not identified here, which saves most of the time; --n-dissections=20 adds their names as labels.
--
-- @categories export
-- @usage nfengine statistics samples/web.pcap > features.csv
-- @usage nfengine statistics samples/web.pcap --filter='flow.dst_port == 443' \
--   --columns=dst_port,src2dst_mean_ps,dst2src_mean_ps,dst2src_stddev_ps,bidirectional_mean_piat_ms
-- @output
-- dst_port,src2dst_mean_ps,dst2src_mean_ps,dst2src_stddev_ps,bidirectional_mean_piat_ms
-- 443,120.9285714285714,831.7142857142857,650.5469212157543,5.000000000000001
-- 443,156.18181818181816,507.44444444444446,499.6634144879709,6.684210526315789
-- 443,116.69999999999999,306.2857142857143,343.62902200178723,11.25

local nf = require "nfengine"

local streamer = nf.streamer {
  statistical_analysis = true,
  n_dissections = 0,
}

streamer:write()
