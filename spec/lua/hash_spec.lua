-- lua/nfengine/hash.lua: that plugins get from it what core/crypto.c gives, as strings.

local new_buffer = require("nfengine.bytes").buffer
local hash = require "nfengine.hash"
local testing = require "nfengine.testing"

describe("hash", function()
  it("gives what the standards' examples give", function()
    assert.are.equal("a9993e364706816aba3e25717850c26c9cd0d89d", hash.hex(hash.sha1 "abc"))
    assert.are.equal("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", hash.hex(hash.sha256 "abc"))
    assert.are.equal("da39a3ee5e6b4b0d3255bfef95601890afd80709", hash.hex(hash.sha1 ""))
    assert.are.equal("qZk+NkcGgWq6PiVxeFDCbJzQ2J0=", hash.base64(hash.sha1 "abc"))
  end)

  it("takes any bytes", function()
    assert.are.equal("00ff0a", hash.hex "\0\255\n")
    assert.are.equal("", hash.hex "")
    assert.are.equal("AP8K", hash.base64 "\0\255\n")
    assert.are.equal("", hash.base64 "")
    for size = 90, 102 do
      local whole = ("QUFB"):rep(math.floor(size / 3))
      assert.are.equal(whole .. ({ [0] = "", "QQ==", "QUE=" })[size % 3], hash.base64(("A"):rep(size)))
    end
    assert.are.equal(20, #hash.sha1 "\0")
    assert.are_not.equal(hash.sha1 "", hash.sha1 "\0")
  end)

  it("gives a file's SHA-256 and size, however large it is", function()
    local path = os.tmpname()
    for _, size in ipairs { 0, 1, 65535, 65536, 65537, 200000 } do
      local bytes = ("abcdefg"):rep(math.ceil(size / 7)):sub(1, size)
      local file = assert(io.open(path, "wb"))
      file:write(bytes)
      file:close()
      assert.are.same({ hash.sha256(bytes), size }, { hash.sha256_file(path) })
    end
    os.remove(path)
  end)

  it("says why a file cannot be read", function()
    assert.are.same({ nil, "/nowhere/x: No such file or directory" }, { hash.sha256_file "/nowhere/x" })
    assert.are.same({ nil, "spec: Is a directory" }, { hash.sha256_file "spec" })
    assert.are.equal(32, #hash.sha256_file "Makefile") -- nothing of it is left over
  end)

  it("takes a buffer for a string, and adds to another", function()
    local data, out = new_buffer(200), new_buffer(300)
    for _, text in ipairs { "", "abc", ("\0\255"):rep(100) } do
      data:clear():text(text)
      for name, size in pairs { sha1 = 20, sha256 = 32, base64 = math.ceil(#text / 3) * 4 } do
        local expected = hash[name](text)
        assert.are.equal(size, #expected)
        assert.are.equal(expected, hash[name](data))
        assert.are.equal(out, hash[name](data, out:clear():text "1:"))
        assert.are.equal("1:" .. expected, out:string())
        assert.are.equal("1:" .. expected, hash[name](text, out:clear():text "1:"):string())
        assert.are.equal(text, data:string())
      end
    end
    assert.matches("buffer: more than the 19 bytes", testing.refusal(hash.sha1, "abc", new_buffer(19)), 1, true)
    assert.matches("buffer: more than the 3 bytes", testing.refusal(hash.base64, "abc", new_buffer(3)), 1, true)
  end)

  it("gives secrets, all integers of 32 bits and each another", function()
    local seen, low, high = {}, 0, 0
    for _ = 1, 100 do
      local secret = hash.secret()
      assert.is_true(secret == math.floor(secret) and secret >= 0 and secret < 2 ^ 32)
      assert.is_nil(seen[secret])
      seen[secret], low, high = true, low + secret % 2, high + math.floor(secret / 2 ^ 31)
    end
    assert.is_true(low > 10 and low < 90 and high > 10 and high < 90) -- but once in 10^17 runs
  end)

  it("refuses what is no string", function()
    for _, name in ipairs { "sha1", "sha256", "sha256_file", "base64", "hex" } do
      for _, value in ipairs { 7, {}, false } do
        assert.is_truthy(testing.refusal(hash[name], value):find("hash." .. name .. ": expected a string", 1, true))
      end
    end
  end)
end)
