-- lua/nfengine/npy.lua: the bytes of files, and what NumPy reads in them.

local ffi = require "ffi"
local C = require "nfengine.lib"
local npy = require "nfengine.npy"
local program = require "spec.support.program"

local PYTHON = os.getenv "NFENGINE_ML_PYTHON" or "build/peers/bin/python"
local missing = program.shell(PYTHON .. " -c 'import numpy'").status ~= 0 and PYTHON .. " has no numpy: see make peers"

-- What Python prints.
local function python(code, path)
  local result = program.shell(("timeout 60 %s -c %s %s"):format(PYTHON, program.quote(code), path))
  assert.same({ 0, "" }, { result.status, result.err })
  return result.out
end

-- An array of two rows of 2 x 3 numbers, and one of texts.
local function arrays()
  local numbers, texts = program.temporary ".npy", program.temporary ".npy"
  local x = npy.create(numbers, "float32", { 2, 3 })
  x:write(ffi.new("float[6]", { 1, 2, 3, 4, 5, 6.5 }))
  x:write(ffi.new("float[6]", { -1, 0, 0, 0, 0, 1e30 }))
  x:close()
  local names = npy.create(texts, "text:5", {})
  for _, each in ipairs { "web", "", "Größe und mehr", "日本", "\247\191x\226\130" } do names:write_text(each) end
  names:close()
  return numbers, texts
end

describe("nfengine.npy", function()
  after_each(program.remove_temporaries)

  it("writes NEP 1's header, aligned, with the number of rows", function()
    local content = program.read((arrays()))
    assert.equal("\147NUMPY\1\0\118\0", content:sub(1, 10))
    assert.equal("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2, 3), }", content:sub(11, 72))
    assert.matches("^ *\n$", content:sub(73, 128))
    assert.equal(128 + 2 * 6 * 4, #content)
  end)

  it("knows CRC-32", function()
    assert.equal(0xcbf43926, C.nf_crc32(0, "123456789", 9))
    assert.equal(0xcbf43926, C.nf_crc32(C.nf_crc32(0, "1234", 4), "56789", 5))
  end)

  for _, kind in ipairs { "float32", "int8", "uint8", "int32", "int64" } do
    it("is read by NumPy: " .. kind, function()
      if missing then return pending(missing) end
      local path = program.temporary ".npy"
      local array = npy.create(path, kind, { 3 })
      local ctype = kind == "float32" and "float" or kind .. "_t"
      for i = 1, 3 do array:write(ffi.new(ctype .. "[3]", { i, 2 * i, kind:match "^u" and 7 or -i })) end
      array:close()
      local last = kind:match "^u" and "7" or "-3"
      assert.equal(("%s (3, 3) [3, 6, %s]\n"):format(kind, last),
        python("import numpy, sys; a = numpy.load(sys.argv[1]); print(a.dtype, a.shape, a[2].astype(int).tolist())",
          path))
    end)
  end

  it("is read by NumPy: no rows", function()
    if missing then return pending(missing) end
    local path = program.temporary ".npy"
    npy.create(path, "int8", { 4 }):close()
    assert.equal("(0, 4)\n", python("import numpy, sys; print(numpy.load(sys.argv[1]).shape)", path))
  end)

  for what, limit in pairs { ["with numbers of 32 bits"] = false, ["with numbers of 64 bits"] = 100 } do
    it("makes files of several arrays, " .. what, function()
      if missing then return pending(missing) end
      local numbers, texts = arrays()
      local path = program.temporary ".npz"
      npy.zip(path, { { "x", numbers }, { "names", texts } }, limit or nil)
      assert.equal("x,names None\n(2, 2, 3) 6.5 1e+30\nweb||Größe|日本|\239\191\189\239\191\189x\239\191\189\n", python([[
import numpy, sys, zipfile
z = numpy.load(sys.argv[1])
print(",".join(z), zipfile.ZipFile(sys.argv[1]).testzip())
print(z["x"].shape, z["x"][0, 1, 2], z["x"][1, 1, 2])
print("|".join(z["names"]))]], path))
      assert.equal(limit ~= false, program.read(path):find("PK\6\6", 1, true) ~= nil)
      if program.shell("command -v unzip").status == 0 then
        assert.equal(0, program.shell("unzip -tq " .. path).status)
      end
    end)
  end

  it("says where it cannot write", function()
    assert.has_error(function() npy.create("/nowhere/x.npy", "int8", {}) end,
      "/nowhere/x.npy: No such file or directory, expected a file to write")
    local full = npy.create("/dev/full", "int8", { 100000 })
    assert.has_error(function() full:write(ffi.new "int8_t[100000]") end, "/dev/full: No space left on device")
    local numbers = arrays()
    assert.has_error(function() npy.zip("/dev/full", { { "x", numbers } }) end, "/dev/full: No space left on device")
    assert.has_error(function() npy.zip(program.temporary(), { { "x", "/nowhere/x.npy" } }) end,
      "/nowhere/x.npy: No such file or directory, expected a file to read")
  end)

  it("takes no row that is shorter than its own, or longer", function()
    local path = program.temporary ".npy"
    local array = npy.create(path, "uint8", { 2, 3 })
    for _, size in ipairs { 1, 5, 7 } do
      assert.has_error(function() array:write(ffi.new("uint8_t[?]", size)) end,
        ("%s: a row of %d bytes, expected 6"):format(path, size))
    end
    array:close()
    assert.matches("'shape': (0, 2, 3)", program.read(path), 1, true)
  end)
end)
