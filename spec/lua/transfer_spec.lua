-- Carrying values, functions and plugins into another Lua state: lua/nfengine/transfer.lua.

local ffi = require "ffi"
local engine = require "spec.support.engine"
local program = require "spec.support.program"
local nf = require "nfengine"
local plugin = require "nfengine.plugin"
local transfer = require "nfengine.transfer"

-- What a script of this text returns. Functions in this file have busted's environment, a script's the global one.
local function script(code, ...) return assert(loadstring(code, "=script.lua"))(...) end

local function copy(value) return transfer.unpack(transfer.pack(value, "it")) end

local function refused(value, what) return engine.refusal(transfer.pack, value, what or "it") end

-- What a fresh luajit prints for this code, in which `it` is the value.
local function elsewhere(value, code)
  local packed = program.write(transfer.pack(value, "it"), ".packed")
  local run = program.write(([[
    package.path = "./lua/?.lua;./lua/?/init.lua;./?.lua;" .. package.path
    local file = io.open(%q, "rb")
    local it = require("nfengine.transfer").unpack(file:read "*a")
    file:close()
    ]]):format(packed) .. code, ".lua")
  local result = program.shell("luajit " .. run)
  assert.equal("", result.err)
  return (result.out:gsub("\n$", ""))
end

after_each(engine.cleanup)

