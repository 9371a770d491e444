--- LuaFileSystem.

return require "nfengine.installed" "lfs"
