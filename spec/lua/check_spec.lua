-- What the program says of a plugin's file before others use it, how it tests one and how it begins one:
-- lua/nfengine/check.lua, trial.lua, skeleton.lua, example.lua, through the program.

local lfs = require "lfs"
local program = require "spec.support.program"

local here = lfs.currentdir()
local nfengine = program.path:match "^/" and program.path or here .. "/" .. program.path
local folder

local function write(path, whole)
  assert(os.execute(("mkdir -p '%s/%s'"):format(folder, path:match "^(.*)/" or ".")) == 0)
  program.write(whole, folder .. "/" .. path)
end

local function run(words) return program.shell(("cd '%s' && '%s' %s"):format(folder, nfengine, words)) end

local GOOD = [[
--- Counts. One line.
--
-- @usage nfengine flows --plugin good --n-dissections=0 --columns=udps.good_n samples/dns.pcap
-- @output
-- udps.good_n
-- 2
-- ...

local nf = require "nfengine"

local function add(udps, n) udps.good_n = udps.good_n + n end

return nf.plugin {
  name = "good", version = "1.0.0", api = 1, description = "Counts packets", author = "A", license = "MIT",
  categories = { "feature", "safe" },
  options = { step = { 1, "how much a packet counts" } },
  columns = { { "good_n", "uint32", "packets" } },
  on_init = function(self, _, flow) add(flow.udps, self.step) end,
  on_update = function(self, _, flow) add(flow.udps, self.step) end,
}
]]

-- The file with one change; a plain text is replaced by another.
local function changed(from, to)
  local at, last = GOOD:find(from, 1, true)
  assert(at, from)
  return GOOD:sub(1, at - 1) .. to .. GOOD:sub(last + 1)
end

before_each(function()
  folder = program.temporary()
  assert(os.execute("mkdir " .. folder) == 0)
end)
after_each(function() os.execute("rm -rf '" .. folder .. "'") end)

