-- How live runs end: signals, limits, interfaces that go away, outputs and plugins that fail. What they give until then
-- is in live_spec.lua.

local arrow = require "spec.support.arrow"
local cable = require "spec.support.cable"
local collector = require "spec.support.collector"
local engine = require "spec.support.engine"
local json = require "nfengine.json"
local live = require "spec.support.live"
local network = require "spec.support.network"
local program = require "spec.support.program"

local send, send_endlessly, udp_file, link, ports, count_rows =
  cable.send, cable.send_endlessly, cable.udp_file, cable.link, cable.ports, cable.count_rows

local function both_sizes(name, test)
  cable.for_meters(function(meters, word)
    it(("%s (n_meters = %d)"):format(name, meters), function() test(word, meters) end)
  end)
end

describe("a live run", function()
  local missing = cable.missing()
  if missing then
    it("ends", function() pending(missing) end)
    return
  end

  before_each(cable.lay)
  after_each(cable.remove)

  -- ---- signals ----

  describe("ended by a signal", function()
    for _, signal in ipairs { "INT", "TERM" } do
      both_sizes("writes what there was, by SIG" .. signal, function(meters)
        local run = ports(meters)
        send(udp_file(1, 100))
        local result = run:stop(signal)
        assert.equal(0, result.status)
        assert.equal(100, count_rows(result.out))
        assert.matches("^nfengine: 100 packets, 100 flows, [^\n]*packets/s\n$", result.err)
      end)
    end

    both_sizes("has one row for each flow of a link that is never silent", function(meters)
      local sender = send_endlessly(20000)
      local run = ports(meters)
      live.wait_for("packets", function()
        run:signal "USR1"
        return run:err():find "nfengine: %d+,%d+ packets"
      end)
      local began = live.now()
      local result = run:stop "INT"
      assert(live.now() - began < 2)
      sender:stop "TERM"
      assert.equal(0, result.status)
      assert.equal(500, count_rows(result.out))
    end)

    it("ends at once by a second one", function()
      local run = live.start(cable.net.b, "-i", "vb", engine.script_file [[
        for _ in require("nfengine").streamer({ n_dissections = 0, idle_timeout = 0, n_meters = 1 }):flows() do
          io.stderr:write "looping\n"
          while true do end
        end
      ]])
      send(udp_file(1, 2))
      live.wait_for("loop", function() return run:err():find "looping" end)
      run:signal "INT"
      live.wait_for("second signal to count", function()
        run:signal "INT"
        return run:status()
      end)
      assert.equal(130, run:finish().status)
    end)

    both_sizes("tells where it stands by SIGUSR1", function(meters)
      local run = ports(meters)
      send(udp_file(1, 30))
      live.wait_for_packets(run, 30)
      assert.matches("\nnfengine: 30 packets, 0 flows given out, 30 live, %d+ packets/s\n", run:err())
      assert.equal(30, count_rows(run:stop().out))
    end)
  end)

  describe("by SIGHUP", function()
    both_sizes("goes on in a new file where the old one was moved away", function(meters)
      local path, old = program.temporary ".csv", program.temporary ".csv"
      local run, sender = ports("--idle-timeout=0", "--manifest", "-o", path, meters), send_endlessly()
      live.wait_for("rows", function() return #(program.read(path) or "") > 5000 end)
      assert(os.rename(path, old))
      run:signal "HUP"
      live.wait_for("new file with rows", function() return #(program.read(path) or "") > 5000 end)
      sender:stop "TERM"
      local result = run:stop()
      assert.equal(0, result.status)
      local first = count_rows(program.read(old))
      local second = count_rows(program.read(path), first)
      assert.matches(", " .. (first + second .. " flows"):gsub("^(%d+)(%d%d%d) ", "%1,%2 ") .. ", ", result.err)
      local file = json.decode(program.read(path .. ".manifest.json")).files[1]
      assert.same({ path:match "[^/]*$", #program.read(path) }, { file.name, file.bytes, file.records })
    end)

    it("goes on with another Arrow stream where the old one was moved away", function()
      local path, old = program.temporary ".arrows", program.temporary ".arrows"
      local run, sender = ports("--idle-timeout=0", "-o", path), send_endlessly()
      local function has_rows() return (arrow.stream(program.read(path) or "") or { rows = 0 }).rows > 0 end
      live.wait_for("rows", has_rows)
      assert(os.rename(path, old))
      run:signal "HUP"
      live.wait_for("new stream with rows", has_rows)
      sender:stop "TERM"
      local result = run:stop()
      local first, second = arrow.stream(program.read(old)), arrow.stream(program.read(path))
      assert.equal(first.rows, second.columns.id[1])
      assert.matches(", " .. (first.rows + second.rows .. " flows"):gsub("^(%d+)(%d%d%d) ", "%1,%2 ") .. ", ",
        result.err)
    end)

    it("goes on in the same file where it is still there", function()
      local path = program.temporary ".csv"
      local run = ports("--manifest", "-o", path)
      send(udp_file(1, 5))
      run:signal "HUP"
      live.wait_for_packets(run, 5)
      local result = run:stop()
      assert.same({ 0, 5 }, { result.status, count_rows(program.read(path)) })
      local about = json.decode(program.read(path .. ".manifest.json"))
      assert.same({ { { interface = "vb" } }, 5, 5 }, { about.inputs, about.run.packets, about.files[1].records })
    end)

    it("keeps the old file, with a warning, where no new one can be made", function()
      local folder = program.temporary()
      assert.equal(0, os.execute(("mkdir %s && chmod 755 %s"):format(folder, folder)))
      local path, old = folder .. "/flows.csv", program.temporary ".csv"
      local run = ports("-o", path, "--user=nobody")
      send(udp_file(1, 5))
      assert(os.rename(path, old))
      run:signal "HUP"
      live.wait_for("warning", function() return run:err():find "the old file stays in use" end)
      local result = run:stop()
      os.execute("rm -r " .. folder)
      assert.same({ 0, 5 }, { result.status, count_rows(program.read(old)) })
      assert.matches(('nfengine: warning: cannot write "%s": Permission denied: the old file stays in use\n')
        :format(path), result.err, 1, true)
    end)
  end)

  -- ---- limits ----

  describe("ends of itself", function()
    both_sizes("after the duration", function(meters)
      local began = live.now()
      local run = ports("--duration=1", meters)
      send(udp_file(1, 10))
      local result = run:finish(4)
      local took = live.now() - began
      assert(took > 0.95 and took < 2.5, ("after %.2f s"):format(took))
      assert.same({ 0, 10 }, { result.status, count_rows(result.out) })
    end)

    both_sizes("after so many packets", function(meters)
      local run = ports("--max-packets=70", meters)
      send(udp_file(1, 200))
      local result = run:finish(4)
      assert.same({ 0, 70 }, { result.status, count_rows(result.out) })
      assert.matches("^nfengine: 70 packets, 70 flows, ", result.err)
    end)

    both_sizes("after so many flows", function(meters)
      local run, sender = ports("--max-nflows=20", "--idle-timeout=0", meters), send_endlessly()
      local result = run:finish(4)
      sender:stop "TERM"
      assert.same({ 0, 20 }, { result.status, count_rows(result.out) })
    end)
  end)

  -- ---- interfaces that go away ----

  describe("an interface that goes away", function()
    for what, words in pairs { ["went down"] = "set vb down", ["was removed"] = "del vb" } do
      both_sizes("ends the run, with a warning: " .. what, function(meters)
        local run = ports(meters)
        send(udp_file(1, 50))
        link(words)
        local result = run:finish(5)
        assert.equal(1, result.status)
        assert.equal(50, count_rows(result.out))
        local seen = result.err:match "nfengine: warning: vb: the interface ([^\n]+)\n"
        if seen ~= "went down" then assert.equal(what, seen) end -- which it does before it is removed
        assert.matches("\nnfengine: 50 packets, 50 flows, [^\n]+\n$", result.err)
      end)
    end

    it("leaves the others their run, which ends with the last one", function()
      network.pair(cable.net, "va2", "vb2")
      local run = ports("-i", "vb2")
      send(udp_file(1, 10))
      link "set vb down"
      live.wait_for("warning", function() return run:err():find "vb: the interface went down" end)
      send(udp_file(11, 30), nil, "va2")
      live.wait_for_packets(run, 30)
      link "set vb2 down"
      local result = run:finish(5)
      assert.same({ 1, 30 }, { result.status, count_rows(result.out) })
      assert.matches("warning: vb2: the interface went down\n", result.err, 1, true)
    end)

    both_sizes("is waited for with --reconnect", function(meters)
      local run = ports("--reconnect", meters)
      send(udp_file(1, 20))
      live.wait_for_packets(run, 20)
      link "set vb down"
      local function all_say(words) -- each meter has its own look at the interface
        live.wait_for(words, function()
          return select(2, run:err():gsub(words, "")) == tonumber(meters:match "%d+")
        end)
      end
      all_say "went down, waiting for it to come back"
      link "set vb up"
      all_say "the interface is back"
      send(udp_file(21, 50))
      live.wait_for_packets(run, 50)
      local result = run:stop()
      assert.same({ 0, 50 }, { result.status, count_rows(result.out) })
    end)
  end)

  -- ---- outputs and plugins that fail ----

  describe("what fails on the way", function()
    it("a full disk ends the run, with whole rows only", function()
      local folder, reason = live.tmpfs(64)
      if not folder then return pending("needs to mount a tmpfs: " .. reason) end
      local path = folder .. "/flows.csv"
      local run, sender = ports("--idle-timeout=0", "-o", path), send_endlessly(20000)
      local result = run:finish()
      sender:stop "TERM"
      assert.equal(1, result.status)
      assert(count_rows(program.read(path)) > 3000)
      assert.matches(('nfengine: cannot write "%s": No space left on device\n'):format(path), result.err, 1, true)
    end)

    both_sizes("a reader that goes away ends the run", function(meters)
      local sender = send_endlessly()
      local began = live.now()
      local result = network.run(cable.net.b, ("{ timeout 20 %s; echo $? >&2; } | head -n 3"):format(live.command("-q",
        "flows", "-i", "vb", "--n-dissections=0", "--idle-timeout=0", "--columns=id", meters)))
      sender:stop "TERM"
      assert(live.now() - began < 5)
      assert.same({ "id\n0\n1\n", "0\n" }, { result.out, result.err })
    end)

    both_sizes("a collector that takes nothing loses nothing without a word", function(meters)
      network.check(cable.net.b, "ip link set lo up && sysctl -qw net.ipv4.tcp_wmem='4096 16384 65536'")
      network.enter(cable.net.b)
      local socket = collector.tcp(nil, 4096)
      network.leave()
      finally(function() socket:close() end)
      local sent = 60000
      local run = cable.quick("--idle-timeout=0", "--socket-buffer-size=524288", "-o", socket.url, meters)
      send(udp_file(1, sent))
      run:signal "INT"
      local result = run:finish(4)
      assert.equal(1, result.status)
      local function number(pattern) return tonumber((result.err:gsub(",(%d%d%d)", "%1"):match(pattern))) end
      local packets = number "nfengine: (%d+) packets,"
      assert.equal(sent, packets + (number "(%d+) dropped by the kernel" or 0)) -- none where the sender was slow
      assert.equal(packets, number "interrupted: %d+ of (%d+) records were not sent")
      assert.equal(packets, number " (%d+) flows?," + number "interrupted: (%d+) of")
    end)

    for _, meters in ipairs { 1, 4 } do
      it(("an error in a plugin ends the run (n_meters = %d)"):format(meters), function()
        local path = engine.script_file [[
          local nf = require "nfengine"
          local Fails = nf.plugin { name = "fails", on_init = function(_, packet)
            if packet.src_port == 777 then error("port 777", 0) end
          end }
          nf.streamer({ udps = Fails, n_dissections = 0, columns = { "id", "src_port" }, idle_timeout = 0 }):write()
        ]]
        local run = live.start(cable.net.b, "-i", "vb", "--n-meters=" .. meters, path)
        send(udp_file(1, 40))
        live.wait_for("rows", function() return run:out():find "\n39," end)
        send(udp_file(777))
        local result = run:finish(5)
        assert.equal(1, result.status)
        assert.equal(40, count_rows(result.out))
        assert.matches("nfengine: plugin fails: on_init: [^\n]*port 777\n$", result.err)
      end)
    end
  end)
end)
