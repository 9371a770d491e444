-- lua/nfengine/protocols/handshake.lua: what clients offer and servers answer, over TCP, QUIC and DTLS.

local handshake = require "nfengine.protocols.handshake"
local hello = require "spec.support.hello"
local nf = require "nfengine"
local quic = require "spec.support.quic"
local random = require "spec.support.random"
local talk = require "spec.support.talk"
local testing = require "nfengine.testing"

local P = testing.packet

local function handshakes_of(packets, parameters)
  local list, followed = {}, nil
  local Look = nf.plugin {
    name = "look",
    state = { { "look_tls", "double" } },
    setup = function(self)
      self.handshakes = handshake.follower(function(made) list[#list + 1] = made end)
      followed = self.handshakes
    end,
    on_init = function(self, packet, flow)
      flow.udps.look_tls = self.handshakes:look(self.handshakes:begin(packet), packet, flow)
    end,
    on_update = function(self, packet, flow)
      local state = flow.udps.look_tls
      if state ~= 0 then flow.udps.look_tls = self.handshakes:look(state, packet, flow) end
    end,
    on_expire = function(self, flow)
      if followed.known[flow.udps.look_tls] then list[#list + 1] = "end" end
      self.handshakes:close(flow.udps.look_tls, flow)
    end,
  }
  local given = { packets = packets, udps = Look {}, n_meters = 1 }
  for name, value in pairs(parameters or {}) do given[name] = value end
  testing.flows(given)
  assert(next(followed.known) == nil, "a handshake is left")
  return list
end

-- "CARRIER NAME VERSION CIPHER", the last two in hexadecimal, "-" for what is not known, and what there is besides.
-- "end" stands before those that were told at the flow's end.
local function shown(made)
  if made == "end" then return made end
  local server = made.server
  local parts = { made.carrier, made.hello.server_name or "-",
    server and ("%04x %04x"):format(server.version, server.cipher) or "- -" }
  for _, flag in ipairs { "is_retried", "is_resumed", "has_early_data" } do
    if made[flag] then parts[#parts + 1] = flag:match "_(.*)" end
  end
  if made.alert then parts[#parts + 1] = ("%d by %s"):format(made.alert, made.alert_by) end
  if made.subject then parts[#parts + 1] = made.subject .. " by " .. tostring(made.issuer) end
  return table.concat(parts, " ")
end

local function lines_of(packets, parameters)
  local lines = handshakes_of(packets, parameters)
  for i, made in ipairs(lines) do lines[i] = shown(made) end
  return lines
end

local OFFER_1_3 = hello.versions { 0x0304, 0x0303 }

-- The messages of a client and of servers.
local function offer(fields)
  fields = fields or {}
  return hello.message { session = fields.session, extensions = { hello.server_name "example.org",
    fields.is_old and { 9, "" } or OFFER_1_3, fields.extension } }
end

local function take_1_3(extension)
  return hello.server { cipher = 0x1301, extensions = { hello.version(0x0304), extension } }
end

local function take_1_2(session) return hello.server { cipher = 0xc02f, session = session, extensions = false } end

local function u24(number) return P.u32(number):sub(2) end

-- DER: only what common names need.
local function der(tag, ...)
  local contents = table.concat { ... }
  assert(#contents < 128)
  return string.char(tag, #contents) .. contents
end

local function certificates(subject, issuer, behind)
  local function name(text) return der(0x30, der(0x31, der(0x30, "\6\3\85\4\3" .. der(0x0c, text)))) end
  local one = der(0x30, der(0x30, der(2, "\1"), der(0x30), name(issuer), der(0x30), name(subject))) .. (behind or "")
  local list = u24(#one) .. one
  return hello.handshake(11, u24(#list) .. list)
end

local DONE, CHANGE, DATA = hello.handshake(14, ""), hello.record("\1", 20), hello.record("secret", 23)
local FINISHED = hello.record(("f"):rep(40))

local function alert(level, number) return hello.record(string.char(level, number), 21) end

local function begun(fields)
  local t = talk.new(fields or { server_port = 443 })
  t:open()
  return t
end

describe("a handshake over TCP", function()
  after_each(testing.cleanup)

  it("is told with all that is known of it", function()
    local t = begun()
    t:client(hello.records(offer()))
    t.at = 40
    t:server(hello.records(take_1_3()) .. CHANGE .. DATA)
    t:client(CHANGE .. DATA)
    local told = handshakes_of(t.packets)
    assert.same({ "tcp example.org 0304 1301" }, { shown(told[1]) })
    assert.same({ 3000, 40000, 0, 1 }, { told[1].time % 1e6, told[1].answered % 1e6, told[1].client, #told })
    assert.same({ 0x0304, 0x0303 }, told[1].hello.versions)
  end)

  it("of TLS 1.3 is told when the client goes on, and has its alert", function()
    local t = begun()
    t:client(hello.records(offer()))
    t:server(hello.records(take_1_3()) .. DATA)
    assert.same({ "end", "tcp example.org 0304 1301" }, lines_of(t.packets))
    t:client(alert(2, 48))
    assert.same({ "tcp example.org 0304 1301 48 by client" }, lines_of(t.packets))
  end)

  it("before TLS 1.3 is told when the server has ended it, with its certificate", function()
    local t = begun()
    t:client(hello.records(offer { is_old = true }))
    t:server(hello.records(take_1_2()) .. hello.records(certificates("www.example.com", "ca", ("x"):rep(5000)))
      .. hello.records(hello.handshake(12, ("k"):rep(300)) .. DONE))
    t:client(hello.records(hello.handshake(16, ("k"):rep(65))) .. CHANGE .. FINISHED)
    assert.same({ "end", "tcp example.org 0303 c02f www.example.com by ca" }, lines_of(t.packets))
    t:server(CHANGE .. FINISHED)
    assert.same({ "tcp example.org 0303 c02f www.example.com by ca" }, lines_of(t.packets))
  end)

  it("may be cut into segments and records anywhere", function()
    local messages = take_1_2() .. certificates("www.example.com", "ca", ("x"):rep(300)) .. DONE
    for size = 1, 400, 7 do
      local t = begun()
      t:client(hello.records(offer { is_old = true }), { size = size })
      t:server(hello.records(messages, size) .. CHANGE, { size = size + 3 })
      assert.same({ "tcp example.org 0303 c02f www.example.com by ca" }, lines_of(t.packets))
    end
  end)

  it("may come in any order of segments, and twice", function()
    random.trial(function(below)
      local t = begun()
      t:client(hello.records(offer()))
      t:server(hello.records(take_1_3(), 30), { size = 20 })
      local last = #t.packets
      for i = 5, last do t.packets[#t.packets + 1] = t.packets[i] end
      t.packets = talk.shuffled(t.packets, below, 5, #t.packets)
      assert.same({ "end", "tcp example.org 0304 1301" }, lines_of(t.packets))
    end)
  end)

  it("may have the second segment of the server's first", function()
    local t = begun()
    t:client(hello.records(offer()))
    t:server(hello.records(take_1_3()), { size = 40 })
    t.packets[5], t.packets[6] = t.packets[6], t.packets[5]
    assert.same({ "end", "tcp example.org 0304 1301" }, lines_of(talk.in_order(t.packets)))
  end)

  it("may begin behind something else, in a connection whose beginning was not captured", function()
    local t = begun { server_port = 25 }
    t:server "220 ready\r\n"
    t:client "STARTTLS\r\n"
    t:server "220 go ahead\r\n"
    t:client(hello.records(offer()))
    t:server(hello.records(take_1_3()))
    local expected = { "end", "tcp example.org 0304 1301" }
    assert.same(expected, lines_of(t.packets))
    assert.same(expected, lines_of { unpack(t.packets, 7) })
    -- The server's answer alone comes: the flow's source is the server.
    assert.same({}, lines_of { t.packets[8] })
  end)

  it("may come with the SYN", function()
    local t = talk.new { server_port = 443 }
    t:segment("client", "S", hello.records(offer()))
    t.next.client = t.next.client + 1 + #hello.records(offer())
    t:flag("server", "SA")
    t:server(hello.records(take_1_3()))
    assert.same({ "end", "tcp example.org 0304 1301" }, lines_of(t.packets))
  end)

  it("may be retried, from which on time is taken", function()
    local t = begun()
    t:client(hello.records(offer()))
    t:server(hello.records(hello.server { random = hello.RETRY, extensions = { hello.version(0x0304) } }) .. CHANGE)
    t:client(CHANGE .. hello.records(offer()))
    t:server(hello.records(take_1_3()) .. DATA)
    t:client(DATA)
    local told = handshakes_of(t.packets)
    assert.same({ "tcp example.org 0304 1301 retried" }, { shown(told[1]) })
    assert.equal(4000, told[1].answered % 1e6)
  end)

  it("may go on with a session of before", function()
    local function told_of(client, server, rest)
      local t = begun()
      t:client(hello.records(client))
      t:server(hello.records(server) .. (rest or ""))
      t:client(DATA)
      return lines_of(t.packets)[1]
    end
    local KEY = { 41, "\0\0" }
    assert.equal("tcp example.org 0304 1301 resumed early_data",
      told_of(hello.message { extensions = { hello.server_name "example.org", { 42, "" }, OFFER_1_3, KEY } },
        take_1_3(KEY)))
    assert.equal("tcp example.org 0304 1301", told_of(offer { extension = KEY }, take_1_3()))
    local session = ("s"):rep(32)
    -- The ID says nothing in TLS 1.3.
    assert.equal("tcp example.org 0304 1301", told_of(offer { session = session },
      hello.server { session = session, cipher = 0x1301, extensions = { hello.version(0x0304) } }))
    local client = offer { session = session, is_old = true }
    assert.equal("tcp example.org 0303 c02f resumed", told_of(client, take_1_2(session), CHANGE))
    assert.equal("tcp example.org 0303 c02f", told_of(client, take_1_2(("t"):rep(32)), CHANGE))
    assert.equal("tcp example.org 0303 c02f", told_of(offer { is_old = true }, take_1_2 "", CHANGE))
  end)

  it("ends with an alert, but goes on behind a warning", function()
    local t = begun()
    t:client(hello.records(offer()))
    t:server(alert(2, 40))
    t:server(hello.records(take_1_3()))
    assert.same({ "tcp example.org - - 40 by server" }, lines_of(t.packets))
    t = begun()
    t:client(hello.records(offer { is_old = true }))
    t:server(alert(1, 112) .. hello.records(take_1_2()))
    t:client(alert(1, 41))
    t:server(CHANGE)
    assert.same({ "tcp example.org 0303 c02f 41 by client" }, lines_of(t.packets))
    t = begun()
    t:client(hello.records(offer()))
    t:client(alert(1, 0))
    assert.same({ "tcp example.org - - 0 by client" }, lines_of(t.packets))
  end)

  it("ends with a reset, and with what is no TLS", function()
    local t = begun()
    t:client(hello.records(offer()))
    t:flag("server", "R")
    t:server(hello.records(take_1_3()))
    assert.same({ "tcp example.org - -" }, lines_of(t.packets))
    t = begun()
    t:client(hello.records(offer()))
    t:server "HTTP/1.1 400 Bad Request\r\n\r\n"
    assert.same({ "tcp example.org - -" }, lines_of(t.packets))
    t = begun()
    t:client(hello.records(offer()))
    t:server(hello.record(("e"):rep(20), 21)) -- an alert that is encrypted
    assert.same({ "tcp example.org - -" }, lines_of(t.packets))
  end)

  it("without an answer is told at the flow's end, and not for a hello that was sent again", function()
    local t = begun()
    t:client(hello.records(offer()))
    t.packets[#t.packets + 1] = t.packets[4]
    assert.same({ "end", "tcp example.org - -" }, lines_of(talk.in_order(t.packets)))
    t:server(hello.records(take_1_3()))
    t.packets[#t.packets + 1] = t.packets[4]
    assert.same({ "end", "tcp example.org 0304 1301" }, lines_of(talk.in_order(t.packets)))
  end)

  it("is told with what was captured of it", function()
    local t = begun()
    t:client(hello.records(offer { is_old = true }))
    t:server(hello.records(take_1_2() .. certificates("www", "ca", ("x"):rep(900))), { captured = 200 })
    t:server(CHANGE)
    t:client(DATA)
    assert.same({ "tcp example.org 0303 c02f" }, lines_of(t.packets))
    t.packets[5].bytes = t.packets[5].bytes:sub(1, 60)
    assert.same({ "tcp example.org - -" }, lines_of(t.packets))
  end)

  it("may have messages that are longer than what is looked at", function()
    local t = begun()
    t:client(hello.records(offer { is_old = true }))
    t:server(hello.records(take_1_2() .. certificates("www", "ca", ("x"):rep(100000)), 16384) .. CHANGE)
    assert.same({ "tcp example.org 0303 c02f www by ca" }, lines_of(t.packets))
    t = begun()
    t:client(hello.records(offer { is_old = true }))
    local long = hello.handshake(11, ("x"):rep(16384) .. certificates("in", "it"))
    t:server(hello.records(take_1_2() .. long, 16384) .. CHANGE)
    assert.same({ "tcp example.org 0303 c02f" }, lines_of(t.packets))
  end)
end)

local datagrams = 0 -- made so far, a millisecond each

local function datagram(bytes, is_back)
  datagrams = datagrams + 1
  local ip = is_back and P.ipv4 { src = "10.0.0.2", dst = "10.0.0.1" } or P.ipv4 {}
  local ports = is_back and { src_port = 443, dst_port = 1000 } or { src_port = 1000, dst_port = 443 }
  return testing.at(datagrams, P.eth {} .. ip .. P.udp(ports) .. bytes)
end

describe("a handshake over QUIC", function()
  after_each(testing.cleanup)

  local ID = "by the client"
  local function initial(frames, fields)
    local all = { dcid = ID, frames = frames }
    for name, value in pairs(fields or {}) do all[name] = value end
    return datagram(quic.initial(all), all.is_servers)
  end

  local SERVER = { is_servers = true, dcid = "", scid = "server's", keys_of = ID }

  it("is told with the server's hello, in any order of frames", function()
    local answer = take_1_3()
    local ack = "\2\0\0\0\0"
    local packets = {
      initial(quic.crypto(0, offer { extension = hello.alpn "h3" })), initial(ack, SERVER),
      initial(quic.crypto(20, answer:sub(21)), SERVER), initial(quic.crypto(0, answer:sub(1, 25)) .. ack, SERVER),
      initial(quic.crypto(0, offer())),
    }
    local told = handshakes_of(packets)
    assert.same({ 1, "quic example.org 0304 1301", { "h3" }, 3 },
      { #told, shown(told[1]), told[1].hello.alpn, (told[1].answered - told[1].time) / 1000 })
    assert.same({ "end", "quic example.org - -" }, lines_of { packets[1], packets[2], packets[3] })
  end)

  it("takes the keys that a Retry asks for", function()
    local retry = "\240\0\0\0\1\0\8by Retry" .. "token" .. ("t"):rep(16)
    local answer = quic.crypto(0, take_1_3())
    assert.same({ "quic example.org 0304 1301" }, lines_of {
      initial(quic.crypto(0, offer())), datagram(retry, true), initial(quic.crypto(0, offer()), { dcid = "by Retry" }),
      initial(answer, SERVER), initial(answer, { is_servers = true, dcid = "", keys_of = "by Retry" }),
    })
  end)

  it("may be retried", function()
    local again = hello.server { random = hello.RETRY, extensions = { hello.version(0x0304) } }
    assert.same({ "quic example.org 0304 1301 retried" }, lines_of {
      initial(quic.crypto(0, offer())), initial(quic.crypto(0, again), SERVER), initial(quic.crypto(#offer(), offer())),
      initial(quic.crypto(#again, take_1_3()), SERVER),
    })
  end)

  it("ends at what is no server hello, or one too long", function()
    assert.same({ "quic example.org - -" },
      lines_of { initial(quic.crypto(0, offer())), initial(quic.crypto(0, hello.handshake(8, "abc")), SERVER) })
    local packets = { initial(quic.crypto(0, offer())) }
    for i = 0, 5 do
      local piece = i == 0 and "\2\1\0\0" .. ("x"):rep(996) or ("x"):rep(1000)
      packets[i + 2] = initial(quic.crypto(i * 1000, piece), SERVER)
    end
    assert.same({ "quic example.org - -" }, lines_of(packets))
  end)
end)

describe("a handshake over DTLS", function()
  after_each(testing.cleanup)

  local function offered(cookie)
    return datagram(hello.dtls(hello.message { version = 0xfefd, cookie = cookie or "",
      extensions = { hello.server_name "example.org" } }))
  end

  local function record(kind, content, epoch)
    return P.u8(kind) .. "\254\253" .. P.u16(epoch or 0) .. ("\0"):rep(6) .. P.u16(#content) .. content
  end

  local TAKEN = hello.server { version = 0xfefd, cipher = 0xc02b, extensions = false }
  local VERIFY = hello.dtls(hello.handshake(3, "\254\253\4abcd"))

  it("is told when the server goes on to what is encrypted", function()
    local packets = { offered(), datagram(VERIFY, true), offered "abcd", datagram(hello.dtls(TAKEN), true),
      datagram(record(22, "key", 0), false), datagram(record(20, "\1") .. record(22, "secret", 1), true) }
    local told = handshakes_of(packets)
    assert.same({ 1, "dtls example.org fefd c02b retried", 1 },
      { #told, shown(told[1]), (told[1].answered - told[1].time) / 1000 })
    assert.same({ "end", "dtls example.org fefd c02b retried" }, lines_of { unpack(packets, 1, 5) })
  end)

  it("has its alerts", function()
    assert.same({ "dtls example.org - - 40 by server" }, lines_of { offered(), datagram(record(21, "\2\40"), true) })
    assert.same({ "dtls example.org fefd c02b 48 by client" },
      lines_of { offered(), datagram(hello.dtls(TAKEN) .. record(21, "\1\112"), true), datagram(record(21, "\2\48")) })
  end)

  it("does without a server hello that comes in fragments", function()
    local first, second = hello.dtls(TAKEN, 0, 10), hello.dtls(TAKEN, 10)
    assert.same({ "end", "dtls example.org - -" },
      lines_of { offered(), datagram(first, true), datagram(second, true) })
  end)
end)

describe("any bytes", function()
  after_each(testing.cleanup)

  it("do no harm", function()
    random.trial(function(below)
      local texts = { hello.records(offer()), hello.records(take_1_3()), hello.records(take_1_2()), CHANGE, DATA,
        hello.records(certificates("a", "b")), alert(1, 112), hello.record(DONE, 22), ("x"):rep(50) }
      local t = begun()
      for _ = 1, 40 do
        local text = texts[1 + below(#texts)]
        if below(2) == 0 then
          local place = 1 + below(#text)
          text = text:sub(1, place - 1) .. string.char(below(256)) .. text:sub(place + 1 + below(2))
        end
        t:say(below(2) == 0 and "client" or "server", text, { size = 1 + below(60) })
      end
      lines_of(t.packets)
      lines_of(talk.shuffled(t.packets, below, 1, #t.packets))
    end)
  end)
end)

describe("the newest version", function()
  it("is the highest number, but with DTLS the lowest, GREASE left out", function()
    local newest = handshake.newest_version
    assert.equal(0x0304, newest { version = 0x0303, versions = { 0xfafa, 0x0303, 0x0304, 0x0301 } })
    assert.equal(0xfefc, newest { version = 0xfefd, versions = { 0xfeff, 0xfefc, 0xfefd } })
    assert.equal(0x0302, newest { version = 0x0302 })
    assert.equal(0x0303, newest { version = 0x0303, versions = {} })
  end)
end)
