-- Single records as text in memory: core/message.c. How values look is told by write_csv_spec and write_json_spec.

local ffi = require "ffi"
local C = require "nfengine.lib"
local rows = require "spec.support.rows"

local reason = ffi.new("char[?]", C.NF_ERROR_SIZE)

-- An encoder of these rows' columns, or nil and why there is none.
local function open(built, format)
  local message = C.nf_message_new(format, built:c_columns(), #built.columns, reason)
  if message == nil then return nil, ffi.string(reason) end
  return ffi.gc(message, C.nf_message_free)
end

local function encoded(message, record)
  local size = ffi.new "size_t[1]"
  local text = C.nf_message_encode(message, record, size)
  return ffi.string(text, size[0])
end

local function sample()
  return rows.new():add("id", "uint32", 123456):add("text", "text", 'a "b", \\\nc', 20):add("ip", "ip", ("\10\0\0\7"
    .. ("\0"):rep(12))):add("sizes", "int32", { 1, -1 }):add("on", "bool", true):add("share", "double", 0.5)
end

describe("a message", function()
  it("is what the row formats write for a record, without the line end", function()
    local built = sample()
    local record = built:record()
    assert.equal((built:json():gsub("\n$", "")), encoded(assert(open(built, C.NF_MESSAGE_JSON)), record))
    assert.equal(built:csv_row(), encoded(assert(open(built, C.NF_MESSAGE_CSV)), record))
  end)

  it("can be the bare values, with commas between them", function()
    local built = sample()
    assert.equal('123456,a "b", \\\nc,10.0.0.7,[1, -1],True,0.5',
      encoded(assert(open(built, C.NF_MESSAGE_PLAIN)), built:record()))
    local one = rows.new():add("ip", "ip", "\192\0\2\1" .. ("\0"):rep(12))
    assert.equal("192.0.2.1", encoded(assert(open(one, C.NF_MESSAGE_PLAIN)), one:record()))
  end)

  it("holds the record that was encoded last", function()
    local built = rows.new():add("text", "text", "x", 100)
    local message, record = assert(open(built, C.NF_MESSAGE_PLAIN)), built:record()
    local text = ffi.cast("char *", record + 1)
    for _, value in ipairs { "long and longer still", "", "short" } do
      ffi.fill(text, 100)
      ffi.copy(text, value)
      assert.equal(value, encoded(message, record))
    end
  end)

  it("has hashes for what is anonymised", function()
    local built = rows.new():add("ip", "ip", "\192\0\2\1" .. ("\0"):rep(12)):anonymized():add("port", "uint16", 7)
    local text = encoded(assert(open(built, C.NF_MESSAGE_PLAIN)), built:record())
    assert.matches("^" .. ("%x"):rep(128) .. ",7$", text)
    assert.equal(built:csv_row(), '"' .. text:gsub(",", '",'))
  end)

  it("has room for the longest texts and for arrays", function()
    local built, texts, numbers = rows.new(), ("\1"):rep(5000), {}
    for i = 1, 3000 do numbers[i] = -2147483648 end
    built:add("text", "text", texts, #texts):add("many", "int32", numbers)
    for _, format in ipairs { C.NF_MESSAGE_JSON, C.NF_MESSAGE_CSV, C.NF_MESSAGE_PLAIN } do
      assert.is_true(#encoded(assert(open(built, format)), built:record()) > 5000 + 3000 * 11)
    end
  end)

  it("refuses what no output can write", function()
    assert.same({ nil, "unknown message format 9, expected one of enum nf_message_format" }, { open(sample(), 9) })
    assert.same({ nil, "an output without columns, expected at least one" },
      { open(rows.new(), C.NF_MESSAGE_JSON) })
    assert.matches("rows would need more than",
      select(2, open({ columns = { 1 }, c_columns = function()
        local columns = ffi.new("struct nf_column[1]")
        columns[0].name, columns[0].type, columns[0].length = "text", C.NF_TYPE_TEXT, 2 ^ 30
        return columns
      end }, C.NF_MESSAGE_JSON)), 1, true)
  end)
end)
