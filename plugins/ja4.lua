--- JA4: which program began a TLS, QUIC or DTLS connection, by what its client hello offers.
--
-- The fingerprint by FoxIO's JA4 technical description, as t13d1516h2_8daaf6152771_e5627efa2ab1: what carries TLS (t
-- TCP, q QUIC, d DTLS), the highest version offered, d or i for a server name or none, how many cipher suites and
-- extensions, first and last character of the first ALPN value; then the beginnings of SHA-256 of the sorted ciphers,
-- and of the sorted extensions followed by the signature algorithms in their order. Values reserved to mean nothing
-- (GREASE, RFC 8701) count nowhere. JA4 alone, which is free to use: JA4S and its other companions are not.
--
-- The first hello of a flow counts: in either direction, on any port, behind another protocol (STARTTLS, a proxy's
-- CONNECT), cut into segments, records or several QUIC packets, which may come in any order. The column stays empty
-- where there is none, where it was not captured whole, and where the capture began after it.
--
-- @usage nfengine -q flows --plugin ja4 --n-dissections=0 --columns=dst_ip,dst_port,udps.ja4 samples/tls.pcap
-- @output
-- dst_ip,dst_port,udps.ja4
-- "192.0.2.2",443,"t13d0411h2_16476d049b0b_78f1d400d464"
-- "192.0.2.2",443,"t12d2808h1_d943125447b4_e7e480e5a997"
-- "2001:db8::2",443,"t13d3111h2_e8f1e7e78f70_1f22a2ca17c4"
-- "192.0.2.2",443,"t13i310900_e8f1e7e78f70_1f22a2ca17c4"
-- ...

local nf = require "nfengine"
local bytes = require "nfengine.bytes"
local hash = require "nfengine.hash"
local tls = require "nfengine.protocols.tls"

local SERVER_NAME, ALPN = 0x0000, 0x0010

local carriers = { tcp = "t", quic = "q", dtls = "d" }

local versions = {
  [0x0304] = "13", [0x0303] = "12", [0x0302] = "11", [0x0301] = "10", [0x0300] = "s3", [0x0002] = "s2",
  [0xfeff] = "d1", [0xfefd] = "d2", [0xfefc] = "d3",
}

--- The newest of the versions that mean something; DTLS counts them downwards, in the complement of the number.
local function newest(list)
  local best, highest
  for i = 1, #list do
    local value = list[i]
    local height = value >= 0xfe00 and 0xffff - value or value
    if not tls.is_grease(value) and (not best or height > highest) then best, highest = value, height end
  end
  return best
end

local function version_of(hello)
  return versions[hello.versions and newest(hello.versions) or not hello.versions and hello.version] or "00"
end

-- What is made of texts is kept by them: most hellos are those of the same programs.
local REMEMBERED = 1024

local function remembered(make)
  local known, count = {}, 0
  return function(text, ...)
    local value = known[text]
    if value then return value end
    if count == REMEMBERED then known, count = {}, 0 end
    value, count = make(text, ...), count + 1
    known[text] = value
    return value
  end
end

--- First and last character of the first name; where one is neither letter nor digit, first and last digit in
-- hexadecimal.
local function make_alpn(name, beyond_ascii)
  if name == "" then return "00" end
  if name:byte() > 127 and beyond_ascii == "99" then return "99" end
  if not (name:match "^%w" and name:match "%w$") then name = hash.hex(name) end
  return name:sub(1, 1) .. name:sub(-1)
end

-- Numbers from 0 to 99, which also stands for larger ones.
local counts = {}
for n = 0, 99 do counts[n] = ("%02d"):format(n) end

local function count_text(n) return counts[math.min(n, 99)] end

-- Four digits of each number.
local digits = setmetatable({}, {
  __index = function(known, value)
    local text = bit.tohex(value, 4)
    rawset(known, value, text)
    return text
  end,
})

local function digits_of(list)
  local texts = {}
  for i, value in ipairs(list) do texts[i] = digits[value] end
  return table.concat(texts, ",")
end

