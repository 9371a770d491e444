--- Asks a model what each flow is: one that XGBoost, LightGBM or scikit-learn has trained.
--
-- The file says which features it takes, or `columns` do, in the model's order: columns of the run, elements of arrays
-- as NAME_1, NAME_2 …; also those of plugins that stand before this one, and of no others. Classes are called as the
-- file does, by their numbers, from 0, or as `classes` says, which tells as well that outputs are classes where a file,
-- of ONNX say, does not. The score is the probability of that class; of a regression, the value. A model that does not
-- fit the run's columns is refused before the first packet.
--
-- `manifest`, the one that nfengine train has written beside the model, has columns and classes, and the range of each
-- feature in training: model_outside then counts the features of a flow that are outside, and when the run ends a line
-- says which these were, or all of it the file `drift`. Another model's is refused.
--
-- A feature that the model knows as a category takes a column of texts, or of numbers, where the file says which: what
-- is not among them is absent. docs/ml.md tells more.
--
-- A flow is decided at its end; or earlier, with `after_packets`, `after_bytes` and `after_ms`, at the first packet
-- that reaches one of these limits, as plugin first_n has them. What the model sees then is the flow up to that packet,
-- with the same values, bit for bit, that first_n's records with these limits have: a model trained on those sees in
-- use what it was trained on. Columns that the flow's end makes or completes are refused then: nDPI's, and those of
-- plugins with an on_expire hook. A flow that ends before is decided at its end. After the decision, `afterwards`,
--
--   count   the flow goes on, and costs no more than without plugins: its record is that of the whole flow
--   freeze  later packets belong to it, but are not counted: its record holds what the model has seen
--   end     it ends, with expiration_id -1, and later packets begin another
--
-- @usage nfengine flows --plugin model -a model.file=samples/model.txt -a model.classes=web,names,other \
--   --n-dissections=0 --columns=dst_port,protocol,udps.model_class --max-nflows=6 samples/web.pcap
-- @output
-- dst_port,protocol,udps.model_class
-- 67,17,"other"
-- 0,1,"other"
-- 0,58,"other"
-- 0,58,"other"
-- 0,58,"other"
-- 53,17,"names"

local nf = require "nfengine"

local function put_scores(self, udps, outputs)
  if self.scores == 0 then return end
  if self.model.output_count == 1 and self.model.task == "binary" then
    udps.model_scores[1] = 1 - outputs[0]
    if self.scores > 1 then udps.model_scores[2] = outputs[0] end
    return
  end
  for i = 1, math.min(self.scores, self.model.output_count) do udps.model_scores[i] = outputs[i - 1] end
end

local function load_model(self)
  return require("nfengine.ml").load(self.file, { engine = self.engine })
end

--- Loads the model of a manifest, and takes what that says where no option says it.
local function load_with_manifest(self)
  local manifest = require "nfengine.ml.manifest"
  local about = manifest.read(self.manifest)
  manifest.check_file(about, self.file)
  self.model, self.watch = load_model(self), require("nfengine.ml.drift").new(about.features)
  manifest.check_features(about, self.model)
  if not self.classes[1] then self.classes = about.classes end
  if self.columns[1] then return end
  for i, feature in ipairs(about.features) do self.columns[i] = feature.name end
end

--- Raises one line now where the file could not be written at the end.
local function check_drift(path)
  if path == "" or path == "-" then return end
  local file, message = io.open(path, "a")
  if not file then error(("drift: %s, expected a file to write, or -"):format(message), 0) end
  file:close()
end

local function tell_drift(self)
  local line = self.watch:line(5)
  if line then require("nfengine.report").say("warning: model: " .. line) end
  if self.drift == "-" then io.stderr:write(self.watch:json())
  elseif self.drift ~= "" then require("nfengine.contents").write(self.drift, self.watch:json()) end
end

local function decide(self, flow)
  local udps = flow.udps
  local outputs, row = self.bound:ask(flow)
  local class, score = self.model:verdict(outputs)
  udps.model_class = class and (self.names[class + 1] or tostring(class)) or ""
  udps.model_score = score
  udps.model_packets = flow.bidirectional_packets
  put_scores(self, udps, outputs)
  if self.watch then udps.model_outside = self.watch:count(row) end
