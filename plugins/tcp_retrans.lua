--- Repeated and reordered TCP segments, duplicate acknowledgements and keep-alives, in each direction.
--
-- A segment with data, SYN or FIN that begins at or behind the highest sequence number seen so far is new. What begins
-- below it is, the first that holds,
--
--   a keep-alive: no more than the last byte sent, which was acknowledged before (RFC 9293, section 3.8.4);
--   reordered: it fills a gap that opened less than a round trip ago;
--   a retransmission; its bytes are those of its data that lie below the highest sequence number.
--
-- A byte of new data into a closed window is a zero-window probe (RFC 9293, section 3.8.6.1) and counts with the
-- keep-alives. A duplicate acknowledgement is RFC 5681's (section 2): no data, SYN or FIN, the highest number so far,
-- the window of the acknowledgement before, and data of the other side is outstanding. RST counts nowhere.
--
-- What cannot be told apart: a segment lost before the place of capture leaves a gap as one does that was overtaken, so
-- what fills it counts by the time that has passed (Jaiswal et al., Measurement and Classification of Out-of-Sequence
-- Packets, IEEE/ACM ToN 15(1), 2007; tshark takes the time since the highest number). The round trip is the handshake's
-- and at least reorder_ms, which stands for it where none was seen. Of several gaps, the range in which they lie is
-- known and when the first opened: what comes again in that range, and soon, counts as reordered. Packets that are in
-- a capture twice, as of two mirrored ports, count as retransmissions.
--
-- @usage nfengine flows --plugin tcp_retrans --n-dissections=0 --filter='flow.udps.tcp_retrans_src2dst_count > 0' \
--   --columns=src_port,dst_port,udps.tcp_retrans_src2dst_count,udps.tcp_retrans_src2dst_bytes samples/closing.pcap
-- @output
-- src_port,dst_port,udps.tcp_retrans_src2dst_count,udps.tcp_retrans_src2dst_bytes
-- 34439,80,3,0

local nf = require "nfengine"
local tobit = require "bit".tobit -- sequence numbers wrap at 2^32: a is before b where tobit(a - b) < 0

local SEQUENCE, ACKNOWLEDGEMENT, WINDOW = 4, 8, 14 -- in the header (RFC 9293, section 3.1)
local SYN_SEEN, ANSWER_SEEN, DONE = 1, 2, 3        -- how far the handshake is

