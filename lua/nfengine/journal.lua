--- Lines as things happen: what scripts share that tell of one event a line, as columns or as JSON.
--
--   local log = journal.new {
--     json = options.json,
--     fields = {
--       { "time", "time", "TIME" },                     -- name, kind, and above its column
--       { "client", "endpoint", "CLIENT" },
--       { "method", "text", "METHOD", width = 6 },
--       { "referrer", "text" },                         -- in JSON only
--       { "notes", "list", "NOTES", json = false },     -- in columns only
--     },
--   }
--   … local entry = journal.between(flow, 0)                                    -- in hooks
--   entry.time, entry.method = …, …
--   log:put(entry) …
--   log:run { n_dissections = 0, udps = { … } }
--
-- Kinds:
--
--   time      µs since 1970: "2026-11-23 16:16:30.123", in UTC; as JSON "2026-11-23T16:16:30.123456Z"
--   endpoint  two values, NAME_ip and NAME_port, in one column
--   address   the same, but the port in JSON only
--   text      from the wire: what no terminal should get stands as \xNN, a backslash as two; in columns but the last
--             one blanks as \x20; what is longer than 1,000 bytes is cut and ends in "..."
--   safe      text that is fit to be shown, whose maker answers for it
--   number    a number
--   ms        µs, shown as ms; as JSON NAME_ms
--   flag      true or false, in JSON only
--   list      a list of safe texts, parted by ", ", in columns the first 200 bytes or so; as JSON an array
--
-- What is nil is "-", and null in JSON. Every line of JSON has all fields, in their order. Lines go to standard output;
-- where packets come from an interface or standard input, each shows at once. Packets are looked at by one meter, in
-- their order.

local C = require "nfengine.lib"
local json = require "nfengine.json"
local privacy = require "nfengine.privacy"
local report = require "nfengine.report"
local shape = require "nfengine.shape"
local show = require "nfengine.show"
local streamer = require "nfengine.streamer"

local journal = {}

local LONGEST_TEXT, LONGEST_LIST = 1000, 200
local EPIPE = 32

-- ---- values as text ----

local function hexadecimal(byte) return ("\\x%02x"):format(byte:byte()) end

--- Text from the wire as a terminal can take it.
function journal.escaped(text)
  local is_long = #text > LONGEST_TEXT
  if is_long then text = text:sub(1, LONGEST_TEXT) end
  return (text:gsub("\\", "\\\\"):gsub("[^\32-\126]", hexadecimal)) .. (is_long and "..." or "")
end

local function moment(us, form, digits)
  local seconds = math.floor(us / 1e6)
  return os.date(form, seconds) .. (".%06d"):format(us - seconds * 1e6):sub(1, 1 + digits)
end

local function quoted(text) return (json.encode(text):gsub("\\/", "/")) end

local function milliseconds(us) return ("%.3f"):format(us / 1000) end

-- By kind: a value as a column has it, and as JSON has it.
local columns, members = {}, {}

function columns.time(us) return moment(us, "!%Y-%m-%d %H:%M:%S", 3) end
function columns.text(text) return text == "" and '""' or journal.escaped(text) end
function columns.safe(text) return text == "" and '""' or text end
function columns.number(number) return ("%.0f"):format(number) end
function columns.ms(us) return ("%.1f ms"):format(us / 1000) end

function columns.list(list)
  if not list[1] then return "-" end
  local length, count = 0, 0
  while list[count + 1] and length < LONGEST_LIST do
    count = count + 1
    length = length + #list[count] + 2
  end
  local more = #list - count
  return table.concat(list, ", ", 1, count) .. (more > 0 and (", %d more"):format(more) or "")
end

function members.time(us) return '"' .. moment(us, "!%Y-%m-%dT%H:%M:%S", 6) .. 'Z"' end
function members.text(text) return quoted(journal.escaped(text)) end
members.safe = quoted
members.number, members.ms = columns.number, milliseconds
members.flag = tostring

function members.list(list)
  local parts = {}
  for i, text in ipairs(list) do parts[i] = quoted(text) end
  return "[" .. table.concat(parts, ",") .. "]"
end

