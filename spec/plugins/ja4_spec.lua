-- plugins/ja4.lua against the examples of JA4's description, what JA4's own programs print for their captures, and what
-- NFStream's plugin gives. How hellos are found is up to nfengine.protocols.tls, and tested there.

local data = require "spec.support.data"
local hello = require "spec.support.hello"
local Ja4 = require "plugins.ja4"
local json = require "nfengine.json"
local nf = require "nfengine"
local program = require "spec.support.program"
local quic = require "spec.support.quic"
local testing = require "nfengine.testing"

local P = testing.packet

local function fingerprints(packets, options)
  return testing.column("udps.ja4", testing.flows { packets = packets, udps = Ja4(options or {}), n_meters = 1 })
end

local function tcp(payload, fields, ip)
  local made = { seq = 1 }
  for name, value in pairs(fields or {}) do made[name] = value end
  return testing.at(0, P.eth {} .. (ip or P.ipv4 {}) .. P.tcp(made) .. payload)
end

local function of_message(message, options) return fingerprints({ tcp(hello.records(message)) }, options)[1] end
local function of(fields, options) return of_message(hello.message(fields), options) end

-- A fingerprint's parts: "t13d1516h2", ciphers, extensions.
local function parts(fields, options) return of(fields, options):match "^(%w+)_(%x+)_(%x+)$" end
local function first_part(fields, options) return (parts(fields, options)) end

-- The hello that the description works out: its lists in the order in which it gives them.
local CIPHERS = {
  0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d, 0x002f,
  0x0035,
}
local ALGORITHMS = { 0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601 }
local ORDER = {
  0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023, 0x0012, 0x002b, 0xff01, 0x000b,
  0x000a, 0x0015,
}

