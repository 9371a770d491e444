-- lua/nfengine/bytes.lua and core/count.c: copies and counts against loops over the same bytes.

local ffi = require "ffi"
local array = require "nfengine.array"
local bytes = require "nfengine.bytes"
local random = require "spec.support.random"
local testing = require "nfengine.testing"
local view = require("nfengine.packet").view

local kept = {} -- what views point to

-- A view of these bytes, in memory of its own size, so that ASan sees bytes read beyond it.
local function view_of(text)
  local memory = ffi.new("uint8_t[?]", #text)
  ffi.copy(memory, text, #text)
  kept[#kept + 1] = memory
  return view(memory, #text)
end

local function uint8s(length) return array.type("uint8_t", length)() end
local function uint16s(length) return array.type("uint16_t", length)() end

local function random_text(below, size, values)
  local text = {}
  for i = 1, size do text[i] = string.char(below(values)) end
  return table.concat(text)
end

local function counts_of(text)
  local counts = uint16s(256)
  assert.equal(#text, bytes.count(view_of(text), counts))
  return counts
end

describe("bytes.copy", function()
  it("puts bytes behind those that are there, as far as there is room", function()
    local list = uint8s(6)
    assert.equal(3, bytes.copy(view_of "abc", list, 0))
    assert.equal(3, bytes.copy(view_of "", list, 3))
    assert.equal(5, bytes.copy(view_of "de", list, 3))
    assert.same({ 97, 98, 99, 100, 101, 0 }, list:table())
    assert.equal(6, bytes.copy(view_of "xyz", list, 5))
    assert.same({ 97, 98, 99, 100, 101, 120 }, list:table())
    assert.equal(6, bytes.copy(view_of "xyz", list, 6))
    assert.equal(9, bytes.copy(view_of "xyz", list, 9))
    assert.same({ 97, 98, 99, 100, 101, 120 }, list:table())
  end)

  it("refuses other arrays and places", function()
    assert.matches("bytes.copy: expected an array uint8[N]", testing.refusal(bytes.copy, view_of "a", uint16s(4), 0), 1,
      true)
    assert.matches("bytes.copy: filled: expected a number from 0",
      testing.refusal(bytes.copy, view_of "a", uint8s(4), -1), 1, true)
  end)
end)

describe("bytes.count", function()
  it("counts each byte under its value", function()
    local counts = counts_of "abca\0\255"
    local expected = {}
    for i = 1, 256 do expected[i] = 0 end
    expected[1], expected[98], expected[99], expected[100], expected[256] = 1, 2, 1, 1, 1
    assert.same(expected, counts:table())
    assert.equal(1, bytes.count(view_of "a", counts))
    assert.equal(3, counts[98])
  end)

  it("counts so many at most", function()
    for _, case in ipairs { { -1, 0 }, { 0, 0 }, { 1, 1 }, { 3, 3 }, { 4, 3 } } do
      local counts = uint16s(256)
      assert.equal(case[2], bytes.count(view_of "aaa", counts, case[1]))
      assert.equal(case[2], counts[98])
    end
  end)

  it("refuses other arrays", function()
    for _, other in ipairs { uint16s(255), uint8s(256), array.type("uint32_t", 256)() } do
      assert.matches("bytes.count: expected an array uint16[256]",
        testing.refusal(bytes.count, view_of "a", other), 1, true)
      assert.matches("bytes.sum: expected an array uint16[256]", testing.refusal(bytes.sum, other, 0, 1), 1, true)
    end
  end)
end)

describe("what is said of counts", function()
  local function entropy(text) return bytes.entropy(counts_of(text)) end

  it("is their entropy", function()
    assert.equal(0, bytes.entropy(uint16s(256)))
    for _, size in ipairs { 1, 2, 3, 255, 256, 257, 65535 } do assert.equal(0, entropy(("a"):rep(size))) end
    assert.equal(1, entropy "ab")
    assert.equal(1, entropy(("ab"):rep(30000)))
    assert.equal(1.5, entropy "aabc")
    local all = {}
    for i = 0, 255 do all[i + 1] = string.char(i) end
    assert.equal(8, entropy(table.concat(all)))
    assert.equal(8, entropy(table.concat(all):rep(200)))
    assert.equal(0.918295834, entropy "aab") -- 2/3 log2 3/2 + 1/3 log2 3
  end)

  it("is their entropy by definition, of any bytes", function()
    random.trial(function(below)
      for _, values in ipairs { 2, 100, 256 } do
        local text = random_text(below, 1 + below(2000), values)
        local expected, counts = 0, counts_of(text)
        for i = 1, 256 do
          local share = counts[i] / #text
          if share > 0 then expected = expected + share * math.log(1 / share, 2) end
        end
        assert.is_true(math.abs(bytes.entropy(counts) - expected) <= 1e-9)
      end
    end)
  end)

  it("is the entropy of arrays of other lengths", function()
    local counts = uint16s(3)
    counts[1], counts[3] = 5, 5
    assert.equal(1, bytes.entropy(counts))
    assert.matches("bytes.entropy: expected an array uint16[N]", testing.refusal(bytes.entropy, uint8s(3)), 1, true)
  end)

  it("are sums of neighbours", function()
    local counts = counts_of "\0\15\16\127\128\255\255"
    local sums = uint16s(16)
    bytes.fold(counts, sums)
    assert.same({ 2, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 2 }, sums:table())
    local same, one = uint16s(256), uint16s(1)
    bytes.fold(counts, same)
    bytes.fold(counts, one)
    assert.same(counts:table(), same:table())
    assert.equal(7, one[1])
    for _, length in ipairs { 3, 512 } do
      assert.matches("bytes.fold: expected one array a multiple of the other",
        testing.refusal(bytes.fold, counts, uint16s(length)), 1, true)
    end
    assert.matches("bytes.fold: expected an array uint16[N]", testing.refusal(bytes.fold, counts, uint8s(16)), 1, true)
  end)

  it("are sums of values", function()
    local counts = counts_of "\0az~\127\255"
    for _, case in ipairs { { 0x20, 0x7e, 3 }, { 0, 0, 1 }, { 255, 255, 1 }, { 0, 255, 6 }, { 1, 1, 0 } } do
      assert.equal(case[3], bytes.sum(counts, case[1], case[2]))
    end
    for _, range in ipairs { { -1, 3 }, { 3, 2 }, { 0, 256 }, { 0 / 0, 1 } } do
      assert.matches("bytes.sum: expected two bytes in order",
        testing.refusal(bytes.sum, counts, range[1], range[2]), 1, true)
    end
  end)
end)

describe("a buffer", function()
  it("puts together what it is given", function()
    local buffer = bytes.buffer(20)
    assert.equal("", buffer:string())
    local whole = buffer:u8(1):u16(0x0203):text("abc"):view(view_of "de\0"):u8(255):u16(65535):text ""
    assert.equal("\1\2\3abcde\0\255\255\255", buffer:string())
    assert.equal(12, #whole)
    assert.equal(buffer, whole)
    assert.equal("x", buffer:clear():text("x"):string())
  end)

  it("takes no more than it has room for, and says so at the caller's line", function()
    local buffer = bytes.buffer(3)
    assert.equal("abc", buffer:text("abc"):string())
    for _, add in ipairs { function() buffer:u8(1) end, function() buffer:u16(1) end, function() buffer:text "d" end,
      function() buffer:view(view_of "d") end } do
      assert.matches("bytes_spec.lua:%d+: buffer: more than the 3 bytes it has room for", testing.refusal(add))
      assert.equal("abc", buffer:string())
    end
    assert.equal("abc", buffer:text(""):string())
  end)

  it("is told from other things", function()
    assert.is_true(bytes.is_buffer(bytes.buffer(1)))
    for _, other in ipairs { "x", 1, {}, uint8s(1), (view_of "x") } do assert.is_false(bytes.is_buffer(other)) end
  end)
end)
