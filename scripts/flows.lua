--- What was said in this capture, flow by flow? Writes every flow as one record: CSV, or JSON lines with --format=jsonl
-- or to a file named .jsonl.
--
-- Records have all columns of the run. --columns picks some, --statistical-analysis, --splt-analysis and --l7-columns
-- add more.
--
-- @usage nfengine flows samples/web.pcap > flows.csv
-- @usage nfengine flows --statistical-analysis -o flows.jsonl samples/web.pcap
-- @usage nfengine flows --columns=src_ip,dst_ip,dst_port,bidirectional_bytes,application_name samples/web.pcap
-- @output
-- ...

local nf = require "nfengine"

nf.streamer({}):write()
