--- lua-cjson. It is a C module: no file of that name in the current folder is meant.

local path = package.path
package.path = ""
local cjson = require "cjson"
package.path = path

return cjson
