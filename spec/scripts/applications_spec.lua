local capture = require "nfengine.testing.capture"
local example = require "spec.support.example"
local golden = require "spec.support.golden"
local P = require "nfengine.testing.packet"
local program = require "spec.support.program"

describe("scripts/applications.lua", function()
  after_each(capture.cleanup)

  example.tests("scripts/applications.lua", golden.other_ndpi())

  it("gives a line a flow below the headings", function()
    local result = program.run("-q", "applications", "samples/tls.pcap")
    assert.are.equal(0, result.status, result.err)
    assert.are.equal(14, select(2, result.out:gsub("\n", "")))
    assert.is_truthy(result.out:match "\nTLS +%S+ +content +files%.example%.org +192%.0%.2%.1:%d+ > 192%.0%.2%.2:443\n")
  end)

  it("says before the run that it has to look into packets", function()
    local result = program.run("-q", "applications", "--n-dissections=0", "samples/tls.pcap")
    assert.same({ 1, "", "nfengine: --n-dissections=0: packets have to be looked into to know applications, "
      .. "expected more\n" }, { result.status, result.out, result.err })
  end)

  it("prints nothing that a terminal would take for a command", function()
    local question = P.u16(1) .. P.u16(0x0100) .. P.u16(1) .. ("\0"):rep(6) .. "\9evil\27[31m\4test\0\0\1\0\1"
    local hello = "GET / HTTP/1.1\r\nHost: evil\27[2J.test\r\nUser-Agent: x\r\n\r\n"
    local function tcp(fields, payload) return P.eth {} .. P.ipv4 {} .. P.tcp(fields) .. (payload or "") end
    local function back(fields)
      return P.eth {} .. P.ipv4 { src = "10.0.0.2", dst = "10.0.0.1" } .. P.tcp(fields)
    end
    local path = capture.file(capture.pcap {
      { bytes = (P.eth {} .. P.ipv4 {} .. P.udp { dst_port = 53 } .. question):bytes() },
      { bytes = tcp({ src_port = 5000, dst_port = 80, flags = "S" }):bytes() },
      { bytes = back({ src_port = 80, dst_port = 5000, flags = "SA" }):bytes() },
      { bytes = tcp({ src_port = 5000, dst_port = 80, flags = "PA", seq = 2, ack = 2 }, hello):bytes() },
    })
    local result = program.run("-q", "applications", path)
    assert.are.equal(0, result.status, result.err)
    assert.is_nil(result.out:match "[^\n\32-\126]")
    assert.is_truthy(result.out:lower():find("evil?[2j.test", 1, true), result.out)
  end)
end)
