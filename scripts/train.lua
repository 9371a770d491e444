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
local contents = require "nfengine.contents"
local feature_statistics = require "nfengine.ml.feature_statistics"
local labelling = require "nfengine.dataset.labelling"
local manifest = require "nfengine.manifest"
local metrics = require "nfengine.ml.metrics"
local ml = require "nfengine.ml"
local model_manifest = require "nfengine.ml.manifest"
local parameters = require "nfengine.parameters"
local report = require "nfengine.report"
local show = require "nfengine.show"
local split = require "nfengine.dataset.split"
local tasks = require "nfengine.ml.task"
local text = require "nfengine.text"
local training = require "nfengine.ml.training"
local training_set = require "nfengine.ml.training_set"
local warnings = require "nfengine.ml.warnings"

local options = nf.options(labelling.options {
  write = { "", "folder for the model" },
  kind = { "boost", "gradient boosting, or a random forest", choices = { "boost", "forest" } },
  regression = { false, "the label is a number to be predicted" },
  trees = { 100, "rounds, each a tree, or of several classes one a class", integer = true, min = 1, max = 100000 },
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
  classes = { 20, "classes to show in tables, those with most flows", integer = true, min = 1 },
  few = { 20, "warn of classes with fewer flows", integer = true, min = 0 },
})

-- ---- what is asked for ----

local function refuse(usage) error({ usage = usage }, 0) end
local shares = split.shares(options.split, 3)
if not shares[2] then refuse "--split: expected two or three shares" end
if shares[3] and options.kind == "forest" then
  refuse(("--split=%s: a forest does not stop early, expected two shares with --kind=forest")
    :format(table.concat(options.split, ",")))
end
if options.balance and options.regression then
  refuse "--balance: a regression has no classes, expected either --balance or --regression"
end
if options.write == "" then refuse "expected --write=FOLDER behind --" end
local missing = training.missing()
if missing then error(missing, 0) end

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

-- ---- what is done ----

local set = training_set.new {
  shares = shares, group = options.group, seed = options.seed, label = labels.column, kept = options.keep,
  is_regression = options.regression,
}
local files = bundle.new(options.write, { "model.json", "manifest.json" })

--- All of it. Returns false where somebody has interrupted that.
local function run()
  local about, accounts = manifest.new(streamer), set:read(labels, streamer)
  if not accounts then return false end
  for _, account in ipairs(accounts) do about:add(account) end

  local task, began = tasks.of(set), report.now()
  local trained, train = training.train(task:given(options)), set:train()
  if not trained then
    accounts[#accounts].is_interrupted = true -- for the exit status
    return false
  end
  local took = report.now() - began
  local path = files:path "model.json"
  contents.write(path, trained.model)
  local found = metrics.of(ml.load(path), set:test(), task.classes) -- by the evaluator that will be deployed
  local ranges = feature_statistics.ranges(train.rows)

  for _, line in ipairs(warnings.of(set, task, ranges, options.few)) do report.say("warning: " .. line) end
  about:write(files:path "manifest.json", model_manifest.describe {
    files = files, options = options, set = set, task = task, trained = trained, ranges = ranges, found = found,
  })
  files:finish()

  print(table.concat(found:lines(options.classes), "\n"))
  if options.top > 0 then print("\n" .. table.concat(training.gain_lines(trained.gains, options.top), "\n")) end
  if not report.is_quiet then
    report.say(("%s, %d features, trained in %s"):format(text.plural(train.rows.count, "flow"), train.rows.width,
      show.duration(took)))
  end
  return true
end

local ok, result = pcall(run)
if not ok or not result then files:abandon() end
if not ok then error(result, 0) end
if not result then report.say "interrupted: no model was written" end
