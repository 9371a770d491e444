-- core/hash.c and the tables that stand on it, against who chooses tuples: without the key nobody finds tuples that
-- crowd into one place of the table. With the key it is easy, and makes the table slow: so these specs can fail.

local bit = require "bit"
local ffi = require "ffi"
local C = require "spec.support.core" ("hash", "table")

-- As many flows as a table takes before its index of 4096 entries grows.
local COUNT, ENTRIES = 3000, 4096

local KNOWN = ffi.new("struct nf_hash_key", { { 0x243F6A8885A308D3ULL, 0x13198A2E03707344ULL, 0xA4093822299F31D0ULL,
  0x082EFA98EC4E6C89ULL, 0x452821E638D01377ULL, 0xBE5466CF34E90C6CULL } })

local function random_key()
  local key = ffi.new "struct nf_hash_key"
  C.nf_hash_seed(key)
  return key
end

-- The nth tuple of a client that takes addresses of 10.0.0.0/8 and ports as it likes, and one server.
local function set(tuple, n)
  ffi.copy(tuple.src_address, "\10", 1)
  tuple.src_address[1], tuple.src_address[2] = bit.rshift(n, 24), bit.rshift(n, 16)
  ffi.copy(tuple.dst_address, "\192\0\2\1", 4)
  tuple.src_port, tuple.dst_port, tuple.protocol = bit.band(n, 65535), 443, 6
end

local function chosen(is_chosen)
  local list, tuple, n = ffi.new("struct nf_tuple[?]", COUNT), ffi.new "struct nf_tuple", 0
  for i = 0, COUNT - 1 do
    repeat
      set(tuple, n)
      n = n + 1
    until is_chosen(tuple)
    list[i] = tuple
  end
  return list
end

-- Tuples that want one entry of the index under this key.
local function colliding(key)
  return chosen(function(tuple) return bit.band(C.nf_hash_tuple(key, tuple), ENTRIES - 1ULL) == 0 end)
end

-- The shortest of several times of a call, so that a busy machine does not count.
local function seconds(call)
  local least = math.huge
  for _ = 1, 5 do
    local began = os.clock()
    call()
    least = math.min(least, os.clock() - began)
  end
  return least
end

-- What it takes a new table to take these tuples, and to find them.
local function seconds_to_fill(key, tuples)
  local direction = ffi.new "uint8_t[1]"
  return seconds(function()
    local flows = C.nf_table_new(ffi.sizeof "struct nf_flow", 0, key)
    for i = 0, COUNT - 1 do C.nf_table_insert(flows, tuples[i], C.nf_table_hash(flows, tuples[i])) end
    for i = 0, COUNT - 1 do C.nf_table_find(flows, tuples[i], C.nf_table_hash(flows, tuples[i]), direction) end
    C.nf_table_free(flows)
  end)
end

describe("tuples that all want one entry of the index", function()
  local crowd, any = colliding(KNOWN), chosen(function() return true end)

  it("can be found by who knows the key, and make the table slow", function()
    local slow, usual = seconds_to_fill(KNOWN, crowd), seconds_to_fill(KNOWN, any)
    assert.is_true(slow > 10 * usual, ("%.2f ms against %.2f ms"):format(slow * 1000, usual * 1000))
  end)

  it("are like any others to a table with a key of its own", function()
    local key = random_key()
    local chosen_ones, others = seconds_to_fill(key, crowd), seconds_to_fill(key, any)
    assert.is_true(chosen_ones < 4 * others, ("%.2f ms against %.2f ms"):format(chosen_ones * 1000, others * 1000))
  end)
end)

-- Plugins count by addresses and names. LuaJIT looks at 16 bytes of a text first; where texts agree in these, it hashes
-- them anew, whole and with a secret, if it was built so, as Debian's is.
describe("texts that LuaJIT takes for alike at first", function()
  local function addresses(vary)
    local list = {}
    for i = 0, 19999 do list[i + 1] = vary:format(i, 19999 - i) end
    return table.concat(list)
  end
  local SIZE = 39
  -- It looks at four bytes each from the first, the 9th, the 18th and the 36th on.
  local alike = addresses "2001:0db8:0000:0000:0000:%04x:%04x:0001"
  local different = addresses "%04x:0db8:0000:0000:0000:0000:0000:%04x"

  local function seconds_to_count(texts)
    return seconds(function()
      collectgarbage() -- what was counted before is unknown again
      local counts = {}
      for at = 1, #texts, SIZE do
        local address = texts:sub(at, at + SIZE - 1)
        counts[address] = (counts[address] or 0) + 1
      end
      assert.is_true(next(counts) ~= nil)
    end)
  end

  it("take no longer to be counted by", function()
    local crowd, any = seconds_to_count(alike), seconds_to_count(different)
    assert.is_true(crowd < 4 * any, ("%.2f ms against %.2f ms"):format(crowd * 1000, any * 1000))
  end)
end)
