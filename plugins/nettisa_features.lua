--- The NetTiSA flow's features: a flow's packets as one time series of payload sizes, summed up in 13 numbers.
--
-- After Koumar, Hynek, Pešek, Čejka: "NetTiSA: Extended IP flow with time-series features for bandwidth-constrained
-- high-speed network traffic classification", Computer Networks 240, 2024; ipfixprobe exports them as NTS_*. The series
-- is that of all n packets in both directions: payload sizes x(1) … x(n) in bytes, 0 for those without, as the headers
-- say (what a snap length cut off counts), and times t(1) … t(n). The features, sums over all i:
--
--   mean                 m = sum x(i) / n
--   min, max             smallest and largest x(i)
--   stdev                s = sqrt(sum (x(i) - m)^2 / n)
--   root_mean_square     sqrt(sum x(i)^2 / n)
--   average_dispersion   sum |x(i) - m(i)| / n, m(i) the mean of the sizes before x(i); 0 for the first
--   kurtosis             sum (x(i) - m)^4 / (n s^4); 0 where s is 0
--   mean_scaled_time     sum (t(i) - t(1)) / n
--   mean_difftimes       of the n - 1 differences d(i) = t(i + 1) - t(i)
--   min_, max_difftimes  smallest and largest d(i)
--   time_distribution    (sum |d(i) - e(i)| / (n - 1)) / ((max d - min d) / 2), e(i) the mean of the differences
--                        before d(i); the first adds 0; 0 where all are equal
--   switching_ratio      how often x(i) is another than x(i - 1), by (n - 1) / 2
--
-- A flow of one packet has its size as mean, min, max and root_mean_square, and 0 for all else. Times are in the run's
-- time_unit: --time-unit=us gives ipfixprobe's.
--
-- Dispersion and time distribution are the paper's but for one thing: its deviations are from the mean of the whole
-- series, for which a flow would have to keep all of its packets. From the mean until then they are a little more
-- where values vary without order, and a time_distribution can exceed 1. What ipfixprobe (5.7) computes differently:
-- the first deviation of average_dispersion is from 0, and kurtosis, too, is of deviations from the mean until then;
-- stdev is from a mean without its fraction; the first packet has a difference of 0, so that min_difftimes is always 0
-- and mean_difftimes divided by n; time_distribution is divided by (max d - min x), which mixes sizes with times;
-- switching_ratio is of whole packets' sizes, counts the first, and is divided by n; one packet makes no record.
--
-- The paper's further features follow from these: max - min, average_dispersion / mean, stdev^2, stdev / mean,
-- (stdev - mean) / (stdev + mean), and src2dst_packets / bidirectional_packets.
--
-- @usage nfengine flows --plugin nettisa_features --n-dissections=0 samples/tls.pcap \
--   --columns=dst_port,udps.nettisa_mean,udps.nettisa_kurtosis,udps.nettisa_time_distribution
-- @output
-- dst_port,udps.nettisa_mean,udps.nettisa_kurtosis,udps.nettisa_time_distribution
-- 443,270.6521739130435,4.448696420712135,0.39890725772023267
-- 443,305.5238095238095,3.7462585998893942,0.40599370271970886
-- 443,309.04347826086956,3.455151216429163,0.3128970620491871
-- 443,307.30434782608694,3.601853579353136,0.3427358583656078
-- ...

local nf = require "nfengine"
local abs, max, min = math.abs, math.max, math.min

-- Averages are sums until on_expire. Moments are those of sizes less the first: small numbers, and exact while below
-- 2^53, where sums of x^4 would lose what the fourth moment is about.

local function begin(_, packet, flow)
  local udps, size = flow.udps, packet.payload_size
  udps.nettisa_packets = 1
  udps.nettisa_first, udps.nettisa_last, udps.nettisa_min, udps.nettisa_max = size, size, size, size
end

local function add_time(udps, before, difference)
  local elapsed = udps.nettisa_elapsed
  if before == 1 then
    udps.nettisa_min_difftimes, udps.nettisa_max_difftimes = difference, difference
  else
    udps.nettisa_min_difftimes = min(udps.nettisa_min_difftimes, difference)
    udps.nettisa_max_difftimes = max(udps.nettisa_max_difftimes, difference)
    udps.nettisa_time_distribution = udps.nettisa_time_distribution + abs(difference - elapsed / (before - 1))
  end
  elapsed = elapsed + difference
  udps.nettisa_elapsed = elapsed
  udps.nettisa_mean_scaled_time = udps.nettisa_mean_scaled_time + elapsed
