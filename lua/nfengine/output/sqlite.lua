--- The sink that adds records to a table of an SQLite database, typed, in transactions of many rows each. docs/sinks.md
-- says what may be relied on.

local ffi = require "ffi"
local C = require "nfengine.lib"
local columns = require "nfengine.columns"
local sandbox = require "nfengine.sandbox"
local sqlite = require "nfengine.sqlite"
local text = require "nfengine.text"

local sink = {}
sink.__index = sink

local BATCH_ROWS = 10000 -- of a transaction; live runs end one with every flush, too
local quote = sqlite.quote

--- Makes a sink. Raises one line where SQLite cannot do what is asked for.
-- @param given `path`, `table` (its name, "flows" if none is given), `options` (what exports take, checked)
function sink.new(given)
  local name, options = given.table or "flows", given.options
  if type(name) ~= "string" or name == "" or name:find "%z" then
    error(("table = %s: expected the name of a table"):format(text.quote(name)), 0)
  end
  if type(given.path) ~= "string" or given.path == "-" then
    error("SQLite: expected a path to write to, got standard output or an open file", 0)
  end
  if options.columns_to_anonymize and options.columns_to_anonymize[1] then
    error("columns_to_anonymize: not with SQLite, expected another format", 0)
  end
  if options.flows_per_file > 0 then error("flows_per_file: not with SQLite, expected another format", 0) end
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

--- The statement that makes the table. SQLite keeps it as it is, and shows who asks for the schema what columns are.
local function declaration(name, selected)
  local lines = {}
  for i, column in ipairs(selected) do
    local comma, doc = i < #selected and "," or "", column.doc and " -- " .. text.one_line(column.doc) or ""
    lines[i] = ("  %s %s%s%s"):format(quote(column.name), type_of(column), comma, doc)
  end
  return ("CREATE TABLE %s (\n%s\n)"):format(quote(name), table.concat(lines, "\n"))
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
      return self.database:fail(("table %s: column %s %s, expected %s"):format(text.quote(self.table),
        text.quote(column.name), found and "is " .. found or "is not there", expected))
    end
  end
  return true
end

--- Makes the table, or looks whether the one that is there will do. Nobody else changes it meanwhile.
function sink:ready_table()
  local database = self.database
  if not database:query "BEGIN IMMEDIATE" then return nil end
  local existing = database:query(("PRAGMA table_info(%s)"):format(quote(self.table)))
  if not existing then return nil end
  local made = existing[1] and self:check(existing) or database:query(declaration(self.table, self.selected))
  return made and database:query "COMMIT"
end

-- ---- opening and closing ----

--- With a log beside the file (WAL), readers go on reading, and a commit waits for no disk. The file is left without in
-- the end if it was before: one with a log can be read only by who may write beside it.
function sink:start_log()
  local database = self.database
  local before = database:query "PRAGMA journal_mode"
  if not before then return nil end
  local mode = database:query "PRAGMA journal_mode = wal"
  if not mode then return nil end
  if mode[1][1] ~= "wal" then return true end -- no file system for that: transactions hold as well without
  if before[1][1] ~= "wal" then self.mode = before[1][1] end
  return database:query "PRAGMA synchronous = normal"
end

function sink:open(selected, crew)
  self.selected = selected
  for _, ending in ipairs { "", "-wal", "-shm", "-journal" } do
    if C.nf_crew_reads(crew, self.path .. ending) then
      return nil, ("cannot write %s: it is a capture of this run"):format(text.quote(self.path))
    end
  end
  if sandbox.is_shut() then
    return nil, ("cannot write %s: SQLite opens files as it goes, expected another format, or no --sandbox")
      :format(text.quote(self.path))
  end
  local message = ffi.new("char[?]", C.NF_ERROR_SIZE)
  self.values = ffi.gc(C.nf_values_new(columns.to_c(selected), #selected, message), C.nf_values_free)
  if self.values == nil then return nil, ffi.string(message) end
  local database = sqlite.new()
  self.database = database
  local ok, problem = database:open(self.path)
  if not (ok and self:start_log() and self:ready_table()) then return nil, problem or database.failure end
  self.begin, self.insert = database:prepare "BEGIN IMMEDIATE", database:prepare(insertion(self.table, selected))
  self.commit_statement = database:prepare "COMMIT"
  if database.failure then return nil, database.failure end
  return true
end

function sink:close()
  local database = self.database
  if not database or not database.handle then return true end
  self:count_written()
  local failure = database.failure
  if self.mode then database:query("PRAGMA journal_mode = " .. self.mode) end -- others that use it may be in the way
  database:close()
  if failure then return nil, failure end
  return true
end

-- ---- writing ----

function sink:write(flow)
  local database = self.database
  if database.failure or self.pending == 0 and not database:run(self.begin) then return nil, database.failure end
  local sqlite3, insert, values = database.library, self.insert, C.nf_values_of(self.values, flow.core)
  for i = 1, #self.selected do
    local value = values[i - 1]
    local kind = value.kind
    if kind == C.NF_VALUE_INTEGER then sqlite3.sqlite3_bind_int64(insert, i, value.integer)
    elseif kind == C.NF_VALUE_TEXT then sqlite3.sqlite3_bind_text(insert, i, value.text, value.size, nil)
    elseif kind == C.NF_VALUE_REAL then sqlite3.sqlite3_bind_double(insert, i, value.real)
    else sqlite3.sqlite3_bind_null(insert, i) end
  end
  if not database:run(insert) then return nil, database.failure end
  self.pending = self.pending + 1
  if self.pending == BATCH_ROWS then return self:commit() end
  return true
end

--- Ends the transaction that is open, also after a failure: that of one row leaves those before it, and what else there
-- may be takes them back by itself.
function sink:commit()
  local database = self.database
  if self.pending > 0 and database:is_in_transaction() and database:run(self.commit_statement) then
    self.committed = self.committed + self.pending
  end
  self.pending = 0
  if database.failure then return nil, database.failure end
  return true
end

--- What is written shows. A failure is told by the next write, or in the end.
function sink:flush() self:commit() end

--- How many records the database has got.
function sink:count_written()
  if self.commit_statement and self.database.handle then self:commit() end
  return self.committed
end

return sink
