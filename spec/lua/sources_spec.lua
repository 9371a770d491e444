-- lua/nfengine/sources.lua, and that scripts may choose among the command line's captures.

local capture = require "nfengine.testing.capture"
local engine = require "spec.support.engine"
local meter = require "spec.support.meter"
local program = require "spec.support.program"
local sources = require "nfengine.sources"

local PCAP = capture.pcap { meter.udp(0, 1000) }

-- A folder with two captures, and with what is passed over: another file, a hidden one, a folder.
local function folder()
  local path = capture.folder()
  program.write(PCAP, path .. "/b.pcap")
  program.write(PCAP, path .. "/a.pcap")
  program.write("no capture", path .. "/README")
  program.write(PCAP, path .. "/.hidden.pcap")
  os.execute("mkdir " .. path .. "/sub")
  return path
end

describe("sources.files", function()
  after_each(engine.cleanup)

  it("replaces folders by the captures in them, by name", function()
    local path = folder()
    local expected = { path .. "/a.pcap", path .. "/b.pcap" }
    assert.same(expected, sources.files(path))
    assert.same(expected, sources.files(path .. "//"))
    assert.same({ "x.pcap", expected[1], expected[2], "-" }, sources.files { "x.pcap", path, "-" })
  end)

  it("takes every kind of capture for one", function()
    local path = capture.folder()
    local heads = {
      PCAP, capture.pcap({}, { big_endian = true }), capture.pcap({}, { ns = true }),
      capture.pcap({}, { ns = true, big_endian = true }), capture.pcap({}, { modified = true }),
      capture.pcap({}, { modified = true, big_endian = true }), capture.pcapng { capture.section() },
      capture.pcapng { capture.section { big_endian = true } },
    }
    for i, bytes in ipairs(heads) do program.write(bytes, ("%s/%d"):format(path, i)) end
    os.execute(("cp samples/dns.pcap.gz %s/g; cp samples/dns.pcap.zst %s/z"):format(path, path))
    assert.equal(#heads + 2, #sources.files(path))
  end)

  it("leaves what is no folder alone", function()
    assert.same({ "-" }, sources.files "-")
    assert.same({ "/nowhere/x", "eth0" }, sources.files { "/nowhere/x", "eth0" })
    assert.same({}, sources.files(nil))
  end)
end)

describe("sources.is_choice", function()
  it("is true of some of the others, and of files in them", function()
    assert.is_true(sources.is_choice("a", { "a", "b" }))
    assert.is_true(sources.is_choice({ "b", "a" }, { "a", "b", "c" }))
    assert.is_true(sources.is_choice("folder/x", "folder/"))
    assert.is_true(sources.is_choice("/folder//x", { "/folder" }))
    assert.is_true(sources.is_choice("folder/", "folder"))
  end)

  it("is false of anything else", function()
    assert.is_false(sources.is_choice("c", { "a", "b" }))
    assert.is_false(sources.is_choice({ "a", "c" }, { "a", "b" }))
    assert.is_false(sources.is_choice("folder/sub/x", "folder"))
    assert.is_false(sources.is_choice("folder/..", "folder"))
    assert.is_false(sources.is_choice("folder/.", "folder"))
    assert.is_false(sources.is_choice("a", nil))
    assert.is_false(sources.is_choice(nil, "a"))
  end)
end)

describe("a script's source", function()
  after_each(engine.cleanup)

  local SCRIPT = [[
    local nf = require "nfengine"
    for _, path in ipairs(require "nfengine.sources".files(%s)) do
      local streamer = nf.streamer { source = path, n_dissections = 0 }
      print(path:match "[^/]*$", streamer:to { write = function() end }, #streamer:account().inputs)
    end
  ]]

  it("stands where it is a choice among the command line's captures", function()
    local path = folder()
    local result = engine.script(SCRIPT:format "nf.arguments", "-q", path, "samples/dns.pcap")
    assert.same({ 0, "" }, { result.status, result.err })
    assert.equal("a.pcap\t1\t1\nb.pcap\t1\t1\ndns.pcap\t15\t1\n", result.out)
  end)

  it("gives way to them otherwise", function()
    local result = engine.script(SCRIPT:format '"samples/tls.pcap"', "-q", "samples/dns.pcap", "samples/ssh.pcap")
    assert.equal("tls.pcap\t23\t2\n", result.out)
  end)
end)

describe("an account's inputs", function()
  after_each(engine.cleanup)

  it("are the run's captures with what each had, for any number of meters", function()
    local path = folder()
    for _, n_meters in ipairs { 1, 3 } do
      local streamer = engine.streamer { source = { "samples/dns.pcap", path }, n_meters = n_meters,
        bpf_filter = "port 53" }
      streamer:to { write = function() end }
      assert.same({
        { path = "samples/dns.pcap", packets = 62 }, { path = path .. "/README", packets = 0 },
        { path = path .. "/a.pcap", packets = 1 }, { path = path .. "/b.pcap", packets = 1 },
      }, streamer:account().inputs)
    end
  end)

  it("are not there before the run has ended", function()
    assert.is_nil(engine.streamer({}):account())
  end)
end)
