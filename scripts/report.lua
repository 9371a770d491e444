--- What was in this capture, as a page to look at and to pass on? Writes one HTML file that needs nothing else.
--
-- The page has the run's account (span, packets, bytes, flows, what was ignored and why), bytes per second by
-- application, tables of applications, server names, hosts and ports, how sizes and durations of flows are distributed,
-- what nDPI holds to be risky, and the largest and longest flows. It loads nothing from anywhere and runs no script;
-- what came from the wire is escaped. The same capture gives the same page, to the byte; of a large one, which several
-- meters share, with --no-dpi-cache.
--
-- @categories report
-- @usage nfengine report samples/web.pcap -- --write=web.html
-- @usage nfengine report samples/web.pcap | head -4
-- @output
-- <!doctype html>
-- <html lang="en">
-- <head>
-- <meta charset="utf-8">

local nf = require "nfengine"
local show = require "nfengine.show"
local svg = require "nfengine.svg"
local tally = require "nfengine.tally"
local timeline = require "nfengine.timeline"

local options = nf.options {
  write = { "", "file to write; without it, standard output" },
  title = { "", "what the page is called; without it, the capture's name" },
  top = { 15, "rows in each table", integer = true, min = 1, max = 1000 },
}

local escape, thousands, size = svg.escape, show.thousands, show.size

local streamer = nf.streamer { l7_columns = { "risk_names" } }
if streamer.drop_leaky then error("--drop-leaky: this script shows what it leaves out, expected another", 0) end
local unit, per_second = streamer.time_unit, show.per_second(streamer.time_unit)
local has_applications, has_risks = streamer.n_dissections > 0, false
for _, name in ipairs(streamer.l7_columns) do
  has_risks = has_risks or has_applications and (name == "risk_names" or name == "all")
end
local over_time = timeline.of(streamer)
streamer.udps = { over_time }

-- ---- gathering ----

local applications, servers, hosts, ports, risks = tally.new(), tally.new(), tally.new(), tally.new(), tally.new()
local largest, longest = {}, {} -- flows
local first_seen, last_seen, total = math.huge, 0, { flows = 0, packets = 0, bytes = 0 }

local BINS_A_DECADE = 3

--- The sums of flows and bytes by bins of a logarithmic scale, bin 0 from `least` on. What is less goes to bin -1.
local function histogram(least)
  return { least = least, flows = {}, bytes = {}, first = math.huge, last = -math.huge }
end

local function count(bins, value, bytes)
  local bin = value < bins.least and -1 or math.floor(BINS_A_DECADE * math.log10(value / bins.least) + 1e-9)
  bins.first, bins.last = math.min(bins.first, bin), math.max(bins.last, bin)
  bins.flows[bin], bins.bytes[bin] = (bins.flows[bin] or 0) + 1, (bins.bytes[bin] or 0) + bytes
end

local sizes, durations = histogram(10), histogram(0.001)

local function endpoints(flow)
  return show.endpoint(flow.src_ip, flow.src_port), show.endpoint(flow.dst_ip, flow.dst_port)
end

--- Keeps what the tables of flows show, if the flow is one of the `top` by that field.
local function keep(list, field, flow, values)
  local last = list[options.top]
  if last and last[field] >= values[field] then return end
  local row = { name = flow.id, seconds = values.seconds, bytes = values.bytes, packets = flow.bidirectional_packets }
  row.from, row.to = endpoints(flow)
  row.to = row.to .. (flow.dst_port > 0 and "/" or " ") .. show.protocol(flow.protocol)
  row.first = flow["bidirectional_first_seen_" .. unit] / per_second
  row.sent, row.received = flow.src2dst_bytes, flow.dst2src_bytes
  if has_applications then row.application, row.server = flow.application_name, flow.requested_server_name end
  tally.keep(list, options.top, row, field)
end

local function count_applications(flow, bytes)
  local row = applications:add(flow.application_name, bytes)
  row.category = flow.application_category_name
  -- The names in DNS and DHCP are not of those who are talked to.
  local server = flow.requested_server_name
  if server ~= "" and flow.application_category_name ~= "Network" then
    row = servers:add(server, bytes)
    local known = row.application
    if not known then
      row.application = flow.application_name
    elseif not (known .. ","):find(flow.application_name .. ",", 1, true) and #known < 40 then
      row.application = known .. ", " .. flow.application_name
    end
  end
  for risk in (has_risks and flow.risk_names or ""):gmatch "[^, ]+" do
    row = risks:add(risk, bytes)
    if not row.from then
      row.from, row.to = endpoints(flow)
      row.server = flow.requested_server_name
    end
  end
