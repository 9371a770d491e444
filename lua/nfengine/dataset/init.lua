--- Datasets: a sink that writes flows as features with a label, in parts, and keeps account of both.
--
--   local made = dataset.new { files = …, parts = { "train", "test" }, splitter = …, label = "udps.label" }
--   streamer:to(made)
--   made.files:close()
--   about:write(made.files:path "manifest.json", made:described())
--
-- Each part is NAME.csv, features with the label behind them, and NAME_keys.csv, all other columns of the same flows in
-- the same order. One object takes the flows of several runs, whose columns have to be the same.

local balance = require "nfengine.dataset.balance"
local manifest = require "nfengine.manifest"
local pretty = require "nfengine.pretty"
local roles = require "nfengine.dataset.roles"
local survey = require "nfengine.dataset.survey"

local dataset = {}
dataset.__index = dataset

--- Names of the files that a dataset may come to have, the manifest's last.
function dataset.names(parts, has_keys)
  local names = {}
  for _, part in ipairs(parts) do
    names[#names + 1] = part .. ".csv"
    if has_keys then names[#names + 1] = part .. "_keys.csv" end
  end
  names[#names + 1] = "manifest.json"
  return names
end

--- Begins a dataset.
-- @param given `files`, a bundle of those names; `parts`, names; `splitter`, see nfengine.dataset.split; `label`, a
--   column's name; `unlabelled`, what flows without a label get for one, else "" and they are left out; `kept`, see
--   roles.sort; `has_keys`
function dataset.new(given)
  local self = {
    counts = balance.new(given.parts), left_out = 0, features = {}, keys = {}, -- tables, by number of the part
    outputs = {}, -- { name, part } of each table
  }
  for name, value in pairs(given) do self[name] = value end
  return setmetatable(self, dataset)
end

--- A flow's label, or nil where it has none.
function dataset:label_of(flow)
  if flow[self.label] == "" and self.unlabelled == "" then return nil end
  if flow[self.label] == "" then flow[self.label] = self.unlabelled end
  return tostring(flow[self.label])
end

local function open_table(self, name, part, columns, crew)
  table.insert(self.outputs, { name = name, part = part })
  return self.files:table(name, columns, crew)
end

function dataset:open(columns, crew, all)
  if self.columns then return end
  self.columns = roles.sort(columns, all, self.label, self.kept)
  self.seen = survey.new(self.columns.features)
  for i, part in ipairs(self.parts) do
    self.features[i] = open_table(self, part .. ".csv", i, self.columns.learnt, crew)
    local has_keys = self.has_keys and self.columns.others[1]
    self.keys[i] = has_keys and open_table(self, part .. "_keys.csv", i, self.columns.others, crew)
  end
end

function dataset:write(flow)
  local label, part = self:label_of(flow), self.splitter:part_of(flow)
  if not label then
    self.left_out = self.left_out + 1
    return true
  end
  self.counts:add(label, part)
  self.seen:add(flow)
  return self.features[part]:write(flow) and (not self.keys[part] or self.keys[part]:write(flow))
end

--- A sink for the first of two passes, where the splitter has to count flows: those that have a label. It refuses the
-- columns that the dataset would refuse.
function dataset:counting()
  return {
    open = function(_, columns, _, all) roles.sort(columns, all, self.label, self.kept) end,
    write = function(_, flow)
      if self:label_of(flow) then self.splitter:count(flow) end
      return true
    end,
  }
end

--- What a manifest says of it once its tables are closed: a list of members.
function dataset:described()
  local outputs, columns, unusable = {}, {}, {}
  for i, each in ipairs(self.outputs) do
    outputs[i] = manifest.output(self.files:path(each.name), self.counts.totals[each.part], each.name)
  end
  for _, list in ipairs { self.columns.learnt, self.columns.others } do
    for _, column in ipairs(list) do columns[#columns + 1] = column end
  end
  for i, column in ipairs(self.seen:unusable()) do unusable[i] = pretty.map(column) end
  return {
    { "folder", self.files:name() }, { "files", outputs }, { "labels", self.counts:described() },
    { "flows_without_label", self.left_out },
    { "constant_columns", self.seen:constant() }, { "unusable_columns", unusable },
    { "columns", manifest.schema(columns, function(column) return { { "role", column.role } } end) },
  }
end

--- What a person should know before training: lines. Labels with fewer flows than `few` are among them.
function dataset:warnings(few)
  local lines, unusable, constant = self.counts:warnings(few), {}, self.seen:constant()
  for i, column in ipairs(self.seen:unusable()) do unusable[i] = ("%s (%d)"):format(column.name, column.records) end
  if constant[1] then table.insert(lines, "columns with one value only: " .. table.concat(constant, ", ")) end
  if unusable[1] then table.insert(lines, "columns with NaN or infinity: " .. table.concat(unusable, ", ")) end
  return lines
end

return dataset
