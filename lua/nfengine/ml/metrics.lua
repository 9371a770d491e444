--- How good predictions are: of classes, or of numbers.
--
--   local seen = metrics.classes { "names", "web" }
--   seen:add("web", "names")                   -- what it is, what was predicted
--   local found = seen:result()                --> accuracy, balanced_accuracy, macro_f1, and more by class
--   for _, line in ipairs(seen:lines()) do print(line) end
--   metrics.of(model, { rows = rows, labels = labels }, { "names", "web" }):result()
--
-- Source of the formulas: scikit-learn's user guide, 3.4 "Metrics and scoring", and Sokolova and Lapalme, "A systematic
-- analysis of performance measures for classification tasks" (2009). What would be 0 / 0 is 0, as there by default: the
-- precision of a class that nobody predicts, the recall of one that there is none of.

local pretty = require "nfengine.pretty"
local show = require "nfengine.show"
local text = require "nfengine.text"

local metrics = {}

local function ratio(part, whole) return whole > 0 and part / whole or 0 end

-- ---- classes ----

local classes = {}
classes.__index = classes

--- Begins to count predictions of classes.
-- @param names those that there may be; others are added as they come
function metrics.classes(names)
  local self = setmetatable({ names = {}, number = {}, counts = {}, total = 0 }, classes)
  for _, name in ipairs(names) do self:number_of(name) end
  return self
end

function classes:number_of(name)
  local number = self.number[name]
  if number then return number end
  number = #self.names + 1
  self.names[number], self.number[name], self.counts[number] = name, number, {}
  return number
end

--- Counts one prediction.
-- @param truth, predicted names of classes
function classes:add(truth, predicted)
  local row, column = self.counts[self:number_of(truth)], self:number_of(predicted)
  row[column] = (row[column] or 0) + 1
  self.total = self.total + 1
end

--- How often what is the first was predicted as the second, both by number.
function classes:count(truth, predicted) return self.counts[truth][predicted] or 0 end

--- How many there are of a class, and how often it was predicted.
local function sums_of(self, number)
  local support, predicted = 0, 0
  for other = 1, #self.names do
    support, predicted = support + self:count(number, other), predicted + self:count(other, number)
  end
  return support, predicted
end

--- What the counts come to. Means are over classes that there are some of (balanced accuracy), or that there are some
-- of or that were predicted (macro F1).
-- @return a table: `total`, `accuracy`, `balanced_accuracy`, `macro_f1`, `classes`: a list of { class, support,
--   predicted, precision, recall, f1 }
function classes:result()
  local result, right, recalls, present, f1s, named = { total = self.total, classes = {} }, 0, 0, 0, 0, 0
  for number, name in ipairs(self.names) do
    local hits, support, predicted = self:count(number, number), sums_of(self, number)
    local f1 = ratio(2 * hits, support + predicted)
    result.classes[number] = {
      class = name, support = support, predicted = predicted, precision = ratio(hits, predicted),
      recall = ratio(hits, support), f1 = f1,
    }
    right, recalls, f1s = right + hits, recalls + ratio(hits, support), f1s + f1
    if support > 0 then present = present + 1 end
    if support + predicted > 0 then named = named + 1 end
  end
  result.accuracy, result.balanced_accuracy = ratio(right, self.total), ratio(recalls, present)
  result.macro_f1 = ratio(f1s, named)
  return result
end

local NAME_WIDTH = 24

