local capture = require "nfengine.testing.capture"
local csv = require "nfengine.csv"
local engine = require "spec.support.engine"
local example = require "spec.support.example"
local json = require "nfengine.json"
local lfs = require "nfengine.lfs"
local P = require "nfengine.testing.packet"
local program = require "spec.support.program"
local testing = require "nfengine.testing"

-- ---- captures ----

-- A packet there or back between a client at a port and a server's port.
local function packet(ms, client, port, server_port, is_back)
  local ends = { src = client, dst = "10.9.9.9" }
  local ports = { src_port = port, dst_port = server_port }
  if is_back then
    ends = { src = ends.dst, dst = ends.src }
    ports = { src_port = server_port, dst_port = port }
  end
  return testing.at(ms, P.eth {} .. P.ipv4(ends) .. P.udp(ports) .. "x")
end

-- Sixty conversations of twenty clients with three services, each cut in two by an idle timeout of one second; the
-- second half begins with the server.
local function busy_capture()
  local packets = {}
  for i = 0, 59 do
    local client, port = "10.0.0." .. i % 20 + 1, 5000 + i
    local server_port = ({ 53, 80, 443 })[i % 3 + 1]
    table.insert(packets, packet(i * 10, client, port, server_port))
    table.insert(packets, packet(i * 10 + 5000, client, port, server_port, true))
  end
  table.sort(packets, function(a, b) return a.time_ns < b.time_ns end)
  return engine.capture(packets)
end

local RULES = "dst_port,label\n53,names\n80,web\n"

-- ---- running ----

