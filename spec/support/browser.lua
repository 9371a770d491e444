-- Opens a page in Chromium and tells what a person, or a network, would notice of it.
--
--   local reason = browser.missing()             --> why it cannot be done here, or nil
--   local seen = browser.open(path, 390)         -- in a window of that width
--   seen.console                                 --> what the page said on its console, errors among it
--   seen.requests                                --> addresses that the page asked the network for
--   seen.width                                   --> how wide its content is, 390 where nothing sticks out
--   browser.cleanup()

local json = require "cjson"
local program = require "spec.support.program"

local browser = {}

local NAMES = { "chromium", "chromium-browser", "google-chrome" }
local FLAGS = "--headless=new --no-sandbox --disable-gpu --hide-scrollbars --no-first-run "
  .. "--disable-background-networking --disable-component-update --disable-sync "
  .. "--allow-file-access-from-files --enable-logging=stderr --v=0 "
  .. "--host-resolver-rules='MAP * ~NOTFOUND'" -- asks, but nothing leaves

-- Shows the page in a frame, which can be narrower than a window, and measures it.
local FRAME = [[
<!doctype html><iframe id="frame" src="file://%s" style="width:%dpx;height:800px;border:0"></iframe>
<script>onload = () => document.title = frame.contentDocument.documentElement.scrollWidth</script>
]]

local found

local function find()
  for _, name in ipairs(NAMES) do
    if program.shell("command -v " .. name).status == 0 then return name end
  end
end

--- Why no page can be looked at here; nil when it can.
function browser.missing()
  found = found or find()
  if not found then return "no browser here: expected chromium" end
end

--- What the page asked of the network. The browser's own requests have no origin.
local function requests_of(log)
  local list = {}
  for _, event in ipairs(json.decode(log).events) do
    local given = type(event.params) == "table" and event.params or {}
    if given.url and given.initiator and given.initiator ~= "not an origin" then list[#list + 1] = given.url end
  end
  return list
end

--- Opens a file, by its absolute path.
function browser.open(path, width)
  assert(not browser.missing(), browser.missing())
  local frame = program.write(FRAME:format(path, width), ".html")
  local log, profile = program.temporary ".json", program.temporary ".profile"
  local result = program.shell(("timeout 60 %s %s --user-data-dir=%s --log-net-log=%s --dump-dom file://%s")
    :format(found, FLAGS, profile, log, frame))
  program.shell("rm -rf " .. profile)
  local seen = { console = {}, requests = requests_of(assert(program.read(log), result.err)) }
  for line in result.err:gmatch ":CONSOLE[:(%d)]*%] ([^\n]*)" do table.insert(seen.console, line) end
  seen.width = tonumber(result.out:match "<title>(%d+)</title>")
  return seen
end

browser.cleanup = program.remove_temporaries

return browser
