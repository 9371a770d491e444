--- Reads models of XGBoost, as its libraries save them from 1.0 on: JSON, or the same as UBJSON.
--
-- Source: xgboost/doc/model.schema, and what the library does with it: features and sums in single precision, a feature
-- is compared by "less than", one that is absent goes where `default_left` says.

local bit = require "bit"
local C = require "nfengine.lib"
local cjson = require "cjson.safe"
local parts = require "nfengine.ml.parts"
local text = require "nfengine.text"
local ubjson = require "nfengine.ml.ubjson"

local xgboost = {}

local function fail(...) error((...):format(select(2, ...)), 0) end

local function field(object, name, kind)
  local value = object[name]
  if type(value) ~= kind then fail("%s is %s, expected a %s", name, text.quote(value), kind) end
  return value
end

local function number_of(object, name, default)
  local given = object[name]
  if given == nil then given = default end
  local number = tonumber(given)
  if not number then fail("%s is %s, expected a number", name, text.quote(given)) end
  return number
end

local function whole(object, name, least, most, default)
  local number = number_of(object, name, default)
  if number % 1 ~= 0 or number < least or number > most then
    fail("%s is %s, expected an integer from %d to %d", name, text.quote(number), least, most)
  end
  return number
end

-- ---- objectives ----

local function logit(p) return -math.log(1 / p - 1) end

-- What an objective makes of sums, and how sums begin, for the probability, count … that base_score is.
local LINKS = {
  ["binary:logistic"] = { C.NF_LINK_LOGISTIC, logit }, ["reg:logistic"] = { C.NF_LINK_LOGISTIC, logit },
  ["binary:logitraw"] = { C.NF_LINK_NONE, logit }, ["binary:hinge"] = { C.NF_LINK_HINGE },
  ["multi:softprob"] = { C.NF_LINK_SOFTMAX }, ["multi:softmax"] = { C.NF_LINK_SOFTMAX },
  ["count:poisson"] = { C.NF_LINK_EXP, math.log }, ["reg:gamma"] = { C.NF_LINK_EXP, math.log },
  ["reg:tweedie"] = { C.NF_LINK_EXP, math.log }, ["survival:cox"] = { C.NF_LINK_EXP, math.log },
  ["survival:aft"] = { C.NF_LINK_EXP, math.log },
}
for _, name in ipairs {
  "reg:squarederror", "reg:squaredlogerror", "reg:pseudohubererror", "reg:absoluteerror", "reg:quantileerror",
  "reg:linear", "rank:pairwise", "rank:ndcg", "rank:map",
} do
  LINKS[name] = { C.NF_LINK_NONE }
end

