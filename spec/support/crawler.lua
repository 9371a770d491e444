-- Looks for ways out of the closed world: walks all that code of others can reach from its globals, and from what its
-- hooks, filters and sinks are given, and prints a line for each thing that should not be there, then how much was
-- looked at.
--
--   luajit spec/support/crawler.lua CAPTURE ...
--
-- Reached is what such code can read: fields of tables, all names of the contract header of userdata, and what methods
-- return. Upvalues and metatables are not: the world has no debug and no getmetatable.

package.path = "./?.lua;./lua/?.lua;./lua/?/init.lua;" .. package.path
-- Of names that a struct lacks and names that it has, one after the other, LuaJIT takes the latter for the former.
jit.off()

local ffi = require "ffi"
local lfs = require "nfengine.lfs"
local collection = require "nfengine.collection"
local parameters = require "nfengine.parameters"
local program = require "spec.support.program"

collection.root = lfs.currentdir()
collection.extend_path()

-- ---- what must not be reached ----

local forbidden = {}

local function forbid(container, name, except)
  for key, value in pairs(container) do
    if (type(value) == "function" or type(value) == "userdata") and not (except or {})[key] then
      forbidden[value] = name .. "." .. tostring(key)
    end
  end
end

for _, name in ipairs { "io", "debug", "ffi", "jit", "jit.opt", "jit.util", "package", "coroutine", "string.buffer",
  "cjson" } do
  forbid(require(name), name)
end
forbid(require "lfs", "lfs")
forbid(os, "os", { time = true, clock = true, date = true })
for _, name in ipairs { "dofile", "load", "loadfile", "loadstring", "require", "module", "getfenv", "setfenv",
  "getmetatable", "newproxy", "collectgarbage", "gcinfo" } do
  forbidden[_G[name]] = name
end
forbidden[string.dump] = "string.dump"
for _, name in ipairs { "string", "table", "math", "bit", "io", "os", "debug", "package", "jit", "_G", "ffi" } do
  forbidden[require(name)] = "the engine's own " .. name
end
local is_engine = {} -- modules as the engine has them
for name, module in pairs(package.loaded) do
  if name:match "^nfengine" and type(module) == "table" then is_engine[module] = name end
end

-- ---- walking ----

