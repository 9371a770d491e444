--- Where records go: the loop that feeds a sink, and the choice of one.

local ffi = require "ffi"
local C = require "nfengine.lib"
local file = require "nfengine.output.file"
local formats = require "nfengine.formats"
local lfs = require "nfengine.lfs"
local options_of = require "nfengine.output.options"
local rotation = require "nfengine.output.rotation"
local sources = require "nfengine.sources"
local text = require "nfengine.text"

local output = {}

--- What the command line set: `path`, `format`, `table` (of a database); `is_in_place` where the process will not be
-- able to rename files; `is_used` once a sink has taken them.
output.overrides = {}

-- The descriptor of the command line's file where it is open already.
local reserved

--- Opens the command line's file now, for a process that may open none when it is to be written. What is in it stays
-- until then. Raises one line.
function output.reserve(path)
  local message = ffi.new("char[?]", C.NF_ERROR_SIZE)
  reserved = C.nf_writer_reserve(path, message)
  if reserved < 0 then error(ffi.string(message), 0) end
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

--- Runs to the end, giving every record to the sink. The sink is closed, and what it has is written, whatever happens.
-- @return number of records
function output.drain(current, sink)
  local failure = failure_of(sink, "open", current.columns, current.crew, current.available)
  local ok, result = true, 0
  current.has_failed = failure ~= nil
  if not failure then ok, result = pcall(current.drain, current, sink) end
  local closed, problem = pcall(current.close, current)
  local closing = failure_of(sink, "close")
  failure = not ok and result or failure or not closed and problem or closing
  if failure then error(failure, 0) end
  return result
end

-- Sinks of formats that are no bytes but databases.
local databases = { sqlite = "nfengine.output.sqlite", duckdb = "nfengine.output.duckdb" }

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
  return file.new { path = path, format = "csv", packing = C.NF_PACKING_NONE, is_beside = false, key = file.key() }
end

--- A sink that writes a file. The command line's path, format and table win; without either the path is the source's
-- with the format behind it for to_csv and its like, standard output for write.
-- @param name of a database's table
function output.file(streamer, path, format, given, name)
  local options = options_of(given or {})
  local overrides = output.overrides
  if overrides.path and overrides.is_used then
    error(("-o \"%s\": this script writes more than once, expected no -o"):format(overrides.path), 3)
  end
  overrides.is_used = true
  path = overrides.path or path
  if path == nil and format then
    local source = streamer.source
    local first = type(source) == "table" and source[1] or source
    path = (first and first ~= "-" and first:gsub("/+$", "") or "flows") .. "." .. format
  end
  path = path == nil and "-" or path
  if type(path) ~= "string" and io.type(path) ~= "file" then
    error(("path = %s: expected a path or an open file"):format(text.quote(path)), 3)
  end
  local said, packing
  if type(path) == "string" then said, packing = formats.of_path(path) end
  format = overrides.format or format or said or "csv"
  local database = databases[format]
  if overrides.table and not database then
    error({ usage = ("--table: format %s has none, expected sqlite or duckdb"):format(format) }, 0)
  end
  if format == "null" then return null end
  if database then
    return require(database).new {
      path = path, table = overrides.table or name, packing = packing or C.NF_PACKING_NONE, options = options,
    }
  end
  if options.flows_per_file > 0 and (path == "-" or type(path) ~= "string") then
    error("flows_per_file: expected a file to write to, got standard output", 3)
  end
  local is_rotated, key = options.flows_per_file > 0, file.key(options.anonymization_key)
  local is_beside = is_rotated or not (overrides.is_in_place or is_stream(streamer.source))
  local function make(place)
    return file.new {
      path = place, format = format, packing = packing or C.NF_PACKING_NONE, is_beside = is_beside, key = key,
      columns_to_anonymize = options.columns_to_anonymize,
      descriptor = not is_rotated and overrides.path and reserved or nil,
    }
  end
  if is_rotated then return rotation.new(path, make, options) end
  return make(path)
end

return output
