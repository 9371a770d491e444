--- Isolation forests, grown and asked here: how unusual rows are among others, without labels.
--
--   local rows = isolation.rows(columns)              -- names and places of features
--   rows:add(flow)                                    -- for each flow
--   local forest = isolation.grow(rows, { trees = 100, sample = 256, seed = 0 })
--   print(forest:score(flow))                         -- near 1: unusual; well below 0.5: usual
--
-- Liu, Ting and Zhou, "Isolation forest", ICDM 2008. Each tree parts a random sample of rows at random values of random
-- features, until a row is alone or the tree is as deep as the mean of such trees; rows that are unlike others are
-- alone soon. A score is 2^(-E(h) / c(n)): E(h) is the mean depth at which the trees have a row alone, c(n) what that
-- depth is on average for n rows. The same rows, options and seed give the same forest.

local ffi = require "ffi"
local C = require "nfengine.lib"
local columns = require "nfengine.columns"
local parts = require "nfengine.ml.parts"

local isolation = {}

-- ---- rows of features ----

local rows = {}
rows.__index = rows

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

--- Gathers rows of features, at most so many: of more, a random sample in which each has the same chance to be
-- (Vitter's algorithm R, ACM TOMS 11(1), 1985).
-- @param list columns of a run, numbers, as plugins' setup gets them
-- @param most rows to keep
function isolation.rows(list, most)
  local message = ffi.new("char[?]", C.NF_ERROR_SIZE)
  local vector = C.nf_vector_new(columns.to_c(list), #list, message)
  if vector == nil then error(ffi.string(message), 0) end
  return setmetatable({
    columns = list, vector = ffi.gc(vector, C.nf_vector_free), width = C.nf_vector_size(vector), most = most or 65536,
    count = 0, seen = 0, room = 0, random = generator(0), row = ffi.new("double[?]", C.nf_vector_size(vector)),
  }, rows)
end

--- A flow's features: double *, valid until the next call.
function rows:read(flow)
  C.nf_vector_read(self.vector, flow.core, self.row)
  return self.row
end

local function make_room(self)
  if self.count < self.room then return end
  local room = math.min(math.max(2 * self.room, 1024), self.most)
  local data = ffi.new("double[?]", room * self.width)
  if self.data then ffi.copy(data, self.data, self.count * self.width * 8) end
  self.data, self.room = data, room
end

--- Adds a flow's row.
function rows:add(flow) self:add_row(self:read(flow)) end

--- Adds a row.
-- @param row double *
function rows:add_row(row)
  self.seen = self.seen + 1
  local at = self.count
  if at == self.most then
    at = math.floor(self.random() * self.seen)
    if at >= self.most then return end
  else
    make_room(self)
    self.count = at + 1
  end
  ffi.copy(self.data + at * self.width, row, self.width * 8)
end

--- The values of one feature, from 1, that are there.
function rows:values(feature)
  local list = {}
  for i = 0, self.count - 1 do
    local x = self.data[i * self.width + feature - 1]
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
    local x = given.data[i * given.width + feature]
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
    local side = given.data[i * given.width + feature] < threshold and less or others
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
-- @param given rows, as isolation.rows gathers them
-- @param options `trees`, `sample` (rows a tree), `seed`
-- @return a forest: `columns`, `sample` (rows that a tree was grown from)
function isolation.grow(given, options)
  if given.count < 2 then error(("%d flows to learn from, expected 2 at least"):format(given.count), 0) end
  local random, features = generator(options.seed), {}
  local sample = math.min(options.sample, given.count)
  local most_depth = math.ceil(math.log(sample) / math.log(2))
  for i = 1, given.width do features[i] = i - 1 end
  local made = parts.new(given.width, 1)
  for _ = 1, options.trees do
    local nodes = grow_tree(given, draw(given.count, sample, random), features, most_depth, random)
    -- The link takes the exponential of what the trees add up to.
    for _, node in ipairs(nodes) do
      if node.value then node.value = -math.log(2) * node.value / mean_depth(sample) / options.trees end
    end
    made:add_tree(1, function(id) return nodes[id] end)
  end
  made.link = C.NF_LINK_EXP
  return setmetatable({
    columns = given.columns, sample = sample, rows = given, handle = made:finish(), output = ffi.new "double[1]",
  }, forest)
end

--- The score of a row of features, double *.
function forest:score_row(row)
  C.nf_model_predict(self.handle, row, 1, self.output)
  return self.output[0]
end

--- The score of a flow, of a run that has the same columns in the same places.
function forest:score(flow) return self:score_row(self.rows:read(flow)) end

return isolation
