--- Profiles: named sets of plugins and parameters, so that a run gives another tool's columns, or a study's.
--
--   return nf.profile {
--     name       = "web",
--     plugins    = { "tcp_end", { "first_n", packets = 20 } },
--     parameters = { idle_timeout = 60, statistical_analysis = true },
--   }
--
-- `nfengine --profile web …` gives every run of a script these; in a script, `nf.streamer(Web { source = "a.pcap" })`.

local text = require "nfengine.text"

local profile = {}

local fields = {
  name = "string", version = "string", api = "number", description = "string", author = "string", license = "string",
  categories = "table", plugins = "table", parameters = "table",
}

local class = {}
class.__index = class
class.__tostring = function(self) return "profile " .. self.name end

--- Checks a declaration and makes a profile of it. Raises one line naming the profile and the field.
function profile.declare(definition)
  if type(definition) ~= "table" then error(("nf.profile: %s: expected a table"):format(text.quote(definition)), 0) end
  local owner = "profile " .. tostring(definition.name)
  local plugin = require "nfengine.plugin"
  plugin.check_fields(definition, owner, fields)
  plugin.check_header(definition, owner)
  local self = { name = definition.name, description = definition.description, definition = definition }
  return setmetatable(self, class)
end

--- Whether something is a profile.
function profile.is_profile(value) return getmetatable(value) == class end

-- An entry of `plugins`: a name, a name with options in one table, or a plugin.
local function instance_of(self, i, entry)
  local plugin, collection = require "nfengine.plugin", require "nfengine.collection"
  if plugin.class_of(entry) or plugin.is_class(entry) then return entry end
  local name, options = entry, {}
  if type(entry) == "table" then
    name = entry[1]
    for key, value in pairs(entry) do
      if key ~= 1 then options[key] = value end
    end
  end
  if type(name) ~= "string" then
    error(("profile %s: plugins[%d]: expected a plugin's name, or { name, option = value }"):format(self.name, i), 0)
  end
  return collection.load(name)(options)
end

--- Fresh instances of the profile's plugins, in their order.
function class:instances()
  local list = {}
  for i, entry in ipairs(self.definition.plugins or {}) do list[i] = instance_of(self, i, entry) end
  return list
end

--- Its parameters, by name.
function class:parameters()
  return self.definition.parameters or {}
end

--- Parameters for nf.streamer: the profile's, under the given ones; `udps` given come behind its plugins.
class.__call = function(self, given)
  local plugin, merged = require "nfengine.plugin", {}
  for name, value in pairs(self:parameters()) do merged[name] = value end
  for name, value in pairs(given or {}) do merged[name] = value end
  merged.udps = self:instances()
  for _, instance in ipairs(plugin.instances(given and given.udps)) do table.insert(merged.udps, instance) end
  return merged
end

return profile
