-- core/warnings.c: one-line texts, from whoever finds out to whoever tells.

local ffi = require "ffi"
local C = require "nfengine.lib"

-- The header has a lock in its struct; a buffer that is large enough stands in for it.
ffi.cdef [[
  struct nf_warnings { uint64_t opaque[32]; };
  void nf_warnings_init(struct nf_warnings *);
  void nf_warnings_clear(struct nf_warnings *);
  void nf_warnings_add(struct nf_warnings *, const char *format, ...);
  const char *nf_warnings_next(struct nf_warnings *);
]]

describe("warnings", function()
  local warnings

  before_each(function()
    warnings = ffi.new "struct nf_warnings"
    C.nf_warnings_init(warnings)
  end)
  after_each(function() C.nf_warnings_clear(warnings) end)

  local function next_text()
    local text = C.nf_warnings_next(warnings)
    return text ~= nil and ffi.string(text) or nil
  end

  it("are fetched once, in order", function()
    assert.is_nil(next_text())
    C.nf_warnings_add(warnings, "%s: %d", "first", ffi.new("int", 1))
    C.nf_warnings_add(warnings, "second")
    assert.equal("first: 1", next_text())
    assert.equal("second", next_text())
    assert.is_nil(next_text())
    C.nf_warnings_add(warnings, "third")
    assert.equal("third", next_text())
    assert.is_nil(next_text())
  end)

  it("are one line, of any length", function()
    C.nf_warnings_add(warnings, "%s", "a\nb\27[31m\127" .. ("x"):rep(5000))
    assert.equal("a?b?[31m?" .. ("x"):rep(5000), next_text())
  end)

  it("not fetched are freed", function()
    for _ = 1, 3 do C.nf_warnings_add(warnings, "left") end
    next_text()
  end)
end)
