--- Arrays for NumPy: .npy files (NEP 1, format 1.0), written row by row, and .npz, the zip of some, stored as they are.
--
--   local x = npy.create("x.npy.part", "float32", { 20, 3 })     -- rows of 20 times 3 numbers
--   … x.row[0] = 1.5 … x:write() …                               -- a row
--   x:close()                                                    -- and with it the number of rows
--   npy.zip("series.npz.part", { { "x", "x.npy.part" } })
--
-- Functions raise one line that names the file where it cannot be written.

local ffi = require "ffi"
local C = require "nfengine.lib"
local text = require "nfengine.text"

local npy = {}

-- Element types: how NumPy and C call them.
local TYPES = {
  float32 = { "<f4", "float" }, int8 = { "|i1", "int8_t" }, uint8 = { "|u1", "uint8_t" },
  int32 = { "<i4", "int32_t" }, int64 = { "<i8", "int64_t" },
}

-- What a function of io's has answered about the file at a path. Messages of io.open name it themselves.
local function check(path, answer, message)
  if not answer then error(("%s: %s"):format(path, message), 0) end
  return answer
end

local function open(path, mode, purpose)
  local file, message = io.open(path, mode)
  if not file then text.fail("%s, expected a file to %s", message, purpose) end
  return file
end

-- ---- one array ----

local HEADER = 128 -- bytes: the shape is known in the end, and has its place from the beginning

