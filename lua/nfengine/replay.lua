--- Makes again what a manifest tells of, and says whether it is the same.
--
-- First what would be run and read is compared: scripts, plugins, modules, files that options name, captures. Where any
-- is another, nothing is run. Then the program is run anew, with the words that the manifest has, its files going into
-- a folder, and these are compared. Nothing of a manifest is believed: it may be anybody's.

local collection = require "nfengine.collection"
local digests = require "nfengine.digests"
local json = require "nfengine.json"
local lfs = require "nfengine.lfs"
local options = require "nfengine.options"
local report = require "nfengine.report"
local shell = require "nfengine.shell"
local text = require "nfengine.text"

local replay = {}

local function refuse(...) error({ usage = "--replay " .. string.format(...) }, 0) end

-- ---- reading a manifest ----

local function is_text(value) return type(value) == "string" end
local function is_table(value) return type(value) == "table" end
local function is_output(value) return is_table(value) and is_text(value.name) and not value.name:find "/" end
--- Of a plugin, which may be the script's own, or a module: what its file is called and what it holds.
local function is_code(value) return is_table(value) and (value.file == nil or is_text(value.file)) end

--- What manifests have that is relied upon here, and what its elements are.
local LISTS = {
  command = is_text, files = is_output, inputs = is_table, plugins = is_code, sources = is_text, modules = is_code,
}

local function is_list(value, is_element)
  if not is_table(value) then return false end
  for _, element in ipairs(value) do
    if not is_element(element) then return false end
  end
  return true
end

local function is_manifest(about)
  if not is_table(about) or about.manifest ~= 1 then return false end
  about.modules = about.modules or {}
  for name, is_element in pairs(LISTS) do
    if not is_list(about[name], is_element) then return false end
  end
  for _, name in ipairs { "engine", "run", "parameters", "script" } do
    if not is_table(about[name]) then return false end
  end
  return is_text(about.script.file) and (about.profile == nil or is_code(about.profile))
end

--- Why a manifest's run cannot be made again, or nil.
local function obstacle(about)
  local run, parameters = about.run, about.parameters
  if run.failure then return "its run has failed: " .. tostring(run.failure) end
  if run.is_interrupted then return "its run was interrupted" end
  for _, input in ipairs(about.inputs) do
    if not is_text(input.path) then return "it tells of a network interface" end
    if not is_text(input.sha256) then return ("it has no SHA-256 of %s"):format(text.quote(input.path)) end
  end
  if parameters.anonymization_key == "random" then return "its columns were anonymised with a random key" end
  if parameters.time_shift == "not told" then return "its times were shifted, by what it does not tell" end
end

local function read(path)
  local file, message = io.open(path, "rb")
  if not file then refuse("%s", message) end
  local bytes = file:read "*a" or ""
  file:close()
  local ok, about = pcall(json.decode, bytes)
  if not ok or not is_manifest(about) then
    refuse("%s: expected the manifest of a run of the program, FILE.manifest.json", text.quote(path))
  end
  local why = obstacle(about)
  if why then refuse("%s: %s, which cannot be made again", text.quote(path), why) end
  return about
end

-- ---- differences ----

