--- Hashes, for plugins and scripts. They take and return strings of bytes. sha1, sha256 and base64 also take a
-- bytes.buffer for one, and add to another that is given besides, which they return: no strings are made then.
--
--   local hash = require "nfengine.hash"
--   hash.sha1 "abc"                --> 20 bytes
--   hash.sha256 "abc"              --> 32 bytes
--   hash.sha256_file "a.pcap"      --> 32 bytes, and the file's size
--   hash.hex(hash.sha1 "abc")      --> "a9993e364706816aba3e25717850c26c9cd0d89d"
--   hash.base64(hash.sha1 "abc")   --> "qZk+NkcGgWq6PiVxeFDCbJzQ2J0="
--   hash.secret()                  --> a number that nobody can foresee
--
-- A hash of a few bytes takes some 200 ns and makes strings: something for once a flow, not for every packet.

local ffi = require "ffi"
local C = require "nfengine.lib"
local is_buffer = require("nfengine.bytes").is_buffer

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

local function hasher(name, func, size)
  return function(bytes, out)
    local is_string = not is_buffer(bytes)
    if is_string then check(name, bytes) end
    local to = out and out:grow(size) or digest
    func(crypto(), is_string and bytes or bytes.data, #bytes, to)
    if out then return out end
    return (ffi.string(digest, size))
  end
end

--- The SHA-1 of some bytes: 20 bytes. An identifier, no protection.
hash.sha1 = hasher("sha1", C.nf_sha1, 20)

--- The SHA-256 of some bytes: 32 bytes.
hash.sha256 = hasher("sha256", C.nf_sha256, 32)

local BLOCK = 65536

--- The SHA-256 of a file, which is read block by block: 32 bytes, and the file's size. nil and what went wrong where it
-- cannot be read.
-- @param file the same file where it is open for reading already; it is closed
function hash.sha256_file(path, file)
  check("sha256_file", path)
  local message
  if not file then file, message = io.open(path, "rb") end
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

local LONGEST = 129 -- bytes of Base64 and a zero for which there is room beforehand
local short = ffi.new("char[?]", LONGEST)

--- Base64 with padding, in one line (RFC 4648, section 4).
function hash.base64(bytes, out)
  local is_string = not is_buffer(bytes)
  if is_string then check("base64", bytes) end
  local size = math.floor((#bytes + 2) / 3) * 4
  local to = size + 1 <= LONGEST and short or ffi.new("char[?]", size + 1)
  C.nf_base64(to, is_string and bytes or bytes.data, #bytes)
  if not out then return (ffi.string(to, size)) end
  ffi.copy(out:grow(size), to, size)
  return out
end

local digits = {} -- by byte
for i = 0, 255 do digits[string.char(i)] = ("%02x"):format(i) end

--- Hexadecimal digits, lower case.
function hash.hex(bytes)
  check("hex", bytes)
  return (bytes:gsub(".", digits))
end

local random = ffi.new "uint8_t[4]"

--- An integer from 0 to 2^32 - 1 that nobody can foresee, another one each time. LuaJIT's tables find texts with a
-- secret of their own, but numbers without: added to all keys that hosts choose, it keeps them from choosing ones that
-- crowd into one place and make a table slow.
function hash.secret()
  C.nf_random(random, ffi.sizeof(random))
  return random[0] + random[1] * 2 ^ 8 + random[2] * 2 ^ 16 + random[3] * 2 ^ 24
end

return hash
