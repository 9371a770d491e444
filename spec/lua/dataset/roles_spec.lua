-- lua/nfengine/dataset/roles.lua: which columns a model may learn from.

local engine = require "spec.support.engine"
local nf = require "nfengine"
local roles = require "nfengine.dataset.roles"

local Truth = nf.plugin {
  name = "truth",
  columns = { { "truth", "string" }, { "truth_rule", "uint8" } },
}
local Other = nf.plugin {
  name = "other",
  columns = { { "ratio", "double" }, { "sizes", "uint16[2]" }, { "note", "string" }, { "flag", "bool" } },
}

-- Names by role, of a run with these parameters.
local function sorted(label, kept, parameters)
  local given = { udps = { Truth, Other }, statistical_analysis = true, n_dissections = 20 }
  for name, value in pairs(parameters or {}) do given[name] = value end
  local made
  engine.streamer(given):to {
    open = function(_, columns, _, all) made = roles.sort(columns, all, label, kept or {}) end,
    write = function() return false end,
  }
  local names = { feature = {}, identifier = {}, leaky = {}, label = {} }
  for _, list in ipairs { made.learnt, made.others } do
    for _, column in ipairs(list) do table.insert(names[column.role], column.name) end
  end
  return names, made
end

local function has(list, ...)
  for _, wanted in ipairs { ... } do
    local is_there = false
    for _, name in ipairs(list) do is_there = is_there or name == wanted end
    assert.is_true(is_there, wanted)
  end
end

describe("roles", function()
  after_each(engine.cleanup)

  it("keep what says which flow it is, and when and where it was, from features", function()
    local names = sorted "udps.truth"
    assert.same({ "id", "src_ip", "src_mac", "dst_ip", "dst_mac" }, names.identifier)
    assert.same({
      "src_oui", "src_port", "dst_oui", "dst_port", "vlan_id", "tunnel_id", "bidirectional_first_seen_ms",
      "bidirectional_last_seen_ms", "src2dst_first_seen_ms", "src2dst_last_seen_ms", "dst2src_first_seen_ms",
      "dst2src_last_seen_ms", "application_name", "application_category_name", "requested_server_name",
      "client_fingerprint", "server_fingerprint", "user_agent", "content_type", "udps.truth_rule", "udps.note",
    }, names.leaky)
    assert.same({ "label" }, names.label)
    has(names.feature, "protocol", "ip_version", "bidirectional_packets", "bidirectional_duration_ms",
      "src2dst_mean_ps", "application_confidence", "udps.ratio", "udps.sizes_1", "udps.sizes_2", "udps.flag")
    -- 3 of the tuple, 9 of counters, 48 statistics, 2 of nDPI's, 4 of the plugin
    assert.equal(66, #names.feature)
  end)

  it("know times in any unit", function()
    has(sorted("udps.truth", {}, { time_unit = "us" }).leaky, "bidirectional_first_seen_us", "dst2src_last_seen_us")
  end)

  it("keep all that nDPI says from features where the label is one of its words", function()
    local names = sorted "application_name"
    has(names.leaky, "application_confidence", "application_is_guessed", "requested_server_name")
    has(names.feature, "udps.truth_rule")
    assert.equal(65, #names.feature)
  end)

  it("make features of those that are wanted as such, in their place", function()
    local names = sorted("udps.truth", { "dst_port", "src_ip" })
    assert.same({ "expiration_id", "src_ip", "dst_port", "protocol" }, { unpack(names.feature, 1, 4) })
    assert.equal(68, #names.feature)
  end)

  it("find label and wanted columns that the run has but does not give out", function()
    local names = sorted("udps.truth", { "dst_port" }, { columns = { "src_ip", "bidirectional_bytes" } })
    assert.same({ feature = { "bidirectional_bytes", "dst_port" }, identifier = { "src_ip" }, leaky = {},
      label = { "label" } }, names)
  end)

  it("put the label last, under that name, and arrays as elements where they lie", function()
    local names, made = sorted("udps.truth", {}, { columns = { "udps.sizes", "udps.truth", "udps.ratio" } })
    assert.same({ "udps.sizes_1", "udps.sizes_2", "udps.ratio" }, names.feature)
    local learnt = made.learnt
    assert.same({ "label", "text", "truth" },
      { learnt[#learnt].name, learnt[#learnt].type, learnt[#learnt].place:match "truth$" })
    assert.equal(2, learnt[2].offset - learnt[1].offset)
    assert.same({ "uint16", 1, false }, { learnt[1].type, learnt[1].length, learnt[1].is_array })
  end)

  it("refuse names that are none, with the nearest", function()
    assert.equal("no column \"udps.trth\" in this run (did you mean 'udps.truth'?)",
      engine.refusal(sorted, "udps.trth"))
    assert.equal("no column \"dst_prt\" in this run (did you mean 'dst_port'?)",
      engine.refusal(sorted, "udps.truth", { "dst_prt" }))
  end)
end)
