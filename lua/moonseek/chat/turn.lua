--- One turn of a chat: reads a prompt, generates an answer, and tells what comes as events.
-- A turn is up to three jobs of its session: one reads all of the prompt but its last token, so that the session has
-- a mark there and a retry, or a prompt without this turn's reasoning, reads nothing twice; with a budget one generates
-- the reasoning; one generates the answer.
local core = require "moonseek.core"
local parser = require "moonseek.parser"
local template = require "moonseek.encoding.template"

local turn = {}
local metatable = { __name = "moonseek.turn", __index = turn }

local slice = 50 -- ms that C waits at most, so that a hook of the host runs in between

local function wait(job, ms) job:wait(ms) end

--- `given`: session, tokenizer, prompt (packed tokens) and `begun`, how many of its last tokens are an answer already,
-- tools, strict, sampling (options of session:start), thinking_budget, max_tokens, deadline_ms, first_call (the number
-- of the first tool call), wait(job, ms) in place of job:wait; finish(answer), called at the end, without an answer
-- when there is none; and jobs, a set to which each job is added.
function turn.new(given)
  local tokenizer, controls = given.tokenizer, {}
  for _, name in ipairs { "think", "end_think", "eos" } do
    controls[name] = tokenizer:token(template.control[name])
  end
  local thinks = given.prompt[#given.prompt - given.begun] == controls.think
  local self = setmetatable({
    session = given.session, tokenizer = tokenizer, prompt = given.prompt, controls = controls,
    sampling = given.sampling, max_tokens = given.max_tokens, deadline_ms = given.deadline_ms,
    budget = given.thinking_budget, next_call = given.first_call, finish = given.finish, wait = given.wait or wait,
    jobs = given.jobs,
    parser = parser.new { tokenizer = tokenizer, thinking = thinks, tools = given.tools, strict = given.strict },
    events = {}, first = 1,         -- those that wait, from `first` on
    phase = nil, job = nil,         -- what runs
    ids = {},                       -- of the answer, reasoning included
    made = 0,                       -- of them, by this turn
    shown = nil,                    -- with stop strings: bytes of them that are known to be text
    usage = { cached = 0, read = 0, reread = 0, reasoning = 0, answer = 0 },
    timing = { prefill_ms = 0, decode_ms = 0 },
    logprob = 0,
    cancelled = false, closed = false,
  }, metatable)
  for place = #given.prompt - given.begun + 1, #given.prompt do self:begin_with(given.prompt[place]) end
  self.events = {}
  self:read_stops()
  return self
end

-- {== Tokens become events ===========================================================================

function turn:push(event)
  self.events[#self.events + 1] = event
end

function turn:push_parsed(events)
  for _, event in ipairs(events) do
    if event.type == "call" then
      event.call.id = ("call_%d"):format(self.next_call)
      self.next_call = self.next_call + 1
    end
    self:push(event)
  end
end

--- A token of the answer that stands already: it was told before.
function turn:begin_with(id)
  self.ids[#self.ids + 1] = id
  self:push_parsed(self.parser:feed(id))
end

--- Stop strings and stop ids belong to no answer. Strings may reach over several tokens: a token is then parsed once
-- the engine has shown its bytes.
function turn:read_stops()
  self.stop_ids, self.waiting = {}, {}
  for _, stop in ipairs(self.sampling.stop or {}) do
    if type(stop) == "string" then
      self.shown, self.parsed = 0, 0
    else
      self.stop_ids[stop] = true
    end
  end
end

--- A token of the answer, or `bytes` of it, goes to the parser; one that was generated counts.
function turn:parse(token, bytes)
  local reasoning = self.parser:reasoning()
  if bytes then
    if bytes ~= "" then self:push_parsed(self.parser:feed(nil, bytes)) end
  else
    self:push_parsed(self.parser:feed(token.id))
  end
  if not token.logprob then return end
  if not reasoning then self.logprob = self.logprob + token.logprob end
  local kind = reasoning and self.parser:reasoning() and "reasoning" or "answer"
  self.usage[kind] = self.usage[kind] + 1
end

--- Parses what the engine has shown of the tokens that wait.
function turn:parse_shown()
  while self.waiting[1] and self.parsed + #self.waiting[1].bytes <= self.shown do
    local token = table.remove(self.waiting, 1)
    self.parsed = self.parsed + #token.bytes
    self:parse(token)
  end
end

--- At the end, what waits has a stop string in it: only what stands before that is text.
function turn:parse_rest()
  for _, token in ipairs(self.waiting or {}) do
    if token.id == self.controls.eos then
      self:parse(token)
    else
      self.cut = true
      self:parse(token, token.bytes:sub(1, math.max(0, self.shown - self.parsed)))
      self.parsed = self.parsed + #token.bytes
    end
  end
  self.waiting = {}
end

--- The mark that ended a job was a stop to the engine, which does not show it.
function turn:parse_mark()
  self:parse(table.remove(self.waiting))
end

--- A token of the answer: `logprob` of one that was generated, none of one that was put in.
function turn:take(id, logprob)
  local token = { id = id, logprob = logprob }
  self.ids[#self.ids + 1] = id
  self.made = self.made + 1
  if self.stop_ids[id] then
    self:parse(token, "")
  elseif not self.shown or not logprob then
    self:parse(token)
  else
    token.bytes = self.tokenizer:decode { id }
    self.waiting[#self.waiting + 1] = token
    self:parse_shown()
  end
end

-- {== Jobs =============================================================================================

--- Tokens that may still be generated, nil without a limit.
function turn:left()
  return self.max_tokens and self.max_tokens - self.made
end

local function smaller(a, b)
  return a and b and math.min(a, b) or a or b
end

--- What each job may generate, and where the turn goes when it has ended in another way than by a stop.
local phases = {}

function turn:start(phase)
  if self.cancelled then return self:answer("cancel") end
  local chosen = phases[phase].options(self)
  if self.deadline_ms then
    local spent = self.timing.prefill_ms + self.timing.decode_ms
    chosen.deadline_ms = math.max(0, math.floor(self.deadline_ms - spent))
  end
  local job, message, code = self.session:start(chosen)
  if not job then return self:fail(message, code) end
  self.phase, self.job = phase, job
  self.jobs[job] = true
end

function turn:hold(method, tokens)
  local held, message, code = self.session[method](self.session, tokens)
  if not held then self:fail(message, code) end
  return held
end

function turn:generation(max_tokens)
  local chosen = {}
  for name, value in pairs(self.sampling) do chosen[name] = value end
  chosen.max_tokens, chosen.seed, chosen.raw = max_tokens, self.seed or chosen.seed, self.shown and true or nil
  return chosen
end

phases.read = {
  options = function(self) return { max_tokens = 0, priority = self.sampling.priority } end,
  ended = function(self)
    if not self:hold("append", self.prompt:sub(-1)) then return end
    if not (self.budget and self.parser:reasoning()) then return self:start("answer") end
    if self.budget == 0 then return self:close_reasoning() end
    self:start("reason")
  end,
}

phases.reason = {
  options = function(self)
    local chosen = self:generation(smaller(self.budget, self:left()))
    local stop = { self.controls.end_think }
    for _, other in ipairs(chosen.stop or {}) do stop[#stop + 1] = other end
    chosen.stop = stop
    return chosen
  end,
  ended = function(self)
    if self:left() == 0 or self.session:room() == 0 then return self:answer("length") end
    if self.parser:reasoning() then return self:close_reasoning() end
    self:start("answer")
  end,
}

phases.answer = {
  options = function(self) return self:generation(self:left()) end,
  ended = function(self) self:answer("length") end,
}

--- The budget is spent: the reasoning is closed as the model would close it.
function turn:close_reasoning()
  if self:left() == 0 then return self:answer("length") end
  if not self:hold("append", { self.controls.end_think }) then return end
  self:take(self.controls.end_think)
  self:start("answer")
end

function turn:account(result)
  local usage, timing = self.usage, self.timing
  if self.phase == "read" then
    usage.cached, usage.read = result.usage.cached, #self.prompt - result.usage.cached
  end
  usage.reread = usage.reread + result.usage.reread
  for name, ms in pairs(result.timing) do timing[name] = timing[name] + ms end
  if self.phase ~= "read" then self.seed = result.seed end
end

--- What an event of a job means.
local meaning = {}

function meaning.prefill(self, event)
  if self.phase == "read" then self:push { type = "prefill", done = event.done, total = event.total } end
end

function meaning.token(self, event)
  if self.shown then self.shown = self.shown + #event.text end
  self:take(event.token, event.logprob)
end

function meaning.done(self, event)
  self.job:close()
  self.job = nil
  self:account(event)
  local reason = event.finish_reason
  local closed = self.phase == "reason" and self.ids[#self.ids] == self.controls.end_think
  if self.shown and self.phase ~= "read" then
    self.shown = self.shown + #event.tail
    self:parse_shown()
    if closed then self:parse_mark() end
  end
  if reason == "length" or reason == "stop" and closed then
    return phases[self.phase].ended(self)
  end
  self:answer(reason)
end

function meaning.error(self, event)
  self:fail(event.message, event.code)
end

-- {== The end =========================================================================================

--- The tokens without the one that ended them; none when a stop string cut them, for the text then says less.
function turn:kept_tokens()
  if self.cut then return nil end
  local tokens = core.tokens(self.ids)
  local last = tokens[#tokens]
  if last == self.controls.eos or self.stop_ids[last] then tokens = tokens:sub(1, -2) end
  return tokens
end

function turn:answer(reason)
  self:parse_rest()
  self:push_parsed(self.parser:finish(reason))
  local answer, message, code = self.parser:result()
  if not answer then return self:fail(message, code) end
  answer.usage, answer.timing, answer.logprob, answer.seed = self.usage, self.timing, self.logprob, self.seed
  answer.tokens = core.tokens(self.ids)
  answer.message = {
    role = "assistant", content = answer.text, reasoning = answer.reasoning ~= "" and answer.reasoning or nil,
    tool_calls = #answer.tool_calls > 0 and answer.tool_calls or nil, tokens = self:kept_tokens(),
  }
  answer.message.answer_at = answer.message.tokens and self.parser:answer_at()
  local event = { type = "done" }
  for name, value in pairs(answer) do event[name] = value end
  self.result = answer
  self:push(event)
end

function turn:fail(message, code)
  if self.job then self.job:close() end
  self.job = nil
  self:push { type = "error", message = message, code = code }
end

--- Ends the turn where it is; what it has not told is not told.
function turn:close()
  if self.job then self.job:close() end
  self.job, self.closed, self.events, self.first = nil, true, {}, 1
  self.finish(nil)
end

--- The turn counts once its last event is taken.
local last = {}

function last.done(self)
  self.closed, self.answered = true, self.result
  self.finish(self.answered)
end

function last.error(self)
  self:close()
end

--- The turn ends with what there is.
function turn:cancel()
  self.cancelled = true
  if self.job then self.job:cancel() end
end

metatable.__close = function(self)
  if not self.closed then self:close() end
end

--- The next event; nil after the last.
function turn:next()
  while self.first > #self.events do
    if self.closed then return nil end
    if not self.job then
      if self:hold("sync", self.prompt:sub(1, -2)) then self:start("read") end
    else
      local event = self.job:poll()
      if event then meaning[event.type](self, event) else self.wait(self.job, slice) end
    end
  end
  local event = self.events[self.first]
  self.events[self.first] = false
  self.first = self.first + 1
  if last[event.type] then last[event.type](self) end
  return event
end

return turn
