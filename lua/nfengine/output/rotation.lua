--- The sink that writes many files, one after another, each with so many records.

local C = require "nfengine.lib"
local formats = require "nfengine.formats"

local rotation = {}
rotation.__index = rotation

--- Makes a sink.
-- @param path the files' common name: "flows.csv" makes "flows.0.csv", "flows.1.csv" …
-- @param make function that makes a sink for one file, given its path
-- @param given `flows_per_file` (records of each), `rotate_files` (how many files are kept, 0 for all)
function rotation.new(path, make, given)
  return setmetatable({
    path = path, make = make, rows_per_file = given.flows_per_file, kept = given.rotate_files, number = 0,
    finished_rows = 0,
  }, rotation)
end

--- "flows.csv", 3 → "flows.3.csv"; "flows.csv.gz" → "flows.3.csv.gz"
local function numbered(path, number)
  local folder, base = path:match "^(.*/)([^/]*)$"
  folder, base = folder or "", base or path
  local packed, packing = base:match "^(.+)(%.[^.]+)$"
  if not packed or select(2, formats.of_path(base)) == C.NF_PACKING_NONE then packed, packing = base, "" end
  local stem, extension = packed:match "^(.+)(%.[^.]+)$"
  return ("%s%s.%d%s%s"):format(folder, stem or packed, number, extension or "", packing)
end

function rotation:open(selected, crew, available)
  self.selected, self.crew, self.available = selected, crew, available
  return self:begin()
end

--- Begins the next file.
function rotation:begin()
  local number = self.kept > 0 and self.number % self.kept or self.number
  self.file, self.number, self.rows = self.make(numbered(self.path, number)), self.number + 1, 0
  return self.file:open(self.selected, self.crew, self.available)
end

function rotation:write(flow)
  if self.rows == self.rows_per_file then
    local ok, message = self:close()
    if ok then ok, message = self:begin() end
    if not ok then return nil, message end
  end
  self.rows = self.rows + 1
  return self.file:write(flow)
end

function rotation:flush() self.file:flush() end

function rotation:reopen() self.file:reopen() end

function rotation:count_written() return self.finished_rows + (self.file and self.file:count_written() or 0) end

function rotation:close()
  local file = self.file
  if not file then return true end
  self.file, self.finished_rows = nil, self:count_written()
  return file:close()
end

return rotation
