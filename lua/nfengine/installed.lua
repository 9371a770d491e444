--- Modules of other packages, LuaJIT's own among them, as they are installed: no file of that name in the current
-- folder, or a collection, is meant.

local installed = {}

--- The templates of a search path that begin at the root.
function installed.absolute(path)
  local templates = {}
  for template in path:gmatch "[^;]+" do
    if template:match "^/" then templates[#templates + 1] = template end
  end
  return table.concat(templates, ";")
end

-- As the paths are before a collection adds to them.
local path, cpath = installed.absolute(package.path), installed.absolute(package.cpath)

--- require for such a module.
function installed.require(name)
  local usual_path, usual_cpath = package.path, package.cpath
  package.path, package.cpath = path, cpath
  local ok, module = pcall(require, name)
  package.path, package.cpath = usual_path, usual_cpath
  if not ok then error(module, 0) end
  return module
end

return installed
