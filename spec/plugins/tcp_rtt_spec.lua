-- plugins/tcp_rtt.lua: times worked out by hand. The client's numbers begin at 100, the server's at 900.

local engine = require "spec.support.engine"
local feature = require "spec.support.feature"
local meter = require "spec.support.meter"
local tcp = require "spec.support.tcp"
local TcpRtt = require "plugins.tcp_rtt"

local there, back = tcp.there, tcp.back

-- What the plugin says of the first flow: { syn, ack, handshake }, { count, min, mean, max } of each direction.
local function times(packets, unit)
  local flow = engine.flows({ packets = packets, udps = TcpRtt, time_unit = unit })[1]
  local words = "count min mean max"
  return feature.values(flow, "tcp_rtt", "syn ack handshake"), feature.values(flow, "tcp_rtt_src2dst", words),
    feature.values(flow, "tcp_rtt_dst2src", words)
end

local function handshake(packets) return (times(packets)) end

-- Samples of data from source to destination.
local function there_samples(packets, unit) return (select(2, times(packets, unit))) end

local NONE = { 0, -1, -1, -1 }

local CONVERSATION = {
  there(0, { flags = "S", seq = 100 }),
  back(30, { flags = "SA", seq = 900, ack = 101 }), -- 30 after the SYN
  there(42, { seq = 101, ack = 901 }),              -- 12 after the answer
  there(50, { seq = 101, ack = 901 }, 10),
  back(85, { seq = 901, ack = 111 }),               -- 35
  there(100, { seq = 111, ack = 901 }, 20),
  back(125, { seq = 901, ack = 131 }, 5),           -- 25
  there(126, { seq = 131, ack = 906 }),             -- 1
  there(130, { flags = "FA", seq = 131, ack = 906 }),
  back(160, { flags = "FA", seq = 906, ack = 132 }), -- 30
  there(164, { seq = 132, ack = 907 }),              -- 4
}

