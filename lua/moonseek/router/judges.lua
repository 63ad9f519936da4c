--- Ready-made judges: a choice between words before an answer is begun, and doubts about an answer that is there.
local encoding = require "moonseek.encoding"
local options = require "moonseek.options"

local judges = {}

local of_choose = {
  ask = { type = "function", required = true },
  choices = { type = "table", required = true },
  engine = { type = "string" },
  in_chat = { type = "boolean", default = false },
  generation = { type = "string" },
  margin = { type = "number", default = 0 },
  otherwise = {},
}

--- The question as messages, behind those of `chat` if there is one.
local function messages_of(question, chat)
  local list = chat and chat:messages() or {}
  list[#list + 1] = { role = "user", content = question }
  return list
end

--- How far the likeliest choice is ahead of the next one.
local function lead(sums, best)
  local margin = math.huge
  for i, sum in ipairs(sums) do
    if i ~= best then margin = math.min(margin, sums[best] - sum) end
  end
  return margin
end

--- Reads a question behind `session`'s tokens; the tokens that took, and which choice is the likeliest.
local function decide(session, pieces, chosen, deadline_ms)
  local held, message, code = session:sync(pieces)
  if not held then return nil, message, code end
  local result
  result, message, code = session:generate { max_tokens = 0, deadline_ms = deadline_ms }
  if not result then return nil, message, code end
  if result.finish_reason == "deadline" then return nil, "the question was not read in time", "EDEADLINE" end
  local best, sums
  best, sums, code = session:choose(chosen.choices)
  if not best then return nil, sums, code end
  return { best = best, sums = sums, read = result.usage.read }
end

--- A routine decision: a question whose answer is one of `choices`, decided by their probabilities after one short
-- read, on a fork: nothing is generated, and no session is changed. What the questions have in common at their
-- beginning is read once. Where the likeliest leads by less than `margin`, the verdict is `otherwise`.
function judges.choose(given)
  local chosen = options.read("moonseek.router.choose", given, of_choose)
  return function(request, place)
    local question = chosen.ask(request)
    if question == nil then return chosen.otherwise, {}, 0 end
    local chat = chosen.in_chat and request.chat or nil
    local pieces, message, code = encoding.pieces(messages_of(question, chat), { generation = chosen.generation })
    if not pieces then return nil, message, code end
    local session
    session, message, code = place:fork(chosen.engine, chat, chosen)
    if not session then return nil, message, code end
    local ok, decided
    ok, decided, message, code = pcall(decide, session, pieces, chosen, place.deadline_ms)
    local learnt = ok and decided and not chat and place:learn(chosen.engine, chosen, session) or 0
    session:close()
    if not ok then error(decided, 0) end
    if not decided then return nil, message, code end
    local margin, likeliest = lead(decided.sums, decided.best), chosen.choices[decided.best]
    local verdict = likeliest
    if margin < chosen.margin then verdict = chosen.otherwise end
    return verdict, { margin = margin, likeliest = likeliest }, decided.read + learnt
  end
end

-- {== Of an answer ====================================================================================

local of_unlikely = { least = { type = "number" }, least_mean = { type = "number" } }

--- Doubts an answer whose log-probability is below `least` in sum, or below `least_mean` a token.
function judges.unlikely(given)
  local chosen = options.read("moonseek.router.unlikely", given, of_unlikely)
  if not (chosen.least or chosen.least_mean) then
    error("moonseek.router.unlikely: option 'least' or 'least_mean' is missing", 2)
  end
  return function(answer)
    local mean = answer.logprob / math.max(1, answer.usage.answer)
    local unsure = chosen.least ~= nil and answer.logprob < chosen.least
      or chosen.least_mean ~= nil and mean < chosen.least_mean
    return unsure, { logprob = answer.logprob, mean = mean }
  end
end

local function equal_texts(a, b) return a.text == b.text end

local of_disagreement = {
  samples = { type = "number", default = 3 },
  agree = { type = "number", default = 1 },
  temperature = { type = "number", default = 1 },
  seed = {},
  same = { type = "function" },
}

--- Doubts an answer that less than the share `agree` of `samples` further answers repeat. It stops as soon as that is
-- decided.
function judges.disagreement(given)
  local chosen = options.read("moonseek.router.disagreement", given, of_disagreement)
  if chosen.samples < 1 or chosen.samples % 1 ~= 0 then
    error(("moonseek.router.disagreement: option 'samples' is %g: it must be a whole number from 1 on")
      :format(chosen.samples), 2)
  end
  local same = chosen.same or equal_texts
  return function(answer, again)
    local needed, agreed, taken = chosen.agree * chosen.samples, 0, 0
    for i = 1, chosen.samples do
      if agreed >= needed or agreed + chosen.samples - taken < needed then break end
      local seed = type(chosen.seed) == "number" and chosen.seed + i or chosen.seed
      local other = again { temperature = chosen.temperature, seed = seed }
      taken = i
      if other and same(answer, other) then agreed = agreed + 1 end
    end
    return agreed < needed, { agreed = agreed, samples = taken }
  end
end

return judges
