-- plugins/tcp_window.lua: windows worked out by hand.

local P = require "nfengine.testing.packet"
local engine = require "spec.support.engine"
local feature = require "spec.support.feature"
local meter = require "spec.support.meter"
local tcp = require "spec.support.tcp"
local TcpWindow = require "plugins.tcp_window"

local there, back, scale = tcp.there, tcp.back, tcp.scale

-- What the plugin says of the first flow of these packets: { init, min, max, zero, shift } of both directions.
local function windows(packets, options)
  local flow = engine.flows({ packets = packets, udps = TcpWindow(options or {}) })[1]
  local words = "init min max zero shift"
  return { feature.values(flow, "tcp_window_src2dst", words), feature.values(flow, "tcp_window_dst2src", words) }
end

-- Shifts after a handshake with these options in its SYNs.
local function shifts(one, other)
  local result = windows { there(0, { flags = "S", options = one }), back(1, { flags = "SA", options = other }) }
  return { result[1][5], result[2][5] }
end

local CONVERSATION = {
  there(0, { flags = "S", window = 64240, options = scale(7) }),
  back(1, { flags = "SA", window = 65160, options = scale(2) }),
  there(2, { window = 502 }), -- * 128 = 64256
  back(3, { window = 1000 }), -- * 4 = 4000
  there(4, { window = 0 }),
  back(5, { window = 16290 }, "data"), -- * 4 = 65160
  there(6, { flags = "FA", window = 501 }), -- * 128 = 64128
  back(7, { flags = "R", window = 0 }),
}

local NONE = { -1, -1, -1, 0, -1 }

