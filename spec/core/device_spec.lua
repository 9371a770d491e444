-- core/device.c: frames from network interfaces, here from one end of a virtual cable into which tcpreplay sends.

local bit = require "bit"
local ffi = require "ffi"
local C = require "spec.support.core" ("frame", "device", "files")
local P = require "nfengine.testing.packet"
local capture = require "nfengine.testing.capture"
local network = require "spec.support.network"
local program = require "spec.support.program"

ffi.cdef [[
  long syscall(long number, ...);
  struct itimerval { long interval_s, interval_us, value_s, value_us; };
  int setitimer(int kind, const struct itimerval *value, struct itimerval *old);
  void (*signal(int number, void (*handler)(int)))(int);
  int abs(int);
  int usleep(unsigned microseconds);
  int ioctl(int descriptor, unsigned long request, ...);
  ssize_t write(int descriptor, const void *bytes, size_t size);
]]

local function text(pointer) return pointer ~= nil and ffi.string(pointer) or nil end

-- Options: filter, snapshot_length, buffer_size, promiscuous, reconnect; fanout: an int32_t array.
local function open(names, options)
  options = options or {}
  if type(names) == "string" then names = { names } end
  local list = ffi.new("const char *[?]", #names + 1, names)
  local given = ffi.new "struct nf_device_options"
  given.names, given.count = list, #names
  given.filter = options.filter
  given.snapshot_length = options.snapshot_length or 65535
  given.buffer_size = options.buffer_size or 0
  given.promiscuous = options.promiscuous or false
  given.reconnect = options.reconnect or false
  given.fanout = options.fanout
  local message = ffi.new("char[?]", C.NF_ERROR_SIZE)
  local devices = C.nf_devices_open(given, message)
  if devices == nil then return nil, text(message) end
  return ffi.gc(devices, C.nf_devices_close)
end

local function close(devices) C.nf_devices_close(ffi.gc(devices, nil)) end

local function counters(devices)
  local result, pointer = {}, C.nf_devices_counters(devices)
  for _, name in ipairs { "packets", "bytes", "dropped_kernel", "dropped_interface" } do
    result[name] = tonumber(pointer[name])
  end
  return result
end

local function warnings(devices)
  local list = {}
  for warning in function() return text(C.nf_devices_warning(devices)) end do list[#list + 1] = warning end
  return list
end

local room = ffi.new "struct nf_frame[64]"

-- One read: appends to the list, returns the count.
local function read(devices, list, max)
  local count = C.nf_devices_read(devices, room, max or 64)
  for i = 0, count - 1 do
    local frame = room[i]
    table.insert(list, {
      bytes = ffi.string(frame.data, frame.captured), size = frame.size, time_ns = frame.time_ns,
      number = tonumber(frame.number), link_type = frame.link_type,
    })
  end
  return count
end

-- Reads until there are `count` frames or five seconds have passed.
local function read_some(devices, count, max)
  local list, deadline = {}, C.nf_now() + 5
  while #list < count and C.nf_now() < deadline do
    if read(devices, list, max) < 0 then break end
  end
  return list
end

-- Reads to the end, which has to come; returns the frames, the seconds it took, and the number of reads.
local function read_all(devices, max)
  local list, start, reads = {}, C.nf_now(), 0
  local count
  repeat
    count = read(devices, list, max)
    reads = reads + 1
    assert(C.nf_now() < start + 10, "no end")
  until count < 0
  assert.equal(C.NF_END, count)
  return list, C.nf_now() - start, reads
end

local function stop_and_read(devices, max)
  C.nf_devices_stop(devices)
  return read_all(devices, max)
end

-- Reads until there is a warning; returns it and the frames before it.
local function read_to_warning(devices, max)
  local list, start = {}, C.nf_now()
  repeat
    read(devices, list, max)
    local warning = text(C.nf_devices_warning(devices))
    if warning then return warning, list, C.nf_now() - start end
  until C.nf_now() > start + 5
end

local function bytes_of(list)
  local result = {}
  for i, frame in ipairs(list) do result[i] = frame.bytes end
  return result
end

-- What a file holds: its frames' bytes, and the bytes on the wire together.
local function frames_of_file(path)
  local source = C.nf_files_open(ffi.new("const char *[1]", { path }), 1, nil, nil)
  local list, size = {}, 0
  repeat
    local count = C.nf_files_read(source, room, 64)
    for i = 0, count - 1 do
      list[#list + 1] = ffi.string(room[i].data, room[i].captured)
      size = size + room[i].size
    end
  until count < 0
  C.nf_files_close(source)
  return list, size
end

-- Frames that differ: UDP between ports; `length` bytes behind the headers.
local function udp(port, length, other)
  return (P.eth {} .. P.ipv4 {} .. P.udp { src_port = port, dst_port = other or 9 } .. ("x"):rep(length or 20)):bytes()
end

local function udp_file(count, length)
  local packets = {}
  for i = 1, count do packets[i] = { bytes = udp(i, length) } end
  return capture.file(capture.pcap(packets))
end

-- CAP_NET_RAW, with which sockets for captures are made: out of this process' effective set, and back into it.
local function set_capability(is_on)
  local SYS_CAPGET, SYS_CAPSET, VERSION, CAP_NET_RAW = 125, 126, 0x20080522, 13
  local header, data = ffi.new("uint32_t[2]", { VERSION, 0 }), ffi.new "uint32_t[6]"
  assert(ffi.C.syscall(SYS_CAPGET, header, data) == 0)
  local mask = bit.lshift(1, CAP_NET_RAW)
  data[0] = is_on and bit.bor(data[0], mask) or bit.band(data[0], bit.bnot(mask))
  assert(ffi.C.syscall(SYS_CAPSET, header, data) == 0)
end

describe("network interfaces", function()
  local missing = network.missing("tcpreplay", "sysctl")
  if jit.arch ~= "x64" then missing = missing or "knows the system calls of x86-64 only" end
  if missing then
    it("as frames", function() pending(missing) end)
    return
  end

  local net

  -- The spec itself listens at vb; commands run at the other end, where va is.
  before_each(function()
    net = network.create "nfd_"
    network.enter(net.b)
  end)

  after_each(function()
    C.nf_interrupt(0)
    set_capability(true)
    collectgarbage() -- handles of tests that failed
    network.cleanup()
    capture.cleanup()
  end)

  local function send(path, how, interface)
    network.check(net.a, ("tcpreplay -q -i %s %s %s"):format(interface or "va", how or "--topspeed", path))
  end

  -- What the cable brought, as the interface counts it.
  local function received(interface)
    local path = ("/sys/class/net/%s/statistics/rx_packets"):format(interface or "vb")
    return tonumber(network.check(net.b, "cat " .. path).out)
  end

  local function link(words) network.check(net.b, "ip link set " .. words) end

  describe("give", function()
    it("what was sent: bytes, sizes, numbers, rising times in nanoseconds", function()
      local sent, size = frames_of_file "samples/web.pcap"
      local devices = assert(open "vb")
      local before = os.time()
      send("samples/web.pcap", "--mbps=100")
      local list = read_some(devices, #sent)
      assert.same(sent, bytes_of(list))
      local fractions, last = 0, (before - 1) * 1000000000ULL
      for i, frame in ipairs(list) do
        assert.equal(i, frame.number)
        assert.equal(#frame.bytes, frame.size)
        assert.equal(1, frame.link_type)
        assert.is_true(frame.time_ns >= last)
        last = frame.time_ns
        if frame.time_ns % 1000 ~= 0 then fractions = fractions + 1 end
      end
      assert.is_true(last < (os.time() + 1) * 1000000000ULL)
      assert.is_true(fractions > #list / 2)
      assert.same({ packets = #sent, bytes = size, dropped_kernel = 0, dropped_interface = 0 }, counters(devices))
      assert.same({}, warnings(devices))
      assert.is_false(C.nf_devices_is_damaged(devices))
    end)

    it("VLAN tags, which the kernel keeps beside the frame", function()
      local sent = frames_of_file "samples/vlan.pcap"
      local devices = assert(open "vb")
      send "samples/vlan.pcap"
      assert.same(sent, bytes_of(read_some(devices, #sent)))
    end)

    it("as many at a time as asked for", function()
      local devices = assert(open "vb")
      send(udp_file(100))
      local list = {}
      repeat until read(devices, list, 7) > 0
      assert.equal(7, #list)
      local rest = read_some(devices, 93, 1)
      assert.equal(93, #rest)
      assert.equal(100, rest[93].number)
      assert.equal(udp(100), rest[93].bytes)
      assert.equal(0, C.nf_devices_read(devices, room, 0))
    end)

    it("as much of them as the snapshot length says, and their whole size", function()
      local devices = assert(open("vb", { snapshot_length = 61 }))
      send(udp_file(80, 1000))
      local list = read_some(devices, 80)
      assert.equal(80, #list)
      for i, frame in ipairs(list) do
        assert.equal(udp(i, 1000):sub(1, 61), frame.bytes)
        assert.equal(1042, frame.size)
      end
      assert.equal(80 * 1042, counters(devices).bytes)
    end)

    it("the largest, more than a read has room for, one after another", function()
      for _, length in ipairs { 0, 65535, 0xffffffff } do
        local devices = assert(open("vb", { snapshot_length = length, buffer_size = 16777216 }))
        local path = udp_file(80, 65000)
        send(path)
        local list = read_some(devices, 80)
        assert.same(frames_of_file(path), bytes_of(list))
        assert.same(0, counters(devices).dropped_kernel)
      end
    end)

    it("what the filter accepts, and count nothing else", function()
      local devices = assert(open("vb", { filter = "udp src portrange 11-20" }))
      send(udp_file(50))
      local list = stop_and_read(devices)
      assert.equal(10, #list)
      assert.equal(udp(11), list[1].bytes)
      assert.equal(1, list[1].number)
      assert.equal(10, counters(devices).packets)
      assert.equal(0, counters(devices).dropped_kernel)
    end)

    it("what a filter on VLAN tags accepts", function()
      local devices = assert(open("vb", { filter = "vlan 20" }))
      send "samples/vlan.pcap"
      local list = stop_and_read(devices)
      assert.equal(26, #list)
      for _, frame in ipairs(list) do assert.equal("\x81\0\0\20", frame.bytes:sub(13, 16)) end
    end)

    it("everything with an empty filter", function()
      local devices = assert(open("vb", { filter = "" }))
      send(udp_file(5))
      assert.equal(5, #read_some(devices, 5))
    end)

    it("raw IP by the number that captures have for it", function()
      local TUNSETIFF, IFF_TUN, IFF_NO_PI, O_RDWR = 0x400454ca, 0x0001, 0x1000, 2
      local tun = ffi.C.open("/dev/net/tun", O_RDWR)
      if tun < 0 then pending "needs /dev/net/tun" end
      finally(function() ffi.C.close(tun) end)
      local request = ffi.new "char[40]"
      ffi.copy(request, "nfd_tun")
      ffi.cast("short *", request + 16)[0] = IFF_TUN + IFF_NO_PI
      assert.equal(0, ffi.C.ioctl(tun, TUNSETIFF, request))
      link "nfd_tun up"
      local devices = assert(open "nfd_tun")
      local packet = udp(1):sub(15)
      assert.equal(#packet, tonumber(ffi.C.write(tun, packet, #packet)))
      local list = read_some(devices, 1)
      assert.equal(packet, list[1].bytes)
      assert.equal(101, list[1].link_type)
    end)

    it("those of loopback once, though the kernel shows them twice", function()
      link "lo up"
      local devices = assert(open("lo", { filter = "udp" }))
      network.check(net.b, "bash -c 'for i in 1 2 3; do echo hello >/dev/udp/127.0.0.1/9; done'")
      local list, seconds = stop_and_read(devices)
      assert.equal(3, #list)
      assert.is_true(seconds < 0.5, "took " .. seconds)
    end)
  end)

  describe("together", function()
    before_each(function() network.pair(net, "va2", "vb2") end)

    it("give all frames, each interface's in order, in one count", function()
      local devices = assert(open { "vb", "vb2" })
      send(udp_file(100))
      local other = capture.file(capture.pcap { { bytes = udp(5000) }, { bytes = udp(5001) } })
      send(other, "--topspeed", "va2")
      local list = read_some(devices, 102)
      assert.equal(102, #list)
      local ports, others = {}, {}
      for i, frame in ipairs(list) do
        assert.equal(i, frame.number)
        local port = frame.bytes:byte(35) * 256 + frame.bytes:byte(36)
        table.insert(port >= 5000 and others or ports, port)
      end
      assert.same({ 5000, 5001 }, others)
      for i, port in ipairs(ports) do assert.equal(i, port) end
      assert.equal(102, counters(devices).packets)
    end)

    it("keep none waiting behind a busy one", function()
      for _, names in ipairs { { "vb", "vb2" }, { "vb2", "vb" } } do
        local devices = assert(open(names))
        send(udp_file(2000))
        send(capture.file(capture.pcap { { bytes = udp(5000) } }), "--topspeed", "va2")
        local list, at = {}, nil
        repeat
          assert.is_true(read(devices, list, 10) >= 0)
          for i = math.max(1, #list - 9), #list do at = list[i].bytes == udp(5000) and i or at end
          ffi.C.usleep(5000) -- so that the kernel has time to hand over both
        until at
        assert.is_true(at < 1900, "at " .. at)
        close(devices)
      end
    end)

    it("are none when one cannot be opened, which the error names", function()
      local devices, message = open { "vb", "vb2", "nfd_none" }
      assert.is_nil(devices)
      assert.equal('"nfd_none": no such interface, expected the name of a network interface or any', message)
    end)

    it("cannot be the same", function()
      local _, message = open { "vb", "vb2", "vb" }
      assert.equal('"vb": named twice, expected each interface once', message)
    end)

    it("go on when one goes down, and end with the last", function()
      local devices = assert(open { "vb", "vb2" })
      send(udp_file(3))
      link "vb down"
      local warning, list = read_to_warning(devices)
      assert.equal("vb: the interface went down", warning)
      send(udp_file(4), "--topspeed", "va2")
      for _, frame in ipairs(read_some(devices, 7 - #list)) do list[#list + 1] = frame end
      assert.equal(7, #list)
      assert.is_true(C.nf_devices_is_damaged(devices))
      link "vb2 down"
      assert.same({}, (read_all(devices)))
      assert.same({ "vb2: the interface went down" }, warnings(devices))
    end)

    it("notice one that goes down while another is busy", function()
      local devices = assert(open { "vb", "vb2" })
      local list = {}
      os.execute(network.command(net.a, "timeout 3 tcpreplay -q -i va2 --loop=0 --pps=20000 " .. udp_file(10))
        .. " >/dev/null 2>&1 &")
      repeat until read(devices, list, 4) > 0
      link "vb down"
      assert.equal("vb: the interface went down", (read_to_warning(devices, 4)))
    end)
  end)

  describe("all at once", function()
    it("are Linux cooked frames", function()
      local devices = assert(open("any", { promiscuous = true }))
      send(udp_file(3))
      local list = read_some(devices, 3)
      assert.equal(3, #list)
      for i, frame in ipairs(list) do
        assert.equal(113, frame.link_type)
        assert.equal(udp(i):sub(13), frame.bytes:sub(15))
        assert.equal(#frame.bytes, frame.size)
      end
      assert.same({}, warnings(devices))
    end)

    it("can be filtered", function()
      local devices = assert(open("any", { filter = "udp src port 2" }))
      send(udp_file(3))
      local list = stop_and_read(devices)
      assert.equal(1, #list)
      assert.equal(udp(2):sub(13), list[1].bytes:sub(15))
    end)

    it("keep a VLAN tag, which Linux cooked frames of version 2 would lose", function()
      local devices = assert(open "any")
      local frame = (P.eth {} .. P.vlan { id = 20 } .. P.ipv4 {} .. P.udp {} .. "tagged"):bytes()
      send(capture.file(capture.pcap { { bytes = frame } }))
      assert.equal(frame:sub(13), read_some(devices, 1)[1].bytes:sub(15))
    end)
  end)

  describe("wait", function()
    it("for a while when nothing comes", function()
      local devices = assert(open "vb")
      local start = C.nf_now()
      assert.equal(0, C.nf_devices_read(devices, room, 64))
      local waited = C.nf_now() - start
      assert.is_true(waited > 0.08 and waited < 0.15, "waited " .. waited)
    end)

    it("until a signal comes", function()
      local devices = assert(open "vb")
      local SIGALRM, ITIMER_REAL = 14, 0
      ffi.C.signal(SIGALRM, ffi.cast("void (*)(int)", ffi.C.abs)) -- any function that does no harm
      local start = C.nf_now()
      ffi.C.setitimer(ITIMER_REAL, ffi.new("struct itimerval", { 0, 0, 0, 20000 }), nil)
      assert.equal(0, C.nf_devices_read(devices, room, 64))
      assert.is_true(C.nf_now() - start < 0.07)
    end)
  end)

  describe("when stopped", function()
    it("end at once where nothing is left", function()
      local devices = assert(open "vb")
      local list, seconds = stop_and_read(devices)
      assert.same({}, list)
      assert.is_true(seconds < 0.1, "took " .. seconds)
      assert.equal(C.NF_END, C.nf_devices_read(devices, room, 64))
      assert.is_false(C.nf_devices_is_damaged(devices))
      assert.same({}, warnings(devices))
    end)

    it("give what came before, even the last block that is not full, and nothing that comes after", function()
      local devices = assert(open "vb")
      for _ = 1, 3 do send "samples/web.pcap" end
      C.nf_devices_stop(devices)
      send(udp_file(10))
      local sent = frames_of_file "samples/web.pcap"
      local list, seconds = read_all(devices, 16)
      assert.equal(3 * #sent, #list)
      assert.equal(sent[#sent], list[#list].bytes)
      assert.is_true(seconds < 0.4, "took " .. seconds)
      assert.same({ packets = #list, dropped_kernel = 0 },
        { packets = counters(devices).packets, dropped_kernel = counters(devices).dropped_kernel })
    end)

    it("have given or counted as dropped every frame, however few they had room for", function()
      local devices = assert(open("vb", { buffer_size = 1 }))
      local list = {}
      for _ = 1, 4 do
        send("samples/web.pcap", "--topspeed --loop=20")
        read(devices, list, 50)
      end
      local sent = received()
      assert.equal(4 * 20 * 390, sent)
      for _, frame in ipairs((stop_and_read(devices))) do list[#list + 1] = frame end
      local count = counters(devices)
      assert.equal(#list, count.packets)
      assert.is_true(count.dropped_kernel > 1000)
      assert.is_true(count.packets > 300)
      assert.equal(sent, count.packets + count.dropped_kernel)
      assert.equal(count.packets, list[#list].number)
    end)

    it("have given or counted every frame that came while they were stopped by a slow reader", function()
      local devices = assert(open("vb", { buffer_size = 1 }))
      local done = os.tmpname()
      os.execute(("{ %s; rm %s; } >/dev/null 2>&1 &"):format(
        network.command(net.a, "tcpreplay -q -i va --loop=200 --pps=50000 samples/web.pcap"), done))
      local list = {}
      local deadline = C.nf_now() + 20
      while program.read(done) and C.nf_now() < deadline do
        read(devices, list, 64)
        ffi.C.usleep(4000)
      end
      for _, frame in ipairs((stop_and_read(devices))) do list[#list + 1] = frame end
      local count = counters(devices)
      assert.is_true(count.dropped_kernel > 0)
      assert.equal(200 * 390, received())
      assert.equal(200 * 390, count.packets + count.dropped_kernel)
      assert.equal(#list, count.packets)
    end)
  end)

  describe("in a fan-out group", function()
    local function members(count, ...)
      local group, list = ffi.new("int32_t[1]", -1), {}
      for i = 1, count do
        list[i] = assert(open("vb", { fanout = group, filter = select(1, ...) }))
      end
      return list, group
    end

    it("share the frames, both directions of a flow to the same member", function()
      local list, group = members(2)
      assert.is_true(group[0] >= 0 and group[0] < 65536)
      local packets = {}
      for port = 1, 200 do
        packets[#packets + 1] = { bytes = udp(1000 + port, 20, 53) }
        packets[#packets + 1] = { bytes = (P.eth {} .. P.ipv4 { src = "10.0.0.2", dst = "10.0.0.1" }
          .. P.udp { src_port = 53, dst_port = 1000 + port } .. "answer"):bytes() }
      end
      send(capture.file(capture.pcap(packets)))
      local owner, counts = {}, {}
      for i, devices in ipairs(list) do
        local frames = stop_and_read(devices)
        counts[i] = #frames
        for _, frame in ipairs(frames) do
          local from, to = frame.bytes:sub(35, 36), frame.bytes:sub(37, 38)
          local flow = from == "\0\53" and to or from
          assert.is_true(owner[flow] == nil or owner[flow] == i)
          owner[flow] = i
        end
      end
      assert.equal(400, counts[1] + counts[2])
      assert.is_true(counts[1] > 100 and counts[2] > 100)
    end)

    it("join only where it is the interface's", function()
      local _, group = members(1)
      network.pair(net, "va2", "vb2")
      local devices, message = open("vb2", { fanout = group })
      assert.is_nil(devices)
      assert.truthy(message:find('^"vb2": fan%-out group %d+: .+, expected a group of this interface or %-1$'))
    end)

    it("get fragments as they came, those of a datagram in the same member", function()
      local list = members(2)
      local payload = P.udp { length = 1608 }:bytes() .. ("x"):rep(1600)
      send(capture.file(capture.pcap {
        { bytes = (P.eth {} .. P.ipv4 { more = true, protocol = 17 } .. payload:sub(1, 800)):bytes() },
        { bytes = (P.eth {} .. P.ipv4 { offset = 800, protocol = 17 } .. payload:sub(801)):bytes() },
      }))
      local counts = {}
      for i, devices in ipairs(list) do counts[i] = #stop_and_read(devices) end
      table.sort(counts)
      assert.same({ 0, 2 }, counts)
    end)

    it("are in it again when the interface comes back", function()
      local group = ffi.new("int32_t[1]", -1)
      local list = {}
      for i = 1, 2 do list[i] = assert(open("vb", { fanout = group, reconnect = true })) end
      link "vb down"
      for _, devices in ipairs(list) do
        assert.equal("vb: the interface went down, waiting for it to come back", (read_to_warning(devices)))
      end
      link "vb up"
      for _, devices in ipairs(list) do assert.equal("vb: the interface is back", (read_to_warning(devices))) end
      send(udp_file(100))
      local counts = {}
      for i, devices in ipairs(list) do counts[i] = #stop_and_read(devices) end
      assert.equal(100, counts[1] + counts[2])
      assert.is_true(counts[1] > 20 and counts[2] > 20)
    end)

    it("are in it again when the last of them has left the interface that was removed", function()
      local group = ffi.new("int32_t[1]", -1)
      local list = {}
      for i = 1, 2 do list[i] = assert(open("vb", { fanout = group, reconnect = true })) end
      network.check(net.b, "ip link del vb")
      assert.is_string((read_to_warning(list[1])))
      network.pair(net, "va", "vb")
      local start = C.nf_now()
      repeat read(list[1], {}) until C.nf_now() > start + 0.8
      assert.same({}, warnings(list[1]))
      assert.is_string((read_to_warning(list[2])))
      for _, i in ipairs { 2, 1 } do assert.equal("vb: the interface is back", (read_to_warning(list[i]))) end
      send(udp_file(100))
      assert.equal(100, #stop_and_read(list[1]) + #stop_and_read(list[2]))
    end)

    it("know its number before the interface is up", function()
      link "vb down"
      local group = ffi.new("int32_t[1]", -1)
      local list = {}
      for i = 1, 2 do list[i] = assert(open("vb", { fanout = group, reconnect = true })) end
      assert.is_true(group[0] >= 32768 and group[0] < 65536)
      for _, devices in ipairs(list) do
        assert.equal("vb: the interface is down, waiting for it to come up", (read_to_warning(devices)))
      end
      link "vb up"
      for _, devices in ipairs(list) do assert.equal("vb: the interface is back", (read_to_warning(devices))) end
      send(udp_file(100))
      assert.equal(100, #stop_and_read(list[1]) + #stop_and_read(list[2]))
    end)
  end)

  describe("that go away", function()
    it("give what they had, a warning and the end when they go down", function()
      local devices = assert(open "vb")
      send "samples/web.pcap"
      link "vb down"
      local list, seconds = read_all(devices)
      assert.equal(390, #list)
      assert.is_true(seconds < 0.7, "took " .. seconds)
      assert.same({ "vb: the interface went down" }, warnings(devices))
      assert.is_true(C.nf_devices_is_damaged(devices))
      assert.equal(C.NF_END, C.nf_devices_read(devices, room, 64))
    end)

    it("give what they had, a warning and the end when they are removed", function()
      local devices = assert(open "vb")
      send "samples/web.pcap"
      network.check(net.b, "ip link del vb")
      local list, seconds = read_all(devices)
      assert.equal(390, #list)
      assert.is_true(seconds < 0.7, "took " .. seconds)
      assert.same({ "vb: the interface was removed" }, warnings(devices))
      assert.is_true(C.nf_devices_is_damaged(devices))
      assert.same(390, counters(devices).packets)
    end)

    it("are noticed at once while a read waits", function()
      local devices = assert(open "vb")
      os.execute(network.command(net.b, "sleep 0.25; ip link del vb") .. " &")
      local _, seconds = read_all(devices)
      assert.is_true(seconds > 0.2 and seconds < 0.5, "took " .. seconds)
    end)

    it("by one that has taken their name are not missed", function()
      local devices = assert(open "vb")
      network.check(net.b, "ip link del vb")
      network.pair(net, "va", "vb")
      send(udp_file(3))
      assert.same({}, (read_all(devices)))
      assert.same({ "vb: the interface was removed" }, warnings(devices))
    end)

    it("only by name stay", function()
      local devices = assert(open "vb")
      link "vb name vbnew"
      send(udp_file(3))
      assert.equal(3, #read_some(devices, 3))
      for _ = 1, 3 do read(devices, {}) end
      assert.same({}, warnings(devices))
    end)

    it("for a moment only stay", function()
      local devices = assert(open "vb")
      network.check(net.b, "ip link set vb down; ip link set vb up")
      send(udp_file(3))
      assert.equal(3, #read_some(devices, 3))
      assert.same({}, warnings(devices))
    end)

    it("without carrier stay", function()
      local devices = assert(open "vb")
      network.check(net.a, "ip link set va down")
      for _ = 1, 3 do assert.equal(0, read(devices, {})) end
      network.check(net.a, "ip link set va up")
      send(udp_file(3))
      assert.equal(3, #read_some(devices, 3))
      assert.same({}, warnings(devices))
    end)

    it("are waited for when asked, and their counts go on", function()
      for _, way in ipairs {
        { "went down", function() link "vb down" end, function() link "vb up" end },
        { "was removed", function() network.check(net.b, "ip link del vb") end,
          function() network.pair(net, "va", "vb") end },
      } do
        local devices = assert(open("vb", { reconnect = true, buffer_size = 1 }))
        send("samples/web.pcap", "--topspeed --loop=20")
        way[2]()
        local warning, list = read_to_warning(devices)
        assert.equal(("vb: the interface %s, waiting for it to come back"):format(way[1]), warning)
        for _ = 1, 10 do assert.is_true(read(devices, list) >= 0) end
        assert.same({}, warnings(devices))
        local first = counters(devices)
        assert.is_true(first.dropped_kernel > 0)
        assert.equal(20 * 390, first.packets + first.dropped_kernel)
        assert.equal(#list, first.packets)
        way[3]()
        local start = C.nf_now()
        assert.equal("vb: the interface is back", (read_to_warning(devices)))
        assert.is_true(C.nf_now() - start < 0.8)
        send(udp_file(7))
        local rest = read_some(devices, 7)
        assert.equal(7, #rest)
        assert.equal(first.packets + 1, rest[1].number)
        local second = counters(devices)
        assert.equal(first.packets + 7, second.packets)
        assert.equal(first.dropped_kernel, second.dropped_kernel)
        assert.is_false(C.nf_devices_is_damaged(devices))
        local left, seconds = stop_and_read(devices)
        assert.same({}, left)
        assert.is_true(seconds < 0.25, "took " .. seconds) -- all that came is known to be read
        close(devices)
      end
    end)

    it("do not keep a stop waiting", function()
      local devices = assert(open("vb", { reconnect = true }))
      link "vb down"
      assert.is_string((read_to_warning(devices)))
      local start = C.nf_now()
      repeat assert.equal(0, read(devices, {})) until C.nf_now() > start + 0.2
      local _, seconds = stop_and_read(devices)
      assert.is_true(seconds < 0.05)
      assert.is_false(C.nf_devices_is_damaged(devices))
    end)

    it("end when the right to open them again is gone", function()
      local devices = assert(open("vb", { reconnect = true }))
      link "vb down"
      assert.is_string((read_to_warning(devices)))
      set_capability(false)
      link "vb up"
      assert.same({}, (read_all(devices)))
      local list = warnings(devices)
      assert.equal(1, #list)
      assert.truthy(list[1]:find("^vb: cannot capture: .+, expected root or the capability CAP_NET_RAW$"))
      assert.is_true(C.nf_devices_is_damaged(devices))
    end)
  end)

  describe("cannot be opened", function()
    local function expect_error(pattern, names, options)
      local devices, message = open(names, options)
      assert.is_nil(devices)
      assert.truthy(message:find(pattern), message)
      assert.is_nil(message:find "\n")
    end

    it("without the right to", function()
      set_capability(false)
      expect_error('^"vb": cannot capture: .+, expected root or the capability CAP_NET_RAW$', "vb")
      expect_error('^"vb": cannot capture: .+, expected root or the capability CAP_NET_RAW$', "vb",
        { reconnect = true })
      expect_error('^"any": cannot capture: .+, expected root or the capability CAP_NET_RAW$', "any")
    end)

    it("by a name that no interface has", function()
      for _, name in ipairs { "nfd_none", "", "vb ", ("x"):rep(600), "usbmon0", "nflog", "../vb", "vb\n" } do
        expect_error(": no such interface, expected", name)
        expect_error(": no such interface, expected", name, { reconnect = true })
      end
      expect_error("^no interface, expected at least one$", {})
    end)

    it("while they are down, unless they are waited for", function()
      link "vb down"
      expect_error('^"vb": the interface is down, expected it to be up$', "vb")
      local devices = assert(open("vb", { reconnect = true }))
      assert.equal("vb: the interface is down, waiting for it to come up", (read_to_warning(devices)))
      link "vb up"
      assert.equal("vb: the interface is back", (read_to_warning(devices)))
      send(udp_file(3))
      assert.equal(3, #read_some(devices, 3))
    end)

    it("with a filter that is wrong", function()
      expect_error('^"vb": bpf_filter "prot 80": .+, expected a libpcap filter for link type 1 %(EN10MB%)$', "vb",
        { filter = "prot 80" })
      expect_error("^\"vb\": bpf_filter \"", "vb", { filter = ("port 80 or "):rep(2000) .. "prot 80" })
    end)
  end)

  it("leave no descriptor open", function()
    local function descriptors()
      return program.shell(("ls /proc/%d/fd"):format(ffi.C.getpid())).out
    end
    local before = descriptors()
    close((assert(open { "vb", "any" })))
    assert.is_nil((open { "vb", "nfd_none" }))
    assert.is_nil((open("vb", { filter = "prot 80" })))
    assert.equal(before, descriptors())
  end)

  it("exist by name", function()
    assert.is_true(C.nf_device_exists "vb")
    assert.is_true(C.nf_device_exists "any")
    assert.is_false(C.nf_device_exists "va")
    assert.is_false(C.nf_device_exists "")
    assert.is_false(C.nf_device_exists(("x"):rep(100)))
  end)
end)
