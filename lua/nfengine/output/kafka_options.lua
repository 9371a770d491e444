--- What an output to Kafka is told: by streamer:to_kafka { … }, by an address, by the command line's --kafka-… options,
-- by a file and by the environment. See docs/kafka.md.

local text = require "nfengine.text"

local kafka_options = {}

local FLUSH_SECONDS = 60

--- For librdkafka, unless somebody says otherwise: no record is lost or comes twice, however long a broker is away.
local DEFAULTS = { ["client.id"] = "nfengine", ["enable.idempotence"] = true, ["message.timeout.ms"] = 0 }

--- Properties that are the output's own business, and where to say the same.
local OWN = {
  ["bootstrap.servers"] = "brokers", ["metadata.broker.list"] = "brokers",
  ["delivery.report.only.error"] = "no such property", ["enabled_events"] = "no such property",
  ["log.queue"] = "no such property", ["transactional.id"] = "no such property",
}

--- Properties whose values nobody may see. Each can be in the environment, as NFENGINE_SASL_PASSWORD and so on.
local SECRETS = {
  "sasl.oauthbearer.client.secret", "sasl.oauthbearer.config", "sasl.password", "ssl.key.password", "ssl.key.pem",
  "ssl.keystore.password",
}

--- Whether a property's value is one that nobody may see.
function kafka_options.is_secret(name) return text.contains(SECRETS, name) end

local function variable_of(name) return "NFENGINE_" .. name:upper():gsub("%.", "_") end

local function refuse(...) error((...):format(select(2, ...)), 0) end

-- ---- addresses ----

local ADDRESS = "kafka://BROKER[:PORT],…/TOPIC"

--- What is wrong with a topic's name, or nil.
local function problem_of_topic(topic)
  if type(topic) == "string" and #topic <= 249 and topic:match "^[%w._-]+$" then return nil end
  return ("topic %s: expected letters, digits, '.', '_' and '-'"):format(text.quote(topic))
end

--- What an address names: { brokers, topic }; or nil and what is wrong with it.
function kafka_options.parse_address(address)
  if address:find("@", 1, true) then -- not shown: a password may stand before it
    return nil, "kafka://…: a user or password, expected in --kafka-config or the environment"
  end
  local brokers, topic = address:match "^kafka://([^/]+)/([^/]*)$"
  if not brokers then return nil, ("%s: expected %s"):format(text.quote(address), ADDRESS) end
  local problem = problem_of_topic(topic)
  if problem then return nil, problem end
  return { brokers = brokers, topic = topic }
end

-- ---- properties ----

--- Adds a property. `origin` is where it comes from, for messages, which never have its value.
local function add_property(properties, name, value, origin)
  if OWN[name] then refuse("%s: %s is set by nfengine, expected %s", origin, name, OWN[name]) end
  if type(name) ~= "string" or type(value) == "table" or type(value) == "function" then
    refuse("%s: expected texts, numbers and booleans by the names of librdkafka's properties", origin)
  end
  properties[name] = tostring(value)
end

--- Adds those of a file, a line each, "name=value"; "#" begins a comment.
local function add_file(properties, path)
  local file, message = io.open(path, "r")
  if not file then refuse("kafka_config: %s, expected a file of librdkafka's properties", message) end
  local number = 0
  for line in file:lines() do
    number = number + 1
    local name, value = line:match "^%s*([%w._-]+)%s*=%s*(.-)%s*$"
    if name then
      add_property(properties, name, value, ("%s:%d"):format(path, number))
    elseif not line:match "^%s*#" and line:match "%S" then
      file:close()
      refuse("%s:%d: expected PROPERTY=VALUE", path, number)
    end
  end
  file:close()
end

local function add_environment(properties)
  for _, name in ipairs(SECRETS) do
    local value = os.getenv(variable_of(name))
    if value then properties[name] = value end
  end
end

local function add_all(properties, given, origin)
  if type(given) ~= "table" then refuse("%s: expected a table of librdkafka's properties", origin) end
  for name, value in pairs(given) do add_property(properties, name, value, origin) end
end

--- Properties that the command line has, by name. Raises a usage error; secrets are refused, as others can see them.
-- @param words "NAME=VALUE", …
function kafka_options.of_words(words)
  local properties = {}
  for _, word in ipairs(words) do
    local name, value = word:match "^([%w._-]+)=(.*)$"
    local problem
    if not name then problem = "expected PROPERTY=VALUE"
    elseif kafka_options.is_secret(name) then
      problem = ("%s: others see command lines, expected --kafka-config=FILE or $%s"):format(name, variable_of(name))
    else
      local ok, message = pcall(add_property, properties, name, value, "--kafka-option")
      if not ok then error({ usage = message }, 0) end
    end
    if problem then error({ usage = "--kafka-option: " .. problem }, 0) end
  end
  return properties
end

-- ---- all of it ----

local function check_topic(topic)
  local problem = problem_of_topic(topic)
  if problem then refuse("%s", problem) end
  return topic
end

local function check_brokers(brokers)
  if type(brokers) == "table" then brokers = table.concat(brokers, ",") end
  if type(brokers) ~= "string" or brokers == "" then
    refuse("brokers = %s: expected BROKER[:PORT], or a list of them", text.quote(brokers))
  end
  return brokers
end

local function check_key(key)
  if type(key) == "string" then key = { key } end
  if key ~= nil and (type(key) ~= "table" or #key == 0) then
    refuse("key = %s: expected a column's name, or a list of them", text.quote(key))
  end
  return key
end

local FORMATS = { csv = "csv", json = "json", jsonl = "json" }

local function check_format(format)
  if format ~= nil and not FORMATS[format] then
    refuse("format = %s: expected \"json\" or \"csv\" for messages", text.quote(format))
  end
  return FORMATS[format or "json"]
end

local function check_seconds(seconds)
  if type(seconds) == "number" and seconds >= 0 then return seconds end
  refuse("flush_seconds = %s: expected a number of at least 0", text.quote(seconds))
end

local function check_timestamp(timestamp)
  if timestamp == nil or timestamp == "last_seen" or timestamp == "now" then return timestamp end
  refuse("timestamp = %s: expected \"last_seen\" or \"now\"", text.quote(timestamp))
end

--- The settings of an output, checked and with their defaults. Raises one line.
-- @param given `brokers`, `topic`, or `address` for both; `key`, `format`, `timestamp`, `options`, `config`,
--   `flush_seconds`
-- @param overrides the same from the command line, which win
-- @return brokers (a text), topic, key (a list of names or nil), format ("json" or "csv"), timestamp ("last_seen" or
--   "now", nil where nobody has said), properties (texts by name), flush_seconds
function kafka_options.check(given, overrides)
  local place, properties, problem = given, {}, nil
  if given.address then place, problem = kafka_options.parse_address(given.address) end
  if not place then refuse("%s", problem) end
  add_all(properties, DEFAULTS, "defaults")
  add_environment(properties)
  for _, path in ipairs { given.config or false, overrides.config or false } do
    if path then add_file(properties, path) end
  end
  add_all(properties, given.options or {}, "options")
  add_all(properties, overrides.options or {}, "--kafka-option")
  return {
    brokers = check_brokers(place.brokers), topic = check_topic(place.topic),
    key = check_key(overrides.key or given.key), format = check_format(given.format), properties = properties,
    timestamp = check_timestamp(overrides.timestamp or given.timestamp),
    flush_seconds = check_seconds(overrides.flush_seconds or given.flush_seconds or FLUSH_SECONDS),
  }
end

return kafka_options
