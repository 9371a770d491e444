--- The script that is running: its own options, and its help.

local options = require "nfengine.options"
local text = require "nfengine.text"

local script = {
  path = nil,   -- its file
  words = {},   -- its words on the command line, behind "--"
  is_help_wanted = false,
  is_schema_wanted = false, -- no run is begun, what its records would hold is printed
  is_meter = false, -- this is a meter's thread, where nobody parses words
  answers = {}, -- values that were asked for, by their names; the same in every thread of a run
}

-- Behind functions, as fields of this module would be looked for in meters' threads.
local latest_declaration, latest_values = {}, {}
local given_words

--- The words of the program's command line, as they were given; nil where there is no program.
function script.command() return given_words end

--- Says what they are.
function script.set_command(words) given_words = { unpack(words) } end

--- The script's options, as it has declared them last, and their values by name.
function script.given() return latest_declaration, latest_values end

--- Raised to leave a script once its help has been printed.
script.done = setmetatable({}, { __tostring = function() return "help printed" end })

--- The comment that a file begins with, without its dashes.
function script.doc_block(path)
  local lines = {}
  for line in io.lines(path) do
    local comment = line:match "^%-%-%-? ?(.*)$"
    if comment then lines[#lines + 1] = comment
    elseif not line:match "^#!" then break end
  end
  return table.concat(lines, "\n")
end

--- The first sentence of a doc block.
function script.synopsis(block)
  return block:gsub("\n", " "):match "^.-[?.]%f[ %z]" or block:match "^[^\n]*"
end

--- What stands behind "@name" in a doc block, or nil.
function script.tag(block, name)
  return ("\n" .. block):match("\n@" .. name .. " ([^\n]*)")
end

--- A doc block as people read it: each example's command behind a "$", its output below, and no tags.
function script.without_tags(block)
  local lines, indent, is_output = {}, "", false
  for line in (block:gsub("\n@categories [^\n]*", "") .. "\n"):gmatch "(.-)\n" do
    local command = line:match "^@usage (.*)$"
    if command then
      if is_output then lines[#lines + 1] = "" end
      indent, line, is_output = "  ", "$ " .. command, false
    end
    if line == "@output" then is_output = true
    else lines[#lines + 1] = line == "" and "" or indent .. line end
  end
  return table.concat(lines, "\n")
end

local function print_help(declaration)
  io.write(script.without_tags(script.doc_block(script.path)), "\n")
  if #declaration > 0 then
    io.write("\nOptions of this script, after \"--\":\n", options.help(declaration), "\n")
  end
  io.write("\nSee nfengine --help for the options that every script takes.\n")
  error(script.done, 0)
end

--- Values of a script's options: the command line's over the declared defaults. In a meter's thread, where a plugin's
-- file asks again, what they were the first time.
function script.options(short)
  local declaration = options.from_short(short, "nf.options")
  local names = table.concat(text.sorted_keys(short), " ")
  if script.is_meter and script.answers[names] then return script.answers[names] end
  if script.is_help_wanted then print_help(declaration) end
  local given, others = options.parse(script.words, declaration)
  if others[1] then
    error({ usage = ("unexpected word \"%s\" after --: expected script options"):format(others[1]) }, 0)
  end
  script.words = {}
  script.answers[names] = setmetatable(options.resolve(declaration, given, "nf.options"), {
    __index = function(_, name)
      error(("nf.options: no option %s%s"):format(text.quote(name), text.suggest(name, text.sorted_keys(short))), 2)
    end,
  })
  latest_declaration, latest_values = declaration, script.answers[names]
  return script.answers[names]
end

--- A script starts its work: by now its options have been declared, or it has none.
function script.ready()
  if script.is_help_wanted then print_help {} end
  if script.words[1] then
    error({ usage = ("unexpected word \"%s\" after --: this script declares no options"):format(script.words[1]) }, 0)
  end
end

return script
