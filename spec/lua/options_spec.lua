-- Declaring, checking, parsing and explaining options: lua/nfengine/options.lua.

local options = require "nfengine.options"
local engine = require "spec.support.engine"

local declaration = {
  { name = "output", kind = "string", short = "o", doc = "where to" },
  { name = "idle_timeout", kind = "integer", default = 120, min = 0, max = 1000, doc = "seconds", value = "SECONDS" },
  { name = "weight", kind = "number", default = 0.5, doc = "a share" },
  { name = "looks", kind = "integer", default = 20, off = "no_looking", doc = "how often" },
  { name = "tunnels", kind = "boolean", default = true, doc = "look inside" },
  { name = "quiet", kind = "boolean", short = "q", is_flag = true, doc = "say nothing" },
  { name = "unit", kind = "choice", choices = { "ms", "us" }, default = "ms", doc = "of times" },
  { name = "names", kind = "list", doc = "which" },
}

local function parse(...) return options.parse({ ... }, declaration) end

-- What a command line that is not understood is answered with.
local function usage(...)
  local ok, raised = pcall(parse, ...)
  assert(not ok, "expected an error")
  return raised.usage
end

describe("the command line", function()
  it("gives values behind = and behind a blank, and only those that are there", function()
    assert.same({ idle_timeout = 5, unit = "us" }, (parse("--idle_timeout=5", "--unit", "us")))
  end)

  it("takes dashes for underscores", function()
    assert.same({ idle_timeout = 5 }, (parse "--idle-timeout=5"))
    assert.same({ idle_timeout = 5 }, (parse("--idle-timeout", "5")))
  end)

  it("takes an empty value and one with = in it", function()
    assert.same({ output = "" }, (parse "--output="))
    assert.same({ output = "a=b" }, (parse "--output=a=b"))
  end)

  it("takes short options with their value behind a blank or at once", function()
    assert.same({ output = "x.csv" }, (parse("-o", "x.csv")))
    assert.same({ output = "x.csv" }, (parse "-ox.csv"))
    assert.same({ quiet = true }, (parse "-q"))
  end)

  it("takes booleans bare, negated and spelled out", function()
    assert.same({ tunnels = true }, (parse "--tunnels"))
    assert.same({ tunnels = false }, (parse "--no-tunnels"))
    assert.same({ tunnels = false }, (parse "--no_tunnels"))
    assert.same({ tunnels = false }, (parse "--tunnels=false"))
    assert.same({ tunnels = true }, (parse "--tunnels=yes"))
  end)

  it("takes the flag that sets a number to 0, and no value for it", function()
    assert.same({ looks = 0 }, (parse "--no-looking"))
    assert.same({ looks = 3 }, (parse("--no_looking", "--looks=3")))
    assert.matches("^unknown option %-%-no%-looking", usage "--no-looking=0")
  end)

  it("does not take the next word for a boolean's value", function()
    local values, others = parse("--tunnels", "false")
    assert.same({ tunnels = true }, values)
    assert.same({ "false" }, others)
  end)

  it("lets the last of several count", function()
    assert.same({ idle_timeout = 7, tunnels = true },
      (parse("--idle-timeout=5", "--idle-timeout=7", "--no-tunnels", "--tunnels")))
  end)

  it("splits lists at commas", function()
    assert.same({ names = { "a", "b c" } }, (parse "--names=a, b c,"))
    assert.same({ names = {} }, (parse "--names="))
  end)

  it("gives other words in order, a lone dash among them", function()
    local values, others, rest = parse("a", "--quiet", "-", "b")
    assert.same({ quiet = true }, values)
    assert.same({ "a", "-", "b" }, others)
    assert.same({}, rest)
  end)

  it("keeps what is behind -- apart, whatever it looks like", function()
    local values, others, rest = parse("a", "--", "--unknown", "-q", "--", "b")
    assert.same({}, values)
    assert.same({ "a" }, others)
    assert.same({ "--unknown", "-q", "--", "b" }, rest)
  end)

  it("takes negative numbers", function()
    assert.same({ weight = -0.5 }, (parse("--weight", "-0.5")))
  end)

  it("refuses options it does not know, and names the nearest", function()
    assert.equal("unknown option --idle-timeot (did you mean '--idle-timeout'?)", usage "--idle-timeot=5")
    assert.equal("unknown option --colour", usage "--colour")
    assert.equal("unknown option -x", usage "-x")
    assert.equal("unknown option --no-unit (did you mean '--unit'?)", usage "--no-unit=5")
    assert.matches("^unknown option %-%-no%-quiet", usage "--no-quiet")
    assert.equal("unknown option -qo", usage "-qo")
    assert.equal("unknown option --=5", usage "--=5")
  end)

  it("refuses values and says what it accepts", function()
    assert.equal('--idle-timeout "x": expected an integer from 0 to 1000', usage "--idle-timeout=x")
    assert.equal('--idle-timeout "1.5": expected an integer from 0 to 1000', usage("--idle-timeout", "1.5"))
    assert.equal('--idle-timeout "1001": expected an integer from 0 to 1000', usage "--idle-timeout=1001")
    assert.equal('--idle-timeout "": expected an integer from 0 to 1000', usage "--idle-timeout=")
    assert.equal('--idle-timeout "nan": expected an integer from 0 to 1000', usage "--idle-timeout=nan")
    assert.equal('--weight "heavy": expected a number', usage "--weight=heavy")
    assert.equal('--tunnels "maybe": expected true or false', usage "--tunnels=maybe")
    assert.equal('--unit "h": expected "ms" or "us"', usage "--unit=h")
  end)

  it("refuses an option without the value it needs", function()
    assert.equal("--output: expected a value after it", usage "--output")
    assert.equal("-o: expected a value after it", usage "-o")
  end)
end)

