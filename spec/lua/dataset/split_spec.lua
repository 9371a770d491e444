-- lua/nfengine/dataset/split.lua. Places were worked out with Python's hashlib:
--   int.from_bytes(sha256(b"0 10.0.0.1 5000 10.0.0.2 80 6").digest()[:6], "big") / 2**48 is 0.474
-- With seed 1 it is 0.392; "0 10.0.0.1 10.0.0.2" gives 0.288, "0 10.0.0.1" gives 0.0589.

local split = require "nfengine.dataset.split"

-- A flow is whatever has its columns.
local function flow(fields)
  local made = { src_ip = "10.0.0.1", dst_ip = "10.0.0.2", src_port = 5000, dst_port = 80, protocol = 6 }
  for name, value in pairs(fields or {}) do made[name] = value end
  return made
end

local BACK = { src_ip = "10.0.0.2", dst_ip = "10.0.0.1", src_port = 80, dst_port = 5000 }

-- Where a flow lies: the bound between two parts that it changes sides at, to three digits.
local function place_of(group, fields, seed)
  local low, high = 0, 1
  for _ = 1, 20 do
    local middle = (low + high) / 2
    local made = split.new { shares = { middle, 1 - middle }, group = group, seed = seed or 0 }
    if made:part_of(flow(fields)) == 1 then high = middle else low = middle end
  end
  return ("%.3g"):format(low)
end

describe("a split by conversation", function()
  it("goes by the SHA-256 of seed and conversation", function()
    assert.equal("0.474", place_of "flow")
    assert.equal("0.392", place_of("flow", {}, 1))
  end)

  it("is the same whoever speaks first, and another for another conversation", function()
    assert.equal(place_of "flow", place_of("flow", BACK))
    for _, other in ipairs { { src_port = 5001 }, { dst_port = 81 }, { protocol = 17 }, { src_ip = "10.0.0.3" },
      { dst_ip = "10.0.0.3" } } do
      assert.are_not.equal(place_of "flow", place_of("flow", other))
    end
  end)

  it("is the same whoever speaks first where ports are equal", function()
    local there = { src_port = 123, dst_port = 123 }
    local back = { src_ip = "10.0.0.2", dst_ip = "10.0.0.1", src_port = 123, dst_port = 123 }
    for _, group in ipairs { "flow", "pair", "host" } do
      assert.equal(place_of(group, there), place_of(group, back))
    end
  end)

  it("comes near to the shares", function()
    local made, counts = split.new { shares = { 0.5, 0.3, 0.2 }, group = "flow", seed = 0 }, { 0, 0, 0 }
    for port = 1, 10000 do
      local part = made:part_of(flow { src_port = port })
      counts[part] = counts[part] + 1
    end
    for i, expected in ipairs { 5000, 3000, 2000 } do -- each within five deviations, sqrt(n p (1 - p)) or less
      assert.is_true(math.abs(counts[i] - expected) < 250, counts[i])
    end
    assert.equal(10000, counts[1] + counts[2] + counts[3])
  end)

  it("has one part where there is one", function()
    assert.equal(1, split.new({ shares = { 1 }, group = "flow", seed = 0 }):part_of(flow()))
  end)
end)

describe("a split by pair or client", function()
  it("goes by both addresses, whatever else", function()
    assert.equal("0.288", place_of "pair")
    assert.equal("0.288", place_of("pair", BACK))
    assert.equal("0.288", place_of("pair", { src_port = 7, protocol = 17 }))
    assert.are_not.equal("0.288", place_of("pair", { dst_ip = "10.0.0.3" }))
  end)

  it("goes by the address with the higher port", function()
    assert.equal("0.0589", place_of "host")
    assert.equal("0.0589", place_of("host", BACK))
    assert.equal("0.0589", place_of("host", { dst_ip = "10.0.0.3", src_port = 6000, dst_port = 443 }))
    assert.are_not.equal("0.0589", place_of("host", { src_port = 80, dst_port = 5000 }))
    assert.equal("0.0589", place_of("host", { src_port = 0, dst_port = 0, protocol = 1 }))
  end)
end)

