--- What can a model learn from these captures? Writes features, labels and a manifest into a folder, to train with.
--
-- The files are flows.csv, or with --split train.csv, validation.csv and test.csv. Their last column is the label: by
-- --label-rules (see nfengine --help label), by the name of each capture or of its folder (--label-by-file; then each
-- is read on its own, as times in one say nothing about another), or any other column (--label=application_name).
-- Plugins, a profile, --columns and all parameters make features as in any run; arrays become a column an element.
--
-- What gives a flow away without a look at its behaviour is no feature: addresses, ports, absolute times, VLANs, texts,
-- and what stands beside the label. It is in FILE_keys.csv, in the same order of rows. --keep=dst_port makes it one.
--
-- Parts of one conversation, however a timeout has cut it, are never on both sides of a split. --group=pair keeps all
-- that two addresses say to each other together, --group=host all of a client, the address with the higher port.
-- --group=time puts the earliest flows into the first part and the latest into the last, reading captures twice; what
-- has begun in a part goes on there until it is silent for the idle timeout. Labels are not balanced: stderr tells how
-- many flows each has where, which are rare, and which columns are constant or hold what is no number.
--
-- manifest.json has what it takes to make the same again: versions, parameters, plugins with their options, captures,
-- all with SHA-256; what became of each packet; each column with type, unit, meaning and role. It is written last: a
-- folder without one is not whole. Results are the same for any number of meters. In Python:
--
--     train, test = (pandas.read_csv(f"out/{part}.csv") for part in ("train", "test"))
--     model = sklearn.ensemble.RandomForestClassifier().fit(train.drop(columns="label"), train.label)
--     print(model.score(test.drop(columns="label"), test.label))
--
-- @categories export
-- @usage printf '%s\n' dst_port,protocol,label 80,tcp,web 443,tcp,web 53,udp,names >rules.csv && \
--   nfengine dataset samples/web.pcap --columns=src_ip,dst_ip,protocol,bidirectional_packets,bidirectional_bytes \
--   -- --write=out --label-rules=rules.csv --split=0.7,0.3 --few=0 2>&1 | tail -n +2 && head -n 3 out/train*.csv
-- @output
-- LABEL                                FLOWS   SHARE       TRAIN        TEST
-- names                                   11   55.0%           6           5
-- web                                      9   45.0%           8           1
-- all of them                             20  100.0%          14           6
-- left out, without a label               12
-- ==> out/train.csv <==
-- protocol,bidirectional_packets,bidirectional_bytes,label
-- 6,31,14292,"web"
-- 17,4,352,"names"
--
-- ==> out/train_keys.csv <==
-- src_ip,dst_ip
-- "192.0.2.10","198.51.100.80"
-- "192.0.2.58","192.0.2.1"
-- @usage mkdir browsing shell && cp samples/tls.pcap browsing && cp samples/ssh.pcap shell && \
--   nfengine dataset browsing shell --plugin tcp_rtt -- --write=out --label-by-file=folder --keep=dst_port 2>notes && \
--   grep labels out/manifest.json
-- @output
--   "labels": [{"label": "browsing", "flows": 13}, {"label": "shell", "flows": 8}],

local nf = require "nfengine"
local bundle = require "nfengine.bundle"
local by_file = require "nfengine.dataset.by_file"
local dataset = require "nfengine.dataset"
local manifest = require "nfengine.manifest"
local report = require "nfengine.report"
local split = require "nfengine.dataset.split"

local options = nf.options {
  write = { "", "folder for the dataset" },
  label = { "udps.label", "column with what is to be learnt" },
  label_rules = { "", "rules that say what flows are, for the plugin label", is_file = true },
  label_by_file = { "no", "label flows by the name of their capture, or of the folder that it is in",
    choices = by_file.CHOICES },
  unlabelled = { "", "label for flows without one, which otherwise are left out" },
  split = { {}, "shares of train, validation and test, or of train and test" },
  group = { "flow", "what stays in one part", choices = { "flow", "pair", "host", "time" } },
  seed = { 0, "another number makes another split", integer = true },
  keep = { {}, "columns to take for features though they give flows away: dst_port, say" },
  keys = { true, "write what is no feature to files of its own, row by row" },
  few = { 20, "warn of labels with fewer flows", integer = true, min = 0 },
}

local function refuse(...) error({ usage = string.format(...) }, 0) end

-- ---- what is wanted ----

local PARTS = { { "flows" }, { "train", "test" }, { "train", "validation", "test" } }

local function shares_of(words)
  local shares, sum = {}, 0
  for i, word in ipairs(words[1] and words or { "1" }) do
    shares[i] = tonumber(word) or 0
    sum = shares[i] > 0 and sum + shares[i] or math.huge
  end
  if PARTS[#shares] and math.abs(sum - 1) < 1e-9 then return shares end
  refuse("--split=%s: expected two or three shares that add up to 1", table.concat(words, ","))
end

local shares = shares_of(options.split)
local is_by_file, is_by_time = options.label_by_file ~= "no", options.group == "time" and shares[2] ~= nil
if options.write == "" then refuse "expected --write=FOLDER behind --" end
if is_by_file and (options.label_rules ~= "" or options.label ~= "udps.label") then
  refuse "--label-by-file: expected neither --label nor --label-rules with it"
end

local streamer = nf.streamer {
  statistical_analysis = true,
  n_dissections = options.label:match "^application_" and 20 or 0, -- gives few features, and takes most of the time
  dpi_cache = false, -- so that L7, if asked for, is the same for any number of meters
  udps = is_by_file and by_file.plugin()
    or options.label_rules ~= "" and require "plugins.label" { rules = options.label_rules } or nil,
}

-- ---- reading ----

local captures = (is_by_file or is_by_time) and by_file.captures(streamer) or {}

--- Gives all flows to a sink. Captures with a label each are recordings of their own, and read so. Returns the runs'
-- accounts, or nil where somebody has interrupted one.
local function read(sink)
  if is_by_file then return by_file.read(streamer, captures, options.label_by_file, {}, sink) end
  streamer:to(sink)
  local account = streamer:account()
  if account.is_interrupted and not account.is_live then return nil end
  return { account }
end

-- ---- writing ----

local parts = PARTS[#shares]
local splitter = split.new {
  shares = shares, group = options.group, seed = options.seed, time_unit = streamer.time_unit,
  idle_timeout = streamer.idle_timeout,
}
local made = dataset.new {
  files = bundle.new(options.write, dataset.names(parts, options.keys)), parts = parts, splitter = splitter,
  label = options.label, unlabelled = options.unlabelled, kept = options.keep, has_keys = options.keys,
}

--- Writes all files. Returns false where somebody has interrupted that.
local function write()
  local about = manifest.new(streamer)
  if is_by_time then
    if not read(made:counting()) then return false end
    splitter:decide()
  end
  local accounts = read(made)
  if not accounts then return false end
  if made.counts.records == 0 then error("no flow has a label: nothing was written", 0) end
  for _, account in ipairs(accounts) do about:add(account) end
  made.files:close()
  about:write(made.files:path "manifest.json", made:described())
  made.files:finish()
  return true
end

local ok, result = pcall(write)
if not ok or not result then made.files:abandon() end
if not ok then error(result, 0) end
if not result then return report.say "interrupted: no dataset was written" end
if not report.is_quiet then io.stderr:write(table.concat(made.counts:lines(made.left_out), "\n"), "\n") end
for _, warning in ipairs(made:warnings(options.few)) do report.say("warning: " .. warning) end
