--- How a run's bytes spread over time, by application or whatever else a flow is known by at its end.
--
--   local bytes = timeline.of(streamer)
--   streamer.udps = { bytes }
--   for flow in streamer:flows() do … end
--   local result = timeline.result(bytes, { bins = 60, top = 5 })
--
-- Every packet counts in the bin of its own time, though its application may only be known when its flow ends: until
-- then a flow keeps one entry for each bin in which it had packets. Bins begin at 1 ms and widen as the run goes on, so
-- that there are never more than MOST_BINS. Each width is a multiple of the one before: bins join into wider ones
-- without a remainder, and the sums are exact whatever the width and the number of meters.

local plugin = require "nfengine.plugin"
local privacy = require "nfengine.privacy"
local show = require "nfengine.show"
local tally = require "nfengine.tally"

local timeline = {}

local MOST_BINS = 400
local DAY = 86400000

--- Widths in ms, round for people. Beyond the last they double.
local STEPS = {
  1, 5, 10, 50, 100, 500, 1000, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000, 10800000, 21600000,
  43200000, DAY,
}

local function step_above(step)
  for _, each in ipairs(STEPS) do
    if each > step then return each end
  end
  return 2 * step
end

-- ---- sums: series[name][number of the bin since 1970] ----

local function widen(sums)
  local step = step_above(sums.step)
  local factor = step / sums.step
  for name, series in pairs(sums.series) do
    local wide = {}
    for bin, bytes in pairs(series) do
      bin = math.floor(bin / factor)
      wide[bin] = (wide[bin] or 0) + bytes
    end
    sums.series[name] = wide
  end
  sums.step = step
end

--- Whether more than so many bins reach from the first packet to the last.
local function is_longer(sums, most)
  return math.floor(sums.last / sums.step) - math.floor(sums.first / sums.step) >= most
end

--- Widens the bins until no more do.
local function fit(sums, most)
  while is_longer(sums, most) do widen(sums) end
end

local function add(sums, name, ms, bytes)
  local series = sums.series[name]
  if not series then
    series = {}
    sums.series[name] = series
  end
  local bin = math.floor(ms / sums.step)
  series[bin] = (series[bin] or 0) + bytes
end

-- ---- entries: what flows that still live had in earlier bins, chained by flow; freed ones form a chain, too ----

local function push(self, from, bytes, next_entry)
  local entry = self.free
  if entry > 0 then self.free = self.chain[entry] else entry = #self.chain + 1 end
  self.from[entry], self.bytes[entry], self.chain[entry] = from, bytes, next_entry
  self.used = self.used + 1
  return entry
end

local function clear_entries(self)
  self.from, self.bytes, self.chain, self.free, self.used = {}, {}, {}, 0, 0
end

--- Frees a chain, and adds it up under a name if there is one.
local function add_entries(self, name, entry)
  while entry > 0 do
    if name then add(self, name, self.from[entry], self.bytes[entry]) end
    local following = self.chain[entry]
    self.chain[entry], self.free, self.used = self.free, entry, self.used - 1
    entry = following
  end
  if self.used == 0 then clear_entries(self) end
end

-- ---- hooks ----

--- Closes a flow's bin, and opens the one of this time.
local function turn(self, udps, ms)
  if udps.timeline_total > udps.timeline_counted then
    udps.timeline_entry =
      push(self, udps.timeline_from, udps.timeline_total - udps.timeline_counted, udps.timeline_entry)
    udps.timeline_counted = udps.timeline_total
  end
  if ms > self.last then self.last = ms end
  if ms < self.first then self.first = ms end
  if is_longer(self, MOST_BINS) then fit(self, MOST_BINS) end -- a loop where a hook comes by would end its trace
  udps.timeline_from = math.floor(ms / self.step) * self.step
  udps.timeline_to = udps.timeline_from + self.step
end

local function count(self, packet, flow)
  local udps, ms = flow.udps, packet.time * self.unit_ms
  if ms >= udps.timeline_to then turn(self, udps, ms) end
  udps.timeline_total = flow.bidirectional_bytes
end

