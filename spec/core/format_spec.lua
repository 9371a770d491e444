-- Values into text: core/format.c.

local ffi = require "ffi"
local bit = require "bit"
local C = require "spec.support.core" "format"

ffi.cdef [[
const char *inet_ntop(int family, const void *address, char *out, uint32_t size);
double strtod(const char *text, char **end);
]]

local buffer = ffi.new "char[64]"

local function double_text(value) return ffi.string(buffer, C.nf_format_double(buffer, value)) end
local function put(f, ...) return ffi.string(buffer, f(buffer, ...) - buffer) end
local function float_text(value) return put(C.nf_put_float, value) end

local double_bits = ffi.new "union { double value; uint64_t bits; uint32_t halves[2]; }"
local float_bits = ffi.new "union { float value; uint32_t bits; }"

-- A generator of its own, so that a failure can be repeated: 32-bit xorshift.
local function new_random(seed)
  local x = seed
  return function()
    x = bit.bxor(x, bit.lshift(x, 13))
    x = bit.bxor(x, bit.rshift(x, 17))
    x = bit.bxor(x, bit.lshift(x, 5))
    return x % 2 ^ 32
  end
end

local function random_finite_double(random)
  repeat
    double_bits.halves[0], double_bits.halves[1] = random(), random()
  until double_bits.value - double_bits.value == 0
  return double_bits.value
end

local function random_finite_float(random)
  repeat float_bits.bits = random() until float_bits.value - float_bits.value == 0
  return float_bits.value
end

-- The significant digits of a number's text: what remains without sign, point, exponent and outer zeros.
local function count_digits(text)
  local mantissa = text:match("^%-?([%d.]+)"):gsub("%.", ""):gsub("^0+", ""):gsub("0+$", "")
  return #mantissa
end

