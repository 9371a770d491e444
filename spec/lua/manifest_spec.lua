-- lua/nfengine/manifest.lua: what it says, read back by lua-cjson, and how it looks.

local capture = require "nfengine.testing.capture"
local engine = require "spec.support.engine"
local json = require "nfengine.json"
local manifest = require "nfengine.manifest"
local meter = require "spec.support.meter"
local nf = require "nfengine"
local notation = require "nfengine.notation"
local program = require "spec.support.program"
local testing = require "nfengine.testing"

local function shell_digest(path) return program.shell("sha256sum " .. path).out:match "^%x+" end

-- The manifest of a run of a script, which gets `words`; the script's text may hold more than the usual.
local function made_by(before, ...)
  local result = engine.script([[
    local nf = require "nfengine"
local notation = require "nfengine.notation"
    local manifest = require "nfengine.manifest"
    local parameters = { n_dissections = 0 }
    ]] .. before .. [[

    local streamer = nf.streamer(parameters)
    local about = manifest.new(streamer)
    streamer:to { write = function() end }
    about:add(streamer:account())
    io.write(about:text())
  ]], "-q", ...)
  assert.same({ 0, "" }, { result.status, result.err })
  return json.decode(result.out), result.out
end

-- A script that makes a run and tells of it alone.
local TELLING = [[
  local streamer = require "nfengine".streamer { n_dissections = 0 }
  local about = require "nfengine.manifest".new(streamer)
  streamer:to { write = function() end }
  about:add(streamer:account())
  io.write(about:text())
]]

