-- core/meter.c: packets into events and flows: the order of things, the timeouts, the clock, the sizes.

local ffi = require "ffi"
local C = require "nfengine.lib"
local P = require "nfengine.testing.packet"
local capture = require "nfengine.testing.capture"
local meter = require "spec.support.meter"

local run, udp, back, frame = meter.run, meter.udp, meter.back, meter.frame
local every, joined, pick, setting = meter.every, meter.joined, meter.pick, meter.setting

describe("a meter", function()
  after_each(capture.cleanup)

  describe("tells", function()
    local packets = { udp(0, 1000), back(1, 1000), udp(2, 3000), udp(3, 1000) }

    it("every beginning, packet and end where all are wanted", function()
      local want = { "init 1000", "update 1000", "init 3000", "update 1000", "expire 3000 input", "expire 1000 input" }
      assert.same(want, run({ packets = packets, events = "init update" }).trace)
    end)

    it("no more than what is wanted, and always the ends", function()
      local ends = { "expire 3000 input", "expire 1000 input" }
      assert.same(ends, run({ packets = packets }).trace)
      assert.same({ "init 1000", "init 3000", ends[1], ends[2] }, run({ packets = packets, events = "init" }).trace)
      local updates = run { packets = packets, events = "update" }
      assert.same({ "update 1000", "update 1000", ends[1], ends[2] }, updates.trace)
    end)

    it("nothing of an empty capture, and that it has ended as often as it is asked", function()
      local result = run { packets = {}, events = "init update" }
      assert.same({}, result.trace)
      assert.equal(C.NF_END, result.status)
      assert.equal("", result.error)
    end)

    it("of one packet the flow it comes too late for, then its own, then its forced end, then those idle", function()
      local forced = setting(-1, 1, 1000)
      local result = run {
        packets = { udp(0, 3000), udp(1, 4000), udp(2, 1000), udp(120005, 1000) }, events = "init update",
        on = function(name, flow, packet) if packet and packet.position == 4ULL then forced(name, flow) end end,
      }
      assert.same({ "init 3000", "init 4000", "init 1000", "expire 1000 idle", "init 1000", "expire 1000 forced",
        "expire 3000 idle", "expire 4000 idle" }, result.trace)
    end)

    it("of a full table the flow that gives way before the new one", function()
      local result = run { packets = { udp(0, 1000), udp(1, 3000) }, events = "init", max_flows = 1 }
      assert.same({ "init 1000", "expire 1000 full", "init 3000", "expire 3000 input" }, result.trace)
    end)

    it("packets as hooks want them: decoded, counted, with plain numbers and flags", function()
      local tcp = P.eth {} .. P.ipv4 {} .. P.tcp { src_port = 1000, flags = "SE" } .. "abc"
      local first = frame(7, tcp)
      local answer = frame(9.25, P.eth {} .. P.ipv4 { src = "10.0.0.2", dst = "10.0.0.1" }
        .. P.tcp { src_port = 2000, dst_port = 1000, flags = "SAC" })
      local seen = {}
      run {
        packets = { frame(0, P.eth { type = 0x0806 } .. "arp"), first, answer }, events = "init update",
        time_unit = C.NF_MICROSECONDS,
        on = function(name, flow, p)
          if name == "expire" then return end
          table.insert(seen, {
            name = name, number = p.number, at = p.time - 1600000000000000, since = p.delta_time, way = p.direction,
            flags = table.concat({ p.fin, p.syn, p.rst, p.psh, p.ack, p.urg, p.ece, p.cwr }),
            own = p.flow == flow, counted = tonumber(flow.scope[0].packets),
            bytes = ffi.string(p.frame, p.captured_size),
          })
        end,
      }
      assert.same({
        { name = "init", number = 2, at = 7000, since = 0, way = 0, flags = "01000010", own = true, counted = 1,
          bytes = first.bytes },
        { name = "update", number = 3, at = 9250, since = 2250, way = 1, flags = "01001001", own = true, counted = 2,
          bytes = answer.bytes },
      }, seen)
    end)

    it("every packet of a long capture, each with its own bytes", function()
      local packets_, wrong, count = {}, 0, 0
      for i = 1, 1000 do packets_[i] = udp(i, i % 7 + 1, ("%04d"):format(i)) end
      run { packets = packets_, events = "init update", on = function(_, _, p)
        if not p then return end
        count = count + 1
        if ffi.string(p.frame + p.payload_offset, 4) ~= ("%04d"):format(p.number) then wrong = wrong + 1 end
      end }
      assert.same({ 1000, 0 }, { count, wrong })
    end)
  end)

  describe("ends a flow", function()
    it("that was silent for idle_timeout, to the millisecond", function()
      local flows = run({ packets = { udp(0, 1000), udp(119999, 1000), udp(239999, 1000), udp(360000, 1000) } }).flows
      assert.same({ { 0, 119999, 2, "idle" }, { 239999, 239999, 1, "idle" }, { 360000, 360000, 1, "input" } },
        pick(flows, "first", "last", "packets", "reason"))
      assert.same({ { 0 }, { 0 }, { 0 } }, pick(flows, "expiration_id"))
    end)

    it("that lasted active_timeout, to the millisecond", function()
      local flows = run({ packets = joined(every(60000, 0, 1740000), every(1, 1799999, 1800001)) }).flows
      assert.same({ { 0, 1799999, 31, 1, "active" }, { 1800000, 1800001, 2, 0, "input" } },
        pick(flows, "first", "last", "packets", "expiration_id", "reason"))
    end)

    it("as idle where the same packet finds it idle and overdue", function()
      local flows = run({ packets = joined(every(100000, 0, 1700000), { udp(1830000, 1000) }) }).flows
      assert.same({ { 0, 1700000, 18, 0, "idle" }, { 1830000, 1830000, 1, 0, "input" } },
        pick(flows, "first", "last", "packets", "expiration_id", "reason"))
    end)

    it("without the packet that comes too late, which begins the next and gives it its direction", function()
      local flows = run({ packets = joined({ udp(0, 1000), back(1000, 1000) }, every(100000, 100000, 1700000),
        { back(1800000, 1000), udp(1800500, 1000) }) }).flows
      assert.same({ { "10.0.0.1:1000", 18, 1, 1 }, { "10.0.0.2:2000", 1, 1, 0 } },
        pick(flows, "src", "there", "back", "expiration_id"))
    end)

    it("at every packet where a timeout is 0", function()
      for option, reason in pairs { idle_timeout_s = "idle", active_timeout_s = "active" } do
        local flows = run({ packets = every(1, 0, 2), [option] = 0 }).flows
        assert.same({ { 0, reason }, { 1, reason }, { 2, "input" } }, pick(flows, "first", "reason"))
      end
    end)

    it("never where timeouts are beyond all times", function()
      -- The second, in milliseconds, is 384 more than 64 bits hold.
      for _, far in ipairs { 18446744073709551615ULL, 18446744073709552ULL } do
        local flows = run({ packets = every(1e9, 0, 5e9), idle_timeout_s = far, active_timeout_s = far }).flows
        assert.same({ { 6, "input" } }, pick(flows, "packets", "reason"))
      end
    end)

    it("that is idle in the first look 10 ms after the last, not before", function()
      -- The looks: at 0, at 119995 and 10 ms later. 3000 is due at 120000.
      local function at(ms)
        return run({ packets = { udp(0, 3000), udp(119995, 1000), udp(ms, 1000) }, events = "init update" }).trace
      end
      assert.same({ "init 3000", "init 1000", "update 1000", "expire 3000 input", "expire 1000 input" }, at(120004))
      assert.same({ "init 3000", "init 1000", "update 1000", "expire 3000 idle", "expire 1000 input" }, at(120005))
    end)

    it("that is idle after the packet at which it is looked for, which may still be its own", function()
      local result = run { packets = { udp(0, 3000), udp(119999, 3000), udp(120100, 1000) }, events = "init update" }
      assert.same({ "init 3000", "update 3000", "init 1000", "expire 3000 input", "expire 1000 input" }, result.trace)
    end)

    it("and uses its memory again for the next", function()
      local slots = 0
      local result = run { packets = every(1, 0, 99), events = "init", idle_timeout_s = 0, on = function(_, flow)
        slots = math.max(slots, flow.slot + 1)
      end }
      assert.equal(100, #result.flows)
      assert.is_true(slots <= 2, slots .. " slots for one live flow and one that ended")
    end)

    it("however many are idle at once", function()
      local packets = {}
      for i = 1, 3000 do packets[i] = udp(0, i) end
      packets[3001] = udp(120000, 60000)
      local result = run { packets = packets }
      assert.same({ idle = 3000, ["input"] = 1 }, result.counters.ended)
      local last = { result.flows[2999], result.flows[3000] }
      assert.same({ { "10.0.0.1:2999", 3001 }, { "10.0.0.1:3000", 3001 } }, pick(last, "src", "ended_at"))
    end)
  end)

  describe("ends flows in the order in which they were last seen", function()
    it("when they are idle, so that a busy one delays nobody", function()
      local packets = joined(every(1000, 0, 1000), { udp(1500, 3000) }, every(1000, 2000, 2000), { udp(2500, 5000) },
        every(1000, 3000, 59000))
      assert.same({ "expire 3000 idle", "expire 5000 idle", "expire 1000 input" },
        run({ packets = packets, idle_timeout_s = 10 }).trace)
    end)

    it("when the input ends", function()
      local packets = { udp(0, 1), udp(1, 2), udp(2, 3), udp(3, 2), udp(4, 1) }
      assert.same({ "expire 3 input", "expire 2 input", "expire 1 input" }, run({ packets = packets }).trace)
    end)

    it("when the table is full", function()
      local packets = { udp(0, 1), udp(1, 2), udp(2, 3), udp(3, 1), udp(4, 4), udp(5, 5) }
      local result = run { packets = packets, max_flows = 3 }
      assert.same({ "expire 2 full", "expire 3 full", "expire 1 input", "expire 4 input", "expire 5 input" },
        result.trace)
      assert.same({ { 5 }, { 6 }, { 6 }, { 6 }, { 6 } }, pick(result.flows, "ended_at"))
    end)
  end)

  describe("with max_flows", function()
    it("never has more live, and gives every packet to some flow", function()
      local packets, most = {}, 0
      for i = 1, 500 do packets[i] = udp(i, i * 7 % 31 + 1) end
      local result = run { packets = packets, max_flows = 10, events = "init update", on = function(_, _, _, handle)
        most = math.max(most, meter.counters_of(handle).ended.live or 0)
      end }
      local sum = 0
      for _, flow in ipairs(result.flows) do sum = sum + flow.packets end
      assert.same({ 10, 500 }, { most, sum })
      assert.equal(10, result.counters.ended["input"])
      assert.equal(0, result.flows[1].expiration_id)
    end)

    it("ends nobody early where the packet's own flow has just made room", function()
      local packets = { udp(0, 3000), udp(1, 1000), udp(119999, 3000), udp(120001, 1000) }
      local result = run { packets = packets, max_flows = 2 }
      assert.same({ "expire 1000 idle", "expire 3000 input", "expire 1000 input" }, result.trace)
    end)
  end)

  describe("lets a hook", function()
    it("end a flow with its first packet", function()
      local result = run { packets = every(1, 0, 1), events = "init update", on = setting(-1, 1) }
      assert.same({ "init 1000", "expire 1000 forced", "init 1000", "expire 1000 forced" }, result.trace)
      assert.same({ { 1, 0, -1, 1 }, { 1, 1, -1, 2 } },
        pick(result.flows, "packets", "first", "expiration_id", "ended_at"))
    end)

    it("end a flow with a later packet; the next one begins anew", function()
      local result = run { packets = every(1, 0, 3), events = "init update", on = setting(-1, 3) }
      local want = { "init 1000", "update 1000", "update 1000", "expire 1000 forced", "init 1000", "expire 1000 input" }
      assert.same(want, result.trace)
      assert.same({ { 3, -1, "forced" }, { 1, 0, "input" } }, pick(result.flows, "packets", "expiration_id", "reason"))
    end)

    it("set any other expiration_id, which ends nothing and stays when the flow goes idle or the input ends", function()
      for _, id in ipairs { 5, -2 } do
        local packets = { udp(0, 1000), udp(1, 1000), udp(120100, 3000) }
        local flows = run({ packets = packets, events = "init update", on = setting(id, 1) }).flows
        assert.same({ { 2, id, "idle" }, { 1, id, "input" } }, pick(flows, "packets", "expiration_id", "reason"))
      end
    end)

    it("set one that a timeout's own code replaces when a packet comes too late", function()
      local idle = { packets = { udp(0, 1000), udp(120000, 1000) }, events = "init", on = setting(5, 1) }
      assert.same({ { 0, "idle" }, { 5, "input" } }, pick(run(idle).flows, "expiration_id", "reason"))
      local active = { packets = every(1000, 0, 2000), active_timeout_s = 2, events = "init", on = setting(5, 1) }
      assert.same({ { 1, "active" }, { 5, "input" } }, pick(run(active).flows, "expiration_id", "reason"))
    end)

    it("write into the plugins' section, which the flow keeps to its end", function()
      local values, at = {}, nil
      local packets = { udp(0, 1), udp(1, 2), udp(2, 1) }
      run { packets = packets, events = "init update", udps_size = 8, on = function(name, flow)
        at = at or C.nf_layout_of(ffi.new("struct nf_options", { udps_size = 8 })).udps
        local counter = ffi.cast("uint64_t *", ffi.cast("char *", flow) + at)
        counter[0] = counter[0] + flow.tuple.src_port
        if name == "expire" then table.insert(values, tonumber(counter[0])) end
      end }
      assert.same({ 2 + 2, 1 + 1 + 1 }, values)
    end)
  end)

  describe("has a clock that", function()
    it("never goes back", function()
      local ticks = {}
      local result = run {
        packets = {
          udp(1000, 1000), udp(400, 1000), udp(900, 1000), udp(1200, 1000), back(100, 1000), udp(1300, 1000),
        },
        events = "init update", on = function(_, _, p) if p then table.insert(ticks, p.time - 1600000000000) end end,
      }
      assert.same({ 1000, 1000, 1000, 1200, 1200, 1300 }, ticks)
      assert.same({ { 5, 1, 1000, 1300, 300 } }, pick(result.flows, "there", "back", "first", "last", "duration"))
      assert.same({ 1200, 1200 }, { result.flows[1].scopes[3].first, result.flows[1].scopes[3].last })
    end)

    it("packets without a flow do not move", function()
      local ignored = frame(500000, P.eth { type = 0x0806 } .. ("\0"):rep(46))
      local flows = run({ packets = { udp(1000, 1000), ignored, udp(2000, 1000) } }).flows
      assert.same({ { 2, 1000, 2000 } }, pick(flows, "packets", "first", "last"))
    end)

    it("goes on from file to file, as flows do", function()
      local function file(packets) return capture.file(capture.pcap(packets, { ns = true })) end
      local late, early = file { udp(5000000, 1000), udp(5000010, 1000) }, file { udp(0, 1000), udp(200000, 3000) }
      local flows = run({ sources = { late, early } }).flows
      assert.same({ { "10.0.0.1:1000", 3, 5000000, 5000010, 3 }, { "10.0.0.1:3000", 1, 5000010, 5000010, 4 } },
        pick(flows, "src", "packets", "first", "last", "last_packet"))
    end)

    it("may start at 0", function()
      local packet = udp(0, 1000)
      packet.time_ns = 0
      assert.same({ { 1, -1600000000000 } }, pick(run({ packets = { packet } }).flows, "packets", "first"))
    end)
  end)

  describe("counts time in", function()
    local packets = { udp(0, 1000), udp(0.4004, 1000), udp(0.999999, 1000), udp(1, 1000), udp(2.1, 1000) }

    for unit, want in pairs {
      [C.NF_MILLISECONDS] = { 0, 2, { 0, 0, 0, 1, 1 } },
      [C.NF_MICROSECONDS] = { 0, 2100, { 0, 400, 599, 1, 1100 } },
      [C.NF_NANOSECONDS] = { 0, 2100000, { 0, 400400, 599599, 1, 1100000 } },
    } do
      it(({ [0] = "milliseconds", "microseconds", "nanoseconds" })[unit] .. ", each time truncated once", function()
        local gaps = {}
        local flows = run({ packets = packets, time_unit = unit, events = "init update",
          on = function(_, _, p) if p then table.insert(gaps, p.delta_time) end end }).flows
        assert.same({ { want[1], want[2] } }, pick(flows, "first", "last"))
        assert.same(want[3], gaps)
      end)

      it(({ [0] = "milliseconds", "microseconds", "nanoseconds" })[unit] .. " and timeouts with it", function()
        local tick = 1 / (10 ^ (3 * unit))
        local late = { udp(0, 1000), udp(5000 - tick, 1000), udp(10000 - tick, 1000) }
        local result = run { packets = late, time_unit = unit, idle_timeout_s = 5 }
        assert.same({ "expire 1000 idle", "expire 1000 input" }, result.trace)
        assert.equal(2, result.flows[1].packets)
      end)
    end
  end)

  describe("takes as a packet's bytes", function()
    -- 14 Ethernet, 20 IP, 20 + 4 TCP, 10 of data, and padding behind.
    local data = "0123456789" .. "padded"
    local tcp = frame(0, P.eth {} .. P.ipv4 { total_length = 54 } .. P.tcp { options = "\1\1\1\1" } .. data)
    local sizes_by_mode = {
      [C.NF_SIZE_RAW] = 74, [C.NF_SIZE_IP] = 54, [C.NF_SIZE_TRANSPORT] = 34, [C.NF_SIZE_PAYLOAD] = 10,
    }

    for mode, want in pairs(sizes_by_mode) do
      it(({ [0] = "the frame", "the IP packet", "its payload", "the data" })[mode], function()
        local layout = C.nf_layout_of(ffi.new("struct nf_options", { statistical_analysis = true, splt_analysis = 1 }))
        local sizes
        local flows = run({ packets = { tcp }, accounting_mode = mode, statistical_analysis = true, splt_analysis = 1,
          on = function(_, flow)
            local statistics = ffi.cast("struct nf_statistics *", ffi.cast("char *", flow) + layout.statistics)
            local splt = ffi.cast("char *", flow) + layout.splt
            sizes = { statistics[0].ps.max, ffi.cast("int32_t *", splt + 8)[0] }
          end }).flows
        assert.equal(want, flows[1].bytes)
        assert.same({ want, want }, sizes)
      end)
    end

    it("those on the wire where fewer were captured", function()
      local cut = udp(0, 1000, ("x"):rep(1000))
      cut.size, cut.bytes = #cut.bytes, cut.bytes:sub(1, 60)
      for mode, want in pairs { [C.NF_SIZE_RAW] = 1042, [C.NF_SIZE_PAYLOAD] = 1000 } do
        assert.equal(want, run({ packets = { cut }, accounting_mode = mode }).flows[1].bytes)
      end
    end)
  end)
end)
