-- Declaring plugins and their typed columns: lua/nfengine/plugin.lua.

local nf = require "nfengine"
local bytes = require "nfengine.bytes"
local engine = require "spec.support.engine"
local meter = require "spec.support.meter"

local function refused(definition) return engine.refusal(nf.plugin, definition) end

-- The udps of one flow of one packet after these hooks.
local function udps_of(definition)
  definition.name = definition.name or "probe"
  return engine.flows({ packets = { meter.udp(0, 1000) }, udps = nf.plugin(definition) })[1].udps
end

-- The message of an error in on_init.
local function refusal_in(columns, body)
  return engine.refusal(udps_of, { columns = columns, on_init = body })
end

describe("declaring a plugin", function()
  it("needs a name of letters, digits and underscores", function()
    for _, name in ipairs { "", "two words", "1st", "a-b", "_a", 5 } do
      assert.matches(": expected letters, digits and underscores", refused { name = name }, 1, true)
    end
    assert.matches("name = nil", refused {}, 1, true)
    assert.equal("plugin fine_2", tostring(nf.plugin { name = "fine_2" }))
  end)

  it("takes a table and nothing else", function()
    for _, value in ipairs { 5, "counter", true, print } do
      assert.matches("nf.plugin: .*: expected a table", refused(value))
    end
  end)

  it("refuses fields and hooks it does not know, with the nearest", function()
    assert.matches("plugin a: unknown field \"colums\" (did you mean 'columns'?)",
      refused { name = "a", colums = {} }, 1, true)
    assert.matches("plugin a: unknown field \"on_expired\" (did you mean 'on_expire'?)",
      refused { name = "a", on_expired = print }, 1, true)
    assert.matches("plugin a: unknown field 1", refused { name = "a", print }, 1, true)
  end)

  it("refuses fields of the wrong type", function()
    assert.matches("plugin a: on_init: expected a function, got string", refused { name = "a", on_init = "x" }, 1, true)
    for _, part in ipairs { "columns", "state" } do
      assert.matches(("plugin a: %s: expected a table or a function of the options, got string"):format(part),
        refused { name = "a", [part] = "x" }, 1, true)
    end
    assert.matches("plugin a: description: expected a string", refused { name = "a", description = {} }, 1, true)
  end)

  it("refuses gaps among columns, which would hide some without a word", function()
    local x, y = { "x", "uint8" }, { "y", "uint8" }
    for _, list in ipairs { { x, nil, y }, { [2] = y }, { x, [1.5] = y }, { [0] = x } } do
      assert.matches("plugin a: column [xy]: number [%d.]+ in its list without one before it, expected no gaps",
        refused { name = "a", columns = list })
    end
  end)

  it("refuses hooks that are C's", function()
    assert.matches("plugin a: on_update: expected a function written in Lua, got one of C's",
      refused { name = "a", on_update = print }, 1, true)
  end)

  it("takes what describes it to people", function()
    nf.plugin { name = "a", version = "1.0", api = 1, description = "x", author = "y", license = "z",
      categories = { "tls" } }
  end)

  it("says at which line of the script it is wrong", function()
    local message = engine.refusal(function() local _ = nf.plugin { name = "a", hook = 1 } end)
    assert.matches("^spec/lua/plugin_spec.lua:%d+: plugin a: unknown field", message)
  end)

  for _, part in ipairs { "columns", "state" } do
    describe("with " .. part, function()
      local function refused_slot(slot) return refused { name = "a", [part] = { slot } } end

      it("takes every type", function()
        for type_name in ([[bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float double string string:1
          string:65535 uint8[1] int64[20] double[3] float[65535] ]]):gmatch "%S+" do
          nf.plugin { name = "a", [part] = { { "x", type_name, "what it is" } } }
        end
      end)

      it("refuses other types and says which there are", function()
        for _, type_name in ipairs { "uint31", "", "int", "text", "ip", "char", "string[5]", "bool[5]", "uint8[]",
            "uint8[x]", "UINT8", "uint8 ", 5, true } do
          assert.matches("plugin a: %a+ x: type .*: expected bool, int8 to int64", refused_slot { "x", type_name })
        end
        assert.matches("type nil: expected bool", refused_slot { "x" })
      end)

      it("refuses lengths out of range", function()
        for _, type_name in ipairs { "string:0", "string:65536", "uint8[0]", "double[65536]" } do
          assert.matches('type "' .. type_name .. '": expected a length from 1 to 65535',
            refused_slot { "x", type_name }, 1, true)
        end
      end)

      it("refuses names that cannot be members", function()
        for _, name in ipairs { "", "1x", "x y", "x-y", "_x", "é", "udps.x", 5, true } do
          assert.matches("expected a name of letters, digits and underscores", refused_slot { name, "uint8" }, 1, true)
        end
        local keywords = "int struct char const union enum register asm complex bool uint8_t end function nil local and"
        for word in keywords:gmatch "%S+" do
          assert.matches('"' .. word .. '": expected a name .* that is no keyword of C or Lua',
            refused_slot { word, "uint8" })
        end
      end)

      it("refuses entries of another form", function()
        assert.matches("expected { name, type, doc }, got \"x\"", refused_slot "x", 1, true)
        assert.matches("expected { name, type, doc }, got x = \"uint8\"",
          refused { name = "a", [part] = { x = "uint8" } }, 1, true)
      end)
    end)
  end
end)

