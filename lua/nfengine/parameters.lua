--- nf.streamer's parameters: NFStreamer's, under their own names, and ours. The command line's options are made of the
-- same declarations, and win over what a script sets.

local additions = require "nfengine.additions"
local options = require "nfengine.options"
local plugin = require "nfengine.plugin"
local sources = require "nfengine.sources"
local text = require "nfengine.text"

local parameters = {}

local MAX_SECONDS = 18446744073709552 -- (2^64 - 1) / 1000 as in NFStream, rounded to what a Lua number can be

local function integer(name, default, min, max, unit, doc)
  return {
    name = name, kind = "integer", default = default, min = min, max = max, unit = unit, doc = doc, value = unit or "N",
  }
end

local function boolean(name, default, doc) return { name = name, kind = "boolean", default = default, doc = doc } end

local function choice(name, default, choices, doc)
  return {
    name = name, kind = "choice", default = default, choices = choices, doc = doc, value = table.concat(choices, "|"),
  }
end

--- A path, or a list of paths read as one capture.
local function check_source(value)
  if type(value) == "string" and value ~= "" then return value end
  if type(value) == "table" and #value > 0 then
    for _, path in ipairs(value) do
      if type(path) ~= "string" then return nil, "a path or a list of paths" end
    end
    return value
  end
  return nil, "a path or a list of paths"
end

local function check_function(value)
  if type(value) == "function" then return value end
  return nil, "a function of a flow"
end

local function check_udps(value)
  local ok, message = pcall(plugin.instances, value)
  if ok then return value end
  return nil, "a plugin made by nf.plugin, or a list of these", message
end

--- A list of names, or one name.
local function check_names(value)
  if type(value) == "string" then value = { value } end
  if type(value) ~= "table" then return nil, "a list of names" end
  for key, name in pairs(value) do
    if type(key) ~= "number" or key > 1 and value[key - 1] == nil or type(name) ~= "string" then
      return nil, "a list of names"
    end
  end
  return value
end

local LONGEST_SHIFT = 3155760000 -- seconds in 100 years: what is further away would not fit where ns are counted

--- Seconds, or "random".
local function check_shift(value)
  local is_shift = value == "random" or type(value) == "number" and math.abs(value) <= LONGEST_SHIFT
  if is_shift then return value end
  return nil, ("seconds from -%.0f to %.0f, or \"random\""):format(LONGEST_SHIFT, LONGEST_SHIFT)
end

--- The message does not say what the key was.
local function check_key(value)
  if type(value) == "string" and #value >= 32 and #value <= 64 then return value end
  local expected = "a string of 32 to 64 bytes"
  return nil, expected, "anonymization_key: expected " .. expected
end

--- A filter on the command line sees globals, and says so where a name is none: a column without `flow.` is no filter.
local filter_names = setmetatable({}, {
  __index = function(_, name)
    local value = _G[name]
    if value == nil then error(("--filter: no such name '%s', expected flow.%s perhaps"):format(name, name), 0) end
    return value
  end,
})

local function parse_filter(word)
  local chunk, message = loadstring("local flow = ... return (" .. word .. "\n)", "=--filter")
  if chunk then
    setfenv(chunk, filter_names)
    parameters.filter_text = word
  end
  local hint = word:find "[^~<>=]=[^=]" and ", where equal is == and unequal ~=" or ""
  return chunk, message and "a Lua expression over flow" .. hint .. ": " .. message:gsub("^%-%-filter:%d+: ", "")
end

