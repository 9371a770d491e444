-- One TCP connection for specs, segment by segment:
--
--   tcp.there(0, { flags = "S", seq = 100 }), tcp.back(5, { flags = "SA", seq = 900, ack = 101 }, "data")
--
-- From 10.0.0.1:1000 there to 10.0.0.2:2000, and back. Times are milliseconds, fields are P.tcp's; payload is a text or
-- a number of bytes.

local P = require "nfengine.testing.packet"
local meter = require "spec.support.meter"

local tcp = {}

--- The window scale option (RFC 7323) with this shift.
function tcp.scale(shift) return P.hex "0303" .. P.u8(shift) end

local function segment(at, ip, ports, fields, payload)
  local given = { src_port = ports[1], dst_port = ports[2] }
  for name, value in pairs(fields) do given[name] = value end
  if type(payload) == "number" then payload = ("x"):rep(payload) end
  return meter.frame(at, P.eth {} .. ip .. P.tcp(given) .. (payload or ""))
end

function tcp.there(at, fields, payload) return segment(at, P.ipv4 {}, { 1000, 2000 }, fields, payload) end

function tcp.back(at, fields, payload)
  return segment(at, P.ipv4 { src = "10.0.0.2", dst = "10.0.0.1" }, { 2000, 1000 }, fields, payload)
end

return tcp
