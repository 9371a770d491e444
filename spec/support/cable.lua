-- The bench of the specs on live capture: the program listens at vb in one network namespace, tcpreplay sends into va,
-- the other end of the cable, in another.
--
--   before_each(cable.lay)
--   after_each(cable.remove)
--   local run = cable.ports("--n-meters=2")           -- started, a row for each flow: id, src_port
--   cable.send(cable.udp_file(1, 10))                 -- a packet from each of these ports
--   assert.equal(10, cable.count_rows(run:stop().out))

local engine = require "spec.support.engine"
local live = require "spec.support.live"
local meter = require "spec.support.meter"
local network = require "spec.support.network"

local cable = {}

--- The reason why specs cannot run here, or nil.
function cable.missing() return network.missing("tcpreplay", "tcpdump", "sysctl", "setpriv", "setsid") end

function cable.lay() cable.net = network.create "nfl_" end

function cable.remove()
  live.cleanup()
  engine.cleanup()
  network.cleanup()
end

-- ---- sending ----

--- Sends a capture, at once or as tcpreplay's options `how` say.
function cable.send(path, how, interface)
  network.check(cable.net.a, ("tcpreplay -q -i %s %s %s"):format(interface or "va", how or "--topspeed", path))
end

--- A capture of one UDP packet from each of these ports.
function cable.udp_file(first, last)
  local packets = {}
  for port = first, last or first do packets[#packets + 1] = meter.udp(0, port) end
  return engine.capture(packets)
end

local function received()
  return tonumber(network.check(cable.net.b, "cat /sys/class/net/vb/statistics/rx_packets").out)
end

--- Sends packets of 500 flows without an end; returns what does, once packets arrive.
function cable.send_endlessly(per_second)
  local before = received()
  local sender = live.spawn(cable.net.a, ("tcpreplay -q -i va --loop=0 --preload-pcap --pps=%d %s")
    :format(per_second or 5000, cable.udp_file(1001, 1500)))
  live.wait_for("packet", function() return received() > before end)
  return sender
end

--- Changes the listening end, as ip link does.
function cable.link(words) network.check(cable.net.b, "ip link " .. words) end

-- ---- listening ----

--- Starts the program at vb, without L7.
function cable.quick(...) return live.start(cable.net.b, "flows", "-i", "vb", "--n-dissections=0", ...) end

--- The same, for count_rows.
function cable.ports(...) return cable.quick("--columns=id,src_port", ...) end

--- How many rows of ports there are, the header left out. Fails unless all are whole and numbered from `first` (0).
function cable.count_rows(text, first)
  local rows = text:match "^id,src_port\n(.*)$"
  assert(rows, "no header: " .. text:sub(1, 80))
  local count, size = first or 0, 0
  for line in rows:gmatch "[^\n]*\n" do
    local id = line:match "^(%d+),%d+\n$"
    if tonumber(id) ~= count then error(("row %d is %s"):format(count, line), 2) end
    count, size = count + 1, size + #line
  end
  assert(size == #rows, "a part of a row at the end")
  return count - (first or 0)
end

--- Runs fill_in(meters, "--n-meters=…") for one meter and for two: that makes the tests.
function cable.for_meters(fill_in)
  for meters = 1, 2 do fill_in(meters, "--n-meters=" .. meters) end
end

return cable
