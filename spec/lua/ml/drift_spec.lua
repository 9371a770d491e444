local ffi = require "ffi"
local json = require "nfengine.json"
local drift = require "nfengine.ml.drift"
local transfer = require "nfengine.transfer"

local function row(...) return ffi.new("double[?]", select("#", ...), { ... }) end

local function watch()
  return drift.new { { name = "a", min = 1, max = 5 }, { name = "b", min = 0, max = 0 }, { name = "none" } }
end

describe("nfengine.ml.drift", function()
  it("counts features that are outside, bounds being inside", function()
    local seen = watch()
    assert.same({ 0, 0, 1, 1, 2, 1 }, {
      seen:count(row(1, 0, 0 / 0)), seen:count(row(5, -0, 0 / 0)), seen:count(row(0.999, 0, 0 / 0)),
      seen:count(row(5.001, 0, 0 / 0)), seen:count(row(math.huge, 1, 0 / 0)), seen:count(row(3, 0, 7)),
    })
    assert.same({ { name = "a", flows = 3 }, { name = "b", flows = 1 }, { name = "none", flows = 1 } }, seen:found())
  end)

  it("takes what is no number for no stranger", function()
    assert.equal(0, watch():count(row(0 / 0, 0 / 0, 0 / 0)))
  end)

  it("compares in single precision, as ranges were taken", function()
    local single = tonumber(ffi.new("float", 0.1))
    local seen = drift.new { { name = "a", min = single, max = single } }
    assert.equal(0, seen:count(row(0.1)))
    assert.equal(1, seen:count(row(0.1001)))
  end)

  it("says which are the worst", function()
    local seen = watch()
    assert.is_nil(seen:line(3))
    for _ = 1, 1200 do seen:count(row(9, 0, 0 / 0)) end
    seen:count(row(1, 2, 3))
    assert.equal("features outside the range of training, of 1,201 flows: a in 1,200, b in 1 and 1 feature more",
      seen:line(2))
    assert.same({ flows = 1201, outside = { a = 1200, b = 1, none = 1 } }, json.decode(seen:json()))
  end)

  it("is carried out of a meter's thread, and added up", function()
    local seen, other = watch(), watch()
    seen:count(row(9, 1, 0 / 0))
    other:count(row(9, 0, 0 / 0))
    other:add(transfer.unpack(transfer.pack(seen, "spec")))
    assert.same({ flows = 2, outside = { a = 2, b = 1, none = 0 } }, json.decode(other:json()))
  end)
end)
