-- What README.md and the pages in docs/ say by generation, and whether it is still true. `make docs` runs this file,
-- which writes those parts anew: look at the difference before keeping it.
--
-- Parts are of two kinds. What stands between the lines
--
--   <!-- generated: NAME -->   and   <!-- end -->      (in the man page behind .\" instead)
--
-- is made by docs.generators. And in a block that begins with ```console, each command behind "$ " is followed by what
-- it prints: "..." at its end stands for the rest; a command that fails shows stderr too. Commands run in a folder with
-- the program, samples/, and every script of the page: a ```lua block whose first line is "-- NAME.lua ...". On a page
-- with the line <!-- one session --> each command finds what those before it have left, and a block whose first line is
-- "-- FOLDER/NAME.lua" is written there, without that line, where it stands.

local is_program = ... ~= "spec.support.docs"
if is_program then package.path = "./lua/?.lua;./lua/?/init.lua;./?.lua;" .. package.path end

local ffi = require "ffi"
local C = require "nfengine.lib"
local commands = require "nfengine.commands"
local example = require "spec.support.example"
local ipfix = require "nfengine.output.ipfix"
local nf = require "nfengine"
local options = require "nfengine.options"
local plugin = require "nfengine.plugin"
local program = require "spec.support.program"
local script = require "nfengine.script"
local words = require "nfengine.text"

local docs = {}

-- ---- tables ----

local function row(...) return "| " .. table.concat({ ... }, " | ") .. " |" end

local function head(...)
  local rules = {}
  for i = 1, select("#", ...) do rules[i] = "---" end
  return { row(...), "|" .. table.concat(rules, "|") .. "|" }
end

local function code(text) return "`" .. text .. "`" end

local function prose(text) return (text:gsub("[*|]", "\\%0")) end

-- ---- generated parts ----

--- What a parameter accepts, in the words of its error message.
local function accepted(option)
  local copy = {}
  for key, value in pairs(option) do copy[key] = value end
  if option.max and option.max >= 2^53 then copy.max = nil end -- not a limit that anyone meets
  local _, expected = options.check(copy, newproxy())
  expected = expected:gsub("^an? ", ""):gsub("^integer of at least 0$", "integer from 0")
  return expected .. (option.unit and ", " .. option.unit:lower() or "")
end

-- A value as a script writes it; of a list, its elements.
local function written(value)
  if type(value) == "string" then return '"' .. value .. '"' end
  if type(value) ~= "table" then return tostring(value) end
  local elements = {}
  for i, element in ipairs(value) do elements[i] = written(element) end
  return "{ " .. table.concat(elements, ", ") .. " }"
end

local function default(option)
  if option.name == "source" then return "the command line's" end
  if option.default == nil or type(option.default) == "table" and #option.default == 0 then return "" end
  return code(written(option.default))
end

local function parameters()
  local lines = head("parameter", "accepted", "default", "what")
  for _, option in ipairs(nf.parameters) do
    lines[#lines + 1] = row(code(option.name), prose(accepted(option)), default(option), prose(option.doc))
  end
  return lines
end

--- Column types as a reader of the output meets them.
local shown_types = { ip = "text", mac = "text", oui = "text", end_reason = "text" }

local function column_row(column, name, doc)
  local type = shown_types[column.type] or column.type
  if column.group == "splt" then type = type .. "[n]" end
  return row(code(name), type, column.unit or "", prose(doc))
end

--- The columns of some groups. Those that exist for each scope make one row, with X for the scope.
local function columns(...)
  local wanted, lines = {}, head("column", "type", "unit", "what")
  for i = 1, select("#", ...) do wanted[select(i, ...)] = true end
  for _, column in ipairs(nf.columns()) do
    local name, doc = column.name:gsub("^bidirectional_", "X_"), column.doc:gsub(", both directions$", "")
    local is_repeated = name:match "^src2dst_" or name:match "^dst2src_"
    if wanted[column.group] and not is_repeated then lines[#lines + 1] = column_row(column, name, doc) end
  end
  return lines
end

--- Bytes that a live flow takes, by what is on.
local function memory()
  local lines = head("parameters", "bytes a live flow")
  for _, case in ipairs {
    { "`n_dissections = 0`", {} },
    { "defaults", { n_dissections = 20 } },
    { "`statistical_analysis = true`", { n_dissections = 20, statistical_analysis = true } },
    { "the same, `splt_analysis = 20`", { n_dissections = 20, statistical_analysis = true, splt_analysis = 20 } },
    { "the same, `l7_columns = \"all\"`",
      { n_dissections = 20, statistical_analysis = true, splt_analysis = 20, l7_extra = true } },
  } do
    lines[#lines + 1] = row(case[1], C.nf_layout_of(ffi.new("struct nf_options", case[2])).size)
  end
  return lines
end

--- The scripts that come with the program, each with the first sentence of its doc block.
local function scripts()
  local lines = head("script", "what it answers")
  for path in io.popen("ls scripts/*.lua"):lines() do
    local sentence = script.doc_block(path):gsub("\n", " "):match "^.-[?.]%f[ %z]"
    lines[#lines + 1] = row(code(path:match "([%w_]+)%.lua$"), prose(sentence))
  end
  return lines
end

--- The same as names in a sentence of the man page.
local function script_names()
  local lines = {}
  for path in io.popen("ls scripts/*.lua"):lines() do
    lines[#lines + 1] = (".BR %s ,"):format(path:match "([%w_]+)%.lua$")
  end
  lines[#lines] = lines[#lines]:gsub(",$", ";")
  return lines
end

--- The plugins and profiles that come along, described.
local function catalogue()
  local list = {}
  for _, each in ipairs(commands.catalogue "plugin profile") do
    if each.path:match "^%./plugins/" then list[#list + 1] = each end
  end
  return list
end

--- Each with its categories and its description.
local function plugins()
  local lines = head("plugin", "categories", "what it does")
  for _, each in ipairs(catalogue()) do
    lines[#lines + 1] = row(code(each.name), table.concat(each.categories, " "), prose(each.description))
  end
  return lines
end

local function categories()
  local lines = head("category", "says of a plugin or script that it")
  for _, group in ipairs(require("nfengine.categories").groups) do
    for _, entry in ipairs(group[2]) do
      lines[#lines + 1] = row(("%s (%s)"):format(code(entry[1]), group[1]), prose(entry[2]))
    end
  end
  return lines
end

local function append(lines, more)
  for _, line in ipairs(more) do lines[#lines + 1] = line end
end

--- What a profile is made of, in a sentence.
local function profile_sentence(made)
  local names, settings, set = {}, {}, made:parameters()
  for i, entry in ipairs(made.definition.plugins) do
    names[i] = code(type(entry) == "table" and entry[1] or tostring(entry))
  end
  for _, name in ipairs(words.sorted_keys(set)) do
    local value = set[name]
    if type(value) ~= "table" then
      settings[#settings + 1] = code(("%s = %s"):format(name, type(value) == "string" and '"' .. value .. '"'
        or tostring(value)))
    end
  end
  return ("Plugins %s, with %s."):format(table.concat(names, ", "), table.concat(settings, ", "))
end

--- Every plugin's options and columns, from its file.
local function plugin_reference()
  local lines = {}
  for _, each in ipairs(catalogue()) do
    if #lines > 0 then lines[#lines + 1] = "" end
    append(lines, { "### " .. each.name, "", prose(each.description) .. "." })
    local class = each.kind == "plugin" and each.made or { options = {}, columns = {} }
    if each.kind == "profile" then lines[#lines] = lines[#lines] .. " " .. profile_sentence(each.made) end
    if #class.options > 0 then append(lines, { "" }) append(lines, head("option", "default", "what")) end
    for _, option in ipairs(class.options) do
      local choices = option.choices and " (" .. table.concat(option.choices, ", ") .. ")" or ""
      lines[#lines + 1] = row(code(option.name), default(option), prose(option.doc .. choices))
    end
    if #class.columns > 0 then append(lines, { "" }) append(lines, head("column", "type", "what")) end
    for _, slot in ipairs(class.columns) do
      lines[#lines + 1] = row(code("udps." .. slot.name), plugin.type_text(slot), prose(slot.doc))
    end
  end
  return lines
end

--- The sections of the help: a list of { title, { { option, text }, … } }.
local function help_sections()
  local sections = {}
  for line in program.run("--help").out:gmatch "[^\n]+" do
    local indent, left = line:match "^( +)(%-.*)$"
    local entries = sections[#sections] and sections[#sections].entries
    if indent and entries then
      local option, text = left:match "^(.-)  +(.*)$"
      entries[#entries + 1] = { option = option or left, text = text or "" }
    elseif entries and entries[1] and line:match "^        " then
      local last = entries[#entries]
      last.text = (last.text .. " " .. line:match "^ +(.*)$"):gsub("^ ", "")
    elseif line:match "^%u.*:$" then
      sections[#sections + 1] = { title = line:sub(1, -2), entries = {} }
    end
  end
  return sections
end

local function roff(text) return (text:gsub("\\", "\\e"):gsub("%-", "\\-"):gsub("^[.']", "\\&%0")) end

--- "-o, --output=FILE" with what is typed bold and what stands for something in italics.
local function roff_option(option)
  local parts = {}
  for part in option:gmatch "[^ ]+" do
    local name, value = part:match "^(%-[^=]+)=(.*)$"
    parts[#parts + 1] = name and ("\\fB%s\\fR=\\fI%s\\fR"):format(roff(name), roff(value))
      or ("\\fB%s\\fR"):format(roff(part:gsub(",$", ""))) .. (part:match ",$" or "")
  end
  return table.concat(parts, " ")
end

local function help_in_roff(number)
  local lines = {}
  for _, entry in ipairs(help_sections()[number].entries) do
    lines[#lines + 1] = ".TP"
    lines[#lines + 1] = roff_option(entry.option)
    lines[#lines + 1] = roff(entry.text)
  end
  return lines
end

--- Columns that are elements of IANA's in IPFIX, by the first accounting mode in which they are.
local function elements()
  local lines = head("column", "element", "number")
  local function add(column, mode, unit)
    local found, is_reverse = ipfix.standard(column, mode)
    if not found or is_reverse then return end
    local named = found.v6 and found[1] .. ", " .. found.v6[1] or found[1]
    local number = found.v6 and ("%d, %d"):format(found[2], found.v6[2]) or tostring(found[2])
    local name = column.name:gsub("^src2dst_", "Y_") .. (unit == "ms" and mode > 0 and
      (" (`accounting_mode = %d`)"):format(mode) or "")
    lines[#lines + 1] = row(code(name:match "^%S+") .. (name:match "%s.*" or ""), named, number)
  end
  for _, column in ipairs(nf.columns()) do add(column, 0, "ms") end
  for mode = 1, 3 do
    for _, column in ipairs(nf.columns()) do
      if ipfix.standard(column, mode) ~= ipfix.standard(column, 0) then add(column, mode, "ms") end
    end
  end
  for _, unit in ipairs { "us", "ns" } do
    for _, column in ipairs(nf.columns(unit)) do
      if column.name:match "_seen_" then add(column, 0, unit) end
    end
  end
  return lines
end

--- The layers of core/.
local function include_order()
  local lines = {}
  for i, layer in ipairs(require "spec.support.order") do lines[i] = ("- `%s`"):format(table.concat(layer, "`, `")) end
  return lines
end

--- Functions that make a part's lines, by its name.
docs.generators = {
  ["include order"] = include_order,
  ["ipfix elements"] = elements,
  parameters = parameters,
  memory = memory,
  scripts = scripts,
  ["script names"] = script_names,
  plugins = plugins,
  categories = categories,
  ["plugin reference"] = plugin_reference,
  ["core columns"] = function() return columns("core", "tunnel") end,
  ["statistics columns"] = function() return columns "statistics" end,
  ["splt columns"] = function() return columns "splt" end,
  ["l7 columns"] = function() return columns "l7" end,
  ["optional columns"] = function() return columns("l7_extra", "optional") end,
  ["general options"] = function() return help_in_roff(1) end,
  ["output options"] = function() return help_in_roff(2) end,
  ["run options"] = function() return help_in_roff(3) end,
  ["commands"] = function() return help_in_roff(4) end,
}

-- ---- commands ----

local function write_file(name, text)
  return ("mkdir -p $(dirname %s) && cat >%s <<'END OF FILE'\n%sEND OF FILE\n"):format(name, name, text)
end

local function as_typed(command) return (command:gsub("%./nfengine", "nfengine")) end

--- A command's output as the page should show it. `files` are the page's scripts, text by name; `before` what came
-- before it, commands and { name, text }.
local function output_of(each, files, before)
  local command = {}
  for name, text in pairs(files) do command[#command + 1] = write_file(name, text) end
  for _, earlier in ipairs(before) do
    local text = type(earlier) == "table" and write_file(unpack(earlier)) or as_typed(earlier) .. "\n"
    command[#command + 1] = "{ " .. text .. "} >/dev/null 2>&1\n"
  end
  command[#command + 1] = as_typed(each.command)
  local result, lines = example.run { command = table.concat(command) }
  if result.status ~= 0 then
    for line in result.err:gmatch "[^\n]+" do lines[#lines + 1] = line end
  end
  lines = example.shown(each, lines)
  if each.is_partial then lines[#lines + 1] = "..." end
  return lines
end

-- ---- pages ----

--- Scripts that a page shows, text by name.
local function files_in(lines)
  local files, name = {}, nil
  for i, line in ipairs(lines) do
    if lines[i - 1] == "```lua" then name = line:match "^%-%- ([%w_]+%.lua)" end
    if line == "```" then name = nil end
    if name then files[name] = (files[name] or "") .. line .. "\n" end
  end
  return files
end

--- The file that the ```lua block behind line `at` shows with its folder: { name, text }; nil where it shows none.
local function file_at(lines, at)
  local name, text = (lines[at + 1] or ""):match "^%-%- ([%w_/]+/[%w_]+%.lua)$", {}
  for i = at + 2, #lines do
    if lines[i] == "```" then break end
    text[#text + 1] = lines[i] .. "\n"
  end
  return name and { name, table.concat(text) }
end

local function copy_of(list)
  local copy = {}
  for i, item in ipairs(list) do copy[i] = item end
  return copy
end

--- Adds the commands of the console block that begins behind line `at` to `parts`; returns the number of its last line.
-- `history` is what came before on a page that is one session, else nil.
local function take_console(lines, at, files, parts, history)
  local each
  while lines[at + 1] ~= "```" do
    at = at + 1
    local line = assert(lines[at], "a console block without an end")
    if line:match "^%$ " then
      each = { command = line:sub(3), output = {}, first = at + 1, is_command = true }
      parts[#parts + 1] = each
    elseif each.first == at and lines[at - 1]:match "\\$" then
      each.command, each.first = each.command .. "\n" .. line, at + 1
    elseif line == "..." then
      each.is_partial = true
    else
      table.insert(each.output, line)
    end
    each.last = at
  end
  for _, part in ipairs(parts) do
    if part.is_command and not part.fresh then
      part.name = "$ " .. part.command:gsub("%s*\\%s*", " ")
      local before = copy_of(history or {})
      if history then history[#history + 1] = part.command end
      part.fresh = function() return output_of(part, files, before) end
    end
  end
  return at + 1
end

--- The generated parts of a page's text.
-- @return list of { name, first, last (numbers of its lines; last < first when it is empty), is_command,
--   fresh (function that gives its lines as they should be) }, and the page's lines
function docs.parts(text)
  local lines, parts, at = words.lines(text), {}, 1
  local files = files_in(lines)
  local history = words.contains(lines, "<!-- one session -->") and {} or nil
  while lines[at] do
    local name = lines[at]:match "^<!%-%- generated: (.-) %-%->$" or lines[at]:match '^%.\\" generated: (.*)$'
    if name then
      local first = at + 1
      repeat
        at = at + 1
        assert(lines[at], "no end of the generated part " .. name)
      until lines[at]:match "^<!%-%- end %-%->$" or lines[at]:match '^%.\\" end$'
      local generator = docs.generators[name] or error("no generator for " .. name)
      parts[#parts + 1] = { name = name, first = first, last = at - 1, fresh = generator }
    elseif lines[at] == "```console" then
      at = take_console(lines, at, files, parts, history)
    elseif lines[at] == "```lua" and history then
      history[#history + 1] = file_at(lines, at)
    end
    at = at + 1
  end
  return parts, lines
end

--- A page's text with every part as it should be.
function docs.renewed(text)
  local parts, lines = docs.parts(text)
  for i = #parts, 1, -1 do
    local part = parts[i]
    for _ = part.first, part.last do table.remove(lines, part.first) end
    for n, line in ipairs(part.fresh()) do table.insert(lines, part.first + n - 1, line) end
  end
  return table.concat(lines, "\n") .. "\n"
end

--- Paths of all pages.
function docs.pages()
  local pages = { "README.md" }
  for path in io.popen("ls docs/*"):lines() do pages[#pages + 1] = path end
  return pages
end

if is_program then
  for _, path in ipairs(docs.pages()) do
    local text = assert(program.read(path), path)
    local renewed = docs.renewed(text)
    if renewed ~= text then program.write(renewed, path) end
  end
end

return docs
