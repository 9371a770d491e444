--- How good is a model on other captures than those it was trained on? Compares what it says of flows with what they
-- are.
--
-- The model is deployed as nfengine predict does it; labels are given as to nfengine train, by --label-rules, by
-- --label-by-file, or by any other column. Flows without a label are left out. The tables are those of nfengine train;
-- a label that training has not had is a class of its own, which the model cannot get right.
--
-- @categories model
-- @usage printf '%s\n' dst_port,label 22,shell 53,names 443,tls 853,tls 993,tls >rules.csv && \
--   nfengine -q train samples/dns.pcap samples/ssh.pcap samples/tls.pcap \
--   --columns=src2dst_max_ps,dst2src_mean_ps,bidirectional_max_ps \
--   -- --label-rules=rules.csv --apart --few=0 --write=model >report 2>&1 && \
--   nfengine -q evaluate samples/web.pcap -- --model=model --label-rules=rules.csv 2>drift
-- @output
-- CLASS                       FLOWS  PRECISION   RECALL       F1
-- names                          11     0.9167   1.0000   0.9565
-- shell                           1     1.0000   1.0000   1.0000
-- tls                             3     1.0000   0.6667   0.8000
-- accuracy 0.9333, balanced accuracy 0.8889, macro F1 0.9188, of 15 flows
--
-- IS, BELOW; PREDICTED          [1]      [2]      [3]
-- [1] names                      11        0        0
-- [2] shell                       0        1        0
-- [3] tls                         1        0        2

local nf = require "nfengine"
local columns = require "nfengine.columns"
local deployment = require "nfengine.ml.deployment"
local labelling = require "nfengine.dataset.labelling"
local metrics = require "nfengine.ml.metrics"
local report = require "nfengine.report"
local text = require "nfengine.text"

local options = nf.options(labelling.options { model = { "", "folder that nfengine train has written" } })
if options.model == "" then error({ usage = "expected --model=FOLDER behind --" }, 0) end

local deployed = deployment.new(options.model)
local is_regression = deployed.about.task == "regression"
local labels = labelling.new(options, deployed:plugins())

local given = deployed:parameters()
given.n_dissections = math.max(given.n_dissections, labels.n_dissections)
given.udps = labels:plugins()
local streamer = nf.streamer(given)
if labels.is_apart then labelling.check_files(streamer) end
deployed:check(streamer:resolved())

local found = is_regression and metrics.numbers() or metrics.classes(deployed.about.classes)
local left_out = 0

--- Raises one line where the run has no such column, or one that predictions cannot be compared with.
local function check_label(all)
  local names = {}
  for i, column in ipairs(all) do
    names[i] = column.name
    if column.name == labels.column then
      if not is_regression or columns.is_numeric(column) then return end
      error(("label %s is %s, expected a number"):format(text.quote(column.name), column.type), 0)
    end
  end
  error(("no column %s in this run%s"):format(text.quote(labels.column), text.suggest(labels.column, names)), 0)
end

local accounts = labels:read(streamer, {
  open = function(_, _, _, all) check_label(all) end,
  write = function(_, flow)
    local label = flow[labels.column]
    if label == "" then left_out = left_out + 1
    elseif is_regression then found:add(tonumber(label), flow["udps.model_score"])
    else found:add(tostring(label), flow["udps.model_class"]) end
    return true
  end,
})
if not accounts then return report.say "interrupted: the tables would be about a part only" end
if found.total == 0 then error("no flow has a label: nothing was compared", 0) end
print(table.concat(found:lines(), "\n"))
if left_out > 0 and not report.is_quiet then
  report.say(text.plural(left_out, "flow") .. " left out, without a label")
end
