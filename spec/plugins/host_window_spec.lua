-- plugins/host_window.lua: counts by hand, and against a count anew of every window.

local nf = require "nfengine"
local engine = require "spec.support.engine"
local meter = require "spec.support.meter"
local P = require "nfengine.testing.packet"
local HostWindow = require "plugins.host_window"

-- A datagram, so a flow of its own, from 10.0.0.SRC to 10.0.0.DST.
local function datagram(at, src, dst, src_port, dst_port)
  local ip = P.ipv4 { src = "10.0.0." .. src, dst = "10.0.0." .. dst }
  return meter.frame(at, P.eth {} .. ip .. P.udp { src_port = src_port, dst_port = dst_port } .. "x")
end

local COLUMNS = { "ct_srv_src", "ct_srv_dst", "ct_dst_ltm", "ct_src_ltm", "ct_src_dport_ltm", "ct_dst_sport_ltm",
  "ct_dst_src_ltm" }

local function counts_of(flow)
  local counts = {}
  for i, column in ipairs(COLUMNS) do counts[i] = flow.udps[column] end
  return table.concat(counts, " ")
end

-- The seven counts of each record, as text.
local function counts(options, packets, parameters)
  local given = { udps = HostWindow(options), packets = packets }
  for name, value in pairs(parameters or {}) do given[name] = value end
  local list = {}
  for i, flow in ipairs(engine.flows(given)) do list[i] = counts_of(flow) end
  return list
end

