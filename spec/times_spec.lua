-- Captures whose times jump: forwards by centuries, back, and to both ends of what can be told. Every packet counts, in
-- the order it came, with a clock that never goes back; the sanitizer build would show an overflow.

local capture = require "nfengine.testing.capture"
local engine = require "spec.support.engine"
local meter = require "spec.support.meter"
local program = require "spec.support.program"

local SECOND, LAST = 1000000000ULL, -1ULL -- of 64 bits
local LAST_OF_PCAP = (2 ^ 32 - 1) * SECOND

-- A pcapng file with a packet from port 1000 at each of these times, in ns since 1970.
local function file(times)
  local blocks = { capture.section(), capture.interface { tsresol = 9 } }
  for _, time in ipairs(times) do
    blocks[#blocks + 1] = capture.enhanced_packet { bytes = meter.udp(0, 1000).bytes, ticks = time }
  end
  return capture.file(capture.pcapng(blocks))
end

local COLUMNS = "bidirectional_packets,bidirectional_first_seen_%s,bidirectional_last_seen_%s,"
  .. "bidirectional_max_piat_%s,splt_piat_%s,end_reason"

-- The records of a file, a line each.
local function records(path, unit, ...)
  local result = program.run("flows", "-q", path, "--time-unit=" .. unit, "--statistical-analysis", "--splt-analysis=3",
    "--columns=" .. COLUMNS:gsub("%%s", unit), ...)
  assert.are.same({ 0, "" }, { result.status, result.err })
  return (result.out:gsub("^[^\n]*\n", ""))
end

-- A number of ns in a coarser unit.
local UNITS = { ms = 1000000ULL, us = 1000ULL, ns = 1ULL }
local function shown(ns, unit) return (tostring(ns / UNITS[unit]):gsub("ULL", "")) end

local FOREVER = { "--idle-timeout=18446744073709552", "--active-timeout=18446744073709552" }

describe("times that jump", function()
  after_each(engine.cleanup)

  for unit in pairs(UNITS) do
    for _, meters in ipairs { 1, 3 } do
      local n_meters = "--n-meters=" .. meters

      it(("cut a flow, and back none, in %s with %d meters"):format(unit, meters), function()
        local times = { 0ULL, LAST_OF_PCAP, 5 * SECOND, LAST, 0ULL, LAST_OF_PCAP }
        local century, last = shown(LAST_OF_PCAP, unit), shown(LAST, unit)
        assert.are.equal(('1,0,0,0,"[0, -1, -1]","idle"\n2,%s,%s,0,"[0, 0, -1]","idle"\n'):format(century, century)
          .. ('3,%s,%s,0,"[0, 0, 0]","end of input"\n'):format(last, last), records(file(times), unit, n_meters))
      end)

      it(("are gaps of one flow where nothing cuts it, in %s with %d meters"):format(unit, meters), function()
        local path = file { SECOND, 2 * SECOND + 1, LAST }
        local gap = LAST / UNITS[unit] - (2 * SECOND + 1) / UNITS[unit]
        -- splt_piat is signed, and ends where its numbers do.
        local splt_gap = unit == "ns" and "9223372036854775807" or tostring(gap):gsub("ULL", "")
        local second = shown(SECOND + (unit == "ns" and 1 or 0), unit)
        assert.are.equal(('3,%s,%s,%s,"[0, %s, %s]","end of input"\n'):format(shown(SECOND, unit), shown(LAST, unit),
          tostring(gap):gsub("ULL", ""), second, splt_gap), records(path, unit, n_meters, unpack(FOREVER)))
      end)
    end
  end

  it("end a hundred thousand flows at once, all of them before the packet behind", function()
    local path = program.temporary ".pcap"
    assert.are.equal(0, program.shell("luajit bench/trace.lua syn_flood " .. path .. " 100000").status)
    local later = { bytes = meter.udp(0, 1000).bytes, time_ns = 1900000000 * SECOND }
    program.write(program.read(path) .. capture.pcap_record(later, {}), path)
    for _, meters in ipairs { 1, 3 } do
      local result = program.run("flows", "-q", path, "--no-dpi", "--columns=id,src_port,end_reason",
        "--n-meters=" .. meters)
      assert.are.equal(100000, select(2, result.out:gsub('"idle"\n', "")))
      assert.matches('\n100000,1000,"end of input"\n$', result.out)
    end
  end)

  it("are drawn and told of by every script that does", function()
    local path = file { 0ULL, LAST_OF_PCAP, 5 * SECOND, LAST, 0ULL }
    for _, script in ipairs { "timeline", "summary", "top", "statistics", "early" } do
      local result = program.run("-q", script, path)
      assert.are.same({ 0, "" }, { result.status, result.err }, script)
      assert.is_true(#result.out > 0 and #result.out < 20000, script)
    end
  end)
end)
