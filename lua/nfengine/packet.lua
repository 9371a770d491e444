--- What hooks see of a packet: NFPacket's fields, and safe access to its bytes.
--
-- A packet is valid while its hook runs. Flags are the numbers 0 and 1 (in Lua, 0 counts as true: write
-- `packet.syn == 1`). Fields: number, time, delta_time, direction, raw_size, ip_size, transport_size, payload_size,
-- captured_size, src_ip, src_mac, src_oui, src_port, dst_ip, dst_mac, dst_oui, dst_port, protocol, ip_version,
-- vlan_id, tunnel_id, link_type, fin, syn, rst, psh, ack, urg, ece, cwr; is_fragment, true or false; comment, where a
-- plugin needs comments.
-- Besides, time_ns: the time as captured in nanoseconds since 1970, a 64-bit integer, as a Lua number would not be
-- exact; compare it with 1600000000000000000ULL.
--
-- src and dst are the flow's, swapped where direction is 1, as in NFStream; ports are the packet's own.

local bswap = require "bit".bswap
local ffi = require "ffi"
local C = require "nfengine.lib"
local text = require "nfengine.text"

-- ---- views of captured bytes ----

--- Captured bytes in place. Offsets count from 0, as protocol documents do. What is not there reads as nil, and so does
-- what stands at an offset that was read so.
local view = {}
local new_view = ffi.typeof "struct { const uint8_t *data; int32_t size; }"

--- Nothing is at an offset that was read as nothing. Called with a dot, though, the view itself is missing.
local function absent(self, name)
  if not ffi.istype(new_view, self) then
    error(("view.%s: expected view:%s(offset), with a colon"):format(name, name), 3)
  end
  return nil
end

function view:u8(offset)
  if not offset then return absent(self, "u8") end
  return offset >= 0 and offset < self.size and self.data[offset] or nil
end

--- Big-endian 16, 24 and 32 bit numbers.
function view:u16(offset)
  if not offset then return absent(self, "u16") end
  if not (offset >= 0 and offset + 2 <= self.size) then return nil end
  return self.data[offset] * 256 + self.data[offset + 1]
end

function view:u24(offset)
  if not offset then return absent(self, "u24") end
  if not (offset >= 0 and offset + 3 <= self.size) then return nil end
  return self.data[offset] * 65536 + self.data[offset + 1] * 256 + self.data[offset + 2]
end

local word, unsigned = ffi.typeof "const int32_t *", ffi.typeof "uint32_t"

function view:u32(offset) -- as one number, since there are four times as many instructions to one byte by byte
  if not offset then return absent(self, "u32") end
  if not (offset >= 0 and offset + 4 <= self.size) then return nil end
  return (tonumber(unsigned(bswap(ffi.cast(word, self.data + offset)[0]))))
end

--- `length` bytes from `offset` (the rest when absent) as a Lua string, or nil when they are not all there.
function view:string(offset, length)
  offset = offset or 0
  length = length or self.size - offset
  if not (offset >= 0 and length >= 0 and offset + length <= self.size) then return nil end
  return (ffi.string(self.data + offset, length))
end

--- The part of view from `offset`, of `length` bytes or to its end; nil when it is not all there.
function view:sub(offset, length)
  length = length or self.size - offset
  if not (offset >= 0 and length >= 0 and offset + length <= self.size) then return nil end
  return new_view(self.data + offset, length)
end

local ip_text, mac_text = ffi.new("char[46]"), ffi.new("char[18]")

--- The IP address at this offset as text, of version 4 or 6; nil when it is not all there.
function view:ip(offset, version)
  if not (offset >= 0 and offset + (version == 4 and 4 or 16) <= self.size) then return nil end
  return (ffi.string(ip_text, C.nf_format_ip(ip_text, self.data + offset, version)))
end

