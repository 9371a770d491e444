--- Reads DNS messages (RFC 1035), multicast DNS and LLMNR among them, and finds which response belongs to which query.
--
--   local dns = require "nfengine.protocols.dns"
--   local message = dns.message(packet.payload_bytes)     -- nil where it is none
--   message.questions[1].name                              --> "www.example.com"
--   message.answers[1].text                                --> "192.0.2.80"
--
--   state     = { { "mine_dns", "double" } },
--   setup     = function(self) self.lookups = dns.follower(function(lookup, flow) … end) end,
--   on_init, on_update = function(self, packet, flow)
--     flow.udps.mine_dns = self.lookups:look(flow.udps.mine_dns, packet, flow)
--   end,
--   on_expire = function(self, flow) self.lookups:close(flow.udps.mine_dns, flow) end,
--
-- Names are shown as RFC 1035, section 5.1 and RFC 4343, section 2.1 have it: labels parted by dots, without one at the
-- end; "." for the root; bytes that are no printable ASCII as \DDD, blanks too, a dot within a label as \. and a
-- backslash as \\. All texts given here are such that a terminal can take them.

local reader = require "nfengine.protocols.reader"
local reassembly = require "nfengine.protocols.reassembly"

local dns = {}

local HEADER = 12
local LONGEST_NAME = 253 -- as text; 255 bytes with length bytes (RFC 1035, section 2.3.4)
local MOST_QUESTIONS = 30
local MOST_ANSWERS = 30
local LONGEST_TEXT = 100 -- of a record's strings, each of them and together, and of its parameters
local MULTICAST_CLASS = 0x7fff -- of a class: above is a bit of multicast DNS' own (RFC 6762, sections 5.4 and 10.2)

-- ---- names ----

--- Where the name at this offset ends; nil when it is cut off or malformed.
function dns.skip_name(message, at)
  local length = message:u8(at)
  while length do
    if length == 0 then return at + 1 end
    if length >= 0xc0 then return at + 2 end
    if length >= 0x40 then return nil end
    at = at + 1 + length
    length = message:u8(at)
  end
end

local function shown_byte(byte) return ("\\%03d"):format(byte:byte()) end

local function shown_label(label) return (label:gsub("[.\\]", "\\%0"):gsub("[^\33-\126]", shown_byte)) end

local function walk_labels(message, at, show)
  local name, size, first = "", 0, at
  for _ = 1, LONGEST_NAME do
    local length = message:u8(at)
    if length == 0 then return name end
    if not length then return nil end
    if length < 0x40 then
      local label = message:string(at + 1, length)
      if not label or size + length >= LONGEST_NAME then return nil end
      size = size == 0 and length or size + 1 + length
      if show then label = show(label) end
      name = name == "" and label or ("%s.%s"):format(name, label)
      at = at + 1 + length
    else
      local pointer = length >= 0xc0 and message:u16(at) -- the two bits above are set
      if not pointer or pointer - 0xc000 >= first then return nil end
      at = pointer - 0xc000
      first = at
    end
  end
end

--- The labels of the name at this offset as they are, parted by dots; nil when it is cut off or malformed. Pointers
-- refer to a prior name (RFC 1035, section 4.1.4), so there are no loops; no more of them are followed than the longest
-- name has bytes.
function dns.labels(message, at) return walk_labels(message, at) end

--- The name at this offset as it is shown, or nil.
function dns.name(message, at)
  local name = walk_labels(message, at, shown_label)
  return name == "" and "." or name
end

-- ---- numbers by name: IANA's DNS parameters ----

local function names_of(text)
  local names = {}
  for number, name in text:gmatch "(%d+) (%S+)" do names[tonumber(number)] = name end
  return names
end

