-- core/key.c: keys of masks.

local ffi = require "ffi"
local C = require "nfengine.lib"
local program = require "spec.support.program"

ffi.cdef "int chmod(const char *path, unsigned int mode); int mkfifo(const char *path, unsigned int mode);"

local message = ffi.new("char[?]", C.NF_ERROR_SIZE)

local function key_file(bytes, mode)
  local path = program.write(bytes, ".key")
  ffi.C.chmod(path, tonumber(mode or "600", 8))
  return path
end

local function refusal(path)
  assert.is_false(C.nf_key_read(ffi.new "struct nf_key", path, message))
  return ffi.string(message)
end

describe("random bytes", function()
  it("are others each time, and as many as are asked for", function()
    local seen = {}
    for _ = 1, 10 do
      local key = ffi.new("uint8_t[66]")
      C.nf_random(key, 64)
      local text = ffi.string(key, 66)
      assert.is_nil(seen[text])
      assert.equal("\0\0", text:sub(65))
      assert.not_equal(("\0"):rep(16), text:sub(49, 64))
      seen[text] = true
    end
  end)
end)

describe("a key file", function()
  after_each(program.remove_temporaries)

  it("has 32 to 64 bytes, whatever they are", function()
    for _, size in ipairs { 32, 33, 63, 64 } do
      local key, bytes = ffi.new "struct nf_key", ("\0\n\255k"):rep(16):sub(1, size)
      assert.is_true(C.nf_key_read(key, key_file(bytes), message))
      assert.equal(bytes, ffi.string(key.bytes, key.size))
    end
  end)

  it("is refused where it is shorter or longer, or no file of bytes", function()
    for _, size in ipairs { 0, 31, 65, 1000 } do
      local path = key_file(("k"):rep(size))
      assert.equal(('key "%s": expected a file of 32 to 64 bytes'):format(path), refusal(path))
    end
    for _, path in ipairs { "/dev/null", "/dev/zero" } do
      assert.equal(('key "%s": expected a file of 32 to 64 bytes'):format(path), refusal(path))
    end
    assert.equal('cannot open key "/nowhere/key": No such file or directory', refusal "/nowhere/key")
  end)

  it("is refused where everybody may read it, and not where a group may", function()
    local path = key_file(("k"):rep(32), "644")
    assert.equal(('key "%s": everybody may read it (mode 0644), expected chmod 600'):format(path), refusal(path))
    assert.is_true(C.nf_key_read(ffi.new "struct nf_key", key_file(("k"):rep(32), "640"), message))
  end)

  it("may be a pipe, in pieces", function()
    local path = program.temporary ".fifo"
    ffi.C.mkfifo(path, tonumber("600", 8))
    os.execute(("(printf %%16s; sleep 0.1; printf %%16s) >%s &"):format(path))
    local key = ffi.new "struct nf_key"
    assert.is_true(C.nf_key_read(key, path, message))
    assert.equal((" "):rep(32), ffi.string(key.bytes, key.size))
  end)
end)

describe("a key", function()
  local function key_of(bytes)
    local key = ffi.new("struct nf_key", { size = #bytes })
    ffi.copy(key.bytes, bytes, #bytes)
    return key
  end

  it("is gone once it is wiped", function()
    local key = key_of(("k"):rep(64))
    C.nf_key_wipe(key)
    assert.equal(("\0"):rep(ffi.sizeof(key)), ffi.string(key, ffi.sizeof(key)))
  end)

  -- Python: hashlib.blake2b(key=bytes(range(32)), person=b"time shift", digest_size=16), the first 8 bytes of which,
  -- lowest first, >> 26, + 1.
  it("makes a shift of 1 ms to 2^38 ms, as an independent BLAKE2b says", function()
    local bytes = {}
    for i = 1, 32 do bytes[i] = string.char(i - 1) end
    assert.equal(90693593561, tonumber(C.nf_key_shift_ms(key_of(table.concat(bytes)))))
    local least, most = 2 ^ 53, 0
    for i = 1, 300 do
      local shift = tonumber(C.nf_key_shift_ms(key_of(("%032d"):format(i))))
      least, most = math.min(least, shift), math.max(most, shift)
    end
    assert.is_true(least >= 1 and most <= 2 ^ 38 and least < 2 ^ 33 and most > 2 ^ 37)
  end)
end)
