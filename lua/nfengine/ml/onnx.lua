--- Reads models in ONNX: graphs that are trees or a linear model, with what stands before them (filling, scaling) and
-- behind (probabilities), as skl2onnx writes them for scikit-learn and onnxmltools for XGBoost and LightGBM.
--
-- A graph is followed from its output back to its inputs. Each value on the way is a formula (nfengine.ml.onnx.values)
-- that operators (nfengine.ml.onnx.operators) make of others, until the output's is one that the core evaluates. What
-- has no part in it, labels above all, is not looked at.
--
-- Source: onnx/onnx.proto and docs/IR.md of github.com/onnx/onnx.

local C = require "nfengine.lib"
local messages = require "nfengine.ml.onnx.messages"
local operators = require "nfengine.ml.onnx.operators"
local protobuf = require "nfengine.ml.protobuf"
local tensor = require "nfengine.ml.onnx.tensor"
local text = require "nfengine.text"
local values = require "nfengine.ml.onnx.values"

local onnx = {}

local MOST_FEATURES = 65536
local DEPTH = 200 -- of operators behind one another
local SPARE = 2 ^ 20 -- numbers that formulas may hold, on top of as many as the file has bytes
local VALUE = 32 -- numbers that a formula counts as, whatever it holds

local fail = text.fail

-- ---- graphs ----

local graph = {}
graph.__index = graph

local DOMAINS = { [""] = true, ["ai.onnx"] = true, ["ai.onnx.ml"] = true }

local function attributes_of(content, node)
  local attributes = {}
  for _, at in ipairs(node.attribute) do
    local attribute = protobuf.decode_at(content, at, messages.ATTRIBUTE)
    if attribute.name then attributes[attribute.name] = attribute end
  end
  return attributes
end

local function type_of(content, info)
  return info.type and protobuf.decode_at(content, info.type, messages.TYPE) or {}
end

--- How many columns an input has, and what numbers.
local function columns_of(content, info)
  local kind = type_of(content, info).tensor_type
  local dims = kind and kind.shape and kind.shape.dim or {}
  local count = #dims == 2 and dims[2].dim_value
  local is_known = kind and (kind.elem_type == tensor.FLOAT or kind.elem_type == tensor.DOUBLE
    or kind.elem_type == tensor.INT64 or kind.elem_type == tensor.INT32)
  if not is_known or not count or count < 1 or count > MOST_FEATURES then
    fail("input %s: expected rows of numbers, of 1 to %d features", text.quote(info.name), MOST_FEATURES)
  end
  return count, kind.elem_type
end

