--- The registry of columns: what a record can hold, where it lies, how Lua and the writers read it.
--
-- CSV header, JSON keys, `--columns` and docs/reference.md's tables come from here; there is no other list of names.
-- A column is a table:
--
--   name   its name; "{unit}" stands for the run's time unit
--   type   "uint64", "double", "text", "ip" ... (see `types`)
--   unit   of its values: "bytes", "packets", "{unit}" ..., or nil
--   doc    one line for people
--   place  path into the run's flow struct, e.g. "core.scope[0].packets": Lua expression and C offset at once
--   is_binary  whether an IP address is given as 16 bytes, not as text, in formats that have both
--   is_moment  whether it counts time since 1970; its unit says what
--   is_identifying  whether it is a text that may hold names or addresses
--   none   integer that stands for no value, if one does; formats that know null write that, as for empty texts
--   number its place among all that the engine knows, from 1, whatever a run has of them
--   group  "core", "tunnel", "statistics", "splt", "l7", "l7_extra", "process", "udps" or "optional": when it exists

local ffi = require "ffi"
local C = require "nfengine.lib"

local columns = {}

--- Column types: the writers' type number, whether Lua sees a plain number, and the C type of one value.
columns.types = {
  bool   = { code = C.NF_TYPE_BOOL, ctype = "bool" },
  int8   = { code = C.NF_TYPE_INT8, ctype = "int8_t", is_number = true },
  int16  = { code = C.NF_TYPE_INT16, ctype = "int16_t", is_number = true },
  int32  = { code = C.NF_TYPE_INT32, ctype = "int32_t", is_number = true },
  int64  = { code = C.NF_TYPE_INT64, ctype = "int64_t", is_number = true, is_wide = true },
  uint8  = { code = C.NF_TYPE_UINT8, ctype = "uint8_t", is_number = true },
  uint16 = { code = C.NF_TYPE_UINT16, ctype = "uint16_t", is_number = true },
  uint32 = { code = C.NF_TYPE_UINT32, ctype = "uint32_t", is_number = true },
  uint64 = { code = C.NF_TYPE_UINT64, ctype = "uint64_t", is_number = true, is_wide = true },
  float  = { code = C.NF_TYPE_FLOAT, ctype = "float", is_number = true },
  double = { code = C.NF_TYPE_DOUBLE, ctype = "double", is_number = true },
  text   = { code = C.NF_TYPE_TEXT, ctype = "char" },
  ip     = { code = C.NF_TYPE_IP },
  mac    = { code = C.NF_TYPE_MAC },
  oui    = { code = C.NF_TYPE_OUI },
  end_reason = { code = C.NF_TYPE_END_REASON },
}

--- Units of time that a run may have: how many make a second, and the numbers of enum nf_time_unit and nf_moment.
columns.time_units = {
  ms = { per_second = 1e3, code = C.NF_MILLISECONDS, moment = C.NF_MOMENT_MS },
  us = { per_second = 1e6, code = C.NF_MICROSECONDS, moment = C.NF_MOMENT_US },
  ns = { per_second = 1e9, code = C.NF_NANOSECONDS, moment = C.NF_MOMENT_NS },
}

--- Whether values of a column, or its elements, can be reckoned with: numbers, and 0 or 1 for false and true.
function columns.is_numeric(column) return columns.types[column.type].is_number or column.type == "bool" end

--- Lengths of the contract's text fields, which FFI offers no way to ask for.
local function text_length(struct, field)
  return ffi.sizeof(ffi.new(struct)[field])
end

local list = {}

