--- The sink that adds records to a table of a DuckDB database, typed, by the library's appender. docs/sinks.md says
-- what may be relied on. The only file that knows libduckdb, which is loaded when it is used; Debian 12 has none.

local ffi = require "ffi"
local C = require "nfengine.lib"
local columns = require "nfengine.columns"
local database = require "nfengine.output.database"
local text = require "nfengine.text"

local sink = {}
sink.__index = sink

local BATCH_ROWS = 50000 -- of a transaction; live runs and pipes end one with every flush, too

-- https://duckdb.org/docs/stable/clients/c/api. Timestamps are structs of one integer there, which are passed as that.
local DECLARATIONS = [[
typedef struct _duckdb_database *duckdb_database;
typedef struct _duckdb_connection *duckdb_connection;
typedef struct _duckdb_appender *duckdb_appender;
typedef struct _duckdb_value *duckdb_value;
typedef struct {
  uint64_t column_count, row_count, rows_changed;
  void *columns;
  char *error_message;
  void *internal;
} duckdb_result;
int duckdb_open_ext(const char *path, duckdb_database *database, void *config, char **error);
void duckdb_close(duckdb_database *database);
int duckdb_connect(duckdb_database database, duckdb_connection *connection);
void duckdb_disconnect(duckdb_connection *connection);
void duckdb_free(void *memory);
int duckdb_query(duckdb_connection connection, const char *sql, duckdb_result *result);
void duckdb_destroy_result(duckdb_result *result);
const char *duckdb_result_error(duckdb_result *result);
uint64_t duckdb_column_count(duckdb_result *result);
const char *duckdb_column_name(duckdb_result *result, uint64_t index);
int duckdb_column_type(duckdb_result *result, uint64_t index);
int duckdb_appender_create(duckdb_connection connection, const char *schema, const char *name, duckdb_appender *made);
int duckdb_appender_destroy(duckdb_appender *appender);
const char *duckdb_appender_error(duckdb_appender appender);
int duckdb_append_null(duckdb_appender appender);
int duckdb_append_int64(duckdb_appender appender, int64_t value);
int duckdb_append_uint64(duckdb_appender appender, uint64_t value);
int duckdb_append_double(duckdb_appender appender, double value);
int duckdb_append_varchar_length(duckdb_appender appender, const char *text, uint64_t size);
int duckdb_append_timestamp(duckdb_appender appender, int64_t us);
int duckdb_append_value(duckdb_appender appender, duckdb_value value);
duckdb_value duckdb_create_timestamp_ns(int64_t ns);
void duckdb_destroy_value(duckdb_value *value);
int duckdb_appender_end_row(duckdb_appender appender);
int duckdb_appender_flush(duckdb_appender appender);
]]

local loaded

local function library()
  if loaded then return loaded end
  local ok, found = pcall(ffi.load, os.getenv "NFENGINE_LIBDUCKDB" or "duckdb")
  if not ok then
    return nil, "DuckDB: cannot load libduckdb.so, which is no part of Debian: expected it where libraries are, or its "
      .. "path in NFENGINE_LIBDUCKDB"
  end
  ffi.cdef(DECLARATIONS)
  loaded = found
  return loaded
end

--- Makes a sink. Raises one line where DuckDB cannot do what is asked for.
-- @param given see database.check
function sink.new(given)
  local name = database.check(given)
  return setmetatable({ path = given.path, table = name, pending = 0, committed = 0 }, sink)
end

-- ---- the table ----

local TYPES = {
  bool = "BOOLEAN", int8 = "TINYINT", int16 = "SMALLINT", int32 = "INTEGER", int64 = "BIGINT", uint8 = "UTINYINT",
  uint16 = "USMALLINT", uint32 = "UINTEGER", uint64 = "UBIGINT", float = "FLOAT", double = "DOUBLE",
}

local function type_of(column)
  if column.is_moment then return column.unit == "ns" and "TIMESTAMP_NS" or "TIMESTAMP" end
  local type = TYPES[column.type] or "VARCHAR"
  return column.is_array and type .. "[]" or type
end

-- How a column's integers are appended: by their type, or as the moments that they are.
local PLAIN, UNSIGNED, MS, US, NS = 0, 1, 2, 3, 4

local function way_of(column)
  if column.is_moment then return ({ ms = MS, us = US, ns = NS })[column.unit] end
  return column.type == "uint64" and UNSIGNED or PLAIN
end

--- Remembers what failed first, told in one line. Gives nil and the line.
function sink:fail(what)
  local line = ffi.string(what):match "^[^\n]*"
  self.failure = self.failure or ("cannot write %s: %s"):format(text.quote(self.path), line)
  return nil, self.failure
end

--- Runs a statement. Gives the names and numbers of types of what it answers, as "name type" by column.
function sink:query(sql)
  local duckdb, result, answer = self.library, ffi.new "duckdb_result", {}
  if duckdb.duckdb_query(self.connection[0], sql, result) ~= 0 then
    self:fail(duckdb.duckdb_result_error(result))
    answer = nil
  else
    for i = 0, tonumber(duckdb.duckdb_column_count(result)) - 1 do
      answer[i + 1] = { ffi.string(duckdb.duckdb_column_name(result, i)), duckdb.duckdb_column_type(result, i) }
    end
  end
  duckdb.duckdb_destroy_result(result)
  return answer
end

