--- The operators of ONNX that the reader knows: by name, a function of a graph and a node to the formula that the
-- node's value is (nfengine.ml.onnx.values). They are those that skl2onnx and onnxmltools write for trees and linear
-- models, and for what stands before and behind them.
--
-- Source: onnx/docs/Operators.md and Operators-ml.md.

local C = require "nfengine.lib"
local tensor = require "nfengine.ml.onnx.tensor"
local text = require "nfengine.text"
local trees = require "nfengine.ml.onnx.trees"
local values = require "nfengine.ml.onnx.values"

local operators = {}

local fail = text.fail

-- ---- inputs and attributes ----

local function input(graph, node, number) return graph:value(node.input[number] or fail("no input %d", number)) end

local function expect(value, kind, what)
  if value.kind ~= kind then fail("%s are %s, expected %s", what or "inputs", value.kind, kind) end
  return value
end

--- What values charge for what they make.
local function charge_of(graph) return function(size) graph:charge(size) end end

local function features_of(graph, node, number, to)
  local features = expect(input(graph, node, number), "features")
  return to and values.cast(features, to, charge_of(graph)) or features
end

--- A constant's list: an input, or an attribute in operators of old.
local function constant(graph, node, number, attribute)
  if node.input[number] and node.input[number] ~= "" then
    return expect(input(graph, node, number), "constant").values
  end
  local given = attribute and node.attributes[attribute]
  return given and (given.ints[1] and given.ints or given.i and { given.i }) or nil
end

local function whole(node, name, default)
  local given = node.attributes[name]
  return given and given.i or default
end

local function word(node, name, default)
  local given = node.attributes[name]
  return given and given.s or default
end

local function floats(node, name)
  local given = node.attributes[name]
  return given and given.floats or {}
end

--- How many columns a value has.
local function width(value)
  if value.kind == "features" then return #value end
  if value.kind == "scores" then return (value.is_pair and 2) or value.count end
  fail("%s, expected features or scores", value.kind)
end

