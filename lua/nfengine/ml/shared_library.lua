--- Loads libraries that stay for as long as the process runs: finalizers of what they have made may come after the Lua
-- state has let go of them.

local ffi = require "ffi"

local shared_library = {}

local NOW, NODELETE = 2, 0x1000 -- of dlopen(3)

ffi.cdef [[
void *dlopen(const char *name, int flags);
void *dlsym(void *library, const char *symbol);
]]

--- The namespace of a library; nil where it is not there, or is another one.
-- @param name of its file, as dlopen(3) looks for it
-- @param symbol a function that tells it from others
function shared_library.load(name, symbol)
  local library = ffi.C.dlopen(name, NOW + NODELETE)
  if library == nil or ffi.C.dlsym(library, symbol) == nil then return nil end
  local ok, loaded = pcall(ffi.load, name)
  return ok and loaded or nil
end

return shared_library
