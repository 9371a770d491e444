-- Models of XGBoost: the same answers as its library, of the version that `make peers` brings and of Debian's; what
-- they say of flows; what is refused.

local ffi = require "ffi"
local cjson = require "cjson"
local peers = require "spec.support.peers"
local xgboost = require "nfengine.ml.xgboost"

-- ---- against the library ----

local ACCURACY = 1e-6 -- the library reckons in single precision, links included

peers.tests("xgboost", {
  modules = "xgboost, sklearn, pandas", count = 37, accuracy = ACCURACY,
  in_flows = { "binary.ubj", "softmax.json", "stump.json", "partition.json" },
})
peers.tests("debian_xgboost", {
  modules = 'ctypes, pandas; ctypes.CDLL("libxgboost.so.0")', count = 8, accuracy = ACCURACY, in_flows = {},
})

-- ---- by hand ----

-- Asks whether feature 0 is below 2: -1 if so or if it is absent, else 3.
local function tree(changes)
  local given = {
    left_children = { 1, -1, -1 }, right_children = { 2, -1, -1 }, split_indices = { 0, 0, 0 },
    split_conditions = { 2, -1, 3 }, default_left = { 1, 0, 0 }, split_type = { 0, 0, 0 },
    categories = {}, categories_nodes = {}, categories_segments = {}, categories_sizes = {},
    tree_param = { size_leaf_vector = "1" },
  }
  for key, value in pairs(changes or {}) do given[key] = value end
  return given
end

