-- Reads what core/write_parquet.c writes, by other means than it was written with: only what that uses of Parquet, and
-- whatever else comes raises.
--
--   local read = parquet.read(bytes)  --> { schema, groups, rows, metadata, columns, created_by }; nil without a footer
--   read.schema[2]                    --> { name, type, length, repetition, converted, logical },
--                                         by parquet.thrift's numbers
--   read.columns.id                   --> values of all row groups; parquet.NULL where there is none

local ffi = require "ffi"

ffi.cdef "size_t ZSTD_decompress(void *to, size_t room, const void *from, size_t size);"

local parquet = { NULL = setmetatable({}, { __tostring = function() return "NULL" end }) }

local zstd = ffi.load "libzstd.so.1"

-- ---- Thrift's compact protocol ----

local function varint(bytes, at)
  local value, scale = 0, 1
  while true do
    local byte = bytes:byte(at)
    value, scale, at = value + byte % 128 * scale, scale * 128, at + 1
    if byte < 128 then return value, at end
  end
end

local function zigzag(bytes, at)
  local value, behind = varint(bytes, at)
  return value % 2 == 0 and value / 2 or -(value + 1) / 2, behind
end

local read_struct

local function read_value(bytes, at, kind)
  if kind == 1 or kind == 2 then return kind == 1, at end
  if kind == 3 then return bytes:byte(at), at + 1 end
  if kind == 5 or kind == 6 then return zigzag(bytes, at) end
  if kind == 12 then return read_struct(bytes, at) end
  if kind == 8 then
    local size, start = varint(bytes, at)
    assert(start + size <= #bytes + 1)
    return bytes:sub(start, start + size - 1), start + size
  end
  assert(kind == 9, "a type of Thrift's that is not used")
  local head, list = bytes:byte(at), {}
  local count = math.floor(head / 16)
  at = at + 1
  if count == 15 then count, at = varint(bytes, at) end
  for i = 1, count do list[i], at = read_value(bytes, at, head % 16) end
  return list, at
end

--- A struct as a table by field number, and what is behind it.
function read_struct(bytes, at)
  local fields, number = {}, 0
  while true do
    local head = bytes:byte(at)
    at = at + 1
    if head == 0 then return fields, at end
    number = number + math.floor(head / 16)
    fields[number], at = read_value(bytes, at, head % 16)
  end
end

-- ---- values ----

local function u32(bytes, at)
  local a, b, c, d = bytes:byte(at, at + 3)
  return a + b * 2 ^ 8 + c * 2 ^ 16 + d * 2 ^ 24
end

-- So many numbers of so many bits: one run of RLE's hybrid, packed or the same again and again.
local function read_run(bytes, at, width, count)
  local list, head = {}
  head, at = varint(bytes, at)
  if head % 2 == 0 then
    assert(head / 2 == count)
    for i = 1, count do list[i] = bytes:byte(at) end
    return list
  end
  assert((head - 1) / 2 == math.ceil(count / 8))
  for i = 0, count - 1 do
    local value = 0
    for j = 0, width - 1 do
      local place = i * width + j
      local byte = bytes:byte(at + math.floor(place / 8))
      value = value + math.floor(byte / 2 ^ (place % 8)) % 2 * 2 ^ j
    end
    list[i + 1] = value
  end
  return list
end

-- Levels of one bit, and what is behind them.
local function read_levels(bytes, at, count)
  return read_run(bytes, at + 4, 1, count), at + 4 + u32(bytes, at)
end

local CTYPES = { [1] = "int32_t", [2] = "int64_t", [4] = "float", [5] = "double" }

-- So many plain values of a physical type.
local function read_plain(bytes, at, kind, count, length)
  local list = {}
  if kind == 0 then
    for i = 0, count - 1 do
      list[i + 1] = math.floor(bytes:byte(at + math.floor(i / 8)) / 2 ^ (i % 8)) % 2 == 1
    end
    return list
  elseif kind == 6 then
    for i = 1, count do
      local size = u32(bytes, at)
      list[i], at = bytes:sub(at + 4, at + 3 + size), at + 4 + size
    end
    assert(at == #bytes + 1)
    return list
  end
  if kind == 7 then
    assert(#bytes == at - 1 + count * length)
    for i = 1, count do list[i] = bytes:sub(at + (i - 1) * length, at + i * length - 1) end
    return list
  end
  local ctype = CTYPES[kind]
  assert(#bytes == at - 1 + count * ffi.sizeof(ctype))
  local array = ffi.cast(ctype .. " *", ffi.cast("const char *", bytes) + at - 1)
  for i = 1, count do list[i] = tonumber(array[i - 1]) end
  return list
end

-- ---- pages ----

-- The page at a place: its header, what it holds, and what is behind it.
local function read_page(bytes, at)
  local header, start = read_struct(bytes, at)
  local size, packed = header[2], header[3]
  local to = ffi.new("char[?]", math.max(size, 1))
  assert(tonumber(zstd.ZSTD_decompress(to, size, bytes:sub(start, start + packed - 1), packed)) == size)
  return header, ffi.string(to, size), start + packed
end

local DATA_PAGE, DICTIONARY_PAGE, PLAIN = 0, 2, 0

-- Values of a column in a row group. `element` is what the schema says of it, `is_list` whether it is in a list.
local function read_column(bytes, about, element, is_list)
  local words, at = nil, (about[11] or about[9]) + 1
  local header, page, behind = read_page(bytes, at)
  if about[11] then
    assert(header[1] == DICTIONARY_PAGE and behind - 1 == about[9])
    words = read_plain(page, 1, 6, header[7][1])
    header, page, behind = read_page(bytes, behind)
  end
  assert(header[1] == DATA_PAGE and header[5][1] == about[5] and behind - at == about[7])
  local count, begins, present = header[5][1], nil, nil
  at = 1
  if is_list then
    begins, at = read_levels(page, at, count)
    local defined
    defined, at = read_levels(page, at, count)
    for _, level in ipairs(defined) do assert(level == 1) end
  end
  if element.repetition == 1 then present, at = read_levels(page, at, count) end
  local stored = 0
  for i = 1, count do stored = stored + (present and present[i] or 1) end
  local values
  if words then
    values = read_run(page, at + 1, page:byte(at), stored)
    for i, number in ipairs(values) do values[i] = assert(words[number + 1]) end
  else
    assert(header[5][2] == PLAIN)
    values = read_plain(page, at, about[1], stored, element.length)
  end
  local list, taken = {}, 0
  for i = 1, count do
    local value = parquet.NULL
    if not present or present[i] == 1 then taken, value = taken + 1, values[taken + 1] end
    if not begins then list[i] = value
    elseif begins[i] == 0 then list[#list + 1] = { value }
    else table.insert(list[#list], value) end
  end
  return list
end

-- ---- the file ----

local function read_element(fields)
  return {
    type = fields[1], length = fields[2], repetition = fields[3], name = fields[4], children = fields[5],
    converted = fields[6], logical = fields[10],
  }
end

function parquet.read(bytes)
  if bytes:sub(1, 4) ~= "PAR1" or bytes:sub(-4) ~= "PAR1" then return nil end
  local size = u32(bytes, #bytes - 7)
  local fields, behind = read_struct(bytes:sub(-8 - size, -9), 1)
  assert(behind == size + 1)
  local read = { schema = {}, groups = {}, rows = fields[3], metadata = {}, columns = {}, created_by = fields[6] }
  local leaves = {}
  for i, each in ipairs(fields[2]) do
    read.schema[i] = read_element(each)
    if not read.schema[i].children then leaves[#leaves + 1] = read.schema[i] end
  end
  for _, pair in ipairs(fields[5] or {}) do read.metadata[pair[1]] = pair[2] end
  for i, group in ipairs(fields[4]) do
    read.groups[i] = group[3]
    assert(#group[1] == #leaves)
    for j, chunk in ipairs(group[1]) do
      local name, is_list = chunk[3][3][1], #chunk[3][3] > 1
      local all = read.columns[name] or {}
      read.columns[name] = all
      local values = read_column(bytes, chunk[3], leaves[j], is_list)
      assert(#values == group[3])
      for _, value in ipairs(values) do all[#all + 1] = value end
    end
  end
  return read
end

return parquet
