-- The examples in the comment that a script or plugin begins with, in specs: nfengine.example, run from the checkout.

local assert = require "luassert"
local busted = require "busted"
local examples_of_files = require "nfengine.example"
local program = require "spec.support.program"
local text = require "nfengine.text"

local example = { parse = examples_of_files.parse, of = examples_of_files.of, shown = examples_of_files.shown }

--- Runs an example's command, with the scripts, plugins and samples of the checkout.
-- @return { status, out, err } as program.run gives them, and the lines of `out` as a terminal shows them
function example.run(each)
  return examples_of_files.run(each, { program = program.path, samples = "samples", root = "." })
end

--- Text of a file with the examples' outputs as their commands give them today.
function example.renewed(whole)
  local lines, examples = text.lines(whole), example.parse(whole)
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