local types = names_of [[1 A 2 NS 5 CNAME 6 SOA 10 NULL 11 WKS 12 PTR 13 HINFO 15 MX 16 TXT 17 RP 18 AFSDB 24 SIG 25 KEY
  28 AAAA 29 LOC 32 NB 33 SRV 35 NAPTR 36 KX 37 CERT 39 DNAME 41 OPT 42 APL 43 DS 44 SSHFP 45 IPSECKEY 46 RRSIG 47 NSEC
  48 DNSKEY 49 DHCID 50 NSEC3 51 NSEC3PARAM 52 TLSA 53 SMIMEA 55 HIP 59 CDS 60 CDNSKEY 61 OPENPGPKEY 62 CSYNC 63 ZONEMD
  64 SVCB 65 HTTPS 99 SPF 108 EUI48 109 EUI64 249 TKEY 250 TSIG 251 IXFR 252 AXFR 255 ANY 256 URI 257 CAA 32769 DLV]]
local classes = names_of "1 IN 3 CH 4 HS 254 NONE 255 ANY"
local opcodes = names_of "0 QUERY 1 IQUERY 2 STATUS 4 NOTIFY 5 UPDATE 6 DSO"
local rcodes = names_of [[0 NOERROR 1 FORMERR 2 SERVFAIL 3 NXDOMAIN 4 NOTIMP 5 REFUSED 6 YXDOMAIN 7 YXRRSET 8 NXRRSET
  9 NOTAUTH 10 NOTZONE 11 DSOTYPENI]]

local function name_or(names, number, otherwise) return names[number] or otherwise .. number end

--- "AAAA", "TYPE1234" (RFC 3597, section 5).
function dns.type_name(number) return name_or(types, number, "TYPE") end

-- ---- what records say ----

