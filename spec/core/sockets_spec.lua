-- core/sockets.c, with core/sockets_kernel.c and core/sockets_owners.c below it: which process owns the local end of a
-- flow. Sockets are real ones, of this process and of children; where it may, the spec goes into a network namespace of
-- its own, so that nothing else's sockets are there.

local bit = require "bit"
local ffi = require "ffi"
local C = require "spec.support.core" ("sockets", "sockets_parts")

ffi.cdef [[
  int socket(int, int, int);
  int bind(int, const void *, unsigned);
  int listen(int, int);
  int connect(int, const void *, unsigned);
  int accept(int, void *, unsigned *);
  int getsockname(int, void *, unsigned *);
  int setsockopt(int, int, int, const void *, unsigned);
  int socketpair(int, int, int, int *);
  ssize_t sendmsg(int, const void *, int);
  int close(int);
  int open(const char *, int, ...);
  int pipe2(int *, int);
  ssize_t read(int, void *, size_t);
  ssize_t write(int, const void *, size_t);
  int fork(void);
  int execv(const char *, char *const *);
  int waitpid(int, int *, int);
  int kill(int, int);
  int pause(void);
  void _exit(int);
  int getpid(void);
  int setuid(unsigned);
  int prctl(int, ...);
  int setrlimit(int, const uint64_t *);
  int unshare(int);
  int setns(int, int);
  int usleep(unsigned);
  int symlink(const char *, const char *);
  int clock_gettime(int, int64_t *);
  int pthread_create(uintptr_t *, void *, void *, void *);
  int pthread_join(uintptr_t, void *);
  struct sockets_spec_list { char *base; size_t size; };
  struct sockets_spec_message {
    void *name; unsigned name_size; struct sockets_spec_list *list; size_t list_size; void *control;
    size_t control_size; int flags;
  };
  struct sockets_spec_control { size_t size; int level, type, descriptor, pad; };
  void *luaL_newstate(void);
  void luaL_openlibs(void *);
  int luaL_loadstring(void *, const char *);
  int lua_pcall(void *, int, int, int);
  double lua_tonumber(void *, int);
  const char *lua_tolstring(void *, int, size_t *);
  void lua_close(void *);
]]

local TCP, UDP = 6, 17
local STREAM, DATAGRAM = 1, 2
local ANY, LOOP, ELSEWHERE = "0.0.0.0", "127.0.0.1", "198.51.100.9"

local os_calls = ffi.C

local function check(result, what)
  if result < 0 then error(("%s: errno %d"):format(what, ffi.errno()), 2) end
  return result
end

local function now_ms()
  local time = ffi.new "int64_t[2]"
  os_calls.clock_gettime(1, time)
  return tonumber(time[0]) * 1000 + tonumber(time[1]) / 1e6
end

-- ---- addresses ----

-- The bytes of "127.0.0.1", "::1", "::" or "::ffff:127.0.0.1", and the version.
local function address_bytes(text)
  local mapped = text:match "^::ffff:(.*)"
  if mapped then return ("\0"):rep(10) .. "\255\255" .. address_bytes(mapped), 6 end
  if text == "::" then return ("\0"):rep(16), 6 end
  if text == "::1" then return ("\0"):rep(15) .. "\1", 6 end
  local a, b, c, d = text:match "^(%d+)%.(%d+)%.(%d+)%.(%d+)$"
  return string.char(a, b, c, d), 4
end

local function socket_address(text, port)
  local bytes, version = address_bytes(text)
  local port_bytes = string.char(bit.rshift(port, 8), bit.band(port, 255))
  if version == 4 then return "\2\0" .. port_bytes .. bytes .. ("\0"):rep(8) end
  return "\10\0" .. port_bytes .. ("\0"):rep(4) .. bytes .. ("\0"):rep(4)
end

-- ---- sockets of whoever calls ----

local opened = {}

