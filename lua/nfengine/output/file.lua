--- The sink that writes one file, or to an open one, or sends to a collector, in a format that the core knows.

local ffi = require "ffi"
local C = require "nfengine.lib"
local columns = require "nfengine.columns"
local formats = require "nfengine.formats"
local lfs = require "nfengine.lfs"
local names = require "nfengine.output.names"
local report = require "nfengine.report"
local text = require "nfengine.text"

local file = { takes_metadata = true } -- where its format does
file.__index = file

--- Makes a sink.
-- @param given `path` (a text, "-" for standard output, or an open file); `format` (a name of formats.lua's); `packing`
--   (how the writers call a compression); `is_beside` (whether the file gets its name when it is complete);
--   `descriptor` (of the path, if it is open already); `metadata` (texts by name that the file is to say of its
--   records, where its format has a place for them, beside "nfengine.schema"; or a function that gives them, asked when
--   the file is begun and again before it ends); `ipfix` (of that format, see ipfix.new); `is_sent` (whether the path
--   is a collector's)
function file.new(given) return setmetatable(given, file) end

--- What is to be written, as a person names it, and as a path by which the system finds it.
local function names_of(path)
  if path == "-" then path = io.stdout end
  if type(path) == "string" then return text.quote(path), path end
  return path == io.stdout and "standard output" or "the open file", "/proc/self/fd/" .. C.nf_descriptor_of(path)
end

--- Where the file goes, as the writer takes it.
local function destination(self)
  local to = ffi.new("struct nf_destination", {
    descriptor = self.descriptor or -1, packing = self.packing, is_beside = self.is_beside,
  })
  if self.is_sent then
    to.collector, to.patience_s, to.rate = self.path, self.ipfix.options.patience, self.ipfix.options.rate
  elseif type(self.path) == "string" then
    to.path = self.path -- which the sink keeps
  else
    self.path:flush()
    to.descriptor = C.nf_descriptor_of(self.path)
  end
  return to
end

--- What the records hold, as JSON.
local function schema(selected)
  return require("nfengine.pretty").encode(require("nfengine.manifest").schema(selected))
end

--- Says of the records what the sink was given to say. Failures come with close.
local function describe(self)
  local texts = self.metadata
  if type(texts) == "function" then texts = texts() end
  texts = texts or {}
  for _, name in ipairs(text.sorted_keys(texts)) do C.nf_writer_describe(self.writer, name, texts[name]) end
end

function file:open(selected, crew, available)
  local shown, place = names_of(self.path)
  for _, each in ipairs { place, place .. ".part" } do
    if C.nf_crew_reads(crew, each) then
      return nil, ("cannot write %s: it is a capture of this run"):format(shown)
    end
  end
  local to = destination(self)
  if self.ipfix then selected = self.ipfix:select(selected, available) end
  self.selected = selected -- the C array refers to its names
  self.columns = columns.to_c(selected)
  if self.ipfix then to.ipfix = self.ipfix:describe(selected, available) end
  self.message = ffi.new("char[?]", C.NF_ERROR_SIZE)
  local format = formats.code(self.format, self.path)
  self.writer = C.nf_writer_open(to, format, self.columns, #selected, self.message)
  if self.writer == nil then return nil, ffi.string(self.message) end
  self.is_described = formats.is_described(self.format)
  if self.is_described then
    C.nf_writer_describe(self.writer, "nfengine.schema", schema(selected))
    describe(self)
  end
  self.inode = type(self.path) == "string" and lfs.attributes(self.path, "ino")
  return true
end

--- Answers false when no more can be written; the reason comes with close.
function file:write(flow)
  return C.nf_writer_write(self.writer, flow.core) == C.NF_OK
end

--- Bytes that the file has by now; of rows that are neither compressed nor in a typed format, those to be written too.
function file:size() return tonumber(C.nf_writer_size(self.writer)) end

--- What is written shows.
function file:flush() C.nf_writer_flush(self.writer) end

--- How many records have got out, of all that it was given. Nothing can be written after that.
function file:count_written()
  if self.writer == nil then return self.rows or 0 end
  if self.is_described and not self.rows then describe(self) end
  C.nf_writer_finish(self.writer) -- only this may tell that the reader has gone
  self.rows = tonumber(C.nf_writer_rows(self.writer))
  return self.rows
end

function file:close()
  if self.writer == nil then return true end
  self:count_written()
  local writer = self.writer
  self.writer = nil
  local is_quiet = C.nf_writer_is_broken_pipe(writer)
  if C.nf_writer_warning(writer, self.message) then report.say("warning: " .. ffi.string(self.message)) end
  if C.nf_writer_close(writer, self.message) ~= C.NF_OK and not is_quiet then return nil, ffi.string(self.message) end
  return true
end

--- What it has written, for a manifest: the path that this goes beside, nil for what has no name of its own, and a list
-- of { path, records }; without records where others may be in the file as well.
function file:written()
  if not names.is_file(self.path) then return nil end
  local records = not self.is_another and self.rows or nil
  return self.path, { { path = self.path, records = records, is_another = self.is_another } }
end

--- The columns of its records, for a manifest.
function file:columns_written(current)
  return self.ipfix and self.ipfix:select(current.columns, current.available) or current.columns
end

--- What was asked of it, for a manifest.
function file:described()
  return require("nfengine.pretty").object {
    { "format", self.format }, { "packing", formats.packing_name(self.packing) },
  }
end

--- Goes on in a new file where the old one was moved away.
function file:reopen()
  if C.nf_writer_reopen(self.writer, self.message) ~= C.NF_OK then
    report.say("warning: " .. ffi.string(self.message) .. ": the old file stays in use")
  end
  if not self.is_beside and type(self.path) == "string" then
    self.is_another = self.is_another or lfs.attributes(self.path, "ino") ~= self.inode
  end
end

return file
