-- Text helpers of messages and help: lua/nfengine/text.lua.

local text = require "nfengine.text"

describe("a suggestion", function()
  local names = { "idle_timeout", "active_timeout", "max_flows", "max_nflows", "tcp" }

  it("is the nearest name", function()
    assert.equal(" (did you mean 'idle_timeout'?)", text.suggest("idle_timeot", names))
    assert.equal(" (did you mean 'active_timeout'?)", text.suggest("activ_timeout", names))
    assert.equal(" (did you mean 'max_nflows'?)", text.suggest("max_nflow", names))
    assert.equal(" (did you mean 'tcp'?)", text.suggest("tcb", names))
  end)

  it("is left out where nothing is near", function()
    assert.equal("", text.suggest("colour", names))
    assert.equal("", text.suggest("x", names))
    assert.equal("", text.suggest("anything", {}))
  end)

  it("takes no time for a word that is far too long", function()
    local many = {}
    for i = 1, 1000 do many[i] = names[1 + i % #names] .. i end
    local started = os.clock()
    assert.equal("", text.suggest(("x"):rep(1e6), many))
    assert.is_true(os.clock() - started < 1)
  end)

  it("copes with names that are no text", function()
    assert.equal("", text.suggest(1, names))
    assert.equal("", text.suggest(true, names))
  end)
end)

describe("one line", function()
  it("has no line ends and no commands to a terminal", function()
    assert.equal("a?b??c?", text.one_line "a\nb\r\27c\127")
    assert.equal("é ? À", text.one_line "é \194\155 À") -- U+009B, which begins a command as ESC [ does
  end)
end)

describe("a quoted value", function()
  it("stands in quotes where it is a text, and as it is elsewhere", function()
    assert.equal('"abc"', text.quote "abc")
    assert.equal("5", text.quote(5))
    assert.equal("true", text.quote(true))
    assert.equal("nil", text.quote(nil))
  end)

  it("is no address of memory", function()
    assert.equal("a table", text.quote {})
    assert.equal("a function", text.quote(print))
    assert.equal("plugin x", text.quote(setmetatable({}, { __tostring = function() return "plugin x" end })))
  end)
end)

describe("what fails", function()
  it("is one line that tells no place in the code", function()
    assert.has_error(function() text.fail("%s is %d, expected %s", "port", 7, "100%") end, "port is 7, expected 100%")
    assert.has_error(function() text.fail "nothing" end, "nothing")
  end)
end)

describe("a large number", function()
  it("is grouped by thousands", function()
    local expected = { [0] = "0", [12] = "12", [999] = "999", [1000] = "1,000", [123456] = "123,456",
      [1234567] = "1,234,567", [2 ^ 53] = "9,007,199,254,740,992" }
    for number, grouped in pairs(expected) do assert.equal(grouped, text.thousands(number)) end
  end)
end)

describe("the first of a list", function()
  it("are followed by how many more there are", function()
    local list = { "a", "b", "c" }
    assert.equal("a, b, c", text.first(list, 3, "column"))
    assert.equal("a, b and 1 column more", text.first(list, 2, "column"))
    assert.equal("a and 2 columns more", text.first(list, 1, "column"))
    assert.equal("", text.first({}, 1, "column"))
  end)
end)

describe("bytes as UTF-8", function()
  it("have U+FFFD for each longest piece that could have begun a character", function()
    for bytes, expected in pairs {
      ["plain"] = "plain", ["Größe, 日本, \240\159\152\128"] = "Größe, 日本, \240\159\152\128", [""] = "",
      ["\255\254x"] = "??x", ["a\128"] = "a?",
      ["\226\130"] = "?", ["\240\159\152x"] = "?x", -- cut short
      ["\192\175"] = "??", ["\224\159\191"] = "???", ["\240\143\191\191"] = "????", -- too long for what they say
      ["\237\160\128"] = "???", ["\244\144\128\128"] = "????", -- a surrogate, and beyond the last character
    } do
      assert.equal((expected:gsub("%?", "\239\191\189")), text.utf8(bytes))
    end
  end)
end)

describe("wrapped text", function()
  it("has lines of the width at most, each but the first behind the indent", function()
    assert.equal("one two\n  three\n  four", text.wrap("one two three four", "  ", 9))
  end)

  it("leaves a word that is too long alone", function()
    assert.equal("a\nextraordinary\nb", text.wrap("a extraordinary b", "", 5))
  end)
end)
