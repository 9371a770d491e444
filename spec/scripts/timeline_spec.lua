local capture = require "nfengine.testing.capture"
local example = require "spec.support.example"
local golden = require "spec.support.golden"
local markup = require "spec.support.markup"
local meter = require "spec.support.meter"
local program = require "spec.support.program"

-- Runs the script with so many columns; what it prints.
local function plot(columns, words)
  local result = program.shell(("COLUMNS=%s %s -q timeline --n-dissections=0 %s")
    :format(columns, program.quote(program.path), words))
  assert.are.same({ 0, "" }, { result.status, result.err })
  return result.out
end

local function packet(at, port, size) return meter.udp(at, port, ("x"):rep(size - 42)) end

-- 4000 bytes in the first half second, 2000 in the second; 1000 later, from a port below 2000.
local function file()
  local packets = {}
  for i, at in ipairs { 0, 100, 200, 300, 500, 999, 2000 } do packets[i] = packet(at, 5000, 1000) end
  table.insert(packets, packet(3500, 80, 1000))
  return capture.file(capture.pcap(packets, { ns = true }))
end

describe("scripts/timeline.lua", function()
  after_each(function()
    capture.cleanup()
    program.remove_temporaries()
  end)

  example.tests("scripts/timeline.lua", golden.other_ndpi())

  it("plots bytes a second to scale, as wide as the terminal", function()
    -- 34 columns are left for the plot, so bins of 500 ms, each in four: of 4, 2, 0, 0, 1, 0, 0 and 1 packets.
    assert.equal([[
2020-09-13 12:26:40 UTC, 4.0 s in steps of 500 ms

                8.0 kB/s │████
                         │████
                         │████████
                         │████████        ████        ████
                       0 └┬───────────────┬───────────────
                          12:26:40        12:26:42

PORT                PEAK
2000/udp        8.0 kB/s  ████▄▄▄▄        ▂▂▂▂
80/udp          2.0 kB/s                              ████
]], plot(60, file() .. " -- --height=4"))
  end)

  it("fits its columns", function()
    for _, columns in ipairs { 60, 67, 80, 200 } do
      local out = plot(columns, "samples/web.pcap") .. plot(columns, "samples/voip_like.pcap -- --ascii")
      for line in out:gmatch "[^\n]+" do
        assert.is_true(#line:gsub("[\128-\191]", "") <= columns, line)
      end
    end
    assert.equal(plot(80, "samples/web.pcap"), plot("many", "samples/web.pcap"))
    assert.equal(plot(60, "samples/web.pcap"), plot(3, "samples/web.pcap"))
  end)

  it("can do with ASCII", function()
    assert.is_nil(plot(80, "samples/web.pcap -- --ascii"):find "[^\n\32-\126]")
  end)

  it("shows as many lines as asked, and sums up the others", function()
    local out = plot(80, "samples/web.pcap -- --top=1")
    assert.matches("\n80/tcp [^\n]+\n8 others [^\n]+\n$", out)
  end)

  it("draws the same as SVG", function()
    local path = program.temporary ".svg"
    plot(80, "samples/web.pcap -- --svg=" .. path)
    local root = markup.parse(program.read(path))
    local names = {}
    for i, text in ipairs(root:all "text") do names[i] = text:text() end
    assert.same({ "80/tcp", "443/tcp", "22/tcp" }, { unpack(names, 1, 3) })
    local result = program.run("-q", "timeline", "samples/web.pcap", "--", "--svg=/nowhere/a.svg")
    assert.equal(1, result.status)
    assert.matches("/nowhere/a%.svg: No such file", result.err)
  end)

  it("has nothing to plot without packets", function()
    assert.equal("no packets\n", plot(80, "samples/web.pcap --bpf-filter='port 9'"))
  end)

  it("plots the same in any unit of time and with any number of meters", function()
    local expected = plot(80, "samples/web.pcap --n-meters=1")
    assert.equal(expected, plot(80, "samples/web.pcap --n-meters=3 --time-unit=ns"))
  end)
end)
