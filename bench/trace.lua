--- Makes the traces that `make bench` measures on: for the same samples and size always the same bytes.
--
--   luajit bench/trace.lua mix FILE [PACKETS]         an access network's mixture, ten minutes of it
--   luajit bench/trace.lua syn_flood FILE [PACKETS]   one TCP SYN a flow, from ever new addresses, within ten seconds
--   luajit bench/trace.lua gtpu_flood FILE [PACKETS]  the same within one GTP-U tunnel
--   luajit bench/trace.lua long_flows FILE [PACKETS]  flows that all live to the end, five packets each
--
-- Every flow of samples/*.pcap is a template for the mixture. An instance has the template's frames, fresh addresses
-- and ports, and a pace of its own; checksums are left as they were. Runs in a process of its own, so that its memory
-- does not count as that of the programs measured later.

package.path = "./?.lua;./lua/?.lua;./lua/?/init.lua;" .. package.path

local bit = require "bit"
local ffi = require "ffi"
local C = require "spec.support.core"("frame", "files", "decode")

ffi.cdef [[
  struct bench_frame { uint32_t at, size, ip_offset, transport_offset; bool is_back; double time; };
  size_t fwrite(const void *, size_t, size_t, void *);
]]

local BEGIN = 1700000000 -- of both traces, seconds since 1970
local TCP, UDP = 6, 17

-- ---- writing ----

local Writer = {}
Writer.__index = Writer

local CHUNK, LARGEST = 4194304, 65536

function Writer.open(path)
  local self = { file = assert(io.open(path, "wb")), fill = 0, buffer = ffi.new("uint8_t[?]", CHUNK) }
  setmetatable(self, Writer)
  self:words(0xa1b2c3d4, 0x00040002, 0, 0, 262144, 1)
  return self
end

function Writer:words(...)
  local words = ffi.cast("uint32_t *", self.buffer + self.fill)
  for i = 1, select("#", ...) do words[i - 1] = (select(i, ...)) end
  self.fill = self.fill + 4 * select("#", ...)
end

--- Appends one frame and returns where its copy lies, to be changed until the next one. `time` is in seconds.
function Writer:frame(time, data, size)
  if self.fill + 16 + LARGEST > CHUNK then self:flush() end
  local second = math.floor(time)
  local words = ffi.cast("uint32_t *", self.buffer + self.fill)
  words[0], words[1], words[2], words[3] = BEGIN + second, (time - second) * 1000000, size, size
  local copy = self.buffer + self.fill + 16
  ffi.copy(copy, data, size)
  self.fill = self.fill + 16 + size
  return copy
end

function Writer:flush()
  assert(ffi.C.fwrite(self.buffer, 1, self.fill, self.file) == self.fill, "cannot write: disk full?")
  self.fill = 0
end

function Writer:close()
  self:flush()
  assert(self.file:close())
end

local function put32(at, value)
  at[0], at[1], at[2], at[3] = bit.rshift(value, 24), bit.rshift(value, 16), bit.rshift(value, 8), bit.band(value, 255)
end

local function put16(at, value)
  at[0], at[1] = bit.rshift(value, 8), value
end

-- ---- templates ----

local ETHERNET, LARGEST_FRAME = 1, 1518

local function reversed(tuple)
  local other = ffi.new("struct nf_tuple", tuple)
  other.src_address, other.dst_address = tuple.dst_address, tuple.src_address
  other.src_port, other.dst_port = tuple.dst_port, tuple.src_port
  return other
end

local function key_of(tuple) return ffi.string(tuple, ffi.sizeof "struct nf_tuple") end

local function is_multicast(tuple, ip_version)
  local first = tuple.dst_address[0]
  return ip_version == 4 and first >= 224 or ip_version == 6 and first == 255
end

local function new_template(packet)
  local tuple = ffi.new("struct nf_tuple", packet.tuple)
  return {
    tuple = tuple, parts = {}, frames = {}, bytes = 0,
    has_ports = (tuple.protocol == TCP or tuple.protocol == UDP) and tuple.src_port ~= 0,
    is_multicast = is_multicast(tuple, packet.ip_version),
    -- In an IPv6 address the last four of sixteen bytes are made fresh.
    source_at = packet.ip_version == 4 and 12 or 20, destination_at = packet.ip_version == 4 and 16 or 36,
  }
end

-- Frames and flows of one sample, added to `templates`.
local function add_templates(templates, path)
  local reason = ffi.new("char[?]", C.NF_ERROR_SIZE)
  local source = C.nf_files_open(ffi.new("const char *[1]", { path }), 1, nil, reason)
  assert(source ~= nil, ffi.string(reason))
  local frames, flows = ffi.new "struct nf_frame[64]", {}
  local packet, fragmented = ffi.new "struct nf_packet", ffi.new "struct nf_fragmented"

  local function add(frame)
    if frame.link_type ~= ETHERNET or C.nf_decode(packet, fragmented, frame, true) ~= 0 then return end
    local key = key_of(packet.tuple)
    local template = flows[key] or flows[key_of(reversed(packet.tuple))]
    if not template then
      template = new_template(packet)
      flows[key] = template
      templates[#templates + 1] = template
    end
    template.has_large = template.has_large or frame.captured > LARGEST_FRAME
    template.began = template.began or frame.time_ns
    template.frames[#template.frames + 1] = {
      at = template.bytes, size = frame.captured, ip_offset = packet.ip_offset,
      transport_offset = packet.transport_offset, is_back = key_of(packet.tuple) ~= key_of(template.tuple),
      time = tonumber(frame.time_ns - template.began) / 1e9,
    }
    table.insert(template.parts, ffi.string(frame.data, frame.captured))
    template.bytes = template.bytes + frame.captured
  end

  repeat
    local count = C.nf_files_read(source, frames, 64)
    for i = 0, count - 1 do add(frames[i]) end
  until count < 0
  C.nf_files_close(source)
end

-- Frames as flat memory, in the order of their times.
local function finish(template)
  local count = #template.frames
  template.count, template.data = count, table.concat(template.parts)
  template.frames = ffi.new("struct bench_frame[?]", count, template.frames)
  for i = 1, count - 1 do
    template.frames[i].time = math.max(template.frames[i].time, template.frames[i - 1].time)
  end
  template.duration = template.frames[count - 1].time
  template.parts = nil
end

local function read_templates()
  local templates = {}
  local list = io.popen "LC_ALL=C ls samples/*.pcap"
  for path in list:lines() do add_templates(templates, path) end
  list:close()
  local kept = {}
  for _, template in ipairs(templates) do
    if not template.has_large then
      finish(template)
      kept[#kept + 1] = template
    end
  end
  return kept
end

-- ---- the mixture ----

local function on_port(protocol, ports)
  return function(template)
    local tuple = template.tuple
    return (not protocol or tuple.protocol == protocol) and (ports[tuple.src_port] or ports[tuple.dst_port])
  end
end

-- Shares of the flows, as an access network has them, and which templates serve for each; the first that fits counts.
local CLASSES = {
  { share = 0.08, fits = function(template) return template.tuple.protocol == TCP and template.bytes > 100000 end },
  { share = 0.34, fits = on_port(nil, { [53] = true, [5353] = true }) },
  { share = 0.26, fits = on_port(TCP, { [443] = true, [853] = true, [993] = true, [8443] = true }) },
  { share = 0.14, fits = on_port(TCP, { [80] = true, [81] = true, [8080] = true }) },
  { share = 0.05, fits = function(template) return template.tuple.protocol == TCP and template.bytes > 20000 end },
  { share = 0.02, fits = function(template) return template.tuple.protocol == TCP end },
  { share = 0.01, fits = function(template) return template.tuple.protocol == UDP and template.count > 100 end },
  { share = 0.06, fits = function(template) return template.tuple.protocol == UDP end },
  { share = 0.04, fits = function() return true end },
}

local function choose_class(choice)
  for _, class in ipairs(CLASSES) do
    choice = choice - class.share
    if choice < 0 then return class end
  end
  return CLASSES[1]
end

local function sort_into_classes(templates)
  for _, class in ipairs(CLASSES) do class.templates = {} end
  for _, template in ipairs(templates) do
    for _, class in ipairs(CLASSES) do
      if class.fits(template) then
        table.insert(class.templates, template)
        break
      end
    end
  end
  for i, class in ipairs(CLASSES) do assert(#class.templates > 0, "no sample serves for class " .. i) end
end

local SECONDS, LONGEST_FLOW, SLOWEST = 600, 300, 100
local CLIENTS, SERVERS = 4000, 20000

local function new_flow(template, packets)
  local pace = math.min(SLOWEST ^ math.random(), LONGEST_FLOW / template.duration)
  local tuple = template.tuple
  return {
    template = template, pace = pace, next = 0, count = math.min(template.count, packets),
    start = math.random() * (SECONDS - template.duration * pace),
    client = 0x0a000001 + math.random(0, CLIENTS - 1),
    -- RFC 2544's range for benchmarks
    server = 0xc6120001 + math.random(0, SERVERS - 1),
    -- only a port that the client's system chose is chosen anew
    client_port = tuple.src_port >= 32768 and math.random(32768, 60999) or tuple.src_port,
  }
end

local function draw_flows(packets)
  local flows = {}
  while packets > 0 do
    local class = choose_class(math.random())
    local flow = new_flow(class.templates[math.random(#class.templates)], packets)
    flows[#flows + 1] = flow
    packets = packets - flow.count
  end
  table.sort(flows, function(a, b) return a.start < b.start end)
  return flows
end

local function write_next(writer, flow)
  local template = flow.template
  local frame = template.frames[flow.next]
  local copy = writer:frame(flow.due, ffi.cast("const uint8_t *", template.data) + frame.at, frame.size)
  local ip, transport = copy + frame.ip_offset, copy + frame.transport_offset
  local client_at, server_at = template.source_at, template.destination_at
  if frame.is_back then client_at, server_at = server_at, client_at end
  put32(ip + client_at, flow.client)
  if not template.is_multicast then put32(ip + server_at, flow.server) end
  if template.has_ports then put16(transport + (frame.is_back and 2 or 0), flow.client_port) end
end

-- A heap of flows, the one whose packet is due first on top.

local function sink(heap, flow, size)
  local at = 1
  while 2 * at <= size do
    local child = 2 * at
    if child < size and heap[child + 1].due < heap[child].due then child = child + 1 end
    if flow.due <= heap[child].due then break end
    heap[at], at = heap[child], child
  end
  heap[at] = flow
end

local function rise(heap, flow, at)
  while at > 1 do
    local parent = bit.rshift(at, 1)
    if heap[parent].due <= flow.due then break end
    heap[at], at = heap[parent], parent
  end
  heap[at] = flow
end

local function write_in_order(writer, flows)
  local heap, size, started = {}, 0, 0
  while size > 0 or started < #flows do
    local coming = flows[started + 1]
    if coming and (size == 0 or coming.start <= heap[1].due) then
      coming.due = coming.start
      started, size = started + 1, size + 1
      rise(heap, coming, size)
    else
      local flow = heap[1]
      write_next(writer, flow)
      flow.next = flow.next + 1
      if flow.next == flow.count then
        flow, heap[size], size = heap[size], nil, size - 1
      else
        flow.due = flow.start + flow.template.frames[flow.next].time * flow.pace
      end
      if size > 0 then sink(heap, flow, size) end
    end
  end
end

local makers = {}

function makers.mix(writer, packets)
  sort_into_classes(read_templates())
  write_in_order(writer, draw_flows(packets))
end

-- ---- the floods ----

-- Ethernet, IPv4, TCP with the options that Linux sends; source address and port are filled in.
local SYN = "\2\0\0\0\0\1\2\0\0\0\0\2\8\0" .. "\69\0\0\60\0\0\64\0\64\6\0\0" .. "\0\0\0\0" .. "\198\18\0\1"
  .. "\0\0\0\80" .. "\0\0\0\1\0\0\0\0" .. "\160\2\250\240\0\0\0\0"
  .. "\2\4\5\180\4\2\8\10\0\0\0\1\0\0\0\0\1\3\3\7"

local SYN_IP = 14 -- where its IP packet begins, of 60 bytes

-- The tunnel's Ethernet, IPv4, UDP and GTP-U headers.
local TUNNEL = SYN:sub(1, SYN_IP) .. "\69\0\0\96\0\0\64\0\64\17\0\0" .. "\10\0\0\1\10\0\0\2"
  .. "\8\104\8\104\0\76\0\0" .. "\48\255\0\60\0\0\0\1"

local FLOOD_SECONDS = 10

-- Copies of a frame whose TCP over IPv4 begins at `ip`.
local function flood(writer, packets, frame, ip)
  local address, written = 1, 0
  while written < packets do
    -- xorshift (Marsaglia 2003, triple 13, 17, 5): every number but 0 once before any comes again.
    address = bit.bxor(address, bit.lshift(address, 13))
    address = bit.bxor(address, bit.rshift(address, 17))
    address = bit.bxor(address, bit.lshift(address, 5))
    local first = bit.rshift(address, 24)
    if first ~= 0 and first ~= 127 and first < 224 then
      local copy = writer:frame(written * FLOOD_SECONDS / packets, frame, #frame)
      put32(copy + ip + 12, address)
      put16(copy + ip + 20, math.random(1024, 65535))
      written = written + 1
    end
  end
end

function makers.syn_flood(writer, packets) flood(writer, packets, SYN, SYN_IP) end

function makers.gtpu_flood(writer, packets) flood(writer, packets, TUNNEL .. SYN:sub(SYN_IP + 1), #TUNNEL) end

-- ---- flows that stay ----

local ROUNDS, ROUND_SECONDS, FIRST_ADDRESS = 5, 20, 0x0a000000
local ACK = SYN:sub(1, SYN_IP + 33) .. "\16" .. SYN:sub(SYN_IP + 35)

function makers.long_flows(writer, packets)
  local flows = math.ceil(packets / ROUNDS)
  for i = 0, packets - 1 do
    local copy = writer:frame(i / flows * ROUND_SECONDS, ACK, #ACK)
    put32(copy + SYN_IP + 12, FIRST_ADDRESS + i % flows)
  end
end

-- ---- the program ----

local kind, path, packets = ...
packets = tonumber(packets or 1000000)
if not makers[kind] or not path or not packets or packets < 1 then
  io.stderr:write "usage: luajit bench/trace.lua mix|syn_flood|gtpu_flood|long_flows FILE [PACKETS]\n"
  os.exit(2)
end
math.randomseed(1)
local writer = Writer.open(path .. ".part")
makers[kind](writer, packets)
writer:close()
assert(os.rename(path .. ".part", path))
