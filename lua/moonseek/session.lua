--- The methods of a session that wait for a job: generate, stream, step, logits, score, choose, save.
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
-- on 5.4 at once, elsewhere at collection or at the next call that changes, reads or forks the session.
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

--- On an engine without threads: computes one step here and gives the next event of this session's generation, false
-- while there is none yet. Without a generation under way it begins one, so the event after the last is a new first.
function session:step(options)
  local job = core.stepping(self)
  if not job then
    local message, code
    job, message, code = core.begin_step(self, options)
    if not job then return nil, message, code end
  elseif not job:dirty() then
    core.step(job)
  end
  local event = job:poll()
  if job:finished() then job:close() end
  return event or false
end

--- The scores of all tokens after the last one; what is unread is read first.
function session:logits()
  local job, message, code = core.begin_read(self, "session:logits")
  if not job then return nil, message, code end
  local result
  result, message, code = complete(job)
  if not result then return nil, message, code end
  return core.logits(self)
end

--- Scores each of `texts` behind what the session has read, on forks that share their steps. `forks` and `jobs` receive
-- what is to be closed; `check(from, forks)` sees the forks before that. A list of lists of log-probabilities.
local function score_all(self, texts, check, forks, jobs)
  local from = self:position()
  for i, text in ipairs(texts) do
    local fork, message, code = self:fork()
    if not fork then return nil, message, code end
    forks[i] = fork
    local held
    held, message, code = fork:append(text)
    if not held then return nil, message, code end
    if held == from then error(("session: text %d of %d is empty"):format(i, #texts), 0) end
    jobs[i], message, code = core.begin_score(fork, held - from)
    if not jobs[i] then return nil, message, code end
  end
  if check then
    local right, message, code = check(from, forks)
    if not right then return nil, message, code end
  end
  core.resume(jobs)
  local scores = {}
  for i, job in ipairs(jobs) do
    local done, message, code = drain(job)
    if not done then return nil, message, code end
    scores[i], message, code = core.scores(job)
    if not scores[i] then return nil, message, code end
  end
  return scores
end

--- As score_all; whatever ends it, nothing is left behind and the session holds what it held.
local function score_on_forks(self, name, texts, check)
  local job, message, code = core.begin_read(self, name)
  if not job then return nil, message, code end
  local done
  done, message, code = complete(job)
  if not done then return nil, message, code end
  local forks, jobs = {}, {}
  local ok, scores
  ok, scores, message, code = pcall(score_all, self, texts, check, forks, jobs)
  for _, begun in pairs(jobs) do begun:close() end
  for _, fork in ipairs(forks) do fork:close() end
  if not ok then error(scores, 3) end
  return scores, message, code
end

--- The log-probabilities of `tokens` behind what the session holds, one a token. The session is unchanged; what was
-- unread is read.
function session:score(tokens)
  core.check_session(self, "session:score")
  if tokens == nil then error("session:score: tokens expected, got nothing", 2) end
  local scores, message, code = score_on_forks(self, "session:score", { tokens })
  if not scores then return nil, message, code end
  return scores[1]
end

--- Equal choices could not be told apart.
local function check_distinct(from, forks)
  local seen = {}
  for i, fork in ipairs(forks) do
    local tokens, message, code = fork:tokens()
    if not tokens then return nil, message, code end
    local ids = table.concat(tokens:totable(), " ", from + 1)
    if seen[ids] then error(("session:choose: choices %d and %d are equal"):format(seen[ids], i), 0) end
    seen[ids] = i
  end
  return true
end

--- Which of `choices` is the likeliest continuation: its place, and the sums of log-probabilities of all. No
-- normalisation by length; of equal sums the first. The session is unchanged; what was unread is read.
function session:choose(choices)
  core.check_session(self, "session:choose")
  if type(choices) ~= "table" or #choices == 0 then
    error("session:choose: a list of at least one choice is expected", 2)
  end
  local scores, message, code = score_on_forks(self, "session:choose", choices, check_distinct)
  if not scores then return nil, message, code end
  local sums, best = {}, 1
  for i, list in ipairs(scores) do
    sums[i] = 0
    for _, logprob in ipairs(list) do sums[i] = sums[i] + logprob end
    if sums[i] > sums[best] then best = i end
  end
  return best, sums
end

--- Writes the session to a file, which replaces `path` as a whole; what is unread is read first. True.
function session:save(path)
  local right, message, code = core.check_save(self, path)
  if not right then return nil, message, code end
  local job, result
  job, message, code = core.begin_read(self, "session:save")
  if not job then return nil, message, code end
  result, message, code = complete(job)
  if not result then return nil, message, code end
  return core.save(self, path)
end

return session
