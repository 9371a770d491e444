-- Packets that come slowly through a pipe: records show as flows end, not when a buffer is full.

local ffi = require "ffi"
local capture = require "nfengine.testing.capture"
local live = require "spec.support.live"
local meter = require "spec.support.meter"
local program = require "spec.support.program"

local FEED_US, SHOWN_S = 20000, 3 -- a second, for a machine that has other things to do

describe("a pipe whose packets come slowly", function()
  local input

  -- Starts the program on a named pipe, which nobody closes before `close_input`. `command` is what it runs with, where
  -- $out stands for the file to which records go. Returns that file's path.
  local function start(command)
    local fifo, out = program.temporary ".fifo", program.temporary ".csv"
    assert(os.execute("mkfifo " .. fifo) == 0)
    assert(os.execute(("out=%s; <%s %s flows -q --n-dissections=0 --idle-timeout=10 --columns=src_port - %s &")
      :format(out, fifo, program.path, command)) == 0)
    input = assert(io.open(fifo, "w"))
    input:setvbuf "no"
    input:write(capture.pcap_header { ns = true })
    return out
  end

  -- One packet, of a flow of its own, with its number as port; each is a minute behind the one before it.
  local function feed(number)
    input:write(capture.pcap_record(meter.udp(number * 60000, number), { ns = true }))
  end

  local function rows(path) return select(2, (program.read(path) or ""):gsub("\n", "")) - 1 end

  after_each(function()
    if input then input:close() end
    input = nil
    program.remove_temporaries()
  end)

  for _, case in ipairs {
    { "--n-meters=1 -o $out", "a file" }, { "--n-meters=2 -o $out", "a file, from two meters" },
    { "--n-meters=1 | cat >$out", "a pipe" }, { "--n-meters=2 | cat >$out", "a pipe, from two meters" },
  } do
    it("shows records of flows that have ended while others go on, in " .. case[2], function()
      local out, number = start(case[1]), 0
      live.wait_for("row of a flow that has ended", function()
        number = number + 1
        feed(number)
        ffi.C.usleep(FEED_US)
        return rows(out) > 0
      end, SHOWN_S)
      assert.is_true(rows(out) < number)
    end)

    it("shows them when no more packets come, in " .. case[2], function()
      local out = start(case[1])
      feed(1)
      feed(2)
      live.wait_for("row of the flow that has ended", function() return rows(out) == 1 end, SHOWN_S)
    end)
  end

  it("has the packets' clock, whatever the one on the wall says", function()
    local out = start "--idle-timeout=1 -o $out"
    feed(1)
    ffi.C.usleep(2500000)
    assert.is_true(rows(out) <= 0)
    input:close()
    input = nil
    live.wait_for("row", function() return rows(out) == 1 end)
  end)
end)
