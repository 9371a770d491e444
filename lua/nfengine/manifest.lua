--- Manifests: what records were made of and with, so that others can tell, and can make them again. JSON beside them.
--
--   local about = manifest.new(streamer)        -- before its runs
--   streamer:to_csv "flows.csv"
--   about:add(streamer:account())               -- after each run
--   about:write("flows.json", { { "files", { manifest.output("flows.csv", rows) } } })
--
-- A manifest holds nothing that two runs over the same input would not have in common: no time, no host, no speed.

local ffi = require "ffi"
local C = require "nfengine.lib"
local additions = require "nfengine.additions"
local hash = require "nfengine.hash"
local json = require "nfengine.json"
local parameters = require "nfengine.parameters"
local plugin = require "nfengine.plugin"
local script = require "nfengine.script"
local sources = require "nfengine.sources"
local text = require "nfengine.text"

local manifest = {}
manifest.__index = manifest

-- Of what manifests look like. Readers may rely on the meaning of what is there for as long as it stays the same.
local FORMAT = 1

-- ---- JSON for people ----

local object = {}

--- An object with its members in this order: { { name, value }, … }. Those without a value are left out.
function manifest.object(members) return setmetatable(members, object) end

--- An object of a table's fields, by name. Any other table is a list.
function manifest.map(fields)
  local members = {}
  for _, name in ipairs(text.sorted_keys(fields)) do members[#members + 1] = { name, fields[name] } end
  return manifest.object(members)
end

-- What is no UTF-8, which file names need not be, becomes question marks.
local function as_utf8(bytes)
  return (bytes:gsub("[\128-\255]+", function(part)
    local out, at = {}, 1
    while at <= #part do
      local _, size = text.character_at(part, at)
      out[#out + 1] = size and part:sub(at, at + size - 1) or "?"
      at = at + (size or 1)
    end
    return table.concat(out)
  end))
end

local function scalar(value)
  if type(value) == "string" then return (json.encode(as_utf8(value)):gsub("\\/", "/")) end
  if type(value) == "number" and value == math.floor(value) then return ("%.0f"):format(value) end
  return json.encode(value)
end

local WIDTH = 120

-- A value on one line where it fits, else with a line for each of its parts. In a list, what has no parts of parts is
-- on one line however long, so that long lists can be searched and compared by line.
local function encode(value, indent, is_in_list)
  if type(value) ~= "table" then return scalar(value) end
  local is_object, parts, is_flat, deeper = getmetatable(value) == object, {}, true, indent .. "  "
  for _, part in ipairs(value) do
    local name, inner = "", part
    if is_object then name, inner = scalar(part[1]) .. ": ", part[2] end
    if inner ~= nil then
      parts[#parts + 1] = name .. encode(inner, deeper, not is_object)
      is_flat = is_flat and type(inner) ~= "table"
    end
  end
  local open, close = is_object and "{" or "[", is_object and "}" or "]"
  local line = open .. table.concat(parts, ", ") .. close
  if is_in_list and is_flat or #indent + #line <= WIDTH and not line:find "\n" then return line end
  return ("%s\n%s%s\n%s%s"):format(open, deeper, table.concat(parts, ",\n" .. deeper), indent, close)
end

--- A value as JSON.
function manifest.encode(value) return encode(value, "") .. "\n" end

-- ---- with what ----

--- Hexadecimal SHA-256 of a file, and its size; nil for what is no readable file.
local function digest_of(path)
  local digest, size = hash.sha256_file(path)
  if digest then return hash.hex(digest), size end
end

local function engine()
  return manifest.object {
    { "nfengine", ffi.string(C.nf_version()) }, { "libpcap", ffi.string(C.nf_pcap_version()) },
    { "ndpi", ffi.string(C.nf_dpi_version()) }, { "luajit", jit.version }, { "lua_cjson", json._VERSION },
  }
end

--- Options' values, and the SHA-256 of the files that they name.
local function options_of(declaration, values)
  local given, files = {}, {}
  for _, option in ipairs(declaration) do
    given[option.name] = rawget(values, option.name)
    if option.is_file and given[option.name] ~= "" then files[option.name] = digest_of(given[option.name]) end
  end
  return manifest.map(given), next(files) and manifest.map(files) or nil
end

local function describe_script()
  if not script.path then return nil end
  local options, files = options_of(script.given())
  return manifest.object {
    { "name", script.path:match "([^/]+)%.lua$" or script.path }, { "file", script.path },
    { "sha256", (digest_of(script.path)) }, { "options", options }, { "option_files_sha256", files },
  }
end

--- The file that gave a class or profile, nil for one that a script has itself.
local function file_of(made)
  for name, value in pairs(package.loaded) do
    if value == made then return name:match "^plugin file (.*)$" or package.searchpath(name, package.path) end
  end
end

local function describe_profile(profile)
  if not profile then return nil end
  local file = file_of(profile)
  return manifest.object {
    { "name", profile.name }, { "version", profile.definition.version }, { "file", file },
    { "sha256", file and (digest_of(file)) },
  }
end

local function describe_plugin(instance)
  local class = plugin.class_of(instance)
  local file = file_of(class)
  local options, files = options_of(class.options, instance)
  return manifest.object {
    { "name", class.name }, { "version", class.version }, { "file", file }, { "sha256", file and (digest_of(file)) },
    { "options", options }, { "option_files_sha256", files },
  }
end

local function describe_parameters(resolved)
  local members = {}
  for _, option in ipairs(parameters.list) do
    local value = resolved[option.name]
    if type(value) == "function" then value = parameters.filter_text or "a function of the script" end
    if not option.is_hidden then members[#members + 1] = { option.name, value } end
  end
  return manifest.object(members)
end

--- Begins a manifest: what a streamer's runs are made with, as it is now.
function manifest.new(streamer)
  local resolved = parameters.resolve(getmetatable(streamer).values, 2)
  local plugins = plugin.instances(resolved.udps)
  for i, instance in ipairs(plugins) do plugins[i] = describe_plugin(instance) end
  local self = {
    head = {
      { "manifest", FORMAT }, { "engine", engine() }, { "script", describe_script() },
      { "profile", describe_profile(additions.profile()) }, { "plugins", plugins },
      { "parameters", describe_parameters(resolved) },
    },
    source = resolved.source, accounts = {},
  }
  return setmetatable(self, manifest)
end

-- ---- of what ----

--- Adds a run's account.
function manifest:add(account) self.accounts[#self.accounts + 1] = account end

local function add_up(sums, counts)
  for name, count in pairs(counts) do sums[name] = (sums[name] or 0) + count end
end

local function describe_runs(accounts)
  local sums, ended, ignored, dropped, warnings = {}, {}, {}, {}, {}
  local meters, is_damaged, is_interrupted = 0, false, false
  for _, account in ipairs(accounts) do
    add_up(sums, { packets = account.packets, bytes = account.bytes, flows = account.flows })
    add_up(ended, account.ended)
    add_up(ignored, account.ignored)
    add_up(dropped, account.dropped)
    for _, warning in ipairs(account.warnings) do warnings[#warnings + 1] = warning end
    meters = math.max(meters, account.meters)
    is_damaged, is_interrupted = is_damaged or account.is_damaged, is_interrupted or account.is_interrupted
  end
  return manifest.object {
    { "runs", #accounts }, { "meters", meters }, { "packets", sums.packets },
    { "bytes", sums.bytes }, { "flows", sums.flows }, { "packets_ignored", manifest.map(ignored) },
    { "packets_dropped", manifest.map(dropped) }, { "flows_ended", manifest.map(ended) },
    { "is_damaged", is_damaged }, { "is_interrupted", is_interrupted }, { "warnings", warnings },
  }
end

local function describe_inputs(self)
  local list = {}
  for _, account in ipairs(self.accounts) do
    for _, name in ipairs(account.is_live and sources.files(self.source) or {}) do
      list[#list + 1] = manifest.object { { "interface", name } }
    end
    for _, input in ipairs(account.inputs) do
      local sha256, size
      if input.path ~= "-" then sha256, size = digest_of(input.path) end
      list[#list + 1] = manifest.object {
        { "path", input.path }, { "bytes", size }, { "sha256", sha256 }, { "packets", input.packets },
      }
    end
  end
  return list
end

-- ---- what has come of it ----

--- A file that was written: its size and SHA-256.
-- @param path where it lies; `name`, if given, is what it will be called
-- @param records how many it has
function manifest.output(path, records, name)
  local sha256, size = digest_of(path)
  return manifest.object {
    { "name", name or path }, { "records", records }, { "bytes", size }, { "sha256", sha256 },
  }
end

--- What records hold, column by column.
-- @param columns as sinks get them
-- @param add function that gives further members for a column, or nil
function manifest.schema(columns, add)
  local list = {}
  for i, column in ipairs(columns) do
    local members = {
      { "name", column.name }, { "type", plugin.type_text(column) }, { "unit", column.unit }, { "doc", column.doc },
    }
    for _, member in ipairs(add and add(column) or {}) do members[#members + 1] = member end
    list[i] = manifest.object(members)
  end
  return list
end

--- The manifest as JSON, with further members behind its own.
function manifest:text(more)
  local members = {}
  local own = { { "inputs", describe_inputs(self) }, { "run", describe_runs(self.accounts) } }
  for _, list in ipairs { self.head, own, more or {} } do
    for _, member in ipairs(list) do members[#members + 1] = member end
  end
  return manifest.encode(manifest.object(members))
end

--- Writes it. Raises what fails.
function manifest:write(path, more)
  local file = assert(io.open(path, "wb"))
  local ok, message = file:write(self:text(more))
  local closed, problem = file:close()
  if not (ok and closed) then error(("%s: %s"):format(path, message or problem), 0) end
end

return manifest
