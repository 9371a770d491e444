-- Runs packets, or capture files, through a meter and tells what came of them.
--
--   local run = meter.run { packets = { meter.udp(0, 1000), meter.back(5, 1000) }, events = "init update" }
--   run.trace    --> { "init 1000", "update 1000", "expire 1000 input" }; flows go by their source port
--   run.flows    --> records in the order of their ends, as tables
--   run.status, run.error, run.warnings, run.damaged, run.counters
--
-- Times are milliseconds after meter.EPOCH. A packet goes between 10.0.0.1 and 10.0.0.2, whose port is 2000.

local ffi = require "ffi"
local C = require "nfengine.lib"
local P = require "nfengine.testing.packet"
local capture = require "nfengine.testing.capture"

local meter = {}

-- 2020-09-13 in ns; ticks of flows are told relative to it.
meter.EPOCH = 1600000000000000000ULL
local NS_PER_TICK = { [0] = 1000000, 1000, 1 } -- by enum nf_time_unit

-- ---- packets ----

--- A packet of these layers, for capture.pcap.
function meter.frame(at, layers, fields)
  local made = { bytes = layers:bytes(), time_ns = meter.EPOCH + ffi.cast("int64_t", math.floor(at * 1000000 + 0.5)) }
  for name, value in pairs(fields or {}) do made[name] = value end
  return made
end

--- UDP from 10.0.0.1 and this port, with one byte of payload or what is given.
function meter.udp(at, port, payload)
  return meter.frame(at, P.eth {} .. P.ipv4 {} .. P.udp { src_port = port } .. (payload or "x"))
end

--- The way back to that port.
function meter.back(at, port, payload)
  local ip = P.ipv4 { src = "10.0.0.2", dst = "10.0.0.1" }
  return meter.frame(at, P.eth {} .. ip .. P.udp { src_port = 2000, dst_port = port } .. (payload or "x"))
end