describe("carried data", function()
  it("is nil, booleans and numbers, every double exactly", function()
    assert.is_nil(copy(nil))
    for _, value in ipairs { true, false, 0, 1, -1, 0.1, 2^31, -2^31, 2^53, 2^53 + 2, 2^60, -2^63, 1e308, 5e-324, 1/0,
        -1/0, 1/3, "" } do
      assert.equal(value, copy(value))
    end
    assert.equal(-1/0, 1 / copy(-0.0))
    assert.equal(1/0, 1 / copy(0))
    local nan = copy(0/0)
    assert.is_true(nan ~= nan)
    local mixed = copy { 0, -0.0, 0/0, 0, -0.0, 0/0 }
    assert.same({ 1/0, -1/0, 1/0, -1/0 }, { 1 / mixed[1], 1 / mixed[2], 1 / mixed[4], 1 / mixed[5] })
    assert.is_true(mixed[3] ~= mixed[3] and mixed[6] ~= mixed[6])
  end)

  it("is strings of any bytes", function()
    local bytes = {}
    for i = 0, 255 do bytes[i + 1] = string.char(i) end
    for _, value in ipairs { "", "\0", "a\0b\0", table.concat(bytes), ("x\0"):rep(500000), "\27LJ" } do
      assert.is_true(value == copy(value))
    end
  end)

  it("is 64-bit integers", function()
    local it = copy { -5LL, 18446744073709551615ULL, ffi.new("long", 7), 0LL }
    assert.is_true(it[1] == -5LL and it[2] == 18446744073709551615ULL and it[3] == 7LL and it[4] == 0LL)
    assert.equal("-5LL 18446744073709551615ULL 7LL 0LL",
      ("%s %s %s %s"):format(tostring(it[1]), tostring(it[2]), tostring(it[3]), tostring(it[4])))
  end)

  it("is tables with any keys", function()
    local key, method = { "key" }, script "return function() return 'called' end"
    local value = { 1, nil, 3, [2^53 + 2] = "far", [-1] = "below", [0.5] = "half", [true] = false, x = { y = {} },
      [key] = "by table", [method] = "by function", key = key, method = method, [1/0] = "end" }
    local it = copy(value)
    assert.same({ 1, nil, 3 }, { it[1], it[2], it[3] })
    assert.same({ "far", "below", "half", false, "end" }, { it[2^53 + 2], it[-1], it[0.5], it[true], it[1/0] })
    assert.same({ y = {} }, it.x)
    assert.equal("by table", it[it.key])
    assert.equal("by function", it[it.method])
    assert.equal("called", it.method())
    assert.is_nil(it[key])
    local count = 0
    for _ in pairs(it) do count = count + 1 end
    assert.equal(12, count)
  end)

  it("keeps what tables share, and cycles", function()
    local shared = { 1 }
    local value = { a = shared, b = shared, other = { 1 } }
    value.self, value[value] = value, "itself"
    local it = copy(value)
    assert.is_true(it.a == it.b and it.a ~= it.other and it.self == it and it[it] == "itself")
    assert.is_true(it.a ~= shared)
  end)

  it("keeps metatables", function()
    local it = copy(script [[
      local base = { who = "base" }
      local class = setmetatable({ __metatable = "locked", named = "class" }, { __index = base })
      class.__index = class
      class.__add = function(a, b) return setmetatable({ n = a.n + b.n }, class) end
      local weak = setmetatable({}, { __mode = "k" })
      local lazy = setmetatable({}, { __index = function(_, key) return key .. "!" end,
        __newindex = function() error "not now" end })
      rawset(lazy, "own", 1)
      return { a = setmetatable({ n = 1 }, class), b = setmetatable({ n = 2 }, class), weak = weak, lazy = lazy }
    ]])
    assert.equal(3, (it.a + it.b).n)
    assert.same({ "base", "class", "locked" }, { it.a.who, it.a.named, getmetatable(it.a) })
    assert.is_true(debug.getmetatable(it.a) == debug.getmetatable(it.b))
    assert.equal("k", getmetatable(it.weak).__mode)
    assert.same({ "key!", 1 }, { it.lazy.key, it.lazy.own })
    assert.has_error(function() it.lazy.x = 1 end)
  end)

  it("may be large", function()
    local value, wanted = {}, {}
    for i = 1, 200000 do value[i], value["k" .. i], wanted[i] = i * 0.5, { i }, i end
    local it = copy(value)
    for i = 1, 200000 do
      if it[i] ~= i * 0.5 or it["k" .. i][1] ~= wanted[i] then error("differs at " .. i) end
    end
    assert.equal(200000, #it)
  end)

  it("may be deep", function()
    local list, nested = nil, script "return function() return 0 end"
    for i = 1, 100000 do list = setmetatable({ value = i }, { __index = list }) end
    local wrap = script "return function(inner) return function() return inner end end"
    for _ = 1, 100000 do nested = wrap(nested) end
    local it, count = copy(list), 0
    while it do
      count = count + 1
      assert(it.value == 100001 - count)
      it = getmetatable(it).__index
    end
    assert.equal(100000, count)
    it = copy(nested)
    for _ = 1, 100000 do it = it() end
    assert.equal(0, it())
  end)
end)

describe("a carried function", function()
  it("has its parameters, constants and inner functions", function()
    local it = copy(script [[
      return function(a, ...)
        local function add(b) return function(c) return a + b + c end end
        return add(select("#", ...))(0.5), "text", { ... }
      end]])
    local sum, text, rest = it(1, nil, 2)
    assert.same({ 3.5, "text", 2 }, { sum, text, rest[2] })
  end)

  it("has its upvalues, nil and false among them", function()
    local it = copy(script [[
      local number, text, no, nothing, list, big = 5, "five", false, nil, { 5 }, 5ULL
      return function() return number, text, no, nothing, list, big end]])
    local number, text, no, nothing, list, big = it()
    assert.same({ 5, "five", false, { 5 } }, { number, text, no, list })
    assert.is_nil(nothing)
    assert.is_true(big == 5ULL)
  end)

  it("shares upvalues with others", function()
    local original = script [[
      local count, other = 10, 0
      return { up = function() count = count + 1; return count end, get = function() return other, count end,
        separate = function() other = other + 1; return other end }]]
    local it = copy(original)
    assert.equal(11, it.up())
    assert.equal(12, it.up())
    assert.equal(1, it.separate())
    assert.same({ 1, 12 }, { it.get() })
    assert.same({ 0, 10 }, { original.get() })
  end)

  it("does not share upvalues that are only equal", function()
    local it = copy(script [[
      local made = {}
      for i = 1, 3 do
        local count = 0
        made[i] = function() count = count + i; return count end
      end
      return made]])
    it[1]()
    assert.same({ 2, 2, 3 }, { it[1](), it[2](), it[3]() })
  end)

  it("may be recursive, alone or with others, or hold itself in a table", function()
    local it = copy(script [[
      local function factorial(n) return n < 2 and 1 or n * factorial(n - 1) end
      local even, odd
      function even(n) if n == 0 then return true end return odd(n - 1) end
      function odd(n) if n == 0 then return false end return even(n - 1) end
      local object = {}
      function object.me() return object end
      return { factorial = factorial, even = even, object = object }]])
    assert.equal(120, it.factorial(5))
    assert.same({ true, false }, { it.even(10), it.even(7) })
    assert.is_true(it.object.me() == it.object)
  end)

  it("says in errors where it was written", function()
    local it = copy(script "\n\nreturn function(x) return x.y end")
    assert.matches("^script.lua:3: attempt to index local 'x'", engine.refusal(it, nil))
  end)

  it("may have been compiled before", function()
    local it = script [[
      local sum = 0
      return function(n) for i = 1, n do sum = sum + i end return sum end]]
    it(10000)
    assert.equal(50005000 + 55, copy(it)(10))
  end)

  it("may come from a stripped chunk", function()
    local it = loadstring(string.dump(loadstring "local a, b = 1, 2; return function() return a, b end", true))()
    assert.same({ 1, 2 }, { copy(it)() })
  end)

  it("can be carried on", function()
    local it = copy(copy(script "local n = 0; return { function() n = n + 1 end, function() return n end }"))
    it[1]()
    assert.equal(1, it[2]())
  end)
end)

describe("carried by name", function()
  it("are modules and what lies in them", function()
    local options = require "nfengine.options"
    for _, value in ipairs { math, string, ffi, nf, plugin, options, require "string.buffer", _G, package.loaded,
        math.floor, math.deg, string.len, string.format, io.stdout, io.write, bit.band, ffi.new, ffi.C, ffi.string,
        coroutine.wrap, print, ipairs, nf.options, options.parse, require "nfengine.lib", table.remove, jit.opt.start,
        require("nfengine.columns").types, require("nfengine.columns").types.uint32, require "plugins.flow_slicer" } do
      assert.is_true(value == copy(value))
    end
  end)

  local function names_in(value)
    local found = {}
    for _, object in ipairs(require("string.buffer").decode(transfer.pack(value, "it")).objects) do
      if object[1] == "named" then found[#found + 1] = table.concat(object, ".", 2) end
    end
    return found
  end

  it("have the same name in every state", function()
    for value, name in pairs { [math] = "math", [string.format] = "string.format", [print] = "_G.print", [_G] = "_G",
        [nf.plugin] = "nfengine.plugin", [bit.band] = "bit.band", [require] = "_G.require", [io.stdout] = "io.stdout",
        [require("nfengine.columns").types.uint32] = "nfengine.columns.types.uint32",
        [coroutine.wrap] = "coroutine.wrap", [package.loaded] = "package.loaded" } do
      assert.same({ name }, names_in(value))
    end
  end)

  it("prefer the standard module, then the shortest name", function()
    local mine = {}
    package.loaded["z"], package.loaded["long"] = { floor = math.floor, mine = mine, m = mine }, { mine = mine }
    finally(function() package.loaded["z"], package.loaded["long"] = nil, nil end)
    assert.same({ "math.floor" }, names_in(math.floor))
    assert.same({ "z.m" }, names_in(mine))
  end)

  it("are found in another state", function()
    local it = script [[
      local nf, ffi, band, floor = require "nfengine", require "ffi", bit.band, math.floor
      return function()
        return nf == require "nfengine", band(7, floor(3.5)), ffi.sizeof "int", io.stdout:write "written " ~= nil
      end]]
    assert.equal("written true\t3\t4\ttrue", elsewhere(it, "print(it())"))
  end)

  it("are not what a script adds to standard libraries and globals", function()
    local library, twice = _G.string, script "return function(s) return s .. s end"
    library.spec_twice = twice
    _G.spec_helper = script "return { function() return 'helped' end }"
    finally(function() library.spec_twice, _G.spec_helper = nil, nil end)
    assert.equal("abab", elsewhere(twice, "print(it 'ab')"))
    assert.equal("helped", elsewhere(_G.spec_helper, "print(it[1]())"))
  end)

  it("are not modules that are no more than a truth or a text", function()
    package.loaded["spec.truth"], package.loaded["spec.text"] = true, "a text"
    finally(function() package.loaded["spec.truth"], package.loaded["spec.text"] = nil, nil end)
    assert.same({}, names_in { true, "a text" })
  end)

  it("must be there too", function()
    local here = {}
    package.loaded["spec.only_here"] = { here = here }
    local packed, whole = transfer.pack(here, "it"), transfer.pack(package.loaded["spec.only_here"], "it")
    package.loaded["spec.only_here"] = {}
    finally(function() package.loaded["spec.only_here"] = nil end)
    assert.equal("transfer: spec.only_here.here is not here", engine.refusal(transfer.unpack, packed))
    package.loaded["spec.only_here"] = nil
    assert.matches("^transfer: module 'spec.only_here' cannot be loaded here: module 'spec.only_here' not found:",
      engine.refusal(transfer.unpack, whole))
  end)
end)

describe("a carried plugin", function()
  local COUNTER = [[
    local nf = require "nfengine"
    local function helper(n) return n + 1 end
    local total = 0
    local Counter
    Counter = nf.plugin {
      name = "counter", version = "1.2", description = "counts",
      options = { size = { 5, "a size" }, words = { { "a", "b" }, "words" } },
      columns = { { "hits", "uint32", "how often" } },
      state = { { "seen", "string:10" } },
      on_init = function(self, packet, flow) total = helper(total); return Counter, self.size end,
      on_update = function(self) total = total + self.size; return total end,
    }
    return Counter]]

  it("is a class, declared anew, with the hooks' upvalues", function()
    local Counter = script(COUNTER)
    local it = copy(Counter)
    assert.is_true(it ~= Counter)
    assert.same({ "counter", "1.2", "counts", "plugin counter" }, { it.name, it.version, it.description, tostring(it) })
    assert.same(Counter.columns, it.columns)
    assert.same(Counter.state, it.state)
    assert.is_true((it.on_init {}) == it)
    assert.equal(8, it.on_update { size = 7 })
    assert.equal(7, Counter.on_update { size = 7 })
  end)

  it("is an instance with its options, and not what setup gave it", function()
    local Counter = script(COUNTER)
    local instance = Counter { size = 66, words = { "c" } }
    instance.mine = io.stderr
    local it = copy { instance, Counter, Counter {}, instance }
    assert.is_true(it[1] == it[4])
    assert.is_true(plugin.class_of(it[1]) == it[2] and plugin.class_of(it[3]) == it[2])
    assert.same({ 66, { "c" } }, { it[1].size, it[1].words })
    assert.same({ 5, { "a", "b" } }, { it[3].size, it[3].words })
    assert.is_nil(rawget(it[1], "mine"))
    assert.matches("self.siz: plugin counter has no such option (did you mean 'size'?)",
      engine.refusal(function() return it[1].siz end), 1, true)
    assert.equal("plugin counter", tostring(it[1]))
    assert.equal(it[1], plugin.instances(it[1])[1])
    assert.same({ "plugin counter" }, { tostring(it[2] { size = 1 }) })
  end)

  it("has options that its hooks' own setup may have changed", function()
    local instance = script(COUNTER) {}
    instance.size = "five"
    assert.equal("five", copy(instance).size)
  end)

  it("is what it was when it was declared", function()
    local definition = { name = "first" }
    local First = nf.plugin(definition)
    definition.name = "second"
    assert.equal("first", copy(First).name)
  end)

  -- In a process of its own, where the compiler has nothing else to do.
  it("is packed however packing was compiled", function()
    local path = engine.script_file [[
      package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
      local nf, transfer = require "nfengine", require "nfengine.transfer"
      local Some = nf.plugin { name = "some", options = { n = { 3, "a number" } } }
      for hotloop, hotexit in pairs { [2] = 2, [5] = 2, [7] = 3 } do
        jit.opt.start("hotloop=" .. hotloop, "hotexit=" .. hotexit)
        for n = 1, 1500 do
          if n % 50 == 0 then jit.flush() end
          local value = { Some { n = n } }
          for i = 1, n % 20 do value[i + 1] = { i, {} } end
          transfer.pack(value, "it")
        end
      end
    ]]
    assert.same({ status = 0, out = "", err = "" }, program.shell("luajit " .. path))
  end)

  it("is loaded afresh when it is a file's", function()
    local FlowSlicer = require "plugins.flow_slicer"
    local it = copy(FlowSlicer { limit = 3 })
    assert.is_true(plugin.class_of(it) == FlowSlicer)
    assert.equal(3, it.limit)
    assert.equal("true\t4\ttrue", elsewhere({ FlowSlicer { limit = 4 }, FlowSlicer }, [[
      local FlowSlicer = require "plugins.flow_slicer"
      print(require("nfengine.plugin").class_of(it[1]) == FlowSlicer, it[1].limit, it[2] == FlowSlicer)]]))
  end)

  it("works in another state", function()
    local Counter = script(COUNTER)
    assert.equal("plugin counter\t6\t8\ttrue", elsewhere({ Counter { size = 6 } }, [[
      local class = require("nfengine.plugin").class_of(it[1])
      local mine, size = class.on_init(it[1])
      print(it[1], size, class.on_update { size = 7 }, mine == class)]]))
  end)

  it("gives the flows it gives here", function()
    local packets = {}
    local meter = require "spec.support.meter"
    for i = 1, 4 do packets[i] = meter.udp(i, 1000) end
    local hits = script [[
      local nf = require "nfengine"
      local step = 2
      local function count(self, packet, flow) flow.udps.hits = flow.udps.hits + step * self.weight end
      return nf.plugin { name = "weighed", options = { weight = { 1, "" } }, columns = { { "hits", "uint32" } },
        on_init = count, on_update = count } { weight = 5 }]]
    local flows = engine.flows { packets = packets, udps = { copy(hits) } }
    assert.equal(40, flows[1].udps.hits)
  end)
end)

describe("an object that carries itself", function()
  -- A module for objects: make(argument) → { made = argument }; what each was when made is in `log`.
  local maker
  before_each(function()
    maker = { log = {} }
    maker.object = setmetatable({}, { __call = function(_, argument)
      return setmetatable({ made = argument }, maker.meta)
    end })
    maker.meta = { __carry = function(object) return "spec.maker", "make", object.made end }
    function maker.make(argument)
      if type(argument) == "table" then
        local first = argument[1]
        maker.log[#maker.log + 1] = ("%s %s"):format(argument.name, type(first) == "table" and first.made.name or first)
      end
      return maker.object(argument)
    end
    package.loaded["spec.maker"] = maker
  end)
  after_each(function() package.loaded["spec.maker"] = nil end)

  it("is made by the function it names", function()
    local it = copy { maker.object "a", maker.object(nil), maker.object(5) }
    assert.same({ "a", 5 }, { it[1].made, it[3].made })
    assert.is_nil(it[2].made)
    assert.is_true(getmetatable(it[1]) == maker.meta)
  end)

  it("is made once, after all it is made of", function()
    local a = maker.object { name = "a", "none" }
    local b = maker.object { name = "b", a }
    local c = maker.object { name = "c", b, deep = { { a, b } } }
    local it = copy { c, b, a, c }
    assert.same({ "a none", "b a", "c b" }, maker.log)
    assert.is_true(it[1] == it[4] and it[1].made[1] == it[2] and it[1].made.deep[1][1] == it[3])
  end)

  it("may be a key, or in a cycle of tables that it is not made of", function()
    local one, two = {}, {}
    local a = maker.object { name = "a", "none" }
    one.two, two.one, one.a, two[a] = two, one, a, "a key"
    local b = maker.object { name = "b", a, one = one }
    local it = copy { b, two }
    assert.is_true(it[1].made.one == it[2].one and it[2].one.two == it[2])
    assert.equal("a key", it[2][it[1].made[1]])
  end)

  it("may be referred to by functions it is made of", function()
    local holder = {}
    local get = script("local h = ...; return function() return h.a end", holder)
    local a = maker.object { name = "a", "none", get = get }
    holder.a = a
    local it = copy(a)
    assert.is_true(it.made.get() == it)
  end)

  it("may be deep", function()
    local object
    for _ = 1, 50000 do object = maker.object(object) end
    local it, count = copy(object), 0
    while it do it, count = it.made, count + 1 end
    assert.equal(50000, count)
  end)

  it("is refused when it is made from itself", function()
    local a = maker.object {}
    a.made.me = a
    local message = "it is an object that is made from itself, which cannot be carried into another meter: "
      .. "let a function refer to it"
    assert.equal(message, refused(a))
    local near = maker.object(nil)
    near.made = near
    assert.equal(message, refused(near))
  end)

  it("is refused in any cycle through it, however it is reached", function()
    local one, two = {}, {}
    local a = maker.object(two)
    one[1], one[2], two[1] = two, a, one
    assert.matches("is an object that is made from itself", refused(one))
    assert.matches("is an object that is made from itself", refused(two))
    assert.matches("is an object that is made from itself", refused(maker.object { one }))
  end)

  it("must name a function", function()
    local it = setmetatable({}, { __carry = function() return {} end })
    assert.equal("it: field 'x' is an object whose __carry names no function, which cannot be carried into another "
      .. "meter: return module, function, argument there", refused { x = it })
  end)
end)

describe("what cannot be carried", function()
  local function capture(value) return script("local value = ...; return function() return value end", value) end
  local IN_MODULE = "make it in setup(self), or in a module of its own"

  local function check(value, is_what, remedy)
    assert.equal(("plugin a: on_init: upvalue 'value' %s, which cannot be carried into another meter: %s")
      :format(is_what, remedy), refused(capture(value), "plugin a: on_init"))
  end

  it("is files", function()
    local file = assert(io.open("README.md"))
    check(file, "is an open file", "open it in setup(self)")
    file:close()
    check(file, "is a closed file", "open it in setup(self)")
  end)

  it("is other userdata and coroutines", function()
    check(newproxy(), "is a userdata", IN_MODULE)
    check(require("string.buffer").new(), "is a userdata", IN_MODULE)
    check(coroutine.create(print), "is a coroutine", "make it in setup(self)")
  end)

  it("is cdata and ctypes", function()
    check(ffi.new "int[3]", "is a cdata 'int [3]'", IN_MODULE)
    check(ffi.new "struct nf_packet *", "is a cdata 'struct nf_packet *'", IN_MODULE)
    check(ffi.new("int32_t", 5), "is a cdata 'int'", IN_MODULE)
    check(ffi.typeof "struct nf_packet", "is a ctype 'struct nf_packet'", IN_MODULE)
    check(ffi.typeof "int64_t", "is a ctype 'int64_t'", IN_MODULE)
  end)

  it("is C functions of no module", function()
    check(("a b"):gmatch "%a", "is a C function that is no module's", IN_MODULE)
    check(coroutine.wrap(print), "is a C function that is no module's", IN_MODULE)
  end)

  it("is functions with an environment of their own", function()
    check(setfenv(script "return function() return x end", {}), "is a function with an environment of its own",
      "make it without setfenv")
  end)

  it("is functions that read a script's global", function()
    _G.spec_global = { 1 }
    finally(function() _G.spec_global = nil end)
    local inner = script "return function() return function() return spec_global[1] end end"
    check(inner, "reads global 'spec_global'", "make it local")
    assert.equal("it reads global 'spec_global', which cannot be carried into another meter: make it local",
      refused(inner))
    assert.is_nil(copy(script "return function() return unknown_global, print and _VERSION and nil end")())
  end)

  it("is named with the way to it", function()
    local thread = coroutine.create(print)
    local END = " is a coroutine, which cannot be carried into another meter: make it in setup(self)"
    assert.equal("it" .. END, refused(thread))
    local helper = script("local cache = ...; return function() return cache end", { handle = thread })
    assert.equal("plugin talkers: on_update: upvalue 'helper' > upvalue 'cache' > field 'handle'" .. END,
      refused(script("local helper = ...; return function() return helper end", helper), "plugin talkers: on_update"))
    assert.equal("it: field 2 > field true > field 0.5" .. END, refused { 1, { [true] = { [0.5] = thread } } })
    assert.equal("it: a key" .. END, refused { [thread] = 1 })
    assert.equal("it: field of a table" .. END, refused { [{}] = thread })
    assert.equal("it: metatable > field '__index'" .. END, refused(setmetatable({}, { __index = thread })))
    assert.equal("it: field 'two?lines'" .. END, refused { ["two\nlines"] = thread })
    assert.equal("it: field '" .. ("x"):rep(37) .. "...'" .. END, refused { [("x"):rep(1000)] = thread })
    local stripped = loadstring(string.dump(loadstring "local a = ...; return function() return a end", true))(thread)
    assert.equal("it: upvalue 1" .. END, refused(stripped))
  end)

  it("is named with the ends of a long way, by the shortest there is", function()
    local thread = coroutine.create(print)
    local END = " is a coroutine, which cannot be carried into another meter: make it in setup(self)"
    assert.equal("it: field 'a' > field 'b' > field 'c' > field 'd' > field 'e' > field 'f'" .. END,
      refused { a = { b = { c = { d = { e = { f = thread } } } } } })
    assert.equal("it: field 'a' > field 'b' > field 'c' > ... > field 'e' > field 'f' > field 'g'" .. END,
      refused { a = { b = { c = { d = { e = { f = { g = thread } } } } } } })
    local list = { handle = thread }
    for _ = 1, 100000 do list = { next = list } end
    assert.equal("it: field 'next' > field 'next' > field 'next' > ... > field 'next' > field 'next' > field 'handle'"
      .. END, refused(list))
    assert.equal("it: field 'near'" .. END, refused { near = thread, far = { list } })
  end)

  it("is named with the plugin that captures it", function()
    local file = assert(io.open("README.md"))
    local END = ", which cannot be carried into another meter: open it in setup(self)"
    local Talkers = script([[
      local log = ...
      return require("nfengine").plugin { name = "talkers", options = { words = { { "a" }, "" } },
        on_update = function() log:write "x" end }]], file)
    local message = "plugin talkers: on_update: upvalue 'log' is an open file" .. END
    assert.equal(message, refused(Talkers {}, "plugin talkers"))
    assert.equal(message, refused(Talkers, "plugin talkers"))
    assert.equal("meter 2: " .. message, refused({ { Talkers {} } }, "meter 2"))
    local Other = script([[
      local Talkers = ...
      return require("nfengine").plugin { name = "other", on_init = function() return Talkers end }]], Talkers)
    assert.equal("plugin other: " .. message, refused(Other {}, "plugin other"))
    local Plain = script([[
      local it = ...
      return require("nfengine").plugin { name = "plain", setup = function() return it end }]],
      setmetatable({}, { __carry = function() return "spec.maker", "make", { log = file } end }))
    assert.equal("plugin plain: setup: upvalue 'it' > argument > field 'log' is an open file" .. END,
      refused(Plain, "plugin plain"))
    local Fine = nf.plugin { name = "fine", options = { words = { { "a" }, "" } } }
    local instance = Fine {}
    instance.words = { { file } }
    assert.equal("plugin fine: options: field 'words' > field 1 > field 1 is an open file" .. END,
      refused(instance, "plugin fine"))
    file:close()
  end)
end)

describe("state from call to call", function()
  local function state(code, ...) return transfer.state_of(script(code, ...)) end

  it("is kept in an upvalue that is assigned to", function()
    for _, value in ipairs { "n + 1", "5", "'text'", "nil", "true", "n .. 'x'", "function() end" } do
      assert.equal("n", state("local m, n = 1, 1; return function() n = " .. value .. "; return m end"))
    end
    assert.equal("b", state "local a, b, c = 1, 2, 3; return function() local _ = a; b, c = c, b end")
  end)

  it("is kept in an upvalue that an inner function assigns to", function()
    assert.equal("n", state "local n = 0; return function() return function() n = n + 1 end end")
    assert.equal("n", state [[local n = 0
      return function(list) each(list, function() return function() return function() n = 1 end end end) end]])
    assert.is_nil(state "local m = 1; return function() local n = m; return function() n = n + 1 end end")
    assert.is_nil(state "return function(n) return function() local m = n; return function() m, n = n, m end end end")
    assert.is_nil(state [[local n = 1
      return function() local m = n; return function(n) return function() n = m end end end]])
  end)

  it("is kept in globals, by name or in their table", function()
    assert.equal("global 'n'", state "return function() n = 1 end")
    assert.equal("global '_G'", state "return function() _G.n = (_G.n or 0) + 1 end")
    assert.equal("global '_G'", state "local function add() rawset(_G, 'n', 1) end; return function() add() end")
    assert.is_nil(state "return function() return print, math.pi end")
  end)

  it("is kept in a table that is no module's", function()
    assert.equal("seen", state "local seen = {}; return function(_, flow) seen[flow.id] = true end")
    assert.equal("object", state "local object = setmetatable({}, {}); return function() return object end")
    assert.is_nil(state [[
      local nf, floor, types, columns = require "nfengine", math.floor, require("nfengine.columns").types, string
      return function() return nf, floor, types, columns end]])
  end)

  it("is kept in other objects that change", function()
    assert.equal("it", state("local it = ...; return function() return it end", ffi.new "int[3]"))
    assert.equal("it", state("local it = ...; return function() return it end", coroutine.wrap(print)))
    assert.equal("it", state("local it = ...; return function() return it end", newproxy()))
    assert.is_nil(state("local it = ...; return function() return it end", 5LL))
    assert.is_nil(state("local it = ...; return function() return it end", ffi.typeof "int"))
    assert.is_nil(state("local it = ...; return function() return it end", io.stdout))
  end)

  it("is not kept in plugins", function()
    local Fine = nf.plugin { name = "fine" }
    assert.is_nil(state("local A, a = ...; return function() return A, a end", Fine, Fine {}))
    local other = setmetatable({}, { __carry = function() return "a", "b" end })
    assert.equal("it", state("local it = ...; return function() return it end", other))
  end)

  it("is kept by captured functions", function()
    assert.equal("n", state [[
      local n = 0
      local function count() n = n + 1 end
      local function helper() count() end
      return function() helper() end]])
    assert.equal("seen", state [[
      local seen = {}
      local function is_new(key) return not seen[key] end
      return function(_, flow) return is_new(flow.id) end]])
    assert.equal("own", state [[
      local own, n = 0, 0
      local function count() n = n + 1 end
      return function() count(); own = 1 end]])
  end)

  it("is kept in globals that are assigned to", function()
    assert.equal("global 'count'", state "return function() count = 1 end")
    assert.equal("global 'count'", state "return function() return function() count = (count or 0) + 1 end end")
    assert.equal("global 'count'", state [[local function helper() function count() end end
      return function() helper() end]])
    assert.is_nil(state "return function() return count, print end")
  end)

  it("is not an upvalue that only the chunk around assigns to", function()
    assert.is_nil(state "local n = 1; n = 2; return function() return n end")
    assert.is_nil(state "local f; f = function(n) return n > 0 and f(n - 1) end; return f")
    assert.is_nil(state [[
      local function f(n) return n > 0 and f(n - 1) end
      local even, odd
      function even(n) return n == 0 or odd(n - 1) end
      function odd(n) return n ~= 0 and even(n - 1) end
      return function(n) return f(n), even(n) end]])
  end)

  it("is not in functions without upvalues, or in C", function()
    assert.is_nil(state "return function(self, _, flow) self.n = self.n + 1; flow.udps.n = 1 end")
    assert.is_nil(transfer.state_of(print))
    assert.is_nil(transfer.state_of(require("plugins.flow_slicer").on_update))
  end)

  it("is named even where names are stripped", function()
    local function stripped(code) return loadstring(string.dump(loadstring(code), true))() end
    assert.equal("?", transfer.state_of(stripped "local n = 0; return function() n = n + 1 end"))
    assert.equal("?", transfer.state_of(stripped "local n = 0; return function() return function() n = 1 end end"))
    assert.is_nil(transfer.state_of(stripped "local n = 0; return function() return n end"))
  end)
end)
