-- core/flow.c: what packets do to a flow's counters and sections; and where nf_layout_of puts the sections.

local ffi = require "ffi"
local C = require "nfengine.lib"

-- flow.h ends with an inline body, which LuaJIT's parser does not take; the prototypes stand before it.
local header = assert(io.open "core/flow.h")
ffi.cdef((header:read "*a":gsub("\n?#[^\n]*", "\n"):gsub("/%* A slot's sections.*", "")))
header:close()

local HEAD = ffi.sizeof "struct nf_flow"

local function layout_of(wanted)
  local options = ffi.new "struct nf_options"
  for field, value in pairs(wanted or {}) do options[field] = value end
  return C.nf_layout_of(options)
end

-- ---- a flow to put packets on ----

local Slot = {}
Slot.__index = Slot

-- Memory for a flow with these sections, full of what the last flow may have left there.
local function new_slot(wanted)
  local layout = layout_of(wanted)
  local memory = ffi.new("uint64_t[?]", layout.size / 8)
  ffi.fill(memory, layout.size, 0xEE)
  return setmetatable({ memory = memory, layout = layout, flow = ffi.cast("struct nf_flow *", memory) }, Slot)
end

function Slot:section(name, ctype)
  return ffi.cast(ctype, ffi.cast("char *", self.memory) + self.layout[name])
end

function Slot:statistics() return self:section("statistics", "struct nf_statistics *") end

-- The SPLT section as { piat = {...}, ps = {...}, direction = {...} }.
function Slot:splt()
  local n = self.layout.splt_length
  local piat = self:section("splt", "int64_t *")
  local ps = ffi.cast("int32_t *", piat + n)
  local direction = ffi.cast("int8_t *", ps + n)
  local lists = { piat = {}, ps = {}, direction = {} }
  for i = 1, n do
    lists.piat[i], lists.ps[i], lists.direction[i] = tonumber(piat[i - 1]), ps[i - 1], direction[i - 1]
  end
  return lists
end

local position = 0

local function packet(fields)
  position = position + 1
  local p = ffi.new "struct nf_packet"
  p.position, p.ip_version = position, fields.ip_version or 4
  p.tick, p.accounted_size = fields.tick or 0, fields.size or 100
  p.direction = fields.back and 1 or 0
  for flag in (fields.flags or ""):gmatch "%a+" do p[flag] = 1 end
  if fields.src_mac then ffi.copy(p.src_mac_address, fields.src_mac, 6) end
  if fields.dst_mac then ffi.copy(p.dst_mac_address, fields.dst_mac, 6) end
  return p
end

-- Puts packets on the flow, the first as its first, and returns them as C left them.
function Slot:take(list)
  local packets = {}
  for i, fields in ipairs(list) do
    packets[i] = packet(fields)
    if i == 1 and not self.has_started then C.nf_flow_start(self.flow, self.layout, packets[i])
    else C.nf_flow_add(self.flow, self.layout, packets[i]) end
    self.has_started = true
  end
  return packets
end

local function scope(slot, index)
  local s = slot.flow.scope[index]
  return {
    first = tonumber(s.first_seen), last = tonumber(s.last_seen), duration = tonumber(s.duration),
    packets = tonumber(s.packets), bytes = tonumber(s.bytes),
  }
end

local NOTHING = { first = 0, last = 0, duration = 0, packets = 0, bytes = 0 }

