-- What `make ml-demo` shows is what docs/ml.md does.

local program = require "spec.support.program"
local training = require "nfengine.ml.training"

local missing = training.missing()

describe("samples/ml-demo", function()
  if missing then
    pending("shows what docs/ml.md does: " .. missing)
    return
  end

  it("shows what docs/ml.md does, and that it is the same live or why that cannot be tried", function()
    local section = program.read "docs/ml.md":match "\n## Training, deploying, evaluating\n(.-)\n## "
    local shown = section:match "```console\n(.-)```"
    local result = program.shell "timeout 60 samples/ml-demo"
    assert.same(0, result.status, result.err)
    assert.equal(shown, result.out:sub(1, #shown))
    local last = result.out:sub(#shown + 1)
    local is_tried = "^The same live: 30 flows captured from an interface, each with the same %a[^\n]*score%.\n$"
    assert(last:match(is_tried) or last:match "^The same live: left out, it needs [^\n]+\n$", last)
  end)
end)
