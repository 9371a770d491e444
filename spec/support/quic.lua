-- Makes QUIC Initial packets as clients and servers do (RFC 9000, RFC 9001, RFC 9369), by libcrypto, which the
-- core does without:
--
--   local datagram = quic.initial { dcid = id, frames = quic.crypto(0, hello) }
--
-- An Initial's fields: version (default 1), dcid, scid, token, number (0), number_size (1 to 4 bytes, 1), frames, and
-- keys_of, the connection ID that keys come from (the dcid); mark, the two highest bits of all (0xc0); is_servers, to
-- seal it with the server's keys. A client pads its datagrams to 1200 bytes: frames are followed by PADDING to make it
-- that, or `size`, in all.

local bit = require "bit"
local ffi = require "ffi"
local P = require "nfengine.testing.packet"

ffi.cdef [[
void *EVP_Q_mac(void *library, const char *name, const char *properties, const char *hash, const void *parameters,
                const void *key, size_t key_size, const char *data, size_t size, char *out, size_t room,
                size_t *length);
void *EVP_CIPHER_CTX_new(void);
void EVP_CIPHER_CTX_free(void *context);
const void *EVP_aes_128_gcm(void);
const void *EVP_aes_128_ecb(void);
int EVP_EncryptInit_ex(void *context, const void *cipher, void *engine, const char *key, const char *iv);
int EVP_EncryptUpdate(void *context, char *out, int *length, const char *data, int size);
int EVP_EncryptFinal_ex(void *context, char *out, int *length);
int EVP_CIPHER_CTX_ctrl(void *context, int type, int argument, void *pointer);
]]
local libcrypto = ffi.load "libcrypto.so.3"
local GET_TAG = 0x10

local quic = {}

quic.VERSION_2 = 0x6b3343cf

local versions = {
  [1] = { salt = "38762cf7f55934b34d179ae6a4c80cadccbb7f0a", label = "quic", initial = 0 },
  [quic.VERSION_2] = { salt = "0dede3def700a6db819381be6e269dcbf9bd2ed9", label = "quicv2", initial = 1 },
}
-- Drafts, by the first that had what others kept.
local drafts = {
  [23] = "c3eef712c72ebb5a11a7d2432bb46365bef9f502", [29] = "afbfec289993d24c9e9786f19c6111e04390a899",
  [33] = versions[1].salt,
}
for draft = 23, 34 do
  local salt = drafts[draft] or versions[0xff000000 + draft - 1].salt
  versions[0xff000000 + draft] = { salt = salt, label = "quic", initial = 0 }
end

-- ---- ciphers ----

local function hmac(key, data)
  local out, length = ffi.new("char[32]"), ffi.new("size_t[1]")
  assert(libcrypto.EVP_Q_mac(nil, "HMAC", nil, "SHA256", nil, key, #key, data, #data, out, 32, length) ~= nil)
  return ffi.string(out, 32)
end

local function expand(secret, label, size)
  label = "tls13 " .. label
  return hmac(secret, P.u16(size) .. P.u8(#label) .. label .. "\0\1"):sub(1, size)
end

local function aes(cipher, key, iv, additional, data)
  local context = ffi.gc(libcrypto.EVP_CIPHER_CTX_new(), libcrypto.EVP_CIPHER_CTX_free)
  local out, length, tag = ffi.new("char[?]", #data + 16), ffi.new "int[1]", ffi.new "char[16]"
  assert(libcrypto.EVP_EncryptInit_ex(context, cipher, nil, key, iv) == 1)
  if additional then assert(libcrypto.EVP_EncryptUpdate(context, nil, length, additional, #additional) == 1) end
  assert(libcrypto.EVP_EncryptUpdate(context, out, length, data, #data) == 1)
  local sealed = ffi.string(out, length[0])
  if not additional then return sealed end
  assert(libcrypto.EVP_EncryptFinal_ex(context, out, length) == 1)
  assert(libcrypto.EVP_CIPHER_CTX_ctrl(context, GET_TAG, 16, tag) == 1)
  return sealed .. ffi.string(tag, 16)
end

local function xor(a, b)
  local bytes = {}
  for i = 1, #a do bytes[i] = string.char(bit.bxor(a:byte(i), b:byte(i))) end
  return table.concat(bytes)
end

-- ---- packets ----

--- A variable-length integer (RFC 9000, section 16), in `size` bytes where it shall be longer than need be.
function quic.integer(value, size)
  size = size or value < 64 and 1 or value < 16384 and 2 or value < 2 ^ 30 and 4 or 8
  local marks = { [1] = 0, [2] = 0x40, [4] = 0x80, [8] = 0xc0 }
  local bytes = {}
  for i = size, 1, -1 do
    bytes[i] = string.char(value % 256)
    value = math.floor(value / 256)
  end
  local text = table.concat(bytes)
  return string.char(text:byte() + marks[size]) .. text:sub(2)
end

local function id(bytes) return P.u8(#bytes) .. bytes end

--- A CRYPTO frame.
function quic.crypto(offset, data) return "\6" .. quic.integer(offset) .. quic.integer(#data) .. data end

--- A packet with a long header whose contents are never looked into: `type` is 1 for 0-RTT, 2 for Handshake.
function quic.long(fields)
  local first = 0xc0 + bit.lshift(fields.type, 4)
  return string.char(first) .. P.u32(fields.version or 1) .. id(fields.dcid) .. id(fields.scid or "")
    .. quic.integer(#fields.rest) .. fields.rest
end

function quic.initial(fields)
  local version = versions[fields.version or 1]
  local number_size, token = fields.number_size or 1, fields.token or ""
  local number = P.u32(fields.number or 0):sub(-number_size)
  local frames = fields.frames
  local function header(size)
    return string.char((fields.mark or 0xc0) + version.initial * 16 + number_size - 1)
      .. P.u32(fields.version or 1) .. id(fields.dcid) .. id(fields.scid or "")
      .. quic.integer(#token) .. token .. quic.integer(size, 2) .. number
  end
  local missing = (fields.size or 1200) - #header(0) - #frames - 16
  frames = frames .. ("\0"):rep(missing)
  local front = header(number_size + #frames + 16)
  local secret = expand(hmac(P.hex(version.salt), fields.keys_of or fields.dcid),
    fields.is_servers and "server in" or "client in", 32)
  local function key(name, size) return expand(secret, version.label .. " " .. name, size) end
  local nonce = xor(key("iv", 12), ("\0"):rep(8) .. P.u32(fields.number or 0))
  local sealed = aes(libcrypto.EVP_aes_128_gcm(), key("key", 16), nonce, front, frames)
  local mask = aes(libcrypto.EVP_aes_128_ecb(), key("hp", 16), nil, nil, sealed:sub(5 - number_size, 20 - number_size))
  return string.char(bit.bxor(front:byte(), bit.band(mask:byte(), 0x0f))) .. front:sub(2, -1 - number_size)
    .. xor(number, mask:sub(2)) .. sealed
end

return quic
