--- What a chat can do when its context is full: policies for `on_full`. Each gets the messages, without the head, and
-- what is known of the room, and gives the messages to go on with. What is dropped makes the rest be read again, so
-- more is dropped than would do.
local policies = {}

local share = 3 / 4 -- of the room for a prompt, which a shortened chat may take

--- The messages by turns: each begins with what the user says after an answer, and holds the calls and results of it.
local function turns_of(messages)
  local turns = {}
  for i, message in ipairs(messages) do
    local previous = messages[i - 1]
    local opens = message.role == "user" or message.role == "developer"
    if #turns == 0 or opens and not (previous.role == "user" or previous.role == "developer") then
      turns[#turns + 1] = {}
    end
    table.insert(turns[#turns], message)
  end
  return turns
end

--- The messages of turns 1 to `head`, and of those from `tail` on.
local function joined(turns, head, tail)
  local list = {}
  for i, turn in ipairs(turns) do
    if i <= head or i >= tail then
      for _, message in ipairs(turn) do list[#list + 1] = message end
    end
  end
  return list
end

--- The first turn after `head` from which on everything fits; the last one whether it fits or not.
local function first_kept(turns, head, full)
  local low, high = head + 1, #turns
  while low < high do
    local middle = math.floor((low + high) / 2)
    local count, message, code = full.count(joined(turns, head, middle))
    if not count then return nil, message, code end
    if count <= full.limit * share then high = middle else low = middle + 1 end
  end
  return low
end

local function without_middle(messages, full, head)
  local turns = turns_of(messages)
  head = math.min(head, #turns - 1)
  local tail, message, code = first_kept(turns, head, full)
  if not tail then return nil, message, code end
  return joined(turns, head, tail)
end

--- Drops the oldest turns.
function policies.drop_oldest(messages, full)
  return without_middle(messages, full, 0)
end

--- Keeps the first turn, which often says what all is about, and the newest.
function policies.keep_ends(messages, full)
  return without_middle(messages, full, 1)
end

local question = "Summarise our conversation so far: what was asked, what was found out and decided, with all names "
  .. "and numbers that may be needed later."
local opening = "Summary of our conversation so far:\n"

--- The oldest turns, with the question behind them: as many as can be asked about, of `count`.
local function to_summarise(turns, count, words, full)
  local asked
  for last = count, 1, -1 do
    local list = joined(turns, last, #turns + 1)
    list[#list + 1] = { role = "user", content = question }
    local tokens, message, code = full.count(list)
    if not tokens then return nil, message, code end
    if tokens + words <= full.context then
      asked = list
      break
    end
  end
  return asked or {}
end

--- Puts a summary, which the model itself writes on a fork, in place of the oldest turns.
function policies.summarise_oldest(messages, full)
  local turns = turns_of(messages)
  local words = math.max(1, math.floor(full.limit * (1 - share) / 2)) -- tokens of the summary at most
  local tail, message, code = first_kept(turns, 0, full)
  if not tail then return nil, message, code end
  local asked
  asked, message, code = to_summarise(turns, tail - 1, words, full)
  if not asked then return nil, message, code end
  local kept = joined(turns, 0, tail)
  if #asked == 0 then return kept end
  local answer
  answer, message, code = full.ask(asked, { thinking = "off", tools = {}, max_tokens = words })
  if not answer then return nil, message, code end
  table.insert(kept, 1, { role = "user", content = opening .. answer.text })
  return kept
end

return policies
