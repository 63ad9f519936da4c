--- Runs the calls of a turn side by side, each in a coroutine. A tool that yields is resumed when it asked for that; at
-- its time limit it is abandoned. One that blocks holds up its caller, and the others are resumed once before they
-- are judged.
local tools = require "moonseek.agent.tools"

local calls = {}

local POLL = 10   -- ms until a tool that yielded nothing is resumed
local unpack = table.unpack or unpack -- luacheck: ignore 113

local function pack(...)
  return { n = select("#", ...), ... }
end

local function ended(run, status, text)
  run.ended = true
  run.host.finish(run.call, status, status == "ok" and text or "Error: " .. text)
end

--- Begins a call: after begin() has returned, the intent is on record. What it returns is kept by the coroutine
-- itself, because an event loop may resume it, too.
local function start(host, item)
  local run = { host = host, call = item.call, tool = item.tool, wake = -math.huge }
  host.begin(item.call)
  local now = host.clock()
  run.limit = item.tool.timeout_ms or host.timeout_ms
  run.until_ = math.min(now + run.limit, host.deadline)
  run.thread = coroutine.create(function(arguments, call)
    run.returned = pack(item.tool.run(arguments, call))
  end)
  run.arguments = pack(item.arguments, item.call)
  return run
end

local function settle(run, ok, problem)
  if not ok then return ended(run, "error", tools.raised(problem)) end
  if not run.returned then return ended(run, "error", "the tool raised an error while an event loop ran it") end
  local text, message = tools.content(run.returned[1], run.returned[2])
  if not text then return ended(run, "error", message) end
  return ended(run, "ok", tools.cap(text, run.tool.max_result or run.host.max_result))
end

--- Lets a tool go on. What it yields is when to resume it, in ms, or something for the host's `wait`.
local function resume(run)
  local ok, problem = true, nil
  if coroutine.status(run.thread) ~= "dead" then
    local arguments = run.arguments or { n = 0 }
    run.arguments = nil
    run.yielded = pack(coroutine.resume(run.thread, unpack(arguments, 1, arguments.n)))
    ok, problem = run.yielded[1], run.yielded[2]
  end
  if coroutine.status(run.thread) == "dead" then return settle(run, ok, problem) end
  run.wake = run.host.clock() + (type(problem) == "number" and problem or POLL)
end

local function abandon(run, status, text)
  if coroutine.close and coroutine.status(run.thread) == "suspended" then coroutine.close(run.thread) end
  ended(run, status, text)
end

--- Resumes those whose time has come, and abandons those whose time is over.
local function pass(host, running)
  for _, run in ipairs(running) do
    if run.wake <= host.clock() or coroutine.status(run.thread) == "dead" then resume(run) end
    if not run.ended and host.clock() >= run.until_ then
      abandon(run, "timeout", host.clock() >= host.deadline and "the time of the whole run was over"
        or ("no result within %g ms"):format(run.limit))
    end
  end
  for i = #running, 1, -1 do
    if running[i].ended then table.remove(running, i) end
  end
end

--- Waits until the next tool may go on. The host's wait may return early; it is given what the tools yielded.
local function rest(host, running)
  local wake, yielded = math.huge, {}
  for i, run in ipairs(running) do
    wake = math.min(wake, run.wake, run.until_)
    yielded[i] = { call = run.call, unpack(run.yielded, 2, run.yielded.n) }
  end
  local ms = wake - host.clock()
  if ms > 0 then host.wait(ms, yielded) end
end

local function all(host, items, running)
  local following = 1
  local function may_start()
    return items[following] and #running < host.parallel and host.clock() < host.deadline and not host.cancelled()
  end
  while not host.cancelled() do
    while may_start() do
      running[#running + 1] = start(host, items[following])
      following = following + 1
      pass(host, running)
    end
    if #running == 0 then return end
    rest(host, running)
    pass(host, running)
  end
end

--- Runs `items`, each { call =, tool =, arguments = }. The host has begin(call), finish(call, status, content),
-- wait(ms, yielded), clock(), cancelled(), parallel, deadline, timeout_ms, max_result. Items that were not begun,
-- because of a cancel or the deadline, are left. An error of the host ends it, and what ran is abandoned.
function calls.run(host, items)
  local running = {}
  local ok, problem = pcall(all, host, items, running)
  for _, run in ipairs(running) do
    if not run.ended then abandon(run, "cancelled", "the call was abandoned: the run was interrupted") end
  end
  if not ok then error(problem, 0) end
end

return calls
