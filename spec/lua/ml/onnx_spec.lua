-- nfengine.ml.onnx: what the core makes of graphs is what onnxruntime and the libraries that trained them make of the
-- same rows, spec/support/ml_peers_onnx.py; other graphs are refused.

local ffi = require "ffi"
local ml = require "nfengine.ml"
local onnx = require "spec.support.onnx"
local peers = require "spec.support.peers"
local program = require "spec.support.program"
local read = require("nfengine.ml.onnx").read

local stump = onnx.stump

-- ---- asking ----

--- What a file says of rows.
local function answers(content, rows)
  local loaded = read(content)
  local handle, outputs = loaded.made:finish(), ffi.new("double[?]", loaded.made.output_count)
  local C, said = require "nfengine.lib", {}
  for i, row in ipairs(rows) do
    C.nf_model_predict(handle, ffi.new("double[?]", #row, row), 1, outputs)
    said[i] = {}
    for k = 1, loaded.made.output_count do said[i][k] = outputs[k - 1] end
  end
  return said, loaded
end

--- How far outputs are from answers, at worst: relatively for answers above 1. A column p of two classes stands for
-- 1 - p and p, and of -s and s a library may say s alone.
local function distance(model, path, ending)
  local rows, count = peers.read_rows(path .. ".rows.csv")
  local expected, _, width = peers.read_rows(path .. ending)
  local columns, worst = model.output_count, 0
  local got = ffi.new("double[?]", count * columns)
  model:predict(rows, count, got)
  for row = 0, count - 1 do
    for k = 0, width - 1 do
      local value = got[row * columns + k + (columns > width and 1 or 0)]
      if columns < width then value = k == 1 and got[row] or 1 - got[row] end
      local answer = expected[row * width + k]
      local far = math.abs(value - answer) / math.max(1, math.abs(answer))
      worst = far == far and math.max(worst, far) or 1 / 0
    end
  end
  return worst
end

--- Makes a maker's models.
-- @return the folder; a list of { name, how far onnxruntime's answers are from the library's, negative for none }
local function make(maker)
  local folder, lines = peers.make(maker, "ml_peers_onnx")
  local list = {}
  for i, line in ipairs(lines) do
    local name, far = line:match "^(%S+) (%S+)$"
    list[i] = { name, tonumber(far) }
  end
  return folder, list
end

local NEAR = 1e-6

describe("nfengine.ml.onnx, beside others' libraries", function()
  local missing = peers.missing "onnxruntime, skl2onnx, onnxmltools, xgboost, lightgbm"
  for maker, expected in pairs { sklearn = 46, boosters = 9, operators = 30 } do
    it("gives the answers of onnxruntime, and of what has trained: " .. maker, function()
      if missing then pending(missing) end
      local folder, list = make(maker)
      assert.equal(expected, #list)
      for _, each in ipairs(list) do
        local path = folder .. "/" .. each[1]
        local model = ml.load(path)
        local far = distance(model, path, ".answers.csv")
        assert.is_true(far <= NEAR, ("%s is %g from onnxruntime"):format(each[1], far))
        if each[2] >= 0 then
          far = distance(model, path, ".trained.csv")
          -- Where single precision takes onnxruntime itself further away, its graph does so with the core, too.
          local allowed = each[2] <= NEAR and NEAR or each[2] + NEAR
          assert.is_true(far <= allowed, ("%s is %g from what has trained it"):format(each[1], far))
        end
      end
      program.shell("rm -r " .. folder)
    end)
  end

  it("is as near to scikit-learn as onnxruntime is, for nearly all models", function()
    if missing then pending(missing) end
    local folder, list = make "sklearn"
    local far = {}
    for _, each in ipairs(list) do
      if each[2] > NEAR then far[#far + 1] = each[1] end
    end
    assert.is_true(#far <= 2, table.concat(far, " "))
    assert.equal("src_port", ml.load(folder .. "/columns.onnx").names[1])
    assert.same({ "Network", "Other" }, { unpack(ml.load(folder .. "/forest_many.onnx").classes, 1, 2) })
    program.shell("rm -r " .. folder)
  end)
end)

-- ---- graphs built here ----

local function linear(inputs, outputs)
  return onnx.node("LinearRegressor", inputs or { "x" }, outputs or { "y" }, { coefficients = { 2, 3 },
    intercepts = { 1 } }, "ai.onnx.ml")
end

local function refused(graph)
  local ok, problem = pcall(read, type(graph) == "string" and graph or onnx.model(graph))
  assert.is_false(ok)
  return problem
end

describe("nfengine.ml.onnx", function()
  it("reads trees", function()
    local said, loaded = answers(onnx.model { nodes = { stump() } }, { { 0, 5 }, { 0, 5.5 }, { 9, -1 }, { 0, 0 / 0 } })
    assert.same({ { 10 }, { 20 }, { 10 }, { 20 } }, said)
    assert.same({ "ONNX", "regression" }, { loaded.format, loaded.task })
  end)

  it("sends absent features where missing_value_tracks_true says", function()
    local content = onnx.model { nodes = { stump { nodes_missing_value_tracks_true = { ints = { 1, 0, 0 } } } } }
    assert.same({ { 10 } }, (answers(content, { { 0, 0 / 0 } })))
  end)

  it("compares in the precision of the input", function()
    local rows = { { 0, 5 + 1e-9 } }
    assert.same({ { 10 } }, (answers(onnx.model { nodes = { stump() } }, rows)))
    local inputs = { { "x", 2, onnx.DOUBLE } }
    assert.same({ { 20 } }, (answers(onnx.model { nodes = { stump() }, inputs = inputs }, rows)))
  end)

  it("fills, scales and shifts features before a model", function()
    local nodes = {
      onnx.node("Imputer", { "x" }, { "a" }, { imputed_value_floats = { 1, 2 }, replaced_value_float = 0 / 0 }),
      onnx.node("Scaler", { "a" }, { "b" }, { offset = { 1, 0 }, scale = { 0.5, 2 } }),
      onnx.node("Add", { "b", "by" }, { "c" }), linear { "c" },
    }
    local content = onnx.model { nodes = nodes, tensors = { onnx.tensor("by", { 2 }, { 10, 20 }) } }
    -- 2 * ((x1 - 1) / 2 + 10) + 3 * (2 * x2 + 20) + 1
    assert.same({ { 81 + 2 + 6 }, { 81 + 12 } }, (answers(content, { { 3, 1 }, { 0 / 0, 0 / 0 } })))
  end)

  it("takes one input a feature, by its name", function()
    local nodes = { onnx.node("Concat", { "b", "a" }, { "ab" }, { axis = { int = 1 } }), linear { "ab" } }
    local content = onnx.model { nodes = nodes, inputs = { { "a", 1 }, { "b", 1 } } }
    local said, loaded = answers(content, { { 100, 10 } })
    assert.same({ { 321 } }, said)
    assert.same({ "a", "b" }, loaded.names)
  end)

  it("picks columns", function()
    local index = onnx.tensor("index", { 2 }, { 2, 0 }, onnx.INT64)
    local nodes = { onnx.node("ArrayFeatureExtractor", { "x", "index" }, { "some" }), linear { "some" } }
    local content = onnx.model { nodes = nodes, tensors = { index }, inputs = { { "x", 3 } } }
    assert.same({ { 2 * 30 + 3 * 10 + 1 } }, (answers(content, { { 10, 20, 30 } })))
  end)

  it("takes rows of zeros for even ones, where the graph has a guard for them", function()
    local scalar = function(name, value) return onnx.tensor(name, {}, { value }) end
    local nodes = {
      onnx.node("MatMul", { "x", "w" }, { "s" }), onnx.node("Mul", { "s", "minus" }, { "n" }),
      onnx.node("Exp", { "n" }, { "e" }), onnx.node("Add", { "e", "one" }, { "d" }),
      onnx.node("Reciprocal", { "d" }, { "p" }),
      onnx.node("ReduceSum", { "p", "axis" }, { "t" }), onnx.node("Cast", { "t" }, { "some" }, { to = { int = 9 } }),
      onnx.node("Not", { "some" }, { "none" }), onnx.node("Cast", { "none" }, { "guard" }, { to = { int = 1 } }),
      onnx.node("Add", { "p", "guard" }, { "q" }), onnx.node("Mul", { "guard", "two" }, { "mask" }),
      onnx.node("Add", { "t", "mask" }, { "u" }), onnx.node("Div", { "q", "u" }, { "y" }),
    }
    local tensors = {
      onnx.tensor("w", { 2, 2 }, { 1, 0, 0, 1 }), scalar("minus", -1), scalar("one", 1), scalar("two", 2),
      onnx.tensor("axis", { 1 }, { 1 }, onnx.INT64),
    }
    local content = onnx.model { nodes = nodes, tensors = tensors, outputs = { { "y", 2 } } }
    local said = answers(content, { { 0, 0 }, { 0, -1e9 }, { -1e9, -1e9 } })
    assert.same({ { 0.5, 0.5 }, { 1, 0 }, { 0.5, 0.5 } }, said)
  end)

  it("takes the sum of a pair for 1, as it is", function()
    local nodes = {
      linear(nil, { "s" }), onnx.node("Sigmoid", { "s" }, { "p" }), onnx.node("Sub", { "one", "p" }, { "q" }),
      onnx.node("Concat", { "q", "p" }, { "pair" }, { axis = { int = 1 } }),
      onnx.node("ReduceSum", { "pair", "axis" }, { "t" }), onnx.node("Div", { "pair", "t" }, { "y" }),
    }
    local tensors = { onnx.tensor("one", {}, { 1 }), onnx.tensor("axis", { 1 }, { 1 }, onnx.INT64) }
    local p = answers(onnx.model { nodes = nodes, tensors = tensors, outputs = { { "y", 2 } } }, { { -1, -1 } })[1][1]
    assert.near(1 / (1 + math.exp(4)), p, 1e-12)
    nodes[5], nodes[6] = nil, nil
    nodes[5] = onnx.node("Normalizer", { "pair" }, { "y" }, { norm = "L1" }, "ai.onnx.ml")
    assert.same({ { p } }, (answers(onnx.model { nodes = nodes, tensors = tensors }, { { -1, -1 } })))
  end)

  it("takes a column of weights, and exponents of sums", function()
    local nodes = { onnx.node("MatMul", { "x", "w" }, { "s" }), onnx.node("Add", { "s", "b" }, { "t" }),
      onnx.node("Exp", { "t" }, { "y" }) }
    local tensors = { onnx.tensor("w", { 2 }, { 0.5, -1 }), onnx.tensor("b", { 1 }, { 0.25 }) }
    assert.near(math.exp(1 - 3 + 0.25), answers(onnx.model { nodes = nodes, tensors = tensors }, { { 2, 3 } })[1][1],
      1e-12)
  end)

  it("makes two scores of one that is no probability", function()
    local classifier = onnx.node("LinearClassifier", { "x" }, { "label", "two" }, { coefficients = { -1, 0, 1, 0 },
      intercepts = { 0, 0 }, classlabels_ints = { ints = { 4, 6 } } }, "ai.onnx.ml")
    local pick = onnx.node("ArrayFeatureExtractor", { "two", "second" }, { "y" })
    local content = onnx.model { nodes = { classifier, pick },
      tensors = { onnx.tensor("second", {}, { 1 }, onnx.INT64) },
      outputs = { { "label", nil, onnx.INT64 }, { "y", 1 } } }
    local said, loaded = answers(content, { { 0.25, 0 } })
    assert.same({ { -0.25, 0.25 } }, said)
    assert.same({ "binary", { "4", "6" } }, { loaded.task, loaded.classes })
  end)

  for message, graph in pairs {
    ['operator "Conv"; engine = "onnxruntime" takes any model'] =
      { nodes = { onnx.node("Conv", { "x" }, { "z" }), linear { "z" } } },
    ['operator "LinearRegressor"; engine = "onnxruntime" takes any model'] =
      { nodes = { onnx.node("LinearRegressor", { "x" }, { "y" }, {}, "com.example") } },
    ['operator LinearRegressor: 2 coefficients, expected 3; engine = "onnxruntime" takes any model'] =
      { nodes = { linear() }, inputs = { { "x", 3 } } },
    ['operator TreeEnsembleRegressor: aggregate_function "MAX", expected SUM or AVERAGE; engine = "onnxruntime" takes '
      .. 'any model'] = { nodes = { stump { aggregate_function = "MAX" } } },
    ['operator Mul: features that are scaled more than once; engine = "onnxruntime" takes any model'] = {
      nodes = { onnx.node("Mul", { "x", "c" }, { "z" }), onnx.node("Mul", { "z", "c" }, { "v" }), linear { "v" } },
      tensors = { onnx.tensor("c", {}, { 2 }) } },
    ['operator MatMul: a tensor of a dimension of 0, expected 1 or more; engine = "onnxruntime" takes any model'] =
      { nodes = { onnx.node("MatMul", { "x", "w" }, { "y" }) }, tensors = { onnx.tensor("w", { 0, 2^53 }, {}) } },
    ['operator ArrayFeatureExtractor: a tensor of a dimension of 0, expected 1 or more; engine = "onnxruntime" takes '
      .. 'any model'] = { nodes = { onnx.node("ArrayFeatureExtractor", { "x", "i" }, { "z" }), linear { "z" } },
      tensors = { onnx.tensor("i", { 0 }, {}, onnx.INT64) } },
    ['operator Add: 2 numbers for 1 columns; engine = "onnxruntime" takes any model'] = {
      nodes = { linear(nil, { "s" }), onnx.node("Add", { "s", "c" }, { "y" }) },
      tensors = { onnx.tensor("c", { 2 }, { 1, 2 }) } },
    ['operator Sub: 2 numbers for 2 columns; engine = "onnxruntime" takes any model'] = {
      nodes = { onnx.node("Sub", { "x", "c" }, { "z" }), linear { "z" } },
      tensors = { onnx.tensor("c", { 2, 1 }, { 1, 2 }) } },
    ['operator Div: scores and total; engine = "onnxruntime" takes any model'] = { -- of scores, not of their sizes
      nodes = { onnx.node("MatMul", { "x", "w" }, { "s" }), onnx.node("ReduceSum", { "s", "axis" }, { "t" }),
        onnx.node("Div", { "s", "t" }, { "y" }) },
      tensors = { onnx.tensor("w", { 2, 2 }, { 1, 2, 3, 4 }), onnx.tensor("axis", { 1 }, { 1 }, onnx.INT64) } },
    ['operator Concat: columns of different models; engine = "onnxruntime" takes any model'] = { -- 1 - p and s
      nodes = { linear(nil, { "s" }), onnx.node("Sigmoid", { "s" }, { "p" }),
        onnx.node("Sub", { "one", "p" }, { "q" }), onnx.node("Concat", { "q", "s" }, { "y" }, { axis = { int = 1 } }) },
      tensors = { onnx.tensor("one", {}, { 1 }) } },
    ['operator LinearRegressor: a post_transform of one target; engine = "onnxruntime" takes any model'] = {
      nodes = { onnx.node("LinearRegressor", { "x" }, { "y" }, { coefficients = { 2, 3 }, intercepts = { 1 },
        post_transform = "LOGISTIC" }, "ai.onnx.ml") } },
    ['operator TreeEnsembleRegressor: leaf 1 of tree 0 has two values of output 0; engine = "onnxruntime" takes any '
      .. 'model'] = { nodes = { stump { target_nodeids = { ints = { 1, 1 } } } } },
    ['operator TreeEnsembleRegressor: leaves without a value of output 1, which has a base; engine = "onnxruntime" '
      .. 'takes any model'] = { nodes = { stump { n_targets = { int = 2 }, base_values = { 0, 5 } } } },
    ['an output of 1 columns for 3 classes, expected all of them'] = {
      nodes = { linear(nil, { "s" }), onnx.node("ZipMap", { "s" }, { "y" },
        { classlabels_int64s = { ints = { 1, 2, 3 } } }, "ai.onnx.ml") } },
    ['the output is half of a formula, expected what makes probabilities of scores; engine = "onnxruntime" takes any '
      .. 'model'] = { nodes = { linear(nil, { "s" }), onnx.node("Exp", { "s" }, { "e" }),
        onnx.node("Add", { "e", "one" }, { "y" }) }, tensors = { onnx.tensor("one", {}, { 1 }) } },
    ['value "z" is not there'] = { nodes = { linear { "z" } } },
    ['value "y" is made twice'] = { nodes = { linear(), linear() } },
    ['input "x": expected rows of numbers, of 1 to 65536 features'] =
      { nodes = { linear() }, inputs = { { "x", 2, onnx.STRING } } },
    ["a graph without an output of real numbers"] = { nodes = { linear() }, outputs = { { "y", 1, onnx.INT64 } } },
    ["a graph without inputs"] = { nodes = { linear() }, inputs = {} },
    ['the output is features, expected what trees or weights make; engine = "onnxruntime" takes any model'] =
      { nodes = { onnx.node("Identity", { "x" }, { "y" }) } },
    ['node 2 is reached twice; engine = "onnxruntime" takes any model'] =
      { nodes = { stump { nodes_falsenodeids = { ints = { 1, 0, 0 } } } } },
    ['node 1 is reached twice; engine = "onnxruntime" takes any model'] =
      { nodes = { stump { nodes_falsenodeids = { ints = { 0, 0, 0 } } } } },
    ["node 1 of feature 2"] = { nodes = { stump { nodes_featureids = { ints = { 2, 0, 0 } } } } },
    ["node 7 of tree 0 is not there"] = { nodes = { stump { nodes_falsenodeids = { ints = { 7, 0, 0 } } } } },
    ['operator TreeEnsembleRegressor: 2 nodes_values, expected 3; engine = "onnxruntime" takes any model'] =
      { nodes = { stump { nodes_values = { 5, 0 } } } },
    ['operator TreeEnsembleRegressor: a leaf of output 3, expected one below 1; engine = "onnxruntime" takes any '
      .. 'model'] = { nodes = { stump { target_ids = { ints = { 0, 3 } } } } },
  } do
    it("refuses a graph: " .. message, function() assert.equal("ONNX: " .. message, refused(graph)) end)
  end

  it("refuses values that are made of one another", function()
    local nodes = { onnx.node("Add", { "b", "x" }, { "a" }), onnx.node("Add", { "a", "x" }, { "b" }), linear { "a" } }
    assert.matches('value "a" is made of itself', refused { nodes = nodes }, 1, true)
  end)

  it("refuses graphs that are long or double themselves", function()
    local long, wide = {}, { linear(nil, { "v0" }) }
    for i = 1, 100000 do long[i] = onnx.node("Identity", { i == 1 and "x" or "v" .. i - 1 }, { "v" .. i }) end
    long[#long + 1] = linear { "v100000" }
    assert.matches("more than 200 operators behind one another", refused { nodes = long }, 1, true)
    for i = 1, 60 do
      local before = "v" .. i - 1
      wide[i + 1] = onnx.node("Concat", { before, before }, { i == 60 and "y" or "v" .. i })
    end
    assert.matches("a graph that repeats itself too often", refused { nodes = wide }, 1, true)
    local features = {}
    for i = 1, 40 do
      local before = i == 1 and "x" or "v" .. i - 1
      features[i] = onnx.node("Concat", { before, before }, { "v" .. i })
    end
    features[#features + 1] = linear { "v40" }
    assert.matches("a graph that repeats itself too often", refused { nodes = features }, 1, true)
  end)

  it("refuses what is no model in one line", function()
    for content, message in pairs {
      [""] = "ONNX: no graph", ["\8\7"] = "ONNX: no graph", ["\58\0"] = "ONNX: a graph without inputs",
      ["\58\255\255\255\255\127"] = "ONNX: Protocol Buffers at byte 7: a length beyond the end",
    } do
      assert.equal(message, refused(content))
    end
  end)
end)
