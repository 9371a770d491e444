-- scripts/http.lua: what it prints. What it is that it prints is tested in spec/lua/http_spec.lua.

local json = require "nfengine.json"
local protocol = require "spec.support.protocol"
local program = require "spec.support.program"
local talk = require "spec.support.talk"
local testing = require "nfengine.testing"

local function begun(fields)
  local t = talk.new(fields)
  t:open()
  return t
end

local GET = "GET /a?b=c HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: some agent/1.0\r\n\r\n"
local OK = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=x\r\nContent-Length: 5\r\n\r\nhello"

local function exchange()
  local t = begun()
  t:client(GET)
  t:server(OK)
  return t
end

describe("scripts/http.lua", function()
  after_each(function()
    testing.cleanup()
    program.remove_temporaries()
  end)

  protocol.tests("http", "web.pcap", exchange().packets, "www.example.com")

  it("has a line for each exchange, in columns", function()
    local t = exchange()
    t:client "POST /form HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"
    assert.equal("TIME CLIENT SERVER METHOD HOST TARGET STATUS SENT RECEIVED LATENCY TYPE AGENT\n"
      .. "2020-09-13 12:26:40.003 10.0.0.1 10.0.0.2:80 GET www.example.com /a?b=c 200 0 5 1.0 ms text/html "
      .. "some agent/1.0\n2020-09-13 12:26:40.005 10.0.0.1 10.0.0.2:80 POST - /form - 3 - - - -\n",
      protocol.squeezed(protocol.printed("http", t.packets)))
  end)

  it("has the same as JSON, with ports and microseconds", function()
    assert.same({ {
      time = "2020-09-13T12:26:40.003000Z", client_ip = "10.0.0.1", client_port = 1000, server_ip = "10.0.0.2",
      server_port = 80, method = "GET", host = "www.example.com", target = "/a?b=c", status = 200, request_bytes = 0,
      response_bytes = 5, latency_ms = 1, content_type = "text/html", user_agent = "some agent/1.0", is_complete = true,
    } }, protocol.objects("http", exchange().packets))
  end)

  it("tells client and server by who asks, also where the capture begins with the response", function()
    local t = exchange()
    local it = protocol.objects("http", { unpack(t.packets, 5) })[1]
    assert.same({ "10.0.0.1", 1000, "10.0.0.2", 80, 200, json.null, json.null, true, "2020-09-13T12:26:40.004000Z" },
      { it.client_ip, it.client_port, it.server_ip, it.server_port, it.status, it.method, it.latency_ms, it.is_complete,
        it.time })
  end)

  it("has no latency below 0 where a request was captured late", function()
    local t = exchange()
    t.packets[4], t.packets[5] = t.packets[5], t.packets[4]
    local list = protocol.objects("http", talk.in_order(t.packets))
    assert.same({ 1, "GET", 200, 0 }, { #list, list[1].method, list[1].status, list[1].latency_ms })
  end)

  it("tells apart two connections with the same ports", function()
    local t = exchange()
    t:close "client"
    t:close "server"
    t:segment("client", "A", "")
    local again = begun { at = 20, client_sequence = 5000, server_sequence = 100 }
    again:client((GET:gsub("/a", "/z")))
    again:server(OK)
    for _, packet in ipairs(again.packets) do t.packets[#t.packets + 1] = packet end
    local targets = {}
    for i, each in ipairs(protocol.objects("http", t.packets)) do targets[i] = each.target end
    assert.same({ "/a?b=c", "/z?b=c" }, targets)
  end)

  it("says so when more messages come in part than there is room for", function()
    local packets = {}
    for port = 1, 1100 do
      local t = begun { port = port }
      t:client "GET / HTTP/1.1\r\nHos"
      packets[#packets + 1] = t.packets[1]
      packets[#packets + 1] = t.packets[4]
    end
    local out, err = protocol.printed("http", talk.in_order(packets))
    assert.equal("nfengine: http: messages lost, more having come in part at once than there is room for: 76\n", err)
    assert.equal(1101, select(2, out:gsub("\n", "")))
  end)
end)
