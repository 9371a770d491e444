--- Round-trip times of a TCP connection, from its handshake and from acknowledged data.
--
-- The handshake gives two, as the place of capture sees them: from SYN to SYN/ACK is the way to the server and back,
-- from SYN/ACK to ACK the way to the client and back; their sum is the whole. They are -1 where a part was not seen.
-- Behind it, a segment with data (or FIN) is timed until an acknowledgement covers it: src2dst is data from source to
-- destination, so the way from here to the destination and back, with the up to 500 ms that a receiver may wait before
-- it acknowledges (RFC 5681, section 4.2). One segment a direction is timed at once, the next begun when it is done, so
-- samples are about one a round trip, as RFC 6298, section 3 asks for at least.
--
-- Karn's algorithm (RFC 6298, section 3): what was sent twice gives no sample, since nobody can tell which of both was
-- acknowledged. That goes for SYN and SYN/ACK, too. A segment that starts below the highest sequence number seen ends
-- the timing of its direction; one that was only overtaken on its way does, too, as do copies in the capture. What was
-- sent before a flow's first packet is not known.
--
-- Times are in the run's time_unit: with ms, a round trip within a millisecond is 0, and any is up to 1 wrong, so take
-- --time-unit=us where that matters. Where the packets of a capture are not in order of time, the clock stands still
-- and times are too short. Where one flow holds several connections, because ports were used again, the handshake is
-- the first complete one.
--
-- @usage nfengine flows --plugin tcp_rtt --n-dissections=0 --time-unit=us --filter='flow.protocol == 6' \
--   --columns=src_port,udps.tcp_rtt_syn,udps.tcp_rtt_ack,udps.tcp_rtt_src2dst_count,udps.tcp_rtt_src2dst_mean \
--   samples/web.pcap
-- @output
-- src_port,udps.tcp_rtt_syn,udps.tcp_rtt_ack,udps.tcp_rtt_src2dst_count,udps.tcp_rtt_src2dst_mean
-- 43278,46487,207,4,35356.5
-- 49394,21331,4613,2,23073.0
-- 45800,21843,69,2,25561.0
-- 40936,23168,57,2,23716.0
-- ...

local nf = require "nfengine"
local tobit = require "bit".tobit -- sequence numbers wrap at 2^32: a is before b where tobit(a - b) < 0

local SEQUENCE, ACKNOWLEDGEMENT = 4, 8           -- in the header (RFC 9293, section 3.1)
local NOTHING, DATA, SYN, SYN_ACK = 0, 1, 2, 3   -- what is timed

-- A function that looks at what is sent in one direction: the columns of `way` begin with these words.
local function sender(way)
  local is_seen, isn, highest = way .. "_is_seen", way .. "_isn", way .. "_highest"
  local timed, timed_end, timed_at = way .. "_timed", way .. "_timed_end", way .. "_timed_at"
  return function(udps, packet, sequence, length)
    local is_syn = packet.syn == 1
    if is_syn and not (udps[is_seen] and udps[isn] == tobit(sequence)) then -- a connection begins
      udps[isn], udps[highest], udps[timed] = tobit(sequence), tobit(sequence), NOTHING
      if packet.ack == 0 and (udps.tcp_rtt_syn < 0 or udps.tcp_rtt_ack < 0) then
        udps.tcp_rtt_syn, udps.tcp_rtt_ack = -1, -1
      end
    elseif not udps[is_seen] then
      udps[highest] = tobit(sequence)
    end
    udps[is_seen] = true
    local is_new = tobit(sequence - udps[highest]) >= 0
    if tobit(sequence + length - udps[highest]) > 0 then udps[highest] = tobit(sequence + length) end
    if not is_new then
      udps[timed] = NOTHING
    elseif udps[timed] == NOTHING then
      udps[timed] = not is_syn and DATA or packet.ack == 0 and SYN or SYN_ACK
      -- An answer to a SYN need not acknowledge data in it (RFC 7413).
      udps[timed_end] = tobit(sequence + (is_syn and 1 or length))
      udps[timed_at] = udps.tcp_rtt_clock
    end
  end
end

-- A function that looks at what is acknowledged of one direction.
local function receiver(way)
  local timed, timed_end, timed_at = way .. "_timed", way .. "_timed_end", way .. "_timed_at"
  local count, min, max, sum = way .. "_count", way .. "_min", way .. "_max", way .. "_sum"
  return function(udps, packet, acknowledged)
    local what = udps[timed]
    if what == NOTHING or tobit(acknowledged - udps[timed_end]) < 0 then return end
    local time = udps.tcp_rtt_clock - udps[timed_at]
    udps[timed] = NOTHING
    if what == DATA then
      if time < udps[min] or udps[count] == 0 then udps[min] = time end
      if time > udps[max] then udps[max] = time end
      udps[count], udps[sum] = udps[count] + 1, udps[sum] + time
    elseif what == SYN and packet.syn == 1 and udps.tcp_rtt_syn < 0 then
      udps.tcp_rtt_syn = time
    elseif what == SYN_ACK and packet.syn == 0 and udps.tcp_rtt_ack < 0 then
      udps.tcp_rtt_ack = time
    end
  end
