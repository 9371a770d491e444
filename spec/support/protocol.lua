-- What specs of scripts that tell of a protocol's events have in common.

local busted = require "busted"
local assert = require "luassert"
local cable = require "spec.support.cable"
local example = require "spec.support.example"
local json = require "nfengine.json"
local live = require "spec.support.live"
local program = require "spec.support.program"
local talk = require "spec.support.talk"
local testing = require "nfengine.testing"

local protocol = {}

--- What a script prints of these packets, with these of its own words; and what it says on stderr.
function protocol.printed(name, packets, ...)
  local result = program.run("-q", name, testing.file(packets), "--", ...)
  assert.equal(0, result.status, result.err)
  return result.out, result.err
end

--- The same as JSON: a list of objects.
function protocol.objects(name, packets, ...)
  local list = {}
  for line in protocol.printed(name, packets, "--json", ...):gmatch "[^\n]+" do list[#list + 1] = json.decode(line) end
  return list
end

--- Lines with single blanks.
function protocol.squeezed(text) return (text:gsub(" +", " "):gsub(" \n", "\n")) end

--- Declares the tests that each of these scripts has to pass.
-- @param sample name of a file in samples/ of which it tells
-- @param packets a conversation of which it tells one line, with that part of it
function protocol.tests(name, sample, packets, part)
  local it, describe, pending = busted.it, busted.describe, busted.pending

  example.tests("scripts/" .. name .. ".lua")

  it("says the same in any unit of time, and nothing without packets", function()
    local path = "samples/" .. sample
    local out = program.run("-q", name, path).out
    assert.is_true(select(2, out:gsub("\n", "")) > 3)
    assert.equal(out, program.run("-q", name, "--time-unit=ns", path).out)
    local none = program.run("-q", name, "--bpf-filter=port 9", path)
    assert.same({ out:match "^[^\n]*\n", "" }, { none.out, none.err })
    assert.equal("", program.run("-q", name, "--bpf-filter=port 9", path, "--", "--json").out)
  end)

  it("refuses several meters", function()
    local result = program.run(name, "--n-meters=2", "samples/" .. sample)
    assert.same({ 1, "nfengine: --n-meters=2: packets are looked at by one meter here, expected 1\n" },
      { result.status, result.err })
  end)

  it("prints nothing that a terminal would take for a command, whatever packets hold", function()
    local hostile = {}
    for i, packet in ipairs(packets) do
      hostile[i] = { time_ns = packet.time_ns, bytes = packet.bytes:gsub("example", "\27[2J\7\255\128") }
    end
    assert.is_nil((protocol.printed(name, hostile) .. protocol.printed(name, hostile, "--json")):find "[^\n\32-\126]")
  end)

  describe("of an interface", function()
    local missing = cable.missing()
    if missing then
      it("tells at once", function() pending(missing) end)
      return
    end

    busted.before_each(cable.lay)
    busted.after_each(cable.remove)

    it("tells at once", function()
      local run = live.start(cable.net.b, "-q", name, "-i", "vb")
      cable.send(testing.file(talk.in_order(packets)))
      live.wait_for("a line", function() return run:out():find(part, 1, true) end)
      assert.is_nil(run:status())
      assert.equal(0, run:stop().status)
    end)
  end)
end

return protocol
