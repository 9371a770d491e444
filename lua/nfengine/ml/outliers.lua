--- Outliers: which flows are unlike others, in two passes over captures. The first learns what is usual, without
-- labels; in the second each flow has a score, and the column in which it stands out.
--
--   local search = outliers.new { features = {}, trees = 100, sample = 256, seed = 0 }
--   local streamer = nf.streamer { statistical_analysis = true, n_dissections = 0, udps = search.plugin }
--   if search:learn(streamer) then
--     for flow in streamer:flows() do print(flow.udps.isolation_score, flow.udps.isolation_feature) end
--   end
--
-- The score is an isolation forest's (nfengine.ml.isolation). What stands out is the column in which a flow is farthest
-- from the median of what was learnt from, a hint for people of which the score knows nothing.

local isolation = require "nfengine.ml.isolation"
local nf = require "nfengine"
local robust = require "nfengine.robust"
local usual = require "nfengine.ml.usual"
local vector = require "nfengine.ml.vector"

local outliers = {}
outliers.__index = outliers

-- ---- what stands out ----

--- For each feature its median and median absolute deviation, on the scale of ratios.
local function centres_of(sample)
  local centres = {}
  for i = 1, sample.width do
    local values = {}
    for _, x in ipairs(sample:values(i)) do
      local scaled = robust.scaled(x)
      if scaled == scaled then values[#values + 1] = scaled end
    end
    local median, mad = robust.centre(values)
    centres[i] = { median = median or 0, mad = mad or 0 }
  end
  return centres
end

--- The number of the feature that stands out in a row, and how far.
local function standing_out(centres, row)
  local feature, farthest = 1, 0
  for i, centre in ipairs(centres) do
    local distance = robust.distance(robust.scaled(row[i - 1]), centre.median, centre.mad)
    if math.abs(distance) > math.abs(farthest) then feature, farthest = i, distance end
  end
  return feature, farthest
end

-- ---- two passes ----

--- The plugin that gathers what is to be learnt from, and scores once that is done. It works with records, where the
-- script is, however many meters there are.
local function plugin_of(self)
  return nf.plugin {
    name = "isolation",
    columns = {
      { "isolation_score", "double", "how unusual the flow is, from 0 to 1: above 0.5, unusual" },
      { "isolation_feature", "string:63", "the column that stands out", is_identifying = false },
      { "isolation_distance", "double", "how far it is from the median, in robust standard deviations" },
    },
    setup = function(_, run)
      self.reader = vector.new(usual.features(run, self.options.features))
      self.sample = self.sample or isolation.sample(self.reader.width)
    end,
    on_record = function(_, flow)
      local udps, row = flow.udps, self.reader:read(flow)
      if not self.forest then return self.sample:add(row) end
      udps.isolation_score = self.forest:score(row)
      local feature, distance = standing_out(self.centres, row)
      udps.isolation_feature, udps.isolation_distance = self.reader.columns[feature].name, distance
    end,
  }
end

--- Begins without having learnt.
-- @param options `features`, names of columns, none for the usual ones; `trees`, `sample`, `seed`, see isolation.grow
-- @return an object with `plugin`, for the runs of both passes: it adds udps.isolation_score, isolation_feature and
--   isolation_distance
function outliers.new(options)
  local self = setmetatable({ options = options }, outliers)
  self.plugin = plugin_of(self)
  return self
end

--- The first pass: learns from all flows of the streamer, as it is. Raises what fails.
-- @return whether that was done; false where somebody has interrupted it
function outliers:learn(streamer)
  streamer:to { write = function() return true end }
  local account = streamer:account()
  if account.is_interrupted then return false end
  self.centres = centres_of(self.sample)
  self.forest = isolation.grow(self.sample, self.options)
  account.is_interrupted = self.forest == nil -- from accounts the program has its exit status
  return self.forest ~= nil
end

return outliers
