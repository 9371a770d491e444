-- lua/nfengine/pretty.lua: how it looks.

local json = require "nfengine.json"
local pretty = require "nfengine.pretty"

describe("pretty.encode", function()
  local encode, object = pretty.encode, pretty.object

  it("keeps the order of an object's members, and leaves out those without a value", function()
    assert.equal('{"b": 1, "a": "x"}\n', encode(object { { "b", 1 }, { "c", nil }, { "a", "x" } }))
    assert.equal('{"a": 1, "b": true}\n', encode(pretty.map { b = true, a = 1 }))
  end)

  it("tells empty lists from empty objects", function()
    assert.equal('{"list": [], "object": {}}\n', encode(object { { "list", {} }, { "object", pretty.map {} } }))
  end)

  it("breaks what is too long for a line, but not what has no parts of parts in a list", function()
    local long = ("x"):rep(130)
    assert.equal(('{\n  "a": "%s",\n  "b": [1, 2]\n}\n'):format(long),
      encode(object { { "a", long }, { "b", { 1, 2 } } }))
    assert.equal(('[\n  {"a": "%s"},\n  {"a": 1}\n]\n'):format(long),
      encode { object { { "a", long } }, object { { "a", 1 } } })
  end)

  it("writes whole numbers to the last digit, and texts as they are", function()
    assert.equal('[9007199254740992, -3, 0.25]\n', encode { 2 ^ 53, -3, 0.25 })
    assert.equal([=[["a/b", "\\/", "\"", "\n", "é"]]=] .. "\n", encode { "a/b", "\\/", '"', "\n", "é" })
  end)

  it("writes texts that any reader takes for what they are", function()
    local bytes = {}
    for byte = 0, 127 do bytes[#bytes + 1] = string.char(byte) end
    for _, value in ipairs { table.concat(bytes), "a/b", '"\\"', "", "ä", 0.5, 1e300, true, false } do
      assert.equal(value, json.decode("[" .. pretty.encode(value) .. "]")[1])
    end
    assert.equal("null\n", pretty.encode(1 / 0))
  end)

  it("replaces what is no UTF-8", function()
    local function shown(expected) return (expected:gsub("?", "\239\191\189")) end -- U+FFFD for each
    assert.equal(shown '["a?b", "?", "é?", "€😀"]\n', encode { "a\255b", "\195", "é\169", "€😀" })
    -- An overlong slash, a surrogate, beyond Unicode.
    assert.equal(shown '["??", "???", "???", "????"]\n',
      encode { "\192\175", "\224\128\175", "\237\160\128", "\244\144\128\128" })
  end)
end)
