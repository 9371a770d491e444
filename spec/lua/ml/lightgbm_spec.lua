-- Models of LightGBM: the same answers as its library; what they say of flows; what is refused.

local C = require "nfengine.lib"
local ffi = require "ffi"
local lightgbm = require "nfengine.ml.lightgbm"
local peers = require "spec.support.peers"

-- ---- against the library ----

peers.tests("lightgbm", {
  modules = "lightgbm, sklearn, pandas", count = 31, accuracy = 1e-12, -- both reckon in double precision
  in_flows = { "binary.txt", "categories.txt", "onehot.txt", "constant.txt" },
})

-- ---- by hand ----

local HEADER = [[
tree
version=v4
num_class=1
num_tree_per_iteration=1
label_index=0
max_feature_idx=1
objective=regression
feature_names=a b
feature_infos=[0:9] 0:1:2:40
tree_sizes=300

]]

-- Asks whether feature 0 is at most 2: -1 if so; else whether feature 1 is 1 or 40: 3 if so, else 5.
local TREE = [[
Tree=0
num_leaves=3
num_cat=1
split_feature=0 1
split_gain=1 1
threshold=2 0
decision_type=2 1
left_child=-1 -2
right_child=1 -3
leaf_value=-1 3 5
cat_boundaries=0 2
cat_threshold=2 256
is_linear=0
shrinkage=1


]]

local REST = "end of trees\n\nfeature_importances:\na=1\n\nparameters:\n[boosting: gbdt]\n%send of parameters\n\n%s"

local function file(changes)
  local given = { header = HEADER, tree = TREE, rest = REST:format("", "pandas_categorical:null\n") }
  for part, change in pairs(changes or {}) do
    local count
    given[part], count = given[part]:gsub(change[1], (change[2]:gsub("%%", "%%%%")))
    assert(count > 0, change[1])
  end
  return given.header .. given.tree .. given.rest
end

local function ask(content, ...)
  local model = lightgbm.read(content)
  local outputs, list = ffi.new("double[?]", model.made.output_count), {}
  C.nf_model_predict(model.made:finish(), ffi.new("double[2]", ...), 1, outputs)
  for k = 1, model.made.output_count do list[k] = outputs[k - 1] end
  return unpack(list)
end

describe("a file of LightGBM", function()
  it("is trees, of numbers and of categories", function()
    assert.equal(-1, ask(file(), 2, 1))
    assert.equal(3, ask(file(), 2.5, 1))
    assert.equal(3, ask(file(), 2.5, 40))
    for _, category in ipairs { 0, 2, 41, 1e10, -1, 0 / 0 } do assert.equal(5, ask(file(), 2.5, category)) end
  end)

  it("says node by node what absent features are", function()
    local function asked(decision, value)
      return ask(file { tree = { "decision_type=2", "decision_type=" .. decision } }, value, 1)
    end
    local NONE, ZERO, NAN, LEFT = 0, 4, 8, 2
    assert.equal(-1, asked(NONE, 0 / 0))
    assert.equal(3, asked(ZERO, 0 / 0))
    assert.equal(-1, asked(ZERO + LEFT, 0 / 0))
    assert.equal(3, asked(ZERO, 0))
    assert.equal(3, asked(ZERO, 1e-36))
    assert.equal(-1, asked(ZERO, 1e-34))
    assert.equal(3, asked(NAN, 0 / 0))
    assert.equal(-1, asked(NAN + LEFT, 0 / 0))
    assert.equal(-1, asked(NAN, 0))
  end)

  it("makes of sums what its objective says", function()
    local function asked(objective) return ask(file { header = { "objective=regression", objective } }, 3, 1) end
    assert.near(1 / (1 + math.exp(-6)), asked "objective=binary sigmoid:2", 1e-15)
    assert.equal(9, asked "objective=regression sqrt")
    assert.near(math.exp(3), asked "objective=tweedie", 1e-12)
    assert.near(math.log(1 + math.exp(3)), asked "objective=cross_entropy_lambda", 1e-12)
    assert.equal(3, asked "objective=custom")
    assert.equal(3, asked "objective=regression\naverage_output")
  end)

  it("gives sums where the objective was a program of its own", function()
    local header = HEADER:gsub("objective=[^\n]*\n", "")
    for _, told in ipairs { "custom", "none" } do
      assert.equal(3, ask(header .. TREE .. REST:format("[objective: " .. told .. "]\n", ""), 3, 1))
    end
    local ok, said = pcall(ask, header .. TREE .. REST:format("[objective: binary]\n", ""), 3, 1)
    assert.same({ false, "objective is nil, expected a value" }, { ok, said })
  end)

  it("gives classes trees by turns", function()
    local content = file { header = { "num_tree_per_iteration=1", "num_tree_per_iteration=2" } }
    content = content:gsub("end of trees", (TREE:gsub("Tree=0", "Tree=1") .. "%0"))
    assert.same({ 3, 3 }, { ask(content, 3, 1) })
    assert.equal("multiclass", lightgbm.read(content).task)
  end)

  it("has trees of one leaf", function()
    local leaf = "Tree=0\nnum_leaves=1\nnum_cat=0\nsplit_feature=\nleaf_value=4.25\n\n\n"
    assert.equal(4.25, ask(HEADER .. leaf .. REST:format("", ""), 3, 1))
  end)

  it("may have lines of another system", function()
    assert.equal(3, ask(file():gsub("\n", "\r\n"), 3, 1))
  end)

  it("has the categories that pandas had", function()
    local line = 'pandas_categorical:[["DNS", "Qu\\u00e9bec"]]\n'
    local function categories(told, infos)
      local rest = REST:format(told, line)
      return lightgbm.read(HEADER:gsub("feature_infos=[^\n]*", "feature_infos=" .. infos) .. TREE .. rest).categories
    end
    assert.same({ [2] = { "DNS", "Qu\195\169bec" } }, categories("", "[0:9] 0:1"))
    assert.same({ { "DNS", "Qu\195\169bec" } }, categories("[categorical_feature: 0]\n", "none none"))
    assert.same({}, categories("", "[0:9] [0:1]")) -- whose they are cannot be told
    assert.has_error(function() lightgbm.read(HEADER:gsub("feature_infos=", "feature_infos\n") .. TREE
      .. REST:format("", line)) end, "feature_infos is true, expected a value")
  end)
end)

