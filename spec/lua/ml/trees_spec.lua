-- Decision trees that are written down in Lua.

local engine = require "spec.support.engine"
local ffi = require "ffi"
local ml = require "nfengine.ml"
local program = require "spec.support.program"

local function predict(model, ...)
  local outputs, list = ffi.new("double[?]", model.output_count), {}
  model:predict(ffi.new("double[?]", select("#", ...), ...), 1, outputs)
  for i = 1, model.output_count do list[i] = outputs[i - 1] end
  return list
end

local SERVICES = {
  classes = { "names", "web" },
  { "dst_port", "==", 53, "names", { "bidirectional_bytes", ">", 5000, "web", { 0.3, 0.7 } } },
}

describe("ml.trees", function()
  after_each(engine.cleanup)

  it("takes columns in the order in which trees name them", function()
    local model = ml.trees(SERVICES)
    assert.same({ "dst_port", "bidirectional_bytes" }, model.names)
    assert.same({ "binary", { "names", "web" }, 2, 2 },
      { model.task, model.classes, model.feature_count, model.output_count })
  end)

  it("gives the leaf that a row comes to", function()
    local model = ml.trees(SERVICES)
    assert.same({ 1, 0 }, predict(model, 53, 9000))
    assert.same({ 0, 1 }, predict(model, 80, 5001))
    assert.same({ 0.3, 0.7 }, predict(model, 80, 5000))
  end)

  it("compares in each way, and what is absent as NaN does", function()
    for comparison, answers in pairs {
      ["<"] = { 1, 2, 2, 2 }, ["<="] = { 1, 1, 2, 2 }, [">"] = { 2, 2, 1, 2 }, [">="] = { 2, 1, 1, 2 },
      ["=="] = { 2, 1, 2, 2 }, ["~="] = { 1, 2, 1, 1 },
    } do
      local model = ml.trees { { "protocol", comparison, 6, 1, 2 } }
      local got = {}
      for i, x in ipairs { 1, 6, 17, 0 / 0 } do got[i] = predict(model, x)[1] end
      assert.same(answers, got, comparison)
    end
  end)

  it("gives the mean of several", function()
    local model = ml.trees {
      { "protocol", "==", 6, 1, 2 }, { "src_port", "<", 10, 4, { "protocol", "<", 7, 8, 9 } }, 3,
    }
    assert.equal("regression", model.task)
    assert.same({ "protocol", "src_port" }, model.names)
    assert.same({ (1 + 8 + 3) / 3 }, predict(model, 6, 10))
    assert.same({ (2 + 4 + 3) / 3 }, predict(model, 17, 9))
  end)

  it("answers for flows, in a plugin, with several meters too", function()
    local script = engine.script_file [[
      local ml = require "nfengine.ml"
      local nf = require "nfengine"
      local Service = nf.plugin {
        name = "service", columns = { { "service", "string:16" } },
        setup = function(self, run)
          self.bound = ml.trees {
            classes = { "names", "web" },
            { "dst_port", "==", 53, "names", { "bidirectional_bytes", ">", 5000, "web", { 0.7, 0.3 } } },
          }:bind(run.columns)
        end,
        on_expire = function(self, flow)
          local model = self.bound.model
          flow.udps.service = model.classes[model:verdict(self.bound:ask(flow)) + 1]
        end,
      }
      nf.streamer { udps = Service, n_dissections = 0, columns = { "dst_port", "bidirectional_bytes", "udps.service" } }
        :write()
    ]]
    for _, meters in ipairs { 1, 3 } do
      local result = program.run("-q", "--n-meters=" .. meters, script, "samples/web.pcap")
      assert.same({ 0, "" }, { result.status, result.err })
      local seen = {}
      for port, bytes, service in result.out:gmatch '(%d+),(%d+),"(%a+)"' do
        local is_web = tonumber(port) ~= 53 and tonumber(bytes) > 5000
        assert.equal(is_web and "web" or "names", service)
        seen[service] = (seen[service] or 0) + 1
      end
      assert.same({ names = 27, web = 5 }, seen)
    end
  end)

  it("refuses what is none, in a line that says what", function()
    local endless = { "protocol", "<", 1, 2 }
    endless[5] = endless
    for message, given in pairs {
      ["no tree, expected a list of them"] = {},
      ["trees that compare nothing, expected one with a column"] = { 1 },
      ["1 classes, expected at least two"] = { classes = { "web" }, { "protocol", "<", 1, "web", "web" } },
      ['class "wed", expected one of web, names'] =
        { classes = { "web", "names" }, { "protocol", "<", 1, "wed", "web" } },
      ["leaf 1, expected the name of a class or a list of 2 probabilities"] =
        { classes = { "web", "names" }, { "protocol", "<", 1, 1, "web" } },
      ["leaf a table, expected the name of a class or a list of 2 probabilities"] =
        { classes = { "web", "names" }, { "protocol", "<", 1, { 1 }, "web" } },
      ['leaf "web", expected a number'] = { { "protocol", "<", 1, "web", 2 } },
      ["leaf nil, expected a number"] = { { "protocol", "<", 1, 2 } },
      ['threshold "1", expected a number'] = { { "protocol", "<", "1", 2, 3 } },
      ['comparison "=" of protocol, expected one of < <= > >= == ~='] = { { "protocol", "=", 1, 2, 3 } },
      ["a tree of more than 1000 levels"] = { endless },
    } do
      local ok, raised = pcall(ml.trees, given)
      assert.is_false(ok)
      assert.equal("trees: " .. message, (raised:gsub("^[^ ]+:%d+: ", "")))
    end
  end)

  it("names what does not fit a run", function()
    local model = ml.trees { { "dst_prot", "<", 1, 2, 3 } }
    assert.has_error(function() model:bind { { name = "dst_port", type = "uint16", offset = 0 } } end,
      [[model "trees": no column "dst_prot" in this run (did you mean 'dst_port'?)]])
  end)
end)