describe("--check", function()
  local function said_of(whole)
    write("plugins/good.lua", whole)
    local result = run "--check good"
    assert.equal("", result.err)
    local lines = {}
    for line in result.out:gmatch "[^\n]+" do lines[#lines + 1] = (line:gsub("^%./plugins/good.lua: ", "")) end
    assert.equal(lines[1] == "nothing to say against it" and 0 or 1, result.status)
    return lines
  end

  it("has nothing to say against a file that is as it should be", function()
    assert.same({ "nothing to say against it" }, said_of(GOOD))
  end)

  it("wants a header that says who, what and for which interface", function()
    assert.same({ "name = \"other\": expected good, as the file's" },
      said_of(changed('name = "good"', 'name = "other"')))
    for field, text in pairs { version = 'version = "1.0.0",', api = "api = 1,", author = 'author = "A",',
        license = 'license = "MIT",', description = 'description = "Counts packets",' } do
      assert.same({ "no " .. field }, said_of(changed(text, "")))
    end
    assert.same({ 'version = "1": expected MAJOR.MINOR.PATCH (semver.org)' }, said_of(changed('"1.0.0"', '"1"')))
    assert.same({ "plugin good: api = 2: expected 1, the plugin interface of this nfengine" },
      said_of(changed("api = 1", "api = 2")))
  end)

  it("wants exactly one kind among its categories", function()
    local kinds = "categories: expected exactly one kind (feature, expiry, label, profile, report, export, example), "
      .. "got "
    assert.same({ kinds .. "none" }, said_of(changed('{ "feature", "safe" }', '{ "safe" }')))
    assert.same({ kinds .. "feature, label" }, said_of(changed('{ "feature", "safe" }', '{ "feature", "label" }')))
    assert.same({ "no categories" }, said_of(changed('categories = { "feature", "safe" },', "")))
    assert.matches("unknown category \"saffe\" %(did you mean 'safe'%?%)", said_of(changed('"safe"', '"saffe"'))[1])
  end)

  it("wants columns and options that say what they are", function()
    assert.same({ "column good_n: does not say what it holds" }, said_of(changed(', "packets"', "")))
    assert.same({ "option step: does not say what it does" }, said_of(changed(', "how much a packet counts"', "")))
  end)

  it("wants a comment with an example and its output", function()
    assert.same({ "no example has an @output" }, said_of(changed("-- @output\n-- udps.good_n\n-- 2\n-- ...\n", "")))
    assert.same({ "the comment has no example: expected @usage, a command" },
      said_of((GOOD:gsub("%-%- @usage.-%.%.%.\n", ""))))
    assert.equal("does not begin with a comment that says what it is for", said_of("\n" .. GOOD)[1])
  end)

  it("finds globals and what costs for each packet, also in functions that hooks call", function()
    assert.same({ "line 11: sets the global count: expected local" },
      said_of(changed("udps.good_n = udps.good_n + n", "count = n")))
    assert.same({ "line 11: reads the global m, which nobody sets" },
      said_of(changed("udps.good_n + n", "udps.good_n + m")))
    assert.same({ "line 11: makes a table for each packet" }, said_of(changed("udps.good_n + n", "#{ n } + n")))
    assert.same({ "line 11: joins texts (..) for each packet" }, said_of(changed("udps.good_n + n", "#(n .. n)")))
    assert.same({ "line 11: uses print for each packet" }, said_of(changed("udps.good_n + n", "print(n) or n")))
    assert.same({ "line 11: makes a function for each packet" },
      said_of(changed("udps.good_n + n", "(function() return n end)()")))
  end)

  it("holds safe plugins to their word", function()
    assert.same({ "line 11: uses io, which a plugin of category safe does not" },
      said_of(changed("local function add", 'local _ = io.read\nlocal function add')))
    for _, code in ipairs { "os.remove 'x'", "os.exit(1)", "os.execute 'x'" } do
      assert.matches("line 11: uses os.%l+, which a plugin of category safe does not",
        said_of(changed("udps.good_n = udps.good_n + n", code))[2])
    end
    assert.same({ "line 11: uses .core, which a plugin of category safe does not" },
      said_of(changed("udps.good_n + n", "udps.core.slot")))
    assert.same({ "line 11: uses .at, which a plugin of category safe does not" },
      said_of(changed("udps.good_n + n", "udps.list.at[9]")))
    assert.same({ "line 11: uses ffi, which a plugin of category safe does not" },
      said_of(changed("local function add", 'local ffi = require "ffi"\nlocal function add')))
  end)

  it("looks at scripts, too", function()
    local script = "--- Prints? One.\n--\n-- @categories report\n-- @usage nfengine one samples/dns.pcap\n"
      .. "-- @output\n-- 1\n\n"
    local function said(whole)
      write("scripts/one.lua", whole)
      return (run("--check one").out:gsub("%./scripts/one.lua: ", ""))
    end
    assert.equal("nothing to say against it\n", said(script .. "print(1)\n"))
    assert.equal("1 passed, 0 failed\n", run("--test one").out:match "[^\n]*\n$")
    assert.equal("no @categories in its comment\n", said((script:gsub("%-%- @cat[^\n]*\n", "")) .. "print(1)\n"))
    assert.equal("line 9: sets the global b: expected local\n",
      said(script .. "local function a()\n  b = 1\nend\na() print(1)\n"))
    assert.matches("unexpected symbol", said "return {")
    write("scripts/one.lua", script .. "print(2)\n")
    assert.matches("FAILED  example nfengine one samples/dns.pcap\n        line 1: expected 1, got 2\n",
      run("--test one").out)
  end)

  it("says so where a file cannot be read at all", function()
    assert.matches("unexpected symbol", said_of("return {")[1])
    assert.equal(2, run("--check nothing").status)
    assert.equal("nfengine: --check: expected names of plugins or scripts\n", run("--check").err)
  end)
end)

describe("--test", function()
  local function test_of(files)
    for path, whole in pairs(files) do write(path, whole) end
    return run "--test good"
  end

  local DNS = here .. "/samples/dns.pcap"

  it("compares golden files with one and with three meters, and examples", function()
    write("plugins/good.lua", GOOD)
    write("spec/golden/good/dns.csv",
      run("-q flows --plugin good --n-dissections=0 --columns=src_port,udps.good_n " .. DNS).out)
    local result = run "--test good"
    assert.same({ 0, "" }, { result.status, result.err })
    assert.equal([[
ok      golden file ./spec/golden/good/dns.csv, 1 meter
ok      golden file ./spec/golden/good/dns.csv, 3 meters
ok      example nfengine flows --plugin good --n-dissections=0 --columns=udps.good_n samples/dns.pcap
3 passed, 0 failed
]], result.out)
  end)

  it("says where they differ", function()
    local result = test_of { ["plugins/good.lua"] = changed("+ n", "+ 2 * n"),
      ["spec/golden/good/dns.csv"] = "udps.good_n\n2\n" }
    assert.equal(1, result.status)
    assert.matches("FAILED  golden file [^\n]*, 1 meter\n        line 2: expected 2, got 4\n", result.out)
    assert.matches("FAILED  example [^\n]*\n        line 2: expected 2, got 4\n", result.out)
    assert.matches("\n0 passed, 3 failed\n$", result.out)
  end)

  it("says what a golden file lacks", function()
    local result = test_of { ["plugins/good.lua"] = GOOD, ["spec/golden/good/nowhere.csv"] = "udps.good_n\n",
      ["spec/golden/good/dns.csv"] = "udps.good_m\n" }
    assert.matches("nowhere.csv, 1 meter\n        no capture samples/nowhere.pcap\n", result.out)
    assert.matches("dns.csv, 1 meter\n        nfengine: nf.streamer: columns: no column \"udps.good_m\"", result.out)
  end)

  it("takes samples of the collection first", function()
    local result = test_of { ["plugins/good.lua"] = (GOOD:gsub("%-%- @output.-%.%.%.\n", "")),
      ["samples/dns.pcap"] = program.read(here .. "/samples/icmp.pcap"), ["spec/golden/good/dns.csv"] =
        run("-q flows --plugin good --n-dissections=0 --columns=udps.good_n " .. DNS).out }
    assert.matches("FAILED  golden file ./spec/golden/good/dns.csv, 1 meter", result.out)
  end)

  it("has to have something to test", function()
    local result = test_of { ["plugins/good.lua"] = 'return require("nfengine").plugin { name = "good" }' }
    assert.same({ 1, "" }, { result.status, result.out })
    assert.equal("nfengine: ./plugins/good.lua: no tests, expected spec/golden/good/SAMPLE.csv or an @output in its "
      .. "comment\n", result.err)
  end)
end)

describe("--new plugin", function()
  it("writes a plugin that passes its check and its tests, spec included", function()
    local result = run "--new plugin my_own"
    assert.same({ 0, "" }, { result.status, result.err })
    assert.equal("plugins/my_own.lua\nspec/plugins/my_own_spec.lua\nspec/golden/my_own/tls.csv\n"
      .. "Now change it, and try nfengine --check my_own and nfengine --test my_own.\n", result.out)
    assert.equal("./plugins/my_own.lua: nothing to say against it\n", run("--check my_own").out)
    local tested = run "--test my_own"
    assert.same({ 0, "" }, { tested.status, tested.err })
    assert.matches("ok      spec spec/plugins/my_own_spec.lua\n4 passed, 0 failed\n$", tested.out)
  end)

  it("does not write over what is there", function()
    run "--new plugin mine"
    local result = run "--new plugin mine"
    assert.same({ 1, "", "nfengine: plugins/mine.lua: is there already, expected a new plugin's name\n" },
      { result.status, result.out, result.err })
  end)

  it("says when a spec fails", function()
    run "--new plugin mine"
    local path = folder .. "/plugins/mine.lua"
    program.write(program.read(path):gsub(">", ">=", 1), path)
    local result = run "--test mine"
    assert.equal(1, result.status)
    assert.matches("FAILED  spec spec/plugins/mine_spec.lua\n        Failure %-> spec/plugins/mine_spec.lua",
      result.out)
  end)

  it("wants the word plugin and a name", function()
    for _, words in ipairs { "", "mine", "plugin", "script mine", "plugin mine more" } do
      assert.equal("nfengine: --new: expected the words plugin NAME\n", run("--new " .. words).err)
    end
    for _, name in ipairs { "Mine", "../mine", "1st", "a-b" } do
      assert.equal(('nfengine: --new plugin "%s": expected small letters, digits and underscores\n'):format(name),
        run("--new plugin " .. name).err)
    end
  end)
end)
