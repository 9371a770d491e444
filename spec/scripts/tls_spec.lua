-- scripts/tls.lua: what it prints. What it is that it prints is tested in spec/lua/handshake_spec.lua.

local hello = require "spec.support.hello"
local json = require "nfengine.json"
local protocol = require "spec.support.protocol"
local program = require "spec.support.program"
local talk = require "spec.support.talk"
local testing = require "nfengine.testing"
local tls_names = require "nfengine.protocols.tls_names"

local CHANGE, DATA = hello.record("\1", 20), hello.record("secret", 23)

local OFFER = hello.message { ciphers = { 0x1301, 0x1302 }, extensions = {
  hello.server_name "www.example.com", hello.versions { 0x0304, 0x0303 }, hello.alpn("h2", "http/1.1"),
} }

-- A connection in which a client offers and a server answers these messages.
local function connection(offer, answer)
  local t = talk.new { server_port = 443 }
  t:open()
  t:client(hello.records(offer))
  t:server(hello.records(answer) .. CHANGE .. DATA)
  t:client(CHANGE .. DATA)
  return t.packets
end

local function of_1_3(extension)
  return connection(OFFER, hello.server { cipher = 0x1302, extensions = { hello.version(0x0304), extension } })
end

local function of_1_2()
  return connection(OFFER, hello.server { cipher = 0xc02f, extensions = { hello.alpn "h2" } })
end

describe("scripts/tls.lua", function()
  after_each(function()
    testing.cleanup()
    program.remove_temporaries()
  end)

  protocol.tests("tls", "tls.pcap", of_1_3(), "www.example.com")

  it("has a line for each handshake, in columns", function()
    local ja4 = protocol.objects("tls", of_1_3())[1].ja4
    assert.matches("^t13d0203h2_%x+_%x+$", ja4)
    assert.equal("TIME CLIENT SERVER BY OFFERS TAKES LATENCY NAME JA4 CIPHER ALPN NOTES\n"
      .. "2020-09-13 12:26:40.003 10.0.0.1 10.0.0.2:443 tcp 1.3 1.3 1.0 ms www.example.com " .. ja4
      .. " TLS_AES_256_GCM_SHA384 h2, http/1.1 resumed\n",
      protocol.squeezed(protocol.printed("tls", of_1_3 { 41, "\0\0" })))
  end)

  it("has the same as JSON, with ports and microseconds", function()
    local it = protocol.objects("tls", of_1_2())[1]
    it.ja4 = it.ja4:match "^[^_]*"
    assert.same({
      time = "2020-09-13T12:26:40.003000Z", client_ip = "10.0.0.1", client_port = 1000, server_ip = "10.0.0.2",
      server_port = 443, transport = "tcp", offered = "1.3", version = "1.2", latency_ms = 1,
      server_name = "www.example.com", ja4 = "t13d0203h2", cipher = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
      alpn_offered = { "h2", "http/1.1" }, alpn = "h2", is_resumed = false, is_retried = false, has_early_data = false,
      alert = json.null, alert_by = json.null, subject = json.null, issuer = json.null,
    }, it)
  end)

  it("shows the protocol that the server chose instead of those offered", function()
    assert.matches(" h2 +%-\n$", protocol.printed("tls", of_1_2()))
  end)

  it("tells of a client that got no answer, or an alert", function()
    local t = talk.new { server_port = 443 }
    t:open()
    t:client(hello.records(OFFER))
    local it = protocol.objects("tls", t.packets)[1]
    assert.same({ "1.3", json.null, json.null, json.null }, { it.offered, it.version, it.cipher, it.latency_ms })
    t:server(hello.record("\2\40", 21))
    it = protocol.objects("tls", t.packets)[1]
    assert.same({ "handshake_failure", "server", json.null }, { it.alert, it.alert_by, it.version })
    assert.matches(" handshake_failure by server\n$", protocol.printed("tls", t.packets))
  end)

  it("shows names so that a terminal can take them", function()
    local offer = hello.message { extensions = { hello.server_name "a b\27[2J", hello.alpn("\n", "h 2") } }
    local packets = connection(offer, hello.server { cipher = 0x1301, extensions = { hello.version(0x0304) } })
    local out = protocol.printed("tls", packets)
    assert.is_truthy(out:find([[ a\x20b\x1b[2J ]], 1, true))
    assert.is_truthy(out:find([[ \x0a, h 2 ]], 1, true))
    local it = protocol.objects("tls", packets)[1]
    assert.same({ [[a b\x1b[2J]], { [[\x0a]], "h 2" } }, { it.server_name, it.alpn_offered })
  end)
end)

describe("names of TLS", function()
  it("are IANA's, digits where there is none", function()
    assert.same({ "TLS_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "0xff85", "0x0a0a" },
      { tls_names.cipher(0x1301), tls_names.cipher(0xcca9), tls_names.cipher(0xff85), tls_names.cipher(0x0a0a) })
    assert.same({ "1.3", "1.2", "SSL 3.0", "1.2", "1.3-draft28", "0x7a7a" }, { tls_names.version(0x0304),
      tls_names.version(0x0303), tls_names.version(0x0300), tls_names.version(0xfefd), tls_names.version(0x7f1c),
      tls_names.version(0x7a7a) })
    assert.same({ "close_notify", "unknown_ca", "alert_255" },
      { tls_names.alert(0), tls_names.alert(48), tls_names.alert(255) })
  end)
end)
