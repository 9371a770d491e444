-- Random trials that can be repeated:
--
--   random.trial(function(below) ... below(6) ... end)         --> below(n) is 0 to n - 1
--   local below = random.generator(seed)
--
-- Every trial has a new seed. When one fails, its message names the seed; as second argument it repeats the trial.

local random = {}

-- Park and Miller's minimal standard generator: the same numbers wherever the spec runs.
function random.generator(seed)
  local state = seed % 2147483646 + 1
  return function(n)
    state = state * 16807 % 2147483647
    return state % n
  end
end

local trials = 0

function random.trial(body, seed)
  trials = trials + 1
  seed = seed or os.time() * 1000 + trials
  local ok, failure = pcall(body, random.generator(seed))
  if ok then return end
  -- An assertion's failure is a table that knows its text, anything else is text.
  error(("seed %d: %s"):format(seed, type(failure) == "table" and tostring(failure.message) or tostring(failure)), 0)
end

return random
