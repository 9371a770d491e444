--- JSON for people: objects whose members keep their order, on lines that are not too long.
--
--   pretty.encode(pretty.object { { "name", "a.csv" }, { "records", 7 }, { "note", nil } })
--   --> {"name": "a.csv", "records": 7}

local text = require "nfengine.text"

local pretty = {}

local object = {}

--- An object with its members in this order: { { name, value }, … }. Those without a value are left out.
function pretty.object(members) return setmetatable(members, object) end

--- An object of a table's fields, by name. Any other table is a list.
function pretty.map(fields)
  local members = {}
  for _, name in ipairs(text.sorted_keys(fields)) do members[#members + 1] = { name, fields[name] } end
  return pretty.object(members)
end

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function escape(character) return ESCAPES[character] or ("\\u%04x"):format(character:byte()) end

-- Not by lua-cjson, which ends the process where it gets no memory: records may be written by then, not yet told of.
local function scalar(value)
  -- What is no UTF-8, which file names need not be, becomes U+FFFD.
  if type(value) == "string" then return '"' .. text.utf8(value):gsub('[%c"\\]', escape) .. '"' end
  if type(value) ~= "number" then return tostring(value) end
  if value - value ~= 0 then return "null" end -- no number of JSON's: infinite, or none
  return (value == math.floor(value) and "%.0f" or "%.14g"):format(value)
end

local WIDTH = 120

-- A value on one line where it fits, else with a line for each of its parts. In a list, what has no parts of parts is
-- on one line however long, so that long lists can be searched and compared by line.
local function encode(value, indent, is_in_list)
  if type(value) ~= "table" then return scalar(value) end
  local is_object, parts, is_flat, deeper = getmetatable(value) == object, {}, true, indent .. "  "
  for _, part in ipairs(value) do
    local name, inner = "", part
    if is_object then name, inner = scalar(part[1]) .. ": ", part[2] end
    if inner ~= nil then
      parts[#parts + 1] = name .. encode(inner, deeper, not is_object)
      is_flat = is_flat and type(inner) ~= "table"
    end
  end
  local open, close = is_object and "{" or "[", is_object and "}" or "]"
  local line = open .. table.concat(parts, ", ") .. close
  if is_in_list and is_flat or #indent + #line <= WIDTH and not line:find "\n" then return line end
  return ("%s\n%s%s\n%s%s"):format(open, deeper, table.concat(parts, ",\n" .. deeper), indent, close)
end

--- A value as JSON.
function pretty.encode(value) return encode(value, "") .. "\n" end

return pretty
