--- require "nfengine": the public face.
--
--   nf.streamer{ … }   a run's parameters; iterate `streamer:flows()`, or write with `:to_csv`, `:to_jsonl`, `:to`
--   nf.plugin{ … }     a plugin class; `Class{ option = value }` goes into `udps`
--   nf.profile{ … }    a named set of plugins and parameters
--   nf.options{ … }    a script's own options: values from the command line over these defaults
--   nf.packet_filter   a libpcap filter for packets in hooks: `nf.packet_filter "udp port 53"`, `:matches(packet)`
--   nf.columns(unit)   every column the engine knows, described
--   nf.arguments       captures given on the command line
--   nf.version         text

local ffi = require "ffi"
local C = require "nfengine.lib"
local parameters = require "nfengine.parameters"

local nf = {
  version = ffi.string(C.nf_version()),
  streamer = require("nfengine.streamer").new,
  columns = require("nfengine.columns").all,
  arguments = {},
}

--- Declares a plugin; see nfengine.plugin and the README for the fields. Raises one line naming plugin and field.
function nf.plugin(definition)
  local ok, result = pcall(require("nfengine.plugin").declare, definition)
  if not ok then error(result, 2) end
  return result
end

--- Declares a profile; see nfengine.profile.
function nf.profile(definition)
  local ok, result = pcall(require("nfengine.profile").declare, definition)
  if not ok then error(result, 2) end
  return result
end

--- A libpcap filter for packets in hooks; see nfengine.filter. Raises one line when the expression is none.
function nf.packet_filter(expression)
  local made, problem = require("nfengine.filter").compile(expression)
  if not made then error("nf.packet_filter: " .. problem, 2) end
  return made
end

--- Declares a script's options, `name = { default, "what it does" }`, and returns their values by name. The command
-- line gives them after "--"; `nfengine SCRIPT --help` lists them.
function nf.options(short)
  return require("nfengine.script").options(short)
end

nf.parameters = parameters.list

return nf
