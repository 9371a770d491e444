--- Models that ONNX Runtime evaluates: any graph that takes rows of numbers, also those that nfengine.ml.onnx does not
-- know. Slower a flow than the core, and a library that is none of Debian's.
--
-- Source: include/onnxruntime/core/session/onnxruntime_c_api.h. The library gives a table of functions, of version 1
-- here: that has been the beginning of every later one.

local ffi = require "ffi"
local reals = require "nfengine.ml.reals"
local shared_library = require "nfengine.ml.shared_library"
local text = require "nfengine.text"

local onnxruntime = {}

local VERSION = 1

-- Of the table what is needed; the rest keeps its place.
local DECLARATIONS = [[
typedef struct OrtStatus OrtStatus;
typedef struct OrtApi {
  void *create_status, *get_error_code;
  const char *(*GetErrorMessage)(const OrtStatus *status);
  OrtStatus *(*CreateEnv)(int severity, const char *name, void **env);
  void *unused_4[3];
  OrtStatus *(*CreateSession)(void *env, const char *path, void *options, void **session);
  void *create_session_from_array;
  OrtStatus *(*Run)(void *session, void *options, const char *const *input_names, void *const *inputs,
                    size_t inputs_size, const char *const *output_names, size_t outputs_size, void **outputs);
  OrtStatus *(*CreateSessionOptions)(void **options);
  void *unused_11[13];
  OrtStatus *(*SetIntraOpNumThreads)(void *options, int count);
  OrtStatus *(*SetInterOpNumThreads)(void *options, int count);
  void *unused_26[4];
  OrtStatus *(*SessionGetInputCount)(void *session, size_t *count);
  OrtStatus *(*SessionGetOutputCount)(void *session, size_t *count);
  void *unused_32;
  OrtStatus *(*SessionGetInputTypeInfo)(void *session, size_t index, void **info);
  OrtStatus *(*SessionGetOutputTypeInfo)(void *session, size_t index, void **info);
  void *unused_35;
  OrtStatus *(*SessionGetInputName)(void *session, size_t index, void *allocator, char **name);
  OrtStatus *(*SessionGetOutputName)(void *session, size_t index, void *allocator, char **name);
  void *unused_38[11];
  OrtStatus *(*CreateTensorWithDataAsOrtValue)(void *memory, void *data, size_t size, const int64_t *shape,
                                               size_t dimensions, int type, void **value);
  void *is_tensor;
  OrtStatus *(*GetTensorMutableData)(void *value, void **data);
  void *unused_52;
  OrtStatus *(*GetStringTensorDataLength)(void *value, size_t *size);
  OrtStatus *(*GetStringTensorContent)(void *value, void *bytes, size_t size, size_t *offsets, size_t count);
  OrtStatus *(*CastTypeInfoToTensorInfo)(void *info, const void **tensor_info);
  OrtStatus *(*GetOnnxTypeFromTypeInfo)(void *info, int *type);
  void *unused_57[3];
  OrtStatus *(*GetTensorElementType)(const void *info, int *type);
  OrtStatus *(*GetDimensionsCount)(const void *info, size_t *count);
  OrtStatus *(*GetDimensions)(const void *info, int64_t *sizes, size_t count);
  void *get_symbolic_dimensions;
  OrtStatus *(*GetTensorShapeElementCount)(const void *info, size_t *count);
  OrtStatus *(*GetTensorTypeAndShape)(void *value, void **info);
  void *unused_66[3];
  OrtStatus *(*CreateCpuMemoryInfo)(int allocator, int kind, void **memory);
  void *unused_70[6];
  OrtStatus *(*AllocatorFree)(void *allocator, void *bytes);
  void *allocator_get_info;
  OrtStatus *(*GetAllocatorWithDefaultOptions)(void **allocator);
  void *unused_79;
  OrtStatus *(*GetValue)(void *value, int index, void *allocator, void **element);
  OrtStatus *(*GetValueCount)(void *value, size_t *count);
  void *unused_82[10];
  void (*ReleaseEnv)(void *env);
  void (*ReleaseStatus)(OrtStatus *status);
  void (*ReleaseMemoryInfo)(void *memory);
  void (*ReleaseSession)(void *session);
  void (*ReleaseValue)(void *value);
  void *release_run_options;
  void (*ReleaseTypeInfo)(void *info);
  void (*ReleaseTensorTypeAndShapeInfo)(void *info);
  void (*ReleaseSessionOptions)(void *options);
  void *release_custom_op_domain;
} OrtApi;
typedef struct OrtApiBase {
  const OrtApi *(*GetApi)(uint32_t version);
  const char *(*GetVersionString)(void);
} OrtApiBase;
const OrtApiBase *OrtGetApiBase(void);
]]

