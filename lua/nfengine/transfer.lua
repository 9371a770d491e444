--- Carries values from one Lua state into another: an inline plugin into each meter's state, what it gathered back.
--
-- pack turns what a value reaches into a flat list of objects that refer to each other by number, so that neither the
-- depth of the data nor its cycles matter, and writes it with string.buffer:
--
--   constants  numbers, strings, booleans and 64-bit integers
--   objects    { "named", module, field … }          require(module).field…
--              { "table", metatable, key, value … }
--              { "function", bytecode, cell … }      a cell for each upvalue
--              { "made", argument, module, field }   require(module).field(argument): objects with a __carry
--   cells      values of upvalues; functions that share one name the same cell
--   order      in which tables are filled and objects made, so that each finds its argument complete
--
-- Values stand there as numbers: a constant's is positive, an object's negative, nil's is zero.

local bit = require "bit"
local buffer = require "string.buffer"
local ffi = require "ffi"
local jit_util = require "jit.util"
local jit_names = require "nfengine.bytecode" -- six characters each

local transfer = {}

-- ---- values that modules hold, which are carried by name ----

local function set_of(words)
  local set = {}
  for word in words:gmatch "%S+" do set[word] = true end
  return set
end

local standard_modules = set_of [[bit coroutine debug ffi io jit jit.opt jit.profile jit.util jit.vmdef math os package
  string string.buffer table table.clear table.new]]

local standard_globals = set_of [[_G _VERSION arg assert bit collectgarbage coroutine debug dofile error gcinfo getfenv
  getmetatable io ipairs jit load loadfile loadstring math module newproxy next os package pairs pcall print rawequal
  rawget rawlen rawset require select setfenv setmetatable string table tonumber tostring type unpack xpcall]]

local nameable = { table = true, ["function"] = true, userdata = true, cdata = true, thread = true }

local function is_shorter(a, b)
  if #a ~= #b then return #a < #b end
  return a < b
end