local function add(group, name, type, unit, place, doc, length)
  local column = { group = group, name = name, type = type, unit = unit, place = place, doc = doc, length = length }
  list[#list + 1] = column
  column.number = #list
  return column
end

--- The same of moments, since 1970.
local function add_moment(group, name, place, doc, none)
  local column = add(group, name, "uint64", "{unit}", place, doc)
  column.is_moment, column.none = true, none
end

-- ---- core ----

add("core", "id", "uint64", nil, "core.record_id", "position of the record among those given out, from 0")
add("core", "expiration_id", "int32", nil, "core.expiration_id",
  "0: idle timeout or end of input, 1: active timeout, -1: ended by a plugin")
for _, side in ipairs { { "src", "source" }, { "dst", "destination" } } do
  local short, long = side[1], side[2]
  add("core", short .. "_ip", "ip", nil, "core.tuple." .. short .. "_address", long .. " address of the first packet")
  add("core", short .. "_mac", "mac", nil, "core." .. short .. "_mac_address",
    long .. " MAC address of the first packet")
  add("core", short .. "_oui", "oui", nil, "core." .. short .. "_mac_address", "vendor part of the " .. long .. " MAC")
  add("core", short .. "_port", "uint16", nil, "core.tuple." .. short .. "_port",
    long .. " port; 0 for protocols other than TCP and UDP")
end
add("core", "protocol", "uint8", nil, "core.tuple.protocol", "IANA protocol number")
add("core", "ip_version", "uint8", nil, "core.ip_version", "4 or 6")
add("core", "vlan_id", "uint16", nil, "core.tuple.vlan_id", "innermost VLAN identifier, 0 without")
add("tunnel", "tunnel_id", "uint8", nil, "core.tuple.tunnel_id", "0: none, 1: GTP-U, 2: CAPWAP, 3: TZSP")

local scopes = {
  { "bidirectional", "both directions" },
  { "src2dst", "source to destination" },
  { "dst2src", "destination to source" },
}

for i, scope in ipairs(scopes) do
  local name, text = scope[1], scope[2]
  local place = ("core.scope[%d]."):format(i - 1)
  local none = name == "dst2src" and 0 or nil -- the one side from which nothing need have come
  add_moment("core", name .. "_first_seen_{unit}", place .. "first_seen",
    "time of the first packet since 1970, " .. text, none)
  add_moment("core", name .. "_last_seen_{unit}", place .. "last_seen",
    "time of the last packet since 1970, " .. text, none)
  add("core", name .. "_duration_{unit}", "uint64", "{unit}", place .. "duration", "last minus first, " .. text)
  add("core", name .. "_packets", "uint64", "packets", place .. "packets", "packets, " .. text)
  add("core", name .. "_bytes", "uint64", "bytes", place .. "bytes", "bytes by the accounting mode, " .. text)
end

-- ---- statistics ----

local function add_series(series, suffix, unit, what, integer)
  for i, scope in ipairs(scopes) do
    for _, statistic in ipairs {
      { "min", "min", "smallest ", integer }, { "mean", "mean", "mean ", "double" },
      { "stddev", "spread", "sample standard deviation of ", "double" }, { "max", "max", "largest ", integer },
    } do
      add("statistics", scope[1] .. "_" .. statistic[1] .. "_" .. suffix, statistic[4], unit,
        ("statistics[%d].%s.%s"):format(i - 1, series, statistic[2]), statistic[3] .. what .. ", " .. scope[2])
    end
  end
end

add_series("ps", "ps", "bytes", "packet size", "uint32")
add_series("piat", "piat_{unit}", "{unit}", "packet inter-arrival time", "uint64")
for i, scope in ipairs(scopes) do
  for _, flag in ipairs {
    { "syn", 1 }, { "cwr", 7 }, { "ece", 6 }, { "urg", 5 }, { "ack", 4 }, { "psh", 3 }, { "rst", 2 }, { "fin", 0 },
  } do
    add("statistics", scope[1] .. "_" .. flag[1] .. "_packets", "uint32", "packets",
      ("statistics[%d].flags[%d]"):format(i - 1, flag[2]), "packets with " .. flag[1]:upper() .. " set, " .. scope[2])
  end
end

-- ---- first packets ----

add("splt", "splt_direction", "int8", nil, "splt.direction",
  "direction of each of the first packets, -1 where there is none")
add("splt", "splt_ps", "int32", "bytes", "splt.ps", "size of each of the first packets, -1 where there is none")
add("splt", "splt_piat_{unit}", "int64", "{unit}", "splt.piat",
  "time since the packet before of each of the first packets, 0 for the first, -1 where there is none")

-- ---- application ----

local function add_text(group, struct, section, name, doc)
  return add(group, name, "text", nil, section .. "." .. name, doc, text_length(struct, name))
end

add_text("l7", "struct nf_l7", "l7", "application_name",
  "application by nDPI: \"Unknown\", \"DNS\", \"TLS.Google\" ...")
add_text("l7", "struct nf_l7", "l7", "application_category_name", "nDPI's category of the application")
add("l7", "application_is_guessed", "uint8", nil, "l7.is_guessed",
  "1 if the application was guessed from ports or caches")
add("l7", "application_confidence", "uint8", nil, "l7.confidence", "0: unknown, 1: port, 2: address, 3: cache, 4: DPI")
add_text("l7", "struct nf_l7", "l7", "requested_server_name", "host name asked for: SNI, HTTP host, DNS query ...")
  .is_identifying = true
add_text("l7", "struct nf_l7", "l7", "client_fingerprint", "JA3, HASSH or DHCP fingerprint of the client")
add_text("l7", "struct nf_l7", "l7", "server_fingerprint", "JA3S or HASSH fingerprint of the server")
add_text("l7", "struct nf_l7", "l7", "user_agent", "HTTP or QUIC user agent").is_identifying = true
add_text("l7", "struct nf_l7", "l7", "content_type", "HTTP content type")

local function add_extra(name, doc) return add_text("l7_extra", "struct nf_l7_extra", "l7_extra", name, doc) end
add_extra("tls_version", "TLS version of the session")
add_extra("tls_alpn", "application protocols the TLS client offers")
add_extra("ja3_client", "JA3 of the TLS client hello")
add_extra("ja3_server", "JA3S of the TLS server hello")
add_extra("hassh_client", "HASSH of the SSH client")
add_extra("hassh_server", "HASSH of the SSH server")
add_extra("dhcp_fingerprint", "DHCP parameter request list (option 55)")
add_extra("http_url", "HTTP host and path").is_identifying = true
add_extra("risk_names", "nDPI's flow risks, by name")
add("l7_extra", "risk_mask", "uint64", nil, "l7_extra.risk_mask", "nDPI's flow risks, bit n for risk n")
add("l7_extra", "risk_score", "uint16", nil, "l7_extra.risk_score", "nDPI's score of the flow risks")
add("l7_extra", "dns_query_type", "uint16", nil, "l7_extra.dns_query_type", "type of the DNS question, 0 without")
add("l7_extra", "dns_response_code", "int16", nil, "l7_extra.dns_response_code", "code of the DNS answer, -1 without")
  .none = -1

-- ---- system visibility ----

add("process", "system_process_pid", "int32", nil, "process.pid",
  "process at the local end of the flow, -1 where none was found").none = -1
add("process", "system_process_name", "text", nil, "process.name", "name of that process",
  text_length("struct nf_process", "name"))

-- ---- optional ----

add("optional", "is_closing", "bool", nil, "core.is_closing",
  "whether a plugin has called its connection over, so that it ended by lingering or with a new connection")
add("optional", "is_frozen", "bool", nil, "core.is_frozen",
  "whether a plugin has frozen it, so that later packets are not in it")
add("optional", "end_reason", "end_reason", nil, "core.end_reason",
  "why the flow ended: idle, active, forced, full or end of input")

-- ---- places ----

--- Struct behind each path, by the path without indices.
local structs = {
  [""] = {
    core = "struct nf_flow", statistics = "struct nf_statistics", l7 = "struct nf_l7", l7_extra = "struct nf_l7_extra",
    process = "struct nf_process",
  },
  ["core.tuple"] = "struct nf_tuple",
  ["core.scope"] = "struct nf_scope",
  ["statistics.ps"] = "struct nf_size_series",
  ["statistics.piat"] = "struct nf_time_series",
}

--- Byte offset of a place in a slot laid out as `layout` says.
local function offset_of(place, layout, ctype)
  local section, index, rest = place:match "^([%w_]+)%[?(%d*)%]?%.(.*)$"
  if section == "splt" then
    local n = layout.splt_length
    return layout.splt + ({ piat = 0, ps = 8 * n, direction = 12 * n })[rest]
  end
  local struct, path = structs[""][section], section
  local offset = (section == "core" and 0 or layout[section]) + (tonumber(index) or 0) * ffi.sizeof(struct)
  for name, at in rest:gmatch "([%w_]+)%[?(%d*)%]?" do
    path = path .. "." .. name
    offset = offset + ffi.offsetof(struct, name)
    struct = structs[path]
    if at ~= "" then offset = offset + tonumber(at) * ffi.sizeof(struct or ctype) end
  end
  return offset
end

-- ---- what a run has ----

local function names_unit(text, unit) return text and text:gsub("{unit}", unit) end

local function instantiate(column, layout, unit)
  local type = columns.types[column.type]
  local copy = {
    name = names_unit(column.name, unit), type = column.type, unit = names_unit(column.unit, unit), doc = column.doc,
    place = column.place, group = column.group, number = column.number,
    length = column.length or column.group == "splt" and layout.splt_length or 1,
    is_array = column.group == "splt", is_moment = column.is_moment, none = column.none,
    is_identifying = column.is_identifying,
  }
  copy.offset = offset_of(column.place, layout, type.ctype)
  return copy
end

--- Every column the engine knows, for documentation: name, type, unit, doc, group. `unit` defaults to "ms".
function columns.all(unit)
  local all = {}
  unit = unit or "ms"
  for i, column in ipairs(list) do
    all[i] = {
      name = names_unit(column.name, unit), type = column.type, unit = names_unit(column.unit, unit), doc = column.doc,
      group = column.group,
    }
  end
  return all
end

--- How many columns the engine knows.
function columns.count() return #list end

local FINAL_GROUPS = { l7 = true, l7_extra = true, process = true, optional = true }

--- Names of the columns of one group, in order.
function columns.names(group)
  local names = {}
  for _, column in ipairs(list) do
    if column.group == group then names[#names + 1] = column.name end
  end
  return names
end

--- The columns that a run can give: every column of the groups it has, in NFStream's order, with offsets.
-- @param run `layout` (struct nf_layout), `unit` ("ms", "us" or "ns"), `has` (set of group names), `l7_extra` (set of
--   names wanted among that group), `udps` (the plugins' columns)
-- @return list of columns, the plugins' after NFStream's; those of group "optional" are last and only given where a
--   caller selects them
function columns.of_run(run)
  local available, optional = {}, {}
  for _, column in ipairs(list) do
    local wanted = run.has[column.group]
    if column.group == "l7_extra" then wanted = wanted and run.l7_extra[column.name] end
    local part = column.group == "optional" and optional or available
    if wanted then part[#part + 1] = instantiate(column, run.layout, run.unit) end
  end
  for _, column in ipairs(run.udps) do available[#available + 1] = column end
  for _, column in ipairs(optional) do available[#available + 1] = column end
  return available
end

--- Whether a flow's end may change what the column holds, beyond what its last packet did: nDPI's last word, and what
-- plugins do in on_expire.
function columns.is_final(column)
  if column.group == "udps" then return column.is_final end
  return FINAL_GROUPS[column.group] or column.name == "id" or column.name == "expiration_id"
end

--- Whether hooks find in a column what its plugin puts there, in a flow that ends. Plugins' hooks are called in their
-- order, those on records when all others are through.
-- @param place of the plugin that asks among the run's: its own columns are not filled in when it begins
-- @param is_on_record whether it asks in on_record
function columns.is_filled(column, place, is_on_record)
  if column.group ~= "udps" then return true end
  local is_of_earlier = column.place_of_owner < place
  if column.is_of_record then return is_on_record and is_of_earlier end
  return is_on_record or is_of_earlier
end

--- Why a column is of no use to a plugin's hooks, as setup is told of it: its own plugin fills it in after them. nil of
-- any other.
function columns.lateness(column)
  return column.is_late and ('column "%s": %s fills it in later, expected one of a plugin before')
    :format(column.name, column.owner) or nil
end

--- An array column as columns of its elements, named from 1: splt_ps_1, splt_ps_2 … Any other column as it is.
-- @return list of columns
function columns.elements(column)
  if not column.is_array then return { column } end
  local elements, size = {}, ffi.sizeof(columns.types[column.type].ctype)
  for i = 1, column.length do
    elements[i] = {
      name = ("%s_%d"):format(column.name, i), type = column.type, unit = column.unit, doc = column.doc,
      group = column.group, owner = column.owner, place_of_owner = column.place_of_owner, is_final = column.is_final,
      is_of_record = column.is_of_record, is_late = column.is_late, length = 1, is_array = false,
      offset = column.offset + (i - 1) * size,
    }
  end
  return elements
end

--- Columns as their elements, by name, and all of these names in order.
function columns.by_name(available)
  local by_name, names = {}, {}
  for _, column in ipairs(available) do
    for _, element in ipairs(columns.elements(column)) do
      by_name[element.name], names[#names + 1] = element, element.name
    end
  end
  return by_name, names
end

--- The column among these by which records tell when their flows were last seen; nil where a mask has taken it.
function columns.last_seen(available)
  for _, column in ipairs(available) do
    if column.is_moment and column.name:match "^bidirectional_last_seen_" then return column end
  end
end

--- Fills a struct nf_column. It refers to the column's name, unit and doc, which therefore must outlive it.
function columns.fill(c, column)
  c.name = column.name
  c.offset = column.offset
  c.length = column.length
  c.type = columns.types[column.type].code
  c.is_array = column.is_array or false
  c.is_binary = column.is_binary or false
  c.moment = column.is_moment and columns.time_units[column.unit].moment or C.NF_MOMENT_NO
  c.has_none, c.none = column.none ~= nil, column.none or 0
  c.unit, c.doc = column.unit, column.doc
end

--- Columns as the array that C writers take, which refers to them in the same way.
function columns.to_c(selected)
  local array = ffi.new("struct nf_column[?]", #selected)
  for i, column in ipairs(selected) do columns.fill(array[i - 1], column) end
  return array
end

return columns
