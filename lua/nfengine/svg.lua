--- Charts as SVG: stacked steps over time, and bars. They need no script and nothing from the network.
--
--   local chart = svg.stacked { id = "b", width = 960, height = 320, title = "Bytes per second", timeline = result }
--   io.write(svg.file(chart))
--
-- A chart is text, to stand in a page that has svg.style among its style, or as a file of its own. Its colours follow
-- the reader's choice of light or dark. Every text is escaped.

local show = require "nfengine.show"
local text = require "nfengine.text"

local svg = {}

--- How many colours there are for names; one more, grey, is for others.
svg.COLOURS = 7

svg.style = [[
:root { --surface: #ffffff; --ink: #1d1d1b; --soft: #5b5b57; --line: #e2e2dd; --others: #8c8c86;
  --c1: #2c6fbb; --c2: #d9692a; --c3: #1f8a67; --c4: #b5438a; --c5: #b08207; --c6: #6653b5; --c7: #5f8020; }
@media (prefers-color-scheme: dark) { :root { --surface: #1e1f21; --ink: #ececea; --soft: #adada8; --line: #37393d;
  --others: #7d7f84; --c1: #5a9be6; --c2: #f0955a; --c3: #45b893; --c4: #db7ab2; --c5: #dcb04a; --c6: #9c8fe6;
  --c7: #9ab84f; } }
.chart { display: block; width: 100%; height: auto; font: 12px system-ui, sans-serif; fill: var(--soft); }
.chart .line { stroke: var(--line); fill: none; }
.chart .area { stroke: var(--surface); stroke-width: 0.5; }
.chart .hover { fill: none; pointer-events: all; }
.chart .hover:hover { fill: var(--ink); fill-opacity: 0.12; }
.c1 { fill: var(--c1); } .c2 { fill: var(--c2); } .c3 { fill: var(--c3); } .c4 { fill: var(--c4); }
.c5 { fill: var(--c5); } .c6 { fill: var(--c6); } .c7 { fill: var(--c7); } .others { fill: var(--others); }
]]

-- ---- texts ----

local REPLACEMENT = "\239\191\189"
local entities = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }

--- Characters that show as nothing or turn the text around them: names made of them look like other names.
local function is_deceptive(code)
  return code < 0x20 or code >= 0x7F and code < 0xA0 or code == 0xAD or code == 0x61C or code == 0x180E
    or code >= 0x200B and code <= 0x200F or code >= 0x2028 and code <= 0x202E or code >= 0x2060 and code <= 0x206F
    or code == 0xFEFF or code >= 0xFFF0 and code <= 0xFFFC or code % 0x10000 >= 0xFFFE or code >= 0xE0000
end

--- Text for HTML and SVG, in elements and in quoted attributes. What is no UTF-8, no character or deceptive shows as
-- U+FFFD.
function svg.escape(value)
  local shown = tostring(value)
  if shown:find "[^\32-\126]" then
    local parts, at = {}, 1
    while at <= #shown do
      local code, size = text.character_at(shown, at)
      parts[#parts + 1] = code and not is_deceptive(code) and shown:sub(at, at + size - 1) or REPLACEMENT
      at = at + (size or 1)
    end
    shown = table.concat(parts)
  end
  return (shown:gsub("[&<>\"']", entities))
end

local escape = svg.escape

--- A coordinate, to a tenth.
local function at(value) return (("%.1f"):format(value):gsub("%.0$", "")) end

-- ---- scales ----

--- 1, 2 or 5 times a power of ten: the smallest that cuts `range` into no more than `parts`.
local function round_step(range, parts)
  local step = 10 ^ math.floor(math.log10(range / parts))
  for _, factor in ipairs { 1, 2, 5 } do
    if range / (factor * step) <= parts then return factor * step end
  end
  return 10 * step
end

local TIME_STEPS = {
  0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200,
  10800, 21600, 43200, 86400,
}

local function time_step(span, parts)
  for _, step in ipairs(TIME_STEPS) do
    if span / step <= parts then return step end
  end
  return math.max(1, math.floor(round_step(span / 86400, parts))) * 86400
end

local function time_text(seconds, step)
  if step >= 86400 or step >= 60 and seconds % 86400 == 0 then return os.date("!%Y-%m-%d", seconds) end
  if step >= 60 then return os.date("!%H:%M", seconds) end
  local thousandths = math.floor(seconds * 1000 + 0.5)
  local fraction = (".%03d"):format(thousandths % 1000):gsub("%.?0+$", "")
  return os.date("!%H:%M:%S", math.floor(thousandths / 1000)) .. fraction
end

--- Marks on a time axis: a list of { place (0 to 1), text }.
function svg.time_marks(first, span, parts)
  local step, marks = time_step(span, parts), {}
  for i = math.ceil(first / step), math.floor((first + span) / step) do
    marks[#marks + 1] = { (i * step - first) / span, time_text(i * step, step) }
  end
  return marks
end

-- ---- the frame of a chart ----

local LEFT, RIGHT, BOTTOM, LEGEND_LINE, LETTER = 66, 10, 24, 20, 6.8

--- The legend's elements, and how high it is: as many lines as its names need.
local function legend(chart)
  local parts, x, y = {}, LEFT, 14
  for _, entry in ipairs(chart.legend) do
    local width = 18 + #entry.text * LETTER + 14
    if x > LEFT and x + width > chart.width then x, y = LEFT, y + LEGEND_LINE end
    parts[#parts + 1] = ('<rect class="%s" x="%s" y="%d" width="11" height="11" rx="2"/>'
      .. '<text x="%s" y="%d">%s</text>\n'):format(entry.class, at(x), y - 10, at(x + 16), y, escape(entry.text))
    x = x + width
  end
  return table.concat(parts), y + 14
end

--- The value at the top of the y axis, and how far its lines are apart.
local function y_scale(highest)
  local step = round_step(highest, 4)
  return step * math.ceil(highest / step - 1e-9), step
end

--- Lines and texts of both axes. `marks` are along the x axis, { place, text }.
local function axes(chart, top, highest, marks, text_of)
  local parts = {}
  local bottom, right = chart.height - BOTTOM, chart.width - RIGHT
  local _, step = y_scale(highest)
  for i = 0, math.floor(highest / step + 0.5) do
    local y = bottom - (bottom - top) * i * step / highest
    parts[#parts + 1] = ('<path class="line" d="M%d %sH%d"/><text x="%d" y="%s" text-anchor="end">%s</text>\n')
      :format(LEFT, at(y), right, LEFT - 6, at(y + 4), escape(text_of(i * step)))
  end
  for _, mark in ipairs(marks) do
    local x = LEFT + (right - LEFT) * mark[1]
    local is_last = x + #mark[2] * LETTER / 2 > chart.width
    parts[#parts + 1] = ('<path class="line" d="M%s %sv5"/><text x="%s" y="%s" text-anchor="%s">%s</text>\n')
      :format(at(x), at(bottom), at(is_last and chart.width or x), at(bottom + 18), is_last and "end" or "middle",
        escape(mark[2]))
  end
  return table.concat(parts)
end

local function element(chart, content)
  return ([[
<svg xmlns="http://www.w3.org/2000/svg" class="chart %s" viewBox="0 0 %d %d" role="img" aria-labelledby="%s-t %s-d">
<title id="%s-t">%s</title><desc id="%s-d">%s</desc>
%s</svg>
]]):format(chart.class or "", chart.width, chart.height, chart.id, chart.id, chart.id, escape(chart.title), chart.id,
    escape(chart.desc or ""), content)
end

--- The class that gives the n-th name its colour.
function svg.class(n) return n and n <= svg.COLOURS and "c" .. n or "others" end

-- ---- charts ----

--- Lines of text that show while the pointer is over a rectangle.
local function hover(x, y, width, height, lines)
  for i, line in ipairs(lines) do lines[i] = escape(line) end
  return ('<rect class="hover" x="%s" y="%s" width="%s" height="%s"><title>%s</title></rect>\n')
    :format(at(x), at(y), at(width), at(height), table.concat(lines, "\n"))
end

--- What there was in a bin, and when.
local function bin_lines(timeline, bin)
  local lines = { show.moment(timeline.first + (bin - 1) * timeline.step):sub(12, 19) .. "  "
    .. show.rate(timeline.total[bin] / timeline.step) }
  for _, series in ipairs(timeline.series) do
    local bytes = series.values[bin]
    if bytes > 0 then
      lines[#lines + 1] = ("%s  %s"):format(series.name or series.others .. " others", show.rate(bytes / timeline.step))
    end
  end
  return lines
end

--- Bytes per second over time, series upon series; the first is lowest.
-- @param chart `id` (unique in a page), `class`, `width`, `height`, `title`, `desc`, `timeline` (timeline.result's),
--   `has_hover` (says what is in a bin while the pointer is there)
function svg.stacked(chart)
  local timeline, parts = chart.timeline, {}
  chart.legend = {}
  for i, series in ipairs(timeline.series) do
    chart.legend[i] = { class = svg.class(series.name and i), text = series.name or series.others .. " others" }
  end
  local head, top = legend(chart)
  local highest = y_scale(math.max(1, unpack(timeline.total)) / timeline.step)
  local bottom, right = chart.height - BOTTOM, chart.width - RIGHT
  local function x_of(bin) return LEFT + (right - LEFT) * bin / timeline.count end

  -- Each area reaches down to the axis; those drawn later hide what is below their own upper edge.
  local upper = { unpack(timeline.total) }
  for i = #timeline.series, 1, -1 do
    local path, series = { ("M%s %sV"):format(at(x_of(0)), at(bottom)) }, timeline.series[i]
    for bin = 1, timeline.count do
      local is_flat = bin < timeline.count and upper[bin + 1] == upper[bin]
      local y = at(bottom - (bottom - top) * upper[bin] / timeline.step / highest)
      if not is_flat then path[#path + 1] = ("%sH%sV"):format(y, at(x_of(bin))) end
      upper[bin] = upper[bin] - series.values[bin]
    end
    parts[#parts + 1] = ('<path class="area %s" d="%s%sZ"/>\n')
      :format(chart.legend[i].class, table.concat(path), at(bottom))
  end
  for bin = 1, chart.has_hover and timeline.count or 0 do
    parts[#parts + 1] = hover(x_of(bin - 1), top, (right - LEFT) / timeline.count, bottom - top,
      bin_lines(timeline, bin))
  end
  local marks = svg.time_marks(timeline.first, timeline.count * timeline.step, math.floor(chart.width / 90))
  local frame = axes(chart, top, highest, marks, function(rate) return (show.rate(rate):gsub("%.0 ", " ")) end)
  return element(chart, head .. frame .. table.concat(parts))
end

--- Bars side by side, one of each group in every bin.
-- @param chart `id`, `class`, `width`, `height`, `title`, `desc`, `groups` (list of { name, values }), `marks` (along
--   the x axis, { place from 0 to 1, text }), `text_of` (a function that shows a value), `bin_text` (one that says
--   what a bin is, for the hover)
function svg.bars(chart)
  local highest, count = 0, #chart.groups[1].values
  chart.legend = {}
  for i, group in ipairs(chart.groups) do
    chart.legend[i] = { class = svg.class(i), text = group.name }
    for _, value in ipairs(group.values) do highest = math.max(highest, value) end
  end
  highest = y_scale(highest > 0 and highest or 1)
  local head, top = legend(chart)
  local parts, bottom = {}, chart.height - BOTTOM
  local slot = (chart.width - RIGHT - LEFT) / count
  local width = slot * 0.8 / #chart.groups
  for bin = 1, count do
    local lines = { chart.bin_text(bin) }
    for i, group in ipairs(chart.groups) do
      local height = (bottom - top) * group.values[bin] / highest
      if group.values[bin] > 0 then height = math.max(height, 1) end
      parts[#parts + 1] = ('<rect class="%s" x="%s" y="%s" width="%s" height="%s"/>\n'):format(svg.class(i),
        at(LEFT + (bin - 1) * slot + slot * 0.1 + (i - 1) * width), at(bottom - height), at(width), at(height))
      lines[#lines + 1] = ("%s  %s"):format(group.name, chart.text_of(group.values[bin]))
    end
    parts[#parts + 1] = hover(LEFT + (bin - 1) * slot, top, slot, bottom - top, lines)
  end
  return element(chart, head .. axes(chart, top, highest, chart.marks, chart.text_of) .. table.concat(parts))
end

--- A chart as a file of its own.
function svg.file(chart)
  local style = svg.style:gsub("width: 100%%; height: auto; ", "") .. "svg { background: var(--surface); }\n"
  return (chart:gsub("<title", function() return "<style>\n" .. style .. "</style>\n<title" end, 1))
end

return svg