local function learner(trees, changes)
  local info = {}
  for i = 1, #trees do info[i] = 0 end
  local given = {
    attributes = {}, feature_names = { "a", "b" }, feature_types = { "float", "float" },
    gradient_booster = { name = "gbtree", model = {
      gbtree_model_param = { num_parallel_tree = "1", num_trees = tostring(#trees) }, trees = trees, tree_info = info,
    } },
    learner_model_param = { base_score = "5E-1", num_class = "0", num_feature = "2", num_target = "1" },
    objective = { name = "reg:squarederror" },
  }
  for key, value in pairs(changes or {}) do given[key] = value end
  return given
end

local function read(given) return xgboost.read(cjson.encode { learner = given, version = { 2, 0, 0 } }) end

local function ask(given, ...)
  local model, outputs = read(given), {}
  local row, got = ffi.new("double[?]", select("#", ...), ...), ffi.new("double[?]", model.made.output_count)
  require("nfengine.lib").nf_model_predict(model.made:finish(), row, 1, got)
  for k = 1, model.made.output_count do outputs[k] = got[k - 1] end
  return outputs
end

describe("a file of XGBoost", function()
  it("is trees, which are added to the base score", function()
    assert.same({ -0.5 }, ask(learner { tree() }, 1, 0))
    assert.same({ 3.5 }, ask(learner { tree() }, 2, 0))
    assert.same({ 6.5 }, ask(learner { tree(), tree() }, 2, 0))
  end)

  it("says where absent features go", function()
    assert.same({ -0.5 }, ask(learner { tree() }, 0 / 0, 0))
    assert.same({ 3.5 }, ask(learner { tree { default_left = { false, false, false } } }, 0 / 0, 0))
  end)

  it("has a base score for each output, or one for all", function()
    local two = { num_class = "2", num_feature = "2" }
    local function raw(base)
      two.base_score = base
      local given = learner({ tree() }, { learner_model_param = two, objective = { name = "reg:squarederror" } })
      return ask(given, 1, 0)
    end
    assert.same({ 0, 1 }, raw "1E0")
    assert.same({ 0, 1 }, raw "[1E0]")
    assert.same({ 0, 4 }, raw "[1E0,4E0]")
  end)

  it("begins with no probability that is certain, as the library does", function()
    local function margin(base)
      local p = ask(learner({ tree { split_conditions = { 2, 0, 0 } } }, { objective = { name = "binary:logistic" },
        learner_model_param = { base_score = base, num_feature = "2" } }), 1, 0)[1]
      return math.log(p / (1 - p))
    end
    for base, answer in pairs { ["0"] = -13.8155098, ["1E-12"] = -13.8155098, ["1E0"] = 13.7451601,
      ["1.1E-6"] = -13.7201996, ["9.9999E-1"] = 11.5115681, ["5E-1"] = 0 } do
      assert.near(answer, margin(base), 1e-6)
    end
  end)

  it("counts trees up to the best iteration", function()
    local given = learner({ tree(), tree(), tree() }, { attributes = { best_iteration = "1" } })
    assert.same({ 6.5 }, ask(given, 2, 0))
    given.gradient_booster.model.iteration_indptr = { 0, 1, 1, 3 }
    assert.same({ 3.5 }, ask(given, 2, 0))
    given.gradient_booster.model.iteration_indptr = nil
    given.gradient_booster.model.gbtree_model_param.num_parallel_tree = "2"
    assert.same({ 9.5 }, ask(given, 2, 0))
  end)

  it("sends categories of a set to the right", function()
    local given = learner { tree {
      split_type = { 1, 0, 0 }, categories = { 1, 33, 2^24 - 1 }, categories_nodes = { 0 },
      categories_segments = { 0 }, categories_sizes = { 3 },
    } }
    for _, category in ipairs { 1, 33, 2^24 - 1 } do assert.same({ 3.5 }, ask(given, category, 0)) end
    for _, category in ipairs { 0, 2, 34, -1, 2^24 - 2, 1e9, 0 / 0 } do
      assert.same({ -0.5 }, ask(given, category, 0))
    end
  end)

  it("has the texts and the numbers that categories are", function()
    local given = learner { tree() }
    given.gradient_booster.model.cats = { enc = {
      { offsets = { 0, 3, 6 }, values = { 68, 78, 83, 99, -61, -87 } }, { type = 15, values = { 53, 443 } },
    } }
    assert.same({ { "DNS", "c\195\169" }, { 53, 443 } }, read(given).categories)
  end)

  it("says what kind of answer it gives", function()
    local function task(objective, parameters)
      parameters.num_feature, parameters.base_score = 2, 0.5
      return read(learner({ tree() }, { learner_model_param = parameters, objective = { name = objective } })).task
    end
    assert.equal("binary", task("binary:logistic", {}))
    assert.equal("regression", task("binary:logistic", { num_target = 2 }))
    assert.equal("multiclass", task("multi:softprob", { num_class = 3 }))
    assert.equal("regression", task("reg:gamma", {}))
  end)
end)

local REFUSED = {
  { function() end, nil },
  { function(l)
    l.gradient_booster.model.cats = { enc = { { offsets = { 0, 1 }, values = { 300 } } } }
  end, "^1 is 300, expected an integer from %-128 to 255$" },
  { function(l) l.objective.name = "reg:mine" end, '^objective "reg:mine", expected one of binary:hinge, ' },
  { function(l) l.objective = 3 end, "^objective is 3, expected a table$" },
  { function(l) l.gradient_booster.name = "tree" end, '^booster "tree", expected gbtree, dart or gblinear$' },
  { function(l) l.learner_model_param.base_score = "[a]" end, '^base_score is "%[a%]", expected numbers$' },
  { function(l) l.learner_model_param.base_score = "[1,2]" end, "^base_score has 2 numbers, expected 1 or 1$" },
  { function(l) l.learner_model_param.base_score = nil end, "^base_score is nil, expected numbers$" },
  { function(l) l.learner_model_param.num_feature = "0" end, "^num_feature is 0, expected an integer from 1" },
  { function(l) l.learner_model_param.num_class = "1e9" end, "^num_class is 1000000000, expected an integer from 0" },
  { function(l) l.feature_names = { "a" } end, "^1 names of features, expected 2$" },
  { function(l) l.gradient_booster.model.trees = {} end, "^no trees, expected a trained model$" },
  { function(l) l.gradient_booster.model.tree_info = {} end, "^tree 0 of no output or weight$" },
  { function(l) l.attributes.best_iteration = "7" end, "^best_iteration is 7, expected an integer from 0 to 1$" },
  { function(_, t) t.tree_param.size_leaf_vector = "3" end, "^leaves of 3 outputs, expected multi_strategy" },
  { function(_, t) t.left_children = nil end, "^tree 0: left_children is nil, expected a table$" },
  { function(_, t) t.left_children[1] = 0 end, "^tree 0: node 0 is reached twice$" },
  { function(_, t) t.right_children[1] = 1 end, "^tree 0: node 1 is reached twice$" },
  { function(_, t) t.right_children[1] = 9 end, "^tree 0: node 9 is not there$" },
  { function(_, t) t.right_children[1] = "x" end, '^tree 0: no "x", expected a number$' },
  { function(_, t) t.split_conditions[1] = "x" end, "^tree 0: node 0 is not there$" },
  { function(_, t) t.split_indices[1] = 2 end, "^node 0: feature 2, expected one below 2$" },
  { function(_, t) t.split_indices[1] = "x" end, '^tree 0: feature "x", expected an integer from 0 to 65535$' },
  { function(_, t) t.split_indices[1] = 2^32 end, "^tree 0: feature 4294967296, expected an integer from 0 to 65535$" },
  { function(_, t) t.split_indices[1] = 0.5 end, "^tree 0: feature 0.5, expected an integer from 0 to 65535$" },
  { function(l) l.gradient_booster.model.tree_info[1] = 2^32 end,
    "^tree 0: output 4294967296, expected an integer from 0 to 65535$" },
  { function(l) l.gradient_booster.model.cats = { enc = { 7 } } end, "^categories of feature 0, expected a table$" },
  { function(l) l.learner_model_param.base_score = "nan" end, '^base_score is "nan", expected finite numbers$' },
  { function(l) l.learner_model_param.base_score = "[1e999]" end, "^base_score is .*, expected finite numbers$" },
  { function(l) l.objective.name, l.learner_model_param.base_score = "binary:logistic", "-5" end,
    '^base_score is "%-5", expected 0 to 1$' },
  { function(l) l.objective.name, l.learner_model_param.base_score = "count:poisson", "-5" end,
    '^base_score is "%-5", expected 0 to inf$' },
  { function(l) l.gradient_booster.model.tree_info[1] = 1 end, "^node 1: a value of output 1, expected one below 1$" },
  { function(_, t) t.categories_nodes, t.categories_segments, t.categories_sizes = { 0 }, { 0 }, { 1 } end,
    "^tree 0: categories of node 0, expected some of 0$" },
  { function(_, t)
    t.categories_nodes, t.categories_segments, t.categories_sizes, t.categories = { 0 }, { 0 }, { 1 }, { -1 }
  end, "^tree 0: category %-1, expected an integer from 0 to 16777215$" },
  { function(_, t)
    t.categories_nodes, t.categories_segments, t.categories_sizes, t.categories = { 0 }, { 0 }, { 1 }, { 2^24 }
  end, "^tree 0: category 16777216, expected an integer from 0 to 16777215$" },
  { function(l)
    l.gradient_booster.model.cats = { enc = { { offsets = { 0, 2, 1 }, values = { 65, 66 } } } }
  end, "^3 is 1, expected an integer from 2 to 2$" },
  { function(l) l.gradient_booster = { name = "gblinear", model = { weights = { 1, 2 } } } end,
    "^2 weights, expected 3$" },
  { function(l) l.gradient_booster = { name = "gblinear", model = { weights = { 1, "a", 2 } } } end,
    '^2 is "a", expected a number$' },
}

describe("what is no model of XGBoost", function()
  for _, case in ipairs(REFUSED) do
    it("is refused: " .. (case[2] or "but for what is one"), function()
      local one = tree()
      local given = learner { one }
      case[1](given, one)
      local ok, problem = pcall(ask, given, 1, 0)
      assert.equal(case[2] == nil, ok)
      if case[2] then assert.truthy(problem:find(case[2]), problem) end
    end)
  end

  it("is refused: other bytes", function()
    for content, problem in pairs {
      ['{"a'] = "^no model of XGBoost: Expected", ['{"a":1}'] = "^learner is nil, expected a table$",
      ["{}"] = "^learner is nil", ["[]"] = "^learner is nil",
      ["{L"] = "^no model of XGBoost: UBJSON at byte 2: ends within a value$",
    } do
      local ok, said = pcall(xgboost.read, content)
      assert.is_false(ok)
      assert.truthy(said:find(problem), said)
    end
  end)
end)
