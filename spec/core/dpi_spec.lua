-- What is told of a flow's application, when it is told, and what is kept from nDPI.

local bit = require "bit"
local ffi = require "ffi"
local C = require "spec.support.core" ("decode", "frame", "dpi", "dpi_text")
local nf = require "nfengine"
local P = require "nfengine.testing.packet"
local capture = require "nfengine.testing.capture"

local u8, u16, u24, u32 = P.u8, P.u16, function(n) return P.u32(n):sub(2) end, P.u32
local CLIENT, SERVER = "10.0.0.1", "192.168.0.2"

-- Every frame ends where a page ends that cannot be read beyond.
ffi.cdef [[
void *mmap(void *address, size_t length, int protection, int flags, int descriptor, long offset);
int mprotect(void *address, size_t length, int protection);
]]
local ROOM, PAGE = 128 * 1024, 4096
local READ_WRITE, NONE, PRIVATE_ANONYMOUS = 3, 0, 0x22
local room = ffi.cast("uint8_t *", ffi.C.mmap(nil, ROOM + PAGE, READ_WRITE, PRIVATE_ANONYMOUS, -1, 0))
assert(ffi.C.mprotect(room + ROOM, PAGE, NONE) == 0)

local function decoded(frame, position, captured)
  local bytes = frame:bytes()
  captured = captured or #bytes
  local data = room + ROOM - captured
  ffi.copy(data, bytes, captured)
  local f, packet = ffi.new "struct nf_frame", ffi.new "struct nf_packet"
  f.data, f.captured, f.size, f.link_type, f.number = data, captured, #bytes, 1, position
  assert.are.equal(C.NF_IGNORED_NONE, C.nf_decode(packet, ffi.new "struct nf_fragmented", f, true))
  packet.tick = 1600000000000ULL + position
  return packet
end

local function new_dpi(options)
  local reason = ffi.new("char[?]", C.NF_ERROR_SIZE)
  local dpi = C.nf_dpi_new(options.limit or 20, true, options.cache or false, reason)
  assert(dpi ~= nil, ffi.string(reason))
  C.nf_dpi_publish(dpi, options.publish or false)
  return ffi.gc(dpi, C.nf_dpi_free)
end

local TEXTS = {
  "application_name", "application_category_name", "requested_server_name", "client_fingerprint",
  "server_fingerprint", "user_agent", "content_type",
}
local EXTRA_TEXTS = {
  "tls_version", "tls_alpn", "ja3_client", "ja3_server", "hassh_client", "hassh_server", "dhcp_fingerprint",
  "http_url", "risk_names",
}

local function told(l7, extra)
  local all = { is_guessed = l7.is_guessed, confidence = l7.confidence, is_open = l7.dissection ~= nil }
  for _, name in ipairs(TEXTS) do all[name] = ffi.string(l7[name]) end
  for _, name in ipairs(EXTRA_TEXTS) do all[name] = ffi.string(extra[name]) end
  all.risk_mask, all.risk_score = extra.risk_mask, extra.risk_score
  all.dns_query_type, all.dns_response_code = extra.dns_query_type, extra.dns_response_code
  return all
end

-- Shows a flow's packets and returns what is told of it at its end and, as a list, after each of them. A frame may be
-- { frame, captured = bytes, is_fragment = true }. Options: limit, publish, cache, dpi (to use one for several flows).
local function identify(frames, options)
  options = options or {}
  local dpi = options.dpi or new_dpi(options)
  local l7, extra, after = ffi.new "struct nf_l7", ffi.new "struct nf_l7_extra", {}
  for i, frame in ipairs(frames) do
    local has_fields = frame.captured or frame.is_fragment
    local packet = decoded(has_fields and frame[1] or frame, i, frame.captured)
    packet.is_fragment = frame.is_fragment or false
    C.nf_dpi_packet(dpi, l7, extra, packet, i, 1)
    after[i] = told(l7, extra)
  end
  C.nf_dpi_finish(dpi, l7, extra)
  assert.is_true(l7.dissection == nil)
  return told(l7, extra), after
end

local function ip4(fields) return P.eth {} .. P.ipv4(fields) end

