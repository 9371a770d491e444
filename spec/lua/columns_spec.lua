-- The registry of columns, and which of them records have: lua/nfengine/columns.lua.

local nf = require "nfengine"
local engine = require "spec.support.engine"

-- NFStream's columns in its order, spelled out by its own rules.
local sides = { "bidirectional", "src2dst", "dst2src" }

local core_before_tunnel = { "id", "expiration_id", "src_ip", "src_mac", "src_oui", "src_port", "dst_ip", "dst_mac",
  "dst_oui", "dst_port", "protocol", "ip_version", "vlan_id" }

local function core_behind_tunnel(unit)
  local names = {}
  for _, side in ipairs(sides) do
    for _, what in ipairs { "first_seen_" .. unit, "last_seen_" .. unit, "duration_" .. unit, "packets", "bytes" } do
      names[#names + 1] = side .. "_" .. what
    end
  end
  return names
end

local function statistics(unit)
  local names = {}
  for _, series in ipairs { "ps", "piat_" .. unit } do
    for _, side in ipairs(sides) do
      for _, statistic in ipairs { "min", "mean", "stddev", "max" } do
        names[#names + 1] = ("%s_%s_%s"):format(side, statistic, series)
      end
    end
  end
  for _, side in ipairs(sides) do
    for _, flag in ipairs { "syn", "cwr", "ece", "urg", "ack", "psh", "rst", "fin" } do
      names[#names + 1] = ("%s_%s_packets"):format(side, flag)
    end
  end
  return names
end

local l7 = { "application_name", "application_category_name", "application_is_guessed", "application_confidence",
  "requested_server_name", "client_fingerprint", "server_fingerprint", "user_agent", "content_type" }

local function joined(...)
  local all = {}
  for _, names in ipairs { ... } do
    for _, name in ipairs(names) do all[#all + 1] = name end
  end
  return all
end

local function keys_of(parameters)
  parameters.max_nflows = 1
  return engine.flows(parameters)[1]:keys()
end

describe("a record's columns", function()
  it("are NFStream's, in its order", function()
    local expected = joined(core_before_tunnel, { "tunnel_id" }, core_behind_tunnel "ms")
    assert.equal(13 + 1 + 15, #expected)
    assert.same(expected, keys_of {})
  end)

  it("lack the tunnel where tunnels are not decoded", function()
    assert.same(joined(core_before_tunnel, core_behind_tunnel "ms"), keys_of { decode_tunnels = false })
  end)

  it("hold 48 statistics, first packets and L7 where they are asked for", function()
    assert.equal(48, #statistics "ms")
    local splt = { "splt_direction", "splt_ps", "splt_piat_ms" }
    assert.same(joined(core_before_tunnel, { "tunnel_id" }, core_behind_tunnel "ms", statistics "ms", splt, l7),
      keys_of { statistical_analysis = true, splt_analysis = 3, n_dissections = 20 })
  end)

  for _, unit in ipairs { "us", "ns" } do
    it("are named for the unit of time " .. unit, function()
      local splt = { "splt_direction", "splt_ps", "splt_piat_" .. unit }
      assert.same(joined(core_before_tunnel, { "tunnel_id" }, core_behind_tunnel(unit), statistics(unit), splt),
        keys_of { statistical_analysis = true, splt_analysis = 3, time_unit = unit })
    end)
  end

  it("end in plugins' columns, in the order of plugins and declarations, without their state", function()
    local first = nf.plugin { name = "first", columns = { { "b", "uint8" }, { "a", "string" } },
      state = { { "s", "bool" } } }
    local second = nf.plugin { name = "second", columns = { { "c", "uint16[2]" } } }
    assert.same(joined(core_before_tunnel, { "tunnel_id" }, core_behind_tunnel "ms", { "udps.b", "udps.a", "udps.c" }),
      keys_of { udps = { first, second } })
  end)
end)

describe("columns", function()
  local Probe = nf.plugin { name = "probe", columns = { { "mark", "uint8" }, { "note", "string" } } }

  it("come in the order given", function()
    assert.same({ "dst_ip", "id", "src_ip" }, keys_of { columns = { "dst_ip", "id", "src_ip" } })
  end)

  it("may be one name", function()
    assert.same({ "src_ip" }, keys_of { columns = "src_ip" })
  end)

  it("stand for the usual ones with *, each once", function()
    local usual = keys_of {}
    assert.same(joined(usual, { "end_reason" }), keys_of { columns = { "*", "end_reason" } })
    assert.same(joined({ "end_reason", "dst_ip" }, usual), (function()
      local keys = keys_of { columns = { "end_reason", "dst_ip", "*" } }
      table.insert(keys, 9, "dst_ip") -- it stood in front already
      return keys
    end)())
  end)

  it("name plugins' columns, but not their state", function()
    assert.same({ "udps.note", "id" }, keys_of { udps = Probe, columns = { "udps.note", "id" } })
    assert.matches('no column "udps.marks" in this run (did you mean \'udps.mark\'?)',
      engine.refusal(keys_of, { udps = Probe, columns = { "udps.marks" } }), 1, true)
    local Scratch = nf.plugin { name = "scratch", state = { { "seen", "uint8" } } }
    assert.matches('no column "udps.seen" in this run',
      engine.refusal(keys_of, { udps = Scratch, columns = { "udps.seen" } }), 1, true)
  end)

  it("refuse names they do not know, with the nearest", function()
    assert.equal("nf.streamer: columns: no column \"src_ipp\" in this run (did you mean 'src_ip'?)",
      engine.refusal(keys_of, { columns = { "id", "src_ipp" } }))
    assert.equal('nf.streamer: columns: no column "colour" in this run',
      engine.refusal(keys_of, { columns = { "colour" } }))
  end)

  it("refuse columns that the run does not have", function()
    for _, name in ipairs { "splt_ps", "bidirectional_min_ps", "application_name", "bidirectional_duration_us" } do
      assert.matches('no column "' .. name .. '" in this run', engine.refusal(keys_of, { columns = { name } }), 1, true)
    end
  end)
end)

describe("l7_columns", function()
  it("add columns behind NFStream's L7 columns", function()
    local keys = keys_of { n_dissections = 20, l7_columns = { "risk_score", "tls_version" } }
    assert.equal("content_type", keys[#keys - 2])
    assert.same({ risk_score = true, tls_version = true }, { [keys[#keys]] = true, [keys[#keys - 1]] = true })
    assert.equal(#keys_of { n_dissections = 20 } + 2, #keys)
  end)

  it("may be one name, or all", function()
    local usual = #keys_of { n_dissections = 20 }
    assert.equal(usual + 1, #keys_of { n_dissections = 20, l7_columns = "tls_alpn" })
    assert.is_true(#keys_of { n_dissections = 20, l7_columns = "all" } > usual + 5)
  end)

  it("refuse names they do not know, whether L7 is on or off", function()
    for _, n_dissections in ipairs { 20, 0 } do
      assert.equal("nf.streamer: l7_columns: unknown column \"tls_versin\" (did you mean 'tls_version'?)",
        engine.refusal(keys_of, { n_dissections = n_dissections, l7_columns = { "tls_versin" } }))
    end
  end)

  it("are left out where L7 is off", function()
    assert.same(keys_of {}, keys_of { n_dissections = 0, l7_columns = "all" })
  end)

  it("hold what nDPI found", function()
    local flow = engine.flows { n_dissections = 20, l7_columns = { "dns_query_type" }, max_nflows = 1 }[1]
    assert.same({ "DNS", 1 }, { flow.application_name, flow.dns_query_type })
  end)
end)

describe("nf.columns", function()
  it("describes every column for people", function()
    local seen = {}
    for _, column in ipairs(nf.columns()) do
      assert.is_nil(seen[column.name], column.name)
      assert.is_true(#column.doc > 0, column.name)
      assert.is_nil((column.name .. column.doc .. (column.unit or "")):match "[{}]", column.name)
      seen[column.name] = column
    end
    for _, name in ipairs(joined(core_before_tunnel, { "tunnel_id" }, core_behind_tunnel "ms", statistics "ms", l7)) do
      assert.truthy(seen[name], name)
    end
    assert.equal("ms", seen.bidirectional_duration_ms.unit)
    assert.equal("bytes", seen.src2dst_bytes.unit)
  end)

  it("names them for a unit of time", function()
    local seen = {}
    for _, column in ipairs(nf.columns "us") do seen[column.name] = column end
    assert.equal("us", seen.bidirectional_duration_us.unit)
    assert.is_nil(seen.bidirectional_duration_ms)
  end)
end)

describe("columns.elements", function()
  local columns = require "nfengine.columns"

  it("are columns of an array's values", function()
    local splt
    engine.streamer { splt_analysis = 3, columns = { "src_ip", "splt_ps", "splt_piat_ms" } }:to {
      open = function(_, list) splt = list end,
      write = function() return false end,
    }
    local elements = columns.elements(splt[2])
    assert.same({ "splt_ps_1", "splt_ps_2", "splt_ps_3" },
      { elements[1].name, elements[2].name, elements[3].name })
    assert.same({ "int32", "bytes", 1, false, splt[2].doc, splt[2].offset + 8 },
      { elements[3].type, elements[3].unit, elements[3].length, elements[3].is_array, elements[3].doc,
        elements[3].offset })
    assert.equal(splt[3].offset + 16, columns.elements(splt[3])[3].offset)
  end)

  it("are the column itself where it is no array", function()
    local column = { name = "x", type = "uint8" }
    assert.equal(column, columns.elements(column)[1])
  end)
end)
