--- Makes capture files for specs: the bytes of pcap and pcapng in every dialect, and temporary files to hold them.
--
--   local path = capture.file(capture.pcap({ { bytes = frame, sec = 1, frac = 5 } }, { link_type = 101 }))
--   local bytes = capture.pcapng {
--     capture.section { big_endian = true },
--     capture.interface { link_type = 1, tsresol = 9 },
--     capture.enhanced_packet { bytes = frame, sec = 1, frac = 5 },
--   }
--   after_each(capture.cleanup)
--
-- A packet is { bytes = string, size = bytes on the wire (default #bytes), and its time: sec and frac (in units of the
-- file's resolution), or time_ns (a number or uint64_t, ns since 1970), default 0 }. A field or option that nobody
-- reads is an error. Byte strings of integers come from capture.u16, u32 and u64 (little-endian, or big-endian with
-- true as the second argument).

local bit = require "bit"
local ffi = require "ffi"
local fields = require "nfengine.testing.fields"

local capture = {}

local function integer(ctype)
  local box = ffi.typeof(ctype .. "[1]")
  local size = ffi.sizeof(ctype)
  return function(value, big_endian)
    -- Plain Lua numbers beyond 2^31 are no int32_t, so everything goes through a 64-bit value.
    local wide = ffi.cast("uint64_t", type(value) == "number" and value < 0 and ffi.cast("int64_t", value) or value)
    local text = ffi.string(box(ffi.cast(ctype, wide)), size)
    return big_endian and text:reverse() or text
  end
end

capture.u16, capture.u32, capture.u64 = integer "uint16_t", integer "uint32_t", integer "uint64_t"
local u16, u32, u64 = capture.u16, capture.u32, capture.u64

-- Seconds and fraction of a packet, the fraction in units of 1/per_second.
local function seconds_of(packet, per_second)
  if packet.time_ns then
    local ns = ffi.cast("uint64_t", packet.time_ns)
    return tonumber(ns / 1000000000ULL), tonumber(ns % 1000000000ULL / (1000000000ULL / per_second))
  end
  return packet.sec or 0, packet.frac or 0
end

local check_pcap = fields.checker("capture.pcap",
  "big_endian ns modified magic version snaplen link_type lengths_swapped")
local PACKET = "bytes size captured sec frac time_ns"
local check_record = fields.checker("a packet", PACKET)

local MAGIC = { us = 0xa1b2c3d4, ns = 0xa1b23c4d, modified = 0xa1b2cd34 }

--- The file header alone. Options: big_endian; ns (nanosecond fractions); modified (the dialect with 24-byte record
-- headers); magic, version = { 2, 4 }, snaplen = 262144, link_type = 1 as the header shall have them.
function capture.pcap_header(options)
  options = check_pcap(options, 2)
  local big = options.big_endian
  local version = options.version or { 2, 4 }
  local magic = options.magic or options.modified and MAGIC.modified or options.ns and MAGIC.ns or MAGIC.us
  return u32(magic, big) .. u16(version[1], big) .. u16(version[2], big) .. u32(0, big) .. u32(0, big)
    .. u32(options.snaplen or 262144, big) .. u32(options.link_type or 1, big)
end

--- One record. captured overrides the captured length written (not the bytes); lengths_swapped writes the wire length
-- first, as before version 2.3.
function capture.pcap_record(packet, options)
  packet, options = check_record(packet, 2), check_pcap(options, 2)
  local big = options.big_endian
  local sec, frac = seconds_of(packet, options.ns and 1000000000 or 1000000)
  local captured, size = packet.captured or #packet.bytes, packet.size or #packet.bytes
  if options.lengths_swapped then captured, size = size, captured end
  local extra = options.modified and u32(2, big) .. u16(0x0800, big) .. "\0\0" or ""
  return u32(sec, big) .. u32(frac, big) .. u32(captured, big) .. u32(size, big) .. extra .. packet.bytes
end

--- A whole pcap file of a list of packets.
function capture.pcap(packets, options)
  local parts = { capture.pcap_header(options) }
  for i, packet in ipairs(packets) do parts[i + 1] = capture.pcap_record(packet, options) end
  return table.concat(parts)
end

local function padded(bytes) return bytes .. ("\0"):rep(-#bytes % 4) end

--- Any block: its type, and its body's bytes or a function that makes them for a byte order.
function capture.block(type, body)
  return {
    build = function(big)
      local text = padded(_G.type(body) == "function" and body(big) or body)
      local length = u32(#text + 12, big)
      return u32(type, big) .. length .. text .. length
    end,
  }
end

--- Bytes as they are, in place of a block.
function capture.raw(bytes)
  return { build = function() return bytes end }
end

local check_section = fields.checker("capture.section", "big_endian version")

--- A section header; the blocks behind it are written in its byte order. Options: big_endian, version = { 1, 0 }.
function capture.section(options)
  options = check_section(options, 2)
  local version = options.version or { 1, 0 }
  local made = capture.block(0x0a0d0d0a, function(big)
    return u32(0x1a2b3c4d, big) .. u16(version[1], big) .. u16(version[2], big) .. u64(-1, big)
  end)
  made.big_endian = options.big_endian or false
  return made
end

local function option(code, value, big, length)
  return u16(code, big) .. u16(length or #value, big) .. padded(value)
end

-- Options with an end behind them, "" where there are none.
local function options_of(list, big)
  local parts = {}
  for i, each in ipairs(list or {}) do parts[i] = option(each[1], each[2], big, each.length) end
  return #parts > 0 and table.concat(parts) .. option(0, "", big) or ""
end

local check_interface = fields.checker("capture.interface", "link_type snaplen tsresol tsoffset options")

--- An interface. Options: link_type = 1, snaplen = 262144, tsresol (the option's byte: 6, 9, 0x80 + n ...), tsoffset
-- (seconds), options = { { code, bytes }, ... } for others.
function capture.interface(options)
  options = check_interface(options, 2)
  return capture.block(1, function(big)
    local list = { unpack(options.options or {}) }
    if options.tsresol then list[#list + 1] = { 9, string.char(options.tsresol) } end
    if options.tsoffset then list[#list + 1] = { 14, u64(options.tsoffset, big) } end
    return u16(options.link_type or 1, big) .. u16(0, big) .. u32(options.snaplen or 262144, big)
      .. options_of(list, big)
  end)
end

-- Ticks of a packet: given, or of its time in units of 1/per_second (default 10^6).
local function ticks_of(packet)
  if packet.ticks then return ffi.cast("uint64_t", packet.ticks) end
  local per_second = packet.per_second or 1000000
  local sec, frac = seconds_of(packet, per_second)
  return ffi.cast("uint64_t", sec) * per_second + frac
end

local check_timed_packet = fields.checker("a packet", PACKET .. " interface ticks per_second options")

-- The two blocks differ in how they write the interface's number.
local function timed_packet(type, interface_number)
  return function(packet)
    packet = check_timed_packet(packet, 2)
    return capture.block(type, function(big)
      local ticks = ticks_of(packet)
      return interface_number(packet.interface or 0, big) .. u32(bit.rshift(ticks, 32), big)
        .. u32(bit.band(ticks, 0xffffffffULL), big) .. u32(packet.captured or #packet.bytes, big)
        .. u32(packet.size or #packet.bytes, big) .. padded(packet.bytes) .. options_of(packet.options, big)
    end)
  end
end

--- Packets of pcapng: as above, with interface = 0 (its number) and ticks, or per_second = the interface's units a
-- second (default 10^6) by which sec and frac, or time_ns, are counted; options = { { code, bytes }, ... }, which may
-- claim another `length`. A comment is { 1, text }.
capture.enhanced_packet = timed_packet(6, u32)
capture.obsolete_packet = timed_packet(2, function(number, big) return u16(number, big) .. u16(0xffff, big) end)

local check_simple_packet = fields.checker("a packet", "bytes size")

function capture.simple_packet(packet)
  packet = check_simple_packet(packet, 2)
  return capture.block(3, function(big) return u32(packet.size or #packet.bytes, big) .. padded(packet.bytes) end)
end

--- A whole pcapng file of a list of blocks.
function capture.pcapng(blocks)
  local parts, big = {}, false
  for i, each in ipairs(blocks) do
    if each.big_endian ~= nil then big = each.big_endian end
    parts[i] = each.build(big)
  end
  return table.concat(parts)
end

local made = {}

local quoted = require("nfengine.shell").quote

local function write(path, bytes)
  local file = assert(io.open(path, "wb"))
  assert(file:write(bytes))
  file:close()
end

--- Writes a temporary file and returns its path; `suffix` is put behind its name.
function capture.file(bytes, suffix)
  local path = os.tmpname()
  made[#made + 1] = path
  if suffix then
    path = path .. suffix
    made[#made + 1] = path
  end
  write(path, bytes)
  return path
end

--- Makes a temporary folder of files, { name = bytes }, and returns its path.
function capture.folder(files)
  local path = os.tmpname()
  os.remove(path)
  assert(os.execute("mkdir " .. quoted(path)) == 0)
  made[#made + 1] = path
  for name, bytes in pairs(files or {}) do write(path .. "/" .. name, bytes) end
  return path
end

--- Runs bytes through a shell command ("gzip -c", say) and returns what it prints; nil where there is no such command.
function capture.through(command, bytes)
  if os.execute("command -v " .. quoted(command:match "^%S+") .. " >/dev/null 2>&1") ~= 0 then return nil end
  local input = capture.file(bytes)
  local pipe = assert(io.popen(command .. " <" .. quoted(input), "r"))
  local output = pipe:read "*a"
  pipe:close()
  return output
end

--- Removes the temporary files and folders made since the last call.
function capture.cleanup()
  for _, path in ipairs(made) do os.execute("rm -rf " .. quoted(path)) end
  made = {}
end

return capture