-- ONNXTensorElementDataType, and what its elements are
local KINDS = { [1] = "float", [6] = "int32_t", [7] = "int64_t", [11] = "double" }
local FLOAT, INT64, STRING, DOUBLE = 1, 7, 8, 11
local TENSOR, SEQUENCE = 1, 2 -- ONNXType
local ERRORS_ALONE = 3        -- of what the library would log

-- ---- the library ----

local library

--- The library, its `api` and its `version`. Raises one line where it is not there.
function onnxruntime.library()
  if library then return library end
  local named = os.getenv "NFENGINE_ONNXRUNTIME"
  local names = named and { named } or { "libonnxruntime.so.1", "libonnxruntime.so" }
  local loaded
  for _, name in ipairs(names) do loaded = loaded or shared_library.load(name, "OrtGetApiBase") end
  if not loaded then
    text.fail("cannot load %s, expected the library of ONNX Runtime, which no package of Debian "
      .. "brings: $NFENGINE_ONNXRUNTIME says where it is", table.concat(names, " or "))
  end
  if not pcall(ffi.typeof, "OrtApi") then ffi.cdef(DECLARATIONS) end
  local base = loaded.OrtGetApiBase()
  local api = base.GetApi(VERSION)
  if api == nil then
    text.fail("%s has no version %d of its interface", names[1], VERSION)
  end
  library = { namespace = loaded, api = api, version = ffi.string(base.GetVersionString()) }
  return library
end

--- Raises what a call has failed with, in one line.
local function check(api, status)
  if status == nil then return end
  local message = ffi.string(api.GetErrorMessage(status))
  api.ReleaseStatus(status)
  error("onnxruntime: " .. text.one_line((message:gsub("%s+$", ""))), 0)
end

