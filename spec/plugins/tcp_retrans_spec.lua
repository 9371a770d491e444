-- plugins/tcp_retrans.lua: conversations counted by hand. The client's numbers begin at 100, the server's at 900.

local engine = require "spec.support.engine"
local feature = require "spec.support.feature"
local meter = require "spec.support.meter"
local tcp = require "spec.support.tcp"
local TcpRetrans = require "plugins.tcp_retrans"

local there, back = tcp.there, tcp.back

-- What the plugin says of the first flow: { count, bytes, reordered, dup_acks, keep_alives } of both directions.
local function counts(packets, options, unit)
  local flow = engine.flows({ packets = packets, udps = TcpRetrans(options or {}), time_unit = unit })[1]
  local words = "count bytes reordered dup_acks keep_alives"
  return { feature.values(flow, "tcp_retrans_src2dst", words), feature.values(flow, "tcp_retrans_dst2src", words) }
end

-- That of the source alone.
local function there_counts(...) return counts(...)[1] end

local NONE = { 0, 0, 0, 0, 0 }

-- A handshake that takes 20 ms, and these packets behind it.
local function connected(packets)
  local all = {
    there(0, { flags = "S", seq = 100 }), back(15, { flags = "SA", seq = 900, ack = 101 }),
    there(20, { seq = 101, ack = 901 }),
  }
  for _, packet in ipairs(packets) do all[#all + 1] = packet end
  return all
end

local CONVERSATION = connected {
  there(30, { seq = 101, ack = 901 }, 10), there(31, { seq = 121, ack = 901 }, 10), -- 10 bytes between are missing
  back(45, { seq = 901, ack = 111 }),
  there(50, { seq = 111, ack = 901 }, 10),  -- 19 ms behind the gap: overtaken
  there(60, { seq = 141, ack = 901 }, 10),  -- another 10 missing
  back(61, { seq = 901, ack = 131 }), back(62, { seq = 901, ack = 131 }), back(63, { seq = 901, ack = 131 }), -- 2 again
  there(80, { seq = 131, ack = 901 }, 10),  -- 20 ms behind the gap: sent again
  there(90, { seq = 141, ack = 901 }, 10),  -- seen before
  back(95, { seq = 901, ack = 151 }),
  there(9000, { seq = 150, ack = 901 }), there(9001, { seq = 150, ack = 901 }, 1), -- keep-alives
  back(9002, { seq = 901, ack = 151 }),
}

describe("tcp_retrans", function()
  after_each(engine.cleanup)

  feature.tests("tcp_retrans", "any.pcap", CONVERSATION)

  it("tells what was sent again from what was overtaken and from keep-alives", function()
    assert.same({ { 2, 20, 1, 0, 2 }, { 0, 0, 0, 2, 0 } }, counts(CONVERSATION))
  end)

  it("does so from the server's side, too", function()
    local packets = { back(0, { flags = "R" }) } -- the source is who sent the first packet
    for i, packet in ipairs(CONVERSATION) do packets[i + 1] = packet end
    assert.same({ { 0, 0, 0, 2, 0 }, { 2, 20, 1, 0, 2 } }, counts(packets))
  end)

  it("says the same in any unit of time", function()
    for _, unit in ipairs { "us", "ns" } do
      assert.same({ { 2, 20, 1, 0, 2 }, { 0, 0, 0, 2, 0 } }, counts(CONVERSATION, {}, unit))
    end
  end)

  it("has nothing where nothing was seen", function()
    local text = ("x"):rep(50)
    for _, packets in ipairs {
      { there(0, { flags = "S" }) }, { there(0, {}, 10) }, { meter.udp(0, 1000, text), meter.udp(9, 1000, text) },
      { there(0, { flags = "S" }), back(1, { flags = "RA" }) }, connected {},
    } do
      assert.same({ NONE, NONE }, counts(packets))
    end
  end)

  it("counts SYN, SYN/ACK and FIN that come again, which have no bytes", function()
    local syn, answer = { flags = "S", seq = 100 }, { flags = "SA", seq = 900, ack = 101 }
    local ack = { seq = 101, ack = 901 }
    assert.same({ { 2, 0, 0, 0, 0 }, { 1, 0, 0, 0, 0 } }, counts {
      there(0, syn), there(1000, syn), there(3000, syn), back(3020, answer), back(4020, answer), there(4040, ack),
    })
    local fin = { flags = "FA", seq = 101, ack = 901 }
    assert.same({ 1, 0, 0, 0, 0 }, there_counts(connected { there(30, fin), there(500, fin) }))
    -- Together with data, whose bytes count.
    assert.same({ 1, 5, 0, 0, 0 }, there_counts(connected { there(30, fin, 5), there(500, fin, 5) }))
    assert.same({ 1, 7, 0, 0, 0 }, there_counts { there(0, syn, 7), there(1000, syn, 20) })
  end)

  it("counts of a segment the bytes that were sent before", function()
    local function again(...) return there_counts(connected { there(30, { seq = 101 }, 10), there(500, ...) }) end
    assert.same({ 1, 10, 0, 0, 0 }, again({ seq = 101 }, 10))
    assert.same({ 1, 4, 0, 0, 0 }, again({ seq = 103 }, 4))
    assert.same({ 1, 3, 0, 0, 0 }, again({ seq = 108 }, 20)) -- and 17 new ones
    assert.same({ 1, 1, 0, 0, 0 }, again({ seq = 110 }, 1)) -- not acknowledged, so no keep-alive
    assert.same({ 1, 0, 0, 0, 0 }, again { flags = "FA", seq = 108 })
    assert.same(NONE, again({ seq = 111 }, 10))
    assert.same(NONE, again { seq = 105 }) -- an old acknowledgement
    assert.same(NONE, again({ flags = "RA", seq = 101 }, 10))
    -- What was new in it counts when it comes again.
    local packets = { there(30, { seq = 101 }, 10), there(40, { seq = 105 }, 10), there(50, { seq = 111 }, 4) }
    assert.same({ 2, 10, 0, 0, 0 }, there_counts(connected(packets)))
  end)

  it("takes what fills a gap within the handshake's round trip for overtaken, later for sent again", function()
    local function filled(at) -- the gap opens at 40
      return there_counts(connected {
        there(30, { seq = 101 }, 10), there(40, { seq = 121 }, 10), there(at, { seq = 111 }, 10),
      })
    end
    assert.same({ 0, 0, 1, 0, 0 }, filled(59.9))
    assert.same({ 1, 10, 0, 0, 0 }, filled(60))
  end)

  it("takes reorder_ms for the round trip where no handshake was seen, or a shorter one", function()
    local function filled(at, options)
      return there_counts({ there(0, { seq = 101 }, 10), there(10, { seq = 121 }, 10), there(at, { seq = 111 }, 10) },
        options, "us")
    end
    assert.same({ 0, 0, 1, 0, 0 }, filled(12.999))
    assert.same({ 1, 10, 0, 0, 0 }, filled(13))
    assert.same({ 0, 0, 1, 0, 0 }, filled(14.9, { reorder_ms = 5 }))
    assert.same({ 1, 10, 0, 0, 0 }, filled(10, { reorder_ms = 0 }))
    local gap = { there(30, { seq = 101 }, 10), there(40, { seq = 121 }, 10), there(65, { seq = 111 }, 10) }
    assert.same({ 0, 0, 1, 0, 0 }, there_counts(connected(gap), { reorder_ms = 30 })) -- 20 ms are the handshake's
    -- A SYN without an answer, or an answer alone, is no handshake.
    assert.same({ 1, 10, 0, 0, 0 }, there_counts { there(0, { flags = "S", seq = 100 }), there(20, { seq = 101 }, 10),
      there(30, { seq = 121 }, 10), there(40, { seq = 111 }, 10) })
    assert.same({ 1, 10, 0, 0, 0 }, counts { back(0, { flags = "SA", seq = 900 }), there(20, { seq = 101 }, 10),
      there(30, { seq = 121 }, 10), there(40, { seq = 111 }, 10) }[2])
  end)

  it("takes the round trip from the SYN that was answered last", function()
    local packets = {
      there(0, { flags = "S", seq = 100 }), there(1000, { flags = "S", seq = 100 }),
      back(1015, { flags = "SA", seq = 900, ack = 101 }), there(1020, { seq = 101, ack = 901 }, 10),
      there(1100, { seq = 121 }, 10), there(1119, { seq = 111 }, 5), there(1120, { seq = 116 }, 5),
    }
    assert.same({ 2, 5, 1, 0, 0 }, there_counts(packets)) -- one of both is the SYN
  end)

  it("knows that what lies beside a gap has been seen", function()
    local function after(...) -- 111 to 120 are missing
      return there_counts(connected { there(30, { seq = 101 }, 10), there(40, { seq = 121 }, 10), ... })
    end
    assert.same({ 1, 5, 0, 0, 0 }, after(there(41, { seq = 106 }, 5)))
    assert.same({ 1, 5, 0, 0, 0 }, after(there(41, { seq = 121 }, 5)))
    assert.same({ 0, 0, 1, 0, 0 }, after(there(41, { seq = 120 }, 5)))
    assert.same({ 0, 0, 1, 0, 0 }, after(there(41, { seq = 106 }, 6)))
    -- Filled in two parts, from its begin, from its end, and then seen.
    local function first(at) return there(at, { seq = 111 }, 5) end
    local function second(at) return there(at, { seq = 116 }, 5) end
    assert.same({ 1, 5, 2, 0, 0 }, after(first(41), second(42), first(43)))
    assert.same({ 1, 5, 2, 0, 0 }, after(second(41), first(42), second(43)))
    -- In parts that leave bytes out.
    assert.same({ 1, 5, 1, 0, 0 }, after(first(41), first(42)))
    assert.same({ 1, 5, 1, 0, 0 }, after(second(41), second(42)))
    assert.same({ 0, 0, 2, 0, 0 }, after(there(41, { seq = 112 }, 9), there(42, { seq = 111 }, 1)))
    -- By a segment that is larger than it.
    assert.same({ 1, 5, 1, 0, 0 }, after(there(41, { seq = 106 }, 20), first(42)))
  end)

  it("sees a gap of one byte", function()
    assert.same({ 0, 0, 1, 0, 0 }, there_counts(connected {
      there(30, { seq = 101 }, 10), there(40, { seq = 112 }, 10), there(41, { seq = 111 }, 1),
    }))
  end)

  it("keeps the range of several gaps, from when the first opened", function()
    local function after(...) -- 111 to 120 and 131 to 140 are missing
      return there_counts(connected {
        there(30, { seq = 101 }, 10), there(40, { seq = 121 }, 10), there(55, { seq = 141 }, 10), ...
      })
    end
    assert.same({ 0, 0, 2, 0, 0 }, after(there(56, { seq = 111 }, 10), there(57, { seq = 131 }, 10)))
    assert.same({ 2, 20, 0, 0, 0 }, after(there(61, { seq = 131 }, 10), there(62, { seq = 111 }, 10)))
    assert.same({ 0, 0, 1, 0, 0 }, after(there(56, { seq = 121 }, 10))) -- seen, but it lies in the range
    assert.same({ 1, 10, 0, 0, 0 }, after(there(56, { seq = 141 }, 10)))
  end)

  it("begins anew with a gap behind one that was filled, or acknowledged", function()
    local function after(packet)
      return there_counts(connected {
        there(30, { seq = 101 }, 10), there(40, { seq = 121 }, 10), packet,
        there(80, { seq = 141 }, 10), there(90, { seq = 131 }, 5), there(91, { seq = 111 }, 5),
      })
    end
    assert.same({ 1, 5, 2, 0, 0 }, after(there(50, { seq = 111 }, 10)))
    assert.same({ 1, 5, 1, 0, 0 }, after(back(50, { seq = 901, ack = 131 })))
    -- Acknowledged in part: what lies before was received, and comes again.
    local packets = connected {
      there(30, { seq = 101 }, 10), there(40, { seq = 121 }, 10), back(45, { seq = 901, ack = 116 }),
      there(50, { seq = 111 }, 5), there(51, { seq = 116 }, 5),
    }
    assert.same({ 1, 5, 1, 0, 0 }, there_counts(packets))
  end)

  it("sees no gap in what was acknowledged but not captured", function()
    local packets = connected {
      there(30, { seq = 101 }, 10), back(40, { seq = 901, ack = 121 }), there(45, { seq = 121 }, 10),
      there(46, { seq = 111 }, 10),
    }
    assert.same({ 1, 10, 0, 0, 0 }, there_counts(packets))
  end)

  it("sees a gap before an acknowledgement without data, too", function()
    assert.same({ 0, 0, 1, 0, 0 }, there_counts(connected { there(30, { seq = 111 }), there(31, { seq = 101 }, 10) }))
  end)

  it("counts duplicate acknowledgements by RFC 5681's definition", function()
    local function after(...) -- 10 bytes are outstanding; the server has acknowledged 101 with a window of 1000
      return counts(connected { there(30, { seq = 101, ack = 901 }, 10), ... })[2][4]
    end
    local again = { seq = 901, ack = 101 }
    assert.equal(1, after(back(40, again)))
    assert.equal(3, after(back(40, again), back(41, again), back(42, again)))
    assert.equal(0, after(back(40, again, 5)))                                   -- has data
    assert.equal(0, after(back(40, { flags = "FA", seq = 901, ack = 101 })))     -- has FIN
    assert.equal(0, after(back(40, { flags = "SA", seq = 900, ack = 101 })))     -- has SYN
    assert.equal(0, after(back(40, { flags = "RA", seq = 901, ack = 101 })))
    assert.equal(0, after(back(40, { flags = "", seq = 901, ack = 101 })))
    assert.equal(0, after(back(40, { seq = 901, ack = 100 })))                   -- is not the highest number
    local wider = { seq = 901, ack = 101, window = 2000 }
    assert.equal(0, after(back(40, wider)))                                      -- changes the window
    assert.equal(1, after(back(40, wider), back(41, wider)))
    local all = { seq = 901, ack = 111 }
    assert.equal(0, after(back(40, all), back(41, all)))                         -- nothing is outstanding
    assert.equal(1, after(back(40, { seq = 901, ack = 105 }), back(41, again), back(42, { seq = 901, ack = 105 })))
    assert.equal(1, after(back(40, { seq = 901, ack = 110 }), back(41, { seq = 901, ack = 110 }))) -- one byte is
    -- A flow that begins with it.
    assert.same({ NONE, { 0, 0, 0, 1, 0 } }, counts { there(0, {}, 5), back(1, { ack = 1 }), back(2, { ack = 1 }) })
    assert.same({ NONE, NONE }, counts { back(1, { ack = 1 }), back(2, { ack = 1 }) })
  end)

  it("counts as keep-alive no more than the last byte, once it was acknowledged", function()
    local function after(packet)
      return there_counts(connected {
        there(30, { seq = 101, ack = 901 }, 10), back(40, { seq = 901, ack = 111 }), packet,
        back(9010, { seq = 901, ack = 111 }),
      })
    end
    assert.same({ 0, 0, 0, 0, 1 }, after(there(9000, { seq = 110, ack = 901 })))
    assert.same({ 0, 0, 0, 0, 1 }, after(there(9000, { seq = 110, ack = 901 }, 1)))
    assert.same({ 1, 2, 0, 0, 0 }, after(there(9000, { seq = 109, ack = 901 }, 2)))
    assert.same({ 1, 1, 0, 0, 0 }, after(there(9000, { seq = 109, ack = 901 }, 1)))
    assert.same({ 1, 1, 0, 0, 0 }, after(there(9000, { seq = 110, ack = 901 }, 2)))
    assert.same({ 1, 0, 0, 0, 0 }, after(there(9000, { flags = "FA", seq = 110, ack = 901 })))
    assert.same(NONE, after(there(9000, { seq = 109, ack = 901 })))
    assert.same(NONE, after(there(9000, { seq = 111, ack = 901 })))
    -- Not acknowledged: an old segment, and the last byte sent again.
    assert.same(NONE, there_counts(connected { there(30, { seq = 101 }, 1), there(31, { seq = 101 }) }))
    assert.same({ 1, 1, 0, 0, 0 }, there_counts(connected { there(30, { seq = 101 }, 1), there(99, { seq = 101 }, 1) }))
  end)

  it("counts probes of a closed window with the keep-alives, and their byte as new when it comes", function()
    local closed, opened = { seq = 901, ack = 111, window = 0 }, { seq = 901, ack = 111 }
    local packets = connected {
      there(30, { seq = 101, ack = 901 }, 10), back(40, closed),
      there(500, { seq = 111, ack = 901 }, 1), back(501, closed),
      there(1500, { seq = 111, ack = 901 }, 1), back(1501, opened),
      there(1502, { seq = 111, ack = 901 }, 10),
    }
    assert.same({ { 0, 0, 0, 0, 2 }, NONE }, counts(packets))
    -- A probe whose byte was taken leaves no gap.
    local taken = connected {
      there(30, { seq = 101, ack = 901 }, 10), back(40, closed),
      there(500, { seq = 111, ack = 901 }, 1), back(501, { seq = 901, ack = 112 }),
      there(502, { seq = 112, ack = 901 }, 10), there(503, { seq = 111, ack = 901 }, 1),
    }
    assert.same({ 1, 1, 0, 0, 1 }, there_counts(taken))
    -- A byte into an open window, and two into a closed one, are data.
    local function then_again(window, size)
      return there_counts(connected {
        there(30, { seq = 101 }, 10), back(40, { seq = 901, ack = 111, window = window }),
        there(50, { seq = 111 }, size), there(60, { seq = 111 }, size),
      })
    end
    assert.same({ 1, 1, 0, 0, 0 }, then_again(1, 1))
    assert.same({ 1, 2, 0, 0, 0 }, then_again(0, 2))
  end)

  it("takes copies in a capture for sent again", function()
    local packets = connected {
      there(30, { seq = 101, ack = 901 }, 10), there(30, { seq = 101, ack = 901 }, 10),
      back(40, { seq = 901, ack = 111 }, 7), back(40, { seq = 901, ack = 111 }, 7),
    }
    assert.same({ { 1, 10, 0, 0, 0 }, { 1, 7, 0, 0, 0 } }, counts(packets))
  end)

  it("begins anew with a SYN of another number", function()
    local packets = connected {
      there(30, { seq = 101, ack = 901 }, 1000), back(40, { seq = 901, ack = 1101 }, 1000),
      there(100, { flags = "S", seq = 50 }), back(110, { flags = "SA", seq = 60, ack = 51 }),
      there(120, { seq = 51, ack = 61 }), there(130, { seq = 51, ack = 61 }, 10),
      back(140, { seq = 61, ack = 61 }, 10), there(200, { seq = 51, ack = 71 }, 10),
      back(210, { seq = 71, ack = 61 }, 10), there(211, { seq = 61, ack = 71 }),
    }
    assert.same({ { 1, 10, 0, 1, 0 }, NONE }, counts(packets))
    -- Whose SYN then comes again, when what the old connection acknowledged says nothing.
    packets = connected {
      there(30, { seq = 101, ack = 901 }, 10), there(31, { seq = 131, ack = 5000 }, 10),
      there(100, { flags = "S", seq = 3000 }), back(101, { flags = "SA", seq = 4000, ack = 3001 }),
      back(300, { flags = "SA", seq = 4000, ack = 3001 }),
    }
    assert.same({ NONE, { 1, 0, 0, 0, 0 } }, counts(packets))
  end)

  it("counts numbers round 2^32, and round 2^31", function()
    for _, start in ipairs { 0xFFFFFFF6, 0x7FFFFFF6 } do
      local function at(offset) return (start + offset) % 2 ^ 32 end
      local packets = {
        there(0, { flags = "S", seq = at(-1) }), back(15, { flags = "SA", seq = 900, ack = start }),
        there(20, { seq = start, ack = 901 }),
        there(30, { seq = start }, 8), there(31, { seq = at(16) }, 8), -- the gap has 8 bytes, in which the wrap is
        there(40, { seq = at(8) }, 8), back(41, { seq = 901, ack = at(24) }),
        there(100, { seq = at(8) }, 8), there(200, { seq = at(23), ack = 901 }, 1),
      }
      assert.same({ 1, 8, 1, 0, 1 }, there_counts(packets))
    end
  end)

  it("counts a flow that begins in the middle from its first segment on", function()
    local packets = { there(0, { seq = 500 }, 10), there(5, { seq = 490 }, 10), there(9, { seq = 505 }, 5) }
    assert.same({ 2, 15, 0, 0, 0 }, there_counts(packets))
    -- A number of 0 is one as any other.
    assert.same({ 1, 5, 0, 0, 0 }, there_counts { there(0, { seq = 0 }, 5), there(5, { seq = 0 }, 5) })
  end)

  it("needs the header to be captured as far as the window, 50 bytes here", function()
    assert.same({ NONE, NONE }, counts(feature.cut(CONVERSATION, 49)))
    assert.same(counts(CONVERSATION), counts(feature.cut(CONVERSATION, 50)))
  end)

  it("refuses a time that is none", function()
    assert.equal("plugin tcp_retrans: reorder_ms = -1: expected a number of at least 0",
      engine.refusal(TcpRetrans, { reorder_ms = -1 }))
    assert.equal('plugin tcp_retrans: reorder_ms = "3": expected a number of at least 0',
      engine.refusal(TcpRetrans, { reorder_ms = "3" }))
  end)
end)
