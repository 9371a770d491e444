--- Where records go: the loop that feeds a sink, and the sinks that write files.

local ffi = require "ffi"
local C = require "nfengine.lib"
local columns = require "nfengine.columns"
local formats = require "nfengine.formats"
local lfs = require "nfengine.lfs"
local report = require "nfengine.report"
local sources = require "nfengine.sources"
local text = require "nfengine.text"

local output = {}

--- What the command line set: `path`, `format`; `is_in_place` where the process will not be able to rename files;
-- `is_used` once a sink has taken them.
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

-- ---- files ----

--- "flows.csv", 3 → "flows.3.csv"; "flows.csv.gz" → "flows.3.csv.gz"
local function chunk_name(path, number)
  local folder, base = path:match "^(.*/)([^/]*)$"
  folder, base = folder or "", base or path
  local packed, packing = base:match "^(.+)(%.[^.]+)$"
  if not packed or select(2, formats.of_path(base)) == C.NF_PACKING_NONE then packed, packing = base, "" end
  local stem, extension = packed:match "^(.+)(%.[^.]+)$"
  return ("%s%s.%d%s%s"):format(folder, stem or packed, number, extension or "", packing)
end

local file = { finished_rows = 0 } -- of the chunks before this one
file.__index = file

local function anonymized_set(names, selected)
  local set, known = {}, {}
  for i, column in ipairs(selected) do known[i] = column.name end
  for _, name in ipairs(names or {}) do
    if not text.contains(known, name) then
      error(("columns_to_anonymize: no column %s in this run%s"):format(text.quote(name), text.suggest(name, known)), 0)
    end
    set[name] = true
  end
  return set
end

function file:open(selected, crew)
  self.crew = crew
  local key = self.options.anonymization_key
  self.selected = selected -- the C array refers to its names
  self.columns = columns.to_c(selected, anonymized_set(self.options.columns_to_anonymize, selected))
  self.count = #selected
  self.key = ffi.new("uint8_t[64]")
  if key then ffi.copy(self.key, key, 64) else C.nf_random_key(self.key) end
  self.message = ffi.new("char[?]", C.NF_ERROR_SIZE)
  return self:open_chunk()
end

--- What is to be written, as a person names it, and as a path by which the system finds it.
local function names_of(path)
  if path == "-" then path = io.stdout end
  if type(path) == "string" then return text.quote(path), path end
  return path == io.stdout and "standard output" or "the open file", "/proc/self/fd/" .. C.nf_descriptor_of(path)
end

function file:open_chunk()
  local path = self.path
  if self.options.flows_per_file > 0 then
    local number, rotate = self.chunk, self.options.rotate_files
    path = chunk_name(path, rotate > 0 and number % rotate or number)
    self.chunk = number + 1
  end
  self.rows = 0
  local shown, place = names_of(path)
  for _, each in ipairs { place, place .. ".part" } do
    if C.nf_crew_reads(self.crew, each) then
      return nil, ("cannot write %s: it is a capture of this run"):format(shown)
    end
  end
  self.writer = C.nf_writer_open(self:destination(path), formats.code(self.format), self.columns, self.count, self.key,
    self.message)
  if self.writer == nil then return nil, ffi.string(self.message) end
  return true
end

--- Where a chunk goes, as the writer takes it.
function file:destination(path)
  local to = ffi.new("struct nf_destination", { descriptor = -1, packing = self.packing, is_beside = self.is_beside })
  if type(path) == "string" then
    to.path = path -- which the caller keeps
    if self.descriptor and path == self.path then to.descriptor = self.descriptor end
  else
    path:flush()
    to.descriptor = C.nf_descriptor_of(path)
  end
  return to
end

function file:close()
  if self.writer == nil then return true end
  local writer = self.writer
  self.writer = nil
  C.nf_writer_finish(writer) -- only this may tell that the reader has gone
  self.finished_rows = self.finished_rows + tonumber(C.nf_writer_rows(writer))
  local is_quiet = C.nf_writer_is_broken_pipe(writer)
  if C.nf_writer_close(writer, self.message) ~= C.NF_OK and not is_quiet then return nil, ffi.string(self.message) end
  return true
