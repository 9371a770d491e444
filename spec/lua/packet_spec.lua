-- What hooks see of a packet: lua/nfengine/packet.lua.

local nf = require "nfengine"
local P = require "nfengine.testing.packet"
local capture = require "nfengine.testing.capture"
local engine = require "spec.support.engine"
local meter = require "spec.support.meter"

-- Calls `look(packet, flow)` in on_init and on_update and gives what it returned, packet by packet.
local function seen(packets, look, parameters)
  local list = {}
  local function hook(_, packet, flow) list[#list + 1] = look(packet, flow) end
  local given = { packets = packets, udps = nf.plugin { name = "probe", on_init = hook, on_update = hook } }
  for name, value in pairs(parameters or {}) do given[name] = value end
  engine.flows(given)
  return list
end

local function fields(...)
  local names = { ... }
  return function(packet)
    local values = {}
    for i, name in ipairs(names) do values[i] = packet[name] end
    return values
  end
end

local PLAIN = { "number", "time", "delta_time", "direction", "raw_size", "ip_size", "transport_size", "payload_size",
  "captured_size", "src_ip", "src_mac", "src_oui", "src_port", "dst_ip", "dst_mac", "dst_oui", "dst_port", "protocol",
  "ip_version", "vlan_id", "tunnel_id", "link_type", "fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr" }

describe("a packet", function()
  after_each(engine.cleanup)

  it("has NFPacket's fields as plain numbers and strings", function()
    local kinds = seen({ meter.udp(0, 1000) }, function(packet)
      local found = {}
      for _, name in ipairs(PLAIN) do found[name] = type(packet[name]) end
      return found
    end)[1]
    for _, name in ipairs(PLAIN) do
      local is_text = name:match "_ip$" or name:match "_mac$" or name:match "_oui$"
      assert.equal(is_text and "string" or "number", kinds[name], name)
    end
  end)

  it("has a number in the capture, the packets of no flow counted", function()
    local junk = { bytes = "no frame", time_ns = meter.EPOCH }
    assert.same({ { 1 }, { 3 }, { 4 } }, seen({ meter.udp(0, 1000), junk, meter.udp(1, 1001), meter.udp(2, 1000) },
      fields "number"))
  end)

  it("has the run's time and the time since the packet before of its flow", function()
    local packets = { meter.udp(0, 1000), meter.udp(3, 1001), meter.udp(10, 1000), meter.udp(7, 1000) }
    local start = 1600000000000
    assert.same({ { start, 0 }, { start + 3, 0 }, { start + 10, 10 }, { start + 10, 0 } },
      seen(packets, fields("time", "delta_time")))
    assert.same({ 1600000000010000, 10000 }, seen(packets, fields("time", "delta_time"), { time_unit = "us" })[3])
  end)

  it("has the time it was captured at as an exact integer, also where the clock has gone on", function()
    local packets = { meter.udp(5.000001, 1000), meter.udp(3.000002, 1000), meter.udp(9, 1000) }
    local times = seen(packets, function(packet) return packet.time_ns + 0 end)
    assert.same({ meter.EPOCH + 5000001ULL, meter.EPOCH + 3000002ULL, meter.EPOCH + 9000000ULL }, times)
    assert.same({ true, false }, { times[1] > 1600000000005000000ULL, times[2] > 1600000000005000000ULL })
  end)

  it("has the link type of its interface", function()
    local frame = P.ipv4 {} .. P.udp { src_port = 1000 } .. "x"
    local path = capture.file(capture.pcapng { capture.section(), capture.interface { link_type = 101 },
      capture.interface(), capture.enhanced_packet { bytes = frame:bytes() },
      capture.enhanced_packet { bytes = (P.eth {} .. frame):bytes(), interface = 1 } })
    assert.same({ { 101 }, { 1 } }, seen(nil, fields "link_type", { source = path }))
    assert.same({ 113 }, seen(nil, fields "link_type", { source = "samples/any_sll1.pcap" })[1])
  end)

  it("has its sizes, by layer", function()
    local frames = {
      meter.udp(0, 1000, "abc"),
      meter.frame(1, P.eth {} .. P.ipv6 {} .. P.tcp { options = ("\1"):rep(4) } .. "abcd"),
      meter.frame(2, P.eth {} .. P.ipv4 {} .. P.icmp {} .. "ab" .. ("\0"):rep(20), {}),
      meter.frame(3, P.eth {} .. P.ipv4 { protocol = 132 } .. ("s"):rep(40)),
    }
    assert.same({ { 45, 31, 11, 3 }, { 82, 68, 28, 4 }, { 64, 50, 30, 22 }, { 74, 60, 40, 0 } },
      seen(frames, fields("raw_size", "ip_size", "transport_size", "payload_size")))
  end)

  it("tells Ethernet's padding from what is the packet's", function()
    local layers = P.eth {} .. P.ipv4 { total_length = 31 } .. P.udp { length = 11 } .. "abc" .. ("\0"):rep(15)
    local padded = meter.frame(0, layers)
    local values = seen({ padded }, function(packet)
      return { packet.raw_size, packet.payload_size, packet:payload(), #packet.payload_bytes, #packet.ip_bytes,
        #packet:ip_packet() }
    end)[1]
    assert.same({ 60, 3, "abc", 3, 31, 46 }, values)
  end)

  it("has addresses and MACs of its flow, swapped on the way back, and ports of its own", function()
    local back = meter.back(1, 1000)
    -- The way back comes from another MAC than the way there went to.
    back.bytes = (P.eth { src = "02:00:00:00:00:99", dst = "02:00:00:00:00:98" }
      .. P.ipv4 { src = "10.0.0.2", dst = "10.0.0.1" } .. P.udp { src_port = 2000, dst_port = 1000 } .. "x"):bytes()
    local names = { "direction", "src_ip", "src_mac", "src_oui", "src_port", "dst_ip", "dst_mac", "dst_oui",
      "dst_port" }
    local one, two = "02:00:00:00:00:01", "02:00:00:00:00:02"
    assert.same({
      { 0, "10.0.0.1", one, "02:00:00", 1000, "10.0.0.2", two, "02:00:00", 2000 },
      { 1, "10.0.0.2", two, "02:00:00", 2000, "10.0.0.1", one, "02:00:00", 1000 },
    }, seen({ meter.udp(0, 1000), back }, fields(unpack(names))))
  end)

  it("goes forward where both ends are the same", function()
    local ip, udp = P.ipv4 { src = "10.0.0.1", dst = "10.0.0.1" }, P.udp { src_port = 5, dst_port = 5 }
    local loop = P.eth {} .. ip .. udp .. "x"
    assert.same({ { 0 }, { 0 } }, seen({ meter.frame(0, loop), meter.frame(1, loop) }, fields "direction"))
  end)

  it("has TCP flags as 0 and 1", function()
    local names = { "fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr" }
    for i, letter in ipairs { "F", "S", "R", "P", "A", "U", "E", "C" } do
      local expected = { 0, 0, 0, 0, 0, 0, 0, 0 }
      expected[i] = 1
      local frame = meter.frame(0, P.eth {} .. P.ipv4 {} .. P.tcp { flags = letter })
      assert.same({ expected }, seen({ frame }, fields(unpack(names))), letter)
    end
    assert.same({ { 0, 0, 0, 0, 0, 0, 0, 0 } }, seen({ meter.udp(0, 1000) }, fields(unpack(names))))
  end)

  it("has IP version, protocol, VLAN and tunnel", function()
    local inner = P.ipv4 { src = "10.9.0.1" } .. P.udp { src_port = 7 } .. "x"
    local frames = {
      meter.frame(0, P.eth {} .. P.vlan { id = 20 } .. P.ipv6 {} .. P.icmpv6 {} .. "x"),
      meter.frame(1, P.eth {} .. P.ipv4 {} .. P.udp { src_port = 2152, dst_port = 2152 } .. P.gtpu {} .. inner),
    }
    assert.same({ { 6, 58, 20, 0, "2001:db8::1", 0 }, { 4, 17, 0, 1, "10.9.0.1", 7 } },
      seen(frames, fields("ip_version", "protocol", "vlan_id", "tunnel_id", "src_ip", "src_port")))
  end)

  it("cannot be changed", function()
    for _, name in ipairs { "raw_size", "src_ip", "direction", "colour" } do
      local Writer = nf.plugin { name = "writer", on_init = function(_, packet) packet[name] = 5 end }
      assert.matches("^plugin writer: on_init: flow .*packet_spec.lua:%d+: ",
        engine.refusal(engine.flows, { packets = { meter.udp(0, 1000) }, udps = Writer }))
    end
  end)

  it("has no other fields, and names the nearest", function()
    local Reader = nf.plugin { name = "reader", on_init = function(_, packet) return packet.rawsize end }
    assert.matches("packet_spec.lua:%d+: packet has no 'rawsize' %(did you mean 'raw_size'%?%)",
      engine.refusal(engine.flows, { packets = { meter.udp(0, 1000) }, udps = Reader }))
  end)
end)

describe("a packet's bytes", function()
  after_each(engine.cleanup)

  local layers = P.eth {} .. P.vlan { id = 3 } .. P.ipv4 {} .. P.udp {} .. "\1\2\3\4\5"

  it("can be had as strings", function()
    local bytes = layers:bytes()
    local values = seen({ meter.frame(0, layers) }, function(packet)
      return { packet:ip_packet(), packet:payload(), packet.captured_size }
    end)[1]
    assert.same({ bytes:sub(19), "\1\2\3\4\5", #bytes }, values)
  end)

  it("can be had in place, layer by layer", function()
    local bytes = layers:bytes()
    local values = seen({ meter.frame(0, layers) }, function(packet)
      return { packet.frame_bytes:string(), packet.ip_bytes:string(), packet.transport_bytes:string(),
        packet.payload_bytes:string() }
    end)[1]
    assert.same({ bytes, bytes:sub(19), bytes:sub(39), "\1\2\3\4\5" }, values)
  end)

  it("are read as big-endian numbers from offset 0", function()
    local values = seen({ meter.frame(0, P.eth {} .. P.ipv4 {} .. P.udp {} .. "\255\2\3\4\5") }, function(packet)
      local view = packet.payload_bytes
      return { view:u8(0), view:u8(4), view:u16(0), view:u16(3), view:u24(0), view:u24(2), view:u32(0), view:u32(1),
        #view }
    end)[1]
    assert.same({ 255, 5, 0xff02, 0x0405, 0xff0203, 0x030405, 0xff020304, 0x02030405, 5 }, values)
  end)

  it("are read as addresses", function()
    local values = seen({ meter.frame(0, P.eth {} .. P.ipv4 {} .. P.udp {} .. ("\32\1\r\184"):rep(4) .. "\5") },
      function(packet)
        local view = packet.payload_bytes
        return { view:ip(0, 4), view:ip(13, 4), view:ip(1, 6), tostring(view:ip(14, 4)), tostring(view:ip(2, 6)),
          tostring(view:ip(-1, 4)) }
      end)[1]
    assert.same({ "32.1.13.184", "1.13.184.5", "10d:b820:10d:b820:10d:b820:10d:b805", "nil", "nil", "nil" }, values)
  end)

  it("are nil where they are not there", function()
    local answers = seen({ meter.frame(0, layers) }, function(packet)
      local view, found = packet.payload_bytes, {}
      local function try(name, ...) found[#found + 1] = tostring(view[name](view, ...)) end
      for _, offset in ipairs { -1, 5, 6, 2 ^ 31 - 1, 2 ^ 31, 2 ^ 40, -2 ^ 31, -2 ^ 40, 0 / 0, 1 / 0, -1 / 0 } do
        for _, name in ipairs { "u8", "u16", "u24", "u32" } do try(name, offset) end
      end
      for _, name in ipairs { "u8", "u16", "u24", "u32" } do try(name, nil) end
      try("u16", 4) try("u24", 3) try("u32", 2)
      try("string", 0, 6) try("string", 6) try("string", -1, 2) try("string", 0, -1) try("string", 3, 2 ^ 40)
      try("sub", 0, 6) try("sub", 6) try("sub", -1, 2) try("sub", 0, -1) try("sub", 2 ^ 40, 1)
      return found
    end)[1]
    for i, answer in ipairs(answers) do assert.equal("nil", answer, i) end
  end)

  it("have parts", function()
    local values = seen({ meter.frame(0, layers) }, function(packet)
      local view = packet.payload_bytes
      local part = view:sub(1, 3)
      return { part:string(), #part, part:u8(0), tostring(part:u8(3)), view:sub(2):string(), part:sub(1):string(),
        view:string(1, 2), view:string(5), #view:sub(5), view:string(0, 0) }
    end)[1]
    assert.same({ "\2\3\4", 3, 2, "nil", "\3\4\5", "\3\4", "\2\3", "", 0, "" }, values)
  end)

  it("end where the capture ends", function()
    local bytes = layers:bytes()
    for kept = 42, #bytes do
      local frame = meter.frame(0, layers, { size = #bytes })
      frame.bytes = bytes:sub(1, kept)
      local values = seen({ frame }, function(packet)
        return { packet.raw_size, packet.captured_size, #packet.frame_bytes, #packet.payload_bytes, packet:payload(),
          packet.payload_size, #packet.transport_bytes, packet:ip_packet() }
      end)
      local payload, ip = bytes:sub(47, kept), bytes:sub(19, kept)
      assert.same({ { #bytes, kept, kept, #payload, payload, 5, #ip - 20, ip } }, values)
    end
  end)

  it("of a tunnel's packet are the inner packet's, but for the frame", function()
    local inner = P.ipv4 { src = "10.9.0.1" } .. P.udp { src_port = 7 } .. "inside"
    local outer = P.eth {} .. P.ipv4 {} .. P.udp { src_port = 2152, dst_port = 2152 }
    local frame = meter.frame(0, outer .. P.gtpu {} .. inner)
    local values = seen({ frame }, function(packet)
      return { packet:ip_packet(), packet:payload(), #packet.frame_bytes }
    end)[1]
    assert.same({ inner:bytes(), "inside", #frame.bytes }, values)
  end)
end)

describe("a packet's comment", function()
  after_each(engine.cleanup)

  local SCRIPT = [[
    local nf = require "nfengine"
    local function note(self, packet, flow)
      local comment = packet.comment
      flow.udps.seen = flow.udps.seen .. (comment and "<" .. comment .. ">" or "-")
    end
    nf.streamer { n_dissections = 0, columns = { "src_port", "udps.seen" }, udps = nf.plugin { name = "notes",
      %s columns = { { "seen", "string:2000" } }, on_init = note, on_update = note } }:write()
  ]]

  -- Datagrams from port 1000 or 1001 with these comments, false for none.
  local function commented(list)
    local blocks = { capture.section(), capture.interface() }
    for i, text in ipairs(list) do
      local packet = meter.udp(i, 1000 + i % 2)
      packet.options = text and { { 1, text } } or nil
      table.insert(blocks, capture.enhanced_packet(packet))
    end
    return capture.file(capture.pcapng(blocks))
  end

  it("is what the capture says, for any number of meters", function()
    local list, expected = { "7,web", "a\nb", false, "", "x", ("long"):rep(9) }, {
      'src_port,udps.seen\n1001,"<7,web>-<x>"\n1000,"<a\nb><><' .. ("long"):rep(9) .. '>"\n' }
    local path, script = commented(list), SCRIPT:format 'needs = { "comments" },'
    for _, meters in ipairs { "1", "2", "3" } do
      local result = engine.script(script, "-q", "--n-meters=" .. meters, path)
      assert.same({ 0, "", expected[1] }, { result.status, result.err, result.out })
    end
  end)

  it("is nil where captures have none", function()
    local script = SCRIPT:format 'needs = { "comments" },'
    for _, sample in ipairs { "samples/nanoseconds.pcapng", "samples/icmp.pcap" } do
      local result = engine.script(script, "-q", sample)
      assert.same({ 0, "" }, { result.status, result.err })
      assert.is_nil(result.out:match "<")
    end
  end)

  it("is an error where no plugin has asked for comments", function()
    local result = engine.script(SCRIPT:format "", "-q", commented { "x" })
    assert.equal(1, result.status)
    assert.matches('plugin notes: on_init: flow .*:%d+: packet.comment: add needs = { "comments" } to the plugin\n$',
      result.err)
  end)
end)
