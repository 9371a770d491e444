-- lua/nfengine/protocols/reader.lua: messages that begin with their size, in one byte, read one behind the other.

local nf = require "nfengine"
local random = require "spec.support.random"
local reader = require "nfengine.protocols.reader"
local talk = require "spec.support.talk"
local testing = require "nfengine.testing"

local counts, sides -- of the last run

-- What the client of these packets says, message by message; "?" where its place was lost. `options` are the pool's;
-- `begin` (101) is the place at first, or false; `begin_again` that where it was lost.
local function messages_in(packets, options)
  local given = { bytes = 300, begin = 101 }
  for name, value in pairs(options or {}) do given[name] = value end
  local begin, begin_again = given.begin, given.begin_again
  given.begin, given.begin_again = nil, nil
  local messages = {}

  local function take(self, packet, flow)
    if packet.direction ~= 0 then return end
    local side = sides[flow.src_port]
    if not side then
      side = self.readers:side()
      sides[flow.src_port] = side
      if begin then self.readers:begin(side, begin) end
    end
    local bytes = self.readers:feed(side, packet)
    while bytes do
      local size = bytes:u8(0)
      if #bytes < size + 1 then break end
      messages[#messages + 1] = bytes:string(1, size)
      bytes = self.readers:pass(side, size + 1)
    end
    if not side.place then
      messages[#messages + 1] = "?"
      if begin_again then self.readers:begin(side, begin_again) end
    end
  end

  sides = {}
  local Read = nf.plugin {
    name = "read",
    setup = function(self) self.readers = reader.pool(given) end,
    on_init = take,
    on_update = take,
    on_expire = function(self, flow) self.readers:close(sides[flow.src_port]) end,
    cleanup = function(self) counts = self.readers:counts() end,
  }
  testing.flows { packets = packets, udps = Read {}, n_meters = 1 }
  return messages
end

local function message(text) return string.char(#text) .. text end

local FOUR = message "one" .. message "" .. message "three" .. message(("x"):rep(200))
local READ = { "one", "", "three", ("x"):rep(200) }

local function said(text, size, fields)
  local t = talk.new(fields)
  t:open()
  t:client(text, { size = size })
  return t
end

describe("a reader", function()
  after_each(testing.cleanup)

  it("reads messages however they are cut, and keeps nothing behind them", function()
    for _, size in ipairs { 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 100, 210, 211, 212, 1000 } do
      assert.same(READ, messages_in(said(FOUR, size).packets))
      assert.same({ 0, 0 }, { sides[1000].stream, sides[1000].there })
    end
    assert.same({ displaced = 0, gapped = 0 }, counts)
  end)

  it("reads them in any order of segments, twice and overlapping", function()
    random.trial(function(below)
      local t = said(FOUR, 17)
      local sequence = t.next.client
      for from = 1, #FOUR, 40 do
        t:segment("client", "A", FOUR:sub(from, from + 50), { seq = sequence - #FOUR + from - 1 })
      end
      assert.same(READ, messages_in(talk.shuffled(t.packets, below, 4, #t.packets)))
    end)
  end)

  it("reads segments that are larger than there is room for", function()
    local all, text = {}, ""
    for i = 1, 40 do
      all[i] = ("%d"):format(i):rep(i)
      text = text .. message(all[i])
    end
    for _, size in ipairs { 90, 500, 2000 } do
      assert.same(all, messages_in(said(text, size).packets, { bytes = 81 }))
      assert.same({ displaced = 0, gapped = 0 }, counts)
    end
  end)

  it("goes on where sequence numbers wrap, and for as long as there is something to read", function()
    local sequence = 2 ^ 32 - 20
    local t = said(FOUR:rep(30), 100, { client_sequence = sequence })
    local all = {}
    for _ = 1, 30 do
      for _, text in ipairs(READ) do all[#all + 1] = text end
    end
    assert.same(all, messages_in(t.packets, { begin = sequence + 1 }))
    assert.equal(30 * #FOUR, sides[1000].place)
  end)

  it("passes over what has not come yet, and may never", function()
    local t = talk.new()
    t:open()
    local long = message(("x"):rep(250))
    t:client(long:sub(1, 1))
    t:segment("client", "A", long:sub(2, 100), { is_lost = true })
    t.next.client = t.next.client + 250
    t:client(message "behind")
    assert.same({}, messages_in(t.packets)) -- waits for what is to be looked at
    local seen = {} -- where only sizes are
    local Skip = nf.plugin {
      name = "skip",
      setup = function(self)
        self.readers = reader.pool { bytes = 300 }
        self.side = self.readers:side()
        self.readers:begin(self.side, 101)
      end,
      on_update = function(self, packet)
        if packet.direction ~= 0 then return end
        local bytes = self.readers:feed(self.side, packet)
        while bytes do
          seen[#seen + 1] = bytes:u8(0)
          bytes = self.readers:pass(self.side, 1 + bytes:u8(0))
        end
        seen[#seen + 1] = self.side.stream == 0 and "-" or "kept"
      end,
    }
    table.insert(t.packets, 5, t.packets[4]) -- sent again
    testing.flows { packets = talk.in_order(t.packets), udps = Skip {}, n_meters = 1 }
    assert.same({ "-", 250, "-", "-", 6, "-" }, seen)
  end)

  it("passes over more bytes than there are sequence numbers", function()
    local places = {}
    local Far = nf.plugin {
      name = "far",
      setup = function(self)
        self.readers = reader.pool {}
        self.side = self.readers:side()
        self.readers:begin(self.side, 101)
      end,
      on_update = function(self, packet)
        if packet.direction ~= 0 or packet.payload_size == 0 then return end
        local bytes = self.readers:feed(self.side, packet)
        if bytes and bytes:u8(0) == 65 then bytes = self.readers:pass(self.side, 10 * 2 ^ 30) end
        places[#places + 1] = bytes and bytes:string() or self.side.reached
      end,
    }
    local t = talk.new()
    t:open()
    for i = 0, 10 do
      t:segment("client", "A", i == 0 and "A" or i == 10 and "B" or "x", { seq = (101 + i * 2 ^ 30) % 2 ^ 32 })
    end
    testing.flows { packets = t.packets, udps = Far {}, n_meters = 1 }
    assert.same({ 1, 2 ^ 30 + 1, 2 * 2 ^ 30 + 1, 3 * 2 ^ 30 + 1, 4 * 2 ^ 30 + 1, 5 * 2 ^ 30 + 1, 6 * 2 ^ 30 + 1,
      7 * 2 ^ 30 + 1, 8 * 2 ^ 30 + 1, 9 * 2 ^ 30 + 1, "B" }, places)
  end)

  it("does not read before it knows where", function()
    assert.same({ "?", "?", "?", "?", "?", "?" }, messages_in(said(FOUR, 60).packets, { begin = false }))
  end)

  it("loses its place where a gap does not close, and begins again", function()
    local t = talk.new()
    t:open()
    t:client(message "one")
    t:segment("client", "A", message "lost", { is_lost = true })
    t.next.client = t.next.client + 5
    local behind = t.next.client + 3 * 4
    for _ = 1, 3 do t:client(message "two") end
    t:client(message "new")
    assert.same({ "one", "?", "new" }, messages_in(t.packets, { patience = 3, begin_again = behind }))
    assert.same({ displaced = 0, gapped = 1 }, counts)
  end)

  it("loses its place where a segment was cut, unless that is passed over or comes again", function()
    local header = 54
    local function cut(packet, size)
      packet.size, packet.bytes = #packet.bytes, packet.bytes:sub(1, header + size)
    end
    local t = said(message "first" .. message "second", 100)
    cut(t.packets[4], 9)
    t:client(message "third")
    assert.same({ "first", "?" }, messages_in(t.packets))
    -- Cut in a message that has been passed over when more comes: "first" is read by its size alone.
    t = talk.new()
    t:open()
    t:client(message "first")
    t:client(message "third")
    cut(t.packets[4], 6)
    assert.same({ "first", "third" }, messages_in(t.packets))
    cut(t.packets[4], 3)
    assert.same({ "?" }, messages_in(t.packets))
  end)

  it("gives up the one that began first where there are too many", function()
    local packets = {}
    for port = 1, 4 do packets[#packets + 1] = said("\5abc", 100, { port = port }).packets[4] end
    for port = 1, 4 do
      local t = said("\5abc", 100, { port = port })
      t:client "de"
      packets[#packets + 1] = t.packets[5]
    end
    assert.same({ "?", "abcde", "abcde", "abcde" }, messages_in(talk.in_order(packets), { streams = 3 }))
    assert.same({ displaced = 1, gapped = 0 }, counts)
  end)

  it("says where a gap is, and where a packet ends", function()
    local gaps, ends = {}, {}
    local function look(self, packet)
      self.readers:feed(self.side, packet)
      gaps[#gaps + 1], ends[#ends + 1] = self.readers:gap(self.side) or "-", self.readers:end_of(self.side, packet)
    end
    local Look = nf.plugin {
      name = "look",
      setup = function(self)
        self.readers = reader.pool {}
        self.side = self.readers:side()
        self.readers:begin(self.side, 2 ^ 32 - 5)
      end,
      on_init = look,
      on_update = look,
    }
    local t = talk.new { client_sequence = 2 ^ 32 - 5 }
    t:client "ab"
    t:segment("client", "A", "efgh", { seq = 2 ^ 32 - 1 })
    t:segment("client", "A", "cd", { seq = 2 ^ 32 - 3 })
    t:segment("client", "A", "k", { seq = 5 })
    t:segment("client", "A", "a", { seq = 2 ^ 32 - 5 })
    testing.flows { packets = t.packets, udps = Look {}, n_meters = 1 }
    assert.same({ "-", 2 ^ 32 - 3, "-", 3, 3 }, gaps)
    assert.same({ 2, 8, 4, 11, 1 }, ends)
  end)
end)
