--- Models in the engine: files that libraries of machine learning write, evaluated on flows by the core.
--
--   local ml = require "nfengine.ml"
--   local model = ml.load "model.json"
--   for flow in streamer:flows() do … end
--
-- A model takes a row of features, numbers, and gives one output or one a class. Plugins and scripts bind it to columns
-- of a run, and then ask it flow by flow. docs/ml.md says which formats there are, and what each is checked against.

local ffi = require "ffi"
local C = require "nfengine.lib"
local lfs = require "nfengine.lfs"
local columns = require "nfengine.columns"
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

-- ---- columns ----

--- The columns that the features are, of those that a run has. Raises one line that names what does not fit.
local function columns_for(self, available, names)
  names = names or self.names
  local by_name, known, list = {}, {}, {}
  for _, column in ipairs(available) do
    for _, element in ipairs(columns.elements(column)) do
      by_name[element.name], known[#known + 1] = element, element.name
    end
  end
  if not names then
    error(("model %s: it does not name its %d features, expected columns for them")
      :format(text.quote(self.path), self.feature_count), 0)
  end
  if #names ~= self.feature_count then
    error(("model %s: %d columns, expected %d, one a feature")
      :format(text.quote(self.path), #names, self.feature_count), 0)
  end
  for i, name in ipairs(names) do
    local column = by_name[name]
    if not column then
      error(("model %s: no column %s in this run%s"):format(text.quote(self.path), text.quote(name),
        text.suggest(name, known)), 0)
    end
    local is_category = column.type == "text" and self.categories and self.categories[i]
    if not is_category and not columns.is_numeric(column) then
      error(("model %s: column %s is %s, expected a number"):format(text.quote(self.path), text.quote(name),
        column.type), 0)
    end
    list[i] = column
  end
  return list
end

--- The numbers of a feature's categories, by the text or the number that a column has.
local function category_numbers(categories)
  local numbers = {}
  for i, category in ipairs(categories) do
    if type(category) == "boolean" then category = category and 1 or 0 end
    if category == category then numbers[category] = i - 1 end
  end
  return numbers
end

--- What turns columns into the numbers of their categories: a list of { place in the row, from 0, numbers by category,
-- offset of a text in the record or nil }.
local function categories_of(self, list)
  local mapped = {}
  for i, column in ipairs(list) do
    local categories, offset = self.categories and self.categories[i], column.type == "text" and column.offset or nil
    if categories then
      mapped[#mapped + 1] = { place = i - 1, numbers = category_numbers(categories), offset = offset }
    end
  end
  return mapped
end

--- The columns that a row is read from. Texts give a byte, until the number of their category takes its place.
local function in_numbers(list)
  local given = {}
  for i, column in ipairs(list) do
    local first_byte = { name = column.name, type = "uint8", offset = column.offset, length = 1 }
    given[i] = column.type == "text" and first_byte or column
  end
  return given
end

local function put_categories(mapped, flow, row)
  for _, each in ipairs(mapped) do
    local value = each.offset and ffi.string(ffi.cast("const char *", flow.core) + each.offset) or row[each.place]
    row[each.place] = each.numbers[value] or 0 / 0
  end
end

local binding = {}
binding.__index = binding

-- A plugin that merges leaves all its fields behind when its meter's thread ends. A model among them is pointers to
-- what ends with the thread, and nobody asks it any more: an empty table takes its place.
model.__carry = function() return "nfengine.ml", "left_behind", {} end
binding.__carry = model.__carry
function ml.left_behind(nothing) return nothing end

--- Refuses columns that hold nothing yet when the model is asked, and of flows that live those that say something
-- else, or more, once they have ended.
local function check_filled(self, list, is_early)
  for _, column in ipairs(list) do
    if column.is_late then
      error(("model %s: column %s: %s fills it in after the model is asked, expected one of a plugin before that")
        :format(text.quote(self.path), text.quote(column.name), column.owner), 0)
    end
    if is_early and columns.is_final(column) then
      error(("model %s: column %s is known at a flow's end, expected one that its packets alone make")
        :format(text.quote(self.path), text.quote(column.name)), 0)
    end
  end
end

--- Where the statistics of a flow lie, 0 where the run has none.
local function statistics_offset(available)
  for _, column in ipairs(available) do
    if column.place == "statistics[0].ps.min" then return column.offset end -- the section's first
  end
  return 0
end

--- Binds a model to a run's columns. Raises one line where they do not fit.
-- @param available columns that the run has, arrays as what they are: elements are called NAME_1, NAME_2 …; as setup is
--   told of them, those that the plugin's hooks do not find filled in are refused
-- @param names those that the features are, in their order; nil for the model's own
-- @param is_early whether flows are asked about that still live: then columns that only their end makes are refused
function model:bind(available, names, is_early)
  local list, message = columns_for(self, available, names), ffi.new("char[?]", C.NF_ERROR_SIZE)
  check_filled(self, list, is_early)
  local vector = C.nf_vector_new(columns.to_c(in_numbers(list)), #list, message)
  if vector == nil then error(("model %s: %s"):format(text.quote(self.path), ffi.string(message)), 0) end
  C.nf_vector_set_statistics(vector, statistics_offset(available))
  return setmetatable({
    model = self, columns = list, vector = ffi.gc(vector, C.nf_vector_free), mapped = categories_of(self, list),
    row = ffi.new("double[?]", self.feature_count), outputs = ffi.new("double[?]", self.output_count),
  }, binding)
end

--- Asks the model about a flow, in a hook or as a record. Of one that still lives, features are what they would be if
-- it ended now.
-- @return its outputs, double *, and the row of features that they are for, both valid until the next call
function binding:ask(flow)
  C.nf_vector_read(self.vector, flow.core, self.row)
  put_categories(self.mapped, flow, self.row)
  self.model:predict(self.row, 1, self.outputs)
  return self.outputs, self.row
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

return ml
