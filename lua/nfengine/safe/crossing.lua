--- The two ways across the wall of the closed world: the engine calls code of others, and they call the engine.
--
-- What is lent with a call is lent no more once the wall is crossed the next time, either way: also what an error has
-- left behind leads nowhere.

local ffi = require "ffi"
local C = require "nfengine.lib"
local lent = require("nfengine.safe.standins").lent

local crossing = {}

local watch = ffi.new "struct nf_watch" -- the process's own, once that is started

--- Bounds what code of others may take from now on, see nf_limit_memory and nf_watch_start. Raises one line.
function crossing.set_limits(bytes, seconds)
  local message = ffi.new("char[?]", C.NF_ERROR_SIZE)
  if C.nf_limit_memory(bytes, message) ~= C.NF_OK then error("--safe: " .. ffi.string(message), 0) end
  watch = C.nf_watch_start(seconds, message)
  if watch == nil then error("--safe: " .. ffi.string(message), 0) end
end

local names = {} -- texts that the watch may show, as C has them: they have to stay

local function shown(name)
  name = name:gsub("[%c\127]", "?")
  names[name] = names[name] or ffi.new("char[?]", #name + 1, name)
  return names[name]
end

-- Whether code of others that runs now may go through captures. What a run calls may not: it would drive that run, or
-- another one, from within.
local may_drive = false

--- A function that calls one of others. Within another such call, as when they declare what takes a function to say, it
-- is part of that one: its time counts there.
-- @param name whose it is, as messages have it
-- @param is_script whether it is a script, which may go through captures
function crossing.into(func, name, is_script)
  local whose = shown(name)
  return function(first, second, third, fourth)
    local could_drive, is_within = may_drive, watch.inside ~= nil
    lent.packet, lent.flow, may_drive = false, false, is_script
    if not is_within then watch.inside, watch.calls = whose, watch.calls + 1 end
    local result, problem = func(first, second, third, fourth)
    if not is_within then watch.inside = nil end
    may_drive = could_drive
    return result, problem
  end
end

--- The same for one that is lent a flow, and a packet where there is one. It is called with the other arguments.
function crossing.lending(func, name)
  local whose = shown(name)
  return function(packet, flow, first, second, third)
    local could_drive = may_drive
    lent.packet, lent.flow = packet, flow
    watch.inside, watch.calls, may_drive = whose, watch.calls + 1, false
    local result, problem = func(first, second, third)
    watch.inside, may_drive = nil, could_drive
    return result, problem
  end
end

--- Calls the engine for code of others, to declare or look something up. What is lent stays so, and their time goes on.
-- @return one result
function crossing.out(func, ...)
  local packet, flow, could_drive = lent.packet, lent.flow, may_drive
  local ok, result = pcall(func, ...)
  lent.packet, lent.flow, may_drive = packet, flow, could_drive
  if not ok then error(result, 0) end
  return result
end

--- Calls the engine for a script, to go through captures. Nothing is called between the engine's return and the end of
-- what it has lent: where the stack is full, a call would fail.
-- @return one result
function crossing.drive(func, ...)
  if not may_drive then error("nf.streamer: --safe: captures are there for scripts, not for what a run calls", 0) end
  local inside = watch.inside
  watch.inside = nil
  local ok, result = pcall(func, ...)
  lent.packet, lent.flow, may_drive = false, false, true
  watch.inside, watch.calls = inside, watch.calls + 1
  if not ok then error(result, 0) end
  return result
end

return crossing
