-- plugins/nettisa.lua: the profile.

local nf = require "nfengine"
local meter = require "spec.support.meter"
local testing = require "nfengine.testing"
local Nettisa = require "plugins.nettisa"

-- Flows of these packets by the profile, and what else is given.
local function flows(packets, more)
  local given = { source = testing.file(packets) }
  for name, value in pairs(more or {}) do given[name] = value end
  local list = {}
  for flow in nf.streamer(Nettisa(given)):flows() do list[#list + 1] = flow end
  return list
end

describe("the profile nettisa", function()
  after_each(testing.cleanup)

  it("gives the features, in microseconds", function()
    local flow = flows({ meter.udp(0, 1000, "abc"), meter.back(1.5, 1000, "abcde") })[1]
    assert.same({ 4, 1500, 1500 },
      { flow.udps.nettisa_mean, flow.udps.nettisa_mean_difftimes, flow.bidirectional_duration_us })
  end)

  it("ends flows after 65 s without a packet, or 300 s", function()
    assert.equal(2, #flows { meter.udp(0, 1000), meter.udp(65000, 1000) })
    assert.equal(1, #flows { meter.udp(0, 1000), meter.udp(64999, 1000) })
    local packets = meter.every(60000, 0, 300000)
    assert.equal(2, #flows(packets))
    assert.equal(1, #flows(packets, { active_timeout = 301 }))
  end)

  it("looks for no application unless asked to", function()
    assert.has_error(function() return flows { meter.udp(0, 1000) }[1].application_name end)
    assert.equal("Unknown", flows({ meter.udp(0, 1000) }, { n_dissections = 20 })[1].application_name)
  end)
end)
