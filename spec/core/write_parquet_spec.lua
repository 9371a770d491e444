-- Parquet output, byte for byte: core/write_parquet.c.

local bit = require "bit"
local ffi = require "ffi"
local C = require "nfengine.lib"
local limit = require "spec.support.limit"
local parquet = require "spec.support.parquet"
local rows = require "spec.support.rows"
local typed = require "spec.support.typed"

ffi.cdef [[
  int sched_getaffinity(int process, size_t size, void *set);
  int sched_setaffinity(int process, size_t size, const void *set);
]]

local PARQUET = C.NF_FORMAT_PARQUET
local GROUP_ROWS = 65536
local REQUIRED, OPTIONAL, REPEATED = 0, 1, 2

local message = ffi.new("char[?]", C.NF_ERROR_SIZE)

local function open(made, path, packing)
  local to = { path = path, descriptor = -1, packing = packing }
  local writer = rows.open(to, PARQUET, made:c_columns(), #made.columns, message)
  return writer ~= nil and writer or error(ffi.string(message), 0)
end

local function close(writer) return C.nf_writer_close(writer, message) end

local with_id, write = typed.with_id, typed.write

local function read_made(made, count) return assert(parquet.read(made:written(PARQUET, count))) end

describe("a Parquet output", function()
  it("has a schema and no row group where there are no records", function()
    local read = read_made(with_id(), 0)
    assert.same({ 0, {}, 3, 2 }, { read.rows, read.groups, #read.schema, read.schema[1].children })
    assert.same({ "id", "text" }, { read.schema[2].name, read.schema[3].name })
    assert.truthy(read.created_by:match "^nfengine version ")
  end)

  it("has one row group with one record", function()
    local read = read_made(with_id(), 1)
    assert.same({ { 1 }, { id = { 0 }, text = { "abc" } } }, { read.groups, read.columns })
  end)

  it("has several with many", function()
    local path = os.tmpname()
    local made = with_id()
    local writer = open(made, path)
    write(writer, made:record(), 2 * GROUP_ROWS + 5)
    assert.equal(C.NF_OK, C.nf_writer_finish(writer))
    assert.equal(2 * GROUP_ROWS + 5, tonumber(C.nf_writer_rows(writer)))
    assert.equal(C.NF_OK, close(writer))
    local read = parquet.read(rows.read_file(path))
    os.remove(path)
    assert.same({ GROUP_ROWS, GROUP_ROWS, 5 }, read.groups)
    for i = 1, 2 * GROUP_ROWS + 5 do
      if read.columns.id[i] ~= i - 1 then error(("row %d: %d"):format(i - 1, read.columns.id[i])) end
    end
  end)

  it("is the same however many CPUs there are", function()
    local made, path = with_id(), os.tmpname()
    for i = 1, 12 do made:add("number_" .. i, "uint32", 7 * i):add("word_" .. i, "text", ("x"):rep(i)) end
    local function written()
      local writer = open(made, path)
      write(writer, made:record(), GROUP_ROWS)
      assert.equal(C.NF_OK, close(writer))
      return rows.read_file(path)
    end
    local all, one = ffi.new "uint64_t[16]", ffi.new "uint64_t[16]"
    assert.equal(0, ffi.C.sched_getaffinity(0, ffi.sizeof(all), all))
    for word = 0, 15 do -- the first that there is
      if all[word] ~= 0 then
        one[word] = bit.band(all[word], -all[word])
        break
      end
    end
    local with_all = written()
    assert.equal(0, ffi.C.sched_setaffinity(0, ffi.sizeof(one), one))
    local with_one = written()
    ffi.C.sched_setaffinity(0, ffi.sizeof(all), all)
    os.remove(path)
    assert.is_true(with_all == with_one)
  end)

  it("shows nothing before it is finished", function()
    local made, path = with_id(), os.tmpname()
    local writer = open(made, path)
    write(writer, made:record(), 3)
    C.nf_writer_flush(writer)
    assert.is_nil(parquet.read(rows.read_file(path)))
    close(writer)
    assert.equal(3, parquet.read(rows.read_file(path)).rows)
    os.remove(path)
  end)

  it("has numbers, to the limits of each type", function()
    for kind, values in pairs(typed.LIMITS) do
      for _, value in ipairs(values) do
        local bits = kind == "uint32" and bit.tobit(value) or value -- 32 bits, the reader knows no sign
        assert.same({ bits, bits, bits }, read_made(rows.new():add("n", kind, value), 3).columns.n)
      end
    end
  end)

  it("tells the width and sign of numbers, and what moments count", function()
    local made = rows.new():add("small", "int8", 0):add("large", "uint64", 0):add("ms", "uint64", 1):moment "ms"
      :add("ns", "uint64", 1):moment "ns":add("real", "double", 0)
    local schema = read_made(made).schema
    assert.same({ [10] = { 8, true } }, schema[2].logical)
    assert.same({ [10] = { 64, false } }, schema[3].logical)
    assert.same({ [8] = { true, { {} } } }, schema[4].logical)
    assert.same({ [8] = { true, { nil, nil, {} } } }, schema[5].logical)
    assert.is_nil(schema[6].logical)
    assert.same({ 15, 14, 9 }, { schema[2].converted, schema[3].converted, schema[4].converted })
  end)

  it("has addresses as bytes where that is asked for", function()
    for _, case in ipairs(typed.BINARY_ADDRESSES) do
      local read = read_made(typed.with_binary_address(case), 3)
      assert.same({ 7, 16 }, { read.schema[2].type, read.schema[2].length })
      assert.same({ case.given, case.given, case.given }, read.columns.ip)
    end
  end)

  it("has truths by the bit", function()
    local read = read_made(rows.new():add("yes", "bool", true):add("no", "bool", false), 9)
    assert.same({ true, true, true, true, true, true, true, true, true }, read.columns.yes)
    assert.same({ false, false, false, false, false, false, false, false, false }, read.columns.no)
  end)

  it("has arrays as lists", function()
    local read = read_made(rows.new():add("n", "int16", { 1, -2, 3 }):add("b", "bool", { true, false, true }), 3)
    assert.same({ { 1, -2, 3 }, { 1, -2, 3 }, { 1, -2, 3 } }, read.columns.n)
    assert.same({ { true, false, true }, { true, false, true }, { true, false, true } }, read.columns.b)
    assert.same({ { "n", REQUIRED }, { "list", REPEATED }, { "element", REQUIRED } }, {
      { read.schema[2].name, read.schema[2].repetition }, { read.schema[3].name, read.schema[3].repetition },
      { read.schema[4].name, read.schema[4].repetition },
    })
  end)

  it("has null for what is absent, and values in their rows", function()
    local read = parquet.read(typed.sparse(open))
    assert.same(typed.sparse_columns(parquet.NULL), read.columns)
    assert.same({ OPTIONAL, OPTIONAL }, { read.schema[2].repetition, read.schema[3].repetition })
  end)

  it("has anonymised values as the digits that CSV has", function()
    local made = rows.new():add("port", "uint16", 443):none(443):anonymized():add("list", "int8", { 1, 2 }):anonymized()
    local expected = {}
    for digits in made:csv_row():gmatch '"(%x+)"' do expected[#expected + 1] = digits end
    local read = read_made(made, 2)
    assert.same({ expected[1], expected[1] }, read.columns.port)
    assert.same({ expected[2], expected[2] }, read.columns.list)
    assert.equal(OPTIONAL, read.schema[2].repetition) -- as any text
  end)

  it("says of its records what was said last before its end", function()
    local made, path = with_id(), os.tmpname()
    local writer = open(made, path)
    C.nf_writer_describe(writer, "one", "1")
    write(writer, made:record(), 3)
    C.nf_writer_describe(writer, "one", "another")
    C.nf_writer_describe(writer, "two", "")
    close(writer)
    assert.same({ one = "another", two = "" }, parquet.read(rows.read_file(path)).metadata)
    os.remove(path)
  end)

  it("cannot be compressed as a whole", function()
    local ok, reason = pcall(open, with_id(), "/nonexistent/x.parquet.gz", C.NF_PACKING_GZIP)
    assert.same({ false, 'cannot write "/nonexistent/x.parquet.gz": this format cannot be compressed as a whole, '
      .. "expected a name without .gz" }, { ok, reason })
  end)
end)

describe("a Parquet output that can grow no further", function()
  local made, path = with_id(), nil
  before_each(function() path = os.tmpname() end)
  after_each(function() os.remove(path) end)

  local function write_groups()
    local writer = open(made, path)
    write(writer, made:record(), 2.5 * GROUP_ROWS)
    local status, count = C.nf_writer_finish(writer), tonumber(C.nf_writer_rows(writer))
    assert.equal(status, close(writer))
    return status, count
  end

  local function write_into(size)
    return limit.files(size, function()
      local status, count = write_groups()
      assert.equal(C.NF_ERR_OUTPUT, status)
      assert.equal(('cannot write "%s": File too large'):format(path), ffi.string(message))
      return count
    end)
  end

  it("has whole row groups and a footer that names them, and counts their rows", function()
    write_groups()
    local whole = #rows.read_file(path)
    for _, share in ipairs { 0.6, 0.9 } do
      local count = write_into(math.floor(whole * share))
      assert.equal(math.floor(share * 2.5) * GROUP_ROWS, count)
      assert.equal(count, parquet.read(rows.read_file(path)).rows)
    end
  end)

  it("is no file where there is no room for the footer, or for one row group", function()
    write_groups()
    local whole = #rows.read_file(path)
    for _, size in ipairs { whole - 1, math.floor(whole / 5), 100 } do
      assert.equal(0, write_into(size))
      assert.is_nil(parquet.read(rows.read_file(path)))
    end
  end)

  it("tells of a full disk", function()
    local writer = open(made, "/dev/full")
    assert.equal(C.NF_OK, write(writer, made:record(), 1))
    assert.equal(C.NF_ERR_OUTPUT, close(writer))
    assert.equal('cannot write "/dev/full": No space left on device', ffi.string(message))
  end)
end)