setmetatable(view, {
  __index = function(_, key)
    error(("a view has no '%s', expected u8, u16, u24, u32, string, sub or ip"):format(tostring(key)), 2)
  end,
})

ffi.metatype(new_view, {
  __index = view,
  __len = function(self) return self.size end,
})

local function clipped(packet, offset, size)
  local there = packet.captured_size - offset
  return new_view(packet.frame + offset, size < there and size or there)
end

-- ---- fields that are computed; the others are the struct's own ----

local function format_mac(address)
  return (ffi.string(mac_text, C.nf_format_mac(mac_text, address)))
end

-- As in NFStream the addresses of both ends are the flow's, whichever way the packet went.
local function source_mac(p) return p.direction == 0 and p.flow.src_mac_address or p.flow.dst_mac_address end
local function destination_mac(p) return p.direction == 0 and p.flow.dst_mac_address or p.flow.src_mac_address end

local function format_ip(p, address)
  return (ffi.string(ip_text, C.nf_format_ip(ip_text, address, p.ip_version)))
end

-- The parentheses keep calls from being tail calls, of which LuaJIT follows only a few in one trace.
local getters = {
  src_ip = function(p) return (format_ip(p, p.src_address)) end,
  dst_ip = function(p) return (format_ip(p, p.dst_address)) end,
  src_mac = function(p) return (format_mac(source_mac(p))) end,
  dst_mac = function(p) return (format_mac(destination_mac(p))) end,
  src_oui = function(p) return (format_mac(source_mac(p)):sub(1, 8)) end,
  dst_oui = function(p) return (format_mac(destination_mac(p)):sub(1, 8)) end,
  --- Views: captured bytes in place, valid while the hook runs.
  frame_bytes = function(p) return (new_view(p.frame, p.captured_size)) end,
  ip_bytes = function(p) return (clipped(p, p.ip_offset, p.ip_size)) end,
  transport_bytes = function(p) return (clipped(p, p.transport_offset, p.transport_size)) end,
  payload_bytes = function(p) return (clipped(p, p.payload_offset, p.payload_size)) end,
  --- The comment that a pcapng file has on the packet, the first of several, or nil.
  comment = function(p)
    if p.comment_data ~= nil then return (ffi.string(p.comment_data, p.comment_size)) end
    if not p.has_comments then error('packet.comment: add needs = { "comments" } to the plugin', 3) end
    return nil
  end,
}

local methods = {}

local function check_self(p, name)
  if not ffi.istype("struct nf_packet", p) then
    error(("packet.%s: expected packet:%s(), with a colon"):format(name, name), 3)
  end
end

--- The captured bytes from the innermost IP header to the end of the frame, padding included, as a Lua string.
function methods.ip_packet(p)
  check_self(p, "ip_packet")
  return ffi.string(p.frame + p.ip_offset, p.captured_size - p.ip_offset)
end

--- The captured bytes behind the transport header, without padding, as a Lua string; "" when there are none.
function methods.payload(p)
  check_self(p, "payload")
  return getters.payload_bytes(p):string()
end

local function unknown(key)
  local names = text.sorted_keys(getters)
  for field in ("number time time_ns delta_time direction raw_size ip_size transport_size payload_size captured_size "
    .. "src_port dst_port protocol ip_version vlan_id tunnel_id link_type is_fragment "
    .. "fin syn rst psh ack urg ece cwr"):gmatch "%S+" do
    names[#names + 1] = field
  end
  error(("packet has no '%s'%s"):format(tostring(key), text.suggest(key, names)), 3)
end

ffi.metatype("struct nf_packet", {
  __index = function(p, key)
    local get = getters[key]
    if get then return (get(p)) end -- no tail call: LuaJIT follows only a few in one trace
    return methods[key] or unknown(key)
  end,
  __newindex = function(_, key)
    error(("packet.%s cannot be set: packets are read-only"):format(tostring(key)), 2)
  end,
})

return { getters = getters, methods = methods, view = new_view }
