-- Models that specs train, on captures that they make: clients of two services whose packets differ in size.
--
--   local folder = trained.model { trained.capture() }       -- nfengine train, which has to succeed
--   after_each(engine.cleanup)

local assert = require "luassert"
local capture = require "nfengine.testing.capture"
local engine = require "spec.support.engine"
local json = require "nfengine.json"
local P = require "nfengine.testing.packet"
local program = require "spec.support.program"
local testing = require "nfengine.testing"
local training = require "nfengine.ml.training"

local trained = { missing = training.missing() }

--- Rules for what the capture holds.
trained.RULES = "dst_port,label\n53,names\n80,web\n"

local function packet(ms, i, server_port, size, is_back)
  local ends = { src = "10.0." .. math.floor(i / 200) .. "." .. i % 200 + 1, dst = "10.9.9.9" }
  local ports = { src_port = 5000 + i, dst_port = server_port }
  if is_back then
    ends = { src = ends.dst, dst = ends.src }
    ports = { src_port = server_port, dst_port = ports.src_port }
  end
  return testing.at(ms, P.eth {} .. P.ipv4(ends) .. P.udp(ports) .. ("x"):rep(size))
end

--- Packets of conversations, one every ten milliseconds: questions of 20 to 29 bytes to port 53, answers of up to 99,
-- and of 100 to 139 bytes to port 80, answers of up to 999, in turn. `scale` multiplies sizes.
function trained.packets(count, scale)
  local packets = {}
  for i = 0, count - 1 do
    local is_web, size = i % 2 == 1, 20 + i * 7 % 10
    if is_web then size = 100 + i * 7 % 40 end
    local port = is_web and 80 or 53
    table.insert(packets, packet(i * 10, i, port, size * (scale or 1)))
    table.insert(packets, packet(i * 10 + 3 + i % 3, i, port, (is_web and 900 or 50) + i * 13 % 50, true))
  end
  return packets
end

function trained.capture(count, scale) return engine.capture(trained.packets(count or 100, scale)) end

local function words_of(script, words, own)
  local all = { script }
  for _, word in ipairs(words) do all[#all + 1] = word end
  all[#all + 1] = "--"
  for _, word in ipairs(own or {}) do all[#all + 1] = word end
  return all
end

--- Runs one of the scripts, with words for the program and words behind "--"; { status, out, err }.
function trained.run(script, words, own) return program.run(unpack(words_of(script, words, own))) end

--- The same of train, into a new folder; returns the result and that folder.
function trained.train(words, own)
  local folder = capture.folder() .. "/model"
  local all = { "--write=" .. folder }
  for _, word in ipairs(own or {}) do all[#all + 1] = word end
  return trained.run("train", words, all), folder
end

--- The option that labels the capture.
function trained.rules() return "--label-rules=" .. program.write(trained.RULES, ".csv") end

--- The folder of a model that is trained with the rules, and what was said.
function trained.model(words, own)
  local all = { trained.rules(), "--trees=10" }
  for _, word in ipairs(own or {}) do all[#all + 1] = word end
  local result, folder = trained.train(words, all)
  assert.same(0, result.status, result.err)
  return folder, result
end

function trained.manifest(folder) return json.decode(program.read(folder .. "/manifest.json")) end

--- Puts something else into a manifest.
function trained.change(folder, change)
  local about = trained.manifest(folder)
  change(about)
  program.write(json.encode(about), folder .. "/manifest.json")
end

return trained
