-- Giving up root: core/privileges.c, in child processes.

local ffi = require "ffi"
local C = require "nfengine.lib"
local program = require "spec.support.program"

ffi.cdef [[
int geteuid(void);
]]

local NET_RAW, SYS_PTRACE, DAC_READ_SEARCH = 2 ^ 13, 2 ^ 19, 2 ^ 2
local CAPTURE, PROCESSES = C.NF_PRIVILEGE_CAPTURE, C.NF_PRIVILEGE_PROCESSES

-- What children can call, and the one line in which they tell how they are.
local PRELUDE = [[
package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
local ffi = require "ffi"
local C = require "nfengine.lib"
ffi.cdef "int setuid(unsigned); int setgroups(size_t, const unsigned *); int socket(int, int, int);"
ffi.cdef "int pthread_create(unsigned long *, const void *, void *(*)(void *), void *); int setresuid(int, int, int);"
ffi.cdef "int pthread_mutex_lock(void *);"

local message = ffi.new("char[?]", C.NF_ERROR_SIZE)
local function drop(user, keep)
  ffi.fill(message, C.NF_ERROR_SIZE)
  local status = C.nf_privileges_drop(user, keep or 0, message)
  print("drop", status, ffi.string(message))
  return status
end
local function status_of(path)
  local file = assert(io.open(path or "/proc/self/status"))
  local text = file:read "*a"
  file:close()
  return text
end
local function tell(path)
  local text = status_of(path)
  for _, name in ipairs { "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs" } do
    print(name, (text:match(name .. ":[ \t]*([^\n]-)[ \t]*\n")))
  end
end
local mutex = ffi.new "uint64_t[16]"
ffi.C.pthread_mutex_lock(mutex)
-- A thread that waits for the mutex, whatever signals come. Returns the path of its status.
local function start_thread()
  local thread, wait = ffi.new "unsigned long[1]", ffi.cast("void *(*)(void *)", ffi.C.pthread_mutex_lock)
  assert(ffi.C.pthread_create(thread, nil, wait, mutex) == 0)
  local newest = 0
  for name in io.popen("ls /proc/$PPID/task"):lines() do newest = math.max(newest, tonumber(name)) end
  return "/proc/self/task/" .. newest .. "/status"
end
]]

-- Runs a script in a child. Returns what it printed as { name = value }, a tab between them. `as` runs it as another.
local function child(script, as)
  local path = program.write(PRELUDE .. script, ".lua")
  os.execute("chmod 644 " .. path)
  local result = program.shell((as or "") .. " luajit " .. path)
  assert.equal(0, result.status, result.err)
  local told = {}
  for name, value in result.out:gmatch "([^\t\n]+)\t([^\n]*)" do told[name] = value end
  return told
end

local function number_of(command)
  local pipe = io.popen(command)
  local value = pipe:read "*n"
  pipe:close()
  return value
end

local NOBODY, NOBODYS_GROUP = number_of "id -u nobody", number_of "id -g nobody"

local function mask(text) return tonumber(text, 16) end

-- The capabilities that a mask's text has of those wanted, as the same text would show them.
local function held(text, ...)
  local sum = 0
  for _, capability in ipairs { ... } do
    if mask(text) % (capability * 2) >= capability then sum = sum + capability end
  end
  return ("%016x"):format(sum)
end

local NONE = ("0"):rep(16)

local function four(number) return ("\t"):rep(3):gsub("\t", number .. "\t") .. number end

local is_root = ffi.C.geteuid() == 0
local NEEDS_ROOT = "needs root"

-- How to run as nobody, or why not.
local AS_NOBODY = ("setpriv --reuid=%d --regid=%d --clear-groups"):format(NOBODY or 0, NOBODYS_GROUP or 0)
local function lacking()
  if not is_root then return NEEDS_ROOT end
  if program.shell(AS_NOBODY .. " test -r libnfengine.so -a -r lua/nfengine/cdef.lua").status ~= 0 then
    return "needs setpriv, and a checkout that nobody can read"
  end
end

