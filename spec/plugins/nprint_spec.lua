-- plugins/nprint.lua: bits by hand, of packets built byte by byte.

local engine = require "spec.support.engine"
local feature = require "spec.support.feature"
local meter = require "spec.support.meter"
local P = require "nfengine.testing.packet"
local Nprint = require "plugins.nprint"

-- Bits of bytes, as text: "+" 1, "." 0, "-" none.
local function bits_of(bytes, room)
  local text = bytes:gsub(".", function(byte)
    local bits, number = "", byte:byte()
    for k = 7, 0, -1 do bits = bits .. (math.floor(number / 2 ^ k) % 2 == 1 and "+" or ".") end
    return bits
  end)
  return text .. ("-"):rep(8 * ((room or #bytes) - #bytes))
end

local SIGN = { [-1] = "-", [0] = ".", [1] = "+" }

-- The column of the first flow as text.
local function vector(options, packets, parameters)
  local given = { udps = Nprint(options), packets = packets }
  for name, value in pairs(parameters or {}) do given[name] = value end
  local flow = engine.flows(given)[1]
  local list = flow.udps.nprint:table()
  for i, value in ipairs(list) do list[i] = SIGN[value] end
  return table.concat(list), flow.udps.nprint_packets
end

local udp = meter.frame(0, P.eth {} .. P.ipv4 {} .. P.udp { src_port = 1000 } .. "\170\85")
local tcp = meter.frame(1, P.eth {} .. P.ipv4 {} .. P.tcp { src_port = 1000, dst_port = 80, flags = "S" })
local icmp = meter.frame(2, P.eth {} .. P.ipv4 { protocol = 1 } .. "\8\0\1\2\3\4\5\6data")

local function bytes(frame, from, to) return frame.bytes:sub(from + 1, to) end

describe("nprint", function()
  after_each(engine.cleanup)

  it("has each header's bits at their places, and none where there is none", function()
    local got, packets = vector({ packets = 1, identifiers = true }, { udp })
    assert.equal(1, packets)
    assert.equal(1088, #got)
    assert.equal(bits_of(bytes(udp, 14, 34), 60), got:sub(1, 480))
    assert.equal(("-"):rep(480), got:sub(481, 960))
    assert.equal(bits_of(bytes(udp, 34, 42)), got:sub(961, 1024))
    assert.equal(("-"):rep(64), got:sub(1025))
    got = vector({ packets = 1, identifiers = true }, { tcp })
    assert.equal(bits_of(bytes(tcp, 34, 54), 60) .. ("-"):rep(128), got:sub(481))
    got = vector({ packets = 1, identifiers = true, headers = { "icmp" } }, { icmp })
    assert.equal(bits_of "\8\0\1\2\3\4\5\6", got)
  end)

  it("leaves out what says who talks, or nothing", function()
    local got = vector({ packets = 1, headers = { "ipv4", "udp" } }, { udp })
    local ip, header = bits_of(bytes(udp, 14, 34), 60), bits_of(bytes(udp, 34, 42))
    assert.equal(ip:sub(1, 32) .. ("-"):rep(16) .. ip:sub(49, 80) .. ("-"):rep(400), got:sub(1, 480))
    assert.equal(("-"):rep(32) .. header:sub(33, 48) .. ("-"):rep(16), got:sub(481))
    got = vector({ packets = 1, headers = { "tcp" } }, { tcp })
    header = bits_of(bytes(tcp, 34, 54), 60)
    assert.equal(("-"):rep(96) .. header:sub(97, 128) .. ("-"):rep(16) .. header:sub(145), got)
    assert.equal("+", got:sub(8 * 13 + 7, 8 * 13 + 7)) -- SYN
  end)

  it("leaves out of TCP's options what is drawn at random", function()
    local options = "\2\4\5\180" .. "\4\2" .. "\8\10ABCDEFGH" .. "\1" .. "\3\3\7" -- size, SACK, times, scale
    local function vector_of(given)
      local header = P.tcp { src_port = 1000, flags = "S", data_offset = 5 + #given / 4 }
      local frame = meter.frame(0, P.eth {} .. P.ipv4 {} .. header .. given .. "data")
      return (vector({ packets = 1, headers = { "tcp" } }, { frame })):sub(161)
    end
    local function shown(...)
      local text = ""
      for _, part in ipairs { ... } do
        text = text .. (type(part) == "number" and ("-"):rep(8 * part) or bits_of(part))
      end
      return text .. ("-"):rep(320 - #text)
    end
    assert.equal(shown("\2\4\5\180\4\2\8\10", 8, "\1\3\3\7"), vector_of(options))
    assert.equal(shown("\1\1\5\10", 8), vector_of "\1\1\5\10ABCDEFGH")
    -- Options that lead nowhere, or out of the header.
    assert.equal(shown "\8\1AB", vector_of "\8\1AB")
    assert.equal(shown "\0\8\10A", vector_of "\0\8\10A")
    assert.equal(shown("\8\255", 2), vector_of "\8\255AB")
  end)

  it("leaves out IPv6's flow label, not its traffic class", function()
    local six = meter.frame(0, P.eth { type = 0x86dd } .. P.ipv6 {} .. P.udp {})
    six.bytes = six.bytes:sub(1, 14) .. "\106\191\255\255" .. six.bytes:sub(19)
    local got = vector({ packets = 1, headers = { "ipv6" } }, { six })
    assert.equal(".++.+.+.+.++" .. ("-"):rep(20) .. bits_of(bytes(six, 18, 22)) .. ("-"):rep(256), got)
  end)

  it("knows IPv6, payload, and any order of headers", function()
    local six = meter.frame(0, P.eth { type = 0x86dd } .. P.ipv6 {} .. P.udp {} .. "\170\85\1")
    local got = vector({ packets = 1, headers = { "udp", "ipv6" }, payload = 2, identifiers = true }, { six })
    assert.equal(bits_of(bytes(six, 14, 54)) .. bits_of(bytes(six, 54, 62)) .. "+.+.+.+..+.+.+.+", got)
    assert.equal("+.+.+.+..+.+.+.+" .. ("-"):rep(8), (vector({ packets = 1, headers = {}, payload = 3 }, { udp })))
  end)

  it("has one vector behind the other, those of packets that are not there empty", function()
    local other = meter.back(5, 1000, "\15")
    local got, packets = vector({ packets = 3, headers = {}, payload = 1 }, { udp, other })
    assert.equal(2, packets)
    assert.equal("+.+.+.+." .. "....++++" .. "--------", got)
    got, packets = vector({ packets = 1, headers = {}, payload = 1 }, { udp, other, other })
    assert.equal(1, packets)
    assert.equal("+.+.+.+.", got)
  end)

  it("counts on when it has had its packets", function()
    local packets = { udp, meter.back(5, 1000), meter.udp(6, 1000), meter.udp(7, 1000) }
    local flow = engine.flows { udps = Nprint { packets = 2 }, packets = packets }[1]
    assert.same({ 4, 2 }, { flow.bidirectional_packets, flow.udps.nprint_packets })
  end)

  it("takes what a capture has cut off for absent", function()
    local whole = meter.udp(0, 1000, "\170\85\1\2")
    local cut = { bytes = whole.bytes:sub(1, 44), size = #whole.bytes, time_ns = whole.time_ns }
    assert.equal("+.+.+.+..+.+.+.+" .. ("-"):rep(16), (vector({ packets = 1, headers = {}, payload = 4 }, { cut })))
  end)

  it("gives the same for any number of meters", function() feature.is_alike("nprint", "{ packets = 3 }") end)

  it("refuses headers that it does not know, and none", function()
    assert.matches('headers: "arp": expected some of ipv4, ipv6, tcp, udp and icmp',
      engine.refusal(vector, { headers = { "arp" } }, { udp }), 1, true)
    assert.matches("headers: expected one at least, or payload", engine.refusal(vector, { headers = {} }, { udp }), 1,
      true)
  end)
end)
