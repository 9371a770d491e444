--- Decision trees that somebody has written down, in Lua, as a model: nfengine.ml.trees.

local C = require "nfengine.lib"
local parts = require "nfengine.ml.parts"
local text = require "nfengine.text"

local trees = {}

local DEEPEST = 1000

local COMPARISONS = { ["<"] = true, ["<="] = true, [">"] = true, [">="] = true, ["=="] = true, ["~="] = true }

local function number(value, what)
  if type(value) ~= "number" then text.fail("%s %s, expected a number", what, text.quote(value)) end
  return value
end

local function class_values(leaf, classes)
  if type(leaf) == "string" then
    if not classes.number[leaf] then
      text.fail("class %s, expected one of %s", text.quote(leaf), table.concat(classes.names, ", "))
    end
    return { { classes.number[leaf], 1 } }
  end
  if type(leaf) ~= "table" or #leaf ~= #classes.names then
    text.fail("leaf %s, expected the name of a class or a list of %d probabilities", text.quote(leaf), #classes.names)
  end
  local values = {}
  for i, probability in ipairs(leaf) do values[i] = { i - 1, number(probability, "probability") } end
  return values
end

--- A tree's nodes, one behind the other, as parts:add_tree takes them; adds the columns that they name.
local function flatten(tree, features, classes)
  local nodes = {}
  local function add(node, depth)
    local id = #nodes + 1
    nodes[id] = {}
    if type(node) ~= "table" or type(node[1]) ~= "string" then
      nodes[id] = classes and { values = class_values(node, classes) } or { value = number(node, "leaf") }
      return id
    end
    if depth > DEEPEST then text.fail("a tree of more than %d levels", DEEPEST) end
    local name, comparison, threshold, yes, no = unpack(node, 1, 5)
    if not COMPARISONS[comparison] then
      text.fail("comparison %s of %s, expected one of < <= > >= == ~=", text.quote(comparison), name)
    end
    if not features.number[name] then
      features.names[#features.names + 1] = name
      features.number[name] = #features.names - 1
    end
    nodes[id] = {
      split = comparison, feature = features.number[name], threshold = number(threshold, "threshold"),
      absent = comparison == "~=" and C.NF_ABSENT_YES or 0,
    }
    nodes[id].yes = add(yes, depth + 1)
    nodes[id].no = add(no, depth + 1)
    return id
  end
  add(tree, 1)
  return nodes
end

local function numbered(names)
  local number_of = {}
  for i, name in ipairs(names) do number_of[name] = i - 1 end
  return { names = names, number = number_of }
end

--- Reads what nfengine.ml.trees takes. Returns what readers of model files do; raises one line.
function trees.read(given)
  local classes, features, flat = given.classes and numbered(given.classes), numbered {}, {}
  if classes and #classes.names < 2 then
    text.fail("%d classes, expected at least two", #classes.names)
  end
  if not given[1] then error("no tree, expected a list of them", 0) end
  for i, tree in ipairs(given) do flat[i] = flatten(tree, features, classes) end
  if not features.names[1] then error("trees that compare nothing, expected one with a column", 0) end
  local made = parts.new(#features.names, classes and #classes.names or 1)
  for _, nodes in ipairs(flat) do made:add_tree(1, function(id) return nodes[id] end) end
  made.divisor = #flat
  local task = "regression"
  if classes then task = #classes.names == 2 and "binary" or "multiclass" end
  return { format = "Lua", task = task, names = features.names, classes = given.classes, made = made }
end

return trees
