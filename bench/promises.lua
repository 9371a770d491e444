--- What nfengine promises to cost, and whether a measurement keeps it.

local numbers = require "bench.numbers"

-- kind "ratio": CPU time of `row` to that of `against`; "wall": the same of elapsed time; "more": its
-- ns/packet beyond the other's; "memory": MB; "spread": its slowest run to its median.
local PROMISES = {
  { row = "features", kind = "ratio", against = "floor", most = 2.5,
    text = "statistics and SPLT, counted: at most 2.5 times the floor" },
  { row = "features_csv", kind = "ratio", against = "floor", most = 4,
    text = "statistics and SPLT, to CSV: at most 4 times the floor" },
  { row = "features_csv", kind = "ratio", against = "nfstream_features", most = 1 / 20,
    text = "statistics and SPLT, to CSV: at most a twentieth of NFStream" },
  { row = "dpi", kind = "ratio", against = "ndpireader", most = 1,
    text = "DPI, counted: no more than ndpiReader" },
  { row = "counter", kind = "more", against = "core", most = 30,
    text = "one counting plugin: at most 30 ns a packet more than the core" },
  { row = "decided", kind = "more", against = "core", most = 20,
    text = "a plugin that is done with a flow after ten packets: at most 20 ns a packet more than the core" },
  { row = "eight", kind = "more", against = "core", most = 120,
    text = "eight plugins: at most 120 ns a packet more than the core" },
  { row = "eight", kind = "spread", most = 2,
    text = "eight plugins: no run over twice their median" },
  { row = "plugins", kind = "more", against = "core", most = 600,
    text = "all plugins that look at every packet: at most 600 ns a packet more than the core" },
  { row = "plugins", kind = "spread", most = 2,
    text = "all plugins that look at every packet: no run over twice their median" },
  -- 0.79 has been measured with a million packets and 0.57 with five: nDPIs start one after the other.
  { row = "dpi_csv_2", kind = "wall", against = "dpi_csv", most = 0.85,
    text = "DPI, to CSV, two meters on two cores: at most 0.85 times the time of one" },
  { row = "core_csv_2", kind = "wall", against = "core_csv", most = 0.85,
    text = "core, to CSV, two meters on two cores: at most 0.85 times the time of one" },
  { row = "flood_core", kind = "ratio", against = "core", most = 3,
    text = "SYN flood: a packet at most 3 times one of the mixture" },
  { row = "flood_statistics", kind = "ratio", against = "statistics", most = 3,
    text = "SYN flood, statistics: a packet at most 3 times one of the mixture" },
  { row = "flood_core", kind = "memory", most = 280,
    text = "SYN flood: a million flows in at most 280 MB" },
  { row = "flood_statistics", kind = "memory", most = 520,
    text = "SYN flood, statistics: a million flows in at most 520 MB" },
  { row = "flood_bounded", kind = "memory", most = 120,
    text = "SYN flood, 100,000 flows alive: at most 120 MB" },
  { row = "flood_bounded", kind = "ratio", against = "core", most = 2,
    text = "SYN flood, 100,000 flows alive: at least half as fast as the mixture" },
  { row = "flood_bounded_dpi", kind = "memory", most = 120,
    text = "SYN flood, 100,000 flows alive, DPI: at most 120 MB" },
  -- nDPI looks up the addresses of every new flow, twice: a quarter of the time.
  { row = "flood_bounded_dpi", kind = "ratio", against = "dpi", most = 2,
    text = "SYN flood, 100,000 flows alive, DPI: at least half as fast as the mixture" },
}

-- Promises are about traces of about a million packets.
local FEWEST, MOST = 900000, 1100000

local promises = {}

local units = { ratio = "times", wall = "times", more = "ns", memory = "MB", spread = "times" }

local measures = {}

local function quotient(run, other) return run.cpu_ns / other.cpu_ns end
local function wall_quotient(run, other) return run.wall_ns / other.wall_ns end
local function difference(run, other) return run.cpu_ns - other.cpu_ns end

function measures.ratio(row, against) return numbers.paired(row, against, quotient) end
function measures.wall(row, against) return numbers.paired(row, against, wall_quotient) end
function measures.more(row, against) return numbers.paired(row, against, difference) end
function measures.memory(row) return numbers.median(row, "memory") / 1e6 end
function measures.spread(row) return numbers.most(row, "cpu_ns") / numbers.median(row, "cpu_ns") end

local function measured(results, id)
  local result = results[id]
  return result and result.packets and #result.runs > 0 and not result.problem and result
end

local function judge(promise, results)
  local row, against = measured(results, promise.row), measured(results, promise.against)
  local verdict = { promise = promise, unit = units[promise.kind] }
  if not row or promise.against and not against then
    verdict.because = "not measured: " .. (row and promise.against or promise.row)
  elseif row.packets < FEWEST or row.packets > MOST then
    verdict.because = "only judged on a million packets"
  else
    verdict.value = measures[promise.kind](row, against)
    verdict.is_missed = verdict.value > promise.most
    verdict.over = verdict.value / promise.most - 1
  end
  return verdict
end

-- What is promised of every plugin that reads no payload and does not call itself slow.
local LIGHT = 60

local function of_light_plugins(results)
  local list = {}
  for id, result in pairs(results) do
    if result.row.is_light then
      list[#list + 1] = { row = id, kind = "more", against = "core", most = LIGHT,
        text = ("%s: at most %d ns a packet more than the core"):format(result.row.name, LIGHT) }
    end
  end
  table.sort(list, function(a, b) return a.row < b.row end)
  return list
end

--- Verdicts on all promises: { promise, unit, value, is_missed, over (a part of what was promised) }, with `because`
-- in place of the last three where there is no value.
function promises.judge(results)
  local verdicts = {}
  for _, list in ipairs { PROMISES, of_light_plugins(results) } do
    for _, promise in ipairs(list) do verdicts[#verdicts + 1] = judge(promise, results) end
  end
  return verdicts
end

return promises
