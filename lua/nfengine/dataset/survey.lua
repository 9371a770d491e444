--- What is wrong with columns as features: which have one value in all records, which have some that are no numbers.
--
--   local seen = survey.new(columns)        -- of numbers; arrays as their elements, see columns.elements
--   seen:add(flow)                          -- for every record, in a sink
--   seen:constant()                         --> { "ip_version" }
--   seen:unusable()                         --> { { name = "udps.ratio", records = 2 } }: NaN or infinite in two
--
-- Values are looked at where they lie, without being made Lua's: a hundred columns cost a microsecond a record or two.

local ffi = require "ffi"
local is_numeric = require("nfengine.columns").is_numeric
local types = require("nfengine.columns").types

local survey = {}
survey.__index = survey

local words = { ffi.typeof "const uint8_t *", ffi.typeof "const uint16_t *", nil, ffi.typeof "const uint32_t *" }
local doubles, floats = ffi.typeof "const double *", ffi.typeof "const float *"

--- Begins a survey. Columns that are no numbers are passed over.
function survey.new(columns)
  local self = { columns = {}, words = {}, doubles = {}, floats = {}, is_varying = {}, bad = {}, records = 0 }
  for width in pairs(words) do self.words[width] = {} end
  for _, column in ipairs(columns) do
    if is_numeric(column) then table.insert(self.columns, column) end
  end
  for i, column in ipairs(self.columns) do
    local size = ffi.sizeof(types[column.type].ctype)
    local width = math.min(size, 4) -- eight bytes are two words: a Lua number does not hold them as one
    for offset = column.offset, column.offset + size - 1, width do
      table.insert(self.words[width], { offset = offset, column = i, first = 0 })
    end
    local list = column.type == "double" and self.doubles or column.type == "float" and self.floats
    if list then list[#list + 1] = { offset = column.offset, column = i } end
    self.bad[i] = 0
  end
  return setmetatable(self, survey)
end

local function take_first(list, pointer, base)
  for _, word in ipairs(list) do word.first = ffi.cast(pointer, base + word.offset)[0] end
end

--- Forgets those of a list that have another value now.
local function drop_varying(self, list, pointer, base)
  local i, count = 1, #list
  while i <= count do
    local word = list[i]
    if ffi.cast(pointer, base + word.offset)[0] ~= word.first then
      self.is_varying[word.column] = true
      list[i], list[count] = list[count], nil
      count = count - 1
    else
      i = i + 1
    end
  end
end

local function find_bad(self, list, pointer, base)
  for i = 1, #list do
    local value = ffi.cast(pointer, base + list[i].offset)[0]
    if value - value ~= 0 then -- as of infinity and NaN alone
      local column = list[i].column
      self.bad[column] = self.bad[column] + 1
    end
  end
end

--- Takes notice of a record.
function survey:add(flow)
  local base = ffi.cast("const char *", flow)
  for width, pointer in pairs(words) do
    if self.records == 0 then take_first(self.words[width], pointer, base) end
    drop_varying(self, self.words[width], pointer, base)
  end
  find_bad(self, self.doubles, doubles, base)
  find_bad(self, self.floats, floats, base)
  self.records = self.records + 1
end

--- Names of columns that have the same value in all records, in order. None where there is one record, or none.
function survey:constant()
  local list = {}
  for i, column in ipairs(self.columns) do
    if self.records > 1 and not self.is_varying[i] then list[#list + 1] = column.name end
  end
  return list
end

--- Columns that are NaN or infinite in some records: name, and in how many.
function survey:unusable()
  local list = {}
  for i, column in ipairs(self.columns) do
    if self.bad[i] > 0 then list[#list + 1] = { name = column.name, records = self.bad[i] } end
  end
  return list
end

return survey
