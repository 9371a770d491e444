-- Numbers, times and names for people, and sums by name: lua/nfengine/show.lua and tally.lua.

local show = require "nfengine.show"
local tally = require "nfengine.tally"

-- What a function makes of each value, joined.
local function made(func, ...)
  local texts = {}
  for i, value in ipairs { ... } do texts[i] = func(value) end
  return table.concat(texts, ", ")
end

describe("nfengine.show", function()
  it("shows bytes in the unit that leaves three digits before the point", function()
    assert.equal("0 B, 1 B, 999 B, 1.0 kB, 999.9 kB, 1.0 MB, 1.0 GB, 5000.0 PB",
      made(show.size, 0, 0.6, 999, 1000, 999949, 999951, 1e9, 5e18))
    assert.equal("1.5 kB/s", show.rate(1500))
  end)

  it("shows a duration by its two largest units", function()
    assert.equal("0.0 s, 1 ms, 999 ms, 1.0 s, 119.9 s, 2 min 0 s, 9 min 59 s, 2 h 0 min, 2 h 3 min, 2 d 1 h",
      made(show.duration, 0, 0.001, 0.9994, 0.9996, 119.9, 120, 599.5, 7200, 7384, 176500))
  end)

  it("shows times in UTC, without what is below the second", function()
    assert.equal("1970-01-01 00:00:00 UTC, 2026-11-23 16:16:30 UTC", made(show.moment, 0, 1795450590.9))
  end)

  it("shows shares, of nothing too", function()
    assert.equal("12.5%", show.share(1, 8))
    assert.equal("0.0%", show.share(0, 0))
  end)

  it("lets nothing through that a terminal would obey, and keeps the ends of long names", function()
    assert.equal("a?[2Jb??", show.printable "a\27[2Jb\195\164")
    assert.equal("example.org", show.shortened("example.org", 11))
    assert.equal("...mple.org", show.shortened("x.example.org", 11))
  end)

  it("shows endpoints and services", function()
    assert.equal("10.0.0.1:80", show.endpoint("10.0.0.1", 80))
    assert.equal("[2001:db8::1]:80", show.endpoint("2001:db8::1", 80))
    assert.equal("2001:db8::1", show.endpoint("2001:db8::1", 0))
    assert.equal("443/tcp", show.service { src_port = 50000, dst_port = 443, protocol = 6 })
    assert.equal("53/udp", show.service { src_port = 53, dst_port = 5353, protocol = 17 })
    assert.equal("icmp", show.service { src_port = 0, dst_port = 0, protocol = 1 })
    assert.equal("protocol 113", show.service { src_port = 0, dst_port = 0, protocol = 113 })
  end)

  it("shows why packets were ignored, in the order of the reasons", function()
    assert.equal("", show.ignored { ignored = {} })
    assert.equal("1,234 filtered, 6 not IP", show.ignored { ignored = { ["not IP"] = 6, filtered = 1234 } })
  end)
end)

describe("nfengine.tally", function()
  local function rows_of(list)
    local rows = {}
    for i, row in ipairs(list) do rows[i] = ("%s %d %d"):format(row.name, row.flows, row.bytes) end
    return table.concat(rows, ", ")
  end

  local function filled()
    local sums = tally.new()
    for _, each in ipairs { { "c", 5 }, { "a", 5 }, { "b", 7 }, { "d", 1 }, { "a", 1 }, { "e", 7 } } do
      sums:add(each[1], each[2])
    end
    return sums
  end

  it("gives the largest in order, equal ones by name, and the sum of the others", function()
    local largest, others = filled():largest(3)
    assert.equal("b 1 7, e 1 7, a 2 6", rows_of(largest))
    assert.same({ count = 2, flows = 2, bytes = 6 }, others)
  end)

  it("gives all where no more than one would be summed up", function()
    for n = 4, 6 do
      local largest, others = filled():largest(n)
      assert.equal("b 1 7, e 1 7, a 2 6, c 1 5, d 1 1", rows_of(largest))
      assert.is_nil(others)
    end
    assert.same({}, (tally.new():largest(3)))
  end)

  it("sorts by another field that its user keeps", function()
    local sums = filled()
    for name, row in pairs(sums.rows) do row.score = name == "d" and 9 or 1 end
    assert.equal("d 1 1, a 2 6", rows_of((sums:largest(2, "score"))))
  end)
end)
