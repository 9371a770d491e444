local cable = require "spec.support.cable"
local capture = require "nfengine.testing.capture"
local example = require "spec.support.example"
local golden = require "spec.support.golden"
local live = require "spec.support.live"
local meter = require "spec.support.meter"
local P = require "nfengine.testing.packet"
local program = require "spec.support.program"
local terminal = require "spec.support.terminal"

local function top(...)
  local result = program.run("-q", "top", ...)
  assert.are.same({ 0, "" }, { result.status, result.err })
  return result.out
end

-- The rows of a table, blanks squeezed.
local function rows_of(out, title)
  local rows = {}
  for row in (("\n" .. out):match("\n" .. title .. " [^\n]*\n(.-\n)\n") or out:match("\n" .. title .. " [^\n]*\n(.*)$"))
    :gmatch "[^\n]+" do
    rows[#rows + 1] = row:gsub(" +", " ")
  end
  return rows
end

describe("scripts/top.lua", function()
  after_each(function()
    capture.cleanup()
    program.remove_temporaries()
  end)

  example.tests("scripts/top.lua", golden.other_ndpi())

  it("counts bytes and flows of ports, hosts and flows, and means of the whole run", function()
    local frame = P.eth {} .. P.ipv4 { src = "10.0.0.3", dst = "10.0.0.3" } .. P.icmp {}
    local path = capture.file(capture.pcap({
      meter.udp(0, 5000, ("x"):rep(958)), meter.back(500, 5000, ("x"):rep(458)), meter.udp(1000, 6000, ("x"):rep(58)),
      meter.frame(10000, frame, { size = 400 }),
    }, { ns = true }))
    local out = top("--n-dissections=0", path)
    assert.equal("2020-09-13 12:26:50 UTC  4 packets, 2.0 kB in 10.0 s: 200 B/s", out:match "^[^\n]*")
    assert.same({ "2000/udp 160 B/s 1.6 kB 2", "icmp 40 B/s 400 B 1" }, rows_of(out, "PORT"))
    assert.same({ "10.0.0.1 160 B/s 1.6 kB 2", "10.0.0.2 160 B/s 1.6 kB 2", "10.0.0.3 40 B/s 400 B 1" },
      rows_of(out, "HOST"))
    assert.same({ "10.0.0.1:5000 > 10.0.0.2:2000 udp 150 B/s 1.5 kB 2000/udp",
      "10.0.0.3 > 10.0.0.3 icmp 40 B/s 400 B icmp", "10.0.0.1:6000 > 10.0.0.2:2000 udp 10 B/s 100 B 2000/udp" },
      rows_of(out, "FLOW"))
  end)

  it("comes to the same as the summary, whatever the interval", function()
    local function of(words) return rows_of(program.run("-q", unpack(words)).out, "APPLICATION") end
    local summary = of { "summary", "samples/web.pcap", "--", "--top=100" }
    local expected = {}
    for i, row in ipairs(summary) do
      local name, flows, bytes = row:match "^(.-) ([%d,]+) ([%d.]+ %a+) "
      expected[i] = name .. " " .. bytes .. " " .. flows
    end
    for _, interval in ipairs { "0.25", "100" } do
      local rows = of { "top", "samples/web.pcap", "--", "--top=100", "--interval=" .. interval }
      for i, row in ipairs(rows) do rows[i] = row:gsub(" [%d.]+ k?B/s", "") end
      assert.same(expected, rows)
    end
  end)

  it("shows as many rows as asked", function()
    local out = top("--n-dissections=0", "samples/web.pcap", "--", "--top=2")
    for _, title in ipairs { "PORT", "HOST", "FLOW" } do assert.equal(2, #rows_of(out, title)) end
    for line in out:gmatch "[^\n]+" do assert.is_true(#line <= 80, line) end
  end)

  it("has nothing to show without packets", function()
    assert.equal("no packets\n", top("--bpf-filter=port 9", "samples/web.pcap"))
  end)

  it("refuses several meters", function()
    local result = program.run("top", "--n-meters=2", "samples/web.pcap")
    assert.same({ 1, "nfengine: --n-meters=2: packets are counted in one place here, expected 1\n" },
      { result.status, result.err })
  end)

  it("draws at a terminal over what it drew before, and leaves the end there", function()
    local text = terminal.run(program.path .. " top --n-dissections=0 samples/web.pcap -- --top=2")
    local lines = terminal.screen(text)
    assert.matches("^2026%-11%-23 16:16:43 UTC  384 packets, ", lines[1])
    assert.matches("^PORT ", lines[3])
    assert.matches("^FLOW ", lines[11])
    assert.matches("^nfengine: 390 packets, ", lines[14])
    assert.is_nil(table.concat(lines, "\n", 2):match "2026")
    assert.equal(15, #lines)
  end)

  it("shows a small terminal fewer rows", function()
    local text = terminal.run(program.path .. " -q top --n-dissections=0 samples/web.pcap -- --top=100")
    local lines = terminal.screen(text)
    assert.is_true(#lines <= 24, #lines .. " lines")
    assert.equal(5, #rows_of(table.concat(lines, "\n"), "PORT"))
  end)

  describe("of an interface", function()
    local missing = cable.missing()
    if missing then
      it("looks again and again", function() pending(missing) end)
      return
    end

    before_each(cable.lay)
    after_each(cable.remove)

    it("counts until it is told to stop", function()
      local run = live.start(cable.net.b, "-q", "top", "-i", "vb", "--n-dissections=0")
      cable.send(cable.udp_file(5001, 5003))
      live.wait_for_packets(run, 3)
      local result = run:stop()
      assert.equal(0, result.status)
      assert.same({ "2000/udp", "3" }, { rows_of(result.out, "PORT")[1]:match "^(%S+) .* (%d+)$" })
    end)

    it("moves what a flow has to the application that it turns out to be", function()
      local there, back = P.ipv4 { src = "10.0.0.1", dst = "10.0.0.2" }, P.ipv4 { src = "10.0.0.2", dst = "10.0.0.1" }
      local function part(...)
        local packets = {}
        for i, layers in ipairs { ... } do packets[i] = { bytes = (P.eth {} .. layers):bytes() } end
        return capture.file(capture.pcap(packets))
      end
      local run, text = terminal.start(cable.net.b, program.path .. " -q top -i vb -- --interval=0.25")
      local function drawn(what) return function() return text():find(what) end end
      live.wait_for("a first look", drawn "no packets yet")
      cable.send(part(there .. P.tcp { src_port = 40000, dst_port = 8123, flags = "S" },
        back .. P.tcp { src_port = 8123, dst_port = 40000, flags = "SA" }))
      live.wait_for("a flow that nobody knows", drawn "\nUnknown ")
      cable.send(part(there .. P.tcp { src_port = 40000, dst_port = 8123, seq = 2, ack = 2 }
        .. "GET / HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: x\r\n\r\n"))
      live.wait_for("its application", drawn "\nHTTP ")
      assert.equal(0, terminal.interrupt(run))
      local lines = terminal.screen(text())
      local rows = rows_of(table.concat(lines, "\n"), "APPLICATION")
      assert.equal(1, #rows)
      assert.matches("^HTTP .* 218 B 1$", rows[1]) -- 54 + 54 + 54 + 56
    end)

    it("looks at the clock while no packet comes, and ends on Ctrl-C", function()
      local run, text = terminal.start(cable.net.b,
        program.path .. " -q top -i vb --n-dissections=0 -- --interval=0.25")
      local function drawn() return select(2, text():gsub("no packets yet", "")) end
      live.wait_for("a first look", function() return drawn() >= 1 end)
      local first = drawn()
      live.wait_for("two more", function() return drawn() >= first + 2 end)
      cable.send(cable.udp_file(5001, 5003))
      live.wait_for("a port", function() return text():find "2000/udp" end)
      assert.equal(0, terminal.interrupt(run))
      local lines = terminal.screen(text())
      assert.matches("UTC  3 packets, 129 B in ", lines[1])
    end)
  end)
end)
