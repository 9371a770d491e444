--- Shell commands: words as it takes them; what they print and how they end.

local shell = {}

--- A word as the shell takes it literally.
function shell.quote(word) return "'" .. tostring(word):gsub("'", "'\\''") .. "'" end

--- A command line of these words, quoted where that makes a difference.
function shell.line(words)
  local parts = {}
  for i, word in ipairs(words) do parts[i] = word:match "^[%w_%-=.,/:+@%%]+$" and word or shell.quote(word) end
  return table.concat(parts, " ")
end

--- What a file holds.
function shell.contents(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

--- Runs a shell command line; returns { status, out, err }.
function shell.run(command)
  local out, err = os.tmpname(), os.tmpname()
  local raw = os.execute(("{ %s\n} >%s 2>%s"):format(command, out, err))
  -- LuaJIT gives system()'s number: the status in the high byte, or the signal that ended the shell.
  local status = type(raw) ~= "number" and (raw and 0 or 1) or raw >= 256 and math.floor(raw / 256) or 128 + raw
  if raw == 0 then status = 0 end
  local result = { status = status, out = shell.contents(out), err = shell.contents(err) }
  os.remove(out)
  os.remove(err)
  return result
end

return shell
