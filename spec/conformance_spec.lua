-- Records against NFStream's own for every capture of the reference data, in eight configurations and with each of the
-- plugins that come with NFStream (but JA4, which is compared in its own spec); and one capture's flows against
-- themselves in a hundred other wrappings. Both need the reference data ($NFENGINE_DATA, or ../shared/data); the first
-- also its comparison tool and Python.
--
-- Columns of plugins are typed here, so a Python list of NFStream's is compared as its elements parted by commas, and
-- None in a column of numbers as 0, in the columns that are named so below; everything else as it stands.
--
-- Every difference that is meant has a line in spec/conformance/exceptions.tsv, and every line there must be needed.

local data = require "spec.support.data"
local program = require "spec.support.program"

local tool = data.folder .. "/../tools/conformance.py"
local EXCEPTIONS = "spec/conformance/exceptions.tsv"

local quote = program.quote

local function is_file(path)
  local file = io.open(path)
  if file then file:close() end
  return file ~= nil
end

local function lines_of(text)
  local lines = {}
  for line in text:gmatch "[^\n]+" do lines[#lines + 1] = line end
  return lines
end

local function cells_of(line)
  local cells = {}
  for cell in (line .. "\t"):gmatch "([^\t]*)\t" do cells[#cells + 1] = cell end
  return cells
end

-- Why there is nothing to compare with, or nil.
local function lacking()
  if not is_file(data.folder .. "/golden/STATUS.tsv") then return data.absent end
  if not is_file(tool) then return "no comparison tool at " .. tool end
  if program.shell("command -v python3 >/dev/null 2>&1").status ~= 0 then return "no python3" end
end

describe("records equal NFStream's", function()
  local CONFIGURATIONS = {
    { "default42", "" },
    { "stat", "--statistical-analysis --splt-analysis=20 --n-dissections=0" },
    { "acct1", "--statistical-analysis --n-dissections=0 --accounting-mode=1" },
    { "acct2", "--statistical-analysis --n-dissections=0 --accounting-mode=2" },
    { "acct3", "--statistical-analysis --n-dissections=0 --accounting-mode=3" },
    { "notunnel", "--no-decode-tunnels --statistical-analysis --n-dissections=0" },
    { "timeouts", "--idle-timeout=5 --active-timeout=10 --statistical-analysis --n-dissections=0" },
    { "bpf", '--bpf-filter="tcp port 443" --n-dissections=0' },
    { "plugin_splt", "--plugin splt -a splt.sequence_length=20 -a splt.accounting_mode=1 --n-dissections=0" },
    { "plugin_slicer", "--plugin flow_slicer -a flow_slicer.limit=4 --n-dissections=0" },
    { "plugin_mdns", "--plugin mdns --n-dissections=0", "udps.mdns_ptr=list" },
    { "plugin_dhcp", "--plugin dhcp --n-dissections=0", "udps.dhcp_options=list udps.dhcp_57=number" },
    { "plugin_wavelet", "--plugin wavelet -a wavelet.levels=5 -a wavelet.active_timeout=1800 --n-dissections=0" },
  }

  local compared = {} -- configuration -> { { capture, result }, ... } as the tool reports them

  -- The tool's report: a header, then capture, configuration, result and more.
  local function results(report)
    local rows = {}
    for i, line in ipairs(lines_of(report)) do
      local cells = cells_of(line)
      if i > 1 then rows[#rows + 1] = { capture = cells[1], result = cells[3] } end
    end
    return rows
  end

  local folders = {}

  -- NFStream's records with the named columns as they are typed here, in a folder with the status list beside them.
  local function typed_records(path, columns)
    local folder = program.temporary()
    folders[#folders + 1] = folder
    local result = program.shell(("mkdir %s && cp %s %s && python3 spec/conformance/typed.py %s %s %s"):format(folder,
      quote(data.folder .. "/golden/STATUS.tsv"), folder, quote(path), folder .. "/records.csv.gz", columns))
    assert(result.status == 0, result.err)
    return folder .. "/records.csv.gz"
  end

  -- Returns the tool's status and its lines on what nobody has listed, the summary last.
  local function compare(configuration, arguments, typed_columns)
    local report = program.temporary ".tsv"
    local run = ("%s flows -q --no-defragment %s -o {out} {capture}"):format(quote(program.path), arguments)
    local records = ("%s/golden/%s.csv.gz"):format(data.folder, configuration)
    if typed_columns then records = typed_records(records, typed_columns) end
    local command = { "python3", quote(tool), "--golden", quote(records), "--captures", quote(data.folder),
      "--config", configuration, "--run", quote(run), "--ok-exit 0,1 --jobs 2 --quiet", "--report", quote(report) }
    if is_file(EXCEPTIONS) then command[#command + 1] = "--exceptions " .. EXCEPTIONS end
    local result = program.shell(table.concat(command, " "))
    local failures = {}
    for _, line in ipairs(lines_of(result.out .. result.err)) do
      if not line:find("[listed", 1, true) then failures[#failures + 1] = line end
    end
    if result.status <= 1 then compared[configuration] = results(program.read(report) or "") end
    return result.status, failures
  end

  teardown(function()
    for _, folder in ipairs(folders) do program.shell("rm -r " .. folder) end
    program.remove_temporaries()
  end)

  for _, configuration in ipairs(CONFIGURATIONS) do
    it("with " .. configuration[1], function()
      if lacking() then return pending(lacking()) end
      local status, failures = compare(unpack(configuration))
      if status == 0 then return end
      local shown = table.concat(failures, "\n", 1, math.min(#failures, 40))
      error(("%s\n%s"):format(shown, failures[#failures] or "the tool said nothing"), 0)
    end)
  end

  -- A shell-like pattern as a Lua pattern.
  local function glob(text)
    text = text:gsub("[%^%$%(%)%%%.%+%-]", "%%%0"):gsub("%*", ".*"):gsub("%?", "."):gsub("%[!", "[^")
    return "^" .. text .. "$"
  end

  local function exceptions()
    local list = {}
    for _, line in ipairs(lines_of(program.read(EXCEPTIONS) or "")) do
      local cells = cells_of(line)
      if not line:match "^#" then
        list[#list + 1] = { line = line, capture = glob(cells[1]), configuration = glob(cells[2]), captures = {} }
      end
    end
    return list
  end

  -- The first line that matches counts, as it does for the tool.
  local function excused(list, capture, configuration)
    for _, exception in ipairs(list) do
      if capture:match(exception.capture) and configuration:match(exception.configuration) then return exception end
    end
  end

  it("but for listed exceptions, each of which is still one", function()
    if lacking() then return pending(lacking()) end
    local list, idle = exceptions(), {}
    for _, configuration in ipairs(CONFIGURATIONS) do
      local name = configuration[1]
      if not compared[name] then return pending("not compared: " .. name) end
      for _, row in ipairs(compared[name]) do
        local exception = excused(list, row.capture, name)
        if exception then
          exception.captures[row.capture] = exception.captures[row.capture] or row.result ~= "exact"
        end
      end
    end
    for _, exception in ipairs(list) do
      if not next(exception.captures) then idle[#idle + 1] = "matches nothing: " .. exception.line end
      for capture, differs in pairs(exception.captures) do
        if not differs then idle[#idle + 1] = capture .. " no longer differs: " .. exception.line end
      end
    end
    assert.equal("", table.concat(idle, "\n"))
  end)
end)

describe("a capture's flows stay the same", function()
  local folder = data.folder .. "/captures/derived"

  local COLUMNS = { "src_ip", "src_port", "dst_ip", "dst_port", "protocol", "bidirectional_first_seen_ms",
    "bidirectional_last_seen_ms", "src2dst_packets", "dst2src_packets", "src2dst_bytes", "dst2src_bytes" }

  -- How a wrapping's flows may differ from the base's; one that is not named here may not. Compared are the columns
  -- above, bytes being those of the payload: MAC addresses, VLAN ids and the link layer's bytes differ as they like.
  --
  --   filter   only the base's packets of this libpcap filter are in it
  --   without  columns that cannot be compared, by a part of their names
  --   times    every packet is there so often
  --   outer    the wrapping is not opened: one flow, from here to there, of all its packets
  --   none     the wrapping is not opened and is not IP: no flow at all
  --   pairs    not opened, one flow of this protocol for every pair of addresses
  local OUTER = "198.18.0.1 198.18.0.2"
  local RULES = {
    link_ipv4 = { filter = "ip" }, link_ipv6 = { filter = "ip6" },
    v4_options = { filter = "ip" },
    v6_atomic_frag = { filter = "ip6" }, v6_hbh = { filter = "ip6" }, v6_hbh_dst_rt = { filter = "ip6" },
    eth_8023_snap = { filter = "less 1463" }, -- it leaves out what may not fit a frame with its length in the header
    eth_mpls_pw_cw = { none = true }, eth_mpls_pw_nocw = { none = true }, eth_pbb_macinmac = { none = true },
    ng_spb = { without = "seen" }, -- its packets have no times
    dup_every_packet = { times = 2 },
    -- A packet in fragments is several packets, and their bytes together are its.
    frag_in_order = { without = "packets" }, frag_reversed = { without = "packets" },
    -- Ports must be there: 34 bytes hold none, 54 none behind IPv6, 60 not the TCP header's length behind IPv6.
    snap_34 = { filter = "icmp" }, snap_54 = { filter = "ip" }, snap_60 = { without = "bytes" },
    -- IP in IP is always opened; these hold one family each.
    tun_4in6 = { filter = "ip" }, tun_4in6_dstopt = { filter = "ip" }, tun_ipip_4in4 = { filter = "ip" },
    tun_6in4 = { filter = "ip6" }, tun_6in6 = { filter = "ip6" },
    tun_ah_transport4 = { filter = "ip", pairs = 51 }, tun_ah_transport6 = { filter = "ip6", pairs = 51 },
    tun_ah_tunnel = { outer = OUTER }, tun_esp_null = { outer = OUTER },
    tun_erspan1 = { outer = OUTER }, tun_erspan2 = { outer = OUTER }, tun_erspan3 = { outer = OUTER },
    tun_geneve_opts_ip = { outer = OUTER }, tun_geneve_teb = { outer = OUTER },
    tun_gre = { outer = OUTER }, tun_gre6 = { outer = "2001:db8::1 2001:db8::2" },
    tun_gre_csum_key_seq = { outer = OUTER }, tun_gre_key_seq = { outer = OUTER }, tun_gre_mpls = { outer = OUTER },
    tun_gre_teb = { outer = OUTER }, tun_nvgre = { outer = OUTER }, tun_pptp_gre_ppp = { outer = OUTER },
    tun_l2tpv2_ppp = { outer = OUTER }, tun_mpls_udp = { outer = OUTER },
    tun_teredo = { filter = "ip6", outer = OUTER }, tun_teredo_origin = { filter = "ip6", outer = OUTER },
    tun_vxlan = { outer = OUTER }, tun_vxlan_gpe = { outer = OUTER }, tun_vxlan_vlan = { outer = OUTER },
    tun_vxlan_in_gre_in_mpls = { outer = OUTER },
  }

  -- Flows as tables of the columns.
  local function flows_of(name, filter)
    local result = program.run("flows", "-q", "--n-dissections=0", "--accounting-mode=3",
      "--columns=" .. table.concat(COLUMNS, ","), filter and "--bpf-filter=" .. filter or "--bpf-filter=",
      folder .. "/" .. name)
    assert.equal(0, result.status, result.err)
    local flows = {}
    for line in result.out:gmatch "[^\n]+" do
      local flow, i = {}, 0
      for cell in line:gmatch "[^,]+" do
        i = i + 1
        flow[COLUMNS[i]] = tonumber(cell) or cell:gsub('"', "")
      end
      flows[#flows + 1] = flow
    end
    table.remove(flows, 1) -- the header line
    return flows
  end

  local bases = {}

  local function base_flows(filter)
    local key = filter or ""
    bases[key] = bases[key] or flows_of("00_base.pcap", filter)
    return bases[key]
  end

  local function packets_of(flows)
    local sum = 0
    for _, flow in ipairs(flows) do sum = sum + flow.src2dst_packets + flow.dst2src_packets end
    return sum
  end

  -- Flows as sorted lines of what a rule compares, counts multiplied.
  local function listing(flows, rule, times)
    local rows = {}
    for i, flow in ipairs(flows) do
      local cells = {}
      for _, column in ipairs(COLUMNS) do
        local value = flow[column]
        if column:match "packets$" or column:match "bytes$" then value = value * times end
        if not (rule.without and column:find(rule.without)) then cells[#cells + 1] = ("%s"):format(value) end
      end
      rows[i] = table.concat(cells, " ")
    end
    table.sort(rows)
    return table.concat(rows, "\n")
  end

  local function pairs_of(flows)
    local count, seen = 0, {}
    for _, flow in ipairs(flows) do
      local a, b = flow.src_ip, flow.dst_ip
      local key = a < b and a .. b or b .. a
      if not seen[key] then count = count + 1 end
      seen[key] = true
    end
    return count
  end

  local function check(name, rule)
    local flows, base = flows_of(name), base_flows(rule.filter)
    assert.is_true(#base > 0)
    if rule.none then return assert.equal(0, #flows) end
    if not rule.outer and not rule.pairs then
      return assert.equal(listing(base, rule, rule.times or 1), listing(flows, rule, 1))
    end
    assert.equal(packets_of(base), packets_of(flows))
    assert.equal(rule.outer and 1 or pairs_of(base), #flows)
    for _, flow in ipairs(flows) do
      if rule.outer then assert.equal(rule.outer, flow.src_ip .. " " .. flow.dst_ip) end
      if rule.pairs then assert.equal(rule.pairs, flow.protocol) end
    end
  end

  local names = program.lines(("ls %s 2>/dev/null"):format(quote(folder)))

  for _, name in ipairs(names) do
    local stem = name:match "^(.*)%.pcap"
    if stem then
      it("in " .. name, function() check(name, RULES[stem] or {}) end)
    end
  end

  it("in every wrapping there is a rule for", function()
    if #names == 0 then return pending("no derived captures at " .. folder) end
    local present = {}
    for _, name in ipairs(names) do present[name:match "^[^.]*"] = true end
    for stem in pairs(RULES) do assert.is_true(present[stem], "no capture for the rule " .. stem) end
  end)
end)
