--- How many records each label has, in each part of a dataset.
--
--   local counts = balance.new { "train", "test" }
--   counts:add("web", 1)
--   for _, line in ipairs(counts:lines()) do print(line) end
--   for _, warning in ipairs(counts:warnings(20)) do print(warning) end

local pretty = require "nfengine.pretty"
local show = require "nfengine.show"
local text = require "nfengine.text"

local balance = {}
balance.__index = balance

-- What people are shown of labels at most: the others are counted.
local MOST_ROWS, MOST_WARNINGS = 20, 10

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

--- The sum of some rows.
local function sum_of(rows, first, parts)
  local sum = { records = 0, parts = {} }
  for part = 1, #parts do sum.parts[part] = 0 end
  for i = first, #rows do
    sum.records = sum.records + rows[i].records
    for part = 1, #parts do sum.parts[part] = sum.parts[part] + rows[i].parts[part] end
  end
  return sum
end

--- A table for people, as lines: labels with most records first, those behind the 20th in one line; the last one is for
-- records that have no label.
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
  local rows = self:sorted()
  for i = 1, math.min(#rows, MOST_ROWS) do add_counted(rows[i].label, rows[i].records, rows[i].parts) end
  if rows[MOST_ROWS + 1] then
    local rest = sum_of(rows, MOST_ROWS + 1, self.parts)
    add_counted(text.thousands(#rows - MOST_ROWS) .. " more", rest.records, rest.parts)
  end
  add_counted("all of them", self.records, self.totals)
  if unlabelled > 0 then add("left out, without a label", show.thousands(unlabelled), "", {}) end
  return lines
end

--- What a model could not learn, or nobody test: labels with fewer records than `few`, or without any in some part.
-- @return lines, ten at most and one on how many more there are; whether some label has no records in some part
function balance:warnings(few)
  local list, is_missing_some = {}, false
  for _, row in ipairs(self:sorted()) do
    local missing = {}
    for i, name in ipairs(self.parts) do
      if row.parts[i] == 0 then missing[#missing + 1] = name end
    end
    is_missing_some = is_missing_some or missing[1] ~= nil
    local problems = {}
    if row.records < few then problems[1] = text.plural(row.records, "flow") end
    if missing[1] then problems[#problems + 1] = "none in " .. table.concat(missing, " and ") end
    if problems[1] then list[#list + 1] = ('label "%s": %s'):format(row.label, table.concat(problems, ", ")) end
  end
  local rest = #list - MOST_WARNINGS
  for i = #list, MOST_WARNINGS + 1, -1 do list[i] = nil end
  if rest > 0 then
    list[MOST_WARNINGS + 1] = ("%s more with few flows, or none in some part"):format(text.plural(rest, "label"))
  end
  return list, is_missing_some
end

return balance
