--- Models in the engine: files that libraries of machine learning write, evaluated on flows by the core.
--
--   local model = ml.load "model.json"
--   local bound = model:bind(run.columns)                    -- in a plugin's setup
--   local class, score = model:verdict(bound:ask(flow))      -- in a hook
--
-- A model takes a row of features, numbers, and gives one output or one a class. Plugins and scripts bind it to columns
-- of a run, and then ask it flow by flow. docs/ml.md says which formats there are, and what each is checked against.

local ffi = require "ffi"
local C = require "nfengine.lib"
local lfs = require "nfengine.lfs"
local text = require "nfengine.text"

local ml = {}

-- ---- formats ----

-- How a file begins, in the order of trying, and who reads it.
local FORMATS = {
  { "^tree\r?\n", "nfengine.ml.lightgbm" },
  { "^%s*{", "nfengine.ml.xgboost" },
  { "^\8", "nfengine.ml.onnx" },
}

local function reader_of(content)
  for _, format in ipairs(FORMATS) do
    if content:find(format[1]) then return require(format[2]) end
  end
  error("expected a model of XGBoost (JSON, UBJSON), of LightGBM (text) or in ONNX", 0)
end

-- Libraries that evaluate models in place of the core.
local ENGINES = { onnxruntime = "nfengine.ml.onnxruntime", xgboost = "nfengine.ml.libxgboost" }

local function open_file(path)
  local kind = lfs.attributes(path, "mode")
  if kind and kind ~= "file" then text.fail("cannot read model %s: a %s, expected a file", path, kind) end
  local file, message = io.open(path, "rb")
  return file or text.fail("cannot read model %s", message)
end

local function read_file(path)
  local file = open_file(path)
  local content, problem = file:read "*a"
  file:close()
  if not content then text.fail("cannot read model %s: %s", path, problem) end
  return content
end

-- ---- models ----

local model = {}
model.__index = model

--- A model that the core evaluates, of what a reader has read.
local function finished(read)
  read.feature_count, read.output_count = read.made.feature_count, read.made.output_count
  read.handle = read.made:finish()
  read.made = nil
  return read
end

local function load_own(path)
  local content = read_file(path)
  return finished(reader_of(content).read(content))
end

local function load_with(name, path)
  local engine = ENGINES[name]
  if not engine then
    text.fail("engine %s, expected %s", text.quote(name), table.concat(text.sorted_keys(ENGINES), " or "))
  end
  open_file(path):close() -- where it cannot be read, our own words say so
  return require(engine).load(path)
end

--- Loads a model. Raises one line.
-- @param path of its file
-- @param options table or nil: `engine`, "onnxruntime" or "xgboost", a library that evaluates it; none for the core
-- @return a table: `path`; `format`, who has made it; `task`, "binary", "multiclass" or "regression"; `names` of the
--   features, where the file has them; `classes`, their names, where it has those; `feature_count`, `output_count`;
--   `categories` by feature, where the file has them: texts or numbers whose places, from 0, are what the model takes
function ml.load(path, options)
  local engine = options and options.engine
  local ok, loaded
  if engine and engine ~= "" then ok, loaded = pcall(load_with, engine, path)
  else ok, loaded = pcall(load_own, path) end
  if not ok then
    loaded = text.raised(loaded)
    if loaded:find "^cannot read model " then error(loaded, 0) end
    text.fail("model %s: %s", text.quote(path), loaded)
  end
  loaded.path = path
  return setmetatable(loaded, model)
end

--- A model of decision trees that are written down as Lua tables; of several, the mean counts. Raises one line.
--
--   ml.trees {
--     classes = { "names", "web" },
--     { "dst_port", "==", 53, "names", { "bidirectional_bytes", ">", 5000, "web", { 0.3, 0.7 } } },
--   }
--
-- @param given a list of trees, with `classes`, a list of names; without it, of a regression. A tree is { column,
--   comparison, number, tree where that is true, tree where it is not } or a leaf: the name of a class, a list of the
--   classes' probabilities, or a number. What is absent compares as NaN does: only "~=" is true of it
-- @return a model as ml.load gives it, `path` "trees"
function ml.trees(given)
  local ok, made = pcall(function() return finished(require("nfengine.ml.trees").read(given)) end)
  if not ok then error("trees: " .. text.raised(made), 2) end
  made.path = "trees"
  return setmetatable(made, model)
end

--- Calls its classes by names. Of several outputs that the file has no classes for, a graph that ends in a softmax say,
-- it makes classes: `task` is then "multiclass", of two "binary". Raises one line where their number is another.
-- @param names a list: one name an output, two for the one output of a "binary" model. It becomes `classes`
function model:name_classes(names)
  local expected = self.task == "binary" and 2 or self.output_count
  if expected < 2 then
    text.fail("model %s: %d names of classes, expected none for a regression", text.quote(self.path), #names)
  end
  if #names ~= expected then
    text.fail("model %s: %d names of classes, expected %d", text.quote(self.path), #names, expected)
  end
  if self.task == "regression" then self.task = expected == 2 and "binary" or "multiclass" end
  self.classes = names
end

--- What it says of rows of features. Raises one line where an engine other than the core fails.
-- @param rows double *, row by row
-- @param count how many rows
-- @param outputs double *, to be filled: `output_count` numbers a row
function model:predict(rows, count, outputs)
  if self.engine then return self.engine:predict(rows, count, outputs) end
  C.nf_model_predict(self.handle, rows, count, outputs)
end

--- Asks about each of some rows.
-- @param rows as nfengine.ml.rows gathers them
-- @param take function of the row's number, from 1, and its outputs, double *, valid until it returns
function model:each(rows, take)
  local row, outputs = ffi.new("double[?]", self.feature_count), ffi.new("double[?]", self.output_count)
  for i = 1, rows.count do
    for k = 0, rows.width - 1 do row[k] = rows.values[(i - 1) * rows.width + k] end
    self:predict(row, 1, outputs)
    take(i, outputs)
  end
end

--- Binds it to a run's columns. Raises one line where they do not fit.
-- @param available columns that the run has, arrays as what they are: elements are called NAME_1, NAME_2 …; as setup is
--   told of them, those that the plugin's hooks do not find filled in are refused
-- @param names those that the features are, in their order; nil for the model's own
-- @param is_early whether flows are asked about that still live: then columns that only their end makes are refused
-- @return a binding, whose `ask` answers about flows: nfengine.ml.binding
function model:bind(available, names, is_early)
  return require("nfengine.ml.binding").new(self, available, names, is_early)
end

--- What the outputs come to.
-- @return the number of the class, from 0: nil for a regression, and where an output is NaN, as then none is the
--   largest; its probability, or the value, or NaN
function model:verdict(outputs)
  if self.task == "regression" then return nil, outputs[0] end
  if self.output_count == 1 and outputs[0] == outputs[0] then
    if outputs[0] > 0.5 then return 1, outputs[0] end
    return 0, 1 - outputs[0]
  end
  local best = 0
  for k = 0, self.output_count - 1 do
    if outputs[k] ~= outputs[k] then return nil, outputs[k] end
    if outputs[k] > outputs[best] then best = k end
  end
  return best, outputs[best]
end

-- A plugin that merges leaves all its fields behind when its meter's thread ends. A model among them is pointers to
-- what ends with the thread, and nobody asks it any more: an empty table takes its place. So it does of a binding.
model.__carry = function() return "nfengine.ml", "left_behind", {} end
function ml.left_behind(nothing) return nothing end

return ml
