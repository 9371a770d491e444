-- The Python module: its own specs, and what docs/python.md shows. `make readers` brings pandas, polars and pyarrow;
-- $NFENGINE_PYTHON names a Python that has them.

local program = require "spec.support.program"

local PYTHON = program.quote(os.getenv "NFENGINE_PYTHON" or "build/readers/bin/python")

local is_there = program.shell(PYTHON .. " -c 'import pandas, polars, pyarrow'").status == 0
local missing = not is_there and PYTHON .. " has no pandas, polars and pyarrow: see make readers"

-- Runs Python with the module on its path, and the program under test.
local function python(words)
  local setting = "NFENGINE=%s PYTHONPATH=python timeout 120 %s -B -W ignore::DeprecationWarning %s"
  return program.shell(setting:format(program.quote(program.path), PYTHON, words))
end

local function describe_or_skip(name, examine)
  describe(name, function()
    if missing then
      it("is not examined", function() pending(missing) end)
    else
      examine()
    end
  end)
end

describe("nfengine.py", function()
  it("has the program's version", function()
    local version = program.read("python/nfengine.py"):match '\n__version__ = "(.-)"'
    assert.equal(version, program.run("--version").out:match "^nfengine (%S+)")
  end)
end)

describe_or_skip("nfengine.py", function()
  for name in program.read("python/test_nfengine.py"):gmatch "\nclass (%w+)%(unittest.TestCase%)" do
    it("passes its specs of " .. name:lower(), function()
      local ran = python("-m unittest test_nfengine." .. name)
      assert.equal(0, ran.status, ran.err)
      assert.is_truthy(ran.err:match "\nRan [1-9]%d* tests? in")
    end)
  end
end)

describe_or_skip("README.md", function()
  it("shows code that runs", function()
    local block = program.read("README.md"):match "\n```python\n(from nfengine import.-)\n```"
    local path = program.temporary ".parquet"
    program.run("-q", "flows", "-o", path, "samples/web.pcap")
    local ran = python(program.quote(program.write(block:gsub("flows%.parquet", path) .. "\nprint(len(flows))", ".py")))
    program.remove_temporaries()
    assert.same({ 0, "32\n", "" }, { ran.status, ran.out, ran.err })
  end)
end)

describe_or_skip("docs/python.md", function()
  local number = 0
  for block in program.read("docs/python.md"):gmatch "\n```python\n(.-)\n```" do
    number = number + 1
    it("shows code that runs: " .. number, function()
      local ran = python(program.quote(program.write(block, ".py")))
      program.remove_temporaries()
      assert.equal(0, ran.status, ran.err)
      assert.equal("", ran.err)
      assert.is_truthy(#ran.out > 0)
    end)
  end
end)
