--- Follows HTTP/1 connections (RFC 9112): requests, and which response belongs to each.
--
--   state     = { { "mine_http", "double" } },
--   setup     = function(self) self.connections = http.follower(function(exchange, flow) … end) end,
--   on_init, on_update = function(self, packet, flow)
--     flow.udps.mine_http = self.connections:look(flow.udps.mine_http, packet, flow)
--   end,
--   on_expire = function(self, flow) self.connections:close(flow.udps.mine_http, flow) end,
--
-- Any port is looked at, in both directions. A connection begins with its SYN, or where a segment begins with the first
-- line of a request or a response. Messages may be cut into segments in any way. Lines of heads are read one by one;
-- of each the first 16,384 bytes are looked at, and of a value the first 2,000 are kept. Bodies are passed over: what
-- the capture has lost of them does no harm. Where a part of a head or of a chunk's size was lost, the message ends,
-- and the next one is looked for where a segment begins.
--
-- What is told of an exchange, when it is over:
--
--   time, answered        of the request's first byte and of the response's, in µs since 1970; nil without one
--   sent                  when the request's last byte came, or, where that was later, the last one before the response
--   client                direction of the client, 0 or 1
--   method, target, host, agent
--                         of the request; nil where it was not seen, the latter two also where it has none
--   status, type          of the response: a number, and a media type without its parameters; nil where there was none
--   request_size, response_size
--                         bytes of the bodies as they were transferred: of Content-Length what came, what chunks hold,
--                         or what came until the connection's end; nil where nobody knows
--   is_complete           whether request and response were seen to their ends
--
-- Interim responses (100 Continue) are passed over. Behind a CONNECT that succeeds and 101 Switching Protocols there is
-- another protocol: the connection is not looked at any more. A response belongs to the oldest request that waits for
-- one, unless the server had not got that when it sent the response, by its acknowledgement number. 100 requests may
-- wait in a connection; with one more the oldest is told.

local reader = require "nfengine.protocols.reader"
local reassembly = require "nfengine.protocols.reassembly"

local http = {}

local TCP = 6
local LONGEST_LINE = 16384
local LONGEST_VALUE = 2000
local LONGEST_CHUNK_LINE = 1024
local LONGEST_NUMBER = { [10] = 15, [16] = 12 } -- digits, by base, of what a Lua number holds exactly
local MOST_WAITING = 100
local FAR = 2 ^ 52 -- bytes that nobody gets to

-- What a flow keeps. Above 0: a connection's number. From -2 on downwards: -2 - the sequence number at which direction
-- 0 begins. Otherwise:
local UNKNOWN, OVER = 0, -1

-- ---- lines ----

