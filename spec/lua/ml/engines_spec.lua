-- Libraries as engines of models: nfengine.ml.onnxruntime, $NFENGINE_ONNXRUNTIME or the one of the peers' Python, and
-- nfengine.ml.libxgboost, Debian's libxgboost0.

local ffi = require "ffi"
local ml = require "nfengine.ml"
local onnx = require "spec.support.onnx"
local peers = require "spec.support.peers"
local program = require "spec.support.program"

local SAMPLE = "samples/web.pcap"

-- Setting it for this process and those that it starts: the library is looked for once a Lua state.
ffi.cdef "int setenv(const char *name, const char *value, int replace);"

local function find_onnxruntime()
  if os.getenv "NFENGINE_ONNXRUNTIME" then return os.getenv "NFENGINE_ONNXRUNTIME" end
  local code = "import glob, onnxruntime as o; print(glob.glob(o.__path__[0] + '/capi/libonnxruntime.so.*')[0])"
  local found = program.shell(("%s -c %s"):format(program.quote(peers.python), program.quote(code)))
  local path = found.status == 0 and found.out:match "^[^\n]+"
  if path then ffi.C.setenv("NFENGINE_ONNXRUNTIME", path, 1) end
  return path
end

local onnxruntime = find_onnxruntime()
local no_onnxruntime = not onnxruntime and "no library of ONNX Runtime: see make peers"
local no_xgboost = not pcall(ffi.load, "libxgboost.so.0") and "no libxgboost.so.0: see make dev-deps"

