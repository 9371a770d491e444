--- What each flow is, from ground truth: rules in a file, or the comments that pcapML writes into pcapng files.
--
-- A file of rules is CSV whose first line names its columns, or pcapML's. CSV columns are start, end, src_ip, src_port,
-- dst_ip, dst_port, protocol (left out or empty: any) and label. Times are seconds since 1970 or UTC, as in
-- 2026-11-23T16:16:30.5, the end included; addresses may be prefixes, as in 10.0.0.0/8. Either end of a flow may be a
-- rule's source, unless `directed` is set. pcapML's lines are BPF:FILTER|TS_START:SECONDS|TS_END:SECONDS,LABEL with any
-- of the three; TS_END includes its whole second, and a filter sees the innermost IP packet, whatever the link type.
--
-- A flow matches a rule if one of its packets does, its time included. The rule that stands first in the file gives the
-- label, label_rule is its line, and label_conflicts counts the flow's other rules that say something else.
--
-- Without rules, comments are read: "ID,LABEL" or "s=ID,proc=LABEL,..." (pcapML's older and newer form). A flow's first
-- packet with a label gives it, and each other label is a conflict. A label is cut to 64 bytes in its column.
--
-- With `audit`, what became of the rules is written when the run ends: flows of each label, without one, in conflict,
-- and rules that no flow matched. It is about all flows, also those that a filter keeps from being given out. Rules
-- cost each flow little, however many there are, but filters cost each packet until they match its flow.
--
-- @usage printf '%s\n' dst_ip,dst_port,protocol,label 198.51.100.0/24,80,tcp,web ,53,udp,names 192.0.2.99,,,ghost \
--   >rules.csv && nfengine flows -q --format=null --plugin label -a label.rules=rules.csv -a label.audit=audit.txt \
--   --n-dissections=0 samples/web.pcap && cat audit.txt
-- @output
-- 32 flows: 15 labelled, 17 unlabelled, 0 in conflict
--       11 flows, 0 in conflict: names
--        4 flows, 0 in conflict: web
-- no flow matches the rule in line 4: ghost
-- @usage nfengine flows --plugin label --n-dissections=0 --filter='flow.udps.label ~= "lookup"' \
--   --columns=src_ip,dst_ip,protocol,udps.label,udps.label_conflicts samples/labelled.pcapng
-- @output
-- src_ip,dst_ip,protocol,udps.label,udps.label_conflicts
-- "192.0.2.10","192.0.2.1",6,"connection",1
-- "2001:db8::10","2001:db8::1",17,"",0
-- "2001:db8::10","2001:db8::1",17,"",0
-- "fe80::ff:fe00:4","ff02::fb",17,"",0
-- "192.0.2.20","224.0.0.251",17,"avahi-daemon",0
-- "192.0.2.10","224.0.0.251",17,"",0

local nf = require "nfengine"
local labels = require "nfengine.labels"

-- What later packets may add to a flow's label stands in self.work, by the number in its label_work.
local function remember(self, udps, work)
  local number = self.free[self.free_count]
  if number then self.free_count = self.free_count - 1 else number = self.work_count + 1 end
  self.work_count = math.max(self.work_count, number)
  self.work[number], udps.label_work = work, number
end

local function forget(self, udps)
  self.free_count = self.free_count + 1
  self.work[udps.label_work], self.free[self.free_count] = nil, udps.label_work
end

-- ---- rules ----

-- Of the rules that a flow has matched, the one that stands first gives the label.
local function decide(udps, matched)
  local first, conflicts = matched[1], 0
  for _, rule in ipairs(matched) do
    if rule.line < first.line then first = rule end
  end
  for _, rule in ipairs(matched) do
    if rule.label ~= first.label then conflicts = conflicts + 1 end
  end
  udps.label, udps.label_rule, udps.label_conflicts = first.label, first.line, math.min(conflicts, 65535)
end

local function match(self, packet, udps, work)
  local before, matched = labels.match(self.index, work, packet), work.matched
  if #matched == before then return end
  for i = before + 1, #matched do
    local line = matched[i].line
    self.hits[line] = (self.hits[line] or 0) + 1
  end
  decide(udps, matched)
end

local function begin_matching(self, packet, udps)
  local work = labels.begin(self.index, packet, self.directed)
  if not work then return end
  match(self, packet, udps, work)
  if not work.is_done then remember(self, udps, work) end
end

-- ---- comments ----

-- The label in a comment, or false. Most comments are the one before again.
local function label_of(self, comment)
  if comment ~= self.comment then self.comment, self.comment_label = comment, labels.of_comment(comment) or false end
  return self.comment_label
end

local function read_comment(self, packet, udps)
  local comment = packet.comment
  local label = comment and label_of(self, comment)
  if not label then return end
  local work = self.work[udps.label_work]
  if not work then
    remember(self, udps, labels.begin_comments(label))
    udps.label = label
  elseif labels.is_new(work, label) then
    udps.label_conflicts = math.min(udps.label_conflicts + 1, 65535)
  end
end

-- ---- the audit ----

local function count(counts, label, flows, conflicts)
  local of_label = counts[label] or { flows = 0, conflicts = 0 }
  counts[label] = of_label
  of_label.flows, of_label.conflicts = of_label.flows + flows, of_label.conflicts + conflicts
end

local function audit_lines(self)
  local names, labelled, conflicts = {}, 0, 0
  for name, of_label in pairs(self.counts) do
    names[#names + 1] = name
    labelled, conflicts = labelled + of_label.flows, conflicts + of_label.conflicts
  end
  table.sort(names, function(a, b)
    local more, less = self.counts[a].flows, self.counts[b].flows
    if more ~= less then return more > less end
    return a < b
  end)
  local lines = { ("%d flows: %d labelled, %d unlabelled, %d in conflict")
    :format(self.flows, labelled, self.flows - labelled, conflicts) }
  for _, name in ipairs(names) do
    local of_label = self.counts[name]
    lines[#lines + 1] = ("%8d flows, %d in conflict: %s"):format(of_label.flows, of_label.conflicts, name)
  end
  for _, rule in ipairs(self.list) do
    if not self.hits[rule.line] then
      lines[#lines + 1] = ("no flow matches the rule in line %d: %s"):format(rule.line, rule.label)
    end
  end
  for i, line in ipairs(lines) do lines[i] = line:gsub("[%c\127]", "?") end
  return lines
end

local function open_audit(path, mode)
  if path == "-" then return io.stderr end
  local file, message = io.open(path, mode)
  if not file then error(("audit: %s, expected a file to write, or -"):format(message), 0) end
  return file
end

return nf.plugin {
  name        = "label",
  version     = "1.0.0",
  api         = 1,
  description = "Labels flows by rules or by pcapML's comments, with an audit of labels",
  author      = "the nfengine authors",
  license     = "MIT",
  categories  = { "label" },
  needs       = { "comments" },
  options     = {
    rules    = { "", "file of rules, CSV or pcapML's; without one, packets' comments say what flows are",
      is_file = true },
    directed = { false, "src_ip and src_port of CSV rules are the flow's source only" },
    audit    = { "", "file for the audit, - for standard error" },
  },
  columns = {
    { "label", "string:64", "what the flow is; empty where nothing says so", is_identifying = false },
    { "label_rule", "int32", "line of the rule that says so, -1 without" },
    { "label_conflicts", "uint16", "further rules that match and say something else; of comments, other labels" },
  },
  state = { { "label_work", "uint32" } },

  setup = function(self)
    self.has_rules = self.rules ~= ""
    self.list = self.has_rules and labels.read(self.rules) or {}
    self.index, self.label_at = labels.index(self.list), {}
    for _, rule in ipairs(self.list) do self.label_at[rule.line] = rule.label end
    self.work, self.work_count, self.free, self.free_count = {}, 0, {}, 0
    self.comment, self.comment_label = "", false
    self.flows, self.counts, self.hits = 0, {}, {}
    if self.audit ~= "" and self.audit ~= "-" then open_audit(self.audit, "a"):close() end -- now, not when all is done
  end,

  on_init = function(self, packet, flow)
    local udps = flow.udps
    udps.label_rule = -1
    if self.has_rules then begin_matching(self, packet, udps) else read_comment(self, packet, udps) end
  end,

  on_update = function(self, packet, flow)
    local udps = flow.udps
    if not self.has_rules then
      read_comment(self, packet, udps)
    elseif udps.label_work ~= 0 then
      match(self, packet, udps, self.work[udps.label_work])
    end
  end,

  on_expire = function(self, flow)
    local udps = flow.udps
    local work = self.work[udps.label_work]
    local label = work and work.label or self.label_at[udps.label_rule]
    self.flows = self.flows + 1
    if label then count(self.counts, label, 1, udps.label_conflicts > 0 and 1 or 0) end
    if work then forget(self, udps) end
  end,

  merge = function(self, other)
    self.flows = self.flows + other.flows
    for label, of_label in pairs(other.counts) do count(self.counts, label, of_label.flows, of_label.conflicts) end
    for line, hits in pairs(other.hits) do self.hits[line] = (self.hits[line] or 0) + hits end
  end,

  cleanup = function(self)
    if self.audit == "" then return end
    local file = open_audit(self.audit, "w")
    file:write(table.concat(audit_lines(self), "\n"), "\n")
    if file ~= io.stderr then assert(file:close()) end
  end,
}
