--- What a session must hold, from its definition: a new session of another engine reads the same tokens under the same
-- expert policies from the beginning, and nothing else ever happens to it.
local plan = require "spec.algebra.plan"

local Replay = {}
Replay.__index = Replay

function Replay.new(engine)
  return setmetatable({ engine = engine, known = {}, count = 0 }, Replay)
end

--- A new session of `context` that has read `held`, token i under the policy rows[i].
function Replay:session(held, rows, context)
  local session = assert(self.engine:session { context = context })
  local from = 1
  while from <= #held do
    local policy, part = rows[from], {}
    while from <= #held and rows[from] == policy do
      part[#part + 1] = held[from]
      from = from + 1
    end
    assert(session:routing(plan.policies[policy]))
    assert(session:append(part))
    assert(session:generate { max_tokens = 0 })
  end
  return session
end

local function remember(self, key, value)
  if self.count == 512 then self.known, self.count = {}, 0 end
  self.known[key], self.count = value, self.count + 1
  return value
end

--- The logits after the last token, as bytes.
function Replay:logits(held, rows)
  local key = table.concat(held, " ") .. ":" .. table.concat(rows)
  if self.known[key] then return self.known[key] end
  local session = self:session(held, rows, #held)
  local bytes = assert(session:logits()):bytes()
  session:close()
  return remember(self, key, bytes)
end

--- The tokens that `options` generate behind `held` under `policy`, and why they end.
function Replay:generate(held, rows, policy, options, context)
  local session = self:session(held, rows, context)
  assert(session:routing(plan.policies[policy]))
  local result = assert(session:generate(options))
  session:close()
  return result.tokens:totable(), result.finish_reason
end

--- The log-probability of each of `ids` behind `held`: each is forced to be drawn, and its event tells.
function Replay:score(held, rows, policy, ids)
  local session, scores = self:session(held, rows, #held + #ids), {}
  assert(session:routing(plan.policies[policy]))
  for i, id in ipairs(ids) do
    assert(session:generate { max_tokens = 1, temperature = 0, repetition_penalty = 1, logit_bias = { [id] = 10000 },
      ignore_eos = true,
      on_event = function(event) if event.type == "token" then scores[i] = event.logprob end end })
  end
  session:close()
  return scores
end

return Replay
