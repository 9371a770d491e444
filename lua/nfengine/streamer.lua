--- nf.streamer: NFStreamer's parameters, its iteration and its exports.
--
--   local streamer = nf.streamer { source = "a.pcap", statistical_analysis = true }
--   for flow in streamer:flows() do print(flow) end
--   local count = streamer:to_csv("flows.csv")
--
-- Parameters are checked when they are set, also later: `streamer.idle_timeout = 5`. Every iteration or export starts
-- anew: the captures are read again, ids begin at 0.

local ffi = require "ffi"
local output = require "nfengine.output"
local parameters = require "nfengine.parameters"
local run = require "nfengine.run"
local script = require "nfengine.script"

local methods = {}

--- The values of all parameters, as the next run will use them: by name, defaults and the command line's among them.
function methods:resolved() return parameters.resolve(getmetatable(self).values, 3) end

local function start(self, sink)
  local meta = getmetatable(self)
  local given, own = {}, sink and sink.parameters or {}
  for name, value in pairs(meta.values) do given[name] = value end
  for name, value in pairs(own) do given[name] = value end
  local resolved = parameters.resolve(given, 2)
  if script.is_schema_wanted then require("nfengine.schema").print(resolved) end
  local ok, opened = pcall(run.open, resolved, sink, next(own) and own or meta)
  if not ok then error(opened, 0) end
  meta.latest = opened
  return opened
end

-- What a loop goes over is an object, not a function: compiled code keeps the functions it calls, and with one would
-- keep a run whose loop was left early. The object goes with the loop, and its guard then closes the run.
local iterator = {
  __call = function(self)
    local current = self.run
    if output.is_stdout_gone() then current:close() end
    local flow = current:next()
    if not flow then return nil end
    local copy = current.record_type()
    ffi.copy(copy, flow, ffi.sizeof(copy))
    return copy
  end,
}

--- Iterates over the flows as they end. Each is a copy of its own and stays valid as long as it is kept. Leaving the
-- loop early stops the run.
function methods:flows()
  if run.count_open() > 0 then collectgarbage() end -- those whose loops were left, which hold much that Lua cannot see
  local current = start(self)
  local guard = ffi.gc(ffi.new "char[1]", function() current:close() end)
  return setmetatable({ run = current, guard = guard }, iterator)
end

--- Feeds every record to a sink: a table with `write(self, flow)`, and if it likes `open(self, columns, crew, all)`
-- before the first and `close(self)` after the last; `columns` lists name, type, unit and doc of each, `all` those too
-- that the parameter columns has left out. A flow is valid during write. A sink method that returns nil and a text, or
-- raises, ends the run with that error. `tick(self, seconds, is_last)` is called about every second while files are
-- read, four times a second on interfaces, also when no packet comes, and once more at the end; seconds are those since
-- the run began. `written(self)` tells the path that a manifest goes beside, or nil, and what was written: a list of
-- { path, records }. `parameters`, where a sink has some, win over the streamer's; `further` are names of columns that
-- it takes besides.
-- @return number of records
function methods:to(sink)
  if type(sink) ~= "table" or type(sink.write) ~= "function" then
    error("nf.streamer:to: expected a sink, a table with a method write", 2)
  end
  local current = start(self, sink)
  return output.drain(current, sink, current.parameters)
end

--- Writes CSV (RFC 4180). `path` defaults to the first source with ".csv" behind it; "-" and io.stdout are standard
-- output.
-- @param options columns_to_anonymize: names whose values are written as keyed BLAKE2b hashes;
--   anonymization_key: 32 to 64 bytes, so that several runs agree (default: fresh random);
--   flows_per_file, bytes_per_file, seconds_per_file, rotate_files: write files "NAME.0.csv", "NAME.1.csv" … of so many
--   flows, bytes or seconds of traffic, keeping so many files; see nfengine.output.rotation
-- @return number of records
function methods:to_csv(path, options)
  return self:to(output.file(self, path, "csv", options))
end

--- The same as one JSON object a line.
function methods:to_jsonl(path, options)
  return self:to(output.file(self, path, "jsonl", options))
end

