--- The sink that adds records to a table of an SQLite database, typed, in transactions of many rows each. docs/sinks.md
-- says what may be relied on.

local ffi = require "ffi"
local C = require "nfengine.lib"
local columns = require "nfengine.columns"
local database = require "nfengine.output.database"
local sqlite = require "nfengine.sqlite"
local text = require "nfengine.text"

local sink = {}
sink.__index = sink

local BATCH_ROWS = 10000 -- of a transaction; live runs and pipes end one with every flush, too
local quote = database.quote

--- Makes a sink. Raises one line where SQLite cannot do what is asked for.
-- @param given see database.check
function sink.new(given)
  local name = database.check(given)
  return setmetatable({ path = given.path, table = name, pending = 0, committed = 0 }, sink)
end

-- ---- the table ----

--- The type by which a column is declared: one of SQLite's classes of storage.
local function type_of(column)
  if column.is_array or not columns.is_numeric(column) then return "TEXT" end
  return (column.type == "double" or column.type == "float") and "REAL" or "INTEGER"
end

--- As which of these SQLite takes what a table has declared (sqlite.org/datatype3.html, 3.1).
local function affinity_of(declared)
  declared = declared:upper()
  local function has(word) return declared:find(word, 1, true) end
  if has "INT" then return "INTEGER" end
  if has "CHAR" or has "CLOB" or has "TEXT" then return "TEXT" end
  if declared == "" or has "BLOB" then return "BLOB" end
  return (has "REAL" or has "FLOA" or has "DOUB") and "REAL" or "NUMERIC"
end

local function insertion(name, selected)
  local names, marks = {}, {}
  for i, column in ipairs(selected) do names[i], marks[i] = quote(column.name), "?" end
  return ("INSERT INTO %s (%s) VALUES (%s)"):format(quote(name), table.concat(names, ", "), table.concat(marks, ", "))
end

--- Whether records fit the table that is there: it has every column, as what it is. It may have more.
function sink:check(existing)
  local known = {}
  for _, row in ipairs(existing) do known[row[2]:lower()] = affinity_of(row[3] or "") end
  for _, column in ipairs(self.selected) do
    local expected, found = type_of(column), known[column.name:lower()]
    if found ~= expected then
      return self.db:fail(("table %s: column %s %s, expected %s"):format(text.quote(self.table),
        text.quote(column.name), found and "is " .. found or "is not there", expected))
    end
  end
  return true
end

--- Makes the table, or looks whether the one that is there will do. Nobody else changes it meanwhile.
function sink:ready_table()
  local db = self.db
  if not db:query "BEGIN IMMEDIATE" then return nil end
  local existing = db:query(("PRAGMA table_info(%s)"):format(quote(self.table)))
  if not existing then return nil end
  local is_right
  if existing[1] then is_right = self:check(existing)
  else is_right = db:query(database.declaration(self.table, self.selected, type_of)) end
  return is_right and db:query "COMMIT"
end

-- ---- opening and closing ----

--- With a log beside the file (WAL), readers go on reading, and a commit waits for no disk. The file is left without in
-- the end if it was before: one with a log can be read only by who may write beside it.
function sink:start_log()
  local db = self.db
  local before = db:query "PRAGMA journal_mode"
  if not before then return nil end
  local mode = db:query "PRAGMA journal_mode = wal"
  if not mode then return nil end
  if mode[1][1] ~= "wal" then return true end -- no file system for that: transactions hold as well without
  if before[1][1] ~= "wal" then self.mode = before[1][1] end
  return db:query "PRAGMA synchronous = normal"
end

function sink:open(selected, crew)
  local problem = database.refusal(self.path, crew, { "-wal", "-shm", "-journal" })
  if problem then return nil, problem end
  local message = ffi.new("char[?]", C.NF_ERROR_SIZE)
  self.values = ffi.gc(C.nf_values_new(columns.to_c(selected), #selected, message), C.nf_values_free)
  if self.values == nil then return nil, ffi.string(message) end
  local db = sqlite.new()
  self.db, self.selected = db, selected
  local ok
  ok, problem = db:open(self.path, database.place(self.path))
  if not (ok and self:start_log() and self:ready_table()) then return nil, problem or db.failure end
  self.begin, self.insert = db:prepare "BEGIN IMMEDIATE", db:prepare(insertion(self.table, selected))
  self.commit_statement = db:prepare "COMMIT"
  if db.failure then return nil, db.failure end
  return true
end

function sink:close()
  local db = self.db
  if not db or not db.handle then return true end
  self:count_written()
  local failure = db.failure
  if self.mode then db:query("PRAGMA journal_mode = " .. self.mode) end -- others that use it may be in the way
  db:close()
  if failure then return nil, failure end
  return true
end

-- ---- writing ----

function sink:write(flow)
  local db = self.db
  if db.failure or self.pending == 0 and not db:run(self.begin) then return nil, db.failure end
  local sqlite3, insert, values = db.library, self.insert, C.nf_values_of(self.values, flow.core)
  for i = 1, #self.selected do
    local value = values[i - 1]
    local kind = value.kind
    if kind == C.NF_VALUE_INTEGER then sqlite3.sqlite3_bind_int64(insert, i, value.integer)
    elseif kind == C.NF_VALUE_TEXT then sqlite3.sqlite3_bind_text(insert, i, value.text, value.size, nil)
    elseif kind == C.NF_VALUE_REAL then sqlite3.sqlite3_bind_double(insert, i, value.real)
    else sqlite3.sqlite3_bind_null(insert, i) end
  end
  if not db:run(insert) then return nil, db.failure end
  self.pending = self.pending + 1
  if self.pending == BATCH_ROWS then return self:commit() end
  return true
end

--- Ends the transaction that is open, also after a failure: that of one row leaves those before it, and what else there
-- may be takes them back by itself.
function sink:commit()
  local db = self.db
  if db:is_in_transaction() and db:run(self.commit_statement) then
    self.committed = self.committed + self.pending
  end
  self.pending = 0
  if db.failure then return nil, db.failure end
  return true
end

--- What is written shows. A failure is told by the next write, or in the end.
function sink:flush() self:commit() end

--- How many records the database has got.
function sink:count_written()
  if self.commit_statement and self.db.handle then self:commit() end
  return self.committed
end

return sink
