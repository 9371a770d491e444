-- lua/nfengine/journal.lua: lines of values, as columns and as JSON.

local json = require "nfengine.json"
local program = require "spec.support.program"

-- What a script prints that puts these entries, given as Lua's text, with `declared` fields.
local function printed(fields, entries, is_json, words)
  local source = ([[
local journal, nf = require "nfengine.journal", require "nfengine"
local log = journal.new { json = %s, fields = { %s } }
local Put = nf.plugin {
  name = "put",
  setup = function() end,
  on_init = function(_, packet, flow)
    if packet.number > 1 then return end
    local between = journal.between
    for _, entry in ipairs { %s } do
      if type(entry) == "function" then entry = entry(flow, between) end
      log:put(entry)
    end
  end,
}
log:run { udps = Put {}, n_dissections = 0 }
]]):format(tostring(is_json or false), fields, entries)
  return program.shell(("%s -q %s %s samples/dns.pcap"):format(program.path,
    program.quote(program.write(source, ".lua")), words or ""))
end

local function text_of(...)
  local result = printed(...)
  assert.same({ 0, "" }, { result.status, result.err })
  return result.out
end

local EVERY = [[{ "time", "time", "TIME" }, { "client", "address", "CLIENT" }, { "server", "endpoint", "SERVER" },
  { "n", "number", "N" }, { "taken", "ms", "TAKEN" }, { "safe", "safe", "SAFE" }, { "list", "list", "LIST" },
  { "is_so", "flag" }, { "text", "text", "TEXT" }]]

local ENTRY = [[function(flow, between)
  local entry = between(flow, 1)
  entry.time, entry.n, entry.taken, entry.safe, entry.list = 1e6 + 1, 7, 1234.5, "a", { "b", "c" }
  entry.is_so, entry.text = false, "x y"
  return entry
end]]

describe("a journal", function()
  after_each(program.remove_temporaries)

  it("has columns below their titles", function()
    assert.equal(
      "TIME                     CLIENT           SERVER                     N      TAKEN  SAFE  LIST  TEXT\n"
      .. "1970-01-01 00:00:01.000  192.0.2.1        192.0.2.10:53328           7     1.2 ms  a     b, c  x y\n",
      text_of(EVERY, ENTRY))
  end)

  it("has JSON with all fields in their order", function()
    assert.equal('{"time":"1970-01-01T00:00:01.000001Z","client_ip":"192.0.2.1","client_port":53,'
      .. '"server_ip":"192.0.2.10","server_port":53328,"n":7,"taken_ms":1.234,"safe":"a","list":["b","c"],'
      .. '"is_so":false,"text":"x y"}\n', text_of(EVERY, ENTRY, true))
  end)

  it("has a dash for what is nil, null in JSON", function()
    local entry = '{}, { list = {}, text = "", n = 0 }'
    local some = [[{ "n", "number", "N" }, { "list", "list", "LIST" }, { "text", "text", "TEXT" }, { "is_so", "flag" }]]
    assert.equal('    N  LIST  TEXT\n    -  -     -\n    0  -     ""\n', text_of(some, entry))
    assert.equal('{"n":null,"list":null,"text":null,"is_so":null}\n{"n":0,"list":[],"text":"","is_so":null}\n',
      text_of(some, entry, true))
  end)

  it("leaves out what is in the other form only, and makes columns as wide as told", function()
    local fields = '{ "a", "safe", "A", width = 5 }, { "b", "safe", "B", json = false }, { "c", "safe" }'
    assert.equal("A      B\nx      y\n", text_of(fields, '{ a = "x", b = "y", c = "z" }'))
    assert.equal('{"a":"x","c":"z"}\n', text_of(fields, '{ a = "x", b = "y", c = "z" }', true))
  end)

  it("shows text from the wire so that a terminal can take it, and a reader can tell what it was", function()
    local fields, entry = '{ "a", "text", "A" }, { "b", "text", "B" }',
      [[{ a = "a b\\\27[2J\r\n\0\127\200/\"", b = "a b\\\9" }]]
    assert.equal([[A  B
a\x20b\\\x1b[2J\x0d\x0a\x00\x7f\xc8/"  a b\\\x09
]], text_of(fields, entry))
    local out = text_of(fields, entry, true)
    assert.is_nil(out:find "[^\n\32-\126]")
    assert.is_nil(out:find("\\/", 1, true))
    assert.same({ a = [[a b\\\x1b[2J\x0d\x0a\x00\x7f\xc8/"]], b = [[a b\\\x09]] }, json.decode(out))
  end)

  it("cuts text that is long, and lists in columns", function()
    local fields, entry = '{ "a", "text", "A" }', '{ a = ("x"):rep(1000) }, { a = ("x"):rep(1001) }'
    assert.equal(("A\n%s\n%s...\n"):format(("x"):rep(1000), ("x"):rep(1000)), text_of(fields, entry))
    local list = '{ a = { ("x"):rep(150), ("y"):rep(150), "z", "z" } }, { a = { "x", ("y"):rep(300) } }'
    assert.equal(("A\n%s, %s, 2 more\nx, %s\n"):format(("x"):rep(150), ("y"):rep(150), ("y"):rep(300)),
      text_of('{ "a", "list", "A" }', list))
    assert.equal(4, #json.decode(text_of('{ "a", "list", "A" }', list, true):match "^[^\n]*").a)
  end)

  it("has times of any year", function()
    assert.equal("TIME\n1970-01-01 00:00:00.000\n2554-07-21 23:34:33.709\n",
      text_of('{ "t", "time", "TIME", width = 0 }', "{ t = 0 }, { t = 18446744073709551 }"):gsub(" +\n", "\n"))
  end)

  it("looks at packets with one meter, whatever there are of CPUs, and refuses several", function()
    local result = printed('{ "a", "safe", "A" }', "{}", false, "--n-meters=2")
    assert.same({ 1, "", "nfengine: --n-meters=2: packets are looked at by one meter here, expected 1\n" },
      { result.status, result.out, result.err })
  end)

  it("shows each line of standard input at once", function()
    local command = ("timeout -s KILL 0.5 %s -q http -"):format(program.path)
    local result = program.fed("cat samples/web.pcap", command)
    assert.equal(8, select(2, result.out:gsub("\n", "")))
  end)

  it("ends when nobody reads any more, and fails where nothing can be written", function()
    local paths = ("samples/web.pcap "):rep(200)
    local result = program.shell(("{ %s -q http %s; echo $? >&2; } | head -1"):format(program.path, paths))
    assert.matches("^TIME [^\n]*\n$", result.out)
    assert.equal("0\n", result.err)
    result = program.shell(("%s -q http samples/web.pcap >/dev/full"):format(program.path))
    assert.same({ 1, "nfengine: cannot write standard output: No space left on device\n" },
      { result.status, result.err })
  end)
end)
