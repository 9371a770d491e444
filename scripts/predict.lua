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
-- @usage printf '%s\n' dst_port,label 22,shell 53,names 443,tls 853,tls 993,tls >rules.csv && \
--   nfengine -q train samples/dns.pcap samples/ssh.pcap samples/tls.pcap \
--   --columns=src2dst_max_ps,dst2src_mean_ps,bidirectional_max_ps \
--   -- --label-rules=rules.csv --apart --few=0 --write=model >report 2>&1 && \
--   nfengine -q predict samples/web.pcap --columns=dst_port,udps.model_class,udps.model_score,udps.model_outside \
--   -- --model=model 2>drift
-- @output
-- dst_port,udps.model_class,udps.model_score,udps.model_outside
-- 67,"tls",0.40425921542244286,1
-- 0,"names",0.9527979762633287,1
-- 0,"names",0.9527979762633287,3
-- 0,"names",0.9527979762633287,3
-- 0,"names",0.9527979762633287,0
-- 53,"names",0.9527979762633287,3
-- 123,"names",0.9527979762633287,2
-- 123,"names",0.9527979762633287,2
-- 53,"names",0.9527979762633287,2
-- 80,"names",0.8826174470188289,0
-- 53,"names",0.9527979762633287,1
-- 80,"names",0.9527979762633287,0
-- 53,"names",0.9527979762633287,1
-- ...

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
