-- Every plugin and every script over captures of the reference data, hostile ones included: none breaks down, none
-- fails for what a capture holds. Some of the captures, all of them with $NFENGINE_EVERY_CAPTURE=1, which is most worth
-- its time under the sanitizers.

local capture = require "nfengine.testing.capture"
local collection = require "nfengine.collection"
local data = require "spec.support.data"
local lfs = require "nfengine.lfs"
local plugins = require "spec.support.plugins"
local program = require "spec.support.program"

local SECONDS = 10 -- for one run, a sanitizer build included

-- What is wrong with how a run ended, or nil. A damaged capture ends with status 1 and a warning; whatever is no line
-- of the program's own is a sanitizer's or Lua's, and a plugin's or script's error names it.
local function trouble(result)
  if result.status == 124 then return ("not done after %d s"):format(SECONDS) end
  if result.status > 1 then return "status " .. result.status end
  if result.status == 1 and result.err == "" then return "status 1 without a reason" end
  for line in result.err:gmatch "[^\n]+" do
    local is_ours = line:match "^nfengine: "
    if not is_ours or line:match "plugin [%w_]+: " or line:match "[%w_/]+%.lua:%d+: " then return line end
  end
end

-- The same of the program on each of these captures; `words` makes its words for one.
local function troubles(paths, words)
  local found = {}
  for _, path in ipairs(paths) do
    local command = { "timeout", SECONDS, program.path, "-q", unpack(words(path)) }
    for i, word in ipairs(command) do command[i] = program.quote(word) end
    local result = program.shell(table.concat(command, " "))
    local what = trouble(result)
    if what then found[#found + 1] = ("%s: %s: %s"):format(path, what, result.err:match "[^\n]*") end
    program.remove_temporaries()
  end
  return table.concat(found, "\n", 1, math.min(#found, 20))
end

local function with_data(name, step, test, folders)
  it(name, function()
    local paths = data.captures(step, folders)
    if #paths == 0 then return pending(data.absent) end
    assert.equal("", test(paths))
  end)
end

describe("over the reference data", function()
  after_each(capture.cleanup)

  local together = table.concat(plugins.names(plugins.together()), ",")

  local function flows_with(...)
    local options = { ... }
    return function(path) return { "flows", "--format=null", "--n-dissections=0", path, unpack(options) } end
  end

  with_data("all plugins that look at flows together", 29, function(paths)
    return troubles(paths, flows_with("--n-meters=1", "--plugin=" .. together))
  end)

  for _, meters in ipairs { 1, 3 } do
    with_data(("everything there is, hostile captures, %d meters"):format(meters), 15, function(paths)
      return troubles(paths, function(path)
        return { "flows", "--format=jsonl", "-o", "/dev/null", "--n-meters=" .. meters, "--n-dissections=255",
          "--l7-columns=all", "--statistical-analysis", "--splt-analysis=20", path,
          "--plugin=" .. together }
      end)
    end, "hostile")
  end

  with_data("the same with several meters and L7, in ns", 61, function(paths)
    return troubles(paths, flows_with("--n-meters=3", "--time-unit=ns", "--n-dissections=20",
      "--plugin=" .. together))
  end)

  for _, entry in ipairs(plugins.apart()) do
    local option = ("--%s=%s"):format(entry.kind, entry.name)
    with_data(option, 97, function(paths) return troubles(paths, flows_with(option)) end)
  end

  -- A model for those that ask one: its folder, which each test makes anew.
  local model = ""
  local function options_with_model(script, path, ...)
    if not lfs.attributes(model) then
      model = capture.folder() .. "/model"
      program.run("-q", "train", "samples/web.pcap", "--plugin=rates", "--", "--label=protocol", "--write=" .. model)
    end
    return { script, path, "--", "--model=" .. model, ... }
  end

  -- The words of scripts that take more than a capture.
  local special = {
    compare = function(path) return { "compare", "--", "--left=" .. path, "--right=" .. path } end,
    dataset = function(path)
      local folder = capture.folder() .. "/out"
      return { "dataset", path, "--splt-analysis=3", "--", "--write=" .. folder, "--label=protocol" }
    end,
    export = function(path) return { "export", "-o", program.temporary ".csv", path } end,
    extract = function(path) return { "extract", path, "--", "--write=" .. program.temporary ".pcapng" } end,
    evaluate = function(path) return options_with_model("evaluate", path, "--label=protocol") end,
    predict = function(path) return options_with_model("predict", path) end,
    train = function(path)
      local folder = capture.folder() .. "/model"
      return { "train", path, "--splt-analysis=3", "--", "--write=" .. folder, "--label=protocol" }
    end,
    report = function(path) return { "report", path, "--", "--write=" .. program.temporary ".html" } end,
    series = function(path) return { "series", path, "--", "--write=" .. program.temporary ".npz" } end,
  }

  for _, entry in ipairs(collection.all "scripts") do
    if entry.path:match "^%./scripts/" then
      local words = special[entry.name] or function(path) return { entry.name, path } end
      with_data("the script " .. entry.name, 97, function(paths) return troubles(paths, words) end)
    end
  end
end)