end

for flow in streamer:flows() do
  local bytes, seconds = flow.bidirectional_bytes, flow["bidirectional_duration_" .. unit] / per_second
  first_seen = math.min(first_seen, flow["bidirectional_first_seen_" .. unit] / per_second)
  last_seen = math.max(last_seen, flow["bidirectional_last_seen_" .. unit] / per_second)
  total.flows, total.bytes = total.flows + 1, total.bytes + bytes
  total.packets = total.packets + flow.bidirectional_packets
  local row = hosts:add(flow.src_ip, bytes)
  row.sent = (row.sent or 0) + flow.src2dst_bytes
  if flow.dst_ip ~= flow.src_ip then row = hosts:add(flow.dst_ip, bytes) end
  row.sent = (row.sent or 0) + flow.dst2src_bytes
  ports:add(show.service(flow), bytes)
  count(sizes, bytes, bytes)
  count(durations, seconds, bytes)
  local values = { bytes = bytes, seconds = seconds }
  keep(largest, "bytes", flow, values)
  keep(longest, "seconds", flow, values)
  if has_applications then count_applications(flow, bytes) end
end

-- ---- words ----

local function captures()
  local source = streamer.source
  if type(source) == "string" then return source:match "([^/]+)/*$" or source end
  return #source == 1 and source[1] or #source .. " captures"
end

local function clock(seconds)
  local text = show.moment(seconds):gsub(" UTC$", "")
  return last_seen - first_seen < 86400 and text:sub(12) or text
end

local CAPITALS = {}
for word in ("TLS SSL HTTP HTTPS DNS SSH SNI ALPN DGA IDN IP URL SMB XSS SQL RCE"):gmatch "%a+" do
  CAPITALS[word:lower()] = word
end

--- "tls_missing_sni" as "TLS missing SNI".
local function risk_text(name)
  local text = name:gsub("_", " "):gsub("%a+", CAPITALS)
  return text:sub(1, 1):upper() .. text:sub(2)
end

--- "1 kB", where show.size says "1.0 kB".
local function short(text) return (text:gsub("%.0 ", " ")) end

-- ---- parts of the page ----

