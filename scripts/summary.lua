--- What is in this capture? The applications, servers, addresses and ports that most of its bytes belong to.
--
-- An address counts what it sent and what it received, so that the shares of addresses add up to 200 %. A port is the
-- lower one of a flow's two, which nearly always is the server's.
--
-- @categories report
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
local show = require "nfengine.show"
local tally = require "nfengine.tally"

local options = nf.options { top = { 5, "lines in each table", integer = true, min = 1, max = 1000 } }
local streamer = nf.streamer {}
if streamer.drop_leaky then error("--drop-leaky: this script shows what it leaves out, expected another", 0) end
local unit = streamer.time_unit -- names of times end in it
local has_applications = streamer.n_dissections > 0

-- ---- counting ----

local applications, servers, addresses, ports = tally.new(), tally.new(), tally.new(), tally.new()
local first_seen, last_seen, total_bytes = math.huge, 0, 0

for flow in streamer:flows() do
  local bytes = flow.bidirectional_bytes
  first_seen = math.min(first_seen, flow["bidirectional_first_seen_" .. unit])
  last_seen = math.max(last_seen, flow["bidirectional_last_seen_" .. unit])
  total_bytes = total_bytes + bytes
  addresses:add(flow.src_ip, bytes)
  if flow.dst_ip ~= flow.src_ip then addresses:add(flow.dst_ip, bytes) end
  ports:add(show.service(flow), bytes)
  if has_applications then
    applications:add(flow.application_name, bytes)
    -- The names in DNS and DHCP are not of those who are talked to.
    local is_server = flow.requested_server_name ~= "" and flow.application_category_name ~= "Network"
    if is_server then servers:add(flow.requested_server_name, bytes) end
  end
end

-- ---- telling ----

local function print_head()
  local account = streamer:account()
  local used = account.packets - account.ignored_packets
  print(type(streamer.source) == "table" and #streamer.source .. " captures" or streamer.source)
  if account.flows > 0 then
    local per_second = show.per_second(unit)
    print("  begins   " .. show.moment(first_seen / per_second))
    print("  lasts    " .. show.duration((last_seen - first_seen) / per_second))
  end
  print(("  flows    %s of %s packets, %s")
    :format(show.thousands(account.flows), show.thousands(used), show.size(total_bytes)))
  if account.ignored_packets > 0 then print("  ignored  " .. show.ignored(account)) end
end

local LINE = "%-39s%10s%10s%8s  %s"

local function print_row(row, name)
  local bar = ("#"):rep(11 * math.min(row.bytes / math.max(total_bytes, 1), 1) + 0.5)
  local line = LINE:format(show.shortened(name or row.name, 39), show.thousands(row.flows), show.size(row.bytes),
    show.share(row.bytes, total_bytes), bar)
  print((line:gsub(" +$", "")))
end

local function print_table(title, rows)
  if rows.size == 0 then return end
  print("\n" .. LINE:format(title, "FLOWS", "BYTES", "SHARE", ""):gsub(" +$", ""))
  local largest, others = rows:largest(options.top)
  for _, row in ipairs(largest) do print_row(row) end
  if others then print_row(others, show.thousands(others.count) .. " others") end
end

print_head()
print_table("APPLICATION", applications)
print_table("SERVER", servers)
print_table("ADDRESS", addresses)
print_table("PORT", ports)
