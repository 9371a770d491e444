local example = require "spec.support.example"
local program = require "spec.support.program"

local function rows_of(path)
  local rows = {}
  for line in program.read(path):gmatch "[^\n]+" do
    local row = {}
    for cell in (line .. ","):gmatch '"?([^",]*)"?,' do row[#row + 1] = cell end
    rows[#rows + 1] = row
  end
  return rows
end

local COLUMNS = "--columns=id,src_ip,src_mac,dst_ip,dst_mac,dst_port"

-- Exports samples/dns.pcap to a temporary file with these options; returns the file's path.
local function export(...)
  local path = program.temporary ".csv"
  local result = program.run("-q", "export", COLUMNS, "-o", path, "samples/dns.pcap", ...)
  assert.are.equal(0, result.status, result.err)
  return path
end

describe("scripts/export.lua", function()
  after_each(program.remove_temporaries)

  example.tests("scripts/export.lua")

  it("hashes the addresses, equal ones alike, and leaves the rest", function()
    local plain = program.temporary ".csv"
    program.run("-q", "flows", COLUMNS, "-o", plain, "samples/dns.pcap")
    local hashes = {}
    local expected, got = rows_of(plain), rows_of(export())
    assert.are.equal(#expected, #got)
    for i = 2, #expected do
      assert.are.same({ expected[i][1], expected[i][6] }, { got[i][1], got[i][6] })
      for column = 2, 5 do
        local value, hash = expected[i][column], got[i][column]
        assert.is_truthy(hash:match "^%x+$" and #hash == 128, hash)
        assert.are.equal(hashes[value] or hash, hash)
        hashes[value] = hash
      end
    end
    local seen = {}
    for _, hash in pairs(hashes) do
      assert.is_nil(seen[hash])
      seen[hash] = true
    end
  end)

  it("has another key each time, unless one is given", function()
    local function key_of(letter)
      local path = program.write(letter:rep(64), ".key")
      program.shell("chmod 600 " .. path)
      return "--anonymization-key-file=" .. path
    end
    assert.are_not.equal(program.read(export()), program.read(export()))
    local key = key_of "k"
    local first = program.read(export(key))
    assert.are.equal(first, program.read(export(key)))
    assert.are_not.equal(first, program.read(export(key_of "l")))
  end)

  it("hashes the columns asked for, and only those", function()
    local row = rows_of(export "--columns-to-anonymize=dst_port,src_ip")[2]
    assert.are.same({ 128, 128 }, { #row[2], #row[6] })
    assert.are.equal("192.0.2.1", row[4])
  end)

  it("writes chunks, and keeps the newest", function()
    local path = export("--flows-per-file=4", "--rotate-files=2")
    local stem = path:gsub("%.csv$", "")
    assert.is_nil(program.read(path))
    assert.is_nil(program.read(stem .. ".2.csv"))
    local ids = {}
    for number = 0, 1 do
      local name = ("%s.%d.csv"):format(stem, number)
      for i, row in ipairs(rows_of(name)) do
        if i > 1 then ids[#ids + 1] = row[1] end
      end
      os.remove(name)
    end
    assert.are.equal("8 9 10 11 12 13 14", table.concat(ids, " "))
  end)

  it("refuses what it cannot do in one line", function()
    local out = program.temporary ".csv"
    local function refusal(path, ...)
      local result = program.run("-q", "export", "-o", path, "samples/dns.pcap", ...)
      assert.are.equal(1, result.status)
      return result.err
    end
    assert.equal('nfengine: columns_to_anonymize: no column "srcip" in this run (did you mean \'src_ip\'?)\n',
      refusal(out, "--columns-to-anonymize=srcip"))
    assert.is_truthy(refusal("-", "--flows-per-file=4")
      :match "export%.lua:%d+: flows_per_file: expected a file to write to, got standard output\n$")
    assert.is_nil(program.read(out))
  end)
end)
