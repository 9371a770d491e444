--- What is measured: one row a command, in the order of the table.
--
-- A row has an `id`, the `name` that the table shows, the `group` it stands under, the `trace` it reads, and `words`:
-- its command, made from the places { trace, csv, jsonl, parquet, arrow, sqlite, ipfix, folder, model, program,
-- floor }. Runs are quiet (-q) but for the first, so that `flows` finds their number in what it says. Rows of other
-- tools have `version`, and `like`, the row of ours that does the same work.

local plugins = require "spec.support.plugins"
local text = require "nfengine.text"

local NO_DPI = "--n-dissections=0"
local BOUNDED = "--max-flows=100000"
local MANIFEST = "--manifest"
local STATISTICS, SPLT = "--statistical-analysis", "--splt-analysis=20"
local MASKS = { "--anonymize-addresses", "--anonymize-macs=all", "--time-shift=1" }
local HASHES = "--columns-to-anonymize=src_ip,src_mac,dst_ip,dst_mac"

local rows = {}

local function number_in(pattern)
  return function(output)
    local digits = output:match(pattern)
    return digits and tonumber((digits:gsub(",", "")))
  end
end

-- ---- our own ----

local function floor(id, group, trace)
  return {
    id = id, name = "reading alone (the floor)", group = group, trace = trace,
    words = function(places) return { places.floor, places.trace } end,
  }
end

