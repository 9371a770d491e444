--- Follows TLS handshakes over TCP, QUIC and DTLS: what the client offers and what the server takes of it.
--
--   state     = { { "mine_tls", "double" } },
--   setup     = function(self) self.handshakes = handshake.follower(function(handshake, flow) … end) end,
--   on_init   = function(self, packet, flow)
--     local state = self.handshakes:begin(packet)
--     flow.udps.mine_tls = self.handshakes:look(state, packet, flow)
--   end,
--   on_update = function(self, packet, flow)
--     local state = flow.udps.mine_tls
--     if state ~= 0 then flow.udps.mine_tls = self.handshakes:look(state, packet, flow) end
--   end,
--   on_expire = function(self, flow) self.handshakes:close(flow.udps.mine_tls, flow) end,
--
-- A flow's first client hello counts, as nfengine.protocols.tls finds it; the server's answer is read behind it. What
-- is told of a handshake, once:
--
--   hello, server       the two hellos, as tls.client_hello and tls.server_hello have them, the client's with its
--                       `session` too; server is nil without one
--   time, answered      when the client's was complete, and when the server's first answer came (its hello, or the
--                       request for another client hello), in µs since 1970; nil without one
--   client              direction of the client, 0 or 1
--   carrier             "tcp", "quic" or "dtls"
--   is_retried          whether the server asked for another client hello
--   is_resumed          whether an earlier session goes on: the server takes a key shared before (TLS 1.3), or answers
--                       with the session ID that the client sent
--   has_early_data      whether the client offers data that came with its hello (TLS 1.3)
--   alert, alert_by     number of an alert that was sent in the clear, and "client" or "server"; nil without one
--   subject, issuer     common names in the server's certificate, where that is in the clear: over TCP, before TLS 1.3
--
-- That is over, and told, when an alert or a RST comes; with QUIC at the server's hello; else when both sides have gone
-- on to what is encrypted, or the flow ends.

local ffi = require "ffi"
local C = require "nfengine.lib"
local certificate = require "nfengine.protocols.certificate"
local new_view = require("nfengine.packet").view
local reader = require "nfengine.protocols.reader"
local reassembly = require "nfengine.protocols.reassembly"
local tls = require "nfengine.protocols.tls"

local handshake = {}

local quic_id = ffi.typeof "struct nf_quic_id"

local TCP = 6
local CHANGE_CIPHER, ALERT, HANDSHAKE, APPLICATION, HEARTBEAT = 20, 21, 22, 23, 24
local HELLO_VERIFY_REQUEST, SERVER_HELLO, CERTIFICATE = 3, 2, 11
local WARNING, FATAL, CLOSE_NOTIFY = 1, 2, 0 -- of alerts
local TLS_1_3, TLS_1_3_DRAFTS, DTLS_1_3 = 0x0304, 0x7f00, 0xfefc
local PRE_SHARED_KEY, EARLY_DATA = 41, 42 -- extensions
local RECORD_HEADER, DTLS_RECORD_HEADER, DTLS_MESSAGE_HEADER = 5, 13, 12
local LONGEST_RECORD = 16384 + 2048
local LONGEST_MESSAGE = 16384 -- of which so much is looked at
local LONGEST_DATAGRAM = 65536
local ROOM = 4096             -- bytes of a server's records or QUIC frames, kept at once

-- What a flow keeps is what its finder keeps, and, once that has found a hello, a handshake's number above this.
local OVER, FIRST = 0, 2 ^ 50

local follower = {}
follower.__index = follower

local function tell(self, state, known)
  self.known[state] = nil
  self.readers:close(known.side)
  self.streams:close(known.stream)
  self.done(known.handshake, self.flow)
  return OVER
end

-- ---- what servers say ----

local function is_encrypted_early(version) -- from the hello on
  return version == TLS_1_3 or version == DTLS_1_3 or version >= TLS_1_3_DRAFTS and version < TLS_1_3_DRAFTS + 256
end

local function contains(list, wanted)
  for _, value in ipairs(list) do
    if value == wanted then return true end
  end
  return false
