--- Who stands behind each flow: the user, the command line and the control group of the process at its local end.
--
-- For live capture on a machine whose own traffic is looked at. The engine finds the process by the flow's addresses
-- and ports (system_process_pid, system_process_name); this asks /proc about it when the flow ends. What it said then
-- is remembered for a while, so that flows of a process that has ended since still have it. Where no process was found,
-- it had ended before, or the input is a capture, all columns are empty. The control group tells containers and
-- services apart: cgroups(7); its path is that of version 2, or of the first hierarchy of version 1. See proc(5).
--
-- The plugin switches system_visibility_mode on. Other users' processes are only found with the right to look at them.
--
-- @usage nfengine flows --plugin process --n-dissections=0 --columns=dst_port,udps.process_user,udps.process_command \
--     samples/ssh.pcap
-- @output
-- dst_port,udps.process_user,udps.process_command
-- 22,"",""
-- ...

local nf = require "nfengine"

local REMEMBERED = 4096 -- processes

local function read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read(65536) or ""
  file:close()
  return text
end

-- Names of users by their numbers.
local function users()
  local names = {}
  for line in (read "/etc/passwd" or ""):gmatch "[^\n]+" do
    local name, number = line:match "^([^:]*):[^:]*:(%d+):"
    if name then names[number] = name end
  end
  return names
end

-- What /proc says of a process, or nil when it is gone.
local function ask(self, pid)
  local folder = ("%s/%d/"):format(self.proc, pid)
  local status, command = read(folder .. "status"), read(folder .. "cmdline")
  if not (status and command) then return nil end
  local cgroup = "\n" .. (read(folder .. "cgroup") or "")
  local number = status:match "\nUid:%s+(%d+)" or ""
  return {
    name = status:match "^Name:\t([^\n]*)",
    user = self.users[number] or number,
    command = command:gsub("%z+$", ""):gsub("%z", " "),
    cgroup = cgroup:match "\n0::([^\n]*)" or cgroup:match "^\n%d+:[^:]*:([^\n]*)" or "",
  }
end

local function remember(self, pid, known)
  if self.count >= REMEMBERED then self.known, self.count = {}, 0 end
  if not self.known[pid] then self.count = self.count + 1 end
  self.known[pid] = known
end

-- A number may have gone to another process: the name has to be the one that the engine has found.
local function is_same(known, name) return known.name:sub(1, 15) == name:sub(1, 15) end

return nf.plugin {
  name        = "process",
  version     = "1.0.0",
  api         = 1,
  description = "User, command line and control group of the process at a flow's local end",
  author      = "the nfengine authors",
  license     = "MIT",
  categories  = { "feature", "live" },
  needs       = { "processes" },
  options     = { proc = { "/proc", "folder in which the system describes its processes" } },
  columns     = {
    { "process_user", "string:32", "name of the process's real user, or its number" },
    { "process_command", "string:255", "its command line, arguments joined by blanks" },
    { "process_cgroup", "string:255", "path of its control group" },
  },

  setup = function(self, run)
    self.is_live, self.known, self.count, self.users = run.is_live, {}, 0, users()
  end,

  on_record = function(self, flow)
    local pid = self.is_live and flow.system_process_pid or -1
    if pid < 0 then return end
    local known = ask(self, pid)
    if known then remember(self, pid, known) else known = self.known[pid] end
    if not known or not is_same(known, flow.system_process_name) then return end
    local udps = flow.udps
    udps.process_user, udps.process_command, udps.process_cgroup = known.user, known.command, known.cgroup
  end,
}
