-- Changes files as somebody might who means no good: cut, bytes changed, parts moved and doubled, numbers that are
-- huge, negative or none.
--
--   local mutate = require "spec.support.mutation" (seed)
--   local changed = mutate(original)

local random = require "spec.support.random"

local NUMBERS = {
  "-1", "0", "1", "2", "255", "65536", "2147483648", "4294967296", "-9223372036854775808", "1e308", "-1e308", "1e-320",
  "NaN", "nan", "inf", "-inf", "null", "true", "[]", "{}", "\"\"", "0.5", "1e", "99999999999999999999999999",
}

return function(seed)
  local below = random.generator(seed)

  local function at_some(bytes) return below(#bytes) + 1 end

  local changes = {
    function(bytes) return bytes:sub(1, at_some(bytes)) end,
    function(bytes)
      local at = at_some(bytes)
      return bytes:sub(1, at - 1) .. string.char(below(256)) .. bytes:sub(at + 1)
    end,
    function(bytes)
      local from, size = at_some(bytes), below(64)
      return bytes:sub(1, from - 1) .. bytes:sub(from + size)
    end,
    function(bytes)
      local from, size, to = at_some(bytes), below(200), at_some(bytes)
      return bytes:sub(1, to) .. bytes:sub(from, from + size) .. bytes:sub(to + 1)
    end,
    function(bytes) -- a number in words
      local first, last = bytes:find("%-?%d[%d.e+-]*", at_some(bytes))
      if not first then return bytes end
      return bytes:sub(1, first - 1) .. NUMBERS[below(#NUMBERS) + 1] .. bytes:sub(last + 1)
    end,
    function(bytes) -- one in bytes
      local at, byte = at_some(bytes), ({ 0, 127, 128, 255 })[below(4) + 1]
      return bytes:sub(1, at - 1) .. string.char(byte):rep(4) .. bytes:sub(at + 4)
    end,
    function(bytes) -- one of Protocol Buffers, seven bits a byte
      local at = at_some(bytes)
      return bytes:sub(1, at - 1) .. ("\255"):rep(below(9) + 1) .. "\1" .. bytes:sub(at + 1)
    end,
    function(bytes)
      local at = at_some(bytes)
      return bytes:sub(1, at) .. ("["):rep(below(3000)) .. bytes:sub(at + 1)
    end,
  }

  return function(bytes)
    for _ = 0, below(3) do bytes = changes[below(#changes) + 1](bytes) end
    return bytes
  end
end