end

local function take_server_hello(self, known, message)
  local made, server = known.handshake, tls.server_hello(message)
  if not server or made.server then return end
  made.answered = made.answered or self.now
  if server.is_retry then
    made.is_retried = true
    return
  end
  made.server = server
  local hello = made.hello
  if is_encrypted_early(server.version) then
    made.is_resumed = contains(server.extensions, PRE_SHARED_KEY)
    known.is_server_done = true
  else
    made.is_resumed = server.session ~= "" and server.session == hello.session
  end
end

--- The first of the certificates that a message lists: RFC 5246, section 7.4.2.
local function take_certificates(known, message)
  local a, b, c = message:byte(8, 10)
  if not c or known.handshake.subject then return end
  local names = certificate.names(message:sub(11, 10 + a * 65536 + b * 256 + c))
  known.handshake.subject, known.handshake.issuer = names.subject, names.issuer
end

local function take_message(self, known, message)
  local kind = message:byte(1)
  if kind == SERVER_HELLO then take_server_hello(self, known, message) end
  if kind == CERTIFICATE then take_certificates(known, message) end
end

--- A piece of the server's handshake messages, which may be cut into records in any way.
local function take_messages(self, known, piece)
  local at = 1
  while at <= #piece do
    local left = #piece - at + 1
    if known.skipped > 0 then -- of a message that nobody wants, or of what is too long
      local count = math.min(known.skipped, left)
      known.skipped, at = known.skipped - count, at + count
    elseif #known.head < 4 then
      local count = math.min(4 - #known.head, left)
      known.head, at = known.head .. piece:sub(at, at + count - 1), at + count
      if #known.head == 4 then
        local kind, a, b, c = known.head:byte(1, 4)
        local size = a * 65536 + b * 256 + c
        local is_wanted = kind == SERVER_HELLO or kind == CERTIFICATE
        known.wanted = is_wanted and math.min(size, LONGEST_MESSAGE) or 0
        known.rest, known.parts = size - known.wanted, {}
      end
    else
      local count = math.min(known.wanted, left)
      known.parts[#known.parts + 1] = piece:sub(at, at + count - 1)
      known.wanted, at = known.wanted - count, at + count
    end
    if #known.head == 4 and known.wanted == 0 then
      take_message(self, known, known.head .. table.concat(known.parts))
      known.head, known.skipped = "", known.rest
    end
  end
end

-- ---- TCP ----

--- An alert in the clear, where one begins: its level and its number, or nil. Encrypted ones are longer.
local function alert_in(bytes)
  local is_alert = bytes:u8(0) == ALERT and bytes:u8(1) == 3 and bytes:u16(3) == 2
  local level = is_alert and bytes:u8(RECORD_HEADER)
  if level == WARNING or level == FATAL then return level, bytes:u8(RECORD_HEADER + 1) end
end

--- Takes an alert. A handshake may go on behind a warning.
local function take_alert(self, state, known, level, number, by)
  known.handshake.alert, known.handshake.alert_by = number, by
  return (level ~= WARNING or number == CLOSE_NOTIFY) and tell(self, state, known) or state
end

--- One of a server's records, or what has come of it: how many bytes are done with; nil when it has to wait, false when
-- there is nothing more to be read.
local function take_record(self, state, known, bytes)
  if known.left > 0 then
    local piece = bytes:string(0, math.min(#bytes, known.left))
    known.left = known.left - #piece
    take_messages(self, known, piece)
    return #piece
  end
  local kind, size = bytes:u8(0), bytes:u16(3)
  if not size then return nil end
  if kind < CHANGE_CIPHER or kind > HEARTBEAT or bytes:u8(1) ~= 3 or size > LONGEST_RECORD then return false end
  if kind == ALERT then
    if #bytes < RECORD_HEADER + 2 then return nil end
    local level, number = alert_in(bytes)
    if not number or take_alert(self, state, known, level, number, "server") == OVER then return false end
  end
  local is_end = kind == APPLICATION or kind == CHANGE_CIPHER and known.handshake.server
  if is_end then return false end
  known.left = kind == HANDSHAKE and size or 0
  return RECORD_HEADER + (kind == HANDSHAKE and 0 or size)
end

local function take_servers(self, state, known, packet)
  local side = known.side
  if known.is_server_done then return state end
  if not side.place then self.readers:begin(side, reassembly.sequence(packet)) end
  local bytes = self.readers:feed(side, packet)
  while bytes and not known.is_server_done do
    local count = take_record(self, state, known, bytes)
    if not self.known[state] then return OVER end
    if count == false then known.is_server_done = true end
    if not count then break end
    bytes = self.readers:pass(side, count)
  end
  if not side.place then known.is_server_done = true end -- a part was not captured
  if not known.is_server_done then return state end
  self.readers:close(side)
  -- Who ends a full handshake before TLS 1.3 is the server. Otherwise the client may still object.
  local made = known.handshake
  local is_over = not made.server or not made.is_resumed and not is_encrypted_early(made.server.version)
  return is_over and tell(self, state, known) or state
end

local function look_tcp(self, state, known, packet)
  if packet.rst == 1 then return tell(self, state, known) end
  if packet.payload_size == 0 or not reassembly.is_placed(packet) then return state end
  if packet.direction ~= known.handshake.client then return take_servers(self, state, known, packet) end
  if reassembly.distance(reassembly.sequence(packet), known.behind_hello) < 0 then return state end -- sent again
  local level, number = alert_in(packet.payload_bytes)
  if number then return take_alert(self, state, known, level, number, "client") end
  return known.is_server_done and tell(self, state, known) or state
end

-- ---- QUIC and DTLS ----

local function look_quic(self, state, known, packet)
  if packet.direction == known.handshake.client then return state end
  local bytes = packet.payload_bytes
  local id = known.handshake.hello.connection
  local size = C.nf_quic_server_initial(self.quic, bytes.data, #bytes, id, self.frames, LONGEST_DATAGRAM)
  if size == 0 then return state end
  if known.stream == 0 then known.stream = self.streams:open() end
  self.frame.next = 0
  while C.nf_quic_next_crypto(self.frames, size, self.frame) do
    local view = new_view(self.frame.data, self.frame.size)
    if not self.streams:add(known.stream, self.frame.offset - known.passed, view) then return state end
  end
  local view = self.streams:view(known.stream)
  local length = view:u24(1)
  if not length or #view < 4 + math.min(length, ROOM - 4) then return state end
  take_server_hello(self, known, view:string(0, math.min(#view, 4 + length)))
  if known.handshake.server or not known.handshake.is_retried then return tell(self, state, known) end
  self.streams:skip(known.stream, 4 + length)
  known.passed = known.passed + 4 + length
  return state
end

--- A record of DTLS in the clear: its kind and its content; nil where there is none.
local function dtls_record(bytes, at)
  local is_clear = bytes:u8(at + 1) == 0xfe and bytes:u16(at + 3) == 0 -- epoch
  local size = is_clear and bytes:u16(at + 11)
  local content = size and bytes:sub(at + DTLS_RECORD_HEADER, size)
  if content then return bytes:u8(at), content end
end

local function look_dtls(self, state, known, packet)
  local bytes, at = packet.payload_bytes, 0
  local by = packet.direction == known.handshake.client and "client" or "server"
  local kind, content = dtls_record(bytes, at)
  while kind do
    if kind == ALERT and #content == 2 and take_alert(self, state, known, content:u8(0), content:u8(1), by) == OVER then
      return OVER
    end
    if by == "server" and kind == HANDSHAKE then
      local message, size = content:u8(0), content:u24(1)
      local is_whole = content:u24(6) == 0 and content:u24(9) == size
      local body = is_whole and content:string(DTLS_MESSAGE_HEADER, size)
      if message == HELLO_VERIFY_REQUEST then
        known.handshake.is_retried, known.handshake.answered = true, known.handshake.answered or self.now
      elseif message == SERVER_HELLO and body then
        take_server_hello(self, known, content:string(0, 4) .. body)
      end
    end
    at = at + DTLS_RECORD_HEADER + #content
    kind, content = dtls_record(bytes, at)
  end
  -- What follows is encrypted.
  return by == "server" and known.handshake.server and at < #bytes and tell(self, state, known) or state
end

-- ---- following ----

local function begin_handshake(self, packet, hello)
  local made = {
    hello = hello, time = self.now, client = packet.direction, carrier = hello.carrier, is_retried = false,
    is_resumed = false, has_early_data = contains(hello.extensions, EARLY_DATA),
  }
  local known = {
    handshake = made, side = self.readers:side(), left = 0, skipped = 0, head = "", stream = 0, passed = 0,
  }
  if hello.carrier == "tcp" then
    known.behind_hello = (reassembly.sequence(packet) + packet.payload_size) % 2 ^ 32
    if packet.ack == 1 then self.readers:begin(known.side, packet.transport_bytes:u32(8)) end
  end
  self.found = self.found + 1
  self.known[FIRST + self.found] = known
  return FIRST + self.found
end

--- The newest version that a client hello offers; DTLS counts its own downwards.
function handshake.newest_version(hello)
  local function age(version) return version >= 0xfe00 and version or 0xffff - version end
  local newest
  for _, version in ipairs(hello.versions or { hello.version }) do
    if not tls.is_grease(version) and (not newest or age(version) < age(newest)) then newest = version end
  end
  return newest or hello.version
end

-- Beyond its random bytes, a client hello has the session, which servers repeat.
local SESSION = 4 + 2 + 32

local function finder_options(given)
  local options = {
    read = function(found, message, id)
      if type(message) == "string" then
        found.session = message:sub(SESSION + 2, SESSION + 1 + message:byte(SESSION + 1))
      else
        found.session = message:string(SESSION + 1, message:u8(SESSION))
      end
      if found.carrier == "quic" then found.connection = ffi.new(quic_id, id) end
      return found
    end,
  }
  for name, value in pairs(given or {}) do options[name] = value end
  return options
end

--- A follower of handshakes, to be made in setup.
-- @param done called as done(handshake, flow) for each handshake that is over
-- @param options as tls.finder takes them, but for `read`
function handshake.follower(done, options)
  local reason = ffi.new("char[?]", C.NF_ERROR_SIZE)
  local quic = C.nf_quic_new(reason)
  if quic == nil then error("handshake.follower: " .. ffi.string(reason), 2) end
  return setmetatable({
    done = done, finder = tls.finder(finder_options(options)), known = {}, found = 0, now = 0,
    readers = reader.pool { streams = 256, bytes = ROOM }, streams = reassembly.pool { streams = 256, bytes = ROOM },
    quic = ffi.gc(quic, C.nf_quic_free), frame = ffi.new "struct nf_quic_crypto",
    frames = ffi.new("uint8_t[?]", LONGEST_DATAGRAM),
  }, follower)
end

--- What to keep of a flow that begins with this packet, to be given to look with the same packet.
function follower:begin(packet) return self.finder:begin(packet) end

--- Looks at a packet.
-- @param state what the flow keeps; 0 when there is no need to ask any more
-- @return what to keep from now on
function follower:look(state, packet, flow)
  local known = self.known[state]
  if not known then
    local after, hello = self.finder:look(state, packet)
    if not hello then return after end
    self.now = tonumber(packet.time_ns / 1000ULL)
    return begin_handshake(self, packet, hello)
  end
  self.now, self.flow = tonumber(packet.time_ns / 1000ULL), flow
  if packet.protocol == TCP then return look_tcp(self, state, known, packet) end
  if known.handshake.carrier == "quic" then return look_quic(self, state, known, packet) end
  return look_dtls(self, state, known, packet)
end

--- Tells of a handshake that is not over; to be called when its flow ends.
function follower:close(state, flow)
  local known = self.known[state]
  if not known then return self.finder:close(state) end
  self.flow = flow
  tell(self, state, known)
end

--- How many client hellos have been given up, begun and not complete, to make place for others.
function follower:displaced() return self.finder:displaced() end

return handshake
