-- Messages to collectors, by UDP and TCP: core/collector.c, and what core/write_ipfix.c makes of its sessions.

local ffi = require "ffi"
local C = require "nfengine.lib"
local collector = require "spec.support.collector"
local ipfix = require "spec.support.ipfix"
local rows = require "spec.support.rows"

local message = ffi.new("char[?]", C.NF_ERROR_SIZE)

local sample = rows.new():add("id", "uint32", 7):add("text", "text", ("t"):rep(40))
local columns, record = sample:c_columns(), sample:record()
local elements = ffi.new("struct nf_element[2]")
for i = 0, 1 do elements[i].enterprise, elements[i].number = 32473, i + 1 end

local function open(url, given, patience, rate)
  local settings = { elements = elements, enterprise = 32473, message_size = 512, time_unit = C.NF_MILLISECONDS }
  for name, value in pairs(given or {}) do settings[name] = value end
  local to = { descriptor = -1, collector = url, patience_s = patience or 0, rate = rate or 0,
    ipfix = ffi.new("struct nf_ipfix", settings) }
  local writer = rows.open(to, C.NF_FORMAT_IPFIX, columns, 2, message)
  if writer == nil then return nil, ffi.string(message) end
  return writer
end

local function write(writer, count) return rows.write(writer, record, count) end

-- Writes so many records, each in a message of its own.
local function write_apart(writer, count)
  for _ = 1, count do
    C.nf_writer_write(writer, record)
    C.nf_writer_flush(writer)
  end
end

local function close(writer)
  ffi.fill(message, C.NF_ERROR_SIZE)
  return C.nf_writer_close(writer, message), ffi.string(message)
end

local function warning_of(writer)
  return C.nf_writer_warning(writer, message) and ffi.string(message) or nil
end

local function read_all(datagrams, reader)
  reader = reader or ipfix.reader()
  for _, each in ipairs(datagrams) do reader:message(each) end
  return reader
end

describe("a collector's address", function()
  it("is refused where it is none", function()
    for _, url in ipairs { "udp://", "tcp://:4739", "udp://host:", "udp://host:http", "udp://[::1", "udp://[::1]x",
      "udp://::1", "udp://host:65536", "udp://host:47 39", "udp://host:+1", "sctp://host",
      "udp://" .. ("x"):rep(400) } do
      local _, problem = open(url)
      assert.matches("expected udp://HOST:PORT or tcp://HOST:PORT", problem, 1, true)
    end
  end)

  it("that nobody knows is an error of one line", function()
    local _, problem = open "udp://no-such-host.invalid:4739"
    assert.matches('^cannot write "udp://no%-such%-host.invalid:4739": [^\n]+$', problem)
  end)

  it("by TCP has somebody there from the start", function()
    local socket = collector.tcp()
    socket:close()
    local _, problem = open(socket.url)
    assert.equal(('cannot write "%s": Connection refused'):format(socket.url), problem)
  end)

  it("may be one of IPv6, and without a port", function()
    local writer = assert(open "udp://[::1]:9")
    close(writer)
    writer = assert(open "udp://127.0.0.1")
    close(writer)
  end)
end)

