--- Series: what the first packets of flows look like, as arrays for NumPy, and the flows' columns beside them.
--
--   local channels = series.channels({ "size", "payload:4" }, 20, {})
--   local labels = labelling.new(options, channels.plugins)
--   local streamer = nf.streamer { splt_analysis = 20, udps = labels:plugins() }
--   channels:check(streamer)
--   local made = series.new { write = "x.npz", channels = channels, time_unit = streamer.time_unit }
--   … labels:read(streamer, made) …             -- a sink
--   made:finish()                               -- or made:abandon()
--
-- Arrays grow in files of their own and become one in the end. A row's length is that of the column it comes from.

local bundle = require "nfengine.bundle"
local bytes = require "nfengine.bytes"
local collection = require "nfengine.collection"
local npy = require "nfengine.npy"
local plugin = require "nfengine.plugin"
local text = require "nfengine.text"

local series = {}

local function refuse(...) error({ usage = string.format(...) }, 0) end

-- ---- channels ----

local channels = {}
channels.__index = channels

local SCALARS = { size = true, direction = true, time = true }
local MOST_PAYLOAD = 2000 -- bytes

--- A plugin with the first payload bytes of each packet, one packet behind the other. It has no options, as an array's
-- rows are what these would say: -a finds none.
local function payload_plugin(given)
  local packets, size = given.packets, given.size
  local function take(_, packet, flow)
    local number, payload = flow.bidirectional_packets, packet.payload_bytes
    if number <= packets then
      local first = #payload > size and payload:sub(0, size) or payload
      bytes.copy(first, flow.udps.series_payload, (number - 1) * size)
    end
    if number >= packets then flow:done() end
  end
  return plugin.declare {
    name = "series_payload",
    columns = { { "series_payload", ("uint8[%d]"):format(packets * size), "first payload bytes" } },
    on_init = take,
    on_update = take,
  } {}
end

--- Adds a plugin for a channel, if it can be as it is asked for.
local function add_plugin(self, word, make, given)
  given.packets = self.packets
  local ok, made = pcall(make, given)
  if not ok then refuse("--channels=%s of --packets=%d: %s", word, self.packets, text.raised(made)) end
  table.insert(self.plugins, made)
  return made
end

--- What arrays are to hold of each packet. Raises a usage error.
-- @param words list: "size", "direction", "time", "payload:N" for N bytes, "nprint"
-- @param packets of each flow
-- @param headers that nprint is to have bits of, see plugin nprint
-- @return an object with `plugins`, the instances that a run needs for it
function series.channels(words, packets, headers)
  local self = setmetatable({ packets = packets, scalars = {}, plugins = {} }, channels)
  local payload, has_nprint = nil, false
  for _, word in ipairs(words) do
    local size = tonumber(word:match "^payload:(%d+)$")
    if size and size >= 1 and size <= MOST_PAYLOAD then
      payload = size
    elseif word == "nprint" then
      has_nprint = true
    elseif SCALARS[word] then
      table.insert(self.scalars, word)
    else
      refuse("--channels: %s: expected size, direction, time, payload:N of 1 to %d bytes, or nprint", text.quote(word),
        MOST_PAYLOAD)
    end
  end
  if payload then self.payload = add_plugin(self, "payload:" .. payload, payload_plugin, { size = payload }) end
  if has_nprint then self.nprint = add_plugin(self, "nprint", collection.load_own "nprint", { headers = headers }) end
  return self
end

--- Raises a usage error where the command line has a run look at another number of packets.
-- @param streamer with the plugins
function channels:check(streamer)
  local function check(word, packets)
    if packets ~= self.packets then
      refuse("%s=%d: expected --packets=%d behind --, and nothing else", word, packets, packets)
    end
  end
  check("--splt-analysis", streamer.splt_analysis)
  if self.nprint then check("-a nprint.packets", self.nprint.packets) end -- as the streamer has it now
end

-- ---- arrays ----

local made = {}
made.__index = made

--- Begins the files. Raises one line where they cannot be written, or are there already.
-- @param given `write`, a path NAME.npz; `channels`; `time_unit` of the run; `label`, a column, or nil; `unlabelled`,
--   the label of flows that have none, which are left out without it
-- @return an object that is a sink for all runs of a streamer, from which finish or abandon makes the files
function series.new(given)
  local folder, name = given.write:match "^(.-)([^/]+)%.npz$"
  if not name then refuse("--write=%s: expected NAME.npz behind --", given.write) end
  return setmetatable({
    files = bundle.new(folder == "" and "." or folder, { name .. "_keys.csv", name .. ".npz" }), name = name,
    channels = given.channels, time_column = "splt_piat_" .. given.time_unit, label = given.label,
    unlabelled = given.unlabelled, arrays = {}, order = {},
    classes = {}, seen = {}, -- the class of each flow, and all that there are
  }, made)
