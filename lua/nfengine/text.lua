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

--- A text as one line that gives no commands to a terminal: control characters, of Unicode's second set, too, become
-- question marks.
function text.one_line(words) return (words:gsub("[%c\127]", "?"):gsub("\194[\128-\159]", "?")) end

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

-- How many bytes a character has that begins with this one; 0 where none does.
local function size_by(lead)
  if lead < 0x80 then return 1 end
  if lead < 0xC2 or lead > 0xF4 then return 0 end
  return lead < 0xE0 and 2 or lead < 0xF0 and 3 or 4
end

-- How many bytes from a position are, or could begin, one character, and whether they are one. The second byte's range
-- keeps out overlong forms, surrogates and what lies beyond U+10FFFF (RFC 3629, 4), as in core/format.c.
local function piece_at(bytes, at)
  local lead, found = bytes:byte(at), 1
  local size = size_by(lead)
  local low = lead == 0xE0 and 0xA0 or lead == 0xF0 and 0x90 or 0x80
  local high = lead == 0xED and 0x9F or lead == 0xF4 and 0x8F or 0xBF
  while found < size do
    local byte = bytes:byte(at + found)
    if not byte or byte < low or byte > high then break end
    low, high, found = 0x80, 0xBF, found + 1
  end
  return found, found == size
end

--- The character that begins at a position of some bytes, and how many of them it has; nil where there is no UTF-8
-- (RFC 3629).
function text.character_at(bytes, at)
  local size, is_whole = piece_at(bytes, at)
  if not is_whole then return nil end
  local code = bytes:byte(at) % 2 ^ (size == 1 and 7 or 7 - size)
  for i = at + 1, at + size - 1 do code = code * 64 + bytes:byte(i) % 64 end
  return code, size
end

--- Some bytes as valid UTF-8, as files of records show them: U+FFFD stands for each longest piece that could have begun
-- a character (Unicode, "maximal subpart").
function text.utf8(bytes)
  if not bytes:find "[\128-\255]" then return bytes end
  local parts, at = {}, 1
  while at <= #bytes do
    local size, is_whole = piece_at(bytes, at)
    parts[#parts + 1] = is_whole and bytes:sub(at, at + size - 1) or "\239\191\189"
    at = at + size
  end
  return table.concat(parts)
end

return text
