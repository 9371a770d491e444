--- Who is sending right now? Shows the applications, hosts and flows with the highest rates, again and again.
--
-- For network interfaces, nfengine top -i eth0: tables that are drawn anew every second, until Ctrl-C. Captures are
-- read as fast as can be. RATE is that of the last interval, by the clock of the packets; BYTES are all so far; rows go
-- by their rate. At the end, and where standard output is no terminal, they go by their bytes, and RATE is the mean of
-- the whole run.
--
-- Every packet counts when it comes, under what is then known of its flow; when nDPI learns the application, what the
-- flow has counted goes there. Filters of flows have no effect, since those come when flows end; --bpf-filter has.
--
-- @categories report live
-- @usage nfengine top samples/web.pcap -- --top=4
-- @output
-- 2026-11-23 16:16:43 UTC  384 packets, 173.9 kB in 12.8 s: 13.6 kB/s
--
-- APPLICATION                                      RATE     BYTES  FLOWS
-- HTTP                                        10.4 kB/s  132.3 kB  6
-- TLS                                          1.8 kB/s   22.9 kB  3
-- SSH                                           937 B/s   12.0 kB  1
-- DNS                                           227 B/s    2.9 kB  11
--
-- HOST                                             RATE     BYTES  FLOWS
-- 2001:db8::10                                 9.3 kB/s  119.2 kB  6
-- 2001:db8:80::80                              9.3 kB/s  118.9 kB  3
-- 192.0.2.10                                   3.6 kB/s   45.4 kB  19
-- 198.51.100.80                                2.9 kB/s   36.7 kB  7
--
-- FLOW                                             RATE     BYTES  APPLICATION
-- ...::10]:45800 > [2001:db8:80::80]:80 tcp    8.8 kB/s  112.1 kB  HTTP
-- 192.0.2.10:43278 > 198.51.100.80:80 tcp      1.1 kB/s   14.3 kB  HTTP
-- 192.0.2.10:52360 > 198.51.100.80:443 tcp     1.0 kB/s   13.3 kB  TLS
-- 192.0.2.10:34010 > 203.0.113.22:22 tcp        937 B/s   12.0 kB  SSH

local nf = require "nfengine"
local privacy = require "nfengine.privacy"
local show = require "nfengine.show"
local tally = require "nfengine.tally"
local terminal = require "nfengine.terminal"

local options = nf.options {
  interval = { 1, "seconds between two looks", min = 0.25 },
  top = { 10, "rows in each table, fewer where the terminal is small", integer = true, min = 1, max = 1000 },
}

local MOST_HOSTS = 20000 -- remembered; when there are more, the smaller half is forgotten

-- ---- counting, packet by packet ----

-- In the time between two looks, a round, each flow that has packets takes a place in lists: what it had before and
-- has by now, who it is, and what application it was and is, by number, 0 where it is new. What a round has brought is
-- added up when it is over.

local function application_of(self, flow)
  local name = self.dissections > 0 and flow.application_name or show.service(flow)
  local number = self.numbers[name]
  if not number then
    number = #self.names + 1
    self.names[number], self.numbers[name] = name, number
  end
  return number
end

local function enter(self, udps, flow)
  local place = self.places + 1
  if udps.top_id == 0 then
    self.flows = self.flows + 1
    udps.top_id = self.flows
  end
  self.places, udps.top_round, udps.top_place = place, self.round, place
  self.ids[place], self.before[place], self.after[place] = udps.top_id, udps.top_bytes, udps.top_bytes
  self.sources[place], self.source_ports[place] = flow.src_ip, flow.src_port
  self.destinations[place], self.destination_ports[place] = flow.dst_ip, flow.dst_port
  self.protocols[place] = flow.protocol
  self.was[place], self.is[place] = udps.top_application, udps.top_application
end

local function name(self, udps, flow)
  udps.top_application = application_of(self, flow)
  self.is[udps.top_place] = udps.top_application
end

local function count(self, packet, flow)
  local udps, bytes = flow.udps, flow.bidirectional_bytes
  if udps.top_round ~= self.round then enter(self, udps, flow) end
  udps.top_bytes, self.after[udps.top_place] = bytes, bytes
  self.packets, self.now = self.packets + 1, packet.time
  if flow.bidirectional_packets <= self.dissections + 1 then name(self, udps, flow) end
end

