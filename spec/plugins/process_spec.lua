-- plugins/process.lua: what it makes of /proc, on a folder made for it, and on a live run of a real program.

local cjson = require "cjson"
local live = require "spec.support.live"
local network = require "spec.support.network"
local program = require "spec.support.program"
local Process = require "plugins.process"

local proc

-- Describes a process as the kernel does.
local function add_process(pid, name, uid, command, cgroup)
  local folder = proc .. "/" .. pid
  assert(os.execute("mkdir -p " .. folder) == 0)
  program.write(("Name:\t%s\nUmask:\t0022\nPid:\t%d\nUid:\t%d\t0\t0\t0\n"):format(name, pid, uid), folder .. "/status")
  program.write(command, folder .. "/cmdline")
  program.write(cgroup, folder .. "/cgroup")
end

local function forget(pid) os.execute(("rm -rf %s/%d"):format(proc, pid)) end

-- What the plugin says of a flow of this process: "user|command|control group".
local function ask(plugin, pid, name)
  local flow = { system_process_pid = pid, system_process_name = name or "",
    udps = { process_user = "", process_command = "", process_cgroup = "" } }
  plugin:on_record(flow)
  return table.concat({ flow.udps.process_user, flow.udps.process_command, flow.udps.process_cgroup }, "|")
end

local function plugin_on(is_live)
  local plugin = setmetatable({ proc = proc }, { __index = Process })
  plugin:setup { is_live = is_live }
  return plugin
end

describe("process", function()
  before_each(function()
    proc = program.temporary()
    assert(os.execute("mkdir " .. proc) == 0)
  end)
  after_each(function() os.execute("rm -rf " .. proc) end)

  it("tells user, command line and control group", function()
    add_process(7, "curl", 0, "curl\0-s\0http://a b/\0", "0::/system.slice/x.service\n")
    assert.equal("root|curl -s http://a b/|/system.slice/x.service", ask(plugin_on(true), 7, "curl"))
  end)

  it("tells a user's number where there is no name", function()
    add_process(7, "curl", 4123456789, "curl\0", "0::/\n")
    assert.equal("4123456789|curl|/", ask(plugin_on(true), 7, "curl"))
  end)

  it("takes version 2's control group, or else the first", function()
    add_process(7, "a", 0, "a\0", "12:pids:/one\n1:name=systemd:/two\n0::/three\n")
    add_process(8, "a", 0, "a\0", "12:pids:/docker/0123\n1:name=systemd:/two\n")
    add_process(9, "a", 0, "a\0", "")
    assert.equal("root|a|/three", ask(plugin_on(true), 7, "a"))
    assert.equal("root|a|/docker/0123", ask(plugin_on(true), 8, "a"))
    assert.equal("root|a|", ask(plugin_on(true), 9, "a"))
  end)

  it("has no command line for the kernel's threads", function()
    add_process(2, "kthreadd", 0, "", "0::/\n")
    assert.equal("root||/", ask(plugin_on(true), 2, "kthreadd"))
  end)

  it("remembers a process that has ended since", function()
    local plugin = plugin_on(true)
    add_process(7, "curl", 0, "curl\0", "0::/\n")
    ask(plugin, 7, "curl")
    forget(7)
    assert.equal("root|curl|/", ask(plugin, 7, "curl"))
    assert.equal("||", ask(plugin, 8, "curl"))
  end)

  it("does not take one process for another that had its number", function()
    local plugin = plugin_on(true)
    add_process(7, "curl", 0, "curl\0", "0::/\n")
    assert.equal("||", ask(plugin, 7, "wget"))
    forget(7)
    assert.equal("||", ask(plugin, 7, "wget"))
  end)

  it("says nothing of flows without a process, nor of captures", function()
    add_process(7, "curl", 0, "curl\0", "0::/\n")
    assert.equal("||", ask(plugin_on(true), -1))
    assert.equal("||", ask(plugin_on(false), 7, "curl"))
  end)

  it("remembers so many", function()
    local plugin = plugin_on(true)
    add_process(7, "a", 0, "a\0", "0::/\n")
    for pid = 1, 10000 do plugin.known[pid], plugin.count = plugin.known[pid] or {}, plugin.count + 1 end
    ask(plugin, 7, "a")
    assert.equal(1, plugin.count)
    forget(7)
    assert.equal("root|a|/", ask(plugin, 7, "a"))
  end)

  describe("on an interface", function()
    after_each(function()
      live.cleanup()
      network.cleanup()
    end)

    it("names a real program, and switches the search for it on", function()
      local missing = network.missing "python3"
      if missing then return pending(missing) end
      local net = network.create "nfpp_"
      network.check(net.a, "ip addr add 192.0.2.1/24 dev va")
      network.check(net.b, "ip addr add 192.0.2.2/24 dev vb")
      local run = live.start(net.b, "flows", "-i", "vb", "--plugin=process", "--n-dissections=0", "--format=jsonl")
      local server = live.spawn(net.b, "python3 -m http.server --bind 192.0.2.2 8123")
      live.wait_for("port 8123", function() return network.run(net.b, "ss -Hlnt 'sport = :8123'").out ~= "" end)
      network.check(net.a, "python3 -c 'import socket, time; s = socket.create_connection((\"192.0.2.2\", 8123)); "
        .. "time.sleep(0.5); s.send(b\"GET / HTTP/1.0\\r\\n\\r\\n\"); s.recv(9)'")
      local result = run:stop()
      assert.equal(0, result.status, result.err)
      local found
      for line in result.out:gmatch "[^\n]+" do
        local flow = cjson.decode(line)
        if flow.dst_port == 8123 then found = flow end
      end
      assert.same({ server.pid, "root" }, { found.system_process_pid, found["udps.process_user"] })
      assert.matches("python3 %-m http.server %-%-bind 192.0.2.2 8123$", found["udps.process_command"])
      assert.matches("^/", found["udps.process_cgroup"])
    end)
  end)
end)
