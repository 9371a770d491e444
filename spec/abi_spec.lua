-- core/nf_abi.h, the contract of the C core and Lua: that both read it alike, and that a library built from another one
-- is refused.

local ffi = require "ffi"
local C = require "nfengine.lib"
local program = require "spec.support.program"

-- ---- the header's text ----

local function header_text()
  local text = assert(program.read "core/nf_abi.h")
  return (text:gsub("/%*.-%*/", " "):gsub("__attribute__%b()%)?", " "):gsub("#[^\n]*", ""))
end

-- The field names in a struct's body, those of unnamed structs and unions inside it among them, as C sees them too.
local function field_names(body)
  local names = {}
  body = body:gsub("struct%s*{", ""):gsub("union%s*{", ""):gsub("}%s*;", "")
  for declaration in body:gmatch "[^;]+" do
    for declarator in declaration:gmatch "[^,]+" do
      local name = declarator:gsub("%b[]", ""):match "([%a_][%w_]*)%s*$"
      if name then names[#names + 1] = name end
    end
  end
  return names
end

-- The structs with bodies, in their order: { name, fields }.
local function structs()
  local list = {}
  for name, body in header_text():gmatch "struct%s+(nf_[%w_]+)%s*(%b{})" do
    list[#list + 1] = { name = name, fields = field_names(body:sub(2, -2)) }
  end
  return list
end

local function enum_names()
  local names = {}
  for body in header_text():gmatch "enum%s+[%w_]*%s*(%b{})" do
    for name in body:gmatch "NF_[%u%d_]+" do
      if not names[name] then names[#names + 1] = name end
      names[name] = true
    end
  end
  return names
end

local function function_names()
  local names = {}
  for name in header_text():gsub("%b{}", ";"):gmatch "(nf_[%w_]+)%s*%(" do names[#names + 1] = name end
  return names
end

-- ---- what gcc says ----

local function compiler() return os.getenv "CC" or "cc" end

local function has_compiler()
  return program.shell("command -v " .. compiler() .. " >/dev/null 2>&1").status == 0
end

-- Compiles lines behind the header; returns the compiler's complaints, "" when there are none.
local function judge(lines)
  local path = program.write('#include "core/base.h"\n' .. table.concat(lines, "\n") .. "\n", ".c")
  local command = compiler() .. " -std=c11 -D_GNU_SOURCE -I. -fsyntax-only "
  local result = program.shell(command .. program.quote(path))
  os.remove(path)
  return result.status == 0 and result.err == "" and "" or result.err .. "(status " .. result.status .. ")"
end

local function claim(expression, value)
  return ('_Static_assert((%s) == %d, "%s is %d to LuaJIT");'):format(expression, value, expression, value)
end

-- ---- lib.lua, given another world ----

-- Loads lib.lua with its own ffi: as if LuaJIT had read other sizes, or the library said others. Returns ok, error.
local function load_library(sizes, library)
  local core = setmetatable({}, { __index = function(_, name)
    if library[name] ~= nil then return library[name] end
    return C[name]
  end })
  local fake = setmetatable({
    C = core, load = function() return core end,
    sizeof = function(what, ...) return sizes[what] or ffi.sizeof(what, ...) end,
  }, { __index = ffi })
  local environment = setmetatable({
    require = function(name) return name == "ffi" and fake or require(name) end,
  }, { __index = _G })
  return pcall(setfenv(assert(loadfile "lua/nfengine/lib.lua"), environment))
end

-- The library's own table of sizes with some of them changed.
local function abi_with(changes)
  return { nf_abi = setmetatable(changes, { __index = function(_, field) return C.nf_abi[field] end }) }
end

local SIZES = {
  packet_size = "struct nf_packet", flow_size = "struct nf_flow", statistics_size = "struct nf_statistics",
  l7_size = "struct nf_l7", l7_extra_size = "struct nf_l7_extra", event_size = "struct nf_event",
  options_size = "struct nf_options", counters_size = "struct nf_counters", column_size = "struct nf_column",
  layout_size = "struct nf_layout",
}

describe("the contract header", function()
  after_each(program.remove_temporaries)

  it("is read by LuaJIT as by the compiler: the size of every struct and the place of every field", function()
    if not has_compiler() then pending("no C compiler: '" .. compiler() .. "' is not there") end
    local lines = {}
    for _, struct in ipairs(structs()) do
      local name = "struct " .. struct.name
      lines[#lines + 1] = claim(("sizeof(%s)"):format(name), ffi.sizeof(name))
      for _, field in ipairs(struct.fields) do
        local offset = ffi.offsetof(name, field)
        assert.is_number(offset, name .. " has no field " .. field)
        lines[#lines + 1] = claim(("offsetof(%s, %s)"):format(name, field), offset)
      end
    end
    assert.is_true(#lines > 150, "only " .. #lines .. " lines: the header was not understood")
    assert.equal("", judge(lines))
  end)

  it("has the same constants in both languages", function()
    if not has_compiler() then pending("no C compiler: '" .. compiler() .. "' is not there") end
    local lines = {}
    for _, name in ipairs(enum_names()) do lines[#lines + 1] = claim(name, tonumber(C[name])) end
    assert.is_true(#lines > 50, "only " .. #lines .. " lines: the header was not understood")
    assert.equal("", judge(lines))
  end)

  it("is not believed blindly: the compiler refuses a wrong size", function()
    if not has_compiler() then pending("no C compiler: '" .. compiler() .. "' is not there") end
    local wrong = claim("sizeof(struct nf_flow)", ffi.sizeof "struct nf_flow" + 8)
    assert.is_truthy(judge({ wrong }):find("to LuaJIT", 1, true))
  end)

  it("declares nothing that the library lacks", function()
    local names = function_names()
    assert.is_true(#names > 30, "only " .. #names .. " functions: the header was not understood")
    for _, name in ipairs(names) do
      assert.is_true(pcall(function() return C[name] end), name .. " is not in the library")
    end
  end)

  it("says of this build what LuaJIT read", function()
    assert.equal(C.NF_ABI_VERSION, C.nf_abi.version)
    for field, name in pairs(SIZES) do assert.equal(ffi.sizeof(name), C.nf_abi[field], field) end
  end)
end)

describe("the library", function()
  it("is taken when it matches", function()
    local ok, library = load_library({}, {})
    assert.is_true(ok, library)
    assert.equal(C.NF_OK, library.NF_OK)
  end)

  it("is refused when its version is another, naming both", function()
    local ok, message = load_library({}, abi_with { version = 99 })
    assert.is_false(ok)
    assert.equal("nfengine: the library and lua/nfengine do not match: ABI version is 99 in the library, expected "
      .. C.NF_ABI_VERSION .. "; run make", message)
  end)

  for field, name in pairs(SIZES) do
    it("is refused when its " .. name .. " is of another size, naming both", function()
      local size = ffi.sizeof(name)
      local want = "nfengine: the library and lua/nfengine do not match: sizeof(%s) is %d in the library, expected %d; "
        .. "run make"
      local ok, message = load_library({}, abi_with { [field] = size + 8 })
      assert.is_false(ok)
      assert.equal(want:format(name, size + 8, size), message)
      ok, message = load_library({ [name] = size - 8 }, {})
      assert.is_false(ok)
      assert.equal(want:format(name, size, size - 8), message)
    end)
  end
end)
