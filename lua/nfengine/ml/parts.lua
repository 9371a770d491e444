--- What a model is made of, gathered for core/model.c (struct nf_model_parts).
--
--   local made = parts.new(feature_count, output_count)
--   made:add_tree(0, function(id) return { value = 0.5 } end)
--   local model = made:finish()
--
-- Readers of formats say of each node what it is; numbers of nodes may be in any order there. What they refer to is
-- checked here as far as trees go, and once more in C: a model file may be anybody's.

local bit = require "bit"
local ffi = require "ffi"
local C = require "nfengine.lib"
local text = require "nfengine.text"

local parts = {}
parts.__index = parts

-- ---- arrays that grow ----

local array = {}
array.__index = array

local function new_array(ctype)
  return setmetatable({ ctype = ffi.typeof(ctype), room = 64, count = 0, items = ffi.new(ctype, 64) }, array)
end

--- Adds so many zeros and says where they begin.
function array:add(more)
  local first = self.count
  self.count = first + more
  if self.count > self.room then
    self.room = math.max(self.count, 2 * self.room)
    local items = ffi.new(self.ctype, self.room)
    ffi.copy(items, self.items, ffi.sizeof(self.ctype, first))
    self.items = items
  end
  return first
end

-- ---- gathering ----

--- Begins a model.
-- @param feature_count features that it takes
-- @param output_count sums that it makes: one, or one a class
function parts.new(feature_count, output_count)
  local self = {
    feature_count = feature_count, output_count = output_count, trees = {},
    nodes = new_array "struct nf_tree_node[?]", sets = new_array "struct nf_categories[?]",
    link = C.NF_LINK_NONE, slope = 1, divisor = 1, is_single = false, is_normalized = false, is_even = false,
  }
  return setmetatable(self, parts)
end

local SPLITS = {
  ["<"] = C.NF_SPLIT_LT, ["<="] = C.NF_SPLIT_LE, [">"] = C.NF_SPLIT_GT, [">="] = C.NF_SPLIT_GE, ["=="] = C.NF_SPLIT_EQ,
  ["~="] = C.NF_SPLIT_NE, ["in"] = C.NF_SPLIT_IN,
}

local LARGEST_CATEGORY = 2^24 - 1 -- XGBoost has no larger ones: beyond, single precision has not every integer

--- Categories as bits, by the number of their word.
local function bits_of(categories)
  local words = {}
  for _, category in ipairs(categories) do
    if type(category) ~= "number" or category % 1 ~= 0 or category < 0 or category > LARGEST_CATEGORY then
      text.fail("category %s, expected an integer from 0 to %d", text.quote(category), LARGEST_CATEGORY)
    end
    local number = math.floor(category / 32)
    words[number] = bit.bor(words[number] or 0, bit.lshift(1, category % 32))
  end
  return words
end

