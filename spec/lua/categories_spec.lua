-- The closed list of categories, and expressions over it: lua/nfengine/categories.lua.

local categories = require "nfengine.categories"

local function matches(expression, words)
  local match = assert(categories.matcher(expression))
  local list = {}
  for word in words:gmatch "%S+" do list[#list + 1] = word end
  return match(list)
end

describe("categories", function()
  it("of a plugin are words of the list, each once", function()
    assert.is_true(categories.check { "feature", "tcp", "cross-flow" })
    assert.is_true(categories.check {})
    assert.same({ false, "unknown category \"safee\" (did you mean 'safe'?)" }, { categories.check { "safee" } })
    assert.same({ false, "unknown category 5" }, { categories.check { 5 } })
    assert.same({ false, 'category "tcp" stands there twice' }, { categories.check { "tcp", "udp", "tcp" } })
  end)
end)

describe("an expression over categories", function()
  it("matches a name or a category", function()
    assert.is_true(matches("tcp", "tcp_rtt feature tcp"))
    assert.is_true(matches("tcp_rtt", "tcp_rtt feature tcp"))
    assert.is_false(matches("udp", "tcp_rtt feature tcp"))
    assert.is_false(matches("cp", "tcp"))
    assert.is_true(matches("cross-flow", "cross-flow"))
    assert.is_false(matches("cross-flow", "crosssflow"))
  end)

  it("takes * for anything", function()
    assert.is_true(matches("tcp_*", "tcp_rtt"))
    assert.is_false(matches("tcp_*", "tcp"))
    assert.is_true(matches("*", "anything"))
    assert.is_true(matches("tcp*rtt", "tcp_rtt"))
    assert.is_true(matches("*_*t", "tcp_rtt"))
    assert.is_true(matches("t*c*p**", "tcp"))
    assert.is_false(matches("ab*ba", "aba"))
    assert.is_false(matches("*a*b*", "ba"))
  end)

  it("takes many *, and no more words than it can look into", function()
    assert.is_true(matches(("*a"):rep(3000), ("a"):rep(3000)))
    assert.is_false(matches(("*a"):rep(3000), ("a"):rep(2999) .. "b"))
    assert.is_true(matches(("not "):rep(998) .. "a", "a"))
    assert.same({ nil, "at most 1000 words and parentheses" }, { categories.matcher(("("):rep(60000) .. "a") })
    assert.same({ nil, "at most 1000 words and parentheses" }, { categories.matcher(("a "):rep(1001)) })
  end)

  it("binds not before and, and before or", function()
    assert.is_true(matches("a or b and c", "a"))
    assert.is_false(matches("(a or b) and c", "a"))
    assert.is_true(matches("not a and b", "b"))
    assert.is_false(matches("not (a or b)", "b"))
    assert.is_true(matches("not not a", "a"))
    assert.is_true(matches("tcp and not slow", "tcp"))
    assert.is_false(matches("tcp and not slow", "tcp slow"))
  end)

  it("takes words without an operator, or with commas, for any of them", function()
    assert.is_true(matches("a b", "b"))
    assert.is_true(matches("a,b", "b"))
    assert.is_false(matches("a, b", "c"))
  end)

  it("is everything where it is empty", function()
    assert.is_true(matches("", "x"))
    assert.is_true(matches("  ", "x"))
  end)

  it("says what it expects where it is none", function()
    for _, text in ipairs { "and", "a and", "a or", "not", "(a", "a)", "()", "a b)", "a & b", "tcp == 1", "or a" } do
      local match, expected = categories.matcher(text)
      assert.is_nil(match, text)
      assert.equal('names and categories joined by and, or, not and ( ), as in "tcp and not slow"', expected)
    end
  end)
end)
