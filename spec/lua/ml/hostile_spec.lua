-- Model files of which nobody knows who made them, of every format that is read without a library. Those that somebody
-- has changed, and graphs that nobody would write, thousands of them: each is refused in one line, or it loads and
-- answers, within limits of time and memory. And those that grow: they take time and memory as they have bytes.

local lfs = require "nfengine.lfs"
local onnx = require "spec.support.onnx"
local program = require "spec.support.program"

-- ---- files of ONNX ----

local function classifier()
  local nodes = {
    onnx.node("Imputer", { "x" }, { "f" }, { imputed_value_floats = { 1, 2 }, replaced_value_float = 0 / 0 }),
    onnx.node("Scaler", { "f" }, { "z" }, { offset = { 1, 0 }, scale = { 0.5, 2 } }), onnx.stump_classifier "z",
    onnx.node("ZipMap", { "p" }, { "y" }, { classlabels_strings = { "a", "b" } }, "ai.onnx.ml"),
  }
  return onnx.model { nodes = nodes, outputs = { { "label", nil, onnx.STRING }, { "y", 2 } } }
end

local function gemm()
  local nodes = { onnx.node("Gemm", { "x", "w", "b" }, { "s" }), onnx.node("Softmax", { "s" }, { "y" }) }
  return onnx.model { nodes = nodes, outputs = { { "y", 2 } },
    tensors = { onnx.tensor("w", { 2, 2 }, { 1, 2, 3, 4 }), onnx.tensor("b", { 2 }, { 1, 2 }) } }
end

-- ---- changed ----

-- What the process does with files, of a seed so many: prints a line for each that it did not stand.
local CHILD = [[
package.path = "./lua/?.lua;./lua/?/init.lua;./?.lua;" .. package.path
local ffi, ml, text = require "ffi", require "nfengine.ml", require "nfengine.text"
local seed, count, changed = tonumber(arg[1]), tonumber(arg[2]), arg[3]
local loaded, next_file = 0, nil
if arg[4] then
  local mutate, original = require "spec.support.mutation" (seed), assert(io.open(arg[4], "rb")):read "*a"
  function next_file() return mutate(original) end
else
  next_file = require "spec.support.graphs" (seed)
end
for i = 1, count do
  local file = assert(io.open(changed, "wb"))
  file:write(next_file())
  file:close()
  local began = os.clock()
  local ok, model = pcall(ml.load, changed)
  if ok then
    local row, outputs = ffi.new("double[?]", model.feature_count), ffi.new("double[?]", model.output_count)
    for k = 0, model.feature_count - 1 do row[k] = (k * 37 + i) % 100 end
    row[0] = i % 3 == 0 and 0 / 0 or i % 3 == 1 and 1e300 or row[0]
    model:predict(row, 1, outputs)
    model:verdict(outputs)
    loaded = loaded + 1
  elseif type(model) ~= "string" or model:find "\n" or not model:find('^model "') then
    print("not one line: " .. text.raised(model))
  elseif model:find "%.lua:%d" or model:find "attempt to" or model:find "bad argument" then
    print("not in our words: " .. model)
  end
  if os.clock() - began > 2 then print(("file %d of seed %d took %g s"):format(i, seed, os.clock() - began)) end
end
io.stderr:write(loaded, "\n")
]]

local MODELS = { "samples/model.txt", "spec/lua/ml/models/categories.txt", "spec/lua/ml/models/categories.json",
  "spec/lua/ml/models/categories.ubj", "spec/lua/ml/models/dart.json", "spec/lua/ml/models/linear.json",
  { "trees, ONNX", onnx.model { nodes = { onnx.stump() } } }, { "classifier, ONNX", classifier() },
  { "layer, ONNX", gemm() } }

local MUTATIONS, MEMORY_KB = 4000, 2 * 1024 * 1024

--- Gives the process files of a seed, and expects it to stand them.
-- @param original the file whose changes they are; nil for graphs
-- @return how many it could load
local function give(seed, count, memory_kb, original)
  local script, changed = program.write(CHILD, ".lua"), program.temporary()
  local result = program.shell(("ulimit -v %d; timeout 120 luajit %s %d %d %s %s")
    :format(memory_kb, script, seed, count, changed, original or ""))
  assert.same({ status = 0, out = "" }, { status = result.status, out = result.out }, result.err)
  return tonumber(result.err)
end

describe("a model file that somebody has changed", function()
  after_each(program.remove_temporaries)

  for seed, model in ipairs(MODELS) do
    it("is refused in one line, or loads: " .. (model[1] or model), function()
      local path = model[2] and program.write(model[2], ".onnx") or model
      local loaded = give(seed, MUTATIONS, MEMORY_KB, path)
      assert.is_true(loaded > MUTATIONS / 100 and loaded < MUTATIONS / 2, loaded)
    end)
  end
end)

