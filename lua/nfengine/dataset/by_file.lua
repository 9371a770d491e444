--- Labels by the names of captures, or of the folders that these are in: each capture is a recording of its own, and
-- read on its own, as times in one say nothing about another.
--
--   local captures = by_file.captures(streamer)
--   local accounts = by_file.read(streamer, captures, "folder", plugins, sink)     -- udps.label

local lfs = require "nfengine.lfs"
local nf = require "nfengine"
local sources = require "nfengine.sources"
local text = require "nfengine.text"

local by_file = {}

local FileLabel = nf.plugin {
  name = "file_label",
  options = { label = { "", "what the capture's flows are" } },
  columns = {
    { "label", "string:64", "name of the capture, or of the folder that it is in", is_identifying = false },
  },
  on_init = function(self, _, flow) flow.udps.label = self.label end,
}

--- What a script's option says of labels by files.
by_file.CHOICES = { "no", "file", "folder" }

--- The plugin that gives flows their label, for a streamer that is to have its column.
function by_file.plugin(label) return FileLabel { label = label or "" } end

--- A streamer's captures. Raises a usage error where one is no file.
function by_file.captures(streamer)
  local list = sources.files(streamer.source)
  for _, path in ipairs(list) do
    if lfs.attributes(path, "mode") ~= "file" then
      error({ usage = ("%s: expected a capture file"):format(text.quote(path)) }, 0)
    end
  end
  return list
end

--- What a capture's path says of its flows.
-- @param which "file" or "folder"
function by_file.label_of(path, which)
  if which == "folder" then return path:match "([^/]+)/+[^/]*$" or "." end
  return (path:match("[^/]*$"):gsub("%.gz$", ""):gsub("%.zst$", ""):gsub("(.)%.[^.]*$", "%1"))
end

--- Gives all flows to a sink, capture by capture. Returns the runs' accounts, or nil where somebody has interrupted
-- one.
-- @param plugins list of those that the streamer has besides
function by_file.read(streamer, captures, which, plugins, sink)
  local accounts = {}
  for i, path in ipairs(captures) do
    streamer.source, streamer.udps = path, { by_file.plugin(by_file.label_of(path, which)), unpack(plugins) }
    streamer:to(sink)
    accounts[i] = streamer:account()
    if accounts[i].is_interrupted and not accounts[i].is_live then return nil end
  end
  return accounts
end

return by_file
