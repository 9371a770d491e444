--- Training of trees by XGBoost, which is loaded where that is asked for, and only then: boosting, or a random forest.
--
--   local trained = training.train {
--     rows = rows, labels = { 0, 1, … }, names = { "bidirectional_packets", … }, task = "binary", kind = "boost",
--     trees = 100, depth = 6, learning_rate = 0.3, seed = 0, threads = 1,
--   }
--   trained.model          --> the model as XGBoost's JSON, a text
--   trained.gains          --> by name of a feature: its share of what all splits gain
--
-- The library is Debian's libxgboost0, 1.6 or later. Source of what is called: its c_api.h; of what parameters mean:
-- https://xgboost.readthedocs.io, "XGBoost Parameters" and "Random Forests in XGBoost". The same rows, parameters and
-- number of threads give the same model, byte for byte.

local ffi = require "ffi"
local C = require "nfengine.lib"
local libxgboost = require "nfengine.ml.libxgboost"
local show = require "nfengine.show"

-- A failure that is raised in compiled code which calls the library would end the process: see libxgboost.lua.
require("jit").off(true, true)

local training = {}

ffi.cdef [[
int XGDMatrixCreateFromMat_omp(const float *data, uint64_t rows, uint64_t columns, float missing, void **out,
                               int threads);
int XGDMatrixSetFloatInfo(void *matrix, const char *field, const float *values, uint64_t count);
int XGDMatrixFree(void *matrix);
int XGBoosterUpdateOneIter(void *booster, int iteration, void *matrix);
int XGBoosterBoostOneIter(void *booster, void *matrix, float *gradients, float *hessians, uint64_t count);
int XGBoosterTrainOneIter(void *booster, void *matrix, int iteration, const char *gradients, const char *hessians);
int XGBoosterEvalOneIter(void *booster, int iteration, void **matrices, const char **names, uint64_t count,
                         const char **out);
int XGBoosterSlice(void *booster, int first, int behind_last, int step, void **out);
int XGBoosterSetStrFeatureInfo(void *booster, const char *field, const char **texts, uint64_t count);
int XGBoosterFeatureScore(void *booster, const char *config, uint64_t *name_count, const char ***names,
                          uint64_t *dimensions, const uint64_t **shape, const float **scores);
int XGBoosterSaveModelToBuffer(void *booster, const char *config, uint64_t *size, const char **bytes);
]]

-- ---- the library ----

local library, check = libxgboost.library, libxgboost.check

--- Why nothing can be trained here, or nil.
function training.missing()
  local ok, message = pcall(library)
  return not ok and message or nil
end

--- What a function makes that takes a place for a handle, which is freed once nobody has it.
local function made(free, make)
  local place = ffi.new "void *[1]"
  check(make(place))
  return ffi.gc(place[0], free)
end

-- ---- rows and labels ----

