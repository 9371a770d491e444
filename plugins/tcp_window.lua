--- Receive windows of both ends of a TCP connection: first, smallest, largest, and how often closed.
--
-- A window is what a segment's sender is ready to receive, in bytes. Its field in the header has 16 bits, which the
-- window scale option shifts to the left (RFC 7323, section 2). The shift of each end is in its SYN and counts only if
-- both SYNs have the option; the windows of the SYNs themselves are never shifted. So the shifts are known once both
-- SYNs were seen, and are 0 where one of them came without the option. A SYN/ACK alone tells its sender's, since it
-- has the option only where the SYN had it; without the option it tells both. Where a shift is not known, as in a flow
-- that begins in the middle of a connection, it is -1 and windows are the header's, maybe a small part of the real one.
--
-- The initial window is the one in the first segment of a direction, a SYN most of the time: CICFlowMeter's
-- Init_Win_bytes. Segments with RST count there only, since their window says nothing and often is 0. Closed windows
-- count in all others, SYN and FIN included. A direction without a segment, or whose segments were all cut before the
-- field, has -1. Where one flow holds several connections, because ports were used again, shifts are the latest one's.
--
-- With scale=false all windows are as the header has them.
--
-- @usage nfengine flows --plugin tcp_window --n-dissections=0 --filter='flow.protocol == 6' \
--   --columns=src_port,udps.tcp_window_src2dst_init,udps.tcp_window_src2dst_max,udps.tcp_window_src2dst_shift \
--   samples/web.pcap
-- @output
-- src_port,udps.tcp_window_src2dst_init,udps.tcp_window_src2dst_max,udps.tcp_window_src2dst_shift
-- 43278,64240,80896,10
-- 49394,64240,70656,10
-- 45800,64800,147456,10
-- 40936,64240,64512,10
-- ...

local bit = require "bit"
local nf = require "nfengine"
local lshift, rshift = bit.lshift, bit.rshift

local DATA_OFFSET, WINDOW, OPTIONS = 12, 14, 20 -- in the header (RFC 9293, section 3.1)
local END, NO_OPERATION, WINDOW_SCALE = 0, 1, 3 -- kinds of options
local LARGEST_SHIFT = 14                        -- larger ones are taken for it (RFC 7323, section 2.3)
local UNSEEN, WITHOUT = 0, -1                   -- what a SYN offers: not known, no shift, or 1 + the shift

-- What a SYN offers.
local function offer_of(header)
  local at, size = OPTIONS, rshift(header:u8(DATA_OFFSET), 4) * 4
  while at < size do
    local kind = header:u8(at)
    if kind == END then return WITHOUT end
    local length = kind == NO_OPERATION and 1 or header:u8(at + 1)
    if not length then return UNSEEN end -- not captured
    if kind ~= NO_OPERATION and length < 2 or at + length > size then return WITHOUT end -- no list of options
    if kind == WINDOW_SCALE and length == 3 then
      local shift = header:u8(at + 2)
      return shift and 1 + math.min(shift, LARGEST_SHIFT) or UNSEEN
    end
    at = at + length
  end
  return WITHOUT
end

-- Learns from a SYN what the two ends shift by.
local function learn(udps, packet, header)
  local offer = offer_of(header)
  if packet.direction == 0 then udps.tcp_window_src2dst_offer = offer else udps.tcp_window_dst2src_offer = offer end
  local there, back = udps.tcp_window_src2dst_offer, udps.tcp_window_dst2src_offer
  local is_told = packet.ack == 1 or there ~= UNSEEN and back ~= UNSEEN
  if offer == UNSEEN or not is_told then return end
  if there == WITHOUT or back == WITHOUT then
    udps.tcp_window_src2dst_shift, udps.tcp_window_dst2src_shift = 0, 0
  else
    if there ~= UNSEEN then udps.tcp_window_src2dst_shift = there - 1 end
    if back ~= UNSEEN then udps.tcp_window_dst2src_shift = back - 1 end
  end
end

-- A function that counts windows of one direction, whose columns begin with these words.
local function counter_of(way)
  local init, min, max, zero = way .. "_init", way .. "_min", way .. "_max", way .. "_zero"
  return function(udps, window, is_reset)
    if udps[init] < 0 then udps[init] = window end
    if is_reset then return end
    if window < udps[min] or udps[min] < 0 then udps[min] = window end
    if window > udps[max] then udps[max] = window end
    if window == 0 then udps[zero] = udps[zero] + 1 end
  end
end

local count_there, count_back = counter_of "tcp_window_src2dst", counter_of "tcp_window_dst2src"

local function look(self, packet, flow)
  if packet.protocol ~= 6 then return end
  local udps, header = flow.udps, packet.transport_bytes
  local window = header:u16(WINDOW)
  if not window then return end
  local is_syn, is_reset, is_there = packet.syn == 1, packet.rst == 1, packet.direction == 0
  if is_syn then
    learn(udps, packet, header)
  elseif self.scale then
    local shift = is_there and udps.tcp_window_src2dst_shift or udps.tcp_window_dst2src_shift
    if shift > 0 then window = lshift(window, shift) end
  end
  if is_there then count_there(udps, window, is_reset) else count_back(udps, window, is_reset) end
end

return nf.plugin {
  name        = "tcp_window",
  version     = "1.0.0",
  api         = 1,
  description = "TCP receive windows of each direction: initial, smallest, largest, closed",
  author      = "the nfengine authors",
  license     = "MIT",
  categories  = { "feature", "tcp", "safe" },
  options     = { scale = { true, "apply window scaling; false gives the header's values" } },
  columns     = {
    { "tcp_window_src2dst_init", "int32", "window of the first segment, bytes; -1 without" },
    { "tcp_window_src2dst_min", "int32", "smallest window, bytes; -1 without" },
    { "tcp_window_src2dst_max", "int32", "largest window, bytes; -1 without" },
    { "tcp_window_src2dst_zero", "uint32", "segments with a window of 0" },
    { "tcp_window_src2dst_shift", "int8", "bits that windows are shifted by, 0 to 14; -1: not known" },
    { "tcp_window_dst2src_init", "int32", "window of the first segment back, bytes; -1 without" },
    { "tcp_window_dst2src_min", "int32", "smallest window, bytes; -1 without" },
    { "tcp_window_dst2src_max", "int32", "largest window, bytes; -1 without" },
    { "tcp_window_dst2src_zero", "uint32", "segments with a window of 0" },
    { "tcp_window_dst2src_shift", "int8", "bits that windows are shifted by, 0 to 14; -1: not known" },
  },
  state       = { { "tcp_window_src2dst_offer", "int8" }, { "tcp_window_dst2src_offer", "int8" } },
  on_init     = function(self, packet, flow)
    local udps = flow.udps
    udps.tcp_window_src2dst_init, udps.tcp_window_dst2src_init = -1, -1
    udps.tcp_window_src2dst_min, udps.tcp_window_dst2src_min = -1, -1
    udps.tcp_window_src2dst_max, udps.tcp_window_dst2src_max = -1, -1
    udps.tcp_window_src2dst_shift, udps.tcp_window_dst2src_shift = -1, -1
    look(self, packet, flow)
  end,
  on_update   = look,
}