local function differ(self, ...) self.lines[#self.lines + 1] = text.one_line(string.format(...)) end

--- Compares a file's digest. What is not there has none.
local function compare(self, what, path, expected)
  local found = digests.of_file(path)
  if found == expected then return true end
  differ(self, "%s %s: SHA-256 expected %s, found %s", what, path, tostring(expected), found or "no such file")
  return false
end

-- ---- what is run ----

local function base_of(path) return path:match "[^/]*$" end

--- The file of a script, plugin or profile: where it was, or what its name stands for, or beside the manifest; the
-- first that has the digest.
local function find_code(self, kind, entry)
  local name = base_of(entry.file):gsub("%.lua$", "")
  local places, first = { entry.file, collection.find(kind, name), self.folder .. base_of(entry.file) }, nil
  for i = 1, 3 do
    local path = places[i]
    if path and lfs.attributes(path, "mode") == "file" then
      if digests.of_file(path) == entry.sha256 then return path end
      first = first or path
    end
  end
  compare(self, kind == "scripts" and "script" or "plugin", first or entry.file, entry.sha256)
end

--- That what is asked for by its name is what the manifest has, also where another folder comes first.
local function check_module(self, name, entry)
  local folder = self.script and self.script:match "^(.*/)" or "./"
  local path = package.searchpath(name, ("%s;%s?.lua"):format(package.path, folder))
  compare(self, "module", path or entry.file or name, entry.sha256)
end

local function check_option_files(self, entry)
  if not (is_table(entry.options) and is_table(entry.option_files_sha256)) then return end
  for name, sha256 in pairs(entry.option_files_sha256) do
    compare(self, "file of option " .. name, tostring(entry.options[name]), sha256)
  end
end

--- What --plugin or --profile names, as the path of a file that was compared.
local function checked_path(self, word, entries)
  for _, entry in ipairs(entries) do
    local name = entry.file and base_of(entry.file)
    if name and (name == base_of(word) or name == word .. ".lua") then
      entry.is_found = true
      return find_code(self, "plugins", entry) or word
    end
  end
  differ(self, "plugin %s: not in the manifest, expected its SHA-256 there", word)
  return word
end

--- Compares all code, and puts the files that were compared into the words.
local function check_code(self)
  local about, values = self.about, self.values
  self.script = find_code(self, "scripts", about.script)
  check_option_files(self, about.script)
  values.profile = values.profile and checked_path(self, values.profile, { about.profile })
  for i, word in ipairs(values.plugin or {}) do values.plugin[i] = checked_path(self, word, about.plugins) end
  for _, entry in ipairs(about.plugins) do
    check_option_files(self, entry)
    local name = entry.file and base_of(entry.file):match "^(.*)%.lua$"
    if name and not entry.is_found then check_module(self, "plugins." .. name, entry) end
  end
  for _, entry in ipairs(about.modules) do check_module(self, tostring(entry.name), entry) end
end

-- ---- what is read ----

--- Where a source lies now: where it was, else beside the manifest, else in one of the places that were named.
local function find_source(self, path)
  local base = base_of(path:gsub("(.)/+$", "%1"))
  local candidates = { path, self.folder .. path, self.folder .. base }
  for _, place in ipairs(self.places) do
    if base_of(place) == base then candidates[#candidates + 1] = place end
    candidates[#candidates + 1] = place .. "/" .. path
    candidates[#candidates + 1] = place .. "/" .. base
  end
  for _, candidate in ipairs(candidates) do
    if lfs.attributes(candidate) then return candidate end
  end
  return path
end

--- Files of a folder that the manifest does not have.
local function check_folder(self, folder, known)
  for name in lfs.dir(folder) do
    local path = folder:gsub("([^/])$", "%1/") .. name
    local is_read = not name:match "^%." and lfs.attributes(path, "mode") == "file"
    if is_read and not known[path] then differ(self, "input %s: expected no such file", path) end
  end
end

--- Finds the sources and compares all captures in them.
local function check_inputs(self)
  local known = {}
  self.sources = {}
  for i, source in ipairs(self.about.sources) do
    local found, bare = find_source(self, source), source:gsub("(.)/+$", "%1")
    self.sources[i] = found
    self.is_moved = self.is_moved or found ~= source
    for _, input in ipairs(self.about.inputs) do
      local is_in_it = input.path:sub(1, #bare + 1) == bare .. "/"
      if input.path == source or is_in_it then
        local path = is_in_it and found:gsub("/+$", "") .. input.path:sub(#bare + 1) or found
        known[path] = true
        compare(self, "input", path, input.sha256)
      end
    end
    if lfs.attributes(found, "mode") == "directory" then check_folder(self, found, known) end
  end
end

-- ---- notes ----

local function notes(self)
  local list, engine = {}, require("nfengine.manifest").engine()
  for _, member in ipairs(engine) do
    local name, here = member[1], member[2]
    local there = self.about.engine[name]
    if there ~= here then
      list[#list + 1] = ("note: made with %s %s, here is %s"):format(name, text.one_line(tostring(there)), here)
    end
  end
  local parameters = self.about.parameters
  local is_shared = (tonumber(self.about.run.meters) or 0) > 1
  if is_shared and parameters.dpi_cache and parameters.n_dissections ~= 0 then
    list[#list + 1] = "note: L7 of several meters with dpi_cache may differ from run to run"
  end
  return list
end

-- ---- running ----

-- Options of the command line that are not repeated: where things go, whom they are told, whose rights they have.
local NOT_REPEATED = {
  "output", "into", "user", "interface", "progress", "performance_report", "performance_report_file", "manifest",
  "profile_plugins",
}

-- Options that stand beside --replay, for the run.
local PASSED_ON = { "sandbox", "safe", "safe_memory", "safe_seconds" }

local function parse(about)
  local ok, values, others, rest = pcall(options.parse, about.command, require("nfengine.cli").declaration())
  for _, name in ipairs { "help", "version", "list", "which", "check", "test", "new", "schema", "replay" } do
    ok = ok and not values[name]
  end
  if not ok then refuse("its command %s: expected one that begins a run", shell.line(about.command)) end
  return values, others, rest
end

--- A path as a word that nobody takes for an option: files may be called --no-sandbox.
local function word_of(path) return path:match "^%-." and "./" .. path or path end

--- The words of the new run.
local function words_of(self, given, place)
  local values, words = self.values, {}
  local file = values.output and values.output ~= "-" and values.output
  for _, name in ipairs(NOT_REPEATED) do values[name] = nil end
  for _, name in ipairs(PASSED_ON) do
    if given[name] ~= nil then values[name] = given[name] end
  end
  values.quiet, values.into, values.output = true, place, file or nil
  values.performance_report = 0
  values.n_meters = tonumber(self.about.run.meters)
  for _, word in ipairs(options.words(require("nfengine.cli").declaration(), values)) do words[#words + 1] = word end
  words[#words + 1] = word_of(self.script)
  local captures = self.is_moved and self.sources or self.captures
  for _, path in ipairs(captures) do words[#words + 1] = word_of(path) end
  if self.rest[1] then words[#words + 1] = "--" end
  for _, word in ipairs(self.rest) do words[#words + 1] = word end
  return words
end

local function run(self, words)
  local program = require("nfengine.trial").program()
  if not self.is_quiet then report.say("runs: nfengine " .. shell.line(words)) end
  local result = shell.run(shell.line { program, unpack(words) })
  local may_fail = self.about.run.is_damaged and result.status == 1
  if result.status == 0 or may_fail then return true end
  differ(self, "the run failed with status %d: %s", result.status, result.err:match "([^\n]*)\n?$")
end

local function compare_files(self, place)
  local folder = is_text(self.about.folder) and place .. "/" .. base_of(self.about.folder) or place
  local records = 0
  for _, file in ipairs(self.about.files) do
    records = records + (tonumber(file.records) or 0)
    compare(self, "file", folder .. "/" .. file.name, file.sha256)
  end
  return records
end

--- Removes a folder of our own with all that is in it.
local function remove(path)
  for name in lfs.dir(path) do
    local inner = path .. "/" .. name
    if name ~= "." and name ~= ".." then
      if lfs.symlinkattributes(inner, "mode") == "directory" then remove(inner) else os.remove(inner) end
    end
  end
  lfs.rmdir(path)
end

local function is_empty(folder)
  for name in lfs.dir(folder) do
    if name ~= "." and name ~= ".." then return false end
  end
  return true
end

--- The folder for the new files: what -o names, or one beside the manifest that does not stay.
local function make_place(path, named)
  local place = named or path .. ".replay"
  if named and lfs.attributes(named, "mode") == "directory" then
    if not is_empty(named) then refuse("%s: has files in it, expected a new or empty folder", text.quote(named)) end
    return named
  end
  local made, message = lfs.mkdir(place)
  if not made then refuse("%s: %s: expected a new folder, or -o FOLDER", text.quote(place), message) end
  return place
end

local function check_words(values, words)
  local known = { replay = true, output = true, quiet = true, traceback = true }
  for _, name in ipairs(PASSED_ON) do known[name] = true end
  for name in pairs(values) do
    if not known[name] then refuse("--%s: has no effect here, expected it in the manifest", (name:gsub("_", "-"))) end
  end
  if not words[1] then refuse "expected the path of a manifest behind it" end
end

local function answer(self, lines)
  for _, line in ipairs(self.lines) do lines[#lines + 1] = line end
  return table.concat(lines, "\n") .. "\n", #self.lines > 0 and 1 or 0
end

--- Does it.
-- @param values of the command line's options
-- @param words behind them: the manifest's path, and places where captures may lie
-- @return what there is to say, a line each, and an exit status: 0 the same, 1 not
function replay.run(values, words)
  check_words(values, words)
  local path = words[1]
  local self = {
    about = read(path), folder = path:match "^(.*/)" or "", places = { unpack(words, 2) }, lines = {},
    is_quiet = values.quiet,
  }
  self.values, self.captures, self.rest = parse(self.about)
  local first = self.captures[1]
  local is_script = first and base_of(first):gsub("%.lua$", "") == self.about.script.name
  if is_script then table.remove(self.captures, 1) end
  check_code(self)
  check_inputs(self)
  local lines = notes(self)
  if self.lines[1] then
    differ(self, "nothing was run")
    return answer(self, lines)
  end
  local place = make_place(path, values.output)
  local records = run(self, words_of(self, values, place)) and compare_files(self, place)
  if not values.output then remove(place) end
  if not self.lines[1] then
    local files = text.plural(#self.about.files, "file")
    lines[#lines + 1] = ("the same: %s, %s"):format(files, text.plural(records, "record"))
  end
  return answer(self, lines)
end

return replay
