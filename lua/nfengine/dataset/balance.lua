--- How many records each label has, in each part of a dataset.
--
--   local counts = balance.new { "train", "test" }
--   counts:add("web", 1)
--   for _, line in ipairs(counts:lines()) do print(line) end
--   for _, warning in ipairs(counts:warnings(20)) do print(warning) end

local pretty = require "nfengine.pretty"
local show = require "nfengine.show"

local balance = {}
balance.__index = balance

function balance.new(parts)
  local self = setmetatable({ parts = parts, rows = {}, records = 0, totals = {} }, balance)
  for i = 1, #parts do self.totals[i] = 0 end
  return self
end

--- The parts, unless there is only one.
local function several(self) return self.parts[2] and self.parts or {} end

--- Counts a record of a label, in one of the parts by number.
function balance:add(label, part)
  local row = self.rows[label]
  if not row then
    row = { label = label, records = 0, parts = {} }
    for i = 1, #self.parts do row.parts[i] = 0 end
    self.rows[label] = row
  end
  row.records, row.parts[part] = row.records + 1, row.parts[part] + 1
  self.records, self.totals[part] = self.records + 1, self.totals[part] + 1
end

--- The labels, those with most records first: label, records, parts (records in each).
function balance:sorted()
  local list = {}
  for _, row in pairs(self.rows) do list[#list + 1] = row end
  table.sort(list, function(a, b)
    if a.records ~= b.records then return a.records > b.records end
    return a.label < b.label
  end)
  return list
end

--- The same for manifests: a list of objects.
function balance:described()
  local list = {}
  for i, row in ipairs(self:sorted()) do
    list[i] = pretty.object { { "label", row.label }, { "flows", row.records } }
    for number, part in ipairs(several(self)) do list[i][number + 2] = { part, row.parts[number] } end
  end
  return list
end

--- A table for people, as lines; the last one is for records that have no label.
function balance:lines(unlabelled)
  local parts, heads, lines = several(self), {}, {}
  local form = "%-32s%10s%8s" .. ("%12s"):rep(#parts)
  local function add(label, records, share, cells)
    for i = 1, #parts do cells[i] = cells[i] or "" end
    lines[#lines + 1] = form:format(show.shortened(label, 32), records, share, unpack(cells)):gsub(" +$", "")
  end
  local function add_counted(label, records, counts)
    local cells = {}
    for i = 1, #parts do cells[i] = show.thousands(counts[i]) end
    add(label, show.thousands(records), show.share(records, self.records), cells)
  end
  for i, part in ipairs(parts) do heads[i] = part:upper() end
  add("LABEL", "FLOWS", "SHARE", heads)
  for _, row in ipairs(self:sorted()) do add_counted(row.label, row.records, row.parts) end
  add_counted("all of them", self.records, self.totals)
  if unlabelled > 0 then add("left out, without a label", show.thousands(unlabelled), "", {}) end
  return lines
end

--- What a model could not learn, or nobody test: labels with fewer records than `few`, or without any in some part.
function balance:warnings(few)
  local list = {}
  for _, row in ipairs(self:sorted()) do
    local missing = {}
    for i, name in ipairs(self.parts) do
      if row.parts[i] == 0 then missing[#missing + 1] = name end
    end
    local problems = {}
    if row.records < few then problems[1] = ("%d flow%s"):format(row.records, row.records == 1 and "" or "s") end
    if missing[1] then problems[#problems + 1] = "none in " .. table.concat(missing, " and ") end
    if problems[1] then list[#list + 1] = ('label "%s": %s'):format(row.label, table.concat(problems, ", ")) end
  end
  return list
end

return balance
