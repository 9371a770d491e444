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
local dataset = require "nfengine.dataset"
local labelling = require "nfengine.dataset.labelling"
local manifest = require "nfengine.manifest"
local report = require "nfengine.report"
local split = require "nfengine.dataset.split"

local options = nf.options(labelling.options {
  write = { "", "folder for the dataset" },
  unlabelled = { "", "label for flows without one, which otherwise are left out" },
  split = { {}, "shares of train, validation and test, or of train and test" },
  group = { "flow", "what stays in one part", choices = { "flow", "pair", "host", "time" } },
  seed = { 0, "another number makes another split", integer = true },
  keep = { {}, "columns to take for features though they give flows away: dst_port, say" },
  keys = { true, "write what is no feature to files of its own, row by row" },
  few = { 20, "warn of labels with fewer flows", integer = true, min = 0 },
})

local PARTS = { { "flows" }, { "train", "test" }, { "train", "validation", "test" } }

local shares = split.shares(options.split[1] and options.split or { "1" }, #PARTS)
local is_by_time = options.group == "time" and shares[2] ~= nil
if options.write == "" then error({ usage = "expected --write=FOLDER behind --" }, 0) end

local labels = labelling.new(options)
local streamer = nf.streamer {
  statistical_analysis = true, n_dissections = labels.n_dissections,
  dpi_cache = false, -- so that L7, if asked for, is the same for any number of meters
  udps = labels:plugins(),
}
if labels.is_apart or is_by_time then labelling.check_files(streamer) end

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
    if not labels:read(streamer, made:counting()) then return false end
    splitter:decide()
  end
  local accounts = labels:read(streamer, made)
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
