-- Where scripts and plugins are found and how what they say of themselves is read: lua/nfengine/collection.lua,
-- commands.lua, profile.lua, additions.lua, through the program.

local lfs = require "lfs"
local program = require "spec.support.program"

local here = lfs.currentdir()
local nfengine = program.path:match "^/" and program.path or here .. "/" .. program.path

-- A folder of its own with these files, removed after each test; the program runs in it.
local folder

local function folder_with(files)
  folder = program.temporary()
  for path, text in pairs(files) do
    assert(os.execute(("mkdir -p '%s/%s'"):format(folder, path:match "^(.*)/" or ".")) == 0)
    program.write(text, folder .. "/" .. path)
  end
end

local function run(words, environment)
  return program.shell(("cd '%s' && HOME='%s/home' %s '%s' %s"):format(folder, folder, environment or "", nfengine,
    words))
end

-- An error: this status, nothing on stdout, one line on stderr, which is given.
local function failing(status, words)
  local result = run(words)
  assert.same({ status, "" }, { result.status, result.out }, result.err)
  return (assert(result.err:match "^nfengine: ([^\n]*)\n$", result.err))
end

local DNS = here .. "/samples/dns.pcap"

local function counter(name, more)
  return ([[
--- Counts.
local nf = require "nfengine"
return nf.plugin {
  name = "%s", version = "1.2.3", api = 1, description = "Counts for %s", author = "A", license = "MIT",
  categories = { "feature", "safe" },
  options = { step = { 1, "how much a packet counts", integer = true }, loud = { false, "says so" } },
  columns = { { "%s_n", "uint32", "packets times step" }, { "%s_text", "string:10", "a text" } },
  state = { { "%s_scratch", "double[3]" } },
  on_init = function(self, _, flow) flow.udps.%s_n = self.step end,
  on_update = function(self, _, flow) flow.udps.%s_n = flow.udps.%s_n + self.step end,
  %s
}
]]):format(name, name, name, name, name, name, name, name, more or "")
end

after_each(function()
  if folder then os.execute("rm -rf '" .. folder .. "'") end
  program.remove_temporaries()
end)

