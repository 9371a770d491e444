-- core/table.c: live flows by tuple, in the order in which they were last seen.

local bit = require "bit"
local ffi = require "ffi"
local C = require "spec.support.core" ("hash", "table")
local random = require "spec.support.random"

local SLOT = ffi.sizeof "struct nf_flow" + 64

local function new_table(max_flows, slot_size)
  local key = ffi.new "struct nf_hash_key"
  C.nf_hash_seed(key)
  return ffi.gc(assert(C.nf_table_new(slot_size or SLOT, max_flows or 0, key)), C.nf_table_free)
end

-- ---- tuples ----

-- A tuple of { a, a_port, b, b_port, protocol, vlan, tunnel }: addresses as strings of up to 16 bytes.
local function tuple(t)
  local made = ffi.new "struct nf_tuple"
  ffi.copy(made.src_address, t.a or "\10\0\0\1", #(t.a or "\10\0\0\1"))
  ffi.copy(made.dst_address, t.b or "\10\0\0\2", #(t.b or "\10\0\0\2"))
  made.src_port, made.dst_port = t.a_port or 1000, t.b_port or 2000
  made.protocol, made.vlan_id, made.tunnel_id = t.protocol or 17, t.vlan or 0, t.tunnel or 0
  return made
end

-- A value for each field that the default tuple does not have.
local OTHER = {
  a = "\10\0\0\3", b = "\10\0\0\3", a_port = 1001, b_port = 2001, protocol = 6, vlan = 5, tunnel = 1,
}

local function swapped(t)
  local back = ffi.new("struct nf_tuple", t)
  ffi.copy(back.src_address, t.dst_address, 16)
  ffi.copy(back.dst_address, t.src_address, 16)
  back.src_port, back.dst_port = t.dst_port, t.src_port
  return back
end

-- ---- calls ----

local direction = ffi.new "uint8_t[1]"

-- Under its own hash, or under another's as if they were the same.
local function find(flows, t, hash)
  direction[0] = 9
  local flow = C.nf_table_find(flows, t, hash or C.nf_table_hash(flows, t), direction)
  if flow == nil then return nil end
  return flow, direction[0]
end

local function insert(flows, t)
  local flow = C.nf_table_insert(flows, t, C.nf_table_hash(flows, t))
  return flow ~= nil and flow or nil
end

local function drop(flows, flow)
  C.nf_table_remove(flows, flow)
  C.nf_table_release(flows, flow)
end

local function address_of(flow) return tonumber(ffi.cast("uintptr_t", flow)) end
local function count(flows) return tonumber(C.nf_table_count(flows)) end

local function oldest(flows)
  local flow = C.nf_table_oldest(flows)
  return flow ~= nil and flow or nil
end

describe("the flow table", function()
  describe("finds", function()
    it("nothing in an empty table", function()
      local flows = new_table()
      assert.is_nil(find(flows, tuple {}))
      assert.is_nil(oldest(flows))
      assert.equal(0, count(flows))
    end)

    it("a flow from both sides, and says which", function()
      local flows, t = new_table(), tuple {}
      local flow = insert(flows, t)
      local there, way = find(flows, t)
      assert.equal(address_of(flow), address_of(there))
      assert.equal(0, way)
      there, way = find(flows, swapped(t))
      assert.equal(address_of(flow), address_of(there))
      assert.equal(1, way)
    end)

    it("the way back by the addresses where the ports are equal, and by the ports where the addresses are", function()
      for _, fields in ipairs { { a_port = 53, b_port = 53 }, { a = "\10\0\0\9", b = "\10\0\0\9" } } do
        local flows, t = new_table(), tuple(fields)
        insert(flows, t)
        assert.equal(0, select(2, find(flows, t)))
        assert.equal(1, select(2, find(flows, swapped(t))))
      end
    end)

    it("direction 0 where both ends are one", function()
      local flows, t = new_table(), tuple { a = "\10\0\0\9", b = "\10\0\0\9", a_port = 7, b_port = 7 }
      insert(flows, t)
      assert.equal(0, select(2, find(flows, t)))
      assert.equal(0, select(2, find(flows, swapped(t))))
    end)

    it("no flow that differs in any one field, either way round, not even under the same hash", function()
      local flows = new_table()
      local hash = C.nf_table_hash(flows, tuple {})
      insert(flows, tuple {})
      for field, value in pairs(OTHER) do
        local other = tuple { [field] = value }
        for _, t in ipairs { other, swapped(other) } do
          assert.is_nil(find(flows, t), field)
          assert.is_nil(find(flows, t, hash), field)
        end
      end
    end)

    it("no flow whose ports or addresses alone are swapped", function()
      local flows = new_table()
      insert(flows, tuple {})
      assert.is_nil(find(flows, tuple { a_port = 2000, b_port = 1000 }))
      assert.is_nil(find(flows, tuple { a = "\10\0\0\2", b = "\10\0\0\1" }))
    end)

    it("no flow with another byte anywhere in an address", function()
      local ones = ("\1"):rep(16)
      local flows, t = new_table(), tuple { a = ones, b = ones }
      local hash = C.nf_table_hash(flows, t)
      insert(flows, t)
      for i = 0, 15 do
        local address = ones:sub(1, i) .. "\2" .. ones:sub(i + 2)
        for _, other in ipairs { tuple { a = address, b = ones }, tuple { a = ones, b = address } } do
          assert.is_nil(find(flows, other, hash), "byte " .. i)
          assert.is_nil(find(flows, swapped(other), hash), "byte " .. i)
        end
      end
    end)

    it("each of two flows that hash alike", function()
      local flows, first, second = new_table(), tuple { a_port = 1 }, tuple { a_port = 2 }
      for _, t in ipairs { first, second } do assert.is_true(C.nf_table_insert(flows, t, 5) ~= nil) end
      assert.equal(1, (find(flows, first, 5)).tuple.src_port)
      assert.equal(2, (find(flows, swapped(second), 5)).tuple.src_port)
      assert.is_nil(find(flows, tuple { a_port = 3 }, 5))
    end)

    it("what hints were given for, and nothing worse without it", function()
      local flows, t = new_table(), tuple {}
      local hash = C.nf_table_hash(flows, t)
      C.nf_table_prefetch(flows, hash)
      C.nf_table_prefetch_slot(flows, hash)
      local flow = insert(flows, t)
      C.nf_table_prefetch_slot(flows, hash)
      assert.equal(address_of(flow), address_of((find(flows, t))))
    end)
  end)

  describe("gives a new flow", function()
    it("its tuple and slot, and makes it the most recently seen", function()
      local flows, t = new_table(), tuple { vlan = 7, tunnel = 3 }
      insert(flows, tuple {})
      local flow = insert(flows, t)
      assert.equal(ffi.string(t, 40), ffi.string(flow.tuple, 40))
      assert.equal(1, flow.slot)
      assert.not_equal(address_of(flow), address_of(oldest(flows)))
    end)

    it("a slot of the size asked for that no other flow shares", function()
      local flows, slots = new_table(), {}
      for i = 1, 100 do slots[i] = insert(flows, tuple { a_port = i }) end
      for i, flow in ipairs(slots) do ffi.fill(ffi.cast("char *", flow) + ffi.sizeof "struct nf_flow", 64, i) end
      for i, flow in ipairs(slots) do
        assert.equal(string.char(i):rep(64), ffi.string(ffi.cast("char *", flow) + ffi.sizeof "struct nf_flow", 64))
      end
    end)

    it("aligned for 64-bit fields", function()
      local flows = new_table(0, ffi.sizeof "struct nf_flow" + 8)
      for i = 1, 10 do assert.equal(0, address_of(insert(flows, tuple { a_port = i })) % 8) end
    end)

    it("even where slots are very large", function()
      local flows = new_table(0, 2 ^ 28)
      local first, second = insert(flows, tuple {}), insert(flows, tuple { a_port = 1 })
      assert.equal(2 ^ 28, math.abs(address_of(second) - address_of(first)))
      ffi.cast("char *", second)[2 ^ 28 - 1] = 1
    end)
  end)

  describe("when a flow is removed", function()
    it("no longer finds it, and keeps its slot as it is until it is released", function()
      local flows, t = new_table(), tuple {}
      local flow = insert(flows, t)
      flow.record_id = 4711
      C.nf_table_remove(flows, flow)
      assert.is_nil(find(flows, t))
      assert.equal(0, count(flows))
      local other = insert(flows, tuple { a_port = 5 })
      assert.not_equal(address_of(flow), address_of(other))
      assert.equal(4711ULL, flow.record_id)
      assert.equal(ffi.string(t, 40), ffi.string(flow.tuple, 40))
    end)

    it("uses a released slot again, the latest first", function()
      local flows, taken = new_table(), {}
      for i = 1, 3 do taken[i] = insert(flows, tuple { a_port = i }) end
      drop(flows, taken[1])
      drop(flows, taken[3])
      assert.equal(address_of(taken[3]), address_of(insert(flows, tuple { a_port = 4 })))
      assert.equal(address_of(taken[1]), address_of(insert(flows, tuple { a_port = 5 })))
    end)

    it("takes the same tuple again", function()
      local flows, t = new_table(), tuple {}
      for _ = 1, 10 do
        local flow = insert(flows, t)
        assert.equal(address_of(flow), address_of((find(flows, t))))
        drop(flows, flow)
        assert.is_nil(find(flows, t))
      end
    end)
  end)

  describe("keeps the order of when flows were last seen", function()
    local flows, taken
    before_each(function()
      flows, taken = new_table(), {}
      for i = 1, 4 do taken[i] = insert(flows, tuple { a_port = i }) end
    end)

    local function order()
      local ports = {}
      while oldest(flows) do
        ports[#ports + 1] = oldest(flows).tuple.src_port
        drop(flows, oldest(flows))
      end
      return ports
    end

    it("as they came", function() assert.same({ 1, 2, 3, 4 }, order()) end)

    it("with the touched one as the newest", function()
      C.nf_table_touch(flows, taken[2])
      C.nf_table_touch(flows, taken[1])
      assert.same({ 3, 4, 2, 1 }, order())
    end)

    it("when the newest is touched", function()
      C.nf_table_touch(flows, taken[4])
      assert.same({ 1, 2, 3, 4 }, order())
    end)

    it("when the only one is touched", function()
      for i = 1, 3 do drop(flows, taken[i]) end
      C.nf_table_touch(flows, taken[4])
      assert.same({ 4 }, order())
    end)

    it("when the oldest, the newest and one between are removed", function()
      insert(flows, tuple { a_port = 5 })
      drop(flows, taken[1])
      drop(flows, taken[3])
      drop(flows, (find(flows, tuple { a_port = 5 })))
      assert.same({ 2, 4 }, order())
    end)

    it("but not because a flow was looked up", function()
      find(flows, tuple { a_port = 1 })
      assert.same({ 1, 2, 3, 4 }, order())
    end)
  end)

  describe("with a limit", function()
    it("is full when that many live, and has room again when one was removed", function()
      local flows = new_table(2)
      local first = insert(flows, tuple { a_port = 1 })
      assert.is_false(C.nf_table_is_full(flows))
      insert(flows, tuple { a_port = 2 })
      assert.is_true(C.nf_table_is_full(flows))
      assert.is_nil(insert(flows, tuple { a_port = 3 }))
      assert.equal(2, count(flows))
      C.nf_table_remove(flows, first)
      assert.is_false(C.nf_table_is_full(flows))
      assert.is_truthy(insert(flows, tuple { a_port = 3 })) -- the removed flow's slot is not released yet
    end)

    it("still finds what it has when full", function()
      local flows = new_table(1)
      insert(flows, tuple {})
      assert.is_truthy(find(flows, tuple {}))
      assert.is_nil(find(flows, tuple { a_port = 1 }))
    end)

    it("takes any number for one", function()
      local flows = new_table(2 ^ 63 * 1ULL)
      assert.is_false(C.nf_table_is_full(flows))
      assert.is_truthy(insert(flows, tuple {}))
    end)
  end)

  describe("while it grows", function()
    local MANY = 60000 -- four doublings of the index, several of everything else

    local function numbered(i)
      return tuple { a = "\10\1\0\0", b = "\10\2\0\0", a_port = i % 65536, b_port = math.floor(i / 65536) + 1 }
    end

    it("never moves a slot, nor loses one", function()
      local flows, at = new_table(), {}
      for i = 1, MANY do
        local flow = insert(flows, numbered(i))
        flow.record_id = i
        at[i] = address_of(flow)
      end
      assert.equal(MANY, count(flows))
      for i = 1, MANY do
        local flow, way = find(flows, i % 2 == 0 and numbered(i) or swapped(numbered(i)))
        if not flow or address_of(flow) ~= at[i] or flow.record_id ~= i or way ~= i % 2 then
          error("flow " .. i .. " is not where it was")
        end
      end
    end)

    it("keeps the order", function()
      local flows = new_table()
      for i = 1, MANY do insert(flows, numbered(i)).record_id = i end
      for i = 1, MANY do
        if oldest(flows).record_id ~= i then error("flow " .. i .. " is out of order") end
        drop(flows, oldest(flows))
      end
      assert.equal(0, count(flows))
    end)
  end)

  describe("behaves like a list and a map under random operations", function()
    -- The model: live keys in order of last use, and where each one's flow lies. A key is a number below POOL; half of
    -- them stand for tuples with IPv6 addresses.
    local POOL = 400

    local function tuple_of(key)
      local a = key % 2 == 0 and "\10\0\0" .. string.char(key % 20) or ("\254"):rep(15) .. string.char(key % 20)
      return tuple { a = a, b = "\10\0\0\200", a_port = math.floor(key / 20), b_port = 443 }
    end

    local Model = {}
    Model.__index = Model

    function Model:expect(condition, what)
      if not condition then error(what, 0) end
    end

    function Model:insert(key)
      local flow = insert(self.flows, tuple_of(key))
      if #self.order == self.max then return self:expect(not flow, "inserted into a full table") end
      self:expect(flow, "did not insert though there is room")
      self:expect(not self.taken[flow.slot], "gave a slot that is in use")
      self:expect(not self.slot_at[flow.slot] or self.slot_at[flow.slot] == address_of(flow), "moved a slot")
      self.taken[flow.slot], self.slot_at[flow.slot] = true, address_of(flow)
      flow.record_id = key
      self.live[key] = flow
      self.order[#self.order + 1] = key
    end

    function Model:forget(key)
      self.live[key] = nil
      for i, other in ipairs(self.order) do
        if other == key then return table.remove(self.order, i) end
      end
    end

    -- A removed flow is released before the next one is removed, as an ended flow is in a run.
    function Model:release()
      if not self.removed then return end
      self:expect(self.removed.record_id == self.removed_key, "changed a removed flow before it was released")
      self.taken[self.removed.slot] = nil
      C.nf_table_release(self.flows, self.removed)
      self.removed = nil
    end

    function Model:remove(key)
      self:release()
      self.removed, self.removed_key = self.live[key], key
      C.nf_table_remove(self.flows, self.removed)
      self:forget(key)
    end

    function Model:find(key)
      local back = self.below(2) == 1
      local flow, way = find(self.flows, back and swapped(tuple_of(key)) or tuple_of(key))
      if not self.live[key] then return self:expect(not flow, "found a flow that is not live") end
      self:expect(flow, "did not find a live flow")
      self:expect(flow.record_id == key and flow.slot == self.live[key].slot, "found another flow")
      self:expect(way == (back and 1 or 0), "found the wrong direction")
      if self.below(2) == 1 then return end
      C.nf_table_touch(self.flows, flow)
      self:forget(key)
      self.live[key] = flow
      self.order[#self.order + 1] = key
    end

    function Model:step()
      local what, key = self.below(100), self.below(POOL)
      if what < 40 then
        self:find(key)
      elseif what < 70 then
        if not self.live[key] then self:insert(key) end
      elseif what < 80 then
        if self.order[1] then self:remove(self.order[1]) end
      elseif what < 95 then
        if self.live[key] then self:remove(key) end
      else
        self:release()
      end
      local first = oldest(self.flows)
      self:expect((first and tonumber(first.record_id)) == self.order[1], "has another oldest flow")
      self:expect(count(self.flows) == #self.order, "counts otherwise")
      self:expect(C.nf_table_is_full(self.flows) == (#self.order == self.max), "is full when it should not be, or not")
    end

    local function play(max_flows, steps, below)
      local model = setmetatable({ flows = new_table(max_flows), max = max_flows > 0 and max_flows or math.huge,
        below = below, live = {}, order = {}, taken = {}, slot_at = {} }, Model)
      for i = 1, steps do
        local ok, message = pcall(model.step, model)
        if not ok then error(("step %d: %s"):format(i, message), 0) end
      end
    end

    for _, limit in ipairs { 0, 1, 2, 50 } do
      it(limit == 0 and "without a limit" or "with a limit of " .. limit, function()
        for _ = 1, 5 do random.trial(function(below) play(limit, 4000, below) end) end
      end)
    end
  end)

  describe("hashes", function()
    it("both directions alike", function()
      local flows = new_table()
      for i = 1, 100 do
        local t = tuple { a = string.char(i):rep(16), a_port = i, b_port = 3 * i, vlan = i, tunnel = i % 4 }
        assert.equal(C.nf_table_hash(flows, t), C.nf_table_hash(flows, swapped(t)))
      end
    end)

    it("every field", function()
      local flows = new_table()
      local plain = C.nf_table_hash(flows, tuple {})
      for field, value in pairs(OTHER) do
        assert.not_equal(plain, C.nf_table_hash(flows, tuple { [field] = value }), field)
      end
      for i = 0, 15 do
        local address = ("\0"):rep(i) .. "\1" .. ("\0"):rep(15 - i)
        assert.not_equal(C.nf_table_hash(flows, tuple { a = ("\0"):rep(16) }),
          C.nf_table_hash(flows, tuple { a = address }), "byte " .. i)
      end
    end)

    it("otherwise in every table", function()
      assert.not_equal(C.nf_table_hash(new_table(), tuple {}), C.nf_table_hash(new_table(), tuple {}))
    end)

    -- Whoever sends packets chooses tuples. Each family here lets one field undo another wherever fields are folded
    -- together before a key comes in, so that all its members would hash alike.
    local function byte_pair(n) return string.char(bit.rshift(n, 8), bit.band(n, 255)) end

    local families = {
      ["whose port grows as the address shrinks"] = function(i)
        return { a = "\32\1" .. ("\0"):rep(12) .. byte_pair(65535 - i), a_port = i }
      end,
      ["whose address halves make up for each other"] = function(i)
        local part = byte_pair(i) .. ("\0"):rep(6)
        return { a = part .. part }
      end,
      ["whose two addresses make up for each other"] = function(i)
        return { a = "\10\0" .. byte_pair(i), b = "\10\0" .. byte_pair(i) .. "\1" }
      end,
      ["whose two addresses have one sum"] = function(i)
        return { a = "\10\0" .. byte_pair(i), b = "\10\0" .. byte_pair(65535 - i) }
      end,
      ["whose two ports make up for each other"] = function(i) return { a_port = i, b_port = i } end,
      ["whose two ports have one sum"] = function(i) return { a_port = i, b_port = 65535 - i } end,
      ["whose two ends are one"] = function(i)
        return { a = "\10\0" .. byte_pair(i), b = "\10\0" .. byte_pair(i), a_port = 7, b_port = 7 }
      end,
      ["whose VLAN makes up for the port"] = function(i) return { a_port = i, vlan = i } end,
      ["whose protocol makes up for the address"] = function(i)
        return { a = "\10\0" .. byte_pair(i), protocol = i % 256, tunnel = math.floor(i / 256) % 4 }
      end,
      ["that count up"] = function(i) return { a_port = i } end,
      ["that count up in steps"] = function(i) return { a = byte_pair(i) .. "\0\0" } end,
    }

    for at = 0, 14, 2 do
      families["whose IPv6 address makes up for the port in bytes " .. at .. " and " .. at + 1] = function(i)
        return { a = ("\32"):rep(at) .. byte_pair(i) .. ("\1"):rep(14 - at), a_port = i }
      end
      families["whose IPv6 address makes up for the port in bytes " .. at + 1 .. " and " .. at] = function(i)
        return { a = ("\32"):rep(at) .. byte_pair(i):reverse() .. ("\1"):rep(14 - at), a_port = i }
      end
    end

    -- Spread at random over 65536 buckets, 16384 tuples leave no more than ten in any, but once in a million runs,
    -- and share no 32 bits; tuples whose fields undo each other would crowd into one bucket or a few.
    for name, member in pairs(families) do
      it("tuples " .. name .. " apart", function()
        local flows, load, most, seen, distinct = new_table(), {}, 0, {}, 0
        for i = 1, 16384 do
          local low = tonumber(bit.band(C.nf_table_hash(flows, tuple(member(i))), 0xffffffffULL))
          local bucket = low % 65536
          load[bucket] = (load[bucket] or 0) + 1
          most = math.max(most, load[bucket])
          if not seen[low] then distinct = distinct + 1 end
          seen[low] = true
        end
        assert.is_true(most <= 10, most .. " tuples share a bucket")
        assert.is_true(distinct >= 16384 - 3, 16384 - distinct .. " tuples share 32 bits of their hash")
      end)
    end
  end)
end)
