-- What the Makefile has built can be attacked less easily than what a compiler makes unasked: addresses of its own at
-- every start, nothing that is both written and executed, tables of functions that are read-only, checked stacks and
-- copies. By what readelf, of Debian's package binutils, says of the files.

local program = require "spec.support.program"

local has_readelf = program.shell("command -v readelf").status == 0

local function hardened(file)
  -- Whether readelf prints something of the kind, a Lua pattern.
  local function has(option, pattern)
    return program.shell(("LC_ALL=C readelf -W %s %s"):format(option, file)).out:find(pattern) ~= nil
  end

  local function claim(what, check)
    it(what, function()
      if not has_readelf then return pending "readelf is not there" end
      check()
    end)
  end

  claim("is at another address at every start", function()
    assert.is_true(has("-h", "Type:%s+DYN"))
    if not file:match "%.so$" then assert.is_true(has("-d", "%(FLAGS_1%)[^\n]* PIE")) end
  end)

  claim("finds all functions as it starts, and makes their table read-only", function()
    assert.is_true(has("-d", "BIND_NOW"))
    assert.is_true(has("-l", "GNU_RELRO"))
  end)

  claim("has no memory that is both written and executed, the stack included", function()
    assert.is_true(has("-l", "GNU_STACK[^\n]* RW "))
    assert.is_false(has("-l", "RWE"))
  end)

  claim("notices what overruns a buffer on the stack", function()
    assert.is_true(has("--dyn-syms", "UND __stack_chk_fail@"))
  end)

  claim("notices what is copied or printed beyond a buffer", function()
    assert.is_true(has("--dyn-syms", "UND __memcpy_chk@"))
    assert.is_true(has("--dyn-syms", "UND __snprintf_chk@"))
  end)

  claim("goes down its stack page by page", function()
    if not has("-S", "%.debug_str") then return pending "built without debugging information, which says so" end
    assert.is_true(has("-p .debug_str", "%-fstack%-clash%-protection"))
  end)
end

describe("the program, as built,", function() hardened "./nfengine" end)
describe("the library, as built,", function() hardened "./libnfengine.so" end)
