--- A model in use: the parameters and plugins of its training, and the plugin that asks it.
--
--   local deployed = deployment.new "model/"
--   local streamer = nf.streamer(deployed:parameters())
--   streamer.udps = deployed:plugins()
--   deployed:check(streamer:resolved())        -- what the command line says may not make other features
--   streamer:write()

local ffi = require "ffi"
local C = require "nfengine.lib"
local additions = require "nfengine.additions"
local collection = require "nfengine.collection"
local columns = require "nfengine.columns"
local digests = require "nfengine.digests"
local lfs = require "nfengine.lfs"
local manifest = require "nfengine.ml.manifest"
local options = require "nfengine.options"
local output = require "nfengine.output"
local parameters = require "nfengine.parameters"
local plugin = require "nfengine.plugin"
local report = require "nfengine.report"
local sources = require "nfengine.sources"
local text = require "nfengine.text"

local deployment = {}
deployment.__index = deployment

-- Parameters with which the same packets give other features, and those with which nDPI's columns are others.
local OF_FEATURES = {
  "decode_tunnels", "defragment", "idle_timeout", "active_timeout", "linger", "accounting_mode", "time_unit",
}
local OF_L7 = { "n_dissections", "dpi_cache" }
-- The same, for all features and for those that payload makes. A manifest may be anybody's: these are compared with it
-- and never taken from it, as a filter can ask the network for a name's address, and a length takes memory.
local COMPARED, OF_PAYLOAD = { "bpf_filter" }, { "snapshot_length" }

local function refuse(...) error({ usage = text.one_line(string.format(...)) }, 0) end
local function warn(...) report.say("warning: " .. text.one_line(string.format(...))) end

-- ---- parameters ----

local function option_of(name)
  for _, option in ipairs(parameters.list) do
    if option.name == name then return option end
  end
end

--- A parameter as the manifest has it, nil for one that has no value. Raises one line.
local function value_of(about, name)
  if about.parameters[name] == nil and option_of(name).default == nil then return nil end
  local value, expected = options.check(option_of(name), about.parameters[name])
  if value == nil then
    error(("%s: parameter %s = %s: expected %s"):format(text.quote(about.path), name,
      text.quote(about.parameters[name]), expected), 0)
  end
  return value
end

