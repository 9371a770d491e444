--- Collections: where scripts and plugins are found, and what they say of themselves.
--
-- A collection is a folder with scripts/, plugins/ and, for modules that these share, lua/. A bare name is looked for
-- in the current folder, each of $NFENGINE_PATH, the user's data folder ($XDG_DATA_HOME/nfengine, by default
-- ~/.local/share/nfengine) and what came along. The first hit wins.

local lfs = require "nfengine.lfs"
local text = require "nfengine.text"
local world = require "nfengine.world"

local collection = {
  -- The folder of what came along, which this file did, too, nil if it lies elsewhere; set by the command line.
  root = debug.getinfo(1, "S").source:match "^@(.*)/lua/nfengine/collection%.lua$",
  search_path = nil, -- package.path with all collections, once it has been extended, ...
  usual_path = nil, -- ... and what it was before, without our own library
  load_closed = nil, -- with --safe: function that loads a plugin's file of others, or returns nil for what came along
}

-- ---- where ----

--- Folders of collections, in the order in which they are searched.
function collection.folders()
  local folders = { "." }
  for folder in (os.getenv "NFENGINE_PATH" or ""):gmatch "[^:]+" do folders[#folders + 1] = folder end
  local home = os.getenv "HOME"
  local data = os.getenv "XDG_DATA_HOME" or home and home .. "/.local/share"
  if data then folders[#folders + 1] = data .. "/nfengine" end
  folders[#folders + 1] = collection.root
  return folders
end

--- Lets `require "plugins.NAME"`, and modules of collections' lua/, be found on the same way. They come behind our own
-- library, so that none takes the name of one of its modules.
function collection.extend_path()
  local own, others = package.path:match "^([^;]*;[^;]*);(.*)$"
  local parts = { own }
  for _, folder in ipairs(collection.folders()) do
    parts[#parts + 1] = ("%s/?.lua;%s/lua/?.lua;%s/lua/?/init.lua"):format(folder, folder, folder)
  end
  parts[#parts + 1] = others
  package.path = table.concat(parts, ";")
  collection.search_path, collection.usual_path = package.path, others
end

local function is_file(path) return lfs.attributes(path, "mode") == "file" end

--- Path of the script or plugin that a word names: the file itself for "x.lua", else FOLDER/KIND/WORD.lua in the first
-- collection that has one. nil when there is none.
-- @param kind "scripts" or "plugins"
function collection.find(kind, word)
  if word:match "%.lua$" then return is_file(word) and word or nil end
  if word:match "/" then return nil end
  for _, folder in ipairs(collection.folders()) do
    local path = ("%s/%s/%s.lua"):format(folder, kind, word)
    if is_file(path) then return path end
  end
  -- LuaRocks' trees
  return kind == "plugins" and package.searchpath("plugins." .. word, collection.search_path or package.path) or nil
end

local function names_in(folder)
  local names = {}
  if lfs.attributes(folder, "mode") ~= "directory" then return names end
  for file in lfs.dir(folder) do
    local name = file:match "^([%w_]+)%.lua$"
    if name then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

--- All that can be named: a list of { name, path }, by name.
-- @param kind "scripts" or "plugins"
function collection.all(kind)
  local list, seen = {}, {}
  for _, folder in ipairs(collection.folders()) do
    for _, name in ipairs(names_in(folder .. "/" .. kind)) do
      if not seen[name] then list[#list + 1] = { name = name, path = ("%s/%s/%s.lua"):format(folder, kind, name) } end
      seen[name] = true
    end
  end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

--- " (did you mean 'x'?)" for a plugin's name that is none.
function collection.suggest(kind, name)
  local names = {}
  for i, entry in ipairs(collection.all(kind)) do names[i] = entry.name end
  return text.suggest(name, names)
end

-- ---- to run them ----

local MODULE_OF_FILE = "plugin file "

--- Loads a plugin that a file, not a name on the search path, stands for. Such a module's name holds its path, so that
-- every thread of a run finds it.
local function load_file(name)
  local path = name:match("^" .. MODULE_OF_FILE .. "(.*)$")
  if not path then return nil end
  local chunk, message = loadfile(path, "t")
  if not chunk then error(message, 0) end
  return chunk
end

table.insert(package.loaders, 2, load_file)

local files = setmetatable({}, { __mode = "k" }) -- by what they have returned

--- The file by which something was loaded here, or nil.
function collection.file_of(made) return files[made] end

local function absolute(path) return path:match "^/" and path or lfs.currentdir() .. "/" .. path end

--- What a plugin's file returns, by the module that it is. Raises one line when it cannot be loaded.
local function load_module(word, path, module)
  local load = collection.load_closed and collection.load_closed(path)
  local ok, result = pcall(load or require, load and path or module)
  if not ok then
    local message = text.raised(result):gsub("^error loading module[^\n]*\n%s*", "")
    error(("plugin %s: %s"):format(word, message:match "[^\n]*"), 0)
  end
  if type(result) == "table" then files[result] = path end
  return result
end

--- What a plugin's file returns, for use in a run. Raises one line when there is none, or it cannot be loaded.
-- @param word a name, or a path that ends in ".lua"
function collection.load(word)
  local path = collection.find("plugins", word)
  if not path then
    error(("no plugin %s: expected a name on the search path or a file that ends in .lua%s")
      :format(text.quote(word), collection.suggest("plugins", word)), 0)
  end
  return load_module(word, path, word:match "%.lua$" and MODULE_OF_FILE .. absolute(path) or "plugins." .. word)
end

--- The same of a plugin that came along, whatever other collections have by that name: for names that nobody who runs
-- the program has given. Returns nil where none came along.
-- @param name without a path
function collection.load_own(name)
  local path = collection.root and ("%s/plugins/%s.lua"):format(collection.root, name)
  return path and is_file(path) and load_module(name, path, MODULE_OF_FILE .. absolute(path)) or nil
end

-- ---- to read what they say ----

-- A plugin's file is read in a world of its own, in which it can do nothing but compute: what it returns tells all that
-- lists and help show. Modules of collections are read in the same world; any other stands there as an object that
-- takes everything and does nothing.

local inert = {}
local function give_inert() return inert end
setmetatable(inert, {
  __metatable = false, __index = give_inert, __newindex = function() end, __call = give_inert, __concat = give_inert,
  __add = give_inert, __sub = give_inert, __mul = give_inert, __div = give_inert, __mod = give_inert,
  __pow = give_inert, __unm = give_inert, __tostring = function() return "" end,
})

local PATIENCE = 1e6 -- instructions in which a file has to have said all

local call_with_patience

-- From now on every instruction of the file fails: it could catch one error and go on for ever.
local function lose_patience()
  if debug.getinfo(2, "f").func == call_with_patience then return end
  debug.sethook(lose_patience, "", 1)
  error("does not come to an end, expected a file that returns a plugin", 0)
end

--- Calls func, but not for ever. Compiled code would not be interrupted.
function call_with_patience(func, ...)
  jit.off()
  debug.sethook(lose_patience, "", PATIENCE)
  local ok, result = pcall(func, ...)
  debug.sethook()
  jit.on()
  return ok, result
end

--- What a plugin's file returns, read without any of its hooks being called and without effects. Raises one line.
-- @param declare what nf.plugin and nf.profile are there
function collection.read(path, declare)
  local environment = world.new()
  environment.io, environment.os, environment.print = inert, inert, give_inert
  local loaded = {
    nfengine = setmetatable({ plugin = declare.plugin, profile = declare.profile }, { __index = give_inert }),
    string = environment.string, table = environment.table, math = environment.math, bit = environment.bit,
  }

  function environment.require(name)
    if loaded[name] == nil then
      local file = not name:match "^nfengine%." and package.searchpath(name, collection.search_path or package.path)
      loaded[name] = file and (world.run(environment, file) or true) or inert
    end
    return loaded[name]
  end

  local ok, result = call_with_patience(world.run, environment, path)
  if ok then return result end
  local message = text.raised(result):match "[^\n]*"
  error(message:find(path, 1, true) and message or path .. ": " .. message, 0)
end

return collection
