-- Builds a record and its columns value by value and shows what a writer makes of them.
--
--   rows.new():add("n", "int32", -5):add("name", "text", "abc", 8):csv() --> 'n,name\n-5,"abc"\n'
--
-- Values lie behind the flow one after another without padding, so offsets are as odd as they come.

local ffi = require "ffi"
local C = require "nfengine.lib"

ffi.cdef [[
void *malloc(size_t size);
void free(void *memory);
]]

local rows = {}
rows.__index = rows

local HASH_TEXT = 129 -- bytes of a hash in hexadecimal digits, with its NUL

-- What columns are called here: the writers' type and how a number of it lies in memory.
local kinds = {
  bool = { C.NF_TYPE_BOOL, "uint8_t[1]" },
  int8 = { C.NF_TYPE_INT8, "int8_t[1]" }, int16 = { C.NF_TYPE_INT16, "int16_t[1]" },
  int32 = { C.NF_TYPE_INT32, "int32_t[1]" }, int64 = { C.NF_TYPE_INT64, "int64_t[1]" },
  uint8 = { C.NF_TYPE_UINT8, "uint8_t[1]" }, uint16 = { C.NF_TYPE_UINT16, "uint16_t[1]" },
  uint32 = { C.NF_TYPE_UINT32, "uint32_t[1]" }, uint64 = { C.NF_TYPE_UINT64, "uint64_t[1]" },
  float = { C.NF_TYPE_FLOAT, "float[1]" }, double = { C.NF_TYPE_DOUBLE, "double[1]" },
  text = { C.NF_TYPE_TEXT }, ip = { C.NF_TYPE_IP }, mac = { C.NF_TYPE_MAC }, oui = { C.NF_TYPE_OUI },
  end_reason = { C.NF_TYPE_END_REASON, "uint8_t[1]" },
}

function rows.new()
  local flow_size = ffi.sizeof "struct nf_flow"
  return setmetatable({ columns = {}, chunks = {}, size = flow_size, ip_version = 4, names = {} }, rows)
end