describe("a value as a word", function()
  it("gives that value when it is parsed", function()
    local all = {
      output = "a b='\"=--x\n", idle_timeout = 1000, weight = 0.1 + 0.2, looks = 0, tunnels = false, quiet = true,
      unit = "us", names = { "a", "b c" },
    }
    local parsed, others, rest = options.parse(options.words(declaration, all), declaration)
    assert.same({ all, {}, {} }, { parsed, others, rest })
    assert.same({ names = {}, weight = -1e300 },
      (options.parse(options.words(declaration, { names = {}, weight = -1e300 }), declaration)))
  end)

  it("is the shortest that says so, in the order of the declaration", function()
    assert.same({ "--idle-timeout=5", "--no-tunnels", "--quiet" },
      options.words(declaration, { quiet = true, tunnels = false, idle_timeout = 5 }))
    assert.same("--tunnels", options.word({ name = "tunnels", kind = "boolean" }, true))
  end)

  it("is one for each item of a list that may be given again", function()
    local function whole(word) return { word } end
    local repeatable = { { name = "set", kind = "list", is_repeatable = true, parse = whole } }
    local values = { set = { "a.b=1,2", "c.d=" } }
    assert.same({ "--set=a.b=1,2", "--set=c.d=" }, options.words(repeatable, values))
    assert.same(values, (options.parse(options.words(repeatable, values), repeatable)))
  end)

  it("is what was given of the program's own options, a filter in words too", function()
    local own = require("nfengine.cli").declaration()
    local words = { "--interface=eth0", "--plugin=ja4", "--plugin=x.lua", "--set=a.b=c,d", "--flows-per-file=3",
      "--idle-timeout=7", "--no-dpi-cache", "--columns=id,*", "--filter=flow.protocol == 17" }
    assert.same(words, options.words(own, (options.parse(words, own))))
  end)
end)