--- Features by the names of inputs, and how many there are in all; the names of features, where each has an input.
local function inputs_of(content, message, constants)
  local inputs, names, count = {}, {}, 0
  for _, info in ipairs(message.input) do
    local name = info.name or ""
    if not constants[name] then
      local width, kind = columns_of(content, info)
      local features = { kind = "features", type = kind }
      if count + width > MOST_FEATURES then fail("more than %d features", MOST_FEATURES) end
      for i = 1, width do features[i] = { source = count + i - 1 } end
      inputs[name], count = features, count + width
      names[#names + 1] = name
    end
  end
  if count == 0 then fail "a graph without inputs" end
  return inputs, count, count > 1 and #names == count and names or nil
end

local function graph_of(content, message)
  local self = setmetatable({ content = content, known = {}, makers = {}, constants = {}, depth = 0 }, graph)
  self.budget = SPARE + #content
  for _, each in ipairs(message.initializer) do self.constants[each.name or ""] = each end
  self.known, self.feature_count, self.names = inputs_of(content, message, self.constants)
  for _, node in ipairs(message.node) do
    for _, output in ipairs(node.output) do
      if self.makers[output] then fail("value %s is made twice", text.quote(output)) end
      self.makers[output] = node
    end
  end
  return self
end

--- Takes from what formulas may hold. Raises where nothing is left.
function graph:charge(size)
  self.budget = self.budget - size
  if self.budget < 0 then fail "a graph that repeats itself too often" end
end

function graph:make(name)
  local node = self.makers[name] or fail("value %s is not there", text.quote(name))
  local operator = operators[node.op_type]
  if not operator or not DOMAINS[node.domain or ""] then
    fail("operator %s", text.quote(node.op_type or ""))
  end
  node.attributes = node.attributes or attributes_of(self.content, node)
  self.depth = self.depth + 1
  if self.depth > DEPTH then fail("more than %d operators behind one another", DEPTH) end
  local ok, value = pcall(operator, self, node)
  self.depth = self.depth - 1
  if ok then return value end
  value = text.raised(value)
  local is_named = value:find "^operator " or value:find "^value "
  fail("%s", is_named and value or ("operator %s: %s"):format(node.op_type, value))
end

--- The formula that a value is.
function graph:value(name)
  local known = self.known[name]
  if known == "in the making" then fail("value %s is made of itself", text.quote(name)) end
  if known then return known end
  self.known[name] = "in the making"
  self:charge(VALUE)
  self.known[name] = self.constants[name] and tensor.read(self.constants[name]) or self:make(name)
  return self.known[name]
end

-- ---- outputs ----

--- The output that a model is asked for, and the one of labels, where there is one.
local function outputs_of(content, message)
  local scores, labels
  for _, info in ipairs(message.output) do
    local given = type_of(content, info)
    local kind = given.tensor_type
    local is_real = kind and (kind.elem_type == tensor.FLOAT or kind.elem_type == tensor.DOUBLE)
    if is_real or given.sequence_type then scores = scores or info.name
    else labels = labels or info.name end
  end
  if not scores then fail "a graph without an output of real numbers" end
  return scores, labels
end

--- The classes that labels are taken from with an index, for graphs that name them nowhere else.
local function classes_behind(self, name)
  for _ = 1, DEPTH do
    local node = self.makers[name or ""]
    if not node then return nil end
    local constant = self.constants[node.input[1] or ""]
    if node.op_type == "ArrayFeatureExtractor" then return constant and tensor.read(constant).values end
    name = node.input[1]
  end
end

local function names_of(classes)
  local names = {}
  for i, class in ipairs(classes) do names[i] = tostring(class) end
  return names
end

--- A classifier's scores, with as many columns as classes; two of one that is no probability.
local function as_classes(self, scores, classes)
  local count = scores.is_pair and 2 or scores.count
  if count == 1 and #classes == 2 and values.is_open(scores) then
    scores, count = values.signed(scores, function(size) self:charge(size) end), 2
  end
  if #classes ~= count then fail("an output of %d columns for %d classes, expected all of them", count, #classes) end
  return scores
end

-- ---- the file ----

local PRODUCERS = { skl2onnx = "scikit-learn, by ONNX", OnnxMLTools = "ONNX, by onnxmltools" }

local function read(content)
  local message = protobuf.decode(content, messages.MODEL)
  if not message.graph then fail "no graph" end
  local self, output, labels = graph_of(content, message.graph), outputs_of(content, message.graph)
  local scores = self:value(output)
  if scores.kind ~= "scores" then fail("the output is %s, expected what trees or weights make", scores.kind) end
  if scores.stage == "exp" then scores = values.with(scores, { stage = false, link = C.NF_LINK_EXP }) end
  if scores.stage or scores.complement_of or scores.is_even and not scores.is_normalized then
    fail "the output is half of a formula, expected what makes probabilities of scores"
  end
  local classes = scores.classes or labels and classes_behind(self, labels) or nil
  if classes then scores = as_classes(self, scores, classes) end
  return {
    format = PRODUCERS[message.producer_name] or "ONNX", names = self.names, classes = classes and names_of(classes),
    task = not classes and "regression" or #classes == 2 and "binary" or "multiclass",
    made = values.finish(scores, self.feature_count, function(size) self:charge(size) end),
  }
end

-- What tells problems of graphs that are as they should be: a library may know what to do with them.
local UNKNOWN = { "^operator ", " is reached twice$", " used in two ways$", "^the output is " }

--- What a model is, see nfengine.ml.load. Raises one line, which names the operator that is not known.
-- @param content a file's bytes
function onnx.read(content)
  local ok, result = pcall(read, content)
  if ok then return result end
  local problem = text.raised(result)
  for _, pattern in ipairs(UNKNOWN) do
    if problem:find(pattern) then problem = problem .. '; engine = "onnxruntime" takes any model' end
  end
  error("ONNX: " .. problem, 0)
end

return onnx
