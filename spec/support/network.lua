-- Network namespaces for specs that capture from interfaces: two of them with a virtual cable (veth) between, where
-- nothing is sent but what a spec sends. Needs root and the ip tool.
--
--   local reason = network.missing "tcpreplay"  --> nil, or what a pending test should say
--   local net = network.create "nfx_"           --> { a = namespace, b = namespace, va = interface, vb = interface }
--   network.run(net.a, "tcpreplay -q -i va samples/web.pcap")  --> { status, out, err }
--   network.enter(net.b)                        -- this process, until network.leave()
--   after_each(network.cleanup)                 -- leaves, and removes what was made

local ffi = require "ffi"
local program = require "spec.support.program"

ffi.cdef [[
  int setns(int descriptor, int kind);
  int open(const char *path, int flags, ...);
  int close(int descriptor);
  unsigned geteuid(void);
  int getpid(void);
]]

local CLONE_NEWNET = 0x40000000

local network = {}

local made = {} -- namespaces
local outside   -- a descriptor of the namespace this process came from, while it is in another

local function has(tool) return program.shell("command -v " .. tool).status == 0 end

--- Whether namespaces can be made here; else false and the reason.
function network.available()
  if ffi.C.geteuid() ~= 0 then return false, "needs root" end
  if not has "ip" then return false, "needs ip (iproute2)" end
  local name = "nf_probe" .. ffi.C.getpid()
  local result = program.shell("ip netns add " .. name .. " && ip netns del " .. name)
  if result.status ~= 0 then return false, "needs network namespaces: " .. result.err:gsub("%s+", " ") end
  return true
end

--- The reason why a spec that needs these tools as well cannot run, or nil.
function network.missing(...)
  local is_available, reason = network.available()
  if not is_available then return reason end
  for _, tool in ipairs { ... } do
    if not has(tool) then return "needs " .. tool end
  end
end

local function checked(command)
  local result = program.shell(command)
  if result.status ~= 0 then error(("%s: %s"):format(command, result.err), 3) end
  return result
end

--- Makes an interface pair, va in namespace a and vb in namespace b; by other names for a second one between the same.
function network.pair(net, va, vb)
  checked(("ip link add %s netns %s mtu 65535 type veth peer name %s netns %s mtu 65535"):format(va, net.a, vb, net.b))
  checked(("ip -n %s link set %s up && ip -n %s link set %s up"):format(net.a, va, net.b, vb))
end

--- Two namespaces, their names starting with `prefix`, with a pair of interfaces between them. No IPv6, so that the
--  kernel has nothing to say of its own; MTUs that take any frame.
function network.create(prefix)
  local unique = prefix .. ffi.C.getpid() .. "_" .. #made
  local net = { a = unique .. "a", b = unique .. "b", va = "va", vb = "vb" }
  for _, name in ipairs { net.a, net.b } do
    checked("ip netns add " .. name)
    made[#made + 1] = name
    checked(("ip netns exec %s sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
      :format(name))
  end
  network.pair(net, net.va, net.vb)
  return net
end

--- A shell command line as one that runs in a namespace.
function network.command(namespace, command)
  return ("ip netns exec %s sh -c %s"):format(namespace, program.quote(command))
end

--- Runs a shell command line in a namespace; returns { status, out, err }.
function network.run(namespace, command) return program.shell(network.command(namespace, command)) end

--- The same, where it has to succeed.
function network.check(namespace, command) return checked(network.command(namespace, command)) end

local function enter(descriptor)
  local is_done = ffi.C.setns(descriptor, CLONE_NEWNET) == 0
  assert(is_done, "setns: errno " .. ffi.errno())
end

--- Goes back to the namespace this process came from.
function network.leave()
  if not outside then return end
  enter(outside)
  ffi.C.close(outside)
  outside = nil
end

--- Takes this process into a namespace.
function network.enter(namespace)
  network.leave()
  local descriptor = ffi.C.open("/run/netns/" .. namespace, 0)
  assert(descriptor >= 0, "no namespace " .. namespace)
  outside = ffi.C.open("/proc/self/ns/net", 0)
  enter(descriptor)
  ffi.C.close(descriptor)
end

--- Removes a pair's namespaces, and with them its interfaces.
function network.destroy(net)
  for _, name in ipairs { net.a, net.b } do program.shell("ip netns del " .. name) end
end

--- Leaves, and removes every namespace made since the last call.
function network.cleanup()
  network.leave()
  for _, name in ipairs(made) do program.shell("ip netns del " .. name) end
  made = {}
end

return network