describe("a short declaration", function()
  local declared = options.from_short({
    size = { 555, "packet size" }, name = { "x" }, loud = { false, "shout" }, mode = { "a", choices = { "a", "b" } },
    share = { 0.5, "of all", min = 0, max = 1 }, ports = { { "80", "443" }, "which" },
  }, "plugin counter")

  it("finds the kind in the default", function()
    local kinds = {}
    for _, option in ipairs(declared) do kinds[option.name] = option.kind end
    assert.same({ size = "number", name = "string", loud = "boolean", mode = "choice", share = "number",
      ports = "list" }, kinds)
  end)

  it("gives the defaults and what is given over them", function()
    local values = options.resolve(declared, { size = 666, loud = true }, "plugin counter")
    assert.same({ size = 666, name = "x", loud = true, mode = "a", share = 0.5, ports = { "80", "443" } }, values)
  end)

  it("gives everyone a default list of their own", function()
    local values = options.resolve(declared, {}, "plugin counter")
    values.ports[1] = "changed"
    assert.same({ "80", "443" }, options.resolve(declared, {}, "plugin counter").ports)
  end)

  it("refuses what does not fit, and says whose it is", function()
    local function refused(given) return engine.refusal(options.resolve, declared, given, "plugin counter") end
    assert.equal('plugin counter: unknown option "sise" (did you mean \'size\'?)', refused { sise = 5 })
    assert.equal('plugin counter: size = "x": expected a number', refused { size = "x" })
    assert.equal('plugin counter: loud = 1: expected true or false', refused { loud = 1 })
    assert.equal('plugin counter: mode = "c": expected "a" or "b"', refused { mode = "c" })
    assert.equal('plugin counter: share = 2: expected a number from 0 to 1', refused { share = 2 })
    assert.equal('plugin counter: ports = 80: expected a list of strings', refused { ports = 80 })
    assert.equal('plugin counter: size = nan: expected a number', (refused { size = 0 / 0 }:gsub("-nan", "nan")))
  end)

  it("says which bounds a number has", function()
    local function refused(bounds)
      bounds[1], bounds[2] = 5, "a number"
      return engine.refusal(options.resolve, options.from_short({ n = bounds }, "p"), { n = "x" }, "p")
    end
    assert.equal('p: n = "x": expected a number of at least 0.5', refused { min = 0.5 })
    assert.equal('p: n = "x": expected a number of at most 10', refused { max = 10 })
    assert.equal('p: n = "x": expected an integer from -1 to 9007199254740992',
      refused { min = -1, max = 2 ^ 53, integer = true })
  end)

  it("takes no infinity for an integer", function()
    local counted = options.from_short({ n = { 5, "a number", integer = true } }, "p")
    for _, value in ipairs { 1 / 0, -1 / 0 } do
      local refusal = engine.refusal(options.resolve, counted, { n = value }, "p")
      assert.matches("^p: n = %-?inf: expected an integer$", refusal)
    end
  end)

  it("is refused where it is none", function()
    local function refused(short) return engine.refusal(options.from_short, short, "plugin counter") end
    local expected = 'plugin counter: option "size": expected { default, "what it does" }'
    assert.equal(expected, refused { size = 5 })
    assert.equal(expected, refused { size = {} })
    assert.matches('^plugin counter: option 1: expected', refused { { 5, "x" } })
    assert.matches('^plugin counter: option size: default .*: expected a number, string, boolean or list$',
      refused { size = { print, "x" } })
    assert.equal('plugin counter: 5: expected { name = { default, "what it does" } }', refused(5))
  end)

  it("is refused where it contradicts itself, or has what nobody reads", function()
    local function refused(entry) return engine.refusal(options.from_short, { size = entry }, "p") end
    assert.equal("p: option size: default 0: expected a number of at least 1", refused { 0, "x", min = 1 })
    assert.equal("p: option size: default 1.5: expected an integer", refused { 1.5, "x", integer = true })
    assert.equal('p: option size: default "z": expected "a" or "b"', refused { "z", "x", choices = { "a", "b" } })
    assert.equal("p: option size: choices: expected a list of strings", refused { "z", "x", choices = {} })
    assert.equal("p: option size: is_file = 1: expected a boolean", refused { "z", "x", is_file = 1 })
    assert.equal("p: option size: choices: expected a list of strings", refused { 1, "x", choices = { 1, 2 } })
    assert.equal('p: option size: choices = "a": expected a table', refused { "a", "x", choices = "a" })
    assert.equal('p: option size: min = "1": expected a number', refused { 5, "x", min = "1" })
    assert.equal('p: option size: unknown field "mins" (did you mean \'min\'?)', refused { 5, "x", mins = 1 })
    assert.equal("p: option size: unknown field 3", refused { 5, "x", "y" })
    assert.equal("p: option size: 7: expected a text on what it does", refused { 5, 7 })
    assert.equal('p: option "a b": expected a name of letters, digits and underscores',
      engine.refusal(options.from_short, { ["a b"] = { 5, "x" } }, "p"))
  end)
end)

describe("help", function()
  local lines = {}
  for line in (options.help(declaration) .. "\n"):gmatch "(.-)\n" do lines[#lines + 1] = line end
  local text = table.concat(lines, "\n")

  it("shows each option with the name of its value, what it does and its default", function()
    assert.matches("\n *%-%-idle%-timeout=SECONDS +seconds %[120%]\n", text)
    assert.matches("^ *%-o, %-%-output=TEXT +where to\n", text)
    assert.matches("\n *%-%-weight=N +a share %[0.5%]\n", text)
    assert.matches("\n *%-q, %-%-quiet +say nothing\n", text)
  end)

  it("shows how to switch off what is on", function()
    assert.matches("%-%-tunnels +look inside %[on; %-%-no%-tunnels%]", text)
  end)

  it("shows what can be chosen from", function()
    assert.matches("%-%-unit=ms|us +of times %[ms%]", text)
  end)

  it("lines its texts up, within 100 columns", function()
    local wide = options.help {
      { name = "a", kind = "integer", doc = ("many words "):rep(30) },
      { name = "an_option_with_quite_a_long_name", kind = "string", value = "SOMETHING", doc = "short" },
    }
    local column = wide:find "many" - 1
    for line in (wide .. "\n"):gmatch "(.-)\n" do
      assert.is_true(#line <= 100, line)
      if not line:match "%-%-" then assert.equal(column, #line:match "^ *") end
    end
  end)
end)