-- Runs the script into a new folder; returns the result and that folder.
local function run(words, own)
  local folder = capture.folder() .. "/out"
  local all = { "dataset" }
  for _, word in ipairs(words) do all[#all + 1] = word end
  all[#all + 1] = "--"
  for _, word in ipairs(own) do all[#all + 1] = word end
  all[#all + 1] = "--write=" .. folder
  return program.run(unpack(all)), folder
end

-- The folder of a run that succeeds.
local function made(words, own)
  local result, folder = run(words, own)
  assert.same(0, result.status, result.err)
  return folder, result.err
end

-- The rows of a file, as tables by column; with the file's header.
local function rows_of(folder, name)
  local rows = csv.open(folder .. "/" .. name)
  local list = {}
  for row in rows do
    local by_name = {}
    for i, column in ipairs(rows.header) do by_name[column] = row[i] end
    list[#list + 1] = by_name
  end
  return list, rows.header
end

local function manifest_of(folder) return json.decode(program.read(folder .. "/manifest.json")) end

describe("scripts/dataset.lua", function()
  after_each(engine.cleanup)

  example.tests "scripts/dataset.lua"

  it("writes features with the label behind them, and the rest row by row beside it", function()
    local rules = program.write(RULES, ".csv")
    local path = engine.capture { packet(0, "10.0.0.1", 5000, 80), packet(1, "10.0.0.2", 5001, 443),
      packet(2, "10.0.0.3", 5002, 53), packet(3, "10.0.0.1", 5000, 80, true) }
    local folder = made({ path, "--columns=src_ip,src_port,protocol,bidirectional_packets" },
      { "--label-rules=" .. rules })
    assert.equal("flows.csv flows_keys.csv manifest.json", program.names_in(folder))
    assert.equal('protocol,bidirectional_packets,label\n17,1,"names"\n17,2,"web"\n',
      program.read(folder .. "/flows.csv"))
    assert.equal('src_ip,src_port\n"10.0.0.3",5002\n"10.0.0.1",5000\n', program.read(folder .. "/flows_keys.csv"))
    local about = manifest_of(folder)
    assert.equal(1, about.flows_without_label)
    assert.same({ { label = "names", flows = 1 }, { label = "web", flows = 1 } }, about.labels)
    local roles = {}
    for _, column in ipairs(about.columns) do roles[#roles + 1] = column.name .. "=" .. column.role end
    assert.equal("protocol=feature bidirectional_packets=feature label=label src_ip=identifier src_port=leaky",
      table.concat(roles, " "))
  end)

  it("has statistics but no L7 unless asked, and all that the command line adds", function()
    local rules = "--label-rules=" .. program.write(RULES, ".csv")
    local _, header = rows_of(made({ busy_capture() }, { rules }), "flows.csv")
    assert.same({ 61, "label" }, { #header, header[61] }) -- 3 of the tuple, 9 counters, 48 statistics
    local folder = made({ busy_capture(), "--splt-analysis=2", "--plugin=rates", "--n-dissections=20" },
      { rules, "--keep=dst_port" })
    local rows
    rows, header = rows_of(folder, "flows.csv")
    local names = table.concat(header, " ")
    for _, name in ipairs { "dst_port", "splt_ps_2", "application_confidence", "udps.rates_down_up_bytes" } do
      assert.is_truthy((" " .. names .. " "):find(" " .. name .. " ", 1, true), name .. " in " .. names)
    end
    assert.same({ "43", "43" }, { rows[1].splt_ps_1, rows[1].splt_ps_2 })
    assert.equal("rates", manifest_of(folder).plugins[2].name)
  end)

  it("gives flows without a label one, if it is told which", function()
    local rules = "--label-rules=" .. program.write(RULES, ".csv")
    local folder = made({ busy_capture() }, { rules, "--unlabelled=other" })
    local about = manifest_of(folder)
    assert.same({ { label = "names", flows = 20 }, { label = "other", flows = 20 }, { label = "web", flows = 20 } },
      about.labels)
    assert.equal(0, about.flows_without_label)
    assert.equal(60, #rows_of(folder, "flows.csv"))
  end)

  it("takes any column for the label", function()
    local folder = made({ "samples/web.pcap", "--n-meters=2" }, { "--label=application_category_name" })
    local _, header = rows_of(folder, "flows.csv")
    for _, name in ipairs(header) do assert.is_nil(name:match "^application", name) end
    assert.equal("Network", manifest_of(folder).labels[1].label)
    assert.same({ { label = "17", flows = 60 } }, manifest_of(made({ busy_capture() }, { "--label=protocol" })).labels)
  end)

  describe("splits", function()
    local rules
    before_each(function() rules = "--label-rules=" .. program.write(RULES, ".csv") end)

    -- Which part each group is in, by what `group_of` says of a row of keys; fails where one is in two.
    local function parts_by_group(folder, parts, group_of)
      local part_of, sizes = {}, {}
      for i, part in ipairs(parts) do
        local rows = rows_of(folder, part .. "_keys.csv")
        assert.equal(#rows, #rows_of(folder, part .. ".csv"))
        sizes[i] = #rows
        for _, row in ipairs(rows) do
          local group = group_of(row)
          assert.equal(part_of[group] or part, part)
          part_of[group] = part
        end
      end
      return part_of, sizes
    end

    local function ends_of(row)
      local a, b = row.src_ip .. ":" .. row.src_port, row.dst_ip .. ":" .. row.dst_port
      return a < b and a .. b or b .. a
    end

    local CUT = "--idle-timeout=1"

    it("keep conversations together, cut as they are and whoever speaks first", function()
      local folder = made({ busy_capture(), CUT }, { rules, "--unlabelled=other", "--split=0.6,0.2,0.2" })
      assert.equal("manifest.json test.csv test_keys.csv train.csv train_keys.csv validation.csv validation_keys.csv",
        program.names_in(folder))
      local part_of, sizes = parts_by_group(folder, { "train", "validation", "test" }, ends_of)
      local groups = 0
      for _ in pairs(part_of) do groups = groups + 1 end
      assert.same({ 60, 120 }, { groups, sizes[1] + sizes[2] + sizes[3] })
      assert.is_true(sizes[1] > sizes[2] and sizes[2] > 0 and sizes[3] > 0)
    end)

    it("keep all of a client together", function()
      local folder = made({ busy_capture(), CUT }, { rules, "--unlabelled=other", "--split=0.5,0.5", "--group=host" })
      local part_of = parts_by_group(folder, { "train", "test" }, function(row)
        return row.src_ip == "10.9.9.9" and row.dst_ip or row.src_ip
      end)
      local clients = { train = 0, test = 0 }
      for _, part in pairs(part_of) do clients[part] = clients[part] + 1 end
      assert.equal(20, clients.train + clients.test)
      assert.is_true(clients.train > 0 and clients.test > 0)
    end)

    it("by time have the earliest flows first", function()
      local folder = made({ busy_capture() }, { rules, "--unlabelled=other", "--split=0.5,0.5", "--group=time" })
      local latest, earliest = 0, math.huge
      for _, row in ipairs(rows_of(folder, "train_keys.csv")) do
        latest = math.max(latest, tonumber(row.bidirectional_first_seen_ms))
      end
      for _, row in ipairs(rows_of(folder, "test_keys.csv")) do
        earliest = math.min(earliest, tonumber(row.bidirectional_first_seen_ms))
      end
      assert.equal(latest + 10, earliest)
      assert.same({ 30, 30 }, { #rows_of(folder, "train.csv"), #rows_of(folder, "test.csv") })
    end)

    it("by time let conversations that the active timeout cuts go on where they began", function()
      -- One goes on for 50 s, cut each 10 s; others begin each second.
      local packets = {}
      for second = 0, 49 do
        table.insert(packets, packet(second * 1000, "10.0.0.1", 5000, 80))
        table.insert(packets, packet(second * 1000 + 500, "10.0.0.2", 6000 + second, 80))
      end
      local folder = made({ engine.capture(packets), "--active-timeout=10" },
        { rules, "--split=0.5,0.5", "--group=time" })
      local part_of = parts_by_group(folder, { "train", "test" }, ends_of)
      assert.equal("train", part_of["10.0.0.1:500010.9.9.9:80"])
      local test = rows_of(folder, "test_keys.csv")
      assert.is_true(#test > 20)
    end)

    it("are others for another seed", function()
      local function train(seed)
        local folder = made({ busy_capture() }, { rules, "--unlabelled=other", "--split=0.5,0.5", "--seed=" .. seed })
        return program.read(folder .. "/train_keys.csv")
      end
      assert.equal(train(1), train(1))
      assert.are_not.equal(train(1), train(2))
    end)

    it("are the same, as all files are, for any number of meters", function()
      local path, expected = busy_capture(), nil
      for n_meters = 1, 3 do
        local folder = made({ path, CUT, "--n-meters=" .. n_meters, "--splt-analysis=2" },
          { rules, "--unlabelled=other", "--split=0.6,0.2,0.2" })
        local texts = {}
        for name in program.names_in(folder):gmatch "%S+" do
          local text = program.read(folder .. "/" .. name)
          if name == "manifest.json" then
            text = text:gsub('"n_meters": %d', ""):gsub('"meters": %d', ""):gsub('"write": "[^"]*"', "")
              :gsub('"command": %b[]', "")
          end
          texts[#texts + 1] = text
        end
        expected = expected or texts
        assert.same(expected, texts)
      end
    end)
  end)

  describe("labels captures by name", function()
    -- Folders chat/ and mail/ with captures; the later one is read first.
    local function folders()
      local root = capture.folder()
      for i, name in ipairs { "chat", "mail" } do
        os.execute(("mkdir %s/%s"):format(root, name))
        program.write(capture.pcap({ packet(1000 - i, "10.0.0.1", 5000, 80), packet(1500 - i, "10.0.0.1", 5000, 80) },
          { ns = true }), ("%s/%s/day.%d.pcap"):format(root, name, i))
      end
      program.write("not a capture", root .. "/mail/README")
      return root
    end

    it("of their folders, each read on its own", function()
      local root = folders()
      local mail, chat = root .. "/mail", root .. "/chat"
      for _, words in ipairs { { mail, chat .. "/" }, { mail .. "/day.2.pcap", chat } } do
        words[#words + 1] = "--columns=bidirectional_duration_ms"
        local folder = made(words, { "--label-by-file=folder", "--no-keys" })
        assert.equal('bidirectional_duration_ms,label\n500,"mail"\n500,"chat"\n', program.read(folder .. "/flows.csv"))
        local about = manifest_of(folder)
        assert.same({ 2, 4, root .. "/mail/day.2.pcap", 2 },
          { about.run.runs, about.run.packets, about.inputs[1].path, about.inputs[2].packets })
      end
    end)

    it("of theirs, without endings", function()
      local root = folders()
      os.execute(("gzip %s/mail/day.2.pcap"):format(root))
      local folder = made({ root .. "/chat", root .. "/mail", "--n-meters=2" }, { "--label-by-file=file" })
      local rows = rows_of(folder, "flows.csv")
      assert.same({ "day.1", "day.2" }, { rows[1].label, rows[2].label })
    end)

    it("and keeps a conversation that is in two of them in one part", function()
      local root = folders()
      local folder = made({ root .. "/chat", root .. "/mail" }, { "--label-by-file=folder", "--split=0.5,0.5" })
      assert.is_true(#rows_of(folder, "train.csv") == 2 or #rows_of(folder, "test.csv") == 2)
    end)
  end)

  it("tells on stderr how labels are balanced, and what to look at", function()
    local rules = "--label-rules=" .. program.write(RULES, ".csv")
    local columns = "--columns=protocol,bidirectional_bytes,bidirectional_packets"
    local packets = { packet(0, "10.0.0.1", 5000, 80), packet(1, "10.0.0.2", 5001, 443),
      packet(2, "10.0.0.3", 5002, 53), packet(3, "10.0.0.1", 5000, 80, true) }
    local _, err = made({ engine.capture(packets), columns }, { rules, "--few=2" })
    assert.equal([[
LABEL                                FLOWS   SHARE
names                                    1   50.0%
web                                      1   50.0%
all of them                              2  100.0%
left out, without a label                1
nfengine: warning: label "names": 1 flow
nfengine: warning: label "web": 1 flow
nfengine: warning: columns with one value only: protocol
]], err:match "^[^\n]*\n(.*)$")
    _, err = made({ "-q", engine.capture(packets), columns }, { rules, "--few=0" })
    assert.equal("nfengine: warning: columns with one value only: protocol\n", err)
  end)

  it("names columns that hold what is no number", function()
    local plugin = program.write([[
      return require "nfengine".plugin { name = "odd", columns = { { "odd", "double" } },
        on_expire = function(_, flow) flow.udps.odd = flow.src_port == 5001 and 0 / 0 or flow.src_port end }
    ]], ".lua")
    local packets = {}
    for i = 0, 2 do packets[i + 1] = packet(i, "10.0.0.1", 5000 + i, 80) end
    local folder, err = made({ "-q", engine.capture(packets), "--plugin=" .. plugin, "--columns=udps.odd" },
      { "--label=dst_port", "--few=0" })
    assert.equal("nfengine: warning: columns with NaN or infinity: udps.odd (1)\n", err)
    assert.same({ { name = "udps.odd", records = 1 } }, manifest_of(folder).unusable_columns)
  end)

  it("has the digests of what it wrote, and of the rules", function()
    local rules = program.write(RULES, ".csv")
    local folder = made({ busy_capture() }, { "--label-rules=" .. rules, "--split=0.5,0.5" })
    local about = manifest_of(folder)
    local function digest(path) return program.shell("sha256sum " .. path).out:match "^%x+" end
    for i, name in ipairs { "train.csv", "train_keys.csv", "test.csv", "test_keys.csv" } do
      local file = about.files[i]
      assert.same({ name, digest(folder .. "/" .. name), lfs.attributes(folder .. "/" .. name, "size") },
        { file.name, file.sha256, file.bytes })
      assert.equal(#rows_of(folder, name), file.records)
    end
    assert.equal(digest(rules), about.script.option_files_sha256.label_rules)
    assert.equal(rules, about.plugins[1].options.rules)
  end)

  describe("leaves no half dataset", function()
    -- What is left of the folder after a run that fails with this message.
    local function fails(status, message, words, own)
      local result, folder = run(words, own)
      assert.equal(status, result.status)
      assert.is_truthy(result.err:find(message, 1, true), result.err)
      assert.is_nil(lfs.attributes(folder))
    end

    it("when a plugin fails", function()
      local plugin = program.write([[
        return require "nfengine".plugin { name = "bad",
          on_expire = function(_, flow) if flow.src_port > 5030 then error "enough" end end }
      ]], ".lua")
      fails(1, "enough", { busy_capture(), "--plugin=" .. plugin }, { "--label=dst_port" })
    end)

    it("when it is interrupted", function()
      local plugin = program.write([[
        return require "nfengine".plugin { name = "slow",
          on_expire = function(_, flow)
            if flow.src_port == 5010 then io.popen("kill -INT $PPID"):close() end
          end }
      ]], ".lua")
      fails(130, "interrupted: no dataset was written",
        { busy_capture(), "--plugin=" .. plugin, "--idle-timeout=1", "--n-meters=1" }, { "--label=dst_port" })
    end)

    it("when a column is none", function()
      fails(1, "no column \"dst_prt\" in this run (did you mean 'dst_port'?)", { busy_capture() },
        { "--label=dst_prt" })
      fails(1, 'no column "udps.label" in this run', { busy_capture() }, {})
      fails(1, 'nfengine: no column "dst_prt" in this run', { busy_capture() },
        { "--label=dst_prt", "--group=time", "--split=0.5,0.5" })
      fails(1, "no column of this run is a feature", { busy_capture(), "--columns=src_ip" }, { "--label=dst_port" })
    end)

    it("when there is none", function()
      fails(1, "no flow has a label", { busy_capture() }, { "--label-rules=" .. program.write("dst_port,label\n9,x\n",
        ".csv") })
      fails(1, "No such file", { "missing.pcap" }, { "--label=dst_port" })
    end)
  end)

  it("writes what could be read of a damaged capture, and says so", function()
    local path = program.write(program.read "samples/dns.pcap":sub(1, 5000), ".pcap")
    local result, folder = run({ path }, { "--label=dst_port" })
    assert.equal(1, result.status)
    local about = manifest_of(folder)
    assert.is_true(about.run.is_damaged)
    assert.equal(1, #about.run.warnings)
  end)

  it("replaces no dataset", function()
    local path = busy_capture()
    local folder = made({ path }, { "--label=dst_port" })
    local before = program.read(folder .. "/manifest.json")
    local result = program.run("dataset", path, "--", "--label=dst_port", "--write=" .. folder)
    assert.equal(1, result.status)
    assert.is_truthy(result.err:find('has flows.csv already, expected another folder', 1, true))
    assert.equal(before, program.read(folder .. "/manifest.json"))
  end)

  it("refuses what makes no sense before anything is read", function()
    local function refused(message, words, own)
      local result, folder = run(words, own)
      assert.same({ 2, "nfengine: " .. message .. "\n" }, { result.status, result.err })
      assert.is_nil(lfs.attributes(folder))
    end
    for _, shares in ipairs { "0.5", "0.5,0.6", "1,0", "0.5,0.25,0.125,0.125", "a,b", "1.5,-0.5", "nan,1" } do
      refused(("--split=%s: expected two or three shares that add up to 1"):format(shares), { "samples/dns.pcap" },
        { "--split=" .. shares })
    end
    refused("--label-by-file: expected neither --label nor --label-rules with it", { "samples/dns.pcap" },
      { "--label-by-file=file", "--label=dst_port" })
    refused('"-": expected a capture file', { "-" }, { "--label-by-file=file" })
    refused('"-": expected a capture file', { "-" }, { "--label=dst_port", "--group=time", "--split=0.5,0.5" })
    local result = program.run("dataset", "samples/dns.pcap", "--", "--label=dst_port")
    assert.same({ 2, "nfengine: expected --write=FOLDER behind --\n" }, { result.status, result.err })
  end)

  it("is read back by pandas and learnt from by scikit-learn", function()
    if program.shell "python3 -c 'import pandas, sklearn'".status ~= 0 then
      pending "python3 has no pandas and scikit-learn here"
    end
    local folder = made({ "samples/" }, { "--label-by-file=file", "--split=0.7,0.3" })
    local lines = { "import pandas, sklearn.ensemble" }
    for line in io.lines "scripts/dataset.lua" do lines[#lines + 1] = line:match "^%-%-     (.*)$" end
    local code = program.write(table.concat(lines, "\n"):gsub("out/", folder .. "/"), ".py")
    local result = program.shell("python3 " .. code)
    assert.same({ 0, "" }, { result.status, result.err })
    assert.is_true(tonumber(result.out) >= 0)
  end)
end)
