--- Tensors that a file of ONNX holds, as flat lists of numbers or strings. Source: TensorProto in onnx/onnx.proto.

local ffi = require "ffi"
local reals = require "nfengine.ml.reals"
local text = require "nfengine.text"

local tensor = {}

-- TensorProto.DataType
tensor.FLOAT, tensor.INT32, tensor.INT64, tensor.STRING, tensor.BOOL, tensor.DOUBLE = 1, 6, 7, 8, 9, 11

-- Where a type keeps its elements, and what they are as raw data.
local KEPT = {
  [tensor.FLOAT] = { "float_data", "float", 4 }, [2] = { "int32_data", "uint8_t", 1 },
  [tensor.INT32] = { "int32_data", "int32_t", 4 }, [tensor.INT64] = { "int64_data", "int64_t", 8 },
  [tensor.STRING] = { "string_data" }, [tensor.BOOL] = { "int32_data", "uint8_t", 1 },
  [tensor.DOUBLE] = { "double_data", "double", 8 },
}

local function integer_of(ctype, size)
  local element = ffi.new(ctype .. "[1]")
  return function(from)
    ffi.copy(element, from, size)
    return tonumber(element[0])
  end
end

for _, kept in pairs(KEPT) do
  if kept[2] then kept.read = reals[kept[2]] or integer_of(kept[2], kept[3]) end
end

local function from_raw(raw, kept)
  local list, bytes, size = {}, ffi.cast("const uint8_t *", raw), kept[3]
  for i = 1, math.floor(#raw / size) do list[i] = kept.read(bytes + (i - 1) * size) end
  return list
end

--- What a tensor holds: as much as its dimensions say, and something. Raises one line.
-- @return { kind = "constant", type = DataType, dims = list, values = list, row by row }
function tensor.read(message)
  local kept = KEPT[message.data_type]
  if not kept then text.fail("a tensor of type %s", tostring(message.data_type)) end
  if message.data_location == 1 then error("a tensor in a file of its own", 0) end
  local values = message[kept[1]]
  if message.raw_data and kept[2] then values = from_raw(message.raw_data, kept) end
  local size = 1
  for _, dim in ipairs(message.dims) do
    if dim < 1 then text.fail("a tensor of a dimension of %d, expected 1 or more", dim) end
    size = size * dim
  end
  if size ~= #values then text.fail("a tensor of %d elements, expected %d", #values, size) end
  return { kind = "constant", type = message.data_type, dims = message.dims, values = values }
end

return tensor
