--- What there is to learn of a training set, in the numbers that nfengine.ml.training takes: classes, or values.
--
--   local task = tasks.of(set)
--   task.name, task.classes      --> "binary", { "names", "web" }
--   local trained = training.train(task:given(options))

local text = require "nfengine.text"

local tasks = {}

local task = {}
task.__index = task

--- The task that a training set is: classes are those of its train split. Raises one line where it is none.
-- @return an object: `name`, "binary", "multiclass" or "regression"; `classes`, names in order, none of a regression
function tasks.of(set)
  if set:train().rows.count == 0 then error("no flow with a label in the train part: nothing was trained", 0) end
  if set.is_regression then return setmetatable({ set = set, name = "regression", classes = {} }, task) end
  local classes, number = set:classes(), {}
  if not classes[2] then
    error(("label %s alone in the train part, expected two or more"):format(text.quote(classes[1])), 0)
  end
  for i, class in ipairs(classes) do number[class] = i - 1 end
  local name = classes[3] and "multiclass" or "binary"
  return setmetatable({ set = set, name = name, classes = classes, number = number }, task)
end

--- Labels of a split as numbers: of classes from 0, -1 for one that cannot be learnt; or values.
function task:numbers(taken)
  if self.name == "regression" then return taken.labels end
  local list = {}
  for i, label in ipairs(taken.labels) do list[i] = self.number[label] or -1 end
  return list
end

--- Weights with which all classes have the same sum.
local function weights_of(self, numbers)
  local counts, weights = {}, {}
  for _, number in ipairs(numbers) do counts[number] = (counts[number] or 0) + 1 end
  for i, number in ipairs(numbers) do weights[i] = #numbers / #self.classes / counts[number] end
  return weights
end

local function validation_of(self)
  local taken = self.set:validation()
  if not taken then return nil end
  local numbers = self:numbers(taken)
  for _, number in ipairs(numbers) do
    if number == -1 then
      error("a label of the validation part is none of the train part's, expected another split", 0)
    end
  end
  if #numbers == 0 then error("no flow with a label in the validation part, expected another split", 0) end
  return { rows = taken.rows, labels = numbers }
end

--- What training.train takes for it. Raises one line where the validation split is of no use.
-- @param options `kind`, `trees`, `depth`, `learning_rate`, `seed`, `threads`, `patience`, see there; `balance`,
--   whether classes weigh the same, however many flows they have
function task:given(options)
  local train = self.set:train()
  local numbers = self:numbers(train)
  return {
    rows = train.rows, labels = numbers, weights = options.balance and weights_of(self, numbers) or nil,
    names = self.set:names(), task = self.name, class_count = #self.classes, kind = options.kind,
    trees = options.trees, depth = options.depth, learning_rate = options.learning_rate, seed = options.seed,
    threads = options.threads, validation = validation_of(self), patience = options.patience,
  }
end

return tasks
