-- plugins/label.lua: what rules and comments make of flows, worked out by hand, and once by going through every rule.
-- How files of rules are read is spec/lua/labels_spec.lua's.

local nf = require "nfengine"
local P = require "nfengine.testing.packet"
local capture = require "nfengine.testing.capture"
local engine = require "spec.support.engine"
local meter = require "spec.support.meter"
local program = require "spec.support.program"
local random = require "spec.support.random"
local Label = require "plugins.label"

-- Packets go from 10.0.0.1, port PORT, to 10.0.0.2, port 2000, so many ms after this second.
local EPOCH = 1600000000

local function file(text) return program.write(text, ".rules") end

-- The labels of flows in the order of their ends: { "PORT LABEL RULE CONFLICTS", ... }, PORT being the source's.
local function labelled(rules, packets, options, parameters)
  local udps = Label { rules = file(rules), directed = options and options.directed or false }
  local given = { packets = packets, udps = udps }
  for name, value in pairs(parameters or {}) do given[name] = value end
  local list = {}
  for i, flow in ipairs(engine.flows(given)) do
    list[i] = ("%d %s %d %d"):format(flow.src_port, flow.udps.label, flow.udps.label_rule, flow.udps.label_conflicts)
  end
  return list
end

-- A rule file of these lines.
local function lines(...) return table.concat({ ... }, "\n") .. "\n" end

describe("label, by addresses, ports and protocol,", function()
  after_each(engine.cleanup)

  local one = { meter.udp(0, 1000), meter.udp(1, 1001) }

  it("finds what each field says, and nothing where one says something else", function()
    for fields, expected in pairs {
      ["src_ip:10.0.0.1"] = "1000 x 2 0", ["dst_ip:10.0.0.2"] = "1000 x 2 0", ["src_port:1000"] = "1000 x 2 0",
      ["dst_port:2000"] = "1000 x 2 0", ["protocol:udp"] = "1000 x 2 0", ["protocol:17"] = "1000 x 2 0",
      ["src_ip:10.0.0.3"] = "1000  -1 0", ["dst_ip:10.0.0.3"] = "1000  -1 0", ["src_port:1002"] = "1000  -1 0",
      ["dst_port:2001"] = "1000  -1 0", ["protocol:tcp"] = "1000  -1 0", ["src_ip:::1"] = "1000  -1 0",
    } do
      local name, value = fields:match "^(.-):(.*)$"
      assert.equal(expected, labelled(lines(name .. ",label", value .. ",x"), one)[1], fields)
    end
    assert.same({ "1000 x 2 0", "1001  -1 0" }, labelled(
      lines("src_ip,src_port,dst_ip,dst_port,protocol,label", "10.0.0.1,1000,10.0.0.2,2000,17,x"), one))
  end)

  it("takes prefixes", function()
    for prefix, is_match in pairs {
      ["10.0.0.0/8"] = true, ["10.0.0.0/31"] = true, ["10.0.0.0/32"] = false, ["10.0.0.1/32"] = true,
      ["10.128.0.0/9"] = false, ["10.0.0.255/24"] = true, ["0.0.0.0/0"] = true, ["::/0"] = false,
    } do
      assert.equal(is_match and "1000 x 2 0" or "1000  -1 0", labelled(lines("src_ip,label", prefix .. ",x"), one,
        { directed = true })[1], prefix)
    end
    local six = P.ipv6 { src = "2001:db8:0:1::5", dst = "2001:db8:0:2::6" } .. P.udp { src_port = 7 } .. "x"
    for prefix, is_match in pairs {
      ["2001:db8::/47"] = true, ["2001:db8:0:1::/64"] = true, ["2001:db8:0:3::/63"] = false, ["::/0"] = true,
      ["2001:DB8:0:1:0::5"] = true, ["0.0.0.0/0"] = false,
    } do
      assert.equal(is_match and "7 x 2 0" or "7  -1 0", labelled(lines("src_ip,label", prefix .. ",x"),
        { meter.frame(0, P.eth {} .. six) }, { directed = true })[1], prefix)
    end
  end)

  it("takes either end of a flow for a rule's source, unless rules are directed", function()
    local rules = lines("src_ip,src_port,label", "10.0.0.2,2000,server", "10.0.0.2,1000,mixed", "10.0.0.1,1000,client")
    assert.same({ "1000 server 2 1", "1001 server 2 0" }, labelled(rules, one))
    assert.same({ "1000 client 4 0", "1001  -1 0" }, labelled(rules, one, { directed = true }))
    -- Who sends the first packet that was captured is the source.
    local back = { meter.back(0, 1000), meter.udp(1, 1000) }
    assert.same({ "2000 server 2 0" }, labelled(rules, back, { directed = true }))
  end)

  it("looks inside tunnels and behind tags", function()
    local inner = P.ipv4 { src = "172.16.0.1" } .. P.udp { src_port = 7 } .. "inside"
    local outer = P.eth {} .. P.vlan { id = 5 } .. P.ipv4 {} .. P.udp { src_port = 2152, dst_port = 2152 } .. P.gtpu {}
    local frames = { meter.frame(0, outer .. inner), meter.frame(1, P.eth {} .. P.vlan { id = 9 } .. inner) }
    assert.same({ "7 x 3 0", "7 x 3 0" }, labelled(lines("src_ip,label", "10.0.0.1,outer", "172.16.0.0/12,x"), frames))
  end)

  it("gives the label that stands first, and counts other labels that match", function()
    local rules = lines("dst_port,protocol,label", ",udp,datagram", "2000,,service", "2000,udp,datagram",
      "2001,,other", "2000,17,third", "2000,17,third")
    assert.same({ "1000 datagram 2 3", "1001 datagram 2 3" }, labelled(rules, one))
  end)

  it("labels flows of a capture that is cut behind the headers", function()
    local frame = meter.udp(0, 1000, ("x"):rep(100))
    frame.size, frame.bytes = #frame.bytes, frame.bytes:sub(1, 42)
    assert.same({ "1000 x 2 0" }, labelled(lines("dst_port,label", "2000,x"), { frame }))
  end)

  it("cuts a label to its column", function()
    local long = ("l"):rep(63) .. "é" .. ("g"):rep(40)
    assert.same({ "1000 " .. ("l"):rep(63) .. " 2 0" }, labelled(lines("dst_port,label", "2000," .. long), { one[1] }))
  end)
end)