function rows:append(bytes)
  self.chunks[#self.chunks + 1] = bytes
  self.size = self.size + #bytes
end

local function number_bytes(ctype, value)
  if type(value) == "boolean" then value = value and 1 or 0 end
  local cell = ffi.new(ctype)
  cell[0] = value
  return ffi.string(cell, ffi.sizeof(cell))
end

--- Adds a column. `value` is a number or boolean, a list of them for an array, or the bytes themselves for texts and
-- addresses; `length` is a text's field size, by default one more than the text needs.
function rows:add(name, kind, value, length)
  local type_, ctype = kinds[kind][1], kinds[kind][2]
  local column = { name = name, offset = self.size, type = type_, length = 1, is_array = type(value) == "table" }
  self.columns[#self.columns + 1] = column
  if column.is_array then
    column.length = #value
    for _, element in ipairs(value) do self:append(number_bytes(ctype, element)) end
  elseif ctype then
    self:append(number_bytes(ctype, value))
  elseif kind == "text" then
    column.length = length or #value + 1
    self:append(value .. ("\0"):rep(column.length - #value))
  else
    self:append(value)
  end
  return self
end

--- Marks the latest column as one that a mask hashes, with a key of 64 bytes, by default "kkk…".
function rows:anonymized(key)
  self.columns[#self.columns].is_hashed, self.key = true, key or self.key or ("k"):rep(64)
  return self
end

--- What the latest column counts since 1970: "ms", "us" or "ns".
function rows:moment(unit)
  self.columns[#self.columns].moment = ({ ms = C.NF_MOMENT_MS, us = C.NF_MOMENT_US, ns = C.NF_MOMENT_NS })[unit]
  return self
end

--- Which integer of the latest column stands for no value.
function rows:none(value)
  self.columns[#self.columns].none = value
  return self
end

--- That typed formats have the latest column's addresses as bytes.
function rows:binary()
  self.columns[#self.columns].is_binary = true
  return self
end

--- What is to be told of the latest column.
function rows:about(unit, doc)
  local column = self.columns[#self.columns]
  column.unit, column.doc = unit, doc
  return self
end

--- The columns as C sees them, of a masked record where some are hashed. Their names live as long as the builder.
function rows:c_columns()
  local columns, size = self:true_columns(), self.size
  for i, column in ipairs(self.columns) do
    if column.is_hashed then
      local c = columns[i - 1]
      c.offset, c.length, c.type, c.is_array, c.has_none = size, HASH_TEXT, C.NF_TYPE_TEXT, false, false
      size = size + HASH_TEXT
    end
  end
  return columns, size
end

--- The same of a record before it is masked.
function rows:true_columns()
  local columns = ffi.new("struct nf_column[?]", #self.columns)
  for i, column in ipairs(self.columns) do
    self.names[i] = self.names[i] or ffi.new("char[?]", #column.name + 1, column.name)
    columns[i - 1].name = self.names[i]
    columns[i - 1].offset, columns[i - 1].length, columns[i - 1].type = column.offset, column.length, column.type
    columns[i - 1].is_array, columns[i - 1].is_binary = column.is_array, column.is_binary or false
    columns[i - 1].moment, columns[i - 1].unit, columns[i - 1].doc = column.moment or 0, column.unit, column.doc
    columns[i - 1].has_none, columns[i - 1].none = column.none ~= nil, column.none or 0
  end
  return columns
end

local masks = setmetatable({}, { __mode = "k" }) -- by the record that one has made

--- Hashes what is to be hashed.
local function masked(self, record)
  local steps, count = ffi.new("struct nf_mask_step[?]", #self.columns), 0
  local before, after, size = self:true_columns(), self:c_columns()
  for i, column in ipairs(self.columns) do
    if column.is_hashed then
      steps[count].column, steps[count].to, steps[count].masking = before[i - 1], after[i - 1].offset, C.NF_MASK_HASH
      count = count + 1
    end
  end
  local options = ffi.new("struct nf_mask_options", {
    steps = steps, count = count, record_size = self.size, size = size, hash_size = 64,
  })
  ffi.copy(options.key.bytes, self.key, 64)
  options.key.size = 64
  local mask = ffi.gc(C.nf_mask_new(options, nil), C.nf_mask_free)
  C.nf_mask_apply(mask, record)
  local made = C.nf_mask_record(mask)
  masks[made] = mask
  return made
end

--- The record, masked where columns are hashed.
function rows:record()
  local record = self:true_record()
  return self.key and masked(self, record) or record
end

--- The same before it is masked. Its memory ends with its last value, so that a sanitizer sees reads beyond it.
function rows:true_record()
  local record = ffi.gc(ffi.cast("struct nf_flow *", ffi.C.malloc(self.size)), ffi.C.free)
  ffi.fill(record, ffi.sizeof "struct nf_flow")
  record.ip_version = self.ip_version
  local values = table.concat(self.chunks)
  ffi.copy(record + 1, values, #values)
  return record
end

local function read_file(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

--- nf_writer_open for a table of a destination's fields, or a path. What these refer to has to outlive the call only.
function rows.open(to, ...)
  if type(to) ~= "table" then to = { path = to, descriptor = -1 } end
  return C.nf_writer_open(ffi.new("struct nf_destination", to), ...)
end

--- Writes the same record so many times. Returns the last status.
function rows.write(writer, record, count)
  for _ = 1, count do
    local status = C.nf_writer_write(writer, record)
    if status ~= C.NF_OK then return status end
  end
  return C.NF_OK
end

--- What a writer of this format makes of `count` (1) such records.
function rows:written(format, count)
  local columns = self:c_columns()
  return rows.text(format, columns, #self.columns, self:record(), count)
end

--- The same of any columns and record.
function rows.text(format, columns, column_count, record, count)
  local path = os.tmpname()
  local message = ffi.new("char[?]", C.NF_ERROR_SIZE)
  local writer = rows.open(path, format, columns, column_count, message)
  if writer == nil then error(ffi.string(message)) end
  assert(rows.write(writer, record, count or 1) == C.NF_OK)
  assert(C.nf_writer_close(writer, message) == C.NF_OK, ffi.string(message))
  local text = read_file(path)
  os.remove(path)
  return text
end

function rows:csv(count) return self:written(C.NF_FORMAT_CSV, count) end
function rows:json(count) return self:written(C.NF_FORMAT_JSONL, count) end

--- The first row of the CSV alone, without its line end.
function rows:csv_row() return (self:csv():match "^[^\n]*\n(.*)\n$") end

rows.read_file = read_file

return rows
