-- What others make of our IPFIX: tshark dissects every message without complaint, nfcapd collects what was sent, and
-- nfdump's sums are ours.

local P = require "nfengine.testing.packet"
local capture = require "nfengine.testing.capture"
local collector = require "spec.support.collector"
local csv = require "nfengine.csv"
local engine = require "spec.support.engine"
local live = require "spec.support.live"
local program = require "spec.support.program"

local function has(tool) return program.shell("command -v " .. tool).status == 0 end

-- A test that needs a tool.
local function with_tool(tool, name, test)
  it(name, function()
    if not has(tool) then return pending("needs " .. tool) end
    test()
  end)
end

local function run(...)
  local result = program.run("flows", "-q", ...)
  assert.same({ 0, "" }, { result.status, result.err })
end

describe("tshark", function()
  after_each(function()
    engine.cleanup()
    capture.cleanup()
  end)

  -- By default it takes no template of more than 60 elements.
  local TSHARK = "tshark -n -o cflow.max_template_fields:200 -r %s "

  local function dissect(path, words)
    local result = program.shell(TSHARK:format(program.quote(path)) .. words)
    assert.equal(0, result.status, result.err)
    return result.out
  end

  local function assert_sound(path)
    assert.equal("", dissect(path, "-Y '_ws.malformed || _ws.expert'"))
    local text = dissect(path, "-V")
    assert.is_nil(text:match "Undecoded[^\n]*", text:match "[^\n]*Undecoded[^\n]*")
    assert.is_nil(text:match "[^\n]*No template found[^\n]*")
  end

  for name, words in pairs {
    ["of IANA's elements"] = {},
    ["of every column"] = { "--columns=*", "--statistical-analysis", "--splt-analysis=5", "--l7-columns=all" },
    ["in microseconds"] = { "--time-unit=us" },
    ["in nanoseconds"] = { "--time-unit=ns" },
    ["with plugins"] = { "--plugin=ja4", "--statistical-analysis", "--accounting-mode=1" },
  } do
    with_tool("tshark", "has nothing to say against a file " .. name, function()
      local path = program.temporary ".ipfix"
      words[#words + 1] = "samples/web.pcap"
      run("-o", path, unpack(words))
      assert_sound(path)
    end)
  end

  with_tool("tshark", "reads the flows of a file", function()
    local path = program.temporary ".ipfix"
    run("-o", path, "samples/web.pcap")
    local octets, sum = dissect(path, "-T fields -E occurrence=a -e cflow.octets"), 0
    for each in octets:gmatch "%d+" do sum = sum + tonumber(each) end -- both directions'
    local table_path = program.temporary ".csv"
    run("-o", table_path, "--columns=bidirectional_bytes", "samples/web.pcap")
    local expected = 0
    for row in csv.open(table_path) do expected = expected + tonumber(row[1]) end
    assert.equal(expected, sum)
  end)

  with_tool("tshark", "has nothing to say against datagrams, nor against their sequence", function()
    local socket = collector.udp()
    run("-o", socket.url, "--columns=*", "samples/web.pcap")
    local packets = {}
    for i, datagram in ipairs(socket:receive_all()) do
      local frame = P.eth {} .. P.ipv4 { src = "192.0.2.1", dst = "192.0.2.2" }
        .. P.udp { src_port = 50000, dst_port = 4739 } .. datagram
      packets[i] = { bytes = frame:bytes(), sec = 1700000000, frac = i }
    end
    socket:close()
    assert.is_true(#packets > 3)
    assert_sound(capture.file(capture.pcap(packets)))
  end)
end)

describe("nfcapd", function()
  local folder, socket
  before_each(function()
    folder = os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir " .. folder) == 0)
  end)
  after_each(function()
    os.execute("rm -r " .. folder)
    engine.cleanup()
  end)

  -- Collects what a run sends to it; returns the summary that nfdump gives and what nfcapd has said.
  local function collect(...)
    socket = collector.udp()
    local port = socket.port
    socket:close()
    local log = folder .. ".log"
    local started = program.shell(("nfcapd -w %s -b 127.0.0.1 -p %d -t 3600 -B 16000000 >%s 2>&1 & echo $!")
      :format(folder, port, log))
    live.wait_for("nfcapd", function() return (program.read(log) or ""):find("Startup", 1, true) end)
    run("-o", "udp://127.0.0.1:" .. port, ...)
    program.shell "sleep 0.3"
    program.shell("kill " .. started.out)
    local said = live.wait_for("nfcapd's end", function() return (program.read(log) or ""):match ".*Terminating.*" end)
    os.remove(log)
    return program.shell("nfdump -N -R " .. folder .. " -o 'fmt:%pkt %opkt %byt %obyt'").out, said
  end

  -- The same sums by our own CSV.
  local function sums(...)
    local path, sum = program.temporary ".csv", { flows = 0, 0, 0, 0, 0 }
    run("-o", path, "--columns=src2dst_packets,dst2src_packets,src2dst_bytes,dst2src_bytes", ...)
    for row in csv.open(path) do
      sum.flows = sum.flows + 1
      for i = 1, 4 do sum[i] = sum[i] + tonumber(row[i]) end
    end
    return sum
  end

  for _, sample in ipairs { "samples/web.pcap", "samples/tls.pcap", "samples/dns.pcap.gz" } do
    with_tool("nfcapd", "collects all flows of " .. sample .. ", both ways", function()
      local text, said = collect(sample)
      local expected, got = sums(sample), { flows = 0, 0, 0, 0, 0 }
      for a, b, c, d in text:gmatch "\n%s*(%d+)%s+(%d+)%s+(%d+)%s+(%d+)%s*%f[\n]" do
        got.flows = got.flows + 1
        for i, each in ipairs { a, b, c, d } do got[i] = got[i] + tonumber(each) end
      end
      assert.same(expected, got)
      assert.matches(("total flows: %d, total bytes: %d, total packets: %d,"):format(expected.flows,
        expected[3] + expected[4], expected[1] + expected[2]), text, 1, true)
      assert.matches("Sequence Errors: 0, Bad Packets: 0", said, 1, true)
    end)
  end
end)
