-- Records in every format, read by readers of others: pyarrow, polars, DuckDB, pandas and Python's sqlite3 find in each
-- the same rows, to the last bit, and the types that the schema tells. `make readers` brings these; $NFENGINE_PYTHON
-- names a Python that has them. Over the samples and some captures of the reference data, with
-- $NFENGINE_EVERY_CAPTURE=1 all of them, and mix_1m.pcap where $NFENGINE_TRACES has it.

local C = require "nfengine.lib"
local data = require "spec.support.data"
local engine = require "spec.support.engine"
local file = require "nfengine.output.file"
local nf = require "nfengine"
local program = require "spec.support.program"
local sqlite = require "nfengine.output.sqlite"

local PYTHON = os.getenv "NFENGINE_PYTHON" or "build/readers/bin/python"

local function has_readers()
  local command = ("%s -c 'import duckdb, pandas, polars, pyarrow' 2>&1"):format(program.quote(PYTHON))
  return program.shell(command).status == 0
end

local missing = not has_readers() and ("%s has no pyarrow, polars, duckdb and pandas: see make readers"):format(PYTHON)

-- A column of each type, with whatever bits: the record's counters multiplied, and numbers that are none.
local EveryType = nf.plugin {
  name = "every_type",
  columns = {
    { "a_bool", "bool" }, { "a_int8", "int8" }, { "a_int16", "int16" }, { "a_int32", "int32" }, { "a_int64", "int64" },
    { "a_uint8", "uint8" }, { "a_uint16", "uint16" }, { "a_uint32", "uint32" }, { "a_uint64", "uint64" },
    { "a_float", "float" }, { "a_double", "double" }, { "a_text", "string:12" },
    { "some_int8", "int8[3]" }, { "some_int16", "int16[3]" }, { "some_int32", "int32[1]" },
    { "some_int64", "int64[2]" }, { "some_uint8", "uint8[5]" }, { "some_uint16", "uint16[3]" },
    { "some_uint32", "uint32[3]" }, { "some_uint64", "uint64[2]" }, { "some_float", "float[4]" },
    { "some_double", "double[4]" },
  },
  on_expire = function(_, flow)
    local udps, number = flow.udps, flow.bidirectional_bytes * 40503 + flow.id * 7919
    udps.a_bool, udps.a_int8, udps.a_int16 = number % 3 == 0, number % 256 - 128, number % 65536 - 32768
    udps.a_int32, udps.a_int64, udps.a_uint8 = -number % 2147483648, -number * 65537, number % 256
    udps.a_uint16, udps.a_uint32 = number % 65536, number * 97 % 4294967296
    udps.a_uint64 = number * 1048573 + (number % 2 == 0 and 2^63 or 0)
    udps.a_float, udps.a_double = number / 7, ({ 1 / 0, 0 / 0, -0, number / 3 })[number % 4 + 1]
    udps.a_text = ({ "", "a,\"b\"", "line\nend\r", "\240\159\166\134 ü", "bad \255\192" })[number % 5 + 1]
    for i = 1, 3 do
      udps.some_int8[i], udps.some_int16[i] = (number * i) % 256 - 128, (number * i) % 65536 - 32768
      udps.some_uint16[i], udps.some_uint32[i] = (number * i) % 65536, (number * i * 31) % 4294967296
    end
    for i = 1, 2 do udps.some_int64[i], udps.some_uint64[i] = -number * i * 9, number * i * 1048573 end
    for i = 1, 4 do
      udps.some_float[i], udps.some_double[i] = number / i, ({ 1 / 0, 0 / 0, -0, number / 3 })[(number + i) % 4 + 1]
    end
    for i = 1, 5 do udps.some_uint8[i] = (number + i) % 256 end
    udps.some_int32[1] = -number % 2147483648
  end,
}

local FORMATS = { csv = "csv", jsonl = "jsonl", parquet = "parquet", arrow = "arrow", arrows = "arrow" }

