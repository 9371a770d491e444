--- What exports as IPFIX take, as nfengine.options declares it; on the command line each has "ipfix_" before its name.

local FOR_DOCUMENTATION = 32473 -- RFC 5612
local DATAGRAM_SIZE = 1400      -- leaves room for IPv6, UDP and a tunnel in an Ethernet frame
local LARGEST_SIZE = 65507

return {
  { name = "enterprise", kind = "integer", min = 1, max = 4294967295, value = "N", default = FOR_DOCUMENTATION,
    doc = "IPFIX: private enterprise number for columns that have no element of IANA's" },
  { name = "domain", kind = "integer", min = 0, max = 4294967295, value = "N", default = 0,
    doc = "IPFIX: observation domain" },
  { name = "message_size", kind = "integer", min = 512, max = LARGEST_SIZE, value = "BYTES", default = DATAGRAM_SIZE,
    doc = "IPFIX over UDP: bytes of a message at most" },
  { name = "refresh", kind = "integer", min = 1, max = 86400, value = "SECONDS", default = 60,
    doc = "IPFIX over UDP: templates are sent again after this long, and after 500 messages" },
  { name = "rate", kind = "integer", min = 0, max = 1000000, value = "MESSAGES", default = 0,
    doc = "IPFIX over UDP: messages a second at most, 0 for no limit" },
  { name = "patience", kind = "integer", min = 0, max = 86400, value = "SECONDS", default = 30,
    doc = "IPFIX over TCP: how long a collector that went away is waited for" },
}