describe("a manifest", function()
  after_each(engine.cleanup)

  it("names engine, libraries, script and its options", function()
    local about = made_by('nf.options { size = { 5, "x" }, list = { {}, "y" } }', "samples/dns.pcap", "--",
      "--list=a,b")
    assert.equal(1, about.manifest)
    assert.equal(nf.version, about.engine.nfengine)
    local versions = program.run("--version").out
    for _, name in ipairs { "libpcap", "ndpi", "libgcrypt", "zlib", "zstd", "luajit", "lua_cjson" } do
      assert.is_truthy(versions:find(about.engine[name], 1, true), name)
    end
    assert.same({ size = 5, list = { "a", "b" } }, about.script.options)
    assert.equal(shell_digest(about.script.file), about.script.sha256)
    assert.is_nil(about.script.option_files_sha256)
  end)

  it("tells the commit that the program was built of, or that there is none", function()
    local revision = made_by("", "samples/dns.pcap").engine.revision
    local commit = program.shell("test -e .git && git rev-parse HEAD").out:match "^%x+"
    assert.is_truthy(revision == "unknown" or revision:match "^%x+$" or revision:match "^%x+%-dirty$", revision)
    if commit then assert.equal(commit, revision:match "^%x+") end
  end)

  it("has the words of the command line, as they were given", function()
    local about = made_by("", "--idle-timeout", "7", "samples/dns.pcap", "--filter=flow.protocol == 17")
    assert.same({ "--idle-timeout", "7", "samples/dns.pcap", "--filter=flow.protocol == 17" },
      { unpack(about.command, 3) }) -- behind -q and the script
    assert.same({ "samples/dns.pcap" }, about.sources)
  end)

  it("names the modules that a script has brought along", function()
    local folder = capture.folder { ["mine.lua"] = "return {}", ["run.lua"] = [[
      require "mine"
      local streamer = require "nfengine".streamer { n_dissections = 0 }
      io.write(require "nfengine.manifest".new(streamer):text())
    ]] }
    local result = program.run("-q", folder .. "/run.lua", "samples/dns.pcap", "--plugin", "flow_slicer")
    local file = folder .. "/mine.lua"
    assert.same({ { name = "mine", file = file, sha256 = shell_digest(file) } }, json.decode(result.out).modules)
  end)

  it("tells the first and the last moment of what has reached flows", function()
    local path = engine.capture { meter.udp(1.5, 1000), meter.udp(7000, 1001), meter.udp(6000, 1002) }
    local streamer = engine.streamer { source = path }
    local about = manifest.new(streamer)
    streamer:to { write = function() end }
    about:add(streamer:account())
    local run, first = json.decode(about:text()).run, notation.moment(testing.EPOCH_NS + 1500000)
    assert.same({ first, notation.moment(testing.EPOCH_NS + 7000000000ULL) }, { run.first_packet, run.last_packet })
    assert.matches("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.001500000Z$", first)
  end)

  it("can tell what records are made with, the same wherever they are made", function()
    local function made_with(parameters) return manifest.made_with(engine.streamer(parameters):resolved()) end
    local about = json.decode(made_with { idle_timeout = 7 })
    assert.same({ { "dns.pcap" }, 7 }, { about.sources, about.parameters.idle_timeout })
    assert.is_nil(about.command)
    assert.equal(made_with {}, made_with { source = "./samples/dns.pcap", n_meters = 2, manifest = false })
    assert.not_equal(made_with {}, made_with { idle_timeout = 7 })
  end)

  it("names plugins with version, file and options, those of the command line too", function()
    local about = made_by([[
      parameters.udps = { nf.plugin { name = "mine", version = "0.1.0", options = { n = { 1, "x" } } } { n = 2 } }
    ]], "samples/dns.pcap", "--plugin", "flow_slicer", "-a", "flow_slicer.limit=3")
    local mine, slicer = about.plugins[1], about.plugins[2]
    assert.same({ name = "mine", version = "0.1.0", options = { n = 2 } }, mine)
    assert.same({ "flow_slicer", "1.0.0", { limit = 3 } }, { slicer.name, slicer.version, slicer.options })
    assert.equal(shell_digest "plugins/flow_slicer.lua", slicer.sha256)
    assert.matches("plugins/flow_slicer.lua$", slicer.file)
    assert.equal(2, #about.plugins)
  end)

  it("finds the file of a plugin that was given as a path", function()
    local folder = capture.folder()
    local path = program.write('return require "nfengine".plugin { name = "given" }', folder .. "/given.lua")
    assert.same({ { name = "given", file = path, sha256 = shell_digest(path), options = {} } },
      made_by("", "samples/dns.pcap", "--plugin", path).plugins)
  end)

  it("has the digest of files that options name to be read", function()
    local rules = program.write("dst_port,label\n53,names\n", ".csv")
    local about = made_by([[nf.options { key = { "", "x", is_file = true }, out = { "", "y" } }]],
      "samples/dns.pcap", "--plugin", "label", "-a", "label.rules=" .. rules, "--", "--key=" .. rules,
      "--out=" .. rules)
    assert.same({ key = shell_digest(rules) }, about.script.option_files_sha256)
    assert.same({ rules = shell_digest(rules) }, about.plugins[1].option_files_sha256)
  end)

  it("names the profile", function()
    local about = made_by("", "samples/dns.pcap", "--profile", "nettisa")
    assert.same({ "nettisa", "1.0.0" }, { about.profile.name, about.profile.version })
    assert.equal(shell_digest "plugins/nettisa.lua", about.profile.sha256)
    assert.same({ "nettisa_features" }, { about.plugins[1].name })
    assert.equal(65, about.parameters.idle_timeout)
    assert.is_nil(made_by("", "samples/dns.pcap").profile)
  end)

  it("has the parameters as the run had them, the filter in words", function()
    local parameters = made_by("parameters.idle_timeout = 7", "samples/dns.pcap", "--active-timeout=9",
      "--filter=flow.protocol == 17", "--columns=id,src_ip").parameters
    assert.same({ 7, 9, "flow.protocol == 17", { "id", "src_ip" }, "ms" }, { parameters.idle_timeout,
      parameters.active_timeout, parameters.filter, parameters.columns, parameters.time_unit })
    assert.is_nil(parameters.source)
    assert.equal("a function of the script",
      made_by("parameters.filter = function() return true end", "samples/dns.pcap").parameters.filter)
  end)

  it("has every capture with size, digest and packets, and what became of these", function()
    local about = made_by("", "samples/dns.pcap.gz", "samples/web.pcap")
    assert.same({
      { path = "samples/dns.pcap.gz", bytes = 2411, sha256 = shell_digest "samples/dns.pcap.gz", packets = 62 },
      { path = "samples/web.pcap", bytes = 180378, sha256 = shell_digest "samples/web.pcap", packets = 390 },
    }, about.inputs)
    local run = about.run
    assert.same({ 452, 47, { ["not IP"] = 6 }, { kernel = 0, interface = 0 }, 1 },
      { run.packets, run.flows, run.packets_ignored, run.packets_dropped, run.runs })
    assert.same({ false, false, {} }, { run.is_damaged, run.is_interrupted, run.warnings })
  end)

  it("says what was wrong with the input", function()
    local bytes = program.read "samples/dns.pcap"
    local path = program.write(bytes:sub(1, 5000), ".pcap")
    local result = engine.script([[
      local streamer = require "nfengine".streamer { n_dissections = 0 }
      local about = require "nfengine.manifest".new(streamer)
      streamer:to { write = function() end }
      about:add(streamer:account())
      io.write(about:text())
    ]], "-q", path)
    local run = json.decode(result.out).run
    assert.is_true(run.is_damaged)
    assert.is_truthy(run.warnings[1]:find(path, 1, true))
  end)

  it("knows standard input by its packets alone", function()
    local path = engine.script_file(TELLING)
    local result = program.shell(("%s -q %s - <samples/dns.pcap"):format(program.quote(program.path), path))
    assert.same({ { path = "-", packets = 62 } }, json.decode(result.out).inputs)
  end)

  it("adds up several runs", function()
    local path = engine.capture { meter.udp(0, 1000), meter.udp(1, 1001) }
    local streamer = engine.streamer { source = path }
    local about = manifest.new(streamer)
    for _ = 1, 2 do
      streamer:to { write = function() return true end }
      about:add(streamer:account())
    end
    local read = json.decode(about:text())
    assert.same({ 2, 4, 4, 2, { ["end of input"] = 4 } },
      { read.run.runs, read.run.packets, read.run.flows, #read.inputs, read.run.flows_ended })
  end)

  it("describes columns and written files, behind its own", function()
    local path = program.write("abc", ".csv")
    local columns = {
      { name = "size", type = "uint32", unit = "bytes", doc = "a size" },
      { name = "sizes", type = "int8", doc = "some", is_array = true, length = 3 },
      { name = "name", type = "text", doc = "a text", length = 41 },
    }
    local text = manifest.new(engine.streamer {}):text {
      { "files", { manifest.output(path, 7, "x.csv"), manifest.output(path) } },
      { "columns", manifest.schema(columns, function(column) return { { "role", column.name .. "!" } } end) },
    }
    local read, abc = json.decode(text), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert.same({
      { name = "x.csv", records = 7, bytes = 3, sha256 = abc }, { name = path, bytes = 3, sha256 = abc },
    }, read.files)
    assert.same({
      { name = "size", type = "uint32", unit = "bytes", doc = "a size", nullable = false, role = "size!" },
      { name = "sizes", type = "int8[3]", doc = "some", length = 3, nullable = false, role = "sizes!" },
      { name = "name", type = "string:40", doc = "a text", nullable = true, role = "name!" },
    }, read.columns)
    local order = {}
    for name in text:gmatch '\n  "([%w_]+)": ' do order[#order + 1] = name end
    assert.equal("manifest engine plugins parameters sources inputs run files columns", table.concat(order, " "))
  end)

  it("is the same for two runs over the same input", function()
    local path = engine.script_file(TELLING)
    local first = program.run(path, "-q", "samples/dns.pcap").out
    assert.equal(62, json.decode(first).run.packets)
    assert.equal(first, program.run(path, "-q", "samples/dns.pcap").out)
  end)

  it("is written to a file, or says why not", function()
    local about = manifest.new(engine.streamer {})
    local path = program.temporary ".json"
    about:write(path, { { "mine", 1 } })
    assert.equal(1, json.decode(program.read(path)).mine)
    assert.matches("/nowhere/x: No such file", engine.refusal(about.write, about, "/nowhere/x"))
    assert.matches("/dev/full: No space left", engine.refusal(about.write, about, "/dev/full"))
  end)
end)
