-- nf.streamer's parameters: NFStreamer's names, types, ranges and defaults. lua/nfengine/parameters.lua.

local nf = require "nfengine"
local engine = require "spec.support.engine"

-- As NFStreamer documents them, then ours: { name, default, accepted, refused, what is expected instead }.
local integer = "expected an integer from "
local table_ = {
  { "decode_tunnels", true, { true, false }, { 1, 0, "true" }, "expected true or false" },
  { "bpf_filter", nil, { "tcp", "" }, { 5, true }, "expected a string" },
  { "promiscuous_mode", true, { true, false }, { 1, "yes" }, "expected true or false" },
  { "snapshot_length", 1536, { 1, 65535 }, { 0, -1, 1.5, "1536", true }, integer .. "1 to 4294967295" },
  { "socket_buffer_size", 0, { 0, 2 ^ 31 - 1 }, { -1, 2 ^ 31, 0.5, false }, integer .. "0 to 2147483647" },
  { "idle_timeout", 120, { 0, 1, 2 ^ 53 }, { -1, 2 ^ 64, 0.5, "5", true, 1 / 0 }, integer .. "0 to " },
  { "active_timeout", 1800, { 0, 1, 2 ^ 53 }, { -1, 2 ^ 64, 0.5, "5", true, -1 / 0 }, integer .. "0 to " },
  { "accounting_mode", 0, { 0, 1, 2, 3 }, { -1, 4, 0.5, "raw" }, integer .. "0 to 3" },
  { "n_dissections", 20, { 0, 255 }, { -1, 256, 20.5, true }, integer .. "0 to 255" },
  { "dpi_cache", true, { true, false }, { 1, "on" }, "expected true or false" },
  { "statistical_analysis", false, { true, false }, { 1, "on" }, "expected true or false" },
  { "splt_analysis", 0, { 0, 65535 }, { -1, 65536, 2.5, true }, integer .. "0 to 65535" },
  { "n_meters", 0, { 0, 1, 64 }, { -1, 1.5, true }, integer .. "0 to 1024" },
  { "max_nflows", 0, { 0, 1, 2 ^ 53 }, { -1, 1.5, 0 / 0, true }, integer .. "0 to 9007199254740992" },
  { "max_packets", 0, { 0, 1, 2 ^ 53 }, { -1, 1.5, true }, integer .. "0 to 9007199254740992" },
  { "duration", 0, { 0, 3600 }, { -1, 0.5, 2 ^ 32, "1h" }, integer .. "0 to 4294967295" },
  { "reconnect", false, { true, false }, { 1, "yes" }, "expected true or false" },
  { "performance_report_file", nil, { "a.jsonl" }, { 5, true }, "expected a string" },
  { "performance_report", 0, { 0, 60 }, { -1, 1.5, true }, integer .. "0 to 4294967" },
  { "system_visibility_mode", 0, { 0, 1 }, { -1, 2, true }, integer .. "0 to 1" },
  { "system_visibility_poll_ms", 100, { 0, 1000 }, { -1, 0.5, true }, integer .. "0 to 4294967" },
  { "time_unit", "ms", { "ms", "us", "ns" }, { "s", "MS", 1 }, 'expected "ms", "us" or "ns"' },
  { "max_flows", 4194304, { 0, 1, 2 ^ 31 - 1 }, { -1, 2 ^ 31, 0.5 }, integer .. "0 to 2147483647" },
  { "columns", nil, { {}, { "id" }, "id" }, { 5, true, { 5 }, { "id", nil, "src_ip" }, { x = "id" } },
    "expected a list of names" },
  { "filter", nil, { function() end }, { "flow.protocol == 6", 5, true }, "expected a function of a flow" },
}

