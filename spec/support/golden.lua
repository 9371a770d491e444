-- Expected outputs: which files spec/golden holds and how each is made. `make golden` runs this file, which writes them
-- anew, and with them the outputs in the scripts' doc blocks: look at the difference before keeping it.
--
-- Identification depends on the nDPI that is linked, the rest does not, so they are in files of their own.

local is_program = ... == nil
if is_program then package.path = "./lua/?.lua;./lua/?/init.lua;./?.lua;" .. package.path end

local program = require "spec.support.program"

local golden = {}

local FEATURES = { "--n-dissections=0", "--statistical-analysis", "--splt-analysis=8" }
local L7 = {
  "--l7-columns=all", "--columns=src_ip,src_port,dst_ip,dst_port,protocol,application_name,application_category_name,"
    .. "application_is_guessed,application_confidence,requested_server_name,client_fingerprint,server_fingerprint,"
    .. "user_agent,content_type,tls_version,tls_alpn,ja3_client,ja3_server,hassh_client,hassh_server,dhcp_fingerprint,"
    .. "http_url,risk_names,risk_mask,risk_score,dns_query_type,dns_response_code",
}

--- Cases: `file` in spec/golden, the `words` that `nfengine -q` gets, `is_l7` when they are about identification.
golden.cases = {}

local function add(sample, ending, kind, more)
  local words = { "flows", "--format=" .. ending }
  for _, word in ipairs(kind) do words[#words + 1] = word end
  words[#words + 1] = more
  words[#words + 1] = "samples/" .. sample
  local file = ("flows-%s.%s.%s"):format(sample:match "^[^.]+", kind == L7 and "l7" or "features", ending)
  golden.cases[#golden.cases + 1] = { file = file, words = words, is_l7 = kind == L7 }
end

for _, sample in ipairs { "web.pcap", "closing.pcap", "vlan.pcap", "fragments.pcap", "gtpu.pcap", "any.pcap" } do
  add(sample, "csv", FEATURES)
end
add("nanoseconds.pcapng", "csv", FEATURES, "--time-unit=ns")
add("icmp.pcap", "jsonl", FEATURES)
for _, sample in ipairs { "web.pcap", "dns.pcap", "ssh.pcap", "dhcp.pcap" } do add(sample, "csv", L7) end
add("tls.pcap", "jsonl", L7)
golden.report = { file = "report-web.html", words = { "report", "samples/web.pcap" }, is_l7 = true }
golden.cases[#golden.cases + 1] = golden.report

--- The one that is a capture, and what writes it to a file.
golden.extracted = "spec/golden/extract/closing.pcapng"

function golden.extract(path)
  return program.run("-q", "extract", "--n-dissections=0", "--filter=flow.dst_port == 81", "samples/closing.pcap", "--",
    "--write=" .. path)
end

function golden.path(case) return "spec/golden/" .. case.file end

--- Runs a case; { status, out, err }.
function golden.run(case) return program.run("-q", unpack(case.words)) end

--- Why identification cannot be compared with what the golden files say; nil when it can.
function golden.other_ndpi()
  local result = program.run "--version"
  local version = assert(result.out:match "nDPI ([%d.]+)", "nfengine --version names no nDPI: " .. result.err)
  if version:match "^4%.2%." then return nil end
  return ("nDPI %s is linked; identification is compared with 4.2's only"):format(version)
end

local function write_all()
  assert(golden.extract(golden.extracted).status == 0)
  for _, case in ipairs(golden.cases) do
    local result = golden.run(case)
    assert(result.status == 0, case.file .. ": " .. result.err)
    program.write(result.out, golden.path(case))
  end
  local example = require "spec.support.example"
  for path in io.popen("ls spec/golden/*/*.csv"):lines() do
    local name, sample = path:match "^spec/golden/([^/]+)/([^/]+)%.csv$"
    local capture = io.popen("ls samples/" .. sample .. ".pcap*"):read "*l"
    local is_profile = program.read(("plugins/%s.lua"):format(name)):find("nf.profile", 1, true)
    local option = (is_profile and "--profile=" or "--plugin=") .. name
    local result = program.run("-q", "flows", "--n-dissections=0", option,
      "--columns=" .. program.read(path):match "^[^\n]*", capture)
    assert(result.status == 0, path .. ": " .. result.err)
    program.write(result.out, path)
  end
  for path in io.popen("ls scripts/*.lua plugins/*.lua"):lines() do
    local text = program.read(path)
    local renewed = example.renewed(text)
    if renewed ~= text then program.write(renewed, path) end
  end
end

if is_program then
  local reason = golden.other_ndpi()
  if reason then error(reason, 0) end
  write_all()
end

return golden
