--- What a model is to learn from: a sink that gathers flows' features and labels in memory, split by split.
--
--   local set = training_set.new { splits = { "train", "test" }, splitters = { … }, label = "udps.label", kept = {} }
--   streamer:to(set:counting())                    -- where the splitters count first
--   streamer:to(set)
--   set.taken[1].rows, set.taken[1].labels         --> of the first split
--
-- A feature takes four bytes a flow. Roles of columns are those of datasets (nfengine.dataset.roles), and flows without
-- a label are left out.

local balance = require "nfengine.dataset.balance"
local columns = require "nfengine.columns"
local labelling = require "nfengine.dataset.labelling"
local roles = require "nfengine.dataset.roles"
local rows = require "nfengine.ml.rows"
local text = require "nfengine.text"
local vector = require "nfengine.ml.vector"

local training_set = {}
training_set.__index = training_set

--- Begins without flows.
-- @param given `splits`, names; `splitters`, by number of the recording (nfengine.dataset.labelling), see
--   nfengine.dataset.split; `label`, a column's name; `kept`, see roles.sort; `is_regression`, whether the label is a
--   number to be predicted
function training_set.new(given)
  local self = { counts = balance.new(given.splits), left_out = 0, taken = {}, recording = 1 }
  for name, value in pairs(given) do self[name] = value end
  return setmetatable(self, training_set)
end

--- Refuses features that a model would not find filled in, whose plugin stands behind all others.
local function refuse_late(features)
  for _, column in ipairs(features) do
    if not columns.is_filled(column, math.huge) then
      error(("column %s: %s fills it in after a model is asked, expected --columns without it")
        :format(text.quote(column.name), column.owner), 0)
    end
  end
end

local function sort(self, selected, all)
  local sorted = roles.sort(selected, all, self.label, self.kept)
  local label = sorted.learnt[#sorted.learnt]
  if self.is_regression and (not columns.is_numeric(label) or label.is_array) then
    error(("label %s is %s, expected a number with --regression"):format(text.quote(self.label), label.type), 0)
  end
  return sorted
end

function training_set:open(selected, _, all)
  if self.columns then return end
  self.columns = sort(self, selected, all)
  refuse_late(self.columns.features)
  self.reader = vector.new(self.columns.features)
  for i in ipairs(self.splits) do self.taken[i] = { rows = rows.new(self.reader.width), labels = {} } end
end

--- A flow's label as a text, or nil where it has none.
function training_set:label_of(flow)
  local label = flow[self.label]
  if label == "" then return nil end
  return tostring(label)
end

function training_set:write(flow)
  local label = self:label_of(flow)
  if not label then
    self.left_out = self.left_out + 1
    return true
  end
  local split = self.splitters[self.recording]:part_of(flow)
  local taken = self.taken[split]
  local infinite = taken.rows:add(self.reader:read(flow))
  if infinite then
    error(("column %s is infinite in single precision, expected --columns without it")
      :format(text.quote(self.columns.features[infinite + 1].name)), 0)
  end
  taken.labels[taken.rows.count] = self.is_regression and labelling.number_of(flow, self.label) or label
  self.counts:add(self.is_regression and "all" or label, split)
  return true
end

--- A sink for the first of two passes, where splitters have to count flows: those that have a label.
function training_set:counting()
  return {
    open = function(_, selected, _, all) sort(self, selected, all) end,
    write = function(counting, flow)
      if self:label_of(flow) then self.splitters[counting.recording]:count(flow) end
      return true
    end,
  }
end

--- Names of the features, in order.
function training_set:names()
  local names = {}
  for i, column in ipairs(self.columns.features) do names[i] = column.name end
  return names
end

--- Names of the classes that the first split has, sorted.
function training_set:classes()
  local is_there, list = {}, {}
  for _, label in ipairs(self.taken[1].labels) do
    if not is_there[label] then is_there[label], list[#list + 1] = true, label end
  end
  table.sort(list)
  return list
end

return training_set
