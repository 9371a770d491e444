local cjson = require "cjson"
local example = require "spec.support.example"
local golden = require "spec.support.golden"
local program = require "spec.support.program"

describe("scripts/flows.lua", function()
  after_each(program.remove_temporaries)

  example.tests("scripts/flows.lua", golden.other_ndpi())

  local cases = {}
  for _, case in ipairs(golden.cases) do
    if case.words[1] == "flows" then cases[#cases + 1] = case end
  end

  for _, case in ipairs(cases) do
    it("gives spec/golden/" .. case.file, function()
      local skip = case.is_l7 and golden.other_ndpi()
      if skip then return pending(skip) end
      local result = golden.run(case)
      assert.are.same({ 0, "" }, { result.status, result.err })
      assert.are.equal(program.read(golden.path(case)), result.out)
    end)
  end

  it("has a case for every golden file", function()
    local known = {}
    for _, case in ipairs(cases) do known[case.file] = true end
    for name in program.shell("ls spec/golden").out:gmatch "flows[^\n]+" do assert.is_true(known[name], name) end
  end)

  it("is what runs when only captures are given", function()
    local with = program.run("-q", "flows", "samples/dns.pcap").out
    assert.are.equal(with, program.run("-q", "samples/dns.pcap").out)
    assert.are.equal(16, select(2, with:gsub("\n", "")))
  end)

  it("writes JSON lines to a file so named, with the values of the CSV", function()
    local path = program.temporary ".jsonl"
    assert.are.equal(0, program.run("-q", "flows", "-o", path, "samples/dns.pcap").status)
    local text, ids = program.read(path), {}
    for line in text:gmatch "[^\n]+" do
      local record = cjson.decode(line)
      assert.are.equal(record.src2dst_bytes + record.dst2src_bytes, record.bidirectional_bytes)
      ids[#ids + 1] = record.id
    end
    assert.are.same({ 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14 }, ids)
  end)

  it("says on stderr what it did, and only the data on stdout", function()
    local result = program.run("flows", "--format=null", "samples/web.pcap")
    assert.are.same({ 0, "" }, { result.status, result.out })
    assert.is_truthy(result.err:find("nfengine: 390 packets, 32 flows, 6 ignored (6 not IP), ", 1, true))
  end)
end)
