--- Names that multicast DNS pointed to: the services and hosts that a flow announces.
--
-- NFStream's MDNS: targets of the PTR records in the answer section of DNS messages (RFC 1035, RFC 6762), each once,
-- in the order they were first seen, of flows over IPv4 and UDP whose destination port is 5353. NFStream gives a list;
-- here it is a text in which commas part the names, and which is empty where there are none. Commas within names are
-- spaces, as in NFStream, and so are zero bytes. Questions and the other sections do not count. A name that no longer
-- fits in `length` bytes is left out; a message that ends early counts as far as it goes.
--
-- @usage nfengine flows --plugin mdns --n-dissections=0 --columns=src_ip,dst_ip,udps.mdns_ptr \
--   --filter='flow.udps.mdns_ptr ~= ""' samples/dns.pcap
-- @output
-- src_ip,dst_ip,udps.mdns_ptr
-- "192.0.2.20","224.0.0.251","printer.local,Sample printer._ipp._tcp.local,_ipp._tcp.local"

local nf = require "nfengine"
local dns = require "nfengine.protocols.dns"

local PTR = 12

local function add_name(udps, name, length)
  local names = udps.mdns_ptr
  name = name:gsub("[,%z]", " ")
  for known in names:gmatch "[^,]+" do
    if known == name then return end
  end
  names = names == "" and name or ("%s,%s"):format(names, name)
  if #names <= length then udps.mdns_ptr = names end
end

local function add_answers(message, udps, length)
  local questions, answers = message:u16(4), message:u16(6)
  local at = 12
  for _ = 1, answers and questions or 0 do
    at = dns.skip_name(message, at)
    if not at then return end
    at = at + 4 -- type and class
  end
  for _ = 1, answers or 0 do
    at = dns.skip_name(message, at)
    local size = at and message:u16(at + 8)
    if not size then return end
    local name = message:u16(at) == PTR and dns.labels(message, at + 10)
    if name and name ~= "" then add_name(udps, name, length) end
    at = at + 10 + size -- type, class and time to live come before
  end
end

local function look(self, packet, flow)
  if flow.dst_port == 5353 and flow.protocol == 17 and flow.ip_version == 4 then
    add_answers(packet.payload_bytes, flow.udps, self.length)
  end
end

return nf.plugin {
  name        = "mdns",
  version     = "1.0.0",
  api         = 1,
  description = "Names that multicast DNS answers point to",
  author      = "the nfengine authors",
  license     = "MIT",
  categories  = { "feature", "mdns", "udp", "payload", "compat", "safe" },
  options     = { length = { 500, "bytes for the names of one flow", min = 1, max = 65535, integer = true } },
  columns     = function(options)
    return { { "mdns_ptr", ("string:%d"):format(options.length), "targets of PTR answers, parted by commas" } }
  end,
  on_init     = look,
  on_update   = look,
}
