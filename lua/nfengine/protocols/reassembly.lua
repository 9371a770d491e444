--- Puts together the first bytes of streams that come in pieces: of a TCP direction, of QUIC's CRYPTO frames.
--
--   local reassembly = require "nfengine.protocols.reassembly"
--
--   state     = { { "greeting_stream", "double" } },
--   setup     = function(self) self.streams = reassembly.pool { streams = 256, bytes = 4096 } end,
--   on_init, on_update = function(self, packet, flow)
--     local udps = flow.udps
--     if udps.greeting_done == 1 or packet.direction ~= 1 then return end
--     local size
--     udps.greeting_stream, size = self.streams:follow(udps.greeting_stream, packet)
--     if size and … then
--       … self.streams:view(udps.greeting_stream):string(0, size) …
--       self.streams:close(udps.greeting_stream)
--       udps.greeting_done = 1
--     end
--   end,
--   on_expire = function(self, flow) self.streams:close(flow.udps.greeting_stream) end,
--
-- A pool has room for so many streams at once, allocated in setup; a flow keeps a number only. Pieces may come in any
-- order, twice, or overlapping, across the wrap of sequence numbers; where two say different things, the first to come
-- stays. When all streams are in use, the one that began first is given up for the next, and so is a stream of which
-- too many pieces in a row do not lengthen its beginning: something was lost that will not come again. Both are
-- counted. What was given up answers nil for ever, whatever comes.
--
-- Close a stream as soon as nothing more is wanted of it, and in on_expire: that is what keeps a few streams enough for
-- any number of flows. It costs nothing where there is none.

local ffi = require "ffi"
local C = require "nfengine.lib"
local new_view = require("nfengine.packet").view

local reassembly = {}

reassembly.DEFAULT_BYTES = 16384 -- of a stream, from its first

local limits = {
  streams = { 256, 1, 65536 },      -- at once
  bytes = { reassembly.DEFAULT_BYTES, 1, 2 ^ 24 },
  patience = { 32, 1, 2 ^ 31 - 1 }, -- pieces in a row that may leave a gap open
}

local pool = {}
pool.__index = pool

local function resolve(options)
  local values = {}
  for name, value in pairs(options or {}) do
    local limit = limits[name]
    if not limit then error(("reassembly.pool: no option '%s'"):format(tostring(name)), 3) end
    if type(value) ~= "number" or value % 1 ~= 0 or value < limit[2] or value > limit[3] then
      error(("reassembly.pool: %s: expected an integer from %d to %d, got %s")
        :format(name, limit[2], limit[3], tostring(value)), 3)
    end
    values[name] = value
  end
  for name, limit in pairs(limits) do values[name] = values[name] or limit[1] end
  return values
end

--- A pool of streams.
-- @param options `streams` (256): so many at once; `bytes` (16384): kept of each; `patience` (32): pieces in a row that
--   may come without lengthening a stream's beginning before it is given up
function reassembly.pool(options)
  local values = resolve(options)
  local core = C.nf_assembly_new(values.streams, values.bytes, values.patience)
  if core == nil then error("reassembly.pool: out of memory", 2) end
  return setmetatable({
    core = ffi.gc(core, C.nf_assembly_free), streams = values.streams, bytes = values.bytes,
    origins = ffi.new("uint32_t[?]", values.streams), size = ffi.new "uint32_t[1]",
  }, pool)
end

--- Begins a stream and returns its handle, a number above 0 that is never given again.
-- @param origin sequence number of its first byte, for pool:segment
function pool:open(origin)
  local stream = tonumber(C.nf_assembly_open(self.core))
  self.origins[stream % self.streams] = origin or 0
  return stream
end

--- Adds a piece: the bytes of a view, which stand at `offset` in the stream.
-- @return how many bytes there are now from the first without a gap; nil when the stream has been closed or given up
function pool:add(stream, offset, view)
  local size = tonumber(C.nf_assembly_add(self.core, stream, offset, view.data, #view))
  return size >= 0 and size or nil
end

--- How far one sequence number is behind another, below 0 where it is before it.
function reassembly.distance(sequence, origin)
  return (sequence - origin + 2 ^ 31) % 2 ^ 32 - 2 ^ 31
end

--- The sequence number of the first byte a TCP segment carries, or nil where it was not captured. A SYN counts for one.
function reassembly.sequence(packet)
  local sequence = packet.transport_bytes:u32(4)
  return sequence and (sequence + packet.syn) % 2 ^ 32
end

--- Whether a packet's transport header was captured, and so says where its data stand: that of a later IP fragment
-- counts as payload, but nobody knows of what.
function reassembly.is_placed(packet) return packet.transport_bytes:u32(4) ~= nil end

--- Adds what a TCP segment carries, as pool:add does.
function pool:segment(stream, packet)
  local sequence = reassembly.sequence(packet)
  local offset = sequence and reassembly.distance(sequence, self.origins[stream % self.streams]) or 0
  return self:add(stream, offset, packet.payload_bytes)
end

--- Follows one direction of a TCP connection from its first packet on.
-- @param state what the direction's packet before gave; 0 at first. To be kept in the flow's state, as a double
-- @param packet a packet of this direction
-- @return the new state, for view and close as a stream's handle is; and how many bytes there are from the first, nil
--   while there is none, and when the stream has been closed or given up. The first byte is the one behind the SYN;
--   without a SYN, that of the first segment seen.
function pool:follow(state, packet)
  if state > 0 then return state, (self:segment(state, packet)) end
  local sequence = reassembly.sequence(packet) -- there wherever flags or data are
  if packet.syn == 1 then state = -1 - sequence end -- below 0: no stream yet, but where it will begin
  if #packet.payload_bytes == 0 then return state end
  local stream = self:open(state < 0 and -1 - state or sequence)
  return stream, (self:segment(stream, packet))
end

--- The bytes from the first on, as a view like packets' (u8, u16, string …), lent until the stream gets more or ends.
-- nil when it has ended.
function pool:view(stream)
  local data = C.nf_assembly_bytes(self.core, stream, self.size)
  if data == nil then return nil end
  return new_view(data, self.size[0])
end

--- Forgets so many bytes from the first, whether they have come or not; the first one is the next then.
-- @return how many bytes are kept, those behind gaps too; nil when the stream has been closed or given up
function pool:skip(stream, count)
  local place = stream % self.streams
  self.origins[place] = (self.origins[place] + count) % 2 ^ 32
  local kept = tonumber(C.nf_assembly_skip(self.core, stream, count))
  return kept >= 0 and kept or nil
end

--- Ends a stream. Nothing happens for any other number.
function pool:close(stream)
  if stream > 0 then C.nf_assembly_close(self.core, stream) end
end

--- How many streams have been given up: `displaced` to make place for others, `gapped` for a gap that did not close.
function pool:counts()
  return {
    displaced = tonumber(C.nf_assembly_displaced(self.core)), gapped = tonumber(C.nf_assembly_gapped(self.core)),
  }
end

return reassembly
