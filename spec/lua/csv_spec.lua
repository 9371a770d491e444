-- The CSV reader: lua/nfengine/csv.lua.

local csv = require "nfengine.csv"
local program = require "spec.support.program"

local function rows_of(text, options)
  local reader = csv.open(program.write(text, ".csv"), options)
  local rows = { reader.header }
  for row in reader do rows[#rows + 1] = row end
  return rows
end

local function failure(text, options)
  local ok, message = pcall(rows_of, text, options)
  assert.is_false(ok)
  return (message:gsub("^[^:]*", "FILE"))
end

describe("nfengine.csv", function()
  after_each(program.remove_temporaries)

  local CASES = {
    ["plain cells"] = { "a,b\n1,2\n", { { "a", "b" }, { "1", "2" } } },
    ["CRLF"] = { "a,b\r\n1,2\r\n", { { "a", "b" }, { "1", "2" } } },
    ["no line end behind the last row"] = { "a,b\n1,2", { { "a", "b" }, { "1", "2" } } },
    ["a carriage return alone at the end"] = { "a,b\n1,2\r", { { "a", "b" }, { "1", "2" } } },
    ["empty cells"] = { "a,b,c\n,,\n\"\",x,\"\"\n", { { "a", "b", "c" }, { "", "", "" }, { "", "x", "" } } },
    ["an empty cell at the end of the file"] = { "a,b\n1,", { { "a", "b" }, { "1", "" } } },
    ["empty lines of one column"] = { "a\n\n\"\"\nx\n", { { "a" }, { "" }, { "" }, { "x" } } },
    ["blanks, which belong to cells"] = { "a, b\n 1 ,\t2\n", { { "a", " b" }, { " 1 ", "\t2" } } },
    ["commas, breaks and quotes in quotes"] = {
      '"a,b","c"\r\n"one\r\ntwo\n","say ""yes"""\r\n', { { "a,b", "c" }, { "one\r\ntwo\n", 'say "yes"' } },
    },
    ["nothing but quotes"] = { 'a\n""""\n""""""\n', { { "a" }, { '"' }, { '""' } } },
    ["a carriage return within a cell"] = { "a,b\n1\r,2\n", { { "a", "b" }, { "1\r", "2" } } },
    ["bytes of any kind"] = { "a\n\0\255\195\164\n", { { "a" }, { "\0\255\195\164" } } },
    ["a byte order mark"] = { "\239\187\191a,b\n1,2\n", { { "a", "b" }, { "1", "2" } } },
    ["a byte order mark before quotes"] = { '\239\187\191"a"\n1\n', { { "a" }, { "1" } } },
    ["a header alone"] = { "a,b", { { "a", "b" } } },
  }

  for name, case in pairs(CASES) do
    it("reads " .. name .. ", wherever blocks end", function()
      for block_size = 1, #case[1] + 1 do
        assert.same(case[2], rows_of(case[1], { block_size = block_size }), "blocks of " .. block_size)
      end
    end)
  end

  it("reads quotes behind backslashes where that is said", function()
    for block_size = 1, 30 do
      assert.same({ { "a", "b" }, { 'say "yes", he said', "c:\\x" }, { "", "\\" } },
        rows_of('a,b\n"say \\"yes\\", he said","c:\\x"\n"",\\\n',
          { has_backslashes = true, block_size = block_size }))
    end
  end)

  it("says what is wrong, and in which line", function()
    for block_size = 1, 20 do
      local options = { block_size = block_size }
      assert.equal("FILE:2: cells: 3, expected 2 as in the first line", failure("a,b\n1,2,3\n", options))
      assert.equal("FILE:4: cells: 1, expected 2 as in the first line", failure('a,b\n1,"x\ny"\n\n', options))
      assert.equal("FILE:2: a quote in a cell that does not begin with one", failure('a\nb"c\n', options))
      assert.equal("FILE:3: more behind the quote that ends a cell", failure('a\n"x\ny"z\n', options))
      assert.equal("FILE:2: more behind the quote that ends a cell", failure('a,b\n"x"\r,1\n', options))
      assert.equal("FILE:2: a cell that begins with a quote and has no other at its end",
        failure('a\n"b\nc\n', options))
      assert.equal("FILE:2: a cell that begins with a quote and has no other at its end",
        failure('a\n"b\\"', { block_size = block_size, has_backslashes = true }))
    end
    assert.equal("FILE:1: empty, expected a line of column names", failure "")
    assert.matches("No such file", select(2, pcall(csv.open, "/nowhere/a.csv")))
  end)

  it("reads what nfengine writes", function()
    local path = program.temporary ".csv"
    program.run("-q", "flows", "-o", path, "samples/web.pcap", "--splt-analysis=3")
    local reader = csv.open(path)
    assert.equal("id", reader.header[1])
    local count = 0
    for row in reader do
      assert.equal(tostring(count), row[1])
      count = count + 1
    end
    assert.equal(32, count)
  end)
end)
