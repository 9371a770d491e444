-- A TCP connection whose two sides say texts, cut into segments with the numbers that belong there:
--
--   local t = talk.new()
--   t:open()
--   t:client "GET / HTTP/1.1\r\n\r\n"
--   t:server("HTTP/1.1 204 No Content\r\n\r\n", { size = 10 })   -- segments of so many bytes; default 1460
--   t:close "server"                                           -- a FIN
--   t.packets                                                  -- one every millisecond
--
-- From 10.0.0.1:1000 to 10.0.0.2:80. talk.new takes `port` of the client, `server_port`, `client_sequence` and
-- `server_sequence` (of their SYN), and `at`, the time in ms of the first packet.

local P = require "nfengine.testing.packet"
local testing = require "nfengine.testing"

local talk = {}
talk.__index = talk

function talk.new(fields)
  fields = fields or {}
  return setmetatable({
    packets = {}, port = fields.port or 1000, server_port = fields.server_port or 80, at = fields.at or 0,
    next = { client = fields.client_sequence or 100, server = fields.server_sequence or 9000 },
  }, talk)
end

local function other(side) return side == "client" and "server" or "client" end

--- A segment of a side at its next sequence number, or `fields.seq`; it acknowledges all that the other one has sent,
-- or up to `fields.ack`. Of its payload `fields.captured` bytes are there, all by default. With `fields.is_lost` it is
-- not in the capture.
function talk:segment(side, flags, payload, fields)
  fields = fields or {}
  local ip = side == "client" and P.ipv4 {} or P.ipv4 { src = "10.0.0.2", dst = "10.0.0.1" }
  local ports = { client = self.port, server = self.server_port }
  local tcp = P.tcp {
    src_port = ports[side], dst_port = ports[other(side)], flags = flags, seq = fields.seq or self.next[side],
    ack = flags:find "A" and (fields.ack or self.next[other(side)]) or 0,
  }
  local packet = testing.at(self.at, P.eth {} .. ip .. tcp .. payload)
  if fields.captured then
    packet.size, packet.bytes = #packet.bytes, packet.bytes:sub(1, #packet.bytes - #payload + fields.captured)
  end
  if not fields.is_lost then self.packets[#self.packets + 1] = packet end
  self.at = self.at + 1
  return packet
end

function talk:say(side, text, fields)
  local size = fields and fields.size or 1460
  for from = 1, #text, size do
    local part = text:sub(from, from + size - 1)
    self:segment(side, "A", part, fields)
    self.next[side] = (self.next[side] + #part) % 2 ^ 32
  end
end

function talk:client(text, fields) self:say("client", text, fields) end
function talk:server(text, fields) self:say("server", text, fields) end

function talk:flag(side, flags)
  self:segment(side, flags, "")
  self.next[side] = (self.next[side] + 1) % 2 ^ 32
end

function talk:open()
  self:flag("client", "S")
  self:flag("server", "SA")
  self:segment("client", "A", "")
end

function talk:close(side) self:flag(side, "FA") end

--- Packets with new times, one every millisecond, in this order.
function talk.in_order(packets)
  local list = {}
  for i, packet in ipairs(packets) do
    list[i] = { bytes = packet.bytes, size = packet.size, time_ns = testing.EPOCH_NS + i * 1000000 }
  end
  return list
end

--- The same in another order, which the packets from `first` to `last` may take.
function talk.shuffled(packets, below, first, last)
  local list = { unpack(packets) }
  for i = last, first + 1, -1 do
    local place = first + below(i - first + 1)
    list[i], list[place] = list[place], list[i]
  end
  return talk.in_order(list)
end

return talk
