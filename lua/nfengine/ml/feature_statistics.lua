--- What features are like in rows that a model learns from: their ranges, whether they vary, whether one alone gives
-- the label away.
--
--   local ranges = feature_statistics.ranges(rows)      --> by feature, from 1: { min =, max =, quantiles = { … } }
--
-- All but the smallest and the largest value is found out of at most 10,000 rows, evenly spaced, so that large sets
-- take no longer.

local feature_statistics = {}

--- Shares below the quantiles of a range, by which a manifest tells what is usual.
feature_statistics.QUANTILES = { 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99 }

local MOST = 10000 -- rows to look at
local BINS = 32    -- of a feature's values, when it is asked whether it gives the label away

--- How many rows to look at.
local function some(rows) return math.min(rows.count, MOST) end

--- The number of the ith of these, from 0.
local function place_of(rows, i) return math.floor((i - 1) * math.max(1, rows.count / MOST)) end

--- Values of a feature, sorted, those that are no number left out.
local function some_sorted(rows, feature)
  local list = {}
  for i = 1, some(rows) do
    local value = rows.values[place_of(rows, i) * rows.width + feature]
    if value == value then list[#list + 1] = value end
  end
  table.sort(list)
  return list
end

--- The value below which a share of a sorted list lies: one of the list.
local function quantile(sorted, share) return sorted[math.floor(share * (#sorted - 1) + 0.5) + 1] end

local function range_of(rows, feature)
  local range = { min = math.huge, max = -math.huge, quantiles = {} }
  for i = feature, rows.count * rows.width - 1, rows.width do
    local value = rows.values[i]
    if value < range.min then range.min = value end
    if value > range.max then range.max = value end
  end
  local sorted = some_sorted(rows, feature)
  if not sorted[1] then return { quantiles = {} } end
  for i, share in ipairs(feature_statistics.QUANTILES) do range.quantiles[i] = quantile(sorted, share) end
  return range
end

--- The range of each feature, by number from 1; without min and max where no row has a number for it.
function feature_statistics.ranges(rows)
  local ranges = {}
  for feature = 0, rows.width - 1 do ranges[feature + 1] = range_of(rows, feature) end
  return ranges
end

-- ---- leaks ----

--- The lowest values of a feature's bins but for the first: equally many values in each, as far as they differ.
local function bounds_of(sorted)
  local bounds = {}
  for i = 1, BINS - 1 do
    local bound = sorted[math.floor(i / BINS * #sorted) + 1]
    if bound and bound ~= bounds[#bounds] then bounds[#bounds + 1] = bound end
  end
  return bounds
end

local function bin_of(bounds, value)
  if value ~= value then return 0 end
  local bin = 1
  while bounds[bin] and value >= bounds[bin] do bin = bin + 1 end
  return bin
end

--- The label that most of a bin's rows have, for each bin.
local function majorities(rows, labels, feature, bounds)
  local counts, best = {}, {}
  for i = 1, some(rows) do
    local place = place_of(rows, i)
    local bin, label = bin_of(bounds, rows.values[place * rows.width + feature]), labels[place + 1]
    counts[bin] = counts[bin] or {}
    counts[bin][label] = (counts[bin][label] or 0) + 1
    local most = best[bin] and counts[bin][best[bin]] or 0
    if counts[bin][label] > most then best[bin] = label end
  end
  return best
end

local function share_right(rows, labels, feature, bounds, best)
  local right, count = 0, some(rows)
  for i = 1, count do
    local place = place_of(rows, i)
    local value = rows.values[place * rows.width + feature]
    if best[bin_of(bounds, value)] == labels[place + 1] then right = right + 1 end
  end
  return right / math.max(count, 1)
end

--- What share of labels each feature gets right by itself: in each of at most 32 bins of its values the label that most
-- rows of the first set have, judged by the second.
-- @param rows, labels to learn from; labels are numbers
-- @param test_rows, test_labels to judge by
-- @return shares by feature, from 1
function feature_statistics.alone(rows, labels, test_rows, test_labels)
  local shares = {}
  for feature = 0, rows.width - 1 do
    local bounds = bounds_of(some_sorted(rows, feature))
    local best = majorities(rows, labels, feature, bounds)
    shares[feature + 1] = share_right(test_rows, test_labels, feature, bounds, best)
  end
  return shares
end

return feature_statistics