describe("a split by time", function()
  local function at(first, last, fields)
    local made = flow(fields)
    made.bidirectional_first_seen_ms, made.bidirectional_last_seen_ms = first, last
    return made
  end

  local function by_time(shares, times, idle_timeout)
    local made = split.new { shares = shares, group = "time", time_unit = "ms", idle_timeout = idle_timeout or 0 }
    for _, time in ipairs(times) do made:count(at(time, time)) end
    made:decide()
    return made
  end

  local function parts_of(made, times)
    local parts = {}
    for i, time in ipairs(times) do parts[i] = made:part_of(at(time, time, { src_port = i })) end
    return table.concat(parts, " ")
  end

  it("puts the earliest flows first, in whatever order they come", function()
    local times = { 50, 10, 20, 40, 30 }
    assert.equal("3 1 1 2 1", parts_of(by_time({ 0.6, 0.2, 0.2 }, times), times))
  end)

  it("gives earlier parts no less than their share, and keeps together what begins at once", function()
    assert.equal("1 1 1 2", parts_of(by_time({ 0.5, 0.5 }, { 1, 2, 2, 3 }), { 1, 2, 2, 3 }))
    assert.equal("1 1", parts_of(by_time({ 0.5, 0.5 }, { 7, 7 }), { 7, 7 }))
  end)

  it("may leave nothing to a part between", function()
    assert.equal("1 1 1 3", parts_of(by_time({ 0.4, 0.3, 0.3 }, { 1, 1, 1, 2 }), { 1, 1, 1, 2 }))
  end)

  it("lets a conversation go on where it began", function()
    local made = by_time({ 0.5, 0.5 }, { 1000, 2000, 3000, 4000 }, 1) -- so the second part begins at 2001
    assert.equal(1, made:part_of(at(1000, 1900)))
    assert.equal(1, made:part_of(at(2500, 2600, BACK))) -- 0.6 s later
    assert.equal(1, made:part_of(at(3600, 3600)))       -- 1 s later
    assert.equal(2, made:part_of(at(4601, 4700)))       -- 1.001 s later
    assert.equal(2, made:part_of(at(2500, 2600, { src_port = 9 })))
  end)

  it("does not remember one that is over before the next part", function()
    local made = by_time({ 0.5, 0.5 }, { 1000, 2000, 3000, 4000 }, 1)
    assert.equal(1, made:part_of(at(500, 1000)))
    assert.is_nil(next(made.going_on))
  end)

  it("takes an earlier flow that comes later for another one", function()
    local made = by_time({ 0.25, 0.25, 0.5 }, { 1000, 2000, 3000, 4000 }, 1)
    assert.equal(2, made:part_of(at(2000, 2000)))
    assert.equal(1, made:part_of(at(500, 900))) -- of another recording
  end)

  it("counts in a bounded number of stretches", function()
    local times = {}
    for i = 1, 200000 do times[i] = i * 10 end
    local made = split.new { shares = { 0.5, 0.5 }, group = "time", time_unit = "ms", idle_timeout = 0 }
    for _, time in ipairs(times) do
      made:count(at(time, time))
      assert(made.bucket_count <= 65536)
    end
    made:decide()
    local bound = made.bounds[1]
    assert.is_true(math.abs(bound - 1000000) <= made.width, bound)
    assert.is_true(made.width <= 64)
  end)

  it("goes by the run's unit of time", function()
    local made = split.new { shares = { 1 }, group = "time", time_unit = "us", idle_timeout = 2 }
    assert.same({ "bidirectional_first_seen_us", "bidirectional_last_seen_us", 2e6 },
      { made.first_seen, made.last_seen, made.idle })
  end)
end)
