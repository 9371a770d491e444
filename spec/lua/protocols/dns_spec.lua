-- lua/nfengine/protocols/dns.lua: messages made byte by byte, and queries with their responses.

local dns = require "nfengine.protocols.dns"
local nf = require "nfengine"
local random = require "spec.support.random"
local talk = require "spec.support.talk"
local testing = require "nfengine.testing"
local new_view = require("nfengine.packet").view
local ffi = require "ffi"

local P = testing.packet
local u16 = P.u16

-- "a.b" as labels, to be ended by a zero or a pointer.
local function labels(text)
  return (text:gsub("([^.]+)%.?", function(label) return P.u8(#label) .. label end))
end

local function name(text) return labels(text) .. "\0" end
local function pointer(at) return u16(0xc000 + at) end

local function record(kind, data, owner)
  return (owner or "\0") .. u16(kind) .. u16(1) .. P.u32(60) .. u16(#data) .. data
end

local function question(text, kind, class) return name(text) .. u16(kind or 1) .. u16(class or 1) end

local RESPONSE, NXDOMAIN = 0x8180, 0x8183

-- A message: its number, flags, questions and answers as bytes.
local function message(id, flags, questions, answers)
  return u16(id) .. u16(flags) .. u16(#questions) .. u16(answers and #answers or 0) .. u16(0) .. u16(0)
    .. table.concat(questions) .. table.concat(answers or {})
end

local kept = {}

local function view_of(bytes)
  kept[1] = ffi.new("uint8_t[?]", #bytes + 1, bytes)
  return new_view(kept[1], #bytes)
end

local function read(bytes) return dns.message(view_of(bytes)) end

-- The text of an answer with this data.
local function text_of(kind, data)
  return read(message(1, RESPONSE, { question "x" }, { record(kind, data) })).answers[1].text
end

describe("a name", function()
  local function shown(bytes, at) return dns.name(view_of(bytes), at or 0) end

  it("is shown with dots between its labels, the root as one", function()
    assert.equal("www.example.com", shown(name "www.example.com"))
    assert.equal(".", shown "\0")
  end)

  it("has what is no printable ASCII, blanks, dots and backslashes in its labels so that they show", function()
    assert.equal("a\\.b.c\\\\d.\\000\\009\\032\\127\\255.~!", shown("\3a.b\3c\\d\5\0\9 \127\255\2~!\0"))
    assert.equal("\\027[2J", shown(name "\27[2J"))
  end)

  it("may go on elsewhere, before itself", function()
    local bytes = name "example.com" .. labels "www" .. pointer(0) .. labels "a" .. pointer(13)
    assert.same({ "www.example.com", "a.www.example.com", 19, 23 },
      { shown(bytes, 13), shown(bytes, 19), dns.skip_name(view_of(bytes), 13), dns.skip_name(view_of(bytes), 19) })
  end)

  it("is none where it is cut off, too long, of an unknown kind, or goes on behind itself", function()
    local whole = name "www.example.com"
    for size = 0, #whole - 1 do assert.is_nil(shown(whole:sub(1, size))) end
    local long = (("\63" .. ("x"):rep(63)):rep(3))
    assert.equal(253, #shown(long .. "\61" .. ("x"):rep(61) .. "\0"))
    assert.is_nil(shown(long .. "\62" .. ("x"):rep(62) .. "\0"))
    for _, bytes in ipairs { "\64" .. ("x"):rep(64) .. "\0", "\128\0", pointer(0), "\1a" .. pointer(2),
      "\1a" .. pointer(9), "\1a\192" } do
      assert.is_nil(shown(bytes))
    end
    assert.is_nil(shown(pointer(2) .. pointer(0), 2)) -- round and round
    assert.is_nil(shown(pointer(2) .. name "a"))
  end)

  it("costs no more than its longest, however many pointers there are", function()
    local parts = { "\0" }
    for i = 1, 300 do parts[i + 1] = pointer(i == 1 and 0 or 1 + (i - 2) * 2) end
    local bytes = table.concat(parts)
    assert.equal(".", shown(bytes, 1 + 2 * 100))
    assert.is_nil(shown(bytes, 1 + 2 * 299))
  end)
end)

describe("an answer", function()
  it("is told by its type", function()
    for _, case in ipairs {
      { 1, "\192\0\2\80", "192.0.2.80" },
      { 28, P.ip6 "2001:db8::1", "2001:db8::1" },
      { 2, name "ns.example", "ns.example" },
      { 5, name "www.example", "www.example" },
      { 12, name "host.example", "host.example" },
      { 39, name "d.example", "d.example" },
      { 6, name "ns" .. name "mail" .. P.u32(2 ^ 32 - 1) .. ("\0"):rep(16), "ns mail 4294967295" },
      { 15, u16(10) .. name "mx", "10 mx" },
      { 16, "\5hello\0\3a\"\\", '"hello" "" "a\\"\\\\"' },
      { 99, "\2\1\255", '"\\001\\255"' },
      { 33, u16(1) .. u16(2) .. u16(5060) .. name "sip", "1 2 5060 sip" },
      { 65, u16(1) .. "\0" .. u16(1) .. u16(6) .. "\2h2\2h3" .. u16(3) .. u16(2) .. u16(8443) .. u16(4) .. u16(8)
        .. "\1\2\3\4\5\6\7\8" .. u16(6) .. u16(16) .. P.ip6 "::1" .. u16(5) .. u16(3) .. "ech",
        "1 . alpn=h2,h3 port=8443 ipv4hint=1.2.3.4,5.6.7.8 ipv6hint=::1 key5" },
      { 64, u16(0) .. name "svc", "0 svc" },
      { 48, ("k"):rep(70), "(70 bytes)" },
    } do
      assert.equal(case[3], text_of(case[1], case[2]))
    end
  end)

  it("says where it is malformed", function()
    for _, case in ipairs {
      { 1, "abc" }, { 1, "abcde" }, { 28, "abcd" }, { 5, "\5abc" }, { 15, "\0" }, { 15, "\0\1\5a" }, { 16, "\5abc" },
      { 33, "\0\0\0" }, { 6, "\1a\0\1b\0\0\0" }, { 6, "\1a\0" }, { 65, "\0\1\0\0\1\0\9h2" }, { 65, "" },
      { 65, "\0\1\0\0" },
    } do
      assert.equal("(malformed)", text_of(case[1], case[2]), case[1] .. " " .. case[2])
    end
    assert.equal("1 . key1 key3", text_of(65, u16(1) .. "\0" .. u16(1) .. u16(2) .. "\9h" .. u16(3) .. u16(1) .. "x"))
  end)

  it("is cut where it is long", function()
    assert.equal('"' .. ("x"):rep(100) .. '..." ...', text_of(16, ("\200" .. ("x"):rep(200)):rep(3)))
    assert.equal('"' .. ("x"):rep(60) .. '" "' .. ("x"):rep(60) .. '"', text_of(16, ("\60" .. ("x"):rep(60)):rep(2)))
    local keys = {}
    for i = 1, 100 do keys[i] = u16(1000 + i) .. u16(0) end
    assert.is_true(#text_of(65, u16(1) .. "\0" .. table.concat(keys)) < 120)
  end)
end)

describe("a message", function()
  it("is read with its questions and answers", function()
    local www = question("www.example.com", 1)
    local m = read(message(4660, NXDOMAIN, { www, question("a", 4000, 3) }, {
      record(5, name "b", pointer(12)), record(1, "\1\2\3\4", name "b"),
    }))
    assert.same({
      id = 4660, is_response = true, is_truncated = false, opcode = "QUERY", rcode = "NXDOMAIN", more_answers = 0,
      questions = {
        { name = "www.example.com", type = "A", class = "IN" }, { name = "a", type = "TYPE4000", class = "CH" },
      },
      answers = {
        { name = "www.example.com", type = "CNAME", text = "b" }, { name = "b", type = "A", text = "1.2.3.4" },
      },
    }, m)
  end)

  it("has names for what its flags say", function()
    local m = read(message(1, 0x2a00 + 15, {}))
    assert.same({ "UPDATE", "RCODE15", true, false }, { m.opcode, m.rcode, m.is_truncated, m.is_response })
    assert.equal("OPCODE3", read(message(1, 0x1800, {})).opcode)
    assert.equal("CLASS77", read(message(1, 0, { question("a", 1, 77) })).questions[1].class)
    assert.equal("IN", read(message(1, 0, { question("a", 1, 0x8001) })).questions[1].class) -- multicast DNS
  end)

  it("is none where it is too short, of no known kind, or without its first question", function()
    local whole = message(1, 0, { question "example.com" })
    for size = 0, #whole - 1 do assert.is_nil(read(whole:sub(1, size))) end
    assert.is_nil(read(message(1, 0x3800, {})))
    assert.is_nil(read(message(1, 0, { "\5abc" })))
  end)

  it("has as many answers as were not cut off, 30 at most", function()
    local answers = {}
    for i = 1, 40 do answers[i] = record(1, "\1\2\3" .. string.char(i)) end
    local m = read(message(1, RESPONSE, { question "a" }, answers))
    assert.same({ 30, 10, "1.2.3.30" }, { #m.answers, m.more_answers, m.answers[30].text })
    local two = message(1, RESPONSE, { question "a" }, { answers[1], answers[2] })
    for missing = 1, #answers[2] do
      m = read(two:sub(1, -1 - missing))
      assert.same({ 1, 1 }, { #m.answers, m.more_answers })
    end
    local many = {}
    for i = 1, 31 do many[i] = question "a" end
    m = read(message(1, RESPONSE, many, answers))
    assert.same({ 30, 0, 40 }, { #m.questions, #m.answers, m.more_answers })
  end)

  it("may be any bytes", function()
    random.trial(function(below)
      local whole = message(1, RESPONSE, { question "www.example.com" }, {
        record(5, labels "a" .. pointer(12), pointer(12)), record(16, "\5hello"),
        record(65, u16(1) .. "\0" .. u16(1) .. u16(3) .. "\2h2"), record(28, ("a"):rep(16)),
        record(6, name "a" .. pointer(12) .. ("\0"):rep(20)),
      })
      for _ = 1, 500 do
        local bytes = whole
        for _ = 1, 1 + below(4) do
          local at = 3 + below(#bytes - 2)
          bytes = bytes:sub(1, at - 1) .. string.char(below(256)) .. bytes:sub(at + 1)
        end
        local m = read(bytes:sub(1, #bytes - below(3) * below(20)))
        for _, answer in ipairs(m and m.answers or {}) do
          assert.is_nil((answer.name .. answer.text):find "[^\32-\126]")
        end
      end
    end)
  end)
end)

-- ---- lookups ----

local followed -- by the last run

local function lookups_of(packets, options, parameters)
  local list = {}
  local function look(self, packet, flow)
    flow.udps.look_dns = self.lookups:look(flow.udps.look_dns, packet, flow)
  end
  local Look = nf.plugin {
    name = "look",
    state = { { "look_dns", "double" } },
    setup = function(self)
      self.lookups = dns.follower(function(lookup) list[#list + 1] = lookup end, options)
      followed = self.lookups
    end,
    on_init = look,
    on_update = look,
    on_expire = function(self, flow) self.lookups:close(flow.udps.look_dns, flow) end,
  }
  local given = { packets = packets, udps = Look {}, n_meters = 1 }
  for key, value in pairs(parameters or {}) do given[key] = value end
  testing.flows(given)
  assert(next(followed.known) == nil, "a flow is left")
  return list
end

-- "ID NAME TYPE RCODE QUERIES ANSWER,ANSWER", "-" for what is not known.
local function lines_of(packets, options, parameters)
  local lines = {}
  for i, lookup in ipairs(lookups_of(packets, options, parameters)) do
    local texts = {}
    for n, each in ipairs(lookup.answers or {}) do texts[n] = each.text end
    lines[i] = ("%d %s %s %s %d %s"):format(lookup.id, lookup.name or "-", lookup.type or "-", lookup.rcode or "-",
      lookup.queries, lookup.answers and table.concat(texts, ",") or "-")
  end
  return lines
end

local at = 0

local function datagram(bytes, fields)
  fields = fields or {}
  at = at + 1
  local there, back = fields.port or 40000, fields.to or 53
  local ip = fields.back and P.ipv4 { src = "10.0.0.2", dst = "10.0.0.1" } or P.ipv4 {}
  if fields.back then there, back = back, there end
  return testing.at(fields.at or at, P.eth {} .. ip .. P.udp { src_port = there, dst_port = back } .. bytes)
end

local BACK = { back = true }

local function query(id, text, kind) return message(id, 0x0100, { question(text, kind) }) end

local function answer(id, text, ...)
  local answers = {}
  for i, last in ipairs { ... } do answers[i] = record(1, "\10\0\0" .. string.char(last), pointer(12)) end
  return message(id, RESPONSE, { question(text) }, answers)
end

describe("lookups", function()
  after_each(testing.cleanup)

  it("are told with all that is known of them", function()
    local told = lookups_of {
      datagram(query(7, "A.example"), { at = 5 }), datagram(answer(7, "a.EXAMPLE", 1, 2), { at = 25, back = true }),
    }
    local it, epoch = told[1], testing.EPOCH_S * 1e6
    assert.equal(1, #told)
    assert.same({ 7, "A.example", "A", "IN", "QUERY", 1 }, { it.id, it.name, it.type, it.class, it.opcode, it.queries })
    assert.same({ 5000, 25000, 0 }, { it.time - epoch, it.answered - epoch, it.client })
    assert.same({ "NOERROR", false, 0, "10.0.0.1", "10.0.0.2" },
      { it.rcode, it.is_truncated, it.more_answers, it.answers[1].text, it.answers[2].text })
  end)

  it("are told in the order of their responses, the others at the flow's end in their own", function()
    assert.same({ "2 b A NOERROR 1 10.0.0.2", "1 a A NOERROR 1 10.0.0.1", "3 c A - 1 -", "1 d A - 1 -" }, lines_of {
      datagram(query(1, "a")), datagram(query(2, "b")), datagram(query(3, "c")), datagram(query(1, "d")),
      datagram(answer(2, "b", 2), BACK), datagram(answer(1, "a", 1), BACK),
    })
  end)

  it("count a query that is sent again, and take a response to each of them", function()
    local first, second = query(1, "a"), answer(1, "a", 1)
    local packets = { datagram(first, { at = 1 }), datagram(first, { at = 500 }),
      datagram(second, { back = true, at = 600 }) }
    local told = lookups_of(packets)
    assert.same({ 1, 2, 1000, 600000 }, { #told, told[1].queries, told[1].time % 1e6, told[1].answered % 1e6 })
    packets[4] = datagram(second, { back = true, at = 700 })
    assert.same({ "1 a A NOERROR 2 10.0.0.1" }, lines_of(packets))
    packets[5] = datagram(second, { back = true, at = 800 })
    assert.same({ "1 a A NOERROR 2 10.0.0.1", "1 a A NOERROR 0 10.0.0.1" }, lines_of(packets))
    packets[4] = datagram(first, { at = 700 })
    assert.same({ "1 a A NOERROR 2 10.0.0.1", "1 a A NOERROR 1 10.0.0.1" }, lines_of(packets))
  end)

  it("are none of another question's responses", function()
    assert.same({ "1 b A NOERROR 0 10.0.0.9", "2 a A NOERROR 0 10.0.0.9", "1 a A NOERROR 1 10.0.0.1" }, lines_of {
      datagram(query(1, "a")), datagram(answer(1, "b", 9), BACK), datagram(answer(2, "a", 9), BACK),
      datagram(answer(1, "a", 1), BACK),
    })
  end)

  it("take a response without a question for the oldest of its number", function()
    local failed = message(1, 0x8001, {})
    assert.same({ "1 a A FORMERR 1 ", "1 b A FORMERR 1 ", "1 - - FORMERR 0 ", "2 c A NOERROR 1 " }, lines_of {
      datagram(query(1, "a")), datagram(query(1, "b")), datagram(query(2, "c")), datagram(failed, BACK),
      datagram(failed, BACK), datagram(failed, BACK), datagram(message(2, 0x8000, { question "c" }), BACK),
    })
  end)

  it("that have had their response give way to those that have not", function()
    local failed = message(1, 0x8001, {})
    assert.same({ "1 a A NOERROR 2 10.0.0.1", "1 b A FORMERR 1 " }, lines_of {
      datagram(query(1, "a")), datagram(query(1, "a")), datagram(answer(1, "a", 1), BACK), datagram(query(1, "b")),
      datagram(failed, BACK),
    })
  end)

  it("have their client where the query comes from", function()
    local told = lookups_of { datagram(answer(1, "a", 1), BACK), datagram(query(2, "b")) }
    assert.same({ 1, 1 }, { told[1].client, told[2].client }) -- the flow begins with a response
  end)

  it("are told when more than 1000 of a flow wait", function()
    local packets = {}
    for i = 1, 1001 do packets[i] = datagram(query(i, "a")) end
    packets[1002] = datagram(answer(2, "a", 1), BACK)
    local lines = lines_of(packets)
    assert.same({ 1001, "1 a A - 1 -", "2 a A NOERROR 1 10.0.0.1", "3 a A - 1 -" }, { #lines, unpack(lines, 1, 3) })
  end)

  it("are looked for on the ports that are given", function()
    local packets = { datagram(query(1, "a"), { to = 5300 }), datagram(query(2, "b"), { port = 53, to = 9 }) }
    assert.same({ "2 b A - 1 -" }, lines_of(packets))
    assert.same({ "1 a A - 1 -", "2 b A - 1 -" }, lines_of(packets, { ports = { 53, 5300 } }))
    assert.same({}, lines_of(packets, { ports = {} }))
  end)

  it("count what is no message", function()
    assert.same({ "1 a A - 1 -" },
      lines_of { datagram "short", datagram(query(1, "a")), datagram(("\255"):rep(50)), datagram "" })
    assert.same({ unread = 2, displaced = 0, gapped = 0 }, followed:counts())
  end)

  it("are of messages of their own with multicast", function()
    local both = message(0, 0, { question("a.local", 255), question("b.local", 12) })
    local announced = message(0, 0x8400, {}, { record(1, "\10\0\0\1", name "a.local") })
    local packets = { datagram(both, { port = 5353, to = 5353 }), datagram(announced, { port = 5353, to = 5353 }),
      datagram(both, { port = 5353, to = 5353 }) }
    local expected = { "0 a.local ANY - 1 -", "0 b.local PTR - 1 -", "0 - - NOERROR 0 10.0.0.1" }
    expected[4], expected[5] = expected[1], expected[2]
    assert.same(expected, lines_of(packets, { multicast = { 5353 } }))
    local told = lookups_of(packets, { multicast = { 5353 } })
    assert.same({ 0, 1 }, { told[1].client, told[3].client })
    assert.same({}, lines_of(packets))
  end)

  describe("over TCP", function()
    local function framed(bytes) return u16(#bytes) .. bytes end

    local function begun()
      local t = talk.new { server_port = 53 }
      t:open()
      return t
    end

    local expected = { "1 a A NOERROR 1 10.0.0.1", "2 b A NOERROR 1 10.0.0.2,10.0.0.3" }
    local queries, answers = framed(query(1, "a")) .. framed(query(2, "b")),
      framed(answer(1, "a", 1)) .. framed(answer(2, "b", 2, 3))

    it("may be cut anywhere, several in a connection", function()
      for size = 1, #answers do
        local t = begun()
        t:client(queries, { size = size })
        t:server(answers, { size = size })
        assert.same(expected, lines_of(t.packets))
      end
    end)

    it("may come in any order of segments, and twice", function()
      random.trial(function(below)
        local t = begun()
        t:client(queries, { size = 9 })
        local client_end = #t.packets
        for i = 4, client_end do t.packets[#t.packets + 1] = t.packets[i] end
        local packets = talk.shuffled(t.packets, below, 4, #t.packets)
        t.packets = packets
        local first = #packets + 1
        t:server(answers, { size = 15 })
        assert.same(expected, lines_of(talk.shuffled(t.packets, below, first, #t.packets)))
      end)
    end)

    it("are found in a connection whose beginning was not captured", function()
      local t = begun()
      t:client "half of a message"
      t:client(framed(query(1, "a")))
      t:server(framed(answer(1, "a", 1)))
      assert.same({ "1 a A NOERROR 1 10.0.0.1" }, lines_of { unpack(t.packets, 5) })
      assert.same({ "1 a A NOERROR 1 10.0.0.1" }, lines_of { unpack(t.packets, 4) })
    end)

    it("may be longer than what is looked at", function()
      local many = {}
      for i = 1, 200 do many[i] = record(16, "\255" .. ("x"):rep(255)) end
      local t = begun()
      t:client(queries)
      t:server(framed(message(1, RESPONSE, { question "a" }, many)))
      t:server(framed(answer(2, "b", 2)))
      local told = lookups_of(t.packets)
      assert.same({ 2, 30, 170, "10.0.0.2" },
        { #told, #told[1].answers, told[1].more_answers, told[2].answers[1].text })
    end)

    it("take a zone for one response", function()
      local t = begun()
      t:client(framed(query(1, "zone", 252)))
      local soa = record(6, name "ns" .. name "mail" .. ("\0\0\0\1"):rep(5))
      t:server(framed(message(1, RESPONSE, { question("zone", 252) }, { soa })))
      t:server(framed(message(1, RESPONSE, {}, { record(1, "\1\2\3\4") })))
      t:server(framed(message(1, RESPONSE, { question("zone", 252) }, { soa })))
      assert.same({ "1 zone AXFR NOERROR 1 ns mail 1" }, lines_of(t.packets))
    end)

    it("count what is no message, and go on behind it", function()
      local t = begun()
      t:client(framed(("\255"):rep(20)))
      t:client(framed(query(1, "a")))
      assert.same({ "1 a A - 1 -" }, lines_of(t.packets))
      assert.equal(1, followed:counts().unread)
      t = begun()
      t:client "\0\3abc"
      t:client "\255\255\255"
      t:client(framed(query(1, "a")))
      assert.same({ "1 a A - 1 -" }, lines_of(t.packets))
    end)
  end)

  it("survive any bytes", function()
    random.trial(function(below)
      local packets = {}
      local t = talk.new { server_port = 53 }
      for i = 1, 60 do
        local text = below(2) == 0 and query(below(3), "a") or answer(below(3), "a", 1)
        if below(3) == 0 then
          local place = 1 + below(#text)
          text = text:sub(1, place - 1) .. string.char(below(256)) .. text:sub(place + 1 + below(2))
        end
        packets[i] = datagram(text, { back = below(2) == 0 })
        t:say(below(2) == 0 and "client" or "server", (below(5) == 0 and "" or u16(#text)) .. text,
          { size = 1 + below(30) })
      end
      lines_of(packets)
      lines_of(talk.shuffled(t.packets, below, 1, #t.packets))
    end)
  end)
end)
