-- lua/nfengine/dataset/survey.lua: what it finds in columns of every type.

local columns = require "nfengine.columns"
local engine = require "spec.support.engine"
local meter = require "spec.support.meter"
local nf = require "nfengine"
local survey = require "nfengine.dataset.survey"

-- Sets a column to one value after another, flow by flow.
local function probe(type, values)
  return nf.plugin {
    name = "probe", columns = { { "value", type }, { "beside", "uint8" } }, options = { values = { {}, "" } },
    setup = function(self) self.count, self.list = 0, values end,
    on_init = function(self, _, flow)
      self.count = self.count + 1
      local value = self.list[self.count]
      if type:match "%[" then
        for i = 1, #value do flow.udps.value[i] = value[i] end
      else
        flow.udps.value = value
      end
    end,
  }
end

-- The survey of a column that has these values in turn.
local function surveyed(type, values)
  local packets = {}
  for i = 1, #values do packets[i] = meter.udp(i, 1000 + i) end
  local seen
  engine.streamer { packets = packets, n_meters = 1, udps = probe(type, values), columns = { "udps.value" } }:to {
    open = function(_, list) seen = survey.new(columns.elements(list[1])) end,
    write = function(_, flow)
      seen:add(flow)
      return true
    end,
  }
  return seen
end

describe("survey", function()
  after_each(engine.cleanup)

  it("names columns that never change, of any type", function()
    for _, type in ipairs { "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float",
      "double" } do
      assert.same({ "udps.value" }, surveyed(type, { 7, 7, 7 }):constant())
      assert.same({}, surveyed(type, { 7, 7, 8 }):constant())
      assert.same({}, surveyed(type, { 8, 7, 8 }):constant())
    end
    assert.same({ "udps.value" }, surveyed("bool", { true, true }):constant())
    assert.same({}, surveyed("bool", { true, false }):constant())
  end)

  it("sees a difference in the higher half of eight bytes", function()
    assert.same({}, surveyed("uint64", { 0, 2 ^ 32 }):constant())
    assert.same({}, surveyed("double", { 1, 2 }):constant()) -- their lower halves are zero
  end)

  it("says nothing where there is one record", function()
    assert.same({}, surveyed("uint8", { 7 }):constant())
  end)

  it("looks at arrays element by element", function()
    assert.same({ "udps.value_2" }, surveyed("uint16[3]", { { 1, 2, 3 }, { 2, 2, 4 } }):constant())
    assert.same({ { name = "udps.value_1", records = 1 } },
      surveyed("double[2]", { { 0 / 0, 1 }, { 2, 2 } }):unusable())
  end)

  it("counts records in which a column is no finite number", function()
    for _, type in ipairs { "double", "float" } do
      assert.same({ { name = "udps.value", records = 3 } },
        surveyed(type, { 1, 0 / 0, math.huge, 0, -math.huge }):unusable())
      assert.same({}, surveyed(type, { 1, 0, -5 }):unusable())
    end
  end)

  it("leaves texts and addresses out", function()
    local seen
    engine.streamer { packets = { meter.udp(0, 1), meter.udp(0, 2) }, columns = { "src_ip", "protocol" } }:to {
      open = function(_, list) seen = survey.new(list) end,
      write = function(_, flow)
        seen:add(flow)
        return true
      end,
    }
    assert.same({ "protocol" }, seen:constant())
  end)
end)
