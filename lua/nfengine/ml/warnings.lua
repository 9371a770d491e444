--- What a person should know before believing in a model: what is wrong with what it was to learn from.

local feature_statistics = require "nfengine.ml.feature_statistics"
local show = require "nfengine.show"
local text = require "nfengine.text"

local warnings = {}

local GIVES_AWAY, COMMON = 0.98, 0.9
local MOST = 10 -- features to name

--- Whether nearly all labels are the same, so that a feature which gets nearly all of them right says nothing.
local function has_common(numbers)
  local counts, most = {}, 0
  for _, number in ipairs(numbers) do
    counts[number] = (counts[number] or 0) + 1
    most = math.max(most, counts[number])
  end
  return most > COMMON * #numbers
end

--- Features that alone get nearly all labels right, as texts.
local function leaks(set, task)
  local list, train, test = {}, set:train(), set:test()
  if task.name == "regression" or test.rows.count == 0 then return list end
  local test_numbers = task:numbers(test)
  if has_common(test_numbers) then return list end
  local alone = feature_statistics.alone(train.rows, task:numbers(train), test.rows, test_numbers)
  for i, share in ipairs(alone) do
    if share >= GIVES_AWAY then
      list[#list + 1] = ("%s (%s)"):format(set.columns.features[i].name, show.share(share, 1))
    end
  end
  return list
end

--- Features that are the same in all rows to learn from.
local function constant(set, ranges)
  local list = {}
  for i, range in ipairs(ranges) do
    if range.min == range.max then list[#list + 1] = set.columns.features[i].name end
  end
  return list
end

--- Lines on classes that are rare or in one split only, on features with one value, on those that give the label away
-- alone, and on a test without flows.
-- @param set, task what was learnt, see nfengine.ml.training_set and nfengine.ml.task
-- @param ranges of its features, see nfengine.ml.feature_statistics
-- @param few how many flows of a class are not rare
function warnings.of(set, task, ranges, few)
  local lines, is_missing_some = {}, false
  if task.name ~= "regression" then lines, is_missing_some = set.counts:warnings(few) end
  local function add(what, list)
    if list[1] then lines[#lines + 1] = what .. ": " .. text.first(list, MOST, "feature") end
  end
  add("features with one value only", constant(set, ranges))
  add("features that give the label away alone", leaks(set, task))
  if set:test().rows.count == 0 then lines[#lines + 1] = "no flow with a label in the test part" end
  if set.is_split_as_one and is_missing_some then
    lines[#lines + 1] = "several captures are parted as one by time, --apart parts each by itself"
  end
  return lines
end

return warnings
