-- The plugins and profiles that come along, and which of them go together in one run.

local commands = require "nfengine.commands"
local text = require "nfengine.text"

local plugins = {}

--- Those that an expression of --list accepts, described as in commands.catalogue.
function plugins.that_are(expression)
  local list = {}
  for _, described in ipairs(commands.catalogue(("(plugin or profile) and (%s)"):format(expression))) do
    if described.path:match "^%./plugins/" then list[#list + 1] = described end
  end
  return list
end

--- Whether it does nothing without a file that its options name.
function plugins.needs_file(described) return text.contains(described.categories, "model") end

--- All that go together: what ends or freezes flows would hide from the others what comes after, or spare them work;
-- profiles are sets of these.
function plugins.together() return plugins.that_are "plugin and not (expiry or model)" end

--- All the others, which run alone.
function plugins.apart() return plugins.that_are "profile or expiry" end

function plugins.names(list)
  local names = {}
  for i, described in ipairs(list) do names[i] = described.name end
  return names
end

return plugins
