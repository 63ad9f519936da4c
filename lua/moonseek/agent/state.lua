--- Where a run stands: what follows from the records of its trace, one after the other. A run under way and one that is
-- resumed from a file come to the same state in the same way.
--
-- state.phase: "answer" (the model's turn), "calls" (its answer is in hand), nil (nothing is under way).
local state = {}

local apply = {}

local function append(list, more)
  for _, one in ipairs(more or {}) do list[#list + 1] = one end
end

local function add_usage(sum, usage)
  for name, count in next, usage or {} do
    if type(count) == "number" then sum[name] = (sum[name] or 0) + count end
  end
end

--- A new agent: the messages that its chat held.
function apply.agent(self, record)
  append(self.messages, record.messages)
end

--- A task. `messages`: what the chat holds, where others changed it since the last run.
function apply.run(self, record)
  if record.messages then
    self.messages = {}
    append(self.messages, record.messages)
  end
  append(self.messages, record.task)
  self.phase, self.round, self.made, self.at = "answer", 0, 0, 0
  self.usage, self.options, self.calls, self.answer, self.result = {}, record.options, {}, nil, nil
end

function apply.answer(self, record)
  self.messages[#self.messages + 1] = record.message
  self.round, self.answer, self.phase = record.round, record, "calls"
  add_usage(self.usage, record.usage)
  self.calls = {}
  for i, call in ipairs(record.tool_calls or {}) do
    local copy = {}
    for name, value in next, call do copy[name] = value end
    self.calls[i] = copy
  end
end

function apply.intent(self, record)
  self.made = self.made + 1
  state.call(self, record.id).begun = true
end

--- The messages of a turn's results follow its last one, in the order of the calls.
function apply.result(self, record)
  state.call(self, record.id).result = record.content
  for _, call in ipairs(self.calls) do
    if not call.result then return end
  end
  for _, call in ipairs(self.calls) do
    self.messages[#self.messages + 1] = { role = "tool", tool_call_id = call.id, content = call.result }
  end
  self.phase = "answer"
end

apply["end"] = function(self, record)
  self.phase, self.result = nil, record
end

function apply.resume() end

--- The branches follow; each begins as a copy.
function apply.branch(self)
  self.branches = {}
end

--- The branches are over; one of them is the run from here on, or none.
function apply.adopt(self, record)
  local chosen = record.adopted and self.branches[record.adopted]
  self.branches = nil
  for name in next, chosen and self or {} do self[name] = nil end
  for name, value in next, chosen or {} do self[name] = value end
end

local function copy(self)
  local made = {}
  for name, value in next, self do made[name] = value end
  made.messages, made.branches = {}, nil
  append(made.messages, self.messages)
  return made
end

-- {== What an agent asks ===============================================================================

function state.new()
  return { messages = {}, calls = {}, usage = {}, round = 0, made = 0, at = 0 }
end

--- The state that a record of this branch concerns; nil: of no branch.
function state.of(self, branch)
  if not branch then return self end
  self.branches[branch] = self.branches[branch] or copy(self)
  return self.branches[branch]
end

function state.call(self, id)
  for _, call in ipairs(self.calls) do
    if call.id == id then return call end
  end
  error("no call has the id " .. tostring(id), 0)
end

--- Whether `apply` takes a record of this type.
function state.knows(kind)
  return apply[kind] ~= nil
end

function state.apply(self, record)
  local concerned = state.of(self, record.branch)
  apply[record.type](concerned, record)
  concerned.at = record.at or concerned.at
end

return state
