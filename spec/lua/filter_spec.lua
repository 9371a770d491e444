-- nf.packet_filter: lua/nfengine/filter.lua.

local nf = require "nfengine"
local engine = require "spec.support.engine"
local meter = require "spec.support.meter"

-- A script that writes how many packets of each flow a filter matches; `setup` makes self.filter.
local SCRIPT = [[
  local nf = require "nfengine"
  local outside = nf.packet_filter "tcp dst port 80"
  local function count(self, packet, flow)
    if self.filter:matches(packet) then flow.udps.hits = flow.udps.hits + 1 end
  end
  nf.streamer { n_dissections = 0, columns = { "src_ip", "src_port", "bidirectional_packets", "udps.hits" },
    udps = nf.plugin { name = "p", columns = { { "hits", "uint32" } }, on_init = count, on_update = count,
      setup = function(self) self.filter = %s end, %s } }:write()
]]

local function hits(setup, more, meters)
  return engine.script(SCRIPT:format(setup, more), "-q", "--n-meters=" .. meters, "samples/web.pcap")
end

describe("nf.packet_filter", function()
  after_each(engine.cleanup)

  it("gives a filter that matches packets in hooks", function()
    local from = nf.packet_filter "src port 1000"
    local seen = {}
    local function look(_, packet) seen[#seen + 1] = from:matches(packet) end
    engine.flows { udps = nf.plugin { name = "p", on_init = look, on_update = look },
      packets = { meter.udp(0, 1000), meter.back(1, 1000), meter.udp(2, 1000), meter.udp(3, 1001) } }
    assert.same({ true, false, true, false }, seen)
    assert.equal('packet filter "src port 1000"', tostring(from))
  end)

  it("works in each of several meters, made there or carried there", function()
    local inside = 'nf.packet_filter "tcp dst port 80"'
    local one = hits(inside, "", 1)
    assert.same({ 0, "" }, { one.status, one.err })
    assert.is_truthy(one.out:find('\n"192.0.2.10",43278,31,15\n', 1, true), one.out)
    assert.same(one, hits(inside, "", 3))
    assert.same(one, hits("outside", "", 3))
    local joined = 'merge = function() end, cleanup = function(self) assert(tostring(self.filter):match "80") end'
    assert.same(one, hits("outside", joined, 3))
  end)

  it("allocates nothing", function()
    local filter, allocated = nf.packet_filter "tcp dst port 80", {}
    local function match(_, packet)
      collectgarbage "stop"
      local before = collectgarbage "count"
      for _ = 1, 1000 do filter:matches(packet) end
      allocated[#allocated + 1] = collectgarbage "count" - before
      collectgarbage "restart"
    end
    engine.flows { source = "samples/web.pcap", udps = nf.plugin { name = "p", on_update = match } }
    table.sort(allocated) -- but for what compiling took
    assert.equal(0, allocated[math.floor(#allocated / 2)])
  end)

  it("refuses what is no filter, and what is no packet, in one line", function()
    assert.matches('^spec/lua/filter_spec.lua:%d+: nf.packet_filter: "prot 80": .+, expected a libpcap filter for link '
      .. "type 101 %(RAW%)$", engine.refusal(function() nf.packet_filter "prot 80" end))
    for _, value in ipairs { 5, {}, true } do
      assert.matches(": nf.packet_filter: .+: expected a libpcap filter as a string$",
        engine.refusal(function() nf.packet_filter(value) end))
    end
    local filter = nf.packet_filter "udp"
    assert.matches("expected a packet, got nil", engine.refusal(function() filter:matches() end))
    for _, value in ipairs { 5, {}, "x" } do engine.refusal(function() filter:matches(value) end) end
  end)
end)