-- ---- graphs ----

local GRAPHS, GRAPHS_KB = 8000, 512 * 1024

describe("a graph that nobody would write", function()
  after_each(program.remove_temporaries)

  it("is refused in one line, or loads", function()
    local loaded = give(1, GRAPHS, GRAPHS_KB)
    assert.is_true(loaded > GRAPHS / 100 and loaded < GRAPHS / 2, loaded)
  end)
end)

-- ---- growing ----

-- Prints the seconds that loading takes, of the fastest of three times, and the kilobytes that the first one needs.
local MEASURE = [[
package.path = "./lua/?.lua;./lua/?/init.lua;./?.lua;" .. package.path
local ml = require "nfengine.ml"
local function peak() return tonumber(io.open "/proc/self/status":read "*a":match "VmHWM:%s*(%d+)") end
for _, path in ipairs { "samples/model.txt", "spec/lua/ml/models/linear.json" } do ml.load(path) end -- their readers
pcall(ml.load, arg[2]) -- and that of ONNX
local before, fastest, growth = peak(), math.huge, nil
for _ = 1, 3 do
  collectgarbage()
  local began = os.clock()
  local ok, problem = pcall(ml.load, arg[1])
  fastest = math.min(fastest, os.clock() - began)
  growth = growth or peak() - before
  io.stderr:write(ok and "" or problem)
end
print(fastest, growth)
]]

local function list(count, word_of)
  local words = {}
  for i = 0, count - 1 do words[i + 1] = type(word_of) == "function" and word_of(i) or word_of end
  return words
end

local function words(count, word_of, separator) return table.concat(list(count, word_of), separator or ",") end

-- A complete tree of so many nodes that compare, and leaves behind them, as XGBoost's JSON, and more of the tree.
local function booster(splits, more, cats)
  local nodes = 2 * splits + 1
  local function below(by) return words(nodes, function(i) return i < splits and 2 * i + by or -1 end) end
  return ([[{"learner": {"attributes": {}, "gradient_booster": {"name": "gbtree", "model": {"gbtree_model_param": {},
    "tree_info": [0], "trees": [{"left_children": [%s], "right_children": [%s], "split_indices": [%s],
    "split_conditions": [%s], "default_left": [%s], "tree_param": {}%s}]%s}}, "learner_model_param": {"base_score":
    "0", "num_feature": "2"}, "objective": {"name": "reg:squarederror"}}}]]):format(below(1), below(2),
    words(nodes, "0"), words(nodes, "1"), words(nodes, "0"), more or "", cats or "")
end

-- The largest category that there may be, at each node.
local function categories(splits)
  return booster(splits, (', "categories_nodes": [%s], "categories_segments": [%s], "categories_sizes": [%s], '
    .. '"categories": [%s]'):format(words(splits, tostring), words(splits, tostring), words(splits, "1"),
    words(splits, tostring(2 ^ 24 - 1))))
end

-- Texts of categories each of which would be nearly all the bytes.
local function texts(size)
  local offsets = words(size, function(i) return i % 2 == 0 and i or size - i end)
  return booster(1, nil, (', "cats": {"enc": [{"offsets": [%s], "values": [%s]}]}'):format(offsets, words(size, "65")))
end

local function lightgbm(trees)
  return "tree\nversion=v4\nobjective=regression\nmax_feature_idx=0\nnum_tree_per_iteration=1\nfeature_names=a\n\n"
    .. trees .. "end of trees\n"
end

local function leaves(count)
  return lightgbm(words(count, "Tree=0\nnum_leaves=1\nleaf_value=1\n\n", ""))
end

-- One set of all categories that words have bits for.
local function bits(count)
  return lightgbm(("Tree=0\nnum_leaves=2\nnum_cat=1\nsplit_feature=0\nthreshold=0\ndecision_type=1\nleft_child=-1\n"
    .. "right_child=-2\nleaf_value=1 2\ncat_boundaries=0 %d\ncat_threshold=%s\n\n"):format(count,
    words(count, "-1", " ")))
end

-- A leaf of so many targets.
local function values(count)
  local zeros, ones = { ints = list(count, 0) }, list(count, 1)
  local targets = { ints = list(count, function(i) return i end) }
  return onnx.model { nodes = { onnx.stump { target_treeids = zeros, target_nodeids = { ints = ones },
    target_ids = targets, target_weights = ones, n_targets = { int = count } } } }
end