local function predicted(model, rows)
  local width, list = model.output_count, {}
  local flat = {}
  for _, row in ipairs(rows) do
    for _, each in ipairs(row) do flat[#flat + 1] = each end
  end
  local outputs = ffi.new("double[?]", #rows * width)
  model:predict(ffi.new("double[?]", #flat, flat), #rows, outputs)
  for i = 1, #rows * width do list[i] = outputs[i - 1] end
  return list
end

local function write(graph) return program.write(onnx.model(graph), ".onnx") end

-- A graph that the core does not know: x1 * x2 and its square root.
local function product()
  local nodes = {
    onnx.node("ReduceProd", { "x" }, { "z" }, { axes = { ints = { 1 } } }, ""), onnx.node("Sqrt", { "z" }, { "r" }),
    onnx.node("Concat", { "z", "r" }, { "y" }, { axis = { int = 1 } }),
  }
  return write { nodes = nodes, outputs = { { "y", 2 } } }
end

describe("nfengine.ml, with engines", function()
  teardown(program.remove_temporaries)

  it("refuses an engine that there is none of", function()
    assert.has_error(function() ml.load(SAMPLE, { engine = "tensorflow" }) end, ("model %q: engine \"tensorflow\", "
      .. "expected onnxruntime or xgboost"):format(SAMPLE))
  end)

  it("says which file cannot be read", function()
    assert.has_error(function() ml.load("missing.onnx", { engine = "xgboost" }) end,
      "cannot read model missing.onnx: No such file or directory")
    assert.has_error(function() ml.load("samples", { engine = "onnxruntime" }) end,
      "cannot read model samples: a directory, expected a file")
  end)

  for engine, setting in pairs { onnxruntime = "NFENGINE_ONNXRUNTIME", xgboost = "NFENGINE_XGBOOST" } do
    it("says in one line where a library is not there: " .. engine, function()
      local path = write { nodes = { onnx.node("Sqrt", { "x" }, { "y" }) } }
      local command = "%s=missing.so timeout 60 %s -q flows --plugin=model --set=model.engine=%s --set=model.file=%s %s"
      local result = program.shell(command:format(setting, program.path, engine, path, SAMPLE))
      assert.equal(1, result.status)
      assert.matches(("^nfengine: .*model \"%s\": cannot load missing.so, expected [^\n]+\n$"):format(
        path:gsub("%p", "%%%0")), result.err)
    end)

    it("says in one line that a library is another one: " .. engine, function()
      local path = write { nodes = { onnx.node("Sqrt", { "x" }, { "y" }) } }
      local code = ("package.path = './lua/?.lua;./lua/?/init.lua;' .. package.path\n"
        .. "print(select(2, pcall(require('nfengine.ml').load, %q, { engine = %q })))"):format(path, engine)
      local result = program.shell(("%s=libc.so.6 timeout 60 luajit %s"):format(setting, program.write(code, ".lua")))
      assert.matches("^model \"[^\n]+\": cannot load libc.so.6, expected [^\n]+\n$", result.out .. result.err)
    end)
  end
end)

describe("nfengine.ml.onnxruntime", function()
  local function with(name, examine)
    it(name, function()
      if no_onnxruntime then pending(no_onnxruntime) end
      examine()
    end)
  end

  with("evaluates graphs that the core does not know", function()
    local path = product()
    local ok, problem = pcall(ml.load, path)
    assert.is_false(ok)
    assert.matches('operator "ReduceProd"; engine = "onnxruntime" takes any model', problem, 1, true)
    local model = ml.load(path, { engine = "onnxruntime" })
    assert.same({ 2, 2, "regression" }, { model.feature_count, model.output_count, model.task })
    assert.same({ 4, 2, 0.25, 0.5 }, predicted(model, { { 2, 2 }, { 0.5, 0.5 } }))
    assert.matches("^ONNX, by onnxruntime %d", model.format)
  end)

  with("takes one input a feature, of any type of numbers", function()
    local nodes = {
      onnx.node("Cast", { "a" }, { "f" }, { to = { int = 11 } }), onnx.node("Add", { "f", "b" }, { "y" }),
    }
    local path = write { nodes = nodes, inputs = { { "a", 1, onnx.INT64 }, { "b", 1, onnx.DOUBLE } },
      outputs = { { "y", 1, onnx.DOUBLE } } }
    local model = ml.load(path, { engine = "onnxruntime" })
    assert.same({ "a", "b" }, model.names)
    assert.same({ 3.1 }, predicted(model, { { 3, 0.1 } }))
  end)

  with("evaluates networks, whose outputs become classes once they are named", function()
    local nodes = {
      onnx.node("Gemm", { "x", "w", "b" }, { "h" }), onnx.node("Relu", { "h" }, { "r" }),
      onnx.node("Gemm", { "r", "v" }, { "s" }), onnx.node("Softmax", { "s" }, { "y" }),
    }
    local path = write { nodes = nodes, outputs = { { "y", 3 } }, tensors = {
      onnx.tensor("w", { 2, 2 }, { 1, 0, 0, 1 }), onnx.tensor("b", { 2 }, { 0, 0 }),
      onnx.tensor("v", { 2, 3 }, { 1, 0, 0, 0, 0, 1 }),
    } }
    local model = ml.load(path, { engine = "onnxruntime" })
    assert.same({ "regression", 3 }, { model.task, model.output_count })
    model:name_classes { "a", "b", "c" }
    local said = predicted(model, { { -5, 2 } })
    local class, score = model:verdict(ffi.new("double[3]", said))
    assert.same({ "multiclass", "c" }, { model.task, model.classes[class + 1] })
    assert.near(math.exp(2) / (math.exp(2) + 2), score, 1e-6)
  end)

  with("gives NaN for every NaN of a graph", function()
    local bits = ffi.new("uint32_t[2]", 0xfffffff7, 0xfffe1234)
    local floats = ffi.cast("float *", bits)
    local tensor = onnx.tensor("c", { 1, 2 }, { 0, 0 })
    tensor.tensor = tensor.tensor:gsub(("%z"):rep(8) .. "$", ffi.string(ffi.cast("char *", floats), 8))
    local nodes = { onnx.node("Where", { "b", "c", "x" }, { "y" }), onnx.node("IsNaN", { "c" }, { "b" }) }
    local path = write { nodes = { nodes[2], nodes[1] }, tensors = { tensor }, outputs = { { "y", 2 } } }
    for _, value in ipairs(predicted(ml.load(path, { engine = "onnxruntime" }), { { 1, 2 } })) do
      assert.same({ "number", "nan" }, { type(value), tostring(value) })
    end
  end)

  with("refuses what is no model, in one line", function()
    for _, content in ipairs { "\8\7 no model", onnx.model { nodes = {} } } do
      local path = program.write(content, ".onnx")
      local ok, problem = pcall(ml.load, path, { engine = "onnxruntime" })
      assert.is_false(ok)
      assert.matches("onnxruntime: ", problem, 1, true)
      assert.is_nil(problem:find "\n")
    end
  end)

  with("frees what it makes", function()
    if os.getenv "NFENGINE" then return pending "of a build with sanitizers, memory says nothing" end
    local model, row, outputs = ml.load(product(), { engine = "onnxruntime" }), ffi.new("double[2]", 2, 2),
      ffi.new "double[2]"
    local function pages() return tonumber(program.read("/proc/self/statm"):match "^%d+ (%d+)") end
    for _ = 1, 20000 do model:predict(row, 1, outputs) end
    local before = pages()
    for _ = 1, 60000 do model:predict(row, 1, outputs) end
    assert.is_true(pages() - before < 1000, pages() - before)
  end)

  it("gives the answers of the Python module, also as maps by class", function()
    local missing = no_onnxruntime or peers.missing "onnxruntime, skl2onnx, onnxmltools, xgboost, lightgbm"
    if missing then pending(missing) end
    local folder, lines = peers.make("sklearn", "ml_peers_onnx")
    for _, line in ipairs(lines) do
      local name = line:match "^%S+"
      local path = folder .. "/" .. name
      local model = ml.load(path, { engine = "onnxruntime" })
      assert.equal(0, (peers.distance(model, path)), name)
      local own = ml.load(path)
      assert.same({ own.task, own.classes, own.names }, { model.task, model.classes or own.classes, model.names }, name)
    end
    program.shell("rm -r " .. folder)
  end)

  with("is a plugin's engine", function()
    local path = write { nodes = { onnx.node("Add", { "src2dst_packets", "dst2src_packets" }, { "y" }) },
      inputs = { { "src2dst_packets", 1 }, { "dst2src_packets", 1 } } }
    local result = program.run("-q", "flows", "--columns=bidirectional_packets,udps.model_score",
      "--plugin=model", "--set=model.engine=onnxruntime", "--set=model.file=" .. path, SAMPLE)
    assert.equal(0, result.status, result.err)
    local rows = 0
    for packets, score in result.out:gmatch "\n(%d+),(%d+)" do
      rows = rows + 1
      assert.equal(packets, score)
    end
    assert.is_true(rows > 5)
  end)
end)

describe("nfengine.ml.libxgboost", function()
  -- Trees of one split, as XGBoost saves them: below 5, `low`, else `high`.
  local TREE = [[{"base_weights": [0.0, %.1f, %.1f], "categories": [], "categories_nodes": [],
    "categories_segments": [], "categories_sizes": [], "default_left": [1, 0, 0], "id": %d, "left_children":
    [1, -1, -1], "loss_changes": [1.0, 0.0, 0.0], "parents": [2147483647, 0, 0], "right_children": [2, -1, -1],
    "split_conditions": [5.0, %.1f, %.1f], "split_indices": [1, 0, 0], "split_type": [0, 0, 0],
    "sum_hessian": [2.0, 1.0, 1.0], "tree_param": {"num_deleted": "0", "num_feature": "2", "num_nodes": "3",
    "size_leaf_vector": "0"}}]]
  local MODEL = [[{"version": [1, 7, 4], "learner": {"attributes": %s, "feature_names": ["a", "b"],
    "feature_types": ["float", "float"], "gradient_booster": {"name": "gbtree", "model": {"gbtree_model_param":
    {"num_parallel_tree": "1", "num_trees": "%d", "size_leaf_vector": "0"}, "tree_info": [%s], "trees": [%s]}},
    "learner_model_param": {"base_score": "%s", "boost_from_average": "1", "num_class": "%d", "num_feature": "2",
    "num_target": "%d"}, "objective": {"name": "%s", "reg_loss_param": {"scale_pos_weight": "1"},
    "softmax_multiclass_param": {"num_class": "%d"}, "poisson_regression_param": {"max_delta_step": "0.7"},
    "tweedie_regression_param": {"tweedie_variance_power": "1.5"}, "aft_loss_param": {"aft_loss_distribution": "normal",
    "aft_loss_distribution_scale": "1"}, "pseudo_huber_param": {"huber_slope": "1"},
    "lambda_rank_param": {"num_pairsample": "1", "fix_list_weight": "0"}}}}]]

  -- A file of three trees by turns for so many classes or targets.
  local function saved(objective, given)
    local trees, info, count = {}, {}, given.classes or 0
    for i, low in ipairs { 0.5, -1, 2 } do
      trees[i] = TREE:format(low, -2 * low, i - 1, low, -2 * low)
      info[i] = (i - 1) % (given.classes or given.targets or 1)
    end
    local content = MODEL:format(given.attributes or "{}", #trees, table.concat(info, ","), table.concat(trees, ","),
      given.base or "5E-1", count, given.targets or 1, objective, count)
    return program.write(content, ".json")
  end

  local function with(name, examine)
    it(name, function()
      if no_xgboost then pending(no_xgboost) end
      examine()
    end)
  end

  with("evaluates its models, as the core does", function()
    local path, rows = saved("reg:squarederror", {}), { { 0, 4 }, { 0, 5 }, { 0, 0 / 0 }, { 9, -1e30 } }
    local model = ml.load(path, { engine = "xgboost" })
    assert.same({ 2, 1, "regression", { "a", "b" } },
      { model.feature_count, model.output_count, model.task, model.names })
    assert.same({ 2, -2.5, 2, 2 }, predicted(model, rows))
    assert.same(predicted(ml.load(path), rows), predicted(model, rows))
    assert.same({}, predicted(model, {}))
  end)

  for case, about in pairs {
    ["binary:logistic"] = {}, ["binary:logitraw"] = {}, ["binary:hinge"] = {}, ["reg:logistic"] = {},
    ["reg:squaredlogerror"] = {}, ["reg:pseudohubererror"] = {}, ["count:poisson"] = {}, ["reg:gamma"] = {},
    ["reg:tweedie"] = {}, ["survival:cox"] = {}, ["survival:aft"] = {}, ["rank:pairwise"] = {},
    ["multi:softprob"] = { classes = 3 }, ["multi:softmax"] = { classes = 3 },
    ["binary:logistic, two targets"] = { targets = 2 }, ["binary:logistic, base"] = { base = "2E-1" },
    ["binary:logitraw, base"] = { base = "2E-1" },
    ["binary:logistic, stopped early"] = { attributes = '{"best_iteration": "1"}' },
  } do
    with("gives the answers of the core: " .. case, function()
      local path, rows = saved(case:match "^[^,]+", about), { { 0, 4 }, { 0, 5 }, { 0, 0 / 0 } }
      local own, model = ml.load(path), ml.load(path, { engine = "xgboost" })
      assert.same({ own.task, own.output_count }, { model.task, model.output_count })
      local expected, said = predicted(own, rows), predicted(model, rows)
      for i, value in ipairs(expected) do assert.near(value, said[i], 1e-6 * math.max(1, math.abs(value))) end
      local outputs = ffi.new("double[?]", own.output_count, unpack(said, 1, own.output_count))
      local class, score = model:verdict(outputs)
      assert.equal((own:verdict(ffi.new("double[?]", own.output_count, unpack(expected, 1, own.output_count)))), class)
      assert.is_true(model.task == "regression" or score >= 0.5 or own.output_count > 2 and score >= 1 / 3)
    end)
  end

  with("refuses what later versions of the library have saved", function()
    local own = require("nfengine.ml.libxgboost").version()
    local content = program.read(saved("reg:squarederror", {}))
    for _, version in ipairs { "99, 0, 0", own:match "^%d+" .. ", 99, 0" } do
      local path = program.write((content:gsub("1, 7, 4", version)), ".json")
      local ok, problem = pcall(ml.load, path, { engine = "xgboost" })
      assert.same({ false, ("model %q: saved by XGBoost %s, expected %s, the version of the library, or before"):format(
        path, version:gsub(", ", "."), own) }, { ok, problem })
    end
    for _, version in ipairs { "1, 6, 0", (own:gsub("%.", ", ")) } do
      assert.truthy(ml.load(program.write((content:gsub("1, 7, 4", version)), ".json"), { engine = "xgboost" }))
    end
  end)

  with("refuses what is no model, in one line", function()
    for _, content in ipairs { "{}", '{"learner": {}}', "{[" } do
      local path = program.write(content, ".json")
      local ok, problem = pcall(ml.load, path, { engine = "xgboost" })
      assert.is_false(ok)
      assert.matches("xgboost: ", problem, 1, true)
      assert.is_nil(problem:find "\n")
    end
  end)

  with("fails as often as one likes: not through compiled code, where the library aborts", function()
    local path = program.write("{}", ".json")
    local code = ([[package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
      require("jit.opt").start "hotloop=2"
      local ml, refused = require "nfengine.ml", 0
      for _ = 1, 200 do refused = refused + (pcall(ml.load, %q, { engine = "xgboost" }) and 0 or 1) end
      print(refused)]]):format(path)
    local result = program.shell("timeout 60 luajit " .. program.write(code, ".lua"))
    assert.same({ 0, "200\n" }, { result.status, result.out })
  end)
end)
