--- For specs of plugins: packets byte by byte, captures of them, and the flows that come of these.
--
--   local testing = require "nfengine.testing"
--   local P = testing.packet
--   local function segment(at_ms, flags, payload)
--     return testing.at(at_ms, P.eth {} .. P.ipv4 {} .. P.tcp { dst_port = 80, flags = flags } .. (payload or ""))
--   end
--   local flow = testing.flows { packets = { segment(0, "S"), segment(20, "A") }, udps = Mine {} }[1]
--   after_each(testing.cleanup)

local ffi = require "ffi"

-- busted remembers what ffi.typeof gave for a text, but "struct { $ udps; }" is another type in every run.
for i = 1, 8 do
  local name, value = debug.getupvalue(ffi.typeof, i)
  if name == "original" then ffi.typeof = value end
end

local testing = {
  packet = require "nfengine.testing.packet",
  capture = require "nfengine.testing.capture",
}

--- Time of a capture's first packet by default: 2020-09-13 12:26:40 UTC, in seconds and in nanoseconds.
testing.EPOCH_S = 1600000000
testing.EPOCH_NS = 1600000000000000000ULL

--- A packet of these layers, so many milliseconds after the epoch. `fields` are further ones of capture.pcap's packets.
function testing.at(ms, layers, fields)
  local packet = { bytes = layers:bytes(), time_ns = testing.EPOCH_NS + math.floor(ms * 1000000 + 0.5) }
  for name, value in pairs(fields or {}) do packet[name] = value end
  return packet
end

--- A capture file of these packets, with nanoseconds; returns its path. `fields` are capture.pcap's options.
function testing.file(packets, fields)
  local options = { ns = true }
  for name, value in pairs(fields or {}) do options[name] = value end
  return testing.capture.file(testing.capture.pcap(packets, options))
end

--- A streamer of these parameters, where `packets` stands for a source with these. L7 is off unless asked for.
function testing.streamer(parameters)
  local given = { n_dissections = 0 }
  for name, value in pairs(parameters or {}) do given[name] = value end
  if given.packets then given.source, given.packets = testing.file(given.packets), nil end
  return require("nfengine").streamer(given)
end

--- Every flow of a run, in order.
function testing.flows(parameters)
  local flows = {}
  for flow in testing.streamer(parameters):flows() do flows[#flows + 1] = flow end
  return flows
end

--- The values of one column of some flows; "udps.NAME" for a plugin's.
function testing.column(name, flows)
  local values = {}
  for i, flow in ipairs(flows) do
    local value = flow
    for part in name:gmatch "[^.]+" do value = value[part] end
    values[i] = value
  end
  return values
end

--- What a call raises. Fails when it raises nothing, or anything but one line.
function testing.refusal(call, ...)
  local ok, message = pcall(call, ...)
  assert(not ok, "expected an error")
  assert(type(message) == "string", "expected an error that is a text")
  assert(not message:find "\n", "expected one line: " .. message)
  return message
end

--- Removes the files made here.
function testing.cleanup() testing.capture.cleanup() end

return testing
