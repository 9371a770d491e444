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
local floor, log = math.floor, math.log

local HAAR = math.sqrt(0.5)
local TINY = 1e-7 -- NFStream adds it where zero would make a division or a logarithm infinite

local FEATURES = { p = "share of energy", u = "mean of |d|", sigma = "standard deviation of d", S = "entropy of d^2" }
local DIRECTIONS = { f = "source to destination", b = "destination to source" }

-- The sum of `count` values from `first` on. In pairs, so that few digits are lost, and in the order of
-- NFStream's library, so that what is lost is the same: row 0 would else deviate by other traces of rounding.
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

-- Stores the features of a row of coefficients. Returns its energy.
local function describe(self, udps, names, k, row)
  local work, count = self.work, self.count
  for i = 1, count do work[i] = row[i] * row[i] end
  local energy = sum(work, 1, count)
  for i = 1, count do
    if work[i] ~= 0 then -- most are
      local share = work[i] / (energy + TINY)
      work[i] = share * log(share + TINY)
    end
  end
  udps[names.S[k]] = -sum(work, 1, count)
  for i = 1, count do work[i] = math.abs(row[i]) end
  udps[names.u[k]] = sum(work, 1, count) / count
  local mean = sum(row, 1, count) / count
  for i = 1, count do work[i] = (row[i] - mean) * (row[i] - mean) end
  udps[names.sigma[k]] = math.sqrt(sum(work, 1, count) / count)
  return energy
end

-- One step of the transform of a series: its details at this scale, which is a distance in bins, go to the row; the
-- approximation that remains takes its place.
local function split(self, series, scale)
  local row, work, count = self.row, self.work, self.count
  for i = 1, count do
    local one, other = HAAR * series[i], HAAR * series[(i + scale - 1) % count + 1] -- it goes round
    row[i], work[i] = one - other, one + other
  end
  for i = 1, count do series[i] = work[i] end
end

-- Features of a series in general. Fills the rows' energies.
local function analyse(self, udps, names, bins)
  local series, scale = self.series, 1
  for i = 1, self.count do series[i] = bins[i] end
  for k = self.levels, 1, -1 do
    split(self, series, scale)
    self.energies[k] = describe(self, udps, names, k, self.row)
    scale = scale * 2
  end
  self.energies[0] = describe(self, udps, names, 0, series)
end

-- The same for a series with one bin that is not 0, as most have. With each scale there are twice as many coefficients
-- that are not 0, all of one size, and half of them negative but in row 0. In rows of up to 32, `sum` adds up no more
-- than four of them one by one, wherever they are, and so many times a number is what comes out, to the last digit.
local function analyse_one(self, udps, names, height)
  local count, m = self.count, 1
  for k = self.levels, 0, -1 do
    if k > 0 then height, m = HAAR * height, 2 * m end
    local energy = m * height * height
    local share = height * height / (energy + TINY)
    udps[names.S[k]] = -m * (share * log(share + TINY))
    udps[names.u[k]] = m * height / count
    udps[names.sigma[k]] = k > 0 and math.sqrt(energy / count) or 0
    self.energies[k] = energy
  end
end

-- One direction: functions that count a packet in its bin, and that compute the features. The bin at hand is counted
-- apart: time does not go back, and most series have no other bin, so that they leave the array alone.
local function follow(way)
  local bins, bin, bytes, is_long = way .. "_bins", way .. "_bin", way .. "_bytes", way .. "_is_long"

  local function leave_bin(udps) udps[bins][udps[bin]] = udps[bytes] end

  local function count(udps, now, size)
    if udps[bin] ~= now then
      if udps[bin] > 0 then
        leave_bin(udps)
        udps[is_long] = true
      end
      udps[bin], udps[bytes] = now, 0
    end
    udps[bytes] = udps[bytes] + size
  end

  local function finish(self, udps, names)
    if udps[bin] == 0 then return end
    if not udps[is_long] and self.count <= 32 then
      analyse_one(self, udps, names, udps[bytes])
    else
      leave_bin(udps)
      analyse(self, udps, names, udps[bins])
    end
    local energies, total = self.energies, 0
    for k = self.levels, 0, -1 do total = total + energies[k] end
    for k = 0, self.levels do udps[names.p[k]] = energies[k] / (total + TINY) end
  end

  return count, finish
end

local count_forth, finish_forth = follow "wavelet_f"
local count_back, finish_back = follow "wavelet_b"

-- Columns' names by feature and row.
local function names_of(direction, levels)
  local names = {}
  for feature in pairs(FEATURES) do
    names[feature] = {}
    for k = 0, levels do names[feature][k] = ("%s_%s_k_%d"):format(direction, feature, k) end
  end
  return names
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
  local series = ("double[%d]"):format(2 ^ options.levels)
  return {
    { "wavelet_begin", "double", "time of the flow's first packet" },
    { "wavelet_f_bin", "uint16" }, { "wavelet_b_bin", "uint16", "the latest packet's bin, 0 without one" },
    { "wavelet_f_bytes", "double" }, { "wavelet_b_bytes", "double", "bytes in this bin" },
    { "wavelet_f_is_long", "bool" }, { "wavelet_b_is_long", "bool", "whether there are bins before, ..." },
    { "wavelet_f_bins", series }, { "wavelet_b_bins", series, "... which are here" },
  }
end

return nf.plugin {
  name        = "wavelet",
  version     = "1.0.0",
  api         = 1,
  description = "Wavelet features of bytes over time",
  author      = "the nfengine authors",
  license     = "MIT",
  categories  = { "feature", "compat", "safe" },
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
    self.forth, self.back = names_of("f", self.levels), names_of("b", self.levels)
    self.series, self.row, self.work, self.energies = {}, {}, {}, {} -- to compute with, for one flow after the other
  end,

  on_init = function(_, packet, flow) flow.udps.wavelet_begin = packet.time end,

  on_update = function(self, packet, flow)
    local udps = flow.udps
    local bin = floor((packet.time - udps.wavelet_begin) / self.width) + 1
    if bin > self.count then return end
    if packet.direction == 0 then
      count_forth(udps, bin, packet.ip_size)
    else
      count_back(udps, bin, packet.ip_size)
    end
  end,

  on_expire = function(self, flow)
    finish_forth(self, flow.udps, self.forth)
    finish_back(self, flow.udps, self.back)
  end,
}
