-- SQLite databases as others read them: by its own command-line tool, and by Python, which has a reader of its own.

local nf = require "nfengine"
local program = require "spec.support.program"

local sqlite = {}

local quote = program.quote

--- Why databases cannot be looked at here, or nil.
sqlite.absent = program.shell("command -v sqlite3 && command -v python3 && python3 -c 'import sqlite3'").status ~= 0
  and "needs sqlite3 and python3" or nil

--- What a query prints, without the last line's end: a line a row, values parted by "|".
function sqlite.query(path, sql)
  local result = program.shell(("sqlite3 -batch %s %s"):format(quote(path), quote(sql)))
  assert(result.status == 0, result.err)
  return (result.out:gsub("\n$", ""))
end

-- What CSV has for values that are none, of columns that are no texts.
local NONES = { dns_response_code = -1, system_process_pid = -1 }

local KINDS = { bool = "bool", uint64 = "unsigned", double = "real", ip = "text", mac = "text", oui = "text",
  end_reason = "text", text = "text" }

--- How spec/support/sqlite_csv.py is told of columns: by a CSV's header. `more` gives those of plugins.
local function words_for(header, more)
  local kinds, words = {}, {}
  for _, unit in ipairs { "ms", "us", "ns" } do
    for _, column in ipairs(nf.columns(unit)) do
      local kind = (KINDS[column.type] or "integer") .. (column.group == "splt" and "[]" or "")
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
function sqlite.as_csv(path, csv, name, more)
  local command = "python3 spec/support/sqlite_csv.py %s %s %s"
  local result = program.shell(command:format(quote(path), quote(name or "flows"),
    words_for(csv:match "^[^\n]*", more)))
  assert(result.status == 0, result.err)
  return result.out
end

return sqlite
