--- The terminal that a script writes to, if it does.

local ffi = require "ffi"
local C = require "nfengine.lib"

local terminal = {}

--- Whether standard output is a terminal.
function terminal.is_there() return C.nf_is_terminal(1) end

--- Its columns and lines as they are now; where nobody knows, what $COLUMNS and $LINES say, or 80 and 24.
function terminal.size()
  local columns, lines = ffi.new "int[1]", ffi.new "int[1]"
  C.nf_terminal_size(1, columns, lines)
  local function known(value, variable, otherwise)
    return value > 0 and value or tonumber(os.getenv(variable) or "") or otherwise
  end
  return known(columns[0], "COLUMNS", 80), known(lines[0], "LINES", 24)
end

return terminal
