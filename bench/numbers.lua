--- Medians and such of a row's runs. A result's `runs` is a list of { round, cpu_ns, wall_ns (both a packet), memory }.

local numbers = {}

local function median_of(values)
  table.sort(values)
  local middle = #values / 2
  if middle % 1 > 0 then return values[middle + 0.5] end
  return (values[middle] + values[middle + 1]) / 2
end

local function values_of(result, field)
  local values = {}
  for i, run in ipairs(result.runs) do values[i] = run[field] end
  return values
end

function numbers.median(result, field) return median_of(values_of(result, field)) end
function numbers.least(result, field) return math.min(unpack(values_of(result, field))) end
function numbers.most(result, field) return math.max(unpack(values_of(result, field))) end

--- The median of `compare(run of a, run of b)` over the rounds in which both ran, so that a machine that is slower in
-- one round is so for both.
function numbers.paired(a, b, compare)
  local by_round, values = {}, {}
  for _, run in ipairs(b.runs) do by_round[run.round] = run end
  for _, run in ipairs(a.runs) do
    local other = by_round[run.round]
    if other then values[#values + 1] = compare(run, other) end
  end
  return median_of(values)
end

return numbers
