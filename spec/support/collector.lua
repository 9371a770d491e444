-- Sockets on 127.0.0.1 that take what is sent to a collector.
--
--   local socket = collector.udp()           -- or collector.tcp()
--   socket.url                               --> "udp://127.0.0.1:41234"
--   socket:receive()                         --> a datagram; nil where none comes within a second, or the given time
--   local connection = socket:accept()       -- nil as above
--   connection:read(size)                    --> up to so many bytes; "" at the end; nil as above
--   socket:close()

local ffi = require "ffi"

ffi.cdef [[
struct spec_address { uint16_t family; uint8_t port[2]; uint8_t host[4]; uint8_t zeros[8]; };
struct spec_poll { int descriptor; short events, found; };
int socket(int family, int type, int protocol);
int bind(int socket, const struct spec_address *address, uint32_t size);
int listen(int socket, int backlog);
int accept(int socket, void *address, uint32_t *size);
int getsockname(int socket, struct spec_address *address, uint32_t *size);
int setsockopt(int socket, int level, int option, const void *value, uint32_t size);
long recv(int socket, void *bytes, size_t size, int flags);
int close(int descriptor);
int poll(struct spec_poll *polls, unsigned long count, int timeout);
]]

local AF_INET, SOCK_STREAM, SOCK_DGRAM, SOL_SOCKET, SO_REUSEADDR, SO_RCVBUF, POLLIN = 2, 1, 2, 1, 2, 8, 1
local PATIENCE_S = 1

local collector = {}

local socket = {}
socket.__index = socket

local function set(descriptor, option, value)
  ffi.C.setsockopt(descriptor, SOL_SOCKET, option, ffi.new("int[1]", value), 4)
end

local function bound(scheme, type, port, room)
  local descriptor = ffi.C.socket(AF_INET, type, 0)
  set(descriptor, SO_REUSEADDR, 1)
  set(descriptor, SO_RCVBUF, room or 4194304)
  local address, size = ffi.new "struct spec_address", ffi.new("uint32_t[1]", ffi.sizeof "struct spec_address")
  address.family, address.host = AF_INET, { 127, 0, 0, 1 }
  address.port = { math.floor((port or 0) / 256), (port or 0) % 256 }
  assert(ffi.C.bind(descriptor, address, size[0]) == 0, "cannot bind")
  assert(ffi.C.getsockname(descriptor, address, size) == 0)
  local number = address.port[0] * 256 + address.port[1]
  return setmetatable({ descriptor = descriptor, port = number, url = scheme .. "://127.0.0.1:" .. number }, socket)
end

--- A socket for datagrams, on any port or this one.
function collector.udp(port) return bound("udp", SOCK_DGRAM, port) end

--- A socket that takes connections, of which nobody reads has room for so many bytes if `room` is given.
function collector.tcp(port, room)
  local self = bound("tcp", SOCK_STREAM, port, room)
  assert(ffi.C.listen(self.descriptor, 5) == 0)
  return self
end

local function is_ready(self, seconds)
  local look = ffi.new("struct spec_poll", { self.descriptor, POLLIN, 0 })
  return ffi.C.poll(look, 1, (seconds or PATIENCE_S) * 1000) > 0
end

function socket:read(size, seconds)
  if not is_ready(self, seconds) then return nil end
  local bytes = ffi.new("char[?]", size)
  local got = tonumber(ffi.C.recv(self.descriptor, bytes, size, 0))
  return got >= 0 and ffi.string(bytes, got) or nil
end

function socket:receive(seconds) return self:read(65536, seconds) end

--- All that comes up to the end of a connection.
function socket:read_all()
  local parts = {}
  repeat
    local part = assert(self:read(65536, 10), "no end of the connection")
    parts[#parts + 1] = part
  until part == ""
  return table.concat(parts)
end

--- Every datagram that is there.
function socket:receive_all()
  local list = {}
  while true do
    local datagram = self:receive(0.05)
    if not datagram then return list end
    list[#list + 1] = datagram
  end
end

function socket:accept(seconds)
  if not is_ready(self, seconds) then return nil end
  return setmetatable({ descriptor = ffi.C.accept(self.descriptor, nil, nil) }, socket)
end

function socket:close()
  if self.descriptor then ffi.C.close(self.descriptor) end
  self.descriptor = nil
end

return collector