--- base_score by output: a number, or from 3.1 on a list as text, "[5E-1]".
local function base_scores(given, count)
  local scores = {}
  for word in tostring(given):gmatch "[^%[%],%s]+" do
    scores[#scores + 1] = tonumber(word) or fail("base_score is %s, expected numbers", text.quote(given))
  end
  if #scores ~= 1 and #scores ~= count then fail("base_score has %d numbers, expected 1 or %d", #scores, count) end
  for i = #scores + 1, count do scores[i] = scores[1] end
  return scores
end

-- ---- trees ----

local function categories_of(tree)
  local sets, nodes = {}, tree.categories_nodes or {}
  for i, node in ipairs(nodes) do
    local first, size = tree.categories_segments[i], tree.categories_sizes[i]
    local list, seen = {}, {}
    for at = first + 1, first + size do
      local category = tree.categories[at]
      if type(category) ~= "number" or category % 1 ~= 0 or category < 0 or category > 2^24 or seen[category] then
        fail("category %s of node %d, expected different integers from 0", text.quote(category), node)
      end
      seen[category], list[#list + 1] = true, category
    end
    sets[node] = list
  end
  return sets
end

local function add_tree(made, tree, output, scale)
  local left, right = field(tree, "left_children", "table"), field(tree, "right_children", "table")
  local features, conditions = field(tree, "split_indices", "table"), field(tree, "split_conditions", "table")
  local default_left, sets = field(tree, "default_left", "table"), categories_of(tree)
  made:add_tree(0, function(id)
    local at = id + 1
    local goes_left, condition = left[at], tonumber(conditions[at])
    if not goes_left or not condition then return nil end
    if goes_left == -1 then return { value = condition * scale, output = output } end
    local is_left_default = default_left[at] == true or default_left[at] == 1
    local node = { feature = features[at], threshold = condition }
    if sets[id] then -- the set is of those that go right
      node.split, node.yes, node.no, node.categories = "in", right[at], goes_left, sets[id]
      node.absent = bit.bor(is_left_default and 0 or C.NF_ABSENT_YES, C.NF_NEGATIVE_IS_ABSENT)
    else
      node.split, node.yes, node.no = "<", goes_left, right[at]
      node.absent = is_left_default and C.NF_ABSENT_YES or 0
    end
    return node
  end)
end

local function add_trees(made, booster, weights)
  local model = field(booster, "model", "table")
  local trees, info = field(model, "trees", "table"), field(model, "tree_info", "table")
  for i, tree in ipairs(trees) do
    local output = info[i]
    if type(output) ~= "number" then fail("tree %d of no output", i - 1) end
    local leaf = tree.tree_param and tonumber(tree.tree_param.size_leaf_vector) or 0
    if leaf > 1 then fail("leaves of %d outputs, expected one_output_per_tree", leaf) end
    local ok, problem = pcall(add_tree, made, tree, output, weights and weights[i] or 1)
    if not ok then fail("tree %d: %s", i - 1, text.raised(problem)) end
  end
end

--- Weights of a linear booster, feature by feature and the bias last, as a list output by output.
local function add_weights(made, booster, base)
  local given = field(field(booster, "model", "table"), "weights", "table")
  local features, outputs = made.feature_count, made.output_count
  if #given ~= (features + 1) * outputs then
    fail("%d weights, expected %d", #given, (features + 1) * outputs)
  end
  made.weights = {}
  for k = 1, outputs do
    for i = 0, features - 1 do made.weights[#made.weights + 1] = given[i * outputs + k] end
    base[k] = base[k] + given[features * outputs + k]
  end
end

local BOOSTERS = {
  gbtree = function(made, booster) add_trees(made, booster) end,
  dart = function(made, booster)
    add_trees(made, field(booster, "gbtree", "table"), field(booster, "weight_drop", "table"))
  end,
  gblinear = add_weights,
}

-- ---- the file ----

local function names_of(learner, count)
  local names = learner.feature_names
  if type(names) ~= "table" or #names == 0 then return nil end
  if #names ~= count then fail("%d names of features, expected %d", #names, count) end
  return names
end

--- What a saved model is, see nfengine.ml.load. Raises one line.
-- @param content a file's bytes
function xgboost.read(content)
  local root, problem
  if content:find "^%s*{%s*\"" then root, problem = cjson.decode(content)
  else root, problem = ubjson.decode(content) end
  if type(root) ~= "table" then fail("no model of XGBoost: %s", text.one_line(tostring(problem))) end
  local learner = field(root, "learner", "table")
  local parameters = field(learner, "learner_model_param", "table")
  local booster = field(learner, "gradient_booster", "table")
  local objective = field(field(learner, "objective", "table"), "name", "string")
  local link = LINKS[objective]
  if not link then fail("objective %s, expected one that is known: %s", objective, text.list(LINKS)) end
  local features, classes = whole(parameters, "num_feature", 1, 65536), whole(parameters, "num_class", 0, 65536, 0)
  local outputs = math.max(classes, whole(parameters, "num_target", 1, 65536, 1), 1)
  local made, base = parts.new(features, outputs), base_scores(parameters.base_score, outputs)
  for k = 1, outputs do base[k] = link[2] and link[2](base[k]) or base[k] end
  local add = BOOSTERS[booster.name]
  if not add then fail("booster %s, expected gbtree, dart or gblinear", text.quote(booster.name)) end
  add(made, booster, base)
  made.link, made.base, made.is_single = link[1], base, true
  local task = classes > 1 and "multiclass" or objective:match "^binary:" and "binary" or "regression"
  return { format = "XGBoost", made = made, names = names_of(learner, features), task = task, objective = objective }
end

return xgboost