--- In the order help prints them.
parameters.list = {
  { name = "source", kind = "string", check = check_source, is_hidden = true,
    doc = "capture file, folder, \"-\" for standard input, or a list of these read as one capture; or a network "
      .. "interface, or a list of these; defaults to the command line's" },
  boolean("decode_tunnels", true, "look inside GTP-U, CAPWAP and TZSP; adds the column tunnel_id"),
  boolean("defragment", true, "count later IP fragments in the flow of the first; off, they are ignored"),
  { name = "bpf_filter", kind = "string", value = "EXPR", doc = "only packets that this libpcap filter accepts" },
  boolean("promiscuous_mode", true, "live capture: see all packets of the network"),
  integer("snapshot_length", 1536, 1, 4294967295, "BYTES", "live capture: bytes kept of each packet"),
  integer("socket_buffer_size", 0, 0, 2147483647, "BYTES", "live capture: kernel buffer, 0 for libpcap's default"),
  integer("idle_timeout", 120, 0, MAX_SECONDS, "SECONDS", "a flow ends after this long without a packet"),
  integer("active_timeout", 1800, 0, MAX_SECONDS, "SECONDS", "a flow is cut after this long"),
  integer("linger", 5, 0, MAX_SECONDS, "SECONDS",
    "a flow whose connection a plugin calls over takes late packets until there was none for this long"),
  integer("accounting_mode", 0, 0, 3, nil,
    "what counts as a packet's size: 0 frame, 1 IP packet, 2 transport, 3 payload"),
  { name = "udps", kind = "list", is_hidden = true, check = check_udps,
    doc = "a plugin, or a list of plugins" },
  { name = "n_dissections", kind = "integer", default = 20, min = 0, max = 255, value = "N", off = "no_dpi",
    doc = "packets of a flow given to nDPI; 0, or --no-dpi, switches L7 columns off" },
  boolean("dpi_cache", true,
    "let nDPI name flows by what it learnt from others; off, L7 is the same for any number of meters"),
  boolean("statistical_analysis", false, "add 48 statistics of sizes, inter-arrival times and TCP flags"),
  integer("splt_analysis", 0, 0, 65535, nil, "add direction, size and inter-arrival time of this many first packets"),
  integer("n_meters", 0, 0, 1024, nil,
    "threads to share the work, with the same results for any number but for nDPI's memory, runs cut short, full "
      .. "tables and plugins' state that nobody joins; 0 chooses by CPUs, input and plugins"),
  integer("max_nflows", 0, 0, 9007199254740992, nil, "stop after this many flows; 0 for no limit"),
  integer("max_packets", 0, 0, 9007199254740992, nil, "the input ends after this many packets; 0 for no limit"),
  integer("duration", 0, 0, 4294967295, "SECONDS", "the input ends after this long by the clock; 0 for no limit"),
  boolean("reconnect", false, "live capture: wait for an interface that went away to come back"),
  integer("performance_report", 0, 0, 4294967, "SECONDS",
    "a line of JSON on how the run does, this often and at its end; 0 for none"),
  { name = "performance_report_file", kind = "string", value = "FILE",
    doc = "where these lines are added; without it, standard error" },
  integer("system_visibility_mode", 0, 0, 1, nil, "live capture: 1 adds process columns; files: always 0"),
  integer("system_visibility_poll_ms", 100, 0, 4294967, "MS", "live capture: how often sockets are looked at"),
  boolean("binary_addresses", false,
    "give IP addresses as 16 bytes in Parquet and Arrow, IPv4 as in ::ffff:192.0.2.1; text is for people"),
  boolean("manifest", false,
    "write FILE.manifest.json beside a file of records: what they were made of and with, and SHA-256 of both"),
  choice("time_unit", "ms", { "ms", "us", "ns" }, "unit of every time, and of the columns' names"),
  integer("max_flows", 4194304, 0, 2147483647, nil,
    "live flows at most; the least recently seen then ends early; 0 for no limit"),
  { name = "l7_columns", kind = "list", default = {}, check = check_names, value = "NAME,...",
    doc = "more L7 columns, by name, or \"all\"" },
  { name = "columns", kind = "list", check = check_names, value = "NAME,...", is_optional = true,
    doc = "columns to give, in this order; \"*\" stands for the usual ones" },
  { name = "columns_to_anonymize", kind = "list", default = {}, check = check_names, value = "NAME,...",
    doc = "columns whose values are given as keyed hashes" },
  integer("anonymization_length", 64, 16, 64, "BYTES", "size of these hashes; as text each has twice as many digits"),
  { name = "anonymization_key_file", kind = "string", value = "FILE",
    doc = "32 to 64 bytes, the key of hashes and masks, so that several runs agree; else each has a key of its own" },
  { name = "anonymization_key", kind = "string", check = check_key, is_hidden = true,
    doc = "the same as bytes, where there is no file" },
  boolean("anonymize_addresses", false, "give other IP addresses for those that there are, prefixes kept (Crypto-PAn)"),
  boolean("anonymize_names", true, "with anonymize_addresses: texts that may hold names or addresses as keyed hashes"),
  choice("anonymize_macs", "no", { "no", "keep_vendor", "all" }, "give other MAC addresses, whose vendors stay or not"),
  { name = "time_shift", kind = "number", default = 0, check = check_shift, value = "SECONDS|random",
    parse = function(word) return word == "random" and word or tonumber(word) end,
    doc = "added to all times since 1970; \"random\" takes it from the key" },
  boolean("drop_leaky", false,
    "leave out columns that tell a model which flow it is: addresses, times, names; ports above 32767 become 0"),
  { name = "filter", kind = "string", check = check_function, parse = parse_filter, value = "EXPR",
    to_text = function() return parameters.filter_text end,
    doc = "only flows for which this Lua expression over `flow` is true" },
}

