--- Roles of columns where a model is to learn from records: "feature", "label", "identifier" or "leaky".
--
-- An identifier says which flow it is. A leaky column says when and where it was captured, or who talks: addresses'
-- vendors, absolute times, ports, VLANs, whatever is text, such as the name of a server. Where each label comes from
-- hosts or hours of its own, a model that sees such a column learns the capture by heart and nothing about traffic.
-- What stands beside the label and comes from where it does, another column of the same plugin, or of nDPI's, is leaky,
-- too. All else is a feature: numbers, which no library needs to be told how to read.

local columns = require "nfengine.columns"
local labelling = require "nfengine.dataset.labelling"
local text = require "nfengine.text"

local roles = {}

local IDENTIFIERS = { id = true, src_ip = true, src_mac = true, dst_ip = true, dst_mac = true }
local LEAKY = { "_seen_%l+$", "_oui$", "_port$", "^vlan_id$", "^tunnel_id$", "^system_process_" }

local function is_from_where(column, label)
  if label.owner then return column.owner == label.owner end
  return label.group:match "^l7" and column.group:match "^l7"
end

--- "identifier" or "leaky" for a column that is one of these by its name, else nil.
function roles.of_name(name)
  if IDENTIFIERS[name] then return "identifier" end
  for _, pattern in ipairs(LEAKY) do
    if name:match(pattern) then return "leaky" end
  end
end

local function role_of(column, label, kept)
  if column == label then return "label" end
  if text.contains(kept, column.name) then return "feature" end
  local role = roles.of_name(column.name)
  if role then return role end
  return (is_from_where(column, label) or not columns.is_numeric(column)) and "leaky" or "feature"
end

--- Adds a run's column of that name to a list where it is not yet in it, and returns it.
-- Where there is none, `refuse` says so: a function of the name and those of all.
local function take(list, all, name, refuse)
  local names = {}
  for i, column in ipairs(all) do
    names[i] = column.name
    if column.name == name then
      if not text.contains(list, column) then list[#list + 1] = column end
      return column
    end
  end
  refuse(name, names)
end

local function refuse_column(name, names)
  error(("no column %s in this run%s"):format(text.quote(name), text.suggest(name, names)), 0)
end

local function with(column, fields) return setmetatable(fields, { __index = column }) end

--- Sorts columns, which are left alone, by role.
-- @param selected, all as sinks get them
-- @param label name of the column that is to be learnt
-- @param kept names of those that are features though they would be something else
-- @return lists of columns that have a `role`: `features`, arrays as their elements; `learnt`, these with the label,
--   which is called that, behind them; `others`. Raises one line for a name that is none.
function roles.sort(selected, all, label, kept)
  local list = { unpack(selected) }
  label = take(list, all, label, labelling.refuse_column)
  for _, name in ipairs(kept) do take(list, all, name, refuse_column) end
  local sorted = { features = {}, learnt = {}, others = {} }
  for _, column in ipairs(list) do
    local role = role_of(column, label, kept)
    if role == "feature" then
      for _, element in ipairs(columns.elements(column)) do
        table.insert(sorted.features, with(element, { role = role }))
        sorted.learnt[#sorted.features] = sorted.features[#sorted.features]
      end
    elseif role ~= "label" then
      table.insert(sorted.others, with(column, { role = role }))
    end
  end
  if not sorted.features[1] then error("no column of this run is a feature", 0) end
  table.insert(sorted.learnt, with(label, { name = "label", role = "label" }))
  return sorted
end

return roles
