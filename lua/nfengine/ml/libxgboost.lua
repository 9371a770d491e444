--- XGBoost's own library: models that it evaluates itself, also of objectives that nfengine.ml.xgboost does not know.
-- The only file that loads it; those that train with it declare what else they need, and use library() and check().
--
-- Source: xgboost/c_api.h of 1.7, Debian's libxgboost0; later versions have the same functions.

local ffi = require "ffi"
local cjson = require("nfengine.installed").require "cjson.safe"
local reals = require "nfengine.ml.reals"
local shared_library = require "nfengine.ml.shared_library"
local text = require "nfengine.text"
local xgboost = require "nfengine.ml.xgboost"

local libxgboost = {}

-- A failure in the library looks at the stack, and aborts where that leads through compiled code: no file that calls it
-- is compiled.
require("jit").off(true, true)

local DECLARATIONS = [[
const char *XGBGetLastError(void);
void XGBoostVersion(int *major, int *minor, int *patch);
int XGBoosterCreate(void *const *matrices, uint64_t count, void **booster);
int XGBoosterFree(void *booster);
int XGBoosterSetParam(void *booster, const char *name, const char *value);
int XGBoosterLoadModel(void *booster, const char *path);
int XGBoosterGetNumFeature(void *booster, uint64_t *count);
int XGBoosterGetAttr(void *booster, const char *name, const char **value, int *is_there);
int XGBoosterGetStrFeatureInfo(void *booster, const char *field, uint64_t *size, const char ***values);
int XGBoosterSaveJsonConfig(void *booster, uint64_t *size, const char **json);
int XGBoosterPredictFromDense(void *booster, const char *values, const char *config, void *matrix,
                              const uint64_t **shape, uint64_t *dimensions, const float **results);
]]

-- ---- the library ----

local library

--- The library's namespace. Raises one line where it is not there.
function libxgboost.library()
  if library then return library end
  local name = os.getenv "NFENGINE_XGBOOST" or "libxgboost.so.0"
  local loaded = shared_library.load(name, "XGBoosterPredictFromDense")
  if not loaded then
    text.fail("cannot load %s, expected the Debian package libxgboost0", name)
  end
  ffi.cdef(DECLARATIONS)
  library = loaded
  return library
end

--- Raises what a call has failed with, in one line, without the time and the stack that the library puts around it.
-- @param status what the call has returned
function libxgboost.check(status)
  if status == 0 then return end
  local message = ffi.string(library.XGBGetLastError()):gsub("\nStack trace:.*", ""):gsub("^%[[%d:]+%] ", "")
  error("xgboost: " .. text.one_line((message:gsub("%s+$", ""))), 0)
end

function libxgboost.version()
  local numbers = ffi.new "int[3]"
  libxgboost.library().XGBoostVersion(numbers, numbers + 1, numbers + 2)
  return ("%d.%d.%d"):format(numbers[0], numbers[1], numbers[2])
end

local check = libxgboost.check

--- A booster of one thread, freed with whoever has it last.
-- @param matrices void *[?] that it is trained on, or nil
-- @param count how many
function libxgboost.booster(matrices, count)
  local C, out = libxgboost.library(), ffi.new "void *[1]"
  check(C.XGBoosterCreate(matrices, count or 0, out))
  local booster = ffi.gc(out[0], C.XGBoosterFree)
  check(C.XGBoosterSetParam(booster, "nthread", "1"))
  return booster
end

-- ---- predicting ----

-- In place: rows of single precision are read where they lie, as NumPy's array interface describes them.
local ROWS = '{"data":[%d,true],"shape":[%d,%d],"typestr":"<f4","version":3}'
local CONFIG = '{"type":0,"training":false,"iteration_begin":0,"iteration_end":%d,"strict_shape":true,"cache_id":0,'
  .. '"missing":NaN}'

local engine = {}
engine.__index = engine

local function reserve(self, size)
  if self.size and self.size >= size then return end
  self.rows, self.size = ffi.new("float[?]", size), size
end

