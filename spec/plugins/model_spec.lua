-- plugins/model.lua: what it asks of a model, and which models it refuses before the first packet. That answers are
-- those of the libraries is in spec/lua/ml.

local cjson = require "cjson"
local onnx = require "spec.support.onnx"
local program = require "spec.support.program"

-- XGBoost's: whether dst_port is below 54; and then, below 100.
local function model(changes)
  local function tree(threshold, low, high)
    return {
      left_children = { 1, -1, -1 }, right_children = { 2, -1, -1 }, split_indices = { 0, 0, 0 },
      split_conditions = { threshold, low, high }, default_left = { 0, 0, 0 },
    }
  end
  local learner = {
    feature_names = { "dst_port", "bidirectional_packets" },
    gradient_booster = { name = "gbtree", model = {
      trees = { tree(54, 2, -2), tree(100, -1, 1) }, tree_info = { 0, 0 },
    } },
    learner_model_param = { base_score = 0.5, num_feature = 2 }, objective = { name = "binary:logistic" },
  }
  if changes then changes(learner) end
  return program.write(cjson.encode { learner = learner }, ".json")
end

local function with_classes(learner)
  learner.gradient_booster.model.tree_info = { 0, 2 }
  learner.learner_model_param.num_class = 3
  learner.objective.name = "multi:softprob"
end

local function run(path, ...)
  return program.run("-q", "flows", "--n-dissections=0", "--plugin=model", "-a", "model.file=" .. path, ...)
end

-- What it says of each flow of the sample, by destination port.
local function asked(path, ...)
  local result = run(path, "--format=jsonl", "samples/web.pcap", ...)
  assert.same({ 0, "" }, { result.status, result.err })
  local by_port = {}
  for line in result.out:gmatch "[^\n]+" do
    local flow = cjson.decode(line)
    by_port[flow.dst_port] = { flow["udps.model_class"], flow["udps.model_score"], flow["udps.model_scores"] }
  end
  return by_port
end

local function logistic(x) return 1 / (1 + math.exp(-x)) end

