-- core/model.c: every way to compare, every rule for what is absent, every link, and all that is refused. What readers
-- of formats make of files is in specs of theirs.

local C = require "nfengine.lib"
local ffi = require "ffi"

local NAN, INFINITY = 0 / 0, 1 / 0

-- ---- making models ----

local function leaf(value, output, following)
  return { split = C.NF_SPLIT_LEAF, value = value, feature = output or 0, yes = following or 1 }
end

-- Asks about feature 0: yes is 1, no is 2.
local function stump(split, threshold, absent)
  return { { split = split, threshold = threshold, yes = 1, no = 2, absent = absent or 0 }, leaf(1), leaf(2) }
end

local anchors = {} -- what models are made of, alive until they are made

local function numbers(ctype, list)
  local array = list and ffi.new(ctype, #list, list)
  anchors[#anchors + 1] = array
  return array, list and #list or 0
end

-- A model of parts as tables; nil and a line where it is none.
local function new(given)
  local parts, message = ffi.new "struct nf_model_parts", ffi.new("char[?]", C.NF_ERROR_SIZE)
  local nodes = ffi.new("struct nf_tree_node[?]", math.max(#(given.nodes or {}), 1))
  for i, node in ipairs(given.nodes or {}) do
    for name, value in pairs(node) do nodes[i - 1][name] = value end
  end
  parts.feature_count, parts.output_count = given.features or 1, given.outputs or 1
  parts.nodes, parts.node_count = nodes, #(given.nodes or {})
  parts.trees, parts.tree_count = numbers("uint32_t[?]", given.trees or given.nodes and { 0 })
  parts.sets, parts.set_words = numbers("struct nf_categories[?]", given.sets)
  for _, name in ipairs { "fills", "offsets", "scales", "shifts", "weights", "base" } do
    parts[name] = numbers("double[?]", given[name])
  end
  parts.divisor, parts.slope, parts.link = given.divisor or 1, given.slope or 1, given.link or C.NF_LINK_NONE
  parts.is_single, parts.is_normalized = given.is_single or false, given.is_normalized or false
  parts.is_even = given.is_even or false
  local model = C.nf_model_new(parts, message)
  anchors = {}
  if model == nil then return nil, ffi.string(message) end
  return ffi.gc(model, C.nf_model_free)
end

-- What a model says of rows of one feature each, or of one row.
local function ask(given, ...)
  local count = select("#", ...) / (given.features or 1)
  local outputs, list = ffi.new("double[?]", count * (given.outputs or 1)), {}
  C.nf_model_predict(assert(new(given)), ffi.new("double[?]", select("#", ...), ...), count, outputs)
  for i = 1, count * (given.outputs or 1) do list[i] = outputs[i - 1] end
  return list
end

describe("a node", function()
  it("compares in each way", function()
    local below, equal, above = 1.5, 2, 2.5
    for split, answers in pairs {
      [C.NF_SPLIT_LT] = { 1, 2, 2 }, [C.NF_SPLIT_LE] = { 1, 1, 2 }, [C.NF_SPLIT_GT] = { 2, 2, 1 },
      [C.NF_SPLIT_GE] = { 2, 1, 1 }, [C.NF_SPLIT_EQ] = { 2, 1, 2 }, [C.NF_SPLIT_NE] = { 1, 2, 1 },
    } do
      assert.same(answers, ask({ nodes = stump(split, 2) }, below, equal, above))
    end
  end)

  it("asks for categories in a set", function()
    local nodes = stump(C.NF_SPLIT_IN, nil)
    nodes[1].set, nodes[1].words = 1, 2
    local given = { nodes = nodes, sets = { { 0, 0xffffffff }, { 0, 5 }, { 1, 0x80000000 }, { 2, 0xffffffff } } }
    assert.same({ 1, 2, 1, 2, 1, 2 }, ask(given, 0, 1, 2, 62, 63, 64))
    assert.same({ 2, 2, 2, 2, 1, 2 }, ask(given, -1, -0.5, 1e300, INFINITY, 2.9, NAN))
  end)

  it("finds categories in sets with gaps", function()
    local nodes, sets, has, rows = stump(C.NF_SPLIT_IN, nil), {}, {}, {}
    for i, number in ipairs { 0, 3, 4, 100, 65535, 2^27 - 1 } do
      sets[i] = { number, 2^31 + 1 }
      has[number * 32], has[number * 32 + 31] = true, true
      for _, category in ipairs { 0, 1, 30, 31, 32, 63 } do rows[#rows + 1] = number * 32 + category end
    end
    for words = 0, #sets do
      nodes[1].set, nodes[1].words = #sets - words, words
      local first = words > 0 and sets[#sets - words + 1][1] * 32 or 1 / 0
      for i, answer in ipairs(ask({ nodes = nodes, sets = sets }, unpack(rows))) do
        assert.equal(has[rows[i]] and rows[i] >= first and 1 or 2, answer, rows[i])
      end
    end
  end)

  it("does with what is absent as it says", function()
    local LT, YES = C.NF_SPLIT_LT, C.NF_ABSENT_YES
    assert.same({ 2 }, ask({ nodes = stump(LT, 1) }, NAN))
    assert.same({ 1 }, ask({ nodes = stump(LT, 1, YES) }, NAN))
    assert.same({ 1 }, ask({ nodes = stump(LT, 1, C.NF_ABSENT_IS_ZERO) }, NAN))
    assert.same({ 2 }, ask({ nodes = stump(LT, -1, C.NF_ABSENT_IS_ZERO + YES) }, NAN))
    local zero = C.NF_ZERO_IS_ABSENT
    assert.same({ 2, 2, 2, 2, 1, 1 }, ask({ nodes = stump(LT, 1, zero) }, 0, -0, 1e-35, -1e-35, 1.1e-35, -1))
    assert.same({ 1, 1, 2 }, ask({ nodes = stump(LT, -1, zero + YES) }, 0, NAN, 1))
    assert.same({ 1, 2 }, ask({ nodes = stump(LT, -1, zero + C.NF_ABSENT_IS_ZERO + YES) }, NAN, 1))
    local nodes = stump(C.NF_SPLIT_IN, nil, YES)
    nodes[1].set, nodes[1].words = 0, 1
    assert.same({ 2, 2, 1, 1 }, ask({ nodes = nodes, sets = { { 0, 1 } } }, -1, 1, 0, NAN))
  end)

  it("may be a leaf of values for several outputs", function()
    local nodes = {
      { split = C.NF_SPLIT_LT, threshold = 0, yes = 1, no = 3 }, leaf(1, 0, 2), leaf(2, 2, 1), leaf(5, 1),
    }
    assert.same({ 1, 0, 2, 0, 5, 0 }, ask({ nodes = nodes, outputs = 3 }, -1, 1))
  end)
end)

describe("a model", function()
  it("adds up its trees, in order, from its base", function()
    local nodes = stump(C.NF_SPLIT_LT, 0)
    assert.same({ 11, 12 }, ask({ nodes = nodes, base = { 10 } }, -1, 1))
    assert.same({ 13, 16 }, ask({ nodes = nodes, trees = { 0, 0, 0 }, base = { 10 } }, -1, 1))
    assert.same({ 0 }, ask({}, 1))
  end)

  it("divides what trees add up to, and then adds its base", function()
    local nodes = stump(C.NF_SPLIT_LT, 0)
    assert.same({ 11 }, ask({ nodes = nodes, trees = { 0, 0 }, divisor = 2, base = { 10 } }, -1))
    assert.same({ 1 }, ask({ nodes = nodes, trees = { 0, 0 }, divisor = 2 }, -1))
  end)

  it("weighs features, output by output", function()
    assert.same({ 7, 110 }, ask({ features = 2, outputs = 2, weights = { 1, 2, 10, 20 }, base = { 2, 60 } }, 1, 2))
  end)

  it("fills in absent features, moves and scales them", function()
    local given = { features = 2, outputs = 2, weights = { 1, 0, 0, 1 } }
    given.fills = { 5, 6 }
    assert.same({ 5, 2 }, ask(given, NAN, 2))
    given.offsets, given.scales = { 1, 1 }, { 10, 100 }
    assert.same({ 40, 100 }, ask(given, NAN, 2))
    given.shifts = { 3, -200 }
    assert.same({ 43, -100 }, ask(given, NAN, 2))
  end)

  it("reckons in single precision where that is asked for", function()
    local single = 16777217 -- which no float is
    assert.same({ 16777217 }, ask({ weights = { 1 } }, single))
    assert.same({ 16777216 }, ask({ weights = { 1 }, is_single = true }, single))
    assert.same({ 2 }, ask({ nodes = stump(C.NF_SPLIT_LT, 0.1), is_single = true }, 0.1))
    assert.same({ 2 }, ask({ nodes = stump(C.NF_SPLIT_LT, 0.1), is_single = true }, 0.10000000000000003))
    assert.same({ tonumber(ffi.new("float", 0.1)) }, ask({ nodes = { leaf(0.1) }, is_single = true }, 0))
  end)

  it("says the same of rows at once as one by one, blocks or not", function()
    local nodes, rows = stump(C.NF_SPLIT_LT, 50), {}
    for i = 1, 200 do rows[i] = i * 7 % 100 end
    local all = ask({ nodes = nodes, trees = { 0, 2, 0 } }, unpack(rows))
    for i, row in ipairs(rows) do assert.same({ all[i] }, ask({ nodes = nodes, trees = { 0, 2, 0 } }, row)) end
  end)
end)

describe("a link", function()
  local function linked(link, x, given)
    given = given or {}
    given.weights, given.link = { 1 }, link
    return ask(given, x)[1]
  end

  it("makes of one sum what it says", function()
    assert.equal(0.3, linked(C.NF_LINK_NONE, 0.3))
    assert.near(1 / (1 + math.exp(-0.3)), linked(C.NF_LINK_LOGISTIC, 0.3), 1e-15)
    assert.near(1 / (1 + math.exp(-0.6)), linked(C.NF_LINK_LOGISTIC, 0.3, { slope = 2 }), 1e-15)
    assert.same({ 0, 1 }, { linked(C.NF_LINK_LOGISTIC, -1e9), linked(C.NF_LINK_LOGISTIC, 1e9) })
    assert.near(math.exp(0.3), linked(C.NF_LINK_EXP, 0.3), 1e-15)
    assert.near(math.log(1 + math.exp(0.3)), linked(C.NF_LINK_LOG1P_EXP, 0.3), 1e-15)
    assert.same({ 9, -9 }, { linked(C.NF_LINK_SQUARE, 3), linked(C.NF_LINK_SQUARE, -3) })
    assert.same({ 1, 0, 0 },
      { linked(C.NF_LINK_HINGE, 0.1), linked(C.NF_LINK_HINGE, 0), linked(C.NF_LINK_HINGE, -1) })
    assert.near(1.2816, linked(C.NF_LINK_PROBIT, 0.9), 0.005)
    assert.near(-1.2816, linked(C.NF_LINK_PROBIT, 0.1), 0.005)
  end)

  local function of_three(link, ...)
    return ask({ features = 3, outputs = 3, weights = { 1, 0, 0, 0, 1, 0, 0, 0, 1 }, link = link }, ...)
  end

  it("makes shares of several", function()
    local total = math.exp(1) + math.exp(2) + 1
    local shares = of_three(C.NF_LINK_SOFTMAX, 1, 2, 0)
    assert.near(math.exp(1) / total, shares[1], 1e-15)
    assert.near(math.exp(2) / total, shares[2], 1e-15)
    assert.near(1 / total, shares[3], 1e-15)
    assert.same({ 0, 1, 0 }, of_three(C.NF_LINK_SOFTMAX, 0, 1e6, -1e6))
  end)

  it("makes shares of several, but for zeros", function()
    local shares = of_three(C.NF_LINK_SOFTMAX_ZERO, 1, 2, 0)
    assert.near(math.exp(1) / (math.exp(1) + math.exp(2)), shares[1], 1e-15)
    assert.equal(0, shares[3])
  end)

  it("is divided by the sum of outputs", function()
    local given = { features = 2, outputs = 2, weights = { 1, 0, 0, 1 }, is_normalized = true }
    assert.same({ 0.25, -0.75 }, ask(given, 1, -3))
    assert.same({ 0, 0 }, ask(given, 0, 0))
  end)

  it("is even where the sum of outputs is 0 and that is asked for", function()
    local given = { features = 2, outputs = 2, weights = { 1, 0, 0, 1 }, is_normalized = true, is_even = true }
    assert.same({ 0.5, 0.5 }, ask(given, 0, 0))
    assert.same({ 0.25, -0.75 }, ask(given, 1, -3))
  end)
end)

describe("parts of a model", function()
  local LT, LAST = C.NF_SPLIT_LT, 2^32 - 1

  local function with(changes, more)
    local nodes = stump(LT, 1)
    if changes.set then nodes[1].threshold = nil end -- in whose place it lies
    for name, value in pairs(changes) do nodes[1][name] = value end
    local given = { nodes = nodes }
    for name, value in pairs(more or {}) do given[name] = value end
    return given
  end

  local cases = {
    { { features = 0 }, "0 features, 1 outputs: expected 1 to 65536 of each" },
    { { features = 65537 }, "65537 features, 1 outputs: expected 1 to 65536 of each" },
    { { outputs = 0 }, "1 features, 0 outputs: expected 1 to 65536 of each" },
    { { outputs = LAST }, "1 features, 4294967295 outputs: expected 1 to 65536 of each" },
    { { link = C.NF_LINK_COUNT }, "unknown link: 9" },
    { with { split = C.NF_SPLIT_IN + 1 }, "node 0: unknown way to compare: 8" },
    { with { feature = 1 }, "node 0: feature 1, expected one below 1" },
    { with { yes = 0 }, "node 0: goes on to 0 or 2, expected nodes behind it, below 3" },
    { with { no = 3 }, "node 0: goes on to 1 or 3, expected nodes behind it, below 3" },
    { with { no = LAST }, "node 0: goes on to 1 or 4294967295, expected nodes behind it, below 3" },
    { with({ split = C.NF_SPLIT_IN, set = 1, words = 1 }, { sets = { { 0, 0 } } }),
      "node 0: a set of 1 words from 1, expected them within 1" },
    { with({ split = C.NF_SPLIT_IN, set = 2, words = LAST }, { sets = { { 0, 0 } } }),
      "node 0: a set of 4294967295 words from 2, expected them within 1" },
    { { nodes = { leaf(1, 0, 2) } }, "node 0: a leaf of 2 values, expected 1 to 1" },
    { { nodes = { leaf(1, 0, 0) } }, "node 0: a leaf of 0 values, expected 1 to 1" },
    { { nodes = { leaf(1, 1) } }, "node 0: a value of output 1, expected one below 1" },
    { { nodes = { leaf(1, 0, 2), stump(LT, 1)[1] } }, "node 0: a leaf of 2 values, expected one of 1 behind it" },
    { { nodes = { leaf(1, 0, 3), leaf(1), leaf(1) } }, "node 0: a leaf of 3 values, expected one of 2 behind it" },
    { { nodes = { leaf(1, 0, 2), leaf(1, 1) } }, "node 1: a value of output 1, expected one below 1" },
    { { nodes = stump(LT, 1), trees = { 0, 3 } }, "tree 1: begins with node 3, expected one below 3" },
    { { trees = { 0 } }, "tree 0: begins with node 0, expected one below 0" },
  }
  for _, case in ipairs(cases) do
    it("are refused: " .. case[2], function() assert.same({ nil, case[2] }, { new(case[1]) }) end)
  end
end)
