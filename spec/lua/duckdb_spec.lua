-- Records in DuckDB databases: lua/nfengine/output/duckdb.lua. Debian has no DuckDB: see spec/support/database.lua.

local nf = require "nfengine"
local capture = require "nfengine.testing.capture"
local data = require "spec.support.data"
local database = require "spec.support.database"
local engine = require "spec.support.engine"
local meter = require "spec.support.meter"
local program = require "spec.support.program"

local DNS, WEB, TLS = "samples/dns.pcap", "samples/web.pcap", "samples/tls.pcap"

describe("DuckDB", function()
  after_each(engine.cleanup)

  it("is named where it is not there", function()
    local path = program.temporary ".duckdb"
    assert.same({ status = 1, out = "", err = "nfengine: DuckDB: cannot load libduckdb.so, which is no part of Debian: "
      .. "expected it where libraries are, or its path in NFENGINE_LIBDUCKDB\n" },
      program.shell(("NFENGINE_LIBDUCKDB=/nowhere/libduckdb.so %s -q flows -o %s %s"):format(program.path, path, DNS)))
    assert.is_nil(program.read(path))
  end)

  it("is refused what it has not, before it is looked for", function()
    for message, words in pairs {
      ["DuckDB: expected a path to write to, got standard output or an open file"] = { "--format=duckdb" },
      ['cannot write "x.duckdb.zst": a database cannot be compressed as a whole, expected a name without .zst'] =
        { "-o", "x.duckdb.zst" },
      ['cannot write "x.duckdb": databases open files as they go, expected another format, or no --sandbox'] =
        { "--sandbox", "-o", "x.duckdb" },
    } do
      local result = program.run("-q", "flows", DNS, unpack(words))
      assert.same({ 1, "nfengine: " .. message .. "\n" }, { result.status, result.err })
    end
    assert.is_nil(program.read "x.duckdb")
  end)

  if database.absent.duckdb then return pending(database.absent.duckdb) end

  -- `count` flows of one packet, from ports 1000, 1001 ...
  local function streamer(count, more)
    local given = { columns = { "id", "src_port", "src_ip" }, packets = {} }
    for i = 1, count do given.packets[i] = meter.udp(i / 100, 999 + i) end
    for name, value in pairs(more or {}) do given[name] = value end
    return engine.streamer(given)
  end

  local function query(path, sql)
    local code = "import duckdb, sys; [print(*row, sep='|') for row in "
      .. "duckdb.connect(sys.argv[1], read_only=True).execute(sys.argv[2]).fetchall()]"
    local result = program.shell(("python3 -c %s %s %s"):format(program.quote(code), program.quote(path),
      program.quote(sql)))
    assert(result.status == 0, result.err)
    return (result.out:gsub("\n$", ""))
  end

  local function refusal(path, ...)
    local given = { ... }
    return engine.refusal(function() streamer(2):to_duckdb(path, unpack(given)) end)
  end

  it("gets a row a flow, in a table that is made", function()
    local path = program.temporary ".duckdb"
    assert.equal(2, streamer(2):to_duckdb(path))
    assert.equal("0|1000|10.0.0.1\n1|1001|10.0.0.1", query(path, "SELECT * FROM flows"))
  end)

  it("gets values by their types", function()
    local path, names, columns = program.temporary ".duckdb", {}, {}
    local values = { c_bool = true, c_int8 = -128, c_uint8 = 255, c_int16 = -32768, c_uint16 = 65535,
      c_int32 = -2147483648, c_uint32 = 4294967295, c_int64 = -0x7fffffffffffffffLL - 1,
      c_uint64 = 0xffffffffffffffffULL, c_float = 0.1, c_double = 0.1 }
    for _, type in ipairs { "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float",
      "double" } do
      columns[#columns + 1], names[#names + 1] = { "c_" .. type, type, "x" }, "udps.c_" .. type
    end
    for _, more in ipairs { { "text", "string" }, { "list", "int16[3]" }, { "reals", "double[3]" } } do
      columns[#columns + 1], names[#names + 1] = { more[1], more[2], "x" }, "udps." .. more[1]
    end
    local P = nf.plugin { name = "p", columns = columns, on_init = function(_, _, flow)
      for name, value in pairs(values) do flow.udps[name] = value end
      flow.udps.text = "it's; DROP TABLE flows"
      for i = 1, 3 do flow.udps.list[i], flow.udps.reals[i] = i - 2, i == 1 and 0.1 or i == 2 and 0 / 0 or math.huge end
    end }
    streamer(1, { udps = P, columns = names }):to_duckdb(path)
    assert.equal("True|-128|255|-32768|65535|-2147483648|4294967295|-9223372036854775808|18446744073709551615|"
      .. "0.10000000149011612|0.1|it's; DROP TABLE flows|[-1, 0, 1]|[0.1, None, None]",
      query(path, "SELECT * FROM flows"))
    assert.equal("BOOLEAN,TINYINT,UTINYINT,SMALLINT,USMALLINT,INTEGER,UINTEGER,BIGINT,UBIGINT,FLOAT,DOUBLE,VARCHAR,"
      .. "SMALLINT[],DOUBLE[]", query(path, "SELECT string_agg(column_type) FROM (DESCRIBE flows)"))
  end)

  it("gets moments as timestamps, to the unit", function()
    for unit, expected in pairs { ms = "TIMESTAMP|2020-09-13 12:26:40.001", us = "TIMESTAMP|2020-09-13 12:26:40.001234",
      ns = "TIMESTAMP_NS|2020-09-13 12:26:40.001234567" } do
      local path = program.temporary ".duckdb"
      streamer(1, { time_unit = unit, columns = { "bidirectional_first_seen_" .. unit },
        packets = { meter.udp(1.234567, 1000) } }):to_duckdb(path)
      assert.equal(expected, query(path, "SELECT typeof(x), x::VARCHAR FROM (SELECT bidirectional_first_seen_" .. unit
        .. " AS x FROM flows)"))
    end
  end)

  it("keeps what is there, in tables of any name whose columns are the same", function()
    local path = program.temporary ".duckdb"
    for _, name in ipairs { "select", 'say "x"', "x; DROP TABLE flows; --" } do
      streamer(1):to_duckdb(path, name)
      streamer(2):to_duckdb(path, name)
      assert.equal("3", query(path, ('SELECT count(*) FROM "%s"'):format(name:gsub('"', '""'))))
    end
    local START = ('cannot write "%s": table "select": column '):format(path)
    local function with(columns)
      return engine.refusal(function() streamer(1, { columns = columns }):to_duckdb(path, "select") end)
    end
    assert.equal(START .. '1 is "id", expected "src_port" USMALLINT', with { "src_port", "id", "src_ip" })
    assert.equal(START .. '3 is "src_ip", expected no more', with { "id", "src_port" })
    assert.equal(START .. '4 is not there, expected "dst_ip" VARCHAR', with { "id", "src_port", "src_ip", "dst_ip" })
    assert.equal("3", query(path, 'SELECT count(*) FROM "select"'))
  end)

  it("fails in one line", function()
    local folder = capture.folder { ["text.duckdb"] = ("no database\n"):rep(500) }
    for _, path in ipairs { "/nowhere/x.duckdb", folder, folder .. "/text.duckdb" } do
      assert.matches(('cannot write "%s": '):format(path), refusal(path), 1, true)
    end
    local copy = folder .. "/x.duckdb"
    os.execute(("cp %s %s"):format(DNS, copy))
    assert.equal(('cannot write "%s": it is a capture of this run'):format(copy),
      engine.refusal(function() engine.streamer({ source = copy }):to_duckdb(copy) end))
    assert.equal("table = 5: expected the name of a table", refusal(copy, 5))
  end)

  it("has whole batches or nothing after kill -9", function()
    local path = program.temporary ".duckdb"
    local packets = {}
    for i = 1, 60000 do packets[i] = meter.udp(i / 1000, 1 + i) end
    local command = ("%s -q flows --n-dissections=0 --n-meters=1 -o %s %s"):format(program.path, path,
      engine.capture(packets))
    local rows = 0
    for _ = 1, 6 do
      program.shell(("%s & pid=$!; sleep %.3f; kill -9 $pid; wait $pid"):format(command, 0.3 + 0.4 * math.random()))
      -- What it has left in its log is put in order by who writes next.
      assert.same({ status = 0, out = "", err = "" }, program.shell(command))
      local before = rows
      rows = tonumber(query(path, "SELECT count(*) FROM flows"))
      assert.is_truthy(({ [60000] = 1, [110000] = 1, [120000] = 1 })[rows - before])
    end
  end)

  it("has the rows that CSV has", function()
    for _, source in ipairs { DNS, WEB, TLS } do
      assert.is_nil(database.difference("duckdb", source, unpack(database.everything)))
      assert.is_nil(database.difference("duckdb", source, "--time-unit=ns", "--n-meters=3",
        unpack(database.everything)))
    end
  end)

  it("has them over the reference data", function()
    local paths, found = data.captures(97), {}
    if #paths == 0 then return pending(data.absent) end
    for _, path in ipairs(paths) do
      found[#found + 1] = database.difference("duckdb", path, unpack(database.everything))
      program.remove_temporaries()
    end
    assert.same({}, found)
  end)
end)