local names = { "core", "statistics", "splt", "udps", "_udps", "at", "data", "size", "room", "record", "handle" }
for line in program.read "core/nf_abi.h":gmatch "\n  ([%a_][^\n]*;)" do -- members
  for name in line:gmatch "([%a_][%w_]*)[%[%d%]]*[,;]" do names[#names + 1] = name end
end
for _, name in ipairs { "keys", "values", "to_table", "copy", "exact", "table", "sort", "payload", "ip_packet",
  "frame_bytes", "ip_bytes", "transport_bytes", "payload_bytes", "comment", "u8", "u16", "u24", "u32", "string", "sub",
  "ip", "grow", "clear", "text", "view", "definition", "options", "columns", "state", "instances", "parameters", "name",
  "splt_ps", "splt_piat_ms", "src_ip", "bytes", "word", "list", "flows", "to", "account", "open", "follow" } do
  names[#names + 1] = name
end

local DEPTH = 3

local seen, looked, leaks = {}, 0, {}

local function leak(path, what)
  if not leaks[path .. what] then print(("leak: %s is %s"):format(path, what)) end
  leaks[path .. what] = true
end

local walk

local function walk_table(value, path, depth)
  local meta = debug.getmetatable(value)
  if meta and type(rawget(meta, "__index")) == "table" then walk(meta.__index, path .. ".(index)", depth + 1) end
  for key, item in next, value do
    walk(key, path .. ".(key)", depth + 1)
    walk(item, path .. "." .. tostring(key), depth + 1)
  end
end

local kinds = {} -- of userdata, by metatable and name: one of each is enough

local function walk_userdata(value, path, depth)
  local kind = tostring(debug.getmetatable(value)) .. path:match "[^.:]*$"
  if kinds[kind] then return end
  kinds[kind] = true
  for _, name in ipairs(names) do
    local ok, item = pcall(function() return value[name] end)
    if ok then walk(item, path .. "." .. name, depth + 1) end
    for _, arguments in ipairs { {}, { 0 }, { 1, 1 }, { "id" } } do
      local is_method = ok and type(item) == "function"
      local called, result = pcall(is_method and item or error, value, unpack(arguments))
      if is_method and called then walk(result, ("%s:%s()"):format(path, name), depth + 1) end
    end
  end
  for _, index in ipairs { -1, 0, 1, 2 } do
    local ok, item = pcall(function() return value[index] end)
    if ok then walk(item, ("%s[%d]"):format(path, index), depth + 1) end
    ok, item = pcall(function() return value + index end)
    if ok then leak(path, "something to add to: " .. tostring(item)) end
  end
end

function walk(value, path, depth)
  local kind = type(value)
  if kind == "cdata" and not (ffi.istype("int64_t", value) or ffi.istype("uint64_t", value)) then
    return leak(path, tostring(ffi.typeof(value)))
  end
  if kind == "thread" then return leak(path, "a coroutine") end
  if kind ~= "table" and kind ~= "function" and kind ~= "userdata" or seen[value] or depth > DEPTH then return end
  seen[value] = true
  looked = looked + 1
  if forbidden[value] then return leak(path, forbidden[value]) end
  if is_engine[value] then return leak(path, "the engine's own " .. is_engine[value]) end
  if kind == "table" then walk_table(value, path, depth)
  elseif kind == "userdata" then walk_userdata(value, path, depth) end
end

-- ---- a script of others that shows all it has ----

local SCRIPT = [[
  local nf = require "nfengine"
  local bytes, hash = require "nfengine.bytes", require "nfengine.hash"
  local reassembly = require "nfengine.protocols.reassembly"
  local Shown = nf.plugin {
    name = "shown", options = { limit = { 3, "n" } },
    columns = { { "number", "uint32", "n" }, { "word", "string", "n" }, { "list", "uint8[4]", "n" } },
    state = { { "wide", "uint64", "n" } },
    setup = function(self, run)
      self.pool, self.buffer, self.packet, self.flow, self.view = reassembly.pool {}, bytes.buffer(16), 0, 0, 0
      show("self", self) show("run", run) show("pool", self.pool) show("buffer", self.buffer)
    end,
    on_init = function(self, packet, flow)
      show("packet", packet) show("flow", flow)
      self.packet, self.flow, self.view = packet, flow, packet.payload_bytes
      local state = self.pool:follow(0, packet)
      show("stream", state > 0 and self.pool:view(state))
    end,
    on_expire = function(self, flow) show("ended", flow) show("kept packet", self.packet) show("kept", self.view) end,
    on_record = function(self, flow) show("recorded", flow) end,
    cleanup = function(self) show("kept flow", self.flow) show("cleaned", self) end,
  }
  local instance = Shown {}
  local profile = nf.profile { name = "p", plugins = { "tcp_rtt", instance } }
  local streamer = nf.streamer {
    udps = { instance, require "plugins.tcp_end" {} }, splt_analysis = 3, statistical_analysis = true,
    filter = function(flow) show("filtered", flow) return true end,
  }
  for flow in streamer:flows() do show("given", flow) kept = flow break end
  streamer:to {
    open = function(self, columns, crew, all) show("columns", columns) show("crew", crew) show("all", all) end,
    write = function(self, flow) show("written", flow) kept_written = flow end,
    tick = function(self, seconds) show("seconds", seconds) end,
  }
  show("nf", nf) show("class", Shown) show("instance", instance) show("profile", profile)
  show("given to a streamer", profile {}) show("streamer", streamer) show("account", streamer:account())
  show("trusted class", require "plugins.tcp_end") show("trusted instance", require "plugins.tcp_end" {})
  show("trusted profile", require "plugins.nettisa") show("columns", nf.columns "ms")
  show("options", nf.options { a = { 1, "a number" } }) show("iterator", streamer:flows())
  show("globals", _G) show("a text", ("x").rep) show("methods", ("x").dump or false)
  for _, name in ipairs { "nfengine.bytes", "nfengine.hash", "nfengine.protocols.reassembly", "nfengine.show",
    "nfengine.text", "nfengine.protocols.dns", "nfengine.protocols.http", "nfengine.protocols.reader",
    "table.clear", "string" } do
    show(name, require(name))
  end
]]

local safe = require "nfengine.safe"
local captures = { ... }
parameters.overrides.source, parameters.default_source = captures, captures
safe.start()
local environment, shown, is_shown = safe.environment(), 0, {}
rawset(environment, "show", function(path, value)
  if is_shown[path] then return end
  is_shown[path], shown = true, shown + 1
  walk(value, path, 0)
end)
seen[environment.show] = true
local path = program.write(SCRIPT, ".lua")
local ok, message = pcall(safe.run_script, path, {})
program.remove_temporaries()
if not ok then print("failed: " .. tostring(message)) end
print(("looked at %d things, %d shown"):format(looked, shown))
