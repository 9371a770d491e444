-- --safe: what others' code tries in order to get out is refused, in one line; what it may do, it does as without.

local lfs = require "nfengine.lfs"
local program = require "spec.support.program"
local text = require "nfengine.text"

local CAPTURES = { "samples/dns.pcap", "samples/dhcp.pcap", "samples/web.pcap", "samples/tls.pcap" }

local function quiet_safe(...) return program.run("-q", "--safe", ...) end

--- What a program of others says in its one line, which it has to say with this status.
local function refusal(result, status)
  assert.equal(status or 1, result.status, result.out .. result.err)
  assert.equal(1, #text.lines(result.err), result.err)
  return (result.err:match "^nfengine: (.*)\n$")
end

--- Runs a text as a script of others.
local function run_script(code, ...)
  return quiet_safe(program.write(code, ".lua"), ...)
end

local PLUGIN = [[
local nf = require "nfengine"
local bytes, hash = require "nfengine.bytes", require "nfengine.hash"
local reassembly = require "nfengine.protocols.reassembly"
local options = { size = { 5, "a number" } }
return nf.plugin {
  name = "mine", options = options,
  columns = { { "mine_number", "uint32", "n" }, { "mine_word", "string:8", "n" }, { "mine_list", "uint8[4]", "n" },
    { "mine_counts", "uint16[256]", "n" } },
  setup = function(self) self.pool, self.buffer, self.kept = reassembly.pool {}, bytes.buffer(4), 0 end,
  on_init = function(self, packet, flow) local udps = flow.udps; local _ = { bytes, hash, self, packet, udps }; %s
  end,
}]]

--- Runs a text as what a plugin of others does with its first packet, in the script `flows`.
local function run_hook(code, ...)
  return quiet_safe("flows", "--n-dissections=0", "--splt-analysis=2",
    "--plugin=" .. program.write(PLUGIN:format(code), ".lua"), "samples/dns.pcap", ...)
end

local function escapes(list, run)
  for code, expected in pairs(list) do
    it("refuses: " .. code:gsub("%s+", " "), function()
      local said = refusal(run(code, "samples/dns.pcap"))
      assert.matches(expected, said)
    end)
  end
end

describe("--safe", function()
  after_each(program.remove_temporaries)

  -- ---- ways out that are closed ----

  describe("gives a script no way to the machine, and", function()
    escapes({
      ['io.open("/etc/passwd")'] = "%.lua:1: %-%-safe: 'io' is not there, expected one of _G, assert, bit, ",
      ['os.execute "true"'] = "%.lua:1: %-%-safe: 'os.execute' is not there, expected one of os.clock, os.date,",
      ['os.exit(0)'] = "'os%.exit' is not there",
      ['os.remove "x"'] = "'os%.remove' is not there",
      ['os.getenv "HOME"'] = "'os%.getenv' is not there",
      ['debug.getregistry()'] = "'debug' is not there",
      ['package.loaded.io.open "x"'] = "'package' is not there",
      ['require "ffi"'] = "%.lua:1: %-%-safe: module 'ffi' is not there, expected nfengine, nfengine.bytes, ",
      ['require "io"'] = "module 'io' is not there",
      ['require "lfs"'] = "module 'lfs' is not there",
      ['require "cjson"'] = "module 'cjson' is not there",
      ['require "string.buffer"'] = "module 'string.buffer' is not there",
      ['require "jit.util"'] = "module 'jit.util' is not there",
      ['require "nfengine.lib"'] = "module 'nfengine.lib' is not there",
      ['require "nfengine.run"'] = "module 'nfengine.run' is not there",
      ['require "nfengine.testing"'] = "module 'nfengine.testing' is not there",
      ['require("nfengine.shell").run "true"'] = "'os.tmpname' is not there",
      ['require "../../etc/x"'] = "expected the name of a module",
      ['require "plugins.label"'] = "label is not of category safe, expected %-%-plugin=label on the command line",
      ['require "plugins.process"'] = "process is not of category safe",
      ['load "return 1"'] = "'load' is not there",
      ['loadstring("\\27LJ")'] = "'loadstring' is not there",
      ['loadfile "/etc/passwd"'] = "'loadfile' is not there",
      ['dofile "x.lua"'] = "'dofile' is not there",
      ['string.dump(print)'] = "'string.dump' is not there",
      ['("x").dump(print)'] = "attempt to call",
      ['getfenv(0).io.open "x"'] = "'getfenv' is not there",
      ['setfenv(1, {})'] = "'setfenv' is not there",
      ['getmetatable("").__index.rep = nil'] = "'getmetatable' is not there",
      ['newproxy(true)'] = "'newproxy' is not there",
      ['coroutine.wrap(print)()'] = "'coroutine' is not there",
      ['jit.off()'] = "'jit' is not there",
      ['collectgarbage "stop"'] = 'collectgarbage: %-%-safe: expected "count"',
      ['module "x"'] = "'module' is not there",
      ['setmetatable(_G, {}) '] = "protected metatable",
      ['setmetatable(string, {})'] = "protected metatable",
      ['local nf = require "nfengine" nf.packet_filter "host secret.example.org"'] = "'nf.packet_filter' is not there",
    }, run_script)
  end)

  describe("gives a script no captures and no outputs but the command line's, and", function()
    local function streamer(code) return 'local nf = require "nfengine" ' .. code end
    escapes({
      [streamer 'nf.streamer { source = "samples/web.pcap" }'] =
        '%.lua:1: nf%.streamer: source: "samples/web.pcap": %-%-safe: expected captures of the command line',
      [streamer 'nf.streamer { source = { "samples/dns.pcap", "samples/web.pcap" } }'] = "expected captures of the com",
      [streamer 'nf.streamer { source = "samples/dns.pcap/.." }'] = "expected captures of the command line",
      [streamer 'nf.streamer {}.source = "eth0"'] = "expected captures of the command line",
      [streamer 'nf.streamer { bpf_filter = "host secret.example.org" }'] =
        "bpf_filter: %-%-safe: expected %-%-bpf%-filter on the command line",
      [streamer 'nf.streamer { performance_report_file = "stolen" }'] = "expected %-%-performance%-report%-file on",
      [streamer 'nf.streamer { system_visibility_mode = 1 }'] = "expected %-%-system%-visibility%-mode on",
      [streamer 'nf.streamer {}:to_csv "stolen.csv"'] =
        '%.lua:1: nf%.streamer:to_csv: "stolen.csv": %-%-safe: expected %-o FILE on the command line',
      [streamer 'nf.streamer {}:to_jsonl "stolen.jsonl"'] = "expected %-o FILE on the command line",
      [streamer 'nf.streamer {}:write "stolen.csv"'] = "expected %-o FILE on the command line",
      [streamer 'nf.streamer {}:write("-", { flows_per_file = 1 })'] = "flows_per_file: %-%-safe: expected one file",
      [streamer 'nf.profile { name = "p", plugins = { { "label", audit = "stolen" } } }'] = "label is not of category",
      [streamer 'nf.profile { name = "p", plugins = { "scripts/export.lua" } }'] =
        '"scripts/export%.lua": %-%-safe: expected the name of a plugin, not a file',
      [streamer 'nf.profile { name = "p", plugins = { { "./scripts/flows.lua", size = 1 } } }'] = "not a file",
      [streamer 'nf.profile { name = "p", parameters = { performance_report = 1 } }'] = "expected %-%-performance",
      [streamer 'nf.plugin { name = "p", description = print }'] =
        "plugin p: description: expected numbers, strings, booleans and tables of them, got a function",
      [streamer 'nf.streamer { udps = setmetatable({}, { __index = print }), columns = { print } }'] =
        "columns: expected numbers, strings, booleans and tables of them, got a function",
      [streamer 'nf.plugin { name = "p", options = { rules = { "/etc/passwd", "x", is_file = true } } }'] =
        "plugin p: options: rules: is_file: %-%-safe: files are not there",
      [streamer 'nf.streamer { reconnect = true }'] = "reconnect: %-%-safe: expected %-%-reconnect on the command line",
      [streamer 'nf.plugin { name = "p", needs = { "processes" } }'] = "this machine's processes are not there",
    }, run_script)

    it("writes beside no capture, but to standard output", function()
      local capture = program.write(program.read "samples/dns.pcap", ".pcap")
      local result = run_script(streamer 'nf.streamer { n_dissections = 0 }:to_csv()', capture)
      assert.matches("^id,", result.out)
      assert.is_nil(program.read(capture .. ".csv"))
    end)

    it("lets the command line's output win, as always", function()
      local path = program.temporary ".csv"
      assert.equal(0, run_script(streamer 'nf.streamer {}:to_csv "other.csv"', "-o", path, "samples/dns.pcap").status)
      assert.matches("^id,", program.read(path))
    end)

    it("lets a script choose among the command line's captures", function()
      local result = run_script(streamer
        'for _ in nf.streamer { source = "samples/web.pcap" }:flows() do print "one" break end',
        "samples/dns.pcap", "samples/web.pcap")
      assert.equal("one\n", result.out)
    end)
  end)

  describe("gives hooks no memory, and", function()
    escapes({
      ["return packet[1]"] = "mine%.?.*packet has no '1'",
      ["return packet + 1"] = "attempt to perform arithmetic",
      ["return flow + 1"] = "attempt to perform arithmetic",
      ["return flow[1]"] = "flow has no '1'",
      ["return packet.frame[100000]"] = "%-%-safe: packet%.frame is not there",
      ["return packet.flow[1]"] = "%-%-safe: packet%.flow is not there",
      ["return packet.src_address[5000]"] = "%-%-safe: packet%.src_address is not there",
      ["return packet.comment_data[0]"] = "%-%-safe: packet%.comment_data is not there",
      ["return flow.core.tuple"] = "%-%-safe: flow%.core is not there",
      ["return flow.splt"] = "%-%-safe: flow%.splt is not there",
      ["return udps._mine_word[100]"] = "%-%-safe: flow%.udps%._mine_word is not there",
      ["return udps[1]"] = "flow%.udps has no '1'",
      ["return udps.mine_list.at[5000]"] = "an array has no 'at'",
      ["udps.mine_list[5] = 1"] = "array index 5: expected 1 to 4",
      ["udps.mine_list[0/0] = 1"] = "array index",
      ["udps.mine_list[1] = {}"] = "array element: expected a number, got table",
      ["udps.mine_list = { at = {} }"] = "flow%.udps%.mine_list: expected a number or a string, got table",
      ["udps.mine_number = packet"] = "flow%.udps%.mine_number: expected a number or a string, got userdata",
      ["return packet.payload_bytes.data[5000]"] = "a view has no 'data'",
      ["return packet.payload_bytes:u8(setmetatable({}, { __le = print, __add = print }))"] =
        "view:u8: expected a number, got table",
      ["return packet.payload_bytes:string(0, '9')"] = "view:string: expected a number, got string",
      ["return packet.payload_bytes.u8(flow, 0)"] = "view%.u8: expected view:u8%(%), with a colon",
      ["return udps.mine_list.copy(flow)"] = "array%.copy: expected array:copy%(%), with a colon",
      ["return flow.copy(packet)"] = "flow%.copy: expected flow:copy%(%), with a colon",
      ["self.buffer:grow(100)"] = "a buffer has no 'grow'",
      ["self.buffer:text 'too long'"] = "buffer: more than the 4 bytes it has room for",
      ["self.buffer:text { 1 }"] = "buffer:text: expected a string, got table",
      ["bytes.buffer(-1)"] = "bytes%.buffer: expected an integer from 0",
      ["bytes.copy({ data = 'x', size = 999 }, udps.mine_list, 0)"] = "bytes%.copy: expected a view, got table",
      ["bytes.copy(packet.payload_bytes, udps.mine_list, 0/0)"] = "filled: expected an integer from 0 to 4",
      ["bytes.copy(packet.payload_bytes, flow.splt_ps, 0)"] = "bytes%.copy: %-%-safe: not an array of this plugin",
      ["bytes.fold(udps.mine_counts, packet)"] = "bytes%.fold: expected an array, got userdata",
      ["hash.sha256_file '/etc/passwd'"] = "%-%-safe: 'hash.sha256_file' is not there, expected one of",
      ["hash.sha1('x', packet)"] = "hash%.sha1: expected a buffer",
      ["self.pool:skip(0/0, 1)"] = "pool:skip: expected an integer",
      ["self.pool:add(1, 0, 'x')"] = "pool:add: expected a view, got string",
      ["self.pool:follow(0, { syn = 1 })"] = "pool:follow: expected a packet",
      ["return self.pool.core"] = "a pool has no 'core'",
      ["setmetatable(self, { class = {} })"] = "protected metatable",
      ["flow.src_port = 1"] = "flow%.src_port: %-%-safe: cannot be set, hooks may set expiration_id, is_closing and",
      ["flow.core = {}"] = "flow%.core: %-%-safe: cannot be set",
      ["packet.raw_size = 1"] = "packet%.raw_size cannot be set",
      ["flow.expiration_id = 'x'"] = "flow%.expiration_id: expected a number, got string",
      ["require('nfengine').streamer { n_dissections = 0 }:write()"] = "captures are there for scripts, not for",
      ["rawset(flow, 'x', 1)"] = "bad argument #1 to 'rawset'",
    }, run_hook)

    it("lets a plugin set no other's columns and state", function()
      local result = run_hook("flow.udps.tcp_end_first = 1", "--plugin=tcp_end")
      assert.matches("flow.udps.tcp_end_first: %-%-safe: cannot be set, expected a column or state of this plugin",
        refusal(result))
    end)

    it("lets columns that a function gives not be others from run to run", function()
      local result = run_script([[
        local nf, rounds = require "nfengine", 0
        local Sly = nf.plugin {
          name = "sly",
          columns = function()
            rounds = rounds + 1
            return { { rounds < 4 and "mine" or "tcp_end_first", "int8", "n" } }
          end,
          on_expire = function(_, flow) pcall(function() flow.udps.tcp_end_first = 77 end) end,
        }
        local sly = Sly {}
        for _ in nf.streamer { udps = { sly }, n_dissections = 0 }:flows() do end
        for flow in nf.streamer { udps = { require "plugins.tcp_end", sly }, n_dissections = 0 }:flows() do
          if flow.udps.tcp_end_first == 77 then print "changed" end
        end
        print(rounds > 1)]], "samples/web.pcap")
      assert.equal("true\n", result.out, result.err)
    end)

    it("lets columns be set in no later run in which they are another plugin's", function()
      local result = run_script([[
        local nf = require "nfengine"
        local kept, list
        local Sly = nf.plugin { name = "sly",
          columns = { { "list", "uint8[2]", "n" }, { "tcp_end_first", "int8", "n" } },
          on_init = function(_, _, flow) kept, list = flow, flow.udps.list end }
        for _ in nf.streamer { udps = { Sly }, n_dissections = 0 }:flows() do end
        local Other = nf.plugin { name = "other", columns = { { "list", "uint8[2]", "n" } }, on_expire = function()
          print(pcall(function() kept.udps.tcp_end_first = 77 end))
          print(pcall(function() list[1] = 77 end))
        end }
        local udps = { require "plugins.tcp_end", Other }
        for flow in nf.streamer { udps = udps, n_dissections = 0, max_nflows = 1 }:flows() do
          print(flow.udps.tcp_end_first ~= 77 and flow.udps.list[1] == 0)
        end]], "samples/web.pcap")
      local line = "false\tflow: expected to be used while the hook runs that it was given to, or flow:copy()\n"
      assert.equal(line .. line .. "true\n", result.out, result.err)
    end)

    it("lends packets and flows for as long as their hook runs", function()
      local code = [[
        local nf = require "nfengine"
        local kept = {}
        local Keeper = nf.plugin {
          name = "keeper", columns = { { "list", "uint8[2]", "n" } },
          on_init = function(_, packet, flow)
            kept.packet, kept.view, kept.part = packet, packet.payload_bytes, packet.payload_bytes:sub(0)
            kept.flow, kept.udps, kept.list = flow, flow.udps, flow.udps.list
          end,
        }
        for _ in nf.streamer { udps = { Keeper }, n_dissections = 0 }:flows() do end
        local reads = {
          packet = function(p) return p.raw_size end, view = function(v) return v:u8(0) end,
          part = function(v) return v:string() end, flow = function(f) return f.src_ip end,
          udps = function(u) return u.list end, list = function(l) return l[1] end,
        }
        for name, read in pairs(reads) do
          local ok, message = pcall(read, kept[name])
          if name ~= "udps" then print(ok, message) end
        end]]
      for _, line in ipairs(text.lines(run_script(code, "samples/dns.pcap").out)) do
        assert.matches("^false\t%w+: expected to be used while ", line)
      end
    end)

    it("keeps nothing lent once a run has failed", function()
      local result = run_script([[
        local nf = require "nfengine"
        local kept
        local Failing = nf.plugin { name = "failing",
          on_init = function(_, _, flow) kept = flow error "on purpose" end }
        local function go() for _ in nf.streamer { udps = { Failing } }:flows() do end end
        print(pcall(go))
        print(pcall(function() return kept.src_ip end))
        -- The same where the stack is nearly full: something fails on the way out, too.
        local function deep(n, func) if n > 0 then return (deep(n - 1, func)) end return (func()) end
        local deepest = 0
        while pcall(deep, deepest + 1, function() end) do deepest = deepest + 1 end
        for n = deepest - 80, deepest do pcall(deep, n, go) end
        print(pcall(function() return kept.src_ip end))]], "samples/dns.pcap")
      local lines = text.lines(result.out)
      assert.matches("on purpose", lines[1])
      assert.matches("^false\tflow: expected to be used while", lines[2])
      assert.equal(lines[2], lines[3])
    end)
  end)

  it("lends nothing to hooks that are given nothing", function()
    local result = run_script([[
      local nf = require "nfengine"
      local kept
      local Keeper = nf.plugin { name = "keeper",
        on_expire = function(_, flow) kept = flow end,
        cleanup = function() print(pcall(function() return kept.src_ip end)) end,
      }
      nf.streamer { udps = { Keeper } }:to { write = function() end }]], "samples/dns.pcap")
    assert.matches("^false\tflow: expected to be used while", result.out)
  end)

  it("lets a script drive no run from within", function()
    local result = run_script([[
      local nf = require "nfengine"
      local iterate
      local Driver = nf.plugin { name = "driver", on_init = function() iterate() end }
      local streamer = nf.streamer { udps = { Driver } }
      iterate = streamer:flows()
      for _ in iterate do end]], "samples/dns.pcap")
    assert.matches("captures are there for scripts, not for what a run calls", refusal(result))
  end)

  it("lets what a run calls look at parameters, and keep what it is lent meanwhile", function()
    local result = run_script([[
      local nf = require "nfengine"
      local streamer = nf.streamer { n_dissections = 0, max_nflows = 1 }
      local Failing = nf.plugin { name = "failing", columns = function(options)
        return not options.is_bad and {} or error "on purpose" end, options = { is_bad = { false, "fail" } } }
      print((pcall(Failing, { is_bad = true })))
      streamer:to { write = function(_, flow)
        print(streamer.max_nflows, pcall(Failing, { is_bad = true }))
        print(flow.src_ip)
      end }]], "samples/dns.pcap")
    assert.matches("^false\n1\tfalse\t[^\n]*on purpose\n192.0.2.10\n$", result.out, result.err)
  end)

  it("takes nothing for a plugin that nf.plugin has not made", function()
    local result = run_script([[
      local nf = require "nfengine"
      local class = { name = "forged", columns = {}, state = {}, options = {}, needs = {}, definition = {},
        on_init = function(_, packet) print(packet.frame) end }
      nf.streamer { udps = { setmetatable({}, { class = class }) } }]], "samples/dns.pcap")
    assert.matches("udps: a table: expected a plugin made by nf.plugin", refusal(result))
  end)

  it("gives classes out without what the engine knows of them", function()
    local result = run_script([[
      local nf = require "nfengine"
      local Mine = nf.plugin { name = "mine" }
      print(Mine.name, pcall(function() return Mine.definition end))
      print(pcall(function() Mine.columns = {} end))
      print(pcall(function() return require("plugins.tcp_end").on_update end))
      print(pcall(function() return require("plugins.tcp_end") {}.policy end))]])
    local lines = text.lines(result.out)
    assert.matches("^mine\tfalse\t.*plugin mine: %-%-safe: 'definition' is not there$", lines[1])
    assert.matches("^false", lines[2])
    assert.matches("plugin tcp_end: %-%-safe: 'on_update' is not there$", lines[3])
    assert.matches("plugin tcp_end: %-%-safe: 'policy' is not there$", lines[4])
  end)

  it("leaves the engine's own functions as they are", function()
    local result = run_script([[
      string.format, table.concat, math.floor = nil, nil, nil
      for name in pairs(string) do string[name] = nil end
      local nf = require "nfengine"
      nf.streamer { n_dissections = 0, columns = "id,src_ip" and { "id", "src_ip" } }:write()]], "samples/dns.pcap")
    assert.matches("^id,src_ip\n0,", result.out, result.err)
  end)

  it("leads to nothing that it should not, as a walk over all that can be reached shows", function()
    local result = program.shell("luajit spec/support/crawler.lua samples/tls.pcap")
    local things, shown = result.out:match "^looked at (%d+) things, (%d+) shown\n$"
    assert.is_string(things, result.out .. result.err)
    assert.is_true(tonumber(things) > 500 and tonumber(shown) == 45, result.out)
  end)

  -- ---- whom it trusts ----

  describe("trusts", function()
    local function folder_with(files)
      local folder = program.temporary()
      lfs.mkdir(folder)
      for name, contents in pairs(files) do
        if name:match "/" then lfs.mkdir(folder .. "/" .. name:match "^[^/]+") end
        program.write(contents, folder .. "/" .. name)
      end
      return folder
    end

    local function run_in(folder, words)
      local root = program.quote(program.absolute(program.path))
      if program.path:match "^/" then root = program.quote(program.path) end
      local result = program.shell(("cd %s && %s -q --safe %s"):format(program.quote(folder), root, words))
      program.shell("rm -r " .. program.quote(folder))
      return result
    end

    local SLY = 'io.stderr:write "out\\n" return {}'
    local samples = lfs.currentdir() .. "/samples/"

    it("no file of a name that came along in the current folder", function()
      local result = run_in(folder_with { ["plugins/tcp_end.lua"] = SLY, ["cjson.lua"] = SLY, ["lfs.lua"] = SLY,
        ["lua/nfengine.lua"] = SLY, ["nfengine.lua"] = SLY },
        "http " .. samples .. "web.pcap")
      assert.equal("", result.err)
      assert.matches("METHOD", result.out)
    end)

    it("no file in the current folder that goes before what came along", function()
      local result = run_in(folder_with { ["plugins/tcp_end.lua"] = SLY },
        "flows --plugin=tcp_end " .. samples .. "web.pcap")
      assert.matches("plugin tcp_end: .*tcp_end.lua:1: %-%-safe: 'io' is not there", refusal(result))
    end)

    it("no script in the current folder, and no module beside it", function()
      local result = run_in(folder_with { ["mine.lua"] = 'require "beside"', ["beside.lua"] = SLY }, "./mine.lua")
      assert.matches("beside.lua:1: %-%-safe: 'io' is not there", refusal(result))
    end)

    it("no path that leads out of the program's root", function()
      local folder = folder_with { ["mine.lua"] = SLY }
      local steps = lfs.currentdir():gsub("[^/]+", "..") .. folder
      local result = run_in(folder, lfs.currentdir() .. "/scripts/.." .. steps .. "/mine.lua")
      assert.matches("%-%-safe: 'io' is not there", refusal(result))
    end)

    it("modules of a collection no more than its plugins, which find them", function()
      local result = run_in(folder_with {
        ["lua/shared.lua"] = 'return { columns = { { "shared_n", "uint8", "n" } } }',
        ["plugins/mine.lua"] = [[
          return require("nfengine").plugin { name = "mine", columns = require("shared").columns }]],
      }, "flows --n-dissections=0 --plugin=mine --columns=udps.shared_n " .. samples .. "dns.pcap")
      assert.matches("^udps.shared_n\n0\n", result.out, result.err)
    end)

    it("what came along in each of several meters", function()
      local result = run_in(folder_with { ["plugins/tcp_rtt.lua"] = SLY, ["jit/vmdef.lua"] = SLY },
        "flows --n-meters=3 --n-dissections=0 --columns=id " .. samples .. "web.pcap")
      assert.matches("^id\n0\n1\n", result.out, result.err)
      assert.equal("", result.err)
    end)

    it("nothing that a path leads to from the current folder", function()
      local result = program.shell([[luajit -e '
        package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
        local collection = require "nfengine.collection"
        collection.root = require("nfengine.lfs").currentdir()
        collection.extend_path()
        require("nfengine.safe").start()
        print(package.path .. ";" .. package.cpath)']])
      for template in result.out:gmatch "[^;\n]+" do assert.equal("/", template:sub(1, 1)) end
      assert.matches("%.lua;.*%.so", result.out, result.err)
    end)

    it("what came along, wherever it is run", function()
      local result = run_in(folder_with {}, "flows --n-dissections=0 --plugin=ja4,label --columns=udps.ja4 "
        .. samples .. "tls.pcap")
      assert.matches("t13d0411h2_16476d049b0b_78f1d400d464", result.out, result.err)
    end)
  end)

  it("goes together with one meter only", function()
    local path = program.write('return require("nfengine").plugin { name = "mine", on_init = function() end }', ".lua")
    assert.equal("n_meters = 2: plugin mine is closed in by --safe, expected 1",
      refusal(quiet_safe("flows", "--n-meters=2", "--plugin=" .. path, "samples/dns.pcap"), 2))
    assert.equal(0, quiet_safe("flows", "--plugin=" .. path, "samples/dns.pcap").status)
  end)

  it("goes together with no tests, and its limits with nothing else", function()
    assert.matches("%-%-safe: %-%-test runs its tests as their files say", refusal(quiet_safe("--test", "splt"), 2))
    assert.equal("--safe-memory: expected --safe with it",
      refusal(program.run("--safe-memory=5", "flows", "samples/dns.pcap"), 2))
  end)

  -- ---- limits ----

  describe("limits", function()
    local function memory(code)
      return refusal(run_script(code, "--safe-memory=64"))
    end

    it("memory that one call takes", function() assert.matches("not enough memory", memory '("a"):rep(1e9)') end)

    it("memory that adds up", function()
      assert.matches("not enough memory", memory 'local t = {} for i = 1, 1e9 do t[i] = { i } end')
    end)

    it("memory that is none of Lua's", function()
      local path = program.write([[
        local pools, reassembly = {}, require "nfengine.protocols.reassembly"
        for i = 1, 1000 do pools[i] = reassembly.pool { streams = 65536, bytes = 16384 } end]], ".lua")
      -- A sanitizer would end the program, and says that it does not.
      local result = program.shell(("ASAN_OPTIONS=$ASAN_OPTIONS:allocator_may_return_null=1 "
        .. "%s --safe --safe-memory=64 %s")
        :format(program.path, path))
      assert.equal(1, result.status)
      assert.matches("nfengine: [^\n]*: reassembly.pool: out of memory\n$", result.err)
    end)

    -- What a program says that would go on for ever.
    local function patience(words)
      local result = program.shell(("timeout -k 1 60 %s -q --safe --safe-seconds=1 %s"):format(program.path, words))
      assert.equal(1, result.status)
      return result.err
    end

    local function endless(code) return patience(program.write(code, ".lua")) end

    it("time of a script's code, compiled as it is", function()
      assert.matches("^nfengine: %-%-safe: [^\n]*%.lua: one call takes more CPU time than %-%-safe%-seconds allows\n$",
        endless "local n = 0 while true do n = n + 1 end")
    end)

    it("time of a hook's, within a library's function", function()
      local path = program.write(PLUGIN:format "return (('a'):rep(40)):find(('.-'):rep(40) .. 'b')", ".lua")
      assert.matches("^nfengine: %-%-safe: plugin mine: on_init: one call takes more CPU time ",
        patience("flows --n-dissections=0 samples/dns.pcap --plugin=" .. path))
    end)

    it("time of calls that declare something again and again, as of one", function()
      assert.matches("%-%-safe: [^\n]*%.lua: one call takes more CPU time", endless [[
        local nf = require "nfengine"
        local Sly = nf.plugin { name = "sly", columns = function() return { { "sly_n", "uint8", "n" } } end }
        local streamer = nf.streamer {}
        while true do local _ = Sly {}, streamer.time_unit end]])
    end)

    it("time of a script that has called the engine where the stack was nearly full", function()
      assert.matches("%-%-safe: [^\n]*%.lua: one call takes more CPU time", patience(program.write([[
        local nf = require "nfengine"
        local streamer = nf.streamer { n_dissections = 0, max_nflows = 1 }
        local function go() for _ in streamer:flows() do end end
        local function deep(n, func) if n > 0 then return (deep(n - 1, func)) end return (func()) end
        local deepest = 0
        while pcall(deep, deepest + 1, function() end) do deepest = deepest + 1 end
        for _ = 1, 30 do
          for n = deepest - 30, deepest do
            local _ = streamer:flows()
            pcall(deep, n, go)
          end
        end
        while true do end]], ".lua") .. " samples/dns.pcap"))
    end)

    it("no time of what the engine does", function()
      local result = run_script([[
        local nf = require "nfengine"
        for _ = 1, 60 do for _ in nf.streamer { splt_analysis = 50 }:flows() do end end print "done"]],
        "--safe-seconds=1", unpack(CAPTURES))
      assert.equal("done\n", result.out, result.err)
    end)
  end)

  -- ---- whose line an error is ----

  describe("names the line of others' code that has called", function()
    for _, hook in ipairs { "on_expire", "on_record" } do
      for code, expected in pairs {
        ["flow:done()"] = "flow:done: expected a flow that lives, in on_init or on_update",
        ['flow:exact "src_ip"'] = "flow:exact: 'src_ip' is no integer column of this run",
        ["flow.udps.list[5] = 1"] = "array index 5: expected 1 to 4",
        ["return flow.nothing"] = "flow has no 'nothing'",
        ["flow.udps.list = 7"] = "cannot convert 'number' to 'struct %d+'",
        ['bytes.buffer(1):text "ab"'] = "buffer: more than the 1 bytes it has room for",
      } do
        it(("in %s: %s"):format(hook, code), function()
          local path = program.write(([[
            local nf, bytes = require "nfengine", require "nfengine.bytes"
            return nf.plugin { name = "mine", columns = { { "list", "uint8[4]" } },
              on_init = function() return bytes end,
              %s = function(_, flow)
                %s
              end }]]):format(hook, code), ".lua")
          local said = refusal(quiet_safe("flows", "--no-dpi", "--plugin=" .. path, "samples/dns.pcap"))
          assert.matches("^plugin mine: " .. hook .. ": flow [^ ]+ %-> [^ ]+ protocol 17: [^ ]+%.lua:5: " .. expected
            .. "$", said)
        end)
      end
    end

    it("in a script", function()
      assert.matches("^%S+%.lua:2: array index 3: expected 1 to 2$", refusal(run_script([[local nf = require "nfengine"
        for flow in nf.streamer { n_dissections = 0, splt_analysis = 2 }:flows() do print(flow.splt_ps[3]) end]],
        "samples/dns.pcap")))
    end)
  end)

  -- ---- what may be done is done as without ----

  local function flows_with(plugin, ...)
    local words = { "-q", "flows", "--n-dissections=0", ... }
    words[#words + 1] = plugin
    for _, path in ipairs(CAPTURES) do words[#words + 1] = path end
    local result = program.run(unpack(words))
    return ("%d %s %s"):format(result.status, result.err, result.out)
  end

  describe("gives the same as without", function()
    local commands = require "nfengine.commands"
    -- Theirs are modules that lead to memory: closed in, a copy of them is refused, see docs/safe.md.
    local NOT_CLOSED_IN = { ja4 = true }

    for _, described in ipairs(commands.catalogue "(plugin or profile) and safe") do
      local name = described.name
      local option = ("--%s="):format(described.kind)
      it("with " .. name .. ", as it came along and, where it can be, closed in", function()
        local expected = flows_with(option .. name)
        assert.matches("^0  id,", expected)
        assert.equal(expected, flows_with(option .. name, "--safe"))
        local copy = program.write(program.read(described.path), ".lua")
        if NOT_CLOSED_IN[name] then
          assert.matches("module 'nfengine.protocols.tls' is not there", flows_with(option .. copy, "--safe"))
        else
          assert.equal(expected, flows_with(option .. copy, "--safe"))
        end
      end)
    end

    for _, name in ipairs { "flows", "summary", "early", "custom_size", "statistics" } do
      it("with a copy of the script " .. name, function()
        local copy = program.write(program.read("scripts/" .. name .. ".lua"), ".lua")
        local expected = program.run("-q", name, unpack(CAPTURES))
        local closed_in = quiet_safe(copy, unpack(CAPTURES))
        assert.same({ 0, expected.out, expected.err }, { closed_in.status, closed_in.out, closed_in.err })
      end)
    end
  end)
end)
