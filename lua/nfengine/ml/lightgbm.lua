--- Reads models of LightGBM, as its library saves them from version v3 of the format on: text of "key=value" lines, a
-- section a tree.
--
-- Source: LightGBM/src/boosting/gbdt_model_text.cpp and include/LightGBM/tree.h: features in double precision, one is
-- compared by "less or equal"; what is done with one that is absent is said node by node.

local bit = require "bit"
local C = require "nfengine.lib"
local cjson = require("nfengine.installed").require "cjson.safe"
local parts = require "nfengine.ml.parts"
local text = require "nfengine.text"

local lightgbm = {}

local fail = text.fail

-- ---- lines ----

--- The "key=value" lines of a section, and words that stand alone as true.
local function fields_of(section)
  local fields = {}
  for line in section:gmatch "[^\r\n]+" do
    local key, value = line:match "^([^=]+)=(.*)$"
    fields[key or line] = value or true
  end
  return fields
end

local function word(fields, name)
  local value = fields[name]
  if type(value) ~= "string" then fail("%s is %s, expected a value", name, text.quote(value)) end
  return value
end

local function whole(fields, name, least, most, default)
  local value = fields[name] or default
  local number = tonumber(value)
  if not number or number % 1 ~= 0 or number < least or number > most then
    fail("%s is %s, expected an integer from %d to %d", name, text.quote(value), least, most)
  end
  return number
end

