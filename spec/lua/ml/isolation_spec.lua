-- lua/nfengine/ml/isolation.lua: forests on rows of numbers, by themselves and beside scikit-learn's.

local ffi = require "ffi"
local isolation = require "nfengine.ml.isolation"
local program = require "spec.support.program"

local PYTHON = os.getenv "NFENGINE_ML_PYTHON" or "build/peers/bin/python"

local function gather(list, most)
  local sample = isolation.sample(#list[1], most)
  for _, row in ipairs(list) do sample:add(ffi.new("double[?]", #row, row)) end
  return sample
end

local function grow(list, options)
  local given = { trees = 100, sample = 256, seed = 0 }
  for name, value in pairs(options or {}) do given[name] = value end
  return isolation.grow(gather(list), given)
end

local function scores(forest, list)
  local got = {}
  for i, row in ipairs(list) do got[i] = forest:score(ffi.new("double[?]", #row, row)) end
  return got
end

-- Numbers from 0 to 1, always the same.
local function random_numbers(state)
  return function()
    state = state * 16807 % 2147483647
    return state / 2147483647
  end
end

-- Two clouds of rows around (0, 0, 0) and (5, 5, 0), and behind them some that are far from both.
local function clouds(usual, outliers)
  local random, list = random_numbers(7), {}
  local function normal()
    return math.sqrt(-2 * math.log(random())) * math.cos(2 * math.pi * random())
  end
  for i = 1, usual do
    local centre = i % 2 * 5
    list[i] = { centre + normal(), centre + normal(), normal() }
  end
  for i = 1, outliers do list[usual + i] = { 24 * random() - 10, 24 * random() - 10, 24 * random() - 12 } end
  return list
end

-- The chance that an outlier, of which there are some at the end, has a higher score than another.
local function auc(got, outliers)
  local wins, usual = 0, #got - outliers
  for i = usual + 1, #got do
    for k = 1, usual do wins = wins + (got[i] > got[k] and 1 or got[i] == got[k] and 0.5 or 0) end
  end
  return wins / (usual * outliers)
end

describe("an isolation forest", function()
  after_each(program.remove_temporaries)

  it("has the scores that its trees' depths come to", function()
    -- Two rows are parted at once: depth 1, and c(2) is 1. What is beyond either is where that is.
    for _, score in ipairs(scores(grow { { 0 }, { 1 } }, { { 0 }, { 1 }, { 50 } })) do
      assert.is_true(math.abs(score - 0.5) < 1e-12)
    end
    -- Rows that are all alike are parted by no tree: c(n) / c(n).
    for _, score in ipairs(scores(grow { { 3, 3 }, { 3, 3 }, { 3, 3 } }, { { 3, 3 }, { 4, 4 } })) do
      assert.is_true(math.abs(score - 0.5) < 1e-12)
    end
    -- Of three rows, two that are nearly one and a third far away, this is alone at depth 1, the others at 2.
    local far = scores(grow { { 0 }, { 1e-9 }, { 1 } }, { { 0 }, { 1 } })
    local c = 2 * (math.log(2) + 0.5772156649015329) - 4 / 3
    assert.is_true(math.abs(far[2] - 2 ^ (-1 / c)) < 1e-9)
    assert.is_true(math.abs(far[1] - 2 ^ (-2 / c)) < 1e-9)
  end)

  it("finds rows that are unlike the others", function()
    local list = clouds(1000, 20)
    local got = scores(grow(list), list)
    assert.is_true(auc(got, 20) > 0.97, auc(got, 20))
    for _, score in ipairs(got) do assert.is_true(score > 0 and score < 1) end
  end)

  it("is the same for the same seed, and another for another", function()
    local list = clouds(300, 5)
    local first = scores(grow(list, { seed = 3 }), list)
    assert.same(first, scores(grow(list, { seed = 3 }), list))
    assert.are_not.same(first, scores(grow(list, { seed = 4 }), list))
  end)

  it("takes absent values", function()
    local absent = 0 / 0
    local list = clouds(100, 0)
    for i = 1, 100, 3 do list[i][2] = absent end
    local got = scores(grow(list), { { 0, absent, 0 }, { absent, absent, absent } })
    for _, score in ipairs(got) do assert.is_true(score > 0 and score < 1) end
    assert.is_true(math.abs(scores(grow { { absent }, { absent } }, { { 1 } })[1] - 0.5) < 1e-12)
  end)

  it("keeps a sample of rows where there are many", function()
    local list = {}
    for i = 1, 5000 do list[i] = { i } end
    local sample = gather(list, 1000)
    assert.same({ 1000, 5000 }, { sample.rows.count, sample.seen })
    local sum = 0
    for _, x in ipairs(sample:values(1)) do sum = sum + x end
    assert.is_true(math.abs(sum / 1000 - 2500) < 150, sum / 1000) -- three standard deviations
  end)

  it("needs two rows", function()
    assert.has_error(function() grow { { 1 } } end, "1 flows to learn from, expected 2 at least")
  end)

  it("ranks rows as scikit-learn's does", function()
    local missing = program.shell(PYTHON .. " -c 'import sklearn, scipy'").status ~= 0
    if missing then return pending(PYTHON .. " has no scikit-learn: see make peers") end
    local list, lines = clouds(1500, 30), {}
    for i, row in ipairs(list) do lines[i] = ("%.17g,%.17g,%.17g"):format(unpack(row)) end
    local got = scores(grow(list), list)
    for i, score in ipairs(got) do lines[i] = ("%s,%.17g"):format(lines[i], score) end
    local path = program.write(table.concat(lines, "\n") .. "\n", ".csv")
    local result = program.shell(("timeout 120 %s -c %s %s"):format(PYTHON, program.quote [[
import sys, numpy
from scipy.stats import spearmanr
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
data = numpy.loadtxt(sys.argv[1], delimiter=",")
x, ours = data[:, :3], data[:, 3]
theirs = -IsolationForest(n_estimators=100, max_samples=256, random_state=0).fit(x).score_samples(x)
truth = numpy.arange(len(x)) >= 1500
print(spearmanr(ours, theirs)[0], abs(ours - theirs).mean())
print(roc_auc_score(truth, ours), roc_auc_score(truth, theirs))]],
      path))
    assert.equal(0, result.status, result.err)
    local rank, apart, own, other = result.out:match "(%S+) (%S+)\n(%S+) (%S+)"
    assert.is_true(tonumber(rank) > 0.93, result.out)
    assert.is_true(tonumber(apart) < 0.02, result.out)
    assert.is_true(math.abs(own - other) < 0.02, result.out)
  end)
end)
