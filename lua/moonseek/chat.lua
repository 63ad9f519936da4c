--- A conversation with a model: messages, and the session that has read them.
-- The messages are the truth; the session only saves reading. Each turn renders all of them, and the session keeps what
-- it has of that: so a turn that fails changes nothing, and whatever is done to the messages is right.
local encoding = require "moonseek.encoding"
local file = require "moonseek.chat.file"
local messages = require "moonseek.chat.messages"
local room = require "moonseek.chat.room"
local settings = require "moonseek.chat.settings"
local template = require "moonseek.encoding.template"
local turn = require "moonseek.chat.turn"

local module = { policies = require "moonseek.chat.policies" }
local chat = {}
local metatable = { __name = "moonseek.chat", __index = chat }

-- {== Prompts =========================================================================================

local function with_head(self, list, tools)
  local head = messages.head(self.options.system, tools, self.options.response_format)
  return head and messages.extended({ head }, list) or list
end

--- The tokens of a prompt.
local function tokens_of(self, list, thinking)
  local chosen = self.options
  local pieces, message, code = encoding.pieces(list, {
    thinking = thinking, generation = chosen.generation, drop_thinking = chosen.drop_thinking,
    escape_tool_results = chosen.escape_tool_results,
  })
  if not pieces then return nil, message, code end
  local tokens
  tokens, message, code = self.tokenizer:encode(pieces)
  if not tokens then return nil, message, code end
  return tokens
end

--- The list with an answer at its end left open, so that the model goes on where it ends.
local function opened(list)
  local last = list[#list]
  if not last or last.role ~= "assistant" then return list end
  local open = messages.copy(last)
  open.prefix = true
  return messages.extended(list, { open }, #list - 1)
end

--- How many of a prompt's tokens belong to the answer that it leaves open.
local function begun_answer(self, list, prompt)
  if #list == 0 or list[#list].role ~= "assistant" then return 0 end
  local assistant = self.tokenizer:token(template.control.assistant)
  for place = #prompt, 1, -1 do
    if prompt[place] == assistant then return #prompt - place - 1 end
  end
  return 0
end

-- {== Turns ===========================================================================================

--- Ends the turn under way, also a stream that was left and that the collector took without having closed its job yet.
local function end_turn(self)
  local running = self.running[1]
  if running and not running.closed then running:close() end
  for job in pairs(self.jobs) do job:close() end
end

--- A stream that was left is ended by the next call; a turn that `send` waits for is not.
local function free(self)
  local running = self.running[1]
  if running and running.awaited and not running.closed then return nil, "the chat answers already", "EBUSY" end
  end_turn(self)
  return true
end

--- An answer to `list` on a fork of the chat, of which nothing stays; waited for as the turn that asks is.
local function ask(self, list, turn_options, wait)
  local fork, message, code = self:fork()
  if not fork then return nil, message, code end
  fork.list, fork.options.on_full, fork.options.on_event, fork.options.wait = list, nil, nil, wait
  local answer
  answer, message, code = fork:continue(turn_options)
  fork:close()
  return answer, message, code
end

local function fit(self, list, chosen)
  return room.fit(self.session, list, chosen, function(some)
    return tokens_of(self, with_head(self, some, chosen.tools), chosen.thinking)
  end, function(some, turn_options) return ask(self, some, turn_options, chosen.wait) end)
end

local function keep(self, list, answer)
  local whole = answer.finish_reason ~= "cancel" and answer.finish_reason ~= "deadline"
  if not whole then return end
  local before = #list > 0 and list[#list].role == "assistant" and #list - 1 or #list
  self.list = messages.extended(list, { answer.message }, before)
end

--- Begins to answer `list`, which becomes the chat's when the answer is there. With on_event.
local function begin(self, what, list, given)
  local chosen, message, code = settings.of_turn(what, given, self.options)
  if not chosen then return nil, message, code end
  local idle
  idle, message, code = free(self)
  if not idle then return nil, message, code end
  local prompt
  list, prompt, code = fit(self, opened(list), chosen)
  if not list then return nil, prompt, code end
  local sampling = {}
  for name in pairs(settings.sampling) do sampling[name] = chosen[name] end
  local begun = turn.new {
    session = self.session, tokenizer = self.tokenizer, prompt = prompt, begun = begun_answer(self, list, prompt),
    strict = self.options.strict, tools = messages.tools(with_head(self, list, chosen.tools)), sampling = sampling,
    max_tokens = chosen.max_tokens, thinking_budget = chosen.thinking_budget, deadline_ms = chosen.deadline_ms,
    first_call = messages.next_call(list), wait = chosen.wait, jobs = self.jobs,
    finish = function(answer)
      self.running[1] = nil
      if answer then keep(self, list, answer) end
    end,
  }
  self.running[1] = begun
  return begun, chosen.on_event
end

local function drain(begun, on_event)
  for event in begun.next, begun do
    if on_event then
      local ok, problem = pcall(on_event, event)
      if not ok then return nil, problem == nil and "on_event raised nil" or problem, "EHOOK" end
    end
    if event.type == "error" then return nil, event.message, event.code end
  end
  if not begun.answered then return nil, "the chat was closed", "ECANCELED" end
  return begun.answered
end

--- Waits for a turn. Whatever ends it, also an error that a debug hook raises, the chat is free again; what on_event
-- raises undoes the turn.
local function complete(self, begun, on_event, code)
  if not begun then return nil, on_event, code end
  local before = self.list
  begun.awaited = true
  local ok, answer, message
  ok, answer, message, code = pcall(drain, begun, on_event)
  if not begun.closed then begun:close() end
  if not ok or not answer then self.list = before end
  if not ok then error(answer, 0) end
  return answer, message, code
end

--- Answers a text, a message or several. An answer that was ended from outside is given, but not kept.
function chat:send(given, turn_options)
  local list = messages.extended(self.list, messages.of("chat:send", given))
  return complete(self, begin(self, "chat:send", list, turn_options))
end

--- Answers what is there, for instance after tool messages were added; an answer at the end goes on where it ends.
function chat:continue(turn_options)
  return complete(self, begin(self, "chat:continue", self.list, turn_options))
end

--- As send, but iterates over the events; the last is "done" or "error". Leaving the loop ends the turn, of which
-- nothing stays.
function chat:stream(given, turn_options)
  local list = given == nil and self.list or messages.extended(self.list, messages.of("chat:stream", given))
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

--- Answers again what the last answer answered, which is thrown away; without a seed another one is drawn.
function chat:retry(turn_options)
  local place = messages.last(self.list, "assistant")
  if place == 0 then return nil, "chat:retry: there is no answer yet", "EINVAL" end
  return complete(self, begin(self, "chat:retry", messages.extended(self.list, {}, place - 1), turn_options))
end

--- Puts a text, a message or several in place of what the user said last, and of all that followed, and answers it.
function chat:edit(given, turn_options)
  local more, place = messages.of("chat:edit", given), messages.last(self.list, "user")
  if place == 0 then return nil, "chat:edit: the user has said nothing yet", "EINVAL" end
  return complete(self, begin(self, "chat:edit", messages.extended(self.list, more, place - 1), turn_options))
end

-- {== Messages ========================================================================================

--- The messages, with the system message at the head, as a list of copies.
function chat:messages()
  return messages.extended({}, with_head(self, self.list, self.options.tools))
end

--- Makes `list` the chat's if it can be encoded.
local function replace(self, list)
  local right, message, code = free(self)
  if right then
    right, message, code = tokens_of(self, with_head(self, list, self.options.tools), self.options.thinking)
  end
  if not right then return nil, message, code end
  self.list = list
  return true
end

--- Adds messages without answering them.
function chat:add(given)
  return replace(self, messages.extended(self.list, messages.of("chat:add", given)))
end

--- Keeps the first `count` messages, counted as chat:messages shows them; the system message at the head always stays.
function chat:rewind(count)
  if type(count) ~= "number" or count % 1 ~= 0 then
    error(("chat:rewind: number of messages expected, got %s"):format(tostring(count)), 2)
  end
  local all = #with_head(self, self.list, self.options.tools)
  local head = all - #self.list
  if count < head or count > all then
    return nil, ("chat:rewind: %d messages can be kept, from %d to %d"):format(count, head, all), "EINVAL"
  end
  return replace(self, messages.extended(self.list, {}, count - head))
end

-- {== Making, saving, closing =========================================================================

local function object(session, owns_session, tokenizer, given, list)
  return setmetatable({
    session = session, owns_session = owns_session, tokenizer = tokenizer, options = given, list = list,
    running = setmetatable({}, { __mode = "v" }), -- the turn under way
    jobs = setmetatable({}, { __mode = "k" }),    -- of turns: a key stays until its finaliser has run
  }, metatable)
end

--- A second chat with the same messages and options, on a fork of the session; from there both go their own way.
function chat:fork()
  local idle, message, code = free(self)
  if not idle then return nil, message, code end
  local session
  session, message, code = self.session:fork()
  if not session then return nil, message, code end
  return object(session, true, self.tokenizer, messages.copy(self.options), messages.extended(self.list))
end

--- What the session has to hold so that a next turn of the user finds all before it read: no reasoning that is dropped.
local function settled(self)
  local answered = #self.list > 0 and self.list[#self.list].role == "assistant"
  local list = answered and messages.extended(self.list, { { role = "user", content = "" } }) or self.list
  local tokens, message, code = tokens_of(self, with_head(self, list, self.options.tools), self.options.thinking)
  if not tokens then return nil, message, code end
  return tokens:sub(1, answered and -4 or -2) -- without <｜User｜><｜Assistant｜><think>, or without the last of them
end

--- Writes the chat to `path`, and what its session has read beside it.
function chat:save(path)
  if type(path) ~= "string" then error(("chat:save: path expected, got %s"):format(type(path)), 2) end
  local idle, message, code = free(self)
  if not idle then return nil, message, code end
  local tokens
  tokens, message, code = settled(self)
  if not tokens then return nil, message, code end
  return file.save(path, self.session, tokens, self.options, self.list)
end

function chat:close()
  end_turn(self)
  if self.owns_session then self.session:close() end
end

metatable.__close = chat.close

local function has(where, method)
  local kind = type(where)
  return (kind == "userdata" or kind == "table") and type(where[method]) == "function"
end

--- A chat on `session` with options that were read.
local function on_session(session, owns_session, chosen)
  local tokenizer, message, code = session:tokenizer()
  if not tokenizer then return nil, message, code end
  local list = chosen.messages or {}
  chosen.messages = nil
  local made = object(session, owns_session, tokenizer, chosen, {})
  local right
  right, message, code = replace(made, messages.extended({}, messages.of("moonseek.chat", list)))
  if not right then return nil, message, code end
  return made
end

--- As on_session with a session of the chat's own, which is closed when there can be no chat.
local function on_own_session(session, chosen)
  local ok, made, message, code = pcall(on_session, session, true, chosen)
  if not (ok and made) then session:close() end
  if not ok then error(made, 0) end
  return made, message, code
end

--- A chat with a session of its own on an engine, or on a session that stays the caller's.
local function new(_, where, given)
  local chosen, message, code = settings.of_chat("moonseek.chat", given)
  if not has(where, "session") and not has(where, "generate") then
    error(("moonseek.chat: engine or session expected, got %s"):format(type(where)), 2)
  end
  if not chosen then return nil, message, code end
  if has(where, "generate") then return on_session(where, false, chosen) end
  local session
  session, message, code = where:session { context = chosen.context }
  if not session then return nil, message, code end
  return on_own_session(session, chosen)
end

--- The chat that was saved at `path`; `given` goes before the options that were saved. If what its session had read
-- cannot be used, it is read again at the next turn, and a second result says why.
function module.load(engine, path, given)
  if not has(engine, "session") then
    error(("moonseek.load_chat: engine expected, got %s"):format(type(engine)), 2)
  end
  if type(path) ~= "string" then error(("moonseek.load_chat: path expected, got %s"):format(type(path)), 2) end
  local saved, message, code = file.read(path)
  if not saved then return nil, message, code end
  local chosen
  chosen, message, code = settings.of_chat("moonseek.load_chat", given, saved.options)
  if not chosen then return nil, message, code end
  chosen.messages = chosen.messages or saved.messages
  local session
  session, message, code = file.load_session(path, engine, given and given.context, saved.context)
  if not session then return nil, message, code end
  local note = message
  local made
  file.restore_tokens(chosen.messages, session:tokenizer(), chosen.tools)
  made, message, code = on_own_session(session, chosen)
  if not made then return nil, message, code end
  return made, note
end

return setmetatable(module, { __call = new })
