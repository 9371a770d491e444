local browser = require "spec.support.browser"
local capture = require "nfengine.testing.capture"
local example = require "spec.support.example"
local golden = require "spec.support.golden"
local markup = require "spec.support.markup"
local meter = require "spec.support.meter"
local P = require "nfengine.testing.packet"
local program = require "spec.support.program"

local function report(...)
  local result = program.run("-q", "report", ...)
  assert.are.same({ 0, "" }, { result.status, result.err })
  return result.out
end

local function page(...) return markup.parse(report(...)) end

local function texts(elements)
  local list = {}
  for i, element in ipairs(elements) do list[i] = element:text() end
  return list
end

-- Rows of the section with this id, cells joined by "|"; nil where there is no such section.
local function rows_of(root, id)
  for _, section in ipairs(root:all "section") do
    if section.attributes.id == id then
      local rows = {}
      for i, row in ipairs(section:all "tr") do
        local cells = {}
        for _, cell in ipairs(row) do cells[#cells + 1] = cell:text() end
        rows[i] = table.concat(cells, "|")
      end
      return rows
    end
  end
end

local function facts_of(root)
  local facts = {}
  local names, values = texts(root:all "dt"), texts(root:all "dd")
  for i, name in ipairs(names) do facts[name] = values[i] end
  return facts
end

local there, back = P.ipv4 { src = "10.0.0.1", dst = "10.0.0.2" }, P.ipv4 { src = "10.0.0.2", dst = "10.0.0.1" }

-- Requests over HTTP for these host names, a flow each.
local function requests(...)
  local packets = {}
  for i, host in ipairs { ... } do
    local port = 40000 + i
    local function add(ip, fields, payload)
      table.insert(packets, { bytes = (P.eth {} .. ip .. P.tcp(fields) .. (payload or "")):bytes(), sec = i })
    end
    add(there, { src_port = port, dst_port = 80, flags = "S" })
    add(back, { src_port = 80, dst_port = port, flags = "SA" })
    add(there, { src_port = port, dst_port = 80, seq = 2, ack = 2 },
      "GET / HTTP/1.1\r\nHost: " .. host .. "\r\nUser-Agent: x\r\n\r\n")
  end
  return capture.file(capture.pcap(packets))
end

local HOSTILE = {
  "<script>alert(1)</script>.test", "\"><img src=x onerror=alert(1)>.test", "'onmouseover='alert(1).test",
  "&lt;b&gt;.test", "a\226\128\174moc.test", "<!--.test", "]]>.test", "</style><style>*{display:none}.test",
}

describe("scripts/report.lua", function()
  after_each(function()
    capture.cleanup()
    program.remove_temporaries()
  end)

  example.tests("scripts/report.lua", golden.other_ndpi())

  it("gives spec/golden/" .. golden.report.file, function()
    local reason = golden.other_ndpi()
    if reason then return pending(reason) end
    local result = golden.run(golden.report)
    assert.is_true(result.out == program.read(golden.path(golden.report)), "make golden, and look at the page")
  end)

  it("writes the same page to a file", function()
    local path = program.temporary ".html"
    assert.equal("", report("samples/web.pcap", "--", "--write=" .. path))
    assert.is_true(report "samples/web.pcap" == program.read(path))
    local result = program.run("-q", "report", "samples/web.pcap", "--", "--write=/nowhere/a.html")
    assert.equal(1, result.status)
    assert.matches("/nowhere/a%.html: No such file", result.err)
  end)

  it("is the same for any number of meters", function()
    local expected = report("--no-dpi-cache", "--n-meters=1", "samples/web.pcap")
    assert.is_true(expected == report("--no-dpi-cache", "--n-meters=3", "samples/web.pcap"))
  end)

  it("counts packets, bytes and flows", function()
    -- 1000 there and 500 back to port 53, later 2500 to port 80 within 10 s.
    local path = capture.file(capture.pcap({
      meter.udp(0, 5000, ("x"):rep(958)), meter.back(1, 5000, ("x"):rep(458)),
      meter.frame(2000, P.eth {} .. there .. P.udp { src_port = 6000, dst_port = 80 }, { size = 1500 }),
      meter.frame(12000, P.eth {} .. there .. P.udp { src_port = 6000, dst_port = 80 }, { size = 1000 }),
      meter.frame(12000, P.eth { type = 0x0806 } .. ("x"):rep(28)),
    }, { ns = true }))
    local root = page("--n-dissections=0", path)
    assert.same({
      Begins = "2020-09-13 12:26:40 UTC", Lasts = "12.0 s", ["Packets in flows"] = "4 of 5 read",
      Bytes = "4.0 kB 333 B/s on average", Flows = "2", Hosts = "2",
    }, facts_of(root))
    assert.same({ "Port|Flows|Bytes|Share of bytes", "80/udp|1|2.5 kB|62.5% ", "2000/udp|1|1.5 kB|37.5% " },
      rows_of(root, "ports"))
    assert.same({ "Address|Flows|Bytes|Sent|Received|Share of bytes", "10.0.0.1|2|4.0 kB|3.5 kB|500 B|100.0% ",
      "10.0.0.2|2|4.0 kB|500 B|3.5 kB|100.0% " }, rows_of(root, "hosts"))
    assert.same({ "From|To|Begins|Lasts|Packets|Bytes|Sent|Received",
      "10.0.0.1:6000|10.0.0.2:80/udp|12:26:42|10 s|2|2.5 kB|2.5 kB|0 B",
      "10.0.0.1:5000|10.0.0.2:2000/udp|12:26:40|1 ms|2|1.5 kB|1.0 kB|500 B" }, rows_of(root, "largest"))
    assert.same(rows_of(root, "largest"), rows_of(root, "longest"))
    assert.same({ "1 packet belongs to no flow: 1 not IP" }, texts(root:first("ul"):all "li"))
    for _, id in ipairs { "applications", "servers", "risks" } do assert.is_nil(rows_of(root, id)) end
  end)

  it("shows applications, server names and risks", function()
    local reason = golden.other_ndpi()
    if reason then return pending(reason) end
    local root = page "samples/tls.pcap"
    assert.matches("^TLS|Web|%d+|", rows_of(root, "applications")[2])
    assert.is_true(#rows_of(root, "servers") > 1)
    assert.matches("^TLS ", rows_of(root, "risks")[2])
    assert.matches(" to .*:443", rows_of(root, "risks")[2])
  end)

  it("goes without what was switched off on the command line", function()
    assert.is_nil(rows_of(page("--l7-columns=tls_version", "samples/tls.pcap"), "risks"))
  end)

  it("keeps what is risky where more columns are asked for", function()
    assert.is_table(rows_of(page("--l7-columns=all", "samples/tls.pcap"), "risks"))
  end)

  it("shows as many rows as asked, and sums up the others", function()
    local rows = rows_of(page("--n-dissections=0", "samples/web.pcap", "--", "--top=2"), "ports")
    assert.equal(4, #rows)
    assert.matches("^7 others|", rows[4])
    assert.equal(3, #rows_of(page("--n-dissections=0", "samples/web.pcap", "--", "--top=2"), "largest"))
  end)

  it("counts the flows that a filter lets pass, everywhere", function()
    local root = page("--filter=flow.dst_port == 22", "--n-dissections=0", "samples/web.pcap")
    assert.equal("1", facts_of(root).Flows)
    local legend = root:first("svg"):first "text"
    assert.equal("22/tcp", legend:text())
    assert.equal(2, #rows_of(root, "ports"))
  end)

  it("escapes what came from the wire, and the file's name", function()
    local path = requests(unpack(HOSTILE))
    local title = "<b>\"&'\226\128\174"
    local text = report(path, "--", "--title=" .. title)
    local root = markup.parse(text)
    for _, name in ipairs { "script", "img", "b" } do assert.is_nil(root:first(name)) end
    assert.equal(1, #root:all "style")
    assert.equal("<b>\"&'\239\191\189", root:first("h1"):text())
    local names = table.concat(rows_of(root, "servers") or {}, "\n"):lower()
    assert.matches("<script>alert%(1%)</script>%.test", names)
    assert.is_nil(text:find("\226\128\174", 1, true))
  end)

  it("refers to nothing outside itself, and forbids it", function()
    local root = page(requests(unpack(HOSTILE)))
    for _, element in ipairs(root:all()) do
      for name, value in pairs(element.attributes) do
        assert.is_nil(name:match "^on" or name:match "^src")
        if name:match "href" then assert.is_truthy(value:match "^#%l+$" or value == "data:,") end
        assert.is_nil(value:match "url%(")
      end
    end
    assert.is_nil(root:first("style"):text():match "url%(" or root:first("style"):text():match "@import")
    local policy
    for _, meta in ipairs(root:all "meta") do
      if meta.attributes["http-equiv"] == "Content-Security-Policy" then policy = meta.attributes.content end
    end
    assert.equal("default-src 'none'; style-src 'unsafe-inline'; img-src data:", policy)
  end)

  it("has every link's place, and no id twice", function()
    local root, ids = page "samples/web.pcap", {}
    for _, element in ipairs(root:all()) do
      local id = element.attributes.id
      assert.is_nil(ids[id or ""], id)
      ids[id or " "] = true
    end
    for _, link in ipairs(root:all "a") do assert.is_true(ids[link.attributes.href:sub(2)]) end
    for _, chart in ipairs(root:all "svg") do
      for id in chart.attributes["aria-labelledby"]:gmatch "%S+" do assert.is_true(ids[id]) end
    end
  end)

  it("says what a reader has to know to trust it", function()
    local cut = program.write(program.read "samples/web.pcap":sub(1, 20000), ".pcap")
    local result = program.run("-q", "report", "--n-dissections=0", cut)
    assert.equal(1, result.status)
    assert.matches("Warning: .*damaged", markup.parse(result.out):first("ul"):text())
    assert.matches("Flows ended early by max_flows: %d+",
      page("--n-dissections=0", "--max-flows=2", "samples/web.pcap"):first("ul"):text())
  end)

  it("is a page, if a short one, without packets", function()
    local root = page("--bpf-filter=port 9", "samples/web.pcap")
    assert.equal("0", facts_of(root).Flows)
    assert.is_nil(root:first "section" or root:first "nav")
  end)

  it("names several captures by their number", function()
    assert.equal("2 captures", page("samples/dns.pcap", "samples/ssh.pcap"):first("h1"):text())
  end)

  describe("in a browser", function()
    it("says nothing on the console, asks for nothing, and fits wide and narrow windows", function()
      local reason = browser.missing()
      if reason then return pending(reason) end
      for _, path in ipairs { "samples/web.pcap", requests(unpack(HOSTILE)) } do
        local written = program.write(report(path), ".html")
        for _, width in ipairs { 1400, 390 } do
          assert.same({ console = {}, requests = {}, width = width }, browser.open(written, width))
        end
      end
    end)

    it("would be seen to fail", function()
      local reason = browser.missing()
      if reason then return pending(reason) end
      local path = program.write([[<!doctype html><img src="http://example.org/a.png">
        <div style="width:700px">wide</div><script>console.error("e")</script>]], ".html")
      local seen = browser.open(path, 390)
      assert.same({ "http://example.org/a.png" }, seen.requests)
      assert.equal(1, #seen.console)
      assert.is_true(seen.width > 700)
    end)
  end)
end)
