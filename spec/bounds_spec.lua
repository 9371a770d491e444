-- What floods take: with max_flows no more flows than that live, every one that gives way is counted, and memory does
-- not grow with what comes. Large ones are measured by `make bench`.

local engine = require "spec.support.engine"
local program = require "spec.support.program"

-- Prints how many flows gave way to others and how many lived to the end, and the most memory the run took, in kB.
local COUNTING = [[
  local ends = { full = 0, ["end of input"] = 0 }
  require("nfengine").streamer { columns = { "end_reason" } }:to {
    write = function(_, flow) ends[flow.end_reason] = ends[flow.end_reason] + 1 end,
  }
  local memory
  for line in io.lines "/proc/self/status" do memory = memory or line:match "^VmHWM:%s+(%d+)" end
  print(ends.full, ends["end of input"], memory) ]]

-- A trace as `make bench` takes them.
local function trace(kind, packets)
  local path = program.temporary ".pcap"
  local made = program.shell(("luajit bench/trace.lua %s %s %d"):format(kind, path, packets))
  assert.are.same({ 0, "" }, { made.status, made.err })
  return path
end

-- What became of a trace's flows under these options: ended by max_flows, ended by the end; then the memory.
local function fate(path, ...)
  local result = engine.script(COUNTING, "-q", path, ...)
  assert.are.same({ 0, "" }, { result.status, result.err })
  local full, last, memory = result.out:match "^(%d+)\t(%d+)\t(%d+)\n$"
  return { tonumber(full), tonumber(last) }, tonumber(memory)
end

local L7 = { without = "--no-dpi", with = "--n-dissections=20" }

describe("with max_flows, a flood", function()
  after_each(engine.cleanup)

  for kind, what in pairs { syn_flood = "of TCP connections", gtpu_flood = "in a tunnel" } do
    for with, dissections in pairs(L7) do
      it(("%s ends exactly those flows early that there is no room for, %s L7"):format(what, with), function()
        local path = trace(kind, 20000)
        for _, meters in ipairs { 1, 3 } do
          local got = fate(path, "--max-flows=1000", "--n-meters=" .. meters, dissections)
          assert.are.same({ 19000, 1000 }, got, meters .. " meters")
        end
      end)
    end
  end

  it("of long flows leaves none alone when there is room for one less, and all when there is room", function()
    local path = trace("long_flows", 5000) -- a thousand, five packets each in turns
    assert.are.same({ 5000 - 999, 999 }, (fate(path, "--max-flows=999", "--n-meters=1", "--no-dpi")))
    assert.are.same({ 0, 1000 }, (fate(path, "--max-flows=1000", "--n-meters=1", "--no-dpi")))
  end)

  it("leaves every meter one flow at least", function()
    local path = trace("syn_flood", 1000)
    local _, last = unpack((fate(path, "--max-flows=1", "--n-meters=3", "--no-dpi")))
    assert.are.equal(3, last)
  end)
end)

describe("memory", function()
  after_each(engine.cleanup)

  -- A table for 20,000 flows: each has its record and its place in the table, and nothing of nDPI's yet.
  local MOST = { without = 216 + 40, with = 792 + 40 }

  for kind in pairs { syn_flood = true, gtpu_flood = true } do
    for with, dissections in pairs(L7) do
      it(("is bounded by max_flows in a %s, %s L7"):format(kind, with), function()
        if os.getenv "NFENGINE" then return pending "of a build with sanitizers, memory says nothing" end
        local function peak(packets, max_flows)
          local _, memory = fate(trace(kind, packets), "--max-flows=" .. max_flows, "--n-meters=1", dissections)
          return memory * 1024
        end
        local few, some, many = peak(40000, 1), peak(40000, 20000), peak(200000, 20000)
        -- A table's memory comes in steps of 2 MB.
        local step = 2 * 2 ^ 20
        assert.is_true(some - few < 20000 * MOST[with] + step, some - few .. " bytes for 20,000 flows")
        assert.is_true(many - some < step, many - some .. " bytes for later flows")
      end)
    end
  end
end)
