local engine = require "spec.support.engine"
local example = require "spec.support.example"
local P = require "nfengine.testing.packet"
local program = require "spec.support.program"
local testing = require "nfengine.testing"
local trained = require "spec.support.trained"

describe("scripts/evaluate.lua", function()
  after_each(engine.cleanup)

  if trained.missing then
    pending("evaluates what was trained: " .. trained.missing)
    return
  end

  example.tests "scripts/evaluate.lua"

  local function evaluate(words, folder, own)
    return trained.run("evaluate", words, { "--model=" .. folder, unpack(own) })
  end

  local function tables(words, folder, own)
    local result = evaluate(words, folder, own)
    assert.same(0, result.status, result.err)
    return result.out, result.err
  end

  local function refusal(words, folder, own)
    local result = evaluate(words, folder, own)
    assert.not_equal(0, result.status)
    return result.err:match "nfengine: ([^\n]*)\n$"
  end

  it("compares what the model says with what flows are", function()
    local folder = trained.model { trained.capture() }
    local rules = "--label-rules=" .. program.write(
      "src_ip,dst_port,label\n10.0.0.1,53,web\n10.0.0.2,80,video\n10.0.0.4,80,video\n,53,names\n10.0.0.0/29,80,web\n",
      ".csv")
    local out, said = tables({ trained.capture(20) }, folder, { rules })
    -- Ten flows to port 53, one of which is called web; of those to port 80 two are called video, and two web.
    assert.matches("\n[1] names                       9        0        0\n"
      .. "[2] web                         1        1        0\n[3] video                       0        2        0\n",
      out, 1, true)
    assert.matches("accuracy 0.7692, balanced accuracy 0.5000, macro F1 %d", out)
    assert.matches("7 flows left out, without a label\n", said)
  end)

  it("gives the same for any number of meters", function()
    local folder = trained.model { trained.capture() }
    local capture, rules = trained.capture(200, 1.3), trained.rules()
    local one = tables({ capture, "--n-meters=1" }, folder, { rules })
    assert.equal(one, (tables({ capture, "--n-meters=3" }, folder, { rules })))
  end)

  it("takes any column for the label, and captures by their names", function()
    local own = { "--label=application_category_name", "--few=0", "--trees=5" }
    local _, folder = trained.train({ "samples/web.pcap" }, own)
    local out = tables({ "samples/tls.pcap" }, folder, { "--label=application_category_name" })
    assert.matches(", of 13 flows\n", out)
    local early, late = trained.capture(40), trained.capture(40, 3)
    _, folder = trained.train({ early, late }, { "--label-by-file=file", "--few=0" })
    assert.matches("accuracy 1.0000, .*, of 80 flows\n",
      (tables({ early, late }, folder, { "--label-by-file=file" })))
  end)

  it("calls classes as training did that are no UTF-8", function()
    local rules = "--label-rules=" .. program.write("dst_port,label\n53,caf\233\n80,\195\169t\195\169\n", ".csv")
    local _, folder = trained.train({ trained.capture() }, { rules, "--few=0" })
    assert.same({ "caf\239\191\189", "été" }, trained.manifest(folder).classes)
    assert.matches("accuracy 1.0000, .*, of 20 flows\n", (tables({ trained.capture(20) }, folder, { rules })))
  end)

  it("judges numbers", function()
    local _, folder = trained.train({ trained.capture() }, { "--label=bidirectional_bytes", "--regression", "--few=0" })
    assert.matches("^mean absolute error %d.*, of 40 flows\n$",
      (tables({ trained.capture(40) }, folder, { "--label=bidirectional_bytes" })))
    assert.equal('label "src_ip" is ip, expected a number',
      refusal({ trained.capture(4) }, folder, { "--label=src_ip" }))
    assert.equal('label "splt_ps" is an array, expected a number',
      refusal({ trained.capture(4), "--splt-analysis=3" }, folder, { "--label=splt_ps" }))
  end)

  it("judges what is true or false by 0 and 1", function()
    local columns = '{ { "is_large", "bool" }, { "ratio", "double" } }'
    local plugin = "--plugin=" .. program.write(([[
      return require "nfengine".plugin { name = "large", columns = %s, on_init = function(_, packet, flow)
        flow.udps.is_large, flow.udps.ratio = packet.raw_size > 100, 1 / 0
      end }
    ]]):format(columns), ".lua")
    local own = { "--label=udps.is_large", "--regression", "--few=0" }
    local _, folder = trained.train({ trained.capture(), "--columns=src2dst_max_ps", plugin }, own)
    assert.matches("R2 1.0000, of 40 flows\n$",
      (tables({ trained.capture(40), plugin }, folder, { "--label=udps.is_large" })))
    assert.equal('label "udps.ratio" is inf, expected a finite number',
      refusal({ trained.capture(4), plugin }, folder, { "--label=udps.ratio" }))
  end)

  it("has labels of nDPI's as training has them, without what it learns from other flows", function()
    local folder = trained.model { trained.capture() }
    local ip = P.ipv4 { src = "10.0.0.1", dst = "192.168.0.2" }
    local handshake = "\19BitTorrent protocol" .. ("\0"):rep(8) .. ("h"):rep(20) .. "-XX0001-123456789012"
    local packets = {
      testing.at(0, P.eth {} .. ip .. P.tcp { src_port = 40000, dst_port = 6881 } .. handshake),
      testing.at(1, P.eth {} .. ip .. P.udp { src_port = 40001, dst_port = 40002 } .. ("\249\1\77\200\130"):rep(30)),
    }
    local out = tables({ engine.capture(packets) }, folder, { "--label=application_name" })
    assert.matches("\nBitTorrent +1 .*\nUnknown +1 ", out)
  end)

  it("refuses what it cannot compare, and what would make other features", function()
    local folder = trained.model { trained.capture(40) }
    assert.equal("no flow has a label: nothing was compared", refusal({ trained.capture(4) }, folder,
      { "--label-rules=" .. program.write("dst_port,label\n9,a\n", ".csv") }))
    assert.matches('^no column "udps.label" in this run', refusal({ trained.capture(4) }, folder, {}))
    assert.equal("--idle-timeout=3: the model was trained with 120, expected the same",
      refusal({ trained.capture(4), "--idle-timeout=3" }, folder, { trained.rules() }))
    assert.equal("expected --model=FOLDER behind --", refusal({ trained.capture(4) }, "", {}))
  end)
end)
