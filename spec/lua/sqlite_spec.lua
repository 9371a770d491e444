-- Records in SQLite databases: lua/nfengine/output/sqlite.lua and database.lua there, lua/nfengine/sqlite.lua.

local C = require "nfengine.lib"
local nf = require "nfengine"
local capture = require "nfengine.testing.capture"
local data = require "spec.support.data"
local database = require "spec.support.database"
local engine = require "spec.support.engine"
local meter = require "spec.support.meter"
local program = require "spec.support.program"

if database.absent.sqlite then
  describe("SQLite", function() pending(database.absent.sqlite) end)
  return
end

local DNS, WEB, TLS = "samples/dns.pcap", "samples/web.pcap", "samples/tls.pcap"
local IS_ROOT = program.shell("id -u").out == "0\n"
local query = database.query

-- `count` flows of one packet, from ports 1000, 1001 ...
local function singles(count)
  local packets = {}
  for i = 1, count do packets[i] = meter.udp(i / 100, 999 + i) end
  return packets
end

local function streamer(count, more)
  local given = { columns = { "id", "src_port", "src_ip" }, packets = singles(count) }
  for name, value in pairs(more or {}) do given[name] = value end
  return engine.streamer(given)
end

-- A plugin whose columns of one flow have these values; `columns` as it declares them.
local function with_values(columns, values)
  return nf.plugin { name = "p", columns = columns, on_init = function(_, _, flow)
    for name, value in pairs(values) do
      if type(value) == "table" then
        for i = 1, #value do flow.udps[name][i] = value[i] end
      else
        flow.udps[name] = value
      end
    end
  end }
end

-- A new database with the one flow of such a plugin.
local function database_of(columns, values)
  local path, names = program.temporary ".sqlite", {}
  for i, column in ipairs(columns) do names[i] = "udps." .. column[1] end
  streamer(1, { udps = with_values(columns, values), columns = names }):to_sqlite(path)
  return path
end