end

local function decide_now(self, flow)
  decide(self, flow)
  if self.afterwards == "freeze" then flow.is_frozen = true
  elseif self.afterwards == "end" then flow.expiration_id = -1
  else flow:done() end
end

local function look(self, packet, flow)
  local udps = flow.udps
  if udps.model_packets > 0 then return end -- behind 30 plugins that take packets, done() keeps none away
  udps.model_ticks = udps.model_ticks + packet.delta_time
  if flow.bidirectional_packets >= self.packet_limit or flow.bidirectional_bytes >= self.byte_limit
    or udps.model_ticks >= self.time_limit then
    decide_now(self, flow)
  end
end

local function limit(value) return value > 0 and value or math.huge end

return nf.plugin {
  name        = "model",
  version     = "1.0.0",
  api         = 1,
  description = "Asks a model what each flow is",
  author      = "the nfengine authors",
  license     = "MIT",
  categories  = { "model" },
  independent = true,
  options     = {
    file    = { "", "the model: XGBoost's JSON or UBJSON, LightGBM's text, or ONNX", is_file = true },
    columns = { {}, "columns that its features are, in its order; none for the names in the file" },
    classes = { {}, "names of its classes, from the first; none for those in the file" },
    manifest = { "", "what nfengine train has written beside it: columns, classes, ranges", is_file = true },
    drift   = { "", "with manifest: file for how often each feature was outside, JSON; - for standard error" },
    after_packets = { 0, "decide with that packet of a flow; 0 for no such limit", integer = true, min = 0 },
    after_bytes = { 0, "decide with the packet that makes it so many bytes; 0 for no such limit", integer = true,
      min = 0 },
    after_ms = { 0, "decide with the first packet that late after the first; 0 for no such limit", min = 0 },
    afterwards = { "count", "what becomes of a flow that was decided before its end",
      choices = { "count", "freeze", "end" } },
    engine  = { "", "a library that evaluates it: onnxruntime or xgboost; none for nfengine itself" },
    scores  = { 0, "give so many probabilities, one a class", integer = true, min = 0, max = 1000 },
  },
  columns     = function(options)
    local list = {
      { "model_class", "string:64", "class that the model finds most likely; empty for a regression, or NaN",
        is_identifying = false },
      { "model_score", "double", "probability of that class; of a regression, the value" },
      { "model_packets", "uint64", "packets of the flow when it was decided" },
    }
    if options.manifest ~= "" then
      list[#list + 1] = { "model_outside", "uint16", "features outside the range that training has seen" }
    end
    if options.scores > 0 then
      list[#list + 1] = { "model_scores", ("double[%d]"):format(options.scores), "probability of each class" }
    end
    return list
  end,

  state = { { "model_ticks", "double" } }, -- since the flow's first packet, in the run's time unit

  setup = function(self, run)
    if self.file == "" then error("file: none, expected that of a model", 0) end
    if self.manifest ~= "" then load_with_manifest(self) else self.model, self.watch = load_model(self), false end
    if self.classes[1] then self.model:name_classes(self.classes) end
    self.names = self.model.classes or {}
    self.packet_limit, self.byte_limit = limit(self.after_packets), limit(self.after_bytes)
    self.time_limit = limit(self.after_ms * run.ticks_per_second / 1000)
    self.is_early = math.min(self.packet_limit, self.byte_limit, self.time_limit) < math.huge
    self.bound = self.model:bind(run.columns, self.columns[1] and self.columns or nil, self.is_early)
    if self.watch then check_drift(self.drift) end
  end,

  on_init = function(self, packet, flow)
    if self.is_early then look(self, packet, flow) else flow:done() end
  end,
  on_update = look,
  on_expire = function(self, flow)
    if flow.udps.model_packets == 0 then decide(self, flow) end
  end,

  merge = function(self, other)
    if self.watch then self.watch:add(other.watch) end
  end,

  cleanup = function(self)
    if rawget(self, "watch") then tell_drift(self) end
  end,
}
