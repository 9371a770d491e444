-- core/mask.c: what becomes of values.

local bit = require "bit"
local ffi = require "ffi"
local C = require "nfengine.lib"
local random = require "spec.support.random"
local rows = require "spec.support.rows"

local message = ffi.new("char[?]", C.NF_ERROR_SIZE)
local bad = "\239\191\189" -- U+FFFD

local function counting(size)
  local bytes = {}
  for i = 1, size do bytes[i] = string.char(i - 1) end
  return table.concat(bytes)
end

local KEY, OTHER = counting(64), ("\9"):rep(64)

-- The key of the sample that came with the reference implementation of Crypto-PAn.
local SAMPLE_KEY = string.char(21, 34, 23, 141, 51, 164, 207, 128, 19, 10, 91, 22, 73, 144, 125, 16, 216, 152, 143, 131,
  121, 121, 101, 39, 98, 87, 76, 45, 42, 132, 34, 2)

-- nf_mask_new for one step for each column of a record of `rows`: `steps` lists how each is masked, false for those
-- that stay. Returns it, or nil and why not, and the columns of masked records.
local function new_mask(record, steps, key, given)
  local size, hash_size = record.size, given and given.hash_size or 64
  local list, count, columns = ffi.new("struct nf_mask_step[?]", #steps), 0, record:c_columns()
  local masked = record:c_columns()
  for i, masking in ipairs(steps) do
    if masking then
      local step = list[count]
      step.column, step.masking, count = columns[i - 1], masking, count + 1
      if masking == C.NF_MASK_HASH or masking == C.NF_MASK_NAME then
        step.to = size
        masked[i - 1].offset, masked[i - 1].length = size, 2 * hash_size + 1
        masked[i - 1].type, masked[i - 1].is_array = C.NF_TYPE_TEXT, false
        size = size + 2 * hash_size + 1
      end
      if given and given.none then step.column.has_none, step.column.none = true, given.none end
    end
  end
  local options = ffi.new("struct nf_mask_options", {
    steps = list, count = count, record_size = record.size, size = size, hash_size = hash_size,
    shift = given and given.shift or 0,
  })
  ffi.copy(options.key.bytes, key, #key)
  options.key.size = #key
  local mask = C.nf_mask_new(options, message)
  if mask == nil then return nil, ffi.string(message) end
  return ffi.gc(mask, C.nf_mask_free), masked
end

-- What a writer of this format makes of such a record, masked.
local function written(format, record, steps, key, given, count)
  local mask, columns = assert(new_mask(record, steps, key, given))
  C.nf_mask_apply(mask, record:record())
  return rows.text(format, columns, #record.columns, C.nf_mask_record(mask), count)
end

-- The first row of the CSV alone.
local function csv_row(...) return (written(C.NF_FORMAT_CSV, ...):match "^[^\n]*\n(.*)\n$") end

describe("a hash", function()
  -- BLAKE2b's published test vector for this key and no input; the others are from an independent implementation.
  local hashes = {
    [""] = "10ebb67700b1868efb4417987acf4690ae9d972fb7a590c2f02871799aaa4786" ..
           "b5e996e8f0f4eb981fc214b005f42d2ff4233499391653df7aefcbc13fc51568",
    ["10.0.0.1"] = "141d848cc5edea11f1b86e8f3f20fb139301fbdf59671c94d42e302d0b1d78b4" ..
      "4cbee57b54955a92011d3f166bfd822a3ad9bf86ba5ccc1a09d30f0bf837c7ba",
    ["00:1b:21:0f:01:ff"] = "6b6a0929dbb7bb628df84d2cbb63d76ff416420ba822113237f4932f654677c6" ..
      "78659b5ca806d39207f8d28cedaaef4b236ff0dc7b4beb50f6e9c8652fb796b2",
    ["-5"] = "0c0b35f95590643e6af8f6adc9dd40c7768f01908dadaa1405152da1c948e5aa" ..
      "ed7da7b3df05c524fbcaac6c76b59554957eed304e25f6639c28ef80504cadab",
    ["0.5"] = "5cf5a79ff21955250026b8d4d59aa501f6abaf8bae4f43592b3001ae01eca0d7" ..
      "89e67898143282b70397753c35563d6c71744859d6bf7739c9a70ad54f14d549",
    ["[0, 1, -1]"] = "e1142248a5d9654d4fd09e6977854d417f0b960f3fbab0d0993bbb8c6a31c71f" ..
      "d1df64eaccb9cfef028d6b1ae91ad03f3915a8b3ef0390e720e1393e70364073",
    ['say "x"'] = "8df53d5ed08e7d0ae186264df77c8af08b5623449ccc7228c655ff17ca5b6a95" ..
      "e0c426516c316fd13798dbd4ffd329f04196cb68883161112d4660a439e8d888",
    idle = "979441f018053387adaa66e819eab46accf10699de8f9c94687bec6b5a3dd9d5" ..
      "82996c1b0ccf3cd5a909db9efef1f8ddd3126c9897ee26f85fb1091a46d3e568",
    ["x" .. bad] = "f6e0b478759ded0762c59690b822a0f3f5cd0a6cf038d7b3b90e7e2a4ef76d5e" ..
      "3f80d4e79a7e924582bffcfee7a45257ef39fb97098edb83983dcc2084fc8b55",
  }

  local function check(text, record)
    assert.equal('"' .. assert(hashes[text]) .. '"', csv_row(record, { C.NF_MASK_HASH }, KEY))
  end

  it("is the keyed BLAKE2b hash of the value's text", function()
    check("10.0.0.1", rows.new():add("a", "ip", "\10\0\0\1" .. ("\0"):rep(12)))
    check("00:1b:21:0f:01:ff", rows.new():add("a", "mac", "\0\27\33\15\1\255"))
    check("-5", rows.new():add("a", "int32", -5))
    check("0.5", rows.new():add("a", "double", 0.5))
    check("[0, 1, -1]", rows.new():add("a", "int8", { 0, 1, -1 }))
    check('say "x"', rows.new():add("a", "text", 'say "x"', 40))
    check("idle", rows.new():add("a", "end_reason", C.NF_END_IDLE))
  end)

  it("is one of an empty text, too", function()
    check("", rows.new():add("a", "text", "", 1))
  end)

  it("is one of a text as it is printed, with U+FFFD for what is no UTF-8", function()
    check("x" .. bad, rows.new():add("a", "text", "x\255"))
  end)

  it("leaves an empty text empty where a name is hashed, and hashes any other alike", function()
    assert.equal('""', csv_row(rows.new():add("a", "text", "", 1), { C.NF_MASK_NAME }, KEY))
    assert.equal('"' .. hashes["10.0.0.1"] .. '"',
      csv_row(rows.new():add("a", "text", "10.0.0.1"), { C.NF_MASK_NAME }, KEY))
  end)

  it("is one of a long text, too", function()
    local hash = "94d6839936a2bed7029348bc50bfbd99019f9326ed6c9c5e52a5982ac121590d" ..
      "5128f43386316b46208f072dae691f4266c4808843f6f14211512532ba5b2e94"
    assert.equal('"' .. hash .. '"', csv_row(rows.new():add("a", "text", ("long "):rep(40)), { C.NF_MASK_HASH }, KEY))
  end)

  it("fits in the row, however many there are", function()
    local record, steps = rows.new(), {}
    for i = 1, 500 do
      record:add("c" .. i, "uint8", i % 256)
      steps[i] = C.NF_MASK_HASH
    end
    local last = written(C.NF_FORMAT_CSV, record, steps, KEY, nil, 10):match ".*\n(.-\n)$"
    local cells = 0
    for _ in last:gmatch '"%x+"' do cells = cells + 1 end
    assert.equal(500, cells)
    assert.equal(500 * (128 + 3), #last)
  end)

  -- Python: hashlib.blake2b(b"-5", key=bytes(range(SIZE)), digest_size=LENGTH)
  it("is shorter where that is asked for, and no part of the longer one", function()
    local function hash(length, key)
      return csv_row(rows.new():add("a", "int32", -5), { C.NF_MASK_HASH }, key, { hash_size = length })
    end
    assert.equal('"47f7c28981c5c96a6947c54f29f470a1"', hash(16, KEY))
    assert.equal('"3c8c13d1ac05601b4cf6df99353bc006c882d5fc3d2dbd08039f1501dc082a1a"', hash(32, counting(32)))
  end)

  it("differs with another key, and leaves other columns alone", function()
    local record, steps = rows.new():add("a", "int32", -5):add("b", "int32", -5), { C.NF_MASK_HASH, false }
    assert.not_equal(csv_row(record, steps, KEY), csv_row(record, steps, OTHER))
    assert.matches('^"%x+",%-5$', csv_row(record, steps, OTHER))
  end)

  it("is the same in JSON lines, and a text in Parquet", function()
    for _, record in ipairs {
      rows.new():add("a", "text", 'say "x"\n\255'), rows.new():add("a", "int32", -5), rows.new():add("a", "bool", true),
      rows.new():add("a", "int8", { 1, 2 }), rows.new():add("a", "double", 0 / 0),
    } do
      local row = csv_row(record, { C.NF_MASK_HASH }, KEY)
      assert.matches('^"%x+"$', row)
      assert.equal(130, #row)
      assert.equal('{"a":' .. row .. "}\n", written(C.NF_FORMAT_JSONL, record, { C.NF_MASK_HASH }, KEY))
      assert.equal("PAR1", written(C.NF_FORMAT_PARQUET, record, { C.NF_MASK_HASH }, KEY):sub(1, 4))
    end
  end)
end)

-- ---- addresses ----

local text_room = ffi.new "char[46]"

local function masker(type_, masking, key, ip_version)
  local record = rows.new():add("a", type_, ("\0"):rep(type_ == "ip" and 16 or 6))
  record.ip_version = ip_version or 4
  local mask = assert(new_mask(record, { masking }, key))
  local truth = record:record()
  local size = type_ == "ip" and (ip_version == 6 and 16 or 4) or 6
  return function(bytes)
    ffi.copy(truth + 1, bytes, size)
    C.nf_mask_apply(mask, truth)
    assert(bytes == ffi.string(truth + 1, size)) -- what is masked is a copy
    return ffi.string(C.nf_mask_record(mask) + 1, size)
  end
end

local function ipv4(text) return string.char(text:match "(%d+)%.(%d+)%.(%d+)%.(%d+)") end

-- As text, of a record of this version.
local function ip_text(bytes, version)
  local address = ffi.new "uint8_t[16]"
  ffi.copy(address, bytes, #bytes)
  return ffi.string(text_room, C.nf_format_ip(text_room, address, version))
end

local function common_bits(a, b)
  for i = 1, #a do
    local differing = bit.bxor(a:byte(i), b:byte(i))
    for k = 0, 7 do
      if bit.band(differing, bit.rshift(0x80, k)) ~= 0 then return (i - 1) * 8 + k end
    end
  end
  return #a * 8
end

describe("an address", function()
  it("becomes what the reference implementation of Crypto-PAn has made of its sample", function()
    local mask = masker("ip", C.NF_MASK_ADDRESS, SAMPLE_KEY)
    local sample = [[
      128.11.68.132 135.242.180.132  129.118.74.4 134.136.186.123  130.132.252.244 133.68.164.234
      141.223.7.43 141.167.8.160  141.233.145.108 141.129.237.235  152.163.225.39 151.140.114.167
      156.29.3.236 147.225.12.42  165.247.96.84 162.9.99.234  166.107.77.190 160.132.178.185
      192.102.249.13 252.138.62.131  192.215.32.125 252.43.47.189  192.233.80.103 252.25.108.8
      192.41.57.43 252.222.221.184  193.150.244.223 253.169.52.216  195.205.63.100 255.186.223.5
      198.200.171.101 249.199.68.213  198.26.132.101 249.36.123.202  198.36.213.5 249.7.21.132
      198.51.77.238 249.18.186.254  199.217.79.101 248.38.184.213  202.49.198.20 245.206.7.234
      203.12.160.252 244.248.163.4  204.184.162.189 243.192.77.90  204.202.136.230 243.178.4.198
      204.29.20.4 243.33.20.123  205.178.38.67 242.108.198.51  205.188.147.153 242.96.16.101
      205.188.248.25 242.96.88.27  205.245.121.43 242.21.121.163  207.105.49.5 241.118.205.138
      207.135.65.238 241.202.129.222  207.155.9.214 241.220.250.22  207.188.7.45 241.255.249.220
      207.25.71.27 241.33.119.156  207.33.151.131 241.1.233.131  208.147.89.59 227.237.98.191
      208.234.120.210 227.154.67.17  208.28.185.184 227.39.94.90  208.52.56.122 227.8.63.165
      209.12.231.7 226.243.167.8  209.238.72.3 226.6.119.243  209.246.74.109 226.22.124.76
      209.68.60.238 226.184.220.233  209.85.249.6 226.170.70.6  212.120.124.31 228.135.163.231
      212.146.8.236 228.19.4.234  212.186.227.154 228.59.98.98  212.204.172.118 228.71.195.169
      212.206.130.201 228.69.242.193  216.148.237.145 235.84.194.111  216.157.30.252 235.89.31.26
      216.184.159.48 235.96.225.78  216.227.10.221 235.28.253.36  216.254.18.172 235.7.16.162
      216.32.132.250 235.192.139.38  216.35.217.178 235.195.157.81  24.0.250.221 100.15.198.226
      24.13.62.231 100.2.192.247  24.14.213.138 100.1.42.141  24.5.0.80 100.9.15.210
      24.7.198.88 100.10.6.25  24.94.26.44 100.88.228.35  38.15.67.68 64.3.66.187
      4.3.88.225 124.60.155.63  63.14.55.111 95.9.215.7  63.195.241.44 95.179.238.44
      63.97.7.140 95.97.9.123  64.14.118.196 0.255.183.58  64.34.154.117 0.221.154.117
      64.39.15.238 0.219.7.41  10.185.25.118 117.161.29.118]]
    local count = 0
    for from, to in sample:gmatch "(%S+) (%S+)" do
      assert.equal(to, ip_text(mask(ipv4(from)), 4))
      count = count + 1
    end
    assert.equal(71, count)
  end)

  it("of IPv6 becomes what other implementations make of it", function()
    local mask = masker("ip", C.NF_MASK_ADDRESS, SAMPLE_KEY, 6)
    for _, case in ipairs {
      { ("\0"):rep(15) .. "\1", "78ff:f001:9fc0:20df:8380:b1f1:704:ed" },
      { ("\0"):rep(15) .. "\2", "78ff:f001:9fc0:20df:8380:b1f1:704:ef" },
      { ("\0"):rep(14) .. "\255\255", "78ff:f001:9fc0:20df:8380:b1f1:704:f838" },
      { "\32\1\13\184" .. ("\0"):rep(11) .. "\1", "4401:2bc:603f:d91d:27f:ff8e:e6f1:dc1e" },
      { "\32\1\13\184" .. ("\0"):rep(11) .. "\2", "4401:2bc:603f:d91d:27f:ff8e:e6f1:dc1c" },
    } do
      assert.equal(case[2], ip_text(mask(case[1]), 6))
    end
  end)

  it("shares as many leading bits with any other as before", function()
    for _, version in ipairs { 4, 6 } do
      local size, mask = version == 4 and 4 or 16, masker("ip", C.NF_MASK_ADDRESS, OTHER, version)
      random.trial(function(below)
        for _ = 1, 300 do
          local shared, a, b = below(size * 8 + 1), {}, {}
          for i = 1, size do
            local keep = math.max(0, math.min(8, shared - (i - 1) * 8)) -- bits of this byte
            local kept = bit.band(bit.lshift(0xff, 8 - keep), 0xff)
            a[i] = below(256)
            b[i] = bit.bor(bit.band(a[i], kept), bit.band(below(256), bit.bxor(kept, 0xff)))
          end
          local one, two = string.char(unpack(a)), string.char(unpack(b))
          assert(common_bits(one, two) == common_bits(mask(one), mask(two)), shared)
        end
      end)
    end
  end)

  -- Python: hashlib.blake2b(key=bytes(range(64)), person=b"addresses", digest_size=32)
  it("has 32 derived bytes for a key where there are more", function()
    local derived = "fc21319f8a5130eb7c2437e042e44a8454e798351fbff4ae3dd7e0c85ebdba01"
    local bytes = derived:gsub("%x%x", function(digits) return string.char(tonumber(digits, 16)) end)
    local address = ipv4 "192.0.2.1"
    local with_key = masker("ip", C.NF_MASK_ADDRESS, KEY)(address)
    assert.equal(masker("ip", C.NF_MASK_ADDRESS, bytes)(address), with_key)
    assert.not_equal(masker("ip", C.NF_MASK_ADDRESS, KEY:sub(1, 32))(address), with_key)
  end)
end)

describe("a MAC address", function()
  local function check_masked(masking, kept, count)
    local mask, seen = masker("mac", masking, KEY), {}
    for i = 1, count do
      local mac = ("\0\27\33%c%c%c"):format(math.floor(i / 65536), math.floor(i / 256) % 256, i % 256)
      local as = mask(mac)
      local keeps_flags = bit.band(mac:byte(1), 3) == bit.band(as:byte(1), 3) -- whether a group, and whether local
      if as ~= mask(mac) or seen[as] or mac == as or mac:sub(1, kept) ~= as:sub(1, kept) or not keeps_flags then
        error(("%d became %q"):format(i, as))
      end
      seen[as] = true
    end
  end

  it("becomes another one, each its own", function() check_masked(C.NF_MASK_MAC, 0, 3000) end)

  it("keeps its vendor where that is asked for, and no two become one", function()
    check_masked(C.NF_MASK_DEVICE, 3, 20000) -- random ones would have met a dozen times
  end)

  it("of another vendor becomes another one, with the same last bytes", function()
    local mask = masker("mac", C.NF_MASK_DEVICE, KEY)
    assert.not_equal(mask("\0\27\33\1\2\3"):sub(4), mask("\0\27\34\1\2\3"):sub(4))
  end)

  it("stays where it is none, and where it means everybody", function()
    for _, masking in ipairs { C.NF_MASK_MAC, C.NF_MASK_DEVICE } do
      for _, mac in ipairs { ("\0"):rep(6), ("\255"):rep(6) } do
        assert.equal(mac, masker("mac", masking, KEY)(mac))
      end
    end
  end)

  it("differs with another key", function()
    for _, masking in ipairs { C.NF_MASK_MAC, C.NF_MASK_DEVICE } do
      local mac = "\0\27\33\1\2\3"
      assert.not_equal(masker("mac", masking, KEY)(mac), masker("mac", masking, OTHER)(mac))
    end
  end)
end)

-- ---- numbers ----

describe("a moment", function()
  local function shifted(moment, shift, none)
    return csv_row(rows.new():add("a", "uint64", moment), { C.NF_MASK_MOMENT }, KEY, { shift = shift, none = none })
  end

  it("is so many ticks later or earlier", function()
    assert.equal("1500", shifted(1000, 500))
    assert.equal("500", shifted(1000, -500))
    assert.equal("1600000000000000001", shifted(1600000000000000000ULL, 1))
  end)

  it("is never before 1970", function() assert.equal("0", shifted(1000, -2000)) end)

  it("stays where it is none", function()
    assert.equal("0", shifted(0, 500, 0))
    assert.equal("501", shifted(1, 500, 0))
  end)
end)

describe("a port", function()
  it("is 0 where the system has chosen it", function()
    local function coarse(port) return csv_row(rows.new():add("a", "uint16", port), { C.NF_MASK_PORT }, KEY) end
    assert.same({ "0", "443", "32767", "0", "0" },
      { coarse(0), coarse(443), coarse(32767), coarse(32768), coarse(65535) })
  end)
end)

-- ---- masks ----

describe("a mask", function()
  it("hashes what was true, whatever else is done to it", function()
    local record = rows.new():add("a", "ip", ipv4 "10.0.0.1" .. ("\0"):rep(12))
    record.columns[2] = record.columns[1]
    local function cells(...) return csv_row(record, { ... }, KEY):match '^"(.-)","(.-)"$' end
    local hash, address = cells(C.NF_MASK_HASH, C.NF_MASK_ADDRESS)
    assert.equal(cells(C.NF_MASK_HASH, false), hash)
    assert.same({ address, hash }, { cells(C.NF_MASK_ADDRESS, C.NF_MASK_HASH) })
    assert.not_equal("10.0.0.1", address)
  end)

  it("remembers values by what was done to them", function()
    local mac = "\0\27\33\1\2\3"
    local record = rows.new():add("a", "mac", mac):add("b", "mac", mac):add("c", "text", mac:sub(2))
    record:add("d", "mac", mac)
    local mask, columns = new_mask(record, { C.NF_MASK_MAC, C.NF_MASK_DEVICE, C.NF_MASK_NAME, C.NF_MASK_MAC }, KEY)
    local results, truth = {}, record:record()
    for i = 1, 2 do
      C.nf_mask_apply(mask, truth)
      results[i] = rows.text(C.NF_FORMAT_CSV, columns, 4, C.nf_mask_record(mask))
    end
    assert.equal(results[1], results[2])
    local a, b, c, d = results[1]:match '\n"(.-)","(.-)","(.-)","(.-)"\n$'
    assert.equal(a, d)
    assert.same({ false, true, 128 }, { a == b, b:sub(1, 8) == "00:1b:21", #c })
  end)

  it("is refused where it does not fit its columns", function()
    local function refusal(record, masking, key, given)
      local mask, why = new_mask(record, { masking }, key or KEY, given)
      assert.is_nil(mask)
      return why
    end
    local number = rows.new():add("a", "int32", 1)
    for _, masking in ipairs {
      C.NF_MASK_ADDRESS, C.NF_MASK_MAC, C.NF_MASK_DEVICE, C.NF_MASK_MOMENT, C.NF_MASK_PORT, 0, 99,
    } do
      assert.equal(('column "a": cannot be masked by way %d'):format(masking), refusal(number, masking))
    end
    assert.equal('column "a": cannot be masked by way 6',
      refusal(rows.new():add("a", "uint64", { 1, 2 }), C.NF_MASK_MOMENT))
    assert.equal("a hash of 15 bytes, expected 16 to 64", refusal(number, C.NF_MASK_HASH, KEY, { hash_size = 15 }))
    assert.equal("a hash of 65 bytes, expected 16 to 64", refusal(number, C.NF_MASK_HASH, KEY, { hash_size = 65 }))
    assert.equal("a key of 31 bytes, expected 32 to 64", refusal(number, C.NF_MASK_HASH, KEY:sub(1, 31)))
  end)
end)
