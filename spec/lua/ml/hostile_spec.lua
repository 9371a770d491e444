-- Model files that somebody has changed: each is refused in one line, or it loads and answers. Thousands of them, of
-- every format that is read without a library, in a process of its own with a limit to its memory.

local program = require "spec.support.program"

-- What the process does with files: prints a line for each that it did not stand.
local CHILD = [[
package.path = "./lua/?.lua;./lua/?/init.lua;./?.lua;" .. package.path
local ffi, mutation = require "ffi", require "spec.support.mutation"
local ml, text = require "nfengine.ml", require "nfengine.text"
local path, seed, count, changed = arg[1], tonumber(arg[2]), tonumber(arg[3]), arg[4]
local original, loaded = assert(io.open(path, "rb")):read "*a", 0
local mutate = mutation(seed)
for i = 1, count do
  local file = assert(io.open(changed, "wb"))
  file:write(mutate(original))
  file:close()
  local began = os.clock()
  local ok, model = pcall(ml.load, changed)
  if ok then
    local row, outputs = ffi.new("double[?]", model.feature_count), ffi.new("double[?]", model.output_count)
    for k = 0, model.feature_count - 1 do row[k] = (k * 37 + i) % 100 end
    model:predict(row, 1, outputs)
    model:verdict(outputs)
    loaded = loaded + 1
  elseif type(model) ~= "string" or model:find "\n" or not model:find('^model "') then
    print("not one line: " .. text.raised(model))
  elseif model:find "%.lua:%d" or model:find "attempt to" or model:find "bad argument" then
    print("not in our words: " .. model)
  end
  if os.clock() - began > 2 then print(("mutation %d of seed %d took %g s"):format(i, seed, os.clock() - began)) end
end
io.stderr:write(loaded, "\n")
]]

local MODELS = { "samples/model.txt", "spec/lua/ml/models/categories.txt", "spec/lua/ml/models/categories.json",
  "spec/lua/ml/models/categories.ubj", "spec/lua/ml/models/dart.json", "spec/lua/ml/models/linear.json" }

local MUTATIONS, MEMORY_KB = 4000, 2 * 1024 * 1024

describe("a model file that somebody has changed", function()
  after_each(program.remove_temporaries)

  for seed, path in ipairs(MODELS) do
    it("is refused in one line, or loads: " .. path, function()
      local script, changed = program.write(CHILD, ".lua"), program.temporary()
      local result = program.shell(("ulimit -v %d; timeout 120 luajit %s %s %d %d %s")
        :format(MEMORY_KB, script, path, seed, MUTATIONS, changed))
      assert.same({ status = 0, out = "" }, { status = result.status, out = result.out }, result.err)
      local loaded = tonumber(result.err)
      assert.is_true(loaded > MUTATIONS / 100 and loaded < MUTATIONS, loaded)
    end)
  end
end)
