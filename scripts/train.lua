--- Can a model tell what these flows are? Trains one on captures, says how good it is, and writes it with all that it
-- takes to deploy it: nfengine predict.
--
-- Labels are as in nfengine dataset: by --label-rules, by --label-by-file, or any other column. So are features:
-- numbers that do not give a flow away, by plugins, a profile, --columns and all parameters; arrays element by element;
-- --keep takes others. Flows without a label are left out.
--
-- The test part is the latest flows, never a random choice: flows of one host or one minute know each other, and a
-- model that has seen one of them has seen the other, which looks like skill and is none. --group=host or pair keeps
-- all flows of a client, or of two addresses, in one part instead. Recordings that have nothing to do with each other
-- are read and parted one by one with --apart, or labelled by file: else one would be the test of another. With three
-- shares the middle part says when boosting stops: once --patience rounds have not made it better.
--
-- What is printed is about the test part: per class precision, recall and F1; accuracy, its mean over classes
-- (balanced) and the mean F1 (macro); who is taken for whom; and which features the trees gain most by. Warnings tell
-- of classes that are rare or in one part only, of features with one value, and of those that give the label away
-- alone: often they show how the captures were made, not what flows are.
--
-- FOLDER has model.json, XGBoost's, and manifest.json: what nfengine dataset's tells, the classes, how it was trained,
-- how good it is, and the range of each feature. Results are the same for any number of meters. Training is by XGBoost,
-- Debian's package libxgboost0.
--
-- @categories model
-- @usage nfengine train samples/social/monday.pcap --columns=bidirectional_packets,bidirectional_bytes \
--   -- --label=application_category_name --kind=forest --write=model 2>/dev/null
-- @output
-- CLASS                       FLOWS  PRECISION   RECALL       F1
-- SocialNetwork                   6     1.0000   1.0000   1.0000
-- Web                             6     1.0000   1.0000   1.0000
-- accuracy 1.0000, balanced accuracy 1.0000, macro F1 1.0000, of 12 flows
--
-- IS, BELOW; PREDICTED          [1]      [2]
-- [1] SocialNetwork               6        0
-- [2] Web                         0        6
--
-- FEATURE                                      GAIN
-- bidirectional_packets                       55.4%
-- bidirectional_bytes                         44.6%

local nf = require "nfengine"
local bundle = require "nfengine.bundle"
local feature_statistics = require "nfengine.ml.feature_statistics"
local labelling = require "nfengine.dataset.labelling"
local manifest = require "nfengine.manifest"
local metrics = require "nfengine.ml.metrics"
local ml = require "nfengine.ml"
local parameters = require "nfengine.parameters"
local pretty = require "nfengine.pretty"
local report = require "nfengine.report"
local show = require "nfengine.show"
local sources = require "nfengine.sources"
local split = require "nfengine.dataset.split"
local text = require "nfengine.text"
local training = require "nfengine.ml.training"
local training_set = require "nfengine.ml.training_set"

local options = nf.options(labelling.options {
  write = { "", "folder for the model" },
  kind = { "boost", "gradient boosting, or a random forest", choices = { "boost", "forest" } },
  regression = { false, "the label is a number to be predicted" },
  trees = { 100, "trees of a forest; of boosting rounds, each a tree a class", integer = true, min = 1, max = 100000 },
  depth = { 6, "of trees, at most", integer = true, min = 1, max = 30 },
  learning_rate = { 0.3, "of boosting: how much of each tree counts", min = 0.0001, max = 1 },
  patience = { 10, "rounds that may not be better by the validation part", integer = true, min = 1 },
  balance = { false, "let classes weigh the same, however many flows they have" },
  split = { { "0.7", "0.3" }, "shares of train and test, or of train, validation and test" },
  group = { "time", "what stays in one part", choices = { "time", "pair", "host" } },
  seed = { 0, "another number makes another model, and with --group=pair or host another split", integer = true,
    min = 0, max = 2 ^ 31 - 1 },
  threads = { 1, "that train; another number may make another model", integer = true, min = 1, max = 1024 },
  keep = { {}, "columns to take for features though they give flows away: dst_port, say" },
  top = { 10, "features to list", integer = true, min = 0 },
  few = { 20, "warn of classes with fewer flows", integer = true, min = 0 },
})

local SPLITS = { nil, { "train", "test" }, { "train", "validation", "test" } }