describe("nf.streamer's parameter", function()
  for _, row in ipairs(table_) do
    local name, default, accepted, refused, expected = row[1], row[2], row[3], row[4], row[5]

    describe(name, function()
      it("is " .. tostring(default) .. " by default", function()
        assert.equal(default, nf.streamer({})[name])
      end)

      it("takes what NFStream takes, when made and later", function()
        local streamer = nf.streamer {}
        for _, value in ipairs(accepted) do
          local kept = value == "id" and { "id" } or value -- one name stands for a list of it
          assert.same(kept, nf.streamer({ [name] = value })[name])
          streamer[name] = value
          assert.same(kept, streamer[name])
        end
      end)

      it("refuses anything else, when made and later", function()
        local streamer = nf.streamer {}
        for _, value in ipairs(refused) do
          local message = engine.refusal(nf.streamer, { [name] = value })
          assert.matches("nf.streamer: " .. name .. " = ", message, 1, true)
          assert.matches(": " .. expected, message, 1, true)
          message = engine.refusal(function() streamer[name] = value end)
          assert.matches("nf.streamer: " .. name .. " = ", message, 1, true)
          assert.matches(": " .. expected, message, 1, true)
          assert.equal(default, streamer[name])
        end
      end)

      it("goes back to its default with nil", function()
        local streamer = nf.streamer { [name] = accepted[1] }
        streamer[name] = nil
        assert.equal(default, streamer[name])
      end)
    end)
  end

  describe("source", function()
    it("is a path or a list of paths", function()
      assert.equal("a.pcap", nf.streamer({ source = "a.pcap" }).source)
      assert.same({ "a.pcap", "b.pcap" }, nf.streamer({ source = { "a.pcap", "b.pcap" } }).source)
      for _, value in ipairs { 5, true, "", {}, { 5 }, { "a.pcap", 5 }, { path = "a.pcap" } } do
        assert.matches(": expected a path or a list of paths", engine.refusal(nf.streamer, { source = value }), 1, true)
      end
    end)

    it("is needed before a run", function()
      assert.equal("nf.streamer: no source: give captures on the command line or set source",
        engine.refusal(function() return nf.streamer({}):flows() end))
    end)

    it("is opened when a run starts, not before", function()
      local streamer = nf.streamer { source = "/nowhere/a.pcap" }
      assert.matches("/nowhere/a.pcap.*No such file", engine.refusal(function() return streamer:flows() end))
    end)
  end)

  describe("udps", function()
    local Counter = nf.plugin { name = "counter" }

    it("is a plugin, a class of one, or a list of these", function()
      for _, value in ipairs { Counter, Counter {}, { Counter }, { Counter {}, Counter }, {} } do
        assert.equal(value, nf.streamer({ udps = value }).udps)
      end
    end)

    it("says what else is wrong with it", function()
      local counter = Counter {}
      assert.matches("nf.streamer: udps[2]: plugin counter is udps[1] already, expected another instance",
        engine.refusal(nf.streamer, { udps = { counter, counter } }), 1, true)
    end)

    it("is nothing else", function()
      local refused = { 5, true, "counter", print, { 5 }, { Counter, "x" }, { counter = Counter }, { nil, Counter } }
      for _, value in ipairs(refused) do
        local message = engine.refusal(nf.streamer, { udps = value })
        assert.matches("nf.streamer: udps[%[.%a%d%]]* = ", message)
        assert.matches(": expected a plugin made by nf.plugin, or a list of these", message, 1, true)
      end
    end)
  end)
end)

describe("nf.streamer", function()
  it("names the nearest parameter to one it does not know, when made and later", function()
    local expected = "nf.streamer: unknown parameter \"idle_timeot\" (did you mean 'idle_timeout'?)"
    assert.matches(expected, engine.refusal(nf.streamer, { idle_timeot = 5 }), 1, true)
    local streamer = nf.streamer {}
    assert.matches(expected, engine.refusal(function() streamer.idle_timeot = 5 end), 1, true)
    assert.matches('unknown parameter "colour"$', engine.refusal(nf.streamer, { colour = 5 }))
    assert.matches("unknown parameter 1", engine.refusal(nf.streamer, { "a.pcap" }), 1, true)
  end)

  it("says which line of the script is wrong", function()
    local line = debug.getinfo(1, "l").currentline + 1
    local message = engine.refusal(function() local _ = nf.streamer { idle_timeout = -1 } end)
    assert.matches("parameters_spec.lua:" .. line .. ": nf.streamer: idle_timeout = -1: expected", message, 1, true)
    local streamer = nf.streamer {}
    message = engine.refusal(function() streamer.idle_timeout = -1 end)
    assert.matches("parameters_spec.lua:" .. line + 3 .. ": nf.streamer: idle_timeout = -1", message, 1, true)
  end)

  it("takes a table and nothing else", function()
    for _, value in ipairs { "a.pcap", 5, true } do
      assert.matches("nf.streamer: expected a table of parameters", engine.refusal(nf.streamer, value), 1, true)
    end
    assert.matches("nf.streamer: expected a table of parameters", engine.refusal(nf.streamer), 1, true)
  end)

  it("leaves the table it was given alone", function()
    local given = { idle_timeout = 5 }
    local streamer = nf.streamer(given)
    streamer.idle_timeout = 6
    given.idle_timeout = 7
    assert.equal(6, streamer.idle_timeout)
  end)

  it("lists its parameters for documentation", function()
    local seen = {}
    for _, parameter in ipairs(nf.parameters) do
      assert.is_true(#parameter.doc > 0)
      seen[parameter.name] = parameter
    end
    for _, row in ipairs(table_) do assert.equal(row[2], seen[row[1]].default) end
  end)
end)
