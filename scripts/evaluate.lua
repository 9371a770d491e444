--- How good is a model on other captures than those it was trained on? Compares what it says of flows with what they
-- are.
--
-- The model is deployed as nfengine predict does it; labels are given as to nfengine train, by --label-rules, by
-- --label-by-file, or by any other column. Flows without a label are left out. The tables are those of nfengine train;
-- a label that training has not had is a class of its own, which the model cannot get right.
--
-- @categories model
-- @usage nfengine -q train samples/social/monday.pcap --columns=bidirectional_packets,bidirectional_bytes \
--   -- --label=application_category_name --kind=forest --write=model >report 2>&1 && \
--   nfengine -q evaluate samples/social/tuesday.pcap -- --model=model --label=application_category_name 2>drift
-- @output
-- CLASS                       FLOWS  PRECISION   RECALL       F1
-- SocialNetwork                  15     0.9286   0.8667   0.8966
-- Web                            15     0.8750   0.9333   0.9032
-- accuracy 0.9000, balanced accuracy 0.9000, macro F1 0.8999, of 30 flows
--
-- IS, BELOW; PREDICTED          [1]      [2]
-- [1] SocialNetwork              13        2
-- [2] Web                         1       14

local nf = require "nfengine"
local columns = require "nfengine.columns"
local deployment = require "nfengine.ml.deployment"
local labelling = require "nfengine.dataset.labelling"
local metrics = require "nfengine.ml.metrics"
local report = require "nfengine.report"
local text = require "nfengine.text"

local options = nf.options(labelling.options {
  model = { "", "folder that nfengine train has written" },
  classes = { 20, "classes to show in tables, those with most flows", integer = true, min = 1 },
})
if options.model == "" then error({ usage = "expected --model=FOLDER behind --" }, 0) end

local deployed = deployment.new(options.model)
local is_regression = deployed.about.task == "regression"
local labels = labelling.new(options, deployed:plugins())

local given = deployed:parameters()
given.n_dissections = math.max(given.n_dissections, labels.n_dissections)
if not deployed.has_l7 then given.dpi_cache = false end -- as in training: labels of nDPI's are the same then
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
      if not is_regression or columns.is_numeric(column) and not column.is_array then return end
      error(("label %s is %s, expected a number"):format(text.quote(column.name), labelling.kind_of(column)), 0)
    end
  end
  labelling.refuse_column(labels.column, names)
end

local accounts = labels:read(streamer, {
  open = function(_, _, _, all) check_label(all) end,
  write = function(_, flow)
    if flow[labels.column] == "" then left_out = left_out + 1
    elseif is_regression then found:add(labelling.number_of(flow, labels.column), flow["udps.model_score"])
    else found:add(labelling.class_of(flow, labels.column), flow["udps.model_class"]) end
    return true
  end,
})
if not accounts then return report.say "interrupted: the tables would be about a part only" end
if found.total == 0 then error("no flow has a label: nothing was compared", 0) end
print(table.concat(found:lines(options.classes), "\n"))
if left_out > 0 and not report.is_quiet then
  report.say(text.plural(left_out, "flow") .. " left out, without a label")
end