local function shown_string(text)
  local shown = text:sub(1, LONGEST_TEXT):gsub('[\\"]', "\\%0"):gsub("[^\32-\126]", shown_byte)
  return '"' .. shown .. (#text > LONGEST_TEXT and '..."' or '"')
end

-- By type: the text of a record's data, which lies at `at` and has `size` bytes, all of them there. Names in it may
-- point to elsewhere. nil where it is malformed.
local readers = {}

local function name_at(offset) return function(message, at) return dns.name(message, at + offset) end end

readers[1] = function(message, at, size) return size == 4 and message:ip(at, 4) or nil end
readers[28] = function(message, at, size) return size == 16 and message:ip(at, 6) or nil end
readers[2], readers[5], readers[12], readers[39] = name_at(0), name_at(0), name_at(0), name_at(0)

readers[6] = function(message, at) -- SOA: whose, and its serial number
  local owner = dns.name(message, at)
  local mail_at = dns.skip_name(message, at)
  local mail, serial_at = mail_at and dns.name(message, mail_at), mail_at and dns.skip_name(message, mail_at)
  local serial = serial_at and message:u32(serial_at)
  return owner and mail and serial and ("%s %s %.0f"):format(owner, mail, serial)
end

readers[15] = function(message, at, size)
  local name = size > 2 and dns.name(message, at + 2)
  return name and ("%d %s"):format(message:u16(at), name)
end

readers[16] = function(message, at, size)
  local parts, length, stop = {}, 0, at + size
  while at < stop and length < LONGEST_TEXT do
    local text = message:u8(at) < stop - at and message:string(at + 1, message:u8(at))
    if not text then return nil end
    parts[#parts + 1] = shown_string(text)
    length, at = length + #text, at + 1 + #text
  end
  return table.concat(parts, " ") .. (at < stop and " ..." or "")
end
readers[99] = readers[16]

readers[33] = function(message, at, size)
  local name = size > 6 and dns.name(message, at + 6)
  return name and ("%d %d %d %s"):format(message:u16(at), message:u16(at + 2), message:u16(at + 4), name)
end

-- SVCB and HTTPS: RFC 9460, section 2.2. Of the parameters those that many have are told.
local parameters = {}

parameters[1] = function(value) -- alpn
  local names, at = {}, 0
  while at < #value do
    local name = value:string(at + 1, value:u8(at))
    if not name then return nil end
    names[#names + 1] = shown_label(name)
    at = at + 1 + #name
  end
  return "alpn=" .. table.concat(names, ",")
end

parameters[3] = function(value) return value:u16(0) and "port=" .. value:u16(0) end

local function hints(name, version, width)
  return function(value)
    local list = {}
    for at = 0, #value - width, width do list[#list + 1] = value:ip(at, version) end
    return name .. "=" .. table.concat(list, ",")
  end
end

parameters[4], parameters[6] = hints("ipv4hint", 4, 4), hints("ipv6hint", 6, 16)

readers[64] = function(message, at, size)
  local stop, name = at + size, size > 2 and dns.name(message, at + 2)
  local text = name and ("%d %s"):format(message:u16(at), name)
  at = name and dns.skip_name(message, at + 2)
  while at and at < stop and #text < LONGEST_TEXT do
    local key, length = message:u16(at), message:u16(at + 2)
    local value = length and at + 4 + length <= stop and message:sub(at + 4, length)
    if not value then return nil end
    text = text .. " " .. (parameters[key] and parameters[key](value) or "key" .. key)
    at = at + 4 + length
  end
  return text
end
readers[65] = readers[64]

local function record_text(message, kind, at, size)
  local read = readers[kind]
  if not read then return ("(%d bytes)"):format(size) end
  return read(message, at, size) or "(malformed)"
end

-- ---- messages ----

local function read_questions(message, at, count, questions)
  for i = 1, math.min(count, MOST_QUESTIONS) do
    local name, behind = dns.name(message, at), dns.skip_name(message, at)
    local class = name and message:u16(behind + 2)
    if not class then return nil end
    questions[i] = {
      name = name, type = dns.type_name(message:u16(behind)),
      class = name_or(classes, class % (MULTICAST_CLASS + 1), "CLASS"),
    }
    at = behind + 4
  end
  return count <= MOST_QUESTIONS and at or nil
end

local function read_answers(message, at, count, answers)
  for i = 1, math.min(count, MOST_ANSWERS) do
    local behind = dns.skip_name(message, at)
    local size = behind and message:u16(behind + 8)
    local data = behind and behind + 10
    if not size or data + size > #message then return i - 1 end
    local kind = message:u16(behind)
    answers[i] = {
      name = dns.name(message, at) or "(malformed)", type = dns.type_name(kind),
      text = record_text(message, kind, data, size),
    }
    at = data + size
  end
  return #answers
end

local function flag(flags, weight) return math.floor(flags / weight) % 2 == 1 end

--- Reads a message.
-- @param message a view, as packets have them
-- @return nil where it is none, else
--   id, is_response, is_truncated
--   opcode, rcode   texts: "QUERY", "NXDOMAIN"
--   questions       a list of name, type, class; 30 at most
--   answers         a list of name, type, text; 30 at most
--   more_answers    how many there are besides, or were cut off
function dns.message(message)
  local flags, counted = message:u16(2), message:u16(4)
  if #message < HEADER then return nil end
  local opcode = math.floor(flags / 2048) % 16
  if opcode > 6 then return nil end
  local questions, answers = {}, {}
  local at = read_questions(message, HEADER, counted, questions)
  if counted > 0 and not questions[1] then return nil end
  local answer_count = message:u16(6)
  local read = at and read_answers(message, at, answer_count, answers) or 0
  return {
    id = message:u16(0), is_response = flag(flags, 32768), is_truncated = flag(flags, 512),
    opcode = name_or(opcodes, opcode, "OPCODE"), rcode = name_or(rcodes, flags % 16, "RCODE"),
    questions = questions, answers = answers, more_answers = answer_count - read,
  }
end

-- ---- queries and their responses ----

local TCP, UDP = 6, 17
local ROOM = 16384        -- bytes of a message over TCP that are looked at
local MOST_WAITING = 1000

-- What a flow keeps. Above 0: the number of what is known of it. From -2 on downwards: -2 - the sequence number at
-- which direction 0 begins. Otherwise:
local NEW, OVER = 0, -1

local follower = {}
follower.__index = follower

local function key_of(message)
  local question = message.questions[1]
  if not question then return message.id .. "" end
  return table.concat({ message.id, question.name:lower(), question.type, question.class }, " ")
end

local function earlier(a, b) return a.order < b.order end

--- Those of a flow's lookups that wait, oldest first.
local function in_order(known)
  local list = {}
  for _, lookup in pairs(known.waiting) do list[#list + 1] = lookup end
  table.sort(list, earlier)
  return list
end

local function tell(self, lookup)
  if lookup.is_told then return end
  lookup.is_told = true
  self.done(lookup, self.flow)
end

local function forget(known, lookup)
  if known.waiting[lookup.key] ~= lookup then return end
  known.waiting[lookup.key] = nil
  known.count = known.count - 1
end

local function new_lookup(message, question, client)
  question = question or {}
  return {
    client = client, id = message.id, opcode = message.opcode, name = question.name, type = question.type,
    class = question.class, queries = 0,
  }
end

local function take_query(self, known, direction, message)
  local key = key_of(message)
  local lookup = known.waiting[key]
  if lookup and not lookup.is_told then
    lookup.queries = lookup.queries + 1
    return
  end
  if lookup then forget(known, lookup) end
  if known.count == MOST_WAITING then
    local oldest = in_order(known)[1]
    forget(known, oldest)
    tell(self, oldest)
  end
  lookup = new_lookup(message, message.questions[1], direction)
  lookup.key, lookup.order, lookup.time, lookup.queries, lookup.responses = key, known.taken, self.now, 1, 0
  known.taken, known.count, known.waiting[key] = known.taken + 1, known.count + 1, lookup
end

--- The lookup that a response is for. One without a question is for the oldest of its number.
local function lookup_for(known, message)
  local lookup = known.waiting[key_of(message)]
  if lookup or message.questions[1] then return lookup end
  for _, each in ipairs(in_order(known)) do
    if each.id == message.id then
      if not each.is_told then return each end
      lookup = lookup or each
    end
  end
  return lookup
end

local function answer(self, lookup, message)
  lookup.answered, lookup.rcode, lookup.is_truncated = self.now, message.rcode, message.is_truncated
  lookup.answers, lookup.more_answers = message.answers, message.more_answers
  tell(self, lookup)
end

local function take_response(self, known, direction, message)
  local lookup = lookup_for(known, message)
  if not lookup then return answer(self, new_lookup(message, message.questions[1], 1 - direction), message) end
  lookup.responses = lookup.responses + 1
  if not lookup.is_told then answer(self, lookup, message) end
  -- Every query that was sent again may have a response, and a zone comes in many messages.
  local has_more = lookup.responses < lookup.queries or lookup.type == "AXFR" or lookup.type == "IXFR"
  if not has_more then forget(known, lookup) end
end

--- Multicast: who answers, and whom, is in flows of their own. Each message speaks for itself.
local function take_multicast(self, direction, message)
  if message.is_response then
    return answer(self, new_lookup(message, message.questions[1], 1 - direction), message)
  end
  for _, question in ipairs(message.questions) do
    local lookup = new_lookup(message, question, direction)
    lookup.time, lookup.queries = self.now, 1
    tell(self, lookup)
  end
end

local function take(self, known, direction, message)
  if known.is_multicast then take_multicast(self, direction, message)
  elseif message.is_response then take_response(self, known, direction, message)
  else take_query(self, known, direction, message) end
end

--- Whether a segment may begin with a message, for those whose beginning was not seen.
local function may_begin(bytes)
  local size, flags, questions = bytes:u16(0), bytes:u16(4), bytes:u16(6)
  return questions and size >= HEADER and math.floor(flags / 2048) % 16 <= 6 and questions <= 1
end

--- Messages over TCP come behind their size (RFC 1035, section 4.2.2).
local function take_segment(self, known, packet)
  local side = known[packet.direction]
  local bytes = self.readers:feed(side, packet)
  if not side.place and may_begin(packet.payload_bytes) then
    self.readers:begin(side, reassembly.sequence(packet))
    bytes = self.readers:feed(side, packet)
  end
  while bytes do
    local size = bytes:u16(0)
    if not size then return end
    local there = math.min(size + 2, ROOM)
    if #bytes < there then return end
    local message = dns.message(bytes:sub(2, there - 2))
    if not message then
      self.unread = self.unread + 1
      return self.readers:lose(side)
    end
    take(self, known, packet.direction, message)
    bytes = self.readers:pass(side, size + 2)
  end
end

local function take_datagram(self, known, packet)
  local message = dns.message(packet.payload_bytes)
  if message then take(self, known, packet.direction, message) else self.unread = self.unread + 1 end
end

local function open(self, state, packet)
  local known = { waiting = {}, count = 0, taken = 0, [0] = self.readers:side(), [1] = self.readers:side() }
  known.is_multicast = self.multicast[packet.src_port] or self.multicast[packet.dst_port] or false
  if state < OVER then self.readers:begin(known[0], -2 - state) end
  if packet.protocol == TCP and packet.ack == 1 then
    self.readers:begin(known[1 - packet.direction], packet.transport_bytes:u32(8))
  end
  self.opened = self.opened + 1
  self.known[self.opened] = known
  return self.opened
end

local function set_of(list)
  local set = {}
  for _, item in ipairs(list) do set[item] = true end
  return set
end

--- A follower of lookups, to be made in setup.
-- @param done called as done(lookup, flow) for each lookup that is over: with its first response, or, without one, with
--   its flow, or when there are more than 1000 in that that wait. A lookup has
--     time, answered   of the first query and of the response, in µs since 1970; nil without one
--     client           direction of who asks, 0 or 1
--     id, opcode, name, type, class
--                      of the question, the latter three nil without one
--     queries          how often it was asked before there was a response; 0 where no query was seen
--     rcode, answers, more_answers, is_truncated
--                      of the response, as dns.message has them; nil without one
-- @param options `ports` ({ 53 }), of which one has to be the flow's; `multicast`: ports where every message is told by
--   itself, without looking for its response, and each question of a query as a lookup of its own
function dns.follower(done, options)
  options = options or {}
  return setmetatable({
    done = done, unicast = set_of(options.ports or { 53 }), multicast = set_of(options.multicast or {}),
    readers = reader.pool { streams = 256, bytes = ROOM }, known = {}, opened = 0, unread = 0, now = 0,
  }, follower)
end

local function is_wanted(self, packet)
  local from, to = packet.src_port, packet.dst_port
  return (packet.protocol == UDP or packet.protocol == TCP)
    and (self.unicast[from] or self.unicast[to] or self.multicast[from] or self.multicast[to])
end

--- Looks at a packet.
-- @param state what the flow keeps; 0 at first
-- @return what to keep from now on
function follower:look(state, packet, flow)
  if state == OVER or state == NEW and not is_wanted(self, packet) then return OVER end
  if packet.syn == 1 and packet.ack == 0 and packet.direction == 0 and state <= 0 then
    state = -2 - reassembly.sequence(packet)
  end
  if packet.payload_size == 0 or not reassembly.is_placed(packet) then return state end
  if state <= 0 then state = open(self, state, packet) end
  self.now, self.flow = tonumber(packet.time_ns / 1000ULL), flow
  if packet.protocol == TCP then take_segment(self, self.known[state], packet)
  else take_datagram(self, self.known[state], packet) end
  return state
end

--- Tells what a flow's queries still wait for; to be called when it ends.
function follower:close(state, flow)
  local known = self.known[state]
  if not known then return end
  self.flow, self.known[state] = flow, nil
  for _, lookup in ipairs(in_order(known)) do tell(self, lookup) end
  for direction = 0, 1 do self.readers:close(known[direction]) end
end

--- How much could not be read: `unread` messages that were none, `displaced` and `gapped` as in reader.counts.
function follower:counts()
  local counts = self.readers:counts()
  counts.unread = self.unread
  return counts
end

return dns
