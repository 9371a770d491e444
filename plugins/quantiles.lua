--- Quantiles of packet sizes and inter-arrival times of each flow, in constant memory.
--
-- Sizes are those of whole frames on the wire, times those between packets whatever their direction, in the run's
-- time_unit. The columns are lists, in the order of `probabilities`; 0.5 is the median.
--
-- The P² algorithm keeps no values but a few markers, each a height and how many values lie up to it, and moves them
-- along a parabola through their neighbours: Jain and Chlamtac, "The P² algorithm for dynamic calculation of quantiles
-- and histograms without storing observations", Communications of the ACM 28(10), 1985. Several quantiles share
-- markers as Raatikainen has it ("Simultaneous estimation of several percentiles", Simulation 49(4), 1987): the
-- extremes, the m quantiles and one between each two of these, 2 m + 3 in all.
--
-- The first `keep` values are kept as they are, and quantiles of so many are exact: what lies at 1 + (n - 1) p of the n
-- sorted values, on a straight line between two of them, as R's type 7 and numpy's default have it. Beyond, markers
-- begin at values of their rank among these, further values reach them `keep` at a time (in order, so that this only
-- saves time), and quantiles are read off in the same way, between two markers. These are estimates: never outside the
-- values' range, but rough where values are few and far apart. A flow of one packet has no times between packets: 0.
--
-- @usage nfengine flows --plugin quantiles -a quantiles.probabilities=0.5,0.95 --n-dissections=0 samples/ssh.pcap \
--   --columns=dst_port,bidirectional_packets,udps.quantiles_ps,udps.quantiles_piat
-- @output
-- dst_port,bidirectional_packets,udps.quantiles_ps,udps.quantiles_piat
-- 22,44,"[100.4326878325366, 1255.4696638655464]","[0.2144107744107744, 43.58192467265244]"
-- 22,65,"[169.1361956221039, 1504.858536257355]","[0.0178739107422441, 33.3367360263819]"
-- 22,62,"[115.55216021555356, 1511.3868951542242]","[0.02364792696794616, 39.259649839790676]"
-- 22,37,"[116.9850049107143, 665.9999999999995]","[0.1676470588235294, 28.5]"
-- ...

local nf = require "nfengine"

-- The height of the marker at `place`, between neighbours, moved by a step of 1 or -1: along the parabola, or along a
-- straight line where that would leave the order.
local function moved(step, below, below_at, height, place, above, above_at)
  local new = height + step / (above_at - below_at) * ((place - below_at + step) * (above - height) / (above_at - place)
    + (above_at - place - step) * (height - below) / (place - below_at))
  if below < new and new < above then return new end
  if step > 0 then return height + (above - height) / (above_at - place) end
  return height - (height - below) / (place - below_at)
end

-- Takes the n-th value: markers above it go up by one place, then those that are a place or more from where they should
-- be, a share of the n - 1, go one towards it.
local function take(shares, heights, places, n, value)
  local last = #heights
  heights[1], heights[last], places[last] = math.min(heights[1], value), math.max(heights[last], value), n
  local below, below_at, height = heights[1], 1, heights[2]
  local place = value < height and places[2] + 1 or places[2]
  for i = 2, last - 1 do
    local above, above_at = heights[i + 1], places[i + 1]
    if value < above and i < last - 1 then above_at = above_at + 1 end -- the last stands at n already
    local behind = 1 + (n - 1) * shares[i] - place
    if behind >= 1 and above_at - place > 1 then
      height = moved(1, below, below_at, height, place, above, above_at)
      place, heights[i] = place + 1, height
    elseif behind <= -1 and place - below_at > 1 then
      height = moved(-1, below, below_at, height, place, above, above_at)
      place, heights[i] = place - 1, height
    end
    places[i] = place
    below, below_at, height, place = height, place, above, above_at
  end
end

local function sort(values, n)
  for i = 2, n do
    local value, at = values[i], i
    while at > 1 and values[at - 1] > value do
      values[at] = values[at - 1]
      at = at - 1
    end
    values[at] = value
  end
end

-- Puts markers on n sorted values: nearest to their shares, each on one of its own.
local function place_markers(shares, heights, places, n, values)
  local place, last = 0, #heights
  for i = 1, last do
    place = math.min(math.max(math.floor(1.5 + (n - 1) * shares[i]), place + 1), n - last + i)
    heights[i], places[i] = values[place], place
  end
