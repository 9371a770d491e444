--- --safe: scripts and plugins of others run closed in, and can neither touch the machine nor change the engine.
--
-- Trusted is what came along with the program: the files under its root. Any other file, whether the command line names
-- it, a profile or another such file, is loaded in the closed world (nfengine.world), with an `nfengine` of its own
-- (safe/nf.lua), parts of other modules (safe/modules.lua), and stand-ins (safe/standins.lua) for what hooks are given.
-- Modules of the engine's that need nothing more are loaded there, too, as if they were others'.

local collection = require "nfengine.collection"
local crossing = require "nfengine.safe.crossing"
local closed_nf = require "nfengine.safe.nf"
local installed = require "nfengine.installed"
local lfs = require "nfengine.lfs"
local make_modules = require "nfengine.safe.modules"
local plugin = require "nfengine.plugin"
local profile = require "nfengine.profile"
local report = require "nfengine.report"
local text = require "nfengine.text"
local world = require "nfengine.world"

local safe = {}

-- ---- whom to trust ----

local TRUSTED = { lua = true, plugins = true, scripts = true } -- folders under the root

local function tidy(path)
  path = path:match "^/" and path or lfs.currentdir() .. "/" .. path
  return (path:gsub("/+", "/"):gsub("/%.%f[/%z]", ""))
end

--- The root without steps up, of which an installed program's has one.
local function tidy_root()
  local root = tidy(collection.root)
  local count
  repeat root, count = root:gsub("/[^/]+/%.%.%f[/%z]", "", 1) until count == 0
  return root
end

--- Whether a file came along with the program. What a step up leads to, links decide, so that none is trusted.
function safe.is_trusted(path)
  for root, whole in pairs { [collection.root] = path, [tidy_root()] = tidy(path) } do
    local rest = whole:sub(1, #root + 1) == root .. "/" and whole:sub(#root + 2)
    if rest and TRUSTED[rest:match "^([^/]+)/"] and not ("/" .. rest):find("/%.%.%f[/%z]") then return true end
  end
  return false
end

-- ---- the closed world ----

local environment, search_path
local loaded = {} -- what its modules are, by name

--- Runs a file of others. Returns what it returns, as the engine has it.
local function run_file(path, is_script, ...)
  local call = crossing.into(function(words) return world.run(environment, path, unpack(words)) end, path, is_script)
  local result = call { ... }
  return closed_nf.object_of(result) or result
end

--- A plugin or profile that came along.
local function trusted_plugin(name)
  local object = require(name)
  if not (plugin.is_class(object) or profile.is_profile(object)) then return nil end
  closed_nf.check_use(object, name:match "[^.]+$")
  return closed_nf.handle_of(object)
end

--- A module, for code of others.
local function load_module(name)
  local path = package.searchpath(name, search_path)
  if not path then return nil end
  if name:match "^plugins%." and safe.is_trusted(path) then return trusted_plugin(name) end
  local result = world.run(environment, path, name)
  return result == nil or result
end

local function closed_require(name)
  if type(name) ~= "string" or not name:match "^[%w_.-]+$" then
    error("require: expected the name of a module", 2)
  end
  if name == "nfengine" then
    local engine = require(name)
    return world.refuse_the_rest(closed_nf.new(engine), "nf.", engine)
  end
  if loaded[name] == nil then
    local ok, module = pcall(load_module, name)
    if not ok and not name:match "^nfengine%." then error(module, 0) end
    if not ok or module == nil then -- one of the engine's needs what is not there
      error(("--safe: module '%s' is not there, expected nfengine, %s, or one that only computes")
        :format(name, table.concat(text.sorted_keys(make_modules()), ", ")), 2)
    end
    loaded[name] = module
  end
  return loaded[name]
end

local function make_environment()
  local new = world.new()
  new.require = closed_require
  new.collectgarbage = function(what)
    if what ~= "count" then error("collectgarbage: --safe: expected \"count\"", 2) end
    return collectgarbage "count"
  end
  new.os = world.refuse_the_rest({ time = os.time, clock = os.clock, date = os.date }, "os.", os)
  loaded = make_modules()
  for _, name in ipairs { "string", "table", "math", "bit" } do
    loaded[name] = world.refuse_the_rest(new[name], name .. ".", require(name))
  end
  for _, name in ipairs { "table.clear", "table.new" } do loaded[name] = require(name) end
  return world.refuse_the_rest(new, "", _G)
end

-- ---- loading ----

--- What a plugin's or profile's file of others is, for the engine. Raises one line.
function safe.load(path)
  return run_file(path, false)
end

--- Runs a script of others.
function safe.run_script(path, words)
  search_path = ("%s;%s?.lua"):format(search_path, path:match "^(.*/)" or "./") -- modules beside the script
  environment.arg = { [0] = path, unpack(words) }
  return run_file(path, true, unpack(words))
end

-- ---- errors ----

--- A stand-in calls the engine for code of others, and so has the line that the engine's errors name: theirs is that of
-- whoever called the stand-in.
local function located(raised)
  local said = type(raised) == "string" and raised:match "^[^\n:]*nfengine/safe/%l+%.lua:%d+: (.*)$"
  local level, frame = 2, said and debug.getinfo(2, "Sl")
  while frame do
    local path = frame.source:match "^@(.*)$"
    if path and not safe.is_trusted(path) then return ("%s:%d: %s"):format(frame.short_src, frame.currentline, said) end
    level = level + 1
    frame = debug.getinfo(level, "Sl")
  end
  return raised
end

-- ---- beginning ----

--- Methods of texts are everybody's, found by their metatable: from now on in a copy, without what makes bytecode.
local function share_string_methods()
  debug.getmetatable("").__index = world.new().string
end

--- Closes in, from now on, what did not come along.
-- @param memory_mb, seconds see crossing.set_limits
function safe.start(memory_mb, seconds)
  environment, search_path = make_environment(), collection.search_path
  -- What came along finds what came along or is installed, and no file of the same name in a collection or the current
  -- folder.
  local root = collection.root
  package.path = ("%s/lua/?.lua;%s/lua/?/init.lua;%s/?.lua;"):format(root, root, root)
    .. installed.absolute(collection.usual_path)
  package.cpath = installed.absolute(package.cpath)
  share_string_methods()
  report.located = located
  collection.load_closed = function(path)
    if not safe.is_trusted(path) then return safe.load end
  end
  if memory_mb then crossing.set_limits(memory_mb * 2 ^ 20, seconds) end
end

--- The closed world's globals, for those who look for ways out of it.
function safe.environment() return environment end

return safe
