--- How a plan is carried out: its engines in order, its budget, and what follows from doubts about the answer.
local new_chat = require "moonseek.chat"
local plans = require "moonseek.router.plans"
local records = require "moonseek.router.record"

local work = {}

-- {== Measures and budgets ============================================================================

--- The work for one request: what it has spent, and of which budget.
local run = {}
run.__index = run

function work.begin(router, record, request)
  return setmetatable({
    router = router, record = record, request = request, plan = router.defaults,
    ms = router.clock(), cpu = os.clock(),   -- when it began
    opened = {},                             -- chats that were made for it
  }, run)
end

function run:measure()
  return records.begin(self.router.clock, { self.record.cost, self.router.total })
end

local function smaller(a, b)
  return a and b and math.min(a, b) or a or b
end

--- What is left of a budget: milliseconds, or tokens to generate. Nil without a limit.
function run:left_ms()
  local limit = (self.plan.budget or {}).ms
  return limit and math.max(0, math.floor(limit - (self.router.clock() - self.ms)))
end

function run:left_tokens()
  local limit = (self.plan.budget or {}).tokens
  return limit and limit - self.record.cost.generated
end

function run:cpu_is_spent()
  local limit = (self.plan.budget or {}).cpu_seconds
  return limit ~= nil and os.clock() - self.cpu >= limit
end

--- Says which budget is spent; nil while none is.
function run:spent()
  local budget = self.plan.budget or {}
  if (self:left_ms() or 1) <= 0 then return ("the budget of %g ms is spent"):format(budget.ms) end
  if (self:left_tokens() or 1) <= 0 then return ("the budget of %g tokens is spent"):format(budget.tokens) end
  if self:cpu_is_spent() then return ("the budget of %g CPU-seconds is spent"):format(budget.cpu_seconds) end
end

--- The engine of a name; an unknown one is a mistake in a plan.
local function engine_of(router, name)
  return router.engines[name] or error(("moonseek.router: no engine is called '%s'"):format(tostring(name)), 0)
end

-- {== Where judges ask ================================================================================

--- Where a judge asks that names no engine.
local function first_engine(router)
  for _, name in ipairs(plans.engines(router.defaults) or {}) do
    if name ~= plans.chat then return name end
  end
  return router.only or error("moonseek.router: a judge names no engine, and there are several", 0)
end

--- An empty session of an engine, kept to be forked.
local function empty_of(router, name)
  name = name or first_engine(router)
  local base = router.bases[name]
  if base then return base end
  local made, message, code = engine_of(router, name):session { context = router.defaults.context }
  if not made then return nil, message, code end
  router.bases[name] = made
  return made
end

--- How many ids two lists begin with in common, of `most`.
local function in_common(a, b, most)
  for i = 1, most do
    if a[i] ~= b[i] then return i - 1 end
  end
  return most
end

--- A session that has read `ids`; nil where it cannot, and then whole questions are read.
local function reader_of(router, name, ids)
  local base = empty_of(router, name)
  local made = base and base:fork()
  if not made then return nil end
  local result = made:sync(ids) and made:generate { max_tokens = 0 }
  if result then return made, result.usage.read end
  made:close()
end

--- What a judge is given: place:fork(engine's name [, chat]) is a session of its own, place.deadline_ms what is left.
-- With a key of the judge, fork gives a session that has read what the judge's questions begin with.
function work.place(router)
  local place = {}
  function place.fork(_, name, chat, judge)
    if chat then return chat.session:fork() end
    local beginning = judge and router.beginnings[judge]
    if beginning and beginning.session then return beginning.session:fork() end
    local base, message, code = empty_of(router, name)
    if not base then return nil, message, code end
    return base:fork()
  end

  --- What all questions of a judge began with until now is read once more, to be forked. The tokens that took.
  function place.learn(_, name, judge, session)
    local ids, known = session:tokens(), router.beginnings[judge]
    if not known then
      router.beginnings[judge] = { ids = ids, count = #ids }
      return 0
    end
    local count = in_common(known.ids, ids, math.min(known.count, #ids))
    if count == known.count and known.session then return 0 end
    if known.session then known.session:close() end
    known.count = count
    local read
    known.session, read = reader_of(router, name, known.ids:sub(1, count))
    return read or 0
  end
  return place
end

-- {== One try =========================================================================================

--- The chat in which engine `name` answers. The messages of the request's own chat go with it to another engine.
function run:chat_on(name, plan)
  local own = self.request.chat
  if name == plans.chat then
    if not own then return nil, "the request has no chat", "EINVAL" end
    return own
  end
  local chosen = plans.part(plan, plans.of_chat)
  if own then chosen.messages, chosen.system, chosen.response_format = own:messages(), nil, nil end
  local chat, message, code = new_chat(engine_of(self.router, name), chosen)
  if not chat then return nil, message, code end
  self.opened[#self.opened + 1] = chat
  return chat
end

--- Sets the plan's expert policy; what to call at the end, which gives what was counted meanwhile.
local function use_experts(chat, plan)
  if not plan.experts then return function() end end
  local session = chat.session
  local before, counted = session:routing(), session:routing_stats()
  local set, message, code = session:routing(plan.experts)
  if not set then return nil, message, code end
  return function()
    local stats = session:routing_stats()
    stats.tokens = stats.tokens - counted.tokens
    for layer, experts in pairs(stats.layers) do
      for expert, count in pairs(experts) do experts[expert] = count - counted.layers[layer][expert] end
    end
    session:routing(before or {})
    return stats
  end
end

--- The options of a turn, within what is left of the budget.
function run:turn_options(chat, plan, try)
  local chosen = plans.part(plan, plans.of_turn)
  chosen.deadline_ms = smaller(chosen.deadline_ms, self:left_ms())
  chosen.max_tokens = smaller(chosen.max_tokens, self:left_tokens())
  local on_event = self.on_event
  local limited = (self.plan.budget or {}).cpu_seconds
  if on_event or limited then
    chosen.on_event = function(event)
      if limited and not try.cut and self:cpu_is_spent() then
        try.cut = true
        chat:cancel()
      end
      if on_event then on_event(event, try) end
    end
  end
  return chosen
end

--- One turn of `chat`, in the record: `turn(chat, options)` begins it. What was served, or nil, message, code.
function run:attempt(chat, plan, name, why, turn)
  local try = { engine = name, why = why, thinking = plan.thinking or "as the chat" }
  self.record.tries[#self.record.tries + 1] = try
  local stop = self:measure()
  local done, message, code = use_experts(chat, plan)
  local answer
  if done then
    answer, message, code = turn(chat, self:turn_options(chat, plan, try))
    try.experts = done()
  end
  local usage = answer and answer.usage or { read = 0, reasoning = 0, answer = 0 }
  try.cost = stop(usage.read, usage.reasoning + usage.answer)
  if not answer then
    try.error, try.code = message, code
    return nil, message, code
  end
  if try.cut and answer.finish_reason == "cancel" then answer.finish_reason = "deadline" end
  try.finish_reason, try.logprob = answer.finish_reason, answer.logprob
  return { answer = answer, chat = chat, name = name, try = try, plan = plan }
end

local function names_of(self, plan)
  return plans.engines(plan) or { self.request.chat and plans.chat or self.router.only
    or error("moonseek.router: the plan names no engine, and there are several", 0) }
end

--- Whether an answer was not ended from outside: a chat keeps such ones only.
local function whole(served)
  local reason = served.answer.finish_reason
  return reason ~= "deadline" and reason ~= "cancel"
end

local function send(messages)
  return function(chat, chosen) return chat:send(messages, chosen) end
end

local function retry(chat, chosen) return chat:retry(chosen) end

--- Tries the plan's engines in order, until one answers in time.
function run:serve(plan, why)
  local names = names_of(self, plan)
  local served, message, code
  for i, name in ipairs(names) do
    local spent = self:spent()
    if spent then
      if i == 1 then return nil, spent .. " before an answer was begun", "EDEADLINE" end
      break
    end
    local chat
    chat, message, code = self:chat_on(name, plan)
    if chat then
      served, message, code = self:attempt(chat, plan, name, why, send(self.request.messages))
      if served and served.answer.finish_reason ~= "deadline" or code == "EHOOK" then break end
    else
      self.record.tries[#self.record.tries + 1] = { engine = name, why = why, thinking = plan.thinking, error = message,
                                                    code = code, cost = records.nothing() }
    end
    why = "instead of " .. name
  end
  return served, message, code
end

-- {== Doubts ==========================================================================================

--- Whether the plan's judge doubts what was served; further answers to the same that it asks for are counted.
function run:doubts(served)
  local stop, read, generated = self:measure(), 0, 0
  local function again(changes)
    local fork, message, code = served.chat:fork()
    if not fork then return nil, message, code end
    local ok, other
    local chosen = plans.over(plans.part(served.plan, plans.of_turn), changes or {})
    ok, other, message, code = pcall(fork.retry, fork, chosen)
    fork:close()
    if not ok then error(other, 0) end
    if not other then return nil, message, code end
    read, generated = read + other.usage.read, generated + other.usage.reasoning + other.usage.answer
    return other
  end
  local try = served.try
  try.unsure, try.figures = served.plan.escalate.when(served.answer, again, self.request)
  try.unsure = try.unsure and true or false
  try.judging = stop(read, generated)
  return try.unsure
end

--- A better answer under the plan for doubtful ones; nil where there is none in time, and then the first one is kept.
function run:escalate(served)
  local plan = plans.escalated(served.plan)
  local why = self:spent()
  if why then
    served.try.kept = why
    return nil
  end
  self.plan = plan
  local better, message
  local stays = served.plan.escalate.plan.engine == nil or names_of(self, plan)[1] == served.name
  if stays and plan.experts == served.plan.experts then
    better, message = self:attempt(served.chat, plan, served.name, "escalated", retry)
  else
    if stays then plan.engine = served.name end
    better, message = self:serve(plan, "escalated")
  end
  if better and whole(better) then return better end
  served.try.kept = better and "the other was ended by " .. better.answer.finish_reason or tostring(message)
  return nil
end

-- {== The answer ======================================================================================

--- The request's own chat gets question and answer that another engine made; ids of another model stay behind.
function run:keep_in_chat(served, first)
  local chat, message = self.request.chat, served.answer.message
  if not chat or served.chat == chat or not whole(served) then return true end
  local kept = { role = "assistant", content = message.content, reasoning = message.reasoning,
                 tool_calls = message.tool_calls }
  if first.chat == chat then                       -- it holds the question, and the answer that was doubted
    local back, problem, code = chat:rewind(#chat:messages() - 1)
    if not back then return nil, problem, code end
    return chat:add(kept)
  end
  local list = {}
  for i, given in ipairs(self.request.messages) do list[i] = given end
  list[#list + 1] = kept
  return chat:add(list)
end

function run:work()
  local first, message, code = self:serve(self.plan, "answered")
  if not first then return nil, message, code end
  local served = first
  while served.plan.escalate and whole(served) and self:doubts(served) do
    local better = self:escalate(served)
    if not better then break end
    served = better
  end
  local kept
  kept, message, code = self:keep_in_chat(served, first)
  if not kept then return nil, message, code end
  return served.answer
end

--- Answers as the plan says; whatever is raised, the chats that were made for it are closed.
function run:answer(on_event)
  self.on_event = on_event
  local ok, answer, message, code = pcall(self.work, self)
  for _, chat in ipairs(self.opened) do chat:close() end
  if not ok then error(answer, 0) end
  return answer, message, code
end

return work
