-- Makes files of ONNX that nobody would write: small graphs of every operator that is read, whose attributes and
-- tensors fit, or have sizes that are 0, huge, negative, or others than what is there.
--
--   local graph = require "spec.support.graphs" (seed)
--   local content = graph()

local onnx = require "spec.support.onnx"
local operators = require "nfengine.ml.onnx.operators"
local random = require "spec.support.random"
local text = require "nfengine.text"

-- Every operator, and those that make something of features, of features scores, and of scores scores.
local ALL = text.sorted_keys(operators)
local BEFORE = { "Add", "ArrayFeatureExtractor", "Cast", "Concat", "Div", "Flatten", "Gather", "Identity", "Imputer",
  "Mul", "Reshape", "Scaler", "Slice", "Sub" }
local MODELS = { "Gemm", "LinearClassifier", "LinearRegressor", "MatMul", "TreeEnsemble", "TreeEnsembleClassifier",
  "TreeEnsembleRegressor" }
local AFTER = { "Abs", "Add", "Cast", "Concat", "Div", "Exp", "Gather", "Mul", "Normalizer", "Reciprocal", "ReduceSum",
  "Sigmoid", "Slice", "Softmax", "Squeeze", "Sub", "ZipMap" }
-- How many inputs they take, others one.
local INPUTS = { Add = 2, ArrayFeatureExtractor = 2, Concat = 2, Constant = 0, Div = 2, Gather = 2, Gemm = 3,
  MatMul = 2, Mul = 2, ReduceSum = 2, Reshape = 2, Slice = 4, Sub = 2 }
local OF_ML = { ArrayFeatureExtractor = true, Imputer = true, LinearClassifier = true, LinearRegressor = true,
  Normalizer = true, Scaler = true, TreeEnsemble = true, TreeEnsembleClassifier = true, TreeEnsembleRegressor = true,
  ZipMap = true }
local SIZES = { 0, 1, 1, 1, 2, 2, 2, 2, 2, 3, 4, -1, -3, 65536, 65537, 2 ^ 26, 2 ^ 32, 2 ^ 53, -2 ^ 53 }
local NUMBERS = { 0, 1, 1, 1, 2, -1, 0.5, 1e30, 0 / 0, 1 / 0 }
local WORDS = { "NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO", "PROBIT", "L1", "MAX", "SUM", "AVERAGE", "LEAF",
  "BRANCH_LEQ", "BRANCH_EQ", "a", "" }

-- What attributes are, by name: a size, a list of sizes, numbers, words.
local ATTRIBUTES = {
  size = { "axis", "to", "n_targets", "targets", "keepdims", "transA", "transB", "value_int", "shape", "starts", "ends",
    "axes" },
  sizes = { "shape", "starts", "ends", "axes", "value_ints", "classlabels_ints", "classlabels_int64s", "nodes_treeids",
    "nodes_nodeids", "nodes_featureids", "nodes_truenodeids", "nodes_falsenodeids", "target_treeids", "target_nodeids",
    "target_ids", "class_treeids", "class_nodeids", "class_ids", "nodes_trueleafs", "nodes_falseleafs",
    "leaf_targetids", "tree_roots", "nodes_missing_value_tracks_true" },
  number = { "alpha", "beta", "value_float", "replaced_value_float" },
  numbers = { "coefficients", "intercepts", "offset", "scale", "imputed_value_floats", "base_values", "value_floats",
    "nodes_values", "target_weights", "class_weights" },
  word = { "norm", "post_transform", "aggregate_function" }, words = { "classlabels_strings", "nodes_modes" },
  tensor = { "value", "nodes_splits", "nodes_modes", "leaf_weights", "base_values_as_tensor" },
}
local KINDS = text.sorted_keys(ATTRIBUTES)

-- What operators have, some of which is changed or left out now and then.
local TREE = {
  nodes_treeids = { ints = { 0, 0, 0 } }, nodes_nodeids = { ints = { 0, 1, 2 } }, nodes_values = { 5, 0, 0 },
  nodes_featureids = { ints = { 1, 0, 0 } }, nodes_modes = { "BRANCH_LEQ", "LEAF", "LEAF" },
  nodes_truenodeids = { ints = { 1, 0, 0 } }, nodes_falsenodeids = { ints = { 2, 0, 0 } },
}
local function with(changes, more)
  local all = {}
  for name, value in pairs(changes) do all[name] = value end
  for name, value in pairs(more) do all[name] = value end
  return all
end

local function leaves(prefix)
  return { [prefix .. "_treeids"] = { ints = { 0, 0 } }, [prefix .. "_nodeids"] = { ints = { 1, 2 } },
    [prefix .. "_ids"] = { ints = { 0, 0 } }, [prefix .. "_weights"] = { 0.25, 0.5 } }
