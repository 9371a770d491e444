-- core/meter.c: how a run starts, what it counts, how it stops, and what goes wrong.

local ffi = require "ffi"
local C = require "nfengine.lib"
local P = require "nfengine.testing.packet"
local capture = require "nfengine.testing.capture"
local meter = require "spec.support.meter"

ffi.cdef [[
struct resource_limits { unsigned long soft, hard; };
int getrlimit(int resource, struct resource_limits *limits);
int setrlimit(int resource, const struct resource_limits *limits);
int usleep(unsigned microseconds);
]]

local run, udp, back, frame = meter.run, meter.udp, meter.back, meter.frame
local every, joined, pick, setting = meter.every, meter.joined, meter.pick, meter.setting

describe("a meter", function()
  after_each(function()
    C.nf_interrupt(0)
    capture.cleanup()
  end)

  describe("counts", function()
    local arp = frame(0, P.eth { type = 0x0806 } .. ("\0"):rep(46))
    local short = frame(0, P.eth {} .. P.ipv4 { total_length = 100 })
    short.bytes, short.size = short.bytes:sub(1, 30), 114
    local bad = frame(0, P.eth {} .. P.ipv4 { ihl = 4 } .. P.udp {})
    local fragment = frame(0, P.eth {} .. P.ipv4 { offset = 800, protocol = 17 } .. "fragment")

    it("what reaches no flow by reason, and everything read", function()
      local packets = { udp(0, 1000), arp, arp, short, bad, fragment, fragment, fragment, udp(1, 1000) }
      local counters = run({ packets = packets }).counters
      assert.same({ ["not IP"] = 2, truncated = 1, ["bad header"] = 1, ["later fragment"] = 3 }, counters.ignored)
      assert.equal(9, counters.packets)
      local bytes = 0
      for _, packet in ipairs(packets) do bytes = bytes + (packet.size or #packet.bytes) end
      assert.equal(bytes, counters.bytes)
    end)

    it("what the filter refuses, and tells none of it", function()
      local result = run { packets = { udp(0, 1000), udp(1, 3000), arp, udp(2, 1000) }, events = "init update",
        bpf_filter = "udp port 1000" }
      assert.same({ "init 1000", "update 1000", "expire 1000 input" }, result.trace)
      assert.same({ filtered = 2 }, result.counters.ignored)
      assert.equal(4, result.counters.packets)
      assert.equal(4, result.flows[1].last_packet)
    end)

    it("frames of a link type it does not know, and warns of it", function()
      local result = run { packets = { udp(0, 1000), udp(1, 1000) }, link_type = 147 }
      assert.same({ ["unknown link type"] = 2 }, result.counters.ignored)
      assert.same({}, result.flows)
      assert.same({ "link type 147 is not known: its packets were ignored" }, result.warnings)
      assert.is_true(result.damaged)
    end)

    it("flows by how they ended, and those alive", function()
      local alive = {}
      local result = run {
        packets = { udp(0, 1000), udp(1, 3000), udp(2, 3000), udp(130000, 5000), udp(130001, 1000) },
        events = "init update", max_flows = 2, idle_timeout_s = 60,
        on = function(name, flow, _, handle)
          setting(-1, 2, 3000)(name, flow)
          table.insert(alive, meter.counters_of(handle).ended.live or 0)
        end,
      }
      assert.same({ "init 1000", "init 3000", "update 3000", "expire 3000 forced", "init 5000", "expire 1000 idle",
        "init 1000", "expire 5000 input", "expire 1000 input" }, result.trace)
      assert.same({ 1, 2, 2, 1, 2, 1, 2, 1, 0 }, alive)
      assert.same({ idle = 1, forced = 1, input = 2 }, result.counters.ended)
    end)

    it("as many packets in flows and ignored ones as were read", function()
      local packets = {}
      for i = 1, 777 do
        packets[i] = ({ udp(i, i % 5 + 1), back(i, i % 3 + 1), arp, short, bad, fragment })[i * i % 6 + 1]
      end
      local result = run { packets = packets, max_flows = 3 }
      local sum = 0
      for _, flow in ipairs(result.flows) do sum = sum + flow.packets end
      for _, count in pairs(result.counters.ignored) do sum = sum + count end
      assert.equal(777, result.counters.packets)
      assert.equal(777, sum)
    end)

    it("the input's bytes", function()
      local path = capture.file(capture.pcap { udp(0, 1000) })
      local counters = run({ sources = { path, path } }).counters
      local size = 2 * #capture.pcap { udp(0, 1000) }
      assert.same({ size, size }, { counters.input_size, counters.input_read })
    end)
  end)

  describe("stops", function()
    it("where it is told to: what is live ends, then nothing more comes", function()
      local packets = joined(every(1, 0, 99), { udp(100, 3000) })
      local result = run { packets = packets, events = "init update", on = function(_, flow, _, handle)
        if flow.scope[0].packets == 10 then C.nf_crew_stop(handle) end
      end }
      assert.same({ { 10, 0, "input", 10 } }, pick(result.flows, "packets", "expiration_id", "reason", "ended_at"))
      assert.equal(C.NF_END, result.status)
    end)

    it("counting no packet as read that it did not come to", function()
      local packets = every(1, 0, 99)
      local result = run { packets = packets, events = "init update", on = function(_, flow, _, handle)
        if flow.scope[0].packets == 10 then C.nf_crew_stop(handle) end
      end }
      assert.same({ 10, 10 * #packets[1].bytes }, { result.counters.packets, result.counters.bytes })
    end)

    it("before the first packet", function()
      local handle = assert(meter.open { packets = { udp(0, 1000) } })
      C.nf_crew_stop(handle)
      C.nf_crew_stop(handle)
      assert.equal(C.NF_END, C.nf_crew_next(handle))
    end)

    it("still ending as forced what a hook had just forced", function()
      local result = run { packets = every(1, 0, 5), events = "init update", on = function(_, flow, _, handle)
        flow.expiration_id = -1
        C.nf_crew_stop(handle)
      end }
      assert.same({ "init 1000", "expire 1000 forced" }, result.trace)
    end)

    it("while flows are being ended for being idle", function()
      local packets = {}
      for i = 1, 10 do packets[i] = udp(0, i) end
      packets[11] = udp(120000, 1000)
      local result = run { packets = packets, on = function(_, _, _, handle) C.nf_crew_stop(handle) end }
      assert.same({ idle = 1, input = 10 }, result.counters.ended)
    end)

    it("without a leak when it is freed in the middle", function()
      local handle = assert(meter.open { packets = every(1, 0, 9), events = "init", n_dissections = 20 })
      assert.equal(C.NF_EVENT_INIT, C.nf_crew_next(handle))
      C.nf_crew_free(ffi.gc(handle, nil))
      C.nf_crew_free(nil)
    end)
  end)

  describe("when the process is interrupted", function()
    it("ends the input and the flows", function()
      local packets = every(1, 0, 999)
      local result = run { packets = packets, events = "init update", on = function(_, flow)
        if flow.scope[0].packets == 10 then C.nf_interrupt(C.NF_REQUEST_STOP) end
      end }
      assert.is_true(C.nf_interrupted())
      assert.equal(C.NF_END, result.status)
      assert.equal("input", result.flows[1].reason)
      assert.is_true(result.flows[1].packets < 10 + 32) -- packets are decoded so many ahead
    end)

    it("before it starts, reads nothing", function()
      C.nf_interrupt(C.NF_REQUEST_STOP)
      assert.same({}, run({ packets = { udp(0, 1000) } }).trace)
    end)

    it("goes on until then, and again after it was cleared", function()
      assert.is_false(C.nf_interrupted())
      C.nf_interrupt(C.NF_REQUEST_STOP)
      C.nf_interrupt(C.NF_REQUEST_STATUS)
      assert.is_true(C.nf_interrupted())
      C.nf_interrupt(0)
      assert.is_false(C.nf_interrupted())
      assert.same({ "expire 1000 input" }, run({ packets = { udp(0, 1000) } }).trace)
    end)

    it("for a report, gives one and goes on", function()
      C.nf_interrupt(C.NF_REQUEST_STATUS)
      assert.is_false(C.nf_interrupted())
      local reports = 0
      local result = run { packets = every(1, 0, 999), on = function(name, flow)
        if name == "status" then
          reports = reports + 1
          assert.is_true(flow == nil)
        end
      end }
      assert.equal(1, reports)
      assert.equal(1000, result.flows[1].packets)
    end)
  end)

  it("tells its progress once a second where that is wanted", function()
    local packets, packet, reports = {}, udp(0, 1000), 0
    for i = 1, 30000 do packets[i] = packet end
    local result = run { packets = packets, events = "init update progress", on = function(name, flow)
      if name == "progress" then reports = reports + 1
      elseif flow.scope[0].packets == 15000 then ffi.C.usleep(1100000) end
    end }
    assert.is_true(reports >= 1 and reports <= 4, reports .. " reports")
    assert.equal(30000, result.flows[1].packets)
  end)

  describe("of a damaged file", function()
    it("gives what could be read, and says that not all could", function()
      local bytes = capture.pcap { udp(0, 1000), udp(1, 1000), udp(2, 1000) }
      local path = capture.file(bytes:sub(1, -5))
      local result = run { sources = { path } }
      assert.equal(2, result.flows[1].packets)
      assert.is_true(result.damaged)
      assert.equal(1, #result.warnings)
      assert.equal(path, result.warnings[1]:sub(1, #path))
      assert.equal(C.NF_END, result.status)
    end)

    it("goes on with the next one", function()
      local broken = capture.file(capture.pcap({ udp(0, 1000) }):sub(1, -2))
      local whole = capture.file(capture.pcap { udp(1, 1000) })
      local result = run { sources = { broken, whole } }
      assert.same({ { 1, 1 } }, pick(result.flows, "packets", "first"))
      assert.is_true(result.damaged)
    end)

    it("is nothing to say of sound ones", function()
      local result = run { packets = { udp(0, 1000) } }
      assert.is_false(result.damaged)
      assert.same({}, result.warnings)
    end)
  end)

  describe("refuses", function()
    local function refused(wanted, message)
      wanted.packets = wanted.packets or {}
      local opened, reason = meter.open(wanted)
      assert.is_nil(opened)
      assert.equal(message, reason)
    end

    it("options out of range, naming option, value and range", function()
      refused({ time_unit = 3 }, "time_unit 3: expected 0, 1 or 2")
      refused({ accounting_mode = 4 }, "accounting_mode 4: expected 0, 1, 2 or 3")
      refused({ n_dissections = 256 }, "n_dissections 256: expected 0 to 255")
      refused({ splt_analysis = 65536 }, "splt_analysis 65536: expected 0 to 65535")
      refused({ udps_size = 268435457 }, "udps_size 268435457: expected at most 268435456")
    end)

    it("but takes the greatest of each", function()
      assert.same({ "expire 1000 input" }, run({ packets = { udp(0, 1000) }, time_unit = 2, accounting_mode = 3,
        n_dissections = 255, splt_analysis = 65535 }).trace)
      assert.is_truthy(meter.open { packets = {}, udps_size = 268435456 })
    end)

    it("a file that is not there, and no file at all", function()
      refused({ sources = { "/nonexistent/a.pcap" } },
        '"/nonexistent/a.pcap": No such file or directory, '
          .. "expected a capture file, a folder of them or a network interface")
      refused({ sources = {} }, "no source, expected at least one capture file")
    end)

    it("a filter that does not compile", function()
      local _, reason = meter.open { packets = { udp(0, 1000) }, bpf_filter = "prot 80" }
      assert.equal("bpf_filter \"prot 80\": ", reason:sub(1, 22))
    end)

    it("without a reason where nobody wants it", function()
      local options = ffi.new "struct nf_options"
      options.time_unit = 9
      assert.is_true(C.nf_crew_new(options, nil) == nil)
    end)
  end)

  it("that runs out of memory ends what is live, and says so", function()
    local RLIMIT_DATA = 2
    local file = assert(io.open "/proc/self/status")
    local used_kib = tonumber(file:read("*a"):match "VmData:%s*(%d+)")
    file:close()
    local packets = {}
    for i = 1, 200 do packets[i] = udp(0, i) end
    local handle = assert(meter.open { packets = packets, udps_size = 2 ^ 24 })
    local before, limits = ffi.new "struct resource_limits", ffi.new "struct resource_limits"
    ffi.C.getrlimit(RLIMIT_DATA, before)
    limits.soft, limits.hard = used_kib * 1024 + 2 ^ 26, before.hard
    ffi.C.setrlimit(RLIMIT_DATA, limits)
    local ended, status = 0, C.nf_crew_next(handle)
    while status >= 0 do
      if status == C.NF_EVENT_EXPIRE then ended = ended + 1 end
      status = C.nf_crew_next(handle)
    end
    ffi.C.setrlimit(RLIMIT_DATA, before)
    assert.equal(C.NF_ERR_NOMEM, status)
    assert.is_true(ended >= 1 and ended <= 4, ended .. " flows")
    assert.equal(("out of memory: cannot add to %d live flows"):format(ended), ffi.string(C.nf_crew_error(handle)))
    C.nf_crew_free(ffi.gc(handle, nil))
  end)

  it("asks for the application where it is wanted", function()
    local query = P.hex "12 34 01 00 00 01 00 00 00 00 00 00" .. "\7example\3org\0" .. P.hex "00 01 00 01"
    local packet = frame(0, P.eth {} .. P.ipv4 {} .. P.udp { src_port = 40000, dst_port = 53 } .. query)
    local l7 = C.nf_layout_of(ffi.new("struct nf_options", { n_dissections = 20 })).l7
    local names = {}
    run { packets = { packet, packet }, n_dissections = 20, events = "init", on = function(name, flow)
      local section = ffi.cast("struct nf_l7 *", ffi.cast("char *", flow) + l7)
      table.insert(names, { name, ffi.string(section.application_name), ffi.string(section.requested_server_name) })
    end }
    assert.same({ { "init", "DNS", "example.org" }, { "expire", "DNS", "example.org" } }, names)
  end)
end)
