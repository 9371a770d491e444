--- Records as rows of numbers, by the same reader in C from which a model gets its features when it is asked.

local ffi = require "ffi"
local C = require "nfengine.lib"
local columns = require "nfengine.columns"

local vector = {}
vector.__index = vector

--- Where the statistics of a run's flows lie, 0 where it has none.
local function statistics_offset(available)
  for _, column in ipairs(available) do
    if column.place == "statistics[0].ps.min" then return column.offset end -- the section's first
  end
  return 0
end

--- Makes a reader. Raises one line where a column is no number.
-- @param list columns, arrays as their elements (columns.elements); the reader keeps them
-- @param available all columns of the run, for flows that are read while they live: they have statistics then as their
--   end would leave them; nil where only records are read
function vector.new(list, available)
  local message = ffi.new("char[?]", C.NF_ERROR_SIZE)
  local handle = C.nf_vector_new(columns.to_c(list), #list, statistics_offset(available or {}), message)
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
