--- The sink that sends records to Kafka, each a message, by way of librdkafka.
--
-- librdkafka keeps messages until a broker has acknowledged them. Where it can keep no more the run waits: nothing is
-- dropped here. What became of each message is asked for, not called back. At the end the sink waits for what is on its
-- way; what is then not acknowledged is told, and is no record that was written.

local ffi = require "ffi"
local C = require "nfengine.lib"
local columns = require "nfengine.columns"
local lib = require "nfengine.rdkafka"
local report = require "nfengine.report"
local text = require "nfengine.text"

local kafka = {}
kafka.__index = kafka

local CONNECT_SECONDS = 10 -- for a broker to answer, before the first packet
local STALL_SECONDS = 3    -- without a delivery, after which it is said that records wait
local STOP_SECONDS = 10    -- without a delivery, once the run is to stop: then it is given up
local PURGE_SECONDS = 2    -- for librdkafka to tell what was given up
local POLL_MS, METADATA_MS = 100, 500
local SERVE_EVERY = 1000   -- records
local REPORTS = 1024       -- looked at together
local RETENTION_DAYS = 7   -- of a topic, where nobody has said

local FORMATS = { json = C.NF_MESSAGE_JSON, csv = C.NF_MESSAGE_CSV }

--- Makes a sink.
-- @param given what kafka_options.check gives
function kafka.new(given)
  given.name = text.quote(("kafka://%s/%s"):format(given.brokers, given.topic))
  given.further = given.key
  given.taken, given.queued, given.delivered, given.failed, given.unsure = 0, 0, 0, 0, 0
  return setmetatable(given, kafka)
end

local function now() return C.nf_now() end

-- ---- opening ----

local function set_property(conf, name, value, is_secret)
  local message = ffi.new("char[?]", C.NF_ERROR_SIZE)
  if lib.rd_kafka_conf_set(conf, name, value, message, C.NF_ERROR_SIZE) == lib.RD_KAFKA_CONF_OK then return end
  lib.rd_kafka_conf_destroy(conf)
  error(is_secret and name .. ": not accepted" or ffi.string(message), 0)
end

--- librdkafka's producer.
local function new_producer(brokers, properties)
  local is_secret = require("nfengine.output.kafka_options").is_secret
  local conf = lib.rd_kafka_conf_new()
  set_property(conf, "bootstrap.servers", brokers)
  for _, name in ipairs(text.sorted_keys(properties)) do
    set_property(conf, name, properties[name], is_secret(name))
  end
  if not properties.debug then lib.rd_kafka_conf_set_log_cb(conf, nil) end
  lib.rd_kafka_conf_set_events(conf, lib.RD_KAFKA_EVENT_DR + lib.RD_KAFKA_EVENT_ERROR)
  local message = ffi.new("char[?]", C.NF_ERROR_SIZE)
  local producer = lib.rd_kafka_new(lib.RD_KAFKA_PRODUCER, conf, message, C.NF_ERROR_SIZE)
  if producer ~= nil then return producer end
  lib.rd_kafka_conf_destroy(conf)
  error(ffi.string(message), 0)
end

--- The columns of these names among all that the run has.
local function columns_named(wanted, available)
  local by_name, names, list = {}, {}, {}
  for i, column in ipairs(available) do by_name[column.name], names[i] = column, column.name end
  for i, name in ipairs(wanted) do
    list[i] = by_name[name]
      or error(("key: no column %s in this run%s"):format(text.quote(name), text.suggest(name, names)), 0)
  end
  return list
end

