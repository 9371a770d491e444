--- What is each of these flows, by a model that nfengine train has made? Deploys it: flows with its answer behind them.
--
-- Plugins and parameters are those of training, so that the model gets the features that it has learnt from. What the
-- command line says otherwise is refused where it would change one. The rest is as in nfengine flows: formats, files,
-- live capture, masks, further plugins. nDPI is off unless a feature is of its; --n-dissections=20 adds its columns.
--
-- model_class is the class, model_score its probability (of a regression the value), model_outside how many features
-- lie outside the range that training saw: of traffic unlike any there, a model knows nothing, however sure it seems.
-- When the run ends, a line tells which features these were; --drift writes how often each was.
--
-- @categories model live
-- @usage nfengine -q train samples/social/monday.pcap --columns=bidirectional_packets,bidirectional_bytes \
--   -- --label=application_category_name --kind=forest --write=model >report 2>&1 && \
--   nfengine -q predict samples/social/tuesday.pcap --max-nflows=5 \
--   --columns=dst_port,bidirectional_packets,bidirectional_bytes,udps.model_class,udps.model_score \
--   -- --model=model 2>drift
-- @output
-- dst_port,bidirectional_packets,bidirectional_bytes,udps.model_class,udps.model_score
-- 443,31,5856,"SocialNetwork",0.5356535649383078
-- 443,23,5524,"Web",0.8418531855494296
-- 443,43,8260,"SocialNetwork",0.8807960641610861
-- 443,34,11907,"Web",0.788942148086042
-- 443,36,6554,"SocialNetwork",0.8480112301275149

local nf = require "nfengine"
local deployment = require "nfengine.ml.deployment"

local options = nf.options {
  model = { "", "folder that nfengine train has written" },
  drift = { "", "file for how often each feature was outside its range in training, JSON; - for standard error" },
  scores = { 0, "give so many probabilities, one a class", integer = true, min = 0, max = 1000 },
}
if options.model == "" then error({ usage = "expected --model=FOLDER behind --" }, 0) end

local deployed = deployment.new(options.model)
local streamer = nf.streamer(deployed:parameters())
streamer.udps = deployed:plugins { drift = options.drift, scores = options.scores }
deployed:check(streamer:resolved())
streamer:write()
