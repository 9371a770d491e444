--- When was how much sent, and by which applications? Plots bytes per second in the terminal; --svg=FILE draws them.
--
-- The plot is of all bytes together. Below it each of the largest applications has a line, full height being its own
-- peak, which stands beside it. Every packet counts at its own time, whenever its flow ended. Columns are as wide in
-- time as needed for the whole run to fit; PEAK is the largest mean over one column.
--
-- Without applications (--n-dissections=0) there are ports in their place.
--
-- @categories report
-- @usage nfengine timeline samples/web.pcap
-- @output
-- 2026-11-23 16:16:30 UTC, 13.5 s in steps of 500 ms
--
--               196.4 kB/s │                          ██
--                          │                          ██
--                          │                          ██
--                          │                          ██
--                          │                          ██
--                          │                        ▃▃██
--                          │                        ████▂▂
--                          │▁▁    ▁▁▁▁▁▁▁▁▁▁      ▃▃██████▇▇▅▅▃▃▁▁▁▁  ▁▁  ▁▁  ▁▁▁▁
--                        0 └──────────────────┬───────────────────┬───────────────
--                                             16:16:35            16:16:40
--
-- APPLICATION         PEAK
-- HTTP          196.1 kB/s                        ▁▁▂▂██▁▁        ▁▁  ▁▁  ▁▁  ▁▁
-- TLS            26.7 kB/s                              ██▆▆
-- SSH            13.3 kB/s                                  ██▆▆
-- DNS             1.4 kB/s                ▄▄      ▂▂██▂▂▄▄██▄▄  ▂▂
-- DHCP            2.8 kB/s  ██                                                  ▂▂
-- 4 others         972 B/s        ▃▃▃▃██▆▆▃▃      ▃▃        ▃▃  ▂▂              ▃▃
-- @usage nfengine timeline --n-dissections=0 samples/ssh.pcap -- --ascii --top=2 --height=4
-- @output
-- 2026-11-23 16:17:21 UTC, 4.2 s in steps of 100 ms
--
--               267.6 kB/s |           |      :
--                          |           |      |
--                          |           |      |
--                          |:...:  :...|  ....|  ::  :... ..|... : ...
--                        0 ++-------------------+-------------------+-
--                           16:17:22            16:17:24            16:17:26
--
-- PORT                PEAK
-- 22/tcp        267.6 kB/s  .....  ....|  ....|  ..  .... ...    . ...
-- 2222/tcp       34.7 kB/s                                  ||:.
-- @usage nfengine timeline samples/web.pcap -- --svg=web.svg

local nf = require "nfengine"
local show = require "nfengine.show"
local svg = require "nfengine.svg"
local timeline = require "nfengine.timeline"

local options = nf.options {
  top = { 5, "applications that get a line of their own", integer = true, min = 1, max = 100 },
  height = { 8, "lines of the plot", integer = true, min = 1, max = 100 },
  ascii = { false, "plot with # instead of block characters" },
  svg = { "", "also draw it as SVG into this file" },
}

local streamer = nf.streamer {}
local bytes = timeline.of(streamer)
streamer.udps = { bytes }
streamer:to { write = function() end }

local COLUMNS = math.max(tonumber(os.getenv "COLUMNS" or "") or 80, 60)
local GUTTER = 26 -- columns before the plot
local SPACE = COLUMNS - GUTTER
local STEPS = options.ascii and { ".", ":", "|" } or { "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" }

-- ---- the terminal ----

--- A bar's part in a line of the plot: level is how high the bar is, in lines, above that line's foot.
local function block(level)
  local step = math.floor(math.min(level, 1) * #STEPS + 0.5)
  return STEPS[level > 0 and math.max(step, 1) or step] or " "
end

--- A line of bars, each as many columns wide as there is room for.
local function bars(values, level_of, width)
  local cells = {}
  for i, value in ipairs(values) do cells[i] = block(level_of(value)):rep(width) end
  return (table.concat(cells):gsub(" +$", ""))
end

local function print_plot(result, width)
  local highest = math.max(1, unpack(result.total))
  for line = options.height, 1, -1 do
    local label = line == options.height and show.rate(highest / result.step) or ""
    local function level(value)
      local above = value / highest * options.height - line + 1
      return line > 1 and above < 0.5 / #STEPS and 0 or above
    end
    print(("%" .. GUTTER - 2 .. "s %s%s"):format(label, options.ascii and "|" or "│", bars(result.total, level, width)))
  end
end

--- Marks of the time axis, as many as have room.
local function print_axis(result, width)
  local columns, ticks, labels = result.count * width, {}, ""
  for i = 1, columns do ticks[i] = options.ascii and "-" or "─" end
  local most = math.max(math.floor(columns / 11), 1)
  for _, mark in ipairs(svg.time_marks(result.first, result.count * result.step, most)) do
    local at, text = math.floor(mark[1] * columns), mark[2]
    if at >= #labels and at + #text <= SPACE then
      labels = labels .. (" "):rep(at - #labels) .. text .. " "
      ticks[at + 1] = options.ascii and "+" or "┬"
    end
  end
  print(("%" .. GUTTER - 2 .. "s %s%s"):format("0", options.ascii and "+" or "└", table.concat(ticks)))
  print((" "):rep(GUTTER) .. labels:gsub(" $", ""))
end

local function print_lines(result, width)
  local title = streamer.n_dissections > 0 and "APPLICATION" or "PORT"
  print(("\n%-14s%10s"):format(title, "PEAK"))
  for _, series in ipairs(result.series) do
    local peak = math.max(0, unpack(series.values))
    local name = series.name and show.shortened(series.name, 13) or show.thousands(series.others) .. " others"
    local line = bars(series.values, function(value) return value / math.max(peak, 1) end, width)
    print((("%-14s%10s  %s"):format(name, show.rate(peak / result.step), line):gsub(" +$", "")))
  end
end

local result = timeline.result(bytes, { bins = SPACE, top = options.top })
if not result then return print "no packets" end
local width = math.floor(SPACE / result.count)
print(("%s, %s in steps of %s\n"):format(show.moment(result.first), show.duration(result.count * result.step),
  show.duration(result.step)))
print_plot(result, width)
print_axis(result, width)
print_lines(result, width)

-- ---- the drawing ----

if options.svg ~= "" then
  local file = assert(io.open(options.svg, "w"))
  file:write(svg.file(svg.stacked {
    id = "bytes", width = 960, height = 360, has_hover = true, title = "Bytes per second",
    desc = ("Bytes per second by application from %s on"):format(show.moment(result.first)),
    timeline = timeline.result(bytes, { top = svg.COLOURS }),
  }))
  assert(file:close())
end