-- A sink that writes all formats, to base.csv and so on.
local function everything(base)
  local files = {}
  for ending, format in pairs(FORMATS) do
    files[#files + 1] = file.new {
      path = ("%s.%s"):format(base, ending), format = format, packing = C.NF_PACKING_NONE, is_beside = false,
    }
  end
  files[#files + 1] = sqlite.new { product = "SQLite", path = base .. ".sqlite", packing = C.NF_PACKING_NONE }
  local function each(method)
    return function(_, ...)
      for _, one in ipairs(files) do assert(one[method](one, ...)) end
      return true
    end
  end
  local sink = {
    open = each "open", write = each "write", close = each "close",
    parameters = { columns_to_anonymize = { "src_mac", "src2dst_packets" } },
  }
  function sink.count_written()
    local count = files[1]:count_written()
    for _, one in ipairs(files) do assert(one:count_written() == count) end
    return count
  end
  return sink
end

local function given(parameters, path)
  local all = {
    source = path, statistical_analysis = true, splt_analysis = 5, l7_columns = { "all" }, n_meters = 1,
    columns = { "*", "end_reason", "is_closing", "is_frozen" },
  }
  for name, value in pairs(parameters) do all[name] = value end
  return all
end

-- Writes the records of these captures, one after another; gives readers.py's lines, of those that could be opened.
local function write_all(paths, folder, parameters)
  local lines = {}
  for i, path in ipairs(paths) do
    local base = ("%s/%d"):format(folder, i)
    local streamer = nf.streamer(given(parameters, path))
    local ok = pcall(streamer.to, streamer, everything(base))
    if ok or program.read(base .. ".csv") then lines[#lines + 1] = ("%s\t%d"):format(base, streamer:account().flows) end
  end
  return lines
end

-- What readers find wrong, by capture.
local function troubles(paths, parameters)
  local folder = program.shell("mktemp -d").out:gsub("\n", "")
  local lines = engine.quietly(function() return write_all(paths, folder, parameters) end)
  local list = program.write(table.concat(lines, "\n") .. "\n", folder .. "/list")
  local result = program.shell(("%s spec/support/readers.py <%s"):format(program.quote(PYTHON), list))
  program.shell("rm -r " .. folder)
  local found = result.out:gsub(folder .. "/(%d+):", function(number) return paths[tonumber(number)] .. ":" end)
  return { written = #lines, found = result.status == 0 and found or result.err }
end

describe("readers of others", function()
  if missing then
    it("find the same in every format", function() pending(missing) end)
    return
  end
  after_each(engine.cleanup)

  local SAMPLES = program.lines "ls samples/*.pcap*"
  local SETTINGS = {
    { "in milliseconds", { udps = { EveryType {} } } },
    { "in microseconds, without L7", { time_unit = "us", n_dissections = 0, udps = { EveryType {} } } },
    { "in nanoseconds, addresses as bytes",
      { time_unit = "ns", splt_analysis = 255, idle_timeout = 1, l7_columns = {}, binary_addresses = true } },
  }
  for _, setting in ipairs(SETTINGS) do
    it("find the same rows in every format, " .. setting[1], function()
      assert.same({ written = #SAMPLES, found = "" }, troubles(SAMPLES, setting[2]))
    end)
  end

  it("find the same rows of the reference data", function()
    local paths = data.captures(53)
    if #paths == 0 then return pending(data.absent) end
    local result = troubles(paths, { udps = { EveryType {} } })
    assert.equal("", result.found)
    assert.is_true(result.written > #paths / 2)
  end)

  it("find the same rows of a large trace", function()
    local folder = os.getenv "NFENGINE_TRACES"
    if not data.is_every then return pending "takes a while: $NFENGINE_EVERY_CAPTURE=1" end
    if not folder then return pending "no $NFENGINE_TRACES" end
    assert.same({ written = 1, found = "" }, troubles({ folder .. "/mix_1m.pcap" }, { udps = { EveryType {} } }))
  end)
end)
