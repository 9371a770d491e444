--- The manifest beside an output: OUTPUT.manifest.json.
--
-- That it can be written is tried before the output is touched, since the process may have given up its rights by the
-- time it is. What an earlier run has left is removed once the output is open: a manifest that is there tells of what
-- lies beside it, whenever this run should be killed.

local ffi = require "ffi"
local C = require "nfengine.lib"
local manifest = require "nfengine.manifest"
local names = require "nfengine.output.names"

local beside = {}
beside.__index = beside

local function new_message() return ffi.new("char[?]", C.NF_ERROR_SIZE) end

local reserved = {} -- descriptors by path

--- Opens a manifest's file now, for a process that may open none when it is to be written. What is in it stays until
-- then. Raises one line.
function beside.reserve(path)
  local place, message = names.manifest(path), new_message()
  reserved[place] = C.nf_writer_reserve(place, message)
  if reserved[place] < 0 then error(ffi.string(message) .. ", expected a file to write, or no --manifest", 0) end
end

local function try(self)
  if self.is_in_place then
    if not reserved[self.place] then beside.reserve(self.path) end
    return
  end
  local part = self.place .. ".part"
  local file, message = io.open(part, "wb")
  if not file then error(("cannot write %s, expected a file to write, or no --manifest"):format(message), 0) end
  file:close()
end

--- Prepares a sink's manifest. nil where the sink writes nothing that has a name. Raises one line where the manifest
-- cannot be written.
-- @param resolved the run's parameters
-- @param is_in_place whether files cannot be renamed when the run has ended
function beside.prepare(sink, resolved, is_in_place)
  local path = sink:written()
  if not path then return nil end
  local self = setmetatable({ sink = sink, path = path, place = names.manifest(path), readers = {} }, beside)
  self.is_in_place = is_in_place or reserved[self.place] ~= nil
  self.about = manifest.new(resolved)
  try(self)
  return self
end

--- The run will not be: leaves nothing behind.
function beside:abandon()
  self.about.inputs:stop()
  if not self.is_in_place then os.remove(self.place .. ".part") end
end

--- Opens the manifest's file. Raises one line.
local function open(path, descriptor)
  local message = new_message()
  local output = C.nf_output_open(ffi.new("struct nf_destination", { path = path, descriptor = descriptor }), message)
  if output == nil then error(ffi.string(message), 0) end
  return output
end

--- The output is open. What will be read again to be hashed is opened, where that may be refused later.
function beside:begin()
  if not self.is_in_place then
    os.remove(self.place)
    return
  end
  local descriptor = reserved[self.place]
  reserved[self.place] = nil
  self.output = open(self.place, descriptor)
  for _, each in ipairs(select(2, self.sink:written())) do self.readers[each.path] = io.open(each.path, "rb") end
end

local function name_of(path) return path:match "[^/]*$" end

--- Which files there are, as a list for the manifest.
local function describe_files(self)
  local list = {}
  for i, each in ipairs(select(2, self.sink:written())) do
    local reader = not each.is_another and self.readers[each.path] or nil
    list[i] = manifest.output(each.path, each.records, name_of(each.path), reader)
  end
  return list
end

--- Writes all or nothing: half of a manifest would be none.
local function write(output, text)
  local message = new_message()
  C.nf_output_put_end(output, text, #text)
  if C.nf_output_close(output, message) ~= C.NF_OK then return nil, ffi.string(message) end
  return true
end

local function write_beside(place, text)
  local part = place .. ".part"
  local written, message = write(open(part, -1), text)
  if written then written, message = os.rename(part, place) end
  if not written then os.remove(part) end
  return written, message
end

--- Writes it: the run has ended, and its sink is closed. Raises one line.
-- @param current the run
-- @param failure what has ended it before its time, as text, or nil
function beside:finish(current, failure)
  local about, sink = self.about, self.sink
  about:add(current.account, failure)
  local text = about:text {
    { "output", sink.described and sink:described() }, { "files", describe_files(self) },
    { "columns", manifest.schema(sink.columns_written and sink:columns_written(current) or current.columns) },
  }
  about.inputs:stop()
  local written, message
  if self.is_in_place then written, message = write(self.output, text)
  else written, message = write_beside(self.place, text) end
  if not written then error(message, 0) end
end

return beside
