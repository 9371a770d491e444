-- Modules of other packages are those that are installed, whatever lies in the current folder.

local lfs = require "nfengine.lfs"
local program = require "spec.support.program"

describe("nfengine.installed", function()
  after_each(program.remove_temporaries)

  it("finds no file in the current folder, and says what is not installed", function()
    local folder = program.temporary()
    lfs.mkdir(folder)
    for _, name in ipairs { "lfs.lua", "cjson.lua", "lfs.so", "cjson.so", "mine.lua" } do
      program.write('error "not this one"', folder .. "/" .. name)
    end
    local result = program.shell(([[cd %s && LUA_PATH='./?.lua;%s/lua/?.lua;;' luajit -e '
      print(require "nfengine.json"._NAME, pcall(require("nfengine.installed").require, "mine"))']])
      :format(folder, lfs.currentdir()))
    program.shell("rm -r " .. folder)
    assert.matches("^cjson\tfalse\tmodule 'mine' not found", result.out, result.err)
  end)
end)
