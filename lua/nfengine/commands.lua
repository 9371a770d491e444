--- What the program does instead of a run: say what there is, explain it, find it, check it, test it, begin a new one.

local categories = require "nfengine.categories"
local collection = require "nfengine.collection"
local options = require "nfengine.options"
local plugin = require "nfengine.plugin"
local profile = require "nfengine.profile"
local script = require "nfengine.script"
local text = require "nfengine.text"

local commands = {}

local function usage_error(...) error({ usage = (...):format(select(2, ...)) }, 0) end

-- ---- what files say of themselves ----

local declare = { plugin = plugin.declare, profile = profile.declare }

--- What a plugin's or profile's file says, read without running it. Raises one line.
-- @return a class or a profile
function commands.read(path)
  local made = collection.read(path, declare)
  if plugin.is_class(made) or profile.is_profile(made) then return made end
  error(("%s: returns %s: expected a plugin made by nf.plugin or a profile made by nf.profile")
    :format(path, text.quote(made)), 0)
end

--- One of what there is: name, path, kind, categories (a list), description (one line), problem (why it cannot be
-- read), made (class or profile, of plugins).
local function describe_plugin(entry)
  local ok, made = pcall(commands.read, entry.path)
  local described = { name = entry.name, path = entry.path, kind = "plugin", categories = {}, description = "" }
  if not ok then
    described.problem = made
    return described
  end
  described.made = made
  described.kind = profile.is_profile(made) and "profile" or "plugin"
  described.categories = made.definition.categories or {}
  described.description = (made.description or ""):match "^[^\n]*"
  return described
end

