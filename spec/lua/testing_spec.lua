local capture = require "nfengine.testing.capture"
local testing = require "nfengine.testing"
local P = require "nfengine.testing.packet"

describe("a misspelt field", function()
  after_each(testing.cleanup)

  for what, case in pairs {
    ["packet.tcp"] = { P.tcp, { dst_prt = 80 }, "dst_prt", "dst_port" },
    ["packet.vlan"] = { P.vlan, { vid = 20 }, "vid", "id" },
    ["packet.ipv6"] = { P.ipv6, { pay_load_length = 0 }, "pay_load_length", "payload_length" },
    ["packet.hop_by_hop"] = { P.hop_by_hop, { dat = "" }, "dat", "data" },
    ["packet.icmp"] = { P.icmp, { typ = 0 }, "typ", "type" },
    ["capture.pcap"] = { capture.pcap_header, { linktype = 101 }, "linktype", "link_type" },
    ["capture.section"] = { capture.section, { bigendian = true }, "bigendian", "big_endian" },
    ["capture.interface"] = { capture.interface, { tsresl = 9 }, "tsresl", "tsresol" },
  } do
    it("is refused by " .. what, function()
      assert.are.equal(('%s: unknown field "%s" (did you mean \'%s\'?)'):format(what, case[3], case[4]),
        testing.refusal(case[1], case[2]))
    end)
  end

  it("is refused in a packet, of any kind of file", function()
    local wrong = { bytes = "x", time = 1 }
    for _, write in ipairs { capture.pcap_record, capture.enhanced_packet, capture.obsolete_packet,
      capture.simple_packet } do
      assert.is_truthy(testing.refusal(write, wrong):find('a packet: unknown field "time"', 1, true))
    end
    assert.is_truthy(testing.refusal(testing.file, { wrong }):find('a packet: unknown field "time"', 1, true))
  end)
end)

describe("a layer", function()
  it("takes no fields, or all that it has", function()
    assert.are.equal(8, #P.udp():bytes())
    assert.are.equal(28, #(P.ipv4 { src = "10.0.0.9", ttl = 1, more = true } .. P.udp {}):bytes())
    assert.are.equal("\0\20", P.vlan { id = 20 }:bytes():sub(1, 2))
  end)
end)
