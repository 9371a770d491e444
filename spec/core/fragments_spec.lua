-- Later IP fragments in the flows of their first ones: core/fragments.c, and core/intake.c, which asks it.

local ffi = require "ffi"
local C = require "spec.support.core" ("frame", "decode", "hash", "fragments")
local P = require "nfengine.testing.packet"
local capture = require "nfengine.testing.capture"
local meter = require "spec.support.meter"
local program = require "spec.support.program"
local random = require "spec.support.random"

local frame, run, pick = meter.frame, meter.run, meter.pick

-- The fragments of one datagram: the bytes of these layers, `size` at a time behind as many IP headers. `fields` are
-- the header's, with `version`; `around` stands before it.
local function fragments(layers, size, fields, around)
  fields = fields or {}
  local bytes = type(layers) == "string" and layers or layers:bytes()
  local packets = {}
  for from = 0, #bytes - 1, size do
    local ip
    local head = { src = fields.src, dst = fields.dst }
    local part = { id = fields.id, offset = from, more = from + size < #bytes }
    if fields.version == 6 then
      part.next = fields.protocol or 17
      ip = P.ipv6(head) .. P.fragment(part)
    else
      for name, value in pairs(part) do head[name] = value end
      head.protocol = fields.protocol or 17
      ip = P.ipv4(head)
    end
    packets[#packets + 1] = (around or P.eth {}) .. ip .. bytes:sub(from + 1, from + size)
  end
  return packets
end

local function udp(port, size) return P.udp { src_port = port } .. ("d"):rep(size) end

-- The layers as packets, a ms apart.
local function sent(layers)
  local packets = {}
  for i, packet in ipairs(layers) do packets[i] = frame(i - 1, packet) end
  return packets
end

local function reversed(list)
  local back = {}
  for i, value in ipairs(list) do back[#list + 1 - i] = value end
  return back
end

-- Runs layers in their order, and gives the flows as "source packets bytes of transport", and those ignored.
local function flows_of(layers, options)
  local wanted = { packets = sent(layers), accounting_mode = C.NF_SIZE_TRANSPORT }
  for name, value in pairs(options or {}) do wanted[name] = value end
  local result = run(wanted)
  local rows, packets = {}, 0
  for i, flow in ipairs(result.flows) do
    rows[i] = ("%s %d %d"):format(flow.src, flow.packets, flow.bytes)
    packets = packets + flow.packets
  end
  local ignored = result.counters.ignored["later fragment"] or 0
  assert.equal(#layers, packets + ignored)
  assert.equal(result.counters.packets, packets + ignored)
  table.sort(rows)
  return rows, ignored, result
end

describe("fragments", function()
  after_each(capture.cleanup)

  it("belong to the flow that the first one's ports say", function()
    for _, version in ipairs { 4, 6 } do
      local address = version == 4 and "10.0.0.1:1000" or "2001:db8::1:1000"
      local parts = fragments(udp(1000, 3000), 1480, { version = version })
      assert.equal(3, #parts)
      assert.same({ address .. " 3 3008" }, (flows_of(parts)))
    end
  end)

  it("may come in any order", function()
    for _, version in ipairs { 4, 6 } do
      local parts = fragments(udp(1000, 5000), 1000, { version = version })
      local rows, ignored = flows_of(reversed(parts))
      assert.same({ { (version == 4 and "10.0.0.1" or "2001:db8::1") .. ":1000 6 5008" }, 0 }, { rows, ignored })
    end
  end)

  it("are ignored where that is asked for", function()
    local parts = fragments(udp(1000, 3000), 1480)
    local rows, ignored = flows_of(parts, { defragment = false })
    assert.same({ { "10.0.0.1:1000 1 1480" }, 2 }, { rows, ignored })
  end)

  it("are ignored without their first one", function()
    local parts = fragments(udp(1000, 3000), 1480)
    local rows, ignored, result = flows_of { parts[2], parts[3] }
    assert.same({ {}, 2 }, { rows, ignored })
    assert.equal(#parts[2]:bytes() + #parts[3]:bytes(), result.counters.bytes)
  end)

  it("of other datagrams are other flows'", function()
    local whole = udp(1000, 2000)
    local all = {}
    for i, fields in ipairs {
      { id = 5 }, { id = 6 }, { id = 5, src = "10.0.0.9" }, { id = 5, protocol = 132 }, { id = 5, dst = "10.0.0.9" },
    } do
      for k, part in ipairs(fragments(i == 1 and whole or udp(1000 + i, 2000), 1480, fields)) do
        all[(k - 1) * 5 + i] = part
      end
    end
    assert.same({ "10.0.0.1:0 2 2008", "10.0.0.1:1000 2 2008", "10.0.0.1:1002 2 2008", "10.0.0.1:1005 2 2008",
      "10.0.0.9:1003 2 2008" }, (flows_of(all)))
    local tagged = fragments(whole, 1480, nil, P.eth {} .. P.vlan { id = 7 })
    local rows, ignored = flows_of { fragments(whole, 1480)[1], tagged[2] }
    assert.same({ { "10.0.0.1:1000 1 1480" }, 1 }, { rows, ignored })
  end)

  it("go by the latest first one where an identification comes again", function()
    local one, other = fragments(udp(1000, 2000), 1480), fragments(udp(2222, 2000), 1480)
    assert.same({ "10.0.0.1:1000 2 2008", "10.0.0.1:2222 2 2008" }, (flows_of { one[1], one[2], other[1], other[2] }))
    assert.same({ "10.0.0.1:1000 1 1480", "10.0.0.1:2222 3 2536" }, (flows_of { one[1], other[1], one[2], other[2] }))
  end)

  it("may overlap, come twice, or end nowhere", function()
    local parts = fragments(udp(1000, 3000), 1480)
    local overlapping = P.eth {} .. P.ipv4 { offset = 8, more = true, protocol = 17 } .. ("o"):rep(1480)
    local beyond = P.eth {} .. P.ipv4 { offset = 65528, protocol = 17 } .. ("o"):rep(1480)
    assert.same({ "10.0.0.1:1000 6 7448" },
      (flows_of { parts[1], parts[2], parts[2], overlapping, beyond, fragments(udp(1000, 3000), 1480)[3] }))
  end)

  it("too short for ports have none, and neither have those behind them", function()
    local parts = fragments("\3\232\7\208\0\30\0\0" .. ("x"):rep(32), 8, { protocol = 6 }) -- TCP's first eight bytes
    assert.same({ "10.0.0.1:0 5 40" }, (flows_of(parts)))
  end)

  it("with extension headers before the transport header have its protocol", function()
    local bytes = (P.destination { next = 17 } .. udp(1000, 3000)):bytes()
    local parts = fragments(bytes, 1000, { version = 6, protocol = 60 })
    local rows, _, result = flows_of(reversed(parts))
    assert.same({ "2001:db8::1:1000 4 " .. #bytes - 8 }, rows) -- the first one's extension is no transport
    assert.equal(17, result.flows[1].protocol)
  end)

  it("that are alone need no other", function()
    local atomic = P.eth {} .. P.ipv6 {} .. P.fragment {} .. udp(1000, 10)
    local later = P.eth {} .. P.ipv6 {} .. P.fragment { offset = 8, next = 17 } .. "x"
    local rows, ignored = flows_of { atomic, later }
    assert.same({ { "2001:db8::1:1000 1 18" }, 1 }, { rows, ignored })
  end)

  describe("and tunnels", function()
    local outside = P.ipv4 { src = "10.9.0.1", dst = "10.9.0.2" }
    local gtp = P.udp { src_port = 2152, dst_port = 2152 } .. P.gtpu {}

    it("inside", function()
      for _, around in ipairs { P.eth {} .. outside .. gtp, P.eth {} .. outside } do
        local parts = fragments(udp(1000, 2000), 1000, nil, around)
        assert.same({ "10.0.0.1:1000 3 2008" }, (flows_of(reversed(parts))))
      end
    end)

    it("outside: all of a tunnel's packet is the inner flow's", function()
      local inner = P.ipv4 {} .. udp(1000, 2000)
      local parts = fragments((gtp .. inner):bytes(), 1000, { src = "10.9.0.1", dst = "10.9.0.2" })
      for _, order in ipairs { parts, reversed(parts) } do
        local rows, _, result = flows_of(order)
        assert.same({ "10.0.0.1:1000 3 3052" }, rows) -- 2008 by the inner header, then what the outer ones say
        assert.equal(C.NF_TUNNEL_GTP, result.flows[1].tunnel_id)
      end
    end)

    it("on both sides", function()
      local outer = { src = "10.9.0.1", dst = "10.9.0.2", protocol = 4 }
      local first, second = unpack(fragments(udp(1000, 3000), 2000, { id = 3 }))
      local function wrapped(packet, id)
        outer.id = id
        return fragments(packet:bytes():sub(15), 704, outer)
      end
      local all = meter.joined(wrapped(first, 20), wrapped(second, 21))
      local rows, ignored = flows_of(all)
      assert.same({ { "10.0.0.1:1000 5 4648" }, 0 }, { rows, ignored })
    end)
  end)

  it("show hooks their flow and their bytes, and no transport header", function()
    local parts = fragments(udp(1000, 3000), 1480)
    local seen = {}
    local result = run {
      packets = sent { parts[3], parts[1], parts[2] }, events = "init update",
      on = function(name, flow, packet)
        if not packet then return end
        seen[#seen + 1] = { name, flow.tuple.src_port, packet.tuple.dst_port, packet.is_fragment,
          tonumber(packet.payload_size), packet.transport_offset == packet.captured_size,
          packet.payload_offset == packet.captured_size, tonumber(packet.position), tonumber(packet.delta),
          ffi.string(packet.frame, packet.captured_size) }
      end,
    }
    assert.same({
      { "init", 1000, 2000, false, 1472, false, false, 2, 0, parts[1]:bytes() },
      { "update", 1000, 2000, true, 48, true, true, 2, 0, parts[3]:bytes() },
      { "update", 1000, 2000, true, 1480, true, true, 3, 1, parts[2]:bytes() },
    }, seen)
    assert.same({ { 3, 3 } }, pick(result.flows, "packets", "last_packet"))
  end)

  it("keep their comments while they wait", function()
    local parts = fragments(udp(1000, 2000), 1480)
    local blocks = { capture.section(), capture.interface() }
    for i = 2, 1, -1 do
      table.insert(blocks, capture.enhanced_packet {
        bytes = parts[i]:bytes(), time_ns = meter.EPOCH, options = { { 1, "part " .. i } },
      })
    end
    local comments = {}
    run {
      sources = { capture.file(capture.pcapng(blocks)) }, events = "init update", comments = true,
      on = function(_, _, packet)
        if packet then comments[#comments + 1] = ffi.string(packet.comment_data, packet.comment_size) end
      end,
    }
    assert.same({ "part 1", "part 2" }, comments)
  end)

  it("are not waited for forever", function()
    local parts = fragments(udp(1000, 2000), 1480)
    local other = P.eth {} .. P.ipv4 {} .. P.udp { src_port = 7 } .. "x"
    local function at(...)
      local packets = {}
      for _, pair in ipairs { ... } do packets[#packets + 1] = frame(pair[1], pair[2]) end
      local result = run { packets = packets }
      return pick(result.flows, "packets"), result.counters.ignored
    end
    -- The first one comes late.
    assert.same({ { { 2 } }, {} }, { at({ 0, parts[2] }, { 1000, parts[1] }) })
    local late = {}
    for i = 1, 40 do late[i] = { 1001 + i, other } end -- the clock is looked at once in a few packets
    late[#late + 1] = { 1050, parts[1] }
    assert.same({ { { 40 }, { 1 } }, { ["later fragment"] = 1 } }, { at({ 0, parts[2] }, unpack(late)) })
    -- The later one does.
    assert.same({ { { 2 } }, {} }, { at({ 0, parts[1] }, { 30000, parts[2] }) })
    assert.same({ { { 1 } }, { ["later fragment"] = 1 } }, { at({ 0, parts[1] }, { 30001, parts[2] }) })
  end)

  it("in a flood are forgotten, the oldest first, and counted", function()
    local held = {}
    for i = 1, C.NF_FRAGMENTS_HELD + 10 do
      held[i] = P.eth {} .. P.ipv4 { id = i, offset = 1480, protocol = 17 } .. "late"
    end
    for i = 1, #held do held[#held + 1] = fragments(udp(1000 + i, 2000), 1480, { id = i })[1] end
    local rows, ignored = flows_of(held)
    assert.equal(10, ignored)
    assert.equal(C.NF_FRAGMENTS_HELD + 10, #rows)
    assert.same({ "10.0.0.1:1010 1 1480", "10.0.0.1:1011 2 1484" }, { rows[10], rows[11] })
  end)

  it("give way by their bytes as well", function()
    local held = {}
    for i = 1, 100 do
      held[i] = P.eth {} .. P.ipv4 { id = i, offset = 1480, protocol = 17 } .. ("l"):rep(60000)
    end
    for i = 1, 100 do held[100 + i] = fragments(udp(1000 + i, 2000), 1480, { id = i })[1] end
    local _, ignored = flows_of(held)
    assert.equal(92, ignored) -- eight fit into 512 KiB
  end)

  it("of more datagrams than are remembered find most of them", function()
    local all = {}
    for i = 1, 3000 do all[i], all[3000 + i] = unpack(fragments(udp(i, 2000), 1480, { id = i })) end
    local _, ignored = flows_of(all)
    assert.is_true(ignored < 600, ignored .. " lost") -- room for 4096, in sets of four: some sets are full
    local more = {}
    for i = 1, 20000 do more[i] = fragments(udp(i, 2000), 1480, { id = i })[1] end
    for i = 1, 100 do more[#more + 1] = fragments(udp(i, 2000), 1480, { id = i })[2] end
    local _, lost = flows_of(more)
    assert.is_true(lost >= 98, lost .. " lost")
  end)

  it("shuffled come to the same as in their order", function()
    random.trial(function(below)
      local ordered, place = {}, {}
      for i = 1, 60 do
        local fields = { id = i, version = below(2) == 0 and 4 or 6 }
        for _, part in ipairs(fragments(udp(1000 + below(20), 100 + below(4000)), 8 * (20 + below(180)), fields)) do
          ordered[#ordered + 1] = part
        end
      end
      local shuffled = {}
      for i, part in ipairs(ordered) do
        shuffled[i], place[part] = part, i + below(30) + below(1000) / 1000
      end
      table.sort(shuffled, function(a, b) return place[a] < place[b] end)
      local frames = {}
      local rows, ignored = flows_of(shuffled, { events = "init update", on = function(_, _, packet)
        if packet then frames[ffi.string(packet.frame, packet.captured_size)] = true end
      end })
      assert.equal(0, ignored)
      assert.same((flows_of(ordered)), rows)
      for _, part in ipairs(ordered) do assert.is_true(frames[part:bytes()]) end
    end)
  end)

  -- How many packets are read at a time must not matter: meters read other numbers.
  it("come to the same with any number of meters, also where many are lost", function()
    random.trial(function(below)
      local all, place = {}, {}
      for i = 1, 1500 do
        for k, part in ipairs(fragments(udp(1000 + below(20), 3000 * below(2) + below(3000)), 1480, { id = i })) do
          if k > 1 or below(5) > 0 then all[#all + 1] = part end
          place[part] = i + below(120)
        end
      end
      table.sort(all, function(a, b) return place[a] < place[b] end)
      local path = capture.file(capture.pcap(sent(all), { ns = true }))
      local one
      for _, meters in ipairs { 1, 2, 3 } do
        local result = program.run("flows", "--n-meters=" .. meters, "--plugin=payload_bytes", "--splt-analysis=30",
          path)
        assert.equal(0, result.status)
        assert.matches("ignored %(%d+ later fragment%)", result.err)
        one = one or result.out
        assert.equal(one, result.out)
      end
    end)
  end)
end)
