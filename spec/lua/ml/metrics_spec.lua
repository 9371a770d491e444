local ffi = require "ffi"
local json = require "nfengine.json"
local metrics = require "nfengine.ml.metrics"
local ml = require "nfengine.ml"
local pretty = require "nfengine.pretty"
local program = require "spec.support.program"
local rows = require "nfengine.ml.rows"

-- "is predicted" pairs, as words.
local PAIRS = { "a a", "a a", "a b", "b b", "b c", "c c", "c c", "c c", "c a", "d a" }

local function counted(pairs_of, names)
  local seen = metrics.classes(names or {})
  for _, pair in ipairs(pairs_of) do seen:add(pair:match "(%S+) (%S+)") end
  return seen
end

local python = os.getenv "NFENGINE_ML_PYTHON" or "build/peers/bin/python"
local has_sklearn = program.shell(python .. " -c 'import sklearn'").status == 0

describe("nfengine.ml.metrics", function()
  it("counts who is taken for whom", function()
    local seen = counted(PAIRS, { "a", "b", "c", "d" })
    assert.same({ 2, 1, 0, 1 }, { seen:count(1, 1), seen:count(1, 2), seen:count(1, 4), seen:count(4, 1) })
    assert.equal(10, seen.total)
  end)

  it("gives what can be worked out by hand", function()
    local result = counted(PAIRS, { "a", "b", "c", "d" }):result()
    assert.near(6 / 10, result.accuracy, 1e-15)
    assert.near((2 / 3 + 1 / 2 + 3 / 4 + 0) / 4, result.balanced_accuracy, 1e-15)
    assert.near((4 / 7 + 2 / 4 + 6 / 8 + 0) / 4, result.macro_f1, 1e-15)
    local a, d = result.classes[1], result.classes[4]
    assert.same({ "a", 3, 4 }, { a.class, a.support, a.predicted })
    assert.near(2 / 4, a.precision, 1e-15)
    assert.near(2 / 3, a.recall, 1e-15)
    assert.same({ 0, 0, 0 }, { d.precision, d.recall, d.f1 })
  end)

  it("leaves classes out of means that there is nothing of", function()
    local result = counted({ "a a", "b b" }, { "a", "b", "unheard" }):result()
    assert.same({ 1, 1, 1 }, { result.accuracy, result.balanced_accuracy, result.macro_f1 })
    result = counted({ "a a", "a b" }):result() -- b is predicted: it counts for F1, not for balanced accuracy
    assert.same({ 0.5, 0.5 }, { result.accuracy, result.balanced_accuracy })
    assert.near((2 / 3 + 0) / 2, result.macro_f1, 1e-15)
  end)

  it("has nothing to divide by where nothing was predicted", function()
    local result = metrics.classes({ "a", "b" }):result()
    assert.same({ 0, 0, 0, 0 }, { result.total, result.accuracy, result.balanced_accuracy, result.macro_f1 })
  end)

  it("describes the matrix, of up to a thousand classes", function()
    local function described(count)
      local names = {}
      for i = 1, count do names[i] = ("c%d"):format(i) end
      return json.decode(pretty.encode(counted({ "c1 c2" }, names):described()))
    end
    assert.same({ { 0, 1 }, { 0, 0 } }, described(2).confusion)
    assert.equal(1000, #described(1000).confusion)
    local many = described(1001)
    assert.same({ 1001, nil }, { #many.classes, many.confusion })
  end)

  it("prints tables", function()
    assert.same({
      "CLASS                       FLOWS  PRECISION   RECALL       F1",
      "names                           2     1.0000   0.5000   0.6667",
      "web                             1     0.5000   1.0000   0.6667",
      "accuracy 0.6667, balanced accuracy 0.7500, macro F1 0.6667, of 3 flows",
      "",
      "IS, BELOW; PREDICTED          [1]      [2]",
      "[1] names                       1        1",
      "[2] web                         0        1",
    }, counted({ "names names", "names web", "web web" }):lines())
  end)

  it("prints the most frequent of many classes, and the others as one", function()
    assert.same({
      "CLASS                       FLOWS  PRECISION   RECALL       F1",
      "a                               3     0.5000   0.6667   0.5714",
      "c                               4     0.7500   0.7500   0.7500",
      "2 more                          3",
      "accuracy 0.6000, balanced accuracy 0.4792, macro F1 0.4554, of 10 flows",
      "",
      "IS, BELOW; PREDICTED          [1]      [3]   others",
      "[1] a                           2        0        1",
      "[3] c                           1        3        0",
      "2 more                          1        1        1",
    }, counted(PAIRS, { "a", "b", "c", "d" }):lines(2))
  end)

  it("shortens a class's name, and never its number", function()
    local name = "a.very.long.name.of.a.class.indeed"
    local lines = counted({ name .. " " .. name }):lines()
    assert.equal("...ame.of.a.class.indeed        1     1.0000   1.0000   1.0000", lines[2])
    assert.equal("[1] ...of.a.class.indeed        1", lines[#lines])
  end)

  it("judges numbers", function()
    local seen = metrics.numbers()
    seen:add(1e9 + 1, 1e9 + 2)
    seen:add(1e9 + 2, 1e9 + 2)
    seen:add(1e9 + 3, 1e9 + 1)
    local result = seen:result()
    assert.near(1, result.mean_absolute_error, 1e-9)
    assert.near(math.sqrt(5 / 3), result.root_mean_squared_error, 1e-9)
    assert.near(1 - 5 / 2, result.r2, 1e-9)
  end)

  it("asks a model about rows whose labels are known", function()
    local all = rows.new(1)
    for _, size in ipairs { 1, 2, 3 } do all:add(ffi.new("double[1]", size)) end
    local classes = ml.trees { classes = { "a", "b" }, { "x", ">", 1.5, "b", "a" } }
    local seen = metrics.of(classes, { rows = all, labels = { "a", "a", "b" } }, { "a", "b" })
    assert.same({ 1, 1, 1 }, { seen:count(1, 1), seen:count(1, 2), seen:count(2, 2) })
    local values = ml.trees { { "x", ">", 1.5, 7, 5 } }
    assert.near(2 / 3, metrics.of(values, { rows = all, labels = { 5, 6, 8 } }, {}):result().mean_absolute_error, 1e-12)
  end)

  it("calls what is no class by no name", function()
    local all = rows.new(1)
    all:add(ffi.new("double[1]", 1))
    local model = { each = function(_, _, take) take(1, nil) end, verdict = function() return nil, 0 / 0 end }
    local seen = metrics.of(model, { rows = all, labels = { "a" } }, { "a", "b" })
    assert.same({ { "a", "b", "" }, 1 }, { seen.names, seen:count(1, 3) })
  end)

  if not has_sklearn then
    pending("agrees with scikit-learn: no " .. python .. " with it, see make peers")
  else
    it("agrees with scikit-learn", function()
      math.randomseed(7)
      local pairs_of, truth, predicted = {}, {}, {}
      for i = 1, 500 do
        truth[i], predicted[i] = "c" .. math.random(6), "c" .. math.random(math.random(7))
        pairs_of[i] = truth[i] .. " " .. predicted[i]
      end
      local script = program.write(([[
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, precision_recall_fscore_support as each
import warnings
warnings.simplefilter("ignore")
t, p = "%s".split(), "%s".split()
print(repr(float(accuracy_score(t, p))), repr(float(balanced_accuracy_score(t, p))),
      repr(float(f1_score(t, p, average="macro"))))
labels = sorted(set(t) | set(p))
for row in zip(labels, *each(t, p, labels=labels)): print(*[x if isinstance(x, str) else repr(float(x)) for x in row])
]]):format(table.concat(truth, " "), table.concat(predicted, " ")), ".py")
      local lines = program.lines(python .. " " .. script)
      local result, by_class = counted(pairs_of):result(), {}
      for _, each in ipairs(result.classes) do by_class[each.class] = each end
      local accuracy, balanced, macro = lines[1]:match "(%S+) (%S+) (%S+)"
      assert.near(tonumber(accuracy), result.accuracy, 1e-14)
      assert.near(tonumber(balanced), result.balanced_accuracy, 1e-14)
      assert.near(tonumber(macro), result.macro_f1, 1e-14)
      assert.equal(8, #lines)
      for i = 2, #lines do
        local class, precision, recall, f1, support = lines[i]:match "(%S+) (%S+) (%S+) (%S+) (%S+)"
        assert.near(tonumber(precision), by_class[class].precision, 1e-14)
        assert.near(tonumber(recall), by_class[class].recall, 1e-14)
        assert.near(tonumber(f1), by_class[class].f1, 1e-14)
        assert.equal(tonumber(support), by_class[class].support)
      end
      program.remove_temporaries()
    end)
  end
end)
