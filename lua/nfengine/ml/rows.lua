--- Rows of features, gathered from flows as a model is asked about them.
--
--   local reader = require("nfengine.ml.vector").new(columns)
--   local gathered = rows.new(reader.width)
--   gathered:add(reader:read(flow))
--   gathered.values, gathered.count, gathered.width      --> float *, row by row

local ffi = require "ffi"

local rows = {}
rows.__index = rows

--- Begins without rows.
-- @param width numbers in each
-- @param number "float", which XGBoost has, or "double"; float if left out
function rows.new(width, number)
  local array = ffi.typeof((number or "float") .. "[?]")
  return setmetatable({ width = width, count = 0, room = 64, array = array, values = array(64 * width) }, rows)
end

--- Adds a row, or takes it in the place of one.
-- @param row double *
-- @param at the number of the row, from 0, whose place it takes; behind the last if left out
function rows:add(row, at)
  if self.count == self.room then
    local more = self.array(2 * self.room * self.width)
    ffi.copy(more, self.values, ffi.sizeof(self.array, self.count * self.width))
    self.values, self.room = more, 2 * self.room
  end
  local to = self.values + (at or self.count) * self.width
  for i = 0, self.width - 1 do to[i] = row[i] end
  if not at then self.count = self.count + 1 end
end

--- The row that was added last: its numbers, valid until the next.
function rows:last() return self.values + (self.count - 1) * self.width end

return rows
