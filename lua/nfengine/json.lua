--- lua-cjson.

return require "nfengine.installed" "cjson"
