local capture = require "nfengine.testing.capture"
local example = require "spec.support.example"
local golden = require "spec.support.golden"
local meter = require "spec.support.meter"
local P = require "nfengine.testing.packet"
local program = require "spec.support.program"

local HEADER = "id,src_ip,src_port,dst_ip,dst_port,protocol,bidirectional_first_seen_ms,src2dst_bytes,dst2src_bytes,"
  .. "name\n"

local function file(text) return program.write(text, ".csv") end

-- Compares two files; what it prints, without the three lines at its top, and these.
local function compare(left, right, ...)
  local result = program.run("-q", "compare", "--n-dissections=0", "--", "--left=" .. left, "--right=" .. right, ...)
  assert.are.same({ 0, "" }, { result.status, result.err })
  local head, rest = result.out:match "^([^\n]*\n[^\n]*\n[^\n]*\n)(.*)$"
  return rest, head
end

local function counts(left, right, ...)
  local _, head = compare(left, right, ...)
  local numbers = {}
  for number in head:gmatch "(%d+) [re]" do numbers[#numbers + 1] = tonumber(number) end
  return numbers -- records left, right, of both
end

local function failure(...)
  local result = program.run("-q", "compare", ...)
  return ("%d %s"):format(result.status, result.err)
end

describe("scripts/compare.lua", function()
  after_each(function()
    capture.cleanup()
    program.remove_temporaries()
  end)

  example.tests("scripts/compare.lua", golden.other_ndpi())

  it("finds nothing between a file and itself, in any order of rows", function()
    local one = '0,10.0.0.1,5000,10.0.0.2,53,17,1000,70,90,"a"\n'
    local two = '1,10.0.0.1,5001,10.0.0.2,53,17,1000,70,90,"b"\n'
    local left = file(HEADER .. one .. two)
    local rest, head = compare(left, file(HEADER .. two .. one), "--strict")
    assert.equal("", rest)
    assert.matches("\nboth   2 records, of which 2 are equal\n$", head)
  end)

  it("tells what is on one side only, and which columns differ, the most frequent first", function()
    local left = file(HEADER .. '0,10.0.0.1,5000,10.0.0.2,53,17,1000,70,90,"a"\n'
      .. '1,10.0.0.1,5001,10.0.0.2,53,17,1000,70,90,"a"\n1,10.0.0.1,5002,10.0.0.2,53,17,1000,70,90,"a"\n'
      .. '3,2001:db8::1,0,2001:db8::2,0,58,1000,70,90,"a"\n')
    local right = file(HEADER .. '7,10.0.0.1,5000,10.0.0.2,53,17,1000,71,90,"b"\n'
      .. '8,10.0.0.1,5001,10.0.0.2,53,17,1000,70,90,"c"\n1,10.0.0.1,5002,10.0.0.2,53,17,1001,70,90,"a"\n'
      .. '3,10.0.0.1,5003,10.0.0.2,53,6,1000,70,90,"a"\n')
    assert.equal([[

ONLY LEFT  2
  10.0.0.1:5002 > 10.0.0.2:53 udp at 1000
  2001:db8::1 > 2001:db8::2 icmpv6 at 1000

ONLY RIGHT  2
  10.0.0.1:5002 > 10.0.0.2:53 udp at 1001
  10.0.0.1:5003 > 10.0.0.2:53 tcp at 1000

COLUMN                          DIFFERS  FROM > TO: LEFT, RIGHT
name                                  2
  10.0.0.1:5000 > 10.0.0.2:53 udp at 1000: a, b
  10.0.0.1:5001 > 10.0.0.2:53 udp at 1000: a, c
src2dst_bytes                         1
  10.0.0.1:5000 > 10.0.0.2:53 udp at 1000: 70, 71
]], (compare(left, right)))
    assert.equal([[

ONLY LEFT  2
  10.0.0.1:5002 > 10.0.0.2:53 udp at 1000

ONLY RIGHT  2
  10.0.0.1:5002 > 10.0.0.2:53 udp at 1001

COLUMN                          DIFFERS  FROM > TO: LEFT, RIGHT
src2dst_bytes                         1
  10.0.0.1:5000 > 10.0.0.2:53 udp at 1000: 70, 71
]], (compare(left, right, "--examples=1", "--ignore=id,name")))
    assert.equal("1 nfengine: records that differ: 6\n",
      failure("--", "--left=" .. left, "--right=" .. right, "--strict"))
  end)

  it("does not take one record for two", function()
    local row = '0,10.0.0.1,5000,10.0.0.2,53,17,1000,70,90,"a"\n'
    local left, right = file(HEADER .. row .. row .. row), file(HEADER .. row .. row)
    assert.same({ 3, 2, 2 }, counts(left, right))
    assert.same({ 2, 3, 2 }, counts(right, left))
  end)

  it("finds records by VLAN and tunnel where both sides have them", function()
    local head = "src_ip,src_port,dst_ip,dst_port,protocol,vlan_id\n"
    local left, right = file(head .. "a,1,b,2,6,0\n"), file(head .. "a,1,b,2,6,7\n")
    assert.same({ 1, 1, 0 }, counts(left, right))
    assert.same({ 1, 1, 1 }, counts(left, file "src_ip,src_port,dst_ip,dst_port,protocol\na,1,b,2,6\n"))
  end)

  it("goes by the order of records where there are no times", function()
    local head = "src_ip,src_port,dst_ip,dst_port,protocol,bytes\n"
    local rest = compare(file(head .. "a,1,b,2,6,10\na,1,b,2,6,20\n"), file(head .. "a,1,b,2,6,10\na,1,b,2,6,21\n"))
    assert.matches("\nbytes +1\n  a:1 > b:2 tcp: 20, 21\n$", rest)
  end)

  it("lets records begin apart", function()
    local function rows(...)
      local text = HEADER
      for i, time in ipairs { ... } do
        text = text .. ('%d,10.0.0.1,5000,10.0.0.2,53,17,%s,70,90,"%s"\n'):format(i, time, time:sub(-4, -3))
      end
      return file(text)
    end
    local left, right = rows("1795450590100", "1795450590200"), rows("1795450590205", "1795450590111")
    assert.same({ 2, 2, 0 }, counts(left, right))
    assert.same({ 2, 2, 1 }, counts(left, right, "--time-tolerance=10"))
    local rest, head = compare(left, right, "--time-tolerance=11", "--ignore=id,bidirectional_first_seen_ms")
    assert.matches("of which 2 are equal", head) -- names go by the hundreds of their times
    assert.is_nil(rest:match "ONLY")
  end)

  it("is exact with nanoseconds", function()
    local head = HEADER:gsub("_ms", "_ns")
    local left = file(head .. '0,10.0.0.1,5000,10.0.0.2,53,17,1795450590123456789,70,90,"a"\n')
    local right = file(head .. '0,10.0.0.1,5000,10.0.0.2,53,17,1795450590123456790,70,90,"a"\n')
    assert.same({ 1, 1, 0 }, counts(left, right))
    assert.same({ 1, 1, 1 }, counts(left, right, "--time-tolerance=1"))
    assert.matches("first_seen_ns +1\n", (compare(left, right, "--time-tolerance=1")))
    assert.same({ 1, 1, 0 }, counts(left, right, "--time-tolerance=0.5"))
  end)

  it("compares times of different units in the coarser one", function()
    local left = file(HEADER .. '0,10.0.0.1,5000,10.0.0.2,53,17,1795450590123,70,90,"a"\n')
    local right = file(HEADER:gsub("_ms", "_us") .. '0,10.0.0.1,5000,10.0.0.2,53,17,1795450590123999,70,90,"a"\n')
    assert.same({ 1, 1, 1 }, counts(left, right))
    local rest = compare(right, left)
    assert.equal("columns only left: bidirectional_first_seen_us\ncolumns only right: bidirectional_first_seen_ms\n",
      rest)
  end)

  it("can have the ends the other way round, and then compares what belongs together", function()
    local left = file(HEADER .. '0,10.0.0.1,5000,10.0.0.2,53,17,1000,70,90,"a"\n')
    local right = file(HEADER .. '0,10.0.0.2,53,10.0.0.1,5000,17,1000,90,71,"a"\n')
    assert.same({ 1, 1, 0 }, counts(left, right))
    local rest = compare(left, right, "--either-way")
    assert.equal([[

COLUMN                          DIFFERS  FROM > TO: LEFT, RIGHT
src2dst_bytes                         1
  10.0.0.1:5000 > 10.0.0.2:53 udp at 1000: 70, 71
]], rest)
  end)

  it("takes equal numbers for equal, however they are written, and close ones where that is wanted", function()
    local head = "src_ip,src_port,dst_ip,dst_port,protocol,x,y\n"
    local left, right = file(head .. 'a,1,b,2,6,1.0,"[1, 2]"\n'), file(head .. 'a,1,b,2,6,1,"[1,2]"\n')
    assert.equal("", (compare(left, right)))
    left, right = file(head .. "a,1,b,2,6,0.30000000000000004,9007199254740993\n"),
      file(head .. "a,1,b,2,6,0.3,9007199254740992\n")
    assert.matches("\nx +1\n.*\ny +1\n", (compare(left, right)))
    assert.equal("", (compare(left, right, "--tolerance=1e-9")))
  end)

  it("reads quotes as RFC 4180 has them, or behind backslashes", function()
    local head = "src_ip,src_port,dst_ip,dst_port,protocol,agent\n"
    local left, right = file(head .. 'a,1,b,2,6,"x ""1"", y"\n'), file(head .. 'a,1,b,2,6,"x \\"1\\", y"\n')
    assert.equal("", (compare(left, right, "--backslash=right")))
    assert.equal("", (compare(right, left, "--backslash=left")))
    assert.matches("^1 nfengine: [^\n]+:2: more behind the quote that ends a cell\n$",
      failure("--", "--left=" .. left, "--right=" .. right))
  end)

  it("compares captures, with the parameters given", function()
    local one = capture.file(capture.pcap({ meter.udp(0, 5000), meter.udp(3000, 5000) }, { ns = true }))
    local two = capture.file(capture.pcap({ meter.udp(0, 5000) }, { ns = true }))
    assert.matches("\nbidirectional_packets +1\n  10.0.0.1:5000 > 10.0.0.2:2000 udp at 1600000000000: 2, 1\n",
      (compare(one, two)))
    local result = program.run("-q", "compare", "--n-dissections=0", "--idle-timeout=1", "--", "--left=" .. one,
      "--right=" .. two)
    assert.matches("\nboth   1 records, of which 1 are equal\n\nONLY LEFT  1\n", result.out)
  end)

  it("shows hostile texts in one printable line", function()
    local head = "src_ip,src_port,dst_ip,dst_port,protocol,name\n"
    local rest = compare(file(head .. 'a,1,b,2,6,"\27[2J\n"\n'), file(head .. "a,1,b,2,6,x\n"))
    assert.matches("tcp: %?%[2J%?, x\n$", rest)
  end)

  it("refuses what it cannot compare in one line", function()
    local left = file "src_ip,src_port,dst_ip,dst_port\n"
    assert.equal("2 nfengine: expected the two to compare as --left and --right behind --\n", failure())
    assert.equal("2 nfengine: expected the two to compare as --left and --right behind --\n",
      failure("samples/dns.pcap", "--", "--left=a.csv", "--right=b.csv"))
    assert.equal(("1 nfengine: --left=%s: no column protocol, which is needed to find records\n"):format(left),
      failure("--", "--left=" .. left, "--right=" .. left))
    assert.matches("^1 nfengine: .*/nowhere/a%.csv: No such file or directory\n$",
      failure("--", "--left=/nowhere/a.csv", "--right=b.csv"))
    assert.matches('^1 nfengine: .*"/nowhere/a%.pcap": No such file or directory',
      failure("--", "--left=/nowhere/a.pcap", "--right=b.csv"))
  end)

  it("leaves no temporary file behind", function()
    local packets = { meter.frame(0, P.eth {} .. P.ipv4 { src = "203.0.113.207" } .. P.udp {}) }
    local path = capture.file(capture.pcap(packets, { ns = true }))
    assert.same({ 1, 1, 1 }, counts(path, path))
    failure("--n-meters=1000000", "--", "--left=" .. path, "--right=" .. path)
    failure("--", "--left=" .. path, "--right=/nowhere/b.pcap")
    assert.equal("", program.shell("grep -ls 203.0.113.207 /tmp/lua_*").out)
  end)
end)
