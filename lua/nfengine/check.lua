--- What is wrong with a plugin's or script's file, before others use it: its header, its documentation, what its hooks
-- do.
--
-- Hooks are looked at as bytecode, without being run: what a hook does for each packet shows in the instructions that
-- LuaJIT made of it, and of the file's functions that it calls.

local bit = require "bit"
local jit_util = require "jit.util"
local names = require "nfengine.bytecode" -- six characters each
local categories = require "nfengine.categories"
local commands = require "nfengine.commands"
local example = require "nfengine.example"
local plugin = require "nfengine.plugin"
local script = require "nfengine.script"
local text = require "nfengine.text"

local check = {}

local LONGEST = 250 -- lines that one can take in

-- ---- the header ----

local function check_kind(list, found)
  local kinds = {}
  for _, group in ipairs(categories.groups) do
    for _, entry in ipairs(group[1] == "kind" and group[2] or {}) do
      if text.contains(list, entry[1]) then kinds[#kinds + 1] = entry[1] end
    end
  end
  if #kinds ~= 1 then
    found("categories: expected exactly one kind (feature, expiry, label, profile, report, export, example), got %s",
      #kinds == 0 and "none" or table.concat(kinds, ", "))
  end
end

local function check_header(made, name, found)
  local definition = made.definition
  if definition.name ~= name then found("name = %s: expected %s, as the file's", text.quote(definition.name), name) end
  for _, field in ipairs { "version", "api", "description", "author", "license", "categories" } do
    if not definition[field] then found("no %s", field) end
  end
  if not tostring(definition.version or "1.0.0"):match "^%d+%.%d+%.%d+$" then
    found("version = %s: expected MAJOR.MINOR.PATCH (semver.org)", text.quote(definition.version))
  end
  if (definition.description or ""):find "\n" then found "description: expected one line" end
  if #(definition.description or "") > 100 then found "description: expected at most 100 characters" end
  if definition.categories then check_kind(definition.categories, found) end
end

local function check_declarations(made, found)
  for _, option in ipairs(made.options) do
    if option.doc == "" then found("option %s: does not say what it does", option.name) end
  end
  for _, slot in ipairs(made.columns) do
    if slot.doc == "" then found("column %s: does not say what it holds", slot.name) end
  end
end

local function check_comment(lines, longest, found)
  if not (lines[1] or ""):match "^%-%-%-? ?%S" then found "does not begin with a comment that says what it is for" end
  local examples, has_output = example.parse(table.concat(lines, "\n") .. "\n"), false
  if #examples == 0 then found "the comment has no example: expected @usage, a command" end
  for _, each in ipairs(examples) do has_output = has_output or each.output ~= nil end
  if #examples > 0 and not has_output then found "no example has an @output" end
  if #lines > longest then found("%d lines: expected at most %d, a plugin does one thing", #lines, longest) end
end

-- ---- hooks ----

local COSTLY = {
  CAT = "joins texts (..)", TNEW = "makes a table", TDUP = "makes a table", FNEW = "makes a function",
}

-- Globals that a hook for packets has no business with.
local FOREIGN = { io = true, os = true, print = true, require = true, dofile = true, loadfile = true }

--- Each instruction of a function: its name, its constant if it is a global's, its line.
local function instructions(func)
  local pc = 0
  return function()
    pc = pc + 1
    local code = jit_util.funcbc(func, pc)
    if not code then return nil end
    local name = names:sub(bit.band(code, 0xff) * 6 + 1, bit.band(code, 0xff) * 6 + 6):match "%S+"
    local constant
    if name == "GGET" or name == "GSET" then constant = jit_util.funck(func, -bit.rshift(code, 16) - 1) end
    return name, constant, jit_util.funcinfo(func, pc).currentline
  end
end

--- Calls visit for a function of this file and all of this file that it captures, once each.
local function each_function(func, path, visit, seen)
  seen = seen or {}
  if seen[func] or jit_util.funcinfo(func).addr then return end -- seen, or C's
  seen[func] = true
  if debug.getinfo(func, "S").source ~= "@" .. path then return end
  visit(func)
  for i = 1, math.huge do
    local name, value = debug.getupvalue(func, i)
    if not name then break end
    if type(value) == "function" then each_function(value, path, visit, seen) end
  end
end

local function check_hooks(made, path, found)
  local said = {}
  local function once(line, ...)
    local message = ("line %d: " .. (...)):format(line, select(2, ...))
    if not said[message] then found("%s", message) end
    said[message] = true
  end
  for _, hook in ipairs(plugin.hooks) do
    each_function(made[hook] or print, path, function(func)
      for name, constant, line in instructions(func) do
        if name == "GSET" then once(line, "sets the global %s: expected local", tostring(constant)) end
        if name == "GGET" and _G[constant] == nil then
          once(line, "reads the global %s, which nobody sets", tostring(constant))
        end
        if hook == "on_update" and COSTLY[name] then once(line, "%s for each packet", COSTLY[name]) end
        if hook == "on_update" and name == "GGET" and FOREIGN[constant] then
          once(line, "uses %s for each packet", constant)
        end
      end
    end)
  end
end

local function check_safety(lines, made, found)
  if not text.contains(made.definition.categories or {}, "safe") then return end
  for number, line in ipairs(lines) do
    local code = line:gsub("%-%-.*", "")
    local name = code:match "%f[%w_](io)%.%a" or code:match "require%s*%(?%s*[\"'](ffi)[\"']"
      or code:match "%f[%w_](os%.[er]%a+)" -- execute, exit, remove, rename
      or code:match "(%.core)%f[^%w_]" or code:match "(%.at)%[" or code:match "(%.data)%[" -- memory without bounds
    if name then found("line %d: uses %s, which a plugin of category safe does not", number, name) end
  end
end

-- ---- scripts ----

--- A list of problems, and what adds to it a line that begins with the file's name.
local function new_list(path)
  local problems = {}
  return problems, function(format, ...)
    problems[#problems + 1] = text.one_line(("%s: " .. format):format(path, ...))
  end
end

--- Names of the globals that a function sets, or one made inside it; each with its line.
local function check_globals(func, found)
  for name, constant, line in instructions(func) do
    if name == "GSET" then found("line %d: sets the global %s: expected local", line, tostring(constant)) end
  end
  for i = 1, math.huge do
    local ok, inner = pcall(jit_util.funck, func, -i)
    if not ok or inner == nil then return end
    if type(inner) == "proto" then check_globals(inner, found) end
  end
end

local function lines_of(path)
  local lines = {}
  for line in io.lines(path) do lines[#lines + 1] = line end
  return lines
end

--- What is wrong with a script's file, as check.problems.
function check.script_problems(path)
  local problems, found = new_list(path)
  local chunk, message = loadfile(path, "t")
  if not chunk then return { text.one_line(message) } end
  local lines, words = lines_of(path), {}
  check_comment(lines, math.huge, found)
  local tag = script.tag(script.doc_block(path), "categories")
  for word in (tag or ""):gmatch "%S+" do words[#words + 1] = word end
  local ok, problem = categories.check(words)
  if not tag then found "no @categories in its comment"
  elseif not ok then found("categories: %s", problem)
  else check_kind(words, found) end
  check_globals(chunk, found)
  return problems
end

--- What is wrong with a plugin's or profile's file: a list of lines, empty when nothing is.
function check.problems(path)
  local problems, found = new_list(path)
  local ok, made = pcall(commands.read, path)
  if not ok then return { text.one_line(made) } end
  local lines = lines_of(path)
  check_header(made, path:match "([^/]+)%.lua$", found)
  check_comment(lines, LONGEST, found)
  if plugin.is_class(made) then
    check_declarations(made, found)
    check_hooks(made, path, found)
    check_safety(lines, made, found)
  end
  return problems
end

return check
