-- Files that cannot grow: limit.files(1000, function() … end) runs a function while none may become larger than so many
-- bytes.

local ffi = require "ffi"

ffi.cdef [[
void *signal(int number, void *handler);
int getrlimit(int resource, void *limits);
int setrlimit(int resource, const void *limits);
]]

local SIGXFSZ, RLIMIT_FSIZE = 25, 1
local IGNORED = ffi.cast("void *", 1)

local limit = {}

--- Returns what the function does.
function limit.files(size, call)
  local old, limited = ffi.new "uint64_t[2]", ffi.new "uint64_t[2]"
  ffi.C.getrlimit(RLIMIT_FSIZE, old)
  limited[0], limited[1] = size, old[1]
  local before = ffi.C.signal(SIGXFSZ, IGNORED)
  ffi.C.setrlimit(RLIMIT_FSIZE, limited)
  local ok, result = pcall(call)
  ffi.C.setrlimit(RLIMIT_FSIZE, old)
  ffi.C.signal(SIGXFSZ, before)
  if not ok then error(result, 0) end
  return result
end

return limit
