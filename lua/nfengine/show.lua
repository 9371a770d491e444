--- Numbers, times and names as people read them: what scripts that print, plot or write pages share.

local text = require "nfengine.text"

local show = {}

--- 1234567 as "1,234,567".
show.thousands = text.thousands

--- Bytes as "512 B", "1.5 kB", "560.7 MB".
function show.size(bytes)
  local units, i = { "B", "kB", "MB", "GB", "TB", "PB" }, 1
  while bytes >= 999.95 and units[i + 1] do bytes, i = bytes / 1000, i + 1 end
  return (i == 1 and "%.0f %s" or "%.1f %s"):format(bytes, units[i])
end

--- Bytes a second as "1.5 kB/s".
function show.rate(bytes) return show.size(bytes) .. "/s" end

--- A part of a whole as "12.5%".
function show.share(part, whole) return ("%.1f%%"):format(100 * part / math.max(whole, 1)) end

--- Seconds as "35 ms", "12.8 s", "9 min 59 s", "2 h 3 min", "12 d 4 h".
function show.duration(seconds)
  if seconds > 0 and seconds < 0.9995 then return ("%.0f ms"):format(seconds * 1000) end
  if seconds < 120 then return ("%.1f s"):format(seconds) end
  if seconds < 7200 then return ("%d min %d s"):format(seconds / 60, seconds % 60) end
  if seconds < 172800 then return ("%d h %d min"):format(seconds / 3600, seconds / 60 % 60) end
  return ("%d d %d h"):format(seconds / 86400, seconds / 3600 % 24)
end

--- Seconds since 1970 as "2026-11-23 16:16:30 UTC".
function show.moment(seconds) return os.date("!%Y-%m-%d %H:%M:%S UTC", math.floor(seconds)) end

--- Texts from the wire may hold anything, also what a terminal would take for a command.
function show.printable(name) return (name:gsub("[^\32-\126]", "?")) end

--- The same in at most so many characters, of which the last are kept: "...very.long.example.org".
function show.shortened(name, width)
  name = show.printable(name)
  return #name > width and "..." .. name:sub(3 - width) or name
end

--- "10.0.0.1:80", "[2001:db8::1]:80", or the address alone where there is no port.
function show.endpoint(address, port)
  if port == 0 then return address end
  return (address:find(":", 1, true) and "[%s]:%d" or "%s:%d"):format(address, port)
end

local protocols = { [1] = "icmp", [6] = "tcp", [17] = "udp", [47] = "gre", [58] = "icmpv6", [132] = "sctp" }

--- A protocol by its IANA number, "tcp" or "protocol 113".
function show.protocol(number) return protocols[number] or "protocol " .. number end

--- What a flow is for as its ports say, "443/tcp" or "icmp": the lower port, which nearly always is the server's.
function show.service(flow)
  local port = math.min(flow.src_port, flow.dst_port)
  local protocol = show.protocol(flow.protocol)
  return port > 0 and port .. "/" .. protocol or protocol
end

--- How many of a run's units of time a second has.
function show.per_second(time_unit) return ({ ms = 1e3, us = 1e6, ns = 1e9 })[time_unit] end

--- Why packets reached no flow, as an account has it: "514 later fragment, 6 not IP", or "" where all did.
function show.ignored(account)
  local parts = {}
  for _, reason in ipairs(text.sorted_keys(account.ignored)) do
    parts[#parts + 1] = text.thousands(account.ignored[reason]) .. " " .. reason
  end
  return table.concat(parts, ", ")
end

return show