end

local function add(_, packet, flow)
  local udps, size = flow.udps, packet.payload_size
  local before = udps.nettisa_packets
  udps.nettisa_packets = before + 1
  udps.nettisa_min, udps.nettisa_max = min(udps.nettisa_min, size), max(udps.nettisa_max, size)
  local d = size - udps.nettisa_first
  udps.nettisa_average_dispersion = udps.nettisa_average_dispersion + abs(d - udps.nettisa_sum / before)
  udps.nettisa_sum = udps.nettisa_sum + d
  udps.nettisa_sum2 = udps.nettisa_sum2 + d * d
  udps.nettisa_sum3 = udps.nettisa_sum3 + d * d * d
  udps.nettisa_sum4 = udps.nettisa_sum4 + d * d * d * d
  if size ~= udps.nettisa_last then
    udps.nettisa_last, udps.nettisa_switching_ratio = size, udps.nettisa_switching_ratio + 1
  end
  add_time(udps, before, packet.delta_time)
end

local function finish(_, flow)
  local udps = flow.udps
  local n, first = udps.nettisa_packets, udps.nettisa_first
  local m1, m2, m3, m4 = udps.nettisa_sum / n, udps.nettisa_sum2 / n, udps.nettisa_sum3 / n, udps.nettisa_sum4 / n
  local variance = m2 - m1 * m1
  udps.nettisa_mean = first + m1
  udps.nettisa_stdev = math.sqrt(variance)
  udps.nettisa_root_mean_square = math.sqrt(m2 + first * (2 * m1 + first))
  if variance > 0 then
    udps.nettisa_kurtosis = (m4 - m1 * (4 * m3 - m1 * (6 * m2 - 3 * m1 * m1))) / (variance * variance)
  end
  udps.nettisa_average_dispersion = udps.nettisa_average_dispersion / n
  udps.nettisa_mean_scaled_time = udps.nettisa_mean_scaled_time / n
  if n == 1 then return end
  udps.nettisa_mean_difftimes = udps.nettisa_elapsed / (n - 1)
  udps.nettisa_switching_ratio = udps.nettisa_switching_ratio / (n - 1) * 2
  local range = udps.nettisa_max_difftimes - udps.nettisa_min_difftimes
  if range > 0 then udps.nettisa_time_distribution = udps.nettisa_time_distribution / (n - 1) / range * 2 end
end

return nf.plugin {
  name        = "nettisa_features",
  version     = "1.0.0",
  api         = 1,
  description = "NetTiSA's features: payload sizes and times of a flow as one time series",
  author      = "the nfengine authors",
  license     = "MIT",
  categories  = { "feature", "compat", "safe" },
  columns     = {
    { "nettisa_mean", "double", "mean payload size, m = sum x / n, bytes" },
    { "nettisa_min", "uint32", "smallest payload size, bytes" },
    { "nettisa_max", "uint32", "largest payload size, bytes" },
    { "nettisa_stdev", "double", "s = sqrt(sum (x - m)^2 / n), bytes" },
    { "nettisa_root_mean_square", "double", "sqrt(sum x^2 / n), bytes" },
    { "nettisa_average_dispersion", "double", "sum |x - mean of those before| / n, bytes" },
    { "nettisa_kurtosis", "double", "sum (x - m)^4 / (n s^4), 0 where all sizes are equal" },
    { "nettisa_mean_scaled_time", "double", "mean time since the first packet, sum (t - t1) / n, in time_unit" },
    { "nettisa_mean_difftimes", "double", "mean time between packets, sum d / (n - 1), in time_unit" },
    { "nettisa_min_difftimes", "double", "shortest time between packets, in time_unit" },
    { "nettisa_max_difftimes", "double", "longest time between packets, in time_unit" },
    { "nettisa_time_distribution", "double",
      "(sum |d - mean of those before| / (n - 1)) / ((max d - min d) / 2), 0 where all are equal" },
    { "nettisa_switching_ratio", "double", "changes of size from packet to packet / ((n - 1) / 2), from 0 to 2" },
  },
  state       = {
    { "nettisa_packets", "double" }, { "nettisa_first", "double" }, { "nettisa_last", "double" },
    { "nettisa_elapsed", "double" }, { "nettisa_sum", "double" }, { "nettisa_sum2", "double" },
    { "nettisa_sum3", "double" }, { "nettisa_sum4", "double" },
  },
  on_init     = begin,
  on_update   = add,
  on_expire   = finish,
}
