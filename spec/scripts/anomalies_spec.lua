local capture = require "nfengine.testing.capture"
local example = require "spec.support.example"
local meter = require "spec.support.meter"
local program = require "spec.support.program"

-- Datagrams of some 100 bytes there and back, each pair a flow; then, of `odd` of them, one with a long answer.
local function file(count, odd)
  local packets = {}
  for i = 1, count do
    table.insert(packets, meter.udp(i * 10, 5000 + i, ("x"):rep(50 + i * 37 % 21)))
    table.insert(packets, meter.back(i * 10 + i % 5, 5000 + i, ("x"):rep(i == odd and 1400 or 80 + i * 53 % 17)))
  end
  return capture.file(capture.pcap(packets, { ns = true }))
end

local function anomalies(words)
  local result = program.run("-q", "anomalies", unpack(words))
  assert.are.same({ 0, "" }, { result.status, result.err })
  return result.out
end

local function failure(...)
  local result = program.run("-q", "anomalies", ...)
  return ("%d %s"):format(result.status, result.err)
end

describe("scripts/anomalies.lua", function()
  after_each(function()
    capture.cleanup()
    program.remove_temporaries()
  end)

  example.tests("scripts/anomalies.lua")

  it("prints the most unusual flows, and what is unusual of them", function()
    local out = anomalies { file(300, 123), "--", "--top=2" }
    local first = out:match "\n([^\n]+)"
    assert.matches("^0%.[6-9]%d%d  dst2src_%l+ +%+%d+%.%d  10%.0%.0%.1:5123 > 10%.0%.0%.2:2000 udp$", first)
    assert.equal(3, select(2, out:gsub("\n", "")))
  end)

  it("learns from one capture and scores another", function()
    local usual, other = file(300, 123), file(40, 7)
    assert.matches("\n0%.[6-9]%d%d  dst2src_%l+ .*:5007 >",
      anomalies { other, usual, "--", "--learn=" .. usual, "--top=1" })
    local function scores(path) return anomalies { usual, path, "--columns=udps.isolation_score", "--", "--all",
      "--learn=" .. usual } end
    -- A flow's score by what was learnt is the same, whatever else comes with it.
    assert.equal(scores(file(1)):match "\n.-\n", scores(file(40)):match "\n.-\n")
  end)

  it("writes all flows with their scores where asked to, in any format, for any number of meters", function()
    local path = file(60, 7)
    local out = anomalies { path, "--columns=src_port,udps.isolation_score,udps.isolation_feature", "--", "--all" }
    assert.equal(61, select(2, out:gsub("\n", "")))
    local scores = {}
    for port, score in out:gmatch "\n(%d+),([%d.]+)," do scores[tonumber(port)] = tonumber(score) end
    for port, score in pairs(scores) do assert.is_true(port == 5007 or score < scores[5007]) end
    for _, meters in ipairs { 1, 3 } do
      assert.equal(out, anomalies { path, "--n-meters=" .. meters,
        "--columns=src_port,udps.isolation_score,udps.isolation_feature", "--", "--all" })
    end
    assert.matches('^{"udps.isolation_score":0%.%d+}\n', anomalies { path, "--format=jsonl",
      "--columns=udps.isolation_score", "--", "--all" })
  end)

  it("grows another forest of other features, trees, samples or seeds", function()
    local path = file(100, 7)
    local function all(...)
      return anomalies { path, "--columns=udps.isolation_score", "--", "--all", ... }
    end
    local usual = all()
    for _, option in ipairs { "--seed=1", "--trees=50", "--sample=32", "--features=bidirectional_bytes" } do
      assert.are_not.equal(usual, all(option), option)
    end
    assert.equal(usual, all "--seed=0")
  end)

  it("refuses features that are none, and inputs that cannot be read twice", function()
    local path = file(10)
    assert.matches('^1 nfengine: plugin isolation: setup: no column "bytes" in this run\n$',
      failure(path, "--", "--features=bytes"))
    assert.matches('^2 nfengine: "%-": expected a capture file, which is read twice', failure("-", "--", "--top=3"))
    assert.matches("expected one of the captures", failure(path, "--", "--learn=" .. file(1)))
    assert.matches("expected a further capture, to be scored", failure(path, "--", "--learn=" .. path))
    assert.matches("expected 2 at least", failure(file(1)))
    assert.matches("^2 nfengine: %-%-trees=10000 %-%-sample=65536: expected 8388608 flows in all trees together",
      failure(path, "--", "--trees=10000", "--sample=65536"))
    assert.equal('2 nfengine: --seed "1e300": expected an integer from 0 to 2147483647\n',
      failure(path, "--", "--seed=1e300"))
  end)

  it("ends where it is interrupted, in the first pass or while the forest grows", function()
    for _, hook in ipairs { "on_record", "cleanup" } do -- a run's account is made up before its plugins clean up
      local plugin = program.write(([[
        return require "nfengine".plugin { name = "stop", %s = function(_, flow)
          if not flow or flow.id == 5 then io.popen("kill -INT $PPID"):close() end
        end }]]):format(hook), ".lua")
      local result = program.run("-q", "anomalies", "--n-meters=1", "--plugin=" .. plugin, file(300), "--",
        "--trees=10000")
      assert.same({ 130, "", "nfengine: interrupted: no flow was scored\n" },
        { result.status, result.out, result.err })
    end
  end)

  it("passes over what is infinite where it says what stands out", function()
    local plugin = program.write([[
      return require "nfengine".plugin { name = "odd", columns = { { "odd", "double" } },
        on_expire = function(_, flow) flow.udps.odd = flow.src_port % 5 == 0 and math.huge or 7 end }]], ".lua")
    local out = anomalies { file(30), "--plugin=" .. plugin, "--", "--features=dst2src_bytes,udps.odd", "--top=30" }
    assert.equal(30, select(2, out:gsub("\n%S+ +dst2src_bytes +[+-]%d+%.%d ", "")))
  end)
end)
