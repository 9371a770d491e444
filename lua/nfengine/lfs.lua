--- LuaFileSystem. It is a C module: no file of that name in the current folder is meant.

local path = package.path
package.path = ""
local lfs = require "lfs"
package.path = path

return lfs
