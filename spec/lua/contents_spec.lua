local contents = require "nfengine.contents"
local program = require "spec.support.program"
local testing = require "nfengine.testing"

describe("nfengine.contents", function()
  after_each(program.remove_temporaries)

  it("reads and writes files whole, whatever bytes they have", function()
    local path = program.temporary ".bin"
    for _, content in ipairs { "a\r\n\0\26\255", "" } do
      contents.write(path, content)
      assert.equal(content, contents.read(path))
    end
  end)

  it("says why it cannot", function()
    assert.same({ nil, "/nowhere/a: No such file or directory" }, { contents.read "/nowhere/a" })
    assert.same({ nil, "/: Is a directory" }, { contents.read "/" })
    assert.equal("/nowhere/a: No such file or directory", testing.refusal(contents.write, "/nowhere/a", ""))
    assert.equal("/dev/full: No space left on device", testing.refusal(contents.write, "/dev/full", "a"))
    assert.equal("/dev/full: No space left on device", testing.refusal(contents.write, "/dev/full", ("a"):rep(1e5)))
  end)
end)
