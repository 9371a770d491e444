-- One real capture wrapped in every link layer, encapsulation and tunnel: the packets inside must come out the same.

local D = require "spec.support.decode"
local data = require "spec.support.data"

local folder = data.folder .. "/captures/derived/"

-- The frames of a little-endian pcap file: { bytes, size on the wire } each, and the file's link type.
local function read_pcap(name)
  local file = assert(io.open(folder .. name .. ".pcap", "rb"))
  local bytes = file:read "*a"
  file:close()
  local function u32(at)
    local a, b, c, d = bytes:byte(at, at + 3)
    return a + b * 2 ^ 8 + c * 2 ^ 16 + d * 2 ^ 24
  end
  local frames, at = {}, 25
  while at + 16 <= #bytes do
    local captured = u32(at + 8)
    frames[#frames + 1] = { bytes:sub(at + 16, at + 15 + captured), u32(at + 12) }
    at = at + 16 + captured
  end
  return frames, u32(21)
end

-- What the packets of a capture say of themselves, whatever is around them; only those of one IP version if given.
local function packets(name, version)
  local frames, link_type = read_pcap(name)
  local said = {}
  for _, frame in ipairs(frames) do
    local p, reason = D.decode(frame[1], { link = link_type, size = frame[2] })
    if not version or p and p.ip_version == version then
      said[#said + 1] = p and ("%s:%d > %s:%d %d flags %d, %d+%d bytes"):format(p.src, p.src_port, p.dst, p.dst_port,
        p.protocol, p.tcp_flags, p.transport_size, p.payload_size) or reason
    end
  end
  return said
end

local whole = [[
  link_null_le link_null_be link_loop link_raw101 link_raw12 link_raw14 link_sll link_sll_vlan link_sll2 link_ppp_ff03
  link_ppp_nohdr link_ppp_pfc link_ppp_serial link_pppoe_dlt link_chdlc link_frelay link_pflog link_enc
  link_80211_data link_80211_qos link_80211_wds link_radiotap link_radiotap_fcs link_radiotap_long link_ppi_80211
  link_prism eth_vlan eth_vlan_priority0 eth_qinq_8100 eth_qinq_88a8 eth_qinq_9100 eth_3vlan eth_mpls1 eth_mpls3
  eth_vlan_mpls eth_pppoe eth_vlan_pppoe eth_padded64 eth_trailer_fcs eth_tso_iplen0 tun_gtpu tun_gtpu_ext
  tun_gtpu_over_v6 tun_gtpu_in_vlan_qinq tun_capwap_80211 tun_tzsp snap_68 snap_96 snap_128 snap_256 ]]
local one_version = {
  [4] = "link_ipv4 tun_ipip_4in4 tun_4in6 tun_4in6_dstopt v4_options snap_54",
  [6] = "link_ipv6 tun_6in4 tun_6in6 v6_hbh v6_hbh_dst_rt v6_atomic_frag",
}

describe("a capture wrapped as", function()
  local there = io.open(folder .. "00_ether.pcap")
  if not there then
    pending("any of the reference captures: " .. data.absent)
    return
  end
  there:close()

  local function compare(name, version)
    it(name .. " holds the packets of the unwrapped one", function()
      assert.are.same(packets("00_ether", version), packets(name, version))
    end)
  end

  for name in whole:gmatch "%S+" do compare(name) end
  for version, names in pairs(one_version) do
    for name in names:gmatch "%S+" do compare(name, version) end
  end

  for name in ("eth_mpls_pw_cw eth_mpls_pw_nocw eth_pbb_macinmac"):gmatch "%S+" do
    it(name .. " holds no IP packet", function()
      for _, said in ipairs(packets(name)) do assert.are.equal("not IP", said) end
    end)
  end
end)
