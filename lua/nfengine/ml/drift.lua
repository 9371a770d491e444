--- Whether what a model is asked about is like what it has learnt from: each feature within the range of training.
--
--   local watch = drift.new { { name = "bidirectional_packets", min = 1, max = 90 }, … }
--   watch:count(row)             --> how many features of this row are outside
--   watch:line(3)                --> which features that was, the worst first: a line
--
-- Comparisons are in single precision, in which ranges were taken.

local ffi = require "ffi"
local pretty = require "nfengine.pretty"
local text = require "nfengine.text"

local drift = {}
drift.__index = drift

--- Begins to count.
-- @param features name, min and max of each, in the model's order; without min and max where training saw no number
function drift.new(features)
  local size = #features
  local self = {
    names = {}, size = size, flows = ffi.new "double[1]", outside = ffi.new("double[?]", size),
    low = ffi.new("float[?]", size), high = ffi.new("float[?]", size), value = ffi.new "float[1]",
  }
  for i, feature in ipairs(features) do
    self.names[i] = feature.name
    self.low[i - 1], self.high[i - 1] = feature.min or math.huge, feature.max or -math.huge
  end
  return setmetatable(self, drift)
end

--- Takes notice of a row: double *. What is no number is never outside.
-- @return how many features are
function drift:count(row)
  local single, low, high, outside, found = self.value, self.low, self.high, self.outside, 0
  for i = 0, self.size - 1 do
    single[0] = row[i]
    local value = single[0]
    if value < low[i] or value > high[i] then
      outside[i], found = outside[i] + 1, found + 1
    end
  end
  self.flows[0] = self.flows[0] + 1
  return found
end

--- Adds what another one has counted, of the same features.
function drift:add(other)
  self.flows[0] = self.flows[0] + other.flows[0]
  for i = 0, self.size - 1 do self.outside[i] = self.outside[i] + other.outside[i] end
end

-- How nfengine.transfer carries it out of a meter's thread: what it has counted.
drift.__carry = function(self)
  local features, counts = {}, {}
  for i, name in ipairs(self.names) do features[i], counts[i] = { name = name }, self.outside[i - 1] end
  return "nfengine.ml.drift", "restore", { features = features, counts = counts, flows = self.flows[0] }
end

function drift.restore(carried)
  local self = drift.new(carried.features)
  self.flows[0] = carried.flows
  for i, count in ipairs(carried.counts) do self.outside[i - 1] = count end
  return self
end

--- Features that were outside, the worst first: a list of { name, flows }.
function drift:found()
  local list = {}
  for i, name in ipairs(self.names) do
    if self.outside[i - 1] > 0 then list[#list + 1] = { name = name, flows = self.outside[i - 1] } end
  end
  table.sort(list, function(a, b)
    if a.flows ~= b.flows then return a.flows > b.flows end
    return a.name < b.name
  end)
  return list
end

--- A line on the worst ones, at most so many; nil where there are none.
function drift:line(most)
  local parts = {}
  for i, each in ipairs(self:found()) do parts[i] = ("%s in %s"):format(each.name, text.thousands(each.flows)) end
  if not parts[1] then return nil end
  return ("features outside the range of training, of %s: %s"):format(text.plural(self.flows[0], "flow"),
    text.first(parts, most, "feature"))
end

--- All of it as JSON: flows, and by feature in how many of them it was outside.
function drift:json()
  local members = {}
  for i, name in ipairs(self.names) do members[i] = { name, self.outside[i - 1] } end
  return pretty.encode(pretty.object { { "flows", self.flows[0] }, { "outside", pretty.object(members) } })
end

return drift
