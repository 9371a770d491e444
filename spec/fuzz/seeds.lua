-- What fuzz targets begin with, made of the samples and of the reference data: `luajit spec/fuzz/seeds.lua FOLDER`
-- writes a folder of inputs for each target that takes packets or captures. The beginning of each file is enough:
-- fuzzers do best with small inputs.

package.path = "./lua/?.lua;./lua/?/init.lua;./?.lua;" .. package.path

local lfs = require "nfengine.lfs"
local nf = require "nfengine"
local data = require "spec.support.data"
local program = require "spec.support.program"

local MAX_FILE, MAX_PAYLOAD = 4096, 1500 -- bytes
local MAX_FRAMES, MAX_FLOWS, MAX_PACKETS = 12, 6, 8 -- of a capture, of a capture, of a flow

local folder = arg[1]

local function u16(n) return string.char(math.floor(n / 256) % 256, n % 256) end

local function write(target, name, ...)
  local file = assert(io.open(("%s/%s/%s"):format(folder, target, name), "wb"))
  file:write(...)
  file:close()
end

-- ---- whole files, for fuzz_reader and fuzz_meter ----

-- As the targets' first bytes have it: everything on; what the files are packed as is left as it is.
local READER, METER = "\4\7", "\179\10\60\4\8\0\0\0"

local function write_capture(path, name)
  local bytes = program.read(path):sub(1, MAX_FILE)
  write("reader", name, READER, bytes)
  write("meter", name, METER, bytes)
end

-- ---- frames, for fuzz_decode ----

--- Where each link type stands in the target's own list.
local function indices_of_link_types()
  local list = program.read("spec/fuzz/fuzz_decode.c"):match "link_types%[%] = {(.-)}"
  local indices, index = {}, 0
  for link_type in list:gmatch "%d+" do
    indices[tonumber(link_type)], index = index, index + 1
  end
  return indices
end

local indices = indices_of_link_types()

local function write_frame(packet, name)
  write("decode", name, string.char(indices[packet.link_type], 1, 0, 0, 0, 40), packet.frame_bytes:string())
end

-- ---- flows, for fuzz_dpi, and datagrams, for fuzz_quic ----

local SERVERS = 4 -- fuzz_quic's flag

local function begin_flow(packet)
  local kinds = { [6] = 0, [17] = 1, [1] = 2, [58] = 2 }
  local flags = (packet.ip_version == 6 and 1 or 0) + (kinds[packet.protocol] or 3) * 4
  return { string.char(flags), u16(packet.src_port), u16(packet.dst_port) }
end

local function add_payload(flow, packet)
  local payload = packet:payload():sub(1, MAX_PAYLOAD)
  flow[#flow + 1] = string.char(packet.direction) .. u16(#payload) .. payload
end

local function write_datagram(packet, name)
  local payload = packet:payload()
  local is_long = #payload > 1000 and payload:byte() >= 0xC0 -- QUIC's long header
  if is_long then write("quic", name, string.char(packet.direction * SERVERS), payload) end
end

-- ---- captures ----

--- A plugin that writes what it sees of a capture.
local function writer(name)
  local frames, flows, by_key = 0, {}, {}
  local function see(packet, flow)
    frames = frames + 1
    if frames <= MAX_FRAMES then write_frame(packet, ("%s.%d"):format(name, frames)) end
    if packet.protocol == 17 then write_datagram(packet, ("%s.%d"):format(name, frames)) end
    local key = ("%s:%d-%s:%d/%d"):format(flow.src_ip, flow.src_port, flow.dst_ip, flow.dst_port, flow.protocol)
    if not by_key[key] then
      by_key[key] = begin_flow(packet)
      flows[#flows + 1] = by_key[key]
    end
    if #by_key[key] < 3 + MAX_PACKETS then add_payload(by_key[key], packet) end
  end
  return nf.plugin {
    name = "seeds",
    on_init = function(_, packet, flow) see(packet, flow) end,
    on_update = function(_, packet, flow) see(packet, flow) end,
  }, flows
end

local function write_packets(path, name)
  local plugin, flows = writer(name)
  local streamer = nf.streamer {
    source = path, udps = plugin, n_meters = 1, n_dissections = 0, max_packets = 2000,
  }
  for _ in streamer:flows() do end -- luacheck: ignore 542
  for i = 1, math.min(#flows, MAX_FLOWS) do
    write("dpi", ("%s.%d"):format(name, i), table.concat(flows[i]))
  end
end

lfs.mkdir(folder)
for _, target in ipairs { "reader", "meter", "decode", "dpi", "quic" } do lfs.mkdir(folder .. "/" .. target) end
local captures = program.lines "ls samples/*.pcap*"
for _, path in ipairs(data.captures(1)) do captures[#captures + 1] = path end
for i, path in ipairs(captures) do
  local name = ("%d-%s"):format(i, path:match "[^/]+$")
  write_capture(path, name)
  write_packets(path, name)
end
