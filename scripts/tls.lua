--- Which TLS connections were begun, with what, and what did the server take of it? One line for each handshake.
--
-- TLS over TCP, QUIC and DTLS, on any port, also behind STARTTLS and the like, in captures and live (-i eth0). A line
-- comes when both sides have gone on to what is encrypted, with an alert or a reset, with QUIC at the server's hello,
-- else at the flow's end. What is not known is "-", as all of the server is where it did not answer.
--
-- OFFERS is the client's newest version, TAKES and CIPHER are the server's choice, LATENCY is the time from the client
-- hello to the server's first answer. NAME is the server name that the client asks for (SNI). ALPN is the protocol that
-- the server chose, or, as it is encrypted from TLS 1.3 on, those that the client offers. JA4 is the client's
-- fingerprint, by plugins/ja4.lua. NOTES say whether the server asked for another hello (retried) or an earlier session
-- goes on (resumed), whether early data were offered, which alert was sent in the clear, and before TLS 1.3 the common
-- names in the server's certificate: whom it is of, and who signed it.
--
-- With --json there is a JSON object a line, with client_port, microseconds in "time", and the notes by name. In both
-- forms bytes of the wire that are no printable ASCII stand as \xNN and backslashes as two; NAME has blanks so, too.
--
-- One meter looks at the packets, so that lines come in the same order always. --filter has no effect here, since
-- flows end after what is told of them; --bpf-filter has.
--
-- @categories report live
-- @usage nfengine tls samples/tls.pcap | cut -c 12-25,66-152 | sed 's/ *$//'
-- @output
--               BY    OFFERS  TAKES    LATENCY  NAME               JA4
-- 16:16:48.059  tcp   1.3     1.3       1.1 ms  www.example.com    t13d0411h2_16476d049b0b_78f1d400d464
-- 16:16:48.334  tcp   1.2     1.2       0.8 ms  files.example.org  t12d2808h1_d943125447b4_e7e480e5a997
-- 16:16:48.581  tcp   1.3     1.3       0.7 ms  www.example.com    t13d3111h2_e8f1e7e78f70_1f22a2ca17c4
-- 16:16:48.850  tcp   1.3     1.3       0.9 ms  -                  t13i310900_e8f1e7e78f70_1f22a2ca17c4
-- 16:16:49.106  tcp   1.3     1.3       1.1 ms  dns.example.org    t13d3111dt_e8f1e7e78f70_1f22a2ca17c4
-- 16:16:49.376  tcp   1.3     1.3       0.3 ms  mail.example.org   t13d3111ip_e8f1e7e78f70_1f22a2ca17c4
-- 16:16:49.658  tcp   1.3     1.2       0.5 ms  www.example.com    t13d311000_e8f1e7e78f70_1f22a2ca17c4
-- 16:16:49.855  tcp   1.3     1.3       3.2 ms  files.example.org  t13d311000_e8f1e7e78f70_1f22a2ca17c4
-- 16:16:50.127  tcp   1.3     1.3       0.4 ms  files.example.org  t13d311100_e8f1e7e78f70_dbd39dd1d406
-- 16:16:50.309  tcp   1.3     1.3       0.6 ms  www.example.com    t13d3111x0_e8f1e7e78f70_1f22a2ca17c4
-- 16:16:50.552  tcp   1.3     1.3       0.9 ms  www.example.com    t13d3111x0_e8f1e7e78f70_1f22a2ca17c4
-- 16:16:50.771  tcp   1.1     -              -  www.example.com    t11d230600_44099cda8a52_195413a0cc0f
-- 16:16:50.924  tcp   1.3     1.3       1.1 ms  -                  t13i3111h2_e8f1e7e78f70_b26ce05bbdd6
-- @usage nfengine tls samples/web.pcap -- --json | tail -1 | tr , "\n"
-- @output
-- {"time":"2026-11-23T16:16:38.330416Z"
-- "client_ip":"192.0.2.58"
-- "client_port":51492
-- "server_ip":"198.51.100.80"
-- "server_port":443
-- "transport":"tcp"
-- "offered":"1.2"
-- "version":"1.2"
-- "latency_ms":23.256
-- "server_name":"www.example.com"
-- "ja4":"t12d2807h2_d943125447b4_a44c6288192a"
-- "cipher":"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
-- "alpn_offered":["h2"
-- "http/1.1"]
-- "alpn":"http/1.1"
-- "is_resumed":false
-- "is_retried":false
-- "has_early_data":false
-- "alert":null
-- "alert_by":null
-- "subject":"www.example.com"
-- "issuer":"www.example.com"}