--- What the library says of rows.
-- @return float *, valid until the next call; how many numbers
local function answers_of(self, rows, count)
  local C, size = libxgboost.library(), count * self.feature_count
  reserve(self, size)
  for i = 0, size - 1 do self.rows[i] = rows[i] end
  local shape, dimensions, results = ffi.new "const uint64_t *[1]", ffi.new "uint64_t[1]", ffi.new "const float *[1]"
  local address = tonumber(ffi.cast("uintptr_t", self.rows))
  check(C.XGBoosterPredictFromDense(self.booster, ROWS:format(address, count, self.feature_count), self.config,
    nil, shape, dimensions, results))
  local total = 1
  for i = 0, tonumber(dimensions[0]) - 1 do total = total * tonumber(shape[0][i]) end
  return results[0], total
end

--- See nfengine.ml.
function engine:predict(rows, count, outputs)
  if count == 0 then return end
  local answers, total = answers_of(self, rows, count)
  if total ~= count * self.output_count then error("xgboost: another number of outputs than for a row of zeros", 0) end
  for i = 0, total - 1 do outputs[i] = reals.float(answers + i) end
  if self.is_margin then
    for i = 0, total - 1 do outputs[i] = 1 / (1 + math.exp(-outputs[i])) end
  end
end

-- ---- loading ----

--- The names of features that a model has, nil where it has none.
local function names_of(booster)
  local C, size, values = libxgboost.library(), ffi.new "uint64_t[1]", ffi.new "const char **[1]"
  check(C.XGBoosterGetStrFeatureInfo(booster, "feature_name", size, values))
  local names = {}
  for i = 1, tonumber(size[0]) do names[i] = ffi.string(values[0][i - 1]) end
  return names[1] and names
end

local function objective_of(booster)
  local C, size, json = libxgboost.library(), ffi.new "uint64_t[1]", ffi.new "const char *[1]"
  check(C.XGBoosterSaveJsonConfig(booster, size, json))
  local config = cjson.decode(ffi.string(json[0], tonumber(size[0])))
  return config.learner.objective.name
end

--- How many rounds of trees count, as nfengine.ml.xgboost has it: those up to the best iteration, or 0 for all.
local function rounds_of(booster)
  local value, is_there = ffi.new "const char *[1]", ffi.new "int[1]"
  check(libxgboost.library().XGBoosterGetAttr(booster, "best_iteration", value, is_there))
  return is_there[0] == 1 and (tonumber(ffi.string(value[0])) or -1) + 1 or 0
end

local function task_of(objective, outputs)
  if objective:find "^multi:" then return "multiclass" end
  return outputs == 1 and objective:find "^binary:" and "binary" or "regression"
end

--- Refuses files of later versions than the library's: it would take what it does not know for something else, base
-- scores that are lists for 0.5. One in a format that only the library reads says nothing of its version.
local function check_version(path)
  local file = assert(io.open(path, "rb"))
  local given = xgboost.version(file:read "*a" or "")
  file:close()
  local version = libxgboost.version()
  local major, minor = version:match "^(%d+)%.(%d+)"
  major, minor = tonumber(major), tonumber(minor)
  if given and (given[1] > major or given[1] == major and given[2] > minor) then
    text.fail("saved by XGBoost %s, expected %s, the version of the library, or before", table.concat(given, "."),
      version)
  end
end

--- Loads a model, see nfengine.ml.load. Raises one line. Of objectives whose answers are no probabilities but a class,
-- or a margin, it gives probabilities, as the core does.
-- @param path of its file, whose ending tells the library the format: .json, .ubj, or another for its own
function libxgboost.load(path)
  local C, booster = libxgboost.library(), libxgboost.booster()
  check_version(path)
  check(C.XGBoosterLoadModel(booster, path))
  local features, objective = ffi.new "uint64_t[1]", objective_of(booster)
  check(C.XGBoosterGetNumFeature(booster, features))
  if objective == "multi:softmax" then check(C.XGBoosterSetParam(booster, "objective", "multi:softprob")) end
  local self = setmetatable({
    booster = booster, feature_count = tonumber(features[0]), config = CONFIG:format(rounds_of(booster)),
    is_margin = objective == "binary:logitraw",
  }, engine)
  if self.feature_count < 1 or self.feature_count > 65536 then
    text.fail("%d features, expected 1 to 65536", self.feature_count)
  end
  local _, outputs = answers_of(self, ffi.new("double[?]", self.feature_count), 1)
  self.output_count = outputs
  return {
    format = "XGBoost, by its library " .. libxgboost.version(), engine = self, names = names_of(booster),
    task = task_of(objective, outputs), feature_count = self.feature_count, output_count = outputs,
  }
end

return libxgboost
