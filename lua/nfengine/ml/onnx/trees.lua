--- Trees of ONNX: the operators TreeEnsembleClassifier and TreeEnsembleRegressor (ai.onnx.ml 1 to 3) and TreeEnsemble
-- (ai.onnx.ml 5).
--
-- Source: onnx/docs/Operators-ml.md, and where that is silent (two classes, what is added when) what onnxruntime does:
-- core/providers/cpu/ml/tree_ensemble_aggregator.h.

local C = require "nfengine.lib"
local tensor = require "nfengine.ml.onnx.tensor"
local text = require "nfengine.text"
local values = require "nfengine.ml.onnx.values"

local trees = {}

local fail = text.fail

-- Those of both forms: by name, and by number in TreeEnsemble.
local SPLITS = { BRANCH_LEQ = "<=", BRANCH_LT = "<", BRANCH_GTE = ">=", BRANCH_GT = ">", BRANCH_EQ = "==",
  BRANCH_NEQ = "~=" }
local NUMBERED_SPLITS = { [0] = "<=", "<", ">=", ">", "==", "~=" }

trees.LINKS = {
  NONE = C.NF_LINK_NONE, SOFTMAX = C.NF_LINK_SOFTMAX, LOGISTIC = C.NF_LINK_LOGISTIC,
  SOFTMAX_ZERO = C.NF_LINK_SOFTMAX_ZERO, PROBIT = C.NF_LINK_PROBIT,
}
local NUMBERED_LINKS = { [0] = "NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT" }

--- Flags for NaN, which every comparison denies but that of inequality.
local function absent_of(split, tracks_true)
  return (tracks_true == 1 or split == "~=") and C.NF_ABSENT_YES or 0
end

-- ---- attributes ----

--- A list of numbers, also as a tensor of doubles. Empty where there is none.
local function numbers(attributes, name)
  local given = attributes[name .. "_as_tensor"]
  if given and given.t then return tensor.read(given.t).values end
  return attributes[name] and attributes[name].floats or {}
end

local function integers(attributes, name) return attributes[name] and attributes[name].ints or {} end

local function expect_size(list, name, size)
  if #list ~= size then fail("%d %s, expected %d", #list, name, size) end
  return list
end

-- ---- ai.onnx.ml 1 to 3 ----

--- Values of leaves: by tree, then by node, a list of { output, value }, each output's at most once: which of them
-- counts is for others to say.
local function leaves_of(attributes, prefix)
  local tree_ids, node_ids = integers(attributes, prefix .. "_treeids"), integers(attributes, prefix .. "_nodeids")
  local outputs, weights = integers(attributes, prefix .. "_ids"), numbers(attributes, prefix .. "_weights")
  local leaves, given, size = {}, {}, #tree_ids
  expect_size(node_ids, prefix .. "_nodeids", size)
  expect_size(outputs, prefix .. "_ids", size)
  expect_size(weights, prefix .. "_weights", size)
  for i = 1, size do
    local tree = leaves[tree_ids[i]] or {}
    leaves[tree_ids[i]] = tree
    local leaf = tree[node_ids[i]] or {}
    tree[node_ids[i]], given[leaf] = leaf, given[leaf] or {}
    if given[leaf][outputs[i]] then
      fail("leaf %d of tree %d has two values of output %d", node_ids[i], tree_ids[i], outputs[i])
    end
    given[leaf][outputs[i]] = true
    table.insert(leaf, { outputs[i], weights[i] })
  end
  return leaves, outputs, weights
end

--- Refuses lists of doubles for features in single precision, which onnxruntime passes over.
local function check_precision(features, attributes)
  for name in pairs(attributes) do
    if features.type ~= tensor.DOUBLE and name:find "_as_tensor$" then
      fail("%s of features that are not in double precision", text.quote(name))
    end
  end
end

