-- Exports and sinks: lua/nfengine/output/. Standard output and what the command line has to say are in cli_spec.

local arrow = require "spec.support.arrow"
local cjson = require "cjson"
local C = require "nfengine.lib"
local nf = require "nfengine"
local capture = require "nfengine.testing.capture"
local engine = require "spec.support.engine"
local file_sink = require "nfengine.output.file"
local json = require "nfengine.json"
local lfs = require "nfengine.lfs"
local meter = require "spec.support.meter"
local parquet = require "spec.support.parquet"
local program = require "spec.support.program"
local testing = require "nfengine.testing"

-- `count` flows of one packet, from ports 1000, 1001 ...
local function singles(count)
  local packets = {}
  for i = 1, count do packets[i] = meter.udp(10 * i, 999 + i) end
  return packets
end

local function streamer(count, more)
  local given = { columns = { "id", "src_port", "src_ip" } }
  for name, value in pairs(more or {}) do given[name] = value end
  if not given.source then given.packets = singles(count) end
  return engine.streamer(given)
end

local function lines(text)
  local list = {}
  for line in text:gmatch "(.-)\n" do list[#list + 1] = line end
  return list
end

describe("to_csv", function()
  after_each(engine.cleanup)

  it("writes a header and a row a flow, and gives the number of rows", function()
    local path = program.temporary ".csv"
    assert.equal(2, streamer(2):to_csv(path))
    assert.equal('id,src_port,src_ip\n0,1000,"10.0.0.1"\n1,1001,"10.0.0.1"\n', program.read(path))
  end)

  it("writes the header alone where there are no flows", function()
    local path = program.temporary ".csv"
    assert.equal(0, streamer(0):to_csv(path))
    assert.equal("id,src_port,src_ip\n", program.read(path))
  end)

  it("replaces a file that is there", function()
    local path = program.write("something longer than what comes now, and more of it", ".csv")
    streamer(1):to_csv(path)
    assert.equal(2, #lines(program.read(path)))
  end)

  it("quotes as RFC 4180 says", function()
    local Writer = nf.plugin { name = "writer", columns = { { "text", "string" } },
      on_init = function(_, _, flow) flow.udps.text = 'a "quoted", \\ text\nof two lines' end }
    local path = program.temporary ".csv"
    streamer(1, { udps = Writer, columns = { "udps.text", "id" } }):to_csv(path)
    assert.equal('udps.text,id\n"a ""quoted"", \\ text\nof two lines",0\n', program.read(path))
  end)

  it("goes beside the first source without a path", function()
    local folder = capture.folder { ["a.pcap"] = capture.pcap(singles(1), { ns = true }),
      ["b.pcap"] = capture.pcap(singles(2), { ns = true }) }
    streamer(0, { source = { folder .. "/a.pcap", folder .. "/b.pcap" } }):to_csv()
    assert.equal(3, #lines(program.read(folder .. "/a.pcap.csv")))
    streamer(0, { source = folder .. "/b.pcap" }):to_jsonl()
    assert.equal(2, #lines(program.read(folder .. "/b.pcap.jsonl")))
  end)

  it("goes beside a folder, and has a name of its own for standard input", function()
    local folder = capture.folder { ["a.pcap"] = capture.pcap(singles(3), { ns = true }) }
    streamer(0, { source = folder .. "/" }):to_csv()
    assert.equal(4, #lines(program.read(folder .. ".csv")))
    os.remove(folder .. ".csv")
    local root, export = io.popen("pwd"):read "*l", 'require("nfengine").streamer({ n_dissections = 0 }):to_csv()'
    local command = "program=$(realpath %s); cd %s && $program -q %s - <%s/samples/dns.pcap && wc -l <flows.csv"
    local words = { program.quote(program.path), folder, engine.script_file(export), root }
    local result = program.shell(command:format(unpack(words)))
    assert.same({ 0, "16\n", "" }, { result.status, result.out, result.err })
  end)

  it("takes an open file and leaves it open", function()
    local path = program.temporary ".csv"
    local file = assert(io.open(path, "w"))
    file:write "# first\n"
    streamer(1):to_csv(file)
    assert(file:write "# last\n")
    file:close()
    assert.equal('# first\nid,src_port,src_ip\n0,1000,"10.0.0.1"\n# last\n', program.read(path))
  end)

  it("fails with one line where it cannot write", function()
    assert.equal('cannot write "/nowhere/x.csv": No such file or directory',
      engine.refusal(function() streamer(1):to_csv "/nowhere/x.csv" end))
    assert.equal('cannot write "/dev/full": No space left on device',
      engine.refusal(function() streamer(1):to_csv "/dev/full" end))
  end)

  it("refuses a path that is none", function()
    for _, path in ipairs { 5, true, {} } do
      local message = engine.refusal(function() streamer(1):to_csv(path) end)
      assert.matches("expected a path or an open file", message, 1, true)
    end
  end)

  it("keeps the rows of flows that ended before an error", function()
    local path = program.temporary ".csv"
    local Bad = nf.plugin { name = "bad", on_init = function(_, packet)
      if packet.src_port == 1002 then error "boom" end
    end }
    assert.matches("^plugin bad: on_init: flow ",
      engine.refusal(function() streamer(5, { udps = Bad, idle_timeout = 0 }):to_csv(path) end))
    assert.same({ "id,src_port,src_ip", '0,1000,"10.0.0.1"', '1,1001,"10.0.0.1"' }, lines(program.read(path)))
  end)
end)

describe("to_jsonl", function()
  after_each(engine.cleanup)

  it("writes an object a line, by the names of the columns", function()
    local path = program.temporary ".jsonl"
    assert.equal(2, streamer(2, { splt_analysis = 2, columns = { "id", "src_ip", "splt_ps" } }):to_jsonl(path))
    local written = lines(program.read(path))
    assert.equal('{"id":0,"src_ip":"10.0.0.1","splt_ps":[43,-1]}', (written[1]:gsub("%s", "")))
    assert.same({ id = 1, src_ip = "10.0.0.1", splt_ps = { 43, -1 } }, cjson.decode(written[2]))
  end)

  it("writes nothing where there are no flows", function()
    local path = program.temporary ".jsonl"
    assert.equal(0, streamer(0):to_jsonl(path))
    assert.equal("", program.read(path))
  end)
end)

describe("to_parquet and to_arrow", function()
  after_each(engine.cleanup)

  local READERS = { to_parquet = parquet.read, to_arrow = arrow.file }

  it("write a row a flow, and give the number of rows", function()
    for method, read in pairs(READERS) do
      for _, count in ipairs { 0, 2 } do
        local path = program.temporary()
        local exported = streamer(count)
        assert.equal(count, exported[method](exported, path))
        assert.equal(count, read(program.read(path)).rows)
      end
    end
  end)

  it("say what each column is", function()
    for method, read in pairs(READERS) do
      local path = program.temporary()
      local exported = streamer(1, { columns = { "src_ip", "bidirectional_packets", "end_reason" } })
      exported[method](exported, path)
      local schema = cjson.decode(read(program.read(path)).metadata["nfengine.schema"])
      assert.same({
        name = "src_ip", type = "ip", doc = "source address of the first packet", nullable = false,
      }, schema[1])
      assert.same({ "bidirectional_packets", "uint64", "packets" }, { schema[2].name, schema[2].type, schema[2].unit })
      assert.same({ "end_reason", "end_reason" }, { schema[3].name, schema[3].type })
    end
  end)

  it("say of an anonymised column that it is a text", function()
    for method, read in pairs(READERS) do
      local path = program.temporary()
      local exported = streamer(1, { columns = { "bidirectional_packets" } })
      exported[method](exported, path, { columns_to_anonymize = { "bidirectional_packets" } })
      local schema = cjson.decode(read(program.read(path)).metadata["nfengine.schema"])
      assert.same({ "string:128" }, { schema[1].type, schema[1].unit })
    end
  end)

  it("are refused names of compressed files, before there is one", function()
    for _, path in ipairs { "/nonexistent/x.parquet.gz", "/nonexistent/x.arrow.zst", "/nonexistent/x.feather.gz" } do
      local message = engine.refusal(function() streamer(1):write(path) end)
      assert.equal(('cannot write "%s": this format cannot be compressed as a whole, expected a name without %s')
        :format(path, path:match "%.[^.]+$"), message)
    end
  end)
end)

describe("to_arrow", function()
  after_each(engine.cleanup)

  local function is_stream(bytes) return bytes:sub(1, 4) == "\255\255\255\255" end

  it("writes a file to a path, and a stream to one that ends in .arrows", function()
    for ending, is_one in pairs { [""] = false, [".arrow"] = false, [".feather"] = false, [".arrows"] = true } do
      for _, already in ipairs { false, true } do
        local path = program.temporary(ending)
        if already then program.write("something", path) end
        streamer(1):to_arrow(path)
        assert.same({ ending, is_one }, { ending, is_stream(program.read(path)) })
      end
    end
  end)

  it("writes a stream to an open file and to a pipe", function()
    local path = program.temporary ".arrow"
    local opened = assert(io.open(path, "wb"))
    streamer(2):to_arrow(opened)
    opened:close()
    assert.equal(2, arrow.stream(program.read(path)).rows)
    local pipe, copy = program.temporary ".arrow", program.temporary()
    assert(os.execute(("mkfifo %s && { cat <%s >%s; touch %s.whole; } &"):format(pipe, pipe, copy, copy)) == 0)
    while not lfs.attributes(pipe) do os.execute "sleep 0.01" end
    streamer(2):to_arrow(pipe)
    while not lfs.attributes(copy .. ".whole") do os.execute "sleep 0.01" end
    os.remove(copy .. ".whole")
    assert.equal(2, arrow.stream(program.read(copy)).rows)
  end)

  it("writes a compressed stream where its name says so", function()
    local path = program.temporary ".arrows.gz"
    streamer(2):write(path)
    assert.equal(2, arrow.stream(program.shell("gzip -dc <" .. path).out).rows)
  end)
end)

describe("what a file is to say of its records", function()
  after_each(engine.cleanup)

  local function metadata_of(format, given)
    local path = program.temporary()
    local sink = file_sink.new { path = path, format = format, packing = C.NF_PACKING_NONE, is_beside = false,
      metadata = given }
    streamer(1):to(sink)
    local read = format == "arrow" and arrow.file or parquet.read
    local said = read(program.read(path)).metadata
    said["nfengine.schema"] = nil
    return said
  end

  it("is in it, or asked for at its begin and again before its end", function()
    for _, format in ipairs { "parquet", "arrow" } do
      assert.same({ a = "1", b = "2" }, metadata_of(format, { a = "1", b = "2" }))
      local asked = 0
      local function give()
        asked = asked + 1
        return { times = tostring(asked), first = asked == 1 and "yes" or nil }
      end
      assert.same({ times = "2", first = "yes" }, metadata_of(format, give))
      assert.equal(2, asked)
    end
  end)
end)

describe("write", function()
  after_each(engine.cleanup)

  it("goes by the path's ending, CSV without a known one", function()
    local expected = { [".csv"] = "id,src_port\n", [".txt"] = "id,src_port\n", [".jsonl"] = '{"id":0,',
      [".ndjson"] = '{"id":0,' }
    for ending, start in pairs(expected) do
      local path = program.temporary(ending)
      assert.equal(1, streamer(1, { columns = { "id", "src_port" } }):write(path))
      assert.equal(start, program.read(path):sub(1, #start))
    end
  end)
end)

describe("files of so many flows", function()
  local folder
  before_each(function() folder = capture.folder() end)
  after_each(engine.cleanup)

  local function files()
    local list = {}
    local listing = io.popen("ls " .. program.quote(folder))
    for name in listing:lines() do
      list[#list + 1] = name .. " " .. #lines(program.read(folder .. "/" .. name)) - 1
    end
    listing:close()
    return list
  end

  it("are numbered in front of the ending, each with a header", function()
    assert.equal(5, streamer(5):to_csv(folder .. "/my.csv.d.csv", { flows_per_file = 2 }))
    assert.same({ "my.csv.d.0.csv 2", "my.csv.d.1.csv 2", "my.csv.d.2.csv 1" }, files())
    assert.equal('id,src_port,src_ip\n4,1004,"10.0.0.1"\n', program.read(folder .. "/my.csv.d.2.csv"))
  end)

  it("are numbered at the end of a name without one", function()
    streamer(2):to_csv(folder .. "/flows", { flows_per_file = 1 })
    assert.same({ "flows.0 1", "flows.1 1" }, files())
  end)

  it("are not begun before there is a flow for them", function()
    streamer(4):to_csv(folder .. "/a.csv", { flows_per_file = 2 })
    assert.same({ "a.0.csv 2", "a.1.csv 2" }, files())
  end)

  it("can be JSON lines", function()
    streamer(3):to_jsonl(folder .. "/a.jsonl", { flows_per_file = 2 })
    assert.same({ "a.0.jsonl 1", "a.1.jsonl 0" }, files()) -- less one for the header that is none
  end)

  it("are used in turn with rotate_files, the older ones overwritten", function()
    streamer(7):to_csv(folder .. "/a.csv", { flows_per_file = 2, rotate_files = 3 })
    assert.same({ "a.0.csv 1", "a.1.csv 2", "a.2.csv 2" }, files())
    assert.equal('id,src_port,src_ip\n6,1006,"10.0.0.1"\n', program.read(folder .. "/a.0.csv"))
  end)

  it("are one file with rotate_files alone", function()
    streamer(3):to_csv(folder .. "/a.csv", { rotate_files = 2 })
    assert.same({ "a.csv 3" }, files())
  end)

  it("are one file with limits that are never reached", function()
    streamer(3):to_csv(folder .. "/a.csv", { flows_per_file = 3, bytes_per_file = 1e6, seconds_per_file = 1e6 })
    assert.same({ "a.0.csv 3" }, files())
  end)

  it("need a path to be named by", function()
    assert.matches("flows_per_file: expected a file to write to", engine.refusal(function()
      streamer(3):to_csv("-", { flows_per_file = 2 })
    end), 1, true)
  end)
end)

describe("files of so many bytes", function()
  local folder
  before_each(function() folder = capture.folder() end)
  after_each(engine.cleanup)

  it("end with the row by which they have as many, whether it has got out yet or not", function()
    local header, row = #"id,src_port,src_ip\n", #'0,1000,"10.0.0.1"\n'
    streamer(10):to_csv(folder .. "/a.csv", { bytes_per_file = header + 3 * row })
    local sizes = {}
    for i = 0, 3 do sizes[i + 1] = #program.read(("%s/a.%d.csv"):format(folder, i)) end
    assert.same({ header + 3 * row, header + 3 * row, header + 3 * row, header + row }, sizes)
    streamer(10):to_csv(folder .. "/b.csv", { bytes_per_file = header + 3 * row + 1 })
    assert.equal(header + 4 * row, #program.read(folder .. "/b.0.csv"))
  end)

  it("have a row at least, and at most what flows_per_file says", function()
    streamer(3):to_csv(folder .. "/a.csv", { bytes_per_file = 1 })
    assert.equal("a.0.csv a.1.csv a.2.csv", program.names_in(folder))
    streamer(5):to_csv(folder .. "/b.csv", { bytes_per_file = 60, flows_per_file = 1 })
    assert.is_truthy(program.read(folder .. "/b.4.csv"))
  end)

  it("count what has got out where that is compressed, or typed", function()
    for _, name in ipairs { "a.csv.gz", "a.jsonl.zst", "a.parquet" } do
      streamer(20, { manifest = true }):write(folder .. "/" .. name, { bytes_per_file = 40 })
      local about = json.decode(program.read(folder .. "/" .. name .. ".manifest.json"))
      assert.same({ (name:gsub("^a", "a.0")), 20 }, { about.files[1].name, about.files[1].records })
    end
  end)
end)

describe("files of so many seconds", function()
  local folder
  before_each(function() folder = capture.folder() end)
  after_each(engine.cleanup)

  -- The ports of each file's flows, with flows that were last seen at these seconds after a whole minute, in the order
  -- in which they end.
  local function files_of(seconds, given, parameters)
    local packets, epoch = {}, tonumber(testing.EPOCH_NS / 1000000000ULL)
    local start = (60 - epoch % 60) * 1000
    for port, second in ipairs(seconds) do packets[#packets + 1] = meter.udp(start + second * 1000, port) end
    parameters = parameters or {}
    parameters.packets, parameters.columns, parameters.idle_timeout = packets, { "src_port" }, 100000
    parameters.manifest = true
    engine.streamer(parameters):to_csv(folder .. "/a.csv", given)
    local list = {}
    for _, file in ipairs(json.decode(program.read(folder .. "/a.csv.manifest.json")).files) do
      list[#list + 1] = table.concat(lines(program.read(folder .. "/" .. file.name)), " ", 2)
    end
    return list
  end

  it("begin with the multiples of so many seconds since 1970, in any unit of time", function()
    for _, unit in ipairs { "ms", "us", "ns" } do
      assert.same({ "1 2 3", "4 5" },
        files_of({ 1, 29, 59.999, 60, 61 }, { seconds_per_file = 60 }, { time_unit = unit }))
      assert.same({ "1", "2 3", "4" }, files_of({ 9, 10, 19, 20 }, { seconds_per_file = 10 }, { time_unit = unit }))
    end
  end)

  it("are none for a time without records", function()
    assert.same({ "1", "2" }, files_of({ 5, 3605 }, { seconds_per_file = 60 }))
    assert.equal("a.0.csv a.1.csv a.csv.manifest.json", program.names_in(folder))
  end)

  it("keep what is late where it comes, and do not go back", function()
    local late = nf.plugin {
      name = "late", columns = { { "x", "uint8" } },
      on_expire = function(_, flow)
        if flow.src_port == 3 then flow.bidirectional_last_seen_ms = flow.bidirectional_last_seen_ms - 120000 end
      end,
    }
    assert.same({ "1", "2 3 4", "5" },
      files_of({ 5, 65, 66, 67, 125 }, { seconds_per_file = 60 }, { udps = late {}, max_flows = 1 }))
  end)

  it("are used in turn with rotate_files", function()
    assert.same({ "2", "3" }, files_of({ 5, 65, 125 }, { seconds_per_file = 60, rotate_files = 2 }))
  end)

  it("are written in every format", function()
    for _, ending in ipairs { "csv.gz", "jsonl", "jsonl.zst", "parquet" } do
      local path = folder .. "/f." .. ending
      engine.streamer { packets = { meter.udp(0, 1), meter.udp(120000, 2) }, manifest = true }
        :write(path, { seconds_per_file = 60 })
      local about = json.decode(program.read(path .. ".manifest.json"))
      assert.same({ 1, 1 }, { about.files[1].records, about.files[2].records })
      assert.equal("f.1." .. ending, about.files[2].name)
    end
  end)
end)

describe("columns_to_anonymize", function()
  after_each(engine.cleanup)

  -- The values of one column of the CSV, by rows.
  local function written(options, more)
    local path = program.temporary ".csv"
    streamer(3, more):to_csv(path, options)
    local ports, addresses = {}, {}
    for _, line in ipairs(lines(program.read(path))) do
      local port, address = line:match '^%d+,(.-),"(.*)"$'
      ports[#ports + 1], addresses[#addresses + 1] = port, address
    end
    return addresses, ports
  end

  local key = ("k"):rep(64)

  it("are written as 128 hex digits, the same value always the same", function()
    local addresses, ports = written { columns_to_anonymize = { "src_ip" } }
    assert.equal(3, #addresses)
    for _, address in ipairs(addresses) do
      assert.matches("^%x+$", address)
      assert.equal(128, #address)
      assert.equal(addresses[1], address)
    end
    assert.same({ "1000", "1001", "1002" }, ports)
  end)

  it("may be several, and numbers, and one name", function()
    local path = program.temporary ".csv"
    streamer(2):to_csv(path, { columns_to_anonymize = { "src_port", "src_ip" } })
    local first, second = lines(program.read(path))[2], lines(program.read(path))[3]
    assert.matches('^0,"%x+","%x+"$', first)
    assert.not_equal(first:match '^0,"(%x+)"', second:match '^1,"(%x+)"')
    assert.equal(128, #written({ columns_to_anonymize = "src_ip" })[1])
  end)

  it("have a fresh key each time", function()
    local one, two = written { columns_to_anonymize = { "src_ip" } }, written { columns_to_anonymize = { "src_ip" } }
    assert.not_equal(one[1], two[1])
  end)

  it("agree between runs with the same key, and only with it", function()
    local function hash(with) return written({ columns_to_anonymize = { "src_ip" }, anonymization_key = with })[1] end
    assert.equal(hash(key), hash(key))
    assert.not_equal(hash(key), hash(("l"):rep(64)))
  end)

  it("are checked before the run", function()
    local path = program.temporary ".csv"
    assert.equal("columns_to_anonymize: no column \"src_ipp\" in this run (did you mean 'src_ip'?)",
      engine.refusal(function() streamer(1):to_csv(path, { columns_to_anonymize = { "id", "src_ipp" } }) end))
    assert.is_nil(program.read(path))
    assert.matches('no column "dst_port" in this run',
      engine.refusal(function() streamer(1):to_csv(path, { columns_to_anonymize = { "dst_port" } }) end), 1, true)
  end)
end)

describe("an export's options", function()
  after_each(engine.cleanup)

  it("are refused where they are unknown or do not fit, at the script's line", function()
    local refused = {
      { { flows_per_fil = 1 }, "unknown option \"flows_per_fil\" %(did you mean 'flows_per_file'%?%)" },
      { { flows_per_file = -1 }, "flows_per_file = %-1: expected an integer of at least 0" },
      { { flows_per_file = 1.5 }, "flows_per_file = 1.5: expected an integer of at least 0" },
      { { flows_per_file = 1 / 0 }, "flows_per_file = inf: expected an integer of at least 0" },
      { { rotate_files = 1 / 0 }, "rotate_files = inf: expected an integer of at least 0" },
      { { rotate_files = "2" }, 'rotate_files = "2": expected an integer of at least 0' },
      { { anonymization_key = "short" }, "anonymization_key: expected a string of 32 to 64 bytes" },
      { { columns_to_anonymize = { src_ip = true } },
        "columns_to_anonymize = a table: expected a list of column names" },
      { { columns_to_anonymize = { 5 } }, "columns_to_anonymize = a table: expected a list of column names" },
      { { columns_to_anonymize = 5 }, "columns_to_anonymize = 5: expected a list of column names" },
      { { anonymization_key = 5 }, "anonymization_key: expected a string of 32 to 64 bytes" },
      { "src_ip", 'options = "src_ip": expected a table' },
    }
    for _, case in ipairs(refused) do
      local path = program.temporary ".csv"
      assert.matches("^spec/lua/output_spec.lua:%d+: .*" .. case[2], engine.refusal(function()
        local _ = streamer(1):to_csv(path, case[1])
      end))
      assert.is_nil(program.read(path))
    end
  end)
end)

describe("a sink", function()
  after_each(engine.cleanup)

  -- A sink that logs its calls; `overrides` replace its methods.
  local function logging(log, overrides)
    local sink = {
      open = function(_, columns)
        local names = {}
        for i, column in ipairs(columns) do names[i] = column.name end
        log[#log + 1] = "open " .. table.concat(names, " ")
      end,
      write = function(_, flow) log[#log + 1] = "write " .. flow.id .. " " .. flow.src_port end,
      close = function() log[#log + 1] = "close" end,
    }
    for name, method in pairs(overrides or {}) do sink[name] = method end
    return sink
  end

  it("is opened, written to and closed", function()
    local log = {}
    assert.equal(2, streamer(2):to(logging(log)))
    assert.same({ "open id src_port src_ip", "write 0 1000", "write 1 1001", "close" }, log)
  end)

  it("needs neither open nor close", function()
    local count = 0
    assert.equal(3, streamer(3):to { write = function() count = count + 1 end })
    assert.equal(3, count)
  end)

  it("is told of each column what it is", function()
    local columns
    streamer(1):to { open = function(_, given) columns = given end, write = function() end }
    assert.same({ "src_port", "uint16" }, { columns[2].name, columns[2].type })
    assert.matches("port", columns[2].doc)
  end)

  it("is itself the first argument", function()
    local sink = { seen = {} }
    function sink:write(flow) self.seen[#self.seen + 1] = flow.id end
    streamer(2):to(sink)
    assert.same({ 0, 1 }, sink.seen)
  end)

  it("stops the run by answering false", function()
    local log = {}
    streamer(5):to(logging(log, { write = function(_, flow)
      log[#log + 1] = "write " .. flow.id
      return flow.id < 1
    end }))
    assert.same({ "open id src_port src_ip", "write 0", "write 1", "close" }, log)
  end)

  it("goes on with any other answer", function()
    for _, answer in ipairs { true, 0, "" } do
      assert.equal(3, streamer(3):to { write = function() return answer end })
    end
    assert.equal(3, streamer(3):to { write = function() return nil end })
  end)

  for _, method in ipairs { "open", "write", "close" } do
    it("ends the run with its reason when " .. method .. " answers nil and a text", function()
      local log = {}
      local message = engine.refusal(function()
        streamer(3):to(logging(log, { [method] = function() return nil, "disk full" end }))
      end)
      assert.equal("disk full", message)
      if method ~= "close" then assert.equal("close", log[#log]) end
    end)

    it("ends the run with its error when " .. method .. " raises", function()
      local log = {}
      local message = engine.refusal(function()
        streamer(3):to(logging(log, { [method] = function() error "boom" end }))
      end)
      assert.matches("output_spec.lua:%d+: boom$", message)
      if method ~= "close" then assert.equal("close", log[#log]) end
    end)
  end

  it("is closed after a plugin's error, which is the one that is told", function()
    local log = {}
    local Bad = nf.plugin { name = "bad", on_init = function(_, packet)
      if packet.src_port == 1001 then error "boom" end
    end }
    local message = engine.refusal(function()
      streamer(3, { udps = Bad, idle_timeout = 0 }):to(logging(log, { close = function()
        log[#log + 1] = "close"
        return nil, "and this too"
      end }))
    end)
    assert.matches("^plugin bad: on_init: flow 10%.0%.0%.1:1001 .*boom$", message)
    assert.same({ "open id src_port src_ip", "write 0 1000", "close" }, log)
  end)

  it("is a table with a method write", function()
    for _, sink in ipairs { 5, "flows.csv", print, {}, { write = 5 }, { open = print } } do
      assert.matches("output_spec.lua:%d+: nf.streamer:to: expected a sink, a table with a method write",
        engine.refusal(function() local _ = streamer(1):to(sink) end))
    end
    assert.matches("expected a sink", engine.refusal(function() local _ = streamer(1):to() end), 1, true)
  end)

  describe("with a method tick", function()
    -- Gives the ticks of a run: "last" or "while", and whether the seconds go on.
    local function ticks_of(parameters, write)
      local ticks, before = {}, 0
      engine.streamer(parameters):to {
        write = write or function() end,
        tick = function(self, seconds, is_last)
          assert(seconds >= before)
          ticks[#ticks + 1], before = is_last and "last" or "while", seconds
          self.has_ticked = true
        end,
      }
      return ticks
    end

    it("is called at the end, after the last record", function()
      local count, seen = 0, nil
      engine.streamer({ packets = singles(3) }):to {
        write = function() count = count + 1 end,
        tick = function(_, _, is_last) seen = { count, is_last } end,
      }
      assert.same({ 3, true }, seen)
    end)

    for meters = 1, 2 do
      it(("is called while the run goes on (n_meters = %d)"):format(meters), function()
        -- A flow that ends early, and 300 that go on.
        local packets, frames = { meter.udp(0, 999) }, {}
        for i = 0, 299 do frames[i] = meter.udp(200000, 1000 + i) end
        for i = 1, 40000 do packets[#packets + 1] = frames[i % 300] end
        local deadline
        local ticks = ticks_of({ packets = packets, n_meters = meters, idle_timeout = 1 }, function()
          if deadline then return end
          deadline = os.clock() + 0.4 -- time passes
          while os.clock() < deadline do end
        end)
        assert.equal("last", table.remove(ticks))
        assert.is_true(#ticks >= 1 and #ticks <= 3, #ticks .. " ticks")
        for _, each in ipairs(ticks) do assert.equal("while", each) end
      end)
    end

    it("ends the run with its error, which is no hook's", function()
      local log, is_called = {}, false
      local sink = logging(log, { tick = function()
        is_called = true
        error "boom"
      end })
      assert.matches("^[^:]*output_spec.lua:%d+: boom$", engine.refusal(function() streamer(3):to(sink) end))
      assert.is_true(is_called)
      assert.equal("close", log[#log])
    end)

    it("ends the run with its error while packets come, which is no hook's either", function()
      local packets, frames = {}, {}
      for i = 0, 299 do frames[i] = meter.udp(0, 1000 + i) end
      for i = 1, 40000 do packets[i] = frames[i % 300] end
      local deadline
      local Slow = nf.plugin { name = "slow", on_update = function()
        deadline = deadline or os.clock() + 0.4
        while os.clock() < deadline do end
      end }
      local sink = { write = function() end, tick = function(_, _, is_last) if not is_last then error "boom" end end }
      local message = engine.refusal(function() engine.streamer({ packets = packets, udps = Slow }):to(sink) end)
      assert.matches("^[^:]*output_spec.lua:%d+: boom$", message)
    end)

    it("is not called any more where the run has failed", function()
      local log = {}
      engine.refusal(function()
        local function tick() log[#log + 1] = "tick" end
        streamer(3):to(logging(log, { write = function() error "boom" end, tick = tick }))
      end)
      assert.same({ "open id src_port src_ip", "close" }, log)
    end)
  end)
end)