-- `script` with options on a trace. A written row's output is the place that `to` names; the others only count. One
-- meter does the work unless `meters` says how many.
local function ours(id, name, group, trace, script, options, to, meters)
  return {
    id = id, name = name, group = group, trace = trace, flows = number_in "([%d,]+) flows",
    words = function(places)
      local words = { places.program, script, "-q", "--n-meters=" .. (meters or 1) }
      words[#words + 1] = to and "--output=" .. places[to] or "--format=null"
      for _, option in ipairs(options) do words[#words + 1] = option end
      words[#words + 1] = places.trace
      return words
    end,
  }
end

local function on_mix(id, name, options, to, meters)
  return ours(id, name, "mix", "mix", "flows", options, to, meters)
end

local function scripted(id, name, script, ...) return ours(id, name, "mix", "mix", script, { NO_DPI, ... }) end

-- A model of 100 trees of depth 6, asked about each flow.
local function with_model(id, name)
  local row = on_mix(id, name, { NO_DPI })
  local words = row.words
  function row.words(places)
    local list = words(places)
    table.insert(list, 3, "--plugin=model")
    table.insert(list, 4, "--set=model.file=" .. places.model)
    return list
  end
  return row
end

local function on_flood(id, name, options) return ours(id, name, "syn_flood", "syn_flood", "flows", options) end

rows.ours = {
  floor("floor", "mix", "mix"),
  on_mix("core", "core: flows, counted", { NO_DPI }),
  on_mix("statistics", "+ statistics", { NO_DPI, STATISTICS }),
  on_mix("features", "+ statistics, SPLT 20", { NO_DPI, STATISTICS, SPLT }),
  on_mix("dpi", "DPI (the defaults)", {}),
  on_mix("everything", "DPI, all L7 columns, statistics, SPLT 20", { STATISTICS, SPLT, "--l7-columns=all" }),
  scripted("counter", "one counting plugin", "bench/counter.lua"),
  scripted("counter_safe", "one counting plugin, closed in by --safe", "bench/counter.lua", "--safe"),
  scripted("decided", "a plugin that is done with a flow after ten packets", "bench/decided.lua"),
  scripted("eight", "eight plugins", "bench/eight.lua"),
  scripted("eight_safe", "eight plugins, closed in by --safe", "bench/eight.lua", "--safe"),
  with_model("model", "a model of 100 trees of depth 6"),
  on_mix("core_csv", "core, to CSV", { NO_DPI }, "csv"),
  on_mix("core_csv_masked", "core, addresses masked, to CSV", { NO_DPI, unpack(MASKS) }, "csv"),
  on_mix("core_csv_hashed", "core, four columns hashed, to CSV", { NO_DPI, HASHES }, "csv"),
  on_mix("core_ipfix", "core, to IPFIX", { NO_DPI }, "ipfix"),
  on_mix("features_csv", "statistics, SPLT 20, to CSV", { NO_DPI, STATISTICS, SPLT }, "csv"),
  on_mix("features_jsonl", "statistics, SPLT 20, to JSON lines", { NO_DPI, STATISTICS, SPLT }, "jsonl"),
  on_mix("features_parquet", "statistics, SPLT 20, to Parquet", { NO_DPI, STATISTICS, SPLT }, "parquet"),
  on_mix("features_arrow", "statistics, SPLT 20, to an Arrow file", { NO_DPI, STATISTICS, SPLT }, "arrow"),
  on_mix("features_sqlite", "statistics, SPLT 20, to SQLite", { NO_DPI, STATISTICS, SPLT }, "sqlite"),
  on_mix("dpi_csv", "DPI (the defaults), to CSV", {}, "csv"),
  on_mix("core_csv_2", "core, to CSV, two meters", { NO_DPI }, "csv", 2),
  on_mix("dpi_csv_2", "DPI (the defaults), to CSV, two meters", {}, "csv", 2),
  on_mix("core_csv_manifest", "core, to CSV, with a manifest", { NO_DPI, MANIFEST }, "csv"),
  on_mix("dpi_csv_manifest", "DPI (the defaults), to CSV, with a manifest", { MANIFEST }, "csv"),
  floor("flood_floor", "syn_flood", "syn_flood"),
  on_flood("flood_core", "core: flows, counted", { NO_DPI }),
  on_flood("flood_statistics", "+ statistics", { NO_DPI, STATISTICS }),
  on_flood("flood_bounded", "core, at most 100,000 flows alive", { NO_DPI, BOUNDED }),
  on_flood("flood_bounded_dpi", "DPI, at most 100,000 flows alive", { BOUNDED }),
}

--- A row for each plugin that comes along, and one for all at once that look at every packet and go together.
function rows.plugins()
  local list, together = {}, {}
  for _, each in ipairs(plugins.that_are "(plugin or profile) and not model") do
    local option = each.kind == "profile" and "--profile=" or "--plugin="
    local row = on_mix("plugin_" .. each.name, each.name, { NO_DPI, option .. each.name })
    row.group = "plugins"
    row.is_light = each.kind == "plugin" and not text.contains(each.categories, "slow")
      and not text.contains(each.categories, "payload")
    list[#list + 1] = row
  end
  for _, each in ipairs(plugins.together()) do
    if each.made.on_update then together[#together + 1] = each.name end
  end
  local row = on_mix("plugins", ("all %d that look at every packet"):format(#together),
    { NO_DPI, "--plugin=" .. table.concat(together, ",") })
  row.group = "plugins"
  list[#list + 1] = row
  return list
end

-- ---- other tools ----

-- First line of what a command prints that matches, or nil.
local function ask(command, pattern)
  local pipe = io.popen(command .. " 2>&1 </dev/null")
  local output = pipe:read "*a"
  pipe:close()
  return output:match(pattern)
end

local function find(program)
  return ask(("PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin command -v %s"):format(program), "^(/%S+)\n$")
end

local function add(list, peer)
  peer.group, peer.trace, peer.is_peer = "peers", "mix", true
  list[#list + 1] = peer
end

local function add_nfstream(list)
  local python, version
  for _, candidate in ipairs { ".venv/bin/python", "python3" } do
    version = ask(candidate .. " -c 'import nfstream; print(\"nfstream\", nfstream.__version__)'", "nfstream ([%d.]+)")
    python = version and candidate
    if python then break end
  end
  if not python then return end
  local function row(mode, name, like)
    add(list, {
      id = "nfstream_" .. mode, name = name, like = like, version = "NFStream " .. version,
      flows = number_in "(%d+) flows",
      words = function(places) return { python, "bench/peer_nfstream.py", mode, places.trace, places.csv } end,
    })
  end
  row("features", "NFStream: statistics, SPLT 20, to CSV", "features_csv")
  row("defaults", "NFStream: DPI (its defaults), to CSV", "dpi_csv")
end

-- Tunnels opened and as many packets a flow identified as we do.
local function add_ndpi_reader(list)
  local program = find "ndpiReader"
  if not program then return end
  add(list, {
    id = "ndpireader", name = "ndpiReader: DPI, counted", like = "dpi",
    version = "ndpiReader " .. (ask(program .. " -h", "nDPI ([%d.]+)") or "of unknown version"),
    flows = number_in "Unique flows:%s+(%d+)",
    words = function(places) return { program, "-q", "-t", "-T", "20", "-U", "20", "-i", places.trace } end,
  })
end

-- Our timeouts, and one file for the whole trace.
local function add_nfpcapd(list)
  local program = find "nfpcapd"
  if not program then return end
  add(list, {
    id = "nfpcapd", name = "nfpcapd: one-way flows, to its own format", like = "core_csv",
    version = "nfpcapd " .. (ask("nfdump -V", "(%d+%.[%d.]*%d)") or "of unknown version"),
    flows = number_in "Flows: (%d+), Packets",
    words = function(places)
      return { program, "-r", places.trace, "-e", "1800,120", "-t", "3600", "-w", places.folder }
    end,
  })
end

-- Keeps every flow to the end of a file and then makes NetFlow datagrams of them, here without sending them.
local function add_softflowd(list)
  local program = find "softflowd"
  if not program then return end
  add(list, {
    id = "softflowd", name = "softflowd: to NetFlow 9, not sent", like = "core",
    version = "softflowd " .. (ask(program .. " -h", "version (%d[%d.]*%d)") or "of unknown version"),
    flows = number_in "Flows exported: (%d+)",
    words = function(places)
      local pid = places.folder .. "/pid"
      return { program, "-d", "-c", "none", "-p", pid, "-m", "100000000", "-v", "9", "-r", places.trace }
    end,
  })
end

--- The rows of those other tools that are installed.
function rows.peers()
  local list = {}
  add_nfstream(list)
  add_ndpi_reader(list)
  add_nfpcapd(list)
  add_softflowd(list)
  return list
end

return rows