local WIDTHS = { time = 23, endpoint = 21, address = 15, number = 5, ms = 9 }
local IS_RIGHT = { number = true, ms = true }

-- ---- lines ----

local log = {}
log.__index = log

--- A log, see above.
function journal.new(declared)
  local self = setmetatable({ json = declared.json, columns = {}, members = {} }, log)
  for _, field in ipairs(declared.fields) do
    local name, kind, title = field[1], field[2], field[3]
    if kind == "endpoint" or kind == "address" then
      table.insert(self.members, { name = name .. "_ip", kind = "safe", key = quoted(name .. "_ip") })
      table.insert(self.members, { name = name .. "_port", kind = "number", key = quoted(name .. "_port") })
    elseif field.json ~= false then
      table.insert(self.members, { name = name, kind = kind, key = quoted(kind == "ms" and name .. "_ms" or name) })
    end
    if title then
      local width = math.max(field.width or WIDTHS[kind] or 0, #title)
      table.insert(self.columns, { name = name, kind = kind, title = title, width = width, right = IS_RIGHT[kind] })
    end
  end
  return self
end

local function padded(column, text, is_last)
  local blanks = (" "):rep(column.width - #text)
  if column.right then return blanks .. text end
  return is_last and text or text .. blanks
end

local function cell(column, entry, is_last)
  local name = column.name
  if column.kind == "address" then return entry[name .. "_ip"] end
  if column.kind == "endpoint" then return show.endpoint(entry[name .. "_ip"], entry[name .. "_port"]) end
  local value = entry[name]
  local text = value ~= nil and columns[column.kind](value) or "-"
  if column.kind == "text" and not is_last then text = text:gsub(" ", "\\x20") end
  return text
end

local function row(self, of)
  local parts, last = {}, #self.columns
  for i, column in ipairs(self.columns) do parts[i] = padded(column, of(column, i == last), i == last) end
  return table.concat(parts, "  ")
end

local function object(self, entry)
  local parts = {}
  for i, member in ipairs(self.members) do
    local value = entry[member.name]
    parts[i] = member.key .. ":" .. (value ~= nil and members[member.kind](value) or "null")
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

--- Notes that standard output takes no more. A reader that has gone is no failure.
local function check(self, written, message, number)
  if written or self.has_ended then return end
  self.has_ended = true
  if number ~= EPIPE then self.failure = "cannot write standard output: " .. message end
  if self.is_live then C.nf_interrupt(C.NF_REQUEST_STOP) end -- a flow that ends may be long in coming
end

--- A table for log:put with the ends of a flow.
-- @param direction of the client, 0 or 1
function journal.between(flow, direction)
  local entry = { client_ip = flow.src_ip, client_port = flow.src_port, server_ip = flow.dst_ip,
    server_port = flow.dst_port }
  if direction == 0 then return entry end
  return { client_ip = entry.server_ip, client_port = entry.server_port, server_ip = entry.client_ip,
    server_port = entry.client_port }
end

--- Says something on stderr, for what is no event.
journal.say = report.say

--- Writes a line of these values, by name.
function log:put(entry)
  if self.has_ended then return end
  local line = self.json and object(self, entry)
    or row(self, function(column, is_last) return cell(column, entry, is_last) end)
  check(self, io.write(line, "\n"))
end

-- ---- running ----

local function reads_stdin(source)
  for _, path in ipairs(type(source) == "table" and source or { source }) do
    if path == "-" then return true end
  end
  return false
end

--- Runs plugins that put lines here, to the end of the input.
-- @param parameters a streamer's
function log:run(parameters)
  local run = streamer.new(parameters)
  privacy.expect_none(run)
  if run.n_meters > 1 then
    error(("--n-meters=%d: packets are looked at by one meter here, expected 1"):format(run.n_meters), 0)
  end
  run.n_meters = 1
  self.is_live = shape.is_live { source = run.source }
  if self.is_live or reads_stdin(run.source) then io.stdout:setvbuf "line" end
  if not self.json then check(self, io.write(row(self, function(column) return column.title end), "\n")) end
  run:to {
    write = function() -- a flow; what there was to say of it has been said in hooks
      if self.failure then return nil, self.failure end
      return not self.has_ended
    end,
  }
end

return journal
