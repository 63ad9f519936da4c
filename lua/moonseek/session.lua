--- The methods of a session that wait for a job: generate, stream, logits.
-- C never waits longer than a slice, so that a hook of the host (Ctrl-C in the `lua` program) runs in between.
local core = require "moonseek.core"

local session = core.session_methods

local slice = 50 -- ms

--- The job's next event; nil when there was a last one.
local function next_event(job)
  while not job:finished() do
    local event = job:poll()
    if event then return event end
    job:wait(slice)
  end
end

local function drain(job, on_event)
  for event in next_event, job do
    if on_event then
      local ok, problem = pcall(on_event, event)
      if not ok then return nil, problem == nil and "on_event raised nil" or problem, "EHOOK" end
    end
  end
  return job:result()
end

--- Takes every event of a job. Whatever ends it, also an error that a debug hook raises, the session is free again.
local function complete(job, on_event)
  local ok, result, message, code = pcall(drain, job, on_event)
  job:close()
  if not ok then error(result, 0) end
  return result, message, code
end

--- Reads what is unread, generates, and returns the result. An error in on_event ends the generation: what has
-- been generated until then stays in the session, and the error comes back with the code "EHOOK".
function session:generate(options)
  local job, on_event, code = core.begin_generate(self, options)
  if not job then return nil, on_event, code end
  return complete(job, on_event)
end

--- Iterates over the events of a generation; the last is of type "done" or "error". Leaving the loop cancels it:
-- on 5.4 at once, elsewhere at collection or at the next call that changes the session, reads or generates.
function session:stream(options)
  local job, message, code = core.begin_stream(self, options)
  if not job then return nil, message, code end
  local ended = false
  local function step()
    if ended then return nil end
    if not core.is_open(job) then
      ended = true
      return { type = "error", message = "the stream was closed before its end", code = "ECANCELED" }
    end
    local event = next_event(job)
    ended = job:finished()
    if ended then job:close() end
    return event
  end
  return step, nil, nil, job
end

--- The scores of all tokens after the last one; what is unread is read first.
function session:logits()
  local job, message, code = core.begin_read(self)
  if not job then return nil, message, code end
  local result
  result, message, code = complete(job)
  if not result then return nil, message, code end
  return core.logits(self)
end

return session
