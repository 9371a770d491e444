-- Programs that run in the background, in network namespaces, while a spec goes on: nfengine capturing, tools that send
-- or listen. Nothing waits for longer than a deadline, and cleanup ends what is left.
--
--   local run = live.start(net.b, "flows", "-i", "vb")      -- nfengine; returns once it captures
--   local server = live.spawn(net.b, "nginx -c " .. path)   -- any shell command that is one program
--   live.wait_for("a row", function() return #run:out() > 0 end)
--   run:signal "INT"
--   local result = run:finish()                             --> { status, out, err }
--   after_each(live.cleanup)                                -- before network.cleanup

local ffi = require "ffi"
local C = require "nfengine.lib"
local program = require "spec.support.program"

ffi.cdef [[
  int kill(int process, int signal);
  int usleep(unsigned microseconds);
]]

local SIGNALS = { HUP = 1, INT = 2, KILL = 9, USR1 = 10, TERM = 15, STOP = 19, CONT = 18 }
local PATIENCE_S = 10
local LOOK_US = 5000

local live = {}

--- Seconds, on a clock that never goes back.
function live.now() return C.nf_now() end

--- Waits until the condition gives something true, and returns that; fails after `seconds` (10).
function live.wait_for(what, condition, seconds)
  local deadline = live.now() + (seconds or PATIENCE_S)
  repeat
    local result = condition()
    if result then return result end
    ffi.C.usleep(LOOK_US)
  until live.now() > deadline
  local latest = condition()
  return latest or error(("no %s within %g s"):format(what, seconds or PATIENCE_S), 2)
end

-- ---- processes ----

local process = {}
process.__index = process

local spawned, mounts = {}, {}

--- Starts a shell command, which has to be one program, in a namespace.
function live.spawn(namespace, command)
  local self = setmetatable({ folder = os.tmpname() }, process)
  spawned[#spawned + 1] = self
  os.remove(self.folder)
  local script = ([[
mkdir %s || exit
setsid ip netns exec %s sh -c %s >%s/out 2>%s/err </dev/null & echo $! >%s/pid
wait $!; echo $? >%s/status]]):format(self.folder, namespace, program.quote("exec " .. command), self.folder,
    self.folder, self.folder, self.folder)
  assert(os.execute(("sh -c %s >/dev/null 2>&1 &"):format(program.quote(script))) == 0)
  self.pid = live.wait_for("process: " .. command, function() return self:number "pid" end)
  return self
end

function process:text(name) return program.read(self.folder .. "/" .. name) or "" end
function process:number(name) return tonumber(self:text(name):match "^(%d+)\n") end

--- What it has printed so far.
function process:out() return self:text "out" end
function process:err() return self:text "err" end

--- Its exit status, 128 and more for a signal, or nil while it runs.
function process:status() return self:number "status" end

function process:signal(name) return ffi.C.kill(self.pid, SIGNALS[name]) == 0 end

--- Waits for its end, which has to come within `seconds` (10). Returns { status, out, err }.
function process:finish(seconds)
  live.wait_for("end of the process", function() return self:status() end, seconds)
  return { status = self:status(), out = self:out(), err = (self:err():gsub(self.ready_line or "^$", "", 1)) }
end

--- Signals it and waits for its end.
function process:stop(name)
  self:signal(name or "INT")
  return self:finish()
end

--- A field of /proc/PID/status.
function process:field(name)
  return ("\n" .. (program.read(("/proc/%d/status"):format(self.pid)) or "")):match("\n" .. name .. ":%s*([^\n]*)")
end

-- ---- nfengine ----

local STATUS_LINE = "nfengine: %d[^\n]* given out, [^\n]*\n"

-- Whether the program has been started, and minds the signal.
local function catches_usr1(run)
  local caught = run:field "SigCgt"
  return caught and (run:field "Name"):match "^nfengine" and tonumber(caught:sub(-3, -3), 16) % 4 >= 2
end

--- The command line of the program, for live.spawn and network.run.
function live.command(...)
  local words = { program.quote(program.path) }
  for i = 1, select("#", ...) do words[#words + 1] = program.quote((select(i, ...))) end
  return table.concat(words, " ")
end

--- Waits until the program says by the signal for it where it stands, as it does from its first packet on.
function live.wait_until_ready(run)
  run.ready_line = STATUS_LINE
  live.wait_for("signal handler", function() return run:status() or catches_usr1(run) end)
  run:signal "USR1"
  live.wait_for("first status", function() return run:status() or run:err():find(STATUS_LINE) end)
  if run:status() then error("ended early: " .. run:err(), 3) end
  return run
end

--- Starts the program with these words in a namespace; returns once it captures. The line it then prints is left out
--  of finish().err.
function live.start(namespace, ...) return live.wait_until_ready(live.spawn(namespace, live.command(...))) end

--- Asks the program where it stands until it has seen so many packets.
function live.wait_for_packets(run, count)
  local digits = tostring(count):reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^,", "")
  live.wait_for(digits .. " packets", function()
    run:signal "USR1"
    return run:err():find("nfengine: " .. digits .. " packets?, %d[^\n]* given out")
  end)
end

-- ---- captures and rows ----

--- How many packets a pcap file (of this machine's byte order, or a part of one) holds.
function live.packets_in(path)
  local bytes, at, count = program.read(path) or "", 24, 0
  while at + 16 <= #bytes do
    local a, b, c, d = bytes:byte(at + 9, at + 12)
    at = at + 16 + a + 256 * (b + 256 * (c + 256 * d))
    if at <= #bytes then count = count + 1 end
  end
  return count
end

--- Starts tcpdump beside a run, as libpcap has it there: nanoseconds, the same bytes of each frame. Its end is the
--  spec's affair; the file is at its `path`.
function live.record(namespace, interface, snapshot_length, more)
  local path = program.temporary ".pcap"
  local dump = live.spawn(namespace, ("tcpdump -q -i %s -w %s -U -B 16384 -s %d --time-stamp-precision=nano "
    .. "--immediate-mode -Z root %s"):format(interface, path, snapshot_length or 1536, more or ""))
  live.wait_for("tcpdump", function() return dump:err():find "listening on" end)
  dump.path = path
  return dump
end

--- The rows of CSV in a fixed order, each without its first column (id); the header apart.
function live.rows(text)
  local rows = {}
  for line in text:gmatch "[^\n]+" do rows[#rows + 1] = line:match "^[^,]*,(.*)$" end
  local header = table.remove(rows, 1)
  table.sort(rows)
  return rows, header
end

--- A small file system in memory, of so many KiB; gives its folder.
function live.tmpfs(size_kib)
  local folder = os.tmpname()
  os.remove(folder)
  local result = program.shell(("mkdir %s && mount -t tmpfs -o size=%dk none %s"):format(folder, size_kib, folder))
  if result.status ~= 0 then return nil, result.err end
  mounts[#mounts + 1] = folder
  return folder
end

--- Ends every process that was started, and removes files and mounts.
function live.cleanup()
  for _, each in ipairs(spawned) do
    if each.pid and not each:status() then
      ffi.C.kill(-each.pid, SIGNALS.KILL)
      live.wait_for("end after KILL", function() return each:status() end)
    end
    os.execute("rm -rf " .. each.folder)
  end
  for _, folder in ipairs(mounts) do os.execute(("umount -l %s; rmdir %s"):format(folder, folder)) end
  spawned, mounts = {}, {}
  program.remove_temporaries()
end

return live
