-- A cluster of one broker that librdkafka plays in this process, and a consumer. The broker does what it is told while
-- a spec waits for a program: it has a thread of its own.
--
--   local cluster = kafka.cluster()
--   program.run("flows", "-o", cluster:address "topic", "samples/dns.pcap")
--   for _, message in ipairs(cluster:messages("topic", 16)) do print(message.key, message.value, message.time) end
--   cluster:close()

local ffi = require "ffi"
local C = require "nfengine.lib"

local kafka = {}

local ok, lib = pcall(require, "nfengine.rdkafka")

--- Whether librdkafka is here, and else why specs that need it are pending.
kafka.is_there, kafka.missing = ok, "needs the Debian package librdkafka1"
if not ok then return kafka end

ffi.cdef [[
typedef struct rd_kafka_mock_cluster_s rd_kafka_mock_cluster_t;
rd_kafka_mock_cluster_t *rd_kafka_mock_cluster_new(rd_kafka_t *rk, int broker_cnt);
void rd_kafka_mock_cluster_destroy(rd_kafka_mock_cluster_t *mcluster);
const char *rd_kafka_mock_cluster_bootstraps(const rd_kafka_mock_cluster_t *mcluster);
int rd_kafka_mock_topic_create(rd_kafka_mock_cluster_t *mcluster, const char *topic, int partition_cnt, int replicas);
void rd_kafka_mock_topic_set_error(rd_kafka_mock_cluster_t *mcluster, const char *topic, rd_kafka_resp_err_t err);
int rd_kafka_mock_broker_set_down(rd_kafka_mock_cluster_t *mcluster, int32_t broker_id);
int rd_kafka_mock_broker_set_up(rd_kafka_mock_cluster_t *mcluster, int32_t broker_id);
int rd_kafka_mock_broker_set_rtt(rd_kafka_mock_cluster_t *mcluster, int32_t broker_id, int rtt_ms);
void rd_kafka_mock_push_request_errors(rd_kafka_mock_cluster_t *mcluster, int16_t api, size_t count, ...);
typedef struct rd_kafka_topic_partition_list_s rd_kafka_topic_partition_list_t;
rd_kafka_topic_partition_list_t *rd_kafka_topic_partition_list_new(int size);
void *rd_kafka_topic_partition_list_add(rd_kafka_topic_partition_list_t *list, const char *topic, int32_t partition);
void rd_kafka_topic_partition_list_destroy(rd_kafka_topic_partition_list_t *list);
int rd_kafka_assign(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *partitions);
rd_kafka_message_t *rd_kafka_consumer_poll(rd_kafka_t *rk, int timeout_ms);
void rd_kafka_message_destroy(rd_kafka_message_t *rkmessage);
int64_t rd_kafka_message_timestamp(const rd_kafka_message_t *rkmessage, int *tstype);
int rd_kafka_poll_set_consumer(rd_kafka_t *rk);
]]

local PRODUCE = 0 -- the number of that request
local PARTITIONS = 4

local cluster = {}
cluster.__index = cluster

local function client(kind, properties)
  local conf, message = lib.rd_kafka_conf_new(), ffi.new "char[512]"
  lib.rd_kafka_conf_set_log_cb(conf, nil)
  for name, value in pairs(properties) do
    assert(lib.rd_kafka_conf_set(conf, name, value, message, 512) == 0, ffi.string(message))
  end
  local made = lib.rd_kafka_new(kind, conf, message, 512)
  assert(made ~= nil, ffi.string(message))
  return made
end

--- A cluster that makes topics as they are asked for, with four partitions each.
function kafka.cluster()
  local handle = client(lib.RD_KAFKA_PRODUCER, {})
  local mock = lib.rd_kafka_mock_cluster_new(handle, 1)
  assert(mock ~= nil, "no mock cluster")
  return setmetatable({ handle = handle, mock = mock }, cluster)
end

function cluster:brokers() return ffi.string(lib.rd_kafka_mock_cluster_bootstraps(self.mock)) end

--- A topic of so many partitions (1), as -o takes it.
function cluster:address(topic, partitions)
  lib.rd_kafka_mock_topic_create(self.mock, topic, partitions or 1, 1)
  return ("kafka://%s/%s"):format(self:brokers(), topic)
end

function cluster:go_down() assert(lib.rd_kafka_mock_broker_set_down(self.mock, 1) == 0) end
function cluster:come_up() assert(lib.rd_kafka_mock_broker_set_up(self.mock, 1) == 0) end

--- Whoever asks for a topic is told this error.
function cluster:refuse(topic, code) lib.rd_kafka_mock_topic_set_error(self.mock, topic, code) end

--- The next message that comes is answered by this error.
function cluster:answer_with(code)
  lib.rd_kafka_mock_push_request_errors(self.mock, PRODUCE, 1, ffi.cast("int", code))
end

--- How long every answer takes.
function cluster:answer_after(milliseconds) lib.rd_kafka_mock_broker_set_rtt(self.mock, 1, milliseconds) end

local function assign(consumer, topic)
  local list = lib.rd_kafka_topic_partition_list_new(PARTITIONS)
  for partition = 0, PARTITIONS - 1 do lib.rd_kafka_topic_partition_list_add(list, topic, partition) end
  assert(lib.rd_kafka_assign(consumer, list) == 0)
  lib.rd_kafka_topic_partition_list_destroy(list)
end

local function text_of(bytes, size) return bytes ~= nil and ffi.string(bytes, size) or nil end

--- The messages of a topic, once there are so many, and what comes within half a second more; or what has come in ten
-- seconds: a list of { value, key, time (ms), partition }.
function cluster:messages(topic, count)
  local consumer = client(lib.RD_KAFKA_CONSUMER, {
    ["bootstrap.servers"] = self:brokers(), ["group.id"] = "spec", ["auto.offset.reset"] = "earliest",
    ["enable.auto.commit"] = "false", -- the next one begins anew
  })
  lib.rd_kafka_poll_set_consumer(consumer)
  assign(consumer, topic)
  local messages, deadline = {}, C.nf_now() + 10
  while C.nf_now() < deadline do
    local message = lib.rd_kafka_consumer_poll(consumer, 50)
    if message ~= nil then
      if message.err == 0 then
        messages[#messages + 1] = {
          value = text_of(message.payload, message.len), key = text_of(message.key, message.key_len),
          time = tonumber(lib.rd_kafka_message_timestamp(message, nil)), partition = message.partition,
        }
        if #messages == count then deadline = C.nf_now() + 0.5 end
      end
      lib.rd_kafka_message_destroy(message)
    end
  end
  lib.rd_kafka_destroy(consumer)
  return messages
end

function cluster:close()
  lib.rd_kafka_mock_cluster_destroy(self.mock)
  lib.rd_kafka_destroy(self.handle)
end

return kafka
