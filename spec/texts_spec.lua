-- Texts from the wire in all that is written and shown: valid UTF-8, no control characters at a terminal, nothing that
-- breaks a file's format, whatever hosts send. report.html has a spec of its own for its markup.

local capture = require "nfengine.testing.capture"
local csv = require "nfengine.csv"
local engine = require "spec.support.engine"
local hello = require "spec.support.hello"
local json = require "nfengine.json"
local program = require "spec.support.program"
local talk = require "spec.support.talk"
local text = require "nfengine.text"
local P = require "nfengine.testing.packet"

-- What breaks out of a cell, a line, a tag, a terminal or an encoding; and what a spreadsheet evaluates.
local HOSTILE = {
  '"quoted", "and, parted"', "\27[2J\27]0;owned\7", "<script>alert(1)</script>", "&amp;'><b>", "=cmd|' /C calc'!A0",
  "+1", "-1", "@SUM(1)", "\tx", "\rx", "a\0b", "\255\254\192\175\237\160\128", "\194\155\51\49m", "\226\128\174cba",
  "\\x41\\", "%s%n{{7*7}}", ("long"):rep(300),
}

local function dns_name(label) return string.char(math.min(#label, 63)) .. label:sub(1, 63) .. "\4test\0" end

-- A capture where every one of them is an HTTP host, target, agent and type, a server name of TLS, and a name of DNS.
local function hostile_capture()
  local packets = {}
  for i, word in ipairs(HOSTILE) do
    local http = talk.new { port = 1000 + i, at = 100 * i }
    http:open()
    http:client(("GET /%s HTTP/1.1\r\nHost: %s.test\r\nUser-Agent: %s\r\n\r\n"):format(word, word, word))
    http:server(("HTTP/1.1 200 %s\r\nContent-Type: %s\r\nContent-Length: 0\r\n\r\n"):format(word, word))
    local tls = talk.new { port = 3000 + i, server_port = 443, at = 100 * i }
    tls:open()
    tls:client(hello.records(hello.message { ciphers = { 0x1301 },
      extensions = { hello.server_name(word .. ".test"), hello.alpn(word:sub(1, 200)) } }))
    for _, each in ipairs { http, tls } do
      for _, packet in ipairs(each.packets) do packets[#packets + 1] = packet end
    end
    local query = P.u16(i) .. P.hex "01000001000000000000" .. dns_name(word) .. P.hex "00010001"
    packets[#packets + 1] = { time_ns = http.packets[1].time_ns,
      bytes = (P.eth {} .. P.ipv4 {} .. P.udp { src_port = 5000 + i, dst_port = 53 } .. query):bytes() }
  end
  return capture.file(capture.pcap(talk.in_order(packets), { ns = true }))
end

-- The first byte that is no UTF-8, or nil.
local function no_utf8(bytes)
  local at = 1
  while at <= #bytes do
    local _, size = text.character_at(bytes, at)
    if not size then return at end
    at = at + size
  end
end

-- What a terminal would take for a command: control characters, of Latin-1 too.
local function command_in(bytes)
  return bytes:match "[^\n\32-\126\128-\255]" or bytes:match "\194[\128-\159]"
end

local function run(...)
  local result = program.run("-q", ...)
  assert.are.same({ 0, "" }, { result.status, result.err })
  return result.out
end

describe("hostile texts from the wire", function()
  after_each(engine.cleanup)

  local ALL = { "--l7-columns=all", "--plugin=ja4,mdns,dhcp,label" }

  it("stay in their cells of CSV, as UTF-8, as long as their columns at most", function()
    for _, n_meters in ipairs { "--n-meters=1", "--n-meters=3" } do
      local path = program.temporary ".csv"
      run("flows", "-o", path, hostile_capture(), n_meters, "--columns=user_agent,requested_server_name,http_url",
        unpack(ALL))
      assert.is_nil(no_utf8(program.read(path)))
      local agents, rows = {}, 0
      for row in csv.open(path) do
        rows, agents[row[1]] = rows + 1, true
        assert.is_true(#row == 3 and #row[1] <= 255 and #row[2] <= 79 and #row[3] <= 255)
      end
      assert.are.equal(3 * #HOSTILE, rows)
      -- As they are, formulas too.
      for _, word in ipairs { HOSTILE[1], HOSTILE[2], HOSTILE[5], "@SUM(1)" } do assert.is_true(agents[word], word) end
    end
  end)

  it("stay in their values of JSON lines", function()
    local path = program.temporary ".jsonl"
    run("flows", "--format=jsonl", "-o", path, hostile_capture(), unpack(ALL))
    local written, lines, agents = program.read(path), 0, {}
    assert.is_nil(no_utf8(written))
    for line in written:gmatch "([^\n]*)\n" do
      lines = lines + 1
      assert.is_nil(line:match "[%z\1-\31]")
      agents[json.decode(line).user_agent or ""] = true
    end
    assert.are.equal(3 * #HOSTILE, lines)
    assert.is_true(agents[HOSTILE[1]] and agents[HOSTILE[2]])
  end)

  for _, script in ipairs { "summary", "top", "timeline", "applications", "dns", "http", "tls" } do
    it("tell a terminal nothing in " .. script, function()
      local shown = run(script, hostile_capture())
      assert.is_true(#shown > 0)
      assert.is_nil(no_utf8(shown))
      assert.is_nil(command_in(shown))
    end)
  end

  for _, script in ipairs { "dns", "http", "tls" } do
    it("stay in their values of JSON lines in " .. script, function()
      local shown = run(script, hostile_capture(), "--", "--json")
      assert.is_nil(no_utf8(shown))
      for line in shown:gmatch "([^\n]*)\n" do
        assert.is_nil(command_in(line))
        assert.are.equal("table", type(json.decode(line)))
      end
    end)
  end

  it("are no names of files", function()
    local folder = capture.folder {} .. "/out"
    program.run("-q", "dataset", hostile_capture(), "--", "--write=" .. folder, "--label=application_name")
    local names = program.names_in(folder)
    assert.is_truthy(names:find("manifest.json", 1, true))
    assert.is_nil(names:match "[^%w%._ -]")
  end)
end)
