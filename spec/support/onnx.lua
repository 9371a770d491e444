-- Files of ONNX, built in Lua:
--
--   onnx.model { nodes = { onnx.node("LinearRegressor", { "x" }, { "y" }, { coefficients = { 1.5 } }) } }
--
-- Attributes are numbers for floats, { int = n } or { ints = list }, lists of numbers for floats, texts, lists of
-- texts, and tensors. Source of the fields' numbers: onnx/onnx.proto.

local ffi = require "ffi"
local text = require "nfengine.text"

require("jit").off(true, true) -- compiled, LuaJIT 2.1.0-beta3 now and then left attributes out

local onnx = {}

-- ---- Protocol Buffers ----

-- Integers below 0 are ten bytes, as of 64 bits.
local function varint(value)
  local left, written = ffi.cast("uint64_t", ffi.cast("int64_t", value)), {}
  repeat
    local rest = left / 128
    written[#written + 1] = string.char(tonumber(left % 128) + (rest > 0 and 128 or 0))
    left = rest
  until left == 0
  return table.concat(written)
end

local function integer(number, value) return varint(number * 8) .. varint(value) end
local function bytes(number, value) return varint(number * 8 + 2) .. varint(#value) .. value end
local function float(number, value)
  return varint(number * 8 + 5) .. ffi.string(ffi.new("float[1]", value), 4)
end

local function each(number, list, write)
  local written = {}
  for i, value in ipairs(list) do written[i] = write(number, value) end
  return table.concat(written)
end

-- ---- messages ----

onnx.FLOAT, onnx.INT64, onnx.STRING, onnx.DOUBLE = 1, 7, 8, 11

--- A tensor of floats, or of another type: a tensor message's bytes.
function onnx.tensor(name, dims, values, kind)
  local raw
  if kind == onnx.INT64 then raw = ffi.string(ffi.new("int64_t[?]", #values, values), 8 * #values)
  elseif kind == onnx.DOUBLE then raw = ffi.string(ffi.new("double[?]", #values, values), 8 * #values)
  elseif kind ~= onnx.STRING then raw = ffi.string(ffi.new("float[?]", #values, values), 4 * #values) end
  local data = raw and bytes(9, raw) or each(6, values, bytes)
  return { tensor = each(1, dims, integer) .. integer(2, kind or onnx.FLOAT) .. bytes(8, name) .. data }
end

--- An attribute's value and its type.
local function value_of(value)
  local function typed(kind, written) return written .. integer(20, kind) end
  if type(value) == "number" then return typed(1, float(2, value)) end
  if type(value) == "string" then return typed(3, bytes(4, value)) end
  if value.int then return typed(2, integer(3, value.int)) end
  if value.ints then return typed(7, each(8, value.ints, integer)) end
  if value.tensor then return typed(4, bytes(5, value.tensor)) end
  if type(value[1]) == "string" then return typed(8, each(9, value, bytes)) end
  return typed(6, each(7, value, float))
end

--- A node's bytes.
function onnx.node(operator, inputs, outputs, attributes, domain)
  local written = { each(1, inputs, bytes), each(2, outputs, bytes), bytes(4, operator) }
  for _, name in ipairs(text.sorted_keys(attributes or {})) do
    written[#written + 1] = bytes(5, bytes(1, name) .. value_of(attributes[name]))
  end
  if domain then written[#written + 1] = bytes(7, domain) end
  return table.concat(written)
end

local STUMP = {
  nodes_treeids = { ints = { 0, 0, 0 } }, nodes_nodeids = { ints = { 0, 1, 2 } }, nodes_values = { 5, 0, 0 },
  nodes_featureids = { ints = { 1, 0, 0 } }, nodes_modes = { "BRANCH_LEQ", "LEAF", "LEAF" },
  nodes_truenodeids = { ints = { 1, 0, 0 } }, nodes_falsenodeids = { ints = { 2, 0, 0 } },
  target_treeids = { ints = { 0, 0 } }, target_nodeids = { ints = { 1, 2 } }, target_ids = { ints = { 0, 0 } },
  target_weights = { 10, 20 },
}

--- A node of x to y: a tree of one split, 10 where the second feature is at most 5, else 20.
-- @param changes attributes in place of its own; false for none
function onnx.stump(changes)
  local attributes = {}
  for name, value in pairs(STUMP) do attributes[name] = value end
  for name, value in pairs(changes or {}) do attributes[name] = value or nil end
  return onnx.node("TreeEnsembleRegressor", { "x" }, { "y" }, attributes, "ai.onnx.ml")
end

--- The same as a classifier of two classes in one column: a node of `input` to label and p.
function onnx.stump_classifier(input)
  local attributes = { classlabels_strings = { "a", "b" }, post_transform = "LOGISTIC", base_values = { 0.5 } }
  for name, value in pairs(STUMP) do attributes[name:gsub("^target", "class")] = value end
  return onnx.node("TreeEnsembleClassifier", { input }, { "label", "p" }, attributes, "ai.onnx.ml")
end

local function dimension(_, size) return bytes(1, size and integer(1, size) or bytes(2, "N")) end

--- A value's name and type: rows of so many columns.
local function rows_of(name, width, kind)
  local shape = dimension(1, nil) .. (width and dimension(1, width) or "")
  return bytes(1, name) .. bytes(2, bytes(1, integer(1, kind or onnx.FLOAT) .. bytes(2, shape)))
end

--- A file's bytes.
-- @param fields those of its graph
-- @param producer nil for none
function onnx.graph(fields, producer)
  local versions = bytes(8, bytes(1, "ai.onnx.ml") .. integer(2, 3)) .. bytes(8, bytes(1, "") .. integer(2, 13))
  return integer(1, 8) .. (producer and bytes(2, producer) or "") .. bytes(7, fields) .. versions
end

--- A file's bytes.
-- @param graph `nodes`; `tensors`; `inputs`, a list of { name, width, type }, none for x of two floats; `outputs`,
--   the same, none for y; `producer`
function onnx.model(graph)
  local message = { each(1, graph.nodes, bytes) }
  for _, tensor in ipairs(graph.tensors or {}) do message[#message + 1] = bytes(5, tensor.tensor) end
  for _, input in ipairs(graph.inputs or { { "x", 2 } }) do
    message[#message + 1] = bytes(11, rows_of(unpack(input)))
  end
  for _, output in ipairs(graph.outputs or { { "y", 1 } }) do
    message[#message + 1] = bytes(12, rows_of(unpack(output)))
  end
  return onnx.graph(table.concat(message), graph.producer)
end

return onnx