local Rounds = nf.plugin {
  name    = "top",
  options = { dissections = { 20, "packets after which the application does not change" } },
  state   = {
    { "top_round", "uint32" }, { "top_place", "uint32" }, { "top_id", "double" }, { "top_bytes", "double" },
    { "top_application", "uint32" },
  },
  setup = function(self)
    self.round, self.places, self.flows, self.packets, self.now, self.first = 1, 0, 0, 0, 0, 0
    self.names, self.numbers = {}, {}
    self.ids, self.before, self.after, self.was, self.is = {}, {}, {}, {}, {}
    self.sources, self.source_ports, self.destinations, self.destination_ports = {}, {}, {}, {}
    self.protocols = {}
  end,
  on_init = function(self, packet, flow)
    if self.first == 0 then self.first = packet.time end
    count(self, packet, flow)
  end,
  on_update = count,
  on_expire = function(self, flow) -- nDPI's last word
    local udps = flow.udps
    if application_of(self, flow) == udps.top_application then return end
    if udps.top_round ~= self.round then enter(self, udps, flow) end
    name(self, udps, flow)
  end,
}

local streamer = nf.streamer {}
privacy.expect_none(streamer)
if streamer.n_meters > 1 then
  error(("--n-meters=%d: packets are counted in one place here, expected 1"):format(streamer.n_meters), 0)
end
local rounds = Rounds { dissections = streamer.n_dissections }
streamer.udps = { rounds }
local per_second = show.per_second(streamer.time_unit)

-- ---- adding up, round by round ----

local applications, hosts = tally.new(), tally.new()
local busiest, largest, rank = {}, {}, {} -- flows, by bytes of the round and by all; rows of largest by the flow's id
local total_bytes = 0

--- Adds a round's bytes to a name, which may have a flow more.
local function add(rows, title, bytes, is_new)
  local row = rows:add(title, bytes)
  row.flows = row.flows - (is_new and 0 or 1)
  row.now = (row.now or 0) + bytes
  return row
end

local function flow_row(place)
  local from = show.endpoint(rounds.sources[place], rounds.source_ports[place])
  local to = show.endpoint(rounds.destinations[place], rounds.destination_ports[place])
  return { name = rounds.ids[place], title = from .. " > " .. to .. " " .. show.protocol(rounds.protocols[place]) }
end

