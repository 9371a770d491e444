-- The reference data, which is not part of the project: $NFENGINE_DATA, or ../shared/data. Specs that need it are
-- pending where it is absent, with data.absent as the reason.

local program = require "spec.support.program"

local data = {}

data.folder = os.getenv "NFENGINE_DATA" or "../shared/data"
data.absent = "no reference data at " .. data.folder

--- Whether specs that take only some captures, for their time, are to take all of them.
data.is_every = os.getenv "NFENGINE_EVERY_CAPTURE" == "1"

--- Paths of captures: every nth of them, or all of them; none where the data is absent. `folders` are all three, or
-- those named.
function data.captures(step, folders)
  local every = program.lines(("cd %s 2>/dev/null && find %s -type f ! -name '*.tsv' ! -name '*.md' | sort")
    :format(program.quote(data.folder), folders or "captures edge hostile"))
  local some = {}
  for i = 1, #every, data.is_every and 1 or step do some[#some + 1] = data.folder .. "/" .. every[i] end
  return some
end

return data
