local capture = require "nfengine.testing.capture"
local example = require "spec.support.example"
local meter = require "spec.support.meter"
local program = require "spec.support.program"

local PYTHON = os.getenv "NFENGINE_ML_PYTHON" or "build/peers/bin/python"
local missing = program.shell(PYTHON .. " -c 'import numpy'").status ~= 0 and PYTHON .. " has no numpy: see make peers"

local function file(packets) return capture.file(capture.pcap(packets, { ns = true })) end

-- Two flows: three datagrams there, back and there; and one alone.
local function two()
  return file { meter.udp(0, 1000, "abc"), meter.back(7, 1000, "defghi"), meter.udp(20, 1000, "j"),
    meter.udp(30, 53, "alone") }
end

local function series(path, ...)
  local folder = program.temporary()
  local result = program.run("-q", "series", "--columns=src_port,dst_port,bidirectional_packets", path, "--",
    "--write=" .. folder .. "/x.npz", ...)
  assert.are.same({ 0, "" }, { result.status, result.err })
  return folder
end

-- What a line of Python prints of the arrays, `z`.
local function shown(folder, expression)
  local code = ("import numpy; z = numpy.load('%s/x.npz'); print(%s)"):format(folder, expression)
  local result = program.shell(("timeout 60 %s -c %s"):format(PYTHON, program.quote(code)))
  assert.are.same({ 0, "" }, { result.status, result.err })
  return (result.out:gsub("\n$", ""))
end

local function failure(...)
  local result = program.run("-q", "series", ...)
  return ("%d %s"):format(result.status, result.err)
end

