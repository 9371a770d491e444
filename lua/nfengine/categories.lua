--- What plugins and scripts are about, in words that everybody uses the same: a closed list, and expressions over it.

local text = require "nfengine.text"

local categories = {}

--- The words, by group, each with what it says of a plugin or script.
categories.groups = {
  { "kind", {
    { "feature", "adds columns to flows" },
    { "expiry", "changes when flows end" },
    { "label", "says what flows are, for training and tests" },
    { "model", "asks a model, or learns one" },
    { "profile", "is a set of plugins and parameters under one name" },
    { "report", "prints or draws for people" },
    { "export", "writes files for other programs" },
    { "example", "is made to be read" },
  } },
  { "protocol", {
    { "tcp", "is about TCP" }, { "udp", "is about UDP" }, { "icmp", "is about ICMP and ICMPv6" },
    { "tls", "is about TLS" }, { "quic", "is about QUIC" }, { "dns", "is about DNS" }, { "http", "is about HTTP" },
    { "dhcp", "is about DHCP" }, { "mdns", "is about multicast DNS" },
  } },
  { "property", {
    { "payload", "reads payload" },
    { "cross-flow", "looks at more than one flow" },
    { "compat", "gives another tool's columns" },
    { "slow", "takes more than 60 ns a packet" },
    { "live", "is for network interfaces" },
    { "safe", "opens no file and no connection" },
    { "experimental", "may change" },
  } },
}

local known, names = {}, {}
for _, group in ipairs(categories.groups) do
  for _, entry in ipairs(group[2]) do
    known[entry[1]] = true
    names[#names + 1] = entry[1]
  end
end

--- Whether a list holds only known categories, each once; false and what is wrong.
function categories.check(list)
  local seen = {}
  for i = 1, #list do
    local name = list[i]
    if type(name) ~= "string" or not known[name] then
      return false, ("unknown category %s%s"):format(text.quote(name), text.suggest(name, names))
    end
    if seen[name] then return false, ("category %s stands there twice"):format(text.quote(name)) end
    seen[name] = true
  end
  return true
end

-- ---- expressions ----

-- "tcp and not (slow or payload)", "host_*": words are categories or names, "*" stands for anything, and binds
-- before or. A list of words without operators means any of them.

local LONGEST = 1000 -- tokens; each may be a level of its own

local function tokens_of(expression)
  local tokens, at = {}, 1
  while true do
    at = expression:find("[^%s,]", at)
    if not at then return tokens end
    local token = expression:match("^[()]", at) or expression:match("^[%w_%-*]+", at)
    if not token then return nil, expression:sub(at, at) end
    tokens[#tokens + 1] = token
    at = at + #token
  end
end

local operators = { ["and"] = true, ["or"] = true, ["not"] = true, ["("] = true, [")"] = true }

-- What words have to begin with, hold in this order, and end with, between the "*" of a token.
local function parts_of(token)
  local parts = {}
  for part in (token .. "*"):gmatch "([^*]*)%*" do parts[#parts + 1] = part end
  return parts
end

local function fits(word, parts)
  local first, last = parts[1], parts[#parts]
  if #parts == 1 then return word == first end
  if word:sub(1, #first) ~= first then return false end
  local at = #first + 1
  for i = 2, #parts - 1 do
    local _, stop = word:find(parts[i], at, true)
    if not stop then return false end
    at = stop + 1
  end
  return #word - at + 1 >= #last and word:sub(#word - #last + 1) == last
end

-- A parser by precedence; every part becomes a function of a set of words.
local function parser(tokens)
  local at = 1
  local either

  local function word()
    local token = tokens[at]
    if token == "not" then
      at = at + 1
      local part = word()
      return part and function(words) return not part(words) end
    elseif token == "(" then
      at = at + 1
      local part = either()
      if not part or tokens[at] ~= ")" then return nil end
      at = at + 1
      return part
    elseif not token or operators[token] then
      return nil
    end
    at = at + 1
    local parts = parts_of(token)
    return function(words)
      for _, each in ipairs(words) do
        if fits(each, parts) then return true end
      end
      return false
    end
  end

  local function both()
    local left = word()
    while left and tokens[at] == "and" do
      at = at + 1
      local first, second = left, word()
      left = second and function(words) return first(words) and second(words) end
    end
    return left
  end

  function either()
    local left = both()
    while left and tokens[at] and tokens[at] ~= ")" do
      if tokens[at] == "or" then at = at + 1 end
      local first, second = left, both()
      left = second and function(words) return first(words) or second(words) end
    end
    return left
  end

  return function()
    local whole = either()
    return at > #tokens and whole or nil
  end
end

--- Compiles an expression. Returns a function of a list of words (a name and its categories) that says whether they
-- match; nil and what was expected when it is no expression. An empty one matches everything.
function categories.matcher(expression)
  local tokens = tokens_of(expression)
  if tokens and #tokens > LONGEST then return nil, ("at most %d words and parentheses"):format(LONGEST) end
  if tokens and #tokens == 0 then return function() return true end end
  local matches = tokens and parser(tokens)()
  if matches then return matches end
  return nil, 'names and categories joined by and, or, not and ( ), as in "tcp and not slow"'
end

return categories
