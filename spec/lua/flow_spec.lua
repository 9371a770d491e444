-- What Lua sees of a flow: lua/nfengine/flow.lua.

local ffi = require "ffi"
local nf = require "nfengine"
local P = require "nfengine.testing.packet"
local engine = require "spec.support.engine"
local meter = require "spec.support.meter"

local EPOCH_MS = 1600000000000

-- There, back after 5 ms, there after 20 ms more.
local function conversation()
  return { meter.udp(0, 1000, "abc"), meter.back(5, 1000, "defgh"), meter.udp(25, 1000, "i") }
end

local function first(parameters)
  parameters.packets = parameters.packets or not parameters.source and conversation() or nil
  return engine.flows(parameters)[1]
end

-- Runs a hook once and gives what it raised.
local function refusal_in(hook, body, columns)
  local Probe = nf.plugin { name = "probe", columns = columns, [hook] = body }
  return engine.refusal(engine.flows, { packets = conversation(), udps = Probe })
end

describe("a flow", function()
  after_each(engine.cleanup)

  it("has every column as a plain number or string", function()
    local flow = first {}
    assert.same({ 0, 0, "10.0.0.1", 1000, "10.0.0.2", 2000, 17, 4, 0, 0 }, { flow.id, flow.expiration_id, flow.src_ip,
      flow.src_port, flow.dst_ip, flow.dst_port, flow.protocol, flow.ip_version, flow.vlan_id, flow.tunnel_id })
    assert.same({ "02:00:00:00:00:01", "02:00:00", "02:00:00:00:00:02", "02:00:00" },
      { flow.src_mac, flow.src_oui, flow.dst_mac, flow.dst_oui })
    assert.same({ EPOCH_MS, EPOCH_MS + 25, 25, 3 }, { flow.bidirectional_first_seen_ms, flow.bidirectional_last_seen_ms,
      flow.bidirectional_duration_ms, flow.bidirectional_packets })
    assert.same({ 2, 1, 45 + 43, 47 },
      { flow.src2dst_packets, flow.dst2src_packets, flow.src2dst_bytes, flow.dst2src_bytes })
    assert.equal(136, flow.bidirectional_bytes + 1)
  end)

  it("keeps that promise for every column there is", function()
    local Kinds = nf.plugin { name = "kinds", columns = { { "flag", "bool" }, { "wide", "int64" }, { "note", "string" },
      { "part", "float" }, { "bins", "double[3]" } } }
    local flow = first { source = "samples/tls.pcap", n_dissections = 20, l7_columns = "all", splt_analysis = 4,
      statistical_analysis = true, udps = Kinds, columns = { "*", "end_reason" } }
    local keys, arrays = flow:keys(), {}
    assert.is_true(#keys > 100)
    for _, key in ipairs(keys) do
      local value = flow[key]
      if type(value) == "cdata" then
        arrays[#arrays + 1] = key
        assert.equal("number", type(value[1]))
        assert.equal("number", type(value[#value]))
        assert.matches("^%[%-?[%d.]+, .*%]$", tostring(value))
      else
        assert.truthy(({ number = true, string = true, boolean = true })[type(value)], key)
      end
    end
    assert.same({ "splt_direction", "splt_ps", "splt_piat_ms", "udps.bins" }, arrays)
  end)

  it("has statistics, and first packets as arrays", function()
    local flow = first { statistical_analysis = true, splt_analysis = 4 }
    assert.same({ 43, 45, 47, 2 }, { flow.bidirectional_min_ps, flow.bidirectional_mean_ps, flow.bidirectional_max_ps,
      flow.bidirectional_stddev_ps })
    assert.same({ 5, 12.5, 20 }, { flow.bidirectional_min_piat_ms, flow.bidirectional_mean_piat_ms,
      flow.bidirectional_max_piat_ms })
    assert.same({ { 0, 1, 0, -1 }, { 45, 47, 43, -1 }, { 0, 5, 20, -1 } },
      { flow.splt_direction:table(), flow.splt_ps:table(), flow.splt_piat_ms:table() })
    assert.equal("[45, 47, 43, -1]", tostring(flow.splt_ps))
    assert.equal(4, #flow.splt_ps)
  end)

  it("gives deviations of what has come so far while it lives", function()
    local seen = {}
    local Probe = nf.plugin { name = "probe", on_update = function(_, _, flow)
      seen[#seen + 1] = flow.bidirectional_stddev_ps
      seen[#seen + 1] = flow.bidirectional_stddev_piat_ms
    end }
    local flow = first { statistical_analysis = true, udps = Probe }
    assert.same({ math.sqrt(2), 0, 2, math.sqrt(112.5) }, seen)
    assert.same({ 2, math.sqrt(112.5) }, { flow.bidirectional_stddev_ps, flow.bidirectional_stddev_piat_ms })
  end)

  it("has IPv6 addresses and VLANs", function()
    local layers = P.eth {} .. P.vlan { id = 7 } .. P.ipv6 {} .. P.icmpv6 {} .. "x"
    local flow = first { packets = { meter.frame(0, layers) } }
    assert.same({ "2001:db8::1", "2001:db8::2", 6, 7, 58, 0 },
      { flow.src_ip, flow.dst_ip, flow.ip_version, flow.vlan_id, flow.protocol, flow.src_port })
  end)

  it("knows the names and values of its columns", function()
    local flow = first { columns = { "dst_port", "src_ip", "splt_ps" }, splt_analysis = 2 }
    assert.same({ "dst_port", "src_ip", "splt_ps" }, flow:keys())
    local values = flow:values()
    assert.same({ 2000, "10.0.0.1", "[45, 47]" }, { values[1], values[2], tostring(values[3]) })
    assert.same({ dst_port = 2000, src_ip = "10.0.0.1", splt_ps = { 45, 47 } }, flow:to_table())
  end)

  it("has columns that the record leaves out", function()
    local flow = first { columns = { "id" } }
    assert.same({ "10.0.0.1", "end of input" }, { flow.src_ip, flow.end_reason })
  end)

  it("has plugins' columns in udps, and by their full name", function()
    local Probe = nf.plugin { name = "probe", columns = { { "mark", "uint16" } }, state = { { "scratch", "uint8" } },
      on_init = function(_, _, flow) flow.udps.mark, flow.udps.scratch = 700, 5 end }
    local flow = first { udps = Probe }
    assert.same({ 700, 700, 5 }, { flow.udps.mark, flow["udps.mark"], flow.udps.scratch })
  end)

  it("prints one column a line, as NFStream does", function()
    local flow = first { statistical_analysis = true, splt_analysis = 2,
      columns = { "id", "src_ip", "bidirectional_mean_ps", "bidirectional_first_seen_ms", "splt_ps" } }
    assert.equal(table.concat({ "NFlow(id=0,", "src_ip=10.0.0.1,", "bidirectional_mean_ps=45.0,",
      "bidirectional_first_seen_ms=1600000000000,", "splt_ps=[45, 47])" }, "\n      "), tostring(flow))
  end)

  it("prints numbers to the last digit", function()
    local names = { us = "1600000000025000", ns = "1600000000025000000" }
    for unit, digits in pairs(names) do
      local column = "bidirectional_last_seen_" .. unit
      assert.equal("NFlow(" .. column .. "=" .. digits .. ")", tostring(first { columns = column, time_unit = unit }))
    end
    local Probe = nf.plugin { name = "probe", columns = { { "big", "uint64" } },
      on_expire = function(_, flow) flow.udps.big = 0xfffffffffffffff5ULL end }
    assert.equal("NFlow(udps.big=18446744073709551605)", tostring(first { udps = Probe, columns = "udps.big" }))
  end)

  it("gives 64-bit integers where Lua's numbers are not exact", function()
    local packets = { meter.udp(0, 1000) }
    packets[1].time_ns = meter.EPOCH + 123456789ULL
    local flow = first { packets = packets, time_unit = "ns" }
    assert.equal("number", type(flow.bidirectional_first_seen_ns))
    assert.is_true(flow:exact "bidirectional_first_seen_ns" == 1600000000123456789LL)
    assert.is_true(ffi.istype("int64_t", flow:exact "src_port"))
    assert.is_true(flow:exact "src_port" == 1000LL)
  end)

  it("gives those of numbers only", function()
    local flow = first { splt_analysis = 2 }
    for _, name in ipairs { "src_ip", "splt_ps", "colour", "end_reason" } do
      assert.matches("flow_spec.lua:%d+: flow:exact: '" .. name .. "' is no integer column of this run",
        engine.refusal(function() local _ = flow:exact(name) end))
    end
  end)
end)

describe("a flow that is kept", function()
  after_each(engine.cleanup)

  -- Enough garbage that freed memory is used again.
  local function churn()
    collectgarbage()
    collectgarbage()
    local junk = {}
    for i = 1, 2000 do junk[i] = ffi.new("uint8_t[900]", 0xEE) end
    return junk
  end

  it("is valid as long as it is kept", function()
    local flows = engine.flows { splt_analysis = 3, packets = {
      meter.udp(0, 1000), meter.udp(1, 1001), meter.udp(2, 1002), meter.back(3, 1001, "ab") } }
    churn()
    assert.same({ 0, 1, 2 }, engine.column("id", flows))
    assert.same({ 1000, 1002, 1001 }, engine.column("src_port", flows)) -- least recently seen first
    assert.equal("[43, 44, -1]", tostring(flows[3].splt_ps))
  end)

  it("leaves values that outlast it", function()
    local values = first({ splt_analysis = 3, columns = { "splt_ps", "src_ip" } }):values()
    local copy = first({ splt_analysis = 3 }).splt_ps:copy()
    churn()
    assert.same({ "[45, 47, 43]", "10.0.0.1", "[45, 47, 43]" }, { tostring(values[1]), values[2], tostring(copy) })
  end)

  it("is kept by its arrays and its udps alone", function()
    local packets, kept = {}, {}
    for i = 1, 100 do packets[i] = meter.udp(i, 1000 + i, ("x"):rep(i)) end
    local Probe = nf.plugin { name = "probe",
      columns = { { "port", "uint32" }, { "text", "string" }, { "pair", "uint16[2]" } },
      on_init = function(_, packet, flow)
        local udps = flow.udps
        udps.port, udps.text, udps.pair[2] = packet.src_port, "port " .. packet.src_port, packet.src_port
      end }
    for flow in engine.streamer({ packets = packets, udps = Probe, splt_analysis = 2 }):flows() do
      kept[#kept + 1] = { ps = flow.splt_ps, udps = flow.udps, pair = flow.udps.pair }
    end
    churn()
    for i, parts in ipairs(kept) do
      assert.equal(("[%d, -1]"):format(42 + i), tostring(parts.ps))
      assert.same({ 1000 + i, "port " .. 1000 + i, 1000 + i }, { parts.udps.port, parts.udps.text, parts.udps.pair[2] })
      assert.same({ 0, 1000 + i }, parts.pair:table())
    end
  end)

  it("can be kept from a hook with copy", function()
    local kept
    local Keeper = nf.plugin { name = "keeper", columns = { { "seen", "uint32" } },
      on_init = function(_, _, flow)
        flow.udps.seen = 7
        kept = flow:copy()
      end,
      on_update = function(_, _, flow) flow.udps.seen = 8 end }
    local ended = first { udps = Keeper }
    churn()
    assert.same({ 1, 7 }, { kept.bidirectional_packets, kept.udps.seen })
    assert.same({ 3, 8 }, { ended.bidirectional_packets, ended.udps.seen })
  end)
end)

describe("setting a flow's columns", function()
  after_each(engine.cleanup)

  it("changes what is given out", function()
    local Changer = nf.plugin { name = "changer", on_expire = function(_, flow)
      flow.bidirectional_packets = 1000
      flow.application_name = "Mine"
      flow.src_port = flow.src_port + 1
      flow.bidirectional_mean_ps = 0.5
      flow.expiration_id = 5
    end }
    local flow = first { udps = Changer, n_dissections = 20, statistical_analysis = true }
    assert.same({ 1000, "Mine", 1001, 0.5, 5 }, { flow.bidirectional_packets, flow.application_name, flow.src_port,
      flow.bidirectional_mean_ps, flow.expiration_id })
  end)

  it("leaves alone what a live flow is found by and ends by", function()
    for _, name in ipairs {
      "src_port", "dst_port", "protocol", "vlan_id", "tunnel_id", "bidirectional_last_seen_ms",
    } do
      for _, hook in ipairs { "on_init", "on_update" } do
        assert.matches("flow_spec.lua:%d+: flow." .. name .. " can only be set in on_expire",
          refusal_in(hook, function(_, _, flow) flow[name] = 5 end))
      end
      local Changer = nf.plugin { name = "changer", on_expire = function(_, flow) flow[name] = 5 end }
      assert.equal(5, first({ udps = Changer })[name])
    end
  end)

  it("takes 64-bit integers", function()
    local Changer = nf.plugin { name = "changer", columns = { { "at", "int64" } }, on_expire = function(_, flow)
      flow.udps.at = flow:exact "bidirectional_last_seen_ns"
      flow.bidirectional_bytes = 9007199254740993LL
    end }
    local flow = first { udps = Changer, time_unit = "ns" }
    assert.is_true(flow:exact "udps.at" == 1600000000025000000LL)
    assert.is_true(flow:exact "bidirectional_bytes" == 9007199254740993LL)
  end)

  it("cuts texts to their length, between characters", function()
    local Changer = nf.plugin { name = "changer", on_expire = function(_, flow)
      flow.application_name = ("a"):rep(38) .. "äö"
    end }
    assert.equal(("a"):rep(38), first({ udps = Changer, n_dissections = 20 }).application_name)
  end)

  it("refuses what a column cannot hold, and names the script's line", function()
    local function line() return "flow_spec.lua:" .. debug.getinfo(2, "l").currentline end
    local at
    local message = refusal_in("on_expire", function(_, flow) at = line() flow.bidirectional_bytes = "many" end)
    assert.matches(at .. ": flow.bidirectional_bytes: expected a number, got string", message, 1, true)
    message = refusal_in("on_expire", function(_, flow) at = line() flow.bidirectional_bytes = nil end)
    assert.matches(at .. ": flow.bidirectional_bytes: expected a number, got nil", message, 1, true)
    message = refusal_in("on_expire", function(_, flow) at = line() flow.src_ip = "10.0.0.9" end)
    assert.matches(at .. ": flow.src_ip cannot be set", message, 1, true)
    message = refusal_in("on_expire", function(_, flow) at = line() flow.udps.note = 5 end, { { "note", "string" } })
    assert.matches(at .. ": expected a string, got number", message, 1, true)
    local identified = first { n_dissections = 20 }
    message = engine.refusal(function() at = line() identified.user_agent = 5 end)
    assert.matches(at .. ": flow.user_agent: expected a string, got number", message, 1, true)
    message = refusal_in("on_expire", function(_, flow) at = line() flow.udps.at = "x" end, { { "at", "uint64" } })
    assert.matches(at .. ": flow.udps.at: expected a number, got string", message, 1, true)
  end)
end)

describe("a name that a flow does not have", function()
  after_each(engine.cleanup)

  it("is an error that names the nearest, at the script's line", function()
    local flow = first {}
    assert.matches("flow_spec.lua:%d+: flow has no 'srcip' %(did you mean 'src_ip'%?%)",
      engine.refusal(function() return flow.srcip end))
    assert.matches("flow_spec.lua:%d+: flow has no 'colour'; a plugin's own values belong in flow.udps",
      engine.refusal(function() flow.colour = 5 end))
  end)

  it("is an error that says what to switch on", function()
    local flow = first { decode_tunnels = false }
    local remedies = {
      bidirectional_mean_ps = "needs statistical_analysis = true", splt_ps = "needs splt_analysis > 0",
      application_name = "needs n_dissections > 0", tls_version = "name it in l7_columns",
      tunnel_id = "decode_tunnels is false",
    }
    for name, remedy in pairs(remedies) do
      assert.matches("flow." .. name .. ": not in this run: " .. remedy,
        engine.refusal(function() return flow[name] end), 1, true)
    end
  end)

  it("is an error in udps too, with what to declare", function()
    local message = refusal_in("on_init", function(_, _, flow) flow.udps.hit = 1 end, { { "hits", "uint32" } })
    assert.matches("^plugin probe: on_init: flow 10%.0%.0%.1:1000 %-> 10%.0%.0%.2:2000 protocol 17: "
      .. ".*flow_spec.lua:%d+: ", message)
    assert.matches("flow.udps.hit is not declared (did you mean 'hits'?): "
      .. "add { \"hit\", TYPE, \"doc\" } to the plugin's columns", message, 1, true)
    local Plugin = nf.plugin { name = "p", columns = { { "hits", "uint32" } } }
    local record = engine.flows { packets = { meter.udp(0, 1000) }, udps = Plugin }[1]
    assert.matches("^spec/lua/flow_spec.lua:%d+: flow.udps.hit is not declared %(did you mean 'hits'%?%)",
      engine.refusal(function() return record.udps.hit + 1 end))
    assert.matches("flow.udps: no plugin of this run declares columns",
      refusal_in("on_init", function(_, _, flow) flow.udps.hit = 1 end), 1, true)
  end)
end)
