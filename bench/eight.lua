--- Eight branchy plugins, one with an inner loop: what a real script's load costs.
local nf = require "nfengine"

local Sizes = nf.plugin {
  name = "sizes",
  columns = { { "size_bins", "uint32[8]", "packets by size, doubling from 64 bytes" } },
  on_init = function(_, _, flow) flow.udps.size_bins[1] = 1 end,
  on_update = function(_, packet, flow)
    local size, limit, bin = packet.raw_size, 64, 1
    while bin < 8 and size > limit do
      limit, bin = limit * 2, bin + 1
    end
    local bins = flow.udps.size_bins
    bins[bin] = bins[bin] + 1
  end,
}

local Bursts = nf.plugin {
  name = "bursts",
  columns = { { "bursts", "uint32", "runs of packets closer than 100 ms" }, { "longest_burst", "uint32", "packets" } },
  state = { { "burst", "uint32", "packets of the current one" } },
  on_init = function(_, _, flow)
    flow.udps.bursts, flow.udps.burst = 1, 1
  end,
  on_update = function(_, packet, flow)
    local udps = flow.udps
    if packet.delta_time < 100 then
      udps.burst = udps.burst + 1
      if udps.burst > udps.longest_burst then udps.longest_burst = udps.burst end
    else
      udps.bursts, udps.burst = udps.bursts + 1, 1
    end
  end,
}

local Turns = nf.plugin {
  name = "turns",
  columns = { { "turns", "uint32", "changes of direction" } },
  state = { { "last_direction", "uint8", "of the packet before" } },
  on_update = function(_, packet, flow)
    if packet.direction ~= flow.udps.last_direction then
      flow.udps.turns, flow.udps.last_direction = flow.udps.turns + 1, packet.direction
    end
  end,
}

local Pushes = nf.plugin {
  name = "pushes",
  columns = { { "pushes", "uint32", "PSH without payload or FIN" }, { "resets_seen", "bool", "a RST came" } },
  on_update = function(_, packet, flow)
    if packet.protocol == 6 then
      if packet.psh == 1 and packet.fin == 0 then flow.udps.pushes = flow.udps.pushes + 1 end
      if packet.rst == 1 then flow.udps.resets_seen = true end
    end
  end,
}

local Payload = nf.plugin {
  name = "payload",
  columns = { { "payload_up", "double", "bytes" }, { "payload_down", "double", "bytes" } },
  on_update = function(_, packet, flow)
    if packet.direction == 0 then flow.udps.payload_up = flow.udps.payload_up + packet.payload_size
    else flow.udps.payload_down = flow.udps.payload_down + packet.payload_size end
  end,
}

local Idle = nf.plugin {
  name = "idle",
  columns = { { "idle_time", "double", "ms in gaps of a second or more" }, { "active_time", "double", "the rest" } },
  on_update = function(_, packet, flow)
    local gap = packet.delta_time
    if gap >= 1000 then flow.udps.idle_time = flow.udps.idle_time + gap
    else flow.udps.active_time = flow.udps.active_time + gap end
  end,
}

local Smoothed = nf.plugin {
  name = "smoothed",
  columns = { { "smoothed_size", "float", "exponential mean of the packet size" } },
  options = { weight = { 0.125, "of the newest packet" } },
  on_init = function(_, packet, flow) flow.udps.smoothed_size = packet.raw_size end,
  on_update = function(self, packet, flow)
    local old = flow.udps.smoothed_size
    flow.udps.smoothed_size = old + self.weight * (packet.raw_size - old)
  end,
}

local Web = nf.plugin {
  name = "web",
  columns = {
    { "web_packets", "uint32", "packets from or to a web port" }, { "dns_packets", "uint32", "likewise DNS" },
  },
  on_update = function(_, packet, flow)
    local low = math.min(packet.src_port, packet.dst_port)
    if low == 80 or low == 443 then flow.udps.web_packets = flow.udps.web_packets + 1
    elseif low == 53 then flow.udps.dns_packets = flow.udps.dns_packets + 1 end
  end,
}

nf.streamer({ udps = { Sizes, Bursts, Turns, Pushes, Payload, Idle, Smoothed, Web } }):write()
