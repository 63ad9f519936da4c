--- What an agent does: asks its model, makes the calls, and writes each step down before the next. Where a run stands
-- follows from the records alone (state.lua).
local calls = require "moonseek.agent.calls"
local core = require "moonseek.core"
local json = require "moonseek.json"
local problem = require "moonseek.problem"
local recording = require "moonseek.agent.recording"
local state = require "moonseek.agent.state"
local tools = require "moonseek.agent.tools"

local work = {}

local fail, try = problem.fail, problem.try

local SLICE = 50      -- ms that C sleeps, so that a hook of the host runs in between

--- Calls a hook of the user's; what it raises ends the run.
function work.call_hook(name, hook, ...)
  local ok, first, second = pcall(hook, ...)
  if ok then return first, second end
  fail(("%s: %s"):format(name, tools.raised(first)), "EHOOK")
end

-- {== Records ======================================================================================

--- A message as a record holds it: tokens as a list.
local function plain(message)
  local copy = {}
  for name, value in next, message do copy[name] = value end
  if copy.tokens then copy.tokens = json.array(core.tokens(copy.tokens):totable()) end
  return copy
end

function work.plain_list(messages)
  local list = {}
  for i, message in ipairs(messages) do list[i] = plain(message) end
  return json.array(list)
end

--- A message of a record as a chat takes it.
local function packed(message)
  local copy = {}
  for name, value in next, message do copy[name] = value end
  if copy.tokens then copy.tokens = core.tokens(copy.tokens) end
  return copy
end

local function now(self)
  return math.floor(self.shared.clock() - self.started + 0.5)
end

--- Writes a record, and only then lets it be so. What on_step raises ends the run at its next safe place.
function work.record(self, kind, fields)
  fields.type, fields.branch, fields.at = kind, self.variant, now(self)
  local shared = self.shared
  if shared.journal then try(shared.journal:write(fields)) end
  shared.trace[#shared.trace + 1] = fields
  state.apply(shared.root, fields)
  if not shared.on_step then return end
  local ok, raised = pcall(shared.on_step, fields)
  if not ok then shared.raised = tools.raised(raised) end
end

function work.state_of(self)
  return state.of(self.shared.root, self.variant)
end

--- Gives the chat the messages that it has not, those of calls that were made.
function work.bring_along(self)
  local messages = work.state_of(self).messages
  while self.given < #messages do
    try(self.current:add(packed(messages[self.given + 1])))
    self.given, self.held = self.given + 1, self.held + 1
  end
end

-- {== A turn of the model ==========================================================================

--- The smaller of two limits, either of which may be missing.
local function least(a, b)
  if a and b then return math.min(a, b) end
  return a or b
end

--- The tokens that the model made in a run.
local function generated(usage)
  return (usage.reasoning or 0) + (usage.answer or 0)
end

local function wait_for_job(job, ms) job:wait(ms) end

--- How a turn of a branch waits: the others go on meanwhile. `wait` is how all wait, when none can go on.
local function side_by_side(self, wait)
  return function(job)
    if self.shared.cancelled then self.current:cancel() end
    self.pause { job = job, wait = wait or wait_for_job }
  end
end

local function turn_options(self, given)
  local shared, chosen = self.shared, {}
  for name, value in next, work.state_of(self).options or {} do chosen[name] = value end
  for name, value in next, given do chosen[name] = value end
  local budget, usage, on_event = shared.budget, work.state_of(self).usage, chosen.on_event
  chosen.tools = shared.offered
  chosen.max_tokens = least(chosen.max_tokens, budget.tokens and budget.tokens - generated(usage))
  chosen.deadline_ms = least(chosen.deadline_ms, budget.ms and math.max(1, budget.ms - now(self)))
  function chosen.on_event(event)
    if shared.cancelled then self.current:cancel() end
    if on_event then on_event(event) end
  end
  if self.pause then chosen.wait = side_by_side(self, chosen.wait) end
  return chosen
end

--- The calls of an answer with ids, which tell them apart.
local function identified(round, list)
  local made = {}
  for i, call in ipairs(list or {}) do
    made[i] = { id = call.id or ("%d_%d"):format(round, i), name = call.name, arguments = call.arguments,
      malformed = call.malformed, message = call.message, raw = call.raw }
  end
  return json.array(made)
end

--- JSON has no other numbers.
local function finite(number)
  return number and number - number == 0 and number or nil
end

--- One answer of the model. The chat keeps it, unless it was ended from outside.
local function ask(self, given)
  work.bring_along(self)
  local round = work.state_of(self).round + 1
  local answer = try(self.current:continue(turn_options(self, given)))
  local messages = self.current:messages()
  local kept = messages[#messages].role == "assistant"
  self.held = #messages
  if kept then self.given = self.given + 1 end
  work.record(self, "answer", {
    round = round, message = kept and plain(messages[#messages]) or nil,
    text = answer.text, reasoning = answer.reasoning,
    tool_calls = kept and identified(round, answer.tool_calls) or nil, finish_reason = answer.finish_reason,
    usage = answer.usage, logprob = finite(answer.logprob),
  })
end

-- {== The calls of a turn ==========================================================================

function work.finish_call(self, call, status, content)
  work.record(self, "result", { round = work.state_of(self).round, id = call.id, name = call.name, status = status,
    content = content })
end

--- Every call that has no result gets this one.
function work.leave_calls(self, reason)
  for _, call in ipairs(work.state_of(self).calls) do
    if not call.result then work.finish_call(self, call, "not_run", "Error: the call was not made: " .. reason) end
  end
end

function work.unknown(call)
  return ("call %s of '%s' was begun and its end is not known: "):format(call.id, call.name)
end

local function begin_call(self, call)
  work.record(self, "intent", { round = work.state_of(self).round, id = call.id, name = call.name,
    arguments = call.arguments })
end

--- A call as hooks and tools see it.
function work.described(call, arguments, round, branch)
  return { id = call.id, name = call.name, arguments = arguments, round = round, branch = branch }
end

--- What stands against a call, in words, and the result's status; else its tool and arguments.
local function judge(self, call, admitted_before)
  local shared = self.shared
  local tool, arguments, status = tools.prepare(shared.tools, call)
  if not tool then return nil, arguments, status end
  local budget = shared.budget.calls
  if budget and work.state_of(self).made + admitted_before >= budget then
    return nil, ("the call was not made: %d calls are allowed, and they are used up"):format(budget), "not_run"
  end
  if shared.approve then
    local allowed, reason = work.call_hook("approve", shared.approve,
      work.described(call, arguments, work.state_of(self).round, self.variant))
    if not allowed then
      return nil, "the call was refused" .. (type(reason) == "string" and ": " .. reason or ""), "refused"
    end
  end
  return tool, arguments
end

--- Those calls of the turn that are to be made. The others have their results then.
local function admitted(self)
  local items, at = {}, work.state_of(self)
  for _, call in ipairs(at.calls) do
    if not call.result then
      if call.begun then fail(work.unknown(call) .. "resume the run from its file", "ETOOL") end
      local tool, arguments, status = judge(self, call, #items)
      if tool then
        items[#items + 1] = { tool = tool, arguments = arguments,
          call = work.described(call, arguments, at.round, self.variant) }
      else
        work.finish_call(self, call, status, "Error: " .. arguments)
      end
    end
  end
  return items
end

--- The calls have the results that the trace says.
local function take_outcomes(self)
  local at = work.state_of(self)
  for _, record in ipairs(recording.outcomes(self.current)) do
    local call = state.call(at, record.id)
    if record.type == "intent" then begin_call(self, call)
    else work.finish_call(self, call, record.status, record.content) end
  end
  if at.phase == "calls" then fail("the trace ends within the calls of a turn", "EINVAL") end
end

local function sleep(ms)
  local clock = core.clock
  local over = clock() + ms
  while clock() < over do core.sleep(math.min(SLICE, over - clock())) end
end

--- What waiting needs: host.wait is the user's, host.sleep stands in for it.
function work.host(self)
  local shared = self.shared
  return { clock = shared.clock, cancelled = function() return shared.cancelled end, sleep = sleep,
    wait = shared.wait and function(...) work.call_hook("wait", shared.wait, ...) end }
end

local function make_calls(self)
  local items, shared, host = admitted(self), self.shared, work.host(self)
  local function pause(ms, yielded) self.pause { ms = ms, yielded = yielded } end
  calls.run({
    clock = shared.clock, parallel = shared.parallel, timeout_ms = shared.timeout_ms, max_result = shared.max_result,
    deadline = shared.budget.ms and self.started + shared.budget.ms or math.huge,
    cancelled = host.cancelled,
    wait = self.pause and pause or host.wait or host.sleep,
    begin = function(call) begin_call(self, state.call(work.state_of(self), call.id)) end,
    finish = function(call, status, content) work.finish_call(self, call, status, content) end,
  }, items)
end

-- {== A run ========================================================================================

--- Why the run ends here, before the model is asked again.
local function spent(self)
  local budget, at = self.shared.budget, work.state_of(self)
  if self.shared.cancelled then return "cancel" end
  if budget.ms and now(self) >= budget.ms then return "deadline" end
  if budget.tokens and generated(at.usage) >= budget.tokens then return "tokens" end
  if at.round >= self.shared.max_rounds then return "max_rounds" end
end

local reasons = {
  cancel = "the run was cancelled", deadline = "the time of the run is over",
  tokens = "the tokens of the run are used up", max_rounds = "the rounds of the run are used up",
}

local function finish(self, reason)
  local at = work.state_of(self)
  local answer = at.answer or {}
  work.record(self, "end", { finish_reason = reason, text = answer.text or "", reasoning = answer.reasoning or "",
    rounds = at.round, calls = at.made, usage = at.usage, logprob = answer.logprob, ms = now(self) })
end

--- Takes the next step: asks the model, makes its calls, or ends the run.
local step = {}

function step.answer(self, given)
  local reason = recording.reason(self.current) or spent(self)
  if reason then return finish(self, reason) end
  ask(self, given)
end

--- Why a run ends whose last answer is in hand.
local function ending(self, answer)
  if answer.finish_reason == "length" then return spent(self) == "tokens" and "tokens" or "length" end
  return answer.finish_reason
end

function step.calls(self)
  local at = work.state_of(self)
  if not at.answer.message or #at.calls == 0 then return finish(self, ending(self, at.answer)) end
  if recording.active(self.current) then return take_outcomes(self) end
  if not spent(self) then make_calls(self) end
  if at.phase == "calls" then work.leave_calls(self, reasons[spent(self)]) end
end

function work.result_of(at)
  local result = {}
  for name, value in next, at.result do result[name] = value end
  result.type, result.at, result.branch = nil, nil, nil
  return result
end

local function check_raised(shared)
  local message = shared.raised
  shared.raised = nil
  if message then fail("on_step: " .. message, "EHOOK") end
end

--- Goes on until the run has ended.
local function go_on(self, given)
  while work.state_of(self).phase do
    check_raised(self.shared)
    step[work.state_of(self).phase](self, given)
  end
  work.bring_along(self)
  check_raised(self.shared)
  return work.result_of(work.state_of(self))
end

local function messages_of(task)
  if type(task) == "string" then return { { role = "user", content = task } } end
  return task.role ~= nil and { task } or task
end

--- What JSON can hold of the options of a run, so that a resumed one has them.
local function kept_options(given)
  local kept = {}
  for name, value in next, given do
    if json.encode { value } then kept[name] = value end
  end
  return kept
end

--- Whatever was under way is given up, so that the chat is a whole one.
function work.settle(self)
  if work.state_of(self).phase == "calls" then work.leave_calls(self, "the run was given up") end
  work.bring_along(self)
end

local function begin(self, task, given)
  work.settle(self)
  self.started = self.shared.clock()
  local list, changed = messages_of(task), nil
  if #self.current:messages() ~= self.held then changed = work.plain_list(self.current:messages()) end
  for _, message in ipairs(list) do try(self.current:add(message)) end
  work.record(self, "run", { task = work.plain_list(list), messages = changed, options = kept_options(given) })
  self.given, self.held = #work.state_of(self).messages, #self.current:messages()
end

--- Works on a task, or goes on with what is under way; without either, the last result again.
function work.run(self, task, given)
  local at = work.state_of(self)
  local recorded = (task or not at.phase) and recording.next_task(self.current)
  if task or recorded then
    begin(self, task or recorded, given)
  elseif at.phase then
    self.started = self.shared.clock() - at.at
  elseif not at.result then
    fail("there is no run to go on with: give a task", "EINVAL")
  end
  return go_on(self, given)
end

return work
