--- What is in this capture? The applications, servers, addresses and ports that most bytes belong to.
--
-- An address counts what it sent and what it received, so shares of addresses add up to 200 %. A port is the lower one
-- of a flow's two, which nearly always is the server's.
--
-- @usage nfengine summary samples/web.pcap
-- @output
-- ...

local nf = require "nfengine"
local report = require "nfengine.report"

local options = nf.options { top = { 5, "lines in each table", min = 1 } }

-- ---- counting ----

local streamer = nf.streamer {}
local unit = streamer.time_unit
local has_applications = streamer.n_dissections > 0

local applications, servers, addresses, ports, total = {}, {}, {}, {}, {}
local first_seen, last_seen = math.huge, 0

local function count(rows, name, flow)
  local row = rows[name] or { name = name, flows = 0, packets = 0, bytes = 0 }
  row.flows = row.flows + 1
  row.packets = row.packets + flow.bidirectional_packets
  row.bytes = row.bytes + flow.bidirectional_bytes
  rows[name] = row
end

local protocols = { [1] = "icmp", [6] = "tcp", [17] = "udp", [47] = "gre", [58] = "icmpv6", [132] = "sctp" }

local function port_of(flow)
  local protocol, port = protocols[flow.protocol] or "protocol " .. flow.protocol, math.min(flow.src_port, flow.dst_port)
  return port > 0 and port .. "/" .. protocol or protocol
end

for flow in streamer:flows() do
  count(total, "all", flow)
  count(addresses, flow.src_ip, flow)
  if flow.dst_ip ~= flow.src_ip then count(addresses, flow.dst_ip, flow) end
  count(ports, port_of(flow), flow)
  if has_applications then
    count(applications, flow.application_name, flow)
    -- The names in DNS and DHCP are not of whom one talks to.
    local name = flow.application_category_name ~= "Network" and flow.requested_server_name or ""
    if name ~= "" then count(servers, name, flow) end
  end
  first_seen = math.min(first_seen, flow["bidirectional_first_seen_" .. unit])
  last_seen = math.max(last_seen, flow["bidirectional_last_seen_" .. unit])
end

-- ---- telling ----

local function thousands(n)
  return (("%d"):format(n):reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^,", ""))
end

local function bytes(n)
  local units, i = { "B", "kB", "MB", "GB", "TB", "PB" }, 1
  while n >= 1000 and units[i + 1] do n, i = n / 1000, i + 1 end
  return (i == 1 and "%d %s" or "%.1f %s"):format(n, units[i])
end

local function duration(seconds)
  if seconds < 120 then return ("%.1f s"):format(seconds) end
  return ("%d h %02d min %02d s"):format(seconds / 3600, seconds / 60 % 60, seconds % 60)
end

local LINE = "%-31s %9s %11s %9s %6s  %s"

local function print_row(row, all)
  local share = row.bytes / math.max(all.bytes, 1)
  -- Names come from the wire and may hold anything, also what a terminal would take for a command.
  local name = row.name:gsub("[^\32-\126]", "?"):gsub("^(" .. ("."):rep(28) .. ")....+$", "%1...")
  print(LINE:format(name, thousands(row.flows), thousands(row.packets), bytes(row.bytes),
    ("%.1f%%"):format(100 * share), ("#"):rep(math.ceil(8 * math.min(share, 1)))))
end

local function print_table(title, rows, all)
  local sorted, rest = {}, { name = "others", flows = 0, packets = 0, bytes = 0 }
  for _, row in pairs(rows) do table.insert(sorted, row) end
  table.sort(sorted, function(a, b)
    if a.bytes ~= b.bytes then return a.bytes > b.bytes end
    return a.name < b.name
  end)
  if #sorted == 0 then return end
  print("\n" .. LINE:format(title, "FLOWS", "PACKETS", "BYTES", "SHARE", ""))
  for i, row in ipairs(sorted) do
    if i <= options.top then print_row(row, all) end
  end
end
