--- What each plugin costs, hook by hook: wall time measured around every call, for --profile-plugins.
--
-- Looking at the clock takes time itself, a part of which falls into what is measured; so much is taken off each call
-- that it took to measure nothing. What hooks cost inside one compiled trace with others may be less than the sum here.

local ffi = require "ffi"
local C = require "nfengine.lib"

local costs = {
  is_wanted = false, -- --profile-plugins
}

local hook_cost = ffi.typeof "struct { double seconds, calls; }"

--- Hooks by what they are counted by.
local PER_PACKET, PER_FLOW = { "on_init", "on_update" }, { "on_expire", "on_record" }

--- Accounts for a run's plugins: by position and hook, { seconds, calls }, to be added to.
function costs.new(count)
  local accounts = {}
  for number = 1, count do
    accounts[number] = {}
    for _, hooks in ipairs { PER_PACKET, PER_FLOW } do
      for _, hook in ipairs(hooks) do accounts[number][hook] = hook_cost() end
    end
  end
  return accounts
end

--- Seconds that measuring nothing seems to take.
local function measure_nothing()
  local least = math.huge
  for _ = 1, 20 do
    local sum = 0
    for _ = 1, 1000 do
      local began = C.nf_now()
      sum = sum + (C.nf_now() - began)
    end
    least = math.min(least, sum / 1000)
  end
  return least
end

local function seconds_of(account, hooks, nothing)
  local seconds = 0
  for _, hook in ipairs(hooks) do
    local cost = account[hook]
    seconds = seconds + math.max(0, cost.seconds - cost.calls * nothing)
  end
  return seconds
end

--- A table for people: what each plugin takes for a packet of the run, for a flow, and of the run's time.
-- @param names the plugins' names, by position
-- @param packets, flows, seconds of the whole run
function costs.lines(accounts, names, packets, flows, seconds)
  local nothing, width = measure_nothing(), #"PLUGIN"
  for _, name in ipairs(names) do width = math.max(width, #name) end
  local row = "%-" .. width .. "s  %10s  %10s  %8s\n"
  local lines = { row:format("PLUGIN", "NS/PACKET", "NS/FLOW", "OF RUN") }
  for number, name in ipairs(names) do
    local by_packet = seconds_of(accounts[number], PER_PACKET, nothing)
    local by_flow = seconds_of(accounts[number], PER_FLOW, nothing)
    lines[#lines + 1] = row:format(name, ("%.1f"):format(by_packet * 1e9 / math.max(packets, 1)),
      ("%.1f"):format(by_flow * 1e9 / math.max(flows, 1)),
      ("%.1f%%"):format((by_packet + by_flow) * 100 / math.max(seconds, 1e-9)))
  end
  return table.concat(lines)
end

return costs
