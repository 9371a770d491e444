-- Records as JSON lines: core/write_json.c.

local cjson = require "cjson"
local C = require "nfengine.lib"
local rows = require "spec.support.rows"

local bad = "\239\191\189" -- U+FFFD

local function value_of(record) return cjson.decode(record:json()).a end

describe("a JSON output", function()
  it("is one object a line, keys in the order of the columns", function()
    local record = rows.new():add("id", "uint64", 7):add("name", "text", "x", 8):add("b", "bool", true)
    assert.equal('{"id":7,"name":"x","b":true}\n{"id":7,"name":"x","b":true}\n', record:json(2))
    assert.equal("", record:json(0))
  end)

  it("keeps names with dots as one key", function()
    assert.equal('{"udps.x":1,"udps.y":2}\n', rows.new():add("udps.x", "int8", 1):add("udps.y", "int8", 2):json())
  end)

  it("escapes names", function()
    local name = 'a "b"\\\n\1' .. bad
    assert.equal(1, cjson.decode(rows.new():add(name, "int8", 1):json())[name])
    assert.equal('{"\\"\\u0001\\n":1}\n', rows.new():add('"\1\n', "int8", 1):json())
    assert.equal('{"' .. bad .. '":1}\n', rows.new():add("\255", "int8", 1):json())
  end)

  it("takes names of any length", function()
    for length = 1, 100 do
      local a, b = ("a"):rep(length), ("b"):rep(length)
      assert.equal('{"' .. a .. '":1,"' .. b .. '":2}\n', rows.new():add(a, "int8", 1):add(b, "int8", 2):json())
    end
    local hostile = ("\1"):rep(1000)
    assert.equal('{"' .. ("\\u0001"):rep(1000) .. '":1}\n', rows.new():add(hostile, "int8", 1):json())
  end)
end)

describe("JSON numbers", function()
  it("are exact to the limits of each type", function()
    local record = rows.new()
      :add("a", "int8", -128):add("b", "uint8", 255):add("c", "int16", -32768):add("d", "uint16", 65535)
      :add("e", "int32", -2147483648):add("f", "uint32", 4294967295)
      :add("g", "int64", -0x7fffffffffffffffLL - 1):add("h", "uint64", 0xffffffffffffffffULL)
      :add("i", "uint64", 1600000000123456789ULL)
    assert.equal('{"a":-128,"b":255,"c":-32768,"d":65535,"e":-2147483648,"f":4294967295,' ..
                 '"g":-9223372036854775808,"h":18446744073709551615,"i":1600000000123456789}\n', record:json())
  end)

  it("with fractions read back equal", function()
    assert.equal('{"a":60.0}\n', rows.new():add("a", "double", 60):json())
    assert.equal('{"a":1e-05}\n', rows.new():add("a", "double", 1e-5):json())
    assert.equal('{"a":0.1}\n', rows.new():add("a", "float", 0.1):json())
    for _, value in ipairs { 0.1, 1 / 3, 1e16, -1.5e300, 5e-324, 96.87362902255701 } do
      assert.equal(value, value_of(rows.new():add("a", "double", value)))
    end
  end)

  it("that JSON has no word for are null", function()
    for _, kind in ipairs { "float", "double" } do
      for _, value in ipairs { 0 / 0, math.huge, -math.huge } do
        assert.equal('{"a":null}\n', rows.new():add("a", kind, value):json())
      end
    end
  end)

  it("of type bool are true and false", function()
    assert.equal('{"a":true,"b":false}\n', rows.new():add("a", "bool", true):add("b", "bool", false):json())
  end)
end)

describe("JSON strings", function()
  it("end at their NUL or where the field ends", function()
    local record = rows.new():add("a", "text", "full", 4):add("b", "text", "ab\0cd", 8):add("c", "text", "", 0)
      :add("d", "text", "", 5)
    assert.equal('{"a":"full","b":"ab","c":"","d":""}\n', record:json())
  end)

  it("escape what RFC 8259 says", function()
    assert.equal([[{"a":"\"\\/\b\f\n\r\t\u0000\u001f]] .. "\127\"}\n",
                 (rows.new():add("a", "text", '"\\/\b\f\n\r\t' .. "\30\31\127"):json():gsub("u001e", "u0000")))
    assert.equal('{"a":"\\u0001\\u000b\\u001b"}\n', rows.new():add("a", "text", "\1\11\27"):json())
  end)

  it("come back equal with any ASCII character at any place", function()
    for byte = 1, 127 do
      for before = 0, 17 do
        local text = ("abcdefghijklmnopq"):sub(1, before) .. string.char(byte) .. ("rstuvwxyz"):sub(1, 20 - before)
        local value = value_of(rows.new():add("a", "text", text, #text + before % 3))
        if value ~= text then assert.equal(text, value) end
      end
    end
  end)

  it("are valid UTF-8, whatever bytes are in them", function()
    assert.equal("día €5 😀", value_of(rows.new():add("a", "text", "día €5 😀")))
    assert.equal("x" .. bad .. "y", value_of(rows.new():add("a", "text", "x\255y")))
    assert.equal("0123456" .. bad, value_of(rows.new():add("a", "text", "0123456\226\130", 9)))
    assert.equal(bad .. '"' .. bad, value_of(rows.new():add("a", "text", '\128"\195')))
  end)

  it("hold no line end, so that each row is one line", function()
    local record = rows.new():add("a", "text", "x\ny\r\n"):add("b", "text", "\n")
    assert.equal(3, select(2, record:json(3):gsub("\n", "")))
  end)

  it("fit in the row where every byte grows", function()
    local record = rows.new()
    for i = 1, 20 do record:add("c" .. i, "text", (i % 2 == 0 and "\1" or "\255"):rep(5000), 5000) end
    local last
    for line in record:json(20):gmatch "[^\n]+" do last = line end
    for i = 1, 20 do assert.equal((i % 2 == 0 and "\1" or bad):rep(5000), cjson.decode(last)["c" .. i]) end
  end)
end)

describe("JSON arrays", function()
  it("are arrays", function()
    local record = rows.new():add("a", "int8", { 0, 1, -1 }):add("b", "int64", {}):add("c", "uint32", { 4294967295 })
      :add("d", "double", { 1, 0.5, 0 / 0 }):add("e", "bool", { true, false })
    assert.equal('{"a":[0,1,-1],"b":[],"c":[4294967295],"d":[1.0,0.5,null],"e":[true,false]}\n', record:json())
  end)
end)

describe("JSON addresses and names", function()
  it("are strings as in CSV", function()
    local mac = "\0\27\33\15\1\255"
    local record = rows.new():add("a", "ip", "\10\0\0\1" .. ("\0"):rep(12)):add("b", "mac", mac):add("c", "oui", mac)
      :add("d", "end_reason", C.NF_END_INPUT)
    assert.equal('{"a":"10.0.0.1","b":"00:1b:21:0f:01:ff","c":"00:1b:21","d":"end of input"}\n', record:json())
  end)

  it("take the IP version from the record", function()
    local record = rows.new():add("a", "ip", ("\0"):rep(15) .. "\1")
    record.ip_version = 6
    assert.equal('{"a":"::1"}\n', record:json())
  end)
end)
