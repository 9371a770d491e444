--- Where records go: the loop that feeds a sink, and the choice of one.

local ffi = require "ffi"
local C = require "nfengine.lib"
local export = require "nfengine.output.options"
local file = require "nfengine.output.file"
local formats = require "nfengine.formats"
local lfs = require "nfengine.lfs"
local names = require "nfengine.output.names"
local sources = require "nfengine.sources"
local text = require "nfengine.text"

local output = { COUNTS = export.COUNTS }

--- What the command line set: `path`, `format`, `table` (of a database); the limits of rotation, `rotate_files`;
-- `ipfix_given`, options of that format; `is_in_place` where the process will not be able to rename files; `offline`,
-- why there is no network, if there is none; `kafka`, see kafka_options.check.
output.overrides = {}

--- What of it a sink has taken: `records` (where they go), `ipfix`, `kafka`.
output.used = {}

-- The descriptor of the command line's file where it is open already.
local reserved

--- Opens the command line's file now, for a process that may open none when it is to be written, and the one of its
-- manifest. What is in them stays until then. Raises one line.
function output.reserve(path, has_manifest)
  local message = ffi.new("char[?]", C.NF_ERROR_SIZE)
  reserved = C.nf_writer_reserve(path, message)
  if reserved < 0 then error(ffi.string(message), 0) end
  if has_manifest and names.is_file(path) then require("nfengine.output.beside").reserve(path) end
end

--- Whether standard output cannot be written any more (its reader went away, the disk is full).
function output.is_stdout_gone()
  return C.nf_has_failed(io.stdout)
end

-- ---- feeding a sink ----

--- Calls a method that a sink may lack. Returns the text of what went wrong, or nil.
local function failure_of(sink, method, ...)
  if not sink[method] then return nil end
  local ok, result, message = pcall(sink[method], sink, ...)
  if not ok then return text.raised(result) end
  return result == nil and message and text.raised(message) or nil
end

--- The manifest beside what a sink writes, or nil where there is to be none. A failure, and whether the sink may still
-- be opened, to say in its own words what is wrong: where nothing is there that it could destroy.
local function prepare_manifest(sink, resolved)
  local tells = resolved and resolved.manifest and type(sink.written) == "function"
  local path = tells and sink:written()
  if not path then return nil end
  local ok, prepared = pcall(require("nfengine.output.beside").prepare, sink, resolved, output.overrides.is_in_place)
  if ok then return prepared end
  return nil, text.raised(prepared), not lfs.attributes(path)
end

--- What a file is to say of its records, made when it asks and has a place for it.
local function metadata_of(resolved)
  local texts
  return function()
    texts = texts or { ["nfengine.manifest"] = require("nfengine.manifest").made_with(resolved) }
    return texts
  end
end

--- Opens a sink, and begins the manifest beside it. Returns that, or nil, and a failure.
local function open(current, sink, resolved)
  if sink.takes_metadata then sink.metadata = sink.metadata or metadata_of(resolved) end
  local about, failure, may_open = prepare_manifest(sink, resolved)
  if failure and not may_open then return nil, failure end
  failure = failure_of(sink, "open", current.columns, current.crew, current.available) or failure
  if not about then return nil, failure end
  if failure then
    about:abandon()
    return nil, failure
  end
  return about, failure_of(about, "begin")
end

--- Runs to the end, giving every record to the sink. The sink is closed, and what it has is written, whatever happens.
-- @param resolved the run's parameters, for a manifest of what the sink has written
-- @return number of records
function output.drain(current, sink, resolved)
  local about, failure = open(current, sink, resolved)
  local ok, result = true, 0
  current.has_failed = failure ~= nil
  if not failure then ok, result = pcall(current.drain, current, sink) end
  local closed, problem = pcall(current.close, current)
  local closing = failure_of(sink, "close")
  failure = not ok and result or failure or not closed and problem or closing
  local telling = about and failure_of(about, "finish", current, failure and text.raised(failure))
  failure = failure or telling
  if failure then error(failure, 0) end
  return result
end

--- Counts, and writes nothing.
local null = { write = function() return true end }

-- ---- choosing ----

--- Whether what is read may go on for long, so that somebody may want to read records before its end: it is no file.
local function is_stream(source)
  for _, path in ipairs(sources.files(source)) do
    if lfs.attributes(path, "mode") ~= "file" then return true end
  end
  return false
end

--- A sink that writes CSV to a file that -o and --format have no say in, for scripts that write several. `open` takes
-- the columns to write: those that sinks get, or some of them, or copies with other names.
function output.table(path)
  return file.new { path = path, format = "csv", packing = C.NF_PACKING_NONE, is_beside = false }
end

--- Puts the command line's options of exports over a script's.
local function override(options)
  for _, name in ipairs(output.COUNTS) do options[name] = output.overrides[name] or options[name] end
  for name, value in pairs(output.overrides.ipfix_given or {}) do options.ipfix[name] = value end
end

--- Which limit an export has for its files: a name, or nil.
local function limit_of(options)
  for _, name in ipairs(export.LIMITS) do
    if options[name] > 0 then return name end
  end
end

