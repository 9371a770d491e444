--- Manifests: what records were made of and with, so that others can tell, and can make them again. JSON beside them.
--
--   local about = manifest.new(streamer)        -- before its runs, so that captures are read for both at once
--   streamer:to_csv "flows.csv"
--   about:add(streamer:account())               -- after each run
--   about:write("flows.json", { { "files", { manifest.output("flows.csv", rows) } } })
--
-- A manifest holds nothing that two runs over the same input would not have in common: no time, no host, no speed.

local ffi = require "ffi"
local C = require "nfengine.lib"
local additions = require "nfengine.additions"
local collection = require "nfengine.collection"
local contents = require "nfengine.contents"
local digests = require "nfengine.digests"
local json = require "nfengine.json"
local parameters = require "nfengine.parameters"
local plugin = require "nfengine.plugin"
local pretty = require "nfengine.pretty"
local privacy = require "nfengine.privacy"
local script = require "nfengine.script"
local sources = require "nfengine.sources"
local text = require "nfengine.text"

local manifest = {}
manifest.__index = manifest

-- Of what manifests look like. Readers may rely on the meaning of what is there for as long as it stays the same.
local FORMAT = 1

-- ---- with what ----

local digest_of = digests.of_file

--- Versions of the program and of what it is made with: an object.
function manifest.engine()
  return pretty.object {
    { "nfengine", ffi.string(C.nf_version()) }, { "revision", ffi.string(C.nf_revision()) },
    { "libpcap", ffi.string(C.nf_pcap_version()) }, { "ndpi", ffi.string(C.nf_dpi_version()) },
    { "libgcrypt", ffi.string(C.nf_crypto_version()) }, { "zlib", ffi.string(C.nf_zlib_version()) },
    { "zstd", ffi.string(C.nf_zstd_version()) }, { "luajit", jit.version }, { "lua_cjson", json._VERSION },
  }
end

--- Options' values, and the SHA-256 of the files that they name.
local function options_of(declaration, values)
  local given, files = {}, {}
  for _, option in ipairs(declaration) do
    given[option.name] = rawget(values, option.name)
    if option.is_file and given[option.name] ~= "" then files[option.name] = digest_of(given[option.name]) end
  end
  return pretty.map(given), next(files) and pretty.map(files) or nil
end

local function describe_script()
  if not script.path then return nil end
  local options, files = options_of(script.given())
  return pretty.object {
    { "name", script.path:match "([^/]+)%.lua$" or script.path }, { "file", script.path },
    { "sha256", (digest_of(script.path)) }, { "options", options }, { "option_files_sha256", files },
  }
end

--- The file that gave a class or profile, nil for one that a script has itself.
local function file_of(made)
  local loaded = collection.file_of(made)
  if loaded then return loaded end
  for name, value in pairs(package.loaded) do
    if value == made then return package.searchpath(name, package.path) end
  end
end

local function describe_profile(profile)
  if not profile then return nil end
  local file = file_of(profile)
  return pretty.object {
    { "name", profile.name }, { "version", profile.definition.version }, { "file", file },
    { "sha256", file and (digest_of(file)) },
  }
end

local function describe_plugin(instance)
  local class = plugin.class_of(instance)
  local file = file_of(class)
  local options, files = options_of(class.options, instance)
  return pretty.object {
    { "name", class.name }, { "version", class.version }, { "file", file }, { "sha256", file and (digest_of(file)) },
    { "options", options }, { "option_files_sha256", files },
  }
end

