--- Records as rows of numbers, by the same reader in C from which a model gets its features when it is asked.

local ffi = require "ffi"
local C = require "nfengine.lib"
local columns = require "nfengine.columns"

local vector = {}
vector.__index = vector

--- Makes a reader. Raises one line where a column is no number.
-- @param list columns, arrays as their elements (columns.elements); the reader keeps them
function vector.new(list)
  local message = ffi.new("char[?]", C.NF_ERROR_SIZE)
  local handle = C.nf_vector_new(columns.to_c(list), #list, message)
  if handle == nil then error(ffi.string(message), 0) end
  return setmetatable({
    columns = list, width = #list, handle = ffi.gc(handle, C.nf_vector_free), row = ffi.new("double[?]", #list),
  }, vector)
end

--- A flow's numbers, in a hook or as a record: double *, valid until the next call; NaN where there is none.
function vector:read(flow)
  C.nf_vector_read(self.handle, flow.core, self.row)
  return self.row
end

return vector
