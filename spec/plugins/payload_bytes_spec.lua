-- plugins/payload_bytes.lua on payloads whose bytes, entropy and histograms are plain.

local engine = require "spec.support.engine"
local meter = require "spec.support.meter"
local P = require "nfengine.testing.packet"
local PayloadBytes = require "plugins.payload_bytes"
local worker = require "nfengine.worker"

local function flow_of(packets, options)
  local flows = engine.flows { packets = packets, udps = PayloadBytes(options) }
  assert.equal(1, #flows)
  return flows[1]
end

local function value(flow, way, name) return flow.udps["payload_" .. way .. "_" .. name] end

-- First bytes, as many as there are, as text; and whether zeros follow.
local function bytes(flow, way)
  local list, filled, text = value(flow, way, "bytes"), value(flow, way, "filled"), {}
  for i = 1, #list do
    if i <= filled then text[i] = string.char(list[i]) else assert.equal(0, list[i]) end
  end
  return table.concat(text)
end

local function bits(payload, options)
  return value(flow_of({ meter.udp(0, 1000, payload) }, options), "src2dst", "entropy")
end

local function every_byte()
  local all = {}
  for byte = 0, 255 do all[byte + 1] = string.char(byte) end
  return table.concat(all)
end

describe("payload_bytes", function()
  after_each(engine.cleanup)

  it("has the first bytes of each direction, from several packets", function()
    local flow = flow_of({
      meter.udp(0, 1000, "GET"), meter.back(1, 1000, "HTTP/1.1 200 OK"), meter.udp(2, 1000, " /"),
      meter.udp(3, 1000, "index"), meter.back(4, 1000, "x"),
    }, { bytes = 8 })
    assert.same({ "GET /ind", 8 }, { bytes(flow, "src2dst"), value(flow, "src2dst", "filled") })
    assert.same({ "HTTP/1.1", 8 }, { bytes(flow, "dst2src"), value(flow, "dst2src", "filled") })
    assert.equal(8, #value(flow, "src2dst", "bytes"))
  end)

  it("says how many of them there are", function()
    local flow = flow_of { meter.udp(0, 1000, "\1\0\0") }
    assert.same({ 32, 3, "\1\0\0" },
      { #value(flow, "src2dst", "bytes"), value(flow, "src2dst", "filled"), bytes(flow, "src2dst") })
    assert.same({ 32, 0, "" },
      { #value(flow, "dst2src", "bytes"), value(flow, "dst2src", "filled"), bytes(flow, "dst2src") })
  end)

  it("has the entropy of bytes", function()
    assert.equal(0, bits "a")
    assert.equal(0, bits(("a"):rep(777)))
    assert.equal(1, bits "abababab")
    assert.equal(2, bits "abcddcba")
    assert.equal(1.5, bits "aabcaabc")   -- 1/2 log2 2 + twice 1/4 log2 4
    assert.equal(8, bits(every_byte()))
    assert.equal(8, bits(every_byte():rep(4)))
  end)

  it("has the entropy of a direction's packets together", function()
    local flow = flow_of { meter.udp(0, 1000, "aa"), meter.back(1, 1000, "abcd"), meter.udp(2, 1000, "bb") }
    assert.same({ 1, 2 }, { value(flow, "src2dst", "entropy"), value(flow, "dst2src", "entropy") })
  end)

  it("looks at so many bytes of a direction only", function()
    assert.equal(0, bits("aaaabbbb", { entropy_bytes = 4 }))
    assert.equal(1, bits("aaaabbbb", { entropy_bytes = 8 }))
    local function of_three(options)
      local packets = { meter.udp(0, 1000, "aa"), meter.udp(1, 1000, "bbcc"), meter.udp(2, 1000, "dd") }
      return value(flow_of(packets, options), "src2dst", "entropy")
    end
    assert.equal(1, of_three { entropy_bytes = 4 })
    assert.equal(2, of_three { entropy_bytes = 8 })
  end)

  it("looks at 1024 bytes of each direction unless told otherwise", function()
    local flow = flow_of {
      meter.udp(0, 1000, ("a"):rep(512)), meter.udp(1, 1000, ("b"):rep(513)), meter.back(2, 1000, ("c"):rep(1025)),
    }
    local there, back = value(flow, "src2dst", "histogram"), value(flow, "dst2src", "histogram")
    assert.same({ 1024, 1024 }, { there[7], back[7] }) -- 0x61, 0x62, 0x63
    assert.equal(1, value(flow, "src2dst", "entropy")) -- 512 of each, not 513 of the last
  end)

  it("has the share of printable bytes", function()
    local function share(payload) return value(flow_of { meter.udp(0, 1000, payload) }, "src2dst", "printable") end
    assert.equal(1, share " ~Az09")
    assert.equal(0, share "\31\127\0\255\9\r\n\128")
    assert.equal(0.5, share "abc\0\0\0")
    assert.equal(95 / 256, share(every_byte()))
  end)

  it("has a histogram of upper four bits, or of bytes", function()
    local payload = "\0\15\16\127\128\255\255"
    local flow = flow_of { meter.udp(0, 1000, payload), meter.back(1, 1000, "12") }
    assert.same({ 2, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 2 }, value(flow, "src2dst", "histogram"):table())
    assert.same({ 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }, value(flow, "dst2src", "histogram"):table())
    local expected, other = {}, {}
    for bin = 1, 256 do expected[bin], other[bin] = 0, 0 end
    for _, byte in ipairs { payload:byte(1, -1) } do expected[byte + 1] = expected[byte + 1] + 1 end
    for _, byte in ipairs { 0x31, 0x32 } do other[byte + 1] = 1 end
    flow = flow_of({ meter.udp(0, 1000, payload), meter.back(1, 1000, "12") }, { histogram = "byte" })
    assert.same(expected, value(flow, "src2dst", "histogram"):table())
    assert.same(other, value(flow, "dst2src", "histogram"):table())
  end)

  it("of no payload is 0", function()
    local padded = P.eth {} .. P.ipv4 { total_length = 40 } .. P.tcp {} .. "padded"
    local flow = flow_of { meter.frame(0, padded), meter.frame(1, padded) }
    for _, way in ipairs { "src2dst", "dst2src" } do
      assert.same({ "", 0, 0 }, { bytes(flow, way), value(flow, way, "entropy"), value(flow, way, "printable") })
      assert.equal("[" .. ("0, "):rep(15) .. "0]", tostring(value(flow, way, "histogram")))
    end
  end)

  it("is of captured bytes", function()
    local function cut(captured)
      local packet = meter.udp(0, 1000, "abcdefgh") -- behind 42 bytes of headers
      packet.size, packet.bytes = #packet.bytes, packet.bytes:sub(1, captured)
      return flow_of { packet }
    end
    for captured, expected in pairs { [42] = "", [43] = "a", [46] = "abcd", [50] = "abcdefgh" } do
      local flow = cut(captured)
      assert.same({ expected, math.log(math.max(#expected, 1), 2) },
        { bytes(flow, "src2dst"), value(flow, "src2dst", "entropy") })
    end
  end)

  it("begins with what was captured first", function()
    local flow = flow_of { meter.back(0, 1000, "late"), meter.udp(1, 1000, "first") }
    assert.same({ "late", "first" }, { bytes(flow, "src2dst"), bytes(flow, "dst2src") })
  end)

  it("leaves the number of meters open", function()
    assert.is_false(worker.wants_one { PayloadBytes {} })
  end)

  it("refuses options that make no sense", function()
    for _, name in ipairs { "bytes", "entropy_bytes" } do
      for _, number in ipairs { 0, 65536, 1.5 } do
        assert.matches(("plugin payload_bytes: %s = %s: expected an integer from 1 to 65535"):format(name, number),
          engine.refusal(PayloadBytes, { [name] = number }), 1, true)
      end
    end
    assert.matches('plugin payload_bytes: histogram = "bit": expected "nibble" or "byte"',
      engine.refusal(PayloadBytes, { histogram = "bit" }), 1, true)
  end)
end)
