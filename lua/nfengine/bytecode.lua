--- LuaJIT's names of its instructions, six characters each.

return require "nfengine.installed" "jit.vmdef".bcnames
