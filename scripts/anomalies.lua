--- Which flows are unlike the others? Isolates them with random trees, without labels, and prints the most unusual.
--
-- Captures are read twice: for an isolation forest (see nfengine.ml.isolation), and for the flows' scores by it. With
-- --learn=FILE, one of them, the forest is grown on that capture, of what is usual, and the others are scored. Scores
-- are above 0.5 for what is unusual, and near 1 for what is very much so. FEATURE is the column in which the flow is
-- farthest from the median of what was learnt from, by so many robust standard deviations of the value's logarithm: a
-- hint for people, of which the score knows nothing.
--
-- With --all each flow is written as `flows` writes it, with the columns udps.isolation_score, isolation_feature and
-- isolation_distance: to standard output, or wherever --output says.
--
-- The features are --features, or else durations, packets and bytes each way, sizes and times between packets, and
-- flags, by statistics. The same captures and --seed give the same scores, for any number of meters.
--
-- @categories report
-- @usage nfengine -q anomalies samples/web.pcap -- --top=5
-- @output
-- SCORE  FEATURE                        DISTANCE  FROM > TO
-- 0.731  dst2src_stddev_ps                 +58.6  [2001:db8::10]:45800 > [2001:db8:80::80]:80 tcp
-- 0.665  dst2src_stddev_ps                 +61.5  192.0.2.10:34010 > 203.0.113.22:22 tcp
-- 0.655  bidirectional_stddev_piat_ms      +91.0  192.0.2.1:67 > 192.0.2.58:68 udp
-- 0.541  dst2src_stddev_ps                 +64.8  192.0.2.10:52360 > 198.51.100.80:443 tcp
-- 0.535  dst2src_stddev_ps                 +65.0  192.0.2.10:43278 > 198.51.100.80:80 tcp

local nf = require "nfengine"
local lfs = require "nfengine.lfs"
local outliers = require "nfengine.ml.outliers"
local report = require "nfengine.report"
local show = require "nfengine.show"
local sources = require "nfengine.sources"
local text = require "nfengine.text"

local options = nf.options {
  learn = { "", "which of the captures to learn from what is usual; none: from those that are scored", is_file = true },
  features = { {}, "columns to look at, numbers, instead of the usual ones" },
  top = { 20, "how many flows to show", integer = true, min = 1 },
  all = { false, "write all flows, with their scores, instead" },
  trees = { 100, "trees of the forest", integer = true, min = 1, max = 10000 },
  sample = { 256, "flows that a tree is grown from", integer = true, min = 2, max = 65536 },
  seed = { 0, "another number grows another forest", integer = true, min = 0, max = 2 ^ 31 - 1 },
}

local function refuse(...) error({ usage = string.format(...) }, 0) end

local MOST_NODES = 2 ^ 24 -- of all trees, about: a gigabyte while they grow
if options.trees * options.sample > MOST_NODES / 2 then
  refuse("--trees=%d --sample=%d: expected %d flows in all trees together at most", options.trees, options.sample,
    MOST_NODES / 2)
end

local search = outliers.new(options)
local streamer = nf.streamer { statistical_analysis = true, n_dissections = 0, udps = search.plugin }

--- The captures to learn from, and those to score.
local function captures()
  local learnt, scored = {}, {}
  for _, path in ipairs(sources.files(streamer.source)) do
    if lfs.attributes(path, "mode") ~= "file" then
      refuse("%s: expected a capture file, which is read twice", text.quote(path))
    end
    table.insert(path == options.learn and learnt or scored, path)
  end
  if options.learn == "" then return scored, scored end
  if not learnt[1] then refuse("--learn=%s: expected one of the captures", options.learn) end
  if not scored[1] then refuse("--learn=%s: expected a further capture, to be scored", options.learn) end
  return learnt, scored
end

--- The flows with the highest scores, of equal ones the first.
local function find_top()
  local top = {}
  for flow in streamer:flows() do
    local udps, at = flow.udps, #top + 1
    local score = udps.isolation_score
    while at > 1 and top[at - 1].score < score do at = at - 1 end
    if at <= options.top then
      table.insert(top, at, {
        score = score, feature = udps.isolation_feature, distance = udps.isolation_distance,
        from = show.endpoint(flow.src_ip, flow.src_port), to = show.endpoint(flow.dst_ip, flow.dst_port),
        protocol = flow.protocol,
      })
      top[options.top + 1] = nil
    end
  end
  return top
end

local learnt, scored = captures()
streamer.source = learnt
if not search:learn(streamer) then return report.say "interrupted: no flow was scored" end
streamer.source = scored
if options.all then
  streamer:write()
else
  local LINE = "%5s  %-30s %8s  %s\n"
  io.write(LINE:format("SCORE", "FEATURE", "DISTANCE", "FROM > TO"))
  for _, each in ipairs(find_top()) do
    io.write(LINE:format(("%.3f"):format(each.score), each.feature, ("%+.1f"):format(each.distance),
      ("%s > %s %s"):format(each.from, each.to, show.protocol(each.protocol))))
  end
end