describe("model", function()
  after_each(program.remove_temporaries)

  for _, meters in ipairs { 1, 3 } do
    it(("gives the likelier of two classes, and how likely: %d meters"):format(meters), function()
      local by_port = asked(model(), "--n-meters=" .. meters)
      assert.equal("1", by_port[53][1])
      assert.near(logistic(1), by_port[53][2], 1e-7)
      assert.equal("0", by_port[80][1])
      assert.near(1 - logistic(-3), by_port[80][2], 1e-7)
      assert.equal("0", by_port[443][1])
      assert.near(1 - logistic(-1), by_port[443][2], 1e-7)
    end)
  end

  it("gives the likeliest of many classes, by name", function()
    local by_port = asked(model(with_classes), "-a", "model.classes=names,web,other")
    assert.equal("names", by_port[53][1])
    assert.equal("web", by_port[80][1])
    assert.equal("other", by_port[443][1])
    assert.near(math.exp(2.5) / (math.exp(2.5) + math.exp(0.5) + math.exp(-0.5)), by_port[53][2], 1e-6)
  end)

  it("gives the probability of each class", function()
    local scores = asked(model(), "-a", "model.scores=2")[53][3]
    assert.near(1 - logistic(1), scores[1], 1e-7)
    assert.near(logistic(1), scores[2], 1e-7)
    scores = asked(model(with_classes), "-a", "model.scores=3")[53][3]
    assert.near(1, scores[1] + scores[2] + scores[3], 1e-6)
  end)

  it("gives the value of a regression, and no class", function()
    local path = model(function(learner) learner.objective.name = "reg:squarederror" end)
    assert.same({ "", 1.5 }, asked(path)[53])
  end)

  -- A graph without labels, the shares of three classes: of the first feature, of the second, or of none.
  local function graph()
    local nodes = { onnx.node("Gemm", { "x", "w" }, { "s" }), onnx.node("Softmax", { "s" }, { "y" }) }
    local tensors = { onnx.tensor("w", { 2, 3 }, { 1, 0, 0, 0, 1, 0 }) }
    return program.write(onnx.model { nodes = nodes, tensors = tensors, outputs = { { "y", 3 } } }, ".onnx")
  end

  it("calls outputs of which the file does not say what they are by the names that it is given", function()
    local columns = "model.columns=dst_port,bidirectional_packets"
    assert.equal("", asked(graph(), "-a", columns)[53][1])
    local by_port = asked(graph(), "-a", columns, "-a", "model.classes=port,packets,none", "-a", "model.scores=3")
    assert.same({ "port", "packets" }, { by_port[53][1], by_port[0][1] })
    assert.equal(by_port[53][2], by_port[53][3][1])
  end)

  it("gives no class where the model gives no number", function()
    local plugin = "--plugin=" .. program.write([[
      return require "nfengine".plugin { name = "nan", columns = { { "nan", "double" } },
        on_init = function(_, _, flow) flow.udps.nan = 0 / 0 end }
    ]], ".lua")
    local result = program.run("-q", "flows", "--n-dissections=0", plugin, "--plugin=model", "-a",
      "model.file=" .. graph(), "-a", "model.columns=udps.nan,dst_port", "-a", "model.classes=a,b,c", "--format=jsonl",
      "samples/dns.pcap")
    local flow = cjson.decode(result.out:match "[^\n]+")
    assert.same({ 0, "", "" }, { result.status, result.err, flow["udps.model_class"] })
  end)

  it("takes the columns that it is told, elements of arrays among them", function()
    local path = model(function(learner) learner.feature_names = nil end)
    local by_port = asked(path, "-a", "model.columns=dst_port,splt_ps_2", "--splt-analysis=3")
    assert.near(logistic(1), by_port[53][2], 1e-7)
  end)

  it("knows categories by their texts and their numbers, and others as absent", function()
    local path = model(function(learner)
      learner.feature_names = { "protocol", "dst_port" }
      local booster = learner.gradient_booster.model
      booster.cats = { enc = { { offsets = {}, values = {} }, { type = 15, values = { 443, 53 } } } }
      for _, tree in ipairs(booster.trees) do
        tree.split_indices[1], tree.categories_nodes, tree.categories_segments = 1, { 0 }, { 0 }
        tree.categories_sizes, tree.categories = { 1 }, { 1 }
      end
    end)
    local by_port = asked(path)
    assert.near(1 - logistic(-1), by_port[53][2], 1e-7) -- in the sets: right, right
    assert.near(logistic(1), by_port[443][2], 1e-7)
    assert.near(1 - logistic(-1), by_port[80][2], 1e-7) -- absent: right, right
  end)

  it("is told by the manifest with its model's digest", function()
    local path, output = model(), program.temporary ".csv"
    assert.equal(0, run(path, "--manifest", "-o", output, "samples/dns.pcap").status)
    local digest = program.shell("sha256sum " .. path).out:match "^%x+"
    assert.truthy(program.read(output .. ".manifest.json"):find(digest, 1, true))
  end)
end)

