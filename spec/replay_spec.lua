-- --replay: every dataset that scripts write over the samples, made again byte for byte; and what is told where that
-- cannot be, or comes to something else.

local capture = require "nfengine.testing.capture"
local engine = require "spec.support.engine"
local json = require "nfengine.json"
local pretty = require "nfengine.pretty"
local program = require "spec.support.program"

local quote = program.quote
local BOTH_DIGESTS = "SHA%-256 expected " .. ("%x"):rep(64) .. ", found " .. ("%x"):rep(64)

-- The program in a folder, with these words.
local function run_in(folder, ...)
  local words = { quote(program.absolute(program.path)) }
  for i, word in ipairs { ... } do words[i + 1] = quote(word) end
  return program.shell(("cd %s && %s"):format(quote(folder), table.concat(words, " ")))
end

local function digest(path) return program.shell("sha256sum " .. quote(path)).out:match "^%x+" end

describe("--replay", function()
  local folder
  before_each(function()
    folder = capture.folder()
    program.shell(("cp samples/web.pcap samples/dns.pcap.gz %s && mkdir %s/both && cp samples/tls.pcap "
      .. "samples/ssh.pcap %s/both"):format(folder, folder, folder))
  end)
  after_each(engine.cleanup)

  local function made(...)
    local result = run_in(folder, "-q", "--manifest", ...)
    assert.equal(0, result.status, result.err)
  end

  local function replay(...) return run_in(folder, "-q", "--replay", ...) end

  -- What there is, with sizes and times of files; a folder's time changes with what comes and goes in it.
  local function contents()
    return program.shell(([[cd %s && find . -type d -print -o -printf '%%p %%s %%t\n' | sort]]):format(folder)).out
  end

  local function check_same(manifest, ...)
    local before = contents()
    local result = replay(manifest, ...)
    assert.same({ 0, "" }, { result.status, result.err .. result.out:gsub("the same: [^\n]*\n", "") })
    assert.equal(before, contents())
  end

  -- Changes what a manifest says.
  local function edit(name, change)
    local path = folder .. "/" .. name
    local about = json.decode(program.read(path))
    change(about)
    program.write(json.encode(about), path)
  end

  for _, each in ipairs {
    { "flows", "-o", "x.csv" }, { "-o", "x.csv" }, { "flows", "-o", "x.jsonl", "--n-meters=3", "--no-dpi-cache" },
    { "flows", "-o", "x.csv.gz", "--no-dpi", "--statistical-analysis", "--splt-analysis=5" },
    { "flows", "-o", "x.jsonl.zst", "--filter=flow.protocol == 17 and flow.src_port ~= 53", "--idle-timeout=1" },
    { "flows", "-o", "x.parquet", "--plugin=ja4", "--plugin", "flow_slicer", "-a", "flow_slicer.limit=3" },
    { "flows", "-o", "x.arrow", "--rotate-files=1" }, { "flows", "-o", "x.arrows", "--flows-per-file=9" },
    { "flows", "-o", "x.csv", "--profile", "nettisa" }, { "flows", "-o", "x.csv", "--sandbox" },
    { "flows", "-o", "x.csv", "--safe" }, { "flows", "-ox.csv", "--columns=src_ip,end_reason", "--bpf-filter", "udp" },
    { "flows", "-o", "x.csv", "--flows-per-file=7" }, { "flows", "-o", "x.jsonl", "--seconds-per-file=2" },
    { "flows", "-o", "x.csv", "--bytes-per-file=3000", "--rotate-files=2" }, { "statistics", "-o", "x.csv" },
  } do
    it("makes again what came of " .. table.concat(each, " "), function()
      each[#each + 1], each[#each + 2], each[#each + 3] = "web.pcap", "both", "dns.pcap.gz"
      made(unpack(each))
      local name = table.concat(each, " "):match "(x%.[%w.]+)"
      check_same(name .. ".manifest.json")
    end)
  end

  it("makes again what came of export, with a key", function()
    program.write(("k"):rep(64), folder .. "/key")
    program.shell("chmod 600 " .. folder .. "/key")
    made("export", "web.pcap", "--anonymization-key-file=key", "--flows-per-file=10")
    check_same "web.pcap.csv.manifest.json"
    program.write(("l"):rep(64), folder .. "/key")
    local result = replay "web.pcap.csv.manifest.json"
    -- Nothing is told of a key: only the outcome tells.
    assert.equal(1, result.status)
    assert.matches("^file [^\n]*web%.pcap%.0%.csv: " .. BOTH_DIGESTS, result.out)
  end)

  it("makes again what came of dataset, in all ways", function()
    program.write("dst_port,label\n53,names\n80,web\n443,web\n", folder .. "/rules.csv")
    made("dataset", "web.pcap", "--", "--write=a", "--label-rules=rules.csv", "--split=0.7,0.3", "--few=0")
    made("dataset", "web.pcap", "dns.pcap.gz", "--", "--write=b", "--label-by-file=file", "--keep=dst_port")
    made("dataset", "both", "--", "--write=c/", "--label-by-file=folder", "--no-keys")
    made("dataset", "web.pcap", "--", "--write=d", "--label=application_name", "--group=time", "--split=0.5,0.5")
    for _, name in ipairs { "a", "b", "c", "d" } do check_same(name .. "/manifest.json") end
    program.write("dst_port,label\n53,names\n80,web\n443,wab\n", folder .. "/rules.csv")
    local result = replay "a/manifest.json"
    assert.matches("^file of option label_rules rules%.csv: " .. BOTH_DIGESTS .. "\n.*nothing was run\n$", result.out)
  end)

  it("makes again what a script has written, its other files too, but not in their places", function()
    program.write([[
      local nf = require "nfengine"
      require "helper"
      local options = nf.options { n = { 1, "n" } }
      local streamer = nf.streamer { idle_timeout = options.n, n_dissections = 0, source = "web.pcap" }
      streamer:to_csv "one.csv"
      streamer:to_jsonl("both/two.jsonl")
    ]], folder .. "/own.lua")
    program.write("return {}", folder .. "/helper.lua")
    made("own.lua", "--", "--n=5")
    check_same "one.csv.manifest.json"
    check_same "both/two.jsonl.manifest.json"
    program.write("return { 1 }", folder .. "/helper.lua")
    local result = replay "one.csv.manifest.json"
    assert.matches("^module %./helper%.lua: SHA%-256 expected .*\nnothing was run\n$", result.out)
    program.write("return {}", folder .. "/helper.lua")
    program.write(program.read(folder .. "/own.lua") .. "\n", folder .. "/own.lua")
    result = replay "one.csv.manifest.json"
    assert.same({ 1, "" }, { result.status, result.err })
    assert.matches("^script own%.lua: SHA%-256 expected .*\nnothing was run\n$", result.out)
  end)

  it("replaces no file by another of the same name", function()
    program.shell(("mkdir %s/a %s/b"):format(folder, folder))
    program.write([[
      local nf = require "nfengine"
      for _, path in ipairs { "a/x.csv", "a/x.csv", "b/x.csv" } do nf.streamer({ n_dissections = 0 }):to_csv(path) end
    ]], folder .. "/several.lua")
    made("several.lua", "web.pcap")
    assert.matches("^the run failed with status 1: [^\n]*: a/x%.csv and b/x%.csv have the same name there\n$",
      replay("a/x.csv.manifest.json").out)
  end)

  it("tells a changed byte of an input, and runs nothing", function()
    made("flows", "-o", "x.csv", "both")
    local path, expected = folder .. "/both/tls.pcap", digest(folder .. "/both/tls.pcap")
    local bytes = program.read(path)
    program.write(bytes:sub(1, 999) .. string.char((bytes:byte(1000) + 1) % 256) .. bytes:sub(1001), path)
    assert.same({ status = 1, err = "", out = ("input both/tls.pcap: SHA-256 expected %s, found %s\nnothing was run\n")
      :format(expected, digest(path)) }, replay "x.csv.manifest.json")
    program.shell("cp samples/tls.pcap " .. path .. " && cp samples/web.pcap " .. folder .. "/both/more.pcap")
    assert.equal("input both/more.pcap: expected no such file\nnothing was run\n", replay("x.csv.manifest.json").out)
    program.shell(("rm %s/both/*"):format(folder))
    assert.matches("input both/ssh.pcap: SHA%-256 expected %x+, found no such file", replay("x.csv.manifest.json").out)
  end)

  it("tells a file that is another, and that versions are", function()
    made("flows", "--no-dpi", "-o", "x.csv", "web.pcap")
    edit("x.csv.manifest.json", function(about)
      about.files[1].sha256 = ("0"):rep(64)
      about.engine.ndpi = "nDPI 9"
    end)
    local result = replay "x.csv.manifest.json"
    assert.equal(1, result.status)
    assert.matches("^note: made with ndpi nDPI 9, here is nDPI [%d.]+\nfile [^\n]*x%.csv: SHA%-256 expected 0+, found "
      .. digest(folder .. "/x.csv") .. "\n$", result.out)
    edit("x.csv.manifest.json", function(about) about.files[1].sha256 = digest(folder .. "/x.csv") end)
    result = replay "x.csv.manifest.json"
    assert.equal(0, result.status)
    assert.matches("^note: [^\n]*\nthe same: 1 file, 32 records\n$", result.out)
  end)

  it("finds captures beside the manifest, and in places that are named", function()
    made("dataset", "both", "--", "--write=out", "--label-by-file=folder")
    local other, third = capture.folder(), capture.folder()
    program.shell(("mv %s/out/* %s/both %s"):format(folder, folder, other))
    assert.equal(0, replay(other .. "/manifest.json").status)
    program.shell(("mv %s/both %s"):format(other, third))
    assert.equal(1, replay(other .. "/manifest.json").status)
    assert.equal(0, replay(other .. "/manifest.json", third).status)
    assert.equal(0, replay(other .. "/manifest.json", third .. "/both").status)
  end)

  it("leaves the new files in the folder of -o", function()
    made("flows", "--no-dpi", "-o", "x.csv", "web.pcap")
    assert.equal(0, replay("x.csv.manifest.json", "-o", "again").status)
    assert.equal(program.read(folder .. "/x.csv"), program.read(folder .. "/again/x.csv"))
    program.write("changed", folder .. "/x.csv")
    assert.matches('^nfengine: %-%-replay "%.": has files in it, expected a new or empty folder\n$',
      replay("x.csv.manifest.json", "-o", ".").err)
    assert.equal("changed", program.read(folder .. "/x.csv"))
    program.shell(("mkdir %s/empty"):format(folder))
    assert.equal(0, replay("x.csv.manifest.json", "-o", "empty").status)
    program.shell(("mkdir %s/x.csv.manifest.json.replay"):format(folder))
    local result = replay "x.csv.manifest.json"
    assert.equal(2, result.status)
    assert.matches('^nfengine: %-%-replay "x.csv.manifest.json.replay": File exists: expected a new folder, or %-o',
      result.err)
  end)

  it("says what it runs, and takes --safe and --sandbox for it", function()
    made("flows", "--no-dpi", "-o", "x.csv", "web.pcap")
    assert.matches("^nfengine: runs: nfengine %-%-quiet %-%-output=x.csv .*web.pcap\n$",
      run_in(folder, "--replay", "x.csv.manifest.json").err)
    edit("x.csv.manifest.json", function(about)
      table.insert(about.command, 1, "--filter=os.execute 'touch pwned'")
    end)
    assert.equal(0, replay("x.csv.manifest.json", "--sandbox").status)
    assert.is_nil(program.read(folder .. "/pwned"))
    assert.equal(0, replay("x.csv.manifest.json").status) -- a filter is a program, too
    assert.is_truthy(program.read(folder .. "/pwned"))
  end)

  it("takes no option from what files are called", function()
    made("flows", "--no-dpi", "-o", "x.csv", "web.pcap")
    program.write("", folder .. "/--no-sandbox")
    program.write("os.execute 'touch pwned'", folder .. "/evil.lua")
    edit("x.csv.manifest.json", function(about)
      about.inputs, about.sources = {}, { "elsewhere/--no-sandbox", "web.pcap" }
      table.insert(about.command, 1, "--filter=os.execute 'touch pwned'")
    end)
    replay("x.csv.manifest.json", "--sandbox")
    assert.is_nil(program.read(folder .. "/pwned"))
    edit("x.csv.manifest.json", function(about)
      about.sources, about.command = {}, { "-o", "x.csv", "x", "evil.lua", "web.pcap" }
      about.script = { name = "x", file = "--no-sandbox", sha256 = digest(folder .. "/--no-sandbox") }
    end)
    replay("x.csv.manifest.json", "--sandbox")
    assert.is_nil(program.read(folder .. "/pwned"))
  end)

  it("refuses plugins that are not what the manifest says, and such as it does not have", function()
    program.write('return require "nfengine".plugin { name = "mine" }', folder .. "/mine.lua")
    made("flows", "--no-dpi", "-o", "x.csv", "--plugin=mine.lua", "web.pcap")
    check_same "x.csv.manifest.json"
    program.write('os.execute "touch pwned" return require "nfengine".plugin { name = "mine" }', folder .. "/mine.lua")
    local result = replay "x.csv.manifest.json"
    assert.equal(1, result.status)
    assert.matches("^plugin mine%.lua: SHA%-256 expected .*\nnothing was run\n$", result.out)
    edit("x.csv.manifest.json", function(about) about.plugins = {} end)
    result = replay "x.csv.manifest.json"
    assert.equal("plugin mine.lua: not in the manifest, expected its SHA-256 there\nnothing was run\n", result.out)
    assert.is_nil(program.read(folder .. "/pwned"))
  end)

  it("refuses in one line what cannot be made again", function()
    local function refused(pattern, ...)
      local result = replay(...)
      assert.equal(2, result.status, result.out)
      assert.matches("^nfengine: %-%-replay " .. pattern .. "[^\n]*\n$", result.err)
    end
    made("export", "web.pcap")
    refused('"web.pcap.csv.manifest.json": its columns were anonymised with a random key', "web.pcap.csv.manifest.json")
    made("flows", "--no-dpi", "-o", "x.csv", "web.pcap")
    local about = json.decode(program.read(folder .. "/x.csv.manifest.json"))
    for expected, change in pairs {
      ["its run has failed: why"] = function(it) it.run.failure = "why" end,
      ["its run was interrupted"] = function(it) it.run.is_interrupted = true end,
      ["it tells of a network interface"] = function(it) it.inputs = { { interface = "eth0" } } end,
      ['it has no SHA%-256 of "%-"'] = function(it) it.inputs = { { path = "-" } } end,
      ["expected the manifest of a run of the program"] = function(it) it.command = nil end,
      ["its command %-%-test x: expected one that begins a run"] = function(it) it.command = { "--test", "x" } end,
      ["its command %-%-nonsense: expected one"] = function(it) it.command = { "--nonsense" } end,
      ["expected the manifest"] = function(it) it.files = { { name = "../x" } } end,
    } do
      local copy = json.decode(json.encode(about))
      change(copy)
      program.write(json.encode(copy), folder .. "/y.json")
      refused(expected:match "^its command" and expected or '"y.json": ' .. expected, "y.json")
    end
    program.write("{}", folder .. "/y.json")
    refused('"y.json": expected the manifest', "y.json")
    program.write("no JSON", folder .. "/y.json")
    refused('"y.json": expected the manifest', "y.json")
    refused("no.json: No such file", "no.json")
    refused "expected the path of a manifest"
    refused("%-%-idle%-timeout: has no effect here", "x.csv.manifest.json", "--idle-timeout=5")
  end)

  it("takes whatever stands in the place of texts and lists", function()
    made("flows", "--no-dpi", "-o", "x.csv", "web.pcap")
    local about = json.decode(program.read(folder .. "/x.csv.manifest.json"))
    local names = {}
    for name in pairs(about) do names[#names + 1] = name end
    for _, name in ipairs(names) do
      for _, value in ipairs { 1, "x", true, { 1 }, { { 1 } }, pretty.map { name = 1, file = {}, path = {} } } do
        local copy = json.decode(json.encode(about))
        copy[name] = value
        program.write(json.encode(copy), folder .. "/y.json")
        local result = replay "y.json"
        assert.is_nil((result.err .. result.out):match "attempt to [^\n]*", name)
      end
    end
  end)
end)