local function describe_script(entry)
  local block = script.doc_block(entry.path)
  local words = {}
  for word in (script.tag(block, "categories") or ""):gmatch "[%w%-]+" do words[#words + 1] = word end
  return {
    name = entry.name, path = entry.path, kind = "script", categories = words, description = script.synopsis(block),
  }
end

-- ---- --list ----

local function words_of(described)
  local words = { described.name, described.kind }
  for _, category in ipairs(described.categories) do words[#words + 1] = category end
  return words
end

--- Everything on the search path that an expression accepts, described: scripts, then plugins, by name.
function commands.catalogue(expression)
  local matches, expected = categories.matcher(expression)
  if not matches then usage_error("--list %s: expected %s", text.quote(expression), expected) end
  local list = {}
  for kind, describe in pairs { scripts = describe_script, plugins = describe_plugin } do
    for _, entry in ipairs(collection.all(kind)) do
      local described = describe(entry)
      if matches(words_of(described)) then list[#list + 1] = described end
    end
  end
  table.sort(list, function(a, b) return a.kind > b.kind or a.kind == b.kind and a.name < b.name end)
  return list
end

local titles = { script = "SCRIPT", profile = "PROFILE", plugin = "PLUGIN" }

--- A table as lines, its columns as wide as they need to be, the last wrapped.
local function table_lines(rows, width)
  local widths, lines = {}, {}
  for _, row in ipairs(rows) do
    for i = 1, #row - 1 do widths[i] = math.max(widths[i] or 0, #row[i]) end
  end
  for _, row in ipairs(rows) do
    local line = ""
    for i = 1, #row - 1 do line = line .. row[i] .. (" "):rep(widths[i] - #row[i] + 2) end
    local indent = (" "):rep(#line)
    lines[#lines + 1] = ((line .. text.wrap(row[#row], indent, width)):gsub("%s+$", ""))
  end
  return table.concat(lines, "\n")
end

function commands.list(words)
  local sections, last = {}, nil
  for _, described in ipairs(commands.catalogue(table.concat(words, " "))) do
    if described.kind ~= last then
      sections[#sections + 1] = { { titles[described.kind], "CATEGORIES", "WHAT IT DOES" } }
      last = described.kind
    end
    local about = described.problem and "cannot be read: " .. described.problem or described.description
    table.insert(sections[#sections], { described.name, table.concat(described.categories, " "), about })
  end
  if #sections == 0 then usage_error("--list %s: nothing matches", text.quote(table.concat(words, " "))) end
  for i, rows in ipairs(sections) do sections[i] = table_lines(rows, 110) end
  return table.concat(sections, "\n\n") .. "\n"
end

-- ---- --which ----

--- The files that a word names, by kind; those of a path are both.
local function find(word, command)
  local found = {}
  for _, kind in ipairs { "scripts", "plugins" } do
    local path = collection.find(kind, word)
    if path and path ~= found[#found] then found[#found + 1] = path end
  end
  if #found > 0 then return found end
  local suggestion = collection.suggest("plugins", word)
  if suggestion == "" then suggestion = collection.suggest("scripts", word) end
  usage_error("%s %s: no such script or plugin%s", command, text.quote(word), suggestion)
end

--- Whether a file is a script: by its folder, or else by not being read as a plugin.
local function is_script(path)
  if path:match "scripts/[^/]+$" then return true end
  return not path:match "plugins/[^/]+$" and not pcall(commands.read, path)
end

local function one_word(words, command)
  if #words ~= 1 then usage_error("%s: expected one name, got %d", command, #words) end
  return words[1]
end

function commands.which(words)
  return table.concat(find(one_word(words, "--which"), "--which"), "\n") .. "\n"
end

-- ---- --check, --test, --new ----

--- What is wrong with files of plugins and scripts; status 1 when anything is.
function commands.check(words)
  if #words == 0 then usage_error "--check: expected names of plugins or scripts" end
  local check, lines, failed = require "nfengine.check", {}, false
  for _, word in ipairs(words) do
    for _, path in ipairs(find(word, "--check")) do
      local problems = is_script(path) and check.script_problems(path) or check.problems(path)
      failed = failed or #problems > 0
      if #problems == 0 then problems = { path .. ": nothing to say against it" } end
      for _, line in ipairs(problems) do lines[#lines + 1] = line end
    end
  end
  return table.concat(lines, "\n") .. "\n", failed and 1 or 0
end

--- Tests of plugins and scripts; status 1 when any fails or there are none.
function commands.test(words)
  if #words == 0 then usage_error "--test: expected names of plugins or scripts" end
  local lines, passed, failed = {}, 0, 0
  local paths = {}
  for _, word in ipairs(words) do
    for _, path in ipairs(find(word, "--test")) do paths[#paths + 1] = path end
  end
  for _, path in ipairs(paths) do
    local results = require("nfengine.trial").results(path)
    if #results == 0 then
      error(("%s: no tests, expected spec/golden/%s/SAMPLE.csv or an @output in its comment")
        :format(path, path:match "([^/]+)%.lua$"), 0)
    end
    for _, result in ipairs(results) do
      lines[#lines + 1] = (result.problem and "FAILED  " or "ok      ") .. result.name
      if result.problem then
        failed = failed + 1
        lines[#lines + 1] = "        " .. result.problem:gsub("\n", "\n        ")
      else
        passed = passed + 1
      end
    end
  end
  lines[#lines + 1] = ("%d passed, %d failed"):format(passed, failed)
  return table.concat(lines, "\n") .. "\n", failed > 0 and 1 or 0
end

--- Begins a plugin.
function commands.new(words)
  if words[1] ~= "plugin" or #words ~= 2 then usage_error "--new: expected the words plugin NAME" end
  local trial, skeleton = require "nfengine.trial", require "nfengine.skeleton"
  local paths = skeleton.plugin(words[2], collection.root .. "/samples", trial.program())
  return ("%s\nNow change it, and try nfengine --check %s and nfengine --test %s.\n")
    :format(table.concat(paths, "\n"), words[2], words[2])
end

-- ---- --help NAME ----

local function column_rows(slots)
  local rows = {}
  for _, slot in ipairs(slots) do
    rows[#rows + 1] = { "  udps." .. slot.name, plugin.type_text(slot), slot.doc }
  end
  return rows
end

local function plugin_help(class)
  local parts = {}
  if #class.options > 0 then
    parts[#parts + 1] = ("Options, as -a %s.OPTION=VALUE:"):format(class.name)
    parts[#parts + 1] = options.help(class.options, class.name .. ".")
  end
  if #class.columns > 0 then
    parts[#parts + 1] = (#parts > 0 and "\n" or "") .. "Columns:"
    parts[#parts + 1] = table_lines(column_rows(class.columns), 100)
  end
  return table.concat(parts, "\n")
end

local function profile_help(made)
  local lines = { "Plugins:" }
  for _, entry in ipairs(made.definition.plugins or {}) do
    local words = type(entry) == "table" and entry or { entry }
    local given = {}
    for _, name in ipairs(text.sorted_keys(words)) do
      if name ~= 1 then given[#given + 1] = ("%s = %s"):format(name, tostring(words[name])) end
    end
    lines[#lines + 1] = "  " .. tostring(words.name or words[1]) .. (#given > 0 and ": " or "")
      .. table.concat(given, ", ")
  end
  lines[#lines + 1] = "\nParameters:"
  for _, name in ipairs(text.sorted_keys(made:parameters())) do
    local value = made:parameters()[name]
    lines[#lines + 1] = ("  %s = %s"):format(name,
      type(value) == "table" and text.wrap(table.concat(value, ", "), (" "):rep(#name + 5), 100) or tostring(value))
  end
  return table.concat(lines, "\n")
end

--- Help for a plugin or profile, from what its file says.
-- @param path its file
function commands.help(path)
  local made = commands.read(path)
  local about = made.definition
  local facts = { "file " .. path }
  for _, field in ipairs { "version", "author", "license" } do
    if about[field] then facts[#facts + 1] = field .. " " .. about[field] end
  end
  if about.categories then facts[#facts + 1] = "categories " .. table.concat(about.categories, " ") end
  local details = plugin.is_class(made) and plugin_help(made) or profile_help(made)
  return table.concat({
    (script.without_tags(script.doc_block(path)):gsub("%s+$", "")), details ~= "" and "\n" .. details or "",
    "\n" .. table.concat(facts, "\n"), "",
  }, "\n")
end

-- ---- --columns without a run ----

local function engine_rows(wanted)
  local rows = {}
  for _, column in ipairs(require("nfengine.columns").all()) do
    if not wanted or column.name == wanted then
      rows[#rows + 1] = { column.name, column.type, column.doc .. (column.unit and " (" .. column.unit .. ")" or "") }
    end
  end
  return rows
end

--- Describes columns: all that runs can have, or single ones, or those of plugins.
function commands.columns(names)
  local rows = #names == 0 and engine_rows() or {}
  for _, name in ipairs(names) do
    local found = engine_rows(name)
    if #found == 0 then
      local path = collection.find("plugins", name)
      if not path then
        usage_error("--columns=%s: no such column or plugin%s: expected one of them, or a capture", name,
          collection.suggest("plugins", name))
      end
      local made = commands.read(path)
      if profile.is_profile(made) then usage_error("--columns=%s: a profile: see nfengine --help %s", name, name) end
      found = column_rows(made.columns)
    end
    for _, row in ipairs(found) do
      row[1] = row[1]:match "%S+"
      rows[#rows + 1] = row
    end
  end
  return table_lines(rows, 110) .. "\n"
end

return commands
