local capture = require "nfengine.testing.capture"
local example = require "spec.support.example"
local golden = require "spec.support.golden"
local P = require "nfengine.testing.packet"
local program = require "spec.support.program"

local function packet(ms, payload_size, is_back)
  local ip = is_back and P.ipv4 { src = "10.0.0.2", dst = "10.0.0.1" } or P.ipv4 { src = "10.0.0.1", dst = "10.0.0.2" }
  local udp = is_back and P.udp { src_port = 9, dst_port = 5000 } or P.udp { src_port = 5000, dst_port = 9 }
  return { bytes = (P.eth {} .. ip .. udp .. ("x"):rep(payload_size)):bytes(), sec = 1, frac = ms * 1000 }
end

describe("scripts/early.lua", function()
  after_each(capture.cleanup)

  example.tests("scripts/early.lua", golden.other_ndpi())

  -- Two packets there, one back, one empty back; 42 bytes of headers each.
  local function row(...)
    local path = capture.file(capture.pcap { packet(0, 58), packet(5, 8, true), packet(12, 18), packet(12, 0, true) })
    local words = { "-q", "early", ... }
    words[#words + 1] = path
    local result = program.run(unpack(words))
    assert.are.equal(0, result.status, result.err)
    local header, values = result.out:match "^([^\n]+)\n([^\n]+)\n$"
    assert.are.equal("src_ip,src_port,dst_ip,dst_port,protocol,application_name,", header:match "^.-,application_name,")
    return values:match "^10%.0%.0%.1,5000,10%.0%.0%.2,9,17,[^,]*,(.*)$"
  end

  it("does without L7", function()
    local path = capture.file(capture.pcap { packet(0, 58) })
    local result = program.run("-q", "early", "--n-dissections=0", "--splt-analysis=1", path)
    assert.same({ 0, "src_ip,src_port,dst_ip,dst_port,protocol,size_1,gap_1\n10.0.0.1,5000,10.0.0.2,9,17,100,0\n" },
      { result.status, result.out })
  end)

  it("gives signed sizes and gaps of the first ten packets, zeros behind the last", function()
    assert.are.equal("100,0,-50,5,60,7,-42,0" .. (",0"):rep(12), row())
  end)

  it("looks at as many packets as asked, in the unit asked for", function()
    assert.are.equal("100,0,-50,5", row "--splt-analysis=2")
    assert.are.equal("100,0,-50,5000,60,7000", row("--splt-analysis=3", "--time-unit=us"))
  end)

  it("has no negative zeros where empty packets count nothing", function()
    assert.are.equal("58,0,-8,5,18,7,0,0", row("--splt-analysis=4", "--accounting-mode=3"))
  end)
end)
