-- Arrays in a flow: lua/nfengine/array.lua.

local array = require "nfengine.array"
local engine = require "spec.support.engine"
local random = require "spec.support.random"

describe("an array", function()
  local bytes
  before_each(function() bytes = array.type("uint8_t", 3)() end)

  it("has a length and is counted from 1", function()
    bytes[1], bytes[3] = 7, 9
    assert.equal(3, #bytes)
    assert.same({ 7, 0, 9 }, { bytes[1], bytes[2], bytes[3] })
  end)

  it("holds plain numbers, of 64 bits too", function()
    local wide = array.type("int64_t", 2)()
    wide[1] = -5
    wide[2] = 2 ^ 53
    assert.equal("number", type(wide[1]))
    assert.same({ -5, 2 ^ 53 }, wide:table())
  end)

  it("is printed as NFStream prints lists", function()
    bytes[1], bytes[2] = 0, 255
    assert.equal("[0, 255, 0]", tostring(bytes))
    assert.equal("[-1]", tostring(array.type("int8_t", 1)({ { -1 } })))
  end)

  it("gives a Lua table that is a copy", function()
    local copy = bytes:table()
    bytes[1] = 5
    assert.same({ 0, 0, 0 }, copy)
  end)

  it("is sorted in place, as a whole or its beginning", function()
    for ctype, values in pairs {
      uint8_t = { 200, 3, 7 }, int8_t = { 5, -3, 7 }, uint16_t = { 65535, 0, 7 }, int16_t = { 5, -30000, 7 },
      uint32_t = { 2 ^ 32 - 1, 0, 7 }, int32_t = { 5, -2 ^ 31, 7 }, uint64_t = { 2 ^ 63, 0, 7 },
      int64_t = { 5, -2 ^ 63, 7 }, float = { 5, -0.5, 7 }, double = { math.huge, -0.1, 7 },
    } do
      local list = array.type(ctype, 3)({ values })
      list:sort(2)
      assert.same({ values[2], values[1], values[3] }, list:table())
      list:sort(0)
      list:sort()
      table.sort(values)
      assert.same(values, list:table())
    end
  end)

  it("is sorted whatever its length", function()
    random.trial(function(below)
      for _, length in ipairs { 1, 2, 3, 4, 5, 9, 10, 11, 31, 64, 1000, 65535 } do
        local list, values = array.type("double", length)(), {}
        for i = 1, length do values[i] = below(length) - 5 end
        for i = 1, length do list[i] = values[i] end
        list:sort()
        table.sort(values)
        for i = 1, length do assert.equal(values[i], list[i]) end
      end
    end)
  end)

  it("is not sorted beyond its end", function()
    for _, count in ipairs { -1, 4, 0 / 0 } do
      assert.matches("array:sort: .* elements: expected 0 to 3", engine.refusal(bytes.sort, bytes, count))
    end
  end)

  for _, index in ipairs { 0, 4, -1, 1.5, 2 ^ 31, 2 ^ 53, -2 ^ 53, math.huge, 0 / 0 } do
    it("has nothing at " .. tostring(index), function()
      local expected = "expected 1 to 3"
      assert.matches(expected, engine.refusal(function() return bytes[index] end), 1, true)
      assert.matches(expected, engine.refusal(function() bytes[index] = 1 end), 1, true)
      assert.same({ 0, 0, 0 }, bytes:table())
    end)
  end

  it("says which line asked for what is not there", function()
    local line = debug.getinfo(1, "l").currentline + 1
    local message = engine.refusal(function() return bytes[4] end)
    assert.matches("array_spec.lua:" .. line .. ": array index 4: expected 1 to 3", message, 1, true)
    assert.matches("array_spec.lua:%d+: an array has no 'size'", engine.refusal(function() return bytes.size end))
    assert.matches("array_spec.lua:%d+: array index", engine.refusal(function() bytes.size = 1 end))
    assert.matches("array_spec.lua:%d+: ", engine.refusal(function() bytes[1] = "many" end))
    assert.matches("array_spec.lua:%d+: ", engine.refusal(function() bytes[1] = nil end))
  end)

  it("is known from anything else", function()
    assert.is_true(array.is_array(bytes))
    for _, other in ipairs { 5, "x", {}, 5LL, array } do assert.is_false(array.is_array(other)) end
  end)

  it("is one type for one kind and length", function()
    assert.equal(array.type("uint8_t", 3), array.type("uint8_t", 3))
    assert.not_equal(array.type("uint8_t", 3), array.type("uint8_t", 4))
  end)
end)