--- Keeps the flow at a place where it is one of the largest.
local function keep_flow(place)
  local bytes, before, id = rounds.after[place], rounds.before[place], rounds.ids[place]
  local last, row = busiest[options.top], rank[id]
  local is_busy = bytes > before and (not last or bytes - before > last.now)
  local is_large = not row and (#largest < options.top or bytes > largest[#largest].bytes)
  if is_busy or is_large then row = row or flow_row(place) end
  if not row then return end
  row.now, row.bytes, row.application = bytes - before, bytes, rounds.names[rounds.is[place]]
  if is_busy then tally.keep(busiest, options.top, row, "now") end
  if is_large then
    if largest[options.top] then rank[largest[options.top].name] = nil end
    largest[math.min(#largest + 1, options.top)], rank[id] = row, row
  end
  table.sort(largest, function(a, b) return a.bytes > b.bytes or a.bytes == b.bytes and a.name < b.name end)
end

local function forget_hosts()
  local list = {}
  for _, row in pairs(hosts.rows) do list[#list + 1] = row end
  table.sort(list, function(a, b) return a.bytes > b.bytes or a.bytes == b.bytes and a.name < b.name end)
  for i = #list, MOST_HOSTS / 2 + 1, -1 do hosts.rows[list[i].name] = nil end
  hosts.size = math.min(hosts.size, MOST_HOSTS / 2)
end

--- Takes a flow, and the bytes it had before, from an application that it turned out not to be.
local function take_back(title, bytes)
  local row = applications.rows[title]
  row.bytes, row.flows = row.bytes - bytes, row.flows - 1
  if row.flows > 0 then return end
  applications.rows[title], applications.size = nil, applications.size - 1
end

local function end_round()
  for _, rows in ipairs { applications.rows, hosts.rows } do
    for _, row in pairs(rows) do row.now = 0 end
  end
  busiest = {}
  for place = 1, rounds.places do
    local before, after, was, is = rounds.before[place], rounds.after[place], rounds.was[place], rounds.is[place]
    local bytes, is_new = after - before, was == 0
    local has_moved = was ~= is and not is_new
    if has_moved then take_back(rounds.names[was], before) end
    local row = add(applications, rounds.names[is], bytes, is_new or has_moved)
    if has_moved then row.bytes = row.bytes + before end
    add(hosts, rounds.sources[place], bytes, is_new)
    if rounds.sources[place] ~= rounds.destinations[place] then
      add(hosts, rounds.destinations[place], bytes, is_new)
    end
    total_bytes = total_bytes + bytes
    keep_flow(place)
  end
  if hosts.size > MOST_HOSTS then forget_hosts() end
  rounds.round, rounds.places = rounds.round + 1, 0
end

-- ---- showing ----

local function lines_of(title, rows, rate_of, last_title, last_of, columns)
  local width = columns - 39
  local form = "%-" .. width .. "s%12s%10s  %-15s"
  local lines = { "", form:format(title, "RATE", "BYTES", last_title) }
  for i, row in ipairs(rows) do
    lines[i + 2] = form:format(show.shortened(row.title or row.name, width), show.rate(rate_of(row)),
      show.size(row.bytes), show.shortened(last_of(row), 15))
  end
  return lines
end

--- The picture of a moment, as a list of lines.
-- @param seconds how long the rates' interval was; nil: the whole run, by bytes
local function picture(seconds, packets, bytes, top, columns)
  if rounds.now == 0 then return { "no packets" .. (seconds and " yet" or "") } end
  local lasted = (rounds.now - rounds.first) / per_second
  local is_end, per = not seconds, math.max(seconds or lasted, 1e-3)
  local field = is_end and "bytes" or "now"
  local function rate_of(row) return row[field] / per end
  local function flows_of(row) return show.thousands(row.flows) end
  local lines = { show.moment(rounds.now / per_second) .. "  " .. (is_end
    and ("%s packets, %s in %s: %s"):format(show.thousands(packets), show.size(bytes), show.duration(lasted),
      show.rate(bytes / per))
    or ("%s packets/s, %s"):format(show.thousands(packets / per), show.rate(bytes / per))) }
  local function put(...)
    for _, line in ipairs(lines_of(...)) do lines[#lines + 1] = line end
  end
  local name_of_applications = rounds.dissections > 0 and "APPLICATION" or "PORT"
  put(name_of_applications, (applications:largest(top, field)), rate_of, "FLOWS", flows_of, columns)
  put("HOST", (hosts:largest(top, field)), rate_of, "FLOWS", flows_of, columns)
  put("FLOW", is_end and { unpack(largest, 1, top) } or { unpack(busiest, 1, top) }, rate_of, name_of_applications,
    function(row) return row.application end, columns)
  for i, line in ipairs(lines) do lines[i] = line:sub(1, columns):gsub(" +$", "") end
  return lines
end

local drawn = 0 -- lines

--- Draws lines over those drawn before, below which the cursor stands.
local function draw(lines)
  io.write(drawn > 0 and ("\27[%dF"):format(drawn) or "\r", table.concat(lines, "\27[K\n"), "\27[K\n\27[J")
  io.flush()
  drawn = #lines
end

local looks = { at = 0, now = 0, packets = 0, bytes = 0 } -- the latest look

--- How long it was since the latest look. What packets say is what counts, but where they are of now, and would tell of
-- no silence.
local function elapsed(seconds)
  local is_live = math.abs(os.time() - rounds.now / per_second) < 5
  return is_live and seconds - looks.at or (rounds.now - math.max(looks.now, rounds.first)) / per_second
end

local is_terminal = terminal.is_there()

local sink = { write = function() end }

function sink:tick(seconds, is_last)
  if seconds - looks.at < options.interval - 0.05 and not is_last then return end
  local interval = elapsed(seconds)
  end_round()
  if is_terminal then
    local columns, lines = terminal.size()
    local top = math.max(math.min(options.top, math.floor((lines - 9) / 3)), 1)
    draw(is_last and picture(nil, rounds.packets, total_bytes, top, columns - 1)
      or picture(interval, rounds.packets - looks.packets, total_bytes - looks.bytes, top, columns - 1))
  end
  looks = { at = seconds, now = rounds.now, packets = rounds.packets, bytes = total_bytes }
end

streamer:to(sink)
if not is_terminal then
  print(table.concat(picture(nil, rounds.packets, total_bytes, options.top, 80), "\n"))
end
