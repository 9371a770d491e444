-- core/digests.c and lua/nfengine/digests.lua: digests of files by a thread of its own.

local C = require "nfengine.lib"
local digests = require "nfengine.digests"
local program = require "spec.support.program"

local function shell_digest(path) return program.shell("sha256sum " .. path).out:match "^%x+" end

describe("digests of files", function()
  after_each(function()
    C.nf_interrupt(0)
    program.remove_temporaries()
  end)

  it("are those of sha256sum, whatever the size, in any order", function()
    local paths = {}
    for i, size in ipairs { 0, 1, 63, 64, 262143, 262144, 262145, 3000000 } do
      paths[i] = program.write(("abcdefg\n"):rep(size / 8 + 1):sub(1, size))
    end
    local begun = digests.start(paths)
    for i = #paths, 1, -1 do
      local sha256, size = begun:of(paths[i])
      assert.same({ shell_digest(paths[i]), #program.read(paths[i]) }, { sha256, size })
    end
  end)

  it("are those of files that were not among them, too", function()
    local path = program.write "abc"
    assert.equal(shell_digest(path), (digests.start({}):of(path)))
    assert.equal(shell_digest(path), (digests.of_file(path)))
  end)

  it("are there for a file that is named twice", function()
    local path = program.write "abc"
    assert.equal(shell_digest(path), (digests.start({ path, path }):of(path)))
  end)

  it("are none of what is no regular file, and nothing is taken from a pipe", function()
    local fifo = program.temporary()
    assert.equal(0, program.shell(("mkfifo %s && { echo kept >%s & }"):format(fifo, fifo)).status)
    local begun = digests.start { fifo, "/nowhere/x", "samples", "/dev/zero" }
    for _, path in ipairs { fifo, "/nowhere/x", "samples", "/dev/zero" } do assert.is_nil(begun:of(path)) end
    assert.is_nil(digests.of_file "/dev/zero")
    assert.equal("kept\n", program.shell("cat " .. fifo).out)
  end)

  it("are not waited for once a run is interrupted, nor once they are left off", function()
    local path = program.temporary()
    assert.equal(0, program.shell("truncate -s 200G " .. path).status)
    local begun = digests.start { path }
    C.nf_interrupt(C.NF_REQUEST_STOP)
    assert.is_nil(begun:of(path))
    begun:stop()
  end)
end)