--- Modules of the script and its plugins: Lua that did not come along as the engine's library or LuaJIT's, and is none
-- of the files told already. Of a program alone: in another's process, whose they are cannot be told.
local function describe_modules(told)
  local list = {}
  for _, name in ipairs(script.path and text.sorted_keys(package.loaded) or {}) do
    local is_own = name:match "^nfengine" or name:match "^jit%."
    local file = not is_own and package.searchpath(name, package.path)
    if file and not told[file] then
      list[#list + 1] = pretty.object { { "name", name }, { "file", file }, { "sha256", (digest_of(file)) } }
    end
  end
  return list[1] and list or nil
end

local function describe_parameters(resolved)
  local members, told = {}, privacy.told(resolved)
  for _, option in ipairs(parameters.list) do
    local value = resolved[option.name]
    if type(value) == "function" then value = parameters.filter_text or "a function of the script" end
    if option.is_hidden then value = nil end
    members[#members + 1] = { option.name, told[option.name] or value }
  end
  return pretty.object(members)
end

local function list_of(value) return type(value) == "table" and value or { value } end

--- What a run's records are made with, as members of an object.
local function describe_making(resolved)
  local plugins, told, command = {}, {}, script.command()
  for i, instance in ipairs(plugin.instances(resolved.udps)) do
    plugins[i] = describe_plugin(instance)
    told[file_of(plugin.class_of(instance)) or ""] = true
  end
  return {
    { "manifest", FORMAT }, { "engine", manifest.engine() }, { "command", command and privacy.told_words(command) },
    { "script", describe_script() },
    { "profile", describe_profile(additions.profile()) }, { "plugins", plugins },
    { "modules", describe_modules(told) }, { "parameters", describe_parameters(resolved) },
    { "sources", list_of(resolved.source) },
  }
end

--- Begins a manifest: what runs are made with.
-- @param resolved parameters, as streamer:resolved() gives them; a streamer stands for its own, as they are now
function manifest.new(resolved)
  if resolved.resolved then resolved = resolved:resolved() end
  local inputs = {}
  for _, path in ipairs(sources.files(resolved.source or {})) do
    if path ~= "-" then inputs[#inputs + 1] = path end
  end
  local self = {
    head = describe_making(resolved), source = resolved.source, accounts = {}, inputs = digests.start(inputs),
    hides_times = privacy.hides_times(resolved), is_masked = parameters.wants_mask(resolved),
  }
  return setmetatable(self, manifest)
end

-- Parameters that change nothing in records.
local NOT_OF_RECORDS = { manifest = true, n_meters = true, performance_report = true, performance_report_file = true }

-- Parameters that may name what a mask hides. The file is for others, and cannot be made again from this alone.
local NAMING = { filter = true, bpf_filter = true }

local function base_names(paths)
  local names = {}
  for i, path in ipairs(paths) do names[i] = path:match "[^/]*/*$" end
  return names
end

--- What records are made with, as JSON: for formats that hold it in the file itself. Without what would differ where
-- the same file is made elsewhere: the command's words, folders of sources, parameters that change no record.
-- @param resolved as above
function manifest.made_with(resolved)
  local parameters_left, is_masked = {}, parameters.wants_mask(resolved)
  for name, value in pairs(resolved) do
    if is_masked and NAMING[name] then value = privacy.NOT_TOLD end
    if not NOT_OF_RECORDS[name] then parameters_left[name] = value end
  end
  local members = {}
  for _, member in ipairs(describe_making(parameters_left)) do
    local name, value = unpack(member)
    if name == "sources" then value = base_names(value) end
    if name ~= "command" then members[#members + 1] = { name, value } end
  end
  return pretty.encode(pretty.object(members))
end

-- ---- of what ----

--- Adds a run's account.
-- @param failure what ended it before its time, as text; it may tell of the flow as plugins see it, which no mask has
--   changed
function manifest:add(account, failure)
  self.accounts[#self.accounts + 1] = account
  self.failure = self.failure or failure and (self.is_masked and privacy.NOT_TOLD or failure)
end

local function add_up(sums, counts)
  for name, count in pairs(counts) do sums[name] = (sums[name] or 0) + count end
end

local function earlier(a, b) return a and b and (a < b and a or b) or a or b end
local function later(a, b) return a and b and (a > b and a or b) or a or b end

local function describe_runs(accounts, failure, hides_times)
  local sums, ended, ignored, dropped, warnings = {}, {}, {}, {}, {}
  local meters, is_damaged, is_interrupted, first, last = 0, false, false, nil, nil
  for _, account in ipairs(accounts) do
    add_up(sums, { packets = account.packets, bytes = account.bytes, flows = account.flows })
    add_up(ended, account.ended)
    add_up(ignored, account.ignored)
    add_up(dropped, account.dropped)
    for _, warning in ipairs(account.warnings) do warnings[#warnings + 1] = warning end
    meters = math.max(meters, account.meters)
    first, last = earlier(first, account.first_packet), later(last, account.last_packet)
    is_damaged, is_interrupted = is_damaged or account.is_damaged, is_interrupted or account.is_interrupted
  end
  if hides_times then first, last = nil, nil end
  return pretty.object {
    { "runs", #accounts }, { "meters", meters }, { "packets", sums.packets },
    { "bytes", sums.bytes }, { "flows", sums.flows }, { "packets_ignored", pretty.map(ignored) },
    { "packets_dropped", pretty.map(dropped) }, { "flows_ended", pretty.map(ended) },
    { "first_packet", first }, { "last_packet", last },
    { "is_damaged", is_damaged }, { "is_interrupted", is_interrupted }, { "failure", failure },
    { "warnings", warnings },
  }
end

local function describe_inputs(self)
  local list = {}
  for _, account in ipairs(self.accounts) do
    for _, name in ipairs(account.is_live and sources.files(self.source) or {}) do
      list[#list + 1] = pretty.object { { "interface", name } }
    end
    for _, input in ipairs(account.inputs) do
      local sha256, size
      if input.path ~= "-" then sha256, size = self.inputs:of(input.path) end
      list[#list + 1] = pretty.object {
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
-- @param file the same, if it is open for reading already; it is closed
function manifest.output(path, records, name, file)
  local sha256, size = digest_of(path, file)
  return pretty.object {
    { "name", name or path }, { "records", records }, { "bytes", size }, { "sha256", sha256 },
  }
end

--- What records hold, column by column: name, type, unit and doc; `length` of arrays; `is_moment`, where a number
-- counts since 1970; `is_binary`, where typed formats have an address as 16 bytes; `nullable`, where formats that know
-- of no value have one for `none`, or for an empty text.
-- @param columns as sinks get them
-- @param add function that gives further members for a column, or nil
function manifest.schema(columns, add)
  local list = {}
  for i, column in ipairs(columns) do
    local members = {
      { "name", column.name }, { "type", plugin.type_text(column) }, { "unit", column.unit }, { "doc", column.doc },
      { "length", column.is_array and column.length or nil }, { "is_moment", column.is_moment or nil },
      { "is_binary", column.is_binary or nil },
      { "nullable", column.none ~= nil or column.type == "text" }, { "none", column.none },
    }
    for _, member in ipairs(add and add(column) or {}) do members[#members + 1] = member end
    list[i] = pretty.object(members)
  end
  return list
end

--- The manifest as JSON, with further members behind its own.
function manifest:text(more)
  local members = {}
  local runs = describe_runs(self.accounts, self.failure, self.hides_times)
  local own = { { "inputs", describe_inputs(self) }, { "run", runs } }
  for _, list in ipairs { self.head, own, more or {} } do
    for _, member in ipairs(list) do members[#members + 1] = member end
  end
  return pretty.encode(pretty.object(members))
end

--- Writes it. Raises what fails.
function manifest:write(path, more) contents.write(path, self:text(more)) end

return manifest
