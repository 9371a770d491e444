-- lua/nfengine/captures.lua: packets from hooks into capture files, read back by the core's own reader.

local ffi = require "ffi"
local C = require "spec.support.core" ("frame", "files")
local nf = require "nfengine"
local P = require "nfengine.testing.packet"
local capture = require "nfengine.testing.capture"
local captures = require "nfengine.captures"
local engine = require "spec.support.engine"
local meter = require "spec.support.meter"
local program = require "spec.support.program"

-- A capture's frames: { bytes, size, time_ns, link_type, comment }.
local function frames_of(path)
  local message = ffi.new("char[?]", C.NF_ERROR_SIZE)
  local files = ffi.gc(C.nf_files_open(ffi.new("const char *[1]", { path }), 1, nil, message), C.nf_files_close)
  C.nf_files_want_comments(files)
  local frames, list = ffi.new "struct nf_frame[16]", {}
  while true do
    local count = C.nf_files_read(files, frames, 16)
    if count < 0 then break end
    for i = 0, count - 1 do
      local f = frames[i]
      list[#list + 1] = { bytes = ffi.string(f.data, f.captured), size = f.size, time_ns = f.time_ns,
        link_type = f.link_type, comment = f.comment ~= nil and ffi.string(f.comment, f.comment_size) or nil }
    end
  end
  assert.is_false(C.nf_files_is_damaged(files))
  return list
end

-- Writes all packets of a source to a file with this ending. Returns its path, or nil and what went wrong.
local function copy(source, ending, needs)
  local path = program.temporary(ending)
  local file, problem = assert(captures.create(path)), nil
  local function write(_, packet)
    local _, message = file:write(packet)
    problem = problem or message
  end
  local udps = nf.plugin { name = "copy", needs = needs, on_init = write, on_update = write }
  engine.flows { source = source, udps = udps }
  assert(file:close())
  if problem then
    assert.equal(path .. ": ", problem:sub(1, #path + 2))
    return nil, problem:sub(#path + 3)
  end
  return path
end

-- The same frames as a capture's, both as pcapng and as pcap.
local function expect_same(source)
  local frames = frames_of(source)
  assert.is_true(#frames > 0)
  assert.same(frames, frames_of(assert(copy(source, ".pcapng"))))
  assert.same(frames, frames_of(assert(copy(source, ".pcap"))))
end

describe("a capture that is written", function()
  after_each(engine.cleanup)

  it("has the frames that were read, bit for bit", function()
    for _, name in ipairs { "gtpu", "closing", "loopback", "mpls" } do expect_same(("samples/%s.pcap"):format(name)) end
    local raw = (P.ipv6 {} .. P.udp {} .. "odd"):bytes()
    for _, link_type in ipairs { 12, 101, 229 } do
      expect_same(capture.file(capture.pcap({ { bytes = raw, sec = 5, frac = 6 } }, { link_type = link_type })))
    end
  end)

  it("has frames as they were cut, of odd lengths, and to the nanosecond", function()
    local packets = {}
    for i = 0, 40 do
      local packet = meter.udp(i, 1000, ("p"):rep(i))
      packet.size, packet.bytes = #packet.bytes + i, packet.bytes:sub(1, 42 + i % 7)
      packet.time_ns = packet.time_ns + i
      packets[i + 1] = packet
    end
    expect_same(engine.capture(packets))
  end)

  it("has times up to the last second of 2105 in either format, all others in pcapng", function()
    local frame = (P.eth {} .. P.ipv4 {} .. P.udp {} .. "x"):bytes()
    local function at(time_ns)
      return capture.file(capture.pcapng { capture.section(), capture.interface { tsresol = 9 },
        capture.enhanced_packet { bytes = frame, ticks = time_ns } })
    end
    for _, time_ns in ipairs { 0ULL, 1ULL, 4294967295999999999ULL } do expect_same(at(time_ns)) end
    local late = at(0xffffffffffffffffULL)
    assert.same(frames_of(late), frames_of(assert(copy(late, ".pcapng"))))
    assert.equal("a packet from after 2106: expected a name that ends in .pcapng", select(2, copy(late, ".pcap")))
  end)

  it("has an interface for each link type in pcapng; pcap takes one", function()
    local source = "samples/nanoseconds.pcapng"
    local frames = frames_of(source)
    assert.same(frames, frames_of(assert(copy(source, ".pcapng"))))
    assert.matches("^packets of link types %d+ and %d+: expected a name that ends in .pcapng$",
      select(2, copy(source, ".pcap")))
  end)

  it("has frames larger than usual in pcapng, which readers take", function()
    local big = (P.eth {} .. P.ipv4 { total_length = 60000 } .. P.udp { length = 59980 } .. ("x"):rep(300000)):bytes()
    local source = capture.file(capture.pcap({ { bytes = "no frame" }, meter.udp(0, 1000), { bytes = big },
      meter.udp(1, 1000) }, { snaplen = 0x1000000, ns = true }))
    local frames = frames_of(source)
    table.remove(frames, 1) -- no packet
    assert.same(frames, frames_of(assert(copy(source, ".pcapng"))))
    assert.equal(("a packet of %d bytes: expected a name that ends in .pcapng"):format(#big),
      select(2, copy(source, ".pcap")))
  end)

  it("has comments in pcapng, where the plugin needs them", function()
    local source = "samples/labelled.pcapng"
    local frames = frames_of(source)
    assert.equal("1,lookup", frames[1].comment)
    assert.same(frames, frames_of(assert(copy(source, ".pcapng", { "comments" }))))
    for _, frame in ipairs(frames) do frame.comment = nil end
    assert.same(frames, frames_of(assert(copy(source, ".pcapng"))))
    assert.same(frames, frames_of(assert(copy(source, ".pcap", { "comments" }))))
  end)

  it("is one without packets, too", function()
    for _, ending in ipairs { ".pcap", ".pcapng" } do
      local path = program.temporary(ending)
      assert(assert(captures.create(path)):close())
      assert.same({}, frames_of(path))
    end
  end)

  it("counts its packets", function()
    local file = assert(captures.create(program.temporary ".pcap"))
    local function write(_, packet) assert(file:write(packet)) end
    engine.flows { udps = nf.plugin { name = "copy", on_init = write, on_update = write } }
    assert.equal(62, file.packets)
    assert(file:close())
  end)

  it("says what it cannot write, with its name", function()
    assert.same({ nil, "/no/such.pcap: No such file or directory" }, { captures.create "/no/such.pcap" })
    local file = assert(captures.create "/dev/full")
    assert.same({ nil, "/dev/full: No space left on device" }, { file:close() })
  end)
end)
