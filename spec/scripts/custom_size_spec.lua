local capture = require "nfengine.testing.capture"
local example = require "spec.support.example"
local golden = require "spec.support.golden"
local P = require "nfengine.testing.packet"
local program = require "spec.support.program"

local function packet(payload_size)
  return { bytes = (P.eth {} .. P.ipv4 {} .. P.udp { dst_port = 9 } .. ("x"):rep(payload_size)):bytes() }
end

describe("scripts/custom_size.lua", function()
  after_each(capture.cleanup)

  example.tests("scripts/custom_size.lua", golden.other_ndpi())

  local function count(packets, size)
    local result = program.run("-q", "custom_size", capture.file(capture.pcap(packets)), "--", "--size=" .. size)
    assert.are.equal(0, result.status, result.err)
    return tonumber(result.out:match "\t(%d+)\n$")
  end

  it("counts the first packet and the later ones of that size", function()
    local overhead = #packet(0).bytes
    local packets = { packet(58), packet(100), packet(58), packet(58), packet(59) }
    assert.are.equal(3, count(packets, overhead + 58))
    assert.are.equal(1, count(packets, overhead + 100))
    assert.are.equal(0, count(packets, overhead + 57))
  end)

  it("does without L7", function()
    local result = program.run("-q", "custom_size", "--n-dissections=0", capture.file(capture.pcap { packet(58) }))
    assert.same({ 0, "10.0.0.1\t-\t0\n" }, { result.status, result.out })
  end)

  it("counts sizes on the wire, not what was captured", function()
    local long = packet(58)
    long.size = 5000
    assert.are.equal(1, count({ long }, 5000))
  end)
end)
