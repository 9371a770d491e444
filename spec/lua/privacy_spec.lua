-- lua/nfengine/privacy.lua: what whoever takes records gets of them where they are masked. What becomes of single
-- values is in spec/core/mask_spec.lua.

local cjson = require "cjson"
local ffi = require "ffi"
local manifest = require "nfengine.manifest"
local nf = require "nfengine"
local parameters = require "nfengine.parameters"
local privacy = require "nfengine.privacy"
local engine = require "spec.support.engine"
local program = require "spec.support.program"

ffi.cdef "int chmod(const char *path, unsigned int mode); int geteuid(void);"

local KEY, OTHER = ("k"):rep(32), ("l"):rep(32)

local ALL = {
  anonymize_addresses = true, anonymize_macs = "all", time_shift = "random", columns_to_anonymize = { "src_port" },
}

local COLUMNS = {
  "src_ip", "dst_ip", "src_mac", "src_oui", "src_port", "dst_port", "bidirectional_first_seen_ms",
  "bidirectional_packets", "requested_server_name", "udps.note", "splt_ps",
}

-- Whose texts nobody has said anything of.
local Note = nf.plugin {
  name = "note",
  columns = { { "note", "string", "who asked" }, { "kind", "string:7", "of packet", is_identifying = false },
    { "count", "uint32", "of notes" } },
  on_init = function(_, packet, flow)
    flow.udps.note, flow.udps.kind, flow.udps.count = packet.src_ip, "udp", 7
  end,
}

-- Parameters over those that most runs here have; false takes one away.
local function with(...)
  local given = { source = "samples/web.pcap", n_dissections = 20, splt_analysis = 3, columns = COLUMNS, udps = Note }
  for _, more in ipairs { ... } do
    for name, value in pairs(more) do given[name] = value end
  end
  for _, name in ipairs { "udps", "columns" } do given[name] = given[name] or nil end
  return given
end

local function tables(given)
  local list = {}
  for i, flow in ipairs(engine.flows(given)) do list[i] = flow:to_table() end
  return list
end

local function key_file(bytes, mode)
  local path = program.write(bytes, ".key")
  ffi.C.chmod(path, tonumber(mode or "600", 8))
  return path
end