-- Options: reuse (SO_REUSEADDR and SO_REUSEPORT), v6_only. Returns the descriptor.
local function new_socket(kind, address, options)
  options = options or {}
  local _, version = address_bytes(address)
  local descriptor = check(os_calls.socket(version == 6 and 10 or 2, kind, 0), "socket")
  opened[#opened + 1] = descriptor
  local function set(level, name, value)
    check(os_calls.setsockopt(descriptor, level, name, ffi.new("int[1]", value), 4), "setsockopt")
  end
  if options.reuse then
    set(1, 2, 1)
    set(1, 15, 1)
  end
  if version == 6 then set(41, 26, options.v6_only and 1 or 0) end
  return descriptor
end

local function port_of(descriptor)
  local name, size = ffi.new "uint8_t[28]", ffi.new("unsigned[1]", 28)
  check(os_calls.getsockname(descriptor, name, size), "getsockname")
  return name[2] * 256 + name[3]
end

-- Returns the descriptor and its port.
local function bound(kind, address, port, options)
  local descriptor = new_socket(kind, address, options)
  local name = socket_address(address, port or 0)
  check(os_calls.bind(descriptor, name, #name), "bind")
  if kind == STREAM then check(os_calls.listen(descriptor, 2048), "listen") end
  return descriptor, port_of(descriptor)
end

local function connect(descriptor, address, port)
  local name = socket_address(address, port)
  check(os_calls.connect(descriptor, name, #name), "connect")
  return port_of(descriptor)
end

local function connected(kind, address, port)
  local descriptor = new_socket(kind, address)
  return descriptor, connect(descriptor, address, port)
end

local function accept(listener)
  local descriptor = check(os_calls.accept(listener, nil, nil), "accept")
  opened[#opened + 1] = descriptor
  return descriptor
end

local function close_all()
  for _, descriptor in ipairs(opened) do os_calls.close(descriptor) end
  opened = {}
end

local function close(descriptor)
  for i, other in ipairs(opened) do
    if other == descriptor then table.remove(opened, i) end
  end
  os_calls.close(descriptor)
end

-- A descriptor sent over a Unix socket and not yet received is nobody's.
local function send_away(descriptor)
  local pair = ffi.new "int[2]"
  check(os_calls.socketpair(1, STREAM, 0, pair), "socketpair")
  opened[#opened + 1], opened[#opened + 2] = pair[0], pair[1]
  local byte = ffi.new "char[1]"
  local list = ffi.new("struct sockets_spec_list", { byte, 1 })
  local control = ffi.new("struct sockets_spec_control", { 20, 1, 1, descriptor })
  local message = ffi.new("struct sockets_spec_message",
    { list = list, list_size = 1, control = control, control_size = ffi.sizeof(control) })
  check(tonumber(os_calls.sendmsg(pair[0], message, 0)), "sendmsg")
  close(descriptor)
end

-- ---- other processes ----

local children = {}

-- What comes up to the end of a line, or up to the end.
local function read_line(descriptor)
  local text, byte = {}, ffi.new "char[1]"
  while os_calls.read(descriptor, byte, 1) == 1 and byte[0] ~= 10 do text[#text + 1] = string.char(byte[0] % 256) end
  return table.concat(text)
end

-- A child that does `work`, which returns a text or number for us and perhaps the path of a program to become, else
-- it waits to be ended. Its own sockets are all that it has. Returns { pid, said, port, finish }.
local function spawn(work)
  local ends = ffi.new "int[2]"
  check(os_calls.pipe2(ends, 0x80000), "pipe2") -- O_CLOEXEC: its end tells of the program
  local pid = check(os_calls.fork(), "fork")
  if pid == 0 then
    os_calls.prctl(1, ffi.new("long", 9)) -- never to outlive us
    close_all()
    local ok, said, path = pcall(work)
    local line = (ok and "ok " or "failed ") .. tostring(said) .. "\n"
    os_calls.write(ends[1], line, #line)
    if path then
      os_calls.execv(path, ffi.new("char *const [3]", ffi.cast("char *", path), ffi.cast("char *", "60")))
    end
    os_calls.pause()
    os_calls._exit(0)
  end
  os_calls.close(ends[1])
  local line = read_line(ends[0])
  local child = { pid = pid, pipe = ends[0] }
  function child.finish()
    if not children[child] then return end
    children[child] = nil
    os_calls.kill(pid, 9)
    os_calls.waitpid(pid, nil, 0)
    os_calls.close(child.pipe)
  end
  children[child] = true
  local state, said = line:match "^(%S*) ?(.*)$"
  assert(state == "ok", "the child failed: " .. line)
  child.said, child.port = said, tonumber(said)
  return child
end

-- A child with one socket bound; its port is child.port.
local function spawn_bound(kind, address, port, options)
  return spawn(function() return (select(2, bound(kind, address, port, options))) end)
end

-- ---- what is asked ----

local watching -- freed after each test, before anything could be forked with it in the way of a collection

local function watch(poll_ms, keep_ms)
  local message = ffi.new("char[?]", C.NF_ERROR_SIZE)
  watching = C.nf_sockets_new(poll_ms or 100000, keep_ms or 10000, message)
  assert(watching ~= nil, ffi.string(message))
  return watching
end

local function unwatch()
  if watching then C.nf_sockets_free(watching) end
  watching = nil
end

local function tuple_of(protocol, source, source_port, destination, destination_port)
  local tuple = ffi.new "struct nf_tuple"
  local bytes, version = address_bytes(source)
  ffi.copy(tuple.src_address, bytes, #bytes)
  bytes = address_bytes(destination)
  ffi.copy(tuple.dst_address, bytes, #bytes)
  tuple.src_port, tuple.dst_port, tuple.protocol = source_port, destination_port, protocol
  return tuple, version
end

-- The pid and name at a flow, or nothing.
local function find(...)
  local process = ffi.new "struct nf_process"
  local tuple, version = tuple_of(...)
  local is_found = C.nf_sockets_find(watching, tuple, version, process)
  if is_found then return process.pid, ffi.string(process.name) end
  assert.equal(-1, process.pid)
  assert.equal("", ffi.string(process.name))
  return nil
end

local function warnings()
  local list = {}
  local warning = C.nf_sockets_warning(watching)
  while warning ~= nil do
    list[#list + 1] = ffi.string(warning)
    warning = C.nf_sockets_warning(watching)
  end
  return list
end

-- ---- a shell ----

local function succeeds(command)
  local result = os.execute(command .. " 2>/dev/null")
  return result == 0 or result == true
end

describe("sockets", function()
  local is_alone, home -- in a namespace of our own; the one to return to

  setup(function()
    home = os_calls.open("/proc/self/ns/net", 0)
    is_alone = os_calls.unshare(0x40000000) == 0 and succeeds "ip link set lo up"
  end)

  teardown(function()
    os_calls.setns(home, 0)
    os_calls.close(home)
  end)

  after_each(function()
    unwatch()
    for child in pairs(children) do child.finish() end
    close_all()
  end)

  local LACKING = "needs the right to make a network namespace"

  describe("of TCP", function()
    for _, address in ipairs { LOOP, "::1" } do
      it("are found at the source, else at the destination, over " .. address, function()
        local listener, port = bound(STREAM, address)
        local client = spawn(function() return (select(2, connected(STREAM, address, port))) end)
        accept(listener)
        watch()
        assert.equal(client.pid, (find(TCP, address, client.port, address, port)))
        assert.equal(os_calls.getpid(), (find(TCP, address, port, address, client.port)))
        assert.equal(os_calls.getpid(), (find(TCP, address, client.port == 9 and 8 or 9, address, port)))
      end)
    end

    it("talk IPv4 through IPv6 sockets", function()
      local listener, port = bound(STREAM, "::")
      local plain = spawn(function() return (select(2, connected(STREAM, LOOP, port))) end)
      local mapped = spawn(function() return (select(2, connected(STREAM, "::ffff:127.0.0.1", port))) end)
      accept(listener)
      accept(listener)
      close(listener)
      watch()
      assert.equal(plain.pid, (find(TCP, LOOP, plain.port, LOOP, port)))
      assert.equal(os_calls.getpid(), (find(TCP, LOOP, port, LOOP, plain.port)))
      assert.equal(mapped.pid, (find(TCP, LOOP, mapped.port, LOOP, port)))
      assert.is_nil(find(TCP, "::1", mapped.port, "::1", port))
    end)

    it("that nobody has accepted yet are the listener's", function()
      local server = spawn_bound(STREAM, LOOP)
      local _, port = connected(STREAM, LOOP, server.port)
      watch()
      assert.equal(server.pid, (find(TCP, LOOP, server.port, LOOP, port)))
    end)

    it("are found after their process has ended, in TIME_WAIT", function()
      local listener, port = bound(STREAM, LOOP)
      local client = spawn(function() return (select(2, connected(STREAM, LOOP, port))) end)
      local accepted = accept(listener)
      watch(nil, 0)
      client.finish()
      close(accepted)
      close(listener)
      for _ = 1, 3 do
        C.nf_sockets_refresh(watching)
        assert.equal(client.pid, (find(TCP, LOOP, client.port, LOOP, port)))
      end
    end)
  end)

  it("of TCP count as seen while the kernel goes on without a process", function()
    if not is_alone then return pending(LACKING) end
    local setting = assert(io.open("/proc/sys/net/ipv4/tcp_fin_timeout", "w"))
    setting:write "1"
    setting:close()
    local listener, port = bound(STREAM, LOOP)
    local client = spawn(function() return (select(2, connected(STREAM, LOOP, port))) end)
    accept(listener) -- never closed, so the client's end waits for its peer, for that second
    watch(nil, 600)
    client.finish()
    local list, reader = ffi.new "struct nf_socket_list", C.nf_socket_reader_new()
    local function is_listed()
      C.nf_socket_reader_read(reader, list)
      for i = 0, list.count - 1 do
        if list.at[i].ends.local_port == client.port then return true end
      end
      return false
    end
    local start = now_ms()
    while is_listed() and now_ms() - start < 10000 do
      C.nf_sockets_refresh(watching)
      os_calls.usleep(10000)
    end
    assert.is_true(now_ms() - start > 700)
    C.nf_sockets_refresh(watching)
    assert.equal(client.pid, (find(TCP, LOOP, client.port, LOOP, port)))
    os_calls.usleep(700000)
    C.nf_sockets_refresh(watching)
    assert.equal(os_calls.getpid(), (find(TCP, LOOP, client.port, LOOP, port)))
    C.nf_socket_list_free(list)
    C.nf_socket_reader_free(reader)
  end)

  describe("without a peer", function()
    it("are found by address and port, or by port on every address", function()
      local everywhere = spawn_bound(DATAGRAM, ANY, 0, { reuse = true })
      local here = spawn_bound(DATAGRAM, LOOP, everywhere.port, { reuse = true })
      local port = everywhere.port
      watch()
      assert.equal(here.pid, (find(UDP, ELSEWHERE, 9, LOOP, port)))
      assert.equal(everywhere.pid, (find(UDP, ELSEWHERE, 9, "127.0.0.2", port)))
      assert.equal(everywhere.pid, (find(UDP, "127.0.0.2", port, ELSEWHERE, 9)))
      assert.is_nil(find(UDP, ELSEWHERE, 9, LOOP, port - 1))
      assert.is_nil(find(TCP, ELSEWHERE, 9, LOOP, port))
    end)

    it("come after the one that is connected to the peer", function()
      local open = spawn_bound(DATAGRAM, LOOP, 0, { reuse = true })
      local _, peer_port = bound(DATAGRAM, LOOP)
      local client = spawn(function()
        local descriptor = bound(DATAGRAM, LOOP, open.port, { reuse = true })
        return connect(descriptor, LOOP, peer_port)
      end)
      watch()
      assert.equal(client.pid, (find(UDP, LOOP, open.port, LOOP, peer_port)))
      assert.equal(open.pid, (find(UDP, LOOP, open.port, LOOP, peer_port + 1)))
    end)

    it("come first at the source, even before one connected at the destination", function()
      local client = spawn_bound(DATAGRAM, ANY)
      local _, port = connected(DATAGRAM, LOOP, client.port)
      watch()
      assert.equal(client.pid, (find(UDP, LOOP, client.port, LOOP, port)))
      assert.equal(os_calls.getpid(), (find(UDP, LOOP, port, LOOP, client.port)))
    end)

    it("listen on every address, but only on this namespace's", function()
      local server = spawn_bound(STREAM, ANY)
      watch()
      assert.equal(server.pid, (find(TCP, ELSEWHERE, 9, "127.1.2.3", server.port)))
      assert.is_nil(find(TCP, ELSEWHERE, 9, "198.51.100.10", server.port))
      assert.is_nil(find(TCP, ELSEWHERE, server.port, "198.51.100.10", 9))
    end)

    it("learn and forget addresses", function()
      if not is_alone then return pending(LACKING) end
      local server = spawn_bound(STREAM, ANY)
      watch()
      assert.is_nil(find(TCP, ELSEWHERE, 9, "192.0.2.7", server.port))
      for _, last in ipairs { 9, 7, 1, 5 } do
        assert.is_true(succeeds("ip addr add 192.0.2." .. last .. "/24 dev lo"))
      end
      C.nf_sockets_refresh(watching)
      for _, last in ipairs { 1, 5, 7, 9 } do
        assert.equal(server.pid, (find(TCP, ELSEWHERE, 9, "192.0.2." .. last, server.port)))
      end
      assert.is_nil(find(TCP, ELSEWHERE, 9, "192.0.2.8", server.port))
      assert.is_true(succeeds "ip addr flush dev lo to 192.0.2.0/24")
      C.nf_sockets_refresh(watching)
      assert.is_nil(find(TCP, ELSEWHERE, 9, "192.0.2.7", server.port))
    end)

    it("take IPv4 on every IPv6 address, unless they are for IPv6 alone", function()
      local both = spawn_bound(STREAM, "::")
      local alone = spawn_bound(STREAM, "::", 0, { v6_only = true })
      watch()
      assert.equal(both.pid, (find(TCP, ELSEWHERE, 9, LOOP, both.port)))
      assert.equal(both.pid, (find(TCP, "::1", 9, "::1", both.port)))
      assert.is_nil(find(TCP, ELSEWHERE, 9, LOOP, alone.port))
      assert.equal(alone.pid, (find(TCP, "::1", 9, "::1", alone.port)))
    end)

    it("take IPv4 where one of several with the same ends does", function()
      for _, is_first_alone in ipairs { true, false } do
        local server = spawn(function()
          local _, port = bound(DATAGRAM, "::", 0, { reuse = true, v6_only = is_first_alone })
          bound(DATAGRAM, "::", port, { reuse = true, v6_only = not is_first_alone })
          return port
        end)
        watch()
        assert.equal(server.pid, (find(UDP, ELSEWHERE, 9, LOOP, server.port)))
        unwatch()
      end
    end)

    it("talk before they have an address, as DHCP does, but are not at a group's address", function()
      local client = spawn_bound(DATAGRAM, ANY)
      local server = spawn_bound(STREAM, ANY)
      watch()
      assert.equal(client.pid, (find(UDP, ANY, client.port, "255.255.255.255", 67)))
      assert.is_nil(find(UDP, ELSEWHERE, 67, "255.255.255.255", client.port))
      assert.is_nil(find(UDP, ELSEWHERE, client.port, "224.0.0.251", client.port))
      assert.is_nil(find(TCP, ANY, server.port, ELSEWHERE, 9))
    end)
  end)

  it("of other protocols are never found", function()
    local server = spawn_bound(DATAGRAM, ANY)
    watch()
    assert.equal(server.pid, (find(UDP, ELSEWHERE, 9, LOOP, server.port)))
    for _, protocol in ipairs { 0, 1, 58, 132 } do assert.is_nil(find(protocol, ELSEWHERE, 9, LOOP, server.port)) end
  end)

  it("of another namespace are not seen", function()
    if not is_alone then return pending(LACKING) end
    local other = spawn(function()
      check(os_calls.unshare(0x40000000), "unshare")
      return (select(2, bound(DATAGRAM, ANY)))
    end)
    local near = spawn_bound(DATAGRAM, ANY, other.port == 4000 and 4001 or 4000)
    watch()
    assert.equal(near.pid, (find(UDP, ELSEWHERE, 9, LOOP, near.port)))
    assert.is_nil(find(UDP, ELSEWHERE, 9, LOOP, other.port))
  end)

  describe("are remembered", function()
    it("for a while after they were last there", function()
      local gone = spawn_bound(DATAGRAM, LOOP)
      watch(nil, 300)
      gone.finish()
      C.nf_sockets_refresh(watching)
      assert.equal(gone.pid, (find(UDP, LOOP, gone.port, ELSEWHERE, 9)))
      os_calls.usleep(400000)
      C.nf_sockets_refresh(watching)
      assert.is_nil(find(UDP, LOOP, gone.port, ELSEWHERE, 9))
    end)

    it("not at all if that is wished", function()
      local gone = spawn_bound(DATAGRAM, LOOP)
      watch(nil, 0)
      gone.finish()
      os_calls.usleep(2000)
      C.nf_sockets_refresh(watching)
      assert.is_nil(find(UDP, LOOP, gone.port, ELSEWHERE, 9))
    end)

    it("until another process has the same ends", function()
      local first = spawn_bound(DATAGRAM, LOOP)
      watch()
      assert.equal(first.pid, (find(UDP, LOOP, first.port, ELSEWHERE, 9)))
      first.finish()
      local second = spawn_bound(DATAGRAM, LOOP, first.port)
      C.nf_sockets_refresh(watching)
      assert.equal(second.pid, (find(UDP, LOOP, first.port, ELSEWHERE, 9)))
    end)

    it("only so many at once", function()
      local lists = ffi.new "struct nf_socket_list"
      local line = "1: 0100007F:%04X 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 %d 2 0 0"
      for i = 1, C.NF_SOCKETS_MAX do C.nf_socket_list_add_line(lists, UDP, 4, line:format(i % 65536, i)) end
      assert.equal(C.NF_SOCKETS_MAX, lists.count)
      assert.is_false(lists.is_cut)
      C.nf_socket_list_add_line(lists, UDP, 4, line:format(1, 1))
      assert.equal(C.NF_SOCKETS_MAX, lists.count)
      assert.is_true(lists.is_cut)
      C.nf_socket_list_free(lists)
    end)
  end)

  describe("are looked for in /proc", function()
    it("only when there are new ones", function()
      if not is_alone then return pending(LACKING) end
      local _, port = bound(DATAGRAM, LOOP)
      watch()
      for _ = 1, 3 do C.nf_sockets_refresh(watching) end
      assert.equal(1, tonumber(C.nf_sockets_scans(watching)))
      bound(DATAGRAM, LOOP)
      C.nf_sockets_refresh(watching)
      assert.equal(2, tonumber(C.nf_sockets_scans(watching)))
      assert.equal(os_calls.getpid(), (find(UDP, LOOP, port, ELSEWHERE, 9)))
      assert.equal(2, C.nf_sockets_count(watching))
    end)

    it("a few times, if nobody has them", function()
      if not is_alone then return pending(LACKING) end
      local descriptor, port = bound(DATAGRAM, LOOP)
      send_away(descriptor)
      watch()
      for _ = 1, 9 do C.nf_sockets_refresh(watching) end
      assert.equal(3, tonumber(C.nf_sockets_scans(watching)))
      assert.is_nil(find(UDP, LOOP, port, ELSEWHERE, 9))
      assert.same({}, warnings())
      assert.equal(1, C.nf_sockets_count(watching))
      close_all()
      C.nf_sockets_refresh(watching)
      assert.equal(0, C.nf_sockets_count(watching))
    end)

    it("and hide who had the same ends before, if nobody has them", function()
      local before = spawn_bound(DATAGRAM, LOOP)
      watch()
      before.finish()
      send_away((bound(DATAGRAM, LOOP, before.port)))
      C.nf_sockets_refresh(watching)
      assert.is_nil(find(UDP, LOOP, before.port, ELSEWHERE, 9))
    end)
  end)

  it("that processes share are the lowest pid's", function()
    local descriptor, port = bound(DATAGRAM, LOOP)
    opened = {}
    local child = spawn(function() return 0 end)
    opened = { descriptor }
    send_away((bound(DATAGRAM, LOOP))) -- so that all processes are looked into
    watch()
    assert.equal(math.min(child.pid, os_calls.getpid()), (find(UDP, LOOP, port, ELSEWHERE, 9)))
  end)

  describe("that share their ends", function()
    local function expect_lowest(port, ...)
      watch()
      local scans = C.nf_sockets_scans(watching)
      for _ = 1, 3 do
        C.nf_sockets_refresh(watching)
        assert.equal(math.min(...), (find(TCP, ELSEWHERE, 9, LOOP, port)))
      end
      -- One that the other hides is not looked for again and again.
      if is_alone then assert.equal(scans, C.nf_sockets_scans(watching)) end
    end

    it("are the lowest pid's where that was first", function()
      local first = spawn_bound(STREAM, LOOP, 0, { reuse = true })
      local second = spawn_bound(STREAM, LOOP, first.port, { reuse = true })
      expect_lowest(first.port, first.pid, second.pid)
    end)

    it("are the lowest pid's where that was last", function()
      local child = spawn_bound(STREAM, LOOP, 0, { reuse = true })
      bound(STREAM, LOOP, child.port, { reuse = true })
      expect_lowest(child.port, child.pid, os_calls.getpid())
    end)
  end)

  describe("have processes", function()
    local function spawn_named(name)
      return spawn(function()
        os_calls.prctl(15, ffi.cast("const char *", name))
        return (select(2, bound(DATAGRAM, LOOP)))
      end)
    end

    local function name_of(child)
      watch()
      local pid, name = find(UDP, LOOP, child.port, ELSEWHERE, 9)
      assert.equal(child.pid, pid)
      return name
    end

    it("with names", function() assert.equal("short", name_of(spawn_named "short")) end)

    it("with names of any bytes, and no control characters", function()
      assert.equal("a?b??c?\195\169??", name_of(spawn_named "a\1b\255\nc\194\133\195\169\127\240\159\152"))
    end)

    it("with names of the kernel's full length that go no further", function()
      assert.equal(("exactly15characters"):sub(1, 15), name_of(spawn_named(("exactly15characters"):sub(1, 15))))
    end)

    -- A child that becomes a program of this name and keeps its socket.
    local function spawn_program(name)
      local folder = os.tmpname()
      os.remove(folder)
      assert.is_true(succeeds("mkdir " .. folder))
      local path = folder .. "/" .. name
      assert.equal(0, os_calls.symlink("/bin/sleep", path))
      local child = spawn(function() return select(2, bound(DATAGRAM, LOOP)), path end)
      assert.equal("", read_line(child.pipe))
      os.remove(path)
      os.remove(folder)
      return child
    end

    it("with the whole name where the kernel has cut it", function()
      assert.equal("a-program-with-a-long-name", name_of(spawn_program "a-program-with-a-long-name"))
    end)

    it("with as much of the name as there is room for, in whole characters", function()
      assert.equal(("n"):rep(58), name_of(spawn_program(("n"):rep(58) .. "\195\169 and so on")))
    end)
  end)

  describe("from /proc/net", function()
    -- Some of each kind.
    local function open_many()
      local listener, port = bound(STREAM, "::")
      connected(STREAM, LOOP, port)
      connected(STREAM, "::1", port)
      connected(STREAM, "::ffff:127.0.0.1", port)
      accept(listener)
      bound(STREAM, ANY)
      bound(DATAGRAM, "::1")
      connected(DATAGRAM, LOOP, 9)
      connected(DATAGRAM, "::1", 9)
      connected(DATAGRAM, "::ffff:127.0.0.1", 9)
      local closing = connected(STREAM, LOOP, port)
      close(closing)
    end

    local function listed(is_refused)
      local reader = C.nf_socket_reader_new()
      local list, lines = ffi.new "struct nf_socket_list", {}
      if is_refused then C.nf_socket_reader_refuse_netlink(reader) end
      assert.is_true(C.nf_socket_reader_read(reader, list))
      assert.equal(is_refused, C.nf_socket_reader_is_refused(reader))
      for i = 0, list.count - 1 do
        local bytes = ffi.string(list.at[i].ends, ffi.sizeof "struct nf_ends"):gsub(".", function(byte)
          return ("%02x"):format(byte:byte())
        end)
        lines[#lines + 1] = bytes .. " " .. tostring(list.at[i].inode) .. " " .. tostring(list.at[i].takes_ipv4)
      end
      table.sort(lines)
      C.nf_socket_list_free(list)
      C.nf_socket_reader_free(reader)
      return lines
    end

    it("are the same as from netlink", function()
      if not is_alone then return pending(LACKING) end
      open_many()
      local lines = listed(false)
      assert.is_true(#lines >= 16)
      assert.same(lines, listed(true))
    end)

    it("are found as well, with a warning", function()
      local server = spawn_bound(STREAM, "::")
      local _, port = connected(STREAM, LOOP, server.port)
      watch()
      warnings() -- of rights that we lack, perhaps
      C.nf_sockets_use_proc_net(watching)
      for _ = 1, 2 do C.nf_sockets_refresh(watching) end
      assert.equal(os_calls.getpid(), (find(TCP, LOOP, port, LOOP, server.port)))
      assert.equal(server.pid, (find(TCP, ELSEWHERE, 9, LOOP, server.port)))
      assert.same({ "netlink gives no list of sockets, so /proc/net is read, which takes longer: " ..
        "not to be used" }, warnings())
    end)

    it("are lines, whole or not at all", function()
      local list = ffi.new "struct nf_socket_list"
      local function add(line, version) return C.nf_socket_list_add_line(list, TCP, version or 4, line) end
      local line = "   1: 0100007F:1F90 0200000A:01BB 01 00000000:00000000 02:000A7214 00000000  1000 0 54321 2 0"
      assert.is_true(add(line))
      assert.equal(0x1F90, list.at[0].ends.local_port)
      assert.equal(443, list.at[0].ends.remote_port)
      assert.equal("\127\0\0\1", ffi.string(list.at[0].ends.local_address, 4))
      assert.equal("\10\0\0\2", ffi.string(list.at[0].ends.remote_address, 4))
      assert.equal(54321, tonumber(list.at[0].inode))
      for length = 0, line:find "54321" - 1 do assert.is_false(add(line:sub(1, length))) end
      assert.is_false(add(line, 6))
      assert.is_false(add(line:gsub("0100007F", "0100007F0", 1)))
      assert.is_false(add(line:gsub("0100007F", "0100007", 1)))
      assert.is_false(add "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout")
      assert.equal(1, list.count)
      C.nf_socket_list_free(list)
    end)
  end)

  describe("from netlink", function()
    local function u16(value) return string.char(bit.band(value, 255), bit.rshift(value, 8)) end

    local function u32(value)
      return ffi.string(ffi.new("uint32_t[1]", value % 2 ^ 32), 4)
    end

    local function message(kind, body, sequence, length)
      local bytes = u32(length or 16 + #body) .. u16(kind) .. u16(2) .. u32(sequence or 7) .. u32(0) .. body
      return bytes .. ("\0"):rep(-#bytes % 4)
    end

    -- An IPv6 listener on every address at port 8080, with attributes.
    local function socket_message(attributes, sequence, family)
      local body = string.char(family or 10, 10, 0, 0) .. "\31\144" .. "\0\0" .. ("\0"):rep(32) .. ("\0"):rep(12)
        .. ("\0"):rep(12) .. u32(1000) .. u32(4711)
      return message(20, body .. (attributes or ""), sequence)
    end

    local V6_ONLY = u16(5) .. u16(11) .. "\1\0\0\0"

    -- Adds a datagram whose bytes end where memory ends, as far as a sanitizer is concerned.
    local function add(bytes)
      local list = ffi.new "struct nf_socket_list"
      local copy = ffi.new("uint8_t[?]", math.max(#bytes, 1))
      ffi.copy(copy, bytes, #bytes)
      local result = C.nf_socket_list_add_reply(list, TCP, 7, copy, #bytes)
      local sockets = {}
      for i = 0, list.count - 1 do
        sockets[i + 1] = { list.at[i].ends.local_port, tonumber(list.at[i].inode), list.at[i].takes_ipv4 }
      end
      C.nf_socket_list_free(list)
      return result, sockets
    end

    local AGAIN, BAD_MESSAGE = 11, 74

    it("come several to a datagram, up to a last one", function()
      assert.same({ AGAIN, { { 8080, 4711, true }, { 8080, 4711, false } } },
        { add(socket_message() .. socket_message(V6_ONLY)) })
      assert.same({ 0, { { 8080, 4711, true } } }, { add(socket_message() .. message(3, u32(0)) .. socket_message()) })
    end)

    it("can be refused", function()
      assert.same({ 2, {} }, { add(message(2, u32(-2) .. ("\0"):rep(16))) })
      assert.same({ 12, { { 8080, 4711, true } } }, { add(socket_message() .. message(3, u32(-12))) })
      assert.same({ 0, {} }, { add(message(2, "")) })
    end)

    it("of another question or family are passed over", function()
      assert.same({ AGAIN, {} }, { add(socket_message(nil, 6) .. message(3, u32(0), 6)) })
      assert.same({ AGAIN, {} }, { add(socket_message(nil, 7, 1)) })
    end)

    it("are cut anywhere without harm", function()
      local whole = socket_message(u16(8) .. u16(3) .. u32(1) .. V6_ONLY)
      for length = 0, #whole - 1 do
        local result, sockets = add(whole:sub(1, length))
        assert.equal(length < 16 and AGAIN or BAD_MESSAGE, result)
        assert.same({}, sockets)
      end
      -- The message says that it is as short as it is.
      for length = 16, #whole - 1 do
        local result, sockets = add(u32(length) .. whole:sub(5, length))
        assert.equal(AGAIN, result)
        assert.equal(length >= 16 + 72 and 1 or 0, #sockets)
      end
    end)

    it("lie about their lengths without harm", function()
      for _, length in ipairs { 0, 1, 15, 0x7fffffff, 0xfffffffd, 0xffffffff } do
        assert.equal(BAD_MESSAGE, (add(message(20, ("\0"):rep(72), 7, length))))
      end
      for _, length in ipairs { 0, 1, 3, 6, 7, 0xffff } do
        assert.same({ AGAIN, { { 8080, 4711, true } } }, { add(socket_message(u16(length) .. u16(3) .. "\1")) })
      end
      -- The value lies behind the end of its message.
      local long = socket_message(V6_ONLY)
      assert.same({ AGAIN, { { 8080, 4711, true } } }, { add(u32(#long - 4) .. long:sub(5)) })
    end)
  end)

  it("of other users stay unknown to who may not look, with a warning", function()
    if not is_alone then return pending(LACKING) end
    local _, port = bound(DATAGRAM, LOOP)
    local other = spawn(function()
      check(os_calls.setuid(65534), "setuid")
      local _, own_port = bound(DATAGRAM, LOOP)
      watch()
      local own, foreign = find(UDP, LOOP, own_port, ELSEWHERE, 9), find(UDP, LOOP, port, ELSEWHERE, 9)
      return tostring(own == os_calls.getpid()) .. " " .. tostring(foreign) .. " " .. table.concat(warnings(), "|")
    end)
    assert.equal("true nil sockets of other users' processes are not found, expected root or CAP_SYS_PTRACE",
      other.said)
  end)

  it("that who may not look at others has found bring no warning", function()
    if not is_alone then return pending(LACKING) end
    local other = spawn(function()
      check(os_calls.unshare(0x40000000), "unshare")
      check(os_calls.setuid(65534), "setuid")
      local _, port = bound(DATAGRAM, LOOP)
      watch()
      return tostring(find(UDP, LOOP, port, ELSEWHERE, 9) == os_calls.getpid()) .. table.concat(warnings(), "|")
    end)
    assert.equal("true", other.said)
  end)

  it("are looked for until there is a way, with a warning", function()
    if not is_alone then return pending(LACKING) end
    local child = spawn(function()
      watch()
      local _, port = bound(DATAGRAM, LOOP)
      -- No descriptor is left to look into processes with.
      check(os_calls.setrlimit(7, ffi.new("uint64_t[2]", 3, 4096)), "setrlimit")
      for _ = 1, 9 do C.nf_sockets_refresh(watching) end
      local blind = find(UDP, LOOP, port, ELSEWHERE, 9)
      check(os_calls.setrlimit(7, ffi.new("uint64_t[2]", 4096, 4096)), "setrlimit")
      C.nf_sockets_refresh(watching)
      local seeing = find(UDP, LOOP, port, ELSEWHERE, 9)
      return tostring(blind) .. " " .. tostring(seeing == os_calls.getpid()) .. " " .. table.concat(warnings(), "|")
    end)
    assert.equal("nil true processes cannot be looked into, so some sockets are not found: Too many open files",
      (child.said:gsub("this machine's addresses[^|]*|", "")))
  end)

  describe("are watched", function()
    it("without being asked", function()
      watch(10)
      local _, port = bound(DATAGRAM, LOOP)
      local deadline = now_ms() + 5000
      while not find(UDP, LOOP, port, ELSEWHERE, 9) and now_ms() < deadline do os_calls.usleep(5000) end
      assert.equal(os_calls.getpid(), (find(UDP, LOOP, port, ELSEWHERE, 9)))
    end)

    it("no more often than asked", function()
      watch(600000)
      local _, port = bound(DATAGRAM, LOOP)
      os_calls.usleep(50000)
      assert.is_nil(find(UDP, LOOP, port, ELSEWHERE, 9))
      C.nf_sockets_refresh(watching)
      assert.equal(os_calls.getpid(), (find(UDP, LOOP, port, ELSEWHERE, 9)))
    end)

    it("by a thread that ends at once and takes no signals", function()
      watch(600000)
      local pipe = io.popen("grep -h SigBlk /proc/" .. os_calls.getpid() .. "/task/*/status")
      local masks = {}
      for line in pipe:lines() do masks[#masks + 1] = line:match "(%x%x%x%x)$" end
      pipe:close()
      table.sort(masks)
      assert.equal("feff", masks[#masks]) -- SIGHUP to SIGSTKFLT, but for SIGKILL
      local start = now_ms()
      unwatch()
      assert.is_true(now_ms() - start < 2000)
    end)

    it("by the thousand", function()
      local many = spawn(function()
        local ports = {}
        check(os_calls.setrlimit(7, ffi.new("uint64_t[2]", 4096, 4096)), "setrlimit")
        for i = 1, 2000 do ports[i] = select(2, bound(DATAGRAM, "127.0.0." .. 1 + i % 200)) end
        return table.concat(ports, " ")
      end)
      watch()
      local start = now_ms()
      C.nf_sockets_refresh(watching)
      local took = now_ms() - start
      local i = 0
      for port in many.said:gmatch "%d+" do
        i = i + 1
        assert.equal(many.pid, (find(UDP, "127.0.0." .. 1 + i % 200, tonumber(port), ELSEWHERE, 9)))
      end
      assert.equal(2000, i)
      assert.is_true(took < 1000, ("a look took %.1f ms"):format(took))
    end)
  end)

  it("are found by several threads at once while they are looked at", function()
    local _, port = bound(DATAGRAM, LOOP)
    watch(1)
    -- Each thread has a Lua of its own, which calls back from C.
    local code = [[
      package.path = "./lua/?.lua;./lua/?/init.lua;./?.lua"
      local ffi = require "ffi"
      local C = require "spec.support.core" ("sockets")
      ffi.cdef "struct sockets_spec_work { void *sockets; struct nf_tuple tuple; int found, pid; };"
      local process = ffi.new "struct nf_process"
      local function work(context)
        local w = ffi.cast("struct sockets_spec_work *", context)
        for _ = 1, 200000 do
          if C.nf_sockets_find(ffi.cast("struct nf_sockets *", w.sockets), w.tuple, 4, process) then
            w.found, w.pid = w.found + 1, process.pid
          end
        end
        return nil
      end
      jit.off(work)
      callback = ffi.cast("void *(*)(void *)", work)
      return tonumber(ffi.cast("uintptr_t", callback))
    ]]
    ffi.cdef "struct sockets_spec_work { void *sockets; struct nf_tuple tuple; int found, pid; };"
    local threads = {}
    for i = 1, 2 do
      local state = os_calls.luaL_newstate()
      os_calls.luaL_openlibs(state)
      local failed = os_calls.luaL_loadstring(state, code) ~= 0 or os_calls.lua_pcall(state, 0, 1, 0) ~= 0
      assert(not failed, failed and ffi.string(os_calls.lua_tolstring(state, -1, nil)))
      local job = ffi.new "struct sockets_spec_work"
      job.sockets, job.tuple = watching, (tuple_of(UDP, ELSEWHERE, 9, LOOP, port))
      local thread = ffi.new "uintptr_t[1]"
      local callback = ffi.cast("void *", ffi.cast("uintptr_t", os_calls.lua_tonumber(state, -1)))
      assert.equal(0, os_calls.pthread_create(thread, nil, callback, job))
      threads[i] = { state = state, job = job, thread = thread }
    end
    for _, t in ipairs(threads) do
      os_calls.pthread_join(t.thread[0], nil)
      os_calls.lua_close(t.state)
      assert.equal(200000, t.job.found)
      assert.equal(os_calls.getpid(), t.job.pid)
    end
  end)
end)
