--- Names of the files that outputs have and bring with them.

local C = require "nfengine.lib"
local formats = require "nfengine.formats"
local lfs = require "nfengine.lfs"

local names = {
  into = nil, -- the command line's folder for all files of records
}

--- Whether a path is the address of who takes records over the network, and of which kind: "udp", "tcp" (collectors of
-- IPFIX), "kafka" or nil.
function names.scheme(path)
  local scheme = type(path) == "string" and path:match "^(%l+)://"
  return (scheme == "udp" or scheme == "tcp" or scheme == "kafka") and scheme or nil
end

--- The same of collectors alone.
function names.collector(path)
  local scheme = names.scheme(path)
  return scheme ~= "kafka" and scheme or nil
end

local called = {} -- by where it goes: what it was called

--- Where a file or folder of records goes that is called so: into the command line's folder, if it names one. Raises
-- one line for an address then: nothing is to leave that folder; and for what would replace another there.
function names.placed(path)
  if not names.into or type(path) ~= "string" or path == "-" then return path end
  if names.scheme(path) then error(("--into %s: expected a file, got %s"):format(names.into, path), 0) end
  local place = names.into .. "/" .. path:match "([^/]*)/*$"
  local before = called[place] or path
  if path ~= before and path ~= place then
    error(("--into %s: %s and %s have the same name there"):format(names.into, before, path), 0)
  end
  called[place] = before
  return place
end

--- Names of what this process has open, whatever that is.
local function is_descriptor(path) return path:match "^/dev/std" or path:match "^/dev/fd/" or path:match "^/proc/" end

--- Whether a path names, or would name, a regular file that others find by that name.
function names.is_file(path)
  if type(path) ~= "string" or path == "-" or is_descriptor(path) or names.scheme(path) then return false end
  local mode = lfs.attributes(path, "mode")
  return mode == nil or mode == "file"
end

--- The manifest beside an output.
function names.manifest(path) return path .. ".manifest.json" end

--- "flows.csv", 3 → "flows.3.csv"; "flows.csv.gz" → "flows.3.csv.gz"
function names.numbered(path, number)
  local folder, base = path:match "^(.*/)([^/]*)$"
  folder, base = folder or "", base or path
  local packed, packing = base:match "^(.+)(%.[^.]+)$"
  if not packed or select(2, formats.of_path(base)) == C.NF_PACKING_NONE then packed, packing = base, "" end
  local stem, extension = packed:match "^(.+)(%.[^.]+)$"
  return ("%s%s.%d%s%s"):format(folder, stem or packed, number, extension or "", packing)
end

return names
