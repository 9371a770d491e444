local capture = require "nfengine.testing.capture"
local example = require "spec.support.example"
local golden = require "spec.support.golden"
local P = require "nfengine.testing.packet"
local program = require "spec.support.program"

local function summary(...)
  local result = program.run("-q", "summary", ...)
  assert.are.same({ 0, "" }, { result.status, result.err })
  return result.out
end

local function count_lines(text) return select(2, text:gsub("\n", "")) end

local there, back = P.ipv4 { src = "10.0.0.1", dst = "10.0.0.2" }, P.ipv4 { src = "10.0.0.2", dst = "10.0.0.1" }

-- A datagram from 10.0.0.1:5000 to 10.0.0.2:PORT.
local function packet(port, size, second)
  local frame = P.eth {} .. there .. P.udp { src_port = 5000, dst_port = port } .. ("x"):rep(58)
  return { bytes = frame:bytes(), size = size, sec = second or 0 }
end

describe("scripts/summary.lua", function()
  after_each(capture.cleanup)

  example.tests("scripts/summary.lua", golden.other_ndpi())

  it("fits 80 columns, also with long names", function()
    for line in (summary "samples/dns.pcap" .. summary("samples/web.pcap", "--", "--top=100")):gmatch "[^\n]+" do
      assert.is_true(#line <= 80, line)
    end
  end)

  it("shows as many lines of a table as asked, and sums up the others", function()
    local out = summary("--n-dissections=0", "samples/web.pcap", "--", "--top=1")
    assert.is_truthy(out:match "\nADDRESS +FLOWS +BYTES +SHARE\n2001:db8::10 [^\n]+\n13 others +%d+ ")
    assert.is_truthy(out:match "\nPORT +FLOWS +BYTES +SHARE\n80/tcp +6 +132%.3 kB +76%.1%%  #+\n8 others +")
    assert.is_nil(summary("--n-dissections=0", "samples/web.pcap", "--", "--top=9"):match "\nPORT.* others")
    -- One line that stands for one line would be a waste.
    assert.is_nil(summary("--n-dissections=0", "samples/web.pcap", "--", "--top=8"):match "\nPORT.* others")
  end)

  it("counts flows and bytes of ports, addresses and the whole", function()
    local path = capture.file(capture.pcap {
      packet(53, 1000), packet(53, 1000, 1), packet(80, 500, 2), packet(6000, 1500, 7384),
    })
    local out = summary("--n-dissections=0", path)
    assert.is_truthy(out:find("\n  begins   1970-01-01 00:00:00 UTC\n  lasts    2 h 3 min\n"
      .. "  flows    3 of 4 packets, 4.0 kB\n\n", 1, true), out)
    local rows = out:gsub(" +", " ")
    local bar = ("#"):rep(11)
    assert.are.equal(("10.0.0.1 3 4.0 kB 100.0%% %s\n10.0.0.2 3 4.0 kB 100.0%% %s"):format(bar, bar),
      rows:match "ADDRESS [%u ]+\n(.-)\n\n")
    assert.are.equal("53/udp 1 2.0 kB 50.0% ######\n5000/udp 1 1.5 kB 37.5% ####\n80/udp 1 500 B 12.5% #\n",
      rows:match "PORT [%u ]+\n(.*)$")
  end)

  it("counts what an address says to itself once", function()
    local frame = P.eth {} .. P.ipv4 { src = "10.0.0.1", dst = "10.0.0.1" } .. P.udp { src_port = 5000, dst_port = 9 }
    local out = summary("--n-dissections=0", capture.file(capture.pcap { { bytes = frame:bytes(), size = 700 } }))
    assert.is_truthy(out:match "\n10%.0%.0%.1 +1 +700 B +100%.0%%")
  end)

  it("says the same in any unit of time", function()
    assert.are.equal(summary "samples/web.pcap", summary("--time-unit=ns", "samples/web.pcap"))
  end)

  it("goes without applications when they are switched off", function()
    local out = summary("--n-dissections=0", "samples/web.pcap")
    assert.is_nil(out:match "APPLICATION" or out:match "SERVER")
    assert.is_truthy(out:match "\nADDRESS")
  end)

  it("says which packets reached no flow, and why", function()
    local out = summary("--bpf-filter=icmp or arp", "--no-defragment", "samples/fragments.pcap")
    assert.is_truthy(out:match "\n  ignored  45 filtered, 10 later fragment, 2 not IP\n", out)
  end)

  it("has no tables without flows", function()
    assert.are.equal("samples/web.pcap\n  flows    0 of 0 packets, 0 B\n  ignored  390 filtered\n",
      summary("--bpf-filter=tcp port 9", "samples/web.pcap"))
  end)

  it("takes several captures as one", function()
    local out = summary("--n-dissections=0", "samples/dns.pcap", "samples/ssh.pcap")
    assert.are.equal("2 captures\n", out:match "^[^\n]*\n")
    assert.is_truthy(out:match "flows    23 of 405 packets")
    assert.is_true(count_lines(out) > 10)
  end)

  it("shows long and hostile names in one printable line", function()
    local packets = {}
    local function tcp(ip, fields, payload)
      table.insert(packets, { bytes = (P.eth {} .. ip .. P.tcp(fields) .. (payload or "")):bytes() })
    end
    local function request(port, host)
      tcp(there, { src_port = port, dst_port = 80, flags = "S" })
      tcp(back, { src_port = 80, dst_port = port, flags = "SA" })
      tcp(there, { src_port = port, dst_port = 80, seq = 2, ack = 2 },
        "GET / HTTP/1.1\r\nHost: " .. host .. "\r\nUser-Agent: x\r\n\r\n")
    end
    request(40000, "evil\27[2J.test")
    request(40001, ("a"):rep(60) .. ".test")
    local out = summary(capture.file(capture.pcap(packets))):lower()
    assert.is_nil(out:match "[^\n\32-\126]")
    assert.is_truthy(out:match "\nevil%?%[2j%.test +1 ")
    assert.is_truthy(out:match("\n%.%.%." .. ("a"):rep(31) .. "%.test +1 "))
  end)

  it("refuses a table of no lines", function()
    local result = program.run("summary", "samples/web.pcap", "--", "--top=0")
    assert.are.same({ 2, 'nfengine: --top "0": expected an integer from 1 to 1000\n' }, { result.status, result.err })
  end)
end)
