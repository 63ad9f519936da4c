--- Functions side by side on one thread, each in a coroutine: while one waits for an answer of the model or for its
-- tools the others go on, and the engine takes the tokens of all through its layers together.
local problem = require "moonseek.problem"

local together = {}

local POLL = 10            -- ms that one job is waited for while others may have events
local mark = {}            -- tells what `pause` yields from what a hook of the user's yields
local unpack = table.unpack or unpack -- luacheck: ignore 113

local function pack(...)
  return { n = select("#", ...), ... }
end

--- Whether a function can yield from within pcall, as `pause` must. PUC Lua 5.1 cannot: there each function runs to its
-- end before the next begins.
local function can_pause()
  local thread = coroutine.create(function() pcall(coroutine.yield) end)
  coroutine.resume(thread)
  return coroutine.status(thread) == "suspended"
end

together.possible = can_pause()

--- Called in one of the functions: lets the others go on until { job =, wait = } may have an event, as far as
-- wait(job, ms) tells, or until { ms =, yielded = } is over. Raises when the function shall go on no longer.
function together.pause(wanted)
  local goes_on = coroutine.yield(mark, wanted)
  if not goes_on then problem.fail("the branch was given up: another ended the run", "ECANCELED") end
end

--- Lets a function go on until it waits again or has ended. What a hook of the user's yields is for the user's own
-- scheduler.
local function resume(run, host)
  local got = pack(coroutine.resume(run.thread, true))
  while coroutine.status(run.thread) == "suspended" and got[2] ~= mark do
    got = pack(coroutine.resume(run.thread, coroutine.yield(unpack(got, 2, got.n))))
  end
  if not got[1] then error(got[2], 0) end
  run.wanted = coroutine.status(run.thread) == "suspended" and got[3] or nil
  run.wake = run.wanted and run.wanted.ms and host.clock() + run.wanted.ms
end

--- Whether what a function waits for can be looked at: a job always, tools when their time has come.
local function is_due(run, host)
  return not run.wake or run.wake <= host.clock() or host.cancelled()
end

--- Waits until one of them may go on. With a host's own wait tools that wait for its event loop go on while the model
-- answers, too; it may have resumed any of them: then true.
local function rest(self)
  local host, jobs, wake, yielded = self.host, {}, math.huge, {}
  for _, run in ipairs(self.waiting) do
    if not run.wake then jobs[#jobs + 1] = run.wanted
    else wake = math.min(wake, is_due(run, host) and host.clock() or run.wake) end
    for _, one in ipairs(run.wanted.yielded or {}) do yielded[#yielded + 1] = one end
  end
  local ms = math.min(wake - host.clock(), jobs[1] and POLL or math.huge)
  if ms <= 0 then return end
  if yielded[1] and host.wait then
    host.wait(ms, yielded)
    return true
  end
  if not jobs[1] then return host.sleep(ms) end
  self.turn = self.turn % #jobs + 1                 -- each in its turn
  jobs[self.turn].wait(jobs[self.turn].job, math.ceil(ms))
end

local function drive(self)
  local host, waiting = self.host, self.waiting
  for _, run in ipairs(waiting) do resume(run, host) end
  while true do
    for i = #waiting, 1, -1 do
      if not waiting[i].wanted then table.remove(waiting, i) end
    end
    if not waiting[1] then return end
    local all = rest(self)
    for _, run in ipairs(waiting) do
      if all or is_due(run, host) then resume(run, host) end
    end
  end
end

--- Runs all functions to their ends. The host has clock(), cancelled(), sleep(ms) and perhaps wait(ms, yielded), which
-- stands in for it. When one raises, those that wait are told to give up, and what it raised is raised.
function together.run(functions, host)
  local runs, waiting = {}, {}
  for i, run in ipairs(functions) do runs[i] = { thread = coroutine.create(run) } end
  for i, run in ipairs(runs) do waiting[i] = run end
  local ok, raised = pcall(drive, { host = host, waiting = waiting, turn = 0 })
  for _, run in ipairs(runs) do
    if coroutine.status(run.thread) == "suspended" and run.wanted then coroutine.resume(run.thread, false) end
  end
  if not ok then error(raised, 0) end
end

return together