--- A packet from this port every `step` ms.
function meter.every(step, from, to, port)
  local packets = {}
  for at = from, to, step do packets[#packets + 1] = meter.udp(at, port or 1000) end
  return packets
end

--- Lists of packets one behind the other.
function meter.joined(...)
  local all = {}
  for _, list in ipairs { ... } do
    for _, packet in ipairs(list) do all[#all + 1] = packet end
  end
  return all
end

-- ---- opening ----

local KINDS = { init = C.NF_EVENT_INIT, update = C.NF_EVENT_UPDATE, progress = C.NF_EVENT_PROGRESS }
local NAMES = {
  [C.NF_EVENT_INIT] = "init", [C.NF_EVENT_UPDATE] = "update", [C.NF_EVENT_EXPIRE] = "expire",
  [C.NF_EVENT_PROGRESS] = "progress", [C.NF_EVENT_STATUS] = "status",
}

local OWN = { packets = true, link_type = true, sources = true, events = true, on = true } -- the rest is nf_options'

local function c_options(wanted)
  local dialect = { ns = true, link_type = wanted.link_type }
  local sources = wanted.sources or { capture.file(capture.pcap(wanted.packets, dialect)) }
  local paths = ffi.new("const char *[?]", #sources + 1, sources)
  local options = ffi.new "struct nf_options"
  options.sources, options.source_count = paths, #sources
  options.n_meters, options.idle_timeout_s, options.active_timeout_s = 1, 120, 1800
  options.decode_tunnels, options.defragment = true, true
  options.watchers = 1
  for name in (wanted.events or ""):gmatch "%a+" do options.events = options.events + KINDS[name] end
  for name, value in pairs(wanted) do
    if not OWN[name] then options[name] = value end
  end
  return options, { paths, sources } -- the second keeps alive what the first points to
end

--- nf_crew_new's answer: a crew of one meter and the options it was opened with, or nil and the reason.
function meter.open(wanted)
  local options, anchor = c_options(wanted)
  local message = ffi.new("char[?]", C.NF_ERROR_SIZE)
  local opened = C.nf_crew_new(options, message)
  if opened == nil then return nil, ffi.string(message) end
  return ffi.gc(opened, C.nf_crew_free), options, anchor
end

-- ---- running ----

local function address(bytes, version)
  local text = ffi.new "char[46]"
  return ffi.string(text, C.nf_format_ip(text, bytes, version))
end

local function end_name(reason) return (ffi.string(C.nf_end_name(reason)):gsub("^end of ", "")) end

local function since(tick, epoch) return tonumber(ffi.cast("int64_t", tick - epoch)) end

local function scope_of(flow, index, epoch)
  local scope = flow.scope[index]
  local is_used = scope.packets > 0
  return {
    packets = tonumber(scope.packets), bytes = tonumber(scope.bytes), duration = tonumber(scope.duration),
    first = is_used and since(scope.first_seen, epoch) or 0,
    last = is_used and since(scope.last_seen, epoch) or 0,
  }
end

local function record_of(flow, epoch)
  local t = flow.tuple
  local both, there, back = scope_of(flow, 0, epoch), scope_of(flow, 1, epoch), scope_of(flow, 2, epoch)
  return {
    src = address(t.src_address, flow.ip_version) .. ":" .. t.src_port,
    dst = address(t.dst_address, flow.ip_version) .. ":" .. t.dst_port,
    protocol = t.protocol, vlan_id = t.vlan_id, tunnel_id = t.tunnel_id,
    packets = both.packets, there = there.packets, back = back.packets, bytes = both.bytes,
    first = both.first, last = both.last, duration = both.duration, scopes = { both, there, back },
    expiration_id = flow.expiration_id, reason = end_name(flow.end_reason),
    last_packet = tonumber(flow.last_packet), ended_at = tonumber(flow.ended_at),
  }
end

local function described(name, flow)
  if flow == nil then return name end
  return name .. " " .. flow.tuple.src_port .. (name == "expire" and " " .. end_name(flow.end_reason) or "")
end

local function counters_of(handle)
  local c = C.nf_crew_counters(handle)
  local counters = { ignored = {}, ended = {} }
  for _, name in ipairs { "packets", "bytes", "input_size", "input_read" } do counters[name] = tonumber(c[name]) end
  for i = 1, C.NF_IGNORED_COUNT - 1 do
    if c.ignored[i] > 0 then counters.ignored[ffi.string(C.nf_ignored_name(i))] = tonumber(c.ignored[i]) end
  end
  for i = 0, C.NF_END_COUNT - 1 do
    if c.ended[i] > 0 then counters.ended[end_name(i)] = tonumber(c.ended[i]) end
  end
  return counters
end

meter.counters_of = counters_of

local function warnings_of(handle)
  local list = {}
  local text = C.nf_crew_warning(handle)
  while text ~= nil do
    list[#list + 1] = ffi.string(text)
    text = C.nf_crew_warning(handle)
  end
  return list
end

--- Runs to the end. `wanted` holds `packets` (or `sources`, a list of paths), `events` ("init update progress"), fields
-- of struct nf_options, and maybe `on`: called as on(name, flow, packet, handle) at every event, with C's structs.
function meter.run(wanted)
  local handle, options = meter.open(wanted)
  assert(handle, options)
  local epoch = meter.EPOCH / NS_PER_TICK[options.time_unit]
  local event = C.nf_crew_event(handle)
  local run = { trace = {}, flows = {} }
  repeat
    local kind = C.nf_crew_next(handle)
    if kind > 0 then
      local name = NAMES[kind]
      local has_packet = name == "init" or name == "update"
      table.insert(run.trace, described(name, event.flow))
      if wanted.on then wanted.on(name, event.flow, has_packet and event.packet or nil, handle) end
      if name == "expire" then table.insert(run.flows, record_of(event.flow, epoch)) end
    end
  until kind < 0
  run.status = C.nf_crew_next(handle) -- it stays
  run.error, run.damaged = ffi.string(C.nf_crew_error(handle)), C.nf_crew_is_damaged(handle)
  run.warnings = warnings_of(handle)
  run.counters = counters_of(handle)
  C.nf_crew_free(ffi.gc(handle, nil))
  return run
end

--- What the flows of a run have under these names.
function meter.pick(flows, ...)
  local rows = {}
  for i, flow in ipairs(flows) do
    rows[i] = {}
    for k, name in ipairs { ... } do rows[i][k] = flow[name] end
  end
  return rows
end

--- A hook that sets a flow's expiration_id at its nth packet; with a port, only where that is the flow's source.
function meter.setting(id, nth, port)
  return function(name, flow)
    if name ~= "init" and name ~= "update" or port and flow.tuple.src_port ~= port then return end
    if flow.scope[C.NF_BIDIRECTIONAL].packets == nth then flow.expiration_id = id end
  end
end

return meter
