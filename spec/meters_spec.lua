-- The same bytes for any number of meters: CSV, JSON lines and the flows of a loop, with ids, over samples and captures
-- of the reference data. $NFENGINE_EVERY_CAPTURE=1 takes all of them (make meters), and traces named on
-- $NFENGINE_TRACES as well; otherwise some.

local data = require "spec.support.data"
local engine = require "spec.support.engine"
local nf = require "nfengine"
local program = require "spec.support.program"

local COUNTS = data.is_every and { 2, 3, 8 } or { 2, 3 }

-- What a run writes and how it ends, in this process.
local function outcome(path, parameters, count)
  local given = { source = path, n_meters = count }
  for name, value in pairs(parameters) do given[name] = value end
  local out = program.temporary ".csv"
  local ok, problem = pcall(function() nf.streamer(given):to_csv(out) end)
  return { program.read(out) or "", ok or problem }
end

-- Captures whose records differ with the number of meters.
local function differing(paths, parameters)
  local different = {}
  for _, path in ipairs(paths) do
    local one = outcome(path, parameters, 1)
    for _, count in ipairs(COUNTS) do
      local several = outcome(path, parameters, count)
      if several[1] ~= one[1] or several[2] ~= one[2] then
        different[#different + 1] = ("%s: %d meters%s"):format(path, count,
          several[2] ~= one[2] and ": " .. tostring(several[2]) or "")
      end
    end
    program.remove_temporaries()
  end
  return table.concat(different, "\n", 1, math.min(#different, 20))
end

describe("the same bytes for any number of meters", function()
  after_each(engine.cleanup)

  local SAMPLES = program.lines "ls samples/*.pcap*"
  local WITHOUT_L7 = { n_dissections = 0, statistical_analysis = true, splt_analysis = 7 }
  local WITH_L7 = { dpi_cache = false, l7_columns = { "all" } }
  local TIMEOUTS = { n_dissections = 0, idle_timeout = 1, active_timeout = 3, time_unit = "ns" }

  it("over the samples", function()
    assert.is_true(#SAMPLES > 20)
    for _, parameters in ipairs { WITHOUT_L7, WITH_L7, TIMEOUTS } do
      assert.equal("", engine.quietly(function() return differing(SAMPLES, parameters) end))
    end
  end)

  local function over_data(name, step, parameters)
    it("over the reference data, " .. name, function()
      local paths = data.captures(step)
      if #paths == 0 then return pending(data.absent) end
      assert.is_true(#paths > (data.is_every and 1600 or 50))
      assert.equal("", engine.quietly(function() return differing(paths, parameters) end))
    end)
  end
  over_data("without L7", 9, WITHOUT_L7)
  over_data("with L7 and no cache", 30, WITH_L7)
  over_data("with short timeouts", 11, TIMEOUTS)

  it("over large traces", function()
    local folder = os.getenv "NFENGINE_TRACES"
    if not data.is_every then return pending "takes a while: make meters" end
    if not folder then return pending "no $NFENGINE_TRACES" end
    for _, name in ipairs { "mix_1m.pcap", "mix_5m.pcap" } do
      assert.is_not_nil(io.open(folder .. "/" .. name), "no " .. name)
      for _, parameters in ipairs { WITHOUT_L7, WITH_L7 } do
        assert.equal("", differing({ folder .. "/" .. name }, parameters))
      end
    end
  end)

  it("as JSON lines and from a loop", function()
    local function rows(count)
      local given = {
        source = "samples/web.pcap", n_dissections = 0, n_meters = count, columns = { "*", "end_reason" },
      }
      local out, shown = program.temporary ".jsonl", {}
      nf.streamer(given):to_jsonl(out)
      for flow in nf.streamer(given):flows() do shown[#shown + 1] = tostring(flow) end
      return { program.read(out), table.concat(shown, "\n") }
    end
    local one = rows(1)
    assert.is_true(#one[1] > 1000 and #one[2] > 1000)
    assert.same(one, rows(2))
    assert.same(one, rows(5))
  end)

  it("as Parquet, whose pages are made by several threads", function()
    local sources = {}
    for i = 1, 400 do sources[i] = "samples/web.pcap" end
    local function written(count)
      local path = program.temporary ".parquet"
      local streamer = nf.streamer { source = sources, n_dissections = 0, n_meters = count, idle_timeout = 0 }
      assert.is_true(streamer:to_parquet(path) > 20000)
      return program.read(path)
    end
    assert.is_true(written(1) == written(3))
  end)

  it("with plugins that count, end flows and write columns", function()
    local script = [[
      local nf = require "nfengine"
      local bins = { 100, 500, 1000 }
      local function bin_of(size)
        for i, limit in ipairs(bins) do if size < limit then return i end end
        return #bins + 1
      end
      local function count(self, packet, flow)
        local at = bin_of(packet.raw_size)
        flow.udps.bins[at] = flow.udps.bins[at] + 1
        if flow.bidirectional_packets >= self.limit then flow.expiration_id = -1 end
      end
      local Bins = nf.plugin {
        name = "bins", options = { limit = { 6, "packets after which a flow ends" } },
        columns = { { "bins", "uint32[4]", "packets by size" }, { "first", "string:20", "source address" } },
        on_init = function(self, packet, flow) flow.udps.first = flow.src_ip count(self, packet, flow) end,
        on_update = count,
        on_expire = function(self, flow) flow.udps.bins[1] = flow.udps.bins[1] + 1000 end,
      }
      nf.streamer { udps = { Bins { limit = 5 } }, n_dissections = 0, filter = function(f) return f.dst_port ~= 53 end }
        :write()
    ]]
    local one = engine.script(script, "--n-meters=1", "-q", "samples/web.pcap")
    assert.equal("", one.err)
    assert.is_true(select(2, one.out:gsub("\n", "")) > 60)
    for _, count in ipairs { 2, 3, 8 } do
      assert.same(one, engine.script(script, "--n-meters=" .. count, "-q", "samples/web.pcap"))
    end
  end)
end)

describe("several meters", function()
  after_each(engine.cleanup)

  -- Runs a script on a capture with several meters.
  local function run(script, ...) return engine.script(script, "--n-meters=3", ...) end

  it("join what a plugin gathers, in the order of the meters", function()
    local script = [[
      local nf = require "nfengine"
      local Totals = nf.plugin {
        name = "totals",
        setup = function(self) self.packets, self.hosts, self.joined = 0, {}, 1 end,
        on_init = function(self, packet, flow)
          self.packets = self.packets + 1
          self.hosts[flow.src_ip] = (self.hosts[flow.src_ip] or 0) + 1
        end,
        on_update = function(self) self.packets = self.packets + 1 end,
        merge = function(self, other)
          self.packets, self.joined = self.packets + other.packets, self.joined + other.joined
          for host, n in pairs(other.hosts) do self.hosts[host] = (self.hosts[host] or 0) + n end
        end,
        cleanup = function(self) print("cleanup", self.packets, self.hosts["192.0.2.10"], self.joined) end,
      }
      local totals = Totals {}
      nf.streamer { udps = totals, n_dissections = 0 }:write()
      print("after", totals.packets)
    ]]
    local rest = { "--format=null", "-q", "samples/web.pcap" }
    assert.equal("cleanup\t384\t19\t1\nafter\t384\n", engine.script(script, "--n-meters=1", unpack(rest)).out)
    assert.same({ status = 0, out = "cleanup\t384\t19\t3\nafter\t384\n", err = "" }, run(script, unpack(rest)))
  end)

  it("show hooks all of a packet", function()
    local script = [[
      local nf = require "nfengine"
      local function look(_, packet, flow)
        flow.udps.seen = flow.udps.seen + #packet:payload() + packet.ip_bytes:u8(0) + packet.number
        flow.udps.from = packet.src_ip
      end
      nf.streamer { n_dissections = 0, udps = nf.plugin { name = "p", on_init = look, on_update = look,
        columns = { { "seen", "uint32", "of all packets" }, { "from", "string", "source address" } } } }:write()
    ]]
    local one = engine.script(script, "--n-meters=1", "-q", "samples/web.pcap")
    assert.same({ 0, "" }, { one.status, one.err })
    assert.same(one, run(script, "-q", "samples/web.pcap"))
  end)

  it("answer the options of a plugin's own file as the command line did", function()
    local path = engine.script_file [[
      local nf = require "nfengine"
      local options = nf.options { limit = { 5, "a number" } }
      local word = arg[1]
      return nf.plugin { name = "p", columns = { { "limit", "uint32" }, { "word", "string" } },
        on_init = function(_, _, flow) flow.udps.limit, flow.udps.word = options.limit, word end }
    ]]
    local script = ([[
      local nf = require "nfengine"
      nf.streamer { n_dissections = 0, udps = require %q, columns = { "udps.limit", "udps.word" } }:write()
    ]]):format(path:match "([^/]*)%.lua$")
    local result = run(script, "-q", "--max-nflows=1", "samples/web.pcap", "--", "--limit=9")
    assert.same({ status = 0, out = 'udps.limit,udps.word\n9,"--limit=9"\n', err = "" }, result)
  end)

  it("set a plugin up and clean up after it in each of them", function()
    local path = program.temporary ".log"
    local script = ([[
      local nf = require "nfengine"
      local path = %q
      local function note(line)
        local file = io.open(path, "a")
        file:write(line, "\n")
        file:close()
      end
      local P = nf.plugin { name = "p", setup = function(self) self.mine = {} note "setup" end,
        on_init = function(self) assert(self.mine) end, cleanup = function() note "cleanup" end }
      nf.streamer { udps = P, n_dissections = 0 }:write()
    ]]):format(path)
    assert.equal(0, run(script, "--format=null", "-q", "samples/web.pcap").status)
    local notes = program.read(path)
    assert.same({ 3, 3 }, { select(2, notes:gsub("setup", "")), select(2, notes:gsub("cleanup", "")) })
  end)

  it("clean up in all of them after a failure in each", function()
    local script = [[
      local nf = require "nfengine"
      nf.streamer { n_dissections = 0, udps = nf.plugin { name = "p", on_init = function() error "boom" end,
        cleanup = function() io.stderr:write "cleanup\n" end } }:write()
    ]]
    local result = run(script, "--format=null", "-q", "samples/web.pcap")
    assert.same({ 1, 3 }, { result.status, select(2, result.err:gsub("cleanup\n", "")) })
  end)

  local function udps(fields)
    return ([[
      local nf = require "nfengine"
      local file, count = io.stderr, 0
      local log = io.open "/dev/null"
      nf.streamer { n_dissections = 0, udps = nf.plugin { name = "p", %s } }:write()
    ]]):format(fields)
  end

  it("refuse what cannot be carried, before they read", function()
    local result = run(udps "on_init = function() log:read() end", "-q", "samples/web.pcap")
    local line = "nfengine: n_meters = 3: plugin p: on_init: upvalue 'log' is an open file, which cannot be carried "
      .. "into another meter: open it in setup(self)\n"
    assert.same({ status = 1, out = "", err = line }, result)
  end)

  it("stop at the error that one meter would stop at, after the same records", function()
    local path = engine.script_file(
      udps "on_update = function(_, packet) if packet.number >= 150 then error 'boom' end end")
    local function with(count) return program.run(path, "--n-meters=" .. count, "-q", "samples/web.pcap") end
    local one = with(1)
    assert.equal(1, one.status)
    assert.truthy(one.err:match "^nfengine: plugin p: on_update: flow .*: boom\n$")
    assert.same(one, with(3))
    assert.same(one, with(8))
  end)

  it("stop at errors in on_expire, setup, cleanup and merge", function()
    for hook, pattern in pairs {
      on_expire = "^nfengine: plugin p: on_expire: flow .*: boom\n$", setup = "^nfengine: plugin p: setup: .*: boom\n$",
      cleanup = "^nfengine: plugin p: cleanup: .*: boom\n$", merge = "^nfengine: plugin p: merge: .*: boom\n$",
    } do
      local result = run(udps(hook .. " = function() error 'boom' end"), "-q", "samples/web.pcap")
      assert.equal(1, result.status)
      assert.truthy(result.err:match(pattern), result.err)
    end
  end)

  it("stop at whatever is raised, shown or not", function()
    for hook, pattern in pairs {
      on_update = "^nfengine: plugin p: on_update: flow .*: a table that cannot be shown\n$",
      setup = "^nfengine: plugin p: setup: a table that cannot be shown\n$",
      cleanup = "^nfengine: plugin p: cleanup: a table that cannot be shown\n$",
      merge = "^nfengine: plugin p: merge: a table that cannot be shown\n$",
    } do
      local path = engine.script_file(udps(hook
        .. " = function() error(setmetatable({}, { __tostring = function() error {} end })) end"))
      local result = program.shell(("timeout -k 1 20 %s %s --n-meters=3 -q samples/web.pcap")
        :format(program.path, path))
      assert.equal(1, result.status, hook)
      assert.truthy(result.err:match(pattern), result.err)
    end
  end)

  it("stop at what can only be had in a meter, and leave nothing open", function()
    local result = run([[
      local nf = require "nfengine"
      local udps = nf.plugin { name = "p", merge = function() end, setup = function(self)
        package.preload.mine = function() return { list = {} } end
        self.list = require "mine".list
      end }
      local streamer = nf.streamer { n_dissections = 0, udps = udps }
      local ok, problem = pcall(streamer.write, streamer)
      print(ok, problem:match "^merge: .*'mine' cannot be loaded here" ~= nil, require "nfengine.run".count_open())
    ]], "--format=null", "-q", "samples/web.pcap")
    assert.same({ status = 0, out = "false\ttrue\t0\n", err = "" }, result)
  end)

  it("stop at what self holds and cannot be joined", function()
    local script = udps [[setup = function(self) self.log = io.open "/dev/null" end, merge = function() end]]
    local result = run(script, "-q", "samples/web.pcap")
    assert.equal(1, result.status)
    assert.equal("nfengine: plugin p: self.log is an open file, which cannot be carried into another meter: "
      .. "open it in setup(self)\n", result.err)
  end)

  it("are as many as asked, and one where plugins keep state and nobody asks", function()
    local script = [[
      local nf = require "nfengine"
      local streamer = nf.streamer { n_dissections = 0, %s }
      streamer:to { write = function() end }
      print(streamer:account().meters)
    ]]
    local function meters(fields, ...) return engine.script(script:format(fields), "-q", ...).out end
    local setup = 'udps = nf.plugin { name = "p", setup = function(self) self.n = 0 end%s }'
    assert.equal("4\n", meters("n_meters = 4", "samples/dns.pcap"))
    assert.equal("1\n", meters("", "samples/dns.pcap"))
    local cpus = tonumber(program.shell("nproc").out)
    if cpus > 1 then
      local piped = "cat samples/dns.pcap | " .. program.path .. " %s -q -"
      local function from_pipe(fields)
        return program.shell(piped:format(engine.script_file(script:format(fields)))).out
      end
      assert.equal(cpus .. "\n", from_pipe "")
      assert.equal("1\n", from_pipe(setup:format ""))
      assert.equal(cpus .. "\n", from_pipe(setup:format ", merge = function() end"))
      assert.equal(cpus .. "\n", from_pipe(setup:format ", independent = true"))
      assert.equal(cpus .. "\n", from_pipe(setup:format ", on_record = function() end"))
      assert.equal("1\n", from_pipe(setup:format ", on_record = function() end, on_expire = function() end"))
      assert.equal("1\n", from_pipe [[udps = (function()
        local n = 0
        return nf.plugin { name = "p", on_init = function() n = n + 1 end }
      end)()]])
      -- What could not be carried would be refused: who asks for no number has not asked for that.
      assert.equal("1\n", from_pipe [[udps = (function()
        function helper() return 1 end
        return nf.plugin { name = "p", on_init = function() return helper() end }
      end)()]])
      assert.equal("1\n", from_pipe [[udps = (function()
        local p = nf.plugin { name = "p", on_init = function(self) self.n = self.n + 1 end } {}
        p.n = 0
        return p
      end)()]])
    end
  end)

  it("end when a loop is left, when max_nflows is reached, and when nobody reads the output", function()
    local script = [[
      local nf = require "nfengine"
      for flow in nf.streamer { n_dissections = 0 }:flows() do break end
      local n = 0
      for flow in nf.streamer { n_dissections = 0, max_nflows = 4 }:flows() do n = n + 1 end
      print(n)
    ]]
    assert.same({ status = 0, out = "4\n", err = "" }, run(script, "-q", "samples/web.pcap"))
    local result = program.shell(("%s flows --n-meters=3 -q samples/web.pcap | head -n 1"):format(program.path))
    assert.same({ 0, "" }, { result.status, result.err })
  end)

  it("end while standard input is silent", function()
    local script = engine.script_file [[
      local nf = require "nfengine"
      for flow in nf.streamer { n_dissections = 0, idle_timeout = 0 }:flows() do break end
      print "left"
    ]]
    local command = "timeout 10 %s %s --n-meters=3 -q -"
    assert.equal("left\n", program.fed("cat samples/web.pcap", command:format(program.path, script)).out)
  end)

  it("do not fill memory where records are taken slowly", function()
    local script = [[
      local nf = require "nfengine"
      local function resident() return tonumber(io.open("/proc/self/statm"):read("*a"):match "^%d+ (%d+)") * 4096 end
      local n, at = 0, 0
      local sources = {}
      for i = 1, 400 do sources[i] = "samples/web.pcap" end
      local streamer = nf.streamer { source = sources, n_dissections = 0, n_meters = 3, idle_timeout = 0 }
      for flow in streamer:flows() do
        n = n + 1
        if n == 2000 then at = resident() end
        if n == 20000 then break end
        if n % 1000 == 0 then local t = os.clock() while os.clock() - t < 0.01 do end end
      end
      print(n, resident() - at < 32e6)
    ]]
    assert.equal("20000\ttrue\n", engine.script(script, "-q").out)
  end)

  it("count packets once, also where a run is left early", function()
    local script = [[
      local nf = require "nfengine"
      local streamer = nf.streamer { n_dissections = 0, max_nflows = %s }
      streamer:to { write = function() end }
      local a, sum = streamer:account(), 0
      print(a.packets, a.bytes, a.ignored_packets, a.flows, a.meters)
    ]]
    local whole = engine.script(script:format "0", "--n-meters=1", "-q", "samples/web.pcap").out
    assert.equal(whole:gsub("1\n$", "3\n"), run(script:format "0", "-q", "samples/web.pcap").out)
    local packets, _, ignored = run(script:format "3", "-q", "samples/web.pcap").out:match "(%d+)\t(%d+)\t(%d+)"
    assert.is_true(tonumber(packets) <= 390 and tonumber(ignored) <= 6)
  end)
end)