describe("tcp_rtt", function()
  after_each(engine.cleanup)

  feature.tests("tcp_rtt", "web.pcap", CONVERSATION)

  it("times the handshake, and data of both directions until it is acknowledged", function()
    assert.same({ { 30, 12, 42 }, { 3, 25, 30, 35 }, { 2, 1, 2.5, 4 } }, { times(CONVERSATION) })
  end)

  it("does so from the server's side, too", function()
    local packets = { back(0, { flags = "R" }) } -- the source is who sent the first packet
    for i, packet in ipairs(CONVERSATION) do packets[i + 1] = packet end
    assert.same({ { 30, 12, 42 }, { 2, 1, 2.5, 4 }, { 3, 25, 30, 35 } }, { times(packets) })
  end)

  it("gives times in the run's unit", function()
    assert.same({ { 30000, 12000, 42000 }, { 3, 25000, 30000, 35000 }, { 2, 1000, 2500, 4000 } },
      { times(CONVERSATION, "us") })
    -- Exact also in ns, of which a time since 1970 is too large for a Lua number.
    local packets = { there(0, { seq = 100 }, 10), back(0.001237, { ack = 110 }) }
    assert.same({ 1, 1237, 1237, 1237 }, there_samples(packets, "ns"))
    assert.same({ 1, 1, 1, 1 }, there_samples(packets, "us"))
    assert.same({ 1, 0, 0, 0 }, there_samples(packets, "ms"))
  end)

  it("has nothing where nothing was seen", function()
    local nothing = { { -1, -1, -1 }, NONE, NONE }
    local text = ("x"):rep(50)
    for _, packets in ipairs {
      { there(0, { flags = "S" }) }, { there(0, {}) }, { there(0, {}, 10) }, { back(0, { flags = "R" }) },
      { meter.udp(0, 1000, text), meter.back(9, 1000, text) },
      { there(0, { flags = "S", seq = 100 }), there(5, { seq = 101 }) },
    } do
      assert.same(nothing, { times(packets) })
    end
  end)

  it("times half a handshake where the capture begins in it", function()
    assert.same({ -1, 12, -1 }, handshake { back(0, { flags = "SA", seq = 900, ack = 101 }), there(12, { ack = 901 }) })
    assert.same({ 30, -1, -1 }, handshake { there(0, { flags = "S", seq = 100 }),
      back(30, { flags = "SA", seq = 900, ack = 101 }) })
  end)

  it("takes no SYN for answered that was sent twice", function()
    local syn, answer = { flags = "S", seq = 100 }, { flags = "SA", seq = 900, ack = 101 }
    local ack = { seq = 101, ack = 901 }
    assert.same({ -1, 12, -1 }, handshake { there(0, syn), there(1000, syn), back(1030, answer), there(1042, ack) })
    assert.same({ 30, -1, -1 }, handshake { there(0, syn), back(30, answer), back(1030, answer), there(1042, ack) })
    -- Answered before it came again.
    assert.same({ 30, 12, 42 }, handshake { there(0, syn), back(30, answer), there(31, syn), there(42, ack) })
  end)

  it("takes another SYN for another connection, and the first handshake that is complete", function()
    local packets = {
      there(0, { flags = "S", seq = 100 }), there(3000, { flags = "S", seq = 500 }),
      back(3020, { flags = "SA", seq = 900, ack = 501 }), there(3025, { seq = 501, ack = 901 }),
      there(4000, { flags = "S", seq = 7000 }), back(4100, { flags = "SA", seq = 8000, ack = 7001 }),
      there(4200, { seq = 7001, ack = 8001 }),
    }
    assert.same({ 20, 5, 25 }, handshake(packets))
    -- Also where its times are 0.
    packets[3], packets[4] = back(3000, { flags = "SA", seq = 900, ack = 501 }), there(3000, { seq = 501, ack = 901 })
    assert.same({ 0, 0, 0 }, handshake(packets))
    local after_half = {
      there(0, { flags = "S", seq = 100 }), back(30, { flags = "SA", seq = 900, ack = 101 }),
      there(50, { flags = "S", seq = 200 }), back(60, { flags = "SA", seq = 950, ack = 201 }),
      there(65, { seq = 201, ack = 951 }),
    }
    assert.same({ 10, 5, 15 }, handshake(after_half))
  end)

  it("times data of a second connection, whose numbers are lower", function()
    local packets = {
      there(0, { flags = "S", seq = 5000 }), there(10, { flags = "R", seq = 5001 }),
      there(20, { flags = "S", seq = 100 }), back(25, { flags = "SA", ack = 101 }),
      there(30, { seq = 101 }, 10), back(37, { ack = 111 }),
    }
    assert.same({ 1, 7, 7, 7 }, there_samples(packets))
  end)

  it("takes for an answer what acknowledges the SYN, and is a SYN", function()
    local syn = there(0, { flags = "S", seq = 100 })
    assert.same({ -1, -1, -1 }, handshake { syn, back(30, { flags = "SA", seq = 900, ack = 100 }) })
    assert.same({ -1, -1, -1 }, handshake { syn, back(30, { flags = "A", seq = 900, ack = 101 }) })
    assert.same({ -1, -1, -1 }, handshake { syn, back(30, { flags = "RA", seq = 0, ack = 101 }) })
    assert.same({ -1, -1, -1 },
      handshake { back(0, { flags = "SA", seq = 900, ack = 101 }), there(9, { flags = "SA", seq = 100, ack = 901 }) })
    assert.same({ -1, -1, -1 },
      handshake { back(0, { flags = "SA", seq = 900, ack = 101 }), there(9, { seq = 101, ack = 900 }) })
  end)

  it("knows a SYN with data as answered whether the data was taken or not", function()
    local packets = {
      there(0, { flags = "S", seq = 100 }, 10), back(30, { flags = "SA", seq = 900, ack = 101 }),
      there(40, { seq = 101, ack = 901 }, 10), back(70, { seq = 901, ack = 111 }), -- sent again: no sample
    }
    assert.same({ { 30, 10, 40 }, NONE, NONE }, { times(packets) })
    packets[2] = back(30, { flags = "SA", seq = 900, ack = 111 })
    assert.same({ { 30, 10, 40 }, NONE, NONE }, { times(packets) })
  end)

  it("times one segment at once", function()
    local packets = {
      there(0, { seq = 100 }, 10), there(5, { seq = 110 }, 10), back(20, { ack = 110 }), -- 20
      back(29, { ack = 120 }), -- of the second, which was not timed
      there(40, { seq = 120 }, 10), back(50, { ack = 130 }), -- 10
    }
    assert.same({ 2, 10, 15, 20 }, there_samples(packets))
  end)

  it("waits until all of a segment is acknowledged, maybe with others", function()
    assert.same({ 1, 20, 20, 20 },
      there_samples { there(0, { seq = 100 }, 10), back(9, { ack = 109 }), back(20, { ack = 110 }) })
    assert.same({ 1, 20, 20, 20 },
      there_samples { there(0, { seq = 100 }, 10), there(1, { seq = 110 }, 10), back(20, { ack = 120 }) })
    -- A FIN is a number of its own.
    assert.same({ 1, 20, 20, 20 },
      there_samples { there(0, { flags = "FA", seq = 100 }, 10), back(9, { ack = 110 }), back(20, { ack = 111 }) })
  end)

  it("takes no acknowledgement from a segment without the flag, or from a reset", function()
    local data = there(0, { seq = 100 }, 10)
    assert.same(NONE, there_samples { data, back(5, { flags = "P", ack = 110 }, 1) })
    assert.same(NONE, there_samples { data, back(5, { flags = "RA", ack = 110 }) })
  end)

  it("takes no sample of what was sent again, in whole or in part, or around it", function()
    local first, ack = there(0, { seq = 100 }, 10), back(210, { ack = 130 })
    for _, again in ipairs {
      there(200, { seq = 100 }, 10), there(200, { seq = 105 }, 20), there(200, { seq = 109 }, 1),
      there(200, { seq = 95 }, 5), there(200, { flags = "FA", seq = 105 }),
    } do
      assert.same(NONE, there_samples { first, again, ack })
    end
    -- An acknowledgement sent again takes no numbers.
    assert.same({ 1, 210, 210, 210 }, there_samples { first, there(200, { seq = 99 }), ack })
  end)

  it("goes on with what is new after that", function()
    local packets = {
      there(0, { seq = 100 }, 10), there(200, { seq = 100 }, 20), -- again, and ten more
      there(201, { seq = 110 }, 5), back(210, { ack = 120 }),
      there(300, { seq = 120 }, 10), back(333, { ack = 130 }),
    }
    assert.same({ 1, 33, 33, 33 }, there_samples(packets))
  end)

  it("times data behind a gap", function()
    assert.same({ 1, 20, 20, 20 },
      there_samples { there(0, { seq = 100 }), there(1, { seq = 200 }, 10), back(21, { ack = 210 }) })
  end)

  it("counts numbers round 2^32", function()
    local packets = {
      there(0, { flags = "S", seq = 0xFFFFFFFF }), back(10, { flags = "SA", seq = 0xFFFFFFFA, ack = 0 }),
      there(20, { seq = 0, ack = 0xFFFFFFFB }), back(30, { seq = 0xFFFFFFFB, ack = 0 }, 10),
      there(35, { ack = 0xFFFFFFFF }), there(50, { seq = 0, ack = 5 }), -- 20
      back(60, { seq = 0xFFFFFFFB, ack = 0 }, 10), there(61, { seq = 0, ack = 5 }), -- again
    }
    assert.same({ { 10, 10, 20 }, NONE, { 1, 20, 20, 20 } }, { times(packets) })
    -- Across 2^31, where signed numbers wrap.
    assert.same({ 1, 9, 9, 9 }, there_samples {
      there(0, { seq = 0x7FFFFFFA }, 10), back(5, { ack = 0x7FFFFFFF }), back(9, { ack = 0x80000004 }),
    })
  end)

  it("has a mean of whole numbers that is as exact as a double", function()
    local packets = {}
    for i, time in ipairs { 10, 10, 20 } do
      packets[2 * i - 1] = there(100 * i, { seq = 100 * i }, 100)
      packets[2 * i] = back(100 * i + time, { ack = 100 * i + 100 })
    end
    assert.same({ 3, 10, 40 / 3, 20 }, there_samples(packets))
  end)

  it("needs flags and numbers to be captured, 48 bytes here", function()
    assert.same({ { -1, -1, -1 }, NONE, NONE }, { times(feature.cut(CONVERSATION, 45)) })
    assert.same({ times(CONVERSATION) }, { times(feature.cut(CONVERSATION, 48)) })
  end)

  it("refuses options", function()
    assert.matches("unknown option", engine.refusal(TcpRtt, { unit = "ms" }))
  end)
end)