--- Whether records fit the table: it has their columns, of their types, in their order, as the appender wants them.
function sink:check()
  local expressions = {}
  for i, column in ipairs(self.selected) do expressions[i] = ("NULL::%s"):format(type_of(column)) end
  local existing = self:query(("SELECT * FROM %s LIMIT 0"):format(database.quote(self.table)))
  local expected = existing and self:query("SELECT " .. table.concat(expressions, ", "))
  if not expected then return nil end
  for i = 1, math.max(#self.selected, #existing) do
    local column, found = self.selected[i], existing[i]
    local is_right = column and found and column.name:lower() == found[1]:lower() and found[2] == expected[i][2]
    if not is_right then
      local wanted = column and ("%s %s"):format(text.quote(column.name), type_of(column)) or "no more"
      return self:fail(("table %s: column %d is %s, expected %s"):format(text.quote(self.table), i,
        found and text.quote(found[1]) or "not there", wanted))
    end
  end
  return true
end

function sink:ready_table()
  local made = database.declaration(self.table, self.selected, type_of)
  return self:query((made:gsub("^CREATE TABLE", "CREATE TABLE IF NOT EXISTS"))) and self:check()
end

-- ---- opening and closing ----

function sink:open(selected, crew)
  local problem = database.refusal(self.path, crew, { ".wal" })
  if problem then return nil, problem end
  local duckdb
  duckdb, problem = library()
  if not duckdb then return nil, problem end
  local message = ffi.new("char[?]", C.NF_ERROR_SIZE)
  self.library, self.selected = duckdb, selected
  self.values = ffi.gc(C.nf_values_new(columns.to_c(selected), #selected, message), C.nf_values_free)
  if self.values == nil then return nil, ffi.string(message) end
  self.ways = ffi.new("uint8_t[?]", #selected)
  for i, column in ipairs(selected) do self.ways[i - 1] = way_of(column) end
  self.database, self.connection = ffi.new "duckdb_database[1]", ffi.new "duckdb_connection[1]"
  self.appender = ffi.new "duckdb_appender[1]"
  local reason = ffi.new "char *[1]"
  if duckdb.duckdb_open_ext(database.place(self.path), self.database, nil, reason) ~= 0 then
    self:fail(reason[0])
    duckdb.duckdb_free(reason[0])
    return nil, self.failure
  end
  if duckdb.duckdb_connect(self.database[0], self.connection) ~= 0 then return self:fail "cannot connect" end
  if not self:ready_table() then return nil, self.failure end
  if duckdb.duckdb_appender_create(self.connection[0], nil, self.table, self.appender) ~= 0 then
    return self:fail(duckdb.duckdb_appender_error(self.appender[0]))
  end
  return true
end

function sink:close()
  local duckdb = self.library
  if not duckdb then return true end
  self:count_written()
  self.library = nil
  duckdb.duckdb_appender_destroy(self.appender)
  duckdb.duckdb_disconnect(self.connection)
  duckdb.duckdb_close(self.database)
  if self.failure then return nil, self.failure end
  return true
end

-- ---- writing ----

local function append_integer(duckdb, appender, way, value)
  if way == PLAIN then return duckdb.duckdb_append_int64(appender, value) end
  if way == UNSIGNED then return duckdb.duckdb_append_uint64(appender, value) end
  if way == MS then return duckdb.duckdb_append_timestamp(appender, value * 1000) end
  if way == US then return duckdb.duckdb_append_timestamp(appender, value) end
  local made = ffi.new("duckdb_value[1]", duckdb.duckdb_create_timestamp_ns(value))
  local status = duckdb.duckdb_append_value(appender, made[0])
  duckdb.duckdb_destroy_value(made)
  return status
end

function sink:write(flow)
  if self.failure then return nil, self.failure end
  local duckdb, appender, ways, failed = self.library, self.appender[0], self.ways, 0
  local values = C.nf_values_of(self.values, flow.core)
  for i = 0, #self.selected - 1 do
    local value, status = values[i]
    local kind = value.kind
    if kind == C.NF_VALUE_INTEGER then status = append_integer(duckdb, appender, ways[i], value.integer)
    elseif kind == C.NF_VALUE_TEXT then -- of an array, DuckDB makes a list
      status = duckdb.duckdb_append_varchar_length(appender, value.text, value.size)
    elseif kind == C.NF_VALUE_REAL then status = duckdb.duckdb_append_double(appender, value.real)
    else status = duckdb.duckdb_append_null(appender) end
    failed = failed + status
  end
  if failed > 0 or duckdb.duckdb_appender_end_row(appender) ~= 0 then
    return self:fail(duckdb.duckdb_appender_error(appender))
  end
  self.pending = self.pending + 1
  if self.pending == BATCH_ROWS then return self:commit() end
  return true
end

--- Ends the transaction: rows of the batch are in the table all, or none of them.
function sink:commit()
  if self.pending > 0 then
    local ok = self.library.duckdb_appender_flush(self.appender[0]) == 0
    if ok then self.committed = self.committed + self.pending
    else self:fail(self.library.duckdb_appender_error(self.appender[0])) end
    self.pending = 0
  end
  if self.failure then return nil, self.failure end
  return true
end

--- What is written shows. A failure is told by the next write, or in the end.
function sink:flush() self:commit() end

--- How many records the database has got.
function sink:count_written()
  if self.library and self.pending > 0 then self:commit() end
  return self.committed
end

return sink
