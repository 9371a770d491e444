-- Makes TLS client hellos and server hellos, and the records of TLS and DTLS that carry them:
--
--   local message = hello.message { ciphers = { 0x1301 }, extensions = { hello.server_name "example.org" } }
--   hello.records(message)           one record of TLS; hello.records(message, 10) records of 10 bytes
--   hello.dtls(message)              one record of DTLS
--
-- A message's fields: version (0x0303), session, ciphers (0x1301), cookie (DTLS), extensions: a list of { type, body },
-- false for none at all. Those of hello.server: version, session, cipher, random, extensions.

local P = require "nfengine.testing.packet"

local hello = {}

local function behind_length(size, text) return P.u32(#text):sub(5 - size) .. text end

local function numbers(list)
  local parts = {}
  for i, value in ipairs(list) do parts[i] = P.u16(value) end
  return table.concat(parts)
end

-- ---- extensions ----

function hello.server_name(name) return { 0, behind_length(2, "\0" .. behind_length(2, name)) } end

function hello.algorithms(list) return { 13, behind_length(2, numbers(list)) } end

function hello.versions(list) return { 43, behind_length(1, numbers(list)) } end

function hello.alpn(...)
  local parts = {}
  for i, name in ipairs { ... } do parts[i] = behind_length(1, name) end
  return { 16, behind_length(2, table.concat(parts)) }
end

local function encoded(extensions)
  if extensions == false then return "" end
  local parts = {}
  for i, extension in ipairs(extensions or {}) do
    parts[i] = P.u16(extension[1]) .. behind_length(2, extension[2])
  end
  return behind_length(2, table.concat(parts))
end

-- ---- messages ----

function hello.body(fields)
  local parts = {
    P.u16(fields.version or 0x0303), ("r"):rep(32), behind_length(1, fields.session or ""),
    fields.cookie and behind_length(1, fields.cookie) or "", behind_length(2, numbers(fields.ciphers or { 0x1301 })),
    "\1\0", encoded(fields.extensions),
  }
  return table.concat(parts)
end

function hello.server(fields)
  local parts = {
    P.u16(fields.version or 0x0303), fields.random or ("R"):rep(32), behind_length(1, fields.session or ""),
    P.u16(fields.cipher or 0x1301), "\0", encoded(fields.extensions),
  }
  return hello.handshake(2, table.concat(parts))
end

--- A handshake message of this type.
function hello.handshake(type, body) return P.u8(type) .. behind_length(3, body) end

--- The random bytes of a server hello that asks for another client hello.
hello.RETRY = P.hex "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c"

--- The version that a server chose.
function hello.version(number) return { 43, P.u16(number) } end

function hello.message(fields) return "\1" .. behind_length(3, hello.body(fields)) end

-- ---- records ----

--- A record of any type; 22, a handshake's, by default.
function hello.record(text, type) return P.u8(type or 22) .. "\3\1" .. behind_length(2, text) end

--- A message in records of at most `size` bytes.
function hello.records(message, size)
  local parts = {}
  for at = 1, #message, size or #message do
    parts[#parts + 1] = hello.record(message:sub(at, at + (size or #message) - 1))
  end
  return table.concat(parts)
end

--- A record of DTLS with a message's bytes from `from` to `to`; all of them by default. `sequence` is the message's.
function hello.dtls(message, from, to, sequence)
  local body = message:sub(5)
  from, to = from or 0, to or #body
  local fragment = message:sub(1, 4) .. P.u16(sequence or 0) .. P.u32(from):sub(2) .. P.u32(to - from):sub(2)
    .. body:sub(from + 1, to)
  return "\22\254\253" .. ("\0"):rep(8) .. behind_length(2, fragment)
end

return hello
