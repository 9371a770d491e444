--- The sandbox (core/sandbox.c): when the process enters it, and with what it leaves there.
--
-- With --sandbox it does so before a script or plugin is read, and opens no more than what was opened by then. Where
-- interfaces are still to be opened, or another user is to be become, it does so twice: the start of the run takes that
-- as well. With --user it does so when the run starts, and keeps the right to write files, as that user may.

local bit = require "bit"
local ffi = require "ffi"
local C = require "nfengine.lib"
local formats = require "nfengine.formats"
local names = require "nfengine.output.names"
local output = require "nfengine.output"
local text = require "nfengine.text"

local sandbox = {}

local option -- that asks for a sandbox
local kept   -- what the start of a run leaves besides its own needs, bits of enum nf_privilege; nil: it takes nothing

--- Returns a failure, or nil.
local function enter(keep)
  local message = ffi.new("char[?]", C.NF_ERROR_SIZE)
  if C.nf_sandbox_enter(keep, message) == C.NF_OK then return nil end
  return ("%s: %s"):format(option, ffi.string(message)) .. (option == "--user" and ", or --no-sandbox" or "")
end

local opened = {} -- files to be written that the command line names, by their paths

local function open(path, what)
  local file, message = io.open(path, "a")
  if not file then error(("%s: %s, expected a file to write"):format(what, message), 0) end
  opened[path] = file
end

--- Takes a file that was opened, to be written at its end, before this was refused; nil where there is none.
function sandbox.take(path)
  local file = opened[path]
  opened[path] = nil
  return file
end

--- Why no database can be written now, or nil: it opens files beside its own as it goes.
function sandbox.database_refusal(path)
  if option ~= "--sandbox" then return nil end
  return ("cannot write %s: databases open files as they go, expected another format, or no --sandbox")
    :format(text.quote(path))
end

--- What the command line's options ask for before anything is run. Raises one line.
-- @param values of the options sandbox, user, interface, output and performance_report_file
function sandbox.prepare(values)
  if values.sandbox == false then return end
  option = values.sandbox and "--sandbox" or values.user and "--user"
  if option == "--user" then kept = C.NF_PRIVILEGE_FILES end
  if option ~= "--sandbox" then return end
  if names.collector(values.output) then
    error({ usage = ("-o %s: --sandbox refuses the network, expected a file"):format(values.output) }, 0)
  end
  if values.output and values.output ~= "-" and not names.scheme(values.output) then
    local is_database = formats.product(values.format or formats.of_path(values.output))
    if is_database then error(sandbox.database_refusal(values.output), 0) end
    output.reserve(values.output, values.manifest and values.format ~= "null")
  end
  if values.performance_report_file then open(values.performance_report_file, "performance_report_file") end
  local keep = 0
  if values.interface then keep = bit.bor(C.NF_PRIVILEGE_CAPTURE, C.NF_PRIVILEGE_PROCESSES) end
  if values.interface or values.user then
    keep, kept = bit.bor(keep, C.NF_PRIVILEGE_IDENTITY), 0
  end
  local failure = enter(keep)
  if failure then error(failure, 0) end
end

--- A run starts that needs some privileges. Returns a failure, or nil.
function sandbox.narrow(needs)
  if not kept then return nil end
  local keep = bit.bor(needs, kept)
  kept = nil
  return enter(keep)
end

return sandbox
