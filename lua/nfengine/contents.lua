--- Contents of whole files, read and written at once.

local contents = {}

--- A file's content; nil and why where it cannot be read.
function contents.read(path)
  local file, message = io.open(path, "rb")
  if not file then return nil, message end
  local content, problem = file:read "*a"
  file:close()
  if not content then return nil, ("%s: %s"):format(path, problem) end
  return content
end

--- Makes a file, or makes it anew. Raises one line where not all of it could be written.
function contents.write(path, content)
  local file, message = io.open(path, "wb")
  if not file then error(message, 0) end
  local ok, problem = file:write(content)
  local closed, late_problem = file:close()
  if not (ok and closed) then error(("%s: %s"):format(path, problem or late_problem), 0) end
end

return contents