describe("a column's name", function()
  it("may be any other word", function()
    local words = "size_t time_t typeof class new this data at size length keys udps core id flow packet"
    for word in words:gmatch "%S+" do
      local columns = { { word, "uint8" }, { word .. "_text", "string" }, { word .. "_wide", "int64" } }
      local udps = udps_of { columns = columns, on_init = function(_, _, flow)
        flow.udps[word], flow.udps[word .. "_text"], flow.udps[word .. "_wide"] = 5, "x", -1
      end }
      assert.same({ 5, "x", -1 }, { udps[word], udps[word .. "_text"], udps[word .. "_wide"] }, word)
    end
  end)

  it("belongs to one plugin of a run", function()
    local First = nf.plugin { name = "first", columns = { { "hits", "uint8" } } }
    local Second = nf.plugin { name = "second", columns = { { "hits", "uint32" } } }
    local Third = nf.plugin { name = "third", state = { { "hits", "uint32" } } }
    for _, other in ipairs { Second, Third } do
      assert.matches("plugin %a+: column hits is already declared by plugin first",
        engine.refusal(engine.flows, { udps = { First, other } }))
    end
    assert.matches("plugin first: column hits is already declared by plugin first",
      engine.refusal(engine.flows, { udps = { First, First {} } }), 1, true)
    assert.matches("plugin both: column x is already declared by plugin both",
      engine.refusal(engine.flows, { udps = nf.plugin { name = "both", columns = { { "x", "uint8" } },
        state = { { "x", "uint8" } } } }), 1, true)
  end)
end)