describe("to_sqlite", function()
  after_each(engine.cleanup)

  it("makes file and table, adds a row a flow, and gives the number of rows", function()
    local path = program.temporary ".sqlite"
    assert.equal(2, streamer(2):to_sqlite(path))
    assert.equal("0|1000|10.0.0.1\n1|1001|10.0.0.1", query(path, "SELECT * FROM flows"))
    assert.equal("integer|integer|text", query(path, "SELECT DISTINCT typeof(id), typeof(src_port), typeof(src_ip) "
      .. "FROM flows"))
  end)

  it("makes the table where there are no flows", function()
    local path = program.temporary ".sqlite"
    assert.equal(0, streamer(0):to_sqlite(path))
    assert.equal("id INTEGER|src_port INTEGER|src_ip TEXT", query(path,
      "SELECT group_concat(name || ' ' || type, '|') FROM pragma_table_info('flows')"))
  end)

  it("says in the schema what columns are", function()
    local path = program.temporary ".sqlite"
    streamer(0):to_sqlite(path)
    assert.matches('"src_ip" TEXT -- source address of the first packet\n', query(path, ".schema"), 1, true)
  end)

  it("takes no doc of a plugin for SQL", function()
    local P = nf.plugin { name = "p", columns = { { "x", "uint8", "a\n); DROP TABLE flows; --\27" } } }
    local path = program.temporary ".sqlite"
    streamer(1, { udps = P, columns = { "udps.x" } }):to_sqlite(path)
    assert.matches('"udps.x" INTEGER -- a?); DROP TABLE flows; --?\n', query(path, ".schema"), 1, true)
    assert.equal("0", query(path, "SELECT * FROM flows"))
  end)

  it("leaves one file behind, without a log", function()
    local folder = capture.folder {}
    streamer(2):to_sqlite(folder .. "/x.db")
    assert.equal("x.db", program.names_in(folder))
    assert.equal("delete", query(folder .. "/x.db", "PRAGMA journal_mode"))
  end)

  it("goes beside the first source without a path", function()
    local folder = capture.folder { ["a.pcap"] = capture.pcap(singles(3), { ns = true }) }
    engine.streamer({ source = folder .. "/a.pcap" }):to_sqlite()
    assert.equal("3", query(folder .. "/a.pcap.sqlite", "SELECT count(*) FROM flows"))
  end)

  it("takes paths that SQLite has a meaning for, as paths", function()
    local folder = capture.folder {}
    local command = "cd %s && for name in :memory: 'file:x?mode=memory' -x; do %s -q --format=sqlite -o $name flows "
      .. "--n-dissections=0 %s || exit 1; done"
    local words = { program.shell("realpath " .. program.path).out:gsub("\n", ""),
      program.shell("realpath " .. DNS).out:gsub("\n", "") }
    local result = program.shell(command:format(folder, words[1], words[2]))
    assert.same({ status = 0, out = "", err = "" }, result)
    assert.equal("-x :memory: file:x?mode=memory", program.names_in(folder))
  end)

  it("writes integers of every type to their limits", function()
    local columns, values, expected = {}, {}, {}
    for _, case in ipairs {
      { "bool", true, "1" }, { "int8", -128, "-128" }, { "uint8", 255, "255" }, { "int16", -32768, "-32768" },
      { "uint16", 65535, "65535" }, { "int32", -2147483648, "-2147483648" }, { "uint32", 4294967295, "4294967295" },
      { "int64", -0x7fffffffffffffffLL - 1, "-9223372036854775808" },
      { "uint64", 0x7fffffffffffffffULL, "9223372036854775807" },
    } do
      columns[#columns + 1] = { "c_" .. case[1], case[1], "x" }
      values["c_" .. case[1]], expected[#expected + 1] = case[2], case[3]
    end
    assert.equal(table.concat(expected, "|"), query(database_of(columns, values), "SELECT * FROM flows"))
  end)

  it("keeps all bits of an unsigned integer beyond what SQLite's can be", function()
    local path = database_of({ { "a", "uint64", "x" }, { "b", "uint64", "x" } },
      { a = 0xffffffffffffffffULL, b = 0x8000000000000000ULL })
    assert.equal("-1|-9223372036854775808|integer",
      query(path, 'SELECT "udps.a", "udps.b", typeof("udps.a") FROM flows'))
    assert.equal("18446744073709551615|9223372036854775808",
      query(path, [[SELECT printf('%llu', "udps.a"), printf('%llu', "udps.b") FROM flows]]))
  end)

  it("writes reals to the last bit, infinity among them, and NULL for NaN", function()
    local columns = { { "a", "double", "x" }, { "b", "double", "x" }, { "c", "float", "x" }, { "d", "double", "x" },
      { "e", "double", "x" } }
    local path = database_of(columns, { a = 0.1, b = 1 / 3, c = 0.5, d = math.huge, e = 0 / 0 })
    assert.equal("real|real|real|real|null", query(path,
      'SELECT typeof("udps.a"), typeof("udps.b"), typeof("udps.c"), typeof("udps.d"), typeof("udps.e") FROM flows'))
    local csv = "udps.a,udps.b,udps.c,udps.d,udps.e\n0.1,0.3333333333333333,0.5,inf,nan\n"
    local kinds = {}
    for _, name in ipairs { "a", "b", "c", "d", "e" } do kinds["udps." .. name] = "real:nan" end
    assert.equal(csv, database.as_csv("sqlite", path, csv, nil, kinds))
  end)

  it("writes arrays as JSON that SQLite reads", function()
    local path = database_of({ { "n", "int16[3]", "x" }, { "x", "double[3]", "x" }, { "u", "uint64[2]", "x" } },
      { n = { 5, -1, 0 }, x = { 0.5, math.huge, 0 / 0 }, u = { 0xffffffffffffffffULL, 1 } })
    assert.equal("[5, -1, 0]|[0.5, null, null]|[18446744073709551615, 1]|text",
      query(path, 'SELECT *, typeof("udps.n") FROM flows'))
    assert.equal("5|4|3", query(path, [[SELECT "udps.n" ->> 0, (SELECT sum(value) FROM json_each("udps.n")),
      json_array_length("udps.x") FROM flows]]))
  end)

  it("writes the text that CSV has, whatever bytes it is made of", function()
    for bytes, expected in pairs {
      ['a "quoted", \\ text\nof two lines'] = 'a "quoted", \\ text\nof two lines', ["it's; DROP TABLE flows"] = false,
      ["\255\254x\192\175"] = "\239\191\189\239\191\189x\239\191\189\239\191\189", ["a\0b"] = "a", ["\27[31m"] = false,
      ["ü€𝄞"] = false, [("x"):rep(2000)] = ("x"):rep(64),
    } do
      local Writer = with_values({ { "text", "string", "x" } }, { text = bytes })
      local given = { udps = Writer, columns = { "udps.text" } }
      local path, csv = program.temporary ".sqlite", program.temporary ".csv"
      streamer(1, given):to_sqlite(path)
      streamer(1, given):to_csv(csv)
      local hex = query(path, 'SELECT hex("udps.text") FROM flows')
      local got = hex:gsub("%x%x", function(digits) return string.char(tonumber(digits, 16)) end)
      assert.equal(expected or bytes, got)
      local kinds = { ["udps.text"] = "text" }
      assert.equal(program.read(csv), database.as_csv("sqlite", path, program.read(csv), nil, kinds))
    end
  end)

  it("writes NULL for what is absent", function()
    local path = program.temporary ".sqlite"
    local given = { source = DNS, n_dissections = 20, l7_columns = "dns_response_code",
      filter = function(flow) return flow.dst2src_packets == 0 end }
    assert.is_true(engine.streamer(given):to_sqlite(path) > 0)
    assert.equal("null|null|null|text", query(path, [[SELECT DISTINCT typeof(dst2src_first_seen_ms),
      typeof(dst2src_last_seen_ms), typeof(user_agent), typeof(application_name) FROM flows]]))
    assert.equal("0", query(path, "SELECT count(*) FROM flows WHERE dns_response_code = -1 OR user_agent = ''"))
  end)

  it("writes moments as integers in the run's unit", function()
    local path = program.temporary ".sqlite"
    streamer(1, { time_unit = "ns", columns = { "bidirectional_first_seen_ns" } }):to_sqlite(path)
    assert.equal("1600000000000010000|integer|2020-09-13 12:26:40", query(path, [[SELECT *, typeof(f),
      datetime(f / 1000000000, 'unixepoch') FROM (SELECT bidirectional_first_seen_ns AS f FROM flows)]]))
  end)
end)

describe("a table of another name", function()
  after_each(engine.cleanup)

  local NAMES = { "select", 'say "x"', "it's", "a.b", "[x]", "`", "ü", "x; DROP TABLE flows; --", " ", "%s", "flows" }

  it("may have any name", function()
    local path = program.temporary ".sqlite"
    for _, name in ipairs(NAMES) do streamer(1):to_sqlite(path, name) end
    table.sort(NAMES)
    assert.equal(table.concat(NAMES, "\n"), query(path, "SELECT name FROM sqlite_master ORDER BY name"))
    for _, name in ipairs(NAMES) do
      assert.equal("1", query(path, ('SELECT count(*) FROM "%s"'):format(name:gsub('"', '""'))))
    end
  end)

  it("is given by --table, which wins over the script's", function()
    local path = program.temporary ".db"
    local file = engine.script_file(("require('nfengine').streamer({ n_dissections = 0 }):to_sqlite(%q, 'b')")
      :format(path))
    assert.equal(0, program.run("-q", "--table=a", file, DNS).status)
    assert.equal(0, program.run("-q", file, DNS).status)
    assert.equal("a\nb", query(path, "SELECT name FROM sqlite_master ORDER BY name"))
  end)

  it("may not be empty, no text, or one of SQLite's own", function()
    local path = program.temporary ".sqlite"
    for _, name in ipairs { "", "a\0b" } do
      assert.matches("^table = .*: expected the name of a table$",
        engine.refusal(function() streamer(1):to_sqlite(path, name) end))
    end
    assert.equal("table = 5: expected the name of a table",
      engine.refusal(function() streamer(1):to_sqlite(path, 5) end))
    assert.equal(('cannot write "%s": object name reserved for internal use: sqlite_x'):format(path),
      engine.refusal(function() streamer(1):to_sqlite(path, "sqlite_x") end))
  end)
end)

describe("a table that is there", function()
  local path
  before_each(function() path = program.temporary ".sqlite" end)
  after_each(engine.cleanup)

  local function refusal() return engine.refusal(function() streamer(2):to_sqlite(path) end) end

  it("is added to", function()
    streamer(2):to_sqlite(path)
    assert.equal(3, streamer(3):to_sqlite(path))
    assert.equal("0,1,0,1,2", query(path, "SELECT group_concat(id) FROM flows"))
  end)

  it("may have its columns in another order, by other types of the same kind, and more of them", function()
    query(path, [[CREATE TABLE flows (note TEXT DEFAULT 'new', SRC_IP varchar(39) NOT NULL, src_port BIGINT,
      id INT PRIMARY KEY)]])
    assert.equal(2, streamer(2):to_sqlite(path))
    assert.equal("new|10.0.0.1|1000|0\nnew|10.0.0.1|1001|1", query(path, "SELECT * FROM flows"))
  end)

  it("is refused for the first column that does not fit, and stays as it was", function()
    local START = ('cannot write "%s": table "flows": column '):format(path)
    for declared, expected in pairs {
      ["src_port INTEGER, src_ip TEXT"] = '"id" is not there, expected INTEGER',
      ["id INTEGER, src_port TEXT, src_ip TEXT"] = '"src_port" is TEXT, expected INTEGER',
      ["id INTEGER, src_port INTEGER, src_ip"] = '"src_ip" is BLOB, expected TEXT',
      ["id DATETIME, src_port REAL, src_ip TEXT"] = '"id" is NUMERIC, expected INTEGER',
      ["id INTEGER, src_port REAL, src_ip TEXT"] = '"src_port" is REAL, expected INTEGER',
    } do
      query(path, ("DROP TABLE IF EXISTS flows; CREATE TABLE flows (%s)"):format(declared))
      assert.equal(START .. expected, refusal())
      assert.equal("0", query(path, "SELECT count(*) FROM flows"))
    end
  end)

  it("keeps the rows before one that it refuses", function()
    query(path, "CREATE TABLE flows (id INTEGER, src_port INTEGER CHECK (src_port < 1002), src_ip TEXT)")
    local result = program.run("flows", "--columns=id,src_port,src_ip", "--n-dissections=0", "-o", path,
      engine.capture(singles(5)))
    assert.equal(1, result.status)
    assert.matches('cannot write "' .. path .. '": CHECK constraint failed: src_port < 1002\n', result.err, 1, true)
    assert.matches(", 2 flows, ", result.err, 1, true)
    assert.equal("0,1", query(path, "SELECT group_concat(id) FROM flows"))
  end)

  it("is read by others while it is written", function()
    streamer(1):to_sqlite(path)
    local seen = {}
    local Look = nf.plugin { name = "look", on_init = function(_, packet)
      if packet.number == 2 then seen[1] = query(path, "SELECT count(*) FROM flows") end
    end }
    streamer(3, { udps = Look, idle_timeout = 0 }):to_sqlite(path)
    assert.same({ "1" }, seen)
    assert.equal("4", query(path, "SELECT count(*) FROM flows"))
  end)

  it("is written by several at once", function()
    local source = engine.capture(singles(3000))
    local one = ("%s -q flows --n-dissections=0 -o %s %s"):format(program.path, path, source)
    local result = program.shell(("for i in 1 2 3 4; do %s & pids=\"$pids $!\"; done; "
      .. "for pid in $pids; do wait $pid || exit 1; done"):format(one))
    assert.same({ status = 0, out = "", err = "" }, result)
    assert.equal("12000", query(path, "SELECT count(*) FROM flows"))
  end)
end)

describe("an SQLite file that cannot be written", function()
  after_each(engine.cleanup)

  local function refusal(path, ...)
    local given = { ... }
    return engine.refusal(function() streamer(1):to_sqlite(path, unpack(given)) end)
  end

  it("is told in one line", function()
    local folder = capture.folder { ["text.db"] = ("no database\n"):rep(500), ["empty.db"] = "" }
    local LINE = 'cannot write "%s": %s'
    for path, reason in pairs {
      ["/nowhere/x.db"] = "No such file or directory", [folder] = "Is a directory", ["/dev/full"] = false,
      [folder .. "/text.db"] = "file is not a database", [""] = "Is a directory",
    } do
      local message = refusal(path)
      assert.matches(LINE:format(path, reason or ""), message, 1, true)
    end
    assert.equal(("no database\n"):rep(500), program.read(folder .. "/text.db"))
    streamer(2):to_sqlite(folder .. "/empty.db")
    assert.equal("2", query(folder .. "/empty.db", "SELECT count(*) FROM flows"))
  end)

  it("is one that may only be read", function()
    local path = program.temporary ".db"
    streamer(1):to_sqlite(path)
    os.execute(("chmod 444 %s"):format(path))
    local as = IS_ROOT and "setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all " or ""
    local source = engine.capture(singles(1))
    os.execute("chmod 644 " .. source)
    local command = ("%s%s -q flows --n-dissections=0 --columns=id,src_port,src_ip -o %s %s")
      :format(as, program.path, path, source)
    assert.same({ status = 1, out = "",
      err = ('nfengine: cannot write "%s": attempt to write a readonly database\n'):format(path) },
      program.shell(command))
  end)

  it("is a capture of the run, or what SQLite would put beside one", function()
    local folder = capture.folder { ["x.db-wal"] = capture.pcap(singles(1), { ns = true }) }
    local bytes = program.read(folder .. "/x.db-wal")
    for _, name in ipairs { "/x.db-wal", "/x.db" } do
      assert.equal(('cannot write "%s": it is a capture of this run'):format(folder .. name), engine.refusal(function()
        engine.streamer({ source = folder .. "/x.db-wal" }):to_sqlite(folder .. name)
      end))
    end
    assert.equal(bytes, program.read(folder .. "/x.db-wal"))
  end)

  it("is full at some point: what is in it are whole batches, as the summary says", function()
    local path, source = program.temporary ".db", engine.capture(singles(50000))
    -- A limit that the second batch does not fit below; the signal would end the program.
    local command = "trap '' XFSZ; ulimit -f 1500; %s flows --n-dissections=0 --n-meters=1 -o %s %s"
    local result = program.shell(command:format(program.path, path, source))
    assert.equal(1, result.status)
    local rows = query(path, "SELECT count(*) FROM flows")
    assert.equal(0, tonumber(rows) % 10000)
    assert.equal(rows, (result.err:match "packets, ([%d,]+) flows":gsub(",", "")))
    assert.matches('nfengine: cannot write "' .. path .. '": ', result.err, 1, true)
    assert.equal("ok", query(path, "PRAGMA integrity_check"))
  end)

  it("is locked by another for too long", function()
    local path = program.temporary ".db"
    streamer(1):to_sqlite(path)
    local command = [[( echo 'BEGIN IMMEDIATE;'; sleep 12 ) | sqlite3 %s & sleep 1
      %s -q flows --n-dissections=0 --columns=id,src_port,src_ip -o %s %s]]
    local result = program.shell(command:format(path, program.path, path, DNS))
    assert.same({ 1, ('nfengine: cannot write "%s": database is locked\n'):format(path) },
      { result.status, result.err })
  end)

  it("is standard output, an open file, or compressed", function()
    local LINE = "SQLite: expected a path to write to, got standard output or an open file"
    assert.equal(LINE, refusal "-")
    assert.equal(LINE, refusal(io.stdout))
    local result = program.run("flows", "--format=sqlite", DNS)
    assert.same({ 1, "", "nfengine: " .. LINE .. "\n" }, { result.status, result.out, result.err })
    assert.equal('cannot write "x.sqlite.gz": a database cannot be compressed as a whole, expected a name without .gz',
      refusal "x.sqlite.gz")
  end)

  it("is asked for what SQLite has not", function()
    assert.equal("flows_per_file: not with SQLite, expected another format",
      refusal("x.db", nil, { flows_per_file = 3 }))
    local result = program.run("flows", "--table=x", DNS)
    assert.same({ 2, "nfengine: --table: format csv has none, expected sqlite or duckdb\n" },
      { result.status, result.err })
  end)
end)

describe("a run that ends early", function()
  after_each(engine.cleanup)

  it("leaves the flows that ended before an error", function()
    local path = program.temporary ".db"
    local Bad = nf.plugin { name = "bad", on_init = function(_, packet)
      if packet.src_port == 1002 then error "boom" end
    end }
    assert.matches("^plugin bad: on_init: flow ", engine.refusal(function()
      streamer(5, { udps = Bad, idle_timeout = 0, packets = { meter.udp(0, 1000), meter.udp(1000, 1001),
        meter.udp(2000, 1002) } }):to_sqlite(path)
    end))
    assert.equal("1000,1001", query(path, "SELECT group_concat(src_port) FROM flows"))
  end)

  it("leaves what was committed when it is killed, and the next one goes on", function()
    local folder = capture.folder {}
    local path, source = folder .. "/x.db", engine.capture(singles(60000))
    local command = ("%s -q flows --n-dissections=0 --n-meters=1 -o %s %s"):format(program.path, path, source)
    local started = C.nf_now()
    assert.same({ status = 0, out = "", err = "" }, program.shell(command))
    local took, rows = C.nf_now() - started, 60000
    for _ = 1, 12 do
      program.shell(("%s & pid=$!; sleep %.3f; kill -9 $pid; wait $pid"):format(command, took * math.random()))
      assert.equal("ok", query(path, "PRAGMA integrity_check"))
      local before = rows
      rows = tonumber(query(path, "SELECT count(*) FROM flows"))
      assert.equal(0, (rows - before) % 10000)
    end
    assert.same({ status = 0, out = "", err = "" }, program.shell(command))
    assert.equal(tostring(rows + 60000), query(path, "SELECT count(*) FROM flows"))
    assert.equal("x.db", program.names_in(folder))
  end)

  it("leaves all flows when it is interrupted", function()
    local path = program.temporary ".db"
    local source = engine.capture(singles(2000))
    local said = program.temporary ".err"
    local result = program.fed("cat " .. source, ([[sh -c 'exec 3<&0
      %s flows --n-dissections=0 --performance-report=1 -o %s - <&3 2>%s & run=$!
      for try in $(seq 200); do grep -q "\"flows_live\": 2000" %s && break; sleep 0.1; done
      kill -INT $run; wait $run']]):format(program.path, path, said, said))
    assert.equal(130, result.status)
    assert.matches("2,000 flows", program.read(said), 1, true)
    assert.equal("2000", query(path, "SELECT count(*) FROM flows"))
  end)
end)

describe("SQLite and fewer rights", function()
  after_each(engine.cleanup)

  it("do not go together in a sandbox, which says so", function()
    local path = program.temporary ".db"
    assert.same({ status = 1, out = "", err = ('nfengine: cannot write "%s": databases open files as they go, expected '
      .. 'another format, or no --sandbox\n'):format(path) }, program.run("--sandbox", "-q", "-o", path, "flows", DNS))
    assert.is_nil(program.read(path))
    local file = engine.script_file(("require('nfengine').streamer({}):to_sqlite(%q)"):format(path))
    assert.equal(1, program.run("--sandbox", "-q", file, DNS).status)
  end)

  it("do for another user, also where that one may not write the folder", function()
    if not IS_ROOT then return pending "needs root" end
    for mode, left in pairs { ["777"] = "x.db", ["755"] = "x.db x.db-shm x.db-wal" } do
      local folder = capture.folder {}
      os.execute(("chmod %s %s"):format(mode, folder))
      for _ = 1, 2 do
        local result = program.run("-q", "flows", "--user=nobody", "--n-dissections=0", "-o", folder .. "/x.db", DNS)
        assert.same({ status = 0, out = "", err = "" }, result)
      end
      assert.equal(left, program.names_in(folder))
      assert.equal("30", query(folder .. "/x.db", "SELECT count(*) FROM flows"))
    end
  end)

  it("go where the command line says with --safe", function()
    local path, other = program.temporary ".db", program.temporary ".db"
    local function safely(code, ...) return program.run("--safe", "-q", engine.script_file(code), ...) end
    local CODE = "require('nfengine').streamer({ n_dissections = 0 }):to_sqlite(%s)"
    assert.same({ status = 0, out = "", err = "" }, safely(CODE:format "nil, 'mine'", "-o", path, DNS))
    assert.equal("mine", query(path, "SELECT name FROM sqlite_master"))
    local result = safely(CODE:format(("%q"):format(other)), DNS)
    assert.equal(1, result.status)
    assert.matches("--safe: expected -o FILE on the command line", result.err, 1, true)
    assert.is_nil(program.read(other))
    assert.equal(0, safely(CODE:format(("%q, 'other'"):format(other)), "-o", path, DNS).status)
    assert.is_nil(program.read(other))
    result = safely(CODE:format "nil, function() end", "-o", path, DNS)
    assert.equal(1, result.status)
  end)
end)

describe("rows of SQLite", function()
  after_each(program.remove_temporaries)

  local function difference(...) return database.difference("sqlite", ...) end

  it("are those of CSV, for the samples", function()
    for _, source in ipairs { DNS, WEB, TLS } do
      assert.is_nil(difference(source))
      assert.is_nil(difference(source, unpack(database.everything)))
      assert.is_nil(difference(source, "--time-unit=ns", "--n-meters=3", unpack(database.everything)))
    end
  end)

  it("are those of CSV, over the reference data", function()
    local paths, found = data.captures(29), {}
    if #paths == 0 then return pending(data.absent) end
    for _, path in ipairs(paths) do
      found[#found + 1] = difference(path, unpack(database.everything))
      program.remove_temporaries()
    end
    assert.same({}, found)
  end)
end)

describe("libsqlite3", function()
  it("is loaded only where a database is written", function()
    local maps = engine.script_file [[
      require("nfengine").streamer({ n_dissections = 0 }):to_csv "/dev/null"
      for line in io.lines "/proc/self/maps" do if line:find "sqlite3" then print(line) end end
    ]]
    assert.same({ status = 0, out = "", err = "" }, program.run("-q", maps, DNS))
    engine.cleanup()
  end)

  it("is named where it is not there", function()
    local path = program.temporary ".db"
    local broken = engine.script_file(([[
      local ffi = require "ffi"
      local load = ffi.load
      ffi.load = function(name, ...) if name:find "sqlite" then error "no" end return load(name, ...) end
      require("nfengine").streamer({ n_dissections = 0 }):to_sqlite(%q)
    ]]):format(path))
    assert.same({ status = 1, out = "",
      err = "nfengine: SQLite: cannot load libsqlite3.so.0, expected Debian's package libsqlite3-0\n" },
      program.run("-q", broken, DNS))
    engine.cleanup()
  end)
end)

describe("the queries of docs/sinks.md", function()
  it("run, and find something in a sample", function()
    local path = program.temporary ".sqlite"
    assert.equal(0, program.run("-q", "flows", "--splt-analysis=3", "-o", path, WEB).status)
    local count = 0
    for block in program.read("docs/sinks.md"):gmatch "\n```sql\n(.-)\n```" do
      for statement in block:gmatch "[^;]+;" do
        local is_query = not statement:match "CREATE"
        assert.equal(is_query, query(path, statement) ~= "")
        count = count + 1
      end
    end
    assert.equal(6, count)
    engine.cleanup()
  end)
end)
