--- What differs between two sets of flows? Compares two captures, or what two engines or two versions made of one.
--
-- --left and --right are captures, which are read with the parameters given, or CSV files. Records belong together that
-- have the same addresses, ports, protocol, VLAN and tunnel, and begin at the same time; --time-tolerance lets them
-- begin apart, --either-way lets source and destination be the other way round. What is numbered anew in each run, id,
-- is not compared. The left side is held in memory.
--
-- @categories report
-- @usage nfengine -q flows --idle-timeout=1 -o cut.csv samples/web.pcap && \
--   nfengine -q compare -- --left=samples/web.pcap --right=cut.csv --examples=1
-- @output
-- left   samples/web.pcap, 32 records
-- right  cut.csv, 36 records
-- both   32 records, of which 30 are equal
--
-- ONLY RIGHT  4
--   192.0.2.10:44150 > 203.0.113.99:80 tcp at 1795450601050
--
-- COLUMN                          DIFFERS  FROM > TO: LEFT, RIGHT
-- bidirectional_last_seen_ms            2
--   192.0.2.1:67 > 192.0.2.58:68 udp at 1795450590950: 1795450603650, 1795450590981
-- bidirectional_duration_ms             2
--   192.0.2.1:67 > 192.0.2.58:68 udp at 1795450590950: 12700, 31
-- bidirectional_packets                 2
--   192.0.2.1:67 > 192.0.2.58:68 udp at 1795450590950: 3, 2
-- bidirectional_bytes                   2
--   192.0.2.1:67 > 192.0.2.58:68 udp at 1795450590950: 1043, 701
-- src2dst_last_seen_ms                  1
--   192.0.2.10:44150 > 203.0.113.99:80 tcp at 1795450600037: 1795450603098, 1795450600037
-- src2dst_duration_ms                   1
--   192.0.2.10:44150 > 203.0.113.99:80 tcp at 1795450600037: 3061, 0
-- src2dst_packets                       1
--   192.0.2.10:44150 > 203.0.113.99:80 tcp at 1795450600037: 4, 1
-- src2dst_bytes                         1
--   192.0.2.10:44150 > 203.0.113.99:80 tcp at 1795450600037: 296, 74
-- dst2src_first_seen_ms                 1
--   192.0.2.1:67 > 192.0.2.58:68 udp at 1795450590950: 1795450603650, 0
-- dst2src_last_seen_ms                  1
--   192.0.2.1:67 > 192.0.2.58:68 udp at 1795450590950: 1795450603650, 0
-- dst2src_packets                       1
--   192.0.2.1:67 > 192.0.2.58:68 udp at 1795450590950: 1, 0
-- dst2src_bytes                         1
--   192.0.2.1:67 > 192.0.2.58:68 udp at 1795450590950: 342, 0
-- @usage nfengine -q flows -o ours.csv samples/web.pcap && \
--   nfengine -q compare -- --left=ours.csv --right=samples/web.pcap --tolerance=1e-9 --strict

local nf = require "nfengine"
local csv = require "nfengine.csv"
local show = require "nfengine.show"

local options = nf.options {
  left = { "", "a capture, or a file that ends in .csv" },
  right = { "", "the other one" },
  either_way = { false, "source and destination may be the other way round" },
  time_tolerance = { 0, "how far apart records that belong together may begin, in the files' unit of time", min = 0 },
  tolerance = { 0, "numbers this close are equal: their difference by the larger of the two", min = 0 },
  ignore = { { "id" }, "columns not to compare" },
  examples = { 3, "how many of each kind of difference to show", integer = true, min = 0 },
  backslash = { "none", "which CSV files have \\\" for a quote in quotes, as NFStream's do",
    choices = { "none", "left", "right", "both" } },
  strict = { false, "fail where anything differs" },
}

-- ---- reading ----

--- Rows of a CSV file, or of a capture by way of one.
local function open(side)
  local path = options[side]
  local has_backslashes = options.backslash == side or options.backslash == "both"
  if path:lower():match "%.csv$" then return csv.open(path, { has_backslashes = has_backslashes }) end
  local temporary = os.tmpname()
  local ok, result = pcall(function() nf.streamer({ source = path }):to_csv(temporary) end)
  result = ok and csv.open(temporary) or result
  os.remove(temporary) -- open as it is, it can still be read
  return ok and result or error(result, 0)
