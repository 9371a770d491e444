-- What holds for every plugin that comes along, whichever it is: it passes its own checks, it has a spec and golden
-- files, it goes together with all others, and it gives the same for any number of meters. Over samples, and captures
-- of the reference data ($NFENGINE_EVERY_CAPTURE=1 takes all of them).

local check = require "nfengine.check"
local data = require "spec.support.data"
local golden = require "spec.support.golden"
local plugins = require "spec.support.plugins"
local program = require "spec.support.program"
local trial = require "nfengine.trial"

trial.program = function() return program.path end -- this process is none

local all = plugins.that_are "plugin or profile"
local together = plugins.names(plugins.together())

describe("the plugins that come along", function()
  it("are some", function() assert.is_true(#all > 0) end)

  for _, entry in ipairs(all) do
    describe(entry.name, function()
      it("has nothing said against it", function() assert.same({}, check.problems(entry.path)) end)

      it("has a spec", function()
        assert.is_string(program.read(("spec/plugins/%s_spec.lua"):format(entry.name)))
      end)

      it("has golden files, which hold with one and with three meters, as its examples do", function()
        local skip = golden.other_ndpi()
        if skip then return pending(skip) end
        local results, goldens = trial.results(entry.path, { specs = false }), 0
        for _, result in ipairs(results) do
          assert.is_nil(result.problem, result.name .. ": " .. tostring(result.problem))
          if result.name:match "^golden" then goldens = goldens + 1 end
        end
        assert.is_true(goldens > 0 or plugins.needs_file(entry)) -- golden files are of plugins without options
      end)
    end)
  end
end)

describe("the scripts that come along", function()
  for _, path in ipairs(program.lines "ls scripts/*.lua") do
    it("have nothing said against: " .. path, function() assert.same({}, check.script_problems(path)) end)

    it("have a spec: " .. path, function()
      assert.is_string(program.read((path:gsub("^scripts/(.*)%.lua$", "spec/scripts/%1_spec.lua"))))
    end)
  end
end)

-- What the program writes with plugins, and how it ends.
local function outcome(path, names, meters, more)
  local words = { "-q", "flows", "--n-dissections=0", "--n-meters=" .. meters,
    "--plugin=" .. table.concat(names, ",") }
  for _, word in ipairs(more or {}) do words[#words + 1] = word end
  words[#words + 1] = path
  local result = program.run(unpack(words))
  return ("%d %s"):format(result.status, result.status > 1 and result.err or result.out)
end

-- Captures whose records differ with the number of meters, or on which the program breaks down.
local function differing(paths, names, more)
  local different = {}
  for _, path in ipairs(paths) do
    local one = outcome(path, names, 1, more)
    if not one:match "^[01] " then different[#different + 1] = path .. ": " .. one end
    for _, meters in ipairs { 2, 8 } do
      if outcome(path, names, meters, more) ~= one then
        different[#different + 1] = ("%s: %d meters"):format(path, meters)
      end
    end
  end
  return table.concat(different, "\n", 1, math.min(#different, 20))
end

describe("all plugins at once", function()
  local SAMPLES = program.lines "ls samples/*.pcap*"

  it("give the same for any number of meters, over the samples", function()
    assert.is_true(#SAMPLES > 20)
    assert.equal("", differing(SAMPLES, together))
    assert.equal("", differing(SAMPLES, together, { "--time-unit=ns", "--idle-timeout=1" }))
  end)

  it("give the same for any number of meters, over the reference data", function()
    local paths = data.captures(37)
    if #paths == 0 then return pending(data.absent) end
    assert.equal("", differing(paths, together))
  end)

  for _, entry in ipairs(plugins.apart()) do
    if entry.kind == "profile" then
      it("so does the profile " .. entry.name, function()
        assert.equal("", differing(SAMPLES, {}, { "--profile=" .. entry.name }))
      end)
    else
      it("so does " .. entry.name .. " with one that looks at flows", function()
        assert.equal("", differing(SAMPLES, { entry.name, "ttl_tos" }))
      end)
    end
  end
end)
