--- An engine without weights, which answers from a script or a function, at a chosen pace, with faults on request: for
-- specifying what is built on engines. Its objects have the methods of engine, tokenizer, session and job that need no
-- arithmetic.
local core = require "moonseek.core"
local encoding = require "moonseek.encoding"
local job = require "moonseek.mock.job"
local options = require "moonseek.options"
local template = require "moonseek.encoding.template"
local byte_tokenizer = require "moonseek.mock.tokenizer"

local engine, session = {}, {}
local engine_meta = { __name = "moonseek.mock.engine", __index = engine }
local session_meta = { __name = "moonseek.mock.session", __index = session }

local any = {}
local generation = {}
for name in ("max_tokens temperature top_k top_p min_p seed repetition_penalty frequency_penalty presence_penalty "
  .. "logit_bias stop ignore_eos logprobs raw deadline_ms priority on_event"):gmatch("%S+") do
  generation[name] = any
end

local declared = {
  answers = { type = "table" },
  answer = { type = "function" },
  choose = { type = "function" },
  context = { type = "number", default = 65536 },
  token_ms = { type = "number", default = 0 },
}

local limits = { context = { 1, 2147483647 }, token_ms = { 0, 60000 } }

local function mock(given)
  local chosen = options.read("moonseek.mock", given, declared)
  for name, range in pairs(limits) do
    local value = chosen[name]
    if value % 1 ~= 0 or value < range[1] or value > range[2] then
      return nil, ("option '%s' is %g, allowed are %d to %d"):format(name, value, range[1], range[2]), "EINVAL"
    end
  end
  chosen.asked, chosen.codec = 0, byte_tokenizer.new()
  return setmetatable(chosen, engine_meta)
end