describe("what came along", function()
  it("is found from any folder, also without the program", function()
    folder_with { ["plugins/rates.lua"] = 'error "not this one"' }
    local result = program.shell(([[cd '%s' && luajit -e 'package.path = "%s/lua/?.lua;" .. package.path
      print(require("nfengine.collection").root)']]):format(folder, here))
    assert.same({ 0, here .. "\n" }, { result.status, result.out }, result.err)
  end)
end)

describe("a bare name", function()
  it("is looked for here, then in $NFENGINE_PATH, the user's folder, and what came along", function()
    folder_with {
      ["plugins/one.lua"] = counter "one", ["a/plugins/one.lua"] = counter "one", ["a/plugins/two.lua"] = counter "two",
      ["b/plugins/two.lua"] = counter "two", ["b/plugins/three.lua"] = counter "three",
      ["home/.local/share/nfengine/plugins/three.lua"] = counter "three",
      ["home/.local/share/nfengine/plugins/four.lua"] = counter "four",
      ["home/.local/share/nfengine/plugins/flow_slicer.lua"] = counter "flow_slicer",
      ["data/nfengine/plugins/four.lua"] = counter "four",
    }
    local path = "NFENGINE_PATH=a:b"
    assert.equal("./plugins/one.lua\n", run("--which one", path).out)
    assert.equal("a/plugins/two.lua\n", run("--which two", path).out)
    assert.equal("b/plugins/three.lua\n", run("--which three", path).out)
    assert.matches("/home/.local/share/nfengine/plugins/four.lua\n$", run("--which four", path).out)
    assert.matches("/data/nfengine/plugins/four.lua\n$", run("--which four", "XDG_DATA_HOME=$PWD/data").out)
    assert.matches("/home/.local/share/nfengine/plugins/flow_slicer.lua\n$", run("--which flow_slicer").out)
    assert.matches("/scripts/summary.lua\n$", run("--which summary").out)
  end)

  it("that is none is refused with the nearest", function()
    folder_with { ["plugins/counter.lua"] = counter "counter" }
    assert.equal([[--which "countr": no such script or plugin (did you mean 'counter'?)]], failing(2, "--which countr"))
    assert.equal([[--which "sumary": no such script or plugin (did you mean 'summary'?)]], failing(2, "--which sumary"))
    assert.equal("--which: expected one name, got 0", failing(2, "--which"))
    for _, option in ipairs { "plugin", "profile" } do
      local message = failing(2, ("flows --%s countr %s"):format(option, DNS))
      assert.equal(('--%s "countr": no such %s, expected a name on the search path or a file that ends in .lua'
        .. " (did you mean 'counter'?)"):format(option, option), message)
    end
  end)
end)

describe("--list", function()
  it("tells scripts, profiles and plugins with their categories and first lines", function()
    folder_with { ["plugins/one.lua"] = counter "one", ["scripts/mine.lua"] = "--- Is it mine? Yes.\n--\n"
      .. "-- @categories report live\n-- @usage nfengine mine\nprint 'not run'\n" }
    local out = run("--list").out
    assert.matches("\none +feature safe +Counts for one\n", out)
    assert.matches("\nmine +report live +Is it mine%?\n", out)
    assert.matches("\nflow_slicer ", out)
    assert.is_nil(out:match "not run")
    assert.equal("PLUGIN  CATEGORIES    WHAT IT DOES\none     feature safe  Counts for one\n",
      run("--list 'one and safe'").out)
    assert.matches("^SCRIPT[^\n]*\nmine", run("--list mine").out)
  end)

  it("refuses what is no expression, and says when nothing matches", function()
    folder_with {}
    assert(os.execute("mkdir -p " .. folder) == 0)
    assert.equal('--list "tcp and": expected names and categories joined by and, or, not and ( ), as in '
      .. '"tcp and not slow"', failing(2, "--list 'tcp and'"))
    assert.equal('--list "nothing_like_it": nothing matches', failing(2, "--list nothing_like_it"))
  end)

  it("lists a plugin that cannot be read, with the reason", function()
    folder_with { ["plugins/bad.lua"] = "return {", ["plugins/worse.lua"] = "return 5" }
    local out = run("--list 'bad worse'").out
    assert.matches("bad +cannot be read: ./plugins/bad.lua:1: ", out)
    assert.matches("worse +cannot be read: ./plugins/worse.lua: returns 5: expected a plugin made by nf.plugin or a "
      .. "profile made by nf.profile\n", (out:gsub("\n +", " ")))
  end)

  it("does not wait for a file that does not come to an end", function()
    folder_with { ["plugins/endless.lua"] = "while true do end", ["plugins/stubborn.lua"] = [[
      while true do pcall(function() while true do end end) end ]], ["mine.lua"] = [[
      --- A script. It is.
      for flow in require("nfengine").streamer({}):flows() do print(flow) end ]] }
    local listed = run("--list endless").out:gsub("\n +", " ")
    assert.matches("endless +cannot be read: [^\n]*does not come to an end", listed)
    assert.matches("stubborn.lua: does not come to an end", run("--check stubborn").out)
    assert.matches("mine.lua: no @categories in its comment\n", run("--check mine.lua").out)
  end)

  it("reads files without letting them do anything", function()
    folder_with {
      ["lua/shared.lua"] = "return { names = { 'p', 'q' } }",
      ["plugins/sly.lua"] = [[
        local ffi = require "ffi"
        ffi.C.exit(3)
        os.remove "kept"
        io.open("made", "w"):write "x"
        local other = require("cjson").decode "{}" .. "x"
        print(other + 1)
        local columns = {}
        for i, name in ipairs(require("shared").names) do columns[i] = { "sly_" .. name, "uint8", "one" } end
        return require("nfengine").plugin { name = "sly", description = "Sly", columns = columns }
      ]],
      kept = "x",
    }
    local result = run "--list sly"
    assert.same({ 0, "" }, { result.status, result.err })
    assert.matches("\nsly +Sly\n", result.out)
    assert.matches("^sly_p", run("--columns=sly").out:gsub("udps.", ""), nil)
    assert.equal("x", program.read(folder .. "/kept"))
    assert.is_nil(program.read(folder .. "/made"))
  end)
end)

describe("--help of a plugin", function()
  it("shows its comment, options, columns and who made it", function()
    folder_with { ["plugins/one.lua"] = counter "one" }
    assert.equal([[
Counts.

Options, as -a one.OPTION=VALUE:
  one.loud=true|false  says so [false]
  one.step=N           how much a packet counts [1]

Columns:
  udps.one_n     uint32     packets times step
  udps.one_text  string:10  a text

file ./plugins/one.lua
version 1.2.3
author A
license MIT
categories feature safe
]], run("--help one").out)
    assert.equal(run("--help one").out, run("one --help").out)
  end)

  it("gives way to a script of that name", function()
    folder_with { ["plugins/one.lua"] = counter "one", ["scripts/one.lua"] = "--- A script. It is.\n" }
    assert.matches("^A script.", run("--help one").out)
    assert.equal("./scripts/one.lua\n./plugins/one.lua\n", run("--which one").out)
  end)
end)

describe("--columns without a capture", function()
  it("describes all columns, single ones, or those of plugins", function()
    folder_with { ["plugins/one.lua"] = counter "one" }
    assert.matches("\nbidirectional_packets +uint64 +", run("--columns").out)
    assert.equal("dst_port     uint16     destination port; 0 for protocols other than TCP and UDP\n"
      .. "udps.one_n   uint32     packets times step\nudps.one_text  string:10  a text\n",
      (run("--columns=dst_port,one").out:gsub("(udps.one_n) +", "%1   "):gsub("(dst_port) +", "%1     ")))
    assert.matches("^%-%-columns=onee: no such column or plugin %(did you mean 'one'%?%)", failing(2, "--columns onee"))
  end)

  it("still chooses columns with one", function()
    folder_with { ["plugins/one.lua"] = counter "one" }
    assert.matches("^id\n0\n", run("-q flows --columns id " .. DNS).out)
  end)
end)

describe("--plugin", function()
  it("adds plugins to any script, by name or file", function()
    folder_with { ["plugins/one.lua"] = counter "one", ["else/two.lua"] = counter "two" }
    local result = run("-q flows --plugin one --plugin else/two.lua --columns=udps.one_n,udps.two_n " .. DNS)
    assert.same({ 0, "" }, { result.status, result.err })
    assert.matches("^udps.one_n,udps.two_n\n%d+,%d+\n", result.out)
    assert.equal(result.out, run("-q flows --plugin one,else/two.lua --n-meters=3 --columns=udps.one_n,udps.two_n "
      .. DNS).out)
  end)

  it("adds none that the script has", function()
    folder_with { ["plugins/one.lua"] = counter "one", ["mine.lua"] = [[
      local One = require "plugins.one"
      require("nfengine").streamer({ udps = One { step = 5 }, columns = { "udps.one_n" } }):write() ]] }
    local alone = run("-q mine.lua " .. DNS)
    assert.same({ 0, "" }, { alone.status, alone.err })
    assert.equal(alone.out, run("-q mine.lua --plugin one " .. DNS).out)
  end)

  it("refuses what is no plugin", function()
    folder_with { ["plugins/bad.lua"] = "return {", ["plugins/worse.lua"] = "return 5" }
    assert.matches("^plugin bad: .*unexpected symbol", failing(1, "flows --plugin bad " .. DNS))
    assert.equal('--plugin "worse": expected a plugin, a profile is given as --profile',
      failing(2, "flows --plugin worse " .. DNS))
    assert.matches('^%-%-plugin "x/nothing.lua": no such plugin', failing(2, "flows --plugin x/nothing.lua " .. DNS))
  end)
end)

describe("-a", function()
  local function first(words)
    local result = run("-q flows --columns=udps.one_n " .. words .. " " .. DNS)
    assert.same({ 0, "" }, { result.status, result.err })
    return tonumber(result.out:match "\n(%d+)\n")
  end

  it("sets options of plugins added, and of the script's own", function()
    folder_with { ["plugins/one.lua"] = counter "one", ["mine.lua"] = [[
      local One = require "plugins.one"
      require("nfengine").streamer({ udps = One { step = 5 }, columns = { "udps.one_n" } }):write() ]] }
    local n = first "--plugin one"
    assert.equal(3 * n, first "--plugin one -a one.step=3")
    assert.equal(2 * n, first "--plugin one -a one.step=3 -a one.step=2 --set=one.loud=true")
    local function mine(words) return tonumber(run("-q mine.lua " .. words .. " " .. DNS).out:match "\n(%d+)\n") end
    assert.same({ 5 * n, 7 * n }, { mine "", mine "-a one.step=7" })
    assert.equal(7 * n, mine "-a one.step=7 --n-meters=2")
  end)

  it("refuses other forms, options and values, with what was expected", function()
    folder_with { ["plugins/one.lua"] = counter "one" }
    local function refused(word) return failing(2, "flows --plugin one -a '" .. word .. "' " .. DNS) end
    assert.equal('-a "one.step": expected PLUGIN.OPTION=VALUE', refused "one.step")
    assert.equal("-a one.stp=1: plugin one has no option \"stp\" (did you mean 'step'?), expected loud, step",
      refused "one.stp=1")
    assert.equal('-a one.step=1.5: "1.5": expected an integer', refused "one.step=1.5")
    assert.equal('-a one.loud=maybe: "maybe": expected true or false', refused "one.loud=maybe")
    assert.equal("-a on.step=1: no plugin \"on\" in this run (did you mean 'one'?)", refused "on.step=1")
  end)

  it("says so in scripts that look at a parameter before they run", function()
    folder_with { ["plugins/one.lua"] = counter "one" }
    for _, script in ipairs { "summary", "report", "top", "anomalies", "early" } do
      assert.equal('-a x.y=1: no plugin "x" in this run', failing(2, script .. " -a x.y=1 " .. DNS))
      assert.equal('-a one.step=1.5: "1.5": expected an integer',
        failing(2, script .. " --plugin one -a one.step=1.5 " .. DNS))
    end
  end)
end)

describe("--profile-plugins", function()
  it("says what each plugin took, for a packet and for a flow", function()
    folder_with { ["plugins/one.lua"] = counter "one", ["plugins/two.lua"] = counter("two", [[
      on_expire = function(_, _) local sum = 0 for i = 1, 1e6 do sum = sum + i end return sum end, ]]) }
    local result = run("flows --format=null --profile-plugins --plugin one,two " .. DNS)
    assert.equal(0, result.status)
    local number = "(%d+%.%d)"
    local one, flow_one = result.err:match("\nPLUGIN   NS/PACKET     NS/FLOW    OF RUN\none +" .. number .. " +"
      .. number .. " +" .. number .. "%%\n")
    local two, flow_two, share = result.err:match("\ntwo +" .. number .. " +" .. number .. " +" .. number .. "%%\n$")
    assert.equal("0.0", flow_one)
    assert.is_true(tonumber(flow_two) > 100000 and tonumber(share) > 10, result.err)
    assert.is_true(tonumber(one) < 100000 and tonumber(two) < 100000)
  end)

  it("wants one meter, and a plugin", function()
    folder_with { ["plugins/one.lua"] = counter "one" }
    assert.equal("--profile-plugins: n_meters = 2: expected 1, hooks of several share their time",
      failing(2, "flows --profile-plugins --plugin one --n-meters=2 " .. DNS))
    assert.matches("nfengine: %-%-profile%-plugins: no plugin in this run\n",
      run("flows --format=null --profile-plugins " .. DNS).err)
  end)
end)

describe("a profile", function()
  local WEB = [[
--- Web traffic.
local nf = require "nfengine"
return nf.profile {
  name = "web", version = "1.0.0", api = 1, description = "Web", author = "A", license = "MIT",
  categories = { "profile" },
  plugins = { "one", { "two", step = 4 } },
  parameters = { n_dissections = 0, accounting_mode = 3, columns = { "udps.one_n", "udps.two_n", "src2dst_bytes" } },
}
]]

  local function files(more)
    local all = { ["plugins/one.lua"] = counter "one", ["plugins/two.lua"] = counter "two", ["plugins/web.lua"] = WEB }
    for path, text in pairs(more or {}) do all[path] = text end
    return all
  end

  it("gives a run its plugins and parameters, which the command line's win over", function()
    folder_with(files())
    local out = run("-q flows --profile web " .. DNS).out
    local one, two, bytes = out:match "^udps.one_n,udps.two_n,src2dst_bytes\n(%d+),(%d+),(%d+)\n"
    assert.equal(4 * one, tonumber(two))
    assert.equal(2 * one, tonumber((run("-q flows --profile web -a two.step=2 " .. DNS).out:match "\n%d+,(%d+),")))
    local raw = run("-q flows --profile web --accounting-mode=0 " .. DNS).out:match "\n%d+,%d+,(%d+)\n"
    assert.is_true(tonumber(raw) > tonumber(bytes))
  end)

  it("serves scripts too", function()
    folder_with(files { ["mine.lua"] = [[
      local nf, Web = require "nfengine", require "plugins.web"
      nf.streamer(Web { accounting_mode = 0 }):write() ]] })
    assert.equal(run("-q flows --profile web --accounting-mode=0 " .. DNS).out, run("-q mine.lua " .. DNS).out)
  end)

  it("is listed and explained", function()
    folder_with(files())
    assert.matches("^PROFILE[^\n]*\nweb +profile +Web\n$", run("--list 'profile and web'").out)
    assert.matches("Plugins:\n  one\n  two: step = 4\n\nParameters:\n  accounting_mode = 3\n", run("--help web").out)
  end)

  it("and a plugin are not taken for each other", function()
    folder_with(files())
    assert.equal('--profile "one": a plugin, expected a profile', failing(2, "flows --profile one " .. DNS))
    assert.matches('^%-%-plugin "web": expected a plugin', failing(2, "flows --plugin web " .. DNS))
    assert.matches("^%-%-columns=web: a profile", failing(2, "--columns=web"))
  end)

  it("says what is wrong with it", function()
    folder_with(files {
      ["plugins/a.lua"] = 'return require("nfengine").profile { name = "a", plugin = {} }',
      ["plugins/b.lua"] = 'return require("nfengine").profile { name = "b", plugins = { 5 } }',
      ["plugins/c.lua"] = 'return require("nfengine").profile { name = "c", parameters = { idle_timeot = 1 } }',
    })
    assert.matches("profile a: unknown field \"plugin\" %(did you mean 'plugins'%?%)$",
      failing(1, "flows --profile a " .. DNS))
    assert.equal("profile b: plugins[1]: expected a plugin's name, or { name, option = value }",
      failing(1, "flows --profile b " .. DNS))
    assert.matches("unknown parameter \"idle_timeot\" %(did you mean 'idle_timeout'%?%)",
      failing(1, "flows --profile c " .. DNS))
  end)
end)
