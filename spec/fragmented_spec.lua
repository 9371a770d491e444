-- Samples of which every IPv4 packet comes in fragments, the first one first or last: what is counted is the same as of
-- whole ones, and no plugin or script takes a fragment for more than it is.

local bit = require "bit"
local capture = require "nfengine.testing.capture"
local meter = require "spec.support.meter"
local P = require "nfengine.testing.packet"
local plugins = require "spec.support.plugins"
local program = require "spec.support.program"

local LINK, HEADER = 14, 20 -- bytes of Ethernet and of IPv4 without options
local PIECE = 24            -- of what an IP packet carries: as little as can have a TCP header

local function u16(bytes, at) return bytes:byte(at + 1) * 256 + bytes:byte(at + 2) end

-- A frame's IPv4 packet, which gets this identification, in pieces of so many bytes, each a frame; the frame alone
-- where that cannot be.
local function fragments(frame, id)
  local is_ipv4 = u16(frame, LINK - 2) == 0x0800 and frame:byte(LINK + 1) == 0x45
  local size = is_ipv4 and u16(frame, LINK + 2) - HEADER or 0
  if size <= PIECE or #frame < LINK + HEADER + size or bit.band(u16(frame, LINK + 6), 0x3fff) ~= 0 then
    return { frame }
  end
  local list = {}
  for from = 0, size - 1, PIECE do
    local data = frame:sub(LINK + HEADER + from + 1, LINK + HEADER + math.min(from + PIECE, size))
    local place = from / 8 + (from + PIECE < size and 0x2000 or 0)
    list[#list + 1] = frame:sub(1, LINK + 2) .. P.u16(HEADER + #data) .. P.u16(id) .. P.u16(place)
      .. frame:sub(LINK + 9, LINK + HEADER) .. data
  end
  return list
end

-- The frames of a sample, a pcap file of little-endian Ethernet.
local function frames_of(path)
  local bytes, at, frames = program.read(path), 24, {}
  local function u32(from)
    local a, b, c, d = bytes:byte(from + 1, from + 4)
    return ((d * 256 + c) * 256 + b) * 256 + a
  end
  while at < #bytes do
    local size = u32(at + 8)
    frames[#frames + 1] = { bytes = bytes:sub(at + 17, at + 16 + size), time_ns = meter.EPOCH + at * 1000ULL }
    at = at + 16 + size
  end
  return frames
end

local function cut(path, is_first_last)
  local packets = {}
  for id, frame in ipairs(frames_of(path)) do
    local list = fragments(frame.bytes, id)
    for i = 1, #list do
      packets[#packets + 1] = { bytes = list[is_first_last and #list + 1 - i or i], time_ns = frame.time_ns }
    end
  end
  return capture.file(capture.pcap(packets, { ns = true }))
end

-- Nothing but that a message is in several fragments may be said.
local function run(...)
  local result = program.run("-q", ...)
  local said = result.err:gsub("^nfengine: dns: messages that are none of DNS, or were not captured whole: %d+\n$", "")
  assert.same({ 0, "" }, { result.status, said })
  return result.out
end

for _, name in ipairs { "web", "dns", "tls", "dhcp" } do
  local path = ("samples/%s.pcap"):format(name)
  for _, is_first_last in ipairs { false, true } do
    describe(("%s in fragments, the first one %s"):format(path, is_first_last and "last" or "first"), function()
      after_each(capture.cleanup)

      it("has the flows and bytes of the sample", function()
        local words = { "flows", "--no-dpi", "--accounting-mode=2",
          "--columns=id,src_ip,src_port,dst_ip,dst_port,protocol,src2dst_bytes,dst2src_bytes" }
        words[5] = path
        local whole = run(unpack(words))
        words[5] = cut(path, is_first_last)
        assert.equal(whole, run(unpack(words)))
      end)

      it("is taken by every plugin and script", function()
        local file = cut(path, is_first_last)
        run("flows", "--n-meters=1", "--l7-columns=all",
          "--plugin=" .. table.concat(plugins.names(plugins.together()), ","), file)
        for _, entry in ipairs(plugins.apart()) do run("flows", ("--%s=%s"):format(entry.kind, entry.name), file) end
        for _, script in ipairs { "http", "dns", "tls", "summary", "report", "timeline", "top", "early" } do
          run(script, file)
        end
      end)
    end)
  end
end
