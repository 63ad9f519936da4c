--- A conversation with a model: messages, and the session that has read them.
-- The messages are the truth; the session only saves reading. Each turn renders all of them and the session keeps what
-- it has: so a turn that fails changes nothing, and whatever is done to the messages is right.
local encoding = require "moonseek.encoding"
local options = require "moonseek.options"
local room = require "moonseek.chat.room"
local turn = require "moonseek.chat.turn"

local module = { policies = require "moonseek.chat.policies" }
local chat = {}
local metatable = { __name = "moonseek.chat", __index = chat }

-- {== Options =========================================================================================

local sampling = {
  temperature = { type = "number" }, top_k = { type = "number" }, top_p = { type = "number" },
  min_p = { type = "number" }, seed = {}, repetition_penalty = { type = "number" },
  frequency_penalty = { type = "number" }, presence_penalty = { type = "number" }, logit_bias = { type = "table" },
  stop = { type = "table" }, priority = { type = "number" },
}

--- Options of every turn, which the chat's options preset.
local of_turn = {
  thinking = { type = "string" }, thinking_budget = { type = "number" }, max_tokens = { type = "number" },
  reserve = { type = "number" }, tools = { type = "table" }, on_full = { type = "function" },
  deadline_ms = { type = "number" }, on_event = { type = "function" },
}

local of_chat = {
  system = { type = "string" }, response_format = { type = "table" }, messages = { type = "table" },
  generation = { type = "string" }, drop_thinking = { type = "boolean" }, escape_tool_results = { type = "boolean" },
  strict = { type = "boolean", default = false }, context = { type = "number" },
}

for name, rule in pairs(sampling) do of_turn[name] = rule end
for name, rule in pairs(of_turn) do of_chat[name] = rule end

local from = { max_tokens = 1, thinking_budget = 0, reserve = 1 }

--- Refuses what the engine would not be asked before the turn is under way.
local function check_limits(what, given)
  for name, least in pairs(from) do
    local value = given[name]
    if value and (value < least or value % 1 ~= 0) then
      return nil, ("%s: option '%s' is %.14g: it must be a whole number from %d on"):format(what, name, value, least),
        "EINVAL"
    end
  end
  return true
end

--- The options of a turn: what is given, else what the chat has.
local function settings_of(self, what, given)
  local settings = options.read(what, given, of_turn)
  for name in pairs(of_turn) do
    if settings[name] == nil then settings[name] = self.options[name] end
  end
  local right, message, code = check_limits(what, settings)
  if not right then return nil, message, code end
  return settings
end

-- {== Messages ========================================================================================

local function copy(given)
  local made = {}
  for name, value in next, given do made[name] = value end
  return made
end

local function extended(list, more)
  local made = {}
  for i, message in ipairs(list) do made[i] = message end
  for _, message in ipairs(more) do made[#made + 1] = copy(message) end
  return made
end

--- A text, a message or a list of messages as a list.
local function messages_of(what, given)
  if type(given) == "string" then return { { role = "user", content = given } } end
  if type(given) ~= "table" then
    error(("%s: text, message or list of messages expected, got %s"):format(what, type(given)), 3)
  end
  local list = rawget(given, "role") ~= nil and { given } or given
  for i, message in ipairs(list) do
    if type(message) ~= "table" then
      error(("%s: message %d: table expected, got %s"):format(what, i, type(message)), 3)
    end
  end
  return list
end

--- With the system message at its head, which offers `tools`; without anything to say there is none.
local function with_head(self, list, tools)
  local chosen = self.options
  if tools and #tools == 0 then tools = nil end
  if not (chosen.system or tools or chosen.response_format) then return extended(list, {}) end
  local head = { role = "system", content = chosen.system, tools = tools, response_format = chosen.response_format }
  return extended({ head }, list)
end

local function tools_in(messages)
  local tools = {}
  for _, message in ipairs(messages) do
    if type(message.tools) == "table" then
      for _, tool in ipairs(message.tools) do tools[#tools + 1] = tool end
    end
  end
  return tools
end

--- One more than the highest number in the ids that were given to calls.
local function next_call(messages)
  local highest = 0
  for _, message in ipairs(messages) do
    for _, call in ipairs(type(message.tool_calls) == "table" and message.tool_calls or {}) do
      local number = type(call.id) == "string" and call.id:match("^call_(%d+)$")
      highest = math.max(highest, tonumber(number) or 0)
    end
  end
  return highest + 1
end

--- The tokens of a prompt.
local function prompt_of(self, messages, thinking)
  local chosen = self.options
  local pieces, message, code = encoding.pieces(messages, {
    thinking = thinking, generation = chosen.generation, drop_thinking = chosen.drop_thinking,
    escape_tool_results = chosen.escape_tool_results,
  })
  if not pieces then return nil, message, code end
  local tokens
  tokens, message, code = self.tokenizer:encode(pieces)
  if not tokens then return nil, message, code end
  return tokens
end

-- {== Turns ===========================================================================================

--- A stream that was left is ended by the next call; a turn that `send` waits for is not.
local function free(self)
  local running = self.running[1]
  if not running or running.closed then return true end
  if running.awaited then return nil, "the chat answers already", "EBUSY" end
  running:close()
  return true
end

--- An answer to `list` on a fork of the chat, of which nothing stays.
local function ask(self, list, turn_options)
  local fork, message, code = self:fork()
  if not fork then return nil, message, code end
  fork.list, fork.options.on_full, fork.options.on_event = list, nil, nil
  local answer
  answer, message, code = fork:continue(turn_options)
  fork:close()
  return answer, message, code
end

local function fit(self, list, settings)
  local function render(messages)
    return prompt_of(self, with_head(self, messages, settings.tools), settings.thinking)
  end
  local function ask_on_fork(messages, turn_options) return ask(self, messages, turn_options) end
  return room.fit(self.session, list, settings, render, ask_on_fork)
end

--- Begins to answer `list`, which becomes the chat's when the answer is there.
local function begin(self, what, list, given)
  local settings, message, code = settings_of(self, what, given)
  if not settings then return nil, message, code end
  local idle
  idle, message, code = free(self)
  if not idle then return nil, message, code end
  local prompt
  list, prompt, code = fit(self, list, settings)
  if not list then return nil, prompt, code end
  local chosen = {}
  for name in pairs(sampling) do chosen[name] = settings[name] end
  local begun = turn.new {
    session = self.session, tokenizer = self.tokenizer, prompt = prompt, strict = self.options.strict,
    tools = tools_in(with_head(self, list, settings.tools)), sampling = chosen, max_tokens = settings.max_tokens,
    thinking_budget = settings.thinking_budget, deadline_ms = settings.deadline_ms, first_call = next_call(list),
    finish = function(answer)
      self.running[1] = nil
      local whole = answer and answer.finish_reason ~= "cancel" and answer.finish_reason ~= "deadline"
      if whole then self.list = extended(list, { answer.message }) end
    end,
  }
  self.running[1] = begun
  return begun, settings.on_event
end

local function drain(begun, on_event)
  for event in begun.next, begun do
    if on_event then
      local ok, problem = pcall(on_event, event)
      if not ok then return nil, problem == nil and "on_event raised nil" or problem, "EHOOK" end
    end
    if event.type == "error" then return nil, event.message, event.code end
  end
  return begun.answered
end

local function complete(begun, on_event, code)
  if not begun then return nil, on_event, code end
  begun.awaited = true
  local ok, answer, message
  ok, answer, message, code = pcall(drain, begun, on_event)
  if not begun.closed then begun:close() end
  if not ok then error(answer, 0) end
  return answer, message, code
end

--- Answers a text, a message or several. An answer that was ended from outside is given, but not kept.
function chat:send(given, turn_options)
  local list = extended(self.list, messages_of("chat:send", given))
  return complete(begin(self, "chat:send", list, turn_options))
end

--- Answers what is there, for instance after tool messages were added.
function chat:continue(turn_options)
  return complete(begin(self, "chat:continue", self.list, turn_options))
end

--- As send, but iterates over the events; the last is "done" or "error". Leaving the loop ends the turn, of which
-- nothing stays.
function chat:stream(given, turn_options)
  local list = given == nil and self.list or extended(self.list, messages_of("chat:stream", given))
  local begun, message, code = begin(self, "chat:stream", list, turn_options)
  if not begun then return nil, message, code end
  local ended = false
  local function step()
    if ended then return nil end
    local event = begun:next()
    if not event then event = { type = "error", message = "the turn was ended before its end", code = "ECANCELED" } end
    ended = event.type == "done" or event.type == "error"
    return event
  end
  return step, nil, nil, begun
end

--- Ends the turn under way with what there is, from within on_event or a stream.
function chat:cancel()
  local running = self.running[1]
  if running then running:cancel() end
end

--- The messages, with the system message at the head, as a list of copies.
function chat:messages()
  return extended({}, with_head(self, self.list, self.options.tools))
end

--- Adds messages without answering them.
function chat:add(given)
  local list = extended(self.list, messages_of("chat:add", given))
  local right, message, code = free(self)
  if right then
    right, message, code = prompt_of(self, with_head(self, list, self.options.tools), self.options.thinking)
  end
  if not right then return nil, message, code end
  self.list = list
  return true
end

function chat:close()
  local running = self.running[1]
  if running then running:close() end
  if self.owns_session then self.session:close() end
end

metatable.__close = chat.close

-- {== Making ==========================================================================================

local function is_engine(object)
  local kind = type(object)
  return (kind == "userdata" or kind == "table") and type(object.session) == "function"
end

local function is_session(object)
  local kind = type(object)
  return (kind == "userdata" or kind == "table") and type(object.generate) == "function"
end

local function object(session, owns_session, tokenizer, given, list)
  return setmetatable({
    session = session, owns_session = owns_session, tokenizer = tokenizer, options = given, list = list,
    running = setmetatable({}, { __mode = "v" }), -- the turn under way
  }, metatable)
end

--- A second chat with the same messages and options, on a fork of the session; from there both go their own way.
function chat:fork()
  local idle, message, code = free(self)
  if not idle then return nil, message, code end
  local session
  session, message, code = self.session:fork()
  if not session then return nil, message, code end
  return object(session, true, self.tokenizer, copy(self.options), extended(self.list, {}))
end

--- A chat on `session`; `given` is options that were read.
local function new(session, owns_session, given)
  local tokenizer, message, code = session:tokenizer()
  if not tokenizer then return nil, message, code end
  local self = object(session, owns_session, tokenizer, given, {})
  local list = given.messages or {}
  given.messages = nil
  local added
  added, message, code = self:add(list)
  if not added then return nil, message, code end
  return self
end

--- A chat with a session of its own on an engine, or on a session that stays the caller's.
local function open(_, where, given)
  local chosen = options.read("moonseek.chat", given, of_chat)
  chosen.thinking = chosen.thinking or "off"
  if not is_engine(where) and not is_session(where) then
    error(("moonseek.chat: engine or session expected, got %s"):format(type(where)), 2)
  end
  local right, message, code = check_limits("moonseek.chat", chosen)
  if not right then return nil, message, code end
  if is_session(where) then return new(where, false, chosen) end
  local session
  session, message, code = where:session { context = chosen.context }
  if not session then return nil, message, code end
  local made
  made, message, code = new(session, true, chosen)
  if not made then session:close() end
  return made, message, code
end

return setmetatable(module, { __call = open })
