-- Live capture of real programs: curl, ssh, dig and udhcpc in one network namespace talk to nginx, sshd and dnsmasq in
-- another. The program listens at both ends of the cable, so each flow is seen with either process at its local end.

local cjson = require "cjson"
local live = require "spec.support.live"
local network = require "spec.support.network"
local program = require "spec.support.program"

local SERVER = { [4] = "192.0.2.2", [6] = "2001:db8::2" }

describe("live capture of real programs:", function()
  local net, folder

  local function write(name, text) return program.write(text, folder .. "/" .. name) end

  local function has_addresses()
    for _, end_ in ipairs { { net.a, "va", 1 }, { net.b, "vb", 2 } } do
      network.check(end_[1], ("sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.%s.disable_ipv6=0 && "
        .. "ip link set lo up && ip addr add 192.0.2.%d/24 dev %s && ip addr add 2001:db8::%d/64 dev %s nodad")
        :format(end_[2], end_[3], end_[2], end_[3], end_[2]))
    end
  end

  before_each(function()
    net = nil
    if network.missing("sysctl", "setsid") then return end
    net = network.create "nflp_"
    folder = os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir -m 755 " .. folder) == 0)
  end)

  after_each(function()
    live.cleanup()
    network.cleanup()
    if folder then os.execute("rm -rf " .. folder) end
  end)

  -- A test that needs these tools, named in one text.
  local function with_tools(tools, name, test)
    local list = { "sysctl", "setsid" }
    for tool in tools:gmatch "%S+" do list[#list + 1] = tool end
    it(name, function()
      local missing = network.missing(unpack(list))
      if missing then return pending(missing) end
      test()
    end)
  end

  -- Listens at both ends.
  local function listen(...)
    local words = { "--format=jsonl", "--system-visibility-mode=1", "--idle-timeout=60", ... }
    return { client = live.start(net.a, "flows", "-i", "va", unpack(words)),
      server = live.start(net.b, "flows", "-i", "vb", unpack(words)) }
  end

  -- Ends both runs; each one's flows whose field has this value.
  local function flows_to(runs, field, value)
    local flows = {}
    for side, run in pairs(runs) do
      local result = run:stop()
      assert.equal(0, result.status, result.err)
      flows[side] = {}
      for line in result.out:gmatch "[^\n]+" do
        local flow = cjson.decode(line)
        if flow[field] == value then table.insert(flows[side], flow) end
      end
    end
    return flows
  end

  -- The only flow of this application, IP version, and, if given, server name.
  local function only(flows, wanted)
    local found = {}
    for _, flow in ipairs(flows) do
      local is_it = flow.application_name == wanted[1] and flow.ip_version == wanted[2]
      if is_it and flow.requested_server_name == (wanted[3] or flow.requested_server_name) then
        found[#found + 1] = flow
      end
    end
    assert.equal(1, #found, "flows of " .. table.concat(wanted, " "))
    return found[1]
  end

  local function wait_for_port(port, kind)
    live.wait_for("port " .. port, function()
      return network.run(net.b, ("ss -Hln%s 'sport = :%d'"):format(kind, port)).out ~= ""
    end)
  end

  -- ---- servers ----

  local function start_nginx()
    network.check(net.b, ("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
      .. "-subj /CN=www.example.com -keyout %s/key -out %s/cert"):format(folder, folder))
    write("file", ("x"):rep(300000))
    local path = write("nginx.conf", ([[
daemon off; pid FOLDER/pid; error_log FOLDER/log; user root; worker_processes 1;
events { worker_connections 64; }
http {
  access_log off;
  server {
    listen 443 ssl; listen [::]:443 ssl; root FOLDER;
    limit_rate 250k; ssl_certificate FOLDER/cert; ssl_certificate_key FOLDER/key;
  }
}
]]):gsub("FOLDER", folder))
    local server = live.spawn(net.b, ("nginx -e %s/log -c %s"):format(folder, path))
    wait_for_port(443, "t")
    return server
  end

  local function start_sshd()
    network.check(net.b, "ssh-keygen -q -t ed25519 -N '' -f " .. folder .. "/host_key && mkdir -p /run/sshd")
    local path = write("sshd_config", ("HostKey %s/host_key\nPidFile none\nUsePAM no\nAuthorizedKeysFile none\n")
      :format(folder))
    local server = live.spawn(net.b, ("$(command -v sshd) -D -e -f %s"):format(path))
    wait_for_port(22, "t")
    return server
  end

  local function start_dnsmasq(words)
    local server = live.spawn(net.b, "dnsmasq -k -C /dev/null --no-resolv --no-hosts --pid-file= --user=root "
      .. "--interface=vb --bind-interfaces --except-interface=lo " .. words)
    wait_for_port(words:find "dhcp" and 67 or 53, "u")
    return server
  end

  -- ---- the tests ----

  with_tools("nginx openssl curl ss", "curl to nginx, TLS", function()
    has_addresses()
    start_nginx()
    local runs, clients = listen(), {}
    for version, address in pairs(SERVER) do
      clients[version] = live.spawn(net.a, ("curl -sSk -o /dev/null --resolve www.example.com:443:%s "
        .. "https://www.example.com/file"):format(version == 6 and "[" .. address .. "]" or address))
    end
    for _, client in pairs(clients) do assert.equal(0, client:finish().status, client:err()) end
    local workers = network.check(net.b, ("pgrep -P $(cat %s/pid)"):format(folder)).out
    local flows = flows_to(runs, "dst_port", 443)
    for version in pairs(SERVER) do
      local wanted = { "TLS", version, "www.example.com" }
      local client, server = only(flows.client, wanted), only(flows.server, wanted)
      assert.same({ "curl", clients[version].pid }, { client.system_process_name, client.system_process_pid })
      assert.equal("nginx", server.system_process_name)
      assert.equal(workers, server.system_process_pid .. "\n")
    end
  end)

  with_tools("sshd ssh ssh-keygen ss", "ssh to sshd", function()
    has_addresses()
    local sshd = start_sshd()
    local runs, clients = listen "--system-visibility-poll-ms=5", {}
    for version, address in pairs(SERVER) do
      clients[version] = live.spawn(net.a, "ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=no "
        .. "-o UserKnownHostsFile=/dev/null -o PubkeyAuthentication=no nobody@" .. address)
    end
    for _, client in pairs(clients) do assert.matches("Permission denied", (client:finish() and client:err())) end
    local flows = flows_to(runs, "dst_port", 22)
    for version in pairs(SERVER) do
      local wanted = { "SSH", version }
      local client, server = only(flows.client, wanted), only(flows.server, wanted)
      assert.same({ "ssh", clients[version].pid }, { client.system_process_name, client.system_process_pid })
      assert.equal("sshd", server.system_process_name)
      assert(server.system_process_pid >= sshd.pid)
    end
  end)

  with_tools("dnsmasq dig ss", "dig to dnsmasq", function()
    has_addresses()
    -- Nobody is at 192.0.2.9, so what is forwarded there keeps its asker waiting, long enough to be seen.
    local dnsmasq = start_dnsmasq "--address=/example.com/192.0.2.80 --server=/example.net/192.0.2.9"
    local runs, waiting = listen(), {}
    for version, address in pairs(SERVER) do
      local result = network.check(net.a, "dig +short www.example.com @" .. address)
      assert.equal("192.0.2.80\n", result.out)
      waiting[version] = live.spawn(net.a, "dig +tries=1 +time=1 www.example.net @" .. address)
    end
    for _, client in pairs(waiting) do client:finish() end
    local flows = flows_to(runs, "dst_port", 53)
    for version in pairs(SERVER) do
      local answered = { "DNS", version, "www.example.com" }
      local asked = { "DNS", version, "www.example.net" }
      for _, flow in ipairs(flows.server) do
        assert.same({ "dnsmasq", dnsmasq.pid }, { flow.system_process_name, flow.system_process_pid })
      end
      for _, side in ipairs { "client", "server" } do
        only(flows[side], answered)
        only(flows[side], asked)
      end
      local flow = only(flows.client, asked)
      assert.same({ "dig", waiting[version].pid }, { flow.system_process_name, flow.system_process_pid })
    end
  end)

  with_tools("dnsmasq busybox ss", "udhcpc to dnsmasq, DHCP", function()
    network.check(net.b, "ip addr add 192.0.2.2/24 dev vb")
    local dnsmasq = start_dnsmasq "--port=0 --dhcp-range=192.0.2.100,192.0.2.110,1h --dhcp-leasefile=/dev/null"
    local runs = listen()
    network.check(net.a, "busybox udhcpc -i va -n -q -f -t 5 -T 1 -s /bin/true")
    local flows = flows_to(runs, "application_name", "DHCP")
    for _, side in ipairs { "client", "server" } do
      local seen = {}
      for _, flow in ipairs(flows[side]) do
        seen[#seen + 1] = ("%s to %s: %s"):format(flow.src_ip, flow.dst_ip, flow.system_process_name)
        assert.equal(flow.system_process_name ~= "" and dnsmasq.pid or -1, flow.system_process_pid)
      end
      table.sort(seen)
      assert.equal("0.0.0.0 to 255.255.255.255: ", seen[1])
      assert.matches("^192%.0%.2%.2 to 192%.0%.2%.1%d%d: " .. (side == "server" and "dnsmasq" or "") .. "$", seen[2])
      assert.equal(2, #seen)
    end
  end)
end)
