-- Records as CSV: core/write_csv.c.

local ffi = require "ffi"
local C = require "nfengine.lib"
local rows = require "spec.support.rows"

local bad = "\239\191\189" -- U+FFFD

-- A reader of RFC 4180 after its grammar: a list of rows, each a list of cells.
local function parse_csv(text)
  local result, row, at = {}, {}, 1
  while at <= #text do
    local cell
    if text:sub(at, at) == '"' then
      local stop = at
      repeat
        stop = assert(text:find('"', stop + 1, true), "a quote is not closed")
        local is_doubled = text:sub(stop + 1, stop + 1) == '"'
        if is_doubled then stop = stop + 1 end
      until not is_doubled
      cell, at = text:sub(at + 1, stop - 1):gsub('""', '"'), stop + 1
    else
      cell = text:match('^[^,"\n]*', at)
      at = at + #cell
    end
    row[#row + 1] = cell
    local separator = text:sub(at, at)
    assert(separator == "," or separator == "\n", "text behind a closing quote")
    if separator == "\n" then result[#result + 1], row = row, {} end
    at = at + 1
  end
  assert(#row == 0, "the last line has no end")
  return result
end

local function cell_of(record) return parse_csv(record:csv())[2][1] end

describe("a CSV output", function()
  it("begins with the names, then has a line for each record", function()
    local record = rows.new():add("id", "uint64", 7):add("udps.x", "int8", -1)
    assert.equal("id,udps.x\n7,-1\n7,-1\n7,-1\n", record:csv(3))
    assert.equal("id,udps.x\n", record:csv(0))
  end)

  it("quotes a name only where it must", function()
    local record = rows.new():add("a,b", "int8", 1):add('say "x"', "int8", 2):add("two\nlines", "int8", 3)
      :add("d e", "int8", 4)
    assert.equal('"a,b","say ""x""","two\nlines",d e\n1,2,3,4\n', record:csv())
  end)

  it("takes names of any length", function()
    for length = 1, 100 do
      local name = ("n"):rep(length)
      assert.equal(name .. "," .. name .. "\n1,2\n", rows.new():add(name, "int8", 1):add(name, "int8", 2):csv())
    end
  end)
end)

describe("CSV numbers", function()
  it("stand bare, to the limits of each type", function()
    local record = rows.new()
      :add("a", "int8", -128):add("b", "int8", 127):add("c", "uint8", 255)
      :add("d", "int16", -32768):add("e", "int16", 32767):add("f", "uint16", 65535)
      :add("g", "int32", -2147483648):add("h", "int32", 2147483647):add("i", "uint32", 4294967295)
      :add("j", "int64", -0x7fffffffffffffffLL - 1):add("k", "int64", 0x7fffffffffffffffLL)
      :add("l", "uint64", 0xffffffffffffffffULL)
    assert.equal("-128,127,255,-32768,32767,65535,-2147483648,2147483647,4294967295," ..
                 "-9223372036854775808,9223372036854775807,18446744073709551615", record:csv_row())
  end)

  it("with fractions are printed as Python prints them", function()
    local record = rows.new():add("a", "double", 60):add("b", "double", 0.1):add("c", "double", 1e16)
      :add("d", "double", 1e-5):add("e", "double", -0.0):add("f", "float", 0.1)
      :add("g", "double", 0 / 0):add("h", "double", math.huge):add("i", "float", -math.huge)
    assert.equal("60.0,0.1,1e+16,1e-05,-0.0,0.1,nan,inf,-inf", record:csv_row())
  end)

  it("of type bool are True and False", function()
    assert.equal("True,False", rows.new():add("a", "bool", true):add("b", "bool", false):csv_row())
  end)
end)

describe("CSV texts", function()
  it("stand in quotes, empty ones too", function()
    assert.equal('"abc",""', rows.new():add("a", "text", "abc", 8):add("b", "text", "", 8):csv_row())
  end)

  it("end at their NUL or where the field ends", function()
    local record = rows.new():add("a", "text", "full", 4):add("b", "text", "ab\0cd", 8):add("c", "text", "", 0)
      :add("d", "text", "0123456789abcdef", 16):add("e", "text", "x", 1)
    assert.equal('"full","ab","","0123456789abcdef","x"', record:csv_row())
  end)

  it("have their quotes doubled and keep all else, line ends and commas too", function()
    assert.equal('"say ""x"", \r\nthen\t\\n"', rows.new():add("a", "text", 'say "x", \r\nthen\t\\n'):csv_row())
    assert.equal('""""""', rows.new():add("a", "text", '""', 2):csv_row())
  end)

  it("keep what a spreadsheet would take for a formula", function()
    for _, text in ipairs { "=1+1", "+1", "-1", "@SUM(A1)", '=HYPERLINK("http://x","y")' } do
      assert.equal(text, cell_of(rows.new():add("a", "text", text)))
    end
  end)

  it("come back equal with any ASCII character at any place", function()
    for byte = 1, 127 do
      for before = 0, 17 do
        local text = ("abcdefghijklmnopq"):sub(1, before) .. string.char(byte) .. ("rstuvwxyz"):sub(1, 20 - before)
        local cell = cell_of(rows.new():add("a", "text", text, #text + before % 3))
        if cell ~= text then assert.equal(text, cell) end
      end
    end
  end)

  it("are valid UTF-8, whatever bytes are in them", function()
    assert.equal("día €5 😀", cell_of(rows.new():add("a", "text", "día €5 😀")))
    assert.equal("x" .. bad .. "y", cell_of(rows.new():add("a", "text", "x\255y")))
    assert.equal("0123456" .. bad, cell_of(rows.new():add("a", "text", "0123456\226\130", 9)))
    assert.equal(bad .. '"' .. bad, cell_of(rows.new():add("a", "text", '\128"\195')))
  end)

  it("fit in the row where every byte grows", function()
    local record = rows.new()
    for i = 1, 20 do record:add("c" .. i, "text", (i % 2 == 0 and '"' or "\255"):rep(5000), 5000) end
    local cells = parse_csv(record:csv(20))[21]
    for i = 1, 20 do assert.equal((i % 2 == 0 and '"' or bad):rep(5000), cells[i]) end
  end)
end)

describe("CSV arrays", function()
  it("look as Python prints lists", function()
    local record = rows.new():add("a", "int8", { 0, 1, -1 }):add("b", "int64", { 5 }):add("c", "uint16", {})
      :add("d", "double", { 1, 0.5, 0 / 0 }):add("e", "bool", { true, false })
    assert.equal('"[0, 1, -1]","[5]","[]","[1.0, 0.5, nan]","[True, False]"', record:csv_row())
  end)

  it("fit in the row with the longest numbers", function()
    local doubles, integers = {}, {}
    for i = 1, 3000 do doubles[i], integers[i] = -2.2250738585072014e-308, -0x7fffffffffffffffLL - 1 end
    local cells = parse_csv(rows.new():add("a", "double", doubles):add("b", "int64", integers):csv(3))[4]
    assert.equal("[" .. ("-2.2250738585072014e-308, "):rep(2999) .. "-2.2250738585072014e-308]", cells[1])
    assert.equal("[" .. ("-9223372036854775808, "):rep(2999) .. "-9223372036854775808]", cells[2])
  end)
end)

describe("CSV addresses and names", function()
  local loopback6 = ("\0"):rep(15) .. "\1"

  it("take the IP version from the record", function()
    local zeros = ("\0"):rep(12)
    local record = rows.new():add("a", "ip", "\10\0\0\1" .. zeros):add("b", "ip", "\255\255\255\255" .. zeros)
    assert.equal('"10.0.0.1","255.255.255.255"', record:csv_row())
    record = rows.new():add("a", "ip", loopback6)
    record.ip_version = 6
    assert.equal('"::1"', record:csv_row())
  end)

  it("print a MAC and its first half", function()
    local mac = "\0\27\33\15\1\255"
    assert.equal('"00:1b:21:0f:01:ff","00:1b:21"', rows.new():add("a", "mac", mac):add("b", "oui", mac):csv_row())
  end)

  it("name why a flow ended", function()
    for reason = 0, C.NF_END_COUNT do
      local expected = '"' .. ffi.string(C.nf_end_name(reason)) .. '"'
      assert.equal(expected, rows.new():add("a", "end_reason", reason):csv_row())
    end
    assert.equal('"idle"', rows.new():add("a", "end_reason", C.NF_END_IDLE):csv_row())
  end)
end)