describe("giving up root", function()
  teardown(program.remove_temporaries)

  local function check_is_nobody(told)
    assert.equal("0\t", told.drop)
    assert.equal(four(NOBODY), told.Uid)
    assert.equal(four(NOBODYS_GROUP), told.Gid)
    assert.equal("", told.Groups)
    assert.equal("1", told.NoNewPrivs)
    assert.same({ NONE, NONE, NONE }, { told.CapInh, told.CapAmb, told.CapBnd })
  end

  it("leaves another user, no capability and no way back", function()
    if not is_root then return pending(NEEDS_ROOT) end
    local before = child 'ffi.C.setgroups(2, ffi.new("unsigned[2]", 4, 5)) tell()'
    assert.equal(four(0), before.Uid)
    assert.equal("4 5", before.Groups)
    assert.not_equal(NONE, before.CapEff)
    assert.not_equal(NONE, before.CapBnd)
    assert.equal("0", before.NoNewPrivs)
    local told = child [[
      ffi.C.setgroups(2, ffi.new("unsigned[2]", 4, 5))
      drop "nobody"
      tell()
      print("setuid", ffi.C.setuid(0))
      print("shadow", tostring(io.open "/etc/shadow"))
      print("socket", ffi.C.socket(17, 3, 0))
    ]]
    check_is_nobody(told)
    assert.same({ NONE, NONE }, { told.CapEff, told.CapPrm })
    assert.same({ "-1", "nil", "-1" }, { told.setuid, told.shadow, told.socket })
  end)

  it("takes a number for a user", function()
    if not is_root then return pending(NEEDS_ROOT) end
    check_is_nobody(child(('drop "%d" tell()'):format(NOBODY)))
  end)

  it("keeps the capabilities asked for, and no other", function()
    if not is_root then return pending(NEEDS_ROOT) end
    local all = child("tell()").CapPrm
    for keep, wanted in pairs {
      [CAPTURE] = { NET_RAW }, [PROCESSES] = { SYS_PTRACE, DAC_READ_SEARCH },
      [CAPTURE + PROCESSES] = { NET_RAW, SYS_PTRACE, DAC_READ_SEARCH }, [1024] = {},
    } do
      local told = child(('drop("nobody", %d) tell()'):format(keep))
      check_is_nobody(told)
      assert.same({ held(all, unpack(wanted)), held(all, unpack(wanted)) }, { told.CapEff, told.CapPrm }, keep)
    end
  end)

  it("keeps them to a use, but not in programs that it starts", function()
    if not is_root then return pending(NEEDS_ROOT) end
    local all = child("tell()").CapPrm
    if held(all, NET_RAW, SYS_PTRACE, DAC_READ_SEARCH) ~= "0000000000082004" then
      return pending "needs CAP_NET_RAW, CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"
    end
    local USE = [[
      print("socket", ffi.C.socket(17, 3, 0) >= 0)
      ffi.cdef "void *opendir(const char *);"
      print("proc", ffi.C.opendir "/proc/1/fd" ~= nil)
      print("started", (io.popen("grep CapEff /proc/self/status"):read "*l"):match "%x+$")
    ]]
    local told = child(('drop("nobody", %d)'):format(CAPTURE) .. USE)
    assert.same({ "true", "false", NONE }, { told.socket, told.proc, told.started })
    told = child(('drop("nobody", %d)'):format(PROCESSES) .. USE)
    assert.same({ "false", "true", NONE }, { told.socket, told.proc, told.started })
  end)

  it("counts for threads that run already, and what is kept for those made later", function()
    if not is_root then return pending(NEEDS_ROOT) end
    local EARLIER = ('local thread = start_thread() drop("nobody", %d) tell(thread)'):format(CAPTURE)
    local earlier = child(EARLIER)
    assert.same({ "0\t", four(NOBODY), four(NOBODYS_GROUP), "", NONE, NONE },
      { earlier.drop, earlier.Uid, earlier.Gid, earlier.Groups, earlier.CapEff, earlier.CapPrm })
    local all = child("tell()").CapPrm
    local later = child(('drop("nobody", %d) tell(start_thread())'):format(CAPTURE))
    check_is_nobody(later)
    assert.equal(held(all, NET_RAW), later.CapEff)
  end)

  it("is all an ordinary user can ask for itself", function()
    if lacking() then return pending(lacking()) end
    for _, user in ipairs { "nobody", ("%d"):format(NOBODY) } do
      local told = child(('drop("%s", %d) tell()'):format(user, CAPTURE), AS_NOBODY)
      assert.same({ "0\t", four(NOBODY), NONE, NONE, "1" },
        { told.drop, told.Uid, told.CapEff, told.CapPrm, told.NoNewPrivs })
    end
  end)

  it("drops what an ordinary user was given, but for what it shall keep", function()
    if lacking() then return pending(lacking()) end
    local given = AS_NOBODY .. " --inh-caps=+net_raw,+net_admin --ambient-caps=+net_raw,+net_admin"
    if program.shell(given .. " true").status ~= 0 then return pending "needs CAP_NET_RAW and CAP_NET_ADMIN" end
    local before = child("tell()", given)
    assert.equal("0000000000003000", before.CapEff)
    for keep, left in pairs { [0] = NONE, [CAPTURE] = "0000000000002000" } do
      local told = child(('drop("nobody", %d) tell()'):format(keep), given)
      assert.same({ "0\t", left, left, NONE, NONE }, { told.drop, told.CapEff, told.CapPrm, told.CapInh, told.CapAmb })
    end
  end)
end)

describe("root cannot be given up", function()
  teardown(program.remove_temporaries)

  local function refusal(user, as) return child(('drop(%q) tell()'):format(user), as) end

  it("for a user that there is not", function()
    for _, user in ipairs { "no-such-user", "", "4294967294", "4294967295", "4294967296", "99999999999999999999",
      "12x", "-1", " 1" } do
      local told = refusal(user)
      assert.equal(('-6\tcannot become "%s": no such user, expected the name or number of one'):format(user), told.drop)
      assert.equal("0", told.NoNewPrivs)
      assert.equal(four(ffi.C.geteuid()), told.Uid)
    end
  end)

  it("for root", function()
    for _, user in ipairs { "root", "0" } do
      local told = refusal(user)
      assert.equal(('-6\tcannot become "%s": it is root, expected an ordinary user'):format(user), told.drop)
      assert.equal("0", told.NoNewPrivs)
    end
  end)

  it("by an ordinary user for another", function()
    if lacking() then return pending(lacking()) end
    local told = refusal("daemon", AS_NOBODY)
    assert.equal('-6\tcannot become "daemon": Operation not permitted, expected to be started as root', told.drop)
    assert.equal(four(NOBODY), told.Uid)
  end)

  it("by half of an identity", function()
    if not is_root then return pending(NEEDS_ROOT) end
    local told = child(('ffi.C.setresuid(-1, %d, -1) drop "nobody" tell()'):format(NOBODY))
    assert.equal('-6\tcannot become "nobody": Operation not permitted, expected to be started as root', told.drop)
  end)

  it("with a reason longer than a line's room", function()
    local told = refusal(("x"):rep(3000))
    assert.equal(('-6\tcannot become "%s": no such user, expected the name or number of one'):format(("x"):rep(100)),
      told.drop)
  end)
end)
