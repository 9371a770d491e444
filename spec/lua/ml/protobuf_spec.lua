-- nfengine.ml.protobuf: the wire format, as protobuf.dev/programming-guides/encoding describes it.

local ffi = require "ffi"
local protobuf = require "nfengine.ml.protobuf"
local random = require "spec.support.random"

local POINT = {
  [1] = { "x", "integer" }, [2] = { "name", "bytes" }, [3] = { "single", "float" }, [4] = { "exact", "double" },
  [5] = { "numbers", "integer", is_repeated = true }, [6] = { "reals", "float", is_repeated = true },
  [7] = { "words", "bytes", is_repeated = true },
}
local NESTED = { [1] = { "point", POINT }, [2] = { "points", POINT, is_repeated = true } }

local function decoded(bytes, description) return protobuf.decode(bytes, description or POINT) end

local function number(ctype, value)
  return ffi.string(ffi.new(ctype .. "[1]", value), ffi.sizeof(ctype))
end

describe("nfengine.ml.protobuf", function()
  it("reads integers of one to ten bytes", function()
    assert.equal(150, decoded("\8\150\1").x)
    assert.equal(0, decoded("\8\0").x)
    assert.equal(0, decoded("\8\128\128\0").x)
    assert.equal(2^53, decoded("\8\128\128\128\128\128\128\128\16").x)
    assert.equal(-1, decoded("\8" .. ("\255"):rep(9) .. "\1").x)
    assert.equal(-128, decoded("\8\128" .. ("\255"):rep(8) .. "\1").x)
    assert.equal(-2^63, decoded("\8" .. ("\128"):rep(9) .. "\1").x)
    assert.equal(2^62, decoded("\8" .. ("\128"):rep(8) .. "\64").x)
  end)

  it("reads reals and bytes", function()
    local point = decoded("\29" .. number("float", 0.1) .. "\33" .. number("double", 0.1) .. "\18\3a\0b")
    assert.equal(tonumber(ffi.new("float", 0.1)), point.single)
    assert.equal(0.1, point.exact)
    assert.equal("a\0b", point.name)
  end)

  it("gives every NaN as the one that LuaJIT knows, which keeps types in the others", function()
    for _, bits in ipairs { "\1\0\128\127", "\255\255\255\255", "\247\255\254\255" } do
      local real = decoded("\29" .. bits).single
      assert.same({ "number", "nan" }, { type(real), tostring(real) })
      real = decoded("\33\1\2\3\4" .. bits:sub(1, 2) .. "\247\255").exact
      assert.same({ "number", "nan" }, { type(real), tostring(real) })
    end
    assert.same({ 1 / 0, -1 / 0 }, decoded("\50\8\0\0\128\127\0\0\128\255").reals)
    assert.equal(-1 / 0, decoded("\33\0\0\0\0\0\0\240\255").exact)
  end)

  it("reads repeated fields, one by one and packed", function()
    local floats = number("float", 1.5) .. number("float", -2)
    local point = decoded("\40\1\40\2\42\3\3\150\1\53" .. number("float", 0.5) .. "\50\8" .. floats .. "\58\1a\58\0")
    assert.same({ 1, 2, 3, 150 }, point.numbers)
    assert.same({ 0.5, 1.5, -2 }, point.reals)
    assert.same({ "a", "" }, point.words)
    assert.same({}, decoded("").numbers)
  end)

  it("reads messages within messages, the last of a field that is not repeated", function()
    local nested = decoded("\10\2\8\1\18\2\8\2\18\0\10\2\8\5", NESTED)
    assert.equal(5, nested.point.x)
    assert.same({ 2, false }, { nested.points[1].x, nested.points[2].x or false })
  end)

  it("reads messages later, where one asks it to", function()
    local bytes = "\10\2\8\1\18\2\8\2\18\0\18\1\8"
    local outer = protobuf.decode(bytes,
      { [1] = { "point", "later" }, [2] = { "points", "later", is_repeated = true } })
    local function later(at) return protobuf.decode_at(bytes, at, POINT) end
    assert.same({ 1, 2 }, { later(outer.point).x, later(outer.points[1]).x })
    assert.same({}, later(outer.points[2]).numbers)
    assert.has_error(function() later(outer.points[3]) end, "Protocol Buffers at byte 14: ends within a value")
  end)

  it("passes over fields that it has no description of", function()
    assert.equal(7, decoded("\160\6\1\161\6" .. ("x"):rep(8) .. "\162\6\3abc\165\6abcd\8\7").x)
  end)

  for bytes, message in pairs {
    ["\8"] = "at byte 2: ends within a value",
    ["\8\150"] = "at byte 3: ends within a value",
    ["\8" .. ("\128"):rep(10) .. "\1"] = "at byte 12: an integer of more than ten bytes",
    ["\18\5abc"] = "at byte 3: a length beyond the end",
    ["\18" .. ("\255"):rep(9) .. "\1abc"] = "at byte 12: a length beyond the end",
    ["\50\3abc"] = "at byte 3: ends within a value",
    ["\29abc"] = "at byte 2: ends within a value",
    ["\11\12"] = "at byte 2: field x of wire type 3",
    ["\163\6"] = "at byte 3: wire type 3, expected 0, 1, 2 or 5",
    ["\0\1"] = "at byte 2: field number 0",
    ["\10\1\1"] = "at byte 2: field x of wire type 2",
  } do
    it("refuses what is malformed: " .. message, function()
      assert.has_error(function() decoded(bytes) end, "Protocol Buffers " .. message)
    end)
  end

  it("keeps within a message's end", function()
    assert.has_error(function() decoded("\10\1\8\1", NESTED) end, "Protocol Buffers at byte 4: ends within a value")
  end)

  it("reads any bytes, or refuses them in one line", function()
    random.trial(function(below)
      for _ = 1, 20000 do
        local bytes = {}
        for i = 1, below(40) do bytes[i] = string.char(below(256)) end
        local ok, problem = pcall(decoded, table.concat(bytes), NESTED)
        assert.is_true(ok or problem:find "^Protocol Buffers at byte %d+: [^\n]+$" ~= nil, problem)
      end
    end)
  end)
end)
