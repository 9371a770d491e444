-- lua/nfengine/output/beside.lua: which outputs get a manifest, what it says of them, and what becomes of it when a run
-- does not end as it should.

local capture = require "nfengine.testing.capture"
local engine = require "spec.support.engine"
local json = require "nfengine.json"
local meter = require "spec.support.meter"
local nf = require "nfengine"
local program = require "spec.support.program"
local run = require "nfengine.run"

local DNS = "samples/dns.pcap"
local IS_ROOT = program.shell("id -u").out == "0\n"

local function shell_digest(path) return program.shell("sha256sum " .. path).out:match "^%x+" end

local function manifest_of(path)
  local text = program.read(path .. ".manifest.json")
  return text and json.decode(text)
end

local function run_with(...) return program.run("-q", "--manifest", ...) end

local function done(...)
  local result = run_with(...)
  assert.same({ 0, "" }, { result.status, result.err })
  return result.out
end

local function streamer(parameters)
  local given = { manifest = true }
  for name, value in pairs(parameters or {}) do given[name] = value end
  return engine.streamer(given)
end

describe("the manifest beside an output", function()
  local folder
  before_each(function() folder = capture.folder() end)
  after_each(engine.cleanup)

  it("tells of the file in every format, with its columns", function()
    for _, name in ipairs { "a.csv", "a.jsonl", "a.csv.gz", "a.jsonl.zst", "a.parquet", "a.arrow" } do
      local path = folder .. "/" .. name
      done("flows", "-o", path, "--no-dpi", "--columns=id,dst_port", DNS)
      local about = manifest_of(path)
      assert.same({ { name = name, records = 15, bytes = #program.read(path), sha256 = shell_digest(path) } },
        about.files)
      assert.same({ format = name:match "%.(%l+)", packing = name:match "%.%l+%.(%l+)" }, about.output)
      assert.same({ "id", "dst_port" }, { about.columns[1].name, about.columns[2].name })
      assert.same({ 15, shell_digest(DNS) }, { about.run.flows, about.inputs[1].sha256 })
      assert.is_nil(about.run.failure)
    end
  end)

  it("comes of a script's exports as of the program's, of a library's too", function()
    local path = folder .. "/a.csv"
    done(engine.script_file(("require('nfengine').streamer({ n_dissections = 0 }):to_csv(%q)"):format(path)), DNS)
    assert.equal(15, manifest_of(path).files[1].records)
    streamer({ packets = { meter.udp(0, 1000) } }):to_jsonl(folder .. "/b.jsonl")
    local about = manifest_of(folder .. "/b.jsonl")
    assert.same({ 1 }, { about.files[1].records, about.command, about.script, about.modules })
  end)

  it("is not there for what has no name of its own, nor where nobody wants it", function()
    done("flows", "--no-dpi", "-o", "/dev/null", DNS)
    done("flows", "--no-dpi", "-o", folder .. "/null", "--format=null", DNS)
    done("flows", "--no-dpi", "--no-manifest", "-o", folder .. "/a.csv", DNS)
    program.shell(("%s -q flows --manifest --no-dpi %s >%s/b.csv"):format(program.path, DNS, folder))
    program.shell(("%s -q flows --manifest --no-dpi -o /dev/stdout %s >%s/c.csv"):format(program.path, DNS, folder))
    program.shell(("mkfifo %s/d; cat %s/d >/dev/null & %s -q flows --manifest --no-dpi -o %s/d %s"):format(folder,
      folder, program.path, folder, DNS))
    engine.streamer {}:to_csv(folder .. "/e.csv")
    local file = io.open(folder .. "/f.csv", "w")
    streamer():to_csv(file)
    file:close()
    assert.equal("a.csv b.csv c.csv d e.csv f.csv", program.names_in(folder))
    assert.is_nil(program.read "/dev/null.manifest.json")
  end)

  it("is the same for two runs, and for any number of meters but for that", function()
    local path, texts = folder .. "/a.csv", {}
    local script = engine.script_file(("require('nfengine').streamer({ n_meters = tonumber(os.getenv 'METERS'), "
      .. "manifest = true, dpi_cache = false }):to_csv(%q)"):format(path))
    for i, meters in ipairs { 1, 1, 3 } do
      program.shell(("METERS=%d %s -q %s samples/web.pcap"):format(meters, program.path, script))
      texts[i] = assert(program.read(path .. ".manifest.json"))
    end
    assert.equal(texts[1], texts[2])
    local function without_meters(text) return (text:gsub('"n?_?meters": %d', "")) end
    assert.are_not.equal(texts[1], texts[3])
    assert.equal(without_meters(texts[1]), without_meters(texts[3]))
  end)

  it("is one for all files of a rotated export, and lists those that are there in the end", function()
    local path = folder .. "/a.csv"
    done("flows", "--no-dpi", "-o", path, "--flows-per-file=4", "--rotate-files=3", DNS)
    assert.equal("a.0.csv a.1.csv a.2.csv a.csv.manifest.json", program.names_in(folder))
    local about, listed = manifest_of(path), {}
    for i, file in ipairs(about.files) do
      listed[i] = file.name .. " " .. file.records
      assert.equal(shell_digest(folder .. "/" .. file.name), file.sha256)
    end
    assert.equal("a.1.csv 4 a.2.csv 4 a.0.csv 3", table.concat(listed, " "))
    assert.same({ format = "csv", flows_per_file = 4, rotate_files = 3 }, about.output)
  end)

  it("says which columns are hashes, and whose key that was, but not the key", function()
    local path, key = folder .. "/a.csv", ("k"):rep(64)
    streamer():to_csv(path, { columns_to_anonymize = { "src_ip" } })
    assert.same({ "csv", { "src_ip" }, "random" }, { manifest_of(path).output.format,
      manifest_of(path).parameters.columns_to_anonymize, manifest_of(path).parameters.anonymization_key })
    streamer():to_csv(path, { columns_to_anonymize = { "src_ip" }, anonymization_key = key })
    assert.equal("given", manifest_of(path).parameters.anonymization_key)
    assert.is_nil(program.read(path .. ".manifest.json"):find(key, 1, true))
  end)

  it("comes of a script's own sink that tells what it has written", function()
    local path, rows = folder .. "/own", 0
    streamer():to {
      write = function() rows = rows + 1 end,
      close = function() program.write("mine", path) end,
      written = function() return path, { { path = path, records = rows } } end,
    }
    assert.same({ { name = "own", records = 15, bytes = 4, sha256 = shell_digest(path) } }, manifest_of(path).files)
  end)

  it("says what has ended a run before its time", function()
    local path = folder .. "/a.csv"
    local failing = engine.script_file [[
      local nf, count = require "nfengine", 0
      nf.streamer({ n_dissections = 0, filter = function()
        count = count + 1
        return count < 5 or error("five", 0)
      end }):write()
    ]]
    assert.equal(1, run_with(failing, "-o", path, DNS).status)
    local about = manifest_of(path)
    assert.matches("five$", about.run.failure)
    assert.same({ 4, shell_digest(path) }, { about.files[1].records, about.files[1].sha256 })
    local stopping = engine.script_file [[
      local C = require "nfengine.lib"
      require "nfengine".streamer({ n_dissections = 0, idle_timeout = 0, filter = function()
        C.nf_interrupt(C.NF_REQUEST_STOP)
        return true
      end }):write()
    ]]
    assert.equal(130, run_with(stopping, "-o", path, DNS).status)
    assert.is_true(manifest_of(path).run.is_interrupted)
  end)

  it("of an earlier run is gone while the next one goes on, and stays away if that is killed", function()
    local path = folder .. "/a.csv"
    done("flows", "--no-dpi", "-o", path, DNS)
    local killed = engine.script_file [[
      require "nfengine".streamer({ n_dissections = 0, filter = function() os.execute "kill -9 $PPID" end }):write()
    ]]
    run_with(killed, "-o", path, DNS)
    assert.equal("a.csv a.csv.manifest.json.part a.csv.part", program.names_in(folder))
    done("flows", "--no-dpi", "-o", path, DNS)
    assert.equal("a.csv a.csv.manifest.json", program.names_in(folder))
  end)

  it("is refused in one line where it cannot be written, and the output stays as it is", function()
    local path = folder .. "/a.csv"
    program.write("as it was", path)
    program.shell("mkdir " .. path .. ".manifest.json.part")
    local result = run_with("flows", "--no-dpi", "-o", path, DNS)
    assert.same({ 1, ("nfengine: cannot write %s.manifest.json.part: Is a directory, expected a file to write, or "
      .. "no --manifest\n"):format(path) }, { result.status, result.err })
    assert.equal("as it was", program.read(path))
    done("flows", "--no-dpi", "--no-manifest", "-o", path, DNS)
  end)

  it("leaves it to the output to say that nothing can be written there", function()
    for _, path in ipairs { folder .. "/no/a.csv", folder .. "/x/a.csv" } do
      program.write("a file", folder .. "/x")
      local refusal = engine.refusal(function() streamer():to_csv(path) end)
      assert.matches(('^cannot write "%s"'):format(path), refusal)
    end
    assert.equal(0, run.count_open())
  end)

  it("is left alone with the output where the run is not begun", function()
    local path = folder .. "/a.csv"
    done("flows", "--no-dpi", "-o", path, DNS)
    local before = program.read(path .. ".manifest.json")
    engine.refusal(function() streamer({ columns = "no" }):to_csv(path) end)
    engine.refusal(function() streamer():to_csv(path, { columns_to_anonymize = { "no" } }) end)
    assert.equal(before, program.read(path .. ".manifest.json"))
    assert.equal("a.csv a.csv.manifest.json", program.names_in(folder))
  end)

  it("tells of the last file where a log was rotated, without records", function()
    local path = folder .. "/a.csv"
    nf.streamer({ source = DNS, n_dissections = 0 }):to_csv(path)
    local inner = require("nfengine.output.file").new {
      path = path, format = "csv", packing = 0, is_beside = false,
    }
    local sink, rows = setmetatable({}, { __index = inner }), 0
    function sink.write(_, flow)
      rows = rows + 1
      if rows == 5 then
        os.rename(path, path .. ".1")
        inner:reopen()
      end
      return inner:write(flow)
    end
    for _, method in ipairs { "open", "close", "flush", "count_written", "written", "described" } do
      sink[method] = function(_, ...) return inner[method](inner, ...) end
    end
    streamer():to(sink)
    local file = manifest_of(path).files[1]
    assert.same({ name = "a.csv", bytes = #program.read(path), sha256 = shell_digest(path) }, file)
  end)

  it("is written with --sandbox, for which it is opened before", function()
    for _, meters in ipairs { "--n-meters=1", "--n-meters=3" } do
      local path = folder .. "/a.csv"
      program.write(("x"):rep(1e5), path .. ".manifest.json")
      done("--sandbox", "flows", "--no-dpi", meters, "-o", path, DNS)
      local about = manifest_of(path)
      assert.same({ shell_digest(path), 15, shell_digest(DNS) },
        { about.files[1].sha256, about.files[1].records, about.inputs[1].sha256 })
    end
    done("--sandbox", "flows", "--no-dpi", "--no-manifest", "-o", folder .. "/b.csv", DNS)
    assert.equal("a.csv a.csv.manifest.json b.csv", program.names_in(folder))
    program.shell(("mkdir %s/c.csv.manifest.json"):format(folder))
    local result = run_with("--sandbox", "flows", "-o", folder .. "/c.csv", DNS)
    assert.same({ 1, ('nfengine: cannot write "%s/c.csv.manifest.json": Is a directory, expected a file to write, or '
      .. "no --manifest\n"):format(folder) }, { result.status, result.err })
  end)

  it("is written with --user, though that user may write nothing there and read nothing of it", function()
    if not IS_ROOT then return pending "needs root" end
    local path = folder .. "/a.csv"
    program.shell("chmod 755 " .. folder)
    for _, sandbox in ipairs { "--sandbox", "--no-sandbox" } do
      for _, meters in ipairs { "--n-meters=1", "--n-meters=3" } do
        local command = ("umask 077; %s -q flows --manifest --no-dpi %s %s --user=nobody -o %s %s")
          :format(program.path, meters, sandbox, path, DNS)
        assert.same({ status = 0, out = "", err = "" }, program.shell(command))
        local about = manifest_of(path)
        assert.same({ shell_digest(path), 15, shell_digest(DNS) },
          { about.files[1].sha256, about.files[1].records, about.inputs[1].sha256 })
        program.shell(("rm %s %s.manifest.json"):format(path, path))
      end
    end
  end)
end)
