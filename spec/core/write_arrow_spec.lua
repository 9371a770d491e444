-- Arrow output, byte for byte: core/write_arrow.c.

local ffi = require "ffi"
local C = require "nfengine.lib"
local arrow = require "spec.support.arrow"
local limit = require "spec.support.limit"
local rows = require "spec.support.rows"
local typed = require "spec.support.typed"

local STREAM, FILE = C.NF_FORMAT_ARROW_STREAM, C.NF_FORMAT_ARROW_FILE
local BATCH_ROWS = 8192

local message = ffi.new("char[?]", C.NF_ERROR_SIZE)

local function open(made, path, format)
  local writer = rows.open(path, format, made:c_columns(), #made.columns, message)
  return writer ~= nil and writer or error(ffi.string(message))
end

local function close(writer) return C.nf_writer_close(writer, message) end

local with_id, write = typed.with_id, typed.write

local function sequence(count)
  local list = {}
  for i = 1, count do list[i] = i - 1 end
  return list
end

-- Both forms read the same; gives it.
local function both(made, count)
  local stream, file = arrow.stream(made:written(STREAM, count)), arrow.file(made:written(FILE, count))
  assert.is_true(stream.is_ended and file.stream.is_ended)
  assert.equal("", stream.rest)
  for _, part in ipairs { "fields", "columns", "batches", "rows", "metadata" } do
    assert.same(stream[part], file[part])
    assert.same(stream[part], file.stream[part])
  end
  return file
end

describe("an Arrow output", function()
  it("is a schema and an end where there are no records", function()
    local read = both(with_id(), 0)
    assert.same({ 0, {} }, { read.rows, read.batches })
    assert.same({ "id", "text" }, { read.fields[1].name, read.fields[2].name })
  end)

  it("is one batch with one record", function()
    local read = both(with_id(), 1)
    assert.same({ { 1 }, { id = { 0 }, text = { "abc" } } }, { read.batches, read.columns })
  end)

  it("is several batches with many", function()
    local made, path = with_id(), os.tmpname()
    for _, format in ipairs { STREAM, FILE } do
      local writer = open(made, path, format)
      write(writer, made:record(), 2 * BATCH_ROWS + 5)
      assert.equal(C.NF_OK, C.nf_writer_finish(writer))
      assert.equal(2 * BATCH_ROWS + 5, tonumber(C.nf_writer_rows(writer)))
      assert.equal(C.NF_OK, close(writer))
      local bytes = rows.read_file(path)
      local read = format == FILE and arrow.file(bytes) or arrow.stream(bytes)
      assert.same({ BATCH_ROWS, BATCH_ROWS, 5 }, read.batches)
      assert.same(sequence(2 * BATCH_ROWS + 5), read.columns.id)
    end
    os.remove(path)
  end)

  it("has numbers of their width and sign, to the limits of each type", function()
    for kind, values in pairs(typed.LIMITS) do
      for _, value in ipairs(values) do
        local read = both(rows.new():add("n", kind, value), 3)
        assert.same({ kind, false }, { read.fields[1].type, read.fields[1].is_nullable })
        assert.same({ value, value, value }, read.columns.n)
      end
    end
  end)

  it("has truths by the bit", function()
    local read = both(rows.new():add("yes", "bool", true):add("no", "bool", false), 9)
    assert.equal("bool", read.fields[1].type)
    assert.same({ true, true, true, true, true, true, true, true, true }, read.columns.yes)
    assert.same({ false, false, false, false, false, false, false, false, false }, read.columns.no)
  end)

  it("has moments as timestamps in UTC", function()
    for _, unit in ipairs { "ms", "us", "ns" } do
      local read = both(rows.new():add("seen", "uint64", 1700000000123):moment(unit))
      assert.same({ unit .. " UTC", { 1700000000123 } }, { read.fields[1].type, read.columns.seen })
    end
  end)

  it("has arrays as lists of fixed size", function()
    local read = both(rows.new():add("n", "int16", { 1, -2, 3 }):add("b", "bool", { true, false, true }), 3)
    assert.same({ "list", "int16", 3, false },
      { read.fields[1].type, read.fields[1].element.type, read.fields[1].length, read.fields[1].element.is_nullable })
    assert.same({ { 1, -2, 3 }, { 1, -2, 3 }, { 1, -2, 3 } }, read.columns.n)
    assert.same({ { true, false, true }, { true, false, true }, { true, false, true } }, read.columns.b)
  end)

  it("has addresses and names as texts, in valid UTF-8", function()
    local made = rows.new():add("ip", "ip", "\192\0\2\1" .. ("\0"):rep(12)):add("mac", "mac", "\0\27\33\15\1\2")
      :add("oui", "oui", "\0\27\33\15\1\2"):add("end", "end_reason", C.NF_END_IDLE):add("text", "text", "a\255b")
    local read = both(made)
    assert.same({ ip = { "192.0.2.1" }, mac = { "00:1b:21:0f:01:02" }, oui = { "00:1b:21" }, ["end"] = { "idle" },
      text = { "a\239\191\189b" } }, read.columns)
    for i, field in ipairs(read.fields) do assert.same({ "text", i == 5 }, { field.type, field.is_nullable }) end
  end)

  it("has addresses as bytes where that is asked for", function()
    for _, case in ipairs(typed.BINARY_ADDRESSES) do
      local read = both(typed.with_binary_address(case), 3)
      assert.same({ "binary 16", false }, { read.fields[1].type, read.fields[1].is_nullable })
      assert.same({ case.given, case.given, case.given }, read.columns.ip)
    end
  end)

  it("has null for what is absent", function()
    local NULL = arrow.NULL
    local read = both(rows.new():add("code", "int16", -1):none(-1):add("zero", "uint64", 0):none(0):moment "ms"
      :add("text", "text", "", 9):add("other", "int16", 0):none(-1), 2)
    assert.same({ code = { NULL, NULL }, zero = { NULL, NULL }, text = { NULL, NULL }, other = { 0, 0 } }, read.columns)
    for _, field in ipairs(read.fields) do assert.is_true(field.is_nullable) end
  end)

  it("keeps values and absent ones in their rows", function()
    local read = arrow.stream(typed.sparse(function(made, path) return open(made, path, STREAM) end))
    assert.same(typed.sparse_columns(arrow.NULL), read.columns)
  end)

  it("has anonymised values as the digits that CSV has", function()
    local made = rows.new():add("port", "uint16", 443):none(443):anonymized():add("list", "int8", { 1, 2 }):anonymized()
    local expected = {}
    for digits in made:csv_row():gmatch '"(%x+)"' do expected[#expected + 1] = digits end
    local read = both(made, 2)
    assert.same({ expected[1], expected[1] }, read.columns.port)
    assert.same({ expected[2], expected[2] }, read.columns.list)
    assert.same({ "text", true }, { read.fields[1].type, read.fields[1].is_nullable }) -- as any text
  end)

  it("says what a column is", function()
    local read = both(rows.new():add("n", "uint8", 1):about("ms", "a time"):add("m", "uint8", 1):about(nil, "a number")
      :add("o", "uint8", 1))
    assert.same({ { unit = "ms", doc = "a time" }, { doc = "a number" }, {} },
      { read.fields[1].metadata, read.fields[2].metadata, read.fields[3].metadata })
  end)

  it("ends a batch before its texts take too much memory", function()
    local made, path = rows.new():add("id", "uint32", 0):add("text", "text", ("x"):rep(1048576)), os.tmpname()
    local writer = open(made, path, STREAM)
    write(writer, made:record(), 70)
    close(writer)
    assert.same({ 64, 6 }, arrow.stream(rows.read_file(path)).batches)
    os.remove(path)
  end)
end)

describe("what an Arrow output says of its records", function()
  local made, path = with_id(), nil
  before_each(function() path = os.tmpname() end)
  after_each(function() os.remove(path) end)

  it("is what was said last, in a file until its end", function()
    local writer = open(made, path, FILE)
    C.nf_writer_describe(writer, "one", "1")
    C.nf_writer_describe(writer, "two", "2")
    write(writer, made:record(), BATCH_ROWS + 1)
    C.nf_writer_describe(writer, "one", "another")
    C.nf_writer_describe(writer, "three", "")
    close(writer)
    local read = arrow.file(rows.read_file(path))
    assert.same({ one = "another", two = "2", three = "" }, read.metadata)
    assert.same({ one = "1", two = "2" }, read.stream.metadata)
  end)

  it("is what was said before its first batch in a stream", function()
    local writer = open(made, path, STREAM)
    C.nf_writer_describe(writer, "one", "1")
    write(writer, made:record(), 1)
    C.nf_writer_describe(writer, "one", "another")
    C.nf_writer_flush(writer)
    C.nf_writer_describe(writer, "one", "too late")
    close(writer)
    assert.same({ one = "another" }, arrow.stream(rows.read_file(path)).metadata)
  end)
end)

describe("an Arrow stream", function()
  local made, path = with_id(), nil
  before_each(function() path = os.tmpname() end)
  after_each(function() os.remove(path) end)

  local function read() return arrow.stream(rows.read_file(path)) end

  it("shows what has been flushed, and its schema before there is a record", function()
    local writer, record = open(made, path, STREAM), made:record()
    assert.is_nil(read())
    C.nf_writer_flush(writer)
    assert.same({ {}, false }, { read().batches, read().is_ended })
    write(writer, record, 3)
    C.nf_writer_flush(writer)
    C.nf_writer_flush(writer)
    assert.same({ { 3 }, false }, { read().batches, read().is_ended })
    write(writer, record, 2, 3)
    assert.equal(C.NF_OK, close(writer))
    assert.same({ { 3, 2 }, sequence(5), true }, { read().batches, read().columns.id, read().is_ended })
  end)

  it("begins anew in another file, and goes on in one that has something", function()
    local writer, record = open(made, path, STREAM), made:record()
    local moved = path .. ".1"
    write(writer, record, 3)
    os.rename(path, moved)
    assert.equal(C.NF_OK, C.nf_writer_reopen(writer, message))
    write(writer, record, 2)
    C.nf_writer_flush(writer)
    assert.same({ { 2 }, false }, { read().batches, read().is_ended })
    local first = rows.read_file(moved)
    assert.same({ 3, false }, { arrow.stream(first).rows, arrow.stream(first).is_ended })
    os.rename(moved, path)
    assert.equal(C.NF_OK, C.nf_writer_reopen(writer, message))
    write(writer, record, 4, 3)
    assert.equal(C.NF_OK, close(writer))
    assert.same({ { 3, 4 }, sequence(7), true }, { read().batches, read().columns.id, read().is_ended })
  end)

  it("may be compressed", function()
    local writer = open(made, { path = path, descriptor = -1, packing = C.NF_PACKING_GZIP }, STREAM)
    write(writer, made:record(), 10)
    assert.equal(C.NF_OK, close(writer))
    local pipe = assert(io.popen("gzip -dc <" .. path))
    assert.same(sequence(10), arrow.stream(pipe:read "*a").columns.id)
    pipe:close()
  end)
end)

describe("an Arrow file", function()
  it("cannot be compressed as a whole", function()
    for packing, ending in pairs { [C.NF_PACKING_GZIP] = ".gz", [C.NF_PACKING_ZSTD] = ".zst" } do
      local to = { path = "/nonexistent/x.arrow" .. ending, descriptor = -1, packing = packing }
      local ok, reason = pcall(open, with_id(), to, FILE)
      assert.is_false(ok)
      assert.equal(('cannot write "%s": this format cannot be compressed as a whole, expected a name without %s')
        :format(to.path, ending), (reason:gsub("^.-: ", "")))
    end
  end)
end)

describe("an Arrow output that can grow no further", function()
  local made, path = with_id(), nil
  before_each(function() path = os.tmpname() end)
  after_each(function() os.remove(path) end)

  -- Writes three and a half batches where there is room for so many bytes; returns the rows that it says got out.
  local function write_into(format, size)
    return limit.files(size, function()
      local writer = open(made, path, format)
      write(writer, made:record(), 3.5 * BATCH_ROWS)
      assert.equal(C.NF_ERR_OUTPUT, C.nf_writer_finish(writer))
      local count = tonumber(C.nf_writer_rows(writer))
      assert.equal(C.NF_ERR_OUTPUT, close(writer))
      assert.equal(('cannot write "%s": File too large'):format(path), ffi.string(message))
      return count
    end)
  end

  local function whole_size(format)
    local writer = open(made, path, format)
    write(writer, made:record(), 3.5 * BATCH_ROWS)
    close(writer)
    return #rows.read_file(path)
  end

  it("is a stream of whole batches without an end, and counts their rows", function()
    local whole = whole_size(STREAM)
    for _, share in ipairs { 0.1, 0.5, 0.8, 0.99 } do
      local count = write_into(STREAM, math.floor(whole * share))
      local read = arrow.stream(rows.read_file(path))
      assert.same({ count, false, "" }, { read.rows, read.is_ended, read.rest })
      assert.equal(math.floor(share * 3.5) * BATCH_ROWS, count)
    end
    local count = write_into(STREAM, whole - 1) -- all but the end itself
    local read = arrow.stream(rows.read_file(path))
    assert.same({ 3.5 * BATCH_ROWS, count, false, "" }, { read.rows, count, read.is_ended, read.rest })
  end)

  it("is a file of whole batches with a footer that names them, and counts their rows", function()
    local whole = whole_size(FILE)
    for _, share in ipairs { 0.1, 0.5, 0.8 } do
      local count = write_into(FILE, math.floor(whole * share))
      local read = arrow.file(rows.read_file(path))
      assert.same({ count, count }, { read.rows, read.stream.rows })
      assert.equal(math.floor(share * 3.5) * BATCH_ROWS, count)
    end
  end)

  it("is no file where there is no room for the footer", function()
    assert.equal(0, write_into(FILE, whole_size(FILE) - 1))
    assert.is_nil(arrow.file(rows.read_file(path)))
    assert.equal(0, write_into(FILE, 100))
    assert.is_nil(arrow.file(rows.read_file(path)))
  end)

  it("tells of a full disk", function()
    for _, format in ipairs { STREAM, FILE } do
      local writer = open(made, "/dev/full", format)
      assert.equal(C.NF_OK, write(writer, made:record(), 1))
      assert.equal(C.NF_ERR_OUTPUT, close(writer))
      assert.equal('cannot write "/dev/full": No space left on device', ffi.string(message))
    end
  end)
end)
