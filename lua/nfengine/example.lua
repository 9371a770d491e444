--- The examples in the comment that a script or plugin begins with: a command behind "@usage", and behind "@output"
-- what it prints.
--
--   -- @usage nfengine summary samples/web.pcap
--   -- @output
--   -- samples/web.pcap
--   -- ...
--
-- A command may go on over several lines, each but the last ending in a backslash. An output that ends in "..." shows
-- the first lines only. Commands run in a folder of their own with samples/ in it, so they may write files.

local shell = require "nfengine.shell"
local text = require "nfengine.text"

local example = {}

--- Parses a file's text.
-- @return list of { command, output (list of lines, or nil), is_partial, first, last (numbers of the output's lines in
--   the file, without "...") }
function example.parse(whole)
  local examples, current = {}, nil
  for number, line in ipairs(text.lines(whole)) do
    local comment = line:match "^%-%-%-? ?(.*)$"
    if not comment then
      if not line:match "^#!" then break end
    elseif comment:match "^@usage " then
      current = { command = comment:match "^@usage (.*)$" }
      examples[#examples + 1] = current
    elseif comment == "@output" and current then
      current.output, current.is_partial, current.first, current.last = {}, nil, number + 1, number
    elseif current and current.output then
      if current.is_partial then table.insert(current.output, "...") end -- with more behind them, dots are output
      current.is_partial = comment == "..." or nil
      if not current.is_partial then table.insert(current.output, comment) end
      current.last = current.first + #current.output - 1
    elseif current then
      current.command = current.command .. "\n" .. comment
    end
  end
  return examples
end

--- The examples of a file.
function example.of(path) return example.parse(shell.contents(path)) end

local PREPARE = [[
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT && mkdir "$folder/bin" &&
ln -s "$(realpath %s)" "$folder/bin/nfengine" && ln -s "$(realpath %s)" "$folder/samples" && root=$(realpath %s) &&
cd "$folder" || exit 99
export PATH="$folder/bin:$PATH" HOME="$folder" NFENGINE_PATH="$root" LC_ALL=C
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
-- @param place `program` (the executable), `samples` (a folder), `root` (the collection whose scripts and plugins it
--   uses)
-- @return { status, out, err } as shell.run gives them, and the lines of `out` as a terminal shows them
function example.run(each, place)
  local prepare = PREPARE:format(shell.quote(place.program), shell.quote(place.samples), shell.quote(place.root))
  local result = shell.run("(" .. prepare .. each.command .. "\n)")
  local lines = text.lines(result.out)
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

return example