end

local send_there, send_back = sender "tcp_rtt_src2dst", sender "tcp_rtt_dst2src"
local receive_there, receive_back = receiver "tcp_rtt_src2dst", receiver "tcp_rtt_dst2src"

local function look(_, packet, flow)
  if packet.protocol ~= 6 then return end
  local udps, header = flow.udps, packet.transport_bytes
  udps.tcp_rtt_clock = udps.tcp_rtt_clock + packet.delta_time
  local sequence, acknowledged = header:u32(SEQUENCE), header:u32(ACKNOWLEDGEMENT)
  if not acknowledged or packet.rst == 1 then return end
  local is_there = packet.direction == 0
  if packet.ack == 1 then
    if is_there then receive_back(udps, packet, acknowledged) else receive_there(udps, packet, acknowledged) end
  end
  local length = packet.payload_size + packet.syn + packet.fin -- in sequence numbers
  if length == 0 then return end
  if is_there then send_there(udps, packet, sequence, length) else send_back(udps, packet, sequence, length) end
end

return nf.plugin {
  name        = "tcp_rtt",
  version     = "1.0.0",
  api         = 1,
  description = "TCP round-trip times: of the handshake, and of data in each direction",
  author      = "the nfengine authors",
  license     = "MIT",
  categories  = { "feature", "tcp", "safe" },
  columns     = {
    { "tcp_rtt_syn", "int64", "from SYN to SYN/ACK, in the run's time_unit; -1 without" },
    { "tcp_rtt_ack", "int64", "from SYN/ACK to ACK; -1 without" },
    { "tcp_rtt_handshake", "int64", "sum of both; -1 where one is missing" },
    { "tcp_rtt_src2dst_count", "uint32", "data of the source that was timed until acknowledged" },
    { "tcp_rtt_src2dst_min", "int64", "shortest time; -1 without" },
    { "tcp_rtt_src2dst_mean", "double", "mean time; -1 without" },
    { "tcp_rtt_src2dst_max", "int64", "longest time; -1 without" },
    { "tcp_rtt_dst2src_count", "uint32", "data of the destination that was timed until acknowledged" },
    { "tcp_rtt_dst2src_min", "int64", "shortest time; -1 without" },
    { "tcp_rtt_dst2src_mean", "double", "mean time; -1 without" },
    { "tcp_rtt_dst2src_max", "int64", "longest time; -1 without" },
  },
  state       = {
    { "tcp_rtt_clock", "double", "time since the flow's first packet: exact, which packet.time in ns is not" },
    { "tcp_rtt_src2dst_is_seen", "bool" }, { "tcp_rtt_dst2src_is_seen", "bool", "whether isn and highest are set" },
    { "tcp_rtt_src2dst_isn", "int32" }, { "tcp_rtt_dst2src_isn", "int32", "sequence number of the SYN" },
    { "tcp_rtt_src2dst_highest", "int32" }, { "tcp_rtt_dst2src_highest", "int32", "behind the last byte sent" },
    { "tcp_rtt_src2dst_timed", "uint8" }, { "tcp_rtt_dst2src_timed", "uint8", "what is timed, if anything" },
    { "tcp_rtt_src2dst_timed_end", "int32" }, { "tcp_rtt_dst2src_timed_end", "int32", "behind its last byte" },
    { "tcp_rtt_src2dst_timed_at", "double" }, { "tcp_rtt_dst2src_timed_at", "double", "when it was sent" },
    { "tcp_rtt_src2dst_sum", "double" }, { "tcp_rtt_dst2src_sum", "double", "of all samples" },
  },
  on_init     = function(self, packet, flow)
    local udps = flow.udps
    udps.tcp_rtt_syn, udps.tcp_rtt_ack, udps.tcp_rtt_handshake = -1, -1, -1
    udps.tcp_rtt_src2dst_min, udps.tcp_rtt_src2dst_mean, udps.tcp_rtt_src2dst_max = -1, -1, -1
    udps.tcp_rtt_dst2src_min, udps.tcp_rtt_dst2src_mean, udps.tcp_rtt_dst2src_max = -1, -1, -1
    look(self, packet, flow)
  end,
  on_update   = look,
  on_expire   = function(_, flow)
    local udps = flow.udps
    local there, back = udps.tcp_rtt_src2dst_count, udps.tcp_rtt_dst2src_count
    if udps.tcp_rtt_syn >= 0 and udps.tcp_rtt_ack >= 0 then
      udps.tcp_rtt_handshake = udps.tcp_rtt_syn + udps.tcp_rtt_ack
    end
    if there > 0 then udps.tcp_rtt_src2dst_mean = udps.tcp_rtt_src2dst_sum / there end
    if back > 0 then udps.tcp_rtt_dst2src_mean = udps.tcp_rtt_dst2src_sum / back end
  end,
}
