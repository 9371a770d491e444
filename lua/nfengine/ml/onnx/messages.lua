--- What of ONNX's messages the reader needs, for nfengine.ml.protobuf. Graphs within graphs, sparse tensors and tensors
-- in files of their own are left out. What only some nodes and values are asked for is read later.
--
-- Source: onnx/onnx.proto of github.com/onnx/onnx, whose numbers of fields these are.

local TENSOR = {
  [1] = { "dims", "integer", is_repeated = true }, [2] = { "data_type", "integer" },
  [4] = { "float_data", "float", is_repeated = true }, [5] = { "int32_data", "integer", is_repeated = true },
  [6] = { "string_data", "bytes", is_repeated = true }, [7] = { "int64_data", "integer", is_repeated = true },
  [8] = { "name", "bytes" }, [9] = { "raw_data", "bytes" }, [10] = { "double_data", "double", is_repeated = true },
  [14] = { "data_location", "integer" },
}

local ATTRIBUTE = {
  [1] = { "name", "bytes" }, [2] = { "f", "float" }, [3] = { "i", "integer" }, [4] = { "s", "bytes" },
  [5] = { "t", TENSOR }, [7] = { "floats", "float", is_repeated = true },
  [8] = { "ints", "integer", is_repeated = true }, [9] = { "strings", "bytes", is_repeated = true },
}

local NODE = {
  [1] = { "input", "bytes", is_repeated = true }, [2] = { "output", "bytes", is_repeated = true },
  [4] = { "op_type", "bytes" }, [5] = { "attribute", "later", is_repeated = true }, [7] = { "domain", "bytes" },
}

local DIMENSION = { [1] = { "dim_value", "integer" } }
local SHAPE = { [1] = { "dim", DIMENSION, is_repeated = true } }
local TENSOR_TYPE = { [1] = { "elem_type", "integer" }, [2] = { "shape", SHAPE } }
local TYPE = { [1] = { "tensor_type", TENSOR_TYPE }, [4] = { "sequence_type", "bytes" } }
local VALUE_INFO = { [1] = { "name", "bytes" }, [2] = { "type", "later" } }

local GRAPH = {
  [1] = { "node", NODE, is_repeated = true }, [5] = { "initializer", TENSOR, is_repeated = true },
  [11] = { "input", VALUE_INFO, is_repeated = true }, [12] = { "output", VALUE_INFO, is_repeated = true },
}

return { ATTRIBUTE = ATTRIBUTE, TYPE = TYPE, MODEL = { [2] = { "producer_name", "bytes" }, [7] = { "graph", GRAPH } } }
