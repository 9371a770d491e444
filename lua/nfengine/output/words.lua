--- The command line's words on where records go: its options, and what they come to.

local formats = require "nfengine.formats"
local ipfix_options = require "nfengine.output.ipfix_options"
local names = require "nfengine.output.names"
local output = require "nfengine.output"

local words = {}

--- The options, as nfengine.options declares them, in the order of help.
words.options = {
  { name = "output", short = "o", kind = "string", value = "FILE",
    doc = "write records to FILE (\"-\" for standard output), or send them by IPFIX to udp://HOST:PORT or "
      .. "tcp://HOST:PORT, or to Kafka, kafka://BROKER[:PORT],.../TOPIC" },
  { name = "into", kind = "string", value = "FOLDER",
    doc = "write all files of records, under the names that they have, into this folder" },
  { name = "format", kind = "choice", choices = formats.names, value = table.concat(formats.names, "|"),
    doc = "what to write; null only counts" },
  { name = "flows_per_file", kind = "integer", min = 0, value = "N",
    doc = "write several files, FILE with a number before its ending, each of so many records" },
  { name = "bytes_per_file", kind = "integer", min = 0, value = "BYTES",
    doc = "the same, beginning another file once one has so many bytes" },
  { name = "seconds_per_file", kind = "integer", min = 0, value = "SECONDS",
    doc = "the same, each with what was last seen in so many seconds of traffic" },
  { name = "rotate_files", kind = "integer", min = 0, value = "N",
    doc = "of these files keep so many, the newest" },
  { name = "table", kind = "string", value = "NAME",
    doc = "with SQLite and DuckDB: the table to add records to [flows]" },
}

for _, option in ipairs(ipfix_options) do
  local copy = { name = "ipfix_" .. option.name }
  for key, value in pairs(option) do copy[key] = copy[key] or value end
  table.insert(words.options, copy)
end

for _, option in ipairs {
  { name = "kafka_key", kind = "list", value = "NAME,...",
    doc = "columns whose values are the key of a message to Kafka" },
  { name = "kafka_timestamp", kind = "choice", choices = { "last_seen", "now" }, value = "last_seen|now",
    doc = "the time of a message to Kafka: that of the flow's last packet, or when it is sent [last_seen]" },
  { name = "kafka_option", kind = "list", value = "PROPERTY=VALUE", is_repeatable = true,
    parse = function(word) return { word } end,
    doc = "set a property of librdkafka, which sends to Kafka; may be given more than once" },
  { name = "kafka_config", kind = "string", value = "FILE",
    doc = "read such properties, passwords among them, from FILE, a line each" },
  { name = "kafka_flush_seconds", kind = "number", min = 0, value = "SECONDS",
    doc = "how long to wait at the end for brokers that acknowledge nothing, before records are given up [60]" },
} do
  table.insert(words.options, option)
end

--- Loaded where there is a need for it, as most runs have nothing to do with Kafka.
local function kafka_options() return require "nfengine.output.kafka_options" end

local function ipfix_values(values)
  local given = {}
  for _, option in ipairs(ipfix_options) do given[option.name] = values["ipfix_" .. option.name] end
  return given
end

--- Why a run has no network, or nil where it has.
local function offline_because(values)
  local option = values.safe and "--safe" or values.sandbox and "--sandbox"
  if option then return option .. ": the network is not there, expected a file to write to" end
  if values.user and values.sandbox ~= false then
    return "--user: the network is not there, expected --no-sandbox with it, or a file to write to"
  end
end

--- Where records go, and how, as output.overrides has it. Raises one line, of usage.
-- @param values of the command line's options
function words.overrides(values)
  if names.scheme(values.output) == "kafka" then
    local problem = offline_because(values) or select(2, kafka_options().parse_address(values.output))
    if problem then error({ usage = "-o: " .. problem }, 0) end
  end
  local overrides = {
    path = values.output, format = values.format, table = values.table, is_in_place = values.user ~= nil,
    offline = offline_because(values), ipfix_given = ipfix_values(values),
    kafka = {
      key = values.kafka_key, timestamp = values.kafka_timestamp,
      options = values.kafka_option and kafka_options().of_words(values.kafka_option),
      config = values.kafka_config, flush_seconds = values.kafka_flush_seconds,
    },
  }
  for _, name in ipairs(output.COUNTS) do overrides[name] = values[name] end
  return overrides
end

-- What a run does not do that has no use for options whose names begin so.
local WITHOUT = { ipfix = "writes no IPFIX", kafka = "writes nothing to Kafka" }

--- What was said in vain, a text each, once the script has run.
function words.unused(values)
  local used, unused = output.used, {}
  if not used.records and (values.output or values.format) then
    unused[1] = (values.output and "-o" or "--format") .. " has no effect: this script writes no records"
  end
  for _, option in ipairs(words.options) do
    local kind = option.name:match "^(%l+)_"
    if WITHOUT[kind] and not used[kind] and values[option.name] then
      unused[#unused + 1] = ("--%s has no effect: this run %s"):format(option.name:gsub("_", "-"), WITHOUT[kind])
    end
  end
  return unused
end

return words
