--- What a model is to learn from: flows' features and labels, gathered in memory and split.
--
--   local set = training_set.new { shares = { 0.7, 0.3 }, group = "time", seed = 0, label = "udps.label", kept = {} }
--   local accounts = set:read(labels, streamer)    -- see nfengine.dataset.labelling
--   set:train().rows, set:train().labels           -- see nfengine.ml.rows; texts, or numbers of a regression
--
-- A feature takes four bytes a flow. Roles of columns are those of datasets (nfengine.dataset.roles), and flows without
-- a label are left out.

local balance = require "nfengine.dataset.balance"
local columns = require "nfengine.columns"
local labelling = require "nfengine.dataset.labelling"
local roles = require "nfengine.dataset.roles"
local rows = require "nfengine.ml.rows"
local sources = require "nfengine.sources"
local split = require "nfengine.dataset.split"
local text = require "nfengine.text"
local vector = require "nfengine.ml.vector"

local training_set = {}
training_set.__index = training_set

-- By the number of shares.
local SPLITS = { nil, { "train", "test" }, { "train", "validation", "test" } }

--- Begins without flows.
-- @param given `shares` of train and test, or of train, validation and test; `group` and `seed`, see
--   nfengine.dataset.split; `label`, a column's name; `kept`, see roles.sort; `is_regression`, whether the label is a
--   number to be predicted
function training_set.new(given)
  local splits = SPLITS[#given.shares]
  local self = { splits = splits, counts = balance.new(splits), left_out = 0, taken = {}, recording = 1 }
  for name, value in pairs(given) do self[name] = value end
  return setmetatable(self, training_set)
end

-- ---- reading: a sink ----

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
    error(("label %s is %s, expected a number with --regression"):format(text.quote(self.label),
      labelling.kind_of(label)), 0)
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

--- What a flow is to be counted as: its class, of a regression all the same; nil where it has no label.
function training_set:label_of(flow)
  if self.is_regression then return flow[self.label] ~= "" and "all" or nil end
  return labelling.class_of(flow, self.label)
end

--- XGBoost takes no infinite features.
local function refuse_infinite(features, values)
  for i, column in ipairs(features) do
    if math.abs(values[i - 1]) == math.huge then
      error(("column %s is infinite in single precision, expected --columns without it")
        :format(text.quote(column.name)), 0)
    end
  end
end

function training_set:write(flow)
  local label = self:label_of(flow)
  if not label then
    self.left_out = self.left_out + 1
    return true
  end
  local number = self.splitters[self.recording]:part_of(flow)
  local taken = self.taken[number]
  taken.rows:add(self.reader:read(flow))
  refuse_infinite(self.columns.features, taken.rows:last())
  taken.labels[taken.rows.count] = self.is_regression and labelling.number_of(flow, self.label) or label
  self.counts:add(label, number)
  return true
end

--- A sink for the first of two passes, where splitters have to count flows: those that have a label.
local function counting(self)
  return {
    open = function(_, selected, _, all) sort(self, selected, all) end,
    write = function(sink, flow)
      if self:label_of(flow) then self.splitters[sink.recording]:count(flow) end
      return true
    end,
  }
end

--- One for each recording: where captures are labelled by file, times in one say nothing about another.
local function splitters_for(self, labels, streamer)
  local list = {}
  for i = 1, math.max(#labels:recordings(streamer), 1) do
    list[i] = split.new {
      shares = self.shares, group = self.group, seed = self.seed, time_unit = streamer.time_unit,
      idle_timeout = streamer.idle_timeout,
    }
  end
  return list
end

--- Gathers all flows. Raises one line where nothing can be learnt of them.
-- @param labels as nfengine.dataset.labelling makes them
-- @return the runs' accounts, or nil where somebody has interrupted one; `is_split_as_one` says then whether several
--   captures were split by time as if they were one
function training_set:read(labels, streamer)
  local is_by_time = self.group == "time"
  self.splitters = splitters_for(self, labels, streamer)
  self.is_split_as_one = is_by_time and not labels.is_apart and #sources.files(streamer.source) > 1
  if is_by_time then
    if not labels:read(streamer, counting(self)) then return nil end
    for _, splitter in ipairs(self.splitters) do splitter:decide() end
  end
  return labels:read(streamer, self)
end

-- ---- what has been read ----

--- `rows` and `labels` of the split to learn from, ...
function training_set:train() return self.taken[1] end

--- ... of the one by which boosting stops, nil where there is none, ...
function training_set:validation() return self.splits[3] and self.taken[2] or nil end

--- ... and of the one to judge by.
function training_set:test() return self.taken[#self.splits] end

--- Names of the features, in order.
function training_set:names()
  local names = {}
  for i, column in ipairs(self.columns.features) do names[i] = column.name end
  return names
end

--- Names of the classes to learn, sorted.
function training_set:classes()
  local is_there, list = {}, {}
  for _, label in ipairs(self:train().labels) do
    if not is_there[label] then is_there[label], list[#list + 1] = true, label end
  end
  table.sort(list)
  return list
end

return training_set