local shares = split.shares(options.split, #SPLITS)
local splits = SPLITS[#shares]
if not splits then error({ usage = "--split: expected two or three shares" }, 0) end
if options.write == "" then error({ usage = "expected --write=FOLDER behind --" }, 0) end
local missing = training.missing()
if missing then error(missing, 0) end

-- ---- reading ----

local labels = labelling.new(options)
local streamer = nf.streamer {
  statistical_analysis = true, n_dissections = labels.n_dissections,
  dpi_cache = false, -- so that L7, if asked for, is the same for any number of meters
  udps = labels:plugins(),
}
if labels.is_apart or options.group == "time" then labelling.check_files(streamer) end
if parameters.wants_mask(streamer:resolved()) then
  error("masks: what they change is what a model would learn from, expected none", 0)
end

--- One for each recording: where captures are labelled by file, times in one say nothing about another.
local function splitters()
  local list = {}
  for i = 1, math.max(#labels:recordings(streamer), 1) do
    list[i] = split.new {
      shares = shares, group = options.group, seed = options.seed, time_unit = streamer.time_unit,
      idle_timeout = streamer.idle_timeout,
    }
  end
  return list
end

local learnt = training_set.new {
  splits = splits, splitters = splitters(), label = labels.column, kept = options.keep,
  is_regression = options.regression,
}

--- Gathers all flows. Returns the runs' accounts, or nil where somebody has interrupted one.
local function gather()
  if options.group == "time" then
    if not labels:read(streamer, learnt:counting()) then return nil end
    for _, splitter in ipairs(learnt.splitters) do splitter:decide() end
  end
  return labels:read(streamer, learnt)
end

-- ---- training ----

local train_part, test_part

--- What is to be told: classes by their numbers, as far as the first part has them.
local function task_of()
  train_part, test_part = learnt.taken[1], learnt.taken[#splits]
  if train_part.rows.count == 0 then error("no flow with a label in the train part: nothing was trained", 0) end
  if options.regression then return { name = "regression", classes = {} } end
  local classes, number = learnt:classes(), {}
  if not classes[2] then
    error(("label %s alone in the train part, expected two or more"):format(text.quote(classes[1])), 0)
  end
  for i, class in ipairs(classes) do number[class] = i - 1 end
  return { name = classes[3] and "multiclass" or "binary", classes = classes, number = number }
end

--- Labels as numbers; -1 for a class that nothing can be learnt of.
local function numbers_of(task, part)
  if options.regression then return part.labels end
  local list = {}
  for i, label in ipairs(part.labels) do list[i] = task.number[label] or -1 end
  return list
end

--- Weights with which all classes have the same sum.
local function weights_of(task, numbers)
  if not options.balance or options.regression then return nil end
  local counts, weights = {}, {}
  for _, number in ipairs(numbers) do counts[number] = (counts[number] or 0) + 1 end
  for i, number in ipairs(numbers) do weights[i] = #numbers / #task.classes / counts[number] end
  return weights
end

--- The middle part, if there is one.
local function validation_of(task)
  if #splits < 3 then return nil end
  local part = learnt.taken[2]
  local numbers = numbers_of(task, part)
  for _, number in ipairs(numbers) do
    if number == -1 then
      error("a label of the validation part is none of the train part's, expected another split", 0)
    end
  end
  if #numbers == 0 then error("no flow with a label in the validation part, expected another split", 0) end
  return { rows = part.rows, labels = numbers }
end

local function train(task)
  local numbers = numbers_of(task, train_part)
  return training.train {
    rows = train_part.rows, labels = numbers, weights = weights_of(task, numbers), names = learnt:names(),
    task = task.name, class_count = #task.classes, kind = options.kind, trees = options.trees, depth = options.depth,
    learning_rate = options.learning_rate, seed = options.seed, threads = options.threads,
    validation = validation_of(task), patience = options.patience,
  }
end

--- The file is asked, by the evaluator that will be deployed.
local function judge(task, path)
  local model, rows = ml.load(path), test_part.rows
  local found = options.regression and metrics.numbers() or metrics.classes(task.classes)
  model:each(rows, function(i, outputs)
    local class, value = model:verdict(outputs)
    found:add(test_part.labels[i], class and task.classes[class + 1] or value)
  end)
  return found
end

-- ---- telling ----

local function by_gain(gains)
  local list = {}
  for name, gain in pairs(gains) do list[#list + 1] = { name = name, gain = gain } end
  table.sort(list, function(a, b)
    if a.gain ~= b.gain then return a.gain > b.gain end
    return a.name < b.name
  end)
  return list
end

local function tell(found, gains)
  print(table.concat(found:lines(), "\n"))
  if options.top == 0 then return end
  print(("\n%-40s%9s"):format("FEATURE", "GAIN"))
  for i, each in ipairs(by_gain(gains)) do
    if i > options.top then break end
    print(("%-40s%9s"):format(show.shortened(each.name, 39), show.share(each.gain, 1)))
  end
end

local GIVES_AWAY, COMMON = 0.98, 0.9

--- Features that alone get nearly all labels right, where not nearly all are the same.
local function leaks(task)
  local list, counts, most = {}, {}, 0
  if options.regression or test_part.rows.count == 0 then return list end
  local test_numbers = numbers_of(task, test_part)
  for _, number in ipairs(test_numbers) do
    counts[number] = (counts[number] or 0) + 1
    most = math.max(most, counts[number])
  end
  if most > COMMON * #test_numbers then return list end
  local alone = feature_statistics.alone(train_part.rows, numbers_of(task, train_part), test_part.rows, test_numbers)
  for i, share in ipairs(alone) do
    if share >= GIVES_AWAY then
      list[#list + 1] = ("%s (%s)"):format(learnt.columns.features[i].name, show.share(share, 1))
    end
  end
  return list
end

local function constant(ranges)
  local list = {}
  for i, range in ipairs(ranges) do
    if range.min == range.max then list[#list + 1] = learnt.columns.features[i].name end
  end
  return list
end

local function warn(task, ranges)
  local lines = options.regression and {} or learnt.counts:warnings(options.few)
  local function add(what, list)
    if list[1] then lines[#lines + 1] = what .. ": " .. text.first(list, 10, "feature") end
  end
  add("features with one value only", constant(ranges))
  add("features that give the label away alone", leaks(task))
  if test_part.rows.count == 0 then lines[#lines + 1] = "no flow with a label in the test part" end
  local is_parted_as_one = options.group == "time" and not labels.is_apart and #sources.files(streamer.source) > 1
  if is_parted_as_one and table.concat(lines):find "none in" then
    lines[#lines + 1] = "several captures are parted as one by time, --apart parts each by itself"
  end
  for _, line in ipairs(lines) do report.say("warning: " .. line) end
end

-- ---- writing ----

local function describe_training(trained, task)
  local is_boosting = options.kind == "boost"
  return pretty.object {
    { "library", trained.library }, { "kind", options.kind }, { "task", task.name },
    { "trees", options.trees }, { "rounds", trained.rounds }, { "depth", options.depth },
    { "learning_rate", is_boosting and options.learning_rate or nil }, { "seed", options.seed },
    { "threads", options.threads }, { "balance", options.balance },
  }
end

local function describe_split()
  local counts = {}
  for i, name in ipairs(splits) do counts[i] = { name, learnt.counts.totals[i] } end
  return pretty.object { { "group", options.group }, { "shares", shares }, { "flows", pretty.object(counts) } }
end

local function describe_columns(ranges, gains)
  local number = 0
  return manifest.schema(learnt.columns.learnt, function(column)
    number = number + 1
    local range = column.role == "feature" and ranges[number] or {}
    return {
      { "role", column.role }, { "min", range.min }, { "max", range.max }, { "quantiles", range.quantiles },
      { "gain", range.quantiles and (gains[column.name] or 0) or nil },
    }
  end)
end

local function owner_of_label()
  local learnt_columns = learnt.columns.learnt
  local owner = learnt_columns[#learnt_columns].owner
  return owner and owner:match "^plugin (.*)$"
end

local function describe(files, trained, task, found, ranges)
  return {
    { "folder", files:name() },
    { "files", { manifest.output(files:path "model.json", nil, "model.json") } },
    { "label", pretty.object { { "column", labels.column }, { "plugin", owner_of_label() } } },
    { "classes", task.classes }, { "labels", learnt.counts:described() }, { "flows_without_label", learnt.left_out },
    { "training", describe_training(trained, task) }, { "split", describe_split() }, { "test", found:described() },
    { "quantiles", feature_statistics.QUANTILES }, { "columns", describe_columns(ranges, trained.gains) },
  }
end

local function write_file(path, content)
  local file = assert(io.open(path, "wb"))
  local ok, message = file:write(content)
  local closed, problem = file:close()
  if not (ok and closed) then error(("%s: %s"):format(path, message or problem), 0) end
end

local files = bundle.new(options.write, { "model.json", "manifest.json" })

--- All of it. Returns false where somebody has interrupted that.
local function run()
  local about, accounts = manifest.new(streamer), gather()
  if not accounts then return false end
  for _, account in ipairs(accounts) do about:add(account) end
  local task, began = task_of(), report.now()
  local trained = train(task)
  local took = report.now() - began
  write_file(files:path "model.json", trained.model)
  local found, ranges = judge(task, files:path "model.json"), feature_statistics.ranges(train_part.rows)
  warn(task, ranges)
  about:write(files:path "manifest.json", describe(files, trained, task, found, ranges))
  files:finish()
  tell(found, trained.gains)
  if not report.is_quiet then
    report.say(("%s, %d features, trained in %s"):format(
      text.plural(train_part.rows.count, "flow"), train_part.rows.width, show.duration(took)))
  end
  return true
end

local ok, result = pcall(run)
if not ok or not result then files:abandon() end
if not ok then error(result, 0) end
if not result then report.say "interrupted: no model was written" end
