-- Every capture of the reference data, the hostile ones included, goes through the whole engine with everything
-- switched on: no crash, no hang, and where something is wrong one line that says so. With a sanitizer build behind
-- $NFENGINE this is also where it would report.

local data = require "spec.support.data"
local program = require "spec.support.program"

local SECONDS = 20 -- a sanitizer build on a busy machine included

local function is_present() return program.shell("test -d " .. program.quote(data.folder)).status == 0 end

-- Runs every file of a folder; returns a list of { path, status, err }.
local function run_all(folder)
  local script = ([[find %s -type f ! -name '*.tsv' ! -name '*.md' | sort |
    xargs -P 2 -I{} sh -c 'e=$(timeout %d %s flows -q --format jsonl -o /dev/null --statistical-analysis \
      --splt-analysis=20 --l7-columns=all "{}" 2>&1 </dev/null)
      printf "%%s\t%%s\t%%s\n" $? "{}" "$(printf %%s "$e" | tr "\n\t" "|  ")"']])
    :format(program.quote(data.folder .. "/" .. folder), SECONDS, program.quote(program.path))
  local results = {}
  for line in program.shell(script).out:gmatch "[^\n]+" do
    local status, path, err = line:match "^(%d+)\t([^\t]+)\t(.*)$"
    results[#results + 1] = { status = tonumber(status), path = path, err = err }
  end
  return results
end

-- What is wrong with a run, or nil.
local function complaint(result)
  if result.status ~= 0 and result.status ~= 1 then return "status " .. result.status end
  if result.status == 1 and result.err == "" then return "status 1 without a reason" end
  for line in result.err:gmatch "[^|]+" do
    if not line:match "^nfengine: " then return "not a line of ours: " .. line end
  end
end

local function expect_all_well(folder, at_least)
  local results, wrong = run_all(folder), {}
  assert.is_true(#results >= at_least, ("%d files in %s, expected at least %d"):format(#results, folder, at_least))
  for _, result in ipairs(results) do
    local what = complaint(result)
    if what then wrong[#wrong + 1] = result.path .. ": " .. what .. ": " .. result.err end
  end
  assert.are.equal("", table.concat(wrong, "\n", 1, math.min(#wrong, 10)))
end

describe("reference data goes through without harm:", function()
  local function folder(name, at_least)
    it(name, function()
      if not is_present() then return pending(data.absent) end
      expect_all_well(name, at_least)
    end)
  end
  folder("captures", 840)
  folder("edge", 80)
  folder("hostile/generated", 200)
  folder("hostile/mutants", 450)
end)
