local docs = require "spec.support.docs"
local golden = require "spec.support.golden"
local program = require "spec.support.program"
local training = require "nfengine.ml.training"

local function slice(lines, first, last)
  local part = {}
  for i = first, last do part[#part + 1] = lines[i] end
  return part
end

--- By what a page's headings are linked to.
local function anchors_of(page)
  local anchors = {}
  for heading in ("\n" .. page):gmatch "\n#+ ([^\n]+)" do
    anchors[heading:lower():gsub("[^%w%- ]", ""):gsub(" ", "-")] = true
  end
  return anchors
end

for _, path in ipairs(docs.pages()) do
  describe(path, function()
    local text = program.read(path)
    local parts, lines = docs.parts(text)

    it("has parts that are checked", function() assert.is_true(#parts > 0) end)

    for _, part in ipairs(parts) do
      it(("is not stale (make docs): " .. part.name):gsub("\n", " "), function()
        local needs_training = path == "docs/ml.md" and part.name:find "nfengine %-q %l+ samples/"
        local skip = part.is_command and (golden.other_ndpi() or needs_training and training.missing())
        if skip then return pending(skip) end
        assert.are.same(slice(lines, part.first, part.last), part.fresh())
      end)
    end

    it("shows Lua that compiles", function()
      for block in text:gmatch "\n```lua\n(.-)\n```" do assert.is_truthy(loadstring(block)) end
    end)

    it("speaks of files that exist", function()
      for target in text:gmatch "%]%(([^)#]+)" do
        local folder = path:match "^(.*/)" or ""
        if not target:match "^https?:" then assert.is_truthy(program.read(folder .. target), target) end
      end
    end)

    it("links to headings that exist", function()
      for target, anchor in text:gmatch "%]%(([^)#]*)#([^)]+)" do
        if not target:match "^https?:" then
          local page = target == "" and text or program.read((path:match "^(.*/)" or "") .. target)
          assert.is_true(anchors_of(page)[anchor], target .. "#" .. anchor)
        end
      end
    end)
  end)
end

describe("docs/internals.md", function()
  local text = program.read "docs/internals.md"

  it("names every source file of the core and of the Lua library", function()
    for path in program.shell("ls core/*.c core/*.cc lua/nfengine/*.lua").out:gmatch "[^\n]+" do
      local name = path:match "[^/]+$"
      assert.is_truthy(text:find("`" .. name .. "`", 1, true), path)
    end
  end)

  it("names make targets that exist", function()
    for name in (text .. program.read "README.md"):gmatch "make ([%l-]+)" do
      assert.is_truthy(program.read("Makefile"):find("\n" .. name:gsub("%-", "%%-") .. ":"), name)
    end
  end)
end)

describe("docs/reference.md", function()
  it("has a row for every difference that the comparison with NFStream allows", function()
    local text = program.read "docs/reference.md"
    for line in program.read("spec/conformance/exceptions.tsv"):gmatch "[^\n]+" do
      local why = line:match "^[^#\t][^\t]*\t[^\t]*\t([^\t]+)"
      if why then assert.is_truthy(text:find("\n| " .. why .. " |", 1, true), why) end
    end
  end)
end)

describe("README.md", function()
  it("names fields of packets that exist", function()
    local text, fields = program.read "README.md", {}
    for field in text:match("\n%*%*Packets%.%*%*(.-)\n\n"):gmatch "`([%l_]+)`" do
      if field ~= "time_unit" then fields[#fields + 1] = field end
    end
    assert.is_true(#fields > 20)
    local source = 'local P = require("nfengine").plugin { name = "p", needs = { "comments" }, '
      .. "on_init = function(_, packet) local _ = packet." .. table.concat(fields, " _ = packet.")
      .. " end } require('nfengine').streamer({ udps = P }):to_csv()"
    local result = program.run("-q", "--format=null", program.write(source, ".lua"), "samples/dns.pcap")
    assert.are.same({ 0, "" }, { result.status, result.err })
    program.remove_temporaries()
  end)
end)

describe("docs/nfengine.1", function()
  it("is sound to the formatter", function()
    if program.shell("command -v groff").status ~= 0 then return pending "groff is not here" end
    local result = program.shell "groff -man -ww -z -Tutf8 docs/nfengine.1"
    assert.are.same({ 0, "" }, { result.status, result.err })
  end)

  it("names every script that comes along", function()
    local text = program.read "docs/nfengine.1"
    for path in program.shell("ls scripts/*.lua").out:gmatch "[^\n]+" do
      local name = path:match "([%w_]+)%.lua$"
      assert.is_truthy(text:find("\n%.BR " .. name .. " [,;]"), name)
    end
  end)
end)

describe("the generator", function()
  it("leaves a page alone whose parts are as they should be, and mends one whose parts are not", function()
    local page = "a\n<!-- generated: memory -->\n<!-- end -->\n```console\n$ echo 1; echo 2\n9\n...\n```\nb\n"
    local renewed = docs.renewed(page)
    assert.is_truthy(renewed:find("| defaults |", 1, true))
    assert.is_truthy(renewed:find("$ echo 1; echo 2\n1\n...\n", 1, true))
    assert.are.equal(renewed, docs.renewed(renewed))
  end)

  it("shows stderr where a command fails, and runs the scripts of its page", function()
    local page = "```lua\n-- one.lua: an example\nprint(arg[0])\n```\n```console\n$ ./nfengine one.lua\n%s$ %s\n%s```\n"
    local command = "echo fine; echo wrong >&2; exit 3"
    local renewed = docs.renewed(page:format("", command, ""))
    assert.are.equal(page:format("one.lua\n", command, "fine\nwrong\n"), renewed)
  end)

  it("refuses a part that nobody generates, and one without an end", function()
    assert.has_error(function() docs.parts "<!-- generated: nothing -->\n<!-- end -->\n" end)
    assert.has_error(function() docs.parts "<!-- generated: memory -->\n" end)
  end)
end)
