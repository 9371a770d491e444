--- Who talked to whom in this capture? Writes every flow as one record: CSV, or JSON lines with --format=jsonl or to a
-- file named .jsonl.
--
-- Records have all columns of the run. --columns picks some, --statistical-analysis, --splt-analysis and --l7-columns
-- add more.
--
-- @categories export
-- @usage nfengine flows samples/web.pcap > flows.csv
-- @usage nfengine flows --statistical-analysis -o flows.jsonl samples/web.pcap
-- @usage nfengine flows --columns=src_ip,dst_ip,dst_port,bidirectional_bytes,application_name samples/web.pcap
-- @output
-- src_ip,dst_ip,dst_port,bidirectional_bytes,application_name
-- "0.0.0.0","255.255.255.255",67,684,"DHCP"
-- "192.0.2.10","192.0.2.1",0,588,"ICMP"
-- "2001:db8::10","ff02::1:ff00:1",0,86,"ICMPV6"
-- "2001:db8::1","2001:db8::10",0,86,"ICMPV6"
-- "2001:db8::10","2001:db8:80::80",0,472,"ICMPV6"
-- "192.0.2.10","192.0.2.1",53,320,"DNS"
-- "192.0.2.10","192.0.2.1",123,180,"NTP"
-- ...
-- @usage nfengine flows --format=jsonl --columns=id,src_ip,dst_ip,application_name samples/web.pcap
-- @output
-- {"id":0,"src_ip":"0.0.0.0","dst_ip":"255.255.255.255","application_name":"DHCP"}
-- {"id":1,"src_ip":"192.0.2.10","dst_ip":"192.0.2.1","application_name":"ICMP"}
-- ...

local nf = require "nfengine"

nf.streamer({}):write()
