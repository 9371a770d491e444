-- Giving up system calls: core/sandbox.c, in child processes, as nobody gets them back.

local C = require "nfengine.lib"
local program = require "spec.support.program"

local CAPTURE, PROCESSES = C.NF_PRIVILEGE_CAPTURE, C.NF_PRIVILEGE_PROCESSES
local FILES, IDENTITY = C.NF_PRIVILEGE_FILES, C.NF_PRIVILEGE_IDENTITY

local EPERM, EBADF, ENOSYS = "1", "9", "38"
local SIGSYS_STATUS = 128 + 31

-- What children can call, and how they tell what came of it: a line for each, a tab between name and result.
local PRELUDE = [[
package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
local ffi = require "ffi"
local C = require "nfengine.lib"
ffi.cdef "long syscall(long, ...); int getpid(void); int getppid(void); int raise(int); int mkdir(const char *, int);"
ffi.cdef "int pthread_create(unsigned long *, const void *, void *(*)(void *), void *);"
ffi.cdef "int pthread_join(unsigned long, void *); int pthread_mutex_lock(void *); long sysconf(int);"
ffi.cdef "void *mmap(void *, size_t, int, int, int, long); int rmdir(const char *);"

local message = ffi.new("char[?]", C.NF_ERROR_SIZE)
local function enter(keep)
  ffi.fill(message, C.NF_ERROR_SIZE)
  print("enter", C.nf_sandbox_enter(keep or 0, message), ffi.string(message))
end
local function number(value) return type(value) == "number" and ffi.cast("long", value) or value end
-- A system call by its number; what is left out is 0. Tells the error's number, or "done".
local function try(name, call, a, b, c, d)
  local given = { number(a or 0), number(b or 0), number(c or 0), number(d or 0) }
  local result = ffi.C.syscall(call, given[1], given[2], given[3], given[4], number(0), number(0))
  print(name, result == -1 and ffi.errno() or "done")
  return tonumber(result)
end
local function status_of(path)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  return text
end
]]

-- Runs a script in a child. Returns what it told as { name = result }, and how it ended.
local function child(script)
  local path = program.write(PRELUDE .. script, ".lua")
  local result = program.shell("luajit " .. path)
  local told = {}
  for name, value in result.out:gmatch "([^\t\n]+)\t([^\n]*)" do told[name] = value end
  return told, result
end

local function told_by(script)
  local told, result = child(script)
  assert.same({ 0, "" }, { result.status, result.err })
  return told
end

-- Numbers of system calls, and arguments with which they would do no harm.
local REFUSED = {
  socketpair = "53", connect = "42", bind = "49", listen = "50", accept = "43", accept4 = "288", sendto = "44",
  sendmsg = "46", sendmmsg = "307", shutdown = "48",

  execve = "59", execveat = "322", fork = "57", clone = "56", ["clone of a namespace"] = "56, 0x10000 + 0x20000",
  ptrace = "101", process_vm_readv = "310", process_vm_writev = "311", process_madvise = "440", kcmp = "312",
  kill = "62, ffi.C.getppid()", tkill = "200, ffi.C.getppid()",
  tgkill = "234, ffi.C.getppid(), ffi.C.getppid()", rt_sigqueueinfo = "129, ffi.C.getppid()",
  rt_tgsigqueueinfo = "297, ffi.C.getppid()", pidfd_open = "434, ffi.C.getppid()", pidfd_send_signal = "424",
  pidfd_getfd = "438", setpriority = "141", sched_setaffinity = "203", ioprio_set = "251",
  ["prlimit64 of another"] = '302, ffi.C.getppid(), 7, ffi.new("uint64_t[2]", 100, 100)',
  ["fcntl of an owner"] = "72, 0, 8, ffi.C.getppid()", ["ioctl that types"] = "16, 0, 0x5412",
  ["ioctl that types, with more bits"] = "16, 0, 0x100005412",

  creat = "85", unlink = "87", unlinkat = "263", rename = "82", renameat = "264", renameat2 = "316", mkdir = "83",
  mkdirat = "258", rmdir = "84", link = "86", linkat = "265", symlink = "88", symlinkat = "266", mknod = "133",
  mknodat = "259", chmod = "90", fchmod = "91", fchmodat = "268", chown = "92", fchown = "93", lchown = "94",
  fchownat = "260", truncate = "76", fallocate = "285", utime = "132", utimes = "235", utimensat = "280",
  setxattr = "188", fsetxattr = "190", removexattr = "197", sendfile = "40", splice = "275", copy_file_range = "326",
  openat2 = "437", open_by_handle_at = "304", name_to_handle_at = "303", memfd_create = "319", io_uring_setup = "425",
  io_uring_enter = "426", io_setup = "206", chdir = "80", chroot = "161", inotify_init1 = "294", fanotify_init = "300",

  mount = "165", umount2 = "166", pivot_root = "155", unshare = "272", setns = "308", fsopen = "430", bpf = "321",
  perf_event_open = "298", kexec_load = "246", kexec_file_load = "320", init_module = "175", finit_module = "313",
  delete_module = "176", reboot = "169", swapon = "167", clock_settime = "227", settimeofday = "164", iopl = "172",
  syslog = "103", personality = "135", userfaultfd = "323", keyctl = "250", add_key = "248", shmget = "29",
  semget = "64", msgget = "68", mq_open = "240",

  setuid = "105", setgid = "106", setresuid = "117", setresgid = "119", setgroups = "116", capset = "126",
  seccomp = "317", ["prctl of a filter"] = "157, 22, 2", ["prctl of capabilities"] = "157, 24, 0",
}

