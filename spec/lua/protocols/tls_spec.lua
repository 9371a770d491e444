-- lua/nfengine/protocols/tls.lua: hellos read from bytes, and found in flows whatever carries them and however it is
-- cut.

local hello = require "spec.support.hello"
local meter = require "spec.support.meter"
local nf = require "nfengine"
local quic = require "spec.support.quic"
local random = require "spec.support.random"
local talk = require "spec.support.talk"
local testing = require "nfengine.testing"
local tls = require "nfengine.protocols.tls"

local P = testing.packet

describe("tls.client_hello", function()
  it("reads what a hello offers, in its order", function()
    local read = tls.client_hello(hello.message {
      version = 0x0302, session = ("s"):rep(32), ciphers = { 0x1302, 0x0a0a, 0x1301 },
      extensions = {
        { 0x1a1a, "" }, hello.alpn("h2", "http/1.1"), hello.server_name "www.example.org",
        hello.versions { 0x0304, 0x0303 }, hello.algorithms { 0x0403, 0x0804 }, { 0xffff, "xyz" },
      },
    })
    assert.are.same({
      version = 0x0302, ciphers = { 0x1302, 0x0a0a, 0x1301 }, extensions = { 0x1a1a, 16, 0, 43, 13, 0xffff },
      alpn = { "h2", "http/1.1" }, server_name = "www.example.org", versions = { 0x0304, 0x0303 },
      signature_algorithms = { 0x0403, 0x0804 }, signature_algorithm_bytes = "\4\3\8\4",
      cipher_bytes = "\x13\x02\x0a\x0a\x13\x01",
    }, read)
  end)

  it("reads a hello without extensions, and one with none", function()
    local expected = { version = 0x0301, ciphers = { 5 }, cipher_bytes = "\0\5", extensions = {} }
    assert.are.same(expected, tls.client_hello(hello.message { version = 0x0301, ciphers = { 5 }, extensions = false }))
    assert.are.same(expected, tls.client_hello(hello.message { version = 0x0301, ciphers = { 5 }, extensions = {} }))
  end)

  it("reads DTLS' cookie", function()
    local message = hello.message { cookie = ("c"):rep(20), ciphers = { 5, 6 } }
    assert.are.same({ 5, 6 }, tls.client_hello(message, true).ciphers)
    assert.is_nil(tls.client_hello(message))
  end)

  it("takes the first of two extensions of one kind", function()
    local read = tls.client_hello(hello.message { extensions = { hello.server_name "one", hello.server_name "two" } })
    assert.are.same({ 0, 0 }, read.extensions)
    assert.are.equal("one", read.server_name)
  end)

  it("takes an extension with a wrong body for one without", function()
    local read = tls.client_hello(hello.message {
      extensions = { { 0, "\0\5\0\0\9ab" }, { 13, "\0\8\4\3" }, { 16, "\0\6\2h2\9x" }, { 43, "" } },
    })
    assert.are.same({ 0, 13, 16, 43 }, read.extensions)
    assert.are.same({ nil, {}, {}, {} }, { read.server_name, read.signature_algorithms, read.alpn, read.versions })
    local numbered = tls.client_hello(hello.message { extensions = { { 0, "\0\6\1\0\3abc" } } })
    assert.are.same({ 0 }, numbered.extensions)
    assert.is_nil(numbered.server_name)
    assert.are.same({ "h2" }, tls.client_hello(hello.message { extensions = { { 16, "\0\5\2h2\9x" } } }).alpn)
  end)

  it("reads nothing from a hello that was cut, or is another message", function()
    local message = hello.message { session = "s", extensions = { hello.server_name "example.org", { 9, "abc" } } }
    assert.is_table(tls.client_hello(message))
    for size = 0, #message - 1 do
      assert.is_nil(tls.client_hello(message:sub(1, size)))
      -- The same, with a length that says so.
      local body = message:sub(5, size)
      local cut = tls.client_hello("\1" .. P.u32(#body):sub(2) .. body)
      assert.is_true(cut == nil or #cut.extensions == 0)
    end
    assert.is_nil(tls.client_hello("\2" .. message:sub(2)))
  end)

  it("survives any bytes", function()
    random.trial(function(below)
      local message = hello.message {
        session = "s", extensions = { hello.server_name "example.org", hello.alpn("h2", "h3"), hello.versions { 772 } },
      }
      for _ = 1, 300 do
        local at = 1 + below(#message)
        local text = message:sub(1, at - 1) .. string.char(below(256)) .. message:sub(at + 1)
        tls.client_hello(text, below(2) == 1)
      end
    end)
  end)
end)

describe("tls.server_hello", function()
  it("reads what a server has chosen", function()
    assert.are.same({
      version = 0x0304, session = ("s"):rep(32), cipher = 0x1302, extensions = { 43, 51, 16 }, alpn = "h2",
      is_retry = false,
    }, tls.server_hello(hello.server {
      session = ("s"):rep(32), cipher = 0x1302,
      extensions = { hello.version(0x0304), { 51, "key" }, hello.alpn("h2", "no") },
    }))
    local older = tls.server_hello(hello.server { version = 0x0301, cipher = 5, extensions = false })
    assert.are.same({ version = 0x0301, session = "", cipher = 5, extensions = {}, is_retry = false }, older)
  end)

  it("tells one that asks for another client hello", function()
    assert.is_true(tls.server_hello(hello.server { random = hello.RETRY }).is_retry)
    assert.is_false(tls.server_hello(hello.server { random = hello.RETRY:sub(1, -2) .. "x" }).is_retry)
  end)

  it("takes an extension with a wrong body for one without", function()
    local read = tls.server_hello(hello.server { extensions = { { 43, "x" }, { 16, "\0\9\2h2" } } })
    assert.are.same({ 0x0303, nil, { 43, 16 } }, { read.version, read.alpn, read.extensions })
  end)

  it("reads nothing from one that was cut, or is another message", function()
    local message = hello.server { session = "s", extensions = { hello.version(0x0304), { 9, "abc" } } }
    for size = 0, #message - 1 do
      assert.is_nil(tls.server_hello(message:sub(1, size)))
      local body = message:sub(5, size)
      local cut = tls.server_hello(hello.handshake(2, body))
      assert.is_true(cut == nil or #cut.extensions == 0)
    end
    assert.is_nil(tls.server_hello("\1" .. message:sub(2)))
  end)

  it("survives any bytes", function()
    random.trial(function(below)
      local message = hello.server { session = "s", extensions = { hello.version(772), hello.alpn "h3" } }
      for _ = 1, 300 do
        local at = 1 + below(#message)
        tls.server_hello(message:sub(1, at - 1) .. string.char(below(256)) .. message:sub(at + 1))
      end
    end)
  end)
end)

describe("tls.is_grease", function()
  it("tells the sixteen reserved values from others", function()
    local count = 0
    for value = 0, 65535 do count = count + (tls.is_grease(value) and 1 or 0) end
    assert.are.equal(16, count)
    assert.is_true(tls.is_grease(0x0a0a) and tls.is_grease(0xfafa) and tls.is_grease(0x5a5a))
    assert.is_false(tls.is_grease(0x0a1a) or tls.is_grease(0x1301) or tls.is_grease(0xaa0a))
  end)
end)

-- ---- finding ----

local displaced -- by the last run's finder

-- What a finder finds in each flow, by its end: "CARRIER NAME", "" for nothing.
local function found(packets, options)
  local Find = nf.plugin {
    name = "find",
    columns = { { "find_name", "string", "" } },
    state = { { "find_hello", "double" } },
    options = { packets = { 16, "" }, streams = { 256, "" } },
    setup = function(self)
      self.hellos = tls.finder {
        packets = self.packets, streams = self.streams,
        read = function(it) return it.carrier .. " " .. (it.server_name or "-") end,
      }
    end,
    on_init = function(self, packet, flow)
      local state, name = self.hellos:look(self.hellos:begin(packet), packet)
      flow.udps.find_hello, flow.udps.find_name = state, name or ""
    end,
    on_update = function(self, packet, flow)
      if flow.udps.find_hello == 0 then return end
      local state, name = self.hellos:look(flow.udps.find_hello, packet)
      flow.udps.find_hello = state
      if name then flow.udps.find_name = name end
    end,
    on_expire = function(self, flow) self.hellos:close(flow.udps.find_hello) end,
    cleanup = function(self) displaced = self.hellos:displaced() end,
  }
  local flows = testing.flows { packets = packets, udps = Find(options or {}), n_meters = 1 }
  return testing.column("udps.find_name", flows)
end

local at = 0

local function ip(is_back) return is_back and P.ipv4 { src = "10.0.0.2", dst = "10.0.0.1" } or P.ipv4 {} end

local client_port = 1000

local function ports(fields)
  if fields.back then return 2000, fields.port or client_port end
  return fields.port or client_port, 2000
end

-- What is found in each of many flows, in one run: make(i) gives the packets of the i-th.
local function found_in_each(count, make)
  local all = {}
  for i = 1, count do
    client_port = 1000 + i
    for _, packet in ipairs(make(i)) do all[#all + 1] = packet end
  end
  client_port = 1000
  return found(all)
end

local function times(count, text)
  local list = {}
  for i = 1, count do list[i] = text end
  return list
end

local function segment(seq, payload, fields)
  fields, at = fields or {}, at + 1
  local from, to = ports(fields)
  local tcp = P.tcp { src_port = from, dst_port = to, seq = seq, flags = fields.flags or "A" }
  return testing.at(at, P.eth {} .. ip(fields.back) .. tcp .. payload)
end

local function datagram(payload, fields)
  fields, at = fields or {}, at + 1
  local from, to = ports(fields)
  return testing.at(at, P.eth {} .. ip(fields.back) .. P.udp { src_port = from, dst_port = to } .. payload)
end

local SYN, SYN_ACK = { flags = "S" }, { flags = "SA", back = true }
local BACK = { back = true }

local function named(name, fill)
  return hello.message { extensions = { { 21, ("\0"):rep(fill or 0) }, hello.server_name(name) } }
end

local function whole(name) return hello.records(named(name or "example.org")) end

-- Segments of `size` bytes that carry this text from `seq` on.
local function segments(seq, text, size, fields)
  local list = {}
  for from = 1, #text, size do list[#list + 1] = segment(seq + from - 1, text:sub(from, from + size - 1), fields) end
  return list
end

describe("a finder, in TCP,", function()
  after_each(testing.cleanup)

  it("finds a hello in one segment, with or without a handshake before it", function()
    assert.are.same({ "tcp example.org" }, found { segment(1, whole()) })
    assert.are.same({ "tcp example.org" },
      found { segment(9, "", SYN), segment(70, "", SYN_ACK), segment(10, ""), segment(10, whole()) })
  end)

  it("finds one in the SYN, and one in answers' direction", function()
    assert.are.same({ "tcp example.org" }, found { segment(9, whole(), SYN) })
    assert.are.same({ "tcp example.org" }, found { segment(9, "", SYN_ACK), segment(70, whole(), { port = 1000 }) })
    assert.are.same({ "tcp example.org" }, found { segment(1, "", SYN_ACK), segment(70, whole()) })
    assert.are.same({ "tcp example.org" }, found { segment(5, "late server data"), segment(70, whole(), BACK) })
  end)

  it("finds one among what the other side sends", function()
    local text = whole()
    assert.are.same({ "tcp example.org" }, found {
      segment(9, "", SYN), segment(10, text:sub(1, -5)), segment(10 + #text - 4, "xxxx", BACK),
      segment(10 + #text - 4, text:sub(-4)),
    })
    -- A server of which the capture saw the SYN-ACK first is not the one who began.
    assert.are.same({ "tcp example.org" },
      found { segment(70, "", SYN_ACK), segment(75, "later data", BACK), segment(10, text) })
  end)

  it("finds one that is cut anywhere", function()
    local text = whole()
    assert.are.same(times(#text - 1, "tcp example.org"), found_in_each(#text - 1, function(size)
      return { segment(5, text:sub(1, size)), segment(5 + size, text:sub(size + 1)) }
    end))
    assert.are.same({ "tcp example.org" }, found(segments(5, text, 1)))
  end)

  it("finds one whose segments come in any order, twice and overlapping", function()
    random.trial(function(below)
      local text = whole()
      local list = meter.joined({ segment(9, "", SYN), segment(70, "", SYN_ACK) }, segments(10, text, 20),
        segments(10, text, 33), segments(10, text:sub(1, 40), 7))
      assert.are.same({ "tcp example.org" }, found(talk.shuffled(list, below, 3, #list)))
    end)
  end)

  it("finds one across the wrap of sequence numbers", function()
    local text = whole()
    for ahead = 0, #text + 2, 5 do
      local seq = 2 ^ 32 - ahead
      local list = segments(seq, text, 10)
      list[3], list[2] = list[2], list[3]
      assert.are.same({ "tcp example.org" }, found(meter.joined({ segment(seq - 1, "", SYN) }, list)))
    end
  end)

  it("finds one in several records, cut into segments or not", function()
    local message = named "example.org"
    local expected = {}
    for size = 1, #message do expected[size] = math.ceil(#message / size) <= 8 and "tcp example.org" or "" end
    for _, cut in ipairs { 11, 100000 } do
      assert.are.same(expected, found_in_each(#message, function(size)
        return segments(1, hello.records(message, size), cut)
      end))
    end
  end)

  it("finds one with more behind it in its record and in its segment", function()
    local message = named "example.org"
    assert.are.same({ "tcp example.org" },
      found { segment(1, hello.record(message .. "\2\0\0\1x") .. "\20\3\3\0\1\1") })
    local text = hello.record(message .. ("\2"):rep(200))
    assert.are.same({ "tcp example.org" }, found { segment(1, text:sub(1, #message + 5)) })
    assert.are.same({ "tcp example.org" },
      found { segment(1, text:sub(1, 30)), segment(31, text:sub(31, #message + 5)) })
  end)

  it("finds a hello as long as a record", function()
    local rest = #named("", 0)
    local longest = named("", 16384 - rest)
    assert.are.equal(16384, #longest)
    assert.are.same({ "tcp " }, found(segments(1, hello.records(longest), 1400)))
    assert.are.same({ "tcp " }, found(segments(1, hello.records(longest, 2048), 1400)))
    assert.are.same({ "" }, found(segments(1, hello.records(named("", 16385 - rest), 4096), 1400)))
  end)

  it("finds one behind another protocol", function()
    assert.are.same({ "tcp example.org" }, found {
      segment(9, "", SYN), segment(70, "", SYN_ACK), segment(71, "220 mail\r\n", BACK), segment(10, "STARTTLS\r\n"),
      segment(81, "220 go\r\n", BACK), segment(20, whole()),
    })
    local text = whole()
    assert.are.same({ "tcp example.org" }, found {
      segment(9, "", SYN), segment(10, "CONNECT a:443\r\n\r\n"), segment(27 + 20, text:sub(21)),
      segment(27, text:sub(1, 20)), segment(47, text:sub(21)),
    })
  end)

  it("looks at so many packets with payload, and no more", function()
    local function behind(count)
      local packets = {}
      for i = 1, count do
        packets[#packets + 1] = segment(i * 2, "xy")
        packets[#packets + 1] = segment(i, "", BACK)
      end
      packets[#packets + 1] = segment(1000, whole())
      return packets
    end
    assert.are.same({ "tcp example.org" }, found(behind(15)))
    assert.are.same({ "" }, found(behind(16)))
    assert.are.same({ "tcp example.org" }, found(behind(0), { packets = 1 }))
    assert.are.same({ "" }, found(behind(1), { packets = 1 }))
    assert.are.same({ "tcp example.org" }, found(behind(254), { packets = 255 }))
  end)

  it("counts a flow's first hello", function()
    assert.are.same({ "tcp one" }, found { segment(1, whole "one"), segment(500, whole "two") })
  end)

  it("does not find what is none", function()
    local message, record = named "example.org", whole()
    local texts = {
      "GET / HTTP/1.1\r\n\r\n", "\22", "\22\3", "\22\4" .. record:sub(3), "\22\3\5" .. record:sub(4),
      "\22\3\1\0\0" .. record, "\22\3\1\64\1" .. message, "\22\3\3\0\4\14\0\0\0",
      "\23" .. record:sub(2), "\128\46\1\0\2",
      hello.record("\1\0\0\0"), hello.record("\2" .. message:sub(2)), hello.record "\1\0\0\5hello",
      hello.record(message:sub(1, 30)) .. "\23\3\3\0\1x",
      hello.record(message:sub(1, 30)) .. "\22\3\3\0\0" .. hello.record(message:sub(31)),
    }
    for _, cut in ipairs { 3, 100000 } do
      local made = found_in_each(#texts, function(i) return segments(1, texts[i], cut) end)
      assert.are.same(times(#texts, ""), made)
    end
  end)

  it("does not find one that was not captured whole", function()
    local text = whole()
    local packet = segment(1, text)
    packet.size, packet.bytes = #packet.bytes, packet.bytes:sub(1, -2)
    assert.are.same({ "" }, found { packet, segment(1 + #text, "more") })
    for missing = 1, 4 do
      local list = segments(10, text, 20)
      table.remove(list, missing)
      assert.are.same({ "" }, found(meter.joined({ segment(9, "", SYN) }, list)))
    end
  end)

  it("ignores probes whether the connection is alive", function()
    local text = whole()
    assert.are.same({ "tcp example.org" },
      found { segment(9, "", SYN), segment(9, "\0"), segment(10 + 30, text:sub(31)), segment(10, text:sub(1, 30)) })
  end)

  it("gives up the oldest of too many begun, and counts it", function()
    local text, packets = whole(), {}
    for port = 1, 4 do packets[#packets + 1] = segment(1, text:sub(1, 20), { port = port }) end
    for port = 1, 4 do packets[#packets + 1] = segment(21, text:sub(21), { port = port }) end
    assert.are.same({ "", "tcp example.org", "tcp example.org", "tcp example.org" }, found(packets, { streams = 3 }))
    assert.are.equal(1, displaced)
    found(packets, { streams = 4 })
    assert.are.equal(0, displaced)
  end)

  it("needs no place for flows whose hello comes whole, or that have ended", function()
    local text, packets = whole(), {}
    for port = 1, 20 do packets[#packets + 1] = segment(1, text, { port = port }) end
    for port = 21, 40 do
      packets[#packets + 1] = segment(1, text:sub(1, 20), { port = port })
      packets[#packets + 1] = segment(21, text:sub(21), { port = port })
    end
    for _, name in ipairs(found(packets, { streams = 1 })) do assert.are.equal("tcp example.org", name) end
    assert.are.equal(0, displaced)
    packets = {}
    for port = 1, 4 do
      packets[#packets + 1] = segment(1, text:sub(1, 20), { port = port })
      at = at + 130000 -- ms: longer than flows wait for packets
      packets[#packets + 1] = datagram "the clock goes on"
    end
    assert.are.same(times(8, ""), found(packets, { streams = 1 }))
    assert.are.equal(0, displaced)
  end)
end)

describe("a finder, in QUIC,", function()
  after_each(testing.cleanup)

  local ID = "clientID"
  local function initial(frames, fields)
    local made = { dcid = ID, frames = frames }
    for name, value in pairs(fields or {}) do made[name] = value end
    return quic.initial(made)
  end

  it("finds a hello in one packet, of any version, in either direction", function()
    local frames = quic.crypto(0, named "example.org")
    for _, version in ipairs { 1, quic.VERSION_2, 0xff00001d } do
      assert.are.same({ "quic example.org" }, found { datagram(initial(frames, { version = version })) })
    end
    assert.are.same({ "quic example.org" }, found { datagram("late answer"), datagram(initial(frames), BACK) })
  end)

  it("finds one in many frames and packets that come in any order", function()
    random.trial(function(below)
      local message, packets = named("example.org", 3000), {}
      for from = 1, #message, 500 do
        local text, number = message:sub(from, from + 499), #packets
        local frames = "\0\1" .. quic.crypto(from - 1 + 200, text:sub(201)) .. "\0\0"
          .. quic.crypto(from - 1, text:sub(1, 200))
        packets[#packets + 1] = datagram(initial(frames, { number = number }))
      end
      assert.are.same({ "quic example.org" }, found(talk.shuffled(packets, below, 1, #packets)))
    end)
  end)

  it("finds one in two packets of a datagram", function()
    local message = named "example.org"
    local first, second = quic.crypto(0, message:sub(1, 50)), quic.crypto(50, message:sub(51))
    assert.are.same({ "quic example.org" },
      found { datagram(initial(second, { size = 300 }) .. initial(first, { number = 1, size = 300 })) })
  end)

  it("finds one whose second part goes to the ID that the server chose", function()
    local message = named "example.org"
    local first = initial(quic.crypto(0, message:sub(1, 50)))
    local second = initial(quic.crypto(50, message:sub(51)), { dcid = "srv", keys_of = ID, number = 1 })
    local answer = initial(quic.crypto(0, "\2\0\0\1x"), { dcid = "", keys_of = "other ID" })
    assert.are.same({ "quic example.org" }, found { datagram(first), datagram(answer, BACK), datagram(second) })
    assert.are.same({ "" }, found { datagram(second), datagram(answer, BACK) })
  end)

  it("finds a hello of 16,384 bytes, but no longer one", function()
    local rest = #named("", 0)
    local function sent(size)
      local message, packets = named("", size - rest), {}
      for from = 1, #message, 1100 do
        packets[#packets + 1] = datagram(initial(quic.crypto(from - 1, message:sub(from, from + 1099))))
      end
      return found(packets)
    end
    assert.are.same({ "quic " }, sent(16384))
    assert.are.same({ "" }, sent(16385))
  end)

  it("keeps the IDs of flows apart", function()
    local frames = quic.crypto(0, named "example.org")
    assert.are.same({ "quic example.org", "" }, found {
      datagram(initial(frames), { port = 1 }), datagram(initial(frames, { dcid = "srv", keys_of = ID }), { port = 2 }),
    })
  end)

  it("finds one behind other datagrams of its flow", function()
    local packets = {}
    for _ = 1, 15 do packets[#packets + 1] = datagram "\0\1\0\0 a STUN message" end
    packets[16] = datagram(initial(quic.crypto(0, named "example.org")))
    assert.are.same({ "quic example.org" }, found(packets))
    table.insert(packets, 1, datagram "one more")
    assert.are.same({ "" }, found(packets))
  end)

  it("does not find what is none", function()
    local message = named "example.org"
    for _, frames in ipairs {
      "\1", quic.crypto(0, message:sub(1, 60)), quic.crypto(1, message), quic.crypto(0, "\2" .. message:sub(2)),
      quic.crypto(0, "\1\64\0\0" .. message:sub(5)), quic.crypto(0, "\1\0\0\5hello"), quic.crypto(0, "\1"),
    } do
      assert.are.same({ "" }, found { datagram(initial(frames)) })
    end
    local sealed = initial(quic.crypto(0, message))
    assert.are.same({ "" }, found { datagram(sealed:sub(1, -2)) })
    assert.are.same({ "" }, found { datagram(sealed:sub(1, 40) .. "x" .. sealed:sub(42)) })
  end)
end)

describe("a finder, in DTLS,", function()
  after_each(testing.cleanup)

  local function dtls_message(name, cookie)
    return hello.message { cookie = cookie or "", version = 0xfefd, extensions = { hello.server_name(name) } }
  end

  it("finds a hello in one record, and one behind other datagrams", function()
    assert.are.same({ "dtls example.org" }, found { datagram(hello.dtls(dtls_message "example.org")) })
    assert.are.same({ "dtls example.org" },
      found { datagram "\0\1\0\0 STUN", datagram(hello.dtls(dtls_message("example.org", "cookie")), BACK) })
  end)

  it("finds one in fragments, in one datagram or several, in any order", function()
    local message = dtls_message "example.org"
    local size = #message - 4
    local parts = { hello.dtls(message, 40, size), hello.dtls(message, 0, 20), hello.dtls(message, 10, 41) }
    assert.are.same({ "dtls example.org" }, found { datagram(table.concat(parts)) })
    assert.are.same({ "dtls example.org" }, found { datagram(parts[1]), datagram(parts[2]), datagram(parts[3]) })
    assert.are.same({ "" }, found { datagram(parts[1]), datagram(parts[3]) })
  end)

  it("finds one among what the other side sends", function()
    local message = dtls_message "example.org"
    assert.are.same({ "dtls example.org" }, found {
      datagram(hello.dtls(message, 0, 20)), datagram(hello.dtls(dtls_message "some.server", 20), BACK),
      datagram(hello.dtls(message, 20)),
    })
  end)

  it("does not mix the hello with a cookie with the one before it", function()
    local one, two = dtls_message "one.example", dtls_message("two.example", "cookie")
    assert.are.same({ "dtls one.example" }, found {
      datagram(hello.dtls(one, 0, 30)), datagram(hello.dtls(two, 0, nil, 1)), datagram(hello.dtls(one, 30)),
    })
  end)

  it("does not find what is none", function()
    local message = dtls_message "example.org"
    local record = hello.dtls(message)
    for _, text in ipairs {
      record:sub(1, -2), "\22\254\253", "\22\254\253" .. ("\0"):rep(10),
      record:sub(1, 3) .. "\0\1" .. record:sub(6),
      "\22\3\3" .. record:sub(4), hello.dtls("\2" .. message:sub(2)), hello.dtls(message, 5, 5), hello.dtls("\1\0\0\0"),
    } do
      assert.are.same({ "" }, found { datagram(text) })
    end
    assert.are.same(times(#record - 1, ""),
      found_in_each(#record - 1, function(size) return { datagram(record:sub(1, size)) } end))
  end)
end)

describe("a finder", function()
  after_each(testing.cleanup)

  it("looks into TCP and UDP alone", function()
    at = at + 1
    local icmp = testing.at(at, P.eth {} .. P.ipv4 {} .. P.icmp {} .. hello.dtls(hello.message { cookie = "" }))
    assert.are.same({ "" }, found { icmp })
  end)

  it("gives the hello itself when it is not told how to read it", function()
    local seen
    local Keep = nf.plugin {
      name = "keep",
      setup = function(self) self.hellos = tls.finder() end,
      on_init = function(self, packet) seen = select(2, self.hellos:look(self.hellos:begin(packet), packet)) end,
    }
    testing.flows { packets = { segment(1, whole()) }, udps = Keep {}, n_meters = 1 }
    assert.are.same({ version = 0x0303, ciphers = { 0x1301 }, cipher_bytes = "\x13\x01", extensions = { 21, 0 },
      server_name = "example.org", carrier = "tcp" }, seen)
  end)

  it("refuses numbers out of bounds", function()
    for name, bad in pairs { packets = { 0, 256, 1.5, "3" }, streams = { 0, 65537 } } do
      for _, value in ipairs(bad) do
        local refusal = testing.refusal(tls.finder, { [name] = value })
        assert.is_truthy(refusal:find("tls.finder: " .. name .. ": expected an integer from 1 to ", 1, true))
      end
    end
  end)
end)
