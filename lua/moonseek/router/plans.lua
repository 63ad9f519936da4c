--- Plans: how a request is answered.
local options = require "moonseek.options"

local plans = {
  chat = "chat",   -- the engine's name that stands for the chat of a request
}

local number, text, list, flag = { type = "number" }, { type = "string" }, { type = "table" }, { type = "boolean" }

--- Of a chat that is made for the request.
plans.of_chat = {
  context = number, system = text, response_format = list, generation = text, drop_thinking = flag,
  escape_tool_results = flag, strict = flag,
}

--- Of the turn.
plans.of_turn = {
  thinking = text, thinking_budget = number, max_tokens = number, reserve = number, tools = list, temperature = number,
  top_k = number, top_p = number, min_p = number, seed = {}, repetition_penalty = number, frequency_penalty = number,
  presence_penalty = number, logit_bias = list, stop = list, priority = number, deadline_ms = number,
}

local declared = {
  engine = {},        -- a name, or names in the order in which they are tried
  experts = list,     -- for session:routing
  budget = list,
  escalate = list,
}

for _, part in ipairs { plans.of_chat, plans.of_turn } do
  for name, rule in pairs(part) do declared[name] = rule end
end

local of_budget = { tokens = number, ms = number, cpu_seconds = number }
local of_escalate = { when = { type = "function", required = true }, plan = { type = "table", required = true } }

--- A checked copy of a plan; what is wrong is raised at `level`.
function plans.read(what, given, level)
  level = level + 1
  local plan = options.read(what, given, declared, level)
  local kind = type(plan.engine)
  if kind ~= "nil" and kind ~= "string" and kind ~= "table" then
    error(("%s: option 'engine': name or list of names expected, got %s"):format(what, kind), level - 1)
  end
  if plan.budget then plan.budget = options.read(what .. ": budget", plan.budget, of_budget, level) end
  if plan.escalate then
    plan.escalate = options.read(what .. ": escalate", plan.escalate, of_escalate, level)
    plan.escalate.plan = plans.read(what .. ": escalate", plan.escalate.plan, level)
  end
  return plan
end

--- The engines that a plan names, in the order in which they are tried; nil when it names none.
function plans.engines(plan)
  if type(plan.engine) == "string" then return { plan.engine } end
  return plan.engine
end

--- `plan`, and from `defaults` what it does not say.
function plans.over(defaults, plan)
  local made = {}
  for name, value in pairs(defaults) do made[name] = value end
  for name, value in pairs(plan) do made[name] = value end
  return made
end

--- The plan that a doubtful answer's plan goes over to.
function plans.escalated(plan)
  local made = plans.over(plan, plan.escalate.plan)
  made.escalate = plan.escalate.plan.escalate
  return made
end

--- The values of `plan` that `part`, of_chat or of_turn, names.
function plans.part(plan, part)
  local made = {}
  for name in pairs(part) do made[name] = plan[name] end
  return made
end

return plans
