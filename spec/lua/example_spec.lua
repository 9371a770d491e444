-- The examples in a file's comment: lua/nfengine/example.lua.

local example = require "nfengine.example"

describe("an example's output", function()
  it("is partial where it ends in dots", function()
    assert.same({ { command = "nfengine x", output = { "a", "b" }, is_partial = true, first = 3, last = 4 } },
      example.parse "-- @usage nfengine x\n-- @output\n-- a\n-- b\n-- ...\nreturn\n")
  end)

  it("may have a line of dots in it", function()
    assert.same({ { command = "nfengine x", output = { "a", "...", "b" }, first = 3, last = 5 } },
      example.parse "-- @usage nfengine x\n-- @output\n-- a\n-- ...\n-- b\n")
    assert.same({ { command = "nfengine x", output = { "..." }, is_partial = true, first = 3, last = 3 } },
      example.parse "-- @usage nfengine x\n-- @output\n-- ...\n-- ...\n")
  end)

  it("is what stands behind the last @output of a command", function()
    assert.same({ { command = "nfengine x", output = { "b" }, first = 5, last = 5 } },
      example.parse "-- @usage nfengine x\n-- @output\n-- ...\n-- @output\n-- b\n")
  end)
end)
