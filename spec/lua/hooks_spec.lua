-- When plugins' hooks are called and what their errors do: lua/nfengine/dispatch.lua and lua/nfengine/run.lua.

local nf = require "nfengine"
local engine = require "spec.support.engine"
local meter = require "spec.support.meter"

-- A class whose hooks write what they are called with into `log`: "name hook port packets".
local function tracer(name, log, hooks)
  local definition = { name = name }
  local function write(hook, flow)
    log[#log + 1] = ("%s %s %d %d"):format(name, hook, flow.src_port, flow.bidirectional_packets)
  end
  for hook in (hooks or "on_init on_update on_expire"):gmatch "%S+" do
    if hook == "on_expire" then definition[hook] = function(_, flow) write("expire", flow) end
    else definition[hook] = function(_, _, flow) write(hook:sub(4), flow) end end
  end
  return nf.plugin(definition)
end

describe("hooks", function()
  local log
  before_each(function() log = {} end)
  after_each(engine.cleanup)

  it("see a flow begin, go on and end, with its packet counted already", function()
    engine.flows { packets = { meter.udp(0, 1000), meter.udp(1, 1001), meter.back(2, 1000), meter.udp(3, 1000) },
      udps = tracer("a", log) }
    assert.same({ "a init 1000 1", "a init 1001 1", "a update 1000 2", "a update 1000 3", "a expire 1001 1",
      "a expire 1000 3" }, log)
  end)

  it("are called packet by packet, plugin by plugin in the order given", function()
    local a, c = tracer("a", log, "on_update"), tracer("c", log, "on_init on_expire")
    engine.flows { packets = { meter.udp(0, 1000), meter.udp(1, 1000) },
      udps = { tracer("b", log), a, c, tracer("d", log) } }
    assert.same({ "b init 1000 1", "c init 1000 1", "d init 1000 1", "b update 1000 2", "a update 1000 2",
      "d update 1000 2", "b expire 1000 2", "c expire 1000 2", "d expire 1000 2" }, log)
  end)

  it("are told which columns they do not find filled in", function()
    local late = {}
    local function plug(name, hooks)
      local definition = { name = name, columns = { { name, "double[2]" } } }
      for hook in hooks:gmatch "%S+" do definition[hook] = function() end end
      function definition.setup(_, run)
        local names = {}
        for _, column in ipairs(run.columns) do
          if column.is_late then names[#names + 1] = column.name:match "^udps%.(.*)" end
        end
        late[name] = table.concat(names, " ")
      end
      return nf.plugin(definition)
    end
    local udps = { plug("a", "on_expire"), plug("b", "on_record"), plug("c", "on_init"), plug("d", "on_record"),
      plug("e", "on_init on_record"), plug("f", "") }
    engine.flows { packets = { meter.udp(0, 1000) }, udps = udps }
    assert.same({ a = "a b c d e f", b = "b d e", c = "b c d e f", d = "d e", e = "b d e f", f = "b d e f" }, late)
  end)

  for hook in ("on_init on_update on_expire"):gmatch "%S+" do
    it("may be " .. hook .. " alone", function()
      engine.flows { packets = { meter.udp(0, 1000), meter.udp(1, 1000) }, udps = tracer("a", log, hook) }
      local expected = { on_init = "a init 1000 1", on_update = "a update 1000 2", on_expire = "a expire 1000 2" }
      assert.same({ expected[hook] }, log)
    end)
  end

  it("may be none", function()
    local flows = engine.flows { packets = { meter.udp(0, 1000) }, udps = nf.plugin { name = "nothing" } }
    assert.equal(1, #flows)
  end)

  it("never show a flow the packet that comes too late for it", function()
    engine.flows { packets = { meter.udp(0, 1000), meter.udp(10, 1000), meter.back(1500, 1000) }, idle_timeout = 1,
      udps = tracer("a", log) }
    -- The new flow goes by the port of the packet that began it.
    assert.same({ "a init 1000 1", "a update 1000 2", "a expire 1000 2", "a init 2000 1", "a expire 2000 1" }, log)
  end)

  it("see statistics, first packets and the application up to this packet", function()
    local seen = {}
    local function look(_, _, flow)
      seen[#seen + 1] = { flow.splt_ps:table(), flow.bidirectional_max_ps, flow.application_name }
    end
    local Probe = nf.plugin { name = "probe", on_init = look, on_update = look }
    engine.flows { udps = Probe, statistical_analysis = true, splt_analysis = 2, n_dissections = 20,
      bpf_filter = "port 53328" }
    assert.same({ { { 98, -1 }, 98, "DNS" }, { { 98, 102 }, 102, "DNS" } }, seen)
  end)

  it("see the id only once the record is given out", function()
    local ids = {}
    local Probe = nf.plugin { name = "probe", on_expire = function(_, flow) ids[#ids + 1] = flow.id end }
    local flows = engine.flows { packets = { meter.udp(0, 1000), meter.udp(1, 1001) }, udps = Probe }
    assert.same({ 0, 0 }, ids)
    assert.same({ 0, 1 }, engine.column("id", flows))
  end)

  it("are not called for packets that reach no flow", function()
    local junk = { bytes = "not a frame", time_ns = meter.EPOCH }
    engine.flows { packets = { meter.udp(0, 1000), junk, meter.udp(1, 1000) }, udps = tracer("a", log) }
    assert.same({ "a init 1000 1", "a update 1000 2", "a expire 1000 2" }, log)
  end)

  it("are called again in the next run, with the same instance", function()
    local seen = {}
    local Watcher = nf.plugin { name = "watcher", on_init = function(self) seen[#seen + 1] = self end }
    local instance = Watcher {}
    for _ = 1, 2 do engine.flows { packets = { meter.udp(0, 1000), meter.udp(1, 1001) }, udps = instance } end
    assert.equal(4, #seen)
    for _, self in ipairs(seen) do assert.is_true(rawequal(instance, self)) end
  end)

  it("see an error where they read an option or field that was never set", function()
    local Misspelt = nf.plugin { name = "misspelt", options = { limit = { 3, "packets" } },
      on_init = function(self) return self.limt end }
    assert.has_error(function() engine.flows { packets = { meter.udp(0, 1000) }, udps = Misspelt {} } end)
  end)
end)

describe("setup and cleanup", function()
  after_each(engine.cleanup)

  local function life(log)
    return nf.plugin { name = "life", options = { tag = { "x", "a tag" } },
      setup = function(self) log[#log + 1] = "setup " .. self.tag self.lines = {} end,
      on_init = function(self) self.lines[#self.lines + 1] = "init" log[#log + 1] = "init " .. self.tag end,
      cleanup = function(self) log[#log + 1] = "cleanup " .. self.tag .. " " .. #self.lines end }
  end

  it("are called once a run, before the first packet and after the last flow", function()
    local log = {}
    local Life = nf.plugin { name = "life", setup = function() log[#log + 1] = "setup" end,
      cleanup = function() log[#log + 1] = "cleanup" end }
    local streamer = engine.streamer { packets = { meter.udp(0, 1000), meter.udp(1, 1001) }, udps = Life }
    for _ = 1, 2 do
      for flow in streamer:flows() do log[#log + 1] = "flow " .. flow.id end
    end
    assert.same({ "setup", "flow 0", "flow 1", "cleanup", "setup", "flow 0", "flow 1", "cleanup" }, log)
  end)

  it("belong to each instance", function()
    local log = {}
    local Life = life(log)
    engine.flows { packets = { meter.udp(0, 1000) }, udps = { Life { tag = "a" }, Life { tag = "b" } } }
    assert.same({ "setup a", "setup b", "init a", "init b", "cleanup a 1", "cleanup b 1" }, log)
  end)

  it("are told the run's unit of time, and nothing of what another plugin does with that", function()
    local told = {}
    local Told = nf.plugin { name = "told", setup = function(_, run)
      told[#told + 1] = run.time_unit .. " " .. run.ticks_per_second
      run.time_unit, run.ticks_per_second = nil, nil
    end }
    for _, unit in ipairs { "ms", "us", "ns" } do
      engine.flows { packets = { meter.udp(0, 1000) }, udps = { Told {}, Told {} }, time_unit = unit }
    end
    assert.same({ "ms 1000", "ms 1000", "us 1000000", "us 1000000", "ns 1000000000", "ns 1000000000" }, told)
  end)

  it("are told so in each of several meters", function()
    local script = [[
      local nf = require "nfengine"
      local Told = nf.plugin { name = "told", columns = { { "ticks", "double" }, { "unit", "string" } },
        setup = function(self, run) self.run = run end,
        on_init = function(self, _, flow)
          flow.udps.ticks, flow.udps.unit = self.run.ticks_per_second, self.run.time_unit
        end }
      nf.streamer { n_dissections = 0, udps = Told, columns = { "udps.ticks", "udps.unit" } }:write()
    ]]
    local result = engine.script(script, "-q", "--time-unit=us", "--n-meters=3", "samples/dns.pcap")
    assert.same({ status = 0, err = "", out = "udps.ticks,udps.unit\n" .. ('1000000.0,"us"\n'):rep(15) }, result)
  end)

  it("name the plugin when they fail", function()
    local Bad = nf.plugin { name = "bad", setup = function() error "no model" end }
    assert.matches("^plugin bad: setup: .*hooks_spec.lua:%d+: no model$", engine.refusal(engine.flows, { udps = Bad }))
    Bad = nf.plugin { name = "bad", cleanup = function() error "no room" end }
    assert.matches("^plugin bad: cleanup: .*hooks_spec.lua:%d+: no room$", engine.refusal(engine.flows, { udps = Bad }))
  end)

  it("are called after a hook's error too", function()
    local log = {}
    local Life = nf.plugin { name = "life", cleanup = function() log[#log + 1] = "cleanup" end }
    local Bad = nf.plugin { name = "bad", on_init = function() error "boom" end }
    engine.refusal(engine.flows, { udps = { Life, Bad } })
    assert.same({ "cleanup" }, log)
  end)
end)

describe("a method called with a dot", function()
  after_each(engine.cleanup)

  local function refusal(call)
    local P = nf.plugin { name = "p", on_init = function(_, packet, flow) call(packet, flow) end }
    return engine.refusal(engine.flows, { packets = { meter.udp(0, 1000) }, udps = P })
  end

  it("says that it takes a colon, and reads no memory", function()
    for name, call in pairs {
      ["flow.copy: expected flow:copy(), with a colon"] = function(_, flow) local _ = flow.copy() end,
      ["flow.keys: expected flow:keys(), with a colon"] = function(packet, flow) local _ = flow.keys(packet) end,
      ["packet.payload: expected packet:payload(), with a colon"] = function(packet) local _ = packet.payload() end,
      ["view.u8: expected view:u8(offset), with a colon"] = function(packet)
        local _ = packet.payload_bytes.u8(0)
      end,
      ["a view has no 'u64', expected u8, u16, u24, u32, string, sub or ip"] = function(packet)
        local _ = packet.payload_bytes:u64(0)
      end,
    } do
      assert.matches("hooks_spec.lua:%d+: ", refusal(call))
      assert.matches(name, refusal(call), 1, true)
    end
    local record = engine.flows({ packets = { meter.udp(0, 1000) } })[1]
    assert.matches("flow.copy: expected flow:copy(), with a colon", engine.refusal(function()
      local _ = record.copy()
    end), 1, true)
  end)
end)

describe("on_record", function()
  local log
  before_each(function() log = {} end)
  after_each(engine.cleanup)

  local packets = { meter.udp(0, 1000), meter.udp(1, 1001), meter.back(2, 1000), meter.udp(3, 1002) }

  it("comes behind on_expire, and before the filter, with the id that the flow will have", function()
    local function note(what)
      return function(flow) log[#log + 1] = ("%s %d %d"):format(what, flow.id, flow.src_port) end
    end
    local expire, record, filter = note "expire", note "record", note "filter"
    local function on_expire(_, flow) expire(flow) end
    local function on_record(_, flow) record(flow) end
    local A = nf.plugin { name = "a", on_expire = on_expire, on_record = on_record }
    local B = nf.plugin { name = "b", on_record = on_record }
    engine.flows { packets = packets, udps = { A, B }, n_meters = 1, filter = function(flow)
      filter(flow)
      return flow.src_port ~= 1001
    end }
    assert.same({ "expire 0 1001", "record 0 1001", "record 0 1001", "filter 0 1001",
      "expire 0 1000", "record 0 1000", "record 0 1000", "filter 0 1000",
      "expire 0 1002", "record 1 1002", "record 1 1002", "filter 1 1002" }, log)
  end)

  -- Numbers each record of its source port's parity: a result that depends on all records before it.
  local Numbers = nf.plugin {
    name = "numbers",
    columns = { { "number", "uint32", "among those of the same parity" }, { "packets_before", "uint32", "of all" } },
    setup = function(self) self.count, self.packets = { [0] = 0, [1] = 0 }, 0 end,
    on_record = function(self, flow)
      local parity = flow.src_port % 2
      self.count[parity] = self.count[parity] + 1
      flow.udps.number, flow.udps.packets_before = self.count[parity], self.packets
      self.packets = self.packets + flow.bidirectional_packets
    end,
  }

  it("gives the same for any number of meters, though it looks at all flows", function()
    local function records(n)
      local list = {}
      for i, flow in ipairs(engine.flows { source = "samples/web.pcap", n_meters = n, udps = Numbers {} }) do
        list[i] = ("%d %d %d %d"):format(flow.id, flow.src_port, flow.udps.number, flow.udps.packets_before)
      end
      return list
    end
    local one = records(1)
    assert.equal("0 68 1 0", one[1])
    assert.equal("31", (one[32]:match "^%d+"))
    for _, n in ipairs { 2, 3, 8 } do assert.same(one, records(n)) end
  end)

  it("has its setup and cleanup once, where records are given out", function()
    for _, n in ipairs { 1, 3 } do
      local P = nf.plugin { name = "p", setup = function(self) log[#log + 1], self.n = "setup", 0 end,
        on_record = function(self) self.n = self.n + 1 end,
        cleanup = function(self) log[#log + 1] = "cleanup " .. self.n end }
      engine.flows { packets = packets, udps = P, n_meters = n }
    end
    assert.same({ "setup", "cleanup 3", "setup", "cleanup 3" }, log)
  end)

  it("names itself, plugin and flow when it fails", function()
    local P = nf.plugin { name = "p", on_record = function() error "no" end }
    for _, n in ipairs { 1, 2 } do
      local message = engine.refusal(engine.flows, { packets = packets, udps = P, n_meters = n })
      assert.matches("^plugin p: on_record: flow 10.0.0.1:1001 .- protocol 17: .*no$", message)
    end
  end)

  it("and merge are not both", function()
    assert.matches("plugin p: merge and on_record: expected one of them",
      engine.refusal(nf.plugin, { name = "p", merge = function() end, on_record = function() end }), 1, true)
  end)
end)

describe("setting expiration_id to -1", function()
  after_each(engine.cleanup)

  -- Ends each flow at this many packets.
  local function slicer(limit)
    local function slice(_, _, flow)
      if flow.bidirectional_packets == limit then flow.expiration_id = -1 end
    end
    return nf.plugin { name = "slicer", on_init = slice, on_update = slice }
  end

  local function packets(count)
    local list = {}
    for i = 1, count do list[i] = meter.udp(i, 1000) end
    return list
  end

  it("in on_update ends the flow at once, this packet included", function()
    local flows = engine.flows { packets = packets(5), udps = slicer(2) }
    assert.same({ 2, 2, 1 }, engine.column("bidirectional_packets", flows))
    assert.same({ -1, -1, 0 }, engine.column("expiration_id", flows))
    assert.same({ "forced", "forced", "end of input" }, engine.column("end_reason", flows))
  end)

  it("in on_init ends it with one packet", function()
    local flows = engine.flows { packets = packets(3), udps = slicer(1) }
    assert.same({ 1, 1, 1 }, engine.column("bidirectional_packets", flows))
    assert.same({ -1, -1, -1 }, engine.column("expiration_id", flows))
  end)

  it("still shows the packet to the plugins behind, and the end to all", function()
    local log = {}
    engine.flows { packets = packets(2), udps = { tracer("a", log), slicer(2), tracer("b", log) } }
    assert.same({ "a init 1000 1", "b init 1000 1", "a update 1000 2", "b update 1000 2", "a expire 1000 2",
      "b expire 1000 2" }, log)
  end)

  it("can be taken back by a plugin behind", function()
    local Keeper = nf.plugin { name = "keeper", on_update = function(_, _, flow) flow.expiration_id = 0 end }
    local flows = engine.flows { packets = packets(3), udps = { slicer(2), Keeper } }
    assert.same({ 3 }, engine.column("bidirectional_packets", flows))
  end)

  it("ends nothing with another value, which is given out", function()
    local Marker = nf.plugin { name = "marker", on_init = function(_, _, flow) flow.expiration_id = 5 end }
    local flows = engine.flows { packets = packets(3), udps = Marker }
    assert.same({ 3, 5 }, { flows[1].bidirectional_packets, flows[1].expiration_id })
  end)

  it("does not survive a timeout", function()
    local Marker = nf.plugin { name = "marker", on_init = function(_, _, flow) flow.expiration_id = 5 end }
    local flows = engine.flows { packets = { meter.udp(0, 1000), meter.udp(900, 1000), meter.udp(1500, 1000) },
      active_timeout = 1, udps = Marker }
    assert.same({ 1, 5 }, engine.column("expiration_id", flows))
  end)
end)

describe("a hook's error", function()
  after_each(engine.cleanup)

  local packets = { meter.udp(0, 1000), meter.udp(1, 1001), meter.udp(1500, 1002), meter.udp(1600, 1002) }

  it("ends the run with one line: plugin, hook, flow, script line", function()
    local where = { on_init = "1000 ", on_update = "1002 ", on_expire = "1000 " }
    for hook, port in pairs(where) do
      local line
      local Bad = nf.plugin { name = "bad", [hook] = function()
        line = debug.getinfo(1, "l").currentline + 1
        error "boom"
      end }
      local message = engine.refusal(engine.flows,
        { packets = packets, udps = { tracer("fine", {}), Bad }, idle_timeout = 1 })
      assert.equal(("plugin bad: %s: flow 10.0.0.1:%s-> 10.0.0.2:2000 protocol 17: spec/lua/hooks_spec.lua:%d: boom")
        :format(hook, port, line), (message:gsub("%.?/[%w/]*spec/lua", "spec/lua")))
    end
  end)

  it("comes after the flows that were finished before it", function()
    local seen = {}
    local Bad = nf.plugin { name = "bad", on_update = function() error "boom" end }
    local streamer = engine.streamer { packets = packets, udps = Bad, idle_timeout = 1 }
    local message = engine.refusal(function()
      for flow in streamer:flows() do seen[#seen + 1] = flow.src_port end
    end)
    assert.matches("boom", message)
    assert.same({ 1000, 1001 }, seen)
  end)

  it("names the right plugin and the right flow, however many there are", function()
    for bad = 1, 4 do
      local udps = {}
      for i = 1, 4 do
        udps[i] = nf.plugin { name = "p" .. i, on_update = function(_, packet)
          if i == bad and packet.src_port == 1002 then error "boom" end
        end }
      end
      assert.matches("^plugin p" .. bad .. ": on_update: flow 10%.0%.0%.1:1002 ",
        engine.refusal(engine.flows, { packets = packets, udps = udps }))
    end
  end)

  it("may be no text", function()
    for _, raised in ipairs { setmetatable({}, { __tostring = function() return "an object" end }), 5, true } do
      local Bad = nf.plugin { name = "bad", on_init = function() error(raised) end }
      assert.matches("^plugin bad: on_init: flow .*: .*" .. tostring(raised),
        engine.refusal(engine.flows, { packets = packets, udps = Bad }))
    end
  end)

  it("names an IPv6 flow so that address and port can be told apart", function()
    local P = require "nfengine.testing.packet"
    local Bad = nf.plugin { name = "bad", on_init = function() error "boom" end }
    assert.matches("flow [2001:db8::1]:1000 -> [2001:db8::2]:2000 protocol 17: ", engine.refusal(engine.flows,
      { packets = { meter.frame(0, P.eth {} .. P.ipv6 {} .. P.udp {} .. "x") }, udps = Bad }), 1, true)
  end)
end)

describe("eight plugins at once", function()
  after_each(engine.cleanup)

  it("each do their own work", function()
    local function every(name, columns, on_packet, more)
      local definition = { name = name, columns = columns, on_init = on_packet, on_update = on_packet }
      for key, value in pairs(more or {}) do definition[key] = value end
      return nf.plugin(definition)
    end
    local function udps_with(body) return function(self, packet, flow) body(flow.udps, packet, self) end end
    local udps = {
      every("large", { { "large", "uint32" } }, udps_with(function(udps, packet)
        if packet.payload_size > 100 then udps.large = udps.large + 1 end
      end)),
      every("turns", { { "turns", "uint16" } }, udps_with(function(udps, packet)
        if packet.direction ~= udps.way then udps.turns, udps.way = udps.turns + 1, packet.direction end
      end), { state = { { "way", "uint8" } } }),
      every("bins", { { "bins", "uint8[3]" } }, udps_with(function(udps, packet)
        local bin = packet.payload_size < 10 and 1 or packet.payload_size < 100 and 2 or 3
        udps.bins[bin] = udps.bins[bin] + 1
      end)),
      every("names", { { "last", "string:8" } }, udps_with(function(udps, packet) udps.last = packet:payload() end)),
      every("sums", { { "up", "double" }, { "down", "double" } }, udps_with(function(udps, packet)
        local way = packet.direction == 0 and "up" or "down"
        udps[way] = udps[way] + packet.payload_size
      end)),
      every("gaps", { { "gap", "uint64" } }, udps_with(function(udps, packet)
        if packet.delta_time > udps.gap then udps.gap = packet.delta_time end
      end)),
      every("weighted", { { "weighted", "float" } }, udps_with(function(udps, packet, self)
        udps.weighted = udps.weighted + self.weight * (packet.payload_size - udps.weighted)
      end), { options = { weight = { 0.5, "of the newest" } } }),
      nf.plugin { name = "verdict", columns = { { "bulky", "bool" } },
        on_expire = function(_, flow) flow.udps.bulky = flow.udps.large > 0 end },
    }
    local packets, sizes = {}, { 4, 200, 50, 8, 300, 60 }
    for i, size in ipairs(sizes) do
      packets[#packets + 1] = (i % 2 == 1 and meter.udp or meter.back)(10 * i * i, 1000, ("p"):rep(size))
      packets[#packets + 1] = meter.udp(10 * i * i + 1, 1001, "q" .. i)
    end
    local flows = engine.flows { packets = packets, udps = udps }
    local rows = {}
    for i, flow in ipairs(flows) do
      local u = flow.udps
      rows[i] = { flow.src_port, u.large, u.turns, tostring(u.bins), u.last, u.up, u.down, u.gap, u.weighted, u.bulky }
    end
    assert.same({
      { 1000, 2, 5, "[2, 2, 2]", "pppppppp", 354, 268, 110, 115.4375, true },
      { 1001, 0, 0, "[6, 0, 0]", "q6", 12, 0, 110, 1.96875, false },
    }, rows)
  end)

  it("do it over many packets, compiled, as one alone does", function()
    local packets = {}
    for i = 1, 3000 do
      packets[i] = (i % 3 == 0 and meter.back or meter.udp)(i, 1000 + i % 7, ("x"):rep(i % 50))
    end
    local function counter(name, modulus)
      local function count(_, packet, flow)
        if packet.number % modulus == 0 then flow.udps[name] = flow.udps[name] + packet.payload_size end
      end
      return nf.plugin { name = name, columns = { { name, "uint32" } }, on_init = count, on_update = count }
    end
    local path = engine.capture(packets)
    local all, alone = {}, {}
    for i = 1, 8 do all[i] = counter("c" .. i, i) end
    local together = engine.flows { source = path, udps = all }
    for i = 1, 8 do
      alone[i] = engine.column("udps.c" .. i, engine.flows { source = path, udps = counter("c" .. i, i) })
    end
    assert.equal(7, #together)
    for i = 1, 8 do assert.same(alone[i], engine.column("udps.c" .. i, together)) end
    local sum = 0
    for _, flow in ipairs(together) do sum = sum + flow.udps.c1 end
    local expected = 0
    for i = 1, 3000 do expected = expected + i % 50 end
    assert.equal(expected, sum)
  end)
end)

describe("a hundred plugins", function()
  after_each(engine.cleanup)

  it("all get their hooks, in order", function()
    local plugins, order = {}, {}
    for i = 1, 100 do
      local function note(what) return function() order[#order + 1] = what .. i end end
      plugins[i] = nf.plugin { name = "p" .. i, on_init = note "init ", on_update = note "update ",
        on_expire = note "expire " }
    end
    engine.flows { packets = { meter.udp(0, 1000), meter.udp(1, 1000) }, udps = plugins }
    local expected = {}
    for _, what in ipairs { "init ", "update ", "expire " } do
      for i = 1, 100 do expected[#expected + 1] = what .. i end
    end
    assert.same(expected, order)
  end)
end)

describe("a copy of a live flow", function()
  it("leaves nDPI's state with the flow", function()
    local copies = 0
    local Keeper = nf.plugin { name = "keeper", on_init = function(_, _, flow)
      local copy = flow:copy()
      assert.is_true(copy.l7.dissection == nil)
      copies = copies + 1
    end }
    for _ in nf.streamer({ source = "samples/dns.pcap", udps = Keeper }):flows() do copies = copies + 0 end
    assert.is_true(copies > 5)
  end)
end)

describe("what a plugin keeps of its own", function()
  after_each(engine.cleanup)

  it("is set first in setup, not by a hook on the way", function()
    local Late = nf.plugin { name = "late", on_init = function(self) self.seen = 1 end }
    assert.matches("plugin late: on_init: flow .*self.seen: a field of its own is set first in setup%(self%)",
      engine.refusal(engine.flows, { udps = Late }))
  end)

  it("may change in hooks and be added to in setup and cleanup", function()
    local Counter = nf.plugin {
      name = "counter", setup = function(self) self.seen = 0 end,
      on_init = function(self) self.seen = self.seen + 1 end,
      cleanup = function(self) self.done = self.seen end,
    }
    local counter = Counter {}
    for _ = 1, 2 do engine.flows { udps = counter } end
    assert.same({ 15, 15 }, { counter.seen, counter.done })
  end)

  it("is one instance's, which stands in a run once", function()
    local Any = nf.plugin { name = "any" }
    local one = Any {}
    assert.equal(2, #require("nfengine.plugin").instances { one, Any {} })
    local ok, message = pcall(require("nfengine.plugin").instances, { one, Any {}, one })
    assert.same({ false, "udps[3]: plugin any is udps[1] already, expected another instance" }, { ok, message })
  end)
end)
