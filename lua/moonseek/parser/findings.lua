--- What a parser's machines find: pieces of reasoning and text, calls, and what was dropped; each an event too.
local findings = {}
findings.__index = findings

function findings.new(thinking)
  return setmetatable({
    events = {}, -- of the call that runs
    reasoning = {}, text = {}, calls = {}, dropped = {},
    place = 0,   -- of the id that is read
    answer_at = thinking and 0 or 1, -- where the answer begins, 0 within the reasoning
  }, findings)
end

local function push(self, event)
  self.events[#self.events + 1] = event
end

function findings:part(kind, text)
  local parts = self[kind]
  parts[#parts + 1] = text
  push(self, { type = kind, text = text })
end

function findings:open_reasoning()
  self.answer_at = 0
end

--- By its token the answer begins after it; a call within the reasoning closes it without one.
function findings:close_reasoning(by_token)
  if by_token then self.answer_at = self.place + 1 end
end

function findings:delta(index, name, text)
  push(self, { type = "call_delta", index = index, name = name, arguments = text })
end

function findings:call(call)
  self.calls[#self.calls + 1] = call
  push(self, { type = "call", index = call.index, call = call })
end

function findings:drop(text)
  self.dropped[#self.dropped + 1] = text
end

return findings