end

local function add_array(self, what, kind, shape)
  self.arrays[what] = npy.create(self.files:path(self.name .. ".npz") .. "." .. what, kind, shape)
  table.insert(self.order, what)
end

--- The same for a column that holds so many values a packet, one packet behind the other.
local function add_array_of(self, what, kind, column)
  add_array(self, what, kind, { self.channels.packets, column.length / self.channels.packets })
end

--- A sink's.
function made:open(columns, crew, available)
  local by_name = {}
  for _, column in ipairs(available) do by_name[column.name] = column end
  if self.label and not by_name[self.label] then
    text.fail("no column %s in this run%s", text.quote(self.label),
      text.suggest(self.label, text.sorted_keys(by_name)))
  end
  if self.is_open then return end -- by an earlier capture, whose columns are the same
  local keys = {}
  for _, column in ipairs(columns) do
    if not column.is_array then table.insert(keys, column) end
  end
  self.keys = keys[1] and self.files:table(self.name .. "_keys.csv", keys, crew)
  local scalars = self.channels.scalars
  if scalars[1] then add_array(self, "x", "float32", { self.channels.packets, #scalars }) end
  if self.channels.payload then add_array_of(self, "payload", "uint8", by_name["udps.series_payload"]) end
  if self.channels.nprint then add_array_of(self, "nprint", "int8", by_name["udps.nprint"]) end
  add_array(self, "lengths", "int32", {})
  self.is_open = true
end

-- One packet's value, by channel.
local READ = {
  size = function(flow, i) return flow.splt_ps[i] end,
  direction = function(flow, i) return flow.splt_direction[i] == 0 and 1 or -1 end,
  time = function(flow, i, time_column) return flow[time_column][i] end,
}

local function put_scalars(self, flow, count)
  local x, scalars = self.arrays.x, self.channels.scalars
  x:clear()
  for channel, what in ipairs(scalars) do
    local read = READ[what]
    for i = 1, count do x.row[(i - 1) * #scalars + channel - 1] = read(flow, i, self.time_column) end
  end
  x:write()
end

--- A flow's class as the keys beside it show it, so that none are two that look like one; nil where it is left out.
local function class_of(self, flow)
  local value = text.utf8(tostring(flow[self.label]))
  if value ~= "" then return value end
  return self.unlabelled ~= "" and self.unlabelled or nil
end

--- A sink's.
function made:write(flow)
  if self.label then
    local class = class_of(self, flow)
    if not class then return true end
    self.classes[#self.classes + 1], self.seen[class] = class, true
  end
  local arrays, length = self.arrays, math.min(flow.bidirectional_packets, self.channels.packets)
  if arrays.x then put_scalars(self, flow, length) end
  if arrays.payload then arrays.payload:write(flow.udps.series_payload) end
  if arrays.nprint then arrays.nprint:write(flow.udps.nprint) end
  arrays.lengths:write_number(length)
  return not self.keys or self.keys:write(flow)
end

-- ---- the end ----

local function write_labels(self)
  local names, numbers, longest = text.sorted_keys(self.seen), {}, 1
  for i, each in ipairs(names) do
    numbers[each], longest = i - 1, math.max(longest, #each)
  end
  add_array(self, "y", "int64", {})
  add_array(self, "classes", "text:" .. longest, {})
  for _, each in ipairs(self.classes) do self.arrays.y:write_number(numbers[each]) end
  for _, each in ipairs(names) do self.arrays.classes:write_text(each) end
end

local function remove_parts(self)
  for _, what in ipairs(self.order) do os.remove(self.arrays[what].path) end
end

--- All flows have been written: makes the files. Raises what fails, and is to be abandoned then.
function made:finish()
  if self.label then write_labels(self) end
  local members = {}
  for i, what in ipairs(self.order) do
    self.arrays[what]:close()
    members[i] = { what, self.arrays[what].path }
  end
  npy.zip(self.files:path(self.name .. ".npz"), members)
  remove_parts(self)
  self.files:close()
  self.files:finish()
end

--- Leaves nothing behind.
function made:abandon()
  remove_parts(self)
  self.files:abandon()
end

return series
