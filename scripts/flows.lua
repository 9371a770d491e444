--- Writes every flow as one record: CSV by default, JSON lines with --format jsonl or to a file named .jsonl.
--
-- @usage nfengine flows samples/web.pcap > flows.csv
-- @usage nfengine flows -o flows.jsonl --statistical-analysis samples/web.pcap

local nf = require "nfengine"

nf.streamer({}):write()
