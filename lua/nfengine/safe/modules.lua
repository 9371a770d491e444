--- Those of the engine's modules of which the closed world has a part: their functions with every argument checked, as
-- behind them lies memory. What they take and give are stand-ins.

local bytes = require "nfengine.bytes"
local hash = require "nfengine.hash"
local reassembly = require "nfengine.protocols.reassembly"
local standins = require "nfengine.safe.standins"
local world = require "nfengine.world"

local check_integer, check_text = standins.check_integer, standins.check_text
local array_of, view_of, object_of, find = standins.array_of, standins.view_of, standins.object_of, standins.find

local EXACT = 2 ^ 53           -- integers up to which a Lua number holds each
local LARGEST_BUFFER = 2 ^ 24  -- bytes

--- Makes a stand-in of a new kind with these methods for an object.
local function maker(name, methods, length)
  local make = standins.kind(name, {
    __index = function(_, key) return methods[key] or error(("a %s has no '%s'"):format(name, tostring(key)), 2) end,
    __len = length and function(self) return #object_of(self, name, "#") end or nil,
  })
  return function(object)
    return make(function() return object end)
  end
end

-- ---- nfengine.bytes ----

local buffer = {}

function buffer:clear()
  object_of(self, "buffer", "clear"):clear()
  return self
end

function buffer:u8(number)
  object_of(self, "buffer", "u8"):u8(check_integer(number, "buffer:u8", 0, 0xff))
  return self
end

function buffer:u16(number)
  object_of(self, "buffer", "u16"):u16(check_integer(number, "buffer:u16", 0, 0xffff))
  return self
end

function buffer:text(text)
  object_of(self, "buffer", "text"):text(check_text(text, "buffer:text"))
  return self
end

function buffer:view(view)
  object_of(self, "buffer", "view"):view(view_of(view, "buffer:view"))
  return self
end

function buffer:string() return object_of(self, "buffer", "string"):string() end

local new_buffer = maker("buffer", buffer, true)

local own_bytes = {}

function own_bytes.buffer(room)
  return new_buffer(bytes.buffer(check_integer(room, "bytes.buffer", 0, LARGEST_BUFFER)))
end

function own_bytes.copy(view, array, filled)
  local target = array_of(array, "bytes.copy", true)
  return bytes.copy(view_of(view, "bytes.copy"), target, check_integer(filled, "bytes.copy: filled", 0, #target))
end

function own_bytes.count(view, counts, most)
  most = most ~= nil and check_integer(most, "bytes.count: most", 0, EXACT) or nil
  return bytes.count(view_of(view, "bytes.count"), array_of(counts, "bytes.count", true), most)
end

function own_bytes.entropy(counts) return bytes.entropy(array_of(counts, "bytes.entropy")) end

function own_bytes.fold(counts, sums)
  bytes.fold(array_of(counts, "bytes.fold"), array_of(sums, "bytes.fold", true))
end

function own_bytes.sum(counts, low, high)
  return bytes.sum(array_of(counts, "bytes.sum"), check_integer(low, "bytes.sum", 0, 255),
    check_integer(high, "bytes.sum", 0, 255))
end

function own_bytes.is_buffer(value) return find(value, "buffer") ~= nil end

-- ---- nfengine.hash ----

local own_hash = { hex = function(text) return hash.hex(check_text(text, "hash.hex")) end, secret = hash.secret }

for _, name in ipairs { "sha1", "sha256", "base64" } do
  local what = "hash." .. name
  own_hash[name] = function(value, out)
    local from = find(value, "buffer") or check_text(value, what)
    if out == nil then return (hash[name](from)) end
    hash[name](from, find(out, "buffer") or error(what .. ": expected a buffer to add to", 2))
    return out
  end
end

-- ---- nfengine.protocols.reassembly ----

local pool = {}

local function check_stream(stream, method) return check_integer(stream, "pool:" .. method, -EXACT, EXACT) end

local function packet_of(packet, method)
  return find(packet, "packet") or error(("pool:%s: expected a packet"):format(method), 3)
end

function pool:open(origin)
  return object_of(self, "pool", "open"):open(origin ~= nil and check_integer(origin, "pool:open", 0, 2 ^ 32) or nil)
end

function pool:add(stream, offset, view)
  return (object_of(self, "pool", "add"):add(check_stream(stream, "add"),
    check_integer(offset, "pool:add: offset", -EXACT, EXACT), view_of(view, "pool:add")))
end

function pool:segment(stream, packet)
  return (object_of(self, "pool", "segment"):segment(check_stream(stream, "segment"), packet_of(packet, "segment")))
end

function pool:follow(state, packet)
  return object_of(self, "pool", "follow"):follow(check_stream(state, "follow"), packet_of(packet, "follow"))
end

function pool:view(stream)
  local streams = object_of(self, "pool", "view")
  if not streams:view(check_stream(stream, "view")) then return nil end
  return standins.view(function() return streams:view(stream) or error("view: its stream has ended", 0) end)
end

function pool:skip(stream, count)
  return (object_of(self, "pool", "skip"):skip(check_stream(stream, "skip"),
    check_integer(count, "pool:skip", 0, EXACT)))
end

function pool:close(stream) object_of(self, "pool", "close"):close(check_stream(stream, "close")) end
function pool:counts() return object_of(self, "pool", "counts"):counts() end

local new_pool = maker("pool", pool)

local own_reassembly = { DEFAULT_BYTES = reassembly.DEFAULT_BYTES, distance = reassembly.distance }

function own_reassembly.pool(options)
  local given = {}
  for _, name in ipairs { "streams", "bytes", "patience" } do
    given[name] = type(options) == "table" and rawget(options, name) or nil
  end
  return new_pool(reassembly.pool(given))
end

function own_reassembly.sequence(packet) return reassembly.sequence(packet_of(packet, "sequence")) end

--- Makes a closed world's own of each, by name.
return function()
  local modules = {}
  for name, functions in pairs {
    ["nfengine.bytes"] = own_bytes, ["nfengine.hash"] = own_hash, ["nfengine.protocols.reassembly"] = own_reassembly,
  } do
    local copy = {}
    for key, value in pairs(functions) do copy[key] = value end
    modules[name] = world.refuse_the_rest(copy, name:match "[^.]+$" .. ".", require(name))
  end
  return modules
end