end
local CLASSES = { classlabels_strings = { "a", "b" } }
local USUAL = {
  TreeEnsembleRegressor = with(TREE, leaves "target"),
  TreeEnsembleClassifier = with(with(TREE, leaves "class"), CLASSES),
  TreeEnsemble = {
    nodes_modes = { tensor = onnx.tensor("", { 1 }, { 0 }).tensor }, nodes_featureids = { ints = { 1 } },
    nodes_splits = { tensor = onnx.tensor("", { 1 }, { 5 }).tensor }, nodes_truenodeids = { ints = { 0 } },
    nodes_falsenodeids = { ints = { 1 } }, nodes_trueleafs = { ints = { 1 } }, nodes_falseleafs = { ints = { 1 } },
    leaf_targetids = { ints = { 0, 0 } }, leaf_weights = { tensor = onnx.tensor("", { 2 }, { 1, 2 }).tensor },
    tree_roots = { ints = { 0 } },
  },
  LinearRegressor = { coefficients = { 1, 2 }, intercepts = { 1 } },
  LinearClassifier = with({ coefficients = { 1, 2 }, intercepts = { 1 }, post_transform = "LOGISTIC" }, CLASSES),
  Normalizer = { norm = "L1" }, ZipMap = CLASSES, Cast = { to = { int = 1 } }, Constant = { value_float = 1 },
  Imputer = { imputed_value_floats = { 1 }, replaced_value_float = 0 / 0 }, Concat = { axis = { int = 1 } },
  Gather = { axis = { int = 1 } },
  Slice = { starts = { ints = { 0 } }, ends = { ints = { 2 } }, axes = { ints = { 1 } } },
  ReduceSum = { axes = { ints = { 1 } } }, Scaler = { offset = { 1 }, scale = { 2 } },
}

return function(seed)
  local below = random.generator(seed)

  local function one_of(list) return list[below(#list) + 1] end

  local function some(list)
    local taken = {}
    for i = 1, below(5) do taken[i] = one_of(list) end
    return taken
  end

  -- Of as much as its dimensions say, or not.
  local function tensor(name)
    local dims, count, kind = {}, 1, one_of { onnx.FLOAT, onnx.FLOAT, onnx.INT64, onnx.DOUBLE }
    for i = 1, below(4) do
      dims[i] = one_of(SIZES)
      count = count * dims[i]
    end
    if count < 0 or count > 64 or below(8) == 0 then count = below(6) end
    local list = {}
    for i = 1, count do list[i] = kind == onnx.INT64 and one_of(SIZES) or one_of(NUMBERS) end
    return onnx.tensor(name, dims, list, kind)
  end

  local MAKERS = {
    size = function() return { int = one_of(SIZES) } end, sizes = function() return { ints = some(SIZES) } end,
    number = function() return one_of(NUMBERS) end, numbers = function() return some(NUMBERS) end,
    word = function() return one_of(WORDS) end, words = function() return some(WORDS) end,
    tensor = function() return { tensor = tensor("").tensor } end,
  }

  local function attributes_of(operator)
    local attributes = with(USUAL[operator] or {}, {})
    if below(3) == 0 then
      local kind = one_of(KINDS)
      attributes[one_of(ATTRIBUTES[kind])] = MAKERS[kind]()
    end
    if below(8) == 0 and next(attributes) then attributes[one_of(text.sorted_keys(attributes))] = nil end
    return attributes
  end

  -- Numbers, columns and weights as operators take them, or others.
  local function tensors_of()
    local given = {
      number = onnx.tensor("number", {}, { one_of { 1, 2, -1 } }), row = onnx.tensor("row", { 2 }, { 1, 2 }),
      columns = onnx.tensor("columns", { 1 }, { below(3) - 1 }, onnx.INT64),
      one = onnx.tensor("one", { 1 }, { 1 }, onnx.INT64),
      both = onnx.tensor("both", { 2 }, { below(3), below(2) }, onnx.INT64),
      weights = onnx.tensor("weights", { 2, 2 }, { 1, 2, 3, 4 }), column = onnx.tensor("column", { 2, 1 }, { 1, 2 }),
    }
    local names, list = text.sorted_keys(given), {}
    for i, name in ipairs(names) do list[i] = below(6) == 0 and tensor(name) or given[name] end
    return names, list
  end

  local function inputs_of(operator, values, constants)
    local inputs, count = { below(8) == 0 and one_of(below(2) == 0 and values or constants) or values[#values] },
      INPUTS[operator] or 1
    if below(12) == 0 then count = below(4) end
    for k = 2, count do inputs[k] = one_of(below(5) == 0 and values or constants) end
    if below(12) == 0 then inputs[1], inputs[2] = inputs[2] or inputs[1], inputs[1] end
    return inputs
  end

  return function()
    local constants, tensors = tensors_of()
    local nodes, values, before, after = {}, { "x" }, below(3), below(4)
    for i = 1, before + 1 + after do
      local usual = i <= before and BEFORE or i == before + 1 and MODELS or AFTER
      local operator, output = one_of(below(12) == 0 and ALL or usual), i == before + 1 + after and "y" or "v" .. i
      nodes[i] = onnx.node(operator, inputs_of(operator, values, constants),
        operator:find "Classifier$" and { "label" .. i, output } or { output }, attributes_of(operator),
        OF_ML[operator] and "ai.onnx.ml" or nil)
      values[#values + 1] = output
    end
    local kind = below(8) == 0 and one_of { onnx.DOUBLE, onnx.INT64 } or onnx.FLOAT
    local inputs = { { "x", below(20) == 0 and one_of(SIZES) or 2, kind } }
    return onnx.model { nodes = nodes, tensors = tensors, inputs = inputs, outputs = { { "y", 1 } } }
  end
end
