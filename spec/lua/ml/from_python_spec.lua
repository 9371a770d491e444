-- What docs/ml.md says of a way from Python to the wire, as it stands there; with a capture in the interface's place.

local capture = require "nfengine.testing.capture"
local engine = require "spec.support.engine"
local program = require "spec.support.program"

local PYTHON = os.getenv "NFENGINE_ML_PYTHON" or "build/peers/bin/python"

describe("from Python to the wire", function()
  after_each(engine.cleanup)

  it("leads what docs/ml.md says", function()
    local python = program.absolute(PYTHON)
    if program.shell(python .. " -c 'import pandas, sklearn, skl2onnx'").status ~= 0 then
      return pending(PYTHON .. " has no scikit-learn with skl2onnx: see make peers")
    end
    local section = program.read "docs/ml.md":match "\n## From Python to the wire\n(.-)\n## "
    local first, trains, last = section:match "```sh\n(.-)\n```.-```python\n(.-)```.-```sh\n(.-)\n```"
    local result = program.shell(table.concat({
      "set -e; cd " .. capture.folder(), "ln -s " .. program.quote(program.absolute "samples") .. " .",
      "nfengine() { " .. program.quote(program.absolute(program.path)) .. ' -q "$@"; }', first,
      ("%s -W ignore -c %s"):format(python, program.quote(trains)),
      (last:gsub("%-i eth0$", "samples/social/tuesday.pcap --columns=udps.model_class,application_category_name")),
    }, "\n"))
    local right, count = 0, 0
    for class, truth in result.out:gmatch '"(%w+)","(%w+)"' do
      right, count = right + (class == truth and 1 or 0), count + 1
    end
    assert.same({ 0, 30 }, { result.status, count }, result.err)
    assert.is_true(right >= 27, right)
  end)
end)
