--- Isolation forests, grown and asked here: how unusual rows are among others, without labels.
--
--   local sample = isolation.sample(width)           -- numbers in a row
--   sample:add(row)                                  -- for each row, double *
--   local forest = isolation.grow(sample, { trees = 100, sample = 256, seed = 0 })
--   print(forest:score(row))                         -- near 1: unusual; well below 0.5: usual
--
-- Liu, Ting and Zhou, "Isolation forest", ICDM 2008. Each tree parts a random sample of rows at random values of random
-- features, until a row is alone or the tree is as deep as the mean of such trees; rows that are unlike others are
-- alone soon. A score is 2^(-E(h) / c(n)): E(h) is the mean depth at which the trees have a row alone, c(n) what that
-- depth is on average for n rows. The same rows, options and seed give the same forest.

local ffi = require "ffi"
local C = require "nfengine.lib"
local parts = require "nfengine.ml.parts"
local rows = require "nfengine.ml.rows"

local isolation = {}

-- ---- a sample of rows ----

--- Numbers from 0 up to 1, always the same: Park and Miller, CACM 31(10), 1988.
local function generator(seed)
  local state = (seed * 2654435761 + 88172645) % 2147483646 + 1
  local function next_number()
    state = state * 16807 % 2147483647
    return (state - 1) / 2147483646
  end
  for _ = 1, 8 do next_number() end -- seeds that are near give first numbers that are
  return next_number
end

local sample = {}
sample.__index = sample

--- Gathers rows, at most so many: of more, a random sample in which each has the same chance to be (Vitter's algorithm
-- R, ACM TOMS 11(1), 1985).
-- @param width numbers in a row
-- @param most rows to keep
function isolation.sample(width, most)
  return setmetatable({
    width = width, most = most or 65536, seen = 0, rows = rows.new(width, "double"), random = generator(0),
  }, sample)
end

--- Adds a row, double *.
function sample:add(row)
  self.seen = self.seen + 1
  if self.rows.count < self.most then return self.rows:add(row) end
  local at = math.floor(self.random() * self.seen)
  if at < self.most then self.rows:add(row, at) end
end

--- The values of one feature, from 1, that are there.
function sample:values(feature)
  local list = {}
  for i = 0, self.rows.count - 1 do
    local x = self.rows.values[i * self.width + feature - 1]
    if x == x then list[#list + 1] = x end
  end
  return list
end

-- ---- trees ----

-- The depth at which a search in a binary tree of n rows ends without finding, on average.
local function mean_depth(n)
  if n <= 1 then return 0 end
  if n == 2 then return 1 end
  return 2 * (math.log(n - 1) + 0.5772156649015329) - 2 * (n - 1) / n
end

-- So many different numbers below n, in a list (Floyd: Bentley, "Programming pearls", CACM 30(9), 1987).
local function draw(n, count, random)
  local list, is_taken = {}, {}
  for last = n - count, n - 1 do
    local pick = math.floor(random() * (last + 1))
    if is_taken[pick] then pick = last end
    is_taken[pick], list[#list + 1] = true, pick
  end
  return list
end

-- Least and largest value of a feature, from 0, among those rows that have one; nil where that is no range.
local function range(given, indices, feature)
  local low, high = math.huge, -math.huge
  for _, i in ipairs(indices) do
    local x = given.values[i * given.width + feature]
    if x < low then low = x end
    if x > high then high = x end
  end
  if low < high and high < math.huge and low > -math.huge then return low, high end
end

-- A feature whose values differ, each of those with the same chance, and where to part them; nil where all rows are
-- alike. `features` is put into another order.
local function choose(given, indices, features, random)
  for last = #features, 1, -1 do
    local pick = math.floor(random() * last) + 1
    features[last], features[pick] = features[pick], features[last]
    local low, high = range(given, indices, features[last])
    if low then
      local threshold = low + random() * (high - low)
      return features[last], threshold > low and threshold or high
    end
  end
end

local function split(given, indices, feature, threshold)
  local less, others = {}, {}
  for _, i in ipairs(indices) do
    local side = given.values[i * given.width + feature] < threshold and less or others
    side[#side + 1] = i
  end
  return less, others
end

-- A tree over these rows as parts:add_tree takes nodes. What is absent goes where the larger values go.
local function grow_tree(given, indices, features, most_depth, random)
  local nodes = {}
  local function grow(own, depth)
    local id, feature, threshold = #nodes + 1, nil, nil
    nodes[id] = { value = depth + mean_depth(#own) }
    if depth < most_depth and #own > 1 then feature, threshold = choose(given, own, features, random) end
    if not feature then return id end
    local less, others = split(given, own, feature, threshold)
    nodes[id] = { split = "<", feature = feature, threshold = threshold }
    nodes[id].yes, nodes[id].no = grow(less, depth + 1), grow(others, depth + 1)
    return id
  end
  grow(indices, 0)
  return nodes
end

-- ---- forests ----

local forest = {}
forest.__index = forest

--- Grows a forest. Raises one line where there are fewer than two rows.
-- @param given isolation.sample
-- @param options `trees`, `sample` (rows that a tree is grown from, at most), `seed`, an integer from 0 to 2^31 - 1
-- @return the forest, or nil where somebody has interrupted that
function isolation.grow(given, options)
  local learnt = given.rows
  if learnt.count < 2 then error(("%d flows to learn from, expected 2 at least"):format(learnt.count), 0) end
  local random, features = generator(options.seed), {}
  local size = math.min(options.sample, learnt.count)
  local most_depth = math.ceil(math.log(size) / math.log(2))
  for i = 1, learnt.width do features[i] = i - 1 end
  local made = parts.new(learnt.width, 1)
  for _ = 1, options.trees do
    if C.nf_interrupted() then return nil end
    local nodes = grow_tree(learnt, draw(learnt.count, size, random), features, most_depth, random)
    -- The link takes the exponential of what the trees add up to.
    for _, node in ipairs(nodes) do
      if node.value then node.value = -math.log(2) * node.value / mean_depth(size) / options.trees end
    end
    made:add_tree(1, function(id) return nodes[id] end)
  end
  made.link = C.NF_LINK_EXP
  return setmetatable({ handle = made:finish(), output = ffi.new "double[1]" }, forest)
end

--- The score of a row, double *.
function forest:score(row)
  C.nf_model_predict(self.handle, row, 1, self.output)
  return self.output[0]
end

return isolation
