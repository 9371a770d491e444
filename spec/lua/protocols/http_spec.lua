-- lua/nfengine/protocols/http.lua: requests and responses of connections made segment by segment.

local http = require "nfengine.protocols.http"
local nf = require "nfengine"
local random = require "spec.support.random"
local talk = require "spec.support.talk"
local testing = require "nfengine.testing"

local followed -- by the last run

-- The exchanges of these packets as they are told.
local function exchanges_of(packets, parameters, options)
  local list = {}
  local function look(self, packet, flow)
    flow.udps.look_http = self.connections:look(flow.udps.look_http, packet, flow)
  end
  local Look = nf.plugin {
    name = "look",
    state = { { "look_http", "double" } },
    setup = function(self)
      self.connections = http.follower(function(exchange)
        list[#list + 1] = {}
        for name, value in pairs(exchange) do list[#list][name] = value end -- as it is now
      end, options)
      followed = self.connections
    end,
    on_init = look,
    on_update = look,
    on_expire = function(self, flow) self.connections:close(flow.udps.look_http, flow) end,
  }
  local given = { packets = packets, udps = Look {}, n_meters = 1 }
  for name, value in pairs(parameters or {}) do given[name] = value end
  testing.flows(given)
  assert(next(followed.connections) == nil, "a connection is left")
  return list
end

-- "METHOD TARGET STATUS REQUEST_SIZE RESPONSE_SIZE", with "-" for what is not known; "..." where it is not complete.
local function shown(exchange)
  local parts = {}
  for i, name in ipairs { "method", "target", "status", "request_size", "response_size" } do
    parts[i] = tostring(exchange[name] or "-")
  end
  return table.concat(parts, " ") .. (exchange.is_complete and "" or " ...")
end

local function lines_of(packets, parameters, options)
  local lines = exchanges_of(packets, parameters, options)
  for i, exchange in ipairs(lines) do lines[i] = shown(exchange) end
  return lines
end

local function begun(fields)
  local t = talk.new(fields)
  t:open()
  return t
end

local function get(target, more) return ("GET %s HTTP/1.1\r\nHost: h\r\n%s\r\n"):format(target, more or "") end

local function ok(body, more)
  return ("HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s"):format(more or "", #body, body)
end

local function chunked(...)
  local parts = {}
  for i, chunk in ipairs { ... } do parts[i] = ("%x\r\n%s\r\n"):format(#chunk, chunk) end
  return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" .. table.concat(parts) .. "0\r\n\r\n"
end

-- What comes of a client's text and a server's, one behind the other, each in one segment or as given.
local function of(request, response, fields)
  local t = begun()
  t:client(request, fields)
  if response then t:server(response, fields) end
  return lines_of(t.packets)
end

describe("an exchange", function()
  after_each(testing.cleanup)

  it("is told with all that is known of it", function()
    local t = begun()
    local request = "POST /form?a=1 HTTP/1.1\r\nhost: www.example.com\r\nUser-Agent:  curl/7.88.1 (x) \r\n"
      .. "Content-Length: 10\r\n\r\n"
    t:client(request .. "01234") -- at 3 ms
    t.at = 50
    t:client "56789"
    t.at = 80
    t:server "HTTP/1.1 201 Created\r\nContent-Type: text/html ; charset=utf-8\r\n"
    t:server "Content-Length: 3\r\n\r\nabc"
    local told = exchanges_of(t.packets)
    assert.equal(1, #told)
    local e, epoch = told[1], testing.EPOCH_S * 1e6
    assert.same({ "POST", "/form?a=1", "www.example.com", "curl/7.88.1 (x)", 10 },
      { e.method, e.target, e.host, e.agent, e.request_size })
    assert.same({ 201, "text/html", 3 }, { e.status, e.type, e.response_size })
    assert.same({ 3000, 50000, 80000 }, { e.time - epoch, e.sent - epoch, e.answered - epoch })
    assert.same({ 0, true }, { e.client, e.is_complete })
  end)

  it("is told when both messages are over, in the order in which they are", function()
    local t = begun()
    t:client(get "/1" .. get "/2" .. get "/3") -- pipelined
    t:server(ok "one" .. "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\n" .. "four" .. ok "")
    t:client(get "/4")
    t:server(ok "44")
    assert.same({ "GET /1 200 0 3", "GET /2 404 0 4", "GET /3 200 0 0", "GET /4 200 0 2" }, lines_of(t.packets))
  end)

  it("may be cut anywhere", function()
    local request, response = "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", chunked("hello", "world!")
    for size = 1, #response do
      assert.same({ "POST / 200 3 11" }, of(request, response, { size = size }))
    end
  end)

  it("may come in any order within each direction, twice and overlapping", function()
    random.trial(function(below)
      local t = begun()
      local request = get "/1" .. "POST /2 HTTP/1.1\r\nContent-Length: 30\r\n\r\n" .. ("x"):rep(30) .. get "/3"
      local response = ok "one" .. chunked("two", "two") .. "\r\n" .. ok(("3"):rep(100))
      for _, side in ipairs { "client", "server" } do
        local text = side == "client" and request or response
        local first, sequence = #t.packets + 1, t.next[side]
        t:say(side, text, { size = 20 })
        for from = 1, #text, 90 do
          t:segment(side, "A", text:sub(from, from + 60), { seq = sequence + from - 1 })
        end
        t.packets = talk.shuffled(t.packets, below, first, #t.packets)
      end
      assert.same({ "GET /1 200 0 3", "POST /2 200 30 6", "GET /3 200 0 100" }, lines_of(talk.in_order(t.packets)))
    end)
  end)

  it("goes on where sequence numbers wrap", function()
    for ahead = 0, 60, 7 do
      local t = begun { client_sequence = 2 ^ 32 - ahead, server_sequence = 2 ^ 32 - 1 - ahead }
      t:client(get "/1", { size = 10 })
      t:server(ok "one", { size = 10 })
      t:client(get "/2", { size = 10 })
      t:server(ok "two!", { size = 10 })
      assert.same({ "GET /1 200 0 3", "GET /2 200 0 4" }, lines_of(t.packets))
    end
  end)

  it("is found on any port, with the server as who began the flow, and with no SYN", function()
    local t = begun { server_port = 31337 }
    t:client(get "/a")
    t:server(ok "a")
    t = talk.new { port = 4000, server_port = 5000 }
    t:segment("server", "A", "") -- the capture begins here
    t:client(get "/b")
    t:server(ok "bb")
    local told = exchanges_of(t.packets)
    assert.same({ "GET /b 200 0 2", 1 }, { shown(told[1]), told[1].client })
  end)
end)

describe("heads", function()
  after_each(testing.cleanup)

  local function told_of(request, response, fields)
    local t = begun()
    t:client(request, fields)
    t:server(response or ok "", fields)
    return exchanges_of(t.packets)[1]
  end

  it("may have lines that go on in the next one", function()
    local e = told_of("GET / HTTP/1.1\r\nUser-Agent: one\r\n  two\r\n\tthree\r\nHost:\r\n  h\r\n\r\n")
    assert.same({ "one two three", " h" }, { e.agent, e.host })
  end)

  it("may end their lines without CR, and come behind empty lines", function()
    assert.same({ "GET /1 200 0 0", "GET /2 200 0 2" }, of(get "/1" .. "\r\n\nGET /2 HTTP/1.0\nHost: h\n\n",
      ok "" .. "\nHTTP/1.0 200\nContent-Length: 2\n\nab"))
  end)

  it("may be long, of which lines of any length are looked at in part", function()
    local long = ("x"):rep(40000)
    local form = "GET /%s HTTP/1.1\r\nCookie: %s\r\nUser-Agent: %s\r\nHost: h\r\nX: %s\r\nContent-Length: 1\r\n\r\nb"
    local request = form:format(("t"):rep(3000), long, ("a"):rep(3000), long)
    for _, size in ipairs { 1460, 16384, 30000 } do
      local e = told_of(request, ok("abc", "X-Long: " .. long .. "\r\n"), { size = size })
      assert.same({ "/" .. ("t"):rep(1999), ("a"):rep(2000), "h", 1, 3 },
        { e.target, e.agent, e.host, e.request_size, e.response_size })
    end
  end)

  it("may begin with a line that is longer than what is looked at", function()
    local e = told_of("GET /" .. ("t"):rep(20000) .. " HTTP/1.1\r\nHost: h\r\n\r\n")
    assert.same({ "GET", "/" .. ("t"):rep(1999), "h", 200 }, { e.method, e.target, e.host, e.status })
  end)

  it("count the first of their fields, whatever the case of its name", function()
    local e = told_of("GET / HTTP/1.1\r\nHOST : a\r\nhost: b\r\nNo-Colon\r\n: c\r\nuser-agent:\r\n\r\n")
    assert.same({ "a", "" }, { e.host, e.agent })
  end)

  it("give media types without parameters", function()
    for value, type in pairs { ["a/b"] = "a/b", ["a/b;c=d"] = "a/b", ["a/b ; c"] = "a/b", [""] = "", [";"] = "" } do
      assert.equal(type, told_of(get "/", ok("", "Content-Type: " .. value .. "\r\n")).type)
    end
  end)

  it("are none with other first lines", function()
    for _, line in ipairs { "GET /", "GET / HTTP/2.0", "get / HTTP/1.1", "GET  HTTP/1.1", "/ GET HTTP/1.1",
      ("M"):rep(33) .. " / HTTP/1.1", "RTSP/1.0 200 OK", "HTTP/1.1 20", "HTTP/1.1 2000 OK", "OPTIONS * RTSP/1.0" } do
      assert.same({}, of(line .. "\r\nHost: h\r\n\r\n"))
    end
    assert.same({ "M-SEARCH * - 0 - ..." }, of "M-SEARCH * HTTP/1.1\r\n\r\n")
    assert.same({ "GET /a b - 0 - ..." }, of "GET /a b HTTP/1.1\r\n\r\n")
    assert.same({ "- - 200 - 0" }, of("", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"))
  end)
end)

describe("bodies", function()
  after_each(testing.cleanup)

  it("are as long as Content-Length says, also where it says so twice", function()
    for _, field in ipairs { "Content-Length: 3", "Content-Length: 3, 3", "Content-Length: 3\r\nContent-Length:3" } do
      assert.same({ "GET /1 200 0 3", "GET /2 200 0 0" },
        of(get "/1" .. get "/2", "HTTP/1.1 200 OK\r\n" .. field .. "\r\n\r\nabc" .. ok ""))
    end
  end)

  it("are of unknown length where it contradicts itself", function()
    for _, field in ipairs { "3, 4", "3\r\nContent-Length: 4", "x", "-1", "", "1e3", "0x10", "12345678901234567890" } do
      local t = begun()
      t:client(get "/1")
      t:server("HTTP/1.1 200 OK\r\nContent-Length: " .. field .. "\r\n\r\nabc")
      t:client(get "/2") -- the next message is found where a segment begins
      t:server(ok "xy")
      assert.same({ "GET /1 200 0 - ...", "GET /2 200 0 2" }, lines_of(t.packets), field)
    end
  end)

  it("in chunks hold what these do, with extensions and trailers", function()
    local response = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\nContent-Length: 99\r\n\r\n"
      .. "5;name=value\r\nhello\r\n0A\r\n0123456789\r\n000\r\nTrailer: x\r\n\r\n"
    assert.same({ "GET /1 200 0 15", "GET /2 200 0 1" }, of(get "/1" .. get "/2", response .. ok "!"))
    assert.same({ "POST / 200 4 0" },
      of("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", ok ""))
  end)

  it("in chunks end where one has no size", function()
    local head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    for _, line in ipairs { "x", "", "-1", ("f"):rep(13), "3" .. (" "):rep(2000) } do
      local t = begun()
      t:client(get "/1")
      t:server(head .. line .. "\r\nabc\r\n")
      t:client(get "/2")
      t:server(ok "xy")
      assert.same({ "GET /1 200 0 3 ...", "GET /2 200 0 2" }, lines_of(t.packets), line)
    end
  end)

  it("without a length go on until the server's FIN, also one that comes early", function()
    local function until_end(order)
      local t = begun()
      t:client(get "/")
      t:server "HTTP/1.0 200 OK\r\n\r\n0123456789"
      t:server "abc"
      t:close "server"
      t:flag("client", "A")
      local packets = {}
      for i, place in ipairs(order) do packets[i] = t.packets[place] end
      return lines_of(talk.in_order(packets))
    end
    assert.same({ "GET / 200 0 13" }, until_end { 1, 2, 3, 4, 5, 6, 7, 8 })
    assert.same({ "GET / 200 0 13" }, until_end { 1, 2, 3, 4, 5, 7, 6, 8 })
    assert.same({ "GET / 200 0 13 ..." }, until_end { 1, 2, 3, 4, 5, 6 })
    assert.same({ "GET / 200 0 13" }, of(get "/", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n"
      .. "Content-Length: 13\r\n\r\n0123456789abc"))
  end)

  it("are told with the FIN, before the flow ends", function()
    local t = begun()
    t:client(get "/")
    t:server "HTTP/1.0 200 OK\r\n\r\nabc"
    t:close "server"
    t:client "\r\n"
    t:client(get "/2")
    assert.same({ "GET / 200 0 3", "GET /2 - 0 - ..." }, lines_of(t.packets))
  end)

  it("are none in answers to HEAD, and with 204 and 304", function()
    local head = "HEAD / HTTP/1.1\r\n\r\n"
    assert.same({ "HEAD / 200 0 0", "GET / 204 0 0", "GET / 304 0 0", "GET / 200 0 1" },
      of(head .. get "/" .. get "/" .. get "/", "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"
        .. "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n" .. ok "1"))
  end)

  it("may be lost, but for the last byte", function()
    local t = begun()
    t:client(get "/1")
    t:server(ok(("x"):rep(5000)):sub(1, 100))
    t:segment("server", "A", ("x"):rep(4000), { is_lost = true })
    t.next.server = t.next.server + #ok(("x"):rep(5000)) - 101
    t:server "x"
    t:client(get "/2")
    t:server(ok "2")
    assert.same({ "GET /1 200 0 5000", "GET /2 200 0 1" }, lines_of(t.packets))
    t.packets[6], t.packets[7] = t.packets[7], t.packets[8]
    t.packets[8] = nil
    -- What comes behind the last one tells that it has come, too.
    assert.same({ "GET /1 200 0 5000", "GET /2 200 0 1" }, lines_of(t.packets))
  end)

  it("are told with what has come of them where there is no more", function()
    assert.same({ "GET / 200 0 4 ..." }, of(get "/", ok("0123456789"):sub(1, -7)))
    assert.same({ "GET / 200 0 7 ..." }, of(get "/", chunked("abc", "defghij"):sub(1, -11)))
    assert.same({ "GET / 200 0 0 ..." }, of(get "/", ok("0123456789"):sub(1, -11)))
    local post = "POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n0123"
    assert.same({ "POST / - 4 - ..." }, of(post))
    assert.same({ "POST / 413 4 0 ..." }, of(post, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"))
  end)

  it("may be of any size", function()
    local t = begun()
    t:client(get "/1")
    t:server "HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n"
    local sequence = t.next.server
    for i = 1, 9 do t:segment("server", "A", "x", { seq = (sequence + i * 2 ^ 30) % 2 ^ 32 }) end
    t:segment("server", "A", "x", { seq = (sequence + 10 * 2 ^ 30 - 1) % 2 ^ 32 })
    t.next.server = (sequence + 10 * 2 ^ 30) % 2 ^ 32
    t:client(get "/2")
    t:server(ok "2")
    assert.same({ "GET /1 200 0 10737418240", "GET /2 200 0 1" }, lines_of(t.packets))
  end)
end)

describe("what is not an exchange of its own", function()
  after_each(testing.cleanup)

  local UPLOAD = "PUT /%d HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"

  it("is an interim response, from which no time is taken", function()
    local t = begun()
    t:client(UPLOAD:format(1))
    t:server "HTTP/1.1 100 Continue\r\n\r\n"
    t:client "body"
    t:server "HTTP/1.1 103 Early Hints\r\nLink: x\r\nContent-Length: 7\r\n\r\n"
    t:server(ok "done")
    local told = exchanges_of(t.packets)
    assert.same({ "PUT /1 200 4 4" }, { shown(told[1]) })
    assert.same({ 3000, 5000, 7000 }, { told[1].time % 1e6, told[1].sent % 1e6, told[1].answered % 1e6 })
  end)

  it("is the body that a client leaves out when it is not told to continue", function()
    local t = begun()
    t:client(UPLOAD:format(1))
    t:server "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n"
    t:client(get "/2")
    t:server(ok "2")
    assert.same({ "PUT /1 417 0 0", "GET /2 200 0 1" }, lines_of(t.packets))
  end)

  it("is what comes behind an upgrade or in a tunnel", function()
    for request, response in pairs {
      [get("/1", "Upgrade: websocket\r\n")] = "HTTP/1.1 101 Switching Protocols\r\n\r\n",
      ["CONNECT h:443 HTTP/1.1\r\n\r\n"] = "HTTP/1.1 200 Connection established\r\nContent-Length: 9\r\n\r\n",
    } do
      local t = begun()
      t:client(request)
      t:server(response .. "more")
      t:client(get "/2")
      t:server(ok "2")
      local lines = lines_of(t.packets)
      assert.equal(1, #lines)
      assert.matches("^%u+ [/h][1:4]*3? %d+ 0 0$", lines[1])
    end
    local t = begun()
    t:client "CONNECT h:443 HTTP/1.1\r\n\r\n"
    t:server "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 2\r\n\r\nno"
    t:client(get "/2")
    t:server(ok "2")
    assert.same({ "CONNECT h:443 407 0 2", "GET /2 200 0 1" }, lines_of(t.packets))
  end)

  it("is anything else on TCP, or on UDP", function()
    local t = begun()
    t:client("\22\3\1\2\0\1\0\1\252\3\3" .. ("x"):rep(500))
    t:server("220 mail ESMTP\r\n")
    t:client("EHLO client\r\n")
    t:client("GET THE BALL\r\n")
    assert.same({}, lines_of(t.packets))
    local P = testing.packet
    assert.same({}, lines_of { testing.at(0, P.eth {} .. P.ipv4 {} .. P.udp {} .. get "/") })
  end)
end)

describe("a connection of which a part is missing", function()
  after_each(testing.cleanup)

  it("may lack its beginning: responses without requests, and nothing of what a body says", function()
    local t = begun()
    t:client(get "/0")
    t:server(ok(("GET / HTTP/1.1\r\n"):rep(100)))
    t:client(get "/1")
    t:server(ok "1")
    local packets = t.packets
    assert.same({ "- - 200 - 1600", "GET /1 200 0 1" }, lines_of { unpack(packets, 5) })
    assert.same({ "GET /1 200 0 1" }, lines_of { unpack(packets, 6) })
    assert.same({ "- - 200 - 1" }, lines_of { packets[8] })
    assert.equal(1, exchanges_of({ packets[8] })[1].client) -- not who began the flow
  end)

  it("may lack a request, or a response", function()
    local t = begun()
    for i = 1, 3 do
      t:client(get("/" .. i))
      t:server(ok(("x"):rep(i)))
    end
    local function without(place)
      local packets = { unpack(t.packets) }
      table.remove(packets, place)
      return lines_of(packets)
    end
    assert.same({ "GET /1 200 0 1", "- - 200 - 2", "GET /3 200 0 3" }, without(6))
    assert.same({ "GET /1 200 0 1", "GET /2 - 0 - ...", "GET /3 200 0 3" }, without(7))
  end)

  it("may have had a response captured before its request", function()
    local t = begun()
    for i = 1, 3 do
      t:client(get("/" .. i))
      t:server(ok(("x"):rep(i)))
    end
    for _, place in ipairs { 4, 6, 8 } do
      local p = { unpack(t.packets) }
      p[place], p[place + 1] = p[place + 1], p[place]
      assert.same({ "GET /1 200 0 1", "GET /2 200 0 2", "GET /3 200 0 3" }, lines_of(talk.in_order(p)))
    end
  end)

  it("goes on where a segment begins with a message, when its other end has what is missing", function()
    local t = begun()
    for i = 1, 3 do
      t:client(get("/" .. i))
      t:server("HTTP/1.1 200 OK\r\nX: " .. ("x"):rep(100))
      t:server("\r\nContent-Length: 1\r\n\r\n1")
    end
    table.remove(t.packets, 8) -- the first half of the second response
    assert.same({ "GET /1 200 0 1", "GET /2 - 0 - ...", "GET /3 200 0 1" }, lines_of(t.packets))
  end)

  it("has no request for a response that was sent before the server had it", function()
    local t = talk.new()
    local before = t.next.client
    t:client(get "/1") -- the capture begins here
    t:server(ok "zero", { ack = before })
    t:server(ok "1")
    assert.same({ "- - 200 - 4", "GET /1 200 0 1" }, lines_of(t.packets))
  end)

  it("pairs requests in their order again once it has gone on", function()
    local t = begun()
    t:client(get "/1")
    t:segment("server", "A", ok "lost", { is_lost = true })
    t.next.server = t.next.server + #ok "lost"
    t:client(get "/2")
    t:server(ok "2")
    t:client(get "/3" .. get "/4")
    t:server(ok "333" .. ok "4444")
    assert.same({ "GET /1 - 0 - ...", "GET /2 200 0 1", "GET /3 200 0 3", "GET /4 200 0 4" }, lines_of(t.packets))
  end)

  it("does not tell again what is sent again while it looks for a message", function()
    local t = begun()
    t:client(get "/1")
    t:client "what is this\r\n"
    t.packets[#t.packets + 1] = t.packets[4]
    t:client(get "/2")
    assert.same({ "GET /1 - 0 - ...", "GET /2 - 0 - ..." }, lines_of(talk.in_order(t.packets)))
  end)

  it("goes on behind a gap that nobody says to be closed, after a while", function()
    local t = begun()
    t:client(get "/0")
    t:segment("server", "A", "HTTP/1.1 200 OK\r\n", { is_lost = true })
    t.next.server = t.next.server + 17
    for _ = 1, 40 do t:segment("server", "A", "Content-Length: 1\r\n") end
    t:server(ok "last")
    assert.same({ "GET /0 200 0 4" }, lines_of(t.packets))
    assert.equal(1, followed:counts().gapped)
  end)

  it("tells of a head what was captured of it", function()
    local request = "GET /long/target HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: x\r\n\r\n"
    local function cut(size)
      local t = begun()
      t:client(request, { captured = size })
      t:server(ok "abc")
      t:client(get "/2")
      t:server(ok "2")
      local told = exchanges_of(t.packets)
      return told[1].target, told[1].host, told[1].agent, told[1].status, told[#told].target, #told
    end
    assert.same({ "/long/target", "www.example.com", nil, 200, "/2", 2 }, { cut(#request - 6) })
    assert.same({ "/long/target", nil, nil, 200, "/2", 2 }, { cut(30) })
    assert.same({ "/long", nil, nil, 200, "/2", 2 }, { cut(9) })
    assert.same({ nil, nil, nil, 200, "/2", 2 }, { cut(0) })
  end)

  it("is nothing to look at without payload captured", function()
    local t = begun()
    t:client(get "/", { captured = 0 })
    t:server(ok "", { captured = 0 })
    assert.same({}, lines_of(t.packets))
  end)
end)

describe("a connection", function()
  after_each(testing.cleanup)

  it("that begins anew within a flow ends what was before", function()
    local t = begun()
    t:client(get "/1")
    t.next.client, t.next.server = 70000, 80000
    t:open()
    t:client(get "/2")
    t:server(ok "2")
    assert.same({ "GET /1 - 0 - ...", "GET /2 200 0 1" }, lines_of(talk.in_order(t.packets)))
    table.insert(t.packets, 9, t.packets[5]) -- its SYN again, before the response
    assert.same({ "GET /1 - 0 - ...", "GET /2 200 0 1" }, lines_of(talk.in_order(t.packets)))
  end)

  it("that is reset tells at once what it has", function()
    local t = begun()
    t:client(get "/1" .. get "/2")
    t:server "HTTP/1.1 200 OK\r\n\r\nabc"
    t:segment("client", "R", "")
    t:client(get "/3")
    t:server(ok "3")
    assert.same({ "GET /1 200 0 3 ...", "GET /2 - 0 - ...", "GET /3 200 0 1" }, lines_of(t.packets))
  end)

  it("remembers 100 requests that wait", function()
    local t = begun()
    for i = 1, 102 do t:client(get("/" .. i)) end
    local lines = lines_of(t.packets)
    assert.equal(102, #lines)
    for i, line in ipairs(lines) do assert.equal(("GET /%d - 0 - ..."):format(i), line) end
    t:server(ok "x")
    lines = lines_of(t.packets)
    assert.same({ "GET /1 - 0 - ...", "GET /2 - 0 - ...", "GET /3 200 0 1", "GET /4 - 0 - ..." },
      { unpack(lines, 1, 4) })
  end)

  it("may be one of many whose heads have come in part", function()
    local packets, expected = {}, {}
    for half = 1, 2 do
      for port = 1, 6 do
        local t = begun { port = port }
        t:client(get "/", { size = 20 })
        for i = half == 1 and 1 or 5, half == 1 and 4 or #t.packets do packets[#packets + 1] = t.packets[i] end
        expected[port] = "GET / - 0 - ..."
      end
    end
    assert.same(expected, lines_of(talk.in_order(packets), nil, { streams = 6 }))
    assert.equal(0, followed:counts().displaced)
    assert.equal(6, #lines_of(talk.in_order(packets), nil, { streams = 3 }))
    assert.equal(3, followed:counts().displaced)
  end)

  it("survives any bytes, in any order", function()
    random.trial(function(below)
      local t = begun()
      local texts = { get "/1", ok "abc", chunked("a", "bc"), "HTTP/1.1 200 OK\r\n\r\nrest", "\r\n", "\0\1\2",
        "CONNECT h:1 HTTP/1.1\r\n\r\n", "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n", ("x"):rep(300) }
      for _ = 1, 40 do
        local text = texts[1 + below(#texts)]
        if below(2) == 0 then
          local at = 1 + below(#text)
          text = text:sub(1, at - 1) .. string.char(below(256)) .. text:sub(at + 1 + below(3))
        end
        local side = below(2) == 0 and "client" or "server"
        t:say(side, text, { size = 1 + below(40) })
        if below(10) == 0 then t:segment(side, below(2) == 0 and "R" or "FA", "") end
        if below(10) == 0 then t:segment("client", "S", "") end
        if below(10) == 0 then t.next[side] = (t.next[side] + below(2000)) % 2 ^ 32 end
      end
      lines_of(t.packets)
      lines_of(talk.shuffled(t.packets, below, 1, #t.packets))
    end)
  end)
end)
