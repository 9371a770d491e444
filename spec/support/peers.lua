-- Models of others' libraries, trained on flows and asked about them: spec/support/ml_peers.py. `make peers` brings the
-- libraries; $NFENGINE_ML_PYTHON names a Python that has them.

local busted = require "busted"
local assert = require "luassert"
local ffi = require "ffi"
local cjson = require "cjson"
local lfs = require "nfengine.lfs"
local data = require "spec.support.data"
local ml = require "nfengine.ml"
local program = require "spec.support.program"

local peers = {}

peers.python = os.getenv "NFENGINE_ML_PYTHON" or "build/peers/bin/python"

--- Why specs that need Python modules are pending; nil where all are there.
function peers.missing(modules)
  local command = ("%s -c 'import %s' 2>&1"):format(program.quote(peers.python), modules)
  if program.shell(command).status == 0 then return nil end
  return ("%s has no %s: see make peers"):format(peers.python, modules)
end

--- Runs Python with the engine's module on its path.
function peers.run(words)
  local setting = "NFENGINE=%s PYTHONPATH=python timeout 300 %s -B -W ignore %s"
  return program.shell(setting:format(program.quote(program.path), program.quote(peers.python), words))
end

--- Writes the flows of the samples, and of the reference data where there is some, to a file, with more options. A
-- flow's application does not depend on those before it, and so not on how many meters there are.
local function write_flows(path, ...)
  local words = { "-q", "flows", "--statistical-analysis", "--no-dpi-cache", "-o", path, ... }
  for _, list in ipairs { program.lines "ls samples/*.pcap*", data.captures(1, "captures") } do
    for _, capture in ipairs(list) do words[#words + 1] = capture end
  end
  local result = program.run(unpack(words)) -- its status is not 0, as some of the reference data is damaged
  if not lfs.attributes(path) then error(result.err) end
end

--- What a maker makes, in a new folder.
-- @param script that has the maker, ml_peers where it is nil
-- @return the folder, for `rm -r`; the lines that the script prints: names of its models' files, and what else it says
function peers.make(maker, script)
  local folder = program.temporary()
  program.shell("mkdir " .. folder)
  write_flows(folder .. "/flows.csv")
  local made = peers.run(("spec/support/%s.py %s %s"):format(script or "ml_peers", folder, maker))
  if made.status ~= 0 then error(made.err) end
  local names = {}
  for name in made.out:gmatch "[^\n]+" do names[#names + 1] = name end
  return folder, names
end

--- The numbers of a file of rows: a double array, how many rows, and how many numbers are in each.
function peers.read_rows(path)
  local list, rows = {}, 0
  for line in io.lines(path) do
    rows = rows + 1
    for cell in line:gmatch "[^,]+" do list[#list + 1] = tonumber(cell) end
  end
  return ffi.new("double[?]", #list, list), rows, #list / rows
end

local function far(got, expected) return math.abs(got - expected) / math.max(1, math.abs(expected)) end

--- How far a model is from what its library has answered, at worst: relatively for answers above 1.
-- @param model of nfengine.ml
-- @param path of its file, beside which rows and answers lie
function peers.distance(model, path)
  local rows, count, width = peers.read_rows(path .. ".rows.csv")
  local answers, answered, outputs = peers.read_rows(path .. ".answers.csv")
  assert(count == answered and width == model.feature_count and outputs == model.output_count,
    ("%s: %d features, %d outputs"):format(path, model.feature_count, model.output_count))
  local got, worst = ffi.new("double[?]", count * outputs), 0
  model:predict(rows, count, got)
  for i = 0, count * outputs - 1 do
    local distance = far(got[i], answers[i])
    if distance > worst or distance ~= distance then worst = distance end
  end
  return worst, count
end

--- The scores that plugins/model.lua gives a flow, as a library gives them.
local function scores_of(record, model)
  if model.task == "regression" then return { record["udps.model_score"] } end
  local scores = record["udps.model_scores"]
  return model.output_count == 1 and { scores[2] } or scores
end

--- How far what plugins/model.lua says of each flow is from what the library has answered, at worst.
-- @param folder that peers.make has made
-- @param name of a model's file there, none of whose rows have been changed
-- @return the distance; how many flows had another application, which are not compared
function peers.distance_in_flows(model, folder, name, meters)
  local path, at, worst, others = folder .. "/asked.jsonl", 0, 0, 0
  write_flows(path, "--plugin=model", "--set=model.file=" .. folder .. "/" .. name, "--n-meters=" .. meters,
    "--set=model.scores=" .. math.max(model.output_count, 2))
  local answers, count, width = peers.read_rows(("%s/%s.answers.csv"):format(folder, name))
  local records = {}
  for line in io.lines(path) do records[#records + 1] = cjson.decode(line) end
  os.remove(path)
  assert(#records == count, #records)
  for row in io.lines(folder .. "/order.csv") do
    local flow, application = row:match "^(%d+),(.*)$"
    local record = records[tonumber(flow) + 1]
    local is_other = record.application_name ~= application
    local scores = scores_of(record, model)
    others = others + (is_other and 1 or 0)
    for k = 1, is_other and 0 or width do
      local distance = far(scores[k], answers[at * width + k - 1])
      if distance > worst or distance ~= distance then worst = distance end
    end
    at = at + 1
  end
  return worst, others
end

--- Declares that models answer as their library does, by themselves and asked about flows by the plugin.
-- @param maker of ml_peers
-- @param case `modules` that Python needs for it; `count`, how many models there are; `accuracy`; `in_flows`, names of
--   those that are asked about flows
function peers.tests(maker, case)
  local it = busted.it
  busted.describe("models of " .. maker, function()
    local missing, folder, names = peers.missing(case.modules), nil, nil
    if missing then
      it("are not examined", function() busted.pending(missing) end)
      return
    end
    busted.setup(function() folder, names = peers.make(maker) end)
    busted.teardown(function() program.shell("rm -r " .. folder) end)

    it("answer as the library does", function()
      for _, name in ipairs(names) do
        local path = folder .. "/" .. name
        local distance, count = peers.distance(ml.load(path), path)
        assert.is_true(count > 100 and distance <= case.accuracy, ("%s is off by %g"):format(name, distance))
      end
      assert.equal(case.count, #names)
    end)

    for _, name in ipairs(case.in_flows) do
      it(("say the same of flows, asked by the plugin: %s"):format(name), function()
        local model = ml.load(folder .. "/" .. name)
        for _, meters in ipairs { 1, 3 } do
          local distance, others = peers.distance_in_flows(model, folder, name, meters)
          assert.is_true(distance <= case.accuracy and others == 0, ("off by %g, %d others"):format(distance, others))
        end
      end)
    end
  end)
end

return peers