local function without_grease(list)
  local kept = {}
  for _, value in ipairs(list) do
    if not tls.is_grease(value) then kept[#kept + 1] = value end
  end
  return kept
end

local hash_of = remembered(function(text)
  return text == "" and "000000000000" or hash.hex(hash.sha256(text):sub(1, 6))
end)

-- The number of ciphers and their hash, by the ciphers as they stand there.
local ciphers_of = remembered(function(_, hello)
  local ciphers = without_grease(hello.ciphers)
  table.sort(ciphers)
  return { count = count_text(#ciphers), hash = hash_of(digits_of(ciphers)) }
end)

local algorithms_of = remembered(function(_, hello) return digits_of(without_grease(hello.signature_algorithms)) end)

local FEW = 64

-- Sorts the first n of a list: few in the way that takes least time for few.
local function sort(list, n)
  if n > FEW then
    for i = n + 1, #list do list[i] = nil end
    table.sort(list)
    return
  end
  for i = 2, n do
    local value, at = list[i], i
    while at > 1 and list[at - 1] > value do
      list[at] = list[at - 1]
      at = at - 1
    end
    list[at] = value
  end
end

-- Extensions come in another order each time, from some programs. Puts those that count into `others`, in order.
-- Returns how many these are, how many there are with server name and ALPN, and "d" or "i", with or without the former.
local function sort_extensions(extensions, others)
  local kept, count, names = 0, 0, "i"
  for i = 1, #extensions do
    local extension = extensions[i]
    if not tls.is_grease(extension) then
      count = count + 1
      if extension == SERVER_NAME then
        names = "d"
      elseif extension ~= ALPN then
        kept = kept + 1
        others[kept] = extension
      end
    end
  end
  sort(others, kept)
  return kept, count, names
end

-- What is hashed of extensions and signature algorithms.
local function offer(others, kept, algorithms)
  for i = 1, kept do others[i] = digits[others[i]] end
  local offered = table.concat(others, ",", 1, kept)
  return algorithms == "" and offered or ("%s_%s"):format(offered, algorithms)
end

-- The fingerprint of a hello, in a buffer; `others` is a table to work with.
local function fingerprint(hello, alpn, others, buffer)
  local ciphers = ciphers_of(hello.cipher_bytes, hello)
  local algorithms = hello.signature_algorithms and algorithms_of(hello.signature_algorithm_bytes, hello) or ""
  local kept, count, names = sort_extensions(hello.extensions, others)
  return buffer:clear():text(carriers[hello.carrier]):text(version_of(hello)):text(names):text(ciphers.count)
    :text(count_text(count)):text(alpn):text "_":text(ciphers.hash):text "_"
    :text(hash_of(offer(others, kept, algorithms)))
end

local function look(self, packet, flow, state)
  local udps = flow.udps
  local after, ja4 = self.hellos:look(state, packet)
  udps.ja4_hello = after
  if ja4 then udps.ja4 = ja4 end
end

return nf.plugin {
  name        = "ja4",
  version     = "1.0.0",
  api         = 1,
  description = "JA4 fingerprint of TLS, QUIC and DTLS clients",
  author      = "the nfengine authors",
  license     = "MIT",
  categories  = { "feature", "tls", "quic", "payload", "safe" },
  options     = {
    packets      = { 16, "packets with payload of a flow in which a client hello may begin",
      min = 1, max = 255, integer = true },
    streams      = { 256, "client hellos at once of which a part has come; of more the oldest is given up",
      min = 1, max = 65536, integer = true },
    beyond_ascii = { "99", "what stands for a first ALPN value that begins beyond ASCII: 99, as JA4's own programs "
      .. "print, or hex digits as in its description", choices = { "99", "hex" } },
  },
  columns     = {
    { "ja4", "string:40", "JA4 fingerprint of the client; empty without a client hello", is_identifying = false },
  },
  state       = { { "ja4_hello", "double" } },
  independent = true,

  setup       = function(self)
    local others, buffer, beyond_ascii, alpn_of = {}, bytes.buffer(40), self.beyond_ascii, remembered(make_alpn)
    local function read(hello)
      local alpn = alpn_of(hello.alpn and hello.alpn[1] or "", beyond_ascii)
      return fingerprint(hello, alpn, others, buffer)
    end
    self.hellos = tls.finder { packets = self.packets, streams = self.streams, read = read }
  end,
  on_init     = function(self, packet, flow) look(self, packet, flow, self.hellos:begin(packet)) end,
  on_update   = function(self, packet, flow)
    local state = flow.udps.ja4_hello
    if state ~= 0 then look(self, packet, flow, state) end
  end,
  on_expire   = function(self, flow) self.hellos:close(flow.udps.ja4_hello) end,
  merge       = function(self, other) self.hellos:merge(other.hellos) end,
  cleanup     = function(self) self.hellos:warn(self) end,
}