local function extensions(without)
  local bodies, list = {
    [0] = hello.server_name "example.org", [16] = hello.alpn("h2", "http/1.1"), [13] = hello.algorithms(ALGORITHMS),
    [43] = hello.versions { 0x0304, 0x0303 },
  }, {}
  for _, kind in ipairs(ORDER) do
    if kind ~= without then list[#list + 1] = bodies[kind] or { kind, "" } end
  end
  return list
end

describe("ja4", function()
  after_each(testing.cleanup)

  it("is what the description works out", function()
    assert.are.equal("t13d1516h2_8daaf6152771_e5627efa2ab1", of { ciphers = CIPHERS, extensions = extensions() })
  end)

  it("has no underscore in what it hashes where there are no signature algorithms", function()
    -- The description's hash is of these extensions, signature_algorithms among them, but no algorithms.
    local list = extensions(13)
    list[#list + 1] = { 13, "" }
    assert.are.equal("t13d1516h2_8daaf6152771_6d807ffa2a79", of { ciphers = CIPHERS, extensions = list })
  end)

  it("does not depend on the order of ciphers and extensions, but on that of algorithms", function()
    local function reversed(list)
      local other = {}
      for i, value in ipairs(list) do other[#list + 1 - i] = value end
      return other
    end
    assert.are.equal("t13d1516h2_8daaf6152771_e5627efa2ab1",
      of { ciphers = reversed(CIPHERS), extensions = reversed(extensions()) })
    local list = extensions(13)
    list[#list + 1] = hello.algorithms(reversed(ALGORITHMS))
    assert.are_not.equal("t13d1516h2_8daaf6152771_e5627efa2ab1", of { ciphers = CIPHERS, extensions = list })
  end)

  it("does not depend on the order of extensions, however many there are", function()
    local few, packets = { { 0x1001, "" }, { 0x1000, "" } }, {}
    for _, count in ipairs { 300, 66, 65, 64, 63 } do
      local ascending, shuffled = {}, {}
      for i = 1, count do ascending[i], shuffled[i] = { 0x1000 + i, "" }, { 0x1001 + i * 7919 % count, "" } end
      for _, list in ipairs { shuffled, few, ascending, few } do
        packets[#packets + 1] = tcp(hello.records(hello.message { extensions = list }), { src_port = 1000 + #packets })
      end
    end
    local found, of_few = fingerprints(packets), of { extensions = few }
    for i = 1, #packets, 4 do
      assert.are.equal(found[i + 2], found[i])
      assert.are.same({ of_few, of_few }, { found[i + 1], found[i + 3] })
    end
  end)

  it("does not count what is reserved to mean nothing, wherever it stands", function()
    local list = extensions()
    table.insert(list, 1, { 0xfafa, "" })
    table.insert(list, { 0x0a0a, "\0" })
    for _, extension in ipairs(list) do
      if extension[1] == 43 then extension[2] = hello.versions { 0x7a7a, 0x0304, 0xfafa }[2] end
      if extension[1] == 13 then
        extension[2] = hello.algorithms { 0x1a1a, 0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601,
          0x2a2a }[2]
      end
    end
    local ciphers = { 0x5a5a, unpack(CIPHERS) }
    ciphers[#ciphers + 1] = 0xeaea
    assert.are.equal("t13d1516h2_8daaf6152771_e5627efa2ab1", of { ciphers = ciphers, extensions = list })
  end)

  it("counts what is no cipher but stands among them", function()
    local first = first_part { ciphers = { 0x00ff, 0x5600, 0xfe00, 0x0a1a }, extensions = false }
    assert.are.equal("t12i040000", first)
  end)

  it("has zeros for what is not there", function()
    assert.are.equal("t12i000000_000000000000_000000000000", of { ciphers = {}, extensions = false })
    assert.are.equal("t12i000000_000000000000_000000000000", of { ciphers = {}, extensions = {} })
    -- Server name and ALPN are in the first part, so that nothing is left for the third.
    local both = { hello.server_name "example.org", hello.alpn "h2" }
    assert.are.equal("t12d0002h2_000000000000_000000000000", of { ciphers = {}, extensions = both })
  end)

  it("counts up to 99", function()
    local function first_of(count)
      local ciphers, list = {}, {}
      for i = 1, count do ciphers[i], list[i] = i, { 0x4000 + i, "" } end
      return first_part { ciphers = ciphers, extensions = list }
    end
    assert.are.same({ "t12i090900", "t12i989800", "t12i999900", "t12i999900", "t12i999900" },
      { first_of(9), first_of(98), first_of(99), first_of(100), first_of(1000) })
  end)

  it("has the newest version that is offered, else the one in front", function()
    local function version(front, list)
      return first_part { version = front, extensions = list and { hello.versions(list) } or false }:sub(2, 3)
    end
    assert.are.same({ "13", "12", "11", "10", "s3", "s2", "00" },
      { version(0x0304), version(0x0303), version(0x0302), version(0x0301), version(0x0300), version(0x0002),
        version(0x1234) })
    assert.are.same({ "13", "13", "11", "00", "00" }, {
      version(0x0303, { 0x0302, 0x0304, 0x0303 }), version(0x0303, { 0x0304 }), version(0x0303, { 0x0301, 0x0302 }),
      version(0x0303, { 0x7f1c, 0x0303 }), version(0x0303, { 0x0a0a }),
    })
  end)

  it("tells DTLS, whose versions count downwards", function()
    local function version(front, list)
      local message = hello.message {
        version = front, cookie = "", ciphers = { 1 }, extensions = list and { hello.versions(list) } or false,
      }
      local udp = P.udp { src_port = 5, dst_port = 6 }
      return fingerprints({ testing.at(0, P.eth {} .. P.ipv4 {} .. udp .. hello.dtls(message)) })[1]:sub(1, 3)
    end
    assert.are.same({ "dd1", "dd2", "dd3" }, { version(0xfeff), version(0xfefd), version(0xfefc) })
    assert.are.same({ "dd3", "dd2" },
      { version(0xfefd, { 0xfeff, 0xfefc, 0xfefd }), version(0xfefd, { 0xfefd, 0xfeff }) })
  end)

  it("tells QUIC, over IPv6 too", function()
    local message = hello.message { ciphers = CIPHERS, extensions = extensions() }
    local udp = P.udp {} .. quic.initial { dcid = "clientID", frames = quic.crypto(0, message) }
    for _, ip in ipairs { P.ipv4 {}, P.ipv6 {} } do
      assert.are.same({ "q13d1516h2_8daaf6152771_e5627efa2ab1" }, fingerprints { testing.at(0, P.eth {} .. ip .. udp) })
    end
    assert.are.same({ "t13d1516h2_8daaf6152771_e5627efa2ab1" },
      fingerprints { tcp(hello.records(message), nil, P.ipv6 {}) })
  end)

  it("has first and last character of the first ALPN value, or of its digits", function()
    local function alpn(options, ...) return first_part({ extensions = { hello.alpn(...) } }, options):sub(9) end
    assert.are.same({ "h2", "h1", "xx", "Z9", "00" },
      { alpn(nil, "h2", "x"), alpn(nil, "http/1.1"), alpn(nil, "x"), alpn(nil, "Z-_9"), alpn(nil, "", "h2") })
    -- The description's examples; the first two begin beyond ASCII, for which JA4's programs print 99.
    local examples = {
      { "\xab", "ab", "99" }, { "\xab\xcd", "ad", "99" }, { "\x20", "20" }, { "\x20\x61", "21" }, { "\x30\xab", "3b" },
      { "\x61\x20", "60" }, { "\x30\x31\xab\xcd", "3d" }, { "\x30\xab\xcd\x31", "01" },
    }
    for _, example in ipairs(examples) do
      assert.are.equal(example[2], alpn({ beyond_ascii = "hex" }, example[1]))
      assert.are.equal(example[3] or example[2], alpn(nil, example[1]))
    end
    assert.are.equal("t12i010100", first_part { extensions = { { 16, "\0\0" } } })
    assert.are.equal("t12i010100", first_part { extensions = { { 16, "" } } })
  end)

  it("stays empty where there is no hello, or not all of it", function()
    local message = hello.message { ciphers = CIPHERS, extensions = extensions() }
    local whole, cut = tcp(hello.records(message)), tcp(hello.records(message))
    cut.size, cut.bytes = #cut.bytes, cut.bytes:sub(1, -2)
    assert.are.same({ "" }, fingerprints { cut })
    assert.are.same({ "" }, fingerprints { tcp "\23\3\3\0\5hello" })
    assert.are.same({ "" }, fingerprints { tcp("", { flags = "S" }) })
    assert.are.same({ "" }, fingerprints { tcp(hello.records("\2" .. message:sub(2))) })
    assert.are.equal(36, #fingerprints({ whole })[1])
  end)

  it("is found behind as many packets as asked, by default 15", function()
    local function behind(count, options)
      local packets, text = {}, hello.records(hello.message {})
      for i = 1, count do packets[i] = tcp("x", { seq = i }) end
      packets[count + 1] = tcp(text, { seq = count + 1 })
      return #fingerprints(packets, options)[1]
    end
    assert.are.same({ 36, 0 }, { behind(15), behind(16) })
    assert.are.same({ 36, 0 }, { behind(2, { packets = 3 }), behind(3, { packets = 3 }) })
  end)

  it("refuses options out of bounds", function()
    for name, bad in pairs { packets = { 0, 256, 1.5 }, streams = { 0, 65537 }, beyond_ascii = { "", "98" } } do
      for _, value in ipairs(bad) do
        assert.is_truthy(testing.refusal(Ja4, { [name] = value }):find(name, 1, true))
      end
    end
  end)

  it("says on stderr how many hellos had no room, the same with any number of meters", function()
    local text, packets = hello.records(hello.message {}), {}
    for port = 1, 64 do packets[#packets + 1] = tcp(text:sub(1, 20), { src_port = port }) end
    local path = testing.file(packets)
    local function run(meters, streams)
      local result = program.run("-q", "flows", "--plugin=ja4", "-a", "ja4.streams=" .. streams,
        "--n-meters=" .. meters, "--columns=udps.ja4", "--n-dissections=0", path)
      assert.are.equal(0, result.status)
      assert.are.equal("udps.ja4\n" .. ('""\n'):rep(64), result.out)
      return result.err
    end
    for meters = 1, 3 do
      assert.are.equal("", run(meters, 64))
      -- Each meter has room for one.
      assert.are.equal("nfengine: plugin ja4: client hellos given up, more having come in part at once than there is "
        .. ("room for: %d\n"):format(64 - meters), run(meters, 1))
    end
  end)
end)

-- ---- other programs' results ----

local function ends_of(flow)
  return ("%s %d %s %d %d"):format(flow.src_ip, flow.src_port, flow.dst_ip, flow.dst_port, flow.protocol)
end

-- Fingerprints of a capture's flows by their ends, a list for each, those that have none left out.
local function by_ends(path)
  local all = {}
  for flow in nf.streamer { source = path, n_dissections = 0, udps = Ja4 {} }:flows() do
    local ends = ends_of(flow)
    all[ends] = all[ends] or {}
    table.insert(all[ends], flow.udps.ja4)
  end
  return all
end

-- What JA4's rust program prints: the same by ends, over TCP those on which its python program agrees.
local function printed(folder)
  local python = {}
  for _, stream in ipairs(json.decode(program.read(folder .. "/ja4-python.json"))) do
    if stream["JA4.1"] then
      python[("%s %s %s %s"):format(stream.src, stream.srcport, stream.dst, stream.dstport)] = stream["JA4.1"]
    end
  end
  local all, count, fields = {}, 0, nil
  local function take()
    local ends = ("%s %s %s %s"):format(fields.src, fields.src_port, fields.dst, fields.dst_port)
    local is_quic = fields.transport == "udp"
    if not fields.ja4 or not is_quic and python[ends] and python[ends] ~= fields.ja4 then return end
    all[ends .. (is_quic and " 17" or " 6")] = fields.ja4
    count = count + 1
  end
  for line in program.read(folder .. "/ja4-rust.snap"):gmatch "[^\n]+" do
    if line:match "^%- stream" then
      if fields then take() end
      fields = {}
    end
    local name, value = line:match "^  ([%w_]+): (.+)$"
    if name then fields[name] = value end
  end
  if fields then take() end
  return all, count
end

describe("ja4 agrees with", function()
  it("JA4's own programs, on every TLS and QUIC client of their captures", function()
    local names = program.shell("ls -d " .. program.quote(data.folder) .. "/expected/ja4/*/ 2>/dev/null").out
    if names == "" then return pending(data.absent) end
    local total = 0
    for name in names:gmatch "([^/\n]+)/\n" do
      local expected, count = printed(data.folder .. "/expected/ja4/" .. name)
      local found, given = by_ends(data.folder .. "/captures/ja4/" .. name), {}
      for ends, list in pairs(found) do given[ends] = list[1] ~= "" and list[1] or nil end
      assert.are.same(expected, given, name)
      total = total + count
    end
    assert.are.equal(179, total)
  end)

  it("NFStream's plugin, but for versions that it misreads", function()
    local golden = program.quote(data.folder .. "/golden/plugin_ja4.csv.gz")
    local lines = program.shell(("zcat %s 2>/dev/null | grep '_[0-9a-f]\\{12\\},'"):format(golden)).out
    if lines == "" then return pending(data.absent) end
    local captures, count, misread = {}, 0, 0
    for line in lines:gmatch "[^\n]+" do
      local cells = {}
      for cell in (line .. ","):gmatch "([^,]*)," do cells[#cells + 1] = cell end
      local path, expected = cells[1], cells[#cells - 1]
      captures[path] = captures[path] or by_ends(data.folder .. "/" .. path)
      local ends = ("%s %s %s %s %s"):format(cells[4], cells[7], cells[8], cells[11], cells[12])
      local is_there = false
      for _, ja4 in ipairs(captures[path][ends] or {}) do
        -- SSL 3.0 and versions before TLS 1.3 was done: NFStream makes more than two characters of them (D14).
        local version = ja4:match "^t(00)" or ja4:match "^t(s3)"
        local misreads = version and #expected ~= #ja4 and expected:sub(-#ja4 + 3) == ja4:sub(4)
        if ja4 == expected or misreads then is_there = true end
        if misreads then misread = misread + 1 end
      end
      assert.is_true(is_there, line)
      count = count + 1
    end
    assert.are.same({ 329, 16 }, { count, misread })
  end)
end)