describe("masked records", function()
  after_each(engine.cleanup)

  it("are the same in every format, in sinks and in loops", function()
    local run = engine.streamer(with(ALL, { anonymization_key = KEY }))
    local jsonl, csv, parquet = program.temporary ".jsonl", program.temporary ".csv", program.temporary ".parquet"
    run:to_jsonl(jsonl)
    run:to_csv(csv)
    run:to_parquet(parquet)
    local from_json, from_csv, from_sink, from_loop, i = {}, {}, {}, {}, 0
    for line in program.read(jsonl):gmatch "[^\n]+" do from_json[#from_json + 1] = cjson.decode(line) end
    for line in program.read(csv):gmatch "[^\n]+" do from_csv[#from_csv + 1] = line end
    run:to { write = function(_, flow) from_sink[#from_sink + 1] = flow:to_table() end }
    for flow in run:flows() do from_loop[#from_loop + 1] = flow:to_table() end
    assert.is_true(#from_loop > 20)
    assert.same(from_json, from_loop)
    assert.same(from_sink, from_loop)
    for _, row in ipairs(from_loop) do
      i = i + 1
      local line = ('"%s","%s","%s","%s","%s",%d,%.0f,%d,"%s","%s",'):format(row.src_ip, row.dst_ip, row.src_mac,
        row.src_oui, row.src_port, row.dst_port, row.bidirectional_first_seen_ms, row.bidirectional_packets,
        row.requested_server_name, row["udps.note"])
      assert.equal(line, from_csv[i + 1]:sub(1, #line))
    end
    local bytes = program.read(parquet)
    assert.equal("PAR1", bytes:sub(1, 4))
    assert.is_nil(bytes:find("192.0.2.10", 1, true))
  end)

  it("are the same in databases and other formats", function()
    local given = with(ALL, { anonymization_key = KEY, columns = { "src_ip", "src_port", "udps.note" } })
    local expected = {}
    for i, row in ipairs(tables(given)) do
      expected[i] = table.concat({ row.src_ip, row.src_port, row["udps.note"] }, " ")
    end
    table.sort(expected)
    local run = engine.streamer(given)
    local base = program.temporary ""
    run:to_sqlite(base .. ".db")
    run:to_arrow(base .. ".arrow")
    run:to_ipfix(base .. ".ipfix")
    local listing = program.shell(("sqlite3 -separator ' ' %s.db 'select * from flows'"):format(base))
    if listing.status == 0 then
      local rows = {}
      for line in listing.out:gmatch "[^\n]+" do rows[#rows + 1] = line end
      table.sort(rows)
      assert.same(expected, rows)
    end
    for _, ending in ipairs { ".db", ".arrow", ".ipfix" } do
      local bytes = program.read(base .. ending)
      assert.is_truthy(bytes:find(expected[1]:match "%S+$", 1, true), ending)
      for _, truth in ipairs { "192.0.2.10", "\192\0\2\10" } do assert.is_nil(bytes:find(truth, 1, true), ending) end
      os.remove(base .. ending)
    end
  end)

  it("hold nothing of who and when where no column does, to whoever looks below columns", function()
    local bytes = {}
    for i, more in ipairs { {}, { columns_to_anonymize = { "src_ip", "bidirectional_last_seen_ms" } },
      { drop_leaky = true } } do
      local flow = engine.flows(with({ columns = { "src_ip", "src_port", "bidirectional_last_seen_ms" } }, more))[6]
      bytes[i] = { ffi.string(flow.core.tuple.src_address, 4) == "\192\0\2\10", flow.core.scope[0].last_seen > 0,
        flow.core.src_mac_address[5] > 0 }
    end
    assert.same({ { true, true, true }, { false, false, true }, { false, false, false } }, bytes)
  end)

  it("are parted by time where they tell it", function()
    local path = program.temporary ".csv"
    assert.matches("seconds_per_file: records do not tell when flows were seen", engine.refusal(function()
      engine.streamer(with { columns = { "src_port" }, drop_leaky = true }):to_csv(path, { seconds_per_file = 5 })
    end), 1, true)
  end)

  it("have none of what is masked as it was, and all else", function()
    local truth, masked = tables(with()), tables(with(ALL))
    assert.equal(#truth, #masked)
    for i, row in ipairs(masked) do
      for _, name in ipairs { "src_ip", "dst_ip", "src_port", "bidirectional_first_seen_ms", "udps.note" } do
        assert.not_equal(truth[i][name], row[name])
      end
      assert.equal(128, #row.src_port)
      for _, name in ipairs { "dst_port", "bidirectional_packets" } do assert.equal(truth[i][name], row[name]) end
      assert.same(truth[i].splt_ps, row.splt_ps)
      assert.equal(truth[i].requested_server_name == "", row.requested_server_name == "")
      assert.equal(row.src_mac:sub(1, 8), row.src_oui)
    end
  end)

  it("let filters and hooks see what is true", function()
    local seen = {}
    local Watch = nf.plugin { name = "watch", on_expire = function(_, flow) seen[#seen + 1] = flow.src_ip end }
    local flows = engine.flows(with(ALL, {
      udps = { Note, Watch }, filter = function(flow) return flow.src_ip == "192.0.2.10" end,
    }))
    assert.is_true(#flows > 5)
    for _, flow in ipairs(flows) do assert.not_equal("192.0.2.10", flow.src_ip) end
    local addresses = {}
    for _, address in ipairs(seen) do addresses[address] = true end
    assert.is_true(addresses["192.0.2.10"])
  end)

  it("are masked in columns that nobody selected, too", function()
    local truth, masked = engine.flows(with { columns = { "id" } }), engine.flows(with(ALL, {
      columns = { "id" }, columns_to_anonymize = { "id" },
    }))
    for i, flow in ipairs(masked) do
      assert.not_equal(truth[i].src_ip, flow.src_ip)
      assert.not_equal(truth[i].bidirectional_last_seen_ms, flow.bidirectional_last_seen_ms)
      if truth[i].user_agent ~= "" then assert.equal(128, #flow.user_agent) end
    end
  end)

  it("have no more of a plugin's columns in flow.udps than in its columns", function()
    local flow = engine.flows(with(ALL))[1]
    assert.matches("^%x+$", flow.udps.note)
    assert.equal(flow["udps.note"], flow.udps.note)
    assert.same({ "udp", 7 }, { flow.udps.kind, flow.udps.count })
    assert.equal(flow.udps.note, flow:copy().udps.note)
    assert.matches('udps.note=' .. flow.udps.note, tostring(flow), 1, true)
    assert.matches("flow.udps.nothing is not declared",
      engine.refusal(function() return flow.udps.nothing end), 1, true)
  end)

  it("stay true where names are to stay", function()
    local truth, masked = tables(with()), tables(with { anonymize_addresses = true, anonymize_names = false })
    for i, row in ipairs(masked) do
      assert.not_equal(truth[i].src_ip, row.src_ip)
      assert.equal(truth[i].requested_server_name, row.requested_server_name)
      assert.equal(truth[i]["udps.note"], row["udps.note"])
    end
  end)

  it("are copies that last", function()
    local flows = engine.flows(with(ALL))
    local first = flows[1].src_ip
    collectgarbage()
    assert.equal(first, flows[1].src_ip)
    assert.equal(first, flows[1]:copy().src_ip)
    assert.equal(first, flows[1]:values()[1])
  end)

  it("come alike from any number of meters, and in any number of files", function()
    local bytes = {}
    for meters = 1, 3 do
      local path = program.temporary ".csv"
      engine.streamer(with(ALL, { udps = false, n_meters = meters, anonymization_key = KEY, dpi_cache = false,
        columns = { "src_ip", "src_mac", "src_port", "requested_server_name" } })):to_csv(path)
      bytes[meters] = program.read(path)
    end
    assert.equal(bytes[1], bytes[2])
    assert.equal(bytes[1], bytes[3])
    local path = program.temporary ".csv"
    local run = engine.streamer(with(ALL, { udps = false, columns = { "src_ip", "src_port" } }))
    run:to_csv(path, { flows_per_file = 10 })
    local addresses = {}
    for number = 0, 3 do
      local name = path:gsub("%.csv$", "." .. number .. ".csv")
      for address in program.read(name):gmatch '\n"([^"]+)"' do addresses[address] = true end
      os.remove(name)
    end
    local truth, more = {}, 0
    for _, row in ipairs(tables(with { columns = { "src_ip" } })) do truth[row.src_ip] = true end
    for _ in pairs(addresses) do more = more + 1 end
    for _ in pairs(truth) do more = more - 1 end
    assert.equal(0, more)
  end)
end)

describe("a key", function()
  after_each(engine.cleanup)

  local function values(given)
    local list = {}
    for _, row in ipairs(tables(with(ALL, { columns_to_anonymize = { "src_port", "src_oui" } }, given))) do
      for _, name in ipairs(COLUMNS) do
        if name ~= "dst_port" and name ~= "bidirectional_packets" and name ~= "splt_ps" and row[name] ~= "" then
          list[#list + 1] = tostring(row[name])
        end
      end
    end
    return list
  end

  it("makes the same values in any run, from a file or as bytes", function()
    local expected = values { anonymization_key = KEY }
    assert.same(expected, values { anonymization_key = KEY })
    assert.same(expected, values { anonymization_key_file = key_file(KEY) })
    assert.same(expected, values { anonymization_key_file = key_file(KEY), anonymization_key = OTHER }) -- the file wins
  end)

  it("shares no value with another", function()
    local seen = {}
    for _, value in ipairs(values { anonymization_key = KEY }) do seen[value] = true end
    for _, value in ipairs(values { anonymization_key = OTHER }) do assert.is_nil(seen[value], value) end
  end)

  it("is fresh for each streamer without one, and kept for its runs", function()
    local one = engine.streamer(with(ALL, { columns = { "src_ip", "src_port" } }))
    local function first(run)
      local flow = run:flows()()
      return flow.src_ip .. flow.src_port
    end
    local mine = first(one)
    assert.equal(mine, first(one))
    assert.not_equal(mine, first(engine.streamer(with(ALL, { columns = { "src_ip", "src_port" } }))))
  end)

  it("is told to have no effect where nothing is masked", function()
    local words = { "-q", "flows", "--columns=id", "--anonymization-key-file=" .. key_file(KEY), "samples/dns.pcap" }
    assert.equal("nfengine: warning: anonymization_key_file: has no effect: nothing is masked in this run\n",
      program.run(unpack(words)).err)
    assert.equal("", program.run("--time-shift=random", unpack(words)).err)
  end)

  it("is refused where it cannot be one, and not told", function()
    local short = key_file(("s"):rep(31))
    assert.equal(('anonymization_key_file: key "%s": expected a file of 32 to 64 bytes'):format(short),
      engine.refusal(function() engine.flows(with(ALL, { anonymization_key_file = short })) end))
    local open = key_file(KEY, "644")
    assert.equal(('anonymization_key_file: key "%s": everybody may read it (mode 0644), expected chmod 600')
      :format(open), engine.refusal(function() engine.flows(with(ALL, { anonymization_key_file = open })) end))
    for _, key in ipairs { ("s"):rep(31), ("s"):rep(65), 5 } do
      local refusal = engine.refusal(function() nf.streamer { anonymization_key = key } end)
      assert.matches("nf.streamer: anonymization_key: expected a string of 32 to 64 bytes", refusal, 1, true)
    end
  end)
end)

describe("parameters of masks", function()
  after_each(engine.cleanup)

  it("are checked", function()
    for _, case in ipairs {
      { { anonymize_macs = "some" }, 'anonymize_macs = "some": expected "no", "keep_vendor" or "all"' },
      { { anonymization_length = 15 }, "anonymization_length = 15: expected an integer from 16 to 64" },
      { { time_shift = "often" },
        'time_shift = "often": expected seconds from -3155760000 to 3155760000, or "random"' },
      { { time_shift = 3155760001 }, "time_shift = 3155760001: expected seconds from" },
      { { time_shift = 0 / 0 }, "time_shift = nan: expected seconds from" },
    } do
      assert.matches(case[2], engine.refusal(function() nf.streamer(case[1]) end), 1, true)
    end
    assert.equal("columns_to_anonymize: no column \"src_ipp\" in this run (did you mean 'src_ip'?)",
      engine.refusal(function() engine.flows(with { columns_to_anonymize = { "src_ipp" } }) end))
  end)

  it("win on the command line over what a script says", function()
    local result = program.run("-q", "export", "-o", "-", "--columns=id,src_ip,dst_ip", "--columns-to-anonymize=dst_ip",
      "--anonymization-length=16", "samples/dns.pcap")
    assert.equal("", result.err)
    local _, src, dst = result.out:match '\n(%d+),"(.-)","(.-)"'
    assert.equal("192.0.2.10", src)
    assert.matches("^%x+$", dst)
    assert.equal(32, #dst)
  end)

  it("shift times by seconds, in any unit alike, and leave what is none", function()
    for unit, factor in pairs { ms = 100LL, us = 100000LL, ns = 100000000LL } do
      local first, back = "bidirectional_first_seen_" .. unit, "dst2src_first_seen_" .. unit
      local columns = { first, back, "bidirectional_duration_" .. unit }
      local truth = engine.flows(with { columns = columns, time_unit = unit })
      local masked = engine.flows(with { columns = columns, time_unit = unit, time_shift = -86400.5 })
      local shift = ffi.cast("int64_t", 864005) * factor
      for i, flow in ipairs(masked) do
        assert.is_true(truth[i]:exact(first) - shift == flow:exact(first))
        assert.is_true((truth[i][back] == 0 and 0LL or truth[i]:exact(back) - shift) == flow:exact(back))
        assert.equal(truth[i][columns[3]], flow[columns[3]])
      end
    end
  end)

  it("shift times by what the key says, in any unit alike", function()
    local function seen(unit, more)
      local name = "bidirectional_first_seen_" .. unit
      return engine.flows(with({ columns = { name }, time_unit = unit, anonymization_key = KEY }, more))[1][name]
    end
    local in_ms = seen("ms", { time_shift = "random" }) - seen "ms"
    assert.is_true(in_ms >= 1 and in_ms <= 2 ^ 38)
    assert.equal(in_ms * 1000, seen("us", { time_shift = "random" }) - seen "us")
  end)
end)

describe("drop_leaky", function()
  after_each(engine.cleanup)

  local function names(more)
    local given = with({ columns = false, udps = false, l7_columns = { "http_url", "ja3_client" } }, more)
    return engine.flows(given)[1]:keys()
  end

  it("leaves out what says which flow it is", function()
    local left = {}
    for _, name in ipairs(names { drop_leaky = true }) do left[name] = true end
    for _, name in ipairs {
      "id", "src_ip", "dst_ip", "src_mac", "dst_mac", "src_oui", "dst_oui", "vlan_id", "tunnel_id",
      "bidirectional_first_seen_ms", "bidirectional_last_seen_ms", "dst2src_first_seen_ms", "requested_server_name",
      "user_agent", "http_url",
    } do
      assert.is_nil(left[name], name)
    end
    for _, name in ipairs {
      "src_port", "dst_port", "protocol", "bidirectional_duration_ms", "bidirectional_packets", "application_name",
      "ja3_client", "splt_ps",
    } do
      assert.is_true(left[name], name)
    end
  end)

  it("makes 0 of ports that the system has chosen, and keeps others", function()
    local truth = tables(with { columns = { "src_port", "dst_port" } })
    for i, row in ipairs(tables(with { columns = { "src_port", "dst_port" }, drop_leaky = true })) do
      for _, name in ipairs { "src_port", "dst_port" } do
        assert.equal(truth[i][name] < 32768 and truth[i][name] or 0, row[name])
      end
    end
  end)

  it("outlives the loop that a script leaves at its end, or by an error", function()
    for _, ending in ipairs { "break", "error 'so be it'", "print(flow.src_ip)" } do
      local script = ([[
        local nf = require "nfengine"
        for flow in nf.streamer { source = "samples/dns.pcap", drop_leaky = true, anonymize_macs = "all" }:flows() do
          %s
        end
      ]]):format(ending)
      local path = program.write(script, ".lua")
      for _ = 1, 5 do -- what is freed twice is not always noticed
        assert.equal(ending == "break" and 0 or 1, program.run("-q", path).status)
        local plain = program.shell(("LUA_PATH='lua/?.lua;lua/?/init.lua' luajit %s"):format(path))
        assert.equal(ending == "break" and 0 or 1, plain.status)
      end
      program.remove_temporaries()
    end
  end)

  it("says so where a script wants what is left out", function()
    local flow = engine.flows(with { columns = { "src_port" }, drop_leaky = true })[1]
    assert.equal("flow.src_ip: not in this run: drop_leaky leaves it out",
      (engine.refusal(function() return flow.src_ip end):gsub("^.-:%d+: ", "")))
    assert.matches("drop_leaky leaves it out", engine.refusal(function() return flow.udps.note end), 1, true)
    assert.equal("drop_leaky: leaves none of the columns that were asked for",
      engine.refusal(function() engine.flows(with { columns = { "src_ip" }, drop_leaky = true }) end))
  end)
end)

describe("what is told of masks", function()
  after_each(engine.cleanup)

  it("in a manifest is that there were some, and neither key nor shift", function()
    local path = key_file(KEY)
    local function told(given)
      given.source = "samples/dns.pcap"
      local text = manifest.new(nf.streamer(given)):text()
      for _, secret in ipairs { "12345", OTHER, KEY } do assert.is_nil(text:find(secret, 1, true)) end
      return cjson.decode(text).parameters
    end
    local about = told { anonymize_addresses = true, time_shift = 12345, anonymization_key_file = path }
    assert.same({ true, "not told", path, "file" }, { about.anonymize_addresses, about.time_shift,
      about.anonymization_key_file, about.anonymization_key })
    assert.equal("given", told({ time_shift = "random", anonymization_key = OTHER }).anonymization_key)
    assert.equal("random", told({ anonymize_macs = "all" }).anonymization_key)
    assert.same({ 0, nil, nil }, { told({ drop_leaky = true }).time_shift, told({}).anonymization_key })
  end)

  it("beside a file is neither when packets were seen nor by how much times were shifted", function()
    local path = program.temporary ".csv"
    local function told(...)
      local result = program.run("-q", "flows", "--no-dpi", "--manifest", "-o", path, "samples/dns.pcap", ...)
      assert.same({ 0, "" }, { result.status, result.err })
      local text = program.read(path .. ".manifest.json")
      os.remove(path .. ".manifest.json")
      return cjson.decode(text), text
    end
    assert.matches("^2026%-", told().run.first_packet)
    for _, word in ipairs { "--anonymize-addresses", "--drop-leaky", "--time-shift=54321" } do
      local about, text = told(word)
      assert.same({}, { about.run.first_packet, about.run.last_packet })
      for _, secret in ipairs { "54321", "2026-" } do assert.is_nil(text:find(secret, 1, true)) end
    end
    assert.matches("not told", table.concat(told("--time-shift", "54321").command, " "), 1, true)
    program.run("-q", "flows", "--no-dpi", "--manifest", "-o", path, "samples/dns.pcap", "--time-shift=5")
    assert.matches("its times were shifted, by what it does not tell, which cannot be made again",
      program.run("--replay", path .. ".manifest.json").err, 1, true)
    os.remove(path .. ".manifest.json")
  end)

  it("is that nothing would be left of the schema", function()
    assert.equal("nfengine: drop_leaky: leaves none of the columns that were asked for\n",
      program.run("flows", "--schema", "--no-dpi", "--drop-leaky", "--columns=src_ip", "samples/dns.pcap").err)
  end)

  it("is in the schema of records", function()
    local result = program.run("flows", "--schema", "--no-dpi", "--drop-leaky",
      "--columns-to-anonymize=bidirectional_packets", "samples/dns.pcap")
    local types = {}
    for _, column in ipairs(cjson.decode(result.out)) do types[column.name] = column.type end
    assert.same({ "string:128", "uint64" }, { types.bidirectional_packets, types.bidirectional_bytes, types.src_ip })
  end)

  it("says where times are not to be told", function()
    local function hides(given) return privacy.hides_times(parameters.resolve(given, 1)) end
    assert.is_false(hides {})
    assert.is_false(hides { columns_to_anonymize = { "src_ip" } })
    for _, given in ipairs {
      { anonymize_addresses = true }, { time_shift = -1 }, { time_shift = "random" }, { drop_leaky = true },
      { columns_to_anonymize = { "src2dst_last_seen_ms" } },
    } do
      assert.is_true(hides(given))
    end
  end)

  local SERVER = "198.51.100.80"

  it("tells no flow by which a run has failed", function()
    local path, plugin = program.temporary ".csv", program.write([[
      return require("nfengine").plugin { name = "fails", columns = { { "n", "uint8", "n" } },
        on_init = function(_, packet) if packet.dst_ip == "]] .. SERVER .. [[" then error(packet.dst_ip) end end }]],
      ".lua")
    for _, mask in ipairs { "--anonymize-addresses", "--columns-to-anonymize=dst_ip", "--drop-leaky" } do
      local result = program.run("-q", "flows", "--manifest", mask, "--plugin=" .. plugin, "-o", path,
        "samples/web.pcap")
      assert.same({ 1, SERVER }, { result.status, result.err:match(SERVER) })
      local told = program.read(path .. ".manifest.json")
      assert.equal("not told", cjson.decode(told).run.failure)
      assert.is_nil(told:find(SERVER, 1, true))
    end
    program.run("-q", "flows", "--manifest", "--plugin=" .. plugin, "-o", path, "samples/web.pcap")
    assert.matches(SERVER, cjson.decode(program.read(path .. ".manifest.json")).run.failure, 1, true)
  end)

  it("tells no filter in files that say what they hold", function()
    local path = program.temporary ".parquet"
    local function said(...)
      program.run("-q", "flows", "-o", path, "--bpf-filter=host " .. SERVER,
        ("--filter=flow.dst_ip == %q"):format(SERVER), ..., "samples/web.pcap")
      return program.read(path)
    end
    assert.is_truthy(said("--no-dpi"):find('"filter": "flow.dst_ip == \\"' .. SERVER, 1, true))
    local told = said "--anonymize-addresses"
    assert.is_truthy(told:find('"filter": "not told"', 1, true))
    assert.is_nil(told:find(SERVER, 1, true))
  end)

  it("refuses them where a script shows what plugins see", function()
    for _, name in ipairs { "dns", "http", "tls", "top" } do
      local result = program.run(name, "--anonymize-addresses", "samples/dns.pcap")
      assert.same({ 2, "", "nfengine: --anonymize-addresses: no mask changes what this script shows, expected none\n" },
        { result.status, result.out, result.err })
    end
    assert.equal("nfengine: --time-shift: this script shows when packets were seen, expected none\n",
      program.run("timeline", "--time-shift=5", "samples/dns.pcap").err)
    for _, name in ipairs { "summary", "report", "applications" } do
      assert.equal("nfengine: --drop-leaky: this script shows what it leaves out, expected another\n",
        program.run(name, "--drop-leaky", "samples/dns.pcap").err)
    end
  end)
end)

describe("masks in programs that give up rights", function()
  after_each(engine.cleanup)

  local function rows(...)
    local result = program.run("-q", "flows", "--columns=src_ip,dst_ip", "--anonymize-addresses", ...)
    assert.same({ 0, "" }, { result.status, result.err })
    return result.out
  end

  it("have their key before a sandbox closes or another user comes", function()
    local key = "--anonymization-key-file=" .. key_file(KEY, "400")
    local expected = rows(key, "samples/dns.pcap")
    assert.equal(expected, rows(key, "--sandbox", "samples/dns.pcap"))
    if ffi.C.geteuid() ~= 0 then pending "only root can become another user" end
    assert.equal(expected, rows(key, "--user=nobody", "samples/dns.pcap"))
  end)

  it("work with scripts that are closed in, which name no key file", function()
    local path = key_file(KEY)
    local script = engine.script_file [[
      local nf = require "nfengine"
      for flow in nf.streamer({}):flows() do print(flow.src_ip) end
    ]]
    local result = program.run("-q", "--safe", "--anonymize-addresses", "--anonymization-key-file=" .. path, script,
      "samples/dns.pcap")
    assert.same({ 0, "" }, { result.status, result.err })
    assert.equal(engine.flows({ anonymize_addresses = true, anonymization_key = KEY })[1].src_ip,
      result.out:match "[^\n]+")
    local naming = engine.script_file(('require("nfengine").streamer { anonymization_key_file = %q }'):format(path))
    assert.matches("anonymization_key_file: --safe: expected --anonymization-key-file on the command line",
      program.run("--safe", naming, "samples/dns.pcap").err, 1, true)
  end)
end)