--- Adds a set. It takes what its categories ask for, not what the largest of them does.
-- @param words bits by the number of their word, from 0
local function add_set(self, words)
  local numbers = {}
  for number in pairs(words) do numbers[#numbers + 1] = number end
  table.sort(numbers)
  local first = self.sets:add(#numbers)
  for i, number in ipairs(numbers) do
    local to = self.sets.items + first + i - 1
    to.number, to.bits = number, words[number]
  end
  return first, #numbers
end

local function number_of(node, what)
  local number = node[what]
  if type(number) ~= "number" then text.fail("%s %s, expected a number", what, text.quote(number)) end
  return number
end

--- A number of a feature or an output. Which there are is for C to say, which takes what it is given for an integer.
local function place_of(what, number)
  if type(number) ~= "number" or number % 1 ~= 0 or number < 0 or number > 65535 then
    text.fail("%s %s, expected an integer from 0 to 65535", what, text.quote(number))
  end
  return number
end

local function fill_split(self, to, node)
  to.split, to.feature, to.absent = SPLITS[node.split], place_of("feature", node.feature), node.absent or 0
  if node.split == "in" then to.set, to.words = add_set(self, node.words or bits_of(node.categories))
  else to.threshold = number_of(node, "threshold") end
end

local function fill_leaf(to, output, value, following)
  if type(value) ~= "number" then text.fail("value %s, expected a number", text.quote(value)) end
  to.feature, to.value, to.yes = place_of("output", output), value, following
end

--- Adds a node, and says where it lies.
local function add_node(self, node)
  local values = node.values
  local place = self.nodes:add(values and #values or 1)
  local to = self.nodes.items + place
  if node.split then
    fill_split(self, to, node)
  elseif values then
    for i, each in ipairs(values) do fill_leaf(to + (i - 1), each[1], each[2], #values - i + 1) end
  else
    fill_leaf(to, node.output or 0, node.value, 1)
  end
  return place
end

--- Adds a tree, a level of it behind the other. Raises one line where its nodes are none of a tree.
-- @param root the number of its first node
-- @param describe function from a node's number to what it is, until the next call: a leaf, { value = number, output =
--   0 } or { values = { { output, number } … } }; or { split = "<", feature = 0, threshold = number, yes = number, no =
--   number, absent = flags of enum nf_absent }, of split "in" with `categories`, a list of integers from 0, or with
--   `words`, their bits by the number of a word of 32, in place of threshold. nil where there is no such node
function parts:add_tree(root, describe)
  local waiting, parents, is_reached = { root }, {}, {} -- the two below a node wait side by side: `yes`, then `no`
  local at, last = 0, 1
  self.trees[#self.trees + 1] = self.nodes.count
  while at < last do
    at = at + 1
    local id = waiting[at]
    if is_reached[id] then text.fail("node %s is reached twice", text.quote(id)) end
    local node = describe(id)
    if not node then text.fail("node %s is not there", text.quote(id)) end
    is_reached[id] = true
    local place = add_node(self, node)
    if at > 1 then self.nodes.items[parents[at]][at % 2 == 0 and "yes" or "no"] = place end
    if node.split then
      waiting[last + 1], waiting[last + 2] = number_of(node, "yes"), number_of(node, "no")
      parents[last + 1], parents[last + 2] = place, place
      last = last + 2
    end
  end
end

local function numbers(ctype, list)
  return list and ffi.new(ctype, #list, list) or nil
end

--- The model, as a handle (struct nf_model) that is freed once nobody has it. Raises one line.
-- What else it is made of are fields: `fills`, `offsets`, `scales`, `shifts` (by feature), `weights` (one list, output
-- by output), `base` (by output), `link`, `slope`, `divisor`, `is_single`, `is_normalized`, `is_even`, as in struct
-- nf_model_parts.
function parts:finish()
  local given, message = ffi.new "struct nf_model_parts", ffi.new("char[?]", C.NF_ERROR_SIZE)
  local trees, anchors = numbers("uint32_t[?]", self.trees), {}
  self.anchors = anchors -- alive as long as the parts are: C is given mere pointers
  anchors.trees = trees
  given.feature_count, given.output_count = self.feature_count, self.output_count
  given.nodes, given.node_count, given.trees, given.tree_count = self.nodes.items, self.nodes.count, trees, #self.trees
  given.sets, given.set_words = self.sets.items, self.sets.count
  for name, size in pairs { fills = self.feature_count, offsets = self.feature_count, scales = self.feature_count,
    shifts = self.feature_count, weights = self.feature_count * self.output_count, base = self.output_count } do
    local list = self[name]
    if list and #list ~= size then text.fail("%d %s, expected %d", #list, name, size) end
    anchors[name] = numbers("double[?]", list)
    given[name] = anchors[name]
  end
  for _, name in ipairs { "link", "slope", "divisor", "is_single", "is_normalized", "is_even" } do
    given[name] = self[name]
  end
  local handle = C.nf_model_new(given, message)
  if handle == nil then error(ffi.string(message), 0) end
  return ffi.gc(handle, C.nf_model_free)
end

return parts
