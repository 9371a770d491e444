-- plugins/model.lua where it decides before a flow's end, and nfengine.ml on flows that still live: features are those
-- of plugin first_n's records with the same limits, bit for bit.

local ffi = require "ffi"
local cjson = require "nfengine.json"
local columns = require "nfengine.columns"
local ml = require "nfengine.ml"
local nf = require "nfengine"
local engine = require "spec.support.engine"
local meter = require "spec.support.meter"
local program = require "spec.support.program"
local FirstN = require "plugins.first_n"
local Model = require "plugins.model"

-- A file with a linear model that says its features again, one an output.
local function echo(names)
  local weights = {}
  for row = 0, #names do
    for output = 1, #names do weights[#weights + 1] = row + 1 == output and 1 or 0 end
  end
  return program.write(cjson.encode { learner = {
    feature_names = names, objective = { name = "reg:squarederror" },
    learner_model_param = { num_feature = tostring(#names), num_class = "0", num_target = tostring(#names),
      base_score = "0" },
    gradient_booster = { name = "gblinear", model = { weights = weights } },
  } }, ".json")
end

-- Names of all columns that a model can have before a flow's end.
local function early_names(available)
  local names = {}
  for _, column in ipairs(available) do
    if columns.is_numeric(column) and not columns.is_final(column) and column.group ~= "udps" then
      for _, element in ipairs(columns.elements(column)) do names[#names + 1] = element.name end
    end
  end
  return names
end

-- Rows of features, their bytes in hexadecimal digits, of each flow: while it lives, at its nth packet, or as a record
-- that is frozen there.
local function rows_of(source, n, is_live, dissections)
  local rows, bound = {}, nil
  local function ask(flow)
    local _, row = bound:ask(flow)
    rows[("%s:%d %s:%d %d"):format(flow.src_ip, flow.src_port, flow.dst_ip, flow.dst_port,
      flow.bidirectional_first_seen_ms)] = ffi.string(row, ffi.sizeof(bound.reader.row)):gsub(".", function(byte)
      return ("%02x"):format(byte:byte())
    end)
  end
  local function look(_, _, flow)
    if is_live and flow.bidirectional_packets == n then ask(flow) end
  end
  local Recorder = nf.plugin {
    name = "recorder", on_init = look, on_update = look,
    setup = function(_, run)
      local names = early_names(run.columns)
      assert.is_true(#names > 80)
      bound = ml.load(echo(names)):bind(run.columns, nil, true)
    end,
    on_expire = function(_, flow)
      if flow.bidirectional_packets < n or not is_live then ask(flow) end
    end,
  }
  local udps = is_live and Recorder or { FirstN { packets = n }, Recorder }
  engine.flows { source = source, udps = udps, statistical_analysis = true, splt_analysis = 5, n_meters = 1,
    n_dissections = dissections }
  return rows
end

local PLAIN = { "bidirectional_packets", "bidirectional_bytes", "bidirectional_duration_ms",
  "bidirectional_stddev_ps", "dst2src_stddev_piat_ms", "splt_ps_3" }

local function run(options)
  local words = { "-q", "flows", "--statistical-analysis", "--splt-analysis=5",
    "--columns=src_ip,src_port,dst_port,bidirectional_packets,udps.model_packets,udps.model_scores,expiration_id" }
  for _, option in ipairs(options) do words[#words + 1] = option end
  local result = program.run(unpack(words))
  assert.same({ 0, "" }, { result.status, result.err })
  return result.out
end

local function with(plugins, ...)
  local options = { "--plugin=" .. plugins, "-a", "model.file=" .. echo(PLAIN), "-a", "model.scores=" .. #PLAIN }
  for _, option in ipairs { ... } do options[#options + 1] = option end
  return options
end

-- Who, and what the model saw: rows of a CSV, sorted, without what comes of the rest of the flow.
local function seen(csv)
  local rows = {}
  for row in csv:gmatch "[^\n]+" do rows[#rows + 1] = row:gsub("^(.-,.-,.-),%d+,", "%1,"):gsub(",[^,]*$", "") end
  table.sort(rows)
  return table.concat(rows, "\n")
end

describe("the features of a flow that lives", function()
  after_each(engine.cleanup)

  for _, dissections in ipairs { 0, 20 } do
    it(("are those of its record if it ended now, bit for bit, n_dissections = %d"):format(dissections), function()
      for _, n in ipairs { 1, 2, 3, 7 } do
        local live = rows_of("samples/web.pcap", n, true, dissections)
        assert.is_true(next(live) ~= nil)
        assert.same(rows_of("samples/web.pcap", n, false, dissections), live)
      end
    end)
  end
end)

describe("model with a limit", function()
  after_each(function()
    engine.cleanup()
    program.remove_temporaries()
  end)

  for option, value in pairs { packets = 4, bytes = 700, ms = 40 } do
    it("decides where first_n freezes: " .. option, function()
      local limit = ("first_n.%s=%d"):format(option == "ms" and "time_ms" or option, value)
      local others = option == "packets" and {} or { "-a", "first_n.packets=0" }
      for _, l7 in ipairs { "--no-dpi", "--n-dissections=20" } do
        local frozen = run(with("first_n,model", "-a", limit, l7, "samples/web.pcap", unpack(others)))
        for meters = 1, 3 do
          local early = run(with("model", "-a", ("model.after_%s=%d"):format(option, value), l7,
            "--n-meters=" .. meters, "samples/web.pcap"))
          assert.are_not.equal(frozen, early) -- which counts on
          assert.equal(seen(frozen), seen(early))
        end
      end
    end)
  end

  local five = { meter.udp(0, 1000), meter.back(10, 1000), meter.udp(20, 1000), meter.udp(30, 1000),
    meter.back(40, 1000) }

  -- "packets decided reason" of each flow.
  local function fates(options, packets, before)
    local given, list, udps = { file = echo { "bidirectional_packets" } }, {}, before or {}
    for name, value in pairs(options) do given[name] = value end
    table.insert(udps, Model(given))
    for i, flow in ipairs(engine.flows { udps = udps, packets = packets }) do
      list[i] = ("%d %d %s"):format(flow.bidirectional_packets, flow.udps.model_packets, flow.end_reason)
      assert.equal(flow.udps.model_packets, flow.udps.model_score)
    end
    return list
  end

  it("goes on counting, freezes the flow, or ends it", function()
    assert.same({ "5 3 end of input" }, fates({ after_packets = 3 }, five))
    assert.same({ "3 3 end of input" }, fates({ after_packets = 3, afterwards = "freeze" }, five))
    assert.same({ "3 3 forced", "2 2 end of input" }, fates({ after_packets = 3, afterwards = "end" }, five))
  end)

  it("decides at the end of a flow that ends before, and without limits", function()
    assert.same({ "5 5 end of input" }, fates({ after_packets = 6 }, five))
    assert.same({ "5 5 end of input" }, fates({}, five))
    assert.same({ "5 1 end of input" }, fates({ after_packets = 1 }, five))
  end)

  it("takes the limit that is reached first", function()
    assert.same({ "5 2 end of input" }, fates({ after_packets = 4, after_ms = 10, after_bytes = 1000 }, five))
    assert.same({ "5 3 end of input" }, fates({ after_packets = 4, after_ms = 35, after_bytes = 43 * 3 }, five))
    assert.same({ "5 4 end of input" }, fates({ after_packets = 4, after_ms = 35, after_bytes = 43 * 5 }, five))
  end)

  it("decides once, however many plugins take packets before it", function()
    local before = {}
    for i = 1, 31 do before[i] = nf.plugin { name = "other_" .. i, on_update = function() end } end
    assert.same({ "5 2 end of input" }, fates({ after_packets = 2 }, five, before))
  end)

  it("refuses columns that a flow's end makes", function()
    local function refusal(names, udps)
      table.insert(udps, Model { file = echo(names), after_packets = 3 })
      return engine.refusal(engine.flows, { udps = udps, packets = five, n_dissections = 20 })
    end
    assert.matches([[column "application_confidence" is known at a flow's end, expected one that its packets alone]],
      refusal({ "application_confidence" }, {}), 1, true)
    assert.matches('column "id" is known', refusal({ "id" }, {}), 1, true)
    assert.matches('column "udps.late" is known', refusal({ "udps.late" }, { nf.plugin { name = "late",
      columns = { { "late", "double", "set at the end" } }, on_expire = function() end } }), 1, true)
    local soon = nf.plugin { name = "soon", columns = { { "soon", "double", "set as packets come" } } }
    engine.flows { udps = { soon, Model { file = echo { "udps.soon" }, after_packets = 3 } }, packets = five }
  end)
end)
