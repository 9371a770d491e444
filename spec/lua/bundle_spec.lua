-- lua/nfengine/bundle.lua: all of its files or none.

local bundle = require "nfengine.bundle"
local capture = require "nfengine.testing.capture"
local engine = require "spec.support.engine"
local lfs = require "nfengine.lfs"
local meter = require "spec.support.meter"
local program = require "spec.support.program"

local function write(files, name) program.write("x", files:path(name)) end

describe("bundle", function()
  after_each(engine.cleanup)

  it("gives its files their names when it is finished, and not before", function()
    local folder = capture.folder()
    local files = bundle.new(folder .. "/out/", { "a", "b" })
    write(files, "a")
    write(files, "b")
    assert.equal("a.part b.part", program.names_in(folder .. "/out"))
    files:finish()
    assert.equal("a b", program.names_in(folder .. "/out"))
  end)

  it("gives the last one its name last", function()
    local folder = capture.folder()
    local files = bundle.new(folder, { "a", "b", "c" }) -- of c nobody speaks again
    write(files, "b")
    files:path "a" -- which cannot be renamed, as it is not there
    assert.matches("a%.part: No such file", engine.refusal(files.finish, files))
    assert.equal("b.part", program.names_in(folder))
    files:abandon()
    assert.equal("", program.names_in(folder))
  end)

  it("leaves nothing behind where the last name cannot be given", function()
    local folder = capture.folder()
    local files = bundle.new(folder, { "a", "b" })
    write(files, "a")
    files:path "b"
    assert.matches("b%.part: No such file", engine.refusal(files.finish, files))
    assert.equal("a", program.names_in(folder))
    files:abandon()
    assert.equal("", program.names_in(folder))
  end)

  it("refuses what is there and no folder", function()
    local path = program.write("x", ".txt")
    for place, kind in pairs { [path] = "file", ["/dev/null"] = "char device" } do
      assert.equal(('"%s": a %s, expected a folder to write'):format(place, kind),
        engine.refusal(bundle.new, place, { "a" }))
    end
  end)

  it("leaves nothing behind when it is abandoned, nor a folder of its own", function()
    local folder = capture.folder()
    local files = bundle.new(folder .. "/out", { "a", "b" })
    write(files, "a")
    files:abandon()
    assert.equal("", program.names_in(folder))
    files = bundle.new(folder, { "a" })
    write(files, "a")
    files:abandon()
    assert.equal("", program.names_in(folder))
    assert.is_truthy(lfs.attributes(folder))
  end)

  it("leaves what else is in the folder", function()
    local folder = capture.folder()
    program.write("mine", folder .. "/notes")
    bundle.new(folder, { "a" }):abandon()
    assert.equal("notes", program.names_in(folder))
  end)

  it("refuses to replace a file, and folders that cannot be", function()
    local folder = capture.folder()
    program.write("x", folder .. "/b")
    assert.equal(('"%s": has b already, expected another folder'):format(folder),
      engine.refusal(bundle.new, folder, { "a", "b" }))
    assert.equal('"/nowhere/out": No such file or directory, expected a folder to write',
      engine.refusal(bundle.new, "/nowhere/out", { "a" }))
    assert.equal("b", program.names_in(folder))
  end)

  it("writes tables of some columns, under other names too, several at once", function()
    local folder = capture.folder()
    local files = bundle.new(folder, { "a", "b" })
    local a, b
    engine.streamer { packets = { meter.udp(0, 1000), meter.udp(1, 1001) } }:to {
      open = function(_, columns, crew)
        local by_name = {}
        for _, column in ipairs(columns) do by_name[column.name] = column end
        a = files:table("a", { setmetatable({ name = "port" }, { __index = by_name.src_port }), by_name.id }, crew)
        b = files:table("b", { by_name.dst_ip }, crew)
      end,
      write = function(_, flow) return a:write(flow) and b:write(flow) end,
    }
    files:close()
    files:finish()
    assert.equal("port,id\n1000,0\n1001,1\n", program.read(folder .. "/a"))
    assert.equal('dst_ip\n"10.0.0.2"\n"10.0.0.2"\n', program.read(folder .. "/b"))
  end)

  it("raises what keeps a table from being written", function()
    local folder = capture.folder()
    local files = bundle.new(folder, { "a" })
    os.execute(("ln -s /dev/full %s/a.part"):format(folder))
    local a
    engine.streamer { packets = { meter.udp(0, 1000) } }:to {
      open = function(_, columns, crew) a = files:table("a", columns, crew) end,
      write = function(_, flow) return a:write(flow) end,
    }
    assert.matches("No space left on device", engine.refusal(files.close, files))
    files:abandon()
    assert.equal("", program.names_in(folder))
  end)
end)
