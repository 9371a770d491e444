-- lua/nfengine/labels.lua: files of rules, and the labels in comments. What rules make of flows is the plugin label's.

local engine = require "spec.support.engine"
local labels = require "nfengine.labels"
local program = require "spec.support.program"

local FOREVER = 0xffffffffffffffffULL

local function read(text) return labels.read(program.write(text, ".rules")) end

-- What a file's refusal says behind the file's name and ":".
local function refused(text)
  local path = program.write(text, ".rules")
  local message = engine.refusal(labels.read, path)
  assert.equal(path .. ":", message:sub(1, #path + 1))
  return message:sub(#path + 2)
end

describe("a file of rules", function()
  after_each(engine.cleanup)

  it("is CSV, its columns in any order, empty fields being anything", function()
    local rules = read("label,end,start,protocol,dst_port,dst_ip,src_port,src_ip\n"
      .. "all,20,10.5,tcp,443,10.0.0.0/8,1000,192.0.2.1\nany,,,,,,,\n")
    local rule = rules[1]
    assert.same({ "all", 2, 10500000000ULL, 20000000000ULL, 6, 443, 1000 },
      { rule.label, rule.line, rule.first, rule.last, rule.protocol, rule.dst_port, rule.src_port })
    assert.same({ { version = 4, bits = 8, bytes = "\10" }, { version = 4, bits = 32, bytes = "\192\0\2\1" } },
      { rule.dst, rule.src })
    assert.same({ label = "any", first = 0ULL, last = FOREVER, line = 3 }, rules[2])
    assert.equal(2, #rules)
  end)

  it("may be as spreadsheets and people write it", function()
    local rules = read('\239\187\191Label, DST_port\r\n"a, ""b""",80\r\n x y , \r\n"one\r\ntwo"," 1"\r\n"""",')
    local found = {}
    for i, rule in ipairs(rules) do found[i] = { rule.line, rule.label, rule.dst_port } end
    assert.same({ { 2, 'a, "b"', 80 }, { 3, "x y" }, { 4, "one\r\ntwo", 1 }, { 6, '"' } }, found)
  end)

  it("is pcapML's, with any of its conditions and maybe a key behind the label", function()
    local rules = read("# pcapML\nBPF:host 192.168.10.25,mac os,\nBPF:tcp port 80|TS_START:10|TS_END:20,web,key\n"
      .. "TS_END:5.5,early\nTS_START:7|BPF:udp[0] & 1 != 0 || udp[1] | 2 = 3,bars\n,rest\n")
    local found = {}
    for i, rule in ipairs(rules) do
      found[i] = { rule.line, rule.label, rule.first, rule.last, rule.filter and rule.filter.expression or "-" }
    end
    assert.same({
      { 2, "mac os", 0ULL, FOREVER, "host 192.168.10.25" },
      { 3, "web", 10000000000ULL, 20999999999ULL, "tcp port 80" }, -- the whole second 20
      { 4, "early", 0ULL, 5500000000ULL, "-" },
      { 5, "bars", 7000000000ULL, FOREVER, "udp[0] & 1 != 0 || udp[1] | 2 = 3" },
      { 6, "rest", 0ULL, FOREVER, "-" },
    }, found)
  end)

  it("is refused with the line that cannot be", function()
    for text, pattern in pairs {
      ["label,dst_prt\n"] = '1: column "dst_prt": expected dst_ip, dst_port, end, label, protocol, src_ip, src_port, '
        .. "start (did you mean 'dst_port'?)",
      ["dst_port\n80\n"] = "1: no column label: expected one in the first line",
      ["dst_port,label\n80,web\n81,web,x\n"] = "3: cells: 3, expected 2 as in the first line",
      ["dst_port,label\n80\n"] = "2: cells: 1, expected 2 as in the first line",
      ["dst_port,label\n80,\"web\n"] = "2: a cell that begins with a quote and has no other at its end",
      ["dst_port,label\n80,\n"] = "2: no label",
      ["dst_port,label\n99999,web\n"] = '2: dst_port "99999": expected a port from 0 to 65535',
      ["src_ip,label\n10.0.0.0/33,web\n"] = '2: src_ip "10.0.0.0/33": expected an address or a prefix',
      ["protocol,label\ntpc,web\n"] = '2: protocol "tpc": expected a protocol as tcp, udp, icmp or a number up to 255',
      ["start,label\n1700000000000,web\n"] = '2: start "1700000000000": expected seconds since 1970 or a UTC time as '
        .. "2026-11-23T16:16:30",
      ["start,end,label\n2,1,web\n"] = "2: the end is before the start",
      ["src_ip,dst_ip,label\n10.0.0.1,::1,web\n"] = "2: src_ip and dst_ip: expected addresses of the same version",
      ["BPF:tcp,a\nBFP:udp,b\n"] = '2: "BFP:udp,b": expected BPF:…|TS_START:…|TS_END:…,LABEL',
      ["BPF:tcp\n"] = '1: "BPF:tcp": expected BPF:…|TS_START:…|TS_END:…,LABEL',
      ["BPF:tcp,\n"] = "1: no label",
      ["TS_START:2026-11-23,a\n"] = '1: TS_START "2026-11-23": expected seconds since 1970',
      ["TS_START:9|TS_END:8,a\n"] = "1: the end is before the start",
      ["BPF:prot 80,a\n"] = "1: BPF: \"prot 80\": can't parse filter expression: syntax error, expected a libpcap "
        .. "filter for link type 101 (RAW)",
      [""] = "1: empty, expected a line of column names", ["# nothing\n"] = '1: column "# nothing": expected dst_ip, '
        .. "dst_port, end, label, protocol, src_ip, src_port, start",
      ["# pcapML\n\n,\n"] = "3: no label",
      ["label,dst_port\n"] = " expected rules, found none",
    } do
      assert.equal(pattern, refused(text))
    end
    assert.equal("rules: /no/such: No such file or directory, expected a file of rules",
      engine.refusal(labels.read, "/no/such"))
  end)
end)

describe("a comment's label", function()
  it("is pcapML's, in its older form and its newer one", function()
    for comment, label in pairs {
      ["9003219589747928972,google"] = "google", ["7,web server,egress"] = "web server",
      ["s=0,proc=curl,dir=lan2wan,dst=example.com"] = "curl", ["s=4,label=scan"] = "scan", ["5,web,dir=in"] = "web",
      ["s=1,d=e,dst=example.org"] = "example.org", ["1, spaced "] = "spaced", ["1,web\0\0"] = "web",
      ["proc=a=b"] = "a=b",
    } do
      assert.equal(label, labels.of_comment(comment), comment)
    end
  end)

  it("is nil where there is none", function()
    for _, comment in ipairs { "", "retransmission", "7,", "s=7", "s=7,proc=", ",", "s=7,dir=e", "\0" } do
      assert.is_nil(labels.of_comment(comment), comment)
    end
  end)
end)