--- Names in a table whose values can be carried by name, shortest first.
local function nameable_keys(container)
  local keys = {}
  for key, value in next, container do
    if type(key) == "string" and nameable[type(value)] then keys[#keys + 1] = key end
  end
  table.sort(keys, is_shorter)
  return keys
end

--- Loaded modules, those that every state has first.
local function module_list()
  local function rank(name) return standard_modules[name] and 1 or name == "_G" and 2 or 3 end
  local list = nameable_keys(package.loaded)
  table.sort(list, function(a, b)
    if rank(a) ~= rank(b) then return rank(a) < rank(b) end
    return is_shorter(a, b)
  end)
  return list
end

--- Whether another state's module has this field too: what a script adds to a standard library is only here.
local function is_own(module, key, value)
  if module == "_G" then
    if type(value) ~= "function" or not standard_globals[key] then return false end
  elseif not standard_modules[module] then
    return true
  end
  if type(value) ~= "function" then return true end
  local info = debug.getinfo(value, "S")
  return info.what == "C" or info.source == key -- LuaJIT's library functions in Lua are their own source
end

--- Paths { module, field, field } of all values in loaded modules, two fields deep, by value: the shallowest path, in
-- the first module of module_list that has it.
local function module_names()
  local names, nested, list = {}, {}, module_list()
  for _, module in ipairs(list) do
    local value = package.loaded[module]
    names[value] = names[value] or { module }
  end
  for _, module in ipairs(list) do
    local container = package.loaded[module]
    for _, key in ipairs(type(container) == "table" and nameable_keys(container) or {}) do
      local value = container[key]
      if not names[value] and is_own(module, key, value) then
        names[value] = { module, key }
        if type(value) == "table" and value ~= package.loaded then nested[#nested + 1] = value end
      end
    end
  end
  for _, container in ipairs(nested) do
    local module, field = unpack(names[container])
    for _, key in ipairs(nameable_keys(container)) do
      local value = rawget(container, key)
      names[value] = names[value] or { module, field, key }
    end
  end
  return names
end

-- ---- kinds of values ----

--- What an object brings to carry itself, or nil.
local function carrier(value)
  local meta = type(value) ~= "cdata" and debug.getmetatable(value)
  return type(meta) == "table" and rawget(meta, "__carry") or nil
end

local function is_ctype(value)
  local ok, shown = pcall(tostring, value)
  return ok and shown:match "^ctype<" ~= nil
end

--- Whether a cdata is a 64-bit integer, a number in all but type.
local function is_boxed_integer(value)
  if is_ctype(value) then return false end -- ffi.istype sees no difference
  return ffi.istype("int64_t", value) or ffi.istype("uint64_t", value)
end

local function is_c_function(func) return debug.getinfo(func, "S").what == "C" end

-- ---- what a function's code does ----

local opcodes = {}
for name in jit_names:gmatch "......" do opcodes[#opcodes + 1] = name:match "%S+" end

--- Collects the names of globals that a function, or one made inside it, sets and gets. Returns a set of the names of
-- upvalues that they assign to. A name passes from an inner function to the one around it where that one has an upvalue
-- of this name; another variable may hide behind it, which errs on the safe side.
local function scan(code, globals_set, globals_read)
  local assigned = {}
  for pc = 1, math.huge do -- 0 is the head
    local instruction = jit_util.funcbc(code, pc)
    if not instruction then break end
    local opcode = opcodes[bit.band(instruction, 0xff) + 1]
    if opcode:match "^USET" then
      assigned[jit_util.funcuvname(code, bit.band(bit.rshift(instruction, 8), 0xff))] = true
    elseif opcode == "GSET" or opcode == "GGET" then
      local list = opcode == "GSET" and globals_set or globals_read
      list[#list + 1] = jit_util.funck(code, -1 - bit.rshift(instruction, 16))
    end
  end
  local info = jit_util.funcinfo(code)
  for i = 1, info.gcconsts do
    local inner = jit_util.funck(code, -i)
    local inner_assigned = type(inner) == "proto" and scan(inner, globals_set, globals_read) or {}
    for number = 0, info.upvalues - 1 do
      local name = jit_util.funcuvname(code, number)
      if inner_assigned[name] then assigned[name] = true end
    end
  end
  return assigned
end

-- ---- refusing ----

local SHOWN_NAME = 40   -- characters of a name in a path
local SHOWN_STEPS = 6   -- steps of a path, half of them at each end

local function shown(name)
  name = tostring(name):gsub("[%c\127]", "?")
  return #name > SHOWN_NAME and name:sub(1, SHOWN_NAME - 3) .. "..." or name
end

local function step_text(step, key)
  if step == "key" then return "a key" end
  if step == "metatable" or step == "argument" then return step end
  local kind = type(key)
  if kind == "string" then return ("%s '%s'"):format(step, shown(key)) end
  if kind == "number" or kind == "boolean" then return ("%s %s"):format(step, tostring(key)) end
  return ("%s of a %s"):format(step, kind)
end

local function shorten(steps)
  local half = SHOWN_STEPS / 2
  if #steps <= SHOWN_STEPS then return steps end
  local ends = {}
  for i = 1, half do
    ends[i], ends[half + 1 + i] = steps[i], steps[#steps - half + i]
  end
  ends[half + 1] = "..."
  return ends
end

--- The way to an object: "plugin talkers: on_update: upvalue 'log'". It begins anew at an object that carries itself
-- and has a text, whose own fields stand without "field".
local function path_to(packing, number)
  local numbers = {}
  while number do
    numbers[#numbers + 1] = number
    number = packing.from[number]
  end
  local head, steps, is_named = packing.what, {}, false
  for i = #numbers, 1, -1 do
    local at = numbers[i]
    local step, key, value = packing.step[at], packing.key[at], packing.values[at]
    local before = packing.step[numbers[i + 1]]
    if is_named and step == "field" and before == "argument" and #steps == 0 and type(key) == "string" then
      head = head .. ": " .. shown(key)
    elseif step and not (is_named and step == "argument" and #steps == 0 and i > 1) then
      steps[#steps + 1] = step_text(step, key)
    end
    local meta = carrier(value) and debug.getmetatable(value)
    if meta and meta.__tostring then
      local name = shown(tostring(value))
      head = packing.what:sub(-#name) == name and packing.what or packing.what .. ": " .. name
      steps, is_named = {}, true
    end
  end
  return #steps == 0 and head or head .. ": " .. table.concat(shorten(steps), " > ")
end

local function refuse(packing, number, is_what, remedy)
  error(("%s %s, which cannot be carried into another meter: %s")
    :format(path_to(packing, number), is_what, remedy), 0)
end

local IN_SETUP = "make it in setup(self)"
local IN_MODULE = "make it in setup(self), or in a module of its own"

local function refuse_kind(packing, number, value)
  local kind = type(value)
  if kind == "thread" then refuse(packing, number, "is a coroutine", IN_SETUP) end
  if kind == "cdata" then
    kind = is_ctype(value) and "ctype" or "cdata"
    local name = tostring(ffi.typeof(value)):match "^ctype<(.*)>$"
    refuse(packing, number, ("is a %s '%s'"):format(kind, name), IN_MODULE)
  end
  local file = kind == "userdata" and io.type(value)
  if file then refuse(packing, number, file == "file" and "is an open file" or "is a closed file",
    "open it in setup(self)") end
  refuse(packing, number, "is a " .. kind, IN_MODULE)
end

-- ---- packing ----

local MINUS_ZERO = {} -- stands for it as a key, where it would be zero

--- The number of a constant, which is added when new; nil for any other value.
local function constant(packing, value)
  local kind, key = type(value), value
  if kind == "cdata" then
    if not is_boxed_integer(value) then return nil end
  elseif kind == "number" then
    if value == 0 and 1 / value < 0 then key = MINUS_ZERO end
  elseif kind ~= "string" and kind ~= "boolean" then
    return nil
  end
  local id = packing.ids[key]
  if not id then
    id = #packing.constants + 1
    packing.constants[id] = value
    if key == key then packing.ids[key] = id end -- not NaN
  end
  return id
end

--- A value as a number. An object met for the first time, at this step from object `from`, gets the next one and is
-- described when its turn comes.
local function id_of(packing, value, from, step, key)
  if type(value) == "nil" then return 0 end -- NULL pointers equal nil
  local id = constant(packing, value) or packing.ids[value]
  if not id then
    local number = #packing.values + 1
    packing.values[number] = value
    packing.from[number], packing.step[number], packing.key[number] = from or false, step or false, key
    id = -number
    packing.ids[value] = id
  end
  return id
end

local function describe_table(packing, number, value)
  local object, last = { "table", id_of(packing, debug.getmetatable(value), number, "metatable") }, 2
  for key, item in next, value do
    object[last + 1] = id_of(packing, key, number, "key")
    object[last + 2] = id_of(packing, item, number, "field", key)
    last = last + 2
  end
  return object
end

local function check_function(packing, number, func)
  if is_c_function(func) then refuse(packing, number, "is a C function that is no module's", IN_MODULE) end
  if getfenv(func) ~= _G then
    refuse(packing, number, "is a function with an environment of its own", "make it without setfenv")
  end
  local read = {}
  scan(func, {}, read)
  for _, name in ipairs(read) do
    if not standard_globals[name] and rawget(_G, name) ~= nil then
      refuse(packing, number, ("reads global '%s'"):format(shown(name)), "make it local")
    end
  end
end

local function describe_function(packing, number, func)
  check_function(packing, number, func)
  local object = { "function", constant(packing, string.dump(func)) }
  for i = 1, math.huge do
    local name, value = debug.getupvalue(func, i)
    if not name then return object end
    local identity = debug.upvalueid(func, i)
    local cell = packing.cell_of[identity]
    if not cell then
      cell = #packing.cells + 1
      packing.cell_of[identity] = cell
      packing.cells[cell] = id_of(packing, value, number, "upvalue", name ~= "" and name or i) -- "" when stripped
    end
    object[#object + 1] = cell
  end
end

local function describe(packing, number)
  local value = packing.values[number]
  local name = packing.names[value]
  if name then return { "named", unpack(name) } end
  local carry = carrier(value)
  if carry then
    local module, field, argument = carry(value)
    if type(module) ~= "string" or type(field) ~= "string" then
      refuse(packing, number, "is an object whose __carry names no function", "return module, function, argument there")
    end
    return { "made", id_of(packing, argument, number, "argument"), module, field }
  end
  if type(value) == "table" then return describe_table(packing, number, value) end
  if type(value) == "function" then return describe_function(packing, number, value) end
  return refuse_kind(packing, number, value)
end

--- Where in an object's description the objects stand that must be complete before it is; functions wait for nothing,
-- their upvalues come last.
local function last_child(object)
  if object[1] == "table" then return #object end
  return object[1] == "made" and 2 or 1
end

--- Takes a component of objects that reach each other from the stack, of which the first `top` stand; none may be one
-- that is made. Returns how many stand there then.
local function close_component(packing, stack, top, is_open, root)
  local is_cycle = stack[top] ~= root
  repeat
    local number = stack[top]
    top, is_open[number] = top - 1, nil
    local object = packing.objects[number]
    if object[1] == "made" and (is_cycle or object[2] == -number) then
      refuse(packing, number, "is an object that is made from itself", "let a function refer to it")
    end
  until number == root
  return top
end

--- The order in which to fill tables and make objects. From each object that is made, depth first, so that all it is
-- made from comes before it; cycles among tables may start anywhere. Strongly connected components are found as Tarjan
-- does, with a path of its own instead of recursion. How long path and stack are is counted: once a list has become
-- shorter, compiled code may take # for what it was (LuaJIT 2.1 of 2022).
local function making_order(packing)
  local objects, order, index, low, count = packing.objects, {}, {}, {}, 0
  local path, at, depth, stack, top, is_open = {}, {}, 0, {}, 0, {}
  local function enter(number)
    count, depth, top = count + 1, depth + 1, top + 1
    index[number], low[number], is_open[number] = count, count, true
    path[depth], at[depth], stack[top] = number, 2, number
  end
  local function leave(number)
    depth = depth - 1
    local parent = path[depth]
    if parent then low[parent] = math.min(low[parent], low[number]) end
    order[#order + 1] = number
    if low[number] == index[number] then top = close_component(packing, stack, top, is_open, number) end
  end
  local function visit(root)
    enter(root)
    while depth > 0 do
      local number, position = path[depth], at[depth]
      if position > last_child(objects[number]) then
        leave(number)
      else
        at[depth] = position + 1
        local child = -objects[number][position]
        if child > 0 and last_child(objects[child]) > 1 and not index[child] then enter(child)
        elseif is_open[child] then low[number] = math.min(low[number], index[child]) end
      end
    end
  end
  for number, object in ipairs(objects) do
    if object[1] == "made" and not index[number] then visit(number) end
  end
  for number, object in ipairs(objects) do
    if object[1] == "table" and not index[number] then order[#order + 1] = number end
  end
  return order
end

--- Packs a value into a string that transfer.unpack turns into an equal value in another Lua state.
-- Carried: nil, booleans, numbers, strings, 64-bit integers, tables with their metatables, Lua functions with their
-- upvalues, all with what they share and cycles kept; modules and what lies in them, by name; objects whose metatable
-- has a function __carry(object), which returns a module, the name of a function in it and that function's argument.
-- Raises one line that begins with `what` (level 0) for anything else.
function transfer.pack(value, what)
  local packing = {
    what = what, names = module_names(), ids = {}, values = {}, from = {}, step = {}, key = {}, constants = {},
    objects = {}, cells = {}, cell_of = {},
  }
  local root = id_of(packing, value)
  local number = 1
  while packing.values[number] do
    packing.objects[number] = describe(packing, number)
    number = number + 1
  end
  return buffer.encode {
    root = root, constants = packing.constants, objects = packing.objects, cells = packing.cells,
    order = making_order(packing),
  }
end

-- ---- unpacking ----

--- The value that lies at object[first], a module, and the fields behind it.
local function named(object, first)
  local ok, value = pcall(require, object[first])
  if not ok then
    error(("transfer: module '%s' cannot be loaded here: %s"):format(object[first], tostring(value):match "[^\n]*"), 0)
  end
  for i = first + 1, #object do
    value = type(value) == "table" and rawget(value, object[i])
    if not value then error(("transfer: %s is not here"):format(table.concat(object, ".", first)), 0) end
  end
  return value
end

local create = {
  named = function(object) return named(object, 2) end,
  table = function() return {} end,
  ["function"] = function(object, constants) return assert(loadstring(constants[object[2]])) end,
  made = function() return nil end,
}

local complete = {}

function complete.table(object, value_of, t)
  for i = 3, #object, 2 do t[value_of(object[i])] = value_of(object[i + 1]) end
  return setmetatable(t, value_of(object[2]))
end

function complete.made(object, value_of) return named(object, 3)(value_of(object[2])) end

--- The value that transfer.pack made this text of, in this state. Not for text from anywhere else.
function transfer.unpack(text)
  local packed = buffer.decode(text)
  local constants, objects, cells, values = packed.constants, packed.objects, packed.cells, {}
  local function value_of(id)
    if id < 0 then return values[-id] end
    return constants[id]
  end
  for number, object in ipairs(objects) do values[number] = create[object[1]](object, constants) end
  for _, number in ipairs(packed.order) do
    local object = objects[number]
    values[number] = complete[object[1]](object, value_of, values[number])
  end
  local owners = {} -- by cell: the function that has it, and where
  for number, object in ipairs(objects) do
    for i = 3, object[1] == "function" and #object or 0 do
      local owner = owners[object[i]]
      if owner then
        debug.upvaluejoin(values[number], i - 2, owner.func, owner.number)
      else
        debug.setupvalue(values[number], i - 2, value_of(cells[object[i]]))
        owners[object[i]] = { func = values[number], number = i - 2 }
      end
    end
  end
  return value_of(packed.root)
end

-- ---- state ----

--- Whether a function that captures this value could keep state in it. Plugins answer for their own.
local function holds_state(value, names)
  local kind = type(value)
  if not nameable[kind] or names[value] then return false end
  if kind == "function" then return is_c_function(value) end -- an iterator, say
  if kind == "cdata" then return not (is_ctype(value) or is_boxed_integer(value)) end
  local carry = carrier(value)
  return not (carry and carry(value) == "nfengine.plugin")
end

--- The name of the first upvalue by which a function could keep state from call to call: one that it, a function made
-- inside it or one that it captures assigns to, or that holds a table or other object that is no module's and no
-- plugin. A global that they assign to counts as "global 'count'", and so does _G, the table of all globals, where they
-- use it. nil if there is none.
function transfer.state_of(func)
  if is_c_function(func) then return nil end
  local names, queue, is_queued = module_names(), { func }, { [func] = true }
  for _, current in ipairs(queue) do
    local globals, read = {}, {}
    local assigned = scan(current, globals, read)
    for _, name in ipairs(read) do
      if name == "_G" then globals[#globals + 1] = name end
    end
    for i = 1, math.huge do
      local name, value = debug.getupvalue(current, i)
      if not name then break end
      if assigned[name] or holds_state(value, names) then return name ~= "" and name or "?" end -- "" when stripped
      if type(value) == "function" and not names[value] and not is_queued[value] then
        queue[#queue + 1], is_queued[value] = value, true
      end
    end
    if globals[1] then return ("global '%s'"):format(globals[1]) end
  end
  return nil
end

return transfer
