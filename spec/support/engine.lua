-- Runs the Lua library as scripts do: in this process, or in the program.
--
--   local flows = engine.flows { packets = { meter.udp(0, 1000), meter.back(5, 1000) }, splt_analysis = 3 }
--   local message = engine.refusal(nf.streamer, { idle_timeot = 5 })
--   local result = engine.script('print "hello"', "samples/dns.pcap")
--
-- Parameters are nf.streamer's. `packets` (as spec.support.meter makes them) stands for a source with these; without
-- either the source is samples/dns.pcap. L7 is off unless asked for: it is slow to set up.

local program = require "spec.support.program"
local testing = require "nfengine.testing"

local engine = { capture = testing.file, column = testing.column, refusal = testing.refusal }

function engine.streamer(parameters)
  local given = { source = "samples/dns.pcap" }
  for name, value in pairs(parameters or {}) do given[name] = value end
  return testing.streamer(given)
end

--- Calls a function, and lets nothing of what it has to warn of reach standard error: damaged captures, say.
-- @return what it returns
function engine.quietly(call)
  local stderr = io.stderr
  rawset(io, "stderr", { write = function() end, flush = function() end })
  local ok, result = pcall(call)
  rawset(io, "stderr", stderr)
  if not ok then error(result, 0) end
  return result
end

--- Every flow of a run, in order.
function engine.flows(parameters)
  local flows = {}
  for flow in engine.streamer(parameters):flows() do flows[#flows + 1] = flow end
  return flows
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
  testing.cleanup()
  program.remove_temporaries()
end

return engine
