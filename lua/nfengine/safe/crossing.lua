--- The two ways across the wall of the closed world: the engine calls code of others, and they call the engine.
--
-- What is lent with a call is lent no more once the wall is crossed the next time, either way: also what an error has
-- left behind leads nowhere.

local ffi = require "ffi"
local C = require "nfengine.lib"
local standins = require "nfengine.safe.standins"

local lent, source_of = standins.lent, standins.source_of

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

-- Whether code of others runs now, and not the engine. Set once the watch looks, never before.
local is_inside = false

-- Whose script it is that runs, as the watch has it; nil where that came along. The watch stays on it while the engine
-- works for it, which tells the watch itself that it goes on: to set `watch.inside` is a call, which fails where the
-- stack is full, and a script that nobody watches could be left behind.
local script

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
    local could_drive, is_within, caller = may_drive, is_inside, script
    if not is_within then watch.inside, watch.calls = whose, watch.calls + 1 end
    lent.packet, lent.flow, may_drive, is_inside = false, false, is_script, true
    if is_script then script = whose end
    local result, problem = func(first, second, third, fourth)
    script, may_drive = caller, could_drive
    if not is_within then watch.inside, is_inside = script, false end
    return result, problem
  end
end

--- The same for one that is lent a flow, and a packet where there is one.
-- @return function of the stand-in that the flow is lent to, the packet, the flow, and the arguments
function crossing.lending(func, name)
  local whose = shown(name)
  return function(standin, packet, flow, first, second, third)
    local could_drive = may_drive
    watch.inside, watch.calls = whose, watch.calls + 1
    lent.packet, lent.flow, lent.holder, may_drive, is_inside = packet, flow, source_of(standin), false, true
    local result, problem = func(first, second, third)
    may_drive = could_drive
    watch.inside, is_inside = script, false
    return result, problem
  end
end

--- Calls the engine for code of others, to declare or look something up. What is lent stays so, and their time goes on.
-- @return one result
function crossing.out(func, ...)
  local packet, flow, holder, could_drive = lent.packet, lent.flow, lent.holder, may_drive
  local ok, result = pcall(func, ...)
  lent.packet, lent.flow, lent.holder, may_drive = packet, flow, holder, could_drive
  if not ok then error(result, 0) end
  return result
end

--- Calls the engine for a script, to go through captures. Nothing is called between the engine's return and the end of
-- what it has lent: where the stack is full, a call would fail.
-- @return one result
function crossing.drive(func, ...)
  if not may_drive then error("nf.streamer: --safe: captures are there for scripts, not for what a run calls", 0) end
  local whose = script
  is_inside = false
  local ok, result = pcall(func, ...)
  lent.packet, lent.flow, may_drive, is_inside, script = false, false, true, true, whose
  watch.inside, watch.calls = whose, watch.calls + 1
  if not ok then error(result, 0) end
  return result
end

return crossing
