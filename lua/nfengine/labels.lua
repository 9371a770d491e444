--- Rules that label traffic: files of them, and the rules that a flow may match. The plugin label is made of these.
--
-- A rule has `line` (where it stands), `label`, `first` and `last` (ns since 1970, 64-bit integers: when it holds) and
-- either `filter` (of packets, see nfengine.filter) or any of `src`, `dst` (addresses or prefixes), `src_port`,
-- `dst_port` and `protocol`.

local csv = require "nfengine.csv"
local filters = require "nfengine.filter"
local notation = require "nfengine.notation"
local text = require "nfengine.text"

local labels = {}

-- When a rule without times holds.
local ALWAYS = { first = 0ULL, last = 0xffffffffffffffffULL }

-- ---- CSV ----

-- Where each column's value goes, who reads it, and what to expect.
local columns = {
  start = { "first", notation.time, "seconds since 1970 or a UTC time as 2026-11-23T16:16:30" },
  src_ip = { "src", notation.prefix, "an address or a prefix" },
  src_port = { "src_port", notation.port, "a port from 0 to 65535" },
  protocol = { "protocol", notation.protocol, "a protocol as tcp, udp, icmp or a number up to 255" },
  label = { "label", tostring, "a label" },
}
columns["end"] = { "last", unpack(columns.start, 2) }
columns.dst_ip, columns.dst_port = { "dst", unpack(columns.src_ip, 2) }, { "dst_port", unpack(columns.src_port, 2) }

local function without_blanks(word) return word:match "^%s*(.-)%s*$" end

local function check_header(header)
  local names = {}
  for i, name in ipairs(header) do
    names[i] = without_blanks(name):lower()
    if not columns[names[i]] then
      error(("column %s: expected %s%s"):format(text.quote(name), table.concat(text.sorted_keys(columns), ", "),
        text.suggest(name, text.sorted_keys(columns))), 0)
    end
  end
  if not text.contains(names, "label") then error("no column label: expected one in the first line", 0) end
  return names
end

local function csv_rule(row, names)
  local rule = { first = ALWAYS.first, last = ALWAYS.last }
  for i, name in ipairs(names) do
    local word = without_blanks(row[i])
    local key, parse, expected = unpack(columns[name])
    local value = word ~= "" and parse(word) or nil
    if word ~= "" and value == nil then
      error(("%s %s: expected %s"):format(name, text.quote(word), expected), 0)
    end
    if value ~= nil then rule[key] = value end
  end
  if rule.src and rule.dst and rule.src.version ~= rule.dst.version then
    error("src_ip and dst_ip: expected addresses of the same version", 0)
  end
  return rule
end

-- ---- pcapML: "BPF:FILTER|TS_START:SECONDS|TS_END:SECONDS,LABEL[,KEY]" ----

-- The value behind a key of pcapML's, up to the next key: filters may have bars in them.
local function pcapml_value(conditions, key)
  local at, behind = conditions:find("|" .. key .. ":", 1, true)
  if not at then return nil end
  local stop = #conditions + 1
  for _, other in ipairs { "|BPF:", "|TS_START:", "|TS_END:" } do
    stop = math.min(stop, conditions:find(other, behind, true) or stop)
  end
  return conditions:sub(behind + 1, stop - 1)
end

local function is_pcapml(line)
  return line:find "^BPF:" or line:find "^TS_START:" or line:find "^TS_END:" or line:find "^,"
end

local function pcapml_time(conditions, key, default, to_end_of_second)
  local word = pcapml_value(conditions, key)
  if not word then return default end
  local time, has_fraction = notation.time(word)
  if not time or not word:find "^[%d.]+$" then
    error(("%s %s: expected seconds since 1970"):format(key, text.quote(word)), 0)
  end
  return to_end_of_second and not has_fraction and time + 999999999ULL or time
end

local function pcapml_rule(line)
  local conditions, label = line:match "^([^,]*),%s*([^,]-)%s*,"
  if not conditions then conditions, label = line:match "^([^,]*),%s*(.-)%s*$" end
  if not conditions or conditions ~= "" and not is_pcapml(line) then
    error(("%s: expected BPF:…|TS_START:…|TS_END:…,LABEL"):format(text.quote(line)), 0)
  end
  conditions = "|" .. conditions
  local expression = pcapml_value(conditions, "BPF") or ""
  local filter, problem = nil, nil
  if expression ~= "" then filter, problem = filters.compile(expression) end
  if problem then error("BPF: " .. problem, 0) end
  return {
    label = label, filter = filter, first = pcapml_time(conditions, "TS_START", ALWAYS.first),
    last = pcapml_time(conditions, "TS_END", ALWAYS.last, true), -- pcapML compares whole seconds
  }
