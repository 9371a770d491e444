-- What fuzz_lua.c tries: command lines, what files of scripts and plugins say of themselves, and other files and words
-- that people write. Whatever comes, the answer is a value or one line that tells what is wrong with it.

local ffi = require "ffi"
local C = require "nfengine.lib"
local additions = require "nfengine.additions"
local categories = require "nfengine.categories"
local check = require "nfengine.check"
local cli = require "nfengine.cli"
local collection = require "nfengine.collection"
local commands = require "nfengine.commands"
local csv = require "nfengine.csv"
local example = require "nfengine.example"
local labels = require "nfengine.labels"
local notation = require "nfengine.notation"
local options = require "nfengine.options"
local parameters = require "nfengine.parameters"
local script = require "nfengine.script"
local text = require "nfengine.text"

collection.root = "."

-- ---- what has to hold ----

local function require_line(message, what)
  assert(type(message) == "string" and message ~= "", what)
  assert(not message:find "[%c\127]", what .. ": more than a line: " .. ("%q"):format(message))
end

local function require_lines(problems)
  for _, line in ipairs(problems or {}) do require_line(line, "problem") end
end

--- What was raised goes through text.one_line before anybody sees it.
local function require_reason(message, what)
  require_line(text.one_line(message), what)
  -- A place in our own source: somebody failed who should have said what is wrong.
  assert(not message:find "nfengine/[%w_/]+%.lua:%d+:", what .. ": " .. message)
end

--- Calls a function that may raise one line. Returns what it gives, nothing where it has raised.
local function attempt(what, func, ...)
  local results = { pcall(func, ...) }
  if results[1] then return unpack(results, 2) end
  local raised = results[2]
  if type(raised) == "table" then raised = raised.usage end
  require_reason(raised, what)
end

local function words_of(bytes)
  local words = {}
  for word in (bytes .. "\0"):gmatch "(%Z*)%z" do words[#words + 1] = word end
  return words
end

-- ---- the command line ----

local function try_settings(settings)
  for _, word in ipairs(settings) do attempt("-a", additions.set, word) end
  additions.settings = {}
end

local function try_command_line(bytes)
  local values, others, rest = attempt("command line", options.parse, words_of(bytes), cli.declaration(), "; hint")
  if not values then return end
  for _, list in ipairs { others, rest } do
    for _, word in ipairs(list) do assert(type(word) == "string") end
  end
  for name, value in pairs(values) do
    if parameters.is_known(name) then attempt("parameter", parameters.check, name, value, -1) end
  end
  if values.set then try_settings(values.set) end
end

-- A script's options, of every kind.
local SCRIPT = {
  count = { 5, "how many", integer = true, min = 1, max = 100 }, share = { 0.5, "how much", max = 1 },
  loud = { false, "whether" }, name = { "none", "which" }, unit = { "ms", "of times", choices = { "ms", "us" } },
  names = { { "a" }, "which" }, rules = { "", "a file", is_file = true },
}

local function try_script_options(bytes)
  script.words = words_of(bytes)
  local values = attempt("script's options", script.options, SCRIPT)
  if values then
    for name in pairs(SCRIPT) do assert(type(values[name]) == type(SCRIPT[name][1]), name) end
    assert(values.count >= 1 and values.count <= 100 and values.share <= 1)
  end
  script.words = words_of(bytes)
  attempt("script without options", script.ready)
end

local function try_expression(bytes)
  local matches, expected = categories.matcher(bytes)
  if not matches then return require_line(expected, "expression") end
  for _, words in ipairs { {}, { "dns", "script", "safe" }, { "a%b", "plugin" } } do
    assert(type(matches(words)) == "boolean")
  end
end

-- ---- what files say ----

local function try_comment(bytes, path)
  local block = script.doc_block(path)
  assert(not script.synopsis(block):find "\n")
  assert(type(script.without_tags(block)) == "string")
  local tag = script.tag(block, "categories")
  assert(tag == nil or not tag:find "\n")
  for _, each in ipairs(example.parse(bytes .. "\n")) do
    assert(each.command ~= "" or bytes:find "@usage")
    assert(not each.output or #each.output == each.last - each.first + 1)
    assert(#example.shown(each, { "a", "b" }) <= 2)
  end
  require_lines(attempt("--check", check.script_problems, path))
end

local function try_plugin(_, path)
  local made = attempt("a plugin's file", commands.read, path)
  if made then assert(type(attempt("--help", commands.help, path) or "") == "string") end
  require_lines(attempt("--check", check.problems, path))
end

local function try_table(_, path)
  for _, has_backslashes in ipairs { false, true } do
    local rows = attempt("csv", csv.open, path, { has_backslashes = has_backslashes, block_size = 7 })
    while rows do
      local row = attempt("csv", rows)
      if not row then break end
      assert(#row == #rows.header)
    end
    if rows then rows:close() end
  end
end

local function try_rules(_, path)
  local rules = attempt("rules", labels.read, path)
  if not rules then return end
  local index = labels.index(rules)
  assert(#rules > 0 and #index.filtered <= #rules)
end

-- ---- words ----

local function try_address(word)
  local address = notation.address(word)
  if not address then return end
  local shown = ffi.new "char[46]"
  assert(#address == 4 or #address == 16)
  C.nf_format_ip(shown, address, #address == 4 and 4 or 6)
  assert(notation.address(ffi.string(shown)) == address)
end

local function try_word(word)
  try_address(word)
  local prefix = notation.prefix(word)
  if prefix then assert(prefix.bits >= 0 and #prefix.bytes == math.ceil(prefix.bits / 8)) end
  local port, protocol = notation.port(word), notation.protocol(word)
  assert(not port or port >= 0 and port <= 65535 and port == math.floor(port))
  assert(not protocol or protocol >= 0 and protocol <= 255 and protocol == math.floor(protocol))
  local time = notation.time(word)
  assert(time == nil or ffi.istype("uint64_t", time))
  local label = labels.of_comment(word)
  assert(label == nil or type(label) == "string" and label ~= "")
  require_line(text.quote(word), "quoted")
end

local function try_words(bytes)
  for _, word in ipairs(words_of(bytes)) do try_word(word) end
end

local tries = {
  try_command_line, try_script_options, try_expression, try_comment, try_plugin, try_table, try_rules, try_words,
}

--- Tries an input: what its first byte says, on the others, which are also in a file.
return function(first, bytes, path) tries[first % #tries + 1](bytes, path) end
