--- Counts how many of the last connections had the same host or service: UNSW-NB15's ct_* features.
--
-- A scan, a flood or a guesser of passwords shows in how many connections alike there were lately, not in any one of
-- them. Each record is counted among the last `flows` ones, itself included, so that every count is at least 1; with
-- `seconds` only among those of so much time as well. The names and definitions are those of the data set UNSW-NB15
-- (N. Moustafa, J. Slay, "UNSW-NB15: a comprehensive data set for network intrusion detection systems", MilCIS 2015),
-- whose window is 100 connections.
--
-- A connection is a record, its source who sent the record's first packet, its time that of its last packet. The order
-- is the one in which records are given out, that of the flows' ends: nearly, not exactly, that of their last packets,
-- by which UNSW-NB15 sorts. Where a record comes out behind one with a later last packet, `seconds` takes that time for
-- its own. A service is destination port and protocol; with service = "application" it is what nDPI found, as in
-- UNSW-NB15, and all flows that it does not know are of one service. Records that `filter` leaves out count. It takes
-- about 1 us a record, and at most 4 kB of memory for each connection in the window.
--
-- @usage nfengine flows --plugin host_window --n-dissections=0 \
--     --columns=src_ip,dst_ip,dst_port,udps.ct_src_ltm,udps.ct_srv_src,udps.ct_dst_src_ltm samples/web.pcap
-- @output
-- src_ip,dst_ip,dst_port,udps.ct_src_ltm,udps.ct_srv_src,udps.ct_dst_src_ltm
-- "0.0.0.0","255.255.255.255",67,1,1,1
-- "192.0.2.10","192.0.2.1",0,1,1,1
-- "2001:db8::10","ff02::1:ff00:1",0,1,1,1
-- "2001:db8::1","2001:db8::10",0,1,1,1
-- "2001:db8::10","2001:db8:80::80",0,2,2,1
-- "192.0.2.10","192.0.2.1",53,2,1,2
-- "192.0.2.10","192.0.2.1",123,3,1,3
-- "192.0.2.10","192.0.2.1",123,4,2,4
-- "192.0.2.10","192.0.2.1",53,5,2,5
-- "192.0.2.10","198.51.100.80",80,6,1,1
-- ...

local clear = require "table.clear"
local hash = require "nfengine.hash"
local nf = require "nfengine"

-- Keys under which a record counts, one a column, and what is behind their number.
local SRV_SRC, SRV_DST, DST, SRC, SRC_DPORT, DST_SPORT, DST_SRC = 1, 2, 3, 4, 5, 6, 7
local KEYS = 7
local ROOM = 4 -- times as many keys as those of the window are kept until the others are forgotten
local KIND, ADDRESS = 2 ^ 48, 2 ^ 24 -- a key: kind * KIND + address * ADDRESS + address, port or service

-- Addresses are numbered: keys that are texts would take most of the time. The numbers begin at a secret one, or hosts
-- could choose addresses and ports whose keys crowd into one place of the table: 100 us a record in a window of 10,000.
local SECRETS = 2 ^ 22 -- as many leave three quarters of the numbers below ADDRESS to addresses

local function number_of(self, address)
  local number = self.numbers[address]
  if not number then
    number = table.remove(self.free)
    if not number then
      self.highest = self.highest + 1
      number = self.secret + self.highest
    end
    self.numbers[address] = number
  end
  return number
end

local function service_of(self, flow)
  if self.service == "port" then return flow.dst_port * 256 + flow.protocol end
  local name = flow.application_name
  if not self.services[name] then
    self.service_count = self.service_count + 1
    self.services[name] = self.service_count
  end
  return self.services[name]
end

-- What is done for each of a record's keys is done in loops, which LuaJIT compiles by themselves: in one piece with the
-- rest, there would be a trace for every combination of keys that are known and new.

local function drop_oldest(self)
  local counts, keys, at = self.counts, self.keys, self.first * KEYS
  for kind = 1, KEYS do
    local key = keys[at + kind]
    counts[key] = counts[key] - 1
  end
  self.first, self.size = (self.first + 1) % self.flows, self.size - 1
end

-- Counts the record in `slot` under its keys.
local function enter(self, slot)
  local counts, keys, at, found = self.counts, self.keys, slot * KEYS, self.found
  for kind = 1, KEYS do
    local key = keys[at + kind]
    local before = counts[key]
    if not before then before, self.known = 0, self.known + 1 end
    counts[key], found[kind] = before + 1, before + 1
  end
end