-- Trees of a leaf each: a node of x to y.
local function leaves_alone(count)
  local zeros, nothing = { ints = list(count, 0) }, list(count, 0)
  local numbers = { ints = list(count, function(i) return i end) }
  return onnx.stump { nodes_treeids = numbers, nodes_nodeids = zeros, nodes_values = nothing, nodes_featureids = zeros,
    nodes_modes = list(count, "LEAF"), nodes_truenodeids = zeros, nodes_falsenodeids = zeros, target_treeids = numbers,
    target_nodeids = zeros, target_ids = zeros, target_weights = nothing }
end

local function stumps(count) return onnx.model { nodes = { leaves_alone(count) } } end

-- So many leaves, each of a tree, of which so many columns are picked all over again: they would come to the product.
local function picked(count)
  local index = onnx.tensor("index", { count }, list(count, 0), onnx.INT64)
  local pick = onnx.node("Gather", { "y", "index" }, { "z" }, { axis = { int = 1 } })
  return onnx.model { nodes = { leaves_alone(count), pick }, tensors = { index }, outputs = { { "z", count } } }
end

-- A node of so many outputs, each of which is asked for, and of an attribute as long that says nothing.
local function outputs(count)
  local names = list(count, function(i) return "o" .. i end)
  return onnx.model { nodes = {
    onnx.node("Identity", { "x" }, names, { junk = list(count, 1) }),
    onnx.node("Concat", names, { "y" }, { axis = { int = 1 } }),
  } }
end

-- A graph of so many times the same bytes, which are its fields.
local function graph_of(bytes)
  return function(count) return onnx.graph(bytes:rep(count)) end
end

-- A list of so many times the same bytes, in UBJSON, of a type that stands in front; and in JSON.
local function ubjson(bytes)
  return function(count)
    local size = ("l%c%c%c%c"):format(0, math.floor(count / 65536), math.floor(count / 256) % 256, count % 256)
    return "{U\7learner[$[#" .. size .. bytes:rep(count) .. "}"
  end
end

local function json(bytes)
  return function(count) return '{"learner": [' .. words(count, bytes) .. "]}" end
end

-- Which files, and of how many: numbers that take about as long.
local GROWING = {
  ["nodes, XGBoost"] = { booster, 20000 }, ["categories that are large, XGBoost"] = { categories, 10000 },
  ["texts of categories, XGBoost"] = { texts, 50000 }, ["trees, LightGBM"] = { leaves, 4000 },
  ["bits of categories, LightGBM"] = { bits, 50000 }, ["values of a leaf, ONNX"] = { values, 8000 },
  ["trees, ONNX"] = { stumps, 10000 }, ["outputs of a node, ONNX"] = { outputs, 4000 },
  ["columns of leaves, ONNX"] = { picked, 4000 },
  ["nodes of nothing, ONNX"] = { graph_of "\10\0", 200000 },
  ["tensors of nothing, ONNX"] = { graph_of "\42\0", 200000 },
  ["nodes of an input, ONNX"] = { graph_of "\10\2\10\0", 50000 },
  ["nodes of an attribute, ONNX"] = { graph_of "\10\6\42\4\42\2\8\1", 50000 },
  ["tensors of a dimension, ONNX"] = { graph_of "\42\2\8\1", 50000 },
  ["inputs of a type, ONNX"] = { graph_of "\90\10\18\8\10\6\18\4\10\2\8\1", 50000 },
  ["lists of nothing, UBJSON"] = { ubjson "]", 200000 }, ["lists of null, UBJSON"] = { ubjson "Z]", 50000 },
  ["objects of nothing, JSON"] = { json "{}", 50000 }, ["lists of lists, JSON"] = { json "[[]]", 50000 },
}
local FEW, TIMES = 20, 8 -- what takes time in squares takes 64 times as long
-- Of memory for each byte of a file, and besides: lists double where they have no room.
local BYTES, SPARE = 64, 4 * 1024 * 1024

describe("a model file that grows", function()
  after_each(program.remove_temporaries)

  for what, case in pairs(GROWING) do
    it("takes time and memory as it has bytes: " .. what, function()
      local script, other = program.write(MEASURE, ".lua"), program.write(gemm(), ".onnx")
      local function measure(count)
        local path = program.write(case[1](count), ".model")
        local result = program.shell(("timeout 120 luajit %s %s %s"):format(script, path, other))
        assert.equal(0, result.status, result.err)
        local seconds, kilobytes = result.out:match "(%S+)%s+(%S+)"
        local memory, size = tonumber(kilobytes) * 1024, lfs.attributes(path, "size")
        assert.is_true(memory < BYTES * size + SPARE, ("%d bytes take %d"):format(size, memory))
        return tonumber(seconds)
      end
      measure(FEW)
      local before, seconds = measure(case[2]), measure(TIMES * case[2])
      assert.is_true(seconds < 3 * TIMES * before, ("%g s, and of %d times as many %g s"):format(before, TIMES,
        seconds))
    end)
  end
end)