describe("a flow", function()
  describe("that began", function()
    it("has its first packet in both directions together and in its own", function()
      local slot = new_slot()
      slot:take { { tick = 5000, size = 60 } }
      local want = { first = 5000, last = 5000, duration = 0, packets = 1, bytes = 60 }
      assert.same(want, scope(slot, C.NF_BIDIRECTIONAL))
      assert.same(want, scope(slot, C.NF_SRC2DST))
    end)

    it("has zeros the other way", function()
      local slot = new_slot()
      slot:take { { tick = 5000 }, { tick = 5010 } }
      assert.same(NOTHING, scope(slot, C.NF_DST2SRC))
    end)

    it("has the addresses and version of its first packet, and is live", function()
      local slot = new_slot()
      local first = { ip_version = 6, src_mac = "source", dst_mac = "target" }
      slot:take { first, { ip_version = 4, src_mac = "others", dst_mac = "others" } }
      assert.equal("source", ffi.string(slot.flow.src_mac_address, 6))
      assert.equal("target", ffi.string(slot.flow.dst_mac_address, 6))
      assert.equal(6, slot.flow.ip_version)
      assert.equal(C.NF_END_LIVE, slot.flow.end_reason)
      assert.equal(0, slot.flow.expiration_id)
    end)

    it("says so to its packet, which goes from source to destination whatever it said before", function()
      local slot = new_slot()
      local p = slot:take({ { tick = 9, back = true } })[1]
      assert.equal(slot.flow, p.flow)
      assert.equal(0, p.direction)
      assert.equal(0ULL, p.delta)
    end)
  end)

  describe("that goes on", function()
    it("counts each packet in both directions together and in its own", function()
      local slot = new_slot()
      slot:take {
        { tick = 1000, size = 10 }, { tick = 1100, size = 200, back = true }, { tick = 1150, size = 3000 },
        { tick = 1400, size = 40000, back = true },
      }
      local both, there, back = scope(slot, C.NF_BIDIRECTIONAL), scope(slot, C.NF_SRC2DST), scope(slot, C.NF_DST2SRC)
      assert.same({ first = 1000, last = 1400, duration = 400, packets = 4, bytes = 43210 }, both)
      assert.same({ first = 1000, last = 1150, duration = 150, packets = 2, bytes = 3010 }, there)
      assert.same({ first = 1100, last = 1400, duration = 300, packets = 2, bytes = 40200 }, back)
    end)

    it("sums sizes beyond 32 bits", function()
      local slot = new_slot()
      slot:take { { size = 4294967295 }, { size = 4294967295 } }
      assert.equal(2 * 4294967295, scope(slot, C.NF_BIDIRECTIONAL).bytes)
    end)

    it("tells each packet the time since the one before it, whichever way that went", function()
      local slot = new_slot()
      local packets = slot:take {
        { tick = 10 }, { tick = 25, back = true }, { tick = 25 }, { tick = 1025, back = true },
      }
      local deltas = {}
      for i, p in ipairs(packets) do
        deltas[i] = tonumber(p.delta)
        assert.equal(slot.flow, p.flow)
      end
      assert.same({ 0, 15, 0, 1000 }, deltas)
    end)

    it("remembers its latest packet's number", function()
      local slot = new_slot()
      local packets = slot:take { {}, {}, {} }
      assert.equal(packets[3].position, slot.flow.last_packet)
    end)
  end)

  describe("with statistics", function()
    local slot
    before_each(function() slot = new_slot { statistical_analysis = true } end)

    it("keeps them for both directions together and for each, times being those within the scope", function()
      slot:take {
        { tick = 0, size = 10 }, { tick = 5, size = 20, back = true }, { tick = 30, size = 30 },
        { tick = 45, size = 50, back = true }, { tick = 100, size = 80 },
      }
      local s = slot:statistics()
      local function summary(i)
        return { s[i].ps.min, s[i].ps.max, tonumber(s[i].piat.min), tonumber(s[i].piat.max) }
      end
      assert.same({ 10, 80, 5, 55 }, summary(C.NF_BIDIRECTIONAL))
      assert.same({ 10, 80, 30, 70 }, summary(C.NF_SRC2DST))
      assert.same({ 20, 50, 40, 40 }, summary(C.NF_DST2SRC))
      assert.equal(38, s[C.NF_BIDIRECTIONAL].ps.mean)
      assert.equal(50, s[C.NF_SRC2DST].piat.mean)
      assert.equal(35, s[C.NF_DST2SRC].ps.mean)
    end)

    it("has all zeros the other way", function()
      slot:take { { flags = "fin syn rst psh ack urg ece cwr" }, { flags = "ack" } }
      C.nf_flow_finish(slot.flow, slot.layout, C.NF_END_IDLE)
      local size = ffi.sizeof "struct nf_statistics"
      assert.equal(("\0"):rep(size), ffi.string(slot:statistics() + C.NF_DST2SRC, size))
    end)

    it("counts TCP flags in both directions together and in their own", function()
      slot:take { { flags = "syn" }, { flags = "syn ack", back = true }, { flags = "ack" } }
      local s = slot:statistics()
      local SYN, ACK = 1, 4
      assert.same({ 2, 1, 1 }, { s[0].flags[SYN], s[1].flags[SYN], s[2].flags[SYN] })
      assert.same({ 2, 1, 1 }, { s[0].flags[ACK], s[1].flags[ACK], s[2].flags[ACK] })
    end)

    it("has deviations once it has ended", function()
      slot:take { { tick = 0, size = 100 }, { tick = 10, size = 200, back = true }, { tick = 40, size = 300 } }
      C.nf_flow_finish(slot.flow, slot.layout, C.NF_END_IDLE)
      local s = slot:statistics()
      assert.equal(100, s[C.NF_BIDIRECTIONAL].ps.spread)
      assert.equal(math.sqrt(200), s[C.NF_BIDIRECTIONAL].piat.spread)
      assert.equal(math.sqrt(20000), s[C.NF_SRC2DST].ps.spread)
      assert.equal(0, s[C.NF_SRC2DST].piat.spread)
      assert.equal(0, s[C.NF_DST2SRC].ps.spread)
    end)
  end)

  describe("with the first packets' sequence", function()
    it("records direction, size and time since the packet before", function()
      local slot = new_slot { splt_analysis = 3 }
      slot:take { { tick = 7, size = 60 }, { tick = 9, size = 1500, back = true }, { tick = 1009, size = 52 } }
      assert.same({ piat = { 0, 2, 1000 }, ps = { 60, 1500, 52 }, direction = { 0, 1, 0 } }, slot:splt())
      assert.equal(3, slot.flow.splt_count)
    end)

    it("has -1 where packets are missing", function()
      local slot = new_slot { splt_analysis = 4 }
      slot:take { { size = 60 } }
      assert.same({ piat = { 0, -1, -1, -1 }, ps = { 60, -1, -1, -1 }, direction = { 0, -1, -1, -1 } }, slot:splt())
      assert.equal(1, slot.flow.splt_count)
    end)

    it("stops when it is full", function()
      local slot = new_slot { splt_analysis = 1, udps_size = 8 }
      slot:take { { size = 60 }, { size = 61 }, { size = 62 } }
      assert.same({ piat = { 0 }, ps = { 60 }, direction = { 0 } }, slot:splt())
      assert.equal(0ULL, slot:section("udps", "uint64_t *")[0])
    end)

    it("never takes a size for a missing packet: beyond 2^31 it stays at 2^31 - 1", function()
      local slot = new_slot { splt_analysis = 3 }
      slot:take { { size = 4294967295 }, { size = 2147483648 }, { size = 2147483647 } }
      assert.same({ 2147483647, 2147483647, 2147483647 }, slot:splt().ps)
    end)

    it("may be as long as 65535 packets", function()
      local slot = new_slot { splt_analysis = 65535 }
      local list = {}
      for i = 1, 65540 do list[i] = { tick = i, size = i } end
      slot:take(list)
      local splt = slot:splt()
      assert.equal(65535, splt.ps[65535])
      assert.equal(1, splt.piat[65535])
      assert.equal(65535, slot.flow.splt_count)
    end)
  end)

  describe("with a section for plugins", function()
    it("finds it zeroed, to the end of the slot", function()
      local slot = new_slot { udps_size = 13, splt_analysis = 5, statistical_analysis = true }
      slot:take { {} }
      assert.equal(("\0"):rep(16), ffi.string(slot:section("udps", "char *"), 16))
    end)

    it("leaves it to them afterwards", function()
      local slot = new_slot { udps_size = 8 }
      slot:take { {} }
      slot:section("udps", "uint64_t *")[0] = 4711
      slot:take { { back = true } }
      C.nf_flow_finish(slot.flow, slot.layout, C.NF_END_IDLE)
      assert.equal(4711ULL, slot:section("udps", "uint64_t *")[0])
    end)
  end)

  describe("that ends", function()
    it("says why, and leaves its counters and expiration_id", function()
      local slot = new_slot()
      slot:take { { tick = 1 }, { tick = 4 } }
      slot.flow.expiration_id = 5
      C.nf_flow_finish(slot.flow, slot.layout, C.NF_END_FULL)
      assert.equal(C.NF_END_FULL, slot.flow.end_reason)
      assert.equal(5, slot.flow.expiration_id)
      assert.equal(3, scope(slot, C.NF_BIDIRECTIONAL).duration)
    end)
  end)

  it("without a section never writes behind its head", function()
    local slot = new_slot()
    assert.equal(HEAD, slot.layout.size)
    local memory = ffi.new("uint8_t[?]", HEAD + 256)
    ffi.fill(memory, HEAD + 256, 0xEE)
    slot.flow = ffi.cast("struct nf_flow *", memory)
    slot:take { { flags = "syn" }, { flags = "ack", back = true } }
    C.nf_flow_finish(slot.flow, slot.layout, C.NF_END_IDLE)
    assert.equal(("\xEE"):rep(256), ffi.string(memory + HEAD, 256))
  end)
end)

