--- Small text helpers that error messages and help share.

local text = {}

-- Edit distance between two short names (Levenshtein), for "did you mean".
local function distance(a, b)
  local row = {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local diagonal = row[0]
    row[0] = i
    for j = 1, #b do
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      diagonal, row[j] = row[j], math.min(row[j] + 1, row[j - 1] + 1, diagonal + cost)
    end
  end
  return row[#b]
end

--- " (did you mean 'x'?)" for the nearest of `names`, or "" when none is near.
function text.suggest(name, names)
  local word, best, least = tostring(name), nil, nil
  local limit = math.min(math.max(1, math.floor(#word / 3)), #word - 1)
  for _, candidate in ipairs(names) do
    -- As far as they differ in length they differ at least; no time is spent on a word that is like none.
    local d = math.abs(#word - #candidate) <= limit and distance(word, candidate)
    if d and d <= limit and (not least or d < least) then best, least = candidate, d end
  end
  return best and (" (did you mean '%s'?)"):format(best) or ""
end

--- The lines of a text that ends with one.
function text.lines(whole)
  local lines = {}
  for line in whole:gmatch "([^\n]*)\n" do lines[#lines + 1] = line end
  return lines
end

--- Whether a list holds a word.
function text.contains(list, word)
  for _, item in ipairs(list) do
    if item == word then return true end
  end
  return false
end

--- A text as one line that gives no commands to a terminal.
function text.one_line(words) return (words:gsub("[%c\127]", "?")) end

--- A value as error messages quote it.
function text.quote(value)
  local kind = type(value)
  if kind == "string" then return '"' .. text.one_line(value) .. '"' end
  if kind == "number" or kind == "boolean" or kind == "nil" then return tostring(value) end
  local meta = getmetatable(value)
  return type(meta) == "table" and meta.__tostring and tostring(value) or "a " .. kind
end

--- What was raised, as text. Anything can be raised, an object whose __tostring fails, or gives none, among it.
function text.raised(raised)
  local ok, said = pcall(tostring, raised)
  return ok and type(said) == "string" and said or ("a %s that cannot be shown"):format(type(raised))
end

--- Raises one line that tells no place in the code: a format and what belongs in it.
function text.fail(format, ...) error(format:format(...), 0) end

--- Keys of a table, sorted.
function text.sorted_keys(t)
  local keys = {}
  for key in pairs(t) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  return keys
end

--- 1234567 as "1,234,567".
function text.thousands(n)
  local digits = ("%.0f"):format(n)
  local grouped = digits:reverse():gsub("(%d%d%d)", "%1,"):reverse()
  return (grouped:gsub("^,", ""))
end

--- "1 file", "1,234 files".
function text.plural(n, noun) return text.thousands(n) .. " " .. noun .. (n == 1 and "" or "s") end

--- The first of a list of texts, at most so many, and how many more nouns there are: "a, b and 3 columns more".
function text.first(list, most, noun)
  local rest = #list - most
  if rest <= 0 then return table.concat(list, ", ") end
  return ("%s and %s more"):format(table.concat(list, ", ", 1, most), text.plural(rest, noun))
end

--- Wraps words to lines of at most `width` columns, each after `indent`.
function text.wrap(words, indent, width)
  local lines, line = {}, ""
  for word in words:gmatch "%S+" do
    if line ~= "" and #indent + #line + 1 + #word > width then
      lines[#lines + 1] = line
      line = ""
    end
    line = line == "" and word or line .. " " .. word
  end
  lines[#lines + 1] = line
  return table.concat(lines, "\n" .. indent)
end

--- The character that begins at a position of some bytes, and how many of them it has; nil where there is no UTF-8
-- (RFC 3629).
function text.character_at(bytes, at)
  local byte = bytes:byte(at)
  if byte < 0x80 then return byte, 1 end
  local size = byte >= 0xF0 and 4 or byte >= 0xE0 and 3 or byte >= 0xC2 and 2
  if not size or byte > 0xF4 then return nil end
  local code = byte % 2 ^ (7 - size)
  for i = at + 1, at + size - 1 do
    local next_byte = bytes:byte(i)
    if not next_byte or next_byte < 0x80 or next_byte > 0xBF then return nil end
    code = code * 64 + next_byte % 64
  end
  local is_overlong = size == 3 and code < 0x800 or size == 4 and code < 0x10000
  if is_overlong or code > 0x10FFFF or code >= 0xD800 and code <= 0xDFFF then return nil end
  return code, size
end

--- Bytes with question marks in place of those that are no UTF-8.
function text.as_utf8(bytes)
  return (bytes:gsub("[\128-\255]+", function(part)
    local out, at = {}, 1
    while at <= #part do
      local _, size = text.character_at(part, at)
      out[#out + 1] = size and part:sub(at, at + size - 1) or "?"
      at = at + (size or 1)
    end
    return table.concat(out)
  end))
end

return text
