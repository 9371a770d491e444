--- Which names were asked for, and what was the answer? One line for each DNS query with its response.
--
-- Over UDP and TCP, on port 53 or those of --ports=53,5300, in captures and live (-i eth0). A line comes with the
-- response, or, where there is none, when the flow ends, after 30 seconds without a packet (--idle-timeout). What is
-- not known is "-": RCODE and LATENCY without a response, LATENCY alone where the query was not captured. A query that
-- was sent again from the same port counts as the one before; LATENCY is the time since the first of them.
--
-- ANSWERS are the records of the response's answer section: addresses alone, others behind their type; of texts the
-- first 100 bytes, of types that few have only their size, of a zone transfer only the first message. Names have
-- blanks, dots within labels, and what is no printable ASCII as \DDD or \. (RFC 4343).
--
-- --mdns and --llmnr add multicast DNS and LLMNR, whose queries and responses are in flows of their own: each message
-- is a line by itself, and each question of a query. There answers stand behind their names.
--
-- With --json there is a JSON object a line, with client_port, microseconds in "time", the number of queries, and
-- whether the response says that it was truncated.
--
-- One meter looks at the packets, so that lines come in the same order always. --filter has no effect here, since
-- flows end after what is told of them; --bpf-filter has.
--
-- @categories report live
-- @usage nfengine dns samples/dns.pcap | head -9 | cut -c 12-25,66-165
-- @output
--               BY      ID  NAME                     CLASS  TYPE   RCODE       LATENCY  ANSWERS
-- 16:21:49.266  udp   5235  www.example.com          IN     A      NOERROR      0.3 ms  198.51.100.80
-- 16:21:49.459  udp  38569  www.example.com          IN     AAAA   NOERROR      0.1 ms  2001:db8:80::80
-- 16:21:49.634  udp  25334  mail.example.com         IN     A      NOERROR      0.1 ms  CNAME www.example.com, 198.5
-- 16:21:49.865  udp   8002  example.com              IN     MX     NOERROR      0.1 ms  MX 10 mail.example.com
-- 16:21:50.077  udp  32870  example.com              IN     TXT    NOERROR      0.1 ms  TXT "v=spf1 -all"
-- 16:21:50.275  udp  25912  _ssh._tcp.example.org    IN     SRV    NOERROR      0.1 ms  SRV 0 0 22 ssh.example.org
-- 16:21:50.524  udp  62477  10.2.0.192.in-addr.arpa  IN     PTR    NOERROR      0.1 ms  PTR laptop.example.com
-- 16:21:50.722  udp  46705  nobody.example.test      IN     A      NXDOMAIN     0.2 ms  -
-- @usage nfengine dns samples/dns.pcap -- --mdns --json | tail -2 | head -1 | tr , "\n"
-- @output
-- {"time":"2026-11-23T16:22:00.663622Z"
-- "client_ip":"224.0.0.251"
-- "client_port":5353
-- "server_ip":"192.0.2.20"
-- "server_port":5353
-- "transport":"udp"
-- "id":0
-- "name":null
-- "class":null
-- "type":null
-- "rcode":"NOERROR"
-- "latency_ms":null
-- "answers":["printer.local 192.0.2.20"]
-- "opcode":"QUERY"
-- "queries":0
-- "is_truncated":false}

local nf = require "nfengine"
local dns = require "nfengine.protocols.dns"
local journal = require "nfengine.journal"
local TcpEnd = require "plugins.tcp_end"

local options = nf.options {
  json = { false, "JSON lines instead of columns" },
  ports = { { "53" }, "ports of DNS" },
  mdns = { false, "also multicast DNS, port 5353" },
  llmnr = { false, "also LLMNR, port 5355" },
}

local ports, multicast = {}, {}
for _, word in ipairs(options.ports) do
  local port = word:match "^%d+$" and tonumber(word)
  if not port or port < 1 or port > 65535 then
    error({ usage = ("--ports \"%s\": expected numbers from 1 to 65535"):format(word) }, 0)
  end
  ports[#ports + 1] = port
end
if options.mdns then multicast[1] = 5353 end
if options.llmnr then multicast[#multicast + 1] = 5355 end

local log = journal.new {
  json = options.json,
  fields = {
    { "time", "time", "TIME" },
    { "client", "address", "CLIENT" },
    { "server", "endpoint", "SERVER" },
    { "transport", "safe", "BY", width = 3 },
    { "id", "number", "ID" },
    { "name", "safe", "NAME", width = 23 },
    { "class", "safe", "CLASS" },
    { "type", "safe", "TYPE", width = 5 },
    { "rcode", "safe", "RCODE", width = 8 },
    { "latency", "ms", "LATENCY" },
    { "answers", "list", "ANSWERS" },
    { "opcode", "safe" },
    { "queries", "number" },
    { "is_truncated", "flag" },
  },
}

--- Addresses stand alone, other records behind their type, and where there was no question also behind their name.
local function texts_of(lookup)
  local texts = {}
  for i, answer in ipairs(lookup.answers) do
    local text = answer.text
    if answer.type ~= "A" and answer.type ~= "AAAA" then text = answer.type .. " " .. text end
    texts[i] = lookup.name and text or answer.name .. " " .. text
  end
  if lookup.more_answers > 0 then texts[#texts + 1] = ("%d more"):format(lookup.more_answers) end
  return texts
end

local function tell(lookup, flow)
  local entry = journal.between(flow, lookup.client)
  for _, name in ipairs { "id", "name", "class", "type", "opcode", "rcode", "queries", "is_truncated" } do
    entry[name] = lookup[name]
  end
  entry.time = lookup.time or lookup.answered
  entry.transport = flow.protocol == 6 and "tcp" or "udp"
  if lookup.time and lookup.answered then entry.latency = math.max(lookup.answered - lookup.time, 0) end
  if lookup.answers then entry.answers = texts_of(lookup) end
  log:put(entry)
end

local function look(self, packet, flow)
  local udps = flow.udps
  udps.dns_state = self.lookups:look(udps.dns_state, packet, flow)
end

local Dns = nf.plugin {
  name = "dns",
  state = { { "dns_state", "double" } },
  setup = function(self) self.lookups = dns.follower(tell, { ports = ports, multicast = multicast }) end,
  on_init = look,
  on_update = look,
  on_expire = function(self, flow) self.lookups:close(flow.udps.dns_state, flow) end,
  cleanup = function(self)
    local count = self.lookups:counts().unread
    if count == 0 then return end
    journal.say(("dns: messages that are none of DNS, or were not captured whole: %d"):format(count))
  end,
}

log:run {
  n_dissections = 0, snapshot_length = 65535, -- also segments that the kernel has joined
  idle_timeout = 30,                          -- what has no response until then gets none
  udps = { TcpEnd {}, Dns {} },
}
