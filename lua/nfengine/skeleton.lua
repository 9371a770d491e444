--- What `nfengine --new plugin NAME` writes: a plugin that works, its spec and its golden file, to be changed.

local lfs = require "nfengine.lfs"
local shell = require "nfengine.shell"
local text = require "nfengine.text"

local skeleton = {}

local PLUGIN = [[
--- Counts packets that carry more than so much payload, in each direction.
--
-- Say here what the columns mean, exactly: which packets count, in which unit, what one-packet flows give, and where
-- the definition comes from (an RFC's section, a paper).
--
-- @usage nfengine flows --plugin $NAME --n-dissections=0 --columns=src_port,$COLUMNS samples/tls.pcap
-- @output
$OUTPUT
-- ...

local nf = require "nfengine"

-- One function for the first packet and the later ones: both count.
local function count(self, packet, flow)
  if packet.payload_size > self.limit then
    local udps = flow.udps
    if packet.direction == 0 then
      udps.$NAME_src2dst = udps.$NAME_src2dst + 1
    else
      udps.$NAME_dst2src = udps.$NAME_dst2src + 1
    end
  end
end

return nf.plugin {
  name        = "$NAME",
  version     = "0.1.0",
  api         = 1,
  description = "Packets with much payload, by direction",
  author      = "$AUTHOR",
  license     = "MIT",
  categories  = { "feature", "safe" },
  options     = { limit = { 500, "bytes of payload above which a packet counts", integer = true, min = 0 } },
  columns     = {
    { "$NAME_src2dst", "uint32", "such packets from source to destination" },
    { "$NAME_dst2src", "uint32", "such packets the other way" },
  },
  on_init     = count,
  on_update   = count,
}
]]

local SPEC = [[
-- plugins/$NAME.lua on packets made for it. `nfengine --test $NAME` runs this too.

local testing = require "nfengine.testing"
local P = testing.packet
local Plugin = require "plugins.$NAME"

-- A UDP packet with so much payload, at this time in ms.
local function packet(at, size)
  return testing.at(at, P.eth {} .. P.ipv4 {} .. P.udp { src_port = 1000, dst_port = 2000 } .. ("x"):rep(size))
end

-- The same on the way back.
local function reply(at, size)
  return testing.at(at, P.eth {} .. P.ipv4 { src = "10.0.0.2", dst = "10.0.0.1" }
    .. P.udp { src_port = 2000, dst_port = 1000 } .. ("x"):rep(size))
end

local function counts(options, packets)
  local udps = testing.flows({ packets = packets, udps = Plugin(options) })[1].udps
  return { udps.$NAME_src2dst, udps.$NAME_dst2src }
end

describe("$NAME", function()
  after_each(testing.cleanup)

  it("counts packets above the limit, each way", function()
    assert.same({ 1, 2 }, counts({ limit = 10 }, { packet(0, 11), packet(1, 10), reply(2, 11), reply(3, 12) }))
  end)

  it("counts the first packet", function()
    assert.same({ 1, 0 }, counts({ limit = 0 }, { packet(0, 1) }))
  end)

  it("refuses a limit below 0", function()
    assert.matches("limit = %-1: expected an integer of at least 0", testing.refusal(Plugin, { limit = -1 }))
  end)
end)
]]

local function make_folder(path)
  local folder = ""
  for part in path:gmatch "[^/]+" do
    folder = folder .. part .. "/"
    lfs.mkdir(folder)
  end
end

--- Begins a plugin in the current folder. Returns the files written. Raises one line when one is there already, or none
-- can be written.
-- @param name its name
-- @param samples folder of captures, for the golden file
-- @param program this program, which makes it
function skeleton.plugin(name, samples, program)
  if not name:match "^%l[%l%d_]*$" then
    error({ usage = ("--new plugin %s: expected small letters, digits and underscores"):format(text.quote(name)) }, 0)
  end
  local parts = {
    NAME = name, AUTHOR = os.getenv "USER" or "you",
    COLUMNS = ("udps.%s_src2dst,udps.%s_dst2src"):format(name, name),
  }
  local plugin_path, spec_path = ("plugins/%s.lua"):format(name), ("spec/plugins/%s_spec.lua"):format(name)
  local golden_path = ("spec/golden/%s/tls.csv"):format(name)
  local paths = { plugin_path, spec_path, golden_path }
  for _, path in ipairs(paths) do
    if lfs.attributes(path, "mode") then
      error(("%s: is there already, expected a new plugin's name"):format(path), 0)
    end
  end

  -- What the new plugin says of a sample, with these columns.
  local function output(columns)
    local words = { program, "-q", "flows", "--plugin=" .. plugin_path, "--n-dissections=0", "--columns=" .. columns,
      samples .. "/tls.pcap" }
    for i, word in ipairs(words) do words[i] = shell.quote(word) end
    local result = shell.run(table.concat(words, " "))
    if result.status ~= 0 then error(result.err:match "[^\n]*", 0) end
    return result.out
  end

  local function write(path, template)
    make_folder(path:match "^(.*)/")
    local file, message = io.open(path, "w")
    if not file then error(message .. ", expected a folder to write to", 0) end
    file:write((template:gsub("%$(%u+)", parts)))
    file:close()
  end

  parts.OUTPUT = "--"
  write(plugin_path, PLUGIN)
  local lines = text.lines(output("src_port," .. parts.COLUMNS))
  parts.OUTPUT = "-- " .. table.concat(lines, "\n-- ", 1, 3)
  write(plugin_path, PLUGIN)
  write(spec_path, SPEC)
  parts.OUTPUT = output("src_ip,src_port,dst_ip,dst_port," .. parts.COLUMNS)
  write(golden_path, "$OUTPUT")
  return paths
end

return skeleton
