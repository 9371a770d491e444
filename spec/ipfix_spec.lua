-- IPFIX as users have it: -o FILE.ipfix, -o udp://…, -o tcp://…, streamer:to_ipfix. What comes out is what CSV has.

local ffi = require "ffi"
local C = require "nfengine.lib"
local cjson = require "cjson"
local csv = require "nfengine.csv"
local nf = require "nfengine"
local collector = require "spec.support.collector"
local engine = require "spec.support.engine"
local ipfix = require "spec.support.ipfix"
local live = require "spec.support.live"
local meter = require "spec.support.meter"
local program = require "spec.support.program"
local shell = require "nfengine.shell"

ffi.cdef "int geteuid(void);"

local PEN, REVERSE, NTP = 32473, 29305, 2208988800

-- IANA's elements, from its registry, and the columns that they are here; those of moments begin with the unit's.
local IANA = {
  [1] = "src2dst_bytes", [2] = "src2dst_packets", [4] = "protocol", [7] = "src_port", [8] = "src_ip",
  [11] = "dst_port", [12] = "dst_ip", [27] = "src_ip", [28] = "dst_ip", [56] = "src_mac", [58] = "vlan_id",
  [60] = "ip_version", [80] = "dst_mac", [96] = "application_name", [148] = "id", [152] = "src2dst_first_seen_ms",
  [153] = "src2dst_last_seen_ms", [154] = "src2dst_first_seen_us", [155] = "src2dst_last_seen_us",
  [156] = "src2dst_first_seen_ns", [157] = "src2dst_last_seen_ns", [372] = "application_category_name",
  [468] = "user_agent", [469] = "content_type",
}

local function is_text(element) return element == 96 or element == 372 or element == 468 or element == 469 end

-- NTP's moment in a unit, cut off as readers do.
local function from_ntp(bytes, per_second)
  local seconds = ipfix.exact(bytes:sub(1, 4)) - NTP
  return seconds * per_second + ipfix.exact(bytes:sub(5)) * per_second / 4294967296ULL
end

