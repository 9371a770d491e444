--- SHA-256 of files, hexadecimal: of single ones now, and of many by a thread of its own while a run reads them.
--
--   local inputs = digests.start { "a.pcap", "b.pcap" }
--   … a run …
--   local sha256, bytes = inputs:of "b.pcap"

local ffi = require "ffi"
local C = require "nfengine.lib"
local hash = require "nfengine.hash"
local lfs = require "nfengine.lfs"

local digests = {}
digests.__index = digests

local function is_file(path) return lfs.attributes(path, "mode") == "file" end

--- A file's digest and its size; nil for what is no regular file or cannot be read.
-- @param file the same file, if it is open already
function digests.of_file(path, file)
  if not file and not is_file(path) then return nil end
  local digest, size = hash.sha256_file(path, file)
  if digest then return hash.hex(digest), size end
end

--- Begins with these files, one after another. Where no thread is to be had they are read when they are asked for.
function digests.start(paths)
  local self, list = { places = {} }, ffi.new("const char *[?]", #paths + 1)
  for i, path in ipairs(paths) do list[i - 1], self.places[path] = path, self.places[path] or i - 1 end
  local handle = #paths > 0 and C.nf_digests_start(list, #paths, nil) or nil
  if handle ~= nil then self.handle = ffi.gc(handle, C.nf_digests_free) end
  return setmetatable(self, digests)
end

local digest, size = ffi.new "uint8_t[32]", ffi.new "uint64_t[1]"

--- The digest of a file and its size, which is waited for. nil for what is no regular file or cannot be read, and for
-- what was not done when the run was interrupted.
function digests:of(path)
  if not self.handle or not self.places[path] then return digests.of_file(path) end
  if not C.nf_digests_wait(self.handle, self.places[path], digest, size) then return nil end
  return hash.hex(ffi.string(digest, 32)), tonumber(size[0])
end

--- Leaves off what is not done.
function digests:stop()
  if self.handle then C.nf_digests_free(ffi.gc(self.handle, nil)) end
  self.handle, self.places = nil, {}
end

return digests
