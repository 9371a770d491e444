--- The terminal that a script writes to, if it does.

local C = require "nfengine.lib"

local terminal = {}

--- Whether standard output is a terminal.
function terminal.is_there() return C.nf_is_terminal(1) end

--- Its columns and lines as they are now; where nobody knows, what $COLUMNS and $LINES say, or 80 and 24.
function terminal.size()
  local lines, columns
  local pipe = io.popen "stty size 2>/dev/null </dev/tty"
  if pipe then
    lines, columns = (pipe:read "*a"):match "^(%d+) (%d+)"
    pipe:close()
  end
  local function known(value, variable, otherwise)
    value = tonumber(value)
    return value and value > 0 and value or tonumber(os.getenv(variable) or "") or otherwise
  end
  return known(columns, "COLUMNS", 80), known(lines, "LINES", 24)
end

return terminal
