--- Times, addresses, ports and protocols as people write them, for files and options. Every reader takes a word and
-- returns nil for what it does not understand.

local notation = {}

-- ---- times ----

local DAYS = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }
local LAST = 18446744073 -- seconds that fit into 64 bits as nanoseconds

local function is_date(year, month, day)
  if not DAYS[month] or day < 1 or day > DAYS[month] then return false end
  return month ~= 2 or day < 29 or year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)
end

--- Days from 1970-01-01 to a date.
local function days_to(year, month, day)
  local before = month < 3 and 1 or 0 -- the year begins in March, so that its leap day is the last
  local y, m = year - before, month + 12 * before - 3
  return day + math.floor((153 * m + 2) / 5) + 365 * y + math.floor(y / 4) - math.floor(y / 100)
    + math.floor(y / 400) - 719469
end

--- Seconds since 1970 of a UTC time, and the digits of its fraction.
local function utc(word)
  local date, clock = word:match "^(%d%d%d%d%-%d%d%-%d%d)[T ](.-)Z?$"
  local year, month, day = (date or word):match "^(%d%d%d%d)%-(%d%d)%-(%d%d)$"
  local hour, minute, rest = (clock or "00:00"):match "^(%d%d):(%d%d)(.*)$"
  if not year or not hour then return nil end
  local second, fraction = (rest == "" and ":00" or rest):match "^:(%d%d)%.?(%d*)$"
  year, month, day = tonumber(year), tonumber(month), tonumber(day)
  hour, minute, second = tonumber(hour), tonumber(minute), tonumber(second)
  if not second or not is_date(year, month, day) or hour > 23 or minute > 59 or second > 60 then return nil end
  return ((days_to(year, month, day) * 24 + hour) * 60 + minute) * 60 + second, fraction
end

--- "1700000000.5", "2026-11-23", "2026-11-23 16:16", "2026-11-23T16:16:30.5Z" → nanoseconds since 1970, a 64-bit
-- integer, and whether there was a fraction. Times without a zone are UTC.
function notation.time(word)
  local seconds, fraction = word:match "^(%d+)%.?(%d*)$"
  if not seconds then seconds, fraction = utc(word) end
  seconds = tonumber(seconds)
  if not seconds or seconds < 0 or seconds >= LAST then return nil end
  return seconds * 1000000000ULL + tonumber((fraction .. "000000000"):sub(1, 9)), fraction ~= ""
end

--- Nanoseconds since 1970, a 64-bit integer, as "2026-11-23T16:16:30.500000000Z".
function notation.moment(ns)
  local seconds, rest = tonumber(ns / 1000000000ULL), tonumber(ns % 1000000000ULL)
  return os.date("!%Y-%m-%dT%H:%M:%S", seconds) .. (".%09dZ"):format(rest)
end

-- ---- addresses ----

local function ipv4(word)
  local a, b, c, d = word:match "^(%d+)%.(%d+)%.(%d+)%.(%d+)$"
  if not a or math.max(a, b, c, d) > 255 then return nil end
  return string.char(a, b, c, d)
end

-- The bytes of groups between colons.
local function groups(word)
  local bytes = {}
  for group in word:gsub("(.)$", "%1:"):gmatch "([^:]*):" do
    if not group:match "^%x%x?%x?%x?$" then return nil end
    local value = tonumber(group, 16)
    bytes[#bytes + 1] = string.char(math.floor(value / 256), value % 256)
  end
  return table.concat(bytes)
end

-- RFC 4291, 2.2: "::" once for any number of zeros, and the last four bytes maybe as IPv4.
local function ipv6(word)
  local front, dotted = word:match "^(.*:)([^:]+%.[^:]+)$"
  if dotted then
    local a, b, c, d = (ipv4(dotted) or ""):byte(1, 4)
    if not a then return nil end
    word = front .. ("%x:%x"):format(a * 256 + b, c * 256 + d)
  end
  local before, behind = word:match "^(.-)::(.*)$"
  local head, tail = groups(before or word), groups(behind or "")
  if not head or not tail then return nil end
  local missing = 16 - #head - #tail
  if before and missing < 2 or not before and missing ~= 0 then return nil end
  return head .. ("\0"):rep(missing) .. tail
end

--- An address's bytes, 4 or 16 in a string.
function notation.address(word) return ipv4(word) or word:find ":" and ipv6(word) or nil end

--- The first `bits` bits of an address, as bytes: equal for addresses that begin alike.
function notation.cut(address, bits)
  local whole, rest = math.floor(bits / 8), bits % 8
  if rest == 0 then return address:sub(1, whole) end
  local byte = address:byte(whole + 1)
  return address:sub(1, whole) .. string.char(byte - byte % 2 ^ (8 - rest))
end

--- "10.0.0.0/8", "2001:db8::1" → { version, bits, bytes }, the bytes cut to that many bits.
function notation.prefix(word)
  local address, slash, bits = word:match "^([^/]+)(/?)(%d*)$"
  local bytes = address and notation.address(address)
  if not bytes or (slash == "/") ~= (bits ~= "") then return nil end
  bits = tonumber(bits) or #bytes * 8
  if bits > #bytes * 8 then return nil end
  return { version = #bytes == 4 and 4 or 6, bits = bits, bytes = notation.cut(bytes, bits) }
end

-- ---- numbers ----

local function number_up_to(word, limit)
  local value = word:match "^%d+$" and tonumber(word)
  return value and value <= limit and value or nil
end

function notation.port(word) return number_up_to(word, 65535) end

local protocols = { icmp = 1, tcp = 6, udp = 17, gre = 47, esp = 50, ah = 51, icmpv6 = 58, sctp = 132 }

--- "tcp" → 6; numbers as they are.
function notation.protocol(word) return protocols[word:lower()] or number_up_to(word, 255) end

return notation
