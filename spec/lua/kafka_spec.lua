-- Output to Kafka: lua/nfengine/output/kafka.lua and kafka_options.lua, against the broker that librdkafka plays.
-- $NFENGINE_LONG_OUTAGE=1 makes the broker's absence 20 seconds long and not 3.

local bit = require "bit"
local cjson = require "cjson"
local ffi = require "ffi"
local capture = require "nfengine.testing.capture"
local engine = require "spec.support.engine"
local kafka = require "spec.support.kafka"
local kafka_options = require "nfengine.output.kafka_options"
local names = require "nfengine.output.names"
local meter = require "spec.support.meter"
local program = require "spec.support.program"

ffi.cdef "int setenv(const char *name, const char *value, int overwrite); int unsetenv(const char *name);"

local WEB, DNS = "samples/web.pcap", "samples/dns.pcap"
local OUTAGE_SECONDS = os.getenv "NFENGINE_LONG_OUTAGE" == "1" and 20 or 3
-- Samples are as old as they are: nothing is to be said of it.
local QUICK = { "-q", "--kafka-timestamp=last_seen", "--kafka-flush-seconds=1" }

local function lines(text)
  local list = {}
  for line in text:gmatch "(.-)\n" do list[#list + 1] = line end
  return list
end

local function values_of(messages)
  local list = {}
  for i, message in ipairs(messages) do list[i] = message.value end
  return list
end

local function run(...)
  local words = { unpack(QUICK) }
  for _, word in ipairs { ... } do words[#words + 1] = word end
  return program.run(unpack(words))
end

-- The one line on standard error of a run that fails with this status.
local function failure(status, ...)
  local result = run(...)
  assert.equal(status, result.status, result.err)
  return assert(result.err:match "^nfengine: ([^\n]*)\n$", "expected one line, got: " .. result.err)
end

local function sleep(seconds) os.execute("sleep " .. seconds) end

-- What waits is looked at again and again, for ten seconds or as long as the broker is away.
local function wait_for(what, is_there)
  for _ = 1, 10 * (10 + OUTAGE_SECONDS) do
    local answer = is_there()
    if answer then return answer end
    sleep(0.1)
  end
  error("waited in vain for " .. what)
end

describe("what an output to Kafka is told", function()
  after_each(engine.cleanup)

  local function check(given, overrides) return kafka_options.check(given, overrides or {}) end
  local function place(more)
    local given = { brokers = "a:9092", topic = "flows" }
    for name, value in pairs(more or {}) do given[name] = value end
    return given
  end

  it("has an address for brokers and topic", function()
    local wrong = { "kafka://a", "kafka://a/", "kafka:///b", "kafka://a/b/c", "kafka://a/b?c", "kafka://a/ü" }
    assert.equal("kafka", names.scheme "kafka://a/b")
    assert.is_nil(names.scheme "kafka.csv")
    assert.is_nil(names.scheme(io.stdout))
    local made = check { address = "kafka://one:9092,[::1]:9093/net.flows-1_x" }
    assert.same({ "one:9092,[::1]:9093", "net.flows-1_x" }, { made.brokers, made.topic })
    for _, address in ipairs(wrong) do
      assert.matches("expected", engine.refusal(check, { address = address }), 1, true)
    end
  end)

  it("loses nothing and writes nothing twice by default, however long it takes", function()
    local made = check(place())
    assert.same({ ["client.id"] = "nfengine", ["enable.idempotence"] = "true", ["message.timeout.ms"] = "0" },
      made.properties)
    assert.same({ "json", 60 }, { made.format, made.flush_seconds })
  end)

  it("takes properties from a file, from the script, from the command line, the later ones winning", function()
    local config = program.write("# for tests\n\n a.b = 1 \nc=x = y\nd=1\ne=1\n", ".properties")
    local second = program.write("d=2\n", ".properties")
    local made = check(place { config = config, options = { d = 3, e = false } },
      { config = second, options = kafka_options.of_words { "e=4", "f=a=b" } })
    local properties = made.properties
    assert.same({ "1", "x = y", "3", "4", "a=b" },
      { properties["a.b"], properties.c, properties.d, properties.e, properties.f })
    assert.equal("true", check(place { config = config }, { options = {} }).properties["enable.idempotence"])
  end)

  it("takes secrets from the environment and from files, and never shows them", function()
    local secret = "hunter2"
    ffi.C.setenv("NFENGINE_SASL_PASSWORD", secret, 1)
    local from_environment = check(place()).properties["sasl.password"]
    ffi.C.unsetenv "NFENGINE_SASL_PASSWORD"
    assert.equal(secret, from_environment)
    local config = program.write("sasl.password=" .. secret .. "\n", ".properties")
    assert.equal(secret, check(place { config = config }).properties["sasl.password"])
    local bad = program.write("\nsasl.password: " .. secret .. "\n", ".properties")
    assert.equal(bad .. ":2: expected PROPERTY=VALUE", engine.refusal(check, place { config = bad }))
    for _, words in ipairs { "sasl.password=" .. secret, "sasl.password:" .. secret, "ssl.key.password=" .. secret } do
      local line = failure(2, "flows", "-o", "kafka://a/b", "--kafka-option", words, DNS)
      assert.matches("^%-%-kafka%-option: .*expected", line)
      assert.is_nil(line:find(secret, 1, true))
    end
    local line = failure(2, "flows", "-o", "kafka://user:" .. secret .. "@a/b", DNS)
    assert.equal("-o: kafka://…: a user or password, expected in --kafka-config or the environment", line)
  end)

  it("is refused in one line where it is wrong", function()
    for expected, given in pairs {
      ["brokers = nil: expected BROKER[:PORT], or a list of them"] = { topic = "b" },
      ['topic "a b": expected letters'] = place { topic = "a b" },
      ["topic nil: expected letters"] = { brokers = "a" },
      ["key = a table: expected a column's name"] = place { key = {} },
      ['format = "parquet": expected "json" or "csv"'] = place { format = "parquet" },
      ['timestamp = "then": expected "last_seen" or "now"'] = place { timestamp = "then" },
      ["flush_seconds = -1: expected a number of at least 0"] = place { flush_seconds = -1 },
      ["options: expected a table"] = place { options = "a=b" },
      ["bootstrap.servers is set by nfengine, expected brokers"] = place { options = { ["bootstrap.servers"] = "a" } },
      ["/nowhere: No such file or directory"] = place { config = "/nowhere" },
    } do
      assert.matches(expected, engine.refusal(check, given), 1, true)
    end
    local streamer = engine.streamer()
    assert.matches("^spec/lua/kafka_spec.lua:%d+: topic",
      (select(2, pcall(function() streamer:to_kafka(place { topic = "a b" }) end))))
    assert.matches("unknown option \"topik\"", engine.refusal(function() streamer:to_kafka { topik = 1 } end), 1, true)
    assert.matches("expected a table", engine.refusal(function() streamer:to_kafka "kafka://a/b" end), 1, true)
    assert.matches("flows_per_file: expected a file", engine.refusal(function()
      streamer:write("kafka://a/b", { flows_per_file = 5 })
    end), 1, true)
  end)

  it("is refused before the run where the network is not there", function()
    local script = engine.script_file('require("nfengine").streamer({}):to_kafka { brokers = "a", topic = "b" }')
    for _, option in ipairs { "--sandbox", "--safe", "--user=nobody" } do
      assert.matches("the network is not there, expected", failure(2, option, "-o", "kafka://a/b", DNS), 1, true)
      assert.matches("the network is not there, expected", failure(1, option, script, DNS), 1, true)
    end
  end)

  it("has no effect where records go elsewhere, which is said", function()
    local result = program.run("-q", "flows", "-o", "/dev/null", "--kafka-key=src_ip", DNS)
    assert.same({ 0, "nfengine: warning: --kafka-key has no effect: this run writes nothing to Kafka\n" },
      { result.status, result.err })
    local script = engine.script_file('require("nfengine").streamer({}):to_kafka { brokers = "a", topic = "b" }')
    local path = program.temporary ".csv"
    assert.same({ status = 0, out = "", err = "" }, program.run("-q", script, "-o", path, DNS))
    assert.equal(program.run("-q", "flows", DNS).out, program.read(path))
    assert.equal(0, program.run("-q", "flows", "-o", "kafka://nowhere/b", "--format=null", DNS).status)
  end)

  it("says which package is missing", function()
    local script = engine.script_file [[
      local load = require("ffi").load
      require("ffi").load = function(name, ...)
        if name:match "rdkafka" then error "no such file" end
        return load(name, ...)
      end
      require("nfengine").streamer({}):to_kafka { brokers = "a", topic = "b" }]]
    assert.matches("librdkafka.so.1 is not there, expected the Debian package librdkafka1", failure(1, script, DNS), 1,
      true)
  end)
end)

describe("output to Kafka", function()
  if not kafka.is_there then return pending(kafka.missing) end

  local cluster
  before_each(function() cluster = kafka.cluster() end)
  after_each(function()
    cluster:close()
    engine.cleanup()
  end)

  it("gives the rows of JSON lines, and of CSV, a message each", function()
    for format, topic in pairs { jsonl = "a", csv = "b" } do
      local options = { "--statistical-analysis", "--splt-analysis=3", "--format=" .. format, WEB }
      local rows = lines(program.run("-q", "flows", unpack(options)).out)
      if format == "csv" then table.remove(rows, 1) end
      assert.same({ status = 0, out = "", err = "" }, run("flows", "-o", cluster:address(topic), unpack(options)))
      local messages = cluster:messages(topic, #rows)
      assert.same(rows, values_of(messages))
      assert.is_nil(messages[1].key)
    end
  end)

  it("writes JSON unless something else is said, whatever the number of meters", function()
    local rows = lines(program.run("-q", "flows", "--format=jsonl", "--no-dpi-cache", WEB).out)
    local result = program.run("flows", "-o", cluster:address "flows.csv", "--n-meters=3", "--no-dpi-cache", WEB)
    assert.matches("^nfengine: 390 packets, 32 flows, ", result.err:match "[^\n]*\n$")
    assert.same(rows, values_of(cluster:messages("flows.csv", #rows)))
  end)

  it("has keys, by which partitions are chosen, and the time of the last packet", function()
    assert.equal(0, run("flows", "-o", cluster:address("keys", 4), "--kafka-key=src_ip,dst_port",
      "--columns=id,src_ip,dst_port,bidirectional_last_seen_us", "--time-unit=us", WEB).status)
    local messages, partitions, used = cluster:messages("keys", 32), {}, {}
    assert.equal(32, #messages)
    for _, message in ipairs(messages) do
      local record = cjson.decode(message.value)
      assert.equal(("%s,%d"):format(record.src_ip, record.dst_port), message.key)
      assert.equal(math.floor(record.bidirectional_last_seen_us / 1000), message.time)
      local partition = partitions[message.key] or message.partition
      assert.equal(partition, message.partition)
      partitions[message.key], used[partition] = partition, true
    end
    local count = 0
    for _ in pairs(used) do count = count + 1 end
    assert.is_true(count > 1)
  end)

  it("may have the time of sending, and warns of times that topics are not kept for", function()
    local before = os.time() * 1000
    assert.equal("", program.run("-q", "flows", "-o", cluster:address "now", "--kafka-timestamp=now", DNS).err)
    for _, message in ipairs(cluster:messages("now", 15)) do assert.is_true(message.time >= before) end
    local old = program.write(capture.pcap({ meter.udp(1000, 53) }, { ns = true }), ".pcap")
    local words = { "-q", "flows", "--no-dpi", "-o", cluster:address "old", old }
    assert.matches("^nfengine: warning: \"kafka://[^\"]*/old\": the first record is %d+ days old: [^\n]*\n$",
      program.run(unpack(words)).err)
    assert.equal("", program.run("--kafka-timestamp=last_seen", unpack(words)).err)
  end)

  it("serves scripts, which are told how many records were delivered", function()
    local address = cluster:address "script"
    local count = engine.streamer({ columns = { "id", "src_port" } }):to_kafka {
      brokers = { cluster:brokers() }, topic = "script", key = "dst_ip", format = "csv", timestamp = "last_seen",
      options = { ["compression.codec"] = "zstd", ["linger.ms"] = 1 },
    }
    assert.equal(15, count)
    local messages = cluster:messages("script", 15)
    assert.equal(15, #messages)
    assert.matches("^0,%d+$", messages[1].value)
    assert.equal("192.0.2.1", messages[1].key) -- which is no column of the records
    assert.equal(15, engine.streamer({ columns = { "id" } }):write(address))
    assert.equal('{"id":14}', cluster:messages("script", 30)[30].value)
  end)

  it("is refused where all is to go into a folder", function()
    local result = run("flows", "--into=" .. os.getenv "PWD", "-o", cluster:address "into", DNS)
    assert.equal(1, result.status)
    assert.matches("^nfengine: .*%-%-into [^\n]*: expected a file, got kafka://[^\n]*\n$", result.err)
  end)

  it("anonymises values, and keys of the same columns", function()
    cluster:address "hidden"
    local key = ("k"):rep(64)
    engine.streamer({ columns = { "id", "src_ip" } }):to_kafka {
      brokers = cluster:brokers(), topic = "hidden", key = { "src_ip", "ip_version" }, format = "csv",
      columns_to_anonymize = { "src_ip" }, anonymization_key = key, timestamp = "last_seen",
    }
    local path = program.temporary ".csv"
    engine.streamer({ columns = { "id", "src_ip" } }):to_csv(path,
      { columns_to_anonymize = { "src_ip" }, anonymization_key = key })
    local messages = cluster:messages("hidden", 15)
    assert.same({ select(2, unpack(lines(program.read(path)))) }, values_of(messages))
    for _, message in ipairs(messages) do
      assert.equal(message.value:match '"(%x+)"', message.key:match "^(%x+),[46]$")
    end
  end)

  it("fails in one line before packets are read where something is wrong", function()
    local address = cluster:address "wrong"
    local function check(expected, ...)
      assert.equal(('cannot write "%s": %s'):format(address, expected), failure(1, "flows", "-o", address, ...))
    end
    check('No such configuration property: "foo"', "--kafka-option=foo=bar", DNS)
    check("`acks` must be set to `all` when `enable.idempotence` is true", "--kafka-option=acks=1", DNS)
    check("key: no column \"src_op\" in this run (did you mean 'src_ip'?)", "--kafka-key=src_op", DNS)
    cluster:refuse("wrong", 29)
    check("Broker: Topic authorization failed", DNS)
  end)

  it("fails in one line where no broker answers within ten seconds", function()
    local address = cluster:address "away"
    cluster:go_down()
    assert.matches(('^cannot write "%s": .*Connection refused'):format(address:gsub("%p", "%%%0")),
      failure(1, "flows", "-o", address, DNS))
  end)

  it("ends with the first record that a broker will not have", function()
    local address = cluster:address "large"
    local words = { "flows", "-o", address, "--kafka-option=message.max.bytes=1000", "--statistical-analysis", DNS }
    local reason = "1 of 1 records were not delivered: Broker: Message size too large"
    assert.equal(('cannot write "%s": %s'):format(address, reason), failure(1, unpack(words)))
    cluster:answer_with(87) -- of which librdkafka knows that trying again is in vain
    assert.matches('^cannot write "[^"]+": %d+ of %d+ records were not delivered: Broker: Broker failed to validate',
      failure(1, "flows", "-o", address, "--columns=id", DNS))
  end)

  it("leaves signals to the program", function()
    local result = engine.script(([[
      local nf, lfs = require "nfengine", require "nfengine.lfs"
      local Threads = nf.plugin { name = "threads", cleanup = function()
        for task in lfs.dir "/proc/self/task" do
          local status = io.open("/proc/self/task/" .. task .. "/status")
          local text = status and status:read "*a" or ""
          local name, blocked = text:match "Name:%%s*(%%S+)", text:match "SigBlk:%%s*(%%x+)"
          if name and name:match "^rdk:" then print(name, blocked) end
        end
      end }
      local given = { udps = Threads, n_meters = 1 }
      nf.streamer(given):write "%s"]]):format(cluster:address "signals"), "-q", DNS)
    assert.equal(0, result.status, result.err)
    local count = 0
    for blocked in result.out:gmatch "%S+\t(%x+)\n" do
      count = count + 1
      local signals = 0x4a03 -- HUP, INT, USR1, USR2, TERM
      assert.equal(signals, bit.band(tonumber(blocked:sub(-8), 16), signals))
    end
    assert.is_true(count >= 2, result.out)
  end)
end)

describe("a broker that goes away", function()
  if not kafka.is_there then return pending(kafka.missing) end

  local cluster, files
  before_each(function()
    cluster, files = kafka.cluster(), {}
    for _, name in ipairs { "input", "err", "status", "pid", "rest" } do
      files[name] = program.temporary("." .. name)
    end
    assert(os.execute("mkfifo " .. files.input) == 0)
  end)
  after_each(function()
    if not program.read(files.status) then os.execute("kill -KILL " .. program.read(files.pid)) end
    cluster:close()
    engine.cleanup()
  end)

  -- Flows of a packet each, which end with the next one's.
  local function packets(from, to)
    local list = {}
    for i = from, to do list[#list + 1] = meter.udp(10 * i, 1024 + i) end
    return list
  end

  -- Starts the program on standard input, which is returned as a file to write to.
  local function start(...)
    local words = { program.quote(program.path), "flows", "-", "--idle-timeout=0", "--no-dpi", "--n-meters=1",
      "--columns=id,src_port", "--kafka-timestamp=last_seen", "--kafka-option=reconnect.backoff.max.ms=500", ... }
    os.execute(([[{ %s <%s 2>%s & echo $! >%s; wait $!; echo $? >%s; } &]]):format(table.concat(words, " "),
      files.input, files.err, files.pid, files.status))
    return assert(io.open(files.input, "wb"))
  end

  -- The bytes of packets behind a file's header.
  local function bytes_of(list) return capture.pcap(list, { ns = true }):sub(25) end

  -- Has more packets come while the program may not read them yet.
  local function feed(list)
    program.write(bytes_of(list), files.rest)
    os.execute(("cat %s >%s &"):format(files.rest, files.input))
  end

  local function result()
    local status = wait_for("the end of the run", function()
      return (program.read(files.status) or ""):match "(%d+)\n"
    end)
    return tonumber(status), lines(program.read(files.err))
  end

  local function interrupt() os.execute("kill -INT " .. program.read(files.pid)) end

  -- That there are the messages of these flows, each once, and in order.
  local function check_ids(topic, count)
    local messages = cluster:messages(topic, count)
    assert.equal(count, #messages)
    for i, message in ipairs(messages) do
      assert.equal(('{"id":%d,"src_port":%d}'):format(i - 1, 1024 + i), message.value)
    end
  end

  it("makes the run wait, and loses nothing", function()
    local address = cluster:address "gap"
    local input = start("-o", address, "--kafka-option=queue.buffering.max.messages=100")
    input:write(capture.pcap(packets(1, 300), { ns = true }))
    input:flush()
    assert.equal(300, #cluster:messages("gap", 300))
    cluster:go_down()
    feed(packets(301, 4000))
    sleep(0.3)
    input:close()
    sleep(OUTAGE_SECONDS)
    assert.is_nil(program.read(files.status))
    cluster:come_up()
    local status, said = result()
    assert.equal(0, status)
    assert.equal(2, #said)
    assert.matches('^nfengine: warning: "kafka://[^"]*": nothing gets through, records wait: ', said[1])
    assert.matches("^nfengine: 4,000 packets, 4,000 flows, ", said[2])
    check_ids("gap", 4000)
  end)

  it("and is still away at the end is waited for, and then told", function()
    local address = cluster:address "end"
    local input = start("-o", address, "--kafka-flush-seconds=2")
    input:write(capture.pcap(packets(1, 300), { ns = true }))
    input:flush()
    assert.equal(300, #cluster:messages("end", 300))
    cluster:go_down()
    input:write(bytes_of(packets(301, 400)))
    input:close()
    local status, said = result()
    assert.equal(1, status)
    assert.matches("^nfengine: 400 packets, 300 flows, ", said[#said - 1])
    assert.matches('^nfengine: cannot write "' .. address:gsub("%p", "%%%0")
      .. '": 100 of 400 records were not delivered: .*Connection refused', said[#said])
    cluster:come_up()
    check_ids("end", 300)
  end)

  it("does not keep a run that is interrupted", function()
    local address = cluster:address "stop"
    local input = start("-o", address, "--kafka-flush-seconds=1", "--kafka-option=queue.buffering.max.messages=100")
    input:write(capture.pcap(packets(1, 300), { ns = true }))
    input:flush()
    assert.equal(300, #cluster:messages("stop", 300))
    cluster:go_down()
    feed(packets(301, 4000))
    wait_for("the warning", function() return program.read(files.err):match "records wait" end)
    sleep(0.5)
    local began = os.time()
    interrupt()
    local status, said = result()
    input:close()
    assert.is_true(os.time() - began <= 4)
    assert.equal(1, status)
    assert.matches("^nfengine: [%d,]+ packets, 300 flows, .*, interrupted$", said[#said - 1])
    assert.matches("10[0-2] of %d+ records were not delivered: ", said[#said])
  end)
end)
