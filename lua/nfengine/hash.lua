--- Hashes, for plugins and scripts. They take and return strings of bytes.
--
--   local hash = require "nfengine.hash"
--   hash.sha1 "abc"                --> 20 bytes
--   hash.sha256 "abc"              --> 32 bytes
--   hash.sha256_file "a.pcap"      --> 32 bytes, and the file's size
--   hash.hex(hash.sha1 "abc")      --> "a9993e364706816aba3e25717850c26c9cd0d89d"
--   hash.base64(hash.sha1 "abc")   --> "qZk+NkcGgWq6PiVxeFDCbJzQ2J0="
--
-- A hash of a few bytes takes some 200 ns and makes strings: something for once a flow, not for every packet.

local ffi = require "ffi"
local C = require "nfengine.lib"

local hash = {}

local handle -- one for a Lua state, which is one for a thread; made when first needed

local function crypto()
  if handle then return handle end
  local reason = ffi.new("char[?]", C.NF_ERROR_SIZE)
  local made = C.nf_crypto_new(reason)
  if made == nil then error("nfengine.hash: " .. ffi.string(reason), 0) end
  handle = ffi.gc(made, C.nf_crypto_free)
  return handle
end

local function check(name, bytes)
  if type(bytes) ~= "string" then error(("hash.%s: expected a string, got %s"):format(name, type(bytes)), 3) end
end

local digest = ffi.new "uint8_t[32]"

--- The SHA-1 of some bytes: 20 bytes. An identifier, no protection.
function hash.sha1(bytes)
  check("sha1", bytes)
  C.nf_sha1(crypto(), bytes, #bytes, digest)
  return ffi.string(digest, 20)
end

--- The SHA-256 of some bytes: 32 bytes.
function hash.sha256(bytes)
  check("sha256", bytes)
  C.nf_sha256(crypto(), bytes, #bytes, digest)
  return ffi.string(digest, 32)
end

local BLOCK = 65536

--- The SHA-256 of a file, which is read block by block: 32 bytes, and the file's size. nil and what went wrong where it
-- cannot be read.
function hash.sha256_file(path)
  check("sha256_file", path)
  local file, message = io.open(path, "rb")
  if not file then return nil, message end
  local algorithms, size = crypto(), 0
  C.nf_sha256_begin(algorithms)
  local block
  repeat
    block, message = file:read(BLOCK)
    if block then
      C.nf_sha256_add(algorithms, block, #block)
      size = size + #block
    end
  until not block
  file:close()
  if message then return nil, ("%s: %s"):format(path, message) end
  C.nf_sha256_end(algorithms, digest)
  return ffi.string(digest, 32), size
end

local SHORT = 96 -- bytes whose Base64 needs no buffer of its own
local short = ffi.new("char[?]", SHORT / 3 * 4 + 1)

--- Base64 with padding, in one line (RFC 4648, section 4).
function hash.base64(bytes)
  check("base64", bytes)
  local out = #bytes <= SHORT and short or ffi.new("char[?]", math.floor((#bytes + 2) / 3) * 4 + 1)
  return ffi.string(out, C.nf_base64(out, bytes, #bytes))
end

local digits = {} -- by byte
for i = 0, 255 do digits[string.char(i)] = ("%02x"):format(i) end

--- Hexadecimal digits, lower case.
function hash.hex(bytes)
  check("hex", bytes)
  return (bytes:gsub(".", digits))
end

return hash
