--- A chat that answers from the trace of an agent, without a model; unless tools are given, the calls have the results
-- of the trace, too.
local recording = {}

local chat = {}
local metatable = { __name = "moonseek.agent.recording", __index = chat }

--- A chat that begins as the traced one did. `outcomes`: whether calls have their results from the trace.
function recording.chat(records, outcomes)
  local self = setmetatable({ records = records, outcomes = outcomes, place = 1, list = {}, forks = 0 }, metatable)
  self:add(records[1].messages)
  return self
end

--- The next record behind `place` of these types that concerns this branch.
local function following(self, place, types)
  for i = place + 1, #self.records do
    local record = self.records[i]
    if types[record.type] and (record.branch == nil or record.branch == self.branch) then return record, i end
  end
end

function chat:messages()
  local list = {}
  for i, message in ipairs(self.list) do list[i] = message end
  return list
end

function chat:add(given)
  for _, message in ipairs(given.role and { given } or given) do self.list[#self.list + 1] = message end
  return true
end

function chat:continue()
  local record, place = following(self, self.place, { answer = true })
  if not record then return nil, "the trace has no further answer", "EINVAL" end
  self.place = place
  if record.message then self.list[#self.list + 1] = record.message end
  return { text = record.text, reasoning = record.reasoning, tool_calls = record.tool_calls or {},
    finish_reason = record.finish_reason, usage = record.usage, logprob = record.logprob }
end

--- The n-th fork of a chat is the n-th branch of the trace.
function chat:fork()
  local _, place = following(self, self.place, { branch = true })
  if not place then return nil, "the trace has no further branches", "EINVAL" end
  self.forks = self.forks + 1
  return setmetatable({ records = self.records, outcomes = self.outcomes, place = place, list = self:messages(),
    forks = 0, branch = self.forks }, metatable)
end

function chat:cancel() self.cancelled = true end

function chat:close() self.closed = true end

-- {== What an agent asks ==============================================================================

function recording.active(current)
  return getmetatable(current) == metatable and current.outcomes
end

--- What became of the calls of the last answer: the records of their intents and results, in order.
function recording.outcomes(current)
  local types = { intent = true, result = true, answer = true, run = true, ["end"] = true }
  local list = {}
  local record, place = following(current, current.place, types)
  while record and (record.type == "intent" or record.type == "result") do
    list[#list + 1] = record
    record, place = following(current, place, types)
  end
  return list
end

--- Why the traced run ended here; nil where it went on.
function recording.reason(current)
  if not recording.active(current) then return nil end
  local record = following(current, current.place, { answer = true, ["end"] = true, run = true })
  return record and record.type == "end" and record.finish_reason or nil
end

--- A run begins: the next task of the trace, nil when there is none.
function recording.next_task(current)
  if getmetatable(current) ~= metatable then return nil end
  local record, place = following(current, current.place, { run = true })
  current.place = place or #current.records
  if record and record.messages then
    current.list = {}
    current:add(record.messages)
  end
  return record and record.task
end

return recording
