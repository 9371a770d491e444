-- core/crypto.c against the examples of FIPS 180-4, RFC 4648, RFC 4231, FIPS 197 and the GCM specification.

local ffi = require "ffi"
local C = require "nfengine.lib"
local P = require "nfengine.testing.packet"

ffi.cdef [[
struct nf_bytes { const uint8_t *data; uint32_t size; };
void nf_hmac_sha256(struct nf_crypto *crypto, struct nf_bytes key, struct nf_bytes data, uint8_t *digest);
void nf_aes_block(struct nf_crypto *crypto, const uint8_t *key, const uint8_t *block, uint8_t *out);
bool nf_gcm_open(struct nf_crypto *crypto, const uint8_t *key, const uint8_t *nonce, const struct nf_bytes *associated,
                 int count, struct nf_bytes sealed, uint8_t *out);
]]

local function new_handle()
  local reason = ffi.new("char[?]", C.NF_ERROR_SIZE)
  local handle = C.nf_crypto_new(reason)
  assert(handle ~= nil, ffi.string(reason))
  return ffi.gc(handle, C.nf_crypto_free)
end

local handle = new_handle()

local function hex(bytes) return (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end)) end

local function digest(call, size, data)
  local out = ffi.new("uint8_t[?]", size)
  C[call](handle, data, #data, out)
  return hex(ffi.string(out, size))
end

local function sha1(data) return digest("nf_sha1", 20, data) end
local function sha256(data) return digest("nf_sha256", 32, data) end

local function base64(data)
  local out = ffi.new("char[?]", math.floor((#data + 2) / 3) * 4 + 1)
  local size = C.nf_base64(out, data, #data)
  assert.are.equal(#ffi.string(out), tonumber(size))
  return ffi.string(out)
end

local function bytes(text) return ffi.new("struct nf_bytes", ffi.cast("const uint8_t *", text), #text) end

local TWO_BLOCKS = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"

describe("nf_sha1", function()
  it("gives what FIPS 180-4 gives", function()
    assert.are.equal("da39a3ee5e6b4b0d3255bfef95601890afd80709", sha1 "")
    assert.are.equal("a9993e364706816aba3e25717850c26c9cd0d89d", sha1 "abc")
    assert.are.equal("84983e441c3bd26ebaae4aa1f95129e5e54670f1", sha1(TWO_BLOCKS))
    assert.are.equal("34aa973cd4c4daa4f61eeb2bdbad27316534016f", sha1(("a"):rep(1000000)))
  end)
end)

describe("nf_sha256_begin, add and end", function()
  local function pieces(...)
    local out = ffi.new("uint8_t[32]")
    C.nf_sha256_begin(handle)
    for _, piece in ipairs { ... } do C.nf_sha256_add(handle, piece, #piece) end
    C.nf_sha256_end(handle, out)
    return hex(ffi.string(out, 32))
  end

  it("give what the whole gives", function()
    assert.are.equal(sha256 "", pieces())
    assert.are.equal(sha256 "abc", pieces("a", "", "bc"))
    assert.are.equal(sha256(TWO_BLOCKS), pieces(TWO_BLOCKS:sub(1, 55), TWO_BLOCKS:sub(56)))
  end)

  it("are not disturbed by other hashes, and forget what was not ended", function()
    local out = ffi.new("uint8_t[32]")
    C.nf_sha256_begin(handle)
    C.nf_sha256_add(handle, "xyz", 3)
    C.nf_sha256_begin(handle)
    C.nf_sha256_add(handle, "a", 1)
    sha256 "other"
    C.nf_sha256_add(handle, "bc", 2)
    C.nf_sha256_end(handle, out)
    assert.are.equal(sha256 "abc", hex(ffi.string(out, 32)))
  end)
end)

describe("nf_sha256", function()
  it("gives what FIPS 180-4 gives", function()
    assert.are.equal("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", sha256 "")
    assert.are.equal("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", sha256 "abc")
    assert.are.equal("248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1", sha256(TWO_BLOCKS))
    assert.are.equal("cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0", sha256(("a"):rep(1000000)))
  end)

  it("gives the same whatever was hashed before, and by any handle", function()
    local expected = sha256 "abc"
    sha1 "between"
    assert.are.equal(expected, sha256 "abc")
    local first = handle
    handle = new_handle()
    assert.are.equal(expected, sha256 "abc")
    handle = first
  end)
end)

describe("nf_base64", function()
  it("gives what RFC 4648 gives", function()
    local expected = { [0] = "", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy" }
    for size = 0, 6 do assert.are.equal(expected[size], base64(("foobar"):sub(1, size))) end
  end)

  it("uses its whole alphabet, without line ends", function()
    local all = P.hex "00108310518720928b30d38f41149351559761969b71d79f8218a39259a7a29aabb2dbafc31cb3d35db7e39ebbf3dfbf"
    assert.are.equal("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", base64(all))
    assert.are.equal(("QUFB"):rep(200), base64(("A"):rep(600)))
  end)
end)

describe("nf_hmac_sha256", function()
  local function hmac(key, data)
    local out = ffi.new "uint8_t[32]"
    C.nf_hmac_sha256(handle, bytes(key), bytes(data), out)
    return hex(ffi.string(out, 32))
  end

  it("gives what RFC 4231 gives, with one key after another", function()
    assert.are.equal("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
      hmac(("\11"):rep(20), "Hi There"))
    assert.are.equal("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
      hmac("Jefe", "what do ya want for nothing?"))
    assert.are.equal("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
      hmac(("\xaa"):rep(131), "Test Using Larger Than Block-Size Key - Hash Key First"))
  end)
end)

describe("nf_aes_block", function()
  it("gives what FIPS 197 gives", function()
    local out = ffi.new "uint8_t[16]"
    C.nf_aes_block(handle, P.hex "000102030405060708090a0b0c0d0e0f", P.hex "00112233445566778899aabbccddeeff", out)
    assert.are.equal("69c4e0d86a7b0430d8cdb78070b4c55a", hex(ffi.string(out, 16)))
    C.nf_aes_block(handle, P.hex "2b7e151628aed2a6abf7158809cf4f3c", P.hex "6bc1bee22e409f96e93d7e117393172a", out)
    assert.are.equal("3ad77bb40d7a3660a89ecaf32466ef97", hex(ffi.string(out, 16)))
  end)
end)

describe("nf_gcm_open", function()
  -- The GCM specification's test case 4.
  local KEY, NONCE = P.hex "feffe9928665731c6d6a8f9467308308", P.hex "cafebabefacedbaddecaf888"
  local ASSOCIATED = P.hex "feedfacedeadbeeffeedfacedeadbeefabaddad2"
  local PLAIN = P.hex [[
    d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657
    ba637b39]]
  local SEALED = P.hex [[
    42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac97
    3d58e091 5bc94fbc3221a5db94fae95ae7121a47]]

  local function open(sealed, ...)
    local parts, out = { ... }, ffi.new("uint8_t[?]", #sealed)
    local list = ffi.new("struct nf_bytes[?]", #parts + 1)
    for i, part in ipairs(parts) do list[i - 1] = bytes(part) end
    return C.nf_gcm_open(handle, KEY, NONCE, list, #parts, bytes(sealed), out) and ffi.string(out, #sealed - 16) or nil
  end

  it("opens what the specification shows, however the additional data is parted", function()
    assert.are.equal(PLAIN, open(SEALED, ASSOCIATED))
    for at = 0, #ASSOCIATED do assert.are.equal(PLAIN, open(SEALED, ASSOCIATED:sub(1, at), ASSOCIATED:sub(at + 1))) end
  end)

  it("opens nothing of which a byte is another, nor what is no longer than a tag", function()
    assert.is_nil(open(SEALED, ASSOCIATED .. "\0"))
    assert.is_nil(open(SEALED))
    for at = 1, #SEALED do
      local byte = string.char((SEALED:byte(at) + 1) % 256)
      assert.is_nil(open(SEALED:sub(1, at - 1) .. byte .. SEALED:sub(at + 1), ASSOCIATED))
    end
    for size = 0, 16 do assert.is_nil(open(("\0"):rep(size))) end
    assert.are.equal(PLAIN, open(SEALED, ASSOCIATED))
  end)
end)
