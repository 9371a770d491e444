--- Fields that specs give: one that nobody reads is misspelt, and what it should have said would go unsaid.

local text = require "nfengine.text"

local fields = {}

--- A check of tables against a text of names: function(given, level), which returns what it is given, {} for nil.
-- Raises "WHAT: unknown field …" at `level` of the caller.
function fields.checker(what, names)
  local list, known = {}, {}
  for name in names:gmatch "%S+" do list[#list + 1], known[name] = name, true end
  return function(given, level)
    for name in pairs(given or {}) do
      if not known[name] then
        error(("%s: unknown field %s%s"):format(what, text.quote(name), text.suggest(name, list)), level + 1)
      end
    end
    return given or {}
  end
end

return fields
