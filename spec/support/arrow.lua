-- Reads what core/write_arrow.c writes: streams and files of Apache Arrow, by other means than they were written with.
--
--   local read = arrow.stream(bytes)   --> { fields, metadata, rows, batches, is_ended }
--   local read = arrow.file(bytes)     --> the same by way of the footer
--   read.fields[1]                     --> { name, type = "uint64", is_nullable, metadata = { unit, doc } }
--   read.columns.id                    --> values of all batches; arrow.NULL where there is none

local ffi = require "ffi"
local flatbuffer = require "spec.support.flatbuffer"

local arrow = { NULL = setmetatable({}, { __tostring = function() return "NULL" end }) }

local INT, FLOATING_POINT, UTF8, BOOL, TIMESTAMP, FIXED_SIZE_BINARY, FIXED_SIZE_LIST = 2, 3, 5, 6, 10, 15, 16
local SCHEMA, RECORD_BATCH = 1, 3
local VERSION_5 = 4

-- ---- schema ----

local function pairs_of(table_, field)
  local said = {}
  for _, pair in ipairs(table_:tables(field)) do said[pair:text(0)] = pair:text(1) end
  return said
end

local function type_name(kind, details)
  if kind == INT then
    return ("%sint%d"):format(details:integer(1, "uint8_t") == 1 and "" or "u", details:integer(0, "int32_t"))
  elseif kind == FLOATING_POINT then
    return ({ "float", "double" })[details:integer(0, "int16_t")]
  elseif kind == TIMESTAMP then
    return ("%s %s"):format(({ "ms", "us", "ns" })[details:integer(0, "int16_t")], details:text(1))
  end
  if kind == FIXED_SIZE_BINARY then return "binary " .. details:integer(0, "int32_t") end
  return ({ [UTF8] = "text", [BOOL] = "bool", [FIXED_SIZE_LIST] = "list" })[kind]
end

