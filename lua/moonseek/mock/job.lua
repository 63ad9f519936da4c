--- A mock's generation: its events fall due on a clock that only goes on while somebody waits, so no time is lost.
local core = require "moonseek.core"
local characters = require "moonseek.parser.characters"

local job = {}
job.__index = job

local result_meta = { __tostring = function(result) return result.text end }

--- `answer`: { ids = list, logprob = of each, error =, code =, stall =, cancel =, after = }: a fault comes after that
-- many of the ids.
function job.new(session, answer, options, token_ms)
  return setmetatable({
    session = session, answer = answer, options = options, token_ms = token_ms,
    clock = 0, due = 0,   -- milliseconds; when the next event is
    prompt = #session.ids, cached = session.read,
    ids = {}, made = 0,
    text = {},            -- what was shown,
    held = "",            -- bytes that begin a character, and
    waiting = "",         -- text that may begin a stop string
    done = false,         -- the last event is taken
  }, job)
end

--- What is left of an answer that was cut: the session goes on with it, unless it is changed.
local function keep_rest(self, reason)
  if self.options.max_tokens == 0 then return end
  local cut = (reason == "length" or reason == "stop") and self.made < #self.answer.ids
  self.session.rest = cut and { from = self.made + 1, at = #self.session.ids, answer = self.answer } or nil
end

local function finish(self, reason)
  keep_rest(self, reason)
  local tail = self.waiting .. characters.rest(self.held)
  self.text[#self.text + 1] = tail
  self.done, self.session.job = true, nil
  self.answered = setmetatable({
    text = table.concat(self.text), tokens = core.tokens(self.ids), finish_reason = reason,
    seed = self.options.seed or 0,
    usage = { prompt = self.prompt, cached = self.cached, read = self.prompt - self.cached, reread = 0,
              completion = self.made },
    timing = { prefill_ms = 0, decode_ms = self.clock },
  }, result_meta)
  local event = { type = "done", tail = tail }
  for name, value in pairs(self.answered) do event[name] = value end
  return event
end

local function fail(self, message, code)
  self.done, self.session.job = true, nil
  self.failure = { message, code }
  return { type = "error", message = message, code = code }
end

--- How many bytes at the end of `text` may begin `stop`.
local function begun(text, stop)
  for count = math.min(#stop - 1, #text), 1, -1 do
    if text:sub(-count) == stop:sub(1, count) then return count end
  end
  return 0
end

--- What can be shown of the text with `more` at its end: it ends before a stop string, and what may begin one waits.
local function take_text(self, more)
  local text, first, held = self.waiting .. more, nil, 0
  for _, stop in ipairs(self.options.stop or {}) do
    if type(stop) == "string" then
      local at = text:find(stop, 1, true)
      if at then first = math.min(first or at, at) end
      held = math.max(held, begun(text, stop))
    end
  end
  if first then self.reason, held = "stop", 0 end
  local shown = text:sub(1, first and first - 1 or #text - held)
  self.waiting = first and "" or text:sub(#shown + 1)
  self.text[#self.text + 1] = shown
  return shown
end

local function is_stop(self, id)
  for _, stop in ipairs(self.options.stop or {}) do
    if stop == id then return true end
  end
  return false
end

local function next_token(self)
  local session, id = self.session, self.answer.ids[self.made + 1]
  local position = #session.ids
  session.ids[position + 1] = id
  session.read = position + 1
  self.made = self.made + 1
  self.ids[self.made] = id
  local text = ""
  if id == session.eos or is_stop(self, id) then
    self.reason = "stop"
  else
    text = session.codec:decode { id }
    if not self.options.raw then text, self.held = characters.take(self.held, text) end
    text = take_text(self, text)
  end
  self.due = self.due + self.token_ms
  return { type = "token", token = id, position = position, text = text, logprob = self.answer.logprob or 0 }
end

--- What comes next, when it is due.
local function step(self)
  local answer, options = self.answer, self.options
  if self.session.read < self.prompt then
    self.session.read = self.prompt
    self.due = self.clock + self.token_ms
    return { type = "prefill", done = self.prompt - self.cached, total = self.prompt - self.cached }
  end
  if self.reason then return finish(self, self.reason) end
  if options.deadline_ms and self.clock >= options.deadline_ms then return finish(self, "deadline") end
  if self.made == (options.max_tokens or math.huge) or #self.session.ids == self.session.context then
    return finish(self, "length")
  end
  if answer.after and self.made >= answer.after then
    if answer.error then return fail(self, answer.error, answer.code or "EIO") end
    if answer.cancel then return finish(self, "cancel") end
    if answer.stall then return nil end
  end
  if self.made == #answer.ids then return finish(self, "stop") end
  return next_token(self)
end

--- Milliseconds until the next event: none for a stalled or paused job, but for its deadline.
local function due_in(self)
  if self.cancelled then return 0 end
  local answer, at = self.answer, self.due
  local stalled = answer.stall and self.made >= answer.after and self.session.read >= self.prompt
  if self.paused or stalled and not self.reason then at = math.huge end
  return math.min(at, self.options.deadline_ms or math.huge) - self.clock
end

function job.poll(self)
  if self.done then return nil end
  if self.cancelled then return finish(self, "cancel") end
  if due_in(self) > 0 then
    self.clock = self.clock + 1
    return nil
  end
  return step(self)
end

function job.wait(self, ms)
  if self.done then return true end
  local left = due_in(self)
  self.clock = self.clock + math.max(0, math.min(left, ms))
  return left <= ms
end

function job.cancel(self) self.cancelled = true end
function job.pause(self) self.paused = true end
function job.resume(self) self.paused = false end
function job.finished(self) return self.done end
function job.dirty(self) return not self.done and due_in(self) <= 0 end
function job.events() return "r" end
function job.timeout() return nil end

function job.result(self)
  if not self.done then return nil, "the job has not ended", "EBUSY" end
  if self.failure then return nil, self.failure[1], self.failure[2] end
  return self.answered
end

function job.close(self)
  if not self.done then finish(self, "cancel") end
end

function job.pollfd() return nil, "a mock has no descriptor", "EUNSUPPORTED" end
job.getfd = job.pollfd

return job
