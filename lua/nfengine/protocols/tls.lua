--- Finds the TLS client hello of a flow, whatever carries it, and reads it.
--
--   local tls = require "nfengine.protocols.tls"
--
--   state     = { { "sni_hello", "double" } },
--   setup     = function(self) self.hellos = tls.finder() end,
--   on_init   = function(self, packet, flow) look(self, packet, flow, self.hellos:begin(packet)) end,
--   on_update = function(self, packet, flow)
--     local state = flow.udps.sni_hello
--     if state ~= 0 then look(self, packet, flow, state) end
--   end,
--   on_expire = function(self, flow) self.hellos:close(flow.udps.sni_hello) end,
--
--   local function look(self, packet, flow, state)
--     local hello
--     flow.udps.sni_hello, hello = self.hellos:look(state, packet)
--     if hello then flow.udps.sni_name = hello.server_name or "" end
--   end
--
-- Looked into are, in either direction and on any port: TCP, also where the hello is cut into segments or records and
-- where another protocol goes before it (STARTTLS, a proxy's CONNECT); QUIC's Initial packets (versions 1 and 2, drafts
-- 23 to 34); DTLS. A flow's first hello counts. It has to be captured whole and to have at most 16,384 bytes.

local bit = require "bit"
local ffi = require "ffi"
local C = require "nfengine.lib"
local new_table = require "table.new"
local new_view = require("nfengine.packet").view
local reassembly = require "nfengine.protocols.reassembly"
local report = require "nfengine.report"

local tls = {}

local TCP, UDP = 6, 17
local HANDSHAKE, CLIENT_HELLO, SERVER_HELLO = 22, 1, 2
local RECORD_HEADER, DTLS_RECORD_HEADER, DTLS_MESSAGE_HEADER = 5, 13, 12
local LONGEST = 16384 -- of a record's content (RFC 8446, section 5.1), and of a hello here
local RECORDS = 8     -- in which a hello may come
local ROOM = LONGEST + RECORDS * RECORD_HEADER
local LONGEST_DATAGRAM = 65536

-- ---- reading a hello ----

-- Offsets are into a view, from 0; `stop` is where what is read of it ends.

--- Where the contents of a vector begin and stop whose length stands at this offset in so many bytes; nil where it is
-- not all there.
local function vector(view, at, width, stop)
  local from = at + width
  if from > stop then return nil end
  local behind = from + (width == 1 and view:u8(at) or width == 2 and view:u16(at) or view:u24(at))
  if behind > stop then return nil end
  return from, behind
end

--- 16-bit numbers, one behind the other; none where there is no vector.
local function numbers(view, at, stop)
  if not at then return {} end
  local count = math.floor((stop - at) / 2)
  local list = new_table(count, 0)
  for i = 1, count do list[i] = view:u16(at + 2 * i - 2) end
  return list
end

-- What is read of extensions, by type. A body that is not what it should be reads as an extension without one.
local readers = {}

readers[0] = function(hello, view, at, stop) -- server_name: RFC 6066, section 3
  local entry, behind = vector(view, at, 2, stop)
  if not entry or entry == behind or view:u8(entry) ~= 0 then return end
  local name, name_end = vector(view, entry + 1, 2, behind)
  if name then hello.server_name = view:string(name, name_end - name) end
end

readers[13] = function(hello, view, at, stop) -- signature_algorithms: RFC 8446, section 4.2.3
  local first, behind = vector(view, at, 2, stop)
  hello.signature_algorithms = numbers(view, first, behind)
  hello.signature_algorithm_bytes = first and view:string(first, behind - first) or ""
end

readers[16] = function(hello, view, at, stop) -- application_layer_protocol_negotiation: RFC 7301, section 3.1
  hello.alpn = {}
  local entry, behind = vector(view, at, 2, stop)
  while entry do
    local name, name_end = vector(view, entry, 1, behind)
    if name then table.insert(hello.alpn, view:string(name, name_end - name)) end
    entry = name_end
  end
end

readers[43] = function(hello, view, at, stop) -- supported_versions: RFC 8446, section 4.2.1
  hello.versions = numbers(view, vector(view, at, 1, stop))
end

-- The same of a server's, which has one of each.
local server_readers = {}

server_readers[16] = function(hello, view, at, stop)
  local entry, behind = vector(view, at, 2, stop)
  local name, name_end
  if entry then name, name_end = vector(view, entry, 1, behind) end
  if name then hello.alpn = view:string(name, name_end - name) end
end

server_readers[43] = function(hello, view, at, stop)
  if stop - at == 2 then hello.version = view:u16(at) end
end

-- A bit for each type that is read, to be set where it was met: the first of two counts.
local marks = { [0] = 1, [13] = 2, [16] = 4, [43] = 8 }

local function read_extensions(hello, view, at, stop, read)
  local count, met, list = 0, 0, hello.extensions
  while at < stop do
    local body, behind = vector(view, at + 2, 2, stop)
    if not body then return nil end
    local kind = view:u16(at)
    local mark = marks[kind]
    if mark and bit.band(met, mark) == 0 then
      met = met + mark
      if read[kind] then read[kind](hello, view, body, behind) end
    end
    count, at = count + 1, behind
    list[count] = kind
  end
  return hello
end

local kept -- a string that is read through a view, which does not keep it alive

local function view_of(message)
  if type(message) ~= "string" then return message end
  kept = message
  return new_view(ffi.cast("const uint8_t *", kept), #kept)
end

--- Reads a client hello (RFC 8446, section 4.1.2; RFC 6347, section 4.2.1).
-- @param message the handshake message, a string or view that begins with its type and length as TLS has them
-- @param is_dtls whether it has DTLS' cookie
-- @return nil where it is none or contradicts itself, else
--   version                    the number in front, which TLS 1.3 does not change any more: 0x0303
--   versions                   what supported_versions lists, nil without it
--   ciphers, extensions        their numbers in order, reserved ones (GREASE) among them
--   cipher_bytes               the ciphers as they stand there, a string to know them again by
--   server_name                host name asked for, as it stands there; or nil
--   alpn                       list of protocol names, or nil
--   signature_algorithms       list of numbers, or nil
--   signature_algorithm_bytes  and as they stand there
function tls.client_hello(message, is_dtls)
  local view = view_of(message)
  if view:u8(0) ~= CLIENT_HELLO then return nil end
  local body, stop = vector(view, 1, 3, #view)
  if not body then return nil end
  local at, behind = vector(view, body + 34, 1, stop) -- the session, behind version and random
  if at and is_dtls then at, behind = vector(view, behind, 1, stop) end -- the cookie
  if not at then return nil end
  local ciphers, ciphers_end = vector(view, behind, 2, stop)
  if not ciphers then return nil end
  at, behind = vector(view, ciphers_end, 1, stop) -- compression methods
  if not at then return nil end
  local hello = {
    version = view:u16(body), ciphers = numbers(view, ciphers, ciphers_end), extensions = new_table(20, 0),
    cipher_bytes = view:string(ciphers, ciphers_end - ciphers),
  }
  if behind == stop then return hello end -- as before TLS 1.2
  at, behind = vector(view, behind, 2, stop)
  return at and read_extensions(hello, view, at, behind, readers)
end

-- SHA-256 of "HelloRetryRequest", where a server hello has its random bytes: RFC 8446, section 4.1.3.
local RETRY = "\xcf\x21\xad\x74\xe5\x9a\x61\x11\xbe\x1d\x8c\x02\x1e\x65\xb8\x91"
  .. "\xc2\xa2\x11\x16\x7a\xbb\x8c\x5e\x07\x9e\x09\xe2\xc8\xa8\x33\x9c"

--- Reads a server hello (RFC 8446, section 4.1.3).
-- @param message as for tls.client_hello
-- @return nil where it is none or contradicts itself, else
--   version      the one chosen
--   session      ID of the session, as it stands there
--   cipher       number of the cipher suite chosen
--   extensions   their numbers in order
--   alpn         name of the protocol chosen, where it stands here, which it does before TLS 1.3; else nil
--   is_retry     whether it asks for another client hello
function tls.server_hello(message)
  local view = view_of(message)
  if view:u8(0) ~= SERVER_HELLO then return nil end
  local body, stop = vector(view, 1, 3, #view)
  if not body then return nil end
  local session, behind = vector(view, body + 34, 1, stop) -- behind version and random
  if not session or behind + 3 > stop then return nil end
  local hello = {
    version = view:u16(body), session = view:string(session, behind - session), cipher = view:u16(behind),
    extensions = {}, is_retry = view:string(body + 2, 32) == RETRY,
  }
  if behind + 3 == stop then return hello end -- as before TLS 1.2
  local at
  at, behind = vector(view, behind + 3, 2, stop)
  return at and read_extensions(hello, view, at, behind, server_readers)
end

local function itself(hello) return hello end

--- Whether a cipher, extension, version or algorithm is one of those that mean nothing (RFC 8701).
function tls.is_grease(value)
  return bit.band(value, 0x0f0f) == 0x0a0a and bit.rshift(value, 8) == bit.band(value, 0xff)
end

-- ---- finding it ----

-- What a flow keeps is one number. 0: there is nothing, or nothing more, to look for. Above 0: the stream that a hello
-- is put together in. Below 0: none has begun; -(packets left to look at + 256 * (1 + sequence number of the client's
-- first byte)), the latter 0 where it is not known.

local function waiting(left, origin) return left > 0 and -(left + 256 * (origin + 1)) or 0 end

local function waits_for(state)
  local left = -state % 256
  return left, (-state - left) / 256 - 1
end

local finder = {}
finder.__index = finder

-- How nfengine.transfer carries one to where plugins are merged: what it has counted.
finder.__carry = function(self) return "nfengine.protocols.tls", "counted", { displaced = self:displaced() } end

function tls.counted(carried) return setmetatable({ before = carried.displaced }, finder) end

local function check(name, value, least, most)
  if type(value) == "number" and value % 1 == 0 and value >= least and value <= most then return value end
  error(("tls.finder: %s: expected an integer from %d to %d, got %s"):format(name, least, most, tostring(value)), 3)
end

--- A finder, to be made in setup.
-- @param options `packets` (16, at most 255): of a flow, those with payload in which a hello may begin; `streams` (256,
--   at most 65536): hellos at once that have come in part so far; `read`: called once for each hello, whose answer look
--   returns. It gets what tls.client_hello returns, with a field `carrier`: "tcp", "quic" or "dtls"; what that was read
--   from, a string or a view, lent; and a struct nf_quic_id, lent, from which QUIC's keys come. Without it look returns
--   the first of these
function tls.finder(options)
  options = options or {}
  local packets, streams = check("packets", options.packets or 16, 1, 255),
    check("streams", options.streams or 256, 1, 65536)
  local reason = ffi.new("char[?]", C.NF_ERROR_SIZE)
  local quic = C.nf_quic_new(reason)
  if quic == nil then error("tls.finder: " .. ffi.string(reason), 2) end
  return setmetatable({
    before = 0, packets = packets, count = streams, read = options.read or itself,
    pool = reassembly.pool { streams = streams, bytes = ROOM },
    quic = ffi.gc(quic, C.nf_quic_free), frame = ffi.new "struct nf_quic_crypto",
    frames = ffi.new("uint8_t[?]", LONGEST_DATAGRAM), id = ffi.new "struct nf_quic_id",
    -- by a stream's place
    directions = ffi.new("uint8_t[?]", streams), -- from which its packets come
    wanted = ffi.new("uint32_t[?]", streams),    -- TCP: bytes without which looking again would be in vain
    ids = ffi.new("struct nf_quic_id[?]", streams),
    sequences = ffi.new("uint16_t[?]", streams), -- DTLS: of the message
  }, finder)
end

local function open(self, packet, origin)
  local stream = self.pool:open(origin)
  local place = stream % self.count
  self.directions[place], self.wanted[place] = packet.direction, 1
  return stream
end

local function give_up(self, stream)
  self.pool:close(stream)
  return 0
end

--- Reads a message, which may lie in the stream, and ends this.
local function found(self, stream, message, carrier)
  local hello, made = tls.client_hello(message, carrier == "dtls"), nil
  if hello then
    hello.carrier = carrier
    made = self.read(hello, message, self.ids[stream % self.count])
  end
  self.pool:close(stream)
  return 0, made
end

--- Whether TLS may begin here with a client hello, by those of the first bytes that are there.
local function may_begin(bytes)
  return bytes:u8(0) == HANDSHAKE and (bytes:u8(1) or 3) == 3 and (bytes:u8(2) or 1) <= 4
    and (bytes:u8(5) or CLIENT_HELLO) == CLIENT_HELLO
end

--- The same where it may take more than one record.
local function put_together(bytes)
  local at, message = 0, ""
  for _ = 1, RECORDS do
    local length = bytes:u16(at + 3)
    if not length then return nil, at + RECORD_HEADER end
    if bytes:u8(at) ~= HANDSHAKE or bytes:u8(at + 1) ~= 3 or length == 0 or length > LONGEST then return false end
    at = at + RECORD_HEADER
    local there, before = math.min(length, #bytes - at), #message
    message = message .. bytes:string(at, there)
    local size = 4 + (view_of(message):u24(1) or 0)
    if message ~= "" and message:byte(1) ~= CLIENT_HELLO or size > LONGEST then return false end
    if #message >= size then return message:sub(1, size) end
    if there < length then return nil, at + math.min(length, size - before) end
    at = at + length
  end
  return false
end

--- The client hello in the records that begin here, a view or a string; false when there is none; nil while there is
-- more to come, and how many bytes have to be there before it is worth looking again.
local function in_records(bytes)
  local length, size = bytes:u16(3), 4 + (bytes:u24(6) or LONGEST)
  local is_in_one = bytes:u8(0) == HANDSHAKE and bytes:u8(1) == 3 and bytes:u8(5) == CLIENT_HELLO
    and length <= LONGEST and size <= length
  local message = is_in_one and bytes:sub(RECORD_HEADER, size)
  if message then return message end
  return put_together(bytes)
end

local function collect_tcp(self, stream, packet)
  local place = stream % self.count
  local there = self.pool:segment(stream, packet)
  if not there then return 0 end
  if there < self.wanted[place] then return stream end
  local view = self.pool:view(stream)
  local message, wanted = false, nil
  if may_begin(view) then message, wanted = in_records(view) end
  if message then return found(self, stream, message, "tcp") end
  if message == false then return give_up(self, stream) end
  self.wanted[place] = wanted
  return stream
end

local function look_tcp(self, state, packet, bytes)
  if state > 0 then
    if packet.direction ~= self.directions[state % self.count] then return state end
    return collect_tcp(self, state, packet)
  end
  local left, origin = waits_for(state)
  local sequence = reassembly.sequence(packet)
  local is_clients = origin >= 0 and packet.direction == 0
  local ahead = is_clients and reassembly.distance(sequence, origin) or 0
  if ahead < 0 then return state end -- probes whether the connection is alive
  if ahead > 0 and ahead < LONGEST then return collect_tcp(self, open(self, packet, origin), packet) end
  if may_begin(bytes) then
    local message = in_records(bytes)
    if message then return found(self, 0, message, "tcp") end
    if message == nil then return collect_tcp(self, open(self, packet, sequence), packet) end
  end
  return waiting(left - 1, is_clients and -1 or origin)
end

local function collect_quic(self, state, packet, bytes)
  local stream = state > 0 and state or nil
  local id = stream and self.ids[stream % self.count] or self.id
  if not stream then id.size = 0 end
  local size = C.nf_quic_client_initial(self.quic, bytes.data, #bytes, id, self.frames, LONGEST_DATAGRAM)
  if size == 0 then return state end
  if not stream then
    stream = open(self, packet)
    self.ids[stream % self.count] = id
  end
  self.frame.next = 0
  while C.nf_quic_next_crypto(self.frames, size, self.frame) do
    if not self.pool:add(stream, self.frame.offset, new_view(self.frame.data, self.frame.size)) then return 0 end
  end
  local view = self.pool:view(stream)
  local length = view:u24(1)
  if not length then return stream end
  if view:u8(0) ~= CLIENT_HELLO or length + 4 > LONGEST then return give_up(self, stream) end
  if length + 4 > #view then return stream end
  return found(self, stream, view:sub(0, length + 4), "quic")
end

local function collect_dtls(self, state, packet, bytes)
  local stream = state > 0 and state or nil
  local at = 0
  while bytes:u8(at) == HANDSHAKE and bytes:u8(at + 1) == 0xfe and bytes:u16(at + 3) == 0 do -- not encrypted yet
    local length = bytes:u16(at + 11)
    local record = length and bytes:sub(at + DTLS_RECORD_HEADER, length)
    local size, sequence = record and record:u24(1), record and record:u16(4)
    local fragment = record and record:u24(9) and record:sub(DTLS_MESSAGE_HEADER, record:u24(9))
    if not fragment or record:u8(0) ~= CLIENT_HELLO or size > LONGEST then break end
    if not stream then
      stream = open(self, packet)
      self.sequences[stream % self.count] = sequence
    end
    if self.sequences[stream % self.count] == sequence then
      local there = self.pool:add(stream, record:u24(6), fragment)
      if not there then return 0 end
      if there >= size then
        local message = record:string(0, 4) .. self.pool:view(stream):string(0, size)
        return found(self, stream, message, "dtls")
      end
    end
    at = at + DTLS_RECORD_HEADER + length
  end
  return stream or state
end

local function look_udp(self, state, packet, bytes)
  if state > 0 and packet.direction ~= self.directions[state % self.count] then return state end
  local first, after, made = bytes:u8(0), state, nil
  if first >= 0xc0 then
    after, made = collect_quic(self, state, packet, bytes)
  elseif first == HANDSHAKE then
    after, made = collect_dtls(self, state, packet, bytes)
  end
  if after < 0 then after = waiting(waits_for(after) - 1, -1) end
  return after, made
end

--- What to keep of a flow that begins with this packet, to be given to look with the same packet.
function finder:begin(packet)
  local protocol = packet.protocol
  if protocol ~= TCP and protocol ~= UDP then return 0 end
  local is_first = protocol == TCP and packet.syn == 1 and packet.ack == 0
  return waiting(self.packets, is_first and reassembly.sequence(packet) or -1)
end

--- Looks for the hello in a packet.
-- @param state what the flow keeps; 0 when there is no need to ask any more
-- @return what to keep from now on; and with the packet that completes a hello, what `read` makes of it
function finder:look(state, packet)
  if state == 0 then return 0 end
  local bytes = packet.payload_bytes
  if #bytes == 0 then return state end
  if packet.protocol == TCP then return look_tcp(self, state, packet, bytes) end
  return look_udp(self, state, packet, bytes)
end

--- Gives back what a flow holds; to be called when it ends.
function finder:close(state)
  self.pool:close(state)
end

--- How many hellos have been given up, begun and not complete, to make place for others.
function finder:displaced() return self.before + (self.pool and self.pool:counts().displaced or 0) end

--- Joins what another meter's finder has counted, as a plugin's `merge` gets it.
function finder:merge(other) self.before = self.before + other:displaced() end

--- Says on stderr if any have been, as a plugin's `cleanup` should.
function finder:warn(plugin)
  local count = self:displaced()
  if count == 0 then return end
  report.say(("%s: client hellos given up, more having come in part at once than there is room for: %d")
    :format(tostring(plugin), count))
end

return tls
