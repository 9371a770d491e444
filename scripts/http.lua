--- Which HTTP requests were made, and how were they answered? One line for each request with its response.
--
-- HTTP/1.0 and 1.1 on any port, in captures and live (-i eth0). A line comes when request and response are over, so
-- that lines are in the order of their ends; TIME is when the request began. What is not known is "-": STATUS where no
-- response came, METHOD where the capture began behind the request, either where it was not captured whole.
--
-- SENT and RECEIVED are the sizes of the bodies as they were transferred: as many bytes as there are to come by
-- Content-Length, fewer where a connection ended before; or what chunks hold, without their own marks; or all until the
-- connection's end. LATENCY is the time from the request's last byte to the first one of the response, which is not
-- that of an interim response (100 Continue). HOST and AGENT are headers of the request, TYPE is the response's media
-- type. Behind a CONNECT that succeeds, and behind 101 Switching Protocols, nothing more of a connection is told.
--
-- With --json there is a JSON object a line, with client_port, microseconds in "time", and "is_complete", which is
-- false where the end of the request or of the response is missing. In both forms bytes of the wire that are no
-- printable ASCII stand as \xNN and backslashes as two; columns but the last also have blanks so.
--
-- One meter looks at the packets, so that lines come in the same order always. --filter has no effect here, since
-- flows end after what is told of them; --bpf-filter has.
--
-- @categories report live
-- @usage nfengine http samples/web.pcap | cut -c 12-25,43-144
-- @output
--               SERVER                 METHOD  HOST                  TARGET         STATUS   SENT  RECEIVED    LATENCY
-- 16:16:36.374  198.51.100.80:80       GET     www.example.com       /                 200      0      1637    43.2 ms
-- 16:16:36.418  198.51.100.80:80       GET     www.example.com       /style.css        200      0       720    40.6 ms
-- 16:16:36.459  198.51.100.80:80       GET     www.example.com       /logo.svg         200      0      9146    52.6 ms
-- 16:16:36.693  198.51.100.80:80       GET     files.example.org     /feed.json        200      0      2215    41.4 ms
-- 16:16:36.942  [2001:db8:80::80]:80   GET     files.example.org     /archive.zip      200      0    100004    54.8 ms
-- 16:16:37.266  198.51.100.80:80       POST    www.example.com       /form             201     20        17    45.9 ms
-- 16:16:37.564  198.51.100.80:80       GET     files.example.org     /missing          404      0        13    52.0 ms
-- @usage nfengine http samples/web.pcap -- --json | tail -1 | tr , "\n"
-- @output
-- {"time":"2026-11-23T16:16:37.564171Z"
-- "client_ip":"192.0.2.10"
-- "client_port":40938
-- "server_ip":"198.51.100.80"
-- "server_port":80
-- "method":"GET"
-- "host":"files.example.org"
-- "target":"/missing"
-- "status":404
-- "request_bytes":0
-- "response_bytes":13
-- "latency_ms":51.963
-- "content_type":"text/plain"
-- "user_agent":"curl/7.88.1"
-- "is_complete":true}

local nf = require "nfengine"
local http = require "nfengine.protocols.http"
local journal = require "nfengine.journal"
local TcpEnd = require "plugins.tcp_end"

local options = nf.options { json = { false, "JSON lines instead of columns" } }

local log = journal.new {
  json = options.json,
  fields = {
    { "time", "time", "TIME" },
    { "client", "address", "CLIENT" },
    { "server", "endpoint", "SERVER" },
    { "method", "text", "METHOD" },
    { "host", "text", "HOST", width = 20 },
    { "target", "text", "TARGET", width = 13 },
    { "status", "number", "STATUS" },
    { "request_bytes", "number", "SENT" },
    { "response_bytes", "number", "RECEIVED" },
    { "latency", "ms", "LATENCY" },
    { "content_type", "text", "TYPE", width = 16 },
    { "user_agent", "text", "AGENT" },
    { "is_complete", "flag" },
  },
}

local function tell(exchange, flow)
  local entry = journal.between(flow, exchange.client)
  for _, name in ipairs { "method", "host", "target", "status" } do entry[name] = exchange[name] end
  entry.time = exchange.time or exchange.answered
  entry.request_bytes, entry.response_bytes = exchange.request_size, exchange.response_size
  entry.latency = exchange.sent and exchange.answered and math.max(exchange.answered - exchange.sent, 0)
  entry.content_type, entry.user_agent = exchange.type, exchange.agent
  entry.is_complete = exchange.is_complete or false
  log:put(entry)
end

local function look(self, packet, flow)
  local udps = flow.udps
  udps.http_state = self.connections:look(udps.http_state, packet, flow)
end

local Http = nf.plugin {
  name = "http",
  state = { { "http_state", "double" } },
  setup = function(self) self.connections = http.follower(tell) end,
  on_init = look,
  on_update = look,
  on_expire = function(self, flow) self.connections:close(flow.udps.http_state, flow) end,
  cleanup = function(self)
    local count = self.connections:counts().displaced
    if count == 0 then return end
    journal.say(("http: messages lost, more having come in part at once than there is room for: %d"):format(count))
  end,
}

log:run {
  n_dissections = 0, snapshot_length = 65535, -- also segments that the kernel has joined
  idle_timeout = 600, active_timeout = 86400, -- responses may be long in coming, and long
  udps = { TcpEnd {}, Http {} },
}
