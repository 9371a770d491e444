--- The command line: nfengine [options] script.lua [capture ...] [-- script options]

local ffi = require "ffi"
local C = require "nfengine.lib"
local additions = require "nfengine.additions"
local collection = require "nfengine.collection"
local lfs = require "nfengine.lfs"
local names = require "nfengine.output.names"
local options = require "nfengine.options"
local output = require "nfengine.output"
local output_words = require "nfengine.output.words"
local parameters = require "nfengine.parameters"
local report = require "nfengine.report"
local run = require "nfengine.run"
local sandbox = require "nfengine.sandbox"
local script = require "nfengine.script"
local text = require "nfengine.text"

local cli = {}

--- Exit statuses.
local DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

local SAFE_MEMORY_MB, SAFE_SECONDS = 2048, 60

local general = {
  { name = "interface", short = "i", kind = "list", value = "NAME", is_repeatable = true,
    doc = "capture live from this network interface (\"any\" for all of them); may be given more than once" },
  { name = "user", kind = "string", value = "NAME",
    doc = "become this user once interfaces and outputs are open, keeping no more privileges than needed" },
  { name = "sandbox", kind = "boolean",
    doc = "refuse scripts and plugins the network, programs, other processes and all files to write but -o's; "
      .. "with --user, --no-sandbox refuses nothing" },
  { name = "plugin", kind = "list", value = "NAME", is_repeatable = true,
    doc = "add this plugin to every run of the script; may be given more than once" },
  { name = "set", short = "a", kind = "list", value = "PLUGIN.OPTION=VALUE", is_repeatable = true,
    parse = function(word) return { word } end, doc = "set an option of a plugin; may be given more than once" },
  { name = "profile", kind = "string", value = "NAME", doc = "add the plugins and parameters of this profile" },
  { name = "profile_plugins", kind = "boolean", is_flag = true,
    doc = "say at the end how long each plugin took, for a packet and for a flow" },
  { name = "safe", kind = "boolean", is_flag = true,
    doc = "close in scripts and plugins that did not come along: they compute, and touch nothing else" },
  { name = "safe_memory", kind = "integer", min = 1, max = 2 ^ 32, value = "MB", default = SAFE_MEMORY_MB,
    doc = "with --safe: memory that the program may take" },
  { name = "safe_seconds", kind = "integer", min = 1, max = 2 ^ 31 - 1, value = "SECONDS", default = SAFE_SECONDS,
    doc = "with --safe: CPU time that one call of a hook, or a script between two flows, may take" },
  { name = "quiet", short = "q", kind = "boolean", is_flag = true, doc = "neither progress nor summary" },
  { name = "progress", kind = "boolean", doc = "show progress even where stderr is no terminal" },
  { name = "traceback", kind = "boolean", is_flag = true, doc = "show where in the script an error came from" },
  { name = "help", short = "h", kind = "boolean", is_flag = true,
    doc = "this text, or with the name of a script, plugin or profile its own" },
  { name = "version", kind = "boolean", is_flag = true, doc = "version of nfengine and of its libraries" },
}

local function command(name, words, doc)
  return { name = name, kind = "boolean", is_flag = true, words = words, doc = doc }
end

-- What is done instead of a run, with the other words of the command line.
local instead = {
  command("list", "[EXPR]", 'what scripts, plugins and profiles there are; EXPR selects: "tcp and not slow"'),
  command("which", "NAME", "the file that a name stands for"),
  command("check", "NAME ...", "what is wrong with files of plugins and scripts, before others use them"),
  command("test", "NAME ...", "whether plugins and scripts give what their golden files, examples and specs say"),
  command("schema", "[SCRIPT ...]", "what records of such a run would hold, as JSON: columns with types and units"),
  command("replay", "MANIFEST [PLACE ...]", "run again what a manifest tells of, and say whether it comes to the same; "
    .. "PLACEs are captures, or folders of them, that are not where they were"),
  command("new", "plugin NAME", "begin a plugin here: its file, a spec and a golden file, to be changed"),
}

