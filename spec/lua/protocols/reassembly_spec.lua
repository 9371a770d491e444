-- lua/nfengine/protocols/reassembly.lua: TCP directions as a plugin follows them. What becomes of pieces is up to
-- core/assembly.c, and tested there.

local ffi = require "ffi"
local new_view = require("nfengine.packet").view
local nf = require "nfengine"
local reassembly = require "nfengine.protocols.reassembly"
local testing = require "nfengine.testing"

local P = testing.packet

-- What a plugin that follows both directions has of each flow when it ends: the bytes from the first on, as much as the
-- pool keeps, "-" where the stream has been given up, "." where none has begun. And the pool's counts.
local function followed(packets, options, flows_at_once)
  local texts, counts = {}, nil
  local Follow = nf.plugin {
    name = "follow",
    state = { { "follow_there", "double" }, { "follow_back", "double" } },
    setup = function(self) self.streams = reassembly.pool(options) end,
    on_init = function(self, packet, flow)
      flow.udps.follow_there = self.streams:follow(flow.udps.follow_there, packet)
    end,
    on_update = function(self, packet, flow)
      local udps = flow.udps
      if packet.direction == 0 then
        udps.follow_there = self.streams:follow(udps.follow_there, packet)
      else
        udps.follow_back = self.streams:follow(udps.follow_back, packet)
      end
    end,
    on_expire = function(self, flow)
      local two = {}
      for i, state in ipairs { flow.udps.follow_there, flow.udps.follow_back } do
        local view = state > 0 and self.streams:view(state)
        two[i] = state <= 0 and "." or view and view:string() or "-"
        self.streams:close(state)
      end
      texts[#texts + 1] = table.concat(two, " ")
    end,
    cleanup = function(self) counts = self.streams:counts() end,
  }
  local parameters = { packets = packets, udps = Follow {}, n_meters = 1, max_flows = flows_at_once }
  for _ in testing.streamer(parameters):flows() do end -- luacheck: ignore (runs it)
  return texts, counts
end

local at = 0

local function segment(fields, payload)
  at = at + 1
  local ip = fields.back and P.ipv4 { src = "10.0.0.2", dst = "10.0.0.1" } or P.ipv4 {}
  local from, to = fields.port or 1000, 2000
  if fields.back then from, to = to, from end
  local tcp = P.tcp { src_port = from, dst_port = to, seq = fields.seq, flags = fields.flags or "A" }
  return testing.at(at, P.eth {} .. ip .. tcp .. (payload or ""), { captured = fields.captured })
end

-- A packet whose bytes behind `size` were not captured.
local function cut(packet, size)
  packet.size, packet.bytes = #packet.bytes, packet.bytes:sub(1, size)
  return packet
end

describe("a TCP direction", function()
  after_each(testing.cleanup)

  it("begins behind its SYN, whatever comes first", function()
    assert.are.same({ "hello world ." }, (followed {
      segment { seq = 999, flags = "S" }, segment({ seq = 1006 }, "world"), segment({ seq = 1000 }, "hello "),
    }))
  end)

  it("begins in the SYN where that carries data already", function()
    assert.are.same({ "early data ." },
      (followed { segment({ seq = 7, flags = "S" }, "early"), segment({ seq = 13 }, " data") }))
  end)

  it("begins with its first segment where there was no SYN", function()
    assert.are.same({ "bc ." }, (followed {
      segment { seq = 500 }, segment({ seq = 500 }, "b"), segment({ seq = 499 }, "a"), segment({ seq = 501 }, "c"),
    }))
  end)

  it("goes its own way beside the other one", function()
    assert.are.same({ "question answer" }, (followed {
      segment { seq = 10, flags = "S" }, segment { seq = 90, flags = "SA", back = true },
      segment({ seq = 11 }, "quest"), segment({ seq = 94, back = true }, "wer"), segment({ seq = 16 }, "ion"),
      segment({ seq = 91, back = true }, "ans"),
    }))
  end)

  it("goes on where sequence numbers wrap", function()
    local last = 2 ^ 32 - 1
    assert.are.same({ "abcdef ." }, (followed {
      segment { seq = last - 3, flags = "S" }, segment({ seq = 1 }, "ef"), segment({ seq = last - 2 }, "abcd"),
    }))
    assert.are.same({ "ab ." }, (followed { segment { seq = last, flags = "S" }, segment({ seq = 0 }, "ab") }))
  end)

  it("takes what comes twice, and before its beginning, once", function()
    assert.are.same({ "abcd ." }, (followed {
      segment { seq = 9, flags = "S" }, segment({ seq = 10 }, "ab"), segment({ seq = 9 }, "?"),
      segment({ seq = 10 }, "AB"), segment({ seq = 8 }, "??ABcd"), segment { seq = 9, flags = "S" },
    }))
  end)

  it("has no stream until there is data", function()
    local texts, counts = followed({ segment { flags = "S" }, segment { flags = "SA", back = true }, segment {} })
    assert.are.same({ ". ." }, texts)
    assert.are.same({ displaced = 0, gapped = 0 }, counts)
  end)

  it("ends at what was not captured", function()
    local header = 14 + 20 + 20
    assert.are.same({ "abc ." }, (followed {
      segment { seq = 9, flags = "S" }, cut(segment({ seq = 10 }, "abcdef"), header + 3), segment({ seq = 16 }, "ghi"),
    }))
    for size = 14 + 20 + 4, header do -- ports, but no data
      assert.are.same({ ". ." }, (followed { cut(segment({ seq = 10 }, "abcdef"), size) }))
    end
  end)

  it("keeps so many bytes and no more", function()
    local packets = { segment({ seq = 10 }, "abc"), segment({ seq = 13 }, "def"), segment({ seq = 16 }, "g") }
    assert.are.same({ "abcd ." }, (followed(packets, { bytes = 4 })))
  end)

  it("is given up when its gap does not close, and does not begin anew", function()
    local packets = { segment { seq = 9, flags = "S" }, segment({ seq = 10 }, "a") }
    for i = 1, 5 do packets[i + 2] = segment({ seq = 10 + 2 * i }, "x") end
    local texts, counts = followed(packets, { patience = 6 })
    assert.are.same({ "a ." }, texts)
    assert.are.same({ displaced = 0, gapped = 0 }, counts)
    texts, counts = followed(packets, { patience = 5 })
    assert.are.same({ "- ." }, texts)
    assert.are.same({ displaced = 0, gapped = 1 }, counts)
    packets[#packets + 1] = segment({ seq = 10 }, "abc")
    assert.are.same({ "- ." }, (followed(packets, { patience = 5 })))
  end)

  it("is given up when it is the oldest of too many", function()
    local packets = {}
    for port = 1, 4 do packets[#packets + 1] = segment({ port = port }, "first " .. port) end
    for port = 1, 4 do packets[#packets + 1] = segment({ port = port, seq = 8 }, ", more") end
    local texts, counts = followed(packets, { streams = 3 })
    assert.are.same({ "- .", "first 2, more .", "first 3, more .", "first 4, more ." }, texts)
    assert.are.same({ displaced = 1, gapped = 0 }, counts)
  end)

  it("leaves its place to others when its flow ends", function()
    local packets = {}
    for port = 1, 50 do packets[#packets + 1] = segment({ port = port }, "x") end
    local texts, counts = followed(packets, { streams = 3 }, 2)
    assert.are.equal(50, #texts)
    for _, text in ipairs(texts) do assert.are.equal("x .", text) end
    assert.are.same({ displaced = 0, gapped = 0 }, counts)
  end)
end)

local function view(text) return new_view(ffi.cast("const uint8_t *", text), #text) end

describe("a pool", function()
  it("skips bytes, and takes segments by their numbers as before", function()
    local seen = {}
    local Skip = nf.plugin {
      name = "skip",
      setup = function(self)
        self.streams = reassembly.pool { bytes = 8 }
        self.stream = self.streams:open(2 ^ 32 - 2)
      end,
      on_update = function(self, packet)
        local there = self.streams:segment(self.stream, packet)
        seen[#seen + 1] = self.streams:view(self.stream):string(0, there)
        if there > 3 then seen[#seen + 1] = self.streams:skip(self.stream, 3) end
      end,
      cleanup = function(self)
        self.streams:close(self.stream)
        seen[#seen + 1] = tostring(self.streams:skip(self.stream, 1))
      end,
    }
    local packets = { segment {}, segment({ seq = 2 ^ 32 - 2 }, "abcdef"), segment({ seq = 4 }, "ghijklmn"),
      segment({ seq = 0 }, "??EFGH") }
    testing.flows { packets = packets, udps = Skip {}, n_meters = 1 }
    assert.are.same({ "abcdef", 3, "defghijk", 5, "ghijk", 2, "nil" }, seen)
  end)

  it("says how far one sequence number is behind another", function()
    for _, case in ipairs {
      { 5, 5, 0 }, { 6, 5, 1 }, { 5, 6, -1 }, { 0, 2 ^ 32 - 1, 1 }, { 2 ^ 32 - 1, 0, -1 },
      { 2 ^ 31 - 1, 0, 2 ^ 31 - 1 }, { 2 ^ 31, 0, -2 ^ 31 },
    } do
      assert.are.equal(case[3], reassembly.distance(case[1], case[2]))
    end
  end)

  it("refuses options that it does not have, and numbers out of bounds", function()
    local refusal = testing.refusal
    assert.is_truthy(refusal(reassembly.pool, { stream = 3 }):find "no option 'stream'")
    for name, bad in pairs { streams = { 0, 65537, 1.5, "3" }, bytes = { 0, 2 ^ 24 + 1 }, patience = { 0, 2 ^ 31 } } do
      for _, value in ipairs(bad) do
        assert.is_truthy(refusal(reassembly.pool, { [name] = value }):find(name .. ": expected an integer from 1 to "))
      end
    end
  end)

  it("puts together pieces that say where they stand", function()
    local pool = reassembly.pool { streams = 1 }
    local stream, other = pool:open(), pool:open()
    assert.are.same({ nil, 0, 4, 4 },
      { pool:add(stream, 0, view "x"), pool:add(other, 2, view "cd"), pool:add(other, 0, view "ab"),
        pool:add(other, 0, view "") })
    assert.are.equal("abcd", pool:view(other):string())
  end)

  it("answers nil for numbers that are no open stream's", function()
    local pool = reassembly.pool { streams = 1 }
    local stream = pool:open()
    pool:close(stream)
    for _, number in ipairs { stream, 0, -1, -1000 } do
      assert.is_nil(pool:view(number))
      assert.is_nil(pool:add(number, 0, view "x"))
      pool:close(number)
    end
  end)
end)
