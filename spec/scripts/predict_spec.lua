local cable = require "spec.support.cable"
local deployment = require "nfengine.ml.deployment"
local engine = require "spec.support.engine"
local example = require "spec.support.example"
local json = require "nfengine.json"
local live = require "spec.support.live"
local program = require "spec.support.program"
local testing_capture = require "nfengine.testing.capture"
local trained = require "spec.support.trained"

describe("scripts/predict.lua", function()
  after_each(engine.cleanup)

  if trained.missing then
    pending("deploys what was trained: " .. trained.missing)
    return
  end

  example.tests "scripts/predict.lua"

  local function predict(words, folder, own)
    local all = { "--model=" .. folder }
    for _, word in ipairs(own or {}) do all[#all + 1] = word end
    return trained.run("predict", words, all)
  end

  -- What is printed where that succeeds.
  local function predicted(words, folder, own)
    local result = predict(words, folder, own)
    assert.same(0, result.status, result.err)
    return result.out, result.err
  end

  local function refusal(words, folder, own)
    local result = predict(words, folder, own)
    assert.not_equal(0, result.status)
    return result.err:match "nfengine: ([^\n]*)\n$"
  end

  local CLASS = "--columns=dst_port,udps.model_class"

  it("says what each flow is", function()
    local folder = trained.model { trained.capture() }
    local out = predicted({ trained.capture(30), CLASS }, folder)
    local right = 0
    for port, class in out:gmatch "\n(%d+),\"(%a+)\"" do
      assert.equal(({ ["53"] = "names", ["80"] = "web" })[port], class)
      right = right + 1
    end
    assert.equal(30, right)
  end)

  it("gives the same for any number of meters, in any format, and scores where it is asked for them", function()
    local folder = trained.model { trained.capture() }
    local words = { trained.capture(60, 1.5), "--format=jsonl" }
    local one, said = predicted(words, folder, { "--scores=2" })
    words[3] = "--n-meters=3"
    local several, said_of_several = predicted(words, folder, { "--scores=2" })
    assert.equal(one, several)
    local row = json.decode(one:match "[^\n]+")
    assert.near(1, row["udps.model_scores"][1] + row["udps.model_scores"][2], 1e-12)
    local drift = "warning: model: features outside the range of training, of 60 flows: [^\n]*"
    assert.equal(said:match(drift), said_of_several:match(drift))
    assert.is_truthy(said:match(drift))
  end)

  it("counts features that are outside the range of training", function()
    local folder = trained.model { trained.capture(), "--columns=src2dst_max_ps,dst2src_max_ps,protocol" }
    local drift = program.temporary ".json"
    local words = { trained.capture(30, 2), "--columns=src2dst_max_ps,udps.model_outside" }
    local out, said = predicted(words, folder, { "--drift=" .. drift })
    local outside, range = 0, trained.manifest(folder).columns[1]
    for size, count in out:gmatch "\n(%d+),(%d+)" do
      local is_outside = tonumber(size) > range.max or tonumber(size) < range.min
      assert.equal(is_outside and 1 or 0, tonumber(count), size)
      outside = outside + tonumber(count)
    end
    assert(outside > 5, outside)
    assert.same({ flows = 30, outside = { src2dst_max_ps = outside, dst2src_max_ps = 0, protocol = 0 } },
      json.decode(program.read(drift)))
    assert.matches(("model: features outside the range of training, of 30 flows: src2dst_max_ps in %d\n")
      :format(outside), said, 1, true)
    out, said = predicted({ trained.capture(), "--columns=udps.model_outside", "--max-nflows=70" }, folder)
    assert.is_nil(out:find "\n[1-9]")
    assert.is_nil(said:find "outside")
  end)

  it("has plugins and parameters of training, and adds what the command line does", function()
    local folder = trained.model { trained.capture(), "--plugin=rates", "--plugin=quantiles", "--splt-analysis=3",
      "--idle-timeout=7", "--time-unit=us", "-a", "quantiles.keep=50" }
    local names = {}
    for i, column in ipairs(trained.manifest(folder).columns) do names[i] = column.name end
    assert.matches(" splt_piat_us_3 .* udps.rates_", table.concat(names, " "))
    local out = predicted({ trained.capture(20), "--plugin=community_id", "--format=jsonl" }, folder)
    local row = json.decode(out:match "[^\n]+")
    for _, name in ipairs { "udps.rates_down_up_bytes", "udps.community_id", "udps.model_class", "splt_ps",
      "bidirectional_duration_us" } do
      assert.is_truthy(row[name], name)
    end
    assert.is_nil(row["udps.label"])
    local about = program.temporary ".csv"
    predicted({ trained.capture(20), "--manifest", "-o", about }, folder)
    assert.equal(7, json.decode(program.read(about .. ".manifest.json")).parameters.idle_timeout)
  end)

  it("gives flows no more columns than features are, whatever a manifest asks for", function()
    local folder = trained.model { trained.capture(), "--splt-analysis=3", "--columns=splt_ps,src2dst_packets" }
    trained.change(folder, function(about)
      about.parameters.splt_analysis, about.parameters.l7_columns = 65535, { "all" }
    end)
    local given = deployment.new(folder):parameters()
    assert.same({ false, 3, {} }, { given.statistical_analysis, given.splt_analysis, given.l7_columns })
    local out = predicted({ trained.capture(20), "--format=jsonl" }, folder)
    assert.equal(3, #json.decode(out:match "[^\n]+").splt_ps)
    trained.change(folder, function(about) about.parameters.splt_analysis = 2 end)
    assert.matches('no column "splt_ps_3"', refusal({ trained.capture(4) }, folder))
    folder = trained.model { trained.capture(), "--n-dissections=20", "--l7-columns=risk_score,dns_query_type",
      "--time-unit=us", "--columns=risk_score,bidirectional_max_piat_us" }
    given = deployment.new(folder):parameters()
    assert.same({ true, 0, { "risk_score" } }, { given.statistical_analysis, given.splt_analysis, given.l7_columns })
    predicted({ trained.capture(20) }, folder)
  end)

  it("writes no payload that no feature is of, whatever a manifest asks for", function()
    local words = { trained.capture(), "--plugin=payload_bytes" }
    local folder = trained.model(words)
    local out = predicted({ trained.capture(4), "--format=jsonl" }, folder)
    assert.is_truthy(out:find("payload_src2dst", 1, true))
    words[#words + 1] = "--columns=src2dst_packets,src2dst_bytes,dst2src_bytes"
    folder = trained.model(words)
    out = predicted({ trained.capture(4), "--format=jsonl" }, folder)
    assert.is_nil(out:find("payload_src2dst", 1, true))
  end)

  it("gives a plugin of others no options that a manifest has", function()
    local path = program.write([[return require "nfengine".plugin {
      name = "mine", version = "1.0.0", categories = { "safe" }, options = { text = { "", "what to say" } },
      columns = { { "mine", "uint8" } }, on_init = function(_, _, flow) flow.udps.mine = 1 end,
    }]], ".lua")
    local folder = trained.model { trained.capture(), "--plugin=" .. path }
    predicted({ trained.capture(4), "--plugin=" .. path }, folder)
    trained.change(folder, function(about)
      for _, each in ipairs(about.plugins) do
        if each.name == "mine" then each.options.text = "evil" end
      end
    end)
    assert.equal("-a mine.text=: the model was trained with evil, expected the same",
      refusal({ trained.capture(4), "--plugin=" .. path }, folder))
  end)

  it("masks what it is told to mask, and decides by what is true", function()
    local folder = trained.model { trained.capture() }
    local out = predicted({ trained.capture(20), "--anonymize-addresses", "--columns=src_ip,udps.model_class" }, folder)
    assert.is_nil(out:find("10.0.0.", 1, true))
    assert.equal(10, select(2, out:gsub('"names"', "")))
  end)

  it("takes a plugin that is a file from the command line, as training did", function()
    local path = program.temporary ".lua"
    local name = path:match "([^/]*)%.lua$"
    program.write(program.read "plugins/rates.lua":gsub('"rates"', ('"%s"'):format(name)), path)
    local folder = trained.model { trained.capture(), "--plugin=" .. path }
    assert.equal("plugin " .. name .. " did not come along with nfengine, expected --plugin with it and its options, "
      .. "as in training", refusal({ trained.capture(10) }, folder))
    predicted({ trained.capture(10), "--plugin=" .. path }, folder)
  end)

  describe("warns of", function()
    local function warnings(words, folder)
      local _, said = predicted(words, folder)
      return said:match "warning: [^\n]*"
    end

    it("a filter of training's, which it never runs", function()
      local path = program.temporary ".txt"
      local filter = ('flow.protocol == 17 and (os.execute("touch %s") or true)'):format(path)
      local folder = trained.model { trained.capture(), "--n-meters=1", "--filter=" .. filter }
      os.remove(path)
      assert.equal("warning: the model was trained on flows of --filter=" .. filter
        .. ", which is not this run's filter", warnings({ trained.capture(4) }, folder))
      assert.is_nil(program.read(path))
      assert.is_nil(warnings({ trained.capture(4), "--filter=" .. filter }, folder))
      assert.matches("trained on flows", warnings({ trained.capture(4), "--filter=true" }, folder))
      trained.change(folder, function(about) about.parameters.filter = { "\27[2J" } end)
      assert.matches("--filter=?[2J,", warnings({ trained.capture(4) }, folder), 1, true)
    end)

    it("a table of flows that may be full sooner or later than in training", function()
      local folder = trained.model { trained.capture() }
      assert.equal("warning: --max-flows=100: the model was trained with 4194304, and a full table ends flows",
        warnings({ trained.capture(4), "--max-flows=100" }, folder))
      assert.is_nil(warnings({ trained.capture(4) }, folder))
    end)

    it("another nDPI than in training, where features are of its", function()
      local folder = trained.model { trained.capture(), "--n-dissections=20" }
      local ndpi = trained.manifest(folder).engine.ndpi
      assert.is_nil(warnings({ trained.capture(4) }, folder))
      trained.change(folder, function(about) about.engine.ndpi = "1.8" end)
      assert.equal("warning: features are nDPI's, which is another than in training, " .. ndpi .. " now and 1.8 then",
        warnings({ trained.capture(4) }, folder))
      folder = trained.model { trained.capture(), "--n-dissections=0" }
      trained.change(folder, function(about) about.engine.ndpi = "1.8" end)
      assert.is_nil(warnings({ trained.capture(4), "--n-dissections=20" }, folder))
    end)
  end)

  describe("refuses", function()
    local folder
    before_each(function()
      folder = trained.model { trained.capture(40), "--plugin=quantiles", "--columns=bidirectional_mean_ps,protocol",
        "--n-dissections=0" }
    end)

    it("what would make other features, naming both values", function()
      for _, each in ipairs {
        { "--idle-timeout=5", "--idle-timeout=5: the model was trained with 120, expected the same" },
        { "--time-unit=us", "--time-unit=us: the model was trained with ms, expected the same" },
        { "--no-decode-tunnels", "--decode-tunnels=false: the model was trained with true, expected the same" },
        { "--accounting-mode=1", "--accounting-mode=1: the model was trained with 0, expected the same" },
        { "--plugin=first_n", "--plugin first_n: it ends flows otherwise than in training, where it was not, "
          .. "expected no such plugin" },
        { "-aquantiles.keep=50", "-a quantiles.keep=50: the model was trained with 64, expected the same" },
      } do
        local word = each[1]
        local words = word:match "^%-a" and { "x", "-a", word:sub(3) } or { "x", word }
        words[1] = trained.capture(4)
        local result = predict(words, folder)
        assert.same({ 2, "nfengine: " .. each[2] .. "\n" }, { result.status, result.err })
      end
      predicted({ trained.capture(4), "--n-dissections=20", "--statistical-analysis", "--idle-timeout=120" }, folder)
    end)

    it("to be asked otherwise than it was trained", function()
      for _, word in ipairs { "after_packets=2", "afterwards=end", "file=other.json", "manifest=other.json",
        "columns=protocol,dst_port", "classes=a,b" } do
        local result = predict({ trained.capture(4), "-a", "model." .. word }, folder)
        assert.same({ 2, "nfengine: -a model." .. word .. ": the model is asked as it was trained, expected no such "
          .. "option\n" }, { result.status, result.err })
      end
      predicted({ trained.capture(4), "-a", "model.scores=2", "-a", "model.drift=-" }, folder)
    end)

    it("to write drift over what the run reads or writes", function()
      local capture, out = trained.capture(4), program.temporary ".csv"
      local before = program.read(capture)
      for _, path in ipairs { capture, folder .. "//manifest.json", folder .. "/model.json", out } do
        local said = "--drift=" .. path .. ": a file of this run, expected another"
        assert.equal(said, refusal({ capture, "-o", out }, folder, { "--drift=" .. path }))
        assert.equal(said, refusal({ capture, "-o", out, "-a", "model.drift=" .. path }, folder))
      end
      assert.is_true(before == program.read(capture))
      program.write("", out)
      refusal({ capture, "-o", out }, folder, { "--drift=" .. out:gsub("/", "//") })
    end)

    it("to lose drift that finds no place, naming the file", function()
      assert.equal("plugin model: cleanup: /dev/full: No space left on device",
        refusal({ trained.capture(4) }, folder, { "--drift=/dev/full" }))
    end)

    it("another libpcap filter than in training, which it takes from nobody but the command line", function()
      assert.equal("--bpf-filter=src port 80: the model was trained without it, expected the same",
        refusal({ trained.capture(4), "--bpf-filter=src port 80" }, folder))
      local filtered = trained.model { trained.capture(), "--bpf-filter=udp" }
      assert.equal("no --bpf-filter: the model was trained with udp, expected the same",
        refusal({ trained.capture(4) }, filtered))
      assert.equal("--bpf-filter=tcp: the model was trained with udp, expected the same",
        refusal({ trained.capture(4), "--bpf-filter=tcp" }, filtered))
      predicted({ trained.capture(4), "--bpf-filter=udp" }, filtered)
    end)

    it("packets that are cut otherwise, where features are of payload", function()
      predicted({ trained.capture(4), "--snapshot-length=96" }, folder)
      local said = "--snapshot-length=96: the model was trained with 1536, expected the same"
      for _, word in ipairs { "--plugin=payload_bytes", "--n-dissections=20" } do
        local of_payload = trained.model { trained.capture(), "--n-dissections=0", word }
        assert.equal(said, refusal({ trained.capture(4), "--snapshot-length=96" }, of_payload))
        predicted({ trained.capture(4) }, of_payload)
      end
    end)

    it("a model that is not its manifest's", function()
      local path = folder .. "/model.json"
      program.write(program.read(path) .. " ", path)
      assert.matches('model.json": SHA%-256 %x+, expected %x+ as its manifest has it$',
        refusal({ trained.capture(4) }, folder))
      os.remove(path)
      assert.matches('model.json": SHA%-256 of no file, expected', refusal({ trained.capture(4) }, folder))
    end)

    it("a plugin of another version, and tells of one with another text", function()
      trained.change(folder, function(about) about.plugins[2].version = "7.0.0" end)
      assert.equal("plugin quantiles: version 1.0.0, expected 7.0.0 as in training",
        refusal({ trained.capture(4) }, folder))
      trained.change(folder, function(about) about.plugins[2].version, about.plugins[2].sha256 = "1.9.9", "0" end)
      local _, said = predicted({ trained.capture(4) }, folder)
      local warning = "warning: plugin quantiles is another than in training, version 1.0.0 now and 1.9.9 then\n"
      assert.matches(warning, said, 1, true)
    end)

    it("whatever else a manifest may hold, in one line that is no fault of Lua's", function()
      local WRONG = { 1, -1, 1e300, "x", "", true, false, {}, { 1 }, { a = 1 }, json.null, "../x" }
      math.randomseed(1)
      local function spoil(value, depth)
        local names = {}
        for name in pairs(value) do names[#names + 1] = name end
        table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
        local name = names[math.random(#names)]
        local inner = value[name]
        if type(inner) == "table" and next(inner) and depth < 5 and math.random() < 0.8 then spoil(inner, depth + 1)
        else value[name] = WRONG[math.random(#WRONG)] end
      end
      local before, refused = program.read(folder .. "/manifest.json"), 0
      local capture = trained.capture(4)
      for _ = 1, 300 do
        trained.change(folder, function(about) spoil(about, 0) end)
        local ok, raised = pcall(engine.quietly, function()
          local deployed = deployment.new(folder)
          local given = deployed:parameters()
          given.udps, given.source = deployed:plugins(), capture
          local streamer = require "nfengine".streamer(given)
          deployed:check(streamer:resolved())
          streamer:to { write = function() return true end }
        end)
        local said = ok and "" or type(raised) == "table" and raised.usage or raised
        assert.is_nil(said:match "\n" or said:match "%.lua:%d", said)
        refused = refused + (ok and 0 or 1)
        program.write(before, folder .. "/manifest.json")
      end
      assert(refused > 30, refused)
    end)

    it("to run a plugin that lies beside, by whatever name, where a manifest says so", function()
      local ran = program.temporary ".txt"
      local code = ('io.open(%q, "w"):close() return require "nfengine".plugin { name = "%%s", version = "1.0.0", '
        .. 'categories = { "safe" }, columns = { { "x", "uint8" } }, on_init = function() end }'):format(ran)
      local plugins = testing_capture.folder {
        ["innocent.lua"] = code:format "innocent", ["quantiles.lua"] = code:format "quantiles",
        ["model.lua"] = code:format "model",
      }
      local here = testing_capture.folder { ["cjson.lua"] = code, ["lfs.lua"] = code }
      assert(os.rename(plugins, here .. "/plugins"))
      assert(os.rename(testing_capture.folder { ["safe.lua"] = code }, here .. "/cjson"))
      local function run(...)
        local words = { program.absolute(program.path), "-q", "predict", trained.capture(4), ... }
        for i, word in ipairs(words) do words[i] = program.quote(word) end
        return program.shell(("cd '%s' && %s"):format(here, table.concat(words, " ")))
      end
      local result = run("--", "--model=" .. folder)
      assert.same({ 0, nil }, { result.status, program.read(ran) }, result.err)
      trained.change(folder, function(about) about.plugins[2].name = "innocent" end)
      result = run("--", "--model=" .. folder)
      assert.equal("nfengine: plugin innocent did not come along with nfengine, expected --plugin with it and its "
        .. "options, as in training\n", result.err)
      assert.is_nil(program.read(ran))
      run("--plugin=innocent", "--", "--model=" .. folder)
      assert.equal("", program.read(ran))
    end)

    it("to open files where a manifest says so", function()
      local path = program.temporary ".txt"
      trained.change(folder, function(about)
        about.plugins[#about.plugins + 1] = { name = "label", version = "1.0.0", options = { audit = path } }
        about.label.plugin = nil
        table.remove(about.plugins, 1)
      end)
      assert.equal("plugin label is not of category safe, expected --plugin label and its options, as in training",
        refusal({ trained.capture(4) }, folder))
      assert.equal("-a label.audit=: the model was trained with " .. path .. ", expected the same",
        refusal({ trained.capture(4), "--plugin=label" }, folder))
      assert.is_nil(program.read(path))
      predicted({ trained.capture(4), "--plugin=label", "-a", "label.audit=" .. path }, folder)
      assert.is_truthy(program.read(path))
    end)

    it("manifests that are none, in one line", function()
      local function changed(change)
        local before = program.read(folder .. "/manifest.json")
        trained.change(folder, change)
        local said = refusal({ trained.capture(4) }, folder)
        program.write(before, folder .. "/manifest.json")
        return said
      end
      for problem, change in pairs {
        ["no manifest of format 1"] = function(about) about.manifest = 2 end,
        ["no list of classes"] = function(about) about.classes = { 1, 2 } end,
        ["no list of columns"] = function(about) about.columns[1].min = "low" end,
        ["no list of plugins"] = function(about) about.plugins[1].name = "../../tmp/evil" end,
        ["no file of a model"] = function(about) about.files = {} end,
        ["no parameters"] = function(about) about.parameters = "all" end,
        ["nothing about nDPI"] = function(about) about.engine.ndpi = nil end,
        ["nothing about training"] = function(about) about.training = nil end,
        ["no label"] = function(about) about.label = { column = 1 } end,
      } do
        assert.matches('manifest.json": ' .. problem .. ", expected the manifest that nfengine train writes$",
          changed(change))
      end
      assert.matches('parameter idle_timeout = "soon": expected an integer',
        changed(function(about) about.parameters.idle_timeout = "soon" end))
      assert.matches('plugin quantiles: unknown option "by"',
        changed(function(about) about.plugins[2].options.by = 1 end), 1, true)
      assert.matches('": feature 1 is "nope", expected "bidirectional_mean_ps" as the model has it$',
        changed(function(about) about.columns[1].name = "nope" end))
      assert.matches('": 1 features, expected 2 as the model has them$',
        changed(function(about) about.columns[1].role = "leaky" end))
      program.write("{", folder .. "/manifest.json")
      assert.matches('": no JSON, expected', refusal({ trained.capture(4) }, folder))
      assert.matches("no such file, expected the manifest that nfengine train writes$",
        refusal({ trained.capture(4) }, folder .. "/nowhere"))
      assert.equal("expected --model=FOLDER behind --", refusal({ trained.capture(4) }, ""))
    end)
  end)
end)

-- ---- the same features ----

-- Runs one of the scripts, and writes each row of features into a file: those that training learns from, or those that
-- the model is asked about.
local SPY = [[
  local ffi = require "ffi"
  local out = assert(io.open(%q, "wb"))
  local function keep(row, width) out:write(ffi.string(row, 8 * width)) end
  if %q == "train" then
    local vector = require "nfengine.ml.vector"
    local read = vector.read
    function vector:read(flow)
      local row = read(self, flow)
      keep(row, self.width)
      return row
    end
  else
    local ml = require "nfengine.ml"
    local load = ml.load
    function ml.load(path)
      local model = load(path)
      local class = getmetatable(model).__index
      local predict = class.predict
      function class.predict(self, rows, count, outputs)
        keep(rows, count * self.feature_count)
        return predict(self, rows, count, outputs)
      end
      return model
    end
  end
  dofile "scripts/%s.lua"
  out:close()
]]

local function spy(script)
  local path = program.temporary ".rows"
  return engine.script_file(SPY:format(path, script, script)), path
end

-- Rows in a fixed order, each as bytes.
local function rows_in(path, width)
  local rows, bytes = {}, program.read(path)
  assert.equal(0, #bytes % (8 * width))
  for at = 1, #bytes, 8 * width do rows[#rows + 1] = bytes:sub(at, at + 8 * width - 1) end
  table.sort(rows)
  return rows
end

local FEATURES = { "--n-dissections=20", "--l7-columns=risk_score,dns_query_type", "--splt-analysis=6",
  "--plugin=quantiles", "--plugin=rates", "--plugin=tcp_rtt", "--plugin=active_idle", "--plugin=histogram",
  "--time-unit=us", "--no-dpi-cache", "--n-meters=1" }

local function with(...)
  local words = { ... }
  for _, word in ipairs(FEATURES) do words[#words + 1] = word end
  return words
end

-- Trains on a capture; returns the model's folder, its features' number and the rows that were learnt from.
local function learn(capture)
  local script, path = spy "train"
  local words = with(script, capture)
  local folder = testing_capture.folder() .. "/model"
  for _, word in ipairs { "--", "--label=ip_version", "--keep=dst_port", "--few=0", "--trees=3", "--split=0.9,0.1",
    "--group=pair", "--write=" .. folder } do
    words[#words + 1] = word
  end
  local result = program.run(unpack(words))
  assert.same(0, result.status, result.err)
  local width = #trained.manifest(folder).columns - 1
  return folder, width, rows_in(path, width)
end

describe("a model's features", function()
  after_each(engine.cleanup)

  if trained.missing then
    pending("are in use what they were in training: " .. trained.missing)
    return
  end

  it("are in use what they were in training, bit for bit", function()
    local folder, width, learnt = learn "samples/web.pcap"
    assert(width > 120 and #learnt == 32, width .. " features, " .. #learnt .. " flows")
    local script, path = spy "predict"
    local result = program.run("-q", script, "samples/web.pcap", "--n-meters=1", "--format=null", "--", "--model="
      .. folder)
    assert.same(0, result.status, result.err)
    assert.is_true(table.concat(learnt) == table.concat(rows_in(path, width)))
  end)

  local missing = cable.missing()
  if missing then
    pending("are the same live: " .. missing)
    return
  end

  describe("live", function()
    before_each(cable.lay)
    after_each(cable.remove)

    it("are those of a recording, bit for bit", function()
      local folder, width = learn "samples/web.pcap"
      local dump = live.record(cable.net.b, "vb")
      local script, path = spy "predict"
      local run = live.start(cable.net.b, "-i", "vb", "--n-meters=1", script, "--", "--model=" .. folder)
      cable.send "samples/web.pcap"
      local sent = live.packets_in "samples/web.pcap"
      live.wait_for(sent .. " packets recorded", function() return live.packets_in(dump.path) == sent end)
      live.wait_for_packets(run, sent)
      local result = run:stop()
      dump:stop "TERM"
      assert.equal(0, result.status, result.err)
      assert.equal(33, select(2, result.out:gsub("\n", "")))
      local _, _, learnt = learn(dump.path)
      assert.is_true(table.concat(learnt) == table.concat(rows_in(path, width)))
    end)
  end)
end)
