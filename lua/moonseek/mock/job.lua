--- A mock's generation: its events fall due on a clock that only goes on while somebody waits, so no time is lost.
local core = require "moonseek.core"
local characters = require "moonseek.parser.characters"

local job = {}
job.__index = job

local result_meta = { __tostring = function(result) return result.text end }

--- `answer`: { ids = list, error =, code =, stall =, cancel =, after = }: a fault comes after that many of the ids.
function job.new(session, answer, options, token_ms)
  return setmetatable({
    session = session, answer = answer, options = options, token_ms = token_ms,
    clock = 0, due = 0,   -- milliseconds; when the next event is
    prompt = #session.ids, cached = session.read,
    ids = {}, text = {}, held = "", made = 0,
    done = false,         -- the last event is taken
  }, job)
end

local function finish(self, reason)
  local tail = characters.rest(self.held)
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

--- The text, cut before the first stop string; whether there was one, or the id is a stop.
local function stopped(self, id)
  for _, stop in ipairs(self.options.stop or {}) do
    if stop == id then return true end
    if type(stop) == "string" then
      local whole = table.concat(self.text)
      local first = whole:find(stop, 1, true)
      if first then
        self.text = { whole:sub(1, first - 1) }
        return true
      end
    end
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
  if id == session.eos then
    self.reason = "stop"
  else
    text, self.held = characters.take(self.held, session.codec:decode { id })
    self.text[#self.text + 1] = text
    if stopped(self, id) then self.reason = "stop" end
  end
  self.due = self.due + self.token_ms
  return { type = "token", token = id, position = position, text = text, logprob = 0 }
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
