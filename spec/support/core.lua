-- Calls the C core's inner functions from specs: hands a header of core/ to LuaJIT and returns the library.
--
-- core("decode", "frame") declares what core/decode.h and core/frame.h declare, once a process.

local ffi = require "ffi"
local C = require "nfengine.lib"

local declared = {}

local function declare(name)
  if declared[name] then return end
  declared[name] = true
  local file = assert(io.open("core/" .. name .. ".h"))
  local text = file:read "*a"
  file:close()
  -- Headers are C; LuaJIT's parser takes no preprocessor lines, and extern "C" stands between #ifdef __cplusplus.
  text = text:gsub("#ifdef __cplusplus.-#endif\n", "")
  text = ("\n" .. text):gsub("\n[ \t]*#[^\n]*", "\n")
  ffi.cdef(text)
end

return function(...)
  for i = 1, select("#", ...) do declare((select(i, ...))) end
  return C
end
