-- nfengine.ml.ubjson: values of every kind, and what is none.

local ubjson = require "nfengine.ml.ubjson"

local function same(expected, bytes) assert.same({ expected, nil }, { ubjson.decode(bytes) }) end

describe("UBJSON", function()
  it("has numbers of every size", function()
    same(-1, "i\255")
    same(255, "U\255")
    same(-2, "I\255\254")
    same(258, "I\1\2")
    same(-3, "l\255\255\255\253")
    same(16909060, "l\1\2\3\4")
    same(-4, "L\255\255\255\255\255\255\255\252")
    same(2^32 + 2^31, "L\0\0\0\1\128\0\0\0")
    same(0.5, "d\63\0\0\0")
    same(-1 / 0, "d\255\128\0\0")
    same(1 / 3, "D\63\213\85\85\85\85\85\85")
  end)

  it("has one NaN, whatever its bits are in the file", function()
    for _, bytes in ipairs {
      "d\255\255\255\255", "d\127\192\0\1", "d\255\128\0\1", "D\255\255\255\255\255\255\255\255",
      "D\255\251\0\0\0\0\0\1", "D\255\240\0\0\0\0\0\1", "D\127\248\0\0\0\0\0\0",
    } do
      local number = ubjson.decode(bytes)
      assert.equal("number", type(number))
      assert.is_true(number ~= number)
      local kept = ubjson.decode("[" .. bytes .. "]")[1]
      assert.equal(("%.14g"):format(0 / 0), ("%.14g"):format(kept))
    end
    same(1 / 0, "D\127\240\0\0\0\0\0\0")
    same(1 / 0, "d\127\128\0\0")
  end)

  it("has texts, truth values and null", function()
    same("abc", "SU\3abc")
    same("", "SL\0\0\0\0\0\0\0\0")
    same("1e9", "Hi\0031e9")
    same("x", "Cx")
    same(true, "T")
    same(false, "F")
    same(nil, "Z")
    same(5, "NNU\5")
  end)

  it("has arrays and objects, with and without a length", function()
    same({ 1, "a", { true } }, "[U\1SU\1a[T]]")
    same({ 1, 2 }, "[#U\2U\1U\2")
    same({ 1, false, 2 }, "[U\1ZU\2]")
    same({ a = 1, b = { c = 2 } }, "{U\1aU\1U\1b{U\1cU\2}}")
    same({ a = 1 }, "{#U\1U\1aU\1")
    same({}, "[]")
    same({}, "{}")
  end)

  it("has arrays of one type", function()
    same({ 1, 2, 255 }, "[$U#U\3\1\2\255")
    same({ 0.5, -2 }, "[$d#L\0\0\0\0\0\0\0\2\63\0\0\0\192\0\0\0")
    same({ -1, 16909060 }, "[$l#U\2\255\255\255\255\1\2\3\4")
    same({ "a", "bc" }, "[$S#U\2U\1aU\2bc")
    same({ { 1 }, {} }, "[$[#U\2U\1]]")
    same({ a = 7 }, "{$U#U\1U\1a\7")
    same({}, "[$l#U\0")
  end)

  it("takes any number of nothings without a stack", function() same(3, ("N"):rep(1e6) .. "U\3") end)

  for bytes, problem in pairs {
    [""] = "UBJSON at byte 0: ends within a value", ["l\0\0"] = "UBJSON at byte 1: ends within a value",
    ["SU\4abc"] = "UBJSON at byte 3: ends within a value", ["["] = "UBJSON at byte 1: ends within a value",
    ["[U\1"] = "UBJSON at byte 3: ends within a value", ["{U\1a"] = "UBJSON at byte 4: ends within a value",
    ["x"] = "UBJSON at byte 1: expected a value", ["[$U\1"] = "UBJSON at byte 3: a type without a number of elements",
    ["SU"] = "UBJSON at byte 2: ends within a value", ["Si\255"] = "UBJSON at byte 3: expected a length",
    ["SSU"] = "UBJSON at byte 2: expected a length", ["[$T#U\1"] = "UBJSON at byte 6: elements without bytes",
    ["[$Z#l\127\0\0\0"] = "UBJSON at byte 9: expected a length",
    ["[#L\127\255\255\255\255\255\255\255"] = "UBJSON at byte 11: expected a length",
    ["[$D#U\3\0\0"] = "UBJSON at byte 6: ends within a value",
    ["[$l#l\255\255\255\255"] = "UBJSON at byte 9: expected a length",
    [("["):rep(1e5)] = "UBJSON at byte 66: too deep", [("[$[#U\1"):rep(1e5)] = "UBJSON at byte 198: too deep",
    [("{U\1a"):rep(1e5)] = "UBJSON at byte 261: too deep",
  } do
    it("does not hold " .. problem .. ": " .. bytes:sub(1, 8):gsub("%c", "."), function()
      assert.same({ nil, problem }, { ubjson.decode(bytes) })
    end)
  end
end)
