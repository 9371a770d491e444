--- What models cost. `luajit bench/model.lua` makes one of 100 trees of depth 6 over eight columns, and asks it about
-- rows in batches and one by one; and, where Python has scikit-learn, asks a forest of its of as many trees, at once
-- and one by one, as NFStream's README does.
--
-- `luajit bench/model.lua --write=FILE` only writes the first model, in LightGBM's format, for plugins/model.lua.

package.path = "./lua/?.lua;./lua/?/init.lua;./?.lua;" .. package.path

local ffi = require "ffi"
local ml = require "nfengine.ml"
local shell = require "nfengine.shell"

local COLUMNS = {
  "src_port", "dst_port", "protocol", "bidirectional_packets", "bidirectional_bytes", "bidirectional_duration_ms",
  "src2dst_bytes", "dst2src_bytes",
}
local ROWS, LARGEST = 20000, 1000

-- ---- models ----

--- A tree whose nodes all compare, in LightGBM's words: leaves count from -1 down.
local function tree(number, depth)
  local splits, features, thresholds, left, right, values = 2 ^ depth - 1, {}, {}, {}, {}, {}
  local decisions = {}
  for i = 0, splits - 1 do
    features[i + 1], decisions[i + 1] = math.random(#COLUMNS) - 1, 2
    thresholds[i + 1] = math.random() * LARGEST
    local below = 2 * i + 1 -- the first of the two below, counted level by level
    left[i + 1] = below < splits and below or splits - below - 1
    right[i + 1] = below + 1 < splits and below + 1 or splits - below - 2
  end
  for i = 1, splits + 1 do values[i] = math.random() - 0.5 end
  local function line(name, list) return ("%s=%s\n"):format(name, table.concat(list, " ")) end
  return ("Tree=%d\nnum_leaves=%d\nnum_cat=0\n"):format(number, splits + 1) .. line("split_feature", features)
    .. line("threshold", thresholds) .. line("decision_type", decisions) .. line("left_child", left)
    .. line("right_child", right) .. line("leaf_value", values) .. "\n\n"
end

local function write_model(path, trees, depth)
  local file = assert(io.open(path, "w"))
  file:write("tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx=", #COLUMNS - 1,
    "\nobjective=binary sigmoid:1\nfeature_names=", table.concat(COLUMNS, " "), "\n\n")
  math.randomseed(1)
  for i = 0, trees - 1 do file:write(tree(i, depth)) end
  file:write "end of trees\n"
  file:close()
end

-- ---- measuring ----

-- Microseconds of CPU time for each of so many, of the fastest of a few runs.
local function per_each(count, work)
  local fastest = math.huge
  for _ = 1, 5 do
    local began = os.clock()
    work()
    fastest = math.min(fastest, os.clock() - began)
  end
  return fastest / count * 1e6
end

local function say(what, number, unit) print(("%-62s %10.2f %s"):format(what, number, unit)) end

local function measure(folder)
  local path, large = folder .. "/model.txt", folder .. "/large.txt"
  write_model(path, 100, 6)
  write_model(large, 1000, 8)
  local model = ml.load(path)
  local features = model.feature_count
  local rows, outputs = ffi.new("double[?]", ROWS * features), ffi.new("double[?]", ROWS)
  for i = 0, ROWS * features - 1 do rows[i] = math.random() * LARGEST end
  say("100 trees of depth 6, in batches", per_each(ROWS, function() model:predict(rows, ROWS, outputs) end), "us a row")
  say("the same, one by one", per_each(ROWS, function()
    for i = 0, ROWS - 1 do model:predict(rows + i * features, 1, outputs) end
  end), "us a row")
  say("1,000 trees of depth 8, loaded", per_each(1000, function() ml.load(large) end), "ms")
end

-- ---- scikit-learn ----

local FOREST = [[
import time, numpy
from sklearn.ensemble import RandomForestClassifier
random = numpy.random.default_rng(1)
rows = random.random((20000, 8))
forest = RandomForestClassifier(n_estimators=100, max_depth=6, n_jobs=1, random_state=1)
forest.fit(rows, (rows[:, 0] * rows[:, 1] + rows[:, 2]) > 0.7)
def measure(what, count, work):
    began = time.process_time()
    work()
    print(f"{what:62} {(time.process_time() - began) / count * 1e6:10.2f} us a row")
measure("scikit-learn's forest of 100 trees of depth 6, at once", 20000, lambda: forest.predict(rows))
measure("the same, one by one", 200, lambda: [forest.predict(rows[i : i + 1]) for i in range(200)])
]]

local function measure_forest()
  local python = os.getenv "NFENGINE_ML_PYTHON" or "build/peers/bin/python"
  local result = shell.run(("%s -W ignore -c %s"):format(shell.quote(python), shell.quote(FOREST)))
  io.write(result.status == 0 and result.out or "no scikit-learn beside it: see make peers\n")
end

local to = (arg[1] or ""):match "^%-%-write=(.+)$"
if to then
  write_model(to, 100, 6)
else
  local folder = os.tmpname()
  os.remove(folder)
  shell.run("mkdir " .. shell.quote(folder))
  measure(folder)
  measure_forest()
  shell.run("rm -r " .. shell.quote(folder))
end
