--- Reads models of XGBoost, as its libraries save them from 1.0 on: JSON, or the same as UBJSON.
--
-- Source: xgboost/doc/model.schema, and what the library does with it: features and sums in single precision, a feature
-- is compared by "less than", one that is absent goes where `default_left` says. Where early stopping has found a best
-- iteration, later trees do not count, as in XGBClassifier.predict.

local ffi = require "ffi"
local C = require "nfengine.lib"
local cjson = require("nfengine.installed").require "cjson.safe"
local parts = require "nfengine.ml.parts"
local text = require "nfengine.text"
local ubjson = require "nfengine.ml.ubjson"

local xgboost = {}

local fail = text.fail

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

local function single(number) return tonumber(ffi.new("float", number)) end

--- As the library has it: step by step in single precision, and none of what is certain.
local function logit(p)
  local least = 1e-6
  p = single(math.max(least, math.min(p, 1 - least)))
  return -math.log(single(single(1 / p) - 1))
end

-- What an objective makes of sums, and how sums begin, for the probability, count … that base_score is, from 0 up to
-- the third. Probabilities also of those that differ from others only by not giving any.
local LINKS = {
  ["binary:logistic"] = { C.NF_LINK_LOGISTIC, logit, 1 }, ["reg:logistic"] = { C.NF_LINK_LOGISTIC, logit, 1 },
  ["binary:logitraw"] = { C.NF_LINK_LOGISTIC }, ["binary:hinge"] = { C.NF_LINK_HINGE },
  ["multi:softprob"] = { C.NF_LINK_SOFTMAX }, ["multi:softmax"] = { C.NF_LINK_SOFTMAX },
}
for _, name in ipairs { "count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "survival:aft" } do
  LINKS[name] = { C.NF_LINK_EXP, math.log, math.huge }
end
for _, name in ipairs {
  "reg:squarederror", "reg:squaredlogerror", "reg:pseudohubererror", "reg:absoluteerror", "reg:quantileerror",
  "reg:linear", "rank:pairwise", "rank:ndcg", "rank:map",
} do
  LINKS[name] = { C.NF_LINK_NONE }
end

--- How sums begin, by output, as base_score says: a number, or from 3.1 on a list as text, "[5E-1]".
local function base_sums(given, count, link)
  local scores = {}
  if type(given) ~= "string" and type(given) ~= "number" then
    fail("base_score is %s, expected numbers", text.quote(given))
  end
  for word in tostring(given):gmatch "[^%[%],%s]+" do
    scores[#scores + 1] = tonumber(word) or fail("base_score is %s, expected numbers", text.quote(given))
  end
  if #scores ~= 1 and #scores ~= count then fail("base_score has %d numbers, expected 1 or %d", #scores, count) end
  local sums, to_sum, most = {}, link[2], link[3]
  for i = 1, count do
    local score = scores[i] or scores[1]
    if score - score ~= 0 or to_sum and not (score >= 0 and score <= most) then
      fail("base_score is %s, expected %s", text.quote(given), to_sum and ("0 to %g"):format(most) or "finite numbers")
    end
    sums[i] = to_sum and to_sum(score) or score
  end
  return sums
end

-- ---- trees ----

--- The categories that a tree's nodes ask for, by the number of the node.
local function categories_of(tree)
  local sets = {}
  if not tree.categories_nodes then return sets end -- as files were before 1.3
  local nodes, first = field(tree, "categories_nodes", "table"), field(tree, "categories_segments", "table")
  local sizes, categories = field(tree, "categories_sizes", "table"), field(tree, "categories", "table")
  local left = #categories -- no two nodes share any
  for i = 1, #nodes do
    local node = whole(nodes, i, 0, 2^31)
    local from, size = tonumber(first[i]) or -1, tonumber(sizes[i]) or -1
    left = left - size
    if not (from >= 0 and size >= 0 and from + size <= #categories and left >= 0) then
      fail("categories of node %d, expected some of %d", node, #categories)
    end
    local set = {}
    for k = 1, size do set[k] = categories[from + k] end
    sets[node] = set
  end
  return sets
end

local function add_tree(made, tree, output, scale)
  local left, right = field(tree, "left_children", "table"), field(tree, "right_children", "table")
  local features, conditions = field(tree, "split_indices", "table"), field(tree, "split_conditions", "table")
  local default_left, sets = field(tree, "default_left", "table"), categories_of(tree)
  local leaf, split, among = { output = output }, { split = "<" }, { split = "in" }
  made:add_tree(0, function(id)
    local at = id + 1
    local goes_left, condition = left[at], tonumber(conditions[at])
    if not goes_left or not condition then return nil end
    if goes_left == -1 then
      leaf.value = condition * scale
      return leaf
    end
    local is_left_default = default_left[at] == true or default_left[at] == 1
    if sets[id] then -- the set is of those that go right
      among.feature, among.yes, among.no, among.categories = features[at], right[at], goes_left, sets[id]
      among.absent = is_left_default and 0 or C.NF_ABSENT_YES
      return among
    end
    split.feature, split.threshold, split.yes, split.no = features[at], condition, goes_left, right[at]
    split.absent = is_left_default and C.NF_ABSENT_YES or 0
    return split
  end)
end

--- How many trees count: all, or those up to the best iteration.
local function count_trees(learner, model, outputs)
  local trees, attributes = field(model, "trees", "table"), learner.attributes
  if type(attributes) ~= "table" or attributes.best_iteration == nil then return #trees end
  local rounds = whole(attributes, "best_iteration", 0, #trees) + 1
  local ends = model.iteration_indptr
  if type(ends) == "table" then return whole(ends, rounds + 1, 0, #trees) end
  local parallel = whole(field(model, "gbtree_model_param", "table"), "num_parallel_tree", 0, #trees, 1)
  return math.min(#trees, rounds * outputs * math.max(parallel, 1))
end

local function add_trees(made, learner, booster, weights)
  local model = field(booster, "model", "table")
  local trees, info = field(model, "trees", "table"), field(model, "tree_info", "table")
  if #trees == 0 then fail "no trees, expected a trained model" end
  for i = 1, count_trees(learner, model, made.output_count) do
    local tree, output, weight = field(trees, i, "table"), info[i], weights and weights[i] or 1
    if type(output) ~= "number" or type(weight) ~= "number" then fail("tree %d of no output or weight", i - 1) end
    local leaf = type(tree.tree_param) == "table" and tonumber(tree.tree_param.size_leaf_vector) or 0
    if leaf > 1 then fail("leaves of %d outputs, expected multi_strategy one_output_per_tree", leaf) end
    local ok, problem = pcall(add_tree, made, tree, output, weight)
    if not ok then fail("tree %d: %s", i - 1, text.raised(problem)) end
  end
  return model
end

--- Weights of a linear booster, feature by feature and the bias last, as a list output by output. The library begins
-- all sums with the first base score, and leaves out features that are absent.
local function add_weights(made, _, booster, base)
  local given = field(field(booster, "model", "table"), "weights", "table")
  local features, outputs = made.feature_count, made.output_count
  if #given ~= (features + 1) * outputs then
    fail("%d weights, expected %d", #given, (features + 1) * outputs)
  end
  made.weights, made.fills = {}, {}
  for i = 1, features do made.fills[i] = 0 end
  local first = base[1]
  for k = 1, outputs do
    for i = 0, features - 1 do made.weights[#made.weights + 1] = number_of(given, i * outputs + k) end
    base[k] = first + number_of(given, features * outputs + k)
  end
end

-- Each adds what a booster has to the model; trees may come with the categories of features.
local BOOSTERS = {
  gbtree = function(made, learner, booster) return add_trees(made, learner, booster) end,
  dart = function(made, learner, booster)
    return add_trees(made, learner, field(booster, "gbtree", "table"), field(booster, "weight_drop", "table"))
  end,
  gblinear = add_weights,
}

-- ---- categories ----

--- Texts that stand one behind the other, as the numbers of their bytes: no two share any.
local function texts_of(bytes, offsets)
  local characters, texts = {}, {}
  for i = 1, #bytes do characters[i] = string.char(whole(bytes, i, -128, 255) % 256) end
  local joined, first = table.concat(characters), whole(offsets, 1, 0, #bytes, 0)
  for i = 1, #offsets - 1 do
    local behind = whole(offsets, i + 1, first, #bytes)
    texts[i], first = joined:sub(first + 1, behind), behind
  end
  return texts
end

--- The categories that features have, texts or numbers in the order of their codes, as versions from 3.1 on save them.
local function categories_by_feature(model)
  local cats, by_feature = model and model.cats, {}
  local all = type(cats) == "table" and type(cats.enc) == "table" and cats.enc or {}
  for i = 1, #all do
    local values = all[i]
    if type(values) ~= "table" then fail("categories of feature %d, expected a table", i - 1) end
    local list = field(values, "values", "table")
    if type(values.offsets) == "table" then list = texts_of(list, values.offsets) end
    if #list > 0 then by_feature[i] = list end
  end
  return by_feature
end

-- ---- the file ----

local function names_of(learner, count)
  local names = learner.feature_names
  if type(names) ~= "table" or #names == 0 then return nil end
  if #names ~= count then fail("%d names of features, expected %d", #names, count) end
  return names
end

local function decode(content)
  if content:find "^%s*{%s*\"" then return cjson.decode(content) end
  return ubjson.decode(content)
end

--- The version of the library that has saved a model: a list of three numbers, nil where the file does not say.
-- @param content a file's bytes
function xgboost.version(content)
  local root = decode(content)
  local version = type(root) == "table" and root.version
  if type(version) ~= "table" then return nil end
  local numbers = {}
  for i = 1, 3 do numbers[i] = tonumber(version[i]) end
  return #numbers == 3 and numbers or nil
end

--- What a saved model is, see nfengine.ml.load. Raises one line.
-- @param content a file's bytes
function xgboost.read(content)
  local root, problem = decode(content)
  if type(root) ~= "table" then fail("no model of XGBoost: %s", text.one_line(tostring(problem))) end
  local learner = field(root, "learner", "table")
  local parameters = field(learner, "learner_model_param", "table")
  local booster = field(learner, "gradient_booster", "table")
  local objective = field(field(learner, "objective", "table"), "name", "string")
  local link = LINKS[objective]
  if not link then
    fail("objective %s, expected one of %s", text.quote(objective), table.concat(text.sorted_keys(LINKS), ", "))
  end
  local features, classes = whole(parameters, "num_feature", 1, 65536), whole(parameters, "num_class", 0, 65536, 0)
  local outputs = math.max(classes, whole(parameters, "num_target", 1, 65536, 1), 1)
  local made, base = parts.new(features, outputs), base_sums(parameters.base_score, outputs, link)
  local add = BOOSTERS[booster.name]
  if not add then fail("booster %s, expected gbtree, dart or gblinear", text.quote(booster.name)) end
  local model = add(made, learner, booster, base)
  made.link, made.base, made.is_single = link[1], base, true
  local is_binary = outputs == 1 and objective:find "^binary:"
  local task = classes > 1 and "multiclass" or is_binary and "binary" or "regression"
  return {
    format = "XGBoost", made = made, names = names_of(learner, features), task = task,
    categories = categories_by_feature(model),
  }
end

return xgboost
