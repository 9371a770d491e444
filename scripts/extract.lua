--- Which packets do these flows consist of? Writes the packets of the flows that --filter accepts to a capture of their
-- own, pcapng, or pcap if it is named so.
--
-- Frames are written as they were captured: whole or cut, with their own time to the nanosecond, their length on the
-- wire, their link type, and in pcapng their comment. Packets of no flow, such as later fragments and ARP, are not
-- there, nor what a flow that a plugin froze no longer sees; without --filter all others are. Captures are read twice,
-- since a flow is over when it shows whether it is wanted, and so have to be files. Both times it is the same run, with
-- all its parameters and plugins.
--
-- @categories export
-- @usage nfengine extract --filter='flow.application_name == "TLS"' samples/web.pcap -- --write=tls.pcapng
-- @output
-- 3 flows, 65 packets
-- @usage nfengine -q extract --n-dissections=0 --filter='flow.dst_port == 22' samples/web.pcap -- --write=ssh.pcap && \
--   nfengine flows --n-dissections=0 --columns=src_ip,dst_port,bidirectional_packets,bidirectional_bytes ssh.pcap
-- @output
-- 1 flows, 47 packets
-- src_ip,dst_port,bidirectional_packets,bidirectional_bytes
-- "192.0.2.10",22,47,11960

local lfs = require "nfengine.lfs"
local nf = require "nfengine"
local captures = require "nfengine.captures"
local privacy = require "nfengine.privacy"

local options = nf.options { write = { "", "capture file to write, - for standard output" } }

local wanted, flows, file = {}, 0, nil

local function fail(...) error("extract: " .. string.format(...), 0) end

local function keep(_, packet, flow)
  if not wanted[flow.udps.extract_number] then return end
  local written, problem = file:write(packet)
  if not written then fail("%s", problem) end
end

local Extract = nf.plugin {
  name = "extract",
  needs = { "comments" },
  state = { { "extract_number", "double" } }, -- of a flow, in the order in which they begin
  setup = function(self) self.count = 0 end,
  on_init = function(self, packet, flow)
    self.count = self.count + 1
    flow.udps.extract_number = self.count
    keep(self, packet, flow)
  end,
  on_update = keep,
}

local streamer = nf.streamer { udps = Extract, n_meters = 1 }
privacy.expect_none(streamer)

local function is_same(a, b) return a and b and a.dev == b.dev and a.ino == b.ino end

-- What is read twice has to be there twice, and to stay as it is.
local function check()
  if options.write == "" then fail "expected -- --write=FILE" end
  if streamer.n_meters > 1 then fail("n_meters = %d: expected 1, as packets have one order", streamer.n_meters) end
  if streamer.duration > 0 then fail "duration: expected none, as captures are read twice" end
  local output = lfs.attributes(options.write)
  local folder = options.write ~= "-" and lfs.attributes(options.write:match "^(.*/)" or ".")
  for _, path in ipairs(type(streamer.source) == "table" and streamer.source or { streamer.source }) do
    local input = path ~= "-" and lfs.attributes(path)
    if not input or input.mode ~= "file" and input.mode ~= "directory" then
      fail('"%s": expected a capture file or a folder of them, which are read twice', path)
    end
    if is_same(input, output) or is_same(input, folder) then fail('"%s": it is among what is read', options.write) end
  end
end

check()
local problem
file, problem = captures.create(options.write)
if not file then fail("%s", problem) end
streamer:to { write = function(_, flow)
  wanted[flow.udps.extract_number] = true -- it has ended, so this time no packet comes any more
  flows = flows + 1
end }
local first = streamer:account()
if not first.is_interrupted then streamer:to { write = function() end } end
local closed, failure = file:close()
if not closed then fail("%s", failure) end
if streamer:account().packets ~= first.packets and not streamer:account().is_interrupted then
  fail "the captures have changed while they were read"
end
if options.write ~= "-" then print(("%d flows, %d packets"):format(flows, file.packets)) end
