local ffi = require "ffi"
local rows = require "nfengine.ml.rows"

local function added(number)
  local all = rows.new(2, number)
  for i = 1, 1000 do all:add(ffi.new("double[2]", i, 0.1 * i)) end
  return all
end

describe("rows of features", function()
  it("are kept in single precision, however many", function()
    local all = added()
    assert.same({ 1000, 700, 1000 }, { all.count, all.values[699 * 2], all:last()[0] })
    assert.equal(tonumber(ffi.new("float", 0.1 * 700)), all.values[699 * 2 + 1])
  end)

  it("are kept in double precision where that is asked for", function()
    assert.equal(0.1 * 700, added("double").values[699 * 2 + 1])
  end)

  it("take each other's places", function()
    local all = added()
    all:add(ffi.new("double[2]", -1, -2), 699)
    assert.same({ 1000, -1, -2, 701 },
      { all.count, all.values[699 * 2], all.values[699 * 2 + 1], all.values[700 * 2] })
  end)
end)
