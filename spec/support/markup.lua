-- Reads markup that nfengine writes, HTML and SVG alike, strictly: every element closed, every attribute quoted.
--
--   local page = markup.parse(text)
--   for _, element in ipairs(page:all "rect") do print(element.attributes.width) end
--   page:first("title"):text()

local markup = {}

local void = { meta = true, link = true, br = true, hr = true }
local entities = { amp = "&", lt = "<", gt = ">", quot = '"', ["#39"] = "'", ["#10"] = "\n" }

local Element = {}
Element.__index = Element

--- All elements of a name below, in order; all there are without one.
function Element:all(name, found)
  found = found or {}
  for _, child in ipairs(self) do
    if type(child) == "table" then
      if not name or child.name == name then found[#found + 1] = child end
      child:all(name, found)
    end
  end
  return found
end

function Element:first(name) return self:all(name)[1] end

--- The text in it and below.
function Element:text()
  local parts = {}
  for i, child in ipairs(self) do parts[i] = type(child) == "table" and child:text() or child end
  return table.concat(parts)
end

local function decoded(text)
  return (text:gsub("&([^;]*);?", function(name) return entities[name] or error("unknown entity &" .. name) end))
end

local function attributes_of(words)
  local attributes = {}
  local rest = words:gsub('%s+([%w:-]+)="([^"<]*)"', function(name, value)
    assert(not attributes[name], "an attribute twice: " .. name)
    attributes[name] = decoded(value)
    return ""
  end)
  assert(rest:match "^%s*$", "not attributes: " .. rest)
  return attributes
end

--- A tree of elements and texts. Raises where the text is not well-formed.
function markup.parse(text)
  local root = setmetatable({ name = "" }, Element)
  local open, at = { root }, #(text:match "^<!doctype html>" or "") + 1
  while at <= #text do
    local start, stop, closing, name, words, self_closing = text:find("^<(/?)([%w]+)([^<>]-)(/?)>", at)
    local parent = open[#open]
    if start and closing == "/" then
      assert(parent.name == name, ("</%s> closes <%s>"):format(name, parent.name))
      open[#open] = nil
    elseif start then
      local element = setmetatable({ name = name, attributes = attributes_of(words) }, Element)
      parent[#parent + 1] = element
      if self_closing == "" and not void[name] then open[#open + 1] = element end
    else
      local plain = assert(text:match("^[^<]+", at), "not markup: " .. text:sub(at, at + 40))
      parent[#parent + 1] = parent.name == "style" and plain or decoded(plain)
      stop = at + #plain - 1
      assert(parent.name == "style" or not plain:find ">", "a bare >: " .. plain)
    end
    at = stop + 1
  end
  assert(#open == 1, "not closed: " .. open[#open].name)
  return root
end

return markup
