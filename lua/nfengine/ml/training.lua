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

--- What XGBoost is told, in order. A forest is one round of many trees, each of which sees a part of rows and columns.
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
    { "num_parallel_tree", given.trees }, { "eta", 1 }, { "subsample", 0.8 }, { "colsample_bynode", 0.8 },
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

--- Goes on for as many rounds as there are to be; with rows to validate by, until so many have made nothing better.
-- Returns how many rounds count.
local function boost(booster, rounds, matrix, validation, patience)
  local best, best_loss = 0, math.huge
  for round = 0, rounds - 1 do
    check(library().XGBoosterUpdateOneIter(booster, round, matrix))
    local loss = validation and loss_of(booster, round, validation) or -round
    if loss < best_loss then best, best_loss = round, loss end
    if round - best >= patience then break end
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
--   `class_count`) or "regression"; `kind`, "boost" or "forest"; `trees` (of boosting: rounds, each a tree a class),
--   `depth`, `learning_rate` (of boosting), `seed`, `threads`; `validation`, { rows =, labels = } by which boosting
--   stops once `patience` rounds have made nothing better, or nil
-- @return a table: `model`, XGBoost's JSON; `rounds`, how many are in it; `gains`, by name of a feature its share of
--   the gain of all splits, of those that are in some; `library`, whose version
function training.train(given)
  local matrix = matrix_of(given.rows, given.labels, given.weights, given.threads)
  local by, is_boosting = given.validation, given.kind == "boost"
  local validation = is_boosting and by and matrix_of(by.rows, by.labels, nil, given.threads) or nil
  local booster = booster_for(given, { matrix, validation })
  local trained = is_boosting and given.trees or 1
  local rounds = boost(booster, trained, matrix, validation, validation and given.patience or math.huge)
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