end

--- What is written shows.
function file:flush() C.nf_writer_flush(self.writer) end

--- How many records have got out, of all that it was given. Nothing can be written after that.
function file:count_written()
  if self.writer == nil then return self.finished_rows end
  C.nf_writer_finish(self.writer)
  return self.finished_rows + tonumber(C.nf_writer_rows(self.writer))
end

--- Goes on in a new file where the old one was moved away.
function file:reopen()
  if C.nf_writer_reopen(self.writer, self.message) ~= C.NF_OK then
    report.say("warning: " .. ffi.string(self.message) .. ": the old file stays in use")
  end
end

--- Answers false when no more can be written; the reason comes with close.
function file:write(flow)
  return C.nf_writer_write(self.writer, flow.core) == C.NF_OK
end

--- The same in chunks of so many flows.
function file:write_chunked(flow)
  if self.rows == self.options.flows_per_file then
    local closed, message = self:close()
    if not closed then return nil, message end
    closed, message = self:open_chunk()
    if not closed then return nil, message end
  end
  self.rows = self.rows + 1
  return file.write(self, flow)
end

--- Counts, and writes nothing.
local null = { write = function() return true end }

-- ---- choosing ----

local function check_count(options, name)
  local value = options[name] or 0
  if type(value) ~= "number" or value < 0 or value ~= math.floor(value) or value == math.huge then
    error(("%s = %s: expected an integer of at least 0"):format(name, text.quote(value)), 5)
  end
  return value
end

local function check_names(options, name)
  local value = options[name]
  if type(value) == "string" then value = { value } end
  for key, item in pairs(type(value) == "table" and value or { value }) do
    if type(key) ~= "number" or type(item) ~= "string" then
      error(("%s = %s: expected a list of column names"):format(name, text.quote(value)), 5)
    end
  end
  return value
end

local function check_options(given)
  if type(given) ~= "table" then error(("options = %s: expected a table"):format(text.quote(given)), 4) end
  local options = { columns_to_anonymize = check_names(given, "columns_to_anonymize") }
  options.anonymization_key = given.anonymization_key
  options.flows_per_file = check_count(given, "flows_per_file")
  options.rotate_files = check_count(given, "rotate_files")
  local key = options.anonymization_key
  if key ~= nil and (type(key) ~= "string" or #key ~= 64) then
    error("anonymization_key: expected a string of 64 bytes", 4)
  end
  local known = { "columns_to_anonymize", "anonymization_key", "flows_per_file", "rotate_files" }
  for name in pairs(given) do
    if not text.contains(known, name) then
      error(("unknown option %s%s"):format(text.quote(name), text.suggest(name, known)), 4)
    end
  end
  return options
end

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
  return setmetatable({
    path = path, format = "csv", packing = C.NF_PACKING_NONE, is_beside = false, options = { flows_per_file = 0 },
  }, file)
end

--- A sink that writes a file. The command line's path and format win; without either the path is the source's with the
-- format behind it for to_csv and to_jsonl, standard output for write.
function output.file(streamer, path, format, given)
  local options = check_options(given or {})
  local overrides = output.overrides
  if overrides.path and overrides.is_used then
    error(("-o \"%s\": this script writes more than once, expected no -o"):format(overrides.path), 3)
  end
  overrides.is_used = true
  local descriptor = overrides.path and reserved
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
  if format == "null" then return null end
  if options.flows_per_file > 0 and (path == "-" or type(path) ~= "string") then
    error("flows_per_file: expected a file to write to, got standard output", 3)
  end
  local is_chunked = options.flows_per_file > 0
  local self = setmetatable({
    path = path, format = format, packing = packing or C.NF_PACKING_NONE, options = options, chunk = 0,
    descriptor = descriptor, is_beside = is_chunked or not (overrides.is_in_place or is_stream(streamer.source)),
  }, file)
  if is_chunked then self.write = file.write_chunked end
  return self
end

return output
