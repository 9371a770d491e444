-- core/source.c, with core/capfile.c and core/stream.c below it: capture files into frames.

local bit = require "bit"
local ffi = require "ffi"
local C = require "spec.support.core" ("frame", "files")
local capture = require "nfengine.testing.capture"

local function text(pointer) return pointer ~= nil and ffi.string(pointer) or nil end

local function open(paths, filter)
  if type(paths) == "string" then paths = { paths } end
  local list = ffi.new("const char *[?]", #paths + 1, paths)
  local message = ffi.new("char[?]", C.NF_ERROR_SIZE)
  local source = C.nf_files_open(list, #paths, filter, message)
  if source == nil then return nil, text(message) end
  return ffi.gc(source, C.nf_files_close)
end

-- Everything a source gives: { frames = list, warnings = list, status, error, damaged, counters }.
local function read(paths, filter, max, wants_comments)
  local source = assert(open(paths, filter))
  if wants_comments then C.nf_files_want_comments(source) end
  local frames = ffi.new("struct nf_frame[?]", max or 16)
  local result = { frames = {}, warnings = {} }
  local count
  repeat
    count = C.nf_files_read(source, frames, max or 16)
    for i = 0, count - 1 do
      local frame = frames[i]
      table.insert(result.frames, {
        bytes = ffi.string(frame.data, frame.captured), size = frame.size, time_ns = frame.time_ns,
        number = tonumber(frame.number), link_type = frame.link_type,
        comment = frame.comment ~= nil and ffi.string(frame.comment, frame.comment_size) or nil,
      })
    end
  until count < 0
  result.status = tonumber(count)
  result.error = text(C.nf_files_error(source))
  for warning in function() return text(C.nf_files_warning(source)) end do table.insert(result.warnings, warning) end
  result.damaged = C.nf_files_is_damaged(source)
  local counters = C.nf_files_counters(source)
  result.counters = {}
  for _, name in ipairs { "packets", "bytes", "filtered", "input_read", "input_size" } do
    result.counters[name] = tonumber(counters[name])
  end
  return result
end

local function read_bytes(bytes, filter) return read(capture.file(bytes), filter) end

local function pluck(list, key)
  local values = {}
  for i, item in ipairs(list) do values[i] = item[key] end
  return values
end

-- A few packets of different lengths.
local function packets(count, start)
  local list = {}
  for i = 1, count do
    list[i] = { bytes = string.char(64 + i):rep(10 * i), size = 1000 + i, sec = (start or 1700000000) + i, frac = i }
  end
  return list
end

-- IPv4 and UDP from 10.0.0.1 to a port of 10.0.0.2, or another last byte; bare, and on Ethernet.
local function ip_packet(port, last)
  return "\x45\0\0\x1c\0\0\0\0\x40\x11\0\0\x0a\0\0\1\x0a\0\0" .. string.char(last or 2)
    .. capture.u16(1234, true) .. capture.u16(port, true) .. "\0\8\0\0"
end

local function ethernet(port, last) return ("\2"):rep(12) .. "\8\0" .. ip_packet(port, last) end

-- What a file of `packets(count)` must give.
local function expect_packets(result, count, fraction_ns)
  assert.same({}, result.warnings)
  assert.equal(C.NF_END, result.status)
  assert.is_false(result.damaged)
  assert.equal(count, #result.frames)
  for i, frame in ipairs(result.frames) do
    assert.equal(string.char(64 + i):rep(10 * i), frame.bytes)
    assert.equal(1000 + i, frame.size)
    assert.equal(i, frame.number)
    assert.equal((1700000000ULL + i) * 1000000000ULL + i * (fraction_ns or 1000), frame.time_ns)
  end
end

-- What a broken file must give: frames before the damage, and one warning.
local function expect_damage(bytes, count, what)
  local path = capture.file(bytes)
  local result = read(path)
  assert.same({ path .. ": " .. what }, result.warnings)
  assert.equal(count, #result.frames)
  assert.equal(C.NF_END, result.status)
  assert.is_true(result.damaged)
end

describe("a source", function()
  after_each(capture.cleanup)

  describe("reads pcap", function()
    for _, big_endian in ipairs { false, true } do
      for dialect, fraction_ns in pairs { us = 1000, ns = 1, modified = 1000 } do
        it(("in %s-endian order, dialect %s"):format(big_endian and "big" or "little", dialect), function()
          local options = { big_endian = big_endian, [dialect] = dialect ~= "us" or nil }
          expect_packets(read_bytes(capture.pcap(packets(5), options)), 5, fraction_ns)
        end)
      end
    end

    it("without packets", function()
      expect_packets(read_bytes(capture.pcap {}), 0)
    end)

    it("with a fraction of a second beyond a second, which adds", function()
      local result = read_bytes(capture.pcap { { bytes = "x", sec = 10, frac = 2500000 } })
      assert.equal(12500000000ULL, result.frames[1].time_ns)
    end)

    it("with times up to 2106", function()
      local result = read_bytes(capture.pcap({ { bytes = "x", sec = 0xffffffff, frac = 999999999 } }, { ns = true }))
      assert.equal(4294967295999999999ULL, result.frames[1].time_ns)
    end)

    it("of the versions that wrote the wire length first", function()
      for _, version in ipairs { { 2, 0 }, { 2, 2 }, { 543, 0 } } do
        expect_packets(read_bytes(capture.pcap(packets(3), { version = version, lengths_swapped = true })), 3)
      end
    end)

    it("of version 2.3, where either length may come first", function()
      expect_packets(read_bytes(capture.pcap(packets(3), { version = { 2, 3 } })), 3)
      expect_packets(read_bytes(capture.pcap(packets(3), { version = { 2, 3 }, lengths_swapped = true })), 3)
    end)

    it("with the link type below the bits that tell of frame check sequences", function()
      for written, read_as in pairs { [1] = 1, [12] = 12, [14] = 14, [0x10000001] = 1, [0xf4000071] = 0x71 } do
        local result = read_bytes(capture.pcap({ { bytes = "x" } }, { link_type = written }))
        assert.equal(read_as, result.frames[1].link_type)
      end
    end)

    it("with packets larger than the file's snap length", function()
      local result = read_bytes(capture.pcap({ { bytes = ("x"):rep(2000) } }, { snaplen = 100 }))
      assert.equal(2000, #result.frames[1].bytes)
    end)

    it("with packets larger than usual where the file says so", function()
      local big = ("x"):rep(1000000)
      local result = read_bytes(capture.pcap({ { bytes = big }, { bytes = "y" } }, { snaplen = 0x08000000 }))
      assert.same({ big, "y" }, pluck(result.frames, "bytes"))
      expect_damage(capture.pcap({ { bytes = big }, { bytes = big } }, { snaplen = 0x08000000 }) .. "z", 2,
        "damaged after packet 2 at byte 2000056: the file ends within a record header (1 of 16 bytes)")
    end)
  end)

  describe("reads pcapng", function()
    local function file_of(...) return capture.pcapng { ... } end

    local function enhanced(list, interface)
      local blocks = {}
      for i, packet in ipairs(list) do
        packet.interface = interface
        blocks[i] = capture.enhanced_packet(packet)
      end
      return unpack(blocks)
    end

    it("in both byte orders", function()
      for _, big_endian in ipairs { false, true } do
        local section = capture.section { big_endian = big_endian }
        expect_packets(read_bytes(file_of(section, capture.interface(), enhanced(packets(5)))), 5)
      end
    end)

    it("with sections of different byte orders and interfaces of their own", function()
      local result = read_bytes(file_of(
        capture.section {}, capture.interface { link_type = 1 }, capture.enhanced_packet { bytes = "one" },
        capture.section { big_endian = true }, capture.interface { link_type = 113 },
        capture.enhanced_packet { bytes = "two" }))
      assert.same({ "one", "two" }, pluck(result.frames, "bytes"))
      assert.same({ 1, 113 }, pluck(result.frames, "link_type"))
      assert.same({}, result.warnings)
    end)

    it("with interfaces of different link types, snap lengths and units of time", function()
      local result = read_bytes(file_of(
        capture.section(), capture.interface { link_type = 1, snaplen = 96 },
        capture.interface { link_type = 101, snaplen = 0, tsresol = 9, tsoffset = 1700000000 },
        capture.enhanced_packet { interface = 1, bytes = "one", ticks = 5 },
        capture.enhanced_packet { interface = 0, bytes = ("x"):rep(128), ticks = 1700000000000005ULL }))
      assert.same({ 101, 1 }, pluck(result.frames, "link_type"))
      assert.same({ 3, 128 }, { #result.frames[1].bytes, #result.frames[2].bytes })
      assert.equal(1700000000000000005ULL, result.frames[1].time_ns)
      assert.equal(1700000000000005000ULL, result.frames[2].time_ns)
    end)

    it("with every unit of time, exactly", function()
      local function time(tsresol, ticks, tsoffset)
        local interface = capture.interface { tsresol = tsresol, tsoffset = tsoffset }
        local packet = capture.enhanced_packet { bytes = "x", ticks = ticks }
        local result = read_bytes(file_of(capture.section(), interface, packet))
        assert.same({}, result.warnings)
        return result.frames[1].time_ns
      end
      assert.equal(7000000000ULL, time(0, 7))
      assert.equal(7000000ULL, time(3, 7))
      assert.equal(1700000000123456789ULL, time(9, 1700000000123456789ULL))
      assert.equal(170000000012345678ULL, time(10, 1700000000123456789ULL))
      assert.equal(1ULL, time(28, 0xffffffffffffffffULL))
      assert.equal(0ULL, time(29, 0xffffffffffffffffULL))
      assert.equal(0ULL, time(127, 0xffffffffffffffffULL))
      assert.equal(1500000000ULL, time(0x80 + 20, 3 * 2 ^ 19))
      assert.equal(3999999999ULL, time(0x80 + 62, 0xffffffffffffffffULL))
      assert.equal(1999999999ULL, time(0x80 + 63, 0xffffffffffffffffULL))
      assert.equal(0ULL, time(0x80 + 127, 0xffffffffffffffffULL))
      assert.equal(3000000000ULL, time(6, 5000000, -2))
    end)

    it("with times before 1970 and after 2554 kept at these ends", function()
      local function time(tsresol, ticks, tsoffset)
        local interface = capture.interface { tsresol = tsresol, tsoffset = tsoffset }
        local packet = capture.enhanced_packet { bytes = "x", ticks = ticks }
        return read_bytes(file_of(capture.section(), interface, packet)).frames[1].time_ns
      end
      local last = 0xffffffffffffffffULL
      assert.equal(0ULL, time(6, 5, -1))
      assert.equal(0ULL, time(6, 5, -0x7fffffffffffffffLL - 1))
      assert.equal(last, time(6, 5, 0x7fffffffffffffffLL))
      assert.equal(last, time(0, last))
      assert.equal(last, time(0x80, last))
    end)

    it("with simple packets, which have no time and end at the snap length", function()
      local result = read_bytes(file_of(
        capture.section(), capture.interface { snaplen = 4 }, capture.simple_packet { bytes = "ab" },
        capture.simple_packet { bytes = "abcd", size = 99 }))
      assert.same({ "ab", "abcd" }, pluck(result.frames, "bytes"))
      assert.same({ 2, 99 }, pluck(result.frames, "size"))
      assert.same({ 0ULL, 0ULL }, pluck(result.frames, "time_ns"))
      result = read_bytes(file_of(
        capture.section(), capture.interface { snaplen = 0 }, capture.simple_packet { bytes = "ab" }))
      assert.same({ "ab" }, pluck(result.frames, "bytes"))
    end)

    it("with options up to the one that ends them", function()
      local result = read_bytes(file_of(capture.section(), capture.interface { options = { { 0, "" }, { 9, "\9" } } },
        capture.enhanced_packet { bytes = "x", ticks = 5 }))
      assert.equal(5000ULL, result.frames[1].time_ns)
    end)

    it("with obsolete packet blocks", function()
      local result = read_bytes(file_of(
        capture.section { big_endian = true }, capture.interface(), capture.interface { link_type = 113 },
        capture.obsolete_packet { interface = 1, bytes = "abc", size = 9, sec = 3, frac = 4 }))
      assert.same({ { bytes = "abc", size = 9, time_ns = 3000004000ULL, number = 1, link_type = 113 } }, result.frames)
    end)

    it("passing blocks that are no packets", function()
      local comment = capture.block(0x0bad, ("c"):rep(70000))
      local blocks = { capture.section(), comment, capture.interface { options = { { 2, "eth0" } } }, comment }
      for i = 1, 50 do table.insert(blocks, 3 + i, comment) end
      table.insert(blocks, capture.enhanced_packet { bytes = "abc" })
      local result = read_bytes(capture.pcapng(blocks))
      assert.same({ "abc" }, pluck(result.frames, "bytes"))
      assert.same({}, result.warnings)
    end)

    -- The comments of an Ethernet section's packets, each given as its options; "" in place of nil.
    local function comments(lists, section, filter, max)
      local blocks = { capture.section(section), capture.interface() }
      for i, options in ipairs(lists) do
        blocks[i + 2] = capture.enhanced_packet { bytes = ethernet(80):sub(1, -1 - i % 4), options = options }
      end
      local result = read(capture.file(capture.pcapng(blocks)), filter, max, true)
      assert.same({}, result.warnings)
      local list = {}
      for i, frame in ipairs(result.frames) do
        list[i] = frame.comment or "-"
        assert.equal(ethernet(80):sub(1, -1 - frame.number % 4), frame.bytes)
      end
      return list
    end

    it("with a packet's comment where it is asked for", function()
      local lists = { { { 1, "one" } }, {}, { { 1, "1,web" } }, { { 1, "" } }, { { 2, "\1\2\3\4" }, { 1, "vier" } } }
      for _, big_endian in ipairs { false, true } do
        for _, max in ipairs { 1, 16 } do
          local found = comments(lists, { big_endian = big_endian }, nil, max)
          assert.same({ "one", "-", "1,web", "", "vier" }, found)
        end
      end
      local blocks = { capture.section(), capture.interface(), capture.enhanced_packet { bytes = "x",
        options = { { 1, "one" } } } }
      assert.is_nil(read_bytes(capture.pcapng(blocks)).frames[1].comment)
    end)

    it("with the first of several comments, as it stands there", function()
      assert.same({ "a\0b\255", "first" }, comments { { { 1, "a\0b\255" } }, { { 1, "first" }, { 1, "second" } } })
      local long = ("x"):rep(65535)
      assert.same({ long }, comments { { { 4, long }, { 1, long } } })
    end)

    it("with the comments of packets that a filter lets through", function()
      assert.same({ "a", "c" }, comments({ { { 1, "a" } }, { { 1, "b" } }, { { 1, "c" } } }, nil, "len != 40"))
    end)

    it("with comments in obsolete packet blocks, and none of simple ones or of pcap", function()
      local options = { { 1, "old" } }
      local path = capture.file(file_of(capture.section(), capture.interface(),
        capture.obsolete_packet { bytes = "abc", options = options }, capture.simple_packet { bytes = "abc" },
        capture.block(3, capture.u32(3) .. "abc\0" .. "\1\0\3\0old\0")))
      assert.same({ "old" }, pluck(read(path, nil, nil, true).frames, "comment"))
      path = capture.file(capture.pcap(packets(3)))
      assert.same({}, pluck(read(path, nil, nil, true).frames, "comment"))
    end)

    it("without comments that do not fit into their block, packets being sound", function()
      assert.same({ "-", "-", "-", "-" }, comments {
        { { 1, "abc", length = 9 } },                  -- four bytes of comment, four of the end: eight are there
        { { 1, "abcd", length = 65535 } },
        { { 5, "abcd", length = 6 }, { 1, "abcd" } },  -- the option before it covers its head
        { { 0, "" }, { 1, "behind the end" } },
      })
      assert.same({ "abc\0\0\0\0\0" }, comments { { { 1, "abc", length = 8 } } }) -- all that lies there
      local bytes = file_of(capture.section(), capture.interface(), capture.block(6, capture.u32(0) .. capture.u64(0)
        .. capture.u32(4) .. capture.u32(4) .. "abcd" .. "\1\0\4\0"))            -- nothing behind its length
      assert.is_nil(read(capture.file(bytes), nil, nil, true).frames[1].comment)
    end)

    it("without a comment behind very many options, in no time", function()
      local block = capture.block(6, capture.u32(0) .. capture.u64(0) .. capture.u32(0) .. capture.u32(0)
        .. ("\2\0\0\0"):rep(4000000))
      local frames = read(capture.file(file_of(capture.section(), capture.interface(), block)), nil, nil, true).frames
      assert.same({ "", nil }, { frames[1].bytes, frames[1].comment })
    end)

    it("without any packet, or any interface", function()
      for _, bytes in ipairs { file_of(capture.section()), file_of(capture.section(), capture.interface()) } do
        expect_packets(read_bytes(bytes), 0)
      end
    end)
  end)

  describe("unpacks", function()
    -- More than one block of either, and little enough like each other that packing does not make it vanish.
    local function large()
      local list = {}
      for i = 1, 400 do list[i] = { bytes = (string.char(i % 256) .. i):rep(400), sec = i } end
      return list
    end

    for _, tool in ipairs { "gzip -c", "zstd -c -q" } do
      local name = tool:match "^%S+"

      it(name, function()
        local packed = capture.through(tool, capture.pcap(large()))
        if not packed then return pending(name .. " is not installed") end
        local result = read_bytes(packed)
        assert.same(pluck(large(), "bytes"), pluck(result.frames, "bytes"))
        assert.same({}, result.warnings)
        assert.equal(#packed, result.counters.input_read)
        assert.equal(#packed, result.counters.input_size)
      end)

      it(name .. " files put together", function()
        local bytes = capture.pcap(packets(6))
        local first = capture.through(tool, bytes:sub(1, 100))
        if not first then return pending(name .. " is not installed") end
        expect_packets(read_bytes(first .. capture.through(tool, bytes:sub(101))), 6)
      end)

      it(name .. " that is cut, up to there", function()
        local packed = capture.through(tool, capture.pcap(packets(6)))
        if not packed then return pending(name .. " is not installed") end
        local path = capture.file(packed:sub(1, -3))
        local result = read(path)
        assert.equal(6, #result.frames)
        assert.same({ path .. ": damaged after packet 6 at byte 330: " .. name .. ": the packed data ends early" },
          result.warnings)
        assert.is_true(result.damaged)
      end)

      it(name .. " that ends wrong, after every packet", function()
        local packed = capture.through(tool, capture.pcap(packets(6)))
        if not packed then return pending(name .. " is not installed") end
        local path = capture.file(packed:sub(1, -5) .. "oops")
        local result = read(path)
        assert.equal(6, #result.frames)
        assert.equal(1, #result.warnings)
        assert.truthy(result.warnings[1]:find(": damaged after packet 6 at byte 330: " .. name .. ": ", 1, true))
        assert.is_true(result.damaged)
      end)

      it(name .. " with something else behind it, up to there", function()
        local packed = capture.through(tool, capture.pcap(packets(6)))
        if not packed then return pending(name .. " is not installed") end
        local path = capture.file(packed .. "something else")
        local result = read(path)
        assert.equal(6, #result.frames)
        assert.truthy(result.warnings[1]:find(": damaged after packet 6 at byte 330: " .. name .. ": ", 1, true))
        assert.is_true(result.damaged)
      end)

      it(name .. " of what is no capture", function()
        local packed = capture.through(tool, "hello")
        if not packed then return pending(name .. " is not installed") end
        expect_damage(packed, 0, "not a capture: unpacks to 68 65 6c 6c, expected pcap or pcapng")
      end)
    end

    it("zstd up to the block that is damaged", function()
      -- Noise, so that every block of 128 KiB comes as it is and its header is easily found (RFC 8878, 3.1.1.2).
      local noise, list = 1, {}
      for i = 1, 500 do
        local bytes = {}
        for k = 1, 1008 do
          noise = noise * 16807 % 2147483647
          bytes[k] = string.char(noise % 256)
        end
        list[i] = { bytes = table.concat(bytes) }
      end
      local packed = capture.through("zstd -c -q", capture.pcap(list))
      if not packed then return pending "zstd is not installed" end
      local third = 7 + 2 * (3 + 131072)
      assert.equal(0, bit.band(packed:byte(third), 6))
      local result = read_bytes(packed:sub(1, third - 1) .. "\6" .. packed:sub(third + 1))
      assert.equal(math.floor((2 * 131072 - 24) / 1024), #result.frames)
      assert.same({ unpack(pluck(list, "bytes"), 1, #result.frames) }, pluck(result.frames, "bytes"))
      assert.is_true(result.damaged)
    end)

    it("whatever the name says", function()
      local bytes = capture.pcap(packets(2))
      expect_packets(read(capture.file(bytes, ".gz")), 2)
      local packed = capture.through("gzip -c", bytes)
      if packed then expect_packets(read(capture.file(packed, ".pcap")), 2) end
    end)
  end)

  describe("reads several files", function()
    local cut = ": damaged after packet 2 at byte 86: the file ends within a record header (5 of 16 bytes)"

    it("in the order given, numbering packets throughout", function()
      local late = capture.file(capture.pcap(packets(2, 1800000000)))
      local early = capture.file(capture.pcap(packets(3), { ns = true }))
      local result = read { late, early, late }
      assert.same({ 1, 2, 3, 4, 5, 6, 7 }, pluck(result.frames, "number"))
      assert.equal(1800000001000001000ULL, result.frames[1].time_ns)
      assert.equal(1700000001000000001ULL, result.frames[3].time_ns)
      assert.equal(1800000001000001000ULL, result.frames[6].time_ns)
      assert.equal(7, result.counters.packets)
      assert.equal(1001 + 1002 + 1001 + 1002 + 1003 + 1001 + 1002, result.counters.bytes)
      assert.equal(result.counters.input_size, result.counters.input_read)
    end)

    it("going on behind a damaged one", function()
      local broken = capture.file(capture.pcap(packets(2)) .. "12345")
      local whole = capture.file(capture.pcap(packets(3)))
      local result = read { broken, whole }
      assert.same({ 1, 2, 3, 4, 5 }, pluck(result.frames, "number"))
      assert.same({ broken .. cut }, result.warnings)
      assert.is_true(result.damaged)
    end)

    it("counting the packets of messages in their own file", function()
      local whole = capture.file(capture.pcap(packets(3)))
      local broken = capture.file(capture.pcap(packets(2)) .. "12345")
      assert.same({ broken .. cut }, read({ whole, broken }).warnings)
    end)

    it("however few frames are asked for at once", function()
      local path = capture.file(capture.pcap(packets(7)))
      for max = 1, 8 do expect_packets(read(path, nil, max), 7) end
    end)
  end)

  describe("reads a folder", function()
    it("file by file in the order of their names' bytes, without hidden ones and folders", function()
      local function one(letter) return capture.pcap { { bytes = letter } } end
      local folder = capture.folder {
        ["b.pcap"] = one "3", ["B.pcap"] = one "2", ["10"] = one "1", ["ä.pcapng"] = one "4",
        [".a.pcap"] = one "hidden",
      }
      os.execute("mkdir " .. folder .. "/c && cp " .. folder .. "/b.pcap " .. folder .. "/c/")
      local result = read(folder)
      assert.same({ "1", "2", "3", "4" }, pluck(result.frames, "bytes"))
      assert.same({}, result.warnings)
      assert.same({ "1", "2", "3", "4" }, pluck(read(folder .. "/").frames, "bytes"))
    end)

    it("noting files that are no captures, which is no damage", function()
      local folder = capture.folder { ["a.txt"] = "notes", ["b.pcap"] = capture.pcap(packets(1)), ["c.pcap"] = "" }
      local result = read(folder)
      assert.equal(1, #result.frames)
      assert.same({
        folder .. "/a.txt: not a capture: starts with 6e 6f 74 65, expected pcap or pcapng",
        folder .. "/c.pcap: not a capture: empty, expected pcap or pcapng",
      }, result.warnings)
      assert.is_false(result.damaged)
    end)

    it("noting damaged captures, which is damage", function()
      local folder = capture.folder { ["a.pcap"] = capture.pcap(packets(1)) .. "x" }
      local result = read(folder)
      assert.equal(1, #result.warnings)
      assert.is_true(result.damaged)
    end)

    it("with no control characters of names in its warnings", function()
      local folder = capture.folder { ["a\nb\27[1m"] = "notes" }
      assert.same({ folder .. "/a?b?[1m: not a capture: starts with 6e 6f 74 65, expected pcap or pcapng" },
        read(folder).warnings)
    end)

    it("refusing an empty one", function()
      local folder = capture.folder {}
      local source, message = open(folder)
      assert.is_nil(source)
      assert.equal(('"%s": a folder without files, expected capture files in it'):format(folder), message)
    end)
  end)

  describe("refuses at once", function()
    it("a file that does not exist, even behind others that do", function()
      local source, message = open { capture.file(capture.pcap {}), "/nowhere/x.pcap" }
      assert.is_nil(source)
      assert.equal('"/nowhere/x.pcap": No such file or directory, '
        .. "expected a capture file, a folder of them or a network interface", message)
    end)

    it("no file at all", function()
      local source, message = open {}
      assert.is_nil(source)
      assert.equal("no source, expected at least one capture file", message)
    end)
  end)

  describe("filters", function()
    local function ports(result)
      local list = {}
      for i, frame in ipairs(result.frames) do list[i] = frame.bytes:byte(-5) + 256 * frame.bytes:byte(-6) end
      return list
    end

    it("by a libpcap expression, numbering and counting what it refuses", function()
      local bytes = capture.pcap {
        { bytes = ethernet(53) }, { bytes = ethernet(443), size = 1500 },
        { bytes = ethernet(53) }, { bytes = ethernet(80) },
      }
      local result = read_bytes(bytes, "udp port 53")
      assert.same({ 53, 53 }, ports(result))
      assert.same({ 1, 3 }, pluck(result.frames, "number"))
      assert.equal(4, result.counters.packets)
      assert.equal(2, result.counters.filtered)
      assert.equal(3 * 42 + 1500, result.counters.bytes)
    end)

    it("by the size on the wire", function()
      local bytes = capture.pcap { { bytes = ethernet(1), size = 1500 }, { bytes = ethernet(2), size = 100 } }
      assert.same({ 1 }, ports(read_bytes(bytes, "greater 1000")))
    end)

    it("by broadcast addresses of networks of 256", function()
      local list = {}
      for i, last in ipairs { 254, 255, 0 } do list[i] = { bytes = ethernet(i, last) } end
      local bytes = capture.pcap(list)
      assert.same({ 2, 3 }, ports(read_bytes(bytes, "ip broadcast")))
    end)

    it("by nothing with an empty expression", function()
      expect_packets(read_bytes(capture.pcap(packets(3)), ""), 3)
    end)

    it("for each link type anew", function()
      local bytes = capture.pcapng {
        capture.section(), capture.interface { link_type = 1 }, capture.interface { link_type = 101 },
        capture.enhanced_packet { bytes = ethernet(53) },
        capture.enhanced_packet { bytes = ip_packet(53), interface = 1 },
        capture.enhanced_packet { bytes = ethernet(80) },
        capture.enhanced_packet { bytes = ip_packet(80), interface = 1 },
      }
      local result = read_bytes(bytes, "port 80")
      assert.same({ 80, 80 }, ports(result))
      assert.same({ 1, 101 }, pluck(result.frames, "link_type"))
      for _, raw in ipairs { 12, 14, 101, 228 } do
        local one = capture.pcap({ { bytes = ip_packet(80) }, { bytes = ip_packet(53) } }, { link_type = raw })
        assert.same({ 80 }, ports(read_bytes(one, "port 80")))
      end
    end)

    it("not when the expression is wrong, which shows at once", function()
      local source, message = open(capture.file(capture.pcap {}), "prot 80")
      assert.is_nil(source)
      assert.truthy(message:find("^bpf_filter \"prot 80\": .+, expected a libpcap filter for link type 1 %(EN10MB%)$"))
      assert.is_nil(message:find "\n")
    end)

    it("when the expression fits the first file's link type or Ethernet, which shows at once", function()
      local pcap = capture.file(capture.pcap({}, { link_type = 105 }))
      local pcapng = capture.file(capture.pcapng { capture.section(), capture.interface { link_type = 105 } })
      local cooked = capture.file(capture.pcap {})
      for _, path in ipairs { pcap, pcapng } do
        assert.truthy(open(path, "wlan type data"))
        assert.is_nil((open({ cooked, path }, "wlan type data")))
      end
    end)

    it("with the expression checked for Ethernet where no file can be read", function()
      local path = capture.file "hello"
      assert.is_nil((open(path, "prot 80")))
      assert.truthy(open(path, "port 80"))
      assert.is_true(read(path, "port 80").damaged)
    end)

    it("by nothing of a link type for which the expression cannot be compiled, and says so", function()
      local bytes = capture.pcapng {
        capture.section(), capture.interface { link_type = 1 }, capture.interface { link_type = 195 },
        capture.enhanced_packet { bytes = ethernet(80) },
        capture.enhanced_packet { bytes = "whatever", interface = 1 },
        capture.enhanced_packet { bytes = ethernet(80) },
      }
      local result = read_bytes(bytes, "port 80")
      assert.same({ 80, 80 }, ports(result))
      assert.equal(C.NF_END, result.status)
      assert.is_false(result.damaged)
      assert.equal(1, #result.warnings)
      assert.truthy(result.warnings[1]:find("bpf_filter \"port 80\": .+, expected a libpcap filter for link type 195"))
    end)
  end)

  describe("tells of damage:", function()
    local two = capture.pcap(packets(2))
    local section, interface = capture.section(), capture.interface()
    local packet = capture.enhanced_packet { bytes = "abcd" }

    local function ng_damage(count, what, ...)
      expect_damage(capture.pcapng { ... }, count, what)
    end

    it("a file cut within a record, or its header, or the file's header", function()
      expect_damage(two:sub(1, -2), 1,
        "damaged after packet 1 at byte 50: the file ends within a record (35 of 36 bytes)")
      expect_damage(two:sub(1, 51), 1,
        "damaged after packet 1 at byte 50: the file ends within a record header (1 of 16 bytes)")
      expect_damage(two:sub(1, 23), 0,
        "damaged after packet 0 at byte 0: the file ends within the file header (23 of 24 bytes)")
    end)

    it("lengths that no packet has", function()
      for _, length in ipairs { 262145, 0x7fffffff, 0x80000000, 0xffffffff } do
        expect_damage(two .. capture.pcap_record { bytes = "xyz", captured = length } .. ("z"):rep(300000), 2,
          ("damaged after packet 2 at byte 86: captured length %d, expected at most 262144"):format(length))
      end
      expect_damage(capture.pcap({ { bytes = "xyz", captured = 16777217 } }, { snaplen = 0xffffffff }), 0,
        "damaged after packet 0 at byte 24: captured length 16777217, expected at most 16777216")
    end)

    it("a version of pcap that there is not", function()
      expect_damage(capture.pcap({}, { version = { 2, 5 } }), 0,
        "damaged after packet 0 at byte 0: pcap version 2.5, expected 2.0 to 2.4")
    end)

    it("what is no capture", function()
      expect_damage("\127ELF....", 0, "not a capture: starts with 7f 45 4c 46, expected pcap or pcapng")
      expect_damage("\127E", 0, "not a capture: starts with 7f 45, expected pcap or pcapng")
      expect_damage("", 0, "not a capture: empty, expected pcap or pcapng")
    end)

    it("a pcapng block whose length cannot be", function()
      for _, length in ipairs { 0, 11, 13, 17039364, 0xfffffffc } do
        local what = "damaged after packet 1 at byte 84: block length %d, expected a multiple of 4 from 12 to 17039360"
        local broken = capture.raw(capture.u32(6) .. capture.u32(length) .. ("x"):rep(40))
        ng_damage(1, what:format(length), section, interface, packet, broken)
      end
    end)

    it("a pcapng block whose lengths differ", function()
      local other = capture.u32(5) .. capture.u32(16) .. "abcd" .. capture.u32(20)
      ng_damage(1, "damaged after packet 1 at byte 84: block length 20 at its end, expected 16 as at its start",
        section, interface, packet, capture.raw(other))
    end)

    it("a pcapng file cut within a block", function()
      expect_damage(capture.pcapng({ section, interface, packet }):sub(1, -2), 0,
        "damaged after packet 0 at byte 48: the file ends within a block (35 of 36 bytes)")
    end)

    it("a packet of an interface that is not described", function()
      ng_damage(0, "damaged after packet 0 at byte 48: interface number 1, expected less than 1, the number described",
        section, interface, capture.enhanced_packet { bytes = "x", interface = 1 })
      ng_damage(1, "damaged after packet 1 at byte 112: interface number 0, expected less than 0, the number described",
        section, interface, packet, section, packet)
    end)

    it("a packet larger than its block", function()
      ng_damage(0, "damaged after packet 0 at byte 48: captured length 5, expected at most 4", section, interface,
        capture.enhanced_packet { bytes = "abcd", captured = 5 })
      ng_damage(0, "damaged after packet 0 at byte 48: captured length 5, expected at most 4", section, interface,
        capture.simple_packet { bytes = "abcd", size = 5 })
    end)

    it("a packet larger than any", function()
      ng_damage(0, "damaged after packet 0 at byte 48: captured length 262145, expected at most 262144", section,
        interface, capture.enhanced_packet { bytes = ("x"):rep(262145) })
    end)

    it("blocks too short for what they are", function()
      ng_damage(0, "damaged after packet 0 at byte 48: packet block of 28 bytes, expected at least 32", section,
        interface, capture.block(6, ("x"):rep(16)))
      ng_damage(0, "damaged after packet 0 at byte 48: packet block of 12 bytes, expected at least 16", section,
        interface, capture.block(3, ""))
      ng_damage(0, "damaged after packet 0 at byte 28: interface block of 16 bytes, expected at least 20", section,
        capture.block(1, "abcd"))
    end)

    it("interface options that cannot be", function()
      local function with(option) return capture.interface { options = { option } } end
      ng_damage(0, "damaged after packet 0 at byte 28: if_tsresol of 2 bytes, expected 1", section, with { 9, "ab" })
      ng_damage(0, "damaged after packet 0 at byte 28: if_tsoffset of 4 bytes, expected 8", section,
        with { 14, "abcd" })
      ng_damage(0, "damaged after packet 0 at byte 28: interface option 2 of 9 bytes, expected at most 8", section,
        capture.block(1, ("\0"):rep(8) .. capture.u16(2) .. capture.u16(9) .. ("x"):rep(8)))
    end)

    it("another version or an unknown byte order of pcapng", function()
      ng_damage(0, "damaged after packet 0 at byte 0: pcapng version 2.0, expected 1.x",
        capture.section { version = { 2, 0 } })
      local bytes = capture.pcapng { section }
      expect_damage(bytes:sub(1, 8) .. "abcd" .. bytes:sub(13), 0, "damaged after packet 0 at byte 0: "
        .. "byte-order mark 61 62 63 64, expected 1a 2b 3c 4d or its reverse")
    end)

    it("more interfaces than any machine has", function()
      local blocks = { section }
      for i = 2, 65538 do blocks[i] = interface end
      expect_damage(capture.pcapng(blocks), 0,
        "damaged after packet 0 at byte 1310748: interface 65537 of a section, expected at most 65536")
    end)
  end)

  describe("reads a pipe", function()
    ffi.cdef [[
      int pipe(int *ends);
      ssize_t write(int descriptor, const void *bytes, size_t size);
      int close(int descriptor);
      void (*signal(int number, void (*handler)(int)))(int);
      int siginterrupt(int number, int is_interrupted);
      unsigned ualarm(unsigned microseconds, unsigned interval);
      int abs(int);
    ]]
    local SIGALRM = 14

    it("giving what is there and coming back when a signal comes", function()
      local ends = ffi.new "int[2]"
      assert.equal(0, ffi.C.pipe(ends))
      finally(function() ffi.C.close(ends[0]) end)
      local source = assert(open { capture.file(capture.pcap {}), "/dev/fd/" .. ends[0] })
      local frames = ffi.new "struct nf_frame[16]"
      local function write(bytes) assert.equal(#bytes, tonumber(ffi.C.write(ends[1], bytes, #bytes))) end

      local bytes = capture.pcap(packets(3))
      write(bytes:sub(1, 60)) -- the second packet ends at byte 86
      local count
      repeat count = C.nf_files_read(source, frames, 16) until count ~= 0
      assert.equal(1, count)
      ffi.C.signal(SIGALRM, ffi.cast("void (*)(int)", ffi.C.abs)) -- any function that does no harm
      ffi.C.siginterrupt(SIGALRM, 1)
      ffi.C.ualarm(20000, 0)
      assert.equal(0, C.nf_files_read(source, frames, 16))
      write(bytes:sub(61))
      ffi.C.close(ends[1])
      assert.equal(2, C.nf_files_read(source, frames, 16))
      assert.equal(2, tonumber(frames[0].number))
      assert.equal(C.NF_END, C.nf_files_read(source, frames, 16))
      assert.is_false(C.nf_files_is_damaged(source))
      local counters = C.nf_files_counters(source)
      assert.equal(0, tonumber(counters.input_size)) -- not known
      assert.equal(24 + #bytes, tonumber(counters.input_read))
    end)
  end)

  describe("reads standard input", function()
    -- A child that reads "-" and prints packets, sizes and warnings.
    local function child(command, filter)
      local script = capture.file(([[
        package.path = "./lua/?.lua;./lua/?/init.lua;./?.lua"
        local ffi = require "ffi"
        local C = require "spec.support.core" ("frame", "files")
        local source = C.nf_files_open(ffi.new("const char *[1]", { "-" }), 1, %s, nil)
        local frames, sizes = ffi.new("struct nf_frame[8]"), {}
        repeat
          local count = C.nf_files_read(source, frames, 8)
          for i = 0, count - 1 do sizes[#sizes + 1] = frames[i].size end
        until count < 0
        local warning = C.nf_files_warning(source)
        print(table.concat(sizes, " "), warning ~= nil and ffi.string(warning) or "no warning",
          tostring(C.nf_files_counters(source).input_size))
      ]]):format(filter and ("%q"):format(filter) or "nil"))
      local pipe = assert(io.popen(command:gsub("CHILD", "luajit " .. script), "r"))
      local output = pipe:read "*a"
      pipe:close()
      return output
    end

    it("from a file", function()
      local path = capture.file(capture.pcap(packets(3)))
      assert.equal("1001 1002 1003\tno warning\t132ULL\n", child("CHILD <" .. path))
    end)

    it("from a pipe that brings little at a time", function()
      local path = capture.file(capture.pcap(packets(3)))
      local slow = "for i in 0 1 2 3 4 5 6; do tail -c +$((i * 20 + 1)) " .. path .. " | head -c 20; done"
      assert.equal("1001 1002 1003\tno warning\t0ULL\n", child("{ " .. slow .. "; } | CHILD"))
      assert.equal("\tno warning\t0ULL\n", child("{ " .. slow .. "; } | CHILD", "tcp"))
    end)

    it("calling it by its name", function()
      assert.equal("\tstandard input: not a capture: starts with 68 65 6c 6c, expected pcap or pcapng\t0ULL\n",
        child "echo hello | CHILD")
    end)
  end)
end)
