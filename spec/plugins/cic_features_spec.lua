-- plugins/cic_features.lua: flows built packet by packet. spec/plugins/cicflowmeter_spec.lua has one flow with every
-- column.

local engine = require "spec.support.engine"
local meter = require "spec.support.meter"
local P = require "nfengine.testing.packet"
local CicFeatures = require "plugins.cic_features"

-- A segment of 10.0.0.1:1000 to 10.0.0.2:2000, and of the way back.
local function to(at, flags, size, fields)
  local given = { src_port = 1000, dst_port = 2000, flags = flags }
  for name, value in pairs(fields or {}) do given[name] = value end
  return meter.frame(at, P.eth {} .. P.ipv4 {} .. P.tcp(given) .. ("x"):rep(size or 0))
end

local function back(at, flags, size, fields)
  local given = { src_port = 2000, dst_port = 1000, flags = flags }
  for name, value in pairs(fields or {}) do given[name] = value end
  return meter.frame(at, P.eth {} .. P.ipv4 { src = "10.0.0.2", dst = "10.0.0.1" } .. P.tcp(given)
    .. ("x"):rep(size or 0))
end

local function only_flow(packets, parameters)
  local given = { udps = CicFeatures, packets = packets, time_unit = "us" }
  for name, value in pairs(parameters or {}) do given[name] = value end
  local flows = engine.flows(given)
  assert.equal(1, #flows)
  return flows[1]
end

-- Values of a flow's columns without their "cic_".
local function pick(flow, names)
  local values = {}
  for name in names:gmatch "%S+" do values[#values + 1] = flow.udps["cic_" .. name] end
  return values
end

local function picked(packets, names, parameters) return pick(only_flow(packets, parameters), names) end

local LENGTHS = "%s_packet_length_max %s_packet_length_min %s_packet_length_mean %s_packet_length_std"
local IATS = "%s_iat_mean %s_iat_std %s_iat_max %s_iat_min"
local function of(names, way) return (names:gsub("%%s", way)) end

describe("cic_features", function()
  after_each(engine.cleanup)

  it("has numbers in every column of a flow of one packet", function()
    local flow = only_flow { to(0, "S", 0, { window = 5 }) }
    for _, column in ipairs(CicFeatures.columns) do
      local value = flow.udps[column.name]
      assert.is_true(value == value and math.abs(value) < math.huge, column.name)
    end
    assert.same({ 0, 1, 0, -1, -1, 0, 0, 0, 0, 0 }, pick(flow, "flow_duration total_fwd_packet total_bwd_packets "
      .. "flow_bytes_s flow_packets_s fwd_packets_s bwd_packets_s fwd_iat_total bwd_iat_total down_up_ratio"))
    for _, way in ipairs { "flow", "fwd", "bwd" } do assert.same({ 0, 0, 0, 0 }, pick(flow, of(IATS, way))) end
    assert.same({ 20, 20, 0, 0, 5, 0 }, pick(flow, "fwd_header_length fwd_seg_size_min bwd_header_length "
      .. "bwd_seg_size_min fwd_init_win_bytes bwd_init_win_bytes"))
    assert.same({ 1, 0, 0, 0 }, pick(flow, "subflow_fwd_packets subflow_fwd_bytes subflow_bwd_packets "
      .. "subflow_bwd_bytes"))
  end)

  it("has them too where all packets go one way, or come at once", function()
    local flow = only_flow { to(0, "PA", 10), to(0, "PA", 30) }
    assert.same({ 30, 10, 20, math.sqrt(200) }, pick(flow, of(LENGTHS, "fwd")))
    assert.same({ 30, 10, 20, math.sqrt(200), 200 }, pick(flow, "packet_length_max packet_length_min "
      .. "packet_length_mean packet_length_std packet_length_variance"))
    assert.same({ 0, 0, 0, 0 }, pick(flow, of(LENGTHS, "bwd")))
    assert.same({ -1, -1, 0, 0 }, pick(flow, "flow_bytes_s flow_packets_s fwd_packets_s fwd_iat_total"))
  end)

  it("joins the lengths of both directions", function()
    -- 0 and 100 forward, 10, 20 and 30 backward: sum 160, mean 32, squares 11400 - 5 * 32^2 = 6280.
    local packets = { to(0, "A"), back(1, "PA", 10), back(2, "PA", 20), to(3, "PA", 100), back(4, "PA", 30) }
    local flow = only_flow(packets)
    assert.same({ 100, 0, 50, math.sqrt(5000) }, pick(flow, of(LENGTHS, "fwd")))
    assert.same({ 30, 10, 20, 10 }, pick(flow, of(LENGTHS, "bwd")))
    assert.same({ 100, 0, 32, 6280 / 4, math.sqrt(6280 / 4), 32, 50, 20 }, pick(flow, "packet_length_max "
      .. "packet_length_min packet_length_mean packet_length_variance packet_length_std average_packet_size "
      .. "fwd_segment_size_avg bwd_segment_size_avg"))
    -- Headers of the link and of IP do not count, whatever the accounting mode.
    for mode = 1, 3 do
      assert.same(pick(flow, "total_length_of_fwd_packet flow_bytes_s"),
        picked(packets, "total_length_of_fwd_packet flow_bytes_s", { accounting_mode = mode }))
    end
  end)

  it("takes times between packets of the flow and of each direction", function()
    -- Forward at 0, 100, 300 ms, backward at 250 and 1250: gaps 100, 150, 50, 950; 100, 200; 1000.
    local packets = { to(0, "A"), to(100, "A"), back(250, "A"), to(300, "A"), back(1250, "A") }
    for _, unit in ipairs { "ms", "us", "ns" } do
      local flow = only_flow(packets, { time_unit = unit })
      assert.same({ 1250000, 312500, 950000, 50000 }, pick(flow, "flow_duration flow_iat_mean flow_iat_max "
        .. "flow_iat_min"))
      -- Squares: 100^2 + 150^2 + 50^2 + 950^2 - 1250^2 / 4 = 546875.
      assert.is_true(math.abs(flow.udps.cic_flow_iat_std / (1000 * math.sqrt(546875 / 3)) - 1) < 1e-15)
      assert.same({ 300000, 150000, 200000, 100000 }, pick(flow, "fwd_iat_total fwd_iat_mean fwd_iat_max fwd_iat_min"))
      assert.equal(1000 * math.sqrt(5000), flow.udps.cic_fwd_iat_std)
      assert.same({ 1000000, 1000000, 0, 1000000, 1000000 }, pick(flow, "bwd_iat_total " .. of(IATS, "bwd")))
      assert.same({ 4, 3 / 1.25, 2 / 1.25, 0 }, pick(flow, "flow_packets_s fwd_packets_s bwd_packets_s flow_bytes_s"))
    end
  end)

  it("has times as exact as the run's unit", function()
    local packets = { to(0, "A"), to(0.0015, "A"), to(2.0019, "A") }
    assert.same({ 2000 }, picked(packets, "flow_duration", { time_unit = "ms" }))
    assert.same({ 2001, 1 }, picked(packets, "flow_duration flow_iat_min", { time_unit = "us" }))
    assert.same({ 2001.9, 1.5 }, picked(packets, "flow_duration flow_iat_min", { time_unit = "ns" }))
  end)

  it("counts flags, PSH, URG and RST of each direction too", function()
    local packets = { to(0, "SEC"), back(1, "SAE"), to(2, "PUA", 1), back(3, "PA", 1), to(4, "PFA", 1), back(5, "R") }
    assert.same({ 1, 2, 1, 3, 4, 1, 1, 2 }, picked(packets, "fin_flag_count syn_flag_count rst_flag_count "
      .. "psh_flag_count ack_flag_count urg_flag_count cwr_flag_count ece_flag_count"))
    assert.same({ 2, 1, 1, 0, 0, 1 }, picked(packets, "fwd_psh_flags bwd_psh_flags fwd_urg_flags bwd_urg_flags "
      .. "fwd_rst_flags bwd_rst_flags"))
  end)

  it("adds up headers, with options, and has the shortest of each direction", function()
    local options = ("\1"):rep(12)
    local packets = { to(0, "S", 0, { options = options }), back(1, "SA", 0, { options = options }),
      to(2, "A"), back(3, "PA", 9, { options = options }), to(4, "A", 0, { options = options }) }
    assert.same({ 84, 20, 64, 32 }, picked(packets, "fwd_header_length fwd_seg_size_min bwd_header_length "
      .. "bwd_seg_size_min"))
  end)

  it("has the window of the first segment of each direction, 0 without one", function()
    local names = "fwd_init_win_bytes bwd_init_win_bytes"
    assert.same({ 65535, 0 }, picked({ to(0, "S", 0, { window = 65535 }), back(1, "SA", 0, { window = 0 }),
      to(2, "A", 0, { window = 7 }), back(3, "A", 0, { window = 8 }) }, names))
    assert.same({ 9, 0 }, picked({ to(0, "A", 5, { window = 9 }) }, names)) -- in the middle of a connection
    assert.same({ 0, 0 }, picked({ meter.udp(0, 1000), meter.back(1, 1000) }, names))
  end)

  it("counts subflows by pauses of more than a second", function()
    local names = "subflow_fwd_packets subflow_fwd_bytes subflow_bwd_packets subflow_bwd_bytes"
    assert.same({ 2, 30, 1, 5 }, picked({ to(0, "PA", 10), back(1000, "PA", 5), to(2000, "PA", 20) }, names))
    assert.same({ 1, 15, 0.5, 2.5 }, picked({ to(0, "PA", 10), back(1000.001, "PA", 5), to(2000, "PA", 20) }, names))
  end)

  it("counts segments that bring nothing new, across the wrap of sequence numbers", function()
    local names = "fwd_tcp_retrans_count bwd_tcp_retrans_count total_tcp_retrans_count"
    local top = 2 ^ 32 - 5
    assert.same({ 2, 0, 2 }, picked({ to(0, "PA", 10, { seq = top }), to(1, "PA", 10, { seq = 5 }),
      to(2, "PA", 10, { seq = top }), to(3, "PA", 10, { seq = 5 }), to(4, "PA", 10, { seq = 15 }) }, names))
    assert.same({ 2, 1, 3 }, picked({ to(0, "S", 0, { seq = 7 }), to(1000, "S", 0, { seq = 7 }),
      back(1001, "SA", 0, { seq = 90 }), back(1002, "SA", 0, { seq = 90 }), to(1003, "A", 0, { seq = 8 }),
      to(1004, "FA", 0, { seq = 8 }), to(1005, "FA", 0, { seq = 8 }) }, names))
    -- Acknowledgements alone, keep-alives without data, and what is new only in part.
    assert.same({ 0, 0, 0 }, picked({ to(0, "A", 0, { seq = 100 }), to(1, "A", 0, { seq = 100 }),
      to(2, "PA", 10, { seq = 100 }), to(3, "A", 0, { seq = 109 }), to(4, "PA", 10, { seq = 105 }) }, names))
  end)

  it("goes on where headers were cut", function()
    local function cut(packet, bytes)
      packet.size, packet.bytes = #packet.bytes, packet.bytes:sub(1, 14 + 20 + bytes)
      return packet
    end
    local fields = { seq = 50, window = 77 }
    local packets = { cut(to(0, "S", 0, fields), 8), cut(to(1, "S", 0, fields), 8) } -- up to the sequence number
    assert.same({ 2, 0, 40, 0, 0 }, picked(packets, "total_fwd_packet syn_flag_count fwd_header_length "
      .. "fwd_init_win_bytes fwd_tcp_retrans_count"))
    packets = { cut(to(0, "PA", 9, fields), 6), cut(to(1, "PA", 9, fields), 6) } -- amid the sequence number
    assert.same({ 2, 0 }, picked(packets, "fwd_act_data_pkts fwd_tcp_retrans_count"))
    packets = { cut(to(0, "PA", 9, fields), 20), cut(to(1, "PA", 9, fields), 20) }
    assert.same({ 18, 77, 1 }, picked(packets, "total_length_of_fwd_packet fwd_init_win_bytes fwd_tcp_retrans_count"))
  end)

  it("does not take the padding of short frames for payload", function()
    local padded = to(0, "A")
    padded.bytes = padded.bytes .. ("\0"):rep(6)
    assert.same({ 0, 0 }, picked({ padded }, "total_length_of_fwd_packet fwd_act_data_pkts"))
  end)

  it("knows ICMP's type and code, and its lengths", function()
    local function icmp(kind, type, code, ip)
      return { meter.frame(0, P.eth {} .. ip .. kind { type = type, code = code } .. ("x"):rep(56)) }
    end
    local names = "icmp_type icmp_code fwd_header_length total_length_of_fwd_packet"
    assert.same({ 3, 1, 8, 56 }, picked(icmp(P.icmp, 3, 1, P.ipv4 {}), names))
    assert.same({ 128, 0, 8, 56 }, picked(icmp(P.icmpv6, 128, 0, P.ipv6 {}), names))
    assert.same({ -1, -1, 8, 1 }, picked({ meter.udp(0, 1000) }, names))
    local cut = icmp(P.icmp, 3, 1, P.ipv4 {})
    cut[1].size, cut[1].bytes = #cut[1].bytes, cut[1].bytes:sub(1, 14 + 20)
    assert.same({ -1, -1, 8, 56 }, picked(cut, names))
  end)

  it("takes all of other protocols for payload", function()
    local packet = meter.frame(0, P.eth {} .. P.ipv4 { protocol = 132 } .. ("x"):rep(40))
    assert.same({ 0, 40, 1 }, picked({ packet }, "fwd_header_length total_length_of_fwd_packet fwd_act_data_pkts"))
  end)

  it("counts forward from the first packet's side, also where that is a SYN-ACK", function()
    assert.same({ 1, 2 }, picked({ back(0, "SA"), to(1, "A"), to(2, "PA", 5) },
      "total_fwd_packet total_bwd_packets"))
  end)

  it("has its columns' headers in their texts", function()
    for _, column in ipairs(CicFeatures.columns) do
      local header = column.doc:match "^(.-): "
      assert.equal(column.name, "cic_" .. header:lower():gsub("%A+", "_"))
    end
  end)
end)
