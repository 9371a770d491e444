--- How many packets of one size does each flow have? An example of a plugin: a feature of one's own, counted packet by
-- packet.
--
-- @categories example
-- @usage nfengine custom_size samples/ssh.pcap
-- @output
-- 192.0.2.1       SSH     16
-- 192.0.2.1       SSH     20
-- 192.0.2.1       SSH     19
-- 192.0.2.1       SSH     11
-- 192.0.2.1       SSH     13
-- 192.0.2.1       SSH     9
-- 192.0.2.1       SSH     16
-- 2001:db8::1     SSH     0
-- @usage nfengine custom_size samples/ssh.pcap -- --size=1514
-- @output
-- 192.0.2.1       SSH     2
-- 192.0.2.1       SSH     18
-- 192.0.2.1       SSH     15
-- 192.0.2.1       SSH     0
-- 192.0.2.1       SSH     2
-- 192.0.2.1       SSH     0
-- 192.0.2.1       SSH     2
-- 2001:db8::1     SSH     2

local nf = require "nfengine"

local options = nf.options {
  size = { 66, "packet size to count, bytes on the wire" },
}

local CustomSize = nf.plugin {
  name    = "custom_size",
  options = { size = { 555, "packet size to count, bytes on the wire" } },
  columns = { { "packet_with_custom_size", "uint32", "packets of exactly that size" } },
  on_init   = function(self, packet, flow)
    flow.udps.packet_with_custom_size = packet.raw_size == self.size and 1 or 0
  end,
  on_update = function(self, packet, flow)
    if packet.raw_size == self.size then
      flow.udps.packet_with_custom_size = flow.udps.packet_with_custom_size + 1
    end
  end,
}

local streamer = nf.streamer {
  udps = { CustomSize { size = options.size } },
}

for flow in streamer:flows() do
  local application = streamer.n_dissections > 0 and flow.application_name or "-"
  print(flow.src_ip, application, flow.udps.packet_with_custom_size)
end
