-- What specs of typed formats have in common: records whose first column numbers them, the limits of numbers, rows some
-- of which have no value.

local ffi = require "ffi"
local C = require "nfengine.lib"
local rows = require "spec.support.rows"

local typed = {}

--- The smallest and the largest of each type of number that Lua's numbers are exact for.
typed.LIMITS = {
  int8 = { -128, 127 }, int16 = { -32768, 32767 }, int32 = { -2147483648, 2147483647 },
  int64 = { -9007199254740992, 9007199254740992 }, uint8 = { 0, 255 }, uint16 = { 0, 65535 },
  uint32 = { 0, 4294967295 }, uint64 = { 0, 9007199254740992 }, float = { -0.5, 1 / 0 }, double = { 0.1, -1 / 0 },
}

--- Columns id and text.
function typed.with_id() return rows.new():add("id", "uint32", 0):add("text", "text", "abc", 8) end

--- A column of addresses that are given as bytes, once as IPv4 and once as IPv6, and what stands in files for each.
typed.BINARY_ADDRESSES = {
  { version = 4, address = "\192\0\2\1" .. ("\0"):rep(12), given = ("\0"):rep(10) .. "\255\255\192\0\2\1" },
  { version = 6, address = "\32\1\13\184" .. ("\0"):rep(11) .. "\1",
    given = "\32\1\13\184" .. ("\0"):rep(11) .. "\1" },
}

--- Rows of one of these.
function typed.with_binary_address(case)
  local made = rows.new():add("ip", "ip", case.address):binary()
  made.ip_version = case.version
  return made
end

--- Writes so many records, numbered from `first` (0) by their id, the first column. Returns the last status.
function typed.write(writer, record, count, first)
  local id = ffi.cast("uint32_t *", record + 1)
  for i = first or 0, (first or 0) + count - 1 do
    id[0] = i
    local status = C.nf_writer_write(writer, record)
    if status ~= C.NF_OK then return status end
  end
  return C.NF_OK
end

--- Ten rows of columns id, of which 3 stands for none, and text, of which every other is empty.
-- @param open function of the rows' builder and a path that gives a writer
-- @return what was written
function typed.sparse(open)
  local made, path = typed.with_id(), os.tmpname()
  made.columns[1].none = 3
  local record = made:record()
  local text = ffi.cast("char *", record + 1) + 4
  local writer = open(made, path)
  for i = 0, 9 do
    text[0] = i % 2 == 0 and 0 or 65 + i
    typed.write(writer, record, 1, i)
  end
  C.nf_writer_close(writer, nil)
  local bytes = rows.read_file(path)
  os.remove(path)
  return bytes
end

--- The columns of these rows, with what stands for none.
function typed.sparse_columns(none)
  return {
    id = { 0, 1, 2, none, 4, 5, 6, 7, 8, 9 },
    text = { none, "Bbc", none, "Dbc", none, "Fbc", none, "Hbc", none, "Jbc" },
  }
end

return typed
