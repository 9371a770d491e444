-- lua/nfengine/notation.lua: times, addresses, ports and protocols as people write them.

local notation = require "nfengine.notation"

local function hex(bytes)
  return bytes and (bytes:gsub(".", function(char) return ("%02x"):format(char:byte()) end))
end

describe("a time", function()
  it("is seconds since 1970, to the nanosecond", function()
    for word, expected in pairs {
      ["0"] = 0ULL, ["1700000000"] = 1700000000000000000ULL, ["1700000000.5"] = 1700000000500000000ULL,
      ["1700000000."] = 1700000000000000000ULL, ["1.000000001"] = 1000000001ULL, ["1.0000000019"] = 1000000001ULL,
      ["18446744072.999999999"] = 18446744072999999999ULL,
    } do
      assert.equal(expected, (notation.time(word)), word)
    end
  end)

  it("is a date and a time of day, UTC", function()
    for word, seconds in pairs { -- as date -u -d WORD +%s has them
      ["1970-01-01"] = 0, ["2000-02-29"] = 951782400, ["2024-02-29T12:00:00Z"] = 1709208000,
      ["2026-11-23T16:16:30"] = 1795450590, ["2026-11-23 16:16:30Z"] = 1795450590, ["2026-11-23 16:16"] = 1795450560,
      ["2099-12-31T23:59:59Z"] = 4102444799, ["2100-03-01"] = 4107542400, ["1999-12-31T23:59:60Z"] = 946684800,
    } do
      local time, has_fraction = notation.time(word)
      assert.same({ seconds * 1000000000ULL, false }, { time, has_fraction }, word)
    end
    assert.same({ 1795450590250000000ULL, true }, { notation.time "2026-11-23T16:16:30.25Z" })
  end)

  it("agrees with the system's calendar", function()
    for i = 0, 2000 do
      local seconds = i * 2147483 + i * i
      local time = notation.time(os.date("!%Y-%m-%dT%H:%M:%SZ", seconds))
      assert.equal(seconds * 1000000000ULL, time)
    end
  end)

  it("is nothing else", function()
    for _, word in ipairs { "", "x", "-1", "1e5", "0x10", "1700000000000", "18446744073", "2026-13-01", "2026-00-10",
      "2026-02-29", "2100-02-29", "2026-04-31", "2026-01-00", "1969-12-31", "2026-11-23T", "2026-11-23T24:00",
      "2026-11-23T16:60", "2026-11-23T16:16:61", "2026-11-23T16:16:30+01:00", "26-11-23", "2026-11-23Z", "1 2" } do
      assert.is_nil(notation.time(word), word)
    end
  end)
end)

describe("an address", function()
  it("is IPv4 or IPv6 in all of its forms", function()
    for word, expected in pairs {
      ["10.0.0.1"] = "0a000001", ["255.255.255.255"] = "ffffffff", ["::"] = ("00"):rep(16),
      ["::1"] = ("00"):rep(15) .. "01", ["1::"] = "0001" .. ("00"):rep(14),
      ["2001:DB8::a:1"] = "20010db8" .. ("00"):rep(8) .. "000a0001",
      ["1:2:3:4:5:6:7:8"] = "00010002000300040005000600070008",
      ["1:2:3:4:5:6:7::"] = "00010002000300040005000600070000",
      ["::ffff:192.0.2.1"] = ("00"):rep(10) .. "ffffc0000201",
      ["1:2:3:4:5:6:1.2.3.4"] = "00010002000300040005000601020304",
    } do
      assert.equal(expected, hex(notation.address(word)), word)
    end
  end)

  it("is nothing else", function()
    for _, word in ipairs { "", "1.2.3", "1.2.3.4.5", "256.1.1.1", "1.2.3.x", "1.2.3.4:80", ":", ":::", "1:2",
      "1::2::3", "12345::", "g::", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::", ":1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8:",
      "1.2.3.4::", "::1.2.3.4:5", "::1.2.3", "fe80::1%eth0", "1:2:3:4:5:6:7:1.2.3.4", " ::1" } do
      assert.is_nil(notation.address(word), word)
    end
  end)

  it("with a length is a prefix, cut to it", function()
    for word, expected in pairs {
      ["10.1.2.3"] = { 4, 32, "0a010203" }, ["10.1.2.3/8"] = { 4, 8, "0a" }, ["10.0.0.255/25"] = { 4, 25, "0a000080" },
      ["0.0.0.0/0"] = { 4, 0, "" }, ["::/0"] = { 6, 0, "" }, ["2001:db8:ffff::/33"] = { 6, 33, "20010db880" },
    } do
      local prefix = notation.prefix(word)
      assert.same(expected, { prefix.version, prefix.bits, hex(prefix.bytes) }, word)
    end
    for _, word in ipairs { "10.0.0.0/33", "::/129", "10.0.0.0/", "/8", "10.0.0.0/8/8", "10/8", "10.0.0.0/-1" } do
      assert.is_nil(notation.prefix(word), word)
    end
  end)
end)

describe("a port or a protocol", function()
  it("is a number, a protocol also a name", function()
    assert.same({ 0, 65535 }, { notation.port "0", notation.port "65535" })
    assert.same({ 6, 17, 58, 47, 0, 255 }, { notation.protocol "tcp", notation.protocol "UDP",
      notation.protocol "icmpv6", notation.protocol "47", notation.protocol "0", notation.protocol "255" })
  end)

  it("is nothing else", function()
    for _, word in ipairs { "", "65536", "-1", "1.5", "0x50", " 80" } do
      assert.same({}, { notation.port(word), notation.protocol(word) })
    end
    for _, word in ipairs { "256", "tcpp" } do assert.is_nil(notation.protocol(word), word) end
  end)
end)