end

local UNITS = { ms = 3, us = 6, ns = 9 } -- digits behind the point of a second

--- One side: its rows, where its columns are, and which unit of time it has.
local function side_of(name)
  local side = { name = name, rows = open(name), at = {}, unit = nil }
  for i, column in ipairs(side.rows.header) do
    side.at[column] = i
    side.unit = column:match "^bidirectional_first_seen_(%l+)$" or side.unit
  end
  for _, column in ipairs { "src_ip", "src_port", "dst_ip", "dst_port", "protocol" } do
    if not side.at[column] then
      error(("--%s=%s: no column %s, which is needed to find records"):format(name, options[name], column), 0)
    end
  end
  return side
end

if options.left == "" or options.right == "" or nf.arguments[1] then
  error({ usage = "expected the two to compare as --left and --right behind --" }, 0)
end
local left, right = side_of "left", side_of "right"
local digits = math.min(UNITS[left.unit] or 0, UNITS[right.unit] or 0) -- of the coarser unit
local has_time = left.unit and right.unit

-- ---- finding what belongs together ----

local key_columns = { "protocol" }
for _, column in ipairs { "vlan_id", "tunnel_id" } do
  if left.at[column] and right.at[column] then key_columns[#key_columns + 1] = column end
end

--- A row with what it is found by: its tuple, when it began, and whether its ends were turned for that.
local function record_of(side, row)
  local at = side.at
  local record = { row = row, is_turned = false, time = "" }
  local a = row[at.src_ip] .. " " .. row[at.src_port]
  local b = row[at.dst_ip] .. " " .. row[at.dst_port]
  if options.either_way and b < a then
    a, b, record.is_turned = b, a, true
  end
  local parts = { a, b }
  for _, column in ipairs(key_columns) do parts[#parts + 1] = row[at[column]] end
  record.key = table.concat(parts, " ")
  if has_time then
    record.time = row[at["bidirectional_first_seen_" .. side.unit]]:sub(1, digits - UNITS[side.unit] - 1)
  end
  return record
end

--- The difference of two times that may be larger than Lua's numbers are exact.
local function apart(a, b)
  local function split(time) return tonumber(time:sub(1, -10)) or 0, tonumber(time:sub(-9)) or 0 end
  local a_high, a_low = split(a)
  local b_high, b_low = split(b)
  return math.abs((a_high - b_high) * 1e9 + (a_low - b_low))
end

local waiting, left_count = {}, 0 -- left records that have no partner yet: by key, in lists

local function list_key(record)
  return options.time_tolerance == 0 and record.key .. " " .. record.time or record.key
end

for row in left.rows do
  local record = record_of(left, row)
  local key = list_key(record)
  left_count = left_count + 1
  record.number = left_count
  waiting[key] = waiting[key] or {}
  table.insert(waiting[key], record)
end

--- Takes the partner of a right record: the one that began nearest to it, of several the first.
local function take_partner(record)
  local key = list_key(record)
  local list, best, least = waiting[key] or {}, nil, math.huge
  for i, candidate in ipairs(list) do
    local distance = apart(candidate.time, record.time)
    if distance <= options.time_tolerance and distance < least then best, least = i, distance end
    if least == 0 then break end
  end
  return best and table.remove(list, best)
end

-- ---- comparing ----

--- The name of a column where the ends are turned.
local function turned(name)
  local first, rest = name:match "^(%l%l%l)(.*)$"
  if first == "src" and rest:match "^2dst_" then return "dst2src_" .. rest:sub(6) end
  if first == "dst" and rest:match "^2src_" then return "src2dst_" .. rest:sub(6) end
  if first == "src" and rest:match "^_" then return "dst" .. rest end
  if first == "dst" and rest:match "^_" then return "src" .. rest end
  return name
end

local is_ignored = {}
for _, name in ipairs(options.ignore) do is_ignored[name] = true end

local columns, only_columns = {}, { left = {}, right = {} }
for i, name in ipairs(left.rows.header) do
  if not right.at[name] then
    table.insert(only_columns.left, name)
  elseif not is_ignored[name] then
    local same = right.at[name]
    table.insert(columns, { name = name, left = i, right = same, turned = right.at[turned(name)] or same, count = 0,
      examples = {} })
  end
end
for _, name in ipairs(right.rows.header) do
  if not left.at[name] then table.insert(only_columns.right, name) end
end

local function is_whole(text) return text:match "^-?%d+$" end

local function is_equal(a, b)
  if a == b then return true end
  local x, y = tonumber(a), tonumber(b)
  if x and y then
    if options.tolerance == 0 then return x == y and not (is_whole(a) and is_whole(b)) end -- whole ones may be inexact
    return math.abs(x - y) <= options.tolerance * math.max(math.abs(x), math.abs(y))
  end
  return a:sub(1, 1) == "[" and a:gsub("%s", "") == b:gsub("%s", "") -- lists
end

local function described(side, record)
  local row, at = record.row, side.at
  return ("%s > %s %s"):format(show.endpoint(row[at.src_ip], tonumber(row[at.src_port]) or 0),
    show.endpoint(row[at.dst_ip], tonumber(row[at.dst_port]) or 0), show.protocol(tonumber(row[at.protocol]) or 0))
    .. (has_time and " at " .. record.time or "")
end

local pairs_count, equal_count, right_count, only_right, only_right_examples = 0, 0, 0, 0, {}

local function compare(a, b)
  local is_same = true
  for _, column in ipairs(columns) do
    local from = a.is_turned == b.is_turned and column.right or column.turned
    if not is_equal(a.row[column.left], b.row[from]) then
      is_same, column.count = false, column.count + 1
      if column.count <= options.examples then
        table.insert(column.examples, ("%s: %s, %s"):format(described(left, a), a.row[column.left], b.row[from]))
      end
    end
  end
  pairs_count, equal_count = pairs_count + 1, equal_count + (is_same and 1 or 0)
end

for row in right.rows do
  right_count = right_count + 1
  local record = record_of(right, row)
  local partner = take_partner(record)
  if partner then
    compare(partner, record)
  else
    only_right = only_right + 1
    if only_right <= options.examples then table.insert(only_right_examples, described(right, record)) end
  end
end

-- ---- telling ----

local only_left = {}
for _, list in pairs(waiting) do
  for _, record in ipairs(list) do only_left[#only_left + 1] = record end
end
table.sort(only_left, function(a, b) return a.number < b.number end)
for i, record in ipairs(only_left) do only_left[i] = i <= options.examples and described(left, record) or "" end

local function say(form, ...) print((show.printable(form:format(...)):gsub(" +$", ""))) end

local function print_only(name, count, examples)
  if count == 0 then return end
  print(("\nONLY %s  %s"):format(name:upper(), show.thousands(count)))
  for i = 1, math.min(#examples, options.examples) do say("  %s", examples[i]) end
end

say("left   %s, %s records", options.left, show.thousands(left_count))
say("right  %s, %s records", options.right, show.thousands(right_count))
say("both   %s records, of which %s are equal", show.thousands(pairs_count), show.thousands(equal_count))
for _, name in ipairs { "left", "right" } do
  local names = table.concat(only_columns[name], ", ")
  if names ~= "" then say("columns only %s: %s", name, names) end
end
print_only("left", #only_left, only_left)
print_only("right", only_right, only_right_examples)

table.sort(columns, function(a, b)
  if a.count ~= b.count then return a.count > b.count end
  return a.left < b.left
end)
if columns[1] and columns[1].count > 0 then
  print(("\n%-30s %8s  FROM > TO: LEFT, RIGHT"):format("COLUMN", "DIFFERS"))
end
for _, column in ipairs(columns) do
  if column.count > 0 then say("%-30s %8s", column.name, show.thousands(column.count)) end
  for _, text in ipairs(column.examples) do say("  %s", text) end
end

local differing = #only_left + only_right + pairs_count - equal_count
if options.strict and differing > 0 then error(("records that differ: %d"):format(differing), 0) end
