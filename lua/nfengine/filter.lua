--- Filters of packets in libpcap's language, for hooks:
--
--   local is_web = nf.packet_filter "tcp port 80 or tcp port 443"
--   … if is_web:matches(packet) then … end
--
-- A filter looks at the innermost IP packet alone, whatever the link type and the tunnel. It is made once, in setup or
-- in the script; matching allocates nothing. In each of several meters it is compiled anew.

local ffi = require "ffi"
local C = require "nfengine.lib"
local text = require "nfengine.text"

local filter = {}

local class = {}
class.__index = class
class.__tostring = function(self) return "packet filter " .. text.quote(self.expression) end

-- How nfengine.transfer carries it.
class.__carry = function(self) return "nfengine.filter", "compile", self.expression end

--- Whether it accepts a packet, in the packet's hook.
function class:matches(packet)
  if packet == nil then error("matches: expected a packet, got nil", 2) end
  return C.nf_filter_matches(self.handle, packet)
end

--- A filter, or nil and a line that says what is wrong with the expression.
function filter.compile(expression)
  if type(expression) ~= "string" then
    return nil, ("%s: expected a libpcap filter as a string"):format(text.quote(expression))
  end
  local message = ffi.new("char[?]", C.NF_ERROR_SIZE)
  local handle = C.nf_filter_new(expression, message)
  if handle == nil then return nil, ffi.string(message) end
  return setmetatable({ expression = expression, handle = ffi.gc(handle, C.nf_filter_free) }, class)
end

return filter
