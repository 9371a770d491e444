-- core/merge.c: records of several meters in one order. Both sides are played by one thread, so nothing may wait here;
-- spec/meters_spec.lua has the threads.

local ffi = require "ffi"
local C = require "spec.support.core" ("place", "merge")

local SIZE = ffi.sizeof "struct nf_flow"
local AT_END = 0xffffffffffffffffULL

local function new(lanes, is_ordered)
  return ffi.gc(assert(C.nf_merge_new(lanes, SIZE, is_ordered ~= false)), C.nf_merge_free)
end

local function place(order, last_packet) return ffi.new("struct nf_place", { order, last_packet or 0 }) end

-- Puts a record that is known by its id.
local function put(merge, lane, id, order, last_packet)
  local record = ffi.new "struct nf_flow"
  record.record_id = id
  return C.nf_merge_put(merge, lane, record, place(order, last_packet))
end

local none = ffi.new "struct nf_counters"

local function reach(merge, lane, order) return C.nf_merge_reach(merge, lane, order, none) end

local function finish(merge, lane, failure, order, last_packet)
  C.nf_merge_finish(merge, lane, failure, place(order or 0, last_packet))
end

-- Takes what there is: the ids in order, then the answer that ended it.
local function take(merge)
  local record, ids = ffi.new "struct nf_flow *[1]", {}
  while true do
    local answer = C.nf_merge_next(merge, record, 0)
    if answer ~= 1 then return ids, answer end
    ids[#ids + 1] = tonumber(record[0].record_id)
  end
end

describe("records in order", function()
  it("come by the order of their ends, then by their flows' last packets", function()
    local merge = new(3)
    put(merge, 0, 1, 10)
    put(merge, 0, 5, 21, 7)
    put(merge, 1, 2, 11, 4)
    put(merge, 1, 4, 21, 3)
    put(merge, 2, 3, 20)
    put(merge, 2, 6, AT_END, 1)
    put(merge, 2, 8, AT_END, 9)
    put(merge, 1, 7, AT_END, 5)
    for lane = 0, 2 do finish(merge, lane) end
    local ids, answer = take(merge)
    assert.same({ 1, 2, 3, 4, 5, 6, 7, 8 }, ids)
    assert.equal(C.NF_END, answer)
  end)

  it("wait for lanes that may still bring an earlier one", function()
    local merge = new(2)
    put(merge, 0, 1, 10)
    put(merge, 0, 2, 14)
    reach(merge, 0, 20)
    assert.same({ {}, 0 }, { take(merge) })
    reach(merge, 1, 10)
    assert.same({ {}, 0 }, { take(merge) })
    reach(merge, 1, 11)
    assert.same({ { 1 }, 0 }, { take(merge) })
    put(merge, 1, 3, 12)
    reach(merge, 1, 30)
    assert.same({ { 3, 2 }, 0 }, { take(merge) })
    finish(merge, 0)
    finish(merge, 1)
    assert.same({ {}, C.NF_END }, { take(merge) })
  end)

  it("are not seen before the meter shows them", function()
    local merge = new(1)
    put(merge, 0, 1, 10)
    assert.same({ {}, 0 }, { take(merge) })
    reach(merge, 0, 11)
    assert.same({ { 1 }, 0 }, { take(merge) })
  end)

  it("of one lane keep the order in which they were put", function()
    local merge = new(2)
    for id = 1, 5 do put(merge, 0, id, 10) end
    finish(merge, 0)
    finish(merge, 1)
    assert.same({ { 1, 2, 3, 4, 5 }, C.NF_END }, { take(merge) })
  end)

  it("go round the ring", function()
    local merge = new(2)
    local taken = {}
    for round = 0, 9 do
      for i = 1, 1500 do put(merge, round % 2, round * 1500 + i, round) end
      reach(merge, 0, round + 1)
      reach(merge, 1, round + 1)
      for _, id in ipairs((take(merge))) do taken[#taken + 1] = id end
    end
    assert.equal(15000, #taken)
    for i, id in ipairs(taken) do assert.equal(i, id) end
  end)
end)

describe("a meter that failed", function()
  local function failure(merge) return ffi.string(C.nf_merge_failure(merge)) end

  it("is told of when all that came before has been given", function()
    local merge = new(3)
    put(merge, 0, 1, 10)
    put(merge, 0, 4, 40)
    put(merge, 1, 2, 20)
    put(merge, 2, 3, 29)
    finish(merge, 0)
    finish(merge, 1, "broken", 30)
    reach(merge, 2, 30)
    assert.same({ { 1, 2, 3 }, 0 }, { take(merge) }) -- lane 2 might bring one at 30
    reach(merge, 2, 31)
    assert.same({ {}, C.NF_ERR_METER }, { take(merge) })
    assert.equal("broken", failure(merge))
  end)

  it("is the one that failed first, of several", function()
    local merge = new(2)
    finish(merge, 0, "later", 21, 9)
    finish(merge, 1, "earlier", 21, 8)
    assert.same({ {}, C.NF_ERR_METER }, { take(merge) })
    assert.equal("earlier", failure(merge))
  end)

  it("at its very end comes last", function()
    local merge = new(2)
    put(merge, 1, 1, AT_END, 77)
    finish(merge, 0, "cleaning up", AT_END, AT_END)
    finish(merge, 1)
    assert.same({ { 1 }, C.NF_ERR_METER }, { take(merge) })
  end)
end)

describe("records in any order", function()
  it("come as they are shown, from all lanes in turn", function()
    local merge = new(2, false)
    put(merge, 0, 1, 50)
    put(merge, 0, 2, 60)
    put(merge, 1, 3, 10)
    reach(merge, 0, 0)
    reach(merge, 1, 0)
    local ids, answer = take(merge)
    table.sort(ids)
    assert.same({ { 1, 2, 3 }, 0 }, { ids, answer })
    finish(merge, 0)
    assert.same({ {}, 0 }, { take(merge) })
    finish(merge, 1)
    assert.same({ {}, C.NF_END }, { take(merge) })
  end)

  it("end with a failure once the others are taken", function()
    local merge = new(2, false)
    put(merge, 0, 1, 50)
    finish(merge, 1, "broken")
    finish(merge, 0)
    assert.same({ { 1 }, C.NF_ERR_METER }, { take(merge) })
  end)
end)

describe("a merge", function()
  it("that is closed wants no more", function()
    local merge = new(1)
    assert.is_true(reach(merge, 0, 5))
    C.nf_merge_close(merge)
    assert.is_false(reach(merge, 0, 6))
    for id = 1, 5000 do -- more than the ring holds: nobody waits
      if not put(merge, 0, id, 7) then return end
    end
    error "put went on"
  end)

  it("adds up what meters have counted", function()
    local merge, counted, sum = new(2), ffi.new "struct nf_counters", ffi.new "struct nf_counters"
    counted.packets, counted.ended[C.NF_END_IDLE], counted.dropped_kernel = 7, 3, 2
    C.nf_merge_reach(merge, 0, 1, counted)
    C.nf_merge_reach(merge, 1, 1, counted)
    for lane = 0, 1 do C.nf_merge_count(merge, lane, sum) end
    assert.equal(14, tonumber(sum.packets))
    assert.equal(6, tonumber(sum.ended[C.NF_END_IDLE]))
    assert.equal(4, tonumber(sum.dropped_kernel))
  end)
end)
