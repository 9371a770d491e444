--- Asks a model what each flow is: one that XGBoost, LightGBM or scikit-learn has trained.
--
-- The file says which features it takes, or `columns` do, in the model's order: columns of the run, elements of arrays
-- as NAME_1, NAME_2 …; also those of plugins that stand before this one. Classes are called by their numbers, from 0,
-- or as `classes` says. The score is the probability of that class; of a regression, the value. A model that does not
-- fit the run's columns is refused before the first packet.
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

local function decide(self, flow)
  local udps, outputs = flow.udps, self.bound:ask(flow)
  local class, score = self.model:verdict(outputs)
  udps.model_class = class and (self.classes[class + 1] or tostring(class)) or ""
  udps.model_score = score
  udps.model_packets = flow.bidirectional_packets
  put_scores(self, udps, outputs)
end

local function decide_now(self, flow)
  decide(self, flow)
  if self.afterwards == "freeze" then flow.is_frozen = true
  elseif self.afterwards == "end" then flow.expiration_id = -1
  else flow:done() end
end

local function look(self, packet, flow)
  local udps = flow.udps
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
    classes = { {}, "names of its classes, from the first" },
    after_packets = { 0, "decide with that packet of a flow; 0 for no such limit", integer = true, min = 0 },
    after_bytes = { 0, "decide with the packet that makes it so many bytes; 0 for no such limit", integer = true,
      min = 0 },
    after_ms = { 0, "decide with the first packet that late after the first; 0 for no such limit", min = 0 },
    afterwards = { "count", "what becomes of a flow that was decided before its end",
      choices = { "count", "freeze", "end" } },
    scores  = { 0, "give so many probabilities, one a class", integer = true, min = 0, max = 1000 },
  },
  columns     = function(options)
    local list = {
      { "model_class", "string:31", "class that the model finds most likely; empty for a regression",
        is_identifying = false },
      { "model_score", "double", "probability of that class; of a regression, the value" },
      { "model_packets", "uint64", "packets of the flow when it was decided" },
    }
    if options.scores > 0 then
      list[4] = { "model_scores", ("double[%d]"):format(options.scores), "probability of each class" }
    end
    return list
  end,

  state = { { "model_ticks", "double" } }, -- since the flow's first packet, in the run's time unit

  setup = function(self, run)
    local ml = require "nfengine.ml"
    if self.file == "" then error("model: no file, expected one with a model", 0) end
    self.model = ml.load(self.file)
    self.packet_limit, self.byte_limit = limit(self.after_packets), limit(self.after_bytes)
    self.time_limit = limit(self.after_ms * run.ticks_per_second / 1000)
    self.is_early = math.min(self.packet_limit, self.byte_limit, self.time_limit) < math.huge
    self.bound = self.model:bind(run.columns, self.columns[1] and self.columns or nil, self.is_early)
  end,

  on_init = function(self, packet, flow)
    if self.is_early then look(self, packet, flow) else flow:done() end
  end,
  on_update = look,
  on_expire = function(self, flow)
    if flow.udps.model_packets == 0 then decide(self, flow) end
  end,
}
