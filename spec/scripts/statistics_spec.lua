local example = require "spec.support.example"
local program = require "spec.support.program"

local function header(...)
  local result = program.run("-q", "statistics", "--max-nflows=1", ...)
  assert.are.equal(0, result.status, result.err)
  local names = {}
  for name in result.out:match "^[^\n]+":gmatch "[^,]+" do names[name] = true end
  return names
end

describe("scripts/statistics.lua", function()
  example.tests("scripts/statistics.lua")

  it("gives sizes, inter-arrival times and flags of every scope, and no applications", function()
    local names = header "samples/web.pcap"
    for _, scope in ipairs { "bidirectional", "src2dst", "dst2src" } do
      for _, ending in ipairs { "min_ps", "stddev_ps", "mean_piat_ms", "max_piat_ms", "syn_packets", "fin_packets" } do
        assert.is_true(names[scope .. "_" .. ending], scope .. "_" .. ending)
      end
    end
    assert.is_nil(names.application_name)
  end)

  it("names applications when asked to", function()
    assert.is_true(header("--n-dissections=20", "samples/web.pcap").application_name)
  end)
end)
