--- Sums by name, and the largest of them: how much each application, address or port has.
--
--   local sent = tally.new()
--   sent:add(flow.src_ip, flow.src2dst_bytes)
--   for _, row in ipairs(sent:largest(10)) do print(row.name, row.flows, row.bytes) end
--
-- A row has name, flows, bytes, and whatever a script adds to it.

local tally = {}
tally.__index = tally

function tally.new() return setmetatable({ rows = {}, size = 0 }, tally) end

--- Adds a flow of so many bytes to a name's row, which is returned.
function tally:add(name, bytes)
  local row = self.rows[name]
  if not row then
    row = { name = name, flows = 0, bytes = 0 }
    self.rows[name], self.size = row, self.size + 1
  end
  row.flows = row.flows + 1
  row.bytes = row.bytes + bytes
  return row
end

local function is_before(a, b, field)
  if a[field] ~= b[field] then return a[field] > b[field] end
  return a.name < b.name
end

--- Puts a row where it belongs in a list of at most n, the largest first; those of equal size by name.
function tally.keep(list, n, row, field)
  field = field or "bytes"
  local at = #list + 1
  while at > 1 and is_before(row, list[at - 1], field) do
    list[at] = list[at - 1]
    at = at - 1
  end
  list[at] = row
  list[n + 1] = nil
end

--- The n largest rows, and one that sums up the others: { count, flows, bytes }, nil where there are none. One row is
-- not summed up but given, since its sum would take as much room.
function tally:largest(n, field)
  local best = {}
  if self.size == n + 1 then n = self.size end
  for _, row in pairs(self.rows) do tally.keep(best, n, row, field) end -- may be millions, so they are not all sorted
  if self.size <= n then return best end
  local others = { count = self.size - n, flows = 0, bytes = 0 }
  for _, row in pairs(self.rows) do others.flows, others.bytes = others.flows + row.flows, others.bytes + row.bytes end
  for _, row in ipairs(best) do others.flows, others.bytes = others.flows - row.flows, others.bytes - row.bytes end
  return best, others
end

return tally
