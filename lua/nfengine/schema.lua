--- The schema of a run's records, printed in place of the run: no source is opened, no packet read.

local manifest = require "nfengine.manifest"
local plugin = require "nfengine.plugin"
local pretty = require "nfengine.pretty"
local privacy = require "nfengine.privacy"
local script = require "nfengine.script"
local shape = require "nfengine.shape"

local schema = {}

--- The columns of a run, as JSON: see manifest.schema. Raises one line where a parameter or plugin is wrong.
function schema.text(resolved)
  resolved.source = resolved.source or "-"
  if not shape.is_live(resolved) then resolved.system_visibility_mode = 0 end
  local made = shape.of(resolved, plugin.instances(resolved.udps), false)
  return pretty.encode(manifest.schema(privacy.columns(resolved, made)))
end

--- Prints it, and leaves the script.
function schema.print(resolved)
  io.write(schema.text(resolved))
  error(script.done, 0)
end

return schema
