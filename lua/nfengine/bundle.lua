--- Bundles: files in one folder that come to be all together, or not at all.
--
--   local files = bundle.new("out", { "train.csv", "test.csv", "manifest.json" })
--   local train = files:table("train.csv", columns, crew)       -- in a sink's open
--   … train:write(flow) …
--   files:close()                  -- tables are whole
--   … write files:path "manifest.json" …
--   files:finish()                 -- or files:abandon()
--
-- Until it is finished each has ".part" behind its name. The last one named is the last to get its own, so that a
-- folder which has it is whole.

local lfs = require "nfengine.lfs"
local output = require "nfengine.output"
local placed = require("nfengine.output.names").placed
local text = require "nfengine.text"

local bundle = {}
bundle.__index = bundle

--- Prepares a folder, which is made if need be. Raises one line where that cannot be done, or where one of the files is
-- there already.
function bundle.new(folder, names)
  folder = placed(folder)
  local self = { folder = folder:gsub("(.)/+$", "%1") .. "/", names = names, used = {}, tables = {}, finished = {} }
  local mode = lfs.attributes(folder, "mode")
  if mode and mode ~= "directory" then
    error(("%s: a %s, expected a folder to write"):format(text.quote(folder), mode), 0)
  end
  if not mode then
    local made, message = lfs.mkdir(self.folder)
    if not made then error(("%s: %s, expected a folder to write"):format(text.quote(folder), message), 0) end
    self.is_ours = true
  end
  for _, name in ipairs(names) do
    if lfs.attributes(self.folder .. name) then
      error(("%s: has %s already, expected another folder"):format(text.quote(folder), name), 0)
    end
  end
  return setmetatable(self, bundle)
end

--- What the folder is called.
function bundle:name() return self.folder:match "([^/]*)/$" end

--- Where to write one of the files. Those that nobody asks for need not come to be.
function bundle:path(name)
  self.used[name] = true
  return self.folder .. name .. ".part"
end

--- Opens one of the files as a table of records, CSV, with these columns: some of a sink's, or copies with other names.
-- Returns an object with `write(flow)`, as of a sink.
function bundle:table(name, columns, crew)
  local made = output.table(self:path(name))
  local opened, message = made:open(columns, crew)
  if not opened then error(message, 0) end
  self.tables[#self.tables + 1] = made
  return made
end

local function close_tables(self)
  local failure
  for _, each in ipairs(self.tables) do
    local closed, message = each:close()
    failure = failure or not closed and message or nil
  end
  self.tables = {}
  return failure
end

--- Closes the tables. Raises what kept one from being written.
function bundle:close()
  local failure = close_tables(self)
  if failure then error(failure, 0) end
end

--- All has been written: gives the files their names. Raises what fails.
function bundle:finish()
  for _, name in ipairs(self.names) do
    local renamed, message = true, nil
    if self.used[name] then renamed, message = os.rename(self:path(name), self.folder .. name) end
    if not renamed then error(message, 0) end
    self.finished[#self.finished + 1] = self.folder .. name
  end
end

--- Leaves nothing behind.
function bundle:abandon()
  close_tables(self)
  for _, name in ipairs(self.names) do os.remove(self:path(name)) end
  for _, path in ipairs(self.finished) do os.remove(path) end
  if self.is_ours then lfs.rmdir(self.folder) end
end

return bundle
