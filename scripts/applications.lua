--- Which application does each flow belong to, and how do we know? One line a flow, in the order they end.
--
-- FOUND BY is what gave the application away: the packets' content, a cache of earlier flows, the address, or no more
-- than the port. SERVER NAME is the host that was asked for: the name in a TLS hello, an HTTP request, a DNS question.
--
-- @categories report
-- @usage nfengine applications samples/web.pcap
-- @output
-- APPLICATION      CATEGORY       FOUND BY  SERVER NAME            FROM > TO
-- DHCP             Network        content   phone                  0.0.0.0:68 > 255.255.255.255:67
-- ICMP             Network        content                          192.0.2.10 > 192.0.2.1
-- ICMPV6           Network        content                          2001:db8::10 > ff02::1:ff00:1
-- ICMPV6           Network        content                          2001:db8::1 > 2001:db8::10
-- ICMPV6           Network        content                          2001:db8::10 > 2001:db8:80::80
-- DNS              Network        content   time.example.com       192.0.2.10:58005 > 192.0.2.1:53
-- NTP              System         content                          192.0.2.10:57008 > 192.0.2.1:123
-- NTP              System         content                          192.0.2.10:37747 > 192.0.2.1:123
-- DNS              Network        content   www.example.com        192.0.2.10:58864 > 192.0.2.1:53
-- HTTP             Web            content   www.example.com        192.0.2.10:43278 > 198.51.100.80:80
-- DNS              Network        content   files.example.org      192.0.2.58:52034 > 192.0.2.1:53
-- HTTP             Web            content   files.example.org      192.0.2.58:49394 > 198.51.100.80:80
-- DNS              Network        content   files.example.org      192.0.2.10:42721 > 192.0.2.1:53
-- HTTP             Web            content   files.example.org      [2001:db8::10]:45800 > [2001:db8:80::80]:80
-- DNS              Network        content   www.example.com        192.0.2.10:54853 > 192.0.2.1:53
-- ...

local nf = require "nfengine"
local show = require "nfengine.show"

local LINE = "%-16s %-14s %-8s  %-22s %s > %s\n"
local FOUND_BY = { [0] = "nothing", "port", "address", "cache", "content" } -- by confidence

local streamer = nf.streamer {}
if streamer.drop_leaky then error("--drop-leaky: this script shows what it leaves out, expected another", 0) end
if streamer.n_dissections == 0 then
  error("--n-dissections=0: packets have to be looked into to know applications, expected more", 0)
end

io.write(LINE:format("APPLICATION", "CATEGORY", "FOUND BY", "SERVER NAME", "FROM", "TO"))
for flow in streamer:flows() do
  io.write(LINE:format(
    flow.application_name,
    flow.application_category_name,
    FOUND_BY[flow.application_confidence],
    show.printable(flow.requested_server_name),
    show.endpoint(flow.src_ip, flow.src_port),
    show.endpoint(flow.dst_ip, flow.dst_port)))
end
