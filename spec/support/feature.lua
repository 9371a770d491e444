-- What specs of feature plugins have in common.

local busted = require "busted"
local assert = require "luassert"
local engine = require "spec.support.engine"
local program = require "spec.support.program"

local feature = {}

--- Values of a flow's plugin columns: those that begin with `way`, "_" and each of the words.
function feature.values(flow, way, words)
  local values = {}
  for word in words:gmatch "%S+" do values[#values + 1] = flow.udps[way .. "_" .. word] end
  return values
end

--- These packets as a capture with that snap length has them.
function feature.cut(packets, length)
  local cut = {}
  for i, packet in ipairs(packets) do
    cut[i] = { bytes = packet.bytes:sub(1, length), size = #packet.bytes, time_ns = packet.time_ns }
  end
  return cut
end

--- Whether flows of a sample are the same with 1, 2 and 3 meters, with a plugin and its options, as Lua has them.
function feature.is_alike(name, options)
  local source = ('require("nfengine").streamer({ udps = require "plugins.%s" %s, n_dissections = 0 }):write()')
    :format(name, options)
  local function rows(meters) return engine.script(source, "-q", "--n-meters=" .. meters, "samples/web.pcap") end
  local one = rows(1)
  assert.same({ 0, "" }, { one.status, one.err })
  for meters = 2, 3 do assert.equal(one.out, rows(meters).out) end
end

--- Names of a plugin's columns as records have them.
local function columns_of(class)
  local names = { "src_ip", "src_port", "dst_ip", "dst_port", "protocol", "bidirectional_packets" }
  for _, column in ipairs(class.columns) do names[#names + 1] = "udps." .. column.name end
  return table.concat(names, ",")
end

--- Declares the tests that any plugin of one flow has to pass.
-- @param sample name of the file in samples/ that its golden file is of
-- @param packets a conversation that exercises it
function feature.tests(name, sample, packets)
  local it = busted.it
  local class = require("plugins." .. name)

  local function flows(...)
    return program.run("-q", "flows", "--plugin", name, "--n-dissections=0", "--columns=" .. columns_of(class), ...)
  end

  it("keeps what its golden file has, with any number of meters", function()
    local path = ("spec/golden/%s/%s.csv"):format(name, sample:match "^[^.]+")
    local expected = assert(program.read(path), path)
    for meters = 1, 3 do
      assert.same({ status = 0, out = expected, err = "" }, flows("--n-meters=" .. meters, "samples/" .. sample))
    end
  end)

  it("keeps no state across flows, so that it takes as many meters as there are", function()
    assert.is_false(require("nfengine.worker").wants_one { class {} })
  end)

  it("takes packets cut at any length, and has all it reads from 128 bytes on", function()
    local whole, cut
    local function take(length)
      local values = {}
      for i, flow in ipairs(engine.flows { packets = feature.cut(packets, length), udps = class }) do
        values[i] = {}
        for k, column in ipairs(class.columns) do values[i][k] = flow.udps[column.name] end
      end
      return values
    end
    for length = 0, 128 do cut = take(length) end
    whole = take(65535)
    assert.is_true(#whole > 0)
    assert.same(whole, cut)
    engine.cleanup()
  end)

  it("has nothing for a flow of other protocols that would be no number", function()
    for _, path in ipairs { "samples/icmp.pcap", "samples/dns.pcap", "samples/gtpu.pcap", "samples/any.pcap" } do
      local result = flows(path)
      assert.same({ 0, "" }, { result.status, result.err })
      assert.is_nil(result.out:lower():match "[,-]nan" or result.out:lower():match "[,-]inf")
    end
  end)
end

return feature
