-- lua/nfengine/protocols/certificate.lua: certificates made element by element.

local certificate = require "nfengine.protocols.certificate"
local random = require "spec.support.random"

local function length_of(size)
  if size < 128 then return string.char(size) end
  if size < 256 then return "\129" .. string.char(size) end
  return "\130" .. string.char(math.floor(size / 256), size % 256)
end

local function element(tag, ...)
  local contents = table.concat { ... }
  return string.char(tag) .. length_of(#contents) .. contents
end

local SEQUENCE, SET = 0x30, 0x31
local UTF8, PRINTABLE, BMP, OCTETS = 0x0c, 0x13, 0x1e, 0x04
local COMMON_NAME, COUNTRY = "\85\4\3", "\85\4\6"

local function part(text, tag, oid)
  return element(SET, element(SEQUENCE, element(6, oid or COMMON_NAME), element(tag or UTF8, text)))
end

local function name(...) return element(SEQUENCE, ...) end

local VERSION = element(0xa0, element(2, "\2"))

-- A certificate of these names, as elements; `front` is what stands before the serial number.
local function made(issuer, subject, front)
  local algorithm = element(SEQUENCE, element(6, "\42\3"))
  local times = element(SEQUENCE, element(23, "260101000000Z"), element(23, "270101000000Z"))
  return element(SEQUENCE, element(SEQUENCE, front or VERSION, element(2, "\1\2"), algorithm, issuer, times, subject,
    element(SEQUENCE, ("k"):rep(300))), algorithm, element(3, ("s"):rep(256)))
end

describe("a certificate", function()
  it("has the common names of its subject and its issuer", function()
    local both = { subject = "www.example.com", issuer = "Example CA" }
    local issuer = name(part("US", PRINTABLE, COUNTRY), part("Example CA", PRINTABLE))
    assert.same(both, certificate.names(made(issuer, name(part "www.example.com"))))
    assert.same(both, certificate.names(made(issuer, name(part "www.example.com"), ""))) -- version 1
    assert.same(both, certificate.names(made(issuer, name(part("\0w\0w\0w\0.\0e\0x\0a\0m\0p\0l\0e\0.\0c\0o\0m", BMP)))))
    assert.same(both, certificate.names(made(issuer, name(part "other", part "www.example.com"))))
  end)

  it("has none without a common name, or one that is no text", function()
    assert.same({}, certificate.names(made(name(), name(part("US", PRINTABLE, COUNTRY)))))
    assert.same({ issuer = "ca" }, certificate.names(made(name(part "ca"), name(part("x", OCTETS)))))
  end)

  it("has nothing of a part that is longer than its name", function()
    local short = element(SEQUENCE, part "one"):gsub("^(.)(.)", function(tag, size)
      return tag .. string.char(size:byte() - 1)
    end)
    assert.same({ issuer = "ca" }, certificate.names(made(name(part "ca"), short)))
  end)

  it("has what stands before a cut", function()
    local whole = made(name(part "ca"), name(part "www.example.com"))
    local seen = {}
    for size = 0, #whole do
      local names = certificate.names(whole:sub(1, size))
      assert.is_true(names.issuer == nil or names.issuer == "ca")
      assert.is_true(names.subject == nil or names.subject == "www.example.com")
      seen[(names.issuer or "-") .. (names.subject or "-")] = true
    end
    assert.same({ ["--"] = true, ["ca-"] = true, ["cawww.example.com"] = true }, seen)
  end)

  it("may have long and many names, of which 50 parts are looked at", function()
    local parts = {}
    for i = 1, 51 do parts[i] = part("n" .. i) end
    local names = certificate.names(made(name(part(("x"):rep(1000))), name(unpack(parts))))
    assert.same({ ("x"):rep(1000), "n50" }, { names.issuer, names.subject })
  end)

  it("may be any bytes", function()
    assert.same({}, certificate.names "")
    random.trial(function(below)
      local whole = made(name(part "ca"), name(part "www.example.com"))
      for _ = 1, 500 do
        local at = 1 + below(120)
        certificate.names(whole:sub(1, at - 1) .. string.char(below(256)) .. whole:sub(at + 1))
      end
    end)
  end)
end)