local function set_up(self, run)
  self.unit_ms = 1000 / run.ticks_per_second
  self.series, self.step, self.first, self.last = {}, STEPS[1], math.huge, 0
  clear_entries(self)
end

local function merge(self, other)
  while self.step < other.step do widen(self) end
  while other.step < self.step do widen(other) end
  for name, series in pairs(other.series) do
    for bin, bytes in pairs(series) do add(self, name, bin * self.step, bytes) end
  end
  self.first, self.last = math.min(self.first, other.first), math.max(self.last, other.last)
  fit(self, MOST_BINS)
end

-- ---- making and reading ----

local function application(flow) return flow.application_name end

local function everything() return true end

--- A filter as it can be carried into other meters: the command line's without the environment by which it finds
-- misspelt names, which it does again where flows are given out.
local function carried(filter)
  if debug.getinfo(filter, "u").nups > 0 or getfenv(filter) == _G then return filter end
  return loadstring(string.dump(filter))
end

--- A plugin that gathers the timeline of a streamer's run, to go into udps behind others. With a filter it counts the
-- flows that pass; the filter then is called twice for each flow.
-- @param name_of function of an ended flow that gives the name it counts under: as it is, the application, or the
--   service by its port where the run has no applications
function timeline.of(streamer, name_of)
  privacy.expect_true_times(streamer)
  name_of = name_of or (streamer.n_dissections > 0 and application or show.service)
  local filter = carried(streamer.filter or everything)
  local Timeline = plugin.declare {
    name        = "timeline",
    description = "Bytes over time",
    state       = {
      { "timeline_from", "double" }, { "timeline_to", "double" }, -- its bin, ms since 1970
      { "timeline_total", "double" }, { "timeline_counted", "double" }, -- bytes; those in entries
      { "timeline_entry", "uint32" }, -- its latest
    },
    setup     = set_up,
    on_init   = count,
    on_update = count,
    on_expire = function(self, flow)
      local udps = flow.udps
      local name = filter(flow) and name_of(flow)
      if name then add(self, name, udps.timeline_from, udps.timeline_total - udps.timeline_counted) end
      if udps.timeline_entry > 0 then add_entries(self, name, udps.timeline_entry) end
    end,
    merge     = merge,
  }
  return Timeline {}
end

local function copy_of(gathered)
  local copy = { step = gathered.step, first = gathered.first, last = gathered.last, series = {} }
  for name, series in pairs(gathered.series) do copy.series[name] = series end
  return copy
end

--- What a run has gathered.
-- @param wanted `bins`: at most so many (400); `top`: so many names, the largest, the others summed up (all)
-- @return a table: `first` (seconds since 1970, the beginning of the first bin), `step` (seconds), `count` (bins),
--   `series` (list, the largest first, of { name, bytes, values }: bytes in each bin; the sum of others comes last and
--   has `others`, their number, instead of a name), `total` (bytes in each bin, all together); nil without packets
function timeline.result(gathered, wanted)
  local sums = copy_of(gathered)
  if sums.last < sums.first then return nil end
  fit(sums, wanted.bins or MOST_BINS)
  local first = math.floor(sums.first / sums.step)
  local result = { first = first * sums.step / 1000, step = sums.step / 1000, series = {}, total = {} }
  result.count = math.floor(sums.last / sums.step) - first + 1

  local names = tally.new()
  for name, series in pairs(sums.series) do
    for _, bytes in pairs(series) do names:add(name, bytes) end
  end
  local largest, others = names:largest(wanted.top or names.size)
  local rest = others and { others = others.count, bytes = others.bytes, values = {} }
  local by_name = {}
  for i, row in ipairs(largest) do
    result.series[i] = { name = row.name, bytes = row.bytes, values = {} }
    by_name[row.name] = result.series[i]
  end
  result.series[#largest + 1] = rest or nil
  for i = 1, result.count do
    result.total[i] = 0
    for _, each in ipairs(result.series) do each.values[i] = 0 end
  end
  for name, series in pairs(sums.series) do
    local values = (by_name[name] or rest).values
    for bin, bytes in pairs(series) do
      local i = bin - first + 1
      values[i], result.total[i] = values[i] + bytes, result.total[i] + bytes
    end
  end
  return result
end

return timeline
