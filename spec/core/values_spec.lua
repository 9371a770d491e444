-- Records value by value: core/values.c.

local ffi = require "ffi"
local C = require "nfengine.lib"
local rows = require "spec.support.rows"

local NAMES = {
  [C.NF_VALUE_NONE] = "none", [C.NF_VALUE_INTEGER] = "integer", [C.NF_VALUE_REAL] = "real", [C.NF_VALUE_TEXT] = "text",
}

-- What a record's values are: a list of { kind, value }.
local function values_of(record, set)
  local columns, count, flow = record:c_columns(), #record.columns, record:record()
  if set then set(columns) end
  local values = assert(C.nf_values_new(columns, count, nil))
  local list = {}
  for _ = 1, 2 do -- what the first call has left behind makes no difference
    local got = C.nf_values_of(values, flow)
    for i = 0, count - 1 do
      local kind = NAMES[got[i].kind]
      list[i + 1] = { kind, kind == "integer" and tostring(got[i].integer) or kind == "real" and got[i].real
        or kind == "text" and ffi.string(got[i].text, got[i].size) or nil }
    end
  end
  C.nf_values_free(values)
  return list
end

local function value_of(...) return values_of(rows.new():add("x", ...))[1] end

describe("a record's values", function()
  it("are integers of 64 bits, whatever they were", function()
    for kind, cases in pairs {
      bool = { [true] = "1LL", [false] = "0LL" }, int8 = { [-128] = "-128LL", [127] = "127LL" },
      int16 = { [-32768] = "-32768LL" }, int32 = { [-2147483648] = "-2147483648LL" },
      int64 = { [-0x7fffffffffffffffLL - 1] = "-9223372036854775808LL" }, uint8 = { [255] = "255LL" },
      uint16 = { [65535] = "65535LL" }, uint32 = { [4294967295] = "4294967295LL" },
      uint64 = { [0x7fffffffffffffffULL] = "9223372036854775807LL", [0xffffffffffffffffULL] = "-1LL" },
    } do
      for value, expected in pairs(cases) do assert.same({ "integer", expected }, value_of(kind, value)) end
    end
  end)

  it("are reals of double precision", function()
    assert.same({ "real", 0.1 }, value_of("double", 0.1))
    assert.same({ "real", 0.100000001490116119384765625 }, value_of("float", 0.1))
    assert.same({ "real", -math.huge }, value_of("float", -math.huge))
    local nan = value_of("double", 0 / 0)[2]
    assert.is_true(nan ~= nan)
  end)

  it("are else the text that CSV has", function()
    assert.same({ "text", 'a"b\n' }, value_of("text", 'a"b\n'))
    assert.same({ "text", "full" }, value_of("text", "full", 4))
    assert.same({ "text", "\239\191\189x" }, value_of("text", "\255x"))
    assert.same({ "text", "10.0.0.1" }, value_of("ip", "\10\0\0\1" .. ("\0"):rep(12)))
    assert.same({ "text", "02:00:00:00:00:01" }, value_of("mac", "\2\0\0\0\0\1"))
    assert.same({ "text", "02:00:00" }, value_of("oui", "\2\0\0\0\0\1"))
    assert.same({ "text", "active" }, value_of("end_reason", C.NF_END_ACTIVE))
  end)

  it("are JSON where they are arrays", function()
    assert.same({ "text", "[1, -2, 0]" }, value_of("int16", { 1, -2, 0 }))
    assert.same({ "text", "[18446744073709551615]" }, value_of("uint64", { 0xffffffffffffffffULL }))
    assert.same({ "text", "[true, false]" }, value_of("bool", { true, false }))
    assert.same({ "text", "[0.5, null, null, 1e+300]" }, value_of("double", { 0.5, 0 / 0, math.huge, 1e300 }))
    assert.same({ "text", "[0.1, null]" }, value_of("float", { 0.1, -math.huge }))
  end)

  it("are none where a text is empty, or an integer is what stands for none", function()
    assert.same({ "none" }, value_of("text", "", 8))
    local function with_none(value)
      return function(columns) columns[0].has_none, columns[0].none = true, value end
    end
    for kind, value in pairs { int16 = -1, uint64 = 0, uint8 = 255 } do
      assert.same({ "none" }, values_of(rows.new():add("x", kind, value), with_none(value))[1])
      assert.same("integer", values_of(rows.new():add("x", kind, value), with_none(7))[1][1])
    end
    assert.same({ "text", "[-1]" }, values_of(rows.new():add("x", "int8", { -1 }), with_none(-1))[1])
  end)

  it("are those of one column at least", function()
    local message = ffi.new("char[?]", C.NF_ERROR_SIZE)
    assert.is_true(C.nf_values_new(nil, 0, message) == nil)
    assert.equal("an output without columns, expected at least one", ffi.string(message))
  end)

  it("stand beside each other in order", function()
    local record = rows.new():add("a", "text", "one"):add("b", "uint8", 2):add("c", "text", "", 5)
      :add("d", "ip", ("\255"):rep(16)):add("e", "int8", { 1, 2 }):add("f", "double", 0.5)
    assert.same({ { "text", "one" }, { "integer", "2LL" }, { "none" }, { "text", "255.255.255.255" },
      { "text", "[1, 2]" }, { "real", 0.5 } }, values_of(record))
  end)
end)