describe("integers", function()
  it("are written in full up to the limits of 64 bits", function()
    assert.equal("0", put(C.nf_put_uint, 0))
    assert.equal("18446744073709551615", put(C.nf_put_uint, 0xffffffffffffffffULL))
    assert.equal("9223372036854775807", put(C.nf_put_int, 0x7fffffffffffffffLL))
    assert.equal("-9223372036854775808", put(C.nf_put_int, -0x7fffffffffffffffLL - 1))
    assert.equal("0", put(C.nf_put_int, 0))
    assert.equal("-1", put(C.nf_put_int, -1))
  end)

  it("have the right number of digits on both sides of every power of ten", function()
    local power, text = 1ULL, "1"
    for _ = 1, 19 do
      assert.equal(text, put(C.nf_put_uint, power))
      if power > 1 then assert.equal(("9"):rep(#text - 1), put(C.nf_put_uint, power - 1)) end
      assert.equal(text:sub(1, -2) .. "7", put(C.nf_put_uint, power + (#text == 1 and 6 or 7)))
      power, text = power * 10, text .. "0"
    end
  end)

  it("up to a million equal Lua's own", function()
    for i = 0, 1000000, 7 do
      local text = put(C.nf_put_uint, i)
      if text ~= tostring(i) then assert.equal(tostring(i), text) end
    end
  end)
end)

describe("doubles", function()
  it("look as Python's repr prints them", function()
    local expected = {
      [0] = "0.0", [1] = "1.0", [-1] = "-1.0", [60] = "60.0", [0.1] = "0.1", [-2.5] = "-2.5", [0.25] = "0.25",
      [1 / 3] = "0.3333333333333333", [2 / 3] = "0.6666666666666666", [123456.789] = "123456.789",
      [1e15] = "1000000000000000.0", [123456789012345] = "123456789012345.0",
      [9007199254740991] = "9007199254740991.0", [9007199254740992] = "9007199254740992.0",
      [9007199254740994] = "9007199254740994.0", [9999999999999998] = "9999999999999998.0",
      [1e16] = "1e+16", [1.5e16] = "1.5e+16", [12345678901234567890] = "1.2345678901234567e+19", [1e22] = "1e+22",
      [1e23] = "1e+23", [1e100] = "1e+100", [-1.5e300] = "-1.5e+300",
      [0.001] = "0.001", [0.0001] = "0.0001", [0.00012345] = "0.00012345", [0.00001] = "1e-05",
      [0.000012345] = "1.2345e-05", [1e-9] = "1e-09", [1e-10] = "1e-10", [1.25e-100] = "1.25e-100",
      [5e-324] = "5e-324", [2.2250738585072014e-308] = "2.2250738585072014e-308",
      [2.225073858507201e-308] = "2.225073858507201e-308",
      [1.7976931348623157e308] = "1.7976931348623157e+308", [-1.7976931348623157e308] = "-1.7976931348623157e+308",
      [2251799813685249.5] = "2251799813685249.5", [96.87362902255701] = "96.87362902255701",
    }
    for value, text in pairs(expected) do assert.equal(text, double_text(value)) end
    assert.equal("-0.0", double_text(-0.0))
    assert.equal("inf", double_text(math.huge))
    assert.equal("-inf", double_text(-math.huge))
    assert.equal("nan", double_text(0 / 0))
    assert.equal("nan", double_text(-(0 / 0)))
  end)

  it("read back as the same number", function()
    local random = new_random(20240607)
    for _ = 1, 100000 do
      local value = random_finite_double(random)
      local text = double_text(value)
      if ffi.C.strtod(text, nil) ~= value or #text > 24 then assert.equal(("%.17g"):format(value), text) end
    end
  end)

  it("have no shorter text that reads back the same", function()
    local random = new_random(7)
    for i = 1, 20000 do
      local value = i % 2 == 0 and random_finite_double(random) or random() / 1000
      local text = double_text(value)
      local digits = count_digits(text)
      if digits > 1 then
        local shorter = ("%%.%dg"):format(digits - 1):format(value)
        if tonumber(shorter) == value then assert.equal(shorter, text) end
      end
    end
  end)

  it("equal Python's repr", function()
    if os.execute "command -v python3 >/dev/null 2>&1" ~= 0 then return pending "python3 is not installed" end
    local random, path = new_random(99), os.tmpname()
    local values, texts = {}, {}
    local function add(value)
      double_bits.value = value
      values[#values + 1] = ("%08x%08x"):format(double_bits.halves[1], double_bits.halves[0])
      texts[#texts + 1] = double_text(value)
    end
    for exponent = -1074, 1023 do add(2 ^ exponent) end
    for exponent = -323, 308 do add(tonumber("1e" .. exponent)) end
    for exponent = -22, 22 do for i = 1, 100 do add(random() % 10 ^ (i % 9 + 1) * 10 ^ exponent) end end
    while #values < 20000 do add(random_finite_double(random)) end

    local input = assert(io.open(path, "w"))
    input:write(table.concat(values, "\n"))
    input:close()
    local program = "import struct,sys\n" ..
                    "for line in sys.stdin: print(struct.unpack('>d', bytes.fromhex(line.strip()))[0])"
    local python = assert(io.popen(('python3 -c "%s" < %s'):format(program, path)))
    local i = 0
    for line in python:lines() do
      i = i + 1
      if line ~= texts[i] then assert.equal(line, texts[i]) end
    end
    python:close()
    os.remove(path)
    assert.equal(#values, i)
  end)

  it("end in NUL for C's callers, who learn the length", function()
    ffi.fill(buffer, 64, 0x55)
    assert.equal(3, C.nf_format_double(buffer, 1))
    assert.equal("1.0", ffi.string(buffer))
  end)
end)

describe("floats", function()
  it("have the digits that a float needs, in the form of doubles", function()
    local expected = {
      [0] = "0.0", [1] = "1.0", [-3] = "-3.0", [0.5] = "0.5", [16777216] = "16777216.0", [16777215] = "16777215.0",
      [1e10] = "10000000000.0", [1e15] = "1000000000000000.0",
    }
    for value, text in pairs(expected) do assert.equal(text, float_text(value)) end
    assert.equal("0.1", float_text(0.1))
    assert.equal("3.1415927", float_text(math.pi))
    assert.equal("123456790.0", float_text(123456789))
    assert.equal("1e+16", float_text(1e16))
    assert.equal("1e-05", float_text(1e-5))
    assert.equal("3.4028235e+38", float_text(3.4028234663852886e38))
    assert.equal("1e-45", float_text(1.401298464324817e-45))
    assert.equal("-0.0", float_text(-0.0))
    assert.equal("inf", float_text(math.huge))
    assert.equal("-inf", float_text(-math.huge))
    assert.equal("nan", float_text(0 / 0))
  end)

  it("read back as the same float, and nothing shorter does", function()
    local random, back = new_random(5), ffi.new "float[1]"
    for _ = 1, 50000 do
      local value = random_finite_float(random)
      local text = float_text(value)
      back[0] = tonumber(text)
      if back[0] ~= value then assert.equal(("%.9g"):format(value), text) end
      local digits = count_digits(text)
      if digits > 1 then
        local shorter = ("%%.%dg"):format(digits - 1):format(value)
        back[0] = tonumber(shorter)
        if back[0] == value then assert.equal(shorter, text) end
      end
    end
  end)
end)

describe("IP addresses", function()
  local AF_INET, AF_INET6 = 2, 10
  local address, expected = ffi.new "uint8_t[16]", ffi.new "char[46]"

  local function check(version)
    local text = ffi.string(buffer, C.nf_format_ip(buffer, address, version))
    ffi.C.inet_ntop(version == 6 and AF_INET6 or AF_INET, address, expected, 46)
    if text ~= ffi.string(expected) then assert.equal(ffi.string(expected), text) end
  end

  it("of version 4 are four numbers", function()
    local random = new_random(3)
    for byte = 0, 255 do
      for i = 0, 3 do address[i] = (byte + 63 * i) % 256 end
      check(4)
    end
    for _ = 1, 5000 do
      for i = 0, 3 do address[i] = random() % 256 end
      check(4)
    end
    ffi.copy(address, "\10\0\0\1", 4)
    assert.equal("10.0.0.1", ffi.string(buffer, C.nf_format_ip(buffer, address, 4)))
  end)

  it("of version 6 are as inet_ntop has them, whichever words are zero", function()
    for _, word in ipairs { 0x1, 0x12, 0xabc, 0x1234, 0xffff } do
      for zeros = 0, 255 do
        for i = 0, 7 do
          local value = bit.band(zeros, bit.lshift(1, i)) ~= 0 and 0 or word
          address[2 * i], address[2 * i + 1] = bit.rshift(value, 8), bit.band(value, 255)
        end
        check(6)
      end
    end
  end)

  it("of version 6 are as inet_ntop has them, random ones with many zeros", function()
    local random = new_random(11)
    for _ = 1, 20000 do
      for i = 0, 15 do address[i] = random() % 3 == 0 and random() % 256 or 0 end
      check(6)
    end
  end)

  it("of version 6 show an IPv4 address inside", function()
    local function text_of(bytes)
      ffi.copy(address, bytes, 16)
      check(6)
      return ffi.string(buffer)
    end
    assert.equal("::ffff:192.0.2.1", text_of(("\0"):rep(10) .. "\255\255\192\0\2\1"))
    assert.equal("::192.0.2.1", text_of(("\0"):rep(12) .. "\192\0\2\1"))
    assert.equal("::1", text_of(("\0"):rep(15) .. "\1"))
    assert.equal("::", text_of(("\0"):rep(16)))
    assert.equal("2001:db8::1:0:0:1", text_of "\32\1\13\184\0\0\0\0\0\1\0\0\0\0\0\1")
  end)
end)

describe("MAC addresses", function()
  it("are lower-case hex pairs between colons", function()
    local mac = ffi.new("uint8_t[6]", 0x00, 0x1b, 0x21, 0x0f, 0xa1, 0xff)
    assert.equal(17, C.nf_format_mac(buffer, mac))
    assert.equal("00:1b:21:0f:a1:ff", ffi.string(buffer))
    assert.equal("001b21", put(C.nf_put_hex_bytes, mac, 3, 0))
  end)
end)

describe("characters", function()
  local at = ffi.new "const char *[1]"

  -- The first `size` bytes of a text, by default all of it.
  local function cleaned(text, size)
    local out = ffi.new("char[?]", #text * 3 + 1)
    local bytes = ffi.new("char[?]", #text + 1, text)
    local put_at, last = out, bytes + (size or #text)
    at[0] = bytes
    while at[0] < last do put_at = C.nf_put_utf8(put_at, at, last) end
    assert(at[0] == last)
    return ffi.string(out, put_at - out)
  end

  local bad = "\239\191\189"

  it("of every length pass", function()
    for _, text in ipairs { "a", "é", "€", "😀", "\127", "\194\128", "\223\191", "\224\160\128", "\237\159\191",
                            "\238\128\128", "\239\191\191", "\240\144\128\128", "\244\143\191\191" } do
      assert.equal(text, cleaned(text))
    end
  end)

  it("that are overlong, surrogates or out of range become U+FFFD byte by byte", function()
    assert.equal(bad:rep(2), cleaned "\192\175")
    assert.equal(bad:rep(2), cleaned "\193\191")
    assert.equal(bad:rep(3), cleaned "\224\128\175")
    assert.equal(bad:rep(3), cleaned "\237\160\128")
    assert.equal(bad:rep(4), cleaned "\240\143\191\191")
    assert.equal(bad:rep(4), cleaned "\244\144\128\128")
    assert.equal(bad:rep(4), cleaned "\245\128\128\128")
    assert.equal(bad:rep(2), cleaned "\254\255")
  end)

  it("that break off become one U+FFFD for each piece", function()
    assert.equal("a" .. bad:rep(3) .. "b" .. bad .. "c" .. bad:rep(2) .. "d",
                 cleaned "a\241\128\128\225\128\194b\128c\128\191d")
    assert.equal(bad, cleaned "\240\159\152")
    assert.equal(bad, cleaned "\226\130")
    assert.equal(bad .. "x", cleaned "\195x")
  end)

  it("end where the text ends, whatever follows in memory", function()
    assert.equal(bad, cleaned("€", 1))
    assert.equal(bad, cleaned("€", 2))
    assert.equal("a" .. bad, cleaned("a😀", 4))
  end)

  it("are told from garbage as Python tells them", function()
    if os.execute "command -v python3 >/dev/null 2>&1" ~= 0 then return pending "python3 is not installed" end
    local random, texts = new_random(13), {}
    local leads = { 0x41, 0x7f, 0x80, 0xbf, 0xc0, 0xc2, 0xdf, 0xe0, 0xed, 0xef, 0xf0, 0xf1, 0xf4, 0xf5, 0xff }
    for i = 1, 3000 do
      local bytes = {}
      for k = 1, 12 do
        bytes[k] = string.char(random() % 2 == 0 and leads[random() % #leads + 1] or 0x80 + random() % 0x40)
      end
      texts[i] = table.concat(bytes)
    end
    local path = os.tmpname()
    local input = assert(io.open(path, "wb"))
    input:write(table.concat(texts, "\n"))
    input:close()
    local program = "import sys\nfor line in sys.stdin.buffer.read().split(b'\\n'): " ..
                    "sys.stdout.buffer.write(line.decode('utf-8', 'replace').encode() + b'\\n')"
    local python = assert(io.popen(('python3 -c "%s" < %s'):format(program, path)))
    for i = 1, #texts do assert.equal(python:read "*l", cleaned(texts[i])) end
    python:close()
    os.remove(path)
  end)
end)