local by_name, names = {}, {}
for i, option in ipairs(parameters.list) do
  by_name[option.name] = option
  names[i] = option.name
end

--- Those given on the command line, by name. They win.
parameters.overrides = {}
--- The command line's filter, as it was given.
parameters.filter_text = nil
--- Captures given on the command line.
parameters.default_source = nil

--- Whether there is such a parameter.
function parameters.is_known(name) return by_name[name] ~= nil end

--- Checks one parameter. Raises "nf.streamer: …" at `level` of the caller.
function parameters.check(name, value, level)
  local option = by_name[name]
  if not option then
    error(("nf.streamer: unknown parameter %s%s"):format(text.quote(name), text.suggest(name, names)), level + 1)
  end
  if value == nil then return nil end
  local checked, expected, message = options.check(option, value)
  if checked == nil then
    message = message or ("%s = %s: expected %s"):format(name, text.quote(value), expected)
    error("nf.streamer: " .. message, level + 1)
  end
  return checked
end

--- Values of all parameters: the given ones, checked, over the defaults, under the command line's. Only among its
-- captures may a script choose.
function parameters.resolve(given, level)
  local values = {}
  for _, option in ipairs(parameters.list) do values[option.name] = option.default end
  values.source = parameters.default_source
  for name, value in pairs(given) do values[name] = parameters.check(name, value, level + 1) end
  local chosen = sources.is_choice(given.source, parameters.overrides.source) and given.source
  for name, value in pairs(parameters.overrides) do values[name] = value end
  values.source = chosen or values.source
  values.udps = additions.to(values.udps)
  return values
end

--- Those that ask for a mask, see nfengine.privacy, which most runs do without.
parameters.MASKS = { "columns_to_anonymize", "anonymize_addresses", "anonymize_macs", "time_shift", "drop_leaky" }

local ASKS_NOT = { [false] = true, no = true, [0] = true }

--- Whether a value of one of these asks for a mask.
function parameters.asks_for_mask(name, value)
  if value == nil then return false end
  if name == "columns_to_anonymize" then return value[1] ~= nil end
  return not ASKS_NOT[value]
end

--- Whether parameters ask for a mask.
-- @param resolved all of them
function parameters.wants_mask(resolved)
  for _, name in ipairs(parameters.MASKS) do
    if parameters.asks_for_mask(name, resolved[name]) then return true end
  end
  return false
end

return parameters
