-- Runs the program with calls that fail (spec/support/faults.c), one run for each of its calls of a kind.
--
--   local reason = faults.missing()                                --> nil, or what a pending test should say
--   local calls = faults.count { kind = "read", words = "flows -o $out samples/dns.pcap" }
--   local results = faults.sweep { kind = "read", error = "EIO", words = "flows -o $out samples/dns.pcap" }
--   results[1].at, results[1].status, results[1].out, results[1].written, results[1].err
--
-- In the words, $out names a file that is new in every run; `written` is what it holds then, nil where there is none.
-- What goes to standard output goes through a pipe. `times` is how many calls fail from the first on, 0 for all;
-- `spared` names more libraries whose calls are left alone.
-- Status 124 is a run that had not ended after twenty seconds; above 128, a signal ended it.

local program = require "spec.support.program"

local faults = {}

--- Libraries that do not check what malloc gives them, so that a failing one is not theirs to bear.
faults.UNCHECKED = "libndpi libgcrypt libgpg-error libpcap libgcc_s"

--- Every call of each sweep, not only some of them.
faults.is_every = os.getenv "NFENGINE_EVERY_FAULT" == "1"

local SWITCH = "build/faults.so"
local SOME, LAST = 8, 8 -- of a long sweep: so many calls spread over it, and the last ones, when packets are read

local ERRORS = { EPERM = 1, EINTR = 4, EIO = 5, EAGAIN = 11, ENOMEM = 12, EACCES = 13, EMFILE = 24, ENOSPC = 28,
  short = "short" }

--- Why no faults can be had here, or nil.
function faults.missing()
  if not program.read(SWITCH) then return "needs " .. SWITCH .. ", which make check builds" end
  if program.shell(("ldd %s | grep -E 'lib[at]san'"):format(program.quote(program.path))).status == 0 then
    return "a sanitizer's malloc has to be the first, and so do the ones that fail: make leak has both"
  end
end

-- One run, in a folder of its own: $1 is the number of the call. What it writes lies there under that number.
local RUN = [[
out=$folder/$1.written; export FAULT_AT=$1
{ timeout 20 env LD_PRELOAD=%s %s %s 2>$folder/$1.err; echo $? >$folder/$1.status; } | cat >$folder/$1.out]]

--- Runs the program once for each of these calls, as many at a time as there are CPUs.
local function run_each(given, calls)
  local folder = program.shell("mktemp -d").out:gsub("\n", "")
  local script = program.write(RUN:format(SWITCH, program.quote(program.path), given.words))
  local spared = faults.UNCHECKED .. " " .. (given.spared or "")
  program.shell(("export folder=%s FAULT_KIND=%s FAULT_ERROR=%s FAULT_TIMES=%d FAULT_SPARED=%s %s\n"
    .. "printf '%%s\\n' %s | xargs -P $(nproc) -n 1 sh %s"):format(folder, given.kind,
    ERRORS[given.error or "ENOMEM"], given.times or 1, program.quote(spared), given.environment or "",
    table.concat(calls, " "), script))
  local results = {}
  for i, at in ipairs(calls) do
    local function part(name) return program.read(("%s/%d.%s"):format(folder, at, name)) end
    results[i] = { at = at, status = tonumber(part "status"), out = part "out", written = part "written",
      err = part "err" }
  end
  program.shell("rm -r " .. folder)
  return results
end

--- A run in which nothing fails; `calls` is how many there were that could have.
function faults.sound(given)
  local path = program.temporary()
  local sound = { kind = given.kind, words = given.words, spared = given.spared, environment = "FAULT_COUNT=" .. path }
  local result = run_each(sound, { 0 })[1]
  result.calls = tonumber(program.read(path))
  return result
end

--- Which of so many calls a sweep takes.
local function choose(count)
  local calls, every = {}, faults.is_every and 1 or math.max(1, math.floor((count - LAST) / SOME))
  for at = 1, count do
    if at % every == 1 % every or at > count - LAST then calls[#calls + 1] = at end
  end
  return calls
end

--- One run for each call that can fail, or for some of them.
-- @param given `kind` of call, `error` (ENOMEM), `times` (1), `words` of the command line, and `calls`, how many there
--   are
-- @return a list of results
function faults.sweep(given) return run_each(given, choose(given.calls)) end

return faults