describe("scripts/series.lua", function()
  after_each(function()
    capture.cleanup()
    program.remove_temporaries()
  end)

  example.tests("scripts/series.lua")

  it("writes an array of the first packets, and keys beside it", function()
    if missing then return pending(missing) end
    local folder = series(two(), "--packets=3")
    assert.equal("x.npz x_keys.csv", program.names_in(folder))
    assert.equal("float32 (2, 3, 3)", shown(folder, "z['x'].dtype, z['x'].shape"))
    assert.equal("[[[45.0, 1.0, 0.0], [48.0, -1.0, 7.0], [43.0, 1.0, 13.0]], "
      .. "[[47.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]", shown(folder, "z['x'].tolist()"))
    assert.equal("[3, 1]", shown(folder, "z['lengths'].tolist()"))
    assert.equal("src_port,dst_port,bidirectional_packets\n1000,2000,3\n53,2000,1\n",
      program.read(folder .. "/x_keys.csv"))
  end)

  it("takes the channels asked for, in their order, and times in the run's unit", function()
    if missing then return pending(missing) end
    local folder = series(two(), "--packets=2", "--channels=time,size")
    assert.equal("[[[0.0, 45.0], [7.0, 48.0]], [[0.0, 47.0], [0.0, 0.0]]]", shown(folder, "z['x'].tolist()"))
    assert.equal("['lengths', 'x']", shown(folder, "sorted(z)"))
  end)

  it("writes payload and headers' bits", function()
    if missing then return pending(missing) end
    local folder = series(two(), "--packets=2", "--channels=payload:4,nprint", "--headers=udp")
    assert.equal("uint8 [[b'abc\\x00', b'defg'], [b'alon', b'\\x00\\x00\\x00\\x00']]", shown(folder,
      "z['payload'].dtype, [[bytes(p) for p in f] for f in z['payload']]"))
    assert.equal("int8 (2, 2, 64) [[11, 14], [13, -1]]", shown(folder, "z['nprint'].dtype, z['nprint'].shape, "
      .. "[[-1 if p[40] < 0 else int(''.join(map(str, p[32:48])), 2) for p in f] for f in z['nprint']]"))
  end)

  it("has labels, of flows that have one", function()
    if missing then return pending(missing) end
    local rules = program.write("dst_port,src_port,label\n2000,1000,long\n2000,53,alone\n", ".csv")
    local path = file { meter.udp(0, 1000), meter.udp(1, 53), meter.udp(2, 77), meter.udp(3, 1000) }
    local folder = series(path, "--packets=2", "--label-rules=" .. rules)
    assert.equal("[0, 1] ['alone', 'long'] (2, 2, 3)",
      shown(folder, "z['y'].tolist(), z['classes'].tolist(), z['x'].shape"))
    folder = series(path, "--packets=2", "--label-rules=" .. rules, "--unlabelled=other")
    assert.equal("[0, 2, 1] ['alone', 'long', 'other']", shown(folder, "z['y'].tolist(), z['classes'].tolist()"))
    folder = series(path, "--label=dst_port")
    assert.equal("[0, 0, 0] ['2000']", shown(folder, "z['y'].tolist(), z['classes'].tolist()"))
  end)

  it("has classes as the keys show them, where they are no UTF-8", function()
    if missing then return pending(missing) end
    local rules = program.write("src_port,label\n1000,a\247\191\n53,a\255\254\n77,\195\169\n", ".csv")
    local folder = program.temporary()
    local result = program.run("-q", "series", "--columns=udps.label", file { meter.udp(0, 1000), meter.udp(1, 53),
      meter.udp(2, 77) }, "--", "--write=" .. folder .. "/x.npz", "--label-rules=" .. rules)
    assert.are.same({ 0, "" }, { result.status, result.err })
    assert.equal('udps.label\n"a\239\191\189\239\191\189"\n"a\239\191\189\239\191\189"\n"\195\169"\n',
      program.read(folder .. "/x_keys.csv"))
    assert.equal("[0, 0, 1] ['a\\ufffd\\ufffd', '\\xe9']",
      shown(folder, "z['y'].tolist(), ascii(z['classes'].tolist())"))
  end)

  it("has rows as long as what it shows of packets, whatever options of plugins say", function()
    if missing then return pending(missing) end
    local function run(channels, ...)
      local folder = program.temporary()
      local result = program.run("-q", "series", two(), ..., "--", "--write=" .. folder .. "/x.npz", "--packets=2",
        "--channels=" .. channels)
      return ("%d %s"):format(result.status, result.err), folder
    end
    assert.equal('2 nfengine: -a series_payload.size=1: plugin series_payload has no option "size": it has none\n',
      (run("payload:1000", "-aseries_payload.size=1")))
    assert.equal("2 nfengine: -a nprint.packets=3: expected --packets=3 behind --, and nothing else\n",
      (run("nprint", "-anprint.packets=3")))
    local said, folder = run("nprint", "-anprint.payload=1")
    assert.equal("0 ", said)
    assert.equal("(2, 2, 1096)", shown(folder, "z['nprint'].shape"))
  end)

  it("labels flows by their captures", function()
    if missing then return pending(missing) end
    local folder = program.temporary()
    local written = program.run("-q", "series", "samples/dns.pcap", "samples/web.pcap", "--",
      "--write=" .. folder .. "/x.npz", "--label-by-file=file", "--channels=size,payload:2")
    assert.are.same({ 0, "" }, { written.status, written.err })
    local flows = select(2, program.run("-q", "flows", "samples/dns.pcap", "--no-dpi").out:gsub("\n", "")) - 1
    assert.equal(("['dns', 'web'] [%d, 32] True"):format(flows), shown(folder,
      "z['classes'].tolist(), numpy.bincount(z['y']).tolist(), len(z['x']) == len(z['y']) == len(z['payload'])"))
    assert.matches("^2 nfengine: %-%-label%-by%-file: expected neither", failure(two(), "--", "--write=a.npz",
      "--label-by-file=file", "--label=protocol"))
  end)

  it("writes the same for any number of meters", function()
    local function content(meters)
      local folder = program.temporary()
      local result = program.run("-q", "series", "--n-meters=" .. meters, "samples/web.pcap", "--",
        "--write=" .. folder .. "/x.npz", "--channels=size,time,payload:8,nprint", "--packets=4")
      assert.are.same({ 0, "" }, { result.status, result.err })
      return program.read(folder .. "/x.npz") .. program.read(folder .. "/x_keys.csv")
    end
    local one = content(1)
    assert.equal(one, content(3))
  end)

  it("refuses what it cannot do, and leaves nothing behind", function()
    local path = two()
    assert.matches("^2 nfengine: %-%-write=: expected NAME.npz behind %-%-", failure(path))
    assert.matches('^2 nfengine: %-%-channels: "sizes": expected size, direction', failure(path, "--",
      "--write=a.npz", "--channels=sizes"))
    assert.matches("^2 nfengine: %-%-splt%-analysis=3: expected", failure(path, "--splt-analysis=3", "--",
      "--write=a.npz"))
    local folder = program.temporary()
    assert.equal('1 nfengine: no column "protocl" in this run (did you mean \'protocol\'?)\n',
      failure(path, "--", "--write=" .. folder .. "/a.npz", "--label=protocl"))
    assert.equal(nil, program.read(folder .. "/a.npz"))
    assert.equal(0, program.shell(("test ! -e %s"):format(folder)).status)
    assert.equal("2 nfengine: --channels=payload:2000 of --packets=1000: plugin series_payload: column series_payload: "
      .. 'type "uint8[2000000]": expected a length from 1 to 65535\n',
      failure(path, "--", "--write=a.npz", "--channels=payload:2000", "--packets=1000"))
    assert.equal('2 nfengine: --channels=nprint of --packets=20: plugin nprint: columns: headers: "x": '
      .. "expected some of ipv4, ipv6, tcp, udp and icmp\n",
      failure(path, "--", "--write=a.npz", "--channels=nprint", "--headers=x"))
    folder = series(path)
    assert.matches("has x_keys.csv already", failure(path, "--", "--write=" .. folder .. "/x.npz"))
  end)
end)
