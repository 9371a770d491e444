--- LuaJIT's names of its instructions, six characters each.

return require("nfengine.installed").require "jit.vmdef".bcnames