local function read_field(table_)
  local kind, details = table_:integer(2, "uint8_t"), table_:table(3)
  local field = {
    name = table_:text(0), is_nullable = table_:integer(1, "uint8_t") == 1, type = type_name(kind, details),
    metadata = pairs_of(table_, 6),
  }
  local children = table_:tables(5)
  assert(#children == (kind == FIXED_SIZE_LIST and 1 or 0))
  if kind == FIXED_SIZE_LIST then
    field.element, field.length = read_field(children[1]), details:integer(0, "int32_t")
  end
  return field
end

local function read_schema(table_)
  assert(table_:integer(0, "int16_t") == 0, "not little-endian")
  local fields = {}
  for i, each in ipairs(table_:tables(1)) do fields[i] = read_field(each) end
  return { fields = fields, metadata = pairs_of(table_, 2), batches = {}, rows = 0, columns = {} }
end

-- ---- values ----

local CTYPES = { float = "float", double = "double" }

local function bit_at(bytes, index)
  return math.floor(bytes:byte(math.floor(index / 8) + 1) / 2 ^ (index % 8)) % 2 == 1
end

-- Numbers of a buffer.
local function numbers(type_, bytes, count)
  local ctype = type_:match " UTC$" and "int64_t" or CTYPES[type_] or type_ .. "_t"
  assert(#bytes == count * ffi.sizeof(ctype), "a buffer of another size than its numbers")
  local array, list = ffi.cast(ctype .. " *", ffi.cast("const char *", bytes)), {}
  for i = 1, count do list[i] = tonumber(array[i - 1]) end
  return list
end

local function texts(offsets, bytes, count)
  local places, list = numbers("int32", offsets, count + 1), {}
  assert(places[1] == 0 and places[count + 1] == #bytes)
  for i = 1, count do list[i] = bytes:sub(places[i] + 1, places[i + 1]) end
  return list
end

local function pieces(bytes, size, count)
  local list = {}
  assert(#bytes == size * count)
  for i = 1, count do list[i] = bytes:sub((i - 1) * size + 1, i * size) end
  return list
end

local function plain_values(type_, count, next_buffer)
  local size = tonumber(type_:match "^binary (%d+)$")
  if size then return pieces(next_buffer(), size, count) end
  if type_ == "text" then
    local offsets = next_buffer()
    return texts(offsets, next_buffer(), count)
  elseif type_ ~= "bool" then
    return numbers(type_, next_buffer(), count)
  end
  local bytes, list = next_buffer(), {}
  assert(#bytes == math.ceil(count / 8))
  for i = 1, count do list[i] = bit_at(bytes, i - 1) end
  return list
end

-- A column's values, out of the batch's next nodes and buffers.
local function column_values(field, next_node, next_buffer)
  local count, nulls = unpack(next_node())
  local presence, values = next_buffer(), {}
  assert(nulls == 0 and #presence == 0 or #presence == math.ceil(count / 8))
  if field.element then
    local elements = column_values(field.element, next_node, next_buffer)
    assert(#elements == count * field.length)
    for i = 1, count do values[i] = { unpack(elements, (i - 1) * field.length + 1, i * field.length) } end
  else
    values = plain_values(field.type, count, next_buffer)
  end
  for i = 1, nulls > 0 and count or 0 do
    if not bit_at(presence, i - 1) then values[i], nulls = arrow.NULL, nulls - 1 end
  end
  assert(nulls == 0 and (field.is_nullable or #presence == 0))
  return values
end

local function add_batch(read, batch, body)
  local nodes, buffers, node, buffer = batch:structs(1, 2), batch:structs(2, 2), 0, 0
  local rows = batch:integer(0, "int64_t")
  local function next_node()
    node = node + 1
    return nodes[node]
  end
  local function next_buffer()
    buffer = buffer + 1
    local offset, size = unpack(buffers[buffer])
    assert(offset % 8 == 0 and offset + size <= #body)
    return body:sub(offset + 1, offset + size)
  end
  for _, field in ipairs(read.fields) do
    local values, all = column_values(field, next_node, next_buffer), read.columns[field.name] or {}
    assert(#values == rows)
    read.columns[field.name] = all
    for _, value in ipairs(values) do all[#all + 1] = value end
  end
  assert(node == #nodes and buffer == #buffers)
  read.batches[#read.batches + 1], read.rows = rows, read.rows + rows
end

-- ---- messages ----

local function u32(bytes, at)
  local a, b, c, d = bytes:byte(at + 1, at + 4)
  return d and a + b * 2 ^ 8 + c * 2 ^ 16 + d * 2 ^ 24
end

-- The message at a place: its description, its body, and what is behind it. Nil at the end of the stream, and whether
-- that is marked; half a message is the end as well, unmarked.
local function message_at(bytes, at)
  local mark, size = u32(bytes, at), u32(bytes, at + 4)
  if size == 0 then return nil, mark == 2 ^ 32 - 1, at + 8 end
  if not size or #bytes < at + 8 + size then return nil, false, at end
  assert(mark == 2 ^ 32 - 1 and at % 8 == 0 and size % 8 == 0)
  local message = flatbuffer.root(bytes:sub(at + 9, at + 8 + size))
  assert(message:integer(0, "int16_t") == VERSION_5)
  local body_size = message:integer(3, "int64_t")
  assert(body_size % 8 == 0)
  if #bytes < at + 8 + size + body_size then return nil, false, at end
  return message, bytes:sub(at + 9 + size, at + 8 + size + body_size), at + 8 + size + body_size
end

local function kind_of(message) return message:integer(1, "uint8_t") end

--- Reads a stream as far as it goes; nil where not even its schema is there. `rest` is what stands behind its end.
function arrow.stream(bytes)
  local message, _, at = message_at(bytes, 0)
  if not message then return nil end
  assert(kind_of(message) == SCHEMA)
  local read = read_schema(message:table(2))
  while true do
    local body
    message, body, at = message_at(bytes, at)
    if not message then
      read.is_ended, read.rest = body, bytes:sub(at + 1)
      return read
    end
    assert(kind_of(message) == RECORD_BATCH)
    add_batch(read, message:table(2), body)
  end
end

local MAGIC = "ARROW1"

--- Reads a file; nil where it has no footer. `stream` is the stream in it, read as one.
function arrow.file(bytes)
  if bytes:sub(1, 8) ~= MAGIC .. "\0\0" or bytes:sub(-6) ~= MAGIC then return nil end
  local size = u32(bytes, #bytes - 10)
  local footer = flatbuffer.root(bytes:sub(-10 - size, -11))
  assert(footer:integer(0, "int16_t") == VERSION_5)
  local read = read_schema(footer:table(1))
  assert(#footer:tables(2) == 0)
  for _, block in ipairs(footer:structs(3, 3)) do
    local message, body, behind = message_at(bytes, block[1])
    assert(kind_of(message) == RECORD_BATCH)
    assert(block[1] + block[2] + block[3] == behind and #body == block[3])
    add_batch(read, message:table(2), body)
  end
  read.stream = arrow.stream(bytes:sub(9))
  return read
end

return arrow
