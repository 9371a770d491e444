--- What is in this capture? The applications, servers, addresses and ports that most of its bytes belong to.
--
-- An address counts what it sent and what it received, so that the shares of addresses add up to 200 %. A port is the
-- lower one of a flow's two, which nearly always is the server's.
--
-- @usage nfengine summary samples/web.pcap
-- @output
-- samples/web.pcap
--   begins   2026-11-23 16:16:30 UTC
--   lasts    12.8 s
--   flows    32 of 384 packets, 173.9 kB
--   ignored  6 not IP
--
-- APPLICATION                                 FLOWS     BYTES   SHARE
-- HTTP                                            6  132.3 kB   76.1%  ########
-- TLS                                             3   22.9 kB   13.2%  #
-- SSH                                             1   12.0 kB    6.9%  #
-- DNS                                            11    2.9 kB    1.7%
-- DHCP                                            2    1.7 kB    1.0%
-- 4 others                                        9    2.0 kB    1.2%
--
-- SERVER                                      FLOWS     BYTES   SHARE
-- files.example.org                               4  122.8 kB   70.7%  ########
-- www.example.com                                 4   32.1 kB   18.5%  ##
--
-- ADDRESS                                     FLOWS     BYTES   SHARE
-- 2001:db8::10                                    6  119.2 kB   68.6%  ########
-- 2001:db8:80::80                                 3  118.9 kB   68.4%  ########
-- 192.0.2.10                                     19   45.4 kB   26.1%  ###
-- 198.51.100.80                                   7   36.7 kB   21.1%  ##
-- 203.0.113.22                                    1   12.0 kB    6.9%  #
-- 9 others                                       28   15.7 kB    9.0%  #
--
-- PORT                                        FLOWS     BYTES   SHARE
-- 80/tcp                                          6  132.3 kB   76.1%  ########
-- 443/tcp                                         3   22.9 kB   13.2%  #
-- 22/tcp                                          1   12.0 kB    6.9%  #
-- 53/udp                                         11    2.9 kB    1.7%
-- 67/udp                                          2    1.7 kB    1.0%
-- 4 others                                        9    2.0 kB    1.2%

local nf = require "nfengine"

local options = nf.options { top = { 5, "lines in each table", integer = true, min = 1, max = 1000 } }
local streamer = nf.streamer {}
local unit = streamer.time_unit -- names of times end in it
local has_applications = streamer.n_dissections > 0

-- ---- counting ----

local protocols = { [1] = "icmp", [6] = "tcp", [17] = "udp", [47] = "gre", [58] = "icmpv6", [132] = "sctp" }

local function port_of(flow)
  local protocol = protocols[flow.protocol] or "protocol " .. flow.protocol
  local port = math.min(flow.src_port, flow.dst_port)
  return port > 0 and port .. "/" .. protocol or protocol
end

local function count(rows, name, flow)
  rows[name] = rows[name] or { name = name, flows = 0, bytes = 0 }
  rows[name].flows = rows[name].flows + 1
  rows[name].bytes = rows[name].bytes + flow.bidirectional_bytes
end

local applications, servers, addresses, ports = {}, {}, {}, {}
local first_seen, last_seen, total_bytes = math.huge, 0, 0

for flow in streamer:flows() do
  first_seen = math.min(first_seen, flow["bidirectional_first_seen_" .. unit])
  last_seen = math.max(last_seen, flow["bidirectional_last_seen_" .. unit])
  total_bytes = total_bytes + flow.bidirectional_bytes
  count(addresses, flow.src_ip, flow)
  if flow.dst_ip ~= flow.src_ip then count(addresses, flow.dst_ip, flow) end
  count(ports, port_of(flow), flow)
  if has_applications then
    count(applications, flow.application_name, flow)
    -- The names in DNS and DHCP are not of those who are talked to.
    local is_server = flow.requested_server_name ~= "" and flow.application_category_name ~= "Network"
    if is_server then count(servers, flow.requested_server_name, flow) end
  end
end

-- ---- telling ----

local function thousands(n)
  return (("%d"):format(n):reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^,", ""))
end

local function size(bytes)
  local units, i = { "B", "kB", "MB", "GB", "TB", "PB" }, 1
  while bytes >= 999.95 and units[i + 1] do bytes, i = bytes / 1000, i + 1 end
  return (i == 1 and "%d %s" or "%.1f %s"):format(bytes, units[i])
end

-- Names from the wire may be long, and may hold what a terminal would take for a command.
local function shown(name)
  name = name:gsub("[^\32-\126]", "?")
  return #name > 39 and "..." .. name:sub(-36) or name
end

local function duration(seconds)
  if seconds < 120 then return ("%.1f s"):format(seconds) end
  if seconds < 7200 then return ("%d min %d s"):format(seconds / 60, seconds % 60) end
  return ("%d h %d min"):format(seconds / 3600, seconds / 60 % 60)
end

local function print_head()
  local account = streamer:account()
  local used = account.packets - account.ignored_packets
  print(type(streamer.source) == "table" and #streamer.source .. " captures" or streamer.source)
  if account.flows > 0 then
    local per_second = ({ ms = 1e3, us = 1e6, ns = 1e9 })[unit]
    print("  begins   " .. os.date("!%Y-%m-%d %H:%M:%S", first_seen / per_second) .. " UTC")
    print("  lasts    " .. duration((last_seen - first_seen) / per_second))
  end
  print(("  flows    %s of %s packets, %s"):format(thousands(account.flows), thousands(used), size(total_bytes)))
  local ignored = {}
  for reason, packets in pairs(account.ignored) do table.insert(ignored, thousands(packets) .. " " .. reason) end
  table.sort(ignored, function(a, b) return a:match "%a.*" < b:match "%a.*" end)
  if ignored[1] then print("  ignored  " .. table.concat(ignored, ", ")) end
end

local LINE = "%-39s%10s%10s%8s  %s"

local function print_row(row)
  local share = row.bytes / math.max(total_bytes, 1)
  local bar = ("#"):rep(11 * math.min(share, 1) + 0.5)
  local line = LINE:format(shown(row.name), thousands(row.flows), size(row.bytes), ("%.1f%%"):format(100 * share), bar)
  print((line:gsub(" +$", "")))
end

local function is_before(a, b)
  if a.bytes ~= b.bytes then return a.bytes > b.bytes end
  return a.name < b.name
end

-- The first n rows by size. There may be millions of addresses, so they are not all sorted.
local function largest(rows, n)
  local best = {}
  for _, row in pairs(rows) do
    local at = #best + 1
    while at > 1 and is_before(row, best[at - 1]) do
      best[at] = best[at - 1]
      at = at - 1
    end
    best[at] = row
    best[n + 1] = nil
  end
  return best
end

local function print_table(title, rows)
  local number, flows, bytes = 0, 0, 0
  for _, row in pairs(rows) do number, flows, bytes = number + 1, flows + row.flows, bytes + row.bytes end
  if number == 0 then return end
  print("\n" .. LINE:format(title, "FLOWS", "BYTES", "SHARE", ""):gsub(" +$", ""))

  local lines = number > options.top + 1 and options.top or number
  for _, row in ipairs(largest(rows, lines)) do
    print_row(row)
    flows, bytes = flows - row.flows, bytes - row.bytes
  end
  if number > lines then print_row { name = thousands(number - lines) .. " others", flows = flows, bytes = bytes } end
end

print_head()
print_table("APPLICATION", applications)
print_table("SERVER", servers)
print_table("ADDRESS", addresses)
print_table("PORT", ports)
