--- What do the first packets of each flow look like, as arrays for deep models? Writes a file for NumPy.
--
-- --write=NAME.npz has arrays of the same flows in the same order; NAME_keys.csv beside it has the flows' columns,
-- those of --columns or all that are no lists. --channels says which arrays there are, each of flows x packets x
-- values:
--
--   size, direction, time   x, float32, a channel each in this order: the packet's size as --accounting-mode counts it;
--                           1 from source to destination and -1 back; time since the packet before, in --time-unit
--   payload:N               payload, uint8: the first N bytes behind the transport header
--   nprint                  nprint, int8: the bits of its headers, 1, 0 and -1 for none, as plugin nprint has them
--
-- Where a flow has fewer packets the rest is 0, and -1 in nprint; lengths, int32, says how many there are. With --label
-- or --label-rules there are y, int64, and classes: a flow is of classes[y]. Flows without a label are left out. With
-- --label-by-file the captures' names, or their folders', are labels. Results are the same for any number of meters.
--
-- @categories export
-- @usage nfengine -q series --columns=src_ip,src_port,dst_ip,dst_port,bidirectional_packets samples/dns.pcap -- \
--   --write=dns.npz --packets=4 && head -n 3 dns_keys.csv
-- @output
-- src_ip,src_port,dst_ip,dst_port,bidirectional_packets
-- "192.0.2.10",53328,"192.0.2.1",53,2
-- "192.0.2.10",57309,"192.0.2.1",53,2

local nf = require "nfengine"
local bundle = require "nfengine.bundle"
local bytes = require "nfengine.bytes"
local labelling = require "nfengine.dataset.labelling"
local npy = require "nfengine.npy"
local report = require "nfengine.report"
local text = require "nfengine.text"

local options = nf.options(labelling.options({
  write = { "", "file for the arrays, NAME.npz" },
  packets = { 20, "packets of each flow", integer = true, min = 1, max = 1000 },
  channels = { { "size", "direction", "time" }, "what of each: size, direction, time, payload:N, nprint" },
  headers = { { "ipv4", "tcp", "udp", "icmp" }, "which headers nprint has bits of: of these and ipv6" },
  unlabelled = { "", "label for flows without one, which otherwise are left out" },
}, true))

local function refuse(...) error({ usage = string.format(...) }, 0) end

-- ---- what is wanted ----

local scalars, payload_size, has_nprint = {}, 0, false
for _, word in ipairs(options.channels) do
  local size = tonumber(word:match "^payload:(%d+)$")
  if size and size >= 1 and size <= 2000 then
    payload_size = size
  elseif word == "nprint" then
    has_nprint = true
  elseif word == "size" or word == "direction" or word == "time" then
    table.insert(scalars, word)
  else
    refuse("--channels: %s: expected size, direction, time, payload:N of 1 to 2000 bytes, or nprint", text.quote(word))
  end
end

local folder, name = options.write:match "^(.-)([^/]+)%.npz$"
if not name then refuse "expected --write=NAME.npz behind --" end

local function take_payload(self, packet, flow)
  local number, payload = flow.bidirectional_packets, packet.payload_bytes
  if number <= self.packets then
    local first = #payload > self.size and payload:sub(0, self.size) or payload
    bytes.copy(first, flow.udps.series_payload, (number - 1) * self.size)
  end
  if number >= self.packets then flow:done() end
end

-- The first payload bytes of each packet, one packet behind the other.
local Payload = nf.plugin {
  name = "series_payload",
  options = { packets = { 1, "packets", integer = true }, size = { 1, "bytes of each", integer = true } },
  columns = function(given)
    return { { "series_payload", ("uint8[%d]"):format(given.packets * given.size), "first payload bytes" } }
  end,
  on_init = take_payload,
  on_update = take_payload,
}

local function plugins()
  local list = {}
  if payload_size > 0 then table.insert(list, Payload { packets = options.packets, size = payload_size }) end
  if has_nprint then
    table.insert(list, require "plugins.nprint" { packets = options.packets, headers = options.headers })
  end
  return list
end

