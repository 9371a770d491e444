-- core/assembly.c: pieces in any order, against a list of bytes that is filled one by one.

local ffi = require "ffi"
local C = require "nfengine.lib"
local random = require "spec.support.random"

ffi.cdef [[
void *malloc(size_t size);
void free(void *block);
]]

local FOREVER = 1000000

local function new(streams, room, patience)
  local assembly = C.nf_assembly_new(streams, room, patience or FOREVER)
  assert(assembly ~= nil)
  return ffi.gc(assembly, C.nf_assembly_free)
end

-- An offset may be a 64-bit integer too. What is added stands in memory of its own size, so that ASan sees bytes read
-- beyond it.
local function add(assembly, stream, offset, text)
  local bytes = ffi.gc(ffi.cast("uint8_t *", ffi.C.malloc(#text)), ffi.C.free)
  ffi.copy(bytes, text, #text)
  return tonumber(C.nf_assembly_add(assembly, stream, offset, bytes, #text))
end

-- How many bytes are kept then.
local function skip(assembly, stream, count) return tonumber(C.nf_assembly_skip(assembly, stream, count)) end

local function open(assembly) return tonumber(C.nf_assembly_open(assembly)) end

local function text_of(assembly, stream)
  local size = ffi.new "uint32_t[1]"
  local data = C.nf_assembly_bytes(assembly, stream, size)
  return data ~= nil and ffi.string(data, size[0]) or nil
end

local function counts(assembly)
  return { tonumber(C.nf_assembly_displaced(assembly)), tonumber(C.nf_assembly_gapped(assembly)) }
end

describe("a stream", function()
  it("grows by pieces in order", function()
    local assembly = new(1, 100)
    local stream = open(assembly)
    assert.are.equal("", text_of(assembly, stream))
    assert.are.equal(3, add(assembly, stream, 0, "abc"))
    assert.are.equal(5, add(assembly, stream, 3, "de"))
    assert.are.equal("abcde", text_of(assembly, stream))
  end)

  it("shows what stands before a gap only, until the gap closes", function()
    local assembly = new(1, 100)
    local stream = open(assembly)
    assert.are.equal(0, add(assembly, stream, 6, "g"))
    assert.are.equal(0, add(assembly, stream, 2, "cd"))
    assert.are.equal(4, add(assembly, stream, 0, "ab"))
    assert.are.equal("abcd", text_of(assembly, stream))
    assert.are.equal(7, add(assembly, stream, 4, "ef"))
    assert.are.equal("abcdefg", text_of(assembly, stream))
  end)

  it("keeps what came first where pieces overlap", function()
    local assembly = new(1, 100)
    local stream = open(assembly)
    add(assembly, stream, 2, "cd")
    add(assembly, stream, 6, "gh")
    assert.are.equal(10, add(assembly, stream, 0, "0123456789"))
    assert.are.equal("01cd45gh89", text_of(assembly, stream))
    assert.are.equal(10, add(assembly, stream, 0, "XXXXXXXXXX"))
    assert.are.equal("01cd45gh89", text_of(assembly, stream))
  end)

  it("leaves out what stands before its first byte and beyond its room", function()
    local assembly = new(1, 8)
    local stream = open(assembly)
    assert.are.equal(2, add(assembly, stream, -3, "xyzab"))
    assert.are.equal(2, add(assembly, stream, -3, "xyz"))
    assert.are.equal(2, add(assembly, stream, -9007199254740992, "xyz"))
    assert.are.equal(2, add(assembly, stream, 8, "x"))
    assert.are.equal(2, add(assembly, stream, 9007199254740992, "x"))
    for _, far in ipairs { 0x7fffffffffffffffLL, -0x7fffffffffffffffLL - 1 } do
      assert.are.equal(2, add(assembly, stream, far, "x"))
    end
    assert.are.equal(8, add(assembly, stream, 2, "cdefghijk"))
    assert.are.equal("abcdefgh", text_of(assembly, stream))
  end)

  it("takes a piece of nothing for nothing", function()
    local assembly = new(1, 8, 1)
    local stream = open(assembly)
    assert.are.equal(0, add(assembly, stream, 0, ""))
    assert.are.equal(0, add(assembly, stream, 5, ""))
    assert.are.equal(1, add(assembly, stream, 0, "a"))
    assert.are.equal("a", text_of(assembly, stream))
  end)

  it("leaves out a piece that would make more than 32 islands, and takes it later", function()
    local assembly = new(1, 1000)
    local stream = open(assembly)
    for i = 1, 33 do add(assembly, stream, i * 2, "x") end
    for i = 0, 32 do add(assembly, stream, i * 2 + 1, "y") end
    assert.are.equal(66, add(assembly, stream, 0, "z"))
    assert.are.equal("zy" .. ("xy"):rep(32), text_of(assembly, stream))
    assert.are.equal(67, add(assembly, stream, 66, "x"))
  end)

  it("goes on from any place", function()
    local assembly = new(1, 8)
    local stream = open(assembly)
    add(assembly, stream, 0, "abcdef")
    assert.are.equal(4, skip(assembly, stream, 2))
    assert.are.equal("cdef", text_of(assembly, stream))
    assert.are.equal(8, add(assembly, stream, 4, "ghijkl")) -- two have no room
    assert.are.equal("cdefghij", text_of(assembly, stream))
    assert.are.equal(8, skip(assembly, stream, 0))
    assert.are.equal(0, skip(assembly, stream, 8))
    assert.are.equal("", text_of(assembly, stream))
    assert.are.equal(1, add(assembly, stream, 0, "k"))
  end)

  it("goes on beyond what has come, where pieces of before count no more", function()
    local assembly = new(1, 8)
    local stream = open(assembly)
    add(assembly, stream, 0, "ab")
    add(assembly, stream, 4, "ef")
    assert.are.equal(1, skip(assembly, stream, 5))
    assert.are.equal("f", text_of(assembly, stream))
    assert.are.equal(0, skip(assembly, stream, 0xffffffffffffffffULL))
    assert.are.equal(0, add(assembly, stream, -5, "abcde"))
    assert.are.equal(2, add(assembly, stream, -5, "abcdexy"))
    assert.are.equal("xy", text_of(assembly, stream))
  end)

  it("keeps gaps and what is behind them", function()
    local assembly = new(1, 100)
    local stream = open(assembly)
    for i = 1, 3 do add(assembly, stream, i * 10, "123") end
    assert.are.equal(9, skip(assembly, stream, 5))
    assert.are.equal("", text_of(assembly, stream))
    assert.are.equal(8, add(assembly, stream, 0, "abcde"))
    assert.are.equal("abcde123", text_of(assembly, stream))
    assert.are.equal(6, skip(assembly, stream, 9))
    assert.are.equal(9, add(assembly, stream, 0, "abcdef"))
    assert.are.equal("abcdef123", text_of(assembly, stream))
  end)

  it("is what a list of bytes would be, for random pieces", function()
    random.trial(function(below)
      local room = 1 + below(60)
      local assembly = new(3, room)
      open(assembly)
      local stream, expected = open(assembly), {}
      local beside = open(assembly)
      add(assembly, beside, 0, ("#"):rep(room))
      for piece = 1, 60 do
        if piece % 4 == 0 then
          local count, kept, rest = below(20), 0, {}
          for at, letter in pairs(expected) do
            if at > count then kept, rest[at - count] = kept + 1, letter end
          end
          expected = rest
          assert.are.equal(kept, skip(assembly, stream, count))
        end
        local offset, size, bytes = below(70) - 10, below(12), {}
        for i = 1, size do
          local letter = string.char(97 + (piece + i) % 26)
          local at = offset + i -- from 1
          bytes[i] = letter
          if at >= 1 and at <= room then expected[at] = expected[at] or letter end
        end
        local there = add(assembly, stream, offset, table.concat(bytes))
        local beginning = 0
        while expected[beginning + 1] do beginning = beginning + 1 end
        assert.are.equal(table.concat(expected, "", 1, beginning), text_of(assembly, stream))
        assert.are.equal(beginning, there)
      end
      assert.are.equal(("#"):rep(room), text_of(assembly, beside))
    end)
  end)
end)

describe("handles", function()
  it("are above 0, never the same twice, and tell the stream's place", function()
    local assembly, seen = new(4, 8), {}
    for _ = 1, 100 do
      local stream = open(assembly)
      assert.is_true(stream > 0)
      assert.is_nil(seen[stream])
      seen[stream] = true
      C.nf_assembly_close(assembly, stream)
    end
    local places = {}
    for i = 1, 4 do places[i] = open(assembly) % 4 end
    table.sort(places)
    assert.are.same({ 0, 1, 2, 3 }, places)
  end)

  it("mean nothing once their stream has ended, nor when they were never given", function()
    local assembly = new(2, 8)
    local stream = open(assembly)
    add(assembly, stream, 0, "old")
    C.nf_assembly_close(assembly, stream)
    C.nf_assembly_close(assembly, stream)
    local after = { open(assembly), open(assembly) }
    for _, handle in ipairs { stream, 0, -1, -2, 1, 1000000 } do
      assert.are.equal(C.NF_END, add(assembly, handle, 0, "x"))
      assert.are.equal(C.NF_END, skip(assembly, handle, 1))
      assert.is_nil(text_of(assembly, handle))
      C.nf_assembly_close(assembly, handle)
    end
    for _, handle in ipairs(after) do assert.are.equal("", text_of(assembly, handle)) end
    assert.are.same({ 0, 0 }, counts(assembly))
  end)
end)

describe("an assembly", function()
  it("gives up the stream that began first when all are in use", function()
    local assembly = new(3, 8)
    local a, b, c = open(assembly), open(assembly), open(assembly)
    for _, stream in ipairs { c, b, a } do add(assembly, stream, 0, "x") end
    C.nf_assembly_close(assembly, b)
    local d = open(assembly)
    assert.are.same({ 0, 0 }, counts(assembly))
    local e = open(assembly)
    assert.are.same({ 1, 0 }, counts(assembly))
    assert.are.same({ [2] = "x", [3] = "", [4] = "" },
      { text_of(assembly, a), text_of(assembly, c), text_of(assembly, d), text_of(assembly, e) })
    open(assembly)
    open(assembly)
    assert.are.same({ 3, 0 }, counts(assembly))
    assert.are.same({ [3] = "" }, { text_of(assembly, c), text_of(assembly, d), text_of(assembly, e) })
  end)

  it("gives up the one that began first of those in use, whichever have ended between", function()
    local assembly, in_use, displaced = new(5, 4), {}, 0
    local state = 1
    for _ = 1, 2000 do
      state = state * 16807 % 2147483647
      if state % 3 == 0 and #in_use > 0 then
        C.nf_assembly_close(assembly, table.remove(in_use, state % #in_use + 1))
      else
        if #in_use == 5 then
          displaced = displaced + 1
          local first = table.remove(in_use, 1)
          in_use[5] = open(assembly)
          assert.is_nil(text_of(assembly, first))
        else
          in_use[#in_use + 1] = open(assembly)
        end
        for _, stream in ipairs(in_use) do assert.are.equal("", text_of(assembly, stream)) end
      end
    end
    assert.is_true(displaced > 100)
    assert.are.equal(displaced, counts(assembly)[1])
  end)

  it("gives up a stream whose gap does not close for so many pieces", function()
    local assembly = new(2, 100, 3)
    local stream = open(assembly)
    assert.are.equal(1, add(assembly, stream, 0, "a"))
    assert.are.equal(1, add(assembly, stream, 9, "x"))
    assert.are.equal(1, add(assembly, stream, 0, "a"))
    assert.are.equal(2, add(assembly, stream, 1, "b")) -- counted anew from here
    assert.are.equal(2, add(assembly, stream, 9, "x"))
    assert.are.equal(2, add(assembly, stream, 200, "x"))
    assert.are.equal(2, skip(assembly, stream, 1)) -- and from here
    assert.are.equal(1, add(assembly, stream, 8, "x"))
    assert.are.equal(1, add(assembly, stream, 200, "x"))
    assert.are.equal(C.NF_END, add(assembly, stream, 9, "x"))
    assert.are.equal(C.NF_END, add(assembly, stream, 2, "c"))
    assert.is_nil(text_of(assembly, stream))
    assert.are.same({ 0, 1 }, counts(assembly))
    assert.is_true(open(assembly) > 0 and open(assembly) > 0)
    assert.are.same({ 0, 1 }, counts(assembly))
  end)
end)