local out = ffi.new "char[64]"
local function ip_text(bytes)
  return ffi.string(out, C.nf_format_ip(out, ffi.cast("const uint8_t *", bytes), #bytes == 4 and 4 or 6))
end
local function mac_text(bytes) return ffi.string(out, C.nf_format_mac(out, ffi.cast("const uint8_t *", bytes))) end
local function integer_text(exact) return (tostring(exact):gsub("[UL]+$", "")) end

-- As CSV has it, by IANA's number of the abstract data type.
local by_type = {
  [11] = function(bytes) return ({ "True", "False" })[bytes:byte()] end,
  [13] = function(bytes) return bytes end,
  [16] = function(bytes) return integer_text(from_ntp(bytes, 1000000ULL)) end,
  [17] = function(bytes) return integer_text(from_ntp(bytes, 1000000000ULL)) end,
}
by_type[9] = function(bytes) return tostring(ipfix.real(bytes)) end
by_type[10] = function(bytes) return ffi.string(out, C.nf_format_double(out, ipfix.real(bytes))) end

local function as_text(bytes, type)
  if by_type[type] then return by_type[type](bytes) end
  local exact = ipfix.exact(bytes)
  local is_negative = type >= 5 and type <= 8 and bytes:byte() >= 128
  if not is_negative then return integer_text(exact) end
  return integer_text(ffi.cast("int64_t", exact) - (#bytes < 8 and 256LL ^ #bytes or 0))
end

local function list_text(reader, bytes)
  local list, parts = ipfix.list(bytes), {}
  local described = reader.descriptions[list.enterprise .. ":" .. list.number]
  for i, element in ipairs(list) do parts[i] = as_text(element, described.type) end
  return described.name, "[" .. table.concat(parts, ", ") .. "]"
end

local function standard_text(number, bytes)
  if number == 8 or number == 12 or number == 27 or number == 28 then return ip_text(bytes) end
  if number == 56 or number == 80 then return mac_text(bytes) end
  if number == 154 or number == 155 then return as_text(bytes, 16) end
  if number == 156 or number == 157 then return as_text(bytes, 17) end
  return is_text(number) and bytes or integer_text(ipfix.exact(bytes))
end

-- A record's values by the names of the columns that they are, as CSV has them.
local function row_of(reader, record)
  local row = {}
  for i, element in ipairs(record.elements) do
    local bytes, name = record.values[i], IANA[element.number]
    if element.enterprise == PEN then
      local described = assert(reader.descriptions[PEN .. ":" .. element.number], "an element nobody described")
      row[described.name] = as_text(bytes, described.type)
    elseif element.number == 291 then
      local list, value = list_text(reader, bytes)
      row[list] = value
    elseif element.enterprise == REVERSE and name then
      row[name:gsub("^src2dst", "dst2src")] = standard_text(element.number, bytes)
    elseif name then
      row[name] = standard_text(element.number, bytes)
    end
  end
  return row
end

local function run(...)
  local result = program.run("flows", "-q", ...)
  assert.same({ 0, "" }, { result.status, result.err })
end

-- Rows of the CSV that the same words give, by columns' names.
local function csv_rows(...)
  local path = program.temporary ".csv"
  run("-o", path, ...)
  local reader, list = csv.open(path), {}
  for cells in reader do
    local row = {}
    for i, name in ipairs(reader.header) do row[name] = cells[i] end
    list[#list + 1] = row
  end
  return list
end

local function read_file(...)
  local path = program.temporary ".ipfix"
  run("-o", path, ...)
  return ipfix.reader():stream(program.read(path))
end

-- Compares records with CSV's rows; a column that went is missing only where all of its direction did.
local function compare(reader, rows, wanted)
  assert.equal(#rows, #reader.records)
  for i, expected in ipairs(rows) do
    local row = row_of(reader, reader.records[i])
    for name, value in pairs(expected) do
      local is_left_out = row[name] == nil and expected.dst2src_packets == "0" and name:match "^dst2src_"
      if (not wanted or wanted[name]) and not is_left_out then assert.equal(value, row[name], i .. ": " .. name) end
    end
  end
end

describe("an IPFIX file", function()
  after_each(engine.cleanup)

  for _, unit in ipairs { "ms", "us", "ns" } do
    it("has every column that was asked for, as CSV does, in " .. unit, function()
      local words = { "--columns=*,end_reason", "--statistical-analysis", "--splt-analysis=5", "--l7-columns=all",
        "--time-unit=" .. unit, "--plugin=ja4", "samples/web.pcap" }
      local rows = csv_rows(unpack(words))
      for _, row in ipairs(rows) do row.end_reason = nil end -- told apart below
      local reader = read_file(unpack(words))
      compare(reader, rows)
      assert.is_true(reader:is_in_sequence())
    end)
  end

  it("has IANA's elements without anybody asking", function()
    local wanted = {}
    for _, name in pairs(IANA) do
      wanted[name] = true
      wanted[name:gsub("^src2dst", "dst2src")] = true
    end
    local reader = read_file "samples/web.pcap"
    compare(reader, csv_rows "samples/web.pcap", wanted)
    assert.is_nil(next(reader.descriptions))
    for _, record in ipairs(reader.records) do
      for _, element in ipairs(record.elements) do
        assert.is_true(element.enterprise == 0 or element.enterprise == REVERSE)
      end
    end
  end)

  it("tells why flows ended, and who began those that went both ways", function()
    local rows = csv_rows("--columns=end_reason,dst2src_packets", "--idle-timeout=1", "samples/web.pcap")
    local reader = read_file("--idle-timeout=1", "samples/web.pcap")
    local codes, seen = { idle = 1, active = 2, ["end of input"] = 4 }, {}
    for i, record in ipairs(reader.records) do
      assert.equal(codes[rows[i].end_reason], ipfix.value(record, 136):byte())
      assert.same({ rows[i].dst2src_packets ~= "0" and "\1" or nil }, { ipfix.value(record, 239) })
      seen[rows[i].end_reason] = true
    end
    assert.is_true(seen.idle and seen["end of input"])
  end)

  it("has what parameters add: statistics, TCP's flags, plugins' columns", function()
    local words = { "--statistical-analysis", "--plugin=ja4", "samples/tls.pcap" }
    local reader, rows = read_file(unpack(words)), csv_rows(unpack(words))
    local found = false
    for i, record in ipairs(reader.records) do
      local row = row_of(reader, record)
      assert.equal(rows[i].bidirectional_mean_ps, row.bidirectional_mean_ps)
      assert.equal(rows[i]["udps.ja4"], row["udps.ja4"])
      local flags = ipfix.number(ipfix.value(record, 6))
      assert.equal(tonumber(rows[i].src2dst_syn_packets) > 0, math.floor(flags / 2) % 2 == 1)
      local back = ipfix.value(record, 6, REVERSE)
      if back then assert.equal(tonumber(rows[i].dst2src_ack_packets) > 0, math.floor(back:byte(2) / 16) % 2 == 1) end
      found = found or flags > 0
    end
    assert.is_true(found)
  end)

  it("says what kind of octets they are, where IANA knows", function()
    local function numbers(...)
      local set = {}
      local reader = read_file(...)
      for _, element in ipairs(reader.records[1].elements) do
        if element.enterprise == 0 then set[element.number] = true end
      end
      return set
    end
    assert.is_true(numbers("--accounting-mode=1", "samples/dns.pcap")[1])
    assert.is_true(numbers("--accounting-mode=3", "samples/dns.pcap")[401])
    local sized = numbers("--accounting-mode=1", "--statistical-analysis", "samples/dns.pcap")
    assert.same({ true, true }, { sized[25], sized[26] })
    assert.is_nil(numbers("--accounting-mode=2", "samples/dns.pcap")[1])
  end)

  it("is the same for any number of meters, and each time", function()
    local files = {}
    for i, meters in ipairs { 1, 1, 2, 3 } do
      files[i] = program.temporary ".ipfix"
      run("-o", files[i], "--n-meters=" .. meters, "--no-dpi-cache", "samples/web.pcap")
      assert.is_true(program.read(files[1]) == program.read(files[i]))
    end
  end)

  it("has a manifest that tells of what is in it", function()
    local path = program.temporary ".ipfix"
    run("--manifest", "-o", path, "samples/dns.pcap")
    local about, columns = cjson.decode(program.read(path .. ".manifest.json")), {}
    for _, column in ipairs(about.columns) do columns[column.name] = true end
    assert.same({ "ipfix", 15 }, { about.output.format, about.files[1].records })
    assert.same({ true, true, true, nil }, { columns.src_ip, columns.end_reason, columns.biflowDirection,
      columns.bidirectional_bytes })
  end)

  it("may be packed, and go through standard output", function()
    local path = program.temporary ".ipfix.gz"
    run("-o", path, "samples/dns.pcap")
    local plain = program.run("flows", "-q", "--format=ipfix", "samples/dns.pcap").out
    assert.equal(plain, shell.run("zcat " .. program.quote(path)).out)
    assert.equal(15, #ipfix.reader():stream(plain).records)
  end)

  it("gives our own elements the same numbers whichever are written", function()
    local function numbers(...)
      local by_name = {}
      for id, each in pairs(read_file(...).descriptions) do by_name[each.name] = id end
      return by_name
    end
    local all = numbers("--columns=*", "--statistical-analysis", "--plugin=ja4", "samples/tls.pcap")
    local some = numbers("--columns=udps.ja4,bidirectional_bytes", "--plugin=ja4", "samples/tls.pcap")
    assert.same({ all["udps.ja4"], all.bidirectional_bytes }, { some["udps.ja4"], some.bidirectional_bytes })
    local of_another = numbers("--columns=bidirectional_bytes", "--ipfix-enterprise=4711", "samples/tls.pcap")
    assert.equal(all.bidirectional_bytes:gsub(PEN, "4711"), of_another.bidirectional_bytes)
  end)

  it("has anonymised columns as texts of our own", function()
    local path = program.temporary ".ipfix"
    engine.streamer { source = "samples/dns.pcap" }:to_ipfix(path, { columns_to_anonymize = "src_ip" })
    local reader = ipfix.reader():stream(program.read(path))
    local row = row_of(reader, reader.records[1])
    assert.matches("^%x+$", row.src_ip)
    assert.equal(128, #row.src_ip)
  end)

  it("may be several", function()
    local path = program.temporary()
    engine.streamer { source = "samples/dns.pcap" }:to_ipfix(path .. ".ipfix", { flows_per_file = 8, domain = 5 })
    local first = ipfix.reader():stream(program.read(path .. ".0.ipfix"))
    local second = ipfix.reader():stream(program.read(path .. ".1.ipfix"))
    assert.same({ 8, 7, 5 }, { #first.records, #second.records, second.messages[1].domain })
    os.remove(path .. ".0.ipfix")
    os.remove(path .. ".1.ipfix")
  end)
end)

describe("IPFIX to a collector", function()
  local socket
  after_each(function()
    if socket then socket:close() end
    engine.cleanup()
  end)

  local function received(datagrams)
    local reader = ipfix.reader()
    for _, each in ipairs(datagrams) do reader:message(each) end
    return reader
  end

  -- Starts the program, to send to the socket. Returns a function that gives it a capture to read, and another that
  -- waits for its end and returns what it said, with its status in the last line.
  local function start(words)
    local fifo, log = program.temporary ".fifo", program.temporary ".log"
    assert(os.execute("mkfifo " .. fifo) == 0)
    assert(os.execute(("{ %s flows -o %s %s - <%s >%s 2>&1; echo $? >>%s; } &")
      :format(program.path, socket.url, words, fifo, log, log)) == 0)
    local input = assert(io.open(fifo, "w"))
    return function()
      input:write(program.read "samples/web.pcap")
      input:close()
    end, function()
      return live.wait_for("end", function()
        local text = program.read(log)
        return text and text:match "^(.*%d\n)$"
      end)
    end
  end

  it("goes by UDP, in messages that fit", function()
    socket = collector.udp()
    run("-o", socket.url, "--ipfix-domain=9", "samples/web.pcap")
    local reader = received(socket:receive_all())
    compare(reader, csv_rows("--columns=src_ip,dst_ip,src_port,dst_port,src2dst_bytes", "samples/web.pcap"))
    assert.is_true(reader:is_in_sequence())
    for _, message in ipairs(reader.messages) do
      assert.is_true(message.length <= 1400)
      assert.equal(9, message.domain)
    end
  end)

  it("goes by UDP at a rate", function()
    socket = collector.udp()
    local began = live.now()
    run("-o", socket.url, "--ipfix-rate=10", "--ipfix-message-size=512", "samples/web.pcap")
    local datagrams = socket:receive_all()
    assert.is_true(live.now() - began > (#datagrams - 2) / 10)
    assert.equal(32, #received(datagrams).records)
  end)

  it("goes by TCP", function()
    socket = collector.tcp()
    local path = program.temporary ".tcp"
    local command = ("%s flows -q -o %s samples/web.pcap >%s 2>&1 &"):format(program.path, socket.url, path)
    assert(os.execute(command) == 0)
    local connection = assert(socket:accept(10))
    local reader = ipfix.reader():stream(connection:read_all())
    connection:close()
    compare(reader, csv_rows("--columns=src_ip,dst_ip,src_port,dst_port,src2dst_bytes", "samples/web.pcap"))
    assert.is_true(reader:is_in_sequence())
    assert.equal("", program.read(path))
  end)

  it("goes there from scripts", function()
    socket = collector.udp()
    local count = engine.streamer { source = "samples/dns.pcap" }:to_ipfix(socket.url, { message_size = 600 })
    local reader = received(socket:receive_all())
    assert.same({ 15, 15 }, { count, #reader.records })
    for _, message in ipairs(reader.messages) do assert.is_true(message.length <= 600) end
  end)

  it("wins over a script's format, as any -o does", function()
    socket = collector.udp()
    local path = engine.script_file 'require("nfengine").streamer({ n_dissections = 0 }):to_csv "x.csv"'
    local result = program.run("-q", "-o", socket.url, path, "samples/dns.pcap")
    assert.same({ 0, "", "" }, { result.status, result.out, result.err })
    assert.equal(15, #received(socket:receive_all()).records)
  end)

  it("warns of what came back, and ends well", function()
    socket = collector.udp()
    socket:close()
    local result = program.run("flows", "-q", "-o", socket.url, "samples/web.pcap")
    assert.equal(0, result.status)
    assert.matches('^nfengine: warning: "udp://127.0.0.1:%d+": %d+ messages? could not be sent or came back: '
      .. "Connection refused\n$", result.err)
  end)

  it("says in one line where nobody is there by TCP, before packets are read", function()
    socket = collector.tcp()
    socket:close()
    local result = program.run("flows", "-o", socket.url, "samples/web.pcap")
    assert.same({ 1, "", ('nfengine: cannot write "%s": Connection refused\n'):format(socket.url) },
      { result.status, result.out, result.err })
  end)

  it("says in one line that a collector has gone, and counts what was sent", function()
    socket = collector.tcp()
    local feed, finish = start("--ipfix-patience=0")
    socket:accept(10):close()
    socket:close()
    feed()
    local text = finish()
    assert.matches(", 0 flows,", text, 1, true)
    assert.matches(('nfengine: cannot write "%s": '):format(socket.url), text, 1, true)
    assert.matches("\n1\n$", text)
  end)

  describe("that is slow, by TCP,", function()
    local FLOWS = 40000 -- 9 MB of messages, where sockets' buffers have room for half of it
    local log, connection

    after_each(function() connection:close() end)

    -- Starts the program, to send all flows of a capture, in which more are told after some have ended. Returns its
    -- process id.
    local function start_sending(meters)
      local packets, pid = {}, program.temporary ".pid"
      for i = 1, FLOWS do packets[i] = meter.udp(i, i) end
      log, socket = program.temporary ".log", collector.tcp(nil, 65536)
      local words = ("--n-dissections=0 --idle-timeout=1 '--columns=*' --n-meters=%d"):format(meters)
      assert(os.execute(("{ %s flows %s -o %s %s >%s 2>&1 & echo $! >%s; wait $!; echo $? >>%s; } &")
        :format(program.path, words, socket.url, engine.capture(packets), log, pid, log)) == 0)
      connection = assert(socket:accept(10))
      return assert(program.read(pid):match "^%d+")
    end

    -- What the program has said, with its status in the last line; nil while it runs.
    local function said() return (program.read(log) or ""):match "^(.*%d\n)$" end

    for meters = 1, 2 do
      it("is waited for, and nothing is lost, with n_meters = " .. meters, function()
        start_sending(meters)
        local parts = {}
        for i = 1, 10 do
          parts[i] = assert(connection:read(1000))
          ffi.C.usleep(100000)
        end
        ffi.C.usleep(2000000)
        assert.is_nil(said())
        parts[#parts + 1] = connection:read_all()
        local reader = ipfix.reader():stream(table.concat(parts))
        assert.equal(FLOWS, #reader.records)
        assert.is_true(reader:is_in_sequence())
        assert.matches("40,000 flows,[^\n]*\n0\n$", live.wait_for("end", said))
      end)

      for _, signal in ipairs { "INT", "TERM" } do
        it("holds up no run that is to stop, by " .. signal .. " with n_meters = " .. meters, function()
          local pid = start_sending(meters)
          ffi.C.usleep(1000000)
          assert.is_nil(said())
          assert(os.execute(("kill -%s %s"):format(signal, pid)) == 0)
          local began = live.now()
          local text = live.wait_for("end", said)
          assert.is_true(live.now() - began < 4)
          local sent = #ipfix.reader():stream(ipfix.whole_messages(connection:read_all())).records
          local lost, all = text:match(('nfengine: cannot write "%s": interrupted: (%%d+) of (%%d+) records were not '
            .. "sent, %%d+ bytes are on the way\n1\n$"):format(socket.url))
          assert.equal(sent, all - lost)
          assert.is_true(sent > 0 and tonumber(lost) > 0)
          local packets, flows = text:gsub(",(%d%d%d)", "%1"):match "nfengine: (%d+) packets, (%d+) flows,"
          assert.same({ all, sent }, { packets, tonumber(flows) })
        end)
      end
    end
  end)

  it("is refused where it does not fit", function()
    local cases = {
      { { "-o", "udp://127.0.0.1", "--format=csv" }, 1, '"udp://127.0.0.1": expected --format=ipfix, got csv' },
      { { "-o", "udp://127.0.0.1", "--sandbox" }, 2,
        "-o udp://127.0.0.1: --sandbox refuses the network, expected a file" },
      { { "-o", "udp://127.0.0.1", "--into=." }, 1,
        "--into .: expected a file, got udp://127.0.0.1" },
      { { "-o", "udp://" }, 1, "expected udp://HOST:PORT or tcp://HOST:PORT" },
      { { "--ipfix-message-size=100", "-o", "x.ipfix" }, 2,
        '--ipfix-message-size "100": expected an integer from 512 to 65507' },
    }
    for _, case in ipairs(cases) do
      local result = program.run("flows", "samples/dns.pcap", unpack(case[1]))
      assert.equal(case[2], result.status, result.err)
      assert.matches(case[3], result.err, 1, true)
    end
    local path = engine.script_file 'require("nfengine").streamer({}):to_ipfix "udp://127.0.0.1"'
    assert.matches("--into .: expected a file, got udp://127.0.0.1",
      program.run("--into=.", path, "samples/dns.pcap").err, 1, true)
    for _, case in ipairs {
      { { flows_per_file = 5 }, "flows_per_file: expected a file to write to, got udp://127.0.0.1:9" },
      { { enterprise = 0 }, "enterprise = 0: expected an integer from 1 to 4294967295" },
      { { patience = "long" }, 'patience = "long": expected an integer from 0 to 86400' },
    } do
      assert.matches(case[2], engine.refusal(function()
        engine.streamer({}):to_ipfix("udp://127.0.0.1:9", case[1])
      end), 1, true)
    end
  end)

  it("is no place for a script under --safe to choose", function()
    socket = collector.udp()
    local path = engine.script_file(('require("nfengine").streamer({}):to_ipfix "%s"'):format(socket.url))
    local result = program.run("--safe", path, "samples/dns.pcap")
    assert.equal(1, result.status)
    assert.matches("--safe: expected -o FILE on the command line", result.err, 1, true)
    result = program.run("-q", "--safe", "-o", socket.url, path, "samples/dns.pcap")
    assert.same({ 0, "" }, { result.status, result.err })
    assert.equal(15, #received(socket:receive_all()).records)
  end)

  it("goes on for a user who may not open files as root", function()
    if ffi.C.geteuid() ~= 0 then return pending "needs root" end
    socket = collector.udp()
    run("-o", socket.url, "--user=nobody", "samples/web.pcap")
    assert.equal(32, #received(socket:receive_all()).records)
  end)

  it("by TCP connects again as that user", function()
    if ffi.C.geteuid() ~= 0 then return pending "needs root" end
    socket = collector.tcp()
    local feed, finish = start("-q --user=nobody")
    socket:accept(10):close()
    feed()
    local connection = assert(socket:accept(10))
    local reader = ipfix.reader():stream(connection:read_all())
    connection:close()
    assert.equal(32, #reader.records)
    assert.matches(": connected again 1 time: what was on the way is lost\n0\n$", finish())
  end)
end)

describe("the names that IPFIX takes", function()
  it("are told by nf.columns' registry, each once", function()
    local seen = {}
    for _, column in ipairs(nf.columns()) do
      assert.is_nil(seen[column.name])
      seen[column.name] = true
    end
    for _, name in pairs(IANA) do assert.is_true(name:match "_[un]s$" ~= nil or seen[name], name) end
  end)
end)