describe("label, by time,", function()
  after_each(engine.cleanup)

  -- A rule from one ms after EPOCH to another, both maybe "".
  local function rule(from, to, label)
    local function seconds(ms)
      return ms == "" and "" or ("%d.%06d"):format(EPOCH + math.floor(ms / 1000), ms % 1000 * 1000)
    end
    return ("%s,%s,%s"):format(seconds(from), seconds(to), label)
  end

  local function timed(...) return lines("start,end,label", ...) end

  it("includes a rule's start and end, to the nanosecond", function()
    local rules = lines("start,end,label", EPOCH .. ".000000001," .. EPOCH .. ".005000000,x")
    for ns, is_match in pairs { [0] = false, [1] = true, [5000000] = true, [5000001] = false } do
      local packet = meter.udp(0, 1000)
      packet.time_ns = meter.EPOCH + ns
      assert.same({ is_match and "1000 x 2 0" or "1000  -1 0" }, labelled(rules, { packet }), ns)
    end
  end)

  it("leaves either end open", function()
    for _, case in ipairs { { rule("", 10, "x"), true, false }, { rule(10.5, "", "x"), false, true },
      { rule("", "", "x"), true, true } } do
      for i, at in ipairs { 9, 11 } do
        assert.same({ case[i + 1] and "1000 x 2 0" or "1000  -1 0" }, labelled(timed(case[1]), { meter.udp(at, 1000) }))
      end
    end
  end)

  it("reads dates as UTC", function()
    assert.same({ "1000 x 2 0" }, labelled(lines("start,end,label", "2020-09-13T12:26:40Z,2020-09-13 12:26:40,x"),
      { meter.udp(0, 1000) })) -- `date -u -d @1600000000`
    assert.same({ "1000  -1 0" }, labelled(lines("start,end,label", "2020-09-13 12:26:41,,x"), { meter.udp(0, 1000) }))
  end)

  it("wants a packet inside, not only the flow around", function()
    local packets = { meter.udp(0, 1000), meter.udp(100, 1000), meter.udp(50, 1001), meter.back(200, 1000) }
    assert.same({ "1001 x 2 0", "1000  -1 0" }, labelled(timed(rule(40, 60, "x")), packets))
    assert.same({ "1001  -1 0", "1000 y 2 0" }, labelled(timed(rule(150, 250, "y")), packets))
  end)

  it("goes on with each packet, whatever the order of their times", function()
    local rules = timed(rule(100, 110, "late"), rule(0, 10, "early"), rule(105, 300, "long"), rule(400, 500, "never"))
    local function of(...)
      local packets = {}
      for i, at in ipairs { ... } do packets[i] = meter.udp(at, 1000) end
      return labelled(rules, packets)[1]
    end
    assert.equal("1000 early 3 0", of(0))
    assert.equal("1000 early 3 0", of(0, 50))
    assert.equal("1000 late 2 1", of(0, 104))
    assert.equal("1000 late 2 2", of(0, 50, 105))
    assert.equal("1000 late 2 2", of(105, 0))         -- back in time
    assert.equal("1000 late 2 1", of(105, 50, 110))
    assert.equal("1000 early 3 1", of(111, 300, 1))
    assert.equal("1000 long 4 0", of(350, 300, 350))
    assert.equal("1000  -1 0", of(350, 399))
    assert.equal("1000 late 2 1", of(110, 111, 112))
  end)

  it("sees rules that have ended, for packets from before", function()
    local long, short, shorter = rule(0, 1000, "long"), rule(10, 20, "short"), rule(30, 40, "shorter")
    for _, case in ipairs {
      { timed(long, short), { 60, 15 }, "1000 long 2 1" }, { timed(long, short), { 60, 25, 5 }, "1000 long 2 0" },
      { timed(rule(0, 50, "a"), short, shorter), { 60, 45 }, "1000 a 2 0" },
      { timed(rule(0, 50, "a"), short, shorter), { 60, 35 }, "1000 a 2 1" },
      { timed(rule(0, 50, "a"), short, shorter), { 60, 51, 52 }, "1000  -1 0" },
    } do
      local packets = {}
      for i, at in ipairs(case[2]) do packets[i] = meter.udp(at, 1000) end
      assert.equal(case[3], labelled(case[1], packets)[1])
    end
  end)

  it("keeps nothing of flows that have ended", function()
    local udps = Label { rules = file(timed(rule(0, 10, "x"))) }
    local packets = {}
    for i = 1, 50 do packets[i] = meter.udp(100 * i, 1000 + i % 25) end
    assert.equal(50, #engine.flows { packets = packets, udps = udps, idle_timeout = 1 })
    assert.same({ 0, true }, { #udps.work, udps.work_count < 15 })
  end)

  it("joins rules with and without addresses", function()
    local rules = lines("start,end,dst_port,label", ("%d,%d,,all"):format(EPOCH, EPOCH), ",,2000,service",
      ("%d,,2000,tail"):format(EPOCH + 1))
    local two = { meter.udp(500, 1001), meter.udp(0, 1000) }
    assert.same({ "1001 service 3 0", "1000 all 2 1" }, labelled(rules, two, nil, { max_flows = 1 }))
    assert.same({ "1000 all 2 2" }, labelled(rules, { meter.udp(0, 1000), meter.udp(1000, 1000) }))
    assert.same({ "1000 service 3 1" }, labelled(rules, { meter.udp(500, 1000), meter.udp(1000, 1000) }))
  end)

  it("has rules of the flow that begins anew tell of that one only", function()
    local packets = { meter.udp(0, 1000), meter.udp(5000, 1000) }
    assert.same({ "1000 first 2 0", "1000 second 3 0" }, labelled(timed(rule(0, 10, "first"), rule(4990, "", "second")),
      packets, nil, { idle_timeout = 1 }))
  end)
end)

describe("label, by pcapML's rules,", function()
  after_each(engine.cleanup)

  local packets = { meter.udp(0, 1000), meter.back(900, 1000), meter.udp(1500, 1001, "abc") }

  it("evaluates filters on packets until one matches", function()
    assert.same({ "1000 back 1 0", "1001 large 3 0" }, labelled(
      lines("BPF:src host 10.0.0.2,back", "BPF:src host 10.0.0.3,none", "BPF:udp[4:2] > 10,large"), packets))
    assert.same({ "1000 one 1 1", "1001 one 1 1" }, labelled(lines("BPF:udp,one", "BPF:ip,two"), packets))
  end)

  it("compares whole seconds, as pcapML does", function()
    local rules = lines(("TS_START:%d|TS_END:%d,second"):format(EPOCH, EPOCH), ("TS_START:%d,next"):format(EPOCH + 1))
    assert.same({ "1000 second 1 0", "1001 next 2 0" }, labelled(rules, packets))
    assert.same({ "1000  -1 0" }, labelled(rules, { meter.udp(-1, 1000) }))
  end)

  it("wants a packet for which all conditions hold", function()
    local rules = lines(("BPF:src host 10.0.0.1|TS_START:%d.5,late"):format(EPOCH), "BPF:tcp,tcp")
    assert.same({ "1000  -1 0", "1001 late 1 0" }, labelled(rules, packets))
  end)

  it("sees IP packets, whatever the link type", function()
    local raw = P.ipv4 {} .. P.udp { src_port = 1000 } .. "x"
    local path = capture.file(capture.pcap({ { bytes = raw:bytes() } }, { link_type = 101 }))
    assert.same({ "1000 x 1 0" }, labelled(lines "BPF:udp port 1000,x", nil, nil, { source = path }))
  end)

  it("has no filter match what was not captured", function()
    local frame = meter.udp(0, 1000, "abcdef")
    local cut = { bytes = frame.bytes:sub(1, 43), size = #frame.bytes, time_ns = frame.time_ns }
    local rules = lines("BPF:udp[8] = 0x61,first", "BPF:udp[9] = 0x62,second")
    assert.same({ "1000 first 1 1" }, labelled(rules, { frame }))
    assert.same({ "1000 first 1 0" }, labelled(rules, { cut }))
  end)
end)

describe("label, by comments,", function()
  after_each(engine.cleanup)

  -- A capture of datagrams { port, comment or false }, one a ms.
  local function commented(list)
    local blocks = { capture.section(), capture.interface() }
    for i, each in ipairs(list) do
      local packet = meter.udp(i, each[1])
      packet.options = each[2] and { { 1, each[2] } } or nil
      blocks[i + 2] = capture.enhanced_packet(packet)
    end
    return capture.file(capture.pcapng(blocks))
  end

  local LIST = {
    { 1000, "1,web" }, { 1001, false }, { 1002, "a remark" }, { 1000, "s=9,proc=web,dir=e" }, { 1001, "2,late" },
    { 1003, "1,web" }, { 1003, "2,mail" }, { 1003, "3,mail" }, { 1003, "4,scan" }, { 1003, "1,web" }, { 1003, false },
    { 1004, false },
  }

  it("takes a flow's first label, and counts others", function()
    local list = {}
    for i, flow in ipairs(engine.flows { source = commented(LIST), udps = Label }) do
      list[i] = ("%d %s %d %d"):format(flow.src_port, flow.udps.label, flow.udps.label_rule, flow.udps.label_conflicts)
    end
    assert.same({ "1002  -1 0", "1000 web -1 0", "1001 late -1 0", "1003 web -1 2", "1004  -1 0" }, list)
  end)

  it("gives the same, audit too, for any number of meters", function()
    local path, one = commented(LIST), nil
    for _, meters in ipairs { 1, 2, 3, 8 } do
      local result = program.run("-q", "flows", "--plugin=label", "-a", "label.audit=-", "--n-meters=" .. meters,
        "--columns=src_port,udps.label,udps.label_conflicts", path)
      one = one or result
      assert.same(one, result)
    end
    assert.equal("5 flows: 3 labelled, 2 unlabelled, 1 in conflict\n       2 flows, 1 in conflict: web\n"
      .. "       1 flows, 0 in conflict: late\n", one.err)
  end)

  it("does not look at comments where there are rules", function()
    local flows = engine.flows { source = commented { { 1000, "1,web" } }, udps = Label { rules = file "label\nx\n" } }
    assert.equal("x", flows[1].udps.label)
  end)
end)

describe("label's audit", function()
  after_each(engine.cleanup)

  local RULES = lines("start,dst_port,protocol,label", ",80,,web", ",53,,names", ",53,udp,datagram", ",9,,\27[2Jghost",
    "2030-01-01,80,,future", ",443,,web")

  local function run(rules, ...)
    return program.run("-q", "flows", "--n-dissections=0", "--plugin=label", "-a", "label.rules=" .. rules, ...)
  end

  it("counts flows of each label, without one and in conflict, and names rules without flows", function()
    local path = program.temporary ".txt"
    local result = run(file(RULES), "-a", "label.audit=" .. path, "--format=null", "samples/web.pcap")
    assert.same({ 0, "" }, { result.status, result.err })
    -- 6 flows have port 80, 3 have 443, 11 have 53, which two rules of different labels are about.
    local audit = program.read(path)
    assert.equal("32 flows: 20 labelled, 12 unlabelled, 11 in conflict\n      11 flows, 11 in conflict: names\n"
      .. "       9 flows, 0 in conflict: web\nno flow matches the rule in line 5: ?[2Jghost\n"
      .. "no flow matches the rule in line 6: future\n", audit)
  end)

  it("is the same for any number of meters, records too", function()
    local rules, one = file(RULES .. lines(",,tcp,all", ",,udp,all")), nil
    for _, meters in ipairs { "1", "2", "3", "8" } do
      local result = run(rules, "-a", "label.audit=-", "--n-meters=" .. meters, "samples/web.pcap")
      one = one or result
      assert.same(one, result)
    end
    assert.is_truthy(one.err:find "^32 flows: ")
    assert.is_truthy(one.out:find ',"names",3,2\n')
  end)

  it("leaves the number of meters open", function()
    local script = [[
      local nf = require "nfengine"
      local udps = require "plugins.label" { rules = arg[1] }
      print(require "nfengine.worker".wants_one(require "nfengine.plugin".instances(udps)))]]
    assert.equal("false\n", engine.script(script, "--", file(RULES)).out)
  end)

  it("is about all flows, also those that are not given out", function()
    local result = run(file(RULES), "-a", "label.audit=-", "--filter=false", "--format=null", "samples/web.pcap")
    assert.is_truthy(result.err:find "^32 flows: 20 labelled")
  end)

  it("is there without flows", function()
    local empty = engine.capture {}
    assert.equal("0 flows: 0 labelled, 0 unlabelled, 0 in conflict\nno flow matches the rule in line 2: x\n",
      run(file "label\nx\n", "-a", "label.audit=-", empty).err)
  end)

  it("is refused before the run where it cannot be written", function()
    local result = run(file(RULES), "-a", "label.audit=/no/such/audit", "samples/web.pcap")
    assert.same({ 1, "nfengine: plugin label: setup: audit: /no/such/audit: No such file or directory, expected a file "
      .. "to write, or -\n" }, { result.status, result.err })
  end)

  it("leaves it to the rules to be wrong", function()
    local path = file(lines("dst_port,label", "80x,web"))
    for _, meters in ipairs { "1", "3" } do
      local result = run(path, "--n-meters=" .. meters, "samples/web.pcap")
      assert.same({ 1, ('nfengine: plugin label: setup: %s:2: dst_port "80x": expected a port from 0 to 65535\n')
        :format(path) }, { result.status, result.err })
    end
  end)
end)

describe("label, beside a look at every rule for every packet,", function()
  after_each(engine.cleanup)

  local PATH = "samples/web.pcap"

  local function is_end(ip, port, of) return (not ip or ip == of.ip) and (not port or port == of.port) end

  local function is_way(rule, a, b)
    return is_end(rule.src_ip, rule.src_port, a) and is_end(rule.dst_ip, rule.dst_port, b)
  end

  -- Whether a packet of a flow matches a rule, by its fields as they are shown.
  local function is_match(rule, packet, flow, is_directed)
    if rule.start and packet.time < rule.start or rule.stop and packet.time > rule.stop then return false end
    if rule.protocol and rule.protocol ~= flow.protocol then return false end
    local source, target = { ip = flow.src_ip, port = flow.src_port }, { ip = flow.dst_ip, port = flow.dst_port }
    return is_way(rule, source, target) or not is_directed and is_way(rule, target, source)
  end

  local function key_of(flow) return flow.src_ip .. flow.src_port .. flow.dst_ip .. flow.bidirectional_first_seen_ms end

  local function naive(rules, is_directed)
    local seen = {}
    local function look(_, packet, flow)
      local key = key_of(flow)
      seen[key] = seen[key] or {}
      for _, rule in ipairs(rules) do
        if is_match(rule, packet, flow, is_directed) then seen[key][rule.line] = rule.label end
      end
    end
    local list, udps = {}, nf.plugin { name = "p", on_init = look, on_update = look }
    for i, flow in ipairs(engine.flows { source = PATH, udps = udps }) do
      local matched, first, conflicts = seen[key_of(flow)], math.huge, 0
      for line in pairs(matched) do first = math.min(first, line) end
      for _, label in pairs(matched) do conflicts = conflicts + (label ~= matched[first] and 1 or 0) end
      list[i] = first == math.huge and " -1 0" or ("%s %d %d"):format(matched[first], first, conflicts)
    end
    return list
  end

  local function found(text, is_directed)
    local list, udps = {}, Label { rules = file(text), directed = is_directed }
    for i, flow in ipairs(engine.flows { source = PATH, udps = udps }) do
      list[i] = ("%s %d %d"):format(flow.udps.label, flow.udps.label_rule, flow.udps.label_conflicts)
    end
    return list
  end

  -- A rule about some of what one of the flows has, from either side, maybe at some time.
  local function make_rule(below, flow, begin)
    local rule = { label = "label" .. below(4), protocol = below(3) == 0 and flow.protocol or nil }
    local a, b = { ip = flow.src_ip, port = flow.src_port }, { ip = flow.dst_ip, port = flow.dst_port }
    if below(2) == 0 then a, b = b, a end
    if below(2) == 0 then rule.src_ip = a.ip end
    if below(2) == 0 then rule.dst_ip = b.ip end
    if below(3) == 0 then rule.src_port = a.port end
    if below(3) == 0 then rule.dst_port = b.port end
    if below(2) == 0 then rule.start = begin + below(13000) end
    if below(2) == 0 then rule.stop = (rule.start or begin) + below(6000) end
    return rule
  end

  -- Its line. What the other look sees of times is whole ms, so that the one it ends in is in it to its last ns.
  local function line_of(rule)
    local function seconds(ms, digits) return ms and ("%.3f%s"):format(ms / 1000, digits) or "" end
    return table.concat({ seconds(rule.start, ""), seconds(rule.stop, "999999"), rule.src_ip or "", rule.src_port or "",
      rule.dst_ip or "", rule.dst_port or "", rule.protocol or "", rule.label }, ",")
  end

  for _, count in ipairs { 1, 5, 40, 400 } do
    it(("is the same with %d rules at random"):format(count), function()
      local flows = engine.flows { source = PATH }
      for _ = 1, 5 do
        random.trial(function(below)
          local rules, text = {}, { "start,end,src_ip,src_port,dst_ip,dst_port,protocol,label" }
          for i = 1, count do
            rules[i] = make_rule(below, flows[below(#flows) + 1], flows[1].bidirectional_first_seen_ms)
            rules[i].line, text[i + 1] = i + 1, line_of(rules[i])
          end
          local is_directed = below(2) == 0
          assert.same(naive(rules, is_directed), found(table.concat(text, "\n"), is_directed))
        end)
      end
    end)
  end
end)