describe("a plugin's column", function()
  after_each(engine.cleanup)

  local limits = {
    int8 = { -128, 127 }, int16 = { -32768, 32767 }, int32 = { -2 ^ 31, 2 ^ 31 - 1 }, int64 = { -2 ^ 53, 2 ^ 53 },
    uint8 = { 0, 255 }, uint16 = { 0, 65535 }, uint32 = { 0, 2 ^ 32 - 1 }, uint64 = { 0, 2 ^ 53 },
    float = { -0.5, 2 ^ 24 }, double = { -1e308, 0.1 }, bool = { true, false }, string = { "", "text" },
  }

  for type_name, values in pairs(limits) do
    it("of type " .. type_name .. " holds plain Lua values, and begins as nothing", function()
      local before
      local udps = udps_of { columns = { { "low", type_name }, { "high", type_name } }, on_init = function(_, _, flow)
        before = flow.udps.low
        flow.udps.low, flow.udps.high = values[1], values[2]
      end }
      assert.same({ values[1], values[2] }, { udps.low, udps.high })
      assert.equal(type(values[1]), type(udps.low))
      assert.equal(type(values[1]) == "number" and 0 or type(values[1]) == "string" and "" or false, before)
    end)
  end

  it("of numbers refuses what is none", function()
    for _, type_name in ipairs { "uint32", "uint64", "int64", "double", "float" } do
      for _, value in ipairs { "many", {}, print } do
        local message = refusal_in({ { "x", type_name } }, function(_, _, flow) flow.udps.x = value end)
        assert.matches("^plugin probe: on_init: flow .*plugin_spec.lua:%d+: ", message)
      end
      refusal_in({ { "x", type_name } }, function(_, _, flow) flow.udps.x = nil end)
    end
  end)

  it("of text is cut at its length, never within a character", function()
    local cases = {
      { "string:5", "abcdefgh", "abcde" }, { "string:5", "abcde", "abcde" }, { "string:5", "abcdé", "abcd" },
      { "string:5", "aéüö", "aéü" }, { "string:5", "€€", "€" }, { "string:5", "a😀😀", "a😀" },
      { "string:3", "😀", "" }, { "string:1", "é", "" }, { "string", ("x"):rep(100), ("x"):rep(64) },
    }
    for _, case in ipairs(cases) do
      local udps = udps_of { columns = { { "x", case[1] } }, on_init = function(_, _, flow) flow.udps.x = case[2] end }
      assert.equal(case[3], udps.x)
    end
  end)

  it("takes what is in a buffer for a text", function()
    local buffer = bytes.buffer(100)
    for _, case in ipairs { "", "abcd", "abcde", "aé", "abcdé", "abc😀", ("x"):rep(100) } do
      local udps = udps_of { columns = { { "text", "string:5" }, { "buffer", "string:5" }, { "behind", "uint8[4]" } },
        on_init = function(_, _, flow)
          flow.udps.text, flow.udps.buffer = case, "12345"
          flow.udps.buffer = buffer:clear():text(case)
        end }
      assert.equal(udps.text, udps.buffer)
      assert.equal("[0, 0, 0, 0]", tostring(udps.behind))
    end
  end)

  it("of text forgets what stood there before, and ends at a zero byte", function()
    local udps = udps_of { columns = { { "x", "string:20" }, { "y", "string:20" } }, on_init = function(_, _, flow)
      flow.udps.x = "a rather long text"
      flow.udps.x = "short"
      flow.udps.y = "one\0two"
    end }
    assert.same({ "short", "one" }, { udps.x, udps.y })
  end)

  it("of text refuses what is none", function()
    for _, value in ipairs { 5, true, {} } do
      assert.matches("plugin_spec.lua:%d+: expected a string, got " .. type(value),
        refusal_in({ { "x", "string" } }, function(_, _, flow) flow.udps.x = value end))
    end
  end)

  it("of many numbers is counted from 1 and checked", function()
    local udps = udps_of { columns = { { "bins", "uint16[3]" }, { "behind", "uint16" } }, on_init = function(_, _, flow)
      local bins = flow.udps.bins
      for i = 1, #bins do bins[i] = bins[i] + 100 * i end
      flow.udps.behind = 7
    end }
    assert.same({ "[100, 200, 300]", 7 }, { tostring(udps.bins), udps.behind })
    for _, index in ipairs { 0, 4, -1, 1.5 } do
      local columns = { { "bins", "uint16[3]" } }
      assert.matches("plugin_spec.lua:%d+: array index .*: expected 1 to 3",
        refusal_in(columns, function(_, _, flow) flow.udps.bins[index] = 1 end))
      assert.matches("plugin_spec.lua:%d+: array index .*: expected 1 to 3",
        refusal_in(columns, function(_, _, flow) return flow.udps.bins[index] end))
    end
  end)

  it("begins anew with every flow", function()
    local Counter = nf.plugin { name = "counter",
      columns = { { "n", "uint64" }, { "text", "string" }, { "bins", "uint8[2]" } },
      on_init = function(_, packet, flow)
        flow.udps.n = flow.udps.n + packet.src_port
        flow.udps.text = flow.udps.text .. "x"
        flow.udps.bins[2] = flow.udps.bins[2] + 1
      end }
    local packets = {}
    for i = 1, 40 do packets[i] = meter.udp(2000 * i, 1000 + i) end -- slots are used again
    for i, flow in ipairs(engine.flows { packets = packets, idle_timeout = 1, udps = Counter }) do
      assert.same({ 1000 + i, "x", "[0, 1]" }, { flow.udps.n, flow.udps.text, tostring(flow.udps.bins) })
    end
  end)
end)

describe("a plugin's options", function()
  after_each(engine.cleanup)

  local Counter = nf.plugin { name = "counter", columns = { { "size", "uint32" } },
    options = { size = { 555, "packet size" }, mode = { "a", "which", choices = { "a", "b" } } },
    on_init = function(self, _, flow) flow.udps.size = self.size end }

  local function size_with(udps)
    return engine.flows({ packets = { meter.udp(0, 1000) }, udps = udps })[1].udps.size
  end

  it("have defaults, for the class too", function()
    assert.same({ 555, 555, 555, 666 }, { size_with(Counter), size_with(Counter {}), size_with(Counter()),
      size_with(Counter { size = 666 }) })
  end)

  it("are each instance's own", function()
    local one, two = Counter { size = 1 }, Counter { size = 2, mode = "b" }
    assert.same({ 1, "a", 2, "b" }, { one.size, one.mode, two.size, two.mode })
  end)

  it("are refused when they are unknown or do not fit", function()
    local cases = {
      { { sise = 1 }, "unknown option \"sise\" (did you mean 'size'?)" },
      { { size = "big" }, 'size = "big": expected a number' },
      { { mode = "c" }, 'mode = "c": expected "a" or "b"' },
      { 5, "options 5: expected a table" },
    }
    for _, case in ipairs(cases) do
      local message = engine.refusal(function() local _ = Counter(case[1]) end)
      assert.matches("plugin counter: " .. case[2], message, 1, true)
      assert.matches("^spec/lua/plugin_spec.lua:%d+: ", message)
    end
  end)
end)

