--- Rows of features, gathered from flows as a model is asked about them, in single precision as XGBoost has them.
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
function rows.new(width)
  return setmetatable({ width = width, count = 0, room = 64, values = ffi.new("float[?]", 64 * width) }, rows)
end

--- Adds a row. Returns the number, from 0, of a feature that is infinite in it, else nil: XGBoost takes none.
-- @param row double *
function rows:add(row)
  if self.count == self.room then
    local more = ffi.new("float[?]", 2 * self.room * self.width)
    ffi.copy(more, self.values, self.count * self.width * ffi.sizeof "float")
    self.values, self.room = more, 2 * self.room
  end
  local to, infinite = self.values + self.count * self.width, nil
  for i = 0, self.width - 1 do
    to[i] = row[i]
    if math.abs(to[i]) == math.huge then infinite = i end
  end
  self.count = self.count + 1
  return infinite
end

return rows
