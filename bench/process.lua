--- Runs a command and says what it cost: wall time, and CPU time and peak memory of the process and of all it started.
--
--   local result = process.run({ "./nfengine", "flows", "capture.pcap" }, { out = PATH, err = PATH, limit = 60 })
--   result.cpu, result.wall   seconds
--   result.memory             bytes, of the largest process
--   result.problem            nil, or why the run does not count
--
-- A process's peak memory is never less than that of the process it was started from, so this one has to stay small.

local bit = require "bit"
local ffi = require "ffi"

ffi.cdef [[
  struct bench_timeval { long seconds, microseconds; };
  struct bench_timespec { long seconds, nanoseconds; };
  struct bench_rusage { struct bench_timeval user, system; long peak, others[13]; };
  struct bench_signals { unsigned long words[16]; };

  int fork(void);
  int execvp(const char *, char *const *);
  void _exit(int);
  int setpgid(int, int);
  int kill(int, int);
  int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long);
  int open(const char *, int, ...);
  int dup2(int, int);
  int wait4(int, int *, int, struct bench_rusage *);
  int sigprocmask(int, const struct bench_signals *, struct bench_signals *);
  int sigtimedwait(const struct bench_signals *, void *, const struct bench_timespec *);
  int clock_gettime(int, struct bench_timespec *);
]]

-- Linux's numbers
local SIGKILL, SIGCHLD = 9, 17
local SIG_BLOCK, SIG_UNBLOCK = 0, 1
local WNOHANG = 1
local CLOCK_MONOTONIC = 1
local PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
local O_WRONLY_CREAT_TRUNC = 0x241

local LEFTOVERS_LIMIT = 5 -- seconds for what the command leaves behind to be gone once it is killed

local process = {}

local child_ended = ffi.new "struct bench_signals"
child_ended.words[0] = bit.lshift(1, SIGCHLD - 1)

-- What a command starts and does not wait for becomes ours to wait for.
ffi.C.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

local function now()
  local time = ffi.new "struct bench_timespec"
  ffi.C.clock_gettime(CLOCK_MONOTONIC, time)
  return tonumber(time.seconds) + tonumber(time.nanoseconds) * 1e-9
end

local function redirect(path, descriptor)
  ffi.C.dup2(ffi.C.open(path, O_WRONLY_CREAT_TRUNC, ffi.cast("int", 420)), descriptor)
end

-- Starts the command in a process group of its own that ends when this process does.
local function start(words, out, err)
  local arguments = ffi.new("const char *[?]", #words + 1)
  for i, word in ipairs(words) do arguments[i - 1] = word end
  local child = ffi.C.fork()
  if child == 0 then
    ffi.C.setpgid(0, 0)
    ffi.C.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    ffi.C.sigprocmask(SIG_UNBLOCK, child_ended, nil)
    redirect(out, 1)
    redirect(err, 2)
    ffi.C.execvp(words[1], ffi.cast("char *const *", arguments))
    ffi.C._exit(127)
  end
  assert(child > 0, "cannot start a process")
  return child
end

local function add(result, usage)
  for _, time in ipairs { usage.user, usage.system } do
    result.cpu = result.cpu + tonumber(time.seconds) + tonumber(time.microseconds) * 1e-6
  end
  result.memory = math.max(result.memory, tonumber(usage.peak) * 1024)
end

local function problem_of(status)
  local signal, code = bit.band(status, 127), bit.rshift(status, 8)
  if signal ~= 0 then return "ended by signal " .. signal end
  if code == 127 then return "cannot be started" end
  if code ~= 0 then return "exit status " .. code end
end

-- Collects the child, and what it left behind, until nothing runs any more.
local function wait(child, result, limit)
  local status, usage = ffi.new "int[1]", ffi.new "struct bench_rusage"
  local began = now()
  local deadline = began + limit
  while true do
    local ended = ffi.C.wait4(-1, status, WNOHANG, usage)
    if ended < 0 then return end
    if ended > 0 then add(result, usage) end
    if ended == child then
      result.wall, result.problem = now() - began, result.problem or problem_of(status[0])
      ffi.C.kill(-child, SIGKILL)
      deadline = now() + LEFTOVERS_LIMIT
    elseif ended == 0 then
      local left = deadline - now()
      if left <= 0 and result.wall then return end
      if left <= 0 then
        result.problem = ("not done after %d s"):format(limit)
        ffi.C.kill(-child, SIGKILL)
        deadline = now() + LEFTOVERS_LIMIT
      else
        ffi.C.sigtimedwait(child_ended, nil, ffi.new("struct bench_timespec", math.floor(left), left % 1 * 1e9))
      end
    end
  end
end

--- Runs a command to its end, at most `limit` seconds, its output going to the files `out` and `err`.
function process.run(words, options)
  local result = { cpu = 0, memory = 0 }
  ffi.C.sigprocmask(SIG_BLOCK, child_ended, nil)
  wait(start(words, options.out, options.err), result, options.limit)
  ffi.C.sigprocmask(SIG_UNBLOCK, child_ended, nil)
  return result
end

return process
