--- Tokens to answers while they stream: fed with (id, bytes), a parser tells reasoning, text and tool calls apart.
-- Control tokens are known by their ids, so the same characters typed as text stay text. Linear time, however the
-- stream is cut; nothing of it is run.
local block = require "moonseek.parser.block"
local characters = require "moonseek.parser.characters"
local findings = require "moonseek.parser.findings"
local options = require "moonseek.options"
local problem = require "moonseek.problem"
local prose = require "moonseek.parser.prose"
local strict = require "moonseek.parser.strict"
local template = require "moonseek.encoding.template"

local module = {}
local parser = {}
local metatable = { __name = "moonseek.parser", __index = parser }

local declared = {
  tokenizer = { required = true },        -- anything with its methods
  thinking = { type = "boolean", default = false },
  tools = { type = "table" },
  strict = { type = "boolean", default = false },
}

local function tool_name(tool)
  if type(tool) ~= "table" then return tool end
  local described = tool["function"]
  return (type(described) == "table" and described or tool).name
end

--- The set of the names of tools, given as names or as the encoder takes them.
local function names_of(tools)
  local names = {}
  for i, tool in ipairs(tools or {}) do
    local name = tool_name(tool)
    if type(name) ~= "string" then error(("moonseek.parser: tool %d has no name"):format(i), 3) end
    names[name] = true
  end
  return names
end

-- {== A parser ========================================================================================

--- A parser of one answer. `thinking`: the prompt ended with <think>. `tools`: those that were offered; without any,
-- nothing is taken for a call. `strict`: accepts what the official parser accepts and nothing else.
function module.new(given)
  local chosen = options.read("moonseek.parser", given, declared)
  local names, controls = names_of(chosen.tools), {}
  for _, name in ipairs { "bos", "eos", "think", "end_think", "dsml" } do
    local id = chosen.tokenizer:token(template.control[name])
    if id and (name ~= "bos" or chosen.strict) then controls[id] = name end
  end
  local out = findings.new(chosen.thinking)
  return setmetatable({
    tokenizer = chosen.tokenizer, controls = controls, tools = names, strict = chosen.strict, out = out,
    machine = chosen.strict and strict.new(out, chosen.thinking) or prose.new(out, chosen.thinking, names),
    held = "",       -- bytes that begin a character
    after = {},      -- what came after the end token
    ended = false,   -- whether that came
    cut = false,     -- whether the output ended within a call
    refused = nil,   -- why, by the strict form
    answer = nil,    -- the result, once finished
  }, metatable)
end

local function give_text(self, text)
  if text == "" then return end
  if self.ended and not self.strict then
    self.after[#self.after + 1] = text
    return
  end
  local opened, name, rest = self.machine:text(text)
  if not opened then return end
  self.machine = block.new(self.out, self.tools, name)
  if rest ~= "" then self.machine:text(rest) end
end

local function give_control(self, name)
  if self.strict then
    self.machine:control(name)
  elseif self.ended then
    self.after[#self.after + 1] = template.control[name]
  elseif name == "eos" then
    self.ended, self.cut = true, self.machine:finish()
  else
    self.machine:control(name)
  end
  if name == "eos" then self.ended = true end
end

local function flush_characters(self)
  local rest = characters.rest(self.held)
  self.held = ""
  give_text(self, rest)
end

local function take(self, id, bytes)
  local name = self.controls[id]
  if name then
    flush_characters(self)
    return give_control(self, name)
  end
  local text
  text, self.held = characters.take(self.held, bytes or self.tokenizer:decode { id })
  give_text(self, text)
end

local function finish(self)
  flush_characters(self)
  if self.strict then return self.machine:finish() end
  if not self.ended then self.cut = self.machine:finish() end
  if #self.after > 0 then self.out:drop(table.concat(self.after)) end
end

--- Runs a step; the first problem of the strict form ends it.
local function guarded(self, step, ...)
  self.out.events = {}
  if self.refused then return {} end
  local _, message = problem.catch("EFORMAT", step, self, ...)
  self.refused = message
  return self.out.events
end

--- Takes a token: its id, and its bytes if they are known already. Gives the list of events that it set free.
function parser:feed(id, bytes)
  if type(id) ~= "number" and (id ~= nil or bytes == nil) then
    error(("parser:feed: token id expected, got %s"):format(type(id)), 2)
  end
  if bytes ~= nil and type(bytes) ~= "string" then
    error(("parser:feed: string expected for bytes, got %s"):format(type(bytes)), 2)
  end
  if self.answer then error("parser:feed: the parser has finished", 2) end
  self.out.place = self.out.place + 1
  return guarded(self, take, id, bytes)
end

--- The output has ended, for this reason (of a generation's result). Gives the last events.
function parser:finish(reason)
  if self.answer then error("parser:finish: the parser has finished", 2) end
  local events = guarded(self, finish)
  local out = self.out
  reason = reason or (self.ended and "stop" or "length")
  local called = #out.calls > 0 and (not self.cut or reason == "stop")
  self.answer = {
    reasoning = table.concat(out.reasoning), text = table.concat(out.text), tool_calls = out.calls,
    finish_reason = called and "tool_calls" or reason, dropped = #out.dropped > 0 and out.dropped or nil,
  }
  return events
end

--- What was found, after finish; of output that the strict form refuses nil, the reason, "EFORMAT".
function parser:result()
  if not self.answer then error("parser:result: the parser has not finished", 2) end
  if self.refused then return nil, self.refused, "EFORMAT" end
  return self.answer
end

--- Whether what was fed so far ends within the reasoning.
function parser:reasoning()
  return self.machine:reasoning()
end

--- The place, among the ids that were fed, of the first one of the answer; 0 when the reasoning has no end token.
function parser:answer_at()
  return self.out.answer_at
end

return module