--- Trees as those operators have them. A node's number for parts:add_tree is its place in the lists.
-- @return ensemble without terms; the ids of outputs and the weights of all leaves
local function read_lists(columns, attributes, prefix)
  check_precision(columns, attributes)
  local tree_ids, node_ids = integers(attributes, "nodes_treeids"), integers(attributes, "nodes_nodeids")
  local size = #tree_ids
  expect_size(node_ids, "nodes_nodeids", size)
  local modes = expect_size(attributes.nodes_modes and attributes.nodes_modes.strings or {}, "nodes_modes", size)
  local features = expect_size(integers(attributes, "nodes_featureids"), "nodes_featureids", size)
  local yes = expect_size(integers(attributes, "nodes_truenodeids"), "nodes_truenodeids", size)
  local no = expect_size(integers(attributes, "nodes_falsenodeids"), "nodes_falsenodeids", size)
  local thresholds = expect_size(numbers(attributes, "nodes_values"), "nodes_values", size)
  local tracks = integers(attributes, "nodes_missing_value_tracks_true")
  local leaves, outputs, weights = leaves_of(attributes, prefix)

  local roots, places = {}, {} -- by tree, then by node
  for at = 1, size do
    local tree = places[tree_ids[at]]
    if not tree then
      tree = {}
      places[tree_ids[at]], roots[#roots + 1] = tree, at
    end
    if tree[node_ids[at]] then fail("node %d of tree %d is there twice", node_ids[at], tree_ids[at]) end
    tree[node_ids[at]] = at
  end

  local function describe(at)
    if not tree_ids[at] then return nil end
    local tree = tree_ids[at]
    if modes[at] == "LEAF" then return { values = leaves[tree] and leaves[tree][node_ids[at]] or {} } end
    local split = SPLITS[modes[at]] or fail("a node of mode %s", text.quote(modes[at]))
    local function place(id)
      return places[tree][id] or fail("node %d of tree %d is not there", id, tree)
    end
    return { split = split, feature = features[at], threshold = thresholds[at], yes = place(yes[at]),
      no = place(no[at]), absent = absent_of(split, tracks[at]) }
  end
  return { roots = roots, describe = describe }, outputs, weights
end

--- Terms of as many outputs that are columns as they are.
local function identity(count)
  local terms = {}
  for k = 1, count do terms[k - 1] = { { k, 1 } } end
  return terms
end

local function check_outputs(outputs, count)
  for _, output in ipairs(outputs) do
    if output < 0 or output >= count then fail("a leaf of output %d, expected one below %d", output, count) end
  end
end

local function base_of(attributes, count)
  local base = numbers(attributes, "base_values")
  if #base ~= 0 and #base ~= count then fail("%d base_values, expected %d", #base, count) end
  return base
end

local function transform_of(attributes)
  local name = attributes.post_transform and attributes.post_transform.s or "NONE"
  if not trees.LINKS[name] then fail("post_transform %s", text.quote(name)) end
  return name
end

local function scores_of(features, ensemble, count, base, weights, charge)
  charge(values.TABLE * count)
  local scores = values.scores(features, count, base, charge)
  ensemble.terms = identity(count)
  scores.ensembles = { ensemble }
  scores.is_positive = values.are_none_negative(weights) and values.are_none_negative(base)
  return scores
end

--- One column for two classes: with weights that are all positive a probability, or else a score around 0.
local function one_column(scores, transform, weights, charge)
  if transform == "LOGISTIC" then return values.with(scores, { link = C.NF_LINK_LOGISTIC, is_pair = true }) end
  if transform ~= "NONE" then fail("post_transform %s of one column for two classes", transform) end
  for _, weight in ipairs(weights) do
    if weight < 0 then return values.signed(scores, charge) end
  end
  return values.with(scores, { is_pair = true })
end

--- The outputs that some tree gives in every leaf: a set. onnxruntime leaves others out of what it adds, and makes of
-- two classes another formula, where a row comes to none of their values.
local function always_given(ensemble, charge)
  local given = {}
  for _, root in ipairs(ensemble.roots) do
    local stack, leaves, counts = { root }, 0, {}
    while #stack > 0 do
      charge(1)
      local node = ensemble.describe(table.remove(stack)) or fail "a node that is not there"
      if node.split then stack[#stack + 1], stack[#stack + 2] = node.yes, node.no
      else
        leaves = leaves + 1
        charge(#node.values)
        for _, value in ipairs(node.values) do counts[value[1]] = (counts[value[1]] or 0) + 1 end
      end
    end
    for output, count in pairs(counts) do given[output] = given[output] or count == leaves end
  end
  return given
end

--- Of several outputs, what is added to one has to be added for every row.
local function check_base(ensemble, base, charge)
  local is_added = false
  for _, value in ipairs(base) do is_added = is_added or value ~= 0 end
  if #base < 2 or not is_added then return base end
  local given = always_given(ensemble, charge)
  for k, value in ipairs(base) do
    if value ~= 0 and not given[k - 1] then fail("leaves without a value of output %d, which has a base", k - 1) end
  end
  return base
end

function trees.classifier(features, attributes, classes, charge)
  local ensemble, outputs, weights = read_lists(features, attributes, "class")
  local count, transform = #classes, transform_of(attributes)
  if count < 2 then fail("%d classes, expected 2 or more", count) end
  check_outputs(outputs, count)
  if count > 2 then
    local base = check_base(ensemble, base_of(attributes, count), charge)
    return values.with(scores_of(features, ensemble, count, base, weights, charge), { link = trees.LINKS[transform] })
  end
  local has_second = false
  for _, output in ipairs(outputs) do has_second = has_second or output == 1 end
  if not has_second then
    local scores = scores_of(features, ensemble, 1, base_of(attributes, 1), weights, charge)
    return one_column(scores, transform, weights, charge)
  end
  if #numbers(attributes, "base_values") > 0 then fail "base_values of two columns for two classes" end
  if not always_given(ensemble, charge)[1] then fail "leaves without a value of the second class" end
  return values.with(scores_of(features, ensemble, 2, nil, weights, charge), { link = trees.LINKS[transform] })
end

local AGGREGATES = { SUM = true, AVERAGE = true }
local NUMBERED_AGGREGATES = { [0] = "AVERAGE", "SUM", "MIN", "MAX" }

--- Refuses links that onnxruntime passes over, where there is one target.
function trees.expect_applied(count, link)
  if count == 1 and link ~= C.NF_LINK_NONE and link ~= C.NF_LINK_PROBIT then fail "a post_transform of one target" end
end

local function regression(features, ensemble, count, base, weights, aggregate, transform, charge)
  if not AGGREGATES[aggregate] then fail("aggregate_function %s, expected SUM or AVERAGE", text.quote(aggregate)) end
  trees.expect_applied(count, trees.LINKS[transform])
  local scores = scores_of(features, ensemble, count, check_base(ensemble, base, charge), weights, charge)
  local divisor = aggregate == "AVERAGE" and #ensemble.roots > 1 and #ensemble.roots or nil
  return values.with(scores, { divisor = divisor, link = trees.LINKS[transform] })
end

local function target_count(attributes)
  local count = attributes.n_targets and attributes.n_targets.i or 1
  if count < 1 or count > 65536 then fail("n_targets is %d, expected 1 to 65536", count) end
  return count
end

function trees.regressor(features, attributes, charge)
  local ensemble, outputs, weights = read_lists(features, attributes, "target")
  local count = target_count(attributes)
  check_outputs(outputs, count)
  local aggregate = attributes.aggregate_function and attributes.aggregate_function.s or "SUM"
  return regression(features, ensemble, count, base_of(attributes, count), weights, aggregate,
    transform_of(attributes), charge)
end

-- ---- ai.onnx.ml 5 ----

local function tensor_of(attributes, name)
  local given = attributes[name]
  if not given or not given.t then fail("no %s", name) end
  return tensor.read(given.t).values
end

--- Nodes are numbered by their place in the lists, leaves behind them.
local function read_numbered(attributes)
  local modes, thresholds = tensor_of(attributes, "nodes_modes"), tensor_of(attributes, "nodes_splits")
  local size = #modes
  expect_size(thresholds, "nodes_splits", size)
  local features = expect_size(integers(attributes, "nodes_featureids"), "nodes_featureids", size)
  local yes = expect_size(integers(attributes, "nodes_truenodeids"), "nodes_truenodeids", size)
  local no = expect_size(integers(attributes, "nodes_falsenodeids"), "nodes_falsenodeids", size)
  local yes_is_leaf = expect_size(integers(attributes, "nodes_trueleafs"), "nodes_trueleafs", size)
  local no_is_leaf = expect_size(integers(attributes, "nodes_falseleafs"), "nodes_falseleafs", size)
  local tracks = integers(attributes, "nodes_missing_value_tracks_true")
  local weights, outputs = tensor_of(attributes, "leaf_weights"), integers(attributes, "leaf_targetids")
  expect_size(outputs, "leaf_targetids", #weights)
  local roots = integers(attributes, "tree_roots")

  local function place(index, is_leaf) return is_leaf == 1 and size + index or index end
  local function describe(id)
    if id >= size then
      local at = id - size + 1
      return weights[at] and { values = { { outputs[at], weights[at] } } }
    end
    local at = id + 1
    if not modes[at] then return nil end
    local split = NUMBERED_SPLITS[modes[at]] or fail("a node of mode %s", tostring(modes[at]))
    return { split = split, feature = features[at], threshold = thresholds[at],
      yes = place(yes[at], yes_is_leaf[at]), no = place(no[at], no_is_leaf[at]),
      absent = absent_of(split, tracks[at]) }
  end
  return { roots = roots, describe = describe }, outputs, weights
end

function trees.ensemble(features, attributes, charge)
  local ensemble, outputs, weights = read_numbered(attributes)
  local count = target_count(attributes)
  check_outputs(outputs, count)
  local transform = attributes.post_transform and attributes.post_transform.i or 0
  local aggregate = attributes.aggregate_function and attributes.aggregate_function.i or 1
  return regression(features, ensemble, count, {}, weights, NUMBERED_AGGREGATES[aggregate] or tostring(aggregate),
    NUMBERED_LINKS[transform] or fail("post_transform %d", transform), charge)
end

return trees
