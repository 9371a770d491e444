--- SQLite databases: what the engine needs of libsqlite3, which is loaded with the first of them. The only file that
-- knows it. Of a database that has failed every call gives nil and the same line, that of what failed first.

local ffi = require "ffi"
local text = require "nfengine.text"

local database = {}
database.__index = database

local sqlite = { database = database }

local OK, CANTOPEN, ROW, DONE = 0, 14, 100, 101
local READ_AND_WRITE, CREATE, ONE_THREAD = 2, 4, 0x8000
local BUSY_MS = 10000 -- that transactions of others are waited for

-- https://sqlite.org/c3ref/intro.html
local DECLARATIONS = [[
struct sqlite3;
struct sqlite3_stmt;
int sqlite3_open_v2(const char *path, struct sqlite3 **db, int flags, const char *vfs);
int sqlite3_close(struct sqlite3 *db);
int sqlite3_errcode(struct sqlite3 *db);
const char *sqlite3_errmsg(struct sqlite3 *db);
int sqlite3_system_errno(struct sqlite3 *db);
int sqlite3_busy_timeout(struct sqlite3 *db, int ms);
int sqlite3_get_autocommit(struct sqlite3 *db);
int sqlite3_prepare_v2(struct sqlite3 *db, const char *sql, int size, struct sqlite3_stmt **made, const char **rest);
int sqlite3_bind_null(struct sqlite3_stmt *statement, int number);
int sqlite3_bind_int64(struct sqlite3_stmt *statement, int number, int64_t value);
int sqlite3_bind_double(struct sqlite3_stmt *statement, int number, double value);
int sqlite3_bind_text(struct sqlite3_stmt *statement, int number, const char *text, int size, void (*release)(void *));
int sqlite3_step(struct sqlite3_stmt *statement);
int sqlite3_reset(struct sqlite3_stmt *statement);
int sqlite3_finalize(struct sqlite3_stmt *statement);
int sqlite3_column_count(struct sqlite3_stmt *statement);
const char *sqlite3_column_text(struct sqlite3_stmt *statement, int index);
char *strerror(int number);
]]

local library

--- The library's namespace, which sinks bind values with; nil and a line where it is not there.
function sqlite.library()
  if library then return library end
  local ok, loaded = pcall(ffi.load, "libsqlite3.so.0")
  if not ok then return nil, "SQLite: cannot load libsqlite3.so.0, expected Debian's package libsqlite3-0" end
  ffi.cdef(DECLARATIONS)
  library = loaded
  return library
end

--- Opens a database, and makes it if need be. It has to be closed also where that fails, which the first statement may
-- tell as well as this: nil and a line then.
-- @param path as errors show it
-- @param place the same as SQLite gets it
function database:open(path, place)
  local problem
  self.path, self.statements = path, {}
  self.library, problem = sqlite.library()
  if not self.library then return nil, problem end
  local made = ffi.new "struct sqlite3 *[1]"
  local status = self.library.sqlite3_open_v2(place, made, READ_AND_WRITE + CREATE + ONE_THREAD, nil)
  self.handle = made[0]
  if status ~= OK then return self:fail() end
  self.library.sqlite3_busy_timeout(self.handle, BUSY_MS)
  return true
end

--- Why it cannot be written: in SQLite's words, or, where a file cannot be opened, the system's, which say more.
local function reason(self)
  local words, number = self.library.sqlite3_errmsg(self.handle), self.library.sqlite3_system_errno(self.handle)
  if self.library.sqlite3_errcode(self.handle) == CANTOPEN and number ~= 0 then words = ffi.C.strerror(number) end
  return ffi.string(words)
end

--- Counts as failed from now on, because of this, or what SQLite says. Gives nil and the line.
function database:fail(what)
  self.failure = self.failure or ("cannot write %s: %s"):format(text.quote(self.path), what or reason(self))
  return nil, self.failure
end

--- A statement, which lasts as long as the database is open.
function database:prepare(sql)
  local made = ffi.new "struct sqlite3_stmt *[1]"
  if self.library.sqlite3_prepare_v2(self.handle, sql, #sql, made, nil) ~= OK then return self:fail() end
  table.insert(self.statements, made[0])
  return made[0]
end

--- Runs a statement that gives no rows.
function database:run(statement)
  local status = self.library.sqlite3_step(statement)
  if status ~= DONE then self:fail() end
  self.library.sqlite3_reset(statement)
  if status ~= DONE then return nil, self.failure end
  return true
end

--- Runs a statement and gives its rows: lists of texts, false for NULL.
function database:query(sql)
  local statement, problem = self:prepare(sql)
  if not statement then return nil, problem end
  local rows, status = {}, self.library.sqlite3_step(statement)
  while status == ROW do
    local row = {}
    for i = 1, self.library.sqlite3_column_count(statement) do
      local value = self.library.sqlite3_column_text(statement, i - 1)
      row[i] = value ~= nil and ffi.string(value)
    end
    rows[#rows + 1] = row
    status = self.library.sqlite3_step(statement)
  end
  if status ~= DONE then self:fail() end
  self.library.sqlite3_reset(statement)
  if status ~= DONE then return nil, self.failure end
  return rows
end

--- Whether a transaction is open. A failure may have taken it back.
function database:is_in_transaction() return self.library.sqlite3_get_autocommit(self.handle) == 0 end

--- Closes it, in whatever state it is; what no transaction has ended is lost.
function database:close()
  if not self.handle then return end
  for _, statement in ipairs(self.statements) do self.library.sqlite3_finalize(statement) end
  self.library.sqlite3_close(self.handle)
  self.handle = nil
end

--- A database that is not open yet.
function sqlite.new() return setmetatable({}, database) end

return sqlite
