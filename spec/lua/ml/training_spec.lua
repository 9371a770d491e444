local ffi = require "ffi"
local json = require "nfengine.json"
local feature_statistics = require "nfengine.ml.feature_statistics"
local libxgboost = require "nfengine.ml.libxgboost"
local ml = require "nfengine.ml"
local program = require "spec.support.program"
local rows = require "nfengine.ml.rows"
local testing = require "nfengine.testing"
local training = require "nfengine.ml.training"

-- Rows of numbers as the library gathers them.
local function gathered(list)
  local all = rows.new(#list[1])
  for _, row in ipairs(list) do all:add(ffi.new("double[?]", #row, row)) end
  return all
end

-- So many rows of three features, of which the first says the class; the third has no number in every fourth.
local function some(count, classes)
  math.randomseed(count)
  local list, labels = {}, {}
  for i = 1, count do
    labels[i] = i % classes
    list[i] = { labels[i] * 10 + math.random() * 9, math.random(), i % 4 == 0 and 0 / 0 or math.random() }
  end
  return gathered(list), labels
end

local function given(fields)
  local all = {
    names = { "size", "noise", "udps.gap_1" }, task = "binary", kind = "boost", trees = 10, depth = 3,
    learning_rate = 0.5, seed = 1, threads = 1,
  }
  for name, value in pairs(fields) do all[name] = value end
  return all
end

-- What share of rows a trained model gets right, asked by the core.
local function share_right(trained, all, labels)
  local model, right = ml.load(program.write(trained.model, ".json")), 0
  model:each(all, function(i, outputs)
    if model:verdict(outputs) == labels[i] then right = right + 1 end
  end)
  return right / all.count, model
end

describe("nfengine.ml.feature_statistics", function()
  it("tells ranges, without what is no number", function()
    local all = gathered { { 5, 1, 0 / 0 }, { 1, 1, 0 / 0 }, { 0 / 0, 1, 0 / 0 }, { 3, 1, 0 / 0 } }
    local ranges = feature_statistics.ranges(all)
    assert.same({ 1, 5 }, { ranges[1].min, ranges[1].max })
    assert.same({ 1, 1, 3, 3, 5, 5, 5 }, ranges[1].quantiles)
    assert.same({ 1, 1 }, { ranges[2].min, ranges[2].max })
    assert.same({ quantiles = {} }, ranges[3])
  end)

  it("misses neither end of a range, however many rows there are", function()
    local all = rows.new(1)
    for i = 1, 25000 do all:add(ffi.new("double[1]", i == 12346 and -7 or i == 12347 and 1e6 or i)) end
    local range = feature_statistics.ranges(all)[1]
    assert.same({ -7, 1e6 }, { range.min, range.max })
    assert.near(12500, range.quantiles[4], 5)
  end)

  it("tells how much of the label each feature gives away", function()
    local all, labels = some(400, 4)
    local test, test_labels = some(200, 4)
    local alone = feature_statistics.alone(all, labels, test, test_labels)
    assert(alone[1] > 0.98, alone[1])
    assert(alone[2] < 0.4, alone[2])
  end)
end)

local missing = training.missing()
local python = os.getenv "NFENGINE_ML_PYTHON" or "build/peers/bin/python"
local has_xgboost = program.shell(python .. " -c 'import xgboost'").status == 0

-- What XGBoost in Python says of rows, by a model in a file: lists of numbers.
local function asked_in_python(path, all)
  local lines = {}
  for i = 0, all.count - 1 do
    local cells = {}
    for k = 0, all.width - 1 do cells[k + 1] = ("%.17g"):format(all.values[i * all.width + k]) end
    lines[#lines + 1] = table.concat(cells, ",")
  end
  local script = program.write(([[
import numpy, xgboost
booster = xgboost.Booster(model_file="%s")
rows = numpy.genfromtxt("%s", delimiter=",", dtype=numpy.float32)
for scores in booster.predict(xgboost.DMatrix(rows, feature_names=booster.feature_names)).reshape(len(rows), -1):
    print(*[repr(float(score)) for score in scores])
]]):format(path, program.write(table.concat(lines, "\n") .. "\n", ".csv")), ".py")
  local answers = {}
  for i, line in ipairs(program.lines(python .. " " .. script)) do
    answers[i] = {}
    for word in line:gmatch "%S+" do table.insert(answers[i], tonumber(word)) end
  end
  return answers
end

describe("nfengine.ml.training", function()
  after_each(program.remove_temporaries)

  if missing then
    pending("trains: " .. missing)
    return
  end

  it("tells the library's version", function() assert.matches("^%d+%.%d+%.%d+$", libxgboost.version()) end)

  for _, kind in ipairs { "boost", "forest" } do
    for _, classes in ipairs { 2, 3 } do
      it(("learns %d classes by %s, and names its features"):format(classes, kind), function()
        local all, labels = some(300, classes)
        local trained = training.train(given {
          rows = all, labels = labels, kind = kind, task = classes == 2 and "binary" or "multiclass",
          class_count = classes,
        })
        local right, model = share_right(trained, all, labels)
        assert(right > 0.99, right)
        assert.same({ "size", "noise", "udps.gap_1" }, model.names)
        assert.equal(classes == 2 and 1 or 3, model.output_count)
        local trees = json.decode(trained.model).learner.gradient_booster.model.trees
        assert.equal(10 * (classes == 2 and 1 or 3), #trees)
        assert(trained.gains.size > 0.8, trained.gains.size)
      end)
    end
  end

  if not has_xgboost then
    pending("has the same answers as XGBoost in Python: no " .. python .. " with it, see make peers")
  else
    for _, kind in ipairs { "boost", "forest" } do
      it("has the same answers as XGBoost in Python, " .. kind, function()
        local all, labels = some(300, 3)
        local trained = training.train(given { rows = all, labels = labels, kind = kind, task = "multiclass",
          class_count = 3 })
        local path = program.write(trained.model, ".json")
        local answers, model = asked_in_python(path, all), ml.load(path)
        assert.equal(300, #answers)
        model:each(all, function(i, outputs)
          for k = 1, 3 do assert.near(answers[i][k], outputs[k - 1], 1e-6) end
        end)
      end)
    end
  end

  it("learns numbers", function()
    local all, labels = some(300, 3)
    local trained = training.train(given { rows = all, labels = labels, task = "regression", trees = 30 })
    local model, worst = ml.load(program.write(trained.model, ".json")), 0
    model:each(all, function(i, outputs) worst = math.max(worst, math.abs(outputs[0] - labels[i])) end)
    assert(worst < 0.05, worst)
  end)

  it("learns numbers by a forest, each tree of which sees what the others do", function()
    local all, labels = some(300, 3)
    local trained = training.train(given { rows = all, labels = labels, task = "regression", kind = "forest",
      trees = 40 })
    local model, sum = ml.load(program.write(trained.model, ".json")), 0
    model:each(all, function(i, outputs) sum = sum + math.abs(outputs[0] - labels[i]) end)
    assert(sum / 300 < 0.1, sum / 300)
    local best, last = 0, 0
    for i, tree in ipairs(json.decode(trained.model).learner.gradient_booster.model.trees) do
      best, last = math.max(best, tree.loss_changes[1]), i > 30 and math.max(last, tree.loss_changes[1]) or 0
    end
    assert(last > 0.9 * best, last .. " " .. best) -- boosting's gains fall from tree to tree
  end)

  it("gives the same model for the same seed, another for another", function()
    local all, labels = some(300, 3)
    local function model(seed)
      return training.train(given { rows = all, labels = labels, task = "multiclass", class_count = 3, kind = "forest",
        seed = seed }).model
    end
    assert.is_true(model(1) == model(1))
    assert.is_false(model(1) == model(2))
  end)

  it("stops where rounds make nothing better", function()
    local all, labels = some(100, 2)
    local other, other_labels = some(60, 2)
    for i = 1, 60, 3 do other_labels[i] = 1 - other_labels[i] end -- what cannot be learnt
    local trained = training.train(given { rows = all, labels = labels, trees = 200, patience = 5,
      validation = { rows = other, labels = other_labels } })
    assert(trained.rounds < 50, trained.rounds)
    assert.equal(trained.rounds, #json.decode(trained.model).learner.gradient_booster.model.trees)
    assert.same({ "size", "noise", "udps.gap_1" }, ml.load(program.write(trained.model, ".json")).names)
  end)

  for _, kind in ipairs { "boost", "forest" } do
    it("lets weights count, " .. kind, function()
      local all, labels, heavy = gathered { { 1, 0, 0 }, { 1, 0, 0 }, { 1, 0, 0 }, { 1, 0, 0 } }, { 0, 0, 0, 1 }, nil
      local function score(weights)
        local trained = training.train(given { rows = all, labels = labels, weights = weights, trees = 50,
          kind = kind })
        local model = ml.load(program.write(trained.model, ".json"))
        model:each(all, function(_, outputs) heavy = outputs[0] end)
        return heavy
      end
      assert(score(nil) < 0.5)
      assert(score { 1, 1, 1, 9 } > 0.5)
    end)
  end

  it("says in one line what the library says against it", function()
    local all, labels = some(20, 2)
    labels[3] = 7
    for _ = 1, 100 do -- also once the loop that calls it is compiled
      local message = testing.refusal(training.train, given { rows = all, labels = labels })
      assert.matches("^xgboost: [^\n]*label must be", message)
    end
  end)
end)
