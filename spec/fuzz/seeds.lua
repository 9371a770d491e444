-- What fuzz targets begin with, made of the samples, of the reference data and of the scripts and plugins: `luajit
-- spec/fuzz/seeds.lua FOLDER` writes a folder of inputs for each target that takes any of them. The beginning of each
-- capture is enough: fuzzers do best with small inputs.

package.path = "./lua/?.lua;./lua/?/init.lua;./?.lua;" .. package.path

local cli = require "nfengine.cli"
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

-- ---- command lines, scripts, plugins and words, for fuzz_lua ----

-- What the target's first byte chooses.
local COMMAND_LINE, SCRIPT_OPTIONS, EXPRESSION, COMMENT, PLUGIN, TABLE, RULES, WORDS = 0, 1, 2, 3, 4, 5, 6, 7

local texts = {
  [SCRIPT_OPTIONS] = {
    "--count=7\0--share\00.25\0--loud\0--no-loud\0--name=x\0--unit=us\0--names=a,b\0--rules=f", "--count=0\0--\0rest",
  },
  [EXPRESSION] = { "tcp and not (slow or payload)", "host_* dns, safe", "not not (a or b) and c" },
  [TABLE] = { 'a,b\r\n"x ""y"", z",2\n', '"a\nb",c\n1,"\\"2"\n', "\239\187\191a\n1\n" },
  [RULES] = {
    "label,src_ip,dst_ip,src_port,dst_port,protocol,start,end\nweb,10.0.0.0/8,,,80,tcp,2026-11-23,2026-11-24 12:30\n",
    "# remark\nBPF:tcp port 80|TS_START:1.5|TS_END:3,web,key\n", "TS_START:1600000000,one\nBPF:udp,two\n",
  },
  [WORDS] = {
    "2026-02-28T23:59:60.123456789Z\01700000000.5\01970-01-01 00:00", "10.0.0.0/9\0::ffff:1.2.3.4/97\02001:db8::1\0::",
    "65535\0255\0icmpv6\0TCP", "s=7,proc=dns,label=x\07,web\0dst=a",
  },
}

local function write_texts()
  for kind, list in pairs(texts) do
    for i, text in ipairs(list) do write("lua", ("%d.%d"):format(kind, i), string.char(kind), text) end
  end
  for _, option in ipairs(cli.declaration()) do
    local name = option.name:gsub("_", "-")
    local value = option.choices and option.choices[1] or option.default ~= nil and tostring(option.default) or "a.b=1"
    local shown = option.kind == "boolean" and "--no-" .. name or ("--%s\0%s"):format(name, value)
    write("lua", "option." .. name, string.char(COMMAND_LINE), shown, "\0--", name, "=", value)
  end
  for _, path in ipairs(program.lines "ls scripts/*.lua plugins/*.lua") do
    local kind = path:find "^plugins" and PLUGIN or COMMENT
    write("lua", path:gsub("/", "."), string.char(kind), program.read(path))
  end
end

-- ---- models, for fuzz_model ----

-- Numbers from -128 to 127, as the target reads them.
local function small(number) return "\11" .. string.char(number + 128) end

-- Two features, a node that compares the first one in each way, with each link and each rule for what is absent.
local function write_models()
  local OUTPUTS, NODES, TREES, SET_WORDS, SPLITS, LINKS = 1, 3, 1, 1, 7, 9
  for i = 0, SPLITS * LINKS - 1 do
    local split, link, absent = i % SPLITS + 1, i % LINKS, i % 8
    local condition = split == SPLITS and "\0\1" or small(2)
    local is_normalized, is_even = i % 3 == 0 and 1 or 0, i % 2
    local fills = i % 5 == 0 and "\1" .. small(0) .. small(1) or "\0"
    write("model", tostring(i), string.char(2, OUTPUTS, NODES, TREES, SET_WORDS, link, i % 2, is_normalized, is_even),
      small(1 + i % 2), small(1), fills, "\0\0\0\0\1", small(1), "\0\0\0\0\5", "\0",
      string.char(split, absent, 0, 1, 2), condition, "\0\0\0\1\0", small(3), "\0\0\0\1\0", small(-4), small(0),
      small(1), "\255\255", small(5), small(2))
  end
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
for _, target in ipairs { "reader", "meter", "decode", "dpi", "quic", "lua", "model" } do
  lfs.mkdir(folder .. "/" .. target)
end
write_texts()
write_models()
local captures = program.lines "ls samples/*.pcap*"
for _, path in ipairs(data.captures(1)) do captures[#captures + 1] = path end
for i, path in ipairs(captures) do
  local name = ("%d-%s"):format(i, path:match "[^/]+$")
  write_capture(path, name)
  write_packets(path, name)
end
