--- The sink that writes many files, one after another: each with so many records, until it has so many bytes, or with
-- what was last seen in so many seconds of traffic.
--
-- Seconds are counted from 1970 on, so that files of an hour begin with the hour. A record belongs to the time in which
-- its flow was last seen (bidirectional_last_seen); one of a later time than the file's begins the next file. Flows end
-- in nearly that order: a record of an earlier time stays in the file that is open, none is gone back to, and a time
-- without records has no file.

local columns = require "nfengine.columns"
local export = require "nfengine.output.options"
local names = require "nfengine.output.names"

local rotation = { takes_metadata = true } -- for each of its files
rotation.__index = rotation

--- Makes a sink.
-- @param path the files' common name: "flows.csv" makes "flows.0.csv", "flows.1.csv" …
-- @param make function that makes a sink for one file, given its path
-- @param given `flows_per_file`, `bytes_per_file`, `seconds_per_file`, 0 for no such limit; `rotate_files` (how many
--   files are kept, 0 for all)
-- @param time_unit the run's
function rotation.new(path, make, given, time_unit)
  local period = given.seconds_per_file * columns.time_units[time_unit].per_second
  return setmetatable({
    path = path, make = make, given = given, number = 0, finished = {}, finished_rows = 0, kept = given.rotate_files,
    rows_limit = given.flows_per_file > 0 and given.flows_per_file or math.huge,
    size_limit = given.bytes_per_file > 0 and given.bytes_per_file or nil,
    period = period > 0 and period or nil,
  }, rotation)
end

function rotation:open(selected, crew, available)
  if self.period and not columns.last_seen(available) then
    return nil, "seconds_per_file: records do not tell when flows were seen, expected flows_per_file or bytes_per_file"
  end
  self.selected, self.crew, self.available = selected, crew, available
  return self:begin()
end

--- Begins the next file.
function rotation:begin()
  local number = self.kept > 0 and self.number % self.kept or self.number
  self.file, self.number, self.rows = self.make(names.numbered(self.path, number)), self.number + 1, 0
  self.file.metadata = self.metadata
  return self.file:open(self.selected, self.crew, self.available)
end

--- Whether the record, of a time that is numbered so, belongs to another file.
local function begins_file(self, time)
  return self.rows >= self.rows_limit or time > (self.time or time)
    or self.size_limit and self.rows > 0 and self.file:size() >= self.size_limit
end

function rotation:write(flow)
  local time = self.period and math.floor(tonumber(flow.core.scope[0].last_seen) / self.period) or 0
  if begins_file(self, time) then
    local ok, message = self:close()
    if ok then ok, message = self:begin() end
    if not ok then return nil, message end
  end
  self.rows, self.time = self.rows + 1, math.max(time, self.time or time)
  return self.file:write(flow)
end

function rotation:flush() self.file:flush() end

function rotation:reopen() self.file:reopen() end

function rotation:count_written() return self.finished_rows + (self.file and self.file:count_written() or 0) end

--- A file that was written under the same name before is no more.
local function note(self, path, records)
  for i, each in ipairs(self.finished) do
    if each.path == path then table.remove(self.finished, i) break end
  end
  self.finished[#self.finished + 1] = { path = path, records = records }
end

function rotation:close()
  local file = self.file
  if not file then return true end
  self.file, self.finished_rows = nil, self:count_written()
  note(self, file.path, file:count_written())
  return file:close()
end

--- As a file's: what is there in the end, in the order in which it was written.
function rotation:written()
  if not names.is_file(self.path) then return nil end
  return self.path, self.finished
end

--- As a file's.
function rotation:columns_written(current) return (self.file or self.make(self.path)):columns_written(current) end

--- As a file's.
function rotation:described()
  local members = (self.file or self.make(self.path)):described()
  for _, name in ipairs(export.LIMITS) do
    if self.given[name] > 0 then members[#members + 1] = { name, self.given[name] } end
  end
  if self.kept > 0 then members[#members + 1] = { "rotate_files", self.kept } end
  return members
end

return rotation
