--- What runs read, capture by capture.
--
--   for _, path in ipairs(sources.files(nf.arguments)) do
--     streamer.source = path
--     streamer:to(sink)
--   end

local lfs = require "nfengine.lfs"

local sources = {}

local function list_of(source) return type(source) == "table" and source or { source } end

-- A path without slashes at its end.
local function bare(path) return (path:gsub("(.)/+$", "%1")) end

-- What captures begin with: pcap of three kinds in either byte order, pcapng, gzip, zstd.
local MAGIC = {
  "\212\195\178\161", "\161\178\195\212", "\77\60\178\161", "\161\178\60\77", "\52\205\178\161", "\161\178\205\52",
  "\10\13\13\10", "\31\139", "\40\181\47\253",
}

local function looks_like_capture(path)
  local file = io.open(path, "rb")
  local head = file and file:read(4) or ""
  if file then file:close() end
  for _, magic in ipairs(MAGIC) do
    if head:sub(1, #magic) == magic then return true end
  end
  return false
end

local function files_in(folder)
  local files = {}
  for name in lfs.dir(folder) do
    local path = bare(folder):gsub("([^/])$", "%1/") .. name
    local is_capture = not name:match "^%." and lfs.attributes(path, "mode") == "file" and looks_like_capture(path)
    if is_capture then files[#files + 1] = path end
  end
  table.sort(files) -- by bytes: the program sets no locale
  return files
end

--- The files that a path or a list of paths stands for, in the order in which a run reads them: folders are replaced by
-- the captures in them. Anything else, "-" and interfaces among it, stays as it is.
function sources.files(source)
  local files = {}
  for _, path in ipairs(list_of(source)) do
    local is_folder = path ~= "-" and lfs.attributes(path, "mode") == "directory"
    for _, file in ipairs(is_folder and files_in(path) or { path }) do files[#files + 1] = file end
  end
  return files
end

--- Whether a source is a choice among others: some of them, or of the files in those that are folders.
function sources.is_choice(source, others)
  local known = {}
  for _, path in ipairs(list_of(others)) do known[bare(path)] = true end
  for _, path in ipairs(list_of(source)) do
    local folder, name = path:match "^(.*[^/])/+([^/]+)$"
    local is_in_it = known[folder] and name ~= "." and name ~= ".."
    if not (known[bare(path)] or is_in_it) then return false end
  end
  return source ~= nil
end

return sources