--- Whether a message may begin so, with a method or with HTTP/.
local function may_begin(bytes)
  for i = 0, math.min(#bytes, 4) - 1 do
    local byte = bytes:u8(i)
    local is_letter = byte >= 65 and byte <= 90
    local is_other = byte == 32 or byte == 45 or byte == 47 or byte == 95 -- " ", "-", "/", "_"
    if not is_letter and (i == 0 or not is_other) then return false end
  end
  return true
end

local function without_end(line) return line:byte(-1) == 13 and line:sub(1, -2) or line end

--- What a first line says, or nil where it is none. `is_cut`: it goes on.
local function first_line(line, is_cut)
  local status = line:match "^HTTP/1%.%d (%d%d%d)%f[%D]"
  if status then return { status = tonumber(status) } end
  local method, target = line:match(is_cut and "^(%u[%u%d_-]*) ([/*h].*)$" or "^(%u[%u%d_-]*) (.+) HTTP/1%.%d *$")
  if method and #method <= 32 then return { method = method, target = target:sub(1, LONGEST_VALUE) } end
end

--- Whether a segment begins with a first line.
local function begins_message(bytes)
  if #bytes < 12 or not may_begin(bytes) then return false end
  local text = bytes:string(0, math.min(#bytes, LONGEST_LINE))
  local line = text:match "^([^\n]*)\n"
  if line then return first_line(without_end(line)) ~= nil end
  return text:match "^%u[%u_-]+ /[\33-\126]*$" ~= nil -- it goes on in the next segment
end

local function number_of(digits, base) return #digits <= LONGEST_NUMBER[base] and tonumber(digits, base) or nil end

-- What is kept of heads, by name.
local fields = {}

fields["host"] = function(head, value) head.host = head.host or value end
fields["user-agent"] = function(head, value) head.agent = head.agent or value end
fields["expect"] = function(head, value) head.waits = value:lower() == "100-continue" end
fields["content-type"] = function(head, value) head.type = head.type or value:match "^[^;]*%f[%s;%z]" or "" end

fields["content-length"] = function(head, value) -- the same one again is as good as one: RFC 9110, section 8.6
  for part in (value .. ","):gmatch "([^,]*)," do
    local length = number_of(part:match "^%s*(%d+)%s*$" or "?", 10)
    head.is_broken = head.is_broken or not length or head.length and head.length ~= length
    head.length = length
  end
end

fields["transfer-encoding"] = function(head, value)
  local last = value:lower():match "[^,%s]*$"
  head.coding = last ~= "identity" and last or nil
end

--- The line that was taken last is whole: no other continues it.
local function end_field(head)
  local field = head.name and fields[head.name]
  if field then field(head, head.value) end
  head.name = nil
end

local function take_line(head, line)
  line = line:sub(1, LONGEST_VALUE + 64) -- with its name
  local more = head.name and line:match "^[ \t]+(.*)"
  if more then -- obs-fold: RFC 9112, section 5.2
    head.value = (head.value .. " " .. more):sub(1, LONGEST_VALUE)
    return
  end
  end_field(head)
  local name, value = line:match "^([^%s:]+)[ \t]*:[ \t]*(.*)"
  if name then head.name, head.value = name:lower(), (value:match "^.*%S" or ""):sub(1, LONGEST_VALUE) end
end

-- ---- exchanges ----

local follower = {}
follower.__index = follower

local function tell(self, exchange)
  if exchange.is_told then return end
  exchange.is_told = true
  self.done(exchange, self.flow)
end

--- Tells of an exchange whose two messages are over.
local function tell_if_over(self, connection, exchange)
  if not (exchange.has_request_end and exchange.has_response_end) then return end
  exchange.is_complete = not exchange.is_broken
  if connection.orphan ~= exchange then tell(self, exchange) end
end

--- A response without a request is held back for a while, since that may only have been captured late.
local function tell_orphan(self, connection)
  local orphan = connection.orphan
  connection.orphan = nil
  if orphan and orphan.has_response_end then tell(self, orphan) end
end

--- Bytes of a side's body that have come.
local function body_size(side)
  if side.is_rest then return side.reached - side.data_end end
  return side.size and side.size - math.max(0, side.data_end - side.reached)
end

--- The message that a side reads is over.
local function end_message(self, connection, side, is_whole)
  local exchange, size = side.exchange, body_size(side)
  if side.is_rest then self.readers:lose(side) end -- should there be more nevertheless
  side.exchange, side.head, side.size, side.is_sized, side.is_rest, side.began = nil, nil, nil, false, false, nil
  side.step = self.steps.start
  if not exchange then return end
  if side.is_request then
    exchange.request_size, exchange.has_request_end = size, true
  else
    exchange.response_size, exchange.has_response_end = size, true
  end
  exchange.is_broken = exchange.is_broken or not is_whole
  tell_if_over(self, connection, exchange)
end

local function end_if_come(self, connection, side)
  if side.is_sized and side.reached >= side.data_end then end_message(self, connection, side, true) end
end

--- Tells an exchange what a side's head says of it.
local function note_head(side)
  local head, exchange = side.head, side.exchange
  end_field(head)
  if not exchange then return end -- an interim response
  if side.is_request then
    exchange.host, exchange.agent = head.host, head.agent
  else
    exchange.type = head.type
  end
end

--- What a side's next message is and where that begins is not known.
local function lose(self, connection, side)
  self.readers:lose(side)
  if side.step == self.steps.head then note_head(side) end
  end_message(self, connection, side, false)
  side.has_missed = true
end

local function begin(self, side, sequence)
  self.readers:begin(side, sequence)
  side.fin = nil
end

--- Tells all that a connection still has.
local function end_connection(self, connection)
  for direction = 0, 1 do -- responses that have begun belong to requests before those that wait
    local side = connection[direction]
    local exchange = not side.is_request and side.exchange
    if exchange then
      end_message(self, connection, side, false)
      if exchange ~= connection.orphan then tell(self, exchange) end
    end
  end
  tell_orphan(self, connection)
  for direction = 0, 1 do
    local side = connection[direction]
    local exchange = side.exchange
    if exchange then end_message(self, connection, side, false) end
    for _, waiting in ipairs(side.waiting) do tell(self, waiting) end
    side.waiting = {}
    if exchange then tell(self, exchange) end
  end
end

local function begin_request(self, connection, side, head)
  local start = (side.sequence - (side.reached - side.place)) % 2 ^ 32
  local orphan = connection.orphan
  local is_answered = orphan and orphan.acknowledged and reassembly.distance(orphan.acknowledged, start) > 0
  if not is_answered then tell_orphan(self, connection) end
  local exchange = is_answered and orphan or {}
  if is_answered then connection.orphan = nil end
  exchange.client, exchange.start, exchange.method, exchange.target = side.direction, start, head.method, head.target
  exchange.time, exchange.sent, exchange.has_request_end = side.began, self.now, false
  side.exchange, side.is_request = exchange, true
  if is_answered then return end
  if #side.waiting == MOST_WAITING then tell(self, table.remove(side.waiting, 1)) end
  table.insert(side.waiting, exchange)
end

--- The request that a response belongs to, or nil. Where responses have been missed it is the latest that can be.
local function request_for(self, connection, side, acknowledged)
  local waiting, found = connection[1 - side.direction].waiting, nil
  while waiting[1] and (not acknowledged or reassembly.distance(acknowledged, waiting[1].start) > 0) do
    if found then tell(self, found) end
    found = table.remove(waiting, 1)
    if not side.has_missed then break end
  end
  side.has_missed = false
  return found
end

--- A client that waited for 100 Continue, and got a final response before it sent anything, may leave the body out.
local function leave_out_body(self, connection, exchange)
  local side = connection[exchange.client]
  if side.exchange ~= exchange or not (side.head and side.head.waits) or not side.is_sized then return end
  local body = side.data_end - side.size
  if side.reached > body then return end
  side.place, side.size, side.data_end = body, 0, body
  end_message(self, connection, side, true)
end

local function begin_response(self, connection, side, head, packet)
  side.is_request, side.exchange = false, nil
  if head.status < 200 and head.status ~= 101 then return end
  tell_orphan(self, connection)
  local acknowledged = packet.ack == 1 and packet.transport_bytes:u32(8) or nil
  local exchange = request_for(self, connection, side, acknowledged)
  if not exchange then
    exchange = { client = 1 - side.direction, has_request_end = true, acknowledged = acknowledged }
    connection.orphan = exchange
  end
  exchange.status, exchange.answered = head.status, side.began
  side.exchange = exchange
  if exchange.method then leave_out_body(self, connection, exchange) end
end

-- ---- bodies: RFC 9112, section 6 ----

-- Each begins at `at`, and answers how many bytes there are to pass over.

local function no_body(self, connection, side)
  side.size, side.data_end = 0, 0
  end_message(self, connection, side, true)
  return 0
end

local function body_of_length(self, connection, side, at)
  local length = side.head.length
  if length == 0 then return no_body(self, connection, side) end
  side.size, side.data_end, side.is_sized, side.step = length, at + length, true, self.steps.start
  return length
end

local function body_in_chunks(self, _, side, at)
  side.size, side.data_end, side.step = 0, at, self.steps.chunk
  return 0
end

local function body_until_end(_, _, side, at)
  side.data_end, side.is_rest = at, true
  return FAR
end

local function begin_body(self, connection, side, at)
  note_head(side)
  local head, exchange = side.head, side.exchange
  if not exchange then return no_body(self, connection, side) end -- an interim response
  if not side.is_request then
    local status, method = head.status, exchange.method
    connection.is_over = status == 101 or method == "CONNECT" and status < 300
    if connection.is_over or method == "HEAD" or status == 204 or status == 304 then
      return no_body(self, connection, side)
    end
  end
  if head.coding == "chunked" then return body_in_chunks(self, connection, side, at) end
  if head.is_broken or side.is_request and head.coding then return lose(self, connection, side) end
  if head.length and not head.coding then return body_of_length(self, connection, side, at) end
  if side.is_request then return no_body(self, connection, side) end
  return body_until_end(self, connection, side, at)
end

-- ---- reading ----

-- Each step takes a view of what stands at the side's place, and answers how many bytes are done with; nil when it has
-- to wait for more, or has lost the place.
local steps = {}
follower.steps = steps

function steps.start(self, connection, side, bytes, packet)
  end_if_come(self, connection, side) -- what comes behind a body has come
  local text = bytes:string(0, math.min(#bytes, LONGEST_LINE))
  local blank = text:match "^[\r\n]+" -- RFC 9112, section 2.2
  if blank then return #blank end
  side.began = side.began or self.now
  local line, behind = text:match "^([^\n]*)\n()"
  local is_cut = #text == LONGEST_LINE or self.readers:ends_in_hole(side)
  if not line and not is_cut and may_begin(bytes) then return nil end
  local head = (line or is_cut) and first_line(without_end(line or text), not line)
  if not head then return lose(self, connection, side) end
  side.head, side.step, side.is_in_line = head, steps.head, not line
  if head.method then begin_request(self, connection, side, head)
  else begin_response(self, connection, side, head, packet) end
  return line and behind - 1 or #text
end

function steps.head(self, connection, side, bytes)
  local text, at = bytes:string(), 1
  while true do
    local stop = text:find("\n", at, true)
    if not stop then
      if at > 1 then return at - 1 end -- and then again with the rest
      if #text < LONGEST_LINE and not side.is_in_line then return nil end
      if not side.is_in_line then take_line(side.head, text) end
      side.is_in_line = true
      return #text
    end
    local line = without_end(text:sub(at, stop - 1))
    at = stop + 1
    if side.is_in_line then
      side.is_in_line = false
    elseif line == "" then
      local body = begin_body(self, connection, side, side.place + at - 1)
      return body and at - 1 + body
    else
      take_line(side.head, line)
    end
  end
end

function steps.chunk(self, connection, side, bytes)
  local text = bytes:string(0, math.min(#bytes, LONGEST_CHUNK_LINE))
  local digits, behind = text:match "^(%x+)[^\n]*\n()"
  if not digits and #text < LONGEST_CHUNK_LINE and text:match "^%x+[^\n]*$" then return nil end
  local size = digits and number_of(digits, 16)
  if not size then return lose(self, connection, side) end
  if size == 0 then
    side.step = steps.trailer
    return behind - 1
  end
  side.size, side.data_end = side.size + size, side.place + behind - 1 + size
  return behind - 1 + size + 2 -- and the line's end behind it
end

function steps.trailer(self, connection, side, bytes)
  local text = bytes:string()
  local line, behind = text:match "^([^\n]*)\n()"
  if not line then return #text == LONGEST_LINE and #text or nil end
  if without_end(line) == "" then end_message(self, connection, side, true) end
  return behind - 1
end

--- Whether a side waits for what its other end has already: the capture has lost it.
local function is_overtaken(self, side)
  local missing = side.place and side.acknowledged and self.readers:gap(side)
  return missing and reassembly.distance(side.acknowledged, missing) > 0
end

--- Takes what a packet brings of a side's messages.
local function take(self, connection, side, packet)
  local exchange = side.is_request and side.exchange
  local is_new = not side.sequence or self.readers:end_of(side, packet) > side.reached
  if exchange and is_new and not exchange.answered then exchange.sent = self.now end
  local bytes = self.readers:feed(side, packet)
  if not bytes and is_overtaken(self, side) and begins_message(packet.payload_bytes) then
    lose(self, connection, side)
  end
  if not side.place then
    if side.began then lose(self, connection, side) end
    if not is_new or not begins_message(packet.payload_bytes) then return end
    begin(self, side, reassembly.sequence(packet))
    bytes = self.readers:feed(side, packet)
  end
  while bytes do
    local count = side.step(self, connection, side, bytes, packet)
    if not count or connection.is_over then break end
    bytes = self.readers:pass(side, count)
  end
  end_if_come(self, connection, side)
end

--- A FIN ends what goes on until the end, a RST everything.
local function take_end(self, connection, side, packet)
  if packet.fin == 1 and side.sequence then side.fin = self.readers:end_of(side, packet) end
  if side.is_rest and side.fin and side.reached >= side.fin then end_message(self, connection, side, true) end
  if packet.rst == 1 then end_connection(self, connection) end
end

-- ---- connections ----

local function new_side(self, direction)
  local side = self.readers:side()
  side.direction, side.step, side.waiting, side.has_missed = direction, steps.start, {}, false
  return side
end

--- A connection that this packet is of, whose direction begins at `sequence`. The other one begins at `origin`, where
-- that is known, else at what the packet acknowledges.
local function open(self, packet, sequence, origin)
  local connection = { [0] = new_side(self, 0), [1] = new_side(self, 1) }
  begin(self, connection[packet.direction], sequence)
  origin = origin or packet.ack == 1 and packet.transport_bytes:u32(8)
  if origin then begin(self, connection[1 - packet.direction], origin) end
  self.opened = self.opened + 1
  self.connections[self.opened] = connection
  return self.opened
end

--- A connection's number where one begins with this packet, else the state as it is from now on.
local function recognise(self, state, packet)
  local bytes, sequence = packet.payload_bytes, reassembly.sequence(packet)
  local origin = state < OVER and -2 - state or nil
  if origin and packet.direction == 0 then
    local ahead = reassembly.distance(sequence, origin)
    if ahead < 0 then return state end
    local is_first = ahead == 0 and #bytes > 0 and may_begin(bytes)
    if is_first or ahead > 0 and ahead < LONGEST_LINE then return open(self, packet, origin) end
    state, origin = UNKNOWN, nil
  end
  return begins_message(bytes) and open(self, packet, sequence, origin) or state
end

--- A client's SYN: another one than before begins a connection anew.
local function begin_anew(self, state, packet, flow)
  local origin = reassembly.sequence(packet)
  local connection = self.connections[state]
  if connection and connection.origin == origin then return state end
  if connection then self:close(state, flow) end
  return packet.direction == 0 and -2 - origin or UNKNOWN
end

--- A follower of connections, to be made in setup.
-- @param done called as done(exchange, flow) for each exchange that is over
-- @param options `streams` (1024): heads at once that have come in part
function http.follower(done, options)
  local readers = reader.pool { streams = options and options.streams or 1024, bytes = LONGEST_LINE }
  return setmetatable({ done = done, readers = readers, connections = {}, opened = 0, now = 0 }, follower)
end

--- Looks at a packet.
-- @param state what the flow keeps; 0 at first
-- @return what to keep from now on
function follower:look(state, packet, flow)
  if state == OVER then return OVER end
  if packet.protocol ~= TCP then return OVER end
  if not reassembly.is_placed(packet) then return state end
  if packet.syn == 1 and packet.ack == 0 then state = begin_anew(self, state, packet, flow) end
  local has_payload = packet.payload_size > 0
  if state <= 0 then
    if not has_payload then return state end
    local origin = state
    state = recognise(self, state, packet)
    if state <= 0 then return state end
    self.connections[state].origin = origin < OVER and -2 - origin or nil
  end
  local connection = self.connections[state]
  local side = connection[packet.direction]
  self.now, self.flow = tonumber(packet.time_ns / 1000ULL), flow
  if packet.ack == 1 then connection[1 - packet.direction].acknowledged = packet.transport_bytes:u32(8) end
  if has_payload then take(self, connection, side, packet) end
  if packet.fin + packet.rst > 0 or side.fin then take_end(self, connection, side, packet) end
  if not connection.is_over then return state end
  self:close(state, flow)
  return OVER
end

--- Tells what a connection still has; to be called when its flow ends.
function follower:close(state, flow)
  local connection = self.connections[state]
  if not connection then return end
  self.flow = flow
  end_connection(self, connection)
  for direction = 0, 1 do self.readers:close(connection[direction]) end
  self.connections[state] = nil
end

--- How many messages were lost: `displaced`, more having come in part at once than there is room for; `gapped`, a part
-- of them not having been captured.
function follower:counts() return self.readers:counts() end

return http
