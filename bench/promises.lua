--- What nfengine promises to cost, and whether a measurement keeps it.

local numbers = require "bench.numbers"

-- kind "ratio": CPU time of `row` to that of `against`; "more": its ns/packet beyond the other's; "memory": MB;
-- "spread": its slowest run to its median.
local PROMISES = {
  { row = "features", kind = "ratio", against = "floor", most = 2.5,
    text = "flows with statistics and SPLT cost at most 2.5 times the floor" },
  { row = "features_csv", kind = "ratio", against = "floor", most = 4,
    text = "written to CSV, at most 4 times the floor" },
  { row = "features_csv", kind = "ratio", against = "nfstream_features", most = 1 / 20,
    text = "and at most a twentieth of what NFStream takes" },
  { row = "dpi", kind = "ratio", against = "ndpireader", most = 1,
    text = "DPI costs no more than ndpiReader" },
  { row = "counter", kind = "more", against = "core", most = 30,
    text = "a counting plugin adds at most 30 ns a packet" },
  { row = "eight", kind = "more", against = "core", most = 120,
    text = "eight plugins add at most 120 ns a packet" },
  { row = "eight", kind = "spread", most = 2,
    text = "and no run takes over twice the median" },
  { row = "flood_core", kind = "ratio", against = "core", most = 3, across = true,
    text = "a packet of a SYN flood costs at most 3 times one of the mixture" },
  { row = "flood_statistics", kind = "ratio", against = "statistics", most = 3, across = true,
    text = "and with statistics too" },
  { row = "flood_core", kind = "memory", most = 280,
    text = "a million flows take at most 280 MB" },
  { row = "flood_statistics", kind = "memory", most = 520,
    text = "and with statistics 520 MB" },
}

-- Promises are about traces of about a million packets.
local FEWEST, MOST = 900000, 1100000

local promises = {}

local units = { ratio = "times", more = "ns", memory = "MB", spread = "times" }

local measures = {}

function measures.ratio(row, against) return numbers.paired(row, against, function(a, b) return a.cpu_ns / b.cpu_ns end) end
function measures.more(row, against) return numbers.paired(row, against, function(a, b) return a.cpu_ns - b.cpu_ns end) end
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

--- Verdicts on all promises: { promise, unit, value, is_missed, over (part of the promised), or because (why there is no
-- value) }.
function promises.judge(results)
  local verdicts = {}
  for i, promise in ipairs(PROMISES) do verdicts[i] = judge(promise, results) end
  return verdicts
end

return promises
