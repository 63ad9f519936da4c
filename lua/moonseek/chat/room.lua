--- Whether a prompt and its answer fit into the context, and what is done when they do not.
local room = {}

--- Tokens kept free for an answer of unknown length: an eighth of the context, at most this.
local most = 1024

local function reserve_of(settings, context)
  return settings.reserve or settings.max_tokens or math.max(1, math.min(most, math.floor(context / 8)))
end

local function full(prompt, reserve, context)
  return nil, ("the context is full: the prompt takes %d tokens and the answer needs %d, but %d of %d are free; "
    .. "shorten the chat, give it `on_full`, or lower `reserve` or `max_tokens`")
    :format(prompt, reserve, math.max(0, context - prompt), context), "ECTXFULL"
end

--- The messages to answer, shortened by the policy if need be, and their tokens; or nil, message, code. `render` gives
-- the tokens of a list of messages, `ask` the model's answer to one.
function room.fit(session, list, settings, render, ask)
  local context = session:position() + session:room()
  local reserve = reserve_of(settings, context)
  local prompt, message, code = render(list)
  if not prompt then return nil, message, code end
  if #prompt + reserve <= context then return list, prompt end
  if not settings.on_full then return full(#prompt, reserve, context) end
  local ok, shorter
  ok, shorter, message, code = pcall(settings.on_full, list, {
    needed = #prompt + reserve, free = math.max(0, context - #prompt), limit = context - reserve, context = context,
    count = function(messages)
      local tokens, problem, reason = render(messages)
      if not tokens then return nil, problem, reason end
      return #tokens
    end,
    ask = ask,
  })
  if not ok then return nil, shorter, "EHOOK" end
  if shorter == nil then return nil, message, code end
  if type(shorter) ~= "table" then
    return nil, ("on_full: list of messages expected, got %s"):format(type(shorter)), "EHOOK"
  end
  prompt, message, code = render(shorter)
  if not prompt then return nil, message, code end
  if #prompt + reserve > context then return full(#prompt, reserve, context) end
  return shorter, prompt
end

return room
