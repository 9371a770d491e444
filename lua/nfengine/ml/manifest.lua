--- Manifests that nfengine train writes beside a model: what they say of it, and how they are read. Nothing of one that
-- is read is believed: it may be anybody's.

local contents = require "nfengine.contents"
local digests = require "nfengine.digests"
local json = require "nfengine.json"
local lfs = require "nfengine.lfs"
local pretty = require "nfengine.pretty"
local text = require "nfengine.text"

local manifest = {}

-- ---- writing ----

-- Loaded where one is written: plugin model reads them in every meter's thread.
local function of_runs() return require "nfengine.manifest" end
local function quantiles() return require("nfengine.ml.feature_statistics").QUANTILES end

local function describe_training(options, task, trained)
  return pretty.object {
    { "library", trained.library }, { "kind", options.kind }, { "task", task.name },
    { "trees", options.trees }, { "rounds", trained.rounds }, { "depth", options.depth },
    { "learning_rate", options.kind == "boost" and options.learning_rate or nil }, { "seed", options.seed },
    { "threads", options.threads }, { "balance", options.balance },
  }
end

local function describe_split(set)
  local counts = {}
  for i, name in ipairs(set.splits) do counts[i] = { name, set.counts.totals[i] } end
  return pretty.object { { "group", set.group }, { "shares", set.shares }, { "flows", pretty.object(counts) } }
end

local function describe_columns(set, ranges, gains)
  local number = 0
  return of_runs().schema(set.columns.learnt, function(column)
    number = number + 1
    local range = column.role == "feature" and ranges[number] or {}
    return {
      { "role", column.role }, { "min", range.min }, { "max", range.max }, { "quantiles", range.quantiles },
      { "gain", range.quantiles and (gains[column.name] or 0) or nil },
    }
  end)
end

local function describe_label(set)
  local owner = set.columns.learnt[#set.columns.learnt].owner
  return pretty.object { { "column", set.label }, { "plugin", owner and owner:match "^plugin (.*)$" } }
end

--- What a manifest says of a model, beyond what those of all runs do: a list of members for nfengine.manifest.
-- @param made `files`, a bundle whose model.json has been written; `options` of training, see nfengine.ml.task; `set`,
--   `task` and `trained`, see nfengine.ml.training_set, task and training; `ranges` of features, see
--   nfengine.ml.feature_statistics; `found` by the test, see nfengine.ml.metrics
function manifest.describe(made)
  local set, trained = made.set, made.trained
  return {
    { "folder", made.files:name() },
    { "files", { of_runs().output(made.files:path "model.json", nil, "model.json") } },
    { "label", describe_label(set) },
    { "classes", made.task.classes }, { "labels", set.counts:described() }, { "flows_without_label", set.left_out },
    { "training", describe_training(made.options, made.task, trained) }, { "split", describe_split(set) },
    { "test", made.found:described() },
    { "quantiles", quantiles() }, { "columns", describe_columns(set, made.ranges, trained.gains) },
  }
end

-- ---- reading ----

local LONGEST = 2 ^ 26 -- bytes

local function is_text(value) return type(value) == "string" end
local function is_number(value) return type(value) == "number" and value - value == 0 end
local function is_table(value) return type(value) == "table" end

local function is_list(value, is_element)
  if not is_table(value) then return false end
  local count = 0
  for _ in pairs(value) do count = count + 1 end
  for i = 1, count do
    if not is_element(value[i]) then return false end
  end
  return true
end

local function is_column(value)
  return is_table(value) and is_text(value.name) and is_text(value.role)
    and (value.min == nil) == (value.max == nil)
    and (value.min == nil or is_number(value.min) and is_number(value.max))
end

-- A plugin is looked for by its name, which therefore is no path. One that a script has itself has no version.
local function is_plugin(value)
  return is_table(value) and is_text(value.name) and value.name:match "^[%w_]+$" ~= nil
    and (value.version == nil or is_text(value.version)) and is_table(value.options)
end

local function is_file(value) return is_table(value) and is_text(value.name) and is_text(value.sha256) end

--- Why it is no manifest of a model, or nil.
local function problem_of(about)
  if not is_table(about) or about.manifest ~= 1 then return "no manifest of format 1" end
  if not is_table(about.engine) or not is_text(about.engine.ndpi) then return "nothing about nDPI" end
  if not is_table(about.training) or not is_text(about.training.task) then return "nothing about training" end
  if not is_list(about.classes, is_text) then return "no list of classes" end
  if not is_list(about.columns, is_column) then return "no list of columns" end
  if not is_list(about.plugins, is_plugin) then return "no list of plugins" end
  if not is_list(about.files, is_file) or #about.files == 0 then return "no file of a model" end
  if not is_table(about.parameters) then return "no parameters" end
  if not is_table(about.label) or not is_text(about.label.column) then return "no label" end
end

local function read_all(path)
  local size = lfs.attributes(path, "mode") == "file" and lfs.attributes(path, "size")
  if not size then error(("%s: no such file, expected the manifest that nfengine train writes"):format(path), 0) end
  if size > LONGEST then error(("%s: %d bytes, expected %d at most"):format(path, size, LONGEST), 0) end
  local content, message = contents.read(path)
  return content or error(message, 0)
end

--- What a manifest says of a model. Raises one line.
-- @return a table: `path`; `task`; `classes`, names in order; `features`: name, min and max of each, in order;
--   `plugins` of training: name, version, sha256, options; `parameters` by name; `label`: column, and the plugin that
--   gave it, if one did; `sha256` of model.json; `ndpi`, its version
function manifest.read(path)
  local ok, about = pcall(json.decode, read_all(path))
  local problem = not ok and "no JSON" or problem_of(about)
  if problem then
    error(("%s: %s, expected the manifest that nfengine train writes"):format(text.quote(path), problem), 0)
  end
  local features = {}
  for _, column in ipairs(about.columns) do
    if column.role == "feature" then
      features[#features + 1] = { name = column.name, min = column.min, max = column.max }
    end
  end
  return {
    path = path, task = about.training.task, classes = about.classes, features = features, plugins = about.plugins,
    parameters = about.parameters, label = about.label, sha256 = about.files[1].sha256, ndpi = about.engine.ndpi,
  }
end

-- ---- whether it is this model's ----

--- Raises one line where a file is another than the model that a manifest tells of.
function manifest.check_file(about, path)
  local found = digests.of_file(path)
  if found == about.sha256 then return end
  error(("%s: SHA-256 %s, expected %s as its manifest has it"):format(text.quote(path), found or "of no file",
    about.sha256), 0)
end

--- The same where the features are others than the model has, as far as its file names them.
-- @param model as nfengine.ml.load gives it
function manifest.check_features(about, model)
  if #about.features ~= model.feature_count then
    error(("%s: %d features, expected %d as the model has them"):format(text.quote(about.path), #about.features,
      model.feature_count), 0)
  end
  for i, name in ipairs(model.names or {}) do
    local told = about.features[i].name
    if told ~= name then
      error(("%s: feature %d is %s, expected %s as the model has it"):format(text.quote(about.path), i,
        text.quote(told), text.quote(name)), 0)
    end
  end
end

return manifest
