--- Ends flows where their TCP connection closes, and tells how it closed.
--
-- Flows end by time alone, so that without this a port used again within the idle timeout continues the old flow. A
-- connection is over with a RST, or once both sides have sent a FIN (RFC 9293, sections 3.5.2 and 3.6). What happens
-- then is the policy's:
--
--   rst          a RST ends the flow, with that packet; FINs are only noted
--   fin2         also, the first segment without FIN behind the FINs of both sides ends it: as a rule the last
--                acknowledgement. What comes later, a repeated FIN say, begins a flow of its own
--   fin2+linger  neither ends it at once: late acknowledgements and repeated FINs still belong to it. It ends when
--                there was no packet for `linger` seconds, a parameter of the run, or where a SYN opens a connection
--
-- With fin2, too, a connection whose last acknowledgement never comes ends by `linger` or a SYN. Flows that end here
-- have expiration_id -1. One whose close was not captured, or began in an earlier record that a timeout cut, ends by
-- time. Sequence numbers are not looked at, so a forged RST counts.
--
-- @usage nfengine flows --plugin tcp_end --n-dissections=0 \
--     --columns=src_port,dst_port,bidirectional_packets,udps.tcp_end,udps.tcp_end_first samples/closing.pcap
-- @output
-- src_port,dst_port,bidirectional_packets,udps.tcp_end,udps.tcp_end_first
-- 50000,80,10,"fin",1
-- 50001,80,8,"rst",1
-- 37187,80,11,"fin",0
-- 40133,80,11,"fin",1
-- 34395,80,19,"fin",0
-- 40733,80,10,"rst",0
-- 33871,80,8,"rst",1
-- 50000,80,11,"fin",1
-- 50001,80,8,"rst",1
-- 46833,81,2,"rst",1
-- 34439,80,4,"open",-1

local nf = require "nfengine"

-- What `tcp_end_seen` adds up.
local SRC_FIN, DST_FIN, RST = 1, 2, 4
local BOTH_FINS = SRC_FIN + DST_FIN -- from here on the connection is over

local NAMES = { [0] = "open", [SRC_FIN] = "half-closed", [DST_FIN] = "half-closed", [BOTH_FINS] = "fin" } -- else "rst"

local function note(packet, udps, what)
  if udps.tcp_end_seen == 0 then udps.tcp_end_first = packet.direction end
  udps.tcp_end_seen = udps.tcp_end_seen + what
end

local function reset(self, packet, flow)
  if flow.udps.tcp_end_seen < BOTH_FINS then note(packet, flow.udps, RST) end
  if self.policy == "fin2+linger" then flow.is_closing = true else flow.expiration_id = -1 end
end

local function finish(self, packet, flow)
  local udps = flow.udps
  local fin = packet.direction == 0 and SRC_FIN or DST_FIN
  if udps.tcp_end_seen == fin or udps.tcp_end_seen >= BOTH_FINS then return end -- sent again
  note(packet, udps, fin)
  if udps.tcp_end_seen == BOTH_FINS and self.policy ~= "rst" then flow.is_closing = true end
end

local function look(self, packet, flow)
  if packet.rst == 1 then
    reset(self, packet, flow)
  elseif packet.fin == 1 then
    finish(self, packet, flow)
  elseif flow.udps.tcp_end_seen == BOTH_FINS and self.policy == "fin2" then
    flow.expiration_id = -1
  end
end

return nf.plugin {
  name        = "tcp_end",
  version     = "1.0.0",
  api         = 1,
  description = "Ends flows where their TCP connection closes, and tells how it closed",
  author      = "the nfengine authors",
  license     = "MIT",
  categories  = { "expiry", "tcp", "safe" },
  independent = true,
  options     = {
    policy = { "fin2+linger", "what ends a flow: a RST; also the FINs of both sides; with or without late packets",
      choices = { "rst", "fin2", "fin2+linger" } },
  },
  columns     = {
    { "tcp_end", "string:11", "how the connection ended: open, half-closed, fin or rst; empty but for TCP",
      is_identifying = false },
    { "tcp_end_first", "int8", "who sent the first FIN or RST: 0 the source, 1 the destination, -1 nobody" },
  },
  state       = { { "tcp_end_seen", "uint8" } },
  on_init     = function(self, packet, flow)
    flow.udps.tcp_end_first = -1
    look(self, packet, flow)
  end,
  on_update   = look,
  on_expire   = function(_, flow)
    if flow.protocol == 6 then flow.udps.tcp_end = NAMES[flow.udps.tcp_end_seen] or "rst" end
  end,
}
