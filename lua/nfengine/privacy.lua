--- Masks: what stands between records and whoever takes them, where a run's parameters ask for one. docs/privacy.md
-- says what each does, and what it does not protect from.
--
-- Filters and plugins see a flow as it is. What is given out, to a format, to a sink, to a loop over flows, is a copy
-- that core/mask.c has made, with columns that fit it: what is hashed is a text in a section of its own behind the
-- record, what is left out is in no list and has no accessor.

local ffi = require "ffi"
local C = require "nfengine.lib"
local columns = require "nfengine.columns"
local declared = require "nfengine.parameters"
local flow = require "nfengine.flow"
local roles = require "nfengine.dataset.roles"
local text = require "nfengine.text"

local privacy = {}

-- ---- keys ----

local function new_key() return ffi.gc(ffi.new "struct nf_key", C.nf_key_wipe) end

local from_files = {} -- by path: a process may not be able to read it again
local fresh = setmetatable({}, { __mode = "k" }) -- by whose it is

--- The key that parameters give, else one that nobody has, the same for the same owner.
local function key_of(parameters, owner)
  local path, given = parameters.anonymization_key_file, parameters.anonymization_key
  local key = path and from_files[path] or not path and not given and fresh[owner]
  if key then return key end
  key = new_key()
  if path then
    local message = ffi.new("char[?]", C.NF_ERROR_SIZE)
    if not C.nf_key_read(key, path, message) then error("anonymization_key_file: " .. ffi.string(message), 0) end
    from_files[path] = key
  elseif given then
    ffi.copy(key.bytes, given, #given)
    key.size = #given
  else
    key.size = ffi.sizeof(key.bytes)
    C.nf_random(key.bytes, key.size)
    fresh[owner] = key
  end
  return key
end

-- ---- what is to be masked ----

--- The given names as a set. Raises one line for one that is no column of records, and none of the further ones.
local function set_of(names, selected, further)
  local set, known = {}, { unpack(further or {}) }
  for _, column in ipairs(selected) do known[#known + 1] = column.name end
  for _, name in ipairs(names) do
    if not text.contains(known, name) then
      error(("columns_to_anonymize: no column %s in this run%s"):format(text.quote(name), text.suggest(name, known)), 0)
    end
    set[name] = true
  end
  return set
end

local function is_port(column) return column.name:match "^%l+_port$" ~= nil end

local function is_left_out(column, parameters)
  if not parameters.drop_leaky or is_port(column) then return false end
  return roles.of_name(column.name) ~= nil or column.is_identifying or false
end

--- How a column becomes a text, or nil.
local function hashing_of(column, parameters, hashed)
  if hashed[column.name] then return C.NF_MASK_HASH end
  if parameters.anonymize_addresses and parameters.anonymize_names and column.is_identifying then
    return C.NF_MASK_NAME
  end
end

local MACS = { all = C.NF_MASK_MAC, keep_vendor = C.NF_MASK_DEVICE }

--- How a column's value is changed where it lies, or nil.
local function change_of(column, parameters)
  if column.type == "ip" then return parameters.anonymize_addresses and C.NF_MASK_ADDRESS or nil end
  if column.type == "mac" or column.type == "oui" then return MACS[parameters.anonymize_macs] end
  if column.is_moment then return parameters.time_shift ~= 0 and C.NF_MASK_MOMENT or nil end
  return parameters.drop_leaky and is_port(column) and C.NF_MASK_PORT or nil
end

--- A column that is a hash of what it was.
local function as_text(column, member, length)
  return {
    name = column.name, type = "text", doc = "keyed hash of: " .. column.doc, group = column.group,
    owner = column.owner, number = column.number, length = length, is_array = false, is_hash = true,
    place = "masked." .. member,
  }
end

-- Types of what may say who or where. With moments, none of it stays in a masked record that no column tells of.
local TELLING = { ip = true, mac = true, oui = true, text = true }

--- What becomes of a run's columns: `columns`, those of masked records by their true ones; `texts`, hashed ones in the
-- order in which they lie; `dropped`, a set of names; `steps`, { true column, how, masked one if it is a text }.
local function plan_of(parameters, made, further)
  local hashed = set_of(parameters.columns_to_anonymize, made.columns, further)
  local plan = { columns = {}, texts = {}, dropped = {}, steps = {} }
  local kept, gone, length = {}, {}, 2 * parameters.anonymization_length + 1 -- kept by offset: changed or not
  for _, column in ipairs(made.available) do
    local hashing, change = hashing_of(column, parameters, hashed), change_of(column, parameters)
    if is_left_out(column, parameters) then
      plan.dropped[column.name] = true
      gone[#gone + 1] = column
    elseif hashing then
      local as = as_text(column, column.name:gsub("%W", "_"), length)
      plan.columns[column] = as
      table.insert(plan.texts, as)
      table.insert(plan.steps, { column, hashing, as })
      gone[#gone + 1] = column
    else
      plan.columns[column] = column
      if change and not kept[column.offset] then table.insert(plan.steps, { column, change }) end
      kept[column.offset] = true -- a MAC address is also where its vendor part is
    end
  end
  for _, column in ipairs(gone) do
    local tells = column.is_moment or TELLING[column.type]
    if tells and not kept[column.offset] then table.insert(plan.steps, { column, C.NF_MASK_NOTHING }) end
  end
  return plan
end

-- ---- the mask ----

local function masked(list, plan)
  local kept = {}
  for _, column in ipairs(list) do kept[#kept + 1] = plan.columns[column] end
  return kept
end

--- The columns of masked records. Raises one line where there are none.
local function given_of(made, plan)
  local list = masked(made.columns, plan)
  if not list[1] then error("drop_leaky: leaves none of the columns that were asked for", 0) end
  return list
end

--- Declares the texts' section, and says where it will be.
local function lay_out(plan, record_size)
  local members, offset = {}, record_size
  for i, column in ipairs(plan.texts) do
    column.offset = offset
    members[i] = ("char %s[%d];"):format(column.place:match "[%w_]+$", column.length)
    offset = offset + column.length
  end
  return members[1] and table.concat(members, " ") or nil, offset
end

--- The shift of moments in ticks, the same time in every unit.
local function shift_of(parameters, key)
  local shift = parameters.time_shift
  local ms = shift == "random" and C.nf_key_shift_ms(key) or ffi.cast("int64_t", math.floor(shift * 1000 + 0.5))
  return ms * (columns.time_units[parameters.time_unit].per_second / 1000)
end

local function open(plan, parameters, record_size, size, key)
  local options, message = ffi.new "struct nf_mask_options", ffi.new("char[?]", C.NF_ERROR_SIZE)
  local steps = ffi.new("struct nf_mask_step[?]", #plan.steps)
  for i, step in ipairs(plan.steps) do
    local column, masking, as = unpack(step)
    columns.fill(steps[i - 1].column, column)
    steps[i - 1].masking, steps[i - 1].to = masking, as and as.offset or 0
  end
  options.steps, options.count = steps, #plan.steps
  options.record_size, options.size, options.hash_size = record_size, size, parameters.anonymization_length
  options.key, options.shift = key, shift_of(parameters, key)
  local handle = C.nf_mask_new(options, message)
  C.nf_key_wipe(options.key)
  if handle == nil then error(ffi.string(message), 0) end
  return handle
end

local mask = {}
mask.__index = mask

--- Ends it, and wipes its key. What it has made is no longer there.
function mask:close()
  if self.handle then C.nf_mask_free(self.handle) end
  self.handle, self.record = nil, nil
end

--- The mask that a run's parameters ask for, which they do. Whoever gets it closes it: at the end of Lua
-- things are collected in any order, and the run that uses it may end last. Raises one line.
-- @param parameters resolved parameters
-- @param made the run's shape, see shape.of
-- @param owner whose a key is that no parameter gives: the same owner gets the same key again
-- @param further names of columns that are given besides those of records, or nil
-- @return a table: `columns`, `available` and `record_type`, which stand for the shape's; `handle` (struct nf_mask, for
--   nf_mask_apply), `record` (where masked records lie, of that type); close()
function privacy.mask(parameters, made, owner, further)
  local plan, key = plan_of(parameters, made, further), key_of(parameters, owner)
  local self = setmetatable({ columns = given_of(made, plan), available = masked(made.available, plan) }, mask)
  local record_size = ffi.sizeof(made.record_type)
  local texts, size = lay_out(plan, record_size)
  self.record_type = flow.masked_type {
    layout = made.types.layout, unit = made.types.unit, udps = made.types.udps, columns = self.available,
    selected = self.columns, texts = texts, dropped = plan.dropped,
  }
  self.handle = open(plan, parameters, record_size, math.max(size, ffi.sizeof(self.record_type)), key)
  self.record = ffi.cast(ffi.typeof("$ *", self.record_type), C.nf_mask_record(self.handle))
  return self
end

-- ---- what others have to know of it ----

--- The columns of records, as the run's parameters have them masked.
-- @param made the run's shape
function privacy.columns(parameters, made)
  return declared.wants_mask(parameters) and given_of(made, plan_of(parameters, made)) or made.columns
end

--- Whose the key of a run's masks is, if it makes a difference: "file", "given" (by the script) or "random"; else nil.
local function source_of_key(parameters)
  local is_used = parameters.columns_to_anonymize[1] or parameters.anonymize_addresses
    or parameters.anonymize_macs ~= "no" or parameters.time_shift == "random"
  if not is_used then return nil end
  return parameters.anonymization_key_file and "file" or parameters.anonymization_key and "given" or "random"
end

local NOT_TOLD = "not told"
privacy.NOT_TOLD = NOT_TOLD

--- What is told of parameters to whoever gets masked records, where it is not their value: by name.
-- @param parameters resolved parameters
function privacy.told(parameters)
  local shift = parameters.time_shift
  return {
    anonymization_key = source_of_key(parameters),
    time_shift = type(shift) == "number" and shift ~= 0 and NOT_TOLD or nil,
  }
end

--- The same of the command line's words.
function privacy.told_words(words)
  local told = {}
  for i, word in ipairs(words) do
    local option, value = word:match "^(%-%-time%-shift=?)(.*)$"
    local is_value = words[i - 1] == "--time-shift"
    told[i] = is_value and tonumber(word) and NOT_TOLD or option and tonumber(value) and option .. NOT_TOLD or word
  end
  return told
end

--- Whether what is told of a run's traffic beside its records must not say when it was.
-- @param parameters resolved parameters
function privacy.hides_times(parameters)
  if parameters.anonymize_addresses or parameters.time_shift ~= 0 or parameters.drop_leaky then return true end
  for _, name in ipairs(parameters.columns_to_anonymize) do
    if name:match "_seen_%l+$" then return true end
  end
  return false
end

local function refuse(streamer, name, reason)
  if declared.asks_for_mask(name, streamer[name]) then
    error({ usage = ("--%s: %s"):format(name:gsub("_", "-"), reason) }, 0)
  end
end

--- Refuses masks in scripts that show what plugins see, which no mask changes.
-- @param streamer the script's
function privacy.expect_none(streamer)
  for _, name in ipairs(declared.MASKS) do
    refuse(streamer, name, "no mask changes what this script shows, expected none")
  end
end

--- Refuses a shift of times in scripts that show when packets were seen, as plugins see it.
function privacy.expect_true_times(streamer)
  refuse(streamer, "time_shift", "this script shows when packets were seen, expected none")
end

return privacy
