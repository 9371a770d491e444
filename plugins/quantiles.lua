--- Quantiles of packet sizes and inter-arrival times of each flow, in constant memory.
--
-- Sizes are those of whole frames on the wire, times those between packets whatever their direction, in the run's
-- time_unit. The columns are lists, in the order of `probabilities`; 0.5 is the median.
--
-- Up to `keep` packets quantiles are exact: what lies at 1 + (n - 1) p of the n sorted values, on a straight line
-- between two of them, as R's type 7 and numpy's default have it. Of longer flows they are those of a sample of `keep`
-- packets, in which each packet has the same chance to be: a reservoir (Vitter, "Random sampling with a reservoir", ACM
-- TOMS 11(1), 1985). Whatever the values, the share of a flow's values below an estimate then is p with a standard
-- deviation of sqrt(p (1 - p) / keep): for the median 0.06 with 64 packets, 0.03 with 256. Which packets are taken is
-- drawn once, by their number in the flow, so that the same packets give the same quantiles.
--
-- Estimates that keep a few markers and move them, such as P², come closer where values are spread evenly, but are far
-- off where they are few, as packet sizes are. A flow of one packet has no times between packets: 0.
--
-- @usage nfengine flows --plugin quantiles -a quantiles.probabilities=0.5,0.95 --n-dissections=0 samples/ssh.pcap \
--   --columns=dst_port,bidirectional_packets,udps.quantiles_ps,udps.quantiles_piat
-- @output
-- dst_port,bidirectional_packets,udps.quantiles_ps,udps.quantiles_piat
-- 22,44,"[104.5, 1256.0000000000002]","[0.0, 43.699999999999996]"
-- 22,65,"[130.0, 1514.0]","[0.0, 47.0]"
-- 22,62,"[126.0, 1514.0]","[0.0, 43.0]"
-- 22,37,"[114.0, 665.9999999999995]","[0.0, 28.5]"
-- ...

local nf = require "nfengine"

local FIRST = -1 -- the time before a flow's first packet, in the sample

-- Numbers from 0 to 1, always the same: the generator of Park and Miller ("Random number generators: good ones are hard
-- to find", CACM 31(10), 1988).
local function generator()
  local state = 1
  return function()
    state = state * 16807 % 2147483647
    return state / 2147483647
  end
end

-- Which packets of a flow come into the sample, ascending, and in which place: the first `keep`, then ever fewer, each
-- in a random place. Algorithm L (Li, "Reservoir-sampling algorithms of time complexity O(n(1 + log(N/n)))", ACM TOMS
-- 20(4), 1994).
local function draw(keep)
  local numbers, places, random, number, w = {}, {}, generator(), keep, 1
  for i = 1, keep do numbers[i], places[i] = i, i end
  while number < 1e12 do
    w = w * random() ^ (1 / keep)
    number = number + math.floor(math.log(random()) / math.log(1 - w)) + 1
    numbers[#numbers + 1], places[#places + 1] = number, math.floor(random() * keep) + 1
  end
  return numbers, places
end

local function take(self, packet, flow, time)
  local udps = flow.udps
  local turn = udps.quantiles_turn + 1
  if flow.bidirectional_packets ~= self.numbers[turn] then return end
  local place = self.places[turn]
  udps.quantiles_turn = turn
  udps.quantiles_ps_sample[place], udps.quantiles_piat_sample[place] = packet.raw_size, time
end

-- A quantile of the n sorted values behind the first `skipped`.
local function quantile(sorted, skipped, n, probability)
  if n == 0 then return 0 end
  local place = 1 + (n - 1) * probability
  local low = math.floor(place)
  local below, above = sorted[skipped + low], sorted[skipped + math.min(low + 1, n)]
  return below + (place - low) * (above - below)
end

local function finish(self, flow)
  local n, wanted = math.min(flow.bidirectional_packets, self.keep), self.wanted
  flow.udps.quantiles_ps_sample:sort(n)
  flow.udps.quantiles_piat_sample:sort(n)
  local skipped = flow.udps.quantiles_piat_sample[1] == FIRST and 1 or 0
  for k = 1, #wanted do -- what a loop takes over from before would have to be made an object, but for `flow` itself
    local udps = flow.udps
    udps.quantiles_ps[k] = quantile(udps.quantiles_ps_sample, 0, n, wanted[k])
    udps.quantiles_piat[k] = quantile(udps.quantiles_piat_sample, skipped, n - skipped, wanted[k])
  end
end

-- The option as numbers; refuses what is none.
local function numbers_of(probabilities)
  local numbers = {}
  for k, word in ipairs(probabilities) do
    local number = tonumber(word)
    if not (number and number > (numbers[k - 1] or 0) and number < 1) then
      error(('probabilities: "%s": expected numbers between 0 and 1, each larger than the one before'):format(word), 0)
    end
    numbers[k] = number
  end
  if #numbers == 0 then error("probabilities: expected at least one", 0) end
  return numbers
end

return nf.plugin {
  name        = "quantiles",
  version     = "1.0.0",
  api         = 1,
  description = "Quantiles of packet sizes and inter-arrival times",
  author      = "the nfengine authors",
  license     = "MIT",
  categories  = { "feature", "safe" },
  options     = {
    probabilities = { { "0.25", "0.5", "0.75", "0.9" }, "which quantiles, ascending numbers between 0 and 1" },
    keep          = { 64, "packets up to which quantiles are exact, beyond: of a sample", min = 2, max = 1024,
                      integer = true },
  },
  columns     = function(options)
    local list = ("double[%d]"):format(#numbers_of(options.probabilities))
    return {
      { "quantiles_ps", list, "quantiles of packet sizes, bytes" },
      { "quantiles_piat", list, "quantiles of times between packets, in time_unit" },
    }
  end,
  state       = function(options)
    return {
      { "quantiles_turn", "uint16", "how often a packet has come into the sample" },
      { "quantiles_ps_sample", ("uint32[%d]"):format(options.keep) },
      { "quantiles_piat_sample", ("double[%d]"):format(options.keep) },
    }
  end,
  setup       = function(self)
    self.wanted = numbers_of(self.probabilities)
    self.numbers, self.places = draw(self.keep)
  end,
  independent = true,
  on_init     = function(self, packet, flow) take(self, packet, flow, FIRST) end,
  on_update   = function(self, packet, flow) take(self, packet, flow, packet.delta_time) end,
  on_expire   = finish,
}
