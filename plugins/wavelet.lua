--- Wavelet features of each flow's bytes over time, for telling kinds of traffic apart.
--
-- NFStream's WFPlugin. Each direction has a series of 2^levels bins, which together last active_timeout, of the IP
-- bytes (headers included) that came in their time since the flow began; its very first packet is not among them. At
-- the end a stationary Haar transform splits each series by time scale into levels + 1 rows of coefficients d: row 0 is
-- the approximation that remains, row 1 the coarsest detail, row `levels` the finest, between neighbouring bins. Of
-- each row k and direction (f: source to destination, b: back) there are
--
--   p_k      its share of all rows' energy, which is the sum of d^2
--   u_k      the mean of |d|
--   sigma_k  the standard deviation of d
--   S_k      the entropy of d^2 over the bins, in nats
--
-- all 0 where the direction has no such packet. Give active_timeout the run's value: what comes later than that is left
-- out.
--
-- @usage nfengine flows --plugin wavelet -a wavelet.levels=3 -a wavelet.active_timeout=4 --active-timeout=4 \
--   --n-dissections=0 --columns=dst_port,udps.f_p_k_0,udps.f_p_k_1,udps.f_p_k_2,udps.f_p_k_3 samples/voip_like.pcap
-- @output
-- dst_port,udps.f_p_k_0,udps.f_p_k_1,udps.f_p_k_2,udps.f_p_k_3
-- 16386,0.8456235240344329,0.07240801401691171,0.05907671212005788,0.022891749828597534

local nf = require "nfengine"

local HAAR = math.sqrt(0.5)
local TINY = 1e-7 -- NFStream adds it where zero would make a division or a logarithm infinite

local FEATURES = { p = "share of energy", u = "mean of |d|", sigma = "standard deviation of d", S = "entropy of d^2" }
local DIRECTIONS = { f = "source to destination", b = "destination to source" }

-- The sum of `count` values from `first`. In pairs, so that few digits are lost, and in the order of NFStream's
-- library, so that what is lost is the same: row 0 would else deviate by other traces of rounding.
local function sum(values, first, count)
  if count > 128 then return sum(values, first, count / 2) + sum(values, first + count / 2, count / 2) end
  local total = 0
  if count < 8 then
    for i = first, first + count - 1 do total = total + values[i] end
    return total
  end
  local a, b, c, d, e, f, g, h = 0, 0, 0, 0, 0, 0, 0, 0
  for i = first, first + count - 1, 8 do
    a, b, c, d = a + values[i], b + values[i + 1], c + values[i + 2], d + values[i + 3]
    e, f, g, h = e + values[i + 4], f + values[i + 5], g + values[i + 6], h + values[i + 7]
  end
  return ((a + b) + (c + d)) + ((e + f) + (g + h))
end

-- Stores the features of a row of coefficients, row[first] and on; p is its energy yet, which is returned.
local function describe(udps, direction, k, row, first, count)
  local work, from = udps.wavelet_work, first - 1
  for i = 1, count do work[i] = row[from + i] * row[from + i] end
  local energy = sum(work, 1, count)
  for i = 1, count do
    local share = work[i] / (energy + TINY)
    work[i] = share * math.log(share + TINY)
  end
  udps[direction .. "_S_k_" .. k] = -sum(work, 1, count)
  for i = 1, count do work[i] = math.abs(row[from + i]) end
  udps[direction .. "_u_k_" .. k] = sum(work, 1, count) / count
  local mean = sum(row, first, count) / count
  for i = 1, count do work[i] = (row[from + i] - mean) * (row[from + i] - mean) end
  udps[direction .. "_sigma_k_" .. k] = math.sqrt(sum(work, 1, count) / count)
  udps[direction .. "_p_k_" .. k] = energy
  return energy
end

-- One step of the transform of the series from bins[first] on: its details at this scale, which is a distance in bins,
-- go to the row; the approximation that remains takes its place.
local function split(udps, first, count, scale)
  local bins, row, work = udps.wavelet_bins, udps.wavelet_row, udps.wavelet_work
  local from = first - 1
  for i = 1, count do
    local one, other = HAAR * bins[from + i], HAAR * bins[from + (i + scale - 1) % count + 1] -- it goes round
    row[i], work[i] = one - other, one + other
  end
  for i = 1, count do bins[from + i] = work[i] end
end

local function analyse(udps, direction, first, count, levels)
  if sum(udps.wavelet_bins, first, count) == 0 then return end
  local scale, total = 1, 0
  for k = levels, 1, -1 do
    split(udps, first, count, scale)
    total = total + describe(udps, direction, k, udps.wavelet_row, 1, count)
    scale = scale * 2
  end
  total = total + describe(udps, direction, 0, udps.wavelet_bins, first, count)
  for k = 0, levels do
    local name = direction .. "_p_k_" .. k
    udps[name] = udps[name] / (total + TINY)
  end
end

local function columns(options)
  local list = {}
  for _, direction in ipairs { "f", "b" } do
    for _, feature in ipairs { "p", "u", "sigma", "S" } do
      for k = 0, options.levels do
        list[#list + 1] = { ("%s_%s_k_%d"):format(direction, feature, k), "double",
          ("%s of row %d, %s"):format(FEATURES[feature], k, DIRECTIONS[direction]) }
      end
    end
  end
  return list
end

local function state(options)
  local count = 2 ^ options.levels
  return {
    { "wavelet_begin", "double", "time of the flow's first packet" },
    { "wavelet_bins", ("double[%d]"):format(2 * count), "the series, source to destination and back" },
    { "wavelet_row", ("double[%d]"):format(count) },
    { "wavelet_work", ("double[%d]"):format(count) },
  }
end

return nf.plugin {
  name        = "wavelet",
  version     = "1.0.0",
  api         = 1,
  description = "Wavelet features of bytes over time",
  author      = "the nfengine authors",
  license     = "MIT",
  categories  = { "feature", "compat", "slow", "safe" },
  options     = {
    levels         = { 5, "2^levels bins", min = 1, max = 14, integer = true },
    active_timeout = { 1800, "seconds that the bins last together, the run's active_timeout", min = 1, integer = true },
  },
  columns     = columns,
  state       = state,

  independent = true,

  setup = function(self, run)
    self.count = 2 ^ self.levels
    self.width = self.active_timeout * run.ticks_per_second / self.count
  end,

  on_init = function(_, packet, flow) flow.udps.wavelet_begin = packet.time end,

  on_update = function(self, packet, flow)
    local udps = flow.udps
    local bin = math.floor((packet.time - udps.wavelet_begin) / self.width) + 1
    if bin <= self.count then
      local bins = udps.wavelet_bins
      bin = bin + packet.direction * self.count
      bins[bin] = bins[bin] + packet.ip_size
    end
  end,

  on_expire = function(self, flow)
    analyse(flow.udps, "f", 1, self.count, self.levels)
    analyse(flow.udps, "b", self.count + 1, self.count, self.levels)
  end,
}