-- Ways to open a file, by their flags, that leave no file as it was.
local WRITING = {
  writing = "1", ["reading and writing"] = "2", neither = "3", making = "0x40", emptying = "0x200", appending = "0x401",
  ["one without a name"] = "0x410002", ["writing, with more bits"] = "0x100000001",
}

describe("a sandbox", function()
  teardown(program.remove_temporaries)
  if jit.arch ~= "x64" then return pending "knows the system calls of x86-64 only" end

  -- What comes of calls, by their names, in a process that keeps something.
  local function results(keep, calls)
    local lines = { ("enter(%d)"):format(keep) }
    for name, arguments in pairs(calls) do lines[#lines + 1] = ("try(%q, %s)"):format(name, arguments) end
    local told = told_by(table.concat(lines, "\n"))
    assert.equal("0\t", told.enter)
    told.enter = nil
    return told
  end

  -- The same result for all calls.
  local function all(calls, result)
    local expected = {}
    for name in pairs(calls) do expected[name] = result end
    return expected
  end

  it("refuses connections, programs, other processes and the system's affairs", function()
    assert.same(all(REFUSED, EPERM), results(0, REFUSED))
  end)

  it("refuses sockets of every family", function()
    local families = {}
    for family = 0, 50 do families["family " .. family] = ("41, %d, 2"):format(family) end
    assert.same(all(families, EPERM), results(0, families))
  end)

  it("says of the call behind whose pointer flags are that it does not exist", function()
    assert.same({ clone3 = ENOSYS }, results(0, { clone3 = "435" }))
  end)

  it("opens files to read them only", function()
    local calls, path = {}, program.write "as it was"
    for how, flags in pairs(WRITING) do
      local name = how == "one without a name" and "/tmp" or path
      calls["open for " .. how] = ("2, %q, %s, 0x180"):format(name, flags)
      calls["openat for " .. how] = ("257, -100, %q, %s, 0x180"):format(name, flags)
    end
    assert.same(all(calls, EPERM), results(0, calls))
    local reading = { open = "2, %q, 0", openat = "257, -100, %q, 0", others = "257, -100, %q, 0x80900" }
    for name, arguments in pairs(reading) do reading[name] = arguments:format(path) end
    assert.same(all(reading, "done"), results(0, reading))
    assert.equal("as it was", program.read(path))
    os.remove(path)
  end)

  it("makes Lua's own ways fail with an ordinary error", function()
    local path = program.write ""
    local told = told_by(([[
      enter()
      local path = %q
      local function refusal(...) return (select(2, ...)) end
      print("write", refusal(io.open(path, "w")))
      print("update", refusal(io.open(path, "r+")))
      print("memory", refusal(io.open("/proc/self/mem", "r+")))
      print("popen", refusal(io.popen "true"))
      print("execute", os.execute "true" ~= 0)
      print("remove", refusal(os.remove(path)))
      print("rename", refusal(os.rename(path, path .. ".1")))
      print("tmpname", (pcall(os.tmpname)))
      print("tmpfile", refusal(io.tmpfile()))
    ]]):format(path))
    local REASON = ": Operation not permitted"
    assert.same({
      enter = "0\t", write = path .. REASON, update = path .. REASON, memory = "/proc/self/mem" .. REASON,
      popen = "true" .. REASON, execute = "true", remove = path .. REASON, rename = path .. REASON, tmpname = "false",
      tmpfile = "Operation not permitted",
    }, told)
    os.remove(path)
  end)

  it("lets go on what a run does", function()
    local path = program.write "text"
    local told = told_by(([[
      local output = io.open(%q, "w")
      enter()
      output:write "rows"
      print("output", output:close())
      print("read", io.open("lua/nfengine/init.lua"):read(4))
      print("folder", require("nfengine.lfs").dir "samples" ~= nil)
      local thread = ffi.new "unsigned long[1]"
      local work = ffi.cast("void *(*)(void *)", ffi.C.sysconf)
      print("thread", ffi.C.pthread_create(thread, nil, work, nil), ffi.C.pthread_join(thread[0], nil))
      local sum = 0
      for i = 1, 1e5 do sum = sum + i %% 3 end
      print("compiled", sum)
      print("memory", #("x"):rep(2^24))
      print("module", pcall(ffi.load, "libz.so.1"))
      print("clock", os.time() > 0, os.clock() > 0, C.nf_now() > 0)
      print("signal", ffi.C.raise(28))
      print("terminal", C.nf_is_terminal(0), io.stdout:flush())
      print("process", io.open("/proc/self/status"):read "*l" ~= nil)
    ]]):format(path))
    assert.matches("^true\t", told.module)
    told.module = nil
    assert.same({ enter = "0\t", output = "true", read = "--- ", folder = "true", thread = "0\t0", compiled = "100000",
      memory = "16777216", clock = "true\ttrue\ttrue", signal = "0", terminal = "false\ttrue", process = "true" }, told)
    assert.equal("rows", program.read(path))
    os.remove(path)
  end)

  it("holds threads that run already", function()
    local told = told_by [[
      local mutex, thread = ffi.new "uint64_t[16]", ffi.new "unsigned long[1]"
      ffi.C.pthread_mutex_lock(mutex)
      ffi.C.pthread_create(thread, nil, ffi.cast("void *(*)(void *)", ffi.C.pthread_mutex_lock), mutex)
      enter()
      local count = 0
      for name in require("nfengine.lfs").dir "/proc/self/task" do
        local status = tonumber(name) and status_of("/proc/self/task/" .. name .. "/status")
        if status then
          assert(status:match "Seccomp:\t2\n" and status:match "NoNewPrivs:\t1\n")
          count = count + 1
        end
      end
      print("threads", count)
      io.stdout:flush()
      os.exit(true)
    ]]
    assert.equal("2", told.threads)
  end)

  it("ends a process that calls by another interface's numbers", function()
    local X32 = 'ffi.C.syscall(0x40000000 + 39) print("called", true)'
    local I386 = [[
      local code = "\184\20\0\0\0\205\128\195" -- mov eax, 20; int 0x80; ret
      local page = ffi.C.mmap(nil, 4096, 7, 0x22, -1, 0)
      ffi.copy(page, code, #code)
      ffi.cast("int (*)(void)", page)()
      print("called", true)
    ]]
    for _, code in ipairs { X32, I386 } do
      local _, outside = child(code)
      if outside.out == "called\ttrue\n" then
        local told, result = child("enter() io.stdout:flush() " .. code)
        assert.same({ "0\t", SIGSYS_STATUS }, { told.enter, result.status })
        assert.is_nil(told.called)
      end
    end
  end)

  it("keeps files for who may write them", function()
    local folder = program.temporary ""
    local told = told_by(([[
      enter(%d)
      local folder = %q
      print("mkdir", ffi.C.mkdir(folder, 0x1c0))
      print("write", io.open(folder .. "/a", "w"):close())
      print("rename", os.rename(folder .. "/a", folder .. "/b"))
      print("append", io.open(folder .. "/b", "a"):close())
      print("remove", os.remove(folder .. "/b"))
      print("rmdir", ffi.C.rmdir(folder))
    ]]):format(FILES, folder))
    assert.same({ enter = "0\t", mkdir = "0", write = "true", rename = "true", append = "true", remove = "true",
      rmdir = "0" }, told)
    local others = { execve = "59", fork = "57", chmod = "90", link = "86", socket = "41, 2, 1", kill = "62" }
    assert.same(all(others, EPERM), results(FILES, others))
    local databases = { ["fcntl of a lock"] = "72, -1, 6", ["fcntl of another's"] = "72, -1, 5", fsync = "74, -1",
      fdatasync = "75, -1" }
    assert.same(all(databases, EBADF), results(FILES, databases))
    assert.same(all(databases, EPERM), results(0, databases))
  end)

  it("keeps the kinds of sockets that are needed, and no other", function()
    local calls = { unix = "41, 1, 2", inet = "41, 2, 2", inet6 = "41, 10, 2", netlink = "41, 16, 3, 4",
      packet = "41, 17, 3", bluetooth = "41, 31, 3", connect = "42", execve = "59", write = "2, '/tmp/x', 0x41" }
    local expected = all(calls, EPERM)
    expected.netlink = "done"
    assert.same(expected, results(PROCESSES, calls))
    if program.shell("id -u").out == "0\n" then expected.packet = "done" end
    assert.same(expected, results(CAPTURE, calls))
  end)

  it("can be made narrower where that is kept, once", function()
    local told = told_by(([[
      enter(%d)
      try("before", 105, ffi.C.syscall(102))
      print("narrowed", C.nf_sandbox_enter(0, message))
      try("after", 105, ffi.C.syscall(102))
      print("again", C.nf_sandbox_enter(0, message), ffi.string(message))
    ]]):format(IDENTITY))
    assert.same({ enter = "0\t", before = "done", narrowed = "0", after = EPERM,
      again = "-6\tcannot confine the process: the system refused, expected a kernel with seccomp filters" }, told)
  end)

  it("is an error where the kernel has none", function()
    local path = program.write(PRELUDE .. 'enter() print("write", io.open("/dev/null", "w") ~= nil)', ".lua")
    local result = program.shell("luajit spec/support/without_seccomp.lua luajit " .. path)
    assert.same({ 0, "enter\t-6\tcannot confine the process: the system refused, expected a kernel with seccomp "
      .. "filters\nwrite\ttrue\n" }, { result.status, result.out })
  end)
end)
