-- plugins/cicflowmeter.lua: one connection with every column worked out by hand, and which packets make a flow.

local engine = require "spec.support.engine"
local meter = require "spec.support.meter"
local P = require "nfengine.testing.packet"
local program = require "spec.support.program"

-- `fields` are the header's, `size` bytes of payload.
local function segment(at, ip, flags, fields)
  local given = { flags = flags }
  for name, value in pairs(fields or {}) do given[name] = value end
  local payload = ("x"):rep(given.size or 0)
  given.size = nil
  return meter.frame(at, P.eth {} .. ip .. P.tcp(given) .. payload)
end

-- A segment of 10.0.0.1:1000 to 10.0.0.2:80, and of the way back.
local function to(at, flags, fields)
  fields = fields or {}
  fields.src_port, fields.dst_port = 1000, 80
  return segment(at, P.ipv4 {}, flags, fields)
end

local function back(at, flags, fields)
  fields = fields or {}
  fields.src_port, fields.dst_port = 80, 1000
  return segment(at, P.ipv4 { src = "10.0.0.2", dst = "10.0.0.1" }, flags, fields)
end

-- Names and values of the records that the profile gives, as the program writes them.
local function records(packets, ...)
  local result = program.run("-q", "flows", "--profile=cicflowmeter", engine.capture(packets), ...)
  assert.same({ 0, "" }, { result.status, result.err })
  local names, list = nil, {}
  for line in result.out:gmatch "[^\n]+" do
    local fields = {}
    for field in line:gmatch "[^,]+" do fields[#fields + 1] = field end
    if not names then
      names = fields
    else
      list[#list + 1] = {}
      for i, name in ipairs(names) do list[#list][name] = tonumber(fields[i]) or fields[i] end
    end
  end
  return list, names
end

-- Of the connection below, at these ms. What stands behind "cic_", in CICFlowMeter's order.
--
--   ms     0  10  20  30  40  50  70   80  100 120 140 180  2180  9180 9280 18280
--   way    >   <   >   >   >   >   >    <    <   <   <   <     <     >    >     <
--   bytes  0   0   0  10  20  30  40    0   50  50  50  50    50     0    0     0
--
-- Forward 8 packets, 100 bytes, squares 10^2 + 20^2 + 30^2 + 40^2 = 3000; backward 8, 250, 5 * 50^2 = 12500.
-- Gaps: 10 six times, 20 four times, 40, 2000, 7000, 100, 9000, of which the squares are 134013800; forward 20, 10, 10,
-- 10, 20, 9110, 100, squares 83003200; backward 70, 20, 20, 20, 40, 2000, 16100, squares 263217700.
local function deviation(squares, sum, n) return math.sqrt((squares - sum ^ 2 / n) / (n - 1)) end

local EXPECTED = {
  { "flow_duration", 18280000 }, { "total_fwd_packet", 8 }, { "total_bwd_packets", 8 },
  { "total_length_of_fwd_packet", 100 }, { "total_length_of_bwd_packet", 250 },
  { "fwd_packet_length_max", 40 }, { "fwd_packet_length_min", 0 }, { "fwd_packet_length_mean", 100 / 8 },
  { "fwd_packet_length_std", deviation(3000, 100, 8) },
  { "bwd_packet_length_max", 50 }, { "bwd_packet_length_min", 0 }, { "bwd_packet_length_mean", 250 / 8 },
  { "bwd_packet_length_std", deviation(12500, 250, 8) },
  { "flow_bytes_s", 350 / 18.28 }, { "flow_packets_s", 16 / 18.28 },
  { "flow_iat_mean", 18280000 / 15 }, { "flow_iat_std", 1000 * deviation(134013800, 18280, 15) },
  { "flow_iat_max", 9000000 }, { "flow_iat_min", 10000 },
  { "fwd_iat_total", 9280000 }, { "fwd_iat_mean", 9280000 / 7 },
  { "fwd_iat_std", 1000 * deviation(83003200, 9280, 7) }, { "fwd_iat_max", 9110000 }, { "fwd_iat_min", 10000 },
  { "bwd_iat_total", 18270000 }, { "bwd_iat_mean", 18270000 / 7 },
  { "bwd_iat_std", 1000 * deviation(263217700, 18270, 7) }, { "bwd_iat_max", 16100000 }, { "bwd_iat_min", 20000 },
  { "fwd_psh_flags", 4 }, { "bwd_psh_flags", 5 }, { "fwd_urg_flags", 1 }, { "bwd_urg_flags", 0 },
  { "fwd_rst_flags", 0 }, { "bwd_rst_flags", 1 },
  { "fwd_header_length", 24 + 7 * 20 }, { "bwd_header_length", 28 + 7 * 20 },
  { "fwd_packets_s", 8 / 18.28 }, { "bwd_packets_s", 8 / 18.28 },
  { "packet_length_min", 0 }, { "packet_length_max", 50 }, { "packet_length_mean", 350 / 16 },
  { "packet_length_std", deviation(15500, 350, 16) }, { "packet_length_variance", deviation(15500, 350, 16) ^ 2 },
  { "fin_flag_count", 1 }, { "syn_flag_count", 2 }, { "rst_flag_count", 1 }, { "psh_flag_count", 9 },
  { "ack_flag_count", 15 }, { "urg_flag_count", 1 }, { "cwr_flag_count", 1 }, { "ece_flag_count", 1 },
  { "down_up_ratio", 1 }, { "average_packet_size", 350 / 16 },
  { "fwd_segment_size_avg", 100 / 8 }, { "bwd_segment_size_avg", 250 / 8 },
  -- Bulks: forward from 30 to 70, backward from 100 to 180. What comes at 2180 comes too late for the second.
  { "fwd_bytes_bulk_avg", 100 }, { "fwd_packet_bulk_avg", 4 }, { "fwd_bulk_rate_avg", 100 / 0.04 },
  { "bwd_bytes_bulk_avg", 200 }, { "bwd_packet_bulk_avg", 4 }, { "bwd_bulk_rate_avg", 200 / 0.08 },
  -- Subflows: four, with pauses before 2180, 9180 and 18280.
  { "subflow_fwd_packets", 2 }, { "subflow_fwd_bytes", 25 }, { "subflow_bwd_packets", 2 },
  { "subflow_bwd_bytes", 62.5 },
  { "fwd_init_win_bytes", 1000 }, { "bwd_init_win_bytes", 2000 },
  { "fwd_act_data_pkts", 4 }, { "bwd_act_data_pkts", 5 }, { "fwd_seg_size_min", 20 }, { "bwd_seg_size_min", 20 },
  -- Active to 2180 and from 9180 to 9280, idle for 7000 and 9000.
  { "active_mean", 1140000 }, { "active_std", math.sqrt(2) * 1040000 }, { "active_max", 2180000 },
  { "active_min", 100000 },
  { "idle_mean", 8000000 }, { "idle_std", math.sqrt(2) * 1000000 }, { "idle_max", 9000000 }, { "idle_min", 7000000 },
  { "icmp_code", -1 }, { "icmp_type", -1 },
  { "fwd_tcp_retrans_count", 0 }, { "bwd_tcp_retrans_count", 1 }, { "total_tcp_retrans_count", 1 },
}

local connection = {
  to(0, "S", { seq = 100, window = 1000, options = ("\1"):rep(4) }),
  back(10, "SA", { seq = 500, window = 2000, options = ("\1"):rep(8) }),
  to(20, "A", { seq = 101, window = 3000 }),
  to(30, "PA", { seq = 101, size = 10 }), to(40, "PA", { seq = 111, size = 20 }),
  to(50, "PAU", { seq = 131, size = 30 }), to(70, "PA", { seq = 161, size = 40 }),
  back(80, "AE", { seq = 501 }),
  back(100, "PA", { seq = 501, size = 50 }), back(120, "PA", { seq = 551, size = 50 }),
  back(140, "PA", { seq = 601, size = 50 }), back(180, "PA", { seq = 651, size = 50 }),
  back(2180, "PAC", { seq = 651, size = 50 }), -- once more
  to(9180, "A", { seq = 201 }), to(9280, "FA", { seq = 201 }), back(18280, "RA", { seq = 701 }),
}

describe("profile cicflowmeter", function()
  after_each(engine.cleanup)

  it("has CICFlowMeter's columns in its order, with the values worked out by hand", function()
    local list, names = records(connection)
    assert.equal(1, #list)
    assert.equal("id src_ip src_port dst_ip dst_port protocol bidirectional_first_seen_us",
      table.concat(names, " ", 1, 7))
    assert.same({ 0, '"10.0.0.1"', 1000, '"10.0.0.2"', 80, 6, 1600000000000000 },
      { list[1].id, list[1].src_ip, list[1].src_port, list[1].dst_ip, list[1].dst_port, list[1].protocol,
        list[1].bidirectional_first_seen_us })
    assert.equal(7 + #EXPECTED, #names)
    for i, expected in ipairs(EXPECTED) do
      assert.equal("udps.cic_" .. expected[1], names[7 + i])
      local got = list[1][names[7 + i]]
      -- Deviations come by another way, and so differ in the last digits.
      local is_right = got == expected[2] or math.abs(got / expected[2] - 1) < 1e-14
      assert.is_true(is_right, ("%s: expected %.17g, got %.17g"):format(expected[1], expected[2], got))
    end
  end)

  local function packets_of(list)
    local counts = {}
    for i, record in ipairs(list) do
      counts[i] = record["udps.cic_total_fwd_packet"] .. "+" .. record["udps.cic_total_bwd_packets"]
    end
    return counts
  end

  it("cuts flows 120 s after their first packet, whether there were pauses or not", function()
    local steady = {}
    for i = 0, 12 do steady[i + 1] = to(i * 10000, "A") end
    assert.same({ "12+0", "1+0" }, packets_of(records(steady)))
    assert.same({ "2+0", "1+0" }, packets_of(records { to(0, "A"), to(119999, "A"), to(120000, "A") }))
  end)

  it("keeps what comes behind RST, or FINs of both sides, until a SYN opens a connection", function()
    local reset = { to(0, "S"), back(1, "RA"), back(90000, "A"), to(91000, "S"), back(91001, "SA") }
    assert.same({ "1+2", "1+1" }, packets_of(records(reset)))
    local closed = { to(0, "A"), to(1, "FA"), back(2, "FA"), to(3, "A"), back(60000, "FA"), to(60001, "S") }
    assert.same({ "3+2", "1+0" }, packets_of(records(closed)))
    assert.same({ "3+1", "1+1" }, packets_of(records({ to(0, "A"), to(1, "FA"), back(2, "FA"), to(3, "A"),
      back(10000, "A"), to(10001, "A") }, "--linger=5")))
  end)

  it("lets the command line choose", function()
    local _, names = records({ to(0, "S") }, "--columns=src_port,udps.cic_flow_duration,udps.tcp_end")
    assert.same({ "src_port", "udps.cic_flow_duration", "udps.tcp_end" }, names)
  end)

  it("gives the same bytes for any number of meters", function()
    for _, sample in ipairs { "web", "closing" } do
      local function rows(n)
        local result = program.run("-q", "flows", "--profile=cicflowmeter", "--n-meters=" .. n,
          ("samples/%s.pcap"):format(sample))
        assert.same({ 0, "" }, { result.status, result.err })
        return result.out
      end
      local one = rows(1)
      for n = 2, 3 do assert.equal(one, rows(n)) end
      assert.is_nil(one:match "nan" or one:match "inf")
    end
  end)
end)
