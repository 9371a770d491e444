--- How unusual each flow is among those before it, without training: a robust distance from their medians.
--
-- For each of some columns the plugin follows the median of all flows, and the median absolute deviation (MAD) from it,
-- of the logarithm log(1 + x): sizes, counts and times differ by factors. A flow's distance in a column is
-- (value - median) / (1.4826 MAD), which of a normal distribution is in standard deviations; the divisor is at least
-- 0.1, about a tenth of the value, so that where all are equal a little more is no wonder. The score is the largest
-- distance of all columns, or with combine = "mean" their mean; beyond 3.5 a flow is often called an outlier (Iglewicz
-- and Hoaglin, "How to detect and handle outliers", 1993). anomaly_feature is the column with the largest.
--
-- The first `warm_up` flows have no score: their medians are what it begins with. From then on each flow moves the
-- estimates by a step, up or down, of the size of the deviation by `memory`, so that they follow what is usual now, and
-- no flow, however large, moves them more (Tierney, "A space-efficient recursive procedure for estimating a quantile of
-- an unknown distribution", SIAM J. Sci. Stat. Comput. 4(4), 1983; Chen, Lambert and Pinheiro, "Incremental quantile
-- estimation for massive tracking", KDD 2000). What is scored is compared with what came before it.
--
-- Values that are absent or infinite are passed over, and a flow without any other has no score.
--
-- With by = "service" each destination port and protocol has medians of its own; beyond `services` of them, further
-- ones share theirs. It goes by records in the order in which they are given out, so that scores are the same for any
-- number of meters. It takes about 1 us a record.
--
-- @usage nfengine flows --plugin anomaly -a anomaly.warm_up=20 --n-dissections=0 \
--   --columns=dst_port,bidirectional_bytes,udps.anomaly_score,udps.anomaly_feature samples/web.pcap | tail -n 6
-- @output
-- 22,11960,3.6538435827985865,"src2dst_packets"
-- 53,192,0.6774593602500272,"dst2src_bytes"
-- 8080,128,1.1912942340196848,"bidirectional_duration_ms"
-- 80,296,5.0001123935741445,"dst2src_bytes"
-- 68,1043,4.855879641813399,"bidirectional_duration_ms"
-- 0,164,0.8090213704375776,"dst2src_bytes"

local nf = require "nfengine"
local robust = require "nfengine.robust"
local usual = require "nfengine.ml.usual"
local vector = require "nfengine.ml.vector"

-- Densities of a standard normal distribution: at its median, and of distances from it at theirs.
local AT_MEDIAN, AT_MAD = 0.3989, 0.6356

-- Values of a flow's features, on their scale.
local function read(self, flow)
  local values, row = self.values, self.reader:read(flow)
  for i = 1, self.reader.width do values[i] = robust.scaled(row[i - 1]) end
  return values
end

-- ---- what is usual ----

local function group_of(self, flow)
  local key = self.by == "service" and flow.dst_port * 256 + flow.protocol or 0
  local group = self.groups[key]
  if group then return group end
  if self.group_count == self.services then key = -1 end
  group = self.groups[key]
  if group then return group end
  group = { count = 0, samples = {}, medians = {}, mads = {} }
  for i = 1, self.reader.width do group.samples[i] = {} end
  self.groups[key], self.group_count = group, self.group_count + (key >= 0 and 1 or 0)
  return group
end

-- A flow of the warm-up, the last of which says what to begin with.
local function warm_up(self, group, values)
  group.count = group.count + 1
  for i = 1, #values do
    local x = values[i]
    if x == x then table.insert(group.samples[i], x) end
  end
  if group.count < self.warm_up then return end
  for i = 1, #values do
    local median, mad = robust.centre(group.samples[i])
    group.medians[i], group.mads[i] = median or 0, mad or 0
  end
  group.samples = nil
end

local function step(from, to, size)
  if to > from then return from + size elseif to < from then return from - size end
  return from
end

-- Moves the estimates of one feature towards its latest value.
local function follow(self, group, i, x)
  local size = 0.5 * robust.deviation(group.mads[i]) / self.memory
  local distance = math.abs(x - group.medians[i])
  group.medians[i] = step(group.medians[i], x, size / AT_MEDIAN)
  group.mads[i] = math.max(step(group.mads[i], distance, size / AT_MAD), 0)
end

-- The score, and the number of the feature that stands out; nil of a flow none of whose features has a value.
local function judge(self, group, values)
  local largest, feature, sum, count = -1, nil, 0, 0
  for i = 1, #values do
    local x = values[i]
    if x == x then
      local distance = math.abs(robust.distance(x, group.medians[i], group.mads[i]))
      if distance > largest then largest, feature = distance, i end
      sum, count = sum + distance, count + 1
      follow(self, group, i, x)
    end
  end
  if count == 0 then return nil end
  return self.combine == "mean" and sum / count or largest, feature
end

return nf.plugin {
  name        = "anomaly",
  version     = "1.0.0",
  api         = 1,
  description = "How unusual each flow is among those before it, without training",
  author      = "the nfengine authors",
  license     = "MIT",
  categories  = { "feature", "cross-flow" },
  options     = {
    columns  = { {}, "columns to look at, numbers; none: durations, packets, bytes, and of statistics some" },
    by       = { "all", "whose medians flows are compared with", choices = { "all", "service" } },
    services = { 1000, "services with medians of their own", integer = true, min = 1 },
    warm_up  = { 30, "flows that say what is usual, before any is scored", integer = true, min = 2, max = 100000 },
    memory   = { 1000, "how many flows it takes, about, until the medians have followed a change", min = 10 },
    combine  = { "largest", "the score of the columns' distances", choices = { "largest", "mean" } },
  },
  columns     = {
    { "anomaly_score", "double", "robust distance from what is usual, in standard deviations; NaN in the warm-up" },
    { "anomaly_feature", "string:63", "column in which the flow is farthest from it; empty in the warm-up",
      is_identifying = false },
  },
  setup       = function(self, run)
    self.reader = vector.new(usual.features(run, self.columns))
    self.values, self.groups, self.group_count = {}, {}, 0
  end,
  on_record   = function(self, flow)
    local group, values, udps = group_of(self, flow), read(self, flow), flow.udps
    local score, feature
    if group.samples then warm_up(self, group, values) else score, feature = judge(self, group, values) end
    udps.anomaly_score = score or 0 / 0
    udps.anomaly_feature = feature and self.reader.columns[feature].name or ""
  end,
}
