--- Output formats, the one list of them: what `--format` takes, what file names say, what to_csv and its like write.

local C = require "nfengine.lib"
local lfs = require "nfengine.lfs"

local formats = {
  names = { "csv", "jsonl", "parquet", "arrow", "ipfix", "sqlite", "duckdb", "null" }, -- null only counts
}

local by_name = {
  csv = { code = C.NF_FORMAT_CSV, endings = { "csv" } },
  parquet = { code = C.NF_FORMAT_PARQUET, endings = { "parquet" }, is_described = true },
  arrow = { code = C.NF_FORMAT_ARROW_FILE, endings = { "arrow", "feather", "arrows" }, is_described = true },
  ipfix = { code = C.NF_FORMAT_IPFIX, endings = { "ipfix" } },
  sqlite = { product = "SQLite", endings = { "sqlite", "sqlite3", "db" } },
  duckdb = { product = "DuckDB", endings = { "duckdb" } },
  jsonl = { code = C.NF_FORMAT_JSONL, endings = { "jsonl", "ndjson" } },
}

local packings = { gz = C.NF_PACKING_GZIP, zst = C.NF_PACKING_ZSTD }

local by_ending = {}
for name, format in pairs(by_name) do
  for _, ending in ipairs(format.endings) do by_ending[ending] = name end
end

--- Whether Arrow is written as a stream: where it goes to no regular file of its own (standard output, an open file, a
-- pipe, a device), so that it may be read while it comes, and to files whose name says so. Other files are Arrow files.
local function is_arrow_stream(path)
  if type(path) ~= "string" or path == "-" or path:match "%.arrows$" or path:match "%.arrows%.[^./]+$" then
    return true
  end
  local mode = lfs.attributes(path, "mode")
  return mode ~= nil and mode ~= "file"
end

--- The writers' number of a format, for a path or an open file.
function formats.code(name, path)
  if name == "arrow" and is_arrow_stream(path) then return C.NF_FORMAT_ARROW_STREAM end
  return by_name[name].code
end

--- The database that a format is, as people call it; nil for one of bytes.
function formats.product(name) return by_name[name] and by_name[name].product end

--- Whether a format has a place for what is to be said of the records as a whole.
function formats.is_described(name) return by_name[name].is_described or false end

--- What the writers call a compression, as a name: "gz", "zst"; nil for none.
function formats.packing_name(packing)
  for name, code in pairs(packings) do
    if code == packing then return name end
  end
end

--- What a file's name says: "flows.jsonl.gz" → "jsonl", and how the writers call gzip. Without an ending that says so
-- there is no format (nil), and no compression.
function formats.of_path(path)
  local stem, ending = path:match "^(.*)%.([^./]+)$"
  local packing = packings[ending]
  if packing then ending = stem:match "%.([^./]+)$" end
  return by_ending[ending], packing or C.NF_PACKING_NONE
end

return formats
