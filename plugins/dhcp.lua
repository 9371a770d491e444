--- What a DHCP client says of itself: names, classes, what it asks for.
--
-- NFStream's DHCP, for flows over IPv4 and UDP whose destination port is 67 (RFC 2131; options: RFC 2132, RFC 3004).
-- Host name, message size, vendor class and user class are those of the last message that has them. Requested address,
-- parameter list, option codes, own address and the vendor part of the MAC are those of the last REQUEST. The message
-- type is the first message's, in NFStream's words: MsgType.DISCOVER; 0 for BOOTP, which has none; a number behind the
-- dot where there is no word. A flow ends with DECLINE, ACK, NACK and INFORM, and with each message of a flow that
-- began with source 0.0.0.0, since all clients without an address share it.
--
-- Where NFStream has None or an empty list, text is empty and dhcp_57 is 0; lists are numbers parted by commas. Texts
-- end at a zero byte. Of a message that ends early, complete options count.
--
-- @usage nfengine flows --plugin dhcp --n-dissections=0 \
--   --columns=src_ip,udps.dhcp_12,udps.dhcp_55,udps.dhcp_57,udps.dhcp_msg_type samples/dhcp.pcap
-- @output
-- src_ip,udps.dhcp_12,udps.dhcp_55,udps.dhcp_57,udps.dhcp_msg_type
-- "0.0.0.0","phone","",576,"MsgType.DISCOVER"
-- "0.0.0.0","phone","1,3,6,12,15,28,42",576,"MsgType.REQUEST"
-- "0.0.0.0","laptop","",0,"MsgType.DISCOVER"
-- ...

local nf = require "nfengine"

local MAGIC = 0x63825363  -- before the options, at byte 236
local OPTIONS = 240
local PAD, END = 0, 255   -- options without a length
local REQUEST, DECLINE, ACK, NACK, INFORM = 3, 4, 5, 6, 8
local LIST = 128          -- bytes for a list of numbers

-- Message types from 1 on: RFC 2132, section 9.6; from 9 on as IANA has them. A text, since a table that hooks use
-- would count as state that meters cannot share.
local TYPES = [[DISCOVER OFFER REQUEST DECLINE ACK NACK RELEASE INFORM FORCERENEW LEASEQUERY LEASEUNASSIGNED
  LEASEUNKNOWN LEASEACTIVE BULKLEASEQUERY LEASEQUERYDONE ACTIVELEASEQUERY LEASEQUERYSTATUS TLS]]

local function type_name(kind)
  if kind == 0 then return "0" end
  local number = 0
  for name in TYPES:gmatch "%u+" do
    number = number + 1
    if number == kind then return ("MsgType.%s"):format(name) end
  end
  return ("MsgType.%d"):format(kind)
end

-- The next option at this offset or behind it: code, where its value lies, its size; nil at the end.
local function next_option(message, at)
  local code = message:u8(at)
  while code == PAD do
    at = at + 1
    code = message:u8(at)
  end
  local size = code and code ~= END and message:u8(at + 1)
  if size and at + 2 + size <= #message then return code, at + 2, size end
end

-- Where the value of an option lies, and its size; nil without it.
local function find_option(message, wanted)
  local code, at, size = next_option(message, OPTIONS)
  while code and code ~= wanted do code, at, size = next_option(message, at + size) end
  return at, size
end

-- A list with one more number, if there is room.
local function with(list, number)
  local longer = (list == "" and "%s%d" or "%s,%d"):format(list, number)
  return #longer <= LIST and longer or list
end

local function codes(message)
  local list = ""
  local code, at, size = next_option(message, OPTIONS)
  while code do
    list = with(list, code)
    code, at, size = next_option(message, at + size)
  end
  return list
end

local function numbers(message, at, size)
  local list = ""
  for i = at, at + size - 1 do list = with(list, message:u8(i)) end
  return list
end

local function address(message, at)
  return ("%d.%d.%d.%d"):format(message:u8(at), message:u8(at + 1), message:u8(at + 2), message:u8(at + 3))
end

local function text(message, code, before)
  local at, size = find_option(message, code)
  return at and message:string(at, size) or before
end

local function note_request(message, udps)
  local requested, size = find_option(message, 50)
  if requested and size == 4 then udps.dhcp_50 = address(message, requested) end
  local list, count = find_option(message, 55)
  if list then udps.dhcp_55 = numbers(message, list, count) end
  udps.dhcp_options = codes(message)
  if message:u32(12) ~= 0 then udps.dhcp_addr = address(message, 12) end -- ciaddr
  udps.dhcp_oui = ("%02x:%02x:%02x"):format(message:u8(28), message:u8(29), message:u8(30)) -- chaddr
end

local function note(message, flow)
  local udps = flow.udps
  local at, size = find_option(message, 53)
  local kind = at and size > 0 and message:u8(at) or 0
  if udps.dhcp_msg_type == "" then udps.dhcp_msg_type = type_name(kind) end
  udps.dhcp_12 = text(message, 12, udps.dhcp_12)
  udps.dhcp_60 = text(message, 60, udps.dhcp_60)
  udps.dhcp_77 = text(message, 77, udps.dhcp_77)
  at, size = find_option(message, 57)
  if at and size == 2 then udps.dhcp_57 = message:u16(at) end
  if kind == REQUEST then note_request(message, udps) end
  if kind == DECLINE or kind == ACK or kind == NACK or kind == INFORM or flow.src_ip == "0.0.0.0" then
    flow.expiration_id = -1
  end
end

local function look(_, packet, flow)
  if flow.dst_port == 67 and flow.protocol == 17 and flow.ip_version == 4 then
    local message = packet.payload_bytes
    if message:u32(236) == MAGIC then note(message, flow) end
  end
end

return nf.plugin {
  name        = "dhcp",
  version     = "1.0.0",
  api         = 1,
  description = "What DHCP clients say of themselves",
  author      = "the nfengine authors",
  license     = "MIT",
  categories  = { "feature", "dhcp", "udp", "payload", "compat", "safe" },
  columns     = {
    { "dhcp_12", "string", "host name" },
    { "dhcp_50", "string:15", "requested address" },
    { "dhcp_55", "string:" .. LIST, "codes of the options that a REQUEST asks for, parted by commas",
      is_identifying = false },
    { "dhcp_57", "uint16", "largest DHCP message the client takes, bytes; 0 where it did not say" },
    { "dhcp_60", "string", "vendor class", is_identifying = false },
    { "dhcp_77", "string", "user class, as it was sent" },
    { "dhcp_options", "string:" .. LIST, "codes of the options that a REQUEST carries, parted by commas",
      is_identifying = false },
    { "dhcp_addr", "string:15", "address that the client of a REQUEST has already" },
    { "dhcp_msg_type", "string:24", "type of the first message", is_identifying = false },
    { "dhcp_oui", "string:8", "vendor part of the MAC address that a REQUEST names" },
  },
  on_init     = look,
  on_update   = look,
}
