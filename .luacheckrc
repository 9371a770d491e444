std = "luajit"
max_line_length = 120
exclude_files = { "lua/nfengine/cdef.lua" }
ignore = { "212/self" }
files["spec"] = { std = "+busted" }
