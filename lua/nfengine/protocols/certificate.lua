--- Reads who a certificate is of and who signed it (X.509, RFC 5280), and no more.
--
--   local names = require("nfengine.protocols.certificate").names(der)
--   names.subject, names.issuer     --> "www.example.com", "Example CA": common names as bytes, nil without one
--
-- A certificate may be cut off behind these.

local certificate = {}

-- Tags; VERSION is [0], constructed.
local SEQUENCE, SET, OID, VERSION = 0x30, 0x31, 0x06, 0xa0
local UTF8, PRINTABLE, TELETEX, IA5, BMP = 0x0c, 0x13, 0x14, 0x16, 0x1e
local COMMON_NAME = "\85\4\3" -- 2.5.4.3
local MOST_PARTS = 50 -- of a name

local is_text = { [UTF8] = true, [PRINTABLE] = true, [TELETEX] = true, [IA5] = true, [BMP] = true }

--- The element at `at` (X.690, section 8.1): its tag, where its contents begin, and where it ends; nil where its head
-- is not all there, or is of a form that certificates do not have.
local function element(der, at)
  local tag, size = der:byte(at, at + 1)
  if not size then return nil end
  if size < 0x80 then return tag, at + 2, at + 2 + size end
  local width = size - 0x80
  if width < 1 or width > 3 or at + 1 + width > #der then return nil end
  size = 0
  for i = at + 2, at + 1 + width do size = size * 256 + der:byte(i) end
  return tag, at + 2 + width, at + 2 + width + size
end

--- The same where it has to have that tag: where its contents begin, and where it ends.
local function element_of(wanted, der, at)
  local tag, from, behind = element(der, at)
  if tag == wanted then return from, behind end
end

--- The value of a part of a name, if it is a common name: SET { SEQUENCE { OID, text } }.
local function common_name_in(der, at)
  local pair = element_of(SEQUENCE, der, at)
  local oid, oid_end = element_of(OID, der, pair or #der + 1)
  if not oid or der:sub(oid, oid_end - 1) ~= COMMON_NAME then return nil end
  local tag, from, behind = element(der, oid_end)
  if not is_text[tag] or behind - 1 > #der then return nil end
  local text = der:sub(from, behind - 1)
  return tag == BMP and text:gsub("%z(.)", "%1") or text
end

--- The common name in a name, which goes from `at` to before `stop`; the last one, where there are several.
local function common_name(der, at, stop)
  local found
  for _ = 1, MOST_PARTS do
    local part, behind = element_of(SET, der, at)
    if at >= stop or not part or behind > stop then break end
    found = common_name_in(der, part) or found
    at = behind
  end
  return found
end

--- The names in a certificate, as far as it can be read.
function certificate.names(der)
  local names = {}
  local whole = element_of(SEQUENCE, der, 1)
  local at = whole and element_of(SEQUENCE, der, whole)
  if not at then return names end
  local _, behind = element_of(VERSION, der, at)
  at = behind or at
  local function skip() -- serial number, algorithm; later the time it is valid
    local tag, _, stop = element(der, at)
    at = tag and stop or #der + 1
  end
  skip()
  skip()
  for _, name in ipairs { "issuer", "subject" } do
    local from, stop = element_of(SEQUENCE, der, at)
    if not from then return names end
    names[name] = common_name(der, from, stop)
    at = stop
    skip()
  end
  return names
end

return certificate
