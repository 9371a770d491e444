--- One way to declare options, for the program, for scripts and for plugins: one checker, one parser, one help printer.
--
-- A declaration is a list of tables:
--
--   name     "idle_timeout"; on the command line also --idle-timeout
--   kind     "integer", "number", "boolean", "string", "choice", "list" (of strings, comma-separated)
--   default  its value when not given
--   doc      one line
--   min, max for numbers; choices for "choice"; unit for help; short, a one-letter form; value, its name in help
--   words    what a command takes besides options, in its help
--   is_file  a string names a file that is read, so that a manifest tells which it was
--   is_flag  a boolean without a --no- form
--   off      a number's flag that sets it to 0: "no_dpi" for --no-dpi
--   is_optional  a list whose value may be left out where nothing follows
--   is_repeatable  a list to which each further mention adds
--   parse, to_text  functions that make a value of a word's text, and a text of a value, where the kind's do not do

local text = require "nfengine.text"

local options = {}

-- ---- checking ----

local function shown_number(n) return (n == math.floor(n) and "%.0f" or "%.14g"):format(n) end

local function expected_number(option)
  local noun, min, max = option.kind == "integer" and "an integer" or "a number", option.min, option.max
  if min and max then return ("%s from %s to %s"):format(noun, shown_number(min), shown_number(max)) end
  if min then return ("%s of at least %s"):format(noun, shown_number(min)) end
  if max then return ("%s of at most %s"):format(noun, shown_number(max)) end
  return noun
end

local checks = {}

function checks.integer(option, value)
  local is_integer = type(value) == "number" and value == math.floor(value) and math.abs(value) < math.huge
  if not is_integer then return nil, expected_number(option) end
  if option.min and value < option.min or option.max and value > option.max then return nil, expected_number(option) end
  return value
end

function checks.number(option, value)
  if type(value) ~= "number" or value ~= value then return nil, expected_number(option) end
  if option.min and value < option.min or option.max and value > option.max then return nil, expected_number(option) end
  return value
end

function checks.boolean(_, value)
  if type(value) ~= "boolean" then return nil, "true or false" end
  return value
end

function checks.string(_, value)
  if type(value) ~= "string" then return nil, "a string" end
  return value
end

