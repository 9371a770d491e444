-- plugins/rates.lua: what it divides, and by what.

local engine = require "spec.support.engine"
local meter = require "spec.support.meter"
local P = require "nfengine.testing.packet"
local Rates = require "plugins.rates"
local worker = require "nfengine.worker"

local NAMES = {
  "bidirectional_bytes_per_s", "src2dst_bytes_per_s", "dst2src_bytes_per_s", "bidirectional_packets_per_s",
  "src2dst_packets_per_s", "dst2src_packets_per_s", "down_up_bytes", "down_up_packets", "payload_share",
}

-- The columns of the only flow of these packets, in the order of NAMES.
local function rates(packets, parameters)
  local given = { packets = packets, udps = Rates }
  for name, value in pairs(parameters or {}) do given[name] = value end
  local flows = engine.flows(given)
  assert.equal(1, #flows)
  local values = {}
  for i, name in ipairs(NAMES) do values[i] = flows[1].udps["rates_" .. name] end
  return values
end

-- Headers are 42 bytes: frames of 142 and 92 bytes there, one of 342 back, within 2 s.
local function three()
  return {
    meter.udp(0, 1000, ("x"):rep(100)), meter.udp(500, 1000, ("x"):rep(50)), meter.back(2000, 1000, ("x"):rep(300)),
  }
end

describe("rates", function()
  after_each(engine.cleanup)

  it("are by the flow's duration, for each direction too", function()
    assert.same({ 288, 117, 171, 1.5, 1, 0.5, 342 / 234, 0.5, 450 / 576 }, rates(three()))
  end)

  it("are the same in any unit of time", function()
    local expected = rates(three())
    for _, unit in ipairs { "us", "ns" } do assert.same(expected, rates(three(), { time_unit = unit })) end
  end)

  it("count bytes as accounting_mode does", function()
    -- IP packets of 128, 78 and 328 bytes; datagrams of 108, 58 and 308; payloads of 100, 50 and 300.
    assert.same({ 267, 103, 164, 1.5, 1, 0.5, 328 / 206, 0.5, 450 / 534 }, rates(three(), { accounting_mode = 1 }))
    assert.same({ 237, 83, 154, 1.5, 1, 0.5, 308 / 166, 0.5, 450 / 474 }, rates(three(), { accounting_mode = 2 }))
    assert.same({ 225, 75, 150, 1.5, 1, 0.5, 2, 0.5, 1 }, rates(three(), { accounting_mode = 3 }))
  end)

  it("of a flow of one packet are 0", function()
    assert.same({ 0, 0, 0, 0, 0, 0, 0, 0, 58 / 100 }, rates { meter.udp(0, 1000, ("x"):rep(58)) })
  end)

  it("of a flow within one tick are 0, its ratios are not", function()
    local function packets() return { meter.udp(0, 1000, ("x"):rep(58)), meter.back(0.25, 1000, ("x"):rep(158)) } end
    assert.same({ 0, 0, 0, 0, 0, 0, 2, 1, 216 / 300 }, rates(packets()))
    assert.same({ 1200000, 400000, 800000, 8000, 4000, 4000, 2, 1, 216 / 300 }, rates(packets(), { time_unit = "us" }))
  end)

  it("have 0 where there is nothing to divide by", function()
    local function packets() return { meter.udp(0, 1000, ""), meter.back(1000, 1000, "0123456789") } end
    assert.same({ 10, 0, 10, 2, 1, 1, 0, 1, 1 }, rates(packets(), { accounting_mode = 3 }))
    assert.same({ 0, 0, 0, 0, 0, 0, 0, 0, 0 }, rates({ meter.udp(0, 1000, "") }, { accounting_mode = 3 }))
  end)

  it("take sizes from headers, not from what was captured", function()
    local function cut()
      local packets = three()
      for _, packet in ipairs(packets) do packet.size, packet.bytes = #packet.bytes, packet.bytes:sub(1, 42) end
      return packets
    end
    assert.same(rates(three()), rates(cut()))
  end)

  it("have no payload in padding", function()
    local frame = P.eth {} .. P.ipv4 { total_length = 40 } .. P.tcp {} .. ("\0"):rep(6)
    assert.same({ 0, 0, 0, 0, 0, 0, 0, 0, 0 }, rates { meter.frame(0, frame) })
  end)

  it("leave the number of meters open", function()
    assert.is_false(worker.wants_one { Rates {} })
  end)

  it("have no options", function()
    assert.matches('plugin rates: unknown option "per"', engine.refusal(Rates, { per = "minute" }), 1, true)
  end)
end)
