--- A model bound to the columns of a run: which of them its features are, and the model's answer about a flow.

local ffi = require "ffi"
local columns = require "nfengine.columns"
local text = require "nfengine.text"
local vector = require "nfengine.ml.vector"

local binding = {}
binding.__index = binding
binding.__carry = function() return "nfengine.ml", "left_behind", {} end -- why, see there

--- The columns that the features are, of those that a run has. Raises one line that names what does not fit.
local function columns_for(self, available, names)
  names = names or self.names
  local by_name, known = columns.by_name(available)
  local list = {}
  if not names then
    error(("model %s: it does not name its %d features, expected columns for them")
      :format(text.quote(self.path), self.feature_count), 0)
  end
  if #names ~= self.feature_count then
    error(("model %s: %d columns, expected %d, one a feature")
      :format(text.quote(self.path), #names, self.feature_count), 0)
  end
  for i, name in ipairs(names) do
    local column = by_name[name]
    if not column then
      error(("model %s: no column %s in this run%s"):format(text.quote(self.path), text.quote(name),
        text.suggest(name, known)), 0)
    end
    local is_category = column.type == "text" and self.categories and self.categories[i]
    if not is_category and not columns.is_numeric(column) then
      error(("model %s: column %s is %s, expected a number"):format(text.quote(self.path), text.quote(name),
        column.type), 0)
    end
    list[i] = column
  end
  return list
end

--- The numbers of a feature's categories, by the text or the number that a column has.
local function category_numbers(categories)
  local numbers = {}
  for i, category in ipairs(categories) do
    if type(category) == "boolean" then category = category and 1 or 0 end
    if category == category then numbers[category] = i - 1 end
  end
  return numbers
end

--- What turns columns into the numbers of their categories: a list of { place in the row, from 0, numbers by category,
-- offset of a text in the record or nil }.
local function categories_of(self, list)
  local mapped = {}
  for i, column in ipairs(list) do
    local categories, offset = self.categories and self.categories[i], column.type == "text" and column.offset or nil
    if categories then
      mapped[#mapped + 1] = { place = i - 1, numbers = category_numbers(categories), offset = offset }
    end
  end
  return mapped
end

--- The columns that a row is read from. Texts give a byte, until the number of their category takes its place.
local function in_numbers(list)
  local given = {}
  for i, column in ipairs(list) do
    local first_byte = { name = column.name, type = "uint8", offset = column.offset, length = 1 }
    given[i] = column.type == "text" and first_byte or column
  end
  return given
end

local function put_categories(mapped, flow, row)
  for _, each in ipairs(mapped) do
    local value = each.offset and ffi.string(ffi.cast("const char *", flow.core) + each.offset) or row[each.place]
    row[each.place] = each.numbers[value] or 0 / 0
  end
end

--- Refuses columns that hold nothing yet when the model is asked, and of flows that live those that say something
-- else, or more, once they have ended.
local function check_filled(self, list, is_early)
  for _, column in ipairs(list) do
    local problem = columns.lateness(column)
    if problem then error(("model %s: %s"):format(text.quote(self.path), problem), 0) end
    if is_early and columns.is_final(column) then
      error(("model %s: column %s is known at a flow's end, expected one that its packets alone make")
        :format(text.quote(self.path), text.quote(column.name)), 0)
    end
  end
end

--- Binds a model, see model:bind of nfengine.ml.
function binding.new(model, available, names, is_early)
  local list = columns_for(model, available, names)
  check_filled(model, list, is_early)
  return setmetatable({
    model = model, columns = list, reader = vector.new(in_numbers(list), available),
    mapped = categories_of(model, list), outputs = ffi.new("double[?]", model.output_count),
  }, binding)
end

--- Asks the model about a flow, in a hook or as a record. Of one that still lives, features are what they would be if
-- it ended now.
-- @return its outputs, double *, and the row of features that they are for, both valid until the next call
function binding:ask(flow)
  local row = self.reader:read(flow)
  put_categories(self.mapped, flow, row)
  self.model:predict(row, 1, self.outputs)
  return self.outputs, row
end

return binding