--- A sink that sends records to Kafka.
-- @param given what kafka_options.check takes
-- @param options checked ones of an export
local function to_kafka(given, options)
  local overrides = output.overrides
  if overrides.offline then
    error("output to Kafka: " .. overrides.offline, 0)
  end
  local limit = limit_of(options)
  if limit then error(limit .. ": expected a file to write to, got Kafka", 0) end
  output.used.records, output.used.kafka = true, true
  local settings = require("nfengine.output.kafka_options").check(given, overrides.kafka or {})
  settings.parameters = options.parameters
  return require("nfengine.output.kafka").new(settings)
end

--- Raises what is said against an output to Kafka at whoever called the export.
local function kafka_sink(given, options)
  local ok, sink = pcall(to_kafka, given, options)
  if not ok then error(sink, 3) end
  return sink
end

local KAFKA_SETTINGS = { "brokers", "topic", "key", "format", "timestamp", "options", "config", "flush_seconds" }

--- A sink that sends records to Kafka, where the command line's -o says nothing else.
-- @param given see streamer:to_kafka
function output.kafka(streamer, given)
  if type(given) ~= "table" then error("nf.streamer:to_kafka: expected a table, { brokers = …, topic = … }", 3) end
  local settings, rest = {}, {}
  for name, value in pairs(given) do
    local part = text.contains(KAFKA_SETTINGS, name) and settings or rest
    part[name] = value
  end
  local overrides = output.overrides
  if overrides.path or overrides.format == "null" then
    return output.file(streamer, overrides.path or "-", nil, rest, { kafka = settings })
  end
  settings.format = overrides.format or settings.format
  local options = export.check(rest)
  override(options)
  return kafka_sink(settings, options)
end

--- Where an export goes: a path, an address or an open file. Raises one line.
local function place_of(streamer, path, format)
  local overrides = output.overrides
  if overrides.path and output.used.records then
    error(("-o \"%s\": this script writes more than once, expected no -o"):format(overrides.path), 4)
  end
  output.used.records = true
  path = overrides.path or path
  if path == nil and format then
    local source = streamer.source
    local first = type(source) == "table" and source[1] or source
    path = (first and first ~= "-" and first:gsub("/+$", "") or "flows") .. "." .. format
  end
  path = names.placed(path == nil and "-" or path)
  if type(path) ~= "string" and io.type(path) ~= "file" then
    error(("path = %s: expected a path or an open file"):format(text.quote(path)), 4)
  end
  return path
end

--- The format of what goes there, and how it is packed (enum nf_packing). Raises one line.
local function format_of(path, format, is_sent)
  local said, packing
  if type(path) == "string" then said, packing = formats.of_path(path) end
  format = output.overrides.format or is_sent and "ipfix" or format or said or "csv"
  if output.overrides.table and not formats.product(format) then
    error({ usage = ("--table: format %s has none, expected sqlite or duckdb"):format(format) }, 0)
  end
  if is_sent and format ~= "ipfix" and format ~= "null" then
    error(("%s: expected --format=ipfix, got %s"):format(text.quote(path), format), 4)
  end
  return format, packing or C.NF_PACKING_NONE
end

--- A sink that writes one file, or several in turn, or to a collector.
-- @param about `path`, `format`, `packing`, `is_sent`
local function file_sink(streamer, about, options)
  local overrides, path, limit = output.overrides, about.path, limit_of(options)
  if limit and (path == "-" or about.is_sent or type(path) ~= "string") then
    error(("%s: expected a file to write to, got %s"):format(limit, about.is_sent and path or "standard output"), 4)
  end
  local is_beside = limit ~= nil or not (overrides.is_in_place or is_stream(streamer.source))
  local function make(place)
    return file.new {
      path = place, format = about.format, packing = about.packing, is_beside = is_beside, is_sent = about.is_sent,
      ipfix = about.format == "ipfix" and require("nfengine.output.ipfix").new(options.ipfix, place, streamer) or nil,
      descriptor = not limit and overrides.path and reserved or nil,
    }
  end
  if not limit then return make(path) end
  return require("nfengine.output.rotation").new(path, make, options, streamer.time_unit)
end

--- A sink that writes to a database.
local function database_sink(_, about, options, table)
  return require("nfengine.output." .. about.format).new {
    product = formats.product(about.format), path = about.path, table = output.overrides.table or table,
    packing = about.packing, limit = limit_of(options),
  }
end

--- A sink that writes a file, to a database, or to Kafka where the path is an address there. The command line's path,
-- format and table win; without either the path is the source's with the format behind it for to_csv and its like,
-- standard output for write.
-- @param more `table`: of a database; `kafka`: settings of an output to Kafka, should it become one
function output.file(streamer, path, format, given, more)
  local options, overrides = export.check(given or {}), output.overrides
  override(options)
  more = more or {}
  path = place_of(streamer, path, format)
  if names.scheme(path) == "kafka" and overrides.format ~= "null" then
    local settings = { format = overrides.format or format, address = path }
    for name, value in pairs(more.kafka or {}) do settings[name] = settings[name] or value end
    return kafka_sink(settings, options)
  end
  local about = { path = path, is_sent = names.collector(path) ~= nil }
  about.format, about.packing = format_of(path, format, about.is_sent)
  if about.format == "null" then return null end
  output.used.ipfix = output.used.ipfix or about.format == "ipfix"
  local sink = (formats.product(about.format) and database_sink or file_sink)(streamer, about, options, more.table)
  sink.parameters = options.parameters
  return sink
end

return output
