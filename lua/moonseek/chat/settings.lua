--- The options of chats and of their turns.
local options = require "moonseek.options"

local settings = {}

--- Those that a turn hands on to session:start.
settings.sampling = {
  temperature = { type = "number" }, top_k = { type = "number" }, top_p = { type = "number" },
  min_p = { type = "number" }, seed = {}, repetition_penalty = { type = "number" },
  frequency_penalty = { type = "number" }, presence_penalty = { type = "number" }, logit_bias = { type = "table" },
  stop = { type = "table" }, priority = { type = "number" },
}

--- Those of a turn, which the chat's options preset.
settings.turn = {
  thinking = { type = "string" }, thinking_budget = { type = "number" }, max_tokens = { type = "number" },
  reserve = { type = "number" }, tools = { type = "table" }, on_full = { type = "function" },
  deadline_ms = { type = "number" }, on_event = { type = "function" }, wait = { type = "function" },
}

settings.chat = {
  system = { type = "string" }, response_format = { type = "table" }, messages = { type = "table" },
  generation = { type = "string" }, drop_thinking = { type = "boolean" }, escape_tool_results = { type = "boolean" },
  strict = { type = "boolean" }, context = { type = "number" },
}

for name, rule in pairs(settings.sampling) do settings.turn[name] = rule end
for name, rule in pairs(settings.turn) do settings.chat[name] = rule end

--- What is whole, and from where on; the session sees to the rest.
local least = { max_tokens = 1, thinking_budget = 0, reserve = 1 }

local function check(what, read)
  for name, from in pairs(least) do
    local value = read[name]
    if value and not (value >= from and value % 1 == 0) then
      return nil, ("%s: option '%s' is %.14g: it must be a whole number from %d on"):format(what, name, value, from),
        "EINVAL"
    end
  end
  return read
end

--- Options of a chat as they were given; `preset` stands for those that were not.
function settings.of_chat(what, given, preset)
  local read = options.read(what, given, settings.chat)
  for name, value in pairs(preset or {}) do
    if read[name] == nil then read[name] = value end
  end
  if read.thinking == nil then read.thinking = "off" end
  return check(what, read)
end

--- Options of a turn: what is given, else what the chat has.
function settings.of_turn(what, given, chat_options)
  local read = options.read(what, given, settings.turn)
  for name in pairs(settings.turn) do
    if read[name] == nil then read[name] = chat_options[name] end
  end
  return check(what, read)
end

return settings