--- The same as Parquet, typed: moments as timestamps, arrays as lists, absent texts as nulls. A file in whole or none.
function methods:to_parquet(path, options)
  return self:to(output.file(self, path, "parquet", options))
end

--- The same in Apache Arrow's formats, typed like Parquet, uncompressed: a stream to standard output, open files, pipes
-- and "NAME.arrows", to other paths a file.
function methods:to_arrow(path, options)
  return self:to(output.file(self, path, "arrow", options))
end

--- The same as IPFIX (RFC 7011), one record a flow with both its directions: into a file, or to the collector at
-- "udp://HOST:PORT" or "tcp://HOST:PORT".
-- @param options besides those of to_csv: enterprise, domain, message_size, refresh, rate, patience; see docs/ipfix.md
function methods:to_ipfix(path, options)
  return self:to(output.file(self, path, "ipfix", options))
end

--- Adds to a table ("flows") of an SQLite database, either of which is made if need be: integers, reals and texts, NULL
-- for what is absent, arrays as JSON. The table's columns have to be what the records' are. docs/sinks.md has more.
function methods:to_sqlite(path, table_name, options)
  return self:to(output.file(self, path, "sqlite", options, { table = table_name }))
end

--- The same with DuckDB, where libduckdb is; its own types, TIMESTAMP for moments and lists for arrays.
function methods:to_duckdb(path, table_name, options)
  return self:to(output.file(self, path, "duckdb", options, { table = table_name }))
end

--- Sends records to Kafka, each a message; see docs/kafka.md.
-- @param given brokers: "HOST:PORT,…" or a list; topic; key: a column's name or a list of them, for messages' keys;
--   format: "json" (default) or "csv"; timestamp: "last_seen" (default) or "now"; options: librdkafka's properties by
--   name; config: a file of these; flush_seconds: how long to wait at the end without a delivery (60); and what to_csv
--   takes but for files
-- @return number of records delivered
function methods:to_kafka(given)
  return self:to(output.kafka(self, given))
end

--- Writes in the format that --format, or the path's ending, or else CSV says; the format "null" counts only.
function methods:write(path, options)
  return self:to(output.file(self, path, nil, options))
end

--- What became of the latest run, once it has ended, else nil: packets, bytes, flows, ended (flows by reason), ignored
-- (packets by reason), ignored_packets, inputs (path and packets of each capture), first_packet and last_packet (the
-- earliest and latest moment of what has reached flows, "2026-11-23T16:16:30.000000000Z"), meters, seconds, warnings,
-- is_damaged, is_interrupted, is_live.
function methods:account()
  local latest = getmetatable(self).latest
  return latest and latest.account
end

--- What Python writes with a dot takes a colon here.
local function with_colon(name, method)
  return function(self, ...)
    local meta = type(self) == "table" and getmetatable(self)
    if not meta or not meta.values then
      error(("nf.streamer: expected streamer:%s(…), with a colon"):format(name), 2)
    end
    return method(self, ...)
  end
end

for name, method in pairs(methods) do methods[name] = with_colon(name, method) end

--- A parameter's value, as the next run will use it. Raises what would keep that from it: what -a says of plugins
-- shows here first, where a script looks at a parameter before it runs.
local function value_of(values, name)
  if not parameters.is_known(name) then parameters.check(name, nil, 3) end
  return (parameters.resolve(values, 3)[name])
end

local streamer = {}

--- Makes a streamer. Raises one line for an unknown parameter or a value that is not accepted.
function streamer.new(given)
  script.ready()
  if type(given) ~= "table" then error("nf.streamer: expected a table of parameters, nf.streamer{ … }", 2) end
  local values = {}
  for name, value in pairs(given) do values[name] = parameters.check(name, value, 2) end
  return setmetatable({}, {
    values = values,
    __index = function(_, key) return methods[key] or value_of(values, key) end,
    __newindex = function(_, key, value) values[key] = parameters.check(key, value, 2) end,
    __call = function() error("nf.streamer: expected streamer:flows() to iterate over", 2) end,
    __tostring = function() return "nf.streamer" end,
  })
end

return streamer
