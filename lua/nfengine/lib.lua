--- The C core's namespace: the only module, with the generated cdef, that knows how the core is loaded. Libraries of
-- others that are loaded at run time have a module each (sqlite.lua, output/duckdb.lua).
--
-- Inside the nfengine program the core is part of the process; under plain luajit it is libnfengine.so: the one
-- $NFENGINE_LIBRARY names, else the one beside the Lua library in a checkout, else the system's.

local ffi = require "ffi"
require "nfengine.cdef"

local function in_process()
  return pcall(function() return ffi.C.nf_abi.version end)
end

local function load_library()
  if in_process() then return ffi.C end
  local named = os.getenv "NFENGINE_LIBRARY"
  if named then return ffi.load(named) end
  local here = debug.getinfo(1, "S").source:match "^@(.*)/lua/nfengine/lib%.lua$"
    or debug.getinfo(1, "S").source:match "^@lua/nfengine/lib%.lua$" and "."
  local places = { "nfengine" }
  if here then places = { here .. "/libnfengine.so", here .. "/../../lib/libnfengine.so", "nfengine" } end
  for _, path in ipairs(places) do
    local ok, library = pcall(ffi.load, path)
    if ok then return library end
  end
  error("nfengine: cannot find libnfengine.so: build it with make, or install it", 0)
end

local C = load_library()

-- What LuaJIT made of the header against what the compiler made of it: a stale library or cdef.lua stops here.
local function handshake()
  local abi = C.nf_abi
  local function expect(what, got, want)
    if got ~= want then
      error(("nfengine: the library and lua/nfengine do not match: %s is %d in the library, expected %d; run make")
        :format(what, got, want), 0)
    end
  end
  expect("ABI version", tonumber(abi.version), C.NF_ABI_VERSION)
  for field, name in pairs {
    packet_size = "packet", flow_size = "flow", statistics_size = "statistics", l7_size = "l7",
    l7_extra_size = "l7_extra", event_size = "event", options_size = "options", counters_size = "counters",
    column_size = "column", layout_size = "layout",
  } do
    expect("sizeof(struct nf_" .. name .. ")", tonumber(abi[field]), ffi.sizeof("struct nf_" .. name))
  end
end
handshake()

return C