describe("model refuses", function()
  after_each(program.remove_temporaries)

  local function refused(message, path, ...)
    local result = run(path, "--format=jsonl", "samples/dns.pcap", ...)
    assert.same({ 1, "" }, { result.status, result.out })
    assert.truthy(result.err:find(message), result.err)
    assert.equal(1, select(2, result.err:gsub("\n", "")))
  end

  local function named(...)
    local names = { ... }
    return model(function(learner) learner.feature_names = names end)
  end

  -- A manifest as nfengine train writes one, of a model and its features.
  local function manifest(path, ...)
    local columns = {}
    for i, name in ipairs { ... } do columns[i] = { name = name, role = "feature", min = 0, max = 9 } end
    return "model.manifest=" .. program.write(cjson.encode {
      manifest = 1, engine = { ndpi = "4.2" }, training = { task = "binary" }, classes = { "names", "web" },
      columns = columns, plugins = setmetatable({}, cjson.empty_array_mt), parameters = { idle_timeout = 120 },
      label = { column = "x" },
      files = { { name = "model.json", sha256 = program.shell("sha256sum " .. path).out:match "^%x+" } },
    }, ".json")
  end

  it("a manifest of another model, or of other features", function()
    local path, other = model(), named("protocol", "bidirectional_packets")
    assert.equal(0, run(path, "-a", manifest(path, "dst_port", "bidirectional_packets"), "samples/dns.pcap").status)
    refused('": SHA%-256 %x+, expected %x+ as its manifest has it\n$', path, "-a",
      manifest(other, "dst_port", "bidirectional_packets"))
    refused('": feature 1 is "protocol", expected "dst_port" as the model has it\n$', path, "-a",
      manifest(path, "protocol", "bidirectional_packets"))
    refused('": 1 features, expected 2 as the model has them\n$', path, "-a", manifest(path, "dst_port"),
      "-a", "model.columns=dst_port,protocol")
  end)

  it("what is no file", function()
    refused("file: none, expected that of a model", "")
    refused("cannot read model /nowhere/m: No such file or directory", "/nowhere/m")
    refused("cannot read model /dev/zero: a char device, expected a file", "/dev/zero")
    refused("expected a model of XGBoost", program.write("a,b\n1,2\n", ".csv"))
    refused("expected a model of XGBoost", program.write("", ".txt"))
  end)

  it("columns that the run does not have", function()
    refused('no column "dst_prt" in this run %(did you mean', named("dst_prt", "protocol"))
    refused('no column "splt_ps_9" in this run', named("splt_ps_9", "protocol"), "--splt-analysis=3")
  end)

  it("columns that are filled in after it is asked", function()
    local function late(name, owner)
      return ('column "%s": plugin %s fills it in later, expected one of a plugin before\n$')
        :format(name, owner)
    end
    refused(late("udps.model_score", "model"), named("udps.model_score", "protocol"))
    for _, meters in ipairs { "--n-meters=1", "--n-meters=2" } do
      refused(late("udps.rates_down_up_bytes", "rates"), named("udps.rates_down_up_bytes", "protocol"), meters,
        "--plugin=rates")
      refused(late("udps.ct_srv_src", "host_window"), named("udps.ct_srv_src", "protocol"), meters,
        "--plugin=host_window")
      refused(late("udps.anomaly_score", "anomaly"), named("udps.anomaly_score", "protocol"), meters,
        "--plugin=anomaly")
      refused(late("udps.hist_2", "late"), named("udps.hist_2", "protocol"), meters, "--plugin=" .. program.write([[
        return require "nfengine".plugin { name = "late", columns = { { "hist", "double[3]" } } }
      ]], ".lua"))
    end
  end)

  it("columns of texts", function()
    refused('column "src_ip" is ip, expected a number', named("src_ip", "protocol"))
    refused('column "application_name" is text, expected a number', named("application_name", "protocol"),
      "--n-dissections=20")
  end)

  it("another number of columns than it has features", function()
    refused("1 columns, expected 2, one a feature", model(), "-a", "model.columns=protocol")
    local path = model(function(learner) learner.feature_names = nil end)
    refused("it does not name its 2 features, expected columns for them", path)
  end)

  it("another number of classes than it has", function()
    refused("3 names of classes, expected 2\n$", model(), "-a", "model.classes=a,b,c")
    refused("1 names of classes, expected 3\n$", model(with_classes), "-a", "model.classes=a")
    local path = model(function(learner) learner.objective.name = "reg:squarederror" end)
    refused("2 names of classes, expected none for a regression\n$", path, "-a", "model.classes=a,b")
  end)
end)
