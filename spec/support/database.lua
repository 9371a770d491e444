-- Databases as others read them: SQLite by its own command-line tool, and any by Python, whose readers know nothing of
-- nfengine.

local nf = require "nfengine"
local program = require "spec.support.program"

local database = { absent = {} }

local quote = program.quote

local function works(command) return program.shell(command).status == 0 end

--- Why databases cannot be looked at here, or nil, by product. DuckDB can by who has it: $NFENGINE_LIBDUCKDB is the
-- library, and python3 has the module duckdb.
database.absent.sqlite = not works "command -v sqlite3 && python3 -c 'import sqlite3'" and "needs sqlite3 and python3"
  or nil
database.absent.duckdb = not os.getenv "NFENGINE_LIBDUCKDB" and "needs $NFENGINE_LIBDUCKDB"
  or not works "python3 -c 'import duckdb'" and "needs python3 with the module duckdb" or nil

--- What a query of SQLite prints, without the last line's end: a line a row, values parted by "|".
function database.query(path, sql)
  local result = program.shell(("printf %%s %s | sqlite3 -batch %s"):format(quote(sql), quote(path)))
  assert(result.status == 0, result.err)
  return (result.out:gsub("\n$", ""))
end

-- What CSV has for values that are none, of columns that are no texts.
local NONES = { dns_response_code = -1, system_process_pid = -1 }

local KINDS = { bool = "bool", uint64 = "unsigned", double = "real", ip = "text", mac = "text", oui = "text",
  end_reason = "text", text = "text" }

-- How spec/support/table_csv.py is told of columns: by a CSV's header. `more` gives those of plugins.
local function words_for(header, more)
  local kinds, words = {}, {}
  for _, unit in ipairs { "ms", "us", "ns" } do
    for _, column in ipairs(nf.columns(unit)) do
      local kind = (KINDS[column.type] or "integer") .. (column.group == "splt" and "[]" or "")
      if column.name:match "_seen_" then kind = "moment_" .. unit end
      local none = column.name:match "^dst2src_%a+_seen_" and 0 or NONES[column.name]
      kinds[column.name] = none and kind .. ":" .. none or kind
    end
  end
  for name in header:gmatch "[^,]+" do
    words[#words + 1] = quote(name .. "=" .. (more and more[name] or kinds[name]))
  end
  return table.concat(words, " ")
end

--- A table as CSV, in the order of the columns in the CSV that it is to be compared with.
-- @param product "sqlite" or "duckdb"
function database.as_csv(product, path, csv, name, more)
  local command = "python3 spec/support/table_csv.py %s %s %s %s"
  local result = program.shell(command:format(product, quote(path), quote(name or "flows"),
    words_for(csv:match "^[^\n]*", more)))
  assert(result.status == 0, result.err)
  return result.out
end

--- What is wrong with a product's table of a capture's flows, or nil where it has what CSV has.
-- @param ... words of the command line
function database.difference(product, source, ...)
  local path, csv = program.temporary("." .. product), program.temporary ".csv"
  local as_csv = program.run("-q", "flows", "-o", csv, source, ...)
  local as_rows = program.run("-q", "flows", "-o", path, source, ...)
  if as_csv.status ~= as_rows.status or as_csv.err ~= as_rows.err then return source .. ": " .. as_rows.err end
  local expected = program.read(csv)
  if expected and database.as_csv(product, path, expected) ~= expected then return source .. ": other rows" end
end

--- Words for all that flows can be asked for.
database.everything = { "--statistical-analysis", "--splt-analysis=4", "--l7-columns=all", "--columns=*,end_reason" }

return database