--- A row: its name, which a mark may precede that is never shortened, and its cells.
local function named_row(mark, name, cells, forms)
  local head = mark .. show.shortened(name, NAME_WIDTH - #mark)
  local parts = { ("%-" .. NAME_WIDTH .. "s"):format(head) }
  for i, cell in ipairs(cells) do parts[#parts + 1] = (forms[i] or forms[#forms]):format(cell) end
  return (table.concat(parts):gsub(" +$", ""))
end

--- Numbers of the classes to show, and of the others: those that there are most of, or that are predicted most often,
-- in their order.
local function most_frequent(result, most)
  local by_frequency, is_shown, shown, others = {}, {}, {}, {}
  for number in ipairs(result.classes) do by_frequency[number] = number end
  table.sort(by_frequency, function(a, b)
    local one, other = result.classes[a], result.classes[b]
    if one.support ~= other.support then return one.support > other.support end
    if one.predicted ~= other.predicted then return one.predicted > other.predicted end
    return a < b
  end)
  for i = 1, math.min(most, #by_frequency) do is_shown[by_frequency[i]] = true end
  for number in ipairs(result.classes) do table.insert(is_shown[number] and shown or others, number) end
  return shown, others
end

--- How often what is one of some classes was predicted as one of others.
local function count_of(self, truths, predictions)
  local sum = 0
  for _, truth in ipairs(truths) do
    for _, predicted in ipairs(predictions) do sum = sum + self:count(truth, predicted) end
  end
  return sum
end

local function more_of(others) return ("%s more"):format(text.thousands(#others)) end

local function add_table(lines, result, shown, others)
  lines[1] = named_row("", "CLASS", { "FLOWS", "PRECISION", "RECALL", "F1" }, { "%9s", "%11s", "%9s", "%9s" })
  for _, number in ipairs(shown) do
    local each = result.classes[number]
    lines[#lines + 1] = named_row("", each.class,
      { show.thousands(each.support), each.precision, each.recall, each.f1 }, { "%9s", "%11.4f", "%9.4f" })
  end
  if not others[1] then return end
  local support = 0
  for _, number in ipairs(others) do support = support + result.classes[number].support end
  lines[#lines + 1] = named_row("", more_of(others), { show.thousands(support) }, { "%9s" })
end

local function add_matrix(self, lines, shown, others)
  local groups, heads = {}, {}
  for i, number in ipairs(shown) do groups[i], heads[i] = { number }, ("[%d]"):format(number) end
  if others[1] then groups[#groups + 1], heads[#heads + 1] = others, "others" end
  lines[#lines + 1] = named_row("", "IS, BELOW; PREDICTED", heads, { "%9s" })
  for i, group in ipairs(groups) do
    local cells, number = {}, shown[i]
    for k, other in ipairs(groups) do cells[k] = show.thousands(count_of(self, group, other)) end
    lines[#lines + 1] = named_row(number and ("[%d] "):format(number) or "", number and self.names[number]
      or more_of(others), cells, { "%9s" })
  end
end

--- Tables for people, as lines: by class, all in all, and the confusion matrix.
-- @param most how many classes to show, those that there are most of: the others share one row and one column; all if
--   left out
function classes:lines(most)
  local result, lines = self:result(), {}
  local shown, others = most_frequent(result, most or #self.names)
  add_table(lines, result, shown, others)
  lines[#lines + 1] = ("accuracy %.4f, balanced accuracy %.4f, macro F1 %.4f, of %s"):format(result.accuracy,
    result.balanced_accuracy, result.macro_f1, text.plural(result.total, "flow"))
  lines[#lines + 1] = ""
  add_matrix(self, lines, shown, others)
  return lines
end

-- Of more classes the matrix is left out: it grows with their square, and manifests are read as a whole.
local MOST_IN_MATRIX = 1000

--- Rows of numbers of flows: of which class they are, and which they are taken for. nil of too many classes.
local function matrix_of(self)
  local matrix, count = {}, #self.names
  if count > MOST_IN_MATRIX then return nil end
  for number = 1, count do
    matrix[number] = {}
    for other = 1, count do matrix[number][other] = self:count(number, other) end
  end
  return matrix
end

--- The same for manifests: an object.
function classes:described()
  local result, by_class = self:result(), {}
  for number, each in ipairs(result.classes) do
    by_class[number] = pretty.object {
      { "class", each.class }, { "flows", each.support }, { "predicted", each.predicted },
      { "precision", each.precision }, { "recall", each.recall }, { "f1", each.f1 },
    }
  end
  return pretty.object {
    { "flows", result.total }, { "accuracy", result.accuracy }, { "balanced_accuracy", result.balanced_accuracy },
    { "macro_f1", result.macro_f1 }, { "classes", by_class }, { "confusion", matrix_of(self) },
  }
end

-- ---- numbers ----

local numbers = {}
numbers.__index = numbers

--- Begins to sum up predictions of numbers.
function metrics.numbers()
  return setmetatable({ total = 0, absolute = 0, squared = 0, mean = 0, spread = 0 }, numbers)
end

--- Takes one prediction. Welford's sums keep what is far from 0 exact.
function numbers:add(truth, predicted)
  local gap, before = predicted - truth, truth - self.mean
  self.total = self.total + 1
  self.absolute, self.squared = self.absolute + math.abs(gap), self.squared + gap * gap
  self.mean = self.mean + before / self.total
  self.spread = self.spread + before * (truth - self.mean)
end

--- @return a table: `total`, `mean_absolute_error`, `root_mean_squared_error`, `r2`: the share of the values' variance
--   that predictions explain, 0 where there is no variance
function numbers:result()
  return {
    total = self.total, mean_absolute_error = ratio(self.absolute, self.total),
    root_mean_squared_error = math.sqrt(ratio(self.squared, self.total)),
    r2 = self.spread > 0 and 1 - self.squared / self.spread or 0,
  }
end

function numbers:lines()
  local result = self:result()
  return { ("mean absolute error %.6g, root mean squared error %.6g, R2 %.4f, of %s"):format(
    result.mean_absolute_error, result.root_mean_squared_error, result.r2,
    text.plural(result.total, "flow")) }
end

function numbers:described()
  local result = self:result()
  return pretty.object {
    { "flows", result.total }, { "mean_absolute_error", result.mean_absolute_error },
    { "root_mean_squared_error", result.root_mean_squared_error }, { "r2", result.r2 },
  }
end

-- ---- of a model ----

--- Asks a model about rows whose labels are known, and compares.
-- @param model as nfengine.ml.load gives it
-- @param known `rows`, see nfengine.ml.rows, and `labels`: names of classes, or numbers of a regression
-- @param names of the model's classes, in order; none of a regression. What is no class is called ""
function metrics.of(model, known, names)
  local seen = names[1] and metrics.classes(names) or metrics.numbers()
  model:each(known.rows, function(i, outputs)
    local class, value = model:verdict(outputs)
    if names[1] then value = class and names[class + 1] or "" end
    seen:add(known.labels[i], value)
  end)
  return seen
end

return metrics
