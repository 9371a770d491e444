local usual = require "nfengine.ml.usual"

local RUN = {
  time_unit = "us",
  columns = {
    { name = "src_ip", type = "ip" }, { name = "bidirectional_duration_us", type = "uint64" },
    { name = "bidirectional_rst_packets", type = "uint64" }, { name = "src2dst_packets", type = "uint64" },
    { name = "splt_ps", type = "int32", is_array = true, length = 2, offset = 0 },
  },
}

local function names(...)
  local list = {}
  for i, column in ipairs(usual.features(RUN, { ... })) do list[i] = column.name end
  return list
end

describe("usual features", function()
  it("are those of them that a run has, by its unit of time", function()
    assert.same({ "bidirectional_duration_us", "src2dst_packets", "bidirectional_rst_packets" }, names())
  end)

  it("give way to those that are asked for, elements of arrays among them", function()
    assert.same({ "splt_ps_2", "src2dst_packets" }, names("splt_ps_2", "src2dst_packets"))
  end)

  it("are numbers of the run", function()
    assert.has_error(function() names "src2dst_packet" end,
      [[no column "src2dst_packet" in this run (did you mean 'src2dst_packets'?)]])
    assert.has_error(function()
      local late = { name = "udps.x", type = "double", is_late = true, owner = "plugin late" }
      usual.features({ time_unit = "ms", columns = { late } }, { "udps.x" })
    end, 'column "udps.x": plugin late fills it in later, expected one of a plugin before')
    assert.has_error(function() names "src_ip" end, 'column "src_ip" is ip, expected a number')
    assert.has_error(function() usual.features({ time_unit = "ms", columns = { RUN.columns[1] } }, {}) end,
      "no column of this run is usual to look at, expected names of some")
  end)
end)