end

-- Gives the latest `count` of n values to the markers.
local function flush(shares, heights, places, n, values, count)
  if count == n then
    sort(values, n)
    place_markers(shares, heights, places, n, values)
  else
    for i = 1, count do take(shares, heights, places, n - count + i, values[i]) end
  end
end

local function add(self, packet, flow)
  local udps, shares, keep = flow.udps, self.shares, self.keep
  local n = udps.quantiles_packets
  udps.quantiles_packets = n + 1
  if n > 0 then
    local slot, times = (n - 1) % keep + 1, udps.quantiles_piat_latest
    times[slot] = packet.delta_time
    if slot == keep then flush(shares, udps.quantiles_piat_heights, udps.quantiles_piat_places, n, times, keep) end
  end
  local slot, sizes = n % keep + 1, udps.quantiles_ps_latest
  sizes[slot] = packet.raw_size
  if slot == keep then flush(shares, udps.quantiles_ps_heights, udps.quantiles_ps_places, n + 1, sizes, keep) end
end

-- What lies at 1 + (n - 1) p: of all values, which are sorted, or between two markers.
local function exact(values, n, probability)
  local place = 1 + (n - 1) * probability
  local low = math.floor(place)
  return values[low] + (place - low) * (values[math.min(low + 1, n)] - values[low])
end

local function estimate(heights, places, n, probability)
  local place, i = 1 + (n - 1) * probability, 1
  while places[i + 1] < place do i = i + 1 end
  local between = (place - places[i]) / (places[i + 1] - places[i])
  return math.min(heights[i] + between * (heights[i + 1] - heights[i]), heights[i + 1])
end

local function read_off(self, heights, places, n, values, quantiles)
  local count = n % self.keep
  if n < self.keep then sort(values, n) else flush(self.shares, heights, places, n, values, count) end
  for k, probability in ipairs(self.numbers) do
    if n == 0 then quantiles[k] = 0
    elseif n <= self.keep then quantiles[k] = exact(values, n, probability)
    else quantiles[k] = estimate(heights, places, n, probability) end
  end
end

local function finish(self, flow)
  local udps, n = flow.udps, flow.udps.quantiles_packets
  read_off(self, udps.quantiles_ps_heights, udps.quantiles_ps_places, n, udps.quantiles_ps_latest, udps.quantiles_ps)
  read_off(self, udps.quantiles_piat_heights, udps.quantiles_piat_places, n - 1, udps.quantiles_piat_latest,
    udps.quantiles_piat)
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
  categories  = { "feature", "slow", "safe" },
  options     = {
    probabilities = { { "0.25", "0.5", "0.75", "0.9" }, "which quantiles, ascending numbers between 0 and 1" },
    keep          = { 32, "values up to which quantiles are exact", min = 5, max = 256, integer = true },
  },
  columns     = function(options)
    local numbers = numbers_of(options.probabilities)
    local markers = 2 * #numbers + 3
    if options.keep < markers then
      error(("keep = %d: expected at least %d for %d quantiles"):format(options.keep, markers, #numbers), 0)
    end
    local list = ("double[%d]"):format(#numbers)
    return {
      { "quantiles_ps", list, "quantiles of packet sizes, bytes" },
      { "quantiles_piat", list, "quantiles of times between packets, in time_unit" },
    }
  end,
  state       = function(options)
    local latest, markers = ("double[%d]"):format(options.keep), ("double[%d]"):format(2 * #options.probabilities + 3)
    return {
      { "quantiles_packets", "double" }, { "quantiles_ps_latest", latest }, { "quantiles_piat_latest", latest },
      { "quantiles_ps_heights", markers }, { "quantiles_ps_places", markers },
      { "quantiles_piat_heights", markers }, { "quantiles_piat_places", markers },
    }
  end,
  setup       = function(self)
    local numbers = numbers_of(self.probabilities)
    local shares, before = { 0 }, 0
    for k, number in ipairs(numbers) do
      shares[2 * k], shares[2 * k + 1], before = (before + number) / 2, number, number
    end
    shares[#shares + 1] = (before + 1) / 2
    shares[#shares + 1] = 1
    self.numbers, self.shares = numbers, shares
  end,
  independent = true,
  on_init     = add,
  on_update   = add,
  on_expire   = finish,
}
