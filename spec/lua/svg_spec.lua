-- Charts: lua/nfengine/svg.lua.

local markup = require "spec.support.markup"
local svg = require "nfengine.svg"

-- Three names over four bins of 10 s.
local function timeline()
  local series = {
    { name = "one", bytes = 100, values = { 40, 0, 0, 60 } }, { name = "two", bytes = 60, values = { 0, 60, 0, 0 } },
    { others = 3, bytes = 40, values = { 40, 0, 0, 0 } },
  }
  return { first = 1600000000, step = 10, count = 4, series = series, total = { 80, 60, 0, 60 } }
end

local function stacked(more)
  local chart = { id = "b", width = 476, height = 158, title = "T", desc = "D", timeline = timeline() }
  for name, value in pairs(more or {}) do chart[name] = value end
  return svg.stacked(chart)
end

local function attributes(elements, name)
  local values = {}
  for i, element in ipairs(elements) do values[i] = element.attributes[name] end
  return values
end

local function texts(elements)
  local values = {}
  for i, element in ipairs(elements) do values[i] = element:text() end
  return values
end

local function of_class(root, class)
  local found = {}
  for _, element in ipairs(root:all()) do
    if element.attributes.class == class then found[#found + 1] = element end
  end
  return found
end

describe("svg.escape", function()
  it("leaves no markup in a text, nor a way out of an attribute", function()
    assert.equal("&lt;script&gt;alert(1)&lt;/script&gt;", svg.escape "<script>alert(1)</script>")
    assert.equal("&quot; onload=&#39;x&#39; &amp;lt;", svg.escape "\" onload='x' &lt;")
    assert.equal("]]&gt;&lt;!--", svg.escape "]]><!--")
  end)

  it("keeps other scripts' letters, and replaces what is no UTF-8", function()
    assert.equal("bücher.例え 😀", svg.escape "bücher.例え 😀")
    -- A lone byte, one that goes on after nothing, an overlong <, a surrogate, beyond Unicode, a cut end.
    for _, bytes in ipairs {
      "\255", "\128", "\192\188", "\224\128\188", "\237\160\128", "\244\144\128\128", "\226\130",
    } do
      local shown = svg.escape("a" .. bytes)
      assert.matches("^a[\239\191\189]+$", shown)
      assert.equal(0, (#shown - 1) % 3)
    end
  end)

  it("replaces what shows as nothing or turns the text", function()
    -- Control characters, a soft hyphen, zero width, right-to-left override, isolate, byte order mark, a tag.
    for _, bytes in ipairs {
      "\0", "\n", "\27", "\127", "\194\133", "\194\173", "\226\128\139", "\226\128\174", "\226\129\166", "\239\187\191",
      "\239\191\190", "\243\160\129\129",
    } do
      assert.equal("a\239\191\189b", svg.escape("a" .. bytes .. "b"))
    end
  end)
end)

describe("svg.stacked", function()
  it("draws each name's area upon those before it, to scale", function()
    -- The plot is 400 wide from 66 on. Its foot is at 134, its top, where the highest bin reaches, at 28.
    local root = markup.parse(stacked())
    local classes = attributes(root:all "path", "class")
    assert.same({ "area others", "area c2", "area c1" }, { unpack(classes, #classes - 2) })
    local function y(bytes) return (("%.1f"):format(134 - 106 * bytes / 80):gsub("%.0$", "")) end
    local path = of_class(root, "area others")[1].attributes.d
    assert.equal(("M66 134V%sH166V%sH266V134H366V%sH466V134Z"):format(y(80), y(60), y(60)), path)
    path = of_class(root, "area c2")[1].attributes.d
    assert.equal(("M66 134V%sH166V%sH266V134H366V%sH466V134Z"):format(y(40), y(60), y(60)), path)
    path = of_class(root, "area c1")[1].attributes.d
    assert.equal(("M66 134V%sH166V134H366V%sH466V134Z"):format(y(40), y(60)), path)
  end)

  it("names what it shows, for those who cannot see it too", function()
    local root = markup.parse(stacked { title = "Bytes <1>", desc = "a & b" })
    local chart = root:first "svg"
    assert.same({ "img", "b-t b-d" }, { chart.attributes.role, chart.attributes["aria-labelledby"] })
    assert.same({ "b-t", "Bytes <1>" }, { chart:first("title").attributes.id, chart:first("title"):text() })
    assert.same({ "b-d", "a & b" }, { chart:first("desc").attributes.id, chart:first("desc"):text() })
    assert.same({ "one", "two", "3 others", "0 B/s", "2 B/s", "4 B/s", "6 B/s", "8 B/s" },
      { unpack(texts(chart:all "text"), 1, 8) })
    assert.same({ "12:26:40", "12:26:50", "12:27:00", "12:27:10", "12:27:20" },
      { unpack(texts(chart:all "text"), 9) })
  end)

  it("says what is in a bin where that is wanted", function()
    local root = markup.parse(stacked { has_hover = true })
    local bins = of_class(root, "hover")
    assert.same({ "12:26:40  8 B/s\none  4 B/s\n3 others  4 B/s", "12:26:50  6 B/s\ntwo  6 B/s", "12:27:00  0 B/s",
      "12:27:10  6 B/s\none  6 B/s" }, texts(bins))
    assert.same({ "66", "166", "266", "366" }, attributes(bins, "x"))
    assert.same({}, of_class(markup.parse(stacked()), "hover"))
  end)

  it("escapes names", function()
    local hostile = timeline()
    hostile.series[1].name = "<script>alert(1)</script>"
    local text = stacked { timeline = hostile, has_hover = true }
    assert.is_nil(text:find "<script")
    assert.equal("<script>alert(1)</script>", markup.parse(text):first("text"):text())
  end)

  it("breaks its legend into lines where there is no room", function()
    local many = timeline()
    for i = 4, 9 do many.series[i] = { name = "name number " .. i, bytes = 0, values = { 0, 0, 0, 0 } } end
    local lines = {}
    for _, text in ipairs(markup.parse(stacked { timeline = many }):all "text") do
      if text:text():match "^name" then
        lines[text.attributes.y] = true
        assert.is_true(tonumber(text.attributes.x) + #text:text() * 6.8 < 476)
      end
    end
    assert.same({ ["14"] = true, ["34"] = true, ["54"] = true }, lines)
  end)

  it("draws nothing without bytes, and does not fail", function()
    local empty = { first = 0, step = 1, count = 1, series = {}, total = { 0 } }
    assert.equal("svg", markup.parse(stacked { timeline = empty }):first().name)
  end)
end)

describe("svg.time_marks", function()
  local function marks(first, span, parts)
    local list = {}
    for i, mark in ipairs(svg.time_marks(first, span, parts)) do list[i] = ("%.2f %s"):format(mark[1], mark[2]) end
    return table.concat(list, ", ")
  end

  it("are at round times, whatever the span", function()
    assert.equal("0.00 12:26:40, 0.50 12:26:40.005, 1.00 12:26:40.01", marks(1600000000, 0.01, 3))
    assert.equal("0.50 12:27:00, 1.00 12:27:00.5", marks(1600000019.5, 1, 2):gsub("^0.00 [%d:.]+, ", ""))
    assert.equal("0.00 12:26:40, 0.33 12:26:45, 0.67 12:26:50, 1.00 12:26:55", marks(1600000000, 15, 4))
    assert.equal("0.33 12:30, 0.83 12:35", marks(1600000000, 600, 2))
    assert.equal("0.00 23:59:58, 0.50 00:00:00, 1.00 00:00:02", marks(1600041598, 4, 2))
    assert.equal("0.50 2020-09-14", marks(1600041600 - 43200, 86400, 1))
    assert.equal("0.00 18:00, 0.25 2020-09-14, 0.50 06:00, 0.75 12:00, 1.00 18:00", marks(1600041600 - 21600, 86400, 4))
    assert.equal(0, select(2, marks(1600000000, 20 * 365 * 86400, 5):gsub(":", "")))
  end)
end)

describe("svg.bars", function()
  local function bars(values)
    return markup.parse(svg.bars {
      id = "s", width = 276, height = 158, title = "T", groups = { { name = "flows", values = values },
        { name = "bytes", values = { 0, 0.5 } } },
      marks = { { 0, "1 B" }, { 1, "1 kB" } },
      text_of = function(value) return ("%g %%"):format(value * 100) end,
      bin_text = function(bin) return "bin " .. bin end,
    })
  end

  it("draws a bar of each group in every bin, and says their values", function()
    local root = bars { 0.25, 0 }
    -- The plot is 106 high, and reaches to the mark above the highest bar: 60 %.
    local flows, bytes = of_class(root, "c1"), of_class(root, "c2")
    assert.same({ "11", "44.2", "0" }, attributes(flows, "height")) -- the first is the legend's
    assert.same({ "11", "0", "88.3" }, attributes(bytes, "height"))
    assert.same({ "76", "176" }, { unpack(attributes(flows, "x"), 2) })
    assert.same({ "flows", "bytes", "0 %", "20 %", "40 %", "60 %", "1 B", "1 kB" }, texts(root:all "text"))
    assert.same({ "bin 1\nflows  25 %\nbytes  0 %", "bin 2\nflows  0 %\nbytes  50 %" }, texts(of_class(root, "hover")))
  end)

  it("shows what is little as more than nothing", function()
    assert.equal("1", of_class(bars { 0.0001, 0 }, "c1")[2].attributes.height)
  end)

  it("takes all zeros", function()
    assert.same({ "11", "0", "0" }, attributes(of_class(bars { 0, 0 }, "c1"), "height"))
  end)
end)

describe("svg.style", function()
  local function luminance(colour)
    local sum, weights = 0, { 0.2126, 0.7152, 0.0722 }
    for i = 1, 3 do
      local c = tonumber(colour:sub(2 * i, 2 * i + 1), 16) / 255
      sum = sum + weights[i] * (c <= 0.03928 and c / 12.92 or ((c + 0.055) / 1.055) ^ 2.4)
    end
    return sum
  end

  -- WCAG's contrast of two colours, 1 to 21.
  local function contrast(a, b)
    a, b = luminance(a), luminance(b)
    return (math.max(a, b) + 0.05) / (math.min(a, b) + 0.05)
  end

  it("has enough contrast for texts and for areas, in light and in dark", function()
    local light, dark = svg.style:match "^(.-})(.-}).-\n%.chart"
    for _, part in ipairs { light, dark } do
      local colours = {}
      for name, colour in part:gmatch "%-%-(%w+): (#%x+)" do colours[name] = colour end
      assert.is_true(contrast(colours.ink, colours.surface) >= 7)
      assert.is_true(contrast(colours.soft, colours.surface) >= 4.5)
      for i = 1, svg.COLOURS do
        local ratio = contrast(colours[svg.class(i)], colours.surface)
        assert.is_true(ratio >= 3, ("c%d: %.2f"):format(i, ratio))
      end
      assert.is_true(contrast(colours.others, colours.surface) >= 3)
    end
  end)
end)

describe("svg.file", function()
  it("is a chart with its own colours", function()
    local root = markup.parse(svg.file(stacked()))
    assert.matches("prefers%-color%-scheme", root:first("style"):text())
    assert.equal("http://www.w3.org/2000/svg", root:first("svg").attributes.xmlns)
  end)
end)
