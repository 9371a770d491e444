-- plugins/dhcp.lua: DHCP messages made byte by byte.

local testing = require "nfengine.testing"
local program = require "spec.support.program"
local worker = require "nfengine.worker"
local Dhcp = require "plugins.dhcp"

local P = testing.packet

local DISCOVER, OFFER, REQUEST, DECLINE, ACK, NACK, RELEASE, INFORM = 1, 2, 3, 4, 5, 6, 7, 8

local function option(code, value) return P.u8(code) .. P.u8(#value) .. value end
local function kind(type_number) return option(53, P.u8(type_number)) end

-- A message of these options; fields: ciaddr, chaddr, magic.
local function message(options, fields)
  fields = fields or {}
  return P.u8(1) .. P.u8(1) .. P.u8(6) .. P.u8(0) .. P.u32(7) .. P.u32(0) -- op to flags
    .. P.ip4(fields.ciaddr or "0.0.0.0") .. ("\0"):rep(12) -- yiaddr, siaddr, giaddr
    .. P.mac(fields.chaddr or "02:0a:0b:0c:0d:0e") .. ("\0"):rep(10 + 64 + 128) -- sname, file
    .. (fields.magic or P.hex "63 82 53 63") .. options .. "\255"
end

local function sent(ms, bytes, src)
  local ip = P.ipv4 { src = src or "10.0.0.9", dst = "10.0.0.1" }
  return testing.at(ms, P.eth {} .. ip .. P.udp { src_port = 68, dst_port = 67 } .. bytes)
end

local function answered(ms, bytes)
  local ip = P.ipv4 { src = "10.0.0.1", dst = "10.0.0.9" }
  return testing.at(ms, P.eth {} .. ip .. P.udp { src_port = 67, dst_port = 68 } .. bytes)
end

local function flows_of(...) return testing.flows { packets = { ... }, udps = Dhcp } end
local function udps_of(bytes) return flows_of(sent(0, bytes))[1].udps end

describe("dhcp", function()
  after_each(testing.cleanup)

  it("has of a REQUEST all that the client says", function()
    local udps = udps_of(message(kind(REQUEST) .. option(12, "laptop") .. option(50, P.ip4 "192.0.2.7")
      .. option(55, "\1\3\6\119\252") .. option(57, P.u16(1500)) .. option(60, "MSFT 5.0") .. option(77, "\5staff")
      .. option(61, "\1abcdef"), { ciaddr = "192.0.2.6", chaddr = "00:1A:ff:01:02:03" }))
    assert.same({ "laptop", "192.0.2.7", "1,3,6,119,252", 1500, "MSFT 5.0", "\5staff", "53,12,50,55,57,60,77,61",
      "192.0.2.6", "MsgType.REQUEST", "00:1a:ff" }, { udps.dhcp_12, udps.dhcp_50, udps.dhcp_55, udps.dhcp_57,
      udps.dhcp_60, udps.dhcp_77, udps.dhcp_options, udps.dhcp_addr, udps.dhcp_msg_type, udps.dhcp_oui })
  end)

  it("has of other messages names and sizes only", function()
    for _, other in ipairs { DISCOVER, INFORM, RELEASE } do
      local udps = udps_of(message(kind(other) .. option(12, "laptop") .. option(50, P.ip4 "192.0.2.7")
        .. option(55, "\1\3") .. option(57, P.u16(576)) .. option(60, "udhcp") .. option(77, "x"),
        { ciaddr = "192.0.2.6" }))
      assert.same({ "laptop", "", "", 576, "udhcp", "x", "", "", "" }, { udps.dhcp_12, udps.dhcp_50, udps.dhcp_55,
        udps.dhcp_57, udps.dhcp_60, udps.dhcp_77, udps.dhcp_options, udps.dhcp_addr, udps.dhcp_oui })
    end
  end)

  it("has nothing where nothing was said, and no address of its own that is zero", function()
    local udps = udps_of(message(kind(REQUEST)))
    assert.same({ "", "", "", 0, "", "", "53", "", "02:0a:0b" }, { udps.dhcp_12, udps.dhcp_50, udps.dhcp_55,
      udps.dhcp_57, udps.dhcp_60, udps.dhcp_77, udps.dhcp_options, udps.dhcp_addr, udps.dhcp_oui })
  end)

  it("keeps the first message's type, and the last that was said of anything else", function()
    local udps = flows_of(sent(0, message(kind(DISCOVER) .. option(12, "old") .. option(60, "stays"))),
      sent(1, message(kind(REQUEST) .. option(55, "\1\3") .. option(50, P.ip4 "192.0.2.7"))),
      sent(2, message(kind(REQUEST) .. option(12, "new") .. option(55, "\6"))),
      sent(3, message(kind(RELEASE) .. option(57, P.u16(600)))))[1].udps
    assert.same({ "MsgType.DISCOVER", "new", "stays", "6", "192.0.2.7", "53,12,55", 600 }, { udps.dhcp_msg_type,
      udps.dhcp_12, udps.dhcp_60, udps.dhcp_55, udps.dhcp_50, udps.dhcp_options, udps.dhcp_57 })
  end)

  it("names every type, those that NFStream knows not, too", function()
    local names = {}
    for i, number in ipairs { 1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 18, 19, 255 } do
      names[i] = udps_of(message(kind(number))).dhcp_msg_type:match "^MsgType%.(.*)$"
    end
    assert.same({ "DISCOVER", "OFFER", "REQUEST", "DECLINE", "ACK", "NACK", "RELEASE", "INFORM", "FORCERENEW",
      "LEASEACTIVE", "TLS", "19", "255" }, names)
  end)

  it("has type 0 for BOOTP, which has none", function()
    for _, options in ipairs { "", option(12, "old"), option(53, ""), kind(0) } do
      assert.equal("0", udps_of(message(options)).dhcp_msg_type)
    end
    local udps = flows_of(sent(0, message "", "10.0.0.9"), sent(1, message(kind(DISCOVER)), "10.0.0.9"))[1].udps
    assert.equal("0", udps.dhcp_msg_type)
  end)

  it("ends flows with DECLINE, ACK, NACK and INFORM, from either side", function()
    for _, last in ipairs { DECLINE, ACK, NACK, INFORM } do
      local flows = flows_of(sent(0, message(kind(REQUEST))), answered(1, message(kind(last))),
        sent(2, message(kind(REQUEST))), sent(3, message(kind(last))), sent(4, message(kind(DISCOVER))))
      assert.same({ 2, 2, 1 }, testing.column("bidirectional_packets", flows))
      assert.same({ -1, -1, 0 }, testing.column("expiration_id", flows))
    end
  end)

  it("does not end flows with other messages", function()
    for _, other in ipairs { DISCOVER, OFFER, REQUEST, RELEASE, 9, 0 } do
      local flows = flows_of(sent(0, message(kind(other))), sent(1, message(kind(other))))
      assert.same({ 2 }, testing.column("bidirectional_packets", flows))
    end
  end)

  it("ends a flow that began without an address with every message", function()
    local flows = flows_of(sent(0, message(kind(DISCOVER)), "0.0.0.0"), sent(1, message(kind(REQUEST)), "0.0.0.0"),
      sent(2, ("\0"):rep(300), "0.0.0.0"), sent(3, message(kind(DISCOVER)), "0.0.0.0")) -- the third is no DHCP
    assert.same({ 1, 1, 2 }, testing.column("bidirectional_packets", flows))
    assert.same({ -1, -1, -1 }, testing.column("expiration_id", flows))
  end)

  it("finds options behind padding, and none behind the end", function()
    local udps = udps_of(message("\0\0" .. kind(REQUEST) .. "\0" .. option(12, "laptop") .. "\255\0"
      .. option(60, "x")))
    assert.same({ "laptop", "", "53,12" }, { udps.dhcp_12, udps.dhcp_60, udps.dhcp_options })
  end)

  it("takes the first of two options with the same code", function()
    local udps = udps_of(message(option(12, "one") .. kind(DISCOVER) .. option(12, "two") .. kind(REQUEST)))
    assert.same({ "one", "MsgType.DISCOVER" }, { udps.dhcp_12, udps.dhcp_msg_type })
  end)

  it("does not believe sizes", function()
    local udps = udps_of(message(kind(REQUEST) .. option(50, "\10\0\0") .. option(57, "\5") .. option(12, "")
      .. option(55, "") .. P.u8(60) .. P.u8(200) .. "cut off"))
    assert.same({ "", 0, "", "", "", "53,50,57,12,55" }, { udps.dhcp_50, udps.dhcp_57, udps.dhcp_12, udps.dhcp_55,
      udps.dhcp_60, udps.dhcp_options })
  end)

  it("cuts long texts, and long lists between numbers", function()
    local codes = {}
    for i = 1, 60 do codes[i] = 100 + i end
    local udps = udps_of(message(kind(REQUEST) .. option(12, ("n"):rep(255)) .. option(55, string.char(unpack(codes)))))
    assert.equal(("n"):rep(64), udps.dhcp_12)
    assert.equal(table.concat(codes, ",", 1, 32), udps.dhcp_55) -- 32 numbers of three digits and 31 commas: 127 bytes
    local many = {}
    for i = 1, 40 do many[i] = option(200, "") end
    assert.equal("53" .. (",200"):rep(31), udps_of(message(kind(REQUEST) .. table.concat(many))).dhcp_options) -- 126
  end)

  it("ends texts at a zero byte", function()
    assert.equal("laptop", udps_of(message(kind(DISCOVER) .. option(12, "laptop\0"))).dhcp_12)
  end)

  it("writes valid UTF-8 where a client sends anything else", function()
    local path = testing.file { sent(0, message(kind(DISCOVER) .. option(12, "caf\233") .. option(60, "\255\254")
      .. option(77, "gr\195\188n"))) }
    local result = program.run("flows", "-q", "--plugin=dhcp", "--n-dissections=0",
      "--columns=udps.dhcp_12,udps.dhcp_60,udps.dhcp_77", path)
    assert.same({ status = 0, err = "", out = 'udps.dhcp_12,udps.dhcp_60,udps.dhcp_77\n"caf�","��","grün"\n' }, result)
  end)

  it("looks at flows over IPv4 and UDP to port 67 only, and at messages with DHCP's magic number", function()
    local bytes = message(kind(REQUEST) .. option(12, "laptop"))
    local udp, ip = P.udp { src_port = 68, dst_port = 67 }, P.ipv4 {}
    local packets = { testing.at(0, P.eth {} .. P.ipv6 {} .. udp .. bytes), answered(0, bytes),
      testing.at(0, P.eth {} .. ip .. P.tcp { src_port = 68, dst_port = 67 } .. bytes),
      sent(0, message(kind(REQUEST), { magic = P.hex "63 82 53 64" })) }
    for _, packet in ipairs(packets) do
      local flow = flows_of(packet)[1]
      assert.same({ "", "", "", 0 }, { flow.udps.dhcp_12, flow.udps.dhcp_msg_type, flow.udps.dhcp_oui,
        flow.expiration_id })
    end
    assert.equal("laptop", flows_of(testing.at(0, P.eth {} .. ip .. udp .. bytes))[1].udps.dhcp_12)
  end)

  it("takes of a cut message the options that are complete", function()
    local bytes = message(kind(REQUEST) .. option(12, "laptop") .. option(60, "MSFT"))
    local begin = 42 + 240 -- of the options
    local function cut(captured)
      local packet = sent(0, bytes)
      packet.size, packet.bytes = #packet.bytes, packet.bytes:sub(1, captured)
      local udps = flows_of(packet)[1].udps
      return { udps.dhcp_msg_type, udps.dhcp_12, udps.dhcp_60, udps.dhcp_options }
    end
    for captured = 42, begin + 15 do
      local expected = captured < begin and { "", "", "", "" } or captured < begin + 3 and { "0", "", "", "" }
        or captured < begin + 11 and { "MsgType.REQUEST", "", "", "53" }
        or { "MsgType.REQUEST", "laptop", "", "53,12" }
      assert.same(expected, cut(captured), captured)
    end
    assert.same({ "MsgType.REQUEST", "laptop", "MSFT", "53,12,60" }, cut(begin + 17))
  end)

  it("lets a run choose any number of meters", function()
    assert.is_false(worker.wants_one { Dhcp {} })
  end)
end)
