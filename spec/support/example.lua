-- The examples in the comment that a script or plugin begins with: a command behind "@usage", and behind "@output" what
-- it prints.
--
--   -- @usage nfengine summary samples/web.pcap
--   -- @output
--   -- samples/web.pcap
--   -- ...
--
-- A command may go on over several lines, each but the last ending in a backslash. An output that ends in "..." shows
-- the first lines only. Commands run in a folder of their own with samples/ in it, so they may write files.

local assert = require "luassert"
local busted = require "busted"
local program = require "spec.support.program"

local example = {}

local function lines_of(text)
  local lines = {}
  for line in text:gmatch "([^\n]*)\n" do lines[#lines + 1] = line end
  return lines
end

--- Parses a file's text.
-- @return list of { command, output (list of lines, or nil), is_partial, first, last (numbers of the output's lines in
--   the file, without "...") }
function example.parse(text)
  local examples, current = {}, nil
  for number, line in ipairs(lines_of(text)) do
    local comment = line:match "^%-%-%-? ?(.*)$"
    if not comment then
      if not line:match "^#!" then break end
    elseif comment:match "^@usage " then
      current = { command = comment:match "^@usage (.*)$" }
      examples[#examples + 1] = current
    elseif comment == "@output" and current then
      current.output, current.first, current.last = {}, number + 1, number
    elseif current and current.output and comment == "..." then
      current.is_partial = true
    elseif current and current.output then
      table.insert(current.output, comment)
      current.last = number
    elseif current then
      current.command = current.command .. "\n" .. comment
    end
  end
  return examples
end

--- The examples of a file.
function example.of(path)
  return example.parse(assert(program.read(path), path))
end

local PREPARE = [[
here=$(pwd) && folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT && mkdir "$folder/bin" &&
ln -s "$(realpath %s)" "$folder/bin/nfengine" && ln -s "$here/samples" "$folder/samples" && cd "$folder" || exit 99
export PATH="$folder/bin:$PATH" HOME="$folder" NFENGINE_PATH="$here" LC_ALL=C
]]

-- A line as a terminal shows it: tabs reach to the next multiple of eight.
local function without_tabs(line)
  local shown = ""
  for part, tab in line:gmatch "([^\t]*)(\t?)" do
    shown = shown .. part
    if tab ~= "" then shown = shown .. (" "):rep(8 - #shown % 8) end
  end
  return shown
end

--- Runs an example's command.
-- @return { status, out, err } as program.run gives them, and the lines of `out` as a terminal shows them
function example.run(each)
  local result = program.shell("(" .. PREPARE:format(program.quote(program.path)) .. each.command .. "\n)")
  local lines = lines_of(result.out)
  for i, line in ipairs(lines) do lines[i] = without_tabs(line) end
  return result, lines
end

--- What an example should show of these lines: all, or as many as it shows now.
function example.shown(each, lines)
  if not each.is_partial then return lines end
  local first = {}
  for i = 1, #each.output do first[i] = lines[i] end
  return first
end

--- Text of a file with the examples' outputs as their commands give them today.
function example.renewed(text)
  local lines, examples = lines_of(text), example.parse(text)
  for i = #examples, 1, -1 do
    local each = examples[i]
    if each.output then
      local result, printed = example.run(each)
      assert(result.status == 0, ("%s: exit status %d: %s"):format(each.command, result.status, result.err))
      for _ = each.first, each.last do table.remove(lines, each.first) end
      for n, line in ipairs(example.shown(each, printed)) do
        table.insert(lines, each.first + n - 1, line == "" and "--" or "-- " .. line)
      end
    end
  end
  return table.concat(lines, "\n") .. "\n"
end

local function check(each)
  local result, printed = example.run(each)
  assert.are.same({ 0, "" }, { result.status, result.err:match "warning[^\n]*" or "" })
  if each.output then
    assert.are.same(each.output, example.shown(each, printed))
    assert.are.equal(each.is_partial or false, #printed > #each.output)
  end
end

--- Declares tests of a script's examples: each command succeeds and prints what the file shows, and the script's help
-- has them. `skip`, if given, says why outputs cannot be compared here.
function example.tests(path, skip)
  local it, pending = busted.it, busted.pending -- globals of spec files only
  local examples = example.of(path)
  it("has an example with its output", function()
    local has_output = false
    for _, each in ipairs(examples) do has_output = has_output or each.output ~= nil end
    assert.is_true(has_output)
  end)
  it("shows its examples as one would type them in its help", function()
    local result = program.run(path, "--help")
    assert.are.same({ 0, "" }, { result.status, result.err })
    assert.is_nil(result.out:match "@")
    for _, each in ipairs(examples) do
      local shown = "\n  $ " .. each.command:gsub("\n", "\n  ") .. "\n"
      if each.output then shown = shown .. "  " .. each.output[1] .. "\n" end
      assert.is_truthy(result.out:find(shown, 1, true), shown)
    end
  end)
  for _, each in ipairs(examples) do
    local name = "keeps what it says of: " .. each.command:gsub("%s*\\\n%s*", " ")
    if skip and each.output then
      pending(name .. ": " .. skip)
    else
      it(name, function() check(each) end)
    end
  end
end

return example