local REFUSED = {
  { "tree", "Tree=0\n", "Tree=0\n" },
  { "header", "max_feature_idx=1", "max_feature_idx=-1", "^max_feature_idx is \"%-1\", expected an integer from 0" },
  { "header", "max_feature_idx=1", "max_feature_idx=2", "^2 names of features, expected 3$" },
  { "header", "num_tree_per_iteration=1", "num_tree_per_iteration=2",
    "^1 trees, expected some for each of 2 outputs by turns$" },
  { "tree", "Tree=.*", "", "^0 trees, expected some for each of 1 outputs by turns$" },
  { "header", "version=v4", "version=v2", '^version "v2", expected v3 or v4$' },
  { "header", "version=v4\n", "", "^version is nil, expected a value$" },
  { "header", "objective=regression", "objective", "^objective is true, expected a value$" },
  { "header", "num_tree_per_iteration=1\n", "", "^num_tree_per_iteration is nil, expected an integer from 1" },
  { "header", "feature_names=a b\n", "", "^feature_names is nil, expected a value$" },
  { "header", "objective=regression", "objective=other", '^objective "other", expected one of binary, cross' },
  { "header", "objective=regression", "objective=binary sigmoid:x", '^sigmoid "x", expected a number$' },
  { "tree", "is_linear=0", "is_linear=1", "^tree 0: linear models in leaves, expected linear_tree=false$" },
  { "tree", "num_leaves=3", "num_leaves=0", '^tree 0: num_leaves is "0", expected an integer from 1' },
  { "tree", "num_leaves=3", "num_leaves=4", "^tree 0: leaf_value has 3 numbers, expected 4$" },
  { "tree", "threshold=2 0", "threshold=2 x", '^tree 0: threshold has "x", expected numbers$' },
  { "tree", "threshold=2 0", "threshold=2", "^tree 0: threshold has 1 numbers, expected 2$" },
  { "tree", "threshold=2 0", "threshold=2 1", "^tree 0: node 1: no set 1 of its own$" },
  { "tree", "left_child=%-1", "left_child=0", "^tree 0: node 0 is reached twice$" },
  { "tree", "left_child=%-1", "left_child=-4", "^tree 0: node %-4 is not there$" },
  { "tree", "left_child=%-1", "left_child=0.5", "^tree 0: node 0.5 is not there$" },
  { "tree", "right_child=1", "right_child=7", "^tree 0: node 7 is not there$" },
  { "tree", "split_feature=0", "split_feature=2", "^node 0: feature 2, expected one below 2$" },
  { "tree", "cat_boundaries=0 2", "cat_boundaries=0 3", "^tree 0: cat_boundaries has 0 to 3, expected some of 2$" },
  { "tree", "cat_boundaries=0 2", "cat_boundaries=0", "^tree 0: cat_boundaries has 1 numbers, expected 2$" },
  { "tree", "split_feature=0", "split_feature=4294967296",
    "^tree 0: feature 4294967296, expected an integer from 0 to 65535$" },
  { "rest", "end of trees", "end", "^tree 0 has no end$" },
  { "rest", "null", "[1]", "^categories of feature 1, expected a list$" },
}

describe("what is no model of LightGBM", function()
  for _, case in ipairs(REFUSED) do
    local problem = case[4]
    it("is refused: " .. (problem or "but for what is one"), function()
      local ok, said = pcall(ask, file { [case[1]] = { case[2], case[3] } }, 3, 1)
      assert.equal(problem == nil, ok, said)
      if problem then assert.truthy(said:find(problem), said) end
    end)
  end
end)