local function header(descr, count, shape)
  local words = ("{'descr': '%s', 'fortran_order': False, 'shape': (%.0f,%s), }")
    :format(descr, count, #shape > 0 and " " .. table.concat(shape, ", ") or "")
  local length = HEADER - 10
  return "\147NUMPY\1\0" .. string.char(length, 0) .. words .. (" "):rep(length - 1 - #words) .. "\n"
end

local array = {}
array.__index = array

--- Begins an array.
-- @param path of the file, which is replaced
-- @param kind of its elements: "float32", "int8", "uint8", "int32", "int64"; or "text:N", texts of N characters
-- @param shape list of a row's dimensions; {} where a row is a single element
-- @return an array whose `row` has a row's elements, counted from 0, all 0 at first
function npy.create(path, kind, shape)
  local characters = tonumber(kind:match "^text:(%d+)$")
  local kinds, elements = TYPES[kind], characters or 1
  for _, dimension in ipairs(shape) do elements = elements * dimension end
  local self = {
    file = open(path, "wb", "write"), path = path, descr = characters and "<U" .. characters or kinds[1], shape = shape,
    elements = elements, row = ffi.new((characters and "uint32_t" or kinds[2]) .. "[?]", elements), count = 0,
  }
  self.row_size = ffi.sizeof(self.row)
  check(path, self.file:write(header(self.descr, 0, shape)))
  return setmetatable(self, array)
end

--- Writes a row. Raises one line, too, where that is not as long as a row is: what lies behind it is not its own.
-- @param data its elements in C's order, in memory, a flow's list, say; nil: `row`
function array:write(data)
  data = data or self.row
  local size = ffi.sizeof(data)
  if size ~= self.row_size then text.fail("%s: a row of %d bytes, expected %d", self.path, size, self.row_size) end
  check(self.path, self.file:write(ffi.string(data, size)))
  self.count = self.count + 1
end

--- Writes a row of one number.
function array:write_number(number)
  self.row[0] = number
  self:write()
end

--- Makes all elements of `row` 0.
function array:clear() ffi.fill(self.row, self.row_size) end

--- Writes a text of an array of texts, cut where it is longer than those. What is no UTF-8 is as in text.utf8.
function array:write_text(bytes)
  bytes = text.utf8(bytes)
  local at, count = 1, 0
  self:clear()
  while at <= #bytes and count < self.elements do
    local code, size = text.character_at(bytes, at)
    self.row[count], count, at = code, count + 1, at + size
  end
  self:write()
end

--- Ends it: the file has its number of rows.
function array:close()
  check(self.path, self.file:seek("set", 0))
  check(self.path, self.file:write(header(self.descr, self.count, self.shape)))
  check(self.path, self.file:close())
end

-- ---- zip files (PKWARE's APPNOTE 6.3.3) ----

local function u16(n) return string.char(n % 256, math.floor(n / 256) % 256) end
local function u32(n) return u16(n % 65536) .. u16(math.floor(n / 65536)) end
local function u64(n) return u32(n % 2 ^ 32) .. u32(math.floor(n / 2 ^ 32)) end

local CRC_AT = 14             -- in a local header
local STORED, DATE = u16(0), u16(0) .. u16(33) -- no compression; 1980-01-01, the first there is

-- What both headers of a member have in common, from the version needed to its name's length, and how many bytes of its
-- sizes stand in a further field since they are too large.
local function described(member, limit)
  local is_large = member.size >= limit
  local size = is_large and u32(2 ^ 32 - 1) or u32(member.size)
  return u16(is_large and 45 or 20) .. u16(0) .. STORED .. DATE .. u32(member.crc) .. size .. size .. u16(#member.name),
    is_large and u64(member.size) .. u64(member.size) or ""
end

local function further(field) return field == "" and "" or u16(1) .. u16(#field) .. field end

local CHUNK = 2 ^ 20

-- Copies a member's bytes. Returns their CRC.
local function copy(member, from, to, path)
  local crc, left = 0, member.size
  while true do
    local chunk, problem = from:read(CHUNK)
    if not chunk and left > 0 then check(member.path, nil, problem or "it has become shorter") end
    if not chunk then return crc end
    left = left - #chunk
    crc = C.nf_crc32(crc, chunk, #chunk)
    check(path, to:write(chunk))
  end
end

local function add(file, path, member, limit)
  local from = open(member.path, "rb", "read")
  member.size, member.crc, member.at = check(member.path, from:seek "end"), 0, check(path, file:seek())
  check(member.path, from:seek "set")
  local common, large = described(member, limit)
  check(path, file:write("PK\3\4", common, u16(#further(large)), member.name, further(large)))
  member.crc = copy(member, from, file, path)
  from:close()
  check(path, file:seek("set", member.at + CRC_AT))
  check(path, file:write(u32(member.crc)))
  check(path, file:seek "end")
end

local function entry(member, limit)
  local common, large = described(member, limit)
  local at = u32(member.at)
  if member.at >= limit then at, large = u32(2 ^ 32 - 1), large .. u64(member.at) end
  return "PK\1\2" .. u16(45) .. common .. u16(#further(large)) .. u16(0) .. u16(0) .. u16(0) .. u32(0) .. at
    .. member.name .. further(large)
end

-- The end of a zip file whose directory lies there; before it, where that is too far away, one with larger numbers.
local function ending(count, at, size, limit)
  local large = ""
  if at >= limit then
    large = "PK\6\6" .. u64(44) .. u16(45) .. u16(45) .. u32(0) .. u32(0) .. u64(count) .. u64(count) .. u64(size)
      .. u64(at) .. "PK\6\7" .. u32(0) .. u64(at + size) .. u32(1)
    at = 2 ^ 32 - 1
  end
  return large .. "PK\5\6" .. u16(0) .. u16(0) .. u16(count) .. u16(count) .. u32(size) .. u32(at) .. u16(0)
end

--- Makes a .npz file of arrays that are closed, which stay.
-- @param path of the file, which is replaced
-- @param arrays list of { name, path }
-- @param limit sizes and offsets from which on numbers have 64 bits (zip64); nil: those that need them
function npy.zip(path, arrays, limit)
  limit = limit or 2 ^ 32 - 1
  local file, members, directory = open(path, "wb", "write"), {}, {}
  for i, each in ipairs(arrays) do
    members[i] = { name = each[1] .. ".npy", path = each[2] }
    add(file, path, members[i], limit)
  end
  for i, member in ipairs(members) do directory[i] = entry(member, limit) end
  directory = table.concat(directory)
  check(path, file:write(directory, ending(#members, check(path, file:seek()), #directory, limit)))
  check(path, file:close())
end

return npy
