-- scripts/dns.lua: what it prints. What it is that it prints is tested in spec/lua/dns_spec.lua.

local json = require "nfengine.json"
local P = require "nfengine.testing.packet"
local protocol = require "spec.support.protocol"
local program = require "spec.support.program"
local testing = require "nfengine.testing"

local u16 = P.u16

local function name(text) return text:gsub("([^.]+)%.?", function(label) return P.u8(#label) .. label end) .. "\0" end

local function record(kind, data) return "\192\12" .. u16(kind) .. u16(1) .. P.u32(60) .. u16(#data) .. data end

-- A message about a name; without answers a query.
local function message(text, kind, answers, flags)
  local count = answers and #answers or 0
  return u16(7) .. u16(flags or answers and 0x8180 or 0x0100) .. u16(1) .. u16(count) .. ("\0"):rep(4) .. name(text)
    .. u16(kind) .. u16(1) .. table.concat(answers or {})
end

local function datagram(ms, bytes, is_back, port)
  local ip = is_back and P.ipv4 { src = "10.0.0.2", dst = "10.0.0.1" } or P.ipv4 {}
  local from, to = 40000, port or 53
  if is_back then from, to = to, from end
  return testing.at(ms, P.eth {} .. ip .. P.udp { src_port = from, dst_port = to } .. bytes)
end

local QUERY = message("www.example.com", 1)
local ANSWER = message("www.example.com", 1, { record(5, name "b.example"), record(1, "\1\2\3\4") })

local function lookup() return { datagram(0, QUERY), datagram(20, ANSWER, true) } end

describe("scripts/dns.lua", function()
  after_each(function()
    testing.cleanup()
    program.remove_temporaries()
  end)

  protocol.tests("dns", "web.pcap", lookup(), "www.example.com")

  it("has a line for each lookup, in columns", function()
    local packets = lookup()
    packets[3], packets[4] = datagram(30, message("a b", 28)), datagram(40, message("c", 16, {}, 0x8183), true)
    assert.equal("TIME CLIENT SERVER BY ID NAME CLASS TYPE RCODE LATENCY ANSWERS\n"
      .. "2020-09-13 12:26:40.000 10.0.0.1 10.0.0.2:53 udp 7 www.example.com IN A NOERROR 20.0 ms CNAME b.example, "
      .. "1.2.3.4\n2020-09-13 12:26:40.040 10.0.0.1 10.0.0.2:53 udp 7 c IN TXT NXDOMAIN - -\n"
      .. "2020-09-13 12:26:40.030 10.0.0.1 10.0.0.2:53 udp 7 a\\032b IN AAAA - - -\n",
      protocol.squeezed(protocol.printed("dns", packets)))
  end)

  it("has the same as JSON, with ports and microseconds", function()
    assert.same({ {
      time = "2020-09-13T12:26:40.000000Z", client_ip = "10.0.0.1", client_port = 40000, server_ip = "10.0.0.2",
      server_port = 53, transport = "udp", id = 7, name = "www.example.com", class = "IN", type = "A",
      rcode = "NOERROR", latency_ms = 20, answers = { "CNAME b.example", "1.2.3.4" }, opcode = "QUERY", queries = 1,
      is_truncated = false,
    } }, protocol.objects("dns", lookup()))
  end)

  it("tells what is missing in a response", function()
    local many = {}
    for i = 1, 33 do many[i] = record(1, "\1\2\3" .. string.char(i)) end
    local it = protocol.objects("dns", { datagram(0, message("a", 1, many, 0x8380), true) })[1]
    assert.same({ 31, "3 more", true, 0, json.null, "10.0.0.1" },
      { #it.answers, it.answers[31], it.is_truncated, it.queries, it.latency_ms, it.client_ip })
  end)

  it("tells of a query without a response when there was no packet for half a minute", function()
    local packets = lookup()
    packets[2].time_ns = packets[2].time_ns + 31 * 1000000000ULL
    local rcodes = {}
    for i, each in ipairs(protocol.objects("dns", packets)) do rcodes[i] = each.rcode end
    assert.same({ json.null, "NOERROR" }, rcodes)
    local result = program.run("-q", "dns", "--idle-timeout=60", testing.file(packets))
    assert.matches(" 31020%.0 ms ", result.out)
  end)

  it("looks on other ports when told", function()
    local packets = { datagram(0, message("a", 1), false, 5300), datagram(1, message("b", 1)) }
    local function names_of(...)
      local names = {}
      for i, each in ipairs(protocol.objects("dns", packets, ...)) do names[i] = each.name end
      return table.concat(names, " ")
    end
    assert.equal("b", names_of())
    assert.equal("a b", names_of "--ports=53,5300")
    assert.equal("a", names_of "--ports=5300")
  end)

  it("looks at multicast DNS and LLMNR when told", function()
    local announced = u16(0) .. u16(0x8400) .. u16(0) .. u16(1) .. u16(0) .. u16(0) .. name "m.local" .. u16(1)
      .. u16(0x8001) .. P.u32(9) .. u16(4) .. "\1\2\3\4"
    local packets = { datagram(0, message("m.local", 12), false, 5353), datagram(1, message("llmnr", 1), false, 5355),
      datagram(2, announced, false, 5353) }
    local function told(...)
      local list = {}
      for i, each in ipairs(protocol.objects("dns", packets, ...)) do
        list[i] = each.name ~= json.null and each.name or each.answers[1]
      end
      return table.concat(list, ", ")
    end
    assert.equal("", told())
    assert.equal("m.local, m.local 1.2.3.4", told "--mdns")
    assert.equal("llmnr", told "--llmnr")
    assert.equal("m.local, llmnr, m.local 1.2.3.4", told("--mdns", "--llmnr"))
  end)

  it("says how much it could not read", function()
    local _, err = protocol.printed("dns", { datagram(0, "short"), datagram(1, ("\255"):rep(40)) })
    assert.equal("nfengine: dns: messages that are none of DNS, or were not captured whole: 2\n", err)
  end)

  it("refuses ports that are none", function()
    for _, word in ipairs { "x", "0", "65536", "53,-1", "5.3" } do
      local result = program.run("dns", "samples/dns.pcap", "--", "--ports=" .. word)
      assert.same({ 2, ('nfengine: --ports "%s": expected numbers from 1 to 65535\n'):format(word:match "[^,]*$") },
        { result.status, result.err })
    end
  end)
end)
