--- What sinks of databases have in common: what they are asked for, and the SQL of their tables.

local C = require "nfengine.lib"
local formats = require "nfengine.formats"
local sandbox = require "nfengine.sandbox"
local text = require "nfengine.text"

local database = {}

--- Raises one line where a database cannot do what is asked for.
-- @param given `product` ("SQLite", say), `path`, `table` (its name, "flows" if none is given), `packing` (by the
--   path's ending), `limit` (the option that has set one for files)
-- @return the table's name
function database.check(given)
  local name, product = given.table or "flows", given.product
  if type(name) ~= "string" or name == "" or name:find "%z" then
    error(("table = %s: expected the name of a table"):format(text.quote(name)), 0)
  end
  if type(given.path) ~= "string" or given.path == "-" then
    error(product .. ": expected a path to write to, got standard output or an open file", 0)
  end
  if given.packing ~= C.NF_PACKING_NONE then
    error(("cannot write %s: a database cannot be compressed as a whole, expected a name without .%s")
      :format(text.quote(given.path), formats.packing_name(given.packing)), 0)
  end
  if given.limit then error(("%s: not with %s, expected another format"):format(given.limit, product), 0) end
  return name
end

--- Why a database must not be opened now, or nil.
-- @param endings what is behind its name in the names of files that it comes with
function database.refusal(path, crew, endings)
  for _, ending in ipairs { "", unpack(endings) } do
    if C.nf_crew_reads(crew, path .. ending) then
      return ("cannot write %s: it is a capture of this run"):format(text.quote(path))
    end
  end
  return sandbox.database_refusal(path)
end

--- A path by which nothing else is meant: databases give names like ":memory:" a meaning.
function database.place(path) return path:match "^/" and path or "./" .. path end

--- A name as SQL takes any.
function database.quote(name) return '"' .. name:gsub('"', '""') .. '"' end

--- The statement that makes a table. Where a database keeps it as it is, it shows what columns are.
-- @param type_of function from a column to its type
function database.declaration(name, columns, type_of)
  local lines = {}
  for i, column in ipairs(columns) do
    local comma, doc = i < #columns and "," or "", column.doc and " -- " .. text.one_line(column.doc) or ""
    lines[i] = ("  %s %s%s%s"):format(database.quote(column.name), type_of(column), comma, doc)
  end
  return ("CREATE TABLE %s (\n%s\n)"):format(database.quote(name), table.concat(lines, "\n"))
end

return database