-- A function that looks at what is sent in one direction. Columns and state begin with `way`, the other side's with
-- `back`.
local function sender(way, back)
  local is_seen, isn, highest = way .. "_is_seen", way .. "_isn", way .. "_highest"
  local gap_begin, gap_end, gap_at = way .. "_gap_begin", way .. "_gap_end", way .. "_gap_at"
  local count, bytes, reordered, keep_alives =
    way .. "_count", way .. "_bytes", way .. "_reordered", way .. "_keep_alives"
  local has_own_acked = way .. "_has_acked"
  local has_acked, acked, window = back .. "_has_acked", back .. "_acked", back .. "_window"

  local function is_acked(udps, sequence) return udps[has_acked] and tobit(udps[acked] - sequence) >= 0 end

  -- Whether there is a gap. What was acknowledged is none: it has arrived, past the capture.
  local function has_gap(udps)
    if udps[gap_begin] == udps[gap_end] then return false end
    if is_acked(udps, udps[gap_end]) then
      udps[gap_begin] = udps[gap_end]
      return false
    end
    if is_acked(udps, udps[gap_begin]) then udps[gap_begin] = udps[acked] end
    return true
  end

  local function open_gap(udps, packet, sequence)
    if not has_gap(udps) then udps[gap_begin], udps[gap_at] = udps[highest], packet.time end
    udps[gap_end] = tobit(sequence)
  end

  -- Takes a segment out of the gap. Returns whether it lay there.
  local function fill_gap(udps, first, behind)
    if not has_gap(udps) or tobit(first - udps[gap_end]) >= 0 or tobit(behind - udps[gap_begin]) <= 0 then
      return false
    end
    local is_to_end = tobit(behind - udps[gap_end]) >= 0
    if tobit(first - udps[gap_begin]) <= 0 then
      udps[gap_begin] = is_to_end and udps[gap_end] or tobit(behind)
    elseif is_to_end then
      udps[gap_end] = tobit(first)
    end
    return true
  end

  local function look_back(udps, packet, sequence, length)
    local below = tobit(udps[highest] - sequence)
    local is_plain = packet.syn == 0 and packet.fin == 0
    if is_plain and length <= 1 and below == 1 and is_acked(udps, udps[highest]) then
      udps[keep_alives] = udps[keep_alives] + 1
    elseif length > 0 then
      if fill_gap(udps, sequence, sequence + length) and packet.time - udps[gap_at] < udps.tcp_retrans_round_trip then
        udps[reordered] = udps[reordered] + 1
      else
        udps[count] = udps[count] + 1
        udps[bytes] = udps[bytes] + math.min(packet.payload_size, below - packet.syn)
      end
    end
  end

  local function begin(udps, packet, sequence)
    udps[is_seen], udps[isn], udps[highest] = true, tobit(sequence), tobit(sequence)
    udps[gap_begin], udps[gap_end] = 0, 0
    if packet.ack == 0 then udps[has_own_acked] = false end
  end

  return function(udps, packet, sequence)
    local length = packet.payload_size + packet.syn + packet.fin -- in sequence numbers
    if not udps[is_seen] or packet.syn == 1 and udps[isn] ~= tobit(sequence) then
      begin(udps, packet, sequence)
    end
    local ahead = tobit(sequence - udps[highest])
    if ahead < 0 then
      look_back(udps, packet, sequence, length)
    elseif ahead > 0 then
      open_gap(udps, packet, sequence)
    elseif packet.payload_size == 1 and udps[has_acked] and udps[window] == 0 then
      udps[keep_alives] = udps[keep_alives] + 1
      return -- the byte will come again, as new
    end
    if tobit(sequence + length - udps[highest]) > 0 then udps[highest] = tobit(sequence + length) end
  end
end

-- A function that looks at what one direction acknowledges.
local function acknowledger(way, back)
  local has_acked, acked, window, dup_acks = way .. "_has_acked", way .. "_acked", way .. "_window", way .. "_dup_acks"
  local is_seen, highest = back .. "_is_seen", back .. "_highest"
  return function(udps, packet, acknowledged, offered)
    local is_first = not udps[has_acked] or packet.syn == 1
    local ahead = tobit(acknowledged - udps[acked])
    if is_first or ahead > 0 then
      udps[has_acked], udps[acked] = true, tobit(acknowledged)
    elseif ahead == 0 and packet.payload_size == 0 and packet.fin == 0 and offered == udps[window]
      and udps[is_seen] and tobit(udps[highest] - acknowledged) > 0 then
      udps[dup_acks] = udps[dup_acks] + 1
    end
    udps[window] = offered
  end
end

local THERE, BACK = "tcp_retrans_src2dst", "tcp_retrans_dst2src"
local send_there, send_back = sender(THERE, BACK), sender(BACK, THERE)
local acknowledge_there, acknowledge_back = acknowledger(THERE, BACK), acknowledger(BACK, THERE)

-- Measures the round trip of the handshake.
local function shake(udps, packet, least)
  if packet.syn == 0 then
    udps.tcp_retrans_round_trip = math.max(packet.time - udps.tcp_retrans_syn_at, least)
    udps.tcp_retrans_handshake = DONE
  elseif packet.ack == 0 then
    udps.tcp_retrans_handshake, udps.tcp_retrans_syn_at = SYN_SEEN, packet.time
  elseif udps.tcp_retrans_handshake == SYN_SEEN then
    udps.tcp_retrans_handshake = ANSWER_SEEN
  end
end

