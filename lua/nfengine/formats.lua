--- Output formats, the one list of them: what `--format` takes, what file names say, what to_csv and its like write.

local C = require "nfengine.lib"

local formats = {
  names = { "csv", "jsonl", "parquet", "sqlite", "duckdb", "null" }, -- null only counts
}

local by_name = {
  csv = { code = C.NF_FORMAT_CSV, endings = { "csv" } },
  parquet = { code = C.NF_FORMAT_PARQUET, endings = { "parquet" } },
  sqlite = { endings = { "sqlite", "sqlite3", "db" } }, -- these are no bytes: they have sinks of their own
  duckdb = { endings = { "duckdb" } },
  jsonl = { code = C.NF_FORMAT_JSONL, endings = { "jsonl", "ndjson" } },
}

local packings = { gz = C.NF_PACKING_GZIP, zst = C.NF_PACKING_ZSTD }

local by_ending = {}
for name, format in pairs(by_name) do
  for _, ending in ipairs(format.endings) do by_ending[ending] = name end
end

--- The writers' number of a format.
function formats.code(name) return by_name[name].code end

--- What a file's name says: "flows.jsonl.gz" → "jsonl", and how the writers call gzip. Without an ending that says so
-- there is no format (nil), and no compression.
function formats.of_path(path)
  local stem, ending = path:match "^(.*)%.([^./]+)$"
  local packing = packings[ending]
  if packing then ending = stem:match "%.([^./]+)$" end
  return by_ending[ending], packing or C.NF_PACKING_NONE
end

return formats
