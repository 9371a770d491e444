-- plugins/mdns.lua: DNS messages made byte by byte.

local testing = require "nfengine.testing"
local worker = require "nfengine.worker"
local Mdns = require "plugins.mdns"

local P = testing.packet

local A, PTR, TXT, SRV, NSEC = 1, 12, 16, 33, 47

-- "a.b.local" as labels, to be ended by a zero or a pointer.
local function labels(text)
  return (text:gsub("([^.]+)%.?", function(label) return P.u8(#label) .. label end))
end

local function name(text) return labels(text) .. "\0" end
local function pointer(at) return P.u16(0xc000 + at) end

-- A resource record; its owner is a name of three bytes.
local function record(kind, data) return name "x" .. P.u16(kind) .. P.u16(1) .. P.u32(120) .. P.u16(#data) .. data end
local RECORD = 3 + 10 -- bytes of it before its data

local HEADER = 12

-- A message of these lists of records; `questions` are names, of which the first begins at byte 12.
local function message(answers, questions, authorities, additional)
  local parts = { P.u16(0), P.u16(0x8400) }
  for _, list in ipairs { questions or {}, answers, authorities or {}, additional or {} } do
    parts[#parts + 1] = P.u16(#list)
  end
  for _, question in ipairs(questions or {}) do parts[#parts + 1] = question .. P.u16(PTR) .. P.u16(1) end
  for _, list in ipairs { answers, authorities or {}, additional or {} } do
    for _, each in ipairs(list) do parts[#parts + 1] = each end
  end
  return table.concat(parts)
end

local function datagram(ms, bytes, from, to)
  local udp = P.udp { src_port = from or 5353, dst_port = to or 5353 }
  return testing.at(ms, P.eth {} .. P.ipv4 { dst = "224.0.0.251" } .. udp .. bytes)
end

-- The names of the first flow of these packets.
local function names_in(packets, options)
  return testing.flows({ packets = packets, udps = Mdns(options) })[1].udps.mdns_ptr
end

local function names_of(bytes, options) return names_in({ datagram(0, bytes) }, options) end

describe("mdns", function()
  after_each(testing.cleanup)

  it("has the names that PTR answers point to, in their order", function()
    assert.equal("printer.local,laser._ipp._tcp.local",
      names_of(message { record(PTR, name "printer.local"), record(PTR, name "laser._ipp._tcp.local") }))
  end)

  it("has each name once, of all messages of the flow", function()
    local one, two = record(PTR, name "one.local"), record(PTR, name "two.local")
    assert.equal("one.local,two.local", names_in {
      datagram(0, message { one, one }), datagram(1, message { two, one }), datagram(2, message { two }) })
    -- A part of another is a name of its own.
    assert.equal("one.local,one,local", names_of(message {
      record(PTR, name "one.local"), record(PTR, name "one"), record(PTR, name "local"), record(PTR, name "one") }))
  end)

  it("follows pointers, which may follow labels and lead to pointers", function()
    local questions = { name "_ipp._tcp.local" } -- at 12; "_tcp.local" at 17
    local first = HEADER + #questions[1] + 4 + RECORD
    assert.equal("laser._ipp._tcp.local,scan._tcp.local,old.laser._ipp._tcp.local", names_of(message({
      record(PTR, labels "laser" .. pointer(12)), record(PTR, labels "scan" .. pointer(17)),
      record(PTR, labels "old" .. pointer(first)) }, questions)))
  end)

  it("passes over owners' names, pointers or not", function()
    local function owned(owner, data)
      return owner .. P.u16(PTR) .. P.u16(0x8001) .. P.u32(120) .. P.u16(#data) .. data
    end
    local questions = { name "_ipp._tcp.local" }
    assert.equal("one.local,two.local,three.local", names_of(message({ owned(pointer(12), name "one.local"),
      owned(labels "a.b" .. pointer(17), name "two.local"), owned("\0", name "three.local") }, questions)))
    -- 64 to 191 are no lengths: what follows cannot be found.
    for _, length in ipairs { 64, 128, 191 } do
      assert.equal("one.local", names_of(message { record(PTR, name "one.local"),
        owned(P.u8(length) .. ("x"):rep(length) .. "\0", name "two.local") }))
    end
  end)

  it("has the same from the way back", function()
    local ip = P.ipv4 { src = "224.0.0.251", dst = "10.0.0.1" }
    local answer = testing.at(1, P.eth {} .. ip .. P.udp { src_port = 5353, dst_port = 40000 }
      .. message { record(PTR, name "back.local") })
    assert.equal("back.local", names_in { datagram(0, message {}, 40000), answer })
  end)

  it("looks at no question, no other section and no other record", function()
    local other = { record(PTR, name "no.local") }
    assert.equal("yes.local", names_of(message({ record(SRV, P.u32(0) .. P.u16(80) .. name "host.local"),
      record(A, "\10\0\0\1"), record(TXT, "\5a=b.c"), record(PTR, name "yes.local") }, { name "asked.local" },
      other, other)))
  end)

  it("does not mind records of types it does not know, in any section", function()
    local unknown = record(NSEC, name "printer.local" .. "\0\4\64\0\0\8")
    assert.equal("one.local,two.local", names_of(message({ record(PTR, name "one.local"), unknown,
      record(PTR, name "two.local") }, {}, {}, { unknown })))
  end)

  it("looks at flows over IPv4 and UDP to port 5353 only", function()
    local bytes = message { record(PTR, name "one.local") }
    assert.equal("one.local", names_in { datagram(0, bytes, 40000, 5353) })
    assert.equal("", names_in { datagram(0, bytes, 5353, 40000) })
    assert.equal("", names_in { testing.at(0, P.eth {} .. P.ipv6 {} .. P.udp { dst_port = 5353 } .. bytes) })
    assert.equal("", names_in { testing.at(0, P.eth {} .. P.ipv4 {} .. P.tcp { dst_port = 5353 } .. bytes) })
  end)

  it("writes commas and zero bytes within names as spaces", function()
    local list = { record(PTR, name "a,b.local"), record(PTR, name "a b.local"), record(PTR, name "c\0d.local"),
      record(PTR, name "c\0d.local") }
    assert.equal("a b.local,c d.local", names_of(message(list)))
  end)

  it("leaves out names that no longer fit, whole", function()
    local list = { record(PTR, name "one.local"), record(PTR, name "three.local"), record(PTR, name "2.local") }
    assert.equal("one.local,2.local", names_of(message(list), { length = 20 })) -- "one.local,three.local" has 21
    assert.equal("one.local,three.local", names_of(message(list), { length = 21 }))
    assert.equal("2.local", names_of(message(list), { length = 8 }))
    assert.equal("", names_of(message(list), { length = 6 }))
    local long = {}
    for i = 1, 60 do long[i] = record(PTR, name(("%04d.local"):format(i))) end
    assert.equal(45 * 10 + 44, #names_of(message(long))) -- 500 bytes by default, 11 for each
  end)

  it("takes names of at most 255 bytes", function()
    local label = ("x"):rep(63)
    local longest = label .. "." .. label .. "." .. label .. "." .. ("y"):rep(61) -- 253 and two length bytes
    assert.equal(longest, names_of(message { record(PTR, name(longest)) }))
    assert.equal("", names_of(message { record(PTR, name(longest .. "z")) }))
  end)

  -- Answers: a record whose data are these parts, which point to each other, and then one that points to the last.
  local function chained(parts)
    local last = HEADER + RECORD
    for i = 1, #parts - 1 do last = last + #parts[i] end
    return message { record(TXT, table.concat(parts)), record(PTR, pointer(last)), record(PTR, name "good.local") }
  end

  it("bounds names that pointers put together", function()
    for count, expected in pairs { [28] = ("abcdefgh."):rep(27) .. "abcdefgh,good.local", [29] = "good.local" } do
      local parts, at = { labels "abcdefgh" .. "\0" }, HEADER + RECORD -- 28 of them: 251 characters with their dots
      for i = 2, count do
        parts[i] = labels "abcdefgh" .. pointer(at)
        at = at + #parts[i - 1]
      end
      assert.equal(expected, names_of(chained(parts)))
    end
  end)

  it("follows a chain of pointers, but not for ever", function()
    for count, expected in pairs { [200] = "a,good.local", [300] = "good.local" } do
      local parts = { labels "a" .. "\0", pointer(HEADER + RECORD) }
      for i = 3, count do parts[i] = pointer(HEADER + RECORD + 3 + 2 * (i - 3)) end
      assert.equal(expected, names_of(chained(parts)))
    end
  end)

  it("has none of the root's name", function()
    assert.equal("a,b", names_of(message { record(PTR, "\0"), record(PTR, name "a"), record(PTR, "\0"),
      record(PTR, name "b") }))
  end)

  it("ends with pointers to themselves, to what follows and to each other", function()
    local at = HEADER + RECORD
    local good = record(PTR, name "good.local")
    for _, data in ipairs { pointer(at), labels "a" .. pointer(at), pointer(at + 2), pointer(0x3fff),
      labels "a" .. pointer(at + 2), "\64", "\191a", labels "a" .. "\128" } do
      assert.equal("good.local", names_of(message { record(PTR, data), good }))
    end
    -- To a name, but one that is still to come; directly, and by way of a prior pointer.
    local behind, late = HEADER + RECORD + 2 + RECORD, record(TXT, name "late.local")
    assert.equal("good.local", names_of(message { record(PTR, pointer(behind)), late, good }))
    assert.equal("good.local", names_of(message { record(TXT, pointer(behind + 2 + RECORD)),
      record(PTR, pointer(at)), late, good }))
    -- The second points to the first, which pointed to the second.
    local second = HEADER + RECORD + 2 + RECORD
    assert.equal("good.local", names_of(message { record(PTR, pointer(second)), record(PTR, pointer(at)), good }))
  end)

  it("believes no counts and no lengths", function()
    local answer = record(PTR, name "one.local")
    local function counted(questions, answers, behind)
      return P.u16(0) .. P.u16(0x8400) .. P.u16(questions) .. P.u16(answers) .. P.u32(0) .. behind
    end
    assert.equal("one.local", names_of(counted(0, 65535, answer)))
    assert.equal("", names_of(counted(65535, 65535, answer)))
    assert.equal("", names_of(counted(0, 0, answer)))
    local long = name "x" .. P.u16(PTR) .. P.u16(1) .. P.u32(120) .. P.u16(65535) .. name "one.local"
    assert.equal("one.local", names_of(counted(0, 2, long .. answer)))
    for size = 0, 12 do assert.equal("", names_of(("\0"):rep(size))) end
    assert.equal("", names_of(("\255"):rep(100)))
  end)

  it("takes as much of a cut message as there is", function()
    local whole = datagram(0, message({ record(PTR, name "one.local"), record(PTR, name "two.local") },
      { name "asked.local" }))
    local size, seen = #whole.bytes, {}
    for captured = 42, size do
      whole.size, whole.bytes = size, datagram(0, message({ record(PTR, name "one.local"),
        record(PTR, name "two.local") }, { name "asked.local" })).bytes:sub(1, captured)
      seen[#seen + 1] = names_in { whole }
    end
    local counts = {}
    for i, names in ipairs(seen) do
      if i > 1 then assert.is_true(#names >= #seen[i - 1]) end
      counts[names] = (counts[names] or 0) + 1
    end
    -- "two.local" with its head takes 24 bytes.
    assert.same({ [""] = #seen - 25, ["one.local"] = 24, ["one.local,two.local"] = 1 }, counts)
  end)

  it("refuses lengths that no column can have", function()
    for _, length in ipairs { 0, 65536, 0.5 } do
      assert.matches("plugin mdns: length = .*: expected an integer from 1 to 65535",
        testing.refusal(Mdns, { length = length }))
    end
  end)

  it("lets a run choose any number of meters", function()
    assert.is_false(worker.wants_one { Mdns {} })
  end)
end)
