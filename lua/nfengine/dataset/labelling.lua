--- What flows are, as the command line says it: by rules, by the name of their capture, or by any other column. What
-- the scripts that make datasets, train and evaluate have in common.
--
--   local options = nf.options(labelling.options { write = { "", "folder" } })
--   local labels = labelling.new(options)
--   local streamer = nf.streamer { n_dissections = labels.n_dissections, udps = labels:plugins() }
--   local accounts = labels:read(streamer, sink)

local collection = require "nfengine.collection"
local lfs = require "nfengine.lfs"
local nf = require "nfengine"
local sources = require "nfengine.sources"
local text = require "nfengine.text"

local labelling = {}
labelling.__index = labelling

local DEFAULT = "udps.label"

-- Bytes of a class's name: what a column that tells it has room for, udps.label as well as plugin model's model_class.
local LONGEST = 64

--- Declarations of the options, added to a script's own.
-- @param may_lack whether the script goes on without labels: then `column` is nil where none are asked for
function labelling.options(own, may_lack)
  own.label = { may_lack and "" or DEFAULT, "column with what flows are" }
  own.label_rules = { "", "rules that say what flows are, for the plugin label", is_file = true }
  own.label_by_file = { "no", "label flows by the name of their capture, or of the folder that it is in",
    choices = { "no", "file", "folder" } }
  own.apart = { false, "read each capture by itself, as a recording whose times say nothing about the others'" }
  return own
end

local FileLabel = nf.plugin {
  name = "file_label",
  options = { label = { "", "what the capture's flows are" } },
  columns = {
    { "label", "string:" .. LONGEST, "name of the capture, or of the folder that it is in", is_identifying = false },
  },
  on_init = function(self, _, flow) flow.udps.label = self.label end,
}

--- What a capture's path says of its flows.
local function label_of(path, by)
  if by == "folder" then return path:match "([^/]+)/+[^/]*$" or "." end
  return (path:match("[^/]*$"):gsub("%.gz$", ""):gsub("%.zst$", ""):gsub("(.)%.[^.]*$", "%1"))
end

--- Takes the options' values. Raises a usage error where they contradict each other.
-- @param options values of labelling.options
-- @param others instances of further plugins for all runs, behind the one that labels; none if left out
-- @return an object: `column`, the label's name, nil for none; `is_apart`, whether captures are recordings of their
--   own; `n_dissections`, packets that nDPI is to see where the command line does not say: it takes most of the time,
--   and is needed where it gives the label
function labelling.new(options, others)
  local is_by_file = options.label_by_file ~= "no"
  local column = options.label ~= "" and options.label or nil
  if is_by_file and (options.label_rules ~= "" or column and column ~= DEFAULT) then
    error({ usage = "--label-by-file: expected neither --label nor --label-rules with it" }, 0)
  end
  if options.label_rules ~= "" and column and not column:find "^udps%." then
    error({ usage = ("--label=%s: --label-rules gives %s, expected one of them"):format(column, DEFAULT) }, 0)
  end
  if is_by_file or options.label_rules ~= "" then column = column or DEFAULT end
  return setmetatable({
    column = column, rules = options.label_rules, by = options.label_by_file, is_by_file = is_by_file,
    is_apart = is_by_file or options.apart,
    others = others or {}, n_dissections = options.label:match "^application_" and 20 or 0,
  }, labelling)
end

--- Raises one line for a label's column that a run does not have.
-- @param names of those that it has
function labelling.refuse_column(name, names)
  local hint = name == DEFAULT and ", expected --label, --label-rules or --label-by-file" or text.suggest(name, names)
  error(("no column %s in this run%s"):format(text.quote(name), hint), 0)
end

--- What a column that is no number is instead, for one line.
function labelling.kind_of(column) return column.is_array and "an array" or column.type end

--- A flow's label as the name of a class, in UTF-8 as manifests have it, so that a class is called the same where it is
-- learnt and where it is compared; nil where there is none. Raises one line where model_class could not tell it.
function labelling.class_of(flow, column)
  local label = flow[column]
  if label == "" then return nil end
  local class = text.utf8(tostring(label))
  if #class > LONGEST then
    error(("label %s has %d bytes, expected %d at most"):format(text.quote(class), #class, LONGEST), 0)
  end
  return class
end

--- A flow's label as a number, of a bool 0 or 1. Raises one line where it is none, or not finite.
-- @param column name of one that is numeric, see nfengine.columns
function labelling.number_of(flow, column)
  local label = flow[column]
  if type(label) == "boolean" then label = label and 1 or 0 end
  local number = tonumber(label)
  if number and number - number == 0 then return number end
  error(("label %s is %s, expected a finite number"):format(text.quote(column), tostring(label)), 0)
end

--- The plugins of a run: the one that labels, if there is one, and the others.
-- @param path of the run's capture, where each is labelled by its name
function labelling:plugins(path)
  local list = {}
  if self.is_by_file then list[1] = FileLabel { label = path and label_of(path, self.by) or "" }
  elseif self.rules ~= "" then list[1] = collection.load_own "label" { rules = self.rules } end
  for _, instance in ipairs(self.others) do list[#list + 1] = instance end
  return list
end

--- Refuses captures whose labels only differ in what their column has no room for.
local function refuse_alike(captures, by)
  local labels = {}
  for _, path in ipairs(captures) do
    local label = label_of(path, by)
    local cut = label:sub(1, LONGEST)
    local before = labels[cut] or label
    if before ~= label then
      error({ usage = ("--label-by-file=%s: %s and %s are the same in their first %d bytes, expected names that differ "
        .. "there"):format(by, text.quote(before), text.quote(label), LONGEST) }, 0)
    end
    labels[cut] = label
  end
end

--- The captures that are recordings of their own, so that each is read by itself: all of them, or none. Raises a usage
-- error where their names would label different ones alike.
function labelling:recordings(streamer)
  if not self.captures then
    self.captures = self.is_apart and sources.files(streamer.source) or {}
    if self.is_by_file then refuse_alike(self.captures, self.by) end
  end
  return self.captures
end

--- Raises a usage error where something to be read is no file, and so could not be read by itself, or twice.
function labelling.check_files(streamer)
  for _, path in ipairs(sources.files(streamer.source or {})) do
    if lfs.attributes(path, "mode") ~= "file" then
      error({ usage = ("%s: expected a capture file"):format(text.quote(path)) }, 0)
    end
  end
end

--- Gives all flows to a sink: recordings one after another, whose number the sink is told as its field `recording`.
-- @return the runs' accounts, or nil where somebody has interrupted one
function labelling:read(streamer, sink)
  local accounts, recordings = {}, self:recordings(streamer)
  for i = 1, math.max(#recordings, 1) do
    if recordings[i] then streamer.source, streamer.udps = recordings[i], self:plugins(recordings[i]) end
    sink.recording = i
    streamer:to(sink)
    accounts[i] = streamer:account()
    if accounts[i].is_interrupted and not accounts[i].is_live then return nil end
  end
  return accounts
end

return labelling
