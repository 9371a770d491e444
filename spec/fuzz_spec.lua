-- What fuzzers found, and inputs made to be nasty, tried again on the fuzz targets: spec/fuzz.

local program = require "spec.support.program"

-- Beside the program: those of a sanitizer build go with it.
local build = program.path:match "^(build[%w-]*)/" or "build"

local function replay(target, ...)
  local words = { ("%s/replay_%s"):format(build, target) }
  for i = 1, select("#", ...) do words[#words + 1] = program.quote((select(i, ...))) end
  return program.shell(table.concat(words, " "))
end

local function targets()
  local list = {}
  for name in program.names_in("spec/fuzz"):gmatch "fuzz_(%w+)%.c" do list[#list + 1] = name end
  return list
end

describe("the fuzz target", function()
  for _, target in ipairs(targets()) do
    local folder = "spec/fuzz/reproducers/" .. target
    for name in program.names_in(folder):gmatch "%S+" do
      it(target .. " stands " .. name, function()
        assert.same({ status = 0, out = "", err = "" }, replay(target, folder .. "/" .. name))
      end)
    end
  end

  it("decode tries every link type that the decoder knows", function()
    local tried = {}
    for number in program.read("spec/fuzz/fuzz_decode.c"):match("link_types%[%] = {(.-)}"):gmatch "%d+" do
      tried[number] = true
    end
    local known = program.read("core/decode_link.c"):match "enum link_type {(.-)}"
    for name, number in known:gmatch "(LINK_[%w_]+) = (%d+)" do assert(tried[number], name) end
  end)
end)

describe("the driver of fuzz targets", function()
  it("says which file it cannot read", function()
    local result = replay("decode", "no such file")
    assert.same({ 2, 'replay: cannot read "no such file", expected a file with a target\'s input\n' },
      { result.status, result.err })
  end)
end)

describe("the seeds of fuzz targets", function()
  it("are made of the samples, and stand", function()
    local folder = program.temporary()
    local made = program.shell(("NFENGINE_DATA=/nowhere luajit spec/fuzz/seeds.lua %s"):format(folder))
    assert.same({ status = 0, out = "", err = "" }, made)
    for _, target in ipairs { "decode", "dpi", "lua", "meter", "model", "quic", "reader" } do
      local seeds = folder .. "/" .. target
      assert.is_true(#program.names_in(seeds) > 0 or target == "quic") -- no sample has any
      local result = program.shell(("%s/replay_%s $(find %s -type f)"):format(build, target, seeds))
      assert.same({ status = 0, out = "", err = "" }, result, target)
    end
    program.shell("rm -r " .. folder)
  end)
end)
