-- scripts/extract.lua: what it writes, read again, is the flows that it was to find. How packets become files is
-- spec/lua/captures_spec.lua's.

local P = require "nfengine.testing.packet"
local capture = require "nfengine.testing.capture"
local engine = require "spec.support.engine"
local example = require "spec.support.example"
local golden = require "spec.support.golden"
local meter = require "spec.support.meter"
local program = require "spec.support.program"

local WITHOUT_L7 = "--n-dissections=0"

local function extract(path, ...)
  local words = { ... }
  words[#words + 1] = "--"
  words[#words + 1] = "--write=" .. path
  return program.run("-q", "extract", unpack(words))
end

-- The sorted rows of flows, but for ids and why flows ended: other packets have a part in that.
local function rows(...)
  local result = program.run("-q", "flows", "--statistical-analysis", "--splt-analysis=5", ...)
  assert.same({ 0, "" }, { result.status, result.err })
  local list = {}
  for line in result.out:gmatch "[^\n]+" do list[#list + 1] = line:gsub("^[%w_]+,[%w_-]+,", "") end
  table.sort(list)
  return list
end

-- That a capture's flows which a filter accepts, and those that were extracted, are the same. Returns how many.
local function expect_same(source, filter, ...)
  local path = program.temporary ".pcapng"
  local result = extract(path, "--filter=" .. filter, source, ...)
  assert.same({ 0, "" }, { result.status, result.err })
  local wanted, found = rows("--filter=" .. filter, source, ...), rows(path, ...)
  assert.same(wanted, found)
  local flows = tonumber(result.out:match "^(%d+) flows, %d+ packets\n$")
  assert.equal(#wanted - 1, flows)
  return flows
end

describe("scripts/extract.lua", function()
  after_each(engine.cleanup)

  example.tests("scripts/extract.lua", golden.other_ndpi())

  it("writes the packets of the flows that the filter accepts, and no others", function()
    for filter, count in pairs {
      ["flow.dst_port == 80"] = 6, ["flow.protocol == 58"] = 5, ["flow.bidirectional_packets == 2"] = 11,
      ["flow.ip_version == 6"] = 7, ["true"] = 32, ["false"] = 0,
    } do
      assert.equal(count, expect_same("samples/web.pcap", filter, WITHOUT_L7), filter)
    end
  end)

  it("finds flows by what nDPI says", function()
    if golden.other_ndpi() then return pending(golden.other_ndpi()) end
    assert.equal(3, expect_same("samples/web.pcap", 'flow.application_name == "TLS"', "--no-dpi-cache"))
    assert.equal(1, expect_same("samples/web.pcap", 'flow.application_name == "SSH"'))
  end)

  it("tells flows of the same addresses and ports apart, as timeouts and plugins cut them", function()
    local timeouts = { "--idle-timeout=1", "--active-timeout=2", WITHOUT_L7 }
    assert.is_true(expect_same("samples/voip_like.pcap", "flow.bidirectional_packets > 100", unpack(timeouts)) > 0)
    assert.is_true(expect_same("samples/closing.pcap", "flow.bidirectional_packets == 7", unpack(timeouts)) >= 0)
    -- Of four flows between the same ends, the second and the fourth.
    local packets, path = {}, program.temporary ".pcap"
    for i = 0, 3 do
      for k = 0, i do packets[#packets + 1] = meter.udp(i * 10000 + k, 1000, "flow " .. i) end
    end
    local source = engine.capture(packets)
    local result = extract(path, WITHOUT_L7, "--idle-timeout=5", "--filter=flow.bidirectional_packets % 2 == 0", source)
    assert.same({ 0, "2 flows, 6 packets\n" }, { result.status, result.out })
    local payloads = ""
    for number in program.read(path):gmatch "flow (%d)" do payloads = payloads .. number end
    assert.equal("113333", payloads)
    -- Slices of three packets: the second of each flow that has one.
    local sliced = { "--plugin=flow_slicer", "-a", "flow_slicer.limit=3", WITHOUT_L7, "--idle-timeout=5" }
    result = extract(path, "--filter=flow.bidirectional_packets == 1", source, unpack(sliced))
    assert.same({ 0, "2 flows, 2 packets\n" }, { result.status, result.out })
  end)

  it("keeps to the run's parameters", function()
    local path = program.temporary ".pcapng"
    for _, case in ipairs {
      { "--bpf-filter=udp", "15 flows" }, { "--max-packets=30", "10 flows" }, { "--max-nflows=3", "3 flows" },
    } do
      local result = extract(path, case[1], WITHOUT_L7, "samples/web.pcap")
      assert.same({ 0, case[2] }, { result.status, result.out:match "^%d+ flows" }, case[1])
    end
    local all = rows(WITHOUT_L7, "--max-nflows=3", "samples/web.pcap")
    assert.same(all, rows(WITHOUT_L7, path))
  end)

  it("writes packets in the order and with the bytes of the capture", function()
    local path = program.temporary ".pcap"
    assert.equal(0, extract(path, WITHOUT_L7, "--filter=true", "samples/closing.pcap").status)
    -- The sample has microseconds, and nothing but flows' packets.
    local records, written = program.read("samples/closing.pcap"):sub(25), program.read(path):sub(25)
    assert.equal(#records, #written)
    local at = 1
    while at <= #records do
      local a, b, c, d = records:byte(at + 8, at + 11)
      local size = 16 + a + 256 * (b + 256 * (c + 256 * d))
      assert.equal(records:sub(at, at + 3) .. records:sub(at + 8, at + size - 1),
        written:sub(at, at + 3) .. written:sub(at + 8, at + size - 1))
      at = at + size
    end
  end)

  it("reads folders and several captures as one", function()
    local folder = capture.folder { a = program.read "samples/dns.pcap", b = program.read "samples/ssh.pcap" }
    local path = program.temporary ".pcapng"
    local result = extract(path, WITHOUT_L7, "--filter=flow.dst_port == 22 or flow.dst_port == 53", folder)
    assert.same({ 0, "19 flows" }, { result.status, result.out:match "^%d+ flows" })
    assert.same(result, extract(path, WITHOUT_L7, "--filter=flow.dst_port == 22 or flow.dst_port == 53",
      folder .. "/a", folder .. "/b"))
  end)

  it("writes to standard output, to whoever reads as far as they like", function()
    local run = ("%s -q extract %s samples/dns.pcap -- --write=- | %%s"):format(program.path, WITHOUT_L7)
    local shown = program.shell(run:format(program.path .. " -q flows " .. WITHOUT_L7 .. " -"))
    assert.same(program.run("-q", "flows", WITHOUT_L7, "samples/dns.pcap"), shown)
    assert.same({ status = 0, out = "\10\13\13\10", err = "" }, program.shell(run:format "head -c 4"))
  end)

  it("writes what of a damaged capture can be read, which is no success", function()
    local source = capture.file(program.read("samples/dns.pcap"):sub(1, 5000))
    local path = program.temporary ".pcapng"
    local result = extract(path, WITHOUT_L7, source)
    assert.same({ 1, "10 flows, 23 packets\n" }, { result.status, result.out })
    assert.is_truthy(result.err:find "damaged after packet 23")
    assert.equal(11, #rows(WITHOUT_L7, path))
  end)

  it("refuses what it could not read twice, or would write over, and leaves it alone", function()
    local path, source = program.temporary ".pcapng", capture.file(program.read "samples/dns.pcap")
    local twice = '"%s": expected a capture file or a folder of them, which are read twice'
    local function expect(message, ...)
      local result = program.run("-q", "extract", WITHOUT_L7, ...)
      assert.same({ 1, "", "nfengine: extract: " .. message .. "\n" }, { result.status, result.out, result.err })
    end
    local write = "--write=" .. path
    expect(twice:format "-", "-", "--", write)
    expect(twice:format "lo", "-i", "lo", "--", write)
    expect(twice:format "/no/such", "/no/such", "--", write)
    expect(twice:format "/dev/null", source, "/dev/null", "--", write)
    expect("expected -- --write=FILE", source)
    expect("n_meters = 3: expected 1, as packets have one order", "--n-meters=3", source, "--", write)
    expect("duration: expected none, as captures are read twice", "--duration=5", source, "--", write)
    expect("/no/such/x: No such file or directory", source, "--", "--write=/no/such/x")
    expect(('"%s": it is among what is read'):format(source), "samples/web.pcap", source, "--", "--write=" .. source)
    local folder = capture.folder { a = "" }
    expect(('"%s/x": it is among what is read'):format(folder), folder, "--", ("--write=%s/x"):format(folder))
    assert.is_nil(program.read(folder .. "/x"))
    assert.is_nil(program.read(path))
    assert.equal(program.read "samples/dns.pcap", program.read(source))
  end)

  it("says so where the disk is full", function()
    local result = extract("/dev/full", WITHOUT_L7, "samples/web.pcap")
    assert.equal(1, result.status)
    assert.matches("^nfengine: [^\n]*extract: /dev/full: No space left on device\n$", result.err)
    assert.matches("extract: /dev/full: No space left on device\n$", extract("/dev/full", "samples/icmp.pcap").err)
  end)

  it("keeps its file's bytes", function()
    local path = program.temporary ".pcapng"
    assert.equal(0, golden.extract(path).status)
    assert.equal(program.read(golden.extracted), program.read(path))
  end)

  it("leaves out packets of no flow", function()
    local arp = { bytes = P.mac "02:00:00:00:00:01" .. P.mac "02:00:00:00:00:02" .. "\8\6" .. ("\0"):rep(28) }
    local path = program.temporary ".pcapng"
    local result = extract(path, WITHOUT_L7, engine.capture { arp, meter.udp(0, 1000), arp, meter.udp(1, 1000) })
    assert.equal("1 flows, 2 packets\n", result.out)
  end)
end)
