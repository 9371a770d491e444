--- LuaJIT's names of its instructions, six characters each. They are in a file of LuaJIT's own: no file of that name in
-- the current folder is meant.

local path, absolute = package.path, {}
for template in path:gmatch "[^;]+" do
  if template:match "^/" then absolute[#absolute + 1] = template end
end
package.path = table.concat(absolute, ";")
local names = require("jit.vmdef").bcnames
package.path = path

return names