local function look(self, packet, flow)
  if packet.protocol ~= 6 or packet.rst == 1 then return end
  local udps, header = flow.udps, packet.transport_bytes
  local window = header:u16(WINDOW)
  if not window then return end
  local sequence, acknowledged = header:u32(SEQUENCE), header:u32(ACKNOWLEDGEMENT)
  if packet.syn == 1 or udps.tcp_retrans_handshake == ANSWER_SEEN then shake(udps, packet, self.reorder) end
  if packet.direction == 0 then
    if packet.ack == 1 then acknowledge_there(udps, packet, acknowledged, window) end
    send_there(udps, packet, sequence)
  else
    if packet.ack == 1 then acknowledge_back(udps, packet, acknowledged, window) end
    send_back(udps, packet, sequence)
  end
end

return nf.plugin {
  name        = "tcp_retrans",
  version     = "1.0.0",
  api         = 1,
  description = "TCP retransmissions, reordered segments, duplicate ACKs and keep-alives of each direction",
  author      = "the nfengine authors",
  license     = "MIT",
  categories  = { "feature", "tcp", "safe" },
  options     = { reorder_ms = { 3, "milliseconds in which a late segment still counts as reordered", min = 0 } },
  columns     = {
    { "tcp_retrans_src2dst_count", "uint32", "retransmissions" },
    { "tcp_retrans_src2dst_bytes", "uint64", "bytes of data sent again" },
    { "tcp_retrans_src2dst_reordered", "uint32", "segments that came out of order" },
    { "tcp_retrans_src2dst_dup_acks", "uint32", "duplicate acknowledgements" },
    { "tcp_retrans_src2dst_keep_alives", "uint32", "keep-alives and zero-window probes" },
    { "tcp_retrans_dst2src_count", "uint32", "retransmissions" },
    { "tcp_retrans_dst2src_bytes", "uint64", "bytes of data sent again" },
    { "tcp_retrans_dst2src_reordered", "uint32", "segments that came out of order" },
    { "tcp_retrans_dst2src_dup_acks", "uint32", "duplicate acknowledgements" },
    { "tcp_retrans_dst2src_keep_alives", "uint32", "keep-alives and zero-window probes" },
  },
  state       = {
    { "tcp_retrans_handshake", "uint8" }, { "tcp_retrans_syn_at", "double" },
    { "tcp_retrans_round_trip", "double", "time in which what fills a gap counts as reordered" },
    { "tcp_retrans_src2dst_gap_at", "double" }, { "tcp_retrans_dst2src_gap_at", "double", "when it opened" },
    { "tcp_retrans_src2dst_is_seen", "bool" }, { "tcp_retrans_dst2src_is_seen", "bool", "whether highest is set" },
    { "tcp_retrans_src2dst_isn", "int32" }, { "tcp_retrans_dst2src_isn", "int32", "number of its first segment" },
    { "tcp_retrans_src2dst_highest", "int32" }, { "tcp_retrans_dst2src_highest", "int32", "behind all that was sent" },
    { "tcp_retrans_src2dst_gap_begin", "int32" }, { "tcp_retrans_dst2src_gap_begin", "int32", "first byte not seen" },
    { "tcp_retrans_src2dst_gap_end", "int32" }, { "tcp_retrans_dst2src_gap_end", "int32", "behind the last not seen" },
    { "tcp_retrans_src2dst_has_acked", "bool" }, { "tcp_retrans_dst2src_has_acked", "bool", "whether acked is set" },
    { "tcp_retrans_src2dst_acked", "int32" }, { "tcp_retrans_dst2src_acked", "int32", "highest acknowledgement" },
    { "tcp_retrans_src2dst_window", "uint16" }, { "tcp_retrans_dst2src_window", "uint16", "latest, not scaled" },
  },
  setup       = function(self, run) self.reorder = self.reorder_ms * run.ticks_per_second / 1000 end,
  independent = true,
  on_init     = function(self, packet, flow)
    flow.udps.tcp_retrans_round_trip = self.reorder
    look(self, packet, flow)
  end,
  on_update   = look,
}