describe("tcp_window", function()
  after_each(engine.cleanup)

  feature.tests("tcp_window", "web.pcap", CONVERSATION)

  it("has the smallest and largest window, scaled but for those of the SYNs", function()
    assert.same({ { 64240, 0, 64256, 1, 7 }, { 65160, 4000, 65160, 0, 2 } }, windows(CONVERSATION))
  end)

  it("has the header's with scale = false", function()
    assert.same({ { 64240, 0, 64240, 1, 7 }, { 65160, 1000, 65160, 0, 2 } }, windows(CONVERSATION, { scale = false }))
  end)

  it("scales nothing unless both SYNs have the option", function()
    for _, options in ipairs { { scale(7), "" }, { "", scale(7) }, { "", "" } } do
      local result = windows {
        there(0, { flags = "S", window = 100, options = options[1] }),
        back(1, { flags = "SA", window = 200, options = options[2] }),
        there(2, { window = 300 }), back(3, { window = 400 }),
      }
      assert.same({ { 100, 100, 300, 0, 0 }, { 200, 200, 400, 0, 0 } }, result)
    end
  end)

  it("scales by 0 where that is what both say", function()
    assert.same({ 0, 0 }, shifts(scale(0), scale(0)))
    assert.same({ 0, 5 }, shifts(scale(0), scale(5)))
  end)

  it("takes a shift above 14 for 14", function()
    local result = windows {
      there(0, { flags = "S", window = 1, options = scale(15) }), back(1, { flags = "SA", options = scale(255) }),
      there(2, { window = 65535 }),
    }
    assert.same({ 1, 1, 1073725440, 0, 14 }, result[1]) -- 65535 * 16384
    assert.equal(14, result[2][5])
  end)

  it("knows no shift where a SYN was not seen, and gives the header's windows", function()
    local middle = { there(0, { window = 300 }), back(1, { window = 400 }), there(2, { window = 200 }) }
    assert.same({ { 300, 200, 300, 0, -1 }, { 400, 400, 400, 0, -1 } }, windows(middle))
    local without_answer = {
      there(0, { flags = "S", window = 64240, options = scale(7) }), there(1, { window = 300 }),
      back(2, { window = 400 }),
    }
    assert.same({ { 64240, 300, 64240, 0, -1 }, { 400, 400, 400, 0, -1 } }, windows(without_answer))
  end)

  it("knows by a SYN/ACK alone its sender's shift, and both where it has none", function()
    local function from_answer(options)
      return windows { back(0, { flags = "SA", window = 400, options = options }), there(1, { window = 300 }),
        back(2, { window = 200 }) }
    end
    assert.same({ { 400, 400, 800, 0, 2 }, { 300, 300, 300, 0, -1 } }, from_answer(scale(2)))
    assert.same({ { 400, 200, 400, 0, 0 }, { 300, 300, 300, 0, 0 } }, from_answer "")
  end)

  it("has a direction without segments, and flows that are not TCP", function()
    assert.same({ { 64240, 64240, 64240, 0, -1 }, NONE }, windows { there(0, { flags = "S", window = 64240 }) })
    assert.same({ NONE, NONE }, windows { meter.udp(0, 1000, ("x"):rep(50)), meter.back(1, 1000) })
  end)

  it("takes a reset's window for the initial one alone", function()
    local refused = { there(0, { flags = "S", window = 64240 }), back(1, { flags = "RA", window = 0 }) }
    assert.same({ 0, -1, -1, 0, -1 }, windows(refused)[2])
  end)

  it("counts closed windows in SYN and FIN, too", function()
    local closed = {
      there(0, { flags = "S", window = 0 }), there(1, { window = 0 }), there(2, { flags = "FA", window = 0 }),
    }
    closed[4] = there(3, { window = 9 })
    assert.same({ 0, 0, 9, 3, -1 }, windows(closed)[1])
  end)

  it("is not led astray by a SYN that comes again, late or twice in the capture", function()
    local syn, answer = { flags = "S", options = scale(7) }, { flags = "SA", options = scale(2) }
    local result = windows {
      there(0, syn), there(1, syn), back(2, answer), back(3, answer), there(4, syn),
      there(5, { window = 10 }), back(6, { window = 10 }),
    }
    assert.same({ { 1000, 1000, 1280, 0, 7 }, { 1000, 40, 1000, 0, 2 } }, result)
  end)

  it("goes by the latest handshake where ports are used again", function()
    local result = windows {
      there(0, { flags = "S", seq = 1, options = scale(7) }), back(1, { flags = "SA", options = scale(7) }),
      there(2, { window = 1 }), -- 128
      back(3, { flags = "R", window = 0 }),
      there(4, { flags = "S", seq = 9, options = scale(3) }), back(5, { flags = "SA", options = scale(4) }),
      there(6, { window = 2 }), -- 16
      back(7, { window = 3 }), -- 48
    }
    assert.same({ { 1000, 16, 1000, 0, 3 }, { 1000, 48, 1000, 0, 4 } }, result)
  end)

  it("finds the option among others", function()
    local linux = P.hex "020405b4 0402 080a0000000100000000 01" .. scale(7) -- MSS, SACK, timestamps, no operation
    assert.same({ 7, 7 }, shifts(linux, linux))
    assert.same({ 2, 1 }, shifts(P.hex "010101" .. scale(2), scale(1) .. P.hex "00"))
    assert.same({ 7, 3 }, shifts(linux, scale(3) .. scale(9))) -- the first of two
  end)

  it("takes nothing for the option that is none", function()
    for _, options in ipairs {
      P.hex "00" .. scale(7),             -- behind the end of the list
      P.hex "0300070000",                 -- without a length
      P.hex "030107",                     -- with one that does not hold itself
      P.hex "03040700",                   -- with another than 3
      P.hex "010a" .. scale(7):sub(1, 2), -- in another option that reaches beyond the header
      P.hex "09ff" .. scale(7),           -- behind another option that does
      P.hex "0900" .. scale(7), P.hex "0901" .. scale(7),
    } do
      assert.same({ 0, 0 }, shifts(options, scale(5)))
    end
  end)

  it("does not read payload for options", function()
    local answer = back(1, { flags = "SA", options = scale(5) })
    -- Behind a header without options, and behind one that ends within the option.
    local cut = { flags = "S", options = P.hex "01010303" }
    for _, syn in ipairs { there(0, { flags = "S" }, scale(7)), there(0, cut, "\7") } do
      local result = windows { syn, answer }
      assert.same({ 0, 0 }, { result[1][5], result[2][5] })
    end
  end)

  it("knows no shift where the option was not captured", function()
    local syn, answer = there(0, { flags = "S", options = scale(7) }), back(1, { flags = "SA", options = scale(2) })
    for length, expected in pairs { [54] = -1, [55] = -1, [56] = -1, [57] = 7, [58] = 7 } do -- 54 with the header
      assert.same(expected, windows(feature.cut({ syn, answer }, length))[1][5])
    end
    local function cut(packet) return feature.cut({ packet }, 56)[1] end
    local one, other = windows { syn, cut(answer) }, windows { cut(syn), answer }
    assert.same({ -1, -1, -1, 2 }, { one[1][5], one[2][5], other[1][5], other[2][5] })
    -- A header that claims to be longer than its segment.
    assert.same(-1, windows({ there(0, { flags = "S", data_offset = 15 }), answer })[1][5])
  end)

  it("has a window as soon as its two bytes were captured", function()
    local syn = { there(0, { flags = "S", window = 500 }) }
    assert.same({ NONE, NONE }, windows(feature.cut(syn, 49)))
    assert.same({ 500, 500, 500, 0, -1 }, windows(feature.cut(syn, 50))[1])
  end)

  it("reads IPv6 the same way", function()
    local function frame(at, ip, fields) return meter.frame(at, P.eth {} .. ip .. P.tcp(fields)) end
    local forth, answer = P.ipv6 {}, P.ipv6 { src = "2001:db8::2", dst = "2001:db8::1" }
    local result = windows {
      frame(0, forth, { flags = "S", options = scale(1) }),
      frame(1, answer, { flags = "SA", options = scale(2), src_port = 2000, dst_port = 1000 }),
      frame(2, forth, { window = 3000 }),
    }
    assert.same({ { 1000, 1000, 6000, 0, 1 }, { 1000, 1000, 1000, 0, 2 } }, result)
  end)

  it("refuses a scale that is not true or false", function()
    assert.equal('plugin tcp_window: scale = "yes": expected true or false',
      engine.refusal(TcpWindow, { scale = "yes" }))
    assert.matches("unknown option", engine.refusal(TcpWindow, { scaled = true }))
  end)
end)
