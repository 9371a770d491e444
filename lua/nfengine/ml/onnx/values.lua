--- What the values of a graph are, as formulas: the reader follows a graph with these in place of tensors.
--
-- Features: { kind = "features", type = DataType, { source, fill, offset, scale, shift } … }, for each column which of
-- the model's features it is, and what becomes of it: fill where it is absent, then (x - offset) * scale + shift.
--
-- Scores: { kind = "scores", count, features, base, weights or ensembles, link … }, columns that are sums over weighted
-- features or over trees, and the link behind them; `is_positive` where none of what is added is below 0. A `is_pair`
-- of one column p stands for 1 - p and p, and `complement_of` for 1 - p. An ensemble is { roots, describe, terms }:
-- describe as for parts:add_tree, and for each of its outputs a list of { column, factor }.
--
-- Values are shared, so operators change copies. What they make is charged for before it is made: `charge` is told of
-- how many numbers, a table counting for several.

local C = require "nfengine.lib"
local parts = require "nfengine.ml.parts"
local tensor = require "nfengine.ml.onnx.tensor"
local text = require "nfengine.text"

local values = {}

local fail = text.fail

values.TABLE = 8 -- numbers that take as much as a small table

local function copy_of(value)
  local copy = {}
  for key, each in pairs(value) do copy[key] = each end
  return copy
end

-- ---- features ----