describe("a collector by UDP", function()
  local socket
  before_each(function() socket = collector.udp() end)
  after_each(function() socket:close() end)

  it("gets a message a datagram, templates first", function()
    local before = os.time()
    local writer = assert(open(socket.url))
    assert.equal(C.NF_OK, write(writer, 100))
    assert.equal(C.NF_OK, (close(writer)))
    local datagrams = socket:receive_all()
    local reader = read_all(datagrams)
    assert.is_true(#datagrams > 5)
    assert.equal(100, #reader.records)
    assert.equal(4 + 1, reader.told)
    assert.is_true(reader:is_in_sequence())
    for _, each in ipairs(reader.messages) do
      assert.is_true(each.length <= 512)
      assert.is_true(each.time >= before and each.time <= os.time())
    end
  end)

  it("gets templates again after so many messages", function()
    local writer = assert(open(socket.url, { refresh_messages = 3 }))
    write_apart(writer, 10)
    close(writer)
    local datagrams = socket:receive_all()
    local told = {}
    for i, each in ipairs(datagrams) do
      if each:sub(17, 18) == "\0\2" then told[#told + 1] = i end
    end
    assert.same({ 1, 5, 9, 13 }, told)
    local reader = read_all(datagrams)
    assert.is_true(reader:is_in_sequence())
    assert.equal(10, #reader.records)
  end)

  it("gets templates again after some time, with the next message", function()
    local writer = assert(open(socket.url, { refresh_s = 1 }))
    write_apart(writer, 2)
    assert.equal(5, read_all(socket:receive_all()).told)
    local deadline = C.nf_now() + 1.1
    while C.nf_now() < deadline do socket:receive(0.2) end
    write_apart(writer, 2)
    close(writer)
    assert.equal(5, read_all(socket:receive_all()).told)
  end)

  it("may come late: what comes back is counted, and it is told what it has to know", function()
    socket:close()
    local writer = assert(open(socket.url))
    write_apart(writer, 3)
    socket = collector.udp(socket.port)
    write_apart(writer, 3)
    assert.equal(C.NF_OK, C.nf_writer_finish(writer))
    assert.matches(('^"%s": %%d+ messages? could not be sent or came back: Connection refused$')
      :format(socket.url:gsub("%-", "%%-")), warning_of(writer))
    assert.equal(C.NF_OK, (close(writer)))
    local reader = ipfix.reader()
    local known = 0
    for _, each in ipairs(socket:receive_all()) do
      if pcall(reader.message, reader, each) then known = known + 1 end
    end
    assert.is_true(#reader.records >= 2, #reader.records .. " records that can be read")
    assert.is_true(reader.messages[#reader.messages].sequence > 3) -- goes on: what was lost shows
  end)

  it("that is never there is no failure", function()
    socket:close()
    local writer = assert(open(socket.url))
    assert.equal(C.NF_OK, write(writer, 1000))
    assert.equal(C.NF_OK, C.nf_writer_finish(writer))
    assert.matches("came back: Connection refused", warning_of(writer))
    assert.equal(C.NF_OK, (close(writer)))
  end)

  it("is warned of for the last message, too", function()
    socket:close()
    local writer = assert(open(socket.url))
    write_apart(writer, 1)
    C.nf_writer_finish(writer)
    assert.matches("2 messages could not be sent or came back", warning_of(writer), 1, true) -- templates, and a record
    close(writer)
  end)

  it("gets no more messages a second than it is to get", function()
    local function seconds_for(count, rate)
      local writer = assert(open(socket.url, {}, 0, rate))
      local began = C.nf_now()
      write_apart(writer, count)
      local took = C.nf_now() - began
      close(writer)
      assert.equal(count, #read_all(socket:receive_all()).records)
      return took
    end
    local took = seconds_for(500, 1000)
    assert.is_true(took > 0.49 and took < 2, took .. " s")
    assert.is_true(seconds_for(500, 0) < 0.4)
    finally(function() C.nf_interrupt(0) end)
    C.nf_interrupt(C.NF_REQUEST_STOP)
    assert.is_true(seconds_for(500, 100) < 0.4) -- once a stop was asked for there is no time for that
  end)

  it("has nothing to warn of where all went well", function()
    local writer = assert(open(socket.url))
    write(writer, 10)
    C.nf_writer_finish(writer)
    assert.is_nil(warning_of(writer))
    assert.equal(10, tonumber(C.nf_writer_rows(writer)))
    close(writer)
  end)
end)

describe("a collector by TCP", function()
  local socket, connection
  before_each(function() socket = collector.tcp() end)
  after_each(function()
    socket:close()
    if connection then connection:close() end
  end)

  -- How many bytes the first `count` messages of a stream take.
  local function read_messages(from, count)
    local parts = {}
    for _ = 1, count do
      local header = assert(from:read(16), "no message")
      parts[#parts + 1] = header .. assert(from:read(ipfix.number(header:sub(3, 4)) - 16), "half a message")
    end
    return table.concat(parts)
  end

  it("gets templates once and all records", function()
    local writer = assert(open(socket.url))
    connection = socket:accept()
    write(writer, 200)
    assert.equal(C.NF_OK, C.nf_writer_finish(writer))
    assert.equal(200, tonumber(C.nf_writer_rows(writer)))
    assert.same({ C.NF_OK, "" }, { close(writer) })
    local reader = ipfix.reader():stream(connection:read_all())
    assert.same({ 200, 5 }, { #reader.records, reader.told })
    assert.is_true(reader:is_in_sequence())
  end)

  it("that comes back gets templates again, in a sequence of its own", function()
    local writer = assert(open(socket.url, {}, 10))
    connection = socket:accept()
    write_apart(writer, 2)
    assert.equal(2, #ipfix.reader():stream(read_messages(connection, 3)).records)
    connection:close()
    write_apart(writer, 3) -- it has closed before the first of these, which is no more sent to it
    connection = socket:accept()
    assert.equal(C.NF_OK, C.nf_writer_finish(writer))
    assert.equal(('"%s": connected again 1 time: what was on the way is lost'):format(socket.url), warning_of(writer))
    assert.equal(5, tonumber(C.nf_writer_rows(writer)))
    assert.same({ C.NF_OK, "" }, { close(writer) })
    local reader = ipfix.reader():stream(connection:read_all())
    assert.same({ 3, 5 }, { #reader.records, reader.told })
    assert.is_true(reader:is_in_sequence())
  end)

  it("that does not come back fails the output, after its patience", function()
    local writer = assert(open(socket.url, {}, 1))
    connection = socket:accept()
    write_apart(writer, 1)
    read_messages(connection, 2)
    connection:close()
    socket:close()
    local began = C.nf_now()
    write_apart(writer, 1)
    local waited = C.nf_now() - began
    assert.is_true(waited > 0.9 and waited < 5, waited .. " s")
    assert.equal(C.NF_ERR_OUTPUT, C.nf_writer_write(writer, record))
    assert.equal(1, tonumber(C.nf_writer_rows(writer)))
    assert.same({ C.NF_ERR_OUTPUT, ('cannot write "%s": Connection refused'):format(socket.url) }, { close(writer) })
  end)

  it("that has gone at the end fails the output", function()
    local writer = assert(open(socket.url))
    connection = socket:accept()
    write_apart(writer, 1)
    read_messages(connection, 2)
    connection:close()
    assert.equal(C.NF_ERR_OUTPUT, C.nf_writer_finish(writer))
    assert.same({ C.NF_ERR_OUTPUT, ('cannot write "%s": Connection reset by peer'):format(socket.url) },
      { close(writer) })
  end)

  it("that does not read is waited for two seconds once a stop was asked for, then records are counted", function()
    socket:close()
    socket = collector.tcp(nil, 65536)
    local writer = assert(open(socket.url, { message_size = 65507 }))
    connection = socket:accept()
    finally(function() C.nf_interrupt(0) end)
    C.nf_interrupt(C.NF_REQUEST_STOP)
    local began, count = C.nf_now(), 200000
    assert.equal(C.NF_OK, write(writer, count))
    assert.equal(C.NF_ERR_OUTPUT, C.nf_writer_finish(writer))
    local waited, sent = C.nf_now() - began, tonumber(C.nf_writer_rows(writer))
    assert.is_true(waited > 1.9 and waited < 6, waited .. " s")
    assert.is_true(sent > 0 and sent < count)
    local status, problem = close(writer)
    assert.equal(C.NF_ERR_OUTPUT, status)
    assert.matches(('^cannot write "%s": interrupted: %d of %d records were not sent, %%d+ bytes are on the way$')
      :format(socket.url, count - sent, count), problem)
    local reader = ipfix.reader():stream(ipfix.whole_messages(connection:read_all()))
    assert.equal(sent, #reader.records)
  end)

  it("that has all but has not read it keeps nobody waiting", function()
    local writer = assert(open(socket.url))
    connection = socket:accept()
    finally(function() C.nf_interrupt(0) end)
    C.nf_interrupt(C.NF_REQUEST_STOP)
    assert.equal(C.NF_OK, write(writer, 1000))
    assert.same({ C.NF_OK, "" }, { close(writer) })
    assert.equal(1000, #ipfix.reader():stream(connection:read_all()).records)
  end)

  it("that accepts and closes again and again is given up", function()
    local writer = assert(open(socket.url, {}, 2))
    local ok = true
    local deadline = C.nf_now() + 20
    while ok and C.nf_now() < deadline do
      local next_one = socket:accept(0)
      if next_one then next_one:close() end
      ok = C.nf_writer_write(writer, record) == C.NF_OK and C.nf_writer_flush(writer) == C.NF_OK
    end
    assert.is_false(ok)
    close(writer)
  end)
end)
