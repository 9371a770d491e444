--- lua-cjson.

return require("nfengine.installed").require "cjson"
