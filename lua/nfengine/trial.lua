--- Tests of a plugin's or script's file: its golden files, its examples, and its spec where busted is there.
--
-- A plugin's golden file is spec/golden/NAME/SAMPLE.csv in its collection: what `nfengine flows --plugin NAME
-- --n-dissections=0`, with --profile for a profile, writes of samples/SAMPLE.pcap (or .pcapng, packed or not), a sample
-- of the collection or one that came along, with the columns of its first line. It has to come out the same with one
-- meter and with three.

local lfs = require "nfengine.lfs"
local collection = require "nfengine.collection"
local commands = require "nfengine.commands"
local example = require "nfengine.example"
local profile = require "nfengine.profile"
local shell = require "nfengine.shell"
local text = require "nfengine.text"

local trial = {}

local SHOWN = 40 -- lines of what a spec says of its failures

local function is_there(path) return lfs.attributes(path, "mode") ~= nil end

--- The collection that a file lies in, and the kind of files in its folder: "plugins" or "scripts".
local function root_of(path)
  local root, kind = ("/" .. path):match "^(.*)/(%l+)/[^/]*$"
  if kind == "plugins" or kind == "scripts" then return root == "" and "." or root:sub(2), kind end
  return path:match "^(.*)/[^/]*$" or ".", "plugins"
end

--- This program's file.
function trial.program() return lfs.symlinkattributes("/proc/self/exe", "target") end

--- The capture that a golden file was made of, or nil.
local function sample_of(root, name)
  for _, folder in ipairs { root, collection.root } do
    for _, ending in ipairs { ".pcap", ".pcapng", ".pcap.gz", ".pcap.zst", ".pcapng.gz", ".pcapng.zst" } do
      local path = ("%s/samples/%s%s"):format(folder, name, ending)
      if is_there(path) then return path end
    end
  end
end

--- The first line in which two texts differ, in words.
local function difference(expected, got)
  local wanted, given = text.lines(expected), text.lines(got)
  for i = 1, math.max(#wanted, #given) do
    if wanted[i] ~= given[i] then
      return ("line %d: expected %s, got %s"):format(i, wanted[i] or "no more", given[i] or "no more")
    end
  end
  return "they differ in their last line's end"
end

local function golden_files(folder)
  local files = {}
  if lfs.attributes(folder, "mode") ~= "directory" then return files end
  for name in lfs.dir(folder) do
    if name:match "%.csv$" then files[#files + 1] = name end
  end
  table.sort(files)
  return files
end

--- Runs one golden file's command with so many meters. Returns what is wrong, or nil.
local function try_golden(path, plugin_path, sample, meters)
  local expected = shell.contents(path)
  local option = profile.is_profile(commands.read(plugin_path)) and "--profile=" or "--plugin="
  local words = { trial.program(), "-q", "flows", "--n-dissections=0", "--n-meters=" .. meters,
    option .. plugin_path, "--columns=" .. (expected:match "^[^\n]*"), sample }
  for i, word in ipairs(words) do words[i] = shell.quote(word) end
  local result = shell.run(table.concat(words, " "))
  if result.status ~= 0 then return result.err:gsub("\n.*", "") end
  if result.out ~= expected then return difference(expected, result.out) end
end

local function try_example(each, place)
  local result, printed = example.run(each, place)
  if result.status ~= 0 then return ("status %d: %s"):format(result.status, (result.err:gsub("\n.*", ""))) end
  if not each.output then return nil end
  local shown = example.shown(each, printed)
  local expected, got = table.concat(each.output, "\n") .. "\n", table.concat(shown, "\n") .. "\n"
  if expected ~= got then return difference(expected, got) end
end

--- Runs the spec under busted, in the collection. Returns what is wrong, or nil.
local function try_spec(root, spec)
  local result = shell.run(("cd %s && LUA_PATH=%s busted --lua=%s %s"):format(shell.quote(root),
    shell.quote(package.path), shell.quote(shell.run("command -v luajit").out:gsub("\n", "")), shell.quote(spec)))
  if result.status == 0 then return nil end
  local lines = text.lines((result.out:match "\n(%u%l+ %->.*)$" or result.out .. result.err) .. "\n")
  if #lines > SHOWN then lines[SHOWN + 1] = "..." end
  return table.concat(lines, "\n", 1, math.min(#lines, SHOWN + 1))
end

--- Tests a file. Returns a list of { name, problem (nil when it passed) }.
-- @param options `specs` = false leaves its spec out
function trial.results(path, options)
  local root, kind = root_of(path)
  local results, name = {}, path:match "([^/]+)%.lua$"
  local function add(what, problem) results[#results + 1] = { name = what, problem = problem } end
  local folder = ("%s/spec/golden/%s"):format(root, name)
  for _, file in ipairs(kind == "plugins" and golden_files(folder) or {}) do
    local golden = folder .. "/" .. file
    local sample = sample_of(root, file:match "^(.*)%.csv$")
    for _, meters in ipairs { 1, 3 } do
      local problem = sample and try_golden(golden, path, sample, meters)
        or not sample and ("no capture samples/%s.pcap"):format(file:match "^(.*)%.csv$") or nil
      add(("golden file %s, %s"):format(golden, text.plural(meters, "meter")), problem)
    end
  end
  local samples = is_there(root .. "/samples") and root .. "/samples" or collection.root .. "/samples"
  local place = { program = trial.program(), samples = samples, root = root }
  for _, each in ipairs(example.of(path)) do
    add("example " .. each.command:gsub("%s*\\\n%s*", " "), try_example(each, place))
  end
  if options and options.specs == false then return results end
  local spec = ("spec/%s/%s_spec.lua"):format(kind, name)
  if is_there(root .. "/" .. spec) and shell.run("command -v busted").status == 0 then
    add("spec " .. spec, try_spec(root, spec))
  end
  return results
end

return trial