--- Names of the features that are a group's columns, or elements of these.
local function features_of(about, group)
  local names, list, unit = {}, {}, value_of(about, "time_unit")
  for _, name in ipairs(columns.names(group)) do names[name:gsub("{unit}", unit)] = true end
  for _, feature in ipairs(about.features) do
    local name = feature.name
    if group == "splt" then name = name:gsub("_%d+$", "") end
    if names[name] then list[#list + 1] = feature.name end
  end
  return list
end

--- Parameters that add columns, as far as features are among these: each takes memory of every flow. Where a manifest
-- has less than that, columns are missing, and the model is refused for that.
local function columns_of(about)
  local longest = 0
  for _, name in ipairs(features_of(about, "splt")) do longest = math.max(longest, tonumber(name:match "%d+$") or 0) end
  return {
    statistical_analysis = value_of(about, "statistical_analysis") and features_of(about, "statistics")[1] ~= nil,
    splt_analysis = math.min(value_of(about, "splt_analysis"), longest),
    l7_columns = value_of(about, "l7_columns")[1] and features_of(about, "l7_extra") or {},
  }
end

--- Whether some feature is one of nDPI's columns.
local function has_l7(about) return features_of(about, "l7")[1] ~= nil or features_of(about, "l7_extra")[1] ~= nil end

-- ---- the folder ----

--- Reads what nfengine train has written. Raises one line. That the model is the manifest's is for plugin model to say.
-- @param folder with model.json and manifest.json
-- @return an object: `about`, see nfengine.ml.manifest; `model`, the file's path
function deployment.new(folder)
  folder = folder:gsub("(.)/+$", "%1")
  local about, model = manifest.read(folder .. "/manifest.json"), folder .. "/model.json"
  local self = { about = about, model = model, decisive = {}, has_l7 = has_l7(about) }
  for _, list in ipairs { OF_FEATURES, self.has_l7 and OF_L7 or {} } do
    for _, name in ipairs(list) do self.decisive[name] = value_of(about, name) end
  end
  return setmetatable(self, deployment)
end

--- Parameters of a streamer, by name: as training had them where they make features, no more of columns than features
-- are, and nDPI off unless a feature is its.
function deployment:parameters()
  local given = columns_of(self.about)
  given.n_dissections = 0
  for name, value in pairs(self.decisive) do given[name] = value end
  return given
end

-- ---- plugins ----

--- An instance of a plugin that the command line adds, which may be a file; nil where it does not.
local function added(name)
  for _, make in ipairs(additions.makers) do
    for _, instance in ipairs(make()) do
      if plugin.class_of(instance).name == name then return instance end
    end
  end
end

--- One that came along. A manifest may be anybody's, and so may the folder that it is used in: a plugin that lies there
-- runs where the command line names it, and only then.
local function own(name)
  local class = collection.load_own(name)
  if not class then
    error(("plugin %s did not come along with nfengine, expected --plugin with it and its options, as in training")
      :format(name), 0)
  end
  if not plugin.is_class(class) then error(("plugin %s: a profile, expected a plugin"):format(name), 0) end
  return class
end

local function is_of(class, category) return text.contains(class.definition.categories or {}, category) end

local function major(version) return tostring(version):match "^%d+" end

--- Refuses a plugin whose columns mean something else by now, and tells of one that is another.
local function compare(class, trained)
  if major(class.version) ~= major(trained.version) then
    error(("plugin %s: version %s, expected %s as in training"):format(class.name, tostring(class.version),
      text.one_line(tostring(trained.version))), 0)
  end
  local file = collection.file_of(class)
  if file and trained.sha256 and digests.of_file(file) ~= trained.sha256 then
    warn("plugin %s is another than in training, version %s now and %s then", class.name, class.version,
      trained.version)
  end
end

--- A plugin as training had it. What may open files, or did not come along, does as the command line says, never as a
-- manifest does, which may be anybody's.
local function instance_of(trained)
  local given = added(trained.name)
  local class = given and plugin.class_of(given) or own(trained.name)
  compare(class, trained)
  if is_of(class, "safe") and class == collection.load_own(trained.name) then
    local ok, made = pcall(class, trained.options)
    return ok and made or error(text.raised(made), 0)
  end
  return given or error(("plugin %s is not of category safe, expected --plugin %s and its options, as in training")
    :format(trained.name, trained.name), 0)
end

--- Whether some feature is a column of a plugin's, or an element of one.
local function makes_feature(about, instance)
  local is_own = {}
  for _, slot in ipairs(plugin.slots(instance, "columns")) do is_own["udps." .. slot.name] = true end
  for _, feature in ipairs(about.features) do
    if is_own[feature.name] or is_own[feature.name:match "^(.*)_%d+$"] then return true end
  end
  return false
end

--- Plugins of a run: those of training, without the one that gave the label and those that would write payload which no
-- feature is of, and the model's behind them.
-- @param more further options of plugin model, by name
function deployment:plugins(more)
  local list = {}
  for _, trained in ipairs(self.about.plugins) do
    local instance = trained.name ~= self.about.label.plugin and instance_of(trained)
    local is_idle = instance and is_of(plugin.class_of(instance), "payload") and not makes_feature(self.about, instance)
    if instance and not is_idle then list[#list + 1] = instance end
  end
  local given = { file = self.model, manifest = self.about.path }
  for name, value in pairs(more or {}) do given[name] = value end
  list[#list + 1] = own "model"(given)
  return list
end

-- ---- what must be as in training ----

local function shown(value)
  if type(value) == "table" then
    local parts = {}
    for i, part in ipairs(value) do parts[i] = shown(part) end
    return table.concat(parts, ",")
  end
  return type(value) == "number" and ("%.14g"):format(value) or tostring(value)
end

--- Refuses parameters that are not as in training.
local function check_parameters(about, resolved, names)
  for _, name in ipairs(names) do
    local now, before, option = shown(resolved[name]), shown(value_of(about, name)), "--" .. name:gsub("_", "-")
    if now ~= before then
      refuse("%s: the model was trained %s, expected the same",
        resolved[name] == nil and "no " .. option or option .. "=" .. now,
        about.parameters[name] == nil and "without it" or "with " .. before)
    end
  end
end

--- An option that the plugin had not yet then was as it is by default.
local function check_options(instance, trained)
  local class = plugin.class_of(instance)
  for _, option in ipairs(class.options) do
    local before = trained.options[option.name]
    if before == nil then before = option.default end
    local now = shown(rawget(instance, option.name))
    before = shown(before)
    if now ~= before then
      refuse("-a %s.%s=%s: the model was trained with %s, expected the same", class.name, option.name, now, before)
    end
  end
end

-- Options of plugin model that change nothing of what is decided, nor about what.
local OF_USE = { drift = true, engine = true, scores = true }

--- Which file a path is, or would be: two that are the same have the same text.
local function identity_of(path)
  local folder, name = path:match "^(.*/)([^/]*)$"
  local found, of = lfs.attributes(path), ""
  if not found then found, of = lfs.attributes(folder or "."), name or path end
  return found and ("%s:%s:%s"):format(found.dev, found.ino, of) or path
end

--- Refuses a file for drift that is one of those that the run reads, or writes its records to.
local function check_drift(self, path, source)
  if path == "" or path == "-" then return end
  local others = sources.files(source or {})
  for _, other in ipairs { self.model, self.about.path, output.overrides.path } do others[#others + 1] = other end
  for _, other in ipairs(others) do
    if identity_of(other) == identity_of(path) then
      refuse("--drift=%s: a file of this run, expected another", path)
    end
  end
end

--- Refuses to ask the model otherwise than about what it was trained on: about a part of a flow, or other columns.
local function check_model(self, instance, source)
  local given = { file = self.model, manifest = self.about.path }
  for _, option in ipairs(plugin.class_of(instance).options) do
    local now, expected = shown(rawget(instance, option.name)), shown(given[option.name] or option.default)
    if now ~= expected and not OF_USE[option.name] then
      refuse("-a model.%s=%s: the model is asked as it was trained, expected no such option", option.name, now)
    end
  end
  check_drift(self, rawget(instance, "drift"), source)
end

--- Refuses instances that are not as in training. Returns whether some plugin of training reads payload.
-- @param resolved a run's parameters
local function check_plugins(self, resolved)
  local trained_as, reads_payload = {}, false
  for _, trained in ipairs(self.about.plugins) do trained_as[trained.name] = trained end
  for _, instance in ipairs(plugin.instances(resolved.udps)) do
    local class = plugin.class_of(instance)
    if class.name == "model" then check_model(self, instance, resolved.source) end
    local trained = trained_as[class.name]
    if trained and class.name ~= self.about.label.plugin then
      check_options(instance, trained)
      reads_payload = reads_payload or is_of(class, "payload")
    elseif not trained and is_of(class, "expiry") then
      refuse("--plugin %s: it ends flows otherwise than in training, where it was not, expected no such plugin",
        class.name)
    end
  end
  return reads_payload
end

--- Tells of what may make other features, or does so for some flows only.
local function tell(self, resolved)
  local about, ndpi = self.about, ffi.string(C.nf_dpi_version())
  if self.has_l7 and about.ndpi ~= ndpi then
    warn("features are nDPI's, which is another than in training, %s now and %s then", ndpi, about.ndpi)
  end
  local flows, flows_before = shown(resolved.max_flows), shown(value_of(about, "max_flows"))
  if flows ~= flows_before then
    warn("--max-flows=%s: the model was trained with %s, and a full table ends flows", flows, flows_before)
  end
  -- Shown, and never run: it is a program in Lua.
  local filter = about.parameters.filter
  if filter ~= nil and filter ~= parameters.filter_text then
    warn("the model was trained on flows of --filter=%s, which is not this run's filter", shown(filter))
  end
end

--- Raises a usage error where something would make other features than those of training, and tells of what may do so.
-- @param resolved a run's parameters, as streamer:resolved() gives them
function deployment:check(resolved)
  check_parameters(self.about, resolved, text.sorted_keys(self.decisive))
  check_parameters(self.about, resolved, COMPARED)
  local reads_payload = check_plugins(self, resolved)
  if reads_payload or self.has_l7 then check_parameters(self.about, resolved, OF_PAYLOAD) end
  tell(self, resolved)
end

return deployment