function checks.choice(option, value)
  local quoted = {}
  for i, choice in ipairs(option.choices) do
    if value == choice then return value end
    quoted[i] = text.quote(choice)
  end
  return nil, table.concat(quoted, ", ", 1, #quoted - 1) .. " or " .. quoted[#quoted]
end

function checks.list(_, value)
  if type(value) ~= "table" then return nil, "a list of strings" end
  for _, item in ipairs(value) do
    if type(item) ~= "string" then return nil, "a list of strings" end
  end
  return value
end

--- Checks a value. Returns it, or nil and what was expected instead.
function options.check(option, value)
  if option.check then return option.check(value) end
  return checks[option.kind](option, value)
end

-- ---- short declarations: { name = { default, doc } } ----

local kinds = { number = "number", boolean = "boolean", string = "string", table = "list" }

local bounds = { min = "number", max = "number", integer = "boolean", choices = "table", is_file = "boolean" }

local function check_choices(choices)
  for _, choice in ipairs(choices) do
    if type(choice) ~= "string" then return false end
  end
  return #choices > 0
end

--- What is wrong with a short declaration, as text, or nil.
local function problem_of(entry)
  local default, doc = entry[1], entry[2]
  if not kinds[type(default)] then
    return ("default %s: expected a number, string, boolean or list"):format(text.quote(default))
  end
  if doc ~= nil and type(doc) ~= "string" then
    return ("%s: expected a text on what it does"):format(text.quote(doc))
  end
  for key, value in pairs(entry) do
    local kind = bounds[key]
    if key ~= 1 and key ~= 2 and not kind then
      return ("unknown field %s%s"):format(text.quote(key), text.suggest(key, text.sorted_keys(bounds)))
    end
    if kind and type(value) ~= kind then
      return ("%s = %s: expected a %s"):format(key, text.quote(value), kind)
    end
  end
  if entry.choices and not check_choices(entry.choices) then return "choices: expected a list of strings" end
end

local function from_entry(name, entry)
  local kind = entry.choices and "choice" or entry.integer and "integer" or kinds[type(entry[1])]
  local option = {
    name = name, default = entry[1], doc = entry[2] or "", kind = kind, min = entry.min, max = entry.max,
    choices = entry.choices, is_file = entry.is_file, value = entry.is_file and "FILE" or nil,
  }
  local fits, expected = options.check(option, option.default)
  if fits == nil then return nil, ("default %s: expected %s"):format(text.quote(option.default), expected) end
  return option
end

--- A declaration list from the short form that scripts and plugins use: `name = { default, doc }`, the kind following
-- from the default. Errors name `owner`.
function options.from_short(short, owner)
  local declaration = {}
  if type(short) ~= "table" then
    error(("%s: %s: expected { name = { default, \"what it does\" } }"):format(owner, text.quote(short)), 0)
  end
  for _, name in ipairs(text.sorted_keys(short)) do
    local entry = short[name]
    if type(name) ~= "string" or type(entry) ~= "table" or entry[1] == nil then
      error(("%s: option %s: expected { default, \"what it does\" }"):format(owner, text.quote(name)), 0)
    end
    if not name:match "^%a[%w_]*$" then
      error(("%s: option %s: expected a name of letters, digits and underscores"):format(owner, text.quote(name)), 0)
    end
    local option, problem = nil, problem_of(entry)
    if not problem then option, problem = from_entry(name, entry) end
    if problem then error(("%s: option %s: %s"):format(owner, name, problem), 0) end
    declaration[#declaration + 1] = option
  end
  return declaration
end

--- Values for a declaration: the given ones, checked, over the defaults. Errors name `owner` and, for an unknown name,
-- the nearest known one. A list that is a default is a copy: who changes it changes nobody else's.
function options.resolve(declaration, given, owner)
  local values, names, known = {}, {}, {}
  for i, option in ipairs(declaration) do
    local default = option.default
    values[option.name] = type(default) == "table" and { unpack(default) } or default
    names[i] = option.name
    known[option.name] = option
  end
  for name, value in pairs(given) do
    local option = known[name]
    if not option then
      error(("%s: unknown option %s%s"):format(owner, text.quote(name), text.suggest(name, names)), 0)
    end
    local checked, expected = options.check(option, value)
    if checked == nil then
      error(("%s: %s = %s: expected %s"):format(owner, name, text.quote(value), expected), 0)
    end
    values[name] = checked
  end
  return values
end

-- ---- the command line ----

--- A word of the command line as a value of the option's kind; nil, and maybe what was expected, when it cannot be one.
local function from_word(option, word)
  if option.parse then return option.parse(word) end
  if option.kind == "integer" or option.kind == "number" then return tonumber(word) end
  if option.kind == "boolean" then return ({ ["true"] = true, ["false"] = false, yes = true, no = false })[word] end
  if option.kind == "list" then
    local list = {}
    for item in (word .. ","):gmatch "%s*(.-)%s*," do
      if item ~= "" then list[#list + 1] = item end
    end
    return list
  end
  return word
end

--- A word of the command line as a checked value of an option; nil and what was expected when it is none.
function options.from_text(option, word)
  local value, expected = from_word(option, word)
  local checked
  if value ~= nil then checked, expected = options.check(option, value) end
  if checked ~= nil then return checked end
  local _, wanted = options.check(option, {})
  return nil, expected or wanted or "another value"
end

local function usage_error(...) error({ usage = (...) }, 0) end

local function spelled(name) return (name:gsub("_", "-")) end

local function index(declaration)
  local by_name, by_short, by_off, names = {}, {}, {}, {}
  for _, option in ipairs(declaration) do
    by_name[option.name] = option
    names[#names + 1] = spelled(option.name)
    if option.short then by_short[option.short] = option end
    if option.off then by_off[option.off] = option end
  end
  return by_name, by_short, by_off, names
end

--- Parses words against a declaration. `--name value`, `--name=value`, `--name`/`--no-name` for booleans, `-s value`,
-- dash and underscore alike. "--" ends options; what follows it is returned apart.
-- @return values by name (only those given), other words in order, words behind "--"
-- Raises { usage = message } for what it does not understand; `hint` is added where an unknown option is like no other.
function options.parse(words, declaration, hint)
  local by_name, by_short, by_off, names = index(declaration)
  local values, others, rest = {}, {}, {}
  local at = 1

  local function take(option, shown, word)
    local checked, expected = options.from_text(option, word)
    if checked == nil then usage_error(("%s %s: expected %s"):format(shown, text.quote(word), expected)) end
    if option.is_repeatable and values[option.name] then
      for _, item in ipairs(checked) do table.insert(values[option.name], item) end
    else
      values[option.name] = checked
    end
  end

  local function next_word(shown)
    at = at + 1
    return words[at] or usage_error(("%s: expected a value after it"):format(shown))
  end

  local function long(word)
    local name, value = word:match "^%-%-([^=]+)=(.*)$"
    local shown = "--" .. (name or word:sub(3))
    name = (name or word:sub(3)):gsub("-", "_")
    local option = by_name[name]
    if option and option.kind == "boolean" and not value then
      values[name] = true
    elseif option and option.is_optional and not value and at == #words then
      values[name] = {}
    elseif by_off[name] and not value then
      values[by_off[name].name] = 0
    elseif option then
      take(option, shown, value or next_word(shown))
    else
      local positive = by_name[name:match "^no_(.+)$" or ""]
      if positive and positive.kind == "boolean" and not positive.is_flag and not value then
        values[positive.name] = false
      else
        local suggestion = text.suggest(spelled((name:gsub("^no_", ""))), names):gsub("'", "'--", 1)
        usage_error("unknown option " .. shown .. (suggestion == "" and hint or suggestion))
      end
    end
  end

  local function short(word)
    local option = by_short[word:sub(2, 2)]
    if not option then usage_error("unknown option " .. word) end
    if option.kind == "boolean" then
      if #word > 2 then usage_error("unknown option " .. word) end
      values[option.name] = true
    else
      take(option, word:sub(1, 2), #word > 2 and word:sub(3) or next_word(word))
    end
  end

  while at <= #words do
    local word = words[at]
    if word == "--" then
      for i = at + 1, #words do rest[#rest + 1] = words[i] end
      break
    elseif word:match "^%-%-." then
      long(word)
    elseif word:match "^%-." then
      short(word)
    else
      others[#others + 1] = word
    end
    at = at + 1
  end
  return values, others, rest
end

local function text_of(option, value)
  if option.to_text then return option.to_text(value) end
  if type(value) == "number" then return (value == math.floor(value) and "%.0f" or "%.17g"):format(value) end
  return type(value) == "table" and table.concat(value, ",") or tostring(value)
end

--- A value as the word of the command line that gives it to an option: the inverse of parsing. Of a list to which each
-- mention adds, the value may be any part of it whose items have no commas.
function options.word(option, value)
  if type(value) == "boolean" then
    return (value and "--" or "--no-") .. spelled(option.name)
  end
  return ("--%s=%s"):format(spelled(option.name), text_of(option, value))
end

--- All values, by name, as words, in the order of the declaration; those of lists to which each mention adds one by
-- one.
function options.words(declaration, values)
  local words = {}
  for _, option in ipairs(declaration) do
    local value = values[option.name]
    for _, part in ipairs(option.is_repeatable and value or { value }) do
      words[#words + 1] = options.word(option, option.is_repeatable and { part } or part)
    end
  end
  return words
end

-- ---- help ----

local value_names = { integer = "N", number = "N", string = "TEXT", list = "A,B", boolean = "true|false" }

local function left_column(option, prefix)
  local name = prefix and prefix .. option.name or "--" .. spelled(option.name)
  local choices = option.choices and table.concat(option.choices, "|")
  if prefix or option.kind ~= "boolean" then
    name = name .. "=" .. (option.value or choices or value_names[option.kind])
  end
  if prefix then return name end
  if option.words then name = name .. " " .. option.words end
  return (option.short and "-" .. option.short .. ", " or "    ") .. name
end

local function default_text(option, prefix)
  local default = option.default
  if prefix and type(default) == "boolean" then return (" [%s]"):format(tostring(default)) end
  if default == nil or option.kind == "boolean" and default == false or default == "" then return "" end
  if type(default) == "table" then return #default > 0 and " [" .. table.concat(default, ",") .. "]" or "" end
  if default == true then return " [on; --no-" .. spelled(option.name) .. "]" end
  return " [" .. tostring(default) .. "]"
end

--- Help text of a declaration, a line or more an option. With a prefix, names are not the command line's own options:
-- "prefixname=VALUE".
function options.help(declaration, prefix)
  local lines, width = {}, 0
  for _, option in ipairs(declaration) do width = math.max(width, #left_column(option, prefix)) end
  width = math.min(width, 32)
  local indent = (" "):rep(width + 4)
  for _, option in ipairs(declaration) do
    local left = left_column(option, prefix)
    local doc = text.wrap(option.doc .. default_text(option, prefix), indent, 100)
    local gap = #left > width and "\n" .. indent or (" "):rep(width - #left + 2)
    lines[#lines + 1] = "  " .. left .. gap .. doc
  end
  return table.concat(lines, "\n")
end

return options