local labels = labelling.new(options, plugins())
local streamer = nf.streamer {
  splt_analysis = options.packets, n_dissections = labels.n_dissections,
  dpi_cache = false, -- so that L7, if asked for, is the same for any number of meters
  udps = labels:plugins(),
}
if labels.is_apart then labelling.check_files(streamer) end
if streamer.splt_analysis ~= options.packets then
  refuse("--splt-analysis=%d: expected --packets=%d behind --, and nothing else", streamer.splt_analysis,
    options.packets)
end

-- ---- arrays ----

local files = bundle.new(folder == "" and "." or folder, { name .. "_keys.csv", name .. ".npz" })
local arrays, order = {}, {}

local function add_array(what, kind, shape)
  arrays[what] = npy.create(files:path(name .. ".npz") .. "." .. what, kind, shape)
  order[#order + 1] = what
end

local time_column = "splt_piat_" .. streamer.time_unit

-- One packet's value, by channel.
local READ = {
  size = function(flow, i) return flow.splt_ps[i] end,
  direction = function(flow, i) return flow.splt_direction[i] == 0 and 1 or -1 end,
  time = function(flow, i) return flow[time_column][i] end,
}

local function put_scalars(flow, count)
  local row = arrays.x.row
  arrays.x:clear()
  for channel, what in ipairs(scalars) do
    local read = READ[what]
    for i = 1, count do row[(i - 1) * #scalars + channel - 1] = read(flow, i) end
  end
  arrays.x:write()
end

-- ---- labels ----

local classes, seen = {}, {} -- of each flow; set of all

local function class_of(flow)
  local value = tostring(flow[labels.column])
  if value ~= "" then return value end
  return options.unlabelled ~= "" and options.unlabelled or nil
end

local function write_labels()
  local names, numbers, longest = text.sorted_keys(seen), {}, 1
  for i, each in ipairs(names) do
    numbers[each], longest = i - 1, math.max(longest, #each)
  end
  add_array("y", "int64", {})
  add_array("classes", "text:" .. longest, {})
  for _, each in ipairs(classes) do arrays.y:write_number(numbers[each]) end
  for _, each in ipairs(names) do arrays.classes:write_text(each) end
end

-- ---- the sink ----

local sink = {}

-- How long a list of the run is.
local function length_of(available, column)
  for _, each in ipairs(available) do
    if each.name == column then return each.length end
  end
end

function sink:open(columns, crew, available)
  if self.is_open then return end -- by an earlier capture, whose columns are the same
  local keys = {}
  for _, column in ipairs(columns) do
    if not column.is_array then keys[#keys + 1] = column end
  end
  self.keys = keys[1] and files:table(name .. "_keys.csv", keys, crew)
  if scalars[1] then add_array("x", "float32", { options.packets, #scalars }) end
  if payload_size > 0 then add_array("payload", "uint8", { options.packets, payload_size }) end
  if has_nprint then
    add_array("nprint", "int8", { options.packets, length_of(available, "udps.nprint") / options.packets })
  end
  add_array("lengths", "int32", {})
  self.is_open = true
end

function sink:write(flow)
  if labels.column then
    local class = class_of(flow)
    if not class then return true end
    classes[#classes + 1], seen[class] = class, true
  end
  local length = math.min(flow.bidirectional_packets, options.packets)
  if scalars[1] then put_scalars(flow, length) end
  if payload_size > 0 then arrays.payload:write(flow.udps.series_payload) end
  if has_nprint then arrays.nprint:write(flow.udps.nprint) end
  arrays.lengths:write_number(length)
  return not self.keys or self.keys:write(flow)
end

local function remove_parts()
  for _, what in ipairs(order) do os.remove(arrays[what].path) end
end

--- Writes all files. Returns false where somebody has interrupted that.
local function write()
  if not labels:read(streamer, sink) then return false end
  if labels.column then write_labels() end
  local members = {}
  for i, what in ipairs(order) do
    arrays[what]:close()
    members[i] = { what, arrays[what].path }
  end
  npy.zip(files:path(name .. ".npz"), members)
  files:close()
  files:finish()
  return true
end

local ok, result = pcall(write)
remove_parts()
if not ok or not result then files:abandon() end
if not ok then error(result, 0) end
if not result then report.say "interrupted: no arrays were written" end
