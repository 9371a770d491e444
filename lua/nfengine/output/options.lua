--- What exports take beside a path.

local ipfix_options = require "nfengine.output.ipfix_options"
local options_of = require "nfengine.options"
local text = require "nfengine.text"

local options = {}

--- How an export is parted into several files, 0 where it is not.
options.LIMITS = { "flows_per_file", "bytes_per_file", "seconds_per_file" }
--- These, and how many of the files are kept: counts, which the command line has as well.
options.COUNTS = { "rotate_files", unpack(options.LIMITS) }

local function check_count(given, name)
  local value = given[name] or 0
  if type(value) ~= "number" or value < 0 or value ~= math.floor(value) or value == math.huge then
    error(("%s = %s: expected an integer of at least 0"):format(name, text.quote(value)), 5)
  end
  return value
end

local function check_names(given, name)
  local value = given[name]
  if type(value) == "string" then value = { value } end
  for key, item in pairs(type(value) == "table" and value or { value }) do
    if type(key) ~= "number" or type(item) ~= "string" then
      error(("%s = %s: expected a list of column names"):format(name, text.quote(value)), 5)
    end
  end
  return value
end

--- Those of IPFIX.
local function check_ipfix(given)
  local values = {}
  for _, option in ipairs(ipfix_options) do
    local value = given[option.name]
    if value == nil then value = option.default end
    local checked, expected = options_of.check(option, value)
    if checked == nil then error(("%s = %s: expected %s"):format(option.name, text.quote(value), expected), 5) end
    values[option.name] = checked
  end
  return values
end

--- The options of an export, checked and with their defaults; `parameters` are those that are the run's. Raises one
-- line, at whoever called the export.
-- @param given a script's table: see streamer:to_csv
function options.check(given)
  if type(given) ~= "table" then error(("options = %s: expected a table"):format(text.quote(given)), 4) end
  local names, key = check_names(given, "columns_to_anonymize"), given.anonymization_key
  local checked = { parameters = { columns_to_anonymize = names, anonymization_key = key } }
  for _, name in ipairs(options.COUNTS) do checked[name] = check_count(given, name) end
  if key ~= nil and (type(key) ~= "string" or #key < 32 or #key > 64) then
    error("anonymization_key: expected a string of 32 to 64 bytes", 4)
  end
  checked.ipfix = check_ipfix(given)
  local known = { "columns_to_anonymize", "anonymization_key", unpack(options.COUNTS) }
  for _, option in ipairs(ipfix_options) do known[#known + 1] = option.name end
  for name in pairs(given) do
    if not text.contains(known, name) then
      error(("unknown option %s%s"):format(text.quote(name), text.suggest(name, known)), 4)
    end
  end
  return checked
end

return options
