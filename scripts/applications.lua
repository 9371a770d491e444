--- Which application does each flow belong to, and how do we know? One line a flow, in the order they end.
--
-- FOUND BY is what gave the application away: the packets' content, a cache of earlier flows, the address, or no more
-- than the port. SERVER NAME is the host that was asked for: the name in a TLS hello, an HTTP request, a DNS question.
--
-- @usage nfengine applications samples/web.pcap
-- @output
-- ...

local nf = require "nfengine"

local LINE = "%-16s %-14s %-8s  %-22s %s > %s\n"
local FOUND_BY = { [0] = "nothing", "port", "address", "cache", "content" } -- by confidence

-- Texts from the wire may hold anything, also what a terminal would take for a command.
local function printable(text)
  return (text:gsub("[^\32-\126]", "?"))
end

local function endpoint(address, port)
  if port == 0 then return address end
  return (address:find(":", 1, true) and "[%s]:%d" or "%s:%d"):format(address, port)
end

io.write(LINE:format("APPLICATION", "CATEGORY", "FOUND BY", "SERVER NAME", "FROM", "TO"))
for flow in nf.streamer({}):flows() do
  io.write(LINE:format(
    flow.application_name,
    flow.application_category_name,
    FOUND_BY[flow.application_confidence],
    printable(flow.requested_server_name),
    endpoint(flow.src_ip, flow.src_port),
    endpoint(flow.dst_ip, flow.dst_port)))
end
