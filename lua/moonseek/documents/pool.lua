--- Tasks that ask a model, several at once: each has a session of its own while it runs, and the engine takes their
-- tokens through its layers together. A task is a function that is given `ask`; it runs in a coroutine, so it may ask
-- again (a retry) as if it were alone.
local core = require "moonseek.core"
local encoding = require "moonseek.encoding"
local parser = require "moonseek.parser"
local template = require "moonseek.encoding.template"

local pool = {}
local metatable = { __name = "moonseek.documents.pool", __index = pool }

local slice = 20  -- ms
local margin = 16 -- tokens before a shared text's end: what follows may be joined with them

local sampling = { "temperature", "top_p", "top_k", "min_p", "seed", "deadline_ms", "priority" }

-- The options of a pool, for whoever declares a function that makes one.
function pool.declare(declared)
  declared.context = { type = "number" }
  declared.max_tokens = { type = "number", default = 512 }
  declared.thinking = { type = "string", default = "off" }
  declared.generation = { type = "string", default = "0731" }
  declared.system = { type = "string" }
  for _, name in ipairs(sampling) do declared[name] = { type = "number" } end
  declared.temperature.default = 0
  declared.seed = {}
  return declared
end

local limits = { parallel = 4096, max_tokens = 2147483647 }

--- nil, message, code for options out of range, and when the engine cannot answer texts.
function pool.new(engine, chosen)
  for name, most in pairs(limits) do
    local value = chosen[name]
    if value % 1 ~= 0 or value < 1 or value > most then
      return nil, ("option '%s' is %g, allowed are 1 to %d"):format(name, value, most), "EINVAL"
    end
  end
  local tokenizer, message, code = engine:tokenizer()
  if not tokenizer then return nil, message, code end
  return setmetatable({ engine = engine, tokenizer = tokenizer, chosen = chosen, free = {}, sessions = {},
                        eos = tokenizer:token(template.control.eos) }, metatable)
end

function pool:close()
  for _, session in ipairs(self.sessions) do session:close() end
  self.sessions, self.free = {}, {}
end