local function set_floats(matrix, field, list)
  check(library().XGDMatrixSetFloatInfo(matrix, field, ffi.new("float[?]", #list, list), #list))
end

--- A table of XGBoost's: rows of single-precision numbers, NaN where there is none.
-- @param rows as nfengine.ml.rows gathers them; none may be infinite
-- @param weights of the rows, or nil
local function matrix_of(rows, labels, weights, threads)
  local lib = library()
  local matrix = made(lib.XGDMatrixFree, function(place)
    return lib.XGDMatrixCreateFromMat_omp(rows.values, rows.count, rows.width, 0 / 0, place, threads)
  end)
  set_floats(matrix, "label", labels)
  if weights then set_floats(matrix, "weight", weights) end
  return matrix
end

-- ---- parameters ----

local OBJECTIVES = {
  binary = { "binary:logistic", "logloss" }, multiclass = { "multi:softprob", "mlogloss" },
  regression = { "reg:squarederror", "rmse" },
}

--- What XGBoost is told, in order. Of a forest each tree sees a part of rows and columns, and their mean counts.
local function parameters_of(given)
  local objective = OBJECTIVES[given.task]
  local list = {
    { "objective", objective[1] }, { "eval_metric", objective[2] }, { "tree_method", "hist" },
    { "max_depth", given.depth }, { "seed", given.seed }, { "nthread", given.threads }, { "verbosity", 0 },
  }
  local function add(name, value) list[#list + 1] = { name, value } end
  if given.task == "multiclass" then add("num_class", given.class_count) end
  if given.kind == "boost" then
    add("eta", given.learning_rate)
    return list
  end
  for _, each in ipairs {
    { "base_score", 0.5 }, { "eta", 1 / given.trees }, { "subsample", 0.8 }, { "colsample_bynode", 0.8 },
    { "lambda", 1e-5 },
  } do list[#list + 1] = each end
  return list
end

local function booster_for(given, matrices)
  local booster = libxgboost.booster(ffi.new("void *[?]", #matrices, matrices), #matrices)
  for _, each in ipairs(parameters_of(given)) do
    check(library().XGBoosterSetParam(booster, each[1], tostring(each[2])))
  end
  return booster
end

-- ---- rounds ----

--- What a booster's loss is on rows that it does not learn from.
local function loss_of(booster, round, matrix)
  local result = ffi.new "const char *[1]"
  local matrices, names = ffi.new("void *[1]", { matrix }), ffi.new("const char *[1]", { "v" })
  check(library().XGBoosterEvalOneIter(booster, round, matrices, names, 1, result))
  return tonumber(ffi.string(result[0]):match ":([^:]+)$")
end

-- What predictions begin with, and the second derivative of the loss there, as XGBoost's objectives have them: of as
-- many classes.
local BEGINNINGS = {
  binary = function() return 0.5, 0.25 end,
  multiclass = function(classes) return 1 / classes, 2 / classes * (1 - 1 / classes) end,
  regression = function() return 0.5, 1 end,
}

--- Derivatives of the loss where nothing has been learnt, by which all trees of a forest grow: first and second ones,
-- float [rows][outputs] each, and how many outputs.
local function derivatives_of(given)
  local is_multiclass = given.task == "multiclass"
  local outputs = is_multiclass and given.class_count or 1
  local count, value, second = #given.labels * outputs, BEGINNINGS[given.task](outputs)
  local gradients, hessians = ffi.new("float[?]", count), ffi.new("float[?]", count)
  for i, label in ipairs(given.labels) do
    local weight = given.weights and given.weights[i] or 1
    for k = 0, outputs - 1 do
      local at, truth = (i - 1) * outputs + k, label
      if is_multiclass then truth = label == k and 1 or 0 end
      gradients[at], hessians[at] = (value - truth) * weight, second * weight
    end
  end
  return gradients, hessians, outputs
end

-- As NumPy's array interface describes numbers that lie somewhere.
local ARRAY = '{"data":[%d,true],"shape":[%d,%d],"typestr":"<f4","version":3}'

--- A function that goes through a forest's next round.
local function growing(given, booster, matrix)
  local lib, rows, gradients, hessians, outputs = library(), #given.labels, derivatives_of(given)
  local function array(numbers) return ARRAY:format(tonumber(ffi.cast("uintptr_t", numbers)), rows, outputs) end
  local is_new, train = pcall(function() return lib.XGBoosterTrainOneIter end) -- from 2.1 on, in place of the other
  if is_new then
    return function(round) check(train(booster, matrix, round, array(gradients), array(hessians))) end
  end
  return function() check(lib.XGBoosterBoostOneIter(booster, matrix, gradients, hessians, rows * outputs)) end
end

--- A function that goes through a round, by its number from 0: in which boosting makes a tree an output of what all
-- those before have left wrong, and a forest one of what there was to begin with. XGBoost would make all trees of a
-- forest in one round (num_parallel_tree), in which nobody could interrupt it.
local function round_of(given, booster, matrix)
  if given.kind == "forest" then return growing(given, booster, matrix) end
  return function(round) check(library().XGBoosterUpdateOneIter(booster, round, matrix)) end
end

--- Goes on for as many rounds as there are to be; with rows to validate by, until so many have made nothing better.
-- Returns how many rounds count, nil where somebody has interrupted that.
local function go_on(given, booster, matrix, validation)
  local go_through, best, best_loss = round_of(given, booster, matrix), 0, math.huge
  for round = 0, given.trees - 1 do
    if C.nf_interrupted() then return nil end
    go_through(round)
    local loss = validation and loss_of(booster, round, validation) or -round
    if loss < best_loss then best, best_loss = round, loss end
    if validation and round - best >= given.patience then break end
  end
  return best + 1
end

-- ---- what has been learnt ----

local function by_gain(gains)
  local list = {}
  for name, gain in pairs(gains) do list[#list + 1] = { name = name, gain = gain } end
  table.sort(list, function(a, b)
    if a.gain ~= b.gain then return a.gain > b.gain end
    return a.name < b.name
  end)
  return list
end

--- A table for people, as lines: features by what they gain, at most so many.
-- @param gains as training.train gives them
function training.gain_lines(gains, most)
  local lines = { ("%-40s%9s"):format("FEATURE", "GAIN") }
  for i, each in ipairs(by_gain(gains)) do
    if i > most then break end
    lines[#lines + 1] = ("%-40s%9s"):format(show.shortened(each.name, 39), show.share(each.gain, 1))
  end
  return lines
end

local function name_features(booster, names)
  local array = ffi.new("const char *[?]", #names, names)
  check(library().XGBoosterSetStrFeatureInfo(booster, "feature_name", array, #names))
end

local function gains_of(booster)
  local count, names, scores = ffi.new "uint64_t[1]", ffi.new "const char **[1]", ffi.new "const float *[1]"
  local dimensions, shape = ffi.new "uint64_t[1]", ffi.new "const uint64_t *[1]"
  check(library().XGBoosterFeatureScore(booster, '{"importance_type": "total_gain"}', count, names, dimensions, shape,
    scores))
  local gains, sum = {}, 0
  for i = 0, tonumber(count[0]) - 1 do sum = sum + scores[0][i] end
  for i = 0, tonumber(count[0]) - 1 do gains[ffi.string(names[0][i])] = sum > 0 and scores[0][i] / sum or 0 end
  return gains
end

local function saved(booster)
  local size, bytes = ffi.new "uint64_t[1]", ffi.new "const char *[1]"
  check(library().XGBoosterSaveModelToBuffer(booster, '{"format": "json"}', size, bytes))
  return ffi.string(bytes[0], size[0])
end

--- Trains a model. Raises one line.
-- @param given `rows`, see nfengine.ml.rows; `labels`, a number a row: of a class, from 0, or the value of a
--   regression; `weights`, a number a row, or nil; `names` of the features; `task`, "binary", "multiclass" (with
--   `class_count`) or "regression"; `kind`, "boost" or "forest"; `trees` (rounds, each a tree, or one a class),
--   `depth`, `learning_rate` (of boosting), `seed`, `threads`; `validation`, { rows =, labels = } by which boosting
--   stops once `patience` rounds have made nothing better, or nil
-- @return a table: `model`, XGBoost's JSON; `rounds`, how many are in it; `gains`, by name of a feature its share of
--   the gain of all splits, of those that are in some; `library`, whose version. nil where somebody has interrupted it,
--   which is looked at between rounds
function training.train(given)
  local matrix = matrix_of(given.rows, given.labels, given.weights, given.threads)
  local by, is_boosting = given.validation, given.kind == "boost"
  local validation = is_boosting and by and matrix_of(by.rows, by.labels, nil, given.threads) or nil
  local booster = booster_for(given, { matrix, validation })
  local rounds = go_on(given, booster, matrix, validation)
  if not rounds then return nil end
  if validation then
    local whole = booster
    booster = made(library().XGBoosterFree, function(place)
      return library().XGBoosterSlice(whole, 0, rounds, 1, place)
    end)
  end
  name_features(booster, given.names)
  return {
    model = saved(booster), rounds = rounds, gains = gains_of(booster), library = "XGBoost " .. libxgboost.version(),
  }
end

return training