-- {== Engine

function engine:info()
  return { architecture = "mock", backend = "mock", context = self.context, vocabulary = #self.codec }
end

function engine:tokenizer() return self.codec end

function engine:session(given)
  local chosen = options.read("engine:session", given, { context = { type = "number", default = self.context } })
  if chosen.context < 1 or chosen.context > self.context then
    return nil, ("option 'context' is %g, allowed are 1 to %d"):format(chosen.context, self.context), "EINVAL"
  end
  return setmetatable({ engine = self, codec = self.codec, context = chosen.context, ids = {}, read = 0,
                        eos = self.codec:token(template.control.eos) }, session_meta)
end

function engine:close() self.closed = true end

-- {== What is answered

--- The ids of an answer: a text, pieces, or a message with content, reasoning and tool_calls.
local function ids_of(self, answer)
  local pieces = answer.pieces or answer[1] and answer
  local last = self.ids[#self.ids]
  if not pieces then
    local body = { role = "assistant", content = answer.content, tool_calls = answer.tool_calls, prefix = true }
    pieces = assert(encoding.pieces({ body }, { bos = false }))
    if last == self.codec:token(template.control.think) then
      table.insert(pieces, 1, { control = template.control.end_think })
      table.insert(pieces, 1, { text = answer.reasoning or "" })
    end
  end
  local ids = assert(self.codec:encode(pieces)):totable()
  ids[#ids + 1] = self.eos
  return ids
end

local function resolve(self, chosen)
  local made = self.engine
  made.asked = made.asked + 1
  local answer
  if made.answer then
    local prompt = self.codec:decode(self.ids)
    answer = made.answer { number = made.asked, prompt = prompt, session = self, options = chosen }
  else
    answer = (made.answers or {})[made.asked]
  end
  if answer == nil then
    return { ids = {}, error = ("the mock has no answer to request %d"):format(made.asked), code = "EINVAL", after = 0 }
  end
  if type(answer) == "string" then answer = { content = answer } end
  local ids = ids_of(self, answer)
  local at_fault = (answer.error or answer.stall or answer.cancel) and (answer.after or #ids - 1) or nil
  return { ids = ids, error = answer.error, code = answer.code, stall = answer.stall, cancel = answer.cancel,
           after = at_fault, logprob = answer.logprob }
end

--- The rest of an answer that was cut, if the session goes on where that was; </think> put in place of some reasoning
-- takes its place.
local function rest_of(self)
  local rest = self.rest
  local more = rest and #self.ids - rest.at
  if not rest or more > 1 then return nil end
  local answer, from, end_think = rest.answer, rest.from, self.codec:token(template.control.end_think)
  if more == 1 then
    if self.ids[#self.ids] ~= end_think then return nil end
    while answer.ids[from] and answer.ids[from] ~= end_think do from = from + 1 end
    from = answer.ids[from] and from + 1 or rest.from
  end
  local left = {}
  for name, value in pairs(answer) do left[name] = value end
  left.ids, left.after = {}, answer.after and math.max(0, answer.after - from + 1)
  for place = from, #answer.ids do left.ids[#left.ids + 1] = answer.ids[place] end
  return left
end

-- {== Session

local function busy(self)
  return self.job and not self.job:finished()
end

local function hold(self, ids)
  if #ids > self.context then
    return nil, ("%d tokens are more than the context of %d"):format(#ids, self.context), "ECTXFULL"
  end
  local same = 0
  while same < #ids and ids[same + 1] == self.ids[same + 1] do same = same + 1 end
  if same < #self.ids then self.rest = nil end
  self.ids, self.read = ids, math.min(self.read, same)
  return #ids
end

local function take(self, tokens, ids)
  if busy(self) then return nil, "the session is busy", "EBUSY" end
  local more, message, code = self.codec:encode(tokens)
  if not more then return nil, message, code end
  for i = 1, #more do ids[#ids + 1] = more[i] end
  return hold(self, ids)
end

function session:sync(tokens) return take(self, tokens, {}) end

function session:append(tokens) return take(self, tokens, core.tokens(self.ids):totable()) end

function session:rewind(position)
  if busy(self) then return nil, "the session is busy", "EBUSY" end
  if position < 0 or position > #self.ids then
    return nil, ("position is %d, allowed are 0 to %d"):format(position, #self.ids), "EINVAL"
  end
  return hold(self, core.tokens(self.ids):sub(1, position):totable())
end

function session:fork()
  if busy(self) then return nil, "the session is busy", "EBUSY" end
  local copy = {}
  for name, value in pairs(self) do copy[name] = value end
  copy.ids, copy.job = self:tokens():totable(), nil
  return setmetatable(copy, session_meta)
end

function session:position() return #self.ids end

function session:room() return self.context - #self.ids end

function session:tokenizer() return self.codec end

function session:tokens() return core.tokens(self.ids) end

function session:close()
  if self.job then self.job:close() end
end

function session:start(given)
  local chosen = options.read("session:start", given, generation)
  if busy(self) then return nil, "the session is busy", "EBUSY" end
  local answer = chosen.max_tokens == 0 and { ids = {} } or rest_of(self) or resolve(self, chosen)
  self.job = job.new(self, answer, chosen, self.engine.token_ms)
  return self.job
end

local function next_event(running)
  while not running:finished() do
    local event = running:poll()
    if event then return event end
    running:wait(1000)
  end
end

--- A stall without a deadline would be waited for without end.
local function check_end(running)
  if running.answer.stall and not running.options.deadline_ms then
    running:close()
    error("a stalled answer is waited for without a deadline", 3)
  end
end

function session:generate(given)
  local running, message, code = self:start(given)
  if not running then return nil, message, code end
  check_end(running)
  local on_event = running.options.on_event
  for event in next_event, running do
    local ok, problem = true, nil
    if on_event then ok, problem = pcall(on_event, event) end
    if not ok then
      running:close()
      return nil, problem, "EHOOK"
    end
  end
  return running:result()
end

function session:stream(given)
  local running, message, code = self:start(given)
  if not running then return nil, message, code end
  check_end(running)
  return function() return next_event(running) end
end

--- The place that the option `choose` gives of the request and the choices, else the first.
function session:choose(choices)
  if busy(self) then return nil, "the session is busy", "EBUSY" end
  local choose = self.engine.choose
  local best, sums = choose and choose({ prompt = self.codec:decode(self.ids), session = self }, choices) or 1, {}
  for i = 1, #choices do sums[i] = i == best and -0.1 or -10 end
  self.read = #self.ids
  return best, sums
end

--- Keeps the policy; it changes nothing, and no layer counts.
function session:routing(policy)
  if policy == nil then return self.policy end
  if busy(self) then return nil, "the session is busy", "EBUSY" end
  self.policy = next(policy) ~= nil and policy or nil
  return true
end

function session:routing_stats() return { tokens = self.read, layers = {} } end

local function no_logits() return nil, "a mock has no logits", "EUNSUPPORTED" end

session.logits, session.score = no_logits, no_logits

return mock