local function numbers(fields, name, count)
  local list = {}
  for each in word(fields, name):gmatch "%S+" do
    list[#list + 1] = tonumber(each) or fail("%s has %s, expected numbers", name, text.quote(each))
  end
  if count and #list ~= count then fail("%s has %d numbers, expected %d", name, #list, count) end
  return list
end

local function words(value)
  local list = {}
  for each in value:gmatch "%S+" do list[#list + 1] = each end
  return list
end

-- ---- objectives ----

-- What an objective makes of sums, and what kind of answer that is.
local OBJECTIVES = {
  binary = { C.NF_LINK_LOGISTIC, "binary" },
  multiclass = { C.NF_LINK_SOFTMAX, "multiclass" }, multiclassova = { C.NF_LINK_LOGISTIC, "multiclass" },
  cross_entropy = { C.NF_LINK_LOGISTIC, "regression" }, cross_entropy_lambda = { C.NF_LINK_LOG1P_EXP, "regression" },
}
for _, name in ipairs { "poisson", "gamma", "tweedie" } do OBJECTIVES[name] = { C.NF_LINK_EXP, "regression" } end
for _, name in ipairs {
  "regression", "regression_l1", "huber", "fair", "quantile", "mape", "lambdarank", "rank_xendcg", "custom",
} do
  OBJECTIVES[name] = { C.NF_LINK_NONE, "regression" }
end

--- What the file says of its objective. One that is a program of its own is only among the parameters: "custom", "none"
-- as files were before version 4 of the library.
local function objective_of(content, header)
  local told = not header.objective and content:match "\n%[objective: (%a+)%]"
  if told == "custom" or told == "none" then return "custom" end
  return word(header, "objective")
end

--- Sets the link that "binary sigmoid:1" and the like ask for. Returns the task.
local function set_objective(made, given)
  local said = words(given)
  local name = said[1] or ""
  local objective = OBJECTIVES[name]
  if not objective then
    fail("objective %s, expected one of %s", text.quote(name), table.concat(text.sorted_keys(OBJECTIVES), ", "))
  end
  made.link = objective[1]
  for i = 2, #said do
    local sigmoid = said[i]:match "^sigmoid:(.*)$"
    if sigmoid then made.slope = tonumber(sigmoid) or fail("sigmoid %s, expected a number", text.quote(sigmoid)) end
    if said[i] == "sqrt" then made.link = C.NF_LINK_SQUARE end
  end
  return made.output_count > 1 and "multiclass" or objective[2]
end

-- ---- trees ----

-- The bits of decision_type.
local IS_CATEGORY, IS_LEFT_DEFAULT = 1, 2
local MISSING_IS_ZERO, MISSING_IS_NAN = 1, 2 -- of the two bits above these; NaN is 0 else

--- What is done with absent values; `yes` is left.
local function absent_flags(decision)
  local default = bit.band(decision, IS_LEFT_DEFAULT) ~= 0 and C.NF_ABSENT_YES or 0
  local missing = bit.band(bit.rshift(decision, 2), 3)
  if missing == MISSING_IS_NAN then return default end
  return default + C.NF_ABSENT_IS_ZERO + (missing == MISSING_IS_ZERO and C.NF_ZERO_IS_ABSENT or 0)
end

--- The words from `first` to before `last` that have any bits, by their numbers in a set of their own.
local function words_in(words32, first, last)
  local set = {}
  for at = first, last - 1 do
    local bits = bit.tobit(words32[at + 1])
    if bits ~= 0 then set[at - first] = bits end
  end
  return set
end

--- The sets of categories that a tree's nodes ask for, one each, from the first.
local function sets_of(fields)
  local count, sets = whole(fields, "num_cat", 0, 2^24, 0), {}
  if count == 0 then return sets end
  local bounds, words32 = numbers(fields, "cat_boundaries", count + 1), numbers(fields, "cat_threshold")
  for i = 1, count do
    local first, last = bounds[i], bounds[i + 1]
    if first % 1 ~= 0 or last % 1 ~= 0 or first < 0 or last < first or last > #words32 then
      fail("cat_boundaries has %s to %s, expected some of %d", text.quote(first), text.quote(last), #words32)
    end
    sets[i] = words_in(words32, first, last)
  end
  return sets
end

--- Children are the numbers of nodes, or of leaves: -1 is the first.
local function add_tree(made, fields, output)
  if whole(fields, "is_linear", 0, 1, 0) == 1 then fail "linear models in leaves, expected linear_tree=false" end
  local leaves = whole(fields, "num_leaves", 1, 2^24)
  local values = numbers(fields, "leaf_value", leaves)
  local leaf, split, among = { output = output }, { split = "<=" }, { split = "in", absent = 0 }
  if leaves == 1 then return made:add_tree(-1, function() return { output = output, value = values[1] } end) end
  local features, thresholds = numbers(fields, "split_feature", leaves - 1), numbers(fields, "threshold", leaves - 1)
  local decisions, sets = numbers(fields, "decision_type", leaves - 1), sets_of(fields)
  local left, right = numbers(fields, "left_child", leaves - 1), numbers(fields, "right_child", leaves - 1)
  made:add_tree(0, function(id)
    if id < 0 then
      leaf.value = values[-id]
      return leaf.value and leaf
    end
    local at = id + 1
    local decision = decisions[at]
    if not decision then return nil end
    local node = bit.band(decision, IS_CATEGORY) ~= 0 and among or split
    node.feature, node.yes, node.no = features[at], left[at], right[at]
    if node == among then
      local set = thresholds[at] + 1
      among.words = sets[set] or fail("node %d: no set %s of its own", id, text.quote(thresholds[at]))
      sets[set] = nil
    else
      split.threshold, split.absent = thresholds[at], absent_flags(decision)
    end
    return node
  end)
end

local function add_trees(made, content, start)
  local count = 0
  while content:find("^Tree=", start) do
    local after = content:find("\nTree=", start, true) or content:find("\nend of trees", start, true)
    if not after then fail("tree %d has no end", count) end
    local ok, problem = pcall(add_tree, made, fields_of(content:sub(start, after)), count % made.output_count)
    if not ok then fail("tree %d: %s", count, text.raised(problem)) end
    count, start = count + 1, after + 1
  end
  return count, start
end

-- ---- categories ----

--- The features that are categories, from 0, in their order: as the training was told, or as it has seen their values.
local function category_features(content, header)
  local told = content:match "\n%[categorical_feature: ([%d,]+)%]"
  local list = {}
  if told then
    for number in told:gmatch "%d+" do list[#list + 1] = tonumber(number) end
  else
    for i, info in ipairs(words(header.feature_infos and word(header, "feature_infos") or "")) do
      if info ~= "none" and not info:find "^%[" then list[#list + 1] = i - 1 end
    end
  end
  table.sort(list)
  return list
end

--- The categories that columns of pandas had, in the order of their codes, by feature.
local function categories_by_feature(content, header)
  local line = content:match "\npandas_categorical:([^\n]*)"
  local given = line and cjson.decode(line)
  if type(given) ~= "table" then return {} end
  local features, by_feature = category_features(content, header), {}
  for i, feature in ipairs(#features == #given and features or {}) do by_feature[feature + 1] = given[i] end
  for feature, categories in pairs(by_feature) do
    if type(categories) ~= "table" then fail("categories of feature %d, expected a list", feature - 1) end
  end
  return by_feature
end

-- ---- the file ----

--- What a saved model is, see nfengine.ml.load. Raises one line.
-- @param content a file's bytes
function lightgbm.read(content)
  content = content:gsub("\r\n", "\n")
  local start = content:find("\nTree=", 1, true) or content:find("\nend of trees", 1, true)
  if not start then fail "no model of LightGBM: no trees" end
  local header = fields_of(content:sub(1, start))
  local version = word(header, "version")
  if version ~= "v3" and version ~= "v4" then fail("version %s, expected v3 or v4", text.quote(version)) end
  local features = whole(header, "max_feature_idx", 0, 65535) + 1
  local made = parts.new(features, whole(header, "num_tree_per_iteration", 1, 65536))
  local task = set_objective(made, objective_of(content, header))
  local names = words(word(header, "feature_names"))
  if #names ~= features then fail("%d names of features, expected %d", #names, features) end
  local count, after = add_trees(made, content, start + 1)
  if not content:find("^end of trees", after) then fail("no end behind tree %d", count - 1) end
  if count == 0 or count % made.output_count ~= 0 then
    fail("%d trees, expected some for each of %d outputs by turns", count, made.output_count)
  end
  if header.average_output then made.divisor = count / made.output_count end
  return {
    format = "LightGBM", made = made, names = names, task = task, categories = categories_by_feature(content, header),
  }
end

return lightgbm