--- What turns records into messages, or their keys, with these columns, which have to outlive it.
local function encoder(format, list)
  local message = ffi.new("char[?]", C.NF_ERROR_SIZE)
  local made = C.nf_message_new(format, columns.to_c(list), #list, message)
  if made == nil then error(ffi.string(message), 0) end
  return ffi.gc(made, C.nf_message_free)
end

function kafka:make_encoders(selected, available)
  self.selected, self.key_columns = selected, columns_named(self.key or {}, available)
  self.value_encoder = encoder(FORMATS[self.format], selected)
  if self.key then self.key_encoder = encoder(C.NF_MESSAGE_PLAIN, self.key_columns) end
end

--- The parts of a message, as librdkafka takes them, of which a record changes the last three. It takes a time of 0 for
-- now.
function kafka:make_parts(available)
  local last_seen = self.timestamp ~= "now" and columns.last_seen(available)
  self.ticks_per_ms = last_seen and columns.time_units[last_seen.unit].per_second / 1000
  self.parts, self.part_count = ffi.new "rd_kafka_vu_t[5]", self.key and 5 or 4
  self.parts[0].vtype, self.parts[0].u.rkt = lib.RD_KAFKA_VTYPE_RKT, self.handle
  self.parts[1].vtype, self.parts[1].u.i = lib.RD_KAFKA_VTYPE_MSGFLAGS, lib.RD_KAFKA_MSG_F_COPY
  self.parts[2].vtype = lib.RD_KAFKA_VTYPE_TIMESTAMP
  self.parts[3].vtype = lib.RD_KAFKA_VTYPE_VALUE
  self.parts[4].vtype = lib.RD_KAFKA_VTYPE_KEY
  self.size, self.reports = ffi.new "size_t[1]", ffi.new("const rd_kafka_message_t *[?]", REPORTS)
end

--- Asks for the topic: 0 once it is there, else an error of librdkafka's, and whether a broker has said so.
local function ask_for_topic(producer, topic)
  local metadata = ffi.new "const struct rd_kafka_metadata *[1]"
  local problem = lib.rd_kafka_metadata(producer, 0, topic, metadata, METADATA_MS)
  if problem ~= 0 then return problem, false end
  problem = lib.RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
  if metadata[0].topic_cnt > 0 then problem = metadata[0].topics[0].err end
  lib.rd_kafka_metadata_destroy(metadata[0])
  return problem, true
end

--- Waits until a broker knows the topic, which it may have to make first. Returns true, or nil and why that failed.
function kafka:connect()
  local deadline = now() + CONNECT_SECONDS
  while true do
    local problem, is_told = ask_for_topic(self.producer, self.handle)
    if problem == 0 then return true end
    local is_passing = problem == lib.RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
      or problem == lib.RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE
    if is_told and not is_passing or now() > deadline or C.nf_interrupted() then
      return nil, not is_told and self.trouble or ffi.string(lib.rd_kafka_err2str(problem))
    end
    self:serve(POLL_MS)
  end
end

function kafka:begin(selected, available)
  self:make_encoders(selected, available)
  self.producer = new_producer(self.brokers, self.properties)
  self.properties = nil -- there may be secrets among them
  self.queue = lib.rd_kafka_queue_get_main(self.producer)
  self.handle = lib.rd_kafka_topic_new(self.producer, self.topic, nil)
  if self.handle == nil then error(ffi.string(lib.rd_kafka_err2str(lib.rd_kafka_last_error())), 0) end
  self:make_parts(available)
end

function kafka:open(selected, _, available)
  local ok, failure = pcall(self.begin, self, selected, available)
  if ok then ok, failure = self:connect() end
  if ok then return true end
  return nil, ("cannot write %s: %s"):format(self.name, failure)
end

-- ---- what librdkafka tells ----

--- Counts messages that have been delivered, or never will be.
function kafka:count(event)
  local reports, delivered = self.reports, 0
  local count = tonumber(lib.rd_kafka_event_message_array(event, reports, REPORTS))
  while count > 0 do
    for i = 0, count - 1 do
      if reports[i].err == 0 then delivered = delivered + 1 else self:count_failed(reports[i]) end
    end
    count = tonumber(lib.rd_kafka_event_message_array(event, reports, REPORTS))
  end
  if delivered == 0 then return end
  self.delivered, self.waiting_since, self.trouble = self.delivered + delivered, now(), nil
  self.stalled_since, self.is_stall_told = nil, false
end

function kafka:count_failed(message)
  local code = message.err
  self.failed = self.failed + 1
  if lib.rd_kafka_message_status(message) == lib.RD_KAFKA_MSG_STATUS_POSSIBLY_PERSISTED then
    self.unsure = self.unsure + 1
  end
  if code == lib.RD_KAFKA_RESP_ERR__PURGE_QUEUE or code == lib.RD_KAFKA_RESP_ERR__PURGE_INFLIGHT then return end
  self.failure = self.failure or ffi.string(lib.rd_kafka_err2str(code))
end

--- Remembers what goes wrong. librdkafka tries again by itself, unless it says that the error is fatal.
function kafka:note(event)
  local code = lib.rd_kafka_event_error(event)
  if code == lib.RD_KAFKA_RESP_ERR__FATAL then
    local message = ffi.new("char[?]", C.NF_ERROR_SIZE)
    lib.rd_kafka_fatal_error(self.producer, message, C.NF_ERROR_SIZE)
    self.failure = self.failure or ffi.string(message)
  elseif code ~= lib.RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN then -- which does not say why
    self.trouble = ffi.string(lib.rd_kafka_event_error_string(event))
  end
end

--- Says that nothing gets through, once until something does.
function kafka:look_for_stall()
  if self:on_their_way() == 0 or self.is_stall_told then return end
  self.stalled_since = self.stalled_since or now()
  if now() - self.stalled_since < STALL_SECONDS then return end
  self.is_stall_told = true
  report.say(("warning: %s: nothing gets through, records wait: %s"):format(self.name, self.trouble or "no answer"))
end

--- Takes what librdkafka has to tell, after waiting so long for it.
function kafka:serve(milliseconds)
  local event = lib.rd_kafka_queue_poll(self.queue, milliseconds)
  while event ~= nil do
    local kind = lib.rd_kafka_event_type(event)
    if kind == lib.RD_KAFKA_EVENT_DR then self:count(event)
    elseif kind == lib.RD_KAFKA_EVENT_ERROR then self:note(event) end
    lib.rd_kafka_event_destroy(event)
    event = lib.rd_kafka_queue_poll(self.queue, 0)
  end
  self:look_for_stall()
end

--- Messages that librdkafka has and that have not become of anything yet.
function kafka:on_their_way() return self.queued - self.delivered - self.failed end

-- ---- waiting ----

--- Begins to wait for deliveries.
function kafka:start_waiting() self.waiting_since = now() end

--- Whether there has been no delivery for so many seconds of waiting, or for fewer once the run is to stop.
function kafka:has_waited(seconds)
  if C.nf_interrupted() then
    if not self.is_stopping then self:start_waiting() end
    self.is_stopping, seconds = true, math.min(seconds, self.flush_seconds, STOP_SECONDS)
  end
  return now() - self.waiting_since > seconds
end

-- ---- writing ----

--- Hands a message to librdkafka again and again until there is room for it. Returns false when it is not to be had.
-- @param problem why it had none
function kafka:insist(problem)
  self:start_waiting()
  repeat
    local code = lib.rd_kafka_error_code(problem)
    lib.rd_kafka_error_destroy(problem)
    if code ~= lib.RD_KAFKA_RESP_ERR__QUEUE_FULL then
      self.failure = self.failure or ffi.string(lib.rd_kafka_err2str(code))
    end
    if self.failure or self:has_waited(math.huge) then return false end
    self:serve(POLL_MS)
    problem = lib.rd_kafka_produceva(self.producer, self.parts, self.part_count)
  until problem == nil
  return true
end

--- Warns of what brokers do with old messages, unless somebody wants these times.
function kafka:check_age(milliseconds)
  local days = (C.nf_time() - tonumber(milliseconds) / 1000) / 86400
  if self.timestamp or days < RETENTION_DAYS then return end
  report.say(("warning: %s: the first record is %.0f days old: brokers delete it where a topic's retention is by time, "
    .. "expected retention.ms=-1 there and --kafka-timestamp=last_seen, or now"):format(self.name, days))
end

--- Answers false when no more can be written; the reason comes with close.
function kafka:write(flow)
  local core, parts, size = flow.core, self.parts, self.size
  self.taken = self.taken + 1
  if self.ticks_per_ms then
    parts[2].u.i64 = core.scope[0].last_seen / self.ticks_per_ms
    if self.taken == 1 then self:check_age(parts[2].u.i64) end
  end
  parts[3].u.mem.ptr = C.nf_message_encode(self.value_encoder, core, size)
  parts[3].u.mem.size = size[0]
  if self.key_encoder then
    parts[4].u.mem.ptr = C.nf_message_encode(self.key_encoder, core, size)
    parts[4].u.mem.size = size[0]
  end
  local problem = lib.rd_kafka_produceva(self.producer, parts, self.part_count)
  if problem ~= nil and not self:insist(problem) then return false end
  self.queued = self.queued + 1
  if self.queued % SERVE_EVERY == 0 then self:serve(0) end
  return not self.failure
end

--- Where there are no records for a while, what is told is taken all the same.
function kafka:flush() self:serve(0) end

-- ---- ending ----

--- Takes back what has not been delivered.
function kafka:give_up()
  lib.rd_kafka_purge(self.producer, lib.RD_KAFKA_PURGE_F_QUEUE + lib.RD_KAFKA_PURGE_F_INFLIGHT)
  local deadline = now() + PURGE_SECONDS
  while self:on_their_way() > 0 and now() < deadline do self:serve(POLL_MS) end
  self.unsure = self.unsure + self:on_their_way()
end

--- Waits for what is on its way. Nothing can be written after that.
function kafka:finish()
  if self.is_finished then return end
  self.is_finished = true
  self:start_waiting()
  while not self.failure and self:on_their_way() > 0 and not self:has_waited(self.flush_seconds) do
    self:serve(POLL_MS)
  end
  if self:on_their_way() > 0 then self:give_up() end
end

--- How many records have been delivered, of all that it was given. Nothing can be written after that.
function kafka:count_written()
  if self.producer then self:finish() end
  return self.delivered
end

--- Why records were not delivered, or nil if all were.
function kafka:loss()
  local lost = self.taken - self.delivered
  if lost == 0 and not self.failure then return nil end
  local unsure = self.unsure > 0 and (" (%s of them perhaps)"):format(text.thousands(self.unsure)) or ""
  return ("cannot write %s: %s of %s records were not delivered%s: %s"):format(self.name, text.thousands(lost),
    text.thousands(self.taken), unsure, self.failure or self.trouble or "no answer in time")
end

function kafka:close()
  if not self.producer then return true end
  self:finish()
  local producer = self.producer
  self.producer = nil
  if self.handle ~= nil then lib.rd_kafka_topic_destroy(self.handle) end
  lib.rd_kafka_queue_destroy(self.queue)
  lib.rd_kafka_destroy(producer)
  local loss = self:loss()
  if loss then return nil, loss end
  return true
end

return kafka