--- All options of the program, as nfengine.options declares them.
function cli.declaration()
  local all = {}
  for _, list in ipairs { general, output_words.options, instead } do
    for _, option in ipairs(list) do all[#all + 1] = option end
  end
  for _, option in ipairs(parameters.list) do
    if not option.is_hidden then all[#all + 1] = option end
  end
  return all
end

-- ---- texts ----

local EPIPE = 32

--- Prints. What is larger than the buffer fails here, what is smaller when the program ends.
local function put(...)
  local written, message, number = io.write(...)
  if not written and number ~= EPIPE then error("cannot write standard output: " .. message, 0) end
end

local function print_usage()
  local shown = {}
  for _, option in ipairs(parameters.list) do
    if not option.is_hidden then shown[#shown + 1] = option end
  end
  put([[
usage: nfengine [options] script.lua [capture ... | -i IFACE] [-- script options]
       nfengine [options] capture ... | -i IFACE

Turns packets into bidirectional flow records with features. A script says what to do with them; a bare NAME is
scripts/NAME.lua on the search path, and without a script `flows` writes all records as CSV. Captures are pcap or
pcapng files, also gzip or zstd, folders of them, or - for standard input; several are read as one.

  nfengine flows capture.pcap > flows.csv
  nfengine flows -o flows.csv --statistical-analysis --splt-analysis=10 capture.pcap
  nfengine summary capture.pcap
  nfengine flows -i eth0 -o flows.csv --user=nobody

Options:
]], options.help(general), "\n\nWhere records go:\n", options.help(output_words.options),
    "\n\nParameters of the run, which win over what the script sets:\n", options.help(shown),
    "\n\nInstead of a run:\n", options.help(instead), [[


Signals: INT and TERM end the run, with all flows written; USR1 asks for a line on where it stands; HUP makes a live
run go on in a new output file where the old one was moved away.

Exit status: 0 done, 1 the run failed or part of the input was unreadable, 2 usage, 130 interrupted while reading files.
]])
  return DONE
end

local function print_version()
  put("nfengine ", ffi.string(C.nf_version()), "\n", ffi.string(C.nf_pcap_version()), "\n",
    ffi.string(C.nf_dpi_version()), "\nlibgcrypt ", ffi.string(C.nf_crypto_version()),
    "\nzlib ", ffi.string(C.nf_zlib_version()), "\nzstd ", ffi.string(C.nf_zstd_version()), "\n", jit.version,
    "\nlua-cjson ", require("nfengine.json")._VERSION, "\n")
  return DONE
end

-- ---- finding the script ----

local function is_readable(path)
  local file = io.open(path, "rb")
  if file then file:close() end
  return file ~= nil
end

local function is_interface(name) return C.nf_source_is_live(ffi.new("const char *[1]", { name }), 1) end

--- Splits the words into script and captures.
local function choose_script(words, needs_no_capture)
  local first = words[1]
  local flows = collection.root .. "/scripts/flows.lua" -- nobody named a script, so none but our own will do
  if not first and needs_no_capture then return flows end
  if not first then error({ usage = "no script and no capture: see nfengine --help" }, 0) end
  local path = collection.find("scripts", first)
  if path then
    table.remove(words, 1)
    return path
  end
  if first:match "%.lua$" then error(("cannot open \"%s\": no such script"):format(first), 0) end
  if first ~= "-" and not is_readable(first) then
    local hint = is_interface(first) and (", expected -i %s for the interface"):format(first)
      or collection.find("plugins", first) and (", expected nfengine flows --plugin=%s, or --profile"):format(first)
      or collection.suggest("scripts", first)
    error(("cannot find \"%s\": no such script or capture%s"):format(first, hint), 0)
  end
  return flows
end

-- ---- running ----

--- The interfaces that -i names, which cannot be read together with captures.
local function interfaces(given, captures)
  if not given[1] then error({ usage = "-i \"\": expected the name of an interface, or any" }, 0) end
  if captures[1] then
    error({ usage = ("-i %s and capture \"%s\": expected one or the other"):format(given[1], captures[1]) }, 0)
  end
  for _, name in ipairs(given) do
    if not is_interface(name) then
      local what = is_readable(name) and "a file of that name comes first" or "no such network interface"
      error({ usage = ("-i %s: %s, expected the name of an interface, or any"):format(text.quote(name), what) }, 0)
    end
  end
  return given
end

--- Raises what keeps the program from becoming that user, before an output is opened.
local function check_user(user)
  local message = ffi.new("char[?]", C.NF_ERROR_SIZE)
  if C.nf_privileges_check(user, message) ~= C.NF_OK then error("--user: " .. ffi.string(message), 0) end
end

--- What the file returns that one of these options names: a plugin or a profile.
local function load_named(option, word, is_wanted, problem)
  local function refuse(why)
    error({ usage = ("--%s %s: %s"):format(option, text.quote(word), why) }, 0)
  end
  if not collection.find("plugins", word) then
    refuse(("no such %s, expected a name on the search path or a file that ends in .lua%s")
      :format(option, collection.suggest("plugins", word)))
  end
  local made = collection.load(word)
  if not is_wanted(made) then refuse(problem) end
  return made
end

--- Plugins and their options, for every run of the script; parameters of a profile where the command line has none.
local function add(values)
  if values.profile then
    local made = load_named("profile", values.profile, require("nfengine.profile").is_profile,
      "a plugin, expected a profile")
    additions.add(made)
    for name, value in pairs(made:parameters()) do
      if values[name] == nil then parameters.overrides[name] = parameters.check(name, value, 2) end
    end
  end
  for _, name in ipairs(values.plugin or {}) do
    additions.add(load_named("plugin", name, require("nfengine.plugin").is_class,
      "expected a plugin, a profile is given as --profile"))
  end
  for _, word in ipairs(values.set or {}) do additions.set(word) end
  if values.profile_plugins then require("nfengine.costs").is_wanted = true end
end

local function apply(values, captures)
  for _, option in ipairs(parameters.list) do parameters.overrides[option.name] = values[option.name] end
  add(values)
  if values.interface then captures = interfaces(values.interface, captures) end
  if values.user then check_user(values.user) end
  run.user = values.user
  if captures[1] then parameters.default_source = #captures == 1 and captures[1] or captures end
  if captures[1] then parameters.overrides.source = parameters.default_source end
  output.overrides = output_words.overrides(values)
  report.is_quiet = values.quiet or false
  report.shows_progress = values.progress
  if values.progress == nil then report.shows_progress = C.nf_is_terminal(2) end
  require("nfengine").arguments = captures
end

local safe -- nfengine.safe, once others' code is to be closed in

local function run_own_script(path, words)
  local folder = path:match "^(.*/)" or "./"
  package.path = package.path .. ";" .. folder .. "?.lua" -- modules beside the script
  local chunk, message = loadfile(path)
  if not chunk then error(message, 0) end
  return chunk(unpack(words))
end

local function run_script(path, words, is_help_wanted)
  script.path, script.words, script.is_help_wanted = path, words, is_help_wanted
  _G.arg = { [0] = path, unpack(words) }
  local made
  if safe and not safe.is_trusted(path) then made = safe.run_script(path, words)
  else made = run_own_script(path, words) end
  local kind = made and (require("nfengine.plugin").is_class(made) and "plugin"
    or require("nfengine.profile").is_profile(made) and "profile")
  if kind then
    error({ usage = ("%s: a %s, expected a script: try nfengine flows --%s=%s"):format(path, kind, kind, path) }, 0)
  end
  if is_help_wanted then script.ready() end
end

--- Closes in what did not come along, if that is asked for.
local function start_safe(values)
  if not values.safe and not values.safe_memory and not values.safe_seconds then return end
  if values.safe and values.test then
    error({ usage = "--safe: --test runs its tests as their files say, expected no --safe" }, 0)
  end
  for _, name in ipairs { "safe_memory", "safe_seconds" } do
    if values[name] and not values.safe then
      error({ usage = ("--%s: expected --safe with it"):format((name:gsub("_", "-"))) }, 0)
    end
  end
  safe = require "nfengine.safe"
  safe.start(values.safe_memory or SAFE_MEMORY_MB, values.safe_seconds or SAFE_SECONDS)
end

--- Files of records go into one folder, if that is asked for.
local function choose_folder(values)
  if not values.into then return end
  if lfs.attributes(values.into, "mode") ~= "directory" then
    error({ usage = ("--into %s: expected a folder"):format(text.quote(values.into)) }, 0)
  end
  names.into = values.into
  values.output = values.output and names.placed(values.output)
end

--- The status that the runs' accounts call for.
local function status_of_runs()
  local status = DONE
  for _, account in ipairs(report.runs) do
    if account.is_interrupted and not account.is_live then return INTERRUPTED end
    if account.is_damaged then status = FAILED end
  end
  return status
end

--- Whether everything printed has arrived. A reader that went away is no failure.
local function finish_stdout()
  local flushed, message, number = io.stdout:flush()
  if flushed or number == EPIPE then return true end
  report.say("cannot write standard output: " .. message)
  return false
end

--- Runs a command instead of a script, if the words ask for one. Returns an exit status, or nil.
local function run_command(values, others)
  for _, each in ipairs(instead) do
    local run_it = values[each.name] and require("nfengine.commands")[each.name]
    if run_it then
      local answer, status = run_it(others)
      put(answer)
      return status or DONE
    end
  end
  if values.help and #others == 1 and not collection.find("scripts", others[1]) then
    local path = collection.find("plugins", others[1])
    if path then
      put(require("nfengine.commands").help(path))
      return DONE
    end
  end
  if values.columns and not others[1] and not values.interface and not values.schema then
    put(require("nfengine.commands").columns(values.columns))
    return DONE
  end
end

--- A script that ends the process loses no flows that it has been given.
local function close_runs_at_exit()
  local exit = os.exit
  rawset(os, "exit", function(...)
    run.close_all()
    io.stdout:flush()
    exit(...)
  end)
end

local function main(words, root)
  collection.root = root
  collection.extend_path()
  close_runs_at_exit()
  script.set_command(words)
  local values, others, rest = options.parse(words, cli.declaration(), "; a script's own options come after \"--\"")
  if values.version then return print_version() end
  if values.help and not others[1] then return print_usage() end
  report.is_program = true
  if values.replay then
    local answer, status = require("nfengine.replay").run(values, others)
    put(answer)
    return status
  end
  start_safe(values)
  choose_folder(values)
  sandbox.prepare(values)
  local status = run_command(values, others)
  if status then return status end
  script.is_schema_wanted = values.schema or false
  local path = choose_script(others, values.interface ~= nil or values.schema)
  apply(values, others)
  run_script(path, rest, values.help or false)
  run.close_all() -- those of loops that were left early
  for _, word in ipairs(output_words.unused(values)) do report.say("warning: " .. word) end
  return status_of_runs()
end

local function failed(raised)
  if raised == script.done then return DONE end
  local usage = type(raised) == "table" and rawget(raised, "usage")
  if type(usage) == "string" then
    report.say(usage)
    return USAGE
  end
  report.say(text.raised(raised))
  if report.wants_traceback and report.traceback then io.stderr:write(report.traceback, "\n") end
  return FAILED
end

--- Runs the program. `words` are the command line's, `root` the folder of lua/, scripts/ and plugins/.
-- @return exit status
function cli.main(words, root)
  for _, word in ipairs(words) do report.wants_traceback = report.wants_traceback or word == "--traceback" end
  local ok, result = xpcall(main, function(raised)
    report.traceback = report.traceback or debug.traceback("", 2)
    return report.located(raised)
  end, words, root)
  local status = ok and result or failed(result)
  run.close_all() -- Lua's end frees what is C's in any order, and a run's end needs it
  if not finish_stdout() and status == DONE then status = FAILED end
  return status
end

return cli
