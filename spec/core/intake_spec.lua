-- core/intake.c: frames become packets on the run's clock; core/source.c: its limits, files and interfaces.

local ffi = require "ffi"
ffi.cdef "typedef uint64_t atomic_uint_least64_t;" -- which LuaJIT does not know
local C = require "spec.support.core" ("hash", "stream", "frame", "decode", "fragments", "intake")
local P = require "nfengine.testing.packet"
local capture = require "nfengine.testing.capture"
local meter = require "spec.support.meter"

local function options_for(paths, fields)
  local options = ffi.new "struct nf_options"
  local sources = ffi.new("const char *[?]", #paths, paths)
  options.sources, options.source_count, options.decode_tunnels = sources, #paths, true
  for name, value in pairs(fields or {}) do options[name] = value end
  return options, { sources, paths }
end

local kept = {}

local function open(paths, fields)
  local options, anchor = options_for(paths, fields)
  local key, message = ffi.new "struct nf_hash_key", ffi.new("char[?]", C.NF_ERROR_SIZE)
  local left = ffi.new("uint64_t[1]", fields and fields.max_packets or 0xffffffffffffffffULL)
  local intake = C.nf_intake_new(options, key, nil, left, message)
  if intake == nil then return nil, ffi.string(message) end
  kept[#kept + 1] = { anchor, left } -- the intake refers to them
  return ffi.gc(intake, C.nf_intake_free)
end

local EPOCH_MS = tonumber(meter.EPOCH / 1000000)

-- Everything an intake gives: packets as { position, tick }, sweeps as { position, tick }, ms after the epoch.
local function read_all(intake, is_lasting, capacity)
  local batch = ffi.gc(C.nf_batch_new(capacity or 64, is_lasting or false, true), C.nf_batch_free)
  local packets, sweeps, batches = {}, {}, 0
  while true do
    local status = C.nf_intake_read(intake, batch)
    if status < 0 then return packets, sweeps, status, batches end
    batches = batches + 1
    for i = 0, batch.count - 1 do
      local p = batch.packets[i]
      assert(batch.hashes[i] == C.nf_hash_tuple(ffi.new "struct nf_hash_key", p.tuple))
      local frame = ffi.string(p.frame, p.captured_size)
      local comment = p.comment_data ~= nil and ffi.string(p.comment_data, p.comment_size) or nil
      packets[#packets + 1] = { tonumber(p.position), tonumber(p.tick) - EPOCH_MS, frame, comment, p.has_comments }
    end
    for i = 0, batch.sweep_count - 1 do
      local sweep = batch.sweeps[i]
      sweeps[#sweeps + 1] = { tonumber(sweep.position), tonumber(sweep.tick) - EPOCH_MS }
      assert(sweep.position <= batch.position)
    end
  end
end

local function file(packets) return capture.file(capture.pcap(packets, { ns = true })) end

local function column(rows, index)
  local list = {}
  for i, row in ipairs(rows) do list[i] = row[index] end
  return list
end

describe("an intake", function()
  after_each(capture.cleanup)

  it("numbers packets over what it ignores, and never turns its clock back", function()
    local not_ip = { bytes = ("\0"):rep(60), time_ns = meter.EPOCH + 900000000ULL }
    local intake = open { file { meter.udp(5, 1000), not_ip, meter.udp(3, 1001), meter.udp(8, 1002) } }
    local packets, _, status = read_all(intake)
    assert.same({ { 1, 3, 4 }, { 5, 5, 8 } }, { column(packets, 1), column(packets, 2) })
    assert.equal(C.NF_END, status)
    local counters = ffi.new "struct nf_counters"
    C.nf_intake_count(intake, counters)
    assert.same({ 1, 60, 1 },
      { tonumber(counters.packets), tonumber(counters.bytes), tonumber(counters.ignored[C.NF_IGNORED_NOT_IP]) })
  end)

  it("notes a sweep at the first packet and every 10 ms of its clock", function()
    local packets = {}
    for i, at in ipairs { 0, 9, 10, 15, 500 } do packets[i] = meter.udp(at, 1) end
    local _, sweeps = read_all((open { file(packets) }))
    assert.same({ { 1, 0 }, { 3, 10 }, { 5, 500 } }, sweeps)
  end)

  it("gives the same in batches that last, whatever their size", function()
    local packets = {}
    for i = 1, 500 do packets[i] = meter.udp(i * 3, 1000 + i % 7, ("x"):rep(i)) end
    local path = file(packets)
    local one = { read_all((open { path }), false) }
    for _, capacity in ipairs { 32, 100, 1024 } do
      local lasting = { read_all((open { path }), true, capacity) }
      assert.same({ one[1], one[2], one[3] }, { lasting[1], lasting[2], lasting[3] })
    end
    local _, _, _, batches = read_all((open { path }), true, 1024)
    assert.equal(1, batches)
  end)

  it("keeps frames beyond the usual size", function()
    local packets = {}
    for i = 1, 40 do
      packets[i] = meter.frame(i, P.eth {} .. P.ipv4 {} .. P.udp { src_port = i } .. ("x"):rep(60000))
    end
    local path = file(packets)
    local one, lasting = read_all((open { path }), false), read_all((open { path }), true, 1024)
    assert.equal(40, #lasting)
    assert.same(one, lasting)
  end)

  -- A pcapng file of so many datagrams, of which every third has no comment.
  local function commented(count, payload, comment)
    local blocks = { capture.section(), capture.interface() }
    for i = 1, count do
      local bytes = (P.eth {} .. P.ipv4 {} .. P.udp { src_port = i } .. ("x"):rep(payload)):bytes()
      local options = i % 3 > 0 and { { 1, i .. comment } } or nil
      table.insert(blocks, capture.enhanced_packet { bytes = bytes, time_ns = meter.EPOCH, options = options })
    end
    return capture.file(capture.pcapng(blocks))
  end

  it("keeps comments with their frames, also beyond the usual size", function()
    for _, size in ipairs { { 10, "," }, { 30000, ("c"):rep(65000) } } do
      local path = commented(40, size[1], size[2])
      local one = read_all((open({ path }, { comments = true })))
      assert.same({ "1" .. size[2], "2" .. size[2] }, { one[1][4], one[2][4] })
      assert.is_nil(one[3][4])
      assert.is_true(one[3][5])
      assert.same(one, (read_all((open({ path }, { comments = true })), true, 1024)))
      local without = read_all((open { path }))
      assert.same({ one[1][3], nil, false }, { without[1][3], without[1][4], without[1][5] })
    end
  end)

  it("keeps no comments where it keeps no frames", function()
    local intake = open({ commented(5, 1, ",a") }, { comments = true })
    local batch = ffi.gc(C.nf_batch_new(1024, true, false), C.nf_batch_free)
    assert.equal(1, C.nf_intake_read(intake, batch))
    assert.equal(5, batch.count)
    for i = 0, 4 do assert.is_true(batch.packets[i].frame == nil and batch.packets[i].comment_data == nil) end
  end)
end)

describe("a source", function()
  after_each(capture.cleanup)

  local function is_live(...)
    return C.nf_source_is_live(ffi.new("const char *[?]", select("#", ...), { ... }), select("#", ...))
  end

  it("is live where all names are interfaces' and no file is called so", function()
    assert.is_true(is_live "lo")
    assert.is_true(is_live "any")
    assert.is_true(is_live("lo", "any"))
    assert.is_false(is_live("lo", "samples/dns.pcap"))
    assert.is_false(is_live "nosuch0")
    assert.is_false(is_live "-")
    assert.is_false(is_live "samples")
  end)

  it("is not both", function()
    local _, message = open { "samples/dns.pcap", "lo" }
    assert.equal('"lo": an interface among files, expected one or the other', message)
  end)

  it("ends after as many packets as it may give", function()
    local packets, _, status = read_all((open({ "samples/dns.pcap" }, { max_packets = 10 })))
    assert.same({ 10, C.NF_END }, { #packets, status })
  end)
end)