describe("columns and state that follow from the options", function()
  after_each(engine.cleanup)

  -- Writes the first packet's payload size to the last of `count` places.
  local definition = { name = "sizes", options = { count = { 2, "packets to tell of", integer = true } },
    columns = function(options)
      local list = { { "sizes", ("uint16[%d]"):format(options.count) } }
      for i = 1, options.count do list[i + 1] = { "size_" .. i, "uint16", "size " .. i } end
      return list
    end,
    state = function(options) return { { "seen", ("uint8[%d]"):format(options.count) } } end,
    on_init = function(self, packet, flow)
      local udps = flow.udps
      udps["size_" .. self.count] = packet.payload_size
      udps.sizes[self.count], udps.seen[self.count] = packet.payload_size, 1
    end }
  local Sizes = nf.plugin(definition)

  local function flow_with(udps) return engine.flows({ packets = { meter.udp(0, 1000, "abc") }, udps = udps })[1] end

  local function names_of(flow)
    local names = {}
    for _, name in ipairs(flow:keys()) do
      if name:match "^udps%." then names[#names + 1] = name end
    end
    return table.concat(names, " ")
  end

  it("are those of each instance, and a class has those of the defaults", function()
    local flow = flow_with(Sizes { count = 3 })
    assert.equal("udps.sizes udps.size_1 udps.size_2 udps.size_3", names_of(flow))
    assert.same({ "[0, 0, 3]", 3 }, { tostring(flow.udps.sizes), flow.udps.size_3 })
    assert.equal("udps.sizes udps.size_1 udps.size_2", names_of(flow_with(Sizes)))
    assert.equal("udps.sizes udps.size_1", names_of(flow_with(Sizes { count = 1 })))
    assert.same({ 3, "size_2", "uint16", "size 2", 1, 2 }, { #Sizes.columns, Sizes.columns[3].name,
      Sizes.columns[3].type, Sizes.columns[3].doc, #Sizes.state, Sizes.state[1].length })
  end)

  it("follow an option that is set later", function()
    local instance = Sizes { count = 3 }
    instance.count = 1
    assert.equal("udps.sizes udps.size_1", names_of(flow_with(instance)))
  end)

  it("follow options that change between runs of one instance", function()
    local script = [[
      local nf = require "nfengine"
      local Sizes = nf.plugin { name = "sizes", options = { count = { 2, "" } },
        columns = function(options) return { { "sizes", ("uint16[%d]"):format(options.count) } } end,
        on_init = function(self, packet, flow) flow.udps.sizes[self.count] = packet.payload_size end }
      local sizes = Sizes { count = 1 }
      local streamer = nf.streamer { udps = sizes, n_dissections = 0 }
      streamer:write()
      sizes.count = 3
      streamer:write()]]
    local path = engine.capture { meter.udp(0, 1000, "abc") }
    local result = engine.script(script, "-q", "--columns=udps.sizes", path)
    assert.same({ "", 'udps.sizes\n"[3]"\nudps.sizes\n"[0, 0, 3]"\n' }, { result.err, result.out })
  end)

  it("are the same in every meter", function()
    local script = [[
      local nf = require "nfengine"
      local Sizes = nf.plugin { name = "sizes", options = { count = { 2, "" } },
        columns = function(options) return { { "sizes", ("uint16[%d]"):format(options.count) } } end,
        on_init = function(self, packet, flow) flow.udps.sizes[self.count] = packet.payload_size end }
      nf.streamer { udps = Sizes { count = 4 }, n_dissections = 0 }:write()]]
    local path = engine.capture { meter.udp(0, 1000, "abc"), meter.udp(1, 1001, "abcde") }
    local result = engine.script(script, "-q", "--n-meters=2", "--columns=src_port,udps.sizes", path)
    assert.same({ "", 'src_port,udps.sizes\n1000,"[0, 0, 0, 3]"\n1001,"[0, 0, 0, 5]"\n' }, { result.err, result.out })
  end)

  it("cannot change the options", function()
    local Greedy = nf.plugin { name = "greedy", options = { count = { 2, "" } },
      columns = function(options) options.count = 9; return {} end }
    assert.equal(2, Greedy { count = 2 }.count)
  end)

  it("are refused with the plugin's and the column's name when an instance is made, at the script's line", function()
    local cases = {
      { 'column sizes: type "uint16[0]": expected a length from 1 to 65535', 0 },
      { 'column sizes: type "uint16[65536]": expected a length from 1 to 65535', 65536 },
    }
    for _, case in ipairs(cases) do
      local message = engine.refusal(function() local _ = Sizes { count = case[2] } end)
      assert.matches("plugin sizes: " .. case[1], message, 1, true)
      assert.matches("^spec/lua/plugin_spec.lua:%d+: plugin", message)
    end
  end)

  it("are refused when the function fails or returns no table", function()
    for _, part in ipairs { "columns", "state" } do
      assert.matches(("plugin a: %s: expected the function to return a table, got nil"):format(part),
        refused { name = "a", [part] = function() end }, 1, true)
      assert.matches(("plugin a: %s: spec/lua/plugin_spec.lua:%%d+: too many"):format(part),
        refused { name = "a", [part] = function() error "too many" end })
    end
    assert.matches('plugin a: column "a-b": expected a name',
      refused { name = "a", columns = function() return { { "a-b", "uint8" } } end }, 1, true)
  end)
end)

describe("what a plugin needs", function()
  it("is a list of what there is", function()
    for _, case in ipairs {
      { { "coments" }, 'needs: "coments": expected a list of comments' },
      { { comments = true }, 'needs: "comments" = true: expected a list of comments' },
      { "comments", "needs: expected a table, got string" },
    } do
      local message = engine.refusal(function() nf.plugin { name = "counter", needs = case[1] } end)
      assert.matches("plugin counter: " .. case[2], message, 1, true)
    end
  end)
end)

describe("a plugin with everything", function()
  after_each(engine.cleanup)

  it("writes columns of all types and keeps its state to itself", function()
    local kinds = { "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float",
      "double" }
    local columns = { { "text", "string:10", "a text" }, { "bins", "int32[3]" }, { "shares", "double[2]" } }
    for i, kind in ipairs(kinds) do columns[#columns + 1] = { "a_" .. kind, kind, "number " .. i } end
    local Everything = nf.plugin { name = "everything", columns = columns,
      state = { { "last", "uint8" }, { "seen", "string:4" }, { "sizes", "uint16[4]" } },
      on_init = function(_, packet, flow)
        flow.udps.last, flow.udps.seen, flow.udps.sizes[1] = 1, "in", packet.raw_size
      end,
      on_update = function(_, packet, flow)
        local udps = flow.udps
        udps.last = udps.last + 1
        udps.sizes[udps.last] = packet.raw_size
      end,
      on_expire = function(_, flow)
        local udps = flow.udps
        udps.text, udps.bins[2], udps.bins[3], udps.shares[1] = udps.seen .. ', "out"', -1, udps.sizes[2], 0.5
        for _, kind in ipairs(kinds) do udps["a_" .. kind] = kind == "bool" and true or udps.last end
        udps.a_int8, udps.a_float, udps.a_double = -udps.last, 0.1, 0.1
      end }
    local path = engine.capture { meter.udp(0, 1000, "a"), meter.back(1, 1000, "bc"), meter.udp(2, 1000, "def") }
    local output = os.tmpname()
    engine.streamer({ source = path, udps = Everything, columns = { "id", "udps.text", "udps.bins", "udps.shares",
      "udps.a_bool", "udps.a_int8", "udps.a_int16", "udps.a_int32", "udps.a_int64", "udps.a_uint8", "udps.a_uint16",
      "udps.a_uint32", "udps.a_uint64", "udps.a_float", "udps.a_double" } }):to_csv(output)
    local file = assert(io.open(output))
    local header, row = file:read "*l", file:read "*l"
    file:close()
    os.remove(output)
    assert.equal("id,udps.text,udps.bins,udps.shares,udps.a_bool,udps.a_int8,udps.a_int16,udps.a_int32,udps.a_int64,"
      .. "udps.a_uint8,udps.a_uint16,udps.a_uint32,udps.a_uint64,udps.a_float,udps.a_double", header)
    assert.equal('0,"in, ""out""","[0, -1, 44]","[0.5, 0.0]",True,-3,3,3,3,3,3,3,3,0.1,0.1', row)
  end)
end)
