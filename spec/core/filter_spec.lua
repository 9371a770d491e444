-- core/filter.c: libpcap's filter language, as hooks see it. Filters of captures are files_spec's.

local ffi = require "ffi"
local C = require "spec.support.core" ("frame", "decode", "filter")
local P = require "nfengine.testing.packet"

local function compile(expression)
  local message = ffi.new("char[?]", C.NF_ERROR_SIZE)
  local filter = C.nf_filter_new(expression, message)
  if filter == nil then return nil, ffi.string(message) end
  return ffi.gc(filter, C.nf_filter_free)
end

-- Whether an expression matches a frame; `fields` has its link_type (default Ethernet), captured and size.
local function matches(expression, layers, fields)
  fields = fields or {}
  local bytes = type(layers) == "string" and layers or layers:bytes()
  local frame, packet = ffi.new "struct nf_frame", ffi.new "struct nf_packet"
  local kept = ffi.new("uint8_t[?]", #bytes, bytes:sub(1, fields.captured))
  frame.data, frame.captured, frame.size = kept, fields.captured or #bytes, fields.size or #bytes
  frame.link_type = fields.link_type or 1
  assert(C.nf_decode(packet, ffi.new "struct nf_fragmented", frame, true) == C.NF_IGNORED_NONE)
  assert.equal(frame.link_type, packet.link_type)
  return C.nf_filter_matches(assert(compile(expression)), packet)
end

describe("a packet filter", function()
  local tcp = P.ipv4 { src = "10.0.0.1", dst = "10.0.0.2" } .. P.tcp { src_port = 1000, dst_port = 80 } .. "GET /"

  it("looks at addresses, ports, protocols and sizes", function()
    for expression, expected in pairs {
      ["tcp port 80"] = true, ["tcp src port 80"] = false, ["udp"] = false, ["ip6"] = false, ["ip"] = true,
      ["src host 10.0.0.1 and dst net 10.0.0.0/30"] = true, ["dst host 10.0.0.1"] = false, ["greater 45"] = true,
      ["greater 46"] = false, ["tcp[13] & 2 != 0"] = false, ["ip[0] = 0x45"] = true, [""] = true,
    } do
      assert.equal(expected, matches(expression, P.eth {} .. tcp), expression)
    end
  end)

  it("sees the IP packet, whatever is around it", function()
    local six = P.ipv6 { src = "2001:db8::1" } .. P.udp { dst_port = 53 } .. "x"
    local outer = P.eth {} .. P.ipv4 {} .. P.udp { src_port = 2152, dst_port = 2152 } .. P.gtpu {}
    for _, case in ipairs {
      { P.eth {} .. tcp }, { P.eth {} .. P.vlan { id = 7 } .. P.vlan { id = 8 } .. tcp }, { tcp, 101 }, { tcp, 12 },
      { "\0\0\0\1\0\6" .. ("\2"):rep(6) .. "\0\0\8\0" .. tcp:bytes(), 113 }, { outer .. tcp },
    } do
      assert.is_true(matches("tcp port 80 and len = 45", case[1], { link_type = case[2] }))
      assert.is_false(matches("udp", case[1], { link_type = case[2] }))
    end
    assert.is_true(matches("ip6 host 2001:db8::1 and udp port 53", P.eth {} .. six))
    assert.is_true(matches("ip6 host 2001:db8::1 and udp port 53", outer .. six))
  end)

  it("sees neither padding nor what was not captured", function()
    local padded = P.eth {} .. P.ipv4 { total_length = 29 } .. P.udp { length = 9 } .. "a" .. ("b"):rep(17)
    assert.is_true(matches("len = 29 and ip[28] = 0x61", padded))
    assert.is_false(matches("ip[29] = 0x62", padded)) -- a load beyond the packet refuses it
    assert.is_false(matches("ip[29] != 0x62", padded))
    local frame = (P.eth {} .. tcp):bytes()
    assert.is_true(matches("len = 45 and ip[39] >= 0", frame, { captured = 54, size = #frame }))
    assert.is_false(matches("ip[40] >= 0", frame, { captured = 54, size = #frame }))
    assert.is_true(matches("ip[40] = 0x47", frame))
  end)

  it("says in one line what is wrong with its expression", function()
    for expression, pattern in pairs {
      ["tcp prt 80"] = '^"tcp prt 80": .*syntax error.*, expected a libpcap filter for link type 101 %(RAW%)$',
      ["ether host 2:0:0:0:0:1"] = '^"ether host 2:0:0:0:0:1": .+, expected a libpcap filter for link type 101 ',
      ["vlan 5"] = "no VLAN support", ["port 99999"] = "99999",
    } do
      local filter, message = compile(expression)
      assert.is_nil(filter)
      assert.truthy(message:find(pattern), message)
      assert.is_nil(message:find "\n")
    end
    local _, message = compile(("tcp and "):rep(1000))
    assert.is_true(#message < C.NF_ERROR_SIZE)
  end)
end)
