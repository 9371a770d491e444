-- nfengine.ml: what a model is once it is loaded, whoever has read it: names of its classes, and what answers come to.

local ffi = require "ffi"
local ml = require "nfengine.ml"
local onnx = require "spec.support.onnx"
local program = require "spec.support.program"

local NAN = 0 / 0

-- A layer of so many outputs and shares of them: a graph without labels, as libraries for networks write them.
local function network(outputs)
  local weights = {}
  for i = 1, 2 * outputs do weights[i] = i % outputs end
  local nodes = { onnx.node("Gemm", { "x", "w" }, { "s" }), onnx.node("Softmax", { "s" }, { "y" }) }
  local content = onnx.model { nodes = nodes, tensors = { onnx.tensor("w", { 2, outputs }, weights) },
    outputs = { { "y", outputs } } }
  return ml.load(program.write(content, ".onnx"))
end

local function linear()
  local node = onnx.node("LinearRegressor", { "x" }, { "y" }, { coefficients = { 1, 1 } }, "ai.onnx.ml")
  return ml.load(program.write(onnx.model { nodes = { node } }, ".onnx"))
end

local function verdict(model, ...) return { model:verdict(ffi.new("double[?]", model.output_count, ...)) } end

describe("a model's classes", function()
  after_each(program.remove_temporaries)

  it("are its outputs, once they are named", function()
    local model = network(3)
    assert.same({ "regression", 3 }, { model.task, model.output_count })
    assert.same({ nil, 0.25 }, verdict(model, 0.25, 0.5, 0.25))
    model:name_classes { "a", "b", "c" }
    assert.same({ "multiclass", { "a", "b", "c" } }, { model.task, model.classes })
    assert.same({ 1, 0.5 }, verdict(model, 0.25, 0.5, 0.25))
    model = network(2)
    model:name_classes { "a", "b" }
    assert.same({ "binary", { 1, 0.75 } }, { model.task, verdict(model, 0.25, 0.75) })
  end)

  it("may be called by other names", function()
    local model = ml.load "samples/model.txt"
    model:name_classes { "web", "names", "other" }
    assert.same({ "multiclass", { "web", "names", "other" } }, { model.task, model.classes })
    local trees = ml.trees { classes = { "a", "b" }, { "dst_port", "<", 9, "a", "b" } }
    trees:name_classes { "c", "d" }
    assert.same({ "binary", { "c", "d" } }, { trees.task, trees.classes })
  end)

  it("are as many as there are names", function()
    local function refused(model, names, message)
      local task = model.task
      assert.has_error(function() model:name_classes(names) end, ("model %q: %s"):format(model.path, message))
      assert.equal(task, model.task)
    end
    refused(network(3), { "a", "b" }, "2 names of classes, expected 3")
    refused(ml.load "samples/model.txt", {}, "0 names of classes, expected 3")
    refused(ml.trees { classes = { "a", "b" }, { "dst_port", "<", 9, "a", "b" } }, { "a" },
      "1 names of classes, expected 2")
    refused(linear(), { "a" }, "1 names of classes, expected none for a regression")
  end)
end)

describe("a verdict", function()
  after_each(program.remove_temporaries)

  it("is no class where an output is NaN", function()
    local model = ml.load "samples/model.txt"
    for at = 1, 3 do
      local outputs = { 0.1, 0.7, 0.2 }
      outputs[at] = NAN
      local class, score = model:verdict(ffi.new("double[3]", outputs))
      assert.is_nil(class)
      assert.is_true(score ~= score)
    end
    assert.same({ 1, 0.7 }, verdict(model, 0.1, 0.7, 0.2))
  end)

  it("is no class where the one output of two classes is NaN", function()
    local model = ml.load "spec/lua/ml/models/dart.json"
    assert.same({ "binary", 1 }, { model.task, model.output_count })
    local class, score = model:verdict(ffi.new("double[1]", NAN))
    assert.is_nil(class)
    assert.is_true(score ~= score)
    assert.same({ { 1, 0.75 }, { 0, 0.75 } }, { verdict(model, 0.75), verdict(model, 0.25) })
  end)

  it("is the value of a regression", function()
    assert.same({ nil, 3.5 }, verdict(linear(), 3.5))
    local value = select(2, linear():verdict(ffi.new("double[1]", NAN)))
    assert.is_true(value ~= value)
  end)
end)
