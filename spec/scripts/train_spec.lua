local capture = require "nfengine.testing.capture"
local engine = require "spec.support.engine"
local example = require "spec.support.example"
local json = require "nfengine.json"
local lfs = require "nfengine.lfs"
local program = require "spec.support.program"
local trained = require "spec.support.trained"

describe("scripts/train.lua", function()
  after_each(engine.cleanup)

  if trained.missing then
    pending("trains: " .. trained.missing)
    return
  end

  example.tests "scripts/train.lua"

  -- What a run says that fails.
  local function refusal(words, own)
    local result, folder = trained.train(words, own)
    assert.not_equal(0, result.status)
    assert.is_nil(program.read(folder .. "/model.json"))
    return result.err:match "nfengine: ([^\n]*)\n$"
  end

  it("learns what flows are, tells how well, and writes all that it takes to use that", function()
    local folder, result = trained.model { trained.capture() }
    assert.matches("\naccuracy 1.0000, balanced accuracy 1.0000, macro F1 1.0000, of 30 flows\n", result.out, 1, true)
    assert.matches("\n%[1%] names +15 +0\n%[2%] web +0 +15\n", result.out)
    assert.equal("manifest.json model.json", program.names_in(folder))
    local about = trained.manifest(folder)
    assert.same({ "names", "web" }, about.classes)
    assert.same({ column = "udps.label", plugin = "label" }, about.label)
    assert.same({ group = "time", shares = { 0.7, 0.3 }, flows = { train = 70, test = 30 } }, about.split)
    assert.equal(1, about.test.accuracy)
    assert.same({ { 15, 0 }, { 0, 15 } }, about.test.confusion)
    assert.equal(program.lines("sha256sum " .. folder .. "/model.json")[1]:match "%S+", about.files[1].sha256)
    assert.equal(program.lines("sha256sum " .. about.inputs[1].path)[1]:match "%S+", about.inputs[1].sha256)
    assert.equal(120, about.parameters.idle_timeout)
    local names = {}
    for i, column in ipairs(about.columns) do names[i] = column.name end
    assert.equal("label", table.remove(names))
    assert.same(names, json.decode(program.read(folder .. "/model.json")).learner.feature_names)
  end)

  it("tells the range of each feature in the train part", function()
    local about = trained.manifest((trained.model { trained.capture(), "--columns=src2dst_max_ps,protocol" }))
    local size, protocol = about.columns[1], about.columns[2]
    assert.same({ "src2dst_max_ps", 42 + 20, 42 + 139 }, { size.name, size.min, size.max }) -- 42 bytes of headers
    assert.same({ 17, 17, { 17, 17, 17, 17, 17, 17, 17 } }, { protocol.min, protocol.max, protocol.quantiles })
    assert.equal(1, size.gain)
    assert.equal(0, protocol.gain)
  end)

  it("has the same model and tables for any number of meters", function()
    local words = { "samples/web.pcap", "--splt-analysis=3", "--plugin=rates", "--n-dissections=20" }
    local own = { "--label=application_category_name", "--few=0", "--trees=5", "--kind=forest" }
    local models, tables = {}, {}
    for i, meters in ipairs { "1", "2", "5" } do
      words[5] = "--n-meters=" .. meters
      local result, folder = trained.train(words, own)
      assert.same(0, result.status, result.err)
      models[i], tables[i] = program.read(folder .. "/model.json"), result.out
    end
    assert.is_true(models[1] == models[2] and models[2] == models[3])
    assert.same({ tables[1], tables[1] }, { tables[2], tables[3] })
    assert.matches('"splt_ps_3"', models[1], 1, true)
    assert.matches('"udps.rates_down_up_bytes"', models[1], 1, true)
  end)

  it("can be made again from its manifest", function()
    local rules = program.write(trained.RULES, "rules.csv")
    local result, folder = trained.train({ trained.capture(40) }, { "--label-rules=" .. rules, "--few=0" })
    assert.same(0, result.status, result.err)
    local again = program.run("--replay", folder .. "/manifest.json", "-o", folder .. "/again")
    assert.same({ 0, "the same: 1 file, 0 records\n" }, { again.status, again.out })
    os.remove(rules)
  end)

  it("takes the latest flows for its test, and with three shares stops by the middle", function()
    local folder = trained.model({ trained.capture() }, { "--split=0.5,0.2,0.3", "--trees=200", "--patience=3" })
    local about = trained.manifest(folder)
    assert.same({ train = 50, validation = 20, test = 30 }, about.split.flows)
    assert(about.training.rounds < 200, about.training.rounds)
  end)

  it("keeps hosts, or pairs, together where it is told so", function()
    for _, group in ipairs { "host", "pair" } do
      local about = trained.manifest((trained.model({ trained.capture(200) }, { "--group=" .. group, "--seed=3" })))
      assert.equal(200, about.split.flows.train + about.split.flows.test)
      assert(about.split.flows.train > 110 and about.split.flows.train < 170, about.split.flows.train)
    end
  end)

  it("parts captures one by one that are labelled by file, or apart", function()
    local early, late = trained.capture(40), trained.capture(40, 3)
    local result, folder = trained.train({ early, late }, { "--label-by-file=file", "--few=0" })
    assert.same(0, result.status, result.err)
    assert.same({ train = 56, test = 24 }, trained.manifest(folder).split.flows)
    for _, class in ipairs(trained.manifest(folder).test.classes) do assert.equal(12, class.flows) end
    local about = trained.manifest((trained.model({ early, late }, { "--apart" })))
    assert.same({ train = 56, test = 24 }, about.split.flows)
  end)

  it("learns numbers", function()
    local result, folder = trained.train({ trained.capture() },
      { "--label=bidirectional_bytes", "--regression", "--few=0" })
    assert.same(0, result.status, result.err)
    assert.matches("^mean absolute error %d", result.out)
    assert(trained.manifest(folder).test.r2 > 0.9)
    assert.equal('label "application_name" is text, expected a number with --regression',
      refusal({ "samples/web.pcap", "--n-dissections=20" }, { "--label=application_name", "--regression" }))
  end)

  it("learns what is true or false as 0 and 1", function()
    local plugin = program.write([[
      return require "nfengine".plugin { name = "large", columns = { { "is_large", "bool" } },
        on_init = function(_, packet, flow) flow.udps.is_large = packet.raw_size > 100 end }
    ]], ".lua")
    local result, folder = trained.train({ trained.capture(), "--plugin=" .. plugin, "--columns=src2dst_max_ps" },
      { "--label=udps.is_large", "--regression", "--few=0" })
    assert.same(0, result.status, result.err)
    assert(trained.manifest(folder).test.r2 > 0.99, result.out)
  end)

  it("lets classes weigh the same where it is told so", function()
    local rules = "--label-rules=" .. program.write("src_ip,dst_port,label\n,53,names\n10.0.0.0/27,80,web\n", ".csv")
    local function model(...)
      local _, folder = trained.train({ trained.capture() }, { rules, ... })
      return program.read(folder .. "/model.json")
    end
    assert.is_true(model() == model())
    assert.is_false(model() == model "--balance")
  end)

  describe("warns of", function()
    local function warnings(words, own)
      local _, result = trained.model(words, own)
      return result.err
    end

    it("classes that are rare, or in one part only", function()
      assert.matches('warning: label "names": 11 flows\n', warnings { trained.capture(21) })
      local result = trained.train({ "samples/web.pcap", "--n-dissections=20" },
        { "--label=application_category_name", "--few=0", "--split=0.6,0.4" })
      assert.matches('warning: label "System": none in test\n', result.err)
      assert.matches('warning: label "RemoteAccess": none in train\n', result.err)
    end)

    it("features with one value, and those that give the label away", function()
      local said = warnings { trained.capture(), "--columns=protocol,src2dst_max_ps,bidirectional_packets" }
      assert.matches("warning: features with one value only: protocol, bidirectional_packets\n", said)
      assert.matches("warning: features that give the label away alone: src2dst_max_ps (100.0%)\n", said, 1, true)
      said = warnings { trained.capture(), "--columns=bidirectional_duration_ms" }
      assert.is_nil(said:find "give the label away")
    end)

    it("the first of many classes, which tables show as well", function()
      local result, folder = trained.train({ trained.capture(200) }, { "--label=src_port", "--trees=1", "--top=0" })
      assert.equal(0, result.status, result.err)
      assert.equal(11, select(2, result.err:gsub("warning: [^\n]*label", "")))
      assert.matches("warning: 190 labels more with few flows, or none in some part\n", result.err, 1, true)
      assert.equal(1 + 20 + 1 + 1 + 1 + 1 + 21, select(2, result.out:gsub("\n", "")))
      local own = { "--model=" .. folder, "--label=src_port", "--classes=3" }
      result = trained.run("evaluate", { trained.capture(200) }, own)
      assert.matches("\n197 more +197\naccuracy", result.out)
    end)

    it("several captures that are parted as one", function()
      local said = warnings({ trained.capture(20), trained.capture(20, 4) }, { "--few=0" })
      assert.is_nil(said:find "%-%-apart")
      local result = trained.train({ "samples/web.pcap", "samples/ssh.pcap" }, { "--label=protocol", "--few=0" })
      assert.matches("warning: several captures are parted as one by time, --apart parts each by itself\n", result.err,
        1, true)
    end)
  end)

  describe("refuses", function()
    it("what it cannot learn from", function()
      local rules = trained.rules()
      assert.equal('no flow with a label in the train part: nothing was trained',
        refusal({ trained.capture(10) }, { "--label-rules=" .. program.write("dst_port,label\n1,a\n", ".csv") }))
      assert.equal('label "a" alone in the train part, expected two or more',
        refusal({ trained.capture(10) }, { "--label-rules=" .. program.write("dst_port,label\n53,a\n", ".csv") }))
      assert.equal('no column "udps.labl" in this run (did you mean \'udps.label\'?)',
        refusal({ trained.capture(10) }, { rules, "--label=udps.labl" }))
      assert.equal('no column "udps.label" in this run, expected --label, --label-rules or --label-by-file',
        refusal({ trained.capture(10) }))
      assert.equal('label "splt_ps" is an array, expected a number with --regression',
        refusal({ trained.capture(10), "--splt-analysis=3" }, { "--label=splt_ps", "--regression" }))
      assert.equal("no column of this run is a feature",
        refusal({ trained.capture(10), "--columns=src_ip" }, { rules }))
    end)

    it("classes that could not be told apart", function()
      local plugin = program.write([[
        return require "nfengine".plugin { name = "far", columns = { { "class", "string:100" } },
          on_init = function(_, _, flow) flow.udps.class = ("w"):rep(64) .. flow.dst_port end }
      ]], ".lua")
      assert.equal('label "' .. ("w"):rep(64) .. '53" has 66 bytes, expected 64 at most',
        refusal({ trained.capture(10), "--plugin=" .. plugin }, { "--label=udps.class" }))
      local bytes, long = program.read(trained.capture(10)), ("v"):rep(64)
      local folder = capture.folder { [long .. "1.pcap"] = bytes, [long .. "2.pcap"] = bytes, ["3.pcap"] = bytes }
      assert.equal(('--label-by-file=file: "%s1" and "%s2" are the same in their first 64 bytes, expected names that '
        .. "differ there"):format(long, long), refusal({ folder }, { "--label-by-file=file" }))
      os.remove(folder .. "/" .. long .. "2.pcap")
      assert.equal(0, (trained.train({ folder }, { "--label-by-file=file" })).status)
    end)

    it("columns that are there only after a model is asked", function()
      assert.equal('column "udps.ct_srv_src": plugin host_window fills it in after a model is asked, expected '
        .. "--columns without it", refusal({ trained.capture(10), "--plugin=host_window" }, { trained.rules() }))
    end)

    it("features that are infinite as XGBoost has them", function()
      local plugin = program.write([[
        return require "nfengine".plugin {
          name = "far", columns = { { "far", "double" } },
          on_expire = function(_, flow) flow.udps.far = flow.src_port == 5003 and -1e39 or 0 end,
        }
      ]], ".lua")
      assert.equal('column "udps.far" is infinite in single precision, expected --columns without it',
        refusal({ trained.capture(10), "--plugin=" .. plugin }, { trained.rules() }))
    end)

    it("masks", function()
      assert.equal("masks: what they change is what a model would learn from, expected none",
        refusal({ trained.capture(10), "--drop-leaky" }, { trained.rules() }))
    end)

    it("options that are none", function()
      assert.equal("--split=0.5,0.4: expected two or three shares that add up to 1",
        refusal({ trained.capture(10) }, { "--split=0.5,0.4" }))
      assert.equal("--split: expected two or three shares", refusal({ trained.capture(10) }, { "--split=1" }))
      assert.equal("--split=0.5,0.2,0.3: a forest does not stop early, expected two shares with --kind=forest",
        refusal({ trained.capture(10) }, { "--kind=forest", "--split=0.5,0.2,0.3" }))
      assert.equal("--balance: a regression has no classes, expected either --balance or --regression",
        refusal({ trained.capture(10) }, { "--label=bidirectional_bytes", "--balance", "--regression" }))
      assert.equal("--label=dst_port: --label-rules gives udps.label, expected one of them",
        refusal({ trained.capture(10) }, { trained.rules(), "--label=dst_port" }))
      assert.equal("expected --write=FOLDER behind --",
        program.run("train", "samples/web.pcap").err:match "nfengine: ([^\n]*)\n$")
    end)

    it("to go on without the library, in one line that names the package", function()
      local script = engine.script_file [[
        local ffi = require "ffi"
        ffi.load = function() error "no such file" end
        dofile "scripts/train.lua"
      ]]
      local result = program.run(script, "samples/web.pcap", "--", "--write=never")
      assert.same({ 1, "nfengine: cannot load libxgboost.so.0, expected the Debian package libxgboost0\n" },
        { result.status, result.err })
    end)

    it("to leave a part of a model behind where it is interrupted", function()
      local plugin = program.write([[
        return require "nfengine".plugin { name = "slow", on_expire = function(_, flow)
          if flow.src_port == 5010 then io.popen("kill -INT $PPID"):close() end
        end }
      ]], ".lua")
      local result, folder = trained.train({ trained.capture(), "--plugin=" .. plugin, "--n-meters=1",
        "--idle-timeout=0" }, { trained.rules() })
      assert.equal(130, result.status)
      assert.matches("nfengine: interrupted: no model was written\n$", result.err)
      assert.is_nil(lfs.attributes(folder))
    end)

    for _, kind in ipairs { "boost", "forest" } do
      it("to go on with a " .. kind .. " that is interrupted", function()
        local script = engine.script_file [[
          local training = require "nfengine.ml.training"
          local train = training.train
          function training.train(given)
            os.execute "(sleep 0.3; kill -INT $PPID) &"
            return train(given)
          end
          dofile "scripts/train.lua"
        ]]
        local folder = program.temporary()
        local result = program.run(script, trained.capture(), "--", trained.rules(), "--write=" .. folder,
          "--kind=" .. kind, "--trees=100000")
        assert.equal(130, result.status, result.err)
        assert.matches("nfengine: interrupted: no model was written\n$", result.err)
        assert.is_nil(lfs.attributes(folder))
      end)
    end

    it("a folder that has a model", function()
      local folder = trained.model { trained.capture(40) }
      local result = trained.run("train", { trained.capture(40) }, { trained.rules(), "--write=" .. folder })
      assert.matches('has model.json already, expected another folder\n$', result.err)
    end)
  end)
end)
