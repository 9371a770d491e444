--- What the command line adds to every run of a script: plugins, and options of plugins.

local options = require "nfengine.options"
local plugin = require "nfengine.plugin"
local text = require "nfengine.text"

local additions = {
  makers = {},   -- functions that make plugins' instances for a run, in order
  settings = {}, -- { plugin, option, word, shown } of -a
}

local profile -- no field of this module, which would be looked for in meters' threads

--- The profile of --profile, or nil.
function additions.profile() return profile end

--- Adds a plugin class, or a profile, whose plugins come.
function additions.add(source)
  if source.instances then profile = source end
  additions.makers[#additions.makers + 1] = function()
    return source.instances and source:instances() or plugin.instances(source)
  end
end

--- Remembers "plugin.option=value". Raises a usage error when it is of another form.
function additions.set(word)
  local name, option, value = word:match "^([%w_]+)%.([%w_]+)=(.*)$"
  if not name then error({ usage = ("-a %s: expected PLUGIN.OPTION=VALUE"):format(text.quote(word)) }, 0) end
  additions.settings[#additions.settings + 1] = { plugin = name, option = option, word = value, shown = "-a " .. word }
end

local function option_of(class, setting)
  local names = {}
  for i, option in ipairs(class.options) do
    if option.name == setting.option then return option end
    names[i] = option.name
  end
  local has = #names > 0 and ", expected " .. table.concat(names, ", ") or ": it has none"
  error({ usage = ("%s: plugin %s has no option %s%s%s"):format(setting.shown, class.name, text.quote(setting.option),
    text.suggest(setting.option, names), has) }, 0)
end

--- Sets one option in all instances of its plugin.
local function apply(setting, instances)
  local names, is_there = {}, false
  for i, instance in ipairs(instances) do
    local class = plugin.class_of(instance)
    names[i] = class.name
    if class.name == setting.plugin then
      is_there = true
      local value, expected = options.from_text(option_of(class, setting), setting.word)
      if value == nil then
        error({ usage = ("%s: %s: expected %s"):format(setting.shown, text.quote(setting.word), expected) }, 0)
      end
      plugin.set_options(instance, { [setting.option] = value })
    end
  end
  if not is_there then
    error({ usage = ("%s: no plugin %s in this run%s"):format(setting.shown, text.quote(setting.plugin),
      text.suggest(setting.plugin, names)) }, 0)
  end
end

--- A run's plugins: the script's, then those added unless the script has them already; with the options set. What is
-- given is left alone where there is nothing to add.
function additions.to(udps)
  if #additions.makers == 0 and #additions.settings == 0 then return udps end
  local instances, has = plugin.instances(udps), {}
  for _, instance in ipairs(instances) do has[plugin.class_of(instance).name] = true end
  for _, make in ipairs(additions.makers) do
    for _, instance in ipairs(make()) do
      local name = plugin.class_of(instance).name
      if not has[name] then instances[#instances + 1] = instance end
      has[name] = true
    end
  end
  for _, setting in ipairs(additions.settings) do apply(setting, instances) end
  return instances
end

return additions