end

-- ---- files ----

--- Calls a function for a line of a file, which is named where it fails.
local function at_line(path, line, ...)
  local ok, result = pcall(...)
  if not ok then error(("%s:%d: %s"):format(path, line, result), 0) end
  return result
end

--- Adds a rule to a list, made of one of the file's lines by parse(what, more).
local function add_rule(rules, path, line, parse, what, more)
  local rule = at_line(path, line, parse, what, more)
  at_line(path, line, function()
    if not rule.label or rule.label == "" then error("no label", 0) end
    if rule.first > rule.last then error("the end is before the start", 0) end
  end)
  rule.line = line
  rules[#rules + 1] = rule
end

local function read_csv(path, rules)
  local rows = csv.open(path)
  local names = at_line(path, 1, check_header, rows.header)
  while true do
    local line = rows.line
    local row = rows()
    if not row then return end
    add_rule(rules, path, line, csv_rule, row, names)
  end
end

local function is_remark(line) return not line:find "%S" or line:find "^#" end

local function read_pcapml(path, rules)
  local number = 0
  for line in io.lines(path) do
    number = number + 1
    if not is_remark(line) then add_rule(rules, path, number, pcapml_rule, (line:gsub("\r$", ""))) end
  end
end

--- Whether a file's first rule is one of pcapML's. Raises one line when there is no such file.
local function looks_like_pcapml(path)
  local file, message = io.open(path, "rb")
  if not file then error(("rules: %s, expected a file of rules"):format(message), 0) end
  local line
  repeat line = file:read() until not line or not is_remark(line)
  file:close()
  return line and is_pcapml(line)
end

--- The rules of a file: CSV with a line of column names first, or pcapML's. Raises one line naming file and line.
function labels.read(path)
  local rules = {}
  if looks_like_pcapml(path) then read_pcapml(path, rules) else read_csv(path, rules) end
  if #rules == 0 then error(("%s: expected rules, found none"):format(path), 0) end
  return rules
end

-- ---- finding a flow's rules ----

-- Rules without filters go by tuple space search (Srinivasan, Suri, Varghese 1999): those that give the same fields,
-- with prefixes of the same lengths, have one shape, and a flow's own fields, cut to a shape, lead to those rules of it
-- that it matches but for the time. However many rules there are, shapes are few.

local function key_of(shape, protocol, src, dst, src_port, dst_port)
  return (shape.protocol and protocol .. "/" or "") .. (shape.src and notation.cut(src, shape.src) or "")
    .. (shape.dst and notation.cut(dst, shape.dst) or "") .. (shape.src_port and "/" .. src_port or "")
    .. (shape.dst_port and "/" .. dst_port or "")
end

local function shape_of(rule)
  local src, dst = rule.src, rule.dst
  return {
    version = (src or dst or {}).version, src = src and src.bits, dst = dst and dst.bits,
    protocol = rule.protocol ~= nil, src_port = rule.src_port ~= nil, dst_port = rule.dst_port ~= nil, buckets = {},
  }
end

local function by_start(a, b)
  if a.first ~= b.first then return a.first < b.first end
  return a.line < b.line
end

--- An index of rules: `shapes`, each with its `buckets` of rules by key, in the order in which they begin; and
-- `filtered`, a list of the rules with a filter.
function labels.index(rules)
  local index, by_name, buckets = { shapes = {}, filtered = {} }, {}, {}
  local function add(rule)
    local made = shape_of(rule)
    local name = ("%s %s %s %s %s %s"):format(made.version, made.src, made.dst, made.protocol, made.src_port,
      made.dst_port)
    local shape = by_name[name]
    if not shape then
      shape, by_name[name] = made, made
      index.shapes[#index.shapes + 1] = made
    end
    local src, dst = rule.src or {}, rule.dst or {}
    local key = key_of(shape, rule.protocol, src.bytes, dst.bytes, rule.src_port, rule.dst_port)
    local bucket = shape.buckets[key]
    if not bucket then
      bucket = { latest = {}, is_timed = false }
      shape.buckets[key], buckets[#buckets + 1] = bucket, bucket
    end
    bucket[#bucket + 1] = rule
    bucket.is_timed = bucket.is_timed or rule.first > 0 or rule.last < ALWAYS.last
  end
  for _, rule in ipairs(rules) do
    if rule.filter then index.filtered[#index.filtered + 1] = rule else add(rule) end
  end
  for _, bucket in ipairs(buckets) do
    table.sort(bucket, by_start)
    for i, rule in ipairs(bucket) do
      local before = bucket.latest[i - 1]
      bucket.latest[i] = before and before > rule.last and before or rule.last -- when all up to here have ended
    end
  end
  return index
end

-- The buckets that a packet's addresses, ports and protocol lead to.
local function buckets_of(index, packet, is_directed)
  local found, version, view = {}, packet.ip_version, packet.ip_bytes
  local at, size = version == 4 and 12 or 8, version == 4 and 4 or 16
  local src, dst = view:string(at, size), view:string(at + size, size)
  local protocol, src_port, dst_port = packet.protocol, packet.src_port, packet.dst_port
  for _, shape in ipairs(index.shapes) do
    if not shape.version or shape.version == version then
      local there = shape.buckets[key_of(shape, protocol, src, dst, src_port, dst_port)]
      local back = not is_directed and shape.buckets[key_of(shape, protocol, dst, src, dst_port, src_port)]
      if there then found[#found + 1] = there end
      if back and back ~= there then found[#found + 1] = back end
    end
  end
  return found
end

--- What the rules make of a flow, to be given its packets by labels.match, from its first one on; nil when no rule can
-- match it. Its `matched` lists the rules that have. It is `done` where later packets cannot add any.
-- @param is_directed whether a rule's source is the flow's only, not either end
function labels.begin(index, packet, is_directed)
  local buckets, is_done = buckets_of(index, packet, is_directed), #index.filtered == 0
  if #buckets == 0 and is_done then return nil end
  for _, bucket in ipairs(buckets) do is_done = is_done and not bucket.is_timed end
  return { buckets = buckets, matched = {}, is_done = is_done, from = ALWAYS.last, till = ALWAYS.first }
end

local function add(matched, rule)
  if matched[rule] then return end
  matched[rule], matched[#matched + 1] = true, rule
end

-- Adds the rules of a bucket that hold at a time. Returns from when until when no others hold.
local function match_bucket(bucket, time, matched)
  local low, high = 0, #bucket -- finds the last rule that has begun
  while low < high do
    local middle = math.ceil((low + high) / 2)
    if bucket[middle].first <= time then low = middle else high = middle - 1 end
  end
  local from = low > 0 and bucket[low].first or ALWAYS.first
  local till = bucket[low + 1] and bucket[low + 1].first - 1 or ALWAYS.last
  for i = low, 1, -1 do
    local rule, latest = bucket[i], bucket.latest[i]
    if rule.last >= time then
      add(matched, rule)
    elseif rule.last >= from then
      from = rule.last + 1
    end
    if latest < time then -- none of the others holds
      if latest >= from then from = latest + 1 end
      break
    end
  end
  return from, till
end

local function match_time(progress, time)
  local from, till = ALWAYS.first, ALWAYS.last
  for _, bucket in ipairs(progress.buckets) do
    local since, to = match_bucket(bucket, time, progress.matched)
    if since > from then from = since end
    if to < till then till = to end
  end
  progress.from, progress.till = from, till
end

--- Adds the rules that a packet matches to those that its flow has matched. Returns how many there were before.
function labels.match(index, progress, packet)
  local time, matched = packet.time_ns, progress.matched
  local before = #matched
  if time < progress.from or time > progress.till then match_time(progress, time) end
  for _, rule in ipairs(index.filtered) do
    if not matched[rule] and rule.first <= time and time <= rule.last and rule.filter:matches(packet) then
      add(matched, rule)
    end
  end
  return before
end

-- ---- comments ----

--- The label in a comment of pcapML's, or nil: "s=7,proc=LABEL,…", "s=7,label=LABEL", or as it was first "7,LABEL".
function labels.of_comment(comment)
  local named, plain = {}, {}
  for field in comment:gsub("%z+$", ""):gmatch "[^,]+" do
    local key, value = field:match "^%s*([%w_]+)=(.-)%s*$"
    if key then named[key] = value else plain[#plain + 1] = field:match "^%s*(.-)%s*$" end
  end
  local label = named.proc or named.label or plain[2] or named.dst
  return label ~= "" and label or nil
end

--- What comments make of a flow, from its first label on: its `label`, and the others that labels.is_new has been told.
function labels.begin_comments(label) return { label = label, others = {} } end

--- Whether a label is neither the flow's nor one that was asked about before.
function labels.is_new(progress, label)
  if label == progress.label or progress.others[label] then return false end
  progress.others[label] = true
  return true
end

return labels
