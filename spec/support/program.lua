-- Runs the program as a user would, and gives back what it printed.
--
--   local result = program.run("flows", "--columns=id", "samples/dns.pcap")
--   result.status, result.out, result.err
--
-- The program is ./nfengine, or the one that $NFENGINE names (a sanitizer build, say).

local lfs = require "nfengine.lfs"
local shell = require "nfengine.shell"

local program = {}

program.path = os.getenv "NFENGINE" or "./nfengine"

--- A path that holds in other folders, too.
function program.absolute(path) return path:match "^/" and path or lfs.currentdir() .. "/" .. path end

local quote = shell.quote
program.quote = quote

--- Contents of a file, or nil.
function program.read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read "*a"
  file:close()
  return text
end

--- Names of what a folder holds, sorted and parted by blanks.
function program.names_in(folder)
  local names = {}
  for name in lfs.dir(folder) do
    if not name:match "^%.+$" then names[#names + 1] = name end
  end
  table.sort(names)
  return table.concat(names, " ")
end

--- Writes a file and returns its path; without a path, to a new temporary one with that ending.
function program.write(text, path_or_ending)
  local path = path_or_ending
  if not path or path:match "^%." then path = program.temporary(path) end
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  return path
end

local temporaries = {}

--- A new name in the temporary folder; remove_temporaries deletes what was written there, and a manifest beside it.
function program.temporary(ending)
  local path = os.tmpname()
  os.remove(path)
  path = path .. (ending or "")
  temporaries[#temporaries + 1] = path
  return path
end

function program.remove_temporaries()
  for _, path in ipairs(temporaries) do
    os.remove(path)
    os.remove(path .. ".manifest.json")
  end
  temporaries = {}
end

--- Runs a shell command line; returns { status, out, err }.
program.shell = shell.run

--- Lines that a shell command line writes to standard output, empty ones left out.
function program.lines(command)
  local lines = {}
  for line in program.shell(command).out:gmatch "[^\n]+" do lines[#lines + 1] = line end
  return lines
end

--- Runs a shell command line whose standard input is what `producer` writes and is then silent, for half a minute at
-- most.
function program.fed(producer, command)
  return program.shell(([[fifo=$(mktemp -u); mkfifo $fifo
    { %s; exec sleep 30; } >$fifo & producer=$!
    %s <$fifo; status=$?
    kill $producer; rm $fifo; exit $status]]):format(producer, command))
end

--- Runs the program with these words.
function program.run(...)
  local words = { quote(program.path) }
  for i = 1, select("#", ...) do words[#words + 1] = quote((select(i, ...))) end
  return program.shell(table.concat(words, " "))
end

return program
