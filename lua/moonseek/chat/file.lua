--- Chats on the disk. `path` holds options and messages as JSON: they are the chat. `path`.session holds what the
-- session has read, which only saves reading: it is written first, and one that does not fit is read around. Each file
-- is replaced as a whole, so whatever a crash leaves is a chat, the old or the new.
local core = require "moonseek.core"
local json = require "moonseek.json"
local messages = require "moonseek.chat.messages"
local parser = require "moonseek.parser"
local settings = require "moonseek.chat.settings"
local template = require "moonseek.encoding.template"

local file = {}

local FORMAT, VERSION = "moonseek.chat", 1

-- Schemas keep the order of keys in which the model was shown them.
local writing = { python = true, first = template.schema_keys }

local function session_path(path) return path .. ".session" end

-- {== Writing =========================================================================================

local function stored_message(message)
  local stored = messages.copy(message)
  if stored.tokens then stored.tokens = stored.tokens:totable() end
  return stored
end

--- All options but functions, which a file cannot hold; token ids as texts, for they are keys of an object there.
local function stored_options(given)
  local stored = {}
  for name in pairs(settings.chat) do
    if type(given[name]) ~= "function" then stored[name] = given[name] end
  end
  if stored.logit_bias then
    local bias = {}
    for id, value in pairs(stored.logit_bias) do bias[tostring(id)] = value end
    stored.logit_bias = json.object()
    for id, value in pairs(bias) do stored.logit_bias[id] = value end
  end
  return stored
end

--- The rows of a copy that has read `tokens`; a session that cannot be saved has none.
local function save_rows(path, session, tokens)
  if type(session.save) ~= "function" then return true end
  local copy, message, code = session:fork()
  if not copy then return nil, message, code end
  local done
  done, message, code = copy:sync(tokens)
  if done then done, message, code = copy:save(session_path(path)) end
  copy:close()
  return done, message, code
end

function file.save(path, session, tokens, chat_options, list)
  local stored = {}
  for i, message in ipairs(list) do stored[i] = stored_message(message) end
  local text, message, code = json.encode(json.object {
    { "format", FORMAT }, { "version", VERSION }, { "context", session:position() + session:room() },
    { "options", stored_options(chat_options) }, { "messages", json.array(stored) },
  }, writing)
  if not text then return nil, ("%s: chat%s"):format(path, message), code end
  local done
  done, message, code = save_rows(path, session, tokens)
  if not done then return nil, message, code end
  return core.replace_file(path, text .. "\n")
end

-- {== Reading =========================================================================================

local function wrong(path, message, ...)
  return nil, ("%s: " .. message):format(path, ...), "EFORMAT"
end

local function read_text(path)
  local handle, message, number = io.open(path, "rb")
  if not handle then return nil, message, number == 2 and "ENOENT" or "EIO" end
  local text
  text, message = handle:read("*a")
  handle:close()
  if not text then return nil, ("%s: %s"):format(path, message or "cannot be read"), "EIO" end
  return text
end

--- The stored options, each of its type, for a file may have been written by anyone.
local function plain_options(path, stored)
  local plain = {}
  for name, value in next, stored do
    local rule = settings.chat[name]
    if not rule then return wrong(path, "unknown option '%s'", tostring(name)) end
    if rule.type == "function" or rule.type and type(value) ~= rule.type then
      return wrong(path, "option '%s' is a %s", name, type(value))
    end
    plain[name] = value
  end
  if plain.logit_bias then
    local bias = {}
    for id, value in next, plain.logit_bias do bias[tonumber(id) or id] = value end
    plain.logit_bias = bias
  end
  return plain
end

--- { options =, messages =, context = } of the file at `path`.
function file.read(path)
  local text, message, code = read_text(path)
  if not text then return nil, message, code end
  local value
  value, message = json.decode(text, { python = true })
  if value == nil then return wrong(path, "%s", message) end
  if json.type(value) ~= "object" or value.format ~= FORMAT then return wrong(path, "no saved chat") end
  if value.version ~= VERSION then
    return nil, ("%s: version %s of the format, this module knows %d"):format(path, tostring(value.version), VERSION),
      "EUNSUPPORTED"
  end
  if json.type(value.options) ~= "object" then return wrong(path, "options: object expected") end
  if json.type(value.messages) ~= "array" then return wrong(path, "messages: array expected") end
  for i, stored in ipairs(value.messages) do
    if json.type(stored) ~= "object" then return wrong(path, "message %d: object expected", i) end
  end
  if type(value.context) ~= "number" then return wrong(path, "context: number expected") end
  local chosen
  chosen, message, code = plain_options(path, value.options)
  if not chosen then return nil, message, code end
  local list = {}
  for i, stored in ipairs(value.messages) do list[i] = messages.copy(stored) end
  return { options = chosen, messages = list, context = value.context }
end

--- A session with the rows that were saved; or a new one, and why. `context` is asked for, else the saved one.
function file.load_session(path, engine, context, saved)
  local why = "the engine saves no sessions"
  if type(engine.load_session) == "function" then
    local session, message = engine:load_session(session_path(path), { context = context })
    if session then return session end
    why = message
  end
  local session, message, code = engine:session { context = context or saved }
  if not session then return nil, message, code end
  return session, "what the chat had read is read again: " .. why
end

--- Whether `tokens` say what the message says: those of another tokenizer do not.
local function says_the_same(message, tokens, tokenizer, tools)
  if not tokenizer:decode(tokens) then return false end
  local names = {}
  for _, call in ipairs(message.tool_calls or {}) do names[#names + 1] = call.malformed == nil and call.name or nil end
  for _, tool in ipairs(tools) do names[#names + 1] = tool end
  local reader = parser.new { tokenizer = tokenizer, thinking = message.answer_at ~= 1, tools = names }
  for i = 1, #tokens do reader:feed(tokens[i]) end
  reader:finish()
  local said = reader:result()
  local same = said.text == message.content and said.reasoning == (message.reasoning or "")
    and #said.tool_calls == #(message.tool_calls or {}) and reader:answer_at() == message.answer_at
  for i, call in ipairs(same and said.tool_calls or {}) do
    local other = message.tool_calls[i]
    same = same and call.name == other.name and call.arguments == other.arguments and call.raw == other.raw
  end
  return same
end

--- nil for what is no list of ids, as anyone may have written.
local function pack(list)
  local ok, packed = pcall(core.tokens, list)
  return ok and packed or nil
end

--- Packs the token lists of messages again; those that do not fit are left out, and the text counts.
function file.restore_tokens(list, tokenizer, tools)
  for _, message in ipairs(list) do
    if type(message.tokens) == "table" then
      local packed, ok, same = pack(message.tokens), nil, nil
      if packed and tokenizer then ok, same = pcall(says_the_same, message, packed, tokenizer, tools or {}) end
      message.tokens = ok and same and packed or nil
      message.answer_at = message.tokens and message.answer_at
    end
  end
end

return file
