-- --schema: what records would hold, without a run.

local columns = require "nfengine.columns"
local engine = require "spec.support.engine"
local json = require "nfengine.json"
local program = require "spec.support.program"

-- The columns that a command line's records would have, by name, and their names in order.
local function schema(...)
  local result = program.run("--schema", ...)
  assert.same({ 0, "" }, { result.status, result.err })
  local by_name, names = {}, {}
  for i, column in ipairs(json.decode(result.out)) do
    by_name[column.name], names[i] = column, column.name
  end
  return by_name, table.concat(names, ",")
end

local function header(...) return program.run("-q", "flows", "samples/dns.pcap", ...).out:match "^[^\n]*" end

describe("--schema", function()
  after_each(engine.cleanup)

  it("has the columns that a run writes, in their order, with plugins and parameters", function()
    for _, words in ipairs {
      {}, { "--no-dpi" }, { "--statistical-analysis", "--splt-analysis=3", "--time-unit=us" }, { "--l7-columns=all" },
      { "--columns=dst_port,end_reason,*" }, { "--plugin=ja4" },
      { "--profile=nettisa" },
    } do
      assert.equal(header(unpack(words)), (select(2, schema(unpack(words)))))
    end
  end)

  it("tells type, unit, meaning, length of arrays, and what stands for no value", function()
    local by_name = schema("--splt-analysis=7",
      "--columns=bidirectional_bytes,splt_ps,dst2src_first_seen_ms,user_agent")
    for _, column in ipairs(columns.all()) do
      local told = by_name[column.name]
      if told then assert.same({ column.unit, column.doc }, { told.unit, told.doc }) end
    end
    assert.same({ "uint64", "bytes", false }, { by_name.bidirectional_bytes.type, by_name.bidirectional_bytes.unit,
      by_name.bidirectional_bytes.nullable })
    assert.same({ "int32[7]", 7 }, { by_name.splt_ps.type, by_name.splt_ps.length })
    assert.same({ true, true, 0 }, { by_name.dst2src_first_seen_ms.is_moment, by_name.dst2src_first_seen_ms.nullable,
      by_name.dst2src_first_seen_ms.none })
    assert.same({ "string:255", true }, { by_name.user_agent.type, by_name.user_agent.nullable })
  end)

  it("is that of a script's run, with what it sets", function()
    assert.is_truthy(schema("statistics").bidirectional_mean_ps)
    local own = engine.script_file [[
      local nf = require "nfengine"
      local Mine = nf.plugin { name = "mine", columns = { { "own", "double[2]", "mine" } } }
      nf.streamer({ udps = Mine, columns = { "udps.own" } }):to_csv("/nowhere/x.csv")
      print "not reached"
    ]]
    assert.same({ name = "udps.own", type = "double[2]", doc = "mine", length = 2, nullable = false },
      schema(own)["udps.own"])
  end)

  it("reads nothing and writes nothing", function()
    local path = program.temporary ".csv"
    schema("flows", "-o", path, "samples/dns.pcap")
    assert.is_nil(program.read(path))
    local result = program.shell(program.path .. " --schema flows - </dev/null")
    assert.same({ 0, "" }, { result.status, result.err })
  end)

  it("says what is wrong with the command line", function()
    assert.matches("no column \"src_prt\" in this run", program.run("--schema", "flows", "--columns=src_prt").err)
    assert.matches("no such plugin", program.run("--schema", "--plugin=jaa4").err)
  end)
end)
