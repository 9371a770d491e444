--- Reads CSV as RFC 4180 has it: cells in quotes may hold commas, line breaks and, doubled, quotes.
--
--   local rows = csv.open "flows.csv"
--   print(rows.header[1])
--   for row in rows do print(row[1]) end
--
-- Lines end in LF or CRLF. What the standard does not allow is an error that names file and line, not a guess.

local csv = {}

local reader = {}
reader.__index = reader

local COMMA, LINE_FEED, QUOTE, BACKSLASH = (","):byte(), ("\n"):byte(), ('"'):byte(), ("\\"):byte()

local function fail(self, what) error(("%s:%d: %s"):format(self.path, self.line, what), 0) end

--- Reads on; what has been used up is forgotten. Returns how far the text has moved, nil at the end of the file.
local function more(self)
  local block = self.file:read(self.block_size)
  if not block then return nil end
  local moved = self.at - 1
  self.text, self.at = self.text:sub(self.at) .. block, 1
  return moved
end

--- The byte at a position of the text, read as far as needed, and that position, which may have moved.
local function byte_at(self, position)
  while position > #self.text do
    local moved = more(self)
    if not moved then return nil, position end
    position = position - moved
  end
  return self.text:byte(position), position
end

--- Goes past what ends a cell. Returns whether the row goes on.
local function close_cell(self, position)
  local byte
  byte, position = byte_at(self, position)
  self.at = position + 1
  if byte == LINE_FEED then self.line = self.line + 1 end
  return byte == COMMA
end

local function plain_cell(self)
  local stop = self.text:find('[,\n"]', self.at)
  while not stop do
    local behind = #self.text + 1
    local moved = more(self)
    stop = moved and self.text:find('[,\n"]', behind - moved) or not moved and behind
  end
  local byte = self.text:byte(stop)
  if byte == QUOTE then fail(self, "a quote in a cell that does not begin with one") end
  local cell = self.text:sub(self.at, stop - 1)
  if byte ~= COMMA then cell = cell:gsub("\r$", "") end
  return cell, close_cell(self, stop)
end

local function quoted_cell(self)
  local parts, line = {}, self.line
  self.at = self.at + 1
  while true do
    local stop = self.text:find(self.special, self.at)
    local part = self.text:sub(self.at, (stop or 0) - 1)
    parts[#parts + 1] = part
    self.line = self.line + select(2, part:gsub("\n", ""))
    self.at = stop or #self.text + 1
    if not stop then
      if not more(self) then
        self.line = line
        fail(self, "a cell that begins with a quote and has no other at its end")
      end
    else
      local byte = self.text:byte(stop)
      local following
      following, stop = byte_at(self, stop + 1)
      if following == QUOTE and byte == self.escape then
        parts[#parts + 1] = '"'
        self.at = stop + 1
      elseif byte == BACKSLASH then
        parts[#parts + 1] = "\\"
        self.at = stop
      else
        local behind = stop
        if following == 13 then following, behind = byte_at(self, stop + 1) end -- the carriage return of CRLF
        if following and following ~= LINE_FEED and (following ~= COMMA or behind ~= stop) then
          fail(self, "more behind the quote that ends a cell")
        end
        return table.concat(parts), close_cell(self, behind)
      end
    end
  end
end

--- The next row, a list of texts; nil at the end.
local function read_row(self)
  local first
  first, self.at = byte_at(self, self.at)
  if not first then return nil end
  local row = {}
  repeat
    first, self.at = byte_at(self, self.at)
    local cell, goes_on = (first == QUOTE and quoted_cell or plain_cell)(self)
    row[#row + 1] = cell
  until not goes_on
  return row
end

reader.__call = function(self)
  local line = self.line
  local row = read_row(self)
  if not row then
    self:close()
    return nil
  end
  if #row ~= #self.header then
    self.line = line
    fail(self, ("cells: %d, expected %d as in the first line"):format(#row, #self.header))
  end
  return row
end

function reader:close()
  if io.type(self.file) == "file" then self.file:close() end
end

--- Opens a file and reads its first line. Raises one line when that cannot be done.
-- @param options `has_backslashes`: a quote within quotes is written \" and not "", as NFStream does; `block_size`
-- @return an iterator over the other rows, lists of texts, each as long as its `header`
function csv.open(path, options)
  options = options or {}
  local file = assert(io.open(path, "rb"))
  local self = setmetatable({
    path = path, file = file, text = "", at = 1, line = 1, block_size = options.block_size or 65536,
    special = options.has_backslashes and '["\\]' or '"', escape = options.has_backslashes and BACKSLASH or QUOTE,
  }, reader)
  byte_at(self, 3)
  if self.text:sub(1, 3) == "\239\187\191" then self.at = 4 end -- a byte order mark
  self.header = read_row(self)
  if not self.header then fail(self, "empty, expected a line of column names") end
  return self
end

return csv