local function session_of(self)
  local session = table.remove(self.free)
  if session then return session end
  local message, code
  session, message, code = self.engine:session { context = self.chosen.context }
  if session then self.sessions[#self.sessions + 1] = session end
  return session, message, code
end

-- {== Prompts =========================================================================================

function pool:messages(content)
  local system = self.chosen.system
  local user = { role = "user", content = content }
  return system and { { role = "system", content = system }, user } or { user }
end

--- The tokens of messages; and, for a last message whose first `shared` bytes will be asked about again, how many of
-- them lie surely within those.
local function prompt_of(self, messages, shared)
  local options = { thinking = self.chosen.thinking, generation = self.chosen.generation }
  local pieces, marks, code = encoding.pieces(messages, options)
  if not pieces then return nil, marks, code end
  local tokens, offsets
  tokens, offsets, code = self.tokenizer:encode(pieces)
  if not tokens then return nil, offsets, code end
  local first = #tokens
  if shared then
    for i = 1, marks[#messages].first - 1 do
      local piece = pieces[i]
      shared = shared + #(piece.text or piece.control or self.tokenizer:decode(piece.ids))
    end
    while first > 0 and offsets[first] >= shared do first = first - 1 end
  end
  return tokens, math.max(0, first - margin)
end

--- How many tokens are left for a document beside these messages and the answer.
function pool:room(messages)
  local session, message, code = session_of(self)
  if not session then return nil, message, code end
  self.free[#self.free + 1] = session
  local tokens
  tokens, message, code = prompt_of(self, messages)
  if not tokens then return nil, message, code end
  return session:position() + session:room() - #tokens - self.chosen.max_tokens - margin
end

local function generation_options(self)
  local given = { max_tokens = self.chosen.max_tokens }
  for _, name in ipairs(sampling) do given[name] = self.chosen[name] end
  return given
end

-- {== One answer ======================================================================================

local function begin_answer(self, worker)
  local job, message, code = worker.session:start(generation_options(self))
  if not job then return nil, message, code end
  worker.job, worker.ids = job, {}
  worker.parser = parser.new { tokenizer = self.tokenizer, thinking = self.chosen.thinking ~= "off" }
  return true
end

--- Begins what a task asked for; nil, message, code when it cannot.
local function begin(self, worker, messages, shared)
  local tokens, stable, code = prompt_of(self, messages, shared)
  if not tokens then return nil, stable, code end
  local session = worker.session
  local context = session:position() + session:room()
  if #tokens + self.chosen.max_tokens > context then
    return nil, ("the prompt takes %d tokens and its answer up to %d, the context holds %d"):format(#tokens,
      self.chosen.max_tokens, context), "ECTXFULL"
  end
  local held, message
  worker.tokens, worker.parser = tokens, nil
  if not shared or stable == 0 then
    held, message, code = session:sync(tokens)
    if not held then return nil, message, code end
    return begin_answer(self, worker)
  end
  -- The shared text is read by a job of its own: where the next begins is a place the session can go back to.
  held, message, code = session:sync(tokens:sub(1, stable))
  if held then worker.job, message, code = session:start { max_tokens = 0 } end
  if not worker.job then return nil, message, code end
  return true
end

--- The answer, and the message with which a task can go on asking: its own tokens, so that none is read twice.
local function answer_of(self, worker, result)
  local ids, heard = worker.ids, worker.parser
  if ids[#ids] == self.eos then ids[#ids] = nil end
  heard:finish(result.finish_reason)
  local answer = heard:result()
  return { text = answer.text, reasoning = answer.reasoning, finish_reason = result.finish_reason, usage = worker.usage,
           message = { role = "assistant", content = answer.text, reasoning = answer.reasoning,
                       tokens = core.tokens(ids), answer_at = heard:answer_at() } }
end

local function count_usage(worker, usage)
  local sum = worker.usage or { cached = usage.cached, read = 0, completion = 0 }
  sum.read, sum.completion = sum.read + usage.read, sum.completion + usage.completion
  worker.usage = sum
end

--- Goes on after a job's last event: the answer, false when another job follows, or nil, message, code.
local function finished(self, worker)
  local job = worker.job
  local result, message, code = job:result()
  job:close()
  worker.job = nil
  if not result then return nil, message, code end
  count_usage(worker, result.usage)
  if worker.parser then return answer_of(self, worker, result) end
  if result.finish_reason == "cancel" then return nil, "cancelled", "ECANCELED" end
  local held
  held, message, code = worker.session:sync(worker.tokens)
  if held then held, message, code = begin_answer(self, worker) end
  if not held then return nil, message, code end
  return false
end

-- {== Tasks ===========================================================================================

--- Runs a task until it asks or ends; what it asked for and cannot be begun is told it at once.
local function resume(self, worker, ...)
  local state = { coroutine.resume(worker.task, ...) }
  while coroutine.status(worker.task) == "suspended" do
    worker.usage = nil
    local begun, message, code = begin(self, worker, state[2], state[3])
    if begun then return end
    state = { coroutine.resume(worker.task, nil, message, code) }
  end
  if not state[1] then error(state[2], 0) end
  worker.task = nil
  worker.done(state[2], state[3], state[4])
end

--- Takes what waits for a worker; whether there was anything.
local function advance(self, worker, on_event)
  local event = worker.job:poll()
  if not event then return false end
  while event do
    if event.type == "token" and worker.parser then
      worker.parser:feed(event.token)
      worker.ids[#worker.ids + 1] = event.token
    end
    if on_event then on_event(worker.index, event) end
    event = worker.job:poll()
  end
  if worker.job:finished() then
    local answer, message, code = finished(self, worker)
    if answer ~= false then resume(self, worker, answer, message, code) end
  end
  return true
end

local function drive(self, next_task, parallel, hooks, workers)
  local index, more = 0, true
  while true do
    local stop = hooks.stopped and hooks.stopped()
    while more and not stop and #workers < parallel do
      local task, done = next_task()
      if not task then more = false break end
      local session, message, code = session_of(self)
      if not session then return nil, message, code end
      index = index + 1
      local worker = { session = session, index = index, task = coroutine.create(task), done = done }
      workers[#workers + 1] = worker
      resume(self, worker, coroutine.yield)
      if not worker.task then self.free[#self.free + 1] = table.remove(workers).session end
    end
    if #workers == 0 or stop then return not stop, "cancelled", "ECANCELED" end
    local moved = false
    for i = #workers, 1, -1 do
      moved = advance(self, workers[i], hooks.on_event) or moved
      if not workers[i].task then self.free[#self.free + 1] = table.remove(workers, i).session end
    end
    if not moved and workers[1] then workers[1].job:wait(slice) end
  end
end

--- Runs all tasks that `next_task` gives (a function and what takes its results), at most `parallel` at once. Hooks:
-- `on_event(index, event)`, `stopped()`. True; nil, message, code when it was stopped or no session could be opened.
-- Whatever ends it, no job is left.
function pool:run(next_task, parallel, hooks)
  local workers = {}
  local ok, done, message, code = pcall(drive, self, next_task, parallel, hooks, workers)
  for _, worker in ipairs(workers) do
    if worker.job then worker.job:close() end
    self.free[#self.free + 1] = worker.session
  end
  if not ok then error(done, 0) end
  if not done then return nil, message, code end
  return true
end

return pool
