--- Writes packets from hooks to capture files: pcapng, or pcap with nanoseconds where a file is named .pcap.
--
--   local file = assert(captures.create "some.pcapng")
--   … assert(file:write(packet)) …
--   assert(file:close())
--
-- Frames are written as they were captured, with their own time, wire length and link type; pcapng takes several link
-- types, and packets' comments where a plugin needs them.

local bit = require "bit"

local captures = {}

local USUAL_SNAPLEN = 262144   -- what capture programs write at most, ...
local LARGEST_SNAPLEN = 2 ^ 24 -- ... and what readers take

local EPIPE = 32

-- True, or nil and what went wrong. That nobody reads standard output any more is nobody's fault.
local function put(self, ...)
  local written, message, number = self.handle:write(...)
  if written or self.path == "-" and number == EPIPE then return true end
  return nil, message
end

-- ---- bytes, little-endian ----

local function u16(n) return string.char(n % 256, math.floor(n / 256)) end

local function u32(n)
  return string.char(bit.band(n, 255), bit.band(bit.rshift(n, 8), 255), bit.band(bit.rshift(n, 16), 255),
    bit.rshift(n, 24))
end

local function padded(bytes) return bytes .. ("\0"):rep(-#bytes % 4) end

-- ---- pcapng ----

local function block(kind, body)
  local size = u32(#body + 12)
  return u32(kind) .. size .. body .. size
end

local function option(code, value) return u16(code) .. u16(#value) .. padded(value) end

local SECTION = block(0x0a0d0d0a, u32(0x1a2b3c4d) .. u16(1) .. u16(0) .. ("\255"):rep(8))

-- The number of the interface for packets of this link type, which is written when there is none yet.
local function interface_of(self, packet)
  local snaplen = packet.captured_size > USUAL_SNAPLEN and LARGEST_SNAPLEN or USUAL_SNAPLEN
  local key = packet.link_type .. " " .. snaplen
  if not self.interfaces[key] then
    local options = option(9, "\9") .. option(0, "") -- if_tsresol: nanoseconds
    local written, message = put(self, block(1, u16(packet.link_type) .. u16(0) .. u32(snaplen) .. options))
    if not written then return nil, message end
    self.interfaces[key], self.count = self.count, self.count + 1
  end
  return self.interfaces[key]
end

-- Each format's functions take the file, of which `handle` is the open one.

local pcapng = {}

function pcapng.begin(self)
  self.interfaces, self.count = {}, 0
  return put(self, SECTION)
end

function pcapng.packet(self, packet)
  local number, message = interface_of(self, packet)
  if not number then return nil, message end
  local time, comment = packet.time_ns, packet.has_comments and packet.comment
  return put(self, block(6, u32(number) .. u32(tonumber(time / 2 ^ 32)) .. u32(tonumber(time % 2 ^ 32))
    .. u32(packet.captured_size) .. u32(packet.raw_size) .. padded(packet.frame_bytes:string())
    .. (comment and option(1, comment) .. option(0, "") or "")))
end

function pcapng.finish() return true end

-- ---- pcap ----

local function write_head(self, link_type)
  self.link_type = link_type
  return put(self, u32(0xa1b23c4d), u16(2), u16(4), u32(0), u32(0), u32(USUAL_SNAPLEN), u32(link_type))
end

local pcap = {}

function pcap.begin() return true end -- which link type is not known yet

function pcap.packet(self, packet)
  if not self.link_type then
    local written, message = write_head(self, packet.link_type)
    if not written then return nil, message end
  end
  local seconds, size, other = tonumber(packet.time_ns / 1000000000), packet.captured_size, nil
  if packet.link_type ~= self.link_type then
    other = ("packets of link types %d and %d"):format(self.link_type, packet.link_type)
  elseif size > USUAL_SNAPLEN then
    other = ("a packet of %d bytes"):format(size)
  elseif seconds >= 2 ^ 32 then
    other = "a packet from after 2106"
  end
  if other then return nil, other .. ": expected a name that ends in .pcapng" end
  return put(self, u32(seconds), u32(tonumber(packet.time_ns % 1000000000)), u32(size), u32(packet.raw_size),
    packet.frame_bytes:string())
end

function pcap.finish(self) return self.link_type or write_head(self, 1) end -- Ethernet, where there was no packet

-- ---- either ----

local file = {}
file.__index = file

--- Writes a packet, in one of its hooks. True, or nil and what went wrong.
function file:write(packet)
  local written, message = self.format.packet(self, packet)
  if not written then return nil, ("%s: %s"):format(self.path, message) end
  self.packets = self.packets + 1
  return true
end

--- Ends the file. True, or nil and what went wrong.
function file:close()
  local written, message = self.format.finish(self)
  local closed, problem = true, nil -- the program itself looks after standard output
  if self.path ~= "-" then closed, problem = self.handle:close() end
  if not written or not closed then return nil, ("%s: %s"):format(self.path, message or problem) end
  return true
end

--- Makes a capture file, replacing one that is there; "-" is standard output. Returns it, or nil and what went wrong.
function captures.create(path)
  local handle, message = io.stdout, nil
  if path ~= "-" then handle, message = io.open(path, "wb") end
  if not handle then return nil, message end
  local format = path:find "%.pcap$" and pcap or pcapng
  local self = setmetatable({ path = path, handle = handle, format = format, packets = 0 }, file)
  local begun, problem = format.begin(self)
  if not begun then return nil, ("%s: %s"):format(path, problem) end
  return self
end

return captures