-- Forgets keys and addresses that are in no record of the window, all at once: a table from which single keys are
-- taken is built anew again and again. What is kept goes to other tables, which are as large already.
local function forget(self)
  local counts, numbers, known = self.other_counts, self.other_numbers, 0
  for key, count in pairs(self.counts) do
    if count > 0 then counts[key], known = count, known + 1 end
  end
  for address, number in pairs(self.numbers) do
    if counts[SRC * KIND + number] or counts[DST * KIND + number] then
      numbers[address] = number
    else
      table.insert(self.free, number)
    end
  end
  self.counts, self.other_counts, self.numbers, self.other_numbers = counts, self.counts, numbers, self.numbers
  self.known = known
  clear(self.other_counts)
  clear(self.other_numbers)
end

-- A slot for a record of this time, behind those that are still in its window.
local function next_slot(self, time)
  self.clock = math.max(self.clock, time)
  while self.size == self.flows or self.size > 0 and self.clock - self.times[self.first] >= self.ticks do
    drop_oldest(self)
  end
  if self.known > ROOM * KEYS * self.flows then forget(self) end
  local slot = (self.first + self.size) % self.flows
  self.times[slot], self.size = self.clock, self.size + 1
  return slot
end

local function count(self, flow)
  local slot = next_slot(self, flow[self.last_seen])
  local src, dst, service = number_of(self, flow.src_ip), number_of(self, flow.dst_ip), service_of(self, flow)
  local keys, at = self.keys, slot * KEYS
  keys[at + SRV_SRC] = SRV_SRC * KIND + src * ADDRESS + service
  keys[at + SRV_DST] = SRV_DST * KIND + dst * ADDRESS + service
  keys[at + DST] = DST * KIND + dst
  keys[at + SRC] = SRC * KIND + src
  keys[at + SRC_DPORT] = SRC_DPORT * KIND + src * ADDRESS + flow.dst_port
  keys[at + DST_SPORT] = DST_SPORT * KIND + dst * ADDRESS + flow.src_port
  keys[at + DST_SRC] = DST_SRC * KIND + src * ADDRESS + dst
  enter(self, slot)
  local found, udps = self.found, flow.udps
  udps.ct_srv_src, udps.ct_srv_dst, udps.ct_dst_ltm, udps.ct_src_ltm = found[1], found[2], found[3], found[4]
  udps.ct_src_dport_ltm, udps.ct_dst_sport_ltm, udps.ct_dst_src_ltm = found[5], found[6], found[7]
end

return nf.plugin {
  name        = "host_window",
  version     = "1.0.0",
  api         = 1,
  description = "Counts how many of the last connections had the same host or service: UNSW-NB15's ct_* features",
  author      = "the nfengine authors",
  license     = "MIT",
  categories  = { "feature", "cross-flow", "safe" },
  options     = {
    flows   = { 100, "connections in the window, with the one that is counted", integer = true, min = 1, max = 1e6 },
    seconds = { 0, "only those whose last packet is not as old as this; 0 for no such limit", min = 0 },
    service = { "port", "what a service is: destination port and protocol, or nDPI's application",
      choices = { "port", "application" } },
  },
  columns     = {
    { "ct_srv_src", "uint32", "connections in the window of the same service and source address" },
    { "ct_srv_dst", "uint32", "connections in the window of the same service and destination address" },
    { "ct_dst_ltm", "uint32", "connections in the window of the same destination address" },
    { "ct_src_ltm", "uint32", "connections in the window of the same source address" },
    { "ct_src_dport_ltm", "uint32", "connections in the window of the same source address and destination port" },
    { "ct_dst_sport_ltm", "uint32", "connections in the window of the same destination address and source port" },
    { "ct_dst_src_ltm", "uint32", "connections in the window of the same source and destination address" },
  },
  setup       = function(self, run)
    self.last_seen = "bidirectional_last_seen_" .. run.time_unit
    self.ticks = self.seconds > 0 and self.seconds * run.ticks_per_second or math.huge
    self.clock = 0                                        -- latest last packet so far
    self.first, self.size = 0, 0                          -- a ring of records: slot of the oldest, how many,
    self.keys, self.times = {}, {}                        -- and what is in the slots
    self.counts, self.other_counts = {}, {}               -- by key
    self.known = 0                                        -- how many keys there are, also those with 0
    self.found = {}                                       -- counts of the record at hand
    self.numbers, self.other_numbers = {}, {}             -- of addresses
    self.secret = hash.secret() % SECRETS                 -- behind which numbers begin
    self.free, self.highest = {}, 0                       -- numbers to be used again; how many others there are
    self.services, self.service_count = {}, 0             -- numbers of applications
  end,
  on_record   = count,
}
