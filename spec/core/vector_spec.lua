-- core/vector.c: records as rows of numbers, and which columns are none.

local C = require "nfengine.lib"
local columns = require "nfengine.columns"
local ffi = require "ffi"

describe("a row of a record", function()
  local function column(name, type, offset, more)
    local made = { name = name, type = type, offset = offset, length = 1, is_array = false }
    for key, value in pairs(more or {}) do made[key] = value end
    return made
  end

  local function vector(list)
    local message = ffi.new("char[?]", C.NF_ERROR_SIZE)
    local made = C.nf_vector_new(columns.to_c(list), #list, 0, message)
    if made == nil then return nil, ffi.string(message) end
    return ffi.gc(made, C.nf_vector_free)
  end

  it("has numbers of every type, and those of arrays", function()
    local types = {
      { "bool", "bool", 1, 1 }, { "int8", "int8_t", -5 }, { "int16", "int16_t", -500 }, { "int32", "int32_t", -2^31 },
      { "int64", "int64_t", -2^53 }, { "uint8", "uint8_t", 255 }, { "uint16", "uint16_t", 65535 },
      { "uint32", "uint32_t", 2^32 - 1 }, { "uint64", "uint64_t", 2^63 }, { "float", "float", 0.5 },
      { "double", "double", 1e300 },
    }
    local bytes, list = ffi.new "uint8_t[512]", {}
    for i, case in ipairs(types) do
      ffi.cast(case[2] .. " *", bytes + i * 16)[0] = case[3]
      list[i] = column("c" .. i, case[1], i * 16)
    end
    ffi.cast("int16_t *", bytes + 400)[0], ffi.cast("int16_t *", bytes + 400)[1] = 7, -8
    list[#list + 1] = column("array", "int16", 400, { is_array = true, length = 2 })
    local made = assert(vector(list))
    local row = ffi.new("double[?]", #types + 3)
    row[#types + 2] = 0.25
    C.nf_vector_read(made, ffi.cast("const struct nf_flow *", bytes), row)
    for i, case in ipairs(types) do assert.equal(case[3], row[i - 1], case[1]) end
    assert.same({ 7, -8, 0.25 }, { row[#types], row[#types + 1], row[#types + 2] })
  end)

  it("has NaN for what is absent", function()
    local bytes, row = ffi.new("int32_t[2]", { -1, 3 }), ffi.new "double[2]"
    local made = assert(vector { column("a", "int32", 0, { none = -1 }), column("b", "int32", 4, { none = -1 }) })
    C.nf_vector_read(made, ffi.cast("const struct nf_flow *", bytes), row)
    assert.is_true(row[0] ~= row[0])
    assert.equal(3, row[1])
  end)

  it("is refused for columns that are no numbers", function()
    assert.same({ nil, 'column "who": expected a number' }, { vector { column("who", "text", 0, { length = 8 }) } })
    assert.same({ nil, 'column "who": expected a number' }, { vector { column("who", "ip", 0) } })
  end)
end)