local parts = {}
local function put(...) parts[#parts + 1] = table.concat { ... } end

local sections = {}

local function section(id, title, note)
  sections[#sections + 1] = { id = id, title = title }
  put('<section id="', id, '">\n<h2>', title, "</h2>\n")
  if note then put('<p class="note">', note, "</p>\n") end
end

local function end_section() put "</section>\n" end

--- A table in a box that scrolls sideways. Columns are { title, cell, is_text }: cell makes a row's cell, as markup.
-- The first one names the row.
local function put_table(title, columns, rows)
  put('<div class="scroll" role="region" tabindex="0" aria-label="', title, '">\n<table>\n<thead><tr>')
  for _, column in ipairs(columns) do
    put('<th scope="col"', column[3] and ">" or ' class="n">', column[1], "</th>")
  end
  put "</tr></thead>\n<tbody>\n"
  for i, row in ipairs(rows) do
    put "<tr>"
    for n, column in ipairs(columns) do
      local tag = n == 1 and 'th scope="row"' or "td"
      put("<", tag, column[3] and ">" or ' class="n">', column[2](row, i), n == 1 and "</th>" or "</td>")
    end
    put "</tr>\n"
  end
  put "</tbody>\n</table>\n</div>\n"
end

local function share_cell(row)
  local share = row.bytes / math.max(total.bytes, 1)
  return ('%s <span class="bar"><i style="width:%.1f%%"></i></span>')
    :format(show.share(row.bytes, total.bytes), 100 * math.min(share, 1))
end

local function name_cell(row)
  return row.count and thousands(row.count) .. " others" or "<bdi>" .. escape(row.name) .. "</bdi>"
end

local FLOWS = { "Flows", function(row) return thousands(row.flows) end }
local BYTES = { "Bytes", function(row) return size(row.bytes) end }
local SHARE = { "Share of bytes", share_cell }

local function text_column(title, field)
  return { title, function(row) return "<bdi>" .. escape(row[field] or "") .. "</bdi>" end, true }
end

--- A section with the largest rows of a tally; none where there is nothing in it.
local function put_tally(id, title, note, rows, columns)
  if rows.size == 0 then return end
  section(id, title, note)
  local list, others = rows:largest(options.top)
  list[#list + 1] = others
  put_table(title, columns, list)
  end_section()
end

local function put_facts()
  local account = streamer:account()
  local facts = {}
  local function fact(name, value, more) facts[#facts + 1] = { name, value, more or "" } end
  if total.flows > 0 then
    fact("Begins", show.moment(first_seen):match "^(%S+) (.*)$")
    fact("Lasts", show.duration(last_seen - first_seen))
  end
  fact("Packets in flows", thousands(total.packets), account.packets > total.packets
    and "of " .. thousands(account.packets) .. " read" or "")
  fact("Bytes", size(total.bytes), last_seen > first_seen
    and show.rate(total.bytes / (last_seen - first_seen)) .. " on average" or "")
  fact("Flows", thousands(total.flows))
  if has_applications then fact("Applications", thousands(applications.size)) end
  fact("Hosts", thousands(hosts.size))
  put '<dl class="facts">\n'
  for _, each in ipairs(facts) do
    put("<div><dt>", each[1], "</dt><dd>", each[2], each[3] ~= "" and " <small>" .. each[3] .. "</small>" or "",
      "</dd></div>\n")
  end
  put "</dl>\n"
end

--- What a reader has to know of the run to trust the numbers.
local function put_remarks()
  local account, lines = streamer:account(), {}
  local function remark(text) lines[#lines + 1] = text end
  if account.ignored_packets > 0 then
    local is_one = account.ignored_packets == 1
    remark((is_one and "%s packet belongs to no flow: %s" or "%s packets belong to no flow: %s")
      :format(thousands(account.ignored_packets), show.ignored(account)))
  end
  for _, where in ipairs { "kernel", "interface" } do
    local lost = account.dropped[where]
    if lost > 0 then remark("Packets dropped by the " .. where .. ": " .. thousands(lost)) end
  end
  if account.ended.full then remark("Flows ended early by max_flows: " .. thousands(account.ended.full)) end
  if account.is_interrupted and not account.is_live then remark "Interrupted: there is more in the capture" end
  for _, warning in ipairs(account.warnings) do remark("Warning: " .. warning) end
  if not lines[1] then return end
  put '<ul class="remarks">\n'
  for _, line in ipairs(lines) do put("<li>", escape(line), "</li>\n") end
  put "</ul>\n"
end

local function put_timeline()
  local result = timeline.result(over_time, { bins = 200, top = svg.COLOURS })
  if not result or not result.series[1] then return end
  section("time", "Bytes per second", ("Means over %s. All times are UTC."):format(short(show.duration(result.step))))
  local peak = math.max(unpack(result.total)) / result.step
  for _, form in ipairs { { "wide", 1040, 340 }, { "narrow", 400, 320 } } do
    put(svg.stacked {
      id = "time-" .. form[1], class = form[1], width = form[2], height = form[3], has_hover = form[1] == "wide",
      title = "Bytes per second" .. (has_applications and " by application" or " by port"),
      desc = ("From %s on, for %s, with a peak of %s. The tables below have the sums.")
        :format(show.moment(result.first), show.duration(result.count * result.step), show.rate(peak)),
      timeline = result,
    })
  end
  end_section()
end

--- A chart of what share of flows, and of bytes, each bin has.
local function put_histogram(bins, id, title, text_of)
  local function edge(bin) return short(text_of(bins.least * 10 ^ (bin / BINS_A_DECADE))) end
  local flows, bytes, marks, width = {}, {}, {}, bins.last - bins.first + 1
  for i = 1, width do
    local bin = bins.first + i - 1
    flows[i] = (bins.flows[bin] or 0) / total.flows
    bytes[i] = (bins.bytes[bin] or 0) / math.max(total.bytes, 1)
    if bin % BINS_A_DECADE == 0 then marks[#marks + 1] = { (i - 1) / width, edge(bin) } end
  end
  put(svg.bars {
    id = id, width = 420, height = 230, title = title, marks = marks,
    desc = "The share of flows and the share of bytes in each range, on a logarithmic scale.",
    groups = { { name = "share of flows", values = flows }, { name = "share of bytes", values = bytes } },
    text_of = function(share) return (("%.1f%%"):format(100 * share):gsub("%.0%%", "%%")) end,
    bin_text = function(i)
      local bin = bins.first + i - 1
      return bin < 0 and "less than " .. edge(0) or edge(bin) .. " to " .. edge(bin + 1)
    end,
  })
end

local function put_distributions()
  if total.flows == 0 then return end
  section("distributions", "Sizes and durations of flows",
    "Where the tall bars of flows and of bytes stand apart, few flows carry most of the traffic.")
  put '<div class="pair">\n<div><h3>Bytes of a flow</h3>\n'
  put_histogram(sizes, "sizes", "Flows by their bytes", size)
  put '</div>\n<div><h3>Duration of a flow</h3>\n'
  put_histogram(durations, "durations", "Flows by their duration", show.duration)
  put "</div>\n</div>\n"
  end_section()
end

local function put_flows(id, title, list)
  if not list[1] then return end
  section(id, title)
  local columns = {
    text_column("From", "from"), text_column("To", "to"), text_column("Application", "application"),
    text_column("Server name", "server"),
    { "Begins", function(row) return clock(row.first) end },
    { "Lasts", function(row) return short(show.duration(row.seconds)) end },
    { "Packets", function(row) return thousands(row.packets) end },
    BYTES, { "Sent", function(row) return size(row.sent) end },
    { "Received", function(row) return size(row.received) end },
  }
  if not has_applications then
    table.remove(columns, 4)
    table.remove(columns, 3)
  end
  put_table(title, columns, list)
  end_section()
end

local function swatch(row, i)
  return ('<span class="swatch %s"></span>%s'):format(svg.class(not row.count and i or nil), name_cell(row))
end

local function first_cell(row)
  if row.count then return "" end
  return ('<bdi class="ends">%s to %s</bdi>'):format(escape(row.from), escape(row.to))
    .. (row.server ~= "" and "<small><bdi>" .. escape(row.server) .. "</bdi></small>" or "")
end

local function put_body()
  put_timeline()
  put_tally("applications", "Applications", nil, applications,
    { { "Application", swatch, true }, text_column("Category", "category"), FLOWS, BYTES, SHARE })
  put_tally("servers", "Server names", "Who was asked for, by TLS hellos, HTTP requests and the like.", servers,
    { { "Name", name_cell, true }, text_column("Application", "application"), FLOWS, BYTES, SHARE })
  put_tally("hosts", "Hosts", "A host counts what it sent and what it received: shares add up to 200%.", hosts, {
    { "Address", name_cell, true }, FLOWS, BYTES,
    { "Sent", function(row) return row.sent and size(row.sent) or "" end },
    { "Received", function(row) return row.sent and size(row.bytes - row.sent) or "" end }, SHARE })
  put_tally("ports", "Ports", "The lower port of each flow, which nearly always is the server's.", ports,
    { { "Port", name_cell, true }, FLOWS, BYTES, SHARE })
  put_distributions()
  put_tally("risks", "Risks", "What nDPI finds unusual: reasons to look, not verdicts.", risks, {
    { "Risk", function(row) return row.count and name_cell(row) or escape(risk_text(row.name)) end, true }, FLOWS,
    { "Share of flows", function(row) return show.share(row.flows, total.flows) end }, BYTES,
    { "First flow", first_cell, true } })
  put_flows("largest", "Largest flows", largest)
  put_flows("longest", "Longest flows", longest)
end

-- ---- the page ----

local STYLE = svg.style .. [[
:root { --page: #f5f5f2; --bar: #2c6fbb; --warn: #fdf3d7; --warn-ink: #5c4708; }
@media (prefers-color-scheme: dark) {
  :root { --page: #141517; --bar: #5a9be6; --warn: #3a3118; --warn-ink: #f1dfa8; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main, header, footer { max-width: 1120px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 28px; }
h1 { margin: 0 0 14px; font-size: 26px; line-height: 1.25; overflow-wrap: anywhere; }
h2 { margin: 0 0 8px; font-size: 18px; } h3 { margin: 0 0 6px; font-size: 14px; font-weight: 600; }
section, .facts div { background: var(--surface); border: 1px solid var(--line); border-radius: 10px; }
section { margin: 0 0 18px; padding: 16px 18px; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(132px, 1fr)); gap: 10px; margin: 0 0 14px; }
.facts div { padding: 10px 12px; } dt, .note, footer { color: var(--soft); } dt { font-size: 13px; }
dd { margin: 0; font-size: 18px; font-weight: 600; line-height: 1.3; white-space: nowrap; }
small { display: block; font-size: 13px; font-weight: 400; color: var(--soft); white-space: normal; }
.note { margin: -4px 0 10px; font-size: 14px; }
.remarks { margin: 0 0 14px; padding: 10px 14px 10px 32px; border-radius: 10px; background: var(--warn);
  color: var(--warn-ink); overflow-wrap: anywhere; }
nav { margin: 0 0 18px; }
nav ul { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 0; padding: 0; list-style: none; }
a { color: var(--c1); } footer { padding-bottom: 30px; font-size: 13px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(300px, 100%), 1fr)); gap: 24px; }
.scroll { overflow-x: auto; margin: 0 -18px -6px; padding: 0 18px 6px; }
.scroll:focus-visible { outline: 2px solid var(--c1); outline-offset: -2px; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 14px; }
th, td { padding: 5px 12px 5px 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th:last-child, td:last-child { padding-right: 0; } tbody tr:last-child > * { border-bottom: 0; }
thead th { color: var(--soft); font-size: 13px; font-weight: 500; white-space: nowrap; }
tbody th { font-weight: 500; white-space: nowrap; } .n { text-align: right; white-space: nowrap; }
td bdi, th bdi { display: inline-block; max-width: 19em; white-space: normal; overflow-wrap: break-word; }
td bdi.ends { max-width: 30em; }
.bar { display: inline-block; width: 90px; height: 9px; margin-left: 8px; border-radius: 3px; background: var(--line); }
.bar i { display: block; height: 100%; border-radius: 3px; background: var(--bar); }
.swatch { display: inline-block; width: 11px; height: 11px; margin-right: 8px; border-radius: 2px; }
.swatch.c1 { background: var(--c1); } .swatch.c2 { background: var(--c2); } .swatch.c3 { background: var(--c3); }
.swatch.c4 { background: var(--c4); } .swatch.c5 { background: var(--c5); } .swatch.c6 { background: var(--c6); }
.swatch.c7 { background: var(--c7); } .swatch.others { background: var(--others); }
.narrow { display: none; }
@media (max-width: 720px) {
  .wide { display: none; } .narrow { display: block; }
  main, header, footer { padding-left: 12px; padding-right: 12px; }
  section { padding: 14px; } .scroll { margin: 0; padding: 0; }
  tbody th, thead th:first-child { position: sticky; left: 0; background: var(--surface); }
  h1 { font-size: 22px; } .facts { grid-template-columns: repeat(2, 1fr); } dd { font-size: 17px; }
  td bdi { width: max-content; max-width: 16em; } td bdi.ends { max-width: 22em; }
  th bdi { width: max-content; max-width: 12em; } .bar { width: 50px; }
}
@media print { .scroll { overflow: visible; } section { break-inside: avoid; } nav { display: none; } }
]]

local HEAD = [[
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>%s</title>
<style>
%s</style>
</head>
<body>
<header>
<h1><bdi>%s</bdi></h1>
]]

local function page()
  local title = escape(options.title ~= "" and options.title or captures())
  put_body()
  local body = parts
  parts = { HEAD:format(title, STYLE, title) }
  put_facts()
  put_remarks()
  if sections[1] then put '<nav aria-label="Sections"><ul>\n' end
  for _, each in ipairs(sections) do put('<li><a href="#', each.id, '">', each.title, "</a></li>\n") end
  if sections[1] then put "</ul></nav>\n" end
  put "</header>\n<main>\n"
  put(table.concat(body))
  put "</main>\n<footer>Made by nfengine. A flow is all packets between two ports of two hosts, both ways.</footer>\n"
  put "</body>\n</html>\n"
  return table.concat(parts)
end

if options.write == "" then
  io.write(page())
else
  local file = assert(io.open(options.write, "w"))
  assert(file:write(page()))
  assert(file:close())
end