describe("the layout of a flow", function()
  local ALL = {
    statistical_analysis = true, splt_analysis = 7, n_dissections = 20, l7_extra = true, udps_size = 13,
  }
  local SECTIONS = { "statistics", "splt", "l7", "l7_extra", "udps" }

  local function size_of(section, wanted)
    return ({
      statistics = 3 * ffi.sizeof "struct nf_statistics", splt = wanted.splt_analysis and wanted.splt_analysis * 13,
      l7 = ffi.sizeof "struct nf_l7", l7_extra = ffi.sizeof "struct nf_l7_extra", udps = wanted.udps_size,
    })[section]
  end

  it("is the bare flow where nothing is asked for", function()
    local layout = layout_of()
    for _, section in ipairs(SECTIONS) do assert.equal(0, layout[section], section) end
    assert.equal(HEAD, layout.size)
  end)

  it("has the sections one behind the other, each with room for what it holds, 8-byte aligned", function()
    local layout, at = layout_of(ALL), HEAD
    for _, section in ipairs(SECTIONS) do
      assert.equal(at, layout[section], section)
      at = math.ceil((at + size_of(section, ALL)) / 8) * 8
    end
    assert.equal(at, layout.size)
    assert.equal(7, layout.splt_length)
  end)

  for option, section in pairs {
    statistical_analysis = "statistics", splt_analysis = "splt", n_dissections = "l7", udps_size = "udps",
  } do
    it("has the section " .. section .. " alone where it alone is asked for", function()
      local wanted = { [option] = ALL[option] }
      local layout = layout_of(wanted)
      for _, name in ipairs(SECTIONS) do assert.equal(name == section and HEAD or 0, layout[name], name) end
      assert.equal(math.ceil((HEAD + size_of(section, wanted)) / 8) * 8, layout.size)
    end)
  end

  it("has no further L7 columns without L7", function()
    assert.equal(0, layout_of({ l7_extra = true }).l7_extra)
    assert.equal(HEAD, layout_of({ l7_extra = true }).size)
  end)
end)
