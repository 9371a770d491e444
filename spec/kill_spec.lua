-- Runs that are killed, by SIGKILL, at any moment: a named file is what it was before or complete, what goes on without
-- an end is whole up to its last row. docs/robustness.md tells users so.

local capture = require "nfengine.testing.capture"
local meter = require "spec.support.meter"
local program = require "spec.support.program"

local quote = program.quote

local TIMES = 50    -- runs of each kind
local FLOWS = 25000 -- of a packet each, so that a run takes some tenths of a second
local WORDS = "-q flows --manifest --no-dpi --n-meters=1 --statistical-analysis "

local seed = tonumber(os.getenv "NFENGINE_SEED") or os.time()

local input -- the capture
local earliest, latest -- seconds after which a run over it is killed: in between it writes

local function flood()
  local packets = {}
  for i = 1, FLOWS do packets[i] = meter.udp(i / 10, i) end
  return capture.pcap(packets, { ns = true })
end

-- A command line that is killed at a moment between its start and a little after its usual end.
local function killed_at_random(command)
  return ("timeout -s KILL %.4f %s"):format(earliest + math.random() * (latest - earliest), command)
end

-- Makes moments later or earlier, as long as most are too early or too late: how long a run takes changes with what
-- else the machine does.
local function learn(how, has_written)
  local step = (latest - earliest) / 20
  if how == "done" then latest = latest - step end
  if how == "killed" and not has_written then earliest = earliest + step end
end

local function name_of(status) return status == 0 and "done" or status == 137 and "killed" or "status " .. status end

local function digest(path) return program.shell("sha256sum " .. quote(path)).out:match "^%x+" end

local function begin_with(command)
  local timed = program.shell("bash -c " .. quote("TIMEFORMAT=%R; time " .. command))
  earliest, latest = 0.005, 1.1 * tonumber(timed.err:match "([%d.]+)\n$")
end

describe("a run that is killed", function()
  local folder

  setup(function()
    math.randomseed(seed)
    input = program.write(flood(), ".pcap")
  end)
  teardown(program.remove_temporaries)
  before_each(function() folder = capture.folder() end)
  after_each(capture.cleanup)

  local SEED = ("NFENGINE_SEED=%d"):format(seed)

  -- Runs are killed or done, and not all of them done.
  local function check_ends(ends)
    assert.equal(TIMES, (ends.killed or 0) + (ends.done or 0), SEED)
    assert.is_true((ends.killed or 0) > TIMES / 4, SEED)
  end

  for _, ending in ipairs { "csv", "jsonl", "csv.gz", "jsonl.zst", "parquet", "arrow", "arrows" } do
    it("leaves a named file as it was, or complete: " .. ending, function()
      local path = ("%s/flows.%s"):format(folder, ending)
      local command = ("%s %s -o %s %s"):format(program.path, WORDS, path, input)
      begin_with(command)
      local complete, ends = digest(path), {}
      for i = 1, TIMES do
        os.remove(path)
        os.remove(path .. ".manifest.json")
        if i % 2 == 0 then program.write("as it was", path) end
        local how = name_of(program.shell(killed_at_random(command)).status)
        ends[how] = (ends[how] or 0) + 1
        learn(how, true)
        local bytes = program.read(path)
        local is_old = i % 2 == 0 and bytes == "as it was" or i % 2 == 1 and not bytes
        if how == "done" or not is_old then
          assert.equal(complete, digest(path), SEED)
        end
        local about = program.read(path .. ".manifest.json")
        if about then assert.is_truthy(about:find(complete, 1, true) and about:sub(-2) == "}\n") end
      end
      check_ends(ends)
      assert.equal(0, program.shell(command).status) -- goes over what they have left
      assert.equal(("flows.%s flows.%s.manifest.json"):format(ending, ending), program.names_in(folder))
      assert.equal(complete, digest(path))
    end)
  end

  -- That what has got out begins the complete output, and is neither always nothing nor always all. `run` takes a
  -- command, the file to write, and one for its status.
  local function check_streams(run, unpacked_by, format)
    local sound = program.shell(("%s %s --format=%s %s"):format(program.path, WORDS, format, input)).out
    local out, some, ends = folder .. "/out", 0, {}
    for _ = 1, TIMES do
      os.remove(out)
      local how = name_of(run(out))
      ends[how] = (ends[how] or 0) + 1
      local bytes = program.shell(("%s %s 2>/dev/null"):format(unpacked_by, out)).out
      local rows = bytes:match "^(.*\n)[^\n]*$" or ""
      assert.is_true(rows == sound:sub(1, #rows), SEED)
      assert.is_true(how == "killed" or rows == sound, SEED)
      if #rows > 0 and #rows < #sound then some = some + 1 end
      learn(how, #rows > 0)
    end
    check_ends(ends)
    assert.is_true(some > TIMES / 10, SEED)
  end

  for _, format in ipairs { "csv", "jsonl" } do
    it("leaves whole rows behind in a pipe, and a part of one at most: " .. format, function()
      local command = ("%s %s --format=%s %s"):format(program.path, WORDS, format, input)
      begin_with(command .. " >/dev/null")
      check_streams(function(out)
        return tonumber(program.shell(("{ %s; echo $? >&2; } | cat >%s"):format(killed_at_random(command), out))
          .err:match "(%d+)\n$")
      end, "cat", format)
    end)

    for ending, unpacked_by in pairs { [""] = "cat", [".gz"] = "gzip -dc", [".zst"] = "zstd -dcq --single-thread" } do
      it(("leaves whole rows behind in a file that is written in place: %s%s"):format(format, ending), function()
        local path = ("%s/a.%s%s"):format(folder, format, ending)
        local command = ("%s %s -o %s -"):format(program.path, WORDS, path)
        begin_with(("cat %s | %s"):format(input, command))
        check_streams(function(out)
          local status = program.shell(("cat %s | %s"):format(input, killed_at_random(command))).status
          os.rename(path, out)
          return status
        end, unpacked_by, format)
      end)
    end
  end
end)
