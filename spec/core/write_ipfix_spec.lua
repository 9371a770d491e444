-- Records as IPFIX messages: core/write_ipfix.c. What comes out is read back by spec/support/ipfix.lua.

local ffi = require "ffi"
local C = require "nfengine.lib"
local ipfix = require "spec.support.ipfix"
local rows = require "spec.support.rows"

local message = ffi.new("char[?]", C.NF_ERROR_SIZE)
local PEN = 32473

-- A writer's settings for so many columns: our own elements 1, 2, …, changed by what is given for each.
local function settings(count, given, elements)
  local array = ffi.new("struct nf_element[?]", count)
  for i = 0, count - 1 do
    array[i].enterprise, array[i].number, array[i].number_v6 = PEN, i + 1, i + 1
    for name, value in pairs(elements and elements[i + 1] or {}) do array[i][name] = value end
  end
  local all = { elements = array, enterprise = PEN, message_size = 1400, time_unit = C.NF_MILLISECONDS }
  for name, value in pairs(given or {}) do all[name] = value end
  return ffi.new("struct nf_ipfix", all), array
end

-- Writes these records and reads the file back.
local function written(sample, records, given, elements)
  local path = os.tmpname()
  local columns, ipfix_settings, anchor = sample:c_columns(), settings(#sample.columns, given, elements)
  local to = { path = path, descriptor = -1, ipfix = ipfix_settings }
  local writer = rows.open(to, C.NF_FORMAT_IPFIX, columns, #sample.columns, message)
  if writer == nil then return nil, ffi.string(message), anchor end
  for _, record in ipairs(records) do assert(C.nf_writer_write(writer, record) == C.NF_OK) end
  assert.equal(#records, (C.nf_writer_finish(writer) == C.NF_OK and tonumber(C.nf_writer_rows(writer))))
  assert(C.nf_writer_close(writer, message) == C.NF_OK, ffi.string(message))
  local bytes = rows.read_file(path)
  os.remove(path)
  return ipfix.reader():stream(bytes), bytes
end

local function both_ways(sample)
  local record = sample:record()
  record.scope[C.NF_DST2SRC].packets = 1
  return record
end

-- The one value of a record with one column.
local function value_of(kind, value, change, element)
  local sample = rows.new():add("a", kind, value)
  for name, each in pairs(change or {}) do sample.columns[1][name] = each end
  local reader = written(sample, { sample:record() }, {}, { element or {} })
  return reader.records[1].values[1], reader
end

describe("IPFIX values", function()
  it("are numbers of their width, the highest byte first", function()
    for kind, case in pairs {
      uint8 = { 254, "\254" }, uint16 = { 0x1234, "\x12\x34" }, uint32 = { 0x12345678, "\x12\x34\x56\x78" },
      uint64 = { 0x123456789abcdefULL, "\1\35\69\103\137\171\205\239" },
      int8 = { -2, "\254" }, int16 = { -2, "\255\254" }, int32 = { -2, "\255\255\255\254" },
      int64 = { -2, ("\255"):rep(7) .. "\254" },
    } do
      assert.equal(case[2], (value_of(kind, case[1])), kind)
    end
    assert.equal(0.1, ipfix.real((value_of("double", 0.1))))
    assert.equal(-1.5, ipfix.real((value_of("float", -1.5))))
  end)

  it("are 1 and 2 for true and false", function() -- RFC 7011, 6.1.5
    assert.same({ "\1", "\2" }, { (value_of("bool", true)), (value_of("bool", false)) })
  end)

  it("are addresses as they are, of IPv4 or IPv6", function()
    local address = "\32\1\13\184" .. ("\0"):rep(11) .. "\1"
    for version, case in pairs { [4] = { 256 + 2, 8, 4 }, [6] = { 256 + 3, 27, 16 } } do
      local sample = rows.new():add("a", "ip", address)
      sample.ip_version = version
      local record = written(sample, { sample:record() }, {}, { { enterprise = 0, number = 8, number_v6 = 27 } })
        .records[1]
      assert.equal(case[1], record.template)
      assert.same({ { enterprise = 0, number = case[2], length = case[3] } }, record.elements)
      assert.equal(address:sub(1, case[3]), record.values[1])
    end
    assert.equal("\0\27\33\15\1\2", (value_of("mac", "\0\27\33\15\1\2")))
    assert.equal("00:1b:21", (value_of("oui", "\0\27\33\15\1\2")))
  end)

  it("are moments: milliseconds as they are, finer ones as NTP has them", function()
    local second = 1700000000
    assert.equal(second * 1000 + 123, ipfix.number((value_of("uint64", second * 1000 + 123, { moment = 1 }))))
    for moment, unit in pairs { [C.NF_MOMENT_US] = 1000000ULL, [C.NF_MOMENT_NS] = 1000000000ULL } do
      for _, rest in ipairs { 0, 1, 2, 3, 499999, 500000, 999998, 999999 } do
        local bytes = value_of("uint64", second * unit + rest, { moment = moment })
        assert.equal(second + 2208988800, ipfix.number(bytes:sub(1, 4)))
        local fraction = ipfix.exact(bytes:sub(5))
        assert.equal(rest, tonumber((fraction * unit) / 4294967296ULL)) -- cut off, as most readers do
        if moment == C.NF_MOMENT_US then assert.equal(0, tonumber(fraction % 2048)) end -- RFC 7011, 6.1.9
      end
    end
  end)

  it("are texts of any length up to 65,535 bytes", function()
    for _, size in ipairs { 0, 1, 7, 8, 9, 253, 254, 255, 256, 1000, 60000 } do
      local text = ("x"):rep(size)
      assert.is_true(text == value_of("text", text), size .. " bytes")
    end
    local sample = rows.new():add("a", "text", ("y"):rep(300), 300) -- without an end
    assert.equal(("y"):rep(300), written(sample, { sample:record() }).records[1].values[1])
  end)

  it("are texts in UTF-8 that are no longer than their fields, whatever came", function()
    local sample = rows.new():add("a", "text", "a\255b", 10)
    assert.equal("a\239\191\189b", written(sample, { sample:record() }).records[1].values[1])
    sample = rows.new():add("a", "text", ("\255"):rep(8), 8)
    assert.equal(("\239\191\189"):rep(2), written(sample, { sample:record() }).records[1].values[1])
  end)

  it("are hashes where they are anonymised", function()
    local sample = rows.new():add("a", "uint32", 5):anonymized()
    local reader = written(sample, { sample:record() })
    assert.matches("^%x+$", reader.records[1].values[1])
    assert.equal(128, #reader.records[1].values[1])
    assert.equal(13, reader.descriptions[PEN .. ":1"].type) -- string
  end)

  it("are lists of what arrays hold", function() -- RFC 6313
    local value, reader = value_of("int32", { 1, -1, 65536 })
    assert.same({ semantic = 4, number = 1, enterprise = PEN, "\0\0\0\1", "\255\255\255\255", "\0\1\0\0" },
      ipfix.list(value))
    assert.same({ { enterprise = 0, number = 291, length = 65535 } }, reader.records[1].elements)
    assert.equal(7, reader.descriptions[PEN .. ":1"].type) -- signed32
  end)

  it("are IANA's reasons for which flows end", function()
    local reasons = { [C.NF_END_IDLE] = 1, [C.NF_END_ACTIVE] = 2, [C.NF_END_FORCED] = 3, [C.NF_END_FULL] = 5,
      [C.NF_END_INPUT] = 4 }
    for reason, expected in pairs(reasons) do
      assert.equal(expected, (value_of("end_reason", reason, {}, { form = C.NF_FORM_END_REASON })):byte())
    end
    assert.equal("idle", (value_of("end_reason", C.NF_END_IDLE)))
    local sample = rows.new():add("a", "end_reason", C.NF_END_IDLE)
    local record = sample:record()
    record.is_closing = true
    assert.equal("\3", written(sample, { record }, {}, { { form = C.NF_FORM_END_REASON } }).records[1].values[1])
  end)

  it("are the bits of flags that were seen", function()
    local value = value_of("uint32", { 3, 0, 1, 0, 0, 0, 0, 4294967295 }, {}, { form = C.NF_FORM_TCP_FLAGS })
    assert.equal("\0\x85", value)
  end)

  it("are 1 for a direction that began with the source", function()
    assert.equal("\1", (value_of("uint8", 99, {}, { form = C.NF_FORM_BIFLOW })))
  end)
end)

describe("IPFIX messages", function()
  local sample = rows.new():add("id", "uint32", 7):add("text", "text", ("t"):rep(50))
    :add("back", "uint8", 9)
  local elements = { {}, { unit = 2 }, { enterprise = 29305, number = 2, is_biflow = true } }

  it("begin with templates and with what our own elements are", function()
    local reader = written(sample, { sample:record() }, {}, elements)
    assert.same({ 2, 3, 260 }, reader.messages[1].sets)
    assert.same({ type = 3, semantics = 0, units = 0, name = "id" }, reader.descriptions[PEN .. ":1"])
    assert.same({ type = 13, semantics = 1, units = 2, name = "text" }, reader.descriptions[PEN .. ":2"])
    assert.is_nil(reader.descriptions["29305:2"])
  end)

  it("have them even without records", function()
    local reader = written(sample, {}, {}, elements)
    assert.equal(0, #reader.records)
    assert.equal(5, reader.told)
  end)

  it("leave out what a flow of one direction lacks", function()
    local reader = written(sample, { sample:record(), both_ways(sample) }, {}, elements)
    assert.same({ 258, 256 }, { reader.records[1].template, reader.records[2].template })
    assert.same({ 2, 3 }, { #reader.records[1].values, #reader.records[2].values })
    assert.equal("\9", ipfix.value(reader.records[2], 2, 29305))
  end)

  it("have no template without an element", function()
    local one = rows.new():add("back", "uint8", 9)
    local reader = written(one, { one:record() }, {}, { elements[3] })
    assert.equal("\9", reader.records[1].values[1])
  end)

  it("hold as many records as there is room for, and are numbered by those before", function()
    local records = {}
    for i = 1, 1000 do records[i] = i % 3 == 0 and both_ways(sample) or sample:record() end
    for _, size in ipairs { 512, 1400, 65507 } do
      local reader = written(sample, records, { message_size = size, domain = 77 }, elements)
      assert.equal(1000, #reader.records)
      assert.is_true(reader:is_in_sequence())
      local largest = 0
      for _, each in ipairs(reader.messages) do
        largest = math.max(largest, each.length)
        assert.equal(77, each.domain)
      end
      assert.is_true(largest <= size and largest > size - 70 or size == 65507, largest .. " of " .. size)
      for i, record in ipairs(reader.records) do assert.equal(i % 3 == 0 and 256 or 258, record.template) end
    end
  end)

  it("are larger where one record is", function()
    local long = rows.new():add("text", "text", ("z"):rep(3000)):add("id", "uint8", 1)
    local reader = written(long, { long:record(), long:record() }, { message_size = 512 })
    assert.equal(3, #reader.messages)
    assert.equal(3000, #reader.records[2].values[1])
  end)

  it("of templates are several where there are many", function()
    local many = rows.new()
    for i = 1, 500 do many:add("column_" .. i, "uint8", i % 256) end
    local reader = written(many, { many:record() }, { message_size = 1400 })
    assert.equal("\244", reader.records[1].values[500])
    assert.equal("column_500", reader.descriptions[PEN .. ":500"].name)
    assert.is_true(reader:is_in_sequence())
    local descriptions = 0
    for _, each in ipairs(reader.messages) do
      if each.sets[1] == 260 then
        descriptions = descriptions + 1
        assert.is_true(each.length <= 1400)
      end
    end
    assert.is_true(descriptions >= 500 * (11 + #"column_1") / 1400 - 1)
  end)

  it("in files have the time of the latest packet, so that they are the same again", function()
    local record = sample:record()
    record.scope[C.NF_BIDIRECTIONAL].last_seen = 1700000000999
    local reader, bytes = written(sample, { record }, {}, elements)
    assert.equal(1700000000, reader.messages[2].time)
    assert.equal(bytes, select(2, written(sample, { record }, {}, elements)))
  end)

  local function open(path)
    local given, anchor = settings(#sample.columns, {}, elements)
    local writer = rows.open({ path = path, descriptor = -1, ipfix = given }, C.NF_FORMAT_IPFIX, sample:c_columns(),
      #sample.columns, message)
    assert(writer ~= nil and anchor)
    return writer
  end

  it("end with the last that got out whole", function()
    local path = os.tmpname()
    local writer = open(path)
    local record = sample:record()
    C.nf_writer_write(writer, record)
    C.nf_writer_flush(writer)
    assert.equal(1, #ipfix.reader():stream(rows.read_file(path)).records)
    for _ = 1, 5 do C.nf_writer_write(writer, record) end
    C.nf_writer_close(writer, nil)
    assert.equal(6, #ipfix.reader():stream(rows.read_file(path)).records)
    os.remove(path)
  end)

  it("begin anew in a file that is moved to", function()
    local path = os.tmpname()
    local writer = open(path)
    local record = sample:record()
    C.nf_writer_write(writer, record)
    os.rename(path, path .. ".1")
    assert.equal(C.NF_OK, C.nf_writer_reopen(writer, message))
    C.nf_writer_write(writer, record)
    C.nf_writer_close(writer, nil)
    for _, each in ipairs { path .. ".1", path } do
      local reader = ipfix.reader():stream(rows.read_file(each))
      assert.equal(1, #reader.records)
      assert.is_true(reader:is_in_sequence())
      os.remove(each)
    end
  end)
end)

describe("an IPFIX output is refused", function()
  it("where a record could have no message", function()
    local _, problem = written(rows.new():add("n", "int64", 1):add("long", "text", "x", 65536), {})
    assert.equal('column "long": records would need more than IPFIX messages have room for, expected at most 65487 '
      .. "bytes and 4000 columns", problem)
    local list = {}
    for i = 1, 9000 do list[i] = i end
    _, problem = written(rows.new():add("list", "int64", list), {})
    assert.matches('^column "list": records would need more', problem)
  end)

  it("without elements", function()
    local sample = rows.new():add("id", "uint8", 1)
    assert.is_true(rows.open("/dev/null", C.NF_FORMAT_IPFIX, sample:c_columns(), 1, message) == nil)
    assert.equal("IPFIX without elements, expected one a column", ffi.string(message))
  end)
end)
