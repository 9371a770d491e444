-- Runs the Lua library as scripts do: in this process, or in the program.
--
--   local flows = engine.flows { packets = { meter.udp(0, 1000), meter.back(5, 1000) }, splt_analysis = 3 }
--   local message = engine.refusal(nf.streamer, { idle_timeot = 5 })
--   local result = engine.script('print "hello"', "samples/dns.pcap")
--
-- Parameters are nf.streamer's. `packets` (as spec.support.meter makes them) stands for a source with these; without
-- either the source is samples/dns.pcap. L7 is off unless asked for: it is slow to set up.

local ffi = require "ffi"

-- busted remembers what ffi.typeof gave for a text, but "struct { $ udps; }" is another type in every run.
for i = 1, 8 do
  local name, value = debug.getupvalue(ffi.typeof, i)
  if name == "original" then ffi.typeof = value end
end

local nf = require "nfengine"
local capture = require "spec.support.capture"
local program = require "spec.support.program"

local engine = {}

--- A capture file of these packets, with nanoseconds. `fields` are capture.pcap's options.
function engine.capture(packets, fields)
  local options = { ns = true }
  for name, value in pairs(fields or {}) do options[name] = value end
  return capture.file(capture.pcap(packets, options))
end

function engine.streamer(parameters)
  local given = { source = "samples/dns.pcap", n_dissections = 0 }
  for name, value in pairs(parameters or {}) do given[name] = value end
  if given.packets then given.source, given.packets = engine.capture(given.packets), nil end
  return nf.streamer(given)
end

--- Every flow of a run, in order.
function engine.flows(parameters)
  local flows = {}
  for flow in engine.streamer(parameters):flows() do flows[#flows + 1] = flow end
  return flows
end

--- The values of one column of some flows.
function engine.column(name, flows)
  local values = {}
  for i, flow in ipairs(flows) do
    local value = flow
    for part in name:gmatch "[^.]+" do value = value[part] end
    values[i] = value
  end
  return values
end

--- What a call raises. Fails when it raises nothing, or anything but one line.
function engine.refusal(call, ...)
  local ok, message = pcall(call, ...)
  assert(not ok, "expected an error")
  assert(type(message) == "string", "expected an error that is a text")
  assert(not message:find "\n", "expected one line: " .. message)
  return message
end

--- A file with this text, to be run as a script.
function engine.script_file(text)
  return program.write(text, ".lua")
end

--- Runs the program on a script of this text; the words behind it are the command line's. Returns { status, out, err }.
function engine.script(text, ...)
  return program.run(engine.script_file(text), ...)
end

--- Removes what was made here.
function engine.cleanup()
  capture.cleanup()
  program.remove_temporaries()
end

return engine
