--- The closed world: where code of others runs that is to compute and to touch nothing else.
--
-- Such code is given functions that change nothing but what they are given, and libraries that are copies, so that the
-- engine's own stay as they are. Nothing in it leads to a file, a program, another function's environment or memory.
-- Texts' methods are the one thing that the world shares with everybody: getmetatable, by which they could be changed,
-- is not there.

local text = require "nfengine.text"

local world = {}

local FUNCTIONS = [[assert error ipairs next pairs pcall print rawequal rawget rawset select setmetatable tonumber
  tostring type unpack xpcall]]

-- What of a library a closed world does not have: bytecode tells of memory, and can write it.
local LEFT_OUT = { ["string.dump"] = true }

local function copy_of(name)
  local copy = {}
  for key, value in pairs(require(name)) do
    if not LEFT_OUT[name .. "." .. key] then copy[key] = value end
  end
  return copy
end

--- The environment of a new closed world: functions, string, table, math and bit.
function world.new()
  local environment = {}
  for name in FUNCTIONS:gmatch "%S+" do environment[name] = _G[name] end
  for _, name in ipairs { "string", "table", "math", "bit" } do environment[name] = copy_of(name) end
  environment._G = environment
  return environment
end

--- Runs a file in a world. Raises what is wrong with it.
-- @return what it returns
function world.run(environment, path, ...)
  local chunk, message = loadfile(path, "t")
  if not chunk then error(message, 0) end
  return setfenv(chunk, environment)(...)
end

--- Makes a read of what a table in the world lacks an error, where all programs have it: `io`, `os.execute`.
-- @param prefix of the names: "os." for what is in os
-- @param usual the table that everybody else has
function world.refuse_the_rest(environment, prefix, usual)
  local there = {}
  for _, name in ipairs(text.sorted_keys(environment)) do there[#there + 1] = prefix .. name end
  local expected = table.concat(there, ", ")
  return setmetatable(environment, {
    __metatable = false,
    __index = function(_, name)
      if usual[name] == nil then return nil end
      error(("--safe: '%s%s' is not there, expected one of %s"):format(prefix, name, expected), 2)
    end,
  })
end

return world