-- A TCP connection's segments, with sequence numbers that fit. `fields` are the header's, `total_length` IPv4's.
local function tcp(server_port)
  local at = { client = 1, server = 1 }
  local function segment(who, payload, fields)
    local to_server = who == "client"
    local header = { flags = "PA", seq = at[who], ack = at[to_server and "server" or "client"],
      src_port = to_server and 40000 or server_port, dst_port = to_server and server_port or 40000 }
    for name, value in pairs(fields or {}) do header[name] = value end
    local total_length
    total_length, header.total_length = header.total_length, nil
    at[who] = at[who] + #payload + (header.flags:find "S" and 1 or 0)
    return ip4 { src = to_server and CLIENT or SERVER, dst = to_server and SERVER or CLIENT,
      total_length = total_length } .. P.tcp(header) .. payload
  end
  return {
    client = function(payload, fields) return segment("client", payload, fields) end,
    server = function(payload, fields) return segment("server", payload, fields) end,
  }
end

local function udp(client_port, server_port)
  local function datagram(src, dst, src_port, dst_port)
    return function(payload, fields)
      return ip4 { src = src, dst = dst } .. P.udp { src_port = src_port, dst_port = dst_port,
        length = fields and fields.length } .. payload
    end
  end
  return { client = datagram(CLIENT, SERVER, client_port, server_port),
    server = datagram(SERVER, CLIENT, server_port, client_port) }
end

-- HTTP

local function http_request(agent)
  return "GET /start?page=1 HTTP/1.1\r\nHost: www.nfengine.example\r\nUser-Agent: " .. agent
    .. "\r\nAccept: */*\r\n\r\n"
end
local HTTP_RESPONSE = "HTTP/1.1 200 OK\r\nServer: test\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nok"

local function http_flow(agent)
  local t = tcp(80)
  return {
    t.client("", { flags = "S" }), t.server("", { flags = "SA" }), t.client("", { flags = "A" }),
    t.client(http_request(agent or "spec/1.0")), t.server(HTTP_RESPONSE),
  }
end

-- TLS (RFC 8446, section 4.1.2; RFC 6347, sections 4.1 and 4.2.2)

