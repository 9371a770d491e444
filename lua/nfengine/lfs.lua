--- LuaFileSystem.

return require("nfengine.installed").require "lfs"
