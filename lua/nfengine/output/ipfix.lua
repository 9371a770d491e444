--- What records are in IPFIX (RFC 7011): which information element each column is, and what else core/write_ipfix.c has
-- to know. docs/ipfix.md tells users.

local ffi = require "ffi"
local C = require "nfengine.lib"
local columns = require "nfengine.columns"
local names = require "nfengine.output.names"

local ipfix = {}
ipfix.__index = ipfix

local REVERSE = 29305 -- RFC 5103
local NO_LIMIT = 2 ^ 32 - 1 -- but the one that every message has

local REFRESH_MESSAGES = 500

-- ---- elements ----

--- IANA's elements by columns' names, those that need no more than the value: their names there, and numbers; `v6`
-- where IPv6 has another.
local standard = {
  id = { "flowId", 148 },
  src_ip = { "sourceIPv4Address", 8, v6 = { "sourceIPv6Address", 27 } },
  src_mac = { "sourceMacAddress", 56 },
  src_port = { "sourceTransportPort", 7 },
  dst_ip = { "destinationIPv4Address", 12, v6 = { "destinationIPv6Address", 28 } },
  dst_mac = { "destinationMacAddress", 80 },
  dst_port = { "destinationTransportPort", 11 },
  protocol = { "protocolIdentifier", 4 },
  ip_version = { "ipVersion", 60 },
  vlan_id = { "vlanId", 58 },
  application_name = { "applicationName", 96 },
  application_category_name = { "applicationCategoryName", 372 },
  user_agent = { "httpUserAgent", 468 },
  content_type = { "httpContentType", 469 },
  end_reason = { "flowEndReason", 136, form = C.NF_FORM_END_REASON },
}

--- The same for one direction, by what is behind its prefix. What goes back is the reverse element.
local directed = {
  packets = { "packetDeltaCount", 2 },
  first_seen_ms = { "flowStartMilliseconds", 152 }, last_seen_ms = { "flowEndMilliseconds", 153 },
  first_seen_us = { "flowStartMicroseconds", 154 }, last_seen_us = { "flowEndMicroseconds", 155 },
  first_seen_ns = { "flowStartNanoseconds", 156 }, last_seen_ns = { "flowEndNanoseconds", 157 },
}

local OCTETS = { "octetDeltaCount", 1 }

--- The same where it depends on accounting_mode. Of frames, IANA's octets are not quite what they are: docs/ipfix.md.
local directed_by_mode = {
  [0] = { bytes = OCTETS },
  [1] = {
    bytes = OCTETS, min_ps = { "minimumIpTotalLength", 25 }, max_ps = { "maximumIpTotalLength", 26 },
  },
  [2] = {},
  [3] = { bytes = { "transportOctetDeltaCount", 401 } },
}

--- IANA's element of a column, or nil; of a hash there is none.
-- @param mode the run's accounting_mode
-- @return its name and number in a list, with `v6` (the same of IPv6) and `form` (how its value is made) where it has
--   them; whether it is the reverse one
function ipfix.standard(column, mode)
  if column.group == "udps" or column.is_hash then return nil end
  if column.element then return column.element, column.is_reverse end
  local direction, rest = column.name:match "^(%w-2%w+)_(.*)$"
  if not direction then return standard[column.name] end
  return directed_by_mode[mode][rest] or directed[rest], direction == "dst2src"
end

--- What is no column, but what collectors look for: why a flow ended, TCP's flags, and that its source began it.
local function extras(available)
  local by_name, list = {}, {}
  for _, column in ipairs(available) do by_name[column.name] = column end
  list[1] = by_name.end_reason
  for _, direction in ipairs { "src2dst", "dst2src" } do
    local first = by_name[direction .. "_fin_packets"] -- of eight counters, by bit number
    if first and not first.is_hash then
      list[#list + 1] = {
        name = "tcpControlBits", doc = "TCP flags seen", type = "uint32", is_array = true, length = 8,
        offset = first.offset,
        element = { "tcpControlBits", 6, form = C.NF_FORM_TCP_FLAGS }, is_reverse = direction == "dst2src",
      }
    end
  end
  list[#list + 1] = {
    name = "biflowDirection", doc = "1: the source sent the first packet", type = "uint8", length = 1, offset = 0,
    is_biflow = true,
    element = { "biflowDirection", 239, form = C.NF_FORM_BIFLOW },
  }
  return list
end

--- Groups of columns that runs have without being asked for them.
local is_usual = { core = true, tunnel = true, l7 = true }

-- ---- a run's ----

--- What an export's options and its run's parameters come to.
-- @param options values of ipfix_options; `path` is where it goes
function ipfix.new(options, path, streamer)
  local run = {
    time_unit = streamer.time_unit, accounting_mode = streamer.accounting_mode,
    columns = streamer.columns, -- nil where nobody has chosen any
  }
  return setmetatable({ options = options, transport = names.collector(path), run = run }, ipfix)
end

--- The columns to write: all that were chosen; where none were, those of IANA's elements, and what was asked for by
-- other parameters.
function ipfix:select(selected, available)
  if self.run.columns then return selected end
  local list = {}
  for _, column in ipairs(selected) do
    local is_wanted = not is_usual[column.group] or column.is_hash
    if is_wanted or ipfix.standard(column, self.run.accounting_mode) then list[#list + 1] = column end
  end
  for _, column in ipairs(extras(available)) do list[#list + 1] = column end
  return list
end

local UNITS = { bytes = 2, packets = 3, ms = 6, us = 7, ns = 8 } -- IANA's

--- Numbers of our own elements, by columns' names: the engine's are the same in all runs, behind them the plugins'.
local function own_numbers(available)
  local numbers, count = {}, columns.count()
  for _, column in ipairs(available) do
    if column.group == "udps" then count = count + 1 end
    numbers[column.name] = column.group == "udps" and count or column.number
  end
  return numbers
end

local function fill_own(element, column, number, enterprise)
  element.unit, element.enterprise = UNITS[column.unit] or 0, enterprise
  element.number, element.number_v6 = number, number
end

local function fill_standard(element, column, found, is_reverse)
  element.enterprise = is_reverse and REVERSE or 0
  element.number, element.number_v6 = found[2], (found.v6 or found)[2]
  element.form = found.form or C.NF_FORM_VALUE
  element.is_biflow = is_reverse or column.is_biflow or false
end

--- What the writer takes beside the columns, which refers to this object.
function ipfix:describe(selected, available)
  local numbers = own_numbers(available)
  self.elements = ffi.new("struct nf_element[?]", #selected)
  for i, column in ipairs(selected) do
    local found, is_reverse = ipfix.standard(column, self.run.accounting_mode)
    if found then
      fill_standard(self.elements[i - 1], column, found, is_reverse)
    else
      fill_own(self.elements[i - 1], column, numbers[column.name], self.options.enterprise)
    end
  end
  local is_datagrams = self.transport == "udp"
  self.described = ffi.new("struct nf_ipfix", {
    elements = self.elements, enterprise = self.options.enterprise, domain = self.options.domain,
    message_size = is_datagrams and self.options.message_size or NO_LIMIT,
    refresh_s = is_datagrams and self.options.refresh or 0, refresh_messages = is_datagrams and REFRESH_MESSAGES or 0,
    time_unit = columns.time_units[self.run.time_unit].code,
  })
  return self.described
end

return ipfix