local function vector16(content) return u16(#content) .. content end
local function vector8(content) return u8(#content) .. content end
local function extension(type, content) return u16(type) .. vector16(content) end

local function hello_extensions(server)
  return extension(0, vector16(u8(0) .. vector16(server))) .. extension(10, vector16(u16(29) .. u16(23)))
    .. extension(11, vector8(u8(0))) .. extension(16, vector16(vector8 "h2" .. vector8 "http/1.1"))
end
-- The MD5 of "771,49195-49199-47,0-10-11-16,29-23,0" and of "771,49199,65281"; with 65277 for DTLS.
local JA3_CLIENT, JA3_SERVER = "3e18988de740205dd3c926475e7c9a1f", "fbe78c619e7ea20046131294ad087f05"
local DTLS_JA3_CLIENT, DTLS_JA3_SERVER = "8d8c1cf847cf5f1b16dc876e9fde1c1c", "2c34df5b690a2c43e115492ba823c02c"

local function client_hello(version, cookie, server)
  return version .. ("r"):rep(32) .. u8(0) .. (cookie and u8(0) or "")
    .. vector16(u16(49195) .. u16(49199) .. u16(47)) .. vector8(u8(0))
    .. vector16(hello_extensions(server or "secure.nfengine.example"))
end
local function server_hello(version)
  return version .. ("s"):rep(32) .. vector8 "" .. u16(49199) .. u8(0) .. vector16(extension(65281, u8(0)))
end

local TLS12, DTLS12 = "\3\3", "\254\253"
local function tls_record(message_type, body)
  return u8(22) .. TLS12 .. vector16(u8(message_type) .. u24(#body) .. body)
end
local function dtls_record(message_type, body, sequence)
  local message = u8(message_type) .. u24(#body) .. u16(sequence) .. u24(0) .. u24(#body) .. body
  return u8(22) .. DTLS12 .. u16(0) .. u16(0) .. u32(sequence) .. vector16(message)
end

local DTLS_CLIENT_HELLO = dtls_record(1, client_hello(DTLS12, true), 0)
local DTLS_SERVER_HELLO = dtls_record(2, server_hello(DTLS12), 0)

-- A certificate message whose subject is in nDPI's table of subjects: as much of X.509 as it looks for.
local function certificate_message()
  local subject = "\x55\x04\x0a\x0c" .. vector8 "Netflix"
  local certificate = "\x30\x82\1\0" .. ("\0"):rep(40) .. subject .. ("\0"):rep(60)
  local list = u24(#certificate) .. certificate
  return u24(#list) .. list
end
local DTLS_CERTIFICATE = dtls_record(11, certificate_message(), 1)

-- DNS

local function name(text)
  return (text:gsub("([^.]+)%.?", function(label) return vector8(label) end)) .. "\0"
end
local function dns(flags, answers, question, type)
  return u16(7) .. u16(flags) .. u16(1) .. u16(#answers) .. u32(0) .. name(question) .. u16(type) .. u16(1)
    .. table.concat(answers)
end
local QUERY = dns(0x0100, {}, "www.nfengine.example", 28)
local ANSWER = u16(0xC00C) .. u16(28) .. u16(1) .. u32(60) .. vector16(("\32"):rep(16))
local RESPONSE = dns(0x8180, { ANSWER }, "www.nfengine.example", 28)
local NO_SUCH_NAME = dns(0x8183, {}, "www.nfengine.example", 28)

local DHCP_REQUEST = "\1\1\6\0" .. u32(7) .. ("\0"):rep(20) .. P.mac "02:00:00:00:00:01" .. ("\0"):rep(10 + 192)
  .. P.hex "63825363" .. "\53\1\3" .. "\55\4\1\3\6\15" .. "\60\7android" .. "\255" .. ("\0"):rep(20)

local NOISE = ("\249\1\77\200\130"):rep(30)

local BITTORRENT_HANDSHAKE = "\19BitTorrent protocol" .. ("\0"):rep(8) .. ("h"):rep(20) .. "-XX0001-123456789012"

-- A TINC connection that goes on with these messages, each with what t.client takes.
local TINC_PORT, TINC_KEY = 40655, "1 94 672 0 0 " .. ("C0FFEE"):rep(10)
local function tinc_flow(...)
  local t = tcp(TINC_PORT)
  local frames = { t.client("", { flags = "S" }), t.client "0 alpha 17\n", t.server "0 omega 17\n" }
  for _, message in ipairs { ... } do frames[#frames + 1] = t.client(unpack(message)) end
  return frames
end

local function expect(want, got)
  for field, value in pairs(want) do
    assert.are.equal(value, got[field], ("%s is %s, expected %s"):format(field, tostring(got[field]), tostring(value)))
  end
end

describe("a flow's application", function()
  it("is HTTP with its host, user agent and address", function()
    expect({
      application_name = "HTTP", application_category_name = "Web", is_guessed = 0, confidence = 4,
      requested_server_name = "www.nfengine.example", user_agent = "spec/1.0",
      client_fingerprint = "", server_fingerprint = "",
      http_url = "www.nfengine.example/start?page=1", tls_version = "", ja3_client = "",
      risk_mask = 0ULL, risk_score = 0, risk_names = "", dns_query_type = 0, dns_response_code = -1,
    }, (identify(http_flow())))
  end)

  -- nDPI 4.2 looks no further into a response when it has seen the request.
  it("is HTTP with its content type", function()
    expect({ application_name = "HTTP", content_type = "text/html", user_agent = "" },
      (identify { tcp(80).server(HTTP_RESPONSE) }))
  end)

  it("is TLS with server name and both JA3", function()
    local t = tcp(443)
    expect({
      application_name = "TLS", is_guessed = 0, confidence = 4, requested_server_name = "secure.nfengine.example",
      client_fingerprint = JA3_CLIENT, server_fingerprint = JA3_SERVER, user_agent = "", content_type = "",
      ja3_client = JA3_CLIENT, ja3_server = JA3_SERVER, tls_version = "TLSv1.2", tls_alpn = "h2,http/1.1",
      http_url = "", dhcp_fingerprint = "", hassh_client = "", dns_response_code = -1,
    }, (identify { t.client(tls_record(1, client_hello(TLS12))), t.server(tls_record(2, server_hello(TLS12))) }))
  end)

  it("is DTLS over UDP", function()
    local u = udp(40000, 4433)
    expect({ application_name = "DTLS", requested_server_name = "secure.nfengine.example", tls_version = "DTLSv1.2",
      client_fingerprint = DTLS_JA3_CLIENT }, (identify { u.client(DTLS_CLIENT_HELLO) }))
  end)

  it("is DNS with the name asked for, the type and the response", function()
    local u = udp(40000, 53)
    local got = identify { u.client(QUERY), u.server(RESPONSE) }
    expect({ application_name = "DNS", requested_server_name = "www.nfengine.example", confidence = 4,
      dns_query_type = 28, dns_response_code = 0 }, got)
    expect({ dns_response_code = 3 }, (identify { u.client(QUERY), u.server(NO_SUCH_NAME), u.client(QUERY) }))
    expect({ dns_response_code = -1 }, (identify { u.client(QUERY) }))
  end)

  it("is DHCP with the list of parameters asked for", function()
    local frame = ip4 { src = "0.0.0.0", dst = "255.255.255.255" } .. P.udp { src_port = 68, dst_port = 67 }
      .. DHCP_REQUEST
    expect({ application_name = "DHCP", client_fingerprint = "1,3,6,15", dhcp_fingerprint = "1,3,6,15",
      server_fingerprint = "" }, (identify { frame }))
  end)

  it("carries risks by stable names", function()
    local t = tcp(12345)
    local got = identify { t.client(http_request "spec/1.0"), t.server(HTTP_RESPONSE) }
    assert.are.equal("known_protocol_on_non_standard_port", got.risk_names)
    assert.are.equal(bit.lshift(1ULL, 5), got.risk_mask)
    assert.is_true(got.risk_score > 0)
  end)

  it("is guessed from the ports when the content says nothing", function()
    local t = tcp(443)
    local segments = { t.client("", { flags = "S" }), t.server("", { flags = "SA" }) }
    expect({ application_name = "TLS", is_guessed = 1, confidence = 1, client_fingerprint = "",
      tls_version = "" }, (identify(segments)))
  end)

  it("is unknown when nothing says anything", function()
    local u = udp(40001, 40002)
    expect({ application_name = "Unknown", application_category_name = "Unspecified", is_guessed = 0, confidence = 0,
      requested_server_name = "" }, (identify { u.client(NOISE), u.server(NOISE) }))
  end)

  it("is unknown for a flow that was never shown", function()
    expect({ application_name = "Unknown", application_category_name = "Unspecified", is_guessed = 0, confidence = 0,
      dns_response_code = -1, risk_names = "", risk_mask = 0ULL }, (identify {}))
  end)

  it("does not depend on flows that were told before", function()
    local dpi = new_dpi {}
    identify(http_flow(), { dpi = dpi })
    local t = tcp(443)
    identify({ t.client(tls_record(1, client_hello(TLS12))) }, { dpi = dpi })
    local u = udp(40001, 40002)
    expect({ application_name = "Unknown", requested_server_name = "", user_agent = "", client_fingerprint = "",
      http_url = "", tls_alpn = "" }, (identify({ u.client(NOISE) }, { dpi = dpi })))
  end)

  it("is told of many flows at once", function()
    local dpi, flows = new_dpi {}, {}
    local u = udp(40000, 53)
    for i = 1, 200 do
      flows[i] = { ffi.new "struct nf_l7", ffi.new "struct nf_l7_extra" }
      C.nf_dpi_packet(dpi, flows[i][1], flows[i][2], decoded(u.client(QUERY), 1), 1, 1)
    end
    for i = 1, 200, 2 do C.nf_dpi_drop(dpi, flows[i][1]) end
    for i = 1, 200 do
      C.nf_dpi_finish(dpi, flows[i][1], flows[i][2])
      assert.are.equal(i % 2 == 1 and "Unknown" or "DNS", ffi.string(flows[i][1].application_name))
    end
  end)
end)

-- What a flow teaches nDPI, and a flow that is called otherwise for it: one pair for each of nDPI's caches.
describe("what nDPI learns from a flow about another", function()
  teardown(capture.cleanup)

  local function tls_flow(server, ...)
    local t = tcp(443)
    local frames = { t.client(tls_record(1, client_hello(TLS12, false, server))) }
    for _, record in ipairs { ... } do frames[#frames + 1] = t.server(record) end
    return frames
  end
  local SERVER_HELLO = tls_record(2, server_hello(TLS12))
  local function noise_to(port)
    local u = udp(40001, port)
    return { u.client(NOISE), u.server(NOISE) }
  end
  local key = { TINC_KEY .. "\n" }
  local stun = u16(1) .. u16(8) .. u32(0x2112A442) .. ("t"):rep(12)
  local PAIRS = {
    { "two hosts of BitTorrent", { tcp(6881).client(BITTORRENT_HANDSHAKE) }, noise_to(40002), "Unknown", "BitTorrent" },
    { "a TINC connection's UDP", tinc_flow(key, key), noise_to(TINC_PORT), "Unknown", "TINC" },
    { "Zoom's servers", tls_flow "www.zoom.us", noise_to(8801), "Unknown", "Zoom" },
    { "two hosts of a mine", { tcp(40003).client '{"worker": "eth1.0", "id": 2}' }, noise_to(40002), "Unknown",
      "Mining" },
    { "who uses Teams", tls_flow "teams.microsoft.com", { udp(40001, 40002).client("\112\1\2" .. ("\3"):rep(30)) },
      "Skype_Teams.SkypeCall", "Skype_Teams.Teams" },
    { "whose certificate it was", tls_flow("a.example", SERVER_HELLO, tls_record(11, certificate_message())),
      tls_flow("a.example", SERVER_HELLO), "TLS", "TLS.NetFlix" },
    { "Ookla's servers", { tcp(8080).client "<policy-file-request/>\0" }, { tcp(8080).client(NOISE) }, "HTTP_Proxy",
      "Ookla" },
    { "a call's STUN server", { udp(40000, 3478).client(stun .. u16(0x4000) .. u16(4) .. u32(0)) },
      { udp(40001, 3478).client(stun .. u16(0x8022) .. u16(4) .. u32(0)) }, "STUN", "STUN.WhatsAppCall" },
  }

  for _, pair in ipairs(PAIRS) do
    local what, teacher, pupil, alone, taught = unpack(pair)

    it("names the other with a cache: " .. what, function()
      local dpi = new_dpi { cache = true }
      assert.are.equal(alone, (identify(pupil, { dpi = dpi })).application_name)
      identify(teacher, { dpi = dpi })
      assert.are.equal(taught, (identify(pupil, { dpi = dpi })).application_name)
    end)

    it("is forgotten without: " .. what, function()
      local dpi = new_dpi {}
      local before, own = identify(pupil, { dpi = dpi }), identify(teacher, { dpi = dpi })
      assert.are.equal(alone, before.application_name)
      assert.are.same(before, (identify(pupil, { dpi = dpi })))
      assert.are.same(own, (identify(teacher, { dpi = dpi })))
    end)
  end

  it("is kept unless the parameter dpi_cache says no", function()
    local _, teacher, pupil = unpack(PAIRS[1])
    local packets = {}
    for i, frame in ipairs { teacher[1], unpack(pupil) } do packets[i] = { bytes = frame:bytes() } end
    local path = capture.file(capture.pcap(packets))
    local function names(dpi_cache)
      local list = {}
      for flow in nf.streamer({ source = path, dpi_cache = dpi_cache }):flows() do
        list[#list + 1] = flow.application_name
      end
      return list
    end
    assert.are.same({ "BitTorrent", "BitTorrent" }, names(true))
    assert.are.same({ "BitTorrent", "BitTorrent" }, names(nil))
    assert.are.same({ "BitTorrent", "Unknown" }, names(false))
  end)
end)

describe("the verdict", function()
  it("falls as soon as nDPI wants no more", function()
    local _, after = identify(http_flow())
    assert.is_true(after[4].is_open)
    assert.are.equal("", after[4].application_name)
    assert.is_false(after[5].is_open)
    assert.are.equal("HTTP", after[5].application_name)
  end)

  it("falls with packet n_dissections, by a guess if need be", function()
    local t = tcp(443)
    local frames = { t.client("", { flags = "S" }), t.client(NOISE), t.client(NOISE), t.client(http_request "late") }
    local got, after = identify(frames, { limit = 3 })
    assert.is_true(after[2].is_open)
    assert.is_false(after[3].is_open)
    expect({ application_name = "TLS", is_guessed = 1, confidence = 1 }, after[3])
    assert.are.same(after[3], got)
  end)

  it("falls with the first packet when n_dissections is 1", function()
    local t = tcp(443)
    local got, after = identify({ t.client(tls_record(1, client_hello(TLS12))),
      t.server(tls_record(2, server_hello(TLS12))) }, { limit = 1 })
    assert.is_false(after[1].is_open)
    expect({ application_name = "TLS", client_fingerprint = JA3_CLIENT, server_fingerprint = "" }, got)
    local u = udp(40000, 53)
    expect({ application_name = "DNS", is_guessed = 1 }, select(2, identify({ u.client(NOISE) }, { limit = 1 }))[1])
  end)

  it("is final", function()
    local frames = http_flow()
    local got = identify(frames)
    local t = tcp(443)
    for _ = 1, 5 do frames[#frames + 1] = t.client(tls_record(1, client_hello(TLS12))) end
    assert.are.same(got, (identify(frames)))
  end)
end)

describe("the columns of a live flow", function()
  it("stay empty until the verdict unless they are wanted", function()
    local _, after = identify(http_flow())
    for i = 1, 4 do expect({ application_name = "", application_category_name = "", user_agent = "" }, after[i]) end
  end)

  it("are current after every packet when hooks read them", function()
    local got, after = identify(http_flow(), { publish = true })
    for i = 1, 3 do
      expect({ application_name = "Unknown", application_category_name = "Unspecified", confidence = 0, is_guessed = 0,
        user_agent = "", dns_response_code = -1, is_open = true }, after[i])
    end
    expect({ application_name = "HTTP", application_category_name = "Web", confidence = 4, user_agent = "spec/1.0",
      requested_server_name = "www.nfengine.example", is_open = true }, after[4])
    expect({ application_name = "HTTP", is_open = false }, after[5])
    assert.are.same((identify(http_flow())), got)
  end)
end)

-- A SYN is shown to nDPI with the second packet, or at the end, unless hooks read what it says at once.
describe("a flow that begins with a SYN", function()
  local SYN, LONG = { flags = "S" }, { flags = "S", options = ("\1"):rep(40) }

  local function same_at_once(frames)
    local later, after = identify(frames)
    assert.are.same((identify(frames, { publish = true })), later)
    return later, after
  end

  it("is called the same at its end", function()
    local t = tcp(443)
    assert.are.equal("TLS", (same_at_once { t.client("", SYN) }).application_name)
    same_at_once { t.client("", SYN), t.client("", SYN), t.server("", { flags = "RA" }) }
    same_at_once { t.client("", SYN), { t.client("x"), is_fragment = true } }
    same_at_once { P.eth {} .. P.ipv6 { src = "2001:db8::1" } .. P.tcp { flags = "S", dst_port = 22 } }
    same_at_once { P.eth {} .. P.ipv4 { total_length = 0 } .. P.tcp { flags = "S", dst_port = 80 } }
    local long = P.eth {} .. P.ipv6 {} .. P.destination { data = ("\0"):rep(30) } .. P.tcp(LONG)
    same_at_once { long, long }
    for captured = 54, 80 do
      t = tcp(80)
      same_at_once { { t.client("", LONG), captured = captured }, t.server("", { flags = "SA" }),
        t.client(http_request "spec/1.0") }
    end
  end)

  it("has no more than that until then", function()
    local frames = http_flow()
    local got, after = same_at_once(frames)
    assert.are.equal("HTTP", got.application_name)
    expect({ application_name = "", user_agent = "", is_open = true }, after[1])
  end)

  it("needs no memory of its own while it waits, and leaves none", function()
    local dpi, waiting, started = new_dpi {}, ffi.new "struct nf_l7", ffi.new "struct nf_l7"
    local extra, t = ffi.new "struct nf_l7_extra", tcp(80)
    local syn, other = decoded(t.client("", SYN), 1), ffi.new("struct nf_l7[2]")
    C.nf_dpi_packet(dpi, waiting, extra, syn, 1, 1)
    for i = 0, 1 do C.nf_dpi_packet(dpi, other[i], extra, syn, 1, 1) end
    assert.is_true(waiting.dissection == other[0].dissection and other[0].dissection == other[1].dissection)
    C.nf_dpi_packet(dpi, started, extra, decoded(t.client("x"), 1), 1, 1)
    assert.is_true(started.dissection ~= nil and started.dissection ~= waiting.dissection)
    C.nf_dpi_drop(dpi, other[0])
    assert.is_true(other[0].dissection == nil)
    for _, l7 in ipairs { waiting, other[1], started } do
      C.nf_dpi_finish(dpi, l7, extra)
      assert.is_true(l7.dissection == nil and ffi.string(l7.application_name) == "HTTP" and l7.is_guessed == 1)
    end
  end)
end)

describe("dropping a flow", function()
  it("frees nDPI's state once", function()
    local dpi, l7 = new_dpi {}, ffi.new "struct nf_l7"
    C.nf_dpi_packet(dpi, l7, ffi.new "struct nf_l7_extra", decoded(http_flow()[4], 1), 1, 1)
    assert.is_true(l7.dissection ~= nil)
    C.nf_dpi_drop(dpi, l7)
    assert.is_true(l7.dissection == nil)
    C.nf_dpi_drop(dpi, l7)
  end)
end)

describe("text from the wire", function()
  local function copied(text, size)
    local to = ffi.new("char[?]", size or 256)
    ffi.fill(to, size or 256, 0xEE)
    local length = tonumber(C.nf_text_copy(to, size or 256, text, text and #text or 0))
    local result = ffi.string(to)
    assert.are.equal(#result, length)
    return result
  end

  it("loses the bytes that are no UTF-8", function()
    assert.are.equal("ab", copied "a\255\254b\128")
    assert.are.equal("grün €", copied "grün €")
    assert.are.equal("\240\159\152\128", copied "\240\159\152\128")
    assert.are.equal("A", copied "\226\130A")
    assert.are.equal("", copied "\192\175\224\128\175\240\128\128\175")
    assert.are.equal("\237\159\191\238\128\128", copied "\237\159\191\237\160\128\238\128\128")
    assert.are.equal("\244\143\191\191", copied "\244\143\191\191\244\144\128\128\245\128\128\128")
  end)

  it("is never cut inside a character", function()
    assert.are.equal("12345", copied("12345€", 8))
    assert.are.equal("12345€", copied("12345€", 9))
    assert.are.equal("", copied("abc", 1))
    assert.are.equal("", copied(nil))
  end)

  it("ends at its NUL or its bound, whichever comes first", function()
    assert.are.equal("ab", copied "ab\0cd")
    local to = ffi.new "char[8]"
    assert.are.equal(2, tonumber(C.nf_text_copy(to, 8, "abcdef", 2)))
    assert.are.equal("ab", ffi.string(to))
  end)

  it("is clean in the columns", function()
    local got = identify(http_flow "agent\255\254 caf\195\169 \195")
    assert.are.equal("agent café ", got.user_agent)
  end)

  it("fills its column and no more", function()
    local got = identify(http_flow(("ü"):rep(300)))
    assert.are.equal(("ü"):rep(127), got.user_agent)
  end)
end)

describe("a TLS version", function()
  local function tls_version(number)
    local to = ffi.new "char[16]"
    C.nf_text_tls_version(to, number)
    return ffi.string(to)
  end

  it("has a name", function()
    for number, want in pairs {
      [0] = "", [0x0300] = "SSLv3", [0x0301] = "TLSv1.0", [0x0303] = "TLSv1.2", [0x0304] = "TLSv1.3",
      [0xfeff] = "DTLSv1.0", [0xfefd] = "DTLSv1.2", [0x7f1c] = "TLSv1.3-draft28", [0xfb1a] = "TLSv1.3-fizz26",
      [0x1234] = "0x1234", [0x7fff] = "0x7fff",
    } do
      assert.are.equal(want, tls_version(number))
    end
  end)
end)

describe("the names of risks", function()
  local function risks(mask, size)
    local to = ffi.new("char[?]", size or 256)
    C.nf_text_risks(to, size or 256, mask)
    return ffi.string(to)
  end
  local function one(number) return bit.lshift(1ULL, number) end

  it("are joined in the order of their numbers", function()
    assert.are.equal("", risks(0))
    assert.are.equal("url_possible_xss", risks(one(1)))
    assert.are.equal("malformed_packet, tls_certificate_about_to_expire", risks(bit.bor(one(41), one(17))))
  end)

  it("are numbers where nDPI knows more than we do", function()
    assert.are.equal("risk_0, possible_exploit, risk_63", risks(bit.bor(one(0), one(40), one(63))))
  end)

  it("are all there and never cut", function()
    local seen = {}
    for number = 1, 41 do
      local text = risks(one(number))
      assert.is_truthy(text:match "^[a-z][a-z0-9_]*$" and not text:match "^risk_")
      assert.is_nil(seen[text])
      seen[text] = true
    end
    local all = risks(-1ULL)
    assert.is_true(#all < 256)
    for text in (all:sub(#"risk_0, " + 1) .. ", "):gmatch "(.-), " do assert.is_true(seen[text], text) end
    assert.are.equal("url_possible_xss", risks(bit.bor(one(1), one(2)), 40))
    assert.are.equal("url_possible_xss", risks(one(1), #"url_possible_xss" + 1))
    assert.are.equal("", risks(one(1), #"url_possible_xss"))
  end)
end)

describe("what nDPI is not shown", function()
  it("are certificates that come over UDP", function()
    local u = udp(40000, 4433)
    expect({ application_name = "DTLS", server_fingerprint = DTLS_JA3_SERVER },
      (identify { u.client(DTLS_CLIENT_HELLO), u.server(DTLS_SERVER_HELLO), u.server(DTLS_CERTIFICATE) }))
  end)

  it("are such certificates behind other records, which it is shown", function()
    local u = udp(40000, 4433)
    expect({ application_name = "DTLS", client_fingerprint = DTLS_JA3_CLIENT, server_fingerprint = DTLS_JA3_SERVER },
      (identify { u.client(DTLS_CLIENT_HELLO), u.server(DTLS_SERVER_HELLO .. DTLS_CERTIFICATE) }))
  end)

  it("are packets of another protocol or IP version than the flow began with", function()
    local u = udp(40000, 53)
    local others = {
      P.eth {} .. P.ipv6 {} .. P.udp { src_port = 53, dst_port = 40000 } .. RESPONSE,
      ip4 { src = SERVER, dst = CLIENT } .. P.tcp { src_port = 53, dst_port = 40000 } .. vector16(RESPONSE),
    }
    for _, other in ipairs(others) do
      expect({ application_name = "DNS", dns_response_code = -1 }, (identify { u.client(QUERY), other }))
    end
    expect({ application_name = "TLS", server_fingerprint = "" }, (identify {
      tcp(443).client(tls_record(1, client_hello(TLS12))), udp(40000, 443).server(DTLS_SERVER_HELLO) }))
  end)

  it("are later fragments, which begin with no header", function()
    local u = udp(40000, 53)
    expect({ application_name = "DNS", dns_response_code = -1 },
      (identify { u.client(QUERY), { u.server(RESPONSE), is_fragment = true } }))
  end)

  it("are segments without their whole header once it knows the protocol", function()
    local dpi = new_dpi { cache = true }
    identify({ tcp(6881).client(BITTORRENT_HANDSHAKE) }, { dpi = dpi })
    -- nDPI remembers the two hosts, so it takes this for BitTorrent after a while and asks for more.
    local t, frames = tcp(6882), {}
    frames[1] = t.client("", { flags = "S" })
    for i = 2, 10 do frames[i] = t.client(NOISE) end
    frames[11] = t.server("x", { data_offset = 15 })
    local got, after = identify(frames, { dpi = dpi })
    assert.is_true(after[11].is_open)
    expect({ application_name = "BitTorrent" }, got)
  end)

  it("are datagrams without a whole header or a payload once it knows the protocol", function()
    local u = udp(0, 0)
    local quic = "\195Q046\80" .. ("\1"):rep(8) .. u32(1) .. ("\2"):rep(12) .. "\160\1" .. u16(4) .. "CHLO"
    quic = quic .. ("\0"):rep(1350 - #quic)
    local short = ip4 { src = SERVER, dst = CLIENT, protocol = 17 } .. "\0\0\0"
    expect({ application_name = "QUIC" }, (identify { u.client(quic), short, u.server "", u.server "" }))
  end)

  it("is shown an empty datagram before that, for the guess by port", function()
    local u = udp(40000, 53)
    expect({ application_name = "DNS", is_guessed = 1, confidence = 1 }, (identify { u.client "" }))
  end)

  it("is a packet whose end was not captured", function()
    local frame = udp(40000, 53).client(QUERY)
    expect({ application_name = "Unknown" }, (identify { { frame, captured = #frame:bytes() - 1 } }))
  end)

  -- nDPI reads the end of tinc's messages without a look at the packet's size.
  it("is what lies behind the IP packet, be it captured or left by another packet", function()
    local key = TINC_KEY
    local function tinc(...) return (identify(tinc_flow(...))).application_name end
    local whole, trailing, open = { key .. "\n" }, { key .. "\n", { total_length = 40 + #key } }, { key }
    assert.are.equal("TINC", tinc(whole, whole))
    assert.are.equal("Unknown", tinc(whole, trailing))
    assert.are.equal("Unknown", tinc(whole, open))
  end)

  it("counts among the n_dissections", function()
    local u = udp(40000, 53)
    local other = P.eth {} .. P.ipv6 {} .. P.udp { src_port = 53, dst_port = 40000 } .. RESPONSE
    local _, after = identify({ u.client(QUERY), other, u.server(RESPONSE) }, { limit = 2 })
    assert.is_false(after[2].is_open)
    expect({ dns_response_code = -1 }, after[3])
  end)
end)

describe("a packet without a total length", function()
  it("is shown with the length it has", function()
    local t = tcp(80)
    expect({ application_name = "HTTP", user_agent = "spec/1.0" },
      (identify { t.client(http_request "spec/1.0", { total_length = 0 }) }))
  end)
end)

describe("the largest packet", function()
  it("fits", function()
    local u = udp(40000, 53)
    local deep_name = ("\1a"):rep(32700)
    expect({ application_name = "DNS", requested_server_name = "www.nfengine.example" },
      (identify { u.server(dns(0x8180, { deep_name }, "www.nfengine.example", 28)) }))
    local t = tcp(80)
    expect({ application_name = "HTTP", user_agent = "spec/1.0" },
      (identify { t.client(http_request "spec/1.0" .. ("x"):rep(70000), { total_length = 0 }) }))
  end)
end)

describe("the linked nDPI", function()
  it("says its version", function()
    assert.is_truthy(ffi.string(C.nf_dpi_version()):match "^nDPI %d+%.%d+")
  end)

  it("fills every column of the extra section and no other", function()
    for _, column in ipairs(EXTRA_TEXTS) do assert.is_true(C.nf_l7_has(column), column) end
    for _, column in ipairs { "risk_mask", "risk_score", "dns_query_type", "dns_response_code" } do
      assert.is_true(C.nf_l7_has(column), column)
    end
    for _, column in ipairs { "ja4", "", "tls", "risk_names " } do assert.is_false(C.nf_l7_has(column), column) end
  end)
end)