--- What a call makes, released with whoever has it last.
local function made(api, release, call, ...)
  local out = ffi.new "void *[1]"
  local arguments = { ... }
  arguments[#arguments + 1] = out
  check(api, call(unpack(arguments)))
  return release and ffi.gc(out[0], release) or out[0]
end

-- ---- what a model is ----

local function string_of(self, call, index)
  local out = ffi.new "char *[1]"
  check(self.api, call(self.session, index, self.allocator, out))
  local name = ffi.string(out[0])
  check(self.api, self.api.AllocatorFree(self.allocator, out[0]))
  return name
end

local function size_of(api, call, of)
  local out = ffi.new "size_t[1]"
  check(api, call(of, out))
  return tonumber(out[0])
end

local function integer_of(api, call, of)
  local out = ffi.new "int[1]"
  check(api, call(of, out))
  return out[0]
end

--- The kind of a tensor's elements and its sizes; nil for what is none.
local function tensor_type(api, info)
  if integer_of(api, api.GetOnnxTypeFromTypeInfo, info) ~= TENSOR then return nil end
  local out = ffi.new "const void *[1]"
  check(api, api.CastTypeInfoToTensorInfo(info, out))
  local count, sizes = size_of(api, api.GetDimensionsCount, out[0]), {}
  local dimensions = ffi.new("int64_t[?]", math.max(count, 1))
  check(api, api.GetDimensions(out[0], dimensions, count))
  for i = 1, count do sizes[i] = tonumber(dimensions[i - 1]) end
  return integer_of(api, api.GetTensorElementType, out[0]), sizes
end

--- Inputs: a list of { name, kind, width }, and how many features they are together.
local function inputs_of(self)
  local api, list, features = self.api, {}, 0
  for index = 0, size_of(api, api.SessionGetInputCount, self.session) - 1 do
    local info = made(api, api.ReleaseTypeInfo, api.SessionGetInputTypeInfo, self.session, index)
    local name, kind, sizes = string_of(self, api.SessionGetInputName, index), tensor_type(api, info)
    local width = sizes and #sizes == 2 and sizes[2]
    if not KINDS[kind] or not width or width < 1 or width > 65536 then
      text.fail("input %s: expected rows of numbers, of 1 to 65536 features", text.quote(name))
    end
    list[#list + 1] = { name = name, kind = kind, width = width }
    features = features + width
  end
  return list, features
end

--- The output that is asked for, its name and whether it is a map by class, and whether there are labels beside it.
local function outputs_of(self)
  local api, chosen, has_labels = self.api, nil, false
  for index = 0, size_of(api, api.SessionGetOutputCount, self.session) - 1 do
    local info = made(api, api.ReleaseTypeInfo, api.SessionGetOutputTypeInfo, self.session, index)
    local kind = tensor_type(api, info)
    local is_map = integer_of(api, api.GetOnnxTypeFromTypeInfo, info) == SEQUENCE
    if is_map or kind == FLOAT or kind == DOUBLE then
      chosen = chosen or { name = string_of(self, api.SessionGetOutputName, index), is_map = is_map, kind = kind }
    else
      has_labels = has_labels or kind == INT64 or kind == STRING
    end
  end
  if not chosen then error("a graph without an output of real numbers", 0) end
  return chosen, has_labels
end

-- ---- running it ----

--- Releases a value now, not when nobody has it any more.
local function release(api, value) api.ReleaseValue(ffi.gc(value, nil)) end

--- A tensor's numbers, in place; how many they are; their kind.
local function numbers_of(api, value)
  local info = made(api, api.ReleaseTensorTypeAndShapeInfo, api.GetTensorTypeAndShape, value)
  local kind = integer_of(api, api.GetTensorElementType, info)
  local data = made(api, nil, api.GetTensorMutableData, value)
  return ffi.cast((KINDS[kind] or "uint8_t") .. " *", data), size_of(api, api.GetTensorShapeElementCount, info), kind
end

--- Calls with each piece of the output: its numbers, how many, and the maps' row where it is of maps.
local function each_piece(self, output, call)
  local api = self.api
  if not self.output.is_map then
    local numbers, count = numbers_of(api, output)
    return call(numbers, count)
  end
  for row = 0, size_of(api, api.GetValueCount, output) - 1 do
    local map = made(api, api.ReleaseValue, api.GetValue, output, row, self.allocator)
    local values = made(api, api.ReleaseValue, api.GetValue, map, 1, self.allocator)
    local numbers, count = numbers_of(api, values)
    call(numbers, count, map)
    release(api, values)
    release(api, map)
  end
end

--- Rows as the tensors that inputs are: an array of these, and a list of each with the numbers that it stands on.
local function tensors_of(self, rows, count)
  local api, tensors, list, first = self.api, ffi.new("void *[?]", #self.inputs), {}, 0
  for i, input in ipairs(self.inputs) do
    local array, width = ffi.new(KINDS[input.kind] .. "[?]", math.max(count * input.width, 1)), input.width
    for row = 0, count - 1 do
      for k = 0, width - 1 do array[row * width + k] = rows[row * self.feature_count + first + k] end
    end
    local shape = ffi.new("int64_t[2]", count, width)
    local value = made(api, api.ReleaseValue, api.CreateTensorWithDataAsOrtValue, self.memory, array,
      ffi.sizeof(array), shape, 2, input.kind)
    list[i], tensors[i - 1], first = { value, array }, value, first + width
  end
  return tensors, list
end

local function run(self, rows, count, call)
  local api, outputs = self.api, ffi.new "void *[1]"
  local tensors, list = tensors_of(self, rows, count)
  check(api, api.Run(self.session, nil, self.input_names, tensors, #self.inputs, self.output_names, 1, outputs))
  local output = ffi.gc(outputs[0], api.ReleaseValue)
  each_piece(self, output, call)
  for _, each in ipairs(list) do release(api, each[1]) end
  release(api, output)
end

local engine = {}
engine.__index = engine

--- See nfengine.ml.
function engine:predict(rows, count, outputs)
  local filled, room = 0, count * self.output_count
  run(self, rows, count, function(numbers, size)
    if filled + size > room then error("onnxruntime: more outputs than for a row of zeros", 0) end
    for i = 0, size - 1 do outputs[filled + i] = self.read(numbers + i) end
    filled = filled + size
  end)
  if filled ~= room then error("onnxruntime: fewer outputs than for a row of zeros", 0) end
end

-- ---- loading ----

--- The classes that a map's keys are.
local function keys_of(self, map)
  local api, classes = self.api, {}
  local keys = made(api, api.ReleaseValue, api.GetValue, map, 0, self.allocator)
  local numbers, count, kind = numbers_of(api, keys)
  if kind ~= STRING then
    for i = 1, count do classes[i] = tostring(tonumber(numbers[i - 1])) end
    return classes
  end
  local size = size_of(api, api.GetStringTensorDataLength, keys)
  local bytes, offsets = ffi.new("char[?]", size + 1), ffi.new("size_t[?]", count + 1)
  check(api, api.GetStringTensorContent(keys, bytes, size, offsets, count))
  offsets[count] = size
  for i = 1, count do
    classes[i] = ffi.string(bytes + offsets[i - 1], tonumber(offsets[i] - offsets[i - 1]))
  end
  return classes
end

--- Asks about a row of zeros: how many outputs there are, and the classes where they are maps.
local function probe(self)
  local count, classes = 0, nil
  run(self, ffi.new("double[?]", self.feature_count), 1, function(_, size, map)
    count, classes = count + size, map and keys_of(self, map) or nil
  end)
  if count < 1 or count > 65536 then text.fail("%d outputs, expected 1 to 65536", count) end
  return count, classes
end

local function names_array(names) return ffi.new("const char *[?]", #names, names) end

--- A session and the environment that it runs in, which is released after it.
local function session_of(api, path, options)
  local environment = made(api, api.ReleaseEnv, api.CreateEnv, ERRORS_ALONE, "nfengine")
  local session = made(api, nil, api.CreateSession, environment, path, options)
  ffi.gc(environment, nil)
  return ffi.gc(session, function()
    api.ReleaseSession(session)
    api.ReleaseEnv(environment)
  end)
end

--- Loads a model, see nfengine.ml.load. Raises one line. It runs in the thread that asks, and starts none.
-- @param path of a file of ONNX; tensors in files of their own lie beside it
function onnxruntime.load(path)
  local api = onnxruntime.library().api
  local self = setmetatable({ api = api }, engine)
  local options = made(api, api.ReleaseSessionOptions, api.CreateSessionOptions)
  check(api, api.SetIntraOpNumThreads(options, 1))
  check(api, api.SetInterOpNumThreads(options, 1))
  self.session = session_of(api, path, options)
  self.memory = made(api, api.ReleaseMemoryInfo, api.CreateCpuMemoryInfo, 0, 0)
  self.allocator = made(api, nil, api.GetAllocatorWithDefaultOptions)
  self.inputs, self.feature_count = inputs_of(self)
  local names = {}
  for i, input in ipairs(self.inputs) do names[i] = input.name end
  local output, has_labels = outputs_of(self)
  self.output = output
  self.read = self.output.kind == DOUBLE and reals.double or reals.float -- maps are of single precision
  self.names, self.name = names, { self.output.name } -- which the arrays of pointers need alive
  self.input_names, self.output_names = names_array(names), names_array(self.name)
  local count, classes = probe(self)
  self.output_count = count
  local is_classifier = classes or has_labels
  return {
    format = "ONNX, by onnxruntime " .. onnxruntime.library().version, engine = self, classes = classes,
    names = #names > 1 and #names == self.feature_count and names or nil,
    task = not is_classifier and "regression" or count > 2 and "multiclass" or "binary",
    feature_count = self.feature_count, output_count = count,
  }
end

return onnxruntime