local nf = require "nfengine"
local handshake = require "nfengine.protocols.handshake"
local journal = require "nfengine.journal"
local names = require "nfengine.protocols.tls_names"
local Ja4 = require "plugins.ja4"
local TcpEnd = require "plugins.tcp_end"

local options = nf.options { json = { false, "JSON lines instead of columns" } }

local log = journal.new {
  json = options.json,
  fields = {
    { "time", "time", "TIME" },
    { "client", "address", "CLIENT" },
    { "server", "endpoint", "SERVER" },
    { "transport", "safe", "BY", width = 4 },
    { "offered", "safe", "OFFERS" },
    { "version", "safe", "TAKES" },
    { "latency", "ms", "LATENCY" },
    { "server_name", "text", "NAME", width = 17 },
    { "ja4", "safe", "JA4", width = 36 },
    { "cipher", "safe", "CIPHER", width = 22 },
    { "protocols", "list", "ALPN", width = 12, json = false },
    { "notes", "list", "NOTES", json = false },
    { "alpn_offered", "list" },
    { "alpn", "text" },
    { "is_resumed", "flag" },
    { "is_retried", "flag" },
    { "has_early_data", "flag" },
    { "alert", "safe" },
    { "alert_by", "safe" },
    { "subject", "text" },
    { "issuer", "text" },
  },
}

local function escaped_all(list)
  local escaped = {}
  for i, text in ipairs(list or {}) do escaped[i] = journal.escaped(text) end
  return escaped
end

--- What there is besides, in words.
local function notes_of(entry)
  local notes = {}
  local function note(is_so, text, ...)
    if is_so then notes[#notes + 1] = text:format(...) end
  end
  note(entry.is_retried, "retried")
  note(entry.is_resumed, "resumed")
  note(entry.has_early_data, "early data")
  note(entry.alert, "%s by %s", entry.alert, entry.alert_by)
  note(entry.subject, "of %s", journal.escaped(entry.subject or ""))
  note(entry.issuer, "signed by %s", journal.escaped(entry.issuer or ""))
  return notes
end

local function tell(made, flow)
  local entry, hello, server = journal.between(flow, made.client), made.hello, made.server
  for _, name in ipairs { "time", "is_resumed", "is_retried", "has_early_data", "alert_by", "subject", "issuer" } do
    entry[name] = made[name]
  end
  entry.transport, entry.ja4 = made.carrier, flow.udps.ja4
  entry.offered, entry.server_name = names.version(handshake.newest_version(hello)), hello.server_name
  entry.alpn_offered = escaped_all(hello.alpn)
  if server then
    entry.version, entry.cipher, entry.alpn = names.version(server.version), names.cipher(server.cipher), server.alpn
  end
  entry.protocols = server and server.alpn and escaped_all { server.alpn } or entry.alpn_offered
  entry.alert = made.alert and names.alert(made.alert)
  entry.latency = made.answered and math.max(made.answered - made.time, 0)
  entry.notes = notes_of(entry)
  log:put(entry)
end

local Tls = nf.plugin {
  name = "tls",
  state = { { "tls_state", "double" } },
  setup = function(self) self.handshakes = handshake.follower(tell) end,
  on_init = function(self, packet, flow)
    local state = self.handshakes:begin(packet)
    flow.udps.tls_state = self.handshakes:look(state, packet, flow)
  end,
  on_update = function(self, packet, flow)
    local state = flow.udps.tls_state
    if state ~= 0 then flow.udps.tls_state = self.handshakes:look(state, packet, flow) end
  end,
  on_expire = function(self, flow) self.handshakes:close(flow.udps.tls_state, flow) end,
}

log:run {
  n_dissections = 0, snapshot_length = 65535, -- also segments that the kernel has joined
  udps = { TcpEnd {}, Ja4 {}, Tls {} },       -- in this order: a fingerprint is there when its handshake is looked at
}