--- A constant's numbers as a row beside others: one, or one for each of so many columns.
local function row_of(value, columns)
  local dims, list = value.dims, value.values
  if #list ~= 1 and (#list ~= columns or dims[#dims] ~= columns) then
    fail("%d numbers for %d columns", #list, columns)
  end
  return list
end

local function expect_columns(axis) if axis ~= 1 and axis ~= -1 then fail("axis %d, expected 1", axis) end end

-- ---- columns ----

--- Columns of a value, from 0.
local function pick(graph, value, columns)
  local positions, count = {}, width(value)
  graph:charge(#columns)
  for i, column in ipairs(columns) do
    local position = (column < 0 and column + count or column) + 1
    if position % 1 ~= 0 or position < 1 or position > count then fail("column %s of %d", text.quote(column), count) end
    positions[i] = position
  end
  if value.kind == "features" then return values.pick_features(value, positions, charge_of(graph)) end
  if value.is_pair then
    if #positions ~= 1 then fail "columns of a pair" end
    if positions[1] == 2 then return values.with(value, { is_pair = false }) end
    return values.with(value, { is_pair = false, complement_of = value })
  end
  if value.is_normalized or value.link == C.NF_LINK_SOFTMAX or value.link == C.NF_LINK_SOFTMAX_ZERO then
    fail "columns of probabilities that depend on one another"
  end
  local rows = {}
  graph:charge(values.TABLE * #positions)
  for i, position in ipairs(positions) do rows[i] = { position, 1 } end
  return values.transform(value, rows, charge_of(graph))
end

function operators.ArrayFeatureExtractor(graph, node)
  return pick(graph, input(graph, node, 1), constant(graph, node, 2) or fail "no indices")
end

function operators.Gather(graph, node)
  expect_columns(whole(node, "axis", 0))
  return pick(graph, input(graph, node, 1), constant(graph, node, 2) or fail "no indices")
end

function operators.Slice(graph, node)
  local value = input(graph, node, 1)
  local starts, ends = constant(graph, node, 2, "starts"), constant(graph, node, 3, "ends")
  local axes, steps = constant(graph, node, 4, "axes"), constant(graph, node, 5)
  if not starts or not ends or not axes or #starts ~= 1 or #ends ~= 1 or #axes ~= 1 or steps and steps[1] ~= 1 then
    fail "a slice that is none of columns side by side"
  end
  expect_columns(axes[1])
  local count, columns = width(value), {}
  local function place(at) return math.max(0, math.min(at < 0 and at + count or at, count)) end
  for column = place(starts[1]), place(ends[1]) - 1 do columns[#columns + 1] = column end
  if #columns == 0 then fail "a slice of no columns" end
  return pick(graph, value, columns)
end

--- Whether two columns are 1 - p and p.
local function are_a_pair(list)
  local origin = list[1].complement_of
  return #list == 2 and origin and values.are_same(origin, list[2])
end

function operators.Concat(graph, node)
  expect_columns(whole(node, "axis", 1))
  local list = {}
  for i = 1, #node.input do
    list[i] = input(graph, node, i)
    expect(list[i], list[1].kind)
    graph:charge(width(list[i]))
  end
  if not list[1] then fail "nothing" end
  if list[1].kind == "features" then
    local all = { kind = "features", type = list[1].type }
    for _, features in ipairs(list) do
      if features.type ~= all.type then fail "features of different types" end
      for _, feature in ipairs(features) do all[#all + 1] = feature end
    end
    return all
  end
  if are_a_pair(list) then return values.with(list[2], { is_pair = true, complement_of = false }) end
  return values.join(list, charge_of(graph))
end

-- ---- what changes nothing ----

function operators.Identity(graph, node) return input(graph, node, 1) end

--- Of features, to reals; flags of scores that are all 0 become numbers again. Scores stay as they are.
function operators.Cast(graph, node)
  local value, to = input(graph, node, 1), whole(node, "to", 0)
  if value.kind == "features" then return values.cast(value, to, charge_of(graph)) end
  if value.kind == "total" and to == tensor.BOOL then return { kind = "some", of = value.of } end
  if to ~= tensor.FLOAT and to ~= tensor.DOUBLE then fail("%s as numbers of type %d", value.kind, to) end
  return value
end

function operators.Not(graph, node)
  return { kind = "none", of = expect(input(graph, node, 1), "some").of, times = 1 }
end

function operators.Reshape(graph, node)
  local value, shape = input(graph, node, 1), constant(graph, node, 2, "shape")
  local last = shape and shape[#shape]
  local is_kept = last == width(value) or last == -1 and (width(value) == 1 or #shape == 2 and shape[1] == 0)
  if not is_kept then fail "another number of columns" end
  return value
end

function operators.Flatten(graph, node)
  if whole(node, "axis", 1) ~= 1 then fail("axis %d, expected 1", whole(node, "axis", 1)) end
  return input(graph, node, 1)
end

function operators.Squeeze(graph, node)
  local value = input(graph, node, 1)
  if width(value) ~= 1 then fail("%d columns, expected 1", width(value)) end
  return value
end

function operators.Abs(graph, node)
  local value = expect(input(graph, node, 1), "scores")
  if not values.are_positive(value) then fail "numbers that may be negative" end
  return value
end

function operators.Constant(_, node)
  local given = node.attributes
  if given.value and given.value.t then return tensor.read(given.value.t) end
  local list = given.value_floats and given.value_floats.floats or given.value_ints and given.value_ints.ints
  local number = given.value_float and given.value_float.f or given.value_int and given.value_int.i
  if list and #list > 0 then return { kind = "constant", dims = { #list }, values = list } end
  return { kind = "constant", dims = {}, values = { number or fail "a constant of another kind" } }
end

-- ---- features ----

function operators.Scaler(graph, node)
  local features = features_of(graph, node, 1)
  if features.type == tensor.DOUBLE then fail "features in double precision" end
  local charge = charge_of(graph)
  features = values.cast(features, tensor.FLOAT, charge)
  local offsets, scales = floats(node, "offset"), floats(node, "scale")
  if offsets[1] then features = values.step(features, "Sub", offsets, charge) end
  if scales[1] then features = values.step(features, "Mul", scales, charge) end
  return features
end

function operators.Imputer(graph, node)
  local features, replaced = features_of(graph, node, 1), node.attributes.replaced_value_float
  if not replaced or not replaced.f or replaced.f == replaced.f then fail "numbers other than NaN to replace" end
  return values.fill(features, floats(node, "imputed_value_floats"), charge_of(graph))
end

-- ---- models ----

local function with_classes(node, scores)
  local strings, integers = node.attributes.classlabels_strings, node.attributes.classlabels_int64s
    or node.attributes.classlabels_ints
  local labels = strings and strings.strings[1] and strings.strings or integers and integers.ints or {}
  return values.with(scores, { classes = labels })
end

function operators.TreeEnsembleClassifier(graph, node)
  local features, labelled = features_of(graph, node, 1), with_classes(node, {})
  local scores = trees.classifier(features, node.attributes, labelled.classes, charge_of(graph))
  return with_classes(node, scores)
end

function operators.TreeEnsembleRegressor(graph, node)
  return trees.regressor(features_of(graph, node, 1), node.attributes, charge_of(graph))
end

function operators.TreeEnsemble(graph, node)
  return trees.ensemble(features_of(graph, node, 1), node.attributes, charge_of(graph))
end

local function add_linear(graph, features, coefficients, count, base)
  if #coefficients ~= count * #features then
    fail("%d coefficients, expected %d", #coefficients, count * #features)
  end
  graph:charge(#coefficients)
  local scores = values.scores(features, count, base, charge_of(graph))
  scores.weights = {}
  for k = 1, count do
    local row = {}
    for i = 1, #features do row[i] = coefficients[(k - 1) * #features + i] end
    scores.weights[k] = row
  end
  return scores
end

local function transform_of(node)
  local name = word(node, "post_transform", "NONE")
  return trees.LINKS[name] or fail("post_transform %s", text.quote(name))
end

function operators.LinearClassifier(graph, node)
  local features, intercepts = features_of(graph, node, 1, tensor.FLOAT), floats(node, "intercepts")
  if not intercepts[1] then fail "no intercepts" end
  local scores = with_classes(node, add_linear(graph, features, floats(node, "coefficients"), #intercepts, intercepts))
  scores.link = transform_of(node)
  if scores.count > 1 then return scores end
  if scores.link ~= C.NF_LINK_LOGISTIC then fail "one row of coefficients without LOGISTIC" end
  return values.with(scores, { is_pair = true })
end

function operators.LinearRegressor(graph, node)
  local features, count = features_of(graph, node, 1, tensor.FLOAT), whole(node, "targets", 1)
  local intercepts = floats(node, "intercepts")
  if intercepts[1] and #intercepts ~= count then fail("%d intercepts, expected %d", #intercepts, count) end
  if count < 1 or count > 65536 then fail("%d targets, expected 1 to 65536", count) end
  local scores = add_linear(graph, features, floats(node, "coefficients"), count, intercepts)
  scores.link = transform_of(node)
  trees.expect_applied(count, scores.link)
  return scores
end

--- A matrix of weights by feature and column, or a column of them, as coefficients by column and feature.
local function columns_of(graph, matrix, is_transposed)
  if is_transposed then return matrix.values, matrix.dims[1] end
  local rows, columns, list = matrix.dims[1], matrix.dims[2] or 1, {}
  graph:charge(#matrix.values)
  for k = 1, columns do
    for i = 1, rows do list[#list + 1] = matrix.values[(i - 1) * columns + k] end
  end
  return list, columns
end

local function matrix_of(graph, node, least)
  local matrix = expect(input(graph, node, 2), "constant", "weights")
  if #matrix.dims < least or #matrix.dims > 2 then
    fail("weights of %d dimensions, expected %s", #matrix.dims, least == 2 and "2" or "1 or 2")
  end
  return matrix
end

function operators.MatMul(graph, node)
  local features = features_of(graph, node, 1)
  local coefficients, count = columns_of(graph, matrix_of(graph, node, 1), false)
  return add_linear(graph, features, coefficients, count)
end

function operators.Gemm(graph, node)
  local alpha, beta = node.attributes.alpha, node.attributes.beta
  if alpha and alpha.f ~= 1 or beta and beta.f ~= 1 or whole(node, "transA", 0) ~= 0 then
    fail "a product with factors of its own"
  end
  local features = features_of(graph, node, 1)
  local coefficients, count = columns_of(graph, matrix_of(graph, node, 2), whole(node, "transB", 0) == 1)
  local scores = add_linear(graph, features, coefficients, count)
  if not node.input[3] or node.input[3] == "" then return scores end
  return values.add(scores, row_of(expect(input(graph, node, 3), "constant"), count), charge_of(graph))
end

-- ---- links ----

local function open_scores(graph, node)
  local scores = expect(input(graph, node, 1), "scores")
  if not values.is_open(scores) then fail "what is no sum any more" end
  return scores
end

function operators.Sigmoid(graph, node)
  return values.with(open_scores(graph, node), { link = C.NF_LINK_LOGISTIC })
end

function operators.Softmax(graph, node)
  expect_columns(whole(node, "axis", -1))
  return values.with(open_scores(graph, node), { link = C.NF_LINK_SOFTMAX })
end

--- Exp, and then 1 + … and its reciprocal: 1 / (1 + exp(-x)) in three operators.
function operators.Exp(graph, node)
  return values.with(open_scores(graph, node), { stage = "exp" })
end

function operators.Reciprocal(graph, node)
  local scores = expect(input(graph, node, 1), "scores")
  if scores.stage ~= "1 + exp" then fail "what is not 1 + exp(x)" end
  local rows = {}
  graph:charge(values.TABLE * scores.count)
  for k = 1, scores.count do rows[k] = { k, -1 } end
  local negated = values.transform(scores, rows, charge_of(graph))
  return values.with(negated, { stage = false, link = C.NF_LINK_LOGISTIC })
end

function operators.Normalizer(graph, node)
  local scores, norm = expect(input(graph, node, 1), "scores"), word(node, "norm", "MAX")
  if norm ~= "L1" then fail("norm %s, expected L1", text.quote(norm)) end
  if scores.complement_of then fail "half of a pair" end
  if not scores.is_pair then return values.with(scores, { is_normalized = true }) end
  if not values.are_positive(scores) then fail "a pair that may be negative" end
  return scores -- 1 - p and p are 1 already
end

function operators.ReduceSum(graph, node)
  local scores, axes = expect(input(graph, node, 1), "scores"), constant(graph, node, 2, "axes")
  if not axes or #axes ~= 1 or whole(node, "keepdims", 1) ~= 1 then fail "a sum that is none of columns" end
  expect_columns(axes[1])
  return { kind = "total", of = scores }
end

function operators.ZipMap(graph, node)
  local scores = expect(input(graph, node, 1), "scores")
  return with_classes(node, scores)
end

-- ---- arithmetic ----

local function are_all(list, number)
  for _, each in ipairs(list) do
    if each ~= number then return false end
  end
  return true
end

--- By the name of the operator, what scores and a constant come to.
local WITH_CONSTANT = {
  Add = function(graph, scores, by)
    if scores.stage == "exp" and are_all(by, 1) then return values.with(scores, { stage = "1 + exp" }) end
    return values.is_open(scores) and values.add(scores, by, charge_of(graph))
  end,
  Mul = function(graph, scores, by)
    if are_all(by, 1) then return scores end
    if not values.is_open(scores) then return nil end
    local rows = {}
    graph:charge(values.TABLE * scores.count)
    for k = 1, scores.count do rows[k] = { k, by[k] or by[1] } end
    return values.transform(scores, rows, charge_of(graph))
  end,
}
function WITH_CONSTANT.Sub(graph, scores, by)
  local negated = {}
  for i, each in ipairs(by) do negated[i] = -each end
  return WITH_CONSTANT.Add(graph, scores, negated)
end
function WITH_CONSTANT.Div(graph, scores, by)
  local inverted = {}
  for i, each in ipairs(by) do inverted[i] = 1 / each end
  return WITH_CONSTANT.Mul(graph, scores, inverted)
end

--- Scores divided by their sum, with or without a guard for rows of zeros, which become even: what skl2onnx writes so.
-- A pair's sum is 1.
local function of_scores(name, left, right)
  if name == "Div" and left.kind == "scores" and right.kind == "total" and (left.origin or left) == right.of
    and not left.is_even == not right.is_even and not left.complement_of
    and (left.is_pair or values.are_positive(left)) then
    if left.is_pair then return right.of end
    return values.with(left, { is_normalized = true, origin = false })
  end
  if name == "Add" and right.kind == "none" then
    if left.kind == "scores" and left == right.of and right.times == 1 then
      return values.with(left, { is_even = true, origin = left })
    end
    if left.kind == "total" and left.of == right.of and right.times == left.of.count then
      return { kind = "total", of = left.of, is_even = true }
    end
  end
end

local function arithmetic(name)
  return function(graph, node)
    local left, right = input(graph, node, 1), input(graph, node, 2)
    if left.kind == "constant" and (name == "Add" or name == "Mul") then left, right = right, left end
    local made
    if right.kind == "constant" then
      graph:charge(#right.values)
      if left.kind == "features" then
        return values.step(left, name, row_of(right, #left), charge_of(graph))
      end
      if left.kind == "none" and name == "Mul" and #right.values == 1 then
        return { kind = "none", of = left.of, times = left.times * right.values[1] }
      end
      made = left.kind == "scores" and WITH_CONSTANT[name](graph, left, row_of(right, width(left)))
    elseif left.kind == "constant" then
      local is_complement = name == "Sub" and right.kind == "scores" and right.count == 1 and are_all(left.values, 1)
        and right.link == C.NF_LINK_LOGISTIC and not right.is_pair and not right.complement_of
      made = is_complement and values.with(right, { complement_of = right })
    else
      made = of_scores(name, left, right)
    end
    return made or fail("%s and %s", left.kind, right.kind)
  end
end

for _, name in ipairs { "Add", "Sub", "Mul", "Div" } do operators[name] = arithmetic(name) end

return operators
