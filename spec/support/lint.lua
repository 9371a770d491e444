-- make lint's own checks, of what no general tool knows: which file of core/ may include which, what scripts may
-- require, that one file alone knows each third-party library, line lengths.

local ORDER = require "spec.support.order"

-- Third-party headers and the files that may include each, most often one.
local ALONE = {
  ["ndpi_api.h"] = "dpi.c dpi_cache.c", ["ndpi_define.h"] = "dpi_cache.c", ["ndpi_includes.h"] = "dpi_cache.c",
  ["ndpi_typedefs.h"] = "dpi_cache.c", ["pcap/pcap.h"] = "filter.c device.c", ["lua.h"] = "script.c",
  ["lauxlib.h"] = "script.c", ["lualib.h"] = "script.c", ["sodium.h"] = "columnar.c crypto.c key.c mask.c",
  ["zlib.h"] = "stream.c output.c", ["zstd.h"] = "stream.c output.c write_parquet.c",
  ["dragonbox/dragonbox.h"] = "shortest.cc", ["cap-ng.h"] = "privileges.c", ["seccomp.h"] = "sandbox.c",
  ["gcrypt.h"] = "crypto.c",
}

local problems = {}

local function problem(...) problems[#problems + 1] = string.format(...) end

local function files(pattern)
  local list = {}
  local listing = assert(io.popen("ls -d " .. pattern .. " 2>/dev/null"))
  for path in listing:lines() do list[#list + 1] = path end
  listing:close()
  return list
end

local rank = {}
for i, group in ipairs(ORDER) do
  for _, name in ipairs(group) do rank[name] = i end
end

-- A part split over several files ("decode_ip.c" of "decode") ranks with the header it implements.
local function rank_of(name)
  return rank[name] or rank[name:match "^(%a+)_" or ""] or #ORDER
end

local function check_includes(path)
  local file = path:match "[^/]+$"
  local own = file:match "^(.-)%.%a+$"
  for line in io.lines(path) do
    local header = line:match '^#include "([%w_]+)%.h"'
    if header and not ALONE[header .. ".h"] and header ~= own and header ~= "decode_parts" then
      if not rank[header] then problem("%s: include of %s.h: give it a place in the order", path, header) end
      if rank[header] and rank_of(own) < rank[header] then
        problem("%s: includes %s.h, which stands below it in spec/support/order.lua", path, header)
      end
    end
    local library = line:match "^#include [<\"](.-)[>\"]"
    local owners = ALONE[library]
    if owners and not (" " .. owners .. " "):find(" " .. file .. " ", 1, true) then
      problem("%s: includes %s, which only %s may", path, library, owners)
    end
  end
end

local function check_lines(path)
  local number = 0
  for line in io.lines(path) do
    number = number + 1
    if #line:gsub("[\128-\191]", "") > 120 then problem("%s:%d: longer than 120 columns", path, number) end
    if line:match "%s$" then problem("%s:%d: blanks at its end", path, number) end
    if line:match "\t" and not path:match "Makefile$" then problem("%s:%d: a tab", path, number) end
  end
end

local function check_requires(path)
  for line in io.lines(path) do
    local name = line:match "require%s*%(?%s*[\"'](nfengine%.lib)[\"']" or line:match "require%s*%(?%s*[\"'](ffi)[\"']"
    if name then problem("%s: %s: scripts and plugins use the public modules only", path, name) end
  end
end

-- Modules of other packages, which a file in the current folder could pass itself off as: see nfengine.installed.
local function check_installed(path)
  for line in io.lines(path) do
    local name = line:match "^[^-]*%f[%w]require%s*%(?%s*[\"'](cjson[%w.]*)[\"']"
      or line:match "^[^-]*%f[%w]require%s*%(?%s*[\"'](lfs)[\"']"
    if name and not line:find "installed" then problem("%s: %s: expected by nfengine.installed", path, name) end
  end
end

for _, path in ipairs(files "core/*.[ch] core/*.cc") do check_includes(path) end
local LIBRARY = "lua/nfengine/*.lua lua/nfengine/*/*.lua lua/nfengine/*/*/*.lua scripts/*.lua plugins/*.lua "
local SOURCES = "core/*.[ch] core/*.cc " .. LIBRARY
  .. "bench/*.lua Makefile"
for _, path in ipairs(files(SOURCES)) do
  if not path:match "cdef%.lua$" then check_lines(path) end
end
for _, path in ipairs(files "scripts/*.lua plugins/*.lua") do check_requires(path) end
for _, path in ipairs(files(LIBRARY)) do check_installed(path) end

for _, line in ipairs(problems) do io.stderr:write("lint: ", line, "\n") end
os.exit(#problems == 0 and 0 or 1)
