-- lua/nfengine/dataset/balance.lua.

local balance = require "nfengine.dataset.balance"
local pretty = require "nfengine.pretty"

local function counted(parts, counts)
  local made = balance.new(parts)
  for label, by_part in pairs(counts) do
    for part, records in ipairs(by_part) do
      for _ = 1, records do made:add(label, part) end
    end
  end
  return made
end

describe("balance", function()
  local made = counted({ "train", "test" }, { web = { 1200, 34 }, dns = { 3, 0 }, ssh = { 2, 1 } })

  it("shows labels with most records first, then by name, and the sum", function()
    assert.same({
      "LABEL                                FLOWS   SHARE       TRAIN        TEST",
      "web                                  1,234   99.5%       1,200          34",
      "dns                                      3    0.2%           3           0",
      "ssh                                      3    0.2%           2           1",
      "all of them                          1,240  100.0%       1,205          35",
    }, made:lines(0))
  end)

  it("shows records without a label last", function()
    local lines = made:lines(7)
    assert.equal("left out, without a label                7", lines[#lines])
  end)

  it("has no columns of parts where there is one part", function()
    assert.same({
      "LABEL                                FLOWS   SHARE",
      "web                                      2  100.0%",
      "all of them                              2  100.0%",
    }, counted({ "flows" }, { web = { 2 } }):lines(0))
  end)

  it("shows no control characters of a label", function()
    assert.is_truthy(counted({ "flows" }, { ["a\27[2Jb"] = { 1 } }):lines(0)[2]:match "^a%?%[2Jb ")
  end)

  it("warns of labels with few records, or none in a part", function()
    assert.same({ 'label "dns": 3 flows, none in test', 'label "ssh": 3 flows' }, made:warnings(4))
    assert.same({ 'label "dns": none in test' }, made:warnings(3))
    assert.same({ 'label "a": 1 flow, none in x and z' }, counted({ "x", "y", "z" }, { a = { 0, 1, 0 } }):warnings(2))
    assert.same({}, counted({ "flows" }, { web = { 2 } }):warnings(2))
  end)

  it("shows so many labels, and counts the others", function()
    local counts = {}
    for i = 1, 23 do counts[("c%02d"):format(i)] = { 100 - i, i % 2 } end
    local many = counted({ "train", "test" }, counts)
    local lines = many:lines(0)
    assert.equal(1 + 20 + 1 + 1, #lines)
    assert.equal("3 more                                 236   11.6%         234           2", lines[22])
    local said, is_missing_some = many:warnings(100)
    assert.same({ 11, "12 labels more with few flows, or none in some part", true },
      { #said, said[11], is_missing_some })
    assert.is_false((select(2, counted({ "x" }, { a = { 1 } }):warnings(0))))
  end)

  it("describes itself for manifests", function()
    assert.equal('[{"label": "web", "flows": 1234, "train": 1200, "test": 34}, '
      .. '{"label": "dns", "flows": 3, "train": 3, "test": 0}]\n',
      pretty.encode(counted({ "train", "test" }, { web = { 1200, 34 }, dns = { 3, 0 } }):described()))
    assert.equal('[{"label": "web", "flows": 2}]\n', pretty.encode(counted({ "flows" }, { web = { 2 } }):described()))
  end)
end)