--- Columns of others: those at `positions`, from 1.
function values.pick_features(features, positions, charge)
  charge(#positions)
  local picked = { kind = "features", type = features.type }
  for i, position in ipairs(positions) do picked[i] = features[position] end
  return picked
end

local function is_scaled(feature) return feature.offset or feature.scale or feature.shift end

-- Each says where a step goes that the formula still has room for: nil where it has none.
local STEPS = {
  Sub = function(feature, by)
    if not is_scaled(feature) then feature.offset = by
    elseif not feature.shift then feature.shift = -by
    else return nil end
    return feature
  end,
  Mul = function(feature, by)
    if feature.scale or feature.shift then return nil end
    feature.scale = by
    return feature
  end,
}
function STEPS.Add(feature, by) return STEPS.Sub(feature, -by) end
function STEPS.Div(feature, by) return STEPS.Mul(feature, 1 / by) end

--- Features after a step by a constant.
-- @param step "Sub", "Add", "Mul" or "Div"
-- @param by list of one number, or one a feature
function values.step(features, step, by, charge)
  charge(values.TABLE * #features)
  if #by ~= 1 and #by ~= #features then fail("%d numbers for %d features", #by, #features) end
  if features.type ~= tensor.FLOAT and features.type ~= tensor.DOUBLE then fail "arithmetic of integers" end
  local stepped = { kind = "features", type = features.type }
  for i, feature in ipairs(features) do
    stepped[i] = STEPS[step](copy_of(feature), by[i] or by[1]) or fail "features that are scaled more than once"
  end
  return stepped
end

--- Features, numbers in place of those that are absent.
function values.fill(features, by, charge)
  charge(values.TABLE * #features)
  if #by ~= 1 and #by ~= #features then fail("%d numbers for %d features", #by, #features) end
  local filled = { kind = "features", type = features.type }
  for i, feature in ipairs(features) do
    if is_scaled(feature) then fail "features that are filled after they were scaled" end
    filled[i] = copy_of(feature)
    filled[i].fill = feature.fill or by[i] or by[1]
  end
  return filled
end

--- Features as another type. What has been scaled in one precision is not what another would have made of it.
function values.cast(features, to, charge)
  if to ~= tensor.FLOAT and to ~= tensor.DOUBLE then fail("features as numbers of type %d", to) end
  if features.type == to then return features end
  charge(#features)
  local cast = { kind = "features", type = to }
  for i, feature in ipairs(features) do
    if is_scaled(feature) then fail "features that are scaled in another precision" end
    cast[i] = feature
  end
  return cast
end

-- ---- scores ----

--- Scores of no link yet.
-- @param count columns
-- @param base list, by column; nil for zeros
function values.scores(features, count, base, charge)
  charge(count)
  local list = {}
  for k = 1, count do list[k] = base and base[k] or 0 end
  return { kind = "scores", count = count, features = features, base = list, link = C.NF_LINK_NONE }
end

--- Whether scores are sums still.
function values.is_open(scores)
  return scores.link == C.NF_LINK_NONE and not scores.is_normalized and not scores.stage and not scores.is_pair
    and not scores.complement_of
end

--- Whether scores are none below 0, so that their sum is that of their sizes.
function values.are_positive(scores)
  return scores.link == C.NF_LINK_LOGISTIC or scores.link == C.NF_LINK_SOFTMAX
    or scores.link == C.NF_LINK_NONE and scores.is_positive and not scores.is_pair or false
end

--- Whether no number of a list, which may be nil, is below 0.
function values.are_none_negative(list)
  for _, value in ipairs(list or {}) do
    if value < 0 or value ~= value then return false end
  end
  return true
end

-- What numbers are made of, but for which of a pair they are.
local MADE_OF = { "base", "weights", "ensembles", "link", "divisor", "stage", "is_normalized", "is_even" }

--- Whether scores are the same numbers.
function values.are_same(left, right)
  for _, name in ipairs(MADE_OF) do
    if (left[name] or false) ~= (right[name] or false) then return false end
  end
  return not left.complement_of and not right.complement_of
end

function values.with(scores, changes)
  local copy = copy_of(scores)
  for key, value in pairs(changes) do copy[key] = value end
  return copy
end

local function scaled(list, factor)
  if factor == 1 then return list end
  local copy = {}
  for i, value in ipairs(list) do copy[i] = value * factor end
  return copy
end

--- An ensemble's terms once columns are others.
-- @param to by column the columns that it becomes, with their factors: so many in all
local function follow(terms, to, count, charge)
  charge(2 * values.TABLE * count)
  local followed = {}
  for output, list in pairs(terms) do
    followed[output] = {}
    for _, term in ipairs(list) do
      for _, next_term in ipairs(to[term[1]] or {}) do
        table.insert(followed[output], { next_term[1], next_term[2] * term[2] })
      end
    end
  end
  return followed
end

--- Scores of other columns.
-- @param rows by new column, { old one, factor }
function values.transform(scores, rows, charge)
  local to, base, weights, ensembles = {}, {}, scores.weights and {}, scores.ensembles and {}
  local is_positive = scores.is_positive
  for column, row in ipairs(rows) do
    local from, factor = row[1], row[2]
    charge(2 * values.TABLE + (weights and #scores.features or 0))
    to[from] = to[from] or {}
    table.insert(to[from], { column, factor })
    base[column], is_positive = scores.base[from] * factor, is_positive and factor >= 0
    if weights then weights[column] = scaled(scores.weights[from], factor) end
  end
  for i, ensemble in ipairs(scores.ensembles or {}) do
    ensembles[i] =
      { roots = ensemble.roots, describe = ensemble.describe, terms = follow(ensemble.terms, to, #rows, charge) }
  end
  return values.with(scores,
    { count = #rows, base = base, weights = weights, ensembles = ensembles, is_positive = is_positive })
end

--- Sums with numbers added: one, or one a column.
function values.add(scores, by, charge)
  charge(scores.count)
  if #by ~= 1 and #by ~= scores.count then fail("%d numbers for %d columns", #by, scores.count) end
  local base = {}
  for k, each in ipairs(scores.base) do base[k] = each + (by[k] or by[1]) end
  return values.with(scores, { base = base, is_positive = scores.is_positive and values.are_none_negative(by) })
end

-- What scores that become columns side by side have in common.
local SHARED = { "features", "link", "divisor", "is_normalized", "is_even", "stage" }

--- Scores side by side.
function values.join(list, charge)
  local first = list[1]
  local joined = values.with(first, { count = 0, base = {}, weights = first.weights and {}, origin = false,
    ensembles = first.ensembles and {}, classes = false })
  for _, scores in ipairs(list) do
    joined.is_positive = joined.is_positive and scores.is_positive
    for _, name in ipairs(SHARED) do
      if scores[name] ~= first[name] then fail "columns of different models" end
    end
    if scores.is_pair or scores.complement_of or not scores.weights ~= not first.weights or scores.is_normalized then
      fail "columns of different models"
    end
    local shift = {}
    charge(2 * values.TABLE * scores.count)
    for k = 1, scores.count do
      joined.count = joined.count + 1
      joined.base[joined.count], shift[k] = scores.base[k], { { joined.count, 1 } }
      if scores.weights then joined.weights[joined.count] = scores.weights[k] end
    end
    for _, ensemble in ipairs(scores.ensembles or {}) do
      table.insert(joined.ensembles, { roots = ensemble.roots, describe = ensemble.describe,
        terms = follow(ensemble.terms, shift, scores.count, charge) })
    end
  end
  return joined
end

--- A column s as two, -s and s: what runtimes make of one score of two classes that is no probability.
function values.signed(scores, charge) return values.transform(scores, { { 1, -1 }, { 1, 1 } }, charge) end

-- ---- the model ----

-- What becomes of a feature, by its name in struct nf_model_parts, and what it is where nothing does.
local FORMULA = {
  fills = { "fill", 0 / 0 }, offsets = { "offset", 0 }, scales = { "scale", 1 }, shifts = { "shift", 0 },
}

--- Puts down what becomes of each of the model's features. Each is used in one way.
local function add_formulas(made, features)
  local users = {}
  for _, feature in ipairs(features) do
    local other = users[feature.source] or feature
    for _, formula in pairs(FORMULA) do
      if other[formula[1]] ~= feature[formula[1]] then fail("feature %d used in two ways", feature.source) end
    end
    users[feature.source] = feature
  end
  for list, formula in pairs(FORMULA) do
    for source, feature in pairs(users) do
      if feature[formula[1]] and not made[list] then
        made[list] = {}
        for i = 1, made.feature_count do made[list][i] = formula[2] end
      end
      if made[list] then made[list][source + 1] = feature[formula[1]] or formula[2] end
    end
  end
end

local function add_weights(made, scores, charge)
  charge(made.feature_count * scores.count)
  made.weights, made.base = {}, scores.base
  for i = 1, made.feature_count * scores.count do made.weights[i] = 0 end
  for k = 1, scores.count do
    local first = (k - 1) * made.feature_count + 1
    for i, feature in ipairs(scores.features) do
      made.weights[first + feature.source] = made.weights[first + feature.source] + scores.weights[k][i]
    end
  end
end

--- A leaf's values, by columns in place of the ensemble's outputs.
local function leaf_of(node, terms, charge)
  local leaf = { values = {} }
  for _, value in ipairs(node.values) do
    local columns = terms[value[1]] or {}
    charge(values.TABLE * #columns)
    for _, term in ipairs(columns) do
      table.insert(leaf.values, { term[1] - 1, value[2] * term[2] })
    end
  end
  if not leaf.values[1] then leaf.values[1] = { 0, 0 } end
  return leaf
end

local function add_trees(made, scores, charge)
  for _, ensemble in ipairs(scores.ensembles) do
    for _, root in ipairs(ensemble.roots) do
      made:add_tree(root, function(id)
        local node = ensemble.describe(id)
        charge(1)
        if not node then return nil end
        if not node.split then return leaf_of(node, ensemble.terms, charge) end
        local feature = scores.features[node.feature + 1] or fail("node %s of feature %d", tostring(id), node.feature)
        return values.with(node, { feature = feature.source })
      end)
    end
  end
end

--- What sums are added to: of a mean struct nf_model_parts has room for it; of a sum it is a tree behind the others, a
-- leaf, for runtimes add it last, which single precision makes a difference of.
local function add_base(made, scores)
  if made.divisor ~= 1 then
    made.base = scores.base
    return
  end
  local leaf = { values = {} }
  for k, value in ipairs(scores.base) do
    if value ~= 0 then table.insert(leaf.values, { k - 1, value }) end
  end
  if leaf.values[1] then made:add_tree(0, function() return leaf end) end
end

--- What scores are made of, see nfengine.ml.parts.
-- @param feature_count of the model
function values.finish(scores, feature_count, charge)
  local made = parts.new(feature_count, scores.count)
  made.is_single = scores.features.type == tensor.FLOAT
  made.link, made.divisor = scores.link, scores.divisor or 1
  made.is_normalized, made.is_even = scores.is_normalized or false, scores.is_even or false
  add_formulas(made, scores.features)
  if scores.weights then
    add_weights(made, scores, charge)
  else
    add_trees(made, scores, charge)
    add_base(made, scores)
  end
  return made
end

return values
