--- Reads TCP directions message by message, for as long as they go on, in little memory.
--
--   setup = function(self) self.readers = reader.pool { bytes = 4096 } end,
--   …
--   local side = self.readers:side()                   -- one direction of one connection, a table to keep things in
--   self.readers:begin(side, sequence)                 -- where its first message begins
--   …
--   local bytes = self.readers:feed(side, packet)      -- for each packet of this direction
--   while bytes do
--     local count = …                                  -- how far the next message is from here, if that can be told
--     if not count then break end                      --   yet; it may begin beyond what has come
--     bytes = self.readers:pass(side, count)
--   end
--   if not side.place then … end                       -- lost; begin again where a message is known to begin
--   …
--   self.readers:close(side)                           -- in on_expire
--
-- Segments may come in any order, twice, or overlapping. Bytes are kept only while a message has come in part, so that
-- few streams are enough for many connections; what is passed over without a look, as bodies are, is never kept, and
-- may have been lost. Where something is missing that would have been looked at, and does not come, or was cut off by
-- the capture's snap length, or where too many messages have come in part at once, the side's place is lost.
--
-- A segment may be larger than the pool's room for a stream: the rest of it is taken as there comes to be room.
--
-- A side's fields: `place`, where its next message begins, and `reached`, up to where it was seen to have come, both
-- counted in bytes from where it first began; place is nil when it is not known. Others may be added.

local reassembly = require "nfengine.protocols.reassembly"

local reader = {}

local pool = {}
pool.__index = pool

--- Room for so many messages at once that have come in part.
-- @param options as reassembly.pool takes them; `bytes` is also how much of a message can be looked at at once
function reader.pool(options)
  return setmetatable({
    streams = reassembly.pool(options), room = options and options.bytes or reassembly.DEFAULT_BYTES,
    -- the packet at hand: whose it is, where its bytes begin and end in that, and a view of them
    current = nil, from = 0, till = 0, bytes = nil,
  }, pool)
end

--- One direction of one connection, whose place is not known yet.
function pool:side()
  return {
    place = nil, reached = 0,
    sequence = nil, -- of the byte at `reached`
    stream = 0, there = 0, -- what is kept, and how much of it stands at `place` without a gap
    hole = 0, hole_end = 0, -- what was not captured of the latest segment that was cut
  }
end

--- A message begins at this sequence number.
function pool:begin(side, sequence)
  self:lose(side)
  side.place, side.reached, side.sequence = 0, 0, sequence
  side.hole, side.hole_end = 0, 0
end

--- The place is not known any more.
function pool:lose(side)
  self:close(side)
  side.place = nil
end

--- Gives back what a side holds.
function pool:close(side)
  self.streams:close(side.stream)
  side.stream, side.there = 0, 0
end

--- How far a segment is behind what has been reached, below 0 where it was reached before.
local function ahead(side, packet) return reassembly.distance(reassembly.sequence(packet), side.sequence) end

--- What has been seen of a side, where a packet makes it more.
local function reach(side, till)
  if till <= side.reached then return end
  side.sequence = (side.sequence + till - side.reached) % 2 ^ 32
  side.reached = till
end

local function is_in_hole(side)
  return side.place < side.hole_end and side.place + side.there >= side.hole
end

--- Adds the packet at hand. Returns a view if that makes more of what stands at the place.
local function add(self, side)
  if side.stream == 0 then side.stream = self.streams:open() end
  local there = self.streams:add(side.stream, self.from - side.place, self.bytes)
  if not there then return self:lose(side) end
  if there <= side.there then return nil end
  side.there = there
  return self.streams:view(side.stream)
end

--- Takes a packet of this direction, which has to say where its data stand (reassembly.is_placed).
-- @return a view of what stands at the side's place, lent until the next call for any side; nil where there is nothing
--   new, or the place is not known
function pool:feed(side, packet)
  local size = packet.payload_size
  if not side.place or size == 0 then return nil end
  local from = side.reached + ahead(side, packet)
  local till = from + size
  reach(side, till)
  if is_in_hole(side) then return self:lose(side) end
  if till <= side.place then return nil end
  local bytes = packet.payload_bytes
  if #bytes < size then side.hole, side.hole_end = from + #bytes, till end
  self.current, self.from, self.till, self.bytes = side, from, from + #bytes, bytes
  return add(self, side)
end

--- Goes on by so many bytes.
-- @return a view of what stands there, nil where nothing has come yet
function pool:pass(side, count)
  local had_room_for_all = self.current ~= side or self.till - side.place <= self.room
  side.place = side.place + count
  local kept = side.stream == 0 and 0 or self.streams:skip(side.stream, count)
  if not kept then return self:lose(side) end
  if kept == 0 then self:close(side) end
  if not had_room_for_all and self.till > side.place then
    side.there = 0
    return add(self, side)
  end
  if kept == 0 then return nil end
  local bytes = self.streams:view(side.stream)
  side.there = #bytes
  return side.there > 0 and bytes or nil
end

--- Where a packet ends in its side, in bytes from where that first began: where its FIN is, if it has one.
function pool:end_of(side, packet)
  return side.reached + ahead(side, packet) + packet.payload_size
end

--- Whether what stands at a side's place goes on in what was not captured.
function pool:ends_in_hole(side)
  return side.place + side.there == side.hole and side.hole < side.hole_end
end

--- The sequence number of the first byte that is missing, where some behind it have come; nil where none is.
function pool:gap(side)
  local missing = side.place + side.there
  if side.stream == 0 or missing >= side.reached then return nil end
  return (side.sequence - (side.reached - missing)) % 2 ^ 32
end

--- How many messages were lost: `displaced` to make place for others, `gapped` for a gap that did not close.
function pool:counts() return self.streams:counts() end

return reader
