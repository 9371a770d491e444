--- Splits: which part of a dataset a flow goes to, so that no two parts know each other.
--
--   local train_or_test = split.new { shares = { 0.8, 0.2 }, group = "flow", seed = 0 }
--   local part = train_or_test:part_of(flow)         --> 1 or 2
--
-- Flows of one group go to one part. A group is a conversation (both addresses and ports, protocol), however often a
-- timeout cuts it and whoever speaks first; or a pair of addresses; or a client, the address with the higher port. The
-- group's name and a seed decide, by a hash: the same group goes to the same part in every run, and shares are those of
-- groups, which come near to those of flows where groups are many.
--
-- By time, the earliest flows make the first part, the latest the last. That takes two passes: `count(flow)` for all,
-- then `decide()`. A conversation goes on in the part that it began in until nothing is heard of it for as long as the
-- idle timeout.

local hash = require "nfengine.hash"

local split = {}

--- Shares of parts, as words say them. Raises a usage error.
-- @param most parts that there may be
function split.shares(words, most)
  local shares, sum = {}, 0
  for i, word in ipairs(words) do
    shares[i] = tonumber(word) or 0
    sum = shares[i] > 0 and sum + shares[i] or math.huge
  end
  if #shares <= most and math.abs(sum - 1) < 1e-9 then return shares end
  error({ usage = ("--split=%s: expected two or three shares that add up to 1"):format(table.concat(words, ",")) }, 0)
end

-- ---- groups ----

--- Both ends of a flow in an order that does not depend on who spoke first: the higher port, else the lower address.
local function ends_of(flow)
  local a, b, a_port, b_port = flow.src_ip, flow.dst_ip, flow.src_port, flow.dst_port
  if a_port < b_port or a_port == b_port and b < a then return b, a, b_port, a_port end
  return a, b, a_port, b_port
end

local names = {}

function names.flow(flow)
  local a, b, a_port, b_port = ends_of(flow)
  return ("%s %d %s %d %d"):format(a, a_port, b, b_port, flow.protocol)
end

function names.pair(flow)
  local a, b = flow.src_ip, flow.dst_ip
  return a < b and a .. " " .. b or b .. " " .. a
end

function names.host(flow) return (ends_of(flow)) end

--- Where a name lies among all, from 0 to below 1: the first six bytes of the SHA-256 of "SEED NAME" say.
local function place_of(seed, name)
  local place = 0
  for _, byte in ipairs { hash.sha256(("%.0f %s"):format(seed, name)):byte(1, 6) } do place = place * 256 + byte end
  return place / 2 ^ 48
end

local by_group = {}
by_group.__index = by_group

function by_group:part_of(flow)
  local place, bound = place_of(self.seed, self.name_of(flow)), 0
  for part = 1, #self.shares - 1 do
    bound = bound + self.shares[part]
    if place < bound then return part end
  end
  return #self.shares
end

-- ---- time ----

local MOST_BUCKETS = 65536

local by_time = {}
by_time.__index = by_time

local function add(self, time, flows)
  local bucket = math.floor(time / self.width)
  if not self.counts[bucket] then self.bucket_count = self.bucket_count + 1 end
  self.counts[bucket] = (self.counts[bucket] or 0) + flows
end

--- Twice the width makes half as many, so that what is kept has a bound.
local function widen(self)
  local before, width = self.counts, self.width
  self.width, self.counts, self.bucket_count = width * 2, {}, 0
  for bucket, flows in pairs(before) do add(self, bucket * width, flows) end
end

--- Takes notice of a flow, in the first pass.
function by_time:count(flow)
  self.flows = self.flows + 1
  add(self, flow[self.first_seen], 1)
  while self.bucket_count > MOST_BUCKETS do widen(self) end
end

--- Ends the first pass: finds the times at which parts end, the first at which no less than their share has begun.
function by_time:decide()
  local buckets, flows, share = {}, 0, self.shares[1]
  for bucket in pairs(self.counts) do buckets[#buckets + 1] = bucket end
  table.sort(buckets)
  for _, bucket in ipairs(buckets) do
    flows = flows + self.counts[bucket]
    while #self.bounds < #self.shares - 1 and flows >= share * self.flows do
      self.bounds[#self.bounds + 1] = (bucket + 1) * self.width
      share = share + self.shares[#self.bounds + 1]
    end
  end
  self.counts = {}
end

function by_time:part_of(flow)
  local first, last, part = flow[self.first_seen], flow[self.last_seen], 1
  while self.bounds[part] and first >= self.bounds[part] do part = part + 1 end
  local name = names.flow(flow)
  local before = self.going_on[name]
  local gap = before and first - before.last
  if gap and gap >= 0 and gap <= self.idle then part = before.part end
  if self.bounds[part] and last + self.idle >= self.bounds[part] then
    self.going_on[name] = { part = part, last = last }
  end
  return part
end

-- ---- either ----

--- Makes a split.
-- @param given `shares`: of the parts, which add up to 1; `group`: "flow", "pair", "host" or "time"; `seed`: of the
--   first three; `time_unit` of the run and its `idle_timeout` in seconds: of the last
function split.new(given)
  if given.group ~= "time" then
    return setmetatable({ shares = given.shares, name_of = names[given.group], seed = given.seed }, by_group)
  end
  local per_second = require("nfengine.show").per_second(given.time_unit)
  return setmetatable({
    shares = given.shares, first_seen = "bidirectional_first_seen_" .. given.time_unit,
    last_seen = "bidirectional_last_seen_" .. given.time_unit, idle = given.idle_timeout * per_second, flows = 0,
    counts = {}, bucket_count = 0, width = 1, bounds = {}, going_on = {},
  }, by_time)
end

return split
