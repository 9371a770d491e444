-- Every plugin and every script over captures of the reference data, hostile ones included: none breaks down, none
-- fails for what a capture holds. Some of the captures, all of them with $NFENGINE_EVERY_CAPTURE=1, which is most worth
-- its time under the sanitizers.

local capture = require "nfengine.testing.capture"
local collection = require "nfengine.collection"
local commands = require "nfengine.commands"
local data = require "spec.support.data"
local plugin = require "nfengine.plugin"
local program = require "spec.support.program"

-- What is wrong with how the program ended on some of these captures; `words` makes its words for one.
local function troubles(paths, words)
  local found = {}
  for _, path in ipairs(paths) do
    local result = program.run("-q", unpack(words(path)))
    -- A damaged capture ends with status 1 and a warning; a plugin's or script's error names it.
    local line = result.err:match "plugin [%w_]+: [^\n]*" or result.err:match "[%w_/]+%.lua:%d+: [^\n]*"
      or result.err:match "ERROR: %w+Sanitizer[^\n]*" or result.err:match "runtime error[^\n]*"
    if result.status > 1 or line then
      found[#found + 1] = ("%s: status %d: %s"):format(path, result.status, line or result.err:match "[^\n]*" or "")
    end
    program.remove_temporaries()
  end
  return table.concat(found, "\n", 1, math.min(#found, 20))
end

local function with_data(name, step, test)
  it(name, function()
    local paths = data.captures(step)
    if #paths == 0 then return pending(data.absent) end
    assert.equal("", test(paths))
  end)
end

describe("over the reference data", function()
  after_each(capture.cleanup)

  local together, others = {}, {}
  for _, entry in ipairs(collection.all "plugins") do
    local made = entry.path:match "^%./plugins/" and commands.read(entry.path)
    if made and plugin.is_class(made) and made.definition.categories[1] ~= "expiry" then
      together[#together + 1] = entry.name
    elseif made then
      others[#others + 1] = (plugin.is_class(made) and "--plugin=" or "--profile=") .. entry.name
    end
  end

  local function flows_with(...)
    local options = { ... }
    return function(path) return { "flows", "--format=null", "--n-dissections=0", path, unpack(options) } end
  end

  with_data("all plugins that look at flows together", 29, function(paths)
    return troubles(paths, flows_with("--n-meters=1", "--plugin=" .. table.concat(together, ",")))
  end)

  with_data("the same with several meters and L7, in ns", 61, function(paths)
    return troubles(paths, flows_with("--n-meters=3", "--time-unit=ns", "--n-dissections=20",
      "--plugin=" .. table.concat(together, ",")))
  end)

  for _, option in ipairs(others) do
    with_data(option, 97, function(paths) return troubles(paths, flows_with(option)) end)
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
    report = function(path) return { "report", path, "--", "--write=" .. program.temporary ".html" } end,
  }

  for _, entry in ipairs(collection.all "scripts") do
    if entry.path:match "^%./scripts/" then
      local words = special[entry.name] or function(path) return { entry.name, path } end
      with_data("the script " .. entry.name, 97, function(paths) return troubles(paths, words) end)
    end
  end
end)
