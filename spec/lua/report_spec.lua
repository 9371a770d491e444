-- What is told of a run, and its account: lua/nfengine/report.lua.

local engine = require "spec.support.engine"
local meter = require "spec.support.meter"
local P = require "nfengine.testing.packet"
local program = require "spec.support.program"

-- The account of the last run of a script, as the script prints it: "name=value" in the order of the names.
local ACCOUNTS = [[
  local function flat(value)
    if type(value) ~= "table" then return tostring(value) end
    local parts = {}
    for key, item in pairs(value) do parts[#parts + 1] = key .. "=" .. flat(item) end
    table.sort(parts)
    return "{" .. table.concat(parts, " ") .. "}"
  end
  for _, account in ipairs(require("nfengine.report").runs) do
    account.seconds = type(account.seconds) == "number" and account.seconds >= 0
    print(flat(account))
  end
]]

describe("the account of a run", function()
  after_each(engine.cleanup)

  it("counts packets, flows and why packets reached none", function()
    local packets = { meter.udp(0, 1000), meter.udp(1, 1001), meter.udp(1500, 1000),
      { bytes = ("\0"):rep(60), time_ns = meter.EPOCH }, meter.frame(2, P.eth {} .. P.ipv4 { offset = 800 } .. "xxxx") }
    local path = engine.capture(packets)
    local source = ('local nf = require "nfengine"\nnf.streamer({ source = %q, idle_timeout = 1, n_dissections = 0 })'
      .. ':to({ write = function() end })\n'):format(path)
    local result = engine.script(source .. ACCOUNTS, "-q")
    assert.equal("{bytes=227 dropped={interface=0 kernel=0} ended={end of input=1 idle=2} "
      .. "first_packet=2020-09-13T12:26:40.000000000Z flows=3 "
      .. "ignored={later fragment=1 not IP=1} ignored_packets=2 inputs={1={packets=5 path=" .. path .. "}} "
      .. "is_damaged=false is_interrupted=false is_live=false last_packet=2020-09-13T12:26:41.500000000Z live=0 "
      .. "meters=1 packets=5 seconds=true warnings={}}\n",
      result.out, result.err)
  end)

  it("is kept for each run, in order", function()
    local result = engine.script([[
      local nf = require "nfengine"
      for limit = 1, 3 do
        for _ in nf.streamer({ max_nflows = limit, n_dissections = 0 }):flows() do end
      end
      for _, account in ipairs(require("nfengine.report").runs) do print(account.flows, account.packets) end
    ]], "samples/dns.pcap")
    assert.equal("1\t62\n2\t62\n3\t62\n", result.out)
  end)

  it("holds warnings", function()
    local path = program.write(program.read "samples/dns.pcap":sub(1, 3000), ".pcap")
    local result = engine.script([[
      require("nfengine").streamer({ n_dissections = 0 }):to({ write = function() end })
      local account = require("nfengine.report").runs[1]
      print(#account.warnings, account.is_damaged, account.warnings[1])
    ]], path)
    assert.matches("^1\ttrue\t.*damaged", result.out)
    assert.equal(1, result.status)
  end)
end)

describe("the summary", function()
  after_each(engine.cleanup)

  local function summary_of(packets, ...)
    return (program.run("--format=null", engine.capture(packets), ...).err)
  end

  it("has one of a thing in the singular, and thousands apart", function()
    assert.matches("^nfengine: 1 packet, 1 flow, ", summary_of { meter.udp(0, 1000) })
    assert.matches("^nfengine: 0 packets, 0 flows, ", summary_of {})
    local many = {}
    for i = 1, 1234 do many[i] = meter.udp(i, 1000) end
    assert.matches("^nfengine: 1,234 packets, 1 flow, ", summary_of(many))
  end)

  it("names what was ignored and what max_flows cut short", function()
    local junk = { bytes = ("\0"):rep(60), time_ns = meter.EPOCH }
    local told = summary_of({ meter.udp(0, 1000), meter.udp(1, 1001), junk }, "--max-flows=1")
    assert.matches("^nfengine: 3 packets, 2 flows, 1 ignored %(1 not IP%), 1 flow ended early by max_flows, ", told)
  end)
end)
