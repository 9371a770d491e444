--- What it takes to compare a flow's features with their ranges in training, nanoseconds a flow: plugin model does it
-- where it has a manifest. All features are inside.
--
--   luajit bench/drift.lua

package.path = "./?.lua;./lua/?.lua;./lua/?/init.lua;" .. package.path

local ffi = require "ffi"
local C = require "nfengine.lib"
local drift = require "nfengine.ml.drift"

local FLOWS, ROUNDS = 1e6, 5

local function watch_and_row(count)
  local features, row = {}, ffi.new("double[?]", count)
  for i = 1, count do
    features[i], row[i - 1] = { name = "feature_" .. i, min = 0, max = count }, i
  end
  return drift.new(features), row
end

for _, count in ipairs { 10, 60, 200 } do
  local watch, row = watch_and_row(count)
  local best = math.huge
  for _ = 1, ROUNDS do
    local began = C.nf_now()
    for _ = 1, FLOWS do watch:count(row) end
    best = math.min(best, C.nf_now() - began)
  end
  print(("%3d features %6.0f ns"):format(count, best / FLOWS * 1e9))
end
