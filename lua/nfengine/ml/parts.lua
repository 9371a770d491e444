--- What a model is made of, gathered for core/model.c (struct nf_model_parts).
--
--   local made = parts.new(feature_count, output_count)
--   made:add_tree(0, function(id) return { value = 0.5 } end)
--   local model = made:finish()
--
-- Readers of formats say of each node what it is; numbers of nodes may be in any order there. What they refer to is
-- checked here as far as trees go, and once more in C: a model file may be anybody's.

local ffi = require "ffi"
local C = require "nfengine.lib"

local parts = {}
parts.__index = parts

--- Begins a model.
-- @param feature_count features that it takes
-- @param output_count sums that it makes: one, or one a class
function parts.new(feature_count, output_count)
  local self = {
    feature_count = feature_count, output_count = output_count, nodes = {}, trees = {}, sets = {},
    link = C.NF_LINK_NONE, slope = 1, divisor = 1, is_single = false, is_normalized = false,
  }
  return setmetatable(self, parts)
end

parts.SPLITS = {
  ["<"] = C.NF_SPLIT_LT, ["<="] = C.NF_SPLIT_LE, [">"] = C.NF_SPLIT_GT, [">="] = C.NF_SPLIT_GE, ["=="] = C.NF_SPLIT_EQ,
  ["~="] = C.NF_SPLIT_NE, ["in"] = C.NF_SPLIT_IN,
}

--- What nodes are, a level of the tree behind the other, and where each will lie. Raises one line.
local function in_order(root, describe, first)
  local order, place, described, next_place = { root }, {}, {}, first
  for at = 1, math.huge do
    local id = order[at]
    if not id then return described, place end
    if place[id] then error(("node %s is reached twice"):format(tostring(id)), 0) end
    local node = describe(id)
    if not node then error(("node %s is not there"):format(tostring(id)), 0) end
    described[at], place[id] = node, next_place
    next_place = next_place + (node.values and #node.values or 1)
    if node.split then order[#order + 1], order[#order + 2] = node.yes, node.no end
  end
end

local function add_set(self, categories)
  local first, words = #self.sets, 0
  for _, category in ipairs(categories) do words = math.max(words, math.floor(category / 32) + 1) end
  for i = 1, words do self.sets[first + i] = 0 end
  for _, category in ipairs(categories) do
    local word = first + math.floor(category / 32) + 1
    self.sets[word] = self.sets[word] + 2 ^ (category % 32)
  end
  return first, words
end

--- Adds a tree. Raises one line where its nodes are none of a tree.
-- @param root the number of its first node
-- @param describe function from a node's number to what it is: a leaf, { value = number, output = 0 } or { values = { {
--   output, number } … } }; or { split = "<", feature = 0, threshold = number, yes = number, no = number, absent =
--   flags of enum nf_absent }, of split "in" with `categories`, a list of different integers from 0, in place of
--   threshold. nil where there is no such node
function parts:add_tree(root, describe)
  local first = #self.nodes
  local described, place = in_order(root, describe, first)
  self.trees[#self.trees + 1] = first
  for _, node in ipairs(described) do
    if node.split then
      node.yes_place, node.no_place = place[node.yes], place[node.no]
      self.nodes[#self.nodes + 1] = node
      if node.categories then node.set, node.words = add_set(self, node.categories) end
    else
      for i, each in ipairs(node.values or { { node.output or 0, node.value } }) do
        local following = node.values and #node.values - i + 1 or 1
        self.nodes[#self.nodes + 1] = { output = each[1], value = each[2], following = following }
      end
    end
  end
end

local function fill_node(to, node)
  if not node.split then
    to.value, to.feature, to.yes = node.value, node.output, node.following
    return
  end
  to.split, to.feature, to.absent = parts.SPLITS[node.split], node.feature, node.absent or 0
  to.yes, to.no = node.yes_place, node.no_place
  if node.categories then to.set, to.words = node.set, node.words
  else to.threshold = node.threshold end
end

local function numbers(ctype, list)
  return list and ffi.new(ctype, #list, list) or nil
end

--- The model, as a handle (struct nf_model) that is freed once nobody has it. Raises one line.
-- What else it is made of are fields: `fills`, `offsets`, `scales` (by feature), `weights` (one list, output by
-- output), `base` (by output), `link`, `slope`, `divisor`, `is_single`, `is_normalized`, as in struct nf_model_parts.
function parts:finish()
  local given, message = ffi.new "struct nf_model_parts", ffi.new("char[?]", C.NF_ERROR_SIZE)
  local nodes = ffi.new("struct nf_tree_node[?]", math.max(#self.nodes, 1))
  for i, node in ipairs(self.nodes) do fill_node(nodes[i - 1], node) end
  local trees, sets = numbers("uint32_t[?]", self.trees), numbers("uint32_t[?]", self.sets)
  given.feature_count, given.output_count = self.feature_count, self.output_count
  given.nodes, given.node_count, given.trees, given.tree_count = nodes, #self.nodes, trees, #self.trees
  given.sets, given.set_words = sets, #self.sets
  local anchors = {} -- which the call has to find alive
  for name, size in pairs { fills = self.feature_count, offsets = self.feature_count, scales = self.feature_count,
    weights = self.feature_count * self.output_count, base = self.output_count } do
    local list = self[name]
    if list and #list ~= size then error(("%d %s, expected %d"):format(#list, name, size), 0) end
    anchors[name] = numbers("double[?]", list)
    given[name] = anchors[name]
  end
  for _, name in ipairs { "link", "slope", "divisor", "is_single", "is_normalized" } do given[name] = self[name] end
  local handle = C.nf_model_new(given, message)
  if handle == nil then error(ffi.string(message), 0) end
  return ffi.gc(handle, C.nf_model_free)
end

return parts