describe("host_window", function()
  after_each(engine.cleanup)

  -- Columns as in COLUMNS: service and source, service and destination, destination, source, source and destination
  -- port, destination and source port, both addresses.
  local packets = {
    datagram(0, 1, 9, 1000, 53), -- the first
    datagram(1, 1, 9, 1001, 53), -- all but the source port again
    datagram(2, 1, 9, 1000, 80), -- another service, a source port that there was
    datagram(3, 2, 9, 1000, 80), -- another source
    datagram(4, 1, 8, 1000, 80), -- the first source, another destination
    datagram(5, 9, 1, 99, 1000), -- what was a destination is a source
  }

  it("counts the record itself and those before it", function()
    assert.same({
      "1 1 1 1 1 1 1",
      "2 2 2 2 2 1 2",
      "1 1 3 3 1 2 3",
      "1 2 4 1 1 3 1",
      "2 1 1 4 2 1 1",
      "1 1 1 1 1 1 1",
    }, counts({}, packets))
  end)

  it("counts only among so many connections", function()
    assert.same({ "1 1 1 1 1 1 1", "2 2 2 2 2 1 2", "1 1 2 2 1 1 2", "1 2 2 1 1 2 1", "1 1 1 1 1 1 1" },
      counts({ flows = 2 }, { packets[1], packets[2], packets[3], packets[4], packets[5] }))
    assert.same({ "1 1 1 1 1 1 1", "1 1 1 1 1 1 1", "1 1 1 1 1 1 1" },
      counts({ flows = 1 }, { packets[1], packets[2], packets[3] }))
  end)

  it("counts only among those younger than so many seconds", function()
    local alike = {}
    for i, at in ipairs { 0, 500, 1999, 2000, 2500, 9000 } do alike[i] = datagram(at, 1, 9, 1000 + i, 53) end
    local function sources(options, parameters)
      local list = counts(options, alike, parameters)
      for i, text in ipairs(list) do list[i] = tonumber(text:match "^%d+ %d+ %d+ (%d+)") end
      return list
    end
    assert.same({ 1, 2, 3, 3, 3, 1 }, sources { seconds = 2 })
    assert.same({ 1, 2, 1, 2, 3, 1 }, sources { seconds = 1.25 })
    assert.same({ 1, 2, 2, 2, 2, 1 }, sources { seconds = 2, flows = 2 })
    for _, unit in ipairs { "us", "ns" } do
      assert.same({ 1, 2, 3, 3, 3, 1 }, sources({ seconds = 2 }, { time_unit = unit }))
    end
  end)

  it("takes a record that comes out late for as young as the latest before it", function()
    local late = { datagram(0, 1, 9, 1001, 53), datagram(2500, 1, 9, 1002, 53), datagram(3000, 1, 9, 1003, 53) }
    -- 1002 ends at once; 1001 is swept at 3000 only.
    local Cutter = nf.plugin { name = "cutter", on_init = function(_, _, flow)
      if flow.src_port == 1002 then flow.expiration_id = -1 end
    end }
    local flows = engine.flows { udps = { Cutter, HostWindow { seconds = 2 } }, packets = late, idle_timeout = 3 }
    assert.same({ 1002, 1001, 1003 }, engine.column("src_port", flows))
    assert.same({ 1, 2, 3 }, engine.column("udps.ct_src_ltm", flows))
  end)

  -- Datagrams among few hosts and ports, with pauses; 0 to `hosts` of them far away, to be forgotten again.
  local function traffic(count, hosts)
    math.randomseed(7)
    local list, at = {}, 0
    for i = 1, count do
      at = at + math.random(0, 400)
      list[i] = datagram(at, math.random(hosts), math.random(hosts), math.random(1000, 1003), math.random(50, 53))
    end
    return list
  end

  -- Every window counted anew.
  local function naive(flows, size, ms)
    local function same(a, b, ...)
      for _, column in ipairs { ... } do
        if a[column] ~= b[column] then return 0 end
      end
      return 1
    end
    local list, clock, times = {}, 0, {}
    for i, flow in ipairs(flows) do
      clock = math.max(clock, flow.bidirectional_last_seen_ms)
      times[i] = clock
      local n = { 0, 0, 0, 0, 0, 0, 0 }
      for k = math.max(1, i - size + 1), i do
        if clock - times[k] < ms then
          local other = flows[k]
          n[1] = n[1] + same(flow, other, "src_ip", "dst_port", "protocol")
          n[2] = n[2] + same(flow, other, "dst_ip", "dst_port", "protocol")
          n[3] = n[3] + same(flow, other, "dst_ip")
          n[4] = n[4] + same(flow, other, "src_ip")
          n[5] = n[5] + same(flow, other, "src_ip", "dst_port")
          n[6] = n[6] + same(flow, other, "dst_ip", "src_port")
          n[7] = n[7] + same(flow, other, "src_ip", "dst_ip")
        end
      end
      list[i] = table.concat(n, " ")
    end
    return list
  end

  for _, case in ipairs {
    { hosts = 3, flows = 100 }, { hosts = 3, flows = 7, seconds = 1 }, { hosts = 250, flows = 3 },
    { hosts = 250, flows = 1 }, { hosts = 20, flows = 50, seconds = 2.5 },
  } do
    it(("counts as a count anew does: %d hosts, %d connections, %s s"):format(case.hosts, case.flows,
      case.seconds or "any"), function()
      local flows = engine.flows { packets = traffic(1000, case.hosts), idle_timeout = 2,
        udps = HostWindow { flows = case.flows, seconds = case.seconds } }
      local expected = naive(flows, case.flows, (case.seconds or math.huge) * 1000)
      assert.is_true(#expected > 500)
      for i, flow in ipairs(flows) do assert.equal(expected[i], counts_of(flow)) end
    end)
  end

  it("forgets what has left the window", function()
    local window = HostWindow { flows = 2 }
    engine.flows { packets = traffic(1000, 250), udps = window, n_meters = 1 }
    local function size(map)
      local n = 0
      for _ in pairs(map) do n = n + 1 end
      return n
    end
    assert.is_true(next(window.other_counts) == nil and next(window.other_numbers) == nil)
    assert.is_true(size(window.counts) <= 9 * 7)
    assert.is_true(size(window.numbers) <= 9 * 2 and window.highest <= 9 * 2)
    assert.equal(2 * 7, size(window.keys))
  end)

  it("takes port and protocol for a service, so that ICMP is one and TCP another than UDP", function()
    local function tcp(at)
      return meter.frame(at, P.eth {} .. P.ipv4 { src = "10.0.0.1", dst = "10.0.0.9" }
        .. P.tcp { src_port = 1000, dst_port = 53, flags = "S" })
    end
    local ping = meter.frame(2, P.eth {} .. P.ipv4 { src = "10.0.0.1", dst = "10.0.0.9" } .. P.icmp {})
    assert.same({ "1 1 1 1 1 1 1", "1 1 2 2 2 2 2", "1 1 3 3 1 1 3" }, counts({}, { packets[1], tcp(1), ping }))
  end)

  it("takes the application for a service where it is told to", function()
    local function services(service)
      local given = { source = "samples/ssh.pcap", n_dissections = 20, udps = HostWindow { service = service } }
      local flows = engine.flows(given)
      assert.same({ "SSH", "SSH" }, { flows[1].application_name, flows[#flows].application_name })
      return engine.column("dst_port", flows), engine.column("udps.ct_srv_src", flows)
    end
    local ports, by_port = services "port"
    local _, by_application = services "application"
    assert.same({ 22, 22, 22, 22, 22, 22, 2222, 22 }, ports) -- the last one over IPv6
    assert.same({ 1, 2, 3, 4, 5, 6, 1, 1 }, by_port)
    assert.same({ 1, 2, 3, 4, 5, 6, 7, 1 }, by_application)
    assert.matches("flow.application_name: not in this run: needs n_dissections > 0",
      engine.refusal(engine.flows, { packets = packets, udps = HostWindow { service = "application" } }), 1, true)
  end)

  it("gives the same counts for any number of meters, and needs no single one", function()
    local function rows(n)
      return engine.script([[
        local nf = require "nfengine"
        nf.streamer({ udps = require "plugins.host_window" { flows = 10, seconds = 5 }, n_dissections = 0,
          idle_timeout = 3 }):write() ]], "-q", "--n-meters=" .. n, "samples/web.pcap", "samples/closing.pcap")
    end
    local one = rows(1)
    assert.same({ 0, "" }, { one.status, one.err })
    for n = 2, 3 do assert.equal(one.out, rows(n).out) end
  end)

  -- What hosts would have to know to make the plugin slow.
  it("numbers addresses from where nobody knows", function()
    local function first()
      local window = { flows = 1, seconds = 0 }
      HostWindow.definition.setup(window, { time_unit = "ms", ticks_per_second = 1000 })
      return window.secret
    end
    local seen, distinct = {}, 0
    for _ = 1, 100 do
      local number = first()
      if not seen[number] then seen[number], distinct = true, distinct + 1 end
    end
    assert.is_true(distinct > 90)
  end)

  it("refuses windows without connections, time before now and other services", function()
    for option, expected in pairs {
      flows = "expected an integer from 1 to 1000000", seconds = "expected a number of at least 0",
    } do
      assert.matches(expected, engine.refusal(HostWindow, { [option] = -1 }), 1, true)
    end
    assert.matches("from 1 to", engine.refusal(HostWindow, { flows = 0 }), 1, true)
    assert.matches('expected "port" or "application"', engine.refusal(HostWindow, { service = "name" }), 1, true)
  end)
end)
