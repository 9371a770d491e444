-- Programs at a terminal of their own, and what a person sees there.
--
--   local text = terminal.run("nfengine top a.pcap")         --> all that it wrote
--   local lines = terminal.screen(text)                      --> what stands there at the end
--   local run, text = terminal.start(net.b, "nfengine ...")  -- in a namespace, in the background, as live.spawn does
--   text()                                                   --> what it has written so far
--   terminal.interrupt(run)                                  -- Ctrl-C, and waits for its end

local live = require "spec.support.live"
local program = require "spec.support.program"

local terminal = {}

-- The terminal's shell gives way to the program, whichever shell it is, so that the child of script is the program.
local function command_line(command, path)
  return ("env TERM=xterm LINES=24 COLUMNS=80 SHELL=/bin/sh script -qefc %s %s")
    :format(program.quote("exec " .. command), path)
end

local function written(path)
  return ((program.read(path) or ""):gsub("^Script started[^\n]*\n", ""):gsub("\nScript done.*$", ""))
end

--- Runs a command, which has to be one program and to succeed; what it writes.
function terminal.run(command)
  local path = program.temporary ".typescript"
  local result = program.shell("setsid " .. command_line(command, path) .. " </dev/null")
  assert(result.status == 0, result.err)
  return written(path)
end

--- Starts a command, which has to be one program, in a namespace.
-- @return the process, and a function that gives what it has written so far
function terminal.start(namespace, command)
  local path = program.temporary ".typescript"
  return live.spawn(namespace, command_line(command, path)), function() return written(path) end
end

--- Interrupts a program that terminal.start has started, and waits for its end; its exit status.
function terminal.interrupt(run)
  assert(os.execute(("kill -INT $(pgrep -P %d)"):format(run.pid)) == 0)
  return run:finish().status
end

--- What a terminal shows of a text, as a list of lines: it knows the commands that scripts/top.lua uses, and no others.
function terminal.screen(text)
  local lines, line, column = { "" }, 1, 0
  local at = 1
  local function cut() lines[line] = lines[line]:sub(1, column) end
  while at <= #text do
    local count, command = text:match("^\27%[(%d*)(%a)", at)
    local plain = text:match("^[\32-\126]+", at)
    if command == "F" then line, column = line - tonumber(count), 0
    elseif command == "K" then cut()
    elseif command == "J" then
      cut()
      for i = #lines, line + 1, -1 do lines[i] = nil end
    elseif text:sub(at, at) == "\r" then column = 0
    elseif text:sub(at, at) == "\n" then line, lines[line + 1] = line + 1, lines[line + 1] or ""
    else
      assert(plain, "what a terminal may take for anything: " .. text:sub(at, at + 9):gsub("%c", "?"))
      lines[line] = lines[line] .. (" "):rep(column - #lines[line])
      lines[line] = lines[line]:sub(1, column) .. plain .. lines[line]:sub(column + #plain + 1)
      column = column + #plain
    end
    assert(line >= 1, "above what was drawn")
    at = at + (command and #count + 3 or plain and #plain or 1)
  end
  return lines
end

return terminal
